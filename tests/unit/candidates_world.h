/* A list of candidates in a world made by hand: io, look-ups and STUN requests that the test
 * answers. Include cmocka and testenv.h before this. */
#ifndef ATL_TESTS_UNIT_CANDIDATES_WORLD_H
#define ATL_TESTS_UNIT_CANDIDATES_WORLD_H

#include "peer/candidates.h"

#define ASKS_MAX 512
#define LOOKUPS_MAX 16

typedef void (*done_fn)(void *user, int32_t code, const atl_addr *reflexive, const atl_addr *local,
                        uint64_t rtt);

typedef struct ask_record {
    atl_addr server;
    done_fn done;
    void *user;
    uint64_t deadline;
    int open; /* neither answered nor cancelled */
} ask_record;

typedef struct lookup {
    char name[64];
    int srv;
    atl_resolve_cb cb;
    void *user;
    int open;
} lookup;

typedef struct world {
    testenv t;
    atl_loop loop;
    atl_io io;
    atl_candidates *candidates;
    const char *hosts[8];
    size_t n_hosts;
    atl_addr bound[2]; /* family 0: no socket */
    int unreachable;   /* no route anywhere */
    int refuse;        /* stun_ask fails */
    ask_record asks[ASKS_MAX];
    size_t n_asks;
    lookup lookups[LOOKUPS_MAX];
    size_t n_lookups;
    size_t changes;
} world;

static atl_addr addr_of(const char *text) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse(text, &addr), ATLAS_OK);
    return addr;
}

/* ---- io ---- */

static size_t fake_local_addrs(void *impl, atl_addr *out, size_t cap) {
    world *w = impl;
    size_t i;

    for (i = 0; i < w->n_hosts && i < cap; i++) {
        assert_int_equal(atl_addr_parse_ip(w->hosts[i], strlen(w->hosts[i]), 0, &out[i]), 0);
    }
    return i;
}

static int32_t fake_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    world *w = impl;
    size_t i;

    for (i = 0; i < w->n_hosts && !w->unreachable; i++) {
        atl_addr addr;

        assert_int_equal(atl_addr_parse_ip(w->hosts[i], strlen(w->hosts[i]), 0, &addr), 0);
        if (addr.family == remote->family) {
            *out = addr;
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_UNREACHABLE;
}

static int32_t add_lookup(world *w, const char *name, int srv, atl_resolve_cb cb, void *user,
                          atl_resolve **out) {
    lookup *l = &w->lookups[w->n_lookups++];

    assert_true(w->n_lookups <= LOOKUPS_MAX);
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    l->srv = srv;
    l->cb = cb;
    l->user = user;
    l->open = 1;
    *out = (atl_resolve *)(void *)l;
    return ATLAS_OK;
}

static int32_t fake_resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                            atl_resolve_cb cb, void *user, atl_resolve **out) {
    assert_int_equal(port, 3478);
    assert_int_equal(family, 0);
    return add_lookup(impl, host, 0, cb, user, out);
}

static int32_t fake_resolve_srv(void *impl, const char *service, const char *domain,
                                atl_resolve_cb cb, void *user, atl_resolve **out) {
    assert_string_equal(service, "_stun._udp");
    return add_lookup(impl, domain, 1, cb, user, out);
}

static void fake_resolve_cancel(void *impl, atl_resolve *resolve) {
    lookup *l = (lookup *)(void *)resolve;

    (void)impl;
    assert_true(l->open);
    l->open = 0;
}

static int32_t fake_local(void *user, uint8_t family, atl_addr *out) {
    world *w = user;

    if (w->bound[family == 6].family == 0) {
        return ATLAS_ERR_FAMILY;
    }
    *out = w->bound[family == 6];
    return ATLAS_OK;
}

static int32_t fake_ask(void *user, const atl_addr *server, uint64_t deadline, done_fn done,
                        void *done_user, void **out) {
    world *w = user;
    ask_record *ask = &w->asks[w->n_asks];

    if (w->refuse) {
        return ATLAS_ERR_LIMIT;
    }
    assert_true(w->n_asks++ < ASKS_MAX);
    ask->server = *server;
    ask->deadline = deadline;
    ask->done = done;
    ask->user = done_user;
    ask->open = 1;
    *out = ask;
    return ATLAS_OK;
}

static void fake_cancel(void *user, void *handle) {
    ask_record *ask = handle;

    (void)user;
    assert_true(ask->open);
    ask->open = 0;
}

static void on_change(void *user) {
    ((world *)user)->changes++;
}

/* ---- the world ---- */

static int32_t world_begin(world *w) {
    atl_candidates_config config;

    atl_loop_init(&w->loop, &w->t.env);
    atl_loop_update(&w->loop);
    w->io.impl = w;
    w->io.local_addrs = fake_local_addrs;
    w->io.local_for = fake_local_for;
    w->io.resolve = fake_resolve;
    w->io.resolve_srv = fake_resolve_srv;
    w->io.resolve_cancel = fake_resolve_cancel;
    w->bound[0] = addr_of("0.0.0.0:4001");
    w->bound[1] = addr_of("[::]:4001");
    w->hosts[0] = "10.0.0.5";
    w->n_hosts = 1;
    memset(&config, 0, sizeof(config));
    config.loop = &w->loop;
    config.io = &w->io;
    config.user = w;
    config.local = fake_local;
    config.stun_ask = fake_ask;
    config.stun_cancel = fake_cancel;
    config.on_change = on_change;
    return atl_candidates_new(&config, &w->candidates);
}

static void world_init(world *w) {
    memset(w, 0, sizeof(*w));
    testenv_init(&w->t);
    assert_int_equal(world_begin(w), ATLAS_OK);
}

static void world_end(world *w) {
    size_t i;

    atl_candidates_free(w->candidates);
    for (i = 0; i < w->n_asks; i++) {
        assert_false(w->asks[i].open);
    }
    for (i = 0; i < w->n_lookups; i++) {
        assert_false(w->lookups[i].open);
    }
    assert_int_equal(atl_loop_deadline(&w->loop), ATLAS_NO_DEADLINE);
    testenv_done(&w->t);
}

static void run(world *w) {
    (void)atl_loop_run_timers(&w->loop, 64);
    (void)atl_loop_run_work(&w->loop, 64);
}

static void pass(world *w, uint64_t ns) {
    testenv_advance(&w->t, ns);
    atl_loop_update(&w->loop);
    run(w);
}

static void answer(world *w, size_t which, const char *reflexive, const char *local) {
    ask_record *ask = &w->asks[which];
    atl_addr from = addr_of(reflexive);
    atl_addr at;

    memset(&at, 0, sizeof(at));
    if (local != NULL) {
        at = addr_of(local);
    }
    assert_true(which < w->n_asks && ask->open);
    ask->open = 0;
    ask->done(ask->user, ATLAS_OK, &from, &at, ATL_MS);
    run(w);
}

static void fail_ask(world *w, size_t which) {
    ask_record *ask = &w->asks[which];

    assert_true(which < w->n_asks && ask->open);
    ask->open = 0;
    ask->done(ask->user, ATLAS_ERR_STUN_TIMEOUT, NULL, NULL, 0);
    run(w);
}

static void assert_asked(const world *w, size_t which, const char *server) {
    char text[ATLAS_ADDR_MAX];

    assert_true(which < w->n_asks);
    atl_addr_text(&w->asks[which].server, text);
    assert_string_equal(text, server);
}

/* The list, as text, parted by spaces. */
static void assert_list(const world *w, const char *want) {
    const atl_candidate *list;
    char all[1024] = "";
    size_t n = atl_candidates_get(w->candidates, &list, NULL);
    size_t i;

    for (i = 0; i < n; i++) {
        char text[ATLAS_ADDR_MAX];
        size_t len = strlen(all);

        atl_addr_text(&list[i].addr, text);
        (void)snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? " " : "", text);
    }
    assert_string_equal(all, want);
}

static void add_server(world *w, const char *text) {
    assert_int_equal(atl_candidates_add_server(w->candidates, text), ATLAS_OK);
}

static void add_relay(world *w, const char *text) {
    atl_addr addr = addr_of(text);

    assert_int_equal(atl_candidates_add_relay(w->candidates, &addr), ATLAS_OK);
}

#endif
