/* A command's one connection to its target. */
#ifndef ATLAS_PROGRAM_DIAL_H
#define ATLAS_PROGRAM_DIAL_H

#include "node.h"

typedef struct dial {
    app *app;
    atlas_conn *conn; /* NULL before the dial and after the end */
    int connected;
    int closing;       /* we closed it ourselves: its end is no error */
    uint32_t attempts; /* that have failed */
    uint64_t connected_at;

    int lasting; /* relays are kept connected, for the day when the path dies */

    /* The command's part; each may be NULL. */
    void (*on_connected)(struct dial *d);
    void (*on_message)(struct dial *d, const uint8_t *data, size_t len);
    void (*on_message_sent)(struct dial *d, uint64_t id, int32_t code);
    void (*on_path)(struct dial *d, const atlas_path_info *path);
    void (*on_pong)(struct dial *d, uint64_t id, uint64_t rtt_ns, uint32_t path_kind);
    /* Fields for the event "closed". */
    void (*closed_fields)(app *a);
    /* The connection ended, after it was printed; returns the exit code. NULL: 0 when we closed it,
     * else 1. */
    int (*on_end)(struct dial *d, int32_t code, uint64_t app_code);
    void *user;
} dial;

/* Opens the context, dials args[0], runs to the end. `d` has the callbacks; app and conn are set
 * here. */
int dial_run(app *a, dial *d);
/* Ends the connection in order, and then the program. */
void dial_finish(dial *d, int exit_code, const char *reason);
/* The kind of path that the connection has now. */
const char *dial_path(dial *d, atlas_path_info *path);

#endif
