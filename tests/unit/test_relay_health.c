/* How good a relay is: silence, probes, what is remembered, a changed network, idle mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_nodes.h"

static int is_silent(void *user) {
    return atl_relay_client_health(at(user)) == ATL_RELAY_HEALTH_SILENT;
}

static int is_warm(void *user) {
    return atl_relay_client_health(at(user)) == ATL_RELAY_HEALTH_WARM;
}

static uint32_t health(client_node *n) {
    return atl_relay_client_health(at(n));
}

/* ---- the course of it ---- */

static void health_follows_the_relay(void **state) {
    static const uint32_t expect[] = {ATL_RELAY_HEALTH_COLD, ATL_RELAY_HEALTH_WARM,
                                      ATL_RELAY_HEALTH_SILENT, ATL_RELAY_HEALTH_FAILED,
                                      ATL_RELAY_HEALTH_WARM};
    client_node *n;
    uint64_t start;

    (void)state;
    begin();
    n = add();
    assert_int_equal(health(n), ATL_RELAY_HEALTH_COLD);
    atl_relay_client_want(at(n), 1, 1);
    world_until(&world, is_announced, n, ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_WARM);
    run(20 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_WARM);
    start = sim_now(world.net);
    sim_host_set_down(world.relay.host, 1);
    world_until(&world, is_silent, n, 5 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    /* one announcement, and what QUIC calls silence */
    assert_in_range(sim_now(world.net) - start, 250 * ATL_MS, 2500 * ATL_MS);
    world_until(&world, is_lost, n, 5 * ATL_SECOND);
    assert_in_range(sim_now(world.net) - start, ATL_SECOND, 6 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    run(60 * ATL_SECOND); /* it stays failed as long as every attempt fails */
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    world_until(&world, is_announced, n, 90 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->n_healths, sizeof(expect) / sizeof(expect[0]));
    assert_memory_equal(n->healths, expect, sizeof(expect));
    finish();
}

/* A short silence is told, and forgotten. */
static void short_silences_are_forgiven(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add_announced();
    run(11 * ATL_SECOND);
    sim_cut(world.net, world.relay.host, n->node.host, 1);
    world_until(&world, is_silent, n, 5 * ATL_SECOND);
    run(ATL_SECOND);
    sim_cut(world.net, world.relay.host, n->node.host, 0);
    world_until(&world, is_warm, n, 2 * ATL_SECOND);
    run(10 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(n->states[n->n_states - 1], ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(n->n_states, 3);
    assert_int_equal(world_stats(&world)->sessions, 1);
    finish();
}

/* ---- probes ---- */

static void a_probe_finds_out(void **state) {
    client_node *n;
    uint64_t start;

    (void)state;
    begin();
    n = add();
    n->presence_interval = 60 * ATL_SECOND;
    atl_relay_server_limits(world.server)->presence_interval = 60 * ATL_SECOND;
    atl_relay_client_want(at(n), 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    run(13 * ATL_SECOND);
    /* a relay that is well answers, and nothing happens */
    for (int i = 0; i < 100; i++) {
        atl_relay_client_probe(at(n));
        run(50 * ATL_MS);
    }
    assert_int_equal(n->n_states, 3);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_WARM);
    run(300 * ATL_MS);
    /* one that is dead is lost after a second */
    sim_host_set_down(world.relay.host, 1);
    start = sim_now(world.net);
    for (int i = 0; i < 18; i++) {
        atl_relay_client_probe(at(n));
        run(50 * ATL_MS);
    }
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_SILENT);
    world_until(&world, is_lost, n, 2 * ATL_SECOND);
    assert_in_range(sim_now(world.net) - start, ATL_SECOND, 1100 * ATL_MS);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    finish();
}

/* What waits for its next attempt does not wait when the relay is needed, and not more than four
 * times a second. */
static void a_probe_ends_the_waiting(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add();
    sim_host_set_down(world.relay.host, 1);
    atl_relay_client_want(at(n), 1, 1);
    for (int i = 0; i < 8; i++) {
        world_until(&world, is_lost, n, 80 * ATL_SECOND);
        run(n->event.retry_ns + ATL_MS);
    }
    world_until(&world, is_lost, n, 80 * ATL_SECOND);
    run(ATL_MS);
    assert_true(n->event.retry_ns > 5 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 0);
    atl_relay_client_probe(at(n));
    world_until(&world, is_announced, n, 200 * ATL_MS);
    finish();
}

/* ---- memory ---- */

/* A relay that only a request has tried. */
static void failures_are_remembered_for_a_while(void **state) {
    client_node *n;
    atl_peer_id nobody;

    (void)state;
    begin();
    n = add();
    memset(&nobody, 7, sizeof(nobody));
    sim_host_set_down(world.relay.host, 1);
    (void)ask(n, &nobody);
    run(500 * ATL_MS);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_COLD); /* who knows */
    run(ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_SILENT);
    world_until(&world, is_answered, n, 13 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    run(89 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    run(2 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_COLD);
    finish();
}

static void addresses_are_told(void **state) {
    client_node *n;
    atl_addr addr;
    char text[ATLAS_ADDR_MAX];
    size_t news;

    (void)state;
    begin();
    sim_add_name(world.net, "relay.example", "10.0.0.1");
    n = add();
    assert_int_equal(atl_relay_client_remote(n->client, &addr), ATLAS_OK);
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns4/relay.example"));
    assert_int_equal(atl_relay_client_remote(n->client, &addr), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_relay_client_observed(n->client, &addr), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_relay_client_rtt(n->client), 0);
    atl_relay_client_want(at(n), 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(atl_relay_client_remote(n->client, &addr), ATLAS_OK);
    atl_addr_text(&addr, text);
    assert_string_equal(text, "10.0.0.1:4433");
    assert_int_equal(atl_relay_client_observed(n->client, &addr), ATLAS_OK);
    atl_addr_text(&addr, text);
    assert_string_equal(text, "10.0.2.1:6000");
    assert_in_range(atl_relay_client_rtt(n->client), 9 * ATL_MS, 12 * ATL_MS);
    /* a NAT that forgets: the relay says at once how it sees the node now */
    news = n->n_news;
    n->presence_interval = 60 * ATL_SECOND;
    run(3 * ATL_SECOND);
    sim_host_rebind(n->node.host, "10.0.9.1");
    atl_relay_client_probe(at(n));
    run(100 * ATL_MS);
    assert_int_equal(atl_relay_client_observed(n->client, &addr), ATLAS_OK);
    atl_addr_text(&addr, text);
    assert_memory_equal(text, "10.0.9.1:", 9);
    assert_true(n->n_news > news);
    finish();
}

/* ---- a changed network ---- */

static void a_changed_network_ends_the_waiting(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add();
    sim_cut(world.net, world.relay.host, n->node.host, 1);
    atl_relay_client_want(at(n), 1, 1);
    for (int i = 0; i < 6; i++) {
        world_until(&world, is_lost, n, 80 * ATL_SECOND);
        run(n->event.retry_ns + ATL_MS);
    }
    world_until(&world, is_lost, n, 80 * ATL_SECOND);
    assert_int_equal(health(n), ATL_RELAY_HEALTH_FAILED);
    run(ATL_MS);
    sim_cut(world.net, world.relay.host, n->node.host, 0);
    atl_relay_client_network_changed(at(n));
    world_until(&world, is_announced, n, 200 * ATL_MS);
    /* a dial that went out by the old way begins again */
    atl_relay_client_want(at(n), 0, 0);
    run(ATL_SECOND);
    sim_cut(world.net, world.relay.host, n->node.host, 1);
    atl_relay_client_want(at(n), 1, 1);
    run(1500 * ATL_MS);
    sim_cut(world.net, world.relay.host, n->node.host, 0);
    atl_relay_client_network_changed(at(n));
    world_until(&world, is_announced, n, 100 * ATL_MS);
    finish();
}

/* ---- idle mode ---- */

static size_t sent_by_node;

static int count(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                 size_t len) {
    const atl_addr *node = user;

    (void)to;
    (void)data;
    (void)len;
    sent_by_node += memcmp(from->ip, node->ip, sizeof(from->ip)) == 0;
    return 0;
}

static void idle_mode_is_silent(void **state) {
    client_node *n;
    atl_addr addr;
    uint64_t announces;

    (void)state;
    begin();
    n = add_announced();
    run(11 * ATL_SECOND);
    addr = pair_path(&n->node).remote;
    sim_set_tap(world.net, count, &addr);
    sent_by_node = 0;
    atl_relay_client_set_idle(at(n), 1);
    run(60 * ATL_SECOND);
    /* that it is announced no more has to be acknowledged */
    assert_in_range(sent_by_node, 0, 6);
    assert_int_equal(world_stats(&world)->nodes, 0);
    assert_int_equal(world_stats(&world)->sessions, 1);
    announces = world_stats(&world)->announces;
    atl_relay_client_set_idle(at(n), 0);
    world_until(&world, is_announced, n, 100 * ATL_MS);
    assert_int_equal(world_stats(&world)->announces, announces + 1);
    assert_int_equal(world_stats(&world)->replaced, 0);
    run(60 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->announces, announces + 31);
    /* a relay that has gone meanwhile is found out then, and tried then */
    atl_relay_client_set_idle(at(n), 1);
    run(5 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 1);
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    run(200 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->sessions, 0);
    atl_relay_client_set_idle(at(n), 0);
    world_until(&world, is_announced, n, 500 * ATL_MS);
    finish();
}

/* In idle mode nothing is redialled, except for a request. */
static void idle_mode_dials_for_requests_only(void **state) {
    client_node *n;
    atl_peer_id nobody;

    (void)state;
    begin();
    n = add_announced();
    atl_relay_client_set_idle(at(n), 1);
    run(ATL_SECOND);
    atl_relay_server_drain(world.server, 0, NULL, NULL); /* closes the connection */
    run(2 * ATL_SECOND);
    relay_stop(&world);
    relay_start(&world);
    run(60 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_LOST);
    assert_int_equal(world_stats(&world)->sessions, 0);
    memset(&nobody, 7, sizeof(nobody));
    (void)ask(n, &nobody);
    world_until(&world, is_answered, n, 2 * ATL_SECOND);
    assert_int_equal(n->code, ATLAS_ERR_RELAY_NOT_REGISTERED);
    assert_int_equal(world_stats(&world)->sessions, 1);
    assert_int_equal(world_stats(&world)->nodes, 0);
    atl_relay_client_set_idle(at(n), 0);
    world_until(&world, is_announced, n, 100 * ATL_MS);
    finish();
}

/* ---- drains ---- */

static void a_drain_shows(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    assert_ptr_equal(atl_relay_client_of(a->circuit), a->client);
    atl_relay_server_drain(world.server, 5 * ATL_SECOND, NULL, NULL);
    run(100 * ATL_MS);
    assert_int_equal(health(a), ATL_RELAY_HEALTH_DRAINS);
    assert_int_equal(health(b), ATL_RELAY_HEALTH_DRAINS);
    /* its word holds when the node moves */
    sim_host_rebind(a->node.host, "10.0.9.1");
    atl_relay_client_network_changed(at(a));
    run(ATL_SECOND);
    assert_int_equal(health(a), ATL_RELAY_HEALTH_DRAINS);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_DRAINS);
    run(5 * ATL_SECOND);
    assert_int_equal(health(a), ATL_RELAY_HEALTH_FAILED);
    finish();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_follows_the_relay),
        cmocka_unit_test(short_silences_are_forgiven),
        cmocka_unit_test(a_probe_finds_out),
        cmocka_unit_test(a_probe_ends_the_waiting),
        cmocka_unit_test(failures_are_remembered_for_a_while),
        cmocka_unit_test(addresses_are_told),
        cmocka_unit_test(a_changed_network_ends_the_waiting),
        cmocka_unit_test(idle_mode_is_silent),
        cmocka_unit_test(idle_mode_dials_for_requests_only),
        cmocka_unit_test(a_drain_shows),
    };

    return cmocka_run_group_tests_name("relay_health", tests, NULL, NULL);
}
