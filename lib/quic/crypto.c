#include "quic/crypto.h"

#include <sodium.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

/* RFC 9001 section 6.6 and appendix B. */
#define AES_GCM_MAX_ENCRYPTION (UINT64_C(1) << 23)
#define AES_GCM_MAX_FAILURE (UINT64_C(1) << 52)
#define CHACHA_MAX_ENCRYPTION (UINT64_C(1) << 62)
#define CHACHA_MAX_FAILURE (UINT64_C(1) << 36)

#define KEY_ALIGN 16u

/* An expanded key of either use. The block begins where the allocator says; the key itself where
 * AES-NI wants it. */
typedef struct packet_key {
    union {
        Aes aes;
        ChaCha chacha;
        uint8_t raw[ATL_AEAD_KEY_MAX];
    } u;
    atl_env *env;
    void *block;
    uint32_t cipher;
} packet_key;

/* What the native handles of ngtcp2_crypto_ctx point to: only their addresses and numbers matter.
 */
static const uint32_t k_ciphers[] = {0, ATL_CIPHER_AES_128_GCM, ATL_CIPHER_CHACHA20_POLY1305};

size_t atl_cipher_key_len(uint32_t cipher) {
    return cipher == ATL_CIPHER_AES_128_GCM ? 16 : 32;
}

void atl_cipher_describe(uint32_t cipher, ngtcp2_crypto_ctx *out) {
    void *handle = (void *)(uintptr_t)&k_ciphers[cipher];

    memset(out, 0, sizeof(*out));
    out->aead.native_handle = handle;
    out->aead.max_overhead = ATL_AEAD_TAG;
    out->md.native_handle = handle;
    out->hp.native_handle = handle;
    if (cipher == ATL_CIPHER_AES_128_GCM) {
        out->max_encryption = AES_GCM_MAX_ENCRYPTION;
        out->max_decryption_failure = AES_GCM_MAX_FAILURE;
    } else {
        out->max_encryption = CHACHA_MAX_ENCRYPTION;
        out->max_decryption_failure = CHACHA_MAX_FAILURE;
    }
}

uint32_t atl_cipher_of(const ngtcp2_crypto_ctx *ctx) {
    return ctx->aead.native_handle ? *(const uint32_t *)ctx->aead.native_handle : 0;
}

int atl_cipher_aes_fast(void) {
    return crypto_aead_aes256gcm_is_available() != 0;
}

static packet_key *key_alloc(atl_env *env, uint32_t cipher) {
    uint8_t *block = atl_calloc(env, 1, sizeof(packet_key) + KEY_ALIGN);
    packet_key *key;

    if (!block) {
        return NULL;
    }
    key = (packet_key *)(void *)(block + (KEY_ALIGN - (uintptr_t)block % KEY_ALIGN) % KEY_ALIGN);
    key->env = env;
    key->block = block;
    key->cipher = cipher;
    return key;
}

static void key_free(packet_key *key) {
    atl_env *env;
    void *block;

    if (!key) {
        return;
    }
    env = key->env;
    block = key->block;
    if (key->cipher == ATL_CIPHER_AES_128_GCM) {
        wc_AesFree(&key->u.aes);
    }
    sodium_memzero(key, sizeof(*key));
    atl_free(env, block);
}

int32_t atl_aead_new(atl_env *env, uint32_t cipher, const uint8_t *key,
                     ngtcp2_crypto_aead_ctx *out) {
    packet_key *made = key_alloc(env, cipher);

    if (!made) {
        return ATLAS_ERR_NOMEM;
    }
    if (cipher == ATL_CIPHER_AES_128_GCM) {
        if (wc_AesInit(&made->u.aes, NULL, INVALID_DEVID) != 0 ||
            wc_AesGcmSetKey(&made->u.aes, key, 16) != 0) {
            key_free(made);
            return ATLAS_ERR_INTERNAL;
        }
    } else {
        memcpy(made->u.raw, key, 32);
    }
    out->native_handle = made;
    return ATLAS_OK;
}

void atl_aead_free(ngtcp2_crypto_aead_ctx *ctx) {
    key_free(ctx->native_handle);
    ctx->native_handle = NULL;
}

int32_t atl_hp_new(atl_env *env, uint32_t cipher, const uint8_t *key,
                   ngtcp2_crypto_cipher_ctx *out) {
    packet_key *made = key_alloc(env, cipher);
    int rv;

    if (!made) {
        return ATLAS_ERR_NOMEM;
    }
    if (cipher == ATL_CIPHER_AES_128_GCM) {
        rv = wc_AesInit(&made->u.aes, NULL, INVALID_DEVID);
        if (rv == 0) {
            rv = wc_AesSetKey(&made->u.aes, key, 16, NULL, AES_ENCRYPTION);
        }
    } else {
        rv = wc_Chacha_SetKey(&made->u.chacha, key, 32);
    }
    if (rv != 0) {
        key_free(made);
        return ATLAS_ERR_INTERNAL;
    }
    out->native_handle = made;
    return ATLAS_OK;
}

void atl_hp_free(ngtcp2_crypto_cipher_ctx *ctx) {
    key_free(ctx->native_handle);
    ctx->native_handle = NULL;
}

int atl_aead_encrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                     const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *plaintext, size_t len,
                     const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len) {
    packet_key *key = ctx->native_handle;
    int rv;

    (void)aead;
    if (key->cipher == ATL_CIPHER_AES_128_GCM) {
        rv = wc_AesGcmEncrypt(&key->u.aes, dest, plaintext, (word32)len, nonce, (word32)nonce_len,
                              dest + len, ATL_AEAD_TAG, aad, (word32)aad_len);
    } else {
        rv = wc_ChaCha20Poly1305_Encrypt(key->u.raw, nonce, aad, (word32)aad_len, plaintext,
                                         (word32)len, dest, dest + len);
    }
    return rv == 0 ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

int atl_aead_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                     const ngtcp2_crypto_aead_ctx *ctx, const uint8_t *ciphertext, size_t len,
                     const uint8_t *nonce, size_t nonce_len, const uint8_t *aad, size_t aad_len) {
    packet_key *key = ctx->native_handle;
    const uint8_t *tag;
    int rv;

    (void)aead;
    if (len < ATL_AEAD_TAG) {
        return NGTCP2_ERR_DECRYPT;
    }
    len -= ATL_AEAD_TAG;
    tag = ciphertext + len;
    if (key->cipher == ATL_CIPHER_AES_128_GCM) {
        rv = wc_AesGcmDecrypt(&key->u.aes, dest, ciphertext, (word32)len, nonce, (word32)nonce_len,
                              tag, ATL_AEAD_TAG, aad, (word32)aad_len);
    } else {
        rv = wc_ChaCha20Poly1305_Decrypt(key->u.raw, nonce, aad, (word32)aad_len, ciphertext,
                                         (word32)len, tag, dest);
    }
    return rv == 0 ? 0 : NGTCP2_ERR_DECRYPT;
}

static uint32_t load_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int atl_hp_mask(uint8_t *dest, const ngtcp2_crypto_cipher *hp, const ngtcp2_crypto_cipher_ctx *ctx,
                const uint8_t *sample) {
    static const uint8_t zeros[NGTCP2_HP_MASKLEN];
    packet_key *key = ctx->native_handle;
    int rv;

    (void)hp;
    if (key->cipher == ATL_CIPHER_AES_128_GCM) {
        rv = wc_AesEncryptDirect(&key->u.aes, dest, sample);
    } else {
        rv = wc_Chacha_SetIV(&key->u.chacha, sample + 4, load_le32(sample));
        if (rv == 0) {
            rv = wc_Chacha_Process(&key->u.chacha, dest, zeros, sizeof(zeros));
        }
    }
    return rv == 0 ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

int32_t atl_retry_tag(const uint8_t *pseudo, size_t len, uint8_t tag[ATL_AEAD_TAG]) {
    static const char key[] = NGTCP2_RETRY_KEY_V1;
    static const char nonce[] = NGTCP2_RETRY_NONCE_V1;
    Aes aes;
    int rv = wc_AesInit(&aes, NULL, INVALID_DEVID);

    if (rv == 0) {
        rv = wc_AesGcmSetKey(&aes, (const uint8_t *)key, 16);
    }
    if (rv == 0) {
        rv = wc_AesGcmEncrypt(&aes, NULL, NULL, 0, (const uint8_t *)nonce, ATL_AEAD_NONCE, tag,
                              ATL_AEAD_TAG, pseudo, (word32)len);
    }
    wc_AesFree(&aes);
    return rv == 0 ? ATLAS_OK : ATLAS_ERR_INTERNAL;
}

void atl_crypto_settle(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx")) {
        __asm__ volatile("vzeroupper" ::: "memory");
    }
#endif
}
