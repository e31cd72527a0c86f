/* Dial targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "address/multiaddr.h"

#include <atlas/address.h>

#include <string.h>

#include "testenv.h"

#define ID "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define CID "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"
#define RELAY "12D3KooWB1b3qZxWJanuhtseF3DmPggHCtG36KZ9ixkqHtdKH9fh"
#define IP4 "/ip4/192.0.2.1/udp/4001/quic-v1"
#define IP6 "/ip6/2001:db8::1/udp/4001/quic-v1"

static void what_can_be_dialled(void **state) {
    static const struct {
        const char *text;
        uint32_t path;
        const char *relay;
        const char *transport;
    } ROWS[] = {
        {ID, ATLAS_PATH_NONE, "", ""},
        {CID, ATLAS_PATH_NONE, "", ""},
        {"/p2p/" ID, ATLAS_PATH_NONE, "", ""},
        {IP4 "/p2p/" ID, ATLAS_PATH_DIRECT, "", IP4},
        {IP6 "/p2p/" ID, ATLAS_PATH_DIRECT, "", IP6},
        {"/ip6/2001:DB8:0::1/udp/4001/quic-v1/p2p/" CID, ATLAS_PATH_DIRECT, "", IP6},
        {"/ip6/::ffff:192.0.2.1/udp/4001/quic-v1/p2p/" ID, ATLAS_PATH_DIRECT, "", IP4},
        {"/dns/a.org/udp/1/quic-v1/p2p/" ID, ATLAS_PATH_DIRECT, "", "/dns/a.org/udp/1/quic-v1"},
        {"/dns4/a.org/udp/1/quic-v1/p2p/" ID, ATLAS_PATH_DIRECT, "", "/dns4/a.org/udp/1/quic-v1"},
        {"/dns6/a.org/udp/1/quic-v1/p2p/" ID, ATLAS_PATH_DIRECT, "", "/dns6/a.org/udp/1/quic-v1"},
        {IP4 "/p2p/" RELAY "/p2p-circuit/p2p/" ID, ATLAS_PATH_RELAY, RELAY, IP4},
        {"/p2p/" RELAY "/p2p-circuit/p2p/" ID, ATLAS_PATH_RELAY, RELAY, ""},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        atlas_target_info info;
        char text[ATLAS_MULTIADDR_MAX];
        char expected[ATLAS_MULTIADDR_MAX];
        atl_maddr maddr;
        atl_maddr again;

        memset(&info, 0xee, sizeof(info));
        info.size = sizeof(info);
        assert_int_equal(atlas_target_parse(ROWS[i].text, &info), ATLAS_OK);
        assert_int_equal(info.size, sizeof(info));
        assert_int_equal(info.path, ROWS[i].path);
        assert_int_equal(info.reserved, 0);
        assert_string_equal(info.peer, ID);
        assert_string_equal(info.relay, ROWS[i].relay);
        assert_string_equal(info.transport, ROWS[i].transport);

        assert_int_equal(atl_maddr_parse(ROWS[i].text, &maddr), ATLAS_OK);
        assert_int_equal(atl_maddr_text(&maddr, text, sizeof(text)), ATLAS_OK);
        (void)snprintf(expected, sizeof(expected), "%s%s%s%s/p2p/" ID, ROWS[i].transport,
                       ROWS[i].relay[0] ? "/p2p/" : "", ROWS[i].relay,
                       ROWS[i].relay[0] ? "/p2p-circuit" : "");
        assert_string_equal(text, expected);
        assert_int_equal(atl_maddr_parse(text, &again), ATLAS_OK);
        assert_memory_equal(&maddr, &again, sizeof(maddr));
        assert_int_equal(atl_maddr_transport_text(&maddr, text, sizeof(text)), ATLAS_OK);
        assert_string_equal(text, ROWS[i].transport);
    }
}

static const struct {
    const char *text;
    int32_t rc;
} REFUSED[] = {
    {"", ATLAS_ERR_PEER_ID},
    {"x", ATLAS_ERR_PEER_ID},
    {"example.org", ATLAS_ERR_PEER_ID},
    {"12D3KooW", ATLAS_ERR_PEER_ID},
    {ID " ", ATLAS_ERR_PEER_ID},
    {"/", ATLAS_ERR_ADDRESS},
    {"/ip4/1.2.3/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_ADDRESS},
    {IP4 "/p2p/x", ATLAS_ERR_PEER_ID},
    {IP4 "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", ATLAS_ERR_PEER_ID},
    {IP4 "/quic/p2p/" ID, ATLAS_ERR_ADDRESS},
    /* no peer at the end */
    {IP4, ATLAS_ERR_ADDRESS},
    {"/ip4/192.0.2.1/udp/3478", ATLAS_ERR_ADDRESS},
    {IP4 "/p2p/" RELAY "/p2p-circuit", ATLAS_ERR_ADDRESS},
    {"/p2p/" RELAY "/p2p-circuit", ATLAS_ERR_ADDRESS},
    /* valid multiaddrs that lead nowhere from here */
    {"/ip4/1.2.3.4/tcp/1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/1.2.3.4/tcp/1/tls/ws/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/1.2.3.4/udp/1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/1.2.3.4/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/1.2.3.4", ATLAS_ERR_UNSUPPORTED},
    {"/ip4/1.2.3.4/udp/0/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/0.0.0.0/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip4/224.0.0.1/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip6/::/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip6/ff02::1/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/ip6/::ffff:0.0.0.0/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/dnsaddr/a.org/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/udp/1/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/quic-v1", ATLAS_ERR_UNSUPPORTED},
    {IP4 "/quic-v1/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {IP4 "/p2p/" ID "/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/p2p-circuit/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {IP4 "/p2p-circuit/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {IP4 "/p2p/" RELAY "/p2p-circuit/p2p-circuit/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {IP4 "/p2p/" RELAY "/p2p-circuit/p2p/" RELAY "/p2p-circuit/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {IP4 "/p2p/" RELAY "/p2p-circuit" IP4 "/p2p/" ID, ATLAS_ERR_UNSUPPORTED},
    {"/p2p/" ID IP4, ATLAS_ERR_UNSUPPORTED},
};

static void what_cannot(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(REFUSED); i++) {
        atlas_target_info info;
        atlas_target_info before;
        int32_t rc;

        memset(&info, 0x5e, sizeof(info));
        info.size = sizeof(info);
        before = info;
        rc = atlas_target_parse(REFUSED[i].text, &info);
        if (rc != REFUSED[i].rc) {
            fail_msg("%s gives %d", REFUSED[i].text, (int)rc);
        }
        assert_memory_equal(&info, &before, sizeof(info));
    }
}

static void fields_of_what_is_dialled(void **state) {
    atl_maddr maddr;

    (void)state;
    assert_int_equal(atl_maddr_parse("/ip4/192.0.2.1/udp/3478", &maddr), ATLAS_OK);
    assert_int_equal(maddr.host_kind, ATL_HOST_IP);
    assert_int_equal(maddr.quic, 0);
    assert_int_equal(maddr.port, 3478);
    assert_int_equal(maddr.addr.port, 3478);
    assert_int_equal(maddr.has_peer || maddr.has_relay, 0);
    assert_int_equal(
        atl_maddr_parse("/dns6/relay.example/udp/443/quic-v1/p2p/" RELAY "/p2p-circuit", &maddr),
        ATLAS_OK);
    assert_int_equal(maddr.host_kind, ATL_HOST_DNS6);
    assert_string_equal(maddr.host, "relay.example");
    assert_int_equal(maddr.port, 443);
    assert_int_equal(maddr.quic, 1);
    assert_int_equal(maddr.has_relay, 1);
    assert_int_equal(maddr.has_peer, 0);
}

static void the_longest_target_has_room(void **state) {
    char text[ATLAS_MULTIADDR_MAX];
    char again[ATLAS_MULTIADDR_MAX];
    char name[254];
    atlas_target_info info = {.size = sizeof(info)};
    atl_maddr maddr;
    size_t i;

    (void)state;
    memset(name, 'a', 253);
    name[253] = '\0';
    for (i = 60; i < 253; i += 61) {
        name[i] = '.';
    }
    (void)snprintf(text, sizeof(text),
                   "/dns4/%s/udp/65535/quic-v1/p2p/" RELAY "/p2p-circuit/p2p/" ID, name);
    assert_int_equal(atlas_target_parse(text, &info), ATLAS_OK);
    assert_int_equal(atl_maddr_parse(text, &maddr), ATLAS_OK);
    assert_string_equal(maddr.host, name);
    assert_int_equal(atl_maddr_text(&maddr, again, sizeof(again)), ATLAS_OK);
    assert_string_equal(text, again);
    for (i = 0; i <= strlen(text); i++) {
        assert_int_equal(atl_maddr_text(&maddr, again, i), ATLAS_ERR_BUFFER);
    }
}

static void wrong_arguments(void **state) {
    atlas_target_info info = {.size = sizeof(info)};

    (void)state;
    assert_int_equal(atlas_target_parse(NULL, &info), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_target_parse(ID, NULL), ATLAS_ERR_INVALID);
    info.size = 0;
    assert_int_equal(atlas_target_parse(ID, &info), ATLAS_ERR_INVALID);
    info.size = sizeof(info) + 1;
    assert_int_equal(atlas_target_parse(ID, &info), ATLAS_ERR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_dialled),       cmocka_unit_test(what_cannot),
        cmocka_unit_test(fields_of_what_is_dialled), cmocka_unit_test(the_longest_target_has_room),
        cmocka_unit_test(wrong_arguments),
    };

    return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
