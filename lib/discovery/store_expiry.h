/* When the store's entries expire: a wheel of seconds that covers a day and a half, in pages of 256
 * seconds that exist while something is in them. Every call takes O(1). An entry comes due within
 * the second after its expiry. */
#ifndef ATL_DISCOVERY_STORE_EXPIRY_H
#define ATL_DISCOVERY_STORE_EXPIRY_H

#include "discovery/store_entry.h"

#define ATL_EXPIRY_PAGE 256 /* seconds */
#define ATL_EXPIRY_PAGES 512

typedef struct atl_expiry_page {
    uint64_t used[ATL_EXPIRY_PAGE / 64]; /* a bit for each bucket that is not empty */
    atl_store_list buckets[ATL_EXPIRY_PAGE];
} atl_expiry_page;

typedef struct atl_store_expiry {
    const atl_pool *pool;
    uint64_t second; /* all that is in the wheel is due then or later */
    uint32_t count;
    uint64_t used[ATL_EXPIRY_PAGES / 64]; /* a bit for each page that exists */
    atl_expiry_page *pages[ATL_EXPIRY_PAGES];
} atl_store_expiry;

void atl_store_expiry_init(atl_store_expiry *expiry, const atl_pool *pool);
void atl_store_expiry_free(atl_store_expiry *expiry);
/* Puts an entry into the wheel. Where `expires` is further away than the wheel reaches it comes
 * due too early, and is to be added again then. ATLAS_ERR_NOMEM. */
int32_t atl_store_expiry_add(atl_store_expiry *expiry, uint32_t handle, uint64_t expires,
                             uint64_t now);
/* The same for one that is in the wheel; on ATLAS_ERR_NOMEM it stays where it is. */
int32_t atl_store_expiry_move(atl_store_expiry *expiry, uint32_t handle, uint64_t expires,
                              uint64_t now);
void atl_store_expiry_remove(atl_store_expiry *expiry, uint32_t handle);
/* One that is due, or 0. It stays in the wheel. */
uint32_t atl_store_expiry_due(atl_store_expiry *expiry, uint64_t now);
/* Nanoseconds; ATLAS_NO_DEADLINE when the wheel is empty. */
uint64_t atl_store_expiry_deadline(const atl_store_expiry *expiry);

#endif
