/* The relay client on the simulated network: presence, circuits, connections through them, and relays that go wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/client.h"

#include "relay_world.h"

#define STATES 64

typedef struct client_node {
    pair_node node;
    atl_relay_client *client;
    uint64_t presence_interval, handshake_timeout, max_clock_drift;
    uint32_t states[STATES];
    size_t n_states;
    atlas_relay_event event; /* the last one; strings are not kept */
    char text[256];
    char observed[ATLAS_ADDR_MAX];
    int32_t incoming; /* what on_incoming says */
    int n_incoming;
    atl_peer_id from;
    int free_on_state;
    /* requests */
    int ready, failed;
    int32_t code;
    char why[256];
    atl_circuit *circuit;
    int dial; /* on_ready dials through the circuit */
    atl_qconn *conn;
    int confirmed, conn_closed;
    int32_t conn_code;
    /* accepted connections */
    int accepted;
    size_t datagrams;
} client_node;

static relay_world world;
static client_node nodes[3];
static size_t n_nodes;

/* ---- what is heard ---- */

static void on_state(void *user, atl_relay_client *client) {
    client_node *n = user;

    assert_true(n->n_states < STATES);
    atl_relay_client_event(client, &n->event);
    (void)snprintf(n->text, sizeof(n->text), "%s", n->event.text);
    (void)snprintf(n->observed, sizeof(n->observed), "%s", n->event.observed);
    assert_int_equal(n->event.state, atl_relay_client_state(client));
    n->states[n->n_states++] = n->event.state;
    if (n->free_on_state) {
        atl_relay_client_free(client);
        n->client = NULL;
    }
}

static int32_t on_incoming(void *user, atl_relay_client *client, const atl_peer_id *source) {
    client_node *n = user;

    assert_ptr_equal(client, n->client);
    n->n_incoming++;
    n->from = *source;
    return n->incoming;
}

static const atl_relay_client_ops client_ops = {on_state, on_incoming};

static void c_confirmed(void *user, atl_qconn *conn) {
    client_node *n = user;
    uint8_t data[1000] = {1};

    n->confirmed++;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(atl_qconn_send_datagram(conn, data, sizeof(data)), ATLAS_OK);
    }
}

static void c_datagram(void *user, atl_qconn *conn, const uint8_t *data, size_t len) {
    client_node *n = user;

    (void)data;
    n->datagrams++;
    if (n->accepted) {
        (void)atl_qconn_send_datagram(conn, data, len);
    }
}

static void c_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    client_node *n = user;

    (void)conn;
    n->conn = NULL;
    n->conn_closed++;
    n->conn_code = why->code;
}

static const atl_qconn_ops conn_ops = {.on_confirmed = c_confirmed, .on_datagram = c_datagram, .on_closed = c_closed};
static const atl_qconn_ops accepted_ops = {.on_datagram = c_datagram, .on_closed = c_closed};

static int32_t accept_conn(pair_node *node, atl_qconn *conn) {
    client_node *n = node->user;

    n->accepted++;
    n->conn = conn;
    atl_qconn_set_ops(conn, &accepted_ops, n);
    return ATLAS_OK;
}

static void r_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    client_node *n = user;
    atl_qpath path;

    assert_non_null(request);
    n->ready++;
    n->circuit = circuit;
    if (n->dial) {
        memset(&path, 0, sizeof(path));
        path.circuit = circuit;
        assert_int_equal(atl_qconn_connect(n->node.ep, &path, ATL_PROTO_ATLAS, &circuit->peer, 0, &conn_ops, n, &n->conn), ATLAS_OK);
    }
}

static void r_failed(void *user, atl_relay_request *request, int32_t code, const char *text) {
    client_node *n = user;

    assert_non_null(request);
    n->failed++;
    n->code = code;
    (void)snprintf(n->why, sizeof(n->why), "%s", text);
}

static const atl_relay_request_ops request_ops = {r_ready, r_failed};

/* ---- the stage ---- */

static void make_client(client_node *n, const char *addr) {
    atl_relay_client_config config;

    memset(&config, 0, sizeof(config));
    config.ep = n->node.ep;
    config.self = n->node.id;
    config.presence_interval = &n->presence_interval;
    config.handshake_timeout = &n->handshake_timeout;
    config.max_clock_drift = &n->max_clock_drift;
    assert_int_equal(atl_maddr_parse(addr, &config.addr), ATLAS_OK);
    assert_int_equal(atl_relay_client_new(&config, &client_ops, n, &n->client), ATLAS_OK);
}

static const char *relay_addr(const char *host) {
    static char text[256];
    char id[ATLAS_PEER_ID_MAX];

    atl_peer_id_text(&world.relay.id, id);
    (void)snprintf(text, sizeof(text), "%s/udp/%d/quic-v1/p2p/%s", host, RELAY_PORT, id);
    return text;
}

static client_node *add_as(uint8_t seed) {
    client_node *n = &nodes[n_nodes++];
    char ip[32];

    (void)snprintf(ip, sizeof(ip), "10.0.2.%zu", n_nodes);
    memset(n, 0, sizeof(*n));
    n->presence_interval = 2 * ATL_SECOND;
    n->handshake_timeout = 10 * ATL_SECOND;
    n->max_clock_drift = 300;
    pair_init(&n->node, world.net, ip, seed, 6000);
    n->node.user = n;
    n->node.accept = accept_conn;
    make_client(n, relay_addr("/ip4/10.0.0.1"));
    return n;
}

static client_node *add(void) {
    return add_as((uint8_t)(100 + n_nodes));
}

static void begin(void) {
    n_nodes = 0;
    world_start(&world);
}

static void finish(void) {
    for (size_t i = 0; i < n_nodes; i++) {
        atl_relay_client_free(nodes[i].client);
        pair_done(&nodes[i].node);
    }
    world_done(&world);
}

static void run(uint64_t ns) {
    world_run(&world, ns);
}

static int is_announced(void *user) {
    client_node *n = user;

    return atl_relay_client_state(n->client) == ATLAS_RELAY_ANNOUNCED;
}

static int is_lost(void *user) {
    return atl_relay_client_state(((client_node *)user)->client) == ATLAS_RELAY_LOST;
}

static int is_answered(void *user) {
    return ((client_node *)user)->ready || ((client_node *)user)->failed;
}

static int is_confirmed(void *user) {
    return ((client_node *)user)->confirmed;
}

static client_node *add_announced(void) {
    client_node *n = add();

    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    return n;
}

static atl_relay_request *ask(client_node *n, const atl_peer_id *target) {
    atl_relay_request *request = NULL;

    n->ready = n->failed = 0;
    assert_int_equal(atl_relay_client_request(n->client, target, 12 * ATL_SECOND, &request_ops, n, &request), ATLAS_OK);
    assert_int_equal(n->ready + n->failed, 0);
    return request;
}

/* ---- presence ---- */

static void keeps_presence(void **state) {
    static const uint32_t expect[] = {ATLAS_RELAY_CONNECTING, ATLAS_RELAY_CONNECTED, ATLAS_RELAY_ANNOUNCED};
    client_node *n;

    (void)state;
    begin();
    atl_relay_server_limits(world.server)->bandwidth = 4321;
    n = add();
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_IDLE);
    atl_relay_client_want(n->client, 1, 1);
    assert_int_equal(n->n_states, 0); /* told later */
    world_until(&world, is_announced, n, ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->n_states, 3);
    assert_memory_equal(n->states, expect, sizeof(expect));
    assert_string_equal(n->observed, "10.0.2.1:6000");
    assert_int_equal(n->event.bandwidth, 4321);
    assert_int_equal(n->event.expires_ns, 6 * ATL_SECOND);
    assert_int_equal(n->event.retry_ns, 0);
    assert_in_range(n->event.rtt_ns, 9 * ATL_MS, 12 * ATL_MS);
    assert_int_equal(world_stats(&world)->announces, 1);
    run(60 * ATL_SECOND);
    assert_int_equal(n->n_states, 3);
    assert_int_equal(world_stats(&world)->announces, 31);
    assert_int_equal(world_stats(&world)->nodes, 1);
    assert_int_equal(world_stats(&world)->expired, 0);
    /* presence no longer wanted: the registration lapses, the connection stays */
    atl_relay_client_want(n->client, 1, 0);
    run(7 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_CONNECTED);
    assert_int_equal(world_stats(&world)->nodes, 0);
    assert_int_equal(world_stats(&world)->sessions, 1);
    atl_relay_client_want(n->client, 0, 0);
    run(ATL_SECOND);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_IDLE);
    assert_int_equal(world_stats(&world)->sessions, 0);
    finish();
}

/* The relay's host dies without a word and comes back: found out within 3 intervals, back within seconds. */
static void finds_a_dead_relay(void **state) {
    client_node *n;
    uint64_t start;

    (void)state;
    begin();
    n = add_announced();
    run(5 * ATL_SECOND);
    start = sim_now(world.net);
    sim_host_set_down(world.relay.host, 1);
    world_until(&world, is_lost, n, 10 * ATL_SECOND);
    assert_in_range(sim_now(world.net) - start, 4 * ATL_SECOND, 8 * ATL_SECOND + 100 * ATL_MS);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RELAY_LOST);
    assert_in_range(n->event.retry_ns, 500 * ATL_MS, ATL_SECOND);
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    world_until(&world, is_announced, n, 3 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->nodes, 1);
    finish();
}

/* A relay that is killed and started again at once: its stateless reset tells before the announcements are missed. */
static void comes_back_after_a_restart(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    run(3 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 1); /* swallows the last words */
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    run(5 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(atl_relay_client_state(b->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(world_stats(&world)->nodes, 2);
    finish();
}

static void redials_for_ever_with_backoff(void **state) {
    client_node *n;
    uint64_t longest = 0;

    (void)state;
    begin();
    n = add();
    sim_host_set_down(world.relay.host, 1);
    atl_relay_client_want(n->client, 1, 1);
    for (int i = 0; i < 12; i++) {
        world_until(&world, is_lost, n, 80 * ATL_SECOND);
        run(ATL_MS);
        assert_true(n->event.retry_ns >= 990 * ATL_MS);
        assert_true(n->event.retry_ns <= 60 * ATL_SECOND);
        longest = n->event.retry_ns > longest ? n->event.retry_ns : longest;
        run(n->event.retry_ns);
        assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_CONNECTING);
        n->n_states = 0;
    }
    assert_true(longest > 29 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 0);
    world_until(&world, is_announced, n, 80 * ATL_SECOND);
    finish();
}

static void asks_for_names(void **state) {
    client_node *n;

    (void)state;
    begin();
    sim_add_name(world.net, "relay.example", "10.0.0.1");
    n = add();
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns4/relay.example"));
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    atl_relay_client_free(n->client);
    make_client(n, relay_addr("/dns4/nothing.example"));
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 2 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RESOLVE);
    finish();
}

static void another_relay_than_named(void **state) {
    client_node *n;
    char text[256];
    char id[ATLAS_PEER_ID_MAX];

    (void)state;
    begin();
    n = add();
    atl_relay_client_free(n->client);
    atl_peer_id_text(&n->node.id, id);
    (void)snprintf(text, sizeof(text), "/ip4/10.0.0.1/udp/%d/quic-v1/p2p/%s", RELAY_PORT, id);
    make_client(n, text);
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 5 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_PEER_MISMATCH);
    assert_int_equal(world_stats(&world)->nodes, 0);
    finish();
}

static int64_t (*true_wall)(void *user);

static int64_t off_by_an_hour(void *user) {
    return true_wall(user) + 3600 * 1000;
}

static void says_why_it_is_refused(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add();
    true_wall = n->node.env.hooks.wall;
    n->node.env.hooks.wall = off_by_an_hour;
    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_lost, n, 2 * ATL_SECOND);
    run(ATL_MS);
    assert_int_equal(n->event.code, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    assert_true(n->event.retry_ns > 0);
    /* the connection stays, and the announcement is tried again */
    assert_int_equal(world_stats(&world)->sessions, 1);
    run(10 * ATL_SECOND);
    assert_true(world_stats(&world)->refused_drift >= 3);
    n->node.env.hooks.wall = true_wall;
    world_until(&world, is_announced, n, 20 * ATL_SECOND);
    finish();
}

static void a_replaced_node_waits_its_turn(void **state) {
    client_node *old;
    client_node *newer;

    (void)state;
    begin();
    old = add_as(200);
    atl_relay_client_want(old->client, 1, 1);
    world_until(&world, is_announced, old, 2 * ATL_SECOND);
    newer = add_as(200);
    atl_relay_client_want(newer->client, 1, 1);
    world_until(&world, is_announced, newer, 2 * ATL_SECOND);
    run(55 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(old->client), ATLAS_RELAY_REPLACED);
    assert_int_equal(old->event.code, ATLAS_ERR_RELAY_REPLACED);
    assert_int_equal(world_stats(&world)->replaced, 1);
    /* two minutes on it has asked, and yielded */
    run(120 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(newer->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(world_stats(&world)->replaced, 1);
    atl_relay_client_want(newer->client, 0, 0);
    world_until(&world, is_announced, old, 70 * ATL_SECOND);
    finish();
}

static void a_drain_is_obeyed(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    atl_relay_server_drain(world.server, 10 * ATL_SECOND, NULL, NULL);
    run(ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_DRAINS);
    assert_int_equal(a->event.code, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(a->conn_closed, 0); /* circuits go on meanwhile */
    (void)ask(a, &b->node.id);
    run(ATL_MS);
    assert_int_equal(a->failed, 1);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_DRAINING);
    run(8 * ATL_SECOND);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_DRAINS);
    run(3 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    relay_stop(&world);
    relay_start(&world);
    world_until(&world, is_announced, a, 15 * ATL_SECOND);
    world_until(&world, is_announced, b, 15 * ATL_SECOND);
    finish();
}

/* ---- circuits ---- */

static void carries_a_connection(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add(); /* neither connected nor announced */
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(200 * ATL_MS);
    assert_int_equal(a->ready, 1);
    assert_int_equal(b->n_incoming, 1);
    assert_true(atl_peer_id_equal(&b->from, &a->node.id));
    assert_int_equal(b->accepted, 1);
    assert_true(atl_peer_id_equal(atl_qconn_peer(b->conn), &a->node.id));
    assert_int_equal(b->datagrams, 10);
    assert_int_equal(a->datagrams, 10);
    assert_int_equal(world_stats(&world)->nodes, 1);
    assert_int_equal(world_stats(&world)->pairs, 1);
    assert_true(world_stats(&world)->forwarded_packets > 20);
    assert_int_equal(world_stats(&world)->dropped_source, 0);
    run(40 * ATL_SECOND); /* QUIC ends the connection as idle, and then the circuit goes */
    run(60 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(b->conn_closed, 1);
    assert_int_equal(world_stats(&world)->circuits, 0);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_IDLE);
    assert_int_equal(world_stats(&world)->sessions, 1);
    finish();
}

static void unused_circuits_are_closed(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 2 * ATL_SECOND);
    assert_int_equal(a->ready, 1);
    run(14 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 1);
    run(2 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 0);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_ANNOUNCED);
    finish();
}

static void closing_a_circuit_ends_its_connections(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(100 * ATL_MS);
    atl_relay_circuit_close(a->circuit, ATLAS_ERR_CANCELLED);
    assert_int_equal(a->conn_closed, 0); /* not from inside the call */
    run(100 * ATL_MS);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(a->conn_code, ATLAS_ERR_CANCELLED);
    assert_int_equal(b->conn_closed, 1);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

static void requests_fail_with_a_reason(void **state) {
    client_node *a;
    client_node *b;
    atl_peer_id nobody;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    memset(&nobody, 7, sizeof(nobody));
    (void)ask(a, &nobody);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_NOT_REGISTERED);
    assert_true(a->why[0] != '\0');
    b->incoming = ATLAS_ERR_RELAY_REFUSED;
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_REFUSED);
    /* a target whose host has gone */
    sim_host_set_down(b->node.host, 1);
    atl_relay_server_limits(world.server)->handshake_timeout = ATL_SECOND;
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 3 * ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
    /* the relay itself */
    (void)ask(a, &b->node.id);
    atl_relay_client_want(a->client, 0, 0);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_CANCELLED);
    run(ATL_SECOND);
    sim_host_set_down(world.relay.host, 1);
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 13 * ATL_SECOND);
    assert_int_equal(a->failed, 1);
    assert_int_equal(a->ready, 0);
    assert_int_not_equal(a->code, ATLAS_OK);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

static void a_lost_relay_ends_what_it_carried(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    relay_stop(&world);
    run(9 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(b->conn_closed, 1);
    relay_start(&world);
    world_until(&world, is_announced, a, 20 * ATL_SECOND);
    world_until(&world, is_announced, b, 20 * ATL_SECOND);
    a->confirmed = 0;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    finish();
}

static void cancelled_requests_say_nothing(void **state) {
    client_node *a;
    client_node *b;
    atl_relay_request *request;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    for (uint64_t wait = 0; wait < 30 * ATL_MS; wait += 4 * ATL_MS) {
        request = ask(a, &b->node.id);
        run(wait);
        if (!is_answered(a)) {
            atl_relay_request_cancel(request);
            run(ATL_SECOND);
            assert_int_equal(a->ready + a->failed, 0);
            assert_int_equal(world_stats(&world)->circuits, 0);
        }
    }
    assert_true(world_stats(&world)->pairs > 0);
    finish();
}

static void may_be_freed_from_its_upcall(void **state) {
    client_node *n;

    (void)state;
    begin();
    for (int i = 1; i <= 3; i++) {
        n = add();
        atl_relay_client_want(n->client, 1, 1);
        run((uint64_t)i * 12 * ATL_MS);
        n->free_on_state = 1;
        atl_relay_client_want(n->client, 0, 0);
        run(100 * ATL_MS);
        assert_null(n->client);
    }
    run(10 * ATL_SECOND);
    finish();
}

static void freed_with_everything_going_on(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    (void)ask(a, &b->node.id);
    (void)ask(a, &b->node.id);
    run(12 * ATL_MS);
    (void)ask(a, &b->node.id);
    atl_relay_client_free(a->client);
    a->client = NULL;
    run(100 * ATL_MS);
    assert_int_equal(a->failed, 0);
    assert_int_equal(a->conn_closed, 1);
    run(40 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_presence),
        cmocka_unit_test(finds_a_dead_relay),
        cmocka_unit_test(comes_back_after_a_restart),
        cmocka_unit_test(redials_for_ever_with_backoff),
        cmocka_unit_test(asks_for_names),
        cmocka_unit_test(another_relay_than_named),
        cmocka_unit_test(says_why_it_is_refused),
        cmocka_unit_test(a_replaced_node_waits_its_turn),
        cmocka_unit_test(a_drain_is_obeyed),
        cmocka_unit_test(carries_a_connection),
        cmocka_unit_test(unused_circuits_are_closed),
        cmocka_unit_test(closing_a_circuit_ends_its_connections),
        cmocka_unit_test(requests_fail_with_a_reason),
        cmocka_unit_test(a_lost_relay_ends_what_it_carried),
        cmocka_unit_test(cancelled_requests_say_nothing),
        cmocka_unit_test(may_be_freed_from_its_upcall),
        cmocka_unit_test(freed_with_everything_going_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
