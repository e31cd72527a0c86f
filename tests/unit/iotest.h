/* A loop on the real clock with an atl_os in it, for the tests of io/. Include cmocka and testenv.h
 * before this. */
#ifndef ATL_TESTS_UNIT_IOTEST_H
#define ATL_TESTS_UNIT_IOTEST_H

#include <dirent.h>
#include <time.h>

#include "io/os.h"

typedef struct iotest {
    testenv t;
    atl_loop loop;
    atl_os *os;
    atl_io io;
    size_t fds_before;
} iotest;

static uint64_t iotest_clock(void *user) {
    struct timespec ts;

    (void)user;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    return (uint64_t)ts.tv_sec * ATL_SECOND + (uint64_t)ts.tv_nsec;
}

/* Open descriptors of this process. */
static size_t iotest_open_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        n++;
    }
    (void)closedir(dir);
    return n;
}

static TESTENV_UNUSED void iotest_begin(iotest *f) {
    memset(f, 0, sizeof(*f));
    f->fds_before = iotest_open_fds();
    testenv_init(&f->t);
    f->t.env.hooks.now = iotest_clock;
    atl_loop_init(&f->loop, &f->t.env);
    assert_int_equal(atl_os_new(&f->loop, &f->os, &f->io), ATLAS_OK);
}

/* Asserts that neither memory, descriptors, timers nor work are left. */
static TESTENV_UNUSED void iotest_end(iotest *f) {
    atl_os_free(f->os);
    assert_int_equal(atl_loop_deadline(&f->loop), ATLAS_NO_DEADLINE);
    assert_int_equal(iotest_open_fds(), f->fds_before);
    testenv_done(&f->t);
}

/* One turn: waits at most `ms` for a descriptor or a deadline, then drives. */
static TESTENV_UNUSED void iotest_turn(iotest *f, uint64_t ms) {
    atlas_fd_event events[16];
    uint64_t now = atl_loop_update(&f->loop);
    uint64_t deadline = atl_loop_deadline(&f->loop);
    size_t n = 0;

    if (deadline != ATLAS_NO_DEADLINE && deadline < now + ms * ATL_MS) {
        ms = deadline <= now ? 0 : (deadline - now) / ATL_MS + 1;
    }
    assert_int_equal(atl_os_poll(f->os, ms * ATL_MS, events, ATL_COUNT(events), &n), ATLAS_OK);
    atl_loop_update(&f->loop);
    (void)atl_os_process(f->os, events, n, 64);
    (void)atl_loop_run_timers(&f->loop, 64);
    (void)atl_loop_run_work(&f->loop, 64);
}

#endif
