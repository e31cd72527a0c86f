/* What is asked of the registry's store. */
#include "discovery/store_internal.h"

#include <string.h>

#define DROP_BEFORE 64  /* expired ones, in a list or a sample */
#define SAMPLE_FEW 2048 /* up to so many: one pass over all of them */
#define SAMPLE_MOST 512
#define SAMPLE_TRIES 16 /* for each that is wanted, twice */
#define UNVERIFIED_RANK (UINT64_C(1) << 63)

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

/* The lower, the sooner it is picked: who has put many records has no better chance than who has
 * put one, and what nobody vouches for comes last. */
static uint64_t rank_of(atl_record_store *store, const atl_store_entry *entry) {
    uint64_t among =
        entry->source == 0 ? 1 : atl_store_source_at(&store->sources, entry->source)->count;
    uint64_t rank = (uint64_t)random_below(store, UINT32_MAX) * among;

    return atl_store_is_verified(entry) ? rank : rank | UNVERIFIED_RANK;
}

/* One pass over all. */
static size_t sample_few(atl_record_store *store, const atl_offer_index *index, uint64_t now,
                         atl_record_view *out, size_t cap) {
    uint64_t ranks[SAMPLE_MOST];
    const atl_store_entry *picked[SAMPLE_MOST];
    size_t n = 0;
    size_t i;

    cap = cap < SAMPLE_MOST ? cap : SAMPLE_MOST;
    for (i = index->first; i < index->end; i++) {
        const atl_store_entry *entry = alive(store, &index->slots[i], now);
        uint64_t rank = entry == NULL ? UINT64_MAX : rank_of(store, entry);
        size_t at;

        if (entry == NULL || (n == cap && rank >= ranks[n - 1])) {
            continue;
        }
        for (at = n < cap ? n++ : n - 1; at > 0 && ranks[at - 1] > rank; at--) {
            ranks[at] = ranks[at - 1];
            picked[at] = picked[at - 1];
        }
        ranks[at] = rank;
        picked[at] = entry;
    }
    for (i = 0; i < n; i++) {
        view_of(picked[i], &out[i]);
    }
    return n;
}

/* Whether one that was drawn is picked: at first as above, and whatever is left afterwards. */
static int is_picked(atl_record_store *store, const atl_store_entry *entry, int any) {
    size_t among = 1;

    if ((entry->flags & ATL_STORE_PICKED) != 0 || (!any && !atl_store_is_verified(entry))) {
        return 0;
    }
    if (!any && entry->source != 0) {
        among = atl_store_source_at(&store->sources, entry->source)->count;
    }
    return random_below(store, among) == 0;
}

/* Draws until there are enough; three of four slots hold something, and not many are picked. */
static size_t sample_many(atl_record_store *store, const atl_offer_index *index, uint64_t now,
                          atl_record_view *out, size_t cap) {
    size_t tries = 2 * cap * SAMPLE_TRIES;
    size_t n = 0;
    size_t i;

    for (; n < cap && tries > 0; tries--) {
        size_t slot = index->first + random_below(store, index->end - index->first);
        atl_store_entry *entry = alive(store, &index->slots[slot], now);

        if (entry != NULL && is_picked(store, entry, tries <= cap * SAMPLE_TRIES)) {
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

    if (index == NULL || cap == 0) {
        return 0;
    }
    (void)atl_record_store_expire(store, now, DROP_BEFORE);
    /* without them it is what it was: a sample is no secret */
    (void)atl_random(store->env, &fresh, sizeof(fresh));
    store->random ^= fresh;
    return index->count > SAMPLE_FEW ? sample_many(store, index, now, out, cap)
                                     : sample_few(store, index, now, out, cap);
}
