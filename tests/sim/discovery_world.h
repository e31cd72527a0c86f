/* The small world of the scenarios of discovery: bootstrap nodes, relays that report to them, and
 * nodes behind NATs that know one bootstrap address each. */
#ifndef SIM_DISCOVERY_WORLD_H
#define SIM_DISCOVERY_WORLD_H

#include "net_router.h"
#include "node.h"

#define WORLD_BOOTS 5
#define WORLD_RELAYS 8
#define WORLD_NODES 6

typedef struct world_plan {
    size_t boots;
    size_t relays;
    size_t nodes;
    int nat[WORLD_NODES]; /* SIM_NAT_* of each node */
    uint64_t delay;       /* of every link, one way, nanoseconds; 0: 25 ms */
    uint32_t loss;        /* per 10,000 */
    int one_address;      /* bootstrap nodes and relays have no second address */
    int all_boots;        /* nodes know all bootstrap nodes, not one each */
    int quiet;            /* nodes are not started: world_start_node() */
} world_plan;

typedef struct world {
    sim_net *net;
    world_plan plan;
    sim_node boots[WORLD_BOOTS];
    sim_node relays[WORLD_RELAYS];
    sim_node nodes[WORLD_NODES];
    sim_router *router[WORLD_NODES]; /* NULL for SIM_NAT_NONE */
    uint64_t started[WORLD_NODES];
    uint64_t dial_at;
    size_t dialler;
} world;

/* Everybody is up, relays have published that they offer. */
void world_init(world *w, const world_plan *plan, uint64_t seed);
void world_done(world *w);
/* The node begins to listen and to advertise. */
void world_start_node(world *w, size_t i);
/* Runs for so many seconds, or until `done` says so; then 1. */
int world_run(world *w, double seconds, int (*done)(void *world));
/* Every node that was started has published a record with an address. */
int world_published(void *world);
/* Node `from` dials the bare id of node `to`, and waits. 1: connected. *took receives the time. */
int world_dial(world *w, size_t from, size_t to, uint64_t *took);
/* The bare id of a node. */
const char *world_id(const sim_node *node);

#endif
