/* The little of protobuf that libp2p's messages need: fields of numbers and of bytes, read through
 * the bounded reader. Groups, field numbers above 2^29 - 1 and non-minimal tags and lengths are
 * refused. */
#ifndef ATL_IDENTITY_PROTO_H
#define ATL_IDENTITY_PROTO_H

#include "base/reader.h"
#include "base/writer.h"

#define ATL_PROTO_VARINT 0u
#define ATL_PROTO_FIXED64 1u
#define ATL_PROTO_BYTES 2u
#define ATL_PROTO_FIXED32 5u

typedef struct atl_proto_field {
    uint32_t number;
    uint32_t wire;    /* ATL_PROTO_* */
    uint64_t value;   /* of ATL_PROTO_VARINT, else 0 */
    atl_reader bytes; /* of ATL_PROTO_BYTES (a view, not copied), else empty */
} atl_proto_field;

/* Reads the next field, whatever its number. ATLAS_ERR_TRUNCATED (also at the end),
 * ATLAS_ERR_MALFORMED. */
int32_t atl_proto_next(atl_reader *reader, atl_proto_field *out);

void atl_proto_write_uint(atl_writer *writer, uint32_t number, uint64_t value); /* below 2^63 */
void atl_proto_write_bytes(atl_writer *writer, uint32_t number, const void *data, size_t len);

#endif
