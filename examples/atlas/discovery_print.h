/* What commands print of discovery: records, reachability, chosen relays, the own record. */
#ifndef ATLAS_PROGRAM_DISCOVERY_PRINT_H
#define ATLAS_PROGRAM_DISCOVERY_PRINT_H

#include "app.h"

/* Has the app's context print what happens to this node: the events "reach", "autorelay" and
 * "advertise". People are told changes only. Before app_callbacks(). */
void discovery_watch(app *a);
/* The event "reach", with everything for people as well when `whole` is 1. */
void discovery_print_reach(app *a, const atlas_reach_event *event, int whole);
/* The event "record": a line when `brief` is 1, else several. */
void discovery_print_record(app *a, const atlas_record *record, int brief);
/* A bootstrap node that was of no use, as a note; in JSON an event "error". */
void discovery_print_failed(app *a, const atlas_query_event *event);
/* There is nobody to ask; returns the exit code. */
int discovery_no_bootstrap(app *a);

#endif
