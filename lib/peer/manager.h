/* All that a context has of peers: its connections, its relays, its address book; and who may come
 * in. */
#ifndef ATL_PEER_MANAGER_H
#define ATL_PEER_MANAGER_H

#include "base/bucket.h"
#include "peer/book.h"
#include "peer/candidates.h"
#include "peer/keepalive.h"
#include "peer/punch.h"
#include "peer/relays.h"
#include "stun/client.h"

#include <atlas/peer.h>

/* Read at each use; may change while running. */
typedef struct atl_peer_limits {
    uint64_t max_conns;
    uint64_t max_message;       /* bytes */
    uint64_t idle_timeout;      /* nanoseconds */
    uint64_t handshake_timeout; /* nanoseconds */
    uint64_t relay_delay;       /* nanoseconds */
    uint64_t presence_interval; /* nanoseconds */
    uint64_t max_clock_drift;   /* seconds */
    uint64_t keepalive_max;     /* nanoseconds */
    uint64_t idle_mode_max;     /* nanoseconds */
    uint8_t enable_relay;
    uint8_t upgrade; /* look for direct paths */
} atl_peer_limits;

struct atl_finder; /* peer/dial.h */

/* What those above want to hear of (discovery/). */
typedef struct atl_peers_watch {
    void *user;
    /* A peer has told its own record (a signed envelope, not checked yet): a negative code ends the
     * connection. */
    int32_t (*on_record)(void *user, const atl_peer_id *peer, const uint8_t *data, size_t len);
    /* News of a relay, as atl_relays.on_observed. */
    void (*on_relay)(void *user, atl_relay_entry *entry);
    /* The list of candidates has changed. */
    void (*on_candidates)(void *user);
    /* The host's network has changed. `moved`: the families in which it is another one, bits (1
     * IPv4, 2 IPv6); in the others some address or route of the host has come or gone. */
    void (*on_network)(void *user, uint32_t moved);
    /* Idle mode has begun or ended. */
    void (*on_idle)(void *user, int on);
} atl_peers_watch;

typedef struct atl_peers {
    atl_loop *loop;
    const atl_io *io;
    atlas_ctx *ctx; /* for callbacks only */
    const atlas_callbacks *callbacks;
    atl_peer_id self;
    atl_endpoint *ep; /* NULL before the sockets are open */
    atl_peer_limits limits;
    atl_list conns; /* atlas_conn.node: dialling, open and closing ones */
    size_t count;
    atl_relays relays;
    atl_book book;
    const struct atl_finder *finder; /* looks up where peers are; NULL: nobody does */
    uint8_t local_found;     /* they were looked up on this machine: its addresses may be named */
    atl_source_limit *found; /* how often one address that was found is dialled; NULL before need */
    const struct atl_peers_watch *watch; /* who else wants to know; NULL: nobody */
    const uint8_t *record;               /* this node's own, told to every peer; NULL: none */
    size_t record_len;
    /* peer/network.c */
    atl_stun_client *stun;
    atl_candidates *candidates; /* NULL before the sockets are open */
    atl_punch_table *punches;   /* likewise */
    atl_keepalive keepalive[2]; /* IPv4, IPv6 */
    atl_timer settle;           /* the network has changed, and perhaps goes on changing */
    uint64_t changed_at;
    uint64_t host_hash;   /* of the host's addresses, when they were looked at last */
    atl_addr outside[2];  /* its addresses towards the Internet then: IPv4, IPv6; family 0: none */
    uint8_t only_watched; /* the change was told by the system, not by the application */
    uint8_t idle;
    uint8_t listening;
    uint8_t shutdown;
} atl_peers;

/* `callbacks` must outlive it. */
int32_t atl_peers_init(atl_peers *peers, atl_loop *loop, const atl_io *io, atlas_ctx *ctx,
                       const atlas_callbacks *callbacks, const atl_peer_id *self);
/* Frees everything without events. The endpoint must still be there. */
void atl_peers_free(atl_peers *peers);
/* The sockets are open: relays that were added before become clients. `stun` asks from them. */
int32_t atl_peers_open(atl_peers *peers, atl_endpoint *ep, atl_stun_client *stun);

/* From the endpoint's hooks, for ATL_PROTO_ATLAS. */
int32_t atl_peers_on_initial(atl_peers *peers);
int32_t atl_peers_accept(atl_peers *peers, atl_qconn *conn);
/* A peer asked to end all sessions with it. */
void atl_peers_disconnect(atl_peers *peers, const atl_peer_id *peer, const char *reason);
/* The host's network may have changed: at most once a second is heeded. */
void atl_peers_network_changed(atl_peers *peers);
void atl_peers_set_idle(atl_peers *peers, int on);
/* Closes every connection; each ends in its final event. No new ones. */
void atl_peers_shutdown(atl_peers *peers);

#endif
