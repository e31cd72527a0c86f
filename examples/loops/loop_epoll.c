/* libatlas in a loop on epoll: the interest hook keeps the epoll set up to date, the timer hook
 * remembers the deadline. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "job.h"

#define MAX_EVENTS 16

/* What the hooks of one context need. */
typedef struct node {
    int epoll_fd;
    uint32_t index; /* 0 the listener, 1 the dialer */
    uint64_t deadline;
    atlas_fd_event ready[MAX_EVENTS];
    size_t n;
} node;

/* `*slot` is ours until removal; here it says that the descriptor is in the set. */
static void on_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    node *self = user;
    struct epoll_event want;
    int op = events == 0 ? EPOLL_CTL_DEL : *slot == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    memset(&want, 0, sizeof(want));
    want.events = ((events & ATLAS_FD_READ) != 0 ? (uint32_t)EPOLLIN : 0) |
                  ((events & ATLAS_FD_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0);
    want.data.u64 = (uint64_t)self->index << 32 | (uint32_t)fd;
    if (epoll_ctl(self->epoll_fd, op, fd, &want) != 0) {
        perror("epoll_ctl");
    }
    *slot = self;
}

static void on_timer(void *user, uint64_t deadline_ns) {
    ((node *)user)->deadline = deadline_ns;
}

static int timeout_until(uint64_t deadline) {
    struct timespec ts;
    uint64_t now;

    if (deadline == ATLAS_NO_DEADLINE) {
        return -1;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    if (deadline <= now) {
        return 0;
    }
    return deadline - now > 60000000000u ? 60000 : (int)((deadline - now + 999999u) / 1000000u);
}

/* Sorts what is ready by context. */
static void collect(node nodes[2], const struct epoll_event *events, int n) {
    int i;

    nodes[0].n = 0;
    nodes[1].n = 0;
    for (i = 0; i < n; i++) {
        node *owner = &nodes[events[i].data.u64 >> 32];
        atlas_fd_event *ready = &owner->ready[owner->n++];

        ready->fd = (int32_t)(uint32_t)events[i].data.u64;
        ready->events = ((events[i].events & EPOLLIN) != 0 ? ATLAS_FD_READ : 0) |
                        ((events[i].events & EPOLLOUT) != 0 ? ATLAS_FD_WRITE : 0) |
                        ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0 ? ATLAS_FD_ERROR : 0);
    }
}

static void turn(job *j, node nodes[2]) {
    struct epoll_event events[MAX_EVENTS];
    uint64_t first = nodes[0].deadline < nodes[1].deadline ? nodes[0].deadline : nodes[1].deadline;
    int n = epoll_wait(nodes[0].epoll_fd, events, MAX_EVENTS, timeout_until(first));

    if (n < 0 && errno != EINTR) {
        perror("epoll_wait");
        j->failed = 1;
        return;
    }
    collect(nodes, events, n);
    if (atlas_process(j->listener, nodes[0].ready, nodes[0].n) != ATLAS_OK ||
        atlas_process(j->dialer, nodes[1].ready, nodes[1].n) != ATLAS_OK) {
        j->failed = 1;
    }
}

int main(void) {
    node nodes[2];
    atlas_hooks hooks[2];
    job j;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint32_t i;
    int status;

    if (epoll_fd < 0) {
        perror("epoll_create1");
        return 1;
    }
    memset(&j, 0, sizeof(j));
    memset(nodes, 0, sizeof(nodes));
    memset(hooks, 0, sizeof(hooks));
    for (i = 0; i < 2; i++) {
        nodes[i].epoll_fd = epoll_fd;
        nodes[i].index = i;
        nodes[i].deadline = ATLAS_NO_DEADLINE;
        hooks[i].size = sizeof(hooks[i]);
        hooks[i].user = &nodes[i];
        hooks[i].interest = on_interest;
        hooks[i].timer = on_timer;
    }
    (void)job_start(&j, &hooks[0], &hooks[1]);
    while (!job_done(&j)) {
        turn(&j, nodes);
    }
    status = job_finish(&j); /* removes what is left in the set */
    (void)close(epoll_fd);
    return status;
}
