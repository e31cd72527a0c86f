/* How good a relay is, and how that is found out: silence, probes, a changed network, idle mode. */
#include "relay/client_state.h"

#define PROBE_MIN ATL_SECOND
#define PROBE_EVERY (250 * ATL_MS)
/* How long a relay may be silent when nobody but its own connection has noticed. */
#define PATIENCE (3 * ATL_SECOND)
/* A timer that comes later than this was held up by its own host: the relay is asked once more. */
#define LATE (500 * ATL_MS)
#define FAILED_FOR (90 * ATL_SECOND) /* longer than the longest pause between two attempts */
#define DIAL_DOUBT ATL_SECOND        /* a dial without answer for this long is no good sign */
#define IDLE_PATIENCE (3600 * ATL_SECOND)
#define KEEPALIVE (10 * ATL_SECOND) /* where no announcements do it */
/* The relay learns from this connection where circuits are to lead after a NAT has forgotten. */
#define KEEPALIVE_IN_USE (2 * ATL_SECOND)
#define IN_USE (30 * ATL_SECOND) /* after the last packet through a circuit */
#define LOOK (250 * ATL_MS)      /* between looks at circuits that carry something */

static uint64_t received(const atl_relay_client *client) {
    atl_qconn_info info;

    atl_qconn_get_info(atl_h3_conn(client->h3), &info);
    return info.rx_packets;
}

void atl_relay_health_news(atl_relay_client *client) {
    atl_post_work(client->loop, &client->news);
}

static void on_news(atl_task *task) {
    atl_relay_client *client = task->user;

    /* the upcall may free the client */
    if (client->ops->on_news != NULL) {
        client->ops->on_news(client->user, client);
    }
}

uint32_t atl_relay_client_health(const atl_relay_client *client) {
    uint64_t now = client->loop->now;

    switch (client->link) {
    case ATL_LINK_UP:
        return client->drains   ? ATL_RELAY_HEALTH_DRAINS
               : client->silent ? ATL_RELAY_HEALTH_SILENT
                                : ATL_RELAY_HEALTH_WARM;
    case ATL_LINK_CLOSING:
        return client->fail_code == ATLAS_OK ? ATL_RELAY_HEALTH_COLD : ATL_RELAY_HEALTH_FAILED;
    default:
        break;
    }
    if (client->failed && now < client->failed_at + FAILED_FOR) {
        return ATL_RELAY_HEALTH_FAILED;
    }
    return client->link != ATL_LINK_DOWN && now >= client->dialled_at + DIAL_DOUBT
               ? ATL_RELAY_HEALTH_SILENT
               : ATL_RELAY_HEALTH_COLD;
}

/* ---- probes ---- */

static void ping(atl_relay_client *client) {
    atl_qconn_ping(atl_h3_conn(client->h3));
}

/* Unless something is heard within `patience` the link is lost. */
static void doubt(atl_relay_client *client, uint64_t patience) {
    uint64_t until = client->loop->now + patience;
    uint64_t heard = received(client);
    int asked = client->probe.deadline != ATLAS_NO_DEADLINE && heard == client->probe_heard;

    if (asked && client->probe_deadline <= until) {
        return;
    }
    client->probe_heard = heard;
    client->probe_deadline = until;
    atl_timer_set(client->loop, &client->probe, until);
}

static void on_probe(atl_timer *timer, uint64_t now) {
    atl_relay_client *client = timer->user;

    if (client->link != ATL_LINK_UP || received(client) != client->probe_heard) {
        return;
    }
    if (now >= client->probe_deadline + LATE) {
        ping(client);
        doubt(client, PROBE_MIN);
        return;
    }
    atl_relay_link_fail(client, ATLAS_ERR_RELAY_LOST, "the relay no longer answers");
}

void atl_relay_health_silent(atl_relay_client *client) {
    if (client->link != ATL_LINK_UP) {
        return;
    }
    if (!client->silent) {
        client->silent = 1;
        atl_relay_health_news(client);
    }
    if (!client->idle) {
        ping(client);
        doubt(client, PATIENCE);
    }
}

void atl_relay_health_heard(atl_relay_client *client) {
    atl_timer_clear(client->loop, &client->probe);
    if (client->silent) {
        client->silent = 0;
        atl_relay_health_news(client);
    }
}

void atl_relay_client_probe(atl_relay_client *client) {
    uint64_t now = client->loop->now;
    atl_qconn_info info;

    if (client->pushed_at != 0 && now < client->pushed_at + PROBE_EVERY) {
        return;
    }
    client->pushed_at = now;
    if (client->link == ATL_LINK_UP) {
        atl_qconn_get_info(atl_h3_conn(client->h3), &info);
        ping(client);
        doubt(client, 3 * info.pto > PROBE_MIN ? 3 * info.pto : PROBE_MIN);
    } else {
        atl_relay_client_retry(client);
    }
}

/* ---- the life of the link ---- */

void atl_relay_health_up(atl_relay_client *client) {
    client->failed = 0;
    client->silent = 0;
    if (client->idle) {
        atl_qconn_patience(atl_h3_conn(client->h3), IDLE_PATIENCE);
    }
    atl_relay_health_watch(client);
    atl_relay_health_news(client);
}

void atl_relay_health_down(atl_relay_client *client, int failed) {
    client->silent = 0;
    client->flowing = 0;
    if (failed) {
        client->failed = 1;
        client->failed_at = client->loop->now;
    }
    atl_timer_clear(client->loop, &client->probe);
    atl_timer_clear(client->loop, &client->watch);
    atl_relay_health_news(client);
}

void atl_relay_client_network_changed(atl_relay_client *client) {
    client->failed = 0;
    client->attempts = 0;
    client->unanswered = 0;
    switch (client->link) {
    case ATL_LINK_DOWN:
        atl_relay_client_retry(client);
        break;
    case ATL_LINK_DIALLING:
    case ATL_LINK_OPENING:
        atl_relay_link_again(client);
        break;
    case ATL_LINK_UP:
        atl_timer_clear(client->loop, &client->probe);
        ping(client);
        doubt(client, PATIENCE);
        atl_relay_client_reannounce(client);
        break;
    default:
        break;
    }
}

void atl_relay_client_set_idle(atl_relay_client *client, int idle) {
    const atl_quic_params *params = atl_endpoint_params(client->config.ep);

    if (client->idle == (idle != 0)) {
        return;
    }
    client->idle = idle != 0;
    if (client->link == ATL_LINK_UP) {
        atl_qconn_patience(atl_h3_conn(client->h3), idle ? IDLE_PATIENCE : params->idle_timeout);
        atl_relay_health_watch(client);
    }
    if (!idle) {
        atl_relay_client_network_changed(client);
        return;
    }
    atl_timer_clear(client->loop, &client->probe);
    atl_timer_clear(client->loop, &client->announce);
    atl_timer_clear(client->loop, &client->retry);
    client->retry_at = ATLAS_NO_DEADLINE;
}

/* ---- circuits ---- */

/* What comes through circuits does not show to the connection. When it stops, this side's own
 * mapping may have gone: one packet tells the relay where this node is now. */
static void on_watch(atl_timer *timer, uint64_t now) {
    atl_relay_client *client = timer->user;
    uint64_t rx;
    uint64_t tx;
    int moved;

    if (client->link != ATL_LINK_UP) {
        return;
    }
    atl_relay_circuits_traffic(client, &rx, &tx);
    moved = rx != client->circuit_rx || tx != client->circuit_tx;
    if (client->flowing && rx == client->circuit_rx) {
        ping(client);
    }
    client->flowing = rx != client->circuit_rx;
    client->circuit_rx = rx;
    client->circuit_tx = tx;
    if (moved) {
        client->flowed_at = now;
        atl_timer_set(client->loop, timer, now + LOOK);
    } else if (now < client->flowed_at + IN_USE) {
        atl_timer_set(client->loop, timer, now + 4 * LOOK);
    } else {
        atl_timer_set(client->loop, timer, now + KEEPALIVE);
    }
    atl_qconn_keepalive(atl_h3_conn(client->h3),
                        now < client->flowed_at + IN_USE ? KEEPALIVE_IN_USE : KEEPALIVE);
}

void atl_relay_health_watch(atl_relay_client *client) {
    if (client->link != ATL_LINK_UP) {
        return;
    }
    if (client->idle || client->n_circuits == 0) {
        client->flowing = 0;
        atl_timer_clear(client->loop, &client->watch);
        atl_qconn_keepalive(atl_h3_conn(client->h3), client->idle ? 0 : KEEPALIVE);
        return;
    }
    atl_relay_circuits_traffic(client, &client->circuit_rx, &client->circuit_tx);
    client->flowed_at = client->loop->now;
    atl_qconn_keepalive(atl_h3_conn(client->h3), KEEPALIVE_IN_USE);
    atl_timer_set(client->loop, &client->watch, client->loop->now + LOOK);
}

/* ---- what is known ---- */

uint64_t atl_relay_client_rtt(const atl_relay_client *client) {
    atl_qconn_info info;

    if (client->link != ATL_LINK_UP) {
        return 0;
    }
    atl_qconn_get_info(atl_h3_conn(client->h3), &info);
    return info.srtt;
}

int32_t atl_relay_client_observed(const atl_relay_client *client, atl_addr *out) {
    if (client->observed_addr.family == 0) {
        return ATLAS_ERR_NOT_FOUND;
    }
    *out = client->observed_addr;
    return ATLAS_OK;
}

int32_t atl_relay_client_remote(const atl_relay_client *client, atl_addr *out) {
    if (client->remote.family == 0) {
        return ATLAS_ERR_NOT_FOUND;
    }
    *out = client->remote;
    return ATLAS_OK;
}

/* ---- beginning and end ---- */

void atl_relay_health_init(atl_relay_client *client) {
    atl_timer_init(&client->probe, on_probe, client);
    atl_timer_init(&client->watch, on_watch, client);
    atl_task_init(&client->news, on_news, client);
    if (client->config.addr.host_kind == ATL_HOST_IP) {
        client->remote = client->config.addr.addr;
    }
}

void atl_relay_health_free(atl_relay_client *client) {
    atl_timer_clear(client->loop, &client->probe);
    atl_timer_clear(client->loop, &client->watch);
    atl_task_cancel(&client->news);
}
