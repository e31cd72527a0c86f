/* Records that a node has learned: the newest of each peer, until it expires; bounded, the least
 * recently used goes first. Written out and read in as bytes, so that a program can keep them. */
#ifndef ATL_DISCOVERY_RECORD_CACHE_H
#define ATL_DISCOVERY_RECORD_CACHE_H

#include "base/hashmap.h"
#include "base/list.h"
#include "discovery/record.h"

#define ATL_RECORD_CACHE_MAX 4096 /* peers */

typedef struct atl_record_cache atl_record_cache;

/* One record of the cache; valid until the cache changes. */
typedef struct atl_record_cached {
    atl_record_head head;
    const uint8_t *data; /* the envelope */
    size_t len;
} atl_record_cached;

int32_t atl_record_cache_new(atl_env *env, size_t max, atl_record_cache **out);
void atl_record_cache_free(atl_record_cache *cache); /* NULL is allowed */
/* Checks a record and takes it. `drift` as atl_record_in_time(). What atl_record_check() and
 * atl_record_in_time() return; ATLAS_ERR_RECORD_OLD when a newer one is there; ATLAS_ERR_EXISTS
 * when this very one is (not an error for most: it counts as used); ATLAS_ERR_NOMEM. *head may be
 * NULL and is filled whenever the record itself is valid. One whose lifetime is over by this clock,
 * and which is in time by `drift`, is kept for a minute; one that does not say when it was issued
 * for its lifetime from now. */
int32_t atl_record_cache_put(atl_record_cache *cache, const uint8_t *data, size_t len,
                             uint64_t drift, atl_record_head *head);
/* The same for one that was checked with atl_record_check() and in time already. */
int32_t atl_record_cache_put_checked(atl_record_cache *cache, const atl_record_head *head,
                                     const uint8_t *data, size_t len);
/* The record of a peer, unless it has expired (then it is dropped): 1 and *out, or 0. Counts as
 * use. */
int atl_record_cache_get(atl_record_cache *cache, const atl_peer_id *peer, atl_record_cached *out);
void atl_record_cache_remove(atl_record_cache *cache, const atl_peer_id *peer);
size_t atl_record_cache_count(const atl_record_cache *cache);
/* Calls fn for each record, the most recently used first; fn must not change the cache. Expired
 * ones are left out. Stops when fn returns 0. */
void atl_record_cache_each(atl_record_cache *cache,
                           int (*fn)(void *user, const atl_record_cached *record), void *user);

/* All records, the least recently used first, behind a magic number ("ATLR", version 1), each
 * behind its length. *len is what is needed, also with ATLAS_ERR_BUFFER; buf may be NULL when cap
 * is 0. */
int32_t atl_record_cache_export(atl_record_cache *cache, uint8_t *buf, size_t cap, size_t *len);
/* Reads what export wrote, from a file that may be damaged or forged: every record is checked as
 * any other; bad and old ones are left out and counted in *refused, good ones, those among them
 * that are there already, in *taken (either may be NULL). ATLAS_ERR_MALFORMED when it does not
 * begin with the magic number, ATLAS_ERR_TRUNCATED when it ends in the middle (what stands before
 * is taken), ATLAS_ERR_NOMEM. */
int32_t atl_record_cache_import(atl_record_cache *cache, const uint8_t *data, size_t len,
                                uint64_t drift, size_t *taken, size_t *refused);

#endif
