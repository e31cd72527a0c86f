/* What the modules of the simulated network share. */
#ifndef SIM_NET_INTERNAL_H
#define SIM_NET_INTERNAL_H

#include "net_router.h"

#define MAX_SOCKETS 8
#define MAX_ADDRS 16
#define MAX_NAMES 16
#define MAX_DEPTH 8         /* routers behind routers */
#define RX_QUEUE 4096       /* datagrams waiting in a socket, and */
#define RX_BYTES (4u << 20) /* bytes, as SO_RCVBUF bounds them */
#define LOG_RING 4096
#define NEVER UINT64_MAX

/* ---- the one table: addresses, flows, mappings, by a fixed hash ---- */

#define SPACE_PLACE 1    /* + realm: who has an address */
#define SPACE_FLOW 2     /* one direction between two hosts */
#define SPACE_NAT_OUT 3  /* + router */
#define SPACE_NAT_IN 4   /* + router */
#define SPACE_FIREWALL 5 /* + router */

typedef struct sim_key {
    uint32_t space;
    uint32_t owner; /* realm, router or host */
    uint8_t a[16];
    uint8_t b[16];
    uint16_t a_port;
    uint16_t b_port;
    uint32_t other;
} sim_key;

typedef struct sim_slot {
    struct sim_slot *next;
    sim_key key;
    void *value;
} sim_slot;

typedef struct sim_map {
    sim_slot **buckets;
    size_t mask;
    size_t count;
} sim_map;

void *sim_map_get(const sim_map *map, const sim_key *key);
void sim_map_set(sim_map *map, const sim_key *key, void *value); /* replaces */
void sim_map_remove(sim_map *map, const sim_key *key);
void sim_map_free(sim_map *map, void (*each)(const sim_key *key, void *value));

/* ---- things under way ---- */

typedef struct sim_packet {
    struct sim_packet *next;
    uint64_t at;
    uint64_t order;
    void (*fn)(void *user); /* not a packet, but something to do */
    void *user;
    sim_host *source;  /* NULL for what was injected */
    sim_host *target;  /* for whom it seemed to be when it was sent, or NULL */
    sim_router *realm; /* inside which it is, NULL: the Internet */
    int down;          /* on the receiver's own line */
    atl_addr from;
    atl_addr to;
    size_t len;
    uint8_t ecn;
    uint8_t data[];
} sim_packet;

/* Packets and things to do, by time and then by order. */
typedef struct sim_queue {
    sim_packet **heap;
    size_t n;
    size_t cap;
    uint64_t order;
} sim_queue;

void sim_queue_push(sim_queue *queue, sim_packet *p); /* sets its order */
sim_packet *sim_queue_pop(sim_queue *queue);

/* ---- links ---- */

typedef struct sim_line {
    sim_link link;
    sim_shape shape;
} sim_line;

/* What a line remembers of one direction. */
typedef struct sim_wire {
    uint64_t last_at;
    uint64_t busy_until;
    uint8_t bad;
} sim_wire;

typedef struct sim_flow {
    sim_line *own; /* NULL: the default */
    sim_wire wire;
    uint8_t cut;
    sim_flow_stats stats;
} sim_flow;

/* ---- hosts and routers ---- */

struct atl_udp {
    sim_host *host;
    atl_addr local;
    atl_udp_ready ready;
    void *user;
    sim_packet *first;
    sim_packet *last;
    sim_packet *lent; /* handed out by the last udp_recv */
    size_t queued;
    size_t queued_bytes;
    int open;
};

struct atl_resolve {
    sim_host *host;
    atl_resolve *next;
    atl_resolve_cb cb;
    void *user;
    atl_addr addr;
    int32_t status;
};

/* Who has an address: a host or a router. */
typedef struct sim_place {
    sim_host *host;
    sim_router *router; /* the one whose outside it is */
} sim_place;

/* An address of a host, in a network. */
typedef struct sim_nic {
    atl_addr ip;
    sim_router *router;
} sim_nic;

typedef struct sim_access {
    sim_line up;
    sim_line down;
    sim_wire up_wire;
    sim_wire down_wire;
} sim_access;

struct sim_host {
    sim_net *net;
    size_t index;
    sim_place place;
    sim_nic nics[MAX_ADDRS];
    size_t n_nics;
    atl_addr outside;    /* how others see the first address, and */
    uint16_t port_shift; /* the ports: see sim_host_rebind() */
    atl_udp sockets[MAX_SOCKETS];
    uint16_t next_port;
    atl_resolve *resolves;
    void (*drive)(void *);
    uint64_t (*deadline)(void *);
    void *user;
    void (*changed)(void *);
    void *changed_user;
    int has_changed; /* the watcher is to be told */
    int hidden;      /* changes are not told */
    int ipv6;
    int down;
    int frozen;
    uint64_t asleep_since;
    uint64_t slept; /* how far its clock is behind */
    int unplugged;
    int side;
    int due; /* something arrived */
    sim_access *access;
    double at_place;  /* on the ring, 0..1 */
    uint64_t wake;    /* when it is to be driven, in network time */
    size_t heap_slot; /* in sim_net.wakes */
};

typedef struct sim_mapping sim_mapping;

struct sim_router {
    sim_net *net;
    uint32_t index;
    sim_router *parent;
    sim_place place;
    atl_addr outside;
    sim_nat nat;
    uint16_t port_shift;
    uint32_t generation; /* of firewall states */
    sim_mapping *mappings;
    size_t n_mappings;
    size_t sweep_at;
};

struct sim_net {
    struct sim_net *next_live; /* all that were not freed */
    uint64_t seed;
    uint64_t now;
    uint64_t rng;
    sim_stats stats;
    sim_map map;
    sim_queue queue;
    sim_host **hosts;
    size_t n_hosts;
    sim_host **wakes; /* a heap of all hosts by `wake`, then index */
    sim_host **round; /* those driven at this instant */
    sim_router **routers;
    size_t n_routers;
    sim_line line;
    sim_line local;
    uint64_t circle; /* nanoseconds between hosts that are farthest apart, one way; 0: no ring */
    char names[MAX_NAMES][64];
    atl_addr name_ips[MAX_NAMES];
    size_t n_names;
    int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t);
    void *tap_user;
    void (*observe)(void *, const sim_event *);
    void *observe_user;
    sim_event *ring;
    size_t n_events; /* in all */
    uint64_t log_hash;
    int live_log; /* SIM_LOG */
};

void *sim_must(void *ptr); /* ends the program when memory is out */
atl_addr sim_parse_ip(const char *ip);
void sim_free_packets(sim_packet **list);
int sim_chance(sim_net *net, uint32_t per_10000);

/* net_log.c */
void sim_log(sim_net *net, uint32_t what, const sim_host *host, const atl_addr *from,
             const atl_addr *to, size_t len, const char *text);
void sim_log_start(sim_net *net);
void sim_log_end(sim_net *net);

/* net_link.c: the time at which a packet of `len` bytes that enters at *at leaves a line, and
 * whether twice; the reason when it does not. */
const char *sim_line_pass(sim_net *net, const sim_line *line, sim_wire *wire, size_t len,
                          uint64_t *at, uint64_t *twice);
sim_flow *sim_flow_of(sim_net *net, const sim_host *a, const sim_host *b);
void sim_flow_free(sim_flow *flow);

/* net_way.c: one datagram of a host (NULL: nobody's) that is in the realm of `router`. */
void sim_transmit(sim_net *net, sim_host *host, sim_router *router, const atl_addr *from,
                  const atl_addr *to, const uint8_t *data, size_t len, uint8_t ecn);
void sim_arrive(sim_net *net, sim_packet *p);
sim_place *sim_place_of(const sim_net *net, const sim_router *realm, const atl_addr *addr);
void sim_place_set(sim_net *net, const sim_router *realm, const atl_addr *addr, sim_place *place);
void sim_place_remove(sim_net *net, const sim_router *realm, const atl_addr *addr,
                      const sim_place *place);

/* net_host.c */
const sim_nic *sim_host_nic(const sim_host *host, const atl_addr *ip);
const sim_nic *sim_host_route(const sim_host *host, const atl_addr *remote);
void sim_host_free(sim_host *host);

/* net.c: when the host is to be driven. */
void sim_wake(sim_host *host);

/* net_router.c: NULL, or why it does not pass. */
const char *sim_nat_out(sim_router *router, atl_addr *from, const atl_addr *to);
const char *sim_nat_in(sim_router *router, const atl_addr *from, atl_addr *to);
/* Where it would go, without asking whether it may; 0: nowhere. */
int sim_nat_peek(const sim_router *router, atl_addr *to);
const char *sim_firewall_out(sim_router *router, const atl_addr *from, const atl_addr *to);
const char *sim_firewall_in(sim_router *router, const atl_addr *from, const atl_addr *to);
void sim_router_free(sim_router *router);

#endif
