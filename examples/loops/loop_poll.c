/* libatlas in a loop that polls: no hooks. Before each wait the program asks what to wait for
 * (atlas_fds, atlas_next_deadline), after it tells what is ready (atlas_process). */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "job.h"

#define MAX_FDS 16

/* The library's default clock. */
static uint64_t now_ns(void) {
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Milliseconds for poll(2), rounded up so that the deadline has passed when it returns; -1: no
 * limit. */
static int timeout_until(uint64_t deadline) {
    uint64_t now = now_ns();

    if (deadline == ATLAS_NO_DEADLINE) {
        return -1;
    }
    if (deadline <= now) {
        return 0;
    }
    return deadline - now > 60000000000u ? 60000 : (int)((deadline - now + 999999u) / 1000000u);
}

/* Appends what a context wants to be watched; returns how many. */
static size_t want(const atlas_ctx *ctx, struct pollfd *fds) {
    atlas_fd_event wanted[MAX_FDS];
    size_t n = atlas_fds(ctx, wanted, MAX_FDS);
    size_t i;

    n = n < MAX_FDS ? n : MAX_FDS;
    for (i = 0; i < n; i++) {
        fds[i].fd = wanted[i].fd;
        fds[i].events = (short)(((wanted[i].events & ATLAS_FD_READ) != 0 ? POLLIN : 0) |
                                ((wanted[i].events & ATLAS_FD_WRITE) != 0 ? POLLOUT : 0));
        fds[i].revents = 0;
    }
    return n;
}

static int32_t drive(atlas_ctx *ctx, const struct pollfd *fds, size_t n) {
    atlas_fd_event ready[MAX_FDS];
    size_t count = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (fds[i].revents != 0) {
            ready[count].fd = fds[i].fd;
            ready[count].events =
                ((fds[i].revents & POLLIN) != 0 ? ATLAS_FD_READ : 0) |
                ((fds[i].revents & POLLOUT) != 0 ? ATLAS_FD_WRITE : 0) |
                ((fds[i].revents & (POLLERR | POLLHUP)) != 0 ? ATLAS_FD_ERROR : 0);
            count++;
        }
    }
    /* called even when nothing is ready: timers run in every call */
    return atlas_process(ctx, ready, count);
}

int main(void) {
    job j;

    memset(&j, 0, sizeof(j));
    (void)job_start(&j, NULL, NULL);
    while (!job_done(&j)) {
        struct pollfd fds[2 * MAX_FDS];
        uint64_t a = atlas_next_deadline(j.listener);
        uint64_t b = atlas_next_deadline(j.dialer);
        size_t n = want(j.listener, fds);
        size_t m = want(j.dialer, fds + n);

        if (poll(fds, (nfds_t)(n + m), timeout_until(a < b ? a : b)) < 0 && errno != EINTR) {
            perror("poll");
            j.failed = 1;
        } else if (drive(j.listener, fds, n) != ATLAS_OK ||
                   drive(j.dialer, fds + n, m) != ATLAS_OK) {
            j.failed = 1;
        }
    }
    return job_finish(&j);
}
