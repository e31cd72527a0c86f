/* Signed envelopes. Vector: go-libp2p-core, record/envelope_test.go (made by Go, opened here). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity/envelope.h"
#include "identity/proto.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "testenv.h"

#define DOMAIN "libp2p-peer-record"

static const uint8_t TYPE[2] = {0x03, 0x01};
static const uint8_t SEED[32] = {7};

static const char GO_ENVELOPE[] =
    "0a24080112206f1581709bb7b1ef030d210db18e3b0ba1c776fba65d8cdaad05415142d189f812102f6c69627032"
    "702f74657374646174611a0c68656c6c6f20776f726c64212a401178673b51dfa842aad17e465e25d646ad166289"
    "16b964c3fb10c711fee87872bdd4e4646f58c277cdff09704913d8be1aec6322de8d3d0bb852120374aece08";

static atlas_key *make_key(void) {
    atlas_key *key;

    assert_int_equal(atlas_key_from_seed(SEED, &key), ATLAS_OK);
    return key;
}

/* Opens an exact heap copy, so that a sanitizer sees any byte read past the end. */
static int32_t open_copy(const uint8_t *data, size_t len, const char *domain) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    atl_envelope envelope;
    int32_t rc;

    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = atl_envelope_open(copy, len, domain, &envelope);
    free(copy);
    return rc;
}

static void what_go_made_opens(void **state) {
    uint8_t bytes[256];
    atl_envelope envelope;
    size_t len;

    (void)state;
    assert_int_equal(
        sodium_hex2bin(bytes, sizeof(bytes), GO_ENVELOPE, strlen(GO_ENVELOPE), NULL, &len, NULL),
        0);
    assert_int_equal(atl_envelope_open(bytes, len, "libp2p-testing", &envelope), ATLAS_OK);
    assert_int_equal(envelope.type_len, 16);
    assert_memory_equal(envelope.type, "/libp2p/testdata", 16);
    assert_int_equal(envelope.payload_len, 12);
    assert_memory_equal(envelope.payload, "hello world!", 12);
    assert_memory_equal(envelope.signer.key, bytes + 6, 32);
    assert_int_equal(open_copy(bytes, len, "libp2p-testinf"), ATLAS_ERR_SIGNATURE);
    assert_int_equal(open_copy(bytes, len, "libp2p-testing1"), ATLAS_ERR_SIGNATURE);
}

static void make_and_open(void **state) {
    static const size_t LENGTHS[] = {0, 1, 127, 128, 1000, 8000};
    static uint8_t payload[8000];
    static uint8_t buf[ATL_ENVELOPE_MAX];
    atlas_key *key = make_key();
    atl_envelope envelope;
    atl_peer_id id;
    size_t i;

    (void)state;
    atl_key_id(key, &id);
    randombytes_buf_deterministic(payload, sizeof(payload), SEED);
    for (i = 0; i < ATL_COUNT(LENGTHS); i++) {
        size_t len = 0;

        assert_int_equal(
            atl_envelope_make(key, DOMAIN, TYPE, 2, payload, LENGTHS[i], buf, sizeof(buf), &len),
            ATLAS_OK);
        assert_int_equal(atl_envelope_open(buf, len, DOMAIN, &envelope), ATLAS_OK);
        assert_true(atl_peer_id_equal(&envelope.signer, &id));
        assert_int_equal(envelope.type_len, 2);
        assert_memory_equal(envelope.type, TYPE, 2);
        assert_int_equal(envelope.payload_len, LENGTHS[i]);
        assert_memory_equal(envelope.payload, payload, LENGTHS[i]);
        assert_int_equal(open_copy(buf, len, "libp2p-routing-state"), ATLAS_ERR_SIGNATURE);
    }
    atlas_key_free(key);
}

static void limits_of_making(void **state) {
    static uint8_t payload[ATL_ENVELOPE_MAX];
    static uint8_t buf[2 * ATL_ENVELOPE_MAX];
    char domain[ATL_ENVELOPE_DOMAIN_MAX + 2];
    atlas_key *key = make_key();
    size_t len = 4711;
    size_t n;

    (void)state;
    assert_int_equal(atl_envelope_make(key, "", TYPE, 2, payload, 1, buf, sizeof(buf), &len),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_envelope_make(key, DOMAIN, TYPE, 0, payload, 1, buf, sizeof(buf), &len),
                     ATLAS_ERR_INVALID);
    memset(domain, 'd', sizeof(domain));
    domain[ATL_ENVELOPE_DOMAIN_MAX + 1] = '\0';
    assert_int_equal(atl_envelope_make(key, domain, TYPE, 2, payload, 1, buf, sizeof(buf), &len),
                     ATLAS_ERR_INVALID);
    domain[ATL_ENVELOPE_DOMAIN_MAX] = '\0';
    assert_int_equal(
        atl_envelope_make(key, DOMAIN, TYPE, 2, payload, sizeof(payload), buf, sizeof(buf), &len),
        ATLAS_ERR_TOO_LARGE);
    assert_int_equal(
        atl_envelope_make(key, DOMAIN, TYPE, 2, payload, SIZE_MAX, buf, sizeof(buf), &len),
        ATLAS_ERR_TOO_LARGE);
    assert_int_equal(len, 4711);
    assert_int_equal(atl_envelope_make(key, domain, TYPE, 2, payload, 1, buf, sizeof(buf), &len),
                     ATLAS_OK);
    for (n = 0; n < len; n++) {
        size_t out = 1;

        assert_int_equal(atl_envelope_make(key, domain, TYPE, 2, payload, 1, buf, n, &out),
                         ATLAS_ERR_BUFFER);
        assert_int_equal(out, 1);
    }
    atlas_key_free(key);
}

static void every_bit_counts(void **state) {
    uint8_t buf[256];
    atlas_key *key = make_key();
    size_t len;
    size_t i;
    int bit;

    (void)state;
    assert_int_equal(atl_envelope_make(key, DOMAIN, TYPE, 2, (const uint8_t *)"payload", 7, buf,
                                       sizeof(buf), &len),
                     ATLAS_OK);
    for (i = 0; i < len; i++) {
        for (bit = 0; bit < 8; bit++) {
            buf[i] ^= (uint8_t)(1 << bit);
            assert_int_not_equal(open_copy(buf, len, DOMAIN), ATLAS_OK);
            buf[i] ^= (uint8_t)(1 << bit);
        }
    }
    for (i = 0; i < len; i++) {
        assert_int_not_equal(open_copy(buf, i, DOMAIN), ATLAS_OK);
    }
    assert_int_equal(open_copy(buf, len, DOMAIN), ATLAS_OK);
    atlas_key_free(key);
}

/* One field of an envelope under construction. */
typedef struct part {
    uint32_t number;
    const void *data;
    size_t len;
} part;

static int32_t open_parts(const part *parts, size_t n) {
    uint8_t buf[1024];
    atl_writer writer;
    size_t i;

    atl_writer_init(&writer, buf, sizeof(buf));
    for (i = 0; i < n; i++) {
        if (parts[i].data == NULL) {
            atl_proto_write_uint(&writer, parts[i].number, parts[i].len);
        } else {
            atl_proto_write_bytes(&writer, parts[i].number, parts[i].data, parts[i].len);
        }
    }
    assert_int_equal(writer.error, ATLAS_OK);
    return open_copy(buf, writer.len, DOMAIN);
}

/* Filled in by the test: the signer's key, signatures of "x" and of nothing. */
static uint8_t public_key[ATL_PUBLIC_KEY_PROTO];
static uint8_t signature[ATL_SIGNATURE_LEN];
static uint8_t signature_nothing[ATL_SIGNATURE_LEN];

#define RSA "\x08\x00\x12\x04\x30\x59\x03\x01"
#define KEY \
    { 1, public_key, sizeof(public_key) }
#define TYPE_PART \
    { 2, TYPE, 2 }
#define PAYLOAD \
    { 3, "x", 1 }
#define SIGNATURE \
    { 5, signature, sizeof(signature) }
#define SIGNATURE_NOTHING \
    { 5, signature_nothing, sizeof(signature) }
#define UNKNOWN4 \
    { 4, "four", 4 }
#define UNKNOWN99 \
    { 99, NULL, 12345 }

static const struct {
    part parts[8];
    size_t n;
    int32_t rc;
} COMPOSED[] = {
    {{KEY, TYPE_PART, PAYLOAD, SIGNATURE}, 4, ATLAS_OK},
    {{SIGNATURE, PAYLOAD, TYPE_PART, KEY}, 4, ATLAS_OK}, /* order means nothing */
    {{UNKNOWN4, KEY, UNKNOWN99, TYPE_PART, PAYLOAD, UNKNOWN4, SIGNATURE, UNKNOWN99}, 8, ATLAS_OK},
    {{KEY, TYPE_PART, SIGNATURE_NOTHING}, 3, ATLAS_OK}, /* an empty payload is left out */
    {{KEY, TYPE_PART, {3, "", 0}, SIGNATURE_NOTHING}, 4, ATLAS_OK},
    {{KEY, TYPE_PART, SIGNATURE}, 3, ATLAS_ERR_SIGNATURE},
    {{TYPE_PART, PAYLOAD, SIGNATURE}, 3, ATLAS_ERR_MALFORMED},
    {{KEY, PAYLOAD, SIGNATURE}, 3, ATLAS_ERR_MALFORMED},
    {{KEY, TYPE_PART, PAYLOAD}, 3, ATLAS_ERR_MALFORMED},
    {{KEY, {2, "", 0}, PAYLOAD, SIGNATURE}, 4, ATLAS_ERR_MALFORMED},
    {{KEY, KEY, TYPE_PART, PAYLOAD, SIGNATURE}, 5, ATLAS_ERR_DUPLICATE},
    {{KEY, TYPE_PART, TYPE_PART, PAYLOAD, SIGNATURE}, 5, ATLAS_ERR_DUPLICATE},
    {{KEY, TYPE_PART, PAYLOAD, {3, "y", 1}, SIGNATURE}, 5, ATLAS_ERR_DUPLICATE},
    {{KEY, TYPE_PART, PAYLOAD, SIGNATURE, SIGNATURE}, 5, ATLAS_ERR_DUPLICATE},
    {{{1, NULL, 1}, TYPE_PART, PAYLOAD, SIGNATURE}, 4, ATLAS_ERR_MALFORMED}, /* a number */
    {{KEY, TYPE_PART, PAYLOAD, {5, NULL, 1}}, 4, ATLAS_ERR_MALFORMED},
    {{KEY, TYPE_PART, PAYLOAD, {5, signature, 63}}, 4, ATLAS_ERR_SIGNATURE},
    {{KEY, TYPE_PART, PAYLOAD, {5, "", 0}}, 4, ATLAS_ERR_SIGNATURE},
    {{{1, public_key, 35}, TYPE_PART, PAYLOAD, SIGNATURE}, 4, ATLAS_ERR_KEY},
    {{{1, "", 0}, TYPE_PART, PAYLOAD, SIGNATURE}, 4, ATLAS_ERR_KEY},
    {{{1, RSA, 8}, TYPE_PART, PAYLOAD, SIGNATURE}, 4, ATLAS_ERR_UNSUPPORTED},
    {{KEY, {2, "\x03", 1}, {3, "\x01\x01x", 3}, SIGNATURE}, 4, ATLAS_ERR_SIGNATURE}, /* shifted */
};

static void fields_missing_twice_and_unknown(void **state) {
    atlas_key *key = make_key();
    atl_peer_id id;
    size_t i;

    (void)state;
    atl_key_id(key, &id);
    atl_public_key_encode(&id, public_key);
    atl_key_sign(key, (const uint8_t *)"\x12" DOMAIN "\x02\x03\x01\x01x", 24, signature);
    atl_key_sign(key, (const uint8_t *)"\x12" DOMAIN "\x02\x03\x01\x00", 23, signature_nothing);
    for (i = 0; i < ATL_COUNT(COMPOSED); i++) {
        if (open_parts(COMPOSED[i].parts, COMPOSED[i].n) != COMPOSED[i].rc) {
            fail_msg("row %zu", i);
        }
    }
    atlas_key_free(key);
}

static void limits_of_opening(void **state) {
    static uint8_t huge[ATL_ENVELOPE_MAX + 1];
    atl_envelope envelope = {.type_len = 99};

    (void)state;
    assert_int_equal(atl_envelope_open(huge, sizeof(huge), DOMAIN, &envelope), ATLAS_ERR_TOO_LARGE);
    assert_int_equal(atl_envelope_open(huge, sizeof(huge) - 1, DOMAIN, &envelope),
                     ATLAS_ERR_MALFORMED);
    assert_int_equal(atl_envelope_open(NULL, 0, DOMAIN, &envelope), ATLAS_ERR_MALFORMED);
    assert_int_equal(envelope.type_len, 99);
}

/* What is parsed is as it stands there; whether it is to be believed is said by the second step. */
static void parse_and_verify(void **state) {
    uint8_t buf[256];
    atlas_key *key = make_key();
    atl_envelope envelope = {.type_len = 99};
    atl_peer_id id;
    size_t len;

    (void)state;
    atl_key_id(key, &id);
    assert_int_equal(atl_envelope_make(key, DOMAIN, TYPE, 2, (const uint8_t *)"payload", 7, buf,
                                       sizeof(buf), &len),
                     ATLAS_OK);
    assert_int_equal(atl_envelope_parse(buf, len - 1, &envelope), ATLAS_ERR_TRUNCATED);
    assert_int_equal(envelope.type_len, 99);
    buf[len - 1] ^= 1;
    assert_int_equal(atl_envelope_parse(buf, len, &envelope), ATLAS_OK);
    assert_true(atl_peer_id_equal(&envelope.signer, &id));
    assert_int_equal(envelope.payload_len, 7);
    assert_memory_equal(envelope.payload, "payload", 7);
    assert_ptr_equal(envelope.signature, buf + len - ATL_SIGNATURE_LEN);
    assert_int_equal(atl_envelope_verify(&envelope, DOMAIN), ATLAS_ERR_SIGNATURE);
    buf[len - 1] ^= 1;
    assert_int_equal(atl_envelope_verify(&envelope, DOMAIN), ATLAS_OK);
    assert_int_equal(atl_envelope_verify(&envelope, "libp2p-testing"), ATLAS_ERR_SIGNATURE);
    assert_int_equal(atl_envelope_verify(&envelope, ""), ATLAS_ERR_INVALID);
    atlas_key_free(key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_go_made_opens),
        cmocka_unit_test(make_and_open),
        cmocka_unit_test(limits_of_making),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(fields_missing_twice_and_unknown),
        cmocka_unit_test(limits_of_opening),
        cmocka_unit_test(parse_and_verify),
    };

    return cmocka_run_group_tests_name("envelope", tests, NULL, NULL);
}
