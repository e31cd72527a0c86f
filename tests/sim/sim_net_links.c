/* The simulated network itself: links with rate and bursts, hosts that change addresses, freeze and
 * sleep, equal runs of equal seeds, and how many packets a second it simulates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define A "203.0.113.1"
#define B "203.0.113.2"

typedef struct two {
    sim_net *net;
    probe a;
    probe b;
} two;

static void two_init(two *w, uint64_t seed) {
    memset(w, 0, sizeof(*w));
    w->net = sim_new_quiet(seed);
    probe_init(&w->a, sim_host_new(w->net, A), 4, 4001);
    probe_init(&w->b, sim_host_new(w->net, B), 4, 4001);
}

static void two_done(two *w) {
    probe_done(&w->a);
    probe_done(&w->b);
    sim_free(w->net);
}

static void run(two *w, double seconds) {
    sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), NULL, NULL);
}

/* 20 packets of 1,000 bytes at once over 100 KB/s with room for 10,000 bytes. */
static void check_queue(two *w, uint64_t start, uint64_t delay) {
    size_t i;

    for (i = 0; i < 20; i++) {
        probe_send(&w->a, 0, B, 4001, (uint8_t)i, 1000);
    }
    run(w, 2);
    assert_in_range(w->b.got, 10, 11);
    for (i = 0; i < w->b.got; i++) {
        assert_int_equal(w->b.first[i], i);
        assert_in_range(w->b.at[i] - start, delay + (i + 1) * 10 * ATL_MS,
                        delay + (i + 1) * 10 * ATL_MS + ATL_MS);
    }
    assert_int_equal(sim_get_stats(w->net)->dropped, 20 - w->b.got);
}

static void test_rate_and_queue(void **state) {
    const sim_shape shape = {.rate = 100000, .queue = 10000};
    const sim_link link = {.delay = 5 * ATL_MS};
    sim_flow_stats flow;
    two w;

    (void)state;
    two_init(&w, 1);
    sim_set_pair_shape(w.net, w.a.host, w.b.host, &shape);
    check_queue(&w, sim_now(w.net), 10 * ATL_MS);
    sim_flow_get(w.net, w.a.host, w.b.host, &flow);
    assert_int_equal(flow.packets, 20);
    assert_int_equal(flow.bytes, 20000);
    assert_int_equal(flow.lost, 20 - w.b.got);
    two_done(&w);
    /* the same of the receiver's own line, after which nothing is before it */
    two_init(&w, 1);
    sim_set_access(w.b.host, &link, NULL, &shape);
    check_queue(&w, sim_now(w.net), 15 * ATL_MS);
    two_done(&w);
}

/* Bad times begin after 1 % of packets and end after 20 %: they are 5 packets long on average, and
 * 4.8 % of the packets are in one. */
static void test_bursts(void **state) {
    const sim_shape shape = {.burst_enter = 100, .burst_leave = 2000};
    size_t bursts = 0;
    size_t lost = 0;
    int before = 0;
    int i;
    two w;

    (void)state;
    two_init(&w, 2);
    sim_set_shape(w.net, &shape);
    for (i = 0; i < 100000; i++) {
        uint64_t was = sim_get_stats(w.net)->lost;
        int is;

        probe_send(&w.a, 0, B, 4001, 1, 100);
        is = sim_get_stats(w.net)->lost > was;
        lost += (size_t)is;
        bursts += is && !before;
        before = is;
        if (i % 1000 == 0) {
            run(&w, 1);
        }
    }
    assert_in_range(lost, 4200, 5400);
    assert_in_range(lost * 10 / bursts, 45, 55);
    two_done(&w);
}

static void test_blackout_cut_and_sides(void **state) {
    sim_shape shape = {0};
    two w;

    (void)state;
    two_init(&w, 3);
    shape.dark_from = sim_now(w.net) + ATL_SECOND;
    shape.dark_until = sim_now(w.net) + 2 * ATL_SECOND;
    sim_set_shape(w.net, &shape);
    probe_send(&w.a, 0, B, 4001, 1, 100);
    run(&w, 1.5);
    probe_send(&w.a, 0, B, 4001, 2, 100);
    run(&w, 1);
    probe_send(&w.a, 0, B, 4001, 3, 100);
    run(&w, 1);
    assert_int_equal(w.b.got, 2);
    sim_set_side(w.b.host, 1);
    probe_send(&w.a, 0, B, 4001, 4, 100);
    sim_set_side(w.b.host, 0);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    probe_send(&w.a, 0, B, 4001, 5, 100);
    sim_cut(w.net, w.a.host, w.b.host, 0);
    sim_unplug(w.b.host, 1);
    probe_send(&w.a, 0, B, 4001, 6, 100);
    run(&w, 1);
    assert_int_equal(w.b.got, 2);
    sim_unplug(w.b.host, 0);
    probe_send(&w.a, 0, B, 4001, 7, 100);
    probe_send(&w.a, 0, B, 4001, 7, 1473);
    run(&w, 1);
    assert_int_equal(w.b.got, 3);
    assert_int_equal(sim_get_stats(w.net)->oversized, 1);
    two_done(&w);
}

/* ---- hosts ---- */

static void test_addresses(void **state) {
    atl_addr addrs[4];
    atl_addr remote = {.family = 6};
    two w;

    (void)state;
    two_init(&w, 4);
    assert_int_equal(w.a.io.local_addrs(w.a.io.impl, addrs, 4), 1);
    assert_int_equal(w.a.io.local_for(w.a.io.impl, &remote, addrs), ATLAS_ERR_UNREACHABLE);
    sim_host_add_addr(w.a.host, NULL, "127.0.0.1");
    sim_host_add_addr(w.a.host, NULL, "203.0.113.11");
    run(&w, 1);
    assert_int_equal(w.a.changes, 1); /* one word for what came together */
    assert_int_equal(w.a.io.local_addrs(w.a.io.impl, addrs, 4), 3);
    assert_true(atl_addr_is_loopback(&addrs[2]));
    probe_send(&w.b, 0, "203.0.113.11", 4001, 1, 100);
    run(&w, 1);
    assert_int_equal(w.a.got, 1);
    assert_int_equal(w.a.to[0].ip[3], 11);
    probe_send(&w.a, 0, "127.0.0.1", 4001, 2, 100);
    run(&w, 1);
    assert_int_equal(w.a.got, 2);
    probe_send(&w.a, 0, B, 4001, 1, 100);
    run(&w, 1);
    assert_int_equal(probe_from(&w.b)->ip[3], 1);
    /* the first address goes: the other one is the source, and what is sent there is lost */
    sim_host_remove_addr(w.a.host, A);
    probe_send(&w.b, 0, A, 4001, 1, 100);
    probe_send(&w.a, 0, B, 4001, 1, 100);
    run(&w, 1);
    assert_int_equal(w.a.got, 2);
    assert_int_equal(probe_from(&w.b)->ip[3], 11);
    assert_int_equal(w.a.changes, 2);
    two_done(&w);
}

static void test_another_network(void **state) {
    const sim_nat nat = sim_nat_of(SIM_NAT_PORT_RESTRICTED);
    sim_router *router;
    atl_tx tx;
    size_t sent;
    two w;

    (void)state;
    two_init(&w, 5);
    router = sim_router_new(w.net, NULL, "198.51.100.1", &nat);
    sim_host_move(w.a.host, router, "192.168.1.2");
    memset(&tx, 0, sizeof(tx));
    tx.data = (const uint8_t *)"x";
    tx.len = 1;
    tx.segment = 1;
    assert_int_equal(atl_addr_parse(B ":4001", &tx.remote), ATLAS_OK);
    assert_int_equal(w.a.io.udp_send(w.a.io.impl, w.a.udp[0], &tx, 1, &sent), ATLAS_OK);
    run(&w, 1);
    assert_int_equal(w.b.got, 1);
    assert_int_equal(probe_from(&w.b)->ip[0], 198);
    /* from the address that it had before */
    assert_int_equal(atl_addr_parse_ip(A, strlen(A), 0, &tx.local), ATLAS_OK);
    assert_int_equal(w.a.io.udp_send(w.a.io.impl, w.a.udp[0], &tx, 1, &sent), ATLAS_OK);
    run(&w, 1);
    assert_int_equal(w.b.got, 1);
    assert_int_equal(w.a.changes, 1);
    two_done(&w);
}

/* Frozen: sockets fill up and overflow, then all is read at once. Asleep: nothing comes, and the
 * clock stands still. */
static void test_standing_still(void **state) {
    uint64_t start;
    int i;
    two w;

    (void)state;
    two_init(&w, 6);
    start = sim_host_now(w.b.host);
    sim_host_freeze(w.b.host, SIM_FROZEN);
    for (i = 0; i < 5000; i++) {
        probe_send(&w.a, 0, B, 4001, 1, 100);
    }
    run(&w, 10);
    assert_int_equal(w.b.got, 0);
    sim_host_freeze(w.b.host, SIM_AWAKE);
    run(&w, 1);
    assert_int_equal(w.b.got, 4096);
    assert_int_equal(sim_get_stats(w.net)->dropped, 5000 - 4096);
    assert_int_equal(sim_host_now(w.b.host) - start, 11 * ATL_SECOND);
    start = sim_host_now(w.b.host);
    sim_host_freeze(w.b.host, SIM_ASLEEP);
    probe_send(&w.a, 0, B, 4001, 1, 100);
    run(&w, 60);
    assert_int_equal(sim_host_now(w.b.host), start);
    sim_host_freeze(w.b.host, SIM_AWAKE);
    run(&w, 1);
    assert_int_equal(w.b.got, 4096);
    assert_int_equal(sim_host_now(w.b.host) - start, ATL_SECOND);
    probe_send(&w.a, 0, B, 4001, 1, 100);
    run(&w, 1);
    assert_int_equal(w.b.got, 4097);
    two_done(&w);
}

static void fired(void *user) {
    ++*(int *)user;
}

static void test_things_to_do(void **state) {
    int n = 0;
    two w;

    (void)state;
    two_init(&w, 7);
    sim_at(w.net, sim_now(w.net) + ATL_SECOND, fired, &n);
    sim_at(w.net, sim_now(w.net) + 3 * ATL_SECOND, fired, &n);
    run(&w, 2);
    assert_int_equal(n, 1);
    run(&w, 2);
    assert_int_equal(n, 2);
    two_done(&w);
}

/* ---- equal seeds ---- */

static int done(void *user) {
    return ((sim_node *)user)->got_fin;
}

/* Nodes behind NATs, a rough link, a transfer, changes on the way. */
static uint64_t walk(uint64_t seed) {
    const sim_link link = {20 * ATL_MS, 5 * ATL_MS, 200, 100, 50, 1472};
    const sim_shape shape = {.rate = 2000000, .burst_enter = 50, .burst_leave = 3000};
    sim_net *net = sim_new_quiet(seed);
    sim_router *router;
    sim_node a;
    sim_node b;
    uint64_t hash;

    sim_set_link(net, &link);
    sim_set_shape(net, &shape);
    sim_node_on_host(&a, sim_host_natted(net, SIM_NAT_SYMMETRIC, "198.51.100.1", 1, &router), 1, 0);
    sim_node_init(&b, net, B, 2, 4001);
    assert_int_equal(atlas_listen(b.ctx), ATLAS_OK);
    assert_int_equal(sim_node_dial(&a, b.addr, 0), ATLAS_OK);
    sim_run(net, sim_now(net) + 2 * ATL_SECOND, NULL, NULL);
    assert_int_equal(a.connected, 1);
    sim_node_send(&a, 1000000);
    sim_run(net, sim_now(net) + 200 * ATL_MS, NULL, NULL);
    sim_router_forget(router, 1);
    assert_true(sim_run(net, sim_now(net) + 100 * ATL_SECOND, done, &b));
    sim_node_done(&a);
    sim_node_done(&b);
    hash = sim_log_hash(net);
    sim_free(net);
    return hash;
}

static void test_equal_seeds_equal_runs(void **state) {
    uint64_t first = walk(77);
    void *shift = malloc(12345); /* other addresses in memory */

    (void)state;
    assert_true(walk(77) == first);
    assert_true(walk(78) != first);
    free(shift);
}

/* ---- speed ---- */

/* Hosts that echo what they get, half of them started by one packet each. */
static void measure(size_t hosts, size_t in_flight, double seconds) {
    sim_net *net = sim_new_quiet(hosts);
    probe *all = calloc(hosts, sizeof(*all));
    struct timespec from;
    struct timespec to;
    double real;
    size_t i;

    assert_non_null(all);
    for (i = 0; i < hosts; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "10.%zu.%zu.1", i / 250, i % 250);
        probe_init(&all[i], sim_host_new(net, ip), 4, 4001);
        all[i].echo = 1;
    }
    for (i = 0; i < in_flight; i++) {
        atl_addr peer;

        sim_host_addr(all[(2 * i + 1) % hosts].host, &peer);
        peer.port = 4001;
        probe_send_to(&all[2 * i % hosts], 0, &peer, 1, 1200);
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    sim_run(net, sim_now(net) + (uint64_t)(seconds * 1e9), NULL, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    real = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%5zu hosts: %7llu packets in %.3f s, %.0f a second\n", hosts,
           (unsigned long long)sim_get_stats(net)->sent, real,
           (double)sim_get_stats(net)->sent / real);
    assert_true(sim_get_stats(net)->delivered > in_flight * (uint64_t)(seconds * 90));
    for (i = 0; i < hosts; i++) {
        probe_done(&all[i]);
    }
    free(all);
    sim_free(net);
}

static void test_speed(void **state) {
    (void)state;
    measure(2, 100, 10);
    measure(100, 100, 10);
    measure(5000, 2500, 0.5);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_rate_and_queue),
        cmocka_unit_test(test_bursts),
        cmocka_unit_test(test_blackout_cut_and_sides),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_another_network),
        cmocka_unit_test(test_standing_still),
        cmocka_unit_test(test_things_to_do),
        cmocka_unit_test(test_equal_seeds_equal_runs),
        cmocka_unit_test(test_speed),
    };

    return cmocka_run_group_tests_name("network: links and hosts", TESTS, NULL, NULL);
}
