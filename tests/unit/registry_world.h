/* A registry on a relay server on the simulated network, and clients that speak HTTP/3 to it: with
 * a certificate or without, in one piece or byte by byte. Include cmocka before this. */
#ifndef ATL_TESTS_UNIT_REGISTRY_WORLD_H
#define ATL_TESTS_UNIT_REGISTRY_WORLD_H

#include "discovery/registry_internal.h"
#include "http3/internal.h"
#include "quic/tls_session.h"

#include "relay_world.h"

#define CLIENTS 6
#define ANSWER_MAX 80000
#define AUTHORITY "10.0.0.1:4433"

/* A request and what came of it. */
typedef struct asking {
    atl_h3_stream *stream; /* NULL once it has ended */
    int32_t status;
    int ended, closed;
    size_t len;
    char body[ANSWER_MAX + 1];
} asking;

typedef struct client {
    pair_node node;
    atl_h3 *h3;
    int ready, closed;
    asking last; /* what ask() has asked */
} client;

typedef struct registry_world {
    relay_world r;
    atl_registry_http *registry;
    atl_registry_http_config config;
    uint64_t ttl, drift;
    client clients[CLIENTS];
    size_t n_clients;
} registry_world;

/* ---- the registry ---- */

PAIR_UNUSED static int32_t registry_open(registry_world *w) {
    w->config.loop = &w->r.relay.loop;
    w->config.ttl = &w->ttl;
    w->config.max_clock_drift = &w->drift;
    atl_loop_update(&w->r.relay.loop);
    return atl_registry_http_new(&w->config, &w->registry);
}

PAIR_UNUSED static void registry_serve(registry_world *w) {
    assert_int_equal(registry_open(w), ATLAS_OK);
    atl_registry_http_set_put_rate(w->registry, 0, 0);
    assert_int_equal(
        atl_relay_server_add_requests(w->r.server, &atl_registry_http_ops, w->registry), ATLAS_OK);
}

PAIR_UNUSED static void registry_world_start(registry_world *w, const char *path) {
    memset(w, 0, sizeof(*w));
    world_start(&w->r);
    counted = &w->r;
    w->ttl = 3600;
    w->drift = 300;
    w->config.path = path;
    w->config.limits.max_records = 1000;
    w->config.limits.max_per_ipv4 = 500;
    w->config.limits.max_per_ipv6_64 = 500;
    registry_serve(w);
}

PAIR_UNUSED static void registry_world_run(registry_world *w, uint64_t ns) {
    world_run(&w->r, ns);
}

/* The server ends; its clients find out by themselves. */
PAIR_UNUSED static void registry_stop(registry_world *w) {
    relay_stop(&w->r);
    atl_registry_http_free(w->registry);
    w->registry = NULL;
}

PAIR_UNUSED static void registry_world_done(registry_world *w) {
    for (size_t i = 0; i < w->n_clients; i++) {
        if (w->clients[i].h3 != NULL) {
            atl_h3_abort(w->clients[i].h3);
        }
        pair_done(&w->clients[i].node);
    }
    atl_relay_server_free(w->r.server);
    w->r.server = NULL;
    atl_registry_http_free(w->registry);
    world_done(&w->r);
}

PAIR_UNUSED static const atl_registry_http_stats *registry_stats(const registry_world *w) {
    return atl_registry_http_get_stats(w->registry);
}

PAIR_UNUSED static const atl_record_store_stats *store_stats(const registry_world *w) {
    return atl_record_store_get_stats(w->registry->store);
}

/* 1 and the view, or 0. */
PAIR_UNUSED static int stored(const registry_world *w, const atl_peer_id *id,
                              atl_record_view *out) {
    return atl_record_store_get(w->registry->store, id, w->r.relay.loop.now, out);
}

/* ---- clients ---- */

PAIR_UNUSED static void client_ready(void *user, atl_h3 *h3) {
    (void)h3;
    ((client *)user)->ready = 1;
}

PAIR_UNUSED static void client_response(void *user, atl_h3_stream *stream, int32_t status) {
    (void)user;
    ((asking *)atl_h3_stream_user(stream))->status = status;
}

PAIR_UNUSED static void client_data(void *user, atl_h3_stream *stream, const uint8_t *data,
                                    size_t len) {
    asking *a = atl_h3_stream_user(stream);

    (void)user;
    assert_true(a->len + len <= ANSWER_MAX);
    memcpy(a->body + a->len, data, len);
    a->len += len;
    a->body[a->len] = '\0';
}

PAIR_UNUSED static void client_end(void *user, atl_h3_stream *stream) {
    (void)user;
    ((asking *)atl_h3_stream_user(stream))->ended = 1;
}

PAIR_UNUSED static void client_stream_closed(void *user, atl_h3_stream *stream) {
    asking *a = atl_h3_stream_user(stream);

    (void)user;
    a->closed = 1;
    a->stream = NULL;
}

PAIR_UNUSED static void client_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    (void)h3;
    (void)why;
    ((client *)user)->closed = 1;
    ((client *)user)->h3 = NULL;
}

static const atl_h3_ops client_ops = {
    .on_ready = client_ready,
    .on_response = client_response,
    .on_data = client_data,
    .on_end = client_end,
    .on_stream_closed = client_stream_closed,
    .on_closed = client_closed,
};

PAIR_UNUSED static int client_is_ready(void *user) {
    return ((client *)user)->ready || ((client *)user)->closed;
}

PAIR_UNUSED static void client_dial(registry_world *w, client *c) {
    static const atl_qconn_ops none;
    atl_qpath path = pair_path(&w->r.relay);
    atl_qconn *conn;

    c->ready = c->closed = 0;
    atl_loop_update(&c->node.loop); /* it may have slept */
    assert_int_equal(
        atl_qconn_connect(c->node.ep, &path, ATL_PROTO_H3, &w->r.relay.id, 0, &none, NULL, &conn),
        ATLAS_OK);
    assert_int_equal(atl_h3_new(conn, &client_ops, c, &c->h3), ATLAS_OK);
    world_until(&w->r, client_is_ready, c, 5 * ATL_SECOND);
    assert_true(c->ready);
    atl_qconn_keepalive(conn, 5 * ATL_SECOND);
}

/* A client at 10.0.2.N, N from 1. */
PAIR_UNUSED static client *client_make(registry_world *w, uint8_t seed, int with_certificate) {
    client *c = &w->clients[w->n_clients];
    char ip[32];

    assert_true(w->n_clients < CLIENTS);
    (void)snprintf(ip, sizeof(ip), "10.0.2.%zu", ++w->n_clients);
    pair_init(&c->node, w->r.net, ip, seed, 5000);
    if (!with_certificate) {
        atl_tls *tls = atl_endpoint_tls(c->node.ep);

        wolfSSL_CTX_free(tls->client);
        tls->client = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
        assert_non_null(tls->client);
        wolfSSL_CTX_set_verify(tls->client, WOLFSSL_VERIFY_PEER, atl_tls_verify);
        assert_int_equal(wolfSSL_CTX_set_quic_method(tls->client, atl_tls_quic_method()),
                         WOLFSSL_SUCCESS);
    }
    client_dial(w, c);
    return c;
}

PAIR_UNUSED static client *client_new(registry_world *w, uint8_t seed) {
    return client_make(w, seed, 1);
}

/* ---- requests ---- */

PAIR_UNUSED static int asking_over(void *user) {
    return ((asking *)user)->closed;
}

PAIR_UNUSED static void ask_begin(client *c, asking *a, const char *method, const char *path,
                                  const void *body, size_t len) {
    atl_h3_request request = {method, "https", AUTHORITY, path, "", 0};

    memset(a, 0, sizeof(*a));
    assert_int_equal(body == NULL
                         ? atl_h3_open(c->h3, &request, a, &a->stream)
                         : atl_h3_open_with(c->h3, &request, NULL, body, len, a, &a->stream),
                     ATLAS_OK);
}

/* Asks, and waits for the end. Returns the status. */
PAIR_UNUSED static int32_t ask(registry_world *w, client *c, const char *method, const char *path,
                               const void *body, size_t len) {
    ask_begin(c, &c->last, method, path, body, len);
    world_until(&w->r, asking_over, &c->last, 20 * ATL_SECOND);
    return c->last.status;
}

/* A PUT whose body the test writes with atl_h3_write() and ends with atl_h3_end(). */
PAIR_UNUSED static void ask_slowly(client *c, asking *a, const char *path) {
    nghttp3_nv list[4];
    atl_h3_stream *stream;
    size_t n = 0;

    memset(a, 0, sizeof(*a));
    assert_int_equal(atl_h3_stream_new(c->h3, NULL, &stream), ATLAS_OK);
    assert_int_equal(
        atl_qconn_open_stream(c->h3->conn, 0, &atl_h3_request_ops, stream, &stream->qs), ATLAS_OK);
    stream->id = atl_qstream_id(stream->qs);
    stream->user = a;
    stream->open = 1;
    a->stream = stream;
    atl_h3_add_field(list, &n, ":method", "PUT");
    atl_h3_add_field(list, &n, ":scheme", "https");
    atl_h3_add_field(list, &n, ":authority", AUTHORITY);
    atl_h3_add_field(list, &n, ":path", path);
    atl_h3_enter(c->h3);
    assert_int_equal(
        nghttp3_conn_submit_request(c->h3->http, stream->id, list, n, &atl_h3_body, stream), 0);
    atl_h3_leave(c->h3);
}

/* ---- records ---- */

typedef struct made {
    uint8_t data[ATL_RECORD_MAX];
    size_t len;
    atl_peer_id peer;
    char path[160]; /* its own */
} made;

/* Seconds since 1970 in the simulation. */
PAIR_UNUSED static uint64_t world_seconds(registry_world *w) {
    return (uint64_t)atl_env_wall_ms(&w->r.relay.env) / 1000;
}

PAIR_UNUSED static void path_of(const atl_peer_id *id, char out[160]) {
    char text[ATLAS_PEER_ID_MAX];

    atl_peer_id_text(id, text);
    (void)snprintf(out, 160, "%s/%s", ATL_RECORDS_PATH, text);
}

/* A record signed by `key`; `addrs` is a list of multiaddrs with blanks between them. */
PAIR_UNUSED static void record_make(const atlas_key *key, uint64_t seq, uint64_t issued,
                                    uint64_t lifetime, uint32_t offers, const char *addrs,
                                    made *out) {
    char text[1024];
    char *rest = NULL;
    atl_record record;

    memset(&record, 0, sizeof(record));
    atl_key_id(key, &record.head.peer);
    record.head.seq = seq;
    record.head.issued = issued;
    record.head.lifetime = lifetime;
    record.head.offers = offers;
    (void)snprintf(text, sizeof(text), "%s", addrs);
    for (char *one = strtok_r(text, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
        assert_int_equal(atl_maddr_parse(one, &record.addrs[record.n_addrs++]), ATLAS_OK);
    }
    assert_int_equal(atl_record_make(key, &record, out->data, sizeof(out->data), &out->len),
                     ATLAS_OK);
    out->peer = record.head.peer;
    path_of(&out->peer, out->path);
}

/* A usual one, issued a moment ago. */
PAIR_UNUSED static void record_of(registry_world *w, const client *c, uint64_t seq, made *out) {
    record_make(c->node.key, seq, world_seconds(w), ATL_RECORD_LIFETIME, 0,
                "/ip4/192.0.2.77/udp/4001/quic-v1", out);
}

/* The key of node `n` of many. */
PAIR_UNUSED static atlas_key *key_of(uint32_t n) {
    uint8_t seed[32] = {0x77};
    atlas_key *key;

    memcpy(seed + 1, &n, sizeof(n));
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    return key;
}

/* Puts the record of node `n` straight into the store, as from `ip` with port 1. */
PAIR_UNUSED static int32_t store_direct(registry_world *w, const made *record, uint32_t offers,
                                        uint64_t seq, const char *ip, int verified) {
    atl_record_head head;
    atl_record_put put;
    atl_addr source;

    memset(&head, 0, sizeof(head));
    memset(&put, 0, sizeof(put));
    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 1, &source), ATLAS_OK);
    head.peer = record->peer;
    head.seq = seq;
    head.issued = world_seconds(w);
    head.lifetime = ATL_RECORD_LIFETIME;
    head.offers = offers;
    put.head = &head;
    put.data = record->data;
    put.len = record->len;
    put.source = &source;
    put.verified = (uint8_t)verified;
    put.expires = w->r.relay.loop.now + 3600 * ATL_SECOND;
    return atl_record_store_put(w->registry->store, &put, w->r.relay.loop.now);
}

PAIR_UNUSED static int answer_has(const client *c, const char *text) {
    return strstr(c->last.body, text) != NULL;
}

#endif
