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
    int failed;
    uint64_t failed_id;
    int lost;
    uint64_t lost_id;
    int32_t lost_code;
    int silent;
    uint64_t silences[16]; /* as told */
    int heard;
    int strays;
    uint64_t stray_id;
    atl_qpath stray;
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

PAIR_UNUSED static void c_failed(void *user, atl_qconn *conn, uint64_t id) {
    side *s = user;

    (void)conn;
    s->failed++;
    s->failed_id = id;
}

PAIR_UNUSED static void c_lost(void *user, atl_qconn *conn, uint64_t id, int32_t code) {
    side *s = user;

    (void)conn;
    s->lost++;
    s->lost_id = id;
    s->lost_code = code;
}

PAIR_UNUSED static void c_silent(void *user, atl_qconn *conn, uint64_t silent) {
    side *s = user;

    (void)conn;
    if (s->silent < 16) {
        s->silences[s->silent] = silent;
    }
    s->silent++;
}

PAIR_UNUSED static void c_heard(void *user, atl_qconn *conn) {
    (void)conn;
    ((side *)user)->heard++;
}

PAIR_UNUSED static void c_stray(void *user, atl_qconn *conn, uint64_t id, const atl_qpath *real) {
    side *s = user;

    (void)conn;
    s->strays++;
    s->stray_id = id;
    s->stray = *real;
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
                                                   .on_path_failed = c_failed,
                                                   .on_path_lost = c_lost,
                                                   .on_silent = c_silent,
                                                   .on_heard = c_heard,
                                                   .on_stray = c_stray,
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

/* ---- bytes both ways ---- */

/* A stream in each direction; what arrives must be what was written. */
typedef struct two_way {
    world *w;
    atl_qstream *up;
    atl_qstream *down;
    size_t up_written;
    size_t down_written;
} two_way;

PAIR_UNUSED static uint8_t flow_byte(size_t at, int down) {
    return (uint8_t)(at * 131 + at / 251 + (down ? 77 : 0));
}

PAIR_UNUSED static void flow_open(two_way *f, world *w) {
    memset(f, 0, sizeof(*f));
    f->w = w;
    assert_int_equal(atl_qconn_open_stream(w->ca.conn, 1, &STREAM_OPS, &w->ca, &f->up), ATLAS_OK);
    assert_int_equal(atl_qconn_open_stream(w->sb.conn, 1, &STREAM_OPS, &w->sb, &f->down), ATLAS_OK);
}

PAIR_UNUSED static size_t flow_write_one(atl_qstream *stream, size_t at, size_t len, int down,
                                         int fin) {
    uint8_t buffer[4096] = {0};
    size_t taken;
    size_t i;

    len = len < sizeof(buffer) ? len : sizeof(buffer);
    for (i = 0; i < len; i++) {
        buffer[i] = flow_byte(at + i, down);
    }
    assert_int_equal(atl_qstream_write(stream, buffer, len, fin, &taken), ATLAS_OK);
    return taken;
}

PAIR_UNUSED static void flow_write(two_way *f, size_t up, size_t down) {
    f->up_written += flow_write_one(f->up, f->up_written, up, 0, 0);
    f->down_written += flow_write_one(f->down, f->down_written, down, 1, 0);
}

PAIR_UNUSED static int flow_arrived(void *user) {
    two_way *f = user;

    return f->w->sb.got_len == f->up_written && f->w->ca.got_len == f->down_written;
}

PAIR_UNUSED static void flow_check(const two_way *f) {
    size_t i;

    assert_int_equal(f->w->ca.closed, 0);
    assert_int_equal(f->w->sb.closed, 0);
    assert_true(f->w->sb.got_len <= f->up_written);
    assert_true(f->w->ca.got_len <= f->down_written);
    for (i = 0; i < f->w->sb.got_len; i++) {
        assert_int_equal(f->w->sb.got[i], flow_byte(i, 0));
    }
    for (i = 0; i < f->w->ca.got_len; i++) {
        assert_int_equal(f->w->ca.got[i], flow_byte(i, 1));
    }
}

/* All of it is there, `seconds` from now at the latest. */
PAIR_UNUSED static void flow_settle(two_way *f, double seconds) {
    int all = sim_run(f->w->net, sim_now(f->w->net) + (uint64_t)(seconds * 1e9), flow_arrived, f);

    flow_check(f);
    assert_true(all);
}

/* Writes a little every 10 ms. */
PAIR_UNUSED static void flow_run(two_way *f, double seconds) {
    int steps = (int)(seconds * 100);

    while (steps-- > 0) {
        flow_write(f, 2000, 2000);
        run(f->w, 0.01, NULL);
    }
}

PAIR_UNUSED static int active_index(const atl_qpath_state *states, size_t n) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (states[i].active) {
            return (int)i;
        }
    }
    return -1;
}

PAIR_UNUSED static uint64_t active_id(const atl_qconn *conn) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn, states, ATL_CONN_PATHS);
    int at = active_index(states, n);

    return at < 0 ? 0 : states[at].id;
}

/* The path to `ip` at the other node's port. */
PAIR_UNUSED static atl_qpath path_to(const pair_node *node, const char *ip) {
    atl_qpath path = pair_path(node);
    uint16_t port = path.remote.port;

    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 0, &path.remote), ATLAS_OK);
    path.remote.port = port;
    return path;
}

#endif
