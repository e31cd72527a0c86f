/* What all commands share: the context made from key, configuration and command line, the loop with
 * its signals, and the end. */
#ifndef ATLAS_PROGRAM_APP_H
#define ATLAS_PROGRAM_APP_H

#include "options.h"
#include "out.h"

#include <atlas/atlas.h>

#define PATH_CAP 4096
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

typedef struct app {
    options opt;
    out out;
    atlas_ctx *ctx;
    atlas_key *key;
    char key_path[PATH_CAP];
    int exit_code;
    int stopping; /* atlas_shutdown() was called */
    int done;     /* the loop ends */
    uint64_t give_up_at;
    uint64_t drain_ms;       /* for a relay: time for its nodes at the end */
    int relays;              /* this node is a relay, */
    int holds;               /* a bootstrap node */
    struct metrics *http;    /* the server for metrics; NULL: none */
    struct records *records; /* the file of records; NULL: none */

    /* Called when a signal says stop, before atlas_shutdown(); may be NULL. */
    void (*on_stop)(struct app *app);
    /* Called when tick_at (atlas_now()) has come; it sets the next one. 0: none. */
    void (*on_tick)(struct app *app);
    uint64_t tick_at;
    /* Callbacks of the context, whose `user` is the app; each may be NULL. */
    void (*on_reach)(void *user, atlas_ctx *ctx, const struct atlas_reach_event *event);
    void (*on_advertise)(void *user, atlas_ctx *ctx, const struct atlas_advertise_event *event);
    void (*on_autorelay)(void *user, atlas_ctx *ctx, const struct atlas_autorelay_event *event);
    void *user; /* the command's */
} app;

#define APP_KEY_NEEDED 1 /* the command needs the node's key; without, a fresh one serves */
#define APP_ANY_PORT \
    2 /* a short-lived command leaves the configured port to the node that listens */
#define APP_RECORDS 4 /* the records that are known are read now, and kept at the end */

/* Fills dir, key_path; 0, or an exit code after an error was printed. */
int app_paths(app *a);
/* Makes the context. 0 or an exit code. */
int app_open(app *a, int flags);
/* Sets the context's callbacks, those of the app among them; `user` is the app. 0 or an exit code.
 */
int app_callbacks(app *a, void (*on_connection)(void *, atlas_ctx *, atlas_conn *),
                  void (*on_relay)(void *, atlas_ctx *, const struct atlas_relay_event *));
/* Runs until the end, frees the context, and gives the exit code. */
int app_run(app *a);
/* Begins the end, which is reached when all connections have closed. The first code that is not 0
 * stays. */
void app_finish(app *a, int exit_code);
/* Prints an error of the library and returns the exit code that goes with it. */
int app_error(app *a, int32_t code, const char *what);
/* Frees everything. */
void app_close(app *a);
void app_catch_signals(void);
/* 1 after SIGINT or SIGTERM. */
int app_interrupted(void);

const char *path_name(uint32_t kind);

int run_init(app *a);
int run_id(app *a);
int run_stun(app *a);
int run_relay(app *a);
int run_bootstrap(app *a);
int run_listen(app *a);
int run_connect(app *a);
int run_ping(app *a);
int run_send(app *a);
int run_disconnect(app *a);
int run_lookup(app *a);
int run_discover(app *a);
int run_reach(app *a);
int run_status(app *a);

#endif
