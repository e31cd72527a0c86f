/* The host's own addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <net/if.h>

#include "io/netif.h"

static int rank(const atl_addr *addr) {
    return atl_addr_is_loopback(addr) ? 2 : atl_addr_is_link_local(addr) ? 1 : 0;
}

static void own_addresses(void **state) {
    atl_addr addrs[64];
    atl_addr loopback;
    size_t n = atl_netif_addrs(NULL, addrs, ATL_COUNT(addrs));
    size_t found = 0;
    size_t i;
    size_t k;

    (void)state;
    assert_int_equal(atl_addr_parse_ip("127.0.0.1", 9, 0, &loopback), ATLAS_OK);
    assert_in_range(n, 1, ATL_COUNT(addrs));
    for (i = 0; i < n; i++) {
        assert_int_equal(addrs[i].port, 0);
        assert_true(i == 0 || rank(&addrs[i - 1]) <= rank(&addrs[i]));
        found += (size_t)(atl_addr_equal(&addrs[i], &loopback) != 0);
        for (k = 0; k < i; k++) {
            assert_false(atl_addr_equal(&addrs[i], &addrs[k]));
        }
    }
    assert_int_equal(found, 1);
    assert_int_equal(atl_netif_addrs(NULL, addrs, 1), 1);
    assert_int_equal(atl_netif_addrs(NULL, addrs, 0), 0);
}

static void ranks(void **state) {
    static const struct {
        const char *addr;
        const char *name;
        uint32_t flags;
        uint32_t rank;
    } ROWS[] = {
        {"198.51.100.1", "eth0", 0, 0},
        {"2001:db8::1", "wlan0", 0, 0},
        {"10.0.0.1", "enp3s0", 0, 1},
        {"fd00::1", "eth0", 0, 1},
        {"172.18.0.1", "br-1f2e3d4c5b6a", 0, 2},
        {"172.17.0.1", "docker0", 0, 2},
        {"192.168.122.1", "virbr0", 0, 2},
        {"10.8.0.2", "tun0", IFF_POINTOPOINT, 2},
        {"10.8.0.2", "office", IFF_POINTOPOINT, 2},
        {"2001:db8::1", "wg0", 0, 2},
        {"10.0.0.1", "bridge", 0, 1},
        {"198.51.100.1", "ppp0", IFF_POINTOPOINT, 0},
        {"fe80::1", "docker0", 0, 3},
        {"169.254.3.4", "eth0", 0, 3},
        {"127.0.0.1", "lo", IFF_LOOPBACK, 4},
        {"192.0.2.1", "lo", IFF_LOOPBACK, 4},
        {"::1", "lo", 0, 4},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        atl_addr addr;

        assert_int_equal(atl_addr_parse_ip(ROWS[i].addr, strlen(ROWS[i].addr), 0, &addr), 0);
        if (atl_netif_rank(&addr, ROWS[i].name, ROWS[i].flags) != ROWS[i].rank) {
            fail_msg("%s of %s", ROWS[i].addr, ROWS[i].name);
        }
    }
}

/* Lines as Linux writes them (net/ipv6/addrconf.c, if6_seq_show). */
static void flags_of_ipv6_addresses(void **state) {
    static const char LINES[] =
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "20010db8000000000000000000000007 02 40 00 21     eth0\n"
        "fe80000000000000021122fffe334455 1a 40 20 c0 enx001122334455";
    static const char *const BAD[] = {
        "",
        "\n",
        "0000000000000000000000000000000 01 80 10 80 lo",
        "0000000000000000000000000000000g 01 80 10 80 lo",
        "0000000000000000000000000000000101 80 10 80 lo",
        "00000000000000000000000000000001 01 80 10",
        "00000000000000000000000000000001 01 80 10 123456789 lo",
        "00000000000000000000000000000001 zz 80 10 80 lo",
    };
    static const uint32_t WANT[] = {0x80, 0x21, 0xc0};
    atl_reader reader;
    uint8_t ip[16];
    uint32_t flags;
    size_t i;

    (void)state;
    atl_reader_init(&reader, LINES, sizeof(LINES) - 1);
    for (i = 0; i < ATL_COUNT(WANT); i++) {
        assert_int_equal(atl_netif_line6(&reader, ip, &flags), ATLAS_OK);
        assert_int_equal(flags, WANT[i]);
        assert_int_equal(ip[15], i == 0 ? 1 : i == 1 ? 7 : 0x55);
    }
    assert_int_equal(reader.left, 0);
    for (i = 0; i < ATL_COUNT(BAD); i++) {
        flags = 12345;
        atl_reader_init(&reader, BAD[i], strlen(BAD[i]));
        assert_int_equal(atl_netif_line6(&reader, ip, &flags), ATLAS_ERR_TRUNCATED);
        assert_int_equal(flags, 12345);
        assert_int_equal(reader.left, strlen(BAD[i]));
    }
}

static void source_addresses(void **state) {
    atl_addr remote;
    atl_addr source;
    atl_addr none;

    (void)state;
    memset(&source, 0x5a, sizeof(source));
    assert_int_equal(atl_addr_parse("127.0.0.9:443", &remote), ATLAS_OK);
    assert_int_equal(atl_netif_source(NULL, &remote, &source), ATLAS_OK);
    assert_int_equal(source.family, 4);
    assert_int_equal(source.port, 0);
    assert_true(atl_addr_is_loopback(&source));
    none = source;
    remote.family = 0;
    assert_int_equal(atl_netif_source(NULL, &remote, &source), ATLAS_ERR_INVALID);
    /* a socket that has not asked for it may not broadcast */
    assert_int_equal(atl_addr_parse("255.255.255.255:9", &remote), ATLAS_OK);
    assert_int_equal(atl_netif_source(NULL, &remote, &source), ATLAS_ERR_UNREACHABLE);
    assert_true(atl_addr_equal(&source, &none));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_addresses),
        cmocka_unit_test(ranks),
        cmocka_unit_test(flags_of_ipv6_addresses),
        cmocka_unit_test(source_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
