/* The bounded writer: fills a caller's buffer and remembers an overflow, so that a message is
 * written in a straight line and checked once at the end. */
#ifndef ATL_BASE_WRITER_H
#define ATL_BASE_WRITER_H

#include <atlas/error.h>

typedef struct atl_writer {
    uint8_t *data;
    size_t cap;
    size_t len;    /* bytes written */
    int32_t error; /* ATLAS_OK or ATLAS_ERR_BUFFER, for good */
} atl_writer;

static inline void atl_writer_init(atl_writer *writer, void *data, size_t cap) {
    writer->data = data;
    writer->cap = cap;
    writer->len = 0;
    writer->error = ATLAS_OK;
}

/* Integers are big-endian. Nothing is written once the writer has overflowed. */
void atl_write_u8(atl_writer *writer, uint8_t value);
void atl_write_u16(atl_writer *writer, uint16_t value);
void atl_write_u32(atl_writer *writer, uint32_t value);
void atl_write_u64(atl_writer *writer, uint64_t value);
void atl_write_bytes(atl_writer *writer, const void *data, size_t len);
void atl_write_zeros(atl_writer *writer, size_t len);
void atl_write_varint(atl_writer *writer, uint64_t value); /* QUIC; overflow when >= 2^62 */
void atl_write_uvarint(atl_writer *writer,
                       uint64_t value); /* multiformats; overflow when >= 2^63 */

/* Bytes that the varint of `value` takes. */
size_t atl_varint_len(uint64_t value);

#endif
