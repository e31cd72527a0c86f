/* Peers that authenticate and then misbehave: what a listening node makes of them, over loopback.
 * They speak QUIC through the library's own quic room and leave its peer room out. */
#include "api/context.h"
#include "peer/codes.h"
#include "peer/conn.h"

/* after those: its short names would shadow theirs */
#include "nodes.h"

#define STREAMS 200

typedef struct raw {
    world w;
    node *b; /* the victim */
    node *a; /* whose endpoint misbehaves */
    atl_qconn *q;
    atl_qstream *control;
    atl_qstream *streams[STREAMS];
    int confirmed;
    int closed;
    int32_t code;
    uint64_t error;
    int stops;
    uint64_t stop_code;
    int acked;
} raw;

static void raw_confirmed(void *user, atl_qconn *q) {
    (void)q;
    ((raw *)user)->confirmed = 1;
}

static void raw_closed(void *user, atl_qconn *q, const atl_qclose *why) {
    raw *r = user;

    (void)q;
    r->closed = 1;
    r->code = why->code;
    r->error = why->error_code;
    r->q = NULL;
}

static const atl_qconn_ops raw_ops = {.on_confirmed = raw_confirmed, .on_closed = raw_closed};

/* Never gives credit. */
static void raw_data(void *user, atl_qstream *q, const uint8_t *data, size_t len, int fin) {
    (void)user;
    (void)q;
    (void)data;
    (void)len;
    (void)fin;
}

static void raw_stop(void *user, atl_qstream *q, uint64_t code) {
    raw *r = user;

    (void)q;
    r->stops++;
    r->stop_code = code;
}

static void raw_acked(void *user, atl_qstream *q) {
    (void)q;
    ((raw *)user)->acked++;
}

static const atl_qstream_ops raw_stream_ops = {
    .on_data = raw_data, .on_stop = raw_stop, .on_acked = raw_acked};

static void raw_make(raw *r) {
    atl_qpath path;
    atl_maddr addr;

    memset(r, 0, sizeof(*r));
    r->b = world_add(&r->w);
    assert_int_equal(atlas_set_u64(r->b->ctx, ATLAS_OPT_HANDSHAKE_TIMEOUT_MS, 300), ATLAS_OK);
    assert_int_equal(atlas_set_u64(r->b->ctx, ATLAS_OPT_MAX_STREAMS, STREAMS), ATLAS_OK);
    node_open(r->b);
    assert_int_equal(atlas_listen(r->b->ctx), ATLAS_OK);
    r->a = world_add(&r->w);
    node_open(r->a);
    assert_int_equal(atl_maddr_parse(r->b->addr, &addr), ATLAS_OK);
    memset(&path, 0, sizeof(path));
    path.remote = addr.addr;
    assert_int_equal(
        atl_qconn_connect(r->a->ctx->ep, &path, ATL_PROTO_ATLAS, &addr.peer, 0, &raw_ops, r, &r->q),
        ATLAS_OK);
    WORLD_UNTIL(&r->w, 5000, r->confirmed);
}

static void raw_write(raw *r, atl_qstream *q, const void *data, size_t len, int fin) {
    size_t taken = 0;

    (void)r;
    assert_int_equal(atl_qstream_write(q, data, len, fin, &taken), ATLAS_OK);
    assert_int_equal(taken, len);
}

static void open_control(raw *r) {
    assert_int_equal(atl_qconn_open_stream(r->q, 0, &raw_stream_ops, r, &r->control), ATLAS_OK);
}

static void say_hello(raw *r) {
    atl_ctrl_hello hello = {.version = ATL_CTRL_VERSION};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_ctrl_hello_encode(&hello, buf, sizeof(buf), &len), ATLAS_OK);
    raw_write(r, r->control, buf, len, 0);
}

static void say_ping(raw *r) {
    atl_ctrl_ping ping = {.id = 1};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_ctrl_ping_encode(&ping, buf, sizeof(buf), &len), ATLAS_OK);
    raw_write(r, r->control, buf, len, 0);
}

static void introduce(raw *r) {
    raw_make(r);
    open_control(r);
    say_hello(r);
    WORLD_UNTIL(&r->w, 5000, r->b->accepted == 1);
}

static void expect_protocol_error(raw *r) {
    WORLD_UNTIL(&r->w, 5000, r->closed);
    assert_int_equal(r->code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(r->error, ATL_CLOSE_PROTOCOL);
    if (r->b->accepted) {
        WORLD_UNTIL(&r->w, 5000, r->b->in[0].closed == 1);
    }
}

/* The node is as good as before. */
static void expect_unharmed(raw *r) {
    node *c = world_add(&r->w);
    tie *l = world_connect(&r->w, c, r->b);

    assert_int_equal(atlas_conn_send_message(l->conn, "well", 4, NULL), ATLAS_OK);
    WORLD_UNTIL(&r->w, 5000, l->sent == 1 && l->sent_code == ATLAS_OK);
    world_free(&r->w);
}

static void test_no_hello(void **state) {
    raw r;

    (void)state;
    raw_make(&r);
    WORLD_UNTIL(&r.w, 5000, r.closed);
    assert_int_equal(r.error, ATL_CLOSE_NO_HELLO);
    assert_int_equal(r.b->accepted, 0);
    assert_int_equal(r.b->ctx->peers.count, 0);
    expect_unharmed(&r);
}

static void test_ping_before_hello(void **state) {
    raw r;

    (void)state;
    raw_make(&r);
    open_control(&r);
    say_ping(&r);
    expect_protocol_error(&r);
    assert_int_equal(r.b->accepted, 0);
    expect_unharmed(&r);
}

static void test_hello_twice(void **state) {
    raw r;

    (void)state;
    introduce(&r);
    say_hello(&r);
    expect_protocol_error(&r);
    assert_int_equal(r.b->in[0].code, ATLAS_ERR_DUPLICATE);
    expect_unharmed(&r);
}

static void test_control_stream_ends(void **state) {
    raw r;

    (void)state;
    introduce(&r);
    raw_write(&r, r.control, "", 0, 1);
    expect_protocol_error(&r);
    world_free(&r.w);
    introduce(&r);
    atl_qstream_shutdown(r.control, 1);
    expect_protocol_error(&r);
    expect_unharmed(&r);
}

static void test_endless_capsule(void **state) {
    /* type Hello, a length of 2^30 - 1, and no end */
    static const uint8_t head[] = {0xaa, 0x7a, 0x51, 0x01, 0xbf, 0xff, 0xff, 0xff, 1, 2, 3};
    raw r;

    (void)state;
    raw_make(&r);
    open_control(&r);
    raw_write(&r, r.control, head, sizeof(head), 0);
    expect_protocol_error(&r);
    expect_unharmed(&r);
}

/* One that asks and never takes the answers. */
static void test_pings_without_end(void **state) {
    raw r;
    int i;
    int k;

    (void)state;
    introduce(&r);
    for (i = 0; i < 100 && !r.closed; i++) {
        for (k = 0; k < 200; k++) {
            say_ping(&r);
        }
        world_turn(&r.w, 5);
        if (r.b->in[0].conn != NULL) {
            assert_true(atl_qstream_buffered(r.b->in[0].conn->control.q) <= 65536);
        }
    }
    expect_unharmed(&r);
}

static void test_incomplete_messages(void **state) {
    static const uint8_t part[600] = {ATL_UNI_MESSAGE, 'x'};
    raw r;
    int i;

    (void)state;
    introduce(&r);
    for (i = 0; i < 100; i++) {
        assert_int_equal(atl_qconn_open_stream(r.q, 1, &raw_stream_ops, &r, &r.streams[i]),
                         ATLAS_OK);
        raw_write(&r, r.streams[i], part, sizeof(part), 0);
    }
    WORLD_UNTIL(&r.w, 5000, r.stops == 36);
    assert_int_equal(r.stop_code, ATL_STREAM_BUSY);
    assert_int_equal(r.b->in[0].conn->messages.in_count, 64);
    assert_true(r.b->in[0].conn->messages.in_bytes <= 64 * 1024);
    /* one of those kept completes, one is reset: both make room */
    raw_write(&r, r.streams[0], "end", 3, 1);
    atl_qstream_shutdown(r.streams[1], 0);
    WORLD_UNTIL(&r.w, 5000, r.b->in[0].messages == 1 && r.b->in[0].conn->messages.in_count == 62);
    assert_int_equal(r.b->in[0].message_bytes, sizeof(part) - 1 + 3);
    assert_int_equal(r.closed, 0);
    expect_unharmed(&r);
}

static void test_bytes_of_messages(void **state) {
    static uint8_t block[65536];
    raw r;
    int i;
    int round;

    (void)state;
    introduce(&r);
    for (i = 0; i < 64; i++) {
        assert_int_equal(atl_qconn_open_stream(r.q, 1, &raw_stream_ops, &r, &r.streams[i]),
                         ATLAS_OK);
        atl_qstream_set_send_limit(r.streams[i], 2u << 20);
        for (round = 0; round < 14; round++) {
            raw_write(&r, r.streams[i], block, sizeof(block), 0);
        }
    }
    for (i = 0; i < 400 && r.stops == 0; i++) {
        world_turn(&r.w, 5);
        assert_true(r.b->in[0].conn->messages.in_bytes <= (17u << 20));
    }
    assert_true(r.stops > 0);
    assert_int_equal(r.stop_code, ATL_STREAM_BUSY);
    expect_unharmed(&r);
}

static void test_unknown_stream_types(void **state) {
    static const uint8_t odd[] = {0x17, 1, 2, 3};
    raw r;

    (void)state;
    introduce(&r);
    assert_int_equal(atl_qconn_open_stream(r.q, 1, &raw_stream_ops, &r, &r.streams[0]), ATLAS_OK);
    raw_write(&r, r.streams[0], odd, sizeof(odd), 0);
    WORLD_UNTIL(&r.w, 5000, r.stops == 1);
    assert_int_equal(r.stop_code, ATL_STREAM_UNKNOWN);
    /* a stream without a single byte is nothing */
    assert_int_equal(atl_qconn_open_stream(r.q, 1, &raw_stream_ops, &r, &r.streams[1]), ATLAS_OK);
    raw_write(&r, r.streams[1], "", 0, 1);
    WORLD_UNTIL(&r.w, 5000, r.acked == 1);
    world_run(&r.w, 20);
    assert_int_equal(r.b->in[0].messages, 0);
    assert_int_equal(r.b->in[0].conn->messages.in_count, 0);
    assert_int_equal(r.closed, 0);
    expect_unharmed(&r);
}

/* Datagrams that nobody takes in time are dropped, not kept. */
static void test_datagram_flood(void **state) {
    raw r;
    int i;

    (void)state;
    introduce(&r);
    for (i = 0; i < 2000; i++) {
        if (atl_qconn_send_datagram(r.q, (const uint8_t *)"x", 1) == ATLAS_ERR_AGAIN) {
            world_turn(&r.w, 1);
        }
    }
    world_run(&r.w, 50);
    assert_true(r.b->in[0].datagrams > 0);
    assert_true(r.b->in[0].conn->datagrams <= 256);
    expect_unharmed(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_hello),
        cmocka_unit_test(test_ping_before_hello),
        cmocka_unit_test(test_hello_twice),
        cmocka_unit_test(test_control_stream_ends),
        cmocka_unit_test(test_endless_capsule),
        cmocka_unit_test(test_pings_without_end),
        cmocka_unit_test(test_incomplete_messages),
        cmocka_unit_test(test_bytes_of_messages),
        cmocka_unit_test(test_unknown_stream_types),
        cmocka_unit_test(test_datagram_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
