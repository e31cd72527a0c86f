/* STUN probes of the commands stun and status. */
#ifndef ATLAS_PROGRAM_PROBE_H
#define ATLAS_PROGRAM_PROBE_H

#include "app.h"

/* The event "stun" for one answer. */
void probe_print(app *a, const atlas_stun_result *result);
/* Asks the servers on the command line, or those configured, or the relays; *none is 1 when there
 * is nobody to ask. `user` of the callback is the app. */
int32_t probe_start(app *a, atlas_stun_cb cb, int *none);

#endif
