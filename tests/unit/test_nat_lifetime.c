/* The search for how long mappings live: it finds what the NAT does, within its time, by silence
 * alone. */
#include "nat_world.h"

typedef struct fixture {
    nat_world *n;
    nat_host *client;
    nat_host *server;
    atlas_nat *nat;
    int progress;
    int results;
    int finals;
    uint64_t final_at;
    atlas_nat_event result;
    char text[512];
} fixture;

static void on_event(void *user, atlas_nat *nat, const atlas_nat_event *event, int32_t status) {
    fixture *f = user;

    (void)nat;
    assert_int_equal(f->finals, 0);
    if (event == NULL) {
        assert_int_equal(status, ATLAS_OK);
        f->finals++;
        f->final_at = f->n->w->now - WORLD_START;
    } else if (event->what == ATLAS_NAT_RESULT) {
        f->results++;
        f->result = *event;
        snprintf(f->text, sizeof(f->text), "%s", event->text);
    } else if (strstr(event->text, "silence") != NULL) {
        f->progress++;
        assert_true(event->lifetime_ns > 0 || event->lifetime_end_ns > 0);
        assert_true(event->lifetime_end_ns == 0 || event->lifetime_end_ns > event->lifetime_ns);
    }
}

static void build(fixture *f, const nat_rules *rules) {
    atl_addr second = nat_ip("203.0.113.3");

    memset(f, 0, sizeof(*f));
    f->n = nat_world_new();
    f->n->rules = *rules;
    f->n->outside = nat_ip("198.51.100.9");
    f->client = nat_add(f->n, "192.168.1.2", NULL, 7000, 1, 1);
    f->server = nat_add(f->n, "203.0.113.2", "203.0.113.3", 4001, 0, 1);
    atl_stun_agent_set_server(f->server->agent, 1);
    assert_int_equal(atl_stun_agent_set_alternate(f->server->agent, &second), ATLAS_OK);
}

/* Runs the whole probe. */
static void search(fixture *f, uint64_t lifetime) {
    static const char *const servers[] = {"203.0.113.2:4001"};
    const atl_nat_config config = {ATL_SECOND, lifetime};

    assert_int_equal(atl_nat_start(f->client->agent, servers, 1, &config, on_event, f, &f->nat),
                     ATLAS_OK);
    world_run_until(f->n->w, lifetime + 60 * ATL_SECOND);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->results, 1);
    /* the tests before it, the search itself, and round trips */
    assert_true(f->final_at <= 2 * ATL_SECOND + lifetime + 200 * ATL_MS);
}

/* Mappings of many lifetimes, each kind of NAT: between the two bounds, which are near. */
static void finds_it(void **state) {
    static fixture f;
    const uint64_t limit = 240 * ATL_SECOND;
    nat_rules rules = {0, 0, 0, 0, 0, 0};
    double seconds;

    (void)state;
    for (seconds = 0.7; seconds < 110; seconds *= 1.37) {
        for (rules.mapping = 1; rules.mapping <= 4; rules.mapping++) {
            rules.filtering = 1 + (rules.mapping + (uint32_t)seconds) % 3;
            if (rules.mapping == 4 && rules.filtering == 1) {
                rules.filtering = 2;
            }
            rules.preserves = rules.mapping == 1;
            rules.timeout = (uint64_t)(seconds * 1e9);
            build(&f, &rules);
            search(&f, limit);
            assert_true(f.result.lifetime_ns < rules.timeout);
            assert_true(f.result.lifetime_end_ns >= rules.timeout - 50 * ATL_MS);
            assert_true(f.result.lifetime_end_ns - f.result.lifetime_ns <=
                        rules.timeout / 4 + 500 * ATL_MS);
            assert_true(f.progress >= 1);
            assert_true(f.n->sent < 120);
            nat_world_free(f.n);
        }
    }
}

/* Longer than was looked for: that is what is said. */
static void not_found(void **state) {
    static fixture f;
    const nat_rules rules = {1, 3, 0, 1, 300 * ATL_SECOND, 0};

    (void)state;
    build(&f, &rules);
    search(&f, 24 * ATL_SECOND);
    assert_true(f.result.lifetime_ns == 10 * ATL_SECOND);
    assert_true(f.result.lifetime_end_ns == 0);
    nat_world_free(f.n);
}

/* Where nothing translates and nothing filters there is nothing to look for. */
static void nothing_to_find(void **state) {
    static fixture f;
    const nat_rules rules = {4, 1, 0, 0, 0, 0};

    (void)state;
    build(&f, &rules);
    search(&f, 24 * ATL_SECOND);
    assert_true(f.result.lifetime_ns == 0 && f.result.lifetime_end_ns == 0);
    assert_true(f.final_at < 2 * ATL_SECOND);
    nat_world_free(f.n);
}

/* A packet in so many is lost: a wrong "gone" is put right by a longer silence that was survived.
 */
static void losses(void **state) {
    static fixture f;
    const nat_rules rules = {1, 3, 0, 0, 20 * ATL_SECOND, 0};
    size_t nth;

    (void)state;
    for (nth = 4; nth < 12; nth++) {
        build(&f, &rules);
        f.n->drop_every = nth;
        search(&f, 120 * ATL_SECOND);
        assert_true(f.result.lifetime_ns < rules.timeout);
        if (f.result.lifetime_end_ns != 0) {
            assert_true(f.result.lifetime_end_ns > f.result.lifetime_ns);
        }
        nat_world_free(f.n);
    }
}

/* A server that answers where it was asked from, whatever port it was given. */
static void no_response_port(void **state) {
    static fixture f;
    const nat_rules rules = {1, 3, 0, 0, 20 * ATL_SECOND, 0};
    static const char *const servers[] = {"203.0.113.2:4001"};
    const atl_nat_config config = {ATL_SECOND, 120 * ATL_SECOND};

    (void)state;
    build(&f, &rules);
    assert_int_equal(atl_nat_start(f.client->agent, servers, 1, &config, on_event, &f, &f.nat),
                     ATLAS_OK);
    world_run_until(f.n->w, 2 * ATL_SECOND);
    /* it has lost its second address meanwhile, and refuses the attribute */
    assert_int_equal(atl_stun_server_set_pair(atl_stun_agent_server(f.server->agent), 4, NULL),
                     ATLAS_OK);
    world_run_until(f.n->w, 10 * ATL_SECOND);
    assert_int_equal(f.finals, 1);
    assert_non_null(strstr(f.text, "cannot answer to another port"));
    nat_world_free(f.n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_it),         cmocka_unit_test(not_found),
        cmocka_unit_test(nothing_to_find),  cmocka_unit_test(losses),
        cmocka_unit_test(no_response_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
