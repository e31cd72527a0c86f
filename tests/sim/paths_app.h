/* An application on a simulated node that measures: when it was connected and when its path
 * changed, every byte of a stream against what it must be, and the longest time without progress.
 * Scenarios of paths are made of two of them (paths_world.h). */
#ifndef SIM_PATHS_APP_H
#define SIM_PATHS_APP_H

#include "node.h"

#define PATHS_CHANGES 32 /* path events remembered */

typedef struct paths_change {
    uint64_t at;
    uint32_t kind;
    char reason[96];
    char remote[ATLAS_ADDR_MAX];
} paths_change;

typedef struct paths_app {
    sim_node node; /* the host and the context */
    atlas_conn *conn;
    uint64_t connected_at; /* 0: not yet */
    int conns;
    int closed;
    int32_t close_code;
    char close_text[256];
    /* paths */
    uint32_t path;
    uint64_t direct_at; /* when the path became direct for the first time */
    paths_change changes[PATHS_CHANGES];
    size_t n_changes; /* in all */
    int upgrades;     /* attempts that ended */
    int32_t upgrade_code;
    uint32_t upgrade_pairs;
    char upgrade_text[256];
    int messages;
    int idle_told;
    /* sending */
    atlas_stream *out;
    uint64_t sent;
    uint64_t rate; /* bytes a second that the application has to send; 0: as many as are taken */
    uint64_t send_from;
    int stop; /* no more than was sent; the end follows */
    int fin_sent;
    int acked;
    /* receiving */
    atlas_stream *in;
    uint64_t got;
    uint64_t wrong; /* bytes that are not what was sent at that place */
    int got_fin;
    uint64_t progress_at;   /* the last bytes */
    uint64_t watched_from;  /* gaps that end later count; 0: none does */
    uint64_t longest;       /* without progress, nanoseconds */
    uint64_t longest_until; /* when that one ended */
} paths_app;

/* The node is up: its events are the application's from now on. */
void paths_app_attach(paths_app *app);
int32_t paths_app_dial(paths_app *app, const char *target);
/* Begins to send on a new stream until paths_app_stop(). */
void paths_app_send(paths_app *app, uint64_t rate);
void paths_app_stop(paths_app *app);
/* Progress is watched from now on. */
void paths_app_watch(paths_app *app);
/* What was without progress until now counts too (it has not ended). */
void paths_app_watch_end(paths_app *app);
/* How many of the node's relays have its registration. */
size_t paths_app_announced(const paths_app *app);
uint64_t paths_app_now(const paths_app *app);
/* What happened to its paths, to stdout. */
void paths_app_print(const paths_app *app, const char *name);

#endif
