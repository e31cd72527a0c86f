/* The job that each loop example does: two contexts in one process. One listens on loopback, the
 * other dials it by its address and sends a message; when that is acknowledged both shut down. What
 * differs is the loop, see loop_*.c. */
#ifndef ATLAS_EXAMPLES_JOB_H
#define ATLAS_EXAMPLES_JOB_H

#include <atlas/atlas.h>

typedef struct job {
    atlas_ctx *listener;
    atlas_ctx *dialer;
    int received;     /* the message came */
    int acknowledged; /* the sender knows that it did */
    int ended;        /* contexts that have shut down */
    int failed;
} job;

/* Makes the contexts and dials. The hooks, or NULL, are those of the program's loop. 0, or a
 * negative code. */
int32_t job_start(job *j, const atlas_hooks *listener_hooks, const atlas_hooks *dialer_hooks);
/* 1 when there is nothing left to wait for. */
int job_done(const job *j);
/* Frees the contexts and returns the exit status of the program. */
int job_finish(job *j);

#endif
