/* Circuits of a node to itself at the relay server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/service.h"

#include "relay_world.h"

/* Both ends of a circuit may be the same node's: how it begins, and every way it ends. */
static void circuits_to_oneself(void **state) {
    relay_world w;
    raw_node *a;
    atl_relay_incoming incoming;
    atl_relay_error error;
    raw_circuit one;

    (void)state;
    world_start(&w);
    w.server->limits.handshakes = 0;
    a = raw_new(&w);
    raw_announce(&w, a);
    one = raw_pair(&w, a, a, 1);
    assert_memory_not_equal(one.source_sends, one.target_sends, ATL_CID_LEN);
    assert_int_equal(world_stats(&w)->pairs, 1);
    /* closed by one end: the other hears of it, once */
    raw_close_circuit(a, one.number);
    assert_int_equal(raw_expect_close(&w, a).circuit, one.number);
    raw_close_circuit(a, one.number);
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(a->n, 0);
    assert_int_equal(world_stats(&w)->circuits, 0);
    /* closed before it was accepted, and refused: the request has its answer, and nothing else */
    raw_connect_as(a, 2, &a->node.id, &a->node.id);
    incoming = raw_expect_incoming(&w, a);
    raw_close_circuit(a, incoming.circuit);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(error.request, 2);
    raw_connect_as(a, 3, &a->node.id, &a->node.id);
    incoming = raw_expect_incoming(&w, a);
    raw_accept(a, incoming.circuit, ATLAS_ERR_RELAY_REFUSED);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(error.request, 3);
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(a->n, 0);
    assert_int_equal(world_stats(&w)->circuits, 0);
    /* both ends count: one fits, and leaves room again */
    w.server->limits.max_circuits_per_node = 3;
    one = raw_pair(&w, a, a, 4);
    raw_connect_as(a, 5, &a->node.id, &a->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    raw_close_circuit(a, one.number);
    (void)raw_expect_close(&w, a);
    (void)raw_pair(&w, a, a, 6);
    /* the node goes */
    atl_h3_close(a->h3, 0x100, "");
    world_run(&w, ATL_SECOND);
    assert_int_equal(world_stats(&w)->circuits, 0);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

/* The node is told why it goes, and not that its own circuits went with it. */
static void a_replaced_node_hears_of_that_only(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *twin;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    raw_announce(&w, a);
    (void)raw_pair(&w, a, a, 1);
    twin = raw_new_as(&w, 10);
    assert_true(atl_peer_id_equal(&twin->node.id, &a->node.id));
    raw_request(&w, twin, "CONNECT", "/.well-known/atlas/relay/", "atlas-relay", 1);
    raw_announce(&w, twin);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_REPLACED);
    world_run(&w, 2 * ATL_SECOND);
    assert_int_equal(a->n, 0);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

/* Nobody answers, or nothing passes, or the relay drains: both ends are told. */
static void circuits_to_oneself_time_out(void **state) {
    relay_world w;
    raw_node *a;
    raw_circuit one;

    (void)state;
    world_start(&w);
    w.server->limits.handshake_timeout = ATL_SECOND;
    a = raw_new(&w);
    raw_announce(&w, a);
    raw_connect_as(a, 1, &a->node.id, &a->node.id);
    (void)raw_expect_incoming(&w, a);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
    (void)raw_expect_close(&w, a);
    one = raw_pair(&w, a, a, 2);
    for (int i = 0; i < 57; i++) {
        world_run(&w, 2 * ATL_SECOND);
        raw_announce(&w, a);
        assert_int_equal(a->n, 0);
    }
    world_run(&w, 5 * ATL_SECOND);
    assert_int_equal(raw_expect_close(&w, a).circuit, one.number);
    assert_int_equal(raw_expect_close(&w, a).circuit, one.number);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(circuits_to_oneself),
        cmocka_unit_test(a_replaced_node_hears_of_that_only),
        cmocka_unit_test(circuits_to_oneself_time_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
