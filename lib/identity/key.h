/* Private keys inside the library (atlas_key): locked memory, libp2p protobuf form. */
#ifndef ATL_IDENTITY_KEY_H
#define ATL_IDENTITY_KEY_H

#include "identity/peerid.h"

#include <atlas/identity.h>

#define ATL_SIGNATURE_LEN 64

/* A copy in its own locked memory. */
int32_t atl_key_copy(const atlas_key *key, atlas_key **out);
void atl_key_id(const atlas_key *key, atl_peer_id *out);
void atl_key_sign(const atlas_key *key, const uint8_t *data, size_t len, uint8_t out[ATL_SIGNATURE_LEN]);
/* ATLAS_OK or ATLAS_ERR_SIGNATURE. */
int32_t atl_peer_verify(const atl_peer_id *id, const uint8_t *data, size_t len,
                        const uint8_t signature[ATL_SIGNATURE_LEN]);

/* The libp2p protobuf public key: 08 01 12 20 and 32 bytes. */
#define ATL_PUBLIC_KEY_PROTO 36
void atl_public_key_encode(const atl_peer_id *id, uint8_t out[ATL_PUBLIC_KEY_PROTO]);
/* ATLAS_OK; ATLAS_ERR_UNSUPPORTED for a well-formed key of another type; ATLAS_ERR_KEY. */
int32_t atl_public_key_decode(const uint8_t *data, size_t len, atl_peer_id *out);

#endif
