/* An intrusive hash table with byte-string keys (peer ids, addresses) that strangers choose:
 * SipHash with a key of the context. */
#ifndef ATL_BASE_HASHMAP_H
#define ATL_BASE_HASHMAP_H

#include "base/env.h"

typedef struct atl_hash_node {
    struct atl_hash_node *next;
    const void *key; /* in the embedding object, unchanged while it is in the table */
    size_t key_len;
    uint64_t hash;
} atl_hash_node;

typedef struct atl_hashmap {
    atl_env *env;
    uint8_t secret[16];
    atl_hash_node **buckets;
    size_t mask;
    size_t count;
} atl_hashmap;

/* ATLAS_OK or ATLAS_ERR_RANDOM. */
int32_t atl_hashmap_init(atl_hashmap *map, atl_env *env);
/* Frees the table, not the objects. */
void atl_hashmap_free(atl_hashmap *map);
/* ATLAS_OK, ATLAS_ERR_EXISTS, ATLAS_ERR_NOMEM. */
int32_t atl_hashmap_add(atl_hashmap *map, atl_hash_node *node, const void *key, size_t key_len);
atl_hash_node *atl_hashmap_get(const atl_hashmap *map, const void *key, size_t key_len);
void atl_hashmap_remove(atl_hashmap *map, atl_hash_node *node);
/* Any node, or NULL when empty: for tearing a table down. */
atl_hash_node *atl_hashmap_any(const atl_hashmap *map);
/* Calls fn for each node; fn may remove the node it is given, and no other. */
void atl_hashmap_each(atl_hashmap *map, void (*fn)(void *user, atl_hash_node *node), void *user);

#endif
