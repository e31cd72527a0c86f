/* Bootstrap nodes that lie, and what is put on honest ones: everybody else goes on as if they were
 * not there, what they did is told and counted, and nothing of it grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include "discovery/registry_http.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* ---- bootstrap nodes that lie ---- */

#define FROZEN 0 /* the first of the bad ones: it never answers */
#define N_BAD 8

static const int LIES[N_BAD] = {FROZEN,       LIAR_RANDOM, LIAR_FORGED, LIAR_ANOTHER,
                                LIAR_ENDLESS, LIAR_SLOW,   LIAR_ERROR,  LIAR_HUGE};

typedef struct bad_world {
    world w;
    sim_node bad[N_BAD];
    liar liars[N_BAD];
} bad_world;

static void every_step(void *user) {
    bad_world *b = user;
    size_t i;

    for (i = 0; i < N_BAD; i++) {
        if (LIES[i] == LIAR_SLOW) {
            liar_step(&b->liars[i]);
        }
    }
    sim_at(b->w.net, sim_now(b->w.net) + SECOND / 4, every_step, b);
}

static void bad_begin(bad_world *b) {
    size_t i;
    size_t k;

    for (i = 0; i < N_BAD; i++) {
        tools_boot(&b->w, &b->bad[i], i);
        if (LIES[i] == FROZEN) {
            sim_host_freeze(b->bad[i].host, SIM_FROZEN);
        } else {
            liar_begin(&b->liars[i], &b->bad[i], LIES[i]);
        }
        for (k = 0; k < b->w.plan.nodes; k++) {
            assert_int_equal(atlas_bootstrap_add(b->w.nodes[k].ctx, b->bad[i].addr), ATLAS_OK);
        }
    }
    every_step(b);
}

/* What each hands out when node 1 is looked up. */
static void bad_give(bad_world *b) {
    uint8_t right[ATL_RECORD_MAX];
    uint8_t other[ATL_RECORD_MAX];
    size_t right_len;
    size_t other_len;
    size_t i;

    assert_int_equal(atlas_record_own(b->w.nodes[1].ctx, right, sizeof(right), &right_len),
                     ATLAS_OK);
    assert_int_equal(atlas_record_own(b->w.relays[0].ctx, other, sizeof(other), &other_len),
                     ATLAS_OK);
    for (i = 0; i < N_BAD; i++) {
        if (LIES[i] == LIAR_ANOTHER || LIES[i] == LIAR_ENDLESS) {
            liar_give(&b->liars[i], other, other_len);
        } else {
            liar_give(&b->liars[i], right, right_len);
            if (LIES[i] == LIAR_FORGED) {
                b->liars[i].record[right_len - 1] ^= 1;
            }
        }
    }
}

static void bad_done(bad_world *b) {
    size_t i;

    for (i = 0; i < N_BAD; i++) {
        sim_node_done(&b->bad[i]);
    }
}

static void check_reasons(const bad_world *b, const told *t) {
    /* 0: one of several, see below */
    static const int32_t CODES[N_BAD] = {0,
                                         0,
                                         ATLAS_ERR_SIGNATURE,
                                         ATLAS_ERR_BOOTSTRAP,
                                         ATLAS_ERR_RECORD_NOT_FOUND,
                                         0,
                                         ATLAS_ERR_HTTP,
                                         ATLAS_ERR_TOO_LARGE};
    size_t i;

    for (i = 0; i < N_BAD; i++) {
        const told_failure *failure = told_of(t, &b->bad[i]);

        if (LIES[i] == LIAR_SLOW) {
            assert_null(failure); /* right, and late */
            continue;
        }
        assert_non_null(failure);
        assert_true(failure->text[0] != '\0');
        if (CODES[i] != 0) {
            assert_int_equal(failure->code, CODES[i]);
        } else if (LIES[i] == FROZEN) {
            assert_true(failure->code == ATLAS_ERR_TIMEOUT ||
                        failure->code == ATLAS_ERR_HANDSHAKE_TIMEOUT);
        } else {
            assert_in_range(-failure->code, -ATLAS_ERR_TRUNCATED, -ATLAS_ERR_DUPLICATE);
        }
    }
}

static int node_1_corrected(void *user) {
    world *w = user;

    return w->nodes[1].found.advertise == ATLAS_ADVERTISE_PUBLISHED &&
           boot_has(&w->boots[0], &w->nodes[1]) == w->nodes[1].found.seq &&
           !sim_node_says_relay(&w->nodes[1], &w->relays[w->dialler]);
}

/* A look-up and a list, by node 0. */
static void ask_liars(bad_world *b) {
    static const atlas_query_options FRESH = {.size = sizeof(FRESH), .fresh = 1};
    static const atlas_query_options LIST = {.size = sizeof(LIST), .limit = 1000};
    world *w = &b->w;
    uint64_t lists;
    told t;

    /* the record is told when the honest one has answered: a round trip */
    assert_int_equal(told_lookup(&t, &w->nodes[0], world_id(&w->nodes[1]), &FRESH), ATLAS_OK);
    told_wait(&t, 6);
    assert_int_equal(t.code, ATLAS_OK);
    assert_int_equal(t.records, 1);
    assert_int_equal(t.seq, w->nodes[1].found.seq);
    assert_in_range(t.record_at - t.asked_at, 1, 110 * ATL_MS);
    check_reasons(b, &t);
    /* each relay once, however often it is named */
    lists = b->liars[4].lists;
    assert_int_equal(told_discover(&t, &w->nodes[0], ATLAS_OFFER_RELAY, &LIST), ATLAS_OK);
    told_wait(&t, 6);
    assert_int_equal(t.records, 5);
    assert_in_range(b->liars[4].lists - lists, 1, 400);
}

/* One honest bootstrap node among nine is enough for everything, and as fast as alone. */
static void test_liars(void **state) {
    static const world_plan PLAN = {.boots = 1,
                                    .relays = 5,
                                    .nodes = 2,
                                    .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC},
                                    .quiet = 1};
    static bad_world b;
    world *w = &b.w;
    size_t before = 0;
    uint64_t took;
    int i;

    (void)state;
    memset(&b, 0, sizeof(b));
    world_init(w, &PLAN, 41);
    bad_begin(&b);
    liar_give(&b.liars[4], "\x01", 1); /* LIAR_ENDLESS has to hand out something */
    world_start_node(w, 0);
    world_start_node(w, 1);
    assert_true(world_run(w, 5, world_published));
    (void)world_run(w, 5, NULL);
    bad_give(&b);
    for (i = 0; i < 20; i++) {
        ask_liars(&b);
        (void)world_run(w, 20, NULL);
        if (i == 4) {
            before = w->nodes[0].live_bytes;
        }
    }
    printf("%zu bytes, %zu at most; after 5 rounds %zu\n", w->nodes[0].live_bytes,
           w->nodes[0].peak_bytes, before);
    assert_in_range(w->nodes[0].live_bytes, 1, before + 65536);
    assert_in_range(w->nodes[0].peak_bytes, 1, before + 2 * 1048576);
    assert_true(world_dial(w, 0, 1, &took));
    printf("dialled in %.0f ms\n", (double)took / 1e6);
    assert_in_range(took, 1, 500 * ATL_MS);
    /* advertising goes on */
    for (w->dialler = 0; !sim_node_says_relay(&w->nodes[1], &w->relays[w->dialler]); w->dialler++) {
    }
    sim_host_set_down(w->relays[w->dialler].host, 1);
    assert_true(world_run(w, 5, node_1_corrected));
    bad_done(&b);
    world_done(w);
}

/* ---- records that are no good, over HTTP/3 ---- */

typedef struct refusal {
    const char *name;
    int32_t status;
    size_t counter; /* in atlas_registry_stats */
} refusal;

#define COUNTER(field) offsetof(atlas_registry_stats, field)

static uint64_t counter(const atlas_registry_stats *stats, size_t offset) {
    uint64_t value;

    memcpy(&value, (const uint8_t *)stats + offset, sizeof(value));
    return value;
}

/* Makes the record of row `name`; what is sent is in f->data. Puts it under `path`. */
static void spoil(forged *f, const char *name, sim_node *clock, const char **path) {
    static forged other;

    if (strcmp(name, "forged") == 0) {
        forge_sign(f, clock, 0);
        f->data[f->len - 1] ^= 1;
    } else if (strcmp(name, "changed") == 0) {
        forge_sign(f, clock, 0);
        f->data[f->len / 2] ^= 1;
    } else if (strcmp(name, "another's") == 0) {
        forge(&other, 77);
        forge_sign(&other, clock, 0);
        memcpy(f->data, other.data, other.len);
        f->len = other.len;
        forge_done(&other);
    } else if (strcmp(name, "path") == 0) {
        forge_sign(f, clock, 0);
        *path = records_path("12D3KooWnobody");
    } else if (strcmp(name, "large") == 0) {
        forge_sign(f, clock, 0);
        memset(f->data + f->len, 0, sizeof(f->data) - f->len);
        f->len = ATL_RECORD_MAX;
    } else if (strcmp(name, "expired") == 0) {
        forge_sign(f, clock, ATL_RECORD_LIFETIME + 301);
    } else if (strcmp(name, "future") == 0) {
        forge_sign(f, clock, -320);
    } else {
        memset(f->data, 0x5a, 300);
        f->len = 300;
    }
}

static void put_bad(asker *a, world *w, const refusal *row, uint32_t n) {
    atlas_registry_stats before;
    atlas_registry_stats after;
    const char *path;
    forged f;

    forge(&f, 100 + n);
    path = records_path(f.peer);
    spoil(&f, row->name, &w->nodes[0], &path);
    boot_stats(&w->boots[0], &before);
    if (strcmp(row->name, "large") == 0) {
        static uint8_t body[ATL_RECORD_MAX + 1];

        memcpy(body, f.data, sizeof(f.data));
        assert_int_equal(asker_ask(a, "PUT", path, body, sizeof(body)), row->status);
    } else {
        assert_int_equal(asker_ask(a, "PUT", path, f.data, f.len), row->status);
    }
    boot_stats(&w->boots[0], &after);
    printf("%s: %d %s\n", row->name, (int)a->status, a->body);
    assert_int_equal(counter(&after, row->counter), counter(&before, row->counter) + 1);
    assert_int_equal(after.records, before.records);
    assert_int_equal(after.taken, before.taken);
    assert_int_equal(asker_ask(a, "GET", records_path(f.peer), NULL, 0), 404);
    forge_done(&f);
}

/* What was true once: an older number, the same number with other content, and what was deleted. */
static void put_replayed(asker *a, asker *owner, world *w) {
    forged old;
    forged now;
    uint8_t other[ATL_RECORD_MAX];
    size_t other_len;

    forge(&old, 200);
    forge_sign(&old, &w->nodes[0], 60);
    forge(&now, 200);
    now.record.head.seq = 9;
    forge_sign(&now, &w->nodes[0], 0);
    assert_int_equal(asker_ask(a, "PUT", records_path(old.peer), old.data, old.len), 200);
    assert_int_equal(asker_ask(a, "PUT", records_path(old.peer), now.data, now.len), 200);
    assert_int_equal(asker_ask(a, "PUT", records_path(old.peer), old.data, old.len), 409);
    assert_non_null(strstr(a->body, "\"seq\":9"));
    now.record.head.offers = ATLAS_OFFER_RELAY;
    forge_sign(&now, &w->nodes[0], 0);
    assert_int_equal(asker_ask(a, "PUT", records_path(old.peer), now.data, now.len), 409);
    /* only its owner deletes a record, and nobody brings it back */
    assert_int_equal(asker_ask(a, "DELETE", records_path(old.peer), NULL, 0), 403);
    assert_int_equal(atlas_record_own(w->nodes[1].ctx, other, sizeof(other), &other_len), ATLAS_OK);
    assert_int_equal(asker_ask(owner, "DELETE", records_path(world_id(&w->nodes[1])), NULL, 0),
                     204);
    assert_int_equal(asker_ask(a, "PUT", records_path(world_id(&w->nodes[1])), other, other_len),
                     409);
    assert_int_equal(boot_has(&w->boots[0], &w->nodes[1]), 0);
    forge_done(&old);
    forge_done(&now);
}

/* A node whose clock is wrong says so in public, and is not found. */
static void wrong_clock(world *w, int64_t offset, size_t which, int32_t code) {
    sim_node node;
    atlas_registry_stats before;
    atlas_registry_stats after;
    char ip[32];

    snprintf(ip, sizeof(ip), "192.0.%zu.77", 80 + which);
    boot_stats(&w->boots[0], &before);
    sim_node_init(&node, w->net, ip, (uint32_t)(90 + which), 0);
    node.wall_offset = offset;
    assert_int_equal(atlas_bootstrap_add(node.ctx, w->boots[0].addr), ATLAS_OK);
    assert_int_equal(atlas_listen(node.ctx), ATLAS_OK);
    assert_int_equal(atlas_advertise(node.ctx, 1), ATLAS_OK);
    sim_host_touch(node.host);
    (void)world_run(w, 10, NULL);
    boot_stats(&w->boots[0], &after);
    assert_int_equal(node.found.advertise, ATLAS_ADVERTISE_FAILED);
    assert_int_equal(node.found.code, code);
    assert_true(after.refused_expired > before.refused_expired);
    assert_int_equal(after.records, before.records);
    assert_int_equal(boot_has(&w->boots[0], &node), 0);
    sim_node_done(&node);
}

static void test_bad_records(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 2, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE}};
    static const refusal ROWS[] = {
        {"forged", 400, COUNTER(refused_signature)},
        {"changed", 400, COUNTER(refused_signature)},
        {"another's", 400, COUNTER(refused_malformed)},
        {"path", 400, COUNTER(refused_malformed)},
        {"large", 413, COUNTER(refused_size)},
        {"expired", 400, COUNTER(refused_expired)},
        {"future", 400, COUNTER(refused_expired)},
        {"noise", 400, COUNTER(refused_malformed)},
    };
    asker a;
    asker owner;
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 42);
    assert_true(world_run(&w, 10, world_published));
    asker_init(&a, &w.nodes[0], &w.boots[0]);
    asker_init(&owner, &w.nodes[1], &w.boots[0]);
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        put_bad(&a, &w, &ROWS[i], (uint32_t)i);
    }
    put_replayed(&a, &owner, &w);
    asker_done(&a);
    asker_done(&owner);
    wrong_clock(&w, 400 * 1000, 0, ATLAS_ERR_RECORD_FUTURE);
    wrong_clock(&w, -4000 * 1000, 1, ATLAS_ERR_RECORD_EXPIRED);
    world_done(&w);
}

/* ---- very many ids ---- */

#define IDS 20000u
#define PER_ADDRESS 64
#define CROWD 8

typedef struct flood {
    sim_node nodes[CROWD];
    asker askers[CROWD];
    uint32_t next;
} flood;

/* Each of them keeps its connection full, until id `until`. */
static void pour(flood *fl, world *w, uint32_t until) {
    size_t i;

    while (fl->next < until) {
        for (i = 0; i < CROWD && fl->next < until; i++) {
            while (fl->askers[i].sent < fl->askers[i].answers + 64 && fl->next < until) {
                forged f;

                forge(&f, 1000 + fl->next++);
                forge_sign(&f, &w->boots[0], 0);
                assert_true(asker_send(&fl->askers[i], "PUT", records_path(f.peer), f.data, f.len));
                forge_done(&f);
            }
        }
        (void)world_run(w, 1, NULL);
    }
    (void)world_run(w, 15, NULL);
}

static uint64_t sum_class(const flood *fl, int class) {
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < CROWD; i++) {
        sum += fl->askers[i].by_class[class];
    }
    return sum;
}

static void flood_begin(flood *fl, world *w) {
    static const sim_nat OPEN = {.filtering = SIM_ADDRESS_PORT_DEPENDENT};
    sim_router *router = sim_router_new(w->net, NULL, "192.0.100.1", &OPEN);
    char ip[32];
    size_t i;

    for (i = 0; i < CROWD; i++) {
        snprintf(ip, sizeof(ip), "10.0.0.%zu", i + 2);
        sim_node_on_host(&fl->nodes[i], sim_host_behind(router, ip), (uint32_t)(110 + i), 0);
        asker_init(&fl->askers[i], &fl->nodes[i], &w->boots[0]);
    }
}

static void flood_end(flood *fl) {
    size_t i;

    for (i = 0; i < CROWD; i++) {
        asker_done(&fl->askers[i]);
        sim_node_done(&fl->nodes[i]);
    }
}

/* Eight nodes behind one address put the records of 20,000. */
static void test_many_ids(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 3, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_SYMMETRIC}};
    static flood fl;
    atlas_registry_stats before;
    atlas_registry_stats after;
    uint64_t begun;
    uint64_t seconds;
    forged other;
    size_t memory;
    size_t i;
    world w;

    (void)state;
    memset(&fl, 0, sizeof(fl));
    world_init(&w, &PLAN, 43);
    assert_true(world_run(&w, 10, world_published));
    assert_int_equal(atlas_set_u64(w.boots[0].ctx, ATLAS_OPT_REGISTRY_MAX_PER_IPV4, PER_ADDRESS),
                     ATLAS_OK);
    assert_int_equal(atlas_set_u64(w.boots[0].ctx, ATLAS_OPT_REGISTRY_MAX_RECORDS, 500), ATLAS_OK);
    /* a record of somebody else that was put by nobody in particular */
    forge(&other, 1);
    forge_sign(&other, &w.boots[0], 0);
    assert_int_equal(forge_keep(&other, &w.boots[0], "192.0.99.1"), ATLAS_OK);
    flood_begin(&fl, &w);
    boot_stats(&w.boots[0], &before);
    memory = w.boots[0].live_bytes;
    /* as it is: 200 at once and 20 a second are looked at at all */
    begun = sim_now(w.net);
    pour(&fl, &w, IDS / 10);
    seconds = (sim_now(w.net) - begun) / SECOND + 1;
    boot_stats(&w.boots[0], &after);
    printf("%llu s: %llu taken, %llu too often\n", (unsigned long long)seconds,
           (unsigned long long)(after.taken - before.taken),
           (unsigned long long)after.refused_rate);
    assert_in_range(after.taken - before.taken, 200, 200 + 20 * seconds);
    assert_int_equal(sum_class(&fl, 4), after.refused_rate);
    assert_int_equal(sum_class(&fl, 2) + sum_class(&fl, 4), IDS / 10);
    assert_int_equal(after.records, before.records + PER_ADDRESS);
    /* and with that limit lifted */
    atl_registry_http_set_put_rate(w.boots[0].ctx->registry, 0, 0);
    pour(&fl, &w, IDS);
    boot_stats(&w.boots[0], &after);
    printf("%llu records of %u ids, %llu made way, %zu bytes more\n",
           (unsigned long long)(after.records - before.records), IDS,
           (unsigned long long)after.evicted, w.boots[0].live_bytes - memory);
    assert_int_equal(after.records, before.records + PER_ADDRESS);
    assert_int_equal(after.taken - before.taken, after.evicted + PER_ADDRESS);
    assert_in_range(w.boots[0].live_bytes, 1, memory + 1048576);
    /* others are as they were */
    for (i = 0; i < 2; i++) {
        assert_int_equal(boot_has(&w.boots[0], &w.nodes[i]), w.nodes[i].found.seq);
    }
    assert_int_equal(asker_ask(&fl.askers[0], "GET", records_path(other.peer), NULL, 0), 200);
    assert_true(world_dial(&w, 0, 1, NULL));
    forge_done(&other);
    flood_end(&fl);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_liars),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_many_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
