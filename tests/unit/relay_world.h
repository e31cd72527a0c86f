/* A relay on the simulated network and nodes that speak its protocol by hand, for the tests of
 * relay/. */
#ifndef ATL_TESTS_UNIT_RELAY_WORLD_H
#define ATL_TESTS_UNIT_RELAY_WORLD_H

#include "http3/session.h"
#include "relay/messages.h"
#include "relay/server.h"

#include "quic_pair.h"

#include <stdio.h>

#define RELAY_PORT 4433
#define RAW_MAX 512
#define RELAY_IDLE (90 * ATL_SECOND) /* as contexts have it */

typedef struct raw_capsule {
    uint64_t type;
    size_t len;
    uint8_t value[ATL_RELAY_VALUE_MAX];
} raw_capsule;

/* A node whose control connection the test works itself. */
typedef struct raw_node {
    pair_node node;
    atl_h3 *h3;
    atl_h3_stream *stream; /* the last request */
    atl_capsule_parser parser;
    int ready, closed, ended, goaway;
    int32_t status;
    char body[8192];
    size_t body_len;
    atl_qclose why;
    size_t n; /* capsules so far; the last RAW_MAX are kept */
    raw_capsule got[RAW_MAX];
} raw_node;

typedef struct relay_world {
    sim_net *net;
    size_t bytes;       /* of the relay's heap, without what wolfSSL takes */
    size_t allocations; /* so far */
    size_t fail_at;     /* the allocation (from 1) that fails, and all after it; 0: none */
    pair_node relay;
    atl_relay_server *server;
    atl_relay_limits limits;
    raw_node raw[4];
    size_t n_raw;
} relay_world;

/* ---- the relay's memory: each block begins with its size ---- */

#define BLOCK_HEAD 16

static relay_world *counted; /* the hooks' user is the simulated host */

PAIR_UNUSED static void *counted_malloc(void *user, size_t size) {
    relay_world *w = counted;
    uint8_t *block;

    (void)user;
    w->allocations++;
    if (w->fail_at != 0 && w->allocations >= w->fail_at) {
        return NULL;
    }
    block = malloc(size + BLOCK_HEAD);
    if (block == NULL) {
        return NULL;
    }
    memcpy(block, &size, sizeof(size));
    w->bytes += size;
    return block + BLOCK_HEAD;
}

PAIR_UNUSED static void counted_free(void *user, void *ptr) {
    relay_world *w = counted;
    size_t size;

    (void)user;
    if (ptr != NULL) {
        memcpy(&size, (uint8_t *)ptr - BLOCK_HEAD, sizeof(size));
        w->bytes -= size;
        free((uint8_t *)ptr - BLOCK_HEAD);
    }
}

PAIR_UNUSED static void *counted_realloc(void *user, void *ptr, size_t size) {
    uint8_t *moved = counted_malloc(user, size);
    size_t old = 0;

    if (moved != NULL && ptr != NULL) {
        memcpy(&old, (uint8_t *)ptr - BLOCK_HEAD, sizeof(old));
        memcpy(moved, ptr, old < size ? old : size);
        counted_free(user, ptr);
    }
    return moved;
}

/* ---- the relay ---- */

PAIR_UNUSED static int32_t relay_accept(pair_node *node, atl_qconn *conn) {
    relay_world *w = node->user;

    return w->server == NULL ? ATLAS_ERR_UNSUPPORTED : atl_relay_server_accept(w->server, conn);
}

PAIR_UNUSED static size_t relay_forward(void *user, void *ptr, const atl_rx *rx) {
    relay_world *w = ((pair_node *)user)->user;

    return atl_relay_server_on_forward(w->server, ptr, rx);
}

PAIR_UNUSED static void relay_batch_end(void *user) {
    relay_world *w = ((pair_node *)user)->user;

    if (w->server != NULL) {
        atl_relay_server_on_batch_end(w->server);
    }
}

PAIR_UNUSED static void relay_start(relay_world *w) {
    w->relay.accept = relay_accept;
    w->relay.user = w;
    w->relay.ep_hooks.on_forward = relay_forward;
    w->relay.ep_hooks.on_batch_end = relay_batch_end;
    pair_open(&w->relay, RELAY_PORT);
    atl_endpoint_params(w->relay.ep)->idle_timeout = RELAY_IDLE;
    assert_int_equal(atl_relay_server_new(w->relay.ep, &w->limits, &w->server), ATLAS_OK);
}

PAIR_UNUSED static void relay_stop(relay_world *w) {
    atl_relay_server_free(w->server);
    w->server = NULL;
    atl_endpoint_free(w->relay.ep);
    w->relay.ep = NULL;
}

PAIR_UNUSED static void world_start(relay_world *w) {
    sim_link link = {.delay = 5 * ATL_MS, .mtu = 1500};

    memset(w, 0, sizeof(*w));
    w->limits.max_nodes = 100;
    w->limits.max_circuits = 100;
    w->limits.max_circuits_per_node = 10;
    w->limits.max_per_ipv4 = 10;
    w->limits.max_per_ipv6_64 = 10;
    w->limits.handshakes = 32;
    w->limits.presence_interval = 2 * ATL_SECOND;
    w->limits.handshake_timeout = 10 * ATL_SECOND;
    w->limits.max_clock_drift = 300;
    w->net = sim_new(7);
    sim_set_link(w->net, &link);
    pair_init(&w->relay, w->net, "10.0.0.1", 1, RELAY_PORT);
    atl_endpoint_free(w->relay.ep);
    counted = w;
    w->relay.env.hooks.malloc = counted_malloc;
    w->relay.env.hooks.realloc = counted_realloc;
    w->relay.env.hooks.free = counted_free;
    relay_start(w);
}

PAIR_UNUSED static const atlas_relay_stats *world_stats(relay_world *w) {
    static atlas_relay_stats stats;

    atl_relay_server_stats(w->server, &stats);
    return &stats;
}

/* Lets `ns` of virtual time go by. */
PAIR_UNUSED static void world_run(relay_world *w, uint64_t ns) {
    (void)sim_run(w->net, sim_now(w->net) + ns, NULL, NULL);
}

/* Runs until `done`, for at most `ns`. */
PAIR_UNUSED static void world_until(relay_world *w, int (*done)(void *user), void *user,
                                    uint64_t ns) {
    assert_int_equal(sim_run(w->net, sim_now(w->net) + ns, done, user), 1);
}

/* ---- nodes by hand ---- */

PAIR_UNUSED static uint64_t raw_known(void *user, uint64_t type) {
    return atl_relay_known(user, type);
}

PAIR_UNUSED static int32_t raw_capsule_in(void *user, uint64_t type, const uint8_t *value,
                                          size_t len) {
    raw_node *raw = user;
    raw_capsule *out = &raw->got[raw->n++ % RAW_MAX];

    out->type = type;
    out->len = len;
    memcpy(out->value, value, len);
    return ATLAS_OK;
}

PAIR_UNUSED static void raw_ready(void *user, atl_h3 *h3) {
    (void)h3;
    ((raw_node *)user)->ready = 1;
}

PAIR_UNUSED static void raw_response(void *user, atl_h3_stream *stream, int32_t status) {
    raw_node *raw = user;

    if (stream == raw->stream) {
        raw->status = status;
    }
}

PAIR_UNUSED static void raw_data(void *user, atl_h3_stream *stream, const uint8_t *data,
                                 size_t len) {
    raw_node *raw = user;

    if (atl_h3_stream_user(stream) != NULL) {
        assert_int_equal(atl_capsule_feed(&raw->parser, data, len), ATLAS_OK);
        return;
    }
    assert_true(raw->body_len + len < sizeof(raw->body));
    memcpy(raw->body + raw->body_len, data, len);
    raw->body_len += len;
    raw->body[raw->body_len] = '\0';
}

PAIR_UNUSED static void raw_end(void *user, atl_h3_stream *stream) {
    raw_node *raw = user;

    raw->ended += stream == raw->stream;
}

PAIR_UNUSED static void raw_stream_closed(void *user, atl_h3_stream *stream) {
    raw_node *raw = user;

    if (stream == raw->stream) {
        raw->stream = NULL;
    }
}

PAIR_UNUSED static void raw_goaway(void *user, atl_h3 *h3) {
    (void)h3;
    ((raw_node *)user)->goaway = 1;
}

PAIR_UNUSED static void raw_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    raw_node *raw = user;

    (void)h3;
    raw->closed = 1;
    raw->why = *why;
    raw->why.text = NULL;
    raw->h3 = NULL;
    raw->stream = NULL;
}

static const atl_h3_ops raw_ops = {
    .on_ready = raw_ready,
    .on_response = raw_response,
    .on_data = raw_data,
    .on_end = raw_end,
    .on_stream_closed = raw_stream_closed,
    .on_goaway = raw_goaway,
    .on_closed = raw_closed,
};

PAIR_UNUSED static int raw_is_ready(void *user) {
    return ((raw_node *)user)->ready || ((raw_node *)user)->closed;
}

PAIR_UNUSED static int raw_is_closed(void *user) {
    return ((raw_node *)user)->closed;
}

PAIR_UNUSED static int raw_has_status(void *user) {
    return ((raw_node *)user)->status != 0 || ((raw_node *)user)->closed;
}

PAIR_UNUSED static int raw_has_capsule(void *user) {
    return ((raw_node *)user)->n > 0 || ((raw_node *)user)->closed;
}

PAIR_UNUSED static void raw_dial(relay_world *w, raw_node *raw) {
    static const atl_qconn_ops none;
    atl_qpath path = pair_path(&w->relay);
    atl_qconn *conn;

    raw->closed = raw->ready = raw->ended = 0;
    raw->n = 0;
    raw->status = 0;
    assert_int_equal(
        atl_qconn_connect(raw->node.ep, &path, ATL_PROTO_H3, &w->relay.id, 0, &none, NULL, &conn),
        ATLAS_OK);
    assert_int_equal(atl_h3_new(conn, &raw_ops, raw, &raw->h3), ATLAS_OK);
    world_until(w, raw_is_ready, raw, 5 * ATL_SECOND);
}

/* A further node with its HTTP/3 connection. `seed` makes its identity. */
PAIR_UNUSED static raw_node *raw_new_as(relay_world *w, uint8_t seed) {
    raw_node *raw = &w->raw[w->n_raw];
    char ip[32];

    (void)snprintf(ip, sizeof(ip), "10.0.1.%zu", ++w->n_raw);
    memset(raw, 0, sizeof(*raw));
    pair_init(&raw->node, w->net, ip, seed, 5000);
    atl_endpoint_params(raw->node.ep)->idle_timeout = RELAY_IDLE;
    atl_capsule_parser_init(&raw->parser, &raw->node.env, raw_known, raw_capsule_in, raw);
    raw_dial(w, raw);
    return raw;
}

PAIR_UNUSED static void raw_request(relay_world *w, raw_node *raw, const char *method,
                                    const char *path, const char *protocol, int capsules) {
    atl_h3_request request = {method, "https", "10.0.0.1:4433", path, protocol, capsules};

    raw->status = 0;
    raw->body_len = 0;
    assert_int_equal(atl_h3_open(raw->h3, &request, protocol[0] != '\0' ? raw : NULL, &raw->stream),
                     ATLAS_OK);
    world_until(w, raw_has_status, raw, 5 * ATL_SECOND);
}

/* A node with its control stream open. */
PAIR_UNUSED static raw_node *raw_new(relay_world *w) {
    raw_node *raw = raw_new_as(w, (uint8_t)(10 + w->n_raw));

    raw_request(w, raw, "CONNECT", "/.well-known/atlas/relay/", "atlas-relay", 1);
    assert_int_equal(raw->status, 200);
    return raw;
}

PAIR_UNUSED static void raw_send(raw_node *raw, const uint8_t *data, size_t len) {
    if (raw->stream != NULL) {
        assert_int_equal(atl_h3_write(raw->stream, data, len), ATLAS_OK);
    }
}

PAIR_UNUSED static void raw_announce_as(raw_node *raw, const atl_peer_id *id, int64_t shift_ms,
                                        int yield) {
    atl_relay_announce msg = {*id, (uint64_t)(atl_env_wall_ms(&raw->node.env) + shift_ms),
                              (uint8_t)yield};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_relay_announce_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    raw_send(raw, buf, len);
}

PAIR_UNUSED static void raw_connect_as(raw_node *raw, uint64_t request, const atl_peer_id *source,
                                       const atl_peer_id *target) {
    atl_relay_connect msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.request = request;
    msg.source = *source;
    msg.target = *target;
    msg.timestamp = (uint64_t)atl_env_wall_ms(&raw->node.env);
    memset(msg.receive_id, 0x51, sizeof(msg.receive_id));
    assert_int_equal(atl_relay_connect_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    raw_send(raw, buf, len);
}

PAIR_UNUSED static void raw_accept(raw_node *raw, uint64_t circuit, int32_t code) {
    atl_relay_accept msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.circuit = circuit;
    msg.code = code;
    memset(msg.receive_id, 0x52, sizeof(msg.receive_id));
    assert_int_equal(atl_relay_accept_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    raw_send(raw, buf, len);
}

PAIR_UNUSED static void raw_close_circuit(raw_node *raw, uint64_t circuit) {
    atl_relay_close msg = {circuit, ATLAS_OK};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_relay_close_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    raw_send(raw, buf, len);
}

/* The next capsule, which must be of this type; forgets it. */
PAIR_UNUSED static const raw_capsule *raw_expect(relay_world *w, raw_node *raw, uint64_t type) {
    static raw_capsule out;

    world_until(w, raw_has_capsule, raw, 5 * ATL_SECOND);
    assert_true(raw->n > 0);
    assert_true(raw->n <= RAW_MAX);
    out = raw->got[0];
    memmove(&raw->got[0], &raw->got[1], (raw->n - 1) * sizeof(out));
    raw->n--;
    assert_int_equal(out.type, type);
    return &out;
}

/* The next capsule is an error with this code. */
PAIR_UNUSED static atl_relay_error raw_expect_error(relay_world *w, raw_node *raw, int32_t code) {
    const raw_capsule *capsule = raw_expect(w, raw, ATL_RELAY_ERROR);
    atl_relay_error msg;

    assert_int_equal(atl_relay_error_decode(capsule->value, capsule->len, &msg), ATLAS_OK);
    assert_int_equal(msg.code, code);
    return msg;
}

PAIR_UNUSED static atl_relay_ready raw_expect_ready(relay_world *w, raw_node *raw, uint8_t status) {
    const raw_capsule *capsule = raw_expect(w, raw, ATL_RELAY_READY);
    atl_relay_ready msg;

    assert_int_equal(atl_relay_ready_decode(capsule->value, capsule->len, &msg), ATLAS_OK);
    assert_int_equal(msg.status, status);
    return msg;
}

PAIR_UNUSED static atl_relay_incoming raw_expect_incoming(relay_world *w, raw_node *raw) {
    const raw_capsule *capsule = raw_expect(w, raw, ATL_RELAY_INCOMING);
    atl_relay_incoming msg;

    assert_int_equal(atl_relay_incoming_decode(capsule->value, capsule->len, &msg), ATLAS_OK);
    return msg;
}

PAIR_UNUSED static atl_relay_close raw_expect_close(relay_world *w, raw_node *raw) {
    const raw_capsule *capsule = raw_expect(w, raw, ATL_RELAY_CLOSE);
    atl_relay_close msg;

    assert_int_equal(atl_relay_close_decode(capsule->value, capsule->len, &msg), ATLAS_OK);
    return msg;
}

PAIR_UNUSED static void raw_announce(relay_world *w, raw_node *raw) {
    raw_announce_as(raw, &raw->node.id, 0, 0);
    (void)raw_expect_ready(w, raw, ATL_RELAY_STATUS_WAITING);
}

/* A paired circuit between two announced nodes. */
typedef struct raw_circuit {
    uint64_t number;
    uint8_t source_sends[ATL_CID_LEN];
    uint8_t target_sends[ATL_CID_LEN];
} raw_circuit;

PAIR_UNUSED static raw_circuit raw_pair(relay_world *w, raw_node *source, raw_node *target,
                                        uint64_t request) {
    raw_circuit out;
    atl_relay_incoming incoming;
    atl_relay_ready ready;

    raw_connect_as(source, request, &source->node.id, &target->node.id);
    incoming = raw_expect_incoming(w, target);
    assert_true(atl_peer_id_equal(&incoming.source, &source->node.id));
    raw_accept(target, incoming.circuit, ATLAS_OK);
    ready = raw_expect_ready(w, source, ATL_RELAY_STATUS_READY);
    assert_int_equal(ready.request, request);
    assert_int_equal(ready.circuit, incoming.circuit);
    out.number = ready.circuit;
    memcpy(out.source_sends, ready.send_id, ATL_CID_LEN);
    memcpy(out.target_sends, incoming.send_id, ATL_CID_LEN);
    return out;
}

/* The node's address as the relay sees it, and the relay's. */
PAIR_UNUSED static atl_addr raw_addr(raw_node *raw) {
    return pair_path(&raw->node).remote;
}

PAIR_UNUSED static void world_done(relay_world *w) {
    for (size_t i = 0; i < w->n_raw; i++) {
        raw_node *raw = &w->raw[i];

        if (raw->h3 != NULL) {
            atl_h3_abort(raw->h3);
        }
        atl_capsule_parser_free(&raw->parser);
        pair_done(&raw->node);
    }
    if (w->server != NULL) {
        atl_relay_server_free(w->server);
    }
    pair_done(&w->relay);
    assert_int_equal(w->bytes, 0);
    sim_free(w->net);
}

#endif
