/* UDP sockets of the operating system: batches by recvmmsg and sendmmsg, trains by GRO and GSO
 * where the kernel has them. The functions are those of atl_io.
 *
 * Memory: a socket that has received nothing has no receive buffers. The first read allocates 8 of
 * them, a read that fills all grows them to 64, once. With GRO a buffer is 64 KiB of address space,
 * of which the system commits only what was ever written to; without, 2 KiB. Nothing is allocated
 * per packet. */
#ifndef ATL_IO_UDP_H
#define ATL_IO_UDP_H

#include "io/io.h"

int32_t atl_udp_open(void *impl, const atl_addr *bind_addr, uint32_t flags, atl_udp_ready ready,
                     void *user, atl_udp **out);
void atl_udp_close(void *impl, atl_udp *udp);
void atl_udp_local(void *impl, const atl_udp *udp, atl_addr *out);
int32_t atl_udp_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n);
int32_t atl_udp_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent);
size_t atl_udp_segments(void *impl, const atl_udp *udp);

/* The socket that is linked by this node into the list of its atl_os. */
atl_udp *atl_udp_of_node(atl_list *node);
/* The descriptor, for tests. */
int32_t atl_udp_fd(const atl_udp *udp);

#endif
