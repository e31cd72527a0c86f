/* What requests to the registry ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "discovery/registry_parse.h"

#define BASE ATL_RECORDS_PATH
#define ID "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define CID "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"

static const uint8_t KEY[32] = {0x1e, 0xd1, 0xe8, 0xfa, 0xe2, 0xc4, 0xa1, 0x44, 0xb8, 0xbe, 0x8f,
                                0xd4, 0xb4, 0x7b, 0xf3, 0xd3, 0xb3, 0x4b, 0x87, 0x1c, 0x3c, 0xac,
                                0xf6, 0x01, 0x0f, 0x0e, 0x42, 0xd4, 0x74, 0xfc, 0xe2, 0x7e};

static void takes_what_is_right(void **state) {
    static const struct {
        const char *path;
        uint32_t what, offer, limit;
        uint64_t after;
        uint8_t random, json;
    } table[] = {
        {"/", ATL_REGISTRY_PAGE, 0, 0, 0, 0, 0},
        {"/?lang=en", ATL_REGISTRY_PAGE, 0, 0, 0, 0, 0},
        {BASE "/" ID, ATL_REGISTRY_RECORD, 0, 0, 0, 0, 0},
        {BASE "/" CID, ATL_REGISTRY_RECORD, 0, 0, 0, 0, 0},
        {BASE "/" ID "?fresh=1", ATL_REGISTRY_RECORD, 0, 0, 0, 0, 0},
        {BASE "?offer=relay", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 0, 0, 0},
        {BASE "?offer=bootstrap", ATL_REGISTRY_LIST, ATLAS_OFFER_BOOTSTRAP, 50, 0, 0, 0},
        {BASE "?offer=dialback", ATL_REGISTRY_LIST, ATLAS_OFFER_DIALBACK, 50, 0, 0, 0},
        {BASE "?limit=1&offer=relay", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 1, 0, 0, 0},
        {BASE "?offer=relay&limit=100", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 100, 0, 0, 0},
        {BASE "?offer=relay&limit=007", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 7, 0, 0, 0},
        {BASE "?offer=relay&after=17", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 17, 0, 0},
        {BASE "?offer=relay&after=4611686018427387903", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50,
         ATL_REGISTRY_CURSOR_MAX, 0, 0},
        {BASE "?offer=relay&random=1", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 0, 1, 0},
        {BASE "?offer=relay&random=0&after=3", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 3, 0, 0},
        {BASE "?offer=relay&format=json", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 0, 0, 1},
        {BASE "?&&offer=relay&", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50, 0, 0, 0},
        {BASE "?colour=red&colour=blue&offer=relay&=&x", ATL_REGISTRY_LIST, ATLAS_OFFER_RELAY, 50,
         0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        atl_registry_target got;
        const char *why = NULL;

        if (atl_registry_parse(table[i].path, &got, &why) != ATLAS_OK) {
            fail_msg("%s: %s", table[i].path, why);
        }
        assert_int_equal(got.what, table[i].what);
        assert_int_equal(got.offer, table[i].offer);
        assert_int_equal(got.limit, table[i].limit);
        assert_true(got.after == table[i].after);
        assert_int_equal(got.random, table[i].random);
        assert_int_equal(got.json, table[i].json);
        if (got.what == ATL_REGISTRY_RECORD) {
            assert_memory_equal(got.peer.key, KEY, sizeof(KEY));
        }
    }
}

static void refuses_what_is_wrong(void **state) {
    static const struct {
        const char *path;
        uint32_t what;
        const char *why; /* a part of it */
    } table[] = {
        {BASE "/", ATL_REGISTRY_RECORD, "peer id"},
        {BASE "/x", ATL_REGISTRY_RECORD, "peer id"},
        {BASE "/" ID "/", ATL_REGISTRY_RECORD, "peer id"},
        {BASE "/" ID "x", ATL_REGISTRY_RECORD, "peer id"},
        {BASE "//" ID, ATL_REGISTRY_RECORD, "peer id"},
        {BASE "/?offer=relay", ATL_REGISTRY_RECORD, "peer id"},
        {BASE, ATL_REGISTRY_LIST, "offer is required"},
        {BASE "?", ATL_REGISTRY_LIST, "offer is required"},
        {BASE "?limit=3", ATL_REGISTRY_LIST, "offer is required"},
        {BASE "?offer", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=Relay", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=relays", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=relay%20", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=relay=1", ATL_REGISTRY_LIST, "offer must be"},
        {BASE "?offer=relay&offer=relay", ATL_REGISTRY_LIST, "offer is given twice"},
        {BASE "?offer=relay&limit=0", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=101", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=-1", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=+1", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=1e1", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=18446744073709551617", ATL_REGISTRY_LIST, "limit must be"},
        {BASE "?offer=relay&limit=5&limit=5", ATL_REGISTRY_LIST, "limit is given twice"},
        {BASE "?offer=relay&after=x", ATL_REGISTRY_LIST, "after must be"},
        {BASE "?offer=relay&after=4611686018427387904", ATL_REGISTRY_LIST, "after must be"},
        {BASE "?offer=relay&after=00000000000000000000001", ATL_REGISTRY_LIST, "after must be"},
        {BASE "?offer=relay&after=1&after=1", ATL_REGISTRY_LIST, "after is given twice"},
        {BASE "?offer=relay&random=2", ATL_REGISTRY_LIST, "random must be"},
        {BASE "?offer=relay&random=5", ATL_REGISTRY_LIST, "random must be"},
        {BASE "?offer=relay&random", ATL_REGISTRY_LIST, "random must be"},
        {BASE "?offer=relay&random=1&random=1", ATL_REGISTRY_LIST, "random is given twice"},
        {BASE "?offer=relay&random=1&after=5", ATL_REGISTRY_LIST, "exclude each other"},
        {BASE "?offer=relay&after=0&random=1", ATL_REGISTRY_LIST, "exclude each other"},
        {BASE "?offer=relay&format=xml", ATL_REGISTRY_LIST, "format must be"},
        {BASE "?offer=relay&format=json&format=json", ATL_REGISTRY_LIST, "format is given twice"},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        atl_registry_target got;
        const char *why = NULL;
        int32_t rc = atl_registry_parse(table[i].path, &got, &why);

        if (rc != (table[i].what == ATL_REGISTRY_LIST ? ATLAS_ERR_MALFORMED : ATLAS_ERR_PEER_ID)) {
            fail_msg("%s: %d", table[i].path, (int)rc);
        }
        assert_int_equal(got.what, table[i].what);
        if (why == NULL || strstr(why, table[i].why) == NULL) {
            fail_msg("%s: %s", table[i].path, why);
        }
    }
}

static void leaves_the_rest_to_others(void **state) {
    static const char *const paths[] = {
        "",
        "?",
        "//",
        "/index.html",
        "*",
        "/.well-known/atlas/",
        "/.well-known/atlas/record",
        BASE "x",
        BASE "x?offer=relay",
        "/.well-known/atlas/dialback",
        "/.well-known/atlas/relay/health",
        "x" BASE,
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(paths); i++) {
        atl_registry_target got;
        atl_registry_target before;
        const char *why = "as it was";

        memset(&got, 0x5a, sizeof(got));
        before = got;
        assert_int_equal(atl_registry_parse(paths[i], &got, &why), ATLAS_ERR_NOT_FOUND);
        assert_memory_equal(&got, &before, sizeof(got));
        assert_string_equal(why, "as it was");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_right),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(leaves_the_rest_to_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
