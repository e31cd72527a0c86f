/* Faults under traffic: a connection on the path that is wanted, a transfer in one direction, the
 * fault, and how long the receiver has to wait for the next bytes. */
#ifndef SIM_PATHS_FAULT_H
#define SIM_PATHS_FAULT_H

#include "paths_world.h"

#define PATHS_A 0 /* the dialler, QUIC client */
#define PATHS_B 1

typedef struct paths_fault {
    const char *family; /* of rows that have the same bound */
    const char *name;
    paths_plan plan;
    uint32_t path; /* ATLAS_PATH_*: which one the fault finds */
    int sender;    /* PATHS_* */
    int side;      /* whom it happens to */
    /* What is done; 0: it cannot be done, there is no such thing. */
    int (*apply)(paths_world *w, paths_app *side);
    int steady; /* the path must not change */
} paths_fault;

typedef struct paths_result {
    uint8_t ok;
    uint64_t value; /* nanoseconds, or bytes */
    uint64_t bound; /* of this seed */
    uint64_t wrong; /* bytes lost, doubled or other than they were sent */
    double extra[3];
    char why[280]; /* where ok is 0; else news */
} paths_result;

const paths_fault *paths_faults(size_t *n);
void paths_failed(paths_result *out, const char *why, const char *more);
/* `loss` per 10,000; `verbose`: what happened to the paths is printed. */
void paths_fault_run(const paths_fault *fault, uint32_t loss, uint64_t seed, int verbose,
                     paths_result *out);

#endif
