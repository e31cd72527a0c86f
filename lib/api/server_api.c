/* The node's HTTP/3 server: one for the relay, the registry and dial-backs, whichever of them run.
 */
#include "api/server.h"

#include "api/context.h"

#include <string.h>

#define OFFER_DRAIN                                                               \
    (30 * ATL_SECOND) /* a node that is public no longer: for its circuits to end \
                       */

/* ---- the server ---- */

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

static int32_t apply_lists(const atlas_ctx *ctx, atl_relay_server *server) {
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

static int32_t send_other(void *user, const atl_addr *remote, const uint8_t *data, size_t len) {
    atlas_ctx *ctx = user;

    return atl_stun_agent_send_alternate(ctx->stun, remote, data, len);
}

static int32_t local_of(void *user, uint8_t family, atl_addr *out) {
    const atlas_ctx *ctx = user;

    return atl_endpoint_local(ctx->ep, family, out);
}

static int32_t make_dialback(atlas_ctx *ctx, atl_dialback **out) {
    const atl_dialback_config config = {
        .loop = &ctx->loop,
        .io = &ctx->io,
        .user = ctx,
        .send_other = send_other,
        .local = local_of,
    };

    return atl_dialback_new(&config, out);
}

int32_t atl_ctx_server(atlas_ctx *ctx) {
    atl_relay_server *server = NULL;
    atl_dialback *dialback = NULL;
    atl_relay_limits limits;
    int32_t rv = atl_ctx_open(ctx);

    if (rv != ATLAS_OK || ctx->relay_server != NULL) {
        return rv;
    }
    atl_options_relay(&ctx->options, &limits);
    rv = atl_relay_server_new(ctx->ep, &limits, &server);
    if (rv == ATLAS_OK) {
        rv = make_dialback(ctx, &dialback);
    }
    if (rv == ATLAS_OK) {
        rv = apply_lists(ctx, server);
    }
    if (rv == ATLAS_OK) {
        rv = atl_relay_server_add_requests(server, &atl_dialback_ops, dialback);
    }
    if (rv != ATLAS_OK) {
        atl_relay_server_free(server);
        atl_dialback_free(dialback);
        return rv;
    }
    atl_relay_server_set_relaying(server, 0, 0);
    atl_relay_server_set_policy(server, ask_policy, ctx);
    ctx->relay_server = server;
    ctx->dialback = dialback;
    ctx->options.u64[ATLAS_OPT_STUN_SERVER] = 1;
    atl_ctx_apply_options(ctx);
    atl_ctx_update_protocols(ctx);
    return ATLAS_OK;
}

void atl_ctx_server_free(atlas_ctx *ctx) {
    atl_relay_server_free(ctx->relay_server);
    atl_registry_http_free(ctx->registry);
    atl_dialback_free(ctx->dialback);
    ctx->relay_server = NULL;
    ctx->registry = NULL;
    ctx->dialback = NULL;
}

/* ---- the relay ---- */

static int32_t start_relay(atlas_ctx *ctx) {
    int32_t rv;

    if (ctx->relay_started) {
        return ATLAS_ERR_STATE;
    }
    if (!ctx->peers.limits.enable_relay) {
        return ATLAS_ERR_RELAY_DISABLED;
    }
    rv = atl_ctx_server(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    ctx->relay_started = 1;
    atl_relay_server_set_relaying(ctx->relay_server, 1, 0);
    atl_ctx_apply_options(ctx);
    return ATLAS_OK;
}

int32_t atlas_relay_start(atlas_ctx *ctx) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start_relay(ctx);
    atl_ctx_leave(ctx);
    return rv;
}

void atl_ctx_offer(atlas_ctx *ctx, int on) {
    int32_t rv;

    if (ctx->relay_started || ctx->shutdown != ATL_SHUTDOWN_NO) {
        return; /* the application has started it, and has the last word */
    }
    if (on) {
        rv = atl_ctx_server(ctx);
        if (rv != ATLAS_OK) {
            atl_log(&ctx->env, ATLAS_LOG_WARN, "a relay cannot be offered: %s",
                    atlas_error_text(rv));
            return;
        }
        atl_log(&ctx->env, ATLAS_LOG_INFO, "this node is public and offers a relay");
        atl_relay_server_set_relaying(ctx->relay_server, 1, 0);
    } else if (ctx->relay_server != NULL) {
        atl_log(&ctx->env, ATLAS_LOG_INFO, "this node is no longer public and offers no relay");
        atl_relay_server_set_relaying(ctx->relay_server, 0, OFFER_DRAIN);
    }
    atl_ctx_apply_options(ctx);
}

/* ---- the registry ---- */

static size_t page(void *user, char *buf, size_t cap) {
    size_t len = 0;

    return atl_status_page(user, buf, cap, &len) == ATLAS_OK ? len : 0;
}

static int32_t start_bootstrap(atlas_ctx *ctx, const char *path) {
    atl_registry_http_config config = {
        .loop = &ctx->loop,
        .ttl = &ctx->options.u64[ATLAS_OPT_RECORD_LIFETIME_S],
        .max_clock_drift = &ctx->options.u64[ATLAS_OPT_MAX_CLOCK_DRIFT_S],
        .path = path,
        .version = atlas_version(),
        .page = page,
        .user = ctx,
    };
    const uint8_t *own;
    size_t len = 0;
    int32_t rv;

    if (ctx->registry != NULL) {
        return ATLAS_ERR_STATE;
    }
    rv = atl_ctx_server(ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_options_registry(&ctx->options, &config.limits);
    rv = atl_registry_http_new(&config, &ctx->registry);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_relay_server_add_requests(ctx->relay_server, &atl_registry_http_ops, ctx->registry);
    if (rv != ATLAS_OK) {
        atl_registry_http_free(ctx->registry);
        ctx->registry = NULL;
        return rv;
    }
    own = ctx->discovery == NULL ? NULL : atl_discovery_own(ctx->discovery, &len);
    if (own != NULL) {
        (void)atl_registry_http_put_own(ctx->registry, own, len);
    }
    atl_ctx_apply_options(ctx);
    return ATLAS_OK;
}

int32_t atlas_bootstrap_start(atlas_ctx *ctx, const char *db_path) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = start_bootstrap(ctx, db_path);
    atl_ctx_leave(ctx);
    return rv;
}

/* ---- counters ---- */

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

static void add_registry(const atlas_ctx *ctx, atlas_registry_stats *out) {
    const atl_registry_http_stats *http = atl_registry_http_get_stats(ctx->registry);
    const atl_record_store *store = atl_registry_http_store(ctx->registry);
    const atl_record_store_stats *s = atl_record_store_get_stats(store);

    out->records = s->records;
    out->relays = atl_record_store_count(store, ATLAS_OFFER_RELAY);
    out->memory = s->bytes;
    out->puts = http->puts;
    out->gets = http->gets;
    out->found = http->found;
    out->lists = http->lists;
    out->deletes = http->deletes;
    out->taken = s->puts;
    out->refreshed = s->refreshed;
    out->expired = s->expired;
    out->evicted = s->evicted;
    out->refused_malformed = http->refused_malformed;
    out->refused_signature = http->refused_signature;
    out->refused_expired = http->refused_expired;
    out->refused_old = http->refused_old;
    out->refused_limit = http->refused_limit;
    out->refused_rate = http->refused_rate;
    out->refused_size = http->refused_size;
    out->refused_identity = http->refused_identity;
    out->disk_errors = http->disk_errors;
}

int32_t atlas_registry_get_stats(const atlas_ctx *ctx, atlas_registry_stats *out) {
    const atl_dialback_stats *d;

    if (ctx == NULL || out == NULL || out->size != sizeof(*out)) {
        return ATLAS_ERR_INVALID;
    }
    if (ctx->in_hook) {
        return ATLAS_ERR_REENTRANT;
    }
    if (ctx->relay_server == NULL) {
        return ATLAS_ERR_STATE;
    }
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    if (ctx->registry != NULL) {
        add_registry(ctx, out);
    }
    d = atl_dialback_get_stats(ctx->dialback);
    out->dialbacks = d->requests;
    out->dialback_datagrams = d->datagrams;
    out->dialback_refused =
        d->refused_malformed + d->refused_identity + d->refused_rate + d->refused_candidates;
    return ATLAS_OK;
}
