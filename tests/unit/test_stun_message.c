/* The STUN codec: published vectors, what must be refused, and what it writes itself. */
#include "stun/message.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MATRIX "\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9"

static const char PASSWORD[] = "VOkJxbRl1RmTxUk/WvJxBt";

/* RFC 5769 section 2.1 */
static const char REQUEST[] =
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/* RFC 5769 section 2.2 */
static const char RESPONSE4[] =
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/* RFC 5769 section 2.3 */
static const char RESPONSE6[] =
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
/* RFC 5769 section 2.4 */
static const char LONG_TERM[] =
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
/* RFC 8489 appendix B.1, with the integrity of erratum 6268 */
static const char USERHASH[] =
    "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60"
    "b2"
    "05c46e41407f170400150029"
    "6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39465354767936347341000000"
    "0014000b6578616d706c652e6f726700001d000400020000"
    "001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

static size_t unhex(const char *text, uint8_t *out, size_t cap) {
    size_t n = strlen(text) / 2;
    size_t i;

    assert_true(n <= cap);
    for (i = 0; i < n; i++) {
        char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
        char *end;

        out[i] = (uint8_t)strtoul(byte, &end, 16);
        assert_int_equal(*end, '\0');
    }
    return n;
}

static void assert_view(const atl_stun_view *view, const char *text) {
    assert_non_null(view->data);
    assert_int_equal(view->len, strlen(text));
    assert_memory_equal(view->data, text, view->len);
}

static void assert_addr(const atl_addr *addr, const char *text) {
    char got[ATLAS_ADDR_MAX];

    atl_addr_text(addr, got);
    assert_string_equal(got, text);
}

static void rfc5769_request(void **state) {
    uint8_t buf[256];
    size_t len = unhex(REQUEST, buf, sizeof(buf));
    atl_stun_msg msg;

    (void)state;
    assert_int_equal(atl_stun_parse(buf, len, &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_REQUEST);
    assert_int_equal(msg.header.method, ATL_STUN_BINDING);
    assert_memory_equal(msg.header.id, buf + 8, 12);
    assert_view(&msg.software, "STUN test client");
    assert_view(&msg.username, "evtj:h6vY");
    assert_true(msg.has_priority);
    assert_int_equal(msg.priority, 0x6e0001ff);
    assert_true(msg.has_controlled);
    assert_false(msg.has_controlling);
    assert_true(msg.tie_breaker == UINT64_C(0x932ff9b151263b36));
    assert_true(msg.has_fingerprint);
    assert_int_equal(msg.unknown_count, 0);
    assert_int_equal(atl_stun_check_sha1(&msg, PASSWORD, strlen(PASSWORD)), ATLAS_OK);
    assert_int_equal(atl_stun_check_sha1(&msg, PASSWORD, strlen(PASSWORD) - 1),
                     ATLAS_ERR_STUN_INTEGRITY);
    assert_int_equal(atl_stun_check_sha256(&msg, PASSWORD, strlen(PASSWORD)),
                     ATLAS_ERR_STUN_INTEGRITY);
}

static void rfc5769_responses(void **state) {
    static const struct {
        const char *hex;
        const char *addr;
    } rows[] = {
        {RESPONSE4, "192.0.2.1:32853"},
        {RESPONSE6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        uint8_t buf[256];
        size_t len = unhex(rows[i].hex, buf, sizeof(buf));
        atl_stun_msg msg;

        assert_int_equal(atl_stun_parse(buf, len, &msg), ATLAS_OK);
        assert_int_equal(msg.header.cls, ATL_STUN_SUCCESS);
        assert_view(&msg.software, "test vector");
        assert_addr(&msg.xor_mapped, rows[i].addr);
        assert_int_equal(msg.mapped.family, 0);
        assert_true(msg.has_fingerprint);
        assert_int_equal(atl_stun_check_sha1(&msg, PASSWORD, strlen(PASSWORD)), ATLAS_OK);
    }
}

static void rfc5769_long_term(void **state) {
    uint8_t buf[256];
    uint8_t key[16];
    size_t len = unhex(LONG_TERM, buf, sizeof(buf));
    atl_stun_msg msg;

    (void)state;
    assert_int_equal(atl_stun_parse(buf, len, &msg), ATLAS_OK);
    assert_view(&msg.username, MATRIX);
    assert_view(&msg.nonce, "f//499k954d6OL34oL9FSTvy64sA");
    assert_view(&msg.realm, "example.org");
    assert_false(msg.has_fingerprint);
    /* MD5 of username ":" realm ":" password */
    unhex("e8ca7ad59d5eb0518e312911d2dab2a9", key, sizeof(key));
    assert_int_equal(atl_stun_check_sha1(&msg, key, sizeof(key)), ATLAS_OK);
}

static void rfc8489_userhash(void **state) {
    static const char who[] = MATRIX ":example.org";
    static const char key_text[] = MATRIX ":example.org:TheMatrIX";
    uint8_t buf[256];
    uint8_t hash[32];
    size_t len = unhex(USERHASH, buf, sizeof(buf));
    atl_stun_msg msg;

    (void)state;
    assert_int_equal(atl_stun_parse(buf, len, &msg), ATLAS_OK);
    assert_view(&msg.nonce, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    assert_view(&msg.realm, "example.org");
    assert_null(msg.username.data);
    assert_int_equal(msg.unknown_count, 0);
    crypto_hash_sha256(hash, (const uint8_t *)who, strlen(who));
    assert_int_equal(msg.userhash.len, 32);
    assert_memory_equal(msg.userhash.data, hash, 32);
    crypto_hash_sha256(hash, (const uint8_t *)key_text, strlen(key_text));
    assert_int_equal(msg.integrity256_len, 32);
    assert_int_equal(atl_stun_check_sha256(&msg, hash, sizeof(hash)), ATLAS_OK);
    assert_int_equal(atl_stun_check_sha1(&msg, hash, sizeof(hash)), ATLAS_ERR_STUN_INTEGRITY);
    hash[0] ^= 1;
    assert_int_equal(atl_stun_check_sha256(&msg, hash, sizeof(hash)), ATLAS_ERR_STUN_INTEGRITY);
}

/* Whatever bit of a protected message flips, it does not pass. */
static void flipped_bits(void **state) {
    static const char key_text[] = MATRIX ":example.org:TheMatrIX";
    uint8_t buf[256];
    uint8_t key[32];
    atl_stun_msg msg;
    size_t len = unhex(REQUEST, buf, sizeof(buf));
    size_t bit;

    (void)state;
    for (bit = 0; bit < len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (atl_stun_parse(buf, len, &msg) == ATLAS_OK) {
            /* FINGERPRINT has turned into something else, or vanished in a longer attribute: then
             * the integrity is gone too */
            assert_false(msg.has_fingerprint);
            assert_true(bit / 8 >= len - 8 ||
                        atl_stun_check_sha1(&msg, PASSWORD, strlen(PASSWORD)) != ATLAS_OK);
        }
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    len = unhex(USERHASH, buf, sizeof(buf));
    crypto_hash_sha256(key, (const uint8_t *)key_text, strlen(key_text));
    for (bit = 0; bit < len * 8; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(atl_stun_parse(buf, len, &msg) != ATLAS_OK ||
                    atl_stun_check_sha256(&msg, key, sizeof(key)) == ATLAS_ERR_STUN_INTEGRITY);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

#define COOKIE_ID "2112a442000102030405060708090a0b"

static const struct {
    const char *what;
    const char *hex;
    int32_t code;
} malformed_rows[] = {
    {"nothing", "", ATLAS_ERR_TRUNCATED},
    {"half a header", "000100002112a4420001020304050607", ATLAS_ERR_TRUNCATED},
    {"no cookie (RFC 3489)", "000100002112a441000102030405060708090a0b", ATLAS_ERR_MALFORMED},
    {"first bits 01", "40010000" COOKIE_ID, ATLAS_ERR_MALFORMED},
    {"first bits 10", "80010000" COOKIE_ID, ATLAS_ERR_MALFORMED},
    {"length beyond the datagram", "00010004" COOKIE_ID, ATLAS_ERR_MALFORMED},
    {"length short of the datagram", "00010000" COOKIE_ID "80220000", ATLAS_ERR_MALFORMED},
    {"length 65532", "0001fffc" COOKIE_ID "80220000", ATLAS_ERR_MALFORMED},
    {"length no multiple of 4", "00010002" COOKIE_ID "8022", ATLAS_ERR_MALFORMED},
    {"attribute longer than the message", "00010008" COOKIE_ID "8022000541424344",
     ATLAS_ERR_TRUNCATED},
    {"attribute of 65535", "00010008" COOKIE_ID "8022ffff41424344", ATLAS_ERR_TRUNCATED},
    {"unknown attribute too long", "00010004" COOKIE_ID "7fff0001", ATLAS_ERR_TRUNCATED},
    {"MAPPED-ADDRESS of 4", "01010008" COOKIE_ID "0001000400010000", ATLAS_ERR_MALFORMED},
    {"MAPPED-ADDRESS, IPv4 of 16", "01010018" COOKIE_ID "00010014000104d2" COOKIE_ID,
     ATLAS_ERR_MALFORMED},
    {"MAPPED-ADDRESS, IPv6 of 4", "0101000c" COOKIE_ID "00010008000204d201020304",
     ATLAS_ERR_MALFORMED},
    {"MAPPED-ADDRESS, family 3", "0101000c" COOKIE_ID "00010008000304d201020304",
     ATLAS_ERR_MALFORMED},
    {"XOR-MAPPED-ADDRESS empty", "01010004" COOKIE_ID "00200000", ATLAS_ERR_MALFORMED},
    {"ALTERNATE-SERVER of 7", "0111000c" COOKIE_ID "80230007000104d201020300", ATLAS_ERR_MALFORMED},
    {"ERROR-CODE of 3", "01110008" COOKIE_ID "0009000300000400", ATLAS_ERR_MALFORMED},
    {"ERROR-CODE class 2", "01110008" COOKIE_ID "0009000400000200", ATLAS_ERR_MALFORMED},
    {"ERROR-CODE class 7", "01110008" COOKIE_ID "0009000400000700", ATLAS_ERR_MALFORMED},
    {"ERROR-CODE number 100", "01110008" COOKIE_ID "0009000400000464", ATLAS_ERR_MALFORMED},
    {"UNKNOWN-ATTRIBUTES odd", "01110008" COOKIE_ID "000a000312345600", ATLAS_ERR_MALFORMED},
    {"MESSAGE-INTEGRITY of 16", "00010014" COOKIE_ID "00080010" COOKIE_ID, ATLAS_ERR_MALFORMED},
    {"SHA256 of 12", "00010010" COOKIE_ID "001c000c000102030405060708090a0b", ATLAS_ERR_MALFORMED},
    {"SHA256 of 18", "00010018" COOKIE_ID "001c0012" COOKIE_ID "00000000", ATLAS_ERR_MALFORMED},
    {"SHA256 of 36", "00010028" COOKIE_ID "001c0024" COOKIE_ID COOKIE_ID "00000000",
     ATLAS_ERR_MALFORMED},
    {"USERHASH of 16", "00010014" COOKIE_ID "001e0010" COOKIE_ID, ATLAS_ERR_MALFORMED},
    {"PRIORITY of 3", "00010008" COOKIE_ID "0024000301020300", ATLAS_ERR_MALFORMED},
    {"PRIORITY of 8", "0001000c" COOKIE_ID "002400080102030405060708", ATLAS_ERR_MALFORMED},
    {"USE-CANDIDATE of 4", "00010008" COOKIE_ID "0025000401020304", ATLAS_ERR_MALFORMED},
    {"ICE-CONTROLLED of 4", "00010008" COOKIE_ID "8029000401020304", ATLAS_ERR_MALFORMED},
    {"ICE-CONTROLLING of 4", "00010008" COOKIE_ID "802a000401020304", ATLAS_ERR_MALFORMED},
    {"CHANGE-REQUEST of 3", "00010008" COOKIE_ID "0003000301020300", ATLAS_ERR_MALFORMED},
    {"RESPONSE-PORT of 1", "00010008" COOKIE_ID "0027000101000000", ATLAS_ERR_MALFORMED},
    {"RESPONSE-PORT of 6", "0001000c" COOKIE_ID "002700060102030405060000", ATLAS_ERR_MALFORMED},
    {"OTHER-ADDRESS, family 3", "0101000c" COOKIE_ID "802c0008000304d201020304",
     ATLAS_ERR_MALFORMED},
    {"RESPONSE-ORIGIN cut", "01010008" COOKIE_ID "802b0004000104d2", ATLAS_ERR_MALFORMED},
    {"FINGERPRINT of 3", "00010008" COOKIE_ID "8028000301020300", ATLAS_ERR_MALFORMED},
    {"FINGERPRINT wrong", "00010008" COOKIE_ID "8028000401020304", ATLAS_ERR_SIGNATURE},
};

static void malformed(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(malformed_rows); i++) {
        uint8_t *buf = malloc(128);
        uint8_t *exact;
        size_t len = unhex(malformed_rows[i].hex, buf, 128);
        atl_stun_msg msg;
        int32_t rc;

        /* an exact copy, so that a sanitizer sees any read past the end */
        exact = malloc(len + 1);
        memcpy(exact + 1, buf, len);
        memset(&msg, 0x5a, sizeof(msg));
        rc = atl_stun_parse(exact + 1, len, &msg);
        if (rc != malformed_rows[i].code) {
            fail_msg("%s: got %s", malformed_rows[i].what, atlas_error_name(rc));
        }
        assert_int_equal(msg.header.cls, 0x5a); /* untouched */
        free(exact);
        free(buf);
    }
}

static const uint8_t ID[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

/* All classes and methods, whose bits are interleaved. */
static void types_round_trip(void **state) {
    uint16_t method;
    uint8_t cls;

    (void)state;
    for (method = 0; method < 0x1000; method++) {
        for (cls = 0; cls < 4; cls++) {
            uint8_t buf[20];
            atl_writer writer;
            atl_stun_header header;

            atl_writer_init(&writer, buf, sizeof(buf));
            atl_stun_begin(&writer, cls, method, ID);
            assert_int_equal(writer.error, ATLAS_OK);
            assert_int_equal(atl_stun_parse_header(buf, writer.len, &header), ATLAS_OK);
            assert_int_equal(header.cls, cls);
            assert_int_equal(header.method, method);
        }
    }
}

static void everything_round_trips(void **state) {
    static const uint16_t unknown[] = {0x0003, 0x7ffe, 0x0027};
    uint8_t buf[ATL_STUN_MESSAGE_MAX];
    uint8_t hash[32] = {7, 8, 9};
    atl_writer writer;
    atl_stun_msg msg;
    atl_addr a4;
    atl_addr a6;

    (void)state;
    assert_int_equal(atl_addr_parse("198.51.100.7:1", &a4), ATLAS_OK);
    assert_int_equal(atl_addr_parse("[2001:db8::7]:65535", &a6), ATLAS_OK);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_ERROR, ATL_STUN_BINDING, ID);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &a6);
    atl_stun_put_addr(&writer, ATL_STUN_A_MAPPED_ADDRESS, &a4);
    atl_stun_put_addr(&writer, ATL_STUN_A_ALTERNATE_SERVER, &a6);
    atl_stun_put_error(&writer, 420, "Unknown Attribute");
    atl_stun_put_unknown(&writer, unknown, 3);
    atl_stun_put(&writer, ATL_STUN_A_USERHASH, hash, sizeof(hash));
    atl_stun_put(&writer, ATL_STUN_A_SOFTWARE, "x", 1);
    atl_stun_put(&writer, ATL_STUN_A_USERNAME, "", 0);
    atl_stun_put(&writer, ATL_STUN_A_USE_CANDIDATE, NULL, 0);
    atl_stun_put_u32(&writer, ATL_STUN_A_PRIORITY, 0xfffffffe);
    atl_stun_put_u64(&writer, ATL_STUN_A_ICE_CONTROLLING, 0x0102030405060708);
    atl_stun_put_sha1(&writer, "k", 1);
    atl_stun_put_sha256(&writer, "k", 1);
    atl_stun_put_fingerprint(&writer);
    assert_int_equal(writer.error, ATLAS_OK);
    assert_int_equal(writer.len % 4, 0);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_addr(&msg.xor_mapped, "[2001:db8::7]:65535");
    assert_addr(&msg.mapped, "198.51.100.7:1");
    assert_addr(&msg.alternate, "[2001:db8::7]:65535");
    assert_int_equal(msg.error_code, 420);
    assert_view(&msg.reason, "Unknown Attribute");
    assert_int_equal(msg.unknown_list.len, 6);
    assert_memory_equal(msg.unknown_list.data, "\x00\x03\x7f\xfe\x00\x27", 6);
    assert_memory_equal(msg.userhash.data, hash, 32);
    assert_view(&msg.software, "x");
    assert_view(&msg.username, "");
    assert_true(msg.use_candidate);
    assert_int_equal(msg.priority, 0xfffffffe);
    assert_true(msg.has_controlling);
    assert_true(msg.tie_breaker == 0x0102030405060708);
    assert_int_equal(atl_stun_check_sha1(&msg, "k", 1), ATLAS_OK);
    assert_int_equal(atl_stun_check_sha256(&msg, "k", 1), ATLAS_OK);
    assert_true(msg.has_fingerprint);
}

/* RFC 5780. */
static void behaviour_round_trips(void **state) {
    uint8_t buf[ATL_STUN_MESSAGE_MAX];
    atl_writer writer;
    atl_stun_msg msg;
    atl_addr a4;
    atl_addr a6;

    (void)state;
    assert_int_equal(atl_addr_parse("198.51.100.7:1", &a4), ATLAS_OK);
    assert_int_equal(atl_addr_parse("[2001:db8::7]:65535", &a6), ATLAS_OK);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, ID);
    atl_stun_put_u32(&writer, ATL_STUN_A_CHANGE_REQUEST, 0xfffffff0 | ATL_STUN_CHANGE_IP);
    atl_stun_put_response_port(&writer, 40001);
    atl_stun_put(&writer, ATL_STUN_A_PADDING, "abc", 3);
    atl_stun_put_addr(&writer, ATL_STUN_A_RESPONSE_ORIGIN, &a4);
    atl_stun_put_addr(&writer, ATL_STUN_A_OTHER_ADDRESS, &a6);
    assert_int_equal(writer.error, ATLAS_OK);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_addr(&msg.origin, "198.51.100.7:1");
    assert_addr(&msg.other, "[2001:db8::7]:65535");
    assert_true(msg.has_change && msg.has_response_port && msg.has_padding);
    assert_int_equal(msg.change, ATL_STUN_CHANGE_IP);
    assert_int_equal(msg.response_port, 40001);
    assert_int_equal(msg.unknown_count, 0);
    /* RESPONSE-PORT with its padding not counted, as some write it */
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, ID);
    atl_stun_put(&writer, ATL_STUN_A_RESPONSE_PORT, "\x9c\x41", 2);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_true(msg.has_response_port);
    assert_int_equal(msg.response_port, 40001);
    assert_false(msg.has_change || msg.has_padding);
}

/* A message that does not fit is an error whatever the capacity, and nothing is written past it. */
static void overflow(void **state) {
    size_t cap;
    size_t need = 20 + 4 + 12 + 24 + 36 + 8;

    (void)state;
    for (cap = 0; cap <= need; cap++) {
        uint8_t *buf = malloc(cap + 1);
        atl_writer writer;

        buf[cap] = 0xa5;
        atl_writer_init(&writer, buf, cap);
        atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, ID);
        atl_stun_put(&writer, ATL_STUN_A_USERNAME, "0123456789", 10);
        atl_stun_put_sha1(&writer, "k", 1);
        atl_stun_put_sha256(&writer, "k", 1);
        atl_stun_put_fingerprint(&writer);
        assert_int_equal(writer.error, cap < need ? ATLAS_ERR_BUFFER : ATLAS_OK);
        assert_int_equal(buf[cap], 0xa5);
        free(buf);
    }
}

/* MESSAGE-INTEGRITY-SHA256 may be cut to 16, 20, 24 or 28 bytes (RFC 8489 section 14.6). The HMAC
 * here is libsodium's, not the one under test. */
static void truncated_sha256(void **state) {
    size_t keep;

    (void)state;
    for (keep = 16; keep <= 32; keep += 4) {
        uint8_t buf[64] = {0};
        uint8_t mac[32];
        crypto_auth_hmacsha256_state hmac;
        atl_writer writer;
        atl_stun_msg msg;

        atl_writer_init(&writer, buf, sizeof(buf));
        atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, ID);
        buf[3] = (uint8_t)(4 + keep);
        crypto_auth_hmacsha256_init(&hmac, (const uint8_t *)"secret", 6);
        crypto_auth_hmacsha256_update(&hmac, buf, 20);
        crypto_auth_hmacsha256_final(&hmac, mac);
        atl_stun_put(&writer, ATL_STUN_A_INTEGRITY_SHA256, mac, keep);
        assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
        assert_int_equal(msg.integrity256_len, keep);
        assert_int_equal(atl_stun_check_sha256(&msg, "secret", 6), ATLAS_OK);
        buf[writer.len - 1] ^= 1;
        assert_int_equal(atl_stun_check_sha256(&msg, "secret", 6), ATLAS_ERR_STUN_INTEGRITY);
    }
}

static void first_counts(void **state) {
    uint8_t buf[256];
    atl_writer writer;
    atl_stun_msg msg;
    atl_addr first;
    atl_addr second;

    (void)state;
    assert_int_equal(atl_addr_parse("192.0.2.1:10", &first), ATLAS_OK);
    assert_int_equal(atl_addr_parse("192.0.2.2:20", &second), ATLAS_OK);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, ID);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &first);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &second);
    atl_stun_put(&writer, ATL_STUN_A_USERNAME, "one", 3);
    atl_stun_put(&writer, ATL_STUN_A_USERNAME, "two", 3);
    atl_stun_put_error(&writer, 400, "a");
    atl_stun_put_error(&writer, 500, "b");
    atl_stun_put_u32(&writer, ATL_STUN_A_PRIORITY, 1);
    atl_stun_put_u32(&writer, ATL_STUN_A_PRIORITY, 2);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_addr(&msg.xor_mapped, "192.0.2.1:10");
    assert_view(&msg.username, "one");
    assert_int_equal(msg.error_code, 400);
    assert_int_equal(msg.priority, 1);
}

/* What follows an integrity attribute was not protected by it. */
static void behind_integrity(void **state) {
    uint8_t buf[512];
    atl_writer writer;
    atl_stun_msg msg;
    atl_addr addr;

    (void)state;
    assert_int_equal(atl_addr_parse("192.0.2.1:10", &addr), ATLAS_OK);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, ID);
    atl_stun_put_sha1(&writer, "k", 1);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &addr);
    atl_stun_put(&writer, 0x7ffe, "?", 1);
    atl_stun_put_sha1(&writer, "other", 5);
    atl_stun_put_sha256(&writer, "k", 1);
    atl_stun_put(&writer, ATL_STUN_A_USERNAME, "late", 4);
    atl_stun_put_sha256(&writer, "other", 5);
    atl_stun_put_fingerprint(&writer);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_int_equal(msg.xor_mapped.family, 0);
    assert_null(msg.username.data);
    assert_int_equal(msg.unknown_count, 0);
    assert_int_equal(msg.integrity_at, 20);
    assert_int_equal(atl_stun_check_sha1(&msg, "k", 1), ATLAS_OK);
    assert_int_equal(atl_stun_check_sha256(&msg, "k", 1), ATLAS_OK);
    assert_true(msg.has_fingerprint);

    /* FINGERPRINT is the last */
    atl_stun_put(&writer, ATL_STUN_A_SOFTWARE, "x", 1);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_ERR_MALFORMED);
}

static void bounded_counts(void **state) {
    uint8_t buf[1024];
    atl_writer writer;
    atl_stun_msg msg;
    uint16_t i;

    (void)state;
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, ID);
    for (i = 0; i < ATL_STUN_ATTRS_MAX; i++) {
        /* types of every second one are above 0x8000: those need not be understood */
        atl_stun_put(&writer, (uint16_t)((i % 2 ? 0xc000 : 0x4000) + i / 4), NULL, 0);
    }
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_OK);
    assert_int_equal(msg.unknown_count, ATL_STUN_UNKNOWN_MAX);
    for (i = 0; i < ATL_STUN_UNKNOWN_MAX; i++) {
        assert_int_equal(msg.unknown[i], 0x4000 + i);
    }
    atl_stun_put(&writer, ATL_STUN_A_SOFTWARE, NULL, 0);
    assert_int_equal(atl_stun_parse(buf, writer.len, &msg), ATLAS_ERR_MALFORMED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc5769_request),       cmocka_unit_test(rfc5769_responses),
        cmocka_unit_test(rfc5769_long_term),     cmocka_unit_test(rfc8489_userhash),
        cmocka_unit_test(flipped_bits),          cmocka_unit_test(malformed),
        cmocka_unit_test(types_round_trip),      cmocka_unit_test(everything_round_trips),
        cmocka_unit_test(behaviour_round_trips), cmocka_unit_test(overflow),
        cmocka_unit_test(truncated_sha256),      cmocka_unit_test(first_counts),
        cmocka_unit_test(behind_integrity),      cmocka_unit_test(bounded_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
