/* Whether anything is under way between this node and others, keepalives and announcements aside.
 */
#ifndef ATL_PEER_QUIET_H
#define ATL_PEER_QUIET_H

#include "peer/manager.h"

/* 1 when there is no dial, no handshake, no transfer, no migration and no check, nor one in the
 * next seconds, and nothing waits to be told to the application; *next then is when the context has
 * something to do next without being asked (a keepalive, an announcement), ATLAS_NO_DEADLINE for
 * never. Looks at every connection. */
int atl_peers_quiet(const atl_peers *peers, uint64_t *next);

#endif
