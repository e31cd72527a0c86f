/* Paths in the simulator: relayed connections become direct where the NATs let them, survive the
 * death of their direct path and of their relay, follow nodes to other addresses, sleep, and cost
 * little when they are idle. Every byte that is transferred is compared. The same scenarios with
 * hundreds of seeds, and how long each takes: paths_rows.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "paths_measure.h"

#include <stdio.h>
#include <string.h>

#define SEEDS 4 /* of each fault */
#define MINUTE (60 * ATL_SECOND)
#define PORT SIM_NAT_PORT_RESTRICTED
#define SYMM SIM_NAT_SYMMETRIC

static void connect_in(paths_world *w, const paths_plan *plan, uint64_t seed) {
    assert_true(paths_world_init(w, plan, seed));
    assert_true(paths_connect(w));
}

static int messages_came(void *world) {
    const paths_world *w = world;

    return w->a.messages > 0 && w->b.messages > 0;
}

/* One message each way arrives within `limit`. */
static void talk(paths_world *w, uint64_t limit) {
    w->a.messages = 0;
    w->b.messages = 0;
    assert_non_null(w->a.conn);
    assert_non_null(w->b.conn);
    assert_int_equal(atlas_conn_send_message(w->a.conn, "hello", 5, NULL), ATLAS_OK);
    assert_int_equal(atlas_conn_send_message(w->b.conn, "hello", 5, NULL), ATLAS_OK);
    sim_host_touch(w->a.node.host);
    sim_host_touch(w->b.node.host);
    assert_true(paths_run(w, limit, messages_came));
}

/* ---- pairs ---- */

static void test_every_pair(void **state) {
    paths_result result;
    int a;
    int b;

    (void)state;
    for (a = 0; a <= SIM_NAT_CGNAT; a++) {
        for (b = 0; b <= SIM_NAT_CGNAT; b++) {
            const paths_plan plan = {.nat_a = a, .nat_b = b, .relays = 1};

            memset(&result, 0, sizeof(result));
            paths_pair(&plan, (uint64_t)(100 + 10 * a + b), &result);
            printf("%-20s %-20s %5.0f ms %s\n", sim_nat_name(a), sim_nat_name(b),
                   (double)result.value / 1e6, result.why);
            assert_true(result.ok);
            assert_true(!paths_punchable(a, b) || result.value < ATL_SECOND);
        }
    }
}

static void test_upgrade(void **state) {
    static const paths_plan PLAN = {.nat_a = PORT, .nat_b = PORT, .relays = 1};
    paths_result result;
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 10; seed++) {
        memset(&result, 0, sizeof(result));
        paths_upgrade(&PLAN, seed, &result);
        assert_true(result.ok && result.value <= result.bound);
        memset(&result, 0, sizeof(result));
        paths_upgrade_cost(&PLAN, seed, &result);
        assert_true(result.ok && result.value <= result.bound);
    }
}

/* Two nodes behind the same router, which has no hairpin: their own addresses are all that works,
 * and the best. */
static void test_same_network(void **state) {
    static const paths_plan PLAN = {.nat_a = PORT, .relays = 1, .same_nat = 1};
    paths_world w;

    (void)state;
    connect_in(&w, &PLAN, 11);
    assert_true(paths_run(&w, 10 * ATL_SECOND, paths_direct));
    assert_non_null(strstr(w.a.changes[w.a.n_changes - 1].remote, "192.168.1.3:"));
    talk(&w, 5 * ATL_SECOND);
    paths_world_done(&w);
}

/* IPv4 cannot be punched; IPv6 behind firewalls can. */
static void test_dual_stack(void **state) {
    static const paths_plan PLAN = {.nat_a = SYMM, .nat_b = SYMM, .relays = 1, .ipv6 = 1};
    paths_world w;

    (void)state;
    connect_in(&w, &PLAN, 12);
    assert_true(paths_run(&w, 10 * ATL_SECOND, paths_direct));
    assert_non_null(strstr(w.a.changes[w.a.n_changes - 1].remote, "2001:db8:2::5"));
    talk(&w, 5 * ATL_SECOND);
    paths_world_done(&w);
}

/* Two direct paths that are equally good: one is chosen and kept, for minutes under traffic. */
static void test_no_flapping(void **state) {
    static const paths_plan PLAN = {.nat_a = PORT, .nat_b = PORT, .relays = 1, .ipv6 = 1};
    paths_world w;
    size_t changes;

    (void)state;
    connect_in(&w, &PLAN, 13);
    assert_true(paths_run(&w, 10 * ATL_SECOND, paths_direct));
    (void)paths_run(&w, 5 * ATL_SECOND, NULL);
    changes = w.a.n_changes + w.b.n_changes;
    paths_app_send(&w.a, 50000);
    (void)paths_run(&w, 2 * MINUTE, paths_ended);
    assert_int_equal(w.a.n_changes + w.b.n_changes, changes);
    paths_app_stop(&w.a);
    assert_true(paths_run(&w, MINUTE, paths_received));
    assert_int_equal(w.b.got, w.a.sent);
    assert_int_equal(w.b.wrong, 0);
    paths_world_done(&w);
}

/* ---- faults under traffic ---- */

static void test_faults(void **state) {
    size_t n;
    size_t i;
    uint64_t seed;
    const paths_fault *faults = paths_faults(&n);

    (void)state;
    for (i = 0; i < n; i++) {
        uint64_t worst = 0;

        for (seed = 1; seed <= SEEDS; seed++) {
            paths_result result;

            memset(&result, 0, sizeof(result));
            paths_fault_run(&faults[i], seed == SEEDS ? 100 : 0, seed, 0, &result);
            if (!result.ok) {
                print_error("%s: %s, seed %d: %s\n", faults[i].family, faults[i].name, (int)seed,
                            result.why);
            }
            assert_true(result.ok);
            assert_int_equal(result.wrong, 0);
            worst = result.value > worst ? result.value : worst;
        }
        printf("%s: %s: %.0f ms\n", faults[i].family, faults[i].name, (double)worst / 1e6);
        assert_true(worst <= 3 * ATL_SECOND);
    }
}

/* ---- relays that go, and come back ---- */

static const paths_plan TWO_RELAYS = {.nat_a = SYMM, .nat_b = SYMM, .relays = 2};

static int left_relay(void *world) {
    const paths_world *w = world;

    return paths_active_relay(w, &w->a) >= 0 && paths_active_relay(w, &w->b) >= 0 &&
           !w->relay_gone[paths_active_relay(w, &w->a)] &&
           paths_active_relay(w, &w->a) == paths_active_relay(w, &w->b);
}

static void test_drain(void **state) {
    paths_world w;
    int first;

    (void)state;
    connect_in(&w, &TWO_RELAYS, 21);
    (void)paths_run(&w, 5 * ATL_SECOND, NULL);
    first = paths_active_relay(&w, &w.a);
    assert_true(first >= 0);
    paths_app_send(&w.a, 100000);
    (void)paths_run(&w, ATL_SECOND, NULL);
    paths_app_watch(&w.b);
    assert_int_equal(atlas_shutdown(w.relay[first].ctx, 10000), ATLAS_OK);
    sim_host_touch(w.relay[first].host);
    (void)paths_run(&w, 5 * ATL_SECOND, paths_ended);
    assert_int_equal(paths_active_relay(&w, &w.a), 1 - first);
    assert_int_equal(paths_active_relay(&w, &w.b), 1 - first);
    paths_app_stop(&w.a);
    assert_true(paths_run(&w, MINUTE, paths_received));
    paths_app_watch_end(&w.b);
    assert_int_equal(w.b.got, w.a.sent);
    assert_int_equal(w.b.wrong, 0);
    assert_true(w.b.longest < ATL_SECOND);
    paths_world_done(&w);
}

static int all_announced(void *world) {
    const paths_world *w = world;

    return paths_app_announced(&w->a) == 2 && paths_app_announced(&w->b) == 2;
}

static void kill(paths_world *w, int relay) {
    sim_node_kill(&w->relay[relay]);
    w->relay_gone[relay] = 1;
}

static void test_relay_comes_back(void **state) {
    paths_world w;
    int first;

    (void)state;
    connect_in(&w, &TWO_RELAYS, 22);
    (void)paths_run(&w, 5 * ATL_SECOND, NULL);
    first = paths_active_relay(&w, &w.a);
    assert_true(first >= 0);
    kill(&w, first);
    talk(&w, 5 * ATL_SECOND);
    assert_true(paths_run(&w, 5 * ATL_SECOND, left_relay));
    assert_int_equal(paths_active_relay(&w, &w.a), 1 - first);
    sim_node_start(&w.relay[first], 4001);
    assert_int_equal(atlas_relay_start(w.relay[first].ctx), ATLAS_OK);
    w.relay_gone[first] = 0;
    assert_true(paths_run(&w, 3 * MINUTE, all_announced));
    talk(&w, 5 * ATL_SECOND);
    kill(&w, 1 - first);
    talk(&w, 10 * ATL_SECOND);
    assert_true(paths_run(&w, 5 * ATL_SECOND, left_relay));
    assert_int_equal(paths_active_relay(&w, &w.a), first);
    paths_world_done(&w);
}

/* ---- nothing to do ---- */

static void test_idle_costs(void **state) {
    static const paths_plan PLAN = {.nat_a = PORT, .nat_b = PORT, .relays = 1};
    sim_flow_stats before[2];
    sim_flow_stats after[2];
    paths_world w;
    int i;

    (void)state;
    connect_in(&w, &PLAN, 31);
    assert_true(paths_run(&w, 10 * ATL_SECOND, paths_direct));
    (void)paths_run(&w, 10 * MINUTE, NULL); /* the interval is learned */
    sim_flow_get(w.net, w.a.node.host, w.b.node.host, &before[0]);
    sim_flow_get(w.net, w.b.node.host, w.a.node.host, &before[1]);
    (void)paths_run(&w, 60 * MINUTE, NULL);
    sim_flow_get(w.net, w.a.node.host, w.b.node.host, &after[0]);
    sim_flow_get(w.net, w.b.node.host, w.a.node.host, &after[1]);
    for (i = 0; i < 2; i++) {
        uint64_t packets = after[i].packets - before[i].packets;
        uint64_t bytes = after[i].bytes - before[i].bytes;

        printf("an idle hour: %llu packets, %llu bytes %s\n", (unsigned long long)packets,
               (unsigned long long)bytes, i == 0 ? "there" : "back");
        /* a PING and its acknowledgement in a minute, which ATLAS_OPT_KEEPALIVE_MAX_MS is by
         * default; every other acknowledgement of ngtcp2 asks for one itself */
        assert_in_range(packets, 50, 92);
        assert_true(bytes < packets * 60);
    }
    assert_true(paths_direct(&w));
    assert_true(w.a.idle_told > 0 && w.b.idle_told > 0);
    talk(&w, 5 * ATL_SECOND);
    paths_world_done(&w);
}

static void test_sleep(void **state) {
    static const int HOW[] = {SIM_FROZEN, SIM_ASLEEP};
    static const int NATS[] = {PORT, SYMM};
    size_t i;

    (void)state;
    for (i = 0; i < 8; i++) {
        const paths_plan plan = {.nat_a = NATS[i / 4], .nat_b = NATS[i / 4], .relays = 1};
        paths_world w;
        paths_app *side;

        connect_in(&w, &plan, 41 + i);
        (void)paths_run(&w, 10 * ATL_SECOND, NULL);
        side = i % 2 == 0 ? &w.a : &w.b;
        sim_host_freeze(side->node.host, HOW[i / 2 % 2]);
        (void)paths_run(&w, MINUTE, NULL);
        sim_host_freeze(side->node.host, SIM_AWAKE);
        talk(&w, 10 * ATL_SECOND);
        (void)paths_run(&w, 10 * ATL_SECOND, NULL);
        assert_int_equal(w.a.closed + w.b.closed, 0);
        assert_int_equal(paths_app_announced(&w.a), 1);
        assert_int_equal(paths_app_announced(&w.b), 1);
        talk(&w, 5 * ATL_SECOND);
        paths_world_done(&w);
    }
}

/* ---- a victim ---- */

typedef struct victim {
    atl_addr ip;
    uint64_t packets;
    uint64_t bytes;
} victim;

static void count_victim(void *user, const sim_event *event) {
    victim *at = user;

    if (event->what == SIM_SENT && event->to.family == at->ip.family &&
        memcmp(event->to.ip, at->ip.ip, sizeof(at->ip.ip)) == 0) {
        at->packets++;
        at->bytes += event->len;
    }
}

/* The client names an address that somebody else has in the server's network, again and again: the
 * server sends it less than the client has sent itself. */
static void test_victim(void **state) {
    static const paths_plan PLAN = {.nat_a = SYMM, .nat_b = SYMM, .relays = 1};
    atlas_conn_stats stats = {.size = sizeof(stats)};
    victim at;
    paths_world w;
    int i;

    (void)state;
    memset(&at, 0, sizeof(at));
    connect_in(&w, &PLAN, 51);
    sim_host_addr(sim_host_behind(w.nat_b, "192.168.2.99"), &at.ip);
    sim_set_observer(w.net, count_victim, &at);
    for (i = 0; i < 1000; i++) {
        sim_host_add_addr(w.a.node.host, w.nat_a, "192.168.2.99");
        (void)paths_run(&w, 500 * ATL_MS, NULL);
        sim_host_remove_addr(w.a.node.host, "192.168.2.99");
        (void)paths_run(&w, 500 * ATL_MS, NULL);
    }
    assert_int_equal(w.a.closed + w.b.closed, 0);
    assert_int_equal(atlas_conn_get_stats(w.a.conn, &stats), ATLAS_OK);
    printf(
        "named a thousand times: %llu packets, %llu bytes to the victim; the client has sent "
        "%llu bytes\n",
        (unsigned long long)at.packets, (unsigned long long)at.bytes,
        (unsigned long long)stats.tx_bytes);
    assert_true(at.packets > 0 && at.packets <= 24000);
    assert_true(at.bytes <= stats.tx_bytes);
    sim_set_observer(w.net, NULL, NULL);
    paths_world_done(&w);
}

static const struct CMUnitTest TESTS[] = {
    cmocka_unit_test(test_every_pair),   cmocka_unit_test(test_upgrade),
    cmocka_unit_test(test_same_network), cmocka_unit_test(test_dual_stack),
    cmocka_unit_test(test_no_flapping),  cmocka_unit_test(test_faults),
    cmocka_unit_test(test_drain),        cmocka_unit_test(test_relay_comes_back),
    cmocka_unit_test(test_idle_costs),   cmocka_unit_test(test_sleep),
    cmocka_unit_test(test_victim),
};

int main(void) {
    return cmocka_run_group_tests_name("paths", TESTS, NULL, NULL);
}
