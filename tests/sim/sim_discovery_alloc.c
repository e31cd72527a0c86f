/* Allocation failure in discovery: every allocation from the wish to be found to the published
 * record, of a look-up, and of a dial by id fails once, alone and with all that follow it. Nothing
 * crashes, nothing leaks (sim_node_done() counts), and whatever was begun ends in exactly one final
 * event. One that fails alone harms nothing for long: the node is published all the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Steps, so that it does not take minutes. */
#ifdef __SANITIZE_ADDRESS__
#define SLOWLY 7
#else
#define SLOWLY 1
#endif

typedef struct trial {
    sim_net *net;
    sim_faults faults;
    sim_node boot;
    sim_node relay;
    sim_node a; /* is found */
    sim_node b; /* finds it */
    told found;
    uint64_t from; /* allocations before what is of interest, */
    uint64_t to;   /* and when it was over */
    int complete;
} trial;

static int run(trial *t, double seconds, int (*done)(void *user)) {
    return sim_run(t->net, sim_now(t->net) + (uint64_t)(seconds * 1e9), done, t);
}

static int relay_published(void *user) {
    const trial *t = user;

    return t->relay.found.advertise == ATLAS_ADVERTISE_PUBLISHED &&
           (t->relay.found.offers & ATLAS_OFFER_RELAY) != 0;
}

static int a_published(void *user) {
    const trial *t = user;

    return t->a.found.advertise == ATLAS_ADVERTISE_PUBLISHED && t->a.found.circuits > 0;
}

static int b_settled(void *user) {
    const trial *t = user;

    return t->b.connected > 0 || t->b.closed > 0;
}

static int looked_up(void *user) {
    return ((trial *)user)->found.ended;
}

/* ---- scenarios ---- */

/* Only what follows this is of interest. */
static void begin(trial *t) {
    t->from = t->faults.count;
}

static void servers(trial *t) {
    sim_node_init(&t->boot, t->net, "203.0.100.1", 1, 4001);
    sim_node_init(&t->relay, t->net, "198.51.100.1", 2, 4001);
    t->boot.faults = &t->faults;
    t->relay.faults = &t->faults;
    assert_int_equal(atlas_bootstrap_start(t->boot.ctx, NULL), ATLAS_OK);
    assert_int_equal(atlas_relay_start(t->relay.ctx), ATLAS_OK);
    assert_int_equal(atlas_bootstrap_add(t->relay.ctx, t->boot.addr), ATLAS_OK);
    assert_int_equal(atlas_advertise(t->relay.ctx, 1), ATLAS_OK);
    assert_true(run(t, 10, relay_published));
}

static int start(trial *t, sim_node *node, const char *ip, uint32_t seed) {
    return sim_node_try_init(node, t->net, ip, seed, 0, &t->faults) == ATLAS_OK &&
           atlas_bootstrap_add(node->ctx, t->boot.addr) == ATLAS_OK;
}

static int advertise_a(trial *t) {
    return start(t, &t->a, "192.0.10.9", 3) &&
           atlas_set_u64(t->a.ctx, ATLAS_OPT_AUTORELAY, 2) == ATLAS_OK &&
           atlas_set_u64(t->a.ctx, ATLAS_OPT_AUTORELAY_COUNT, 1) == ATLAS_OK &&
           atlas_listen(t->a.ctx) == ATLAS_OK && atlas_advertise(t->a.ctx, 1) == ATLAS_OK;
}

static void advertise(trial *t) {
    servers(t);
    begin(t);
    if (advertise_a(t)) {
        sim_host_touch(t->a.host);
        t->complete = run(t, t->faults.fail_on ? 20 : 90, a_published);
        if (t->faults.fail_at != 0 && !t->faults.fail_on && !t->complete) {
            fail_msg("allocation %llu has kept the node from being published",
                     (unsigned long long)t->faults.fail_at);
        }
    }
}

static void look_up(trial *t) {
    servers(t);
    assert_true(advertise_a(t));
    assert_true(run(t, 10, a_published));
    begin(t);
    if (start(t, &t->b, "192.0.11.9", 4) &&
        told_lookup(&t->found, &t->b, world_id(&t->a), NULL) == ATLAS_OK) {
        assert_true(run(t, 30, looked_up));
        assert_int_equal(t->found.ended, 1);
        t->complete = t->found.records == 1;
    }
}

static void dial(trial *t) {
    servers(t);
    assert_true(advertise_a(t));
    assert_true(run(t, 10, a_published));
    begin(t);
    if (!start(t, &t->b, "192.0.11.9", 4) || sim_node_dial(&t->b, world_id(&t->a), 0) != ATLAS_OK) {
        return;
    }
    sim_host_touch(t->b.host);
    assert_true(run(t, 40, b_settled));
    (void)run(t, 1, NULL);
    t->complete = t->b.connected > 0 && t->a.connected > 0;
    t->to = t->faults.count;
    if (t->b.conn != NULL) {
        int32_t rv = atlas_conn_close(t->b.conn, 7, "done");

        assert_true(rv == ATLAS_OK || rv == ATLAS_ERR_CLOSED);
        sim_host_touch(t->b.host);
    }
    (void)run(t, 40, NULL);
    assert_int_equal(t->b.finals, t->b.conns);
    assert_int_equal(t->a.finals, t->a.conns);
}

/* ---- each of them ---- */

static int once(void (*scenario)(trial *t), const sim_faults *faults, uint64_t *from,
                uint64_t *count) {
    static trial t;

    memset(&t, 0, sizeof(t));
    t.net = sim_new_quiet(7);
    t.faults = *faults;
    scenario(&t);
    *from = t.from;
    *count = t.to != 0 ? t.to : t.faults.count;
    sim_node_done(&t.a);
    sim_node_done(&t.b);
    sim_node_done(&t.relay);
    sim_node_done(&t.boot);
    sim_free(t.net);
    return t.complete;
}

static void each_failure(const char *name, void (*scenario)(trial *t), uint64_t stride) {
    sim_faults faults = {0, 0, 0};
    uint64_t survived = 0;
    uint64_t runs = 0;
    uint64_t total;
    uint64_t count;
    uint64_t from;
    uint64_t start_at;

    assert_true(once(scenario, &faults, &from, &total));
    start_at = from + 1;
    for (faults.fail_at = start_at; faults.fail_at <= total; faults.fail_at += stride) {
        for (faults.fail_on = 0; faults.fail_on < 2; faults.fail_on++) {
            if (getenv("SIM_ALLOC") != NULL) {
                fprintf(stderr, "%s: allocation %llu, mode %d\n", name,
                        (unsigned long long)faults.fail_at, faults.fail_on);
            }
            survived += (uint64_t)once(scenario, &faults, &from, &count);
            runs++;
        }
    }
    printf("%s: allocations %llu to %llu, %llu runs, %llu of them did their job all the same\n",
           name, (unsigned long long)start_at, (unsigned long long)total, (unsigned long long)runs,
           (unsigned long long)survived);
}

static void test_advertise(void **state) {
    (void)state;
    each_failure("advertise", advertise, 2 * SLOWLY);
}

static void test_look_up(void **state) {
    (void)state;
    each_failure("look-up", look_up, SLOWLY);
}

static void test_dial(void **state) {
    (void)state;
    each_failure("dial by id", dial, SLOWLY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advertise),
        cmocka_unit_test(test_look_up),
        cmocka_unit_test(test_dial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
