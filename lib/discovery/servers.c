#include "discovery/servers.h"

#include "discovery/dialback_message.h"
#include "discovery/state.h"

#include <stdio.h>
#include <string.h>

/* One that is no bootstrap node. */
typedef struct server {
    atl_list node;
    atl_maddr addr;
    atl_link *link; /* NULL while nobody is asked */
    uint8_t met;    /* this node has written to it */
    size_t asks;    /* under way */
} server;

/* A question under way. */
typedef struct question {
    atl_discovery *disc;
    server *at; /* NULL: a bootstrap node */
    atl_link_request *request;
    void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len, const char *text);
    void *done_user;
} question;

void atl_servers_init(atl_servers *servers, atl_discovery *disc) {
    servers->disc = disc;
    servers->count = 0;
    atl_list_init(&servers->list);
}

static void server_free(atl_servers *servers, server *at) {
    atl_link_free(at->link);
    atl_list_remove(&at->node);
    servers->count--;
    atl_free(servers->disc->env, at);
}

void atl_servers_free(atl_servers *servers) {
    while (!atl_list_empty(&servers->list)) {
        server_free(servers, ATL_CONTAINER(servers->list.next, server, node));
    }
}

static int make_room(atl_servers *servers) {
    atl_list *node;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        server *at = ATL_CONTAINER(node, server, node);

        if (at->asks == 0) {
            server_free(servers, at);
            return 1;
        }
    }
    return 0;
}

static int is_boot_node(const atl_discovery *disc, const atl_maddr *addr) {
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        const atl_maddr *node = &disc->nodes[i].addr;

        /* another address of the same one judges another family */
        if (atl_peer_id_equal(&node->peer, &addr->peer) &&
            (node->host_kind != ATL_HOST_IP || node->addr.family == addr->addr.family)) {
            return 1;
        }
    }
    return 0;
}

void atl_servers_add(atl_servers *servers, const atl_maddr *addr) {
    atl_discovery *disc = servers->disc;
    atl_list *node;
    server *at;

    if (addr->host_kind != ATL_HOST_IP || !addr->has_peer || is_boot_node(disc, addr) ||
        atl_peer_id_equal(&addr->peer, &disc->peers->self)) {
        return;
    }
    for (node = servers->list.next; node != &servers->list; node = node->next) {
        at = ATL_CONTAINER(node, server, node);
        if (atl_peer_id_equal(&at->addr.peer, &addr->peer) &&
            at->addr.addr.family == addr->addr.family) {
            return;
        }
    }
    if (servers->count >= ATL_SERVERS_MAX && !make_room(servers)) {
        return;
    }
    at = atl_calloc(disc->env, 1, sizeof(*at));
    if (at == NULL) {
        return;
    }
    at->addr = *addr;
    at->addr.has_relay = 0;
    atl_list_append(&servers->list, &at->node);
    servers->count++;
}

size_t atl_servers_count(const atl_servers *servers) {
    return servers->count + servers->disc->n_nodes;
}

/* ---- for reach ---- */

static int32_t link_of(atl_discovery *disc, const atl_maddr *addr, atl_link **link) {
    const atl_link_config config = {
        .ep = disc->peers->ep,
        .addr = *addr,
        .handshake_timeout = &disc->peers->limits.handshake_timeout,
    };

    return *link != NULL ? ATLAS_OK : atl_link_new(&config, link);
}

static void shuffle(atl_discovery *disc, atl_reach_server *list, size_t n) {
    while (n > 1) {
        atl_reach_server last = list[n - 1];
        uint64_t random = 0;

        (void)atl_random(disc->env, &random, sizeof(random));
        list[n - 1] = list[random % n];
        list[random % n] = last;
        n--;
    }
}

size_t atl_servers_list(void *user, atl_reach_server *out, size_t cap) {
    atl_discovery *disc = user;
    atl_servers *servers = &disc->servers;
    const atl_list *node;
    size_t boots;
    size_t n = 0;
    size_t i;

    for (i = 0; i < disc->n_nodes && n < cap; i++) {
        atl_boot_node *boot = &disc->nodes[i];

        out[n].peer = boot->addr.peer;
        out[n].addr = boot->addr.addr;
        out[n].handle = NULL;
        if (boot->addr.host_kind == ATL_HOST_IP ||
            (boot->link != NULL && atl_link_remote(boot->link, &out[n].addr) == ATLAS_OK)) {
            n++;
        }
    }
    boots = n;
    for (node = servers->list.next; node != &servers->list && n < cap; node = node->next) {
        server *at = ATL_CONTAINER(node, server, node);

        out[n].peer = at->addr.peer;
        out[n].addr = at->addr.addr;
        out[n].handle = at;
        n++;
    }
    shuffle(disc, out, boots);
    shuffle(disc, out + boots, n - boots);
    return n;
}

static server *find(atl_servers *servers, const void *handle) {
    atl_list *node;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        if (ATL_CONTAINER(node, server, node) == handle) {
            return ATL_CONTAINER(node, server, node);
        }
    }
    return NULL;
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
    server *other;

    if (at->at != NULL) {
        at->at->asks--;
    }
    atl_free(copy.disc->env, at);
    tell(&copy, reply);
    other = copy.at == NULL ? NULL : find(&copy.disc->servers, copy.at);
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

int32_t atl_servers_ask(void *user, const atl_reach_server *server_, const uint8_t *body,
                        size_t len, uint64_t timeout,
                        void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len,
                                     const char *text),
                        void *done_user, void **request) {
    atl_discovery *disc = user;
    atl_servers *servers = &disc->servers;
    server *other = server_->handle == NULL ? NULL : find(servers, server_->handle);
    atl_boot_node *boot = server_->handle == NULL ? boot_of(disc, &server_->peer) : NULL;
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
        const server *at = ATL_CONTAINER(node, server, node);

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
