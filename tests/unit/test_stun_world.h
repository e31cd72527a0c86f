/* What the STUN tests share: a clock that they move, memory that counts and can fail, and a network
 * that only remembers what was sent. */
#ifndef TEST_STUN_WORLD_H
#define TEST_STUN_WORLD_H

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/io.h"
#include "stun/client.h"

#define SENT_MAX 512

typedef struct sent {
    uint64_t at; /* nanoseconds since the start of the test */
    atl_addr local;
    atl_addr remote;
    size_t len;
    uint8_t data[ATL_STUN_MESSAGE_MAX];
} sent;

typedef struct world {
    atl_env env;
    atl_loop loop;
    uint64_t now;
    size_t allocations; /* calls of malloc and realloc */
    size_t live;        /* blocks not freed */
    size_t fail_at;     /* the allocation that fails, counted from 1; 0: none */
    int32_t send_result;
    size_t sent_count;
    sent sent[SENT_MAX];
} world;

#define WORLD_START (UINT64_C(1000) * ATL_SECOND)

static inline void *world_malloc(void *user, size_t size) {
    world *w = user;

    if (++w->allocations == w->fail_at) {
        return NULL;
    }
    w->live++;
    return malloc(size);
}

static inline void *world_realloc(void *user, void *ptr, size_t size) {
    world *w = user;

    if (++w->allocations == w->fail_at) {
        return NULL;
    }
    w->live += ptr == NULL;
    return realloc(ptr, size);
}

static inline void world_free_block(void *user, void *ptr) {
    world *w = user;

    w->live -= ptr != NULL;
    free(ptr);
}

static inline uint64_t world_now(void *user) {
    return ((world *)user)->now;
}

static inline int64_t world_wall(void *user) {
    (void)user;
    return 0;
}

static inline int32_t world_random(void *user, uint8_t *buf, size_t len) {
    (void)user;
    randombytes_buf(buf, len);
    return 0;
}

static inline world *world_new(void) {
    world *w = calloc(1, sizeof(*w));
    atlas_hooks hooks;

    assert_non_null(w);
    assert_true(sodium_init() >= 0);
    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    hooks.user = w;
    hooks.now = world_now;
    hooks.wall = world_wall;
    hooks.malloc = world_malloc;
    hooks.realloc = world_realloc;
    hooks.free = world_free_block;
    hooks.random = world_random;
    w->now = WORLD_START;
    atl_env_init(&w->env, &hooks);
    atl_loop_init(&w->loop, &w->env);
    return w;
}

static inline void world_free(world *w) {
    assert_int_equal(w->live, 0);
    assert_true(w->loop.timers == NULL);
    assert_true(atl_list_empty(&w->loop.events));
    free(w);
}

static inline int32_t world_send(void *user, const atl_addr *local, const atl_addr *remote,
                                 const uint8_t *data, size_t len) {
    world *w = user;

    if (w->send_result != ATLAS_OK) {
        return w->send_result;
    }
    assert_true(w->sent_count < SENT_MAX);
    assert_true(len <= sizeof(w->sent[0].data));
    w->sent[w->sent_count].at = w->now - WORLD_START;
    w->sent[w->sent_count].local = *local;
    w->sent[w->sent_count].remote = *remote;
    w->sent[w->sent_count].len = len;
    memcpy(w->sent[w->sent_count].data, data, len);
    w->sent_count++;
    return ATLAS_OK;
}

/* Moves the clock to `at` (since the start) from deadline to deadline, as a drive call would. */
static inline void world_run_until(world *w, uint64_t at) {
    uint64_t end = WORLD_START + at;

    for (;;) {
        uint64_t next = atl_loop_deadline(&w->loop);

        if (next > end) {
            break;
        }
        w->now = next > w->now ? next : w->now;
        atl_loop_update(&w->loop);
        (void)atl_loop_run_timers(&w->loop, 1000);
        (void)atl_loop_run_work(&w->loop, 1000);
        (void)atl_loop_run_events(&w->loop, 1000);
    }
    w->now = end > w->now ? end : w->now;
    atl_loop_update(&w->loop);
}

static inline atl_addr world_addr(const char *text) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static inline atl_rx world_rx(const char *remote, const char *local, uint8_t *data, size_t len) {
    atl_rx rx;

    memset(&rx, 0, sizeof(rx));
    rx.data = data;
    rx.len = len;
    rx.segment = len;
    rx.remote = world_addr(remote);
    rx.local = world_addr(local);
    return rx;
}

static inline atl_rx world_icmp(const char *remote, int32_t error) {
    atl_rx rx = world_rx(remote, "192.0.2.1:1000", NULL, 0);

    rx.error = error;
    return rx;
}

#endif
