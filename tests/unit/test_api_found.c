/* What a dial is told while it goes on: addresses and relays that a finder finds, what is left out
 * of them, and the reasons of a dial that found nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/context.h"
#include "node.h"
#include "peer/dial.h"

#include <stdio.h>
#include <string.h>

typedef struct world {
    sim_net *net;
    sim_node relay;
    sim_node a; /* dials */
    sim_node b;
    struct atl_finder finder;
    struct atl_dial *dial; /* that is being found for */
    int begun, ended;
    int more; /* what begin returns */
    size_t to_victim;
    atl_addr victim;
} world;

static int begin(void *user, struct atl_dial *dial, const atl_peer_id *peer) {
    world *w = user;

    (void)peer;
    w->dial = dial;
    w->begun++;
    return w->more;
}

static void end(void *user, struct atl_dial *dial) {
    world *w = user;

    assert_ptr_equal(dial, w->dial);
    w->dial = NULL;
    w->ended++;
}

static int tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
               size_t len) {
    world *w = user;

    (void)from;
    (void)data;
    (void)len;
    w->to_victim +=
        to->family == w->victim.family && memcmp(to->ip, w->victim.ip, sizeof(to->ip)) == 0;
    return 0;
}

static atl_maddr parse(const char *text) {
    atl_maddr addr;

    assert_int_equal(atl_maddr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static void world_init(world *w) {
    static const sim_link link = {10 * ATL_MS, 0, 0, 0, 0, 1472};

    memset(w, 0, sizeof(*w));
    w->net = sim_new(3);
    sim_set_link(w->net, &link);
    sim_relay_init(&w->relay, w->net, "203.0.113.10", 1);
    sim_node_init(&w->a, w->net, "203.0.113.51", 2, 0);
    sim_node_init(&w->b, w->net, "203.0.113.52", 3, 4002);
    assert_int_equal(atlas_listen(w->b.ctx), ATLAS_OK);
    w->finder.user = w;
    w->finder.begin = begin;
    w->finder.end = end;
    w->more = 1;
    w->a.ctx->peers.finder = &w->finder;
    w->victim = parse("/ip4/203.0.113.99/udp/1/quic-v1").addr;
    sim_set_tap(w->net, tap, w);
}

static void world_done(world *w) {
    sim_node_done(&w->a);
    sim_node_done(&w->b);
    sim_node_done(&w->relay);
    sim_free(w->net);
}

static void run(world *w, uint64_t ns) {
    sim_host_touch(w->a.host);
    (void)sim_run(w->net, sim_now(w->net) + ns, NULL, NULL);
}

static void dial(world *w, uint64_t timeout_ms) {
    w->a.connected = 0;
    w->a.closed = 0;
    assert_int_equal(sim_node_dial(&w->a, strrchr(w->b.addr, '/') + 1, timeout_ms), ATLAS_OK);
}

/* Nothing is known: the dial waits for the finder, and takes what it finds. */
static void an_address_is_found(void **state) {
    atl_maddr addr;
    world w;

    (void)state;
    world_init(&w);
    dial(&w, 5000);
    run(&w, 500 * ATL_MS);
    assert_int_equal(w.a.connected + w.a.closed, 0);
    addr = parse(w.b.addr);
    atl_dial_found(w.dial, &addr, 1);
    run(&w, 100 * ATL_MS);
    assert_int_equal(w.a.connected, 1);
    assert_int_equal(w.a.path, ATLAS_PATH_DIRECT);
    assert_int_equal(w.ended, 1);
    world_done(&w);
}

/* The peer is announced on a relay that this node has never heard of. */
static void a_relay_is_found(void **state) {
    char text[ATLAS_MULTIADDR_MAX];
    atl_maddr addr;
    world w;

    (void)state;
    world_init(&w);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    assert_int_equal(atlas_relay_add(w.b.ctx, w.relay.addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(w.b.ctx, 1), ATLAS_OK);
    sim_host_touch(w.b.host);
    run(&w, ATL_SECOND);
    dial(&w, 5000);
    snprintf(text, sizeof(text), "%.600s/p2p-circuit", w.relay.addr);
    addr = parse(text);
    atl_dial_found(w.dial, &addr, 1);
    run(&w, ATL_SECOND);
    assert_int_equal(w.a.connected, 1);
    assert_int_equal(w.a.path, ATLAS_PATH_RELAY);
    world_done(&w);
}

/* Nobody found anything: every reason is told, and the dial does not wait for its deadline. */
static void nothing_is_found(void **state) {
    world w;

    (void)state;
    world_init(&w);
    dial(&w, 5000);
    run(&w, 100 * ATL_MS);
    atl_dial_found_failed(w.dial, "the first", "knows nothing");
    atl_dial_found_failed(w.dial, "the second", "is silent");
    atl_dial_found_end(w.dial);
    run(&w, 10 * ATL_MS);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.a.close_code, ATLAS_ERR_DIAL);
    assert_string_equal(w.a.close_text, "the first: knows nothing; the second: is silent");
    assert_int_equal(w.ended, 0);
    world_done(&w);
}

/* The finder never comes to an end: the dial does, at its deadline, and tells it. */
static void the_deadline_counts(void **state) {
    world w;

    (void)state;
    world_init(&w);
    dial(&w, 1000);
    run(&w, 990 * ATL_MS);
    assert_int_equal(w.a.closed, 0);
    run(&w, 50 * ATL_MS);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.ended, 1);
    /* closed while it is found for */
    dial(&w, 5000);
    assert_int_equal(atlas_conn_close(w.a.conn, 0, NULL), ATLAS_OK);
    run(&w, 50 * ATL_MS);
    assert_int_equal(w.ended, 2);
    w.more = 0;
    assert_int_equal(sim_node_dial(&w.a, strrchr(w.b.addr, '/') + 1, 1000), ATLAS_ERR_NO_ADDRESS);
    assert_int_equal(w.begun, 3);
    assert_int_equal(w.ended, 2);
    world_done(&w);
}

/* Whoever names an address has this node write there: not to this machine or its link, at most four
 * ports of an address in a dial, and only so often in all. */
static void a_victim_is_spared(void **state) {
    static const char *const NEVER[] = {
        "/ip4/127.0.0.1/udp/9/quic-v1",
        "/ip4/169.254.1.1/udp/9/quic-v1",
        "/ip6/::1/udp/9/quic-v1",
        "/ip6/fe80::1/udp/9/quic-v1",
        "/dns4/victim.example/udp/9/quic-v1",
    };
    atl_maddr addrs[16];
    size_t one_dial;
    size_t i;
    world w;

    (void)state;
    world_init(&w);
    for (i = 0; i < ATL_COUNT(addrs); i++) {
        char text[64];

        snprintf(text, sizeof(text), "/ip4/203.0.113.99/udp/%zu/quic-v1", i + 1);
        addrs[i] = parse(text);
    }
    dial(&w, 3000);
    for (i = 0; i < ATL_COUNT(NEVER); i++) {
        atl_maddr addr = parse(NEVER[i]);

        atl_dial_found(w.dial, &addr, 1);
    }
    run(&w, 100 * ATL_MS);
    atl_dial_found_end(w.dial);
    run(&w, 100 * ATL_MS);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.a.attempts_failed, 0);
    dial(&w, 3000);
    atl_dial_found(w.dial, addrs, ATL_COUNT(addrs));
    run(&w, 4 * ATL_SECOND);
    one_dial = w.to_victim;
    assert_in_range(one_dial, 1, 4 * 8);
    for (i = 0; i < 1000; i++) {
        dial(&w, 100);
        atl_dial_found(w.dial, addrs, ATL_COUNT(addrs));
        run(&w, ATL_MS);
        assert_int_equal(atlas_conn_close(w.a.conn, 0, NULL), ATLAS_OK);
        run(&w, ATL_MS);
    }
    printf("%zu packets for one dial, %zu for a thousand more\n", one_dial, w.to_victim - one_dial);
    assert_in_range(w.to_victim - one_dial, 1, 100);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_found), cmocka_unit_test(a_relay_is_found),
        cmocka_unit_test(nothing_is_found),    cmocka_unit_test(the_deadline_counts),
        cmocka_unit_test(a_victim_is_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
