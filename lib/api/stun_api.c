/* atlas/stun.h: probes and the list of configured servers. */
#include "api/context.h"
#include "peer/network.h"
#include "stun/probe.h"

#include <string.h>

static int32_t take_options(const atlas_ctx *ctx, const atlas_stun_options *options,
                            uint64_t *timeout, atl_stun_creds *creds) {
    uint64_t timeout_ms = ctx->options.u64[ATLAS_OPT_STUN_TIMEOUT_MS];

    if (options != NULL) {
        if (options->size != sizeof(*options) || options->reserved != 0 ||
            (options->integrity != 0) != (options->password != NULL) ||
            (options->password != NULL) != (options->username != NULL)) {
            return ATLAS_ERR_INVALID;
        }
        if (options->timeout_ms != 0) {
            timeout_ms = options->timeout_ms;
        }
        creds->username = options->username;
        creds->password = options->password;
        creds->integrity = options->integrity;
    }
    if (timeout_ms > ATL_STUN_LONGEST / ATL_MS) {
        return ATLAS_ERR_INVALID;
    }
    *timeout = timeout_ms * ATL_MS;
    return ATLAS_OK;
}

static int32_t start_probe(atlas_ctx *ctx, const char *const *servers, size_t n,
                           const atlas_stun_options *options, atlas_stun_cb cb, void *user,
                           atlas_stun **out) {
    atl_stun_creds creds = {NULL, NULL, 0};
    uint64_t timeout = 0;
    int32_t rv;

    if (cb == NULL || (servers == NULL && n > 0) || n > ATL_STUN_SERVERS_MAX) {
        return ATLAS_ERR_INVALID;
    }
    rv = take_options(ctx, options, &timeout, &creds);
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
    return atl_stun_probe_start(ctx->stun, servers, n, timeout, &creds, cb, user, out);
}

int32_t atlas_stun_probe(atlas_ctx *ctx, const char *const *servers, size_t n,
                         const atlas_stun_options *options, atlas_stun_cb cb, void *user,
                         atlas_stun **out) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start_probe(ctx, servers, n, options, cb, user, out);
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_stun_cancel(atlas_stun *probe) {
    atlas_ctx *ctx;
    int32_t rv;

    if (probe == NULL) {
        return ATLAS_ERR_INVALID;
    }
    ctx = atl_stun_probe_owner(probe);
    rv = atl_ctx_enter(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_stun_probe_cancel(probe);
    atl_ctx_leave(ctx);
    return ATLAS_OK;
}

static int32_t add_server(atlas_ctx *ctx, const char *server) {
    atl_stun_target target;
    char *copy;
    int32_t rv;

    if (server == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rv = atl_stun_target_parse(server, &target);
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (ctx->stun_server_count >= ATL_COUNT(ctx->stun_servers)) {
        return ATLAS_ERR_LIMIT;
    }
    copy = atl_strdup(&ctx->env, server);
    if (copy == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    ctx->stun_servers[ctx->stun_server_count++] = copy;
    (void)atl_network_add_server(&ctx->peers, copy);
    return ATLAS_OK;
}

int32_t atlas_stun_add_server(atlas_ctx *ctx, const char *server) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = add_server(ctx, server);
    atl_ctx_leave(ctx);
    return rv;
}

static int32_t parse_alternate(const char *text, atl_addr *out) {
    if (text == NULL) {
        return ATLAS_ERR_INVALID;
    }
    if (atl_addr_parse_ip(text, strlen(text), 0, out) != ATLAS_OK &&
        (atl_addr_parse(text, out) != ATLAS_OK || out->port == 0)) {
        return ATLAS_ERR_ADDRESS;
    }
    return atl_addr_is_unspecified(out) || atl_addr_is_multicast(out) ? ATLAS_ERR_ADDRESS
                                                                      : ATLAS_OK;
}

int32_t atlas_stun_server_alternate(atlas_ctx *ctx, const char *addr) {
    atl_addr alternate;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = parse_alternate(addr, &alternate);
    if (rv == ATLAS_OK) {
        rv = atl_ctx_open(ctx);
    }
    if (rv == ATLAS_OK) {
        rv = atl_stun_agent_set_alternate(ctx->stun, &alternate);
    }
    atl_ctx_leave(ctx);
    return rv;
}
