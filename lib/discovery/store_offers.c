#include "discovery/store_offers.h"

#include <string.h>

#define FIRST_CAPACITY 16

void atl_store_offers_init(atl_store_offers *offers, const atl_pool *pool) {
    memset(offers, 0, sizeof(*offers));
    offers->pool = pool;
}

void atl_store_offers_free(atl_store_offers *offers) {
    size_t i;

    for (i = 0; i < ATL_STORE_OFFERS; i++) {
        atl_offer_index *index = &offers->by_offer[i];

        atl_store_release(offers->pool->memory, index->slots,
                          index->capacity * sizeof(*index->slots));
    }
    atl_store_offers_init(offers, offers->pool);
}

static void make_dense(atl_offer_index *index) {
    size_t to = 0;
    size_t i;

    for (i = index->first; i < index->end; i++) {
        if (index->slots[i].entry != 0) {
            index->slots[to++] = index->slots[i];
        }
    }
    index->first = 0;
    index->end = to;
}

/* To twice what is there, and back when it is an eighth. */
static int32_t resize(atl_store_offers *offers, atl_offer_index *index, size_t capacity) {
    atl_offer_slot *slots =
        atl_store_resize(offers->pool->memory, index->slots, index->capacity * sizeof(*slots),
                         capacity * sizeof(*slots));

    if (slots == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    index->slots = slots;
    index->capacity = capacity;
    return ATLAS_OK;
}

static int32_t reserve(atl_store_offers *offers, atl_offer_index *index) {
    if (index->end < index->capacity) {
        return ATLAS_OK;
    }
    /* whatever was taken out since pays for this */
    if (index->count < index->capacity / 4 * 3) {
        make_dense(index);
        return ATLAS_OK;
    }
    return resize(offers, index, index->capacity == 0 ? FIRST_CAPACITY : index->capacity * 2);
}

int32_t atl_store_offers_reserve(atl_store_offers *offers, uint32_t mask) {
    size_t i;

    for (i = 0; i < ATL_STORE_OFFERS; i++) {
        if ((mask >> i & 1) != 0 && reserve(offers, &offers->by_offer[i]) != ATLAS_OK) {
            return ATLAS_ERR_NOMEM;
        }
    }
    return ATLAS_OK;
}

void atl_store_offers_add(atl_store_offers *offers, uint32_t handle) {
    atl_store_entry *entry = atl_store_entry_at(offers->pool, handle);
    size_t i;

    if ((entry->offers & ATL_STORE_OFFER_MASK) == 0) {
        return;
    }
    entry->number = ++offers->last;
    for (i = 0; i < ATL_STORE_OFFERS; i++) {
        if ((entry->offers >> i & 1) != 0) {
            atl_offer_index *index = &offers->by_offer[i];

            index->slots[index->end].number = entry->number;
            index->slots[index->end++].entry = handle;
            index->count++;
        }
    }
}

size_t atl_offer_index_after(const atl_offer_index *index, uint64_t number) {
    size_t low = index->first;
    size_t high = index->end;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (index->slots[middle].number <= number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void take_out(atl_store_offers *offers, atl_offer_index *index, uint64_t number) {
    index->slots[atl_offer_index_after(index, number - 1)].entry = 0;
    index->count--;
    /* what expires first came first, mostly: gaps are at the beginning */
    while (index->first < index->end && index->slots[index->first].entry == 0) {
        index->first++;
    }
    if (index->end - index->first - index->count > index->count / 4) {
        make_dense(index);
    }
    if (index->capacity > FIRST_CAPACITY && index->count < index->capacity / 8) {
        make_dense(index);
        (void)resize(offers, index, index->capacity / 2);
    }
}

void atl_store_offers_remove(atl_store_offers *offers, uint32_t handle) {
    atl_store_entry *entry = atl_store_entry_at(offers->pool, handle);
    size_t i;

    if (entry->number == 0) {
        return;
    }
    for (i = 0; i < ATL_STORE_OFFERS; i++) {
        if ((entry->offers >> i & 1) != 0) {
            take_out(offers, &offers->by_offer[i], entry->number);
        }
    }
    entry->number = 0;
}

const atl_offer_index *atl_store_offers_index(const atl_store_offers *offers, uint32_t offer) {
    size_t i;

    for (i = 0; i < ATL_STORE_OFFERS; i++) {
        if (offer == 1u << i) {
            return &offers->by_offer[i];
        }
    }
    return NULL;
}
