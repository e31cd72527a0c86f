#include "peer/told_record.h"

#include "peer/manager.h"

/* A record costs a signature's verification: so many of one peer, the rest is not looked at. */
#define RATE 4
#define BURST 16

static void say(atlas_conn *conn) {
    const atl_peers *peers = conn->peers;
    uint8_t buf[ATL_CTRL_RECORD_MESSAGE];
    atl_ctrl_record msg = {peers->record, peers->record_len};
    size_t len = 0;

    if (peers->record_len > 0 && atl_ctrl_record_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_control_put(conn, buf, len);
    }
}

void atl_told_record_set(atl_peers *peers, const uint8_t *data, size_t len) {
    atl_list *node;

    peers->record = data;
    peers->record_len = len;
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atlas_conn *conn = ATL_CONTAINER(node, atlas_conn, node);

        if (conn->state == ATL_CONN_STATE_OPEN && conn->control.hello) {
            say(conn);
        }
    }
}

void atl_told_record_begin(atlas_conn *conn) {
    atl_bucket_init(&conn->control.records, RATE, BURST, atl_conn_now(conn));
    say(conn);
}

int32_t atl_told_record_on_capsule(atlas_conn *conn, const uint8_t *value, size_t len) {
    const atl_peers *peers = conn->peers;
    atl_ctrl_record msg;
    int32_t rv = atl_ctrl_record_decode(value, len, &msg);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (peers->watch == NULL || !atl_bucket_take(&conn->control.records, atl_conn_now(conn), 1)) {
        return ATLAS_OK;
    }
    return peers->watch->on_record(peers->watch->user, &conn->peer, msg.data, msg.len);
}
