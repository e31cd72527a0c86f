/* What the servers (atlas relay, atlas bootstrap) have in common. */
#ifndef ATLAS_PROGRAM_SERVER_H
#define ATLAS_PROGRAM_SERVER_H

#include "app.h"

/* 0, or an exit code when options do not go together; nothing is open yet. `holds` 1: records. */
int server_check(app *a, int holds);
/* What the server is besides a relay: alternate addresses, the bootstrap node where `holds` is 1,
 * metrics, its own record. 0 or an exit code. */
int server_start(app *a, int holds);
/* Says so, and runs until the end. */
int server_run(app *a, const char *what);

#endif
