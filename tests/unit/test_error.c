/* Error codes: every code of the public header has a name, a category and a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <atlas/error.h>

#include <string.h>

typedef struct category_row {
    int32_t first; /* the codes of a category are first, first - 1, ... without gaps */
    int32_t end;   /* one past the last number of its range */
    const char *name;
} category_row;

static const category_row CATEGORIES[] = {
    {-1, -100, "general"}, {-100, -200, "format"},    {-200, -300, "network"},
    {-300, -400, "stun"},  {-400, -500, "quic"},      {-500, -600, "relay"},
    {-600, -700, "peer"},  {-700, -800, "discovery"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int is_known(int32_t code) {
    return strcmp(atlas_error_name(code), "ATLAS_ERR_UNKNOWN") != 0;
}

static void categories_are_ranges(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(CATEGORIES); i++) {
        const category_row *row = &CATEGORIES[i];
        int ended = 0;
        int32_t code;

        assert_true(is_known(row->first));
        for (code = row->first; code > row->end; code--) {
            assert_string_equal(atlas_error_category(code), row->name);
            assert_false(ended && is_known(code)); /* no gaps: a missing row would show here */
            ended = ended || !is_known(code);
        }
    }
}

static void every_code_has_its_own_name_and_text(void **state) {
    int32_t a;
    int32_t b;

    (void)state;
    for (a = 0; a > -800; a--) {
        if (!is_known(a)) {
            assert_string_equal(atlas_error_text(a), "unknown error code");
            continue;
        }
        assert_memory_equal(atlas_error_name(a), "ATLAS_", 6);
        assert_true(strlen(atlas_error_text(a)) > 5);
        for (b = a - 1; b > -800; b--) {
            if (is_known(b)) {
                assert_string_not_equal(atlas_error_name(a), atlas_error_name(b));
                assert_string_not_equal(atlas_error_text(a), atlas_error_text(b));
            }
        }
    }
}

/* The numbers are ABI. */
static void numbers_do_not_move(void **state) {
    static const struct {
        int32_t code;
        const char *name;
    } ROWS[] = {
        {0, "ATLAS_OK"},
        {-1, "ATLAS_ERR_INVALID"},
        {-19, "ATLAS_ERR_SHUTDOWN"},
        {-100, "ATLAS_ERR_TRUNCATED"},
        {-108, "ATLAS_ERR_DUPLICATE"},
        {-200, "ATLAS_ERR_UNREACHABLE"},
        {-204, "ATLAS_ERR_FAMILY"},
        {-300, "ATLAS_ERR_STUN_TIMEOUT"},
        {-304, "ATLAS_ERR_STUN_NO_ADDRESS"},
        {-400, "ATLAS_ERR_HANDSHAKE"},
        {-408, "ATLAS_ERR_HANDSHAKE_TIMEOUT"},
        {-600, "ATLAS_ERR_DIAL"},
        {-605, "ATLAS_ERR_SELF"},
        {-700, "ATLAS_ERR_RECORD_OLD"},
        {-709, "ATLAS_ERR_SELFTEST"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(ROWS); i++) {
        assert_string_equal(atlas_error_name(ROWS[i].code), ROWS[i].name);
    }
    assert_string_equal(atlas_error_name(ATLAS_ERR_RELAY_NOT_REGISTERED),
                        "ATLAS_ERR_RELAY_NOT_REGISTERED");
    assert_string_equal(atlas_error_name(ATLAS_ERR_RELAY_CIRCUIT_CLOSED),
                        "ATLAS_ERR_RELAY_CIRCUIT_CLOSED");
}

static void unknown_codes(void **state) {
    static const int32_t CODES[] = {1, 100, INT32_MAX, -800, -801, -1000, INT32_MIN};
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(CODES); i++) {
        assert_string_equal(atlas_error_name(CODES[i]), "ATLAS_ERR_UNKNOWN");
        assert_string_equal(atlas_error_category(CODES[i]), "unknown");
        assert_string_equal(atlas_error_text(CODES[i]), "unknown error code");
    }
    assert_string_equal(atlas_error_category(ATLAS_OK), "ok");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(categories_are_ranges),
        cmocka_unit_test(every_code_has_its_own_name_and_text),
        cmocka_unit_test(numbers_do_not_move),
        cmocka_unit_test(unknown_codes),
    };

    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
