#include "discovery/record_cache.h"

#include <string.h>

#define VERSION 1

/* A record whose lifetime was over here, and which was believed because clocks differ: it is kept
 * for a moment, so that who has just put it finds it. */
#define GRACE (60 * ATL_SECOND)

static const uint8_t MAGIC[5] = {'A', 'T', 'L', 'R', VERSION};

typedef struct entry {
    atl_hash_node hash; /* by head.peer */
    atl_list node;
    atl_record_head head;
    int64_t until; /* wall clock, milliseconds */
    size_t len;
    uint8_t *data;
} entry;

struct atl_record_cache {
    atl_env *env;
    atl_hashmap map;
    atl_list used; /* the least recently used first */
    size_t max;
};

int32_t atl_record_cache_new(atl_env *env, size_t max, atl_record_cache **out) {
    atl_record_cache *cache;
    int32_t rc;

    if (max == 0) {
        return ATLAS_ERR_INVALID;
    }
    cache = atl_calloc(env, 1, sizeof(*cache));
    if (cache == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rc = atl_hashmap_init(&cache->map, env);
    if (rc != ATLAS_OK) {
        atl_free(env, cache);
        return rc;
    }
    cache->env = env;
    cache->max = max;
    atl_list_init(&cache->used);
    *out = cache;
    return ATLAS_OK;
}

static void drop(atl_record_cache *cache, entry *e) {
    atl_hashmap_remove(&cache->map, &e->hash);
    atl_list_remove(&e->node);
    atl_free(cache->env, e->data);
    atl_free(cache->env, e);
}

static entry *oldest(const atl_record_cache *cache) {
    return ATL_CONTAINER(cache->used.next, entry, node);
}

void atl_record_cache_free(atl_record_cache *cache) {
    if (cache == NULL) {
        return;
    }
    while (!atl_list_empty(&cache->used)) {
        drop(cache, oldest(cache));
    }
    atl_hashmap_free(&cache->map);
    atl_free(cache->env, cache);
}

/* The record of a peer; one that has expired is dropped. */
static entry *find(atl_record_cache *cache, const atl_peer_id *peer) {
    atl_hash_node *found = atl_hashmap_get(&cache->map, peer, sizeof(*peer));
    entry *e;

    if (found == NULL) {
        return NULL;
    }
    e = ATL_CONTAINER(found, entry, hash);
    if (atl_env_wall_ms(cache->env) < e->until) {
        return e;
    }
    drop(cache, e);
    return NULL;
}

static void touch(atl_record_cache *cache, entry *e) {
    atl_list_remove(&e->node);
    atl_list_append(&cache->used, &e->node);
}

static int64_t kept_until(atl_record_cache *cache, const atl_record_head *head) {
    int64_t wall = atl_env_wall_ms(cache->env);
    uint64_t left = atl_record_time_left(head, wall, UINT64_MAX);
    int64_t ms = (int64_t)((left > 0 ? left : GRACE) / ATL_MS);

    return wall > INT64_MAX - ms ? INT64_MAX : wall + ms;
}

static entry *add(atl_record_cache *cache, const atl_record_head *head) {
    entry *e = atl_calloc(cache->env, 1, sizeof(*e));

    if (e == NULL) {
        return NULL;
    }
    e->head.peer = head->peer;
    if (atl_hashmap_add(&cache->map, &e->hash, &e->head.peer, sizeof(e->head.peer)) != ATLAS_OK) {
        atl_free(cache->env, e);
        return NULL;
    }
    atl_list_append(&cache->used, &e->node);
    if (cache->map.count > cache->max) {
        drop(cache, oldest(cache));
    }
    return e;
}

int32_t atl_record_cache_put_checked(atl_record_cache *cache, const atl_record_head *head,
                                     const uint8_t *data, size_t len) {
    entry *e = find(cache, &head->peer);
    uint8_t *copy;

    if (e != NULL && head->seq <= e->head.seq) {
        if (len != e->len || memcmp(data, e->data, len) != 0) {
            return ATLAS_ERR_RECORD_OLD;
        }
        e->until = kept_until(cache, head);
        touch(cache, e);
        return ATLAS_ERR_EXISTS;
    }
    copy = atl_malloc(cache->env, len);
    if (copy == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    memcpy(copy, data, len);
    if (e == NULL) {
        e = add(cache, head);
    }
    if (e == NULL) {
        atl_free(cache->env, copy);
        return ATLAS_ERR_NOMEM;
    }
    atl_free(cache->env, e->data);
    e->data = copy;
    e->len = len;
    e->head = *head; /* the key of the table among it, as it was */
    e->until = kept_until(cache, head);
    touch(cache, e);
    return ATLAS_OK;
}

int32_t atl_record_cache_put(atl_record_cache *cache, const uint8_t *data, size_t len,
                             uint64_t drift, atl_record_head *head) {
    atl_record_head found;
    int32_t rc = atl_record_check(data, len, &found);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (head != NULL) {
        *head = found;
    }
    rc = atl_record_in_time(&found, atl_env_wall_ms(cache->env), drift);
    return rc == ATLAS_OK ? atl_record_cache_put_checked(cache, &found, data, len) : rc;
}

static void view(const entry *e, atl_record_cached *out) {
    out->head = e->head;
    out->data = e->data;
    out->len = e->len;
}

int atl_record_cache_get(atl_record_cache *cache, const atl_peer_id *peer, atl_record_cached *out) {
    entry *e = find(cache, peer);

    if (e == NULL) {
        return 0;
    }
    touch(cache, e);
    view(e, out);
    return 1;
}

void atl_record_cache_remove(atl_record_cache *cache, const atl_peer_id *peer) {
    entry *e = find(cache, peer);

    if (e != NULL) {
        drop(cache, e);
    }
}

size_t atl_record_cache_count(const atl_record_cache *cache) {
    return cache->map.count;
}

void atl_record_cache_each(atl_record_cache *cache,
                           int (*fn)(void *user, const atl_record_cached *record), void *user) {
    int64_t wall = atl_env_wall_ms(cache->env);
    const atl_list *node;

    for (node = cache->used.prev; node != &cache->used; node = node->prev) {
        const entry *e = ATL_CONTAINER(node, entry, node);
        atl_record_cached record;

        view(e, &record);
        if (wall < e->until && !fn(user, &record)) {
            return;
        }
    }
}

/* ---- as bytes ---- */

int32_t atl_record_cache_export(atl_record_cache *cache, uint8_t *buf, size_t cap, size_t *len) {
    int64_t wall = atl_env_wall_ms(cache->env);
    size_t need = sizeof(MAGIC);
    const atl_list *node;
    atl_writer writer;

    for (node = cache->used.next; node != &cache->used; node = node->next) {
        const entry *e = ATL_CONTAINER(node, entry, node);

        need += wall < e->until ? atl_varint_len(e->len) + e->len : 0;
    }
    *len = need;
    if (need > cap) {
        return ATLAS_ERR_BUFFER;
    }
    atl_writer_init(&writer, buf, cap);
    atl_write_bytes(&writer, MAGIC, sizeof(MAGIC));
    for (node = cache->used.next; node != &cache->used; node = node->next) {
        const entry *e = ATL_CONTAINER(node, entry, node);

        if (wall < e->until) {
            atl_write_varint(&writer, e->len);
            atl_write_bytes(&writer, e->data, e->len);
        }
    }
    return writer.error;
}

int32_t atl_record_cache_import(atl_record_cache *cache, const uint8_t *data, size_t len,
                                uint64_t drift, size_t *taken, size_t *refused) {
    uint8_t magic[sizeof(MAGIC)];
    size_t good = 0;
    size_t bad = 0;
    int32_t rc = ATLAS_OK;
    atl_reader reader;

    atl_reader_init(&reader, data, len);
    if (atl_read_bytes(&reader, magic, sizeof(magic)) != ATLAS_OK ||
        memcmp(magic, MAGIC, sizeof(MAGIC)) != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    while (reader.left > 0 && rc == ATLAS_OK) {
        atl_reader record;
        int32_t result;

        rc = atl_read_varint_sub(&reader, &record);
        if (rc != ATLAS_OK) {
            break;
        }
        result = atl_record_cache_put(cache, record.data, record.left, drift, NULL);
        if (result == ATLAS_ERR_NOMEM) {
            rc = result;
        } else if (result == ATLAS_OK || result == ATLAS_ERR_EXISTS) {
            good++;
        } else {
            bad++;
        }
    }
    if (taken != NULL) {
        *taken = good;
    }
    if (refused != NULL) {
        *refused = bad;
    }
    return rc;
}
