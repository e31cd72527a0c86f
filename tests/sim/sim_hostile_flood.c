/* Too much of what is allowed: 10,000 requests on one connection and on one control stream, and
 * those who never read, at the relay and at a peer. Memory is bounded, the others are served. */
#include "hostile.h"

#include <stdio.h>

#define REQUESTS 10000
#define H3_EXCESSIVE_LOAD 0x107
#define RELAY_BOUND 524288 /* bytes that one control connection may cost the relay */

/* ---- many requests ---- */

/* Plain requests, as fast as the relay lets and faster than it likes: this one connection ends with
 * H3_EXCESSIVE_LOAD. */
static void test_many_requests(void **state) {
    static hostile_world w;
    size_t live;
    int sent = 0;
    int i;

    (void)state;
    hostile_init(&w, 600);
    hostile_connect(&w);
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    w.x.responses = 0;
    live = w.relay.live_bytes;
    w.relay.peak_bytes = live;
    for (i = 0; i < 10 * REQUESTS && sent < REQUESTS && !w.x.closed; i++) {
        if (attacker_request(&w.x, "GET", "/nothing/here", "") == ATLAS_OK) {
            sent++;
        } else {
            hostile_run(&w, 0.005, NULL);
        }
    }
    assert_int_equal(w.x.closed, 1);
    assert_in_range(sent, 100, REQUESTS);
    assert_true(w.x.responses <= sent);
    assert_int_equal(w.x.why.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(w.x.why.error_code, H3_EXCESSIVE_LOAD);
    assert_true(w.relay.peak_bytes < live + RELAY_BOUND);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* The same number at a pace that is allowed: all answered. */
static void test_many_slow_requests(void **state) {
    static hostile_world w;
    size_t live;
    int i;

    (void)state;
    hostile_init(&w, 604);
    hostile_connect(&w);
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    w.x.responses = 0;
    live = w.relay.live_bytes;
    w.relay.peak_bytes = live;
    for (i = 0; i < REQUESTS; i++) {
        assert_int_equal(attacker_request(&w.x, "GET", "/nothing/here", ""), ATLAS_OK);
        if (i % 50 == 0) {
            attacker_announce(&w.x, &w.x.node.id, 0); /* who is no node is sent away */
        }
        hostile_run(&w, 0.04, NULL);
        assert_int_equal(w.x.closed, 0);
    }
    hostile_run(&w, 1, NULL);
    assert_int_equal(w.x.responses, REQUESTS);
    assert_int_equal(w.x.status, 404);
    assert_true(w.relay.peak_bytes < live + RELAY_BOUND);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* Circuit requests without end on the one control stream: all beyond the rate are refused as such,
 * and the target does not hear of them. */
static void test_many_on_one_stream(void **state) {
    static hostile_world w;
    atlas_relay_stats stats;
    int connected;
    size_t live;
    int i;

    (void)state;
    hostile_init(&w, 601);
    hostile_connect(&w);
    connected = w.b.connected;
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    live = w.relay.live_bytes;
    w.relay.peak_bytes = live;
    for (i = 0; i < REQUESTS; i++) {
        attacker_ask(&w.x, (uint64_t)i, &w.x.node.id, &w.b.ctx->self);
        if (i % 100 == 99) {
            hostile_run(&w, 0.03, NULL);
            assert_int_equal(w.x.closed, 0);
        }
    }
    hostile_run(&w, 5, NULL);
    stats = hostile_relay_stats(&w);
    assert_int_equal(stats.connects, REQUESTS + 1); /* a's own among them */
    assert_true(stats.refused_rate > REQUESTS - 32 - 8 * 32);
    assert_int_equal(w.x.errors + w.x.paired, REQUESTS);
    assert_int_equal(w.x.error, ATLAS_ERR_RELAY_RATE_LIMITED);
    assert_true(stats.circuits <= 1 + 64);
    assert_int_equal(w.b.connected, connected);
    assert_true(w.relay.peak_bytes < live + RELAY_BOUND);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- a client that never reads ---- */

/* HTTP/3 by hand, since a session always gives credit: a control stream with empty SETTINGS, and
 * the extended CONNECT with literals only (RFC 9204 sections 4.5.2 and 4.5.6). */
static size_t put_literal(uint8_t *out, const char *name, const char *value) {
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    size_t n = 0;

    out[n++] = name_len < 7 ? (uint8_t)(0x20 | name_len) : 0x27;
    if (name_len >= 7) {
        out[n++] = (uint8_t)(name_len - 7);
    }
    memcpy(out + n, name, name_len);
    n += name_len;
    out[n++] = (uint8_t)value_len;
    memcpy(out + n, value, value_len);
    return n + value_len;
}

static size_t put_connect(uint8_t *out) {
    uint8_t block[256] = {0, 0};
    size_t n = 2;

    n += put_literal(block + n, ":method", "CONNECT");
    n += put_literal(block + n, ":scheme", "https");
    n += put_literal(block + n, ":authority", "203.0.113.10:4001");
    n += put_literal(block + n, ":path", "/.well-known/atlas/relay/");
    n += put_literal(block + n, ":protocol", "atlas-relay");
    n += put_literal(block + n, "capsule-protocol", "?1");
    out[0] = 1; /* HEADERS */
    out[1] = (uint8_t)(0x40 | n >> 8);
    out[2] = (uint8_t)n;
    memcpy(out + 3, block, n);
    return n + 3;
}

typedef struct deaf_client {
    int confirmed;
    int closed;
    atl_qclose why;
    size_t heard; /* bytes that came and were not credited */
} deaf_client;

static void deaf_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin) {
    (void)stream;
    (void)data;
    (void)fin;
    ((deaf_client *)user)->heard += len;
}

static const atl_qstream_ops DEAF_STREAM = {.on_data = deaf_data};

static void deaf_confirmed(void *user, atl_qconn *conn) {
    (void)conn;
    ((deaf_client *)user)->confirmed = 1;
}

static void deaf_stream(void *user, atl_qconn *conn, atl_qstream *stream) {
    (void)conn;
    atl_qstream_set_ops(stream, &DEAF_STREAM, user);
}

static void deaf_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    deaf_client *client = user;

    (void)conn;
    client->closed = 1;
    client->why = *why;
}

static const atl_qconn_ops DEAF_CONN = {
    .on_confirmed = deaf_confirmed, .on_stream = deaf_stream, .on_closed = deaf_closed};

/* A DATA frame with a request for a circuit to nobody: each is answered with an error. */
static size_t put_ask(hostile_world *w, uint8_t *out, uint64_t request) {
    atl_relay_connect msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.request = request;
    msg.source = w->x.node.id;
    memset(&msg.target, 5, sizeof(msg.target));
    msg.timestamp = (uint64_t)atl_env_wall_ms(&w->x.node.env);
    assert_int_equal(atl_relay_connect_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    out[0] = 0; /* DATA */
    out[1] = (uint8_t)(0x40 | len >> 8);
    out[2] = (uint8_t)len;
    memcpy(out + 3, buf, len);
    return len + 3;
}

static atl_qstream *deaf_open(hostile_world *w, deaf_client *client, atl_qconn **conn) {
    static const uint8_t CONTROL[] = {0, 4, 0};
    atl_qpath path;
    atl_qstream *control;
    atl_qstream *request;
    uint8_t buf[512];
    size_t taken;
    size_t len;

    memset(&path, 0, sizeof(path));
    path.remote = hostile_addr(&w->relay);
    assert_int_equal(atl_qconn_connect(w->x.node.ep, &path, ATL_PROTO_H3, &w->relay.ctx->self, 0,
                                       &DEAF_CONN, client, conn),
                     ATLAS_OK);
    hostile_run(w, 1, NULL);
    assert_int_equal(client->confirmed, 1);
    assert_int_equal(atl_qconn_open_stream(*conn, 1, &DEAF_STREAM, client, &control), ATLAS_OK);
    assert_int_equal(atl_qstream_write(control, CONTROL, sizeof(CONTROL), 0, &taken), ATLAS_OK);
    assert_int_equal(atl_qconn_open_stream(*conn, 0, &DEAF_STREAM, client, &request), ATLAS_OK);
    len = put_connect(buf);
    assert_int_equal(atl_qstream_write(request, buf, len, 0, &taken), ATLAS_OK);
    hostile_run(w, 1, NULL);
    assert_true(client->heard > 0);
    assert_int_equal(client->closed, 0);
    return request;
}

static void test_never_reads(void **state) {
    static hostile_world w;
    static deaf_client client;
    atl_qconn *conn;
    atl_qstream *stream;
    size_t live;
    int i;

    (void)state;
    memset(&client, 0, sizeof(client));
    hostile_init(&w, 602);
    hostile_connect(&w);
    attacker_init(&w, 66);
    atl_endpoint_params(w.x.node.ep)->stream_window = 16384;
    stream = deaf_open(&w, &client, &conn);
    live = w.relay.live_bytes;
    w.relay.peak_bytes = live;
    for (i = 0; i < 20000 && !client.closed; i++) {
        uint8_t buf[512];
        size_t len = put_ask(&w, buf, (uint64_t)i);
        size_t taken;

        (void)atl_qstream_write(stream, buf, len, 0, &taken);
        if (i % 20 == 19) {
            hostile_run(&w, 0.02, NULL);
        }
    }
    assert_int_equal(client.closed, 1);
    assert_int_equal(client.why.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(client.why.error_code, H3_EXCESSIVE_LOAD);
    assert_true(client.heard <= 16384 + 1024);
    assert_true(w.relay.peak_bytes < live + RELAY_BOUND);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- a peer that never reads ---- */

static void test_peer_never_reads(void **state) {
    static hostile_world w;
    const size_t buffer = 262144;
    size_t live_a, live_b;
    int i;

    (void)state;
    hostile_init(&w, 603);
    assert_int_equal(atlas_set_u64(w.a.ctx, ATLAS_OPT_STREAM_BUFFER, buffer), ATLAS_OK);
    assert_int_equal(atlas_set_u64(w.b.ctx, ATLAS_OPT_STREAM_BUFFER, buffer), ATLAS_OK);
    w.b.deaf = 1;
    hostile_connect(&w);
    live_a = w.a.live_bytes;
    live_b = w.b.live_bytes;
    w.a.peak_bytes = live_a;
    w.b.peak_bytes = live_b;
    for (i = 0; i < 8; i++) {
        uint64_t before;

        sim_node_send(&w.a, 100000000);
        hostile_run(&w, 5, NULL);
        before = w.a.sent_bytes;
        hostile_run(&w, 5, NULL);
        assert_int_equal(w.a.sent_bytes, before); /* it has come to a halt */
        assert_true(w.a.sent_bytes <= 2 * buffer + 65536);
        if (i == 0) {
            hostile_check_served(&w); /* one unread stream holds up nobody but itself */
        }
    }
    assert_int_equal(w.b.got_bytes, 0);
    assert_true(w.a.peak_bytes < live_a + 10 * buffer);
    assert_true(w.b.peak_bytes < live_b + 10 * buffer);
    assert_int_equal(atlas_conn_close(w.a.conn, 0, "not listening"), ATLAS_OK);
    assert_true(hostile_run(&w, 5, hostile_a_closed));
    hostile_run(&w, 1, NULL);
    assert_int_equal(w.b.closed, 1);
    assert_int_equal(w.a.streams_closed, 8);
    assert_int_equal(w.b.streams_closed, w.b.streams);
    hostile_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_many_requests),      cmocka_unit_test(test_many_slow_requests),
        cmocka_unit_test(test_many_on_one_stream), cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_peer_never_reads),
    };

    return cmocka_run_group_tests_name("floods", TESTS, NULL, NULL);
}
