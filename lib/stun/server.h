/* The STUN server: answers Binding requests and remembers nothing but a per-source rate limit in
 * fixed memory.
 *
 * It answers requests only (never a response, an indication or another method), with at most twice
 * the bytes of the request; what would be longer is not sent. Over IPv6 that leaves a request of 20
 * bytes, header alone, without answer: the smallest success is 44. Answering does not allocate. */
#ifndef ATL_STUN_SERVER_H
#define ATL_STUN_SERVER_H

#include "base/bucket.h"
#include "stun/client.h"

typedef struct atl_stun_server atl_stun_server;

typedef struct atl_stun_server_stats {
    uint64_t requests;              /* Binding requests, all of the following but the last three */
    uint64_t successes;             /* answered with the address */
    uint64_t unknown;               /* answered with 420 */
    uint64_t bad_requests;          /* answered with 400 */
    uint64_t unauthorised;          /* answered with 401 */
    uint64_t dropped_rate;          /* over the source's rate */
    uint64_t dropped_amplification; /* the answer would be longer than twice the request */
    uint64_t dropped_fingerprint;   /* FINGERPRINT wrong */
    uint64_t dropped_send;          /* the socket took it not */
    uint64_t dropped_source;        /* an address that nothing must be sent to */
    uint64_t dropped_malformed;     /* no STUN message at all */
    uint64_t ignored;               /* indications, responses, other methods */
} atl_stun_server_stats;

#define ATL_STUN_RATE_DEFAULT 50

int32_t atl_stun_server_new(atl_loop *loop, atl_stun_send send, void *send_user,
                            atl_stun_server **out);
void atl_stun_server_free(atl_stun_server *server); /* NULL is allowed */
/* Answers per second and source (IPv4 address or IPv6 /64); forgets who used up what. */
void atl_stun_server_set_rate(atl_stun_server *server, uint64_t rate);
/* Demands short-term credentials (copied); NULL demands none. ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM.
 */
int32_t atl_stun_server_set_creds(atl_stun_server *server, const atl_stun_creds *creds);
/* One datagram with the first bits 00. */
void atl_stun_server_on_datagram(atl_stun_server *server, const atl_rx *rx);
const atl_stun_server_stats *atl_stun_server_get_stats(const atl_stun_server *server);

#endif
