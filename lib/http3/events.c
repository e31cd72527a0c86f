/* nghttp3's callbacks: from its events to upcalls. An owner may do anything in an upcall, so each
 * callback looks again at what is left of the stream and the session afterwards. */
#include "http3/internal.h"

#include <string.h>

void atl_h3_head_free(atl_h3 *h3, atl_h3_head *head) {
    size_t i;

    if (head == NULL) {
        return;
    }
    for (i = 0; i < ATL_H3_TEXTS; i++) {
        atl_free(h3->env, head->texts[i]);
    }
    atl_free(h3->env, head);
}

/* Whether the owner still hears of the stream. */
static int alive(const atl_h3 *h3, const atl_h3_stream *stream) {
    return stream != NULL && !stream->reset && stream->qs != NULL && !h3->closed;
}

/* ---- fields ---- */

static int on_begin_headers(nghttp3_conn *http, int64_t id, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;

    (void)http;
    (void)id;
    if (!alive(h3, stream)) {
        return 0;
    }
    stream->fields = 0;
    stream->status = 0;
    if (h3->is_server && stream->head == NULL) {
        stream->head = atl_calloc(h3->env, 1, sizeof(*stream->head));
        return stream->head == NULL ? NGHTTP3_ERR_CALLBACK_FAILURE : 0;
    }
    return 0;
}

static int text_of_token(int32_t token) {
    switch (token) {
    case NGHTTP3_QPACK_TOKEN__METHOD:
        return ATL_H3_METHOD;
    case NGHTTP3_QPACK_TOKEN__SCHEME:
        return ATL_H3_SCHEME;
    case NGHTTP3_QPACK_TOKEN__AUTHORITY:
        return ATL_H3_AUTHORITY;
    case NGHTTP3_QPACK_TOKEN__PATH:
        return ATL_H3_PATH;
    case NGHTTP3_QPACK_TOKEN__PROTOCOL:
        return ATL_H3_PROTOCOL;
    default:
        return -1;
    }
}

static int keep_text(atl_h3 *h3, atl_h3_head *head, int which, const nghttp3_vec *value) {
    char *text = atl_malloc(h3->env, value->len + 1);

    if (text == NULL) {
        return NGHTTP3_ERR_CALLBACK_FAILURE;
    }
    memcpy(text, value->base, value->len);
    text[value->len] = '\0';
    atl_free(h3->env, head->texts[which]);
    head->texts[which] = text;
    return 0;
}

static int vec_is(const nghttp3_vec *vec, const char *text) {
    return vec->len == strlen(text) && memcmp(vec->base, text, vec->len) == 0;
}

static int request_field(atl_h3 *h3, atl_h3_stream *stream, int32_t token, const nghttp3_vec *name,
                         const nghttp3_vec *value) {
    int which = text_of_token(token);

    if (stream->head == NULL || stream->fields > ATL_H3_FIELDS) {
        return 0;
    }
    if (which >= 0) {
        return keep_text(h3, stream->head, which, value);
    }
    if (vec_is(name, "capsule-protocol") && vec_is(value, "?1")) {
        stream->head->capsules = 1;
    }
    return 0;
}

/* nghttp3 has checked that a :status is three digits. */
static void response_field(atl_h3_stream *stream, int32_t token, const nghttp3_vec *value) {
    if (token == NGHTTP3_QPACK_TOKEN__STATUS && value->len == 3) {
        stream->status =
            (value->base[0] - '0') * 100 + (value->base[1] - '0') * 10 + (value->base[2] - '0');
    }
}

static int count_field(atl_h3 *h3, atl_h3_stream *stream, const nghttp3_vec *name,
                       const nghttp3_vec *value) {
    stream->fields += name->len + value->len + 32;
    if (stream->fields > ATL_H3_FIELDS_FATAL ||
        (!h3->is_server && stream->fields > ATL_H3_FIELDS)) {
        atl_h3_fail(h3, ATLAS_ERR_HTTP, NGHTTP3_H3_EXCESSIVE_LOAD,
                    "the field section is too large");
        return NGHTTP3_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static int on_header(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name,
                     nghttp3_rcbuf *value, uint8_t flags, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;
    nghttp3_vec name_vec = nghttp3_rcbuf_get_buf(name);
    nghttp3_vec value_vec = nghttp3_rcbuf_get_buf(value);

    (void)http;
    (void)id;
    (void)flags;
    if (!alive(h3, stream)) {
        return 0;
    }
    if (count_field(h3, stream, &name_vec, &value_vec) != 0) {
        return NGHTTP3_ERR_CALLBACK_FAILURE;
    }
    if (h3->is_server) {
        return request_field(h3, stream, token, &name_vec, &value_vec);
    }
    response_field(stream, token, &value_vec);
    return 0;
}

static int on_trailer(nghttp3_conn *http, int64_t id, int32_t token, nghttp3_rcbuf *name,
                      nghttp3_rcbuf *value, uint8_t flags, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;
    nghttp3_vec name_vec = nghttp3_rcbuf_get_buf(name);
    nghttp3_vec value_vec = nghttp3_rcbuf_get_buf(value);

    (void)http;
    (void)id;
    (void)token;
    (void)flags;
    return alive(h3, stream) ? count_field(h3, stream, &name_vec, &value_vec) : 0;
}

/* ---- heads ---- */

static const char *text_or_empty(const atl_h3_head *head, int which) {
    return head->texts[which] == NULL ? "" : head->texts[which];
}

static void refuse_request(atl_h3_stream *stream, int32_t status) {
    (void)atl_h3_respond(stream, status, NULL, NULL, 0);
}

static void on_request_head(atl_h3 *h3, atl_h3_stream *stream) {
    atl_h3_head *head = stream->head;
    atl_h3_request request;

    stream->head = NULL;
    request.method = text_or_empty(head, ATL_H3_METHOD);
    request.scheme = text_or_empty(head, ATL_H3_SCHEME);
    request.authority = text_or_empty(head, ATL_H3_AUTHORITY);
    request.path = text_or_empty(head, ATL_H3_PATH);
    request.protocol = text_or_empty(head, ATL_H3_PROTOCOL);
    request.capsules = head->capsules;
    stream->is_connect = (uint8_t)(head->texts[ATL_H3_PROTOCOL] != NULL);
    stream->is_head = (uint8_t)(strcmp(request.method, "HEAD") == 0);
    if (stream->fields > ATL_H3_FIELDS) {
        refuse_request(stream, 431);
    } else if (strcmp(request.method, "CONNECT") == 0 && !stream->is_connect) {
        refuse_request(stream, 501); /* we are no proxy */
    } else if (stream->is_connect && request.protocol[0] == '\0') {
        refuse_request(stream, 400);
    } else if (h3->ops->on_request == NULL) {
        refuse_request(stream, 404);
    } else {
        stream->requested = 1;
        h3->ops->on_request(h3->user, h3, stream, &request);
    }
    atl_h3_head_free(h3, head);
}

static int on_end_headers(nghttp3_conn *http, int64_t id, int fin, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;

    (void)http;
    (void)id;
    (void)fin;
    if (!alive(h3, stream)) {
        return 0;
    }
    if (h3->is_server) {
        if (stream->head != NULL) {
            on_request_head(h3, stream);
        }
    } else if (stream->status >= 200 && h3->ops->on_response != NULL) {
        h3->ops->on_response(h3->user, stream, stream->status);
    }
    return 0;
}

/* ---- bodies ---- */

static int on_data(nghttp3_conn *http, int64_t id, const uint8_t *data, size_t len, void *user,
                   void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;

    (void)http;
    (void)id;
    if (stream == NULL) {
        return 0;
    }
    if (alive(h3, stream) && (!h3->is_server || stream->requested) && h3->ops->on_data != NULL) {
        h3->ops->on_data(h3->user, stream, data, len);
    }
    if (stream->qs != NULL) {
        atl_qstream_credit(stream->qs, len);
    }
    return 0;
}

static int on_deferred_consume(nghttp3_conn *http, int64_t id, size_t consumed, void *user,
                               void *stream_user) {
    atl_h3_stream *stream = stream_user;

    (void)http;
    (void)id;
    (void)user;
    if (stream != NULL && stream->qs != NULL) {
        atl_qstream_credit(stream->qs, consumed);
    }
    return 0;
}

static int on_end_stream(nghttp3_conn *http, int64_t id, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;

    (void)http;
    (void)id;
    if (!alive(h3, stream)) {
        return 0;
    }
    stream->got_end = 1;
    if ((!h3->is_server || stream->requested) && h3->ops->on_end != NULL) {
        h3->ops->on_end(h3->user, stream);
    }
    return 0;
}

static int on_acked(nghttp3_conn *http, int64_t id, uint64_t len, void *user, void *stream_user) {
    (void)http;
    (void)id;
    (void)user;
    if (stream_user != NULL) {
        atl_h3_stream_taken(stream_user, len);
    }
    return 0;
}

/* ---- the session ---- */

/* nghttp3 rejects only what it is reading: a request after GOAWAY, a unidirectional stream of an
 * unknown type. */
static int on_reject(nghttp3_conn *http, int64_t id, uint64_t code, void *user, void *stream_user) {
    atl_h3 *h3 = user;
    atl_h3_stream *stream = stream_user;

    (void)http;
    if (stream != NULL) {
        stream->reset = 1;
    }
    if (h3->reading != NULL && atl_qstream_id(h3->reading) == id) {
        atl_qstream_shutdown(h3->reading, code);
    }
    return 0;
}

static int on_settings(nghttp3_conn *http, const nghttp3_proto_settings *settings, void *user) {
    atl_h3 *h3 = user;

    (void)http;
    h3->settings = 1;
    h3->connect_ok = settings->enable_connect_protocol;
    return 0;
}

static int on_shutdown(nghttp3_conn *http, int64_t id, void *user) {
    atl_h3 *h3 = user;

    (void)http;
    (void)id;
    h3->goaway = 1;
    return 0;
}

void atl_h3_fill_callbacks(nghttp3_callbacks *callbacks) {
    memset(callbacks, 0, sizeof(*callbacks));
    callbacks->acked_stream_data = on_acked;
    callbacks->recv_data = on_data;
    callbacks->deferred_consume = on_deferred_consume;
    callbacks->begin_headers = on_begin_headers;
    callbacks->recv_header = on_header;
    callbacks->end_headers = on_end_headers;
    callbacks->recv_trailer = on_trailer;
    callbacks->end_stream = on_end_stream;
    callbacks->stop_sending = on_reject;
    callbacks->reset_stream = on_reject;
    callbacks->shutdown = on_shutdown;
    callbacks->recv_settings2 = on_settings;
}
