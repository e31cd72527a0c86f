#include "relay/server.h"

#include "relay/requests.h"
#include "relay/session.h"

#include <string.h>

#define CONNECT_SLOTS 4096u /* nodes whose request rate is remembered */
#define DRAIN_GRACE                                                                           \
    (250 * ATL_MS)             /* for RelayDrain to arrive where nothing has to be waited for \
                                */
#define CLOSE_GRACE ATL_SECOND /* for connections to end after that */

/* ---- the way out of the forwarder ---- */

static size_t send_trains(void *user, uint8_t family, const atl_tx *tx, size_t n) {
    return atl_endpoint_send_trains(user, family, tx, n);
}

static size_t max_segments(void *user, uint8_t family) {
    return atl_endpoint_max_segments(user, family);
}

static const atl_forwarder_ops forwarder_ops = {send_trains, max_segments};

/* ---- timers ---- */

static void on_expiry(atl_timer *timer, uint64_t now) {
    atl_relay_server *server = timer->user;
    atl_registration *reg;

    if (server->draining) {
        /* nobody announces to a relay that goes away, while circuits are to last until it does */
        return;
    }
    while ((reg = atl_registry_expired(&server->registry, now)) != NULL) {
        atl_relay_session *session = ATL_CONTAINER(reg, atl_relay_session, registration);

        server->stats.expired++;
        atl_relay_session_lapse(session);
        atl_relay_session_send_error(session, NULL, ATLAS_ERR_RELAY_EXPIRED,
                                     "announcements were missed");
    }
    atl_timer_set(server->loop, timer, atl_registry_deadline(&server->registry));
}

static void finish_drain(atl_relay_server *server) {
    void (*done)(void *user) = server->drained;

    server->drained = NULL;
    if (done != NULL) {
        done(server->drained_user);
    }
}

static void on_drain(atl_timer *timer, uint64_t now) {
    atl_relay_server *server = timer->user;

    if (server->closing) {
        finish_drain(server);
        return;
    }
    if (server->stats.circuits > 0 && now < server->drain_until) {
        atl_timer_set(server->loop, timer, server->drain_until);
        return;
    }
    server->closing = 1;
    for (atl_list *node = server->sessions.next; node != &server->sessions; node = node->next) {
        atl_relay_session_close(ATL_CONTAINER(node, atl_relay_session, node),
                                "the relay is going away");
    }
    atl_timer_set(server->loop, timer, server->n_sessions == 0 ? now : now + CLOSE_GRACE);
}

/* ---- relaying, turned off ---- */

void atl_relay_server_relaying_ends(atl_relay_server *server) {
    uint64_t now = server->loop->now;
    uint64_t when = server->relaying_grace > now ? server->relaying_grace : now;

    if (server->relaying_ends.deadline > when) {
        atl_timer_set(server->loop, &server->relaying_ends, when);
    }
}

/* Ends the control connections that carry nothing any more, or all of them when the time is over.
 */
static void on_relaying_ends(atl_timer *timer, uint64_t now) {
    atl_relay_server *server = timer->user;
    size_t left = 0;

    for (atl_list *node = server->sessions.next; node != &server->sessions; node = node->next) {
        atl_relay_session *session = ATL_CONTAINER(node, atl_relay_session, node);

        if (!session->opened || session->ending) {
            continue;
        }
        if (atl_list_empty(&session->circuits) || now >= server->relaying_until) {
            atl_relay_session_end(session, ATLAS_ERR_RELAY_DRAINING,
                                  "this node is no relay any more");
        } else {
            left++;
        }
    }
    /* what the end of one was to another has set the timer already */
    if (left > 0 && timer->deadline > server->relaying_until) {
        atl_timer_set(server->loop, timer, server->relaying_until);
    }
}

void atl_relay_server_set_relaying(atl_relay_server *server, int on, uint64_t within) {
    uint64_t now = server->loop->now;
    uint64_t until = within > ATLAS_NO_DEADLINE - 1 - now ? ATLAS_NO_DEADLINE - 1 : now + within;

    if (on) {
        server->relaying = 1;
        atl_timer_clear(server->loop, &server->relaying_ends);
        return;
    }
    if (!server->relaying) {
        /* being turned off: sooner, but not later */
        if (until < server->relaying_until) {
            server->relaying_until = until;
            atl_relay_server_relaying_ends(server);
        }
        return;
    }
    server->relaying = 0;
    server->relaying_until = until;
    server->relaying_grace = within < DRAIN_GRACE ? until : now + DRAIN_GRACE;
    for (atl_list *node = server->sessions.next; node != &server->sessions; node = node->next) {
        atl_relay_session *session = ATL_CONTAINER(node, atl_relay_session, node);

        atl_registry_remove(&server->registry, &session->registration);
        atl_relay_session_send_drain(session, within);
    }
    server->stats.nodes = atl_registry_count(&server->registry);
    atl_relay_server_relaying_ends(server);
}

int atl_relay_server_is_relaying(const atl_relay_server *server) {
    return server->relaying;
}

/* ---- the server ---- */

int32_t atl_relay_server_new(atl_endpoint *ep, const atl_relay_limits *limits,
                             atl_relay_server **out) {
    atl_loop *loop = atl_endpoint_loop(ep);
    atl_relay_server *server = atl_calloc(loop->env, 1, sizeof(*server));
    atl_forwarder_config config;
    uint64_t key;
    int32_t rc;

    if (server == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    server->env = loop->env;
    server->loop = loop;
    server->ep = ep;
    server->limits = *limits;
    server->stats.size = sizeof(server->stats);
    server->connect_rate = limits->handshakes;
    atl_list_init(&server->sessions);
    atl_list_init(&server->lapsed);
    atl_list_init(&server->idle);
    server->relaying = 1;
    atl_timer_init(&server->relaying_ends, on_relaying_ends, server);
    atl_timer_init(&server->expiry, on_expiry, server);
    atl_timer_init(&server->drain, on_drain, server);
    rc = atl_random(server->env, &key, sizeof(key));
    if (rc == ATLAS_OK) {
        atl_idmap_init(&server->circuits, server->env, key);
        rc = atl_registry_init(&server->registry, server->env, &server->limits);
    }
    if (rc == ATLAS_OK) {
        rc = atl_access_init(&server->access, server->env);
    }
    if (rc == ATLAS_OK) {
        rc = atl_source_limit_new(server->env, CONNECT_SLOTS, limits->handshakes,
                                  limits->handshakes, &server->connects);
    }
    if (rc == ATLAS_OK) {
        config.loop = loop;
        config.bandwidth = &server->limits.bandwidth;
        config.total_bandwidth = &server->limits.total_bandwidth;
        config.stats = &server->stats;
        rc = atl_forwarder_new(&config, &forwarder_ops, ep, &server->forwarder);
    }
    if (rc != ATLAS_OK) {
        atl_source_limit_free(server->connects);
        atl_free(server->env, server);
        return rc;
    }
    *out = server;
    return ATLAS_OK;
}

void atl_relay_server_free(atl_relay_server *server) {
    if (server == NULL) {
        return;
    }
    server->drained = NULL;
    while (!atl_list_empty(&server->sessions)) {
        atl_relay_session_free(ATL_CONTAINER(server->sessions.next, atl_relay_session, node));
    }
    atl_timer_clear(server->loop, &server->expiry);
    atl_timer_clear(server->loop, &server->drain);
    atl_timer_clear(server->loop, &server->relaying_ends);
    atl_forwarder_free(server->forwarder);
    atl_source_limit_free(server->connects);
    atl_access_free(&server->access);
    atl_registry_free(&server->registry);
    atl_idmap_free(&server->circuits);
    atl_free(server->env, server);
}

atl_relay_limits *atl_relay_server_limits(atl_relay_server *server) {
    return &server->limits;
}

void atl_relay_server_set_policy(atl_relay_server *server, atlas_relay_policy policy, void *user) {
    server->access.policy = policy;
    server->access.policy_user = user;
}

int32_t atl_relay_server_allow(atl_relay_server *server, const atl_peer_id *id) {
    return atl_access_allow(&server->access, id);
}

int32_t atl_relay_server_deny(atl_relay_server *server, const atl_peer_id *id) {
    atl_registration *reg = atl_registry_find(&server->registry, id);
    int32_t rc = atl_access_deny(&server->access, id);

    if (rc == ATLAS_OK && reg != NULL) {
        atl_relay_session_end(ATL_CONTAINER(reg, atl_relay_session, registration),
                              ATLAS_ERR_RELAY_NOT_AUTHORISED, "denied by the relay's operator");
    }
    return rc;
}

int32_t atl_relay_server_add_requests(atl_relay_server *server, const atl_requests_ops *ops,
                                      void *user) {
    if (server->n_parts == ATL_REQUESTS_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    server->parts[server->n_parts].ops = ops;
    server->parts[server->n_parts].user = user;
    server->n_parts++;
    return ATLAS_OK;
}

int32_t atl_relay_server_accept(atl_relay_server *server, atl_qconn *conn) {
    if (server->draining) {
        return ATLAS_ERR_RELAY_DRAINING;
    }
    /* those that are not announced cannot crowd out those that are */
    if (server->n_sessions - atl_registry_count(&server->registry) >=
            2 * server->limits.max_nodes &&
        !atl_requests_make_way(server)) {
        server->stats.refused_nodes++;
        return ATLAS_ERR_RELAY_CAPACITY;
    }
    return atl_relay_session_new(server, conn);
}

size_t atl_relay_server_on_forward(atl_relay_server *server, void *ptr, const atl_rx *rx) {
    return atl_forwarder_push(server->forwarder, ptr, rx);
}

void atl_relay_server_on_batch_end(atl_relay_server *server) {
    atl_forwarder_batch_end(server->forwarder);
}

void atl_relay_server_drain(atl_relay_server *server, uint64_t timeout, void (*done)(void *user),
                            void *user) {
    uint64_t now = server->loop->now;
    uint64_t until = timeout > ATLAS_NO_DEADLINE - 1 - now ? ATLAS_NO_DEADLINE - 1 : now + timeout;

    server->drained = done;
    server->drained_user = user;
    if (server->draining) {
        server->drain_until = until < server->drain_until ? until : server->drain_until;
        if (!server->closing && server->drain.deadline > server->drain_until) {
            atl_timer_set(server->loop, &server->drain, server->drain_until);
        }
        return;
    }
    server->draining = 1;
    server->drain_until = until;
    for (atl_list *node = server->sessions.next; node != &server->sessions; node = node->next) {
        atl_relay_session *session = ATL_CONTAINER(node, atl_relay_session, node);

        atl_relay_session_send_drain(session, timeout);
        atl_h3_goaway(session->h3);
    }
    atl_timer_set(server->loop, &server->drain, timeout < DRAIN_GRACE ? until : now + DRAIN_GRACE);
}

void atl_relay_server_stats(const atl_relay_server *server, atlas_relay_stats *out) {
    *out = server->stats;
}
