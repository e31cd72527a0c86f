/* libatlas: error codes.
 *
 * Every fallible function returns int32_t: ATLAS_OK (0) or one of the negative codes below. Outputs
 * are untouched when a function fails. Codes are part of the ABI: a number never changes its
 * meaning and new ones are only added at the end of their category. */
#ifndef ATLAS_ERROR_H
#define ATLAS_ERROR_H

#include <atlas/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATLAS_OK 0

/* General: -1 .. -99 */
#define ATLAS_ERR_INVALID (-1) /* an argument is out of its range, or NULL */
#define ATLAS_ERR_NOMEM (-2)   /* the allocator returned NULL */
#define ATLAS_ERR_STATE (-3)   /* the object is not in a state that allows this call */
/* the call is not allowed from the hook or callback it was made in */
#define ATLAS_ERR_REENTRANT (-4)
#define ATLAS_ERR_AGAIN (-5)        /* would block; a later event says when to try again */
#define ATLAS_ERR_TIMEOUT (-6)      /* the deadline passed */
#define ATLAS_ERR_CANCELLED (-7)    /* ended by the application itself */
#define ATLAS_ERR_CLOSED (-8)       /* the object is closing or closed */
#define ATLAS_ERR_LIMIT (-9)        /* a configured limit is reached */
#define ATLAS_ERR_UNSUPPORTED (-10) /* not supported by this build, platform or peer */
#define ATLAS_ERR_NOT_FOUND (-11)   /* no such thing */
#define ATLAS_ERR_EXISTS (-12)      /* it is there already and is not overwritten */
#define ATLAS_ERR_IO (-13)          /* the operating system reported an error */
#define ATLAS_ERR_PERMISSION (-14)  /* not permitted (file modes, operating system) */
#define ATLAS_ERR_TOO_LARGE (-15)   /* longer than allowed */
#define ATLAS_ERR_BUFFER (-16)      /* the caller's buffer is too small */
#define ATLAS_ERR_INTERNAL (-17)    /* a defect in libatlas or one of its dependencies */
#define ATLAS_ERR_RANDOM (-18)      /* the random source failed */
#define ATLAS_ERR_SHUTDOWN (-19)    /* the context is shutting down */

/* Format: -100 .. -199: bytes or text that do not parse */
#define ATLAS_ERR_TRUNCATED (-100) /* ends before it is complete */
#define ATLAS_ERR_MALFORMED (-101) /* not of the form that its specification demands */
#define ATLAS_ERR_ADDRESS (-102)   /* not a valid address or multiaddr */
#define ATLAS_ERR_PEER_ID (-103)   /* not a valid peer id */
#define ATLAS_ERR_KEY (-104)       /* not a valid Ed25519 key or key file */
#define ATLAS_ERR_SIGNATURE (-105) /* a signature does not verify */
/* a certificate breaks a rule of the libp2p TLS specification */
#define ATLAS_ERR_CERTIFICATE (-106)
#define ATLAS_ERR_CONFIG (-107)    /* a configuration file has a wrong value */
#define ATLAS_ERR_DUPLICATE (-108) /* something that must occur once occurs twice */

/* Network: -200 .. -299 */
#define ATLAS_ERR_UNREACHABLE (-200) /* no route, or an ICMP error came back */
#define ATLAS_ERR_REFUSED (-201)     /* refused: nothing accepts connections there */
#define ATLAS_ERR_RESOLVE (-202)     /* a name did not resolve */
#define ATLAS_ERR_ADDR_IN_USE (-203) /* the local address is taken */
#define ATLAS_ERR_FAMILY (-204)      /* no socket for this address family */

/* STUN: -300 .. -399 */
#define ATLAS_ERR_STUN_TIMEOUT (-300)    /* no answer within the deadline */
#define ATLAS_ERR_STUN_RESPONSE (-301)   /* the server answered with an ERROR-CODE */
#define ATLAS_ERR_STUN_INTEGRITY (-302)  /* MESSAGE-INTEGRITY is missing or wrong */
#define ATLAS_ERR_STUN_UNKNOWN (-303)    /* unknown comprehension-required attribute in an answer */
#define ATLAS_ERR_STUN_NO_ADDRESS (-304) /* a success answer without a mapped address */

/* QUIC and TLS: -400 .. -499 */
#define ATLAS_ERR_HANDSHAKE (-400) /* the TLS handshake failed */
/* authenticated, but as another peer than the one dialled */
#define ATLAS_ERR_PEER_MISMATCH (-401)
#define ATLAS_ERR_ALPN (-402)              /* no common application protocol */
#define ATLAS_ERR_IDLE_TIMEOUT (-403)      /* nothing heard within the idle timeout */
#define ATLAS_ERR_TRANSPORT (-404)         /* QUIC transport error */
#define ATLAS_ERR_STATELESS_RESET (-405)   /* the peer lost its state */
#define ATLAS_ERR_PEER_CLOSED (-406)       /* the peer closed the connection */
#define ATLAS_ERR_VERSION (-407)           /* no common QUIC version */
#define ATLAS_ERR_HANDSHAKE_TIMEOUT (-408) /* the handshake did not complete in time */
#define ATLAS_ERR_STREAM_RESET (-409)      /* the peer reset the stream or stopped reading it */
#define ATLAS_ERR_HTTP (-410)              /* HTTP/3 protocol error or unexpected status */

/* Relay: -500 .. -599 */
#define ATLAS_ERR_RELAY_NOT_REGISTERED (-500) /* the target is not announced on the relay */
/* the relay is full (nodes, circuits, per address) */
#define ATLAS_ERR_RELAY_CAPACITY (-501)
#define ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT (-502) /* the target did not accept in time */
#define ATLAS_ERR_RELAY_REFUSED (-503)           /* the target refused */
#define ATLAS_ERR_RELAY_NOT_AUTHORISED (-504)    /* allow list, deny list or policy say no */
#define ATLAS_ERR_RELAY_RATE_LIMITED (-505)      /* too many requests */
/* the relay could not parse our message, or we its */
#define ATLAS_ERR_RELAY_MALFORMED (-506)
/* timestamps differ by more than max_clock_drift_secs */
#define ATLAS_ERR_RELAY_CLOCK_DRIFT (-507)
/* an id in a message is not the authenticated one */
#define ATLAS_ERR_RELAY_IDENTITY (-508)
#define ATLAS_ERR_RELAY_REPLACED (-509) /* a newer connection of the same node took over */
#define ATLAS_ERR_RELAY_DRAINING (-510) /* the relay is going away */
#define ATLAS_ERR_RELAY_LOST (-511)     /* the connection to the relay was lost */
#define ATLAS_ERR_RELAY_DISABLED (-512) /* enable_relay is false */
/* announcements were missed, or the circuit expired */
#define ATLAS_ERR_RELAY_EXPIRED (-513)
#define ATLAS_ERR_RELAY_CIRCUIT_CLOSED (-514) /* the other side closed the circuit */

/* Peer: -600 .. -699 */
#define ATLAS_ERR_DIAL (-600) /* every candidate failed; the text lists the reasons */
/* nothing to dial: no address known and no relay usable */
#define ATLAS_ERR_NO_ADDRESS (-601)
#define ATLAS_ERR_MESSAGE_TOO_LARGE (-602)  /* longer than max_message_size */
#define ATLAS_ERR_DATAGRAM_TOO_LARGE (-603) /* longer than the path carries in one packet */
#define ATLAS_ERR_DISCONNECTED (-604)       /* the peer asked to end all sessions with this node */
#define ATLAS_ERR_SELF (-605)               /* a node does not dial itself */

/* Discovery: -700 .. -799 */
#define ATLAS_ERR_RECORD_OLD (-700)     /* a newer record of that peer is known */
#define ATLAS_ERR_RECORD_EXPIRED (-701) /* the record's lifetime is over */
#define ATLAS_ERR_RECORD_FUTURE (-702)  /* the record was signed in the future: a clock is wrong */
#define ATLAS_ERR_RECORD_SIGNER (-703)  /* the record is signed by another key than its peer's */
#define ATLAS_ERR_RECORD_LIMIT (-704)   /* the registry takes no more records (from this address) */
#define ATLAS_ERR_RECORD_NOT_FOUND (-705) /* no record of that peer is known */
#define ATLAS_ERR_NO_BOOTSTRAP (-706)     /* no bootstrap node is known */
#define ATLAS_ERR_BOOTSTRAP (-707)        /* a bootstrap node answered what makes no sense */
#define ATLAS_ERR_RATE_LIMITED (-708)     /* the server answers no more requests of this node now */
#define ATLAS_ERR_SELFTEST (-709) /* the relay takes announcements, and does not carry packets */

/* The name of a code ("ATLAS_ERR_TIMEOUT"). Never NULL: an unknown code gives "ATLAS_ERR_UNKNOWN".
 * The string is static. Callable from anywhere, any thread. */
ATLAS_API const char *atlas_error_name(int32_t code);

/* The category of a code: "ok", "general", "format", "network", "stun", "quic", "relay", "peer",
 * "discovery" or "unknown". The string is static. Callable from anywhere, any thread. */
ATLAS_API const char *atlas_error_category(int32_t code);

/* One sentence in English that says what a code means. The string is static. Callable from
 * anywhere, any thread. */
ATLAS_API const char *atlas_error_text(int32_t code);

#ifdef __cplusplus
}
#endif
#endif
