/* The relay server on the simulated network, against nodes that speak its protocol by hand, well and badly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_world.h"

#define RELAY_PATH "/.well-known/atlas/relay/"

/* ---- announcing ---- */

static void announces_and_expires(void **state) {
    relay_world w;
    raw_node *a;
    atl_relay_ready ready;
    atl_addr own;

    (void)state;
    world_start(&w);
    w.limits = *atl_relay_server_limits(w.server);
    atl_relay_server_limits(w.server)->bandwidth = 12345;
    a = raw_new(&w);
    assert_int_equal(world_stats(&w)->sessions, 1);
    assert_int_equal(world_stats(&w)->nodes, 0);
    raw_announce_as(a, &a->node.id, 0, 0);
    ready = raw_expect_ready(&w, a, ATL_RELAY_STATUS_WAITING);
    assert_int_equal(ready.bandwidth, 12345);
    assert_int_equal(ready.expiry, 6000);
    assert_int_equal(ready.interval, 2000);
    own = raw_addr(a);
    assert_true(atl_addr_equal(&ready.observed, &own));
    assert_int_equal(world_stats(&w)->nodes, 1);
    for (int i = 0; i < 5; i++) {
        world_run(&w, 5 * ATL_SECOND);
        raw_announce(&w, a);
    }
    assert_int_equal(world_stats(&w)->nodes, 1);
    world_run(&w, 6 * ATL_SECOND - 200 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 1);
    world_run(&w, 400 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 0);
    assert_int_equal(world_stats(&w)->expired, 1);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_EXPIRED);
    raw_announce(&w, a);
    assert_int_equal(world_stats(&w)->nodes, 1);
    /* the end of the connection ends the registration at once */
    atl_h3_close(a->h3, 0x100, "");
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 0);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

static void ids_must_be_the_authenticated_ones(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    atl_relay_error error;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    raw_announce_as(a, &b->node.id, 0, 0);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(error.has_request, 0);
    raw_connect_as(a, 9, &b->node.id, &b->node.id);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(error.has_request, 1);
    assert_int_equal(error.request, 9);
    assert_int_equal(world_stats(&w)->refused_identity, 2);
    assert_int_equal(world_stats(&w)->nodes, 1);
    assert_int_equal(world_stats(&w)->replaced, 0);
    assert_int_equal(b->n, 0); /* undisturbed */
    world_done(&w);
}

static void a_clock_an_hour_off(void **state) {
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    raw_announce_as(a, &a->node.id, 3600 * 1000, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    raw_announce_as(a, &a->node.id, -3600 * 1000, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    assert_int_equal(world_stats(&w)->refused_drift, 2);
    raw_announce_as(a, &a->node.id, -299 * 1000, 0);
    (void)raw_expect_ready(&w, a, ATL_RELAY_STATUS_WAITING);
    world_done(&w);
}

static void the_newer_connection_replaces(void **state) {
    relay_world w;
    raw_node *old;
    raw_node *newer;
    raw_node *third;

    (void)state;
    world_start(&w);
    old = raw_new_as(&w, 77);
    raw_request(&w, old, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce(&w, old);
    newer = raw_new_as(&w, 77);
    raw_request(&w, newer, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce(&w, newer);
    (void)raw_expect_error(&w, old, ATLAS_ERR_RELAY_REPLACED);
    world_until(&w, raw_is_closed, old, 3 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->replaced, 1);
    assert_int_equal(world_stats(&w)->nodes, 1);
    /* who yields does not */
    third = raw_new_as(&w, 77);
    raw_request(&w, third, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce_as(third, &third->node.id, 0, 1);
    (void)raw_expect_error(&w, third, ATLAS_ERR_RELAY_REPLACED);
    raw_announce(&w, newer);
    assert_int_equal(world_stats(&w)->replaced, 1);
    world_done(&w);
}

/* ---- limits ---- */

static void nodes_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    atl_relay_server_limits(w.server)->max_nodes = 1;
    a = raw_new(&w);
    raw_announce(&w, a);
    b = raw_new(&w);
    raw_announce_as(b, &b->node.id, 0, 0);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_nodes, 1);
    atl_relay_server_limits(w.server)->max_nodes = 10;
    atl_relay_server_limits(w.server)->max_per_ipv4 = 0;
    raw_announce_as(b, &b->node.id, 0, 0);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_ipv4, 1);
    raw_announce(&w, a); /* who is in stays in */
    world_done(&w);
}

static void circuits_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    atl_relay_server_limits(w.server)->max_circuits_per_node = 1;
    (void)raw_pair(&w, a, b, 1);
    raw_connect_as(a, 2, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_circuits_node, 1);
    atl_relay_server_limits(w.server)->max_circuits_per_node = 2;
    atl_relay_server_limits(w.server)->max_circuits = 1;
    raw_connect_as(a, 3, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_circuits, 1);
    atl_relay_server_limits(w.server)->max_circuits = 2;
    (void)raw_pair(&w, a, b, 4);
    assert_int_equal(world_stats(&w)->circuits, 2);
    world_done(&w);
}

static void requests_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    size_t limited = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    for (uint64_t i = 0; i < 40; i++) {
        raw_connect_as(a, i, &a->node.id, &b->node.id);
    }
    world_run(&w, 300 * ATL_MS);
    assert_int_equal(a->n, 40);
    for (size_t i = 0; i < 40; i++) {
        atl_relay_error msg;

        assert_int_equal(atl_relay_error_decode(a->got[i].value, a->got[i].len, &msg), ATLAS_OK);
        assert_int_equal(msg.request, i);
        limited += msg.code == ATLAS_ERR_RELAY_RATE_LIMITED;
        assert_true(msg.code == ATLAS_ERR_RELAY_RATE_LIMITED || msg.code == ATLAS_ERR_RELAY_NOT_REGISTERED);
    }
    assert_int_equal(limited, 8);
    assert_int_equal(world_stats(&w)->refused_rate, 8);
    assert_int_equal(world_stats(&w)->connects, 40);
    world_done(&w);
}

static int32_t refuse_all(void *user, uint32_t what, const char *peer, const char *target, const char *addr) {
    (void)user;
    (void)peer;
    (void)target;
    assert_int_equal(strncmp(addr, "10.0.1.", 7), 0);
    return what == ATLAS_RELAY_ASK_CONNECT ? ATLAS_ERR_RELAY_REFUSED : ATLAS_ERR_RELAY_NOT_AUTHORISED;
}

static void lists_and_policy_decide(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    atl_relay_server_set_policy(w.server, refuse_all, NULL);
    raw_announce_as(a, &a->node.id, 0, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_NOT_AUTHORISED);
    raw_connect_as(a, 1, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(world_stats(&w)->refused_policy, 2);
    /* a node that is denied while it is there is put out */
    assert_int_equal(atl_relay_server_deny(w.server, &b->node.id), ATLAS_OK);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_NOT_AUTHORISED);
    world_until(&w, raw_is_closed, b, 3 * ATL_SECOND);
    raw_dial(&w, b);
    raw_request(&w, b, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    assert_int_equal(b->status, 403);
    world_done(&w);
}

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

/* ---- the data plane ---- */

typedef struct watch {
    atl_addr relay;
    size_t n;
    atl_addr to;
    uint8_t data[1500];
    size_t len;
} watch;

/* Circuit packets that the relay sends; ours carry a marker no QUIC packet of the test has. */
static int watch_tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data, size_t len) {
    watch *seen = user;

    if (atl_addr_equal(from, &seen->relay) && len > 20 && memcmp(data + len - 6, "marker", 6) == 0) {
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
    assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &seen.relay, packet, sizeof(packet)), ATLAS_OK);
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

    /* nothing passes any more once it is closed */
    raw_close_circuit(b, circuit.number);
    (void)raw_expect_close(&w, a);
    assert_int_equal(atl_endpoint_send_raw(b->node.ep, NULL, &seen.relay, packet, 100), ATLAS_OK);
    world_run(&w, 50 * ATL_MS);
    assert_int_equal(seen.n, 2);
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
            assert_int_equal(atl_endpoint_send_raw(a->node.ep, NULL, &relay, packet, sizeof(packet)), ATLAS_OK);
        }
        assert_int_equal(world_stats(&w)->circuits, 1);
    }
    world_run(&w, 5 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->circuits, 0);
    assert_int_equal(raw_expect_close(&w, b).code, ATLAS_ERR_RELAY_EXPIRED);
    assert_int_equal(raw_expect_close(&w, a).code, ATLAS_ERR_RELAY_EXPIRED);
    world_done(&w);
}

/* ---- bad input on the control stream ---- */

static size_t put_capsule(uint8_t *out, uint64_t type, const void *value, size_t len) {
    atl_writer writer;

    atl_writer_init(&writer, out, 8192);
    atl_write_varint(&writer, type);
    atl_write_varint(&writer, len);
    atl_write_bytes(&writer, value, len);
    assert_int_equal(writer.error, ATLAS_OK);
    return writer.len;
}

/* What the n-th bad node says; 0 when there is no n-th. */
static size_t bad_words(size_t n, const raw_node *raw, uint8_t *out) {
    static uint8_t zeros[4096];
    atl_relay_announce msg = {raw->node.id, 1, 0};
    uint8_t good[ATL_RELAY_MESSAGE_MAX];
    uint8_t twice[2 * ATL_RELAY_MESSAGE_MAX];
    atl_writer writer;
    size_t len;

    assert_int_equal(atl_relay_announce_encode(&msg, good, sizeof(good), &len), ATLAS_OK);
    switch (n) {
        case 0: /* nothing at all in it */
            return put_capsule(out, ATL_RELAY_ANNOUNCE, "", 0);
        case 1: /* every parameter twice: the value follows a type of 4 bytes and a length of 2 */
            memcpy(twice, good + 6, len - 6);
            memcpy(twice + len - 6, good + 6, len - 6);
            return put_capsule(out, ATL_RELAY_ANNOUNCE, twice, 2 * (len - 6));
        case 2: /* cut short */
            return put_capsule(out, ATL_RELAY_ANNOUNCE, good + 6, len - 7);
        case 3: /* longer than any message */
            return put_capsule(out, ATL_RELAY_CONNECT, zeros, sizeof(zeros));
        case 4: /* a never-ending one, announced as such */
            atl_writer_init(&writer, out, 64);
            atl_write_varint(&writer, ATL_RELAY_ANNOUNCE);
            atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
            return writer.len;
        case 5: /* what only a relay says */
            return put_capsule(out, ATL_RELAY_DRAIN, "", 0);
        case 6: /* a parameter that claims more than there is */
            return put_capsule(out, ATL_RELAY_CLOSE, "\x09\x40\xff\x01", 4);
        case 7: /* 100 unknown parameters */
            for (size_t i = 0; i < 100; i++) {
                memcpy(twice + 3 * i, "\x40\x00\x00", 3);
                twice[3 * i + 1] = (uint8_t)(0x40 + i);
            }
            return put_capsule(out, ATL_RELAY_ACCEPT, twice, 300);
        default:
            return 0;
    }
}

static void malformed_messages_end_the_connection(void **state) {
    static uint8_t words[8192];
    relay_world w;
    raw_node *good;
    raw_node *bad;

    (void)state;
    world_start(&w);
    good = raw_new(&w);
    raw_announce(&w, good);
    bad = raw_new(&w);
    for (size_t n = 0;; n++) {
        size_t len = bad_words(n, bad, words);

        if (len == 0) {
            assert_true(n > 6);
            break;
        }
        if (n > 0) {
            raw_dial(&w, bad);
            raw_request(&w, bad, "CONNECT", RELAY_PATH, "atlas-relay", 1);
            raw_announce(&w, good);
        }
        raw_announce(&w, bad);
        raw_send(bad, words, len);
        (void)raw_expect_error(&w, bad, ATLAS_ERR_RELAY_MALFORMED);
        assert_int_equal(world_stats(&w)->malformed, n + 1);
        assert_int_equal(world_stats(&w)->nodes, 1);
        world_until(&w, raw_is_closed, bad, 5 * ATL_SECOND);
        assert_int_equal(good->n, 0);
    }
    raw_announce(&w, good);
    world_done(&w);
}

static void unknown_capsules_are_skipped(void **state) {
    static uint8_t words[8192];
    static uint8_t zeros[6000];
    relay_world w;
    raw_node *a;
    size_t len;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    len = put_capsule(words, 0x1234567, zeros, sizeof(zeros));
    raw_send(a, words, len);
    raw_announce(&w, a);
    assert_int_equal(world_stats(&w)->malformed, 0);
    world_done(&w);
}

static void ten_thousand_requests_on_one_stream(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    for (uint64_t i = 0; i < 10000 && !a->closed; i++) {
        raw_connect_as(a, i, &a->node.id, &b->node.id);
        if (i % 100 == 99) {
            world_run(&w, 20 * ATL_MS);
        }
    }
    world_run(&w, 500 * ATL_MS);
    assert_false(a->closed);
    assert_int_equal(world_stats(&w)->connects, 10000);
    assert_in_range(world_stats(&w)->circuits, 1, 10); /* max_circuits_per_node */
    assert_true(world_stats(&w)->refused_rate > 9000);
    assert_false(b->closed);
    b->n = 0;
    raw_announce(&w, b);
    world_done(&w);
}

static void too_many_announcements(void **state) {
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    for (int i = 0; i < 100; i++) {
        raw_announce_as(a, &a->node.id, 0, 0);
    }
    world_run(&w, 200 * ATL_MS);
    assert_int_equal(a->n, 100);
    assert_in_range(world_stats(&w)->announces, 32, 36);
    assert_int_equal(world_stats(&w)->announces + world_stats(&w)->refused_rate, 100);
    world_done(&w);
}

/* ---- HTTP ---- */

static void http_answers(void **state) {
    static const struct {
        const char *method, *path, *protocol;
        int capsules;
        int32_t status;
        const char *body;
    } table[] = {
        {"GET", RELAY_PATH "health", "", 0, 200, "{\"status\":\"ok\",\"nodes\":0,\"circuits\":0}\n"},
        {"GET", RELAY_PATH "limits", "", 0, 200, "\"max_per_ipv6_64\":10,"},
        {"GET", RELAY_PATH "metrics", "", 0, 200, "atlas_relay_refused_total{reason=\"drift\"} 0\n"},
        {"GET", RELAY_PATH "metrics", "", 0, 200, "# TYPE atlas_relay_sessions gauge\natlas_relay_sessions 1\n"},
        {"GET", RELAY_PATH, "", 0, 405, ""},
        {"POST", RELAY_PATH "health", "", 0, 405, ""},
        {"GET", "/", "", 0, 404, ""},
        {"GET", RELAY_PATH "healthy", "", 0, 404, ""},
        {"CONNECT", "/", "atlas-relay", 1, 404, ""},
        {"CONNECT", RELAY_PATH, "websocket", 1, 400, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 0, 400, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 1, 200, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 1, 409, ""},
    };
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new_as(&w, 50);
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        raw_request(&w, a, table[i].method, table[i].path, table[i].protocol, table[i].capsules);
        world_run(&w, 50 * ATL_MS);
        assert_int_equal(a->status, table[i].status);
        if (table[i].body[0] != '\0') {
            assert_non_null(strstr(a->body, table[i].body));
        }
    }
    assert_false(a->closed);
    world_done(&w);
}

static void idle_sessions_are_closed(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    uint64_t start;

    (void)state;
    world_start(&w);
    a = raw_new_as(&w, 50);
    start = sim_now(w.net);
    atl_qconn_keepalive(atl_h3_conn(a->h3), 5 * ATL_SECOND);
    world_until(&w, raw_is_closed, a, 12 * ATL_SECOND);
    assert_true(sim_now(w.net) - start > 9 * ATL_SECOND);
    b = raw_new(&w);
    start = sim_now(w.net);
    atl_qconn_keepalive(atl_h3_conn(b->h3), 5 * ATL_SECOND);
    world_until(&w, raw_is_closed, b, 62 * ATL_SECOND);
    assert_true(sim_now(w.net) - start > 58 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

/* ---- draining ---- */

static void count_done(void *user) {
    ++*(int *)user;
}

static void drains(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    const raw_capsule *capsule;
    atl_relay_drain drain;
    int done = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, a);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    atl_relay_server_drain(w.server, 30 * ATL_SECOND, count_done, &done);
    capsule = raw_expect(&w, a, ATL_RELAY_DRAIN);
    assert_int_equal(atl_relay_drain_decode(capsule->value, capsule->len, &drain), ATLAS_OK);
    assert_int_equal(drain.within, 30000);
    world_run(&w, ATL_SECOND);
    assert_true(a->goaway);
    (void)raw_expect(&w, b, ATL_RELAY_DRAIN);
    raw_connect_as(b, 7, &b->node.id, &a->node.id);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(done, 0);
    assert_false(a->closed);
    raw_close_circuit(a, circuit.number);
    world_run(&w, ATL_SECOND);
    assert_int_equal(done, 1);
    assert_true(a->closed);
    assert_true(b->closed);
    assert_int_equal(world_stats(&w)->sessions, 0);
    raw_dial(&w, a); /* ends in a close: nobody is let in any more */
    world_until(&w, raw_is_closed, a, 12 * ATL_SECOND);
    assert_int_equal(done, 1);
    world_done(&w);
}

static void a_drain_has_an_end(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    int done = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    (void)raw_pair(&w, a, b, 1);
    atl_relay_server_drain(w.server, 3 * ATL_SECOND, count_done, &done);
    world_run(&w, 2900 * ATL_MS);
    assert_int_equal(done, 0);
    world_run(&w, 1500 * ATL_MS);
    assert_int_equal(done, 1);
    assert_true(a->closed);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(announces_and_expires),
        cmocka_unit_test(ids_must_be_the_authenticated_ones),
        cmocka_unit_test(a_clock_an_hour_off),
        cmocka_unit_test(the_newer_connection_replaces),
        cmocka_unit_test(nodes_are_limited),
        cmocka_unit_test(circuits_are_limited),
        cmocka_unit_test(requests_are_limited),
        cmocka_unit_test(lists_and_policy_decide),
        cmocka_unit_test(pairing_has_its_errors),
        cmocka_unit_test(a_target_that_never_accepts),
        cmocka_unit_test(ends_of_circuits_are_told),
        cmocka_unit_test(forwards_between_the_two_and_nobody_else),
        cmocka_unit_test(idle_circuits_end),
        cmocka_unit_test(malformed_messages_end_the_connection),
        cmocka_unit_test(unknown_capsules_are_skipped),
        cmocka_unit_test(ten_thousand_requests_on_one_stream),
        cmocka_unit_test(too_many_announcements),
        cmocka_unit_test(http_answers),
        cmocka_unit_test(idle_sessions_are_closed),
        cmocka_unit_test(drains),
        cmocka_unit_test(a_drain_has_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
