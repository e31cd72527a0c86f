/* Requests and circuits of the relay client. */
#include "relay/client_state.h"

#include <string.h>

#define CIRCUIT_LINGER (15 * ATL_SECOND) /* without a QUIC connection */
#define MAX_REQUESTS 256u
#define MAX_CIRCUITS 1024u /* a relay that asks for more is refused */

struct atl_relay_request {
    atl_list node;
    atl_relay_client *client;
    uint64_t number;
    atl_peer_id target;
    const atl_relay_request_ops *ops;
    void *user;
    atl_relay_circuit *circuit; /* NULL before it was sent, and when it failed */
    uint8_t again; /* the connection on which it was sent has ended: waits for the next */
    atl_timer timeout;
    atl_task deliver;
    int32_t code;
    char text[ATL_RELAY_TEXT_MAX];
};

void atl_relay_circuits_init(atl_relay_client *client) {
    atl_list_init(&client->requests);
    atl_list_init(&client->done);
    atl_list_init(&client->circuits);
}

int atl_relay_circuits_any(const atl_relay_client *client) {
    return !atl_list_empty(&client->requests) || !atl_list_empty(&client->circuits);
}

void atl_relay_circuits_traffic(const atl_relay_client *client, uint64_t *rx, uint64_t *tx) {
    *rx = 0;
    *tx = 0;
    for (atl_list *node = client->circuits.next; node != &client->circuits; node = node->next) {
        const atl_relay_circuit *circuit = ATL_CONTAINER(node, atl_relay_circuit, node);

        *rx += circuit->base.rx_packets;
        *tx += circuit->base.tx_packets;
    }
}

atl_relay_client *atl_relay_client_of(atl_circuit *circuit) {
    return ATL_CONTAINER(circuit, atl_relay_circuit, base)->client;
}

static void set_text(atl_relay_request *request, int32_t code, const char *text) {
    size_t len;

    text = text[0] == '\0' ? atlas_error_text(code) : text;
    len = strlen(text);
    len = len < sizeof(request->text) ? len : sizeof(request->text) - 1;
    memcpy(request->text, text, len);
    request->text[len] = '\0';
    request->code = code;
}

/* ---- circuits ---- */

static void tell_closed(atl_relay_client *client, uint64_t number, int32_t code) {
    atl_relay_close msg = {number, code};
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len;

    if (client->link == ATL_LINK_UP &&
        atl_relay_close_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_relay_link_send(client, buf, len);
    }
}

static void end_circuit(atl_relay_circuit *circuit, int32_t code) {
    atl_relay_client *client = circuit->client;

    if (circuit->own) {
        atl_relay_selftest_lost(client, circuit, code);
    }
    if (circuit->request != NULL) {
        set_text(circuit->request, code, "");
        circuit->request->circuit = NULL;
    }
    atl_timer_clear(client->loop, &circuit->idle);
    atl_list_remove(&circuit->node);
    client->n_circuits--;
    atl_relay_health_watch(client);
    atl_circuit_end(&circuit->base, code);
    atl_free(client->env, circuit);
    atl_relay_client_unused(client);
}

void atl_relay_circuit_close(atl_circuit *circuit, int32_t code) {
    atl_relay_circuit *ours = ATL_CONTAINER(circuit, atl_relay_circuit, base);

    if (ours->numbered) {
        tell_closed(ours->client, ours->number, code);
    }
    end_circuit(ours, code);
}

static void on_idle_timer(atl_timer *timer, uint64_t now) {
    atl_relay_circuit *circuit = timer->user;

    (void)now;
    if (atl_list_empty(&circuit->base.conns)) {
        atl_relay_circuit_close(&circuit->base, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    }
}

static void on_idle(void *user, atl_circuit *base) {
    atl_relay_circuit *circuit = ATL_CONTAINER(base, atl_relay_circuit, base);
    atl_relay_client *client = user;

    atl_timer_set(client->loop, &circuit->idle, client->loop->now + CIRCUIT_LINGER);
}

static int32_t new_circuit(atl_relay_client *client, const atl_peer_id *peer,
                           atl_relay_circuit **out) {
    atl_relay_circuit *circuit;
    int32_t rc;

    if (client->n_circuits >= MAX_CIRCUITS) {
        return ATLAS_ERR_RELAY_CAPACITY;
    }
    circuit = atl_calloc(client->env, 1, sizeof(*circuit));
    if (circuit == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rc = atl_circuit_init(&circuit->base, client->config.ep, atl_h3_conn(client->h3),
                          &client->config.addr.peer, peer);
    if (rc != ATLAS_OK) {
        atl_free(client->env, circuit);
        return rc;
    }
    circuit->base.on_idle = on_idle;
    circuit->base.user = client;
    circuit->client = client;
    atl_timer_init(&circuit->idle, on_idle_timer, circuit);
    atl_list_append(&client->circuits, &circuit->node);
    client->n_circuits++;
    atl_relay_health_watch(client);
    *out = circuit;
    return ATLAS_OK;
}

static void open_circuit(atl_relay_circuit *circuit, uint64_t number,
                         const uint8_t send_id[ATL_CID_LEN]) {
    atl_relay_client *client = circuit->client;

    circuit->number = number;
    circuit->numbered = 1;
    atl_circuit_set_ready(&circuit->base, send_id);
    atl_timer_set(client->loop, &circuit->idle, client->loop->now + CIRCUIT_LINGER);
}

/* ---- requests ---- */

static void deliver(atl_task *task) {
    atl_relay_request *request = task->user;
    atl_relay_client *client = request->client;
    atl_env *env = client->env;
    atl_relay_circuit *circuit = request->circuit;

    atl_list_remove(&request->node);
    atl_relay_client_unused(client);
    /* the upcall may free the client */
    if (circuit != NULL) {
        circuit->request = NULL;
        request->ops->on_ready(request->user, request, &circuit->base);
    } else {
        request->ops->on_failed(request->user, request, request->code, request->text);
    }
    atl_free(env, request);
}

/* Its upcall is due. With ATLAS_OK there is a circuit. */
static void finish(atl_relay_request *request, int32_t code, const char *text) {
    atl_relay_client *client = request->client;
    atl_relay_circuit *circuit = request->circuit;

    atl_timer_clear(client->loop, &request->timeout);
    atl_list_remove(&request->node);
    atl_list_append(&client->done, &request->node);
    if (code != ATLAS_OK) {
        if (circuit != NULL) {
            end_circuit(circuit, code);
        }
        set_text(request, code, text);
    }
    atl_post_work(client->loop, &request->deliver);
}

static int32_t send_connect(atl_relay_request *request) {
    atl_relay_client *client = request->client;
    int64_t wall = atl_env_wall_ms(client->env);
    atl_relay_connect msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;
    int32_t rc = new_circuit(client, &request->target, &request->circuit);

    if (rc != ATLAS_OK) {
        return rc;
    }
    request->circuit->request = request;
    msg.request = request->number;
    msg.source = client->config.self;
    msg.target = request->target;
    msg.timestamp = wall < 0 ? 0 : (uint64_t)wall;
    memcpy(msg.receive_id, request->circuit->base.rx_id, sizeof(msg.receive_id));
    rc = atl_relay_connect_encode(&msg, buf, sizeof(buf), &len);
    return rc != ATLAS_OK ? rc : atl_relay_link_send(client, buf, len);
}

static void begin(atl_relay_request *request) {
    int32_t rc = request->client->drains ? ATLAS_ERR_RELAY_DRAINING : send_connect(request);

    if (rc != ATLAS_OK) {
        finish(request, rc, "");
    }
}

static void on_timeout(atl_timer *timer, uint64_t now) {
    atl_relay_request *request = timer->user;

    (void)now;
    if (request->circuit == NULL) {
        finish(request, ATLAS_ERR_TIMEOUT, "the relay could not be reached in time");
    } else {
        finish(request, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT, "");
    }
}

int32_t atl_relay_client_request(atl_relay_client *client, const atl_peer_id *target,
                                 uint64_t timeout, const atl_relay_request_ops *ops, void *user,
                                 atl_relay_request **out) {
    atl_relay_request *request;
    uint64_t again = client->dialled_at == 0 ? 0 : client->dialled_at + ATL_SECOND;
    size_t n = 0;

    for (atl_list *node = client->requests.next; node != &client->requests; node = node->next) {
        n++;
    }
    if (n >= MAX_REQUESTS) {
        return ATLAS_ERR_LIMIT;
    }
    request = atl_calloc(client->env, 1, sizeof(*request));
    if (request == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    request->client = client;
    request->number = ++client->next_request;
    request->target = *target;
    request->ops = ops;
    request->user = user;
    atl_timer_init(&request->timeout, on_timeout, request);
    atl_task_init(&request->deliver, deliver, request);
    atl_list_append(&client->requests, &request->node);
    atl_timer_set(client->loop, &request->timeout, client->loop->now + timeout);
    *out = request;
    if (client->link == ATL_LINK_UP) {
        begin(request);
    } else if (client->link == ATL_LINK_DOWN && client->retry_at > again) {
        /* whoever asks again and again does not dial more than once a second */
        client->retry_at = again > client->loop->now ? again : client->loop->now;
        atl_timer_set(client->loop, &client->retry, client->retry_at);
    }
    return ATLAS_OK;
}

void atl_relay_request_cancel(atl_relay_request *request) {
    atl_relay_client *client = request->client;
    atl_relay_circuit *circuit = request->circuit;

    atl_task_cancel(&request->deliver);
    atl_timer_clear(client->loop, &request->timeout);
    atl_list_remove(&request->node);
    if (circuit != NULL) {
        circuit->request = NULL;
        atl_relay_circuit_close(&circuit->base, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    }
    atl_free(client->env, request);
    atl_relay_client_unused(client);
}

static atl_relay_request *find_request(const atl_relay_client *client, uint64_t number) {
    for (atl_list *node = client->requests.next; node != &client->requests; node = node->next) {
        atl_relay_request *request = ATL_CONTAINER(node, atl_relay_request, node);

        if (request->number == number && request->circuit != NULL) {
            return request;
        }
    }
    return NULL;
}

/* ---- the relay's messages ---- */

void atl_relay_circuits_up(atl_relay_client *client) {
    atl_list waiting;
    atl_list *node;

    atl_list_init(&waiting);
    atl_list_splice(&waiting, &client->requests);
    while ((node = atl_list_pop(&waiting)) != NULL) {
        atl_list_append(&client->requests, node);
        if (client->link == ATL_LINK_UP) {
            begin(ATL_CONTAINER(node, atl_relay_request, node));
        }
    }
}

void atl_relay_circuits_ready(atl_relay_client *client, const atl_relay_ready *msg) {
    atl_relay_request *request = find_request(client, msg->request);

    if (request == NULL) {
        /* cancelled meanwhile */
        tell_closed(client, msg->circuit, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
        return;
    }
    open_circuit(request->circuit, msg->circuit, msg->send_id);
    finish(request, ATLAS_OK, "");
}

void atl_relay_circuits_error(atl_relay_client *client, const atl_relay_error *msg) {
    atl_relay_request *request = find_request(client, msg->request);

    if (request != NULL) {
        finish(request, msg->code, msg->reason);
    }
}

static int32_t answer(atl_relay_client *client, const atl_relay_accept *msg) {
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;
    int32_t rc = atl_relay_accept_encode(msg, buf, sizeof(buf), &len);

    return rc != ATLAS_OK ? rc : atl_relay_link_send(client, buf, len);
}

int32_t atl_relay_circuits_open(atl_relay_client *client, const atl_relay_incoming *msg,
                                atl_relay_circuit **out) {
    int32_t rc = new_circuit(client, &msg->source, out);

    if (rc == ATLAS_OK) {
        open_circuit(*out, msg->circuit, msg->send_id);
    }
    return rc;
}

int32_t atl_relay_circuits_incoming(atl_relay_client *client, const atl_relay_incoming *msg) {
    atl_relay_circuit *circuit = NULL;
    atl_relay_accept accept;

    memset(&accept, 0, sizeof(accept));
    accept.circuit = msg->circuit;
    if (atl_peer_id_equal(&msg->source, &client->config.self)) {
        accept.code = atl_relay_selftest_incoming(client, msg, &circuit);
    } else {
        accept.code = client->ops->on_incoming == NULL
                          ? ATLAS_ERR_RELAY_REFUSED
                          : client->ops->on_incoming(client->user, client, &msg->source);
        if (accept.code == ATLAS_OK) {
            accept.code = atl_relay_circuits_open(client, msg, &circuit);
        }
    }
    if (accept.code == ATLAS_OK) {
        memcpy(accept.receive_id, circuit->base.rx_id, sizeof(accept.receive_id));
    }
    /* a failure has ended the link, and with it the circuit */
    (void)answer(client, &accept);
    return ATLAS_OK;
}

void atl_relay_circuits_closed(atl_relay_client *client, const atl_relay_close *msg) {
    for (atl_list *node = client->circuits.next; node != &client->circuits; node = node->next) {
        atl_relay_circuit *circuit = ATL_CONTAINER(node, atl_relay_circuit, node);

        if (circuit->numbered && circuit->number == msg->circuit) {
            end_circuit(circuit, msg->code);
            return;
        }
    }
}

/* ---- the end ---- */

/* The relay may have restarted, or forgotten this node: that was found out by this very request. */
static void keep_for_next(atl_relay_request *request) {
    atl_relay_circuit *circuit = request->circuit;

    request->again = 1;
    request->circuit = NULL;
    if (circuit != NULL) {
        circuit->request = NULL;
        end_circuit(circuit, ATLAS_ERR_RELAY_LOST);
    }
}

void atl_relay_circuits_down(atl_relay_client *client, int32_t code, const char *text, int again) {
    atl_list ending;
    atl_list *node;

    atl_relay_selftest_lost(client, NULL, code);
    atl_list_init(&ending);
    atl_list_splice(&ending, &client->requests);
    while ((node = atl_list_pop(&ending)) != NULL) {
        atl_relay_request *request = ATL_CONTAINER(node, atl_relay_request, node);

        atl_list_append(&client->requests, node);
        if (again && !request->again) {
            keep_for_next(request);
        } else {
            finish(request, code, text);
        }
    }
    while (!atl_list_empty(&client->circuits)) {
        end_circuit(ATL_CONTAINER(client->circuits.next, atl_relay_circuit, node), code);
    }
}

void atl_relay_circuits_free(atl_relay_client *client) {
    atl_relay_selftest_free(client);
    while (!atl_list_empty(&client->requests)) {
        atl_relay_request_cancel(ATL_CONTAINER(client->requests.next, atl_relay_request, node));
    }
    while (!atl_list_empty(&client->done)) {
        atl_relay_request_cancel(ATL_CONTAINER(client->done.next, atl_relay_request, node));
    }
    while (!atl_list_empty(&client->circuits)) {
        end_circuit(ATL_CONTAINER(client->circuits.next, atl_relay_circuit, node),
                    ATLAS_ERR_CANCELLED);
    }
}
