/* Records that name addresses of others: whoever believes them sends little there, whatever they
 * say and however many say it; and nothing to addresses that are nobody's to name. */
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
#define VICTIM "192.0.200.1"

static uint64_t packets_to(world *w, const sim_node *from, const sim_host *victim) {
    sim_flow_stats flow;

    sim_flow_get(w->net, from->host, victim, &flow);
    return flow.packets;
}

/* ---- dials ---- */

#define EVIL 64u
#define DIALLERS 5

/* Sixteen times the victim's address, at different ports: half of them as a relay's. */
static void make_evil(world *w, uint32_t n, char peer[ATLAS_PEER_ID_MAX]) {
    forged relay;
    forged f;
    char ip[32];
    uint32_t i;

    forge(&f, 3000 + n);
    forge(&relay, 4000 + n);
    for (i = 0; i < ATL_RECORD_ADDRS; i++) {
        unsigned port = 1000 + n * ATL_RECORD_ADDRS + i;

        if (i % 2 == 0) {
            forge_addr(&f, "/ip4/%s/udp/%u/quic-v1", VICTIM, port);
        } else {
            forge_addr(&f, "/ip4/%s/udp/%u/quic-v1/p2p/%s/p2p-circuit", VICTIM, port, relay.peer);
        }
    }
    forge_sign(&f, &w->boots[0], 0);
    snprintf(ip, sizeof(ip), "192.0.%u.1", 100 + n);
    assert_int_equal(forge_keep(&f, &w->boots[0], ip), ATLAS_OK);
    snprintf(peer, ATLAS_PEER_ID_MAX, "%s", f.peer);
    forge_done(&relay);
    forge_done(&f);
}

/* A thousand mentions of one address: five nodes dial all who name it, first all at once, then
 * again and again. Each may send what 32 attempts at once and four a second make. */
static void test_named_a_thousand_times(void **state) {
    static const world_plan PLAN = {.boots = 1, .relays = 1, .nodes = DIALLERS};
    static char peers[EVIL][ATLAS_PEER_ID_MAX];
    uint64_t begun;
    uint64_t before;
    uint64_t after;
    sim_host *victim;
    size_t round;
    uint32_t i;
    size_t k;
    world w;

    (void)state;
    world_init(&w, &PLAN, 51);
    assert_true(world_run(&w, 10, world_published));
    victim = sim_host_new(w.net, VICTIM);
    for (i = 0; i < EVIL; i++) {
        make_evil(&w, i, peers[i]);
    }
    begun = sim_now(w.net);
    for (round = 0; round < 4; round++) {
        for (k = 0; k < DIALLERS; k++) {
            for (i = 0; i < EVIL; i++) {
                assert_int_equal(sim_node_dial(&w.nodes[k], peers[i], 4000), ATLAS_OK);
            }
            sim_host_touch(w.nodes[k].host);
        }
        (void)world_run(&w, 10, NULL);
    }
    for (k = 0; k < DIALLERS; k++) {
        uint64_t seconds = (sim_now(w.net) - begun) / SECOND + 1;
        uint64_t attempts = 32 + 4 * seconds;

        before = packets_to(&w, &w.nodes[k], victim);
        printf("%u mentions, %zu dials: %llu packets\n", EVIL * ATL_RECORD_ADDRS, 4 * (size_t)EVIL,
               (unsigned long long)before);
        /* the first packet of a handshake, sent again twice or thrice in four seconds */
        assert_in_range(before, 100, attempts * 4);
        assert_int_equal(w.nodes[k].closed, 4 * EVIL);
    }
    /* and nothing more when it is over */
    before = packets_to(&w, &w.nodes[0], victim);
    (void)world_run(&w, 120, NULL);
    after = packets_to(&w, &w.nodes[0], victim);
    assert_int_equal(after, before);
    world_done(&w);
}

/* ---- addresses that are nobody's to name ---- */

typedef struct watch {
    const sim_host *host;
    int private_too; /* the host has no such address */
    int forbidden;
} watch;

static void on_event(void *user, const sim_event *event) {
    watch *at = user;
    const atl_addr *to = &event->to;

    if (event->host == at->host && event->what != SIM_DELIVERED && event->what != SIM_LOG_LINE &&
        (atl_addr_is_loopback(to) || atl_addr_is_link_local(to) || atl_addr_is_multicast(to) ||
         (at->private_too && atl_addr_is_private(to)) ||
         (to->family != 0 && atl_addr_is_unspecified(to)))) {
        at->forbidden++;
    }
}

static void test_own_machine(void **state) {
    static const world_plan PLAN = {.boots = 1, .relays = 1, .nodes = 2};
    static const char *const HOSTS[] = {"/ip4/127.0.0.1", "/ip4/127.9.9.9", "/ip4/169.254.1.1",
                                        "/ip6/::1", "/ip6/fe80::1"};
    watch at = {NULL, 0, 0};
    forged relay;
    forged f;
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 52);
    assert_true(world_run(&w, 10, world_published));
    sim_host_add_addr(w.nodes[0].host, NULL, "2001:db8::9");
    /* first circuits through them, and no other way; then as its own, the right one with them */
    for (i = 0; i < 2; i++) {
        size_t k;

        forge(&relay, 5000);
        memset(&f, 0, sizeof(f));
        f.record.head.peer = w.nodes[1].ctx->self;
        f.record.head.seq = w.nodes[1].found.seq + 1 + i;
        f.record.head.lifetime = ATL_RECORD_LIFETIME;
        f.key = w.nodes[1].ctx->key;
        for (k = 0; k < ATL_COUNT(HOSTS); k++) {
            if (i == 1) {
                forge_addr(&f, "%s/udp/4001/quic-v1", HOSTS[k]);
            } else {
                forge_addr(&f, "%s/udp/4001/quic-v1/p2p/%s/p2p-circuit", HOSTS[k], relay.peer);
            }
        }
        if (i == 1) {
            forge_addr(&f, "/ip4/192.0.11.9/udp/40000/quic-v1");
        }
        forge_sign(&f, &w.boots[0], 0);
        assert_int_equal(forge_keep(&f, &w.boots[0], "192.0.11.9"), ATLAS_OK);
        forge_done(&relay);
        at.host = w.nodes[0].host;
        sim_set_observer(w.net, on_event, &at);
        assert_int_equal(world_dial(&w, 0, 1, NULL), i == 1);
        assert_int_equal(cache_has(&w.nodes[0], &w.nodes[1]), f.record.head.seq);
        (void)world_run(&w, 5, NULL);
        assert_int_equal(at.forbidden, 0);
        if (w.nodes[0].conn != NULL) {
            assert_int_equal(atlas_conn_close(w.nodes[0].conn, 0, NULL), ATLAS_OK);
            sim_host_touch(w.nodes[0].host);
        }
        (void)world_run(&w, 1, NULL);
    }
    world_done(&w);
}

/* The same addresses, and those of private networks that this host is not in: nobody serves there,
 * whoever says so. */
static void test_serving_nowhere(void **state) {
    static const world_plan PLAN = {.boots = 2, .relays = 2, .nodes = 1, .quiet = 1};
    static const char *const HOSTS[] = {"/ip4/127.0.0.1", "/ip4/127.9.9.9",   "/ip4/169.254.1.1",
                                        "/ip4/10.1.2.3",  "/ip4/192.168.1.1", "/ip4/100.64.1.1",
                                        "/ip6/::1",       "/ip6/fe80::1",     "/ip6/fd00::1"};
    watch at = {NULL, 1, 0};
    size_t i;
    size_t k;
    world w;

    (void)state;
    world_init(&w, &PLAN, 54);
    sim_node_done(&w.nodes[0]);
    sim_host_add_addr(w.nodes[0].host, NULL, "2001:db8::9");
    sim_node_start(&w.nodes[0], 0);
    for (i = 0; i < 3 * ATL_COUNT(HOSTS); i++) {
        forged f;

        forge(&f, (uint32_t)(7000 + i));
        forge_addr(&f, "%s/udp/4001/quic-v1", HOSTS[i / 3]);
        f.record.head.offers = 1u << i % 3;
        forge_sign(&f, &w.boots[0], 0);
        for (k = 0; k < PLAN.boots; k++) {
            assert_int_equal(forge_keep(&f, &w.boots[k], "192.0.2.9"), ATLAS_OK);
        }
        forge_done(&f);
    }
    at.host = w.nodes[0].host;
    sim_set_observer(w.net, on_event, &at);
    assert_int_equal(atlas_set_u64(w.nodes[0].ctx, ATLAS_OPT_AUTORELAY, 2), ATLAS_OK);
    world_start_node(&w, 0);
    (void)world_run(&w, 120, NULL);
    assert_int_equal(at.forbidden, 0);
    assert_in_range(w.nodes[0].ctx->discovery->n_nodes, 1, 2);
    assert_int_equal(w.nodes[0].found.serving, 2);
    world_done(&w);
}

/* ---- a victim that is said to serve ---- */

#define CROWD 300u
/* Packets from a node to the victim; a node that knows nothing yet looks more often. */
#define FIRST_MINUTE 200
#define A_MINUTE 150

/* Hundreds of records say that a relay, a server of dial-backs and a bootstrap node is there. */
static void name_the_victim(world *w) {
    uint32_t i;
    size_t k;

    for (i = 0; i < CROWD; i++) {
        char ip[32];
        forged f;

        forge(&f, 6000 + i);
        forge_addr(&f, "/ip4/%s/udp/%u/quic-v1", VICTIM, 1000 + i);
        f.record.head.offers = ATLAS_OFFER_RELAY | ATLAS_OFFER_BOOTSTRAP | ATLAS_OFFER_DIALBACK;
        f.record.head.lifetime = ATL_RECORD_LIFETIME_MAX;
        forge_sign(&f, &w->boots[0], 0);
        snprintf(ip, sizeof(ip), "192.1.%u.%u", i / 250, 1 + i % 250);
        for (k = 0; k < w->plan.boots; k++) {
            assert_int_equal(forge_keep(&f, &w->boots[k], ip), ATLAS_OK);
        }
        forge_done(&f);
    }
}

/* With as many relays as are wanted, and with one, where the node never stops to look for more. */
static void test_named_as_server(void **state) {
    static const size_t RELAYS[] = {4, 1};
    world_plan plan = {.boots = 2,
                       .nodes = 2,
                       .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC},
                       .all_boots = 1,
                       .quiet = 1};
    size_t i;
    world w;

    (void)state;
    for (i = 0; i < ATL_COUNT(RELAYS); i++) {
        uint64_t before[2] = {0, 0};
        uint64_t most[2] = {0, 0};
        sim_host *victim;
        size_t minute;
        size_t k;

        plan.relays = RELAYS[i];
        world_init(&w, &plan, 53);
        victim = sim_host_new(w.net, VICTIM);
        name_the_victim(&w);
        world_start_node(&w, 0);
        world_start_node(&w, 1);
        if (plan.relays == 4) {
            /* a flood of records that nobody vouches for hides no relay */
            (void)world_run(&w, 5, NULL);
            assert_int_equal(w.nodes[0].found.circuits, 3);
            assert_int_equal(w.nodes[1].found.circuits, 3);
        }
        for (minute = 0; minute < 60; minute++) {
            (void)world_run(&w, 60, NULL);
            for (k = 0; k < 2; k++) {
                uint64_t now = packets_to(&w, &w.nodes[k], victim);

                most[minute > 0] =
                    now - before[k] > most[minute > 0] ? now - before[k] : most[minute > 0];
                before[k] = now;
            }
        }
        printf("%zu relays: %llu packets in the first minute, %llu in any other, %llu in an hour\n",
               plan.relays, (unsigned long long)most[0], (unsigned long long)most[1],
               (unsigned long long)before[0]);
        assert_in_range(most[0], 1, FIRST_MINUTE);
        assert_in_range(most[1], 1, A_MINUTE);
        for (k = 0; k < 2; k++) {
            assert_int_equal(w.nodes[k].found.serving, plan.relays == 4 ? 3 : 1);
        }
        world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named_a_thousand_times),
        cmocka_unit_test(test_own_machine),
        cmocka_unit_test(test_serving_nowhere),
        cmocka_unit_test(test_named_as_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
