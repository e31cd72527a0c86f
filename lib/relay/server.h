/* The relay server: registry, pairing, limits, and the entry to the data plane (relay/forwarder.h).
 */
#ifndef ATL_RELAY_SERVER_H
#define ATL_RELAY_SERVER_H

#include "http3/session.h"
#include "quic/conn.h"

#include <atlas/relay.h>

typedef struct atl_relay_server atl_relay_server;

/* May change while running; 0 = unlimited where bandwidths are meant. */
typedef struct atl_relay_limits {
    uint64_t bandwidth;       /* bytes per second per circuit and direction */
    uint64_t total_bandwidth; /* bytes per second in all */
    uint64_t max_nodes;
    uint64_t max_circuits;
    uint64_t max_circuits_per_node;
    uint64_t max_per_ipv4;
    uint64_t max_per_ipv6_64;
    uint64_t handshakes;        /* circuit requests per second per node */
    uint64_t presence_interval; /* nanoseconds; a registration ends 3 of these after its last
                                   announcement */
    uint64_t handshake_timeout; /* nanoseconds for a target to accept */
    uint64_t max_clock_drift;   /* seconds */
} atl_relay_limits;

/* Who asks. */
typedef struct atl_requester {
    const atl_peer_id *peer; /* as TLS has authenticated it; NULL: a client without certificate */
    atl_addr remote;         /* as QUIC has validated it */
    atl_addr local;
} atl_requester;

/* Other parts of the node on the same HTTP/3 server (the registry, dial-backs): a table of these is
 * asked in order for every request that is no CONNECT and not below ATL_RELAY_PATH. */
typedef struct atl_requests_ops {
    /* A request's head. 1: it is taken and will be answered with atl_h3_respond() or reset, now or
     * later; 0: not ours. `*request_user` is given to the calls below. */
    int (*on_request)(void *user, atl_h3_stream *stream, const atl_h3_request *request,
                      const atl_requester *from, void **request_user);
    /* Of a request that was taken and is not answered yet: body bytes, and the end of them. NULL:
     * not of interest. */
    void (*on_data)(void *user, void *request_user, atl_h3_stream *stream, const uint8_t *data,
                    size_t len);
    void (*on_end)(void *user, void *request_user, atl_h3_stream *stream);
    /* Final for a request that was taken: the stream is gone. Comes once, whether it was answered
     * or not, also when the connection or the server ends. */
    void (*on_closed)(void *user, void *request_user, atl_h3_stream *stream);
} atl_requests_ops;
#define ATL_REQUESTS_MAX 4

int32_t atl_relay_server_new(atl_endpoint *ep, const atl_relay_limits *limits,
                             atl_relay_server **out);
/* Ends every registration, circuit and control connection without upcalls. */
void atl_relay_server_free(atl_relay_server *server);
atl_relay_limits *atl_relay_server_limits(atl_relay_server *server);
void atl_relay_server_set_policy(atl_relay_server *server, atlas_relay_policy policy, void *user);
int32_t atl_relay_server_allow(atl_relay_server *server, const atl_peer_id *id);
int32_t atl_relay_server_deny(atl_relay_server *server, const atl_peer_id *id);

/* Adds a part; ATLAS_ERR_LIMIT. It must outlive the server. */
int32_t atl_relay_server_add_requests(atl_relay_server *server, const atl_requests_ops *ops,
                                      void *user);
/* Whether it serves as a relay (1 at first), or only the requests above. Turned off while nodes are
 * registered it behaves to them as one that drains (RelayDrain; circuits last until they end, for
 * `within` nanoseconds at most) and goes on serving requests; it may be turned on again at any
 * time. */
void atl_relay_server_set_relaying(atl_relay_server *server, int on, uint64_t within);
int atl_relay_server_is_relaying(const atl_relay_server *server);

/* From the endpoint's on_accept for ATL_PROTO_H3 connections: takes the connection over. */
int32_t atl_relay_server_accept(atl_relay_server *server, atl_qconn *conn);
/* The endpoint's hooks of the data plane. */
size_t atl_relay_server_on_forward(atl_relay_server *server, void *ptr, const atl_rx *rx);
void atl_relay_server_on_batch_end(atl_relay_server *server);

/* RelayDrain to everyone, GOAWAY, refuse new work; after `timeout` nanoseconds, or when no circuit
 * is left, closes everything and calls done once. */
void atl_relay_server_drain(atl_relay_server *server, uint64_t timeout, void (*done)(void *user),
                            void *user);
void atl_relay_server_stats(const atl_relay_server *server, atlas_relay_stats *out);

#endif
