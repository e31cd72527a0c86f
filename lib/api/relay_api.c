/* atlas/relay.h: the relays of a node, and the relay server. */
#include "api/context.h"

#include <string.h>

/* ---- client ---- */

int32_t atlas_relay_add(atlas_ctx *ctx, const char *addr) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = addr == NULL ? ATLAS_ERR_INVALID : atl_relays_add(&ctx->peers.relays, addr);
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_relay_presence(atlas_ctx *ctx, uint32_t announce) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (announce > 1) {
        rv = ATLAS_ERR_INVALID;
    } else if (!ctx->peers.limits.enable_relay) {
        rv = ATLAS_ERR_RELAY_DISABLED;
    } else if (ctx->peers.relays.configured == 0) {
        rv = ATLAS_ERR_NOT_FOUND;
    } else {
        rv = atl_ctx_open(ctx);
    }
    if (rv == ATLAS_OK) {
        atl_relays_presence(&ctx->peers.relays, 1, (int)announce);
    }
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_relay_info(atlas_ctx *ctx, uint32_t index, atlas_relay_event *out) {
    const atl_relay_entry *entry;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (out == NULL || out->size != sizeof(*out)) {
        return ATLAS_ERR_INVALID;
    }
    entry = atl_relays_at(&ctx->peers.relays, index);
    if (entry == NULL) {
        return ATLAS_ERR_NOT_FOUND;
    }
    atl_relay_entry_event(entry, out);
    return ATLAS_OK;
}

/* ---- server ---- */

/* The policy decides in the middle of the server's work: the library may not be called from it. */
static int32_t ask_policy(void *user, uint32_t what, const char *peer, const char *target,
                          const char *addr) {
    atlas_ctx *ctx = user;
    uint8_t before = ctx->in_hook;
    int32_t rv;

    if (ctx->policy == NULL) {
        return ATLAS_OK;
    }
    ctx->in_hook = 1;
    rv = ctx->policy(ctx->policy_user, what, peer, target, addr);
    ctx->in_hook = before;
    return rv;
}

static int32_t apply_lists(atlas_ctx *ctx, atl_relay_server *server) {
    int32_t rv = ATLAS_OK;
    size_t i;

    for (i = 0; i < ctx->relay_allow_count && rv == ATLAS_OK; i++) {
        rv = atl_relay_server_allow(server, &ctx->relay_allow[i]);
    }
    for (i = 0; i < ctx->relay_deny_count && rv == ATLAS_OK; i++) {
        rv = atl_relay_server_deny(server, &ctx->relay_deny[i]);
    }
    return rv;
}

static int32_t start(atlas_ctx *ctx) {
    atl_relay_server *server;
    atl_relay_limits limits;
    int32_t rv;

    if (ctx->relay_server != NULL) {
        return ATLAS_ERR_STATE;
    }
    if (!ctx->peers.limits.enable_relay) {
        return ATLAS_ERR_RELAY_DISABLED;
    }
    rv = atl_ctx_open(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_options_relay(&ctx->options, &limits);
    rv = atl_relay_server_new(ctx->ep, &limits, &server);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = apply_lists(ctx, server);
    if (rv != ATLAS_OK) {
        atl_relay_server_free(server);
        return rv;
    }
    atl_relay_server_set_policy(server, ask_policy, ctx);
    ctx->relay_server = server;
    ctx->options.u64[ATLAS_OPT_STUN_SERVER] = 1;
    atl_ctx_apply_options(ctx);
    atl_ctx_update_protocols(ctx);
    return ATLAS_OK;
}

int32_t atlas_relay_start(atlas_ctx *ctx) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start(ctx);
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_relay_set_policy(atlas_ctx *ctx, atlas_relay_policy policy, void *user) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    ctx->policy = policy;
    ctx->policy_user = user;
    return ATLAS_OK;
}

/* Appends to a list that is kept for a server started later. */
static int32_t append(atlas_ctx *ctx, atl_peer_id **list, size_t *count, const atl_peer_id *id) {
    atl_peer_id *grown;
    size_t i;

    for (i = 0; i < *count; i++) {
        if (atl_peer_id_equal(&(*list)[i], id)) {
            return ATLAS_OK;
        }
    }
    grown = atl_realloc(&ctx->env, *list, (*count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    grown[(*count)++] = *id;
    *list = grown;
    return ATLAS_OK;
}

static int32_t list_add(atlas_ctx *ctx, const char *peer, int allow) {
    atl_peer_id id;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = peer == NULL ? ATLAS_ERR_INVALID : atl_peer_id_parse(peer, strlen(peer), &id);
    if (rv == ATLAS_OK && ctx->relay_server != NULL) {
        rv = allow ? atl_relay_server_allow(ctx->relay_server, &id)
                   : atl_relay_server_deny(ctx->relay_server, &id);
    } else if (rv == ATLAS_OK) {
        rv = allow ? append(ctx, &ctx->relay_allow, &ctx->relay_allow_count, &id)
                   : append(ctx, &ctx->relay_deny, &ctx->relay_deny_count, &id);
    }
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_relay_allow(atlas_ctx *ctx, const char *peer) {
    return list_add(ctx, peer, 1);
}

int32_t atlas_relay_deny(atlas_ctx *ctx, const char *peer) {
    return list_add(ctx, peer, 0);
}

int32_t atlas_relay_get_stats(const atlas_ctx *ctx, atlas_relay_stats *out) {
    if (ctx == NULL || out == NULL || out->size != sizeof(*out)) {
        return ATLAS_ERR_INVALID;
    }
    if (ctx->in_hook) {
        return ATLAS_ERR_REENTRANT;
    }
    if (ctx->relay_server == NULL) {
        return ATLAS_ERR_STATE;
    }
    atl_relay_server_stats(ctx->relay_server, out);
    return ATLAS_OK;
}
