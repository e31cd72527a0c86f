#include "api/idle.h"

#include "api/context.h"
#include "peer/quiet.h"

#define SETTLE ATL_SECOND

static int is_quiet(const atlas_ctx *ctx, uint64_t *next) {
    if (ctx->left || (ctx->discovery != NULL && !atl_discovery_is_quiet(ctx->discovery)) ||
        (ctx->stun != NULL && atl_stun_agent_probes(ctx->stun) > 0)) {
        return 0;
    }
    /* what a relay forwards is the work of others, and can begin at any moment */
    return ctx->relay_server == NULL && atl_peers_quiet(&ctx->peers, next);
}

static void look(atl_task *task) {
    atlas_ctx *ctx = task->user;
    uint64_t next = ATLAS_NO_DEADLINE;

    ctx->idle.silent++;
    if (ctx->callbacks.on_idle == NULL || ctx->shutdown != ATL_SHUTDOWN_NO) {
        ctx->idle.busy = 0;
        return;
    }
    if (!is_quiet(ctx, &next)) {
        atl_timer_set(&ctx->loop, &ctx->idle.timer, ctx->loop.now + SETTLE);
        return;
    }
    ctx->idle.busy = 0;
    if (ctx->idle.asleep || next == ATLAS_NO_DEADLINE) {
        next = ATLAS_NO_DEADLINE;
    } else {
        next = next > ctx->loop.now ? next - ctx->loop.now : 0;
    }
    ctx->callbacks.on_idle(ctx->callbacks.user, ctx, next);
}

static void settled(atl_timer *timer, uint64_t now) {
    atlas_ctx *ctx = timer->user;
    uint64_t due = ctx->idle.active + SETTLE;

    if (now < due) {
        atl_timer_set(&ctx->loop, timer, due);
    } else {
        /* in the order of events: what happened before is told before */
        atl_post_event(&ctx->loop, &ctx->idle.event);
    }
}

void atl_idle_init(atl_idle *idle, atlas_ctx *ctx) {
    atl_timer_init(&idle->timer, settled, ctx);
    atl_task_init(&idle->event, look, ctx);
}

void atl_idle_touch(atlas_ctx *ctx) {
    atl_idle *idle = &ctx->idle;

    if (ctx->callbacks.on_idle == NULL || ctx->shutdown != ATL_SHUTDOWN_NO) {
        return;
    }
    idle->active = ctx->loop.now;
    if (!idle->busy) {
        idle->busy = 1;
        atl_timer_set(&ctx->loop, &idle->timer, idle->active + SETTLE);
    }
}

void atl_idle_after_events(atlas_ctx *ctx, size_t n) {
    if (n > ctx->idle.silent) {
        atl_idle_touch(ctx);
    }
    ctx->idle.silent = 0;
}

static void on_relay(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event) {
    ctx->idle.silent++;
    if (ctx->idle.on_relay != NULL) {
        ctx->idle.on_relay(user, ctx, event);
    }
}

void atl_idle_set_callbacks(atlas_ctx *ctx) {
    ctx->idle.on_relay = ctx->callbacks.on_relay;
    if (ctx->callbacks.on_idle != NULL) {
        ctx->callbacks.on_relay = on_relay;
        atl_idle_touch(ctx);
    }
}
