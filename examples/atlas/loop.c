/* The loop: poll() over the library's descriptors and the HTTP server's, deadlines of both and of
 * the command, and signals. */
#include "app.h"
#include "metrics.h"
#include "records.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- signals ---- */

static volatile sig_atomic_t interrupts;
static atlas_ctx *woken; /* the context whose wait a signal ends */

static void on_signal(int number) {
    int before = errno;

    (void)number;
    interrupts++;
    if (woken != NULL) {
        (void)atlas_wakeup(woken);
    }
    errno = before;
}

void app_catch_signals(void) {
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    /* a limit on the size of files is an error of write(), no reason to die */
    (void)sigaction(SIGXFSZ, &action, NULL);
    action.sa_handler = on_signal;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int app_interrupted(void) {
    return interrupts > 0;
}

/* ---- the end ---- */

void app_finish(app *a, int exit_code) {
    if (a->exit_code == EXIT_DONE) {
        a->exit_code = exit_code;
    }
    if (!a->stopping) {
        a->stopping = 1;
        a->tick_at = 0;
        a->give_up_at = atlas_now(a->ctx) + 3 * NS_PER_S + a->drain_ms * NS_PER_MS;
        if (atlas_shutdown(a->ctx, a->drain_ms) != ATLAS_OK) {
            a->done = 1;
        }
    }
}

static void check_stop(app *a) {
    if (!a->stopping && (interrupts > 0 || a->out.failed)) {
        if (a->on_stop != NULL) {
            a->on_stop(a);
        }
        app_finish(a, a->out.failed ? EXIT_FAILED : EXIT_DONE);
    }
}

/* ---- waiting ---- */

/* What is waited for: the library's descriptors, and behind them the HTTP server's. */
typedef struct waits {
    struct pollfd *polls;
    atlas_fd_event *events;
    size_t cap;
    size_t count; /* of the library */
} waits;

static int grow(waits *w, size_t count) {
    struct pollfd *polls;
    atlas_fd_event *events;

    if (count + 1 <= w->cap) {
        return 1;
    }
    polls = realloc(w->polls, (count + 16) * sizeof(*polls));
    if (polls == NULL) {
        return 0;
    }
    w->polls = polls;
    events = realloc(w->events, (count + 16) * sizeof(*events));
    if (events == NULL) {
        return 0;
    }
    w->events = events;
    w->cap = count + 16;
    return 1;
}

static int collect(app *a, waits *w) {
    size_t i;

    w->count = atlas_fds(a->ctx, w->events, w->cap);
    if (!grow(w, w->count)) {
        return 0;
    }
    w->count = atlas_fds(a->ctx, w->events, w->cap - 1);
    for (i = 0; i < w->count; i++) {
        w->polls[i].fd = w->events[i].fd;
        w->polls[i].events = (short)(((w->events[i].events & ATLAS_FD_READ) != 0 ? POLLIN : 0) |
                                     ((w->events[i].events & ATLAS_FD_WRITE) != 0 ? POLLOUT : 0));
        w->polls[i].revents = 0;
    }
    w->polls[i].fd = metrics_fd(a->http); /* a negative one is not looked at */
    w->polls[i].events = POLLIN;
    w->polls[i].revents = 0;
    return 1;
}

/* The library's events that have come, in front of `events`; how many. */
static size_t ready(waits *w) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < w->count; i++) {
        short got = w->polls[i].revents;

        if (got == 0) {
            continue;
        }
        w->events[n].fd = w->polls[i].fd;
        w->events[n].events = ((got & POLLIN) != 0 ? ATLAS_FD_READ : 0) |
                              ((got & POLLOUT) != 0 ? ATLAS_FD_WRITE : 0) |
                              ((got & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? ATLAS_FD_ERROR : 0);
        n++;
    }
    return n;
}

static uint64_t sooner(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* The next time at which something is to be done. */
static uint64_t deadline(const app *a, uint64_t now) {
    uint64_t next = atlas_next_deadline(a->ctx);

    if (a->stopping) {
        next = sooner(next, a->give_up_at);
    } else {
        next = a->tick_at != 0 ? sooner(next, a->tick_at) : next;
        next = sooner(next, records_due(a));
    }
    return sooner(next, metrics_due(a->http, now));
}

static int wait_for(waits *w, uint64_t now, uint64_t until) {
    uint64_t left = until <= now ? 0 : until - now;
    struct timespec limit = {.tv_sec = (time_t)(left / NS_PER_S),
                             .tv_nsec = (long)(left % NS_PER_S)};
    int got = ppoll(w->polls, w->count + 1, until == UINT64_MAX ? NULL : &limit, NULL);

    if (got < 0) {
        size_t i;

        for (i = 0; i <= w->count; i++) {
            w->polls[i].revents = 0;
        }
    }
    return got >= 0 || errno == EINTR;
}

/* ---- the loop ---- */

static void turn(app *a, waits *w) {
    uint64_t now = atlas_now(a->ctx);
    int32_t rv;

    if (!collect(a, w)) {
        rv = ATLAS_ERR_NOMEM;
    } else if (!wait_for(w, now, deadline(a, now))) {
        rv = ATLAS_ERR_IO;
    } else {
        rv = atlas_process(a->ctx, w->events, ready(w));
    }
    if (rv != ATLAS_OK) {
        a->exit_code = app_error(a, rv, "loop");
        a->done = 1;
        return;
    }
    metrics_run(a->http);
    now = atlas_now(a->ctx);
    if (!a->stopping && a->tick_at != 0 && now >= a->tick_at) {
        a->tick_at = 0;
        a->on_tick(a);
    }
    if (!a->stopping && now >= records_due(a)) {
        records_save(a);
    }
    check_stop(a);
    /* asked a second time, or somebody does not answer: without goodbye */
    if (a->stopping && (interrupts > 1 || now >= a->give_up_at)) {
        a->done = 1;
    }
}

int app_run(app *a) {
    waits w = {0};

    woken = a->ctx;
    check_stop(a); /* a signal that came before */
    while (!a->done) {
        turn(a, &w);
    }
    woken = NULL;
    free(w.polls);
    free(w.events);
    records_save(a);
    return a->exit_code;
}
