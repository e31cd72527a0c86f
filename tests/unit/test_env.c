/* The services of a context, and the environment that the other tests use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/env.h"

#include <string.h>

#include "testenv.h"

static void memory(void **state) {
    static const uint8_t ZEROS[64] = {0};
    testenv t;
    uint8_t *p;
    char *text;

    (void)state;
    testenv_init(&t);
    p = atl_malloc(&t.env, 0); /* never NULL for want of size */
    assert_non_null(p);
    p = atl_realloc(&t.env, p, 100);
    assert_non_null(p);
    atl_free(&t.env, p);
    p = atl_calloc(&t.env, 8, 8);
    assert_non_null(p);
    assert_memory_equal(p, ZEROS, 64);
    atl_free(&t.env, p);
    p = atl_calloc(&t.env, 0, 8);
    assert_non_null(p);
    atl_free(&t.env, p);
    text = atl_strdup(&t.env, "peer");
    assert_string_equal(text, "peer");
    assert_int_equal(t.live, 1);
    atl_free(&t.env, text);
    atl_free(&t.env, NULL);
    testenv_done(&t);
}

static void memory_that_is_not_there(void **state) {
    testenv t;
    void *p;

    (void)state;
    testenv_init(&t);
    assert_null(atl_calloc(&t.env, SIZE_MAX / 2, 3));
    assert_null(atl_calloc(&t.env, 3, SIZE_MAX / 2));
    assert_int_equal(t.allocations, 0);
    p = atl_malloc(&t.env, 1);
    t.fail_at = 1;
    t.fail_on = 1;
    assert_null(atl_malloc(&t.env, 1));
    assert_null(atl_calloc(&t.env, 1, 1));
    assert_null(atl_realloc(&t.env, p, 10));
    assert_null(atl_strdup(&t.env, "x"));
    atl_free(&t.env, p);
    testenv_done(&t);
}

static void random_bytes(void **state) {
    testenv t;
    uint8_t a[16] = {0};
    uint8_t b[16] = {0};

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_random(&t.env, a, sizeof(a)), ATLAS_OK);
    assert_int_equal(atl_random(&t.env, b, sizeof(b)), ATLAS_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    t.fail_random = 1;
    assert_int_equal(atl_random(&t.env, a, sizeof(a)), ATLAS_ERR_RANDOM);
}

static void clocks(void **state) {
    testenv t;

    (void)state;
    testenv_init(&t);
    t.now = 100;
    assert_true(atl_env_now(&t.env) == 100);
    t.now = 99;
    assert_true(atl_env_now(&t.env) == 100);
    t.now = 0;
    assert_true(atl_env_now(&t.env) == 100);
    t.now = 101;
    assert_true(atl_env_now(&t.env) == 101);
    t.wall = -5; /* before 1970 is somebody's problem, not ours */
    assert_true(atl_env_wall_ms(&t.env) == -5);
    testenv_advance(&t, 3 * ATL_SECOND);
    assert_true(atl_env_now(&t.env) == 101 + 3 * ATL_SECOND);
    assert_true(atl_env_wall_ms(&t.env) == 2995);
}

static void log_lines(void **state) {
    char long_text[2000];
    testenv t;

    (void)state;
    testenv_init(&t);
    atl_log(&t.env, ATLAS_LOG_INFO, "relay %d of %s", 7, "us");
    assert_string_equal(t.log_last, "relay 7 of us");
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    atl_log(&t.env, ATLAS_LOG_WARN, "%s", long_text); /* cut, not overrun */
    assert_int_equal(t.log_lines, 2);
    t.env.hooks.log = NULL;
    atl_log(&t.env, ATLAS_LOG_WARN, "nobody hears");
    assert_int_equal(t.log_lines, 2);
}

/* ---- the helper itself ---- */

static void three_blocks(testenv *t, void *user) {
    void *a = atl_malloc(&t->env, 1);
    void *b = atl_malloc(&t->env, 1);
    void *c = atl_malloc(&t->env, 1);

    *(int *)user += (a == NULL) + (b == NULL) + (c == NULL);
    atl_free(&t->env, a);
    atl_free(&t->env, b);
    atl_free(&t->env, c);
}

static void every_allocation_fails_in_its_turn(void **state) {
    int failures = 0;

    (void)state;
    assert_int_equal(testenv_each_failure(three_blocks, &failures), 3);
    assert_int_equal(failures, 3 /* one alone each */ + 3 + 2 + 1 /* with all that follow */);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory),       cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(random_bytes), cmocka_unit_test(clocks),
        cmocka_unit_test(log_lines),    cmocka_unit_test(every_allocation_fails_in_its_turn),
    };

    return cmocka_run_group_tests_name("env", tests, NULL, NULL);
}
