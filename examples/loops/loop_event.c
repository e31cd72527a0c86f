/* libatlas on libevent: an event for each descriptor, kept in the interest hook's slot, and one
 * timer event for each context. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "job.h"

/* One context on the loop. */
typedef struct node {
    struct event_base *base;
    struct event *timer;
    atlas_ctx **ctx; /* hooks are called before atlas_new() has returned the context */
    job *j;
} node;

static void drive(node *self, const atlas_fd_event *events, size_t n) {
    if (atlas_process(*self->ctx, events, n) != ATLAS_OK) {
        self->j->failed = 1;
    }
    if (job_done(self->j)) {
        (void)event_base_loopbreak(self->base);
    }
}

static void on_ready(evutil_socket_t fd, short what, void *user) {
    atlas_fd_event ready;

    ready.fd = (int32_t)fd;
    ready.events =
        ((what & EV_READ) != 0 ? ATLAS_FD_READ : 0) | ((what & EV_WRITE) != 0 ? ATLAS_FD_WRITE : 0);
    drive(user, &ready, 1);
}

/* An event cannot change what it waits for, so a change is a new event. */
static void on_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    node *self = user;
    short what = (short)(EV_PERSIST | ((events & ATLAS_FD_READ) != 0 ? EV_READ : 0) |
                         ((events & ATLAS_FD_WRITE) != 0 ? EV_WRITE : 0));

    if (*slot != NULL) {
        event_free(*slot);
        *slot = NULL;
    }
    if (events != 0) {
        *slot = event_new(self->base, fd, what, on_ready, self);
        if (*slot == NULL || event_add(*slot, NULL) != 0) {
            self->j->failed = 1;
        }
    }
}

static void on_timeout(evutil_socket_t fd, short what, void *user) {
    const atlas_fd_event none = {-1, 0}; /* with NULL all descriptors would be tried */

    (void)fd;
    (void)what;
    drive(user, &none, 0);
}

static void on_timer(void *user, uint64_t deadline_ns) {
    node *self = user;
    struct timespec ts;
    struct timeval wait;
    uint64_t now;
    uint64_t us;

    if (deadline_ns == ATLAS_NO_DEADLINE) {
        (void)evtimer_del(self->timer);
        return;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    us = deadline_ns <= now ? 0 : (deadline_ns - now + 999u) / 1000u;
    wait.tv_sec = (time_t)(us / 1000000u);
    wait.tv_usec = (suseconds_t)(us % 1000000u);
    (void)evtimer_add(self->timer, &wait);
}

int main(void) {
    struct event_base *base = event_base_new();
    node nodes[2];
    atlas_hooks hooks[2];
    job j;
    int status;
    int i;

    if (base == NULL) {
        return 1;
    }
    memset(&j, 0, sizeof(j));
    memset(nodes, 0, sizeof(nodes));
    memset(hooks, 0, sizeof(hooks));
    for (i = 0; i < 2; i++) {
        nodes[i].base = base;
        nodes[i].ctx = i == 0 ? &j.listener : &j.dialer;
        nodes[i].j = &j;
        nodes[i].timer = evtimer_new(base, on_timeout, &nodes[i]);
        if (nodes[i].timer == NULL) {
            return 1;
        }
        hooks[i].size = sizeof(hooks[i]);
        hooks[i].user = &nodes[i];
        hooks[i].interest = on_interest;
        hooks[i].timer = on_timer;
    }
    (void)job_start(&j, &hooks[0], &hooks[1]);
    if (!job_done(&j)) {
        (void)event_base_dispatch(base);
    }
    status = job_finish(&j);
    event_free(nodes[0].timer);
    event_free(nodes[1].timer);
    event_base_free(base);
    return status;
}
