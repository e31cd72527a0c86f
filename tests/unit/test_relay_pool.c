/* Candidates, and what is remembered of those that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/relay_pool.h"

#include "testenv.h"

#define MINUTE (60 * ATL_SECOND)
#define HOUR (60 * MINUTE)

static atl_peer_id peer_of(unsigned n) {
    atl_peer_id peer;

    memset(&peer, 0, sizeof(peer));
    peer.key[0] = (uint8_t)n;
    peer.key[1] = (uint8_t)(n >> 8);
    return peer;
}

static atl_addr addr_of(unsigned n) {
    const uint8_t ip[4] = {44, (uint8_t)(n >> 8), (uint8_t)n, 1};
    atl_addr addr;

    atl_addr_set4(&addr, ip, 4001);
    return addr;
}

static void offer(atl_relay_pool *pool, unsigned n, uint64_t now) {
    const atl_peer_id peer = peer_of(n);
    const atl_addr addr = addr_of(n);

    atl_relay_pool_offer(pool, &peer, &addr, now);
}

static atl_relay_pool_entry *find(const atl_relay_pool *pool, unsigned n) {
    const atl_peer_id peer = peer_of(n);

    return atl_relay_pool_find(pool, &peer, 4);
}

static void failed(atl_relay_pool *pool, unsigned n, int lied, uint64_t now) {
    const atl_peer_id peer = peer_of(n);

    atl_relay_pool_failed(pool, &peer, lied, now);
}

static uint64_t bad_until(const atl_relay_pool *pool, unsigned n, uint64_t now) {
    const atl_peer_id peer = peer_of(n);

    return atl_relay_pool_bad_until(pool, &peer, now);
}

static void candidates_are_bounded(void **state) {
    testenv t;
    atl_relay_pool pool;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    for (unsigned i = 0; i < ATL_POOL_MAX; i++) {
        offer(&pool, i, 100 + i);
    }
    assert_int_equal(pool.n, ATL_POOL_MAX);
    offer(&pool, 0, 1000); /* named again: not the oldest any more */
    assert_int_equal(pool.n, ATL_POOL_MAX);
    offer(&pool, 5000, 1001);
    assert_int_equal(pool.n, ATL_POOL_MAX);
    assert_non_null(find(&pool, 0));
    assert_non_null(find(&pool, 5000));
    assert_null(find(&pool, 1));
    assert_non_null(find(&pool, 2));
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

/* A relay with two addresses is named with both again and again. */
static void each_family_is_a_candidate(void **state) {
    const uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8};
    const atl_peer_id peer = peer_of(7);
    testenv t;
    atl_relay_pool pool;
    atl_addr addr6;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    atl_addr_set6(&addr6, ip, 0, 4001);
    for (unsigned i = 1; i < 4; i++) {
        offer(&pool, 7, i);
        atl_relay_pool_offer(&pool, &peer, &addr6, i);
        assert_int_equal(pool.n, 2);
        find(&pool, 7)->measured_at = i == 1 ? 5 : find(&pool, 7)->measured_at;
        atl_relay_pool_find(&pool, &peer, 6)->measured_at = 6;
    }
    assert_int_equal(find(&pool, 7)->measured_at, 5);
    assert_int_equal(find(&pool, 7)->addr.family, 4);
    assert_true(atl_addr_equal(&atl_relay_pool_find(&pool, &peer, 6)->addr, &addr6));
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

/* What was measured belongs to an address. */
static void another_address_is_another_candidate(void **state) {
    const atl_peer_id peer = peer_of(7);
    const atl_addr other = addr_of(8);
    testenv t;
    atl_relay_pool pool;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    offer(&pool, 7, 1);
    find(&pool, 7)->measured_at = 5;
    offer(&pool, 7, 2);
    assert_int_equal(find(&pool, 7)->measured_at, 5);
    atl_relay_pool_offer(&pool, &peer, &other, 3);
    assert_int_equal(pool.n, 1);
    assert_int_equal(find(&pool, 7)->measured_at, 0);
    assert_true(atl_addr_equal(&find(&pool, 7)->addr, &other));
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

/* Relays of one IP address may be one victim, named by many. */
static void one_address_has_few_relays(void **state) {
    const uint64_t now = 100 * ATL_SECOND;
    testenv t;
    atl_relay_pool pool;
    atl_addr addr = addr_of(1);
    atl_addr other = addr_of(2);
    atl_peer_id peer = peer_of(50);

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    for (unsigned i = 0; i < 6; i++) {
        const atl_peer_id at = peer_of(i);

        addr.port = (uint16_t)(1000 + i);
        assert_int_equal(atl_relay_pool_is_taken(&pool, &at, &addr, 20), i > 1);
        atl_relay_pool_offer(&pool, &at, &addr, 10 * (i + 1));
        assert_false(atl_relay_pool_is_taken(&pool, &at, &addr, 10 * (i + 1)));
        assert_true(atl_relay_pool_is_taken(&pool, &peer, &addr, 10 * (i + 1)));
        assert_false(atl_relay_pool_is_taken(&pool, &peer, &addr, 10 * (i + 1) + 1));
        assert_false(atl_relay_pool_is_taken(&pool, &peer, &other, 0));
        assert_int_equal(atl_relay_pool_is_crowded(&pool, find(&pool, i), now), i > 3);
        find(&pool, i)->sent_at = now;
    }
    offer(&pool, 2000, 70);
    assert_false(atl_relay_pool_is_crowded(&pool, find(&pool, 2000), now));
    assert_true(atl_relay_pool_is_crowded(&pool, find(&pool, 0), now + MINUTE - 1));
    assert_false(atl_relay_pool_is_crowded(&pool, find(&pool, 0), now + MINUTE));
    /* this machine is its own */
    for (unsigned i = 0; i < 6; i++) {
        const uint8_t ip[4] = {127, 0, 0, 1};
        const atl_peer_id at = peer_of(100 + i);

        atl_addr_set4(&addr, ip, (uint16_t)(1 + i));
        assert_false(atl_relay_pool_is_taken(&pool, &at, &addr, 0));
        atl_relay_pool_offer(&pool, &at, &addr, 1);
        assert_false(atl_relay_pool_is_crowded(&pool, find(&pool, 100 + i), now));
        find(&pool, 100 + i)->sent_at = now;
    }
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

static void failures_are_remembered_for_longer_each_time(void **state) {
    static const uint64_t WAITS[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360};
    uint64_t now = 1000 * ATL_SECOND;
    testenv t;
    atl_relay_pool pool;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    assert_int_equal(bad_until(&pool, 3, now), 0);
    for (size_t i = 0; i < ATL_COUNT(WAITS); i++) {
        failed(&pool, 3, 1, now);
        assert_int_equal(bad_until(&pool, 3, now), now + WAITS[i] * MINUTE);
        assert_int_equal(bad_until(&pool, 3, now + WAITS[i] * MINUTE), 0);
        offer(&pool, 3, now); /* being named clears nothing */
        assert_int_equal(bad_until(&pool, 3, now), now + WAITS[i] * MINUTE);
        assert_int_equal(bad_until(&pool, 4, now), 0);
        now += WAITS[i] * MINUTE + 20 * HOUR;
    }
    now += 5 * HOUR; /* more than a day */
    failed(&pool, 3, 1, now);
    assert_int_equal(bad_until(&pool, 3, now), now + MINUTE);
    assert_int_equal(pool.n_bad, 1);
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

static void failures_are_bounded(void **state) {
    testenv t;
    atl_relay_pool pool;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    failed(&pool, 9999, 1, 1);
    failed(&pool, 9999, 1, 2); /* twice: its time is over later than those of the next */
    for (unsigned i = 0; i < ATL_POOL_BAD_MAX; i++) {
        failed(&pool, i, 1, 10 + i);
    }
    assert_int_equal(pool.n_bad, ATL_POOL_BAD_MAX);
    assert_int_not_equal(bad_until(&pool, 9999, 300), 0);
    assert_int_equal(bad_until(&pool, 0, 300), 0);
    assert_int_not_equal(bad_until(&pool, 1, 300), 0);
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

static void another_network_forgives_what_it_may_have_done(void **state) {
    testenv t;
    atl_relay_pool pool;

    (void)state;
    testenv_init(&t);
    atl_relay_pool_init(&pool, &t.env);
    for (unsigned i = 0; i < 20; i++) {
        offer(&pool, i, 1);
        find(&pool, i)->measured_at = 1;
        failed(&pool, i, i % 3 == 0, 1);
    }
    atl_relay_pool_network_changed(&pool);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(bad_until(&pool, i, 2) != 0, i % 3 == 0);
        assert_int_equal(find(&pool, i)->measured_at, 0);
    }
    atl_relay_pool_free(&pool);
    testenv_done(&t);
}

static void networks_are_told_apart(void **state) {
    static const struct {
        const char *a;
        const char *b;
        int same;
    } rows[] = {
        {"203.0.113.1:1", "203.0.113.254:2", 1},
        {"203.0.113.1:1", "203.0.112.1:1", 0},
        {"[2001:db8:1:2::1]:1", "[2001:db8:1:ffff::9]:1", 1},
        {"[2001:db8:1::1]:1", "[2001:db8:2::1]:1", 0},
        {"[cb00:7100::1]:1", "203.0.113.0:1", 0},
        {"[::ffff:203.0.113.9]:1", "203.0.113.0:1", 1},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        atl_addr a;
        atl_addr b;

        assert_int_equal(atl_addr_parse(rows[i].a, &a), ATLAS_OK);
        assert_int_equal(atl_addr_parse(rows[i].b, &b), ATLAS_OK);
        assert_int_equal(atl_relay_pool_same_network(&a, &b), rows[i].same);
        assert_int_equal(atl_relay_pool_same_network(&b, &a), rows[i].same);
    }
}

static void memory_may_run_out(void **state) {
    testenv t;
    atl_relay_pool pool;

    (void)state;
    for (size_t at = 1; at < 8; at++) {
        testenv_init(&t);
        atl_relay_pool_init(&pool, &t.env);
        t.fail_at = at;
        t.fail_on = 1;
        for (unsigned i = 0; i < 100; i++) {
            offer(&pool, i, 1 + i);
            failed(&pool, i, 1, 1 + i);
        }
        /* full is what memory there is */
        assert_true(pool.n == pool.cap && pool.n_bad == pool.cap_bad);
        assert_int_equal(find(&pool, 99) != NULL, pool.n > 0);
        assert_int_equal(bad_until(&pool, 99, 200) != 0, pool.n_bad > 0);
        atl_relay_pool_free(&pool);
        testenv_done(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidates_are_bounded),
        cmocka_unit_test(each_family_is_a_candidate),
        cmocka_unit_test(another_address_is_another_candidate),
        cmocka_unit_test(one_address_has_few_relays),
        cmocka_unit_test(failures_are_remembered_for_longer_each_time),
        cmocka_unit_test(failures_are_bounded),
        cmocka_unit_test(another_network_forgives_what_it_may_have_done),
        cmocka_unit_test(networks_are_told_apart),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
