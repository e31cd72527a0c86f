#include "discovery/record_store.h"

#include "discovery/store_internal.h"

#include <string.h>

#define BY_AGE offsetof(atl_store_entry, by_age)
#define BY_SOURCE offsetof(atl_store_entry, by_source)
#define DROP_AT_ONCE 2 /* expired ones, in a put */
#define VICTIMS 2      /* that make way for one that comes */

int32_t atl_record_store_new(atl_env *env, const atl_record_store_limits *limits,
                             atl_record_store **out) {
    atl_record_store *store = atl_calloc(env, 1, sizeof(*store));
    int32_t rc;

    if (store == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    store->env = env;
    store->limits = *limits;
    store->memory.env = env;
    store->memory.bytes = &store->stats.bytes;
    store->stats.bytes = sizeof(*store);
    atl_pool_init(&store->entries, &store->memory, sizeof(atl_store_entry));
    atl_store_expiry_init(&store->expiry, &store->entries);
    atl_store_offers_init(&store->offers, &store->entries);
    rc = atl_store_table_init(&store->by_peer, &store->entries, offsetof(atl_store_entry, peer),
                              sizeof(atl_peer_id), offsetof(atl_store_entry, next));
    if (rc == ATLAS_OK) {
        rc = atl_store_sources_init(&store->sources, &store->memory);
    }
    if (rc == ATLAS_OK) {
        rc = atl_random(env, &store->random, sizeof(store->random));
    }
    if (rc != ATLAS_OK) {
        atl_record_store_free(store);
        return rc;
    }
    *out = store;
    return ATLAS_OK;
}

atl_record_store_limits *atl_record_store_limits_of(atl_record_store *store) {
    return &store->limits;
}

const atl_record_store_stats *atl_record_store_get_stats(const atl_record_store *store) {
    return &store->stats;
}

void atl_record_store_on_evict(atl_record_store *store,
                               void (*fn)(void *user, const atl_peer_id *peer), void *user) {
    store->on_evict = fn;
    store->evict_user = user;
}

void atl_record_store_reset_counters(atl_record_store *store) {
    atl_record_store_stats now = store->stats;

    memset(&store->stats, 0, sizeof(store->stats));
    store->stats.records = now.records;
    store->stats.tombstones = now.tombstones;
    store->stats.bytes = now.bytes;
}

/* ---- the lists of those that may make way ---- */

static void enlist(atl_record_store *store, uint32_t handle) {
    const atl_store_entry *entry = atl_record_store_at(store, handle);

    if (atl_store_is_tombstone(entry)) {
        store->stats.tombstones++;
        atl_store_list_append(&store->entries, &store->tombstones, BY_AGE, handle);
        return;
    }
    store->stats.records++;
    if (!atl_store_is_verified(entry)) {
        atl_store_list_append(&store->entries, &store->unverified, BY_AGE, handle);
        if (entry->source != 0) {
            atl_store_source *source = atl_store_source_at(&store->sources, entry->source);

            atl_store_list_append(&store->entries, &source->unverified, BY_SOURCE, handle);
        }
    }
}

static void delist(atl_record_store *store, uint32_t handle) {
    const atl_store_entry *entry = atl_record_store_at(store, handle);

    if (atl_store_is_tombstone(entry)) {
        store->stats.tombstones--;
        atl_store_list_remove(&store->entries, &store->tombstones, BY_AGE, handle);
        return;
    }
    store->stats.records--;
    if (!atl_store_is_verified(entry)) {
        atl_store_list_remove(&store->entries, &store->unverified, BY_AGE, handle);
        if (entry->source != 0) {
            atl_store_source *source = atl_store_source_at(&store->sources, entry->source);

            atl_store_list_remove(&store->entries, &source->unverified, BY_SOURCE, handle);
        }
    }
}

static void release_data(atl_record_store *store, atl_store_entry *entry) {
    atl_store_release(&store->memory, entry->data, entry->len);
    entry->data = NULL;
    entry->len = 0;
}

static void drop(atl_record_store *store, uint32_t handle) {
    atl_store_entry *entry = atl_record_store_at(store, handle);

    delist(store, handle);
    atl_store_offers_remove(&store->offers, handle);
    atl_store_expiry_remove(&store->expiry, handle);
    atl_store_table_remove(&store->by_peer, handle);
    atl_store_sources_discharge(&store->sources, entry->source);
    release_data(store, entry);
    atl_pool_give(&store->entries, handle);
}

void atl_record_store_free(atl_record_store *store) {
    uint32_t i;

    if (store == NULL) {
        return;
    }
    for (i = 0; i < ATL_POOL_SLOTS * store->entries.n_places; i++) {
        if (store->entries.places[i / ATL_POOL_SLOTS].chunk != NULL) {
            atl_store_entry *entry = atl_record_store_at(store, i + 1);

            atl_store_release(&store->memory, entry->data, entry->len);
        }
    }
    atl_store_offers_free(&store->offers);
    atl_store_expiry_free(&store->expiry);
    atl_store_sources_free(&store->sources);
    atl_store_table_free(&store->by_peer);
    atl_pool_free(&store->entries);
    atl_free(store->env, store);
}

/* ---- expiry ---- */

size_t atl_record_store_expire(atl_record_store *store, uint64_t now, size_t budget) {
    size_t dropped = 0;
    uint32_t handle;

    for (; budget > 0; budget--) {
        const atl_store_entry *entry;

        handle = atl_store_expiry_due(&store->expiry, now);
        if (handle == 0) {
            break;
        }
        entry = atl_record_store_at(store, handle);
        /* due too early: the wheel did not reach so far, or had no memory for more */
        if (entry->expires > now &&
            atl_store_expiry_move(&store->expiry, handle, entry->expires, now) == ATLAS_OK) {
            continue;
        }
        drop(store, handle);
        store->stats.expired++;
        dropped++;
    }
    return dropped;
}

uint64_t atl_record_store_deadline(const atl_record_store *store) {
    return atl_store_expiry_deadline(&store->expiry);
}

/* What is there of a peer, unless its time is over: then it goes. 0: nothing. */
static uint32_t find_current(atl_record_store *store, const atl_peer_id *peer, uint64_t now) {
    uint32_t handle = atl_store_table_find(&store->by_peer, peer);

    if (handle != 0 && atl_record_store_at(store, handle)->expires <= now) {
        drop(store, handle);
        store->stats.expired++;
        handle = 0;
    }
    return handle;
}

/* The second from which on nobody takes this record, whatever this store's own limit is. */
static uint32_t over_second(const atl_record_store *store, const atl_record_head *head,
                            uint64_t now) {
    uint64_t lifetime = head->lifetime == 0 ? ATL_RECORD_LIFETIME : head->lifetime;
    uint64_t drift = store->limits.drift < ATL_RECORD_LIFETIME_MAX ? store->limits.drift
                                                                   : ATL_RECORD_LIFETIME_MAX;
    int64_t wall = atl_env_wall_ms(store->env) / 1000;
    uint64_t left = ATL_RECORD_LIFETIME_MAX + drift;

    lifetime = lifetime < ATL_RECORD_LIFETIME_MAX ? lifetime : ATL_RECORD_LIFETIME_MAX;
    if (head->issued != 0 && wall >= 0) {
        uint64_t end = head->issued + lifetime + drift + 1;

        end = end > (uint64_t)wall ? end - (uint64_t)wall : 0;
        left = end < left ? end : left;
    }
    return (uint32_t)(now / ATL_SECOND + 1 + left);
}

/* ---- room ---- */

/* Who is to be charged for what is put, and what that takes. */
typedef struct charge {
    uint32_t source; /* handle, charged already when it is `taken` */
    uint8_t taken;
} charge;

static uint64_t limit_of(const atl_record_store *store, const atl_addr *addr) {
    return addr->family == 4 ? store->limits.max_per_ipv4 : store->limits.max_per_ipv6_64;
}

static int is_charged_to(const atl_record_store *store, const atl_store_entry *entry,
                         const atl_addr *addr) {
    return entry->source == atl_store_sources_find(&store->sources, addr);
}

/* Charges an address, if one that is there makes way where it has reached its limit. */
static int32_t charge_to(atl_record_store *store, const atl_addr *addr, charge *out) {
    const atl_store_source *source;
    uint32_t handle;

    if (atl_store_sources_charge(&store->sources, addr, &handle) != ATLAS_OK) {
        return ATLAS_ERR_NOMEM;
    }
    if (handle != 0) {
        source = atl_store_source_at(&store->sources, handle);
        if (source->count > limit_of(store, addr) && source->unverified.first == 0) {
            atl_store_sources_discharge(&store->sources, handle);
            if (addr->family == 4) {
                store->stats.refused_ipv4++;
            } else {
                store->stats.refused_ipv6++;
            }
            return ATLAS_ERR_RECORD_LIMIT;
        }
    }
    out->source = handle;
    out->taken = 1;
    return ATLAS_OK;
}

static void charge_undo(atl_record_store *store, const charge *charged) {
    if (charged->taken) {
        atl_store_sources_discharge(&store->sources, charged->source);
    }
}

static void evict(atl_record_store *store, uint32_t handle) {
    if (store->on_evict != NULL) {
        store->on_evict(store->evict_user, &atl_record_store_at(store, handle)->peer);
    }
    drop(store, handle);
    store->stats.evicted++;
}

/* Lets others make way at the address that was charged. */
static void clear_source(atl_record_store *store, const charge *charged, const atl_addr *addr) {
    const atl_store_source *source;
    int i;

    if (!charged->taken || charged->source == 0) {
        return;
    }
    source = atl_store_source_at(&store->sources, charged->source);
    for (i = 0; i < VICTIMS && source->count > limit_of(store, addr); i++) {
        if (source->unverified.first == 0) {
            return;
        }
        evict(store, source->unverified.first);
    }
}

/* The one that makes way in a full store, or 0. */
static uint32_t oldest(const atl_record_store *store, int for_verified) {
    return store->unverified.first != 0 || !for_verified ? store->unverified.first
                                                         : store->tombstones.first;
}

static void clear_store(atl_record_store *store, int for_verified) {
    int i;

    for (i = 0; i < VICTIMS && store->entries.count > store->limits.max_records; i++) {
        uint32_t victim = oldest(store, for_verified);

        if (victim == 0) {
            return;
        }
        evict(store, victim);
    }
}

/* ---- changes ---- */

static uint8_t *copy_of(atl_record_store *store, const atl_record_put *put) {
    uint8_t *data = atl_store_alloc(&store->memory, put->len);

    if (data != NULL) {
        memcpy(data, put->data, put->len);
    }
    return data;
}

/* What a put says; `data` (NULL: a tombstone) becomes the entry's. */
static void fill(atl_record_store *store, atl_store_entry *entry, const atl_record_put *put,
                 uint8_t *data, uint64_t expires, uint64_t now) {
    entry->peer = put->head->peer;
    entry->seq = put->head->seq;
    entry->data = data;
    entry->len = data == NULL ? 0 : (uint16_t)put->len;
    entry->offers = data == NULL ? 0 : put->head->offers;
    entry->flags = data == NULL ? ATL_STORE_TOMBSTONE : put->verified ? ATL_STORE_VERIFIED : 0;
    entry->expires = expires;
    entry->over = over_second(store, put->head, now);
}

/* A peer of which nothing is there. len 0: a tombstone. */
static int32_t insert(atl_record_store *store, const atl_record_put *put, uint64_t now) {
    charge charged = {0, 0};
    uint8_t *data = NULL;
    uint32_t handle = 0;
    int32_t rc = charge_to(store, put->source, &charged);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (store->entries.count >= store->limits.max_records &&
        (store->limits.max_records == 0 || oldest(store, put->verified) == 0)) {
        store->stats.refused_full++;
        rc = ATLAS_ERR_RECORD_LIMIT;
        goto done;
    }
    rc = ATLAS_ERR_NOMEM;
    if (put->len > 0 && (data = copy_of(store, put)) == NULL) {
        goto done;
    }
    handle = atl_pool_take(&store->entries);
    if (handle == 0 || atl_store_offers_reserve(&store->offers, put->head->offers) != ATLAS_OK ||
        atl_store_expiry_add(&store->expiry, handle, put->expires, now) != ATLAS_OK) {
        goto done;
    }
    /* nothing fails any more */
    rc = ATLAS_OK;
    clear_source(store, &charged, put->source);
    clear_store(store, put->verified);
    fill(store, atl_record_store_at(store, handle), put, data, put->expires, now);
    atl_record_store_at(store, handle)->source = charged.source;
    atl_store_table_add(&store->by_peer, handle);
    atl_store_offers_add(&store->offers, handle);
    enlist(store, handle);
done:
    if (rc != ATLAS_OK) {
        if (handle != 0) {
            atl_pool_give(&store->entries, handle);
        }
        atl_store_release(&store->memory, data, put->len);
        charge_undo(store, &charged);
    }
    return rc;
}

/* A newer record of a peer that is there, or that left a tombstone. */
static int32_t replace(atl_record_store *store, uint32_t handle, const atl_record_put *put,
                       uint64_t now) {
    atl_store_entry *entry = atl_record_store_at(store, handle);
    int same = is_charged_to(store, entry, put->source);
    int stranger = atl_store_is_verified(entry) && !put->verified && !same;
    int reindex =
        entry->number == 0 || ((entry->offers ^ put->head->offers) & ATL_STORE_OFFER_MASK) != 0;
    uint8_t verified = entry->flags & ATL_STORE_VERIFIED;
    uint64_t expires = put->expires;
    charge charged = {0, 0};
    uint8_t *data = NULL;
    int32_t rc = same || stranger ? ATLAS_OK : charge_to(store, put->source, &charged);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (stranger && entry->expires < expires) {
        expires = entry->expires;
    }
    data = copy_of(store, put);
    if (data == NULL ||
        (reindex && atl_store_offers_reserve(&store->offers, put->head->offers) != ATLAS_OK) ||
        atl_store_expiry_move(&store->expiry, handle, expires, now) != ATLAS_OK) {
        atl_store_release(&store->memory, data, put->len);
        charge_undo(store, &charged);
        return ATLAS_ERR_NOMEM;
    }
    /* nothing fails any more; whoever makes way is charged to another address than this one */
    clear_source(store, &charged, put->source);
    delist(store, handle);
    if (reindex) {
        atl_store_offers_remove(&store->offers, handle);
    }
    release_data(store, entry);
    if (charged.taken) {
        atl_store_sources_discharge(&store->sources, entry->source);
        entry->source = charged.source;
    }
    fill(store, entry, put, data, expires, now);
    entry->flags |= verified;
    if (reindex) {
        atl_store_offers_add(&store->offers, handle);
    }
    enlist(store, handle);
    return ATLAS_OK;
}

/* The same record again. */
static int32_t refresh(atl_record_store *store, uint32_t handle, const atl_record_put *put,
                       uint64_t now) {
    atl_store_entry *entry = atl_record_store_at(store, handle);
    int same = is_charged_to(store, entry, put->source);
    uint64_t expires = entry->expires > put->expires ? entry->expires : put->expires;
    charge charged = {0, 0};
    int32_t rc;

    if (!put->verified && !same) {
        return ATLAS_OK; /* anybody can replay a record */
    }
    rc = same ? ATLAS_OK : charge_to(store, put->source, &charged);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (atl_store_expiry_move(&store->expiry, handle, expires, now) != ATLAS_OK) {
        charge_undo(store, &charged);
        return ATLAS_ERR_NOMEM;
    }
    clear_source(store, &charged, put->source);
    delist(store, handle);
    if (charged.taken) {
        atl_store_sources_discharge(&store->sources, entry->source);
        entry->source = charged.source;
    }
    entry->expires = expires;
    entry->over = over_second(store, put->head, now);
    if (put->verified) {
        entry->flags |= ATL_STORE_VERIFIED;
    }
    enlist(store, handle);
    return ATLAS_OK;
}

int32_t atl_record_store_put(atl_record_store *store, const atl_record_put *put, uint64_t now) {
    const atl_store_entry *entry;
    uint32_t handle;
    int32_t rc;

    if (put->len == 0 || put->len > ATL_RECORD_MAX) {
        return put->len == 0 ? ATLAS_ERR_INVALID : ATLAS_ERR_TOO_LARGE;
    }
    (void)atl_record_store_expire(store, now, DROP_AT_ONCE);
    handle = find_current(store, &put->head->peer, now);
    entry = handle == 0 ? NULL : atl_record_store_at(store, handle);
    if (entry != NULL && put->head->seq <= entry->seq) {
        if (put->head->seq < entry->seq || atl_store_is_tombstone(entry) ||
            put->len != entry->len || memcmp(put->data, entry->data, put->len) != 0) {
            store->stats.refused_old++;
            return ATLAS_ERR_RECORD_OLD;
        }
        rc = refresh(store, handle, put, now);
        store->stats.refreshed += rc == ATLAS_OK;
        return rc == ATLAS_OK ? ATLAS_ERR_EXISTS : rc;
    }
    if (put->expires <= now) {
        return ATLAS_ERR_RECORD_EXPIRED;
    }
    rc = entry == NULL ? insert(store, put, now) : replace(store, handle, put, now);
    store->stats.puts += rc == ATLAS_OK;
    return rc;
}

/* ---- tombstones ---- */

static void entomb(atl_record_store *store, uint32_t handle, uint64_t seq, uint64_t expires,
                   uint64_t now) {
    atl_store_entry *entry = atl_record_store_at(store, handle);

    delist(store, handle);
    atl_store_offers_remove(&store->offers, handle);
    release_data(store, entry);
    entry->seq = seq;
    entry->expires = expires;
    entry->offers = 0;
    entry->flags = ATL_STORE_TOMBSTONE;
    /* without memory it comes due too early, and is looked at again then */
    (void)atl_store_expiry_move(&store->expiry, handle, expires, now);
    enlist(store, handle);
}

int atl_record_store_delete(atl_record_store *store, const atl_peer_id *peer, uint64_t now) {
    uint32_t handle = find_current(store, peer, now);
    const atl_store_entry *entry;
    uint64_t expires;
    int32_t left;

    if (handle == 0 || atl_store_is_tombstone(atl_record_store_at(store, handle))) {
        return 0;
    }
    entry = atl_record_store_at(store, handle);
    expires = entry->expires;
    left = (int32_t)(entry->over - (uint32_t)(now / ATL_SECOND));
    if (left > 0 && now + (uint64_t)left * ATL_SECOND > expires) {
        expires = now + (uint64_t)left * ATL_SECOND;
    }
    entomb(store, handle, entry->seq, expires, now);
    store->stats.deleted++;
    return 1;
}

int32_t atl_record_store_bury(atl_record_store *store, const atl_peer_id *peer, uint64_t seq,
                              const atl_addr *source, uint64_t expires, uint64_t now) {
    atl_record_head head;
    atl_record_put put;
    uint32_t handle = find_current(store, peer, now);
    atl_store_entry *entry = handle == 0 ? NULL : atl_record_store_at(store, handle);

    if (expires <= now) {
        return ATLAS_ERR_RECORD_EXPIRED;
    }
    if (entry != NULL && seq < entry->seq) {
        return ATLAS_ERR_RECORD_OLD;
    }
    if (entry != NULL) {
        entomb(store, handle, seq, expires, now);
        return ATLAS_OK;
    }
    memset(&head, 0, sizeof(head));
    memset(&put, 0, sizeof(put));
    head.peer = *peer;
    head.seq = seq;
    put.head = &head;
    put.source = source;
    put.expires = expires;
    return insert(store, &put, now);
}
