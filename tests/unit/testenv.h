/* An atl_env for tests: memory that is counted and can be made to fail, random bytes from a seed,
 * clocks that the test moves. Include cmocka before this.
 *
 *     testenv t;
 *     testenv_init(&t);
 *     ... module calls with &t.env ...
 *     testenv_done(&t);  // asserts that nothing leaked
 */
#ifndef ATL_TESTS_UNIT_TESTENV_H
#define ATL_TESTS_UNIT_TESTENV_H

#include "base/env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TESTENV_UNUSED __attribute__((unused))

typedef struct testenv {
    atl_env env;
    uint64_t now;       /* nanoseconds; what the clock hook gives */
    int64_t wall;       /* milliseconds since 1970 */
    uint64_t seed;      /* state of the random source */
    int fail_random;    /* 1: the random source fails */
    size_t live;        /* blocks not freed yet */
    size_t allocations; /* calls of malloc and realloc so far */
    size_t fail_at;     /* the allocation (from 1) that fails; 0: none */
    int fail_on;        /* 1: all from fail_at on fail */
    size_t log_lines;
    char log_last[256];
} testenv;

static int testenv_fails(testenv *t) {
    t->allocations++;
    return t->fail_at != 0 &&
           (t->allocations == t->fail_at || (t->fail_on && t->allocations > t->fail_at));
}

static void *testenv_malloc(void *user, size_t size) {
    testenv *t = user;
    void *ptr = testenv_fails(t) ? NULL : malloc(size);

    if (ptr != NULL) {
        memset(ptr, 0xa5, size); /* so that nobody relies on zeros */
        t->live++;
    }
    return ptr;
}

static void *testenv_realloc(void *user, void *ptr, size_t size) {
    testenv *t = user;
    void *moved = testenv_fails(t) ? NULL : realloc(ptr, size);

    if (ptr == NULL && moved != NULL) {
        t->live++;
    }
    return moved;
}

static void testenv_free(void *user, void *ptr) {
    testenv *t = user;

    if (ptr != NULL) {
        t->live--;
        free(ptr);
    }
}

/* SplitMix64. */
static uint64_t testenv_rand(testenv *t) {
    uint64_t z = t->seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int32_t testenv_random(void *user, uint8_t *buf, size_t len) {
    testenv *t = user;
    size_t i;

    if (t->fail_random) {
        return -1;
    }
    for (i = 0; i < len; i++) {
        buf[i] = (uint8_t)testenv_rand(t);
    }
    return 0;
}

static uint64_t testenv_now(void *user) {
    return ((testenv *)user)->now;
}

static int64_t testenv_wall(void *user) {
    return ((testenv *)user)->wall;
}

static void testenv_log(void *user, int32_t level, const char *text) {
    testenv *t = user;

    (void)level;
    t->log_lines++;
    (void)snprintf(t->log_last, sizeof(t->log_last), "%s", text);
}

static TESTENV_UNUSED void testenv_init(testenv *t) {
    atlas_hooks hooks;

    memset(t, 0, sizeof(*t));
    memset(&hooks, 0, sizeof(hooks));
    t->now = ATL_SECOND;
    t->wall = INT64_C(1767225600000); /* 2026-01-01 */
    t->seed = 1;
    hooks.size = sizeof(hooks);
    hooks.user = t;
    hooks.now = testenv_now;
    hooks.wall = testenv_wall;
    hooks.malloc = testenv_malloc;
    hooks.realloc = testenv_realloc;
    hooks.free = testenv_free;
    hooks.random = testenv_random;
    hooks.log = testenv_log;
    atl_env_init(&t->env, &hooks);
}

/* The n-th allocation from now on fails (1: the next one); 0: none any more. */
static TESTENV_UNUSED void testenv_fail_next(testenv *t, size_t n) {
    t->fail_at = n == 0 ? 0 : t->allocations + n;
}

static TESTENV_UNUSED void testenv_advance(testenv *t, uint64_t ns) {
    t->now += ns;
    t->wall += (int64_t)(ns / ATL_MS);
}

/* Asserts that everything was freed. */
static TESTENV_UNUSED void testenv_done(testenv *t) {
    assert_int_equal(t->live, 0);
}

/* Runs `scenario` in fresh environments with its first, second, ... allocation failing (alone, then
 * with all that follow), until it runs through without reaching the failing one. The scenario must
 * clean up after itself in every case; leaks are asserted. Returns how many allocations it makes.
 */
static TESTENV_UNUSED size_t testenv_each_failure(void (*scenario)(testenv *t, void *user),
                                                  void *user) {
    size_t n;

    for (n = 1;; n++) {
        size_t reached = 0;
        int on;

        for (on = 0; on < 2; on++) {
            testenv t;

            testenv_init(&t);
            t.fail_at = n;
            t.fail_on = on;
            scenario(&t, user);
            testenv_done(&t);
            reached += t.allocations >= n;
        }
        if (reached == 0) {
            return n - 1;
        }
    }
}

#endif
