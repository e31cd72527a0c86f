/* The small world of the scenarios of paths: relays, two nodes behind NATs with presence on all of
 * them, links drawn from a seed. `a` dials and is the QUIC client. */
#ifndef SIM_PATHS_WORLD_H
#define SIM_PATHS_WORLD_H

#include "net_router.h"
#include "paths_app.h"

#define PATHS_RELAYS 3
#define PATHS_PACKET 1472 /* a full packet, for what a round trip takes */

typedef struct paths_plan {
    int nat_a; /* SIM_NAT_* */
    int nat_b;
    size_t relays;
    uint32_t loss;  /* per 10,000, on every link */
    int no_upgrade; /* neither side looks for direct paths */
    uint64_t rtt;   /* of every link; 0: drawn, 10 to 120 ms each */
    int ipv6;     /* the nodes have global IPv6 addresses, behind a firewall where there is a NAT */
    int same_nat; /* b is behind the router of a */
} paths_plan;

typedef struct paths_world {
    sim_net *net;
    const paths_plan *plan;
    sim_node relay[PATHS_RELAYS];
    int relay_gone[PATHS_RELAYS];
    paths_app a;
    paths_app b;
    sim_router *nat_a;
    sim_router *nat_b;
    uint64_t fault_at; /* when the scenario's fault came */
    uint64_t draws;    /* a source of its own, so that equal seeds have equal links */
    /* round trips of a full packet at most, jitter and the time on the line included */
    uint64_t rtt;                     /* between the nodes */
    uint64_t relay_rtt[PATHS_RELAYS]; /* between the nodes through that relay */
} paths_world;

/* 1: everybody is announced everywhere. */
int paths_world_init(paths_world *w, const paths_plan *plan, uint64_t seed);
void paths_world_done(paths_world *w);
uint64_t paths_world_draw(paths_world *w, uint64_t from, uint64_t to);
/* A router of that kind somewhere else, and `app` behind it (SIM_NAT_NONE: on the Internet). */
void paths_world_move(paths_world *w, paths_app *app, int kind);
/* Runs for so long, or until `done` says so; then 1. */
int paths_run(paths_world *w, uint64_t nanoseconds, int (*done)(void *world));
/* The relay that `app`'s connection uses, or -1. */
int paths_active_relay(const paths_world *w, const paths_app *app);

/* For paths_run(). */
int paths_connected(void *world); /* both sides, or the dial has failed */
int paths_direct(void *world);    /* both sides */
int paths_a_direct(void *world);
int paths_relayed(void *world);
int paths_received(void *world); /* the end of a stream has come to either side */
int paths_ended(void *world);

/* Dials, and waits for both sides. 1: connected. */
int paths_connect(paths_world *w);

#endif
