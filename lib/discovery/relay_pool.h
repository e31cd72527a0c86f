/* Relays that somebody has named, what was measured of them, and which of them have failed. A
 * candidate is a relay and its address of one family: which family is better, and whether this node
 * can use it at all, is found out by measuring. A failure is the relay's; what is remembered of a
 * failure outlives the candidate: naming a relay again does not clear it. */
#ifndef ATL_DISCOVERY_RELAY_POOL_H
#define ATL_DISCOVERY_RELAY_POOL_H

#include "address/multiaddr.h"
#include "base/loop.h"

#define ATL_POOL_MAX 256     /* candidates; then the one named longest ago makes way */
#define ATL_POOL_BAD_MAX 256 /* failures that are remembered, likewise */

typedef struct atl_relay_pool_entry {
    atl_peer_id peer;
    atl_addr addr; /* the newest of its family */
    uint64_t named_at;
    uint64_t sent_at;     /* when this node has sent something there last, unasked; 0: never */
    uint64_t measured_at; /* 0: not yet, or on another network */
    uint64_t rtt;         /* nanoseconds; 0: no answer */
    uint32_t loss;        /* of 100 */
} atl_relay_pool_entry;

typedef struct atl_relay_pool_bad {
    atl_peer_id peer;
    uint64_t until;
    uint64_t wait; /* nanoseconds; doubled with every further failure */
    uint8_t lied;  /* it was reached and did not serve: another network changes nothing */
} atl_relay_pool_bad;

typedef struct atl_relay_pool {
    atl_env *env;
    atl_relay_pool_entry *relays;
    size_t n;
    size_t cap;
    atl_relay_pool_bad *bad;
    size_t n_bad;
    size_t cap_bad;
} atl_relay_pool;

void atl_relay_pool_init(atl_relay_pool *pool, atl_env *env);
void atl_relay_pool_free(atl_relay_pool *pool);
/* Takes a candidate, or its new address of that family. Without memory it is left out. */
void atl_relay_pool_offer(atl_relay_pool *pool, const atl_peer_id *peer, const atl_addr *addr,
                          uint64_t now);
atl_relay_pool_entry *atl_relay_pool_find(const atl_relay_pool *pool, const atl_peer_id *peer,
                                          uint8_t family);
/* 1 when another relay was named at this IP address since then. Loopback addresses are exempt: whom
 * they would harm has named them. */
int atl_relay_pool_is_taken(const atl_relay_pool *pool, const atl_peer_id *peer,
                            const atl_addr *addr, uint64_t since);
/* 1 when so many other relays at the IP address of this one were sent to within the last minute
 * that nothing more is to be sent there: they may be one victim. */
int atl_relay_pool_is_crowded(const atl_relay_pool *pool, const atl_relay_pool_entry *relay,
                              uint64_t now);
/* Leaves it alone for a minute, doubled each time up to six hours; a day after its last time is
 * over it begins anew. */
void atl_relay_pool_failed(atl_relay_pool *pool, const atl_peer_id *peer, int lied, uint64_t now);
/* Until when it is left alone; 0 when it is not. */
uint64_t atl_relay_pool_bad_until(const atl_relay_pool *pool, const atl_peer_id *peer,
                                  uint64_t now);
/* Another network: measurements, and failures that may have been the network's, are forgotten. */
void atl_relay_pool_network_changed(atl_relay_pool *pool);

/* 1 when the two are one IP address, whatever the port. */
int atl_relay_pool_same_ip(const atl_addr *a, const atl_addr *b);
/* 1 when the two are in one IPv4 /24 or IPv6 /48. */
int atl_relay_pool_same_network(const atl_addr *a, const atl_addr *b);

#endif
