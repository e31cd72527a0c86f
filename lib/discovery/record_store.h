/* The registry's memory: records of all nodes, by id and by offer, bounded in all, per IPv4 address
 * and per IPv6 /64 from which they were put. Every call takes O(1), the search in a list O(log n).
 * A record takes its envelope and 116 bytes, and 32 more for each address from which records come.
 *
 * Who makes way for whom:
 *
 * - In a full store the oldest unverified record makes way for whatever comes; oldest: put or
 *   renewed longest ago. Where none is left, the oldest tombstone makes way for a verified record,
 *   and only for that: so that to clear tombstones away, and put old records back, somebody has to
 *   fill the store with records of nodes and addresses that he really has, each address up to its
 *   limit. A verified record makes way for nothing.
 * - From an address that has reached its limit the oldest unverified record of that same address
 *   makes way; tombstones count and stay. Nobody pays for another address.
 * - Where a limit was lowered below what is there, two make way for each that comes.
 *
 * Who may do what to a verified record: its own node (a verified put) everything. Others may put
 * a newer one, signed by the node as it is, and then have it say that: it stays verified, charged
 * to the address that it is charged to, and does not live longer than before. The same record put
 * again by others changes nothing, unless they put it from the address that it is charged to
 * (which then pays for it longer). */
#ifndef ATL_DISCOVERY_RECORD_STORE_H
#define ATL_DISCOVERY_RECORD_STORE_H

#include "address/addr.h"
#include "base/env.h"
#include "discovery/record.h"

typedef struct atl_record_store atl_record_store;

/* May change while running. */
typedef struct atl_record_store_limits {
    uint64_t max_records;
    uint64_t max_per_ipv4;    /* records put from one IPv4 address */
    uint64_t max_per_ipv6_64; /* and from one IPv6 /64 */
    uint64_t drift;           /* seconds by which clocks may differ: tombstones stay for longer */
} atl_record_store_limits;

typedef struct atl_record_store_stats {
    uint64_t records;    /* now, tombstones not counted */
    uint64_t tombstones; /* now */
    uint64_t bytes;      /* of memory now, tables included, the allocator's own not */
    uint64_t puts;       /* taken: new ones and newer ones */
    uint64_t refreshed;  /* put again as they were, also where that renewed nothing */
    uint64_t deleted;
    uint64_t expired;
    uint64_t evicted; /* that made way */
    uint64_t refused_old;
    uint64_t refused_full; /* nothing makes way */
    uint64_t refused_ipv4;
    uint64_t refused_ipv6;
} atl_record_store_stats;

/* A record in the store; valid until the store changes. */
typedef struct atl_record_view {
    atl_peer_id peer;
    const uint8_t *data; /* the envelope */
    size_t len;
    uint64_t seq;
    uint64_t expires; /* nanoseconds of the loop's clock */
    uint32_t offers;
    uint8_t verified;
    uint64_t number; /* of its place among all that offer something; 0: offers nothing */
} atl_record_view;

int32_t atl_record_store_new(atl_env *env, const atl_record_store_limits *limits,
                             atl_record_store **out);
void atl_record_store_free(atl_record_store *store); /* NULL is allowed */
atl_record_store_limits *atl_record_store_limits_of(atl_record_store *store);
const atl_record_store_stats *atl_record_store_get_stats(const atl_record_store *store);

/* What is put: `head` is what atl_record_check() found in `data` (copied). `source`: who put it;
 * NULL, or of family 0, for what is charged to nobody (this node's own). `verified`: by the
 * record's own node, on its authenticated connection, from an address that the record or the
 * registry's own observation vouches for. */
typedef struct atl_record_put {
    const atl_record_head *head;
    const uint8_t *data;
    size_t len;
    const atl_addr *source;
    uint8_t verified;
    uint64_t expires; /* nanoseconds */
} atl_record_put;

/* ATLAS_OK; ATLAS_ERR_EXISTS when this very record was there (a success; its expiry is renewed
 * where the above allows it: the view tells); ATLAS_ERR_RECORD_OLD when one with a higher sequence
 * number (or the same, and other bytes) is there, or was deleted; ATLAS_ERR_RECORD_EXPIRED when
 * `expires` is not after `now`; ATLAS_ERR_RECORD_LIMIT; ATLAS_ERR_TOO_LARGE; ATLAS_ERR_INVALID for
 * no bytes; ATLAS_ERR_NOMEM. A refused put changes nothing. A newer record is charged to its new
 * source, except as said above. A record's expiry never comes earlier by the same record. */
int32_t atl_record_store_put(atl_record_store *store, const atl_record_put *put, uint64_t now);
/* 1 and *out, or 0. Expired records are not there. */
int atl_record_store_get(atl_record_store *store, const atl_peer_id *peer, uint64_t now,
                         atl_record_view *out);
/* The highest sequence number that is or was there, tombstones included; 0: none. */
uint64_t atl_record_store_seq(const atl_record_store *store, const atl_peer_id *peer);
/* Until when the record or tombstone stays, nanoseconds; 0: none. */
uint64_t atl_record_store_expires(const atl_record_store *store, const atl_peer_id *peer);
/* Deletes a record; a tombstone with its sequence number stays until nobody would take the record
 * any more (its own lifetime and limits.drift; a day where it does not say when it was issued), so
 * that nobody can put it back. 1 when there was one. */
int atl_record_store_delete(atl_record_store *store, const atl_peer_id *peer, uint64_t now);
/* Puts a tombstone, as it was before a restart: errors as of _put(). Takes a record of that peer
 * with that number or a lower one away. */
int32_t atl_record_store_bury(atl_record_store *store, const atl_peer_id *peer, uint64_t seq,
                              const atl_addr *source, uint64_t expires, uint64_t now);

/* Records with an offer (one bit of ATLAS_OFFER_*), at most `cap`, in the order in which they came:
 * those behind place `after` (0: from the first). The next page begins behind the `number` of the
 * last; a page that is not full is the last. No record that stays is missed or comes twice; one
 * whose offers change gets a new place, at the end. */
size_t atl_record_store_list(atl_record_store *store, uint32_t offer, uint64_t after, uint64_t now,
                             atl_record_view *out, size_t cap);
/* `cap` (at most 512) different ones of them at random, or all when there are no more. Verified
 * ones first, and those who have put many records are drawn no more often than those who have put
 * one: to fill a sample takes as many addresses as the honest have. Takes O(cap), or one pass over
 * 512. */
size_t atl_record_store_sample(atl_record_store *store, uint32_t offer, uint64_t now,
                               atl_record_view *out, size_t cap);
/* How many have this offer; those that have expired and are still to be dropped are counted. */
size_t atl_record_store_count(const atl_record_store *store, uint32_t offer);

/* All that is kept of a peer, a tombstone or what has expired too, as a put would say it (len 0: a
 * tombstone). Of the head: peer, seq and offers; of the source what limits are counted by. Fills
 * all three and returns 1, or 0; valid until the store changes. */
int atl_record_store_state(const atl_record_store *store, const atl_peer_id *peer,
                           atl_record_head *head, atl_addr *source, atl_record_put *out);
/* Calls fn for each record or tombstone that makes way for another one, just before it goes (not
 * for what expires); fn must not use the store. NULL: no longer. */
void atl_record_store_on_evict(atl_record_store *store,
                               void (*fn)(void *user, const atl_peer_id *peer), void *user);
/* Everything counted begins at 0 again; what is now stays: after the records of a file were put. */
void atl_record_store_reset_counters(atl_record_store *store);

/* Drops what has expired, at most `budget` records and tombstones; returns how many. It comes due
 * within the second after its expiry; until it is dropped no call returns it. Put, list and sample
 * drop a few as well. */
size_t atl_record_store_expire(atl_record_store *store, uint64_t now, size_t budget);
/* When the next record expires, nanoseconds; ATLAS_NO_DEADLINE when there is none. May be early. */
uint64_t atl_record_store_deadline(const atl_record_store *store);

#endif
