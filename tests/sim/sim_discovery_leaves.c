/* Nodes that go away, come back with a wrong clock, and sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static const world_plan PLAN = {.boots = 3,
                                .relays = 5,
                                .nodes = 3,
                                .nat = {SIM_NAT_NONE, SIM_NAT_SYMMETRIC, SIM_NAT_PORT_RESTRICTED},
                                .all_boots = 1};

static size_t who; /* the node that a test is about */

/* How many bootstrap nodes that are up have the node's record as it is. */
static size_t holders(world *w, size_t node) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < w->plan.boots; i++) {
        uint64_t seq =
            sim_host_is_down(w->boots[i].host) ? 0 : boot_has(&w->boots[i], &w->nodes[node]);

        n += seq != 0 && seq == w->nodes[node].found.seq;
    }
    return n;
}

static int nobody_has_it(void *user) {
    world *w = user;
    size_t i;

    for (i = 0; i < w->plan.boots; i++) {
        if (!sim_host_is_down(w->boots[i].host) && boot_has(&w->boots[i], &w->nodes[who]) != 0) {
            return 0;
        }
    }
    return 1;
}

static int everybody_has_it(void *user) {
    world *w = user;

    return w->nodes[who].found.advertise == ATLAS_ADVERTISE_PUBLISHED &&
           holders(w, who) == w->plan.boots;
}

static int has_shut_down(void *user) {
    const world *w = user;

    return w->nodes[who].ctx->shutdown == ATL_SHUTDOWN_DONE;
}

/* ---- going away ---- */

/* Nobody finds a node that does not want to be found; and everybody does when it wants again. */
static void test_no_longer(void **state) {
    atlas_registry_stats stats;
    uint64_t begun;
    uint64_t seq;
    world w;
    told t;

    (void)state;
    world_init(&w, &PLAN, 121);
    assert_true(world_run(&w, 10, world_published));
    (void)world_run(&w, 60, NULL); /* the connections for requests have been closed meanwhile */
    for (who = 0; who < 2; who++) {
        seq = w.nodes[who].found.seq;
        begun = sim_now(w.net);
        assert_int_equal(atlas_advertise(w.nodes[who].ctx, 0), ATLAS_OK);
        sim_host_touch(w.nodes[who].host);
        assert_true(world_run(&w, 2, nobody_has_it));
        printf("deleted after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
        assert_in_range(sim_now(w.net) - begun, 1, SECOND);
        (void)world_run(&w, 30, NULL);
        assert_true(nobody_has_it(&w));
        assert_int_equal(w.nodes[who].found.advertise, ATLAS_ADVERTISE_OFF);
        assert_int_equal(w.nodes[who].found.serving, 0);
        boot_stats(&w.boots[0], &stats);
        assert_int_equal(stats.deletes, who + 1);
        assert_int_equal(told_lookup(&t, &w.nodes[2], world_id(&w.nodes[who]), NULL), ATLAS_OK);
        told_wait(&t, 6);
        assert_int_equal(t.code, ATLAS_ERR_RECORD_NOT_FOUND);
        assert_int_equal(t.records, 0);
        assert_int_equal(atlas_advertise(w.nodes[who].ctx, 1), ATLAS_OK);
        sim_host_touch(w.nodes[who].host);
        assert_true(world_run(&w, 10, everybody_has_it));
        assert_true(w.nodes[who].found.seq > seq);
        assert_true(world_dial(&w, 2, who, NULL));
        (void)world_run(&w, 1, NULL);
        assert_int_equal(atlas_conn_close(w.nodes[2].conn, 0, NULL), ATLAS_OK);
        sim_host_touch(w.nodes[2].host);
        (void)world_run(&w, 1, NULL);
    }
    world_done(&w);
}

/* Bootstrap nodes that do not answer hold nobody up. */
static void test_shutdown(void **state) {
    uint64_t begun;
    size_t down;
    world w;

    (void)state;
    for (down = 0; down < 3; down++) {
        world_init(&w, &PLAN, 122 + down);
        assert_true(world_run(&w, 10, world_published));
        (void)world_run(&w, 60, NULL);
        for (who = 0; who < down; who++) {
            sim_host_set_down(w.boots[who].host, 1);
        }
        for (who = 0; who < 3; who++) {
            begun = sim_now(w.net);
            assert_int_equal(atlas_shutdown(w.nodes[who].ctx, 1000), ATLAS_OK);
            sim_host_touch(w.nodes[who].host);
            assert_true(world_run(&w, 10, has_shut_down));
            printf("%zu down: shut down after %.2f s\n", down,
                   (double)(sim_now(w.net) - begun) / 1e9);
            assert_in_range(sim_now(w.net) - begun, 1, 2 * SECOND);
            assert_true(nobody_has_it(&w));
        }
        for (who = 0; who < down; who++) {
            sim_host_set_down(w.boots[who].host, 0);
        }
        world_done(&w);
    }
}

/* A bootstrap node that was away gets the record when it is back. */
static void test_boot_returns(void **state) {
    uint64_t begun;
    world w;

    (void)state;
    world_init(&w, &PLAN, 126);
    assert_true(world_run(&w, 10, world_published));
    sim_host_set_down(w.boots[1].host, 1);
    who = 1;
    /* another record meanwhile */
    for (w.dialler = 0; !sim_node_says_relay(&w.nodes[1], &w.relays[w.dialler]); w.dialler++) {
    }
    sim_host_set_down(w.relays[w.dialler].host, 1);
    (void)world_run(&w, 120, NULL);
    assert_int_equal(w.nodes[1].found.advertise, ATLAS_ADVERTISE_PUBLISHED);
    assert_int_equal(w.nodes[1].found.nodes, 2);
    assert_int_equal(holders(&w, 1), 2);
    begun = sim_now(w.net);
    sim_host_set_down(w.boots[1].host, 0);
    assert_true(world_run(&w, 120, everybody_has_it));
    printf("again after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
    assert_in_range(sim_now(w.net) - begun, 1, 90 * SECOND);
    sim_host_set_down(w.relays[w.dialler].host, 0);
    world_done(&w);
}

/* ---- coming back ---- */

/* The same key, and a clock that is behind: the numbers of before are higher. */
static void test_clock_behind(void **state) {
    static const int64_t OFFSETS[] = {-60000, -250000, 0, 250000, -250000};
    uint64_t begun;
    uint64_t before;
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 131);
    assert_true(world_run(&w, 10, world_published));
    who = 0;
    for (i = 0; i < ATL_COUNT(OFFSETS); i++) {
        before = w.nodes[0].found.seq;
        assert_int_equal(boot_has(&w.boots[0], &w.nodes[0]), before);
        sim_node_kill(&w.nodes[0]);
        (void)world_run(&w, 5, NULL);
        memset(&w.nodes[0].found, 0, sizeof(w.nodes[0].found));
        w.nodes[0].wall_offset = OFFSETS[i];
        sim_node_start(&w.nodes[0], 0);
        begun = sim_now(w.net);
        world_start_node(&w, 0);
        assert_true(world_run(&w, 10, everybody_has_it));
        printf("clock %lld ms: %llu after %llu, everywhere after %.2f s\n", (long long)OFFSETS[i],
               (unsigned long long)w.nodes[0].found.seq, (unsigned long long)before,
               (double)(sim_now(w.net) - begun) / 1e9);
        assert_true(w.nodes[0].found.seq > before);
        assert_in_range(sim_now(w.net) - begun, 1, 2 * SECOND);
        assert_true(world_dial(&w, 1, 0, NULL));
        (void)world_run(&w, 1, NULL);
        assert_int_equal(atlas_conn_close(w.nodes[1].conn, 0, NULL), ATLAS_OK);
        sim_host_touch(w.nodes[1].host);
        (void)world_run(&w, 1, NULL);
    }
    world_done(&w);
}

/* ---- sleeping ---- */

static const sim_host *sleeper;
static uint64_t sent;

static void count_sent(void *user, const sim_event *event) {
    (void)user;
    sent += event->what == SIM_SENT && event->host == sleeper;
}

static int right_again(void *user) {
    world *w = user;
    const sim_node *node = &w->nodes[who];

    return everybody_has_it(user) &&
           node->found.verdict[0] == (who == 0 ? ATLAS_REACH_PUBLIC : ATLAS_REACH_PRIVATE) &&
           (who == 0 ? node->found.directs == 1 : node->found.circuits == 3) &&
           (w->dialler >= WORLD_RELAYS || !sim_node_says_relay(node, &w->relays[w->dialler]));
}

/* Idle mode: not a packet, for longer than the record lives; and then all is as it should be, also
 * what has changed meanwhile. */
static void test_idle(void **state) {
    uint64_t begun;
    world w;

    (void)state;
    for (who = 0; who < 2; who++) {
        world_init(&w, &PLAN, 141 + who);
        assert_true(world_run(&w, 10, world_published));
        (void)world_run(&w, 20, NULL);
        assert_int_equal(atlas_set_idle(w.nodes[who].ctx, 1), ATLAS_OK);
        sim_host_touch(w.nodes[who].host);
        (void)world_run(&w, 100, NULL); /* what is under way ends, connections are closed */
        sleeper = w.nodes[who].host;
        sent = 0;
        sim_set_observer(w.net, count_sent, NULL);
        w.dialler = WORLD_RELAYS;
        if (who == 1) {
            for (w.dialler = 0; !sim_node_says_relay(&w.nodes[1], &w.relays[w.dialler]);
                 w.dialler++) {
            }
            sim_node_kill(&w.relays[w.dialler]);
        }
        (void)world_run(&w, 4000, NULL);
        printf("%llu packets in 4,000 s\n", (unsigned long long)sent);
        assert_int_equal(sent, 0);
        assert_true(nobody_has_it(&w)); /* it has expired */
        begun = sim_now(w.net);
        assert_int_equal(atlas_set_idle(w.nodes[who].ctx, 0), ATLAS_OK);
        sim_host_touch(w.nodes[who].host);
        assert_true(world_run(&w, 30, right_again));
        printf("right after %.2f s\n", (double)(sim_now(w.net) - begun) / 1e9);
        assert_in_range(sim_now(w.net) - begun, 1, 8 * SECOND);
        assert_true(world_dial(&w, 2, who, NULL));
        world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_longer),    cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_boot_returns), cmocka_unit_test(test_clock_behind),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
