/* The messages of a dial-back: exact bytes, round trips, and what does not pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/dialback_message.h"
#include "stun/message.h"

static const uint8_t NONCE[ATL_DIALBACK_NONCE] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                                  0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

static atl_addr addr(const char *text) {
    atl_addr out;

    assert_int_equal(atl_addr_parse(text, &out), ATLAS_OK);
    return out;
}

static atl_dialback_request request(size_t n) {
    atl_dialback_request msg;
    size_t i;

    memset(&msg, 0, sizeof(msg));
    memcpy(msg.nonce, NONCE, sizeof(NONCE));
    msg.n_candidates = n;
    for (i = 0; i < n && i < ATL_DIALBACK_CANDIDATES; i++) {
        msg.candidates[i] = addr(i % 2 == 0 ? "203.0.113.7:4001" : "[2001:db8::7]:4001");
        msg.candidates[i].port = (uint16_t)(4001 + i);
    }
    return msg;
}

/* ---- request ---- */

static void request_bytes(void **state) {
    static const uint8_t head[] = {
        0x01, 16,   0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,
        0x1c, 0x1d, 0x1e, 0x1f, 0x02, 7,    4,    203,  0,    113,  7,    0x0f, 0xa1, 0x05,
    };
    atl_dialback_request msg = request(1);
    uint8_t buf[ATL_DIALBACK_BODY_MAX];
    size_t len = 0;

    (void)state;
    assert_int_equal(atl_dialback_request_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    assert_memory_equal(buf, head, sizeof(head));
    assert_int_equal(len, ATL_DIALBACK_PRICE);
}

/* Any number of candidates; what may be sent for them is paid for. */
static void request_round_trip(void **state) {
    size_t n;

    (void)state;
    for (n = 0; n <= ATL_DIALBACK_CANDIDATES; n++) {
        atl_dialback_request msg = request(n);
        atl_dialback_request again;
        uint8_t buf[ATL_DIALBACK_BODY_MAX];
        size_t len = 0;
        size_t short_len = 77;

        assert_int_equal(atl_dialback_request_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
        assert_int_equal(len, n == 0 ? 18 : n * ATL_DIALBACK_PRICE);
        assert_true(len >= n * 2 * ATL_DIALBACK_REPEATS * ATL_DIALBACK_DATAGRAM);
        memset(&again, 0xff, sizeof(again));
        assert_int_equal(atl_dialback_request_decode(buf, len, &again), ATLAS_OK);
        assert_memory_equal(&again, &msg, sizeof(msg));
        assert_int_equal(atl_dialback_request_encode(&msg, buf, len - 1, &short_len),
                         ATLAS_ERR_BUFFER);
        assert_int_equal(short_len, 77);
    }
}

static void request_cannot_be_written(void **state) {
    atl_dialback_request msg = request(ATL_DIALBACK_CANDIDATES + 1);
    uint8_t buf[ATL_DIALBACK_BODY_MAX];
    size_t len = 77;

    (void)state;
    assert_int_equal(atl_dialback_request_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    msg = request(2);
    memset(&msg.candidates[1], 0, sizeof(msg.candidates[1]));
    assert_int_equal(atl_dialback_request_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    assert_int_equal(len, 77);
}

/* An IPv4 address in IPv6 clothes is an IPv4 address. */
static void request_is_canonical(void **state) {
    static const uint8_t mapped[] = {6, 0,    0,    0,   0, 0,   0, 0, 0, 0,
                                     0, 0xff, 0xff, 203, 0, 113, 7, 0, 9};
    atl_addr plain = addr("203.0.113.7:9");
    atl_dialback_request msg;
    uint8_t buf[64] = {1, 16};
    size_t at = 18;

    (void)state;
    buf[at++] = 2;
    buf[at++] = sizeof(mapped);
    memcpy(buf + at, mapped, sizeof(mapped));
    assert_int_equal(atl_dialback_request_decode(buf, at + sizeof(mapped), &msg), ATLAS_OK);
    assert_int_equal(msg.n_candidates, 1);
    assert_true(atl_addr_equal(&msg.candidates[0], &plain));
}

/* Each row is what follows a nonce that is right. */
static void request_refusals(void **state) {
    static const struct {
        size_t nonce; /* bytes of it */
        size_t len;
        uint8_t rest[80];
        int32_t code;
    } rows[] = {
        {15, 0, {0}, ATLAS_ERR_MALFORMED},
        {17, 0, {0}, ATLAS_ERR_MALFORMED},
        {16, 2, {2, 0}, ATLAS_ERR_MALFORMED},                          /* an empty list */
        {16, 9, {2, 7, 5, 1, 2, 3, 4, 0, 9}, ATLAS_ERR_MALFORMED},     /* family 5 */
        {16, 8, {2, 6, 4, 1, 2, 3, 4, 0}, ATLAS_ERR_MALFORMED},        /* half a port */
        {16, 9, {2, 7, 6, 1, 2, 3, 4, 0, 9}, ATLAS_ERR_MALFORMED},     /* half an address */
        {16, 10, {2, 8, 4, 1, 2, 3, 4, 0, 9, 4}, ATLAS_ERR_MALFORMED}, /* half a second */
        {16, 8, {2, 7, 4, 1, 2, 3, 4, 0}, ATLAS_ERR_TRUNCATED},
        {16, 18, {2, 7, 4, 1, 2, 3, 4, 0, 9, 2, 7, 4, 1, 2, 3, 4, 0, 9}, ATLAS_ERR_DUPLICATE},
        {16,
         65,
         {2, 63, [2] = 4, [9] = 4, [16] = 4, [23] = 4, [30] = 4, [37] = 4, [44] = 4, [51] = 4,
          [58] = 4},
         ATLAS_ERR_MALFORMED}, /* nine */
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t buf[128] = {1};
        size_t len = 2 + rows[i].nonce;
        atl_dialback_request msg;
        atl_dialback_request before;

        buf[1] = (uint8_t)rows[i].nonce;
        memcpy(buf + len, rows[i].rest, rows[i].len);
        memset(&msg, 0x5a, sizeof(msg));
        before = msg;
        assert_int_equal(atl_dialback_request_decode(buf, len + rows[i].len, &msg), rows[i].code);
        assert_memory_equal(&msg, &before, sizeof(msg));
    }
    /* eight are fine, and so is what is unknown */
    {
        uint8_t buf[128] = {1, 16, [18] = 2, [19] = 56};
        atl_dialback_request msg;

        for (i = 0; i < 8; i++) {
            buf[20 + 7 * i] = 4;
        }
        buf[76] = 0x3f;
        buf[77] = 1;
        assert_int_equal(atl_dialback_request_decode(buf, 79, &msg), ATLAS_OK);
        assert_int_equal(msg.n_candidates, 8);
        assert_int_equal(atl_dialback_request_decode(buf, 0, &msg), ATLAS_ERR_MALFORMED);
    }
}

/* ---- reply ---- */

static void reply_round_trip(void **state) {
    static const uint8_t four[] = {3, 7, 4, 198, 51, 100, 9, 0x1f, 0x90, 4, 3, 2, 0, 3};
    atl_dialback_reply msg;
    atl_dialback_reply again;
    uint8_t buf[64];
    size_t len = 0;
    size_t n;

    (void)state;
    memset(&msg, 0, sizeof(msg));
    msg.observed = addr("198.51.100.9:8080");
    msg.n_results = 3;
    msg.results[0] = ATL_DIALBACK_ADDRESS;
    msg.results[1] = ATL_DIALBACK_NOT_YOURS;
    msg.results[2] = ATL_DIALBACK_FAILED;
    assert_int_equal(atl_dialback_reply_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    assert_int_equal(len, sizeof(four));
    assert_memory_equal(buf, four, sizeof(four));
    msg.observed = addr("[2001:db8::9]:1");
    for (n = 0; n <= ATL_DIALBACK_CANDIDATES; n++) {
        memset(msg.results, 0, sizeof(msg.results));
        memset(msg.results, ATL_DIALBACK_PORT, n);
        msg.n_results = n;
        assert_int_equal(atl_dialback_reply_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
        memset(&again, 0xff, sizeof(again));
        assert_int_equal(atl_dialback_reply_decode(buf, len, &again), ATLAS_OK);
        assert_memory_equal(&again, &msg, sizeof(msg));
        assert_int_equal(atl_dialback_reply_encode(&msg, buf, len - 1, &len), ATLAS_ERR_BUFFER);
    }
    msg.n_results = ATL_DIALBACK_CANDIDATES + 1;
    assert_int_equal(atl_dialback_reply_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    msg.n_results = 1;
    memset(&msg.observed, 0, sizeof(msg.observed));
    assert_int_equal(atl_dialback_reply_encode(&msg, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

static void reply_refusals(void **state) {
    static const struct {
        size_t len;
        uint8_t data[32];
        int32_t code;
    } rows[] = {
        {0, {0}, ATLAS_ERR_MALFORMED},
        {9, {3, 7, 4, 1, 2, 3, 4, 0, 9}, ATLAS_ERR_MALFORMED},              /* no results */
        {4, {4, 2, 1, 1}, ATLAS_ERR_MALFORMED},                             /* no address */
        {12, {3, 7, 4, 1, 2, 3, 4, 0, 9, 4, 1, 4}, ATLAS_ERR_MALFORMED},    /* result 4 */
        {12, {3, 7, 9, 1, 2, 3, 4, 0, 9, 4, 1, 1}, ATLAS_ERR_MALFORMED},    /* family 9 */
        {13, {3, 8, 4, 1, 2, 3, 4, 0, 9, 0, 4, 1, 1}, ATLAS_ERR_MALFORMED}, /* too long */
        {12, {3, 7, 6, 1, 2, 3, 4, 0, 9, 4, 1, 1}, ATLAS_ERR_MALFORMED},    /* too short */
        {20, {3, 7, 4, 1, 2, 3, 4, 0, 9, 4, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1}, ATLAS_ERR_MALFORMED},
        {15, {3, 7, 4, 1, 2, 3, 4, 0, 9, 4, 1, 1, 4, 1, 1}, ATLAS_ERR_DUPLICATE},
        {11, {3, 7, 4, 1, 2, 3, 4, 0, 9, 4, 1}, ATLAS_ERR_TRUNCATED},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        atl_dialback_reply msg;
        atl_dialback_reply before;

        memset(&msg, 0x5a, sizeof(msg));
        before = msg;
        assert_int_equal(atl_dialback_reply_decode(rows[i].data, rows[i].len, &msg), rows[i].code);
        assert_memory_equal(&msg, &before, sizeof(msg));
    }
}

/* ---- datagram ---- */

static void datagram_bytes(void **state) {
    static const uint8_t head[] = {
        0x00, 0x11, 0x00, 0x20, 0x21, 0x12, 0xa4, 0x42, 0x10, 0x11, 0x12, 0x13,
        0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0xc0, 0xa7, 0x00, 0x14,
        0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,
        0x1c, 0x1d, 0x1e, 0x1f, 0x05, 0x02, 0x00, 0x00, 0x80, 0x28, 0x00, 0x04,
    };
    uint8_t buf[ATL_DIALBACK_DATAGRAM];
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t index = 99;
    uint8_t from = 99;
    size_t len = 0;

    (void)state;
    assert_int_equal(
        atl_dialback_datagram_encode(NONCE, 5, ATL_DIALBACK_FROM_ADDRESS, buf, sizeof(buf), &len),
        ATLAS_OK);
    assert_int_equal(len, ATL_DIALBACK_DATAGRAM);
    assert_memory_equal(buf, head, sizeof(head));
    assert_int_equal(atl_dialback_datagram_decode(buf, len, nonce, &index, &from), ATLAS_OK);
    assert_memory_equal(nonce, NONCE, sizeof(nonce));
    assert_int_equal(index, 5);
    assert_int_equal(from, ATL_DIALBACK_FROM_ADDRESS);
    assert_int_equal(
        atl_dialback_datagram_encode(NONCE, 0, ATL_DIALBACK_FROM_PORT, buf, sizeof(buf) - 1, &len),
        ATLAS_ERR_BUFFER);
}

typedef struct form {
    uint8_t cls;
    uint16_t method;
    uint8_t id_off;  /* added to the first byte of the id */
    uint16_t before; /* an attribute in front of ours; 0: none */
    uint16_t type;
    size_t value; /* bytes of it */
    uint8_t index;
    uint8_t from;
    uint8_t twice;
    uint8_t no_fingerprint;
    int passes;
} form;

static size_t make(const form *f, uint8_t *buf, size_t cap) {
    uint8_t value[32] = {0};
    uint8_t id[ATL_STUN_ID_LEN];
    atl_writer writer;

    memcpy(value, NONCE, sizeof(NONCE));
    value[16] = f->index;
    value[17] = f->from;
    memcpy(id, NONCE, sizeof(id));
    id[0] = (uint8_t)(id[0] + f->id_off);
    atl_writer_init(&writer, buf, cap);
    atl_stun_begin(&writer, f->cls, f->method, id);
    if (f->before != 0) {
        atl_stun_put(&writer, f->before, "abc", 3);
    }
    atl_stun_put(&writer, f->type, value, f->value);
    if (f->twice) {
        value[16] = 7;
        atl_stun_put(&writer, f->type, value, f->value);
    }
    if (!f->no_fingerprint) {
        atl_stun_put_fingerprint(&writer);
    }
    assert_int_equal(writer.error, ATLAS_OK);
    return writer.len;
}

static void datagram_forms(void **state) {
    static const form rows[] = {
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 3, 1, 0, 0, 1},
        {ATL_STUN_INDICATION, 1, 0, 0x8022, 0xc0a7, 20, 3, 2, 0, 0, 1}, /* and SOFTWARE */
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 3, 1, 1, 0, 1},      /* the first counts */
        {ATL_STUN_REQUEST, 1, 0, 0, 0xc0a7, 20, 3, 1, 0, 0, 0},
        {ATL_STUN_SUCCESS, 1, 0, 0, 0xc0a7, 20, 3, 1, 0, 0, 0},
        {ATL_STUN_INDICATION, 2, 0, 0, 0xc0a7, 20, 3, 1, 0, 0, 0},
        {ATL_STUN_INDICATION, 1, 1, 0, 0xc0a7, 20, 3, 1, 0, 0, 0},      /* another id */
        {ATL_STUN_INDICATION, 1, 0, 0x7abc, 0xc0a7, 20, 3, 1, 0, 0, 0}, /* must be understood */
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a8, 20, 3, 1, 0, 0, 0},
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 19, 3, 1, 0, 0, 0},
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 24, 3, 1, 0, 0, 0},
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 8, 1, 0, 0, 0}, /* index */
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 3, 0, 0, 0, 0}, /* source */
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 3, 3, 0, 0, 0},
        {ATL_STUN_INDICATION, 1, 0, 0, 0xc0a7, 20, 3, 1, 0, 1, 0}, /* no FINGERPRINT */
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t buf[128];
        size_t len = make(&rows[i], buf, sizeof(buf));
        uint8_t nonce[ATL_DIALBACK_NONCE] = {0x77};
        uint8_t index = 99;
        uint8_t from = 99;
        int32_t rc = atl_dialback_datagram_decode(buf, len, nonce, &index, &from);

        assert_int_equal(rc, rows[i].passes ? ATLAS_OK : ATLAS_ERR_MALFORMED);
        assert_int_equal(index, rows[i].passes ? 3 : 99);
        assert_int_equal(from, rows[i].passes ? rows[i].from : 99);
        assert_int_equal(nonce[0], rows[i].passes ? NONCE[0] : 0x77);
        /* no byte of it may differ, none be missing */
        if (i == 0) {
            size_t at;

            for (at = 0; at < len; at++) {
                assert_int_equal(atl_dialback_datagram_decode(buf, at, nonce, &index, &from),
                                 ATLAS_ERR_MALFORMED);
                buf[at] ^= 0x40;
                assert_int_equal(atl_dialback_datagram_decode(buf, len, nonce, &index, &from),
                                 ATLAS_ERR_MALFORMED);
                buf[at] ^= 0x40;
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_bytes),
        cmocka_unit_test(request_round_trip),
        cmocka_unit_test(request_cannot_be_written),
        cmocka_unit_test(request_is_canonical),
        cmocka_unit_test(request_refusals),
        cmocka_unit_test(reply_round_trip),
        cmocka_unit_test(reply_refusals),
        cmocka_unit_test(datagram_bytes),
        cmocka_unit_test(datagram_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
