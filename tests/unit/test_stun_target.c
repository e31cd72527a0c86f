/* What the text of a STUN server means. */
#include "stun/target.h"

#include "test_stun_world.h"

#define PEER "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"

static void accepted(void **state) {
    static const struct {
        const char *text;
        const char *addr; /* NULL: a name */
        const char *host;
        uint16_t port;
        uint8_t family;
        uint8_t srv;
    } rows[] = {
        {"192.0.2.1:5000", "192.0.2.1:5000", "", 5000, 4, 0},
        {"192.0.2.1", "192.0.2.1:3478", "", 3478, 4, 0},
        {"[2001:db8::1]:5000", "[2001:db8::1]:5000", "", 5000, 6, 0},
        {"[2001:db8::1]", "[2001:db8::1]:3478", "", 3478, 6, 0},
        {"2001:db8::1", "[2001:db8::1]:3478", "", 3478, 6, 0},
        {"[::ffff:192.0.2.1]:7", "192.0.2.1:7", "", 7, 4, 0},
        {"stun.example.org:19302", NULL, "stun.example.org", 19302, 0, 0},
        {"stun.example.org", NULL, "stun.example.org", 3478, 0, 1},
        {"localhost:1", NULL, "localhost", 1, 0, 0},
        {"stun.example.org:65535", NULL, "stun.example.org", 65535, 0, 0},
        {"/ip4/192.0.2.1/udp/5000", "192.0.2.1:5000", "", 5000, 4, 0},
        {"/ip6/2001:db8::1/udp/5000", "[2001:db8::1]:5000", "", 5000, 6, 0},
        {"/dns/stun.example.org/udp/5000", NULL, "stun.example.org", 5000, 0, 0},
        {"/dns4/stun.example.org/udp/5000", NULL, "stun.example.org", 5000, 4, 0},
        {"/dns6/stun.example.org/udp/5000", NULL, "stun.example.org", 5000, 6, 0},
        {"/ip4/192.0.2.1/udp/4433/quic-v1/p2p/" PEER, "192.0.2.1:4433", "", 4433, 4, 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_stun_target target;
        char text[ATLAS_ADDR_MAX];

        if (atl_stun_target_parse(rows[i].text, &target) != ATLAS_OK) {
            fail_msg("refused: %s", rows[i].text);
        }
        assert_int_equal(target.port, rows[i].port);
        assert_int_equal(target.family, rows[i].family);
        assert_int_equal(target.srv, rows[i].srv);
        if (rows[i].addr == NULL) {
            assert_int_equal(target.addr.family, 0);
            assert_string_equal(target.host, rows[i].host);
        } else {
            atl_addr_text(&target.addr, text);
            assert_string_equal(text, rows[i].addr);
        }
    }
}

static void refused(void **state) {
    static const char *const rows[] = {
        "",
        ":",
        ":3478",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:12x",
        "host:1:2",
        "192.0.2.1:0",
        "0.0.0.0:3478",
        "[::]:3478",
        "224.0.0.1:3478",
        "[ff02::1]:3478",
        "[2001:db8::1",
        "[2001:db8::1]x",
        "ho st:3478",
        "host/path:3478",
        "user@host:3478",
        ".host:3478",
        "host..example:3478",
        "stun:host:3478",
        "/ip4/192.0.2.1",
        "/ip4/192.0.2.1/tcp/5000",
        "/ip4/192.0.2.1/udp/0",
        "/ip4/192.0.2.300/udp/5000",
        "/ip4/192.0.2.1/udp/4433/quic-v1/p2p/" PEER "/p2p-circuit/p2p/" PEER,
        "/p2p/" PEER,
        "/",
    };
    char label[70];
    atl_stun_target target;
    size_t i;

    (void)state;
    memset(&target, 0x5a, sizeof(target));
    for (i = 0; i < ATL_COUNT(rows); i++) {
        if (atl_stun_target_parse(rows[i], &target) != ATLAS_ERR_ADDRESS) {
            fail_msg("accepted: %s", rows[i]);
        }
        assert_int_equal(target.family, 0x5a); /* untouched */
    }
    memset(label, 'a', 64); /* one more than a label may have */
    strcpy(label + 64, ":1");
    assert_int_equal(atl_stun_target_parse(label, &target), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_stun_target_parse(label + 1, &target), ATLAS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
