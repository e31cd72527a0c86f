/* libatlas: STUN probing (RFC 8489, RFC 5389).
 *
 * A probe asks one or several STUN servers at once, from the same socket that carries the node's
 * QUIC traffic, how the host looks from outside: its server-reflexive address. */
#ifndef ATLAS_STUN_H
#define ATLAS_STUN_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The answer of one server, or the reason why there is none. Strings are valid during the callback.
 */
typedef struct atlas_stun_result {
    uint64_t size;     /* bytes: sizeof(atlas_stun_result) */
    int32_t code;      /* ATLAS_OK, or why this server gave no address (ATLAS_ERR_STUN_*, _RESOLVE,
                          _REFUSED, ...) */
    int32_t stun_code; /* the ERROR-CODE (300..699) when code is ATLAS_ERR_STUN_RESPONSE, else 0 */
    uint64_t rtt_ns; /* nanoseconds from the last request sent to the answer; 0 when there is none.
                      * With more than one transmission the answer may be to an earlier request, and
                      * this too short */
    uint32_t transmissions;  /* requests sent: at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, as far as
                                the deadline lets */
    uint32_t index;          /* which of the servers given, from 0 */
    const char *server;      /* the server as given */
    const char *server_addr; /* the address asked (that of the alternate server when it sent us
                              * there), "host:port"; "" when the name did not resolve */
    const char *reflexive;   /* the server-reflexive address, "host:port"; "" on failure */
    const char
        *local; /* the local address towards this server, or this host's first address when the way
                 * to the server is unknown, "host:port"; "" when the host has none */
    const char *text; /* a sentence: what happened */
} atlas_stun_result;

/* Called once for every server and address family as its answer comes, the first one at once, and
 * in the end once with `result` NULL: the final event, after which the probe handle is invalid. A
 * server given by name is asked over every family for which it has an address, and this host a
 * socket and a route; a family without is not reported as long as there is the other. `status` is
 * ATLAS_OK in all calls but the final one, where it is ATLAS_OK when at least one server answered,
 * else ATLAS_ERR_STUN_TIMEOUT or the last error (ATLAS_ERR_CANCELLED after atlas_stun_cancel()). */
typedef void (*atlas_stun_cb)(void *user, atlas_stun *probe, const atlas_stun_result *result,
                              int32_t status);

/* Short-term credentials (RFC 8489 section 9.1) for a probe. */
#define ATLAS_STUN_SHA1 1   /* MESSAGE-INTEGRITY */
#define ATLAS_STUN_SHA256 2 /* MESSAGE-INTEGRITY-SHA256 */

typedef struct atlas_stun_options {
    uint64_t size; /* bytes: sizeof(atlas_stun_options) */
    uint64_t
        timeout_ms; /* deadline for all, milliseconds, 100..39500; 0 = ATLAS_OPT_STUN_TIMEOUT_MS */
    const char *username; /* short-term credential, at most 508 bytes, or NULL; copied */
    const char *password; /* short-term credential, or NULL; its bytes are the key; copied */
    uint32_t integrity;   /* ATLAS_STUN_SHA1 and/or ATLAS_STUN_SHA256 (bits); 0 without credentials.
                           * Answers without a valid   integrity of one of these kinds are discarded:
                           * ATLAS_ERR_STUN_INTEGRITY at the deadline */
    uint32_t reserved;    /* zero */
} atlas_stun_options;

/* Starts a probe of `n` servers (1..64), each "HOST:PORT", "HOST" (SRV _stun._udp, else port 3478),
 * "[IPv6]:PORT", "IP" (port 3478), or a multiaddr /ip4|ip6|dns|dns4|dns6/.../udp/PORT (a relay's
 * too: relays answer STUN on their port). The strings are copied. `options` may be NULL. With n = 0
 * the servers configured with atlas_stun_add_server() are asked. Returns ATLAS_OK and stores a
 * handle in *out (out may be NULL); ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM, ATLAS_ERR_NOT_FOUND when no
 * server is given or configured, ATLAS_ERR_ADDRESS for a server that is no address, or an error of
 * atlas_open(). Callable from callbacks; `cb` is called from a later drive call. */
ATLAS_API int32_t atlas_stun_probe(atlas_ctx *ctx, const char *const *servers, size_t n,
                                   const atlas_stun_options *options, atlas_stun_cb cb, void *user,
                                   atlas_stun **out);

/* Ends a probe early; its final event follows from the next drive call, and nothing before it.
 * Without effect from inside the final event. Returns ATLAS_OK or ATLAS_ERR_INVALID;
 * ATLAS_ERR_REENTRANT from a hook. */
ATLAS_API int32_t atlas_stun_cancel(atlas_stun *probe);

/* Adds a STUN server to the context's list, in a form that atlas_stun_probe() takes. Returns
 * ATLAS_OK, ATLAS_ERR_INVALID, ATLAS_ERR_ADDRESS, ATLAS_ERR_LIMIT (64), ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_stun_add_server(atlas_ctx *ctx, const char *server);

/* Gives this node's STUN server (ATLAS_OPT_STUN_SERVER, atlas_relay_start()) a second address of
 * this host, "IP" or "IP:PORT" or "[IPv6]:PORT" (without port: the one behind the node's own), so
 * that it answers as RFC 5780 says and others can find out what NAT they are behind. Once for IPv4
 * and once for IPv6; a second call replaces the first. Both addresses must reach this host as they
 * are, without a NAT before it. Opens sockets on the alternate port at once; where the node is
 * bound to one address (ATLAS_OPT_BIND4), on the alternate address as well. Returns ATLAS_OK,
 * ATLAS_ERR_ADDRESS, ATLAS_ERR_INVALID when it is the node's own address or port,
 * ATLAS_ERR_NOT_FOUND when the host has not this address, or no other, ATLAS_ERR_ADDR_IN_USE,
 * ATLAS_ERR_FAMILY, or an error of atlas_open(). */
ATLAS_API int32_t atlas_stun_server_alternate(atlas_ctx *ctx, const char *addr);

#ifdef __cplusplus
}
#endif
#endif
