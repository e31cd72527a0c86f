/* Gathering: who is asked when, what becomes of answers, failures and changes of the network. The
 * io and the STUN client are made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <atlas/nat.h>

#include "candidates_world.h"

static void nothing_before_it_is_asked_for(void **state) {
    world w;
    uint64_t generation = 9;
    const atl_candidate *list;

    (void)state;
    world_init(&w);
    add_server(&w, "198.51.100.1:3478");
    atl_candidates_changed(w.candidates);
    pass(&w, ATL_SECOND);
    assert_int_equal(w.n_asks + w.changes, 0);
    assert_int_equal(atl_candidates_get(w.candidates, &list, &generation), 0);
    assert_int_equal(generation, 0);
    assert_int_equal(atl_candidates_gathering(w.candidates), 0);
    world_end(&w);
}

static void gathers(void **state) {
    world w;
    uint64_t generation;
    const atl_candidate *list;

    (void)state;
    world_init(&w);
    w.hosts[1] = "2001:db8::5";
    w.hosts[2] = "127.0.0.1";
    w.n_hosts = 3;
    add_server(&w, "198.51.100.1:3478");
    add_server(&w, "198.51.100.1:3478");
    add_server(&w, "/ip6/2001:db8:1::1/udp/3478");
    add_relay(&w, "198.51.100.2:443");
    add_relay(&w, "198.51.100.2:443");
    atl_candidates_gather(w.candidates, 0);
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.5:4001"); /* at once */
    assert_int_equal(w.changes, 0);                      /* but told later */
    run(&w);
    assert_int_equal(w.changes, 1);
    assert_int_equal(w.n_asks, 3);
    assert_asked(&w, 0, "198.51.100.1:3478");
    assert_asked(&w, 1, "[2001:db8:1::1]:3478");
    assert_asked(&w, 2, "198.51.100.2:443");
    assert_true(w.asks[0].deadline == w.loop.now + 3 * ATL_SECOND);
    assert_int_equal(atl_candidates_gathering(w.candidates), 1);
    atl_candidates_gather(w.candidates, 0); /* all are being asked */
    assert_int_equal(w.n_asks, 3);
    answer(&w, 0, "203.0.113.9:5555", "10.0.0.5:4001");
    answer(&w, 1, "[2001:db8::5]:4001", NULL); /* not translated: no candidate of its own */
    assert_int_equal(w.changes, 2);
    assert_int_equal(atl_candidates_gathering(w.candidates), 1);
    answer(&w, 2, "203.0.113.9:5555", NULL);
    assert_int_equal(atl_candidates_gathering(w.candidates), 0);
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.5:4001 203.0.113.9:5555");
    assert_int_equal(w.changes, 2);
    assert_int_equal(atl_candidates_get(w.candidates, &list, &generation), 3);
    assert_int_equal(generation, 2);
    assert_int_equal(list[2].kind, ATLAS_CANDIDATE_SERVER_REFLEXIVE);
    assert_int_equal(list[2].base.port, 4001);
    assert_int_equal(list[2].base.ip[3], 5);
    assert_int_equal(atl_loop_deadline(&w.loop), ATLAS_NO_DEADLINE); /* nothing by itself */
    world_end(&w);
}

static void reuses_what_is_young(void **state) {
    world w;

    (void)state;
    world_init(&w);
    add_server(&w, "198.51.100.1:3478");
    atl_candidates_gather(w.candidates, 0);
    answer(&w, 0, "203.0.113.9:5555", NULL);
    pass(&w, 10 * ATL_SECOND);
    w.hosts[0] = "10.0.0.6";
    atl_candidates_gather(w.candidates, 30 * ATL_SECOND);
    assert_int_equal(w.n_asks, 1);
    assert_list(&w, "10.0.0.5:4001 203.0.113.9:5555");
    pass(&w, 20 * ATL_SECOND);
    atl_candidates_gather(w.candidates, 30 * ATL_SECOND);
    assert_int_equal(w.n_asks, 2);
    assert_list(&w, "10.0.0.6:4001 203.0.113.9:5555");
    /* a refresh that is lost once says nothing */
    fail_ask(&w, 1);
    assert_list(&w, "10.0.0.6:4001 203.0.113.9:5555");
    pass(&w, 5 * ATL_SECOND);
    assert_int_equal(w.n_asks, 3);
    answer(&w, 2, "203.0.113.9:6666", NULL);
    assert_list(&w, "10.0.0.6:4001 203.0.113.9:6666");
    world_end(&w);
}

/* 5 s, doubled up to 5 min, each with one request. */
static void asks_the_silent_again(void **state) {
    static const uint64_t PAUSES[] = {5, 10, 20, 40, 80, 160, 300, 300};
    world w;
    size_t i;

    (void)state;
    world_init(&w);
    add_server(&w, "198.51.100.1:3478");
    atl_candidates_gather(w.candidates, 0);
    for (i = 0; i < ATL_COUNT(PAUSES); i++) {
        fail_ask(&w, i);
        assert_int_equal(atl_candidates_gathering(w.candidates), 0);
        assert_true(atl_loop_deadline(&w.loop) == w.loop.now + PAUSES[i] * ATL_SECOND);
        pass(&w, PAUSES[i] * ATL_SECOND - 1);
        assert_int_equal(w.n_asks, i + 1);
        pass(&w, 1);
        assert_int_equal(w.n_asks, i + 2);
    }
    answer(&w, i, "203.0.113.9:5555", NULL);
    assert_list(&w, "10.0.0.5:4001 203.0.113.9:5555");
    world_end(&w);
}

static void what_cannot_be_asked(void **state) {
    world w;

    (void)state;
    world_init(&w);
    w.unreachable = 1;
    add_server(&w, "198.51.100.1:3478");
    add_server(&w, "[2001:db8:1::1]:3478");
    memset(&w.bound[1], 0, sizeof(w.bound[1])); /* no IPv6 socket: not a failure */
    atl_candidates_gather(w.candidates, 0);
    assert_int_equal(w.n_asks, 0);
    assert_int_equal(atl_candidates_gathering(w.candidates), 0);
    assert_true(atl_loop_deadline(&w.loop) <= w.loop.now + 5 * ATL_SECOND);
    w.unreachable = 0;
    w.refuse = 1;
    pass(&w, 5 * ATL_SECOND);
    w.refuse = 0;
    pass(&w, 10 * ATL_SECOND);
    assert_int_equal(w.n_asks, 1);
    answer(&w, 0, "0.0.0.0:5", NULL); /* nonsense is a failure */
    assert_list(&w, "10.0.0.5:4001");
    pass(&w, 20 * ATL_SECOND);
    assert_int_equal(w.n_asks, 2);
    answer(&w, 1, "203.0.113.9:5555", NULL);
    assert_list(&w, "10.0.0.5:4001 203.0.113.9:5555");
    world_end(&w);
}

static void bound_to_one_address(void **state) {
    world w;

    (void)state;
    world_init(&w);
    w.hosts[1] = "192.168.1.5";
    w.hosts[2] = "2001:db8::5";
    w.n_hosts = 3;
    w.bound[0] = addr_of("192.168.1.5:4001");
    memset(&w.bound[1], 0, sizeof(w.bound[1]));
    atl_candidates_gather(w.candidates, 0);
    assert_list(&w, "192.168.1.5:4001");
    world_end(&w);
}

static void network_changes(void **state) {
    world w;

    (void)state;
    world_init(&w);
    w.hosts[1] = "2001:db8::5";
    w.n_hosts = 2;
    add_server(&w, "198.51.100.1:3478");
    add_server(&w, "198.51.100.2:3478");
    add_server(&w, "[2001:db8:1::1]:3478");
    atl_candidates_gather(w.candidates, 0);
    answer(&w, 0, "203.0.113.9:5555", NULL);
    answer(&w, 1, "203.0.113.9:7777", NULL);
    answer(&w, 2, "[2001:db8:9::9]:7", NULL);
    /* the IPv4 address changes: what was seen of it is gone at once, IPv6 stays */
    w.hosts[0] = "10.0.0.77";
    atl_candidates_changed(w.candidates);
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.77:4001 [2001:db8:9::9]:7");
    assert_int_equal(w.n_asks, 6);
    assert_int_equal(atl_candidates_gathering(w.candidates), 1);
    answer(&w, 3, "203.0.113.20:1", NULL);
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.77:4001 [2001:db8:9::9]:7 203.0.113.20:1");
    /* again, while two are being asked: those are asked anew */
    atl_candidates_changed(w.candidates);
    assert_false(w.asks[4].open || w.asks[5].open);
    assert_int_equal(w.n_asks, 9);
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.77:4001 [2001:db8:9::9]:7 203.0.113.20:1");
    answer(&w, 6, "203.0.113.20:2", NULL); /* differs: the old one is gone */
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.77:4001 [2001:db8:9::9]:7 203.0.113.20:2");
    fail_ask(&w, 8); /* gone with the first failure */
    assert_list(&w, "[2001:db8::5]:4001 10.0.0.77:4001 203.0.113.20:2");
    /* nothing left */
    w.n_hosts = 0;
    atl_candidates_changed(w.candidates);
    assert_list(&w, "");
    world_end(&w);
}

/* A new socket with another port: what was seen of the old one is worth nothing. */
static void port_changes(void **state) {
    world w;

    (void)state;
    world_init(&w);
    add_server(&w, "198.51.100.1:3478");
    atl_candidates_gather(w.candidates, 0);
    answer(&w, 0, "203.0.113.9:5555", "10.0.0.5:4001");
    w.bound[0].port = 4002;
    atl_candidates_changed(w.candidates);
    assert_list(&w, "10.0.0.5:4002");
    world_end(&w);
}

static void relays_tell(void **state) {
    atl_addr relay = addr_of("198.51.100.2:443");
    atl_addr seen = addr_of("203.0.113.9:5555");
    atl_addr local = addr_of("10.0.0.5:4001");
    atl_addr none = addr_of("0.0.0.0:0");
    world w;

    (void)state;
    world_init(&w);
    atl_candidates_observed(w.candidates, &relay, &seen, &local);
    atl_candidates_observed(w.candidates, &none, &seen, &local);
    atl_candidates_observed(w.candidates, &relay, &none, &local);
    assert_int_equal(w.changes, 0);
    atl_candidates_gather(w.candidates, ATL_SECOND);
    assert_int_equal(w.n_asks, 0); /* known already */
    assert_list(&w, "10.0.0.5:4001 203.0.113.9:5555");
    seen.port = 5556;
    atl_candidates_observed(w.candidates, &relay, &seen, &local);
    run(&w);
    assert_list(&w, "10.0.0.5:4001 203.0.113.9:5556");
    assert_int_equal(w.changes, 1);
    add_relay(&w, "198.51.100.2:443"); /* the same */
    assert_int_equal(w.n_asks, 0);
    add_relay(&w, "198.51.100.3:443"); /* another, asked as it comes */
    assert_int_equal(w.n_asks, 1);
    world_end(&w);
}

static void mapping(void **state) {
    static const struct {
        const char *servers[3];
        const char *seen[3];
        uint32_t want;
    } ROWS[] = {
        {{"198.51.100.1:1"}, {"203.0.113.9:1"}, ATLAS_NAT_MAPPING_UNKNOWN},
        {{"198.51.100.1:1", "198.51.100.2:1"},
         {"203.0.113.9:1", "203.0.113.9:1"},
         ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT},
        {{"198.51.100.1:1", "198.51.100.2:1"},
         {"203.0.113.9:1", "203.0.113.9:2"},
         ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT},
        /* one server under two ports is one */
        {{"198.51.100.1:1", "198.51.100.1:2"},
         {"203.0.113.9:1", "203.0.113.9:2"},
         ATLAS_NAT_MAPPING_UNKNOWN},
        {{"198.51.100.1:1", "198.51.100.2:1", "198.51.100.3:1"},
         {"203.0.113.9:1", "203.0.113.9:1", "203.0.113.10:1"},
         ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT},
    };
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        world w;

        world_init(&w);
        for (k = 0; k < 3 && ROWS[i].servers[k] != NULL; k++) {
            add_server(&w, ROWS[i].servers[k]);
        }
        atl_candidates_gather(w.candidates, 0);
        while (k-- > 0) {
            answer(&w, k, ROWS[i].seen[k], NULL);
        }
        assert_int_equal(atl_candidates_mapping(w.candidates, 4), ROWS[i].want);
        assert_int_equal(atl_candidates_mapping(w.candidates, 6), ATLAS_NAT_MAPPING_UNKNOWN);
        world_end(&w);
    }
}

/* Of different hours: the NAT may have forgotten in between. */
static void mapping_of_old_answers(void **state) {
    world w;

    (void)state;
    world_init(&w);
    add_server(&w, "198.51.100.1:1");
    atl_candidates_gather(w.candidates, 0);
    answer(&w, 0, "203.0.113.9:1", NULL);
    pass(&w, 3600 * ATL_SECOND);
    add_server(&w, "198.51.100.2:1");
    answer(&w, 1, "203.0.113.9:2", NULL);
    assert_int_equal(atl_candidates_mapping(w.candidates, 4), ATLAS_NAT_MAPPING_UNKNOWN);
    world_end(&w);
}

/* ---- names ---- */

static void resolved(world *w, size_t which, const char *const *addrs, size_t n) {
    lookup *l = &w->lookups[which];
    atl_addr list[4];
    size_t i;

    assert_true(which < w->n_lookups && l->open);
    for (i = 0; i < n; i++) {
        list[i] = addr_of(addrs[i]);
    }
    l->open = 0;
    l->cb(l->user, n > 0 ? ATLAS_OK : ATLAS_ERR_RESOLVE, list, n);
    run(w);
}

static void names(void **state) {
    static const char *const BOTH[] = {"198.51.100.1:3478", "[2001:db8:1::1]:3478",
                                       "198.51.100.2:3478"};
    world w;

    (void)state;
    world_init(&w);
    w.hosts[1] = "2001:db8::5";
    w.n_hosts = 2;
    add_server(&w, "stun.example");
    atl_candidates_gather(w.candidates, 0);
    assert_int_equal(w.n_lookups, 1);
    assert_true(w.lookups[0].srv);
    assert_int_equal(atl_candidates_gathering(w.candidates), 1);
    resolved(&w, 0, NULL, 0); /* no such record: the name itself */
    assert_int_equal(w.n_lookups, 2);
    assert_false(w.lookups[1].srv);
    resolved(&w, 1, BOTH, 3);
    assert_int_equal(w.n_asks, 2);
    assert_asked(&w, 0, "198.51.100.1:3478");
    assert_asked(&w, 1, "[2001:db8:1::1]:3478");
    fail_ask(&w, 0);
    answer(&w, 1, "[2001:db8:9::9]:7", NULL);
    pass(&w, 5 * ATL_SECOND); /* the next address of the name */
    assert_int_equal(w.n_asks, 3);
    assert_asked(&w, 2, "198.51.100.2:3478");
    fail_ask(&w, 2);
    pass(&w, 10 * ATL_SECOND); /* all were tried: looked up again */
    assert_int_equal(w.n_asks, 3);
    assert_int_equal(w.n_lookups, 3);
    resolved(&w, 2, BOTH, 1);
    assert_int_equal(w.n_asks, 4);
    /* another network, other names: and in the middle of a look-up */
    atl_candidates_changed(w.candidates);
    assert_false(w.asks[3].open);
    assert_int_equal(w.n_lookups, 4);
    atl_candidates_changed(w.candidates);
    assert_false(w.lookups[3].open);
    assert_int_equal(w.n_lookups, 5);
    world_end(&w);
}

static void names_that_fail(void **state) {
    world w;

    (void)state;
    world_init(&w);
    add_server(&w, "stun.example:3478");
    atl_candidates_gather(w.candidates, 0);
    assert_int_equal(w.n_lookups, 1);
    assert_false(w.lookups[0].srv);
    resolved(&w, 0, NULL, 0);
    assert_int_equal(atl_candidates_gathering(w.candidates), 0);
    pass(&w, 5 * ATL_SECOND);
    assert_int_equal(w.n_lookups, 2);
    resolved(&w, 1, NULL, 0);
    pass(&w, 9 * ATL_SECOND);
    assert_int_equal(w.n_lookups, 2);
    pass(&w, ATL_SECOND);
    assert_int_equal(w.n_lookups, 3);
    world_end(&w);
}

static void limits(void **state) {
    world w;
    char text[32];
    atl_addr addr;
    size_t i;

    (void)state;
    world_init(&w);
    assert_int_equal(atl_candidates_add_server(w.candidates, "not an address"), ATLAS_ERR_ADDRESS);
    for (i = 0; i < 64; i++) {
        (void)snprintf(text, sizeof(text), "198.51.100.%u:1", (unsigned)i + 1);
        add_server(&w, text);
        add_relay(&w, text);
    }
    addr = addr_of("198.51.100.99:1");
    assert_int_equal(atl_candidates_add_server(w.candidates, "198.51.100.99:1"), ATLAS_ERR_LIMIT);
    assert_int_equal(atl_candidates_add_relay(w.candidates, &addr), ATLAS_ERR_LIMIT);
    addr.port = 0;
    assert_int_equal(atl_candidates_add_relay(w.candidates, &addr), ATLAS_ERR_ADDRESS);
    atl_candidates_gather(w.candidates, 0);
    assert_int_equal(w.n_asks, 128);
    world_end(&w);
}

static void out_of_memory(testenv *t, void *user) {
    static world w;

    (void)user;
    memset(&w, 0, sizeof(w));
    w.t = *t;
    w.t.env.hooks.user = &w.t;
    if (world_begin(&w) == ATLAS_OK) {
        if (atl_candidates_add_server(w.candidates, "198.51.100.1:1") == ATLAS_OK) {
            atl_candidates_gather(w.candidates, 0);
            assert_int_equal(w.n_asks, 1);
        }
        atl_candidates_free(w.candidates);
    }
    w.t.env.hooks.user = t;
    *t = w.t;
}

static void allocation_failures(void **state) {
    (void)state;
    assert_int_equal(testenv_each_failure(out_of_memory, NULL), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_before_it_is_asked_for),
        cmocka_unit_test(gathers),
        cmocka_unit_test(reuses_what_is_young),
        cmocka_unit_test(asks_the_silent_again),
        cmocka_unit_test(what_cannot_be_asked),
        cmocka_unit_test(bound_to_one_address),
        cmocka_unit_test(network_changes),
        cmocka_unit_test(port_changes),
        cmocka_unit_test(relays_tell),
        cmocka_unit_test(mapping),
        cmocka_unit_test(mapping_of_old_answers),
        cmocka_unit_test(names),
        cmocka_unit_test(names_that_fail),
        cmocka_unit_test(limits),
        cmocka_unit_test(allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
