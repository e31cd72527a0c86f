/* What the text of a STUN server says: where to ask, and over which address families. */
#ifndef ATL_STUN_TARGET_H
#define ATL_STUN_TARGET_H

#include "address/multiaddr.h"

#define ATL_STUN_PORT 3478

typedef struct atl_stun_target {
    uint8_t family; /* which addresses to ask: 0 both, 4 or 6 */
    uint8_t srv;    /* 1: look up _stun._udp first, then the host with port 3478 */
    uint16_t port;
    atl_addr addr; /* family 0: host is a name */
    char host[ATL_HOST_MAX];
} atl_stun_target;

/* "HOST:PORT", "HOST", "[IPv6]:PORT", "IP", or a multiaddr with a UDP port (a relay's too: it
 * answers STUN on the same port). ATLAS_ERR_ADDRESS. */
int32_t atl_stun_target_parse(const char *text, atl_stun_target *out);

#endif
