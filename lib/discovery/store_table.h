/* A hash table of a pool's slots by a key that stands in the slot (peer ids, addresses) and that
 * strangers choose: SipHash with a key of its own. It grows and shrinks by one bucket at a time
 * (linear hashing), so that no call ever waits until a million entries are hashed anew; it takes
 * four bytes per entry. */
#ifndef ATL_DISCOVERY_STORE_TABLE_H
#define ATL_DISCOVERY_STORE_TABLE_H

#include "discovery/store_pool.h"

typedef struct atl_store_table {
    const atl_pool *pool;
    uint32_t key_offset; /* of the key in a slot, key_len bytes */
    uint32_t key_len;
    uint32_t next_offset; /* of a uint32_t in a slot: the next in the bucket */
    uint32_t segments;
    uint32_t capacity; /* for segments */
    uint32_t n;        /* buckets */
    uint32_t mask;     /* of the greatest power of two that is not above n, minus one */
    uint32_t count;
    uint32_t **buckets; /* by segment */
    uint8_t secret[16];
} atl_store_table;

/* ATLAS_OK, ATLAS_ERR_RANDOM, ATLAS_ERR_NOMEM. */
int32_t atl_store_table_init(atl_store_table *table, const atl_pool *pool, size_t key_offset,
                             size_t key_len, size_t next_offset);
void atl_store_table_free(atl_store_table *table); /* legal for a zeroed one */
/* 0: not there. */
uint32_t atl_store_table_find(const atl_store_table *table, const void *key);
/* Its key is there and no other has it. Cannot fail: without memory the table grows later. */
void atl_store_table_add(atl_store_table *table, uint32_t handle);
void atl_store_table_remove(atl_store_table *table, uint32_t handle);

#endif
