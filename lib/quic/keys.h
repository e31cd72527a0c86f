/* QUIC version 1's key schedule (RFC 9001 section 5): every secret here is SHA-256's 32 bytes,
 * because both our cipher suites use that hash. Derives keys and hands them to ngtcp2. */
#ifndef ATL_QUIC_KEYS_H
#define ATL_QUIC_KEYS_H

#include "quic/crypto.h"

#define ATL_SECRET_LEN 32

/* HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context; len at most 64.
 * ATLAS_ERR_INTERNAL. */
int32_t atl_expand_label(const uint8_t secret[ATL_SECRET_LEN], const char *label, uint8_t *out,
                         size_t len);
/* The two initial secrets that a client's destination id gives. */
int32_t atl_initial_secrets(const ngtcp2_cid *dcid, uint8_t client[ATL_SECRET_LEN],
                            uint8_t server[ATL_SECRET_LEN]);

/* The keys of one direction. */
typedef struct atl_packet_keys {
    ngtcp2_crypto_aead_ctx aead;
    ngtcp2_crypto_cipher_ctx
        hp; /* empty after a key update, which leaves header protection alone */
    uint8_t iv[ATL_AEAD_NONCE];
} atl_packet_keys;

/* with_hp 0: no header protection key. On failure nothing is left to free. */
int32_t atl_packet_keys_derive(atl_env *env, uint32_t cipher, const uint8_t secret[ATL_SECRET_LEN],
                               int with_hp, atl_packet_keys *out);
void atl_packet_keys_free(atl_packet_keys *keys);

/* Makes and installs the keys of Initial packets (and, for a client, the key that checks a Retry).
 */
int32_t atl_install_initial(atl_env *env, ngtcp2_conn *conn, const ngtcp2_cid *dcid);
/* Installs the keys that one secret of TLS gives: `level` is _HANDSHAKE or _1RTT. */
int32_t atl_install_secret(atl_env *env, ngtcp2_conn *conn, ngtcp2_encryption_level level, int rx,
                           uint32_t cipher, const uint8_t secret[ATL_SECRET_LEN]);
/* The next generation of one direction (RFC 9001 section 6.1). */
int32_t atl_update_secret(atl_env *env, uint32_t cipher, const uint8_t current[ATL_SECRET_LEN],
                          uint8_t next[ATL_SECRET_LEN], ngtcp2_crypto_aead_ctx *aead,
                          uint8_t iv[ATL_AEAD_NONCE]);

#endif
