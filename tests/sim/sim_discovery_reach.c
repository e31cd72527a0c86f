/* Reachability where little is there to learn it from: one bootstrap node and records of servers
 * that are dead or never were; a NAT that forgets; names that lead to two addresses; relays alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/state.h"
#include "discovery_tools.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define STRANGERS 64

static int verdict4(void *user) {
    return ((const world *)user)->nodes[0].found.verdict[0] != ATLAS_REACH_UNKNOWN;
}

/* Datagrams to addresses of 192.88.0.0/16, and of one host to everybody. */
static struct {
    uint64_t there;
    uint64_t sent;
    const sim_host *host;
} seen;

static void observe(void *user, const sim_event *e) {
    (void)user;
    if (e->what == SIM_SENT) {
        seen.there += e->to.family == 4 && e->to.ip[0] == 192 && e->to.ip[1] == 88;
        seen.sent += e->host == seen.host;
    }
}

static void watch(world *w, const sim_host *host) {
    memset(&seen, 0, sizeof(seen));
    seen.host = host;
    sim_set_observer(w->net, observe, NULL);
}

/* A stranger's record that offers dial-backs at an address, in the first bootstrap node. */
static void stranger(world *w, uint32_t n, const char *addr) {
    static forged f;

    forge(&f, n);
    f.record.head.offers = ATLAS_OFFER_DIALBACK;
    forge_addr(&f, "%s", addr);
    forge_sign(&f, &w->boots[0], 0);
    assert_int_equal(forge_keep(&f, &w->boots[0], "198.51.99.1"), ATLAS_OK);
    forge_done(&f);
}

/* ---- silent servers ---- */

/* One bootstrap node, and others that are known only from records: a relay that has died, or
 * nobody. */
static void test_silent(void **state) {
    static const struct {
        int nat;
        uint32_t verdict;
    } ROWS[] = {
        {SIM_NAT_NONE, ATLAS_REACH_PUBLIC},
        {SIM_NAT_FULL_CONE, ATLAS_REACH_PUBLIC},
        {SIM_NAT_ADDRESS_RESTRICTED, ATLAS_REACH_PRIVATE},
        {SIM_NAT_PORT_RESTRICTED, ATLAS_REACH_PRIVATE},
        {SIM_NAT_SYMMETRIC, ATLAS_REACH_PRIVATE},
    };
    size_t i;
    int bogus;
    world w;

    (void)state;
    for (i = 0; i < 2 * ATL_COUNT(ROWS); i++) {
        world_plan plan = {.boots = 1, .relays = 1, .nodes = 1, .quiet = 1};
        char addr[64];
        uint32_t n;

        bogus = i % 2 == 1;
        plan.nat[0] = ROWS[i / 2].nat;
        world_init(&w, &plan, 1 + i);
        sim_node_kill(&w.relays[0]);
        for (n = 0; bogus && n < 20; n++) {
            snprintf(addr, sizeof(addr), "/ip4/192.88.%u.1/udp/53/quic-v1", (unsigned)n);
            stranger(&w, n + 1, addr);
        }
        watch(&w, w.nodes[0].host);
        world_start_node(&w, 0);
        assert_true(world_run(&w, 10, verdict4));
        printf("%s, %s: verdict %u after %.2f s\n", sim_nat_name(ROWS[i / 2].nat),
               bogus ? "bogus" : "dead", w.nodes[0].found.verdict[0],
               (double)(w.nodes[0].found.verdict_at - w.started[0]) / 1e9);
        assert_int_equal(w.nodes[0].found.verdict[0], ROWS[i / 2].verdict);
        assert_in_range(w.nodes[0].found.verdict_at - w.started[0], 1, 3 * SECOND);
        /* and is left alone after two rounds */
        (void)world_run(&w, 200, NULL);
        assert_int_equal(w.nodes[0].found.verdict[0], ROWS[i / 2].verdict);
        seen.there = 0;
        (void)world_run(&w, 900, NULL);
        assert_int_equal(seen.there, 0);
        sim_relay_return(&w.relays[0]);
        world_done(&w);
    }
}

/* ---- whom strangers may name ---- */

/* How many servers are listed now whose IP address begins so; *out receives the last. */
static size_t strangers_of(sim_node *node, const char *ip, atl_reach_server *out) {
    atl_reach_server list[STRANGERS];
    size_t found = 0;
    size_t n;
    size_t i;

    (void)atl_loop_update(&node->ctx->loop);
    n = atl_servers_list(node->ctx->discovery, list, STRANGERS);
    for (i = 0; i < n; i++) {
        char text[ATLAS_ADDR_MAX];

        atl_addr_ip_text(&list[i].addr, text);
        if (strncmp(text, ip, strlen(ip)) == 0) {
            found++;
            if (out != NULL) {
                *out = list[i];
            }
        }
    }
    return found;
}

static void name_server(sim_node *node, uint8_t peer, const char *text) {
    atl_maddr addr;

    memset(&addr, 0, sizeof(addr));
    addr.host_kind = ATL_HOST_IP;
    addr.quic = 1;
    addr.has_peer = 1;
    memset(addr.peer.key, peer, sizeof(addr.peer.key));
    assert_int_equal(atl_addr_parse(text, &addr.addr), ATLAS_OK);
    addr.port = addr.addr.port;
    atl_servers_add(&node->ctx->discovery->servers, &addr);
}

/* One of an address, two of a network; this machine and private networks only from where they make
 * sense. */
static void test_named_by_strangers(void **state) {
    static const struct {
        const char *addr;
        const char *prefix;
        size_t open;   /* listed afterwards by a node on the Internet, */
        size_t natted; /* and by one behind a NAT */
    } ROWS[] = {
        {"192.88.1.1:53", "192.88.1.", 1, 1},
        {"192.88.1.1:54", "192.88.1.", 1, 1}, /* the same address */
        {"192.88.1.2:53", "192.88.1.", 2, 2},
        {"192.88.1.3:53", "192.88.1.", 2, 2}, /* a third in its network */
        {"192.88.2.3:53", "192.88.2.", 1, 1},
        {"[2001:db8:1:1::1]:53", "2001:db8:1:", 1, 1},
        {"[2001:db8:1:2::1]:53", "2001:db8:1:", 2, 2},
        {"[2001:db8:1:3::1]:53", "2001:db8:1:", 2, 2},
        {"[2001:db8:2:3::1]:53", "2001:db8:2:", 1, 1},
        {"10.1.2.3:53", "10.1.", 0, 1},
        {"100.64.2.3:53", "100.64.", 0, 1},
        {"[fd00::7]:53", "fd00", 0, 1},
        {"127.0.0.1:53", "127.", 0, 0},
        {"[::1]:53", "::1", 0, 0},
        {"169.254.1.1:53", "169.254.", 0, 0},
        {"[fe80::1]:53", "fe80", 0, 0},
        {"224.0.0.1:53", "224.", 0, 0},
        {"0.0.0.0:53", "0.0.", 0, 0},
    };
    static const world_plan PLAN = {
        .boots = 1, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE}};
    size_t i;
    size_t k;
    world w;

    (void)state;
    world_init(&w, &PLAN, 3);
    (void)world_run(&w, 5, NULL);
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        for (k = 0; k < 2; k++) {
            name_server(&w.nodes[k], (uint8_t)(i + 1), ROWS[i].addr);
            assert_int_equal(strangers_of(&w.nodes[k], ROWS[i].prefix, NULL),
                             k == 0 ? ROWS[i].open : ROWS[i].natted);
        }
    }
    world_done(&w);
}

/* Not longer than its record, nor than an hour. */
static void test_expiry(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .nat = {SIM_NAT_NONE}};
    static forged f;
    world w;

    (void)state;
    world_init(&w, &PLAN, 4);
    (void)world_run(&w, 5, NULL);
    forge(&f, 9);
    f.record.head.offers = ATLAS_OFFER_DIALBACK;
    f.record.head.lifetime = 600;
    forge_addr(&f, "/ip4/192.88.7.1/udp/53/quic-v1");
    forge_sign(&f, &w.boots[0], 0);
    assert_int_equal(atlas_record_add(w.nodes[0].ctx, f.data, f.len), ATLAS_OK);
    f.record.addrs[0].has_peer = 1;
    f.record.addrs[0].peer = f.record.head.peer;
    /* no round comes by, so that it is not dropped for its silence */
    atl_reach_run(w.nodes[0].ctx->discovery->reach, 0);
    atl_servers_add(&w.nodes[0].ctx->discovery->servers, &f.record.addrs[0]);
    name_server(&w.nodes[0], 77, "192.88.8.1:53");
    (void)world_run(&w, 590, NULL);
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.7.", NULL), 1);
    (void)world_run(&w, 20, NULL);
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.7.", NULL), 0);
    (void)world_run(&w, 2980, NULL);
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.8.", NULL), 1);
    (void)world_run(&w, 20, NULL);
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.8.", NULL), 0);
    forge_done(&f);
    world_done(&w);
}

static void never(void *user, int32_t code, const uint8_t *body, size_t len, const char *text) {
    (void)user;
    (void)code;
    (void)body;
    (void)len;
    (void)text;
    fail();
}

/* One that was listed is gone, and another lies where it was: who asks the first is told so. */
static void test_another_in_its_place(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .nat = {SIM_NAT_NONE}};
    atl_reach_server first;
    atl_reach_server other;
    void *request = NULL;
    char addr[64];
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 5);
    (void)world_run(&w, 5, NULL);
    name_server(&w.nodes[0], 1, "192.88.1.1:53");
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.1.1", &first), 1);
    for (i = 2; i <= 1 + ATL_SERVERS_MAX; i++) {
        snprintf(addr, sizeof(addr), "192.88.%zu.1:53", i);
        name_server(&w.nodes[0], (uint8_t)i, addr);
    }
    assert_int_equal(strangers_of(&w.nodes[0], "192.88.1.1", &other), 0);
    snprintf(addr, sizeof(addr), "192.88.%d.1", 1 + ATL_SERVERS_MAX);
    assert_int_equal(strangers_of(&w.nodes[0], addr, &other), 1);
    first.handle = other.handle;
    assert_int_equal(atl_servers_ask(w.nodes[0].ctx->discovery, &first, (const uint8_t *)"x", 1,
                                     SECOND, never, NULL, &request),
                     ATLAS_ERR_NOT_FOUND);
    world_done(&w);
}

/* ---- a NAT that forgets ---- */

static uint16_t said_port(const sim_node *node) {
    unsigned port = 0;

    if (node->found.directs > 0) {
        const char *at = strstr(node->found.addrs[0], "/udp/");

        assert_non_null(at);
        assert_int_equal(sscanf(at, "/udp/%u", &port), 1);
    }
    return (uint16_t)port;
}

/* Reachable through a full-cone NAT's mapping, which lasts a minute (or less): it is kept alive,
 * and nothing else is sent in between. */
static void test_mapping_kept(void **state) {
    static const uint64_t TIMEOUTS[] = {60, 30, 16};
    static const world_plan PLAN = {
        .boots = 2, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE}, .quiet = 1};
    uint64_t took;
    uint16_t port;
    size_t i;
    world w;

    (void)state;
    for (i = 0; i < ATL_COUNT(TIMEOUTS); i++) {
        world_init(&w, &PLAN, 50 + i);
        sim_router_nat(w.router[1])->timeout = TIMEOUTS[i] * SECOND;
        /* with the same port each time it could not be noticed that it forgets before 25 s */
        sim_router_nat(w.router[1])->preserve = TIMEOUTS[i] > 25;
        world_start_node(&w, 0);
        world_start_node(&w, 1);
        assert_true(world_run(&w, 20, world_published));
        (void)world_run(&w, TIMEOUTS[i] < 25 ? 600 : 100, NULL);
        port = said_port(&w.nodes[1]);
        assert_int_equal(w.nodes[1].found.directs, 1);
        (void)world_run(&w, 900, NULL);
        assert_int_equal(w.nodes[1].found.verdict[0], ATLAS_REACH_PUBLIC);
        assert_int_equal(said_port(&w.nodes[1]), port);
        assert_true(world_dial(&w, 0, 1, &took));
        assert_in_range(took, 1, 2 * SECOND);
        world_done(&w);
    }
}

/* Nothing is sent for it in idle mode, nor by a node whose own address it is. */
static void test_mapping_in_idle_mode(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .nat = {SIM_NAT_FULL_CONE}};
    world w;

    (void)state;
    world_init(&w, &PLAN, 6);
    assert_true(world_run(&w, 20, world_published));
    (void)world_run(&w, 60, NULL);
    assert_int_equal(atlas_set_idle(w.nodes[0].ctx, 1), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    (void)world_run(&w, 60, NULL);
    watch(&w, w.nodes[0].host);
    (void)world_run(&w, 600, NULL);
    assert_int_equal(seen.sent, 0);
    assert_int_equal(atlas_set_idle(w.nodes[0].ctx, 0), ATLAS_OK);
    sim_host_touch(w.nodes[0].host);
    (void)world_run(&w, 10, NULL);
    assert_int_equal(w.nodes[0].found.verdict[0], ATLAS_REACH_PUBLIC);
    watch(&w, w.nodes[0].host);
    (void)world_run(&w, 120, NULL);
    assert_true(seen.sent >= 4);
    world_done(&w);
}

/* The NAT is restarted, long after the last round: the record says so soon. */
static void test_mapping_changes(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .nodes = 2, .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE}};
    uint64_t took;
    uint16_t before;
    world w;

    (void)state;
    world_init(&w, &PLAN, 7);
    assert_true(world_run(&w, 20, world_published));
    (void)world_run(&w, 3000, NULL);
    before = said_port(&w.nodes[1]);
    sim_router_forget(w.router[1], 1);
    (void)world_run(&w, 30, NULL);
    assert_int_equal(w.nodes[1].found.verdict[0], ATLAS_REACH_PUBLIC);
    assert_int_not_equal(said_port(&w.nodes[1]), 0);
    assert_int_not_equal(said_port(&w.nodes[1]), before);
    assert_true(world_dial(&w, 0, 1, &took));
    world_done(&w);
}

/* ---- names, relays alone ---- */

/* A bootstrap node given by a name that leads to both families judges both. */
static void test_name_of_two_families(void **state) {
    static const world_plan PLAN = {.boots = 1};
    char addr[ATLAS_MULTIADDR_MAX];
    sim_host *host;
    sim_node boot;
    sim_node node;
    int dead;
    world w;

    (void)state;
    for (dead = 0; dead < 2; dead++) {
        world_init(&w, &PLAN, 8);
        host = sim_host_new(w.net, "203.0.200.1");
        sim_host_add_addr(host, NULL, "2001:db8:200::1");
        sim_node_on_host(&boot, host, 99, 4001);
        assert_int_equal(atlas_bootstrap_start(boot.ctx, NULL), ATLAS_OK);
        assert_int_equal(atlas_advertise(boot.ctx, 1), ATLAS_OK);
        sim_host_touch(host);
        sim_add_name(w.net, "boot.example", "2001:db8:200::1");
        sim_add_name(w.net, "boot.example", "203.0.200.1");
        (void)world_run(&w, 5, NULL);
        if (dead) {
            static forged f;

            forge(&f, 1);
            f.record.head.offers = ATLAS_OFFER_DIALBACK;
            forge_addr(&f, "/ip4/192.88.1.1/udp/53/quic-v1");
            forge_addr(&f, "/ip6/2001:db8:666::1/udp/53/quic-v1");
            forge_sign(&f, &boot, 0);
            assert_int_equal(forge_keep(&f, &boot, "198.51.99.1"), ATLAS_OK);
            forge_done(&f);
        }
        host = sim_host_new(w.net, "192.0.99.9");
        sim_host_add_addr(host, NULL, "2001:db8:99::9");
        sim_node_on_host(&node, host, 98, 0);
        snprintf(addr, sizeof(addr), "/dns/boot.example/udp/4001/quic-v1/p2p/%s", world_id(&boot));
        assert_int_equal(atlas_bootstrap_add(node.ctx, addr), ATLAS_OK);
        assert_int_equal(atlas_listen(node.ctx), ATLAS_OK);
        assert_int_equal(atlas_advertise(node.ctx, 1), ATLAS_OK);
        sim_host_touch(host);
        (void)world_run(&w, 3, NULL);
        assert_int_equal(node.found.verdict[0], ATLAS_REACH_PUBLIC);
        assert_int_equal(node.found.verdict[1], ATLAS_REACH_PUBLIC);
        (void)world_run(&w, 3, NULL);
        assert_int_equal(node.found.directs, 2);
        sim_node_done(&node);
        sim_node_done(&boot);
        world_done(&w);
    }
}

/* Relays that the application has named are asked, also where there is no bootstrap node. */
static void test_relays_alone(void **state) {
    static const world_plan PLAN = {.boots = 1,
                                    .relays = 2,
                                    .nodes = 2,
                                    .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_NONE},
                                    .quiet = 1};
    static const uint32_t VERDICTS[] = {ATLAS_REACH_PRIVATE, ATLAS_REACH_PUBLIC};
    size_t relays;
    size_t i;
    world w;

    (void)state;
    for (relays = 1; relays <= 2; relays++) {
        world_init(&w, &PLAN, 9);
        for (i = 0; i < 2; i++) {
            sim_node *node = &w.nodes[i];
            uint64_t begun = sim_now(w.net);

            assert_int_equal(atlas_reach_start(node->ctx), ATLAS_ERR_NO_BOOTSTRAP);
            assert_int_equal(atlas_relay_add(node->ctx, w.relays[0].addr), ATLAS_OK);
            if (relays == 2) {
                assert_int_equal(atlas_relay_add(node->ctx, w.relays[1].addr), ATLAS_OK);
            }
            assert_int_equal(atlas_reach_start(node->ctx), ATLAS_OK);
            assert_int_equal(atlas_advertise(node->ctx, 1), ATLAS_ERR_NO_BOOTSTRAP);
            sim_host_touch(node->host);
            (void)world_run(&w, 5, NULL);
            assert_int_equal(node->found.verdict[0], VERDICTS[i]);
            assert_in_range(node->found.verdict_at - begun, 1, 3 * SECOND);
        }
        world_done(&w);
    }
}

/* ---- when nobody wants to know ---- */

/* Rounds that only advertising has begun end with it. */
static void test_no_more_rounds(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .nat = {SIM_NAT_FULL_CONE}};
    int asked;
    int before;
    world w;

    (void)state;
    for (asked = 0; asked < 2; asked++) {
        world_init(&w, &PLAN, 10);
        if (asked) {
            assert_int_equal(atlas_reach_start(w.nodes[0].ctx), ATLAS_OK);
        }
        assert_true(world_run(&w, 20, world_published));
        assert_int_equal(atlas_advertise(w.nodes[0].ctx, 0), ATLAS_OK);
        sim_host_touch(w.nodes[0].host);
        (void)world_run(&w, 60, NULL);
        before = w.nodes[0].found.verdicts;
        watch(&w, w.nodes[0].host);
        (void)world_run(&w, 1200, NULL);
        assert_int_equal(w.nodes[0].found.verdicts > before, asked);
        assert_int_equal(seen.sent > 0, asked);
        assert_int_equal(atlas_advertise(w.nodes[0].ctx, 1), ATLAS_OK);
        sim_host_touch(w.nodes[0].host);
        before = w.nodes[0].found.verdicts;
        assert_true(world_run(&w, 20, world_published));
        (void)world_run(&w, 3, NULL);
        assert_true(w.nodes[0].found.verdicts > before);
        assert_int_equal(w.nodes[0].found.directs, 1);
        world_done(&w);
    }
}

/* ---- what stands ---- */

static int no_address(void *user) {
    return ((const world *)user)->nodes[0].found.directs == 0;
}

/* Addresses of the host come and go, its own towards the Internet is the same: nothing is
 * forgotten, nor withdrawn. With another one it is, at once. */
static void test_same_address(void **state) {
    static const world_plan PLAN = {.boots = 1, .nodes = 1, .nat = {SIM_NAT_FULL_CONE}};
    world w;

    (void)state;
    world_init(&w, &PLAN, 12);
    assert_true(world_run(&w, 20, world_published));
    sim_host_add_addr(w.nodes[0].host, NULL, "172.17.0.1");
    assert_false(world_run(&w, 20, no_address));
    sim_host_remove_addr(w.nodes[0].host, "172.17.0.1");
    assert_false(world_run(&w, 20, no_address));
    assert_int_equal(w.nodes[0].found.verdict[0], ATLAS_REACH_PUBLIC);
    sim_host_move(w.nodes[0].host, NULL, "192.0.99.9");
    assert_true(world_run(&w, 2, no_address));
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent),          cmocka_unit_test(test_named_by_strangers),
        cmocka_unit_test(test_expiry),          cmocka_unit_test(test_another_in_its_place),
        cmocka_unit_test(test_mapping_kept),    cmocka_unit_test(test_mapping_in_idle_mode),
        cmocka_unit_test(test_mapping_changes), cmocka_unit_test(test_name_of_two_families),
        cmocka_unit_test(test_relays_alone),    cmocka_unit_test(test_no_more_rounds),
        cmocka_unit_test(test_same_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
