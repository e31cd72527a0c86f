/* A simulated network of thousands of nodes, hundreds of relays, and a few bootstrap nodes: nodes
 * come and go, some relays lie, and whoever is there is dialled by its id alone. */
#ifndef SIM_CROWD_H
#define SIM_CROWD_H

#include "net_router.h"
#include "node.h"

typedef struct crowd_plan {
    size_t nodes, relays, boots;
    uint32_t churn;   /* of 100 nodes, those that are restarted every minute */
    uint32_t lying;   /* of 100 relays */
    uint64_t warm_up; /* seconds in which the nodes come */
    uint64_t seconds; /* that are measured behind that */
    size_t dials;     /* a second */
    uint64_t seed;
    int verbose;
} crowd_plan;

typedef struct crowd_result {
    size_t dials, connected, direct, relayed;
    double p50, p99, most;        /* seconds until connected */
    double load_most, load_least; /* registrations of honest relays, in units of an even share */
    double serving;               /* chosen relays of a private node, on average */
    double liars;                 /* of 100 registrations, those on relays that lie */
    size_t published, live;       /* nodes with a record; all */
    size_t memory;                /* bytes that the contexts hold */
    char failure[2048];           /* of the last dial that failed */
} crowd_result;

void crowd_run(const crowd_plan *plan, crowd_result *out);

#endif
