/* What the registry's store keeps of a record besides its bytes: 112 bytes. */
#ifndef ATL_DISCOVERY_STORE_ENTRY_H
#define ATL_DISCOVERY_STORE_ENTRY_H

#include "discovery/store_pool.h"
#include "identity/peerid.h"

#define ATL_STORE_VERIFIED 1u
#define ATL_STORE_TOMBSTONE 2u
#define ATL_STORE_PICKED 4u /* within a sample */

typedef struct atl_store_entry {
    atl_peer_id peer;
    uint64_t seq;
    uint64_t expires;         /* nanoseconds */
    uint64_t number;          /* in the index by offer; 0: not in it */
    uint8_t *data;            /* the envelope; NULL: tombstone */
    atl_store_link by_age;    /* unverified ones, or tombstones, in the order of their coming */
    atl_store_link by_source; /* unverified ones of the same source, likewise */
    atl_store_link by_time;   /* those that expire in the same second */
    uint32_t next;            /* in the table by peer */
    uint32_t source;          /* handle; 0: none */
    uint32_t offers;
    uint32_t over; /* seconds (their low 32 bits): from then on nobody takes this record */
    uint32_t due;  /* bucket of by_time */
    uint16_t len;
    uint8_t flags; /* ATL_STORE_* */
    uint8_t reserved;
} atl_store_entry;

static inline atl_store_entry *atl_store_entry_at(const atl_pool *pool, uint32_t handle) {
    return atl_pool_at(pool, handle);
}

#endif
