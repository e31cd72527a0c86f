/* What the application is told about paths, as items in the order of what happened. */
#ifndef ATL_PEER_PATH_EVENT_H
#define ATL_PEER_PATH_EVENT_H

#include "peer/conn.h"

/* The active path as it is now (or none); `reason` is static. */
void atl_path_event(atlas_conn *conn, const char *reason, int none);
/* An attempt has ended; `retry` nanoseconds until the next one, 0: none. */
void atl_upgrade_event(atlas_conn *conn, const atl_punch_report *report, uint64_t retry);

#endif
