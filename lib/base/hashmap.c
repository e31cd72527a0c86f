#include "base/hashmap.h"

#include <sodium.h>
#include <string.h>

int32_t atl_hashmap_init(atl_hashmap *map, atl_env *env) {
    uint8_t secret[16];

    if (atl_random(env, secret, sizeof(secret)) != ATLAS_OK) {
        return ATLAS_ERR_RANDOM;
    }
    memset(map, 0, sizeof(*map));
    map->env = env;
    memcpy(map->secret, secret, sizeof(secret));
    return ATLAS_OK;
}

void atl_hashmap_free(atl_hashmap *map) {
    if (map->env != NULL) {
        atl_free(map->env, map->buckets);
    }
    map->buckets = NULL;
    map->mask = 0;
    map->count = 0;
}

static uint64_t hash_key(const atl_hashmap *map, const void *key, size_t len) {
    uint64_t hash;

    _Static_assert(crypto_shorthash_KEYBYTES == sizeof(map->secret), "key size");
    (void)crypto_shorthash((unsigned char *)&hash, key, len, map->secret);
    return hash;
}

static int32_t grow(atl_hashmap *map) {
    size_t n = map->buckets == NULL ? 16 : (map->mask + 1) * 2;
    size_t old_n = map->buckets == NULL ? 0 : map->mask + 1;
    atl_hash_node **buckets = atl_calloc(map->env, n, sizeof(*buckets));
    size_t i;

    if (buckets == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    for (i = 0; i < old_n; i++) {
        atl_hash_node *node = map->buckets[i];

        while (node != NULL) {
            atl_hash_node *next = node->next;
            size_t to = (size_t)node->hash & (n - 1);

            node->next = buckets[to];
            buckets[to] = node;
            node = next;
        }
    }
    atl_free(map->env, map->buckets);
    map->buckets = buckets;
    map->mask = n - 1;
    return ATLAS_OK;
}

atl_hash_node *atl_hashmap_get(const atl_hashmap *map, const void *key, size_t key_len) {
    uint64_t hash;
    atl_hash_node *node;

    if (map->buckets == NULL) {
        return NULL;
    }
    hash = hash_key(map, key, key_len);
    for (node = map->buckets[(size_t)hash & map->mask]; node != NULL; node = node->next) {
        if (node->hash == hash && node->key_len == key_len &&
            memcmp(node->key, key, key_len) == 0) {
            return node;
        }
    }
    return NULL;
}

int32_t atl_hashmap_add(atl_hashmap *map, atl_hash_node *node, const void *key, size_t key_len) {
    size_t at;

    if (atl_hashmap_get(map, key, key_len) != NULL) {
        return ATLAS_ERR_EXISTS;
    }
    if ((map->buckets == NULL || map->count > map->mask) && grow(map) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    node->key = key;
    node->key_len = key_len;
    node->hash = hash_key(map, key, key_len);
    at = (size_t)node->hash & map->mask;
    node->next = map->buckets[at];
    map->buckets[at] = node;
    map->count++;
    return ATLAS_OK;
}

void atl_hashmap_remove(atl_hashmap *map, atl_hash_node *node) {
    atl_hash_node **at;

    if (map->buckets == NULL) {
        return;
    }
    for (at = &map->buckets[(size_t)node->hash & map->mask]; *at != NULL; at = &(*at)->next) {
        if (*at == node) {
            *at = node->next;
            node->next = NULL;
            map->count--;
            return;
        }
    }
}

atl_hash_node *atl_hashmap_any(const atl_hashmap *map) {
    size_t i;

    for (i = 0; map->count > 0 && i <= map->mask; i++) {
        if (map->buckets[i] != NULL) {
            return map->buckets[i];
        }
    }
    return NULL;
}

void atl_hashmap_each(atl_hashmap *map, void (*fn)(void *user, atl_hash_node *node), void *user) {
    size_t i;

    for (i = 0; map->buckets != NULL && i <= map->mask; i++) {
        atl_hash_node *node = map->buckets[i];

        while (node != NULL) {
            atl_hash_node *next = node->next;

            fn(user, node);
            node = next;
        }
    }
}
