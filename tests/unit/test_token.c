/* Retry tokens, Retry packets, stateless reset tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "quic/tls.h"

#include <sodium.h>

#define LIFETIME (10 * ATL_SECOND)

static const uint8_t k_secret[32] = {1, 2, 3};
static const uint8_t k_addr[18] = {4, 5, 6};

static ngtcp2_cid make_cid(uint8_t fill, size_t len) {
    ngtcp2_cid cid;

    memset(&cid, 0, sizeof(cid));
    memset(cid.data, fill, len);
    cid.datalen = len;
    return cid;
}

static size_t make(testenv *t, const ngtcp2_cid *scid, const ngtcp2_cid *odcid,
                   uint8_t token[ATL_RETRY_TOKEN_MAX]) {
    size_t len = 0;

    assert_int_equal(atl_retry_token_make(&t->env, k_secret, k_addr, sizeof(k_addr), scid, odcid,
                                          t->now, token, ATL_RETRY_TOKEN_MAX, &len),
                     ATLAS_OK);
    return len;
}

static void round_trip(void **state) {
    static const size_t lens[] = {8, 0, 20, 1};
    uint8_t token[ATL_RETRY_TOKEN_MAX], again[ATL_RETRY_TOKEN_MAX];
    size_t i;
    testenv t;

    (void)state;
    testenv_init(&t);
    for (i = 0; i < ATL_COUNT(lens); i++) {
        ngtcp2_cid scid = make_cid(9, 8), odcid = make_cid(7, lens[i]), got = make_cid(0, 0);
        size_t len = make(&t, &scid, &odcid, token);

        assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr), &scid,
                                               LIFETIME, t.now + LIFETIME, &got),
                         ATLAS_OK);
        assert_true(ngtcp2_cid_eq(&got, &odcid));
        assert_int_equal(make(&t, &scid, &odcid, again), len);
        assert_memory_not_equal(token, again, len);
    }
    testenv_done(&t);
}

static void refused(void **state) {
    ngtcp2_cid scid = make_cid(9, 8), odcid = make_cid(7, 8), other = make_cid(8, 8),
               got = make_cid(5, 3);
    uint8_t token[ATL_RETRY_TOKEN_MAX], addr[sizeof(k_addr)], secret[32];
    size_t len, i;
    testenv t;

    (void)state;
    testenv_init(&t);
    len = make(&t, &scid, &odcid, token);
    assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr), &scid,
                                           LIFETIME, t.now + LIFETIME + 1, &got),
                     ATLAS_ERR_TIMEOUT);
    assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr), &scid,
                                           LIFETIME, t.now - 1, &got),
                     ATLAS_ERR_TIMEOUT);
    assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr), &other,
                                           LIFETIME, t.now, &got),
                     ATLAS_ERR_SIGNATURE);
    memcpy(addr, k_addr, sizeof(addr));
    addr[17] ^= 1;
    assert_int_equal(atl_retry_token_check(k_secret, token, len, addr, sizeof(addr), &scid,
                                           LIFETIME, t.now, &got),
                     ATLAS_ERR_SIGNATURE);
    assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr) - 1, &scid,
                                           LIFETIME, t.now, &got),
                     ATLAS_ERR_SIGNATURE);
    memcpy(secret, k_secret, sizeof(secret));
    secret[31] ^= 1;
    assert_int_equal(atl_retry_token_check(secret, token, len, k_addr, sizeof(k_addr), &scid,
                                           LIFETIME, t.now, &got),
                     ATLAS_ERR_SIGNATURE);
    for (i = 0; i < len; i++) {
        token[i] ^= 0x10;
        assert_int_equal(atl_retry_token_check(k_secret, token, len, k_addr, sizeof(k_addr), &scid,
                                               LIFETIME, t.now, &got),
                         ATLAS_ERR_SIGNATURE);
        token[i] ^= 0x10;
        assert_int_equal(atl_retry_token_check(k_secret, token, i, k_addr, sizeof(k_addr), &scid,
                                               LIFETIME, t.now, &got),
                         ATLAS_ERR_SIGNATURE);
    }
    assert_true(got.datalen == 3 && got.data[0] == 5); /* untouched */
    testenv_done(&t);
}

static void cannot_make(void **state) {
    ngtcp2_cid scid = make_cid(9, 8), odcid = make_cid(7, 8);
    uint8_t token[ATL_RETRY_TOKEN_MAX], long_addr[65] = {0};
    size_t len = 77;
    testenv t;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_retry_token_make(&t.env, k_secret, k_addr, sizeof(k_addr), &scid, &odcid,
                                          t.now, token, 40, &len),
                     ATLAS_ERR_BUFFER);
    assert_int_equal(atl_retry_token_make(&t.env, k_secret, long_addr, sizeof(long_addr), &scid,
                                          &odcid, t.now, token, sizeof(token), &len),
                     ATLAS_ERR_INVALID);
    t.fail_random = 1;
    assert_int_not_equal(atl_retry_token_make(&t.env, k_secret, k_addr, sizeof(k_addr), &scid,
                                              &odcid, t.now, token, sizeof(token), &len),
                         ATLAS_OK);
    assert_int_equal(len, 77);
    testenv_done(&t);
}

/* RFC 9001 appendix A.4. */
static void retry_packet(void **state) {
    static const uint8_t expected[] = {0xff, 0x00, 0x00, 0x00, 0x01, 0x00, 0x08, 0xf0, 0x67,
                                       0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5, 0x74, 0x6f, 0x6b,
                                       0x65, 0x6e, 0x04, 0xa2, 0x65, 0xba, 0x2e, 0xff, 0x4d,
                                       0x82, 0x90, 0x58, 0xfb, 0x3f, 0x0f, 0x24, 0x96, 0xba};
    static const uint8_t scid_bytes[] = {0xf0, 0x67, 0xa5, 0x50, 0x2a, 0x42, 0x62, 0xb5};
    static const uint8_t odcid_bytes[] = {0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08};
    ngtcp2_cid dcid = make_cid(0, 0), scid, odcid;
    uint8_t packet[64], big[300] = {0};

    (void)state;
    ngtcp2_cid_init(&scid, scid_bytes, sizeof(scid_bytes));
    ngtcp2_cid_init(&odcid, odcid_bytes, sizeof(odcid_bytes));
    assert_int_equal(atl_retry_packet(packet, sizeof(packet), NGTCP2_PROTO_VER_V1, &dcid, &scid,
                                      &odcid, (const uint8_t *)"token", 5),
                     sizeof(expected));
    assert_memory_equal(packet, expected, sizeof(expected));
    assert_int_equal(atl_retry_packet(packet, sizeof(expected) - 1, NGTCP2_PROTO_VER_V1, &dcid,
                                      &scid, &odcid, (const uint8_t *)"token", 5),
                     ATLAS_ERR_BUFFER);
    assert_int_equal(atl_retry_packet(packet, sizeof(packet), 2, &dcid, &scid, &odcid,
                                      (const uint8_t *)"token", 5),
                     ATLAS_ERR_INVALID);
    assert_int_equal(
        atl_retry_packet(packet, sizeof(packet), NGTCP2_PROTO_VER_V1, &dcid, &scid, &odcid, big, 0),
        ATLAS_ERR_INVALID);
    assert_int_equal(atl_retry_packet(packet, sizeof(packet), NGTCP2_PROTO_VER_V1, &dcid, &scid,
                                      &odcid, big, sizeof(big)),
                     ATLAS_ERR_INVALID);
}

static void reset_token(void **state) {
    ngtcp2_cid a = make_cid(1, 8), b = make_cid(2, 8), shorter = make_cid(1, 7);
    uint8_t secret[32] = {9}, one[16], two[16];

    (void)state;
    atl_reset_token(k_secret, &a, one);
    atl_reset_token(k_secret, &a, two);
    assert_memory_equal(one, two, 16);
    atl_reset_token(k_secret, &b, two);
    assert_memory_not_equal(one, two, 16);
    atl_reset_token(k_secret, &shorter, two);
    assert_memory_not_equal(one, two, 16);
    atl_reset_token(secret, &a, two);
    assert_memory_not_equal(one, two, 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(refused),
        cmocka_unit_test(cannot_make), cmocka_unit_test(retry_packet),
        cmocka_unit_test(reset_token),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
