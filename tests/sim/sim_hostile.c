/* Hostile datagrams at relay and node while a transfer runs through them: random, truncated,
 * oversized, replayed, bit-flipped, STUN that lies, Initials under forged addresses. Nobody is
 * disturbed, memory stays bounded, nothing unproven gets more than three times what it sent. */
#include "hostile.h"

#include <stdio.h>

#define TRANSFER 3000000u
#define PER_MS 6 /* forged datagrams a millisecond and target */
#define MEMORY_BOUND 1048576

/* ---- what is shot ---- */

static size_t random_bytes(hostile_world *w, uint8_t *out, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        out[i] = (uint8_t)hostile_random(w);
    }
    return len;
}

/* One of the real datagrams that went to this target lately, or to anybody. */
static const captured *pick(hostile_world *w, const atl_addr *target) {
    size_t have = w->n_captured < HOSTILE_CAPTURE ? w->n_captured : HOSTILE_CAPTURE;
    const captured *c = NULL;
    int tries;

    for (tries = 0; tries < 8; tries++) {
        c = &w->ring[hostile_random(w) % have];
        if (c->len > 0 && atl_addr_equal(&c->to, target)) {
            break;
        }
    }
    return c;
}

static size_t shoot_random(hostile_world *w, const captured *c, uint8_t *out) {
    (void)c;
    return random_bytes(w, out, hostile_random(w) % 1500);
}

/* Random, but with the first bits of each kind, and now and then a version. */
static size_t shoot_shaped(hostile_world *w, const captured *c, uint8_t *out) {
    static const uint8_t FIRST[] = {0x00, 0x40, 0x80, 0xc0};
    static const uint32_t VERSIONS[] = {1, 0, 0x6b3343cf, 0x0a0a0a0a};
    size_t len = 1 + hostile_random(w) % 1400;
    uint32_t version = VERSIONS[hostile_random(w) % 4];

    (void)c;
    random_bytes(w, out, len < 8 ? 8 : len);
    out[0] = (uint8_t)((out[0] & 0x3f) | FIRST[hostile_random(w) % 4]);
    if (out[0] >= 0x80) {
        out[1] = (uint8_t)(version >> 24);
        out[2] = (uint8_t)(version >> 16);
        out[3] = (uint8_t)(version >> 8);
        out[4] = (uint8_t)version;
        out[5] = (uint8_t)(hostile_random(w) % 22);
    }
    return len;
}

static size_t shoot_truncated(hostile_world *w, const captured *c, uint8_t *out) {
    memcpy(out, c->data, c->len);
    return hostile_random(w) % c->len;
}

static size_t shoot_oversized(hostile_world *w, const captured *c, uint8_t *out) {
    size_t more = 1 + hostile_random(w) % (hostile_random(w) % 64 == 0 ? 60000 : 3000);

    memcpy(out, c->data, c->len);
    memset(out + c->len, (int)(hostile_random(w) & 0xff), more);
    return c->len + more;
}

static size_t shoot_replayed(hostile_world *w, const captured *c, uint8_t *out) {
    (void)w;
    memcpy(out, c->data, c->len);
    return c->len;
}

static size_t shoot_flipped(hostile_world *w, const captured *c, uint8_t *out) {
    int bits = 1 + (int)(hostile_random(w) % 8);

    memcpy(out, c->data, c->len);
    while (bits-- > 0) {
        /* half of them in the header, where it matters more */
        size_t span = hostile_random(w) % 2 == 0 && c->len > 32 ? 32 : c->len;

        out[hostile_random(w) % span] ^= (uint8_t)(1u << (hostile_random(w) % 8));
    }
    return c->len;
}

/* The counted drops of an endpoint. */
static uint64_t drops(const sim_node *node) {
    const atl_endpoint_stats *stats = hostile_stats(node);

    return stats->dropped_malformed + stats->dropped_unknown + stats->dropped_limit +
           stats->bad_tokens;
}

typedef struct attack_kind {
    const char *name;
    size_t (*shoot)(hostile_world *w, const captured *c, uint8_t *out);
    int counted; /* every target counts some as dropped */
} attack_kind;

static const attack_kind ATTACKS[] = {
    {"nothing", NULL, 0}, /* what an undisturbed run costs */
    {"random", shoot_random, 1},
    {"shaped", shoot_shaped, 1},
    {"truncated", shoot_truncated, 1},
    {"oversized", shoot_oversized, 1},
    {"replayed", shoot_replayed, 0},
    {"bit-flipped", shoot_flipped, 1},
};

/* From strangers, and under the addresses of those whom the target talks to. */
static void volley(hostile_world *w, const attack_kind *attack) {
    static uint8_t buf[65536 + 1500];
    atl_addr targets[] = {hostile_addr(&w->relay), hostile_addr(&w->a), hostile_addr(&w->b)};
    size_t i;
    int n;

    for (i = 0; i < ATL_COUNT(targets); i++) {
        for (n = 0; n < PER_MS; n++) {
            const captured *c = pick(w, &targets[i]);
            atl_addr stranger = hostile_stranger((uint16_t)(hostile_random(w) % 1000));
            const atl_addr *from[] = {&stranger, &c->from, &targets[hostile_random(w) % 3]};
            size_t len = attack->shoot(w, c, buf);

            hostile_inject(w, from[hostile_random(w) % 3], &targets[i], buf, len);
        }
    }
}

static void check_attack(const attack_kind *attack, uint64_t seed, size_t base[3], size_t end[3],
                         int measure) {
    static hostile_world w;
    sim_node *nodes[] = {&w.relay, &w.a, &w.b};
    uint64_t before[3];
    size_t i;
    int ms;

    hostile_init(&w, seed);
    hostile_connect(&w);
    for (i = 0; i < 3; i++) {
        before[i] = drops(nodes[i]);
        nodes[i]->peak_bytes = nodes[i]->live_bytes;
    }
    sim_node_send(&w.a, TRANSFER);
    for (ms = 0; ms < 60000 && !w.b.got_fin; ms++) {
        if (attack->shoot != NULL && ms < 400) {
            volley(&w, attack);
        }
        hostile_run(&w, 0.001, NULL);
    }
    assert_int_equal(w.b.got_bytes, TRANSFER);
    assert_true(w.b.got_hash == w.a.sent_hash);
    hostile_check_served(&w);
    assert_int_equal(w.a.closed + w.b.closed, 0);
    assert_int_equal(w.b.relay_state, ATLAS_RELAY_ANNOUNCED);
    hostile_check_amplification(&w);
    for (i = 0; i < 3; i++) {
        if (measure) {
            base[i] = nodes[i]->peak_bytes;
        }
        assert_true(nodes[i]->peak_bytes < base[i] + MEMORY_BOUND);
        assert_true(!attack->counted || drops(nodes[i]) > before[i]);
    }
    hostile_run(&w, 15, NULL); /* beyond the handshake timeout: what was begun is gone */
    for (i = 0; i < 3; i++) {
        if (measure) {
            end[i] = nodes[i]->live_bytes;
        }
        assert_true(nodes[i]->live_bytes < end[i] + 262144);
    }
    printf("%s: relay %zu bytes more at its peak than undisturbed, drops %llu %llu %llu\n",
           attack->name, w.relay.peak_bytes > base[0] ? w.relay.peak_bytes - base[0] : 0,
           (unsigned long long)drops(&w.relay), (unsigned long long)drops(&w.a),
           (unsigned long long)drops(&w.b));
    hostile_check_served(&w);
    hostile_done(&w);
}

static void test_datagrams(void **state) {
    size_t base[3]; /* of the undisturbed run: at its peak, and in the end */
    size_t end[3];
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ATTACKS); i++) {
        check_attack(&ATTACKS[i], 300, base, end, i == 0);
        if (i > 0) {
            check_attack(&ATTACKS[i], 300 + i, base, end, 0);
        }
    }
}

/* ---- STUN with lying lengths ---- */

/* A Binding request with one attribute, whose three lengths may lie. */
static size_t stun_request(uint8_t *out, uint16_t length, uint16_t type, uint16_t attr_len,
                           size_t real) {
    static const uint8_t HEAD[] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1,  2,
                                   3, 4, 5, 6, 7,    8,    9,    10,   11, 12};

    memset(out, 0, 20 + 4 + real);
    memcpy(out, HEAD, sizeof(HEAD));
    out[2] = (uint8_t)(length >> 8);
    out[3] = (uint8_t)length;
    out[20] = (uint8_t)(type >> 8);
    out[21] = (uint8_t)type;
    out[22] = (uint8_t)(attr_len >> 8);
    out[23] = (uint8_t)attr_len;
    return 20 + 4 + real;
}

static const struct {
    const char *name;
    uint16_t length;   /* in the header */
    uint16_t type;     /* of the attribute */
    uint16_t attr_len; /* in the attribute */
    size_t real;       /* bytes that follow it */
    int malformed;     /* counted so; else it is answered with an error or as a plain request */
} LIES[] = {
    {"honest", 12, 0x8022, 8, 8, 0},
    {"header longer than the datagram", 400, 0x8022, 8, 8, 1},
    {"header shorter than the datagram", 4, 0x8022, 0, 8, 1},
    {"header says nothing follows", 0, 0x8022, 8, 8, 1},
    {"header not a multiple of four", 13, 0x8022, 9, 9, 1},
    {"header of 65535", 65535, 0x8022, 8, 8, 1},
    {"attribute beyond the end", 12, 0x8022, 9, 8, 1},
    {"attribute of 65535", 12, 0x8022, 65535, 8, 1},
    {"attribute one too long for its padding", 12, 0x8022, 11, 8, 1},
    {"integrity of three bytes", 12, 0x0008, 3, 8, 1},
    {"fingerprint of eight bytes", 12, 0x8028, 8, 8, 1},
    {"an address of two bytes", 12, 0x0020, 2, 8, 1},
    {"an unknown mandatory attribute", 12, 0x7777, 8, 8, 0},
};

static void test_stun(void **state) {
    static hostile_world w;
    atl_addr relay;
    size_t i;

    (void)state;
    hostile_init(&w, 400);
    hostile_connect(&w);
    relay = hostile_addr(&w.relay);
    for (i = 0; i < ATL_COUNT(LIES); i++) {
        const atl_stun_server_stats *stats =
            atl_stun_server_get_stats(atl_stun_agent_server(w.relay.ctx->stun));
        uint64_t malformed = stats->dropped_malformed + stats->bad_requests;
        atl_addr stranger = hostile_stranger((uint16_t)i);
        uint8_t buf[128];
        size_t len =
            stun_request(buf, LIES[i].length, LIES[i].type, LIES[i].attr_len, LIES[i].real);

        printf("%s\n", LIES[i].name);
        hostile_inject(&w, &stranger, &relay, buf, len);
        hostile_run(&w, 0.05, NULL);
        assert_int_equal(stats->dropped_malformed + stats->bad_requests - malformed,
                         LIES[i].malformed);
        assert_true(w.stranger_out[i] <= 2 * w.stranger_in[i]);
        assert_true(LIES[i].malformed || w.stranger_out[i] > 0);
    }
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- Initials under forged addresses ---- */

#define FLOOD 2000

/* Real first packets, as many as wanted: the attacker's own, none of which leaves its host. */
typedef struct initials {
    size_t n;
    size_t len[FLOOD];
    uint8_t data[FLOOD][1500];
} initials;

static initials *harvest;

static int keep_initial(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                        size_t len) {
    initials *in = user;

    (void)from;
    (void)to;
    if (data[0] >> 6 == 3 && in->n < FLOOD && len <= 1500) {
        memcpy(in->data[in->n], data, len);
        in->len[in->n++] = len;
    }
    return 1;
}

static int setup_initials(void **state) {
    sim_net *net = sim_new_quiet(9);
    static const atl_qconn_ops none;
    pair_node node;
    atl_peer_id relay;
    atl_qpath path;
    atlas_key *key;
    uint8_t seed[32];
    size_t i;

    (void)state;
    harvest = calloc(1, sizeof(*harvest));
    assert_non_null(harvest);
    memset(seed, 1, sizeof(seed));
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    atl_key_id(key, &relay);
    atlas_key_free(key);
    pair_init(&node, net, "203.0.113.66", 66, 6666);
    atl_endpoint_params(node.ep)->max_conns = 2 * FLOOD;
    memset(&path, 0, sizeof(path));
    atl_addr_parse_ip("203.0.113.10", 12, 4001, &path.remote);
    sim_set_tap(net, keep_initial, harvest);
    for (i = 0; i < FLOOD; i++) {
        atl_qconn *conn;

        assert_int_equal(
            atl_qconn_connect(node.ep, &path, ATL_PROTO_H3, &relay, 0, &none, NULL, &conn),
            ATLAS_OK);
    }
    sim_run(net, sim_now(net) + 10 * ATL_MS, NULL, NULL);
    assert_int_equal(harvest->n, FLOOD);
    pair_done(&node);
    sim_free(net);
    return 0;
}

static int teardown_initials(void **state) {
    (void)state;
    free(harvest);
    return 0;
}

/* A burst, each from its own forged address: some begin handshakes that nobody completes, the rest
 * must prove where they are; in the end nothing is left, and whoever is honest gets through. */
static void test_spoofed(void **state) {
    static hostile_world w;
    const atl_endpoint_stats *stats;
    uint64_t conns;
    size_t live, i;
    atl_addr relay;

    (void)state;
    hostile_init(&w, 500);
    hostile_connect(&w);
    relay = hostile_addr(&w.relay);
    stats = hostile_stats(&w.relay);
    conns = stats->conns;
    live = w.relay.live_bytes;
    for (i = 0; i < FLOOD; i++) {
        atl_addr from = hostile_stranger((uint16_t)i);

        hostile_inject(&w, &from, &relay, harvest->data[i], harvest->len[i]);
    }
    hostile_run(&w, 0.05, NULL);
    assert_in_range(stats->conns - conns, 200, 520);
    assert_int_equal(stats->conns - conns + stats->retries, FLOOD);
    assert_true(w.relay.live_bytes < live + (stats->conns - conns) * 65536);
    /* under this load an honest newcomer is asked for proof, gives it, and is served */
    attacker_init(&w, 67);
    attacker_connect(&w.x, 1);
    attacker_announce(&w.x, &w.x.node.id, 0);
    assert_true(hostile_run(&w, 5, attacker_got_waiting));
    assert_int_equal(w.x.waiting, 1);
    attacker_done(&w.x);
    hostile_check_served(&w);
    hostile_run(&w, 11, NULL);
    /* but for the newcomer's, who left without a word */
    assert_int_equal(stats->conns, conns + 1);
    assert_true(w.relay.live_bytes < live + 262144);
    assert_int_equal(hostile_check_amplification(&w), FLOOD);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* The same at a node, which does not speak the protocol that they ask for: refused at once where an
 * answer is due, asked for proof beyond that. */
static void test_spoofed_at_node(void **state) {
    static hostile_world w;
    const atl_endpoint_stats *stats;
    uint64_t conns;
    size_t live, i;
    atl_addr b;

    (void)state;
    hostile_init(&w, 502);
    hostile_connect(&w);
    b = hostile_addr(&w.b);
    stats = hostile_stats(&w.b);
    conns = stats->conns;
    live = w.b.live_bytes;
    for (i = 0; i < FLOOD; i++) {
        atl_addr from = hostile_stranger((uint16_t)i);

        hostile_inject(&w, &from, &b, harvest->data[i], harvest->len[i]);
    }
    hostile_run(&w, 0.05, NULL);
    assert_in_range(stats->retries, FLOOD - 520, FLOOD - 200);
    hostile_check_served(&w);
    hostile_run(&w, 11, NULL);
    assert_int_equal(stats->conns, conns);
    assert_int_equal(w.b.connected, 1);
    assert_true(w.b.live_bytes < live + 262144);
    assert_int_equal(hostile_check_amplification(&w), FLOOD);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* The same one, again and again from the same forged address: one handshake, not many. */
static void test_replayed_initial(void **state) {
    static hostile_world w;
    const atl_endpoint_stats *stats;
    atl_addr relay, from = hostile_stranger(1);
    uint64_t conns;
    int i;

    (void)state;
    hostile_init(&w, 501);
    hostile_connect(&w);
    relay = hostile_addr(&w.relay);
    stats = hostile_stats(&w.relay);
    conns = stats->conns;
    for (i = 0; i < 500; i++) {
        hostile_inject(&w, &from, &relay, harvest->data[0], harvest->len[0]);
    }
    hostile_run(&w, 1, NULL);
    assert_int_equal(stats->conns, conns + 1);
    hostile_run(&w, 11, NULL);
    assert_int_equal(stats->conns, conns);
    hostile_check_amplification(&w);
    hostile_check_served(&w);
    hostile_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_datagrams),        cmocka_unit_test(test_stun),
        cmocka_unit_test(test_spoofed),          cmocka_unit_test(test_spoofed_at_node),
        cmocka_unit_test(test_replayed_initial),
    };

    return cmocka_run_group_tests_name("hostile datagrams", TESTS, setup_initials,
                                       teardown_initials);
}
