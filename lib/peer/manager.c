#include "peer/manager.h"

#include "peer/codes.h"
#include "peer/conn.h"
#include "peer/network.h"

#include <string.h>

#define FAREWELL_BUDGET 65536

int32_t atl_peers_init(atl_peers *peers, atl_loop *loop, const atl_io *io, atlas_ctx *ctx,
                       const atlas_callbacks *callbacks, const atl_peer_id *self) {
    int32_t rv;

    memset(peers, 0, sizeof(*peers));
    rv = atl_book_init(&peers->book, loop->env);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_list_init(&peers->conns);
    atl_relays_init(&peers->relays, peers);
    peers->loop = loop;
    peers->io = io;
    peers->ctx = ctx;
    peers->callbacks = callbacks;
    peers->self = *self;
    atl_network_init(peers);
    return ATLAS_OK;
}

void atl_peers_free(atl_peers *peers) {
    while (!atl_list_empty(&peers->conns)) {
        atl_conn_free(ATL_CONTAINER(peers->conns.next, atlas_conn, node));
    }
    /* the other sides are told while the circuits still stand, then the relays */
    atl_loop_run_work(peers->loop, FAREWELL_BUDGET);
    atl_relays_stop(&peers->relays);
    atl_loop_run_work(peers->loop, FAREWELL_BUDGET);
    atl_relays_free(&peers->relays);
    atl_network_close(peers);
    atl_book_free(&peers->book);
    atl_source_limit_free(peers->found);
}

int32_t atl_peers_open(atl_peers *peers, atl_endpoint *ep, atl_stun_client *stun) {
    int32_t rv;

    peers->ep = ep;
    rv = atl_network_open(peers, stun);
    if (rv == ATLAS_OK) {
        rv = atl_relays_open(&peers->relays);
    }
    if (rv != ATLAS_OK) {
        atl_network_close(peers);
        peers->ep = NULL;
    }
    return rv;
}

int32_t atl_peers_on_initial(atl_peers *peers) {
    if (!peers->listening || peers->shutdown) {
        return ATLAS_ERR_REFUSED;
    }
    return peers->count >= peers->limits.max_conns ? ATLAS_ERR_LIMIT : ATLAS_OK;
}

int32_t atl_peers_accept(atl_peers *peers, atl_qconn *q) {
    const atl_peer_id *peer = atl_qconn_peer(q);
    atlas_conn *conn;
    int32_t rv = atl_peers_on_initial(peers);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (peer == NULL) {
        return ATLAS_ERR_CERTIFICATE;
    }
    rv = atl_conn_new(peers, peer, 0, &conn);
    if (rv == ATLAS_OK) {
        atl_conn_adopt(conn, q);
    }
    return rv;
}

void atl_peers_disconnect(atl_peers *peers, const atl_peer_id *peer, const char *reason) {
    atl_list *node = peers->conns.next;

    while (node != &peers->conns) {
        atlas_conn *conn = ATL_CONTAINER(node, atlas_conn, node);

        node = node->next;
        if (conn->state != ATL_CONN_STATE_DIALING && atl_peer_id_equal(&conn->peer, peer)) {
            atl_conn_close(conn, ATLAS_ERR_DISCONNECTED, 0, ATL_CLOSE_DISCONNECT, reason);
            /* not this side's wish: what came before is still delivered */
            conn->local_close = 0;
        }
    }
}

void atl_peers_shutdown(atl_peers *peers) {
    atl_list *node;

    peers->shutdown = 1;
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atl_conn_close(ATL_CONTAINER(node, atlas_conn, node), ATLAS_ERR_SHUTDOWN, 0,
                       ATL_CLOSE_SHUTDOWN, "the node is shutting down");
    }
}
