/* The session: life, the unidirectional streams, errors. */
#include "http3/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- memory ---- */

static void *mem_malloc(size_t size, void *user) {
    return atl_malloc(user, size);
}

static void mem_free(void *ptr, void *user) {
    atl_free(user, ptr);
}

static void *mem_calloc(size_t n, size_t size, void *user) {
    return atl_calloc(user, n, size);
}

static void *mem_realloc(void *ptr, size_t size, void *user) {
    return atl_realloc(user, ptr, size);
}

/* ---- brackets ---- */

void atl_h3_enter(atl_h3 *h3) {
    h3->busy++;
}

static void close_stream(atl_h3_stream *stream) {
    atl_h3 *h3 = stream->h3;
    int rv;

    if (!h3->broken) {
        rv = nghttp3_conn_close_stream(h3->http, stream->id, NGHTTP3_H3_NO_ERROR);
        if (rv != 0 && rv != NGHTTP3_ERR_STREAM_NOT_FOUND) {
            atl_h3_fail_lib(h3, rv);
        }
    }
    if ((!h3->is_server || stream->requested) && h3->ops->on_stream_closed != NULL) {
        h3->ops->on_stream_closed(h3->user, stream);
    }
    atl_h3_stream_free(stream);
}

/* Returns whether there were any. */
static int close_ended_streams(atl_h3 *h3) {
    atl_list *node = h3->streams.next;
    int any = 0;

    while (node != &h3->streams) {
        atl_h3_stream *stream = ATL_CONTAINER(node, atl_h3_stream, node);

        if (stream->qs == NULL) {
            close_stream(stream);
            any = 1;
            node = h3->streams.next; /* the upcall may have ended others */
        } else {
            node = node->next;
        }
    }
    return any;
}

static void tell(atl_h3 *h3) {
    int ready = h3->bound && (h3->is_server || h3->settings);

    if (ready && !h3->told_ready && atl_h3_usable(h3)) {
        h3->told_ready = 1;
        if (!h3->is_server && !h3->connect_ok) {
            atl_h3_fail(h3, ATLAS_ERR_HTTP, NGHTTP3_H3_SETTINGS_ERROR,
                        "the server offers no extended CONNECT");
        } else if (h3->ops->on_ready != NULL) {
            h3->ops->on_ready(h3->user, h3);
        }
    }
    if (h3->goaway && !h3->told_goaway && atl_h3_usable(h3)) {
        h3->told_goaway = 1;
        if (h3->ops->on_goaway != NULL) {
            h3->ops->on_goaway(h3->user, h3);
        }
    }
}

void atl_h3_leave(atl_h3 *h3) {
    if (h3->busy == 1) {
        do {
            tell(h3);
            atl_h3_flush(h3);
        } while (close_ended_streams(h3)); /* whose upcalls may have left something to write */
    }
    h3->busy--;
}

/* ---- errors ---- */

void atl_h3_fail(atl_h3 *h3, int32_t code, uint64_t http_code, const char *text) {
    if (h3->closed) {
        return;
    }
    h3->closed = 1;
    h3->fail_code = code;
    (void)snprintf(h3->fail_text, sizeof(h3->fail_text), "%s", text);
    atl_qconn_close(h3->conn, http_code, text);
}

void atl_h3_fail_lib(atl_h3 *h3, int error) {
    uint64_t http_code = nghttp3_err_infer_quic_app_error_code(error);
    int32_t code = error == NGHTTP3_ERR_NOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_HTTP;

    h3->broken = 1;
    if (error == NGHTTP3_ERR_QPACK_HEADER_TOO_LARGE) {
        http_code = NGHTTP3_H3_EXCESSIVE_LOAD;
    }
    atl_h3_fail(h3, code, http_code, nghttp3_strerror(error));
}

/* ---- unidirectional streams ---- */

static void credit_all(void *user, atl_qstream *qs, const uint8_t *data, size_t len, int fin) {
    (void)user;
    (void)data;
    (void)fin;
    atl_qstream_credit(qs, len);
}

/* The peer's control or QPACK stream, or one of ours, has ended: an error unless its type is
 * unknown. */
static void uni_lost(atl_h3 *h3, int64_t id) {
    int rv;

    if (!atl_h3_usable(h3)) {
        return;
    }
    rv = nghttp3_conn_close_stream(h3->http, id, NGHTTP3_H3_NO_ERROR);
    if (rv != 0 && rv != NGHTTP3_ERR_STREAM_NOT_FOUND) {
        atl_h3_fail_lib(h3, rv);
    }
}

static void uni_data(void *user, atl_qstream *qs, const uint8_t *data, size_t len, int fin) {
    int64_t id = atl_qstream_id(qs);

    atl_h3_feed(user, qs, data, len, fin);
    if (fin) {
        uni_lost(user, id);
    }
}

static void uni_writable(void *user, atl_qstream *qs) {
    atl_h3 *h3 = user;

    if (atl_h3_usable(h3)) {
        atl_h3_enter(h3);
        if (nghttp3_conn_unblock_stream(h3->http, atl_qstream_id(qs)) != 0) {
            atl_h3_fail_lib(h3, NGHTTP3_ERR_NOMEM);
        }
        atl_h3_leave(h3);
    }
}

static void uni_reset(void *user, atl_qstream *qs, uint64_t app_code) {
    (void)app_code;
    uni_lost(user, atl_qstream_id(qs));
}

/* After its end, which was judged then, or with the connection. */
static void uni_closed(void *user, atl_qstream *qs) {
    atl_h3 *h3 = user;
    size_t i;

    if (h3->reading == qs) {
        h3->reading = NULL;
    }
    for (i = 0; i < ATL_H3_LOCAL_STREAMS; i++) {
        if (h3->local[i] == qs) {
            h3->local[i] = NULL;
        }
    }
}

static const atl_qstream_ops UNI_OPS = {
    .on_data = uni_data,
    .on_writable = uni_writable,
    .on_reset = uni_reset,
    .on_stop = uni_reset,
    .on_closed = uni_closed,
};

static const atl_qstream_ops REFUSED_OPS = {
    .on_data = credit_all,
};

static int32_t bind_streams(atl_h3 *h3) {
    int64_t ids[ATL_H3_LOCAL_STREAMS];
    int32_t status = ATLAS_OK;
    size_t i;

    for (i = 0; i < ATL_H3_LOCAL_STREAMS && status == ATLAS_OK; i++) {
        status = atl_qconn_open_stream(h3->conn, 1, &UNI_OPS, h3, &h3->local[i]);
        ids[i] = status == ATLAS_OK ? atl_qstream_id(h3->local[i]) : -1;
    }
    if (status != ATLAS_OK) {
        return status;
    }
    if (nghttp3_conn_bind_control_stream(h3->http, ids[0]) != 0 ||
        nghttp3_conn_bind_qpack_streams(h3->http, ids[1], ids[2]) != 0) {
        return ATLAS_ERR_NOMEM;
    }
    h3->bound = 1;
    return ATLAS_OK;
}

/* ---- upcalls of the connection ---- */

static void conn_confirmed(void *user, atl_qconn *conn) {
    atl_h3 *h3 = user;
    int32_t status;

    (void)conn;
    if (!atl_h3_usable(h3)) {
        return;
    }
    atl_h3_enter(h3);
    status = bind_streams(h3);
    if (status != ATLAS_OK) {
        atl_h3_fail(h3, status, NGHTTP3_H3_INTERNAL_ERROR, "no control streams");
    }
    atl_h3_leave(h3);
}

/* Known to nghttp3 and ended there at once, so that what else comes for this id is ignored. */
static void refuse(atl_h3 *h3, atl_qstream *qs) {
    int64_t id = atl_qstream_id(qs);
    nghttp3_ssize rv = nghttp3_conn_read_stream2(h3->http, id, NULL, 0, 0, h3->loop->now);

    atl_qstream_set_ops(qs, &REFUSED_OPS, h3);
    if (rv < 0) {
        atl_h3_fail_lib(h3, (int)rv);
        return;
    }
    rv = nghttp3_conn_close_stream(h3->http, id, NGHTTP3_H3_REQUEST_REJECTED);
    if (rv != 0 && rv != NGHTTP3_ERR_STREAM_NOT_FOUND) {
        atl_h3_fail_lib(h3, (int)rv);
        return;
    }
    atl_qstream_shutdown(qs, NGHTTP3_H3_REQUEST_REJECTED);
}

/* nghttp3 knows the stream from here on: what its callbacks get is ours. */
static void take_request(atl_h3 *h3, atl_qstream *qs, atl_h3_stream *stream) {
    nghttp3_ssize rv;

    h3->reading = qs;
    rv = nghttp3_conn_read_stream2(h3->http, stream->id, NULL, 0, 0, h3->loop->now);
    if (rv >= 0) {
        rv = nghttp3_conn_set_stream_user_data(h3->http, stream->id, stream);
    }
    if (rv < 0) {
        atl_h3_fail_lib(h3, (int)rv);
    }
    h3->reading = NULL;
}

static void new_request(atl_h3 *h3, atl_qstream *qs) {
    uint64_t limit = (uint64_t)atl_qstream_id(qs) / 4 + 1 + ATL_H3_REQUESTS;
    atl_h3_stream *stream;

    if (!atl_bucket_take(&h3->requests, h3->loop->now, 1)) {
        atl_h3_fail(h3, ATLAS_ERR_HTTP, NGHTTP3_H3_EXCESSIVE_LOAD, "too many requests");
        return;
    }
    if (limit > h3->streams_told) {
        h3->streams_told = limit;
        nghttp3_conn_set_max_client_streams_bidi(h3->http, limit);
    }
    if (h3->n_streams >= ATL_H3_REQUESTS || atl_h3_stream_new(h3, qs, &stream) != ATLAS_OK) {
        refuse(h3, qs);
        return;
    }
    take_request(h3, qs, stream);
}

static void conn_stream(void *user, atl_qconn *conn, atl_qstream *qs) {
    atl_h3 *h3 = user;

    (void)conn;
    if (!atl_h3_usable(h3)) {
        atl_qstream_set_ops(qs, &REFUSED_OPS, h3);
        return;
    }
    if (atl_qstream_is_uni(qs)) {
        atl_qstream_set_ops(qs, &UNI_OPS, h3);
        return;
    }
    atl_h3_enter(h3);
    if (h3->is_server) {
        new_request(h3, qs);
    } else {
        atl_h3_fail(h3, ATLAS_ERR_HTTP, NGHTTP3_H3_STREAM_CREATION_ERROR,
                    "a request from a server");
    }
    atl_h3_leave(h3);
}

static void conn_allowed(void *user, atl_qconn *conn, int uni) {
    atl_h3 *h3 = user;

    (void)conn;
    if (!uni && !h3->is_server && atl_h3_usable(h3) && h3->ops->on_allowed != NULL) {
        atl_h3_enter(h3);
        h3->ops->on_allowed(h3->user, h3);
        atl_h3_leave(h3);
    }
}

static void conn_path(void *user, atl_qconn *conn) {
    atl_h3 *h3 = user;

    (void)conn;
    if (!h3->closed && h3->ops->on_path != NULL) {
        h3->ops->on_path(h3->user, h3);
    }
}

static void conn_silent(void *user, atl_qconn *conn, uint64_t silent) {
    atl_h3 *h3 = user;

    (void)conn;
    if (!h3->closed && h3->ops->on_silent != NULL) {
        h3->ops->on_silent(h3->user, h3, silent);
    }
}

static void conn_heard(void *user, atl_qconn *conn) {
    atl_h3 *h3 = user;

    (void)conn;
    if (!h3->closed && h3->ops->on_heard != NULL) {
        h3->ops->on_heard(h3->user, h3);
    }
}

static void free_session(atl_h3 *h3) {
    while (!atl_list_empty(&h3->streams)) {
        atl_h3_stream_free(ATL_CONTAINER(h3->streams.next, atl_h3_stream, node));
    }
    nghttp3_conn_del(h3->http);
    atl_free(h3->env, h3);
}

static void conn_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    atl_h3 *h3 = user;
    atl_qclose reason = *why;

    (void)conn;
    h3->closed = 1;
    if (h3->fail_code != ATLAS_OK && why->code == ATLAS_OK) {
        reason.code = h3->fail_code;
        reason.text = h3->fail_text;
    }
    if (h3->ops->on_closed != NULL) {
        h3->ops->on_closed(h3->user, h3, &reason);
    }
    free_session(h3);
}

static const atl_qconn_ops CONN_OPS = {
    .on_confirmed = conn_confirmed,
    .on_stream = conn_stream,
    .on_streams_allowed = conn_allowed,
    .on_path = conn_path,
    .on_silent = conn_silent,
    .on_heard = conn_heard,
    .on_closed = conn_closed,
};

/* ---- life ---- */

/* nghttp3's own hash seed stays 0: it counts stream ids, at most a few hundred at once. */
static int make_http(atl_h3 *h3) {
    nghttp3_callbacks callbacks;
    nghttp3_settings settings;
    int rv;

    atl_h3_fill_callbacks(&callbacks);
    nghttp3_settings_default(&settings);
    settings.max_field_section_size = ATL_H3_FIELDS;
    settings.qpack_max_dtable_capacity = 0;
    settings.qpack_encoder_max_dtable_capacity = 0;
    settings.qpack_blocked_streams = 0;
    settings.enable_connect_protocol = h3->is_server;
    settings.h3_datagram = 0; /* relayed packets are no HTTP datagrams */
    if (!h3->is_server) {
        return nghttp3_conn_client_new(&h3->http, &callbacks, &settings, &h3->mem, h3);
    }
    rv = nghttp3_conn_server_new(&h3->http, &callbacks, &settings, &h3->mem, h3);
    if (rv == 0) {
        h3->streams_told = ATL_H3_REQUESTS;
        nghttp3_conn_set_max_client_streams_bidi(h3->http, h3->streams_told);
        nghttp3_conn_set_max_concurrent_streams(h3->http, ATL_H3_REQUESTS);
    }
    return rv;
}

int32_t atl_h3_new(atl_qconn *conn, const atl_h3_ops *ops, void *user, atl_h3 **out) {
    atl_loop *loop = atl_endpoint_loop(atl_qconn_endpoint(conn));
    atl_h3 *h3;

    if (atl_qconn_is_confirmed(conn)) {
        return ATLAS_ERR_STATE;
    }
    h3 = atl_calloc(loop->env, 1, sizeof(*h3));
    if (h3 == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    h3->conn = conn;
    h3->loop = loop;
    h3->env = loop->env;
    h3->ops = ops;
    h3->user = user;
    h3->is_server = (uint8_t)(atl_qconn_is_server(conn) != 0);
    atl_list_init(&h3->streams);
    atl_bucket_init(&h3->requests, ATL_H3_RATE, ATL_H3_BURST, loop->now);
    h3->mem.user_data = loop->env;
    h3->mem.malloc = mem_malloc;
    h3->mem.free = mem_free;
    h3->mem.calloc = mem_calloc;
    h3->mem.realloc = mem_realloc;
    if (make_http(h3) != 0) {
        atl_free(loop->env, h3);
        return ATLAS_ERR_NOMEM;
    }
    atl_qconn_set_ops(conn, &CONN_OPS, h3);
    *out = h3;
    return ATLAS_OK;
}

atl_qconn *atl_h3_conn(atl_h3 *h3) {
    return h3->conn;
}

void *atl_h3_user(atl_h3 *h3) {
    return h3->user;
}

void atl_h3_close(atl_h3 *h3, uint64_t code, const char *reason) {
    if (!h3->closed) {
        h3->closed = 1;
        atl_qconn_close(h3->conn, code, reason);
    }
}

void atl_h3_abort(atl_h3 *h3) {
    atl_qconn_abort(h3->conn);
    free_session(h3);
}

void atl_h3_part(atl_h3 *h3, uint64_t code) {
    atl_qconn_part(h3->conn, code);
    free_session(h3);
}

void atl_h3_set_request_rate(atl_h3 *h3, uint64_t rate, uint64_t burst) {
    if (h3->requests.rate != rate || h3->requests.burst != burst) {
        atl_bucket_init(&h3->requests, rate, burst, h3->loop->now);
    }
}

void atl_h3_goaway(atl_h3 *h3) {
    int rv;

    if (!atl_h3_usable(h3) || !h3->is_server || !h3->bound || h3->draining) {
        return;
    }
    h3->draining = 1;
    atl_h3_enter(h3);
    rv = nghttp3_conn_shutdown(h3->http);
    if (rv != 0) {
        atl_h3_fail_lib(h3, rv);
    }
    atl_h3_leave(h3);
}
