#include "hostile.h"

#include <stdio.h>

#define RELAY_PATH "/.well-known/atlas/relay/"

/* ---- the world ---- */

/* 0xffffffff: not one of those that nobody has. */
static uint32_t stranger_index(const atl_addr *addr) {
    const uint8_t *ip = addr->ip;

    return addr->family == 4 && ip[0] == 198 && ip[1] == 51 ? (uint32_t)(ip[2] << 8 | ip[3])
                                                            : UINT32_MAX;
}

static int tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
               size_t len) {
    hostile_world *w = user;
    uint32_t source = stranger_index(from);
    uint32_t target = stranger_index(to);
    captured *c;

    if (source != UINT32_MAX) {
        w->stranger_in[source] += len;
    }
    if (target != UINT32_MAX) {
        w->stranger_out[target] += len;
    }
    if (w->injecting) {
        return 0;
    }
    c = &w->ring[w->n_captured++ % HOSTILE_CAPTURE];
    c->from = *from;
    c->to = *to;
    c->len = len < sizeof(c->data) ? len : sizeof(c->data);
    memcpy(c->data, data, c->len);
    return 0;
}

void hostile_init(hostile_world *w, uint64_t seed) {
    const sim_link link = {10 * ATL_MS, 0, 0, 0, 0, 65507};

    memset(w, 0, sizeof(*w));
    w->ring = calloc(HOSTILE_CAPTURE, sizeof(*w->ring));
    assert_non_null(w->ring);
    w->net = sim_new_quiet(seed);
    w->rng = seed;
    sim_set_link(w->net, &link);
    sim_set_tap(w->net, tap, w);
    sim_node_init(&w->relay, w->net, "203.0.113.10", 1, 4001);
    sim_node_init(&w->a, w->net, "203.0.113.51", 2, 0);
    sim_node_init(&w->b, w->net, "203.0.113.52", 3, 0);
    assert_int_equal(atlas_set_u64(w->relay.ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0), ATLAS_OK);
    assert_int_equal(atlas_relay_start(w->relay.ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_add(w->a.ctx, w->relay.addr), ATLAS_OK);
    assert_int_equal(atlas_relay_add(w->b.ctx, w->relay.addr), ATLAS_OK);
    assert_int_equal(atlas_listen(w->b.ctx), ATLAS_OK);
}

void hostile_done(hostile_world *w) {
    attacker_done(&w->x);
    sim_node_done(&w->a);
    sim_node_done(&w->b);
    sim_node_done(&w->relay);
    sim_free(w->net);
    free(w->ring);
}

int hostile_run(hostile_world *w, double seconds, int (*done)(void *user)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

/* Its own source, so that an attack does not change what the nodes draw. Weyl and mix. */
uint64_t hostile_random(hostile_world *w) {
    uint64_t z = w->rng += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    z = (z ^ (z >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return z ^ (z >> 32);
}

atl_addr hostile_addr(const sim_node *node) {
    atl_addr addr = node->host_ip;
    atl_addr bound;

    assert_int_equal(atl_endpoint_local(node->ctx->ep, 4, &bound), ATLAS_OK);
    addr.port = bound.port;
    return addr;
}

atl_addr hostile_stranger(uint16_t n) {
    const uint8_t ip[4] = {198, 51, (uint8_t)(n >> 8), (uint8_t)n};
    atl_addr addr;

    atl_addr_set4(&addr, ip, (uint16_t)(1024 + n));
    return addr;
}

void hostile_inject(hostile_world *w, const atl_addr *from, const atl_addr *to, const void *data,
                    size_t len) {
    w->injecting = 1;
    sim_inject(w->net, from, to, data, len);
    w->injecting = 0;
}

size_t hostile_check_amplification(const hostile_world *w) {
    size_t answered = 0;
    size_t i;

    for (i = 0; i < ATL_COUNT(w->stranger_in); i++) {
        assert_true(w->stranger_out[i] <= 3 * w->stranger_in[i]);
        answered += w->stranger_out[i] > 0;
    }
    return answered;
}

atlas_relay_stats hostile_relay_stats(const hostile_world *w) {
    atlas_relay_stats stats = {.size = sizeof(stats)};

    assert_int_equal(atlas_relay_get_stats(w->relay.ctx, &stats), ATLAS_OK);
    return stats;
}

const atl_endpoint_stats *hostile_stats(const sim_node *node) {
    return atl_endpoint_get_stats(node->ctx->ep);
}

/* ---- what the honest ones do ---- */

int hostile_b_announced(void *w) {
    return ((hostile_world *)w)->b.relay_state == ATLAS_RELAY_ANNOUNCED;
}

int hostile_a_settled(void *w) {
    return ((hostile_world *)w)->a.connected > 0 || ((hostile_world *)w)->a.closed > 0;
}

int hostile_a_closed(void *w) {
    return ((hostile_world *)w)->a.closed > 0;
}

int hostile_b_has_all(void *w) {
    return ((hostile_world *)w)->b.got_fin;
}

int hostile_a_sent(void *w) {
    const sim_node *a = &((hostile_world *)w)->a;

    return a->sent == a->sent_next;
}

void hostile_connect(hostile_world *w) {
    sim_cut(w->net, w->a.host, w->b.host, 1);
    assert_int_equal(atlas_relay_presence(w->b.ctx, 1), ATLAS_OK);
    assert_true(hostile_run(w, 20, hostile_b_announced));
    assert_int_equal(sim_node_dial(&w->a, atlas_self_id(w->b.ctx), 0), ATLAS_OK);
    assert_true(hostile_run(w, 20, hostile_a_settled));
    assert_int_equal(w->a.connected, 1);
    assert_int_equal(w->a.path, ATLAS_PATH_RELAY);
    hostile_check_served(w);
}

void hostile_check_served(hostile_world *w) {
    int before = w->b.messages;

    assert_int_equal(w->a.closed, 0);
    assert_int_equal(sim_node_message(&w->a, "still here"), ATLAS_OK);
    assert_true(hostile_run(w, 5, hostile_a_sent));
    assert_int_equal(w->a.sent_code, ATLAS_OK);
    assert_int_equal(w->b.messages, before + 1);
    assert_string_equal(w->b.last_message, "still here");
}

/* ---- the attacker ---- */

static uint64_t known(void *user, uint64_t type) {
    return atl_relay_known(user, type);
}

static int32_t on_capsule(void *user, uint64_t type, const uint8_t *value, size_t len) {
    attacker *x = user;
    atl_relay_error error;
    atl_relay_ready ready;

    if (type == ATL_RELAY_ERROR && atl_relay_error_decode(value, len, &error) == ATLAS_OK) {
        x->errors++;
        x->error = error.code;
    } else if (type == ATL_RELAY_READY && atl_relay_ready_decode(value, len, &ready) == ATLAS_OK) {
        x->last_ready = ready;
        x->waiting += ready.status == ATL_RELAY_STATUS_WAITING;
        x->paired += ready.status == ATL_RELAY_STATUS_READY;
    } else if (type == ATL_RELAY_INCOMING) {
        assert_int_equal(atl_relay_incoming_decode(value, len, &x->last_incoming), ATLAS_OK);
        x->incoming++;
    } else {
        x->other++;
    }
    return ATLAS_OK;
}

static void on_ready(void *user, atl_h3 *h3) {
    (void)h3;
    ((attacker *)user)->ready = 1;
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    attacker *x = user;

    (void)stream;
    x->status = status;
    x->responses++;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    attacker *x = user;

    if (stream == x->control) {
        assert_int_equal(atl_capsule_feed(&x->parser, data, len), ATLAS_OK);
    }
}

static void on_end(void *user, atl_h3_stream *stream) {
    attacker *x = user;

    x->ended += stream == x->control;
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    attacker *x = user;

    x->streams_closed++;
    if (stream == x->control) {
        x->control = NULL;
    }
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    attacker *x = user;

    (void)h3;
    x->closed = 1;
    x->why = *why;
    x->why.text = NULL;
    x->h3 = NULL;
    x->control = NULL;
}

static const atl_h3_ops OPS = {
    .on_ready = on_ready,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_closed = on_closed,
};

void attacker_init(hostile_world *w, uint8_t seed) {
    attacker *x = &w->x;

    memset(x, 0, sizeof(*x));
    x->world = w;
    pair_init(&x->node, w->net, "203.0.113.66", seed, 6666);
    atl_capsule_parser_init(&x->parser, &x->node.env, known, on_capsule, x);
}

void attacker_done(attacker *x) {
    if (x->world == NULL) {
        return;
    }
    if (x->h3 != NULL) {
        atl_h3_abort(x->h3);
    }
    atl_capsule_parser_free(&x->parser);
    pair_done(&x->node);
    sim_host_program(x->node.host, NULL, NULL, NULL);
    x->world = NULL;
}

int attacker_is_ready(void *w) {
    const attacker *x = &((hostile_world *)w)->x;

    return x->ready || x->closed;
}

static int answered(void *w) {
    const attacker *x = &((hostile_world *)w)->x;

    return x->status != 0 || x->closed;
}

void attacker_connect(attacker *x, int control) {
    static const atl_qconn_ops none;
    atl_qpath path;
    atl_qconn *conn;

    memset(&path, 0, sizeof(path));
    path.remote = hostile_addr(&x->world->relay);
    x->ready = x->closed = x->ended = 0;
    assert_int_equal(atl_qconn_connect(x->node.ep, &path, ATL_PROTO_H3, &x->world->relay.ctx->self,
                                       0, &none, NULL, &conn),
                     ATLAS_OK);
    assert_int_equal(atl_h3_new(conn, &OPS, x, &x->h3), ATLAS_OK);
    assert_true(hostile_run(x->world, 20, attacker_is_ready));
    if (control) {
        assert_int_equal(attacker_request(x, "CONNECT", RELAY_PATH, "atlas-relay"), ATLAS_OK);
        assert_true(hostile_run(x->world, 20, answered));
        assert_int_equal(x->status, 200);
    }
}

int32_t attacker_request(attacker *x, const char *method, const char *path, const char *protocol) {
    const atl_h3_request request = {method, "https",  "203.0.113.10:4001",
                                    path,   protocol, protocol[0] != '\0'};
    atl_h3_stream *stream;
    int32_t rv = atl_h3_open(x->h3, &request, NULL, &stream);

    if (rv == ATLAS_OK && protocol[0] != '\0') {
        x->status = 0;
        x->control = stream;
    }
    return rv;
}

int32_t attacker_write(attacker *x, const void *data, size_t len) {
    return x->control == NULL ? ATLAS_ERR_CLOSED : atl_h3_write(x->control, data, len);
}

void attacker_announce(attacker *x, const atl_peer_id *id, int64_t shift_ms) {
    atl_relay_announce msg = {*id, (uint64_t)(atl_env_wall_ms(&x->node.env) + shift_ms), 0};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    assert_int_equal(atl_relay_announce_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    (void)attacker_write(x, buf, len);
}

void attacker_ask(attacker *x, uint64_t request, const atl_peer_id *source,
                  const atl_peer_id *target) {
    atl_relay_connect msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.request = request;
    msg.source = *source;
    msg.target = *target;
    msg.timestamp = (uint64_t)atl_env_wall_ms(&x->node.env);
    memset(msg.receive_id, 0x51, sizeof(msg.receive_id));
    assert_int_equal(atl_relay_connect_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    (void)attacker_write(x, buf, len);
}

void attacker_accept(attacker *x) {
    atl_relay_accept msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.circuit = x->last_incoming.circuit;
    memset(msg.receive_id, 0x52, sizeof(msg.receive_id));
    assert_int_equal(atl_relay_accept_encode(&msg, buf, sizeof(buf), &len), ATLAS_OK);
    (void)attacker_write(x, buf, len);
}

int attacker_got_error(void *w) {
    const attacker *x = &((hostile_world *)w)->x;

    return x->errors > 0 || x->closed;
}

int attacker_got_waiting(void *w) {
    const attacker *x = &((hostile_world *)w)->x;

    return x->waiting > 0 || x->closed;
}

int attacker_got_incoming(void *w) {
    const attacker *x = &((hostile_world *)w)->x;

    return x->incoming > 0 || x->closed;
}

int attacker_is_closed(void *w) {
    return ((hostile_world *)w)->x.closed;
}
