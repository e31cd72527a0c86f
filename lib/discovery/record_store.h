/* The registry's memory: records of all nodes, by id and by offer, bounded in all, per IPv4 address
 * and per IPv6 /64 from which they were put. Where it is full the oldest record that nobody has
 * verified makes way; a verified one never does for another.
 *
 * Memory per record is the envelope and some 100 bytes (bench_registry). Every call takes O(1). */
#ifndef ATL_DISCOVERY_RECORD_STORE_H
#define ATL_DISCOVERY_RECORD_STORE_H

#include "address/addr.h"
#include "base/env.h"
#include "discovery/record.h"

typedef struct atl_record_store atl_record_store;

/* May change while running. */
typedef struct atl_record_store_limits {
    uint64_t max_records;
    uint64_t max_per_ipv4;    /* records put from one IPv4 address */
    uint64_t max_per_ipv6_64; /* and from one IPv6 /64 */
} atl_record_store_limits;

typedef struct atl_record_store_stats {
    uint64_t records;    /* now, tombstones not counted */
    uint64_t tombstones; /* now */
    uint64_t bytes;      /* of memory now, tables included */
    uint64_t puts;       /* taken: new ones and newer ones */
    uint64_t refreshed;  /* put again as they were */
    uint64_t deleted;
    uint64_t expired;
    uint64_t evicted; /* unverified ones that made way */
    uint64_t refused_old;
    uint64_t refused_full; /* everything is verified */
    uint64_t refused_ipv4;
    uint64_t refused_ipv6;
} atl_record_store_stats;

/* A record in the store; valid until the store changes. */
typedef struct atl_record_view {
    atl_peer_id peer;
    const uint8_t *data; /* the envelope; NULL for a tombstone */
    size_t len;
    uint64_t seq;
    uint64_t expires; /* nanoseconds of the loop's clock */
    uint32_t offers;
    uint8_t verified;
    uint64_t number; /* of its place among those with its first offer: grows; see _list() */
} atl_record_view;

int32_t atl_record_store_new(atl_env *env, const atl_record_store_limits *limits,
                             atl_record_store **out);
void atl_record_store_free(atl_record_store *store); /* NULL is allowed */
atl_record_store_limits *atl_record_store_limits_of(atl_record_store *store);
const atl_record_store_stats *atl_record_store_get_stats(const atl_record_store *store);

/* What is put: `head` is what atl_record_check() found in `data` (copied). `source`: who put it.
 * `verified`: by the record's own node, on its authenticated connection, from an address that the
 * record or the registry's own observation vouches for. */
typedef struct atl_record_put {
    const atl_record_head *head;
    const uint8_t *data;
    size_t len;
    const atl_addr *source;
    uint8_t verified;
    uint64_t expires; /* nanoseconds */
} atl_record_put;

/* ATLAS_OK; ATLAS_ERR_EXISTS when this very record was there (its expiry is renewed; a success);
 * ATLAS_ERR_RECORD_OLD when one with a higher sequence number (or the same, and other bytes) is
 * there, or was deleted; ATLAS_ERR_RECORD_LIMIT; ATLAS_ERR_NOMEM. A refused put changes nothing. An
 * update stays charged to its new source. */
int32_t atl_record_store_put(atl_record_store *store, const atl_record_put *put, uint64_t now);
/* 1 and *out, or 0. Expired records are not there. */
int atl_record_store_get(atl_record_store *store, const atl_peer_id *peer, uint64_t now,
                         atl_record_view *out);
/* The highest sequence number that is or was there, tombstones included; 0: none. */
uint64_t atl_record_store_seq(const atl_record_store *store, const atl_peer_id *peer);
/* Deletes a record; a tombstone with its sequence number stays until it would have expired, so that
 * nobody can put it back. 1 when there was one. */
int atl_record_store_delete(atl_record_store *store, const atl_peer_id *peer, uint64_t now);

/* Records with an offer (one bit of ATLAS_OFFER_*), at most `cap`, in the order in which they came:
 * those behind place `after` (0: from the first). The next page begins behind the `number` of the
 * last; a page that is not full is the last. No record that stays is missed or comes twice. */
size_t atl_record_store_list(atl_record_store *store, uint32_t offer, uint64_t after, uint64_t now,
                             atl_record_view *out, size_t cap);
/* `cap` different ones of them at random (all, in random order, when there are no more). */
size_t atl_record_store_sample(atl_record_store *store, uint32_t offer, uint64_t now,
                               atl_record_view *out, size_t cap);
/* How many have this offer. */
size_t atl_record_store_count(const atl_record_store *store, uint32_t offer);

/* Drops what has expired, at most `budget` records; returns how many. */
size_t atl_record_store_expire(atl_record_store *store, uint64_t now, size_t budget);
/* When the next record expires, nanoseconds; ATLAS_NO_DEADLINE when there is none. May be early. */
uint64_t atl_record_store_deadline(const atl_record_store *store);

#endif
