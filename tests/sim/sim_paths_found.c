/* What the random mode has found, each in the smallest world in which it happened. In all of them
 * nothing is heard for seconds, the way is there again, and the transfer must go on: at once, not
 * after a time that depends on how long the silence was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "paths_fault.h"

#include <stdio.h>
#include <string.h>

#define PORT SIM_NAT_PORT_RESTRICTED
#define SYMM SIM_NAT_SYMMETRIC
#define MINUTE (60 * ATL_SECOND)
#define BEFORE (8 * ATL_SECOND)
#define AFTER (15 * ATL_SECOND)
#define BOUND (2 * ATL_SECOND)
#define BOUND_DARK (5 * ATL_SECOND) /* relays have to be dialled again first */
#define SEEDS 2

/* How a node is away. */
#define FROZEN 0 /* the process: acknowledgements wait in its socket, and look as late as it is */
#define ASLEEP 1 /* the machine: what it had not acknowledged before is acknowledged afterwards */
#define UNPLUGGED 2
#define APART 3

typedef struct absence {
    const char *name;
    paths_plan plan;
    uint32_t path;
    int how;
    uint64_t lasts;
} absence;

#define DIRECT_PLAN \
    { .nat_a = PORT, .nat_b = PORT, .relays = 1 }
#define RELAYED_PLAN \
    { .nat_a = SYMM, .nat_b = SYMM, .relays = 1 }
#define DIRECT(name, how, s) \
    { name, DIRECT_PLAN, ATLAS_PATH_DIRECT, how, (s)*ATL_SECOND }
#define RELAYED(name, how, s) \
    { name, RELAYED_PLAN, ATLAS_PATH_RELAY, how, (s)*ATL_SECOND }

static const absence ABSENCES[] = {
    DIRECT("direct, frozen for 12 s", FROZEN, 12),
    RELAYED("relayed, frozen for 12 s", FROZEN, 12),
    DIRECT("direct, asleep for 18 s", ASLEEP, 18),
    RELAYED("relayed, asleep for 7 s", ASLEEP, 7),
    DIRECT("direct, unplugged for 22 s", UNPLUGGED, 22),
    RELAYED("relayed, unplugged for 10 s", UNPLUGGED, 10),
    DIRECT("direct, apart for 5 s", APART, 5),
    DIRECT("direct, apart for 14 s", APART, 14),
};

static void be_away(sim_host *host, int how, int away) {
    switch (how) {
    case FROZEN:
        sim_host_freeze(host, away ? SIM_FROZEN : SIM_AWAKE);
        break;
    case ASLEEP:
        sim_host_freeze(host, away ? SIM_ASLEEP : SIM_AWAKE);
        break;
    case UNPLUGGED:
        sim_unplug(host, away);
        break;
    default:
        sim_set_side(host, away);
        break;
    }
}

static void connect_on(paths_world *w, const paths_plan *plan, uint32_t path, uint64_t seed) {
    assert_true(paths_world_init(w, plan, seed));
    assert_true(paths_connect(w));
    (void)paths_run(w, BEFORE, NULL);
    assert_int_equal(w->a.path, path);
    assert_int_equal(w->b.path, path);
}

/* The end of the transfer arrives, and nothing is missing. */
static void finish(paths_world *w, paths_app *sender, paths_app *receiver) {
    paths_app_stop(sender);
    sim_host_touch(sender->node.host);
    assert_true(paths_run(w, MINUTE, paths_received));
    paths_app_watch_end(receiver);
    assert_true(receiver->got_fin);
    assert_int_equal(receiver->got, sender->sent);
    assert_int_equal(receiver->wrong, 0);
}

static uint64_t run_absence(const absence *row, int sending, int side, uint64_t rate,
                            uint64_t seed) {
    paths_world w;
    paths_app *sender;
    paths_app *receiver;
    sim_host *host;
    uint64_t longest;

    connect_on(&w, &row->plan, row->path, seed);
    sender = sending == PATHS_A ? &w.a : &w.b;
    receiver = sending == PATHS_A ? &w.b : &w.a;
    host = (side == PATHS_A ? &w.a : &w.b)->node.host;
    paths_app_send(sender, rate);
    sim_host_touch(sender->node.host);
    (void)paths_run(&w, 2 * ATL_SECOND, NULL);
    be_away(host, row->how, 1);
    (void)paths_run(&w, row->lasts, NULL);
    be_away(host, row->how, 0);
    receiver->progress_at = sim_now(w.net); /* what counts is from now on */
    paths_app_watch(receiver);
    (void)paths_run(&w, AFTER, paths_ended);
    assert_int_equal(w.a.closed + w.b.closed, 0);
    assert_int_not_equal(w.a.path, ATLAS_PATH_NONE);
    assert_int_not_equal(w.b.path, ATLAS_PATH_NONE);
    finish(&w, sender, receiver);
    longest = receiver->longest;
    paths_world_done(&w);
    return longest;
}

static void test_absence(void **state) {
    size_t i;
    int n;

    (void)state;
    for (i = 0; i < ATL_COUNT(ABSENCES); i++) {
        for (n = 0; n < 8; n++) {
            uint64_t rate = n & 4 ? 50000 : 6000;
            uint64_t longest = run_absence(&ABSENCES[i], n & 1, n >> 1 & 1, rate, 40 + i % SEEDS);

            printf("%s: %s away, %s sends %llu a second: %.0f ms\n", ABSENCES[i].name,
                   n >> 1 & 1 ? "server" : "client", n & 1 ? "server" : "client",
                   (unsigned long long)rate, (double)longest / 1e6);
            assert_true(longest <= (ABSENCES[i].how >= UNPLUGGED ? BOUND_DARK : BOUND));
        }
    }
}

static int message_came(void *world) {
    return ((const paths_world *)world)->b.messages > 0;
}

/* The server was apart for so long that its registration has lapsed, and has come back on another
 * control connection: its end of the circuit was gone, and the client kept the other end for the
 * day when the direct path would die. A server that has nothing to say does not miss its client. */
static void test_lapsed_circuit(void **state) {
    static const paths_plan PLAN = DIRECT_PLAN;
    paths_world w;

    (void)state;
    connect_on(&w, &PLAN, ATLAS_PATH_DIRECT, 51);
    sim_set_side(w.b.node.host, 1);
    assert_int_equal(atlas_conn_send_message(w.a.conn, "hello", 5, NULL), ATLAS_OK);
    sim_host_touch(w.a.node.host);
    (void)paths_run(&w, 10 * ATL_SECOND, NULL);
    sim_set_side(w.b.node.host, 0);
    (void)paths_run(&w, 40 * ATL_SECOND, NULL);
    assert_int_equal(paths_app_announced(&w.b), 1);
    assert_true(paths_direct(&w));
    assert_int_equal(w.b.messages, 1);
    w.b.messages = 0;
    sim_cut(w.net, w.a.node.host, w.b.node.host, 1);
    assert_int_equal(atlas_conn_send_message(w.a.conn, "hello", 5, NULL), ATLAS_OK);
    sim_host_touch(w.a.node.host);
    assert_true(paths_run(&w, 2 * ATL_SECOND, message_came));
    assert_int_equal(w.a.path, ATLAS_PATH_RELAY);
    paths_world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absence),
        cmocka_unit_test(test_lapsed_circuit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
