/* NAT probes behind every mapping and filtering behaviour of RFC 4787, against our own server with
 * two addresses and against servers with one. */
#include "nat_world.h"

#include "stun/probe.h"

#define PORT 4001
#define EVENTS_MAX 64

typedef struct addresses {
    const char *inside;
    const char *outside;
    const char *server;
    const char *server2;
    const char *plain[3];
} addresses;

static const addresses ADDRS[2] = {
    {"192.168.1.2",
     "198.51.100.9",
     "203.0.113.2",
     "203.0.113.3",
     {"192.0.2.1", "192.0.2.2", "192.0.2.3"}},
    {"fd00::2",
     "2001:db8:9::9",
     "2001:db8:2::2",
     "2001:db8:2::3",
     {"2001:db8:3::1", "2001:db8:3::2", "2001:db8:3::3"}},
};

typedef struct told {
    atlas_nat_event event;
    char verdict[512];
    char text[512];
    char seen[1024]; /* "server asked local reflexive;..." */
    uint64_t at;
} told;

typedef struct fixture {
    nat_world *n;
    const addresses *addrs;
    nat_host *client;
    nat_host *server;
    char text[4][ATLAS_ADDR_MAX];
    atlas_nat *nat;
    size_t events;
    told got[EVENTS_MAX];
    size_t results;
    told result;
    int finals;
    int32_t status;
    uint64_t final_at;
    int cancel_at; /* in that event, from 1 */
    int cancel_in_final;
} fixture;

static void build(fixture *f, uint8_t family, int wild) {
    memset(f, 0, sizeof(*f));
    f->addrs = &ADDRS[family == 6];
    f->n = nat_world_new();
    f->n->outside = nat_ip(f->addrs->outside);
    f->client = nat_add(f->n, f->addrs->inside, NULL, 7000, 1, 1);
    f->server = nat_add(f->n, f->addrs->server, f->addrs->server2, PORT, 0, wild);
    atl_stun_agent_set_server(f->server->agent, 1);
    snprintf(f->text[0], ATLAS_ADDR_MAX, family == 6 ? "[%s]:%d" : "%s:%d", f->addrs->server, PORT);
}

static void second_address(fixture *f) {
    atl_addr second = nat_ip(f->addrs->server2);

    assert_int_equal(atl_stun_agent_set_alternate(f->server->agent, &second), ATLAS_OK);
}

static void on_event(void *user, atlas_nat *nat, const atlas_nat_event *event, int32_t status) {
    fixture *f = user;
    told *to = &f->got[f->events];
    size_t used = 0;
    uint64_t i;

    assert_int_equal(f->finals, 0);
    assert_ptr_equal(nat, f->nat);
    if (event == NULL) {
        f->finals++;
        f->status = status;
        f->final_at = f->n->w->now - WORLD_START;
        if (f->cancel_in_final) {
            atl_nat_cancel(nat);
        }
        return;
    }
    assert_int_equal(status, ATLAS_OK);
    assert_true(event->size == sizeof(*event));
    assert_true(f->events < EVENTS_MAX);
    f->events++;
    to->event = *event;
    to->at = f->n->w->now - WORLD_START;
    snprintf(to->verdict, sizeof(to->verdict), "%s", event->verdict);
    snprintf(to->text, sizeof(to->text), "%s", event->text);
    for (i = 0; i < event->seen_count; i++) {
        used += (size_t)snprintf(to->seen + used, sizeof(to->seen) - used, "%s|%s|%s|%s;",
                                 event->seen[i].server, event->seen[i].server_addr,
                                 event->seen[i].local, event->seen[i].reflexive);
        assert_true(used < sizeof(to->seen));
    }
    if (event->what == ATLAS_NAT_RESULT) {
        f->results++;
        f->result = *to;
    } else {
        assert_int_equal(event->what, ATLAS_NAT_PROGRESS);
    }
    if ((int)f->events == f->cancel_at) {
        atl_nat_cancel(nat);
    }
}

static void start(fixture *f, size_t servers, uint64_t lifetime) {
    const char *const texts[] = {f->text[0], f->text[1], f->text[2], f->text[3]};
    const atl_nat_config config = {3 * ATL_SECOND, lifetime};

    assert_int_equal(atl_nat_start(f->client->agent, texts, servers, &config, on_event, f, &f->nat),
                     ATLAS_OK);
    assert_int_equal(f->events, 0);
}

static void finish(fixture *f, uint64_t within) {
    uint64_t from = f->n->w->now - WORLD_START;

    world_run_until(f->n->w, from + within);
    assert_int_equal(f->finals, 1);
    assert_int_equal(atl_stun_agent_probes(f->client->agent), 0);
}

static void demolish(fixture *f) {
    nat_world_free(f->n);
}

/* ---- every behaviour ---- */

static uint32_t expected_kind(uint32_t mapping, uint32_t filtering) {
    if (mapping == 2 || mapping == 3) {
        return ATLAS_NAT_KIND_SYMMETRIC;
    }
    if (filtering == 1) {
        return mapping == 4 ? ATLAS_NAT_KIND_NONE : ATLAS_NAT_KIND_FULL_CONE;
    }
    return filtering == 2 ? ATLAS_NAT_KIND_ADDRESS_RESTRICTED : ATLAS_NAT_KIND_PORT_RESTRICTED;
}

/* As measured with real NATs: symmetric meets only those who admit it without knowing its port. */
static uint32_t expected_reaches(uint32_t kind) {
    switch (kind) {
    case ATLAS_NAT_KIND_PORT_RESTRICTED:
        return 0x3e;
    case ATLAS_NAT_KIND_SYMMETRIC:
        return 0x0e;
    default:
        return 0x7e;
    }
}

static void one_behaviour(uint8_t family, int wild, const nat_rules *rules) {
    static fixture f;
    const atlas_nat_event *e = &f.result.event;

    build(&f, family, wild);
    f.n->rules = *rules;
    second_address(&f);
    start(&f, 1, 0);
    finish(&f, 8 * ATL_SECOND);
    assert_int_equal(f.status, ATLAS_OK);
    assert_int_equal(f.results, 1);
    assert_int_equal(e->family, family);
    assert_int_equal(e->code, ATLAS_OK);
    assert_int_equal(e->mapping, rules->mapping);
    assert_int_equal(e->filtering,
                     rules->mapping == 4 && rules->filtering == 1 ? 4 : rules->filtering);
    if (rules->mapping == 4) {
        assert_int_equal(e->hairpinning, ATLAS_NAT_UNKNOWN);
        assert_int_equal(e->port_preservation, ATLAS_NAT_YES);
    } else {
        /* with a mapping for each destination, what comes back has met a filter */
        int seen = rules->hairpins && (rules->mapping == 1 || rules->filtering == 1);

        assert_int_equal(e->hairpinning, seen ? ATLAS_NAT_YES : ATLAS_NAT_NO);
        assert_int_equal(e->port_preservation, rules->preserves ? ATLAS_NAT_YES : ATLAS_NAT_NO);
        assert_int_equal(e->method, ATLAS_NAT_METHOD_RFC5780);
    }
    assert_int_equal(e->kind, expected_kind(rules->mapping, rules->filtering));
    assert_int_equal(e->reaches, expected_reaches(e->kind));
    assert_int_equal(e->perhaps, 0);
    assert_true(e->lifetime_ns == 0 && e->lifetime_end_ns == 0);
    assert_true(e->seen_count == 3); /* the server, and two other addresses of it */
    assert_non_null(strstr(f.result.seen, f.addrs->server2));
    assert_non_null(
        strstr(f.result.seen, rules->mapping == 4 ? f.addrs->inside : f.addrs->outside));
    assert_non_null(strstr(f.result.text, f.addrs->server2));
    assert_true(f.final_at < 4 * ATL_SECOND);
    assert_true(f.n->sent <= 60); /* all packets, answers included */
    demolish(&f);
}

static void every_behaviour(void **state) {
    nat_rules rules = {0, 0, 0, 0, 0, 0};
    int variant;

    (void)state;
    for (variant = 0; variant < 16; variant++) {
        rules.hairpins = variant & 1;
        rules.preserves = variant >> 1 & 1;
        for (rules.mapping = 1; rules.mapping <= 4; rules.mapping++) {
            for (rules.filtering = 1; rules.filtering <= 3; rules.filtering++) {
                /* address-dependent mappings that keep the port cannot exist with one address */
                if (rules.preserves && (rules.mapping == 2 || rules.mapping == 3)) {
                    continue;
                }
                one_behaviour(variant & 4 ? 6 : 4, variant >> 3 & 1, &rules);
            }
        }
    }
}

/* ---- servers with one address ---- */

static void add_plain(fixture *f, size_t i, uint16_t port) {
    nat_host *h = nat_add(f->n, f->addrs->plain[i], NULL, port, 0, 1);

    atl_stun_agent_set_server(h->agent, 1);
    snprintf(f->text[i], ATLAS_ADDR_MAX, "%s:%u", f->addrs->plain[i], port);
}

static void by_comparing(void **state) {
    static const struct {
        uint32_t mapping;
        size_t servers;
        uint32_t finds;
        uint32_t method;
        uint32_t kind;
        uint32_t reaches;
        uint32_t perhaps;
    } rows[] = {
        {1, 2, 1, ATLAS_NAT_METHOD_SERVERS, ATLAS_NAT_KIND_UNKNOWN, 0x3e, 0x40},
        {2, 2, 2, ATLAS_NAT_METHOD_SERVERS, ATLAS_NAT_KIND_SYMMETRIC, 0x0e, 0},
        {3, 3, 2, ATLAS_NAT_METHOD_SERVERS, ATLAS_NAT_KIND_SYMMETRIC, 0x0e, 0},
        {4, 2, 4, ATLAS_NAT_METHOD_NONE, ATLAS_NAT_KIND_UNKNOWN, 0x3e, 0x40},
        {4, 1, 4, ATLAS_NAT_METHOD_NONE, ATLAS_NAT_KIND_UNKNOWN, 0x3e, 0x40},
        {1, 1, 0, ATLAS_NAT_METHOD_NONE, ATLAS_NAT_KIND_UNKNOWN, 0x0e, 0x70},
        {3, 1, 0, ATLAS_NAT_METHOD_NONE, ATLAS_NAT_KIND_UNKNOWN, 0x0e, 0x70},
    };
    static fixture f;
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        build(&f, 4, 1);
        for (k = 0; k < rows[i].servers; k++) {
            add_plain(&f, k, 3478);
        }
        f.n->rules.mapping = rows[i].mapping;
        f.n->rules.filtering = 3;
        start(&f, rows[i].servers, 20 * ATL_SECOND);
        finish(&f, 8 * ATL_SECOND);
        assert_int_equal(f.result.event.mapping, rows[i].finds);
        assert_int_equal(f.result.event.filtering, ATLAS_NAT_FILTERING_UNKNOWN);
        assert_int_equal(f.result.event.method, rows[i].method);
        assert_int_equal(f.result.event.kind, rows[i].kind);
        assert_int_equal(f.result.event.reaches, rows[i].reaches);
        assert_int_equal(f.result.event.perhaps, rows[i].perhaps);
        assert_true(f.result.event.seen_count == rows[i].servers);
        assert_true(f.result.event.lifetime_ns == 0);
        assert_true(f.final_at < ATL_SECOND); /* nothing is waited for */
        demolish(&f);
    }
}

/* One address, two ports: a difference tells, equality does not. */
static void by_ports(void **state) {
    static const uint32_t finds[] = {0, 0, 0, 3};
    static fixture f;
    uint32_t mapping;

    (void)state;
    for (mapping = 1; mapping <= 3; mapping++) {
        build(&f, 4, 1);
        snprintf(f.text[1], ATLAS_ADDR_MAX, "%s:%d", f.addrs->server2, PORT);
        snprintf(f.text[0], ATLAS_ADDR_MAX, "%s:%d", f.addrs->server2, PORT + 1);
        second_address(&f);
        /* the four addresses are there, and nobody says so */
        assert_int_equal(atl_stun_server_set_pair(atl_stun_agent_server(f.server->agent), 4, NULL),
                         ATLAS_OK);
        f.n->rules.mapping = mapping;
        f.n->rules.filtering = 1;
        start(&f, 2, 0);
        finish(&f, 8 * ATL_SECOND);
        assert_int_equal(f.result.event.mapping, finds[mapping]);
        demolish(&f);
    }
}

/* ---- what goes wrong ---- */

static void nobody_answers(void **state) {
    static fixture f;

    (void)state;
    build(&f, 4, 1);
    f.n->rules = (nat_rules){1, 3, 0, 0, 0, 1};
    second_address(&f);
    start(&f, 1, 20 * ATL_SECOND);
    finish(&f, 8 * ATL_SECOND);
    assert_int_equal(f.status, ATLAS_ERR_STUN_TIMEOUT);
    assert_int_equal(f.results, 1);
    assert_int_equal(f.result.event.code, ATLAS_ERR_STUN_TIMEOUT);
    assert_int_equal(f.result.event.kind, ATLAS_NAT_KIND_BLOCKED);
    assert_int_equal(f.result.event.reaches, 0);
    assert_int_equal(f.result.event.perhaps, 0);
    assert_int_equal(f.result.event.mapping, 0);
    assert_true(f.result.event.seen_count == 0);
    assert_non_null(strstr(f.result.verdict, "UDP is blocked"));
    assert_true(f.final_at == 3 * ATL_SECOND);
    demolish(&f);
}

/* A server that names another address which is not there: silence from it proves no filter. */
static void other_address_dead(void **state) {
    static fixture f;
    atl_stun_pair pair;

    (void)state;
    build(&f, 4, 1);
    f.n->rules = (nat_rules){1, 1, 0, 0, 0, 0};
    pair.primary = nat_ip("203.0.113.2");
    pair.primary.port = PORT;
    pair.alternate = nat_ip("203.0.113.77");
    pair.alternate.port = PORT + 1;
    assert_int_equal(atl_stun_server_set_pair(atl_stun_agent_server(f.server->agent), 4, &pair),
                     ATLAS_OK);
    add_plain(&f, 1, 3478);
    start(&f, 2, 0);
    finish(&f, 12 * ATL_SECOND);
    assert_int_equal(f.result.event.mapping, ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT);
    assert_int_equal(f.result.event.method, ATLAS_NAT_METHOD_SERVERS);
    assert_int_equal(f.result.event.filtering, ATLAS_NAT_FILTERING_UNKNOWN);
    demolish(&f);
}

/* A server whose alternate port hears nothing: the other IP address alone tells what it can. */
static void other_port_deaf(void **state) {
    static const uint32_t finds[] = {0, 1, 2, 2, 4};
    static fixture f;
    uint32_t mapping;

    (void)state;
    for (mapping = 1; mapping <= 4; mapping++) {
        build(&f, 4, 1);
        f.n->rules = (nat_rules){mapping, 3, 0, 0, 0, 0};
        second_address(&f);
        f.server->deaf_port = PORT + 1;
        start(&f, 1, 0);
        finish(&f, 12 * ATL_SECOND);
        assert_int_equal(f.result.event.mapping, finds[mapping]);
        assert_int_equal(f.result.event.filtering, 3);
        demolish(&f);
    }
}

/* An address into our own network or host is not asked, whatever a server says. */
static void hostile_other_address(void **state) {
    static const char *const others[] = {"192.168.1.1", "127.0.0.1", "169.254.1.1",
                                         "224.0.0.1",   "10.1.2.3",  "100.64.0.1"};
    static fixture f;
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(others); i++) {
        atl_stun_pair pair;

        build(&f, 4, 1);
        f.n->rules = (nat_rules){1, 1, 0, 0, 0, 0};
        pair.primary = nat_ip("203.0.113.2");
        pair.primary.port = PORT;
        pair.alternate = nat_ip(others[i]);
        pair.alternate.port = PORT + 1;
        assert_int_equal(atl_stun_server_set_pair(atl_stun_agent_server(f.server->agent), 4, &pair),
                         ATLAS_OK);
        start(&f, 1, 0);
        for (k = 0; k < 100; k++) {
            size_t p;

            world_run_until(f.n->w, (k + 1) * 50 * ATL_MS);
            for (p = 0; p < NAT_PACKETS; p++) {
                assert_false(f.n->packets[p].used &&
                             nat_same_ip(&f.n->packets[p].to, &pair.alternate));
            }
        }
        assert_int_equal(f.finals, 1);
        assert_int_equal(f.n->sent, 2); /* a question and its answer */
        demolish(&f);
    }
}

/* Nor is a mapping that a server on the network claims to see in ours. */
static void hostile_mapping(void **state) {
    static const char *const outsides[] = {"192.168.77.9", "127.0.0.1", "169.254.7.7"};
    static fixture f;
    size_t i;
    size_t k;
    size_t p;

    (void)state;
    for (i = 0; i < ATL_COUNT(outsides); i++) {
        build(&f, 4, 1);
        f.n->rules = (nat_rules){1, 3, 1, 0, 0, 0};
        f.n->outside = nat_ip(outsides[i]);
        second_address(&f);
        start(&f, 1, 0);
        for (k = 0; k < 800; k++) {
            world_run_until(f.n->w, (k + 1) * 5 * ATL_MS);
            for (p = 0; p < NAT_PACKETS; p++) {
                const nat_packet *packet = &f.n->packets[p];

                assert_false(packet->used && nat_same_ip(&packet->from, &f.n->outside) &&
                             nat_same_ip(&packet->to, &f.n->outside));
            }
        }
        assert_int_equal(f.finals, 1);
        assert_int_equal(f.result.event.hairpinning, ATLAS_NAT_UNKNOWN);
        assert_int_equal(f.result.event.filtering, 3);
        demolish(&f);
    }
}

static void no_sockets(void **state) {
    static fixture f;

    (void)state;
    build(&f, 4, 1);
    f.n->rules = (nat_rules){3, 3, 0, 0, 0, 0};
    second_address(&f);
    f.client->refuses_sockets = 1;
    start(&f, 1, 20 * ATL_SECOND);
    finish(&f, 8 * ATL_SECOND);
    assert_int_equal(f.status, ATLAS_OK);
    assert_int_equal(f.result.event.mapping, 3);
    assert_int_equal(f.result.event.filtering, 0);
    assert_int_equal(f.result.event.kind, ATLAS_NAT_KIND_SYMMETRIC);
    demolish(&f);
}

/* Every fifth packet is lost. */
static void losses(void **state) {
    static fixture f;
    size_t nth;

    (void)state;
    for (nth = 3; nth <= 7; nth++) {
        build(&f, 4, 1);
        f.n->rules = (nat_rules){1, 2, 0, 0, 0, 0};
        f.n->drop_every = nth;
        second_address(&f);
        start(&f, 1, 0);
        finish(&f, 12 * ATL_SECOND);
        assert_int_equal(f.result.event.mapping, 1);
        assert_int_equal(f.result.event.filtering, 2);
        demolish(&f);
    }
}

/* ---- ending it ---- */

static void cancelled(void **state) {
    static fixture f;
    int at;

    (void)state;
    for (at = 0; at <= 40; at++) {
        build(&f, 4, 1);
        f.n->rules = (nat_rules){1, 3, 1, 1, 3 * ATL_SECOND, 0};
        second_address(&f);
        f.cancel_at = at < 20 ? 0 : at - 19;
        f.cancel_in_final = 1;
        start(&f, 1, 20 * ATL_SECOND);
        if (at < 20) {
            size_t before;

            world_run_until(f.n->w, (uint64_t)at * 400 * ATL_MS);
            if (f.finals == 0) {
                atl_nat_cancel(f.nat);
                before = f.events;
                world_run_until(f.n->w, (uint64_t)at * 400 * ATL_MS);
                assert_int_equal(f.events, before);
                assert_int_equal(f.finals, 1);
                assert_int_equal(f.status, ATLAS_ERR_CANCELLED);
            }
        } else {
            world_run_until(f.n->w, 60 * ATL_SECOND);
            assert_int_equal(f.finals, 1);
            assert_true((int)f.events <= f.cancel_at || f.status == ATLAS_OK);
        }
        demolish(&f);
    }
    /* with the agent, and by its cancelling everything */
    build(&f, 4, 1);
    start(&f, 1, 0);
    assert_int_equal(atl_stun_agent_probes(f.client->agent), 2);
    atl_stun_agent_cancel_all(f.client->agent);
    world_run_until(f.n->w, 1);
    assert_int_equal(f.finals, 1);
    assert_int_equal(f.status, ATLAS_ERR_CANCELLED);
    start(&f, 1, 0);
    demolish(&f);
}

static void no_memory(void **state) {
    static fixture f;
    size_t at;

    (void)state;
    for (at = 1;; at++) {
        const char *const texts[] = {f.text[0]};
        const atl_nat_config config = {3 * ATL_SECOND, 20 * ATL_SECOND};
        size_t before;
        int32_t rc;

        build(&f, 4, 1);
        f.n->rules = (nat_rules){1, 3, 1, 1, 3 * ATL_SECOND, 0};
        second_address(&f);
        before = f.n->w->allocations;
        f.n->w->fail_at = before + at;
        rc = atl_nat_start(f.client->agent, texts, 1, &config, on_event, &f, &f.nat);
        if (rc == ATLAS_OK) {
            finish(&f, 60 * ATL_SECOND);
        } else {
            assert_int_equal(rc, ATLAS_ERR_NOMEM);
        }
        if (f.n->w->allocations < before + at) {
            demolish(&f);
            break;
        }
        demolish(&f);
    }
    assert_true(at > 20);
}

static void wrong_arguments(void **state) {
    static fixture f;
    const char *const bad[] = {"not an address!"};
    const char *const none[] = {NULL};
    const atl_nat_config config = {3 * ATL_SECOND, 0};
    const atl_nat_config hasty = {ATL_MS, 0};
    const char *const good[] = {"192.0.2.1"};

    (void)state;
    build(&f, 4, 1);
    assert_int_equal(atl_nat_start(f.client->agent, bad, 1, &config, on_event, &f, NULL),
                     ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_nat_start(f.client->agent, none, 1, &config, on_event, &f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_nat_start(f.client->agent, good, 0, &config, on_event, &f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_nat_start(f.client->agent, good, 65, &config, on_event, &f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_nat_start(f.client->agent, good, 1, &config, NULL, &f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_nat_start(f.client->agent, good, 1, &hasty, on_event, &f, NULL),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_stun_agent_probes(f.client->agent), 0);
    demolish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_behaviour),    cmocka_unit_test(by_comparing),
        cmocka_unit_test(by_ports),           cmocka_unit_test(nobody_answers),
        cmocka_unit_test(other_address_dead), cmocka_unit_test(hostile_other_address),
        cmocka_unit_test(other_port_deaf),    cmocka_unit_test(hostile_mapping),
        cmocka_unit_test(no_sockets),         cmocka_unit_test(losses),
        cmocka_unit_test(cancelled),          cmocka_unit_test(no_memory),
        cmocka_unit_test(wrong_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
