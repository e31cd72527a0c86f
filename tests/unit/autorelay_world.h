/* A node with AutoRelay and relays that serve, lie, refuse, die: whole contexts on the simulated
 * network. Include cmocka before this. */
#ifndef ATL_TESTS_UNIT_AUTORELAY_WORLD_H
#define ATL_TESTS_UNIT_AUTORELAY_WORLD_H

#include "api/context.h"
#include "discovery/autorelay_impl.h"
#include "node.h"

#include <stdio.h>
#include <string.h>

#define RELAYS 24
#define EVENTS 512

#define WORLD_UNUSED __attribute__((unused))

typedef struct seen_event {
    uint64_t at;
    uint32_t what;
    atl_peer_id relay;
    int32_t code;
} seen_event;

typedef struct world {
    sim_net *net;
    sim_node node;
    sim_node relays[RELAYS];
    size_t n;
    atl_autorelay *ar;
    void (*observed)(atl_peers *peers, atl_relay_entry *entry);
    size_t wants;
    int silent; /* nobody answers want */
    seen_event events[EVENTS];
    size_t n_events;
    /* what on_change has told */
    size_t n_serving;
    size_t least; /* since it was set to RELAYS */
    uint64_t changed_at;
    size_t changes;
    /* relays that carry no circuit packets, bits */
    uint32_t lying;
    uint32_t mute; /* relays that answer STUN and nothing else, bits */
    int families;  /* how relays are named: FAMILY_* */
} world;

#define IPV6_NONE 0
#define IPV6_SOCKET 1 /* and no address, no route */
#define IPV6_ADDRESS 2

#define FAMILY_4 0
#define FAMILY_46 1 /* IPv4, then IPv6 */
#define FAMILY_64 2

static world w;

WORLD_UNUSED static uint64_t now(void) {
    return sim_now(w.net);
}

WORLD_UNUSED static void run(uint64_t ns) {
    (void)sim_run(w.net, now() + ns, NULL, NULL);
}

WORLD_UNUSED static atl_maddr relay_addr(size_t i) {
    atl_maddr addr;

    assert_int_equal(atl_maddr_parse(w.relays[i].addr, &addr), ATLAS_OK);
    return addr;
}

/* The same relay, at the IPv6 address that it has if the plan says so. */
WORLD_UNUSED static atl_maddr relay_addr6(size_t i) {
    atl_maddr addr = relay_addr(i);
    char text[64];

    (void)snprintf(text, sizeof(text), "[2001:db8:%zu::1]:%u", i + 1, addr.addr.port);
    assert_int_equal(atl_addr_parse(text, &addr.addr), ATLAS_OK);
    return addr;
}

/* The relay's index, or RELAYS. */
WORLD_UNUSED static size_t index_of(const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < w.n; i++) {
        atl_maddr addr = relay_addr(i);

        if (atl_peer_id_equal(&addr.peer, peer)) {
            return i;
        }
    }
    return RELAYS;
}

/* ---- what AutoRelay asks and tells ---- */

WORLD_UNUSED static void on_observed(atl_peers *peers, atl_relay_entry *entry) {
    w.observed(peers, entry);
    atl_autorelay_on_relay(w.ar, entry);
}

/* A bootstrap node that is 50 ms away answers. */
WORLD_UNUSED static void answer(void *user) {
    (void)user;
    if (w.ar == NULL) {
        return;
    }
    (void)atl_loop_update(&w.node.ctx->loop);
    for (size_t i = 0; i < w.n; i++) {
        atl_maddr addr = relay_addr(i);
        atl_maddr addr6 = relay_addr6(i);

        if (w.families == FAMILY_64) {
            atl_autorelay_offer(w.ar, &addr6);
        }
        atl_autorelay_offer(w.ar, &addr);
        if (w.families == FAMILY_46) {
            atl_autorelay_offer(w.ar, &addr6);
        }
    }
    atl_autorelay_offered(w.ar);
    sim_host_touch(w.node.host);
}

WORLD_UNUSED static void on_want(void *user, size_t n) {
    (void)user;
    assert_true(n >= 3);
    w.wants++;
    if (!w.silent) {
        sim_at(w.net, now() + 50 * ATL_MS, answer, NULL);
    }
}

WORLD_UNUSED static void on_change(void *user) {
    atl_relay_entry *serving[ATL_AUTORELAY_MAX];

    (void)user;
    w.n_serving = atl_autorelay_serving(w.ar, serving, ATL_AUTORELAY_MAX);
    w.changes++;
    w.changed_at = now();
    w.least = w.n_serving < w.least ? w.n_serving : w.least;
    for (size_t i = 0; i < w.n_serving; i++) {
        assert_true(serving[i]->held);
        assert_true(atl_autorelay_is_serving(w.ar, serving[i]));
    }
}

WORLD_UNUSED static void on_event(void *user, const atl_autorelay_event *event) {
    seen_event *out = &w.events[w.n_events++];

    (void)user;
    assert_true(w.n_events < EVENTS);
    assert_true(event->text[0] != '\0');
    assert_int_equal(event->code == ATLAS_OK, event->what != ATLAS_AUTORELAY_FAILED);
    out->at = now();
    out->what = event->what;
    out->relay = event->addr->peer;
    out->code = event->code;
}

WORLD_UNUSED static size_t count_events(uint32_t what, size_t relay) {
    size_t n = 0;

    for (size_t i = 0; i < w.n_events; i++) {
        n += w.events[i].what == what && (relay == RELAYS || index_of(&w.events[i].relay) == relay);
    }
    return n;
}

WORLD_UNUSED static int32_t failure_of(size_t relay) {
    for (size_t i = 0; i < w.n_events; i++) {
        if (w.events[i].what == ATLAS_AUTORELAY_FAILED && index_of(&w.events[i].relay) == relay) {
            return w.events[i].code;
        }
    }
    return ATLAS_OK;
}

/* Circuit packets from relays that lie vanish, and all QUIC from those that are mute. */
WORLD_UNUSED static int tap(void *user, const atl_addr *from, const atl_addr *to,
                            const uint8_t *data, size_t len) {
    (void)user;
    (void)to;
    for (size_t i = 0; i < w.n; i++) {
        if (memcmp(from->ip, w.relays[i].host_ip.ip, sizeof(from->ip)) == 0) {
            /* the self-test's packets are as long, and look like that */
            int raw = len == 1200 + ATL_CIRCUIT_HEADER && (data[0] & 0xc0) == 0x40 &&
                      (data[ATL_CIRCUIT_HEADER] & 0xc0) == 0;

            return ((w.lying >> i & 1) != 0 && raw) ||
                   ((w.mute >> i & 1) != 0 && (data[0] & 0xc0) != 0);
        }
    }
    return 0;
}

/* ---- the stage ---- */

WORLD_UNUSED static void set_rtt(size_t relay, uint64_t rtt) {
    sim_link link = {rtt / 2, 0, 0, 0, 0, 1472};

    sim_set_pair(w.net, w.node.host, w.relays[relay].host, &link);
}

WORLD_UNUSED static void add_relay(const char *ip) {
    sim_relay_init(&w.relays[w.n], w.net, ip, (uint8_t)(20 + w.n));
    w.n++;
}

WORLD_UNUSED static void make_autorelay(void) {
    const atl_autorelay_config config = {
        .loop = &w.node.ctx->loop,
        .io = &w.node.ctx->io,
        .self = w.node.ctx->peers.self,
        .peers = &w.node.ctx->peers,
        .want = on_want,
        .on_change = on_change,
        .on_event = on_event,
    };

    assert_int_equal(atl_autorelay_new(&config, &w.ar), ATLAS_OK);
    w.observed = w.node.ctx->peers.relays.on_observed;
    w.node.ctx->peers.relays.on_observed = on_observed;
}

WORLD_UNUSED static void begin_with(uint64_t seed, size_t n, int ipv6) {
    static const sim_link link = {25 * ATL_MS, 0, 0, 0, 0, 1472};
    sim_host *host;
    char ip[32];

    memset(&w, 0, sizeof(w));
    w.net = sim_new_quiet(seed);
    w.least = RELAYS;
    sim_set_link(w.net, &link);
    sim_set_tap(w.net, tap, NULL);
    host = sim_host_new(w.net, "198.51.100.7");
    if (ipv6 == IPV6_SOCKET) {
        sim_host_allow_ipv6(host);
    } else if (ipv6 == IPV6_ADDRESS) {
        sim_host_add_addr(host, NULL, "2001:db8:ffff::7");
    }
    sim_node_on_host(&w.node, host, 2, 0);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ip, sizeof(ip), "203.0.%zu.1", i + 1);
        add_relay(ip);
    }
    make_autorelay();
}

/* A node and `n` relays in different networks, 50 ms from each other. */
WORLD_UNUSED static void begin(uint64_t seed, size_t n) {
    begin_with(seed, n, IPV6_NONE);
}

WORLD_UNUSED static void want(size_t count) {
    (void)atl_loop_update(&w.node.ctx->loop);
    atl_autorelay_want(w.ar, count);
    sim_host_touch(w.node.host);
}

WORLD_UNUSED static void finish(void) {
    if (w.ar != NULL) {
        w.node.ctx->peers.relays.on_observed = w.observed;
        atl_autorelay_free(w.ar);
        w.ar = NULL;
    }
    sim_node_done(&w.node);
    for (size_t i = 0; i < w.n; i++) {
        sim_node_done(&w.relays[i]);
    }
    sim_free(w.net);
}

WORLD_UNUSED static int three_serve(void *user) {
    (void)user;
    return w.n_serving == 3;
}

WORLD_UNUSED static int less_serve(void *user) {
    (void)user;
    return w.n_serving < 3;
}

WORLD_UNUSED static int none_serves(void *user) {
    (void)user;
    return w.n_serving == 0;
}

WORLD_UNUSED static void until(int (*done)(void *user), uint64_t ns) {
    assert_int_equal(sim_run(w.net, now() + ns, done, NULL), 1);
}

WORLD_UNUSED static size_t serving(size_t out[ATL_AUTORELAY_MAX]) {
    atl_relay_entry *entries[ATL_AUTORELAY_MAX];
    size_t n = atl_autorelay_serving(w.ar, entries, ATL_AUTORELAY_MAX);

    for (size_t i = 0; i < n; i++) {
        out[i] = index_of(&entries[i]->addr.peer);
        assert_true(out[i] < RELAYS);
    }
    return n;
}

WORLD_UNUSED static int serves(size_t relay) {
    size_t out[ATL_AUTORELAY_MAX];
    size_t n = serving(out);

    for (size_t i = 0; i < n; i++) {
        if (out[i] == relay) {
            return 1;
        }
    }
    return 0;
}

/* Nodes that are announced on a relay. */
WORLD_UNUSED static uint64_t announced_on(size_t relay) {
    atlas_relay_stats stats = {.size = sizeof(stats)};

    assert_int_equal(atlas_relay_get_stats(w.relays[relay].ctx, &stats), ATLAS_OK);
    return stats.nodes;
}

#endif
