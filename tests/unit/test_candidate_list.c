/* Which candidates come of which addresses, in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "peer/candidate_list.h"

static atl_addr addr_of(const char *text) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static void ranks(void **state) {
    static const struct {
        const char *addr;
        uint32_t rank;
    } ROWS[] = {
        {"198.51.100.1:1", 0},  {"[2001:db8::1]:1", 0}, {"10.0.0.1:1", 1},    {"192.168.1.2:1", 1},
        {"100.64.0.1:1", 1},    {"[fd00::1]:1", 1},     {"172.17.0.1:1", 2},  {"172.18.0.1:1", 1},
        {"192.168.122.1:1", 2}, {"169.254.1.1:1", 3},   {"[fe80::1%2]:1", 3}, {"127.0.0.1:1", 4},
        {"[::1]:1", 4},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        atl_addr addr = addr_of(ROWS[i].addr);

        if (atl_candidate_rank(&addr) != ROWS[i].rank) {
            fail_msg("%s: rank %u", ROWS[i].addr, atl_candidate_rank(&addr));
        }
    }
}

/* RFC 8445 section 5.1.2.1: 2^24 * type + 2^8 * local + (256 - component). */
static void priorities(void **state) {
    (void)state;
    assert_int_equal(atl_candidate_priority(ATLAS_CANDIDATE_HOST, 0, 6, 0),
                     (126u << 24) + (65535u << 8) + 255);
    assert_int_equal(atl_candidate_priority(ATLAS_CANDIDATE_PEER_REFLEXIVE, 0, 6, 0) >> 24, 110);
    assert_int_equal(atl_candidate_priority(ATLAS_CANDIDATE_SERVER_REFLEXIVE, 0, 6, 0) >> 24, 100);
    assert_true(atl_candidate_priority(1, 0, 6, 255) > atl_candidate_priority(1, 0, 4, 0));
    assert_true(atl_candidate_priority(1, 0, 4, 255) > atl_candidate_priority(1, 1, 6, 0));
    assert_true(atl_candidate_priority(1, 3, 4, 1000) > atl_candidate_priority(1, 4, 6, 0));
    assert_true(atl_candidate_priority(1, 4, 4, 1000) > atl_candidate_priority(2, 0, 6, 0));
    assert_true(atl_candidate_priority(2, 4, 4, 1000) > atl_candidate_priority(3, 0, 6, 0));
}

typedef struct row {
    const char *name;
    const char *hosts[24];
    const char *reflexive[12];
    const char *want[17];
} row;

static const row ROWS[] = {
    {"nobody", {NULL}, {NULL}, {NULL}},
    {"in order of rank and family",
     {"127.0.0.1:7", "172.17.0.1:7", "192.168.1.5:7", "198.51.100.9:7", "[fd00::5]:7",
      "[2001:db8::5]:7", "[fe80::1%2]:7"},
     {NULL},
     {"[2001:db8::5]:7", "198.51.100.9:7", "[fd00::5]:7", "192.168.1.5:7", "172.17.0.1:7"}},
    {"loopback where there is nothing else",
     {"[fe80::1%2]:7", "127.0.0.1:7", "[::1]:7"},
     {NULL},
     {"[::1]:7", "127.0.0.1:7"}},
    {"link-local where there is nothing better",
     {"127.0.0.1:7", "169.254.7.7:7", "[fe80::1%2]:7"},
     {NULL},
     {"169.254.7.7:7"}},
    {"twice", {"10.0.0.1:7", "10.0.0.1:7"}, {NULL}, {"10.0.0.1:7"}},
    {"temporary addresses of one prefix do not crowd",
     {"[2001:db8::1]:7", "[2001:db8::2]:7", "[2001:db8::3]:7", "[2001:db8::4]:7",
      "[2001:db8:0:1::1]:7", "10.0.0.1:7"},
     {NULL},
     {"[2001:db8::1]:7", "[2001:db8::2]:7", "[2001:db8:0:1::1]:7", "10.0.0.1:7"}},
    {"bridges do not crowd",
     {"172.17.0.1:7", "10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7", "10.0.0.4:7", "10.0.0.5:7",
      "10.0.0.6:7", "10.0.0.7:7", "10.0.0.8:7", "[fd00::1]:7"},
     {NULL},
     {"[fd00::1]:7", "10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7", "10.0.0.4:7", "10.0.0.5:7",
      "10.0.0.6:7"}},
    {"a public host has no second candidate",
     {"198.51.100.9:7"},
     {"198.51.100.9:7", "198.51.100.9:7"},
     {"198.51.100.9:7"}},
    {"a symmetric NAT: all of them, four of a family",
     {"10.0.0.1:7"},
     {"203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:2", "203.0.113.1:3", "203.0.113.1:4",
      "203.0.113.1:5", "[2001:db8::9]:7"},
     {"10.0.0.1:7", "[2001:db8::9]:7", "203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:3",
      "203.0.113.1:4"}},
    {"what nobody could use", {"10.0.0.1:7"}, {"127.0.0.1:9", "[fe80::1]:9"}, {"10.0.0.1:7"}},
    {"reflexive ones always have room",
     {"[2001:db8::1]:7", "[2001:db8:0:1::1]:7", "[2001:db8:0:2::1]:7", "[2001:db8:0:3::1]:7",
      "10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7", "10.0.0.4:7", "10.0.0.5:7"},
     {"203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:3", "203.0.113.1:4", "[2001:db8::9]:1",
      "[2001:db8::9]:2", "[2001:db8::9]:3", "[2001:db8::9]:4"},
     {"[2001:db8::1]:7", "[2001:db8:0:1::1]:7", "[2001:db8:0:2::1]:7", "[2001:db8:0:3::1]:7",
      "10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7", "10.0.0.4:7", "[2001:db8::9]:1", "[2001:db8::9]:2",
      "[2001:db8::9]:3", "[2001:db8::9]:4", "203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:3",
      "203.0.113.1:4"}},
};

static void build(const row *r, atl_candidate_list *list) {
    atl_addr addrs[24];
    atl_addr base = addr_of("10.0.0.1:7");
    size_t n;
    size_t i;

    for (n = 0; n < ATL_COUNT(r->hosts) && r->hosts[n] != NULL; n++) {
        addrs[n] = addr_of(r->hosts[n]);
    }
    atl_candidate_list_hosts(list, addrs, n);
    for (i = 0; i < ATL_COUNT(r->reflexive) && r->reflexive[i] != NULL; i++) {
        atl_addr addr = addr_of(r->reflexive[i]);

        atl_candidate_list_reflexive(list, &addr, &base);
    }
    atl_candidate_list_sort(list);
}

static void lists(void **state) {
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        atl_candidate_list list;

        build(&ROWS[i], &list);
        for (k = 0; ROWS[i].want[k] != NULL; k++) {
            char text[ATLAS_ADDR_MAX] = "nothing";

            if (k < list.n) {
                atl_addr_text(&list.entries[k].addr, text);
            }
            if (strcmp(text, ROWS[i].want[k]) != 0) {
                fail_msg("%s: %zu is %s", ROWS[i].name, k, text);
            }
            assert_true(k == 0 || list.entries[k - 1].priority > list.entries[k].priority);
        }
        if (list.n != k) {
            fail_msg("%s: %zu candidates", ROWS[i].name, list.n);
        }
    }
}

static void bases(void **state) {
    atl_addr base = addr_of("10.0.0.1:7");
    atl_candidate_list list;

    (void)state;
    build(&ROWS[8], &list);
    assert_int_equal(list.entries[0].kind, ATLAS_CANDIDATE_HOST);
    assert_true(atl_addr_equal(&list.entries[0].base, &list.entries[0].addr));
    assert_int_equal(list.entries[2].kind, ATLAS_CANDIDATE_SERVER_REFLEXIVE);
    assert_true(atl_addr_equal(&list.entries[2].base, &base));
}

static void differences(void **state) {
    atl_candidate_list a;
    atl_candidate_list b;

    (void)state;
    build(&ROWS[1], &a);
    build(&ROWS[1], &b);
    assert_true(atl_candidate_list_equal(&a, &b));
    memset(&b.entries[0].base, 0, sizeof(b.entries[0].base)); /* not told to anybody */
    assert_true(atl_candidate_list_equal(&a, &b));
    b.entries[1].addr.port++;
    assert_false(atl_candidate_list_equal(&a, &b));
    b.entries[1].addr.port--;
    b.n--;
    assert_false(atl_candidate_list_equal(&a, &b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks), cmocka_unit_test(priorities),  cmocka_unit_test(lists),
        cmocka_unit_test(bases), cmocka_unit_test(differences),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
