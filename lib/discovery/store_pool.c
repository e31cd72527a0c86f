#include "discovery/store_pool.h"

#include <string.h>

#define FIRST_CAPACITY 16

void *atl_store_alloc(const atl_store_memory *memory, size_t size) {
    void *ptr = atl_calloc(memory->env, 1, size);

    if (ptr != NULL) {
        *memory->bytes += size;
    }
    return ptr;
}

void *atl_store_resize(const atl_store_memory *memory, void *ptr, size_t old, size_t size) {
    void *moved = atl_realloc(memory->env, ptr, size);

    if (moved != NULL) {
        *memory->bytes += size;
        *memory->bytes -= old;
    }
    return moved;
}

void atl_store_release(const atl_store_memory *memory, void *ptr, size_t size) {
    if (ptr != NULL) {
        *memory->bytes -= size;
        atl_free(memory->env, ptr);
    }
}

/* ---- slots ---- */

void atl_pool_init(atl_pool *pool, const atl_store_memory *memory, uint32_t slot_size) {
    memset(pool, 0, sizeof(*pool));
    pool->memory = memory;
    pool->slot_size = slot_size;
}

static size_t chunk_size(const atl_pool *pool) {
    return sizeof(atl_pool_chunk) + (size_t)ATL_POOL_SLOTS * pool->slot_size;
}

void atl_pool_free(atl_pool *pool) {
    uint32_t i;

    for (i = 0; i < pool->n_places; i++) {
        atl_store_release(pool->memory, pool->places[i].chunk, chunk_size(pool));
    }
    atl_store_release(pool->memory, pool->places, pool->capacity * sizeof(*pool->places));
    atl_pool_init(pool, pool->memory, pool->slot_size);
}

static void link_room(atl_pool *pool, uint32_t place) {
    atl_pool_chunk *chunk = pool->places[place].chunk;

    chunk->prev = 0;
    chunk->next = pool->room;
    if (pool->room != 0) {
        pool->places[pool->room - 1].chunk->prev = place + 1;
    }
    pool->room = place + 1;
}

static void unlink_room(atl_pool *pool, uint32_t place) {
    atl_pool_chunk *chunk = pool->places[place].chunk;

    if (chunk->prev != 0) {
        pool->places[chunk->prev - 1].chunk->next = chunk->next;
    } else {
        pool->room = chunk->next;
    }
    if (chunk->next != 0) {
        pool->places[chunk->next - 1].chunk->prev = chunk->prev;
    }
}

static int32_t grow_places(atl_pool *pool) {
    uint32_t capacity = pool->capacity == 0 ? FIRST_CAPACITY : pool->capacity * 2;
    atl_pool_place *places;

    if (capacity > UINT32_MAX / ATL_POOL_SLOTS) {
        return ATLAS_ERR_NOMEM; /* handles end here */
    }
    places = atl_store_resize(pool->memory, pool->places, pool->capacity * sizeof(*places),
                              capacity * sizeof(*places));
    if (places == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    pool->places = places;
    pool->capacity = capacity;
    return ATLAS_OK;
}

static int32_t add_chunk(atl_pool *pool) {
    atl_pool_chunk *chunk;
    uint32_t place;

    if (pool->gap == 0 && pool->n_places == pool->capacity && grow_places(pool) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    chunk = atl_store_alloc(pool->memory, chunk_size(pool));
    if (chunk == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    if (pool->gap != 0) {
        place = pool->gap - 1;
        pool->gap = pool->places[place].gap;
    } else {
        place = pool->n_places++;
    }
    pool->places[place].chunk = chunk;
    pool->places[place].gap = 0;
    link_room(pool, place);
    return ATLAS_OK;
}

uint32_t atl_pool_take(atl_pool *pool) {
    atl_pool_chunk *chunk;
    uint32_t place;
    uint32_t handle;

    if (pool->room == 0 && add_chunk(pool) != ATLAS_OK) {
        return 0;
    }
    place = pool->room - 1;
    chunk = pool->places[place].chunk;
    if (chunk->free != 0) {
        handle = place * ATL_POOL_SLOTS + chunk->free;
        memcpy(&chunk->free, atl_pool_at(pool, handle), sizeof(chunk->free));
    } else {
        handle = place * ATL_POOL_SLOTS + ++chunk->fresh;
    }
    chunk->used++;
    pool->count++;
    if (chunk->used == ATL_POOL_SLOTS) {
        unlink_room(pool, place);
    }
    memset(atl_pool_at(pool, handle), 0, pool->slot_size);
    return handle;
}

void atl_pool_give(atl_pool *pool, uint32_t handle) {
    uint32_t place = (handle - 1) / ATL_POOL_SLOTS;
    atl_pool_chunk *chunk = pool->places[place].chunk;

    memcpy(atl_pool_at(pool, handle), &chunk->free, sizeof(chunk->free));
    chunk->free = (handle - 1) % ATL_POOL_SLOTS + 1;
    pool->count--;
    if (chunk->used-- == ATL_POOL_SLOTS) {
        link_room(pool, place);
    }
    /* one that is empty stays, if it is the only one with room: the next slot is taken soon */
    if (chunk->used == 0 && (chunk->prev != 0 || chunk->next != 0)) {
        unlink_room(pool, place);
        atl_store_release(pool->memory, chunk, chunk_size(pool));
        pool->places[place].chunk = NULL;
        pool->places[place].gap = pool->gap;
        pool->gap = place + 1;
    }
}

/* ---- lists ---- */

static atl_store_link *link_of(const atl_pool *pool, size_t offset, uint32_t handle) {
    return (atl_store_link *)(void *)((uint8_t *)atl_pool_at(pool, handle) + offset);
}

void atl_store_list_append(const atl_pool *pool, atl_store_list *list, size_t offset,
                           uint32_t handle) {
    atl_store_link *link = link_of(pool, offset, handle);

    link->prev = list->last;
    link->next = 0;
    if (list->last != 0) {
        link_of(pool, offset, list->last)->next = handle;
    } else {
        list->first = handle;
    }
    list->last = handle;
}

void atl_store_list_remove(const atl_pool *pool, atl_store_list *list, size_t offset,
                           uint32_t handle) {
    atl_store_link *link = link_of(pool, offset, handle);

    if (link->prev != 0) {
        link_of(pool, offset, link->prev)->next = link->next;
    } else {
        list->first = link->next;
    }
    if (link->next != 0) {
        link_of(pool, offset, link->next)->prev = link->prev;
    } else {
        list->last = link->prev;
    }
    link->prev = 0;
    link->next = 0;
}
