/* AutoRelay: relays that die, begin to lie, grow worse, drain, and come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autorelay_world.h"

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
        w.least = RELAYS;
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
        assert_true(w.least >= 2);
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

static int nothing_is_awake(void) {
    const atl_autorelay *ar = w.ar;

    for (size_t i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].timer.deadline != ATLAS_NO_DEADLINE || ar->slots[i].test != NULL) {
            return 0;
        }
    }
    return ar->look.deadline == ATLAS_NO_DEADLINE && ar->gather.deadline == ATLAS_NO_DEADLINE &&
           ar->compare.deadline == ATLAS_NO_DEADLINE && ar->measure == NULL &&
           !atl_autorelay_is_busy(ar);
}

static void set_idle(uint32_t on) {
    assert_int_equal(atlas_set_idle(w.node.ctx, on), ATLAS_OK);
    atl_autorelay_set_idle(w.ar, (int)on);
    sim_host_touch(w.node.host);
}

/* Whatever goes on when idle mode begins: it ends there, and goes on when the node wakes. */
static void a_node_that_sleeps_is_silent(void **state) {
    static const uint64_t WAITS[] = {0,
                                     60 * ATL_MS,
                                     120 * ATL_MS,
                                     300 * ATL_MS,
                                     450 * ATL_MS,
                                     600 * ATL_MS,
                                     5 * ATL_SECOND,
                                     90 * ATL_SECOND};

    (void)state;
    for (size_t i = 0; i < 2 * ATL_COUNT(WAITS); i++) {
        uint64_t sent;
        size_t chosen;

        begin(70 + i, 4);
        for (size_t k = i % 2 == 0 ? 4 : 2; k < w.n; k++) {
            sim_host_set_down(w.relays[k].host, 1); /* fewer than are wanted */
        }
        want(3);
        run(WAITS[i / 2]);
        set_idle(1);
        assert_true(nothing_is_awake());
        run(10 * ATL_SECOND); /* goodbyes */
        w.wants = 0;
        chosen = count_events(ATLAS_AUTORELAY_CHOSEN, RELAYS);
        sent = atl_endpoint_get_stats(w.node.ctx->ep)->tx_datagrams;
        for (size_t k = 0; k < 20; k++) {
            run(60 * ATL_SECOND);
            assert_true(nothing_is_awake());
        }
        assert_int_equal(w.wants, 0);
        assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, RELAYS), chosen);
        assert_int_equal(atl_endpoint_get_stats(w.node.ctx->ep)->tx_datagrams, sent);
        for (size_t k = 0; k < w.n; k++) {
            sim_host_set_down(w.relays[k].host, 0);
        }
        set_idle(0);
        if (w.n_serving < 3) {
            until(three_serve, 10 * ATL_SECOND);
        }
        run(20 * ATL_SECOND);
        assert_int_equal(w.n_serving, 3);
        finish();
    }
}

/* One more than was needed, that has failed the test once when another passed. */
static void a_surplus_liar_is_remembered(void **state) {
    atl_maddr liar;

    (void)state;
    begin(90, 2);
    w.lying = 3;
    want(1);
    while (w.ar->slots[0].failures + w.ar->slots[1].failures < 2) {
        run(5 * ATL_MS);
        assert_true(w.ar->slots[0].failures < 2 && w.ar->slots[1].failures < 2);
    }
    assert_int_equal(count_events(ATLAS_AUTORELAY_CHOSEN, RELAYS), 2);
    assert_int_equal(count_events(ATLAS_AUTORELAY_FAILED, RELAYS), 0);
    w.lying = 1;
    run(ATL_SECOND);
    assert_int_equal(w.n_serving, 1);
    assert_int_equal(serves(1), 1);
    liar = relay_addr(0);
    assert_int_not_equal(atl_relay_pool_bad_until(&w.ar->pool, &liar.peer, now()), 0);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_one_is_replaced),
        cmocka_unit_test(one_that_begins_to_lie_is_found_out),
        cmocka_unit_test(one_that_grows_much_worse_is_replaced),
        cmocka_unit_test(one_that_drains_is_replaced),
        cmocka_unit_test(all_of_them_die_and_come_back),
        cmocka_unit_test(candidates_may_come_late),
        cmocka_unit_test(a_node_that_sleeps_is_silent),
        cmocka_unit_test(a_surplus_liar_is_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
