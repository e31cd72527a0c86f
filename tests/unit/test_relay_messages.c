/* The relay's messages: round trips, one vector written by hand from docs/protocol.md, and every
 * way to spoil a message: cut at each byte, a parameter missing, twice, longer, shorter, with a
 * huge length, unknown ones added. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/messages.h"

typedef union any {
    atl_relay_announce announce;
    atl_relay_connect connect;
    atl_relay_ready ready;
    atl_relay_error error;
    atl_relay_incoming incoming;
    atl_relay_accept accept;
    atl_relay_close close;
    atl_relay_drain drain;
} any;

typedef int32_t (*encode_fn)(const void *msg, uint8_t *buf, size_t cap, size_t *len);
typedef int32_t (*decode_fn)(const uint8_t *value, size_t len, void *out);

#define FUNCTIONS(name)                                                                 \
    static int32_t enc_##name(const void *msg, uint8_t *buf, size_t cap, size_t *len) { \
        return atl_relay_##name##_encode(msg, buf, cap, len);                           \
    }                                                                                   \
    static int32_t dec_##name(const uint8_t *value, size_t len, void *out) {            \
        return atl_relay_##name##_decode(value, len, out);                              \
    }

FUNCTIONS(announce)
FUNCTIONS(connect)
FUNCTIONS(ready)
FUNCTIONS(error)
FUNCTIONS(incoming)
FUNCTIONS(accept)
FUNCTIONS(close)
FUNCTIONS(drain)

typedef struct sample {
    const char *name;
    uint64_t type;
    encode_fn encode;
    decode_fn decode;
    uint32_t optional; /* bit i: parameter i may be missing */
    size_t size;
    any msg;
} sample;

#define KEY(byte)                                                                               \
    {                                                                                           \
        {                                                                                       \
            byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, \
                byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte, byte,   \
                byte, byte, byte, byte, byte                                                    \
        }                                                                                       \
    }
#define ID(byte) \
    { byte, 1, 2, 3, 4, 5, 6, 7 }
#define SAMPLE(text, TYPE, name, optional, ...)                                               \
    {                                                                                         \
        text, ATL_RELAY_##TYPE, enc_##name, dec_##name, optional, sizeof(atl_relay_##name), { \
            .name = __VA_ARGS__                                                               \
        }                                                                                     \
    }

static const sample SAMPLES[] = {
    SAMPLE("announce", ANNOUNCE, announce, 0, {.node = KEY(7), .timestamp = 1795368000123}),
    SAMPLE("announce, yielding", ANNOUNCE, announce, 4,
           {.node = KEY(7), .timestamp = 0, .yield = 1}),
    SAMPLE("connect", CONNECT, connect, 0,
           {.request = 300,
            .source = KEY(1),
            .target = KEY(2),
            .receive_id = ID(9),
            .timestamp = 1795368000123}),
    SAMPLE("waiting", READY, ready, 4 + 8 + 16,
           {.status = ATL_RELAY_STATUS_WAITING,
            .expiry = 6000,
            .interval = 2000,
            .bandwidth = 1048576,
            .observed = {.family = 4, .ip = {192, 0, 2, 7}, .port = 4001}}),
    SAMPLE("waiting, IPv6", READY, ready, 4 + 8 + 16,
           {.status = ATL_RELAY_STATUS_WAITING,
            .expiry = 6000,
            .observed = {.family = 6, .ip = {0x20, 1, 0x0d, 0xb8, [15] = 1}, .port = 65535}}),
    SAMPLE("waiting, no address", READY, ready, 4 + 8,
           {.status = ATL_RELAY_STATUS_WAITING, .expiry = 1}),
    SAMPLE("ready", READY, ready, 16,
           {.status = ATL_RELAY_STATUS_READY,
            .request = 300,
            .circuit = 12345678901,
            .send_id = ID(0xff)}),
    SAMPLE("error", ERROR, error, 1 + 4,
           {.has_request = 1,
            .request = 300,
            .code = ATLAS_ERR_RELAY_NOT_REGISTERED,
            .reason = "no such node"}),
    SAMPLE("error, general", ERROR, error, 0, {.code = ATLAS_ERR_RELAY_CLOCK_DRIFT}),
    SAMPLE("incoming", INCOMING, incoming, 0, {.circuit = 5, .source = KEY(1), .send_id = ID(1)}),
    SAMPLE("accept", ACCEPT, accept, 0, {.circuit = 5, .receive_id = ID(3)}),
    SAMPLE("refusal", ACCEPT, accept, 0, {.circuit = 5, .code = ATLAS_ERR_RELAY_REFUSED}),
    SAMPLE("close", CLOSE, close, 0, {.circuit = 5, .code = ATLAS_ERR_RELAY_CIRCUIT_CLOSED}),
    SAMPLE("close for a reason", CLOSE, close, 0, {.circuit = 5, .code = ATLAS_ERR_RELAY_EXPIRED}),
    SAMPLE("drain", DRAIN, drain, 0, {.within = 30000}),
};

/* ---- taking messages apart and putting them together again ---- */

typedef struct part {
    uint64_t id;
    const uint8_t *data;
    size_t len;
} part;

static size_t take_apart(const uint8_t *value, size_t len, part *parts) {
    atl_reader reader;
    size_t n = 0;

    atl_reader_init(&reader, value, len);
    while (reader.left > 0) {
        atl_reader sub;

        assert_int_equal(atl_read_varint(&reader, &parts[n].id), ATLAS_OK);
        assert_int_equal(atl_read_varint_sub(&reader, &sub), ATLAS_OK);
        parts[n].data = sub.data;
        parts[n].len = sub.left;
        n++;
    }
    return n;
}

static void put_part(atl_writer *writer, const part *p) {
    atl_write_varint(writer, p->id);
    atl_write_varint(writer, p->len);
    atl_write_bytes(writer, p->data, p->len);
}

/* Encodes a sample and returns its value, of which *len is the length. */
static const uint8_t *encode(const sample *s, uint8_t buf[ATL_RELAY_MESSAGE_MAX], size_t *len) {
    atl_reader reader;
    uint64_t type;
    uint64_t value_len;
    size_t total = 0;

    if (s->encode(&s->msg, buf, ATL_RELAY_MESSAGE_MAX, &total) != ATLAS_OK) {
        fail_msg("%s does not encode", s->name);
    }
    atl_reader_init(&reader, buf, total);
    assert_int_equal(atl_read_varint(&reader, &type), ATLAS_OK);
    assert_int_equal(atl_read_varint(&reader, &value_len), ATLAS_OK);
    assert_int_equal(type, s->type);
    assert_int_equal(value_len, reader.left);
    *len = reader.left;
    return reader.data;
}

/* Decodes an exact copy on the heap; failures must leave the output alone. */
static int32_t decode(const sample *s, const uint8_t *value, size_t len, any *out) {
    uint8_t *copy = malloc(len + 1);
    any before;
    int32_t status;

    memset(out, 0xa5, sizeof(*out));
    before = *out;
    memcpy(copy, value, len);
    status = s->decode(copy, len, out);
    free(copy);
    if (status != ATLAS_OK) {
        assert_memory_equal(&before, out, sizeof(before));
    }
    return status;
}

static void expect(const sample *s, const char *what, size_t i, int32_t got, int32_t wanted) {
    if (got != wanted) {
        fail_msg("%s, %s %zu: %d, not %d", s->name, what, i, got, wanted);
    }
}

/* ---- tests ---- */

static void test_round_trip(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        const sample *s = &SAMPLES[i];
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        size_t len = 0;
        const uint8_t *value = encode(s, buf, &len);
        any out;

        expect(s, "round trip", i, decode(s, value, len, &out), ATLAS_OK);
        assert_memory_equal(&out, &s->msg, s->size);
        assert_int_equal(atl_relay_known(NULL, s->type), ATL_RELAY_VALUE_MAX);
    }
    assert_int_equal(atl_relay_known(NULL, ATL_RELAY_ANNOUNCE - 1), 0);
    assert_int_equal(atl_relay_known(NULL, ATL_RELAY_DRAIN + 1), 0);
}

static void test_small_buffers(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        size_t full = 0;
        size_t len = 0;

        assert_int_equal(SAMPLES[i].encode(&SAMPLES[i].msg, buf, sizeof(buf), &full), ATLAS_OK);
        for (size_t cap = 0; cap < full; cap++) {
            assert_int_equal(SAMPLES[i].encode(&SAMPLES[i].msg, buf, cap, &len), ATLAS_ERR_BUFFER);
        }
        assert_int_equal(len, 0);
    }
}

static void test_cut_everywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        const sample *s = &SAMPLES[i];
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        size_t len = 0;
        const uint8_t *value = encode(s, buf, &len);
        part parts[16];
        size_t n = take_apart(value, len, parts);

        for (size_t cut = 0; cut < len; cut++) {
            int whole = 0; /* only optional parameters are cut off, at a boundary */
            any out;

            for (size_t k = n; k > 0 && (s->optional >> (k - 1) & 1) != 0; k--) {
                whole |= value + cut == parts[k - 1].data - 2 - (parts[k - 1].len > 63);
            }
            if ((decode(s, value, cut, &out) == ATLAS_OK) != whole) {
                fail_msg("%s, cut at %zu of %zu", s->name, cut, len);
            }
        }
    }
}

static void test_missing_and_twice(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        const sample *s = &SAMPLES[i];
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        size_t len = 0;
        const uint8_t *value = encode(s, buf, &len);
        part parts[16];
        size_t n = take_apart(value, len, parts);

        for (size_t k = 0; k < n; k++) {
            uint8_t spoilt[2 * ATL_RELAY_MESSAGE_MAX];
            atl_writer writer;
            any out;

            atl_writer_init(&writer, spoilt, sizeof(spoilt));
            for (size_t j = 0; j < n; j++) {
                if (j != k) {
                    put_part(&writer, &parts[j]);
                }
            }
            expect(s, "without", k, decode(s, spoilt, writer.len, &out),
                   (s->optional >> k & 1) != 0 ? ATLAS_OK : ATLAS_ERR_MALFORMED);
            put_part(&writer, &parts[k]);
            expect(s, "moved", k, decode(s, spoilt, writer.len, &out), ATLAS_OK);
            put_part(&writer, &parts[k]);
            expect(s, "twice", k, decode(s, spoilt, writer.len, &out), ATLAS_ERR_DUPLICATE);
        }
    }
}

/* The value of parameter k with one byte more, one less, or none. */
static void test_wrong_lengths(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        const sample *s = &SAMPLES[i];
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        size_t len = 0;
        const uint8_t *value = encode(s, buf, &len);
        part parts[16];
        size_t n = take_apart(value, len, parts);

        for (size_t k = 0; k < n; k++) {
            static const int CHANGES[] = {1, -1, -1000};

            for (size_t c = 0; c < ATL_COUNT(CHANGES) && parts[k].id != ATL_RELAY_P_REASON; c++) {
                uint8_t spoilt[2 * ATL_RELAY_MESSAGE_MAX];
                uint8_t data[64] = {0};
                part changed = parts[k];
                atl_writer writer;
                any out;

                memcpy(data, parts[k].data, parts[k].len);
                changed.data = data;
                changed.len = CHANGES[c] < -1 ? 0 : parts[k].len + (size_t)CHANGES[c];
                atl_writer_init(&writer, spoilt, sizeof(spoilt));
                for (size_t j = 0; j < n; j++) {
                    put_part(&writer, j == k ? &changed : &parts[j]);
                }
                expect(s, "wrong length of", k, decode(s, spoilt, writer.len, &out),
                       ATLAS_ERR_MALFORMED);
            }
        }
    }
}

static void test_unknown_and_huge(void **state) {
    (void)state;
    for (size_t i = 0; i < ATL_COUNT(SAMPLES); i++) {
        const sample *s = &SAMPLES[i];
        uint8_t buf[ATL_RELAY_MESSAGE_MAX];
        uint8_t more[2048];
        size_t len = 0;
        const uint8_t *value = encode(s, buf, &len);
        atl_writer writer;
        any out;

        atl_writer_init(&writer, more, sizeof(more));
        atl_write_varint(&writer, 0x3ffff);
        atl_write_varint(&writer, 300);
        atl_write_zeros(&writer, 300);
        atl_write_bytes(&writer, value, len);
        expect(s, "unknown", 0, decode(s, more, writer.len, &out), ATLAS_OK);
        assert_memory_equal(&out, &s->msg, s->size);
        atl_write_varint(&writer, 0x3ffff);
        atl_write_varint(&writer, 0);
        expect(s, "unknown", 2, decode(s, more, writer.len, &out), ATLAS_ERR_DUPLICATE);
        atl_writer_init(&writer, more, sizeof(more));
        atl_write_bytes(&writer, value, len);
        atl_write_varint(&writer, 0x3ffff);
        atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
        expect(s, "huge", 0, decode(s, more, writer.len, &out), ATLAS_ERR_TRUNCATED);
    }
}

/* Parameter lists that are well-formed and still wrong. */
static void test_contradictions(void **state) {
    static const struct {
        const char *name;
        decode_fn decode;
        const char *bytes;
        size_t len;
    } ROWS[] = {
#define ROW(name, fn, bytes) {name, fn, bytes, sizeof(bytes) - 1}
        ROW("accept with both", dec_accept, "\x09\x01\x05\x07\x08iiiiiiii\x0f\x01\x04"),
        ROW("accept with neither", dec_accept, "\x09\x01\x05"),
        ROW("refusal for no reason", dec_accept, "\x09\x01\x05\x0f\x01\x00"),
        ROW("error without error", dec_error, "\x0f\x01\x00"),
        ROW("ready with an unknown status", dec_ready, "\x0a\x01\x03\x0b\x01\x01"),
        ROW("ready without status", dec_ready, "\x0b\x01\x01"),
        ROW("observed address of 7 bytes", dec_ready, "\x0a\x01\x01\x0b\x01\x01\x0c\x07iiiiiii"),
#undef ROW
    };
    any out;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(ROWS); i++) {
        if (ROWS[i].decode((const uint8_t *)ROWS[i].bytes, ROWS[i].len, &out) !=
            ATLAS_ERR_MALFORMED) {
            fail_msg("%s", ROWS[i].name);
        }
    }
}

/* Written by hand from docs/protocol.md; the key is that of the libp2p vector in the peer id
 * specification. */
static void test_vector(void **state) {
    static const uint8_t EXPECTED[] = {
        0xaa, 0x7a, 0x50, 0x30, 0x40, 0x35,             /* RelayAnnounce, 53 bytes */
        0x01, 0x26, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20, /* node_id */
        0x1e, 0xd1, 0xe8, 0xfa, 0xe2, 0xc4, 0xa1, 0x44, 0xb8, 0xbe, 0x8f, 0xd4, /* the key */
        0xb4, 0x7b, 0xf3, 0xd3, 0xb3, 0x4b, 0x87, 0x1c, 0x3c, 0xac, 0xf6, 0x01, /* */
        0x0f, 0x0e, 0x42, 0xd4, 0x74, 0xfc, 0xe2, 0x7e,                         /* */
        0x02, 0x08, 0xc0, 0x00, 0x01, 0xa2, 0x04, 0x98, 0x5a, 0x00,             /* timestamp */
        0x03, 0x01, 0x01,                                                       /* yield */
    };
    atl_relay_announce msg = {.timestamp = UINT64_C(0x1a204985a00), .yield = 1};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;

    (void)state;
    memcpy(msg.node.key, EXPECTED + 14, sizeof(msg.node.key));
    assert_int_equal(atl_relay_announce_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    assert_int_equal(len, sizeof(EXPECTED));
    assert_memory_equal(buf, EXPECTED, len);
}

static void test_foreign_key(void **state) {
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;
    const uint8_t *value = encode(&SAMPLES[0], buf, &len);
    any out;

    (void)state;
    buf[value - buf + 5] ^= 1; /* inside the multihash: another key type */
    assert_int_equal(decode(&SAMPLES[0], value, len, &out), ATLAS_ERR_PEER_ID);
}

static void test_reasons(void **state) {
    atl_relay_error in = {.code = ATLAS_ERR_RELAY_REFUSED};
    atl_relay_error out;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    uint8_t value[300] = {0x0f, 0x01, 0x04, 0x10, 0x41, 0x01};
    size_t len = 0;

    (void)state;
    memset(in.reason, 'r', ATL_RELAY_REASON_MAX);
    assert_int_equal(atl_relay_error_encode(&in, buf, sizeof(buf), &len), ATLAS_OK);
    assert_int_equal(atl_relay_error_decode(value, 6 + 257, &out), ATLAS_ERR_MALFORMED);
    value[5] = 0;
    memcpy(value + 6, "\x1b]0;\x7f\xc2\x9bok", 9);
    assert_int_equal(atl_relay_error_decode(value, 6 + 256, &out), ATLAS_OK);
    assert_memory_equal(out.reason, "?]0;???ok?", 10);
    assert_int_equal(strlen(out.reason), 256);
}

static void test_bad_arguments(void **state) {
    atl_relay_drain drain = {UINT64_C(1) << 62};
    atl_relay_ready ready = {.status = 0};
    atl_relay_error error = {.code = ATLAS_OK};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    (void)state;
    assert_int_equal(atl_relay_drain_encode(&drain, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    assert_int_equal(atl_relay_ready_encode(&ready, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
    assert_int_equal(atl_relay_error_encode(&error, buf, sizeof(buf), &len), ATLAS_ERR_INVALID);
}

static void test_codes(void **state) {
    (void)state;
    for (uint64_t wire = 0; wire <= ATL_RELAY_CODE_INTERNAL; wire++) {
        assert_int_equal(atl_relay_code_to_wire(atl_relay_code_from_wire(wire)), wire);
        assert_int_not_equal(atl_relay_code_from_wire(wire), ATLAS_OK);
    }
    assert_int_equal(atl_relay_code_from_wire(14), ATLAS_ERR_INTERNAL);
    assert_int_equal(atl_relay_code_from_wire(UINT64_MAX), ATLAS_ERR_INTERNAL);
    assert_int_equal(atl_relay_code_from_wire(1), ATLAS_ERR_RELAY_NOT_REGISTERED);
    assert_int_equal(atl_relay_code_to_wire(ATLAS_OK), ATL_RELAY_CODE_CLOSED);
    assert_int_equal(atl_relay_code_to_wire(ATLAS_ERR_IO), ATL_RELAY_CODE_INTERNAL);
    assert_int_equal(atl_relay_code_to_wire(ATLAS_ERR_DUPLICATE), ATL_RELAY_CODE_MALFORMED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_cut_everywhere), cmocka_unit_test(test_missing_and_twice),
        cmocka_unit_test(test_wrong_lengths),  cmocka_unit_test(test_unknown_and_huge),
        cmocka_unit_test(test_contradictions), cmocka_unit_test(test_vector),
        cmocka_unit_test(test_foreign_key),    cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_bad_arguments),  cmocka_unit_test(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
