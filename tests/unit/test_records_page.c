/* Pages of records: written, read, spoiled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "discovery/records_page.h"

static uint8_t buf[ATL_RECORDS_PAGE_MAX + 16];
static uint8_t record[ATL_RECORD_MAX];

/* By hand from docs/discovery.md: cursor 300, "abc", and 64 bytes, whose length takes two. */
static void is_as_the_document_says(void **state) {
    static const uint8_t HEAD[] = {0x41, 0x2c, 3, 'a', 'b', 'c', 0x40, 64};
    atl_records_page page;
    const uint8_t *data;
    size_t len;

    (void)state;
    memset(record, 'z', 64);
    atl_records_page_begin(&page, buf, sizeof(buf));
    assert_int_equal(atl_records_page_add(&page, (const uint8_t *)"abc", 3), ATLAS_OK);
    assert_int_equal(atl_records_page_add(&page, record, 64), ATLAS_OK);
    data = atl_records_page_finish(&page, 300, &len);
    assert_int_equal(len, sizeof(HEAD) + 64);
    assert_memory_equal(data, HEAD, sizeof(HEAD));
    assert_memory_equal(data + sizeof(HEAD), record, 64);
}

static void comes_back(void **state) {
    static const uint64_t cursors[] = {
        0, 1, 63, 64, 16383, 16384, (1u << 30) - 1, 1u << 30, (UINT64_C(1) << 62) - 1};
    static const size_t sizes[] = {1, 63, 64, 400, ATL_RECORD_MAX};

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(cursors); i++) {
        atl_records_page page;
        atl_reader reader;
        const uint8_t *data;
        uint64_t cursor = 7;
        size_t len;

        atl_records_page_begin(&page, buf, sizeof(buf));
        for (size_t k = 0; k < ATL_COUNT(sizes); k++) {
            memset(record, (int)(k + 1), sizes[k]);
            assert_int_equal(atl_records_page_add(&page, record, sizes[k]), ATLAS_OK);
        }
        data = atl_records_page_finish(&page, cursors[i], &len);
        assert_int_equal(atl_records_page_open(data, len, &reader, &cursor), ATLAS_OK);
        assert_true(cursor == cursors[i]);
        for (size_t k = 0; k < ATL_COUNT(sizes); k++) {
            assert_int_equal(atl_records_page_next(&reader, &data, &len), ATLAS_OK);
            memset(record, (int)(k + 1), sizes[k]);
            assert_int_equal(len, sizes[k]);
            assert_memory_equal(data, record, len);
        }
        assert_int_equal(atl_records_page_next(&reader, &data, &len), ATLAS_ERR_NOT_FOUND);
    }
}

static void an_empty_page_is_one_byte(void **state) {
    atl_records_page page;
    size_t len;

    (void)state;
    atl_records_page_begin(&page, buf, sizeof(buf));
    assert_int_equal(*atl_records_page_finish(&page, 0, &len), 0);
    assert_int_equal(len, 1);
}

static void takes_what_fits(void **state) {
    atl_records_page page;
    size_t len;
    size_t n = 0;

    (void)state;
    memset(buf, 0xee, sizeof(buf));
    atl_records_page_begin(&page, buf, sizeof(buf)); /* more than a page may have */
    assert_int_equal(atl_records_page_add(&page, record, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atl_records_page_add(&page, record, ATL_RECORD_MAX + 1), ATLAS_ERR_INVALID);
    while (atl_records_page_add(&page, record, ATL_RECORD_MAX) == ATLAS_OK) {
        n++;
    }
    assert_int_equal(n, 31);
    /* a smaller one still fits, to the last byte */
    assert_int_equal(atl_records_page_add(&page, record,
                                          ATL_RECORDS_PAGE_MAX - 8 - n * (ATL_RECORD_MAX + 2) - 2),
                     ATLAS_OK);
    assert_int_equal(atl_records_page_add(&page, record, 1), ATLAS_ERR_BUFFER);
    (void)atl_records_page_finish(&page, (UINT64_C(1) << 62) - 1, &len);
    assert_int_equal(len, ATL_RECORDS_PAGE_MAX);
    assert_int_equal(buf[ATL_RECORDS_PAGE_MAX], 0xee);
    atl_records_page_begin(&page, buf, 4);
    assert_int_equal(atl_records_page_add(&page, record, 1), ATLAS_ERR_BUFFER);
}

static void spoiled_pages_end_where_they_are_spoiled(void **state) {
    static const struct {
        uint8_t bytes[8];
        size_t len;
        int32_t open, next;
    } table[] = {
        {{0}, 0, ATLAS_ERR_TRUNCATED, 0},
        {{0x40}, 1, ATLAS_ERR_TRUNCATED, 0},
        {{0xff, 0xff, 0xff}, 3, ATLAS_ERR_TRUNCATED, 0},
        {{0}, 1, ATLAS_OK, ATLAS_ERR_NOT_FOUND},
        {{0, 0}, 2, ATLAS_OK, ATLAS_ERR_MALFORMED},
        {{0, 0x40}, 2, ATLAS_OK, ATLAS_ERR_TRUNCATED},
        {{0, 3, 1, 2}, 4, ATLAS_OK, ATLAS_ERR_TRUNCATED},
        {{0, 0x48, 0x00, 1}, 4, ATLAS_OK, ATLAS_ERR_TRUNCATED}, /* 2048, allowed */
        {{0, 0x48, 0x01, 1}, 4, ATLAS_OK, ATLAS_ERR_TOO_LARGE}, /* 2049 */
        {{0, 0xff, 0xff, 0xff, 0xff}, 5, ATLAS_OK, ATLAS_ERR_TRUNCATED},
    };
    atl_reader reader;
    uint64_t cursor;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        const uint8_t *data = NULL;
        size_t len = 99;

        cursor = 42;
        assert_int_equal(atl_records_page_open(table[i].bytes, table[i].len, &reader, &cursor),
                         table[i].open);
        if (table[i].open != ATLAS_OK) {
            assert_true(cursor == 42);
            continue;
        }
        assert_int_equal(atl_records_page_next(&reader, &data, &len), table[i].next);
        assert_null(data);
        assert_int_equal(len, 99);
        assert_int_equal(reader.left, table[i].len - 1); /* the reader stays where it was */
    }
    assert_int_equal(atl_records_page_open(buf, ATL_RECORDS_PAGE_MAX + 1, &reader, &cursor),
                     ATLAS_ERR_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_as_the_document_says),
        cmocka_unit_test(comes_back),
        cmocka_unit_test(an_empty_page_is_one_byte),
        cmocka_unit_test(takes_what_fits),
        cmocka_unit_test(spoiled_pages_end_where_they_are_spoiled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
