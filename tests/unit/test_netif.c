/* The host's own addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

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
        cmocka_unit_test(source_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
