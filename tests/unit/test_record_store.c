/* The registry's memory: newest records only, limits and who makes way, expiry, lists, samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "testenv.h"

#include "storetest.h"

/* ---- one record ---- */

static void keeps_the_newest(void **state) {
    static const struct {
        uint64_t seq;
        uint8_t text;
        int32_t expect;
        uint64_t then; /* sequence number that is there afterwards */
    } steps[] = {
        {5, 0, ATLAS_OK, 5},
        {5, 0, ATLAS_ERR_EXISTS, 5},
        {5, 1, ATLAS_ERR_RECORD_OLD, 5},
        {4, 0, ATLAS_ERR_RECORD_OLD, 5},
        {6, 0, ATLAS_OK, 6},
        {5, 0, ATLAS_ERR_RECORD_OLD, 6},
        {INT64_MAX, 2, ATLAS_OK, INT64_MAX},
        {0, 0, ATLAS_ERR_RECORD_OLD, INT64_MAX},
    };
    world w;

    (void)state;
    world_init(&w, 10, 10);
    for (size_t i = 0; i < ATL_COUNT(steps); i++) {
        storetest_put p;
        atl_record_view view;

        storetest_fill(&p, 1, steps[i].seq, steps[i].text, LEN + i);
        if (steps[i].expect == ATLAS_ERR_EXISTS) {
            p.put.len = LEN;
        }
        p.put.expires = w.now + 3600 * SEC;
        assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), steps[i].expect);
        view = view_of(&w, 1);
        assert_int_equal(view.seq, steps[i].then);
        if (steps[i].expect == ATLAS_OK) {
            assert_int_equal(view.len, LEN + i);
            assert_memory_equal(view.data, p.data, view.len);
            assert_memory_equal(&view.peer, &p.head.peer, sizeof(view.peer));
        }
        assert_int_equal(seq_of(&w, 1), steps[i].then);
    }
    assert_int_equal(w.stats->records, 1);
    assert_int_equal(w.stats->puts, 3);
    assert_int_equal(w.stats->refreshed, 1);
    assert_int_equal(w.stats->refused_old, 4);
    assert_false(has(&w, 2));
    assert_int_equal(seq_of(&w, 2), 0);
    assert_int_equal(expires_of(&w, 2), 0);
    world_done(&w);
}

static void refuses_what_makes_no_sense(void **state) {
    world w;
    storetest_put p;

    (void)state;
    world_init(&w, 10, 10);
    storetest_fill(&p, 1, 1, 0, ATL_RECORD_MAX);
    p.put.expires = w.now;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_ERR_RECORD_EXPIRED);
    p.put.expires = w.now + 1;
    p.put.len = ATL_RECORD_MAX + 1;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_ERR_TOO_LARGE);
    p.put.len = 0;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_ERR_INVALID);
    assert_int_equal(w.stats->records, 0);
    p.put.len = ATL_RECORD_MAX;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_OK);
    assert_int_equal(view_of(&w, 1).len, ATL_RECORD_MAX);
    world_done(&w);
}

static void a_deleted_record_does_not_come_back(void **state) {
    world w;

    (void)state;
    world_init(&w, 10, 10);
    assert_false(delete (&w, 1));
    assert_int_equal(put_from(&w, 1, 5, 0, 1), ATLAS_OK);
    assert_true(delete (&w, 1));
    assert_false(delete (&w, 1));
    assert_false(has(&w, 1));
    assert_int_equal(seq_of(&w, 1), 5);
    assert_int_equal(w.stats->records, 0);
    assert_int_equal(w.stats->tombstones, 1);
    assert_int_equal(w.stats->deleted, 1);
    assert_int_equal(put_from(&w, 1, 5, 0, 1), ATLAS_ERR_RECORD_OLD);
    assert_int_equal(put_from(&w, 1, 4, 0, 1), ATLAS_ERR_RECORD_OLD);
    assert_false(has(&w, 1));
    assert_int_equal(put_from(&w, 1, 6, 0, 0), ATLAS_OK);
    assert_false(view_of(&w, 1).verified);
    assert_int_equal(w.stats->records, 1);
    assert_int_equal(w.stats->tombstones, 0);
    world_done(&w);
}

/* A tombstone stays until nobody would take the record any more. */
static void tombstones_outlive_the_record(void **state) {
    static const struct {
        int64_t issued;         /* relative to the clock; -1000000: not said */
        uint64_t lifetime, ttl; /* seconds */
        uint64_t drift;
        uint64_t least, most; /* seconds from the deletion */
    } rows[] = {
        {0, 3600, 3600, 0, 3600, 3602},
        {0, 7200, 600, 0, 7200, 7202},
        {-600, 3600, 600, 0, 3000, 3002},
        {-600, 3600, 600, 100, 3100, 3102},
        {-3600, 3600, 600, 0, 600, 602},          /* over, but for the drift: the store's limit */
        {50, 86400, 600, 100, 86500, 86502},      /* at most */
        {-1000000, 3600, 600, 100, 86500, 86502}, /* nobody knows: a day */
        {0, UINT64_MAX, 600, 0, 86400, 86402},
        {0, 0, 600, 0, 3600, 3602}, /* not said: an hour */
        {0, 3600, 40000, 0, 40000, 40000},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        world w;
        storetest_put p;
        uint64_t left;

        world_init(&w, 10, 10);
        atl_record_store_limits_of(w.store)->drift = rows[i].drift;
        storetest_fill(&p, 1, 1, 0, LEN);
        if (rows[i].issued != -1000000) {
            p.head.issued = (uint64_t)(w.t.wall / 1000 + rows[i].issued);
        }
        p.head.lifetime = rows[i].lifetime;
        p.put.expires = w.now + rows[i].ttl * SEC;
        assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_OK);
        assert_true(delete (&w, 1));
        left = (expires_of(&w, 1) - w.now) / SEC;
        assert_in_range(left, rows[i].least, rows[i].most);
        /* it is dropped at that time and not before */
        pass(&w, left - 1);
        assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 0);
        assert_int_equal(put_from(&w, 1, 1, 0, 1), ATLAS_ERR_RECORD_OLD);
        pass(&w, 2);
        assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 1);
        assert_int_equal(w.stats->tombstones, 0);
        world_done(&w);
    }
}

static void buries(void **state) {
    world w;
    atl_peer_id id = storetest_peer(1);
    atl_peer_id other = storetest_peer(2);
    atl_addr addr = storetest_v4(1);
    uint64_t end;

    (void)state;
    world_init(&w, 2, 10);
    end = w.now + 10 * SEC;
    assert_int_equal(atl_record_store_bury(w.store, &id, 7, &addr, end, w.now), ATLAS_OK);
    assert_int_equal(seq_of(&w, 1), 7);
    assert_int_equal(expires_of(&w, 1), end);
    assert_false(has(&w, 1));
    assert_int_equal(put_from(&w, 1, 7, 1, 1), ATLAS_ERR_RECORD_OLD);
    assert_int_equal(atl_record_store_bury(w.store, &id, 6, &addr, end, w.now),
                     ATLAS_ERR_RECORD_OLD);
    assert_int_equal(put_from(&w, 1, 8, 1, 1), ATLAS_OK);
    assert_int_equal(atl_record_store_bury(w.store, &id, 8, &addr, end, w.now), ATLAS_OK);
    assert_false(has(&w, 1));
    assert_int_equal(atl_record_store_bury(w.store, &other, 1, &addr, w.now, w.now),
                     ATLAS_ERR_RECORD_EXPIRED);
    assert_int_equal(w.stats->tombstones, 1);
    /* they have their bounds as records do */
    assert_int_equal(put_from(&w, 3, 1, 1, 1), ATLAS_OK);
    assert_int_equal(atl_record_store_bury(w.store, &other, 1, &addr, end, w.now),
                     ATLAS_ERR_RECORD_LIMIT);
    world_done(&w);
}

/* ---- who may change what ---- */

static void strangers_change_nothing_of_a_verified_record(void **state) {
    world w;
    uint64_t first;

    (void)state;
    world_init(&w, 10, 1);
    assert_int_equal(put_from(&w, 1, 1, 0, 1), ATLAS_OK);
    first = expires_of(&w, 1);
    pass(&w, 60);
    /* a replay: a success, and nothing happens */
    assert_int_equal(put_from(&w, 1, 1, 5, 0), ATLAS_ERR_EXISTS);
    assert_true(view_of(&w, 1).verified);
    assert_int_equal(expires_of(&w, 1), first);
    /* it is not charged to the stranger: his address has room */
    assert_int_equal(put_from(&w, 2, 1, 5, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 3, 1, 0, 1), ATLAS_ERR_RECORD_LIMIT);
    /* a newer record of the node, brought by a stranger: it counts, as long as the old one did */
    assert_int_equal(put_from(&w, 1, 2, 6, 0), ATLAS_OK);
    assert_int_equal(view_of(&w, 1).seq, 2);
    assert_true(view_of(&w, 1).verified);
    assert_int_equal(expires_of(&w, 1), first);
    assert_int_equal(put_from(&w, 4, 1, 0, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(put_from(&w, 4, 1, 6, 1), ATLAS_OK);
    /* the address that it is charged to renews it */
    assert_int_equal(put_from(&w, 1, 2, 0, 0), ATLAS_ERR_EXISTS);
    assert_int_equal(expires_of(&w, 1), w.now + 3600 * SEC);
    assert_true(view_of(&w, 1).verified);
    assert_int_equal(put_from(&w, 1, 3, 0, 0), ATLAS_OK);
    assert_true(view_of(&w, 1).verified);
    /* the node itself moves it, and its old address has room again */
    pass(&w, 60);
    assert_int_equal(put_from(&w, 1, 3, 7, 1), ATLAS_ERR_EXISTS);
    assert_int_equal(expires_of(&w, 1), w.now + 3600 * SEC);
    assert_int_equal(put_from(&w, 5, 1, 0, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 6, 1, 7, 1), ATLAS_ERR_RECORD_LIMIT);
    /* unless there is no room where it wants to go */
    assert_int_equal(put_from(&w, 1, 3, 0, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(put_from(&w, 1, 4, 0, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(view_of(&w, 1).seq, 3);
    world_done(&w);
}

static void unverified_records_belong_to_who_brought_them(void **state) {
    world w;
    uint64_t first;

    (void)state;
    world_init(&w, 10, 1);
    assert_int_equal(put_from(&w, 1, 1, 0, 0), ATLAS_OK);
    first = expires_of(&w, 1);
    pass(&w, 60);
    assert_int_equal(put_from(&w, 1, 1, 1, 0), ATLAS_ERR_EXISTS);
    assert_int_equal(expires_of(&w, 1), first);
    assert_int_equal(put_from(&w, 1, 1, 0, 0), ATLAS_ERR_EXISTS);
    assert_int_equal(expires_of(&w, 1), w.now + 3600 * SEC);
    /* a newer one is charged to its new source */
    assert_int_equal(put_from(&w, 1, 2, 1, 0), ATLAS_OK);
    assert_int_equal(put_from(&w, 2, 1, 0, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 3, 1, 1, 1), ATLAS_OK); /* 1 makes way */
    assert_false(has(&w, 1));
    /* the node itself makes it verified */
    assert_int_equal(put_from(&w, 4, 1, 2, 0), ATLAS_OK);
    assert_int_equal(put_from(&w, 4, 1, 2, 1), ATLAS_ERR_EXISTS);
    assert_true(view_of(&w, 4).verified);
    assert_int_equal(put_from(&w, 5, 1, 2, 0), ATLAS_ERR_RECORD_LIMIT);
    world_done(&w);
}

static void an_expiry_never_comes_earlier(void **state) {
    world w;
    storetest_put p;

    (void)state;
    world_init(&w, 10, 10);
    assert_int_equal(put_from(&w, 1, 1, 0, 1), ATLAS_OK);
    storetest_fill(&p, 1, 1, 0, LEN);
    p.put.verified = 1;
    p.put.expires = w.now + SEC;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_ERR_EXISTS);
    assert_int_equal(expires_of(&w, 1), w.now + 3600 * SEC);
    /* a newer record may say so */
    storetest_fill(&p, 1, 2, 0, LEN);
    p.put.expires = w.now + SEC;
    assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_OK);
    assert_int_equal(expires_of(&w, 1), w.now + SEC);
    assert_int_equal(atl_record_store_deadline(w.store), w.now + SEC);
    world_done(&w);
}

/* ---- limits ---- */

static void the_oldest_unverified_makes_way(void **state) {
    world w;

    (void)state;
    world_init(&w, 3, 10);
    assert_int_equal(put_from(&w, 1, 1, 1, 0), ATLAS_OK);
    assert_int_equal(put_from(&w, 2, 1, 2, 1), ATLAS_OK);
    assert_int_equal(put_from(&w, 3, 1, 3, 0), ATLAS_OK);
    assert_int_equal(put_from(&w, 1, 1, 1, 0), ATLAS_ERR_EXISTS); /* renewed: 3 is the oldest */
    assert_int_equal(put_from(&w, 4, 1, 4, 0), ATLAS_OK);
    assert_true(has(&w, 1) && has(&w, 2) && !has(&w, 3) && has(&w, 4));
    assert_int_equal(put_from(&w, 5, 1, 4, 1), ATLAS_OK);
    assert_true(!has(&w, 1) && has(&w, 2) && has(&w, 4) && has(&w, 5));
    assert_int_equal(put_from(&w, 6, 1, 4, 1), ATLAS_OK);
    assert_false(has(&w, 4));
    assert_int_equal(w.stats->evicted, 3);
    assert_int_equal(put_from(&w, 7, 1, 4, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(put_from(&w, 7, 1, 4, 0), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(w.stats->refused_full, 2);
    assert_int_equal(w.stats->records, 3);
    /* what is there can be renewed and deleted all the same */
    assert_int_equal(put_from(&w, 2, 2, 2, 1), ATLAS_OK);
    assert_true(delete (&w, 2));
    world_done(&w);
}

static void tombstones_make_way_for_verified_records_only(void **state) {
    world w;

    (void)state;
    world_init(&w, 3, 10);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(put_from(&w, i, 1, i, 1), ATLAS_OK);
    }
    assert_true(delete (&w, 2));
    assert_true(delete (&w, 1));
    assert_int_equal(put_from(&w, 4, 1, 4, 0), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(put_from(&w, 4, 1, 4, 1), ATLAS_OK); /* the oldest tombstone went */
    assert_int_equal(seq_of(&w, 2), 0);
    assert_int_equal(seq_of(&w, 1), 1);
    /* unverified ones come and go, and no tombstone with them */
    pass(&w, 3601);
    assert_int_equal(atl_record_store_expire(w.store, w.now, 10), 2);
    assert_int_equal(put_from(&w, 5, 1, 5, 1), ATLAS_OK);
    assert_true(delete (&w, 5));
    for (uint32_t i = 10; i < 30; i++) {
        assert_int_equal(put_from(&w, i, 1, i, 0), ATLAS_OK);
    }
    assert_int_equal(seq_of(&w, 5), 1);
    /* nor do verified ones take one as long as an unverified one is there */
    assert_int_equal(put_from(&w, 40, 1, 5, 1), ATLAS_OK);
    assert_int_equal(seq_of(&w, 5), 1);
    assert_int_equal(w.stats->tombstones, 2);
    world_done(&w);
}

static void each_address_has_its_share(void **state) {
    atl_addr v4 = storetest_v4(1);
    atl_addr net = storetest_v6(1, 1);
    atl_addr same_net = storetest_v6(1, 2);
    atl_addr other_net = storetest_v6(2, 1);
    atl_addr none;
    world w;

    (void)state;
    world_init(&w, 100, 2);
    atl_record_store_limits_of(w.store)->max_per_ipv6_64 = 3;
    assert_int_equal(put(&w, 1, 1, &v4, 1), ATLAS_OK);
    assert_int_equal(put(&w, 2, 1, &v4, 0), ATLAS_OK);
    assert_int_equal(put(&w, 3, 1, &net, 0), ATLAS_OK);
    assert_int_equal(put(&w, 4, 1, &same_net, 0), ATLAS_OK);
    assert_int_equal(put(&w, 5, 1, &net, 1), ATLAS_OK);
    assert_int_equal(put(&w, 6, 1, &other_net, 0), ATLAS_OK);
    /* its own oldest unverified one makes way, though others' are older */
    assert_int_equal(put(&w, 7, 1, &same_net, 1), ATLAS_OK);
    assert_true(has(&w, 2) && !has(&w, 3) && has(&w, 4) && has(&w, 6));
    assert_int_equal(put(&w, 8, 1, &net, 1), ATLAS_OK);
    assert_false(has(&w, 4));
    assert_int_equal(put(&w, 9, 1, &net, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(put(&w, 10, 1, &v4, 1), ATLAS_OK);
    assert_false(has(&w, 2));
    assert_int_equal(put(&w, 11, 1, &v4, 0), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(w.stats->refused_ipv4, 1);
    assert_int_equal(w.stats->refused_ipv6, 1);
    /* tombstones count, and stay */
    assert_true(delete (&w, 10));
    assert_int_equal(put(&w, 11, 1, &v4, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(seq_of(&w, 10), 1);
    assert_int_equal(put(&w, 10, 2, &v4, 1), ATLAS_OK);
    /* what is charged to nobody has no such limit */
    memset(&none, 0, sizeof(none));
    for (uint32_t i = 20; i < 30; i++) {
        assert_int_equal(put(&w, i, 1, &none, 1), ATLAS_OK);
    }
    world_done(&w);
}

static void lowered_limits_are_approached(void **state) {
    world w;

    (void)state;
    world_init(&w, 100, 100);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(put_from(&w, i, 1, i % 2, 0), ATLAS_OK);
    }
    atl_record_store_limits_of(w.store)->max_records = 10;
    for (uint32_t i = 20; i < 30; i++) {
        assert_int_equal(put_from(&w, i, 1, 2, 0), ATLAS_OK);
        assert_int_equal(w.stats->records, 20 - (i - 19));
    }
    assert_int_equal(put_from(&w, 30, 1, 3, 0), ATLAS_OK);
    assert_int_equal(w.stats->records, 10);
    atl_record_store_limits_of(w.store)->max_per_ipv4 = 4;
    assert_int_equal(put_from(&w, 31, 1, 2, 0), ATLAS_OK);
    assert_int_equal(w.stats->records, 9);
    atl_record_store_limits_of(w.store)->max_records = 0;
    assert_int_equal(put_from(&w, 32, 1, 9, 0), ATLAS_ERR_RECORD_LIMIT);
    world_done(&w);
}

/* ---- memory ---- */

static void memory_is_counted(void **state) {
    enum { RECORDS = 50000, BYTES = 400 };
    world w;
    storetest_put p;
    uint64_t empty;
    size_t blocks;

    (void)state;
    world_init(&w, RECORDS, RECORDS);
    empty = w.stats->bytes;
    blocks = w.t.live;
    assert_true(empty < 64 * 1024);
    for (uint32_t i = 0; i < RECORDS; i++) {
        storetest_fill(&p, i, 1, 0, BYTES);
        p.source = storetest_v4(i); /* the worst: each from an address of its own */
        p.put.expires = w.now + (3600 + i % 600) * SEC;
        assert_int_equal(atl_record_store_put(w.store, &p.put, w.now), ATLAS_OK);
    }
    assert_true(w.stats->bytes > (uint64_t)RECORDS * BYTES);
    assert_true(w.stats->bytes < (uint64_t)RECORDS * (BYTES + 155));
    for (uint32_t i = 0; i < RECORDS; i++) {
        assert_true(has(&w, i));
        assert_true(delete (&w, i));
    }
    assert_true(w.stats->bytes < (uint64_t)RECORDS * 155);
    pass(&w, 2 * 86400);
    assert_int_equal(atl_record_store_expire(w.store, w.now, SIZE_MAX), RECORDS);
    /* everything is given back, but for the last chunks and directories */
    assert_true(w.stats->bytes < empty + 64 * 1024);
    assert_true(w.t.live < blocks + 8);
    world_done(&w);
}

static void one_life(testenv *t, void *user) {
    atl_record_store_limits limits;
    atl_record_store *store = NULL;
    atl_record_view views[4];
    storetest_put p;

    (void)user;
    memset(&limits, 0, sizeof(limits));
    limits.max_records = 3;
    limits.max_per_ipv4 = 2;
    if (atl_record_store_new(&t->env, &limits, &store) != ATLAS_OK) {
        assert_null(store);
        return;
    }
    for (uint32_t i = 0; i < 12; i++) {
        const atl_record_store_stats *stats = atl_record_store_get_stats(store);
        uint64_t records = stats->records;
        uint64_t seq;
        int32_t rc;

        storetest_fill(&p, i % 4, i, 0, LEN);
        p.head.offers = i % 3 * 3;
        p.source = storetest_v4(i % 5);
        p.put.verified = i % 6 == 0;
        p.put.expires = t->now + (i + 1) * 1000 * SEC;
        seq = atl_record_store_seq(store, &p.head.peer);
        rc = atl_record_store_put(store, &p.put, t->now);
        assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_NOMEM || rc == ATLAS_ERR_RECORD_LIMIT ||
                    rc == ATLAS_ERR_EXISTS || rc == ATLAS_ERR_RECORD_OLD);
        if (rc == ATLAS_ERR_NOMEM) {
            assert_int_equal(stats->records, records);
            assert_int_equal(atl_record_store_seq(store, &p.head.peer), seq);
        }
        if (i == 7) {
            (void)atl_record_store_delete(store, &p.head.peer, t->now);
        }
        assert_true(stats->records + stats->tombstones <= 3);
        assert_true(atl_record_store_list(store, 1, 0, t->now, views, 4) <=
                    atl_record_store_count(store, 1));
    }
    (void)atl_record_store_expire(store, t->now + 4000 * SEC, 100);
    (void)atl_record_store_expire(store, t->now + 500000 * SEC, 100);
    assert_int_equal(atl_record_store_get_stats(store)->records, 0);
    atl_record_store_free(store);
}

static void survives_a_lack_of_memory(void **state) {
    testenv t;
    atl_record_store *store = NULL;
    atl_record_store_limits limits;

    (void)state;
    assert_true(testenv_each_failure(one_life, NULL) >= 15);
    testenv_init(&t);
    memset(&limits, 0, sizeof(limits));
    t.fail_random = 1;
    assert_int_equal(atl_record_store_new(&t.env, &limits, &store), ATLAS_ERR_RANDOM);
    assert_null(store);
    atl_record_store_free(NULL);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_newest),
        cmocka_unit_test(refuses_what_makes_no_sense),
        cmocka_unit_test(a_deleted_record_does_not_come_back),
        cmocka_unit_test(tombstones_outlive_the_record),
        cmocka_unit_test(buries),
        cmocka_unit_test(strangers_change_nothing_of_a_verified_record),
        cmocka_unit_test(unverified_records_belong_to_who_brought_them),
        cmocka_unit_test(an_expiry_never_comes_earlier),
        cmocka_unit_test(the_oldest_unverified_makes_way),
        cmocka_unit_test(tombstones_make_way_for_verified_records_only),
        cmocka_unit_test(each_address_has_its_share),
        cmocka_unit_test(lowered_limits_are_approached),
        cmocka_unit_test(memory_is_counted),
        cmocka_unit_test(survives_a_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
