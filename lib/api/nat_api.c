/* atlas/nat.h. */
#include "api/context.h"
#include "stun/nat.h"
#include "stun/probe.h"

#define LIFETIME_MIN_MS 8000
#define LIFETIME_MAX_MS 7200000

static int32_t take_options(const atlas_ctx *ctx, const atlas_nat_options *options,
                            atl_nat_config *out) {
    uint64_t timeout_ms = ctx->options.u64[ATLAS_OPT_STUN_TIMEOUT_MS];
    uint64_t lifetime_ms = 0;

    if (options != NULL) {
        if (options->size != sizeof(*options) || options->reserved != 0) {
            return ATLAS_ERR_INVALID;
        }
        timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : timeout_ms;
        lifetime_ms = options->lifetime_ms;
    }
    if (timeout_ms > ATL_STUN_LONGEST / ATL_MS ||
        (lifetime_ms != 0 && (lifetime_ms < LIFETIME_MIN_MS || lifetime_ms > LIFETIME_MAX_MS))) {
        return ATLAS_ERR_INVALID;
    }
    out->timeout = timeout_ms * ATL_MS;
    out->lifetime = lifetime_ms * ATL_MS;
    return ATLAS_OK;
}

static int32_t start(atlas_ctx *ctx, const char *const *servers, size_t n,
                     const atlas_nat_options *options, atlas_nat_cb cb, void *user,
                     atlas_nat **out) {
    atl_nat_config config;
    int32_t rv;

    if (cb == NULL || (servers == NULL && n > 0) || n > ATL_STUN_SERVERS_MAX) {
        return ATLAS_ERR_INVALID;
    }
    rv = take_options(ctx, options, &config);
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (n == 0) {
        servers = (const char *const *)ctx->stun_servers;
        n = ctx->stun_server_count;
    }
    if (n == 0) {
        return ATLAS_ERR_NOT_FOUND;
    }
    rv = atl_ctx_open(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    return atl_nat_start(ctx->stun, servers, n, &config, cb, user, out);
}

int32_t atlas_nat_probe(atlas_ctx *ctx, const char *const *servers, size_t n,
                        const atlas_nat_options *options, atlas_nat_cb cb, void *user,
                        atlas_nat **out) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start(ctx, servers, n, options, cb, user, out);
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_nat_cancel(atlas_nat *nat) {
    atlas_ctx *ctx;
    int32_t rv;

    if (nat == NULL) {
        return ATLAS_ERR_INVALID;
    }
    ctx = atl_nat_owner(nat);
    rv = atl_ctx_enter(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_nat_cancel(nat);
    atl_ctx_leave(ctx);
    return ATLAS_OK;
}
