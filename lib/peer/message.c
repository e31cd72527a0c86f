#include "peer/message.h"

#include "peer/codes.h"
#include "peer/conn.h"
#include "peer/manager.h"
#include "peer/stream.h"

#include <string.h>

#define IN_FIRST_CAP ((size_t)512)

/* A message on its way out. */
typedef struct out_message {
    atl_list node; /* messages.waiting or .sending */
    atl_item item; /* on_message_sent */
    atlas_conn *conn;
    atl_qstream *q;
    uint64_t id;
    int32_t code;
    uint8_t acked;
    size_t len;
    uint8_t *data; /* while it waits */
} out_message;

/* A unidirectional stream coming in; a message once its first byte has said so. */
typedef struct in_message {
    atl_list node; /* messages.coming */
    atl_item item; /* on_message */
    atlas_conn *conn;
    atl_qstream *q;
    uint8_t *data;
    size_t len;
    size_t cap;
    uint8_t typed;
    uint8_t done;
} in_message;

static const atl_qstream_ops out_ops;
static const atl_qstream_ops in_ops;

void atl_messages_init(atlas_conn *conn) {
    atl_list_init(&conn->messages.waiting);
    atl_list_init(&conn->messages.sending);
    atl_list_init(&conn->messages.coming);
    conn->messages.next_id = 1;
}

/* ---- out ---- */

static void out_free(out_message *out) {
    atl_messages *messages = &out->conn->messages;

    if (out->q != NULL) {
        atl_qstream_quiet(out->q);
        messages->streams--;
    }
    messages->out_count--;
    messages->out_bytes -= out->len;
    atl_list_remove(&out->node);
    atl_free(atl_conn_env(out->conn), out->data);
    atl_free(atl_conn_env(out->conn), out);
}

static void deliver_sent(atlas_conn *conn, atl_item *item) {
    out_message *out = ATL_CONTAINER(item, out_message, item);
    uint64_t id = out->id;
    int32_t code = out->code;

    out_free(out);
    if (conn->callbacks.on_message_sent != NULL) {
        conn->callbacks.on_message_sent(conn->user, conn, id, code);
    }
}

static void drop_sent(atlas_conn *conn, atl_item *item) {
    (void)conn;
    out_free(ATL_CONTAINER(item, out_message, item));
}

/* Its fate is known. */
static void out_done(out_message *out, int32_t code) {
    if (!atl_list_empty(&out->item.node)) {
        return;
    }
    if (out->q != NULL) {
        atl_qstream_quiet(out->q);
        out->q = NULL;
        out->conn->messages.streams--;
    }
    out->code = code;
    atl_list_remove(&out->node);
    atl_conn_queue(out->conn, &out->item);
}

static void out_acked(void *user, atl_qstream *q) {
    out_message *out = user;
    atlas_conn *conn = out->conn;

    (void)q;
    out_done(out, ATLAS_OK);
    atl_messages_pump(conn);
}

static void out_stopped(void *user, atl_qstream *q, uint64_t app_code) {
    out_message *out = user;
    atlas_conn *conn = out->conn;

    (void)q;
    out_done(out, app_code == ATL_STREAM_TOO_LARGE ? ATLAS_ERR_MESSAGE_TOO_LARGE
                                                   : ATLAS_ERR_STREAM_RESET);
    atl_messages_pump(conn);
}

/* The connection ended first: atl_messages_ended() follows with its code. */
static void out_closed(void *user, atl_qstream *q) {
    out_message *out = user;

    (void)q;
    out->q = NULL;
    out->conn->messages.streams--;
}

static const atl_qstream_ops out_ops = {
    .on_acked = out_acked,
    .on_stop = out_stopped,
    .on_closed = out_closed,
};

/* Opens a stream and writes all of it. ATLAS_ERR_LIMIT when there is no stream to be had now. */
static int32_t put(out_message *out, const uint8_t *data) {
    static const uint8_t type = ATL_UNI_MESSAGE;
    atl_messages *messages = &out->conn->messages;
    atl_qstream *q;
    size_t taken = 0;
    int32_t rv;

    if (messages->streams >= ATL_MESSAGE_STREAMS) {
        return ATLAS_ERR_LIMIT;
    }
    rv = atl_qconn_open_stream(out->conn->q, 1, &out_ops, out, &q);
    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_qstream_set_send_limit(q, (uint64_t)out->len + 1);
    rv = atl_qstream_write(q, &type, 1, out->len == 0, &taken);
    if (rv == ATLAS_OK && out->len > 0) {
        taken = 0;
        rv = atl_qstream_write(q, data, out->len, 1, &taken);
        if (rv == ATLAS_OK && taken != out->len) {
            rv = ATLAS_ERR_NOMEM;
        }
    }
    if (rv != ATLAS_OK) {
        atl_qstream_quiet(q);
        atl_qstream_shutdown(q, ATL_STREAM_RESOURCES);
        return rv;
    }
    out->q = q;
    messages->streams++;
    return ATLAS_OK;
}

static int32_t hold(out_message *out, const void *data) {
    if (out->len == 0) {
        return ATLAS_OK;
    }
    out->data = atl_malloc(atl_conn_env(out->conn), out->len);
    if (out->data == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    memcpy(out->data, data, out->len);
    return ATLAS_OK;
}

static int32_t check_send(const atlas_conn *conn, size_t len) {
    const atl_messages *messages = &conn->messages;
    int32_t rv = atl_conn_check_open(conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (len > conn->peers->limits.max_message) {
        return ATLAS_ERR_MESSAGE_TOO_LARGE;
    }
    if (messages->out_count >= ATL_MESSAGES_OUT ||
        (messages->out_bytes > 0 && messages->out_bytes + len > ATL_MESSAGE_BYTES_OUT)) {
        return ATLAS_ERR_AGAIN;
    }
    return ATLAS_OK;
}

int32_t atl_message_send(atlas_conn *conn, const void *data, size_t len, uint64_t *id) {
    atl_messages *messages = &conn->messages;
    out_message *out;
    int32_t rv = check_send(conn, len);

    if (rv != ATLAS_OK) {
        return rv;
    }
    out = atl_calloc(atl_conn_env(conn), 1, sizeof(*out));
    if (out == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    out->conn = conn;
    out->len = len;
    atl_list_init(&out->node);
    atl_list_init(&out->item.node);
    out->item.deliver = deliver_sent;
    out->item.drop = drop_sent;
    messages->out_count++;
    messages->out_bytes += len;
    /* those that wait go first */
    rv = atl_list_empty(&messages->waiting) ? put(out, data) : ATLAS_ERR_LIMIT;
    if (rv == ATLAS_OK) {
        atl_list_append(&messages->sending, &out->node);
    } else if (rv == ATLAS_ERR_LIMIT) {
        rv = hold(out, data);
        atl_list_append(&messages->waiting, &out->node);
    }
    if (rv != ATLAS_OK) {
        out_free(out);
        return rv;
    }
    out->id = messages->next_id++;
    if (id != NULL) {
        *id = out->id;
    }
    return ATLAS_OK;
}

void atl_messages_pump(atlas_conn *conn) {
    atl_messages *messages = &conn->messages;

    while (!atl_list_empty(&messages->waiting) && conn->state == ATL_CONN_STATE_OPEN) {
        out_message *out = ATL_CONTAINER(messages->waiting.next, out_message, node);
        int32_t rv = put(out, out->data);

        if (rv == ATLAS_ERR_LIMIT) {
            return;
        }
        if (rv != ATLAS_OK) {
            out_done(out, rv);
            continue;
        }
        atl_free(atl_conn_env(conn), out->data);
        out->data = NULL;
        atl_list_remove(&out->node);
        atl_list_append(&messages->sending, &out->node);
    }
}

/* ---- in ---- */

static void in_free(in_message *in) {
    atl_messages *messages = &in->conn->messages;

    if (in->q != NULL) {
        atl_qstream_quiet(in->q);
    }
    if (!in->done) {
        messages->in_count--;
    }
    messages->in_bytes -= in->cap;
    atl_list_remove(&in->node);
    atl_list_remove(&in->item.node);
    atl_free(atl_conn_env(in->conn), in->data);
    atl_free(atl_conn_env(in->conn), in);
}

static void deliver_message(atlas_conn *conn, atl_item *item) {
    in_message *in = ATL_CONTAINER(item, in_message, item);
    static const uint8_t nothing = 0;

    if (conn->callbacks.on_message != NULL && !conn->local_close) {
        conn->callbacks.on_message(conn->user, conn, in->data == NULL ? &nothing : in->data,
                                   in->len);
    }
    in_free(in);
}

static void drop_message(atlas_conn *conn, atl_item *item) {
    (void)conn;
    in_free(ATL_CONTAINER(item, in_message, item));
}

static void refuse(in_message *in, uint64_t wire) {
    atl_qstream *q = in->q;

    in->q = NULL;
    atl_qstream_quiet(q);
    atl_qstream_shutdown(q, wire);
    in_free(in);
}

/* Room for `len` more bytes; 0, or the stream error that says why there is none. */
static uint64_t reserve(in_message *in, size_t len) {
    const atl_peer_limits *limits = &in->conn->peers->limits;
    atl_messages *messages = &in->conn->messages;
    size_t cap = in->cap == 0 ? IN_FIRST_CAP : in->cap;
    uint8_t *grown;

    if (len > limits->max_message || in->len > limits->max_message - len) {
        return ATL_STREAM_TOO_LARGE;
    }
    if (in->len + len <= in->cap) {
        return 0;
    }
    while (cap < in->len + len) {
        cap *= 2;
    }
    if (cap > limits->max_message) {
        cap = (size_t)limits->max_message;
    }
    if (messages->in_bytes - in->cap + cap > ATL_MESSAGE_BYTES_IN + limits->max_message) {
        return ATL_STREAM_BUSY;
    }
    grown = atl_realloc(atl_conn_env(in->conn), in->data, cap);
    if (grown == NULL) {
        return ATL_STREAM_RESOURCES;
    }
    messages->in_bytes += cap - in->cap;
    in->data = grown;
    in->cap = cap;
    return 0;
}

/* It is the application's stream after all. */
static void become_stream(in_message *in, atl_qstream *q, const uint8_t *data, size_t len,
                          int fin) {
    atlas_conn *conn = in->conn;
    atlas_stream *stream;

    in->q = NULL;
    in_free(in);
    atl_stream_accept(conn, q, &stream);
    if (stream != NULL) {
        atl_stream_feed(stream, data, len, fin);
    }
}

static void in_data(void *user, atl_qstream *q, const uint8_t *data, size_t len, int fin) {
    in_message *in = user;
    uint64_t refused;

    if (!in->typed && len > 0) {
        in->typed = 1;
        atl_qstream_credit(q, 1);
        if (data[0] == ATL_UNI_STREAM) {
            become_stream(in, q, data + 1, len - 1, fin);
            return;
        }
        if (data[0] != ATL_UNI_MESSAGE) {
            refuse(in, ATL_STREAM_UNKNOWN);
            return;
        }
        data++;
        len--;
    }
    refused = reserve(in, len);
    if (refused != 0) {
        refuse(in, refused);
        return;
    }
    if (len > 0) {
        memcpy(in->data + in->len, data, len);
        in->len += len;
    }
    if (fin && in->typed) {
        in->q = NULL;
        in->done = 1;
        atl_qstream_quiet(q);
        in->conn->messages.in_count--;
        atl_list_remove(&in->node);
        atl_conn_queue(in->conn, &in->item);
    }
    atl_qstream_credit(q, len);
}

/* Reset by its sender, or the connection ended: an incomplete message is none. */
static void in_reset(void *user, atl_qstream *q, uint64_t app_code) {
    (void)q;
    (void)app_code;
    in_free(user);
}

static void in_closed(void *user, atl_qstream *q) {
    in_message *in = user;

    (void)q;
    in->q = NULL;
    in_free(in);
}

static const atl_qstream_ops in_ops = {
    .on_data = in_data,
    .on_reset = in_reset,
    .on_closed = in_closed,
};

void atl_message_accept(atlas_conn *conn, atl_qstream *q) {
    atl_messages *messages = &conn->messages;
    in_message *in = NULL;

    if (messages->in_count < ATL_MESSAGES_IN) {
        in = atl_calloc(atl_conn_env(conn), 1, sizeof(*in));
    }
    if (in == NULL) {
        atl_qstream_quiet(q);
        atl_qstream_shutdown(
            q, messages->in_count < ATL_MESSAGES_IN ? ATL_STREAM_RESOURCES : ATL_STREAM_BUSY);
        return;
    }
    in->conn = conn;
    in->q = q;
    atl_list_init(&in->item.node);
    in->item.deliver = deliver_message;
    in->item.drop = drop_message;
    atl_list_append(&messages->coming, &in->node);
    messages->in_count++;
    atl_qstream_set_ops(q, &in_ops, in);
}

/* ---- the end ---- */

static void free_coming(atlas_conn *conn) {
    while (!atl_list_empty(&conn->messages.coming)) {
        in_free(ATL_CONTAINER(conn->messages.coming.next, in_message, node));
    }
}

static void fail_list(atl_list *list, int32_t code) {
    while (!atl_list_empty(list)) {
        out_message *out = ATL_CONTAINER(list->next, out_message, node);

        out->q = NULL;
        out_done(out, code);
    }
}

void atl_messages_ended(atlas_conn *conn) {
    int32_t code = conn->code == ATLAS_OK ? ATLAS_ERR_CLOSED : conn->code;

    free_coming(conn);
    fail_list(&conn->messages.sending, code);
    fail_list(&conn->messages.waiting, code);
}

void atl_messages_free(atlas_conn *conn) {
    free_coming(conn);
    while (!atl_list_empty(&conn->messages.sending)) {
        out_free(ATL_CONTAINER(conn->messages.sending.next, out_message, node));
    }
    while (!atl_list_empty(&conn->messages.waiting)) {
        out_free(ATL_CONTAINER(conn->messages.waiting.next, out_message, node));
    }
}
