/* What the modules of the simulated network share. */
#ifndef SIM_NET_INTERNAL_H
#define SIM_NET_INTERNAL_H

#include "net.h"

#define MAX_HOSTS 64
#define MAX_SOCKETS 8
#define MAX_NAMES 16
#define RX_QUEUE 4096 /* datagrams waiting in a socket, as SO_RCVBUF bounds them */

typedef struct sim_packet {
    struct sim_packet *next;
    uint64_t at;
    uint64_t order;
    atl_addr from;
    atl_addr to;
    size_t len;
    uint8_t ecn;
    uint8_t data[];
} sim_packet;

struct atl_udp {
    sim_host *host;
    atl_addr local;
    atl_udp_ready ready;
    void *user;
    sim_packet *first;
    sim_packet *last;
    sim_packet *lent; /* handed out by the last udp_recv */
    size_t queued;
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

struct sim_host {
    sim_net *net;
    size_t index;
    atl_addr ip;
    atl_addr outside;    /* how others see the address, and */
    uint16_t port_shift; /* the ports: see sim_host_rebind() */
    atl_udp sockets[MAX_SOCKETS];
    uint16_t next_port;
    atl_resolve *resolves;
    void (*drive)(void *);
    uint64_t (*deadline)(void *);
    void *user;
    int down;
    int due; /* something arrived */
};

struct sim_net {
    uint64_t now;
    uint64_t rng;
    uint64_t order;
    sim_stats stats;
    sim_host *hosts[MAX_HOSTS];
    size_t n_hosts;
    sim_link link;
    sim_link *pairs[MAX_HOSTS][MAX_HOSTS];
    uint64_t last_at[MAX_HOSTS][MAX_HOSTS];
    uint8_t cut[MAX_HOSTS][MAX_HOSTS];
    sim_packet **heap;
    size_t n_heap;
    size_t cap_heap;
    char names[MAX_NAMES][64];
    atl_addr name_ips[MAX_NAMES];
    size_t n_names;
    int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t);
    void *tap_user;
};

void *sim_must(void *ptr); /* ends the program when memory is out */
void sim_free_packets(sim_packet **list);
/* One datagram onto the link between two addresses. */
void sim_transmit(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                  size_t len, uint8_t ecn);

#endif
