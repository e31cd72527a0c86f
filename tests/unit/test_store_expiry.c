/* The wheel of the registry's store: what has expired goes in time, within the budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "testenv.h"

#include "storetest.h"

static void expires_in_time(void **state) {
    world w;
    storetest_put p;
    uint64_t start;

    (void)state;
    world_init(&w, 1000, 1000);
    start = w.now;
    assert_true(atl_record_store_deadline(w.store) == ATLAS_NO_DEADLINE);
    for (uint32_t i = 1; i <= 100; i++) {
        storetest_fill(&p, i, 1, 0, LEN);
        /* in any order, half a second between them, and some of them days away */
        p.put.expires = start + (i * 37 % 100 + 1) * SEC / 2;
        if (i > 90) {
            p.put.expires += 500000 * SEC;
        }
        assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_OK);
    }
    for (uint32_t half = 1; half <= 104; half++) {
        w.now = start + half * SEC / 2;
        for (uint32_t i = 1; i <= 100; i++) {
            assert_int_equal(has(&w, i), i > 90 || i * 37 % 100 + 1 > half);
        }
        assert_true(atl_record_store_deadline(w.store) <= w.now + SEC ||
                    atl_record_store_deadline(w.store) > start + 50 * SEC);
        if (half % 2 == 0) {
            while (atl_record_store_expire(w.store, w.now, 1) > 0) {
            }
            assert_true(w.stats->records >= 10);
            assert_true(atl_record_store_deadline(w.store) > w.now);
        }
    }
    assert_int_equal(w.stats->records, 10);
    assert_int_equal(w.stats->expired, 90);
    /* the others come due too early, and stay */
    for (uint32_t day = 1; day <= 5; day++) {
        w.now = start + day * 86400 * SEC;
        assert_int_equal(atl_record_store_expire(w.store, w.now, 100), 0);
        assert_int_equal(w.stats->records, 10);
        assert_true(atl_record_store_deadline(w.store) > w.now);
    }
    w.now = start + 500051 * SEC;
    assert_true(atl_record_store_deadline(w.store) <= w.now);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 100), 10);
    assert_true(atl_record_store_deadline(w.store) == ATLAS_NO_DEADLINE);
    world_done(&w);
}

static void the_budget_is_kept(void **state) {
    world w;

    (void)state;
    world_init(&w, 1000, 1000);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(put_from(&w, i, 1, 1, 1), ATLAS_OK);
    }
    assert_int_equal(atl_record_store_deadline(w.store), w.now + 3600 * SEC);
    pass(&w, 3600);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 30), 30);
    assert_int_equal(w.stats->records, 70);
    assert_true(atl_record_store_deadline(w.store) <= w.now);
    for (uint32_t i = 0; i < 100; i++) {
        assert_false(has(&w, i));
    }
    /* a put drops some, and what it replaces itself */
    assert_int_equal(put_from(&w, 99, 1, 1, 1), ATLAS_OK);
    assert_in_range(w.stats->records, 68, 69);
    (void)atl_record_store_expire(w.store, w.now, 66);
    assert_in_range(w.stats->records, 2, 3);
    (void)atl_record_store_expire(w.store, w.now, 1000);
    assert_int_equal(w.stats->records, 1);
    assert_true(has(&w, 99));
    world_done(&w);
}

/* A store that nobody has called for longer than its wheel reaches. */
static void sleeps_long(void **state) {
    world w;

    (void)state;
    world_init(&w, 1000, 1000);
    assert_int_equal(put_from(&w, 1, 1, 1, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 2, 1, 1, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 3, 1, 1, 1), ATLAS_OK);
    pass(&w, 10 * 86400);
    assert_int_equal(put_from(&w, 4, 1, 1, 1), ATLAS_OK);
    assert_true(has(&w, 4));
    assert_int_equal(w.stats->records, 2);
    assert_true(atl_record_store_deadline(w.store) <= w.now);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 1);
    assert_true(has(&w, 4));
    pass(&w, 3599);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 0);
    pass(&w, 1);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 1);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expires_in_time),
        cmocka_unit_test(the_budget_is_kept),
        cmocka_unit_test(sleeps_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
