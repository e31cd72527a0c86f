/* Token buckets and the per-source limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bucket.h"

#include <string.h>

#include "testenv.h"

static void starts_full_and_refills(void **state) {
    atl_bucket b;
    uint64_t now = 5 * ATL_SECOND;

    (void)state;
    atl_bucket_init(&b, 10, 3, now);
    assert_true(atl_bucket_take(&b, now, 3));
    assert_false(atl_bucket_take(&b, now, 1));
    assert_true(atl_bucket_wait(&b, now, 1) == 100 * ATL_MS);
    assert_true(atl_bucket_wait(&b, now, 3) == 300 * ATL_MS);
    assert_false(atl_bucket_take(&b, now + 100 * ATL_MS - 1, 1));
    assert_true(atl_bucket_take(&b, now + 100 * ATL_MS, 1));
    assert_false(atl_bucket_take(&b, now + 100 * ATL_MS, 1));
    /* never more than the burst, however long nobody came */
    now += 3600 * ATL_SECOND;
    assert_true(atl_bucket_wait(&b, now, 3) == 0);
    assert_true(atl_bucket_take(&b, now, 3));
    assert_false(atl_bucket_take(&b, now, 1));
}

static void more_than_the_burst_never_passes(void **state) {
    atl_bucket b;

    (void)state;
    atl_bucket_init(&b, 10, 3, 0);
    assert_false(atl_bucket_take(&b, 0, 4));
    assert_false(atl_bucket_take(&b, 0, UINT64_MAX));
    assert_true(atl_bucket_take(&b, 0, 3));                          /* nothing was taken before */
    assert_true(atl_bucket_wait(&b, 0, UINT64_MAX) == 300 * ATL_MS); /* as for a full bucket */
}

static void unlimited(void **state) {
    atl_bucket b;
    int i;

    (void)state;
    atl_bucket_init(&b, 0, 0, 0);
    for (i = 0; i < 100; i++) {
        assert_true(atl_bucket_take(&b, 0, UINT64_MAX));
        assert_true(atl_bucket_wait(&b, 0, UINT64_MAX) == 0);
    }
}

static void the_largest_values_do_not_overflow(void **state) {
    static const uint64_t VALUES[] = {1, UINT64_C(1) << 33, UINT64_MAX};
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(VALUES); i++) {
        for (k = 0; k < ATL_COUNT(VALUES); k++) {
            uint64_t burst = VALUES[k] < UINT64_C(1) << 33 ? VALUES[k] : UINT64_C(1) << 33;
            atl_bucket b;
            uint64_t wait;

            atl_bucket_init(&b, VALUES[i], VALUES[k], 0);
            assert_true(atl_bucket_take(&b, 0, burst));
            assert_false(atl_bucket_take(&b, 0, 1));
            wait = atl_bucket_wait(&b, 0, burst);
            assert_true(wait > 0);
            assert_false(atl_bucket_take(&b, wait - 1, burst));
            assert_true(atl_bucket_take(&b, wait, burst));
            assert_true(atl_bucket_take(&b, UINT64_MAX, burst)); /* full after ages */
            assert_false(atl_bucket_take(&b, UINT64_MAX, 1));
        }
    }
}

static void time_that_steps_back_gives_nothing(void **state) {
    atl_bucket b;
    int i;

    (void)state;
    atl_bucket_init(&b, 1, 1, 10 * ATL_SECOND);
    assert_true(atl_bucket_take(&b, 10 * ATL_SECOND, 1));
    for (i = 0; i < 10; i++) {
        assert_false(atl_bucket_take(&b, 9 * ATL_SECOND, 1));
        assert_false(atl_bucket_take(&b, 10 * ATL_SECOND, 1));
    }
    assert_true(atl_bucket_take(&b, 11 * ATL_SECOND, 1));
}

/* Many small steps give exactly what one large step gives: no rounding is lost or won. */
static void refills_are_exact(void **state) {
    atl_bucket b;
    testenv t;
    uint64_t now = 0;
    uint64_t taken = 50;

    (void)state;
    testenv_init(&t);
    atl_bucket_init(&b, 997, 50, 0);
    assert_true(atl_bucket_take(&b, 0, 50)); /* a full bucket would lose what comes */
    while (now < 100 * ATL_SECOND) {
        now += testenv_rand(&t) % (3 * ATL_MS);
        while (atl_bucket_take(&b, now, 1)) {
            taken++;
        }
    }
    assert_true(taken == 50 + now * 997 / ATL_SECOND);
}

/* A wait is the shortest one that suffices. */
static void waits_are_exact(void **state) {
    testenv t;
    int i;

    (void)state;
    testenv_init(&t);
    for (i = 0; i < 2000; i++) {
        uint64_t burst = 1 + testenv_rand(&t) % 2000;
        uint64_t n = 1 + testenv_rand(&t) % burst;
        uint64_t now = testenv_rand(&t) % ATL_SECOND;
        atl_bucket b;
        uint64_t wait;

        atl_bucket_init(&b, 1 + testenv_rand(&t) % 100000, burst, 0);
        (void)atl_bucket_take(&b, 0, burst - testenv_rand(&t) % burst);
        wait = atl_bucket_wait(&b, now, n);
        assert_true(wait == 0 || !atl_bucket_take(&b, now + wait - 1, n));
        assert_true(atl_bucket_take(&b, now + wait, n));
    }
}

/* ---- per source ---- */

static void each_source_has_its_own(void **state) {
    testenv t;
    atl_source_limit *limit;
    uint32_t source;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_source_limit_new(&t.env, 1024, 1, 2, &limit), ATLAS_OK);
    for (source = 0; source < 20; source++) {
        assert_true(atl_source_limit_take(limit, &source, 4, t.now));
        assert_true(atl_source_limit_take(limit, &source, 4, t.now));
        assert_false(atl_source_limit_take(limit, &source, 4, t.now));
    }
    source = 3;
    assert_true(atl_source_limit_take(limit, &source, 4, t.now + ATL_SECOND));
    assert_false(atl_source_limit_take(limit, &source, 4, t.now + ATL_SECOND));
    atl_source_limit_free(limit);
    testenv_done(&t);
}

/* A flood of invented sources needs no memory; one that keeps coming stays limited by its own
 * bucket. */
static void memory_is_fixed(void **state) {
    testenv t;
    atl_source_limit *limit;
    uint64_t source;
    size_t before;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_source_limit_new(&t.env, 64, 1, 1, &limit), ATLAS_OK);
    before = t.allocations;
    for (source = 0; source < 100000; source++) {
        (void)atl_source_limit_take(limit, &source, 8, t.now + source);
    }
    assert_int_equal(t.allocations, before);
    atl_source_limit_free(limit);
    testenv_done(&t);
}

static void the_least_recently_used_gives_way(void **state) {
    testenv t;
    atl_source_limit *limit;
    uint32_t source;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_source_limit_new(&t.env, 1, 1, 1, &limit), ATLAS_OK); /* one set of 4 */
    for (source = 0; source < 4; source++) {
        assert_true(atl_source_limit_take(limit, &source, 4, ++t.now));
    }
    source = 0; /* refused, but used */
    assert_false(atl_source_limit_take(limit, &source, 4, ++t.now));
    source = 4; /* takes the place of 1 */
    assert_true(atl_source_limit_take(limit, &source, 4, ++t.now));
    source = 0;
    assert_false(atl_source_limit_take(limit, &source, 4, ++t.now));
    source = 1;
    assert_true(atl_source_limit_take(limit, &source, 4, ++t.now));
    atl_source_limit_free(limit);
    testenv_done(&t);
}

static void a_new_rate_holds_at_once(void **state) {
    testenv t;
    atl_source_limit *limit;
    int i;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_source_limit_new(&t.env, 16, 1, 1, &limit), ATLAS_OK);
    assert_true(atl_source_limit_take(limit, "x", 1, t.now));
    assert_false(atl_source_limit_take(limit, "x", 1, t.now));
    atl_source_limit_set_rate(limit, 5, 5);
    for (i = 0; i < 5; i++) {
        assert_true(atl_source_limit_take(limit, "x", 1, t.now));
    }
    assert_false(atl_source_limit_take(limit, "x", 1, t.now));
    atl_source_limit_set_rate(limit, 0, 0);
    for (i = 0; i < 100; i++) {
        assert_true(atl_source_limit_take(limit, "x", 1, t.now));
    }
    atl_source_limit_free(limit);
    testenv_done(&t);
}

static void creation_fails_cleanly(void **state) {
    testenv t;
    atl_source_limit *limit = NULL;

    (void)state;
    testenv_init(&t);
    testenv_fail_next(&t, 1);
    assert_int_equal(atl_source_limit_new(&t.env, 16, 1, 1, &limit), ATLAS_ERR_NOMEM);
    t.fail_random = 1;
    assert_int_equal(atl_source_limit_new(&t.env, 16, 1, 1, &limit), ATLAS_ERR_RANDOM);
    assert_null(limit);
    atl_source_limit_free(NULL);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_full_and_refills),
        cmocka_unit_test(more_than_the_burst_never_passes),
        cmocka_unit_test(unlimited),
        cmocka_unit_test(the_largest_values_do_not_overflow),
        cmocka_unit_test(time_that_steps_back_gives_nothing),
        cmocka_unit_test(refills_are_exact),
        cmocka_unit_test(waits_are_exact),
        cmocka_unit_test(each_source_has_its_own),
        cmocka_unit_test(memory_is_fixed),
        cmocka_unit_test(the_least_recently_used_gives_way),
        cmocka_unit_test(a_new_rate_holds_at_once),
        cmocka_unit_test(creation_fails_cleanly),
    };

    return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
