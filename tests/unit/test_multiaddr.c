/* Multiaddrs in text and binary. Vectors: the codes of multiformats' table, /ip4/127.0.0.1/udp/1234
 * of the multiaddr specification, the peer id of libp2p's peer-ids/peer-ids.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "address/multiaddr.h"

#include <atlas/address.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "testenv.h"

#define ID "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define CID "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"
#define ID_HEX "0024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"

typedef struct good_row {
    const char *text;
    const char *canonical; /* NULL: the text itself */
    const char *hex;
} good_row;

static const good_row GOOD[] = {
    {"/ip4/127.0.0.1/udp/1234", NULL, "047f000001910204d2"},
    {"/ip4/192.0.2.1/tcp/80", NULL, "04c0000201060050"},
    {"/ip6/::1/udp/1", NULL, "290000000000000000000000000000000191020001"},
    {"/ip6/2001:DB8:0:0:0:0:0:1/tcp/65535", "/ip6/2001:db8::1/tcp/65535",
     "2920010db800000000000000000000000106ffff"},
    {"/ip6/::ffff:192.0.2.1/udp/1", NULL, "2900000000000000000000ffffc000020191020001"},
    {"/ip6/::/tcp/0", NULL, "2900000000000000000000000000000000060000"},
    {"/dns/a.b/udp/1", NULL, "3503612e6291020001"},
    {"/dns4/a.b/udp/1", NULL, "3603612e6291020001"},
    {"/dns6/a.b/udp/1", NULL, "3703612e6291020001"},
    {"/dnsaddr/example.org", NULL, "380b6578616d706c652e6f7267"},
    {"/udp/0", NULL, "91020000"},
    {"/p2p-circuit", NULL, "a202"},
    {"/tls", NULL, "c003"},
    {"/quic-v1", NULL, "cd03"},
    {"/ws", NULL, "dd03"},
    {"/http", NULL, "e003"},
    {"/ip4/1.2.3.4/udp/4001/quic-v1", NULL, "040102030491020fa1cd03"},
    {"/ip4/1.2.3.4/tcp/443/tls/ws", NULL, "04010203040601bbc003dd03"},
    {"/ip4/1.2.3.4/tcp/443/tls/http", NULL, "04010203040601bbc003e003"},
    {"/p2p/" ID, NULL, "a50326" ID_HEX},
    {"/p2p/" CID, "/p2p/" ID, "a50326" ID_HEX},
    {"/ip4/1.2.3.4/udp/1/quic-v1/p2p/" ID "/p2p-circuit/p2p/" ID, NULL,
     "040102030491020001cd03a50326" ID_HEX "a202a50326" ID_HEX},
};

static void texts_and_bytes(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(GOOD); i++) {
        const char *canonical = GOOD[i].canonical == NULL ? GOOD[i].text : GOOD[i].canonical;
        uint8_t expected[ATL_MULTIADDR_BYTES];
        uint8_t bytes[ATL_MULTIADDR_BYTES];
        char text[ATLAS_MULTIADDR_MAX];
        size_t expected_len;
        size_t len;

        assert_int_equal(sodium_hex2bin(expected, sizeof(expected), GOOD[i].hex,
                                        strlen(GOOD[i].hex), NULL, &expected_len, NULL),
                         0);
        assert_int_equal(atl_multiaddr_encode(GOOD[i].text, bytes, sizeof(bytes), &len), ATLAS_OK);
        assert_int_equal(len, expected_len);
        assert_memory_equal(bytes, expected, len);
        assert_int_equal(atl_multiaddr_decode(bytes, len, text, sizeof(text)), ATLAS_OK);
        assert_string_equal(text, canonical);
        memset(text, 0, sizeof(text));
        assert_int_equal(atlas_multiaddr_normalize(GOOD[i].text, text, sizeof(text)), ATLAS_OK);
        assert_string_equal(text, canonical);
    }
}

/* Refused with ATLAS_ERR_ADDRESS, or ATLAS_ERR_PEER_ID where the id is what is wrong. */
static const char *const MALFORMED[] = {
    "",
    "/",
    "//",
    "ip4/1.2.3.4/udp/1",
    " /ip4/1.2.3.4/udp/1",
    "/ip4/1.2.3.4/udp/1/",
    "/ip4/1.2.3.4/udp/1 ",
    "/ip4/1.2.3.4//udp/1",
    "//ip4/1.2.3.4/udp/1",
    "/ip4",
    "/ip4/",
    "/ip4//udp/1",
    "/ip4/1.2.3/udp/1",
    "/ip4/1.2.3.4.5/udp/1",
    "/ip4/1.2.3.256/udp/1",
    "/ip4/01.2.3.4/udp/1",
    "/ip4/1.2.3.4x/udp/1",
    "/ip4/::1/udp/1",
    "/ip4/example.org/udp/1",
    "/ip4/[::1]/udp/1",
    "/ip6/1.2.3.4/udp/1",
    "/ip6/[::1]/udp/1",
    "/ip6/::1%1/udp/1",
    "/ip6/fe80::1%1/udp/1",
    "/ip6/:::/udp/1",
    "/ip6/1::2::3/udp/1",
    "/ip6/12345::/udp/1",
    "/ip6/1:2:3:4:5:6:7/udp/1",
    "/ip4/1.2.3.4/udp",
    "/ip4/1.2.3.4/udp/",
    "/ip4/1.2.3.4/udp/65536",
    "/ip4/1.2.3.4/udp/-1",
    "/ip4/1.2.3.4/udp/+1",
    "/ip4/1.2.3.4/udp/01",
    "/ip4/1.2.3.4/udp/1a",
    "/ip4/1.2.3.4/udp/0x1",
    "/ip4/1.2.3.4/udp/99999999999999999999",
    "/ip4/1.2.3.4/tcp/65536",
    "/ip4/1.2.3.4/tcp/quic-v1",
    "/ip4/1.2.3.4/udp/1/quic-v2",
    "/ip4/1.2.3.4/udp/1/QUIC-V1",
    "/IP4/1.2.3.4/udp/1",
    "/ip4/1.2.3.4/udp/1/quic-v1/x",
    "/ip4/1.2.3.4/udp/1/quic-v1/tls/1",
    "/ip5/1.2.3.4",
    "/dns",
    "/dns/",
    "/dns//udp/1",
    "/dns4/-a/udp/1",
    "/dns4/a-/udp/1",
    "/dns4/a..b/udp/1",
    "/dns4/.a/udp/1",
    "/dns4/a./udp/1",
    "/dns4/a b/udp/1",
    "/dns4/a:1/udp/1",
    "/dns6/h\xc3\xb6st/udp/1",
    "/dnsaddr",
    "/unix/tmp/socket",
    "/p2p",
    "/p2p/",
    "/p2p/x",
    "/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p",
    "/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pqq",
    "/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p0",
    "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    "/p2p/p2p-circuit",
    "/p2p-circuit/",
    "/p2p-circuit/" ID,
    "/ip4/1.2.3.4/udp/1/quic-v1/p2p/" ID "/",
    ID,
    "\n/ip4/1.2.3.4/udp/1",
    "/ip4/1.2.3.4\n/udp/1",
};

static void malformed_texts(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(MALFORMED); i++) {
        char buf[ATLAS_MULTIADDR_MAX] = "before";
        uint8_t bytes[ATL_MULTIADDR_BYTES] = {0x77};
        size_t len = 4711;
        int32_t expected = strncmp(MALFORMED[i], "/p2p/", 5) == 0 && MALFORMED[i][5] != '\0'
                               ? ATLAS_ERR_PEER_ID
                               : ATLAS_ERR_ADDRESS;

        if (atlas_multiaddr_normalize(MALFORMED[i], buf, sizeof(buf)) != expected) {
            fail_msg("accepted: %s", MALFORMED[i]);
        }
        assert_string_equal(buf, "before");
        assert_int_equal(atl_multiaddr_encode(MALFORMED[i], bytes, sizeof(bytes), &len), expected);
        assert_true(bytes[0] == 0x77 && len == 4711);
    }
}

static void malformed_bytes(void **state) {
    static const char *const ROWS[] = {
        "",
        "04",
        "047f0000",
        "047f000001910204",
        "00",
        "05",
        "ff",
        "ffff",
        "8400",                 /* code 4, not minimal */
        "047f00000191820004d2", /* udp, not minimal */
        "04010203ff04",         /* something follows */
        "a503",
        "a50300", /* an empty id */
        "a50326",
        "a50325" ID_HEX,
        "a50327" ID_HEX "00",
        "a5032500240801122100",
        "a503a600" ID_HEX, /* the length, not minimal */
        "a503221220"
        "0000000000000000000000000000000000000000000000000000000000000000", /* SHA-256 */
        "a50326"
        "0024080212201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
        "3500",       /* an empty name */
        "3503612f62", /* "a/b": would be two components in text */
        "3503610062", /* a NUL inside */
        "35022e61",
        "3502c3b6",
        "35ffffffffffffffff7f61",
        "35ffffffffffffffffff01",
        "2a", /* ip6zone: not known here */
        "90021234",
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t bytes[ATL_MULTIADDR_BYTES];
        char text[ATLAS_MULTIADDR_MAX] = "before";
        uint8_t *copy;
        size_t len;
        int32_t rc;

        assert_int_equal(
            sodium_hex2bin(bytes, sizeof(bytes), ROWS[i], strlen(ROWS[i]), NULL, &len, NULL), 0);
        copy = malloc(len > 0 ? len : 1); /* exact, for the sanitizer */
        assert_non_null(copy);
        memcpy(copy, bytes, len);
        rc = atl_multiaddr_decode(copy, len, text, sizeof(text));
        free(copy);
        if (rc != ATLAS_ERR_ADDRESS && rc != ATLAS_ERR_PEER_ID) {
            fail_msg("accepted: %s", ROWS[i]);
        }
        assert_string_equal(text, "before");
    }
}

static void every_truncation_is_refused(void **state) {
    static const char TEXT[] = "/ip4/1.2.3.4/udp/4001/quic-v1/p2p/" ID "/p2p-circuit/p2p/" ID;
    uint8_t bytes[ATL_MULTIADDR_BYTES];
    char text[ATLAS_MULTIADDR_MAX];
    size_t whole = 0;
    size_t len;
    size_t i;

    (void)state;
    assert_int_equal(atl_multiaddr_encode(TEXT, bytes, sizeof(bytes), &len), ATLAS_OK);
    for (i = 1; i < len; i++) { /* all but those between two components */
        whole += atl_multiaddr_decode(bytes, i, text, sizeof(text)) == ATLAS_OK;
    }
    assert_int_equal(whole, 5);
}

static void buffers_too_small(void **state) {
    static const char TEXT[] = "/ip4/1.2.3.4/udp/4001/quic-v1";
    uint8_t bytes[16];
    char text[sizeof(TEXT)];
    size_t need;
    size_t len;
    size_t i;

    (void)state;
    assert_int_equal(atl_multiaddr_encode(TEXT, bytes, sizeof(bytes), &need), ATLAS_OK);
    for (i = 0; i < need; i++) {
        assert_int_equal(atl_multiaddr_encode(TEXT, bytes, i, &len), ATLAS_ERR_BUFFER);
    }
    for (i = 0; i < sizeof(TEXT); i++) {
        assert_int_equal(atlas_multiaddr_normalize(TEXT, text, i), ATLAS_ERR_BUFFER);
    }
    assert_int_equal(atlas_multiaddr_normalize(TEXT, NULL, 0), ATLAS_ERR_BUFFER);
    assert_int_equal(atlas_multiaddr_normalize(TEXT, text, sizeof(TEXT)), ATLAS_OK);
    assert_int_equal(atlas_multiaddr_normalize(NULL, text, sizeof(text)), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_multiaddr_normalize(TEXT, NULL, 1), ATLAS_ERR_INVALID);
}

static void lengths_are_bounded(void **state) {
    static char text[100000];
    static uint8_t bytes[2048];
    char out[ATLAS_MULTIADDR_MAX];
    size_t len;
    size_t i;

    (void)state;
    for (i = 0; i < 16; i++) {
        memcpy(text + 4 * i, "/tls", 5);
    }
    assert_int_equal(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len), ATLAS_OK);
    assert_int_equal(atl_multiaddr_decode(bytes, len, out, sizeof(out)), ATLAS_OK);
    memcpy(text + 64, "/tls", 5); /* one component too many */
    assert_int_equal(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len), ATLAS_ERR_ADDRESS);
    memcpy(bytes + len, "\xc0\x03", 2);
    assert_int_equal(atl_multiaddr_decode(bytes, len + 2, out, sizeof(out)), ATLAS_ERR_ADDRESS);
    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "/dns/", 5);
    assert_int_equal(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len), ATLAS_ERR_ADDRESS);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(atl_multiaddr_decode(bytes, sizeof(bytes), out, sizeof(out)),
                     ATLAS_ERR_ADDRESS);
    /* three names of 250 bytes: each is right, together they are too long */
    memset(text, 'a', 780);
    for (i = 0; i < 3; i++) {
        memcpy(text + 255 * i, "/dns/", 5);
        text[255 * i + 60] = text[255 * i + 120] = text[255 * i + 180] = text[255 * i + 240] = '.';
    }
    text[765] = '\0';
    assert_int_equal(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len), ATLAS_ERR_ADDRESS);
    text[510] = '\0';
    assert_int_equal(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len), ATLAS_OK);
}

/* Random walks through the components: whatever encodes decodes to a text that encodes to the same
 * bytes. */
static void random_addresses_round_trip(void **state) {
    testenv t;
    int i;

    (void)state;
    testenv_init(&t);
    for (i = 0; i < 3000; i++) {
        char text[ATLAS_MULTIADDR_MAX] = "";
        char again[ATLAS_MULTIADDR_MAX];
        uint8_t bytes[ATL_MULTIADDR_BYTES];
        uint8_t same[ATL_MULTIADDR_BYTES];
        size_t n = 1 + testenv_rand(&t) % 5;
        size_t len;
        size_t same_len;

        for (; n > 0; n--) {
            const good_row *row = &GOOD[testenv_rand(&t) % ATL_COUNT(GOOD)];

            if (strlen(text) + strlen(row->text) < sizeof(text)) {
                strcat(text, row->text);
            }
        }
        if (atl_multiaddr_encode(text, bytes, sizeof(bytes), &len) != ATLAS_OK) {
            assert_true(strlen(text) > 100); /* too many components */
            continue;
        }
        assert_int_equal(atl_multiaddr_decode(bytes, len, again, sizeof(again)), ATLAS_OK);
        assert_int_equal(atl_multiaddr_encode(again, same, sizeof(same), &same_len), ATLAS_OK);
        assert_int_equal(len, same_len);
        assert_memory_equal(bytes, same, len);
    }
}

#define SKIP(text, rc, code, left) \
    { text, sizeof(text) - 1, rc, code, left }

/* By the length alone: the first component of what others wrote. */
static const struct {
    const char *data;
    size_t len;
    int32_t rc;
    uint32_t code;
    size_t left; /* of the value */
} SKIPS[] = {
    SKIP("\x04\x7f\x00\x00\x01\x91", ATLAS_OK, ATL_MA_IP4, 4),
    SKIP("\xa2\x02\xff", ATLAS_OK, ATL_MA_P2P_CIRCUIT, 0),
    SKIP("\xa5\x03\x03\x12\x20z", ATLAS_OK, ATL_MA_P2P, 3), /* no peer id that libatlas knows */
    SKIP("\x35\x03*.a", ATLAS_OK, ATL_MA_DNS, 3),           /* nor a name */
    SKIP("\x35\x00", ATLAS_OK, ATL_MA_DNS, 0),
    SKIP("\xd1\x03", ATLAS_ERR_UNSUPPORTED, 0, 0), /* webtransport */
    SKIP("\xff\xff\xff\xff\x7f", ATLAS_ERR_UNSUPPORTED, 0, 0),
    SKIP("", ATLAS_ERR_ADDRESS, 0, 0),
    SKIP("\xff", ATLAS_ERR_ADDRESS, 0, 0),
    SKIP("\x04\x7f\x00\x00", ATLAS_ERR_ADDRESS, 0, 0),
    SKIP("\x35", ATLAS_ERR_ADDRESS, 0, 0),
    SKIP("\x35\x04*.a", ATLAS_ERR_ADDRESS, 0, 0),
    SKIP("\xa5\x03\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ATLAS_ERR_ADDRESS, 0, 0),
};

static void components_are_skipped(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(SKIPS); i++) {
        atl_component component = {4711, {NULL, 99}};
        atl_reader reader;
        int32_t rc;

        atl_reader_init(&reader, SKIPS[i].data, SKIPS[i].len);
        rc = atl_multiaddr_skip(&reader, &component);
        if (rc != SKIPS[i].rc) {
            fail_msg("row %zu: %d", i, (int)rc);
        }
        assert_int_equal(component.code, rc == ATLAS_OK ? SKIPS[i].code : 4711);
        assert_int_equal(component.value.left, rc == ATLAS_OK ? SKIPS[i].left : 99);
        assert_true(rc == ATLAS_OK ? reader.data == component.value.data + component.value.left
                                   : reader.left == SKIPS[i].len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_bytes),
        cmocka_unit_test(malformed_texts),
        cmocka_unit_test(malformed_bytes),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(buffers_too_small),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(random_addresses_round_trip),
        cmocka_unit_test(components_are_skipped),
    };

    return cmocka_run_group_tests_name("multiaddr", tests, NULL, NULL);
}
