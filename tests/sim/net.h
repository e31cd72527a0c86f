/* The simulated network: a virtual clock, a seeded random source, hosts with UDP sockets, links
 * with delay, jitter, loss, reordering, duplication and an MTU. It implements atl_io, so that
 * library code runs on it unmodified, and a run is reproducible from its seed. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "io/io.h"

typedef struct sim_net sim_net;
typedef struct sim_host sim_host;

typedef struct sim_link {
    uint64_t delay;     /* one way, nanoseconds */
    uint64_t jitter;    /* added at random, 0..jitter nanoseconds; keeps the order */
    uint32_t loss;      /* lost packets per 10,000 */
    uint32_t reorder;   /* packets per 10,000 that overtake or are overtaken: extra delay of up to 3
                           times `delay` */
    uint32_t duplicate; /* packets per 10,000 delivered twice */
    uint32_t mtu;       /* longest UDP payload; longer ones vanish */
} sim_link;

typedef struct sim_stats {
    uint64_t sent, delivered, lost, oversized, unroutable, duplicated;
    uint64_t bytes;
} sim_stats;

sim_net *sim_new(uint64_t seed);
/* The same without a line that names the seed: for tests that make thousands. */
sim_net *sim_new_quiet(uint64_t seed);
/* Hosts, sockets and packets in flight; contexts must have been freed before. */
void sim_free(sim_net *net);
uint64_t sim_now(const sim_net *net);
uint64_t sim_random(sim_net *net);
const sim_stats *sim_get_stats(const sim_net *net);
/* What every link is, unless set for a pair. */
void sim_set_link(sim_net *net, const sim_link *link);
void sim_set_pair(sim_net *net, sim_host *a, sim_host *b, const sim_link *link);

/* A host with one IPv4 address. */
sim_host *sim_host_new(sim_net *net, const char *ip);
/* The host's atl_io, and the hooks (clock, random) of a context that lives on it. */
void sim_host_io(sim_host *host, atl_io *io);
void sim_host_hooks(sim_host *host, atlas_hooks *hooks);
void sim_host_addr(const sim_host *host, atl_addr *out);
uint64_t sim_host_now(const sim_host *host);
/* How the program on the host is run: `drive` whenever something has arrived or its deadline has
 * come. */
void sim_host_program(sim_host *host, void (*drive)(void *user), uint64_t (*deadline)(void *user),
                      void *user);
/* Runs ready handlers of sockets with something to read: to be called by the program's drive. 1
 * when some are left. */
int sim_host_process(sim_host *host);
/* A host that is down receives nothing, sends nothing and is not driven. */
void sim_host_set_down(sim_host *host, int down);
/* What a NAT does that forgets: from now on the host's packets come from another port, and from
 * another address where `ip` is not NULL; what is sent to the former one is lost. The host itself
 * sees nothing of it. */
void sim_host_rebind(sim_host *host, const char *ip);
/* The network between two hosts is cut, or mended. */
void sim_cut(sim_net *net, sim_host *a, sim_host *b, int cut);

/* A name for the look-ups of all hosts. */
void sim_add_name(sim_net *net, const char *name, const char *ip);

/* Looks at every datagram as it is sent; returns 1 to drop it. */
void sim_set_tap(sim_net *net,
                 int (*tap)(void *user, const atl_addr *from, const atl_addr *to,
                            const uint8_t *data, size_t len),
                 void *user);

/* Runs until `done` says so (1) or `until` (virtual nanoseconds) has come. Returns 1 when done.
 * done may be NULL. */
int sim_run(sim_net *net, uint64_t until, int (*done)(void *user), void *user);
/* Puts a datagram on the network as if a host with that address had sent it (spoofing, replay). */
void sim_inject(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len);

#endif
