/* The messages of the control stream between peers (the client's first bidirectional stream):
 * capsules whose value is a parameter list (http3/capsule.h). Encoders write a whole capsule,
 * decoders take a capsule's value. */
#ifndef ATL_PEER_CONTROL_H
#define ATL_PEER_CONTROL_H

#include "address/multiaddr.h"
#include "http3/capsule.h"
#include "peer/candidates.h"

/* Capsule types. */
#define ATL_CTRL_HELLO UINT64_C(0x2a7a5101)
#define ATL_CTRL_ADDRESSES UINT64_C(0x2a7a5102)
#define ATL_CTRL_PUNCH UINT64_C(0x2a7a5103)
#define ATL_CTRL_PATH_REQUEST UINT64_C(0x2a7a5104)
#define ATL_CTRL_PING UINT64_C(0x2a7a5105)
#define ATL_CTRL_PONG UINT64_C(0x2a7a5106)
#define ATL_CTRL_DISCONNECT UINT64_C(0x2a7a5107)
#define ATL_CTRL_SLEEP UINT64_C(0x2a7a5108)
#define ATL_CTRL_RECORD UINT64_C(0x2a7a5109)

/* Parameters. */
#define ATL_CTRL_P_VERSION 0x01    /* uint */
#define ATL_CTRL_P_AGENT 0x02      /* at most 64 bytes of text */
#define ATL_CTRL_P_FEATURES 0x03   /* uint: bits */
#define ATL_CTRL_P_ID 0x04         /* uint */
#define ATL_CTRL_P_TIMESTAMP 0x05  /* 8 bytes, opaque to the receiver */
#define ATL_CTRL_P_REASON 0x06     /* at most 256 bytes of text */
#define ATL_CTRL_P_GENERATION 0x07 /* uint */
#define ATL_CTRL_P_CANDIDATES                                                                      \
    0x08                         /* at most 16: kind (1), priority (4), family 4 or 6 (1), address \
                                    (4 or 16), port (2) each */
#define ATL_CTRL_P_RELAYS 0x09   /* at most 4 binary multiaddrs, each behind its length (2 bytes) */
#define ATL_CTRL_P_ATTEMPT 0x0a  /* uint */
#define ATL_CTRL_P_PHASE 0x0b    /* uint: ATL_CTRL_PUNCH_* */
#define ATL_CTRL_P_REMOTE 0x0c   /* an address as in candidates: family, address, port */
#define ATL_CTRL_P_RELAY 0x0d    /* a peer id, in the binary form of the relay's messages */
#define ATL_CTRL_P_SECONDS 0x0e  /* uint */
#define ATL_CTRL_P_PATIENCE 0x0f /* uint: milliseconds */
#define ATL_CTRL_P_ENVELOPE 0x10 /* at most ATL_CTRL_RECORD_MAX bytes */

#define ATL_CTRL_VERSION 1
#define ATL_CTRL_AGENT_MAX 64          /* bytes, the NUL not counted */
#define ATL_CTRL_REASON_MAX 256        /* bytes, the NUL not counted */
#define ATL_CTRL_MESSAGE_MAX 1056      /* every message that an encoder writes fits into this */
#define ATL_CTRL_VALUE_MAX 1024        /* longest value accepted */
#define ATL_CTRL_RECORD_MAX 2048       /* bytes of a signed peer record */
#define ATL_CTRL_RECORD_MESSAGE 2080   /* a Record message fits into this */
#define ATL_CTRL_RECORD_VALUE_MAX 2064 /* its longest value accepted */
#define ATL_CTRL_RELAYS_MAX 4
#define ATL_CTRL_SLEEP_MAX 86400 /* seconds: a longer sleep decodes to this */

/* The first message of each side. */
typedef struct atl_ctrl_hello {
    uint64_t version;  /* ATL_CTRL_VERSION */
    uint64_t features; /* 0 when absent; unknown bits are ignored */
    uint64_t patience; /* milliseconds without a packet after which the sender ends the
                          connection; 0: not said */
    char agent[ATL_CTRL_AGENT_MAX + 1]; /* printable ASCII */
} atl_ctrl_hello;

/* Ping, and the Pong that answers it with the same members. */
typedef struct atl_ctrl_ping {
    uint64_t id;
    uint64_t timestamp; /* the asker's, sent back as it is; 0 when absent */
} atl_ctrl_ping;

typedef struct atl_ctrl_disconnect {
    char reason[ATL_CTRL_REASON_MAX + 1]; /* printable ASCII, may be "" */
} atl_ctrl_disconnect;

/* The candidates of the sender, all of them, and relays on which it can be reached. A higher
 * generation replaces what was said before. */
typedef struct atl_ctrl_addresses {
    uint64_t generation;
    size_t n_candidates;
    atl_candidate candidates[ATL_CANDIDATES_MAX]; /* base is not sent */
    size_t n_relays;
    atl_maddr relays[ATL_CTRL_RELAYS_MAX]; /* transport and /p2p/ of the relay */
} atl_ctrl_addresses;

/* One attempt at hole punching: who starts says START, after its Addresses; the other answers
 * REPLY with the same number, after its own, and both check from then on. The time between is the
 * round-trip time. */
#define ATL_CTRL_PUNCH_START 1
#define ATL_CTRL_PUNCH_REPLY 2
typedef struct atl_ctrl_punch {
    uint64_t attempt;
    uint64_t phase;
} atl_ctrl_punch;

/* A server asks its client to migrate: to this address of the server, which the client must have
 * proven itself (ATLAS_PATH_DIRECT), or to a circuit of this relay (ATLAS_PATH_RELAY). */
typedef struct atl_ctrl_path_request {
    uint64_t kind; /* in ATL_CTRL_P_PHASE */
    atl_addr remote;
    atl_peer_id relay;
    char reason[ATL_CTRL_REASON_MAX + 1];
} atl_ctrl_path_request;

/* The sender will not be heard for up to so long; 0: it is awake. At most a day is granted. */
typedef struct atl_ctrl_sleep {
    uint64_t seconds;
} atl_ctrl_sleep;

/* The sender's own peer record, as it is published: a signed envelope, of which nothing but the
 * length is looked at here. */
typedef struct atl_ctrl_record {
    const uint8_t *data;
    size_t len;
} atl_ctrl_record;

/* For atl_capsule_parser: the limit of the messages above, 0 for the rest. */
uint64_t atl_ctrl_known(void *user, uint64_t type);

/* A whole capsule. ATLAS_OK, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID (a number of 2^62 or more). */
int32_t atl_ctrl_hello_encode(const atl_ctrl_hello *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_ping_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_pong_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_disconnect_encode(const atl_ctrl_disconnect *msg, uint8_t *buf, size_t cap,
                                   size_t *len);

/* Leaves out what a decoder would, and the last relays where their names are too long for
 * ATL_CTRL_VALUE_MAX; 16 candidates and any 2 relays always fit, 4 with IP addresses too. */
int32_t atl_ctrl_addresses_encode(const atl_ctrl_addresses *msg, uint8_t *buf, size_t cap,
                                  size_t *len);
int32_t atl_ctrl_punch_encode(const atl_ctrl_punch *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_path_request_encode(const atl_ctrl_path_request *msg, uint8_t *buf, size_t cap,
                                     size_t *len);
int32_t atl_ctrl_sleep_encode(const atl_ctrl_sleep *msg, uint8_t *buf, size_t cap, size_t *len);
/* ATLAS_ERR_INVALID also when it is empty or too long. */
int32_t atl_ctrl_record_encode(const atl_ctrl_record *msg, uint8_t *buf, size_t cap, size_t *len);

/* A capsule's value. ATLAS_OK, ATLAS_ERR_TRUNCATED, ATLAS_ERR_DUPLICATE, ATLAS_ERR_MALFORMED. `out`
 * is untouched on failure. Ping and Pong have the same form. */
int32_t atl_ctrl_hello_decode(const uint8_t *value, size_t len, atl_ctrl_hello *out);
int32_t atl_ctrl_ping_decode(const uint8_t *value, size_t len, atl_ctrl_ping *out);
int32_t atl_ctrl_disconnect_decode(const uint8_t *value, size_t len, atl_ctrl_disconnect *out);
/* Candidates and relays that make no sense (unspecified, multicast, broadcast and IPv6 link-local
 * addresses, port 0, unknown kinds, an address twice, multiaddrs that are no relay's) are left out,
 * not an error: a newer peer may know more. */
int32_t atl_ctrl_addresses_decode(const uint8_t *value, size_t len, atl_ctrl_addresses *out);
int32_t atl_ctrl_punch_decode(const uint8_t *value, size_t len, atl_ctrl_punch *out);
/* The member that its kind does not need is zero. */
int32_t atl_ctrl_path_request_decode(const uint8_t *value, size_t len, atl_ctrl_path_request *out);
int32_t atl_ctrl_sleep_decode(const uint8_t *value, size_t len, atl_ctrl_sleep *out);
/* `out->data` points into the value. */
int32_t atl_ctrl_record_decode(const uint8_t *value, size_t len, atl_ctrl_record *out);

#endif
