/* The host's own addresses, as the system tells them. The functions are those of atl_io. */
#ifndef ATL_IO_NETIF_H
#define ATL_IO_NETIF_H

#include "base/reader.h"
#include "io/io.h"

/* Best first: global addresses, private ones, those of bridges and tunnels, link-local ones,
 * loopback last. Within a rank, IPv6 addresses that the system is giving up come last; those that
 * it has not taken yet are left out. */
size_t atl_netif_addrs(void *impl, atl_addr *out, size_t cap);
int32_t atl_netif_source(void *impl, const atl_addr *remote, atl_addr *out);

/* The rank of an address of an interface of this name and these IFF_* flags: 0 global, 1 private, 2
 * of a bridge or tunnel that leads to no network of others, 3 link-local, 4 loopback. */
uint32_t atl_netif_rank(const atl_addr *addr, const char *name, uint32_t flags);

/* Reads the next line of the kernel's list of IPv6 addresses (/proc/net/if_inet6): address and
 * IFA_F_* flags. ATLAS_ERR_TRUNCATED at the end and at what is no such line. */
int32_t atl_netif_line6(atl_reader *reader, uint8_t ip[16], uint32_t *flags);

#endif
