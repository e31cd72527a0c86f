/* What the registry answers at once, over HTTP/3 on the simulated network: records, lists, the page
 * for people, errors; and expiry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/records_page.h"
#include "registry_world.h"

#define RELAYS 250
#define LIST ATL_RECORDS_PATH "?offer=relay"

static registry_world w;
static made relays[RELAYS + 50];
static int seen[RELAYS + 50]; /* how often a list had it */

/* Relay `n`, put by its own node as it were. */
static void add_relay(size_t n, uint32_t offers, const char *addrs) {
    atlas_key *key = key_of((uint32_t)n + 1);
    char ip[32];

    (void)snprintf(ip, sizeof(ip), "172.16.%zu.%zu", n / 200, n % 200);
    record_make(key, 1, world_seconds(&w), 3600, offers, addrs, &relays[n]);
    assert_int_equal(store_direct(&w, &relays[n], offers, 1, ip, 1), ATLAS_OK);
    atlas_key_free(key);
}

static void add_relays(size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        add_relay(i, ATLAS_OFFER_RELAY, "/ip4/192.0.2.1/udp/4001/quic-v1");
    }
}

static void see(const uint8_t *data, size_t len) {
    for (size_t i = 0; i < ATL_COUNT(relays); i++) {
        if (relays[i].len == len && memcmp(relays[i].data, data, len) == 0) {
            seen[i]++;
            return;
        }
    }
    fail_msg("a record that nobody has put");
}

/* Reads a page: how many it has, and its cursor. */
static size_t read_page(const client *c, uint64_t *cursor) {
    atl_reader reader;
    const uint8_t *data;
    size_t len;
    size_t n = 0;
    int32_t rc;

    assert_true(c->last.len <= ATL_RECORDS_PAGE_MAX);
    assert_int_equal(
        atl_records_page_open((const uint8_t *)c->last.body, c->last.len, &reader, cursor),
        ATLAS_OK);
    while ((rc = atl_records_page_next(&reader, &data, &len)) == ATLAS_OK) {
        see(data, len);
        n++;
    }
    assert_int_equal(rc, ATLAS_ERR_NOT_FOUND);
    return n;
}

static void begin(void) {
    registry_world_start(&w, NULL);
    atl_registry_http_set_get_rate(w.registry, 0, 0);
    memset(seen, 0, sizeof(seen));
    memset(relays, 0, sizeof(relays));
}

/* ---- lists ---- */

static void pages_show_everything_once(void **state) {
    char path[128];
    uint64_t cursor = 0;
    size_t pages = 0;
    client *c;

    (void)state;
    begin();
    c = client_new(&w, 20);
    add_relays(0, RELAYS);
    do {
        size_t n;

        (void)snprintf(path, sizeof(path), LIST "&limit=40&after=%llu", (unsigned long long)cursor);
        assert_int_equal(ask(&w, c, "GET", path, NULL, 0), 200);
        n = read_page(c, &cursor);
        pages++;
        assert_true(n == 40 || cursor == 0);
        if (pages == 2) { /* things change in between: behind, before, and at the end */
            assert_true(
                atl_record_store_delete(w.registry->store, &relays[3].peer, w.r.relay.loop.now));
            assert_true(
                atl_record_store_delete(w.registry->store, &relays[79].peer, w.r.relay.loop.now));
            assert_true(
                atl_record_store_delete(w.registry->store, &relays[200].peer, w.r.relay.loop.now));
            add_relays(RELAYS, RELAYS + 20);
        }
    } while (cursor != 0 && pages < 20);
    assert_int_equal(pages, 7); /* 250 - 1 (after its turn came: 2 more) + 20 */
    for (size_t i = 0; i < RELAYS + 20; i++) {
        assert_int_equal(seen[i], i == 200 ? 0 : 1);
    }
    assert_int_equal(registry_stats(&w)->lists, 7);
    registry_world_done(&w);
}

/* Exactly full pages: the last one says that it is the last. */
static void the_last_page_is_told(void **state) {
    uint64_t cursor;
    char path[128];
    client *c;

    (void)state;
    begin();
    c = client_new(&w, 20);
    assert_int_equal(ask(&w, c, "GET", LIST, NULL, 0), 200);
    assert_int_equal(read_page(c, &cursor), 0);
    assert_true(cursor == 0);
    add_relays(0, 100);
    assert_int_equal(ask(&w, c, "GET", LIST, NULL, 0), 200);
    assert_int_equal(read_page(c, &cursor), ATL_REGISTRY_LIMIT);
    assert_true(cursor != 0);
    (void)snprintf(path, sizeof(path), LIST "&after=%llu", (unsigned long long)cursor);
    assert_int_equal(ask(&w, c, "GET", path, NULL, 0), 200);
    assert_int_equal(read_page(c, &cursor), ATL_REGISTRY_LIMIT);
    assert_true(cursor == 0);
    assert_int_equal(ask(&w, c, "GET", LIST "&after=4611686018427387903", NULL, 0), 200);
    assert_int_equal(read_page(c, &cursor), 0);
    assert_true(cursor == 0);
    assert_int_equal(ask(&w, c, "HEAD", LIST, NULL, 0), 200);
    assert_int_equal(c->last.len, 0);
    registry_world_done(&w);
}

static void offers_are_told_apart(void **state) {
    static const struct {
        const char *path;
        size_t n;
    } table[] = {
        {ATL_RECORDS_PATH "?offer=relay", 2},
        {ATL_RECORDS_PATH "?offer=bootstrap", 2},
        {ATL_RECORDS_PATH "?offer=dialback", 1},
    };
    client *c;

    (void)state;
    begin();
    c = client_new(&w, 20);
    add_relay(0, 0, "");
    add_relay(1, ATLAS_OFFER_RELAY, "");
    add_relay(2, ATLAS_OFFER_BOOTSTRAP, "");
    add_relay(3, ATLAS_OFFER_RELAY | ATLAS_OFFER_BOOTSTRAP | ATLAS_OFFER_DIALBACK, "");
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        uint64_t cursor;

        assert_int_equal(ask(&w, c, "GET", table[i].path, NULL, 0), 200);
        assert_int_equal(read_page(c, &cursor), table[i].n);
    }
    assert_int_equal(seen[0], 0);
    assert_int_equal(seen[3], 3);
    registry_world_done(&w);
}

/* Sixteen addresses of 30 bytes and more: what does not fit into a page is in the next. */
static void large_records_make_short_pages(void **state) {
    static const char *const formats[] = {"", "&format=json"};
    char addrs[1024] = "";
    client *c;

    (void)state;
    begin();
    for (int i = 0; i < 12; i++) {
        size_t len = strlen(addrs);

        (void)snprintf(addrs + len, sizeof(addrs) - len,
                       "/dns/a-name-that-is-very-long-%d.and-has-a-domain.example.org/udp/%d/"
                       "quic-v1 ",
                       i, 4000 + i);
    }
    c = client_new(&w, 20);
    for (size_t i = 0; i < 100; i++) {
        add_relay(i, ATLAS_OFFER_RELAY, addrs);
    }
    assert_true(relays[0].len * 100 > ATL_RECORDS_PAGE_MAX);
    for (size_t f = 0; f < ATL_COUNT(formats); f++) {
        unsigned long long cursor = 0;
        size_t total = 0;
        int pages = 0;

        do {
            char path[160];
            uint64_t next = 0;

            (void)snprintf(path, sizeof(path), LIST "&limit=100&after=%llu%s", cursor, formats[f]);
            assert_int_equal(ask(&w, c, "GET", path, NULL, 0), 200);
            assert_true(c->last.len <= ATL_RECORDS_PAGE_MAX);
            if (f == 0) {
                total += read_page(c, &next);
                cursor = next;
            } else {
                const char *at = strstr(c->last.body, "],\"next\":");

                for (const char *p = c->last.body; (p = strstr(p, "{\"peer\"")) != NULL; p++) {
                    total++;
                }
                assert_non_null(at);
                while (strstr(at + 1, "],\"next\":") != NULL) {
                    at = strstr(at + 1, "],\"next\":");
                }
                cursor = strtoull(at + 9, NULL, 10); /* null: 0 */
            }
            pages++;
        } while (cursor != 0 && pages < 10);
        assert_int_equal(total, 100);
        assert_true(pages > 1);
    }
    registry_world_done(&w);
}

static void json_says_the_same(void **state) {
    char want[1024];
    char id[ATLAS_PEER_ID_MAX];
    client *c;

    (void)state;
    begin();
    c = client_new(&w, 20);
    assert_int_equal(ask(&w, c, "GET", LIST "&format=json", NULL, 0), 200);
    assert_string_equal(c->last.body, "{\"records\":[],\"next\":null}\n");
    add_relay(0, ATLAS_OFFER_RELAY,
              "/ip6/2001:db8::1/udp/9/quic-v1 /dns4/example.org/udp/4001/quic-v1/p2p/"
              "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit");
    add_relay(1, ATLAS_OFFER_RELAY, "");
    assert_int_equal(ask(&w, c, "GET", LIST "&format=json&limit=1", NULL, 0), 200);
    atl_peer_id_text(&relays[0].peer, id);
    (void)snprintf(want, sizeof(want),
                   "{\"records\":[{\"peer\":\"%s\",\"seq\":1,\"addrs\":["
                   "\"/ip6/2001:db8::1/udp/9/quic-v1/p2p/%s\","
                   "\"/dns4/example.org/udp/4001/quic-v1/p2p/"
                   "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit/p2p/%s\"]}],"
                   "\"next\":1}\n",
                   id, id, id);
    assert_string_equal(c->last.body, want);
    assert_int_equal(ask(&w, c, "GET", LIST "&format=json&after=1", NULL, 0), 200);
    atl_peer_id_text(&relays[1].peer, id);
    (void)snprintf(want, sizeof(want),
                   "{\"records\":[{\"peer\":\"%s\",\"seq\":1,\"addrs\":[]}],\"next\":null}\n", id);
    assert_string_equal(c->last.body, want);
    registry_world_done(&w);
}

static void samples_are_random_and_different(void **state) {
    uint64_t cursor = 1;
    client *c;
    size_t covered = 0;

    (void)state;
    begin();
    c = client_new(&w, 20);
    add_relays(0, RELAYS);
    for (int round = 1; round <= 40; round++) {
        assert_int_equal(ask(&w, c, "GET", LIST "&random=1&limit=20", NULL, 0), 200);
        assert_int_equal(read_page(c, &cursor), 20);
        assert_true(cursor == 0);
        for (size_t i = 0; i < RELAYS; i++) { /* no one twice in a sample */
            assert_true(seen[i] <= round);
        }
    }
    for (size_t i = 0; i < RELAYS; i++) {
        covered += seen[i] > 0;
    }
    /* 800 draws of 250: 4 in a hundred are missed, and some come often */
    assert_in_range(covered, 220, 250);
    registry_world_done(&w);
}

/* ---- errors and the page ---- */

static void wrong_requests_are_told_why(void **state) {
    static const char ID[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";
    static const struct {
        const char *method, *path;
        int with_id;
        int32_t status;
        const char *body;
    } table[] = {
        {"GET", ATL_RECORDS_PATH, 0, 400,
         "{\"error\":\"malformed\",\"text\":\"offer is required\"}"},
        {"GET", LIST "&limit=0", 0, 400, "limit must be 1 to 100"},
        {"GET", LIST "&random=1&after=4", 0, 400, "exclude each other"},
        {"GET", ATL_RECORDS_PATH "/abc", 0, 400, "does not end in a peer id"},
        {"DELETE", ATL_RECORDS_PATH "/abc", 0, 400, "does not end in a peer id"},
        {"GET", ATL_RECORDS_PATH "/", 1, 404, "{\"error\":\"not found\""},
        {"POST", ATL_RECORDS_PATH "/", 1, 405, "{\"error\":\"method\""},
        {"PATCH", ATL_RECORDS_PATH "/", 1, 405, "{\"error\":\"method\""},
        {"get", ATL_RECORDS_PATH "/", 1, 405, "{\"error\":\"method\""},
        {"PUT", LIST, 0, 405, "{\"error\":\"method\""},
        {"DELETE", ATL_RECORDS_PATH, 0, 405, "{\"error\":\"method\""},
        {"POST", "/", 0, 405, "{\"error\":\"method\""},
        {"PUT", "/", 0, 405, "{\"error\":\"method\""},
        {"GET", "/index.html", 0, 404, ""},
        {"GET", ATL_RECORDS_PATH "s", 0, 404, ""},
    };
    client *c;

    (void)state;
    begin();
    c = client_new(&w, 20);
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        char path[160];
        int32_t status;

        (void)snprintf(path, sizeof(path), "%s%s", table[i].path, table[i].with_id ? ID : "");
        status = ask(&w, c, table[i].method, path, NULL, 0);
        if (status != table[i].status || !answer_has(c, table[i].body)) {
            fail_msg("%s %s: %d %s", table[i].method, path, status, c->last.body);
        }
    }
    assert_int_equal(registry_stats(&w)->refused_malformed, 12);
    registry_world_done(&w);
}

static size_t other_page(void *user, char *buf, size_t cap) {
    ++*(int *)user;
    return (size_t)snprintf(buf, cap, "<p>%d</p>", *(int *)user);
}

static size_t no_page(void *user, char *buf, size_t cap) {
    (void)user;
    memset(buf, 'x', cap);
    return 0;
}

static void the_page_tells_people(void **state) {
    int calls = 0;
    client *c;

    (void)state;
    begin();
    w.registry->config.version = "1.2<script>&\"'";
    add_relays(0, 3);
    add_relay(3, 0, "");
    registry_world_run(&w, 61 * ATL_SECOND);
    c = client_new(&w, 20);
    assert_int_equal(ask(&w, c, "GET", relays[0].path, NULL, 0), 200);
    assert_int_equal(ask(&w, c, "GET", "/", NULL, 0), 200);
    assert_true(strncmp(c->last.body, "<!DOCTYPE html>", 15) == 0);
    assert_true(answer_has(c,
                           "libatlas 1.2&lt;script&gt;&amp;&quot;&#39;, up for 0 days, 0 hours, 1 "
                           "minutes"));
    assert_true(answer_has(c, "<th>records</th><td>4</td>"));
    assert_true(answer_has(c, "<th>relays</th><td>3</td>"));
    assert_true(answer_has(c, "<th>gets</th><td>1</td>"));
    assert_true(answer_has(c, "<th>puts</th><td>0</td>"));
    assert_true(answer_has(c, "in memory only"));
    assert_false(answer_has(c, "<script"));
    w.registry->config.page = other_page;
    w.registry->config.user = &calls;
    assert_int_equal(ask(&w, c, "GET", "/?x", NULL, 0), 200);
    assert_string_equal(c->last.body, "<p>1</p>");
    w.registry->config.page = no_page; /* then its own */
    assert_int_equal(ask(&w, c, "GET", "/", NULL, 0), 200);
    assert_true(answer_has(c, "<th>relays</th><td>3</td>"));
    registry_world_done(&w);
}

static void gets_are_limited_per_address(void **state) {
    client *a;
    client *b;
    made record;

    (void)state;
    begin();
    atl_registry_http_set_get_rate(w.registry, 1, 4);
    a = client_new(&w, 20);
    b = client_new(&w, 21);
    record_of(&w, a, 1, &record);
    assert_int_equal(ask(&w, a, "GET", record.path, NULL, 0), 404);
    assert_int_equal(ask(&w, a, "GET", LIST, NULL, 0), 200);
    assert_int_equal(ask(&w, a, "GET", "/", NULL, 0), 200);
    assert_int_equal(ask(&w, a, "HEAD", record.path, NULL, 0), 404);
    assert_int_equal(ask(&w, a, "GET", record.path, NULL, 0), 429);
    assert_int_equal(ask(&w, a, "GET", LIST, NULL, 0), 429);
    assert_int_equal(ask(&w, a, "GET", "/", NULL, 0), 429);
    assert_true(answer_has(a, "{\"error\":\"rate\""));
    assert_int_equal(registry_stats(&w)->refused_rate, 3);
    assert_int_equal(ask(&w, a, "PUT", record.path, record.data, record.len), 200);
    assert_int_equal(ask(&w, b, "GET", record.path, NULL, 0), 200);
    registry_world_run(&w, ATL_SECOND);
    assert_int_equal(ask(&w, a, "GET", record.path, NULL, 0), 200);
    registry_world_done(&w);
}

/* A hundred thousand ids put from one address: what they take stays within its limit. */
static void many_ids_from_one_address_stay_few(void **state) {
    made record;
    uint64_t bytes = 0;

    (void)state;
    registry_world_start(&w, NULL);
    atl_record_store_limits_of(w.registry->store)->max_per_ipv4 = 64;
    memset(&record, 0, sizeof(record));
    record.len = 400;
    for (uint32_t i = 1; i <= 100000; i++) {
        memcpy(record.peer.key, &i, sizeof(i));
        (void)store_direct(&w, &record, ATLAS_OFFER_RELAY, i, "10.0.2.1", 0);
        if (i == 1000) {
            bytes = store_stats(&w)->bytes;
        }
    }
    assert_in_range(store_stats(&w)->records, 1, 64);
    assert_true(store_stats(&w)->bytes <= bytes + bytes / 4);
    registry_world_done(&w);
}

/* ---- expiry, and the node's own record ---- */

static void records_expire(void **state) {
    atl_record_view view;
    client *c;
    made record;
    made brief;

    (void)state;
    begin();
    w.ttl = 30;
    w.drift = 0;
    c = client_new(&w, 20);
    record_of(&w, c, 1, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    assert_string_equal(c->last.body, "{\"ttl\":30}\n");
    record_make(c->node.key, 2, world_seconds(&w), 10, 0, "", &brief);
    registry_world_run(&w, 20 * ATL_SECOND);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200); /* renewed */
    registry_world_run(&w, 20 * ATL_SECOND);
    assert_int_equal(ask(&w, c, "GET", record.path, NULL, 0), 200);
    registry_world_run(&w, 10 * ATL_SECOND + 100 * ATL_MS);
    assert_int_equal(ask(&w, c, "GET", record.path, NULL, 0), 404);
    registry_world_run(&w, 3 * ATL_SECOND);
    assert_int_equal(store_stats(&w)->records, 0);
    assert_int_equal(store_stats(&w)->expired, 1);
    assert_true(w.registry->expiry.deadline == ATLAS_NO_DEADLINE);
    /* one that lives for a shorter time than the registry's */
    record_make(c->node.key, 3, world_seconds(&w), 10, 0, "", &brief);
    assert_int_equal(ask(&w, c, "PUT", brief.path, brief.data, brief.len), 200);
    assert_true(strcmp(c->last.body, "{\"ttl\":9}\n") == 0 ||
                strcmp(c->last.body, "{\"ttl\":10}\n") == 0);
    registry_world_run(&w, 11 * ATL_SECOND);
    assert_false(stored(&w, &brief.peer, &view));
    registry_world_done(&w);
}

static void its_own_record_needs_no_request(void **state) {
    atl_record_view view;
    client *c;
    made record;

    (void)state;
    begin();
    atl_record_store_limits_of(w.registry->store)->max_per_ipv4 = 0;
    c = client_new(&w, 20);
    record_make(w.r.relay.key, 4, world_seconds(&w), 3600, ATLAS_OFFER_BOOTSTRAP,
                "/ip4/10.0.0.1/udp/4433/quic-v1", &record);
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len), ATLAS_OK);
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len), ATLAS_OK);
    assert_true(stored(&w, &record.peer, &view));
    assert_int_equal(view.verified, 1);
    assert_int_equal(ask(&w, c, "GET", record.path, NULL, 0), 200);
    assert_memory_equal(c->last.body, record.data, record.len);
    record.data[20] ^= 1;
    assert_int_not_equal(atl_registry_http_put_own(w.registry, record.data, record.len), ATLAS_OK);
    record_make(w.r.relay.key, 3, world_seconds(&w), 3600, 0, "", &record);
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len),
                     ATLAS_ERR_RECORD_OLD);
    record_make(w.r.relay.key, 5, world_seconds(&w) - 9000, 3600, 0, "", &record);
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len),
                     ATLAS_ERR_RECORD_EXPIRED);
    assert_true(stored(&w, &record.peer, &view));
    assert_true(view.seq == 4);
    registry_world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_show_everything_once),
        cmocka_unit_test(the_last_page_is_told),
        cmocka_unit_test(offers_are_told_apart),
        cmocka_unit_test(large_records_make_short_pages),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(samples_are_random_and_different),
        cmocka_unit_test(wrong_requests_are_told_why),
        cmocka_unit_test(the_page_tells_people),
        cmocka_unit_test(gets_are_limited_per_address),
        cmocka_unit_test(many_ids_from_one_address_stay_few),
        cmocka_unit_test(records_expire),
        cmocka_unit_test(its_own_record_needs_no_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
