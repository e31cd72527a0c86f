/* The host's own addresses, as the system tells them. The functions are those of atl_io. */
#ifndef ATL_IO_NETIF_H
#define ATL_IO_NETIF_H

#include "io/io.h"

size_t atl_netif_addrs(void *impl, atl_addr *out, size_t cap);
int32_t atl_netif_source(void *impl, const atl_addr *remote, atl_addr *out);

#endif
