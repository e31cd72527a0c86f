/* The bounded reader. Vectors: RFC 9000 appendix A.1 (varints), multiformats/unsigned-varint README
 * (uvarints). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reader.h"

#include <stdlib.h>
#include <string.h>

#include "testenv.h"

/* An exact heap copy, so that a sanitizer sees any byte read past the end. */
static uint8_t *exact(const void *data, size_t len) {
    uint8_t *copy = malloc(len > 0 ? len : 1);

    assert_non_null(copy);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

static void integers_are_big_endian(void **state) {
    static const uint8_t DATA[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff};
    atl_reader reader;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    (void)state;
    atl_reader_init(&reader, DATA, sizeof(DATA));
    assert_int_equal(atl_read_u16(&reader, &u16), ATLAS_OK);
    assert_int_equal(u16, 0x0102);
    assert_int_equal(atl_read_u32(&reader, &u32), ATLAS_OK);
    assert_int_equal(u32, 0x03040506);
    assert_int_equal(atl_read_u64(&reader, &u64), ATLAS_OK);
    assert_true(u64 == UINT64_C(0x0708090a0b0c0d0e));
    assert_int_equal(atl_read_u8(&reader, &u8), ATLAS_OK);
    assert_int_equal(u8, 0xff);
    assert_int_equal(reader.left, 0);
    assert_int_equal(atl_read_u8(&reader, &u8), ATLAS_ERR_TRUNCATED);
}

/* Every read of every kind on every length short of what it needs. */
static void short_reads_touch_nothing(void **state) {
    static const uint8_t DATA[8] = {0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    size_t len;

    (void)state;
    for (len = 0; len < 8; len++) {
        uint8_t *data = exact(DATA, len);
        atl_reader reader;
        atl_reader sub = {NULL, 77};
        const uint8_t *view = NULL;
        uint8_t bytes[8] = {9};
        uint64_t u64 = 42;
        uint32_t u32 = 42;
        uint16_t u16 = 42;

        atl_reader_init(&reader, data, len);
        assert_int_equal(atl_read_u64(&reader, &u64), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_varint(&reader, &u64), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_varint_sub(&reader, &sub), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_uvarint(&reader, &u64), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_bytes(&reader, bytes, 8), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_skip(&reader, len + 1), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_skip(&reader, SIZE_MAX), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_view(&reader, 8, &view), ATLAS_ERR_TRUNCATED);
        assert_int_equal(atl_read_sub(&reader, 8, &sub), ATLAS_ERR_TRUNCATED);
        if (len < 4) {
            assert_int_equal(atl_read_u32(&reader, &u32), ATLAS_ERR_TRUNCATED);
        }
        if (len < 2) {
            assert_int_equal(atl_read_u16(&reader, &u16), ATLAS_ERR_TRUNCATED);
        }
        assert_ptr_equal(reader.data, data);
        assert_int_equal(reader.left, len);
        assert_true(u64 == 42 && u32 == 42 && u16 == 42);
        assert_int_equal(bytes[0], 9);
        assert_null(view);
        assert_int_equal(sub.left, 77);
        free(data);
    }
}

static void views_and_subs(void **state) {
    static const uint8_t DATA[] = "abcdef";
    atl_reader reader;
    atl_reader sub;
    const uint8_t *view;
    uint8_t byte;

    (void)state;
    atl_reader_init(&reader, DATA, 6);
    assert_int_equal(atl_read_view(&reader, 2, &view), ATLAS_OK);
    assert_ptr_equal(view, DATA);
    assert_int_equal(atl_read_sub(&reader, 3, &sub), ATLAS_OK);
    assert_int_equal(sub.left, 3);
    assert_int_equal(atl_read_u8(&sub, &byte), ATLAS_OK);
    assert_int_equal(byte, 'c');
    assert_int_equal(reader.left, 1);
    assert_int_equal(atl_read_skip(&sub, 3), ATLAS_ERR_TRUNCATED); /* not into what follows */
}

static void nothing_to_read(void **state) {
    atl_reader reader;
    atl_reader sub;
    const uint8_t *view;
    uint8_t byte = 1;

    (void)state;
    atl_reader_init(&reader, NULL, 0);
    assert_int_equal(atl_read_view(&reader, 0, &view), ATLAS_OK);
    assert_int_equal(atl_read_bytes(&reader, NULL, 0), ATLAS_OK);
    assert_int_equal(atl_read_skip(&reader, 0), ATLAS_OK);
    assert_int_equal(atl_read_sub(&reader, 0, &sub), ATLAS_OK);
    assert_int_equal(sub.left, 0);
    assert_int_equal(atl_read_u8(&reader, &byte), ATLAS_ERR_TRUNCATED);
    assert_int_equal(byte, 1);
}

static void quic_varints(void **state) {
    static const struct {
        uint8_t data[8];
        size_t len;
        uint64_t value;
    } ROWS[] = {
        {{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 8, UINT64_C(151288809941952652)},
        {{0x9d, 0x7f, 0x3e, 0x7d}, 4, 494878333},
        {{0x7b, 0xbd}, 2, 15293},
        {{0x25}, 1, 37},
        {{0x40, 0x25}, 2, 37}, /* QUIC varints need not be minimal */
        {{0x00}, 1, 0},
        {{0x3f}, 1, 63},
        {{0x7f, 0xff}, 2, 16383},
        {{0xbf, 0xff, 0xff, 0xff}, 4, (1u << 30) - 1},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, (UINT64_C(1) << 62) - 1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        atl_reader reader;
        uint64_t value;

        atl_reader_init(&reader, ROWS[i].data, ROWS[i].len);
        assert_int_equal(atl_read_varint(&reader, &value), ATLAS_OK);
        assert_true(value == ROWS[i].value);
        assert_int_equal(reader.left, 0);
    }
}

static void varint_subs_cannot_lie(void **state) {
    static const struct {
        uint8_t data[12];
        size_t len;
        int32_t rc;
        size_t left;
    } ROWS[] = {
        {{0}, 1, ATLAS_OK, 0},
        {{2, 7, 8}, 3, ATLAS_OK, 2},
        {{2, 7}, 2, ATLAS_ERR_TRUNCATED, 0},
        {{0x40, 1, 9}, 3, ATLAS_OK, 1},
        {{0x40}, 1, ATLAS_ERR_TRUNCATED, 0},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 9, ATLAS_ERR_TRUNCATED, 0},
        {{0xc0, 0, 0, 1, 0, 0, 0, 1, 5}, 9, ATLAS_ERR_TRUNCATED, 0}, /* 2^32 + 1, not 1 */
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t *data = exact(ROWS[i].data, ROWS[i].len);
        atl_reader reader;
        atl_reader sub = {NULL, 99};

        atl_reader_init(&reader, data, ROWS[i].len);
        assert_int_equal(atl_read_varint_sub(&reader, &sub), ROWS[i].rc);
        if (ROWS[i].rc == ATLAS_OK) {
            assert_int_equal(sub.left, ROWS[i].left);
            assert_int_equal(reader.left, 0);
        } else {
            assert_int_equal(sub.left, 99);
            assert_int_equal(reader.left, ROWS[i].len);
        }
        free(data);
    }
}

static void uvarints(void **state) {
    static const struct {
        uint8_t data[11];
        size_t len;
        int32_t rc;
        uint64_t value;
    } ROWS[] = {
        {{0x01}, 1, ATLAS_OK, 1},
        {{0x7f}, 1, ATLAS_OK, 127},
        {{0x80, 0x01}, 2, ATLAS_OK, 128},
        {{0xff, 0x01}, 2, ATLAS_OK, 255},
        {{0xac, 0x02}, 2, ATLAS_OK, 300},
        {{0x80, 0x80, 0x01}, 3, ATLAS_OK, 16384},
        {{0x00}, 1, ATLAS_OK, 0},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 9, ATLAS_OK, INT64_MAX},
        {{0x80}, 1, ATLAS_ERR_TRUNCATED, 0},
        {{0xff, 0xff}, 2, ATLAS_ERR_TRUNCATED, 0},
        {{0x81, 0x00}, 2, ATLAS_ERR_MALFORMED, 0}, /* not minimal */
        {{0x80, 0x00}, 2, ATLAS_ERR_MALFORMED, 0},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10, ATLAS_ERR_MALFORMED, 0},
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, 9, ATLAS_ERR_MALFORMED, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t *data = exact(ROWS[i].data, ROWS[i].len);
        atl_reader reader;
        uint64_t value = 12345;

        atl_reader_init(&reader, data, ROWS[i].len);
        assert_int_equal(atl_read_uvarint(&reader, &value), ROWS[i].rc);
        assert_true(value == (ROWS[i].rc == ATLAS_OK ? ROWS[i].value : 12345));
        assert_int_equal(reader.left, ROWS[i].rc == ATLAS_OK ? 0 : ROWS[i].len);
        free(data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(short_reads_touch_nothing),
        cmocka_unit_test(views_and_subs),
        cmocka_unit_test(nothing_to_read),
        cmocka_unit_test(quic_varints),
        cmocka_unit_test(varint_subs_cannot_lie),
        cmocka_unit_test(uvarints),
    };

    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
