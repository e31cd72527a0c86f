#include "quic/certificate.h"

#include "identity/proto.h"
#include "quic/certificate_der.h"
#include "quic/crypto.h"

#include <sodium.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define MAX_EXTENSIONS 32
#define HANDSHAKE_PREFIX "libp2p-tls-handshake:"
#define SPKI_MAX 512
#define KEY_TYPE_ECDSA 3

/* Contents of OBJECT IDENTIFIERs. */
static const uint8_t k_oid_ed25519[] = {0x2b, 0x65, 0x70};
static const uint8_t k_oid_ecdsa_sha256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
static const uint8_t k_oid_ec_key[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t k_oid_p256[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t k_oid_libp2p[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01};
/* 2.5.29: key usage, subject alternative name, basic constraints, extended key usage. They may be
 * critical, and do not concern a certificate that is trusted for nothing but its signature of
 * itself. */
static const uint8_t k_oid_known[][3] = {
    {0x55, 0x1d, 0x0f}, {0x55, 0x1d, 0x11}, {0x55, 0x1d, 0x13}, {0x55, 0x1d, 0x25}};

typedef enum key_kind { KEY_OTHER = 0, KEY_ED25519, KEY_P256 } key_kind;

typedef struct public_key {
    key_kind kind;
    atl_reader bits;
} public_key;

typedef struct parsed {
    atl_reader tbs;       /* the signed bytes */
    atl_reader algorithm; /* contents of the AlgorithmIdentifier */
    atl_reader signature;
    atl_reader spki; /* the whole element */
    int64_t not_before;
    int64_t not_after;
    atl_reader host_key;       /* the protobuf */
    atl_reader host_signature; /* of the spki */
    int has_host;
} parsed;

/* Fails with a phrase for whoever reads the log. */
static int32_t refuse(const char **why, int32_t code, const char *text) {
    *why = text;
    return code;
}

static int32_t malformed(const char **why, const char *text) {
    return refuse(why, ATLAS_ERR_CERTIFICATE, text);
}

static int32_t parse_host(atl_reader value, parsed *out, const char **why) {
    atl_reader sequence;

    if (atl_der_read(&value, ATL_DER_SEQUENCE, &sequence, NULL) != ATLAS_OK || value.left != 0 ||
        atl_der_read(&sequence, ATL_DER_OCTET_STRING, &out->host_key, NULL) != ATLAS_OK ||
        atl_der_read(&sequence, ATL_DER_OCTET_STRING, &out->host_signature, NULL) != ATLAS_OK ||
        sequence.left != 0) {
        return malformed(why, "the libp2p extension is malformed");
    }
    out->has_host = 1;
    return ATLAS_OK;
}

static int is_known(const atl_reader *oid) {
    size_t i;

    for (i = 0; i < sizeof(k_oid_known) / sizeof(k_oid_known[0]); i++) {
        if (atl_der_equal(oid, k_oid_known[i], sizeof(k_oid_known[i]))) {
            return 1;
        }
    }
    return 0;
}

/* Reads the BOOLEAN `critical`, which DER leaves out when false. */
static int32_t read_critical(atl_reader *extension, int *critical) {
    atl_reader value;

    *critical = 0;
    if (!atl_der_next_is(extension, ATL_DER_BOOLEAN)) {
        return ATLAS_OK;
    }
    if (atl_der_read(extension, ATL_DER_BOOLEAN, &value, NULL) != ATLAS_OK || value.left != 1 ||
        value.data[0] != 0xff) {
        return ATLAS_ERR_MALFORMED;
    }
    *critical = 1;
    return ATLAS_OK;
}

static int32_t parse_extension(atl_reader *list, parsed *out, const char **why) {
    atl_reader extension, oid, value;
    int critical;

    if (atl_der_read(list, ATL_DER_SEQUENCE, &extension, NULL) != ATLAS_OK ||
        atl_der_read(&extension, ATL_DER_OID, &oid, NULL) != ATLAS_OK ||
        read_critical(&extension, &critical) != ATLAS_OK ||
        atl_der_read(&extension, ATL_DER_OCTET_STRING, &value, NULL) != ATLAS_OK ||
        extension.left != 0) {
        return malformed(why, "an extension is malformed");
    }
    if (atl_der_equal(&oid, k_oid_libp2p, sizeof(k_oid_libp2p))) {
        if (out->has_host) {
            return malformed(why, "the libp2p extension occurs twice");
        }
        return parse_host(value, out, why);
    }
    if (critical && !is_known(&oid)) {
        return malformed(why, "an unknown extension is critical");
    }
    return ATLAS_OK;
}

static int32_t parse_extensions(atl_reader *tbs, parsed *out, const char **why) {
    atl_reader outer, list;
    size_t n = 0;
    int32_t rv;

    if (atl_der_read(tbs, ATL_DER_CONTEXT_CONSTRUCTED(3), &outer, NULL) != ATLAS_OK ||
        tbs->left != 0 || atl_der_read(&outer, ATL_DER_SEQUENCE, &list, NULL) != ATLAS_OK ||
        outer.left != 0) {
        return malformed(why, "the list of extensions is missing or malformed");
    }
    while (list.left > 0) {
        if (++n > MAX_EXTENSIONS) {
            return malformed(why, "too many extensions");
        }
        rv = parse_extension(&list, out, why);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    if (!out->has_host) {
        return malformed(why, "the libp2p extension is missing");
    }
    return ATLAS_OK;
}

static int32_t parse_validity(atl_reader *tbs, parsed *out) {
    atl_reader validity;

    if (atl_der_read(tbs, ATL_DER_SEQUENCE, &validity, NULL) != ATLAS_OK ||
        atl_der_read_time(&validity, &out->not_before) != ATLAS_OK ||
        atl_der_read_time(&validity, &out->not_after) != ATLAS_OK || validity.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    return ATLAS_OK;
}

static int32_t skip_unique_id(atl_reader *tbs, uint8_t tag) {
    atl_reader ignored;

    return atl_der_next_is(tbs, tag) ? atl_der_read(tbs, tag, &ignored, NULL) : ATLAS_OK;
}

static int32_t parse_tbs(atl_reader tbs, parsed *out, const char **why) {
    static const uint8_t v3[] = {0x02, 0x01, 0x02};
    atl_reader version, serial, algorithm, name, spki;

    if (atl_der_read(&tbs, ATL_DER_CONTEXT_CONSTRUCTED(0), &version, NULL) != ATLAS_OK ||
        !atl_der_equal(&version, v3, sizeof(v3))) {
        return malformed(why, "not an X.509 version 3 certificate");
    }
    if (atl_der_read(&tbs, ATL_DER_INTEGER, &serial, NULL) != ATLAS_OK || serial.left == 0 ||
        atl_der_read(&tbs, ATL_DER_SEQUENCE, &algorithm, NULL) != ATLAS_OK ||
        atl_der_read(&tbs, ATL_DER_SEQUENCE, &name, NULL) != ATLAS_OK) {
        return malformed(why, "the certificate is malformed");
    }
    if (!atl_der_equal(&algorithm, out->algorithm.data, out->algorithm.left)) {
        return malformed(why, "the two signature algorithms differ");
    }
    if (parse_validity(&tbs, out) != ATLAS_OK) {
        return malformed(why, "the validity is malformed");
    }
    if (atl_der_read(&tbs, ATL_DER_SEQUENCE, &name, NULL) != ATLAS_OK ||
        atl_der_read(&tbs, ATL_DER_SEQUENCE, &spki, &out->spki) != ATLAS_OK ||
        skip_unique_id(&tbs, ATL_DER_CONTEXT(1)) != ATLAS_OK ||
        skip_unique_id(&tbs, ATL_DER_CONTEXT(2)) != ATLAS_OK) {
        return malformed(why, "the certificate is malformed");
    }
    return parse_extensions(&tbs, out, why);
}

static int32_t parse(const uint8_t *der, size_t len, parsed *out, const char **why) {
    atl_reader r, certificate, tbs;

    memset(out, 0, sizeof(*out));
    if (len > ATL_CERTIFICATE_READ_MAX) {
        return malformed(why, "the certificate is too long");
    }
    atl_reader_init(&r, der, len);
    if (atl_der_read(&r, ATL_DER_SEQUENCE, &certificate, NULL) != ATLAS_OK) {
        return malformed(why, "not a certificate");
    }
    if (r.left != 0) {
        return malformed(why, "bytes follow the certificate");
    }
    if (atl_der_read(&certificate, ATL_DER_SEQUENCE, &tbs, &out->tbs) != ATLAS_OK ||
        atl_der_read(&certificate, ATL_DER_SEQUENCE, &out->algorithm, NULL) != ATLAS_OK ||
        atl_der_read_bits(&certificate, &out->signature) != ATLAS_OK || certificate.left != 0) {
        return malformed(why, "the certificate is malformed");
    }
    return parse_tbs(tbs, out, why);
}

/* A SubjectPublicKeyInfo; KEY_OTHER for algorithms that we do not take. */
static int32_t parse_public_key(atl_reader spki, public_key *out) {
    atl_reader content, algorithm, oid, curve;

    out->kind = KEY_OTHER;
    if (atl_der_read(&spki, ATL_DER_SEQUENCE, &content, NULL) != ATLAS_OK || spki.left != 0 ||
        atl_der_read(&content, ATL_DER_SEQUENCE, &algorithm, NULL) != ATLAS_OK ||
        atl_der_read(&algorithm, ATL_DER_OID, &oid, NULL) != ATLAS_OK ||
        atl_der_read_bits(&content, &out->bits) != ATLAS_OK || content.left != 0) {
        return ATLAS_ERR_MALFORMED;
    }
    if (atl_der_equal(&oid, k_oid_ed25519, sizeof(k_oid_ed25519))) {
        if (algorithm.left != 0 || out->bits.left != crypto_sign_PUBLICKEYBYTES) {
            return ATLAS_ERR_MALFORMED;
        }
        out->kind = KEY_ED25519;
    } else if (atl_der_equal(&oid, k_oid_ec_key, sizeof(k_oid_ec_key)) &&
               atl_der_read(&algorithm, ATL_DER_OID, &curve, NULL) == ATLAS_OK &&
               algorithm.left == 0 && atl_der_equal(&curve, k_oid_p256, sizeof(k_oid_p256))) {
        out->kind = KEY_P256;
    }
    return ATLAS_OK;
}

static int32_t verify_p256(const public_key *key, const uint8_t *data, size_t len,
                           const atl_reader *signature) {
    uint8_t hash[WC_SHA256_DIGEST_SIZE];
    int good = 0;
    ecc_key ecc;
    int32_t rv = ATLAS_ERR_SIGNATURE;

    if (wc_ecc_init(&ecc) != 0) {
        return ATLAS_ERR_INTERNAL;
    }
    if (wc_ecc_import_x963_ex(key->bits.data, (word32)key->bits.left, &ecc, ECC_SECP256R1) == 0 &&
        wc_ecc_check_key(&ecc) == 0 && wc_Sha256Hash(data, (word32)len, hash) == 0 &&
        wc_ecc_verify_hash(signature->data, (word32)signature->left, hash, sizeof(hash), &good,
                           &ecc) == 0 &&
        good == 1) {
        rv = ATLAS_OK;
    }
    wc_ecc_free(&ecc);
    atl_crypto_settle();
    return rv;
}

static int32_t verify_self(const parsed *cert, const char **why) {
    atl_reader algorithm = cert->algorithm;
    atl_reader oid;
    public_key key;
    int32_t rv;

    if (parse_public_key(cert->spki, &key) != ATLAS_OK ||
        atl_der_read(&algorithm, ATL_DER_OID, &oid, NULL) != ATLAS_OK) {
        return malformed(why, "the public key or the signature algorithm is malformed");
    }
    if (key.kind == KEY_ED25519 && algorithm.left == 0 &&
        atl_der_equal(&oid, k_oid_ed25519, sizeof(k_oid_ed25519))) {
        rv = cert->signature.left == crypto_sign_BYTES &&
                     crypto_sign_verify_detached(cert->signature.data, cert->tbs.data,
                                                 cert->tbs.left, key.bits.data) == 0
                 ? ATLAS_OK
                 : ATLAS_ERR_SIGNATURE;
    } else if (key.kind == KEY_P256 && algorithm.left == 0 &&
               atl_der_equal(&oid, k_oid_ecdsa_sha256, sizeof(k_oid_ecdsa_sha256))) {
        rv = verify_p256(&key, cert->tbs.data, cert->tbs.left, &cert->signature);
    } else {
        return refuse(why, ATLAS_ERR_UNSUPPORTED,
                      "the certificate's signature algorithm is not supported");
    }
    return rv == ATLAS_OK ? ATLAS_OK
                          : malformed(why, "the certificate is not signed by its own key");
}

/* A node key of another type: what can be checked is, so that a forged certificate is called one.
 */
static int32_t verify_other_host(const parsed *cert, const uint8_t *data, size_t len,
                                 const char **why) {
    atl_reader r = cert->host_key;
    atl_proto_field field;
    public_key key;
    uint64_t type = 0;
    atl_reader bytes = {NULL, 0};

    while (r.left > 0 && atl_proto_next(&r, &field) == ATLAS_OK) {
        if (field.number == 1 && field.wire == ATL_PROTO_VARINT) {
            type = field.value;
        } else if (field.number == 2 && field.wire == ATL_PROTO_BYTES) {
            bytes = field.bytes;
        }
    }
    if (type == KEY_TYPE_ECDSA && parse_public_key(bytes, &key) == ATLAS_OK &&
        key.kind == KEY_P256 && verify_p256(&key, data, len, &cert->host_signature) != ATLAS_OK) {
        return malformed(why, "the node key did not sign the certificate's key");
    }
    return refuse(why, ATLAS_ERR_UNSUPPORTED, "the node key is not an Ed25519 key");
}

static int32_t verify_host(const parsed *cert, int known, atl_peer_id *peer, const char **why) {
    uint8_t data[sizeof(HANDSHAKE_PREFIX) - 1 + SPKI_MAX];
    size_t len = sizeof(HANDSHAKE_PREFIX) - 1;
    atl_peer_id id;
    int32_t rv;

    if (cert->spki.left > SPKI_MAX) {
        return malformed(why, "the certificate's key is too long");
    }
    memcpy(data, HANDSHAKE_PREFIX, len);
    memcpy(data + len, cert->spki.data, cert->spki.left);
    len += cert->spki.left;
    rv = atl_public_key_decode(cert->host_key.data, cert->host_key.left, &id);
    if (rv == ATLAS_ERR_UNSUPPORTED) {
        return verify_other_host(cert, data, len, why);
    }
    if (rv != ATLAS_OK) {
        return malformed(why, "the node key is malformed");
    }
    if (cert->host_signature.left != ATL_SIGNATURE_LEN ||
        (!known && atl_peer_verify(&id, data, len, cert->host_signature.data) != ATLAS_OK)) {
        return malformed(why, "the node key did not sign the certificate's key");
    }
    *peer = id;
    return ATLAS_OK;
}

static int32_t check(const uint8_t *der, size_t len, int64_t now, int known, atl_peer_id *peer,
                     const char **why) {
    parsed cert;
    int32_t rv = parse(der, len, &cert, why);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (now < cert.not_before) {
        return malformed(why, "the certificate is not valid yet");
    }
    if (now > cert.not_after) {
        return malformed(why, "the certificate has expired");
    }
    rv = known ? ATLAS_OK : verify_self(&cert, why);
    if (rv != ATLAS_OK) {
        return rv;
    }
    return verify_host(&cert, known, peer, why);
}

int32_t atl_certificate_verify(const uint8_t *der, size_t len, int64_t now, atl_peer_id *peer,
                               const char **why) {
    return check(der, len, now, 0, peer, why);
}

int32_t atl_certificate_verify_known(const uint8_t *der, size_t len, int64_t now, atl_peer_id *peer,
                                     const char **why) {
    return check(der, len, now, 1, peer, why);
}
