/* The own record over time: bootstrap nodes that forget, lie, or keep records for a short time;
 * clocks that are set, machines that sleep; a node that changes its mind; a bootstrap node that was
 * first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_world.h"

#include "api/context.h"
#include "discovery/registry_http.h"
#include "discovery/state.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define DAY_MS INT64_C(86400000)

/* Whether the registry of a bootstrap node has the record of some node. */
static int has_record(const sim_node *boot, const sim_node *node) {
    atl_record_view view;

    return atl_record_store_get(atl_registry_http_store(boot->ctx->registry), &node->ctx->self,
                                boot->ctx->loop.now, &view);
}

static int has(void *user) {
    const world *w = user;

    return has_record(&w->boots[0], &w->nodes[0]);
}

static int lacks(void *user) {
    return !has(user);
}

static int shut_down(void *user) {
    return ((const world *)user)->nodes[0].ctx->shutdown == ATL_SHUTDOWN_DONE;
}

static uint64_t puts_at(const sim_node *boot) {
    atlas_registry_stats stats = {.size = sizeof(stats)};

    assert_int_equal(atlas_registry_get_stats(boot->ctx, &stats), ATLAS_OK);
    return stats.puts;
}

static const world_plan ONE = {.boots = 1, .nodes = 1};

/* ---- minds and shutdowns ---- */

static void test_off_on_off(void **state) {
    atlas_ctx *ctx;
    world w;

    (void)state;
    world_init(&w, &ONE, 5);
    assert_true(world_run(&w, 20, world_published));
    ctx = w.nodes[0].ctx;
    assert_int_equal(atlas_advertise(ctx, 0), ATLAS_OK);
    assert_int_equal(atlas_advertise(ctx, 1), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    (void)world_run(&w, 0.02, NULL);
    assert_int_equal(atlas_advertise(ctx, 0), ATLAS_OK);
    assert_int_equal(atlas_advertise(ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_advertise(ctx, 0), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    assert_true(world_run(&w, 3, lacks));
    assert_int_equal(atlas_advertise(ctx, 1), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    assert_true(world_run(&w, 5, has));
    assert_int_equal(atlas_advertise(ctx, 0), ATLAS_OK);
    assert_int_equal(atlas_advertise(ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_shutdown(ctx, 0), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    assert_true(world_run(&w, 3, shut_down));
    assert_true(lacks(&w));
    world_done(&w);
}

/* ---- bootstrap nodes ---- */

/* Records are kept for five minutes there, while this node renews its own every twenty. */
static void test_short_ttl(void **state) {
    static const world_plan QUIET = {.boots = 1, .nodes = 1, .quiet = 1};
    world w;
    int i;

    (void)state;
    world_init(&w, &QUIET, 5);
    assert_int_equal(atlas_set_u64(w.boots[0].ctx, ATLAS_OPT_RECORD_LIFETIME_S, 300), ATLAS_OK);
    world_start_node(&w, 0);
    assert_true(world_run(&w, 20, world_published));
    for (i = 0; i < 60; i++) {
        (void)world_run(&w, 60, NULL);
        assert_true(has(&w));
    }
    world_done(&w);
}

/* It is killed, and begins anew with nothing in its memory. */
static void test_boot_forgets(void **state) {
    world w;

    (void)state;
    world_init(&w, &ONE, 6);
    assert_true(world_run(&w, 20, world_published));
    (void)world_run(&w, 10, NULL);
    sim_node_kill(&w.boots[0]);
    (void)world_run(&w, 5, NULL);
    sim_node_start(&w.boots[0], 4001);
    assert_int_equal(atlas_bootstrap_start(w.boots[0].ctx, NULL), ATLAS_OK);
    sim_host_touch(w.boots[0].host);
    assert_true(lacks(&w));
    assert_true(world_run(&w, 400, has));
    world_done(&w);
}

/* One that always claims to know a newer record: it is believed twice, and the others are not
 * troubled for it. */
static void test_liar(void **state) {
    static const world_plan TWO = {.boots = 2, .nodes = 1, .all_boots = 1, .quiet = 1};
    uint64_t before;
    world w;

    (void)state;
    world_init(&w, &TWO, 5);
    /* its registry has a record of this node that is a year newer, and always will */
    w.nodes[0].wall_offset = 10 * 60 * 1000;
    w.boots[1].wall_offset = 10 * 60 * 1000;
    world_start_node(&w, 0);
    assert_true(world_run(&w, 20, world_published));
    (void)world_run(&w, 5, NULL);
    w.nodes[0].wall_offset = 0;
    assert_int_equal(atlas_network_changed(w.nodes[0].ctx), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    before = puts_at(&w.boots[0]);
    (void)world_run(&w, 60, NULL);
    printf("%llu puts in a minute\n", (unsigned long long)(puts_at(&w.boots[0]) - before));
    assert_in_range(puts_at(&w.boots[0]) - before, 0, 12);
    assert_true(has(&w));
    world_done(&w);
}

/* ---- time ---- */

static void test_clock_is_set(void **state) {
    static const world_plan QUIET = {.boots = 1, .nodes = 1, .quiet = 1};
    world w;

    (void)state;
    world_init(&w, &QUIET, 5);
    w.nodes[0].wall_offset = -DAY_MS;
    world_start_node(&w, 0);
    (void)world_run(&w, 10, NULL);
    assert_true(lacks(&w));
    w.nodes[0].wall_offset = 0;
    assert_true(world_run(&w, 90, has));
    world_done(&w);
}

/* The machine sleeps for two hours, and nothing tells that it did. */
static void test_sleep(void **state) {
    world w;

    (void)state;
    world_init(&w, &ONE, 5);
    assert_true(world_run(&w, 20, world_published));
    (void)world_run(&w, 10, NULL);
    sim_host_freeze(w.nodes[0].host, SIM_ASLEEP);
    (void)world_run(&w, 7200, NULL);
    assert_true(lacks(&w));
    sim_host_freeze(w.nodes[0].host, SIM_AWAKE);
    sim_host_touch(w.nodes[0].host);
    assert_true(world_run(&w, 400, has));
    world_done(&w);
}

/* ---- changes of the network ---- */

/* Nothing has changed but that somebody says so: the relays stay, the record says what is true. */
static void test_relays_stay(void **state) {
    static const world_plan RELAYED = {
        .boots = 3, .relays = 5, .nodes = 1, .nat = {SIM_NAT_PORT_RESTRICTED}};
    world w;
    int replaced;
    int i;

    (void)state;
    world_init(&w, &RELAYED, 5);
    (void)world_run(&w, 20, NULL);
    assert_int_equal(w.nodes[0].found.serving, 3);
    replaced = w.nodes[0].found.replaced;
    assert_int_equal(atlas_network_changed(w.nodes[0].ctx), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    for (i = 0; i < 40; i++) {
        (void)world_run(&w, 0.25, NULL);
        assert_in_range(w.nodes[0].found.circuits, 2, 4);
    }
    assert_int_equal(w.nodes[0].found.replaced, replaced);
    world_done(&w);
}

static void on_query(void *user, atlas_query *query, const atlas_query_event *event) {
    (void)user;
    (void)query;
    (void)event;
}

/* A peer has moved: the record that was kept leads nowhere, the fresh one is dialled although a
 * bootstrap node does not answer. */
static void test_stale_record(void **state) {
    static const world_plan TWO = {.boots = 2, .nodes = 2, .all_boots = 1};
    uint64_t took;
    world w;

    (void)state;
    world_init(&w, &TWO, 5);
    assert_true(world_run(&w, 20, world_published));
    assert_int_equal(
        atlas_lookup(w.nodes[0].ctx, world_id(&w.nodes[1]), NULL, on_query, NULL, NULL), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    (void)world_run(&w, 30, NULL);
    sim_host_move(w.nodes[1].host, NULL, "192.0.77.7");
    assert_int_equal(atlas_network_changed(w.nodes[1].ctx), ATLAS_OK);
    sim_host_touch(w.nodes[1].host);
    (void)world_run(&w, 60, NULL);
    sim_host_set_down(w.boots[1].host, 1);
    assert_true(world_dial(&w, 0, 1, &took));
    printf("dialled in %.0f ms\n", (double)took / 1e6);
    assert_in_range(took, 1, SECOND);
    world_done(&w);
}

/* ---- bootstrap nodes among themselves ---- */

static void test_boot_no_longer_advertises(void **state) {
    static const world_plan TWO = {.boots = 2};
    world w;

    (void)state;
    world_init(&w, &TWO, 5);
    (void)world_run(&w, 20, NULL);
    assert_true(has_record(&w.boots[0], &w.boots[0]));
    assert_true(has_record(&w.boots[1], &w.boots[0]));
    assert_int_equal(atlas_advertise(w.boots[0].ctx, 0), ATLAS_OK);
    sim_host_touch(w.boots[0].host);
    (void)world_run(&w, 5, NULL);
    assert_false(has_record(&w.boots[0], &w.boots[0]));
    assert_false(has_record(&w.boots[1], &w.boots[0]));
    world_done(&w);
}

/* The first one of all takes itself for public; when it is told of others it asks them. */
static void test_first_of_all(void **state) {
    static const world_plan TWO = {.boots = 2};
    sim_node first;
    world w;

    (void)state;
    world_init(&w, &TWO, 5);
    sim_node_init(&first, w.net, "203.0.222.1", 99, 4001);
    assert_int_equal(atlas_bootstrap_start(first.ctx, NULL), ATLAS_OK);
    assert_int_equal(atlas_advertise(first.ctx, 1), ATLAS_OK);
    sim_host_touch(first.host);
    (void)world_run(&w, 5, NULL);
    assert_int_equal(first.found.advertise, ATLAS_ADVERTISE_PUBLISHED);
    assert_int_equal(first.found.directs, 1);
    assert_int_equal(atlas_bootstrap_add(first.ctx, w.boots[0].addr), ATLAS_OK);
    assert_int_equal(atlas_bootstrap_add(first.ctx, w.boots[1].addr), ATLAS_OK);
    sim_host_touch(first.host);
    (void)world_run(&w, 30, NULL);
    assert_int_equal(first.found.verdict[0], ATLAS_REACH_PUBLIC);
    assert_int_equal(first.found.directs, 1);
    assert_int_equal(first.found.nodes, 2);
    assert_true(has_record(&w.boots[1], &first));
    sim_node_done(&first);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_on_off),
        cmocka_unit_test(test_short_ttl),
        cmocka_unit_test(test_boot_forgets),
        cmocka_unit_test(test_liar),
        cmocka_unit_test(test_clock_is_set),
        cmocka_unit_test(test_sleep),
        cmocka_unit_test(test_relays_stay),
        cmocka_unit_test(test_stale_record),
        cmocka_unit_test(test_boot_no_longer_advertises),
        cmocka_unit_test(test_first_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
