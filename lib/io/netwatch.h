/* Notices that the host's addresses, links or routes have changed: a routing socket of the kernel
 * (AF_NETLINK). What exactly has changed is not kept: whoever is told looks at everything anew. */
#ifndef ATL_IO_NETWATCH_H
#define ATL_IO_NETWATCH_H

#include "io/os.h"

typedef struct atl_netwatch atl_netwatch;

/* atl_io.watch of the operating system. `changed` is called in the drive call, once for all
 * messages that are there, and may end the watch. A change to another function keeps the socket.
 * ATLAS_ERR_UNSUPPORTED where the system does not tell, ATLAS_ERR_NOMEM. */
int32_t atl_netwatch_set(void *impl, void (*changed)(void *user), void *user);
/* Closes the socket; harmless without one. */
void atl_netwatch_free(atl_os *os);

/* 1 when a batch of netlink messages tells of an address, a link or a route, and of more than the
 * kernel's own bookkeeping. What cannot be read counts as a change: looking once too often is
 * harmless. */
int atl_netwatch_tells(const uint8_t *data, size_t len);

#endif
