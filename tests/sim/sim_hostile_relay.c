/* Hostile relay clients: what they say on the control stream, what they claim, what they never do.
 * Every case has its code or its counter, and a connection through the same relay goes on. */
#include "hostile.h"

#include <stdio.h>

#define MEMORY_BOUND 262144 /* bytes that one enemy may cost the relay */

static void put_capsule(uint8_t *buf, size_t *len, uint64_t type, const uint8_t *value,
                        size_t value_len) {
    atl_writer w;

    atl_writer_init(&w, buf, 2048);
    atl_write_varint(&w, type);
    atl_write_varint(&w, value_len);
    atl_write_bytes(&w, value, value_len);
    assert_int_equal(w.error, ATLAS_OK);
    *len = w.len;
}

/* Parameters of an announcement, to be spoilt. */
static size_t node_param(uint8_t *out, const atl_peer_id *id) {
    atl_writer w;
    uint8_t bytes[ATL_PEER_ID_BINARY];

    atl_peer_id_encode(id, bytes);
    atl_writer_init(&w, out, 128);
    atl_write_varint(&w, ATL_RELAY_P_NODE_ID);
    atl_write_varint(&w, sizeof(bytes));
    atl_write_bytes(&w, bytes, sizeof(bytes));
    return w.len;
}

static size_t duplicate(attacker *x, uint8_t *buf) {
    uint8_t value[256];
    size_t n = node_param(value, &x->node.id);
    size_t len;

    n += node_param(value + n, &x->node.id);
    value[n++] = ATL_RELAY_P_TIMESTAMP;
    value[n++] = 1;
    value[n++] = 5;
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, n);
    return len;
}

static size_t duplicate_unknown(attacker *x, uint8_t *buf) {
    uint8_t value[256];
    size_t n = node_param(value, &x->node.id);
    static const uint8_t REST[] = {ATL_RELAY_P_TIMESTAMP, 1, 5, 0x3f, 0, 0x3f, 0};
    size_t len;

    memcpy(value + n, REST, sizeof(REST));
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, n + sizeof(REST));
    return len;
}

static size_t missing(attacker *x, uint8_t *buf) {
    uint8_t value[256];
    size_t n = node_param(value, &x->node.id);
    size_t len;

    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, n);
    return len;
}

static size_t empty(attacker *x, uint8_t *buf) {
    size_t len;

    (void)x;
    put_capsule(buf, &len, ATL_RELAY_CONNECT, buf, 0);
    return len;
}

/* A parameter that claims 2^62-1 bytes. */
static size_t huge_parameter(attacker *x, uint8_t *buf) {
    static const uint8_t VALUE[] = {
        ATL_RELAY_P_NODE_ID, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 36, 8, 1};
    size_t len;

    (void)x;
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, VALUE, sizeof(VALUE));
    return len;
}

/* More parameters than any message may have. */
static size_t many_parameters(attacker *x, uint8_t *buf) {
    uint8_t value[512];
    size_t n = node_param(value, &x->node.id);
    size_t len;
    size_t i;

    for (i = 0; i < 65; i++) {
        value[n++] = 0x40;
        value[n++] = (uint8_t)(64 + i);
        value[n++] = 0;
    }
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, n);
    return len;
}

/* A known message that claims more than any may have, and one that claims nearly all there is. */
static size_t long_capsule(attacker *x, uint8_t *buf) {
    uint8_t value[ATL_RELAY_VALUE_MAX + 1];
    size_t len;

    (void)x;
    memset(value, 0, sizeof(value));
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, sizeof(value));
    return len;
}

static size_t endless_known(attacker *x, uint8_t *buf) {
    atl_writer w;

    (void)x;
    atl_writer_init(&w, buf, 64);
    atl_write_varint(&w, ATL_RELAY_CONNECT);
    atl_write_varint(&w, (UINT64_C(1) << 62) - 1);
    return w.len;
}

/* What only a relay may say. */
static size_t as_relay(attacker *x, uint8_t *buf) {
    atl_relay_incoming msg = {1, x->node.id, {1, 2, 3, 4, 5, 6, 7, 8}};
    size_t len;

    assert_int_equal(atl_relay_incoming_encode(&msg, buf, 512, &len), ATLAS_OK);
    return len;
}

static size_t no_peer_id(attacker *x, uint8_t *buf) {
    uint8_t value[256];
    size_t n = node_param(value, &x->node.id);
    size_t len;

    value[2] ^= 0x55; /* no identity multihash */
    value[n++] = ATL_RELAY_P_TIMESTAMP;
    value[n++] = 1;
    value[n++] = 5;
    put_capsule(buf, &len, ATL_RELAY_ANNOUNCE, value, n);
    return len;
}

static const struct {
    const char *name;
    size_t (*build)(attacker *x, uint8_t *buf);
} MALFORMED[] = {
    {"a parameter twice", duplicate},
    {"an unknown parameter twice", duplicate_unknown},
    {"a parameter missing", missing},
    {"no parameter at all", empty},
    {"a huge parameter", huge_parameter},
    {"too many parameters", many_parameters},
    {"a message longer than allowed", long_capsule},
    {"a known message without end", endless_known},
    {"a message of relays", as_relay},
    {"an id that is none", no_peer_id},
};

/* Each is answered with RelayError malformed, counted, and ends this one control connection. */
static void test_malformed(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(MALFORMED); i++) {
        static hostile_world w;
        uint8_t buf[2048];

        printf("%s\n", MALFORMED[i].name);
        hostile_init(&w, 100 + i);
        hostile_connect(&w);
        attacker_init(&w, 66);
        attacker_connect(&w.x, 1);
        assert_int_equal(attacker_write(&w.x, buf, MALFORMED[i].build(&w.x, buf)), ATLAS_OK);
        assert_true(hostile_run(&w, 5, attacker_got_error));
        assert_int_equal(w.x.errors, 1);
        assert_int_equal(w.x.error, ATLAS_ERR_RELAY_MALFORMED);
        assert_true(hostile_run(&w, 5, attacker_is_closed));
        assert_int_equal(hostile_relay_stats(&w).malformed, 1);
        assert_int_equal(hostile_relay_stats(&w).nodes, 1);
        hostile_check_served(&w);
        hostile_done(&w);
    }
}

/* An unknown capsule may be as long as it likes: it is skipped, costs no memory, and buys no
 * presence; one that comes a byte a second keeps its connection no longer than any idle one. */
static void test_endless(void **state) {
    static hostile_world w;
    static uint8_t block[16384];
    uint8_t head[32];
    atl_writer writer;
    size_t live;
    int i;

    (void)state;
    hostile_init(&w, 120);
    hostile_connect(&w);
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    atl_qconn_keepalive(atl_h3_conn(w.x.h3), 5 * ATL_SECOND);
    live = w.relay.live_bytes;
    w.relay.peak_bytes = live;
    atl_writer_init(&writer, head, sizeof(head));
    atl_write_varint(&writer, 0x1234567);
    atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
    assert_int_equal(attacker_write(&w.x, head, writer.len), ATLAS_OK);
    for (i = 0; i < 1000; i++) {
        if (attacker_write(&w.x, block, sizeof(block)) != ATLAS_OK) {
            hostile_run(&w, 0.02, NULL);
        }
    }
    assert_true(w.relay.peak_bytes < live + MEMORY_BOUND);
    hostile_check_served(&w);
    assert_true(hostile_run(&w, 61, attacker_is_closed));
    assert_int_equal(w.x.why.code, ATLAS_ERR_PEER_CLOSED);
    attacker_done(&w.x);
    hostile_check_served(&w);
    hostile_done(&w);
}

static void test_drip(void **state) {
    static const uint8_t HEAD[] = {0xaa, 0x7a, 0x50, 0x30, 0x43, 0xe8}; /* announce, 1,000 bytes */
    static hostile_world w;
    uint8_t zero = 0;
    int i;

    (void)state;
    hostile_init(&w, 121);
    hostile_connect(&w);
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    assert_int_equal(attacker_write(&w.x, HEAD, sizeof(HEAD)), ATLAS_OK);
    for (i = 0; i < 62 && !w.x.closed; i++) {
        (void)attacker_write(&w.x, &zero, 1);
        hostile_run(&w, 1, NULL);
    }
    assert_int_equal(w.x.closed, 1);
    assert_in_range(i, 55, 61);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- claims ---- */

static void test_identity(void **state) {
    static hostile_world w;

    (void)state;
    hostile_init(&w, 130);
    hostile_connect(&w);
    attacker_init(&w, 66);
    attacker_connect(&w.x, 1);
    attacker_announce(&w.x, &w.b.ctx->self, 0);
    assert_true(hostile_run(&w, 5, attacker_got_error));
    assert_int_equal(w.x.error, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(hostile_relay_stats(&w).refused_identity, 1);
    w.x.errors = 0;
    attacker_ask(&w.x, 1, &w.a.ctx->self, &w.b.ctx->self);
    assert_true(hostile_run(&w, 5, attacker_got_error));
    assert_int_equal(w.x.error, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(hostile_relay_stats(&w).refused_identity, 2);
    assert_int_equal(hostile_relay_stats(&w).replaced, 0);
    assert_int_equal(w.b.relay_state, ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(w.b.connected, 1);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* A node whose clock is an hour off is told so; when the clock is right it is reachable. */
static int b_drifts(void *w) {
    return ((hostile_world *)w)->b.relay_code == ATLAS_ERR_RELAY_CLOCK_DRIFT;
}

static void test_clock(void **state) {
    static const int64_t OFFSETS[] = {3600000, -3600000};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(OFFSETS); i++) {
        static hostile_world w;

        hostile_init(&w, 131 + i);
        w.b.wall_offset = OFFSETS[i];
        assert_int_equal(atlas_relay_presence(w.b.ctx, 1), ATLAS_OK);
        assert_true(hostile_run(&w, 20, b_drifts));
        assert_true(hostile_relay_stats(&w).refused_drift > 0);
        assert_int_equal(hostile_relay_stats(&w).nodes, 0);
        hostile_run(&w, 30, NULL);
        assert_int_equal(w.b.relay_announced, 0);
        w.b.wall_offset = 0;
        assert_true(hostile_run(&w, 120, hostile_b_announced));
        hostile_connect(&w);
        hostile_done(&w);
    }
}

/* ---- a target that never accepts ---- */

static int b_closed(void *w) {
    return ((hostile_world *)w)->b.closed > 0;
}

static void dial_attacker(hostile_world *w) {
    char id[ATLAS_PEER_ID_MAX];

    attacker_init(w, 66);
    attacker_connect(&w->x, 1);
    attacker_announce(&w->x, &w->x.node.id, 0);
    assert_true(hostile_run(w, 5, attacker_got_waiting));
    atl_peer_id_text(&w->x.node.id, id);
    assert_int_equal(sim_node_dial(&w->b, id, 0), ATLAS_OK);
    assert_true(hostile_run(w, 5, attacker_got_incoming));
    assert_int_equal(w->x.incoming, 1);
}

/* Announces once a second while the dial goes on. */
static void wait_for_failure(hostile_world *w) {
    int i;

    for (i = 0; i < 20 && !hostile_run(w, 1, b_closed); i++) {
        attacker_announce(&w->x, &w->x.node.id, 0);
    }
    assert_int_equal(w->b.closed, 1);
    assert_int_equal(w->b.close_code, ATLAS_ERR_DIAL);
}

static void test_never_accepts(void **state) {
    static hostile_world w;
    uint64_t start;

    (void)state;
    hostile_init(&w, 140);
    hostile_connect(&w);
    dial_attacker(&w);
    start = sim_now(w.net);
    hostile_check_served(&w);
    wait_for_failure(&w);
    assert_in_range((sim_now(w.net) - start) / ATL_MS, 9900, 10200);
    assert_non_null(strstr(w.b.close_text, atlas_error_text(ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT)));
    assert_int_equal(hostile_relay_stats(&w).handshake_timeouts, 1);
    assert_int_equal(hostile_relay_stats(&w).circuits, 1);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* It accepts, and then says nothing: the dialer's own handshake timeout. */
static void test_accepts_and_is_mute(void **state) {
    static hostile_world w;

    (void)state;
    hostile_init(&w, 141);
    hostile_connect(&w);
    dial_attacker(&w);
    attacker_accept(&w.x);
    wait_for_failure(&w);
    assert_int_equal(hostile_relay_stats(&w).pairs, 2);
    hostile_run(&w, 17, NULL);
    assert_int_equal(hostile_relay_stats(&w).circuits, 1); /* the dialer gave its circuit back */
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- a circuit id from a wrong source ---- */

/* A real circuit packet of a, or of the relay to b. */
static const captured *circuit_packet(const hostile_world *w, const atl_addr *from,
                                      const atl_addr *to) {
    size_t i;

    for (i = w->n_captured; i > 0; i--) {
        const captured *c = &w->ring[(i - 1) % HOSTILE_CAPTURE];

        if (atl_addr_equal(&c->from, from) && atl_addr_equal(&c->to, to) && c->len > 40 &&
            c->data[0] >> 6 == 1 && c->data[9] >> 6 == 1) {
            return c;
        }
    }
    return NULL;
}

static void test_wrong_source(void **state) {
    static hostile_world w;
    atl_addr a, b, relay, stranger = hostile_stranger(7);
    atlas_relay_stats before, after;
    const captured *c;
    captured copy;
    uint64_t dropped;
    size_t n;
    int i;

    (void)state;
    hostile_init(&w, 150);
    hostile_connect(&w);
    a = hostile_addr(&w.a);
    b = hostile_addr(&w.b);
    relay = hostile_addr(&w.relay);
    hostile_run(&w, 1, NULL); /* until the last acknowledgement is through */
    c = circuit_packet(&w, &a, &relay);
    assert_non_null(c);
    before = hostile_relay_stats(&w);
    copy = *c;
    n = w.n_captured;
    for (i = 0; i < 100; i++) {
        hostile_inject(&w, &stranger, &relay, copy.data, copy.len);
        hostile_inject(&w, &b, &relay, copy.data,
                       copy.len); /* the other end is a wrong source too */
    }
    hostile_run(&w, 0.025, NULL);
    after = hostile_relay_stats(&w);
    assert_int_equal(after.dropped_source - before.dropped_source, 200);
    assert_int_equal(after.forwarded_packets, before.forwarded_packets);
    for (; n < w.n_captured; n++) { /* b was sent nothing of it */
        c = &w.ring[n % HOSTILE_CAPTURE];
        assert_false(c->len == copy.len && memcmp(c->data + 9, copy.data + 9, copy.len - 9) == 0);
    }
    assert_int_equal(w.stranger_out[7], 0);
    /* and at the target: what claims its circuit and does not come from its relay */
    c = circuit_packet(&w, &relay, &b);
    assert_non_null(c);
    dropped = hostile_stats(&w.b)->dropped_unknown;
    for (i = 0; i < 100; i++) {
        hostile_inject(&w, &stranger, &b, c->data, c->len);
    }
    hostile_run(&w, 0.025, NULL);
    assert_int_equal(hostile_stats(&w.b)->dropped_unknown - dropped, 100);
    assert_int_equal(w.stranger_out[7], 0);
    hostile_check_served(&w);
    hostile_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_drip),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_never_accepts),
        cmocka_unit_test(test_accepts_and_is_mute),
        cmocka_unit_test(test_wrong_source),
    };

    return cmocka_run_group_tests_name("hostile relay clients", TESTS, NULL, NULL);
}
