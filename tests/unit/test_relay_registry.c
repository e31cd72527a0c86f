/* Registrations, their order, and the limits per address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/access.h"
#include "relay/registry.h"

#include <string.h>

#include "testenv.h"

static atl_relay_limits some_limits(void) {
    atl_relay_limits limits;

    memset(&limits, 0, sizeof(limits));
    limits.max_nodes = 100000;
    limits.max_per_ipv4 = 3;
    limits.max_per_ipv6_64 = 2;
    limits.presence_interval = 2 * ATL_SECOND;
    return limits;
}

static atl_peer_id id_of(uint32_t n) {
    atl_peer_id id;

    memset(&id, 0, sizeof(id));
    memcpy(id.key, &n, sizeof(n));
    return id;
}

static atl_addr addr4(uint8_t last) {
    const uint8_t ip[4] = {192, 0, 2, last};
    atl_addr addr;

    atl_addr_set4(&addr, ip, 4000);
    return addr;
}

static atl_addr addr6(uint8_t net, uint8_t last) {
    const uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, [7] = net, [15] = last};
    atl_addr addr;

    atl_addr_set6(&addr, ip, 0, 4000);
    return addr;
}

static void expires_in_the_order_of_announcements(void **state) {
    testenv t;
    atl_relay_limits limits = some_limits();
    atl_registry registry;
    atl_registration regs[3];

    (void)state;
    testenv_init(&t);
    memset(regs, 0, sizeof(regs));
    assert_int_equal(atl_registry_init(&registry, &t.env, &limits), ATLAS_OK);
    assert_true(atl_registry_deadline(&registry) == ATLAS_NO_DEADLINE);
    for (uint32_t i = 0; i < 3; i++) {
        atl_peer_id id = id_of(i);
        atl_addr from = addr4((uint8_t)i);

        assert_false(atl_registration_active(&regs[i]));
        assert_int_equal(atl_registry_add(&registry, &regs[i], &id, &from, i * ATL_SECOND),
                         ATLAS_OK);
        assert_true(atl_registration_active(&regs[i]));
        assert_ptr_equal(atl_registry_find(&registry, &id), &regs[i]);
    }
    assert_int_equal(atl_registry_deadline(&registry), 6 * ATL_SECOND);
    atl_registry_touch(&registry, &regs[0], 3 * ATL_SECOND);
    assert_int_equal(atl_registry_deadline(&registry), 7 * ATL_SECOND);
    assert_null(atl_registry_expired(&registry, 7 * ATL_SECOND - 1));
    assert_ptr_equal(atl_registry_expired(&registry, 7 * ATL_SECOND), &regs[1]);
    atl_registry_remove(&registry, &regs[1]);
    atl_registry_remove(&registry, &regs[1]);
    assert_ptr_equal(atl_registry_expired(&registry, 20 * ATL_SECOND), &regs[2]);
    atl_registry_remove(&registry, &regs[2]);
    assert_ptr_equal(atl_registry_expired(&registry, 20 * ATL_SECOND), &regs[0]);
    atl_registry_remove(&registry, &regs[0]);
    assert_null(atl_registry_expired(&registry, 20 * ATL_SECOND));
    assert_int_equal(atl_registry_count(&registry), 0);
    atl_registry_free(&registry);
    testenv_done(&t);
}

static void counts_addresses(void **state) {
    static const struct {
        uint8_t v6, net, last;
        int32_t expect;
    } steps[] = {
        {0, 0, 1, ATLAS_OK}, {0, 0, 1, ATLAS_OK},
        {0, 0, 1, ATLAS_OK}, {0, 0, 1, ATL_REGISTRY_FULL_IPV4},
        {0, 0, 2, ATLAS_OK}, {1, 1, 1, ATLAS_OK},
        {1, 1, 2, ATLAS_OK}, {1, 1, 3, ATL_REGISTRY_FULL_IPV6},
        {1, 2, 1, ATLAS_OK},
    };
    testenv t;
    atl_relay_limits limits = some_limits();
    atl_registry registry;
    atl_registration regs[10];
    atl_peer_id id = id_of(99);
    atl_addr from = addr4(1);

    (void)state;
    testenv_init(&t);
    memset(regs, 0, sizeof(regs));
    assert_int_equal(atl_registry_init(&registry, &t.env, &limits), ATLAS_OK);
    for (uint32_t i = 0; i < ATL_COUNT(steps); i++) {
        atl_peer_id one = id_of(i);
        atl_addr at = steps[i].v6 ? addr6(steps[i].net, steps[i].last) : addr4(steps[i].last);

        assert_int_equal(atl_registry_add(&registry, &regs[i], &one, &at, 0), steps[i].expect);
        assert_int_equal(atl_registration_active(&regs[i]), steps[i].expect == ATLAS_OK);
    }
    /* a node that leaves, or moves, makes room */
    atl_registry_remove(&registry, &regs[0]);
    assert_int_equal(atl_registry_add(&registry, &regs[9], &id, &from, 0), ATLAS_OK);
    from = addr4(9);
    assert_int_equal(atl_registry_move(&registry, &regs[9], &from), ATLAS_OK);
    from = addr4(1);
    id = id_of(3);
    assert_int_equal(atl_registry_add(&registry, &regs[3], &id, &from, 0), ATLAS_OK);
    id = id_of(98);
    assert_int_equal(atl_registry_add(&registry, &regs[0], &id, &from, 0), ATL_REGISTRY_FULL_IPV4);
    for (size_t i = 0; i < 10; i++) {
        atl_registry_remove(&registry, &regs[i]);
    }
    assert_int_equal(registry.addresses.count, 0);
    atl_registry_free(&registry);
    testenv_done(&t);
}

static void has_room_for_so_many(void **state) {
    testenv t;
    atl_relay_limits limits = some_limits();
    atl_registry registry;
    atl_registration regs[3];
    atl_peer_id id = id_of(1);
    atl_addr from = addr4(1);

    (void)state;
    testenv_init(&t);
    memset(regs, 0, sizeof(regs));
    limits.max_nodes = 1;
    assert_int_equal(atl_registry_init(&registry, &t.env, &limits), ATLAS_OK);
    assert_int_equal(atl_registry_add(&registry, &regs[0], &id, &from, 0), ATLAS_OK);
    assert_int_equal(atl_registry_add(&registry, &regs[1], &id, &from, 0), ATLAS_ERR_EXISTS);
    id = id_of(2);
    assert_int_equal(atl_registry_add(&registry, &regs[1], &id, &from, 0), ATL_REGISTRY_FULL);
    limits.max_nodes = 2;
    assert_int_equal(atl_registry_add(&registry, &regs[1], &id, &from, 0), ATLAS_OK);
    atl_registry_remove(&registry, &regs[0]);
    atl_registry_remove(&registry, &regs[1]);
    atl_registry_free(&registry);
    testenv_done(&t);
}

static void one_of_many(testenv *t, void *user) {
    atl_relay_limits limits = some_limits();
    atl_registry registry;
    atl_registration reg;
    atl_peer_id id = id_of(1);
    atl_addr from = addr4(1);

    (void)user;
    memset(&reg, 0, sizeof(reg));
    assert_int_equal(atl_registry_init(&registry, &t->env, &limits), ATLAS_OK);
    if (atl_registry_add(&registry, &reg, &id, &from, 0) == ATLAS_OK) {
        from = addr4(2);
        (void)atl_registry_move(&registry, &reg, &from);
        assert_true(atl_registration_active(&reg));
        atl_registry_remove(&registry, &reg);
    } else {
        assert_null(atl_registry_find(&registry, &id));
    }
    assert_int_equal(registry.addresses.count, 0);
    atl_registry_free(&registry);
}

static void survives_a_lack_of_memory(void **state) {
    (void)state;
    assert_true(testenv_each_failure(one_of_many, NULL) >= 3);
}

/* 10,000 nodes that announce every interval: nobody expires, whoever stops does. */
static void ten_thousand(void **state) {
    enum { NODES = 10000 };
    testenv t;
    atl_relay_limits limits = some_limits();
    atl_registry registry;
    atl_registration *regs = calloc(NODES, sizeof(*regs));
    uint64_t now = 0;
    size_t gone = 0;

    (void)state;
    assert_non_null(regs);
    testenv_init(&t);
    limits.max_per_ipv4 = NODES;
    assert_int_equal(atl_registry_init(&registry, &t.env, &limits), ATLAS_OK);
    for (uint32_t i = 0; i < NODES; i++) {
        atl_peer_id id = id_of(i);
        atl_addr from = addr4((uint8_t)(i % 7));

        assert_int_equal(atl_registry_add(&registry, &regs[i], &id, &from, now), ATLAS_OK);
    }
    for (size_t round = 0; round < 10; round++) {
        now += limits.presence_interval;
        for (size_t i = round >= 5 ? NODES / 2 : 0; i < NODES; i++) {
            atl_registry_touch(&registry, &regs[i], now);
        }
        while (atl_registry_expired(&registry, now) != NULL) {
            atl_registry_remove(&registry, atl_registry_expired(&registry, now));
            gone++;
        }
    }
    assert_int_equal(gone, NODES / 2);
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(atl_registration_active(&regs[i]), i >= NODES / 2);
        atl_registry_remove(&registry, &regs[i]);
    }
    atl_registry_free(&registry);
    free(regs);
    testenv_done(&t);
}

static int32_t deny_announces(void *user, uint32_t what, const char *peer, const char *target,
                              const char *addr) {
    assert_string_equal(addr, "192.0.2.1:4000");
    assert_int_equal(strncmp(peer, "12D3KooW", 8), 0);
    assert_true((target != NULL) == (what == ATLAS_RELAY_ASK_CONNECT));
    *(int *)user += 1;
    return what == ATLAS_RELAY_ASK_ANNOUNCE ? ATLAS_ERR_LIMIT : 7;
}

static void lists_come_before_the_policy(void **state) {
    testenv t;
    atl_access access;
    atl_peer_id a = id_of(1);
    atl_peer_id b = id_of(2);
    atl_addr from = addr4(1);
    int asked = 0;

    (void)state;
    testenv_init(&t);
    assert_int_equal(atl_access_init(&access, &t.env), ATLAS_OK);
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_ANNOUNCE, &a, NULL, &from),
                     ATLAS_OK);
    assert_int_equal(atl_access_deny(&access, &a), ATLAS_OK);
    assert_int_equal(atl_access_deny(&access, &a), ATLAS_OK);
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_ANNOUNCE, &a, NULL, &from),
                     ATLAS_ERR_RELAY_NOT_AUTHORISED);
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_CONNECT, &b, &a, &from),
                     ATLAS_ERR_RELAY_NOT_AUTHORISED);
    assert_int_equal(atl_access_allow(&access, &a), ATLAS_OK); /* denied all the same */
    assert_false(atl_access_listed(&access, &a));
    assert_false(atl_access_listed(&access, &b));
    assert_int_equal(atl_access_allow(&access, &b), ATLAS_OK);
    assert_true(atl_access_listed(&access, &b));
    access.policy = deny_announces;
    access.policy_user = &asked;
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_ANNOUNCE, &b, NULL, &from),
                     ATLAS_ERR_LIMIT);
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_CONNECT, &b, &b, &from), ATLAS_OK);
    assert_int_equal(atl_access_check(&access, ATLAS_RELAY_ASK_ANNOUNCE, &a, NULL, &from),
                     ATLAS_ERR_RELAY_NOT_AUTHORISED);
    assert_int_equal(asked, 2);
    atl_access_free(&access);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expires_in_the_order_of_announcements),
        cmocka_unit_test(counts_addresses),
        cmocka_unit_test(has_room_for_so_many),
        cmocka_unit_test(survives_a_lack_of_memory),
        cmocka_unit_test(ten_thousand),
        cmocka_unit_test(lists_come_before_the_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
