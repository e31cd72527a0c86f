/* Learning how long a NAT keeps a mapping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "peer/keepalive.h"

#define S ATL_SECOND
#define HOUR (3600 * S)
#define FOREVER UINT64_MAX

/* A NAT on the way, and what goes wrong besides. */
typedef struct nat {
    uint64_t lifetime;
    uint32_t busy;      /* of 1000 silences: how many traffic ends early */
    uint32_t accidents; /* of 1000 silences: how many mappings die of something else */
    uint32_t seed;
} nat;

static uint32_t draw(nat *n) {
    n->seed = n->seed * 1664525u + 1013904223u; /* the constants of Numerical Recipes */
    return n->seed >> 8;
}

/* One silence; 1 when the mapping was lost. */
static int silence(atl_keepalive *k, nat *n) {
    uint64_t gap = atl_keepalive_interval(k);
    int accident = draw(n) % 1000 < n->accidents;

    if (draw(n) % 1000 < n->busy) {
        gap = gap * (draw(n) % 1000) / 1000;
    }
    if (gap >= n->lifetime || accident) {
        atl_keepalive_lost(k, gap);
        return 1;
    }
    atl_keepalive_survived(k, gap);
    return 0;
}

typedef struct row {
    uint64_t lifetime; /* seconds; 0: the mapping never ends */
    uint64_t max;      /* seconds */
    uint64_t low;      /* where the interval settles: milliseconds */
    uint64_t high;
    int losses; /* at most, on the way there */
    int steps;  /* silences until it has settled, at most */
} row;

/* Lifetimes: 20 s and 30 s are met on mobile networks and in nf_conntrack_udp_timeout, 120 s is
 * RFC 4787's minimum (REQ-5). */
static const row rows[] = {{20, 600, 15000, 19000, 2, 5},    {30, 600, 23000, 29000, 2, 6},
                           {60, 600, 45000, 59000, 2, 8},    {120, 600, 90000, 119000, 2, 10},
                           {0, 600, 600000, 600000, 0, 12},  {0, 60, 60000, 60000, 0, 5},
                           {60, 60, 45000, 59000, 1, 7},     {12, 60, 9000, 11999, 3, 8},
                           {7, 60, 5000, 6999, 3, 8},        {30, 20, 20000, 20000, 0, 2},
                           {20, 10, 10000, 10000, 0, 1},     {20, 1, 1000, 1000, 0, 1},
                           {300, 600, 225000, 299000, 3, 14}};

static void test_table(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const row *r = &rows[i];
        nat n = {.lifetime = r->lifetime == 0 ? FOREVER : r->lifetime * S};
        uint64_t settled;
        atl_keepalive k;
        int losses = 0;
        int j;

        atl_keepalive_init(&k, r->max * S);
        for (j = 0; j < r->steps; j++) {
            losses += silence(&k, &n);
        }
        settled = atl_keepalive_interval(&k);
        assert_in_range(settled / ATL_MS, r->low, r->high);
        assert_in_range(losses, 0, r->losses);
        /* and stays there, without another loss, for most of an hour */
        for (j = 0; j < (int)(HOUR / 2 / settled); j++) {
            assert_int_equal(silence(&k, &n), 0);
            assert_true(atl_keepalive_interval(&k) == settled);
        }
    }
}

/* The same with traffic that ends silences early, and accidents: bounds hold at every step, and
 * few mappings are lost to the NAT's own timeout. */
static void test_noise(void **state) {
    static const uint64_t lifetimes[] = {20, 30, 60, 120, 0};
    uint32_t seed;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(lifetimes) / sizeof(lifetimes[0]); i++) {
        for (seed = 1; seed <= 20; seed++) {
            nat n = {.lifetime = lifetimes[i] == 0 ? FOREVER : lifetimes[i] * S,
                     .busy = 300,
                     .accidents = 5,
                     .seed = seed};
            atl_keepalive k;
            uint64_t losses = 0;
            uint64_t time = 0;
            int j;

            atl_keepalive_init(&k, 600 * S);
            for (j = 0; j < 1000; j++) {
                time += atl_keepalive_interval(&k);
                losses += (uint64_t)silence(&k, &n);
                assert_in_range(atl_keepalive_interval(&k), 5 * S, 600 * S);
            }
            /* the bound is tried again every hour; some accidents come on top */
            assert_true(losses <= 15 + 3 * (time / HOUR));
            n.busy = n.accidents = 0;
            for (j = 0; j < 2000; j++) {
                (void)silence(&k, &n);
            }
            assert_true(atl_keepalive_interval(&k) >=
                        (n.lifetime == FOREVER ? 600 * S : n.lifetime / 10 * 6));
        }
    }
}

static void test_growth(void **state) {
    static const uint64_t ms[] = {15000, 22500, 33750, 50625, 60000, 60000};
    atl_keepalive k;
    size_t i;

    (void)state;
    atl_keepalive_init(&k, 60 * S);
    for (i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
        assert_int_equal(atl_keepalive_interval(&k), ms[i] * ATL_MS);
        /* several connections tell of the same silence; short ones tell nothing */
        atl_keepalive_survived(&k, ms[i] * ATL_MS);
        atl_keepalive_survived(&k, ms[i] * ATL_MS);
        atl_keepalive_survived(&k, 3 * S);
    }
}

static void test_bound(void **state) {
    atl_keepalive k;

    (void)state;
    atl_keepalive_init(&k, 60 * S);
    atl_keepalive_survived(&k, 15 * S);
    atl_keepalive_lost(&k, 30 * S);
    assert_int_equal(atl_keepalive_interval(&k), 22500 * ATL_MS); /* between the two */
    atl_keepalive_survived(&k, 22500 * ATL_MS);
    assert_int_equal(atl_keepalive_interval(&k), 24 * S); /* 20 % below what was lost */
    atl_keepalive_survived(&k, 24 * S);
    assert_int_equal(atl_keepalive_interval(&k), 24 * S);
    /* a longer silence survives: the bound was none */
    atl_keepalive_survived(&k, 31 * S);
    assert_int_equal(atl_keepalive_interval(&k), 46500 * ATL_MS);
}

static void test_forgets(void **state) {
    atl_keepalive k;
    int i;

    (void)state;
    atl_keepalive_init(&k, 60 * S);
    atl_keepalive_survived(&k, 15 * S);
    atl_keepalive_lost(&k, 20 * S);
    assert_int_equal(atl_keepalive_interval(&k), 16 * S);
    for (i = 0; i < 3600 / 16; i++) {
        atl_keepalive_survived(&k, 16 * S);
        assert_int_equal(atl_keepalive_interval(&k), i + 1 < 3600 / 16 ? 16 * S : 24 * S);
    }
}

static void test_odd_losses(void **state) {
    atl_keepalive k;

    (void)state;
    atl_keepalive_init(&k, 60 * S);
    atl_keepalive_lost(&k, 4 * S); /* no timeout is so short */
    assert_int_equal(atl_keepalive_interval(&k), 15 * S);
    atl_keepalive_survived(&k, 50 * S);
    assert_int_equal(atl_keepalive_interval(&k), 60 * S);
    atl_keepalive_lost(&k, 20 * S); /* contradicts: from the start again */
    assert_int_equal(atl_keepalive_interval(&k), 15 * S);
    atl_keepalive_lost(&k, 15 * S); /* and now it counts */
    assert_int_equal(atl_keepalive_interval(&k), 7500 * ATL_MS);
    atl_keepalive_lost(&k, 5 * S);
    assert_int_equal(atl_keepalive_interval(&k), 5 * S);
    atl_keepalive_survived(&k, UINT64_MAX);
    assert_int_equal(atl_keepalive_interval(&k), 60 * S);
}

static void test_max(void **state) {
    atl_keepalive k;

    (void)state;
    atl_keepalive_init(&k, 2 * S);
    assert_int_equal(atl_keepalive_interval(&k), 2 * S);
    atl_keepalive_set_max(&k, 60 * S);
    assert_int_equal(atl_keepalive_interval(&k), 5 * S);
    atl_keepalive_survived(&k, 40 * S);
    assert_int_equal(atl_keepalive_interval(&k), 60 * S);
    atl_keepalive_set_max(&k, 30 * S);
    assert_int_equal(atl_keepalive_interval(&k), 30 * S);
    atl_keepalive_lost(&k, 55 * S);
    atl_keepalive_set_max(&k, 600 * S); /* what was learned stays */
    assert_int_equal(atl_keepalive_interval(&k), 44 * S);
    atl_keepalive_reset(&k);
    assert_int_equal(atl_keepalive_interval(&k), 15 * S);
    atl_keepalive_survived(&k, 15 * S);
    assert_int_equal(atl_keepalive_interval(&k), 22500 * ATL_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),   cmocka_unit_test(test_noise),
        cmocka_unit_test(test_growth),  cmocka_unit_test(test_bound),
        cmocka_unit_test(test_forgets), cmocka_unit_test(test_odd_losses),
        cmocka_unit_test(test_max),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
