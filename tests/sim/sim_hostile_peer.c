/* A peer with a good key and bad manners: what it says on the control stream may not make a node
 * send much to addresses that it names, dial relays without end, believe wrong addresses of relays,
 * or speak without pause. */
#include "hostile.h"

#include "peer/conn.h"
#include "peer/control_stream.h"
#include "peer/keepalive.h"
#include "peer/upgrade.h"

#define FIRST_CHECKS \
    16384              /* bytes that a connection may spend on checks before it has earned any */
#define CHECK_RATE 256 /* bytes a second that it earns by lasting */

/* Both are let go on with what they say by hand. */
static void put(sim_node *node, const uint8_t *buf, size_t len) {
    assert_int_equal(atl_control_put(node->conn, buf, len), ATLAS_OK);
}

static void say_addresses(sim_node *node, uint64_t generation, uint16_t stranger, size_t relays) {
    atl_ctrl_addresses msg;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len;
    size_t i;

    memset(&msg, 0, sizeof(msg));
    msg.generation = generation;
    for (i = 0; relays == 0 && i < ATL_CANDIDATES_MAX; i++) {
        msg.candidates[i].kind = ATLAS_CANDIDATE_HOST;
        msg.candidates[i].priority = (uint32_t)(1000 - i);
        msg.candidates[i].addr = hostile_stranger((uint16_t)(stranger + i));
        msg.n_candidates++;
    }
    for (i = 0; i < relays; i++) {
        atl_maddr *relay = &msg.relays[msg.n_relays++];

        relay->host_kind = ATL_HOST_IP;
        relay->addr = hostile_stranger((uint16_t)(stranger + i));
        relay->port = relay->addr.port;
        relay->quic = 1;
        relay->has_peer = 1;
        memset(&relay->peer, 0, sizeof(relay->peer));
        memcpy(&relay->peer, &node->ctx->self, sizeof(relay->peer));
        relay->peer.key[0] ^= (uint8_t)(1 + stranger + i);
    }
    assert_int_equal(atl_ctrl_addresses_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    put(node, buf, len);
}

static void say_start(sim_node *node, uint64_t attempt) {
    const atl_ctrl_punch msg = {attempt, ATL_CTRL_PUNCH_START};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_ctrl_punch_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    put(node, buf, len);
}

static uint64_t to_strangers(const hostile_world *w) {
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < ATL_COUNT(w->stranger_out); i++) {
        sum += w->stranger_out[i];
    }
    return sum;
}

static uint64_t received(const sim_node *node) {
    atlas_conn_stats stats = {.size = sizeof(stats)};

    assert_int_equal(atlas_conn_get_stats(node->conn, &stats), ATLAS_OK);
    return stats.rx_bytes;
}

/* ---- checks ---- */

/* A client that starts one attempt after the other: a node sends no more to what it names than it
 * could have sent there itself. */
static void test_many_starts(void **state) {
    static hostile_world w;
    uint64_t i;

    (void)state;
    hostile_init(&w, 700);
    hostile_connect(&w);
    say_addresses(&w.a, UINT64_C(1) << 40, 0, 0);
    for (i = 1; i <= 120; i++) {
        say_start(&w.a, 1000 + i);
        hostile_run(&w, 1, NULL);
    }
    assert_true(to_strangers(&w) > 0);
    assert_true(to_strangers(&w) <= FIRST_CHECKS + 120 * CHECK_RATE + received(&w.b));
    assert_true(w.b.upgrades < 60);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* A server that names other addresses all the time. */
static void test_many_addresses(void **state) {
    static hostile_world w;
    uint64_t i;

    (void)state;
    hostile_init(&w, 701);
    hostile_connect(&w);
    for (i = 1; i <= 600; i++) {
        say_addresses(&w.b, (UINT64_C(1) << 40) + i, (uint16_t)(16 * (i % 100)), 0);
        hostile_run(&w, 0.2, NULL);
    }
    assert_true(to_strangers(&w) > 0);
    assert_true(to_strangers(&w) <= FIRST_CHECKS + 120 * CHECK_RATE + received(&w.a));
    hostile_check_served(&w);
    hostile_done(&w);
}

/* ---- relays ---- */

/* A peer that is silent now and then, and names other relays each time. */
static void test_many_relays(void **state) {
    static hostile_world w;
    uint64_t i;

    (void)state;
    hostile_init(&w, 702);
    hostile_connect(&w);
    for (i = 1; i <= 60; i++) {
        say_addresses(&w.a, (UINT64_C(1) << 40) + i, (uint16_t)(4 * i), 4);
        hostile_run(&w, 0.3, NULL);
        sim_host_freeze(w.a.host, 1);
        assert_int_equal(sim_node_message(&w.b, "are you there?"), ATLAS_OK);
        hostile_run(&w, 0.7, NULL);
        sim_host_freeze(w.a.host, 0);
    }
    assert_true(to_strangers(&w) > 0);
    /* eight at once and eight in each 30 s, each a few first packets at most */
    assert_true(to_strangers(&w) <= (8 + 8 * 2) * 3 * 1300);
    hostile_run(&w, 5, NULL);
    hostile_check_served(&w);
    hostile_done(&w);
}

/* What a peer says of a relay is not what the application hears when it names the same one. */
static void test_wrong_relay_address(void **state) {
    static hostile_world w;
    atl_ctrl_addresses msg;
    atl_relay_entry *entry;
    atl_maddr wrong;
    atl_maddr right;

    (void)state;
    memset(&msg, 0, sizeof(msg));
    hostile_init(&w, 703);
    assert_int_equal(atl_maddr_parse(w.a.addr, &right), ATLAS_OK);
    wrong = right;
    wrong.addr = hostile_stranger(9);
    wrong.port = wrong.addr.port;
    assert_int_equal(atl_relays_named(&w.b.ctx->peers.relays, &wrong, 1, &entry), ATLAS_OK);
    atl_relay_entry_use(entry);
    assert_int_equal(atlas_relay_add(w.b.ctx, w.a.addr), ATLAS_OK);
    assert_int_equal(atlas_relay_start(w.a.ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(w.b.ctx, 1), ATLAS_OK);
    hostile_run(&w, 3, NULL);
    assert_int_equal(hostile_b_announced(&w), 1);
    assert_int_equal(to_strangers(&w), 0);
    /* and the peer's is not what stands in for the configured one */
    assert_int_equal(atl_relays_named(&w.b.ctx->peers.relays, &wrong, 1, &entry), ATLAS_OK);
    atl_relay_entry_unuse(entry);
    hostile_run(&w, 5, NULL);
    assert_int_equal(to_strangers(&w), 0);
    hostile_done(&w);
}

/* ---- keepalives ---- */

/* A peer that says it ends the connection after a millisecond of silence is not kept alive by
 * thousands of packets a second. */
static void test_no_patience(void **state) {
    static hostile_world w;
    atlas_conn_stats before = {.size = sizeof(before)};
    atlas_conn_stats after = {.size = sizeof(after)};

    (void)state;
    hostile_init(&w, 704);
    w.b.ctx->peers.limits.idle_timeout = ATL_MS; /* what its Hello says; QUIC's own is longer */
    hostile_connect(&w);
    hostile_run(&w, 5, NULL);
    assert_int_equal(atlas_conn_get_stats(w.a.conn, &before), ATLAS_OK);
    hostile_run(&w, 10, NULL);
    assert_int_equal(atlas_conn_get_stats(w.a.conn, &after), ATLAS_OK);
    assert_true(after.tx_packets - before.tx_packets <= 10 * 4 * 2);
    hostile_done(&w);
}

/* The application knows its NAT better. */
static void test_keepalive_max(void **state) {
    static hostile_world w;
    atlas_conn_stats before = {.size = sizeof(before)};
    atlas_conn_stats after = {.size = sizeof(after)};

    (void)state;
    hostile_init(&w, 707);
    assert_int_equal(atlas_set_u64(w.a.ctx, ATLAS_OPT_KEEPALIVE_MAX_MS, 5000), ATLAS_OK);
    assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
    assert_true(hostile_run(&w, 20, hostile_a_settled));
    hostile_run(&w, 20, NULL);
    assert_int_equal(w.a.path, ATLAS_PATH_DIRECT);
    assert_int_equal(atlas_conn_get_stats(w.a.conn, &before), ATLAS_OK);
    hostile_run(&w, 60, NULL);
    assert_int_equal(atlas_conn_get_stats(w.a.conn, &after), ATLAS_OK);
    assert_in_range(after.tx_packets - before.tx_packets, 12, 20);
    hostile_done(&w);
}

/* ---- idle mode ---- */

static uint64_t sent_by(const sim_node *node) {
    return hostile_stats(node)->tx_datagrams;
}

/* A node that sleeps sends nothing: neither because its servers do not answer, nor because it is
 * relayed, nor because its peer keeps the connection alive. */
static void sleeps(sim_node *node, hostile_world *w) {
    uint64_t before;

    assert_int_equal(atlas_set_idle(node->ctx, 1), ATLAS_OK);
    hostile_run(w, 15, NULL); /* the relay says that it has forgotten the node */
    before = sent_by(node);
    hostile_run(w, 300, NULL);
    assert_int_equal(sent_by(node), before);
    assert_int_equal(atlas_set_idle(node->ctx, 0), ATLAS_OK);
    hostile_run(w, 20, NULL);
    hostile_check_served(w);
}

static void test_idle_server(void **state) {
    static hostile_world w;

    (void)state;
    hostile_init(&w, 705);
    assert_int_equal(atlas_stun_add_server(w.b.ctx, "198.51.0.1:3478"), ATLAS_OK);
    hostile_connect(&w);
    hostile_run(&w, 20, NULL);
    sleeps(&w.b, &w);
    hostile_done(&w);
}

static void test_idle_client(void **state) {
    static hostile_world w;

    (void)state;
    hostile_init(&w, 706);
    assert_int_equal(atlas_stun_add_server(w.a.ctx, "198.51.0.1:3478"), ATLAS_OK);
    hostile_connect(&w);
    hostile_run(&w, 20, NULL);
    sleeps(&w.a, &w);
    hostile_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_many_starts), cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_many_relays), cmocka_unit_test(test_wrong_relay_address),
        cmocka_unit_test(test_no_patience), cmocka_unit_test(test_keepalive_max),
        cmocka_unit_test(test_idle_server), cmocka_unit_test(test_idle_client),
    };

    return cmocka_run_group_tests_name("peers", TESTS, NULL, NULL);
}
