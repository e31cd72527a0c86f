#include "base/idmap.h"

#include <string.h>

void atl_idmap_init(atl_idmap *map, atl_env *env, uint64_t key) {
    memset(map, 0, sizeof(*map));
    map->env = env;
    map->key = key;
}

void atl_idmap_free(atl_idmap *map) {
    atl_free(map->env, map->slots);
    map->slots = NULL;
    map->mask = 0;
    map->count = 0;
}

/* The finaliser of MurmurHash3 over the keyed id: ids that others cannot choose need no more. */
static size_t hash_id(const atl_idmap *map, uint64_t id) {
    uint64_t h = id ^ map->key;

    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    h ^= h >> 33;
    return (size_t)h & map->mask;
}

static void place(atl_idmap *map, const atl_idmap_slot *slot) {
    size_t i = hash_id(map, slot->id);

    while (map->slots[i].ptr != NULL) {
        i = (i + 1) & map->mask;
    }
    map->slots[i] = *slot;
}

static int32_t grow(atl_idmap *map) {
    size_t n = map->slots == NULL ? 16 : (map->mask + 1) * 2;
    atl_idmap_slot *old = map->slots;
    size_t old_n = old == NULL ? 0 : map->mask + 1;
    atl_idmap_slot *slots = atl_calloc(map->env, n, sizeof(*slots));
    size_t i;

    if (slots == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    map->slots = slots;
    map->mask = n - 1;
    for (i = 0; i < old_n; i++) {
        if (old[i].ptr != NULL) {
            place(map, &old[i]);
        }
    }
    atl_free(map->env, old);
    return ATLAS_OK;
}

const atl_idmap_slot *atl_idmap_get(const atl_idmap *map, uint64_t id) {
    size_t i;

    if (map->slots == NULL) {
        return NULL;
    }
    for (i = hash_id(map, id); map->slots[i].ptr != NULL; i = (i + 1) & map->mask) {
        if (map->slots[i].id == id) {
            return &map->slots[i];
        }
    }
    return NULL;
}

int32_t atl_idmap_add(atl_idmap *map, uint64_t id, uint32_t kind, void *ptr) {
    atl_idmap_slot slot = {id, ptr, kind};

    if (atl_idmap_get(map, id) != NULL) {
        return ATLAS_ERR_EXISTS;
    }
    if ((map->slots == NULL || (map->count + 1) * 2 > map->mask + 1) && grow(map) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    place(map, &slot);
    map->count++;
    return ATLAS_OK;
}

/* Backward-shift deletion: no tombstones, so lookups stay short however long the table lives. */
void atl_idmap_remove(atl_idmap *map, uint64_t id) {
    const atl_idmap_slot *found = atl_idmap_get(map, id);
    size_t hole;
    size_t i;

    if (found == NULL) {
        return;
    }
    hole = (size_t)(found - map->slots);
    for (i = (hole + 1) & map->mask; map->slots[i].ptr != NULL; i = (i + 1) & map->mask) {
        size_t home = hash_id(map, map->slots[i].id);

        if (((i - home) & map->mask) >= ((i - hole) & map->mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].ptr = NULL;
    map->count--;
}
