/* A progress bar on standard error, where that is a terminal. */
#ifndef ATLAS_PROGRAM_PROGRESS_H
#define ATLAS_PROGRAM_PROGRESS_H

#include "out.h"

typedef struct progress {
    out *o;
    int on; /* a terminal is there */
    uint64_t total;
    uint64_t began;
    uint64_t done;
    uint64_t drawn;   /* when it was drawn last */
    const char *path; /* static: which way the bytes go; NULL: not shown */
} progress;

/* `now` in nanoseconds. */
void progress_begin(progress *p, out *o, uint64_t total, uint64_t now);
/* Draws at most every 100 ms. */
void progress_at(progress *p, uint64_t done, uint64_t now);
/* Another path: drawn at once. */
void progress_path(progress *p, const char *path, uint64_t now);
void progress_end(progress *p);

#endif
