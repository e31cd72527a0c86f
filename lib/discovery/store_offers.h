/* The store's index by offer: for each offer the entries that have it, in the order in which they
 * came, in an array with gaps that is made dense again before a quarter of it is gaps. */
#ifndef ATL_DISCOVERY_STORE_OFFERS_H
#define ATL_DISCOVERY_STORE_OFFERS_H

#include "discovery/store_entry.h"

#define ATL_STORE_OFFERS 3 /* relay, bootstrap, dialback (atlas/discovery.h) */
#define ATL_STORE_OFFER_MASK ((1u << ATL_STORE_OFFERS) - 1)

typedef struct atl_offer_slot {
    uint64_t number;
    uint32_t entry; /* handle; 0: a gap */
} atl_offer_slot;

typedef struct atl_offer_index {
    atl_offer_slot *slots; /* numbers grow */
    size_t first, end;     /* slots in use; the first is no gap */
    size_t count;          /* of them without gaps */
    size_t capacity;
} atl_offer_index;

typedef struct atl_store_offers {
    const atl_pool *pool;
    uint64_t last; /* number that was given out */
    atl_offer_index by_offer[ATL_STORE_OFFERS];
} atl_store_offers;

void atl_store_offers_init(atl_store_offers *offers, const atl_pool *pool);
void atl_store_offers_free(atl_store_offers *offers);
/* Room for one more entry with these offers. ATLAS_ERR_NOMEM. */
int32_t atl_store_offers_reserve(atl_store_offers *offers, uint32_t mask);
/* Gives an entry its number, as its offers are; after _reserve(), nothing in between. */
void atl_store_offers_add(atl_store_offers *offers, uint32_t handle);
void atl_store_offers_remove(atl_store_offers *offers, uint32_t handle); /* not in it: nothing */
/* The array of one offer (one bit), or NULL for another number. */
const atl_offer_index *atl_store_offers_index(const atl_store_offers *offers, uint32_t offer);
/* The first slot behind this number. */
size_t atl_offer_index_after(const atl_offer_index *index, uint64_t number);

#endif
