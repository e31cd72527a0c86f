/* The little of protobuf. Vectors: protobuf.dev, "Encoding" (08 96 01; 12 07 "testing"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity/proto.h"

#include <stdlib.h>
#include <string.h>

#include "testenv.h"

static void fields_of_every_kind(void **state) {
    static const uint8_t DATA[] = {
        0x08, 0x96, 0x01,                                                 /* 1: 150 */
        0x12, 0x07, 't',  'e',  's',  't',  'i',  'n',  'g',              /* 2: "testing" */
        0x19, 1,    2,    3,    4,    5,    6,    7,    8,                /* 3: fixed64 */
        0x25, 1,    2,    3,    4,                                        /* 4: fixed32 */
        0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, /* 5: -1 */
        0xfa, 0xff, 0xff, 0xff, 0x0f, 0x00,                               /* 2^29 - 1: "" */
    };
    static const struct {
        uint32_t number;
        uint32_t wire;
        uint64_t value;
        size_t len;
    } ROWS[] = {
        {1, ATL_PROTO_VARINT, 150, 0},        {2, ATL_PROTO_BYTES, 0, 7},
        {3, ATL_PROTO_FIXED64, 0, 0},         {4, ATL_PROTO_FIXED32, 0, 0},
        {5, ATL_PROTO_VARINT, UINT64_MAX, 0}, {(1u << 29) - 1, ATL_PROTO_BYTES, 0, 0},
    };
    atl_reader reader;
    atl_proto_field field;
    size_t i;

    (void)state;
    atl_reader_init(&reader, DATA, sizeof(DATA));
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        assert_int_equal(atl_proto_next(&reader, &field), ATLAS_OK);
        assert_int_equal(field.number, ROWS[i].number);
        assert_int_equal(field.wire, ROWS[i].wire);
        assert_true(field.value == ROWS[i].value);
        assert_int_equal(field.bytes.left, ROWS[i].len);
    }
    assert_int_equal(reader.left, 0);
    assert_int_equal(atl_proto_next(&reader, &field), ATLAS_ERR_TRUNCATED);
}

static void malformed_fields(void **state) {
    static const struct {
        uint8_t data[14];
        size_t len;
        int32_t rc;
    } ROWS[] = {
        {{0x08}, 1, ATLAS_ERR_TRUNCATED},
        {{0x08, 0x80}, 2, ATLAS_ERR_TRUNCATED},
        {{0x12, 0x02, 'a'}, 3, ATLAS_ERR_TRUNCATED},
        {{0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 10, ATLAS_ERR_TRUNCATED},
        {{0x12}, 1, ATLAS_ERR_TRUNCATED},
        {{0x19, 1, 2, 3, 4, 5, 6, 7}, 8, ATLAS_ERR_TRUNCATED},
        {{0x25, 1, 2, 3}, 4, ATLAS_ERR_TRUNCATED},
        {{0x00, 0x00}, 2, ATLAS_ERR_MALFORMED}, /* field number 0 */
        {{0x02, 0x00}, 2, ATLAS_ERR_MALFORMED},
        {{0x0b}, 1, ATLAS_ERR_MALFORMED}, /* start of a group */
        {{0x0c}, 1, ATLAS_ERR_MALFORMED}, /* end of a group */
        {{0x0e}, 1, ATLAS_ERR_MALFORMED}, /* no such wire type */
        {{0x0f}, 1, ATLAS_ERR_MALFORMED},
        {{0x88, 0x00, 0x01}, 3, ATLAS_ERR_MALFORMED},                   /* tag not minimal */
        {{0x12, 0x81, 0x00, 'a'}, 4, ATLAS_ERR_MALFORMED},              /* length not minimal */
        {{0x80, 0x80, 0x80, 0x80, 0x10, 0x01}, 6, ATLAS_ERR_MALFORMED}, /* number 2^29 */
        {{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
         11,
         ATLAS_ERR_MALFORMED},
        {{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
         12,
         ATLAS_ERR_MALFORMED},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t *data = malloc(ROWS[i].len); /* exact, for the sanitizer */
        atl_proto_field field = {.number = 77};
        atl_reader reader;

        assert_non_null(data);
        memcpy(data, ROWS[i].data, ROWS[i].len);
        atl_reader_init(&reader, data, ROWS[i].len);
        assert_int_equal(atl_proto_next(&reader, &field), ROWS[i].rc);
        assert_int_equal(field.number, 77);
        assert_int_equal(reader.left, ROWS[i].len);
        free(data);
    }
}

static void what_is_written_is_read(void **state) {
    uint8_t buf[64];
    atl_writer writer;
    atl_reader reader;
    atl_proto_field field;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_proto_write_uint(&writer, 1, 150);
    atl_proto_write_bytes(&writer, 2, "testing", 7);
    atl_proto_write_bytes(&writer, 5000, NULL, 0);
    assert_int_equal(writer.error, ATLAS_OK);
    assert_memory_equal(buf, "\x08\x96\x01\x12\x07testing", 12);
    atl_reader_init(&reader, buf, writer.len);
    assert_int_equal(atl_proto_next(&reader, &field), ATLAS_OK);
    assert_true(field.number == 1 && field.value == 150);
    assert_int_equal(atl_proto_next(&reader, &field), ATLAS_OK);
    assert_int_equal(field.bytes.left, 7);
    assert_int_equal(atl_proto_next(&reader, &field), ATLAS_OK);
    assert_int_equal(field.number, 5000);
    assert_int_equal(reader.left, 0);
    atl_proto_write_uint(&writer, 1, UINT64_MAX);
    assert_int_equal(writer.error, ATLAS_ERR_BUFFER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_every_kind),
        cmocka_unit_test(malformed_fields),
        cmocka_unit_test(what_is_written_is_read),
    };

    return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
