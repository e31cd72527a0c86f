/* Streams: the send buffer (bytes stay where they are until they are acknowledged, ngtcp2 keeps
 * pointers to them) and credit for what was received. */
#include "quic/internal.h"

#define CHUNK_MIN ((size_t)512)
#define CHUNK_MAX ((size_t)65536)

int32_t atl_qstream_new(atl_qconn *conn, int64_t id, atl_qstream **out) {
    atl_qstream *stream = atl_calloc(conn->ep->env, 1, sizeof(*stream));

    if (stream == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    stream->conn = conn;
    stream->id = id;
    stream->limit = conn->ep->params.stream_window;
    stream->write_shut = (uint8_t)(atl_qstream_is_uni(stream) && !atl_qstream_is_local(stream));
    atl_list_init(&stream->send_node);
    atl_list_append(&conn->streams, &stream->node);
    *out = stream;
    return ATLAS_OK;
}

static void free_spares(atl_qstream *stream) {
    while (stream->spare != NULL) {
        atl_chunk *next = stream->spare->next;

        atl_free(stream->conn->ep->env, stream->spare);
        stream->spare = next;
    }
    stream->spares = 0;
}

static void free_chunks(atl_qstream *stream) {
    free_spares(stream);
    while (stream->head != NULL) {
        atl_chunk *next = stream->head->next;

        atl_free(stream->conn->ep->env, stream->head);
        stream->head = next;
    }
    stream->tail = NULL;
    stream->next_chunk = NULL;
}

void atl_qstream_free(atl_qstream *stream) {
    atl_list_remove(&stream->node);
    atl_list_remove(&stream->send_node);
    free_chunks(stream);
    atl_free(stream->conn->ep->env, stream);
}

int32_t atl_qconn_open_stream(atl_qconn *conn, int uni, const atl_qstream_ops *ops, void *user,
                              atl_qstream **out) {
    atl_qstream *stream;
    int64_t id;
    int rv;

    if (conn->state >= ATL_CONN_CLOSING) {
        return ATLAS_ERR_CLOSED;
    }
    if (conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    /* memory first: a stream that ngtcp2 has opened cannot be taken back */
    rv = atl_qstream_new(conn, uni ? 2 : 0, &stream);
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = uni ? ngtcp2_conn_open_uni_stream(conn->quic, &id, stream)
             : ngtcp2_conn_open_bidi_stream(conn->quic, &id, stream);
    if (rv != 0) {
        atl_qstream_free(stream);
        return rv == NGTCP2_ERR_STREAM_ID_BLOCKED ? ATLAS_ERR_LIMIT : ATLAS_ERR_NOMEM;
    }
    stream->id = id;
    stream->write_shut = 0;
    stream->ops = ops;
    stream->user = user;
    *out = stream;
    return ATLAS_OK;
}

void atl_qstream_set_ops(atl_qstream *stream, const atl_qstream_ops *ops, void *user) {
    stream->ops = ops;
    stream->user = user;
}

void *atl_qstream_user(const atl_qstream *stream) {
    return stream->user;
}

int64_t atl_qstream_id(const atl_qstream *stream) {
    return stream->id;
}

int atl_qstream_is_uni(const atl_qstream *stream) {
    return (stream->id & 2) != 0;
}

int atl_qstream_is_local(const atl_qstream *stream) {
    return ((stream->id & 1) != 0) == (stream->conn->is_server != 0);
}

atl_qconn *atl_qstream_conn(const atl_qstream *stream) {
    return stream->conn;
}

void atl_qstream_set_send_limit(atl_qstream *stream, uint64_t limit) {
    stream->limit = limit;
}

size_t atl_qstream_buffered(const atl_qstream *stream) {
    return (size_t)(stream->written - stream->acked);
}

/* ---- writing ---- */

static atl_chunk *take_spare(atl_qstream *stream, size_t cap) {
    atl_chunk *chunk = stream->spare;

    if (chunk == NULL || cap != CHUNK_MAX) {
        return NULL;
    }
    stream->spare = chunk->next;
    stream->spares--;
    return chunk;
}

static atl_chunk *chunk_with_room(atl_qstream *stream, size_t want) {
    atl_chunk *chunk = stream->tail;
    size_t cap = CHUNK_MIN;

    if (chunk != NULL && chunk->len < chunk->cap) {
        return chunk;
    }
    while (cap < want && cap < CHUNK_MAX) {
        cap *= 2;
    }
    chunk = take_spare(stream, cap);
    if (chunk == NULL) {
        chunk = atl_malloc(stream->conn->ep->env, sizeof(*chunk) + cap);
    }
    if (chunk == NULL) {
        return NULL;
    }
    chunk->next = NULL;
    chunk->len = 0;
    chunk->cap = cap;
    if (stream->tail == NULL) {
        stream->head = chunk;
        stream->head_acked = 0;
    } else {
        stream->tail->next = chunk;
    }
    stream->tail = chunk;
    return chunk;
}

/* Returns how many bytes were taken; fewer than `len` when memory ran out. */
static size_t append(atl_qstream *stream, const uint8_t *data, size_t len) {
    size_t done = 0;

    while (done < len) {
        atl_chunk *chunk = chunk_with_room(stream, len - done);
        size_t n;

        if (chunk == NULL) {
            break;
        }
        n = chunk->cap - chunk->len < len - done ? chunk->cap - chunk->len : len - done;
        if (stream->next_chunk == NULL) {
            stream->next_chunk = chunk;
            stream->next_offset = chunk->len;
        }
        memcpy(chunk->data + chunk->len, data + done, n);
        chunk->len += n;
        done += n;
    }
    stream->written += done;
    return done;
}

static void schedule(atl_qstream *stream) {
    if (atl_qstream_has_output(stream) && atl_list_empty(&stream->send_node)) {
        atl_list_append(&stream->conn->sendable, &stream->send_node);
    }
    atl_qconn_mark_dirty(stream->conn);
}

int32_t atl_qstream_write(atl_qstream *stream, const void *data, size_t len, int fin,
                          size_t *taken) {
    size_t room;
    size_t want;
    size_t n;

    if (stream->conn->state >= ATL_CONN_CLOSING || stream->ended) {
        return ATLAS_ERR_CLOSED;
    }
    if (stream->stopped) {
        return ATLAS_ERR_STREAM_RESET;
    }
    if (stream->write_shut || stream->fin) {
        return ATLAS_ERR_STATE;
    }
    room = atl_qstream_buffered(stream) < stream->limit
               ? (size_t)stream->limit - atl_qstream_buffered(stream)
               : 0;
    want = len < room ? len : room;
    n = append(stream, data, want);
    if (n < want && n == 0) {
        return ATLAS_ERR_NOMEM;
    }
    stream->fin = (uint8_t)(fin && n == len);
    stream->short_write |= (uint8_t)(n < len);
    schedule(stream);
    *taken = n;
    return ATLAS_OK;
}

int atl_qstream_has_output(const atl_qstream *stream) {
    return !stream->write_shut && !stream->ended &&
           (stream->next_chunk != NULL || (stream->fin && !stream->fin_sent));
}

size_t atl_qstream_vectors(const atl_qstream *stream, ngtcp2_vec *vec, size_t cap, int *fin) {
    const atl_chunk *chunk = stream->next_chunk;
    size_t offset = stream->next_offset;
    size_t n = 0;

    while (chunk != NULL && n < cap) {
        if (chunk->len > offset) {
            vec[n].base = (uint8_t *)(uintptr_t)(chunk->data + offset);
            vec[n].len = chunk->len - offset;
            n++;
        }
        chunk = chunk->next;
        offset = 0;
    }
    *fin = stream->fin && !stream->fin_sent && chunk == NULL;
    return n;
}

void atl_qstream_on_sent(atl_qstream *stream, size_t len, int fin) {
    stream->sent += len;
    stream->fin_sent |= (uint8_t)fin;
    while (len > 0) {
        size_t here = stream->next_chunk->len - stream->next_offset;

        if (len < here) {
            stream->next_offset += len;
            return;
        }
        len -= here;
        stream->next_offset += here;
        if (stream->next_chunk->next == NULL) {
            break;
        }
        stream->next_chunk = stream->next_chunk->next;
        stream->next_offset = 0;
    }
    if (stream->next_chunk != NULL && stream->next_offset == stream->next_chunk->len &&
        stream->next_chunk->next == NULL) {
        stream->next_chunk = NULL;
    }
}

/* A stream in full flow would give its memory back to the system and get it again, page by page,
 * with every acknowledgement. What it holds in all stays within its limit. */
static void retire(atl_qstream *stream, atl_chunk *chunk) {
    size_t buffered = atl_qstream_buffered(stream);

    if (chunk->cap == CHUNK_MAX && !stream->fin && buffered > 0 &&
        buffered + (stream->spares + 1) * CHUNK_MAX <= stream->limit) {
        chunk->next = stream->spare;
        stream->spare = chunk;
        stream->spares++;
        return;
    }
    atl_free(stream->conn->ep->env, chunk);
}

/* Chunks go when their last byte is acknowledged; one that may still grow stays. */
static void drop_acked(atl_qstream *stream, uint64_t len) {
    while (len > 0 && stream->head != NULL) {
        size_t here = stream->head->len - stream->head_acked;
        atl_chunk *next = stream->head->next;

        if (len < here || (next == NULL && stream->head->len < stream->head->cap && !stream->fin)) {
            stream->head_acked += (size_t)(len < here ? len : here);
            return;
        }
        len -= here;
        retire(stream, stream->head);
        stream->head = next;
        stream->head_acked = 0;
        if (next == NULL) {
            stream->tail = NULL;
        }
    }
}

void atl_qstream_on_acked(atl_qstream *stream, uint64_t len) {
    stream->acked += len;
    drop_acked(stream, len);
    if (stream->acked == stream->written || stream->fin) {
        free_spares(stream);
    }
    if (stream->ended || stream->ops == NULL) {
        return;
    }
    if (stream->short_write && atl_qstream_buffered(stream) <= stream->limit / 2 && !stream->fin) {
        stream->short_write = 0;
        if (stream->ops->on_writable != NULL) {
            stream->ops->on_writable(stream->user, stream);
        }
    }
    /* the end may have left in a packet of its own that was lost: for a stream that only sends,
     * ngtcp2 says when it has arrived by closing it */
    if (stream->fin_sent && stream->acked == stream->written && !stream->acked_all &&
        !atl_qstream_is_uni(stream)) {
        stream->acked_all = 1;
        if (stream->ops->on_acked != NULL) {
            stream->ops->on_acked(stream->user, stream);
        }
    }
}

/* ---- reading ---- */

void atl_qstream_credit(atl_qstream *stream, uint64_t n) {
    atl_qconn *conn = stream->conn;

    if (n > stream->uncredited) {
        n = stream->uncredited;
    }
    stream->uncredited -= n;
    if (conn->state < ATL_CONN_CLOSING && n > 0) {
        ngtcp2_conn_extend_max_offset(conn->quic, n);
        if (!stream->wire_closed) {
            (void)ngtcp2_conn_extend_max_stream_offset(conn->quic, stream->id, n);
        }
        atl_qconn_mark_dirty(conn);
    }
    if (stream->wire_closed && stream->uncredited == 0) {
        atl_qstream_end(stream);
    }
}

/* ---- ending ---- */

void atl_qstream_shutdown(atl_qstream *stream, uint64_t app_code) {
    if (stream->ended || stream->conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    stream->write_shut = 1;
    stream->acked_all = 1; /* the reset may overtake the end: never said any more */
    atl_list_remove(&stream->send_node);
    if (stream->wire_closed) {
        atl_qstream_credit(stream, stream->uncredited);
        return;
    }
    (void)ngtcp2_conn_shutdown_stream(stream->conn->quic, 0, stream->id, app_code);
    /* what was delivered and never read, and what still comes, must not hold the connection's
     * window */
    atl_qstream_credit(stream, stream->uncredited);
    atl_qconn_mark_dirty(stream->conn);
}

/* ngtcp2 has forgotten the stream. Its owner hears of that when it has read everything, so that
 * streams which are closed and not read count against the peer's limit. */
void atl_qstream_on_wire_closed(atl_qstream *stream) {
    stream->wire_closed = 1;
    stream->write_shut = 1;
    atl_list_remove(&stream->send_node);
    if (stream->fin_sent && !stream->stopped && !stream->acked_all && stream->ops != NULL &&
        stream->acked == stream->written) {
        stream->acked_all = 1;
        if (stream->ops->on_acked != NULL) {
            stream->ops->on_acked(stream->user, stream);
        }
    }
    if (stream->uncredited == 0 || !stream->received_fin || stream->ops == NULL) {
        stream->uncredited == 0 ? atl_qstream_end(stream)
                                : atl_qstream_credit(stream, stream->uncredited);
    }
}

void atl_qstream_end(atl_qstream *stream) {
    atl_qconn *conn = stream->conn;

    if (stream->ended) {
        return;
    }
    stream->ended = 1;
    atl_list_remove(&stream->send_node);
    atl_list_remove(&stream->node);
    atl_list_append(&conn->dead, &stream->node);
    if (conn->state < ATL_CONN_CLOSING && !atl_qstream_is_local(stream)) {
        if (atl_qstream_is_uni(stream)) {
            ngtcp2_conn_extend_max_streams_uni(conn->quic, 1);
        } else {
            ngtcp2_conn_extend_max_streams_bidi(conn->quic, 1);
        }
        atl_qconn_mark_dirty(conn);
    }
    if (stream->ops != NULL && stream->ops->on_closed != NULL) {
        stream->ops->on_closed(stream->user, stream);
    }
}
