/* Peer records: what is read of them and what is made. test_record_hostile.c has what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <atlas/address.h>

#include "record_hand.h"

#define HOUR 3600

static const char *addr_text(const atl_record *record, size_t i) {
    static char text[ATLAS_MULTIADDR_MAX];

    assert_true(i < record->n_addrs);
    assert_int_equal(atl_maddr_text(&record->addrs[i], text, sizeof(text)), ATLAS_OK);
    return text;
}

/* ---- vectors ---- */

/* As libp2p writes it: no field of ours, TCP and QUIC addresses. */
static void what_libp2p_says_is_read(void **state) {
    static const uint8_t TCP[] = {4, 192, 0, 2, 1, 6, 0x0f, 0xa1};
    static const uint8_t QUIC[] = {4, 192, 0, 2, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03};
    bytes payload = {.len = 0};
    atl_record record;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    put_peer(&payload, &h);
    put_number(&payload, 2, UINT64_C(1700000000123456789)); /* go: nanoseconds */
    put_addr(&payload, TCP, sizeof(TCP));
    put_addr(&payload, QUIC, sizeof(QUIC));
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_memory_equal(record.head.peer.key, h.public_key, 32);
    assert_int_equal(record.head.seq, UINT64_C(1700000000123456789));
    assert_int_equal(record.head.issued, 0);
    assert_int_equal(record.head.lifetime, HOUR);
    assert_int_equal(record.head.offers, 0);
    assert_int_equal(record.head.n_addrs, 2);
    assert_int_equal(record.n_addrs, 1);
    assert_string_equal(addr_text(&record, 0), "/ip4/192.0.2.1/udp/4001/quic-v1");
}

/* Ours, all fields, in an order that nobody writes, between unknown ones of every kind. */
static void fields_in_any_order(void **state) {
    static const uint8_t QUIC[] = {4, 10, 0, 0, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03};
    static bytes info;
    bytes payload = {.len = 0};
    atl_record record;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    put_field(&payload, 4, "unknown", 7);
    put_number(&payload, 102, 600);
    info.len = 0;
    put_number(&info, 2, 5);
    put_field(&info, 1, QUIC, sizeof(QUIC));
    put_field(&info, 77, "x", 1);
    put_field(&payload, 3, info.data, info.len);
    put_number(&payload, 100, 0x80000005u);
    put_varint(&payload, 103 << 3 | 1);
    put(&payload, "12345678", 8);
    put_number(&payload, 5, UINT64_MAX); /* ten bytes */
    put_number(&payload, 101, 1767225600);
    put_peer(&payload, &h);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_memory_equal(record.head.peer.key, h.public_key, 32);
    assert_int_equal(record.head.seq, 0); /* proto3 leaves a zero out */
    assert_int_equal(record.head.issued, 1767225600);
    assert_int_equal(record.head.lifetime, 600);
    assert_int_equal(record.head.offers, 0x80000005u);
    assert_int_equal(record.n_addrs, 1);
    assert_string_equal(addr_text(&record, 0), "/ip4/10.0.0.1/udp/4001/quic-v1");
}

/* The encoder writes what a hand would: byte for byte. */
static void what_is_made(void **state) {
    static const uint8_t QUIC[] = {4, 192, 0, 2, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03};
    static bytes expected;
    static const struct {
        uint64_t seq, issued, lifetime;
        uint32_t offers;
    } ROWS[] = {{0, 0, HOUR, 0},
                {1, 1767225600, HOUR, 7},
                {(UINT64_C(1) << 63) - 1, (UINT64_C(1) << 63) - 1, 86400, UINT32_MAX},
                {5, 1, 1, 1}};
    uint8_t buf[ATL_RECORD_MAX];
    atl_record record;
    atlas_key *key;
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    assert_int_equal(atlas_key_from_seed(SEED, &key), ATLAS_OK);
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        bytes payload = {.len = 0};
        size_t len = 0;

        memset(&record, 0, sizeof(record));
        atl_key_id(key, &record.head.peer);
        record.head.seq = ROWS[i].seq;
        record.head.issued = ROWS[i].issued;
        record.head.lifetime = ROWS[i].lifetime;
        record.head.offers = ROWS[i].offers;
        record.n_addrs = 1;
        assert_int_equal(atl_maddr_from_bytes(QUIC, sizeof(QUIC), &record.addrs[0]), ATLAS_OK);
        record.addrs[0].has_peer = 1; /* its own: left out */
        record.addrs[0].peer = record.head.peer;

        put_peer(&payload, &h);
        put_number(&payload, 2, ROWS[i].seq);
        put_addr(&payload, QUIC, sizeof(QUIC));
        if (ROWS[i].offers != 0) {
            put_number(&payload, 100, ROWS[i].offers);
        }
        if (ROWS[i].issued != 0) {
            put_number(&payload, 101, ROWS[i].issued);
        }
        if (ROWS[i].lifetime != HOUR) {
            put_number(&payload, 102, ROWS[i].lifetime);
        }
        seal(&h, &payload, &expected);
        assert_int_equal(atl_record_make(key, &record, buf, sizeof(buf), &len), ATLAS_OK);
        assert_int_equal(len, expected.len);
        assert_memory_equal(buf, expected.data, len);
    }
    atlas_key_free(key);
}

/* ---- addresses ---- */

/* Replaces SELF, OTHER and RELAY in a multiaddr's text. */
static void expand(const char *text, const hand *h, char *out, size_t cap) {
    static const char *const NAMES[] = {"SELF", "OTHER"};
    char id_text[2][ATLAS_PEER_ID_MAX];
    atl_peer_id id;
    hand other;
    size_t at = 0;

    hand_init(&other, OTHER_SEED);
    memcpy(id.key, h->public_key, 32);
    atl_peer_id_text(&id, id_text[0]);
    memcpy(id.key, other.public_key, 32);
    atl_peer_id_text(&id, id_text[1]);
    while (*text != '\0') {
        size_t i;

        for (i = 0; i < 2; i++) {
            size_t len = strlen(NAMES[i]);

            if (strncmp(text, NAMES[i], len) == 0) {
                at += (size_t)snprintf(out + at, cap - at, "%s", id_text[i]);
                text += len;
                break;
            }
        }
        if (i == 2) {
            out[at++] = *text++;
        }
        assert_true(at + 1 < cap);
    }
    out[at] = '\0';
}

#define LEFT_OUT ""

static const struct {
    const char *said;
    const char *read; /* LEFT_OUT; NULL: the record is refused */
} ADDRS[] = {
    {"/ip4/192.0.2.1/udp/4001/quic-v1", "/ip4/192.0.2.1/udp/4001/quic-v1"},
    {"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/SELF", "/ip4/192.0.2.1/udp/4001/quic-v1"},
    {"/ip4/192.0.2.1/udp/4001/quic-v1/p2p/OTHER", NULL},
    {"/ip6/2001:db8::1/udp/1/quic-v1", "/ip6/2001:db8::1/udp/1/quic-v1"},
    {"/ip6/::ffff:192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/1/quic-v1"},
    {"/dns/a.example/udp/65535/quic-v1", "/dns/a.example/udp/65535/quic-v1"},
    {"/dns4/a.example/udp/4/quic-v1/p2p/SELF", "/dns4/a.example/udp/4/quic-v1"},
    {"/dns6/a.example/udp/6/quic-v1", "/dns6/a.example/udp/6/quic-v1"},
    /* private and loopback ones are somebody else's question */
    {"/ip4/127.0.0.1/udp/4001/quic-v1", "/ip4/127.0.0.1/udp/4001/quic-v1"},
    {"/ip4/192.168.1.2/udp/4001/quic-v1", "/ip4/192.168.1.2/udp/4001/quic-v1"},
    {"/ip6/::1/udp/4001/quic-v1", "/ip6/::1/udp/4001/quic-v1"},
    /* circuits */
    {"/ip4/192.0.2.9/udp/9/quic-v1/p2p/OTHER/p2p-circuit",
     "/ip4/192.0.2.9/udp/9/quic-v1/p2p/OTHER/p2p-circuit"},
    {"/dns/r.example/udp/9/quic-v1/p2p/OTHER/p2p-circuit/p2p/SELF",
     "/dns/r.example/udp/9/quic-v1/p2p/OTHER/p2p-circuit"},
    {"/ip4/192.0.2.9/udp/9/quic-v1/p2p/OTHER/p2p-circuit/p2p/OTHER", NULL},
    {"/p2p/OTHER/p2p-circuit", LEFT_OUT},
    {"/ip4/192.0.2.9/udp/9/quic-v1/p2p/SELF/p2p-circuit", LEFT_OUT},
    {"/ip4/192.0.2.9/udp/9/quic-v1/p2p/OTHER/p2p-circuit/p2p/OTHER/p2p-circuit", LEFT_OUT},
    /* what cannot be dialled */
    {"/ip4/192.0.2.1/tcp/4001", LEFT_OUT},
    {"/ip4/192.0.2.1/tcp/4001/p2p/SELF", LEFT_OUT},
    {"/ip4/192.0.2.1/tcp/4001/p2p/OTHER", NULL},
    {"/dns/a.example/tcp/443/tls/ws", LEFT_OUT},
    {"/dns/a.example/tcp/443/tls/ws/p2p/SELF", LEFT_OUT},
    {"/dns4/a.example/tcp/80/http", LEFT_OUT},
    {"/dnsaddr/a.example/p2p/SELF", LEFT_OUT},
    {"/ip4/192.0.2.1/udp/4001", LEFT_OUT},
    {"/ip4/192.0.2.1/udp/0/quic-v1", LEFT_OUT},
    {"/ip4/0.0.0.0/udp/4001/quic-v1", LEFT_OUT},
    {"/ip4/224.0.0.1/udp/4001/quic-v1", LEFT_OUT},
    {"/p2p/SELF", LEFT_OUT},
    {"/p2p/OTHER", NULL},
    {"/p2p-circuit", LEFT_OUT},
};

static void addresses_by_text(void **state) {
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    for (i = 0; i < ATL_COUNT(ADDRS); i++) {
        static const uint8_t LAST[] = {4, 203, 0, 113, 9, 0x91, 0x02, 0, 7, 0xcd, 0x03};
        uint8_t multiaddr[ATL_MULTIADDR_BYTES];
        char text[ATLAS_MULTIADDR_MAX];
        bytes payload = {.len = 0};
        atl_record record;
        int32_t rc;
        size_t len;

        expand(ADDRS[i].said, &h, text, sizeof(text));
        assert_int_equal(atl_multiaddr_encode(text, multiaddr, sizeof(multiaddr), &len), ATLAS_OK);
        put_addr(&payload, multiaddr, len);
        put_addr(&payload, LAST, sizeof(LAST)); /* what comes behind is not lost */
        put_peer(&payload, &h);
        rc = open_payload(&h, &payload, &record);
        if (ADDRS[i].read == NULL) {
            if (rc != ATLAS_ERR_ADDRESS) {
                fail_msg("%s: %d", ADDRS[i].said, (int)rc);
            }
            continue;
        }
        if (rc != ATLAS_OK || record.head.n_addrs != 2 ||
            record.n_addrs != (ADDRS[i].read[0] == '\0' ? 1 : 2)) {
            fail_msg("%s: %d", ADDRS[i].said, (int)rc);
        }
        if (record.n_addrs == 2) {
            expand(ADDRS[i].read, &h, text, sizeof(text));
            assert_string_equal(addr_text(&record, 0), text);
            assert_int_equal(record.addrs[0].has_peer, 0);
        }
        assert_string_equal(addr_text(&record, record.n_addrs - 1),
                            "/ip4/203.0.113.9/udp/7/quic-v1");
    }
}

#define RAW(text, rc) \
    { text, sizeof(text) - 1, rc }
#define SHA256_ID "\x12\x20qwertyuiopasdfghjklzxcvbnm123456"

/* Binary multiaddrs that libatlas has no text for. All OK ones are left out. */
static const struct {
    const char *data;
    size_t len;
    int32_t rc;
} RAW_ADDRS[] = {
    /* quic (draft 29), webtransport with certhash, sni, a protocol nobody has heard of */
    RAW("\x04\xc0\x00\x02\x01\x91\x02\x0f\xa1\xcc\x03", ATLAS_OK),
    RAW("\x04\xc0\x00\x02\x01\x91\x02\x0f\xa1\xcd\x03\xd1\x03\xd2\x03\x02\x12\x20", ATLAS_OK),
    RAW("\x04\xc0\x00\x02\x01\x06\x0f\xa1\xc0\x03\xc1\x03\x03*.a\xdd\x03", ATLAS_OK),
    RAW("\xff\xff\x03garbage", ATLAS_OK),
    /* a relay that has an RSA key; a name that libatlas would not look up */
    RAW("\x04\xc0\x00\x02\x01\x91\x02\x0f\xa1\xcd\x03\xa5\x03\x22" SHA256_ID "\xa2\x02", ATLAS_OK),
    RAW("\x35\x03*.a\x91\x02\x0f\xa1\xcd\x03", ATLAS_OK),
    RAW("\x35\x00\x91\x02\x0f\xa1\xcd\x03", ATLAS_OK),
    /* an RSA key at the end is another peer's */
    RAW("\x04\xc0\x00\x02\x01\x91\x02\x0f\xa1\xcd\x03\xa5\x03\x22" SHA256_ID, ATLAS_ERR_ADDRESS),
    RAW("\xa5\x03\x00", ATLAS_ERR_ADDRESS),
    /* not multiaddrs */
    RAW("", ATLAS_ERR_ADDRESS),
    RAW("\x04", ATLAS_ERR_ADDRESS),
    RAW("\x04\xc0\x00\x02", ATLAS_ERR_ADDRESS),
    RAW("\x04\xc0\x00\x02\x01\x91", ATLAS_ERR_ADDRESS),
    RAW("\x04\xc0\x00\x02\x01\x91\x02\x0f", ATLAS_ERR_ADDRESS),
    RAW("\x84\x00\xc0\x00\x02\x01", ATLAS_ERR_ADDRESS), /* not minimal */
    RAW("\x35\x04*.a", ATLAS_ERR_ADDRESS),
    RAW("\x35\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ATLAS_ERR_ADDRESS),
    RAW("\xa5\x03\x26\x00\x24", ATLAS_ERR_ADDRESS),
};

static void addresses_by_bytes(void **state) {
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    for (i = 0; i < ATL_COUNT(RAW_ADDRS); i++) {
        bytes payload = {.len = 0};
        atl_record record = {.n_addrs = 99};
        int32_t rc;

        put_peer(&payload, &h);
        put_addr(&payload, RAW_ADDRS[i].data, RAW_ADDRS[i].len);
        rc = open_payload(&h, &payload, &record);
        if (rc != RAW_ADDRS[i].rc || record.n_addrs != (rc == ATLAS_OK ? 0 : 99)) {
            fail_msg("row %zu: %d", i, (int)rc);
        }
    }
}

/* Longer than any that libatlas reads, or with more components: left out as well. */
static void endless_addresses(void **state) {
    bytes payload = {.len = 0};
    uint8_t addr[600];
    atl_record record;
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    for (i = 0; i < sizeof(addr); i += 2) {
        memcpy(addr + i, "\xa2\x02", 2);
    }
    put_peer(&payload, &h);
    put_addr(&payload, addr, sizeof(addr));
    put_addr(&payload, addr, 40);
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_int_equal(record.head.n_addrs, 2);
    assert_int_equal(record.n_addrs, 0);
}

static void each_address_once(void **state) {
    static const char *const SAID[] = {
        "/ip4/192.0.2.1/udp/1/quic-v1",
        "/ip4/192.0.2.1/udp/1/quic-v1/p2p/SELF",
        "/ip6/::ffff:192.0.2.1/udp/1/quic-v1",
        "/ip4/192.0.2.1/udp/2/quic-v1",
        "/ip4/192.0.2.2/udp/1/quic-v1",
        "/ip4/192.0.2.1/udp/1/quic-v1/p2p/OTHER/p2p-circuit",
        "/ip4/192.0.2.1/udp/1/quic-v1/p2p/OTHER/p2p-circuit/p2p/SELF",
        "/dns/a.example/udp/1/quic-v1",
        "/dns4/a.example/udp/1/quic-v1",
        "/dns/a.example/udp/1/quic-v1",
        "/dns/b.example/udp/1/quic-v1",
    };
    static const size_t KEPT[] = {0, 3, 4, 5, 7, 8, 10};
    char text[ATLAS_MULTIADDR_MAX];
    bytes payload = {.len = 0};
    atl_record record;
    size_t i;
    hand h;

    (void)state;
    hand_init(&h, SEED);
    put_peer(&payload, &h);
    for (i = 0; i < ATL_COUNT(SAID); i++) {
        uint8_t multiaddr[ATL_MULTIADDR_BYTES];
        size_t len;

        expand(SAID[i], &h, text, sizeof(text));
        assert_int_equal(atl_multiaddr_encode(text, multiaddr, sizeof(multiaddr), &len), ATLAS_OK);
        put_addr(&payload, multiaddr, len);
    }
    assert_int_equal(open_payload(&h, &payload, &record), ATLAS_OK);
    assert_int_equal(record.head.n_addrs, ATL_COUNT(SAID));
    assert_int_equal(record.n_addrs, ATL_COUNT(KEPT));
    for (i = 0; i < ATL_COUNT(KEPT); i++) {
        expand(SAID[KEPT[i]], &h, text, sizeof(text));
        assert_string_equal(addr_text(&record, i), text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_libp2p_says_is_read),
        cmocka_unit_test(fields_in_any_order),
        cmocka_unit_test(what_is_made),
        cmocka_unit_test(addresses_by_text),
        cmocka_unit_test(addresses_by_bytes),
        cmocka_unit_test(endless_addresses),
        cmocka_unit_test(each_address_once),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
