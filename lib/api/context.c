#include "api/context.h"

#include "api/query.h"
#include "api/sized.h"

#include <string.h>

#ifndef ATL_VERSION /* the build sets it */
#define ATL_VERSION "0.1.0"
#endif

const char *atlas_version(void) {
    return ATL_VERSION;
}

#define FAREWELL_BUDGET 65536

/* ---- the frame of public functions ---- */

int32_t atl_ctx_enter(atlas_ctx *ctx) {
    if (ctx == NULL) {
        return ATLAS_ERR_INVALID;
    }
    if (ctx->in_hook) {
        return ATLAS_ERR_REENTRANT;
    }
    if (!ctx->in_process) {
        atl_loop_update(&ctx->loop);
    }
    return ATLAS_OK;
}

void atl_ctx_leave(atlas_ctx *ctx) {
    uint64_t deadline;

    atl_idle_touch(ctx);
    if (ctx->in_process) {
        return;
    }
    deadline = atlas_next_deadline(ctx);
    /* a deadline that has passed is as good as now: the loop is on its way already */
    if (deadline == ctx->reported ||
        (deadline <= ctx->loop.now && ctx->reported <= ctx->loop.now)) {
        return;
    }
    ctx->reported = deadline;
    if (ctx->hooks.app.timer != NULL) {
        ctx->env.hooks.timer(ctx->env.hooks.user, deadline);
    }
}

/* ---- life ---- */

static void deliver_wakeup(atl_task *task) {
    atlas_ctx *ctx = task->user;

    if (ctx->callbacks.on_wakeup != NULL) {
        ctx->callbacks.on_wakeup(ctx->callbacks.user, ctx);
    }
}

static void deliver_shutdown(atl_task *task) {
    atlas_ctx *ctx = task->user;

    if (ctx->callbacks.on_shutdown != NULL) {
        ctx->callbacks.on_shutdown(ctx->callbacks.user, ctx);
    }
}

static int32_t open_io(atlas_ctx *ctx, const atl_io_factory *factory) {
    int32_t rv;

    if (factory == NULL) {
        return atl_os_new(&ctx->loop, &ctx->os, &ctx->io);
    }
    rv = factory->open(factory->user, &ctx->loop, &ctx->io);
    if (rv == ATLAS_OK) {
        ctx->factory = *factory;
    }
    return rv;
}

static int32_t copy_key(atlas_ctx *ctx, const atlas_key *key) {
    int32_t rv = key == NULL ? atlas_key_generate(&ctx->key) : atl_key_copy(key, &ctx->key);

    if (rv == ATLAS_OK) {
        atl_key_id(ctx->key, &ctx->self);
        atl_peer_id_text(&ctx->self, ctx->self_text);
    }
    return rv;
}

static void free_lists(atlas_ctx *ctx) {
    size_t i;

    for (i = 0; i < ctx->stun_server_count; i++) {
        atl_free(&ctx->env, ctx->stun_servers[i]);
    }
    atl_free(&ctx->env, ctx->relay_allow);
    atl_free(&ctx->env, ctx->relay_deny);
}

static void drained(void *user) {
    atlas_ctx *ctx = user;

    ctx->relay_drained = 1;
}

/* A relay that ends without a drain still tells its nodes, which otherwise miss it only after
 * seconds. */
static void say_farewell(atlas_ctx *ctx) {
    atl_relay_server_drain(ctx->relay_server, 0, drained, ctx);
    atl_loop_run_timers(&ctx->loop, FAREWELL_BUDGET);
    atl_loop_run_work(&ctx->loop, FAREWELL_BUDGET);
}

/* Frees in the order in which parts lean on one another; legal for a context that is only half
 * made. */
static void destroy(atlas_ctx *ctx) {
    /* the allocator's hooks are needed to the end */
    atl_hook_frame frame = ctx->hooks;
    uint8_t flag = 0;
    atl_env env = ctx->env;

    while (!atl_list_empty(&ctx->queries)) {
        atl_query_free(atl_query_of(ctx->queries.next));
    }
    atl_discovery_free(ctx->discovery);
    atl_events_free(ctx);
    if (ctx->peers.loop != NULL) {
        atl_peers_free(&ctx->peers);
    }
    if (ctx->relay_server != NULL) {
        say_farewell(ctx);
        atl_ctx_server_free(ctx);
    }
    atl_stun_agent_free(ctx->stun);
    if (ctx->ep != NULL) {
        atl_endpoint_free(ctx->ep);
    }
    if (ctx->os != NULL) {
        atl_os_free(ctx->os);
    } else if (ctx->factory.close != NULL) {
        ctx->factory.close(ctx->factory.user, &ctx->io);
    }
    free_lists(ctx);
    atlas_key_free(ctx->key);
    frame.flag = &flag;
    if (env.hooks.user == &ctx->hooks) {
        env.hooks.user = &frame;
    }
    atl_free(&env, ctx);
}

/* A context with its services, and nothing in it. */
static int32_t allocate(const atlas_hooks *hooks, atlas_ctx **out) {
    atl_hook_frame frame;
    uint8_t flag = 0;
    atlas_hooks complete;
    atl_env env;
    atlas_ctx *ctx;
    int32_t rv = atl_hooks_wrap(hooks, &frame, &flag, &complete);

    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_env_init(&env, &complete);
    ctx = atl_calloc(&env, 1, sizeof(*ctx));
    if (ctx == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    ctx->hooks = frame;
    ctx->hooks.flag = &ctx->in_hook;
    complete.user = &ctx->hooks;
    atl_env_init(&ctx->env, &complete);
    atl_loop_init(&ctx->loop, &ctx->env);
    *out = ctx;
    return ATLAS_OK;
}

int32_t atl_ctx_new_with_io(const atlas_hooks *hooks, const atlas_key *key,
                            const atl_io_factory *factory, atlas_ctx **out) {
    atlas_ctx *ctx;
    int32_t rv;

    if (out == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rv = allocate(hooks, &ctx);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_options_init(&ctx->options);
    ctx->reported = ATLAS_NO_DEADLINE;
    ctx->callbacks.size = sizeof(ctx->callbacks);
    atl_task_init(&ctx->wake_event, deliver_wakeup, ctx);
    atl_task_init(&ctx->shutdown_event, deliver_shutdown, ctx);
    atl_idle_init(&ctx->idle, ctx);
    atl_list_init(&ctx->queries);
    atl_events_init(ctx);
    rv = copy_key(ctx, key);
    if (rv == ATLAS_OK) {
        rv = open_io(ctx, factory);
    }
    if (rv == ATLAS_OK) {
        rv = atl_peers_init(&ctx->peers, &ctx->loop, &ctx->io, ctx, &ctx->callbacks, &ctx->self);
    }
    if (rv != ATLAS_OK) {
        destroy(ctx);
        return rv;
    }
    atl_ctx_apply_options(ctx);
    *out = ctx;
    return ATLAS_OK;
}

int32_t atlas_new(const atlas_hooks *hooks, const atlas_key *key, atlas_ctx **out) {
    return atl_ctx_new_with_io(hooks, key, NULL, out);
}

int32_t atlas_free(atlas_ctx *ctx) {
    if (ctx == NULL) {
        return ATLAS_OK;
    }
    if (ctx->in_hook || ctx->in_process) {
        return ATLAS_ERR_REENTRANT;
    }
    /* no timer hook from here on, no callback either: nothing runs the events any more */
    ctx->in_process = 1;
    atl_loop_update(&ctx->loop);
    destroy(ctx);
    return ATLAS_OK;
}

/* ---- shutdown ---- */

int32_t atlas_shutdown(atlas_ctx *ctx, uint64_t drain_ms) {
    uint64_t timeout =
        drain_ms > UINT64_C(86400000) ? UINT64_C(86400000) * ATL_MS : drain_ms * ATL_MS;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (ctx->shutdown == ATL_SHUTDOWN_NO) {
        ctx->shutdown = ATL_SHUTDOWN_RUNS;
        ctx->relay_drained = ctx->relay_server == NULL;
        atl_query_cancel_all(ctx);
        if (ctx->discovery != NULL) {
            atl_discovery_shutdown(ctx->discovery);
        }
        atl_peers_shutdown(&ctx->peers);
        if (ctx->stun != NULL) {
            atl_stun_agent_cancel_all(ctx->stun);
        }
    }
    if (!ctx->relay_drained) {
        atl_relay_server_drain(ctx->relay_server, timeout, drained, ctx);
    }
    atl_ctx_check_shutdown(ctx);
    atl_ctx_leave(ctx);
    return ATLAS_OK;
}

/* Connections end before the relays that may carry them. */
void atl_ctx_check_shutdown(atlas_ctx *ctx) {
    if (ctx->shutdown != ATL_SHUTDOWN_RUNS || ctx->peers.count > 0 || ctx->query_count > 0 ||
        (ctx->discovery != NULL && !atl_discovery_is_idle(ctx->discovery))) {
        return;
    }
    atl_relays_stop(&ctx->peers.relays);
    if (ctx->relay_drained && atl_relays_idle(&ctx->peers.relays) &&
        (ctx->stun == NULL || atl_stun_agent_probes(ctx->stun) == 0)) {
        ctx->shutdown = ATL_SHUTDOWN_DONE;
        atl_post_event(&ctx->loop, &ctx->shutdown_event);
    }
}

/* ---- options and callbacks ---- */

void atl_ctx_apply_options(atlas_ctx *ctx) {
    const atl_options *options = &ctx->options;
    atl_peer_limits *limits = &ctx->peers.limits;

    limits->max_conns = options->u64[ATLAS_OPT_MAX_CONNECTIONS];
    limits->max_message = options->u64[ATLAS_OPT_MAX_MESSAGE_SIZE];
    limits->idle_timeout = options->u64[ATLAS_OPT_IDLE_TIMEOUT_MS] * ATL_MS;
    limits->handshake_timeout = options->handshake_ns;
    limits->relay_delay = options->u64[ATLAS_OPT_RELAY_DELAY_MS] * ATL_MS;
    limits->presence_interval = options->presence_ns;
    limits->max_clock_drift = options->drift_s;
    limits->keepalive_max = options->u64[ATLAS_OPT_KEEPALIVE_MAX_MS] * ATL_MS;
    limits->idle_mode_max = options->u64[ATLAS_OPT_IDLE_MODE_MAX_S] * ATL_SECOND;
    limits->upgrade = options->u64[ATLAS_OPT_UPGRADE] != 0;
    limits->enable_relay = options->u64[ATLAS_OPT_ENABLE_RELAY] != 0;
    if (!limits->enable_relay) {
        atl_relays_presence(&ctx->peers.relays, 0, 0);
    }
    if (ctx->ep != NULL) {
        atl_options_quic(options, ctx->relay_server != NULL, atl_endpoint_params(ctx->ep));
    }
    if (ctx->stun != NULL) {
        atl_stun_agent_set_server(ctx->stun, options->u64[ATLAS_OPT_STUN_SERVER] != 0);
    }
    if (ctx->relay_server != NULL) {
        atl_options_relay(options, atl_relay_server_limits(ctx->relay_server));
    }
    atl_ctx_discovery_options(ctx);
}

int32_t atlas_set_u64(atlas_ctx *ctx, uint32_t option, uint64_t value) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_options_set_u64(&ctx->options, option, value, ctx->ep != NULL);
    if (rv == ATLAS_OK) {
        atl_ctx_apply_options(ctx);
        if (option == ATLAS_OPT_STUN_RATE && ctx->stun != NULL) {
            atl_stun_server_set_rate(atl_stun_agent_server(ctx->stun), value);
        }
    }
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_set_str(atlas_ctx *ctx, uint32_t option, const char *value) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    return atl_options_set_str(&ctx->options, option, value, ctx->ep != NULL);
}

int32_t atlas_get_u64(const atlas_ctx *ctx, uint32_t option, uint64_t *out) {
    if (ctx == NULL || out == NULL) {
        return ATLAS_ERR_INVALID;
    }
    return ctx->in_hook ? ATLAS_ERR_REENTRANT : atl_options_get_u64(&ctx->options, option, out);
}

const char *atlas_self_id(const atlas_ctx *ctx) {
    return ctx == NULL ? NULL : ctx->self_text;
}

int32_t atlas_set_callbacks(atlas_ctx *ctx, const atlas_callbacks *callbacks) {
    static const atlas_callbacks none = {.size = sizeof(none)};
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (callbacks == NULL) {
        callbacks = &none;
    }
    rv = atl_sized_take(&atl_sized_callbacks, callbacks, &ctx->callbacks);
    if (rv == ATLAS_OK) {
        atl_idle_set_callbacks(ctx);
        atl_ctx_leave(ctx);
    }
    return rv;
}
