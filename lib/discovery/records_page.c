#include "discovery/records_page.h"

#define CURSOR_ROOM 8 /* the longest varint */

void atl_records_page_begin(atl_records_page *page, uint8_t *buf, size_t cap) {
    page->buf = buf;
    page->cap = cap < ATL_RECORDS_PAGE_MAX ? cap : ATL_RECORDS_PAGE_MAX;
    page->len = 0;
}

int32_t atl_records_page_add(atl_records_page *page, const uint8_t *data, size_t len) {
    size_t used = CURSOR_ROOM + page->len;
    atl_writer writer;

    if (len == 0 || len > ATL_RECORD_MAX) {
        return ATLAS_ERR_INVALID;
    }
    if (used > page->cap) {
        return ATLAS_ERR_BUFFER;
    }
    atl_writer_init(&writer, page->buf + used, page->cap - used);
    atl_write_varint(&writer, len);
    atl_write_bytes(&writer, data, len);
    if (writer.error == ATLAS_OK) {
        page->len += writer.len;
    }
    return writer.error;
}

const uint8_t *atl_records_page_finish(atl_records_page *page, uint64_t cursor, size_t *len) {
    size_t taken = atl_varint_len(cursor);
    uint8_t *start = page->buf + CURSOR_ROOM - taken;
    atl_writer writer;

    atl_writer_init(&writer, start, taken);
    atl_write_varint(&writer, cursor);
    *len = taken + page->len;
    return start;
}

int32_t atl_records_page_open(const uint8_t *data, size_t len, atl_reader *reader,
                              uint64_t *cursor) {
    atl_reader whole;
    int32_t rc;

    if (len > ATL_RECORDS_PAGE_MAX) {
        return ATLAS_ERR_TOO_LARGE;
    }
    atl_reader_init(&whole, data, len);
    rc = atl_read_varint(&whole, cursor);
    if (rc == ATLAS_OK) {
        *reader = whole;
    }
    return rc;
}

int32_t atl_records_page_next(atl_reader *reader, const uint8_t **data, size_t *len) {
    atl_reader copy = *reader;
    uint64_t size;
    int32_t rc;

    if (copy.left == 0) {
        return ATLAS_ERR_NOT_FOUND;
    }
    rc = atl_read_varint(&copy, &size);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (size == 0 || size > ATL_RECORD_MAX) {
        return size == 0 ? ATLAS_ERR_MALFORMED : ATLAS_ERR_TOO_LARGE;
    }
    rc = atl_read_view(&copy, (size_t)size, data);
    if (rc == ATLAS_OK) {
        *len = (size_t)size;
        *reader = copy;
    }
    return rc;
}
