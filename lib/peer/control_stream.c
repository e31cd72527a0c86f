#include "peer/control_stream.h"

#include "peer/codes.h"
#include "peer/conn.h"
#include "peer/manager.h"
#include "peer/told_record.h"
#include "peer/upgrade.h"
#include "peer/upkeep.h"

#include <string.h>

/* Bytes that may wait on the control stream: a peer that asks and never reads gets no more answers.
 */
#define OUT_MAX 65536
#define AGENT "libatlas"
#define PATIENCE_MIN UINT64_C(1000) /* the least that can be configured: who says less is lying */
#define PATIENCE_MAX UINT64_C(86400000) /* milliseconds: what is longer is as good as for ever */

typedef struct ping_record {
    atl_list node; /* control.pings */
    atl_item item; /* on_pong */
    uint64_t id;
    uint64_t sent; /* nanoseconds */
    uint64_t rtt;
    uint32_t kind;
} ping_record;

static const atl_qstream_ops control_ops;

static uint64_t known(void *user, uint64_t type) {
    (void)user;
    return atl_ctrl_known(NULL, type);
}

/* ---- sending ---- */

int32_t atl_control_put(atlas_conn *conn, const uint8_t *data, size_t len) {
    atl_qstream *q = conn->control.q;
    size_t taken = 0;
    int32_t rv;

    if (q == NULL) {
        return ATLAS_ERR_CLOSED;
    }
    if (atl_qstream_buffered(q) + len > OUT_MAX) {
        return ATLAS_ERR_AGAIN;
    }
    rv = atl_qstream_write(q, data, len, 0, &taken);
    if (rv == ATLAS_OK && taken != len) {
        /* half a capsule is out: nothing can follow it */
        atl_conn_close(conn, ATLAS_ERR_NOMEM, 0, ATL_CLOSE_RESOURCES, "out of memory");
        rv = ATLAS_ERR_NOMEM;
    }
    return rv;
}

static int32_t say_hello(atlas_conn *conn) {
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_ctrl_hello hello;
    size_t len = 0;
    int32_t rv;

    memset(&hello, 0, sizeof(hello));
    hello.version = ATL_CTRL_VERSION;
    memcpy(hello.agent, AGENT, sizeof(AGENT));
    hello.patience = conn->peers->limits.idle_timeout / ATL_MS;
    rv = atl_ctrl_hello_encode(&hello, buf, sizeof(buf), &len);
    return rv != ATLAS_OK ? rv : atl_control_put(conn, buf, len);
}

/* ---- pings ---- */

static void ping_free(atlas_conn *conn, ping_record *ping) {
    atl_list_remove(&ping->node);
    conn->control.ping_count--;
    atl_free(atl_conn_env(conn), ping);
}

static void drop_pong(atlas_conn *conn, atl_item *item) {
    ping_free(conn, ATL_CONTAINER(item, ping_record, item));
}

static void deliver_pong(atlas_conn *conn, atl_item *item) {
    ping_record ping = *ATL_CONTAINER(item, ping_record, item);

    ping_free(conn, ATL_CONTAINER(item, ping_record, item));
    if (conn->callbacks.on_pong != NULL && !conn->local_close) {
        conn->callbacks.on_pong(conn->user, conn, ping.id, ping.rtt, ping.kind);
    }
}

int32_t atl_control_ping(atlas_conn *conn, uint64_t *id) {
    atl_control *control = &conn->control;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_ctrl_ping msg;
    ping_record *ping;
    size_t len = 0;
    int32_t rv;

    if (control->ping_count >= ATL_PINGS_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    ping = atl_calloc(atl_conn_env(conn), 1, sizeof(*ping));
    if (ping == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    ping->id = control->next_ping;
    ping->sent = atl_conn_now(conn);
    atl_list_init(&ping->item.node);
    ping->item.deliver = deliver_pong;
    ping->item.drop = drop_pong;
    atl_list_append(&control->pings, &ping->node);
    control->ping_count++;
    msg.id = ping->id;
    msg.timestamp = ping->sent;
    rv = atl_ctrl_ping_encode(&msg, buf, sizeof(buf), &len);
    if (rv == ATLAS_OK) {
        rv = atl_control_put(conn, buf, len);
    }
    if (rv != ATLAS_OK) {
        ping_free(conn, ping);
        return rv;
    }
    control->next_ping++;
    *id = msg.id;
    return ATLAS_OK;
}

static int32_t on_pong(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_ping msg;
    atl_list *node;
    int32_t rv = atl_ctrl_ping_decode(value, len, &msg);

    if (rv != ATLAS_OK) {
        return rv;
    }
    for (node = conn->control.pings.next; node != &conn->control.pings; node = node->next) {
        ping_record *ping = ATL_CONTAINER(node, ping_record, node);

        if (ping->id == msg.id) {
            ping->rtt = atl_conn_now(conn) - ping->sent;
            ping->kind = atl_conn_path_kind(conn);
            atl_list_remove(&ping->node);
            atl_conn_queue(conn, &ping->item);
            break;
        }
    }
    return ATLAS_OK;
}

static int32_t on_ping(atlas_conn *conn, const uint8_t *value, size_t len) {
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_ctrl_ping msg;
    size_t n = 0;
    int32_t rv = atl_ctrl_ping_decode(value, len, &msg);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (atl_ctrl_pong_encode(&msg, buf, sizeof(buf), &n) == ATLAS_OK) {
        (void)atl_control_put(conn, buf, n);
    }
    return ATLAS_OK;
}

/* ---- the other messages ---- */

int32_t atl_control_disconnect(atlas_conn *conn, const char *reason) {
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_ctrl_disconnect msg;
    size_t len = 0;
    size_t i;
    int32_t rv;

    memset(&msg, 0, sizeof(msg));
    for (i = 0; reason != NULL && reason[i] != '\0'; i++) {
        if (i == ATL_CTRL_REASON_MAX) {
            return ATLAS_ERR_INVALID;
        }
        msg.reason[i] = (char)(reason[i] >= 0x20 && reason[i] <= 0x7e ? reason[i] : '?');
    }
    rv = atl_ctrl_disconnect_encode(&msg, buf, sizeof(buf), &len);
    if (rv == ATLAS_OK) {
        rv = atl_control_put(conn, buf, len);
    }
    if (rv == ATLAS_OK) {
        conn->control.asked_disconnect = 1;
    }
    return rv;
}

static int32_t on_disconnect(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_disconnect msg;
    int32_t rv = atl_ctrl_disconnect_decode(value, len, &msg);

    if (rv == ATLAS_OK) {
        atl_peers_disconnect(conn->peers, &conn->peer, msg.reason);
    }
    return rv;
}

static int32_t on_hello(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_hello msg;
    int32_t rv = atl_ctrl_hello_decode(value, len, &msg);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (conn->control.hello) {
        return ATLAS_ERR_DUPLICATE;
    }
    conn->control.hello = 1;
    if (msg.patience > 0 && msg.patience < PATIENCE_MAX) {
        conn->paths.patience = (msg.patience < PATIENCE_MIN ? PATIENCE_MIN : msg.patience) * ATL_MS;
    }
    atl_upkeep_begin(conn);
    if (!conn->dialer) {
        rv = say_hello(conn);
        if (rv == ATLAS_OK) {
            atl_conn_hello(conn);
        }
    }
    if (rv == ATLAS_OK) {
        atl_told_record_begin(conn);
    }
    return rv;
}

static int32_t on_path_request(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_path_request msg;
    int32_t rv = atl_ctrl_path_request_decode(value, len, &msg);

    if (rv == ATLAS_OK) {
        atl_paths_on_request(conn, &msg);
    }
    return rv;
}

static int32_t on_sleep(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_sleep msg;
    int32_t rv = atl_ctrl_sleep_decode(value, len, &msg);

    if (rv == ATLAS_OK) {
        atl_paths_on_sleep(conn, msg.seconds);
    }
    return rv;
}

static int32_t on_capsule(void *user, uint64_t type, const uint8_t *value, size_t len) {
    atlas_conn *conn = user;

    if (conn->state >= ATL_CONN_STATE_CLOSING) {
        return ATLAS_ERR_CLOSED;
    }
    if (type == ATL_CTRL_HELLO) {
        return on_hello(conn, value, len);
    }
    if (!conn->control.hello) {
        return ATLAS_ERR_MALFORMED;
    }
    switch (type) {
    case ATL_CTRL_PING:
        return on_ping(conn, value, len);
    case ATL_CTRL_PONG:
        return on_pong(conn, value, len);
    case ATL_CTRL_DISCONNECT:
        return on_disconnect(conn, value, len);
    case ATL_CTRL_ADDRESSES:
        return atl_upgrade_on_addresses(conn, value, len);
    case ATL_CTRL_PUNCH:
        return atl_upgrade_on_punch(conn, value, len);
    case ATL_CTRL_PATH_REQUEST:
        return on_path_request(conn, value, len);
    case ATL_CTRL_SLEEP:
        return on_sleep(conn, value, len);
    case ATL_CTRL_RECORD:
        return atl_told_record_on_capsule(conn, value, len);
    default:
        return ATLAS_OK;
    }
}

/* ---- the stream ---- */

static void broken(atlas_conn *conn, int32_t code, const char *text) {
    atl_conn_close(conn, code, 0, ATL_CLOSE_PROTOCOL, text);
}

static void on_data(void *user, atl_qstream *q, const uint8_t *data, size_t len, int fin) {
    atlas_conn *conn = user;
    int32_t rv = atl_capsule_feed(&conn->control.parser, data, len);

    if (rv != ATLAS_OK && rv != ATLAS_ERR_CLOSED) {
        broken(conn, rv, "the control stream cannot be read");
    } else if (fin) {
        broken(conn, ATLAS_ERR_MALFORMED, "the control stream was ended");
    }
    atl_qstream_credit(q, len);
}

static void on_reset(void *user, atl_qstream *q, uint64_t app_code) {
    (void)q;
    (void)app_code;
    broken(user, ATLAS_ERR_MALFORMED, "the control stream was reset");
}

static void on_closed(void *user, atl_qstream *q) {
    atlas_conn *conn = user;

    (void)q;
    conn->control.q = NULL;
}

static const atl_qstream_ops control_ops = {
    .on_data = on_data,
    .on_reset = on_reset,
    .on_stop = on_reset,
    .on_closed = on_closed,
};

void atl_control_init(atlas_conn *conn) {
    atl_list_init(&conn->control.pings);
    conn->control.next_ping = 1;
    atl_capsule_parser_init(&conn->control.parser, atl_conn_env(conn), known, on_capsule, conn);
}

void atl_control_free(atlas_conn *conn) {
    atl_control *control = &conn->control;

    if (control->q != NULL) {
        atl_qstream_quiet(control->q);
        control->q = NULL;
    }
    while (!atl_list_empty(&control->pings)) {
        ping_free(conn, ATL_CONTAINER(control->pings.next, ping_record, node));
    }
    atl_capsule_parser_free(&control->parser);
}

int32_t atl_control_open(atlas_conn *conn) {
    int32_t rv = atl_qconn_open_stream(conn->q, 0, &control_ops, conn, &conn->control.q);

    return rv != ATLAS_OK ? rv : say_hello(conn);
}

int32_t atl_control_accept(atlas_conn *conn, atl_qstream *q) {
    conn->control.q = q;
    atl_qstream_set_ops(q, &control_ops, conn);
    return ATLAS_OK;
}
