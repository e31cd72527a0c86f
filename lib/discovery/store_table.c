#include "discovery/store_table.h"

#include <sodium.h>
#include <string.h>

#define SEGMENT 1024 /* buckets: the least that a table has */
#define FIRST_CAPACITY 16

static const uint8_t *key_of(const atl_store_table *table, uint32_t handle) {
    return (const uint8_t *)atl_pool_at(table->pool, handle) + table->key_offset;
}

static uint32_t *next_of(const atl_store_table *table, uint32_t handle) {
    return (uint32_t *)(void *)((uint8_t *)atl_pool_at(table->pool, handle) + table->next_offset);
}

static uint32_t *bucket_at(const atl_store_table *table, uint32_t i) {
    return &table->buckets[i / SEGMENT][i % SEGMENT];
}

/* Buckets below n - (mask + 1) have been split already: one more bit of the hash tells. */
static uint32_t *bucket_of(const atl_store_table *table, const void *key) {
    uint64_t hash;
    uint32_t i;

    _Static_assert(crypto_shorthash_KEYBYTES == sizeof(table->secret), "key size");
    (void)crypto_shorthash((unsigned char *)&hash, key, table->key_len, table->secret);
    i = (uint32_t)hash & (table->mask * 2 + 1);
    return bucket_at(table, i < table->n ? i : i & table->mask);
}

static int32_t add_segment(atl_store_table *table) {
    const atl_store_memory *memory = table->pool->memory;
    uint32_t *segment;

    if (table->segments == table->capacity) {
        uint32_t capacity = table->capacity == 0 ? FIRST_CAPACITY : table->capacity * 2;
        uint32_t **buckets =
            atl_store_resize(memory, table->buckets, table->capacity * sizeof(*buckets),
                             capacity * sizeof(*buckets));

        if (buckets == NULL) {
            return ATLAS_ERR_NOMEM;
        }
        table->buckets = buckets;
        table->capacity = capacity;
    }
    segment = atl_store_alloc(memory, SEGMENT * sizeof(*segment));
    if (segment == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    table->buckets[table->segments++] = segment;
    return ATLAS_OK;
}

int32_t atl_store_table_init(atl_store_table *table, const atl_pool *pool, size_t key_offset,
                             size_t key_len, size_t next_offset) {
    memset(table, 0, sizeof(*table));
    if (atl_random(pool->memory->env, table->secret, sizeof(table->secret)) != ATLAS_OK) {
        return ATLAS_ERR_RANDOM;
    }
    table->pool = pool;
    table->key_offset = (uint32_t)key_offset;
    table->key_len = (uint32_t)key_len;
    table->next_offset = (uint32_t)next_offset;
    table->n = SEGMENT;
    table->mask = SEGMENT - 1;
    return add_segment(table);
}

void atl_store_table_free(atl_store_table *table) {
    uint32_t i;

    if (table->pool == NULL) {
        return;
    }
    for (i = 0; i < table->segments; i++) {
        atl_store_release(table->pool->memory, table->buckets[i], SEGMENT * sizeof(uint32_t));
    }
    atl_store_release(table->pool->memory, table->buckets,
                      table->capacity * sizeof(*table->buckets));
    memset(table, 0, sizeof(*table));
}

uint32_t atl_store_table_find(const atl_store_table *table, const void *key) {
    uint32_t handle = *bucket_of(table, key);

    while (handle != 0 && memcmp(key_of(table, handle), key, table->key_len) != 0) {
        handle = *next_of(table, handle);
    }
    return handle;
}

/* Moves what a bucket holds to where it belongs, which is there or in the newest bucket. */
static void spread(atl_store_table *table, uint32_t handle) {
    while (handle != 0) {
        uint32_t next = *next_of(table, handle);
        uint32_t *bucket = bucket_of(table, key_of(table, handle));

        *next_of(table, handle) = *bucket;
        *bucket = handle;
        handle = next;
    }
}

/* One bucket more: the one that is next in turn is split. */
static void grow(atl_store_table *table) {
    uint32_t *bucket;
    uint32_t handle;

    if (table->n == UINT32_MAX / 2 + 1 ||
        (table->n == table->segments * SEGMENT && add_segment(table) != ATLAS_OK)) {
        return;
    }
    bucket = bucket_at(table, table->n - (table->mask + 1));
    handle = *bucket;
    *bucket = 0;
    table->n++;
    if (table->n == (table->mask + 1) * 2) {
        table->mask = table->mask * 2 + 1;
    }
    spread(table, handle);
}

/* One bucket less: the last goes back into the one that it was split from. */
static void shrink(atl_store_table *table) {
    uint32_t *bucket = bucket_at(table, table->n - 1);
    uint32_t handle = *bucket;

    *bucket = 0;
    table->n--;
    if (table->n <= table->mask) {
        table->mask /= 2;
    }
    spread(table, handle);
    /* the last empty segment stays: where it grows again at once, nothing is allocated */
    if (table->segments * SEGMENT >= table->n + 2 * SEGMENT) {
        atl_store_release(table->pool->memory, table->buckets[--table->segments],
                          SEGMENT * sizeof(uint32_t));
    }
}

void atl_store_table_add(atl_store_table *table, uint32_t handle) {
    uint32_t *bucket;
    int i;

    table->count++;
    /* two, so that a table that had no memory for a while catches up */
    for (i = 0; i < 2 && table->count > table->n; i++) {
        grow(table);
    }
    bucket = bucket_of(table, key_of(table, handle));
    *next_of(table, handle) = *bucket;
    *bucket = handle;
}

void atl_store_table_remove(atl_store_table *table, uint32_t handle) {
    uint32_t *at = bucket_of(table, key_of(table, handle));
    int i;

    while (*at != handle) {
        at = next_of(table, *at);
    }
    *at = *next_of(table, handle);
    table->count--;
    for (i = 0; i < 2 && table->n > SEGMENT && table->count < table->n / 2; i++) {
        shrink(table);
    }
}
