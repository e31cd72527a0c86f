/* Probes: several STUN servers asked at once, by name or address, over both families, under one deadline.
 *
 * A probe is the public atlas_stun handle. Its callback is called only from event tasks of the loop. */
#ifndef ATL_STUN_PROBE_H
#define ATL_STUN_PROBE_H

#include "address/multiaddr.h"
#include "stun/agent.h"

#define ATL_STUN_PORT 3478
#define ATL_STUN_SERVERS_MAX 64
#define ATL_STUN_TIMEOUT_MIN (100 * ATL_MS)

/* Where a server's text leads. */
typedef struct atl_stun_target {
    uint8_t family; /* which addresses to ask: 0 both, 4 or 6 */
    uint8_t srv;    /* 1: look up _stun._udp first, then the host with port 3478 */
    uint16_t port;
    atl_addr addr; /* family 0: host is a name */
    char host[ATL_HOST_MAX];
} atl_stun_target;

/* "HOST:PORT", "HOST", "[IPv6]:PORT", "IP", or a multiaddr with a UDP port. ATLAS_ERR_ADDRESS. */
int32_t atl_stun_target_parse(const char *text, atl_stun_target *out);

/* Starts a probe of 1..64 servers; `timeout` in nanoseconds; `creds` may be NULL. Nothing of the arguments needs to
 * outlive the call. `cb` and the result are those of atlas_stun_probe(). ATLAS_ERR_INVALID, ATLAS_ERR_ADDRESS,
 * ATLAS_ERR_NOMEM. */
int32_t atl_stun_probe_start(atl_stun_agent *agent, const char *const *servers, size_t n, uint64_t timeout,
                             const atl_stun_creds *creds, atlas_stun_cb cb, void *user, atlas_stun **out);
/* The final event, with ATLAS_ERR_CANCELLED, follows; nothing before it. Without effect in or after the final event. */
void atl_stun_probe_cancel(atlas_stun *probe);
/* Ends it without event. */
void atl_stun_probe_free(atlas_stun *probe);

#endif
