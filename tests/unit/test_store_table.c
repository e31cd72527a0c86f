/* The pool and the table of the registry's store: they grow and shrink, and lose nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/store_table.h"

#include <string.h>

#include "testenv.h"

typedef struct slot {
    uint32_t key[2];
    uint32_t next;
    atl_store_link link;
} slot;

typedef struct fixture {
    testenv t;
    uint64_t bytes;
    atl_store_memory memory;
    atl_pool pool;
    atl_store_table table;
} fixture;

static void fixture_init(fixture *f) {
    testenv_init(&f->t);
    f->bytes = 0;
    f->memory.env = &f->t.env;
    f->memory.bytes = &f->bytes;
    atl_pool_init(&f->pool, &f->memory, sizeof(slot));
    assert_int_equal(atl_store_table_init(&f->table, &f->pool, offsetof(slot, key),
                                          sizeof(((slot *)NULL)->key), offsetof(slot, next)),
                     ATLAS_OK);
}

static void fixture_done(fixture *f) {
    atl_store_table_free(&f->table);
    atl_pool_free(&f->pool);
    assert_int_equal(f->bytes, 0);
    testenv_done(&f->t);
}

static uint32_t find(fixture *f, uint32_t n) {
    uint32_t key[2] = {n, ~n};

    return atl_store_table_find(&f->table, key);
}

static uint32_t add(fixture *f, uint32_t n) {
    uint32_t handle = atl_pool_take(&f->pool);
    slot *s;

    if (handle != 0) {
        s = atl_pool_at(&f->pool, handle);
        assert_int_equal(s->key[0] | s->key[1] | s->next | s->link.next, 0); /* zeroed */
        s->key[0] = n;
        s->key[1] = ~n;
        atl_store_table_add(&f->table, handle);
    }
    return handle;
}

static void take_away(fixture *f, uint32_t n) {
    uint32_t handle = find(f, n);

    assert_int_not_equal(handle, 0);
    atl_store_table_remove(&f->table, handle);
    atl_pool_give(&f->pool, handle);
}

static void grows_and_shrinks(void **state) {
    enum { N = 20000 };
    fixture f;
    uint64_t full;

    (void)state;
    fixture_init(&f);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < N; i++) {
            assert_int_not_equal(add(&f, i), 0);
            assert_int_not_equal(find(&f, i), 0);
            assert_int_equal(find(&f, i + 1), 0);
        }
        full = f.bytes;
        assert_int_equal(f.table.n, N); /* as many buckets as entries: chains stay short */
        for (uint32_t i = 0; i < N; i++) {
            assert_int_equal(((slot *)atl_pool_at(&f.pool, find(&f, i)))->key[0], i);
        }
        /* out in another order; the others stay where they are */
        for (uint32_t i = 0; i < N; i++) {
            take_away(&f, i * 7919 % N);
            if (i % 1000 == 0) {
                for (uint32_t j = 0; j < N; j++) {
                    assert_int_equal(find(&f, j * 7919 % N) != 0, j > i);
                }
            }
        }
        assert_int_equal(f.pool.count, 0);
        assert_true(f.bytes < full / 16);
    }
    fixture_done(&f);
}

/* A table that gets no more buckets goes on with what it has, and catches up. */
static void needs_no_memory_to_add(void **state) {
    fixture f;
    uint32_t handles[4000];

    (void)state;
    fixture_init(&f);
    for (uint32_t i = 0; i < ATL_COUNT(handles); i++) {
        slot *s;

        handles[i] = atl_pool_take(&f.pool);
        assert_int_not_equal(handles[i], 0);
        s = atl_pool_at(&f.pool, handles[i]);
        s->key[0] = i;
        s->key[1] = ~i;
    }
    testenv_fail_next(&f.t, 1);
    f.t.fail_on = 1;
    for (uint32_t i = 0; i < 3000; i++) {
        atl_store_table_add(&f.table, handles[i]);
    }
    assert_int_equal(f.table.n, 1024);
    f.t.fail_at = 0;
    for (uint32_t i = 3000; i < 4000; i++) {
        atl_store_table_add(&f.table, handles[i]);
    }
    assert_true(f.table.n > 3000);
    for (uint32_t i = 0; i < 4000; i++) {
        assert_int_equal(find(&f, i), handles[i]);
    }
    fixture_done(&f);
}

static void chunks_come_and_go(void **state) {
    fixture f;
    uint32_t n = 10 * ATL_POOL_SLOTS;
    uint64_t before;

    (void)state;
    fixture_init(&f);
    before = f.bytes;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_not_equal(add(&f, i), 0);
    }
    /* handles are dense: what is taken away is used again first */
    assert_int_equal(f.pool.n_places, 10);
    for (uint32_t i = 0; i < n; i += 2) {
        take_away(&f, i);
    }
    for (uint32_t i = 0; i < n; i += 2) {
        assert_int_not_equal(add(&f, i), 0);
    }
    assert_int_equal(f.pool.n_places, 10);
    for (uint32_t i = 0; i < n; i++) {
        take_away(&f, i);
    }
    assert_true(f.bytes < before + 2 * (sizeof(atl_pool_chunk) + ATL_POOL_SLOTS * sizeof(slot)));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_not_equal(add(&f, i), 0);
    }
    assert_int_equal(f.pool.n_places, 10);
    fixture_done(&f);
}

static void lists_keep_their_order(void **state) {
    fixture f;
    atl_store_list list = {0, 0};
    uint32_t h[5];
    static const size_t ORDER[] = {2, 0, 4, 1, 3};

    (void)state;
    fixture_init(&f);
    for (size_t i = 0; i < 5; i++) {
        h[i] = atl_pool_take(&f.pool);
        atl_store_list_append(&f.pool, &list, offsetof(slot, link), h[i]);
    }
    for (size_t out = 0; out < 5; out++) {
        uint32_t at = list.first;
        uint32_t last = 0;

        for (size_t i = 0; i < 5; i++) {
            int gone = 0;

            for (size_t j = 0; j < out; j++) {
                gone |= ORDER[j] == i;
            }
            if (!gone) {
                const atl_store_link *link = &((slot *)atl_pool_at(&f.pool, at))->link;

                assert_int_equal(at, h[i]);
                assert_int_equal(link->prev, last);
                last = at;
                at = link->next;
            }
        }
        assert_int_equal(at, 0);
        assert_int_equal(list.last, last);
        atl_store_list_remove(&f.pool, &list, offsetof(slot, link), h[ORDER[out]]);
    }
    assert_int_equal(list.first | list.last, 0);
    fixture_done(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_shrinks),
        cmocka_unit_test(needs_no_memory_to_add),
        cmocka_unit_test(chunks_come_and_go),
        cmocka_unit_test(lists_keep_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
