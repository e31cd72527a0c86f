/* The main job in the simulator: two nodes and a relay run unmodified library code through dial,
 * transfer, relay loss and idle expiry, on links with delay, loss, reordering and duplication. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

typedef struct world {
    sim_net *net;
    sim_node a;
    sim_node b;
    sim_node relay;
} world;

static void world_init(world *w, uint64_t seed, const sim_link *link) {
    memset(w, 0, sizeof(*w));
    w->net = sim_new(seed);
    if (link != NULL) {
        sim_set_link(w->net, link);
    }
    sim_node_init(&w->relay, w->net, "203.0.113.10", 1, 4001);
    sim_node_init(&w->a, w->net, "203.0.113.51", 2, 0);
    sim_node_init(&w->b, w->net, "203.0.113.52", 3, 0);
    assert_int_equal(atlas_relay_start(w->relay.ctx), ATLAS_OK);
    assert_int_equal(atlas_set_u64(w->relay.ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0), ATLAS_OK);
    assert_int_equal(atlas_relay_add(w->a.ctx, w->relay.addr), ATLAS_OK);
    assert_int_equal(atlas_relay_add(w->b.ctx, w->relay.addr), ATLAS_OK);
}

static void world_done(world *w) {
    sim_node_done(&w->a);
    sim_node_done(&w->b);
    sim_node_done(&w->relay);
    sim_free(w->net);
}

static int run(world *w, double seconds, int (*done)(void *)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

static int b_announced(void *user) {
    return ((world *)user)->b.relay_state == ATLAS_RELAY_ANNOUNCED;
}

static int b_lost(void *user) {
    return ((world *)user)->b.relay_state == ATLAS_RELAY_LOST;
}

static int a_connected(void *user) {
    return ((world *)user)->a.connected > 0 || ((world *)user)->a.closed > 0;
}

static int a_closed(void *user) {
    return ((world *)user)->a.closed > 0;
}

static int b_closed(void *user) {
    return ((world *)user)->b.closed > 0;
}

static int b_has_all(void *user) {
    return ((world *)user)->b.got_fin;
}

static int b_has_message(void *user) {
    return ((world *)user)->b.messages > 0;
}

static int a_sent(void *user) {
    return ((world *)user)->a.sent > 0;
}

static void listen_and_announce(world *w) {
    assert_int_equal(atlas_listen(w->b.ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(w->b.ctx, 1), ATLAS_OK);
    assert_true(run(w, 20, b_announced));
}

static void transfer(world *w, uint64_t bytes) {
    sim_node_send(&w->a, bytes);
    assert_true(run(w, 600, b_has_all));
    assert_int_equal(w->b.got_bytes, bytes);
    assert_true(w->a.sent_hash == w->b.got_hash);
}

static const sim_link LINKS[] = {
    {10 * ATL_MS, 0, 0, 0, 0, 1472},
    {40 * ATL_MS, 10 * ATL_MS, 100, 200, 50, 1472},
    {5 * ATL_MS, 2 * ATL_MS, 300, 1000, 500, 1300},
    {150 * ATL_MS, 0, 50, 0, 0, 1472},
};

static void test_direct(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(LINKS); i++) {
        world w;

        world_init(&w, 10 + i, &LINKS[i]);
        assert_int_equal(atlas_listen(w.b.ctx), ATLAS_OK);
        assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
        assert_true(run(&w, 20, a_connected));
        assert_int_equal(w.a.connected, 1);
        assert_int_equal(w.a.path, ATLAS_PATH_DIRECT);
        transfer(&w, 1000000);
        world_done(&w);
    }
}

/* The direct way is cut: the dial falls back to the relay, and a message and a transfer go through
 * it. */
static void test_relayed(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(LINKS); i++) {
        world w;

        world_init(&w, 20 + i, &LINKS[i]);
        sim_cut(w.net, w.a.host, w.b.host, 1);
        listen_and_announce(&w);
        assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
        assert_true(run(&w, 20, a_connected));
        assert_int_equal(w.a.connected, 1);
        assert_int_equal(w.a.path, ATLAS_PATH_RELAY);
        assert_int_equal(atlas_conn_send_message(w.a.conn, "through the relay", 17, NULL),
                         ATLAS_OK);
        assert_true(run(&w, 20, a_sent));
        assert_int_equal(w.a.sent_code, ATLAS_OK);
        /* acknowledged by the transport may be before the other side counts as connected */
        assert_true(run(&w, 20, b_has_message));
        assert_string_equal(w.b.last_message, "through the relay");
        assert_int_equal(w.b.path, ATLAS_PATH_RELAY);
        transfer(&w, 1000000);
        world_done(&w);
    }
}

/* With warm presence on both sides a dial by id takes few round trips: circuit (2 hops each way),
 * then the handshake. */
static void test_dial_by_id_is_quick(void **state) {
    uint64_t start;
    world w;

    (void)state;
    world_init(&w, 30, NULL);
    listen_and_announce(&w);
    assert_int_equal(atlas_relay_presence(w.a.ctx, 1), ATLAS_OK);
    run(&w, 3, NULL);
    start = sim_now(w.net);
    assert_int_equal(sim_node_dial(&w.a, atlas_self_id(w.b.ctx), 0), ATLAS_OK);
    assert_true(run(&w, 20, a_connected));
    assert_int_equal(w.a.path, ATLAS_PATH_RELAY);
    /* one hop is 10 ms: 40 ms for the pairing, 80 ms for handshake and confirmation */
    assert_in_range((sim_now(w.net) - start) / ATL_MS, 100, 140);
    world_done(&w);
}

static void test_relay_never(void **state) {
    world w;

    (void)state;
    world_init(&w, 31, NULL);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    listen_and_announce(&w);
    assert_int_equal(atlas_set_u64(w.a.ctx, ATLAS_OPT_ENABLE_RELAY, 0), ATLAS_OK);
    assert_int_equal(sim_node_dial(&w.a, w.b.addr, 3000), ATLAS_OK);
    assert_true(run(&w, 20, a_closed));
    assert_int_equal(w.a.connected, 0);
    assert_int_equal(w.a.close_code, ATLAS_ERR_DIAL);
    assert_true(w.a.close_text[0] != '\0');
    world_done(&w);
}

static void test_target_unknown_to_the_relay(void **state) {
    world w;

    (void)state;
    world_init(&w, 32, NULL);
    assert_int_equal(sim_node_dial(&w.a, atlas_self_id(w.b.ctx), 5000), ATLAS_OK);
    assert_true(run(&w, 20, a_closed));
    assert_int_equal(w.a.close_code, ATLAS_ERR_DIAL);
    assert_non_null(strstr(w.a.close_text, atlas_error_text(ATLAS_ERR_RELAY_NOT_REGISTERED)));
    world_done(&w);
}

/* The relay is killed and comes back under the same key: the node is reachable again within 5 s. */
static void test_relay_restarts(void **state) {
    uint64_t start;
    world w;

    (void)state;
    world_init(&w, 33, NULL);
    listen_and_announce(&w);
    sim_node_kill(&w.relay);
    run(&w, 1, NULL);
    sim_node_start(&w.relay, 4001);
    assert_int_equal(atlas_relay_start(w.relay.ctx), ATLAS_OK);
    start = sim_now(w.net);
    w.b.relay_state = 0;
    assert_true(run(&w, 20, b_announced));
    assert_true(sim_now(w.net) - start <= 5 * SECOND);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    assert_int_equal(sim_node_dial(&w.a, atlas_self_id(w.b.ctx), 0), ATLAS_OK);
    assert_true(run(&w, 20, a_connected));
    assert_int_equal(w.a.connected, 1);
    world_done(&w);
}

/* The only relay dies for good under a relayed connection: the connection waits for another way as
 * long as the idle timeout lets it, then both sides hear of its end, exactly once. */
static void test_relay_dies(void **state) {
    world w;

    (void)state;
    world_init(&w, 34, NULL);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    listen_and_announce(&w);
    assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
    assert_true(run(&w, 20, a_connected));
    run(&w, 1, NULL);
    assert_int_equal(w.b.connected, 1);
    sim_node_kill(&w.relay);
    assert_true(run(&w, 60, b_lost));
    run(&w, 20, NULL);
    assert_int_equal(w.a.closed, 0);
    run(&w, 100, NULL);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.b.closed, 1);
    assert_true(w.a.close_code < 0);
    assert_true(w.b.close_code < 0);
    world_done(&w);
}

/* A peer that vanishes is noticed after the idle timeout, not before. */
static void test_idle_expiry(void **state) {
    uint64_t start;
    world w;

    (void)state;
    world_init(&w, 35, NULL);
    assert_int_equal(atlas_set_u64(w.b.ctx, ATLAS_OPT_IDLE_TIMEOUT_MS, 6000), ATLAS_OK);
    assert_int_equal(atlas_listen(w.b.ctx), ATLAS_OK);
    assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
    assert_true(run(&w, 20, a_connected));
    run(&w, 60, NULL); /* idle, but alive: kept */
    assert_int_equal(w.a.closed + w.b.closed, 0);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    start = sim_now(w.net);
    assert_true(run(&w, 60, b_closed));
    /* the last keepalive was at most two thirds of that ago */
    assert_in_range((sim_now(w.net) - start) / ATL_MS, 1900, 6100);
    assert_int_equal(w.b.close_code, ATLAS_ERR_IDLE_TIMEOUT);
    world_done(&w);
}

/* Random walks: many seeds, rough links, a relay that restarts in the middle; what was acknowledged
 * has arrived once. */
static void test_many_seeds(void **state) {
    uint64_t seed;

    (void)state;
    for (seed = 1000; seed < 1040; seed++) {
        sim_link link = {(1 + seed % 60) * ATL_MS, (seed % 7) * ATL_MS,    (uint32_t)(seed % 300),
                         (uint32_t)(seed % 500),   (uint32_t)(seed % 200), 1472};
        world w;
        int i;

        world_init(&w, seed, &link);
        if (seed % 2 == 0) {
            sim_cut(w.net, w.a.host, w.b.host, 1);
        }
        listen_and_announce(&w);
        assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
        assert_true(run(&w, 30, a_connected));
        assert_int_equal(w.a.connected, 1);
        for (i = 0; i < 10; i++) {
            assert_int_equal(atlas_conn_send_message(w.a.conn, "m", 1, NULL), ATLAS_OK);
        }
        transfer(&w, 100000);
        run(&w, 5, NULL);
        assert_int_equal(w.a.sent, 10);
        assert_int_equal(w.b.messages, 10);
        world_done(&w);
    }
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_dial_by_id_is_quick),
        cmocka_unit_test(test_relay_never),
        cmocka_unit_test(test_target_unknown_to_the_relay),
        cmocka_unit_test(test_relay_restarts),
        cmocka_unit_test(test_relay_dies),
        cmocka_unit_test(test_idle_expiry),
        cmocka_unit_test(test_many_seeds),
    };

    return cmocka_run_group_tests_name("main job", TESTS, NULL, NULL);
}
