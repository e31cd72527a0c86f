/* What a connection does when the peer is not heard: where it goes, what it asks, and whom it
 * believes. */
#ifndef ATL_PEER_SILENCE_H
#define ATL_PEER_SILENCE_H

#include "peer/conn.h"

void atl_silence_init(atlas_conn *conn);
void atl_silence_free(atlas_conn *conn);
/* From quic's upcalls. */
void atl_paths_on_lost(atlas_conn *conn, uint64_t id, int32_t code);
void atl_paths_on_silent(atlas_conn *conn, uint64_t silent);
void atl_paths_on_heard(atlas_conn *conn);
void atl_paths_on_lull(atlas_conn *conn);
void atl_paths_on_stray(atlas_conn *conn, uint64_t id, const atl_qpath *real);
/* That relay is well. */
void atl_paths_on_relay(atlas_conn *conn, const atl_peer_id *relay);
/* There is news that the active path works. */
void atl_paths_revive(atlas_conn *conn);
/* Has moved at once to that path: it gets its time, and a PING. */
void atl_paths_fled(atlas_conn *conn, uint64_t id);
/* A circuit to the peer is there, kept as path `id`. */
void atl_paths_circuit(atlas_conn *conn, uint64_t id);
/* The relay of the active path goes away in order. */
void atl_paths_on_drain(atlas_conn *conn, const atl_peer_id *relay);

#endif
