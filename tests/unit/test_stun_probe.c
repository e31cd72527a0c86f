/* Probes: names, families, deadlines and final events, on a network and a resolver that the test
 * plays. */
#include "stun/probe.h"

#include "test_stun_world.h"

#define RESULTS_MAX 32
#define LOOKUPS_MAX 32

struct atl_resolve {
    atl_resolve_cb cb;
    void *user;
    char name[300]; /* "srv:host", "4:host:port", ... */
    int live;
};

typedef struct result {
    atlas_stun_result r;
    char server[128];
    char server_addr[ATLAS_ADDR_MAX];
    char reflexive[ATLAS_ADDR_MAX];
    char local[ATLAS_ADDR_MAX];
    char text[256];
    uint64_t at;
} result;

typedef struct fixture {
    world *w;
    atl_io io;
    atl_stun_agent *agent;
    atlas_stun *probe;
    int have4; /* sockets */
    int have6;
    int route6;
    int resolver_broken;
    size_t lookups;
    struct atl_resolve lookup[LOOKUPS_MAX];
    size_t results;
    result got[RESULTS_MAX];
    int finals;
    int32_t status;
    uint64_t final_at;
    int cancel_in_result;
    int cancel_in_final;
    int restart_in_final;
} fixture;

static int32_t add_lookup(fixture *f, const char *kind, const char *host, atl_resolve_cb cb,
                          void *user, atl_resolve **out) {
    atl_resolve *r = &f->lookup[f->lookups];

    if (f->resolver_broken) {
        return ATLAS_ERR_RESOLVE;
    }
    assert_true(f->lookups < LOOKUPS_MAX);
    f->lookups++;
    snprintf(r->name, sizeof(r->name), "%s:%s", kind, host);
    r->cb = cb;
    r->user = user;
    r->live = 1;
    *out = r;
    return ATLAS_OK;
}

static int32_t fake_resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                            atl_resolve_cb cb, void *user, atl_resolve **out) {
    char kind[32];

    snprintf(kind, sizeof(kind), "%u,%u", family, port);
    return add_lookup(impl, kind, host, cb, user, out);
}

static int32_t fake_resolve_srv(void *impl, const char *service, const char *domain,
                                atl_resolve_cb cb, void *user, atl_resolve **out) {
    assert_string_equal(service, "_stun._udp");
    return add_lookup(impl, "srv", domain, cb, user, out);
}

static void fake_cancel(void *impl, atl_resolve *resolve) {
    (void)impl;
    assert_true(resolve->live);
    resolve->live = 0;
}

static size_t fake_local_addrs(void *impl, atl_addr *out, size_t cap) {
    (void)impl;
    assert_true(cap > 0);
    out[0] = world_addr("10.0.0.2:1");
    out[0].port = 0;
    return 1;
}

static int32_t fake_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    fixture *f = impl;

    if (remote->family == 6 && !f->route6) {
        return ATLAS_ERR_UNREACHABLE;
    }
    *out = remote->family == 4 ? world_addr("10.0.0.2:1") : world_addr("[2001:db8::2]:1");
    out->port = 0;
    return ATLAS_OK;
}

static int32_t fake_local(void *user, uint8_t family, atl_addr *out) {
    fixture *f = user;
    static const uint8_t any[16];

    if ((family == 4 && !f->have4) || (family == 6 && !f->have6)) {
        return ATLAS_ERR_FAMILY;
    }
    memset(out, 0, sizeof(*out));
    if (family == 4) {
        atl_addr_set4(out, any, 7004);
    } else {
        atl_addr_set6(out, any, 0, 7006);
    }
    return ATLAS_OK;
}

static int32_t fake_send(void *user, const atl_addr *local, const atl_addr *remote,
                         const uint8_t *data, size_t len) {
    return world_send(((fixture *)user)->w, local, remote, data, len);
}

static void on_result(void *user, atlas_stun *probe, const atlas_stun_result *r, int32_t status) {
    static const char *const again[] = {"192.0.2.200:1"};
    fixture *f = user;
    result *to;

    assert_ptr_equal(probe, f->probe);
    assert_int_equal(f->finals, 0);
    if (r == NULL) {
        f->finals++;
        f->status = status;
        f->final_at = f->w->now - WORLD_START;
        if (f->cancel_in_final) {
            atl_stun_probe_cancel(probe);
        }
        if (f->restart_in_final) {
            f->restart_in_final = 0;
            f->finals = 0;
            assert_int_equal(
                atl_stun_probe_start(f->agent, again, 1, ATL_SECOND, NULL, on_result, f, &f->probe),
                ATLAS_OK);
        }
        return;
    }
    assert_int_equal(status, ATLAS_OK);
    assert_true(f->results < RESULTS_MAX);
    assert_true(r->size == sizeof(*r));
    to = &f->got[f->results++];
    to->r = *r;
    to->at = f->w->now - WORLD_START;
    snprintf(to->server, sizeof(to->server), "%s", r->server);
    snprintf(to->server_addr, sizeof(to->server_addr), "%s", r->server_addr);
    snprintf(to->reflexive, sizeof(to->reflexive), "%s", r->reflexive);
    snprintf(to->local, sizeof(to->local), "%s", r->local);
    snprintf(to->text, sizeof(to->text), "%s", r->text);
    if (f->cancel_in_result) {
        atl_stun_probe_cancel(probe);
    }
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));
    atl_stun_agent_config config;

    f->w = world_new();
    f->have4 = f->have6 = f->route6 = 1;
    f->io.impl = f;
    f->io.resolve = fake_resolve;
    f->io.resolve_srv = fake_resolve_srv;
    f->io.resolve_cancel = fake_cancel;
    f->io.local_addrs = fake_local_addrs;
    f->io.local_for = fake_local_for;
    memset(&config, 0, sizeof(config));
    config.loop = &f->w->loop;
    config.io = &f->io;
    config.user = f;
    config.send = fake_send;
    config.local = fake_local;
    assert_int_equal(atl_stun_agent_new(&config, &f->agent), ATLAS_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    size_t i;

    atl_stun_agent_free(f->agent);
    for (i = 0; i < f->lookups; i++) {
        assert_false(f->lookup[i].live);
    }
    world_free(f->w);
    free(f);
    return 0;
}

static void start(fixture *f, const char *const *servers, size_t n) {
    assert_int_equal(
        atl_stun_probe_start(f->agent, servers, n, 3 * ATL_SECOND, NULL, on_result, f, &f->probe),
        ATLAS_OK);
    assert_int_equal(f->results, 0); /* never from inside the call */
    assert_int_equal(atl_stun_agent_probes(f->agent), 1);
}

/* Runs what is due now. */
static void settle(fixture *f) {
    world_run_until(f->w, f->w->now - WORLD_START);
}

static void resolved(fixture *f, size_t which, const char *const *addrs, size_t n) {
    atl_resolve *r = &f->lookup[which];
    atl_addr list[ATL_RESOLVE_MAX];
    size_t i;

    assert_true(which < f->lookups && r->live);
    r->live = 0;
    for (i = 0; i < n; i++) {
        list[i] = world_addr(addrs[i]);
    }
    r->cb(r->user, n > 0 ? ATLAS_OK : ATLAS_ERR_RESOLVE, list, n);
}

/* The answer to the `which`th request sent, as if it came now. */
static void answer(fixture *f, size_t which, const char *mapped) {
    const sent *request = &f->w->sent[which];
    uint8_t buf[128];
    atl_writer writer;
    atl_addr addr = world_addr(mapped);
    atl_rx rx;

    assert_true(which < f->w->sent_count);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, request->data + 8);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &addr);
    rx = world_rx("192.0.2.1:1",
                  request->remote.family == 4 ? "10.0.0.3:7004" : "[2001:db8::3]:7006", buf,
                  writer.len);
    rx.remote = request->remote;
    atl_stun_agent_on_datagram(f->agent, &rx);
}

static void refuse(fixture *f, size_t which, int32_t error) {
    atl_rx rx = world_icmp("192.0.2.1:1", error);

    assert_true(which < f->w->sent_count);
    rx.remote = f->w->sent[which].remote;
    atl_stun_agent_on_datagram(f->agent, &rx);
}

/* Three servers at once: the first answer at once, the others as they come, one that never answers.
 */
static void several(void **state) {
    static const char *const servers[] = {"192.0.2.1:1", "[2001:db8::9]:2", "192.0.2.3:3"};
    fixture *f = *state;

    start(f, servers, 3);
    assert_int_equal(f->w->sent_count, 3);
    world_run_until(f->w, 20 * ATL_MS);
    answer(f, 1, "[2001:db8::77]:99");
    assert_int_equal(f->results, 0); /* only in the events of the turn */
    settle(f);
    assert_int_equal(f->results, 1);
    assert_int_equal(f->got[0].r.index, 1);
    assert_int_equal(f->got[0].r.code, ATLAS_OK);
    assert_true(f->got[0].r.rtt_ns == 20 * ATL_MS);
    assert_int_equal(f->got[0].r.transmissions, 1);
    assert_string_equal(f->got[0].server, "[2001:db8::9]:2");
    assert_string_equal(f->got[0].server_addr, "[2001:db8::9]:2");
    assert_string_equal(f->got[0].reflexive, "[2001:db8::77]:99");
    assert_string_equal(f->got[0].local, "[2001:db8::3]:7006");
    assert_string_equal(f->got[0].text, "the server answered in 20.0 ms");
    world_run_until(f->w, 30 * ATL_MS);
    answer(f, 0, "203.0.113.1:1");
    settle(f);
    assert_int_equal(f->results, 2);
    assert_int_equal(f->got[1].r.index, 0);
    assert_int_equal(f->finals, 0);
    world_run_until(f->w, 10 * ATL_SECOND);
    assert_int_equal(f->results, 3);
    assert_int_equal(f->got[2].r.index, 2);
    assert_int_equal(f->got[2].r.code, ATLAS_ERR_STUN_TIMEOUT);
    assert_int_equal(f->got[2].r.transmissions, 3);
    assert_string_equal(f->got[2].text, "no answer to 3 requests");
    assert_true(f->got[2].at == 3 * ATL_SECOND);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_OK);
    assert_true(f->final_at == 3 * ATL_SECOND);
    assert_int_equal(atl_stun_agent_probes(f->agent), 0);
}

/* When all fail: every reason, and the local address. */
static void all_fail(void **state) {
    static const char *const servers[] = {"192.0.2.1:1", "192.0.2.2:2", "nowhere.example:3"};
    fixture *f = *state;
    size_t i;

    start(f, servers, 3);
    refuse(f, 1, ATLAS_ERR_REFUSED);
    resolved(f, 0, NULL, 0);
    world_run_until(f->w, 10 * ATL_SECOND);
    assert_int_equal(f->results, 3);
    assert_int_equal(f->got[0].r.index, 1);
    assert_int_equal(f->got[0].r.code, ATLAS_ERR_REFUSED);
    assert_int_equal(f->got[1].r.index, 2);
    assert_int_equal(f->got[1].r.code, ATLAS_ERR_RESOLVE);
    assert_string_equal(f->got[1].server_addr, "");
    assert_int_equal(f->got[2].r.code, ATLAS_ERR_STUN_TIMEOUT);
    for (i = 0; i < 3; i++) {
        assert_string_equal(f->got[i].local, "10.0.0.2:7004");
        assert_string_equal(f->got[i].reflexive, "");
        assert_true(f->got[i].r.rtt_ns == 0);
        assert_true(strlen(f->got[i].text) > 0);
    }
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_ERR_STUN_TIMEOUT);
}

/* A name is asked over both families; an address that is dead gives way to the next one. */
static void names(void **state) {
    static const char *const servers[] = {"stun.example:9"};
    static const char *const addrs[] = {"[2001:db8::a]:9", "192.0.2.10:9", "192.0.2.11:9",
                                        "[2001:db8::b]:9"};
    fixture *f = *state;

    start(f, servers, 1);
    assert_int_equal(f->w->sent_count, 0);
    assert_int_equal(f->lookups, 1);
    assert_string_equal(f->lookup[0].name, "0,9:stun.example");
    resolved(f, 0, addrs, 4);
    assert_int_equal(f->w->sent_count, 2);
    assert_int_equal(f->w->sent[0].remote.family, 4);
    assert_int_equal(f->w->sent[1].remote.family, 6);
    refuse(f, 0, ATLAS_ERR_REFUSED);
    assert_int_equal(f->w->sent_count, 3);
    answer(f, 2, "203.0.113.1:1");
    answer(f, 1, "[2001:db8::77]:99");
    settle(f);
    assert_int_equal(f->results, 2);
    assert_string_equal(f->got[0].server_addr, "192.0.2.11:9");
    assert_string_equal(f->got[1].server_addr, "[2001:db8::a]:9");
    assert_int_equal(f->got[0].r.index, 0);
    assert_int_equal(f->got[1].r.index, 0);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_OK);
}

static void srv(void **state) {
    static const char *const servers[] = {"one.example", "two.example", "/dns6/six.example/udp/5"};
    static const char *const from_srv[] = {"192.0.2.10:19302"};
    static const char *const from_host[] = {"192.0.2.20:3478"};
    static const char *const six[] = {"[2001:db8::6]:5"};
    fixture *f = *state;
    size_t i;

    start(f, servers, 3);
    assert_int_equal(f->lookups, 3);
    assert_string_equal(f->lookup[0].name, "srv:one.example");
    assert_string_equal(f->lookup[1].name, "srv:two.example");
    assert_string_equal(f->lookup[2].name, "6,5:six.example");
    resolved(f, 0, from_srv, 1);
    resolved(f, 1, NULL, 0); /* no such record: the name itself, and the default port */
    assert_int_equal(f->lookups, 4);
    assert_string_equal(f->lookup[3].name, "0,3478:two.example");
    resolved(f, 3, from_host, 1);
    resolved(f, 2, six, 1);
    assert_int_equal(f->w->sent_count, 3);
    for (i = 0; i < 3; i++) {
        answer(f, i, "203.0.113.1:1");
    }
    settle(f);
    assert_int_equal(f->results, 3);
    assert_string_equal(f->got[0].server_addr, "192.0.2.10:19302");
    assert_string_equal(f->got[1].server_addr, "192.0.2.20:3478");
    assert_string_equal(f->got[2].server_addr, "[2001:db8::6]:5");
    assert_int_equal(f->finals, 1);
}

/* A family without socket or route is silent as long as the other will do. */
static void families(void **state) {
    static const char *const servers[] = {"stun.example:9", "[2001:db8::c]:9"};
    static const char *const both[] = {"[2001:db8::a]:9", "192.0.2.10:9"};
    static const char *const only6[] = {"[2001:db8::a]:9"};
    fixture *f = *state;

    f->route6 = 0;
    start(f, servers, 2);
    resolved(f, 0, both, 2);
    assert_int_equal(f->w->sent_count, 1);
    assert_int_equal(f->w->sent[0].remote.family, 4);
    answer(f, 0, "203.0.113.1:1");
    settle(f);
    assert_int_equal(f->results, 2);
    assert_int_equal(f->got[0].r.index, 1);
    assert_int_equal(f->got[0].r.code, ATLAS_ERR_UNREACHABLE);
    assert_string_equal(f->got[0].server_addr, "[2001:db8::c]:9");
    assert_string_equal(f->got[0].local, "10.0.0.2:7004");
    assert_int_equal(f->got[1].r.code, ATLAS_OK);
    assert_int_equal(f->finals, 1);

    f->results = 0;
    f->finals = 0;
    f->have6 = 0;
    start(f, servers, 1);
    resolved(f, 1, only6, 1);
    settle(f);
    assert_int_equal(f->results, 1);
    assert_int_equal(f->got[0].r.code, ATLAS_ERR_FAMILY);
    assert_int_equal(f->status, ATLAS_ERR_FAMILY);
    assert_int_equal(f->finals, 1);
}

/* One deadline for all of it, look-ups included. */
static void lookup_deadline(void **state) {
    static const char *const servers[] = {"slow.example:9", "late.example:9"};
    static const char *const addrs[] = {"192.0.2.10:9"};
    fixture *f = *state;

    start(f, servers, 2);
    world_run_until(f->w, 2900 * ATL_MS);
    resolved(f, 1, addrs, 1);
    world_run_until(f->w, 3 * ATL_SECOND - 1);
    assert_int_equal(f->results, 0);
    world_run_until(f->w, 3 * ATL_SECOND);
    assert_int_equal(f->results, 2);
    assert_int_equal(f->got[0].r.code == ATLAS_ERR_RESOLVE, f->got[0].r.index == 0);
    assert_int_equal(f->got[1].r.code == ATLAS_ERR_STUN_TIMEOUT, f->got[1].r.index == 1);
    assert_int_equal(f->finals, 1);
    assert_true(f->final_at == 3 * ATL_SECOND);
    assert_false(f->lookup[0].live);
}

static void cancel(void **state) {
    static const char *const servers[] = {"192.0.2.1:1", "slow.example:9", "192.0.2.2:2"};
    fixture *f = *state;

    start(f, servers, 3);
    answer(f, 0, "203.0.113.1:1"); /* waiting to be delivered */
    atl_stun_probe_cancel(f->probe);
    atl_stun_probe_cancel(f->probe);
    assert_int_equal(f->finals, 0);
    settle(f);
    assert_int_equal(f->results, 0);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_ERR_CANCELLED);
    world_run_until(f->w, 10 * ATL_SECOND);
    assert_int_equal(f->finals, 1);

    /* in its own callback, and all at once as a shutdown does */
    f->finals = 0;
    f->cancel_in_result = 1;
    f->cancel_in_final = 1;
    f->w->sent_count = 0;
    start(f, servers, 3);
    answer(f, 0, "203.0.113.1:1");
    answer(f, 1, "203.0.113.1:1");
    settle(f);
    assert_int_equal(f->results, 1);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_ERR_CANCELLED);

    f->finals = 0;
    f->results = 0;
    f->restart_in_final = 1;
    f->cancel_in_result = 0;
    start(f, servers, 3);
    atl_stun_agent_cancel_all(f->agent);
    settle(f);
    assert_int_equal(f->finals, 0); /* that of the second */
    assert_int_equal(atl_stun_agent_probes(f->agent), 1);
    world_run_until(f->w, f->w->now - WORLD_START + 2 * ATL_SECOND);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_ERR_STUN_TIMEOUT);
}

/* Freed in the middle: no event, and nothing left (the world looks at that). */
static void freed(void **state) {
    static const char *const servers[] = {"192.0.2.1:1", "slow.example:9", "192.0.2.2:2"};
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA256};
    fixture *f = *state;

    assert_int_equal(
        atl_stun_probe_start(f->agent, servers, 3, ATL_SECOND, &creds, on_result, f, &f->probe),
        ATLAS_OK);
    refuse(f, 0, ATLAS_ERR_REFUSED);
}

static void resolver_errors(void **state) {
    static const char *const servers[] = {"one.example", "two.example:2"};
    fixture *f = *state;

    f->resolver_broken = 1;
    start(f, servers, 2);
    settle(f);
    assert_int_equal(f->results, 2);
    assert_int_equal(f->got[0].r.code, ATLAS_ERR_RESOLVE);
    assert_int_equal(f->finals, 1);
    assert_int_equal(f->status, ATLAS_ERR_RESOLVE);
}

static void arguments(void **state) {
    static const char *const good[] = {"192.0.2.1:1"};
    static const char *const bad[] = {"192.0.2.1:1", "not an address"};
    static const char *const null[] = {NULL};
    fixture *f = *state;
    atl_stun_creds creds = {"user", NULL, ATLAS_STUN_SHA256};

#define START(servers, n, timeout, creds_) \
    atl_stun_probe_start(f->agent, servers, n, timeout, creds_, on_result, f, &f->probe)
    assert_int_equal(START(good, 0, ATL_SECOND, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(good, 65, ATL_SECOND, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(good, 1, 99 * ATL_MS, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(good, 1, ATL_STUN_LONGEST + 1, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(good, 1, ATL_SECOND, &creds), ATLAS_ERR_INVALID);
    assert_int_equal(START(bad, 2, ATL_SECOND, NULL), ATLAS_ERR_ADDRESS);
    assert_int_equal(START(null, 1, ATL_SECOND, NULL), ATLAS_ERR_INVALID);
#undef START
    assert_int_equal(f->w->sent_count, 0); /* not even to the good one */
    assert_int_equal(atl_stun_agent_probes(f->agent), 0);
}

static void no_memory(void **state) {
    static const char *const servers[] = {"192.0.2.1:1", "192.0.2.2:2"};
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA1};
    fixture *f = *state;
    size_t n;

    for (n = 1;; n++) {
        int32_t rc;

        assert_true(n < 30);
        f->w->allocations = 0;
        f->w->fail_at = n;
        f->finals = 0;
        f->results = 0;
        f->w->sent_count = 0;
        rc =
            atl_stun_probe_start(f->agent, servers, 2, ATL_SECOND, &creds, on_result, f, &f->probe);
        assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_NOMEM);
        if (rc != ATLAS_OK) {
            assert_int_equal(atl_stun_agent_probes(f->agent), 0);
            continue;
        }
        world_run_until(f->w, f->w->now - WORLD_START + 2 * ATL_SECOND);
        assert_int_equal(f->results, 2); /* what could not be started says so */
        assert_int_equal(f->finals, 1);
        if (f->got[0].r.code == ATLAS_ERR_STUN_TIMEOUT &&
            f->got[1].r.code == ATLAS_ERR_STUN_TIMEOUT) {
            break;
        }
        assert_true(f->got[0].r.code == ATLAS_ERR_NOMEM || f->got[1].r.code == ATLAS_ERR_NOMEM);
    }
    assert_true(n > 5);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(several),   TEST(all_fail),        TEST(names),     TEST(srv),
        TEST(families),  TEST(lookup_deadline), TEST(cancel),    TEST(freed),
        TEST(arguments), TEST(resolver_errors), TEST(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
