/* Dials through several relays, some of them dead, in the simulator: how long they take, and what
 * is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/context.h"
#include "node.h"

#include <stdio.h>
#include <string.h>

typedef struct world {
    sim_net *net;
    sim_node relays[3];
    sim_node a; /* dials */
    sim_node b; /* announced on all relays */
    size_t n;
} world;

static int b_announced(void *user) {
    const world *w = user;
    atlas_relay_event event = {.size = sizeof(event)};

    for (uint32_t i = 0; i < w->n; i++) {
        if (atlas_relay_info(w->b.ctx, i, &event) != ATLAS_OK ||
            event.state != ATLAS_RELAY_ANNOUNCED) {
            return 0;
        }
    }
    return 1;
}

static int a_ready(void *user) {
    const world *w = user;
    atlas_relay_event event = {.size = sizeof(event)};

    for (uint32_t i = 0; i < w->n; i++) {
        if (atlas_relay_info(w->a.ctx, i, &event) != ATLAS_OK ||
            event.state != ATLAS_RELAY_CONNECTED) {
            return 0;
        }
    }
    return 1;
}

static int a_connected(void *user) {
    return ((world *)user)->a.connected > 0 || ((world *)user)->a.closed > 0;
}

static void run(world *w, uint64_t ns) {
    (void)sim_run(w->net, sim_now(w->net) + ns, NULL, NULL);
}

/* `n` relays at 10 ms, and two nodes that do not reach one another. `warm`: a keeps its connections
 * to them. */
static void world_init(world *w, size_t n, int warm) {
    static const sim_link link = {10 * ATL_MS, 0, 0, 0, 0, 1472};
    char ip[32];

    memset(w, 0, sizeof(*w));
    w->net = sim_new(5);
    w->n = n;
    sim_set_link(w->net, &link);
    sim_node_init(&w->a, w->net, "203.0.113.51", 2, 0);
    sim_node_init(&w->b, w->net, "203.0.113.52", 3, 0);
    sim_cut(w->net, w->a.host, w->b.host, 1);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ip, sizeof(ip), "203.0.113.%zu", 10 + i);
        sim_node_init(&w->relays[i], w->net, ip, (uint8_t)(10 + i), 4001);
        assert_int_equal(atlas_relay_start(w->relays[i].ctx), ATLAS_OK);
        assert_int_equal(atlas_relay_add(w->a.ctx, w->relays[i].addr), ATLAS_OK);
        assert_int_equal(atlas_relay_add(w->b.ctx, w->relays[i].addr), ATLAS_OK);
    }
    assert_int_equal(atlas_listen(w->b.ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(w->b.ctx, 1), ATLAS_OK);
    assert_int_equal(sim_run(w->net, sim_now(w->net) + 20 * ATL_SECOND, b_announced, w), 1);
    if (warm) {
        assert_int_equal(atlas_relay_presence(w->a.ctx, 0), ATLAS_OK);
        assert_int_equal(sim_run(w->net, sim_now(w->net) + 20 * ATL_SECOND, a_ready, w), 1);
    }
}

static void world_done(world *w) {
    sim_node_done(&w->a);
    sim_node_done(&w->b);
    for (size_t i = 0; i < w->n; i++) {
        sim_node_done(&w->relays[i]);
    }
    sim_free(w->net);
}

/* Nanoseconds until connected. The connection is closed again. */
static uint64_t dial(world *w) {
    uint64_t start = sim_now(w->net);
    uint64_t took;

    w->a.connected = w->a.closed = 0;
    assert_int_equal(sim_node_dial(&w->a, atlas_self_id(w->b.ctx), 10000), ATLAS_OK);
    assert_int_equal(sim_run(w->net, start + 10 * ATL_SECOND, a_connected, w), 1);
    assert_int_equal(w->a.connected, 1);
    took = sim_now(w->net) - start;
    run(w, 100 * ATL_MS);
    assert_int_equal(atlas_conn_close(w->a.conn, 0, NULL), ATLAS_OK);
    run(w, 100 * ATL_MS);
    return took;
}

/* With warm presence: three round trips to the relay (2 for the circuit and the handshake through
 * it, whose every way passes the relay). */
static void a_warm_relay_is_quick(void **state) {
    world w;

    (void)state;
    world_init(&w, 2, 1);
    run(&w, ATL_SECOND);
    assert_in_range(dial(&w), 1, 130 * ATL_MS);
    assert_in_range(dial(&w), 1, 130 * ATL_MS);
    world_done(&w);
}

/* The first relay dies without a word. The first dial finds it warm and gives it its head start;
 * the next one knows. */
static void a_dead_relay_delays_once(void **state) {
    uint64_t quick;
    world w;

    (void)state;
    world_init(&w, 2, 1);
    run(&w, ATL_SECOND);
    quick = dial(&w);
    sim_host_set_down(w.relays[0].host, 1);
    assert_in_range(dial(&w), quick, quick + 310 * ATL_MS);
    assert_in_range(dial(&w), 1, quick + 10 * ATL_MS);
    run(&w, 20 * ATL_SECOND); /* lost by now, and redialled in vain */
    assert_in_range(dial(&w), 1, quick + 10 * ATL_MS);
    /* it comes back, and is the first again */
    sim_host_set_down(w.relays[0].host, 0);
    run(&w, 90 * ATL_SECOND);
    sim_host_set_down(w.relays[1].host, 1);
    assert_in_range(dial(&w), 1, quick + 10 * ATL_MS);
    world_done(&w);
}

/* Nobody kept a connection: the relays are tried together, dead ones first in order or not. */
static void cold_relays_are_tried_together(void **state) {
    uint64_t quick;
    world w;

    (void)state;
    world_init(&w, 3, 0);
    quick = dial(&w);
    assert_in_range(quick, 1, 250 * ATL_MS);
    run(&w, 60 * ATL_SECOND); /* unused connections to relays go */
    sim_host_set_down(w.relays[0].host, 1);
    sim_host_set_down(w.relays[1].host, 1);
    assert_in_range(dial(&w), 1, quick + 20 * ATL_MS);
    assert_in_range(dial(&w), 1, quick + 20 * ATL_MS);
    world_done(&w);
}

/* A relay that drains is left aside. */
static void a_draining_relay_comes_last(void **state) {
    uint64_t quick;
    world w;

    (void)state;
    world_init(&w, 2, 1);
    run(&w, ATL_SECOND);
    quick = dial(&w);
    assert_int_equal(atlas_shutdown(w.relays[0].ctx, 3000), ATLAS_OK);
    run(&w, 100 * ATL_MS);
    w.a.attempts_failed = 0;
    assert_in_range(dial(&w), 1, quick + 10 * ATL_MS);
    assert_int_equal(w.a.attempts_failed, 0);
    run(&w, 10 * ATL_SECOND);
    world_done(&w);
}

/* ---- what the connection's own search for relays uses ---- */

static int answered;
static int32_t answer;

static void on_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    (void)user;
    (void)request;
    answered++;
    answer = ATLAS_OK;
    atl_relay_circuit_close(circuit, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
}

static void on_failed(void *user, atl_relay_request *request, int32_t code, const char *text) {
    (void)user;
    (void)request;
    (void)text;
    answered++;
    answer = code;
}

static const atl_relay_request_ops request_ops = {on_ready, on_failed};

static int is_answered(void *user) {
    (void)user;
    return answered;
}

/* What a's node says to a circuit that b asks for through the `index`th relay. */
static int32_t ask(world *w, uint32_t index) {
    atl_relay_entry *entry = atl_relays_at(&w->b.ctx->peers.relays, index);
    atl_relay_request *request;

    answered = 0;
    (void)atl_loop_update(&w->b.ctx->loop);
    assert_int_equal(atl_relay_client_request(entry->client, &w->a.ctx->peers.self, 5 * ATL_SECOND,
                                              &request_ops, NULL, &request),
                     ATLAS_OK);
    sim_host_touch(w->b.host);
    assert_int_equal(sim_run(w->net, sim_now(w->net) + 6 * ATL_SECOND, is_answered, NULL), 1);
    return answer;
}

/* A node that only dials takes circuits from those that it is connected with, and from nobody else.
 */
static void a_peer_may_come_by_another_relay(void **state) {
    world w;

    (void)state;
    world_init(&w, 2, 0);
    assert_int_equal(atlas_relay_presence(w.a.ctx, 1), ATLAS_OK);
    run(&w, ATL_SECOND);
    assert_int_equal(ask(&w, 1), ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(sim_node_dial(&w.a, atlas_self_id(w.b.ctx), 10000), ATLAS_OK);
    assert_int_equal(sim_run(w.net, sim_now(w.net) + 5 * ATL_SECOND, a_connected, &w), 1);
    run(&w, 100 * ATL_MS);
    assert_int_equal(ask(&w, 1), ATLAS_OK);
    /* room for more connections or not: this is no further one */
    assert_int_equal(atlas_set_u64(w.a.ctx, ATLAS_OPT_MAX_CONNECTIONS, 1), ATLAS_OK);
    assert_int_equal(ask(&w, 1), ATLAS_OK);
    assert_int_equal(atlas_conn_close(w.a.conn, 0, NULL), ATLAS_OK);
    run(&w, ATL_SECOND);
    assert_int_equal(ask(&w, 1), ATLAS_ERR_RELAY_REFUSED);
    world_done(&w);
}

static void relays_are_ranked(void **state) {
    atl_relay_entry *ranked[4];
    atl_relays *relays;
    world w;

    (void)state;
    world_init(&w, 3, 1);
    relays = &w.a.ctx->peers.relays;
    assert_int_equal(atl_relays_ranked(relays, ranked, 4), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_ptr_equal(ranked[i], atl_relays_at(relays, i));
        assert_int_equal(atl_relay_entry_health(ranked[i]), ATL_RELAY_HEALTH_WARM);
    }
    assert_int_equal(atl_relays_ranked(relays, ranked, 2), 2);
    sim_host_set_down(w.relays[0].host, 1);
    run(&w, 20 * ATL_SECOND);
    assert_int_equal(atl_relays_ranked(relays, ranked, 4), 3);
    assert_ptr_equal(ranked[0], atl_relays_at(relays, 1));
    assert_ptr_equal(ranked[1], atl_relays_at(relays, 2));
    assert_ptr_equal(ranked[2], atl_relays_at(relays, 0));
    assert_int_equal(atl_relay_entry_health(ranked[2]), ATL_RELAY_HEALTH_FAILED);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_warm_relay_is_quick),
        cmocka_unit_test(a_dead_relay_delays_once),
        cmocka_unit_test(cold_relays_are_tried_together),
        cmocka_unit_test(a_draining_relay_comes_last),
        cmocka_unit_test(a_peer_may_come_by_another_relay),
        cmocka_unit_test(relays_are_ranked),
    };

    return cmocka_run_group_tests_name("api_race", tests, NULL, NULL);
}
