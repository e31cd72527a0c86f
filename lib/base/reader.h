/* The bounded reader: the only way in which untrusted bytes are parsed. Loads are byte-wise, every
 * length is checked against what is left, and a failed read leaves the reader and the output
 * untouched. */
#ifndef ATL_BASE_READER_H
#define ATL_BASE_READER_H

#include <atlas/error.h>

typedef struct atl_reader {
    const uint8_t *data;
    size_t left;
} atl_reader;

static inline void atl_reader_init(atl_reader *reader, const void *data, size_t len) {
    reader->data = data;
    reader->left = len;
}

/* All return ATLAS_OK or ATLAS_ERR_TRUNCATED; integers are big-endian. */
int32_t atl_read_u8(atl_reader *reader, uint8_t *out);
int32_t atl_read_u16(atl_reader *reader, uint16_t *out);
int32_t atl_read_u32(atl_reader *reader, uint32_t *out);
int32_t atl_read_u64(atl_reader *reader, uint64_t *out);
int32_t atl_read_bytes(atl_reader *reader, void *out, size_t len);
int32_t atl_read_skip(atl_reader *reader, size_t len);
/* A view of the next `len` bytes, not copied. */
int32_t atl_read_view(atl_reader *reader, size_t len, const uint8_t **out);
/* A reader over the next `len` bytes. */
int32_t atl_read_sub(atl_reader *reader, size_t len, atl_reader *out);

/* QUIC variable-length integer (RFC 9000 section 16). */
int32_t atl_read_varint(atl_reader *reader, uint64_t *out);
/* A QUIC varint length and that many bytes. */
int32_t atl_read_varint_sub(atl_reader *reader, atl_reader *out);

/* Multiformats unsigned varint (LEB128, at most 9 bytes, 63 bits). ATLAS_ERR_MALFORMED when it is
 * not minimal or too long. */
int32_t atl_read_uvarint(atl_reader *reader, uint64_t *out);

#endif
