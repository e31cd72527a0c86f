/* STUN messages (RFC 8489): a parser that copies nothing, and a builder on the bounded writer.
 *
 * Neither allocates. What is parsed points into the datagram, which must outlive it. Checks that
 * need a key (MESSAGE-INTEGRITY) are separate calls; FINGERPRINT is checked by the parser. */
#ifndef ATL_STUN_MESSAGE_H
#define ATL_STUN_MESSAGE_H

#include "address/addr.h"
#include "base/writer.h"

#define ATL_STUN_COOKIE UINT32_C(0x2112a442)
#define ATL_STUN_HEADER 20
#define ATL_STUN_ID_LEN 12
#define ATL_STUN_ATTRS_MAX 64   /* attributes of one message; more are malformed */
#define ATL_STUN_UNKNOWN_MAX 16 /* unknown attributes remembered for a 420 */
#define ATL_STUN_USERNAME_MAX 508
/* Longest message that this library makes: USERNAME, both integrities, FINGERPRINT, an address. */
#define ATL_STUN_MESSAGE_MAX 700

#define ATL_STUN_BINDING 0x001 /* the only method */

/* Classes. */
#define ATL_STUN_REQUEST 0
#define ATL_STUN_INDICATION 1
#define ATL_STUN_SUCCESS 2
#define ATL_STUN_ERROR 3

/* Attribute types. */
#define ATL_STUN_A_MAPPED_ADDRESS 0x0001
#define ATL_STUN_A_CHANGE_REQUEST 0x0003 /* RFC 5780, as PADDING to OTHER-ADDRESS below */
#define ATL_STUN_A_USERNAME 0x0006
#define ATL_STUN_A_INTEGRITY 0x0008
#define ATL_STUN_A_ERROR_CODE 0x0009
#define ATL_STUN_A_UNKNOWN_ATTRIBUTES 0x000a
#define ATL_STUN_A_REALM 0x0014
#define ATL_STUN_A_NONCE 0x0015
#define ATL_STUN_A_INTEGRITY_SHA256 0x001c
#define ATL_STUN_A_PASSWORD_ALGORITHM 0x001d
#define ATL_STUN_A_USERHASH 0x001e
#define ATL_STUN_A_XOR_MAPPED_ADDRESS 0x0020
#define ATL_STUN_A_PRIORITY 0x0024
#define ATL_STUN_A_USE_CANDIDATE 0x0025
#define ATL_STUN_A_PADDING 0x0026
#define ATL_STUN_A_RESPONSE_PORT 0x0027
#define ATL_STUN_A_PASSWORD_ALGORITHMS 0x8002
#define ATL_STUN_A_ALTERNATE_DOMAIN 0x8003
#define ATL_STUN_A_SOFTWARE 0x8022
#define ATL_STUN_A_ALTERNATE_SERVER 0x8023
#define ATL_STUN_A_FINGERPRINT 0x8028
#define ATL_STUN_A_ICE_CONTROLLED 0x8029
#define ATL_STUN_A_ICE_CONTROLLING 0x802a
#define ATL_STUN_A_RESPONSE_ORIGIN 0x802b
#define ATL_STUN_A_OTHER_ADDRESS 0x802c

/* Bits of CHANGE-REQUEST. */
#define ATL_STUN_CHANGE_PORT 0x2u
#define ATL_STUN_CHANGE_IP 0x4u

/* An attribute's value inside the datagram; data NULL: the attribute is absent. */
typedef struct atl_stun_view {
    const uint8_t *data;
    size_t len;
} atl_stun_view;

typedef struct atl_stun_header {
    uint16_t method;
    uint8_t cls; /* ATL_STUN_REQUEST .. ATL_STUN_ERROR */
    uint8_t id[ATL_STUN_ID_LEN];
} atl_stun_header;

typedef struct atl_stun_msg {
    const uint8_t *data; /* the whole message */
    size_t len;
    atl_stun_header header;
    atl_addr mapped;     /* family 0: absent */
    atl_addr xor_mapped; /* family 0: absent */
    atl_addr alternate;  /* family 0: absent */
    atl_addr origin;     /* RESPONSE-ORIGIN; family 0: absent */
    atl_addr other;      /* OTHER-ADDRESS; family 0: absent */
    atl_stun_view username;
    atl_stun_view userhash; /* 32 bytes */
    atl_stun_view realm;
    atl_stun_view nonce;
    atl_stun_view software;
    atl_stun_view reason;       /* of ERROR-CODE */
    atl_stun_view unknown_list; /* UNKNOWN-ATTRIBUTES, 16-bit numbers */
    uint16_t error_code;        /* 300..699; 0: absent */
    uint8_t has_fingerprint;    /* present and right */
    uint8_t use_candidate;
    uint8_t has_priority;
    uint8_t has_controlling;
    uint8_t has_controlled;
    uint8_t has_change;        /* CHANGE-REQUEST, its bits in `change` */
    uint8_t has_response_port; /* RESPONSE-PORT, its port in `response_port` */
    uint8_t has_padding;       /* PADDING */
    uint8_t change;            /* ATL_STUN_CHANGE_*; other bits are dropped */
    uint16_t response_port;
    uint32_t priority;
    uint64_t tie_breaker;    /* of ICE-CONTROLLING or ICE-CONTROLLED */
    size_t integrity_at;     /* offset of the MESSAGE-INTEGRITY attribute; 0: absent */
    size_t integrity256_at;  /* the same for MESSAGE-INTEGRITY-SHA256 */
    size_t integrity256_len; /* 16..32, a multiple of 4 */
    uint16_t unknown[ATL_STUN_UNKNOWN_MAX]; /* comprehension-required types we do not know */
    size_t unknown_count;                   /* of those; further ones are not counted */
} atl_stun_msg;

/* The header alone: ATLAS_ERR_TRUNCATED; ATLAS_ERR_MALFORMED when the first bits, the magic cookie
 * or the length (which must say exactly what arrived) is wrong. */
int32_t atl_stun_parse_header(const uint8_t *data, size_t len, atl_stun_header *out);
/* The whole message. Of attributes that occur twice the first counts; those behind an integrity
 * attribute are ignored (but MESSAGE-INTEGRITY-SHA256 and FINGERPRINT). ATLAS_ERR_TRUNCATED,
 * ATLAS_ERR_MALFORMED; ATLAS_ERR_SIGNATURE when the FINGERPRINT is wrong. */
int32_t atl_stun_parse(const uint8_t *data, size_t len, atl_stun_msg *out);

/* Check the integrity attributes in constant time. ATLAS_ERR_STUN_INTEGRITY when absent or wrong.
 */
int32_t atl_stun_check_sha1(const atl_stun_msg *msg, const void *key, size_t key_len);
int32_t atl_stun_check_sha256(const atl_stun_msg *msg, const void *key, size_t key_len);

/* Building: begin, put attributes, integrity, fingerprint, in this order. The message in the writer
 * is complete after every call; writer->error tells whether all of it fitted. */
void atl_stun_begin(atl_writer *writer, uint8_t cls, uint16_t method,
                    const uint8_t id[ATL_STUN_ID_LEN]);
void atl_stun_put(atl_writer *writer, uint16_t type, const void *value, size_t len);
void atl_stun_put_u32(atl_writer *writer, uint16_t type, uint32_t value);
void atl_stun_put_u64(atl_writer *writer, uint16_t type, uint64_t value);
void atl_stun_put_addr(atl_writer *writer, uint16_t type, const atl_addr *addr);
void atl_stun_put_xor_addr(atl_writer *writer, uint16_t type, const atl_addr *addr);
void atl_stun_put_response_port(atl_writer *writer, uint16_t port);
void atl_stun_put_error(atl_writer *writer, uint16_t code, const char *reason);
void atl_stun_put_unknown(atl_writer *writer, const uint16_t *types, size_t n);
void atl_stun_put_sha1(atl_writer *writer, const void *key, size_t key_len);
void atl_stun_put_sha256(atl_writer *writer, const void *key, size_t key_len);
void atl_stun_put_fingerprint(atl_writer *writer);

#endif
