#include "quic/keys.h"

#include <sodium.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>

#define LABEL_MAX 32

/* RFC 9001 section 5.2. */
static const uint8_t k_initial_salt[20] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34,
                                           0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                                           0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};

int32_t atl_expand_label(const uint8_t secret[ATL_SECRET_LEN], const char *label, uint8_t *out,
                         size_t len) {
    static const char prefix[] = "tls13 ";
    size_t label_len = strlen(label);
    uint8_t info[4 + sizeof(prefix) + LABEL_MAX];
    size_t n = 0;

    if (label_len > LABEL_MAX || len > 64) {
        return ATLAS_ERR_INTERNAL;
    }
    info[n++] = 0;
    info[n++] = (uint8_t)len;
    info[n++] = (uint8_t)(sizeof(prefix) - 1 + label_len);
    memcpy(info + n, prefix, sizeof(prefix) - 1);
    n += sizeof(prefix) - 1;
    memcpy(info + n, label, label_len);
    n += label_len;
    info[n++] = 0;
    if (wc_HKDF_Expand(WC_SHA256, secret, ATL_SECRET_LEN, info, (word32)n, out, (word32)len) != 0) {
        return ATLAS_ERR_INTERNAL;
    }
    return ATLAS_OK;
}

int32_t atl_initial_secrets(const ngtcp2_cid *dcid, uint8_t client[ATL_SECRET_LEN],
                            uint8_t server[ATL_SECRET_LEN]) {
    uint8_t initial[ATL_SECRET_LEN];

    if (wc_HKDF_Extract(WC_SHA256, k_initial_salt, sizeof(k_initial_salt), dcid->data,
                        (word32)dcid->datalen, initial) != 0 ||
        atl_expand_label(initial, "client in", client, ATL_SECRET_LEN) != ATLAS_OK ||
        atl_expand_label(initial, "server in", server, ATL_SECRET_LEN) != ATLAS_OK) {
        return ATLAS_ERR_INTERNAL;
    }
    return ATLAS_OK;
}

int32_t atl_packet_keys_derive(atl_env *env, uint32_t cipher, const uint8_t secret[ATL_SECRET_LEN],
                               int with_hp, atl_packet_keys *out) {
    size_t key_len = atl_cipher_key_len(cipher);
    uint8_t key[ATL_AEAD_KEY_MAX];
    atl_packet_keys keys;
    int32_t rv;

    memset(&keys, 0, sizeof(keys));
    rv = atl_expand_label(secret, "quic key", key, key_len);
    if (rv != ATLAS_OK) {
        goto done;
    }
    rv = atl_expand_label(secret, "quic iv", keys.iv, sizeof(keys.iv));
    if (rv != ATLAS_OK) {
        goto done;
    }
    rv = atl_aead_new(env, cipher, key, &keys.aead);
    if (rv != ATLAS_OK || !with_hp) {
        goto done;
    }
    rv = atl_expand_label(secret, "quic hp", key, key_len);
    if (rv != ATLAS_OK) {
        goto done;
    }
    rv = atl_hp_new(env, cipher, key, &keys.hp);

done:
    sodium_memzero(key, sizeof(key));
    if (rv != ATLAS_OK) {
        atl_packet_keys_free(&keys);
        return rv;
    }
    *out = keys;
    return ATLAS_OK;
}

void atl_packet_keys_free(atl_packet_keys *keys) {
    atl_aead_free(&keys->aead);
    atl_hp_free(&keys->hp);
    sodium_memzero(keys->iv, sizeof(keys->iv));
}

static int32_t install_retry_key(atl_env *env, ngtcp2_conn *conn) {
    static const char key[] = NGTCP2_RETRY_KEY_V1;
    ngtcp2_crypto_aead_ctx aead = {0};
    ngtcp2_crypto_ctx ctx;
    int32_t rv = atl_aead_new(env, ATL_CIPHER_AES_128_GCM, (const uint8_t *)key, &aead);

    if (rv == ATLAS_OK) {
        atl_cipher_describe(ATL_CIPHER_AES_128_GCM, &ctx);
        ngtcp2_conn_set_retry_aead(conn, &ctx.aead, &aead);
    }
    return rv;
}

int32_t atl_install_initial(atl_env *env, ngtcp2_conn *conn, const ngtcp2_cid *dcid) {
    uint8_t secrets[2][ATL_SECRET_LEN]; /* the client's, the server's */
    int server = ngtcp2_conn_is_server2(conn);
    atl_packet_keys rx, tx;
    ngtcp2_crypto_ctx ctx;
    int32_t rv;

    memset(&rx, 0, sizeof(rx));
    memset(&tx, 0, sizeof(tx));
    atl_cipher_describe(ATL_CIPHER_AES_128_GCM, &ctx);
    ngtcp2_conn_set_initial_crypto_ctx(conn, &ctx);
    rv = atl_initial_secrets(dcid, secrets[0], secrets[1]);
    if (rv != ATLAS_OK) {
        goto done;
    }
    rv = atl_packet_keys_derive(env, ATL_CIPHER_AES_128_GCM, secrets[server ? 0 : 1], 1, &rx);
    if (rv != ATLAS_OK) {
        goto done;
    }
    rv = atl_packet_keys_derive(env, ATL_CIPHER_AES_128_GCM, secrets[server ? 1 : 0], 1, &tx);
    if (rv != ATLAS_OK) {
        goto done;
    }
    if (ngtcp2_conn_install_initial_key(conn, &rx.aead, rx.iv, &rx.hp, &tx.aead, tx.iv, &tx.hp,
                                        ATL_AEAD_NONCE) != 0) {
        rv = ATLAS_ERR_NOMEM;
        goto done;
    }
    memset(&rx, 0, sizeof(rx)); /* ngtcp2 owns them now */
    memset(&tx, 0, sizeof(tx));
    if (!server && !ngtcp2_conn_after_retry2(conn)) {
        rv = install_retry_key(env, conn);
    }

done:
    atl_packet_keys_free(&rx);
    atl_packet_keys_free(&tx);
    return rv;
}

int32_t atl_install_secret(atl_env *env, ngtcp2_conn *conn, ngtcp2_encryption_level level, int rx,
                           uint32_t cipher, const uint8_t secret[ATL_SECRET_LEN]) {
    atl_packet_keys keys;
    ngtcp2_crypto_ctx ctx;
    int32_t rv;
    int err;

    if (atl_cipher_of(ngtcp2_conn_get_crypto_ctx2(conn)) == 0) {
        atl_cipher_describe(cipher, &ctx);
        ngtcp2_conn_set_crypto_ctx(conn, &ctx);
    }
    rv = atl_packet_keys_derive(env, cipher, secret, 1, &keys);
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE) {
        err = rx ? ngtcp2_conn_install_rx_handshake_key(conn, &keys.aead, keys.iv, ATL_AEAD_NONCE,
                                                        &keys.hp)
                 : ngtcp2_conn_install_tx_handshake_key(conn, &keys.aead, keys.iv, ATL_AEAD_NONCE,
                                                        &keys.hp);
    } else {
        err = rx ? ngtcp2_conn_install_rx_key(conn, secret, ATL_SECRET_LEN, &keys.aead, keys.iv,
                                              ATL_AEAD_NONCE, &keys.hp)
                 : ngtcp2_conn_install_tx_key(conn, secret, ATL_SECRET_LEN, &keys.aead, keys.iv,
                                              ATL_AEAD_NONCE, &keys.hp);
    }
    if (err != 0) {
        atl_packet_keys_free(&keys);
        return err == NGTCP2_ERR_NOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_INTERNAL;
    }
    return ATLAS_OK;
}

int32_t atl_update_secret(atl_env *env, uint32_t cipher, const uint8_t current[ATL_SECRET_LEN],
                          uint8_t next[ATL_SECRET_LEN], ngtcp2_crypto_aead_ctx *aead,
                          uint8_t iv[ATL_AEAD_NONCE]) {
    uint8_t secret[ATL_SECRET_LEN];
    atl_packet_keys keys;
    int32_t rv = atl_expand_label(current, "quic ku", secret, sizeof(secret));

    if (rv == ATLAS_OK) {
        rv = atl_packet_keys_derive(env, cipher, secret, 0, &keys);
    }
    if (rv == ATLAS_OK) {
        memcpy(next, secret, sizeof(secret));
        memcpy(iv, keys.iv, sizeof(keys.iv));
        *aead = keys.aead;
    }
    sodium_memzero(secret, sizeof(secret));
    return rv;
}
