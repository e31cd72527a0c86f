/* A hash table from 64-bit ids to pointers: connection ids and circuit ids. Ids are chosen by us at
 * random, but others look them up, so the hash is keyed. Open addressing; lookups do not allocate.
 */
#ifndef ATL_BASE_IDMAP_H
#define ATL_BASE_IDMAP_H

#include "base/env.h"

typedef struct atl_idmap_slot {
    uint64_t id;
    void *ptr;     /* NULL: empty */
    uint32_t kind; /* the owner's tag */
} atl_idmap_slot;

typedef struct atl_idmap {
    atl_env *env;
    uint64_t key;
    atl_idmap_slot *slots;
    size_t mask; /* slots - 1, a power of two minus one; 0 when there are none */
    size_t count;
} atl_idmap;

void atl_idmap_init(atl_idmap *map, atl_env *env, uint64_t key);
void atl_idmap_free(atl_idmap *map);
/* ATLAS_OK, ATLAS_ERR_EXISTS, ATLAS_ERR_NOMEM. `ptr` must not be NULL. */
int32_t atl_idmap_add(atl_idmap *map, uint64_t id, uint32_t kind, void *ptr);
/* The entry, or NULL; valid until the next add or remove. */
const atl_idmap_slot *atl_idmap_get(const atl_idmap *map, uint64_t id);
void atl_idmap_remove(atl_idmap *map, uint64_t id);

#endif
