/* The store, as record_store.c (what changes it) and store_query.c (what asks it) see it. */
#ifndef ATL_DISCOVERY_STORE_INTERNAL_H
#define ATL_DISCOVERY_STORE_INTERNAL_H

#include "discovery/record_store.h"
#include "discovery/store_expiry.h"
#include "discovery/store_offers.h"
#include "discovery/store_sources.h"

struct atl_record_store {
    atl_env *env;
    atl_record_store_limits limits;
    atl_record_store_stats stats;
    atl_store_memory memory;
    atl_pool entries;
    atl_store_table by_peer;
    atl_store_sources sources;
    atl_store_expiry expiry;
    atl_store_offers offers;
    atl_store_list unverified; /* by_age */
    atl_store_list tombstones; /* by_age */
    uint64_t random;
    void (*on_evict)(void *user, const atl_peer_id *peer); /* may be NULL */
    void *evict_user;
};

static inline atl_store_entry *atl_record_store_at(const atl_record_store *store, uint32_t handle) {
    return atl_store_entry_at(&store->entries, handle);
}

static inline int atl_store_is_tombstone(const atl_store_entry *entry) {
    return (entry->flags & ATL_STORE_TOMBSTONE) != 0;
}

static inline int atl_store_is_verified(const atl_store_entry *entry) {
    return (entry->flags & ATL_STORE_VERIFIED) != 0;
}

#endif
