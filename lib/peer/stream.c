#include "peer/stream.h"

#include "peer/codes.h"
#include "peer/manager.h"

#include <string.h>

#define EVENT_READABLE 1u
#define EVENT_WRITABLE 2u
#define EVENT_ACKED 4u

static const atl_qstream_ops stream_ops;
static void deliver(atlas_conn *conn, atl_item *item);

static void pend(atlas_stream *stream, uint8_t events) {
    stream->pending |= events;
    atl_conn_queue(stream->conn, &stream->item);
}

/* ---- life ---- */

static atlas_stream *stream_new(atlas_conn *conn, int uni, int local) {
    atlas_stream *stream = atl_calloc(atl_conn_env(conn), 1, sizeof(*stream));

    if (stream == NULL) {
        return NULL;
    }
    stream->conn = conn;
    stream->uni = uni != 0;
    stream->local = local != 0;
    atl_list_init(&stream->item.node);
    stream->item.deliver = deliver;
    stream->callbacks.size = sizeof(stream->callbacks);
    atl_list_append(&conn->streams, &stream->node);
    return stream;
}

static void attach(atlas_stream *stream, atl_qstream *q) {
    stream->q = q;
    stream->id = atl_qstream_id(q);
    atl_qstream_set_ops(q, &stream_ops, stream);
}

static void free_chunks(atlas_stream *stream) {
    while (stream->head != NULL) {
        atl_stream_chunk *next = stream->head->next;

        atl_free(atl_conn_env(stream->conn), stream->head);
        stream->head = next;
    }
    stream->tail = NULL;
    stream->unread = 0;
}

static void stream_free(atlas_stream *stream) {
    if (stream->q != NULL) {
        atl_qstream_quiet(stream->q);
    }
    free_chunks(stream);
    atl_list_remove(&stream->item.node);
    atl_list_remove(&stream->node);
    atl_free(atl_conn_env(stream->conn), stream);
}

/* Lets go of the QUIC stream, with a code for the peer; nothing but the final event follows. */
static void abandon(atlas_stream *stream, uint64_t wire) {
    atl_qstream *q = stream->q;

    stream->q = NULL;
    stream->final_due = 1;
    free_chunks(stream);
    if (q != NULL) {
        atl_qstream_quiet(q);
        atl_qstream_shutdown(q, wire);
    }
    pend(stream, 0);
}

int32_t atl_stream_set_callbacks(atlas_stream *stream, const atlas_stream_callbacks *callbacks,
                                 void *user) {
    if (callbacks == NULL || callbacks->size != sizeof(*callbacks)) {
        return ATLAS_ERR_INVALID;
    }
    stream->callbacks = *callbacks;
    stream->user = user;
    stream->has_callbacks = 1;
    return ATLAS_OK;
}

/* The first byte says that the rest is the application's. */
static int32_t write_type(atl_qstream *q) {
    static const uint8_t type = ATL_UNI_STREAM;
    size_t taken = 0;
    int32_t rv = atl_qstream_write(q, &type, 1, 0, &taken);

    return rv == ATLAS_OK && taken != 1 ? ATLAS_ERR_NOMEM : rv;
}

int32_t atl_stream_open(atlas_conn *conn, uint32_t uni, const atlas_stream_callbacks *callbacks,
                        void *user, atlas_stream **out) {
    atlas_stream *stream;
    atl_qstream *q;
    int32_t rv = atl_conn_check_open(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    stream = stream_new(conn, (int)uni, 1);
    if (stream == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rv = atl_stream_set_callbacks(stream, callbacks, user);
    if (rv == ATLAS_OK) {
        rv = atl_qconn_open_stream(conn->q, (int)uni, &stream_ops, stream, &q);
    }
    if (rv != ATLAS_OK) {
        stream_free(stream);
        return rv;
    }
    attach(stream, q);
    rv = uni ? write_type(q) : ATLAS_OK;
    if (rv != ATLAS_OK) {
        atl_qstream_quiet(q);
        atl_qstream_shutdown(q, ATL_STREAM_RESOURCES);
        stream->q = NULL;
        stream_free(stream);
        return rv;
    }
    *out = stream;
    return ATLAS_OK;
}

void atl_stream_accept(atlas_conn *conn, atl_qstream *q, atlas_stream **out) {
    atlas_stream *stream = stream_new(conn, atl_qstream_is_uni(q), 0);

    *out = stream;
    if (stream == NULL) {
        atl_qstream_quiet(q);
        atl_qstream_shutdown(q, ATL_STREAM_RESOURCES);
        return;
    }
    attach(stream, q);
    stream->fresh = 1;
    pend(stream, 0);
}

/* ---- receiving ---- */

static atl_stream_chunk *chunk_with_room(atlas_stream *stream, size_t want) {
    atl_stream_chunk *chunk = stream->tail;
    size_t cap = stream->head == NULL ? 2048 : 16384;

    if (chunk != NULL && chunk->len < chunk->cap) {
        return chunk;
    }
    cap = want > cap ? want : cap;
    chunk = atl_malloc(atl_conn_env(stream->conn), sizeof(*chunk) + cap);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->next = NULL;
    chunk->start = 0;
    chunk->len = 0;
    chunk->cap = cap;
    if (stream->tail == NULL) {
        stream->head = chunk;
    } else {
        stream->tail->next = chunk;
    }
    stream->tail = chunk;
    return chunk;
}

static int32_t append(atlas_stream *stream, const uint8_t *data, size_t len) {
    while (len > 0) {
        atl_stream_chunk *chunk = chunk_with_room(stream, len);
        size_t n;

        if (chunk == NULL) {
            return ATLAS_ERR_NOMEM;
        }
        n = chunk->cap - chunk->len < len ? chunk->cap - chunk->len : len;
        memcpy(chunk->data + chunk->len, data, n);
        chunk->len += n;
        stream->unread += n;
        data += n;
        len -= n;
    }
    return ATLAS_OK;
}

void atl_stream_feed(atlas_stream *stream, const uint8_t *data, size_t len, int fin) {
    if (stream->final_due) {
        return;
    }
    if (append(stream, data, len) != ATLAS_OK) {
        stream->error = ATLAS_ERR_NOMEM;
        abandon(stream, ATL_STREAM_RESOURCES);
        return;
    }
    stream->fin_in |= (uint8_t)(fin != 0);
    if (len > 0 || fin) {
        pend(stream, EVENT_READABLE);
    }
}

static void on_data(void *user, atl_qstream *q, const uint8_t *data, size_t len, int fin) {
    (void)q;
    atl_stream_feed(user, data, len, fin);
}

static void on_writable(void *user, atl_qstream *q) {
    (void)q;
    pend(user, EVENT_WRITABLE);
}

static void on_acked(void *user, atl_qstream *q) {
    atlas_stream *stream = user;

    (void)q;
    stream->acked = 1;
    pend(stream, EVENT_ACKED);
}

static void on_reset(void *user, atl_qstream *q, uint64_t app_code) {
    atlas_stream *stream = user;
    uint64_t unread = stream->unread;

    /* what was not read is void, as RFC 9000 section 3.2 allows */
    stream->reset_in = 1;
    stream->reset_code = app_code;
    free_chunks(stream);
    pend(stream, EVENT_READABLE);
    atl_qstream_credit(q, unread);
}

static void on_stop(void *user, atl_qstream *q, uint64_t app_code) {
    atlas_stream *stream = user;

    (void)q;
    stream->stopped = 1;
    stream->reset_code = app_code;
    pend(stream, EVENT_WRITABLE);
}

/* The transport has no use for the stream any more; the handle lives until what came has been read.
 */
static void on_closed(void *user, atl_qstream *q) {
    atlas_stream *stream = user;

    (void)q;
    stream->q = NULL;
    pend(stream, 0);
}

static const atl_qstream_ops stream_ops = {
    .on_data = on_data,
    .on_writable = on_writable,
    .on_acked = on_acked,
    .on_reset = on_reset,
    .on_stop = on_stop,
    .on_closed = on_closed,
};

/* ---- reading ---- */

static int32_t check_read(const atlas_stream *stream) {
    if (stream->uni && stream->local) {
        return ATLAS_ERR_STATE;
    }
    if (stream->cancelled) {
        return ATLAS_ERR_CLOSED;
    }
    if (stream->error != ATLAS_OK) {
        return stream->error;
    }
    return stream->reset_in ? ATLAS_ERR_STREAM_RESET : ATLAS_OK;
}

/* Something to return when no byte is there: the end, the connection's end, or nothing yet. */
static int32_t empty(atlas_stream *stream, uint32_t *fin) {
    if (stream->fin_in) {
        *fin = 1;
        if (!stream->fin_read) {
            stream->fin_read = 1;
            pend(stream, 0);
        }
        return ATLAS_OK;
    }
    return stream->q == NULL ? ATLAS_ERR_CLOSED : ATLAS_ERR_AGAIN;
}

/* Takes `n` unread bytes away and gives the peer credit for them. */
static void consume(atlas_stream *stream, size_t n) {
    atl_stream_chunk *chunk = stream->head;

    chunk->start += n;
    stream->unread -= n;
    if (chunk->start == chunk->len) {
        stream->head = chunk->next;
        if (stream->head == NULL) {
            stream->tail = NULL;
        }
        atl_free(atl_conn_env(stream->conn), chunk);
    }
    if (stream->unread == 0 && stream->fin_in) {
        stream->fin_read = 1;
        pend(stream, 0);
    }
    if (stream->q != NULL) {
        atl_qstream_credit(stream->q, n);
    }
}

int32_t atl_stream_peek(atlas_stream *stream, const uint8_t **data, size_t *len, uint32_t *fin) {
    int32_t rv = check_read(stream);
    uint32_t end = 0;

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (stream->head == NULL) {
        rv = empty(stream, &end);
        if (rv != ATLAS_OK) {
            return rv;
        }
        *data = NULL;
        *len = 0;
        *fin = 1;
        return ATLAS_OK;
    }
    *data = stream->head->data + stream->head->start;
    *len = stream->head->len - stream->head->start;
    *fin = stream->fin_in && *len == stream->unread;
    return ATLAS_OK;
}

int32_t atl_stream_consume(atlas_stream *stream, size_t n) {
    int32_t rv = check_read(stream);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (n > 0 && (stream->head == NULL || n > stream->head->len - stream->head->start)) {
        return ATLAS_ERR_INVALID;
    }
    if (n > 0) {
        consume(stream, n);
    }
    return ATLAS_OK;
}

int32_t atl_stream_read(atlas_stream *stream, void *buf, size_t cap, size_t *len, uint32_t *fin) {
    int32_t rv = check_read(stream);
    uint8_t *to = buf;
    uint32_t end = 0;
    size_t done = 0;

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (stream->head == NULL) {
        rv = empty(stream, &end);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    while (done < cap && stream->head != NULL) {
        size_t n = stream->head->len - stream->head->start;

        n = n < cap - done ? n : cap - done;
        memcpy(to + done, stream->head->data + stream->head->start, n);
        done += n;
        consume(stream, n);
    }
    *len = done;
    *fin = stream->fin_in && stream->unread == 0;
    return ATLAS_OK;
}

/* ---- writing ---- */

int32_t atl_stream_write(atlas_stream *stream, const void *data, size_t len, uint32_t fin,
                         size_t *taken) {
    int32_t rv;

    if (stream->uni && !stream->local) {
        return ATLAS_ERR_STATE;
    }
    if (stream->stopped) {
        return ATLAS_ERR_STREAM_RESET;
    }
    if (stream->fin_out) {
        return ATLAS_ERR_STATE;
    }
    if (stream->q == NULL || stream->conn->state != ATL_CONN_STATE_OPEN) {
        return ATLAS_ERR_CLOSED;
    }
    rv = atl_qstream_write(stream->q, data, len, (int)fin, taken);
    if (rv == ATLAS_OK && fin && *taken == len) {
        stream->fin_out = 1;
    }
    return rv;
}

int32_t atl_stream_reset(atlas_stream *stream, uint64_t app_code) {
    if (stream->final_due) {
        return ATLAS_ERR_CLOSED;
    }
    stream->cancelled = 1;
    stream->reset_code = app_code;
    abandon(stream, app_code);
    return ATLAS_OK;
}

/* ---- events ---- */

/* How it ended. */
static int32_t final_code(const atlas_stream *stream) {
    int in_done = (stream->uni && stream->local) || stream->fin_read;
    int out_done = (stream->uni && !stream->local) || stream->acked;

    if (stream->cancelled) {
        return ATLAS_ERR_CANCELLED;
    }
    if (stream->error != ATLAS_OK) {
        return stream->error;
    }
    if (stream->reset_in || stream->stopped) {
        return ATLAS_ERR_STREAM_RESET;
    }
    if (in_done && out_done) {
        return ATLAS_OK;
    }
    if (stream->conn->state >= ATL_CONN_STATE_CLOSING && stream->conn->code != ATLAS_OK) {
        return stream->conn->code;
    }
    return ATLAS_ERR_CLOSED;
}

/* Nothing can come any more: the transport has ended it, and what came was read, or the connection
 * is gone. */
static int is_final(const atlas_stream *stream) {
    if (stream->final_due || stream->q != NULL) {
        return stream->final_due;
    }
    return stream->reset_in || !stream->fin_in || stream->fin_read ||
           stream->conn->state == ATL_CONN_STATE_ENDED;
}

static void deliver_fresh(atlas_conn *conn, atlas_stream *stream) {
    stream->fresh = 0;
    if (conn->callbacks.on_stream != NULL && !conn->local_close) {
        conn->callbacks.on_stream(conn->user, conn, stream);
    }
    if (!stream->has_callbacks && !stream->final_due) {
        stream->cancelled = 1;
        abandon(stream, ATL_STREAM_REFUSED);
    }
}

static void deliver(atlas_conn *conn, atl_item *item) {
    atlas_stream *stream = ATL_CONTAINER(item, atlas_stream, item);
    const atlas_stream_callbacks *callbacks = &stream->callbacks;
    uint8_t pending;

    if (stream->fresh) {
        deliver_fresh(conn, stream);
    }
    pending = stream->pending;
    stream->pending = 0;
    if ((pending & EVENT_READABLE) && !stream->final_due && callbacks->on_readable != NULL) {
        callbacks->on_readable(stream->user, stream);
    }
    if ((pending & EVENT_WRITABLE) && !stream->final_due && callbacks->on_writable != NULL) {
        callbacks->on_writable(stream->user, stream);
    }
    if ((pending & EVENT_ACKED) && !stream->final_due && callbacks->on_acked != NULL) {
        callbacks->on_acked(stream->user, stream);
    }
    if (!is_final(stream) || stream->pending != 0) {
        return;
    }
    if (callbacks->on_closed != NULL) {
        uint64_t code =
            stream->cancelled || stream->reset_in || stream->stopped ? stream->reset_code : 0;

        stream->final_due = 1;
        callbacks->on_closed(stream->user, stream, final_code(stream), code);
    }
    stream_free(stream);
    /* the connection's own end waits for its streams */
    atl_conn_post(conn);
}

void atl_streams_ended(atlas_conn *conn) {
    atl_list *node;

    for (node = conn->streams.next; node != &conn->streams; node = node->next) {
        atlas_stream *stream = ATL_CONTAINER(node, atlas_stream, node);

        stream->q = NULL;
        pend(stream, 0);
    }
}

void atl_streams_free(atlas_conn *conn) {
    while (!atl_list_empty(&conn->streams)) {
        stream_free(ATL_CONTAINER(conn->streams.next, atlas_stream, node));
    }
}
