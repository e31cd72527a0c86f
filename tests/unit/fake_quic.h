/* Two QUIC connections in memory, for tests of what stands on quic/conn.h: same contract, no
 * packets. Bytes are handed over by fake_pump() in pieces of a chosen size, so that every split can
 * be tried. To be included by one source file of a program, which then links none of the real quic
 * room. */
#ifndef ATL_TEST_FAKE_QUIC_H
#define ATL_TEST_FAKE_QUIC_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "quic/conn.h"

#define FAKE_WINDOW 262144u /* bytes in flight per stream until credit is given */
#define FAKE_SEND_LIMIT ((size_t)1 << 20)

/* ---- the loop and its environment; counts allocations and can make one fail ---- */

typedef struct fake_world {
    atl_env env;
    atl_loop loop;
    uint64_t now;
    size_t live;      /* allocations not freed */
    size_t bytes_max; /* most allocations at once */
    size_t count;     /* allocations so far */
    size_t fail_at;   /* this one returns NULL; 0: none */
    size_t piece;     /* bytes handed over at a time */
} fake_world;

struct atl_endpoint {
    fake_world *world;
};

struct atl_qconn {
    atl_endpoint ep;
    atl_qconn *peer;
    const atl_qconn_ops *ops;
    void *user;
    atl_list streams;
    int64_t next[2]; /* bidirectional, unidirectional */
    uint8_t server, confirmed, closing, dead, told;
    uint64_t max_streams; /* that it may open, per direction */
    atl_qclose why;
    char text[128];
};

struct atl_qstream {
    atl_list node;
    atl_qconn *conn;
    atl_qstream *other;
    const atl_qstream_ops *ops;
    void *user;
    int64_t id;
    uint8_t *buf;
    size_t len, sent, limit;
    uint64_t window;    /* bytes that may still be handed over */
    uint64_t no_credit; /* delivered to this side, not credited */
    uint8_t fin, fin_sent, was_short, out_done, in_done, stop_in, shut, ended;
    uint64_t code;
};

static void *fake_malloc(void *user, size_t size) {
    fake_world *world = user;

    world->count++;
    if (world->count == world->fail_at) {
        return NULL;
    }
    world->live++;
    world->bytes_max = world->live > world->bytes_max ? world->live : world->bytes_max;
    return malloc(size);
}

static void *fake_realloc(void *user, void *ptr, size_t size) {
    fake_world *world = user;

    world->count++;
    if (world->count == world->fail_at) {
        return NULL;
    }
    world->live += ptr == NULL;
    return realloc(ptr, size);
}

static void fake_free(void *user, void *ptr) {
    fake_world *world = user;

    world->live--;
    free(ptr);
}

static uint64_t fake_now(void *user) {
    return ((fake_world *)user)->now;
}

static void fake_world_init(fake_world *world) {
    atlas_hooks hooks;

    memset(world, 0, sizeof(*world));
    memset(&hooks, 0, sizeof(hooks));
    hooks.user = world;
    hooks.malloc = fake_malloc;
    hooks.realloc = fake_realloc;
    hooks.free = fake_free;
    hooks.now = fake_now;
    world->now = ATL_SECOND;
    world->piece = 1000;
    atl_env_init(&world->env, &hooks);
    atl_loop_init(&world->loop, &world->env);
}

static void fake_pair(fake_world *world, atl_qconn *client, atl_qconn *server) {
    atl_qconn *both[2] = {client, server};

    for (int i = 0; i < 2; i++) {
        memset(both[i], 0, sizeof(*both[i]));
        both[i]->ep.world = world;
        both[i]->peer = both[1 - i];
        both[i]->server = (uint8_t)i;
        both[i]->max_streams = 1u << 20;
        atl_list_init(&both[i]->streams);
        both[i]->next[0] = i;
        both[i]->next[1] = 2 + i;
    }
}

static void fake_confirm(atl_qconn *conn) {
    conn->confirmed = 1;
    if (conn->ops != NULL && conn->ops->on_confirmed != NULL) {
        conn->ops->on_confirmed(conn->user, conn);
    }
}

/* ---- conn.h ---- */

atl_endpoint *atl_qconn_endpoint(atl_qconn *conn) {
    return &conn->ep;
}

atl_loop *atl_endpoint_loop(atl_endpoint *ep) {
    return &ep->world->loop;
}

void atl_qconn_set_ops(atl_qconn *conn, const atl_qconn_ops *ops, void *user) {
    conn->ops = ops;
    conn->user = user;
}

int atl_qconn_is_server(const atl_qconn *conn) {
    return conn->server;
}

int atl_qconn_is_confirmed(const atl_qconn *conn) {
    return conn->confirmed;
}

static void fake_close(atl_qconn *conn, int by_peer, uint64_t app_code, const char *reason) {
    if (conn->closing) {
        return;
    }
    conn->closing = 1;
    conn->why.code = by_peer ? ATLAS_ERR_PEER_CLOSED : ATLAS_OK;
    conn->why.by_peer = (uint8_t)by_peer;
    conn->why.is_app = 1;
    conn->why.error_code = app_code;
    snprintf(conn->text, sizeof(conn->text), "%s", reason == NULL ? "" : reason);
    conn->why.text = conn->text;
}

void atl_qconn_close(atl_qconn *conn, uint64_t app_code, const char *reason) {
    fake_close(conn, 0, app_code, reason);
}

static void fake_free_stream(atl_qstream *stream) {
    atl_list_remove(&stream->node);
    if (stream->other != NULL) {
        stream->other->other = NULL;
    }
    free(stream->buf);
    free(stream);
}

void atl_qconn_abort(atl_qconn *conn) {
    conn->dead = 1;
    conn->closing = 1;
    conn->ops = NULL;
    while (!atl_list_empty(&conn->streams)) {
        fake_free_stream(ATL_CONTAINER(conn->streams.next, atl_qstream, node));
    }
    fake_close(conn->peer, 1, 0, "gone");
}

void atl_qconn_part(atl_qconn *conn, uint64_t app_code) {
    atl_qconn *peer = conn->peer;

    atl_qconn_abort(conn);
    peer->why.error_code = app_code;
}

static atl_qstream *fake_stream(atl_qconn *conn, int64_t id) {
    atl_qstream *stream = calloc(1, sizeof(*stream));
    int local = (id & 1) == conn->server;
    int uni = (id & 2) != 0;

    stream->conn = conn;
    stream->id = id;
    stream->limit = FAKE_SEND_LIMIT;
    stream->window = FAKE_WINDOW;
    stream->out_done = (uint8_t)(uni && !local);
    stream->in_done = (uint8_t)(uni && local);
    atl_list_append(&conn->streams, &stream->node);
    return stream;
}

int32_t atl_qconn_open_stream(atl_qconn *conn, int uni, const atl_qstream_ops *ops, void *user,
                              atl_qstream **out) {
    if (conn->closing || !conn->confirmed) {
        return conn->closing ? ATLAS_ERR_CLOSED : ATLAS_ERR_STATE;
    }
    if ((uint64_t)conn->next[uni] / 4 >= conn->max_streams) {
        return ATLAS_ERR_LIMIT;
    }
    *out = fake_stream(conn, conn->next[uni]);
    conn->next[uni] += 4;
    (*out)->ops = ops;
    (*out)->user = user;
    return ATLAS_OK;
}

void atl_qstream_set_ops(atl_qstream *stream, const atl_qstream_ops *ops, void *user) {
    stream->ops = ops;
    stream->user = user;
}

int64_t atl_qstream_id(const atl_qstream *stream) {
    return stream->id;
}

int atl_qstream_is_uni(const atl_qstream *stream) {
    return (stream->id & 2) != 0;
}

int32_t atl_qstream_write(atl_qstream *stream, const void *data, size_t len, int fin,
                          size_t *taken) {
    size_t waiting = stream->len - stream->sent;
    size_t n = len < stream->limit - waiting ? len : stream->limit - waiting;

    if (stream->conn->closing || stream->ended) {
        return ATLAS_ERR_CLOSED;
    }
    if (stream->stop_in) {
        return ATLAS_ERR_STREAM_RESET;
    }
    if (stream->out_done || stream->fin) {
        return ATLAS_ERR_STATE;
    }
    stream->buf = realloc(stream->buf, stream->len + n + 1);
    if (n > 0) {
        memcpy(stream->buf + stream->len, data, n);
    }
    stream->len += n;
    stream->fin = (uint8_t)(fin && n == len);
    stream->was_short |= (uint8_t)(n < len);
    *taken = n;
    return ATLAS_OK;
}

size_t atl_qstream_buffered(const atl_qstream *stream) {
    return stream->len - stream->sent;
}

void atl_qstream_credit(atl_qstream *stream, uint64_t n) {
    if (n > stream->no_credit && !stream->shut) {
        abort(); /* more credit than was delivered */
    }
    n = n < stream->no_credit ? n : stream->no_credit;
    stream->no_credit -= n;
    if (stream->other != NULL) {
        stream->other->window += n;
    }
}

void atl_qstream_shutdown(atl_qstream *stream, uint64_t app_code) {
    if (stream->ended || stream->conn->closing) {
        return;
    }
    stream->shut = 1;
    atl_qstream_credit(stream, stream->no_credit);
    if (!stream->out_done) {
        stream->out_done = 2; /* a reset is due */
        stream->code = app_code;
    }
    if (!stream->in_done) {
        stream->in_done = 2; /* a stop is due */
        stream->code = app_code;
    }
}

/* ---- handing over ---- */

static void fake_end(atl_qstream *stream) {
    if (!stream->ended) {
        stream->ended = 1;
        if (stream->ops != NULL && stream->ops->on_closed != NULL) {
            stream->ops->on_closed(stream->user, stream);
        }
    }
}

/* The other side's object of a stream, made when its first sign arrives. */
static atl_qstream *fake_other(atl_qstream *stream) {
    if (stream->other == NULL) {
        atl_qconn *peer = stream->conn->peer;

        stream->other = fake_stream(peer, stream->id);
        stream->other->other = stream;
        if (peer->ops != NULL && peer->ops->on_stream != NULL) {
            peer->ops->on_stream(peer->user, peer, stream->other);
        }
        if (stream->other != NULL && stream->other->ops == NULL) {
            atl_qstream_shutdown(stream->other, 0);
        }
    }
    return stream->other;
}

static int fake_signals(atl_qstream *stream) {
    int moved = 0;

    if (stream->out_done == 2) {
        atl_qstream *other = fake_other(stream);

        stream->out_done = 1;
        moved = 1;
        if (other != NULL && !other->in_done) {
            other->in_done = 1;
            if (other->ops != NULL && other->ops->on_reset != NULL) {
                other->ops->on_reset(other->user, other, stream->code);
            }
        }
    }
    if (stream->in_done == 2) {
        atl_qstream *other = fake_other(stream);

        stream->in_done = 1;
        moved = 1;
        if (other != NULL && !other->out_done) {
            other->out_done = 1;
            other->stop_in = 1;
            if (other->ops != NULL && other->ops->on_stop != NULL) {
                other->ops->on_stop(other->user, other, stream->code);
            }
        }
    }
    return moved;
}

static int fake_deliver(atl_qstream *stream) {
    fake_world *world = stream->conn->ep.world;
    size_t n = stream->len - stream->sent;
    uint8_t *copy;
    atl_qstream *other;
    int fin;

    n = n < world->piece ? n : world->piece;
    n = n < stream->window ? n : (size_t)stream->window;
    fin = stream->fin && stream->sent + n == stream->len;
    if (stream->out_done || (n == 0 && !fin)) {
        return 0;
    }
    other = fake_other(stream);
    copy = malloc(n + 1);
    memcpy(copy, stream->buf + stream->sent, n);
    stream->sent += n;
    stream->window -= n;
    stream->out_done |= (uint8_t)fin;
    if (other == NULL || other->in_done || other->ops == NULL) {
        stream->window += n;
    } else {
        other->no_credit += n;
        other->in_done |= (uint8_t)fin;
        other->ops->on_data(other->user, other, copy, n, fin);
    }
    free(copy);
    if (stream->was_short && stream->len - stream->sent <= stream->limit / 2 && !stream->fin) {
        stream->was_short = 0;
        stream->ops->on_writable(stream->user, stream);
    }
    if (fin && stream->ops->on_acked != NULL) {
        stream->ops->on_acked(stream->user, stream);
    }
    return 1;
}

static int fake_step(atl_qconn *conn) {
    atl_list *node;
    int moved = 0;

    for (node = conn->streams.next;
         node != &conn->streams && !conn->closing && !conn->peer->closing; node = node->next) {
        atl_qstream *stream = ATL_CONTAINER(node, atl_qstream, node);

        if (!stream->ended) {
            moved |= fake_signals(stream) | fake_deliver(stream);
        }
        if (!stream->ended && stream->out_done == 1 && stream->in_done == 1) {
            fake_end(stream);
            moved = 1;
        }
    }
    return moved;
}

static void fake_finish(atl_qconn *conn) {
    if (conn->dead) {
        return;
    }
    conn->dead = 1;
    for (atl_list *node = conn->streams.next; node != &conn->streams; node = node->next) {
        fake_end(ATL_CONTAINER(node, atl_qstream, node));
    }
    while (!atl_list_empty(&conn->streams)) {
        fake_free_stream(ATL_CONTAINER(conn->streams.next, atl_qstream, node));
    }
    fake_close(conn->peer, 1, conn->why.error_code, conn->text);
    if (conn->ops != NULL && conn->ops->on_closed != NULL) {
        conn->ops->on_closed(conn->user, conn, &conn->why);
    }
}

/* Hands over everything that moves; returns when all is quiet. */
static void fake_pump(atl_qconn *a, atl_qconn *b) {
    int moved = 1;

    while (moved) {
        moved = 0;
        if (!a->closing && !b->closing) {
            moved = fake_step(a) | fake_step(b);
        }
        moved |= (a->closing && !a->dead) | (b->closing && !b->dead);
        if (a->closing) {
            fake_finish(a);
        }
        if (b->closing) {
            fake_finish(b);
        }
    }
}

#endif
