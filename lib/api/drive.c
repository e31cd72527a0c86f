/* The drive call, and how the application learns when to make it. */
#include "api/context.h"

/* One drive call does at most this much of each; what is left sets a deadline of now. */
#define FD_BUDGET 16
#define TIMER_BUDGET 4096
#define WORK_BUDGET 4096
#define EVENT_BUDGET 1024

#define POLL_FDS 64

static int drive_io(atlas_ctx *ctx, const atlas_fd_event *events, size_t n) {
    if (ctx->os == NULL) {
        return ctx->factory.process(ctx->factory.user, &ctx->io, FD_BUDGET) > 0;
    }
    if (atl_os_process(ctx->os, events, n, FD_BUDGET) > 0) {
        return 1;
    }
    return 0;
}

/* After a drive call a deadline that has passed is reported again: the application's timer for it
 * has fired. */
static void report(atlas_ctx *ctx) {
    uint64_t deadline = atlas_next_deadline(ctx);

    if (deadline > ctx->loop.now && deadline == ctx->reported) {
        return;
    }
    ctx->reported = deadline;
    if (ctx->hooks.app.timer != NULL) {
        ctx->env.hooks.timer(ctx->env.hooks.user, deadline);
    }
}

int32_t atlas_process(atlas_ctx *ctx, const atlas_fd_event *events, size_t n) {
    if (ctx == NULL || (events == NULL && n > 0)) {
        return ATLAS_ERR_INVALID;
    }
    if (ctx->in_hook || ctx->in_process) {
        return ATLAS_ERR_REENTRANT;
    }
    ctx->in_process = 1;
    atl_loop_update(&ctx->loop);
    ctx->left = drive_io(ctx, events, n) != 0;
    if (ctx->os != NULL && atl_os_woken(ctx->os)) {
        atl_post_event(&ctx->loop, &ctx->wake_event);
    }
    atl_loop_run_timers(&ctx->loop, TIMER_BUDGET);
    atl_loop_run_work(&ctx->loop, WORK_BUDGET);
    ctx->in_callback = 1;
    atl_idle_after_events(ctx, atl_loop_run_events(&ctx->loop, EVENT_BUDGET));
    ctx->in_callback = 0;
    atl_loop_run_work(&ctx->loop, WORK_BUDGET);
    atl_ctx_check_shutdown(ctx);
    ctx->in_process = 0;
    report(ctx);
    return ATLAS_OK;
}

uint64_t atlas_next_deadline(const atlas_ctx *ctx) {
    if (ctx == NULL) {
        return ATLAS_NO_DEADLINE;
    }
    return ctx->left ? ctx->loop.now : atl_loop_deadline(&ctx->loop);
}

uint64_t atlas_now(atlas_ctx *ctx) {
    if (ctx == NULL) {
        return 0;
    }
    return ctx->in_hook ? ctx->loop.now : atl_env_now(&ctx->env);
}

size_t atlas_fds(const atlas_ctx *ctx, atlas_fd_event *out, size_t cap) {
    if (ctx == NULL || (out == NULL && cap > 0) || ctx->os == NULL) {
        return 0;
    }
    return atl_os_fds(ctx->os, out, cap);
}

/* Nanoseconds to wait until the next deadline, at most timeout_ms. */
static uint64_t wait_ns(atlas_ctx *ctx, int32_t timeout_ms) {
    uint64_t limit = timeout_ms < 0 ? ATLAS_NO_DEADLINE : (uint64_t)timeout_ms * ATL_MS;
    uint64_t deadline = atlas_next_deadline(ctx);
    uint64_t now = atl_env_now(&ctx->env);
    uint64_t wait;

    if (deadline == ATLAS_NO_DEADLINE) {
        return limit;
    }
    wait = deadline <= now ? 0 : deadline - now;
    return wait < limit ? wait : limit;
}

int32_t atlas_run_once(atlas_ctx *ctx, int32_t timeout_ms) {
    atlas_fd_event events[POLL_FDS];
    size_t n = 0;
    int32_t rv;

    if (ctx == NULL) {
        return ATLAS_ERR_INVALID;
    }
    if (ctx->in_hook || ctx->in_process) {
        return ATLAS_ERR_REENTRANT;
    }
    if (ctx->os == NULL) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    rv = atl_os_poll(ctx->os, wait_ns(ctx, timeout_ms), events, POLL_FDS, &n);
    return rv != ATLAS_OK ? rv : atlas_process(ctx, events, n);
}

int32_t atlas_wakeup(atlas_ctx *ctx) {
    if (ctx == NULL) {
        return ATLAS_ERR_INVALID;
    }
    return ctx->os == NULL ? ATLAS_ERR_UNSUPPORTED : atl_os_wakeup(ctx->os);
}
