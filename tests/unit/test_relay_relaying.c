/* A relay that is turned off and on again, and goes on answering requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_parts.h"

static void expect_drain(raw_node *raw, uint64_t within_ms) {
    const raw_capsule *capsule = raw_expect(&w, raw, ATL_RELAY_DRAIN);
    atl_relay_drain drain;

    assert_int_equal(atl_relay_drain_decode(capsule->value, capsule->len, &drain), ATLAS_OK);
    assert_int_equal(drain.within, within_ms);
}

static void off_without_nodes(void **state) {
    raw_node *raw;

    (void)state;
    world_start(&w);
    (void)add_part(&a_part, "/a", AT_HEAD);
    assert_int_equal(atl_relay_server_is_relaying(w.server), 1);
    atl_relay_server_set_relaying(w.server, 0, 0);
    assert_int_equal(atl_relay_server_is_relaying(w.server), 0);
    raw = add();
    raw_request(&w, raw, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    assert_int_equal(raw->status, 503);
    get(raw, "/a");
    assert_int_equal(raw->status, 200);
    get(raw, RELAY_PATH "health");
    assert_non_null(strstr(raw->body, "\"off\""));
    world_run(&w, 5 * ATL_SECOND);
    assert_false(raw->closed);
    atl_relay_server_set_relaying(w.server, 1, 0);
    assert_int_equal(atl_relay_server_is_relaying(w.server), 1);
    raw_request(&w, raw, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    assert_int_equal(raw->status, 200);
    raw_announce(&w, raw);
    world_done(&w);
}

/* Circuits last until they end; whoever has none is let go after a moment. */
static void off_with_circuits(void **state) {
    raw_node *a;
    raw_node *b;
    raw_node *alone;
    raw_node *asker;
    raw_circuit circuit;

    (void)state;
    world_start(&w);
    (void)add_part(&a_part, "/a", AT_HEAD);
    a = raw_new(&w);
    b = raw_new(&w);
    alone = raw_new(&w);
    asker = add();
    raw_announce(&w, a);
    raw_announce(&w, b);
    raw_announce(&w, alone);
    circuit = raw_pair(&w, a, b, 1);
    atl_relay_server_set_relaying(w.server, 0, 30 * ATL_SECOND);
    sim_host_touch(w.relay.host);
    assert_int_equal(world_stats(&w)->nodes, 0);
    expect_drain(a, 30000);
    expect_drain(b, 30000);
    expect_drain(alone, 30000);
    (void)raw_expect_error(&w, alone, ATLAS_ERR_RELAY_DRAINING);
    world_until(&w, raw_is_closed, alone, 2 * ATL_SECOND);
    raw_announce_as(a, &a->node.id, 0, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_DRAINING);
    raw_connect_as(b, 7, &b->node.id, &a->node.id);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_DRAINING);
    get(asker, "/a");
    assert_int_equal(asker->status, 200);
    assert_int_equal(asker->goaway, 0);
    world_run(&w, 10 * ATL_SECOND);
    get(asker, "/a");
    assert_false(a->closed);
    assert_false(b->closed);
    assert_int_equal(world_stats(&w)->circuits, 1);
    raw_close_circuit(a, circuit.number);
    (void)raw_expect_close(&w, b);
    world_run(&w, 2 * ATL_SECOND);
    assert_true(a->closed);
    assert_true(b->closed);
    assert_int_equal(world_stats(&w)->circuits, 0);
    get(asker, "/a");
    assert_int_equal(asker->status, 200);
    world_done(&w);
}

static void off_has_an_end(void **state) {
    raw_node *a;
    raw_node *b;
    raw_node *asker;

    (void)state;
    world_start(&w);
    (void)add_part(&a_part, "/a", AT_HEAD);
    a = raw_new(&w);
    b = raw_new(&w);
    asker = add();
    raw_announce(&w, b);
    (void)raw_pair(&w, a, b, 1);
    atl_relay_server_set_relaying(w.server, 0, 3 * ATL_SECOND);
    sim_host_touch(w.relay.host);
    world_run(&w, 2900 * ATL_MS);
    assert_false(a->closed);
    assert_int_equal(world_stats(&w)->circuits, 1);
    world_run(&w, 200 * ATL_MS);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_run(&w, 1500 * ATL_MS);
    assert_true(a->closed);
    assert_true(b->closed);
    get(asker, "/a");
    assert_int_equal(asker->status, 200);
    world_done(&w);
}

/* Said again: sooner is heeded, later is not. */
static void off_twice(void **state) {
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    (void)raw_pair(&w, a, b, 1);
    atl_relay_server_set_relaying(w.server, 0, 30 * ATL_SECOND);
    sim_host_touch(w.relay.host);
    world_run(&w, ATL_SECOND);
    atl_relay_server_set_relaying(w.server, 0, 60 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    assert_int_equal(world_stats(&w)->circuits, 1);
    atl_relay_server_set_relaying(w.server, 0, ATL_SECOND);
    sim_host_touch(w.relay.host);
    world_run(&w, 1100 * ATL_MS);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

static void on_again_in_the_middle(void **state) {
    raw_node *a;
    raw_node *b;
    raw_node *late;
    raw_circuit circuit;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, a);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    atl_relay_server_set_relaying(w.server, 0, 3 * ATL_SECOND);
    sim_host_touch(w.relay.host);
    expect_drain(a, 3000);
    expect_drain(b, 3000);
    world_run(&w, ATL_SECOND);
    atl_relay_server_set_relaying(w.server, 1, 0);
    late = raw_new(&w);
    raw_announce(&w, late);
    raw_announce(&w, a); /* on the stream that it has */
    world_run(&w, 3 * ATL_SECOND);
    assert_false(a->closed);
    assert_false(b->closed);
    assert_int_equal(world_stats(&w)->circuits, 1);
    assert_int_equal(world_stats(&w)->nodes, 2);
    (void)raw_pair(&w, late, a, 3);
    raw_close_circuit(a, circuit.number);
    (void)raw_expect_close(&w, b);
    world_run(&w, 2 * ATL_SECOND);
    assert_false(b->closed);
    assert_int_equal(world_stats(&w)->circuits, 1);
    world_done(&w);
}

static void count_done(void *user) {
    ++*(int *)user;
}

/* The server's own end keeps its meaning. */
static void drained_while_off(void **state) {
    raw_node *a;
    raw_node *b;
    raw_node *asker;
    int done = 0;

    (void)state;
    world_start(&w);
    (void)add_part(&a_part, "/a", AT_HEAD);
    a = raw_new(&w);
    b = raw_new(&w);
    asker = add();
    raw_announce(&w, b);
    (void)raw_pair(&w, a, b, 1);
    atl_relay_server_set_relaying(w.server, 0, 30 * ATL_SECOND);
    atl_relay_server_drain(w.server, 2 * ATL_SECOND, count_done, &done);
    sim_host_touch(w.relay.host);
    world_run(&w, 1900 * ATL_MS);
    assert_int_equal(done, 0);
    assert_false(a->closed);
    world_run(&w, 1500 * ATL_MS);
    assert_int_equal(done, 1);
    assert_true(a->closed);
    assert_true(asker->closed);
    atl_relay_server_set_relaying(w.server, 1, 0);
    raw_dial(&w, a);
    world_until(&w, raw_is_closed, a, 12 * ATL_SECOND);
    assert_int_equal(done, 1);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_without_nodes),      cmocka_unit_test(off_with_circuits),
        cmocka_unit_test(off_has_an_end),         cmocka_unit_test(off_twice),
        cmocka_unit_test(on_again_in_the_middle), cmocka_unit_test(drained_while_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
