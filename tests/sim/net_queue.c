/* The simulated network's table and its queue of things to come. Neither depends on pointers or
 * secrets, so that runs are equal. */
#include "net_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static size_t hash_of(const sim_key *key) {
    const uint8_t *bytes = (const uint8_t *)key;
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
    size_t i;

    for (i = 0; i < sizeof(*key); i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, bytes + i, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return (size_t)hash;
}

static sim_slot **find(const sim_map *map, const sim_key *key) {
    sim_slot **at = &map->buckets[hash_of(key) & map->mask];

    while (*at != NULL && memcmp(&(*at)->key, key, sizeof(*key)) != 0) {
        at = &(*at)->next;
    }
    return at;
}

void *sim_map_get(const sim_map *map, const sim_key *key) {
    sim_slot **at;

    if (map->buckets == NULL) {
        return NULL;
    }
    at = find(map, key);
    return *at == NULL ? NULL : (*at)->value;
}

static void grow(sim_map *map) {
    size_t n = map->buckets == NULL ? 64 : 2 * (map->mask + 1);
    sim_slot **buckets = sim_must(calloc(n, sizeof(sim_slot *)));
    size_t i;

    for (i = 0; map->buckets != NULL && i <= map->mask; i++) {
        while (map->buckets[i] != NULL) {
            sim_slot *slot = map->buckets[i];
            sim_slot **at = &buckets[hash_of(&slot->key) & (n - 1)];

            map->buckets[i] = slot->next;
            slot->next = *at;
            *at = slot;
        }
    }
    free(map->buckets);
    map->buckets = buckets;
    map->mask = n - 1;
}

void sim_map_set(sim_map *map, const sim_key *key, void *value) {
    sim_slot **at;

    if (map->buckets == NULL || map->count > map->mask) {
        grow(map);
    }
    at = find(map, key);
    if (*at == NULL) {
        *at = sim_must(calloc(1, sizeof(sim_slot)));
        (*at)->key = *key;
        map->count++;
    }
    (*at)->value = value;
}

void sim_map_remove(sim_map *map, const sim_key *key) {
    sim_slot **at = map->buckets == NULL ? NULL : find(map, key);

    if (at != NULL && *at != NULL) {
        sim_slot *slot = *at;

        *at = slot->next;
        map->count--;
        free(slot);
    }
}

void sim_map_free(sim_map *map, void (*each)(const sim_key *key, void *value)) {
    size_t i;

    for (i = 0; map->buckets != NULL && i <= map->mask; i++) {
        while (map->buckets[i] != NULL) {
            sim_slot *slot = map->buckets[i];

            map->buckets[i] = slot->next;
            each(&slot->key, slot->value);
            free(slot);
        }
    }
    free(map->buckets);
    memset(map, 0, sizeof(*map));
}

/* ---- packets in flight: a binary heap by time, then by order of sending ---- */

static int earlier(const sim_packet *a, const sim_packet *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_queue_push(sim_queue *queue, sim_packet *p) {
    size_t i;

    if (queue->n == queue->cap) {
        queue->cap = queue->cap == 0 ? 256 : queue->cap * 2;
        queue->heap = sim_must(realloc(queue->heap, queue->cap * sizeof(sim_packet *)));
    }
    p->order = queue->order++;
    for (i = queue->n++; i > 0 && earlier(p, queue->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        queue->heap[i] = queue->heap[(i - 1) / 2];
    }
    queue->heap[i] = p;
}

sim_packet *sim_queue_pop(sim_queue *queue) {
    sim_packet *top = queue->heap[0];
    sim_packet *last = queue->heap[--queue->n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= queue->n) {
            break;
        }
        if (child + 1 < queue->n && earlier(queue->heap[child + 1], queue->heap[child])) {
            child++;
        }
        if (!earlier(queue->heap[child], last)) {
            break;
        }
        queue->heap[i] = queue->heap[child];
        i = child;
    }
    queue->heap[i] = last;
    return top;
}
