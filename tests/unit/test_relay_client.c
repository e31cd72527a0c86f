/* The relay client on the simulated network: presence, and relays that go wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_nodes.h"

/* ---- presence ---- */

static void keeps_presence(void **state) {
    static const uint32_t expect[] = {ATLAS_RELAY_CONNECTING, ATLAS_RELAY_CONNECTED,
                                      ATLAS_RELAY_ANNOUNCED};
    client_node *n;

    (void)state;
    begin();
    atl_relay_server_limits(world.server)->bandwidth = 4321;
    n = add();
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_IDLE);
    atl_relay_client_want(n->client, 1, 1);
    assert_int_equal(n->n_states, 0); /* told later */
    world_until(&world, is_announced, n, ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->n_states, 3);
    assert_memory_equal(n->states, expect, sizeof(expect));
    assert_string_equal(n->observed, "10.0.2.1:6000");
    assert_int_equal(n->event.bandwidth, 4321);
    assert_int_equal(n->event.expires_ns, 6 * ATL_SECOND);
    assert_int_equal(n->event.retry_ns, 0);
    assert_in_range(n->event.rtt_ns, 9 * ATL_MS, 12 * ATL_MS);
    assert_int_equal(world_stats(&world)->announces, 1);
    run(60 * ATL_SECOND);
    assert_int_equal(n->n_states, 3);
    assert_int_equal(world_stats(&world)->announces, 31);
    assert_int_equal(world_stats(&world)->nodes, 1);
    assert_int_equal(world_stats(&world)->expired, 0);
    /* presence no longer wanted: the registration lapses, the connection stays */
    atl_relay_client_want(n->client, 1, 0);
    run(7 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_CONNECTED);
    assert_int_equal(world_stats(&world)->nodes, 0);
    assert_int_equal(world_stats(&world)->sessions, 1);
    atl_relay_client_want(n->client, 0, 0);
    run(ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_IDLE);
    assert_int_equal(world_stats(&world)->sessions, 0);
    finish();
}

/* The relay's host dies without a word and comes back: found out within 3 intervals, back within
 * seconds. */
static void finds_a_dead_relay(void **state) {
    client_node *n;
    uint64_t start;

    (void)state;
    begin();
    n = add_announced();
    run(5 * ATL_SECOND);
    run(5 * ATL_SECOND);
    start = sim_now(world.net);
    sim_host_set_down(world.relay.host, 1);
    world_until(&world, is_lost, n, 10 * ATL_SECOND);
    assert_in_range(sim_now(world.net) - start, ATL_SECOND, 8 * ATL_SECOND + 100 * ATL_MS);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RELAY_LOST);
    assert_in_range(n->event.retry_ns, 0, 51 * ATL_MS); /* it had served: no waiting */
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    world_until(&world, is_announced, n, 3 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->nodes, 1);
    finish();
}

/* A relay that is killed and started again at once: its stateless reset tells before the
 * announcements are missed. */
static void comes_back_after_a_restart(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    run(3 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 1); /* swallows the last words */
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    run(5 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(atl_relay_client_state(b->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(world_stats(&world)->nodes, 2);
    finish();
}

static void redials_for_ever_with_backoff(void **state) {
    client_node *n;
    uint64_t longest = 0;

    (void)state;
    begin();
    n = add();
    sim_host_set_down(world.relay.host, 1);
    atl_relay_client_want(n->client, 1, 1);
    for (int i = 0; i < 14; i++) {
        world_until(&world, is_lost, n, 80 * ATL_SECOND);
        run(ATL_MS);
        assert_true(n->event.retry_ns >= 990 * ATL_MS);
        assert_true(n->event.retry_ns <= 60 * ATL_SECOND);
        longest = n->event.retry_ns > longest ? n->event.retry_ns : longest;
        run(n->event.retry_ns);
        assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_CONNECTING);
        n->n_states = 0;
    }
    assert_true(longest > 29 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 0);
    world_until(&world, is_announced, n, 80 * ATL_SECOND);
    finish();
}

static void asks_for_names(void **state) {
    client_node *n;

    (void)state;
    begin();
    sim_add_name(world.net, "relay.example", "10.0.0.1");
    n = add();
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns4/relay.example"));
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns4/nothing.example"));
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 2 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RESOLVE);
    finish();
}

/* A look-up that gives two addresses, of which nobody answers at the first. */
static struct {
    atl_task task;
    atl_resolve_cb cb;
    void *user;
} look_up;

static void two_addresses(atl_task *task) {
    const uint8_t dead[4] = {10, 0, 9, 9};
    const uint8_t alive[4] = {10, 0, 0, 1};
    atl_addr addrs[2];

    (void)task;
    atl_addr_set4(&addrs[0], dead, RELAY_PORT);
    atl_addr_set4(&addrs[1], alive, RELAY_PORT);
    look_up.cb(look_up.user, ATLAS_OK, addrs, 2);
}

static int32_t look_up_two(void *impl, const char *host, uint16_t port, uint8_t family,
                           atl_resolve_cb cb, void *user, atl_resolve **out) {
    (void)impl;
    assert_string_equal(host, "two.example");
    assert_int_equal(port, RELAY_PORT);
    assert_int_equal(family, 0);
    look_up.cb = cb;
    look_up.user = user;
    atl_post_work(&nodes[0].node.loop, &look_up.task);
    *out = (atl_resolve *)(void *)&look_up;
    return ATLAS_OK;
}

static void tries_every_address(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add();
    atl_task_init(&look_up.task, two_addresses, NULL);
    n->node.io.resolve = look_up_two;
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns/two.example"));
    atl_relay_client_want(n->client, 1, 1);
    run(2 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_CONNECTING);
    world_until(&world, is_announced, n, 3 * ATL_SECOND);
    finish();
}

static void another_relay_than_named(void **state) {
    client_node *n;
    char text[256];
    char id[ATLAS_PEER_ID_MAX];

    (void)state;
    begin();
    n = add();
    atl_relay_client_free(n->client);
    atl_peer_id_text(&n->node.id, id);
    (void)snprintf(text, sizeof(text), "/ip4/10.0.0.1/udp/%d/quic-v1/p2p/%s", RELAY_PORT, id);
    make_client(n, text);
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 5 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_PEER_MISMATCH);
    assert_int_equal(world_stats(&world)->nodes, 0);
    finish();
}

static int64_t (*true_wall)(void *user);

static int64_t off_by_an_hour(void *user) {
    return true_wall(user) + 3600 * 1000;
}

static void says_why_it_is_refused(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add();
    true_wall = n->node.env.hooks.wall;
    n->node.env.hooks.wall = off_by_an_hour;
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 2 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    assert_true(n->event.retry_ns > 0);
    /* the connection stays, and the announcement is tried again */
    assert_int_equal(world_stats(&world)->sessions, 1);
    run(10 * ATL_SECOND);
    assert_true(world_stats(&world)->refused_drift >= 3);
    n->node.env.hooks.wall = true_wall;
    world_until(&world, is_announced, n, 20 * ATL_SECOND);
    finish();
}

static void a_replaced_node_waits_its_turn(void **state) {
    client_node *old;
    client_node *newer;

    (void)state;
    begin();
    old = add_as(200);
    atl_relay_client_want(old->client, 1, 1);
    world_until(&world, is_announced, old, 2 * ATL_SECOND);
    newer = add_as(200);
    atl_relay_client_want(newer->client, 1, 1);
    world_until(&world, is_announced, newer, 2 * ATL_SECOND);
    run(55 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(old->client), ATLAS_RELAY_REPLACED);
    assert_int_equal(old->event.code, ATLAS_ERR_RELAY_REPLACED);
    assert_int_equal(world_stats(&world)->replaced, 1);
    /* two minutes on it has asked, and yielded */
    run(120 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(newer->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(world_stats(&world)->replaced, 1);
    atl_relay_client_want(newer->client, 0, 0);
    world_until(&world, is_announced, old, 70 * ATL_SECOND);
    finish();
}

static void a_drain_is_obeyed(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    atl_relay_server_drain(world.server, 10 * ATL_SECOND, NULL, NULL);
    run(ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_DRAINS);
    assert_int_equal(a->event.code, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(a->conn_closed, 0); /* circuits go on meanwhile */
    (void)ask(a, &b->node.id);
    run(ATL_MS);
    assert_int_equal(a->failed, 1);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_DRAINING);
    run(8 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_DRAINS);
    run(3 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    relay_stop(&world);
    relay_start(&world);
    world_until(&world, is_announced, a, 15 * ATL_SECOND);
    world_until(&world, is_announced, b, 15 * ATL_SECOND);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_presence),
        cmocka_unit_test(finds_a_dead_relay),
        cmocka_unit_test(comes_back_after_a_restart),
        cmocka_unit_test(redials_for_ever_with_backoff),
        cmocka_unit_test(asks_for_names),
        cmocka_unit_test(tries_every_address),
        cmocka_unit_test(another_relay_than_named),
        cmocka_unit_test(says_why_it_is_refused),
        cmocka_unit_test(a_replaced_node_waits_its_turn),
        cmocka_unit_test(a_drain_is_obeyed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
