/* Transport addresses. IPv6 texts: RFC 5952 section 4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "address/addr.h"

#include <string.h>

#include "testenv.h"

static void texts_round_trip(void **state) {
    static const struct {
        const char *text;
        const char *canonical;
        uint8_t family;
        uint16_t port;
    } ROWS[] = {
        {"192.0.2.1:443", "192.0.2.1:443", 4, 443},
        {"0.0.0.0:0", "0.0.0.0:0", 4, 0},
        {"255.255.255.255:65535", "255.255.255.255:65535", 4, 65535},
        {"[2001:db8::1]:443", "[2001:db8::1]:443", 6, 443},
        {"[2001:DB8:0:0:0:0:0:1]:1", "[2001:db8::1]:1", 6, 1},
        {"[2001:0db8:0000:0001:0001:0001:0001:0001]:1", "[2001:db8:0:1:1:1:1:1]:1", 6, 1},
        {"[2001:0:0:1:0:0:0:1]:1", "[2001:0:0:1::1]:1", 6, 1},
        {"[::]:4001", "[::]:4001", 6, 4001},
        {"[::1]:9", "[::1]:9", 6, 9},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", 6, 65535},
        {"[fe80::1%3]:443", "[fe80::1%3]:443", 6, 443},
        {"[fe80::ffff:ffff:ffff:ffff%4294967295]:65535",
         "[fe80::ffff:ffff:ffff:ffff%4294967295]:65535", 6, 65535},
        {"[::ffff:192.0.2.1]:443", "192.0.2.1:443", 4, 443}, /* mapped is IPv4 */
        {"[::ffff:c000:201]:443", "192.0.2.1:443", 4, 443},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        char text[ATLAS_ADDR_MAX];
        atl_addr addr;
        atl_addr again;

        assert_int_equal(atl_addr_parse(ROWS[i].text, &addr), ATLAS_OK);
        assert_int_equal(addr.family, ROWS[i].family);
        assert_int_equal(addr.port, ROWS[i].port);
        atl_addr_text(&addr, text);
        assert_string_equal(text, ROWS[i].canonical);
        assert_int_equal(atl_addr_parse(text, &again), ATLAS_OK);
        assert_true(atl_addr_equal(&addr, &again));
    }
}

static const char *const MALFORMED[] = {
    "",
    ":",
    ":1",
    "1.2.3.4",
    "1.2.3.4:",
    "1.2.3.4:65536",
    "1.2.3.4:-1",
    "1.2.3.4:+1",
    "1.2.3.4: 1",
    "1.2.3.4:1 ",
    "1.2.3.4:01",
    "1.2.3.4:0x1",
    "1.2.3.4:99999999999999999999",
    "1.2.3:1",
    "1.2.3.4.5:1",
    "1.2.3.256:1",
    "1.2.3.-1:1",
    "01.2.3.4:1",
    "1.2.3.04:1",
    "1.2..4:1",
    ".1.2.3:1",
    "1.2.3.:1",
    "1.2.3.4x:1",
    " 1.2.3.4:1",
    "0x1.2.3.4:1",
    "16909060:1",
    "[1.2.3.4]:1",
    "::1:1",
    "2001:db8::1:443",
    "[::1]",
    "[::1]1",
    "[::1:1",
    "::1]:1",
    "[]:1",
    "[:]:1",
    "[:::]:1",
    "[1::2::3]:1",
    "[1:2:3:4:5:6:7]:1",
    "[1:2:3:4:5:6:7:8:9]:1",
    "[12345::]:1",
    "[g::]:1",
    "[::1%]:1",
    "[::1%3]:1",
    "[2001:db8::1%3]:1",
    "[fe80::1%0]:1",
    "[fe80::1%eth0]:1",
    "[fe80::1%4294967296]:1",
    "[fe80::1%03]:1",
    "[%3]:1",
    "[[::1]]:1",
    "[::ffff:1.2.3]:1",
    "[::ffff:1.2.3.256]:1",
    "localhost:1",
    "example.com:443",
    "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:1",
};

static void malformed_addresses(void **state) {
    atl_addr addr;
    atl_addr before;
    size_t i;

    (void)state;
    memset(&addr, 0x11, sizeof(addr));
    before = addr;
    for (i = 0; i < ATL_COUNT(MALFORMED); i++) {
        if (atl_addr_parse(MALFORMED[i], &addr) != ATLAS_ERR_ADDRESS) {
            fail_msg("accepted: %s", MALFORMED[i]);
        }
        assert_true(atl_addr_equal(&addr, &before));
    }
}

static void ip_literals(void **state) {
    char text[ATLAS_ADDR_MAX];
    atl_addr addr;
    atl_addr other;

    (void)state;
    assert_int_equal(atl_addr_parse_ip("::1", 3, 7, &addr), ATLAS_OK);
    assert_int_equal(atl_addr_parse_ip("[::1]", 5, 7, &other), ATLAS_OK);
    assert_true(atl_addr_equal(&addr, &other));
    atl_addr_ip_text(&addr, text);
    assert_string_equal(text, "::1");
    assert_int_equal(atl_addr_parse_ip("10.0.0.1:80", 8, 7, &addr),
                     ATLAS_OK); /* the length counts */
    atl_addr_ip_text(&addr, text);
    assert_string_equal(text, "10.0.0.1");
    assert_int_equal(addr.port, 7);
    assert_int_equal(atl_addr_parse_ip("", 0, 7, &addr), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_addr_parse_ip("[", 1, 7, &addr), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_addr_parse_ip("[]", 2, 7, &addr), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_addr_parse_ip("1.2\0.3.4", 8, 7, &addr), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_addr_parse_ip("::1\0", 4, 7, &addr), ATLAS_ERR_ADDRESS);
}

static void canonical_form(void **state) {
    atl_addr addr;
    atl_addr other;

    (void)state;
    memset(&addr, 0xcc, sizeof(addr));
    memset(addr.ip, 0, sizeof(addr.ip));
    addr.ip[10] = addr.ip[11] = 0xff;
    addr.ip[12] = 192;
    addr.ip[15] = 9;
    addr.family = 6;
    addr.port = 5;
    atl_addr_canonical(&addr);
    atl_addr_set4(&other, (const uint8_t[]){192, 0, 0, 9}, 5);
    assert_true(atl_addr_equal(&addr, &other));

    memset(&addr, 0xcc, sizeof(addr)); /* no family: nothing of it is left */
    atl_addr_canonical(&addr);
    memset(&other, 0, sizeof(other));
    assert_true(atl_addr_equal(&addr, &other));

    atl_addr_set6(&addr, (const uint8_t[16]){0x20, 0x01}, 9, 5); /* a scope that means nothing */
    assert_int_equal(addr.scope, 0);
    atl_addr_set6(&addr, (const uint8_t[16]){0xfe, 0x80}, 9, 5);
    assert_int_equal(addr.scope, 9);
    atl_addr_set6(&addr, (const uint8_t[16]){0xff, 0x02}, 9, 5);
    assert_int_equal(addr.scope, 9);
}

static void no_address_has_no_text(void **state) {
    char text[ATLAS_ADDR_MAX] = "x";
    atl_addr addr = {.family = 0};

    (void)state;
    atl_addr_text(&addr, text);
    assert_string_equal(text, "");
    atl_addr_ip_text(&addr, text);
    assert_string_equal(text, "");
}

#define LOOPBACK 1
#define LINK_LOCAL 2
#define UNSPECIFIED 4
#define PRIVATE 8
#define MULTICAST 16

static const struct {
    const char *text;
    int kinds;
} KINDS[] = {
    {"8.8.8.8", 0},
    {"127.0.0.1", LOOPBACK},
    {"127.255.255.255", LOOPBACK},
    {"128.0.0.1", 0},
    {"126.255.255.255", 0},
    {"::1", LOOPBACK},
    {"::2", 0},
    {"0.0.0.0", UNSPECIFIED},
    {"0.0.0.1", 0},
    {"::", UNSPECIFIED},
    {"169.254.0.1", LINK_LOCAL},
    {"169.253.0.1", 0},
    {"fe80::1", LINK_LOCAL},
    {"febf::1", LINK_LOCAL},
    {"fec0::1", 0},
    {"10.0.0.0", PRIVATE},
    {"10.255.255.255", PRIVATE},
    {"11.0.0.0", 0},
    {"172.15.255.255", 0},
    {"172.16.0.0", PRIVATE},
    {"172.31.255.255", PRIVATE},
    {"172.32.0.0", 0},
    {"192.168.0.0", PRIVATE},
    {"192.169.0.0", 0},
    {"100.63.255.255", 0},
    {"100.64.0.0", PRIVATE},
    {"100.127.255.255", PRIVATE},
    {"100.128.0.0", 0},
    {"fbff::", 0},
    {"fc00::", PRIVATE},
    {"fdff::", PRIVATE},
    {"fe00::", 0},
    {"223.255.255.255", 0},
    {"224.0.0.0", MULTICAST},
    {"239.255.255.255", MULTICAST},
    {"240.0.0.0", 0},
    {"ff02::1", MULTICAST},
    {"2001:db8::1", 0},
    {"::ffff:10.0.0.1", PRIVATE},
    {"::ffff:127.0.0.1", LOOPBACK},
};

static void kinds_of_addresses(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(KINDS); i++) {
        atl_addr addr;
        int kinds;

        assert_int_equal(atl_addr_parse_ip(KINDS[i].text, strlen(KINDS[i].text), 1, &addr),
                         ATLAS_OK);
        kinds = (atl_addr_is_loopback(&addr) ? LOOPBACK : 0) |
                (atl_addr_is_link_local(&addr) ? LINK_LOCAL : 0) |
                (atl_addr_is_unspecified(&addr) ? UNSPECIFIED : 0) |
                (atl_addr_is_private(&addr) ? PRIVATE : 0) |
                (atl_addr_is_multicast(&addr) ? MULTICAST : 0);
        if (kinds != KINDS[i].kinds) {
            fail_msg("%s is %d", KINDS[i].text, kinds);
        }
    }
}

static void no_address_is_of_no_kind(void **state) {
    atl_addr addr = {.family = 0};
    uint8_t key[8];

    (void)state;
    assert_false(atl_addr_is_loopback(&addr) || atl_addr_is_link_local(&addr) ||
                 atl_addr_is_unspecified(&addr) || atl_addr_is_private(&addr) ||
                 atl_addr_is_multicast(&addr));
    assert_int_equal(atl_addr_limit_key(&addr, key), 0);
}

static void limit_keys(void **state) {
    uint8_t a[8];
    uint8_t b[8];
    atl_addr addr;

    (void)state;
    assert_int_equal(atl_addr_parse("192.0.2.1:443", &addr), ATLAS_OK);
    assert_int_equal(atl_addr_limit_key(&addr, a), 4);
    assert_memory_equal(a, "\xc0\x00\x02\x01", 4);
    assert_int_equal(atl_addr_parse("[2001:db8:1:2::1]:443", &addr), ATLAS_OK);
    assert_int_equal(atl_addr_limit_key(&addr, a), 8);
    assert_int_equal(atl_addr_parse("[2001:db8:1:2:ffff::9]:1", &addr), ATLAS_OK);
    assert_int_equal(atl_addr_limit_key(&addr, b), 8);
    assert_memory_equal(a, b, 8);
    assert_int_equal(atl_addr_parse("[2001:db8:1:3::1]:443", &addr), ATLAS_OK);
    (void)atl_addr_limit_key(&addr, b);
    assert_memory_not_equal(a, b, 8);
}

static const struct {
    const char *text;
    const char *host; /* NULL: refused */
    uint16_t port;
} HOSTS[] = {
    {"stun.example.org:3478", "stun.example.org", 3478},
    {"stun.example.org", "stun.example.org", 0},
    {"localhost:1", "localhost", 1},
    {"a_b.c-d:65535", "a_b.c-d", 65535},
    {"192.0.2.1:443", "192.0.2.1", 443},
    {"192.0.2.1", "192.0.2.1", 0},
    {"[2001:db8::1]:443", "2001:db8::1", 443},
    {"[2001:db8::1]", "2001:db8::1", 0},
    {"2001:db8::1", "2001:db8::1", 0},
    {"[fe80::1%2]:5", "fe80::1%2", 5},
    {"", NULL, 0},
    {":", NULL, 0},
    {":1", NULL, 0},
    {"host:", NULL, 0},
    {"host:0", NULL, 0},
    {"host:65536", NULL, 0},
    {"host:1x", NULL, 0},
    {"host:01", NULL, 0},
    {"host:-1", NULL, 0},
    {"ho st:1", NULL, 0},
    {"ho/st:1", NULL, 0},
    {"host.:1", NULL, 0},
    {".host:1", NULL, 0},
    {"ho..st:1", NULL, 0},
    {"-host:1", NULL, 0},
    {"host-:1", NULL, 0},
    {"a.-b:1", NULL, 0},
    {"a-.b:1", NULL, 0},
    {"[::1", NULL, 0},
    {"[]:1", NULL, 0},
    {"[host]:1", NULL, 0},
    {"[192.0.2.1]:1", NULL, 0},
    {"[::1]x", NULL, 0},
    {"[::1]:", NULL, 0},
    {"a:b:c", NULL, 0},
    {"2001:db8::g", NULL, 0},
    {"h\xc3\xb6st:1", NULL, 0},
    {"stun://host:1", NULL, 0},
    {"user@host:1", NULL, 0},
};

static void hosts_and_ports(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(HOSTS); i++) {
        char host[256] = "before";
        uint16_t port = 99;
        int32_t rc = atl_host_port_split(HOSTS[i].text, host, sizeof(host), &port);

        if (rc != (HOSTS[i].host == NULL ? ATLAS_ERR_ADDRESS : ATLAS_OK)) {
            fail_msg("%s gives %d", HOSTS[i].text, (int)rc);
        }
        assert_string_equal(host, HOSTS[i].host == NULL ? "before" : HOSTS[i].host);
        assert_int_equal(port, HOSTS[i].host == NULL ? 99 : HOSTS[i].port);
    }
}

static void long_names(void **state) {
    char text[600];
    char host[256];
    uint16_t port;
    size_t i;

    (void)state;
    memset(text, 'a', sizeof(text));
    text[63] = '\0'; /* the longest label */
    assert_int_equal(atl_host_port_split(text, host, sizeof(host), &port), ATLAS_OK);
    assert_int_equal(atl_host_port_split(text, host, 64, &port), ATLAS_OK);
    assert_int_equal(atl_host_port_split(text, host, 63, &port), ATLAS_ERR_ADDRESS);
    text[63] = 'a';
    text[64] = '\0';
    assert_int_equal(atl_host_port_split(text, host, sizeof(host), &port), ATLAS_ERR_ADDRESS);
    memset(text, 'a', sizeof(text));
    for (i = 50; i < sizeof(text); i += 51) {
        text[i] = '.';
    }
    text[253] = '\0'; /* the longest name */
    assert_int_equal(atl_host_port_split(text, host, sizeof(host), &port), ATLAS_OK);
    text[253] = 'a';
    text[254] = '\0';
    assert_int_equal(atl_host_port_split(text, host, sizeof(host), &port), ATLAS_ERR_ADDRESS);
    text[254] = 'a';
    text[599] = '\0';
    assert_int_equal(atl_host_port_split(text, host, sizeof(host), &port), ATLAS_ERR_ADDRESS);
    assert_false(atl_dns_name_valid("a\0b", 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_round_trip),
        cmocka_unit_test(malformed_addresses),
        cmocka_unit_test(ip_literals),
        cmocka_unit_test(canonical_form),
        cmocka_unit_test(no_address_has_no_text),
        cmocka_unit_test(kinds_of_addresses),
        cmocka_unit_test(no_address_is_of_no_kind),
        cmocka_unit_test(limit_keys),
        cmocka_unit_test(hosts_and_ports),
        cmocka_unit_test(long_names),
    };

    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
