/* Signed envelopes (libp2p RFC 0002): a payload, its type, the signer's public key, and a signature
 * that holds in one domain only, so that what was signed for one purpose cannot be shown for
 * another. */
#ifndef ATL_IDENTITY_ENVELOPE_H
#define ATL_IDENTITY_ENVELOPE_H

#include "identity/key.h"

/* Longest envelope made or opened, in bytes; longest domain. */
#define ATL_ENVELOPE_MAX 8192
#define ATL_ENVELOPE_DOMAIN_MAX 64

/* What the signature covers. The pointers are into the bytes that were opened. */
typedef struct atl_envelope {
    atl_peer_id signer;
    const uint8_t *type;
    size_t type_len;
    const uint8_t *payload;
    size_t payload_len;
    const uint8_t *signature; /* ATL_SIGNATURE_LEN bytes */
} atl_envelope;

/* Signs and writes an envelope. Domain and type must not be empty. ATLAS_ERR_INVALID,
 * ATLAS_ERR_TOO_LARGE, ATLAS_ERR_BUFFER. */
int32_t atl_envelope_make(const atlas_key *key, const char *domain, const uint8_t *type,
                          size_t type_len, const uint8_t *payload, size_t payload_len, uint8_t *buf,
                          size_t cap, size_t *len);

/* Opens an envelope and checks its signature in this domain. Unknown fields are skipped. The caller
 * checks type and signer. ATLAS_ERR_TOO_LARGE, ATLAS_ERR_TRUNCATED, ATLAS_ERR_MALFORMED,
 * ATLAS_ERR_DUPLICATE for a field that occurs twice, ATLAS_ERR_KEY, ATLAS_ERR_UNSUPPORTED for a key
 * that is not Ed25519, ATLAS_ERR_SIGNATURE. */
int32_t atl_envelope_open(const uint8_t *data, size_t len, const char *domain, atl_envelope *out);

/* The same in two steps, for what can be refused by its content before the signature costs
 * anything: what is parsed is not to be believed before it is verified. */
int32_t atl_envelope_parse(const uint8_t *data, size_t len, atl_envelope *out);
int32_t atl_envelope_verify(const atl_envelope *envelope, const char *domain);

#endif
