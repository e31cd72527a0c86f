#include "identity/proto.h"

#define NUMBER_MAX ((UINT32_C(1) << 29) - 1)

/* A protobuf varint has up to ten bytes (negative numbers take all of them), one more than a
 * multiformats varint. */
static int32_t read_value(atl_reader *reader, uint64_t *out) {
    uint64_t value = 0;
    uint32_t shift;

    for (shift = 0; shift < 70; shift += 7) {
        uint8_t byte;

        if (atl_read_u8(reader, &byte) != ATLAS_OK) {
            return ATLAS_ERR_TRUNCATED;
        }
        if (shift == 63 && byte > 1) {
            return ATLAS_ERR_MALFORMED;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out = value;
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_MALFORMED;
}

static int32_t read_length_delimited(atl_reader *reader, atl_reader *out) {
    uint64_t len;
    int32_t rc = atl_read_uvarint(reader, &len);

    if (rc != ATLAS_OK) {
        return rc;
    }
    return len > reader->left ? ATLAS_ERR_TRUNCATED : atl_read_sub(reader, (size_t)len, out);
}

int32_t atl_proto_next(atl_reader *reader, atl_proto_field *out) {
    atl_reader copy = *reader;
    atl_proto_field field = {0, 0, 0, {NULL, 0}};
    uint64_t tag;
    int32_t rc = atl_read_uvarint(&copy, &tag);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (tag >> 3 == 0 || tag >> 3 > NUMBER_MAX) {
        return ATLAS_ERR_MALFORMED;
    }
    field.number = (uint32_t)(tag >> 3);
    field.wire = (uint32_t)(tag & 7);
    switch (field.wire) {
    case ATL_PROTO_VARINT:
        rc = read_value(&copy, &field.value);
        break;
    case ATL_PROTO_FIXED64:
        rc = atl_read_skip(&copy, 8);
        break;
    case ATL_PROTO_BYTES:
        rc = read_length_delimited(&copy, &field.bytes);
        break;
    case ATL_PROTO_FIXED32:
        rc = atl_read_skip(&copy, 4);
        break;
    default:
        rc = ATLAS_ERR_MALFORMED;
        break;
    }
    if (rc == ATLAS_OK) {
        *reader = copy;
        *out = field;
    }
    return rc;
}

void atl_proto_write_uint(atl_writer *writer, uint32_t number, uint64_t value) {
    atl_write_uvarint(writer, (uint64_t)number << 3 | ATL_PROTO_VARINT);
    atl_write_uvarint(writer, value);
}

void atl_proto_write_bytes(atl_writer *writer, uint32_t number, const void *data, size_t len) {
    atl_write_uvarint(writer, (uint64_t)number << 3 | ATL_PROTO_BYTES);
    atl_write_uvarint(writer, len);
    atl_write_bytes(writer, data, len);
}
