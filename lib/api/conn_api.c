/* atlas/peer.h: dialling, listening, and what belongs to a whole connection. */
#include "api/context.h"
#include "api/sized.h"
#include "peer/conn.h"
#include "peer/datagram.h"
#include "peer/dial.h"

#include <string.h>

#define REASON_MAX 256
#define APP_CODE_MAX ((UINT64_C(1) << 62) - 1)

/* The frame of functions of a connection. */
static int32_t enter(const atlas_conn *conn) {
    return conn == NULL ? ATLAS_ERR_INVALID : atl_ctx_enter(conn->peers->ctx);
}

static int32_t leave(const atlas_conn *conn, int32_t rv) {
    atl_ctx_leave(conn->peers->ctx);
    return rv;
}

/* ---- the context's ---- */

static int32_t parse_target(const char *target, atl_maddr *out) {
    int32_t rv = atl_maddr_parse(target, out);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (!out->has_peer || (out->host_kind != ATL_HOST_NONE && !out->quic) ||
        (out->has_relay && out->host_kind == ATL_HOST_NONE)) {
        return ATLAS_ERR_ADDRESS;
    }
    return ATLAS_OK;
}

static int32_t dial(atlas_ctx *ctx, const char *target, uint64_t timeout_ms,
                    const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out) {
    uint64_t timeout = ATL_DIAL_TIMEOUT;
    atl_maddr maddr;
    int32_t rv = parse_target(target, &maddr);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (timeout_ms != 0) {
        timeout =
            timeout_ms > UINT64_C(86400000) ? UINT64_C(86400000) * ATL_MS : timeout_ms * ATL_MS;
    }
    rv = atl_ctx_open(ctx);
    return rv != ATLAS_OK ? rv : atl_dial_start(&ctx->peers, &maddr, timeout, callbacks, user, out);
}

int32_t atlas_dial(atlas_ctx *ctx, const char *target, uint64_t timeout_ms,
                   const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out) {
    atlas_conn_callbacks full;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (target == NULL || out == NULL) {
        rv = ATLAS_ERR_INVALID;
    } else {
        rv = atl_sized_take(&atl_sized_conn_callbacks, callbacks, &full);
    }
    if (rv == ATLAS_OK) {
        rv = dial(ctx, target, timeout_ms, &full, user, out);
    }
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_peer_add_addr(atlas_ctx *ctx, const char *peer, const char *addr) {
    atl_peer_id id;
    atl_maddr maddr;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (peer == NULL || addr == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rv = atl_peer_id_parse(peer, strlen(peer), &id);
    if (rv == ATLAS_OK) {
        /* a bare peer id is no address */
        rv = addr[0] != '/' ? ATLAS_ERR_ADDRESS : atl_maddr_parse(addr, &maddr);
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (maddr.host_kind == ATL_HOST_NONE || !maddr.quic || maddr.has_relay) {
        return ATLAS_ERR_ADDRESS;
    }
    if (maddr.has_peer && !atl_peer_id_equal(&maddr.peer, &id)) {
        return ATLAS_ERR_PEER_ID;
    }
    return atl_book_add(&ctx->peers.book, &id, &maddr);
}

int32_t atlas_listen(atlas_ctx *ctx) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_ctx_open(ctx);
    if (rv == ATLAS_OK) {
        ctx->peers.listening = 1;
        atl_ctx_update_protocols(ctx);
    }
    atl_ctx_leave(ctx);
    return rv;
}

/* ---- a connection's ---- */

int32_t atlas_conn_set_callbacks(atlas_conn *conn, const atlas_conn_callbacks *callbacks,
                                 void *user) {
    atlas_conn_callbacks full;
    int32_t rv = enter(conn);

    if (rv == ATLAS_OK) {
        rv = atl_sized_take(&atl_sized_conn_callbacks, callbacks, &full);
    }
    return rv != ATLAS_OK ? rv : atl_conn_set_callbacks(conn, &full, user);
}

atlas_ctx *atlas_conn_ctx(atlas_conn *conn) {
    return conn == NULL ? NULL : conn->peers->ctx;
}

const char *atlas_conn_peer_id(const atlas_conn *conn) {
    return conn == NULL ? NULL : conn->peer_text;
}

uint32_t atlas_conn_is_dialer(const atlas_conn *conn) {
    return conn == NULL ? 0 : conn->dialer;
}

int32_t atlas_conn_get_path(const atlas_conn *conn, atlas_path_info *out) {
    atlas_path_info full = {.size = sizeof(full)};
    int32_t rv = enter(conn);

    if (rv == ATLAS_OK) {
        rv = atl_sized_check(&atl_sized_path_info, out);
    }
    if (rv == ATLAS_OK) {
        rv = atl_conn_path(conn, &full);
    }
    return rv != ATLAS_OK ? rv : atl_sized_give(&atl_sized_path_info, &full, out);
}

int32_t atlas_conn_get_stats(const atlas_conn *conn, atlas_conn_stats *out) {
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    return out == NULL || out->size != sizeof(*out) ? ATLAS_ERR_INVALID : atl_conn_stats(conn, out);
}

int32_t atlas_conn_close(atlas_conn *conn, uint64_t app_code, const char *reason) {
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (app_code > APP_CODE_MAX ||
        (reason != NULL && strnlen(reason, REASON_MAX + 1) > REASON_MAX)) {
        return leave(conn, ATLAS_ERR_INVALID);
    }
    if (conn->state >= ATL_CONN_STATE_CLOSING) {
        return leave(conn, ATLAS_ERR_CLOSED);
    }
    atl_conn_close(conn, ATLAS_OK, app_code, app_code, reason);
    return leave(conn, ATLAS_OK);
}

int32_t atlas_conn_disconnect(atlas_conn *conn, const char *reason) {
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_conn_check_open(conn);
    return leave(conn, rv != ATLAS_OK ? rv : atl_control_disconnect(conn, reason));
}

int32_t atlas_conn_ping(atlas_conn *conn, uint64_t *id) {
    uint64_t number = 0;
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_conn_check_open(conn);
    if (rv == ATLAS_OK) {
        rv = atl_control_ping(conn, &number);
    }
    if (rv == ATLAS_OK && id != NULL) {
        *id = number;
    }
    return leave(conn, rv);
}

int32_t atlas_conn_send_message(atlas_conn *conn, const void *data, size_t len, uint64_t *id) {
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (data == NULL && len > 0) {
        return leave(conn, ATLAS_ERR_INVALID);
    }
    return leave(conn, atl_message_send(conn, data, len, id));
}

int32_t atlas_conn_send_datagram(atlas_conn *conn, const void *data, size_t len) {
    int32_t rv = enter(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (data == NULL && len > 0) {
        return leave(conn, ATLAS_ERR_INVALID);
    }
    return leave(conn, atl_datagram_send(conn, data, len));
}

size_t atlas_conn_max_datagram(const atlas_conn *conn) {
    return enter(conn) != ATLAS_OK ? 0 : atl_datagram_max(conn);
}
