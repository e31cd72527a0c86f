/* AutoRelay with whole contexts on the simulated network: relays that serve, lie, refuse, die, grow
 * worse, drain, and come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/context.h"
#include "discovery/autorelay_impl.h"
#include "node.h"

#include <stdio.h>
#include <string.h>

#define RELAYS 24
#define EVENTS 512

typedef struct seen_event {
    uint64_t at;
    uint32_t what;
    atl_peer_id relay;
    int32_t code;
} seen_event;

typedef struct world {
    sim_net *net;
    sim_node node;
    sim_node relays[RELAYS];
    size_t n;
    atl_autorelay *ar;
    void (*observed)(atl_peers *peers, atl_relay_entry *entry);
    size_t wants;
    int silent; /* nobody answers want */
    seen_event events[EVENTS];
    size_t n_events;
    /* what on_change has told */
    size_t n_serving;
    size_t least; /* since it was set to RELAYS */
    uint64_t changed_at;
    size_t changes;
    /* relays that carry no circuit packets, bits */
    uint32_t lying;
} world;

static world w;

static uint64_t now(void) {
    return sim_now(w.net);
}

static void run(uint64_t ns) {
    (void)sim_run(w.net, now() + ns, NULL, NULL);
}

static atl_maddr relay_addr(size_t i) {
    atl_maddr addr;

    assert_int_equal(atl_maddr_parse(w.relays[i].addr, &addr), ATLAS_OK);
    return addr;
}

/* The relay's index, or RELAYS. */
static size_t index_of(const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < w.n; i++) {
        atl_maddr addr = relay_addr(i);

        if (atl_peer_id_equal(&addr.peer, peer)) {
            return i;
        }
    }
    return RELAYS;
}

/* ---- what AutoRelay asks and tells ---- */

static void on_observed(atl_peers *peers, atl_relay_entry *entry) {
    w.observed(peers, entry);
    atl_autorelay_on_relay(w.ar, entry);
}

/* A bootstrap node that is 50 ms away answers. */
static void answer(void *user) {
    (void)user;
    if (w.ar == NULL) {
        return;
    }
    (void)atl_loop_update(&w.node.ctx->loop);
    for (size_t i = 0; i < w.n; i++) {
        atl_maddr addr = relay_addr(i);

        atl_autorelay_offer(w.ar, &addr);
    }
    atl_autorelay_offered(w.ar);
    sim_host_touch(w.node.host);
}

static void on_want(void *user, size_t n) {
    (void)user;
    assert_true(n >= 3);
    w.wants++;
    if (!w.silent) {
        sim_at(w.net, now() + 50 * ATL_MS, answer, NULL);
    }
}

static void on_change(void *user) {
    atl_relay_entry *serving[ATL_AUTORELAY_MAX];

    (void)user;
    w.n_serving = atl_autorelay_serving(w.ar, serving, ATL_AUTORELAY_MAX);
    w.changes++;
    w.changed_at = now();
    w.least = w.n_serving < w.least ? w.n_serving : w.least;
    for (size_t i = 0; i < w.n_serving; i++) {
        assert_true(serving[i]->held);
        assert_true(atl_autorelay_is_serving(w.ar, serving[i]));
    }
}

static void on_event(void *user, const atl_autorelay_event *event) {
    seen_event *out = &w.events[w.n_events++];

    (void)user;
    assert_true(w.n_events < EVENTS);
    assert_true(event->text[0] != '\0');
    assert_int_equal(event->code == ATLAS_OK, event->what != ATLAS_AUTORELAY_FAILED);
    out->at = now();
    out->what = event->what;
    out->relay = event->addr->peer;
    out->code = event->code;
}

static size_t count_events(uint32_t what, size_t relay) {
    size_t n = 0;

    for (size_t i = 0; i < w.n_events; i++) {
        n += w.events[i].what == what && (relay == RELAYS || index_of(&w.events[i].relay) == relay);
    }
    return n;
}

static int32_t failure_of(size_t relay) {
    for (size_t i = 0; i < w.n_events; i++) {
        if (w.events[i].what == ATLAS_AUTORELAY_FAILED && index_of(&w.events[i].relay) == relay) {
            return w.events[i].code;
        }
    }
    return ATLAS_OK;
}

/* Circuit packets from relays that lie vanish. */
static int tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
               size_t len) {
    (void)user;
    (void)to;
    if (len <= ATL_CIRCUIT_HEADER || (data[0] & 0xc0) != 0x40 ||
        (data[ATL_CIRCUIT_HEADER] & 0xc0) != 0 || len != 1209) {
        return 0;
    }
    for (size_t i = 0; i < w.n; i++) {
        if ((w.lying >> i & 1) != 0 &&
            memcmp(from->ip, w.relays[i].host_ip.ip, sizeof(from->ip)) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- the stage ---- */

static void set_rtt(size_t relay, uint64_t rtt) {
    sim_link link = {rtt / 2, 0, 0, 0, 0, 1472};

    sim_set_pair(w.net, w.node.host, w.relays[relay].host, &link);
}

static void add_relay(const char *ip) {
    sim_relay_init(&w.relays[w.n], w.net, ip, (uint8_t)(20 + w.n));
    w.n++;
}

static void make_autorelay(void) {
    const atl_autorelay_config config = {
        .loop = &w.node.ctx->loop,
        .io = &w.node.ctx->io,
        .self = w.node.ctx->peers.self,
        .peers = &w.node.ctx->peers,
        .want = on_want,
        .on_change = on_change,
        .on_event = on_event,
    };

    assert_int_equal(atl_autorelay_new(&config, &w.ar), ATLAS_OK);
    w.observed = w.node.ctx->peers.relays.on_observed;
    w.node.ctx->peers.relays.on_observed = on_observed;
}

/* A node and `n` relays in different networks, 50 ms from each other. */
static void begin(uint64_t seed, size_t n) {
    static const sim_link link = {25 * ATL_MS, 0, 0, 0, 0, 1472};
    char ip[32];

    memset(&w, 0, sizeof(w));
    w.net = sim_new_quiet(seed);
    w.least = RELAYS;
    sim_set_link(w.net, &link);
    sim_set_tap(w.net, tap, NULL);
    sim_node_init(&w.node, w.net, "198.51.100.7", 2, 0);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ip, sizeof(ip), "203.0.%zu.1", i + 1);
        add_relay(ip);
    }
    make_autorelay();
}

static void want(size_t count) {
    (void)atl_loop_update(&w.node.ctx->loop);
    atl_autorelay_want(w.ar, count);
    sim_host_touch(w.node.host);
}

static void finish(void) {
    if (w.ar != NULL) {
        w.node.ctx->peers.relays.on_observed = w.observed;
        atl_autorelay_free(w.ar);
        w.ar = NULL;
    }
    sim_node_done(&w.node);
    for (size_t i = 0; i < w.n; i++) {
        sim_node_done(&w.relays[i]);
    }
    sim_free(w.net);
}

static int three_serve(void *user) {
    (void)user;
    return w.n_serving == 3;
}

static int less_serve(void *user) {
    (void)user;
    return w.n_serving < 3;
}

static int none_serves(void *user) {
    (void)user;
    return w.n_serving == 0;
}

static void until(int (*done)(void *user), uint64_t ns) {
    assert_int_equal(sim_run(w.net, now() + ns, done, NULL), 1);
}

static size_t serving(size_t out[ATL_AUTORELAY_MAX]) {
    atl_relay_entry *entries[ATL_AUTORELAY_MAX];
    size_t n = atl_autorelay_serving(w.ar, entries, ATL_AUTORELAY_MAX);

    for (size_t i = 0; i < n; i++) {
        out[i] = index_of(&entries[i]->addr.peer);
        assert_true(out[i] < RELAYS);
    }
    return n;
}

static int serves(size_t relay) {
    size_t out[ATL_AUTORELAY_MAX];
    size_t n = serving(out);

    for (size_t i = 0; i < n; i++) {
        if (out[i] == relay) {
            return 1;
        }
    }
    return 0;
}

/* Nodes that are announced on a relay. */
static uint64_t announced_on(size_t relay) {
    atlas_relay_stats stats = {.size = sizeof(stats)};

    assert_int_equal(atlas_relay_get_stats(w.relays[relay].ctx, &stats), ATLAS_OK);
    return stats.nodes;
}

/* ---- the beginning ---- */

static void three_serve_within_a_moment(void **state) {
    uint64_t longest = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        size_t on = 0;
        uint64_t start;

        begin(seed, 14);
        run(ATL_SECOND);
        start = now();
        want(3);
        until(three_serve, 3 * ATL_SECOND);
        longest = now() - start > longest ? now() - start : longest;
        run(20 * ATL_SECOND);
        assert_int_equal(w.n_serving, 3);
        for (size_t i = 0; i < w.n; i++) {
            on += announced_on(i);
        }
        assert_int_equal(on, 3); /* the surplus was given up */
        assert_int_equal(count_events(ATLAS_AUTORELAY_FAILED, RELAYS), 0);
        assert_int_equal(count_events(ATLAS_AUTORELAY_SERVING, RELAYS), 3);
        finish();
    }
    print_message("three serve after %.0f ms at most\n", (double)longest / 1e6);
    assert_true(longest < 1500 * ATL_MS);
}

static void dead_and_lying_ones_cost_no_time(void **state) {
    (void)state;
    begin(3, 9);
    for (size_t i = 0; i < w.n; i++) {
        set_rtt(i, 80 * ATL_MS);
    }
    /* the nearest ones lie, refuse, and are dead */
    set_rtt(0, 20 * ATL_MS);
    set_rtt(1, 22 * ATL_MS);
    set_rtt(2, 24 * ATL_MS);
    set_rtt(3, 26 * ATL_MS);
    w.lying = 1u << 0 | 1u << 3;
    assert_int_equal(atlas_set_u64(w.relays[1].ctx, ATLAS_OPT_RELAY_MAX_NODES, 1), ATLAS_OK);
    {
        sim_node other;

        sim_node_init(&other, w.net, "198.51.100.9", 9, 0);
        assert_int_equal(atlas_relay_add(other.ctx, w.relays[1].addr), ATLAS_OK);
        assert_int_equal(atlas_relay_presence(other.ctx, 1), ATLAS_OK);
        run(2 * ATL_SECOND);
        assert_int_equal(announced_on(1), 1);
        sim_host_set_down(w.relays[2].host, 1);
        want(3);
        until(three_serve, 4 * ATL_SECOND);
        assert_int_equal(serves(0) + serves(1) + serves(2) + serves(3), 0);
        run(45 * ATL_SECOND);
        assert_int_equal(failure_of(0), ATLAS_ERR_SELFTEST);
        assert_int_equal(failure_of(3), ATLAS_ERR_SELFTEST);
        assert_int_equal(failure_of(1), ATLAS_ERR_RELAY_CAPACITY);
        /* left alone for a minute, and nobody missed them */
        assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, 0), 1);
        assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, 1), 1);
        assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, 2), 0);
        assert_int_equal(w.n_serving, 3);
        sim_node_done(&other);
    }
    finish();
}

/* ---- later ---- */

static void a_dead_one_is_replaced(void **state) {
    uint64_t told = 0;
    uint64_t replaced = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        size_t out[ATL_AUTORELAY_MAX];
        uint64_t start;

        begin(seed, 12);
        want(3);
        until(three_serve, 3 * ATL_SECOND);
        run(ATL_SECOND + seed * 170 * ATL_MS);
        assert_int_equal(serving(out), 3);
        sim_host_set_down(w.relays[out[seed % 3]].host, 1);
        start = now();
        while (serves(out[seed % 3])) {
            run(10 * ATL_MS);
            assert_true(now() < start + 5 * ATL_SECOND);
        }
        told = now() - start > told ? now() - start : told;
        if (w.n_serving < 3) {
            until(three_serve, 3 * ATL_SECOND);
        }
        replaced = now() - start > replaced ? now() - start : replaced;
        assert_int_equal(failure_of(out[seed % 3]), ATLAS_ERR_RELAY_LOST);
        assert_true(w.least >= 2 || w.changes < 4);
        finish();
    }
    print_message("a dead relay is told after %.0f ms at most, and replaced after %.0f ms\n",
                  (double)told / 1e6, (double)replaced / 1e6);
    assert_true(told < 4 * ATL_SECOND);
    assert_true(replaced < 5 * ATL_SECOND);
}

/* It carried packets, and no longer does. */
static void one_that_begins_to_lie_is_found_out(void **state) {
    size_t out[ATL_AUTORELAY_MAX];

    (void)state;
    begin(5, 8);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    assert_int_equal(serving(out), 3);
    w.lying = 1u << out[1];
    w.least = RELAYS;
    run(400 * ATL_SECOND);
    assert_int_equal(serves(out[1]), 0);
    assert_int_equal(failure_of(out[1]), ATLAS_ERR_SELFTEST);
    assert_int_equal(w.n_serving, 3);
    assert_true(w.least >= 2);
    assert_int_equal(announced_on(out[1]), 0);
    finish();
}

static void one_that_grows_much_worse_is_replaced(void **state) {
    size_t out[ATL_AUTORELAY_MAX];
    sim_link lossy = {25 * ATL_MS, 0, 6000, 0, 0, 1472};

    (void)state;
    begin(6, 8);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    assert_int_equal(serving(out), 3);
    w.least = RELAYS;
    /* a little worse is not much worse */
    set_rtt(out[0], 120 * ATL_MS);
    run(1100 * ATL_SECOND);
    assert_int_equal(serves(out[0]), 1);
    assert_int_equal(w.least, RELAYS);
    /* once is not twice */
    set_rtt(out[0], 200 * ATL_MS);
    run(320 * ATL_SECOND);
    assert_int_equal(serves(out[0]), 1);
    set_rtt(out[0], 50 * ATL_MS);
    run(700 * ATL_SECOND);
    assert_int_equal(serves(out[0]), 1);
    set_rtt(out[0], 200 * ATL_MS);
    run(700 * ATL_SECOND);
    assert_int_equal(serves(out[0]), 0);
    assert_int_equal(count_events(ATLAS_AUTORELAY_FAILED, out[0]), 0);
    assert_int_equal(w.n_serving, 3);
    assert_true(w.least >= 3); /* another served before */
    (void)lossy;
    finish();
}

static void one_that_drains_is_replaced(void **state) {
    size_t out[ATL_AUTORELAY_MAX];
    uint64_t start;

    (void)state;
    begin(7, 8);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    assert_int_equal(serving(out), 3);
    run(5 * ATL_SECOND);
    start = now();
    sim_relay_drain(&w.relays[out[2]], 20000);
    until(less_serve, ATL_SECOND); /* it takes no circuits any more */
    until(three_serve, 3 * ATL_SECOND);
    assert_true(now() < start + 3 * ATL_SECOND);
    assert_int_equal(serves(out[2]), 0);
    assert_int_equal(failure_of(out[2]), ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(count_events(ATLAS_AUTORELAY_FAILED, out[2]), 1);
    run(60 * ATL_SECOND);
    assert_int_equal(w.n_serving, 3);
    finish();
}

static void all_of_them_die_and_come_back(void **state) {
    uint64_t start;
    size_t chosen;

    (void)state;
    begin(8, 4);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    for (size_t i = 0; i < w.n; i++) {
        sim_host_set_down(w.relays[i].host, 1);
    }
    until(none_serves, 5 * ATL_SECOND);
    run(600 * ATL_SECOND);
    assert_int_equal(w.n_serving, 0);
    chosen = count_events(ATLAS_AUTORELAY_CHOSEN, RELAYS);
    assert_in_range(chosen, 12, 80); /* looks on, and not for ever faster */
    assert_in_range(w.wants, 8, 40);
    for (size_t i = 0; i < w.n; i++) {
        sim_relay_return(&w.relays[i]);
    }
    start = now();
    until(three_serve, 65 * ATL_SECOND);
    print_message("three serve %.0f s after all came back\n", (double)(now() - start) / 1e9);
    run(30 * ATL_SECOND);
    assert_int_equal(w.n_serving, 3);
    finish();
}

/* No candidates at first, and nobody who answers. */
static void candidates_may_come_late(void **state) {
    (void)state;
    begin(9, 5);
    w.silent = 1;
    want(3);
    run(100 * ATL_SECOND);
    assert_in_range(w.wants, 3, 12);
    assert_int_equal(w.n_events, 0);
    answer(NULL);
    until(three_serve, 2 * ATL_SECOND);
    finish();
}

/* ---- who is chosen ---- */

static void different_networks_come_first(void **state) {
    static const char *const NEAR[] = {"203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"};
    static const char *const FAR[] = {"192.0.2.1", "198.51.200.1"};
    size_t out[ATL_AUTORELAY_MAX];
    size_t near = 0;

    (void)state;
    begin(10, 0);
    for (size_t i = 0; i < 4; i++) {
        add_relay(NEAR[i]);
        set_rtt(i, 10 * ATL_MS);
    }
    for (size_t i = 0; i < 2; i++) {
        add_relay(FAR[i]);
        set_rtt(4 + i, 150 * ATL_MS);
    }
    want(3);
    until(three_serve, 4 * ATL_SECOND);
    assert_int_equal(serving(out), 3);
    for (size_t i = 0; i < 3; i++) {
        near += out[i] < 4;
    }
    assert_int_equal(near, 1);
    /* more than there are networks */
    want(5);
    run(5 * ATL_SECOND);
    assert_int_equal(w.n_serving, 5);
    finish();
}

static void the_nearest_are_chosen(void **state) {
    size_t out[ATL_AUTORELAY_MAX];

    (void)state;
    begin(11, 12);
    for (size_t i = 0; i < w.n; i++) {
        set_rtt(i, i % 4 == 1 ? 30 * ATL_MS : 90 * ATL_MS);
    }
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    assert_int_equal(serving(out), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(out[i] % 4, 1);
    }
    finish();
}

static void some_are_no_candidates(void **state) {
    static const char *const ADDRS[] = {
        "/ip4/10.1.2.3/udp/4001/quic-v1",       "/ip4/192.168.7.1/udp/4001/quic-v1",
        "/ip4/169.254.1.1/udp/4001/quic-v1",    "/ip6/2001:db8::7/udp/4001/quic-v1",
        "/dns4/relay.example/udp/4001/quic-v1",
    };
    atlas_relay_event event = {.size = sizeof(event)};
    char text[ATLAS_MULTIADDR_MAX];
    atl_maddr addr;

    (void)state;
    begin(12, 2);
    /* one is the application's own, with and without presence */
    assert_int_equal(atlas_relay_add(w.node.ctx, w.relays[0].addr), ATLAS_OK);
    for (size_t i = 0; i < ATL_COUNT(ADDRS); i++) {
        (void)snprintf(text, sizeof(text), "%s%s", ADDRS[i], strstr(w.relays[1].addr, "/p2p/"));
        assert_int_equal(atl_maddr_parse(text, &addr), ATLAS_OK);
        addr.peer.key[3] ^= (uint8_t)(i + 1);
        atl_autorelay_offer(w.ar, &addr);
    }
    addr = relay_addr(1);
    addr.peer = w.node.ctx->peers.self;
    atl_autorelay_offer(w.ar, &addr);
    want(3);
    run(30 * ATL_SECOND);
    assert_int_equal(w.n_serving, 1);
    assert_int_equal(serves(1), 1);
    for (size_t i = 0; i < w.n_events; i++) {
        assert_int_equal(index_of(&w.events[i].relay), 1);
    }
    assert_int_equal(atlas_relay_info(w.node.ctx, 0, &event), ATLAS_OK);
    assert_int_equal(event.state, ATLAS_RELAY_IDLE);
    assert_int_equal(announced_on(0), 0);
    assert_null(atl_relays_held_at(&w.node.ctx->peers.relays, 1));
    assert_non_null(atl_relays_held_at(&w.node.ctx->peers.relays, 0));
    /* one that serves is configured: it is the application's from then on */
    assert_int_equal(atlas_relay_presence(w.node.ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_relay_add(w.node.ctx, w.relays[1].addr), ATLAS_OK);
    sim_host_touch(w.node.host);
    run(70 * ATL_SECOND);
    assert_int_equal(announced_on(0), 1);
    assert_int_equal(announced_on(1), 1);
    want(0);
    run(10 * ATL_SECOND);
    assert_int_equal(announced_on(1), 1);
    finish();
}

/* ---- the end ---- */

static void it_stops(void **state) {
    (void)state;
    begin(13, 8);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    want(1);
    run(ATL_SECOND);
    assert_int_equal(w.n_serving, 1);
    want(4);
    run(4 * ATL_SECOND);
    assert_int_equal(w.n_serving, 4);
    want(0);
    run(10 * ATL_SECOND);
    assert_int_equal(w.n_serving, 0);
    for (size_t i = 0; i < w.n; i++) {
        assert_int_equal(announced_on(i), 0);
    }
    assert_int_equal(atl_relays_idle(&w.node.ctx->peers.relays), 1);
    assert_null(atl_relays_held_at(&w.node.ctx->peers.relays, 0));
    w.wants = 0;
    run(900 * ATL_SECOND);
    assert_int_equal(w.wants, 0);
    want(3);
    until(three_serve, 3 * ATL_SECOND);
    finish();
    /* at any moment */
    for (uint64_t wait = 0; wait < 1000 * ATL_MS; wait += 90 * ATL_MS) {
        begin(14 + wait, 6);
        want(3);
        run(wait);
        if (wait % 4 == 0) {
            want(0);
            run(wait);
        }
        finish();
    }
}

static void another_network(void **state) {
    (void)state;
    begin(15, 8);
    w.lying = 1;
    want(3);
    until(three_serve, 5 * ATL_SECOND);
    sim_host_move(w.node.host, NULL, "198.51.77.7");
    atlas_network_changed(w.node.ctx);
    atl_autorelay_network_changed(w.ar);
    sim_host_touch(w.node.host);
    run(20 * ATL_SECOND);
    assert_int_equal(w.n_serving, 3);
    assert_int_equal(serves(0), 0); /* who lies lies everywhere */
    finish();
}

/* ---- many nodes ---- */

/* 10,000 nodes that know 24 of 200 relays each, of which they have measured 12: nobody is chosen
 * three times as often as others. */
static void nodes_spread_over_relays(void **state) {
    unsigned chosen[200] = {0};
    unsigned most = 0;
    unsigned least = UINT32_MAX;

    (void)state;
    begin(16, 1);
    for (size_t node = 0; node < 10000; node++) {
        atl_pool *pool = &w.ar->pool;
        atl_peer_id got[3];

        pool->n = 0;
        while (pool->n < 24) {
            size_t relay = (size_t)(sim_random(w.net) % 200);
            atl_pool_relay *at;
            atl_peer_id peer;
            atl_addr addr;
            uint8_t ip[4] = {44, (uint8_t)relay, 0, 1};

            memset(&peer, 1 + (int)relay, sizeof(peer));
            atl_addr_set4(&addr, ip, 4001);
            atl_pool_offer(pool, &peer, &addr, 1);
            at = atl_pool_find(pool, &peer);
            at->measured_at = pool->n <= 12 ? w.node.ctx->loop.now : 0;
            at->rtt = (20 + sim_random(w.net) % 80) * ATL_MS;
        }
        for (size_t i = 0; i < 3; i++) {
            int measure = 0;
            const atl_pool_relay *relay = atl_choice_next(w.ar, 0, &measure);

            assert_non_null(relay);
            got[i] = relay->peer;
            chosen[relay->peer.key[0] - 1]++;
            atl_pool_find(pool, &got[i])->measured_at = 0;
        }
    }
    for (size_t i = 0; i < 200; i++) {
        most = chosen[i] > most ? chosen[i] : most;
        least = chosen[i] < least ? chosen[i] : least;
    }
    print_message("30000 choices of 200 relays: %u to %u each\n", least, most);
    assert_true(least > 0 && most <= 3 * least);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_serve_within_a_moment),
        cmocka_unit_test(dead_and_lying_ones_cost_no_time),
        cmocka_unit_test(a_dead_one_is_replaced),
        cmocka_unit_test(one_that_begins_to_lie_is_found_out),
        cmocka_unit_test(one_that_grows_much_worse_is_replaced),
        cmocka_unit_test(one_that_drains_is_replaced),
        cmocka_unit_test(all_of_them_die_and_come_back),
        cmocka_unit_test(candidates_may_come_late),
        cmocka_unit_test(different_networks_come_first),
        cmocka_unit_test(the_nearest_are_chosen),
        cmocka_unit_test(some_are_no_candidates),
        cmocka_unit_test(it_stops),
        cmocka_unit_test(another_network),
        cmocka_unit_test(nodes_spread_over_relays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
