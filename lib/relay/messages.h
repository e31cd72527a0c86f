/* The messages of the relay's control stream: one struct, one encoder and one decoder each.
 *
 * A message is a capsule whose value is a parameter list (http3/capsule.h). All messages share one
 * registry of parameter ids, below. Encoders write a whole capsule; decoders take a capsule's value
 * and check every length. Error codes in the structs are ATLAS_ERR_*: encoders and decoders
 * translate to the numbers on the wire. */
#ifndef ATL_RELAY_MESSAGES_H
#define ATL_RELAY_MESSAGES_H

#include "address/addr.h"
#include "http3/capsule.h"
#include "identity/peerid.h"

/* Capsule types. */
#define ATL_RELAY_ANNOUNCE UINT64_C(0x2a7a5030) /* node to relay */
#define ATL_RELAY_CONNECT UINT64_C(0x2a7a5031)  /* node to relay */
#define ATL_RELAY_READY UINT64_C(0x2a7a5032)    /* relay to node */
#define ATL_RELAY_ERROR UINT64_C(0x2a7a5033)    /* relay to node */
#define ATL_RELAY_INCOMING UINT64_C(0x2a7a5034) /* relay to target */
#define ATL_RELAY_ACCEPT UINT64_C(0x2a7a5035)   /* target to relay */
#define ATL_RELAY_CLOSE UINT64_C(0x2a7a5036)    /* both ways */
#define ATL_RELAY_DRAIN UINT64_C(0x2a7a5037)    /* relay to node */

/* Parameters. */
#define ATL_RELAY_P_NODE_ID 0x01   /* 38 bytes */
#define ATL_RELAY_P_TIMESTAMP 0x02 /* uint: milliseconds since 1970 UTC */
#define ATL_RELAY_P_YIELD 0x03     /* uint: 0 or 1 */
#define ATL_RELAY_P_REQUEST 0x04   /* uint: chosen by the node that connects */
#define ATL_RELAY_P_SOURCE_ID 0x05 /* 38 bytes */
#define ATL_RELAY_P_TARGET_ID 0x06 /* 38 bytes */
#define ATL_RELAY_P_RECEIVE_ID \
    0x07 /* 8 bytes: the circuit id that the sender of this message receives on */
#define ATL_RELAY_P_SEND_ID \
    0x08 /* 8 bytes: the circuit id that the receiver of this message sends on */
#define ATL_RELAY_P_CIRCUIT 0x09   /* uint: chosen by the relay */
#define ATL_RELAY_P_STATUS 0x0a    /* uint: ATL_RELAY_STATUS_* */
#define ATL_RELAY_P_EXPIRY 0x0b    /* uint: milliseconds */
#define ATL_RELAY_P_OBSERVED 0x0c  /* 6 or 18 bytes: IP address and port */
#define ATL_RELAY_P_BANDWIDTH 0x0d /* uint: bytes per second, 0 = unlimited */
#define ATL_RELAY_P_INTERVAL 0x0e  /* uint: milliseconds */
#define ATL_RELAY_P_CODE 0x0f      /* uint: ATL_RELAY_CODE_* */
#define ATL_RELAY_P_REASON 0x10    /* at most 256 bytes of text */
#define ATL_RELAY_P_WITHIN 0x11    /* uint: milliseconds */

#define ATL_RELAY_STATUS_WAITING 1
#define ATL_RELAY_STATUS_READY 2

/* Error codes on the wire. */
#define ATL_RELAY_CODE_CLOSED 0 /* in order; in RelayClose only */
#define ATL_RELAY_CODE_NOT_REGISTERED 1
#define ATL_RELAY_CODE_CAPACITY 2
#define ATL_RELAY_CODE_HANDSHAKE_TIMEOUT 3
#define ATL_RELAY_CODE_REFUSED 4
#define ATL_RELAY_CODE_NOT_AUTHORISED 5
#define ATL_RELAY_CODE_RATE_LIMITED 6
#define ATL_RELAY_CODE_MALFORMED 7
#define ATL_RELAY_CODE_CLOCK_DRIFT 8
#define ATL_RELAY_CODE_IDENTITY 9
#define ATL_RELAY_CODE_REPLACED 10
#define ATL_RELAY_CODE_DRAINING 11
#define ATL_RELAY_CODE_EXPIRED 12
#define ATL_RELAY_CODE_INTERNAL 13

#define ATL_RELAY_ID_LEN 8        /* circuit ids */
#define ATL_RELAY_REASON_MAX 256  /* bytes of a reason, its NUL not counted */
#define ATL_RELAY_MESSAGE_MAX 384 /* every message that an encoder writes fits into this */
#define ATL_RELAY_VALUE_MAX                                               \
    1024 /* longest value accepted; more than we know leaves room to grow \
          */

typedef struct atl_relay_announce {
    atl_peer_id node;
    uint64_t timestamp; /* ms since 1970 UTC */
    uint8_t yield;      /* register only when no other live registration of this node exists */
} atl_relay_announce;

typedef struct atl_relay_connect {
    uint64_t request;
    atl_peer_id source;
    atl_peer_id target;
    uint8_t receive_id[ATL_RELAY_ID_LEN];
    uint64_t timestamp;
} atl_relay_connect;

/* `status` decides which members count. */
typedef struct atl_relay_ready {
    uint8_t status;     /* ATL_RELAY_STATUS_* */
    uint64_t bandwidth; /* both: bytes per second per circuit and direction, 0 = unlimited */
    /* waiting */
    uint64_t expiry;   /* ms until the registration ends without a further announcement */
    atl_addr observed; /* family 0 when not told */
    uint64_t interval; /* ms between announcements that the relay expects; 0 when not told */
    /* ready */
    uint64_t request;
    uint64_t circuit;
    uint8_t send_id[ATL_RELAY_ID_LEN];
} atl_relay_ready;

typedef struct atl_relay_error {
    uint8_t has_request;
    uint64_t request;
    int32_t code;                          /* ATLAS_ERR_* */
    char reason[ATL_RELAY_REASON_MAX + 1]; /* printable ASCII; "" when absent */
} atl_relay_error;

typedef struct atl_relay_incoming {
    uint64_t circuit;
    atl_peer_id source;
    uint8_t send_id[ATL_RELAY_ID_LEN];
} atl_relay_incoming;

typedef struct atl_relay_accept {
    uint64_t circuit;
    int32_t code;                         /* ATLAS_OK: accepted; else why it is refused */
    uint8_t receive_id[ATL_RELAY_ID_LEN]; /* when accepted */
} atl_relay_accept;

typedef struct atl_relay_close {
    uint64_t circuit;
    int32_t code; /* ATLAS_OK and ATLAS_ERR_RELAY_CIRCUIT_CLOSED are the same on the wire; decoded
                     as the latter */
} atl_relay_close;

typedef struct atl_relay_drain {
    uint64_t within; /* ms until the relay closes the connection */
} atl_relay_drain;

/* For atl_capsule_parser: the limit of every message above, 0 for the rest. */
uint64_t atl_relay_known(void *user, uint64_t type);

/* A whole capsule. ATLAS_OK, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID (a number of 2^62 or more, a wrong
 * status). A reason longer than allowed is cut. */
int32_t atl_relay_announce_encode(const atl_relay_announce *msg, uint8_t *buf, size_t cap,
                                  size_t *len);
int32_t atl_relay_connect_encode(const atl_relay_connect *msg, uint8_t *buf, size_t cap,
                                 size_t *len);
int32_t atl_relay_ready_encode(const atl_relay_ready *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_relay_error_encode(const atl_relay_error *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_relay_incoming_encode(const atl_relay_incoming *msg, uint8_t *buf, size_t cap,
                                  size_t *len);
int32_t atl_relay_accept_encode(const atl_relay_accept *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_relay_close_encode(const atl_relay_close *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_relay_drain_encode(const atl_relay_drain *msg, uint8_t *buf, size_t cap, size_t *len);

/* A capsule's value. ATLAS_OK; ATLAS_ERR_TRUNCATED, ATLAS_ERR_DUPLICATE, ATLAS_ERR_MALFORMED
 * (missing, wrong length, out of range), ATLAS_ERR_PEER_ID. `out` is untouched on failure. */
int32_t atl_relay_announce_decode(const uint8_t *value, size_t len, atl_relay_announce *out);
int32_t atl_relay_connect_decode(const uint8_t *value, size_t len, atl_relay_connect *out);
int32_t atl_relay_ready_decode(const uint8_t *value, size_t len, atl_relay_ready *out);
int32_t atl_relay_error_decode(const uint8_t *value, size_t len, atl_relay_error *out);
int32_t atl_relay_incoming_decode(const uint8_t *value, size_t len, atl_relay_incoming *out);
int32_t atl_relay_accept_decode(const uint8_t *value, size_t len, atl_relay_accept *out);
int32_t atl_relay_close_decode(const uint8_t *value, size_t len, atl_relay_close *out);
int32_t atl_relay_drain_decode(const uint8_t *value, size_t len, atl_relay_drain *out);

/* Wire code of an ATLAS_ERR_*: codes without a number of their own become the nearest one, or
 * INTERNAL. */
uint64_t atl_relay_code_to_wire(int32_t code);
/* ATLAS_ERR_* of a wire code; unknown ones are ATLAS_ERR_INTERNAL, CLOSED is
 * ATLAS_ERR_RELAY_CIRCUIT_CLOSED. Never ATLAS_OK. */
int32_t atl_relay_code_from_wire(uint64_t wire);

#endif
