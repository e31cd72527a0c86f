/* The hash table against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hashmap.h"

#include <stdio.h>
#include <string.h>

#include "testenv.h"

#define KEYS 300

typedef struct object {
    atl_hash_node node;
    char key[24];
    size_t len;
    int present;
    int visited;
} object;

static void make_objects(object *objects) {
    size_t i;

    memset(objects, 0, KEYS * sizeof(*objects));
    for (i = 0; i < KEYS; i++) {
        /* keys of different lengths, prefixes of one another among them */
        objects[i].len =
            (size_t)snprintf(objects[i].key, sizeof(objects[i].key), "%0*zu", 1 + (int)(i % 12), i);
    }
}

static void needs_random_bytes(void **state) {
    testenv t;
    atl_hashmap map;

    (void)state;
    testenv_init(&t);
    memset(&map, 0x77, sizeof(map));
    t.fail_random = 1;
    assert_int_equal(atl_hashmap_init(&map, &t.env), ATLAS_ERR_RANDOM);
    assert_int_equal(map.secret[0], 0x77); /* untouched */
}

static void empty_table(void **state) {
    testenv t;
    atl_hashmap map;
    atl_hash_node node = {0};

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_hashmap_init(&map, &t.env), ATLAS_OK);
    assert_null(atl_hashmap_get(&map, "a", 1));
    assert_null(atl_hashmap_any(&map));
    atl_hashmap_remove(&map, &node);
    atl_hashmap_each(&map, NULL, NULL); /* nothing to call it for */
    assert_int_equal(t.allocations, 0);
    atl_hashmap_free(&map);
    testenv_done(&t);
}

static void against_model(void **state) {
    static object objects[KEYS];
    testenv t;
    atl_hashmap map;
    size_t count = 0;
    size_t i;

    (void)state;
    testenv_init(&t);
    make_objects(objects);
    assert_int_equal(atl_hashmap_init(&map, &t.env), ATLAS_OK);
    for (i = 0; i < 20000; i++) {
        object *o = &objects[testenv_rand(&t) % KEYS];
        object other;
        int add = testenv_rand(&t) % 100 < ((i / 2500) % 2 == 0 ? 75u : 25u);
        size_t k;

        if (add && o->present) {
            assert_int_equal(atl_hashmap_add(&map, &other.node, o->key, o->len), ATLAS_ERR_EXISTS);
        } else if (add) {
            assert_int_equal(atl_hashmap_add(&map, &o->node, o->key, o->len), ATLAS_OK);
            o->present = 1;
            count++;
        } else if (o->present) {
            atl_hashmap_remove(&map, &o->node);
            o->present = 0;
            count--;
        }
        assert_int_equal(map.count, count);
        for (k = i % 8; k < KEYS; k += 8) {
            char copy[24]; /* found by value, not by pointer */

            memcpy(copy, objects[k].key, sizeof(copy));
            assert_ptr_equal(atl_hashmap_get(&map, copy, objects[k].len),
                             objects[k].present ? &objects[k].node : NULL);
        }
    }
    atl_hashmap_free(&map);
    testenv_done(&t);
}

static void a_table_that_cannot_grow_stays_whole(void **state) {
    static object objects[KEYS];
    testenv t;
    atl_hashmap map;
    size_t failures = 0;
    size_t i;
    size_t k;

    (void)state;
    testenv_init(&t);
    make_objects(objects);
    assert_int_equal(atl_hashmap_init(&map, &t.env), ATLAS_OK);
    for (i = 0; i < KEYS; i++) {
        testenv_fail_next(&t, 1);
        if (atl_hashmap_add(&map, &objects[i].node, objects[i].key, objects[i].len) ==
            ATLAS_ERR_NOMEM) {
            failures++;
            assert_int_equal(map.count, i);
            testenv_fail_next(&t, 0);
            assert_int_equal(
                atl_hashmap_add(&map, &objects[i].node, objects[i].key, objects[i].len), ATLAS_OK);
        }
        for (k = 0; k <= i; k++) {
            assert_non_null(atl_hashmap_get(&map, objects[k].key, objects[k].len));
        }
    }
    assert_true(failures > 3);
    atl_hashmap_free(&map);
    testenv_done(&t);
}

typedef struct walk {
    atl_hashmap *map;
    int remove;
    size_t n;
} walk;

static void visit(void *user, atl_hash_node *node) {
    walk *w = user;

    ATL_CONTAINER(node, object, node)->visited++;
    w->n++;
    if (w->remove) {
        atl_hashmap_remove(w->map, node);
    }
}

static void each_and_any(void **state) {
    static object objects[KEYS];
    testenv t;
    atl_hashmap map;
    walk w = {&map, 0, 0};
    size_t i;

    (void)state;
    testenv_init(&t);
    make_objects(objects);
    assert_int_equal(atl_hashmap_init(&map, &t.env), ATLAS_OK);
    for (i = 0; i < KEYS; i++) {
        assert_int_equal(atl_hashmap_add(&map, &objects[i].node, objects[i].key, objects[i].len),
                         ATLAS_OK);
    }
    atl_hashmap_each(&map, visit, &w);
    assert_int_equal(w.n, KEYS);
    for (i = 0; i < KEYS; i++) {
        assert_int_equal(objects[i].visited, 1);
    }
    for (i = 0; i < KEYS / 2; i++) {
        atl_hash_node *node = atl_hashmap_any(&map);

        assert_non_null(node);
        atl_hashmap_remove(&map, node);
    }
    w.remove = 1;
    w.n = 0;
    atl_hashmap_each(&map, visit, &w);
    assert_int_equal(w.n, KEYS - KEYS / 2);
    assert_int_equal(map.count, 0);
    assert_null(atl_hashmap_any(&map));
    atl_hashmap_free(&map);
    testenv_done(&t);
}

/* Two tables put the same keys in different places: who does not know the secret cannot make
 * chains. */
static void the_hash_is_keyed(void **state) {
    testenv t;
    atl_hashmap a;
    atl_hashmap b;
    atl_hash_node na;
    atl_hash_node nb;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_hashmap_init(&a, &t.env), ATLAS_OK);
    assert_int_equal(atl_hashmap_init(&b, &t.env), ATLAS_OK);
    assert_int_equal(atl_hashmap_add(&a, &na, "key", 3), ATLAS_OK);
    assert_int_equal(atl_hashmap_add(&b, &nb, "key", 3), ATLAS_OK);
    assert_true(na.hash != nb.hash);
    atl_hashmap_free(&a);
    atl_hashmap_free(&b);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_random_bytes),
        cmocka_unit_test(empty_table),
        cmocka_unit_test(against_model),
        cmocka_unit_test(a_table_that_cannot_grow_stays_whole),
        cmocka_unit_test(each_and_any),
        cmocka_unit_test(the_hash_is_keyed),
    };

    return cmocka_run_group_tests_name("hashmap", tests, NULL, NULL);
}
