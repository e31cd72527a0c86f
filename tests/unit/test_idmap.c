/* The id table against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/idmap.h"

#include <string.h>

#include "testenv.h"

#define IDS 512

static void add_get_remove(void **state) {
    testenv t;
    atl_idmap map;
    int a;
    int b;

    (void)state;
    testenv_init(&t);
    atl_idmap_init(&map, &t.env, 7);
    assert_null(atl_idmap_get(&map, 1));
    atl_idmap_remove(&map, 1);
    assert_int_equal(t.allocations, 0);
    assert_int_equal(atl_idmap_add(&map, 0, 3, &a), ATLAS_OK); /* 0 is an id like any other */
    assert_int_equal(atl_idmap_add(&map, UINT64_MAX, 4, &b), ATLAS_OK);
    assert_int_equal(atl_idmap_add(&map, 0, 5, &b), ATLAS_ERR_EXISTS);
    assert_ptr_equal(atl_idmap_get(&map, 0)->ptr, &a);
    assert_int_equal(atl_idmap_get(&map, 0)->kind, 3);
    assert_ptr_equal(atl_idmap_get(&map, UINT64_MAX)->ptr, &b);
    atl_idmap_remove(&map, 0);
    atl_idmap_remove(&map, 0);
    assert_null(atl_idmap_get(&map, 0));
    assert_int_equal(map.count, 1);
    atl_idmap_free(&map);
    assert_null(atl_idmap_get(&map, UINT64_MAX));
    testenv_done(&t);
}

/* Ids from a small range, so that they meet in the table; every id is looked up after every change
 * of the table's neighbourhood. */
static void against_model(void **state) {
    uint64_t key;

    (void)state;
    for (key = 0; key < 4; key++) {
        static char objects[IDS];
        uint8_t present[IDS] = {0};
        size_t count = 0;
        testenv t;
        atl_idmap map;
        size_t i;

        testenv_init(&t);
        t.seed = key;
        atl_idmap_init(&map, &t.env, testenv_rand(&t));
        for (i = 0; i < 20000; i++) {
            size_t k = testenv_rand(&t) % IDS;
            /* phases of growth and of shrinking */
            int add = testenv_rand(&t) % 100 < ((i / 2500) % 2 == 0 ? 75u : 25u);

            if (add) {
                assert_int_equal(atl_idmap_add(&map, k, (uint32_t)k, &objects[k]),
                                 present[k] ? ATLAS_ERR_EXISTS : ATLAS_OK);
                count += !present[k];
                present[k] = 1;
            } else {
                atl_idmap_remove(&map, k);
                count -= present[k];
                present[k] = 0;
            }
            assert_int_equal(map.count, count);
            for (k = i % 16; k < IDS; k += 16) {
                const atl_idmap_slot *slot = atl_idmap_get(&map, k);

                assert_int_equal(slot != NULL, present[k]);
                assert_true(slot == NULL || (slot->ptr == &objects[k] && slot->kind == k));
            }
        }
        atl_idmap_free(&map);
        testenv_done(&t);
    }
}

static void a_table_that_cannot_grow_stays_whole(void **state) {
    static char objects[200];
    testenv t;
    atl_idmap map;
    size_t i;
    size_t k;

    (void)state;
    testenv_init(&t);
    atl_idmap_init(&map, &t.env, 1);
    for (i = 0; i < ATL_COUNT(objects); i++) {
        testenv_fail_next(&t, 1);
        if (atl_idmap_add(&map, i, 0, &objects[i]) == ATLAS_ERR_NOMEM) {
            assert_null(atl_idmap_get(&map, i));
            assert_int_equal(map.count, i);
            testenv_fail_next(&t, 0);
            assert_int_equal(atl_idmap_add(&map, i, 0, &objects[i]), ATLAS_OK);
        }
        for (k = 0; k <= i; k++) {
            assert_ptr_equal(atl_idmap_get(&map, k)->ptr, &objects[k]);
        }
    }
    atl_idmap_free(&map);
    testenv_done(&t);
}

static void lookups_do_not_allocate(void **state) {
    static char object;
    testenv t;
    atl_idmap map;
    size_t before;
    uint64_t i;

    (void)state;
    testenv_init(&t);
    atl_idmap_init(&map, &t.env, 1);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(atl_idmap_add(&map, i << 40, 0, &object), ATLAS_OK);
    }
    before = t.allocations;
    for (i = 0; i < 2000; i++) {
        assert_int_equal(atl_idmap_get(&map, i << 40) != NULL, i < 1000);
    }
    for (i = 0; i < 1000; i++) {
        atl_idmap_remove(&map, i << 40);
    }
    assert_int_equal(t.allocations, before);
    assert_int_equal(map.count, 0);
    atl_idmap_free(&map);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_get_remove),
        cmocka_unit_test(against_model),
        cmocka_unit_test(a_table_that_cannot_grow_stays_whole),
        cmocka_unit_test(lookups_do_not_allocate),
    };

    return cmocka_run_group_tests_name("idmap", tests, NULL, NULL);
}
