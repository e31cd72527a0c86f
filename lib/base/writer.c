#include "base/writer.h"

#include <string.h>

void atl_write_bytes(atl_writer *writer, const void *data, size_t len) {
    if (writer->error != ATLAS_OK || len > writer->cap - writer->len) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    if (len > 0) {
        memcpy(writer->data + writer->len, data, len);
        writer->len += len;
    }
}

void atl_write_zeros(atl_writer *writer, size_t len) {
    if (writer->error != ATLAS_OK || len > writer->cap - writer->len) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    if (len > 0) {
        memset(writer->data + writer->len, 0, len);
        writer->len += len;
    }
}

static void write_be(atl_writer *writer, uint64_t value, size_t len) {
    uint8_t bytes[8];
    size_t i;

    for (i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
    }
    atl_write_bytes(writer, bytes, len);
}

void atl_write_u8(atl_writer *writer, uint8_t value) {
    write_be(writer, value, 1);
}

void atl_write_u16(atl_writer *writer, uint16_t value) {
    write_be(writer, value, 2);
}

void atl_write_u32(atl_writer *writer, uint32_t value) {
    write_be(writer, value, 4);
}

void atl_write_u64(atl_writer *writer, uint64_t value) {
    write_be(writer, value, 8);
}

size_t atl_varint_len(uint64_t value) {
    if (value < 64) {
        return 1;
    }
    if (value < 16384) {
        return 2;
    }
    return value < (UINT64_C(1) << 30) ? 4 : 8;
}

void atl_write_varint(atl_writer *writer, uint64_t value) {
    size_t len = atl_varint_len(value);
    uint64_t tag = len == 1 ? 0 : len == 2 ? 1 : len == 4 ? 2 : 3;

    if (value >> 62 != 0) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    write_be(writer, value | tag << (8 * len - 2), len);
}

void atl_write_uvarint(atl_writer *writer, uint64_t value) {
    uint8_t bytes[9];
    size_t len = 0;

    if (value >> 63 != 0) {
        writer->error = ATLAS_ERR_BUFFER;
        return;
    }
    while (value >= 0x80) {
        bytes[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[len++] = (uint8_t)value;
    atl_write_bytes(writer, bytes, len);
}
