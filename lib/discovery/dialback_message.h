/* The messages of a dial-back (docs/discovery.md, section 4): the request's and the answer's
 * bodies, which are parameter lists (http3/capsule.h), and the datagram that is sent to a
 * candidate, which is a STUN indication. */
#ifndef ATL_DISCOVERY_DIALBACK_MESSAGE_H
#define ATL_DISCOVERY_DIALBACK_MESSAGE_H

#include "address/addr.h"
#include "base/reader.h"
#include "base/writer.h"

#define ATL_DIALBACK_PATH "/.well-known/atlas/dialback"
#define ATL_DIALBACK_NONCE 16
#define ATL_DIALBACK_CANDIDATES 8
#define ATL_DIALBACK_BODY_MAX 5120
#define ATL_DIALBACK_DATAGRAM 52 /* bytes */
#define ATL_DIALBACK_REPEATS 3   /* times a datagram is sent */
/* What the request pays for each datagram: 52 bytes, and those of the largest headers. */
#define ATL_DIALBACK_COST 100
/* The request's bytes for each candidate: from two sources, repeated. */
#define ATL_DIALBACK_PRICE (2u * ATL_DIALBACK_REPEATS * ATL_DIALBACK_COST)

typedef struct atl_dialback_request {
    uint8_t nonce[ATL_DIALBACK_NONCE];
    size_t n_candidates;                          /* 0: only the address observed is wanted */
    atl_addr candidates[ATL_DIALBACK_CANDIDATES]; /* address and port */
} atl_dialback_request;

/* What the server has done for a candidate. */
#define ATL_DIALBACK_NOT_YOURS 0 /* not the asker's observed IP address: nothing was sent */
#define ATL_DIALBACK_PORT 1      /* sent from another port of the address that was asked */
#define ATL_DIALBACK_ADDRESS 2   /* sent from another address and port, and from another port */
#define ATL_DIALBACK_FAILED 3    /* no socket of that family, or it could not be sent */

typedef struct atl_dialback_reply {
    atl_addr observed; /* the asker as the server sees it */
    size_t n_results;
    uint8_t results[ATL_DIALBACK_CANDIDATES]; /* ATL_DIALBACK_*, in the order asked */
} atl_dialback_reply;

/* The source of a datagram, as it says itself (and as the one who receives it sees for himself). */
#define ATL_DIALBACK_FROM_PORT 1
#define ATL_DIALBACK_FROM_ADDRESS 2

/* Padded to ATL_DIALBACK_PRICE for each candidate. */
int32_t atl_dialback_request_encode(const atl_dialback_request *msg, uint8_t *buf, size_t cap,
                                    size_t *len);
int32_t atl_dialback_request_decode(const uint8_t *data, size_t len, atl_dialback_request *out);
int32_t atl_dialback_reply_encode(const atl_dialback_reply *msg, uint8_t *buf, size_t cap,
                                  size_t *len);
int32_t atl_dialback_reply_decode(const uint8_t *data, size_t len, atl_dialback_reply *out);

/* The datagram: `index` of the candidate in the request, `from` ATL_DIALBACK_FROM_*. */
int32_t atl_dialback_datagram_encode(const uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t index,
                                     uint8_t from, uint8_t *buf, size_t cap, size_t *len);
/* ATLAS_OK when it is one, else ATLAS_ERR_MALFORMED. */
int32_t atl_dialback_datagram_decode(const uint8_t *data, size_t len,
                                     uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t *index,
                                     uint8_t *from);

#endif
