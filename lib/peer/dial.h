/* Dialling: direct candidates raced with a head start of 250 ms each (RFC 8305), relays a moment
 * later or at once where nothing direct is known, raced as well, the best and then the first in
 * their order before the others. The first authenticated and
 * confirmed handshake wins; every failure keeps its reason. */
#ifndef ATL_PEER_DIAL_H
#define ATL_PEER_DIAL_H

#include "peer/conn.h"

#define ATL_DIAL_TIMEOUT (15 * ATL_SECOND)
#define ATL_DIAL_STAGGER (250 * ATL_MS)
#define ATL_DIAL_RELAY_STAGGER (300 * ATL_MS) /* a warm relay's head start */
#define ATL_DIAL_CANDIDATES 48                /* direct addresses of one dial */
#define ATL_DIAL_TEXT 2048                    /* bytes of reasons kept */

struct atl_peers;

/* Starts a dial of a parsed target; `timeout` in nanoseconds. Nothing is called back from inside.
 * ATLAS_ERR_SELF, ATLAS_ERR_NO_ADDRESS, ATLAS_ERR_RELAY_DISABLED, ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM,
 * ATLAS_ERR_SHUTDOWN. */
int32_t atl_dial_start(struct atl_peers *peers, const atl_maddr *target, uint64_t timeout,
                       const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out);
/* Ends the dial of a connection without events: attempts are dropped quietly. */
void atl_dial_free(atlas_conn *conn);

#endif
