/* Memory of the registry's store: slots of one size, named by 32-bit handles, which take half the
 * room of a pointer, and lists of such slots. Handle 0 is none, so that zeroed memory is empty. */
#ifndef ATL_DISCOVERY_STORE_POOL_H
#define ATL_DISCOVERY_STORE_POOL_H

#include "base/env.h"

/* Memory that is counted: what was asked for, the allocator's own overhead left out. */
typedef struct atl_store_memory {
    atl_env *env;
    uint64_t *bytes;
} atl_store_memory;

void *atl_store_alloc(const atl_store_memory *memory, size_t size); /* zeroed */
/* From `old` bytes (0: ptr is NULL) to `size`; what is new is not zeroed. */
void *atl_store_resize(const atl_store_memory *memory, void *ptr, size_t old, size_t size);
void atl_store_release(const atl_store_memory *memory, void *ptr, size_t size); /* NULL: nothing */

#define ATL_POOL_SLOTS 256 /* of a chunk */

typedef struct atl_pool_chunk {
    uint32_t used;
    uint32_t fresh;      /* slots from here on were never used */
    uint32_t free;       /* the first slot that was given back, from 1; 0: none */
    uint32_t prev, next; /* chunks with room, from 1; 0: none */
    uint32_t reserved;
    uint64_t slots[]; /* for alignment: slots have the pool's size */
} atl_pool_chunk;

typedef struct atl_pool_place {
    atl_pool_chunk *chunk;
    uint32_t gap; /* without chunk: the next such place, from 1 */
} atl_pool_place;

/* Grows and shrinks by chunks that never move; no call takes longer when it is large. */
typedef struct atl_pool {
    const atl_store_memory *memory;
    atl_pool_place *places;
    uint32_t slot_size;
    uint32_t capacity; /* of places */
    uint32_t n_places;
    uint32_t gap;  /* the first place without chunk, from 1; 0: none */
    uint32_t room; /* the first chunk with room, from 1; 0: none */
    uint32_t count;
} atl_pool;

/* `slot_size` is a multiple of 4, of 8 where a slot's members need that. */
void atl_pool_init(atl_pool *pool, const atl_store_memory *memory, uint32_t slot_size);
void atl_pool_free(atl_pool *pool);
/* A zeroed slot; 0 when there is no memory. */
uint32_t atl_pool_take(atl_pool *pool);
void atl_pool_give(atl_pool *pool, uint32_t handle);

static inline void *atl_pool_at(const atl_pool *pool, uint32_t handle) {
    uint32_t i = handle - 1;

    return (uint8_t *)pool->places[i / ATL_POOL_SLOTS].chunk->slots +
           (size_t)(i % ATL_POOL_SLOTS) * pool->slot_size;
}

typedef struct atl_store_link {
    uint32_t prev, next;
} atl_store_link;

typedef struct atl_store_list {
    uint32_t first, last;
} atl_store_list;

/* `offset` of the atl_store_link in the slot. */
void atl_store_list_append(const atl_pool *pool, atl_store_list *list, size_t offset,
                           uint32_t handle);
/* It must be in this list. */
void atl_store_list_remove(const atl_pool *pool, atl_store_list *list, size_t offset,
                           uint32_t handle);

#endif
