/* Whom the store's entries are charged to: an IPv4 address or an IPv6 /64. A source exists while
 * something is charged to it, so that there are never more of them than entries. */
#ifndef ATL_DISCOVERY_STORE_SOURCES_H
#define ATL_DISCOVERY_STORE_SOURCES_H

#include "address/addr.h"
#include "discovery/store_table.h"

typedef struct atl_store_source {
    uint8_t key[8];            /* atl_addr_limit_key() */
    uint32_t family;           /* 4 or 6; part of the key */
    uint32_t next;             /* in the table */
    uint32_t count;            /* entries that are charged to it */
    atl_store_list unverified; /* of them, the oldest first (by_source) */
} atl_store_source;

typedef struct atl_store_sources {
    atl_pool pool;
    atl_store_table table;
} atl_store_sources;

/* ATLAS_OK, ATLAS_ERR_RANDOM, ATLAS_ERR_NOMEM. */
int32_t atl_store_sources_init(atl_store_sources *sources, const atl_store_memory *memory);
void atl_store_sources_free(atl_store_sources *sources);
/* 0: nothing is charged to it. An address of no family, or NULL, is never charged. */
uint32_t atl_store_sources_find(const atl_store_sources *sources, const atl_addr *addr);
/* Charges one entry to an address; *out is 0 for one that is never charged. ATLAS_ERR_NOMEM. */
int32_t atl_store_sources_charge(atl_store_sources *sources, const atl_addr *addr, uint32_t *out);
void atl_store_sources_discharge(atl_store_sources *sources, uint32_t handle); /* 0: nothing */

static inline atl_store_source *atl_store_source_at(const atl_store_sources *sources,
                                                    uint32_t handle) {
    return atl_pool_at(&sources->pool, handle);
}

#endif
