/* What arrives for a connection, and on which of its paths. */
#include "quic/internal.h"

#define STRAY_PAUSE (50 * ATL_MS)
/* So many authentic packets from a fresh path that ngtcp2 does not follow and has not answered: it
 * has no connection id left for it. */
#define UNFOLLOWED_MAX 2

static int feed(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len,
                uint8_t ecn) {
    ngtcp2_path path = atl_path_synthetic(slot);
    ngtcp2_pkt_info info;
    int rv;

    info.ecn = ecn;
    conn->rx_bytes += len;
    atl_list_remove(&conn->dial_node);
    conn->inside = 1;
    rv = ngtcp2_conn_read_pkt(conn->quic, &path, &info, data, len, conn->ep->loop->now);
    conn->inside = 0;
    if (rv != 0) {
        atl_qconn_fail_liberr(conn, rv);
    }
    return rv;
}

static void read_active(atl_qconn *conn, const uint8_t *data, size_t len, uint8_t ecn) {
    /* Long headers count for nothing once the handshake is over: ngtcp2 takes note of them without
     * having authenticated them. */
    int late = conn->state == ATL_CONN_OPEN && (data[0] & 0x80) != 0;

    if (late) {
        atl_watch_read(conn);
    }
    if (feed(conn, &conn->paths[conn->active], data, len, ecn) != 0) {
        return;
    }
    if (late) {
        (void)atl_watch_skip(conn);
    } else if (conn->watch.told || conn->echo_left > 0) {
        atl_watch_read(conn);
    }
    atl_qconn_settle(conn);
    atl_qconn_mark_dirty(conn);
}

static void tell_stray(atl_qconn *conn, uint64_t id, const atl_qpath *path) {
    uint64_t now = conn->ep->loop->now;

    if (conn->state != ATL_CONN_OPEN || conn->ops == NULL || conn->ops->on_stray == NULL ||
        (conn->stray_at != 0 && now - conn->stray_at < STRAY_PAUSE)) {
        return;
    }
    conn->stray_at = now;
    conn->ops->on_stray(conn->user, conn, id, path);
}

/* Somebody at the other end of a circuit is only listened to when it is the peer. */
static int may_come_from(const atl_qconn *conn, const atl_qpath *path) {
    const atl_peer_id *peer = atl_qconn_peer(conn);

    return path->circuit == NULL || (path->circuit->ready && !path->circuit->ended &&
                                     peer != NULL && atl_peer_id_equal(&path->circuit->peer, peer));
}

/* Feeds a packet that did not come on the active path. 1: authentic. */
static int feed_stray(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len,
                      uint8_t ecn) {
    atl_watch_read(conn); /* what came before is the active path's */
    if (conn->state != ATL_CONN_OPEN || feed(conn, slot, data, len, ecn) != 0) {
        return 0;
    }
    return atl_watch_skip(conn);
}

/* ngtcp2's client takes packets from its path and the one under validation only. Others are
 * authenticated by their protection; where they came from matters to the owner alone. */
static void read_stray_client(atl_qconn *conn, atl_path_slot *slot, const atl_qpath *path,
                              const uint8_t *data, size_t len, uint8_t ecn) {
    uint64_t id = slot == NULL ? 0 : slot->id;
    int validating = slot != NULL && slot->validating;

    if (!feed_stray(conn, validating ? slot : &conn->paths[conn->active], data, len, ecn)) {
        return;
    }
    if (slot == NULL && path->circuit != NULL) {
        if (path->circuit->ended || atl_qconn_path_keep(conn, path, &id) != ATLAS_OK) {
            id = 0;
        }
    }
    atl_watch_heard(conn, atl_path_by_id(conn, id));
    atl_qconn_settle(conn);
    if (slot == NULL ? id != 0 || path->circuit == NULL : slot->kept && !validating) {
        tell_stray(conn, id, path);
    }
    atl_qconn_mark_dirty(conn);
}

/* Without a spare connection id ngtcp2 cannot follow to a path whose local half is another one. The
 * peer has moved, and where it was it hears nothing of new ids: follow with the id that is in use.
 */
static void follow_with_old_id(atl_qconn *conn, atl_path_slot *slot) {
    const atl_path_slot *active = &conn->paths[conn->active];

    if (slot == active || slot->validating || slot->kept || slot->answered) {
        return;
    }
    if (++slot->unfollowed >= UNFOLLOWED_MAX) {
        slot->unfollowed = 0;
        slot->local = active->local;
    }
}

static void read_stray_server(atl_qconn *conn, atl_path_slot *slot, const atl_qpath *path,
                              const uint8_t *data, size_t len, uint8_t ecn) {
    int fresh = slot == NULL;

    if (fresh && (slot = atl_path_fresh(conn, path)) == NULL) {
        return;
    }
    if (!feed_stray(conn, slot, data, len, ecn)) {
        if (fresh) {
            atl_path_release(slot);
        }
        return;
    }
    atl_path_refresh_active(conn);
    if (fresh) {
        atl_path_replace_stale(slot);
    }
    atl_watch_heard(conn, slot);
    atl_watch_sweep(conn);
    follow_with_old_id(conn, slot);
    atl_qconn_settle(conn);
    if (slot->kept && slot != &conn->paths[conn->active] && !slot->validating) {
        tell_stray(conn, slot->id, path);
    }
    atl_qconn_mark_dirty(conn);
}

void atl_qconn_read(atl_qconn *conn, const atl_qpath *path, const uint8_t *data, size_t len,
                    uint8_t ecn) {
    atl_path_slot *slot;

    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    slot = atl_path_find(conn, path);
    if (slot == &conn->paths[conn->active]) {
        read_active(conn, data, len, ecn);
        return;
    }
    /* nobody moves during the handshake, and none of its packets is believed from elsewhere */
    if (conn->state != ATL_CONN_OPEN || (data[0] & 0x80) != 0 ||
        (slot == NULL && !may_come_from(conn, path))) {
        return;
    }
    if (conn->is_server) {
        read_stray_server(conn, slot, path, data, len, ecn);
    } else {
        read_stray_client(conn, slot, path, data, len, ecn);
    }
}
