/* One HTTP/3 connection to a bootstrap node or a relay, for requests: records, dial-backs. It is
 * made when somebody asks, and closed when nobody has for a while. docs/discovery.md, section 3. */
#ifndef ATL_DISCOVERY_LINK_H
#define ATL_DISCOVERY_LINK_H

#include "address/multiaddr.h"
#include "http3/session.h"

#define ATL_LINK_LINGER (30 * ATL_SECOND) /* without a request the connection is closed */
#define ATL_LINK_BODY_MAX 262144u         /* longest answer that is taken, bytes */
#define ATL_LINK_REQUESTS_MAX 32u         /* at once; further ones wait, 256 at most */

typedef struct atl_link atl_link;
typedef struct atl_link_request atl_link_request;

typedef struct atl_link_config {
    atl_endpoint *ep;
    atl_maddr addr;                    /* transport and the server's peer id (has_peer) */
    const uint64_t *handshake_timeout; /* nanoseconds */
} atl_link_config;

/* How a request ended. Valid during the call. */
typedef struct atl_link_reply {
    int32_t code;   /* ATLAS_OK: there is an answer, whatever its status; else why there is none:
                       ATLAS_ERR_TIMEOUT, _RESOLVE, _REFUSED, _HANDSHAKE..., _TOO_LARGE (the
                       answer), _HTTP, _LIMIT, _SHUTDOWN */
    int32_t status; /* HTTP status, 0 without answer */
    const uint8_t *body; /* of the answer */
    size_t len;
    uint64_t rtt;     /* nanoseconds from the request being sent to the end of the answer */
    const char *text; /* why it failed, or "" */
} atl_link_reply;

/* Called once, in the drive call, never from inside atl_link_ask(); the request is gone then. May
 * ask again, cancel others, and free the link. */
typedef void (*atl_link_done)(void *user, const atl_link_reply *reply);

int32_t atl_link_new(const atl_link_config *config, atl_link **out);
/* Requests end without upcalls; the connection is closed in order. NULL is allowed. */
void atl_link_free(atl_link *link);
const atl_maddr *atl_link_addr(const atl_link *link);
/* `path` NUL-terminated; `body` (copied) with len 0: none. Connects when there is no connection. A
 * connection that is lost with a request on it is dialled again once for that request, as it may
 * have been dead for long. `timeout`: nanoseconds for all of it. ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM.
 */
int32_t atl_link_ask(atl_link *link, const char *method, const char *path, const void *body,
                     size_t len, uint64_t timeout, atl_link_done done, void *user,
                     atl_link_request **out);
/* No upcall afterwards. */
void atl_link_cancel(atl_link_request *request);
/* 1 while the connection is up. */
int atl_link_is_up(const atl_link *link);
/* The address dialled last and the local one that the system uses towards it; ATLAS_ERR_NOT_FOUND
 * before. Who it is does not follow from it. */
int32_t atl_link_remote(const atl_link *link, atl_addr *out);
/* Smoothed round-trip time of the connection, nanoseconds; 0 when there is none. */
uint64_t atl_link_rtt(const atl_link *link);
/* The host's network changed: a connection that is being made begins again. */
void atl_link_network_changed(atl_link *link);

#endif
