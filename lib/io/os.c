#include "io/os.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io/netif.h"
#include "io/netwatch.h"
#include "io/os_impl.h"
#include "io/resolver.h"
#include "io/udp.h"

/* ---- watches ---- */

static void tell_interest(atl_watch *watch) {
    const atlas_hooks *hooks = &watch->os->env->hooks;

    if (hooks->interest != NULL) {
        hooks->interest(hooks->user, watch->fd, watch->wanted, &watch->slot);
    }
    if (watch->wanted == 0) {
        watch->slot = NULL;
    }
}

atl_watch *atl_watch_find(const atl_os *os, int32_t fd) {
    const atl_idmap_slot *slot = fd < 0 ? NULL : atl_idmap_get(&os->by_fd, (uint64_t)fd);

    return slot == NULL ? NULL : slot->ptr;
}

int32_t atl_watch_add(atl_os *os, int32_t fd, uint32_t events, atl_watch_fn fn, void *user,
                      atl_watch **out) {
    atl_watch *watch;
    int32_t rc;

    if (fd < 0) {
        return ATLAS_ERR_INVALID;
    }
    watch = atl_calloc(os->env, 1, sizeof(*watch));
    if (watch == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rc = atl_idmap_add(&os->by_fd, (uint64_t)fd, 0, watch);
    if (rc != ATLAS_OK) {
        atl_free(os->env, watch);
        return rc;
    }
    watch->os = os;
    watch->fd = fd;
    watch->fn = fn;
    watch->user = user;
    atl_list_init(&watch->ready_node);
    atl_list_append(&os->watches, &watch->node);
    os->count++;
    atl_watch_set(watch, events);
    *out = watch;
    return ATLAS_OK;
}

void atl_watch_set(atl_watch *watch, uint32_t events) {
    events &= ATLAS_FD_READ | ATLAS_FD_WRITE;
    if (watch->wanted == events) {
        return;
    }
    watch->wanted = events;
    tell_interest(watch);
}

void atl_watch_remove(atl_watch *watch) {
    atl_os *os = watch->os;

    atl_watch_set(watch, 0);
    atl_idmap_remove(&os->by_fd, (uint64_t)watch->fd);
    atl_list_remove(&watch->ready_node);
    atl_list_remove(&watch->node);
    os->count--;
    atl_free(os->env, watch);
}

static void mark_ready(atl_watch *watch, uint32_t events) {
    events &= watch->wanted | ATLAS_FD_ERROR;
    if (watch->wanted == 0 || events == 0) {
        return;
    }
    watch->pending |= events;
    if (atl_list_empty(&watch->ready_node)) {
        atl_list_append(&watch->os->ready, &watch->ready_node);
    }
}

/* Descriptors are turned into marks on their watches before any handler runs: a handler may then
 * remove any watch, and a descriptor number that is used again within the batch does not inherit
 * the old one's readiness. */
static void mark_all(atl_os *os, const atlas_fd_event *events, size_t n) {
    if (events == NULL) {
        for (atl_list *node = os->watches.next; node != &os->watches; node = node->next) {
            atl_watch *watch = ATL_CONTAINER(node, atl_watch, node);

            mark_ready(watch, watch->wanted);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        atl_watch *watch = atl_watch_find(os, events[i].fd);

        if (watch != NULL) {
            mark_ready(watch, events[i].events);
        }
    }
}

int32_t atl_os_process(atl_os *os, const atlas_fd_event *events, size_t n, size_t budget) {
    size_t ran = 0;

    mark_all(os, events, n);
    while (ran < budget && !atl_list_empty(&os->ready)) {
        atl_watch *watch = ATL_CONTAINER(atl_list_pop(&os->ready), atl_watch, ready_node);
        uint32_t due = watch->pending & (watch->wanted | ATLAS_FD_ERROR);

        watch->pending = 0;
        if (watch->wanted == 0 || due == 0) {
            continue;
        }
        ran++;
        watch->fn(watch->user, watch->fd, due); /* may free `watch` */
    }
    return atl_list_empty(&os->ready) ? 0 : 1;
}

size_t atl_os_fds(const atl_os *os, atlas_fd_event *out, size_t cap) {
    size_t n = 0;

    for (const atl_list *node = os->watches.next; node != &os->watches; node = node->next) {
        const atl_watch *watch =
            (const atl_watch *)(const void *)((const char *)node - offsetof(atl_watch, node));

        if (watch->wanted == 0) {
            continue;
        }
        if (n < cap) {
            out[n].fd = watch->fd;
            out[n].events = watch->wanted;
        }
        n++;
    }
    return n;
}

/* ---- poll ---- */

static int32_t poll_fill(atl_os *os, size_t *n) {
    size_t used = 0;

    if (os->polls_cap < os->count) {
        size_t cap = os->count * 2;
        struct pollfd *polls = atl_realloc(os->env, os->polls, cap * sizeof(*polls));

        if (polls == NULL) {
            return ATLAS_ERR_NOMEM;
        }
        os->polls = polls;
        os->polls_cap = cap;
    }
    for (atl_list *node = os->watches.next; node != &os->watches; node = node->next) {
        const atl_watch *watch = ATL_CONTAINER(node, atl_watch, node);

        if (watch->wanted != 0) {
            struct pollfd *entry = &os->polls[used++];

            entry->fd = watch->fd;
            entry->events = (short)(((watch->wanted & ATLAS_FD_READ) != 0 ? POLLIN : 0) |
                                    ((watch->wanted & ATLAS_FD_WRITE) != 0 ? POLLOUT : 0));
            entry->revents = 0;
        }
    }
    *n = used;
    return ATLAS_OK;
}

static uint32_t poll_events(short revents) {
    uint32_t events = 0;

    if ((revents & POLLIN) != 0) {
        events |= ATLAS_FD_READ;
    }
    if ((revents & POLLOUT) != 0) {
        events |= ATLAS_FD_WRITE;
    }
    if ((revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
        events |= ATLAS_FD_ERROR;
    }
    return events;
}

int32_t atl_os_poll(atl_os *os, uint64_t timeout_ns, atlas_fd_event *out, size_t cap, size_t *n) {
    struct timespec limit;
    size_t total = 0;
    size_t found = 0;
    int32_t rc = poll_fill(os, &total);
    int ready;

    if (rc != ATLAS_OK) {
        return rc;
    }
    limit.tv_sec = (time_t)(timeout_ns / ATL_SECOND);
    limit.tv_nsec = (long)(timeout_ns % ATL_SECOND);
    ready = ppoll(os->polls, (nfds_t)total, timeout_ns == ATLAS_NO_DEADLINE ? NULL : &limit, NULL);
    if (ready < 0 && errno != EINTR) {
        return ATLAS_ERR_IO;
    }
    for (size_t i = 0; ready > 0 && i < total && found < cap; i++) {
        size_t at = (os->poll_start + i) % total;
        uint32_t events = poll_events(os->polls[at].revents);

        if (events != 0) {
            out[found].fd = os->polls[at].fd;
            out[found].events = events;
            found++;
            if (found == cap) {
                os->poll_start = at + 1;
            }
        }
    }
    *n = found;
    return ATLAS_OK;
}

/* ---- wakeup ---- */

int32_t atl_os_wakeup(atl_os *os) {
    int saved = errno; /* a signal handler must not change it */
    uint64_t one = 1;
    ssize_t written = write(os->wake_fd, &one, sizeof(one));
    /* EAGAIN: the counter is full, so the wait ends anyway */
    int32_t rc = written == (ssize_t)sizeof(one) || errno == EAGAIN ? ATLAS_OK : ATLAS_ERR_IO;

    errno = saved;
    return rc;
}

static void on_wake(void *user, int32_t fd, uint32_t events) {
    atl_os *os = user;
    uint64_t count;

    (void)events;
    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
        os->woken = 1;
    }
}

int atl_os_woken(atl_os *os) {
    int woken = os->woken;

    os->woken = 0;
    return woken;
}

/* ---- life ---- */

static void fill_io(atl_os *os, atl_io *io) {
    io->impl = os;
    io->udp_open = atl_udp_open;
    io->udp_close = atl_udp_close;
    io->udp_local = atl_udp_local;
    io->udp_recv = atl_udp_recv;
    io->udp_send = atl_udp_send;
    io->udp_segments = atl_udp_segments;
    io->resolve = atl_resolver_resolve;
    io->resolve_srv = atl_resolver_resolve_srv;
    io->resolve_cancel = atl_resolver_cancel;
    io->local_addrs = atl_netif_addrs;
    io->local_for = atl_netif_source;
    io->watch = atl_netwatch_set;
}

int32_t atl_os_new(atl_loop *loop, atl_os **out, atl_io *io) {
    atl_env *env = loop->env;
    uint64_t key = 0;
    atl_os *os;
    int32_t rc = atl_random(env, &key, sizeof(key));

    if (rc != ATLAS_OK) {
        return rc;
    }
    os = atl_calloc(env, 1, sizeof(*os));
    if (os == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    os->loop = loop;
    os->env = env;
    atl_idmap_init(&os->by_fd, env, key);
    atl_list_init(&os->watches);
    atl_list_init(&os->ready);
    atl_list_init(&os->sockets);
    os->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = os->wake_fd < 0 ? ATLAS_ERR_IO
                         : atl_watch_add(os, os->wake_fd, ATLAS_FD_READ, on_wake, os, &os->wake);
    if (rc != ATLAS_OK) {
        atl_os_free(os);
        return rc;
    }
    fill_io(os, io);
    *out = os;
    return ATLAS_OK;
}

void atl_os_free(atl_os *os) {
    atl_env *env;

    if (os == NULL) {
        return;
    }
    env = os->env;
    atl_resolver_free(os);
    atl_netwatch_free(os);
    while (!atl_list_empty(&os->sockets)) {
        atl_udp_close(os, atl_udp_of_node(os->sockets.next));
    }
    while (!atl_list_empty(&os->watches)) {
        atl_watch_remove(ATL_CONTAINER(os->watches.next, atl_watch, node));
    }
    if (os->wake_fd >= 0) {
        (void)close(os->wake_fd);
    }
    atl_idmap_free(&os->by_fd);
    atl_free(env, os->polls);
    atl_free(env, os);
}
