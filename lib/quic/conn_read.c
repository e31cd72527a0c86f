/* What arrives for a connection, and on which of its paths. */
#include "quic/internal.h"

#define STRAY_PAUSE (50 * ATL_MS)
/* So many packets from where the client may be, before it is answered there. */
#define UNFOLLOWED_MAX 2
#define PROBE_LEN NGTCP2_MAX_UDP_PAYLOAD_SIZE /* what ngtcp2 pads a PATH_CHALLENGE to */
#define FOLLOW_AFTER (100 * ATL_MS)           /* of silence where the client was */
/* Of ngtcp2, before it has measured anything: the least that a validation waits for. */
#define INITIAL_PTO (400 * ATL_MS)

static int feed(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len,
                uint8_t ecn) {
    ngtcp2_path path = atl_path_synthetic(slot);
    ngtcp2_pkt_info info;
    int rv;

    info.ecn = ecn;
    conn->rx_bytes += len;
    atl_list_remove(&conn->dial_node);
    conn->inside = 1;
    rv = ngtcp2_conn_read_pkt(conn->quic, &path, &info, data, len, atl_qconn_clock(conn));
    conn->inside = 0;
    if (rv != 0) {
        atl_qconn_fail_liberr(conn, rv);
    }
    return rv;
}

static int feed_stray(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len,
                      uint8_t ecn);

/* 1: it was read as the first packet of a path that begins anew. */
static int read_anew(atl_qconn *conn, const uint8_t *data, size_t len, uint8_t ecn) {
    atl_path_slot *slot = atl_qconn_anew_begin(conn);

    if (slot == NULL) {
        return 0;
    }
    atl_qconn_anew_end(conn, slot, feed_stray(conn, slot, data, len, ecn));
    atl_qconn_settle(conn);
    atl_qconn_mark_dirty(conn);
    return 1;
}

static void read_active(atl_qconn *conn, const uint8_t *data, size_t len, uint8_t ecn) {
    /* Long headers count for nothing once the handshake is over: ngtcp2 takes note of them without
     * having authenticated them. */
    int late = conn->state == ATL_CONN_OPEN && (data[0] & 0x80) != 0;
    int stale = !late && len > ATL_CID_LEN && atl_qconn_is_stale(conn);
    ngtcp2_conn_info before;

    if (late) {
        atl_watch_read(conn);
    }
    if (!late && len > ATL_CID_LEN) {
        memcpy(conn->last_id, data + 1, ATL_CID_LEN);
    }
    if (stale) {
        if (conn->is_server && read_anew(conn, data, len, ecn)) {
            return;
        }
        ngtcp2_conn_get_conn_info2(conn->quic, &before);
    }
    if (feed(conn, &conn->paths[conn->active], data, len, ecn) != 0) {
        return;
    }
    if (late) {
        (void)atl_watch_skip(conn);
    } else if (conn->watch.told || conn->echo_left > 0) {
        atl_watch_read(conn);
    }
    if (stale && !conn->is_server) {
        atl_qconn_anew_client(conn, &before);
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
    conn->stray_pto = ngtcp2_conn_get_pto2(conn->quic);
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
 * peer has moved, and where it was it hears nothing of new ids: from now on it is followed with the
 * id that is in use. That this is so shows when an authentic packet from a fresh path is neither
 * followed nor answered. */
void atl_qconn_check_starved(atl_qconn *conn) {
    const atl_path_slot *active = &conn->paths[conn->active];
    size_t i;

    conn->unfollowed = 0;
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        atl_path_slot *slot = &conn->paths[i];

        if (slot->id != 0 && slot->unfollowed && slot != active && !slot->validating &&
            !slot->answered) {
            slot->unfollowed = 0;
            slot->local = active->local;
            slot->left = 0;
            conn->starved = 1;
        }
    }
}

static void note_unfollowed(atl_qconn *conn, atl_path_slot *slot) {
    const atl_path_slot *active = &conn->paths[conn->active];

    if (slot != active && !slot->validating &&
        conn->ep->loop->now >= active->heard + FOLLOW_AFTER) { /* else it may just be late */
        slot->unfollowed = 1;
        conn->unfollowed = 1;
    }
}

/* While ngtcp2's migration must wait, a client that is no longer heard where it was, and is heard
 * on a circuit or on a path that it has used before, is answered there. */
static void follow_unknown_to_ngtcp2(atl_qconn *conn, atl_path_slot *slot) {
    const atl_path_slot *active = &conn->paths[conn->active];
    uint64_t now = conn->ep->loop->now;

    if (slot == NULL || slot == active || slot->validating || slot->lost ||
        now < active->heard + FOLLOW_AFTER ||
        (slot->real.circuit == NULL && !atl_path_is_known(slot))) {
        return;
    }
    if (++slot->unfollowed >= UNFOLLOWED_MAX) {
        slot->unfollowed = 0;
        (void)atl_qconn_slide(conn, slot);
    }
}

#define GO 0
#define WAIT 1
#define DROP 2

/* Where the client's port has changed, ngtcp2 uses one id of its for the address before and the one
 * after, while it validates this and for a while longer. If it took a fresh id in that time, it
 * would retire the former and still hold it for the way back, and the client would end the
 * connection for its use. So the client is followed with the one id meanwhile, wherever it goes.
 * ngtcp2 does so when it has seen the client's own id before and need not answer a probe: packets
 * with another one, and those that look like probes, count as if they came on the active path. */
static int must_wait(atl_qconn *conn, atl_path_slot *slot, const uint8_t *data, size_t len) {
    const atl_path_slot *active = &conn->paths[conn->active];

    if (conn->shared_until == 0) {
        return GO;
    }
    if (conn->ep->loop->now > conn->shared_until) {
        atl_qconn_ping(conn); /* ends it, when it may be sent */
    }
    if (slot != NULL && slot->validating) {
        return GO; /* ngtcp2 has an id for it */
    }
    if (len == PROBE_LEN) {
        /* what counts as come from an address lets more be sent there: not before it is validated
         */
        return active->validating ? DROP : WAIT;
    }
    if (memcmp(data + 1, conn->last_id, ATL_CID_LEN) != 0) {
        return WAIT;
    }
    if (slot != NULL && !atl_path_shares(slot, active)) {
        slot->local = active->local;
        slot->left = 0;
    }
    return GO;
}

void atl_qconn_share(atl_qconn *conn, unsigned validations) {
    uint64_t pto = ngtcp2_conn_get_pto2(conn->quic);

    pto = pto < conn->stray_pto ? conn->stray_pto : pto;
    pto = pto < INITIAL_PTO ? INITIAL_PTO : pto;
    /* what was held before may still be held, and for as long as that path was slow */
    if (conn->shared_until == 0 || pto > conn->share_pto) {
        conn->share_pto = pto;
    }
    conn->shared_until = conn->ep->loop->now + validations * 3 * conn->share_pto;
}

static void read_stray_server(atl_qconn *conn, atl_path_slot *slot, const atl_qpath *path,
                              const uint8_t *data, size_t len, uint8_t ecn) {
    int fresh = slot == NULL;
    int what = must_wait(conn, slot, data, len);

    if (what != GO) {
        if (what == WAIT && feed_stray(conn, &conn->paths[conn->active], data, len, ecn)) {
            if (slot == NULL && path->circuit != NULL) {
                slot = atl_path_fresh(conn, path);
            }
            if (len != PROBE_LEN) {
                memcpy(conn->last_id, data + 1, ATL_CID_LEN);
            }
            atl_watch_heard(conn, slot);
            follow_unknown_to_ngtcp2(conn, slot);
            atl_qconn_settle(conn);
            atl_qconn_mark_dirty(conn);
        }
        return;
    }
    if (fresh && (slot = atl_path_fresh(conn, path)) == NULL) {
        return;
    }
    if (fresh && (conn->starved || conn->shared_until != 0)) {
        slot->local = conn->paths[conn->active].local;
    }
    if (!feed_stray(conn, slot, data, len, ecn)) {
        if (fresh) {
            atl_path_release(slot);
        }
        return;
    }
    atl_path_refresh_active(conn);
    atl_watch_heard(conn, slot);
    atl_watch_sweep(conn);
    note_unfollowed(conn, slot);
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
