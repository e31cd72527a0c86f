#include "relay/pairing.h"

#include <string.h>

#define IDLE_LIMIT (120 * ATL_SECOND) /* without a packet in either direction */

static uint32_t other(const atl_pairing_end *end) {
    return end == &end->pairing->ends[0] ? 1 : 0;
}

static void send_close(atl_relay_session *session, uint64_t circuit, int32_t code) {
    atl_relay_close msg = {circuit, code};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    if (atl_relay_close_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        atl_relay_session_send(session, buf, len);
    }
}

/* Tells one end that the circuit is over: a source that has not heard "ready" gets an error for its
 * request. */
static void tell(atl_pairing *pairing, uint32_t which, int32_t code) {
    atl_relay_session *session = pairing->ends[which].session;

    if (which == ATL_PAIRING_SOURCE && !pairing->ready) {
        /* "closed in order" is no answer to a request */
        if (atl_relay_code_to_wire(code) == ATL_RELAY_CODE_CLOSED) {
            code = ATLAS_ERR_RELAY_REFUSED;
        }
        atl_relay_session_send_error(session, &pairing->request, code, "");
    } else {
        send_close(session, pairing->number, code);
    }
}

/* Takes the circuit out of every table, then tells the ends in `told` (bits), then frees it. */
static void finish(atl_pairing *pairing, uint32_t told, int32_t code) {
    atl_relay_server *server = pairing->ends[0].session->server;

    atl_timer_clear(server->loop, &pairing->timer);
    atl_idmap_remove(&server->circuits, pairing->number);
    server->stats.circuits--;
    for (uint32_t i = 0; i < 2; i++) {
        atl_pairing_end *end = &pairing->ends[i];

        atl_forward_close(server->forwarder, &end->half);
        atl_endpoint_id_remove(server->ep, end->half.rx_id);
        atl_list_remove(&end->node);
        end->session->circuits_count--;
        atl_relay_session_touch(end->session);
    }
    for (uint32_t i = 0; i < 2; i++) {
        if ((told & (1u << i)) != 0) {
            tell(pairing, i, code);
        }
    }
    atl_free(server->env, pairing);
    if (server->draining && server->stats.circuits == 0) {
        atl_timer_set(server->loop, &server->drain, server->loop->now);
    }
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_pairing *pairing = timer->user;
    atl_relay_server *server = pairing->ends[0].session->server;
    uint64_t last = pairing->ends[0].half.last;

    if (!pairing->ready) {
        server->stats.handshake_timeouts++;
        finish(pairing, 3, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
        return;
    }
    last = pairing->ends[1].half.last > last ? pairing->ends[1].half.last : last;
    if (now >= last + IDLE_LIMIT) {
        finish(pairing, 3, ATLAS_ERR_RELAY_EXPIRED);
        return;
    }
    atl_timer_set(server->loop, timer, last + IDLE_LIMIT);
}

/* ---- setting up ---- */

static int32_t take_ids(atl_relay_server *server, atl_pairing *pairing) {
    int32_t rc = atl_idmap_add(&server->circuits, pairing->number, 0, pairing);

    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_endpoint_id_new(server->ep, ATL_ID_FORWARD, &pairing->ends[0].half,
                             pairing->ends[0].half.rx_id);
    if (rc == ATLAS_OK) {
        rc = atl_endpoint_id_new(server->ep, ATL_ID_FORWARD, &pairing->ends[1].half,
                                 pairing->ends[1].half.rx_id);
        if (rc != ATLAS_OK) {
            atl_endpoint_id_remove(server->ep, pairing->ends[0].half.rx_id);
        }
    }
    if (rc != ATLAS_OK) {
        atl_idmap_remove(&server->circuits, pairing->number);
    }
    return rc;
}

static void join(atl_pairing *pairing, uint32_t which, atl_relay_session *session) {
    atl_pairing_end *end = &pairing->ends[which];

    end->pairing = pairing;
    end->session = session;
    end->half.port = &session->port;
    atl_list_append(&session->circuits, &end->node);
    session->circuits_count++;
}

static void ask_target(atl_pairing *pairing) {
    atl_relay_incoming msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    msg.circuit = pairing->number;
    msg.source = pairing->ends[ATL_PAIRING_SOURCE].session->peer;
    memcpy(msg.send_id, pairing->ends[ATL_PAIRING_TARGET].half.rx_id, sizeof(msg.send_id));
    if (atl_relay_incoming_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        atl_relay_session_send(pairing->ends[ATL_PAIRING_TARGET].session, buf, len);
    }
}

int32_t atl_pairing_start(atl_relay_server *server, atl_relay_session *source,
                          atl_relay_session *target, const atl_relay_connect *msg) {
    atl_pairing *pairing = atl_calloc(server->env, 1, sizeof(*pairing));
    int32_t rc;

    if (pairing == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    pairing->number = ++server->next_circuit;
    pairing->request = msg->request;
    rc = take_ids(server, pairing);
    if (rc != ATLAS_OK) {
        atl_free(server->env, pairing);
        return rc;
    }
    memcpy(pairing->ends[ATL_PAIRING_SOURCE].half.tx_id, msg->receive_id, ATL_CID_LEN);
    join(pairing, ATL_PAIRING_SOURCE, source);
    join(pairing, ATL_PAIRING_TARGET, target);
    atl_forward_pair(server->forwarder, &pairing->ends[0].half, &pairing->ends[1].half);
    atl_timer_init(&pairing->timer, on_timer, pairing);
    atl_timer_set(server->loop, &pairing->timer,
                  server->loop->now + server->limits.handshake_timeout);
    server->stats.circuits++;
    ask_target(pairing);
    return ATLAS_OK;
}

/* ---- messages about a circuit ---- */

static atl_pairing *find(const atl_relay_session *session, uint64_t number) {
    const atl_idmap_slot *slot = atl_idmap_get(&session->server->circuits, number);

    return slot == NULL ? NULL : slot->ptr;
}

/* The session's own end of a circuit, or NULL. Of a circuit to oneself the target's: so the source
 * hears of its end, and one that has a request waiting for it gets an answer. */
static atl_pairing_end *find_end(const atl_relay_session *session, uint64_t number) {
    atl_pairing *pairing = find(session, number);

    if (pairing == NULL) {
        return NULL;
    }
    if (pairing->ends[ATL_PAIRING_TARGET].session == session) {
        return &pairing->ends[ATL_PAIRING_TARGET];
    }
    return pairing->ends[ATL_PAIRING_SOURCE].session == session ? &pairing->ends[ATL_PAIRING_SOURCE]
                                                                : NULL;
}

static void tell_ready(atl_pairing *pairing) {
    atl_relay_session *source = pairing->ends[ATL_PAIRING_SOURCE].session;
    atl_relay_ready msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    memset(&msg, 0, sizeof(msg));
    msg.status = ATL_RELAY_STATUS_READY;
    msg.bandwidth = source->server->limits.bandwidth;
    msg.request = pairing->request;
    msg.circuit = pairing->number;
    memcpy(msg.send_id, pairing->ends[ATL_PAIRING_SOURCE].half.rx_id, sizeof(msg.send_id));
    if (atl_relay_ready_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        atl_relay_session_send(source, buf, len);
    }
}

void atl_pairing_answer(atl_relay_session *session, const atl_relay_accept *msg) {
    atl_pairing *pairing = find(session, msg->circuit);
    atl_relay_server *server = session->server;
    atl_pairing_end *end;

    if (pairing == NULL || pairing->ready || pairing->ends[ATL_PAIRING_TARGET].session != session) {
        return;
    }
    end = &pairing->ends[ATL_PAIRING_TARGET];
    if (msg->code != ATLAS_OK) {
        finish(pairing, 1u << ATL_PAIRING_SOURCE, msg->code);
        return;
    }
    memcpy(end->half.tx_id, msg->receive_id, ATL_CID_LEN);
    pairing->ready = 1;
    pairing->ends[0].half.last = server->loop->now;
    atl_forward_open(&end->half);
    atl_timer_set(server->loop, &pairing->timer, server->loop->now + IDLE_LIMIT);
    server->stats.pairs++;
    tell_ready(pairing);
}

void atl_pairing_closed(atl_relay_session *session, const atl_relay_close *msg) {
    const atl_pairing_end *end = find_end(session, msg->circuit);

    if (end != NULL) {
        finish(end->pairing, 1u << other(end), msg->code);
    }
}

void atl_pairing_end_all(atl_relay_session *session, int32_t code) {
    while (!atl_list_empty(&session->circuits)) {
        atl_pairing_end *end = ATL_CONTAINER(session->circuits.next, atl_pairing_end, node);
        uint32_t rest = other(end);

        finish(end->pairing, end->pairing->ends[rest].session == session ? 0 : 1u << rest, code);
    }
}
