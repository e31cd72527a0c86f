/* AutoRelay: the beginning, who is chosen, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autorelay_world.h"

/* ---- the beginning ---- */

/* Relays that are held and not configured. */
static size_t held(void) {
    const atl_relays *relays = &w.node.ctx->peers.relays;
    const atl_relay_entry *entry = NULL;
    size_t n = 0;

    while ((entry = atl_relays_next_own(relays, entry)) != NULL) {
        n += entry->held && !entry->configured;
    }
    return n;
}

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

/* The nearest answers when it is measured, and is as dead as can be otherwise: nobody waits for it.
 */
static void one_more_is_tried(void **state) {
    uint64_t start;

    (void)state;
    begin(4, 8);
    set_rtt(5, 30 * ATL_MS);
    w.mute = 1u << 5;
    start = now();
    want(3);
    until(three_serve, 1200 * ATL_MS);
    assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, 5), 1);
    run(5 * ATL_SECOND);
    assert_int_equal(serves(5), 0);
    assert_int_equal(w.n_serving, 3);
    assert_true(w.changed_at < start + 1200 * ATL_MS);
    finish();
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

/* Relays whose records name an address of each family. Nobody is at the IPv6 ones: with a socket or
 * a route for them the measurement says so, and without one nothing is sent there. */
static void the_family_that_works_is_used(void **state) {
    static const struct {
        int node;
        int families;
    } ROWS[] = {
        {IPV6_NONE, FAMILY_46},   {IPV6_NONE, FAMILY_64},    {IPV6_SOCKET, FAMILY_46},
        {IPV6_SOCKET, FAMILY_64}, {IPV6_ADDRESS, FAMILY_46}, {IPV6_ADDRESS, FAMILY_64},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(ROWS); i++) {
        begin_with(30 + i, 5, ROWS[i].node);
        w.families = ROWS[i].families;
        want(3);
        until(three_serve, 3 * ATL_SECOND);
        run(400 * ATL_SECOND);
        assert_int_equal(w.n_serving, 3);
        assert_int_equal(count_events(ATLAS_AUTORELAY_FAILED, RELAYS), 0);
        for (size_t k = 0; k < w.n; k++) {
            const atl_maddr addr6 = relay_addr6(k);
            const atl_relay_pool_entry *entry = atl_relay_pool_find(&w.ar->pool, &addr6.peer, 6);

            assert_non_null(entry);
            assert_int_equal(entry->measured_at != 0 && entry->loss == 100,
                             ROWS[i].node == IPV6_ADDRESS && entry->measured_at != 0);
        }
        finish();
    }
}

/* Both families work, and one relay is one relay: more than there are cannot be had. */
static void one_relay_is_chosen_once(void **state) {
    char ip[32];

    (void)state;
    begin_with(36, 0, IPV6_ADDRESS);
    w.families = FAMILY_46;
    for (size_t i = 0; i < 2; i++) {
        sim_host *host;

        (void)snprintf(ip, sizeof(ip), "203.0.%zu.1", i + 1);
        host = sim_host_new(w.net, ip);
        (void)snprintf(ip, sizeof(ip), "2001:db8:%zu::1", i + 1);
        sim_host_add_addr(host, NULL, ip);
        sim_node_on_host(&w.relays[w.n], host, (uint32_t)(20 + w.n), 4001);
        assert_int_equal(atlas_relay_start(w.relays[w.n].ctx), ATLAS_OK);
        w.n++;
    }
    want(3);
    run(20 * ATL_SECOND);
    assert_int_equal(w.n_serving, 2);
    for (size_t i = 0; i < w.n; i++) {
        assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, i), 1);
        assert_int_equal(announced_on(i), 1);
        for (uint8_t family = 4; family <= 6; family += 2) {
            const atl_maddr addr = relay_addr(i);
            const atl_relay_pool_entry *entry =
                atl_relay_pool_find(&w.ar->pool, &addr.peer, family);

            assert_non_null(entry);
            assert_true(entry->rtt != 0);
        }
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
    assert_int_equal(held(), 1);
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
    assert_int_equal(held(), 0);
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
        atl_relay_pool *pool = &w.ar->pool;
        atl_peer_id got[3];

        pool->n = 0;
        while (pool->n < 24) {
            size_t relay = (size_t)(sim_random(w.net) % 200);
            atl_relay_pool_entry *at;
            atl_peer_id peer;
            atl_addr addr;
            uint8_t ip[4] = {44, (uint8_t)relay, 0, 1};

            memset(&peer, 1 + (int)relay, sizeof(peer));
            atl_addr_set4(&addr, ip, 4001);
            atl_relay_pool_offer(pool, &peer, &addr, 1);
            at = atl_relay_pool_find(pool, &peer, 4);
            at->measured_at = pool->n <= 12 ? w.node.ctx->loop.now : 0;
            at->rtt = (20 + sim_random(w.net) % 80) * ATL_MS;
        }
        for (size_t i = 0; i < 3; i++) {
            int measure = 0;
            const atl_relay_pool_entry *relay = atl_choice_next(w.ar, 0, &measure);

            assert_non_null(relay);
            got[i] = relay->peer;
            chosen[relay->peer.key[0] - 1]++;
            atl_relay_pool_find(pool, &got[i], 4)->measured_at = 0;
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
        cmocka_unit_test(one_more_is_tried),
        cmocka_unit_test(dead_and_lying_ones_cost_no_time),
        cmocka_unit_test(different_networks_come_first),
        cmocka_unit_test(the_nearest_are_chosen),
        cmocka_unit_test(the_family_that_works_is_used),
        cmocka_unit_test(one_relay_is_chosen_once),
        cmocka_unit_test(some_are_no_candidates),
        cmocka_unit_test(it_stops),
        cmocka_unit_test(another_network),
        cmocka_unit_test(nodes_spread_over_relays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
