/* libatlas on libuv: a uv_poll_t for each descriptor, kept in the interest hook's slot, and one
 * uv_timer_t for each context. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "job.h"

/* One context on the loop. */
typedef struct node {
    uv_loop_t *loop;
    uv_timer_t timer;
    atlas_ctx **ctx; /* hooks are called before atlas_new() has returned the context */
    int32_t error;
} node;

/* One descriptor. */
typedef struct watch {
    uv_poll_t poll;
    node *owner;
    int32_t fd;
    int wanted; /* UV_READABLE, UV_WRITABLE */
} watch;

static void drive(node *self, const atlas_fd_event *events, size_t n) {
    int32_t rc = atlas_process(*self->ctx, events, n);

    if (rc != ATLAS_OK) {
        self->error = rc;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    watch *w = poll->data;
    atlas_fd_event ready = {w->fd, 0};

    if (status < 0) {
        /* libuv gives up a descriptor with an error condition, which for UDP only says that an ICMP
         * message has come: watch it again, and let the library fetch the message */
        ready.events = ATLAS_FD_ERROR;
        (void)uv_poll_start(poll, w->wanted, on_poll);
    } else {
        ready.events = ((events & UV_READABLE) != 0 ? ATLAS_FD_READ : 0) |
                       ((events & UV_WRITABLE) != 0 ? ATLAS_FD_WRITE : 0);
    }
    drive(w->owner, &ready, 1);
}

static void on_watch_closed(uv_handle_t *handle) {
    free(handle->data);
}

static watch *watch_new(node *self, int32_t fd) {
    watch *w = calloc(1, sizeof(*w));

    if (w == NULL || uv_poll_init(self->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->owner = self;
    w->fd = fd;
    return w;
}

static void on_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    node *self = user;
    watch *w = *slot;

    if (events == 0) {
        if (w != NULL) {
            (void)uv_poll_stop(
                &w->poll); /* takes effect now; the handle is freed in a later turn */
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        }
        return;
    }
    if (w == NULL) {
        w = watch_new(self, fd);
        if (w == NULL) {
            self->error = ATLAS_ERR_NOMEM;
            return;
        }
        *slot = w;
    }
    w->wanted = ((events & ATLAS_FD_READ) != 0 ? UV_READABLE : 0) |
                ((events & ATLAS_FD_WRITE) != 0 ? UV_WRITABLE : 0);
    (void)uv_poll_start(&w->poll, w->wanted, on_poll);
}

static void on_timeout(uv_timer_t *timer) {
    const atlas_fd_event none = {-1, 0}; /* with NULL all descriptors would be tried */

    drive(timer->data, &none, 0);
}

static void on_timer(void *user, uint64_t deadline_ns) {
    node *self = user;
    uint64_t now = uv_hrtime(); /* the monotonic clock, as the library's */

    if (deadline_ns == ATLAS_NO_DEADLINE) {
        (void)uv_timer_stop(&self->timer);
        return;
    }
    uv_update_time(self->loop);
    (void)uv_timer_start(&self->timer, on_timeout,
                         deadline_ns <= now ? 0 : (deadline_ns - now + 999999u) / 1000000u, 0);
}

int main(void) {
    uv_loop_t loop;
    node nodes[2];
    atlas_hooks hooks[2];
    job j;
    int status;
    int i;

    memset(&j, 0, sizeof(j));
    memset(nodes, 0, sizeof(nodes));
    memset(hooks, 0, sizeof(hooks));
    if (uv_loop_init(&loop) != 0) {
        return 1;
    }
    for (i = 0; i < 2; i++) {
        nodes[i].loop = &loop;
        nodes[i].ctx = i == 0 ? &j.listener : &j.dialer;
        (void)uv_timer_init(&loop, &nodes[i].timer);
        nodes[i].timer.data = &nodes[i];
        hooks[i].size = sizeof(hooks[i]);
        hooks[i].user = &nodes[i];
        hooks[i].interest = on_interest;
        hooks[i].timer = on_timer;
    }
    (void)job_start(&j, &hooks[0], &hooks[1]);
    while (!job_done(&j) && nodes[0].error == 0 && nodes[1].error == 0) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    status = job_finish(&j);
    uv_close((uv_handle_t *)&nodes[0].timer, NULL);
    uv_close((uv_handle_t *)&nodes[1].timer, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* lets the handles end */
    return uv_loop_close(&loop) == 0 ? status : 1;
}
