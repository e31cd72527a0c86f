/* Which of the candidates: who may be chosen at all, who is best, who is measured. */
#include "discovery/autorelay_impl.h"

#include "peer/dial.h"
#include "peer/manager.h"

#define LOCAL_ADDRS 64
#define FRESH (720 * ATL_SECOND) /* what was measured counts for so long */
/* Candidates that are nearly as near as the nearest are equal, so that nodes spread over relays. */
#define NEAR_MIN (10 * ATL_MS)
#define NEAR_PART 5u
/* What is much worse: more than twice as far and 30 ms, or 20 of 100 packets, twice in a row. */
#define WORSE_FACTOR 2u
#define WORSE_RTT (30 * ATL_MS)
#define WORSE_LOSS 20u
#define WORSE_TIMES 2u

/* What a choice insists on. */
#define DISTINCT ATL_CHOICE_DISTINCT
#define ANSWERED 2u /* it has answered when it was measured */

/* ---- who may be chosen ---- */

/* Bits of the kinds of addresses this host has, which others cannot reach. */
#define SCOPE_PRIVATE 1u
#define SCOPE_LOOPBACK 2u

static unsigned own_scopes(const atl_autorelay *ar) {
    const atl_io *io = ar->config.io;
    atl_addr addrs[LOCAL_ADDRS];
    size_t n = io->local_addrs(io->impl, addrs, LOCAL_ADDRS);
    unsigned out = 0;
    size_t i;

    for (i = 0; i < n && i < LOCAL_ADDRS; i++) {
        out |= atl_addr_is_private(&addrs[i]) ? SCOPE_PRIVATE : 0;
        out |= atl_addr_is_loopback(&addrs[i]) ? SCOPE_LOOPBACK : 0;
    }
    return out;
}

static int is_chosen(const atl_autorelay *ar, const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry != NULL && atl_peer_id_equal(&ar->slots[i].entry->addr.peer, peer)) {
            return 1;
        }
    }
    return 0;
}

/* Whatever it has done before. */
static int is_possible(const atl_autorelay *ar, const atl_relay_pool_entry *relay,
                       unsigned scopes) {
    if ((atl_addr_is_private(&relay->addr) && (scopes & SCOPE_PRIVATE) == 0) ||
        (atl_addr_is_loopback(&relay->addr) && (scopes & SCOPE_LOOPBACK) == 0)) {
        return 0;
    }
    return !is_chosen(ar, &relay->peer) &&
           atl_relays_configured(&ar->config.peers->relays, &relay->peer) == NULL &&
           atl_dial_has_way(ar->config.peers, &relay->addr) &&
           /* who has answered is there */
           (relay->rtt != 0 || !atl_relay_pool_is_crowded(&ar->pool, relay, ar->loop->now));
}

static int is_good(const atl_autorelay *ar, const atl_relay_pool_entry *relay, unsigned scopes) {
    return atl_relay_pool_bad_until(&ar->pool, &relay->peer, ar->loop->now) == 0 &&
           is_possible(ar, relay, scopes);
}

static int is_measured(const atl_autorelay *ar, const atl_relay_pool_entry *relay) {
    return relay->measured_at != 0 && ar->loop->now < relay->measured_at + FRESH;
}

static int is_near(const atl_chosen *slot, const atl_addr *addr) {
    return atl_relay_pool_same_network(&slot->addr, addr) ||
           atl_relay_pool_same_network(&slot->other, addr);
}

/* No chosen relay but `except` is in its network. Those of both families count. */
static int is_distinct(const atl_autorelay *ar, const atl_relay_pool_entry *relay,
                       const atl_chosen *except) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        const atl_chosen *slot = &ar->slots[i];

        if (slot->entry != NULL && slot != except && !slot->doomed &&
            slot->state != ATL_CHOSEN_LEAVES && is_near(slot, &relay->addr)) {
            return 0;
        }
    }
    return 1;
}

/* ---- the choice ---- */

/* Loss first, in the steps in which it is measured. */
static int is_better(const atl_relay_pool_entry *a, const atl_relay_pool_entry *b) {
    return a->loss != b->loss ? a->loss < b->loss : a->rtt < b->rtt;
}

static int fits(const atl_autorelay *ar, const atl_relay_pool_entry *relay, unsigned scopes,
                unsigned want) {
    return is_measured(ar, relay) && ((want & ANSWERED) == 0 || relay->loss < 100) &&
           ((want & DISTINCT) == 0 || is_distinct(ar, relay, NULL)) && is_good(ar, relay, scopes);
}

/* One of those that are about as good as the best; NULL: none. */
static atl_relay_pool_entry *pick(const atl_autorelay *ar, unsigned want) {
    const atl_relay_pool_entry *best = NULL;
    atl_relay_pool_entry *out = NULL;
    unsigned scopes = own_scopes(ar);
    uint64_t near;
    uint64_t n = 0;
    size_t i;

    for (i = 0; i < ar->pool.n; i++) {
        const atl_relay_pool_entry *relay = &ar->pool.relays[i];

        if (fits(ar, relay, scopes, want) && (best == NULL || is_better(relay, best))) {
            best = relay;
        }
    }
    if (best == NULL) {
        return NULL;
    }
    near = best->rtt / NEAR_PART < NEAR_MIN ? NEAR_MIN : best->rtt / NEAR_PART;
    for (i = 0; i < ar->pool.n; i++) {
        atl_relay_pool_entry *relay = &ar->pool.relays[i];

        if (fits(ar, relay, scopes, want) && relay->loss == best->loss &&
            relay->rtt <= best->rtt + near && atl_autorelay_random(ar) % ++n == 0) {
            out = relay;
        }
    }
    return out;
}

/* 1: somebody who might be better than those that were measured was not. */
int atl_choice_is_unmeasured(const atl_autorelay *ar, unsigned want) {
    unsigned scopes = own_scopes(ar);
    size_t i;

    for (i = 0; i < ar->pool.n; i++) {
        const atl_relay_pool_entry *relay = &ar->pool.relays[i];

        if (!is_measured(ar, relay) && ((want & DISTINCT) == 0 || is_distinct(ar, relay, NULL)) &&
            is_good(ar, relay, scopes)) {
            return 1;
        }
    }
    return 0;
}

/* The next one to try. `extra`: enough are tried already, and this one is to save time should one
 * of them be dead: only from a network of its own. Sets *measure where others are to be measured
 * first. */
atl_relay_pool_entry *atl_choice_next(const atl_autorelay *ar, int extra, int *measure) {
    static const unsigned ORDER[] = {DISTINCT | ANSWERED, ANSWERED, DISTINCT, 0};
    atl_relay_pool_entry *relay;
    size_t i;

    for (i = 0; i < ATL_COUNT(ORDER); i++) {
        relay = pick(ar, ORDER[i]);
        if (relay != NULL || extra) {
            return relay;
        }
        if (i < 2 && atl_choice_is_unmeasured(ar, ORDER[i] & DISTINCT)) {
            *measure = 1;
            return NULL;
        }
    }
    return NULL;
}

/* Of two addresses of one relay the one that has answered comes first. */
static int is_sooner(const atl_relay_pool_entry *a, uint64_t until, const atl_relay_pool_entry *b,
                     uint64_t soonest) {
    return until != soonest ? until < soonest : a->rtt != 0 && b->rtt == 0;
}

/* The one whose time is over soonest, of those that have failed. */
atl_relay_pool_entry *atl_choice_least_bad(const atl_autorelay *ar) {
    atl_relay_pool_entry *out = NULL;
    unsigned scopes = own_scopes(ar);
    uint64_t soonest = 0;
    size_t i;

    for (i = 0; i < ar->pool.n; i++) {
        atl_relay_pool_entry *relay = &ar->pool.relays[i];
        uint64_t until = atl_relay_pool_bad_until(&ar->pool, &relay->peer, ar->loop->now);

        if (is_possible(ar, relay, scopes) &&
            (out == NULL || is_sooner(relay, until, out, soonest))) {
            out = relay;
            soonest = until;
        }
    }
    return out;
}

/* ---- measuring ---- */

size_t atl_choice_add(atl_autorelay *ar, atl_addr *addrs, size_t n, const atl_peer_id *peer,
                      const atl_addr *addr) {
    ar->measured[n] = *peer;
    addrs[n] = *addr;
    return n + 1;
}

static int has_ip(const atl_addr *addrs, size_t n, const atl_addr *addr) {
    size_t i;

    for (i = 0; !atl_addr_is_loopback(addr) && i < n; i++) {
        if (atl_relay_pool_same_ip(&addrs[i], addr)) {
            return 1;
        }
    }
    return 0;
}

/* Leaves out those behind the first `n` to whose addresses too much was sent lately. */
static size_t may_measure(atl_autorelay *ar, atl_addr *addrs, size_t n, size_t total) {
    size_t i;

    for (i = n; i < total; i++) {
        atl_relay_pool_entry *relay =
            atl_relay_pool_find(&ar->pool, &ar->measured[i], addrs[i].family);

        if (relay != NULL && atl_dial_may_send(ar->config.peers, &addrs[i])) {
            relay->sent_at = ar->loop->now;
            n = atl_choice_add(ar, addrs, n, &relay->peer, &relay->addr);
        }
    }
    return n;
}

/* A random sample; `again` 1: also of what was measured before. One of each IP address: records
 * prove who says that a relay is there, not that it is. */
size_t atl_choice_sample(atl_autorelay *ar, atl_addr *addrs, size_t n, int again) {
    size_t most = n + ATL_AUTORELAY_SAMPLE < ATL_MEASURE_MAX ? n + ATL_AUTORELAY_SAMPLE
                                                             : (size_t)ATL_MEASURE_MAX;
    unsigned scopes = own_scopes(ar);
    size_t first = n;
    uint64_t seen = 0;
    size_t i;

    for (i = 0; i < ar->pool.n; i++) {
        const atl_relay_pool_entry *relay = &ar->pool.relays[i];

        if ((!again && is_measured(ar, relay)) || !is_good(ar, relay, scopes) ||
            has_ip(addrs, n, &relay->addr)) {
            continue;
        }
        seen++;
        if (n < most) {
            n = atl_choice_add(ar, addrs, n, &relay->peer, &relay->addr);
        } else {
            size_t at = first + (size_t)(atl_autorelay_random(ar) % seen);

            if (at < most) {
                (void)atl_choice_add(ar, addrs, at, &relay->peer, &relay->addr);
            }
        }
    }
    return may_measure(ar, addrs, first, n);
}

static int is_much_worse(const atl_chosen *slot, const atl_relay_pool_entry *other) {
    if (other->loss >= 100) {
        return 0;
    }
    if (slot->loss >= other->loss + WORSE_LOSS) {
        return 1;
    }
    return other->loss <= slot->loss && slot->rtt > WORSE_FACTOR * other->rtt + WORSE_RTT;
}

/* The best that could take the slot's place. */
static const atl_relay_pool_entry *rival(const atl_autorelay *ar, const atl_chosen *slot) {
    const atl_relay_pool_entry *best = NULL;
    unsigned scopes = own_scopes(ar);
    size_t i;

    for (i = 0; i < ar->pool.n; i++) {
        const atl_relay_pool_entry *relay = &ar->pool.relays[i];

        if (is_measured(ar, relay) && is_distinct(ar, relay, slot) && is_good(ar, relay, scopes) &&
            (best == NULL || is_better(relay, best))) {
            best = relay;
        }
    }
    return best;
}

/* One at a time is replaced: the worst. */
void atl_choice_compare(atl_autorelay *ar) {
    atl_chosen *worst = NULL;
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        atl_chosen *slot = &ar->slots[i];
        const atl_relay_pool_entry *other = atl_chosen_serves(slot) ? rival(ar, slot) : NULL;

        slot->doomed = 0;
        if (other == NULL || !is_much_worse(slot, other)) {
            slot->worse = 0;
        } else if (++slot->worse >= WORSE_TIMES &&
                   (worst == NULL || slot->loss > worst->loss ||
                    (slot->loss == worst->loss && slot->rtt > worst->rtt))) {
            slot->worse = WORSE_TIMES;
            worst = slot;
        }
    }
    if (worst != NULL) {
        worst->doomed = 1;
    }
}
