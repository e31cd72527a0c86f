/* Routers of the simulated network: translation of IPv4 addresses with every mapping and filtering
 * behaviour of RFC 4787, a stateful firewall for IPv6, one behind another. */
#ifndef SIM_NET_ROUTER_H
#define SIM_NET_ROUTER_H

#include "net.h"

/* Of mapping (the same outside port for all remote addresses, for each address, for each address
 * and port) and of filtering (who may send to it: anybody, an address written to, an address and
 * port written to). */
#define SIM_ENDPOINT_INDEPENDENT 0
#define SIM_ADDRESS_DEPENDENT 1
#define SIM_ADDRESS_PORT_DEPENDENT 2

typedef struct sim_nat {
    uint8_t mapping;
    uint8_t filtering; /* of the IPv6 firewall as well */
    uint8_t preserve;  /* the outside port is the inside one where that is free; else at random */
    uint8_t hairpin;   /* hosts inside reach one another by their outside addresses */
    uint8_t refresh_inbound; /* what comes in keeps a mapping, too, not only what goes out */
    uint8_t firewall6;       /* IPv6: what comes in unasked is dropped */
    uint8_t block_udp;       /* nothing passes */
    uint64_t timeout;        /* of a mapping, nanoseconds; 0: 120 s */
} sim_nat;

/* The kinds of tests/lab. */
#define SIM_NAT_NONE 0
#define SIM_NAT_FULL_CONE 1
#define SIM_NAT_ADDRESS_RESTRICTED 2
#define SIM_NAT_PORT_RESTRICTED 3
#define SIM_NAT_SYMMETRIC 4
#define SIM_NAT_CGNAT 5 /* port-restricted behind port-restricted */
#define SIM_NAT_BLOCKED 6
#define SIM_NAT_KINDS 7

const char *sim_nat_name(int kind);
/* The behaviour of a router of that kind (of each of the two for CGNAT). */
sim_nat sim_nat_of(int kind);

/* A router with that outside IPv4 address, behind another or on the Internet (`parent` NULL). */
sim_router *sim_router_new(sim_net *net, sim_router *parent, const char *outside,
                           const sim_nat *nat);
/* A host behind a NAT of that kind whose outermost address is `outside`: its own for SIM_NAT_NONE.
 * Inside addresses are made from `number` (1..250). *router, when not NULL, receives the outermost
 * router, NULL for none. */
sim_host *sim_host_natted(sim_net *net, int kind, const char *outside, int number,
                          sim_router **router);
/* May be changed while running. */
sim_nat *sim_router_nat(sim_router *router);
sim_router *sim_router_parent(const sim_router *router);
/* All mappings and firewall states are gone, as by `conntrack -F`. With `other_ports` the next
 * mappings have other ports even where ports are preserved. */
void sim_router_forget(sim_router *router, int other_ports);
/* Another outside address; the mappings are gone. */
void sim_router_set_outside(sim_router *router, const char *ip);
void sim_router_outside(const sim_router *router, atl_addr *out);
/* Live mappings. */
size_t sim_router_mappings(const sim_router *router);

#endif
