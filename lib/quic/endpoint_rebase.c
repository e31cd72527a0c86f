/* The host's addresses have changed. */
#include "quic/internal.h"

static int is_gone(const atl_endpoint *ep, const atl_addr *local) {
    size_t i;

    if (local->family == 0) {
        return 0; /* the system chooses anyway */
    }
    for (i = 0; i < ep->n_locals; i++) {
        if (ep->locals[i].family == local->family &&
            memcmp(ep->locals[i].ip, local->ip, sizeof(local->ip)) == 0) {
            return 0;
        }
    }
    return 1;
}

static void forget_local(atl_path_slot *slot) {
    memset(&slot->real.local, 0, sizeof(slot->real.local));
}

/* To ngtcp2 the same remote from another address of ours is another path. */
static void move_client(atl_qconn *conn) {
    atl_path_slot *before = &conn->paths[conn->active];
    uint8_t kept = before->kept;
    atl_qpath real = before->real;
    atl_path_slot *slot;

    memset(&real.local, 0, sizeof(real.local));
    slot = atl_path_fresh(conn, &real);
    if (slot != NULL && atl_qconn_move(conn, slot, 1) == ATLAS_OK) {
        slot->kept = kept;
        before->kept = 0;
        return;
    }
    if (slot != NULL) {
        atl_path_release(slot);
    }
    forget_local(before);
    atl_qconn_ping(conn);
}

static int has_in_flight(const atl_qconn *conn) {
    ngtcp2_conn_info info;

    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    return info.bytes_in_flight > 0;
}

static void rebase(atl_qconn *conn) {
    const atl_endpoint *ep = conn->ep;
    atl_path_slot *active = &conn->paths[conn->active];
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        atl_path_slot *slot = &conn->paths[i];

        if (slot->id != 0 && slot != active && slot->real.circuit == NULL &&
            is_gone(ep, &slot->real.local)) {
            forget_local(slot);
        }
    }
    if (active->real.circuit == NULL && is_gone(ep, &active->real.local)) {
        if (conn->state == ATL_CONN_OPEN && !conn->is_server) {
            move_client(conn);
        } else {
            /* ngtcp2 begins anew when the client is heard at the new address; else it would go on
             * with a full window and a timer that has backed off */
            forget_local(active);
            active->moved = conn->is_server;
            atl_qconn_ping(conn);
        }
    } else if (has_in_flight(conn)) {
        atl_qconn_ping(conn);
    }
}

void atl_endpoint_rebase(atl_endpoint *ep, const atl_addr *addrs, size_t n) {
    atl_list *node;

    ep->n_locals = n < ATL_LOCALS ? n : ATL_LOCALS;
    if (ep->n_locals > 0) {
        memcpy(ep->locals, addrs, ep->n_locals * sizeof(addrs[0]));
    }
    for (node = ep->conns.next; node != &ep->conns; node = node->next) {
        atl_qconn *conn = ATL_CONTAINER(node, atl_qconn, node);

        if (conn->state < ATL_CONN_CLOSING && conn->quic != NULL) {
            rebase(conn);
        }
    }
}
