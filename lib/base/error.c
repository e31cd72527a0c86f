#include <atlas/error.h>

typedef struct error_row {
    int32_t code;
    const char *name;
    const char *text;
} error_row;

#define ROW(code, text) \
    { code, #code, text }

static const error_row ROWS[] = {
    ROW(ATLAS_OK, "no error"),
    ROW(ATLAS_ERR_INVALID, "an argument is out of its range, or NULL"),
    ROW(ATLAS_ERR_NOMEM, "the allocator returned NULL"),
    ROW(ATLAS_ERR_STATE, "the object is not in a state that allows this call"),
    ROW(ATLAS_ERR_REENTRANT, "the call is not allowed from the hook or callback it was made in"),
    ROW(ATLAS_ERR_AGAIN, "would block; a later event says when to try again"),
    ROW(ATLAS_ERR_TIMEOUT, "the deadline passed"),
    ROW(ATLAS_ERR_CANCELLED, "ended by the application itself"),
    ROW(ATLAS_ERR_CLOSED, "the object is closing or closed"),
    ROW(ATLAS_ERR_LIMIT, "a configured limit is reached"),
    ROW(ATLAS_ERR_UNSUPPORTED, "not supported by this build, platform or peer"),
    ROW(ATLAS_ERR_NOT_FOUND, "no such thing"),
    ROW(ATLAS_ERR_EXISTS, "it is there already and is not overwritten"),
    ROW(ATLAS_ERR_IO, "the operating system reported an error"),
    ROW(ATLAS_ERR_PERMISSION, "not permitted (file modes, operating system)"),
    ROW(ATLAS_ERR_TOO_LARGE, "longer than allowed"),
    ROW(ATLAS_ERR_BUFFER, "the caller's buffer is too small"),
    ROW(ATLAS_ERR_INTERNAL, "a defect in libatlas or one of its dependencies"),
    ROW(ATLAS_ERR_RANDOM, "the random source failed"),
    ROW(ATLAS_ERR_SHUTDOWN, "the context is shutting down"),
    ROW(ATLAS_ERR_TRUNCATED, "ends before it is complete"),
    ROW(ATLAS_ERR_MALFORMED, "not of the form that its specification demands"),
    ROW(ATLAS_ERR_ADDRESS, "not a valid address or multiaddr"),
    ROW(ATLAS_ERR_PEER_ID, "not a valid peer id"),
    ROW(ATLAS_ERR_KEY, "not a valid Ed25519 key or key file"),
    ROW(ATLAS_ERR_SIGNATURE, "a signature does not verify"),
    ROW(ATLAS_ERR_CERTIFICATE, "a certificate breaks a rule of the libp2p TLS specification"),
    ROW(ATLAS_ERR_CONFIG, "a configuration file has a wrong value"),
    ROW(ATLAS_ERR_DUPLICATE, "something that must occur once occurs twice"),
    ROW(ATLAS_ERR_UNREACHABLE, "no route, or an ICMP error came back"),
    ROW(ATLAS_ERR_REFUSED, "refused: nothing accepts connections there"),
    ROW(ATLAS_ERR_RESOLVE, "a name did not resolve"),
    ROW(ATLAS_ERR_ADDR_IN_USE, "the local address is taken"),
    ROW(ATLAS_ERR_FAMILY, "no socket for this address family"),
    ROW(ATLAS_ERR_STUN_TIMEOUT, "no answer within the deadline"),
    ROW(ATLAS_ERR_STUN_RESPONSE, "the server answered with an ERROR-CODE"),
    ROW(ATLAS_ERR_STUN_INTEGRITY, "MESSAGE-INTEGRITY is missing or wrong"),
    ROW(ATLAS_ERR_STUN_UNKNOWN, "unknown comprehension-required attribute in an answer"),
    ROW(ATLAS_ERR_STUN_NO_ADDRESS, "a success answer without a mapped address"),
    ROW(ATLAS_ERR_HANDSHAKE, "the TLS handshake failed"),
    ROW(ATLAS_ERR_PEER_MISMATCH, "authenticated, but as another peer than the one dialled"),
    ROW(ATLAS_ERR_ALPN, "no common application protocol"),
    ROW(ATLAS_ERR_IDLE_TIMEOUT, "nothing heard within the idle timeout"),
    ROW(ATLAS_ERR_TRANSPORT, "QUIC transport error"),
    ROW(ATLAS_ERR_STATELESS_RESET, "the peer lost its state"),
    ROW(ATLAS_ERR_PEER_CLOSED, "the peer closed the connection"),
    ROW(ATLAS_ERR_VERSION, "no common QUIC version"),
    ROW(ATLAS_ERR_HANDSHAKE_TIMEOUT, "the handshake did not complete in time"),
    ROW(ATLAS_ERR_STREAM_RESET, "the peer reset the stream or stopped reading it"),
    ROW(ATLAS_ERR_HTTP, "HTTP/3 protocol error or unexpected status"),
    ROW(ATLAS_ERR_RELAY_NOT_REGISTERED, "the target is not announced on the relay"),
    ROW(ATLAS_ERR_RELAY_CAPACITY, "the relay is full (nodes, circuits, per address)"),
    ROW(ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT, "the target did not accept in time"),
    ROW(ATLAS_ERR_RELAY_REFUSED, "the target refused"),
    ROW(ATLAS_ERR_RELAY_NOT_AUTHORISED, "allow list, deny list or policy say no"),
    ROW(ATLAS_ERR_RELAY_RATE_LIMITED, "too many requests"),
    ROW(ATLAS_ERR_RELAY_MALFORMED, "the relay could not parse our message, or we its"),
    ROW(ATLAS_ERR_RELAY_CLOCK_DRIFT, "timestamps differ by more than max_clock_drift_secs"),
    ROW(ATLAS_ERR_RELAY_IDENTITY, "an id in a message is not the authenticated one"),
    ROW(ATLAS_ERR_RELAY_REPLACED, "a newer connection of the same node took over"),
    ROW(ATLAS_ERR_RELAY_DRAINING, "the relay is going away"),
    ROW(ATLAS_ERR_RELAY_LOST, "the connection to the relay was lost"),
    ROW(ATLAS_ERR_RELAY_DISABLED, "enable_relay is false"),
    ROW(ATLAS_ERR_RELAY_EXPIRED, "announcements were missed, or the circuit expired"),
    ROW(ATLAS_ERR_RELAY_CIRCUIT_CLOSED, "the other side closed the circuit"),
    ROW(ATLAS_ERR_DIAL, "every candidate failed; the text lists the reasons"),
    ROW(ATLAS_ERR_NO_ADDRESS, "nothing to dial: no address known and no relay usable"),
    ROW(ATLAS_ERR_MESSAGE_TOO_LARGE, "longer than max_message_size"),
    ROW(ATLAS_ERR_DATAGRAM_TOO_LARGE, "longer than the path carries in one packet"),
    ROW(ATLAS_ERR_DISCONNECTED, "the peer asked to end all sessions with this node"),
    ROW(ATLAS_ERR_SELF, "a node does not dial itself"),
    ROW(ATLAS_ERR_RECORD_OLD, "a newer record of that peer is known"),
    ROW(ATLAS_ERR_RECORD_EXPIRED, "the record's lifetime is over"),
    ROW(ATLAS_ERR_RECORD_FUTURE, "the record was signed in the future: a clock is wrong"),
    ROW(ATLAS_ERR_RECORD_SIGNER, "the record is signed by another key than its peer's"),
    ROW(ATLAS_ERR_RECORD_LIMIT, "the registry takes no more records (from this address)"),
    ROW(ATLAS_ERR_RECORD_NOT_FOUND, "no record of that peer is known"),
    ROW(ATLAS_ERR_NO_BOOTSTRAP, "no bootstrap node is known"),
    ROW(ATLAS_ERR_BOOTSTRAP, "a bootstrap node answered what makes no sense"),
    ROW(ATLAS_ERR_RATE_LIMITED, "the server answers no more requests of this node now"),
    ROW(ATLAS_ERR_SELFTEST, "the relay takes announcements, and does not carry packets"),
};

static const error_row *find(int32_t code) {
    size_t i;

    for (i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        if (ROWS[i].code == code) {
            return &ROWS[i];
        }
    }
    return NULL;
}

const char *atlas_error_name(int32_t code) {
    const error_row *row = find(code);

    return row == NULL ? "ATLAS_ERR_UNKNOWN" : row->name;
}

const char *atlas_error_text(int32_t code) {
    const error_row *row = find(code);

    return row == NULL ? "unknown error code" : row->text;
}

const char *atlas_error_category(int32_t code) {
    static const char *const CATEGORIES[] = {"general", "format", "network", "stun",
                                             "quic",    "relay",  "peer",    "discovery"};

    if (code == 0) {
        return "ok";
    }
    if (code > 0 || code <= -800) {
        return "unknown";
    }
    return CATEGORIES[-(code / 100)];
}
