/* What is true changes: records follow everywhere within a second of it being known, nodes offer a
 * relay as long as they can, go away in order, come back with a wrong clock, and sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* ---- a change reaches everybody ---- */

typedef struct spread {
    world w;
    uint64_t known; /* when node 0 heard of the loss */
    size_t gone;    /* relay that is not to be named */
    char must[96];  /* part of an address that is to be named; "": none */
} spread;

static void on_choice(void *user, sim_node *node, const atlas_autorelay_event *event) {
    spread *s = user;

    (void)node;
    if (event->what == ATLAS_AUTORELAY_FAILED && s->known == 0) {
        s->known = sim_now(s->w.net);
    }
}

static int says(const sim_node *node, const char *part) {
    size_t i;

    for (i = 0; i < 16; i++) {
        if (part[0] != '\0' && strstr(node->found.addrs[i], part) != NULL) {
            return 1;
        }
    }
    return part[0] == '\0';
}

/* Node 0's record is right, all bootstrap nodes have it, and so have the others. */
static int is_everywhere(void *user) {
    spread *s = user;
    world *w = &s->w;
    const sim_node *node = &w->nodes[0];
    size_t i;

    if (node->found.advertise != ATLAS_ADVERTISE_PUBLISHED || !says(node, s->must) ||
        (s->gone < WORLD_RELAYS && sim_node_says_relay(node, &w->relays[s->gone]))) {
        return 0;
    }
    for (i = 0; i < w->plan.boots; i++) {
        if (boot_has(&w->boots[i], node) != node->found.seq) {
            return 0;
        }
    }
    for (i = 1; i < w->plan.nodes; i++) {
        if (cache_has(&w->nodes[i], node) != node->found.seq) {
            return 0;
        }
    }
    return 1;
}

static int spread_run(spread *s, double seconds) {
    return sim_run(s->w.net, sim_now(s->w.net) + (uint64_t)(seconds * 1e9), is_everywhere, s);
}

/* All others are connected with node 0. */
static void spread_init(spread *s, const world_plan *plan, uint64_t seed) {
    size_t i;

    memset(s, 0, sizeof(*s));
    s->gone = WORLD_RELAYS;
    world_init(&s->w, plan, seed);
    s->w.nodes[0].on_choice = on_choice;
    s->w.nodes[0].choice_user = s;
    assert_true(world_run(&s->w, 10, world_published));
    for (i = 1; i < plan->nodes; i++) {
        assert_true(world_dial(&s->w, i, 0, NULL));
    }
    (void)world_run(&s->w, 5, NULL);
    assert_true(is_everywhere(s));
}

/* A peer that reaches no bootstrap node still knows. */
static void check_told(spread *s, size_t peer) {
    sim_node *node = &s->w.nodes[peer];
    size_t i;
    told t;

    for (i = 0; i < s->w.plan.boots; i++) {
        sim_cut(s->w.net, node->host, s->w.boots[i].host, 1);
    }
    assert_int_equal(told_lookup(&t, node, world_id(&s->w.nodes[0]), NULL), ATLAS_OK);
    told_wait(&t, 20);
    assert_int_equal(t.code, ATLAS_OK);
    assert_int_equal(t.records, 1);
    assert_int_equal(t.seq, s->w.nodes[0].found.seq);
    assert_int_equal(t.source, ATLAS_RECORD_CACHE);
    assert_in_range(t.record_at - t.asked_at, 0, ATL_MS);
    for (i = 0; i < s->w.plan.boots; i++) {
        sim_cut(s->w.net, node->host, s->w.boots[i].host, 0);
    }
}

/* Relays are lost one after the other. */
static void test_relay_lost(void **state) {
    static const world_plan PLAN = {
        .boots = 3,
        .relays = 6,
        .nodes = 3,
        .nat = {SIM_NAT_SYMMETRIC, SIM_NAT_NONE, SIM_NAT_PORT_RESTRICTED},
        .all_boots = 1,
    };
    static spread s;
    size_t i;

    (void)state;
    spread_init(&s, &PLAN, 101);
    for (i = 0; i < 3; i++) {
        uint64_t begun = sim_now(s.w.net);
        uint64_t seq = s.w.nodes[0].found.seq;

        s.known = 0;
        for (s.gone = 0; !sim_node_says_relay(&s.w.nodes[0], &s.w.relays[s.gone]); s.gone++) {
        }
        sim_host_set_down(s.w.relays[s.gone].host, 1);
        assert_true(spread_run(&s, 10));
        printf("known after %.2f s, everywhere %.2f s later\n", (double)(s.known - begun) / 1e9,
               (double)(sim_now(s.w.net) - s.known) / 1e9);
        assert_true(s.known != 0 && s.w.nodes[0].found.seq > seq);
        assert_in_range(sim_now(s.w.net) - s.known, 0, SECOND);
        assert_in_range(sim_now(s.w.net) - begun, 1, 5 * SECOND);
        (void)world_run(&s.w, 10, NULL);
        assert_true(is_everywhere(&s));
    }
    check_told(&s, 1);
    check_told(&s, 2);
    for (i = 0; i < PLAN.relays; i++) {
        sim_host_set_down(s.w.relays[i].host, 0);
    }
    world_done(&s.w);
}

/* The node's own address is another one; and another again. */
static void test_node_moves(void **state) {
    static const world_plan PLAN = {
        .boots = 3,
        .relays = 3,
        .nodes = 3,
        .nat = {SIM_NAT_NONE, SIM_NAT_NONE, SIM_NAT_PORT_RESTRICTED},
        .all_boots = 1,
    };
    static const char *const TO[] = {"192.0.99.9", "192.0.98.9", "192.0.10.9"};
    static spread s;
    size_t i;

    (void)state;
    spread_init(&s, &PLAN, 102);
    for (i = 0; i < ATL_COUNT(TO); i++) {
        uint64_t begun = sim_now(s.w.net);

        sim_host_move(s.w.nodes[0].host, NULL, TO[i]);
        snprintf(s.must, sizeof(s.must), "/ip4/%s/", TO[i]);
        assert_true(spread_run(&s, 10));
        printf("moved: everywhere after %.2f s\n", (double)(sim_now(s.w.net) - begun) / 1e9);
        assert_in_range(sim_now(s.w.net) - begun, 1, 5 * SECOND);
        (void)world_run(&s.w, 10, NULL);
        assert_true(is_everywhere(&s));
        assert_int_equal(s.w.nodes[0].found.directs, 1);
    }
    check_told(&s, 1);
    check_told(&s, 2);
    world_done(&s.w);
}

/* Never without a circuit that works. */
static int always_reachable(void *user) {
    const world *w = user;

    assert_true(w->nodes[0].found.circuits >= 1);
    assert_true(w->nodes[0].found.serving >= 1);
    return 0;
}

static int reachable_by_three(void *user) {
    const world *w = user;

    (void)always_reachable(user);
    return w->nodes[0].found.circuits == 3 && w->nodes[0].found.serving == 3 &&
           w->nodes[0].found.verdict[0] == ATLAS_REACH_PRIVATE &&
           w->nodes[0].found.advertise == ATLAS_ADVERTISE_PUBLISHED;
}

/* A node that is private stays reachable wherever it goes, and when nothing has changed at all. */
static void test_private_node_roams(void **state) {
    static const world_plan PLAN = {.boots = 2,
                                    .relays = 5,
                                    .nodes = 2,
                                    .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC},
                                    .all_boots = 1};
    static world w;
    size_t i;

    (void)state;
    world_init(&w, &PLAN, 104);
    assert_true(world_run(&w, 10, world_published));
    (void)world_run(&w, 5, NULL);
    for (i = 0; i < 4; i++) {
        sim_nat nat = sim_nat_of(i % 2 == 0 ? SIM_NAT_SYMMETRIC : SIM_NAT_PORT_RESTRICTED);
        sim_router *router;
        char ip[32];

        assert_int_equal(atlas_network_changed(w.nodes[0].ctx), ATLAS_OK);
        sim_host_touch(w.nodes[0].host);
        (void)world_run(&w, 10, always_reachable);
        assert_true(reachable_by_three(&w));
        snprintf(ip, sizeof(ip), "192.0.%zu.1", 150 + i);
        router = sim_router_new(w.net, NULL, ip, &nat);
        snprintf(ip, sizeof(ip), "10.%zu.0.2", i);
        sim_host_move(w.nodes[0].host, router, ip);
        (void)world_run(&w, 1, always_reachable);
        assert_true(world_dial(&w, 1, 0, NULL));
        (void)world_run(&w, 10, always_reachable);
        assert_true(reachable_by_three(&w));
        assert_int_equal(atlas_conn_close(w.nodes[1].conn, 0, NULL), ATLAS_OK);
        sim_host_touch(w.nodes[1].host);
    }
    world_done(&w);
}

static int relay_announced(void *user) {
    return ((spread *)user)->w.nodes[0].relay_state == ATLAS_RELAY_ANNOUNCED;
}

/* The application names a relay. */
static void test_relay_added(void **state) {
    static const world_plan PLAN = {
        .boots = 3, .relays = 5, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_NONE}, .all_boots = 1};
    static spread s;
    uint64_t begun;

    (void)state;
    spread_init(&s, &PLAN, 103);
    assert_int_equal(s.w.nodes[0].found.circuits, 0);
    snprintf(s.must, sizeof(s.must), "/p2p/%.54s/p2p-circuit", world_id(&s.w.relays[4]));
    assert_int_equal(atlas_relay_add(s.w.nodes[0].ctx, s.w.relays[4].addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(s.w.nodes[0].ctx, 1), ATLAS_OK);
    sim_host_touch(s.w.nodes[0].host);
    assert_true(sim_run(s.w.net, sim_now(s.w.net) + 2 * SECOND, relay_announced, &s));
    begun = sim_now(s.w.net);
    assert_true(spread_run(&s, 10));
    printf("added: everywhere after %.2f s\n", (double)(sim_now(s.w.net) - begun) / 1e9);
    assert_in_range(sim_now(s.w.net) - begun, 1, SECOND);
    assert_int_equal(s.w.nodes[0].found.circuits, 1);
    world_done(&s.w);
}

/* ---- offering a relay ---- */

/* Nodes 0 and 3 offer; nodes 1 and 2 need them. */
static int uses(const world *w, size_t node, size_t relay) {
    return sim_node_says_relay(&w->nodes[node], &w->nodes[relay]);
}

static int used_by_both(void *user) {
    const world *w = user;

    return uses(w, 1, 0) && uses(w, 2, 0) && uses(w, 1, 3) && uses(w, 2, 3);
}

static int used_no_more(void *user) {
    const world *w = user;

    return (w->nodes[0].found.offers & ATLAS_OFFER_RELAY) == 0 && !uses(w, 1, 0) &&
           !uses(w, 2, 0) && uses(w, 1, 3) && uses(w, 2, 3) && uses(w, 0, 3);
}

static int offers_again(void *user) {
    const world *w = user;

    return (w->nodes[0].found.offers & ATLAS_OFFER_RELAY) != 0 &&
           w->nodes[0].found.advertise == ATLAS_ADVERTISE_PUBLISHED &&
           w->nodes[0].found.verdict[0] == ATLAS_REACH_PUBLIC;
}

static int always_offered(void *user) {
    const world *w = user;

    assert_int_equal(w->nodes[0].found.verdict[0], ATLAS_REACH_PUBLIC);
    assert_true((w->nodes[0].found.offers & ATLAS_OFFER_RELAY) != 0);
    assert_true(used_by_both(user));
    return 0;
}

static int left_node_3(void *user) {
    const world *w = user;

    return (w->nodes[3].found.offers & ATLAS_OFFER_RELAY) == 0 && !uses(w, 1, 3) &&
           !uses(w, 2, 3) && uses(w, 1, 0) && uses(w, 2, 0);
}

/* The application says that the network has changed, first where nothing has. */
static void told_changes(world *w) {
    uint64_t begun;

    (void)world_run(w, 60, NULL);
    assert_int_equal(atlas_network_changed(w->nodes[0].ctx), ATLAS_OK);
    sim_host_touch(w->nodes[0].host);
    (void)world_run(w, 60, always_offered);
    /* those who are connected with node 3 still reach it, and nobody else does any more */
    begun = sim_now(w->net);
    sim_router_nat(w->router[3])->filtering = SIM_ADDRESS_PORT_DEPENDENT;
    assert_int_equal(atlas_network_changed(w->nodes[3].ctx), ATLAS_OK);
    sim_host_touch(w->nodes[3].host);
    /* another network may have given it that private address: nothing is known at first */
    (void)world_run(w, 0.5, NULL);
    assert_int_equal(w->nodes[3].found.verdict[0], ATLAS_REACH_UNKNOWN);
    assert_true(world_run(w, 30, left_node_3));
    printf("told to leave after %.2f s\n", (double)(sim_now(w->net) - begun) / 1e9);
    assert_in_range(sim_now(w->net) - begun, 1, 5 * SECOND);
}

static void test_offer(void **state) {
    static const world_plan PLAN = {
        .boots = 3,
        .nodes = 4,
        .nat = {SIM_NAT_NONE, SIM_NAT_SYMMETRIC, SIM_NAT_PORT_RESTRICTED, SIM_NAT_FULL_CONE},
        .quiet = 1,
        .all_boots = 1,
    };
    static world w;
    sim_nat home = sim_nat_of(SIM_NAT_PORT_RESTRICTED);
    sim_router *router;
    uint64_t begun;
    size_t i;

    (void)state;
    world_init(&w, &PLAN, 111);
    router = sim_router_new(w.net, NULL, "192.0.177.1", &home);
    for (i = 0; i < 4; i += 3) {
        assert_int_equal(atlas_set_u64(w.nodes[i].ctx, ATLAS_OPT_OFFER_RELAY, 1), ATLAS_OK);
    }
    for (i = 0; i < PLAN.nodes; i++) {
        world_start_node(&w, i);
    }
    assert_true(world_run(&w, 60, used_by_both));
    assert_true(world_dial(&w, 1, 2, NULL));
    /* behind a NAT that filters */
    begun = sim_now(w.net);
    sim_host_move(w.nodes[0].host, router, "192.168.77.2");
    assert_true(world_run(&w, 30, used_no_more));
    printf("no relay any more after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
    assert_in_range(sim_now(w.net) - begun, 1, 10 * SECOND);
    assert_int_equal(w.nodes[0].found.verdict[0], ATLAS_REACH_PRIVATE);
    assert_true(world_dial(&w, 2, 0, NULL));
    (void)world_run(&w, 60, NULL);
    assert_true(used_no_more(&w));
    /* and back */
    begun = sim_now(w.net);
    sim_host_move(w.nodes[0].host, NULL, "192.0.10.9");
    assert_true(world_run(&w, 30, offers_again));
    printf("offers again after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
    assert_in_range(sim_now(w.net) - begun, 1, 5 * SECOND);
    assert_true(world_run(&w, 300, used_by_both));
    printf("used again after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
    told_changes(&w);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay_lost),
        cmocka_unit_test(test_node_moves),
        cmocka_unit_test(test_private_node_roams),
        cmocka_unit_test(test_relay_added),
        cmocka_unit_test(test_offer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
