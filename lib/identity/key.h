/* Private keys inside the library (atlas_key): locked memory, read-only once made, libp2p protobuf
 * form.
 *
 * Keys do not pass through the allocator hooks of a context: their memory is locked, guarded and
 * wiped, which a caller's allocator cannot promise. */
#ifndef ATL_IDENTITY_KEY_H
#define ATL_IDENTITY_KEY_H

#include "identity/peerid.h"

#include <atlas/identity.h>

#define ATL_SIGNATURE_LEN 64

/* A copy in its own locked memory. ATLAS_ERR_NOMEM. */
int32_t atl_key_copy(const atlas_key *key, atlas_key **out);
void atl_key_id(const atlas_key *key, atl_peer_id *out);
void atl_key_sign(const atlas_key *key, const uint8_t *data, size_t len,
                  uint8_t out[ATL_SIGNATURE_LEN]);
/* ATLAS_OK or ATLAS_ERR_SIGNATURE. */
int32_t atl_peer_verify(const atl_peer_id *id, const uint8_t *data, size_t len,
                        const uint8_t signature[ATL_SIGNATURE_LEN]);

/* The libp2p protobuf public key: 08 01 12 20 and 32 bytes. */
#define ATL_PUBLIC_KEY_PROTO 36
void atl_public_key_encode(const atl_peer_id *id, uint8_t out[ATL_PUBLIC_KEY_PROTO]);
/* ATLAS_OK; ATLAS_ERR_UNSUPPORTED for a well-formed key of another type; ATLAS_ERR_KEY. */
int32_t atl_public_key_decode(const uint8_t *data, size_t len, atl_peer_id *out);

/* The libp2p protobuf private key, as a key file holds it: 08 01 12 40, seed, public key. The
 * caller wipes `out`. */
#define ATL_PRIVATE_KEY_PROTO 68
void atl_key_encode(const atlas_key *key, uint8_t out[ATL_PRIVATE_KEY_PROTO]);
/* ATLAS_OK; ATLAS_ERR_TRUNCATED when it ends too early; ATLAS_ERR_KEY for anything else than such a
 * key, bytes after it and halves that do not belong together among it; ATLAS_ERR_NOMEM,
 * ATLAS_ERR_RANDOM. */
int32_t atl_key_decode(const uint8_t *data, size_t len, atlas_key **out);

#endif
