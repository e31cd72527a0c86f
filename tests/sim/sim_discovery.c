/* Discovery in the simulator: nodes that know a bootstrap address and nothing else find out how
 * they can be reached, find relays, are found by their ids, and stay so while others fail or lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/state.h"

#include "discovery_tools.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static int verdicts(void *user) {
    const world *w = user;
    size_t i;

    for (i = 0; i < w->plan.nodes; i++) {
        if (w->nodes[i].found.verdict[0] == ATLAS_REACH_UNKNOWN) {
            return 0;
        }
    }
    return 1;
}

/* Every kind of NAT is judged rightly, and in time. */
static void test_verdicts(void **state) {
    static const struct {
        int nat;
        uint32_t verdict;
    } ROWS[] = {
        {SIM_NAT_NONE, ATLAS_REACH_PUBLIC},
        {SIM_NAT_FULL_CONE, ATLAS_REACH_PUBLIC},
        {SIM_NAT_ADDRESS_RESTRICTED, ATLAS_REACH_PRIVATE},
        {SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE},
        {SIM_NAT_SYMMETRIC, ATLAS_REACH_PRIVATE},
        {SIM_NAT_CGNAT, ATLAS_REACH_PRIVATE},
    };
    world_plan plan = {.boots = 2, .relays = 3, .nodes = 6};
    uint64_t seed;
    size_t i;
    world w;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        plan.nat[i] = ROWS[i].nat;
    }
    for (seed = 1; seed <= 3; seed++) {
        world_init(&w, &plan, seed);
        assert_true(world_run(&w, 10, verdicts));
        for (i = 0; i < ATL_COUNT(ROWS); i++) {
            uint64_t took = w.nodes[i].found.verdict_at - w.started[i];

            printf("seed %llu: %s: verdict %u after %.2f s\n", (unsigned long long)seed,
                   sim_nat_name(ROWS[i].nat), w.nodes[i].found.verdict[0], (double)took / 1e9);
            assert_int_equal(w.nodes[i].found.verdict[0], ROWS[i].verdict);
            assert_in_range(took, 1, 3 * SECOND);
        }
        world_done(&w);
    }
}

/* One bootstrap address each, and nothing else: they find each other by id alone, whatever is in
 * between, and what they say arrives. */
static void test_by_id(void **state) {
    static const world_plan PLAN = {
        .boots = 2,
        .relays = 5,
        .nodes = 4,
        .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC, SIM_NAT_CGNAT, SIM_NAT_FULL_CONE},
    };
    uint64_t took;
    size_t a;
    size_t b;
    world w;

    (void)state;
    world_init(&w, &PLAN, 11);
    assert_true(world_run(&w, 20, world_published));
    for (a = 0; a < PLAN.nodes; a++) {
        for (b = 0; b < PLAN.nodes; b++) {
            if (a == b) {
                continue;
            }
            assert_true(world_dial(&w, a, b, &took));
            printf("%s to %s: %.0f ms, path %u\n", sim_nat_name(PLAN.nat[a]),
                   sim_nat_name(PLAN.nat[b]), (double)took / 1e6, w.nodes[a].path);
            assert_in_range(took, 1, 5 * SECOND);
            w.nodes[b].messages = 0;
            assert_int_equal(sim_node_message(&w.nodes[a], "hello"), ATLAS_OK);
            sim_host_touch(w.nodes[a].host);
            (void)world_run(&w, 2, NULL);
            assert_int_equal(w.nodes[b].messages, 1);
            assert_string_equal(w.nodes[b].last_message, "hello");
            assert_int_equal(atlas_conn_close(w.nodes[a].conn, 0, NULL), ATLAS_OK);
            sim_host_touch(w.nodes[a].host);
            (void)world_run(&w, 1, NULL);
        }
    }
    world_done(&w);
}

static int three_serve(void *user) {
    const world *w = user;

    return w->nodes[0].found.full_at != 0;
}

static size_t a_chosen_relay(const world *w, const sim_node *node) {
    size_t i;

    for (i = 0; i < w->plan.relays; i++) {
        if (w->relays[i].ctx != NULL && sim_node_says_relay(node, &w->relays[i])) {
            return i;
        }
    }
    fail_msg("the record names no relay");
    return 0;
}

static size_t dead;

static int corrected(void *user) {
    const world *w = user;

    return !sim_node_says_relay(&w->nodes[0], &w->relays[dead]) &&
           w->nodes[0].found.advertise == ATLAS_ADVERTISE_PUBLISHED;
}

static int back_to_three(void *user) {
    const world *w = user;

    return w->nodes[0].found.circuits >= 3 &&
           w->nodes[0].found.advertise == ATLAS_ADVERTISE_PUBLISHED;
}

/* A chosen relay is dead at the next second: the record is corrected, others go on serving, another
 * takes its place. */
static void test_relay_dies(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 6, .nodes = 2, .nat = {SIM_NAT_SYMMETRIC, SIM_NAT_NONE}};
    uint64_t seed;
    world w;

    (void)state;
    for (seed = 21; seed <= 23; seed++) {
        uint64_t begun;
        uint64_t took;

        world_init(&w, &PLAN, seed);
        assert_true(world_run(&w, 20, three_serve));
        printf("three relays after %.2f s, published after %.2f s\n",
               (double)(w.nodes[0].found.served_at - w.started[0]) / 1e9,
               (double)(w.nodes[0].found.full_at - w.started[0]) / 1e9);
        (void)world_run(&w, 1, NULL);
        dead = a_chosen_relay(&w, &w.nodes[0]);
        begun = sim_now(w.net);
        sim_node_kill(&w.relays[dead]);
        /* the record still names it: a dial finds another way */
        assert_true(world_dial(&w, 1, 0, &took));
        assert_in_range(took, 1, 3 * SECOND);
        assert_true(world_run(&w, 10, corrected));
        took = sim_now(w.net) - begun;
        printf("corrected after %.2f s\n", (double)took / 1e9);
        assert_in_range(took, 1, 5 * SECOND);
        assert_true(world_run(&w, 10, back_to_three));
        sim_node_done(&w.nodes[0]);
        sim_node_done(&w.nodes[1]);
        sim_relay_return(&w.relays[dead]);
        world_done(&w);
    }
}

static int unknown(void *user) {
    const world *w = user;

    return w->nodes[0].found.verdict[0] == ATLAS_REACH_UNKNOWN;
}

/* Containers, IPv6 addresses that took their time: the network that the verdict is about is the
 * same. It is looked at again, and what was known stands meanwhile; another network is another
 * matter. */
static void test_host_changes(void **state) {
    static const char *const COME[] = {"172.17.0.1", "fe80::1", "2001:db8:77::1"};
    static const world_plan PLAN = {
        .boots = 2, .relays = 4, .nodes = 2, .nat = {SIM_NAT_SYMMETRIC, SIM_NAT_NONE}};
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 31);
    assert_true(world_run(&w, 20, three_serve));
    for (i = 0; i < ATL_COUNT(COME); i++) {
        int before = w.nodes[0].found.verdicts;

        sim_host_add_addr(w.nodes[0].host, NULL, COME[i]);
        assert_false(world_run(&w, 5, unknown));
        assert_true(w.nodes[0].found.verdicts > before);
        assert_int_equal(w.nodes[0].found.verdict[0], ATLAS_REACH_PRIVATE);
        assert_int_equal(w.nodes[0].found.circuits, 3);
    }
    sim_host_move(w.nodes[0].host, NULL, "192.0.99.9");
    assert_true(world_run(&w, 2, unknown));
    (void)world_run(&w, 5, NULL);
    assert_int_equal(w.nodes[0].found.verdict[0], ATLAS_REACH_PUBLIC);
    world_done(&w);
}

static int on_both(void *user) {
    const world *w = user;

    return w->nodes[0].found.nodes == 2;
}

/* A bootstrap node that others hear of only later gets the records of those that are there already:
 * who knows nothing but its address finds them. */
static void test_later_bootstrap(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 1, .nodes = 2, .nat = {SIM_NAT_SYMMETRIC}, .quiet = 1};
    sim_node *later;
    world w;

    (void)state;
    world_init(&w, &PLAN, 41);
    world_start_node(&w, 0);
    (void)world_run(&w, 10, NULL);
    assert_int_equal(w.nodes[0].found.nodes, 1);
    later = &w.nodes[1];
    assert_int_equal(atlas_bootstrap_add(later->ctx, w.boots[0].addr), ATLAS_OK);
    assert_int_equal(atlas_bootstrap_start(later->ctx, NULL), ATLAS_OK);
    assert_int_equal(atlas_advertise(later->ctx, 1), ATLAS_OK);
    sim_host_touch(later->host);
    assert_true(world_run(&w, 60, on_both));
    world_done(&w);
}

static int knows_servers(void *user) {
    const world *w = user;

    return w->nodes[0].ctx->discovery->servers.count >= 2;
}

/* Who started while the only bootstrap node was away learns of other servers of dial-backs when it
 * is back. */
static void test_bootstrap_was_away(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 3, .nodes = 1, .nat = {SIM_NAT_NONE}, .quiet = 1};
    world w;

    (void)state;
    world_init(&w, &PLAN, 43);
    sim_host_set_down(w.boots[0].host, 1);
    world_start_node(&w, 0);
    (void)world_run(&w, 60, NULL);
    assert_int_equal(w.nodes[0].ctx->discovery->servers.count, 0);
    sim_host_set_down(w.boots[0].host, 0);
    assert_true(world_run(&w, 90, knows_servers));
    assert_true(world_run(&w, 10, world_published));
    world_done(&w);
}

/* Where there is nobody else to ask, that is looked at ever more rarely: rounds after 30 s,
 * doubled.
 */
static void test_nobody_else(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .quiet = 1};
    atlas_registry_stats before;
    atlas_registry_stats after;
    world w;

    (void)state;
    world_init(&w, &PLAN, 47);
    world_start_node(&w, 0);
    assert_true(world_run(&w, 10, world_published));
    boot_stats(&w.boots[0], &before);
    (void)world_run(&w, 1800, NULL);
    boot_stats(&w.boots[0], &after);
    assert_in_range(after.dialbacks - before.dialbacks, 3, 12);
    world_done(&w);
}

/* A record of the n-th relay that names an address of each family, in either order, made with its
 * key and put to all bootstrap nodes. */
static void say_both_families(world *w, sim_node *node, size_t n, uint32_t offers) {
    forged f;
    size_t i;

    memset(&f, 0, sizeof(f));
    f.key = node->ctx->key;
    f.record.head.peer = node->ctx->self;
    f.record.head.seq = node->found.seq + 1000;
    f.record.head.lifetime = ATL_RECORD_LIFETIME;
    f.record.head.offers = offers;
    for (i = 0; i < 2; i++) {
        if (i == n % 2) {
            forge_addr(&f, "/ip6/2001:db8:%zu::1/udp/4001/quic-v1", 100 + n);
        } else {
            forge_addr(&f, "/ip4/198.51.%zu.1/udp/4001/quic-v1", 100 + n);
        }
    }
    forge_sign(&f, &w->boots[0], 0);
    for (i = 0; i < w->plan.boots; i++) {
        assert_int_equal(forge_keep(&f, &w->boots[i], "198.51.100.1"), ATLAS_OK);
    }
}

/* Relays say that they have both families, and the node has one: it uses that. With an IPv6 socket
 * as well, and no route, it is the same. So it is with a bootstrap node that others name. */
static void test_one_family(void **state) {
    static const world_plan PLAN = {
        .boots = 2, .relays = 4, .nodes = 2, .nat = {SIM_NAT_PORT_RESTRICTED}, .quiet = 1};
    size_t i;
    world w;

    (void)state;
    for (i = 0; i < 2; i++) {
        size_t k;

        world_init(&w, &PLAN, 61);
        for (k = 0; k < PLAN.relays; k++) {
            say_both_families(
                &w, &w.relays[k], k,
                ATLAS_OFFER_RELAY | ATLAS_OFFER_DIALBACK | (k == 0 ? ATLAS_OFFER_BOOTSTRAP : 0));
        }
        if (i == 1) {
            sim_node_done(&w.nodes[0]);
            sim_host_allow_ipv6(w.nodes[0].host);
            sim_node_start(&w.nodes[0], 0);
        }
        world_start_node(&w, 0);
        assert_true(world_run(&w, 5, three_serve));
        assert_int_equal(w.nodes[0].found.failed, 0);
        (void)world_run(&w, 30, NULL);
        assert_int_equal(w.nodes[0].found.circuits, 3);
        for (k = 0; k < w.nodes[0].ctx->discovery->n_nodes; k++) {
            const atl_boot_node *node = &w.nodes[0].ctx->discovery->nodes[k];

            assert_int_equal(node->addr.addr.family, 4);
        }
        assert_int_equal(k, 3); /* one was named, two were learned */
        world_done(&w);
    }
}

/* In idle mode nothing is sent, though fewer relays serve than are wanted; and when the node wakes
 * it looks for more. */
static void test_idle_mode(void **state) {
    static const world_plan PLAN = {
        .boots = 2, .relays = 4, .nodes = 1, .nat = {SIM_NAT_PORT_RESTRICTED}, .quiet = 1};
    uint64_t before;
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 71);
    for (i = 1; i < PLAN.relays; i++) {
        sim_host_set_down(w.relays[i].host, 1);
    }
    world_start_node(&w, 0);
    (void)world_run(&w, 60, NULL);
    assert_int_equal(w.nodes[0].found.serving, 1);
    assert_int_equal(atlas_set_idle(w.nodes[0].ctx, 1), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    (void)world_run(&w, 60, NULL);
    before = atl_endpoint_get_stats(w.nodes[0].ctx->ep)->tx_datagrams;
    (void)world_run(&w, 900, NULL);
    assert_int_equal(atl_endpoint_get_stats(w.nodes[0].ctx->ep)->tx_datagrams, before);
    assert_true(atl_discovery_is_quiet(w.nodes[0].ctx->discovery));
    for (i = 1; i < PLAN.relays; i++) {
        sim_host_set_down(w.relays[i].host, 0);
    }
    w.nodes[0].found.full_at = 0;
    assert_int_equal(atlas_set_idle(w.nodes[0].ctx, 0), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    assert_true(world_run(&w, 10, three_serve));
    world_done(&w);
}

typedef struct idle_seen {
    int idles;
    sim_found found; /* when the first came */
} idle_seen;

static idle_seen idled;

static void on_idle(void *user, atlas_ctx *ctx, uint64_t quiet_ns) {
    const sim_node *node = user;

    (void)ctx;
    (void)quiet_ns;
    if (idled.idles++ == 0) {
        idled.found = node->found;
    }
}

static int is_idle(void *user) {
    (void)user;
    return idled.idles > 0;
}

/* A node that wants to sleep as soon as it may is not told so while it finds relays and while its
 * record is on its way, be that long. */
static void test_quiet(void **state) {
    static const world_plan PLAN = {.boots = 2,
                                    .relays = 3,
                                    .nodes = 1,
                                    .nat = {SIM_NAT_PORT_RESTRICTED},
                                    .delay = 180 * ATL_MS,
                                    .all_boots = 1,
                                    .quiet = 1};
    uint64_t seed;
    world w;

    (void)state;
    for (seed = 81; seed <= 83; seed++) {
        memset(&idled, 0, sizeof(idled));
        world_init(&w, &PLAN, seed);
        w.nodes[0].ctx->callbacks.on_idle = on_idle;
        world_start_node(&w, 0);
        assert_true(world_run(&w, 60, is_idle));
        assert_int_equal(idled.found.serving, 3);
        assert_int_equal(idled.found.circuits, 3);
        assert_int_equal(idled.found.advertise, ATLAS_ADVERTISE_PUBLISHED);
        assert_int_equal(idled.found.nodes, PLAN.boots);
        world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),        cmocka_unit_test(test_by_id),
        cmocka_unit_test(test_relay_dies),      cmocka_unit_test(test_host_changes),
        cmocka_unit_test(test_later_bootstrap), cmocka_unit_test(test_bootstrap_was_away),
        cmocka_unit_test(test_nobody_else),     cmocka_unit_test(test_one_family),
        cmocka_unit_test(test_idle_mode),       cmocka_unit_test(test_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
