#include "quic/certificate.h"
#include "quic/certificate_der.h"

#include <sodium.h>
#include <string.h>

#define DAY 86400
#define YEAR_4096 \
    INT64_C(67090118400) /* 4096-01-01T00:00:00Z, as in the specification's own certificates */
#define TBS_MAX 416

/* AlgorithmIdentifier of Ed25519 (RFC 8410): its OID without parameters. */
static const uint8_t k_ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};
static const uint8_t k_version_3[] = {0xa0, 0x03, 0x02, 0x01, 0x02};
/* 1.3.6.1.4.1.53594.1.1 */
static const uint8_t k_extension_oid[] = {0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04,
                                          0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01};
static const uint8_t k_true[] = {0x01, 0x01, 0xff};

void atl_certificate_spki(const uint8_t seed[32], uint8_t out[ATL_CERTIFICATE_SPKI]) {
    static const uint8_t head[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                   0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];

    crypto_sign_seed_keypair(public_key, secret_key, seed);
    sodium_memzero(secret_key, sizeof(secret_key));
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), public_key, sizeof(public_key));
}

void atl_certificate_pkcs8(const uint8_t seed[32], uint8_t out[ATL_CERTIFICATE_PKCS8]) {
    static const uint8_t head[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                   0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};

    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), seed, 32);
}

void atl_certificate_extension(atl_writer *out, const atlas_key *key, int critical,
                               const uint8_t *spki, size_t spki_len) {
    static const char prefix[] = "libp2p-tls-handshake:";
    uint8_t signed_data[sizeof(prefix) - 1 + 256];
    uint8_t signature[ATL_SIGNATURE_LEN];
    uint8_t proto[ATL_PUBLIC_KEY_PROTO];
    uint8_t fields[128], signed_key[136], extension[160];
    atl_writer w;
    atl_peer_id id;

    if (spki_len > 256) {
        out->error = ATLAS_ERR_BUFFER;
        return;
    }
    memcpy(signed_data, prefix, sizeof(prefix) - 1);
    memcpy(signed_data + sizeof(prefix) - 1, spki, spki_len);
    atl_key_sign(key, signed_data, sizeof(prefix) - 1 + spki_len, signature);
    atl_key_id(key, &id);
    atl_public_key_encode(&id, proto);

    atl_writer_init(&w, fields, sizeof(fields));
    atl_der_write(&w, ATL_DER_OCTET_STRING, proto, sizeof(proto));
    atl_der_write(&w, ATL_DER_OCTET_STRING, signature, sizeof(signature));
    size_t fields_len = w.len;
    atl_writer_init(&w, signed_key, sizeof(signed_key));
    atl_der_write(&w, ATL_DER_SEQUENCE, fields, fields_len);
    size_t signed_key_len = w.len;
    atl_writer_init(&w, extension, sizeof(extension));
    atl_write_bytes(&w, k_extension_oid, sizeof(k_extension_oid));
    if (critical) {
        atl_write_bytes(&w, k_true, sizeof(k_true));
    }
    atl_der_write(&w, ATL_DER_OCTET_STRING, signed_key, signed_key_len);
    atl_der_write(out, ATL_DER_SEQUENCE, extension, w.len);
}

static void write_validity(atl_writer *out, const atl_certificate_spec *spec) {
    uint8_t times[40];
    atl_writer w;

    atl_writer_init(&w, times, sizeof(times));
    atl_der_write_time(&w, spec->not_before);
    atl_der_write_time(&w, spec->not_after);
    atl_der_write(out, ATL_DER_SEQUENCE, times, w.len);
}

static int32_t build_tbs(const atl_certificate_spec *spec, const uint8_t *extensions,
                         size_t extensions_len, uint8_t out[TBS_MAX], size_t *len) {
    uint8_t body[TBS_MAX], list[TBS_MAX];
    uint8_t spki[ATL_CERTIFICATE_SPKI];
    uint8_t serial[16];
    atl_writer w, nested;

    memcpy(serial, spec->serial, sizeof(serial));
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive and minimal */
    atl_certificate_spki(spec->seed, spki);
    atl_writer_init(&w, body, sizeof(body));
    atl_write_bytes(&w, k_version_3, sizeof(k_version_3));
    atl_der_write(&w, ATL_DER_INTEGER, serial, sizeof(serial));
    atl_write_bytes(&w, k_ed25519, sizeof(k_ed25519));
    atl_der_write(&w, ATL_DER_SEQUENCE, NULL, 0); /* issuer */
    write_validity(&w, spec);
    atl_der_write(&w, ATL_DER_SEQUENCE, NULL, 0); /* subject */
    atl_write_bytes(&w, spki, sizeof(spki));
    atl_writer_init(&nested, list, sizeof(list));
    atl_der_write(&nested, ATL_DER_SEQUENCE, extensions, extensions_len);
    if (nested.error != ATLAS_OK) {
        return nested.error;
    }
    atl_der_write(&w, ATL_DER_CONTEXT_CONSTRUCTED(3), list, nested.len);
    if (w.error != ATLAS_OK) {
        return w.error;
    }
    atl_writer_init(&nested, out, TBS_MAX);
    atl_der_write(&nested, ATL_DER_SEQUENCE, body, w.len);
    *len = nested.len;
    return nested.error;
}

int32_t atl_certificate_build(const atl_certificate_spec *spec, const uint8_t *extensions,
                              size_t extensions_len, uint8_t *out, size_t cap, size_t *len) {
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t signature[crypto_sign_BYTES];
    uint8_t tbs[TBS_MAX], body[TBS_MAX + 96];
    size_t tbs_len = 0;
    atl_writer w, whole;
    int32_t rv = build_tbs(spec, extensions, extensions_len, tbs, &tbs_len);

    if (rv != ATLAS_OK) {
        return rv;
    }
    crypto_sign_seed_keypair(public_key, secret_key, spec->seed);
    crypto_sign_detached(signature, NULL, tbs, tbs_len, secret_key);
    sodium_memzero(secret_key, sizeof(secret_key));
    atl_writer_init(&w, body, sizeof(body));
    atl_write_bytes(&w, tbs, tbs_len);
    atl_write_bytes(&w, k_ed25519, sizeof(k_ed25519));
    atl_der_write_bits(&w, signature, sizeof(signature));
    if (w.error != ATLAS_OK) {
        return w.error;
    }
    atl_writer_init(&whole, out, cap);
    atl_der_write(&whole, ATL_DER_SEQUENCE, body, w.len);
    if (whole.error != ATLAS_OK) {
        return whole.error;
    }
    *len = whole.len;
    return ATLAS_OK;
}

int32_t atl_certificate_make(const atlas_key *key, const uint8_t seed[32], const uint8_t serial[16],
                             int64_t now, uint8_t out[ATL_CERTIFICATE_MAX], size_t *len) {
    uint8_t spki[ATL_CERTIFICATE_SPKI];
    uint8_t extension[192];
    atl_certificate_spec spec;
    atl_writer w;
    int32_t rv;

    memcpy(spec.seed, seed, sizeof(spec.seed));
    memcpy(spec.serial, serial, sizeof(spec.serial));
    spec.not_before = now > DAY ? now - DAY : 0;
    spec.not_after = YEAR_4096;
    atl_certificate_spki(seed, spki);
    atl_writer_init(&w, extension, sizeof(extension));
    atl_certificate_extension(&w, key, 0, spki, sizeof(spki));
    rv = w.error;
    if (rv == ATLAS_OK) {
        rv = atl_certificate_build(&spec, extension, w.len, out, ATL_CERTIFICATE_MAX, len);
    }
    sodium_memzero(&spec, sizeof(spec));
    return rv;
}
