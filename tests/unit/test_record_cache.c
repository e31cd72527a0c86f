/* The cache of records: what is newest stays, bounds, time, and files that are damaged or forged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/record_cache.h"

#include <stdlib.h>
#include <string.h>

#include "testenv.h"

#define START UINT64_C(1767225600) /* testenv's wall clock, seconds */
#define FILE_MAX 8192

/* A signed record of the peer with number n. */
typedef struct signed_record {
    uint8_t data[ATL_RECORD_MAX];
    size_t len;
    atl_record_head head;
} signed_record;

static atlas_key *key_of(uint32_t n) {
    uint8_t seed[32] = {0};
    atlas_key *key;

    memcpy(seed, &n, sizeof(n));
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    return key;
}

static void sign(uint32_t n, uint64_t seq, uint64_t issued, uint64_t lifetime, signed_record *out) {
    atlas_key *key = key_of(n);
    atl_record record;

    memset(&record, 0, sizeof(record));
    atl_key_id(key, &record.head.peer);
    record.head.seq = seq;
    record.head.issued = issued;
    record.head.lifetime = lifetime;
    record.n_addrs = 1;
    assert_int_equal(atl_maddr_parse("/ip4/192.0.2.1/udp/4001/quic-v1", &record.addrs[0]),
                     ATLAS_OK);
    assert_int_equal(atl_record_make(key, &record, out->data, sizeof(out->data), &out->len),
                     ATLAS_OK);
    out->head = record.head;
    atlas_key_free(key);
}

static int32_t put(atl_record_cache *cache, const signed_record *record, uint64_t drift) {
    return atl_record_cache_put(cache, record->data, record->len, drift, NULL);
}

static int has(atl_record_cache *cache, const signed_record *record) {
    atl_record_cached found;

    if (!atl_record_cache_get(cache, &record->head.peer, &found)) {
        return 0;
    }
    return found.head.seq == record->head.seq && found.len == record->len &&
           memcmp(found.data, record->data, record->len) == 0;
}

/* Sequence numbers in the order of each(), without counting as use. */
typedef struct order {
    uint64_t seq[16];
    size_t n;
    size_t stop; /* after so many; 0: never */
} order;

static int note(void *user, const atl_record_cached *record) {
    order *o = user;

    assert_true(o->n < ATL_COUNT(o->seq));
    o->seq[o->n++] = record->head.seq;
    return o->n != o->stop;
}

static void assert_order(atl_record_cache *cache, const uint64_t *seq, size_t n) {
    order o = {.n = 0};
    size_t i;

    atl_record_cache_each(cache, note, &o);
    assert_int_equal(o.n, n);
    for (i = 0; i < n; i++) {
        assert_int_equal(o.seq[i], seq[i]);
    }
}

/* ---- the newest of each peer ---- */

static void newer_and_older(void **state) {
    static signed_record records[4];
    atl_record_cache *cache;
    atl_record_head head;
    testenv t;

    (void)state;
    testenv_init(&t);
    sign(1, 10, START, 3600, &records[0]);
    sign(1, 11, START, 3600, &records[1]);
    sign(1, 11, START, 3601, &records[2]); /* the same number, other bytes */
    sign(2, 1, START, 3600, &records[3]);
    assert_int_equal(atl_record_cache_new(&t.env, 10, &cache), ATLAS_OK);
    assert_false(has(cache, &records[0]));
    assert_int_equal(put(cache, &records[0], 0), ATLAS_OK);
    assert_true(has(cache, &records[0]));
    assert_int_equal(put(cache, &records[0], 0), ATLAS_ERR_EXISTS);
    assert_int_equal(put(cache, &records[1], 0), ATLAS_OK);
    assert_int_equal(put(cache, &records[3], 0), ATLAS_OK);
    assert_int_equal(atl_record_cache_count(cache), 2);
    memset(&head, 0, sizeof(head));
    assert_int_equal(atl_record_cache_put(cache, records[0].data, records[0].len, 0, &head),
                     ATLAS_ERR_RECORD_OLD);
    assert_int_equal(head.seq, 10);
    assert_memory_equal(&head.peer, &records[0].head.peer, sizeof(head.peer));
    assert_int_equal(put(cache, &records[2], 0), ATLAS_ERR_RECORD_OLD);
    assert_true(has(cache, &records[1]));
    assert_true(has(cache, &records[3]));
    atl_record_cache_remove(cache, &records[1].head.peer);
    atl_record_cache_remove(cache, &records[1].head.peer);
    assert_false(has(cache, &records[1]));
    assert_int_equal(atl_record_cache_count(cache), 1);
    assert_int_equal(put(cache, &records[0], 0), ATLAS_OK);
    atl_record_cache_free(cache);
    atl_record_cache_free(NULL);
    testenv_done(&t);
}

static void bad_ones(void **state) {
    static signed_record record;
    atl_record_cache *cache;
    atl_record_head head;
    testenv t;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, 0, &cache), ATLAS_ERR_INVALID);
    t.fail_random = 1;
    assert_int_equal(atl_record_cache_new(&t.env, 10, &cache), ATLAS_ERR_RANDOM);
    t.fail_random = 0;
    assert_int_equal(atl_record_cache_new(&t.env, 10, &cache), ATLAS_OK);
    sign(1, 10, START, 3600, &record);
    record.data[record.len - 1] ^= 1;
    head.seq = 4711;
    assert_int_equal(atl_record_cache_put(cache, record.data, record.len, 0, &head),
                     ATLAS_ERR_SIGNATURE);
    assert_int_equal(head.seq, 4711);
    assert_int_equal(atl_record_cache_put(cache, record.data, record.len - 1, 0, &head),
                     ATLAS_ERR_TRUNCATED);
    assert_int_equal(atl_record_cache_put(cache, record.data, ATL_RECORD_MAX + 1, 0, &head),
                     ATLAS_ERR_TOO_LARGE);
    sign(1, 10, START - 101, 100, &record);
    assert_int_equal(atl_record_cache_put(cache, record.data, record.len, 0, &head),
                     ATLAS_ERR_RECORD_EXPIRED);
    assert_int_equal(head.seq, 10); /* the record itself is valid */
    sign(1, 11, START + 61, 100, &record);
    assert_int_equal(put(cache, &record, 60), ATLAS_ERR_RECORD_FUTURE);
    assert_int_equal(atl_record_cache_count(cache), 0);
    atl_record_cache_free(cache);
    testenv_done(&t);
}

/* Many peers, more than there is room for: the least recently used go. */
static void bounded(void **state) {
    static signed_record records[200];
    const size_t max = 64;
    atl_record_cache *cache;
    testenv t;
    size_t i;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, max, &cache), ATLAS_OK);
    for (i = 0; i < ATL_COUNT(records); i++) {
        sign((uint32_t)i, i + 1, START, 3600, &records[i]);
        assert_int_equal(
            atl_record_cache_put_checked(cache, &records[i].head, records[i].data, records[i].len),
            ATLAS_OK);
        assert_int_equal(atl_record_cache_count(cache), i < max ? i + 1 : max);
        assert_true(has(cache, &records[0])); /* counts as use */
    }
    for (i = 1; i < ATL_COUNT(records); i++) {
        assert_int_equal(has(cache, &records[i]), i > ATL_COUNT(records) - max);
    }
    atl_record_cache_free(cache);
    testenv_done(&t);
}

static void what_counts_as_use(void **state) {
    static const uint64_t UPDATED[] = {20, 1, 3, 4};
    static const uint64_t AGAIN[] = {4, 20, 1, 3};
    static const uint64_t GOT[] = {1, 4, 20, 3};
    static signed_record records[4];
    static signed_record newer;
    atl_record_cache *cache;
    order o = {.stop = 2};
    testenv t;
    size_t i;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, 4, &cache), ATLAS_OK);
    for (i = 0; i < 4; i++) {
        sign((uint32_t)i, i + 1, START, 3600, &records[i]);
    }
    sign(1, 20, START, 3600, &newer);
    for (i = 4; i > 0; i--) {
        assert_int_equal(put(cache, &records[i - 1], 0), ATLAS_OK);
    }
    assert_int_equal(put(cache, &newer, 0), ATLAS_OK);
    assert_order(cache, UPDATED, 4);
    assert_int_equal(put(cache, &records[3], 0), ATLAS_ERR_EXISTS);
    assert_order(cache, AGAIN, 4);
    assert_int_equal(put(cache, &records[1], 0), ATLAS_ERR_RECORD_OLD); /* is none */
    assert_order(cache, AGAIN, 4);
    assert_true(has(cache, &records[0]));
    assert_order(cache, GOT, 4);
    atl_record_cache_each(cache, note, &o);
    assert_int_equal(o.n, 2);
    atl_record_cache_free(cache);
    testenv_done(&t);
}

/* ---- time ---- */

static void expiry(void **state) {
    static const uint64_t LEFT[] = {2};
    static signed_record records[4];
    atl_record_cache *cache;
    testenv t;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, 10, &cache), ATLAS_OK);
    sign(1, 1, START - 50, 60, &records[0]);
    sign(2, 2, START, 3600, &records[1]);
    sign(3, 3, 0, 60, &records[2]);          /* does not say when */
    sign(4, 4, START - 70, 60, &records[3]); /* over, were clocks equal */
    assert_int_equal(put(cache, &records[0], 0), ATLAS_OK);
    assert_int_equal(put(cache, &records[1], 0), ATLAS_OK);
    assert_int_equal(put(cache, &records[2], 0), ATLAS_OK);
    assert_int_equal(put(cache, &records[3], 10), ATLAS_OK);
    assert_int_equal(atl_record_cache_count(cache), 4);
    testenv_advance(&t, 10 * ATL_SECOND - ATL_MS);
    assert_true(has(cache, &records[0]));
    testenv_advance(&t, ATL_MS);
    assert_false(has(cache, &records[0]));
    assert_int_equal(atl_record_cache_count(cache), 3);
    testenv_advance(&t, 50 * ATL_SECOND - ATL_MS);
    assert_true(has(cache, &records[2]));
    assert_true(has(cache, &records[3]));
    testenv_advance(&t, ATL_MS);
    assert_order(cache, LEFT, 1);
    assert_int_equal(atl_record_cache_count(cache), 3); /* each() drops nothing */
    assert_false(has(cache, &records[2]));
    assert_false(has(cache, &records[3]));
    assert_true(has(cache, &records[1]));
    assert_int_equal(atl_record_cache_count(cache), 1);
    atl_record_cache_free(cache);
    testenv_done(&t);
}

/* What has expired does not stand in the way of what is older and lives longer. */
static void after_expiry(void **state) {
    static signed_record short_one, long_one;
    atl_record_cache *cache;
    testenv t;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, 10, &cache), ATLAS_OK);
    sign(1, 2, START, 1, &short_one);
    sign(1, 1, START, 3600, &long_one);
    assert_int_equal(put(cache, &short_one, 0), ATLAS_OK);
    assert_int_equal(put(cache, &long_one, 0), ATLAS_ERR_RECORD_OLD);
    testenv_advance(&t, 2 * ATL_SECOND);
    assert_int_equal(put(cache, &long_one, 0), ATLAS_OK);
    assert_true(has(cache, &long_one));
    /* a clock at the end of time */
    t.wall = INT64_MAX;
    sign(2, 1, 0, 3600, &short_one);
    assert_int_equal(put(cache, &short_one, 0), ATLAS_OK);
    t.wall = INT64_MAX - 1;
    assert_true(has(cache, &short_one));
    t.wall = INT64_MIN;
    assert_true(has(cache, &short_one));
    sign(3, 1, 0, 3600, &long_one);
    assert_int_equal(put(cache, &long_one, 0), ATLAS_OK);
    assert_true(has(cache, &long_one));
    atl_record_cache_free(cache);
    testenv_done(&t);
}

/* ---- files ---- */

#define PEERS 4

/* A file of PEERS records, and where each ends in it. */
typedef struct file {
    signed_record records[PEERS];
    uint8_t data[FILE_MAX];
    size_t len;
    size_t ends[PEERS];
} file;

static void make_file(testenv *t, file *f) {
    atl_record_cache *cache;
    size_t end = 5;
    size_t i;

    assert_int_equal(atl_record_cache_new(&t->env, PEERS, &cache), ATLAS_OK);
    for (i = 0; i < PEERS; i++) {
        sign((uint32_t)i, i + 1, START, 3600, &f->records[i]);
        assert_int_equal(put(cache, &f->records[i], 0), ATLAS_OK);
        end += 2 + f->records[i].len;
        f->ends[i] = end;
    }
    assert_int_equal(atl_record_cache_export(cache, f->data, sizeof(f->data), &f->len), ATLAS_OK);
    assert_int_equal(f->len, end);
    atl_record_cache_free(cache);
}

/* Imports an exact heap copy into an empty cache, in which there is nothing then that was not in
 * the file as it was made. */
static int32_t import_copy(testenv *t, const file *f, size_t len, size_t *taken, size_t *refused) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    atl_record_cache *cache;
    size_t found = 0;
    int32_t rc;
    size_t i;

    assert_non_null(copy);
    memcpy(copy, f->data, len);
    assert_int_equal(atl_record_cache_new(&t->env, 16, &cache), ATLAS_OK);
    *taken = 0;
    *refused = 0;
    rc = atl_record_cache_import(cache, copy, len, 0, taken, refused);
    free(copy);
    for (i = 0; i < PEERS; i++) {
        found += (size_t)has(cache, &f->records[i]);
    }
    assert_int_equal(found, *taken);
    assert_int_equal(atl_record_cache_count(cache), *taken);
    atl_record_cache_free(cache);
    return rc;
}

static void there_and_back(void **state) {
    static const uint64_t ORDER[] = {2, 4, 3, 1};
    static uint8_t again[FILE_MAX];
    static file f;
    atl_record_cache *cache;
    size_t len = 0;
    testenv t;
    size_t n;

    (void)state;
    testenv_init(&t);
    make_file(&t, &f);
    assert_memory_equal(f.data, "ATLR\x01", 5);
    assert_int_equal(atl_record_cache_new(&t.env, 16, &cache), ATLAS_OK);
    assert_int_equal(atl_record_cache_export(cache, NULL, 0, &len), ATLAS_ERR_BUFFER);
    assert_int_equal(len, 5);
    assert_int_equal(atl_record_cache_import(cache, f.data, f.len, 0, NULL, NULL), ATLAS_OK);
    assert_true(has(cache, &f.records[1]));
    assert_order(cache, ORDER, PEERS); /* in the order of their use */
    for (n = 0; n < f.len; n++) {
        memset(again, 0xee, sizeof(again));
        assert_int_equal(atl_record_cache_export(cache, again, n, &len), ATLAS_ERR_BUFFER);
        assert_int_equal(len, f.len);
        assert_int_equal(again[0], 0xee);
    }
    assert_int_equal(atl_record_cache_export(cache, again, f.len, &len), ATLAS_OK);
    assert_int_equal(len, f.len);
    /* the same again: good ones, and nothing is there twice */
    assert_int_equal(atl_record_cache_import(cache, again, len, 0, &n, &len), ATLAS_OK);
    assert_int_equal(n, PEERS);
    assert_int_equal(len, 0);
    assert_int_equal(atl_record_cache_count(cache), PEERS);
    testenv_advance(&t, 3600 * ATL_SECOND);
    assert_int_equal(atl_record_cache_export(cache, again, sizeof(again), &len), ATLAS_OK);
    assert_int_equal(len, 5); /* what has expired stays behind */
    assert_int_equal(atl_record_cache_import(cache, f.data, f.len, 0, &n, &len), ATLAS_OK);
    assert_int_equal(n, PEERS); /* to the second */
    testenv_advance(&t, ATL_SECOND);
    assert_int_equal(atl_record_cache_import(cache, f.data, f.len, 0, &n, &len), ATLAS_OK);
    assert_int_equal(n, 0);
    assert_int_equal(len, PEERS);
    atl_record_cache_free(cache);
    testenv_done(&t);
}

static void every_truncation(void **state) {
    static file f;
    testenv t;
    size_t n;

    (void)state;
    testenv_init(&t);
    make_file(&t, &f);
    for (n = 0; n <= f.len; n++) {
        int whole = n == 5;
        size_t expected = 0;
        size_t refused;
        size_t taken;
        int32_t rc;

        while (expected < PEERS && f.ends[expected] <= n) {
            whole = f.ends[expected++] == n;
        }
        rc = import_copy(&t, &f, n, &taken, &refused);
        assert_int_equal(rc, n < 5 ? ATLAS_ERR_MALFORMED : whole ? ATLAS_OK : ATLAS_ERR_TRUNCATED);
        assert_int_equal(taken, expected);
        assert_int_equal(refused, 0);
    }
    testenv_done(&t);
}

static void every_byte_flipped(void **state) {
    static file f;
    testenv t;
    size_t i;

    (void)state;
    testenv_init(&t);
    make_file(&t, &f);
    for (i = 0; i < f.len * 2; i++) {
        const uint8_t flip = i % 2 == 0 ? 0xff : (uint8_t)(1u << (i / 2 % 8));
        size_t before = 0; /* records before the damaged one */
        size_t refused;
        size_t taken;
        size_t begin;
        int32_t rc;

        while (f.ends[before] <= i / 2) {
            before++;
        }
        begin = before == 0 ? 5 : f.ends[before - 1];
        f.data[i / 2] ^= flip;
        rc = import_copy(&t, &f, f.len, &taken, &refused);
        f.data[i / 2] ^= flip;
        if (i / 2 < 5) {
            assert_int_equal(rc, ATLAS_ERR_MALFORMED);
        } else if (i / 2 < begin + 2) { /* its length: what follows is read from a wrong place */
            assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_TRUNCATED);
            assert_in_range(taken, before, PEERS - 1);
            assert_true(rc == ATLAS_ERR_TRUNCATED || refused > 0);
        } else {
            assert_int_equal(rc, ATLAS_OK);
            assert_int_equal(taken, PEERS - 1);
            assert_int_equal(refused, 1);
        }
    }
    testenv_done(&t);
}

/* Whole, but not what export wrote. */
static void forged(void **state) {
    static uint8_t data[FILE_MAX];
    static signed_record records[2];
    atl_record_cache *cache;
    atl_writer writer;
    size_t refused = 0;
    size_t taken = 0;
    testenv t;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_record_cache_new(&t.env, 16, &cache), ATLAS_OK);
    sign(1, 2, START, 3600, &records[0]);
    sign(1, 1, START, 3600, &records[1]);
    atl_writer_init(&writer, data, sizeof(data));
    atl_write_bytes(&writer, "ATLR\x01", 5);
    atl_write_varint(&writer, 0); /* nothing */
    atl_write_varint(&writer, 3000);
    atl_write_zeros(&writer, 3000); /* too large */
    atl_write_varint(&writer, records[0].len);
    atl_write_bytes(&writer, records[0].data, records[0].len);
    atl_write_varint(&writer, records[1].len); /* old */
    atl_write_bytes(&writer, records[1].data, records[1].len);
    atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
    assert_int_equal(writer.error, ATLAS_OK);
    assert_int_equal(atl_record_cache_import(cache, data, writer.len, 0, &taken, &refused),
                     ATLAS_ERR_TRUNCATED);
    assert_int_equal(taken, 1);
    assert_int_equal(refused, 3);
    assert_true(has(cache, &records[0]));
    data[4] = 2; /* a version to come */
    assert_int_equal(atl_record_cache_import(cache, data, writer.len, 0, &taken, &refused),
                     ATLAS_ERR_MALFORMED);
    assert_int_equal(taken, 1);
    atl_record_cache_free(cache);
    testenv_done(&t);
}

/* ---- memory ---- */

static void without_memory(testenv *t, void *user) {
    file *f = user;
    signed_record *newer = &f->records[PEERS - 1];
    atl_record_cache *cache;
    size_t taken = 0;
    size_t refused = 0;
    int32_t rc;

    if (atl_record_cache_new(&t->env, 2, &cache) != ATLAS_OK) {
        return;
    }
    rc = atl_record_cache_import(cache, f->data, f->len, 0, &taken, &refused);
    assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_NOMEM);
    assert_int_equal(refused, 0);
    assert_int_equal(atl_record_cache_count(cache), taken < 2 ? taken : 2);
    if (rc == ATLAS_OK) {
        /* a refused update leaves what was there */
        rc = put(cache, newer, 0);
        assert_int_equal(atl_record_cache_count(cache), 2);
        assert_true(rc == ATLAS_OK ? has(cache, newer) : !has(cache, newer));
        assert_true(rc == ATLAS_OK || has(cache, &f->records[PEERS - 2]));
    }
    atl_record_cache_free(cache);
}

static void memory_fails(void **state) {
    static file f;
    testenv t;

    (void)state;
    testenv_init(&t);
    make_file(&t, &f);
    testenv_done(&t);
    f.len = f.ends[PEERS - 2]; /* without the last */
    sign(PEERS - 2, 99, START, 3600, &f.records[PEERS - 1]);
    assert_in_range(testenv_each_failure(without_memory, &f), 8, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_and_older),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(bounded),
        cmocka_unit_test(what_counts_as_use),
        cmocka_unit_test(expiry),
        cmocka_unit_test(after_expiry),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(forged),
        cmocka_unit_test(memory_fails),
    };

    return cmocka_run_group_tests_name("record_cache", tests, NULL, NULL);
}
