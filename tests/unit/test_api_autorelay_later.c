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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_one_is_replaced),
        cmocka_unit_test(one_that_begins_to_lie_is_found_out),
        cmocka_unit_test(one_that_grows_much_worse_is_replaced),
        cmocka_unit_test(one_that_drains_is_replaced),
        cmocka_unit_test(all_of_them_die_and_come_back),
        cmocka_unit_test(candidates_may_come_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
