/* A page of records, as the registry lists them (docs/discovery.md, section 3): a varint cursor,
 * then each record behind its length as a varint. Written by the registry, read by its clients. */
#ifndef ATL_DISCOVERY_RECORDS_PAGE_H
#define ATL_DISCOVERY_RECORDS_PAGE_H

#include "base/reader.h"
#include "base/writer.h"
#include "discovery/record.h"

#define ATL_RECORDS_PAGE_TYPE "application/x-atlas-records"
#define ATL_RECORDS_PAGE_MAX 65536 /* bytes */

/* ---- writing ---- */

/* Begins a page in buf[cap]; the cursor comes with atl_records_page_finish(). */
typedef struct atl_records_page {
    uint8_t *buf;
    size_t cap;
    size_t len; /* of the records, behind the room for the cursor */
} atl_records_page;

void atl_records_page_begin(atl_records_page *page, uint8_t *buf, size_t cap);
/* Adds a record (1..ATL_RECORD_MAX bytes). ATLAS_ERR_BUFFER when it no longer fits: the page stays
 * as it is. ATLAS_ERR_INVALID. */
int32_t atl_records_page_add(atl_records_page *page, const uint8_t *data, size_t len);
/* Where the page begins in `buf`, and its length. `cursor` (below 2^62): where the next page
 * begins; 0: this is the last one. */
const uint8_t *atl_records_page_finish(atl_records_page *page, uint64_t cursor, size_t *len);

/* ---- reading ---- */

/* Reads the cursor. ATLAS_ERR_TOO_LARGE for more than ATL_RECORDS_PAGE_MAX bytes,
 * ATLAS_ERR_TRUNCATED. */
int32_t atl_records_page_open(const uint8_t *data, size_t len, atl_reader *reader,
                              uint64_t *cursor);
/* The next record, a view, unchecked. ATLAS_ERR_NOT_FOUND at the end of the page,
 * ATLAS_ERR_TRUNCATED, ATLAS_ERR_TOO_LARGE for a record of more than ATL_RECORD_MAX bytes,
 * ATLAS_ERR_MALFORMED for an empty one. */
int32_t atl_records_page_next(atl_reader *reader, const uint8_t **data, size_t *len);

#endif
