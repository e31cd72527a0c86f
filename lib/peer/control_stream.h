/* The control stream of a connection: the client's first bidirectional stream. Hello, Ping and
 * Pong, Disconnect. */
#ifndef ATL_PEER_CONTROL_STREAM_H
#define ATL_PEER_CONTROL_STREAM_H

#include "base/bucket.h"
#include "base/list.h"
#include "peer/control.h"
#include "quic/conn.h"

#include <atlas/peer.h>

#define ATL_PINGS_MAX 16

typedef struct atl_control {
    atl_qstream *q;
    atl_capsule_parser parser;
    atl_list pings;    /* sent, not answered */
    size_t ping_count; /* those, and answered ones that were not delivered */
    uint64_t next_ping;
    atl_bucket records; /* of the peer's that are looked at */
    uint8_t hello;      /* came */
    uint8_t asked_disconnect;
} atl_control;

void atl_control_init(atlas_conn *conn);
/* Without events. */
void atl_control_free(atlas_conn *conn);
/* Client: opens the stream and says Hello. */
int32_t atl_control_open(atlas_conn *conn);
/* Server: the peer's first bidirectional stream. */
int32_t atl_control_accept(atlas_conn *conn, atl_qstream *q);
/* Sends a whole capsule or nothing: ATLAS_ERR_CLOSED, ATLAS_ERR_AGAIN, ATLAS_ERR_NOMEM. */
int32_t atl_control_put(atlas_conn *conn, const uint8_t *data, size_t len);
/* ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM, ATLAS_ERR_AGAIN. */
int32_t atl_control_ping(atlas_conn *conn, uint64_t *id);
int32_t atl_control_disconnect(atlas_conn *conn, const char *reason);

#endif
