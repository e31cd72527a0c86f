/* atlas/discovery.h: bootstrap nodes, records, reachability, being found. */
#include "api/discovery.h"

#include "api/context.h"
#include "api/server.h"
#include "discovery/reach.h"

#include <string.h>

/* ---- the context's part of it ---- */

static void apply(const atlas_ctx *ctx, atl_discovery_limits *limits) {
    const uint64_t *u64 = ctx->options.u64;

    limits->autorelay = (uint32_t)u64[ATLAS_OPT_AUTORELAY];
    limits->autorelay_count = (uint32_t)u64[ATLAS_OPT_AUTORELAY_COUNT];
    limits->lifetime = u64[ATLAS_OPT_RECORD_LIFETIME_S];
    limits->max_clock_drift = ctx->options.drift_s;
    limits->offer_relay = u64[ATLAS_OPT_OFFER_RELAY] != 0;
    limits->serves_relay =
        ctx->relay_server != NULL && atl_relay_server_is_relaying(ctx->relay_server);
    limits->serves_bootstrap = ctx->registry != NULL;
    limits->serves_dialback = ctx->relay_server != NULL;
}

void atl_ctx_discovery_options(atlas_ctx *ctx) {
    apply(ctx, &ctx->discovery_limits);
    if (ctx->registry != NULL) {
        atl_options_registry(&ctx->options,
                             atl_record_store_limits_of(atl_registry_http_store(ctx->registry)));
    }
    if (ctx->discovery != NULL) {
        atl_discovery_changed(ctx->discovery);
    }
}

static void on_own_record(void *user, const uint8_t *data, size_t len) {
    const atlas_ctx *ctx = user;

    if (ctx->registry == NULL) {
        return;
    }
    if (len > 0) {
        (void)atl_registry_http_put_own(ctx->registry, data, len);
    } else {
        (void)atl_registry_http_delete_own(ctx->registry, &ctx->self);
    }
}

static void on_offer(void *user, int on) {
    atl_ctx_offer(user, on);
}

static const atl_discovery_ops ops = {
    .on_reach = atl_events_reach,
    .on_advertise = atl_events_advertise,
    .on_autorelay = atl_events_autorelay,
    .on_offer = on_offer,
    .on_own_record = on_own_record,
};

int32_t atl_ctx_discovery(atlas_ctx *ctx, atl_discovery **out) {
    int32_t rv;

    if (ctx->discovery == NULL) {
        apply(ctx, &ctx->discovery_limits);
        rv = atl_discovery_new(&ctx->peers, ctx->key, &ctx->discovery_limits, &ops, ctx,
                               &ctx->discovery);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    *out = ctx->discovery;
    return ATLAS_OK;
}

/* The frame of most calls here. */
static int32_t enter(atlas_ctx *ctx, int open, atl_discovery **disc) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv == ATLAS_OK && open) {
        rv = atl_ctx_open(ctx);
    }
    return rv == ATLAS_OK ? atl_ctx_discovery(ctx, disc) : rv;
}

int32_t atlas_bootstrap_add(atlas_ctx *ctx, const char *addr) {
    atl_discovery *disc;
    int32_t rv = addr == NULL ? ATLAS_ERR_INVALID : enter(ctx, 0, &disc);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_discovery_add_node(disc, addr);
    atl_ctx_leave(ctx);
    return rv;
}

/* ---- records ---- */

int32_t atlas_records_export(atlas_ctx *ctx, void *buf, size_t cap, size_t *len) {
    atl_discovery *disc;
    int32_t rv = (buf == NULL && cap > 0) || len == NULL ? ATLAS_ERR_INVALID : enter(ctx, 0, &disc);

    return rv != ATLAS_OK ? rv : atl_record_cache_export(atl_discovery_cache(disc), buf, cap, len);
}

int32_t atlas_records_import(atlas_ctx *ctx, const void *data, size_t len, uint64_t *taken,
                             uint64_t *refused) {
    atl_discovery *disc;
    size_t good = 0;
    size_t bad = 0;
    int32_t rv = data == NULL ? ATLAS_ERR_INVALID : enter(ctx, 0, &disc);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_record_cache_import(atl_discovery_cache(disc), data, len, ctx->options.drift_s, &good,
                                 &bad);
    if (rv == ATLAS_OK || rv == ATLAS_ERR_TRUNCATED) {
        if (taken != NULL) {
            *taken = good;
        }
        if (refused != NULL) {
            *refused = bad;
        }
    }
    return rv;
}

int32_t atlas_record_add(atlas_ctx *ctx, const void *envelope, size_t len) {
    atl_discovery *disc;
    int32_t rv = envelope == NULL ? ATLAS_ERR_INVALID : enter(ctx, 0, &disc);

    return rv != ATLAS_OK ? rv
                          : atl_record_cache_put(atl_discovery_cache(disc), envelope, len,
                                                 ctx->options.drift_s, NULL);
}

int32_t atlas_record_own(atlas_ctx *ctx, void *buf, size_t cap, size_t *len) {
    const uint8_t *own;
    size_t need = 0;
    int32_t rv = (buf == NULL && cap > 0) || len == NULL ? ATLAS_ERR_INVALID : atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    own = ctx->discovery == NULL ? NULL : atl_discovery_own(ctx->discovery, &need);
    if (own == NULL) {
        return ATLAS_ERR_NOT_FOUND;
    }
    *len = need;
    if (need > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, own, need);
    return ATLAS_OK;
}

/* ---- reachability, being found ---- */

int32_t atlas_reach_start(atlas_ctx *ctx) {
    atl_discovery *disc;
    int32_t rv = enter(ctx, 1, &disc);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_discovery_check(disc);
    atl_ctx_leave(ctx);
    return rv;
}

uint32_t atlas_reach_get(const atlas_ctx *ctx, uint32_t family) {
    const atl_reach *reach =
        ctx == NULL || ctx->discovery == NULL ? NULL : atl_discovery_reach(ctx->discovery);

    return reach == NULL || (family != 4 && family != 6)
               ? ATLAS_REACH_UNKNOWN
               : atl_reach_verdict(reach, (uint8_t)family);
}

int32_t atlas_advertise(atlas_ctx *ctx, uint32_t on) {
    atl_discovery *disc;
    int32_t rv = on > 1 ? ATLAS_ERR_INVALID : enter(ctx, on == 1, &disc);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_discovery_advertise(disc, (int)on);
    atl_ctx_leave(ctx);
    return rv;
}
