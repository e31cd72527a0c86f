#include "relay/requests.h"

#include "relay/report.h"
#include "relay/session.h"

#include <string.h>

#define H3_REQUEST_CANCELLED 0x10cu
/* A request whose client neither ends it nor reads its answer is reset after one to two of these,
 * and one more later its connection is closed: nobody holds a place by doing nothing. */
#define SWEEP (30 * ATL_SECOND)
#define STRIKES_RESET 2
#define STRIKES_CLOSE 3

/* One that was taken. */
typedef struct taken {
    atl_list node; /* in session->requests */
    const atl_requests_part *part;
    void *user; /* the part's */
    atl_h3_stream *stream;
    uint8_t ended;   /* the body is complete */
    uint8_t strikes; /* sweeps that found it waiting for its client */
} taken;

/* ---- life ---- */

static void finish(taken *request, atl_env *env) {
    const atl_requests_ops *ops = request->part->ops;

    atl_list_remove(&request->node);
    if (ops->on_closed != NULL) {
        ops->on_closed(request->part->user, request->user, request->stream);
    }
    atl_free(env, request);
}

static int waits_for_client(const taken *request) {
    return !request->ended || atl_h3_stream_answered(request->stream);
}

static void sweep(atl_timer *timer, uint64_t now) {
    atl_relay_session *session = timer->user;
    atl_list *node = session->requests.next;

    while (node != &session->requests && !session->ending) {
        taken *request = ATL_CONTAINER(node, taken, node);

        node = node->next;
        request->strikes = waits_for_client(request) ? (uint8_t)(request->strikes + 1) : 0;
        if (request->strikes == STRIKES_RESET) {
            session->server->overdue++;
            atl_h3_reset(request->stream, H3_REQUEST_CANCELLED);
        } else if (request->strikes >= STRIKES_CLOSE) {
            atl_relay_session_close(session, "a request does not end");
        }
    }
    if (!atl_list_empty(&session->requests)) {
        atl_timer_set(session->server->loop, timer, now + SWEEP);
    }
}

void atl_requests_init(atl_relay_session *session) {
    atl_list_init(&session->requests);
    atl_list_init(&session->idle_node);
    atl_timer_init(&session->sweep, sweep, session);
}

void atl_requests_free(atl_relay_session *session) {
    while (!atl_list_empty(&session->requests)) {
        finish(ATL_CONTAINER(session->requests.next, taken, node), session->server->env);
    }
    atl_timer_clear(session->server->loop, &session->sweep);
    atl_list_remove(&session->idle_node);
}

/* ---- who makes way ---- */

int atl_requests_busy(const atl_relay_session *session) {
    return !atl_list_empty(&session->requests);
}

void atl_requests_rank(atl_relay_session *session) {
    atl_list_remove(&session->idle_node);
    if (!session->opened && !session->ending && !atl_requests_busy(session)) {
        atl_list_append(&session->server->idle, &session->idle_node);
    }
}

int atl_requests_make_way(atl_relay_server *server) {
    if (atl_list_empty(&server->idle)) {
        return 0;
    }
    server->made_way++;
    atl_relay_session_close(ATL_CONTAINER(server->idle.next, atl_relay_session, idle_node),
                            "others ask");
    return 1;
}

static void respond_empty(atl_h3_stream *stream, int32_t status) {
    if (atl_h3_respond(stream, status, "text/plain", "", 0) != ATLAS_OK) {
        atl_h3_reset(stream, H3_REQUEST_CANCELLED);
    }
}

/* ---- the control stream ---- */

/* 0 when the control stream may be opened, else the HTTP status that refuses it. */
static int32_t control_status(const atl_relay_session *session, const atl_h3_request *request) {
    if (strcmp(request->path, ATL_RELAY_PATH) != 0) {
        return 404;
    }
    if (strcmp(request->protocol, ATL_RELAY_PROTOCOL) != 0 || !request->capsules) {
        return 400;
    }
    if (!session->has_peer) {
        return 401;
    }
    if (!atl_access_listed(&session->server->access, &session->peer)) {
        return 403;
    }
    if (session->server->draining || !session->server->relaying || session->ending) {
        return 503;
    }
    return session->opened ? 409 : 0;
}

static void open_control(atl_relay_session *session, atl_h3_stream *stream,
                         const atl_h3_request *request) {
    int32_t status = control_status(session, request);

    if (status == 403) {
        session->server->stats.refused_policy++;
    }
    if (status == 0 && atl_h3_accept(stream) == ATLAS_OK) {
        session->control = stream;
        session->opened = 1;
        atl_relay_session_touch(session);
    } else {
        respond_empty(stream, status == 0 ? 500 : status);
    }
}

/* ---- requests ---- */

static void take(atl_relay_session *session, const atl_requests_part *part, atl_h3_stream *stream,
                 void *request_user) {
    atl_relay_server *server = session->server;
    taken *request = atl_calloc(server->env, 1, sizeof(*request));

    if (request == NULL) {
        atl_h3_reset(stream, H3_REQUEST_CANCELLED);
        if (part->ops->on_closed != NULL) {
            part->ops->on_closed(part->user, request_user, stream);
        }
        return;
    }
    request->part = part;
    request->user = request_user;
    request->stream = stream;
    if (!atl_requests_busy(session)) {
        atl_timer_set(server->loop, &session->sweep, server->loop->now + SWEEP);
    }
    atl_list_append(&session->requests, &request->node);
    atl_h3_stream_set_user(stream, request);
}

/* Asks the parts in order. */
static void offer(atl_relay_session *session, atl_h3_stream *stream,
                  const atl_h3_request *request) {
    atl_relay_server *server = session->server;
    atl_requester from = {session->has_peer ? &session->peer : NULL, session->port.remote,
                          session->port.local};
    size_t i;

    for (i = 0; i < server->n_parts; i++) {
        const atl_requests_part *part = &server->parts[i];
        void *request_user = NULL;

        if (part->ops->on_request(part->user, stream, request, &from, &request_user)) {
            take(session, part, stream, request_user);
            return;
        }
    }
    respond_empty(stream, 404);
}

void atl_requests_on_request(atl_relay_session *session, atl_h3_stream *stream,
                             const atl_h3_request *request) {
    if (strcmp(request->method, "CONNECT") == 0) {
        open_control(session, stream, request);
        return;
    }
    session->asked = 1;
    if (strncmp(request->path, ATL_RELAY_PATH, strlen(ATL_RELAY_PATH)) == 0) {
        atl_relay_report_answer(session->server, stream, request);
    } else {
        offer(session, stream, request);
    }
    atl_relay_session_touch(session);
}

void atl_requests_on_data(atl_relay_session *session, atl_h3_stream *stream, const uint8_t *data,
                          size_t len) {
    taken *request = atl_h3_stream_user(stream);

    (void)session;
    if (request != NULL && !atl_h3_stream_answered(stream) && request->part->ops->on_data != NULL) {
        request->part->ops->on_data(request->part->user, request->user, stream, data, len);
    }
}

void atl_requests_on_end(atl_relay_session *session, atl_h3_stream *stream) {
    taken *request = atl_h3_stream_user(stream);

    (void)session;
    if (request == NULL) {
        return;
    }
    request->ended = 1;
    request->strikes = 0;
    if (!atl_h3_stream_answered(stream) && request->part->ops->on_end != NULL) {
        request->part->ops->on_end(request->part->user, request->user, stream);
    }
}

void atl_requests_on_closed(atl_relay_session *session, atl_h3_stream *stream) {
    taken *request = atl_h3_stream_user(stream);

    if (request != NULL) {
        atl_h3_stream_set_user(stream, NULL);
        finish(request, session->server->env);
        atl_relay_session_touch(session);
    }
}
