/* Two endpoints with a connection between them, and a record of its upcalls: for the tests of
 * quic/. Include cmocka before this. */
#ifndef ATL_TESTS_UNIT_QUIC_WORLD_H
#define ATL_TESTS_UNIT_QUIC_WORLD_H

#include "quic_pair.h"

typedef struct side {
    atl_qconn *conn;
    int confirmed;
    int closed;
    int32_t code;
    int by_peer;
    uint64_t app_code;
    char text[300];
    atl_qstream *stream;
    uint8_t *got;
    size_t got_len;
    int got_fin;
    int hold; /* give no credit */
    int acked;
    int stream_closed;
    int stopped;
    int writable;
    size_t datagrams;
    size_t datagram_len;
    int paths;
} side;

typedef struct world {
    sim_net *net;
    pair_node a; /* client */
    pair_node b; /* server */
    side ca;
    side sb;
} world;

/* ---- upcalls that write down what happened ---- */

PAIR_UNUSED static void s_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len,
                               int fin) {
    side *s = user;

    s->got = realloc(s->got, s->got_len + len + 1);
    if (len > 0) {
        memcpy(s->got + s->got_len, data, len);
    }
    s->got_len += len;
    s->got_fin |= fin;
    if (!s->hold) {
        atl_qstream_credit(stream, len);
    }
}

PAIR_UNUSED static void s_writable(void *user, atl_qstream *stream) {
    (void)stream;
    ((side *)user)->writable++;
}

PAIR_UNUSED static void s_acked(void *user, atl_qstream *stream) {
    (void)stream;
    ((side *)user)->acked++;
}

PAIR_UNUSED static void s_stop(void *user, atl_qstream *stream, uint64_t code) {
    (void)stream;
    (void)code;
    ((side *)user)->stopped++;
}

PAIR_UNUSED static void s_closed(void *user, atl_qstream *stream) {
    side *s = user;

    (void)stream;
    s->stream_closed++;
    s->stream = NULL;
}

PAIR_UNUSED static const atl_qstream_ops STREAM_OPS = {s_data, s_writable, s_acked,
                                                       NULL,   s_stop,     s_closed};

PAIR_UNUSED static void c_confirmed(void *user, atl_qconn *conn) {
    (void)conn;
    ((side *)user)->confirmed++;
}

PAIR_UNUSED static void c_stream(void *user, atl_qconn *conn, atl_qstream *stream) {
    side *s = user;

    (void)conn;
    s->stream = stream;
    atl_qstream_set_ops(stream, &STREAM_OPS, s);
}

PAIR_UNUSED static void c_datagram(void *user, atl_qconn *conn, const uint8_t *data, size_t len) {
    side *s = user;

    (void)conn;
    (void)data;
    s->datagrams++;
    s->datagram_len = len;
}

PAIR_UNUSED static void c_path(void *user, atl_qconn *conn) {
    (void)conn;
    ((side *)user)->paths++;
}

PAIR_UNUSED static void c_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    side *s = user;

    (void)conn;
    s->closed++;
    s->code = why->code;
    s->by_peer = why->by_peer;
    s->app_code = why->error_code;
    snprintf(s->text, sizeof(s->text), "%s", why->text);
    s->conn = NULL;
}

PAIR_UNUSED static const atl_qconn_ops CONN_OPS = {.on_confirmed = c_confirmed,
                                                   .on_stream = c_stream,
                                                   .on_datagram = c_datagram,
                                                   .on_path = c_path,
                                                   .on_closed = c_closed};

PAIR_UNUSED static int32_t accept_to_side(pair_node *node, atl_qconn *conn) {
    side *s = node->user;

    s->conn = conn;
    atl_qconn_set_ops(conn, &CONN_OPS, s);
    return ATLAS_OK;
}

/* ---- the world ---- */

PAIR_UNUSED static void world_init(world *w, uint64_t seed) {
    memset(w, 0, sizeof(*w));
    w->net = sim_new(seed);
    pair_init(&w->a, w->net, "10.0.0.1", 1, 0);
    pair_init(&w->b, w->net, "10.0.0.2", 2, 4001);
    w->b.user = &w->sb;
    w->b.accept = accept_to_side;
}

PAIR_UNUSED static void world_done(world *w) {
    pair_done(&w->a);
    pair_done(&w->b);
    sim_free(w->net);
    free(w->ca.got);
    free(w->sb.got);
}

PAIR_UNUSED static void dial(world *w, const atl_peer_id *expect) {
    atl_qpath path = pair_path(&w->b);

    assert_int_equal(atl_qconn_connect(w->a.ep, &path, ATL_PROTO_ATLAS, expect, 0, &CONN_OPS,
                                       &w->ca, &w->ca.conn),
                     ATLAS_OK);
}

PAIR_UNUSED static int both_confirmed(void *user) {
    world *w = user;

    return w->ca.confirmed && w->sb.confirmed;
}

PAIR_UNUSED static int client_closed(void *user) {
    return ((world *)user)->ca.closed;
}

PAIR_UNUSED static int server_got_fin(void *user) {
    return ((world *)user)->sb.got_fin;
}

PAIR_UNUSED static int client_acked(void *user) {
    return ((world *)user)->ca.acked;
}

PAIR_UNUSED static int run(world *w, double seconds, int (*done)(void *)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

PAIR_UNUSED static void connect_both(world *w) {
    dial(w, &w->b.id);
    assert_true(run(w, 10, both_confirmed));
    assert_non_null(w->sb.conn);
    assert_true(atl_peer_id_equal(atl_qconn_peer(w->sb.conn), &w->a.id));
    assert_true(atl_peer_id_equal(atl_qconn_peer(w->ca.conn), &w->b.id));
}

#endif
