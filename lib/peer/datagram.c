#include "peer/datagram.h"

#include "peer/manager.h"

#include <string.h>

typedef struct in_datagram {
    atl_item item;
    size_t len;
    uint8_t data[];
} in_datagram;

int32_t atl_datagram_send(atlas_conn *conn, const void *data, size_t len) {
    int32_t rv = atl_conn_check_open(conn);

    return rv != ATLAS_OK ? rv : atl_qconn_send_datagram(conn->q, data, len);
}

size_t atl_datagram_max(const atlas_conn *conn) {
    return atl_conn_check_open(conn) != ATLAS_OK ? 0 : atl_qconn_max_datagram(conn->q);
}

static void drop(atlas_conn *conn, atl_item *item) {
    conn->datagrams--;
    atl_free(atl_conn_env(conn), ATL_CONTAINER(item, in_datagram, item));
}

static void deliver(atlas_conn *conn, atl_item *item) {
    const in_datagram *in = ATL_CONTAINER(item, in_datagram, item);

    if (conn->callbacks.on_datagram != NULL && !conn->local_close) {
        conn->callbacks.on_datagram(conn->user, conn, in->data, in->len);
    }
    drop(conn, item);
}

void atl_datagram_receive(atlas_conn *conn, const uint8_t *data, size_t len) {
    in_datagram *in;

    if (conn->datagrams >= ATL_DATAGRAMS_IN || conn->state >= ATL_CONN_STATE_CLOSING) {
        return;
    }
    in = atl_malloc(atl_conn_env(conn), sizeof(*in) + len);
    if (in == NULL) {
        return;
    }
    atl_list_init(&in->item.node);
    in->item.deliver = deliver;
    in->item.drop = drop;
    in->len = len;
    if (len > 0) {
        memcpy(in->data, data, len);
    }
    conn->datagrams++;
    atl_conn_queue(conn, &in->item);
}
