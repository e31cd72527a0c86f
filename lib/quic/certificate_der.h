/* The DER that certificates need: definite minimal lengths below 64 KiB, one-byte tags, X.509
 * times. Reading goes through the bounded reader and copies nothing. */
#ifndef ATL_QUIC_CERTIFICATE_DER_H
#define ATL_QUIC_CERTIFICATE_DER_H

#include "base/reader.h"
#include "base/writer.h"

#define ATL_DER_BOOLEAN 0x01
#define ATL_DER_INTEGER 0x02
#define ATL_DER_BIT_STRING 0x03
#define ATL_DER_OCTET_STRING 0x04
#define ATL_DER_NULL 0x05
#define ATL_DER_OID 0x06
#define ATL_DER_UTC_TIME 0x17
#define ATL_DER_GENERALIZED_TIME 0x18
#define ATL_DER_SEQUENCE 0x30
#define ATL_DER_CONTEXT(n) (0x80 | (n))             /* primitive [n] */
#define ATL_DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n)) /* constructed [n] */

/* 1 when the next element has this tag. */
int atl_der_next_is(const atl_reader *reader, uint8_t tag);
/* Takes one element of this tag; `content` gets what is inside, `whole` (may be NULL) the element
 * itself. ATLAS_ERR_TRUNCATED, ATLAS_ERR_MALFORMED. */
int32_t atl_der_read(atl_reader *reader, uint8_t tag, atl_reader *content, atl_reader *whole);
/* A BIT STRING of whole bytes. */
int32_t atl_der_read_bits(atl_reader *reader, atl_reader *bytes);
/* UTCTime or GeneralizedTime in the form of RFC 5280 (seconds, Z) as seconds since 1970. */
int32_t atl_der_read_time(atl_reader *reader, int64_t *out);
/* 1 when the content is these bytes. */
int atl_der_equal(const atl_reader *content, const uint8_t *bytes, size_t len);

void atl_der_write(atl_writer *writer, uint8_t tag, const void *content, size_t len);
/* A BIT STRING of whole bytes. */
void atl_der_write_bits(atl_writer *writer, const void *bytes, size_t len);
/* As RFC 5280 demands: UTCTime through 2049, GeneralizedTime later. Years 1970 to 9999. */
void atl_der_write_time(atl_writer *writer, int64_t seconds);

#endif
