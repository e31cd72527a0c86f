#include "peer/conn.h"

#include "peer/codes.h"
#include "peer/datagram.h"
#include "peer/dial.h"
#include "peer/manager.h"
#include "peer/network.h"
#include "peer/path_kind.h"
#include "peer/silence.h"
#include "peer/stream.h"

#include <string.h>

/* Items delivered in one run of the event task. */
#define ITEMS_PER_RUN 1024

static void deliver(atl_task *task);
static const atl_qconn_ops conn_ops;

/* ---- small things ---- */

atl_env *atl_conn_env(const atlas_conn *conn) {
    return conn->peers->loop->env;
}

uint64_t atl_conn_now(const atlas_conn *conn) {
    return conn->peers->loop->now;
}

void atl_conn_post(atlas_conn *conn) {
    atl_post_event(conn->peers->loop, &conn->event);
}

void atl_conn_queue(atlas_conn *conn, atl_item *item) {
    if (atl_list_empty(&item->node)) {
        atl_list_append(&conn->items, &item->node);
    }
    atl_conn_post(conn);
}

void atl_conn_queue_early(atlas_conn *conn, atl_item *item) {
    atl_list_append(&conn->early, &item->node);
    atl_conn_post(conn);
}

int32_t atl_conn_check_open(const atlas_conn *conn) {
    if (conn->state >= ATL_CONN_STATE_CLOSING) {
        return ATLAS_ERR_CLOSED;
    }
    return conn->state == ATL_CONN_STATE_OPEN ? ATLAS_OK : ATLAS_ERR_STATE;
}

/* ---- life ---- */

static void no_hello(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;

    (void)now;
    atl_conn_close(conn, ATLAS_ERR_HANDSHAKE_TIMEOUT, 0, ATL_CLOSE_NO_HELLO, "no hello");
}

int32_t atl_conn_new(atl_peers *peers, const atl_peer_id *peer, int dialer, atlas_conn **out) {
    atlas_conn *conn;

    if (peers->shutdown) {
        return ATLAS_ERR_SHUTDOWN;
    }
    if (peers->count >= peers->limits.max_conns) {
        return ATLAS_ERR_LIMIT;
    }
    conn = atl_calloc(peers->loop->env, 1, sizeof(*conn));
    if (conn == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    conn->peers = peers;
    conn->peer = *peer;
    atl_peer_id_text(peer, conn->peer_text);
    conn->dialer = dialer != 0;
    conn->state = dialer ? ATL_CONN_STATE_DIALING : ATL_CONN_STATE_PENDING;
    conn->callbacks.size = sizeof(conn->callbacks);
    atl_task_init(&conn->event, deliver, conn);
    atl_timer_init(&conn->hello_timer, no_hello, conn);
    atl_list_init(&conn->early);
    atl_list_init(&conn->items);
    atl_list_init(&conn->streams);
    atl_messages_init(conn);
    atl_control_init(conn);
    atl_paths_init(conn);
    atl_list_append(&peers->conns, &conn->node);
    peers->count++;
    if (dialer) {
        /* by the time that it is connected this node knows its addresses */
        atl_network_gather(peers);
    }
    *out = conn;
    return ATLAS_OK;
}

static void drop_items(atlas_conn *conn, atl_list *list) {
    atl_list *node;

    while ((node = atl_list_pop(list)) != NULL) {
        atl_item *item = ATL_CONTAINER(node, atl_item, node);

        if (item->drop != NULL) {
            item->drop(conn, item);
        }
    }
}

void atl_conn_free(atlas_conn *conn) {
    atl_peers *peers = conn->peers;

    atl_dial_free(conn);
    if (conn->q != NULL) {
        atl_qconn_quiet(conn->q);
    }
    atl_streams_free(conn);
    atl_paths_free(conn);
    atl_control_free(conn);
    atl_messages_free(conn);
    if (conn->q != NULL) {
        atl_qconn_close(conn->q, ATL_CLOSE_SHUTDOWN, "");
    }
    drop_items(conn, &conn->early);
    drop_items(conn, &conn->items);
    if (conn->relay != NULL) {
        atl_relay_entry_unuse(conn->relay);
    }
    atl_task_cancel(&conn->event);
    atl_timer_clear(peers->loop, &conn->hello_timer);
    atl_list_remove(&conn->node);
    peers->count--;
    atl_free(peers->loop->env, conn->text);
    atl_free(peers->loop->env, conn);
}

int32_t atl_conn_set_callbacks(atlas_conn *conn, const atlas_conn_callbacks *callbacks,
                               void *user) {
    if (callbacks == NULL || callbacks->size != sizeof(*callbacks)) {
        return ATLAS_ERR_INVALID;
    }
    conn->callbacks = *callbacks;
    conn->user = user;
    conn->has_callbacks = 1;
    return ATLAS_OK;
}

/* ---- the QUIC connection ---- */

void atl_conn_adopt(atlas_conn *conn, atl_qconn *q) {
    int32_t rv;

    conn->q = q;
    atl_qconn_set_ops(q, &conn_ops, conn);
    if (!conn->dialer) {
        atl_timer_set(conn->peers->loop, &conn->hello_timer,
                      atl_conn_now(conn) + conn->peers->limits.handshake_timeout);
        return;
    }
    conn->state = ATL_CONN_STATE_OPEN;
    rv = atl_control_open(conn);
    if (rv != ATLAS_OK) {
        atl_conn_close(conn, rv, 0, ATL_CLOSE_RESOURCES, "no control stream");
        return;
    }
    conn->ready = 1;
    conn->path_reason = "connected";
    atl_paths_begin(conn);
    atl_conn_post(conn);
}

void atl_conn_hello(atlas_conn *conn) {
    if (conn->state != ATL_CONN_STATE_PENDING) {
        return;
    }
    atl_timer_clear(conn->peers->loop, &conn->hello_timer);
    conn->state = ATL_CONN_STATE_OPEN;
    conn->ready = 1;
    conn->path_reason = "connected";
    atl_paths_begin(conn);
    atl_conn_post(conn);
}

static void set_end(atlas_conn *conn, int32_t code, uint64_t app_code, const char *text) {
    conn->code = code;
    conn->app_code = app_code;
    if (text != NULL && text[0] != '\0') {
        atl_free(atl_conn_env(conn), conn->text);
        conn->text = atl_strdup(atl_conn_env(conn), text);
    }
}

void atl_conn_close(atlas_conn *conn, int32_t code, uint64_t app_code, uint64_t wire,
                    const char *text) {
    if (conn->state >= ATL_CONN_STATE_CLOSING) {
        return;
    }
    conn->local_close = 1;
    if (conn->q == NULL) {
        atl_conn_ended(conn, code, app_code, text);
        return;
    }
    set_end(conn, code, app_code, text);
    conn->state = ATL_CONN_STATE_CLOSING;
    atl_paths_free(conn);
    atl_timer_clear(conn->peers->loop, &conn->hello_timer);
    atl_qconn_close(conn->q, wire, text);
}

void atl_conn_ended(atlas_conn *conn, int32_t code, uint64_t app_code, const char *text) {
    if (conn->state == ATL_CONN_STATE_ENDED) {
        return;
    }
    if (conn->state != ATL_CONN_STATE_CLOSING) {
        set_end(conn, code, app_code, text);
    }
    conn->state = ATL_CONN_STATE_ENDED;
    conn->q = NULL;
    atl_dial_free(conn);
    atl_timer_clear(conn->peers->loop, &conn->hello_timer);
    atl_paths_free(conn);
    atl_control_free(conn);
    atl_messages_ended(conn);
    atl_streams_ended(conn);
    atl_conn_post(conn);
}

static void on_stream(void *user, atl_qconn *q, atl_qstream *qs) {
    atlas_conn *conn = user;
    atlas_stream *stream;

    (void)q;
    if (conn->state >= ATL_CONN_STATE_CLOSING) {
        atl_qstream_quiet(qs);
    } else if (atl_qstream_is_uni(qs)) {
        atl_message_accept(conn, qs);
    } else if (!conn->dialer && atl_qstream_id(qs) == 0) {
        if (atl_control_accept(conn, qs) != ATLAS_OK) {
            atl_conn_close(conn, ATLAS_ERR_NOMEM, 0, ATL_CLOSE_RESOURCES, "out of memory");
        }
    } else {
        atl_stream_accept(conn, qs, &stream);
    }
}

static void on_streams_allowed(void *user, atl_qconn *q, int uni) {
    (void)q;
    if (uni) {
        atl_messages_pump(user);
    }
}

static void on_datagram(void *user, atl_qconn *q, const uint8_t *data, size_t len) {
    (void)q;
    atl_datagram_receive(user, data, len);
}

static void on_path(void *user, atl_qconn *q) {
    (void)q;
    atl_paths_on_path(user);
}

static void on_path_failed(void *user, atl_qconn *q, uint64_t id) {
    (void)q;
    atl_paths_on_failed(user, id);
}

static void on_path_lost(void *user, atl_qconn *q, uint64_t id, int32_t code) {
    atlas_conn *conn = user;

    (void)q;
    /* before Hello: the client goes elsewhere, or the timer for Hello ends it */
    if (conn->state == ATL_CONN_STATE_OPEN) {
        atl_paths_on_lost(conn, id, code);
    }
}

static void on_silent(void *user, atl_qconn *q, uint64_t silent) {
    (void)q;
    atl_paths_on_silent(user, silent);
}

static void on_heard(void *user, atl_qconn *q) {
    (void)q;
    atl_paths_on_heard(user);
}

static void on_lull(void *user, atl_qconn *q) {
    (void)q;
    atl_paths_on_lull(user);
}

static void on_stray(void *user, atl_qconn *q, uint64_t id, const atl_qpath *real) {
    (void)q;
    atl_paths_on_stray(user, id, real);
}

static void on_closed(void *user, atl_qconn *q, const atl_qclose *why) {
    atlas_conn *conn = user;
    uint64_t app_code = why->is_app ? why->error_code : 0;
    int32_t code = why->code;

    (void)q;
    if (why->by_peer && why->is_app && why->error_code == ATL_CLOSE_DISCONNECT) {
        /* the answer to our own request is what was wanted */
        code = conn->control.asked_disconnect ? ATLAS_OK : ATLAS_ERR_DISCONNECTED;
    }
    atl_conn_ended(conn, code, app_code, why->text);
}

static const atl_qconn_ops conn_ops = {
    .on_stream = on_stream,
    .on_streams_allowed = on_streams_allowed,
    .on_datagram = on_datagram,
    .on_path = on_path,
    .on_path_failed = on_path_failed,
    .on_path_lost = on_path_lost,
    .on_silent = on_silent,
    .on_heard = on_heard,
    .on_lull = on_lull,
    .on_stray = on_stray,
    .on_closed = on_closed,
};

/* ---- events ---- */

static void deliver_items(atlas_conn *conn, atl_list *list) {
    size_t n = 0;
    atl_list *node;

    while (n++ < ITEMS_PER_RUN && (node = atl_list_pop(list)) != NULL) {
        atl_item *item = ATL_CONTAINER(node, atl_item, node);

        item->deliver(conn, item);
    }
}

static void deliver_path(atlas_conn *conn) {
    const char *reason = conn->path_reason;
    atlas_path_info info;

    info.size = sizeof(info);
    if (reason == NULL || atl_conn_path(conn, &info) != ATLAS_OK) {
        return;
    }
    conn->path_reason = NULL;
    if (conn->callbacks.on_path != NULL && !conn->local_close) {
        conn->callbacks.on_path(conn->user, conn, &info, reason);
    }
}

static void announce_inbound(atlas_conn *conn) {
    const atlas_callbacks *callbacks = conn->peers->callbacks;

    conn->announced = 1;
    if (callbacks->on_connection != NULL && !conn->local_close) {
        callbacks->on_connection(callbacks->user, conn->peers->ctx, conn);
    }
    if (!conn->has_callbacks) {
        atl_conn_close(conn, ATLAS_ERR_CANCELLED, 0, ATL_CLOSE_REFUSED, "refused");
    }
}

static void announce(atlas_conn *conn) {
    if (!conn->ready || conn->announced) {
        return;
    }
    atl_log(atl_conn_env(conn), ATLAS_LOG_INFO, "%s %s, path %s",
            conn->dialer ? "connected to" : "connection from", conn->peer_text,
            atl_conn_path_kind(conn) == ATLAS_PATH_RELAY ? "relay" : "direct");
    if (!conn->dialer) {
        announce_inbound(conn);
        deliver_path(conn);
        return;
    }
    deliver_path(conn);
    conn->announced = 1;
    if (conn->callbacks.on_connected != NULL && !conn->local_close) {
        conn->callbacks.on_connected(conn->user, conn);
    }
}

static void deliver_end(atlas_conn *conn) {
    const char *text = conn->text != NULL ? conn->text : atlas_error_text(conn->code);

    atl_log(atl_conn_env(conn), ATLAS_LOG_INFO, "connection with %s ended: %s", conn->peer_text,
            text);
    if (conn->callbacks.on_closed != NULL) {
        conn->callbacks.on_closed(conn->user, conn, conn->code, conn->app_code, text);
    }
    atl_conn_free(conn);
}

static void deliver(atl_task *task) {
    atlas_conn *conn = task->user;

    deliver_items(conn, &conn->early);
    announce(conn);
    if (conn->announced) {
        deliver_path(conn);
        deliver_items(conn, &conn->items);
    }
    if (!atl_list_empty(&conn->early) || (conn->announced && !atl_list_empty(&conn->items))) {
        atl_conn_post(conn);
        return;
    }
    if (conn->state != ATL_CONN_STATE_ENDED) {
        return;
    }
    /* an inbound connection that the application never saw ends unseen */
    if (!conn->announced && !conn->dialer) {
        atl_conn_free(conn);
    } else if (atl_list_empty(&conn->streams)) {
        deliver_end(conn);
    }
}

/* ---- information ---- */

/* Its circuit has ended and no other path was found, or nothing is heard on any. */
static int without_path(const atlas_conn *conn) {
    atl_qpath_state active;

    return conn->paths.none || atl_paths_active(conn, &active) != ATLAS_OK;
}

uint32_t atl_conn_path_kind(const atlas_conn *conn) {
    atl_qpath path;

    if (conn->q == NULL || without_path(conn)) {
        return ATLAS_PATH_NONE;
    }
    atl_qconn_path(conn->q, &path);
    return path.circuit != NULL ? ATLAS_PATH_RELAY : ATLAS_PATH_DIRECT;
}

int32_t atl_conn_path(const atlas_conn *conn, atlas_path_info *out) {
    atl_qconn_info info;
    atl_qpath path;

    if (conn->q == NULL || !conn->ready) {
        return ATLAS_ERR_STATE;
    }
    atl_qconn_path(conn->q, &path);
    atl_qconn_get_info(conn->q, &info);
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    if (without_path(conn)) {
        return ATLAS_OK;
    }
    out->kind = path.circuit != NULL ? ATLAS_PATH_RELAY : ATLAS_PATH_DIRECT;
    out->mtu = atl_qconn_mtu(conn->q);
    out->rtt_ns = info.latest_rtt == 0 ? 0 : info.srtt; /* nothing measured on this path yet */
    if (path.local.family != 0) {
        atl_addr_text(&path.local, out->local);
    }
    if (path.remote.family != 0) {
        atl_addr_text(&path.remote, out->remote);
    }
    if (path.circuit != NULL) {
        atl_peer_id_text(&path.circuit->relay, out->relay);
    }
    out->candidate = atl_path_candidate(conn, &path);
    return ATLAS_OK;
}

int32_t atl_conn_stats(const atlas_conn *conn, atlas_conn_stats *out) {
    atl_qconn_info info;

    if (conn->q == NULL) {
        return ATLAS_ERR_STATE;
    }
    atl_qconn_get_info(conn->q, &info);
    out->tx_bytes = info.tx_bytes;
    out->rx_bytes = info.rx_bytes;
    out->tx_packets = info.tx_packets;
    out->rx_packets = info.rx_packets;
    out->lost_packets = info.lost_packets;
    out->cwnd = info.cwnd;
    out->rtt_ns = info.srtt;
    return ATLAS_OK;
}

/* ---- ending unheard ---- */

static void quiet_stream(void *user, atl_qconn *q, atl_qstream *stream) {
    (void)user;
    (void)q;
    atl_qstream_quiet(stream);
}

static void quiet_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin) {
    (void)user;
    (void)data;
    (void)fin;
    atl_qstream_credit(stream, len);
}

static const atl_qconn_ops quiet_conn_ops = {.on_stream = quiet_stream};
static const atl_qstream_ops quiet_stream_ops = {.on_data = quiet_data};

void atl_qconn_quiet(atl_qconn *q) {
    atl_qconn_set_ops(q, &quiet_conn_ops, NULL);
}

void atl_qstream_quiet(atl_qstream *q) {
    atl_qstream_set_ops(q, &quiet_stream_ops, NULL);
}
