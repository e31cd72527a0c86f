/* The bounded writer, by itself and against the reader. Vectors: RFC 9000 appendix A.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reader.h"
#include "base/writer.h"

#include <string.h>

#include "testenv.h"

static void what_is_written(void **state) {
    static const uint8_t EXPECTED[] = {1,  2,  3,  4,  5,  6,   7,   8, 9, 10,
                                       11, 12, 13, 14, 15, 'x', 'y', 0, 0};
    uint8_t buf[sizeof(EXPECTED)];
    atl_writer writer;

    (void)state;
    memset(buf, 0xee, sizeof(buf));
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_write_u8(&writer, 1);
    atl_write_u16(&writer, 0x0203);
    atl_write_u32(&writer, 0x04050607);
    atl_write_u64(&writer, UINT64_C(0x08090a0b0c0d0e0f));
    atl_write_bytes(&writer, "xy", 2);
    atl_write_bytes(&writer, NULL, 0);
    atl_write_zeros(&writer, 2);
    assert_int_equal(writer.error, ATLAS_OK);
    assert_int_equal(writer.len, sizeof(EXPECTED));
    assert_memory_equal(buf, EXPECTED, sizeof(EXPECTED));
}

static void overflow_is_for_good(void **state) {
    uint8_t buf[6] = {0};
    atl_writer writer;

    (void)state;
    atl_writer_init(&writer, buf, 4);
    atl_write_u16(&writer, 0x1111);
    atl_write_u32(&writer, 0x22222222); /* does not fit, and no part of it is written */
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    assert_int_equal(writer.len, 2);
    atl_write_u8(&writer, 3); /* would fit */
    atl_write_zeros(&writer, 0);
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    assert_int_equal(writer.len, 2);
    assert_memory_equal(buf, "\x11\x11\0\0\0\0", 6);
}

static void huge_lengths_overflow(void **state) {
    uint8_t buf[4] = {0};
    atl_writer writer;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_write_u8(&writer, 1);
    atl_write_zeros(&writer, SIZE_MAX);
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_write_u8(&writer, 1);
    atl_write_bytes(&writer, buf, SIZE_MAX - 1);
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    assert_int_equal(writer.len, 1);
}

static void no_buffer_at_all(void **state) {
    atl_writer writer;

    (void)state;
    atl_writer_init(&writer, NULL, 0);
    atl_write_zeros(&writer, 0);
    atl_write_bytes(&writer, NULL, 0);
    assert_int_equal(writer.error, ATLAS_OK);
    atl_write_u8(&writer, 1);
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    assert_int_equal(writer.len, 0);
}

static void varint_vectors(void **state) {
    static const struct {
        uint64_t value;
        size_t len;
        uint8_t data[8];
    } ROWS[] = {
        {UINT64_C(151288809941952652), 8, {0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}},
        {494878333, 4, {0x9d, 0x7f, 0x3e, 0x7d}},
        {15293, 2, {0x7b, 0xbd}},
        {37, 1, {0x25}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t buf[8];
        atl_writer writer;

        atl_writer_init(&writer, buf, sizeof(buf));
        atl_write_varint(&writer, ROWS[i].value);
        assert_int_equal(writer.len, ROWS[i].len);
        assert_int_equal(atl_varint_len(ROWS[i].value), ROWS[i].len);
        assert_memory_equal(buf, ROWS[i].data, ROWS[i].len);
    }
}

static void check_varints(uint64_t value) {
    uint8_t buf[9];
    atl_writer writer;
    atl_reader reader;
    uint64_t read;

    atl_writer_init(&writer, buf, sizeof(buf));
    atl_write_varint(&writer, value);
    if (value >> 62 != 0) {
        assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
    } else {
        assert_int_equal(writer.error, ATLAS_OK);
        assert_int_equal(writer.len, atl_varint_len(value));
        atl_reader_init(&reader, buf, writer.len);
        assert_int_equal(atl_read_varint(&reader, &read), ATLAS_OK);
        assert_true(read == value && reader.left == 0);
    }
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_write_uvarint(&writer, value);
    if (value >> 63 != 0) {
        assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
        assert_int_equal(writer.len, 0);
    } else {
        assert_int_equal(writer.error, ATLAS_OK);
        atl_reader_init(&reader, buf, writer.len);
        assert_int_equal(atl_read_uvarint(&reader, &read), ATLAS_OK);
        assert_true(read == value && reader.left == 0);
    }
}

static void varints_round_trip(void **state) {
    testenv t;
    int bit;
    int i;

    (void)state;
    testenv_init(&t);
    for (bit = 0; bit < 64; bit++) {
        check_varints(UINT64_C(1) << bit);
        check_varints((UINT64_C(1) << bit) - 1);
        check_varints((UINT64_C(1) << bit) + 1);
    }
    check_varints(UINT64_MAX);
    for (i = 0; i < 10000; i++) {
        check_varints(testenv_rand(&t) >> (testenv_rand(&t) % 64));
    }
}

/* An overflowing varint leaves nothing behind, whatever the room. */
static void varints_are_written_whole_or_not(void **state) {
    size_t cap;

    (void)state;
    for (cap = 0; cap < 9; cap++) {
        uint8_t buf[10];
        atl_writer writer;

        memset(buf, 0xee, sizeof(buf));
        atl_writer_init(&writer, buf, cap);
        atl_write_uvarint(&writer, INT64_MAX);
        assert_int_equal(writer.len, 0);
        assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
        assert_int_equal(buf[0], 0xee);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(overflow_is_for_good),
        cmocka_unit_test(huge_lengths_overflow),
        cmocka_unit_test(no_buffer_at_all),
        cmocka_unit_test(varint_vectors),
        cmocka_unit_test(varints_round_trip),
        cmocka_unit_test(varints_are_written_whole_or_not),
    };

    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
