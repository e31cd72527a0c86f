#include "relay/session.h"

#include "relay/pairing.h"
#include "relay/requests.h"

#include <string.h>

#define IDLE_LIMIT (60 * ATL_SECOND) /* without registration and circuit */
/* The same for a node that was registered: it may sleep, and QUIC's idle timeout ends it sooner
 * when it does not come back. */
#define LAPSED_LIMIT (120 * ATL_SECOND)
#define END_LINGER ATL_SECOND /* for the last words of a connection to arrive */
#define ANNOUNCE_RATE 16u     /* announcements per second, however short the interval */
#define ANNOUNCE_BURST 32u
#define H3_NO_ERROR 0x100u
#define H3_EXCESSIVE_LOAD 0x107u

/* What an encoder wrote; `len` is looked at when that is done. */
static void send_message(atl_relay_session *session, int32_t rc, const uint8_t *buf,
                         const size_t *len) {
    if (rc == ATLAS_OK) {
        atl_relay_session_send(session, buf, *len);
    }
}

void atl_relay_session_send(atl_relay_session *session, const uint8_t *capsule, size_t len) {
    if (session->control == NULL || session->ending) {
        return;
    }
    if (atl_h3_write(session->control, capsule, len) != ATLAS_OK) {
        session->ending = 1;
        atl_relay_session_unregister(session, ATLAS_ERR_RELAY_LOST);
        atl_h3_close(session->h3, H3_EXCESSIVE_LOAD, "control stream is not read");
    }
}

void atl_relay_session_send_error(atl_relay_session *session, const uint64_t *request, int32_t code,
                                  const char *reason) {
    atl_relay_error msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;
    size_t n = strlen(reason);

    memset(&msg, 0, sizeof(msg));
    msg.has_request = request != NULL;
    msg.request = request != NULL ? *request : 0;
    msg.code = code;
    memcpy(msg.reason, reason, n < ATL_RELAY_REASON_MAX ? n : ATL_RELAY_REASON_MAX);
    send_message(session, atl_relay_error_encode(&msg, buf, sizeof(buf), &len), buf, &len);
}

void atl_relay_session_send_drain(atl_relay_session *session, uint64_t within) {
    atl_relay_drain msg = {within / ATL_MS};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;

    send_message(session, atl_relay_drain_encode(&msg, buf, sizeof(buf), &len), buf, &len);
}

/* ---- the end of things ---- */

void atl_relay_session_touch(atl_relay_session *session) {
    session->idle_since = session->server->loop->now;
    atl_requests_rank(session);
    if (!session->server->relaying && session->opened) {
        atl_relay_server_relaying_ends(session->server);
    }
}

void atl_relay_session_unregister(atl_relay_session *session, int32_t code) {
    atl_relay_server *server = session->server;

    atl_registry_remove(&server->registry, &session->registration);
    server->stats.nodes = atl_registry_count(&server->registry);
    atl_pairing_end_all(session, code);
    atl_relay_session_touch(session);
}

void atl_relay_session_lapse(atl_relay_session *session) {
    atl_relay_server *server = session->server;

    atl_registry_remove(&server->registry, &session->registration);
    server->stats.nodes = atl_registry_count(&server->registry);
    atl_list_append(&server->lapsed, &session->lapsed_node);
    atl_relay_session_touch(session);
}

void atl_relay_session_end(atl_relay_session *session, int32_t code, const char *reason) {
    if (session->ending) {
        return;
    }
    atl_relay_session_unregister(session, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    atl_relay_session_send_error(session, NULL, code, reason);
    if (session->control != NULL && !session->ending) {
        atl_h3_end(session->control);
    }
    session->ending = 1;
    atl_timer_set(session->server->loop, &session->timer, session->server->loop->now + END_LINGER);
}

void atl_relay_session_close(atl_relay_session *session, const char *reason) {
    /* those on the other ends of its circuits are told which of the two went away */
    int32_t code =
        session->server->closing ? ATLAS_ERR_RELAY_DRAINING : ATLAS_ERR_RELAY_CIRCUIT_CLOSED;

    session->ending = 1;
    atl_relay_session_unregister(session, code);
    atl_h3_close(session->h3, H3_NO_ERROR, reason);
}

static void release(atl_relay_session *session) {
    atl_relay_server *server = session->server;

    session->ending = 1;
    atl_relay_session_unregister(session, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    atl_timer_clear(server->loop, &session->timer);
    atl_capsule_parser_free(&session->parser);
    atl_requests_free(session);
    atl_list_remove(&session->node);
    atl_list_remove(&session->lapsed_node);
    server->n_sessions--;
    server->stats.sessions = server->n_sessions;
    if (server->closing && server->n_sessions == 0) {
        atl_timer_set(server->loop, &server->drain, server->loop->now);
    }
    atl_free(server->env, session);
}

void atl_relay_session_free(atl_relay_session *session) {
    atl_h3 *h3 = session->h3;

    release(session);
    atl_h3_abort(h3);
}

static uint64_t idle_limit(const atl_relay_session *session) {
    if (session->announced) {
        return LAPSED_LIMIT;
    }
    return session->opened || session->asked ? IDLE_LIMIT
                                             : session->server->limits.handshake_timeout;
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_relay_session *session = timer->user;
    uint64_t limit = idle_limit(session);
    int busy = atl_registration_active(&session->registration) ||
               !atl_list_empty(&session->circuits) || atl_requests_busy(session);

    if (session->ending) {
        atl_h3_close(session->h3, H3_NO_ERROR, "");
        return;
    }
    if (!busy && now >= session->idle_since + limit) {
        atl_relay_session_close(session,
                                session->opened || session->asked ? "idle" : "no control stream");
        return;
    }
    atl_timer_set(session->server->loop, timer, (busy ? now : session->idle_since) + limit);
}

/* ---- announcements ---- */

static void tell_waiting(atl_relay_session *session) {
    const atl_relay_limits *limits = &session->server->limits;
    atl_relay_ready msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;

    memset(&msg, 0, sizeof(msg));
    msg.status = ATL_RELAY_STATUS_WAITING;
    msg.bandwidth = limits->bandwidth;
    msg.expiry = ATL_RELAY_MISSED * limits->presence_interval / ATL_MS;
    msg.interval = limits->presence_interval / ATL_MS;
    msg.observed = session->port.remote;
    send_message(session, atl_relay_ready_encode(&msg, buf, sizeof(buf), &len), buf, &len);
}

static int drifts(const atl_relay_server *server, uint64_t timestamp) {
    int64_t wall = atl_env_wall_ms(server->env);
    uint64_t ours = wall < 0 ? 0 : (uint64_t)wall;
    uint64_t drift = ours > timestamp ? ours - timestamp : timestamp - ours;

    return drift / 1000 > server->limits.max_clock_drift;
}

/* Identity and time, which announcements and requests have in common. */
static int32_t check_claim(atl_relay_session *session, const atl_peer_id *claimed,
                           uint64_t timestamp) {
    atlas_relay_stats *stats = &session->server->stats;

    if (!atl_peer_id_equal(claimed, &session->peer)) {
        stats->refused_identity++;
        return ATLAS_ERR_RELAY_IDENTITY;
    }
    if (drifts(session->server, timestamp)) {
        stats->refused_drift++;
        return ATLAS_ERR_RELAY_CLOCK_DRIFT;
    }
    return session->server->draining || !session->server->relaying ? ATLAS_ERR_RELAY_DRAINING
                                                                   : ATLAS_OK;
}

/* A node that was not heard for long, and announces itself on another connection, has given the
 * first one up, and the circuits over it: the other ends are told. */
static void end_lapsed(const atl_relay_session *session) {
    atl_list *node = session->server->lapsed.next;

    while (node != &session->server->lapsed) {
        atl_relay_session *old = ATL_CONTAINER(node, atl_relay_session, lapsed_node);

        node = node->next;
        if (old != session && atl_peer_id_equal(&old->peer, &session->peer)) {
            atl_list_remove(&old->lapsed_node);
            session->server->stats.replaced++;
            atl_relay_session_end(old, ATLAS_ERR_RELAY_REPLACED,
                                  "a newer connection of this node took over");
        }
    }
}

/* The node's other connection gives way, unless the newcomer yields. */
static int32_t take_over(atl_relay_session *session, int yield) {
    atl_registration *old = atl_registry_find(&session->server->registry, &session->peer);

    if (old == NULL) {
        return ATLAS_OK;
    }
    if (yield) {
        return ATLAS_ERR_RELAY_REPLACED;
    }
    session->server->stats.replaced++;
    atl_relay_session_end(ATL_CONTAINER(old, atl_relay_session, registration),
                          ATLAS_ERR_RELAY_REPLACED, "a newer connection of this node took over");
    return ATLAS_OK;
}

static int32_t count_refusal(atlas_relay_stats *stats, int32_t why) {
    switch (why) {
    case ATL_REGISTRY_FULL:
        stats->refused_nodes++;
        return ATLAS_ERR_RELAY_CAPACITY;
    case ATL_REGISTRY_FULL_IPV4:
        stats->refused_ipv4++;
        return ATLAS_ERR_RELAY_CAPACITY;
    case ATL_REGISTRY_FULL_IPV6:
        stats->refused_ipv6++;
        return ATLAS_ERR_RELAY_CAPACITY;
    default:
        return why;
    }
}

static int32_t register_node(atl_relay_session *session, const atl_relay_announce *msg) {
    atl_relay_server *server = session->server;
    int32_t rc = atl_access_check(&server->access, ATLAS_RELAY_ASK_ANNOUNCE, &session->peer, NULL,
                                  &session->port.remote);

    if (rc != ATLAS_OK) {
        server->stats.refused_policy++;
        return rc;
    }
    rc = take_over(session, msg->yield);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_registry_add(&server->registry, &session->registration, &session->peer,
                          &session->port.remote, server->loop->now);
    server->stats.nodes = atl_registry_count(&server->registry);
    session->announced |= (uint8_t)(rc == ATLAS_OK);
    if (rc == ATLAS_OK) {
        atl_list_remove(&session->lapsed_node);
        if (!msg->yield) {
            end_lapsed(session);
        }
    }
    return count_refusal(&server->stats, rc);
}

static int32_t announce(atl_relay_session *session, const atl_relay_announce *msg) {
    atl_relay_server *server = session->server;
    int32_t rc;

    if (!atl_bucket_take(&session->announces, server->loop->now, 1)) {
        server->stats.refused_rate++;
        return ATLAS_ERR_RELAY_RATE_LIMITED;
    }
    rc = check_claim(session, &msg->node, msg->timestamp);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (atl_registration_active(&session->registration)) {
        atl_registry_touch(&server->registry, &session->registration, server->loop->now);
    } else {
        rc = register_node(session, msg);
    }
    if (rc == ATLAS_OK) {
        server->stats.announces++;
        atl_timer_set(server->loop, &server->expiry, atl_registry_deadline(&server->registry));
        tell_waiting(session);
    }
    return rc;
}

static int32_t on_announce(atl_relay_session *session, const uint8_t *value, size_t len) {
    atl_relay_announce msg;
    int32_t rc = atl_relay_announce_decode(value, len, &msg);

    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = announce(session, &msg);
    if (rc != ATLAS_OK) {
        atl_relay_session_send_error(session, NULL, rc, atlas_error_text(rc));
    }
    return ATLAS_OK;
}

/* ---- circuit requests ---- */

static int32_t check_circuits(atl_relay_server *server, const atl_relay_session *source,
                              const atl_relay_session *target) {
    if (server->stats.circuits >= server->limits.max_circuits) {
        server->stats.refused_circuits++;
        return ATLAS_ERR_RELAY_CAPACITY;
    }
    if (source->circuits_count >= server->limits.max_circuits_per_node ||
        target->circuits_count >= server->limits.max_circuits_per_node) {
        server->stats.refused_circuits_node++;
        return ATLAS_ERR_RELAY_CAPACITY;
    }
    return ATLAS_OK;
}

static int32_t take_connect(atl_relay_server *server, const atl_peer_id *peer) {
    uint64_t rate = server->limits.handshakes;

    if (rate != server->connect_rate) {
        server->connect_rate = rate;
        atl_source_limit_set_rate(server->connects, rate, rate);
    }
    if (rate != 0 && !atl_source_limit_take(server->connects, peer->key, 16, server->loop->now)) {
        server->stats.refused_rate++;
        return ATLAS_ERR_RELAY_RATE_LIMITED;
    }
    return ATLAS_OK;
}

static int32_t connect_nodes(atl_relay_session *session, const atl_relay_connect *msg) {
    atl_relay_server *server = session->server;
    atl_registration *target;
    int32_t rc = take_connect(server, &session->peer);

    if (rc == ATLAS_OK) {
        rc = check_claim(session, &msg->source, msg->timestamp);
    }
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_access_check(&server->access, ATLAS_RELAY_ASK_CONNECT, &session->peer, &msg->target,
                          &session->port.remote);
    if (rc != ATLAS_OK) {
        server->stats.refused_policy++;
        return rc;
    }
    target = atl_registry_find(&server->registry, &msg->target);
    if (target == NULL || atl_peer_id_equal(&msg->target, &session->peer)) {
        return ATLAS_ERR_RELAY_NOT_REGISTERED;
    }
    rc = check_circuits(server, session, ATL_CONTAINER(target, atl_relay_session, registration));
    return rc != ATLAS_OK
               ? rc
               : atl_pairing_start(server, session,
                                   ATL_CONTAINER(target, atl_relay_session, registration), msg);
}

static int32_t on_connect(atl_relay_session *session, const uint8_t *value, size_t len) {
    atl_relay_connect msg;
    int32_t rc = atl_relay_connect_decode(value, len, &msg);

    if (rc != ATLAS_OK) {
        return rc;
    }
    session->server->stats.connects++;
    rc = connect_nodes(session, &msg);
    if (rc != ATLAS_OK) {
        atl_relay_session_send_error(session, &msg.request, rc, atlas_error_text(rc));
    }
    return ATLAS_OK;
}

/* ---- the control stream ---- */

static int32_t on_accept(atl_relay_session *session, const uint8_t *value, size_t len) {
    atl_relay_accept msg;
    int32_t rc = atl_relay_accept_decode(value, len, &msg);

    if (rc == ATLAS_OK) {
        atl_pairing_answer(session, &msg);
    }
    return rc;
}

static int32_t on_close(atl_relay_session *session, const uint8_t *value, size_t len) {
    atl_relay_close msg;
    int32_t rc = atl_relay_close_decode(value, len, &msg);

    if (rc == ATLAS_OK) {
        atl_pairing_closed(session, &msg);
    }
    return rc;
}

static int32_t on_capsule(void *user, uint64_t type, const uint8_t *value, size_t len) {
    atl_relay_session *session = user;

    if (session->ending) {
        return ATLAS_OK;
    }
    switch (type) {
    case ATL_RELAY_ANNOUNCE:
        return on_announce(session, value, len);
    case ATL_RELAY_CONNECT:
        return on_connect(session, value, len);
    case ATL_RELAY_ACCEPT:
        return on_accept(session, value, len);
    case ATL_RELAY_CLOSE:
        return on_close(session, value, len);
    default:
        return ATLAS_ERR_MALFORMED; /* what only a relay may say */
    }
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    atl_relay_session *session = user;
    int32_t rc;

    if (stream != session->control) {
        atl_requests_on_data(session, stream, data, len);
        return;
    }
    if (session->ending) {
        return;
    }
    rc = atl_capsule_feed(&session->parser, data, len);
    if (rc == ATLAS_OK || session->ending) {
        return;
    }
    session->server->stats.malformed++;
    atl_relay_session_end(session, ATLAS_ERR_RELAY_MALFORMED, atlas_error_text(rc));
}

static void on_end(void *user, atl_h3_stream *stream) {
    atl_relay_session *session = user;

    if (stream == session->control) {
        atl_relay_session_close(session, "");
    } else {
        atl_requests_on_end(session, stream);
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    atl_relay_session *session = user;

    if (stream == session->control) {
        session->control = NULL;
        if (!session->ending) {
            atl_relay_session_close(session, "");
        }
    } else {
        atl_requests_on_closed(session, stream);
    }
}

/* ---- the connection ---- */

static void on_request(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request) {
    (void)h3;
    atl_requests_on_request(user, stream, request);
}

static void on_path(void *user, atl_h3 *h3) {
    atl_relay_session *session = user;
    atl_qpath path;

    atl_qconn_path(atl_h3_conn(h3), &path);
    session->port.remote = path.remote;
    session->port.local = path.local;
    if (atl_registration_active(&session->registration)) {
        (void)atl_registry_move(&session->server->registry, &session->registration, &path.remote);
        if (!session->server->draining) {
            /* the node hears at once how it is seen now */
            tell_waiting(session);
        }
    }
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    (void)h3;
    (void)why;
    release(user);
}

static const atl_h3_ops session_ops = {
    .on_request = on_request,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_path = on_path,
    .on_closed = on_closed,
};

int32_t atl_relay_session_new(atl_relay_server *server, atl_qconn *conn) {
    const atl_peer_id *peer = atl_qconn_peer(conn);
    atl_relay_session *session = atl_calloc(server->env, 1, sizeof(*session));
    int32_t rc;

    if (session == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    session->server = server;
    rc = atl_h3_new(conn, &session_ops, session, &session->h3);
    if (rc != ATLAS_OK) {
        atl_free(server->env, session);
        return rc;
    }
    if (peer != NULL) {
        session->peer = *peer;
        session->has_peer = 1;
    }
    atl_list_init(&session->circuits);
    atl_list_init(&session->lapsed_node);
    atl_requests_init(session);
    atl_relay_session_touch(session);
    atl_capsule_parser_init(&session->parser, server->env, atl_relay_known, on_capsule, session);
    atl_bucket_init(&session->announces, ANNOUNCE_RATE, ANNOUNCE_BURST, server->loop->now);
    atl_timer_init(&session->timer, on_timer, session);
    atl_timer_set(server->loop, &session->timer,
                  server->loop->now + server->limits.handshake_timeout);
    atl_list_append(&server->sessions, &session->node);
    server->n_sessions++;
    server->stats.sessions = server->n_sessions;
    on_path(session, session->h3);
    return ATLAS_OK;
}
