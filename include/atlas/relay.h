/* libatlas: relays, the client's side (presence) and the server's.
 *
 * A relay forwards end-to-end encrypted QUIC packets between two nodes and can read none of it. A
 * node keeps presence on every configured relay: an HTTP/3 control connection on which it announces
 * itself every presence interval, over which others are paired with it. */
#ifndef ATLAS_RELAY_H
#define ATLAS_RELAY_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- client -----------------------------------------------------------------------------------
 */

/* States of a configured relay. */
#define ATLAS_RELAY_IDLE 0       /* not connected and not wanted */
#define ATLAS_RELAY_CONNECTING 1 /* resolving, dialling or handshaking */
/* control connection up, not announced (presence not wanted, or first answer due) */
#define ATLAS_RELAY_CONNECTED 2
#define ATLAS_RELAY_ANNOUNCED 3 /* the relay said "waiting": the node can be reached through it */
/* failed or lost, or the relay refuses the announcement (`code`); tried again after retry_ns */
#define ATLAS_RELAY_LOST 4
/* another connection of this node took over; asked again every 60 s, and yielding */
#define ATLAS_RELAY_REPLACED 5
/* the relay said it is going away: circuits last until it does, new ones are refused */
#define ATLAS_RELAY_DRAINS 6

/* A change of state of a relay. Strings are valid during the callback. */
typedef struct atlas_relay_event {
    uint64_t size;        /* bytes: sizeof(atlas_relay_event) */
    uint32_t state;       /* ATLAS_RELAY_* */
    int32_t code;         /* why, for LOST, REPLACED and DRAINS: an error code; else ATLAS_OK */
    uint64_t rtt_ns;      /* smoothed round-trip time, nanoseconds; 0 when unknown */
    uint64_t retry_ns;    /* LOST: nanoseconds until the next attempt; else 0 */
    uint64_t expires_ns;  /* ANNOUNCED: nanoseconds that the registration lives without a further
                             announcement */
    uint64_t bandwidth;   /* ANNOUNCED: bytes per second per circuit and direction, 0 = unlimited */
    const char *addr;     /* the relay as configured, multiaddr text */
    const char *relay;    /* the relay's peer id */
    const char *observed; /* this node as the relay sees it, "host:port"; "" when unknown */
    const char *text;     /* a sentence: what happened */
} atlas_relay_event;

/* Adds a relay: a multiaddr with a transport that ends in /p2p/ID. Relays that are equally
 * well are used in the order added. Returns ATLAS_OK, ATLAS_ERR_ADDRESS, ATLAS_ERR_EXISTS,
 * ATLAS_ERR_LIMIT (64), ATLAS_ERR_SELF. Callable from callbacks; with presence on, the new relay is
 * dialled at once. */
ATLAS_API int32_t atlas_relay_add(atlas_ctx *ctx, const char *addr);

/* Connects to every relay and, with `announce` 1, keeps presence there so that this node can be
 * reached through them; with 0 only connects (to see that they answer; a dial does this by itself).
 * Relays that are lost are redialled for ever with jittered backoff from 1 s to 60 s. Events:
 * on_relay. Returns ATLAS_OK, ATLAS_ERR_RELAY_DISABLED, ATLAS_ERR_NOT_FOUND when no relay is
 * configured, or an error of atlas_open(). */
ATLAS_API int32_t atlas_relay_presence(atlas_ctx *ctx, uint32_t announce);

/* The state of the `index`th relay, as the event that was last reported for it. Strings are valid
 * until the next drive call. Returns ATLAS_OK or ATLAS_ERR_NOT_FOUND past the last. `out->size` is
 * set by the caller. */
ATLAS_API int32_t atlas_relay_info(atlas_ctx *ctx, uint32_t index, atlas_relay_event *out);

/* ---- server -----------------------------------------------------------------------------------
 */

/* What a policy callback decides about. */
#define ATLAS_RELAY_ASK_ANNOUNCE 1 /* `peer` wants to register; `target` is NULL */
#define ATLAS_RELAY_ASK_CONNECT 2  /* `peer` wants a circuit to `target` */

/* Decides for the relay server; peer ids in text, `addr` "host:port" of the asker. Returns ATLAS_OK
 * to allow or a negative code to refuse. Called from the drive call while the server works on the
 * message: it must not call the library. */
typedef int32_t (*atlas_relay_policy)(void *user, uint32_t what, const char *peer,
                                      const char *target, const char *addr);

/* Starts the relay server (and the STUN server) on the context's sockets, with the
 * ATLAS_OPT_RELAY_* limits. Needs enable_relay. Returns ATLAS_OK, ATLAS_ERR_STATE when it runs,
 * ATLAS_ERR_RELAY_DISABLED, or an error of atlas_open(). */
ATLAS_API int32_t atlas_relay_start(atlas_ctx *ctx);

/* Sets the policy callback (NULL: none). Asked after the lists. */
ATLAS_API int32_t atlas_relay_set_policy(atlas_ctx *ctx, atlas_relay_policy policy, void *user);

/* Adds a peer id to the allow list (when there is one, only its members are served) or the deny
 * list. Returns ATLAS_OK, ATLAS_ERR_PEER_ID, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_relay_allow(atlas_ctx *ctx, const char *peer);
ATLAS_API int32_t atlas_relay_deny(atlas_ctx *ctx, const char *peer);

/* Counters of the relay server since its start; gauges where it says "now". */
typedef struct atlas_relay_stats {
    uint64_t size;                  /* bytes: sizeof(atlas_relay_stats), set by the caller */
    uint64_t sessions;              /* control connections now */
    uint64_t nodes;                 /* registrations now */
    uint64_t circuits;              /* circuits now */
    uint64_t announces;             /* announcements accepted */
    uint64_t connects;              /* circuit requests */
    uint64_t pairs;                 /* circuits that became ready */
    uint64_t forwarded_packets;     /* packets sent on */
    uint64_t forwarded_bytes;       /* bytes of those, UDP payload */
    uint64_t delayed_packets;       /* waited in a bandwidth queue */
    uint64_t dropped_bandwidth;     /* packets dropped: circuit's bandwidth queue full */
    uint64_t dropped_total;         /* packets dropped: relay's total bandwidth */
    uint64_t dropped_source;        /* packets with a valid circuit id from a wrong source, or
                                       before the circuit is ready */
    uint64_t dropped_send;          /* packets the operating system refused to send */
    uint64_t refused_nodes;         /* announcements refused: relay full */
    uint64_t refused_ipv4;          /* announcements refused: per IPv4 address */
    uint64_t refused_ipv6;          /* announcements refused: per IPv6 /64 */
    uint64_t refused_circuits;      /* requests refused: circuits in all */
    uint64_t refused_circuits_node; /* requests refused: circuits per node */
    uint64_t refused_rate;          /* requests refused: handshakes per second */
    uint64_t refused_policy;        /* refused by lists or policy */
    uint64_t refused_drift;         /* timestamps too far off */
    uint64_t refused_identity;      /* ids that are not the authenticated ones */
    uint64_t malformed;             /* messages that did not parse */
    uint64_t handshake_timeouts;    /* targets that did not accept in time */
    uint64_t expired;               /* registrations ended by missed announcements */
    uint64_t replaced;              /* registrations taken over by a newer connection */
} atlas_relay_stats;

/* Fills *out. Returns ATLAS_OK, ATLAS_ERR_INVALID, ATLAS_ERR_STATE when no relay server runs. */
ATLAS_API int32_t atlas_relay_get_stats(const atlas_ctx *ctx, atlas_relay_stats *out);

#ifdef __cplusplus
}
#endif
#endif
