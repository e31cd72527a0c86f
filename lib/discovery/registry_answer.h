/* The bodies of the registry's answers (docs/discovery.md, section 3): lists as pages or JSON,
 * errors, and the page for people. */
#ifndef ATL_DISCOVERY_REGISTRY_ANSWER_H
#define ATL_DISCOVERY_REGISTRY_ANSWER_H

#include "discovery/record_store.h"
#include "discovery/records_page.h"
#include "discovery/registry_parse.h"

#define ATL_REGISTRY_JSON "application/json"
#define ATL_REGISTRY_HTML "text/html; charset=utf-8"
#define ATL_REGISTRY_BODY_MAX ATL_RECORDS_PAGE_MAX /* bytes: every body fits */

/* A body; `data` is in the buffer that was given. */
typedef struct atl_registry_body {
    const void *data;
    size_t len;
    const char *type;
} atl_registry_body;

/* Records as the target (ATL_REGISTRY_LIST) wants them, in buf[ATL_REGISTRY_BODY_MAX]: as many as
 * fit. */
void atl_registry_list(atl_record_store *store, const atl_registry_target *target, uint64_t now,
                       uint8_t *buf, atl_registry_body *out);

/* An error: how it is told. */
typedef struct atl_registry_error {
    int32_t status;
    const char *name;
    const char *text;
    uint64_t seq; /* of "old": the number that is known */
} atl_registry_error;

/* Texts in buf[cap]: their length without the NUL, or 0 when they do not fit. */
size_t atl_registry_error_json(const atl_registry_error *error, char *buf, size_t cap);
size_t atl_registry_ttl_json(uint64_t seconds, char *buf, size_t cap);

/* What the page for people says. */
typedef struct atl_registry_page {
    const char *version; /* NULL: not said */
    uint64_t uptime;     /* seconds */
    uint64_t records, relays, bootstraps, dialbacks;
    uint64_t gets, found, lists, puts, taken, refused, deletes;
    uint64_t memory; /* bytes */
    int file;        /* 1: records are on disk */
} atl_registry_page;
size_t atl_registry_page_html(const atl_registry_page *page, char *buf, size_t cap);
/* Any text, so that HTML shows it as it is. */
size_t atl_registry_escape_html(const char *text, char *buf, size_t cap);

/* How a code is told, with its own sentence: what a record's check returns, what the store returns
 * (ATLAS_ERR_RECORD_LIMIT for a full one, ATLAS_ERR_LIMIT for too many records of an address),
 * ATLAS_ERR_PERMISSION for who is nobody, ATLAS_ERR_RELAY_IDENTITY for who is another,
 * ATLAS_ERR_STATE for another method, ATLAS_ERR_TIMEOUT, ATLAS_ERR_IO. Others are "malformed". */
void atl_registry_error_of(int32_t code, atl_registry_error *out);

#endif
