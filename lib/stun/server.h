/* The STUN server: answers Binding requests and remembers nothing but a per-source rate limit in
 * fixed memory.
 *
 * It answers requests only (never a response, an indication or another method), with at most twice
 * the bytes of the request; what would be longer is not sent. Over IPv6 that leaves a request of 20
 * bytes, header alone, without answer: the smallest success is 44. Answering does not allocate.
 *
 * With a second address (RFC 5780) it tells it in every answer, answers from the other address and
 * port when asked to, and to another port of the source. What is never exceeded then is twice what
 * the request took with its IP and UDP headers: a bare header is what many clients ask with, and 40
 * bytes do not hold two addresses. */
#ifndef ATL_STUN_SERVER_H
#define ATL_STUN_SERVER_H

#include "base/bucket.h"
#include "stun/client.h"

typedef struct atl_stun_server atl_stun_server;

typedef struct atl_stun_server_stats {
    uint64_t requests;              /* Binding requests, all of the following but the last three */
    uint64_t successes;             /* answered with the address */
    uint64_t changed;               /* of those, from another address or to another port */
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

/* The addresses of a server of RFC 5780: two IP addresses of one family and two ports, of which
 * each combination has a socket. */
typedef struct atl_stun_pair {
    atl_addr primary;
    atl_addr alternate;
} atl_stun_pair;

int32_t atl_stun_server_new(atl_loop *loop, atl_stun_send send, void *send_user,
                            atl_stun_server **out);
void atl_stun_server_free(atl_stun_server *server); /* NULL is allowed */
/* Answers per second and source (IPv4 address or IPv6 /64); forgets who used up what. */
void atl_stun_server_set_rate(atl_stun_server *server, uint64_t rate);
/* Demands short-term credentials (copied); NULL demands none. ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM.
 */
int32_t atl_stun_server_set_creds(atl_stun_server *server, const atl_stun_creds *creds);
/* From now on that family's requests are answered as RFC 5780 says. `send` is called with the one
 * of the four addresses to send from, port included; NULL: there is one address only.
 * ATLAS_ERR_INVALID when the two are not of that family or have an IP address or port in common. */
int32_t atl_stun_server_set_pair(atl_stun_server *server, uint8_t family,
                                 const atl_stun_pair *pair);
/* One datagram with the first bits 00. */
void atl_stun_server_on_datagram(atl_stun_server *server, const atl_rx *rx);
const atl_stun_server_stats *atl_stun_server_get_stats(const atl_stun_server *server);

#endif
