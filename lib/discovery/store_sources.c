#include "discovery/store_sources.h"

#include <string.h>

#define KEY_SIZE (offsetof(atl_store_source, next) - offsetof(atl_store_source, key))

int32_t atl_store_sources_init(atl_store_sources *sources, const atl_store_memory *memory) {
    atl_pool_init(&sources->pool, memory, sizeof(atl_store_source));
    return atl_store_table_init(&sources->table, &sources->pool, offsetof(atl_store_source, key),
                                KEY_SIZE, offsetof(atl_store_source, next));
}

void atl_store_sources_free(atl_store_sources *sources) {
    atl_store_table_free(&sources->table);
    atl_pool_free(&sources->pool);
}

/* 0 for an address that is never charged. */
static int key_of(const atl_addr *addr, atl_store_source *out) {
    memset(out, 0, sizeof(*out));
    if (addr == NULL || atl_addr_limit_key(addr, out->key) == 0) {
        return 0;
    }
    out->family = addr->family;
    return 1;
}

uint32_t atl_store_sources_find(const atl_store_sources *sources, const atl_addr *addr) {
    atl_store_source wanted;

    return key_of(addr, &wanted) ? atl_store_table_find(&sources->table, wanted.key) : 0;
}

int32_t atl_store_sources_charge(atl_store_sources *sources, const atl_addr *addr, uint32_t *out) {
    atl_store_source wanted;
    uint32_t handle;

    if (!key_of(addr, &wanted)) {
        *out = 0;
        return ATLAS_OK;
    }
    handle = atl_store_table_find(&sources->table, wanted.key);
    if (handle == 0) {
        handle = atl_pool_take(&sources->pool);
        if (handle == 0) {
            return ATLAS_ERR_NOMEM;
        }
        *atl_store_source_at(sources, handle) = wanted;
        atl_store_table_add(&sources->table, handle);
    }
    atl_store_source_at(sources, handle)->count++;
    *out = handle;
    return ATLAS_OK;
}

void atl_store_sources_discharge(atl_store_sources *sources, uint32_t handle) {
    if (handle != 0 && --atl_store_source_at(sources, handle)->count == 0) {
        atl_store_table_remove(&sources->table, handle);
        atl_pool_give(&sources->pool, handle);
    }
}
