/* Certificates: the vectors of libp2p's specification, and everything that a certificate may do
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "quic/certificate.h"
#include "quic/certificate_der.h"

#include <sodium.h>

#define NOW INT64_C(1767225600) /* 2026-01-01 */
#define DAY 86400

/* libp2p specs, tls/tls.md, section Test vectors: 1 to 4. All are signed by a P-256 key. */
static const char k_ed25519[] =
    "308201773082011ea003020102020900f5bd0debaa597f52300a06082a8648ce3d04030230003020170d3735"
    "303130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d020106"
    "082a8648ce3d030107034200046bf9871220d71dcb3483ecdfcbfcc7c103f8509d0974b3c18ab1f1be1302d6"
    "43103a08f7a7722c1b247ba3876fe2c59e26526f479d7718a85202ddbe47562358a37f307d307b060a2b0601"
    "040183a25a01010101ff046a30680424080112207fda21856709c5ae12fd6e8450623f15f11955d384212b89"
    "f56e7e136d2e17280440aaa6bffabe91b6f30c35e3aa4f94b1188fed96b0ffdd393f4c58c1c047854120e674"
    "ce64c788406d1c2c4b116581fd7411b309881c3c7f20b46e54c7e6fe7f0f300a06082a8648ce3d0403020347"
    "00304402207d1a1dbd2bda235ff2ec87daf006f9b04ba076a5a5530180cd9c2e8f6399e09d0220458527178c"
    "7e77024601dbb1b256593e9b96d961b96349d1f560114f61a87595";
static const char k_ecdsa[] =
    "308201c030820166a003020102020900eaf419a6e3edb4a6300a06082a8648ce3d04030230003020170d3735"
    "303130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d020106"
    "082a8648ce3d030107034200048dbf1116c7c608d6d5292bd826c3feb53483a89fce434bf64538a359c8e075"
    "38ff71f6766239be6a146dcc1a5f3bb934bcd4ae2ae1d4da28ac68b4a20593f06ba381c63081c33081c0060a"
    "2b0601040183a25a01010101ff0481ae3081ab045f0803125b3059301306072a8648ce3d020106082a8648ce"
    "3d0301070342000484b93fa456a74bd0153919f036db7bc63c802f055bc7023395d0203de718ee0fc7b570b7"
    "67cdd858aca6c7c4113ff002e78bd2138ac1a3b26dde3519e06979ad04483046022100bc84014cea5a41feab"
    "df4c161096564b9ccf4b62fbef4fe1cd382c84e11101780221009204f086a84cb8ed8a9ddd7868dc90c792ee"
    "434adf62c66f99a08a5eba11615b300a06082a8648ce3d0403020348003045022054b437be9a2edf591312d6"
    "8ff24bf91367ad4143f76cf80b5658f232ade820da022100e23b48de9df9c25d4c83ddddf75d2676f0b9318e"
    "e2a6c88a736d85eab94a912f";
static const char k_secp256k1[] =
    "3082018230820128a003020102020900f3b305f55622cfdf300a06082a8648ce3d04030230003020170d3735"
    "303130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d020106"
    "082a8648ce3d0301070342000458f7e9581748ff9bdd933b655cc0e5552a1248f840658cc221dec2186b5a2f"
    "e4641b86ab7590a3422cdbb1000cf97662f27e5910d7569f22feed8829c8b52e0fa38188308185308182060a"
    "2b0601040183a25a01010101ff0471306f042508021221026b053094d1112bce799dc8026040ae6d4eb57415"
    "7929f1598172061f753d9b1b04463044022040712707e97794c478d93989aaa28ae1f71c03af524a8a4bd2d9"
    "8424948a782302207b61b7f074b696a25fb9e0059141a811cccc4cc28042d9301b9b2a4015e87470300a0608"
    "2a8648ce3d04030203480030450220143ae4d86fdc8675d2480bb6912eca5e39165df7f572d836aa2f2d6acf"
    "ab13f8022100831d1979a98f0c4a6fb5069ca374de92f1a1205c962a6d90ad3d7554cb7d9df4";
static const char k_mismatch[] =
    "308201773082011da003020102020830a73c5d896a1109300a06082a8648ce3d04030230003020170d373530"
    "3130313030303030305a180f34303936303130313030303030305a30003059301306072a8648ce3d02010608"
    "2a8648ce3d03010703420004bbe62df9a7c1c46b7f1f21d556deec5382a36df146fb29c7f1240e60d7d53285"
    "70e3b71d99602b77a65c9b3655f62837f8d66b59f1763b8c9beba3be07778043a37f307d307b060a2b060104"
    "0183a25a01010101ff046a3068042408011220ec8094573afb9728088860864f7bcea2d4fd412fef09a8e2d2"
    "4d482377c20db60440ecabae8354afa2f0af4b8d2ad871e865cb5a7c0c8d3dbdbf42de577f92461a0ebb0a28"
    "703e33581af7d2a4f2270fc37aec6261fcc95f8af08f3f4806581c730a300a06082a8648ce3d040302034800"
    "304502202dfb17a6fa0f94ee0e2e6a3b9fb6e986f311dee27392058016464bd130930a61022100ba4b937a11"
    "c8d3172b81e7cd04aedb79b978c4379c2b5b24d565dd5d67d3cb3c";

static size_t from_hex(const char *hex, uint8_t *out, size_t cap) {
    size_t len = 0;

    assert_int_equal(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL), 0);
    return len;
}

static int32_t verify(const uint8_t *der, size_t len, int64_t now, atl_peer_id *peer,
                      const char **why) {
    *why = NULL;
    int32_t rv = atl_certificate_verify(der, len, now, peer, why);
    const char *phrase = "";
    atl_peer_id again;

    if (rv == ATLAS_OK) {
        /* seen before: the same answer without the signatures, and its time ends all the same */
        assert_int_equal(atl_certificate_verify_known(der, len, now, &again, &phrase), ATLAS_OK);
        assert_true(atl_peer_id_equal(&again, peer));
        assert_int_equal(atl_certificate_verify_known(der, len, INT64_C(1) << 40, &again, &phrase),
                         ATLAS_ERR_CERTIFICATE);
        assert_int_equal(atl_certificate_verify_known(der, len - 1, now, &again, &phrase),
                         ATLAS_ERR_CERTIFICATE);
    }

    assert_true((rv == ATLAS_OK) == (*why == NULL)); /* every refusal has its phrase */
    return rv;
}

/* ---- vectors ---- */

static void vectors(void **state) {
    static const struct {
        const char *hex, *peer;
        int32_t code;
    } table[] = {
        {k_ed25519, "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq", ATLAS_OK},
        {k_ecdsa, NULL, ATLAS_ERR_UNSUPPORTED}, /* valid, of a kind of node key that is not taken */
        {k_secp256k1, NULL, ATLAS_ERR_UNSUPPORTED}, /* likewise */
        {k_mismatch, NULL, ATLAS_ERR_CERTIFICATE},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        char text[ATLAS_PEER_ID_MAX];
        uint8_t der[512];
        size_t len = from_hex(table[i].hex, der, sizeof(der));
        const char *why;
        atl_peer_id peer;

        assert_int_equal(verify(der, len, NOW, &peer, &why), table[i].code);
        if (table[i].peer) {
            atl_peer_id_text(&peer, text);
            assert_string_equal(text, table[i].peer);
        }
    }
}

/* No byte of a good certificate can change without it being noticed, and none be left out or added.
 */
static void every_byte_counts(void **state) {
    uint8_t der[512], copy[513];
    size_t len = from_hex(k_ed25519, der, sizeof(der));
    const char *why;
    atl_peer_id peer;
    size_t i;

    (void)state;
    for (i = 0; i < len; i++) {
        memcpy(copy, der, len);
        copy[i] ^= 0x04;
        assert_int_not_equal(verify(copy, len, NOW, &peer, &why), ATLAS_OK);
        assert_int_equal(verify(der, i, NOW, &peer, &why), ATLAS_ERR_CERTIFICATE);
    }
    memcpy(copy, der, len);
    copy[len] = 0;
    assert_int_equal(verify(copy, len + 1, NOW, &peer, &why), ATLAS_ERR_CERTIFICATE);
    assert_string_equal(why, "bytes follow the certificate");
}

/* A node key of ECDSA is not taken, but a forged one is called forged. */
static void forged_ecdsa(void **state) {
    uint8_t der[512];
    size_t len = from_hex(k_ecdsa, der, sizeof(der));
    const char *why;
    atl_peer_id peer;

    (void)state;
    der[len - 100] ^= 1; /* inside the node key's signature: the self-signature breaks first */
    assert_int_equal(verify(der, len, NOW, &peer, &why), ATLAS_ERR_CERTIFICATE);
}

/* ---- ours ---- */

typedef struct maker {
    atlas_key *key;
    atl_peer_id id;
    atl_certificate_spec spec;
    uint8_t spki[ATL_CERTIFICATE_SPKI];
    uint8_t list[512]; /* Extensions */
    atl_writer w;
    uint8_t der[1024];
    size_t len;
} maker;

static void maker_init(maker *m) {
    uint8_t seed[32];

    memset(m, 0, sizeof(*m));
    memset(seed, 0x77, sizeof(seed));
    assert_int_equal(atlas_key_from_seed(seed, &m->key), ATLAS_OK);
    atl_key_id(m->key, &m->id);
    memset(m->spec.seed, 0x55, sizeof(m->spec.seed));
    m->spec.not_before = NOW - DAY;
    m->spec.not_after = NOW + DAY;
    atl_certificate_spki(m->spec.seed, m->spki);
    atl_writer_init(&m->w, m->list, sizeof(m->list));
}

static void maker_build(maker *m) {
    assert_int_equal(m->w.error, ATLAS_OK);
    assert_int_equal(
        atl_certificate_build(&m->spec, m->list, m->w.len, m->der, sizeof(m->der), &m->len),
        ATLAS_OK);
}

/* An Extension with an OID and a value of ours. */
static void add_extension(atl_writer *w, const uint8_t *oid, size_t oid_len, int critical,
                          const uint8_t *value, size_t len) {
    static const uint8_t yes = 0xff;
    uint8_t body[160];
    atl_writer b;

    atl_writer_init(&b, body, sizeof(body));
    atl_der_write(&b, ATL_DER_OID, oid, oid_len);
    if (critical) {
        atl_der_write(&b, ATL_DER_BOOLEAN, &yes, 1);
    }
    atl_der_write(&b, ATL_DER_OCTET_STRING, value, len);
    atl_der_write(w, ATL_DER_SEQUENCE, body, b.len);
}

static void ours(void **state) {
    static const uint8_t serial[16] = {0xff, 1};
    uint8_t seed[32] = {5}, der[ATL_CERTIFICATE_MAX], pkcs8[ATL_CERTIFICATE_PKCS8];
    size_t len = 0;
    const char *why;
    atl_peer_id peer;
    maker m;

    (void)state;
    maker_init(&m);
    assert_int_equal(atl_certificate_make(m.key, seed, serial, NOW, der, &len), ATLAS_OK);
    assert_true(len > 250 && len < 400);
    assert_int_equal(verify(der, len, NOW, &peer, &why), ATLAS_OK);
    assert_true(atl_peer_id_equal(&peer, &m.id));
    assert_int_equal(verify(der, len, NOW - DAY, &peer, &why), ATLAS_OK);
    assert_int_equal(verify(der, len, NOW - DAY - 1, &peer, &why), ATLAS_ERR_CERTIFICATE);
    assert_int_equal(verify(der, len, INT64_C(67090118400), &peer, &why),
                     ATLAS_OK); /* 4096-01-01 */
    assert_int_equal(verify(der, len, INT64_C(67090118401), &peer, &why), ATLAS_ERR_CERTIFICATE);
    assert_int_equal(atl_certificate_make(m.key, seed, serial, 5, der, &len),
                     ATLAS_OK); /* a clock that was never set */
    assert_int_equal(verify(der, len, 5, &peer, &why), ATLAS_OK);
    atl_certificate_pkcs8(seed, pkcs8);
    assert_memory_equal(pkcs8 + 16, seed, 32);
    atlas_key_free(m.key);
}

enum variant {
    GOOD,
    CRITICAL,
    TWICE,
    MISSING,
    WRONG_OID,
    OTHER_CRITICAL,
    OTHER_PLAIN,
    KNOWN_CRITICAL,
    OTHER_SPKI,
    UNSIGNED,
    EMPTY_VALUE,
    TRAILING_VALUE,
    BAD_NODE_KEY,
    SHORT_SIGNATURE,
    EXPIRED,
    NOT_YET,
    MANY,
};

static const uint8_t k_oid_libp2p[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x01};
static const uint8_t k_oid_other[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xa2, 0x5a, 0x01, 0x02};
static const uint8_t k_oid_usage[] = {0x55, 0x1d, 0x0f};

/* The node key's half of a certificate, in its parts. */
static void signed_key(const maker *m, size_t key_len, uint8_t key_first, size_t signature_len,
                       int trailing, uint8_t *out, size_t cap, size_t *len) {
    uint8_t proto[ATL_PUBLIC_KEY_PROTO], fields[160];
    uint8_t signature[ATL_SIGNATURE_LEN + 1] = {0};
    atl_writer w;

    atl_public_key_encode(&m->id, proto);
    proto[0] = key_first;
    atl_writer_init(&w, fields, sizeof(fields));
    atl_der_write(&w, ATL_DER_OCTET_STRING, proto, key_len);
    atl_der_write(&w, ATL_DER_OCTET_STRING, signature, signature_len);
    if (trailing) {
        atl_der_write(&w, ATL_DER_NULL, NULL, 0);
    }
    size_t n = w.len;
    atl_writer_init(&w, out, cap);
    atl_der_write(&w, ATL_DER_SEQUENCE, fields, n);
    *len = w.len;
}

static void build_variant(maker *m, enum variant v) {
    uint8_t value[200], spki[ATL_CERTIFICATE_SPKI];
    size_t len = 0;
    int i;

    memcpy(spki, m->spki, sizeof(spki));
    switch (v) {
    case MISSING:
        break;
    case WRONG_OID:
        add_extension(&m->w, k_oid_other, sizeof(k_oid_other), 0, value, 0);
        break;
    case EMPTY_VALUE:
        add_extension(&m->w, k_oid_libp2p, sizeof(k_oid_libp2p), 0, value, 0);
        break;
    case TRAILING_VALUE:
    case BAD_NODE_KEY:
    case SHORT_SIGNATURE:
        signed_key(m, v == BAD_NODE_KEY ? 35 : 36, 8, v == SHORT_SIGNATURE ? 63 : 64,
                   v == TRAILING_VALUE, value, sizeof(value), &len);
        add_extension(&m->w, k_oid_libp2p, sizeof(k_oid_libp2p), 0, value, len);
        break;
    case OTHER_SPKI:
        spki[43] ^= 1;
        atl_certificate_extension(&m->w, m->key, 0, spki, sizeof(spki));
        break;
    default:
        atl_certificate_extension(&m->w, m->key, v == CRITICAL, spki, sizeof(spki));
        break;
    }
    if (v == TWICE) {
        atl_certificate_extension(&m->w, m->key, 0, spki, sizeof(spki));
    } else if (v == OTHER_CRITICAL || v == OTHER_PLAIN) {
        add_extension(&m->w, k_oid_other, sizeof(k_oid_other), v == OTHER_CRITICAL, value, 0);
    } else if (v == KNOWN_CRITICAL) {
        add_extension(&m->w, k_oid_usage, sizeof(k_oid_usage), 1, value, 0);
    } else if (v == EXPIRED) {
        m->spec.not_after = NOW - 1;
    } else if (v == NOT_YET) {
        m->spec.not_before = NOW + 1;
    }
    for (i = 0; v == MANY && i < 11; i++) {
        add_extension(&m->w, k_oid_usage, sizeof(k_oid_usage), 0, value, 0);
    }
    maker_build(m);
    if (v == UNSIGNED) {
        memset(m->der + m->len - 64, 0, 64);
    }
}

static void variants(void **state) {
    static const struct {
        const char *name;
        enum variant v;
        const char *why; /* NULL: it is good */
    } table[] = {
        {"good", GOOD, NULL},
        {"critical", CRITICAL, NULL},
        {"other extension, not critical", OTHER_PLAIN, NULL},
        {"known extension, critical", KNOWN_CRITICAL, NULL},
        {"many extensions", MANY, NULL},
        {"twice", TWICE, "the libp2p extension occurs twice"},
        {"missing", MISSING, "the libp2p extension is missing"},
        {"wrong OID", WRONG_OID, "the libp2p extension is missing"},
        {"other extension, critical", OTHER_CRITICAL, "an unknown extension is critical"},
        {"for another key", OTHER_SPKI, "the node key did not sign the certificate's key"},
        {"unsigned", UNSIGNED, "the certificate is not signed by its own key"},
        {"empty value", EMPTY_VALUE, "the libp2p extension is malformed"},
        {"trailing field", TRAILING_VALUE, "the libp2p extension is malformed"},
        {"bad node key", BAD_NODE_KEY, "the node key is malformed"},
        {"short signature", SHORT_SIGNATURE, "the node key did not sign the certificate's key"},
        {"expired", EXPIRED, "the certificate has expired"},
        {"not yet valid", NOT_YET, "the certificate is not valid yet"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        const char *why;
        atl_peer_id peer;
        maker m;

        maker_init(&m);
        build_variant(&m, table[i].v);
        print_message("    %s\n", table[i].name);
        if (table[i].why) {
            assert_int_equal(verify(m.der, m.len, NOW, &peer, &why), ATLAS_ERR_CERTIFICATE);
            assert_string_equal(why, table[i].why);
        } else {
            assert_int_equal(verify(m.der, m.len, NOW, &peer, &why), ATLAS_OK);
            assert_true(atl_peer_id_equal(&peer, &m.id));
        }
        atlas_key_free(m.key);
    }
}

/* An algorithm that we do not verify, consistently named: RSA's OID in place of Ed25519's would be
 * longer, X448's is not. */
static void other_algorithm(void **state) {
    static const uint8_t ed25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
    const char *why;
    atl_peer_id peer;
    size_t i, n = 0;
    maker m;

    (void)state;
    maker_init(&m);
    build_variant(&m, GOOD);
    for (i = 0; i + sizeof(ed25519) <= m.len; i++) {
        if (memcmp(m.der + i, ed25519, sizeof(ed25519)) == 0) {
            m.der[i + 4] = 0x71; /* Ed448 */
            n++;
        }
    }
    assert_int_equal(n, 3); /* in the signed part, of the key, beside the signature */
    assert_int_equal(verify(m.der, m.len, NOW, &peer, &why), ATLAS_ERR_UNSUPPORTED);
    atlas_key_free(m.key);
}

static void two_certificates(void **state) {
    const char *why;
    atl_peer_id peer;
    maker m;

    (void)state;
    maker_init(&m);
    build_variant(&m, GOOD);
    assert_true(2 * m.len <= sizeof(m.der));
    memcpy(m.der + m.len, m.der, m.len);
    assert_int_equal(verify(m.der, 2 * m.len, NOW, &peer, &why), ATLAS_ERR_CERTIFICATE);
    atlas_key_free(m.key);
}

/* ---- DER ---- */

static void lengths(void **state) {
    static const struct {
        const char *hex;
        int32_t code;
        size_t len;
    } table[] = {
        {"0400", ATLAS_OK, 0},
        {"040101", ATLAS_OK, 1},
        {"04", ATLAS_ERR_TRUNCATED, 0},
        {"0402ff", ATLAS_ERR_TRUNCATED, 0},
        {"0481", ATLAS_ERR_TRUNCATED, 0},
        {"0482ff", ATLAS_ERR_TRUNCATED, 0},
        {"04817f", ATLAS_ERR_MALFORMED, 0},   /* not minimal */
        {"048200ff", ATLAS_ERR_MALFORMED, 0}, /* not minimal */
        {"0480", ATLAS_ERR_MALFORMED, 0},     /* indefinite */
        {"0483010000", ATLAS_ERR_MALFORMED, 0},
        {"0500", ATLAS_ERR_MALFORMED, 0}, /* another tag */
    };
    uint8_t bytes[400], data[8];
    atl_reader r, content, whole;
    atl_writer w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        size_t len = from_hex(table[i].hex, data, sizeof(data));

        atl_reader_init(&r, data, len);
        assert_int_equal(atl_der_read(&r, ATL_DER_OCTET_STRING, &content, &whole), table[i].code);
        assert_int_equal(r.left, table[i].code == ATLAS_OK ? 0 : len);
        if (table[i].code == ATLAS_OK) {
            assert_int_equal(content.left, table[i].len);
            assert_int_equal(whole.left, len);
        }
    }
    for (i = 0; i < 300; i++) { /* written and read again */
        uint8_t body[300] = {0};

        atl_writer_init(&w, bytes, sizeof(bytes));
        atl_der_write(&w, ATL_DER_OCTET_STRING, body, i);
        assert_int_equal(w.error, ATLAS_OK);
        atl_reader_init(&r, bytes, w.len);
        assert_int_equal(atl_der_read(&r, ATL_DER_OCTET_STRING, &content, NULL), ATLAS_OK);
        assert_int_equal(content.left, i);
        assert_int_equal(r.left, 0);
    }
}

static void times(void **state) {
    static const struct {
        const char *text; /* 13 characters are UTCTime, 15 GeneralizedTime */
        int64_t seconds;
        int good;
    } table[] = {
        {"700101000000Z", 0, 1},
        {"750101000000Z", 157766400, 1},
        {"260101000000Z", NOW, 1},
        {"491231235959Z", INT64_C(2524607999), 1},
        {"500101000000Z", -631152000, 1},
        {"20500101000000Z", INT64_C(2524608000), 1},
        {"20000229120000Z", 951825600, 1},
        {"40960101000000Z", INT64_C(67090118400), 1},
        {"99991231235959Z", INT64_C(253402300799), 1},
        {"21000229000000Z", 0, 0}, /* no leap year */
        {"261301000000Z", 0, 0},
        {"260100000000Z", 0, 0},
        {"260101240000Z", 0, 0},
        {"260101006000Z", 0, 0},
        {"260101000060Z", 0, 0},
        {"2601010000000", 0, 0},
        {"26010100000xZ", 0, 0},
        {"00000101000000Z", 0, 0},
        {"2601010000Z", 0, 0},
    };
    uint8_t bytes[32], again[32];
    atl_writer w;
    atl_reader r;
    int64_t got;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        size_t len = strlen(table[i].text);

        atl_writer_init(&w, bytes, sizeof(bytes));
        atl_der_write(&w, len == 15 ? ATL_DER_GENERALIZED_TIME : ATL_DER_UTC_TIME, table[i].text,
                      len);
        atl_reader_init(&r, bytes, w.len);
        got = 42;
        if (!table[i].good) {
            assert_int_equal(atl_der_read_time(&r, &got), ATLAS_ERR_MALFORMED);
            assert_int_equal(got, 42);
            continue;
        }
        assert_int_equal(atl_der_read_time(&r, &got), ATLAS_OK);
        assert_true(got == table[i].seconds);
        if (got >= 0 && (len == 13 || got >= INT64_C(2524608000))) { /* the form that we write */
            size_t n = w.len;

            atl_writer_init(&w, again, sizeof(again));
            atl_der_write_time(&w, got);
            assert_int_equal(w.len, n);
            assert_memory_equal(again, bytes, n);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(forged_ecdsa),
        cmocka_unit_test(ours),
        cmocka_unit_test(variants),
        cmocka_unit_test(other_algorithm),
        cmocka_unit_test(two_certificates),
        cmocka_unit_test(lengths),
        cmocka_unit_test(times),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("certificate", tests, NULL, NULL);
}
