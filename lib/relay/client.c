/* Presence on one relay: when to dial, when to announce, and what to say about it. */
#include "relay/client.h"

#include "relay/client_state.h"
#include "relay/registry.h"

#include <stdio.h>
#include <string.h>

#define BACKOFF_MIN ATL_SECOND
#define BACKOFF_MAX (60 * ATL_SECOND)
#define REPLACED_WAIT (60 * ATL_SECOND)
#define LASTED (10 * ATL_SECOND) /* presence that lived this long ends a row of failures */
#define UNUSED_LINGER (15 * ATL_SECOND)
#define MIN_INTERVAL (100 * ATL_MS)
#define DRAIN_GRACE \
    (2 * ATL_SECOND) /* after its time the relay should have closed the connection */

/* ---- state ---- */

static void on_notify(atl_task *task) {
    atl_relay_client *client = task->user;

    /* the upcall may free the client */
    if (client->ops->on_state != NULL) {
        client->ops->on_state(client->user, client);
    }
}

void atl_relay_client_set(atl_relay_client *client, uint32_t state, int32_t code,
                          const char *text) {
    size_t len = strlen(text);

    len = len < sizeof(client->text) ? len : sizeof(client->text) - 1;
    client->state = state;
    client->code = code;
    memmove(client->text, text, len);
    client->text[len] = '\0';
    atl_post_work(client->loop, &client->notify);
    atl_relay_health_news(client);
}

uint32_t atl_relay_client_state(const atl_relay_client *client) {
    return client->state;
}

const atl_maddr *atl_relay_client_addr(const atl_relay_client *client) {
    return &client->config.addr;
}

void atl_relay_client_event(const atl_relay_client *client, atlas_relay_event *out) {
    atl_qconn_info info;
    uint64_t now = client->loop->now;

    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    out->state = client->state;
    out->code = client->code;
    if (client->link == ATL_LINK_UP) {
        atl_qconn_get_info(atl_h3_conn(client->h3), &info);
        out->rtt_ns = info.srtt;
    }
    if (client->state == ATLAS_RELAY_LOST && client->retry_at != ATLAS_NO_DEADLINE) {
        out->retry_ns = client->retry_at > now ? client->retry_at - now : 0;
    }
    if (client->state == ATLAS_RELAY_ANNOUNCED) {
        out->expires_ns = client->expiry;
        out->bandwidth = client->bandwidth;
    }
    out->addr = client->addr_text;
    out->relay = client->relay_text;
    out->observed = client->observed;
    out->text = client->text;
}

static int needed(const atl_relay_client *client) {
    return client->want_connect || client->want_announce || atl_relay_circuits_any(client);
}

/* ---- backoff ---- */

/* Grows by half from 1 s to 60 s; a random part spreads those that lost the same relay at once. */
static uint64_t backoff(atl_relay_client *client) {
    uint64_t most = BACKOFF_MIN;
    uint64_t random = 0;

    for (uint32_t i = 0; i < client->attempts && most < BACKOFF_MAX; i++) {
        most += most / 2;
    }
    most = most > BACKOFF_MAX ? BACKOFF_MAX : most;
    (void)atl_random(client->env, &random, sizeof(random));
    client->attempts++;
    most = most / 2 + random % (most / 2 + 1);
    return most < BACKOFF_MIN ? BACKOFF_MIN : most;
}

/* All nodes of a relay lose it at the same time. */
static uint64_t at_once(const atl_relay_client *client) {
    uint64_t random = 0;

    (void)atl_random(client->env, &random, sizeof(random));
    return ATL_MS + random % (50 * ATL_MS);
}

static void retry_in(atl_relay_client *client, uint64_t wait) {
    client->retry_at = client->loop->now + wait;
    atl_timer_set(client->loop, &client->retry, client->retry_at);
}

static void start(atl_relay_client *client) {
    client->retry_at = ATLAS_NO_DEADLINE;
    atl_timer_clear(client->loop, &client->retry);
    if (client->link == ATL_LINK_DOWN) {
        atl_relay_client_set(client, ATLAS_RELAY_CONNECTING, ATLAS_OK, "connecting");
        atl_relay_link_start(client);
    }
}

static void on_retry(atl_timer *timer, uint64_t now) {
    (void)now;
    start(timer->user);
}

void atl_relay_client_retry(atl_relay_client *client) {
    if (client->link == ATL_LINK_DOWN && client->state != ATLAS_RELAY_REPLACED && !client->idle &&
        needed(client)) {
        start(client);
    }
}

/* ---- announcing ---- */

static uint64_t interval(const atl_relay_client *client) {
    uint64_t own = *client->config.presence_interval;
    uint64_t wait =
        client->told_interval != 0 && client->told_interval < own ? client->told_interval : own;

    return wait < MIN_INTERVAL ? MIN_INTERVAL : wait;
}

static void send_announce(atl_relay_client *client) {
    int64_t wall = atl_env_wall_ms(client->env);
    atl_relay_announce msg;
    uint8_t buf[ATL_RELAY_MESSAGE_MAX];
    size_t len = 0;

    msg.node = client->config.self;
    msg.timestamp = wall < 0 ? 0 : (uint64_t)wall;
    msg.yield = client->yield;
    if (atl_relay_announce_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_relay_link_send(client, buf, len);
    }
}

/* What counts is what was asked and not answered, not the time that went by: a host that slept has
 * not asked. */
static void on_announce(atl_timer *timer, uint64_t now) {
    atl_relay_client *client = timer->user;

    if (client->link != ATL_LINK_UP || client->drains || client->idle) {
        return;
    }
    if (now >= client->announce_due + interval(client)) {
        client->unanswered = 0;
    }
    if (client->unanswered >= ATL_RELAY_MISSED) {
        atl_relay_link_fail(client, ATLAS_ERR_RELAY_LOST,
                            "the relay no longer answers announcements");
        return;
    }
    client->announcing = 1;
    client->unanswered++;
    send_announce(client);
    client->announce_due = now + interval(client);
    atl_timer_set(client->loop, timer, client->announce_due);
}

static int may_announce(const atl_relay_client *client) {
    return client->want_announce && client->link == ATL_LINK_UP && !client->drains && !client->idle;
}

/* Announces now, or when the relay may be asked again. */
static void plan_announce(atl_relay_client *client) {
    uint64_t now = client->loop->now;

    client->announcing = 0;
    client->announced = 0;
    client->unanswered = 0;
    if (!may_announce(client)) {
        atl_timer_clear(client->loop, &client->announce);
    } else if (client->announce_from > now) {
        client->announce_due = client->announce_from;
        atl_timer_set(client->loop, &client->announce, client->announce_from);
    } else {
        on_announce(&client->announce, now);
    }
}

void atl_relay_client_reannounce(atl_relay_client *client) {
    if (may_announce(client) && client->announce_from <= client->loop->now) {
        client->unanswered = 0;
        on_announce(&client->announce, client->loop->now);
    }
}

static void refused(atl_relay_client *client, int32_t code, const char *reason) {
    if (code == ATLAS_ERR_RELAY_EXPIRED) {
        /* nothing is wrong with the relay */
        atl_relay_client_set(client, ATLAS_RELAY_CONNECTED, ATLAS_OK, atlas_error_text(code));
    } else {
        client->announce_from = client->loop->now + backoff(client);
        client->retry_at = client->announce_from;
        atl_relay_client_set(client, ATLAS_RELAY_LOST, code,
                             reason[0] != '\0' ? reason : atlas_error_text(code));
    }
    plan_announce(client);
}

static void replaced(atl_relay_client *client) {
    client->yield = 1;
    client->announce_from = client->loop->now + REPLACED_WAIT;
    atl_relay_link_fail(client, ATLAS_ERR_RELAY_REPLACED,
                        atlas_error_text(ATLAS_ERR_RELAY_REPLACED));
}

/* ---- what the relay says ---- */

static void on_waiting(atl_relay_client *client, const atl_relay_ready *msg) {
    char observed[ATLAS_ADDR_MAX] = "";
    uint64_t expiry = msg->expiry < UINT64_MAX / ATL_MS ? msg->expiry * ATL_MS : UINT64_MAX;
    int news;

    if (!client->announcing || !client->want_announce || client->drains) {
        return;
    }
    if (msg->observed.family != 0) {
        atl_addr_text(&msg->observed, observed);
    }
    client->unanswered = 0;
    client->told_interval = msg->interval < BACKOFF_MAX / ATL_MS ? msg->interval * ATL_MS : 0;
    news = !client->announced || strcmp(observed, client->observed) != 0 ||
           client->bandwidth != msg->bandwidth || client->expiry != expiry;
    client->announced = 1;
    client->yield = 0;
    client->retry_at = ATLAS_NO_DEADLINE;
    client->bandwidth = msg->bandwidth;
    client->expiry = expiry;
    memcpy(client->observed, observed, sizeof(observed));
    client->observed_addr = msg->observed;
    if (news) {
        atl_relay_client_set(client, ATLAS_RELAY_ANNOUNCED, ATLAS_OK, "announced");
    }
}

static int32_t on_ready(atl_relay_client *client, const uint8_t *value, size_t len) {
    atl_relay_ready msg;
    int32_t rc = atl_relay_ready_decode(value, len, &msg);

    if (rc == ATLAS_OK && msg.status == ATL_RELAY_STATUS_WAITING) {
        on_waiting(client, &msg);
    } else if (rc == ATLAS_OK && msg.status == ATL_RELAY_STATUS_READY) {
        atl_relay_circuits_ready(client, &msg);
    }
    return rc;
}

static int32_t on_error(atl_relay_client *client, const uint8_t *value, size_t len) {
    atl_relay_error msg;
    int32_t rc = atl_relay_error_decode(value, len, &msg);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (msg.has_request) {
        atl_relay_circuits_error(client, &msg);
    } else if (msg.code == ATLAS_ERR_RELAY_REPLACED) {
        replaced(client);
    } else if (msg.code == ATLAS_ERR_RELAY_DRAINING) {
        atl_relay_client_set(client, ATLAS_RELAY_DRAINS, msg.code, atlas_error_text(msg.code));
        client->drains = 1;
    } else if (client->want_announce) {
        refused(client, msg.code, msg.reason);
    }
    return ATLAS_OK;
}

static int32_t on_incoming(atl_relay_client *client, const uint8_t *value, size_t len) {
    atl_relay_incoming msg;
    int32_t rc = atl_relay_incoming_decode(value, len, &msg);

    return rc != ATLAS_OK ? rc : atl_relay_circuits_incoming(client, &msg);
}

static int32_t on_close(atl_relay_client *client, const uint8_t *value, size_t len) {
    atl_relay_close msg;
    int32_t rc = atl_relay_close_decode(value, len, &msg);

    if (rc == ATLAS_OK) {
        atl_relay_circuits_closed(client, &msg);
    }
    return rc;
}

static int32_t on_drain(atl_relay_client *client, const uint8_t *value, size_t len) {
    atl_relay_drain msg;
    int32_t rc = atl_relay_drain_decode(value, len, &msg);
    uint64_t wait;

    if (rc != ATLAS_OK) {
        return rc;
    }
    wait = msg.within < UINT32_MAX ? msg.within * ATL_MS : UINT32_MAX * ATL_MS;
    client->drains = 1;
    client->announced = 0;
    atl_timer_clear(client->loop, &client->announce);
    atl_timer_set(client->loop, &client->linger, client->loop->now + wait + DRAIN_GRACE);
    atl_relay_client_set(client, ATLAS_RELAY_DRAINS, ATLAS_ERR_RELAY_DRAINING,
                         atlas_error_text(ATLAS_ERR_RELAY_DRAINING));
    return ATLAS_OK;
}

int32_t atl_relay_client_capsule(atl_relay_client *client, uint64_t type, const uint8_t *value,
                                 size_t len) {
    switch (type) {
    case ATL_RELAY_READY:
        return on_ready(client, value, len);
    case ATL_RELAY_ERROR:
        return on_error(client, value, len);
    case ATL_RELAY_INCOMING:
        return on_incoming(client, value, len);
    case ATL_RELAY_CLOSE:
        return on_close(client, value, len);
    case ATL_RELAY_DRAIN:
        return on_drain(client, value, len);
    default:
        return ATLAS_ERR_MALFORMED; /* what only a node may say */
    }
}

/* ---- the link ---- */

void atl_relay_client_up(atl_relay_client *client) {
    uint64_t now = client->loop->now;

    client->told_interval = 0;
    atl_relay_health_up(client);
    atl_relay_client_set(client, ATLAS_RELAY_CONNECTED, ATLAS_OK, "connected");
    plan_announce(client);
    atl_relay_circuits_up(client);
    if (client->announce_from > now && client->yield) {
        atl_relay_client_set(client, ATLAS_RELAY_REPLACED, ATLAS_ERR_RELAY_REPLACED,
                             atlas_error_text(ATLAS_ERR_RELAY_REPLACED));
    }
    atl_relay_client_unused(client);
}

/* What follows for a node that wants to stay connected. A relay that has served for a while and is
 * lost is tried again before it is waited for. */
static void plan_retry(atl_relay_client *client, int32_t code, const char *text, int now) {
    if (code == ATLAS_ERR_RELAY_REPLACED) {
        retry_in(client, REPLACED_WAIT);
        atl_relay_client_set(client, ATLAS_RELAY_REPLACED, code, text);
        return;
    }
    if (client->idle && !atl_relay_circuits_any(client)) {
        client->retry_at = ATLAS_NO_DEADLINE;
    } else if (now) {
        retry_in(client, at_once(client));
    } else {
        retry_in(client, backoff(client));
    }
    atl_relay_client_set(client, ATLAS_RELAY_LOST, code == ATLAS_OK ? ATLAS_ERR_RELAY_LOST : code,
                         text);
}

void atl_relay_client_down(atl_relay_client *client, int32_t code, const char *text) {
    int lasted = client->up_at != 0 && (client->announced || !client->want_announce) &&
                 client->loop->now >= client->up_at + LASTED;

    int orderly = client->drains || code == ATLAS_OK || code == ATLAS_ERR_RELAY_DRAINING ||
                  code == ATLAS_ERR_RELAY_REPLACED;
    int again = client->up_at != 0 && !orderly;

    if (lasted) {
        client->attempts = 0;
    }
    atl_relay_health_down(client, code != ATLAS_OK);
    client->announced = 0;
    client->announcing = 0;
    client->drains = 0;
    client->observed[0] = '\0';
    memset(&client->observed_addr, 0, sizeof(client->observed_addr));
    atl_timer_clear(client->loop, &client->announce);
    atl_timer_clear(client->loop, &client->linger);
    if (code == ATLAS_OK && needed(client)) {
        /* closed as unused, and wanted again since */
        start(client);
        return;
    }
    atl_relay_circuits_down(client, code == ATLAS_OK ? ATLAS_ERR_CANCELLED : code, text, again);
    if (needed(client)) {
        plan_retry(client, code, text, again && (lasted || atl_relay_circuits_any(client)));
    } else {
        atl_relay_client_set(client, ATLAS_RELAY_IDLE, ATLAS_OK, text);
    }
}

static void on_linger(atl_timer *timer, uint64_t now) {
    atl_relay_client *client = timer->user;

    (void)now;
    if (client->drains) {
        atl_relay_link_fail(client, ATLAS_ERR_RELAY_DRAINING,
                            atlas_error_text(ATLAS_ERR_RELAY_DRAINING));
    } else if (!needed(client)) {
        atl_relay_link_fail(client, ATLAS_OK, "no longer used");
    }
}

void atl_relay_client_unused(atl_relay_client *client) {
    if (!client->drains && client->link == ATL_LINK_UP && !needed(client)) {
        atl_timer_set(client->loop, &client->linger, client->loop->now + UNUSED_LINGER);
    }
}

/* ---- the client ---- */

int32_t atl_relay_client_new(const atl_relay_client_config *config, const atl_relay_client_ops *ops,
                             void *user, atl_relay_client **out) {
    atl_loop *loop = atl_endpoint_loop(config->ep);
    atl_relay_client *client;
    int32_t rc;

    if (!config->addr.has_peer || config->addr.has_relay ||
        config->addr.host_kind == ATL_HOST_NONE) {
        return ATLAS_ERR_ADDRESS;
    }
    client = atl_calloc(loop->env, 1, sizeof(*client));
    if (client == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rc = atl_maddr_text(&config->addr, client->addr_text, sizeof(client->addr_text));
    if (rc != ATLAS_OK) {
        atl_free(loop->env, client);
        return rc;
    }
    client->env = loop->env;
    client->loop = loop;
    client->config = *config;
    client->ops = ops;
    client->user = user;
    client->retry_at = ATLAS_NO_DEADLINE;
    atl_peer_id_text(&config->addr.peer, client->relay_text);
    atl_relay_circuits_init(client);
    atl_timer_init(&client->retry, on_retry, client);
    atl_timer_init(&client->announce, on_announce, client);
    atl_timer_init(&client->linger, on_linger, client);
    atl_task_init(&client->notify, on_notify, client);
    atl_relay_health_init(client);
    *out = client;
    return ATLAS_OK;
}

void atl_relay_client_free(atl_relay_client *client) {
    if (client == NULL) {
        return;
    }
    atl_relay_circuits_free(client);
    if (client->link != ATL_LINK_DOWN) {
        atl_relay_link_free(client);
    }
    atl_timer_clear(client->loop, &client->retry);
    atl_timer_clear(client->loop, &client->announce);
    atl_timer_clear(client->loop, &client->linger);
    atl_task_cancel(&client->notify);
    atl_relay_health_free(client);
    atl_free(client->env, client);
}

static void stop(atl_relay_client *client) {
    client->retry_at = ATLAS_NO_DEADLINE;
    atl_timer_clear(client->loop, &client->retry);
    atl_relay_circuits_down(client, ATLAS_ERR_CANCELLED, "", 0);
    if (client->link == ATL_LINK_DOWN) {
        atl_relay_client_set(client, ATLAS_RELAY_IDLE, ATLAS_OK, "disconnected");
    } else {
        atl_relay_link_fail(client, ATLAS_OK, "disconnected");
    }
}

void atl_relay_client_want(atl_relay_client *client, int connect, int announce) {
    uint8_t announced_before = client->want_announce;
    uint8_t wanted_before = client->want_connect || client->want_announce;

    client->want_connect = connect != 0;
    client->want_announce = announce != 0;
    if (!connect && !announce) {
        stop(client);
        return;
    }
    if (client->link == ATL_LINK_DOWN &&
        (!wanted_before || client->retry_at == ATLAS_NO_DEADLINE)) {
        client->attempts = 0;
        start(client);
    } else if (client->link == ATL_LINK_UP && client->want_announce != announced_before) {
        plan_announce(client);
        if (!client->want_announce && client->state == ATLAS_RELAY_ANNOUNCED) {
            atl_relay_client_set(client, ATLAS_RELAY_CONNECTED, ATLAS_OK, "no longer announced");
        }
    }
}
