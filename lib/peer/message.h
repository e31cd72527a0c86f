/* Messages: one unidirectional stream each. A message is complete for its sender when the peer's
 * transport has acknowledged it.
 *
 * Bounds: what is sent and not yet acknowledged (1024 messages, 16 MiB), streams used for it at
 * once, and on the receiving side the length of one message, the number of incomplete ones and the
 * bytes of all. What breaks a bound is stopped with a stream error that the sender is told. */
#ifndef ATL_PEER_MESSAGE_H
#define ATL_PEER_MESSAGE_H

#include "base/list.h"
#include "quic/conn.h"

#include <atlas/peer.h>

#define ATL_MESSAGES_OUT 1024
#define ATL_MESSAGE_BYTES_OUT (UINT64_C(16) << 20)
#define ATL_MESSAGE_STREAMS 32                    /* of ours at once */
#define ATL_MESSAGES_IN 64                        /* incomplete ones */
#define ATL_MESSAGE_BYTES_IN (UINT64_C(16) << 20) /* and one longest message */

typedef struct atl_messages {
    atl_list waiting; /* to be sent, no stream yet */
    atl_list sending; /* on a stream, not acknowledged */
    size_t out_count;
    uint64_t out_bytes;
    size_t streams;
    uint64_t next_id;
    atl_list coming;   /* incomplete, coming in */
    size_t in_count;   /* of those, typed as messages or not typed yet */
    uint64_t in_bytes; /* memory of incomplete and undelivered ones */
} atl_messages;

void atl_messages_init(atlas_conn *conn);
/* Without events. */
void atl_messages_free(atlas_conn *conn);
/* The connection has ended: what is under way fails with its code. */
void atl_messages_ended(atlas_conn *conn);

int32_t atl_message_send(atlas_conn *conn, const void *data, size_t len, uint64_t *id);
/* The peer allows more streams: sends what waits. */
void atl_messages_pump(atlas_conn *conn);
/* A unidirectional stream of the peer, of whatever type its first byte says. */
void atl_message_accept(atlas_conn *conn, atl_qstream *q);

#endif
