/* Who is announced on the relay: registrations by peer id, in the order in which they expire,
 * counted per address.
 *
 * Every announcement is O(1): it moves the registration to the end of one list, whose head is the
 * next to expire. */
#ifndef ATL_RELAY_REGISTRY_H
#define ATL_RELAY_REGISTRY_H

#include "address/addr.h"
#include "base/hashmap.h"
#include "base/list.h"
#include "identity/peerid.h"
#include "relay/server.h"

typedef struct atl_address_count atl_address_count;

/* Embedded in what it registers. Zero: not registered. */
typedef struct atl_registration {
    atl_hash_node by_id;
    atl_list by_time;
    atl_peer_id id;
    atl_address_count *address; /* NULL: not registered */
    uint64_t announced;         /* nanoseconds */
} atl_registration;

typedef struct atl_registry {
    atl_env *env;
    const atl_relay_limits *limits;
    atl_hashmap nodes;
    atl_hashmap addresses;
    atl_list order;
} atl_registry;

/* Missed announcements that end a registration. */
#define ATL_RELAY_MISSED 3

int32_t atl_registry_init(atl_registry *registry, atl_env *env, const atl_relay_limits *limits);
/* Nothing may be registered any more. */
void atl_registry_free(atl_registry *registry);

/* What atl_registry_add() says besides ATLAS_OK, ATLAS_ERR_EXISTS and ATLAS_ERR_NOMEM; all mean "at
 * capacity". */
#define ATL_REGISTRY_FULL 1
#define ATL_REGISTRY_FULL_IPV4 2
#define ATL_REGISTRY_FULL_IPV6 3

int32_t atl_registry_add(atl_registry *registry, atl_registration *reg, const atl_peer_id *id,
                         const atl_addr *from, uint64_t now);
/* Announced again. */
void atl_registry_touch(atl_registry *registry, atl_registration *reg, uint64_t now);
/* Seen at another address: counted there from now on. It stays registered even where that address
 * is full, since the node did not choose to move. ATLAS_OK or ATLAS_ERR_NOMEM (nothing changed). */
int32_t atl_registry_move(atl_registry *registry, atl_registration *reg, const atl_addr *from);
/* Harmless when not registered. */
void atl_registry_remove(atl_registry *registry, atl_registration *reg);
int atl_registration_active(const atl_registration *reg);

atl_registration *atl_registry_find(const atl_registry *registry, const atl_peer_id *id);
size_t atl_registry_count(const atl_registry *registry);
/* When the next registration expires, or ATLAS_NO_DEADLINE. */
uint64_t atl_registry_deadline(const atl_registry *registry);
/* A registration whose time is over, or NULL. */
atl_registration *atl_registry_expired(const atl_registry *registry, uint64_t now);

#endif
