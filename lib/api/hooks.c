#include "api/hooks.h"

#include "io/os.h"

#include <string.h>

/* Marks the time spent in the application's hook. Hooks nest: an allocation hook may log. */
static uint8_t hook_begin(const atl_hook_frame *frame) {
    uint8_t before = *frame->flag;

    *frame->flag = 1;
    return before;
}

static void wrap_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);

    frame->app.interest(frame->app.user, fd, events, slot);
    *frame->flag = before;
}

static void wrap_timer(void *user, uint64_t deadline) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);

    frame->app.timer(frame->app.user, deadline);
    *frame->flag = before;
}

static uint64_t wrap_now(void *user) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);
    uint64_t now = frame->app.now(frame->app.user);

    *frame->flag = before;
    return now;
}

static int64_t wrap_wall(void *user) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);
    int64_t wall = frame->app.wall(frame->app.user);

    *frame->flag = before;
    return wall;
}

static void *wrap_malloc(void *user, size_t size) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);
    void *ptr = frame->app.malloc(frame->app.user, size);

    *frame->flag = before;
    return ptr;
}

static void *wrap_realloc(void *user, void *old, size_t size) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);
    void *ptr = frame->app.realloc(frame->app.user, old, size);

    *frame->flag = before;
    return ptr;
}

static void wrap_free(void *user, void *ptr) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);

    frame->app.free(frame->app.user, ptr);
    *frame->flag = before;
}

static int32_t wrap_random(void *user, uint8_t *buf, size_t len) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);
    int32_t rv = frame->app.random(frame->app.user, buf, len);

    *frame->flag = before;
    return rv;
}

static void wrap_log(void *user, int32_t level, const char *text) {
    const atl_hook_frame *frame = user;
    uint8_t before = hook_begin(frame);

    frame->app.log(frame->app.user, level, text);
    *frame->flag = before;
}

int32_t atl_hooks_wrap(const atlas_hooks *hooks, atl_hook_frame *frame, uint8_t *flag,
                       atlas_hooks *out) {
    const atlas_hooks *app = &frame->app;

    if (hooks != NULL && hooks->size != sizeof(*hooks)) {
        return ATLAS_ERR_INVALID;
    }
    memset(frame, 0, sizeof(*frame));
    if (hooks != NULL) {
        frame->app = *hooks;
    }
    frame->flag = flag;
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    out->user = frame;
    out->interest = app->interest != NULL ? wrap_interest : NULL;
    out->timer = app->timer != NULL ? wrap_timer : NULL;
    out->now = app->now != NULL ? wrap_now : NULL;
    out->wall = app->wall != NULL ? wrap_wall : NULL;
    out->malloc = app->malloc != NULL ? wrap_malloc : NULL;
    out->realloc = app->realloc != NULL ? wrap_realloc : NULL;
    out->free = app->free != NULL ? wrap_free : NULL;
    out->random = app->random != NULL ? wrap_random : NULL;
    out->log = app->log != NULL ? wrap_log : NULL;
    return atl_os_default_hooks(out);
}
