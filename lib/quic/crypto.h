/* Packet protection (RFC 9001 section 5): AES-128-GCM and ChaCha20-Poly1305 and their header
 * protection on one-shot calls of wolfCrypt. A key is expanded once, when it is installed; a packet
 * costs no allocation. */
#ifndef ATL_QUIC_CRYPTO_H
#define ATL_QUIC_CRYPTO_H

#include "base/env.h"

#include <ngtcp2/ngtcp2.h>

#define ATL_CIPHER_AES_128_GCM 1u
#define ATL_CIPHER_CHACHA20_POLY1305 2u

#define ATL_AEAD_KEY_MAX 32
#define ATL_AEAD_NONCE 12
#define ATL_AEAD_TAG 16

/* Bytes of an AEAD key, which are those of its header protection key. */
size_t atl_cipher_key_len(uint32_t cipher);
/* ngtcp2's description of a cipher suite; all its pointers are static. */
void atl_cipher_describe(uint32_t cipher, ngtcp2_crypto_ctx *out);
/* The cipher that atl_cipher_describe() put there; 0 for an empty context. */
uint32_t atl_cipher_of(const ngtcp2_crypto_ctx *ctx);
/* 1 where AES runs in hardware. */
int atl_cipher_aes_fast(void);

/* Expanded keys; ATLAS_ERR_NOMEM, ATLAS_ERR_INTERNAL. */
int32_t atl_aead_new(atl_env *env, uint32_t cipher, const uint8_t *key,
                     ngtcp2_crypto_aead_ctx *out);
void atl_aead_free(ngtcp2_crypto_aead_ctx *ctx); /* an empty one is allowed */
int32_t atl_hp_new(atl_env *env, uint32_t cipher, const uint8_t *key,
                   ngtcp2_crypto_cipher_ctx *out);
void atl_hp_free(ngtcp2_crypto_cipher_ctx *ctx); /* an empty one is allowed */

/* ngtcp2's callbacks. */
int atl_aead_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                     const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plaintext, size_t len,
                     const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len);
int atl_aead_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                     const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *ciphertext, size_t len,
                     const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len);
int atl_hp_mask(uint8_t *dest, const ngtcp2_crypto_cipher *hp, const ngtcp2_crypto_cipher_ctx *ctx,
                const uint8_t *sample);

/* The integrity tag of a Retry pseudo-packet (RFC 9001 section 5.8), for QUIC version 1. */
int32_t atl_retry_tag(const uint8_t *pseudo, size_t len, uint8_t tag[ATL_AEAD_TAG]);

/* wolfCrypt's AVX2 code for P-256 leaves the upper halves of the vector registers dirty, and
 * everything after it that uses SSE (SHA-256 most of all) crawls. Call this behind whatever may
 * have run it. */
void atl_crypto_settle(void);

#endif
