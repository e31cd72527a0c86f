/* A relay and nodes with relay clients on the simulated network. */
#ifndef ATL_TESTS_UNIT_RELAY_NODES_H
#define ATL_TESTS_UNIT_RELAY_NODES_H

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
    uint32_t healths[STATES]; /* as they changed */
    size_t n_healths;
    size_t n_news;
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

PAIR_UNUSED static void on_state(void *user, atl_relay_client *client) {
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

PAIR_UNUSED static int32_t on_incoming(void *user, atl_relay_client *client,
                                       const atl_peer_id *source) {
    client_node *n = user;

    assert_ptr_equal(client, n->client);
    n->n_incoming++;
    n->from = *source;
    return n->incoming;
}

PAIR_UNUSED static void on_news(void *user, atl_relay_client *client) {
    client_node *n = user;
    uint32_t health = atl_relay_client_health(client);

    n->n_news++;
    if (n->n_healths == 0 || n->healths[n->n_healths - 1] != health) {
        assert_true(n->n_healths < STATES);
        n->healths[n->n_healths++] = health;
    }
}

static const atl_relay_client_ops client_ops = {on_state, on_incoming, on_news};

PAIR_UNUSED static void c_confirmed(void *user, atl_qconn *conn) {
    client_node *n = user;
    uint8_t data[1000] = {1};

    n->confirmed++;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(atl_qconn_send_datagram(conn, data, sizeof(data)), ATLAS_OK);
    }
}

PAIR_UNUSED static void c_datagram(void *user, atl_qconn *conn, const uint8_t *data, size_t len) {
    client_node *n = user;

    (void)data;
    n->datagrams++;
    if (n->accepted) {
        (void)atl_qconn_send_datagram(conn, data, len);
    }
}

PAIR_UNUSED static void c_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    client_node *n = user;

    (void)conn;
    n->conn = NULL;
    n->conn_closed++;
    n->conn_code = why->code;
}

PAIR_UNUSED static const atl_qconn_ops conn_ops = {
    .on_confirmed = c_confirmed, .on_datagram = c_datagram, .on_closed = c_closed};
PAIR_UNUSED static const atl_qconn_ops accepted_ops = {.on_datagram = c_datagram,
                                                       .on_closed = c_closed};

PAIR_UNUSED static int32_t accept_conn(pair_node *node, atl_qconn *conn) {
    client_node *n = node->user;

    n->accepted++;
    n->conn = conn;
    atl_qconn_set_ops(conn, &accepted_ops, n);
    return ATLAS_OK;
}

PAIR_UNUSED static void r_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    client_node *n = user;
    atl_qpath path;

    assert_non_null(request);
    n->ready++;
    n->circuit = circuit;
    if (n->dial) {
        memset(&path, 0, sizeof(path));
        path.circuit = circuit;
        assert_int_equal(atl_qconn_connect(n->node.ep, &path, ATL_PROTO_ATLAS, &circuit->peer, 0,
                                           &conn_ops, n, &n->conn),
                         ATLAS_OK);
    }
}

PAIR_UNUSED static void r_failed(void *user, atl_relay_request *request, int32_t code,
                                 const char *text) {
    client_node *n = user;

    assert_non_null(request);
    n->failed++;
    n->code = code;
    (void)snprintf(n->why, sizeof(n->why), "%s", text);
}

PAIR_UNUSED static const atl_relay_request_ops request_ops = {r_ready, r_failed};

/* ---- the stage ---- */

PAIR_UNUSED static void make_client(client_node *n, const char *addr) {
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

PAIR_UNUSED static client_node *add_as(uint8_t seed) {
    client_node *n = &nodes[n_nodes++];
    char ip[32];

    (void)snprintf(ip, sizeof(ip), "10.0.2.%zu", n_nodes);
    memset(n, 0, sizeof(*n));
    n->presence_interval = 2 * ATL_SECOND;
    n->handshake_timeout = 10 * ATL_SECOND;
    n->max_clock_drift = 300;
    pair_init(&n->node, world.net, ip, seed, 6000);
    atl_endpoint_params(n->node.ep)->idle_timeout = RELAY_IDLE;
    n->node.user = n;
    n->node.accept = accept_conn;
    make_client(n, relay_addr("/ip4/10.0.0.1"));
    return n;
}

PAIR_UNUSED static client_node *add(void) {
    return add_as((uint8_t)(100 + n_nodes));
}

PAIR_UNUSED static void begin(void) {
    n_nodes = 0;
    world_start(&world);
}

PAIR_UNUSED static void finish(void) {
    for (size_t i = 0; i < n_nodes; i++) {
        atl_relay_client_free(nodes[i].client);
        pair_done(&nodes[i].node);
    }
    world_done(&world);
}

PAIR_UNUSED static void run(uint64_t ns) {
    world_run(&world, ns);
}

/* A call from outside the turn of a node that was quiet: its clock is read first. */
PAIR_UNUSED static atl_relay_client *at(client_node *n) {
    (void)atl_loop_update(&n->node.loop);
    return n->client;
}

PAIR_UNUSED static int is_announced(void *user) {
    client_node *n = user;

    return atl_relay_client_state(n->client) == ATLAS_RELAY_ANNOUNCED;
}

PAIR_UNUSED static int is_lost(void *user) {
    return atl_relay_client_state(((client_node *)user)->client) == ATLAS_RELAY_LOST;
}

PAIR_UNUSED static int is_answered(void *user) {
    return ((client_node *)user)->ready || ((client_node *)user)->failed;
}

PAIR_UNUSED static int is_confirmed(void *user) {
    return ((client_node *)user)->confirmed;
}

PAIR_UNUSED static client_node *add_announced(void) {
    client_node *n = add();

    atl_relay_client_want(n->client, 1, 1);
    world_until(&world, is_announced, n, 2 * ATL_SECOND);
    return n;
}

PAIR_UNUSED static atl_relay_request *ask(client_node *n, const atl_peer_id *target) {
    atl_relay_request *request = NULL;

    n->ready = n->failed = 0;
    assert_int_equal(
        atl_relay_client_request(at(n), target, 12 * ATL_SECOND, &request_ops, n, &request),
        ATLAS_OK);
    assert_int_equal(n->ready + n->failed, 0);
    return request;
}

#endif
