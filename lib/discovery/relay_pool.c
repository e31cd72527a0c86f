#include "discovery/relay_pool.h"

#include <string.h>

#define WAIT_MIN (60 * ATL_SECOND)
#define WAIT_MAX (6 * 3600 * ATL_SECOND)
#define FORGET (24 * 3600 * ATL_SECOND)
#define FIRST 16u
#define CROWD 4u /* relays of one IP address that are sent to */
#define CROWD_TIME (60 * ATL_SECOND)

void atl_relay_pool_init(atl_relay_pool *pool, atl_env *env) {
    memset(pool, 0, sizeof(*pool));
    pool->env = env;
}

void atl_relay_pool_free(atl_relay_pool *pool) {
    atl_free(pool->env, pool->relays);
    atl_free(pool->env, pool->bad);
    atl_relay_pool_init(pool, pool->env);
}

/* Room for one more, or 0. */
static int grow(atl_env *env, void *array, size_t *cap, size_t n, size_t size, size_t most) {
    void **at = array;
    size_t wanted = *cap == 0 ? FIRST : *cap * 2;
    void *moved;

    if (n < *cap) {
        return 1;
    }
    if (n >= most) {
        return 0;
    }
    moved = atl_realloc(env, *at, wanted * size);
    if (moved == NULL) {
        return 0;
    }
    *at = moved;
    *cap = wanted;
    return 1;
}

/* ---- candidates ---- */

atl_relay_pool_entry *atl_relay_pool_find(const atl_relay_pool *pool, const atl_peer_id *peer,
                                          uint8_t family) {
    size_t i;

    for (i = 0; i < pool->n; i++) {
        if (pool->relays[i].addr.family == family &&
            atl_peer_id_equal(&pool->relays[i].peer, peer)) {
            return &pool->relays[i];
        }
    }
    return NULL;
}

static atl_relay_pool_entry *oldest(const atl_relay_pool *pool) {
    atl_relay_pool_entry *out = NULL;
    size_t i;

    for (i = 0; i < pool->n; i++) {
        if (out == NULL || pool->relays[i].named_at < out->named_at) {
            out = &pool->relays[i];
        }
    }
    return out;
}

/* Memory for failures comes first: where a failure cannot be remembered, the same relay would be
 * tried again and again without pause. */
static int reserve_bad(atl_relay_pool *pool) {
    void *bad = pool->bad;
    int rv = grow(pool->env, &bad, &pool->cap_bad, 0, sizeof(*pool->bad), ATL_POOL_BAD_MAX);

    pool->bad = bad;
    return rv;
}

void atl_relay_pool_offer(atl_relay_pool *pool, const atl_peer_id *peer, const atl_addr *addr,
                          uint64_t now) {
    atl_relay_pool_entry *relay = atl_relay_pool_find(pool, peer, addr->family);

    if (relay != NULL && atl_addr_equal(&relay->addr, addr)) {
        relay->named_at = now;
        return;
    }
    if (!reserve_bad(pool)) {
        return;
    }
    if (relay == NULL) {
        void *relays = pool->relays;

        if (grow(pool->env, &relays, &pool->cap, pool->n, sizeof(*relay), ATL_POOL_MAX)) {
            pool->relays = relays;
            relay = &pool->relays[pool->n++];
        } else {
            relay = oldest(pool);
        }
    }
    if (relay != NULL) {
        memset(relay, 0, sizeof(*relay));
        relay->peer = *peer;
        relay->addr = *addr;
        relay->named_at = now;
    }
}

int atl_relay_pool_is_taken(const atl_relay_pool *pool, const atl_peer_id *peer,
                            const atl_addr *addr, uint64_t since) {
    size_t i;

    for (i = 0; !atl_addr_is_loopback(addr) && i < pool->n; i++) {
        const atl_relay_pool_entry *other = &pool->relays[i];

        if (other->named_at >= since && atl_relay_pool_same_ip(&other->addr, addr) &&
            !atl_peer_id_equal(&other->peer, peer)) {
            return 1;
        }
    }
    return 0;
}

int atl_relay_pool_is_crowded(const atl_relay_pool *pool, const atl_relay_pool_entry *relay,
                              uint64_t now) {
    size_t n = 0;
    size_t i;

    for (i = 0; !atl_addr_is_loopback(&relay->addr) && i < pool->n && n < CROWD; i++) {
        const atl_relay_pool_entry *other = &pool->relays[i];

        n += other != relay && other->sent_at != 0 && now < other->sent_at + CROWD_TIME &&
             atl_relay_pool_same_ip(&other->addr, &relay->addr);
    }
    return n >= CROWD;
}

/* ---- failures ---- */

static atl_relay_pool_bad *find_bad(const atl_relay_pool *pool, const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < pool->n_bad; i++) {
        if (atl_peer_id_equal(&pool->bad[i].peer, peer)) {
            return &pool->bad[i];
        }
    }
    return NULL;
}

/* A place for another one: the one whose time was over first makes way. */
static atl_relay_pool_bad *new_bad(atl_relay_pool *pool) {
    void *bad = pool->bad;
    atl_relay_pool_bad *out = NULL;
    size_t i;

    if (grow(pool->env, &bad, &pool->cap_bad, pool->n_bad, sizeof(*out), ATL_POOL_BAD_MAX)) {
        pool->bad = bad;
        return &pool->bad[pool->n_bad++];
    }
    for (i = 0; i < pool->n_bad; i++) {
        if (out == NULL || pool->bad[i].until < out->until) {
            out = &pool->bad[i];
        }
    }
    return out;
}

void atl_relay_pool_failed(atl_relay_pool *pool, const atl_peer_id *peer, int lied, uint64_t now) {
    atl_relay_pool_bad *bad = find_bad(pool, peer);
    uint64_t wait = WAIT_MIN;

    if (bad == NULL) {
        bad = new_bad(pool);
        if (bad == NULL) {
            return;
        }
        memset(bad, 0, sizeof(*bad));
        bad->peer = *peer;
    } else if (now < bad->until + FORGET) {
        wait = bad->wait * 2 < WAIT_MAX ? bad->wait * 2 : WAIT_MAX;
    }
    bad->wait = wait < WAIT_MIN ? WAIT_MIN : wait;
    bad->until = now + bad->wait;
    bad->lied = lied != 0;
}

uint64_t atl_relay_pool_bad_until(const atl_relay_pool *pool, const atl_peer_id *peer,
                                  uint64_t now) {
    const atl_relay_pool_bad *bad = find_bad(pool, peer);

    return bad != NULL && now < bad->until ? bad->until : 0;
}

void atl_relay_pool_network_changed(atl_relay_pool *pool) {
    size_t i;

    for (i = 0; i < pool->n; i++) {
        pool->relays[i].measured_at = 0;
    }
    i = 0;
    while (i < pool->n_bad) {
        if (pool->bad[i].lied) {
            i++;
        } else {
            pool->bad[i] = pool->bad[--pool->n_bad];
        }
    }
}

int atl_relay_pool_same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

int atl_relay_pool_same_network(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 3 : 6) == 0;
}
