/* Moving a connection between its paths, and what helps to find out whether one is alive. */
#include "quic/internal.h"

static int32_t move_error(int rv) {
    switch (rv) {
    case NGTCP2_ERR_CONN_ID_BLOCKED:
        return ATLAS_ERR_AGAIN;
    case NGTCP2_ERR_NOMEM:
        return ATLAS_ERR_NOMEM;
    default:
        return ATLAS_ERR_STATE;
    }
}

int32_t atl_qconn_move(atl_qconn *conn, atl_path_slot *slot, int now) {
    ngtcp2_path path = atl_path_synthetic(slot);
    int rv;

    atl_watch_read(conn);
    conn->inside = 1;
    rv = now ? ngtcp2_conn_initiate_immediate_migration(conn->quic, &path, atl_qconn_clock(conn))
             : ngtcp2_conn_initiate_migration(conn->quic, &path, atl_qconn_clock(conn));
    conn->inside = 0;
    if (rv != 0) {
        if (ngtcp2_err_is_fatal(rv)) {
            atl_qconn_fail_liberr(conn, rv);
        }
        return move_error(rv);
    }
    conn->migrating = slot->id;
    conn->failed_id = 0;
    conn->tell_path = 0;
    if (atl_path_is_known(slot)) {
        slot->failed = 0;
    }
    slot->used = conn->ep->loop->now;
    atl_path_refresh_active(conn);
    atl_qconn_mark_dirty(conn);
    return ATLAS_OK;
}

/* The connection ids are used up, and more come only when the peer is heard. What ngtcp2 takes for
 * its path leads elsewhere from now on, as if a NAT had rebound it: the same id, the same state.
 * The former path is one that ngtcp2 has never seen. */
int32_t atl_qconn_slide(atl_qconn *conn, atl_path_slot *slot) {
    atl_path_slot *before = &conn->paths[conn->active];
    uint64_t reset_at = conn->watch.reset_at;
    uint8_t poisoned = conn->watch.poisoned;

    slot->local = before->local;
    slot->remote = before->remote;
    atl_path_renew(before);
    before->validating = 0;
    slot->validating = 0;
    slot->failed = 0;
    slot->used = conn->ep->loop->now;
    conn->migrating = conn->is_server ? 0 : slot->id;
    conn->failed_id = 0;
    conn->tell_path = 0;
    atl_path_refresh_active(conn);
    conn->watch.reset_at = reset_at;
    conn->watch.poisoned = poisoned;
    atl_qconn_mark_dirty(conn);
    return ATLAS_OK;
}

/* The same way, as a path that ngtcp2 has not seen: after a long silence nothing could be sent for
 * what is in flight and lost, and probes come ever more rarely. */
static int32_t begin_anew(atl_qconn *conn, atl_path_slot *slot) {
    const atl_path_slot before = *slot;
    int32_t rv;

    atl_path_renew(slot);
    rv = atl_qconn_move(conn, slot, 1);
    if (rv != ATLAS_OK) {
        slot->local = before.local;
        slot->remote = before.remote;
        slot->left = before.left;
        slot->ok = before.ok;
        return rv;
    }
    atl_watch_moved(conn);
    return rv;
}

int32_t atl_qconn_migrate(atl_qconn *conn, uint64_t id, int now) {
    atl_path_slot *slot = atl_path_by_id(conn, id);
    int32_t rv;

    if (conn->is_server || conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    if (slot == NULL || !slot->kept || slot->lost) {
        return ATLAS_ERR_NOT_FOUND;
    }
    if (slot == &conn->paths[conn->active] && !now) {
        return ATLAS_ERR_STATE;
    }
    if (conn->inside) {
        /* in the middle of a packet: when it has been read */
        conn->wish = id;
        conn->wish_now = (uint8_t)now;
        return ATLAS_OK;
    }
    if (slot == &conn->paths[conn->active]) {
        return begin_anew(conn, slot);
    }
    rv = atl_qconn_move(conn, slot, now);
    return rv == ATLAS_ERR_AGAIN && now ? atl_qconn_slide(conn, slot) : rv;
}

static void grant_wish(atl_qconn *conn) {
    uint64_t id = conn->wish;

    if (id == 0 || conn->state != ATL_CONN_OPEN) {
        return;
    }
    conn->wish = 0;
    if (atl_qconn_migrate(conn, id, conn->wish_now) != ATLAS_OK) {
        conn->failed_id = id;
    }
}

static void tell(atl_qconn *conn) {
    uint64_t failed = conn->failed_id;

    if (failed != 0) {
        conn->failed_id = 0;
        if (conn->state == ATL_CONN_OPEN && conn->ops != NULL &&
            conn->ops->on_path_failed != NULL) {
            conn->ops->on_path_failed(conn->user, conn, failed);
        }
    }
    if (conn->tell_path) {
        conn->tell_path = 0;
        if (conn->state == ATL_CONN_OPEN && conn->ops != NULL && conn->ops->on_path != NULL) {
            conn->ops->on_path(conn->user, conn);
        }
    }
}

void atl_qconn_settle(atl_qconn *conn) {
    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    atl_path_refresh_active(conn);
    grant_wish(conn);
    tell(conn);
}

void atl_qconn_tell_lost(atl_qconn *conn) {
    size_t i;

    conn->tell_lost = 0;
    for (i = 0; i < ATL_CONN_PATHS && conn->state == ATL_CONN_OPEN; i++) {
        atl_path_slot *slot = &conn->paths[i];
        uint64_t id = slot->id;
        int32_t code = slot->lost_code;

        if (id == 0 || slot->lost != ATL_LOST_UNTOLD) {
            continue;
        }
        slot->lost = ATL_LOST_TOLD;
        slot->validating = 0;
        conn->migrating = conn->migrating == id ? 0 : conn->migrating;
        atl_path_release_unused(slot);
        if (conn->ops != NULL && conn->ops->on_path_lost != NULL) {
            conn->ops->on_path_lost(conn->user, conn, id, code);
        }
    }
}

int32_t atl_qconn_echo(atl_qconn *conn, uint64_t id, uint32_t packets) {
    const atl_path_slot *slot = atl_path_by_id(conn, id);

    if (!conn->is_server || conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    if (slot == NULL || !slot->kept || slot->lost) {
        return ATLAS_ERR_NOT_FOUND;
    }
    if (slot == &conn->paths[conn->active]) {
        return ATLAS_ERR_STATE;
    }
    conn->echo_id = id;
    conn->echo_left = packets;
    return ATLAS_OK;
}

/* ngtcp2 sends a PING when its keepalive has expired: the shortest one has, whenever anything was
 * sent or heard before. */
void atl_qconn_set_keepalive(atl_qconn *conn) {
    ngtcp2_conn_set_keep_alive_timeout(conn->quic, conn->ping             ? 1
                                                   : conn->keepalive == 0 ? UINT64_MAX
                                                                          : conn->keepalive);
}

void atl_qconn_ping(atl_qconn *conn) {
    if (conn->state != ATL_CONN_OPEN) {
        return;
    }
    conn->ping = 1;
    atl_qconn_set_keepalive(conn);
    atl_qconn_mark_dirty(conn);
}

void atl_qconn_keepalive(atl_qconn *conn, uint64_t interval) {
    conn->keepalive = interval;
    atl_qconn_set_keepalive(conn);
    atl_qconn_mark_dirty(conn); /* the deadline may have moved */
}
