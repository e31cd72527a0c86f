/* Sending: packets of all connections are written one behind the other into an arena, neighbours of
 * equal size to the same address become a train, and trains go out together. */
#include "quic/internal.h"

static void reset_batch(atl_socket *sock) {
    sock->n = 0;
    sock->used = 0;
}

/* Drops the trains that were taken; keeps those that were not, in place, for when the socket can be
 * written again. */
static void drop_sent(atl_socket *sock, size_t sent) {
    memmove(sock->tx, sock->tx + sent, (sock->n - sent) * sizeof(sock->tx[0]));
    sock->n -= sent;
}

void atl_send_flush(atl_socket *sock) {
    atl_endpoint *ep = sock->ep;
    size_t sent = 0;
    int32_t rv;

    if (sock->n == 0 || sock->blocked) {
        return;
    }
    rv = ep->io->udp_send(ep->io->impl, sock->udp, sock->tx, sock->n, &sent);
    if (rv == ATLAS_ERR_AGAIN && sent < sock->n) {
        sock->blocked = 1;
        drop_sent(sock, sent);
        return;
    }
    /* any other error is a loss on the way, which QUIC repairs */
    reset_batch(sock);
}

uint8_t *atl_send_room(atl_socket *sock, size_t need) {
    if (sock->blocked) {
        return NULL;
    }
    if (sock->arena == NULL) {
        sock->arena = atl_malloc(sock->ep->env, ATL_TX_ARENA);
        if (sock->arena == NULL) {
            return NULL;
        }
    }
    if (sock->used + need > ATL_TX_ARENA || sock->n == ATL_TX_BATCH) {
        atl_send_flush(sock);
        if (sock->blocked) {
            return NULL;
        }
    }
    return sock->arena + sock->used;
}

void atl_send_commit(atl_socket *sock, const atl_addr *local, const atl_addr *remote, uint8_t ecn,
                     size_t len) {
    atl_endpoint *ep = sock->ep;
    atl_tx *last = sock->n > 0 ? &sock->tx[sock->n - 1] : NULL;
    uint8_t *data = sock->arena + sock->used;
    size_t max = ep->io->udp_segments(ep->io->impl, sock->udp);

    sock->used += len;
    ep->stats.tx_datagrams++;
    ep->stats.tx_bytes += len;
    if (last != NULL && last->data + last->len == data && len <= last->segment &&
        last->len % last->segment == 0 && last->len / last->segment < max &&
        last->len + len <= ATL_TRAIN_BYTES && last->ecn == ecn &&
        atl_addr_equal(&last->remote, remote) && atl_addr_equal(&last->local, local)) {
        last->len += len;
        return;
    }
    last = &sock->tx[sock->n++];
    last->data = data;
    last->len = len;
    last->segment = len;
    last->remote = *remote;
    last->local = *local;
    last->ecn = ecn;
}

/* Writes every connection that has something to say, oldest first, until all are done or a socket
 * is full. */
void atl_send_ready(atl_endpoint *ep) {
    atl_list waiting;
    atl_list *node;
    int more = 0;

    atl_list_init(&waiting);
    atl_list_splice(&waiting, &ep->dirty);
    while ((node = atl_list_pop(&waiting)) != NULL) {
        atl_qconn *conn = ATL_CONTAINER(node, atl_qconn, dirty_node);

        if (conn->state == ATL_CONN_CLOSING) {
            atl_qconn_finish(conn);
        } else if (conn->state != ATL_CONN_DEAD) {
            int rv = atl_qconn_write(conn);

            more |= rv > 0;
            if (rv != 0 && atl_list_empty(&conn->dirty_node)) {
                /* budget or a full socket: again next time */
                atl_list_append(&ep->dirty, &conn->dirty_node);
            }
        }
    }
    atl_send_flush(&ep->sockets[0]);
    atl_send_flush(&ep->sockets[1]);
    while ((node = atl_list_pop(&ep->graveyard)) != NULL) {
        atl_qconn_free(ATL_CONTAINER(node, atl_qconn, node));
    }
    /* what waits for one family's socket does not hold up the other's */
    more |= !ep->sockets[0].blocked && !ep->sockets[1].blocked;
    if (more && !atl_list_empty(&ep->dirty)) {
        atl_endpoint_wake(ep);
    }
}

void atl_send_on_path(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data, size_t len) {
    atl_qpath carrier = *path;
    atl_socket *sock;
    uint8_t *room;
    size_t at = 0;

    if (path->circuit != NULL) {
        if (!path->circuit->ready || path->circuit->ended) {
            return;
        }
        atl_path_carrier(path->circuit->control, &carrier);
    }
    sock = atl_endpoint_socket(ep, carrier.remote.family);
    room = sock == NULL ? NULL : atl_send_room(sock, len + ATL_CIRCUIT_HEADER);
    if (room == NULL) {
        return;
    }
    if (path->circuit != NULL) {
        room[0] = 0x40;
        memcpy(room + 1, path->circuit->tx_id, ATL_CID_LEN);
        at = ATL_CIRCUIT_HEADER;
        path->circuit->tx_packets++;
    }
    memcpy(room + at, data, len);
    atl_send_commit(sock, &carrier.local, &carrier.remote, 0, at + len);
    atl_endpoint_wake(ep);
}

int32_t atl_endpoint_send_raw(atl_endpoint *ep, const atl_addr *local, const atl_addr *remote,
                              const uint8_t *data, size_t len) {
    atl_socket *sock = atl_endpoint_socket(ep, remote->family);
    atl_tx tx;
    size_t sent = 0;
    int32_t rv;

    if (sock == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    memset(&tx, 0, sizeof(tx));
    tx.data = data;
    tx.len = len;
    tx.segment = len;
    tx.remote = *remote;
    if (local != NULL) {
        tx.local = *local;
    }
    rv = ep->io->udp_send(ep->io->impl, sock->udp, &tx, 1, &sent);
    if (sent == 1) {
        ep->stats.tx_datagrams++;
        ep->stats.tx_bytes += len;
    }
    return rv;
}

size_t atl_endpoint_send_trains(atl_endpoint *ep, uint8_t family, const atl_tx *tx, size_t n) {
    atl_socket *sock = atl_endpoint_socket(ep, family);
    size_t sent = 0;

    if (sock == NULL) {
        return 0;
    }
    (void)ep->io->udp_send(ep->io->impl, sock->udp, tx, n, &sent);
    return sent;
}

size_t atl_endpoint_max_segments(const atl_endpoint *ep, uint8_t family) {
    const atl_socket *sock = &ep->sockets[family == 4 ? 0 : 1];

    return sock->udp == NULL ? 1 : ep->io->udp_segments(ep->io->impl, sock->udp);
}
