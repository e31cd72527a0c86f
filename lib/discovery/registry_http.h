/* The registry of peer records on the node's HTTP/3 server (docs/discovery.md, section 3): put,
 * get, list by offer, delete, and the page for people. Requests come from relay/server.h, which
 * owns the connections. */
#ifndef ATL_DISCOVERY_REGISTRY_HTTP_H
#define ATL_DISCOVERY_REGISTRY_HTTP_H

#include "discovery/record_store.h"
#include "discovery/registry_parse.h"
#include "discovery/store_file.h"
#include "http3/session.h"
#include "relay/server.h"

/* Puts whose body is still coming or that wait for the disk; in all, and of one IPv4 address or
 * IPv6 /64. */
#define ATL_REGISTRY_PUTS 256
#define ATL_REGISTRY_PUTS_SOURCE 48
#define ATL_REGISTRY_PUT_TIMEOUT (10 * ATL_SECOND) /* for a body to come */

typedef struct atl_registry_http atl_registry_http;

typedef struct atl_registry_http_config {
    atl_loop *loop;
    atl_record_store_limits limits;
    const uint64_t *ttl;             /* seconds that a record lives without being put again */
    const uint64_t *max_clock_drift; /* seconds */
    const char *path;                /* SQLite file; NULL: memory only */
    const char *version;             /* for the page; NULL: not said */
    /* Writes the page for people (HTML, UTF-8) to buf[cap] and returns its length; 0: it does not
     * fit. NULL: the registry's own. */
    size_t (*page)(void *user, char *buf, size_t cap);
    void *user; /* for the call above */
} atl_registry_http_config;

typedef struct atl_registry_http_stats {
    uint64_t puts, gets, lists, deletes; /* requests */
    uint64_t found, not_found;           /* of the gets */
    uint64_t refused_malformed, refused_signature, refused_expired, refused_old, refused_limit,
        refused_rate, refused_size, refused_identity;
    uint64_t disk_errors;
} atl_registry_http_stats;

/* Opens the file, if any, and loads it. What atl_store_file_open() and _load() return. */
int32_t atl_registry_http_new(const atl_registry_http_config *config, atl_registry_http **out);
/* Commits what is pending. Requests that wait are dropped. NULL is allowed. */
void atl_registry_http_free(atl_registry_http *registry);
atl_record_store *atl_registry_http_store(atl_registry_http *registry);
const atl_registry_http_stats *atl_registry_http_get_stats(const atl_registry_http *registry);

/* Requests per IPv4 address or IPv6 /64: how many a second in the long run, and at once. Puts and
 * deletes: 20 and 200 at first; gets, lists and the page: 200 and 1,000. A rate of 0: no limit. */
void atl_registry_http_set_put_rate(atl_registry_http *registry, uint64_t rate, uint64_t burst);
void atl_registry_http_set_get_rate(atl_registry_http *registry, uint64_t rate, uint64_t burst);

/* The hooks for relay/server.h's table of requests; `user` is the registry. Paths below
 * ATL_RECORDS_PATH are taken, and "/" where `registry` serves the page. */
extern const atl_requests_ops atl_registry_http_ops;

/* A record of this node itself, which needs no HTTP to be put here: a verified one, charged to
 * nobody's address. What atl_record_check(), atl_record_in_time() and atl_record_store_put()
 * return, ATLAS_OK for one that is there already; ATLAS_ERR_IO. */
int32_t atl_registry_http_put_own(atl_registry_http *registry, const uint8_t *data, size_t len);
/* Deletes it. ATLAS_ERR_RECORD_NOT_FOUND, ATLAS_ERR_IO. */
int32_t atl_registry_http_delete_own(atl_registry_http *registry, const atl_peer_id *self);

#endif
