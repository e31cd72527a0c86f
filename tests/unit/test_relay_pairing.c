/* Circuits at the relay server: their setting up, their end, and the packets that pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_world.h"

/* ---- circuits ---- */

static void pairing_has_its_errors(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    atl_relay_incoming incoming;
    atl_relay_error error;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_connect_as(a, 1, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_NOT_REGISTERED);
    raw_connect_as(a, 1, &a->node.id, &a->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_NOT_REGISTERED);
    raw_announce(&w, b);
    raw_connect_as(a, 2, &a->node.id, &b->node.id);
    incoming = raw_expect_incoming(&w, b);
    raw_accept(a, incoming.circuit, ATLAS_OK); /* the source does not accept for the target */
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(world_stats(&w)->pairs, 0);
    raw_accept(b, incoming.circuit + 1000, ATLAS_OK); /* a circuit that is not */
    raw_accept(b, incoming.circuit, ATLAS_ERR_RELAY_REFUSED);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(error.request, 2);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

static void a_target_that_never_accepts(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    atl_relay_incoming incoming;
    atl_relay_close closed;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    raw_connect_as(a, 5, &a->node.id, &b->node.id);
    incoming = raw_expect_incoming(&w, b);
    for (int i = 0; i < 4; i++) {
        world_run(&w, 2400 * ATL_MS);
        raw_announce(&w, b);
    }
    assert_int_equal(a->n, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
    closed = raw_expect_close(&w, b);
    assert_int_equal(closed.circuit, incoming.circuit);
    assert_int_equal(closed.code, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
    assert_int_equal(world_stats(&w)->handshake_timeouts, 1);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

static void ends_of_circuits_are_told(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    raw_circuit one;
    raw_circuit two;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    one = raw_pair(&w, a, b, 1);
    two = raw_pair(&w, a, b, 2);
    assert_int_not_equal(one.number, two.number);
    assert_int_equal(world_stats(&w)->circuits, 2);
    raw_close_circuit(a, one.number);
    assert_int_equal(raw_expect_close(&w, b).circuit, one.number);
    raw_close_circuit(b, one.number); /* again, from the other side: nothing happens */
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(a->n, 0);
    atl_h3_close(b->h3, 0x100, "");
    assert_int_equal(raw_expect_close(&w, a).circuit, two.number);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

/* A target that goes away, or closes, has answered. */
static void a_target_that_goes_answers(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    atl_relay_incoming incoming;
    atl_relay_error error;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    raw_connect_as(a, 1, &a->node.id, &b->node.id);
    incoming = raw_expect_incoming(&w, b);
    raw_close_circuit(b, incoming.circuit);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(error.request, 1);
    raw_connect_as(a, 2, &a->node.id, &b->node.id);
    (void)raw_expect_incoming(&w, b);
    atl_h3_close(b->h3, 0x100, "");
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(error.request, 2);
    assert_int_equal(world_stats(&w)->circuits, 0);
    world_done(&w);
}

/* ---- the data plane ---- */

typedef struct watch {
    atl_addr relay;
    size_t n;
    atl_addr to;
    uint8_t data[1500];
    size_t len;
} watch;

/* Circuit packets that the relay sends; ours carry a marker no QUIC packet of the test has. */
static int watch_tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                     size_t len) {
    watch *seen = user;

    if (atl_addr_equal(from, &seen->relay) && len > 20 &&
        memcmp(data + len - 6, "marker", 6) == 0) {
        seen->n++;
        seen->to = *to;
        seen->len = len;
        memcpy(seen->data, data, len);
    }
    return 0;
}

static void make_packet(uint8_t *out, const uint8_t id[ATL_CID_LEN], size_t len) {
    memset(out, 0x33, len);
    out[0] = 0x47;
    memcpy(out + 1, id, ATL_CID_LEN);
    memcpy(out + len - 6, "marker", 6);
}

static void forwards_between_the_two_and_nobody_else(void **state) {
    uint8_t packet[1200];
    uint8_t expect[ATL_CID_LEN];
    relay_world w;
    watch seen;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    atl_addr addr_a;
    atl_addr addr_b;
    atl_addr stranger;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    memset(&seen, 0, sizeof(seen));
    seen.relay = pair_path(&w.relay).remote;
    sim_set_tap(w.net, watch_tap, &seen);
    addr_a = raw_addr(a);
    addr_b = raw_addr(b);
    stranger = addr_a;
    stranger.port++;

    make_packet(packet, circuit.source_sends, sizeof(packet));
    assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &seen.relay, packet, sizeof(packet)),
                     ATLAS_OK);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 1);
    assert_true(atl_addr_equal(&seen.to, &addr_b));
    assert_int_equal(seen.len, sizeof(packet)); /* never more than received */
    memset(expect, 0x52, sizeof(expect));
    assert_memory_equal(seen.data + 1, expect, ATL_CID_LEN);
    assert_memory_equal(seen.data + 9, packet + 9, sizeof(packet) - 9);

    make_packet(packet, circuit.target_sends, 100);
    assert_int_equal(atl_endpoint_send_raw(b->node.ep, NULL, &seen.relay, packet, 100), ATLAS_OK);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 2);
    assert_true(atl_addr_equal(&seen.to, &addr_a));
    assert_int_equal(world_stats(&w)->forwarded_packets, 2);
    assert_int_equal(world_stats(&w)->forwarded_bytes, 1300);

    /* a valid id from a wrong source: the other side's, a stranger's */
    assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &seen.relay, packet, 100), ATLAS_OK);
    sim_inject(w.net, &stranger, &seen.relay, packet, 100);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 2);
    assert_int_equal(world_stats(&w)->dropped_source, 2);
    world_done(&w);
}

/* A NAT that gives a node another port in the middle. */
typedef struct rebinding {
    sim_net *net;
    watch seen;
    atl_addr inside;
    atl_addr outside;
} rebinding;

static int rebinding_tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                         size_t len) {
    rebinding *nat = user;

    if (atl_addr_equal(from, &nat->inside)) {
        sim_inject(nat->net, &nat->outside, to, data, len);
        return 1;
    }
    if (!atl_addr_equal(to, &nat->inside)) {
        (void)watch_tap(&nat->seen, from, to, data, len);
    }
    if (atl_addr_equal(to, &nat->outside)) {
        sim_inject(nat->net, from, &nat->inside, data, len);
        return 1;
    }
    return 0;
}

static void circuits_follow_a_migration(void **state) {
    uint8_t packet[100];
    relay_world w;
    rebinding nat;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    atl_relay_ready ready;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    memset(&nat, 0, sizeof(nat));
    nat.net = w.net;
    nat.seen.relay = pair_path(&w.relay).remote;
    nat.inside = raw_addr(b);
    nat.outside = nat.inside;
    nat.outside.port = 777;
    sim_set_tap(w.net, rebinding_tap, &nat);
    /* nothing from the new address passes before it is validated */
    make_packet(packet, circuit.target_sends, sizeof(packet));
    sim_inject(w.net, &nat.outside, &nat.seen.relay, packet, sizeof(packet));
    world_run(&w, 20 * ATL_MS);
    assert_int_equal(nat.seen.n, 0);
    assert_int_equal(world_stats(&w)->dropped_source, 1);
    raw_announce_as(b, &b->node.id, 0, 0);
    (void)raw_expect_ready(&w, b, ATL_RELAY_STATUS_WAITING);
    world_run(&w, ATL_SECOND);
    raw_announce_as(b, &b->node.id, 0, 0);
    ready = raw_expect_ready(&w, b, ATL_RELAY_STATUS_WAITING);
    assert_true(atl_addr_equal(&ready.observed, &nat.outside));
    sim_inject(w.net, &nat.outside, &nat.seen.relay, packet, sizeof(packet));
    world_run(&w, 20 * ATL_MS);
    assert_int_equal(nat.seen.n, 1);
    make_packet(packet, circuit.source_sends, sizeof(packet));
    assert_int_equal(
        atl_endpoint_send_raw(a->node.ep, NULL, &nat.seen.relay, packet, sizeof(packet)), ATLAS_OK);
    world_run(&w, 20 * ATL_MS);
    assert_int_equal(nat.seen.n, 2);
    assert_true(atl_addr_equal(&nat.seen.to, &nat.outside));
    world_done(&w);
}

static void nothing_passes_once_it_is_closed(void **state) {
    uint8_t packet[100];
    relay_world w;
    watch seen;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    memset(&seen, 0, sizeof(seen));
    seen.relay = pair_path(&w.relay).remote;
    sim_set_tap(w.net, watch_tap, &seen);
    make_packet(packet, circuit.target_sends, sizeof(packet));
    assert_int_equal(atl_endpoint_send_raw(b->node.ep, NULL, &seen.relay, packet, sizeof(packet)),
                     ATLAS_OK);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 1);
    raw_close_circuit(b, circuit.number);
    (void)raw_expect_close(&w, a);
    assert_int_equal(atl_endpoint_send_raw(b->node.ep, NULL, &seen.relay, packet, sizeof(packet)),
                     ATLAS_OK);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 1);
    world_done(&w);
}

static void idle_circuits_end(void **state) {
    uint8_t packet[100];
    relay_world w;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    atl_addr relay;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    relay = pair_path(&w.relay).remote;
    make_packet(packet, circuit.source_sends, sizeof(packet));
    atl_qconn_keepalive(atl_h3_conn(a->h3), 5 * ATL_SECOND);
    for (int i = 0; i < 44; i++) {
        world_run(&w, 4 * ATL_SECOND);
        raw_announce(&w, b);
        if (i == 14) {
            assert_int_equal(
                atl_endpoint_send_raw(a->node.ep, NULL, &relay, packet, sizeof(packet)), ATLAS_OK);
        }
        assert_int_equal(world_stats(&w)->circuits, 1);
    }
    world_run(&w, 5 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->circuits, 0);
    assert_int_equal(raw_expect_close(&w, b).code, ATLAS_ERR_RELAY_EXPIRED);
    assert_int_equal(raw_expect_close(&w, a).code, ATLAS_ERR_RELAY_EXPIRED);
    world_done(&w);
}

/* Announcements are missed: the node is not to be reached any more, its circuits go on and are
 * charged, and it comes back on the same connection without replacing anything. */
static void a_lapse_keeps_circuits(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    uint8_t packet[700];
    atl_addr relay;
    watch seen;

    (void)state;
    memset(&seen, 0, sizeof(seen));
    world_start(&w);
    atl_relay_server_limits(w.server)->max_circuits_per_node = 1;
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    atl_qconn_keepalive(atl_h3_conn(a->h3), 5 * ATL_SECOND);
    atl_qconn_keepalive(atl_h3_conn(b->h3), 5 * ATL_SECOND);
    world_run(&w, 7 * ATL_SECOND);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_EXPIRED);
    assert_int_equal(world_stats(&w)->nodes, 0);
    assert_int_equal(world_stats(&w)->expired, 1);
    raw_connect_as(a, 2, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_NOT_REGISTERED);
    world_run(&w, 70 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 2);
    assert_int_equal(world_stats(&w)->circuits, 1);
    relay = pair_path(&w.relay).remote;
    seen.relay = relay;
    sim_set_tap(w.net, watch_tap, &seen);
    make_packet(packet, circuit.source_sends, sizeof(packet));
    assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &relay, packet, sizeof(packet)),
                     ATLAS_OK);
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(seen.n, 1);
    raw_announce(&w, b);
    assert_int_equal(world_stats(&w)->nodes, 1);
    assert_int_equal(world_stats(&w)->replaced, 0);
    raw_connect_as(a, 3, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    world_done(&w);
}

/* Who lapsed and has no circuit is let go, later than one that never was there. */
static void a_lapse_does_not_last(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    atl_qconn_keepalive(atl_h3_conn(a->h3), 5 * ATL_SECOND);
    atl_qconn_keepalive(atl_h3_conn(b->h3), 5 * ATL_SECOND);
    world_run(&w, 100 * ATL_SECOND);
    assert_true(a->closed);
    assert_false(b->closed);
    world_run(&w, 200 * ATL_SECOND);
    assert_true(b->closed);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

/* ---- what it costs ---- */

#define MANY 64

static void circuits_and_nodes_are_small(void **state) {
    static relay_world w;
    raw_node *a;
    raw_node *b;
    size_t before;

    (void)state;
    world_start(&w);
    atl_relay_server_limits(w.server)->max_circuits_per_node = MANY;
    atl_relay_server_limits(w.server)->handshakes = 0;
    b = raw_new(&w);
    raw_announce(&w, b);
    before = w.bytes;
    a = raw_new(&w);
    raw_announce(&w, a);
    print_message("announced node: %zu bytes without wolfSSL's\n", w.bytes - before);
    assert_in_range(w.bytes - before, 1, 56 * 1024);
    before = w.bytes;
    for (uint64_t i = 0; i < MANY; i++) {
        (void)raw_pair(&w, a, b, i);
    }
    assert_in_range((w.bytes - before) / MANY, 1, 1024);
    print_message("circuit: %zu bytes\n", (w.bytes - before) / MANY);
    world_done(&w);
}

/* Nothing is allocated for a packet. */
static void packets_cost_no_memory(void **state) {
    static relay_world w;
    uint8_t packet[1200];
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    atl_addr relay;
    size_t before;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    world_run(&w, ATL_SECOND);
    relay = pair_path(&w.relay).remote;
    make_packet(packet, circuit.source_sends, sizeof(packet));
    before = w.allocations;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &relay, packet, sizeof(packet)),
                         ATLAS_OK);
    }
    world_run(&w, 20 * ATL_MS);
    assert_int_equal(world_stats(&w)->forwarded_packets, 1000);
    assert_int_equal(w.allocations, before);
    world_done(&w);
}

/* ---- no memory ---- */

static int either_done(void *user) {
    raw_node *raw = user;

    return raw->n > 0 || raw->closed;
}

/* A relay whose memory runs out, for good, at any moment of an announcement or a pairing: it
 * refuses or drops, and frees all. */
static void survives_a_lack_of_memory(void **state) {
    size_t n = 0;
    int reached = 1;

    (void)state;
    while (reached) {
        static relay_world w;
        raw_node *a;
        raw_node *b;

        world_start(&w);
        b = raw_new(&w);
        raw_announce(&w, b);
        a = raw_new(&w);
        w.allocations = 0;
        w.fail_at = ++n;
        raw_announce_as(a, &a->node.id, 0, 0);
        raw_connect_as(a, 1, &a->node.id, &b->node.id);
        (void)sim_run(w.net, sim_now(w.net) + ATL_SECOND, either_done, b);
        if (b->n > 0 && b->got[0].type == ATL_RELAY_INCOMING) {
            raw_accept(b, raw_expect_incoming(&w, b).circuit, ATLAS_OK);
        }
        world_run(&w, ATL_SECOND);
        reached = w.allocations >= n;
        w.fail_at = 0;
        world_run(&w, 20 * ATL_SECOND);
        assert_int_equal(world_stats(&w)->nodes, 0);
        world_done(&w);
    }
    assert_in_range(n, 3, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairing_has_its_errors),
        cmocka_unit_test(a_target_that_never_accepts),
        cmocka_unit_test(ends_of_circuits_are_told),
        cmocka_unit_test(a_target_that_goes_answers),
        cmocka_unit_test(forwards_between_the_two_and_nobody_else),
        cmocka_unit_test(circuits_follow_a_migration),
        cmocka_unit_test(nothing_passes_once_it_is_closed),
        cmocka_unit_test(idle_circuits_end),
        cmocka_unit_test(a_lapse_keeps_circuits),
        cmocka_unit_test(a_lapse_does_not_last),
        cmocka_unit_test(circuits_and_nodes_are_small),
        cmocka_unit_test(packets_cost_no_memory),
        cmocka_unit_test(survives_a_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
