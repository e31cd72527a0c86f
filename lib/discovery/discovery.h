/* Discovery of one context: bootstrap nodes, look-ups, the cache of records, reachability, chosen
 * relays, this node's record. It owns the modules of this room and decides what follows from what;
 * docs/discovery.md. */
#ifndef ATL_DISCOVERY_DISCOVERY_H
#define ATL_DISCOVERY_DISCOVERY_H

#include "discovery/autorelay.h"
#include "discovery/record_cache.h"
#include "peer/manager.h"

#include <atlas/discovery.h>

#define ATL_BOOT_NAMED 16  /* bootstrap nodes that the application has named, at most */
#define ATL_BOOT_LEARNED 5 /* and such that others have named */
#define ATL_BOOT_MAX (ATL_BOOT_NAMED + ATL_BOOT_LEARNED)

typedef struct atl_discovery atl_discovery;
typedef struct atl_boot_node atl_boot_node;
struct atl_reach;

/* Read at each use; may change while running. */
typedef struct atl_discovery_limits {
    uint32_t autorelay;       /* ATLAS_OPT_AUTORELAY */
    uint32_t autorelay_count; /* ATLAS_OPT_AUTORELAY_COUNT */
    uint64_t lifetime;        /* of the own record, seconds */
    uint64_t max_clock_drift; /* seconds */
    uint8_t offer_relay;      /* serve as a relay where this node is public */
    uint8_t serves_relay;     /* a relay server runs and takes nodes */
    uint8_t serves_bootstrap; /* a bootstrap server runs */
    uint8_t serves_dialback;  /* dial-backs are served */
} atl_discovery_limits;

/* Work tasks, never from inside a call. */
typedef struct atl_discovery_ops {
    void (*on_reach)(void *user, uint8_t family, int changed);
    void (*on_advertise)(void *user);
    void (*on_autorelay)(void *user, const atl_autorelay_event *event);
    /* This node can be reached by strangers and is to offer a relay (1), or no longer (0). */
    void (*on_offer)(void *user, int on);
    /* The own record is another one: for a registry of this node itself. len 0: it is taken back.
     */
    void (*on_own_record)(void *user, const uint8_t *data, size_t len);
} atl_discovery_ops;

/* `peers`, `key`, `limits` must outlive it. */
int32_t atl_discovery_new(atl_peers *peers, const atlas_key *key,
                          const atl_discovery_limits *limits, const atl_discovery_ops *ops,
                          void *user, atl_discovery **out);
/* Without events. Must come before the peers are freed. NULL is allowed. */
void atl_discovery_free(atl_discovery *disc);

/* As atlas_bootstrap_add(). */
int32_t atl_discovery_add_node(atl_discovery *disc, const char *text);
/* Takes back those that were added behind the first `n`, before the sockets are open. */
void atl_discovery_forget_nodes(atl_discovery *disc, size_t n);
size_t atl_discovery_nodes(const atl_discovery *disc);
const char *atl_boot_node_text(const atl_boot_node *node);
atl_record_cache *atl_discovery_cache(atl_discovery *disc);
const atl_discovery_limits *atl_discovery_limits_of(const atl_discovery *disc);

/* The sockets are open. Reachability is checked from now on; and with `advertise` 1 the node wants
 * to be found. `advertise` 0 takes that back. ATLAS_ERR_NO_BOOTSTRAP, ATLAS_ERR_NOMEM. */
int32_t atl_discovery_check(atl_discovery *disc);
int32_t atl_discovery_advertise(atl_discovery *disc, int on);
/* Options have changed, or what this node serves. */
void atl_discovery_changed(atl_discovery *disc);
/* From the endpoint: 1 when the datagram was a dial-back. */
int atl_discovery_on_stun(atl_discovery *disc, const atl_rx *rx);

/* NULL before reachability was of interest. */
const struct atl_reach *atl_discovery_reach(const atl_discovery *disc);
size_t atl_discovery_serving(const atl_discovery *disc);
/* The own record as it was published last; NULL: none. */
const uint8_t *atl_discovery_own(const atl_discovery *disc, size_t *len);
/* What atlas_advertise_event tells, without addresses. */
typedef struct atl_advertise_state {
    uint32_t state;
    uint32_t offers;
    uint64_t seq;
    uint32_t nodes;
    uint32_t total;
    int32_t code;
} atl_advertise_state;
void atl_discovery_state(const atl_discovery *disc, atl_advertise_state *out);

/* The context shuts down: searches end without upcalls, the own record is deleted from the
 * bootstrap nodes. */
void atl_discovery_shutdown(atl_discovery *disc);
/* 1 when that is done, or has taken too long. */
int atl_discovery_is_idle(const atl_discovery *disc);
/* quiet.c: 0 while searches, puts or deletes, a round of reachability, measurements or tests of
 * relays are under way or about to begin. What waits for its next time does not count. */
int atl_discovery_is_quiet(const atl_discovery *disc);

#endif
