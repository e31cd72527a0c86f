/* The simulated network: a virtual clock, a seeded random source, hosts with addresses and UDP
 * sockets, routers that translate addresses (net_router.h), links with delay, jitter, loss,
 * reordering, duplication, an MTU, a rate and bursts of loss. It implements atl_io, so that library
 * code runs on it unmodified, and a run is reproducible from its seed. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "io/io.h"

typedef struct sim_net sim_net;
typedef struct sim_host sim_host;
typedef struct sim_router sim_router;

typedef struct sim_link {
    uint64_t delay;     /* one way, nanoseconds */
    uint64_t jitter;    /* added at random, 0..jitter nanoseconds; keeps the order */
    uint32_t loss;      /* lost packets per 10,000 */
    uint32_t reorder;   /* packets per 10,000 that overtake or are overtaken: extra delay of up to 3
                           times `delay` */
    uint32_t duplicate; /* packets per 10,000 delivered twice */
    uint32_t mtu;       /* longest UDP payload; longer ones vanish */
} sim_link;

/* What a link may have besides; all zero: nothing of it. */
typedef struct sim_shape {
    uint64_t rate;        /* bytes per second, UDP payload; 0: no limit */
    uint64_t queue;       /* bytes that wait at most, then packets are lost; 0: 65,536 */
    uint32_t burst_enter; /* Gilbert-Elliott: packets per 10,000 after which a bad time begins, */
    uint32_t burst_leave; /* after which it ends, */
    uint32_t burst_loss;  /* and lost packets per 10,000 in it; 0: all */
    uint64_t dark_from;   /* a blackout between two virtual times; none when both are equal */
    uint64_t dark_until;
} sim_shape;

typedef struct sim_stats {
    uint64_t sent, delivered, lost, oversized, unroutable, duplicated;
    uint64_t bytes;
    uint64_t filtered; /* by routers */
    uint64_t dropped;  /* full queues of links and sockets */
} sim_stats;

/* ---- what happened ---- */

#define SIM_SENT 1      /* by a host */
#define SIM_DELIVERED 2 /* to a host */
#define SIM_LOST 3      /* on the way; `text` says why */
#define SIM_FILTERED 4  /* by a router */
#define SIM_FAULT 5     /* something was done to the network */
#define SIM_LOG_LINE 6  /* the library's */

typedef struct sim_event {
    uint64_t at;
    uint32_t what;        /* SIM_* */
    const sim_host *host; /* the sender, of SIM_DELIVERED the receiver; may be NULL */
    atl_addr from;        /* as seen where it happened */
    atl_addr to;
    size_t len;
    const char *text; /* may be NULL */
} sim_event;

sim_net *sim_new(uint64_t seed);
/* The same without a line that names the seed: for tests that make thousands. */
sim_net *sim_new_quiet(uint64_t seed);
/* Hosts, sockets and packets in flight; contexts must have been freed before. What is not freed
 * when the program ends belongs to a test that failed: the tail of its log is printed then. */
void sim_free(sim_net *net);
uint64_t sim_now(const sim_net *net);
uint64_t sim_random(sim_net *net);
const sim_stats *sim_get_stats(const sim_net *net);
/* Something done to the network by a scenario: into the log. */
void sim_note(sim_net *net, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of the library's log: kept for the tail, not part of the hash. */
void sim_log_line(sim_net *net, const sim_host *host, int level, const char *text);
/* Of all that happened, the library's lines excepted: equal for equal runs. */
uint64_t sim_log_hash(const sim_net *net);
/* The last `n` things that happened, to stdout. The ring holds 4,096. */
void sim_print_log(const sim_net *net, size_t n);
/* Hears of everything as it happens, besides the log. */
void sim_set_observer(sim_net *net, void (*observe)(void *user, const sim_event *event),
                      void *user);

/* ---- links ---- */

/* What every link is, unless set for a pair. */
void sim_set_link(sim_net *net, const sim_link *link);
void sim_set_shape(sim_net *net, const sim_shape *shape);
/* Between hosts behind the same router, or two routers behind one: 1 ms at first. */
void sim_set_local_link(sim_net *net, const sim_link *link);
void sim_set_pair(sim_net *net, sim_host *a, sim_host *b, const sim_link *link);
/* A link of its own for this pair, shaped so. */
void sim_set_pair_shape(sim_net *net, sim_host *a, sim_host *b, const sim_shape *shape);
/* Hosts stand on a ring: from one to another it takes up to `most` nanoseconds longer, one way, the
 * farther they are apart. 0: no ring. Places are from 0 to 1. */
void sim_set_ring(sim_net *net, uint64_t most);
void sim_host_set_place(sim_host *host, double place);
/* The host's own line, passed before and after the way between the hosts: with one shape up and one
 * down. NULL: none. */
void sim_set_access(sim_host *host, const sim_link *link, const sim_shape *up,
                    const sim_shape *down);
/* The network between two hosts is cut, or mended. */
void sim_cut(sim_net *net, sim_host *a, sim_host *b, int cut);
/* The host's cable is pulled, or plugged in; it does not notice. */
void sim_unplug(sim_host *host, int unplugged);
/* Hosts of different sides do not reach one another; all are on side 0 at first. */
void sim_set_side(sim_host *host, int side);
/* What was sent by `a` to `b`, as far as that was known then. */
typedef struct sim_flow_stats {
    uint64_t packets;
    uint64_t bytes;
    uint64_t lost; /* of the packets */
} sim_flow_stats;
void sim_flow_get(sim_net *net, const sim_host *a, const sim_host *b, sim_flow_stats *out);

/* ---- hosts ---- */

/* A host with one public address, IPv4 or IPv6. */
sim_host *sim_host_new(sim_net *net, const char *ip);
/* A host behind a router; IPv6 addresses are global there, too, but for the router's firewall. */
sim_host *sim_host_behind(sim_router *router, const char *ip);
size_t sim_host_index(const sim_host *host);
/* The host's atl_io, and the hooks (clock, random) of a context that lives on it. */
void sim_host_io(sim_host *host, atl_io *io);
void sim_host_hooks(sim_host *host, atlas_hooks *hooks);
void sim_host_addr(const sim_host *host, atl_addr *out);
sim_net *sim_host_net(const sim_host *host);
/* The host's clock: behind the network's by the time that it was asleep. */
uint64_t sim_host_now(const sim_host *host);
/* How the program on the host is run: `drive` whenever something has arrived or its deadline has
 * come. Deadlines are asked for after each drive, and of all when a run begins. */
void sim_host_program(sim_host *host, void (*drive)(void *user), uint64_t (*deadline)(void *user),
                      void *user);
/* The library was called from outside the host's own drive: its deadline may be another. */
void sim_host_touch(sim_host *host);
/* Runs ready handlers of sockets with something to read: to be called by the program's drive. 1
 * when some are left. */
int sim_host_process(sim_host *host);
/* A host that is down receives nothing, sends nothing and is not driven. */
void sim_host_set_down(sim_host *host, int down);
int sim_host_is_down(const sim_host *host);

#define SIM_AWAKE 0
#define SIM_FROZEN 1 /* the process stands still (SIGSTOP): sockets fill up, time goes by */
#define SIM_ASLEEP 2 /* the machine does: nothing arrives, and its monotonic clock stands still */
void sim_host_freeze(sim_host *host, int how);

/* Further addresses (another interface, another network: `router` NULL for the Internet). The first
 * of a family is the source of what is sent without one. Hosts without IPv6 address when their
 * sockets are opened have no IPv6 socket, unless sim_host_allow_ipv6(). */
void sim_host_add_addr(sim_host *host, sim_router *router, const char *ip);
void sim_host_remove_addr(sim_host *host, const char *ip);
/* All addresses go, this one comes: another network altogether. */
void sim_host_move(sim_host *host, sim_router *router, const char *ip);
void sim_host_allow_ipv6(sim_host *host);
/* A system that does not tell of changes: atl_io.watch is unsupported (before the context opens).
 */
void sim_host_hide_changes(sim_host *host);
/* What a NAT does that forgets: from now on the host's packets come from another port, and from
 * another address where `ip` is not NULL; what is sent to the former one is lost. The host itself
 * sees nothing of it. For hosts that are not behind a router. */
void sim_host_rebind(sim_host *host, const char *ip);

/* A name for the look-ups of all hosts. */
void sim_add_name(sim_net *net, const char *name, const char *ip);

/* Looks at every datagram as it leaves the outermost router of its sender; returns 1 to drop it. */
void sim_set_tap(sim_net *net,
                 int (*tap)(void *user, const atl_addr *from, const atl_addr *to,
                            const uint8_t *data, size_t len),
                 void *user);

/* Has something done at a virtual time, between two drives. */
void sim_at(sim_net *net, uint64_t when, void (*fn)(void *user), void *user);
/* Runs until `done` says so (1) or `until` (virtual nanoseconds) has come. Returns 1 when done.
 * done may be NULL. */
int sim_run(sim_net *net, uint64_t until, int (*done)(void *user), void *user);
/* Puts a datagram on the network as if a host with that address had sent it (spoofing, replay). */
void sim_inject(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len);

#endif
