#include "base/reader.h"

#include <string.h>

int32_t atl_read_view(atl_reader *reader, size_t len, const uint8_t **out) {
    if (len > reader->left) {
        return ATLAS_ERR_TRUNCATED;
    }
    *out = reader->data;
    if (len > 0) { /* a reader over nothing may hold NULL */
        reader->data += len;
        reader->left -= len;
    }
    return ATLAS_OK;
}

static int32_t read_be(atl_reader *reader, size_t len, uint64_t *out) {
    const uint8_t *bytes;
    uint64_t value = 0;
    size_t i;

    if (atl_read_view(reader, len, &bytes) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    for (i = 0; i < len; i++) {
        value = value << 8 | bytes[i];
    }
    *out = value;
    return ATLAS_OK;
}

int32_t atl_read_u8(atl_reader *reader, uint8_t *out) {
    const uint8_t *bytes;

    if (atl_read_view(reader, 1, &bytes) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    *out = bytes[0];
    return ATLAS_OK;
}

int32_t atl_read_u16(atl_reader *reader, uint16_t *out) {
    uint64_t value;

    if (read_be(reader, 2, &value) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    *out = (uint16_t)value;
    return ATLAS_OK;
}

int32_t atl_read_u32(atl_reader *reader, uint32_t *out) {
    uint64_t value;

    if (read_be(reader, 4, &value) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    *out = (uint32_t)value;
    return ATLAS_OK;
}

int32_t atl_read_u64(atl_reader *reader, uint64_t *out) {
    return read_be(reader, 8, out);
}

int32_t atl_read_bytes(atl_reader *reader, void *out, size_t len) {
    const uint8_t *bytes;

    if (atl_read_view(reader, len, &bytes) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    if (len > 0) {
        memcpy(out, bytes, len);
    }
    return ATLAS_OK;
}

int32_t atl_read_skip(atl_reader *reader, size_t len) {
    const uint8_t *bytes;

    return atl_read_view(reader, len, &bytes);
}

int32_t atl_read_sub(atl_reader *reader, size_t len, atl_reader *out) {
    const uint8_t *bytes;

    if (atl_read_view(reader, len, &bytes) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    atl_reader_init(out, bytes, len);
    return ATLAS_OK;
}

int32_t atl_read_varint(atl_reader *reader, uint64_t *out) {
    size_t len;
    uint64_t value;

    if (reader->left == 0) {
        return ATLAS_ERR_TRUNCATED;
    }
    len = (size_t)1 << (reader->data[0] >> 6);
    if (read_be(reader, len, &value) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    *out = value & (UINT64_MAX >> (64 - 8 * len + 2));
    return ATLAS_OK;
}

int32_t atl_read_varint_sub(atl_reader *reader, atl_reader *out) {
    atl_reader copy = *reader;
    uint64_t len;

    if (atl_read_varint(&copy, &len) != ATLAS_OK || len > copy.left) {
        return ATLAS_ERR_TRUNCATED;
    }
    if (atl_read_sub(&copy, (size_t)len, out) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    *reader = copy;
    return ATLAS_OK;
}

int32_t atl_read_uvarint(atl_reader *reader, uint64_t *out) {
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < 9; i++) {
        uint8_t byte;

        if (i >= reader->left) {
            return ATLAS_ERR_TRUNCATED;
        }
        byte = reader->data[i];
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            if (byte == 0 && i > 0) {
                return ATLAS_ERR_MALFORMED;
            }
            *out = value;
            return atl_read_skip(reader, i + 1);
        }
    }
    return ATLAS_ERR_MALFORMED;
}
