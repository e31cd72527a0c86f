/* Requests and what they send: heads, bodies, the copy from nghttp3 into QUIC's send buffers.
 * Answers are in respond.c. */
#include "http3/internal.h"

#include <stdio.h>
#include <string.h>

#define VECTORS 8
#define NV_MAX 8

/* ---- life ---- */

int32_t atl_h3_stream_new(atl_h3 *h3, atl_qstream *qs, atl_h3_stream **out) {
    atl_h3_stream *stream = atl_calloc(h3->env, 1, sizeof(*stream));

    if (stream == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    stream->h3 = h3;
    stream->qs = qs;
    stream->id = qs == NULL ? -1 : atl_qstream_id(qs);
    atl_list_append(&h3->streams, &stream->node);
    h3->n_streams++;
    if (qs != NULL) {
        atl_qstream_set_ops(qs, &atl_h3_request_ops, stream);
    }
    *out = stream;
    return ATLAS_OK;
}

void atl_h3_stream_free(atl_h3_stream *stream) {
    atl_h3 *h3 = stream->h3;

    while (stream->out != NULL) {
        atl_h3_chunk *next = stream->out->next;

        atl_free(h3->env, stream->out);
        stream->out = next;
    }
    atl_h3_head_free(h3, stream->head);
    atl_list_remove(&stream->node);
    h3->n_streams--;
    atl_free(h3->env, stream);
}

/* ---- upcalls of QUIC streams that carry requests ---- */

void atl_h3_feed(atl_h3 *h3, atl_qstream *qs, const uint8_t *data, size_t len, int fin) {
    int64_t id = atl_qstream_id(qs);
    nghttp3_ssize n;
    int still_there;

    if (!atl_h3_usable(h3)) {
        atl_qstream_credit(qs, len);
        return;
    }
    atl_h3_enter(h3);
    h3->reading = qs;
    n = nghttp3_conn_read_stream2(h3->http, id, data, len, fin, h3->loop->now);
    still_there = h3->reading != NULL;
    h3->reading = NULL;
    if (n > 0 && still_there) {
        atl_qstream_credit(qs, (uint64_t)n);
    }
    if (n < 0) {
        atl_h3_fail_lib(h3, (int)n);
    }
    atl_h3_leave(h3);
}

static void request_data(void *user, atl_qstream *qs, const uint8_t *data, size_t len, int fin) {
    atl_h3_stream *stream = user;

    if (stream->reset) {
        atl_qstream_credit(qs, len);
        return;
    }
    atl_h3_feed(stream->h3, qs, data, len, fin);
}

static void request_writable(void *user, atl_qstream *qs) {
    atl_h3_stream *stream = user;
    atl_h3 *h3 = stream->h3;

    (void)qs;
    if (atl_h3_usable(h3) && !stream->reset) {
        atl_h3_enter(h3);
        if (nghttp3_conn_unblock_stream(h3->http, stream->id) != 0) {
            atl_h3_fail_lib(h3, NGHTTP3_ERR_NOMEM);
        }
        atl_h3_leave(h3);
    }
}

/* A response that went out completely: whatever else the client wanted to send is not read. */
static void request_acked(void *user, atl_qstream *qs) {
    atl_h3_stream *stream = user;

    if (stream->h3->is_server && stream->answered && !stream->open && !stream->got_end &&
        !stream->reset) {
        stream->reset = 1;
        atl_qstream_shutdown(qs, NGHTTP3_H3_NO_ERROR);
    }
}

static void cut(atl_h3_stream *stream, uint64_t code) {
    atl_h3 *h3 = stream->h3;
    int rv;

    if (stream->reset) {
        return;
    }
    stream->reset = 1;
    atl_h3_enter(h3);
    if (atl_h3_usable(h3)) {
        nghttp3_conn_shutdown_stream_write(h3->http, stream->id);
        rv = nghttp3_conn_shutdown_stream_read(h3->http, stream->id);
        if (rv != 0) {
            atl_h3_fail_lib(h3, rv);
        }
    }
    if (stream->qs != NULL) {
        atl_qstream_shutdown(stream->qs, code);
    }
    atl_h3_leave(h3);
}

static void request_reset(void *user, atl_qstream *qs, uint64_t app_code) {
    (void)qs;
    (void)app_code;
    cut(user, NGHTTP3_H3_REQUEST_CANCELLED);
}

/* A server may stop reading a request that it has answered (RFC 9114 section 4.1); the answer still
 * counts. */
static void request_stop(void *user, atl_qstream *qs, uint64_t app_code) {
    atl_h3_stream *stream = user;

    (void)qs;
    if (!stream->h3->is_server && app_code == NGHTTP3_H3_NO_ERROR) {
        stream->open = 0;
        if (atl_h3_usable(stream->h3)) {
            nghttp3_conn_shutdown_stream_write(stream->h3->http, stream->id);
        }
        return;
    }
    cut(stream, NGHTTP3_H3_REQUEST_CANCELLED);
}

static void request_closed(void *user, atl_qstream *qs) {
    atl_h3_stream *stream = user;
    atl_h3 *h3 = stream->h3;

    if (h3->reading == qs) {
        h3->reading = NULL;
    }
    stream->qs = NULL;
    stream->reset = 1;
    atl_h3_enter(h3);
    atl_h3_leave(h3);
}

const atl_qstream_ops atl_h3_request_ops = {
    .on_data = request_data,
    .on_writable = request_writable,
    .on_acked = request_acked,
    .on_reset = request_reset,
    .on_stop = request_stop,
    .on_closed = request_closed,
};

/* ---- the way out ---- */

static atl_qstream *find_stream(atl_h3 *h3, int64_t id) {
    atl_list *node;
    size_t i;

    for (i = 0; i < ATL_H3_LOCAL_STREAMS; i++) {
        if (h3->local[i] != NULL && atl_qstream_id(h3->local[i]) == id) {
            return h3->local[i];
        }
    }
    for (node = h3->streams.next; node != &h3->streams; node = node->next) {
        atl_h3_stream *stream = ATL_CONTAINER(node, atl_h3_stream, node);

        if (stream->id == id) {
            return stream->qs;
        }
    }
    return NULL;
}

/* Copies vectors until QUIC takes no more. ATLAS_OK and how much it took. */
static int32_t copy_out(atl_qstream *qs, const nghttp3_vec *vec, size_t n, int fin, size_t *total) {
    int32_t status = ATLAS_OK;
    size_t taken = 0;
    size_t i;

    *total = 0;
    if (n == 0) {
        return atl_qstream_write(qs, NULL, 0, fin, &taken);
    }
    for (i = 0; i < n && status == ATLAS_OK; i++) {
        status = atl_qstream_write(qs, vec[i].base, vec[i].len, fin && i + 1 == n, &taken);
        if (status == ATLAS_OK) {
            *total += taken;
            if (taken < vec[i].len) {
                break;
            }
        }
    }
    return status;
}

/* One stream's share. Returns 0 to go on, or nghttp3's error. */
static int write_some(atl_h3 *h3, int64_t id, const nghttp3_vec *vec, size_t n, int fin) {
    atl_qstream *qs = find_stream(h3, id);
    size_t taken = 0;
    int32_t status = qs == NULL ? ATLAS_ERR_CLOSED : copy_out(qs, vec, n, fin, &taken);
    int rv;

    if (status == ATLAS_ERR_NOMEM) {
        return NGHTTP3_ERR_NOMEM;
    }
    if (status != ATLAS_OK) {
        nghttp3_conn_shutdown_stream_write(h3->http, id);
        return 0;
    }
    rv = nghttp3_conn_add_write_offset(h3->http, id, taken);
    if (rv == 0 && taken > 0) {
        rv = nghttp3_conn_add_ack_offset(h3->http, id, taken);
    }
    if (taken < nghttp3_vec_len(vec, n)) {
        nghttp3_conn_block_stream(h3->http, id);
    }
    return rv;
}

void atl_h3_flush(atl_h3 *h3) {
    int rv = 0;

    if (!h3->bound || h3->flushing) {
        return;
    }
    h3->flushing = 1;
    while (atl_h3_usable(h3) && rv == 0) {
        nghttp3_vec vec[VECTORS];
        int64_t id = -1;
        int fin = 0;
        nghttp3_ssize n = nghttp3_conn_writev_stream(h3->http, &id, &fin, vec, VECTORS);

        if (n < 0) {
            rv = (int)n;
        } else if (id < 0) {
            break;
        } else {
            rv = write_some(h3, id, vec, (size_t)n, fin);
        }
    }
    h3->flushing = 0;
    if (rv != 0) {
        atl_h3_fail_lib(h3, rv);
    }
}

void atl_h3_stream_taken(atl_h3_stream *stream, uint64_t n) {
    while (n > 0 && stream->out != NULL) {
        atl_h3_chunk *chunk = stream->out;
        size_t left = chunk->len - stream->out_taken;

        if (n < left) {
            stream->out_taken += (size_t)n;
            stream->pending -= (size_t)n;
            return;
        }
        n -= left;
        stream->pending -= left;
        stream->out = chunk->next;
        stream->out_taken = 0;
        if (stream->out == NULL) {
            stream->out_tail = NULL;
        }
        atl_free(stream->h3->env, chunk);
    }
}

/* nghttp3 asks for a body. */
static nghttp3_ssize read_body(nghttp3_conn *http, int64_t id, nghttp3_vec *vec, size_t cap,
                               uint32_t *flags, void *user, void *stream_user) {
    atl_h3_stream *stream = stream_user;
    nghttp3_ssize n = 0;

    (void)http;
    (void)id;
    (void)user;
    if (stream == NULL) {
        *flags |= NGHTTP3_DATA_FLAG_EOF;
        return 0;
    }
    while (stream->unread != NULL && (size_t)n < cap) {
        vec[n].base = stream->unread->data;
        vec[n].len = stream->unread->len;
        stream->unread = stream->unread->next;
        n++;
    }
    if (stream->unread == NULL && stream->ended) {
        *flags |= NGHTTP3_DATA_FLAG_EOF;
        return n;
    }
    return n > 0 ? n : NGHTTP3_ERR_WOULDBLOCK;
}

const nghttp3_data_reader atl_h3_body = {read_body};

int32_t atl_h3_queue(atl_h3_stream *stream, const void *data, size_t len) {
    atl_h3_chunk *chunk = atl_malloc(stream->h3->env, sizeof(*chunk) + len);

    if (chunk == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    chunk->next = NULL;
    chunk->len = len;
    memcpy(chunk->data, data, len);
    if (stream->out_tail == NULL) {
        stream->out = chunk;
        stream->out_taken = 0;
    } else {
        stream->out_tail->next = chunk;
    }
    stream->out_tail = chunk;
    if (stream->unread == NULL) {
        stream->unread = chunk;
    }
    stream->pending += len;
    return ATLAS_OK;
}

static void resume(atl_h3_stream *stream) {
    atl_h3 *h3 = stream->h3;

    atl_h3_enter(h3);
    if (nghttp3_conn_resume_stream(h3->http, stream->id) != 0) {
        atl_h3_fail_lib(h3, NGHTTP3_ERR_NOMEM);
    }
    atl_h3_leave(h3);
}

/* ---- heads ---- */

void atl_h3_add_field(nghttp3_nv *list, size_t *n, const char *name, const char *value) {
    nghttp3_nv *nv = &list[(*n)++];

    nv->name = (const uint8_t *)name;
    nv->namelen = strlen(name);
    nv->value = (const uint8_t *)value;
    nv->valuelen = strlen(value);
    nv->flags = NGHTTP3_NV_FLAG_NONE;
}

static size_t request_fields(const atl_h3_request *request, nghttp3_nv *list) {
    size_t n = 0;

    atl_h3_add_field(list, &n, ":method", request->method);
    atl_h3_add_field(list, &n, ":scheme", request->scheme);
    atl_h3_add_field(list, &n, ":authority", request->authority);
    atl_h3_add_field(list, &n, ":path", request->path);
    if (request->protocol[0] != '\0') {
        atl_h3_add_field(list, &n, ":protocol", request->protocol);
    }
    if (request->capsules) {
        atl_h3_add_field(list, &n, "capsule-protocol", "?1");
    }
    return n;
}

static int32_t can_open(const atl_h3 *h3, const atl_h3_request *request) {
    if (request->method[0] == '\0' || request->scheme[0] == '\0' || request->authority[0] == '\0' ||
        request->path[0] == '\0') {
        return ATLAS_ERR_INVALID;
    }
    if (!atl_h3_usable(h3) || h3->goaway) {
        return ATLAS_ERR_CLOSED;
    }
    if (h3->is_server || !h3->bound || (request->protocol[0] != '\0' && !h3->connect_ok)) {
        return ATLAS_ERR_STATE;
    }
    return h3->n_streams >= ATL_H3_REQUESTS ? ATLAS_ERR_LIMIT : ATLAS_OK;
}

/* The stream with what it will send. Memory first: a QUIC stream cannot be taken back. */
static int32_t prepare(atl_h3 *h3, const void *body, size_t len, atl_h3_stream **out) {
    atl_h3_stream *stream;
    int32_t status = atl_h3_stream_new(h3, NULL, &stream);

    if (status != ATLAS_OK) {
        return status;
    }
    if (len > 0) {
        status = atl_h3_queue(stream, body, len);
    }
    if (status == ATLAS_OK) {
        status = atl_qconn_open_stream(h3->conn, 0, &atl_h3_request_ops, stream, &stream->qs);
    }
    if (status != ATLAS_OK) {
        atl_h3_stream_free(stream);
        return status;
    }
    stream->id = atl_qstream_id(stream->qs);
    *out = stream;
    return ATLAS_OK;
}

static void submit_request(atl_h3_stream *stream, const nghttp3_nv *list, size_t n) {
    atl_h3 *h3 = stream->h3;
    int with_body = stream->is_connect || stream->out != NULL;

    atl_h3_enter(h3);
    if (nghttp3_conn_submit_request(h3->http, stream->id, list, n, with_body ? &atl_h3_body : NULL,
                                    stream) != 0) {
        atl_h3_fail_lib(h3, NGHTTP3_ERR_NOMEM);
    }
    atl_h3_leave(h3);
}

int32_t atl_h3_open(atl_h3 *h3, const atl_h3_request *request, void *stream_user,
                    atl_h3_stream **out) {
    nghttp3_nv list[NV_MAX];
    atl_h3_stream *stream;
    int32_t status = can_open(h3, request);

    if (status == ATLAS_OK) {
        status = prepare(h3, NULL, 0, &stream);
    }
    if (status != ATLAS_OK) {
        return status;
    }
    stream->user = stream_user;
    stream->is_connect = (uint8_t)(request->protocol[0] != '\0');
    stream->open = stream->is_connect;
    *out = stream;
    submit_request(stream, list, request_fields(request, list));
    return ATLAS_OK;
}

int32_t atl_h3_open_with(atl_h3 *h3, const atl_h3_request *request, const char *content_type,
                         const void *body, size_t len, void *stream_user, atl_h3_stream **out) {
    nghttp3_nv list[NV_MAX];
    char length_text[24];
    atl_h3_stream *stream;
    int32_t status = can_open(h3, request);
    size_t n;

    if (request->protocol[0] != '\0' || strcmp(request->method, "CONNECT") == 0) {
        status = ATLAS_ERR_INVALID;
    } else if (status == ATLAS_OK && len > ATL_H3_BODY) {
        status = ATLAS_ERR_TOO_LARGE;
    }
    if (status == ATLAS_OK) {
        status = prepare(h3, body, len, &stream);
    }
    if (status != ATLAS_OK) {
        return status;
    }
    n = request_fields(request, list);
    if (content_type != NULL) {
        atl_h3_add_field(list, &n, "content-type", content_type);
    }
    if (content_type != NULL || len > 0) {
        (void)snprintf(length_text, sizeof(length_text), "%zu", len);
        atl_h3_add_field(list, &n, "content-length", length_text);
    }
    stream->user = stream_user;
    stream->ended = 1;
    *out = stream;
    submit_request(stream, list, n);
    return ATLAS_OK;
}

/* ---- open streams ---- */

int32_t atl_h3_write(atl_h3_stream *stream, const void *data, size_t len) {
    int32_t status;

    if (!atl_h3_usable(stream->h3) || stream->reset || stream->qs == NULL) {
        return ATLAS_ERR_CLOSED;
    }
    if (!stream->open || stream->ended) {
        return ATLAS_ERR_STATE;
    }
    if (len > ATL_H3_PENDING) {
        return ATLAS_ERR_TOO_LARGE;
    }
    if (stream->pending + atl_qstream_buffered(stream->qs) + len > ATL_H3_PENDING) {
        return ATLAS_ERR_AGAIN;
    }
    status = len == 0 ? ATLAS_OK : atl_h3_queue(stream, data, len);
    if (status == ATLAS_OK && len > 0) {
        resume(stream);
    }
    return status;
}

void atl_h3_end(atl_h3_stream *stream) {
    if (atl_h3_usable(stream->h3) && !stream->reset && stream->open && !stream->ended) {
        stream->ended = 1;
        resume(stream);
    }
}

void atl_h3_reset(atl_h3_stream *stream, uint64_t code) {
    cut(stream, code);
}

void atl_h3_stream_set_user(atl_h3_stream *stream, void *stream_user) {
    stream->user = stream_user;
}

void *atl_h3_stream_user(atl_h3_stream *stream) {
    return stream->user;
}

atl_h3 *atl_h3_stream_session(atl_h3_stream *stream) {
    return stream->h3;
}

int64_t atl_h3_stream_id(const atl_h3_stream *stream) {
    return stream->id;
}
