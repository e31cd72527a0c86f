/* The relay server: registry, pairing, limits, and the entry to the data plane (relay/forwarder.h).
 */
#ifndef ATL_RELAY_SERVER_H
#define ATL_RELAY_SERVER_H

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

int32_t atl_relay_server_new(atl_endpoint *ep, const atl_relay_limits *limits,
                             atl_relay_server **out);
/* Ends every registration, circuit and control connection without upcalls. */
void atl_relay_server_free(atl_relay_server *server);
atl_relay_limits *atl_relay_server_limits(atl_relay_server *server);
void atl_relay_server_set_policy(atl_relay_server *server, atlas_relay_policy policy, void *user);
int32_t atl_relay_server_allow(atl_relay_server *server, const atl_peer_id *id);
int32_t atl_relay_server_deny(atl_relay_server *server, const atl_peer_id *id);

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
