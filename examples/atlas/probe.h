/* STUN probes of the commands stun and status. */
#ifndef ATLAS_PROGRAM_PROBE_H
#define ATLAS_PROGRAM_PROBE_H

#include "app.h"

/* The event "stun" for one answer. */
void probe_print(app *a, const atlas_stun_result *result);
/* Asks the servers on the command line, or those configured, or the relays and bootstrap nodes;
 * *none is 1 when there is nobody to ask. `user` of the callback is the app. */
int32_t probe_start(app *a, atlas_stun_cb cb, int *none);
/* The relays and bootstrap nodes as servers, at most MAX_REPEATED; how many there are. */
size_t probe_relays(app *a, const char **servers);
/* Prints why a probe did not start, and returns the exit code. */
int probe_error(app *a, int32_t code);

/* Goes on with stun --nat; the sockets are open. Returns the exit code. */
int nat_run(app *a);

#endif
