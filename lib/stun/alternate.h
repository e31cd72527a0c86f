/* The second address of the STUN server: the sockets that RFC 5780 takes besides the node's own.
 *
 * Where the node's socket is bound to all addresses, the alternate IP address reaches it already
 * and one more socket, on the alternate port, makes four addresses of two. Where it is bound to one
 * address, three more are opened. They answer STUN and read nothing else. */
#ifndef ATL_STUN_ALTERNATE_H
#define ATL_STUN_ALTERNATE_H

#include "stun/server.h"

#define ATL_STUN_ALTERNATE_SOCKETS 3

typedef struct atl_stun_alternate atl_stun_alternate;

typedef struct atl_stun_alternate_config {
    atl_loop *loop;
    const atl_io *io;
    void *user;
    /* A datagram that arrived on one of the sockets. */
    void (*receive)(void *user, const atl_rx *rx);
} atl_stun_alternate_config;

/* Opens the sockets. `bound` is what the node's socket is bound to; `pair` has the two IP addresses
 * and ports. ATLAS_ERR_NOT_FOUND when the host has not the alternate one, or what io->udp_open
 * returns. */
int32_t atl_stun_alternate_new(const atl_stun_alternate_config *config, const atl_addr *bound,
                               const atl_stun_pair *pair, atl_stun_alternate **out);
void atl_stun_alternate_free(atl_stun_alternate *alternate); /* NULL is allowed */
/* Sends from the socket that has `from`; 0 when none of these has it. *rv is what udp_send
 * returned. */
int atl_stun_alternate_send(atl_stun_alternate *alternate, const atl_addr *from,
                            const atl_addr *remote, const uint8_t *data, size_t len, int32_t *rv);

/* The IP address that answers are expected from where the socket is bound to all of them: the best
 * of the host's own that is not `alternate`. ATLAS_ERR_NOT_FOUND. */
int32_t atl_stun_alternate_primary(const atl_io *io, const atl_addr *alternate, atl_addr *out);

#endif
