#include "paths_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RATE 2500000u /* bytes a second: 20 Mbit/s, and */
#define QUEUE 250000u /* a tenth of a second of it */
#define RTT_LEAST (10 * ATL_MS)
#define RTT_MOST (120 * ATL_MS)
#define JITTER 20 /* a link's jitter is this part of its delay */

/* ---- draws ---- */

static uint64_t draw(paths_world *w) {
    uint64_t x = w->draws += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t paths_world_draw(paths_world *w, uint64_t from, uint64_t to) {
    return from + draw(w) % (to - from + 1);
}

/* ---- links ---- */

/* What a round trip of a full packet takes at most. */
static uint64_t set_link(paths_world *w, sim_host *a, sim_host *b) {
    const sim_shape shape = {.rate = RATE, .queue = QUEUE};
    uint64_t rtt = paths_world_draw(w, RTT_LEAST, RTT_MOST);
    sim_link link;

    memset(&link, 0, sizeof(link));
    rtt = w->plan->rtt != 0 ? w->plan->rtt : rtt;
    link.delay = rtt / 2;
    link.jitter = rtt / 2 / JITTER;
    link.loss = w->plan->loss;
    link.mtu = PATHS_PACKET;
    sim_set_pair(w->net, a, b, &link);
    sim_set_pair_shape(w->net, a, b, &shape);
    return 2 * (link.delay + link.jitter + PATHS_PACKET * ATL_SECOND / RATE);
}

static void set_links(paths_world *w) {
    size_t i;

    w->rtt = set_link(w, w->a.node.host, w->b.node.host);
    for (i = 0; i < w->plan->relays; i++) {
        w->relay_rtt[i] = set_link(w, w->a.node.host, w->relay[i].host);
        w->relay_rtt[i] += set_link(w, w->b.node.host, w->relay[i].host);
    }
}

/* ---- nodes ---- */

static void make_host(paths_world *w, paths_app *app, int kind, int number, sim_router **router) {
    char ip[32];

    snprintf(ip, sizeof(ip), "203.0.113.%d", 100 + number);
    if (number > 1 && w->plan->same_nat) {
        *router = w->nat_a;
        app->node.host = sim_host_behind(*router, "192.168.1.3");
    } else {
        app->node.host = sim_host_natted(w->net, kind, ip, number, router);
    }
    if (w->plan->ipv6) {
        snprintf(ip, sizeof(ip), "2001:db8:%d::5", number);
        sim_host_add_addr(app->node.host, *router, ip);
        if (*router != NULL) {
            sim_router_nat(*router)->firewall6 = 1;
        }
    }
    sim_host_addr(app->node.host, &app->node.host_ip);
    app->node.seed = (uint8_t)(10 + number);
}

static void start(paths_world *w, paths_app *app) {
    size_t i;

    sim_node_start(&app->node, 0);
    paths_app_attach(app);
    if (w->plan->no_upgrade) {
        assert_int_equal(atlas_set_u64(app->node.ctx, ATLAS_OPT_UPGRADE, 0), ATLAS_OK);
    }
    for (i = 0; i < w->plan->relays; i++) {
        assert_int_equal(atlas_relay_add(app->node.ctx, w->relay[i].addr), ATLAS_OK);
    }
    assert_int_equal(atlas_listen(app->node.ctx), ATLAS_OK);
    if (w->plan->relays > 0) {
        assert_int_equal(atlas_relay_presence(app->node.ctx, 1), ATLAS_OK);
    }
}

static int announced(void *user) {
    const paths_world *w = user;

    return paths_app_announced(&w->a) == w->plan->relays &&
           paths_app_announced(&w->b) == w->plan->relays;
}

int paths_world_init(paths_world *w, const paths_plan *plan, uint64_t seed) {
    size_t i;

    memset(w, 0, sizeof(*w));
    w->net = sim_new_quiet(seed);
    w->plan = plan;
    w->draws = seed * 7919 + 1;
    for (i = 0; i < plan->relays; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "203.0.113.%d", 10 + (int)i);
        sim_node_init(&w->relay[i], w->net, ip, (uint8_t)(1 + i), 4001);
        assert_int_equal(atlas_relay_start(w->relay[i].ctx), ATLAS_OK);
        assert_int_equal(atlas_set_u64(w->relay[i].ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0), ATLAS_OK);
    }
    make_host(w, &w->a, plan->nat_a, 1, &w->nat_a);
    make_host(w, &w->b, plan->nat_b, 2, &w->nat_b);
    set_links(w);
    start(w, &w->a);
    start(w, &w->b);
    return paths_run(w, 30 * ATL_SECOND, announced);
}

void paths_world_done(paths_world *w) {
    size_t i;

    sim_node_done(&w->a.node);
    sim_node_done(&w->b.node);
    for (i = 0; i < w->plan->relays; i++) {
        sim_node_done(&w->relay[i]);
    }
    sim_free(w->net);
}

void paths_world_move(paths_world *w, paths_app *app, int kind) {
    const sim_nat nat = sim_nat_of(kind);
    sim_router *router = NULL;
    int number = app == &w->a ? 1 : 2;
    char ip[32];

    snprintf(ip, sizeof(ip), "198.51.100.%d", number);
    if (kind != SIM_NAT_NONE) {
        router = sim_router_new(w->net, NULL, ip, &nat);
        snprintf(ip, sizeof(ip), "10.20.%d.5", number);
    }
    sim_host_move(app->node.host, router, ip);
    *(app == &w->a ? &w->nat_a : &w->nat_b) = router;
}

int paths_run(paths_world *w, uint64_t nanoseconds, int (*done)(void *world)) {
    return sim_run(w->net, sim_now(w->net) + nanoseconds, done, w);
}

int paths_active_relay(const paths_world *w, const paths_app *app) {
    atlas_path_info path = {.size = sizeof(path)};
    size_t i;

    if (app->conn == NULL || atlas_conn_get_path(app->conn, &path) != ATLAS_OK ||
        path.kind != ATLAS_PATH_RELAY) {
        return -1;
    }
    for (i = 0; i < w->plan->relays; i++) {
        if (!w->relay_gone[i] && strcmp(path.relay, atlas_self_id(w->relay[i].ctx)) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- until ---- */

int paths_connected(void *world) {
    const paths_world *w = world;

    return (w->a.connected_at != 0 && w->b.connected_at != 0) || w->a.closed > 0;
}

int paths_direct(void *world) {
    const paths_world *w = world;

    return w->a.path == ATLAS_PATH_DIRECT && w->b.path == ATLAS_PATH_DIRECT;
}

int paths_a_direct(void *world) {
    return ((const paths_world *)world)->a.path == ATLAS_PATH_DIRECT;
}

int paths_relayed(void *world) {
    const paths_world *w = world;

    return w->a.path == ATLAS_PATH_RELAY && w->b.path == ATLAS_PATH_RELAY;
}

int paths_ended(void *world) {
    const paths_world *w = world;

    return w->a.closed > 0 || w->b.closed > 0;
}

int paths_received(void *world) {
    const paths_world *w = world;

    return w->a.got_fin || w->b.got_fin || paths_ended(world);
}

int paths_connect(paths_world *w) {
    const char *target = w->plan->relays > 0 ? atlas_self_id(w->b.node.ctx) : w->b.node.addr;

    return paths_app_dial(&w->a, target) == ATLAS_OK &&
           paths_run(w, 30 * ATL_SECOND, paths_connected) && w->a.connected_at != 0 &&
           w->b.connected_at != 0;
}
