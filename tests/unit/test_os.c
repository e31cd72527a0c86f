/* Descriptors and their interest, poll, wakeup, the default hooks, the host's addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "iotest.h"

#define PIPES 6

/* ---- the interest hook, as an application sees it ---- */

typedef struct change {
    int32_t fd;
    uint32_t events;
    void *slot; /* before the call */
    int open;   /* the descriptor was open */
} change;

typedef struct recorder {
    iotest f;
    change changes[64];
    size_t n;
    int marks[64];
} recorder;

static void on_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    testenv *t = user;
    recorder *r = ATL_CONTAINER(t, recorder, f.t);

    assert_true(r->n < ATL_COUNT(r->changes));
    r->changes[r->n].fd = fd;
    r->changes[r->n].events = events;
    r->changes[r->n].slot = *slot;
    r->changes[r->n].open = fcntl(fd, F_GETFD) >= 0;
    if (*slot == NULL && events != 0) {
        *slot = &r->marks[r->n];
    }
    r->n++;
}

static void on_nothing(void *user, int32_t fd, uint32_t events) {
    (void)user;
    (void)fd;
    (void)events;
}

static void on_socket(void *user, atl_udp *udp, uint32_t events) {
    (void)user;
    (void)udp;
    (void)events;
}

static void interest_is_told_by_changes(void **state) {
    recorder r;
    atl_watch *watch = NULL;
    void *slot;
    int fds[2];

    (void)state;
    memset(&r, 0, sizeof(r));
    iotest_begin(&r.f);
    r.f.t.env.hooks.interest = on_interest;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(atl_watch_add(r.f.os, fds[0], ATLAS_FD_READ, on_nothing, NULL, &watch), 0);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.changes[0].fd, fds[0]);
    assert_int_equal(r.changes[0].events, ATLAS_FD_READ);
    assert_null(r.changes[0].slot);
    slot = &r.marks[0];
    atl_watch_set(watch, ATLAS_FD_READ); /* no change */
    assert_int_equal(r.n, 1);
    atl_watch_set(watch, ATLAS_FD_READ | ATLAS_FD_WRITE);
    assert_int_equal(r.n, 2);
    assert_ptr_equal(r.changes[1].slot, slot);
    atl_watch_set(watch, 0);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.changes[2].events, 0);
    assert_ptr_equal(r.changes[2].slot, slot);
    atl_watch_set(watch, ATLAS_FD_WRITE); /* a new life of the slot */
    assert_null(r.changes[3].slot);
    atl_watch_remove(watch);
    assert_int_equal(r.n, 5);
    assert_int_equal(r.changes[4].events, 0);
    assert_int_equal(close(fds[0]) + close(fds[1]), 0);
    iotest_end(&r.f);
    /* the eventfd's removal, which came before its end */
    assert_int_equal(r.n, 6);
    assert_int_equal(r.changes[5].events, 0);
    assert_int_equal(r.changes[5].open, 1);
}

static void removal_comes_before_close(void **state) {
    recorder r;
    atl_udp *udp = NULL;
    atl_addr addr;
    size_t i;

    (void)state;
    memset(&r, 0, sizeof(r));
    iotest_begin(&r.f);
    r.f.t.env.hooks.interest = on_interest;
    assert_int_equal(atl_addr_parse("127.0.0.1:0", &addr), ATLAS_OK);
    assert_int_equal(r.f.io.udp_open(r.f.io.impl, &addr, 0, on_socket, NULL, &udp), ATLAS_OK);
    r.f.io.udp_close(r.f.io.impl, udp);
    assert_int_equal(r.f.io.udp_open(r.f.io.impl, &addr, 0, on_socket, NULL, &udp), ATLAS_OK);
    iotest_end(&r.f); /* closes the second */
    assert_int_equal(r.n, 5);
    for (i = 0; i < r.n; i++) {
        assert_int_equal(r.changes[i].open, 1);
    }
}

/* ---- driving ---- */

typedef struct pipes {
    iotest f;
    int in[PIPES];
    int out[PIPES];
    atl_watch *watch[PIPES];
    int order[64]; /* which handlers ran */
    uint32_t events[64];
    size_t ran;
    int remove; /* a handler removes this one; -1: none */
    int drain;  /* handlers read */
} pipes;

static int index_of(const pipes *p, int32_t fd) {
    int i;

    for (i = 0; i < PIPES; i++) {
        if (p->in[i] == fd) {
            return i;
        }
    }
    fail();
    return -1;
}

static void on_pipe(void *user, int32_t fd, uint32_t events) {
    pipes *p = user;
    char byte;

    assert_true(p->ran < ATL_COUNT(p->order));
    p->order[p->ran] = index_of(p, fd);
    p->events[p->ran] = events;
    p->ran++;
    if (p->drain) {
        assert_int_equal(read(fd, &byte, 1), 1);
    }
    if (p->remove >= 0 && p->watch[p->remove] != NULL) {
        atl_watch_remove(p->watch[p->remove]);
        p->watch[p->remove] = NULL;
    }
}

static void pipes_begin(pipes *p) {
    int i;

    memset(p, 0, sizeof(*p));
    p->remove = -1;
    iotest_begin(&p->f);
    for (i = 0; i < PIPES; i++) {
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        p->in[i] = fds[0];
        p->out[i] = fds[1];
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(atl_watch_add(p->f.os, fds[0], ATLAS_FD_READ, on_pipe, p, &p->watch[i]),
                         ATLAS_OK);
    }
}

static void pipes_end(pipes *p) {
    int i;

    for (i = 0; i < PIPES; i++) {
        if (p->watch[i] != NULL) {
            atl_watch_remove(p->watch[i]);
        }
        assert_int_equal(close(p->in[i]) + close(p->out[i]), 0);
    }
    iotest_end(&p->f);
}

static void all_ready(const pipes *p, atlas_fd_event events[PIPES]) {
    int i;

    for (i = 0; i < PIPES; i++) {
        events[i].fd = p->in[i];
        events[i].events = ATLAS_FD_READ;
    }
}

static void budget_and_continuation(void **state) {
    atlas_fd_event events[PIPES];
    pipes p;
    int i;

    (void)state;
    pipes_begin(&p);
    all_ready(&p, events);
    assert_int_equal(atl_os_process(p.f.os, events, PIPES, 4), 1);
    assert_int_equal(p.ran, 4);
    /* all are reported again: those left over come first, each runs once */
    assert_int_equal(atl_os_process(p.f.os, events, PIPES, 100), 0);
    assert_int_equal(p.ran, 4 + PIPES);
    assert_int_equal(p.order[4], 4);
    assert_int_equal(p.order[5], 5);
    for (i = 0; i < 4; i++) {
        assert_int_equal(p.order[6 + i], i);
    }
    /* what is left runs without being reported again */
    assert_int_equal(atl_os_process(p.f.os, events, PIPES, 5), 1);
    assert_int_equal(atl_os_process(p.f.os, events, 0, 5), 0);
    assert_int_equal(p.ran, 4 + PIPES + PIPES);
    assert_int_equal(atl_os_process(p.f.os, events, 0, 5), 0);
    assert_int_equal(p.ran, 4 + PIPES + PIPES);
    pipes_end(&p);
}

static void spurious_events(void **state) {
    pipes p;
    const atlas_fd_event odd[] = {
        {-1, ATLAS_FD_READ}, {1000000, ATLAS_FD_READ}, {0, ATLAS_FD_READ}, {INT32_MIN, 7}};
    atlas_fd_event event;

    (void)state;
    pipes_begin(&p);
    assert_int_equal(atl_os_process(p.f.os, odd, ATL_COUNT(odd), 9), 0);
    assert_int_equal(p.ran, 0);
    event.fd = p.in[2];
    event.events = ATLAS_FD_WRITE; /* not wanted */
    assert_int_equal(atl_os_process(p.f.os, &event, 1, 9), 0);
    assert_int_equal(p.ran, 0);
    event.events = ATLAS_FD_ERROR; /* always told */
    assert_int_equal(atl_os_process(p.f.os, &event, 1, 9), 0);
    assert_int_equal(p.ran, 1);
    assert_int_equal(p.events[0], ATLAS_FD_ERROR);
    event.events = ATLAS_FD_READ | ATLAS_FD_WRITE;
    atl_watch_set(p.watch[2], 0); /* not watched now */
    assert_int_equal(atl_os_process(p.f.os, &event, 1, 9), 0);
    assert_int_equal(p.ran, 1);
    atl_watch_set(p.watch[2], ATLAS_FD_READ);
    assert_int_equal(atl_os_process(p.f.os, &event, 1, 9), 0);
    assert_int_equal(p.ran, 2);
    assert_int_equal(p.events[1], ATLAS_FD_READ);
    /* NULL: all are tried, the eventfd among them */
    assert_int_equal(atl_os_process(p.f.os, NULL, 0, 100), 0);
    assert_int_equal(p.ran, 2 + PIPES);
    assert_int_equal(atl_os_woken(p.f.os), 0);
    pipes_end(&p);
}

static void handlers_remove(void **state) {
    atlas_fd_event events[PIPES];
    int which;

    (void)state;
    for (which = 0; which < PIPES; which++) {
        pipes p;
        size_t i;

        pipes_begin(&p);
        all_ready(&p, events);
        p.remove = which; /* 0: its own; others: a later one of the batch */
        assert_int_equal(atl_os_process(p.f.os, events, PIPES, 100), 0);
        assert_int_equal(p.ran, which == 0 ? PIPES : PIPES - 1);
        for (i = 0; i < p.ran; i++) {
            assert_true(which == 0 || p.order[i] != which);
        }
        pipes_end(&p);
    }
}

/* Interest that ends after a mark was made, and comes back: the mark still stands for what is
 * wanted then. */
static void interest_ends_while_waiting(void **state) {
    atlas_fd_event events[PIPES];
    pipes p;

    (void)state;
    pipes_begin(&p);
    all_ready(&p, events);
    assert_int_equal(atl_os_process(p.f.os, events, PIPES, 1), 1);
    atl_watch_set(p.watch[1], 0);
    atl_watch_set(p.watch[2], ATLAS_FD_WRITE);
    assert_int_equal(atl_os_process(p.f.os, events, 0, 100), 0);
    assert_int_equal(p.ran, 4);
    assert_int_equal(p.order[1], 3);
    pipes_end(&p);
}

static void asked_for_descriptors(void **state) {
    atlas_fd_event events[PIPES + 1];
    pipes p;
    size_t i;

    (void)state;
    pipes_begin(&p);
    assert_int_equal(atl_os_fds(p.f.os, NULL, 0), PIPES + 1);
    memset(events, 0, sizeof(events));
    assert_int_equal(atl_os_fds(p.f.os, events, 3), PIPES + 1);
    assert_int_equal(events[3].fd, 0);
    atl_watch_set(p.watch[0], ATLAS_FD_READ | ATLAS_FD_WRITE);
    atl_watch_set(p.watch[1], 0);
    assert_int_equal(atl_os_fds(p.f.os, events, PIPES + 1), PIPES);
    for (i = 0; i < PIPES; i++) {
        assert_int_equal(events[i].events, events[i].fd == p.in[0] ? 3u : ATLAS_FD_READ);
        assert_int_not_equal(events[i].fd, p.in[1]);
    }
    pipes_end(&p);
}

static void polling(void **state) {
    atlas_fd_event events[2];
    uint32_t seen = 0;
    size_t n = 9;
    pipes p;
    int i;

    (void)state;
    pipes_begin(&p);
    /* room for fewer than are ready: all get their turn */
    for (i = 0; i < PIPES / 2 + 1; i++) {
        size_t k;

        assert_int_equal(atl_os_poll(p.f.os, ATL_SECOND, events, 2, &n), ATLAS_OK);
        assert_int_equal(n, 2);
        for (k = 0; k < n; k++) {
            assert_int_equal(events[k].events, ATLAS_FD_READ);
            seen |= 1u << index_of(&p, events[k].fd);
        }
    }
    assert_int_equal(seen, (1u << PIPES) - 1);
    p.drain = 1;
    assert_int_equal(atl_os_process(p.f.os, NULL, 0, 100), 0);
    assert_int_equal(atl_os_poll(p.f.os, 0, events, 2, &n), ATLAS_OK);
    assert_int_equal(n, 0);
    /* the other end gone: an error condition */
    assert_int_equal(close(p.out[3]), 0);
    assert_int_equal(atl_os_poll(p.f.os, ATL_SECOND, events, 2, &n), ATLAS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(events[0].fd, p.in[3]);
    assert_true((events[0].events & ATLAS_FD_ERROR) != 0);
    p.out[3] = dup(p.in[3]);
    pipes_end(&p);
}

static void watch_errors(void **state) {
    atl_watch *watch = NULL;
    pipes p;

    (void)state;
    pipes_begin(&p);
    assert_int_equal(atl_watch_add(p.f.os, p.in[0], 1, on_pipe, &p, &watch), ATLAS_ERR_EXISTS);
    assert_int_equal(atl_watch_add(p.f.os, -1, 1, on_pipe, &p, &watch), ATLAS_ERR_INVALID);
    assert_null(watch);
    pipes_end(&p);
}

/* ---- wakeup ---- */

static void *wake_thread(void *arg) {
    assert_int_equal(atl_os_wakeup(arg), ATLAS_OK);
    return NULL;
}

static atl_os *woken_by_signal;

static void on_signal(int number) {
    (void)number;
    (void)atl_os_wakeup(woken_by_signal);
}

static void wakeup(void **state) {
    struct sigaction action;
    struct sigaction before;
    pthread_t thread;
    iotest f;
    int i;

    (void)state;
    iotest_begin(&f);
    iotest_turn(&f, 0);
    assert_int_equal(atl_os_woken(f.os), 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_thread, f.os), 0);
    iotest_turn(&f, 5000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atl_os_woken(f.os), 1);
    assert_int_equal(atl_os_woken(f.os), 0);
    for (i = 0; i < 3; i++) {
        assert_int_equal(atl_os_wakeup(f.os), ATLAS_OK); /* several give one */
    }
    iotest_turn(&f, 5000);
    assert_int_equal(atl_os_woken(f.os), 1);
    iotest_turn(&f, 0);
    assert_int_equal(atl_os_woken(f.os), 0);
    woken_by_signal = f.os;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    iotest_turn(&f, 5000);
    assert_int_equal(atl_os_woken(f.os), 1);
    iotest_end(&f);
}

/* ---- hooks ---- */

static uint64_t own_now(void *user) {
    (void)user;
    return 42;
}

static void default_hooks(void **state) {
    atlas_hooks hooks;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    uint64_t t0;
    void *ptr;

    (void)state;
    memset(&hooks, 0, sizeof(hooks));
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_OK);
    assert_null(hooks.interest);
    assert_null(hooks.timer);
    assert_null(hooks.log);
    t0 = hooks.now(NULL);
    assert_true(t0 > 0 && hooks.now(NULL) >= t0);
    assert_true(hooks.wall(NULL) > INT64_C(1700000000000)); /* after 2023 */
    assert_int_equal(hooks.random(NULL, a, sizeof(a)), 0);
    assert_int_equal(hooks.random(NULL, b, sizeof(b)), 0);
    assert_memory_not_equal(a, b, sizeof(a));
    ptr = hooks.realloc(NULL, hooks.malloc(NULL, 10), 1000);
    assert_non_null(ptr);
    hooks.free(NULL, ptr);
    hooks.free(NULL, NULL);

    hooks.now = own_now;
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_OK);
    assert_ptr_equal(hooks.now, own_now);
    hooks.realloc = NULL;
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_ERR_INVALID);
    hooks.malloc = NULL;
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_ERR_INVALID);
    hooks.free = NULL;
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_OK);
    assert_non_null(hooks.malloc);
}

static void scenario(testenv *t, void *user) {
    atl_watch *watch = NULL;
    atlas_fd_event event;
    atl_loop loop;
    atl_os *os = NULL;
    atl_io io;
    size_t n;

    (void)user;
    atl_loop_init(&loop, &t->env);
    if (atl_os_new(&loop, &os, &io) != ATLAS_OK) {
        assert_null(os);
        return;
    }
    if (atl_watch_add(os, 0, ATLAS_FD_READ, on_nothing, NULL, &watch) == ATLAS_OK) {
        (void)atl_os_poll(os, 0, &event, 1, &n);
    }
    atl_os_free(os);
}

static void allocation_failures(void **state) {
    size_t before = iotest_open_fds();

    (void)state;
    assert_true(testenv_each_failure(scenario, NULL) >= 3);
    assert_int_equal(iotest_open_fds(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interest_is_told_by_changes),
        cmocka_unit_test(removal_comes_before_close),
        cmocka_unit_test(budget_and_continuation),
        cmocka_unit_test(spurious_events),
        cmocka_unit_test(handlers_remove),
        cmocka_unit_test(interest_ends_while_waiting),
        cmocka_unit_test(asked_for_descriptors),
        cmocka_unit_test(polling),
        cmocka_unit_test(watch_errors),
        cmocka_unit_test(wakeup),
        cmocka_unit_test(default_hooks),
        cmocka_unit_test(allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
