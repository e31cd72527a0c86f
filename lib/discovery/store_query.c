/* What is asked of the registry's store. */
#include "discovery/store_internal.h"

#include <string.h>

#define DROP_BEFORE 64  /* expired ones, in a list or a sample */
#define SAMPLE_DENSE 4  /* times as many as are wanted: one pass over all of them */
#define SAMPLE_TRIES 16 /* for each that is wanted */

static const atl_store_entry *find(const atl_record_store *store, const atl_peer_id *peer) {
    uint32_t handle = atl_store_table_find(&store->by_peer, peer);

    return handle == 0 ? NULL : atl_record_store_at(store, handle);
}

static void view_of(const atl_store_entry *entry, atl_record_view *out) {
    memset(out, 0, sizeof(*out));
    out->peer = entry->peer;
    out->data = entry->data;
    out->len = entry->len;
    out->seq = entry->seq;
    out->expires = entry->expires;
    out->offers = entry->offers;
    out->verified = atl_store_is_verified(entry) != 0;
    out->number = entry->number;
}

int atl_record_store_get(atl_record_store *store, const atl_peer_id *peer, uint64_t now,
                         atl_record_view *out) {
    const atl_store_entry *entry = find(store, peer);

    if (entry == NULL || atl_store_is_tombstone(entry) || entry->expires <= now) {
        return 0;
    }
    view_of(entry, out);
    return 1;
}

uint64_t atl_record_store_seq(const atl_record_store *store, const atl_peer_id *peer) {
    const atl_store_entry *entry = find(store, peer);

    return entry == NULL ? 0 : entry->seq;
}

uint64_t atl_record_store_expires(const atl_record_store *store, const atl_peer_id *peer) {
    const atl_store_entry *entry = find(store, peer);

    return entry == NULL ? 0 : entry->expires;
}

int atl_record_store_state(const atl_record_store *store, const atl_peer_id *peer,
                           atl_record_head *head, atl_addr *source, atl_record_put *out) {
    const atl_store_entry *entry = find(store, peer);

    if (entry == NULL) {
        return 0;
    }
    memset(head, 0, sizeof(*head));
    memset(source, 0, sizeof(*source));
    memset(out, 0, sizeof(*out));
    head->peer = entry->peer;
    head->seq = entry->seq;
    head->offers = entry->offers;
    if (entry->source != 0) {
        const atl_store_source *charged = atl_store_source_at(&store->sources, entry->source);

        memcpy(source->ip, charged->key, sizeof(charged->key));
        source->family = (uint8_t)charged->family;
    }
    out->head = head;
    out->data = entry->data;
    out->len = entry->len;
    out->source = source;
    out->verified = atl_store_is_verified(entry) != 0;
    out->expires = entry->expires;
    return 1;
}

/* ---- by offer ---- */

size_t atl_record_store_count(const atl_record_store *store, uint32_t offer) {
    const atl_offer_index *index = atl_store_offers_index(&store->offers, offer);

    return index == NULL ? 0 : index->count;
}

/* What a slot of an index holds, or NULL for a gap or what has expired. */
static atl_store_entry *alive(const atl_record_store *store, const atl_offer_slot *slot,
                              uint64_t now) {
    atl_store_entry *entry = slot->entry == 0 ? NULL : atl_record_store_at(store, slot->entry);

    return entry != NULL && entry->expires > now ? entry : NULL;
}

size_t atl_record_store_list(atl_record_store *store, uint32_t offer, uint64_t after, uint64_t now,
                             atl_record_view *out, size_t cap) {
    const atl_offer_index *index = atl_store_offers_index(&store->offers, offer);
    size_t n = 0;
    size_t i;

    if (index == NULL) {
        return 0;
    }
    (void)atl_record_store_expire(store, now, DROP_BEFORE);
    for (i = atl_offer_index_after(index, after); n < cap && i < index->end; i++) {
        const atl_store_entry *entry = alive(store, &index->slots[i], now);

        if (entry != NULL) {
            view_of(entry, &out[n++]);
        }
    }
    return n;
}

/* Below n: SplitMix64, from a state that random bytes of the context are mixed into. */
static size_t random_below(atl_record_store *store, size_t n) {
    uint64_t z = store->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (size_t)((z ^ (z >> 31)) % n);
}

/* One pass over all: each that comes later takes the place of one of those picked, or none. */
static size_t sample_few(atl_record_store *store, const atl_offer_index *index, uint64_t now,
                         atl_record_view *out, size_t cap) {
    size_t seen = 0;
    size_t i;

    for (i = index->first; i < index->end; i++) {
        const atl_store_entry *entry = alive(store, &index->slots[i], now);
        size_t to;

        if (entry == NULL) {
            continue;
        }
        to = seen < cap ? seen : random_below(store, seen + 1);
        seen++;
        if (to < cap) {
            view_of(entry, &out[to]);
        }
    }
    return seen < cap ? seen : cap;
}

/* Draws until there are enough; three of four slots hold something, and not many are picked. */
static size_t sample_many(atl_record_store *store, const atl_offer_index *index, uint64_t now,
                          atl_record_view *out, size_t cap) {
    size_t tries = cap * SAMPLE_TRIES;
    size_t n = 0;
    size_t i;

    for (; n < cap && tries > 0; tries--) {
        size_t slot = index->first + random_below(store, index->end - index->first);
        atl_store_entry *entry = alive(store, &index->slots[slot], now);

        if (entry != NULL && (entry->flags & ATL_STORE_PICKED) == 0) {
            entry->flags |= ATL_STORE_PICKED;
            view_of(entry, &out[n++]);
        }
    }
    for (i = 0; i < n; i++) {
        uint32_t handle = atl_store_table_find(&store->by_peer, &out[i].peer);

        atl_record_store_at(store, handle)->flags &= (uint8_t)~ATL_STORE_PICKED;
    }
    return n;
}

size_t atl_record_store_sample(atl_record_store *store, uint32_t offer, uint64_t now,
                               atl_record_view *out, size_t cap) {
    const atl_offer_index *index = atl_store_offers_index(&store->offers, offer);
    uint64_t fresh = 0;
    size_t n;
    size_t i;

    if (index == NULL || cap == 0) {
        return 0;
    }
    (void)atl_record_store_expire(store, now, DROP_BEFORE);
    /* without them it is what it was: a sample is no secret */
    (void)atl_random(store->env, &fresh, sizeof(fresh));
    store->random ^= fresh;
    if (index->count > cap * SAMPLE_DENSE) {
        return sample_many(store, index, now, out, cap);
    }
    n = sample_few(store, index, now, out, cap);
    for (i = n; i > 1; i--) {
        size_t j = random_below(store, i);
        atl_record_view one = out[j];

        out[j] = out[i - 1];
        out[i - 1] = one;
    }
    return n;
}
