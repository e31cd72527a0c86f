/* Shared by udp.c, udp_recv.c and udp_send.c only. */
#ifndef ATL_IO_UDP_IMPL_H
#define ATL_IO_UDP_IMPL_H

#include "io/os_impl.h"
#include "io/sockaddr.h"
#include "io/udp.h"

/* Older headers lack these. */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

typedef struct atl_rx_arena atl_rx_arena;

#define ATL_UDP_OVERSIZED 4

struct atl_udp {
    atl_list node; /* in atl_os.sockets */
    atl_os *os;
    atl_watch *watch;
    atl_udp_ready ready;
    void *user;
    atl_rx_arena *arena; /* NULL until something came */
    atl_addr local;
    int32_t fd;
    uint8_t wildcard; /* bound to no single address: the source is chosen packet by packet */
    uint8_t gso;
    uint8_t gro;
    uint8_t errors;    /* the error queue may hold something */
    uint8_t untouched; /* nothing was read since the socket was reported ready */
    uint8_t grow;      /* the last read filled every buffer */
    uint8_t n_oversized;
    /* Where datagrams went that the own link could not carry. The kernel queues an error for those
     * too, but without the port. */
    atl_addr oversized[ATL_UDP_OVERSIZED];
};

void atl_udp_arena_free(atl_udp *udp);

#endif
