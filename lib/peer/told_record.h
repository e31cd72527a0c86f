/* Peer records on the control stream: this node's own is told to every peer, after Hello and on
 * every change; a peer's is handed to whoever keeps records. */
#ifndef ATL_PEER_TOLD_RECORD_H
#define ATL_PEER_TOLD_RECORD_H

#include "peer/conn.h"

struct atl_peers;

/* This node's record is another one now (kept by the caller until the next call; len 0: none): told
 * to every connected peer. */
void atl_told_record_set(struct atl_peers *peers, const uint8_t *data, size_t len);
/* The peer's Hello came. */
void atl_told_record_begin(atlas_conn *conn);
/* The peer's Record. A negative code ends the connection. */
int32_t atl_told_record_on_capsule(atlas_conn *conn, const uint8_t *value, size_t len);

#endif
