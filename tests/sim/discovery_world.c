#include "discovery_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

const char *world_id(const sim_node *node) {
    return strrchr(node->addr, '/') + 1;
}

int world_run(world *w, double seconds, int (*done)(void *world)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

/* ---- servers ---- */

static void add_alternate(world *w, sim_node *node, const char *ip) {
    if (!w->plan.one_address) {
        assert_int_equal(atlas_stun_server_alternate(node->ctx, ip), ATLAS_OK);
    }
}

static void start_boot(world *w, size_t i) {
    char other[64];
    char ip[64];
    sim_host *host;

    snprintf(ip, sizeof(ip), "203.0.%zu.1", 100 + i);
    snprintf(other, sizeof(other), "203.0.%zu.2", 100 + i);
    host = sim_host_new(w->net, ip);
    sim_host_add_addr(host, NULL, other);
    sim_node_on_host(&w->boots[i], host, (uint32_t)(1 + i), 4001);
    assert_int_equal(atlas_bootstrap_start(w->boots[i].ctx, NULL), ATLAS_OK);
    assert_int_equal(atlas_advertise(w->boots[i].ctx, 1), ATLAS_OK);
    add_alternate(w, &w->boots[i], other);
}

static void start_relay(world *w, size_t i) {
    char other[64];
    char ip[64];
    sim_host *host;
    size_t b;

    snprintf(ip, sizeof(ip), "198.51.%zu.1", 100 + i);
    snprintf(other, sizeof(other), "198.51.%zu.2", 100 + i);
    host = sim_host_new(w->net, ip);
    sim_host_add_addr(host, NULL, other);
    sim_node_on_host(&w->relays[i], host, (uint32_t)(20 + i), 4001);
    assert_int_equal(atlas_relay_start(w->relays[i].ctx), ATLAS_OK);
    add_alternate(w, &w->relays[i], other);
    for (b = 0; b < w->plan.boots; b++) {
        assert_int_equal(atlas_bootstrap_add(w->relays[i].ctx, w->boots[b].addr), ATLAS_OK);
    }
    assert_int_equal(atlas_advertise(w->relays[i].ctx, 1), ATLAS_OK);
}

static int relays_published(void *user) {
    const world *w = user;
    size_t i;

    for (i = 0; i < w->plan.relays; i++) {
        if (w->relays[i].found.advertise != ATLAS_ADVERTISE_PUBLISHED ||
            w->relays[i].found.nodes != w->plan.boots ||
            (w->relays[i].found.offers & ATLAS_OFFER_RELAY) == 0) {
            return 0;
        }
    }
    return 1;
}

/* ---- nodes ---- */

void world_start_node(world *w, size_t i) {
    sim_node *node = &w->nodes[i];
    size_t b;

    node->found.wanted = w->plan.relays < 3 ? (uint32_t)w->plan.relays : 3;
    for (b = 0; b < w->plan.boots; b++) {
        if (w->plan.all_boots || b == i % w->plan.boots) {
            assert_int_equal(atlas_bootstrap_add(node->ctx, w->boots[b].addr), ATLAS_OK);
        }
    }
    w->started[i] = sim_now(w->net);
    assert_int_equal(atlas_listen(node->ctx), ATLAS_OK);
    assert_int_equal(atlas_advertise(node->ctx, 1), ATLAS_OK);
    sim_host_touch(node->host);
}

static void make_node(world *w, size_t i) {
    char ip[64];
    sim_host *host;

    snprintf(ip, sizeof(ip), "192.0.%zu.9", 10 + i);
    host = sim_host_natted(w->net, w->plan.nat[i], ip, (int)(i + 1), &w->router[i]);
    sim_node_on_host(&w->nodes[i], host, (uint32_t)(60 + i), 0);
    if (!w->plan.quiet) {
        world_start_node(w, i);
    }
}

int world_published(void *user) {
    const world *w = user;
    size_t i;

    for (i = 0; i < w->plan.nodes; i++) {
        if (w->nodes[i].found.advertise != ATLAS_ADVERTISE_PUBLISHED ||
            w->nodes[i].found.circuits + w->nodes[i].found.directs == 0) {
            return 0;
        }
    }
    return 1;
}

static int dial_over(void *user) {
    const world *w = user;

    return w->nodes[w->dialler].connected > 0 || w->nodes[w->dialler].closed > 0;
}

int world_dial(world *w, size_t from, size_t to, uint64_t *took) {
    sim_node *node = &w->nodes[from];
    uint64_t begun = sim_now(w->net);

    w->dialler = from;
    node->connected = 0;
    node->closed = 0;
    assert_int_equal(sim_node_dial(node, world_id(&w->nodes[to]), 15000), ATLAS_OK);
    sim_host_touch(node->host);
    (void)world_run(w, 20, dial_over);
    if (took != NULL) {
        *took = sim_now(w->net) - begun;
    }
    if (node->connected == 0) {
        printf("dial: %s\n", node->close_text);
    }
    return node->connected > 0;
}

/* ---- the whole ---- */

void world_init(world *w, const world_plan *plan, uint64_t seed) {
    sim_link link = {
        .delay = plan->delay == 0 ? 25 * ATL_MS : plan->delay, .loss = plan->loss, .mtu = 1472};
    size_t i;

    memset(w, 0, sizeof(*w));
    w->plan = *plan;
    w->net = sim_new_quiet(seed);
    sim_set_link(w->net, &link);
    for (i = 0; i < plan->boots; i++) {
        start_boot(w, i);
    }
    for (i = 0; i < plan->relays; i++) {
        start_relay(w, i);
    }
    assert_true(world_run(w, 30, relays_published));
    for (i = 0; i < plan->nodes; i++) {
        make_node(w, i);
    }
}

void world_done(world *w) {
    size_t i;

    for (i = 0; i < w->plan.nodes; i++) {
        sim_node_done(&w->nodes[i]);
    }
    for (i = 0; i < w->plan.relays; i++) {
        sim_node_done(&w->relays[i]);
    }
    for (i = 0; i < w->plan.boots; i++) {
        sim_node_done(&w->boots[i]);
    }
    sim_free(w->net);
}
