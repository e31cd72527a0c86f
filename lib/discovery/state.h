/* What the modules of discovery share: the bootstrap nodes, the searches, the servers of
 * dial-backs, this node's record. */
#ifndef ATL_DISCOVERY_STATE_H
#define ATL_DISCOVERY_STATE_H

#include "discovery/autorelay.h"
#include "discovery/discovery.h"
#include "discovery/link.h"
#include "discovery/publish.h"
#include "discovery/reach.h"
#include "discovery/record_cache.h"
#include "discovery/servers.h"
#include "peer/dial.h"
#include "peer/manager.h"

#define ATL_BOOT_REST (60 * ATL_SECOND) /* of a learned one that did not answer */

/* A bootstrap node: the application has named it, or a bootstrap node has. */
struct atl_boot_node {
    struct atl_discovery *disc;
    atl_maddr addr;
    char text[ATLAS_MULTIADDR_MAX];
    atl_link *link; /* NULL before its first use */
    uint8_t learned;
    uint64_t failed_at; /* when it did not answer last; 0: it has not been so */
    atl_published published;
};

/* IP addresses that the records of a search name, each with the first who did. */
#define ATL_SOUGHT_MAX 32
typedef struct atl_sought {
    size_t n;
    struct {
        atl_addr addr;
        atl_peer_id peer;
    } addrs[ATL_SOUGHT_MAX];
} atl_sought;

struct atl_discovery {
    atl_loop *loop;
    atl_env *env;
    const atl_io *io;
    atl_peers *peers;
    const atlas_key *key;
    const atl_discovery_limits *limits;
    const atl_discovery_ops *ops;
    void *user;
    atl_record_cache *cache;
    atl_boot_node nodes[ATL_BOOT_MAX];
    size_t n_nodes;
    size_t n_learned;
    uint8_t sought;     /* others have been asked for, */
    uint64_t sought_at; /* the last time then */
    atl_list finds;     /* atl_find.node */
    atl_list lookups;   /* of dials: lookup.c */
    struct atl_finder finder;
    struct atl_peers_watch watch;

    atl_reach *reach;    /* NULL before need */
    uint8_t checking;    /* reachability is of interest */
    uint8_t asked;       /* to the application itself, not for advertising alone */
    uint8_t advertising; /* and this node wants to be found */
    uint8_t stopped;     /* no more: the context shuts down */
    uint8_t relaying;    /* relays are chosen */
    uint8_t offering;    /* the owner was told to serve as a relay */
    uint8_t wanting;     /* autorelay waits for candidates */
    uint8_t primed;      /* servers have been looked for once */
    atl_timer prime;     /* patience with that */
    struct atl_find *boots_find;
    struct atl_find *servers_find;
    struct atl_find *relays_find;
    atl_servers servers;
    atl_sought servers_sought;  /* in the search for them that goes on, or in the last one, */
    uint64_t servers_sought_at; /* which began then */
    atl_autorelay *autorelay;   /* NULL before need */
    atl_publish publish;
    atl_task update; /* what follows from the state has to be looked at */
};

/* The link of a bootstrap node, made where there is none yet. ATLAS_ERR_STATE before the sockets
 * are open. */
int32_t atl_boot_node_link(atl_boot_node *node, atl_link **out);
/* discovery.c: this node is a bootstrap node that knows no other; strangers reach it; the search
 * for servers has ended, or has taken long enough. */
int atl_discovery_is_first(const atl_discovery *disc);
int atl_discovery_is_public(const atl_discovery *disc);
void atl_discovery_primed(atl_discovery *disc);
/* seek.c: looks for servers of dial-backs; makes the chooser of relays; ends its searches. */
void atl_seek_servers(atl_discovery *disc);
int32_t atl_seek_autorelay(atl_discovery *disc);
void atl_seek_stop(atl_discovery *disc);
/* Ends the search for relays alone. */
void atl_seek_no_relays(atl_discovery *disc);
/* collect.c: what the own record is to say now: addresses, and offers. */
void atl_discovery_collect(atl_discovery *disc, atl_record *out);
/* Whether it is worth asking now; and that it did not answer. */
int atl_boot_node_usable(const atl_boot_node *node);
void atl_boot_node_failed(atl_boot_node *node);
/* A bootstrap node's record was handed out by another: used as well, where there is room. */
void atl_discovery_learn_node(atl_discovery *disc, const atl_maddr *addr);
/* seek.c: looks for further bootstrap nodes, once; and again, when that is some time ago. */
void atl_seek_nodes(atl_discovery *disc);
void atl_seek_nodes_again(atl_discovery *disc);
/* And for servers of dial-backs, while none has been found. */
void atl_seek_servers_again(atl_discovery *disc);
/* lookup.c: the finder of dials. */
void atl_lookup_init(atl_discovery *disc);
void atl_lookup_free(atl_discovery *disc);

#endif
