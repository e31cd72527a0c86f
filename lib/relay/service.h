/* What the modules of the relay server share: the server and its control connections. */
#ifndef ATL_RELAY_SERVICE_H
#define ATL_RELAY_SERVICE_H

#include "base/idmap.h"
#include "http3/session.h"
#include "relay/access.h"
#include "relay/forwarder.h"
#include "relay/messages.h"
#include "relay/registry.h"
#include "relay/server.h"

#define ATL_RELAY_PATH "/.well-known/atlas/relay/"
#define ATL_RELAY_PROTOCOL "atlas-relay"

/* Another part of the node that answers requests. */
typedef struct atl_requests_part {
    const atl_requests_ops *ops;
    void *user;
} atl_requests_part;

struct atl_relay_server {
    atl_env *env;
    atl_loop *loop;
    atl_endpoint *ep;
    atl_relay_limits limits;
    atlas_relay_stats stats;
    atl_registry registry;
    atl_access access;
    atl_forwarder *forwarder;
    atl_source_limit *connects; /* circuit requests per node */
    uint64_t connect_rate;      /* the rate that `connects` was made with */
    atl_idmap circuits;         /* by number */
    uint64_t next_circuit;
    atl_list sessions;
    size_t n_sessions;
    atl_list lapsed; /* sessions whose registration has lapsed, by lapsed_node */
    atl_list idle;   /* sessions that may make way, by idle_node, the idlest first */
    atl_requests_part parts[ATL_REQUESTS_MAX];
    size_t n_parts;
    uint64_t made_way;       /* idle connections closed for others */
    uint64_t overdue;        /* requests reset that their clients left unfinished */
    uint8_t relaying;        /* serves as a relay */
    atl_timer relaying_ends; /* ends what is left of it after it was turned off */
    uint64_t relaying_grace; /* not before this: RelayDrain is to arrive */
    uint64_t relaying_until; /* circuits last until then */
    atl_timer expiry;
    uint8_t draining;
    uint8_t closing; /* the drain is over: waiting for the connections to end */
    uint64_t drain_until;
    atl_timer drain;
    void (*drained)(void *user);
    void *drained_user;
};

/* A control connection. */
typedef struct atl_relay_session {
    atl_list node;
    atl_list lapsed_node;
    atl_relay_server *server;
    atl_h3 *h3;
    atl_h3_stream *control; /* the CONNECT stream, or NULL */
    atl_peer_id peer;
    uint8_t has_peer;
    uint8_t ending;    /* told why, closes soon: deaf and mute */
    uint8_t opened;    /* it has had a control stream */
    uint8_t announced; /* it has been registered */
    uint8_t asked;     /* it has made a request that is no CONNECT */
    uint32_t circuits_count;
    atl_list circuits; /* atl_pairing_end */
    atl_forward_port port;
    atl_registration registration;
    atl_bucket announces;
    uint64_t idle_since; /* no registration, circuit or request since then */
    atl_list requests;   /* under way */
    atl_timer sweep;     /* of those */
    atl_list idle_node;
    atl_capsule_parser parser;
    atl_timer timer;
} atl_relay_session;

/* Something of a node has ended while relaying is turned off: it may have been the last. */
void atl_relay_server_relaying_ends(atl_relay_server *server);

#endif
