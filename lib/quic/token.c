#include "base/reader.h"
#include "base/writer.h"
#include "quic/crypto.h"
#include "quic/tls.h"

#include <sodium.h>
#include <string.h>

/* Retry token: version, random nonce, and sealed by XChaCha20-Poly1305: time, original destination
 * id. What the token is bound to (address, the id that the Retry gave) is authenticated with it and
 * not carried. */
#define TOKEN_VERSION 0xa1
#define TOKEN_NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TOKEN_TAG crypto_aead_xchacha20poly1305_ietf_ABYTES
#define TOKEN_PLAIN_MAX (8 + 1 + NGTCP2_MAX_CIDLEN)
#define TOKEN_ADDR_MAX 64
#define TOKEN_AAD_MAX (1 + TOKEN_ADDR_MAX + 1 + NGTCP2_MAX_CIDLEN)
#define RETRY_TOKEN_MAX 256u
#define RETRY_HEAD_MAX (7 + 2 * NGTCP2_MAX_CIDLEN)

static void derive(const uint8_t secret[32], const char *use, uint8_t out[32]) {
    crypto_generichash(out, 32, (const uint8_t *)use, strlen(use), secret, 32);
}

static int32_t bound_to(const void *addr, size_t addr_len, const ngtcp2_cid *cid, atl_writer *out) {
    if (addr_len > TOKEN_ADDR_MAX || cid->datalen > NGTCP2_MAX_CIDLEN) {
        return ATLAS_ERR_INVALID;
    }
    atl_write_u8(out, (uint8_t)addr_len);
    atl_write_bytes(out, addr, addr_len);
    atl_write_u8(out, (uint8_t)cid->datalen);
    atl_write_bytes(out, cid->data, cid->datalen);
    return out->error;
}

int32_t atl_retry_token_make(atl_env *env, const uint8_t secret[32], const void *addr,
                             size_t addr_len, const ngtcp2_cid *retry_scid, const ngtcp2_cid *odcid,
                             uint64_t now, uint8_t *out, size_t cap, size_t *len) {
    uint8_t aad[TOKEN_AAD_MAX], plain[TOKEN_PLAIN_MAX], key[32];
    unsigned long long sealed_len = 0;
    atl_writer a, p;
    int32_t rv;

    atl_writer_init(&a, aad, sizeof(aad));
    atl_writer_init(&p, plain, sizeof(plain));
    rv = bound_to(addr, addr_len, retry_scid, &a);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_write_u64(&p, now);
    atl_write_u8(&p, (uint8_t)odcid->datalen);
    atl_write_bytes(&p, odcid->data, odcid->datalen);
    if (p.error != ATLAS_OK) {
        return ATLAS_ERR_INVALID;
    }
    if (cap < 1 + TOKEN_NONCE + p.len + TOKEN_TAG) {
        return ATLAS_ERR_BUFFER;
    }
    rv = atl_random(env, out + 1, TOKEN_NONCE);
    if (rv != ATLAS_OK) {
        return rv;
    }
    out[0] = TOKEN_VERSION;
    derive(secret, "atlas retry token", key);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + 1 + TOKEN_NONCE, &sealed_len, plain, p.len,
                                               aad, a.len, NULL, out + 1, key);
    sodium_memzero(key, sizeof(key));
    *len = 1 + TOKEN_NONCE + (size_t)sealed_len;
    return ATLAS_OK;
}

/* Reads what was sealed. */
static int32_t token_fields(const uint8_t *plain, size_t len, uint64_t *when, ngtcp2_cid *odcid) {
    atl_reader r;
    uint8_t id_len = 0;
    const uint8_t *id;

    atl_reader_init(&r, plain, len);
    if (atl_read_u64(&r, when) != ATLAS_OK || atl_read_u8(&r, &id_len) != ATLAS_OK ||
        id_len > NGTCP2_MAX_CIDLEN || r.left != id_len ||
        atl_read_view(&r, id_len, &id) != ATLAS_OK) {
        return ATLAS_ERR_SIGNATURE;
    }
    ngtcp2_cid_init(odcid, id, id_len);
    return ATLAS_OK;
}

int32_t atl_retry_token_check(const uint8_t secret[32], const uint8_t *token, size_t len,
                              const void *addr, size_t addr_len, const ngtcp2_cid *dcid,
                              uint64_t lifetime, uint64_t now, ngtcp2_cid *odcid) {
    uint8_t aad[TOKEN_AAD_MAX], plain[TOKEN_PLAIN_MAX], key[32];
    unsigned long long plain_len = 0;
    uint64_t when = 0;
    ngtcp2_cid id;
    atl_writer a;
    int32_t rv;
    int opened;

    if (len < 1 + TOKEN_NONCE + TOKEN_TAG || len > 1 + TOKEN_NONCE + TOKEN_PLAIN_MAX + TOKEN_TAG ||
        token[0] != TOKEN_VERSION) {
        return ATLAS_ERR_SIGNATURE;
    }
    atl_writer_init(&a, aad, sizeof(aad));
    rv = bound_to(addr, addr_len, dcid, &a);
    if (rv != ATLAS_OK) {
        return rv;
    }
    derive(secret, "atlas retry token", key);
    opened = crypto_aead_xchacha20poly1305_ietf_decrypt(
        plain, &plain_len, NULL, token + 1 + TOKEN_NONCE, len - 1 - TOKEN_NONCE, aad, a.len,
        token + 1, key);
    sodium_memzero(key, sizeof(key));
    if (opened != 0) {
        return ATLAS_ERR_SIGNATURE;
    }
    rv = token_fields(plain, (size_t)plain_len, &when, &id);
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (when > now || now - when > lifetime) {
        return ATLAS_ERR_TIMEOUT;
    }
    *odcid = id;
    return ATLAS_OK;
}

/* RFC 9000 section 17.2.5 and RFC 9001 section 5.8: the tag covers the packet behind the original
 * destination id. */
int64_t atl_retry_packet(uint8_t *out, size_t cap, uint32_t version, const ngtcp2_cid *dcid,
                         const ngtcp2_cid *scid, const ngtcp2_cid *odcid, const uint8_t *token,
                         size_t token_len) {
    uint8_t pseudo[1 + NGTCP2_MAX_CIDLEN + RETRY_HEAD_MAX + RETRY_TOKEN_MAX];
    uint8_t tag[ATL_AEAD_TAG];
    size_t head = 1 + odcid->datalen;
    atl_writer w;
    int32_t rv;

    if (version != NGTCP2_PROTO_VER_V1 || token_len == 0 || token_len > RETRY_TOKEN_MAX) {
        return ATLAS_ERR_INVALID;
    }
    atl_writer_init(&w, pseudo, sizeof(pseudo));
    atl_write_u8(&w, (uint8_t)odcid->datalen);
    atl_write_bytes(&w, odcid->data, odcid->datalen);
    atl_write_u8(&w, 0xff);
    atl_write_u32(&w, version);
    atl_write_u8(&w, (uint8_t)dcid->datalen);
    atl_write_bytes(&w, dcid->data, dcid->datalen);
    atl_write_u8(&w, (uint8_t)scid->datalen);
    atl_write_bytes(&w, scid->data, scid->datalen);
    atl_write_bytes(&w, token, token_len);
    if (w.error != ATLAS_OK) {
        return ATLAS_ERR_INVALID;
    }
    if (cap < w.len - head + sizeof(tag)) {
        return ATLAS_ERR_BUFFER;
    }
    rv = atl_retry_tag(pseudo, w.len, tag);
    if (rv != ATLAS_OK) {
        return rv;
    }
    memcpy(out, pseudo + head, w.len - head);
    memcpy(out + w.len - head, tag, sizeof(tag));
    return (int64_t)(w.len - head + sizeof(tag));
}

void atl_reset_token(const uint8_t secret[32], const ngtcp2_cid *cid, uint8_t out[16]) {
    uint8_t data[17 + NGTCP2_MAX_CIDLEN];

    memcpy(data, "atlas reset token", 17);
    memcpy(data + 17, cid->data, cid->datalen);
    crypto_generichash(out, 16, data, 17 + cid->datalen, secret, 32);
}
