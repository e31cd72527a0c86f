/* atlas/relay.h: the relays of a node, and who may use its relay server (server_api.c). */
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
