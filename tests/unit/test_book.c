/* The address book: newest addresses, bounds, what goes first. */
#include "peer/book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/os.h"

static void env_make(atl_env *env) {
    atlas_hooks hooks = {.size = sizeof(hooks)};

    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_OK);
    atl_env_init(env, &hooks);
}

static atl_peer_id id_of(uint32_t n) {
    atl_peer_id id;

    memset(&id, 0, sizeof(id));
    memcpy(id.key, &n, sizeof(n));
    return id;
}

static atl_maddr addr_of(uint16_t port) {
    char text[64];
    atl_maddr addr;

    snprintf(text, sizeof(text), "/ip4/192.0.2.1/udp/%u/quic-v1", (unsigned)port);
    assert_int_equal(atl_maddr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static uint16_t newest(const atl_book_peer *peer) {
    return ATL_CONTAINER(peer->addrs.prev, atl_book_addr, node)->addr.port;
}

static uint16_t oldest(const atl_book_peer *peer) {
    return ATL_CONTAINER(peer->addrs.next, atl_book_addr, node)->addr.port;
}

static void test_addresses(void **state) {
    atl_env env;
    atl_book book;
    atl_peer_id id = id_of(1);
    const atl_book_peer *peer;
    uint16_t port;

    (void)state;
    env_make(&env);
    assert_int_equal(atl_book_init(&book, &env), ATLAS_OK);
    assert_null(atl_book_get(&book, &id));
    for (port = 1; port <= 20; port++) {
        atl_maddr addr = addr_of(port);

        assert_int_equal(atl_book_add(&book, &id, &addr), ATLAS_OK);
        peer = atl_book_get(&book, &id);
        assert_non_null(peer);
        assert_int_equal(newest(peer), port);
        assert_int_equal(peer->count, port < ATL_BOOK_ADDRS ? port : ATL_BOOK_ADDRS);
    }
    assert_int_equal(oldest(peer), 5);
    {
        atl_maddr again = addr_of(5);

        assert_int_equal(atl_book_add(&book, &id, &again), ATLAS_OK);
    }
    assert_int_equal(peer->count, ATL_BOOK_ADDRS);
    assert_int_equal(newest(peer), 5);
    assert_int_equal(oldest(peer), 6);
    atl_book_free(&book);
}

static void test_peers(void **state) {
    atl_env env;
    atl_book book;
    atl_maddr addr = addr_of(1);
    uint32_t i;

    (void)state;
    env_make(&env);
    assert_int_equal(atl_book_init(&book, &env), ATLAS_OK);
    for (i = 0; i < ATL_BOOK_PEERS + 10; i++) {
        atl_peer_id id = id_of(i);

        assert_int_equal(atl_book_add(&book, &id, &addr), ATLAS_OK);
    }
    assert_int_equal(book.map.count, ATL_BOOK_PEERS);
    for (i = 0; i < ATL_BOOK_PEERS + 10; i++) {
        atl_peer_id id = id_of(i);

        assert_int_equal(atl_book_get(&book, &id) != NULL, i >= 10);
    }
    atl_book_free(&book);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_peers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
