/* Peer records that are refused, limits of making one, and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "record_hand.h"

static const uint8_t QUIC[] = {4, 192, 0, 2, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03};

static atlas_key *make_key(void) {
    atlas_key *key;

    assert_int_equal(atlas_key_from_seed(SEED, &key), ATLAS_OK);
    return key;
}

/* A good record of `n` addresses. */
static void good_record(const atlas_key *key, size_t n, atl_record *out) {
    size_t i;

    memset(out, 0, sizeof(*out));
    atl_key_id(key, &out->head.peer);
    out->head.seq = 42;
    out->head.issued = 1767225600;
    out->head.lifetime = 3600;
    out->head.offers = 3;
    out->n_addrs = n;
    for (i = 0; i < n; i++) {
        assert_int_equal(atl_maddr_from_bytes(QUIC, sizeof(QUIC), &out->addrs[i]), ATLAS_OK);
        out->addrs[i].port = (uint16_t)(1000 + i);
        out->addrs[i].addr.port = (uint16_t)(1000 + i);
    }
}

/* ---- refused ---- */

/* What stands behind a good peer id, seq and address. */
#define RAW(text, rc) \
    { text, sizeof(text) - 1, rc }

static const struct {
    const char *data;
    size_t len;
    int32_t rc;
} PAYLOADS[] = {
    RAW("", ATLAS_OK),
    RAW("\x0a\x26\x00\x24", ATLAS_ERR_TRUNCATED),
    RAW("\x0a\x02\x00\x24", ATLAS_ERR_DUPLICATE), /* peer_id */
    RAW("\x10\x01", ATLAS_ERR_DUPLICATE),         /* seq */
    RAW("\x12\x01\x01", ATLAS_ERR_DUPLICATE),
    RAW("\xa0\x06\x01\xa0\x06\x01", ATLAS_ERR_DUPLICATE), /* offers */
    RAW("\xa8\x06\x01\xa8\x06\x01", ATLAS_ERR_DUPLICATE), /* issued */
    RAW("\xb0\x06\x01\xb0\x06\x01", ATLAS_ERR_DUPLICATE), /* lifetime */
    RAW("\xb0\x06\x00", ATLAS_ERR_MALFORMED),             /* lifetime 0 */
    RAW("\xa2\x06\x00", ATLAS_ERR_MALFORMED),             /* offers: bytes */
    RAW("\xa9\x06 12345678", ATLAS_ERR_MALFORMED),        /* issued: fixed64 */
    RAW("\xb5\x06 1234", ATLAS_ERR_MALFORMED),            /* lifetime: fixed32 */
    RAW("\xa8\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ATLAS_OK) /* 2^63 - 1 */,
    RAW("\xa8\x06\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", ATLAS_ERR_MALFORMED), /* 2^63 */
    RAW("\xa0\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ATLAS_ERR_MALFORMED),
    RAW("\xb0\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ATLAS_ERR_MALFORMED),
    RAW("\xa8\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", ATLAS_ERR_MALFORMED), /* 65 bits */
    RAW("\xa8\x06\xff", ATLAS_ERR_TRUNCATED),
    RAW("\x18\x01", ATLAS_ERR_MALFORMED),         /* an address that is a number */
    RAW("\x1a\x00", ATLAS_ERR_MALFORMED),         /* an address without multiaddr */
    RAW("\x1a\x02\x10\x01", ATLAS_ERR_MALFORMED), /* the same */
    RAW("\x1a\x02\x08\x01", ATLAS_ERR_MALFORMED), /* a multiaddr that is a number */
    RAW("\x1a\x02\x0a\x00", ATLAS_ERR_ADDRESS),   /* an empty one */
    RAW("\x1a\x02\x0a\x01", ATLAS_ERR_TRUNCATED), /* one that ends early */
    RAW("\x1a\x08\x0a\x02\xa2\x02\x0a\x02\xa2\x02", ATLAS_ERR_DUPLICATE),
    RAW("\x1a\x0a\x0a\x02\xa2\x02", ATLAS_ERR_TRUNCATED),
    RAW("\x1a", ATLAS_ERR_TRUNCATED),
    RAW("\x23", ATLAS_ERR_MALFORMED), /* a group */
    RAW("\x00\x00", ATLAS_ERR_MALFORMED),
};

static void payloads(void **state) {
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    for (i = 0; i < ATL_COUNT(PAYLOADS); i++) {
        bytes payload = {.len = 0};
        atl_record record = {.n_addrs = 99, .head.seq = 77};
        int32_t rc;

        put_peer(&payload, &h);
        put_number(&payload, 2, 1);
        put_addr(&payload, QUIC, sizeof(QUIC));
        put(&payload, PAYLOADS[i].data, PAYLOADS[i].len);
        rc = open_payload(&h, &payload, &record);
        if (rc != PAYLOADS[i].rc) {
            fail_msg("row %zu: %d", i, (int)rc);
        }
        assert_int_equal(record.n_addrs, rc == ATLAS_OK ? 1 : 99);
        assert_int_equal(record.head.seq, rc == ATLAS_OK ? 1 : 77);
    }
}

static void numbers_at_their_limits(void **state) {
    bytes payload = {.len = 0};
    atl_record record;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    put_peer(&payload, &h);
    put_number(&payload, 2, (UINT64_C(1) << 63) - 1);
    put_number(&payload, 100, (UINT64_C(1) << 63) - 1);
    put_number(&payload, 101, 0);
    put_number(&payload, 102, (UINT64_C(1) << 63) - 1);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_int_equal(record.head.seq, (UINT64_C(1) << 63) - 1);
    assert_int_equal(record.head.offers, UINT32_MAX);
    assert_int_equal(record.head.issued, 0);
    assert_int_equal(record.head.lifetime, ATL_RECORD_LIFETIME_MAX);
    payload.len = 0;
    put_peer(&payload, &h);
    put_number(&payload, 2, UINT64_C(1) << 63);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
}

static void the_peer(void **state) {
    bytes payload = {.len = 0};
    uint8_t id[38];
    atl_record record;
    hand other;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    hand_init(&other, OTHER_SEED);
    put_number(&payload, 2, 1);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED); /* none */
    put_peer(&payload, &other);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_RECORD_SIGNER);
    assert_int_equal(open_payload(&other, &payload, &record), ATLAS_OK);
    payload.len = 0;
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    put_number(&payload, 1, 1); /* a number */
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    peer_bytes(h.public_key, id);
    payload.len = 0;
    put_field(&payload, 1, id, 37);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    id[0] = 0x12; /* a hash */
    payload.len = 0;
    put_field(&payload, 1, id, 38);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
}

static void the_envelope(void **state) {
    bytes payload = {.len = 0};
    static bytes envelope;
    atl_record record;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    put_peer(&payload, &h);
    h.type = "\x03\x02";
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    h.type = "\x03\x01\x01";
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    h.type = "\x03";
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_MALFORMED);
    hand_init(&h, SEED);
    h.domain = "libp2p-routing-state";
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_SIGNATURE);
    hand_init(&h, SEED);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    /* a foreign field of the envelope is skipped */
    seal(&h, &payload, &envelope);
    put_field(&envelope, 9, "nine", 4);
    assert_int_equal(open_copy(envelope.data, envelope.len, &record), ATLAS_OK);
    put_field(&envelope, 5, "nine", 4);
    assert_int_equal(open_copy(envelope.data, envelope.len, &record), ATLAS_ERR_DUPLICATE);
    assert_int_equal(open_copy((const uint8_t *)"", 0, &record), ATLAS_ERR_MALFORMED);
}

/* Signed by the right key, but of the wrong size. */
static void sizes(void **state) {
    static bytes payload;
    static bytes envelope;
    static uint8_t filler[2048];
    atl_record record;
    size_t base;
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    payload.len = 0;
    put_peer(&payload, &h);
    for (i = 0; i < ATL_RECORD_ADDRS; i++) {
        put_addr(&payload, QUIC, sizeof(QUIC));
    }
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_int_equal(record.head.n_addrs, 16);
    assert_int_equal(record.n_addrs, 1);
    put_addr(&payload, QUIC, sizeof(QUIC));
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_ERR_TOO_LARGE);

    payload.len = 0;
    put_peer(&payload, &h);
    put_field(&payload, 9, filler, 1500);
    seal(&h, &payload, &envelope);
    base = envelope.len;
    for (i = 2046; i <= 2050; i++) {
        payload.len = 0;
        put_peer(&payload, &h);
        put_field(&payload, 9, filler, 1500 + i - base);
        seal(&h, &payload, &envelope);
        assert_int_equal(envelope.len, i);
        assert_int_equal(open_copy(envelope.data, envelope.len, &record),
                         i <= ATL_RECORD_MAX ? ATLAS_OK : ATLAS_ERR_TOO_LARGE);
    }
}

static void every_bit_counts(void **state) {
    uint8_t buf[ATL_RECORD_MAX];
    atlas_key *key = make_key();
    atl_record record;
    size_t len;
    size_t i;

    (void)state;
    good_record(key, 3, &record);
    assert_int_equal(atl_record_make(key, &record, buf, sizeof(buf), &len), ATLAS_OK);
    assert_int_equal(open_copy(buf, len, &record), ATLAS_OK);
    assert_int_equal(record.n_addrs, 3);
    for (i = 0; i < len * 8; i++) {
        atl_record out = {.n_addrs = 99};

        buf[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_int_not_equal(open_copy(buf, len, &out), ATLAS_OK);
        assert_int_equal(out.n_addrs, 99);
        buf[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    for (i = 0; i < len; i++) {
        assert_int_not_equal(open_copy(buf, i, &record), ATLAS_OK);
    }
    atlas_key_free(key);
}

/* ---- making ---- */

static int32_t make(const atlas_key *key, const atl_record *record) {
    uint8_t buf[ATL_RECORD_MAX];
    size_t len = 4711;
    int32_t rc = atl_record_make(key, record, buf, sizeof(buf), &len);

    assert_true(rc == ATLAS_OK || len == 4711);
    return rc;
}

static void heads_that_are_not_made(void **state) {
    atlas_key *key = make_key();
    atl_record good;
    atl_record record;
    hand other;

    (void)state;
    hand_init(&other, OTHER_SEED);
    good_record(key, 1, &good);
    assert_int_equal(make(key, &good), ATLAS_OK);
    record = good;
    memcpy(record.head.peer.key, other.public_key, 32);
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.head.seq = UINT64_C(1) << 63;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.head.issued = UINT64_C(1) << 63;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.head.lifetime = 0;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record.head.lifetime = ATL_RECORD_LIFETIME_MAX + 1;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.n_addrs = ATL_RECORD_ADDRS + 1;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    atlas_key_free(key);
}

static void addresses_that_are_not_made(void **state) {
    atlas_key *key = make_key();
    atl_record good;
    atl_record record;
    hand other;

    (void)state;
    hand_init(&other, OTHER_SEED);
    good_record(key, 2, &good);
    record = good;
    record.addrs[1].quic = 0;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.addrs[1].port = 0;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.addrs[1].host_kind = ATL_HOST_NONE;
    record.addrs[1].has_relay = 1;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.addrs[1].host_kind = ATL_HOST_DNS;
    snprintf(record.addrs[1].host, sizeof(record.addrs[1].host), "a/b");
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.addrs[1].has_relay = 1;
    record.addrs[1].relay = record.head.peer;
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    record = good;
    record.addrs[1].has_peer = 1;
    memcpy(record.addrs[1].peer.key, other.public_key, 32);
    assert_int_equal(make(key, &record), ATLAS_ERR_INVALID);
    atlas_key_free(key);
}

static void room_for_what_is_made(void **state) {
    uint8_t buf[ATL_RECORD_MAX];
    atlas_key *key = make_key();
    atl_record record;
    size_t need;
    size_t n;

    (void)state;
    good_record(key, ATL_RECORD_ADDRS, &record);
    assert_int_equal(atl_record_make(key, &record, buf, sizeof(buf), &need), ATLAS_OK);
    for (n = 0; n < need; n++) {
        size_t len = 4711;

        assert_int_equal(atl_record_make(key, &record, buf, n, &len), ATLAS_ERR_BUFFER);
        assert_int_equal(len, 4711);
    }
    assert_int_equal(open_copy(buf, need, &record), ATLAS_OK);
    assert_int_equal(record.n_addrs, ATL_RECORD_ADDRS);
    atlas_key_free(key);
}

/* Byte by byte up to where the envelope, and later its payload alone, does not fit any more. */
static void too_large_to_be_made(void **state) {
    atlas_key *key = make_key();
    atl_record record;
    size_t refused = 0;
    size_t made = 0;
    size_t n;
    size_t i;

    (void)state;
    good_record(key, ATL_RECORD_ADDRS, &record);
    for (n = 1; n <= ATL_RECORD_ADDRS; n++) {
        char *host = record.addrs[n - 1].host;

        record.addrs[n - 1].host_kind = ATL_HOST_DNS;
        for (i = 0; i < 199; i++) {
            int32_t rc;

            host[i] = i % 50 == 49 ? '.' : 'a';
            if (i % 50 == 49) {
                continue;
            }
            rc = make(key, &record);
            if (rc == ATLAS_OK) {
                assert_int_equal(refused, 0);
                made++;
            } else {
                assert_int_equal(rc, ATLAS_ERR_TOO_LARGE);
                refused++;
            }
        }
    }
    assert_in_range(made, 1500, 1700);
    assert_int_equal(made + refused, ATL_RECORD_ADDRS * 196);
    atlas_key_free(key);
}

/* ---- time ---- */

#define S INT64_C(1000)
#define MAX63 ((UINT64_C(1) << 63) - 1)

static const struct {
    uint64_t issued, lifetime;
    int64_t wall;
    uint64_t drift;
    int32_t rc;
    uint64_t left; /* milliseconds */
} TIMES[] = {
    {1000, 100, 1000 * S, 0, ATLAS_OK, 100000},
    {1000, 100, 1000 * S + 1, 0, ATLAS_OK, 99999},
    {1000, 100, 1099 * S + 999, 0, ATLAS_OK, 1},
    {1000, 100, 1100 * S, 0, ATLAS_OK, 0},
    {1000, 100, 1100 * S + 1, 0, ATLAS_ERR_RECORD_EXPIRED, 0},
    {1000, 100, 1120 * S, 20, ATLAS_OK, 0},
    {1000, 100, 1120 * S + 1, 20, ATLAS_ERR_RECORD_EXPIRED, 0},
    {1000, 100, 999 * S + 999, 0, ATLAS_ERR_RECORD_FUTURE, 100000},
    {1000, 100, 980 * S, 20, ATLAS_OK, 100000},
    {1000, 100, 980 * S - 1, 20, ATLAS_ERR_RECORD_FUTURE, 100000},
    {1000, 100, 0, 0, ATLAS_ERR_RECORD_FUTURE, 100000},
    {1000, 100, INT64_MIN, 999, ATLAS_ERR_RECORD_FUTURE, 100000},
    {1000, 100, INT64_MIN, 1000, ATLAS_OK, 100000},
    {1000, 100, INT64_MAX, 0, ATLAS_ERR_RECORD_EXPIRED, 0},
    {1000, 100, INT64_MAX, UINT64_MAX, ATLAS_OK, 0},
    {1000, 100, INT64_MIN, UINT64_MAX, ATLAS_OK, 100000},
    /* without `issued` */
    {0, 100, 0, 0, ATLAS_OK, 100000},
    {0, 100, INT64_MAX, 0, ATLAS_OK, 100000},
    /* at the end of numbers */
    {MAX63, 86400, 0, 0, ATLAS_ERR_RECORD_FUTURE, 86400000},
    {MAX63, 86400, INT64_MAX, 0, ATLAS_ERR_RECORD_FUTURE, 86400000},
    {MAX63, 86400, INT64_MAX, UINT64_MAX, ATLAS_OK, 86400000},
    {UINT64_MAX, UINT64_MAX, INT64_MAX, UINT64_MAX, ATLAS_OK, 86400000},
    {UINT64_MAX, UINT64_MAX, INT64_MAX, 0, ATLAS_ERR_RECORD_FUTURE, 86400000},
    {1, UINT64_MAX, INT64_MAX, 0, ATLAS_OK, 0},
};

static void times(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(TIMES); i++) {
        atl_record_head head = {.issued = TIMES[i].issued, .lifetime = TIMES[i].lifetime};
        uint64_t left = TIMES[i].left * ATL_MS;

        if (atl_record_in_time(&head, TIMES[i].wall, TIMES[i].drift) != TIMES[i].rc ||
            atl_record_time_left(&head, TIMES[i].wall, UINT64_MAX) != left) {
            fail_msg("row %zu", i);
        }
        assert_int_equal(atl_record_time_left(&head, TIMES[i].wall, left), left);
        assert_int_equal(atl_record_time_left(&head, TIMES[i].wall, left / 2), left / 2);
        assert_int_equal(atl_record_time_left(&head, TIMES[i].wall, 0), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads),
        cmocka_unit_test(numbers_at_their_limits),
        cmocka_unit_test(the_peer),
        cmocka_unit_test(the_envelope),
        cmocka_unit_test(sizes),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(heads_that_are_not_made),
        cmocka_unit_test(addresses_that_are_not_made),
        cmocka_unit_test(room_for_what_is_made),
        cmocka_unit_test(too_large_to_be_made),
        cmocka_unit_test(times),
    };

    return cmocka_run_group_tests_name("record_hostile", tests, NULL, NULL);
}
