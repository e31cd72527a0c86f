/* Paths in the simulator: relayed connections become direct where the NATs let them, survive the
 * death of their direct path and of their relay, and follow nodes to other addresses. Every
 * scenario hashes what is transferred. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net_router.h"
#include "node.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

typedef struct world {
    sim_net *net;
    sim_node relay[2];
    sim_node a;
    sim_node b;
    sim_router *nat_a;
    sim_router *nat_b;
    size_t n_relays;
} world;

static void start_node(world *w, sim_node *node, int kind, int number, uint8_t seed,
                       sim_router **router) {
    char outside[32];
    size_t i;

    snprintf(outside, sizeof(outside), "203.0.113.%d", 100 + number);
    memset(node, 0, sizeof(*node));
    node->host = sim_host_natted(w->net, kind, outside, number, router);
    sim_host_addr(node->host, &node->host_ip);
    node->seed = seed;
    sim_node_start(node, 0);
    for (i = 0; i < w->n_relays; i++) {
        assert_int_equal(atlas_relay_add(node->ctx, w->relay[i].addr), ATLAS_OK);
    }
    assert_int_equal(atlas_listen(node->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(node->ctx, 1), ATLAS_OK);
}

static int run(world *w, double seconds, int (*done)(void *)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

static int announced(void *user) {
    world *w = user;

    return w->a.relay_announced >= (int)w->n_relays && w->b.relay_announced >= (int)w->n_relays;
}

static int connected(void *user) {
    return ((world *)user)->a.connected > 0 || ((world *)user)->a.closed > 0;
}

static int both_direct(void *user) {
    world *w = user;

    return w->a.path == ATLAS_PATH_DIRECT && w->b.path == ATLAS_PATH_DIRECT;
}

static int b_has_all(void *user) {
    return ((world *)user)->b.got_fin;
}

static void world_init(world *w, uint64_t seed, int kind_a, int kind_b, size_t relays) {
    size_t i;

    memset(w, 0, sizeof(*w));
    w->net = sim_new(seed);
    w->n_relays = relays;
    for (i = 0; i < relays; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "203.0.113.%d", 10 + (int)i);
        sim_node_init(&w->relay[i], w->net, ip, (uint8_t)(1 + i), 4001);
        assert_int_equal(atlas_relay_start(w->relay[i].ctx), ATLAS_OK);
        assert_int_equal(atlas_set_u64(w->relay[i].ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0), ATLAS_OK);
    }
    start_node(w, &w->a, kind_a, 1, 11, &w->nat_a);
    start_node(w, &w->b, kind_b, 2, 12, &w->nat_b);
    assert_true(run(w, 20, announced));
}

static void world_done(world *w) {
    size_t i;

    sim_node_done(&w->a);
    sim_node_done(&w->b);
    for (i = 0; i < w->n_relays; i++) {
        sim_node_done(&w->relay[i]);
    }
    sim_free(w->net);
}

/* Whether hole punching works between two kinds of NAT. */
static int punchable(int a, int b) {
    if (a == SIM_NAT_SYMMETRIC || b == SIM_NAT_SYMMETRIC) {
        int other = a == SIM_NAT_SYMMETRIC ? b : a;

        return other == SIM_NAT_NONE || other == SIM_NAT_FULL_CONE ||
               other == SIM_NAT_ADDRESS_RESTRICTED;
    }
    return 1;
}

static void test_every_pair(void **state) {
    int a;
    int b;

    (void)state;
    for (a = 0; a <= SIM_NAT_CGNAT; a++) {
        for (b = 0; b <= SIM_NAT_CGNAT; b++) {
            uint64_t start;
            world w;

            world_init(&w, (uint64_t)(100 + 10 * a + b), a, b, 1);
            assert_int_equal(sim_node_dial(&w.a, atlas_self_id(w.b.ctx), 0), ATLAS_OK);
            assert_true(run(&w, 20, connected));
            assert_int_equal(w.a.connected, 1);
            start = sim_now(w.net);
            run(&w, 5, both_direct);
            printf("%-20s %-20s %-6s %.0f ms\n", sim_nat_name(a), sim_nat_name(b),
                   both_direct(&w) ? "direct" : "relay", (double)(sim_now(w.net) - start) / 1e6);
            assert_int_equal(both_direct(&w), punchable(a, b));
            sim_node_send(&w.a, 200000);
            assert_true(run(&w, 60, b_has_all));
            assert_true(w.a.sent_hash == w.b.got_hash);
            world_done(&w);
        }
    }
}

static const struct CMUnitTest TESTS[] = {
    cmocka_unit_test(test_every_pair),
};

int main(void) {
    return cmocka_run_group_tests_name("paths", TESTS, NULL, NULL);
}
