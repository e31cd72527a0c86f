/* Asking servers for dial-backs, each over a connection of its own. */
#include "discovery/dialback_message.h"
#include "discovery/servers_impl.h"
#include "discovery/state.h"

#include <stdio.h>
#include <string.h>

/* A question under way. */
typedef struct question {
    atl_discovery *disc;
    atl_server *at;   /* NULL: a bootstrap node */
    atl_peer_id peer; /* of it */
    atl_link_request *request;
    void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len, const char *text);
    void *done_user;
} question;

static int32_t link_of(atl_discovery *disc, const atl_maddr *addr, atl_link **link) {
    const atl_link_config config = {
        .ep = disc->peers->ep,
        .addr = *addr,
        .handshake_timeout = &disc->peers->limits.handshake_timeout,
    };

    return *link != NULL ? ATLAS_OK : atl_link_new(&config, link);
}

static void tell(const question *at, const atl_link_reply *reply) {
    char text[64];

    if (reply->code != ATLAS_OK) {
        at->done(at->done_user, reply->code, NULL, 0, reply->text);
    } else if (reply->status == 200) {
        at->done(at->done_user, ATLAS_OK, reply->body, reply->len, "");
    } else {
        (void)snprintf(text, sizeof(text), "HTTP status %d", (int)reply->status);
        at->done(at->done_user,
                 reply->status == 429   ? ATLAS_ERR_RATE_LIMITED
                 : reply->status == 404 ? ATLAS_ERR_UNSUPPORTED
                                        : ATLAS_ERR_HTTP,
                 NULL, 0, text);
    }
}

/* Connections to those that are no bootstrap nodes are not kept: they are asked once in a while. */
static void on_reply(void *user, const atl_link_reply *reply) {
    question *at = user;
    question copy = *at;
    atl_server *other;

    if (at->at != NULL) {
        at->at->asks--;
    }
    atl_free(copy.disc->env, at);
    tell(&copy, reply);
    other = copy.at == NULL ? NULL : atl_servers_find(&copy.disc->servers, copy.at, &copy.peer);
    if (other != NULL && other->asks == 0) {
        atl_link_free(other->link);
        other->link = NULL;
    }
}

static atl_boot_node *boot_of(atl_discovery *disc, const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        if (atl_peer_id_equal(&disc->nodes[i].addr.peer, peer)) {
            return &disc->nodes[i];
        }
    }
    return NULL;
}

int32_t atl_servers_ask(void *user, const atl_reach_server *server, const uint8_t *body, size_t len,
                        uint64_t timeout,
                        void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len,
                                     const char *text),
                        void *done_user, void **request) {
    atl_discovery *disc = user;
    atl_servers *servers = &disc->servers;
    atl_server *other =
        server->handle == NULL ? NULL : atl_servers_find(servers, server->handle, &server->peer);
    atl_boot_node *boot = server->handle == NULL ? boot_of(disc, &server->peer) : NULL;
    atl_link *link = NULL;
    question *at;
    int32_t rv = ATLAS_ERR_NOT_FOUND;

    if (other != NULL) {
        rv = link_of(disc, &other->addr, &other->link);
        link = other->link;
        other->met = 1;
    } else if (boot != NULL) {
        rv = atl_boot_node_link(boot, &link);
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    at = atl_calloc(disc->env, 1, sizeof(*at));
    if (at == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    at->disc = disc;
    at->at = other;
    at->peer = server->peer;
    at->done = done;
    at->done_user = done_user;
    rv = atl_link_ask(link, "POST", ATL_DIALBACK_PATH, body, len, timeout, on_reply, at,
                      &at->request);
    if (rv != ATLAS_OK) {
        atl_free(disc->env, at);
        return rv;
    }
    if (other != NULL) {
        other->asks++;
    }
    *request = at;
    return ATLAS_OK;
}

void atl_servers_cancel(void *user, void *request) {
    const atl_discovery *disc = user;
    question *at = request;

    if (at->at != NULL) {
        at->at->asks--;
    }
    atl_link_cancel(at->request);
    atl_free(disc->env, at);
}

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static int met_by(const atl_link *link, const atl_addr *ip) {
    atl_addr remote;

    return link != NULL && atl_link_remote(link, &remote) == ATLAS_OK && same_ip(&remote, ip);
}

int atl_servers_has_met(void *user, const atl_addr *ip) {
    const atl_discovery *disc = user;
    const atl_servers *servers = &disc->servers;
    const atl_list *node;
    atl_addr remote;
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        if (met_by(disc->nodes[i].link, ip)) {
            return 1;
        }
    }
    for (node = servers->list.next; node != &servers->list; node = node->next) {
        const atl_server *at = ATL_CONTAINER(node, atl_server, node);

        if (at->met && same_ip(&at->addr.addr, ip)) {
            return 1;
        }
    }
    for (node = disc->peers->relays.entries.next; node != &disc->peers->relays.entries;
         node = node->next) {
        const atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL && atl_relay_client_remote(entry->client, &remote) == ATLAS_OK &&
            same_ip(&remote, ip)) {
            return 1;
        }
    }
    return 0;
}
