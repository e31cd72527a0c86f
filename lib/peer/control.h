/* The messages of the control stream between peers (the client's first bidirectional stream):
 * capsules whose value is a parameter list (http3/capsule.h). Encoders write a whole capsule,
 * decoders take a capsule's value. */
#ifndef ATL_PEER_CONTROL_H
#define ATL_PEER_CONTROL_H

#include "http3/capsule.h"

/* Capsule types. Addresses, Punch and PathRequest are reserved: they are skipped like any unknown
 * type. */
#define ATL_CTRL_HELLO UINT64_C(0x2a7a5101)
#define ATL_CTRL_ADDRESSES UINT64_C(0x2a7a5102)
#define ATL_CTRL_PUNCH UINT64_C(0x2a7a5103)
#define ATL_CTRL_PATH_REQUEST UINT64_C(0x2a7a5104)
#define ATL_CTRL_PING UINT64_C(0x2a7a5105)
#define ATL_CTRL_PONG UINT64_C(0x2a7a5106)
#define ATL_CTRL_DISCONNECT UINT64_C(0x2a7a5107)

/* Parameters. */
#define ATL_CTRL_P_VERSION 0x01   /* uint */
#define ATL_CTRL_P_AGENT 0x02     /* at most 64 bytes of text */
#define ATL_CTRL_P_FEATURES 0x03  /* uint: bits */
#define ATL_CTRL_P_ID 0x04        /* uint */
#define ATL_CTRL_P_TIMESTAMP 0x05 /* 8 bytes, opaque to the receiver */
#define ATL_CTRL_P_REASON 0x06    /* at most 256 bytes of text */

#define ATL_CTRL_VERSION 1
#define ATL_CTRL_AGENT_MAX 64    /* bytes, the NUL not counted */
#define ATL_CTRL_REASON_MAX 256  /* bytes, the NUL not counted */
#define ATL_CTRL_MESSAGE_MAX 384 /* every message that an encoder writes fits into this */
#define ATL_CTRL_VALUE_MAX 1024  /* longest value accepted */

/* The first message of each side. */
typedef struct atl_ctrl_hello {
    uint64_t version;                   /* ATL_CTRL_VERSION */
    uint64_t features;                  /* 0 when absent; unknown bits are ignored */
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

/* For atl_capsule_parser: the limit of the messages above, 0 for the rest, the reserved types among
 * them. */
uint64_t atl_ctrl_known(void *user, uint64_t type);

/* A whole capsule. ATLAS_OK, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID (a number of 2^62 or more). */
int32_t atl_ctrl_hello_encode(const atl_ctrl_hello *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_ping_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_pong_encode(const atl_ctrl_ping *msg, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_ctrl_disconnect_encode(const atl_ctrl_disconnect *msg, uint8_t *buf, size_t cap,
                                   size_t *len);

/* A capsule's value. ATLAS_OK, ATLAS_ERR_TRUNCATED, ATLAS_ERR_DUPLICATE, ATLAS_ERR_MALFORMED. `out`
 * is untouched on failure. Ping and Pong have the same form. */
int32_t atl_ctrl_hello_decode(const uint8_t *value, size_t len, atl_ctrl_hello *out);
int32_t atl_ctrl_ping_decode(const uint8_t *value, size_t len, atl_ctrl_ping *out);
int32_t atl_ctrl_disconnect_decode(const uint8_t *value, size_t len, atl_ctrl_disconnect *out);

#endif
