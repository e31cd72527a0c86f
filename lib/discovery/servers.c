#include "discovery/servers.h"

#include "discovery/find.h"
#include "discovery/servers_impl.h"
#include "discovery/state.h"

#include <string.h>

#define LASTS (3600 * ATL_SECOND) /* what a record has named, at most */
#define LASTS_LEAST (60 * ATL_SECOND)
#define SEEK_AGAIN (20 * 60 * ATL_SECOND) /* so that others come before those have gone */
#define SEEK_TIMEOUT (2 * ATL_SECOND)
#define SEEK_WANTED 8
#define ROUNDS 2 /* without use, after which it is left alone */
#define REST (3600 * ATL_SECOND)
#define LOCAL_ADDRS 64

void atl_servers_init(atl_servers *servers, atl_discovery *disc) {
    memset(servers, 0, sizeof(*servers));
    servers->disc = disc;
    atl_list_init(&servers->list);
    atl_reach_keep_init(&servers->keep[0], disc, 4);
    atl_reach_keep_init(&servers->keep[1], disc, 6);
}

static void server_free(atl_servers *servers, atl_server *at) {
    atl_link_free(at->link);
    atl_list_remove(&at->node);
    servers->count -= !at->relay;
    atl_free(servers->disc->env, at);
}

void atl_servers_stop(atl_servers *servers) {
    if (servers->find != NULL) {
        atl_find_cancel(servers->find);
        servers->find = NULL;
    }
    atl_reach_keep_stop(&servers->keep[0]);
    atl_reach_keep_stop(&servers->keep[1]);
}

void atl_servers_free(atl_servers *servers) {
    atl_servers_stop(servers);
    while (!atl_list_empty(&servers->list)) {
        server_free(servers, ATL_CONTAINER(servers->list.next, atl_server, node));
    }
}

static atl_server *server_of(atl_list *node) {
    return ATL_CONTAINER(node, atl_server, node);
}

/* The one of that peer and family. */
static atl_server *find_peer(atl_servers *servers, const atl_peer_id *peer, uint8_t family) {
    atl_list *node;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        if (atl_peer_id_equal(&server_of(node)->addr.peer, peer) &&
            server_of(node)->addr.addr.family == family) {
            return server_of(node);
        }
    }
    return NULL;
}

atl_server *atl_servers_find(atl_servers *servers, const void *handle, const atl_peer_id *peer) {
    atl_list *node;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        if (server_of(node) == handle && atl_peer_id_equal(&server_of(node)->addr.peer, peer)) {
            return server_of(node);
        }
    }
    return NULL;
}

/* ---- those that were of no use ---- */

static atl_server_failed *failed_of(atl_servers *servers, const atl_peer_id *peer, uint8_t family) {
    size_t i;

    for (i = 0; i < servers->n_failed; i++) {
        if (servers->failed[i].family == family &&
            atl_peer_id_equal(&servers->failed[i].peer, peer)) {
            return &servers->failed[i];
        }
    }
    return NULL;
}

static int rests(atl_servers *servers, const atl_peer_id *peer, uint8_t family) {
    const atl_server_failed *failed = failed_of(servers, peer, family);

    return failed != NULL && failed->rounds >= ROUNDS &&
           servers->disc->loop->now < failed->at + REST;
}

static atl_server_failed *remember(atl_servers *servers, const atl_peer_id *peer, uint8_t family) {
    atl_server_failed *out = &servers->failed[0];
    size_t i;

    if (servers->n_failed < ATL_SERVERS_FAILED) {
        out = &servers->failed[servers->n_failed++];
    } else {
        for (i = 1; i < servers->n_failed; i++) {
            out = servers->failed[i].at < out->at ? &servers->failed[i] : out;
        }
    }
    memset(out, 0, sizeof(*out));
    out->peer = *peer;
    out->family = family;
    return out;
}

/* ---- whom records name ---- */

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static int same_network(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 3 : 6) == 0;
}

static int is_on_private_network(const atl_discovery *disc) {
    const atl_io *io = disc->io;
    atl_addr addrs[LOCAL_ADDRS];
    size_t n = io->local_addrs(io->impl, addrs, LOCAL_ADDRS);
    size_t i;

    for (i = 0; i < n && i < LOCAL_ADDRS; i++) {
        if (atl_addr_is_private(&addrs[i])) {
            return 1;
        }
    }
    return 0;
}

/* As in dials (peer/dial_found.c): this machine is not for others to name, unless it is where they
 * were asked; and a private network only where this node is in one. */
static int is_allowed(const atl_discovery *disc, const atl_addr *addr) {
    if (atl_addr_is_loopback(addr)) {
        return disc->peers->local_found;
    }
    return !atl_addr_is_link_local(addr) && !atl_addr_is_unspecified(addr) &&
           !atl_addr_is_multicast(addr) && addr->port != 0 &&
           (!atl_addr_is_private(addr) || is_on_private_network(disc));
}

static int is_crowded(const atl_servers *servers, const atl_addr *addr) {
    const atl_list *node;
    size_t n = 0;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        const atl_server *at = ATL_CONTAINER(node, atl_server, node);

        if (!at->relay && same_ip(&at->addr.addr, addr)) {
            return 1;
        }
        n += !at->relay && same_network(&at->addr.addr, addr);
    }
    return n >= ATL_SERVERS_PER_NETWORK;
}

/* The application has named this peer: what it says of itself is not a stranger's word. */
static int is_named(const atl_discovery *disc, const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        if (!disc->nodes[i].learned && atl_peer_id_equal(&disc->nodes[i].addr.peer, peer)) {
            return 1;
        }
    }
    return disc->peers->limits.enable_relay &&
           atl_relays_configured(&disc->peers->relays, peer) != NULL;
}

static int make_room(atl_servers *servers) {
    atl_list *node;

    for (node = servers->list.next; node != &servers->list; node = node->next) {
        if (server_of(node)->asks == 0 && !server_of(node)->relay) {
            server_free(servers, server_of(node));
            return 1;
        }
    }
    return 0;
}

static atl_server *server_new(atl_servers *servers, const atl_maddr *addr, int relay) {
    atl_server *at = atl_calloc(servers->disc->env, 1, sizeof(*at));

    if (at != NULL) {
        at->addr = *addr;
        at->addr.has_relay = 0;
        at->relay = relay != 0;
        at->expires = ATLAS_NO_DEADLINE;
        atl_list_append(&servers->list, &at->node);
        servers->count += !relay;
    }
    return at;
}

/* Until the record that names it is over. */
static uint64_t lasts_until(atl_discovery *disc, const atl_peer_id *peer) {
    atl_record_cached record;
    uint64_t left = LASTS;

    if (atl_record_cache_get(disc->cache, peer, &record)) {
        left = atl_record_time_left(&record.head, atl_env_wall_ms(disc->env), LASTS);
        left = left > LASTS_LEAST ? left : LASTS_LEAST;
    }
    return disc->loop->now + left;
}

void atl_servers_add(atl_servers *servers, const atl_maddr *addr) {
    atl_discovery *disc = servers->disc;
    atl_server *at;

    if (addr->host_kind != ATL_HOST_IP || !addr->has_peer || !is_allowed(disc, &addr->addr) ||
        atl_peer_id_equal(&addr->peer, &disc->peers->self) ||
        rests(servers, &addr->peer, addr->addr.family)) {
        return;
    }
    at = find_peer(servers, &addr->peer, addr->addr.family);
    if (at != NULL && (at->relay || at->asks > 0 || atl_addr_equal(&at->addr.addr, &addr->addr))) {
        at->expires = at->relay ? at->expires : lasts_until(disc, &addr->peer);
        return;
    }
    if (at != NULL) {
        server_free(servers, at); /* it has moved */
    }
    if ((is_crowded(servers, &addr->addr) && !is_named(disc, &addr->peer)) ||
        (servers->count >= ATL_SERVERS_MAX && !make_room(servers))) {
        return;
    }
    at = server_new(servers, addr, 0);
    if (at != NULL) {
        at->expires = lasts_until(disc, &addr->peer);
    }
}

static void expire(atl_servers *servers) {
    atl_list *node = servers->list.next;

    while (node != &servers->list) {
        atl_server *at = server_of(node);

        node = node->next;
        if (at->asks == 0 && servers->disc->loop->now >= at->expires) {
            server_free(servers, at);
        }
    }
}

/* ---- others are looked for ---- */

static void on_record(void *user, const atl_record_cached *cached, const atl_boot_node *from,
                      uint64_t rtt) {
    atl_discovery *disc = user;
    uint8_t seen[2] = {0, 0};
    atl_record record;
    size_t i;

    (void)from;
    (void)rtt;
    if (atl_record_reopen(cached->data, cached->len, &record) != ATLAS_OK) {
        return;
    }
    for (i = 0; i < record.n_addrs; i++) {
        atl_maddr *addr = &record.addrs[i];
        uint8_t *once = &seen[addr->addr.family == 6];

        if (addr->host_kind == ATL_HOST_IP && addr->quic && !addr->has_relay && !*once) {
            *once = 1;
            addr->has_peer = 1;
            addr->peer = record.head.peer;
            atl_servers_add(&disc->servers, addr);
        }
    }
}

static void on_failed(void *user, const atl_boot_node *from, int32_t code, const char *text) {
    (void)user;
    (void)from;
    (void)code;
    (void)text;
}

static void on_end(void *user, int32_t code) {
    atl_discovery *disc = user;

    (void)code;
    disc->servers.find = NULL;
}

static void seek_again(atl_servers *servers) {
    static const atl_find_ops ops = {on_record, on_failed, on_end};
    atl_discovery *disc = servers->disc;

    if (servers->sought_at == 0) {
        servers->sought_at = disc->loop->now; /* it was just done: seek.c */
    } else if (servers->find == NULL && disc->loop->now >= servers->sought_at + SEEK_AGAIN) {
        servers->sought_at = disc->loop->now;
        if (atl_find_offers(disc, ATLAS_OFFER_DIALBACK, SEEK_WANTED, 1, SEEK_TIMEOUT, &ops, disc,
                            &servers->find) != ATLAS_OK) {
            servers->find = NULL;
        }
    }
}

/* ---- relays that the application has named ---- */

static int relay_addr(const atl_relay_entry *entry, atl_addr *out) {
    if (entry->client != NULL && atl_relay_client_remote(entry->client, out) == ATLAS_OK) {
        return 1;
    }
    *out = entry->addr.addr;
    return entry->addr.host_kind == ATL_HOST_IP;
}

static void take_relay(atl_servers *servers, const atl_relay_entry *entry) {
    atl_maddr addr = entry->addr;
    atl_server *at;

    if (!relay_addr(entry, &addr.addr)) {
        return;
    }
    addr.host_kind = ATL_HOST_IP;
    addr.port = addr.addr.port;
    at = find_peer(servers, &addr.peer, addr.addr.family);
    if (at != NULL && at->asks == 0 && !atl_addr_equal(&at->addr.addr, &addr.addr)) {
        server_free(servers, at);
        at = NULL;
    }
    if (at == NULL) {
        (void)server_new(servers, &addr, 1);
    } else if (!at->relay) {
        at->relay = 1;
        at->expires = ATLAS_NO_DEADLINE;
        servers->count--;
    }
}

static void take_relays(atl_servers *servers) {
    const atl_relays *relays = &servers->disc->peers->relays;
    const atl_relay_entry *entry;
    size_t i;

    for (i = 0; (entry = atl_relays_at(relays, i)) != NULL; i++) {
        if (entry->configured) {
            take_relay(servers, entry);
        }
    }
}

/* ---- for reach ---- */

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

/* What is listed already: the same peer judges no family twice, and strangers count as strangers
 * do. */
static int is_listed(const atl_reach_server *list, size_t n, const atl_reach_server *server) {
    size_t near = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (list[i].addr.family == server->addr.family &&
            atl_peer_id_equal(&list[i].peer, &server->peer)) {
            return 1;
        }
        if (!list[i].named && !server->named) {
            near += same_network(&list[i].addr, &server->addr);
            near += same_ip(&list[i].addr, &server->addr) ? ATL_SERVERS_PER_NETWORK : 0;
        }
    }
    return near >= ATL_SERVERS_PER_NETWORK;
}

/* Bootstrap nodes at the address that is in use: a name may lead to both families. */
static size_t list_boots(atl_discovery *disc, int named, atl_reach_server *out, size_t n,
                         size_t cap) {
    size_t i;

    for (i = 0; i < disc->n_nodes && n < cap; i++) {
        const atl_boot_node *boot = &disc->nodes[i];

        memset(&out[n], 0, sizeof(out[n]));
        out[n].peer = boot->addr.peer;
        out[n].addr = boot->addr.addr;
        out[n].named = !boot->learned;
        if (out[n].named == named &&
            (boot->addr.host_kind == ATL_HOST_IP ||
             (boot->link != NULL && atl_link_remote(boot->link, &out[n].addr) == ATLAS_OK)) &&
            (named || (is_allowed(disc, &out[n].addr) &&
                       !rests(&disc->servers, &out[n].peer, out[n].addr.family))) &&
            !is_listed(out, n, &out[n])) {
            n++;
        }
    }
    return n;
}

static size_t list_others(atl_discovery *disc, int named, atl_reach_server *out, size_t n,
                          size_t cap) {
    atl_list *node;

    for (node = disc->servers.list.next; node != &disc->servers.list && n < cap;
         node = node->next) {
        atl_server *at = server_of(node);

        memset(&out[n], 0, sizeof(out[n]));
        out[n].peer = at->addr.peer;
        out[n].addr = at->addr.addr;
        out[n].handle = at;
        out[n].named = (uint8_t)is_named(disc, &at->addr.peer);
        if (out[n].named == named && (!at->relay || disc->peers->limits.enable_relay) &&
            !is_listed(out, n, &out[n])) {
            n++;
        }
    }
    return n;
}

/* Those that the application has named come first. */
size_t atl_servers_list(void *user, atl_reach_server *out, size_t cap) {
    atl_discovery *disc = user;
    size_t named;
    size_t n;

    expire(&disc->servers);
    if (disc->peers->limits.enable_relay) {
        take_relays(&disc->servers);
    }
    named = list_boots(disc, 1, out, 0, cap);
    named = list_others(disc, 1, out, named, cap);
    n = list_boots(disc, 0, out, named, cap);
    n = list_others(disc, 0, out, n, cap);
    shuffle(disc, out, named);
    shuffle(disc, out + named, n - named);
    return n;
}

void atl_servers_told(void *user, const atl_reach_server *server, int answered) {
    atl_discovery *disc = user;
    atl_servers *servers = &disc->servers;
    uint8_t family = server->addr.family;
    atl_server_failed *failed = failed_of(servers, &server->peer, family);
    atl_server *at;

    seek_again(servers);
    if (answered && failed != NULL) {
        *failed = servers->failed[--servers->n_failed];
    }
    if (answered || server->named) {
        return;
    }
    failed = failed != NULL ? failed : remember(servers, &server->peer, family);
    failed->rounds += failed->rounds < ROUNDS;
    failed->at = disc->loop->now;
    at = atl_servers_find(servers, server->handle, &server->peer);
    if (failed->rounds >= ROUNDS && at != NULL && at->asks == 0) {
        server_free(servers, at);
    }
}
