#include "discovery/store_expiry.h"

#include <string.h>

#define SECONDS ((uint32_t)ATL_EXPIRY_PAGE * ATL_EXPIRY_PAGES)
#define LINK offsetof(atl_store_entry, by_time)
#define BITS 64u

void atl_store_expiry_init(atl_store_expiry *expiry, const atl_pool *pool) {
    memset(expiry, 0, sizeof(*expiry));
    expiry->pool = pool;
}

void atl_store_expiry_free(atl_store_expiry *expiry) {
    size_t i;

    for (i = 0; i < ATL_EXPIRY_PAGES; i++) {
        atl_store_release(expiry->pool->memory, expiry->pages[i], sizeof(*expiry->pages[i]));
    }
    atl_store_expiry_init(expiry, expiry->pool);
}

/* ---- bitmaps ---- */

static void set_bit(uint64_t *words, uint32_t bit) {
    words[bit / BITS] |= UINT64_C(1) << (bit % BITS);
}

static void clear_bit(uint64_t *words, uint32_t bit) {
    words[bit / BITS] &= ~(UINT64_C(1) << (bit % BITS));
}

/* The first bit that is set in [from, end), or `end`. */
static uint32_t next_bit(const uint64_t *words, uint32_t from, uint32_t end) {
    while (from < end) {
        uint64_t word = words[from / BITS] >> (from % BITS);

        if (word != 0) {
            from += (uint32_t)__builtin_ctzll(word);
            return from < end ? from : end;
        }
        from = (from / BITS + 1) * BITS;
    }
    return end;
}

/* How many seconds after `expiry->second` the first bucket is that is not empty; some is. */
static uint32_t first_distance(const atl_store_expiry *expiry) {
    uint32_t from = (uint32_t)expiry->second % SECONDS;
    uint32_t page = from / ATL_EXPIRY_PAGE;
    uint32_t at = from % ATL_EXPIRY_PAGE;
    uint32_t found = ATL_EXPIRY_PAGE;

    if (expiry->pages[page] != NULL) {
        found = next_bit(expiry->pages[page]->used, at, ATL_EXPIRY_PAGE);
    }
    if (found == ATL_EXPIRY_PAGE) {
        uint32_t next = next_bit(expiry->used, page + 1, ATL_EXPIRY_PAGES);

        page = next < ATL_EXPIRY_PAGES ? next : next_bit(expiry->used, 0, ATL_EXPIRY_PAGES - 1);
        found = next_bit(expiry->pages[page]->used, 0, ATL_EXPIRY_PAGE);
    }
    return (page * ATL_EXPIRY_PAGE + found + SECONDS - from) % SECONDS;
}

/* ---- entries ---- */

static uint64_t second_after(uint64_t ns) {
    return ns / ATL_SECOND + (ns % ATL_SECOND != 0);
}

/* Moves the beginning of the wheel to the time that it is, as far as what is due allows. */
static void turn(atl_store_expiry *expiry, uint64_t now) {
    uint64_t to = now / ATL_SECOND;

    if (to > expiry->second) {
        uint64_t most = expiry->count == 0 ? to : expiry->second + first_distance(expiry);

        expiry->second = to < most ? to : most;
    }
}

/* The bucket for this time, its page made where there is none. */
static int32_t bucket_for(atl_store_expiry *expiry, uint64_t expires, uint32_t *out) {
    uint64_t at = second_after(expires);
    uint64_t last = expiry->second + SECONDS - 1;
    uint32_t bucket;
    atl_expiry_page **page;

    at = at < expiry->second ? expiry->second : at > last ? last : at;
    bucket = (uint32_t)(at % SECONDS);
    page = &expiry->pages[bucket / ATL_EXPIRY_PAGE];
    if (*page == NULL) {
        *page = atl_store_alloc(expiry->pool->memory, sizeof(**page));
        if (*page == NULL) {
            return ATLAS_ERR_NOMEM;
        }
        set_bit(expiry->used, bucket / ATL_EXPIRY_PAGE);
    }
    *out = bucket;
    return ATLAS_OK;
}

static void insert(atl_store_expiry *expiry, uint32_t handle, uint32_t bucket) {
    atl_expiry_page *page = expiry->pages[bucket / ATL_EXPIRY_PAGE];

    atl_store_entry_at(expiry->pool, handle)->due = bucket;
    set_bit(page->used, bucket % ATL_EXPIRY_PAGE);
    atl_store_list_append(expiry->pool, &page->buckets[bucket % ATL_EXPIRY_PAGE], LINK, handle);
    expiry->count++;
}

int32_t atl_store_expiry_add(atl_store_expiry *expiry, uint32_t handle, uint64_t expires,
                             uint64_t now) {
    uint32_t bucket;

    turn(expiry, now);
    if (bucket_for(expiry, expires, &bucket) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    insert(expiry, handle, bucket);
    return ATLAS_OK;
}

static void unlink_entry(atl_store_expiry *expiry, uint32_t handle, uint32_t bucket) {
    atl_expiry_page *page = expiry->pages[bucket / ATL_EXPIRY_PAGE];
    atl_store_list *list = &page->buckets[bucket % ATL_EXPIRY_PAGE];

    atl_store_list_remove(expiry->pool, list, LINK, handle);
    expiry->count--;
    if (list->first == 0) {
        clear_bit(page->used, bucket % ATL_EXPIRY_PAGE);
    }
}

static void drop_empty_page(atl_store_expiry *expiry, uint32_t i) {
    atl_expiry_page *page = expiry->pages[i];

    if (next_bit(page->used, 0, ATL_EXPIRY_PAGE) == ATL_EXPIRY_PAGE) {
        atl_store_release(expiry->pool->memory, page, sizeof(*page));
        expiry->pages[i] = NULL;
        clear_bit(expiry->used, i);
    }
}

int32_t atl_store_expiry_move(atl_store_expiry *expiry, uint32_t handle, uint64_t expires,
                              uint64_t now) {
    uint32_t old = atl_store_entry_at(expiry->pool, handle)->due;
    uint32_t bucket;

    turn(expiry, now);
    if (bucket_for(expiry, expires, &bucket) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    if (bucket != old) {
        unlink_entry(expiry, handle, old);
        insert(expiry, handle, bucket);
        drop_empty_page(expiry, old / ATL_EXPIRY_PAGE);
    }
    return ATLAS_OK;
}

void atl_store_expiry_remove(atl_store_expiry *expiry, uint32_t handle) {
    uint32_t bucket = atl_store_entry_at(expiry->pool, handle)->due;

    unlink_entry(expiry, handle, bucket);
    drop_empty_page(expiry, bucket / ATL_EXPIRY_PAGE);
}

uint32_t atl_store_expiry_due(atl_store_expiry *expiry, uint64_t now) {
    uint32_t bucket;

    if (expiry->count == 0) {
        return 0;
    }
    turn(expiry, now);
    if (expiry->second > now / ATL_SECOND || first_distance(expiry) != 0) {
        return 0;
    }
    bucket = (uint32_t)(expiry->second % SECONDS);
    return expiry->pages[bucket / ATL_EXPIRY_PAGE]->buckets[bucket % ATL_EXPIRY_PAGE].first;
}

uint64_t atl_store_expiry_deadline(const atl_store_expiry *expiry) {
    return expiry->count == 0 ? ATLAS_NO_DEADLINE
                              : (expiry->second + first_distance(expiry)) * ATL_SECOND;
}
