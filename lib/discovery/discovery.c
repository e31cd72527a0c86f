#include "discovery/discovery.h"

#include "discovery/find.h"
#include "discovery/state.h"

#include <string.h>

#define PRIME_PATIENCE (600 * ATL_MS) /* for other servers than the bootstrap nodes to be named */

static void post(atl_discovery *disc) {
    atl_post_work(disc->loop, &disc->update);
}

/* ---- bootstrap nodes ---- */

int32_t atl_boot_node_link(atl_boot_node *node, atl_link **out) {
    const atl_peers *peers = node->disc->peers;
    const atl_link_config config = {
        .ep = peers->ep,
        .addr = node->addr,
        .handshake_timeout = &peers->limits.handshake_timeout,
    };
    int32_t rv;

    if (peers->ep == NULL) {
        return ATLAS_ERR_STATE;
    }
    if (node->link == NULL) {
        rv = atl_link_new(&config, &node->link);
        if (rv != ATLAS_OK) {
            return rv;
        }
    }
    *out = node->link;
    return ATLAS_OK;
}

const char *atl_boot_node_text(const atl_boot_node *node) {
    return node->text;
}

static int32_t add_node(atl_discovery *disc, const atl_maddr *addr, atl_boot_node **out) {
    atl_boot_node *node = &disc->nodes[disc->n_nodes];
    int32_t rv = atl_maddr_text(addr, node->text, sizeof(node->text));

    if (rv != ATLAS_OK) {
        return rv;
    }
    node->disc = disc;
    node->addr = *addr;
    disc->n_nodes++;
    atl_publish_add(&disc->publish, node);
    *out = node;
    return ATLAS_OK;
}

int32_t atl_discovery_add_node(atl_discovery *disc, const char *text) {
    atl_boot_node *node;
    atl_maddr addr;
    size_t i;
    int32_t rv = text[0] != '/' ? ATLAS_ERR_ADDRESS : atl_maddr_parse(text, &addr);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (addr.host_kind == ATL_HOST_NONE || !addr.quic || addr.has_relay || !addr.has_peer) {
        return ATLAS_ERR_ADDRESS;
    }
    if (atl_peer_id_equal(&addr.peer, &disc->peers->self)) {
        return ATLAS_ERR_SELF;
    }
    for (i = 0; i < disc->n_nodes; i++) {
        if (atl_peer_id_equal(&disc->nodes[i].addr.peer, &addr.peer)) {
            return ATLAS_ERR_EXISTS;
        }
    }
    if (disc->n_nodes - disc->n_learned >= ATL_BOOT_NAMED) {
        return ATLAS_ERR_LIMIT;
    }
    rv = add_node(disc, &addr, &node);
    if (rv != ATLAS_OK) {
        return rv;
    }
    disc->peers->local_found |=
        (uint8_t)(addr.host_kind == ATL_HOST_IP && atl_addr_is_loopback(&addr.addr));
    post(disc);
    return ATLAS_OK;
}

void atl_discovery_learn_node(atl_discovery *disc, const atl_maddr *addr) {
    atl_boot_node *node;
    size_t i;

    if (atl_peer_id_equal(&addr->peer, &disc->peers->self) || disc->n_learned >= ATL_BOOT_LEARNED) {
        return;
    }
    for (i = 0; i < disc->n_nodes; i++) {
        if (atl_peer_id_equal(&disc->nodes[i].addr.peer, &addr->peer)) {
            return;
        }
    }
    if (add_node(disc, addr, &node) == ATLAS_OK) {
        node->learned = 1;
        disc->n_learned++;
        atl_log(disc->env, ATLAS_LOG_INFO, "another bootstrap node: %s", node->text);
        atl_find_add_node(disc, node);
    }
}

int atl_boot_node_usable(const atl_boot_node *node) {
    return !node->learned || node->failed_at == 0 ||
           node->disc->loop->now >= node->failed_at + ATL_BOOT_REST;
}

void atl_boot_node_failed(atl_boot_node *node) {
    node->failed_at = node->disc->loop->now;
}

void atl_discovery_forget_nodes(atl_discovery *disc, size_t n) {
    while (disc->n_nodes > n) {
        atl_boot_node *node = &disc->nodes[--disc->n_nodes];

        atl_publish_node_free(&disc->publish, node);
        memset(node, 0, sizeof(*node));
    }
}

size_t atl_discovery_nodes(const atl_discovery *disc) {
    return disc->n_nodes;
}

/* ---- reachability ---- */

static size_t reach_candidates(void *user, uint8_t family, atl_addr *out, size_t cap) {
    const atl_discovery *disc = user;
    const atl_candidate *list = NULL;
    uint64_t generation = 0;
    size_t total = disc->peers->candidates == NULL
                       ? 0
                       : atl_candidates_get(disc->peers->candidates, &list, &generation);
    size_t n = 0;
    size_t i;
    size_t j;

    for (i = 0; i < total && n < cap; i++) {
        const atl_addr *addr = &list[i].addr;

        if (addr->family != family ||
            (list[i].kind != ATLAS_CANDIDATE_SERVER_REFLEXIVE &&
             (list[i].kind != ATLAS_CANDIDATE_HOST || atl_addr_is_private(addr) ||
              atl_addr_is_loopback(addr) || atl_addr_is_link_local(addr)))) {
            continue;
        }
        for (j = 0; j < n && !atl_addr_equal(&out[j], addr); j++) {
        }
        if (j == n) {
            out[n++] = *addr;
        }
    }
    return n;
}

static void on_verdict(void *user, uint8_t family, int changed) {
    atl_discovery *disc = user;

    disc->ops->on_reach(disc->user, family, changed);
    atl_reach_keep_update(&disc->servers.keep[family == 6]);
    post(disc);
    /* after each round: bootstrap nodes that know of one another only since then hold this record,
     * too */
    if (disc->advertising && !disc->stopped) {
        atl_seek_nodes_again(disc);
    }
    if (disc->checking && !disc->stopped) {
        atl_seek_servers_again(disc);
    }
}

static int32_t need_reach(atl_discovery *disc) {
    const atl_reach_config config = {
        .loop = disc->loop,
        .user = disc,
        .servers = atl_servers_list,
        .candidates = reach_candidates,
        .ask = atl_servers_ask,
        .cancel = atl_servers_cancel,
        .has_met = atl_servers_has_met,
        .on_server = atl_servers_told,
        .on_verdict = on_verdict,
    };

    return disc->reach != NULL ? ATLAS_OK : atl_reach_new(&config, &disc->reach);
}

void atl_discovery_primed(atl_discovery *disc) {
    disc->primed = 1;
    atl_timer_clear(disc->loop, &disc->prime);
    if (disc->checking && !disc->peers->idle) {
        atl_reach_run(disc->reach, 1);
    }
}

static void on_prime(atl_timer *timer, uint64_t now) {
    (void)now;
    atl_discovery_primed(timer->user);
}

/* Bootstrap nodes answer STUN as relays do. */
static void ask_for_candidates(atl_discovery *disc) {
    atl_reach_server list[ATL_SERVERS_MAX];
    size_t n = atl_servers_list(disc, list, ATL_SERVERS_MAX);
    size_t i;

    for (i = 0; i < n; i++) {
        if (list[i].named) {
            (void)atl_candidates_add_relay(disc->peers->candidates, &list[i].addr);
        }
    }
    atl_candidates_gather(disc->peers->candidates, 2 * ATL_SECOND);
}

static int32_t check(atl_discovery *disc) {
    int relays = disc->peers->limits.enable_relay && disc->peers->relays.configured > 0;
    int32_t rv = disc->n_nodes == 0 && !relays ? ATLAS_ERR_NO_BOOTSTRAP : need_reach(disc);

    if (rv == ATLAS_OK && disc->stopped) {
        rv = ATLAS_ERR_SHUTDOWN;
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (!disc->checking) {
        disc->checking = 1;
        ask_for_candidates(disc);
        atl_seek_servers(disc);
        atl_timer_set(disc->loop, &disc->prime, disc->loop->now + PRIME_PATIENCE);
    } else {
        atl_reach_again(disc->reach, 0);
    }
    return ATLAS_OK;
}

int32_t atl_discovery_check(atl_discovery *disc) {
    int32_t rv = check(disc);

    disc->asked |= rv == ATLAS_OK;
    return rv;
}

/* What was known stands; it is looked at again when somebody wants to know. */
static void stop_checking(atl_discovery *disc) {
    disc->checking = 0;
    disc->primed = 0;
    atl_timer_clear(disc->loop, &disc->prime);
    atl_servers_stop(&disc->servers);
    if (disc->reach != NULL) {
        atl_reach_run(disc->reach, 0);
    }
}

int atl_discovery_on_stun(atl_discovery *disc, const atl_rx *rx) {
    return disc->reach != NULL && rx->error == 0 && atl_reach_on_stun(disc->reach, rx);
}

const atl_reach *atl_discovery_reach(const atl_discovery *disc) {
    return disc->reach;
}

static uint32_t verdict(const atl_discovery *disc, uint8_t family) {
    return disc->reach == NULL ? ATLAS_REACH_UNKNOWN : atl_reach_verdict(disc->reach, family);
}

/* A bootstrap node that knows no other has nobody to ask: its operator has put it where it is. */
int atl_discovery_is_first(const atl_discovery *disc) {
    return disc->limits->serves_bootstrap && disc->n_nodes == 0;
}

int atl_discovery_is_public(const atl_discovery *disc) {
    return atl_discovery_is_first(disc) || verdict(disc, 4) == ATLAS_REACH_PUBLIC ||
           verdict(disc, 6) == ATLAS_REACH_PUBLIC;
}

/* Most peers have no IPv6: who is private over IPv4 needs relays whatever the other family says.
 * What is not known for a while, on another network, changes nothing. */
static int needs_relays(const atl_discovery *disc) {
    uint32_t v4 = verdict(disc, 4);

    if (!disc->advertising || !disc->peers->limits.enable_relay || disc->limits->autorelay == 0) {
        return 0;
    }
    if (disc->limits->autorelay == 2 || v4 == ATLAS_REACH_PRIVATE) {
        return 1;
    }
    if (v4 == ATLAS_REACH_UNKNOWN && verdict(disc, 6) != ATLAS_REACH_PUBLIC) {
        /* on another network they are kept until the node is known to be public there */
        return verdict(disc, 6) == ATLAS_REACH_PRIVATE || disc->relaying;
    }
    return 0;
}

/* ---- the own record ---- */

const uint8_t *atl_discovery_own(const atl_discovery *disc, size_t *len) {
    *len = disc->publish.len;
    return disc->publish.len == 0 ? NULL : disc->publish.record;
}

void atl_discovery_state(const atl_discovery *disc, atl_advertise_state *out) {
    const atl_publish *publish = &disc->publish;
    size_t failed = 0;
    size_t i;

    memset(out, 0, sizeof(*out));
    out->offers = publish->current.head.offers;
    out->seq = publish->seq;
    out->total = (uint32_t)disc->n_nodes;
    for (i = 0; i < disc->n_nodes; i++) {
        const atl_published *at = &disc->nodes[i].published;

        out->nodes += publish->seq != 0 && at->seq == publish->seq;
        if (at->failures > 0) {
            failed++;
            out->code = at->code;
        }
    }
    out->state = !publish->on                                    ? ATLAS_ADVERTISE_OFF
                 : atl_discovery_is_first(disc) && out->seq != 0 ? ATLAS_ADVERTISE_PUBLISHED
                 : out->nodes > 0                                ? ATLAS_ADVERTISE_PUBLISHED
                 : failed > 0 && failed == disc->n_nodes         ? ATLAS_ADVERTISE_FAILED
                                                                 : ATLAS_ADVERTISE_PENDING;
    if (out->state != ATLAS_ADVERTISE_FAILED) {
        out->code = ATLAS_OK;
    }
}

/* ---- what follows from what ---- */

static void update_offer(atl_discovery *disc) {
    int unknown =
        verdict(disc, 4) == ATLAS_REACH_UNKNOWN && verdict(disc, 6) == ATLAS_REACH_UNKNOWN;
    int on = disc->advertising && disc->limits->offer_relay && disc->peers->limits.enable_relay &&
             (atl_discovery_is_public(disc) || (unknown && disc->offering));

    if (on != disc->offering) {
        disc->offering = (uint8_t)on;
        disc->ops->on_offer(disc->user, on);
    }
}

static void on_update(atl_task *task) {
    atl_discovery *disc = task->user;
    int relays = needs_relays(disc) && !disc->stopped;

    disc->relaying = (uint8_t)relays;
    if (disc->advertising && !disc->checking && !disc->stopped && disc->n_nodes > 0) {
        /* the first bootstrap node is no longer alone */
        (void)atl_discovery_check(disc);
    }
    if (disc->wanting) {
        disc->wanting = 0;
        if (disc->autorelay != NULL) {
            atl_autorelay_offered(disc->autorelay);
        }
    }
    if (relays && atl_seek_autorelay(disc) == ATLAS_OK) {
        atl_autorelay_want(disc->autorelay, disc->limits->autorelay_count);
    } else if (disc->autorelay != NULL) {
        atl_autorelay_want(disc->autorelay, 0);
    }
    update_offer(disc);
    atl_publish_update(&disc->publish);
}

void atl_discovery_changed(atl_discovery *disc) {
    post(disc);
}

int32_t atl_discovery_advertise(atl_discovery *disc, int on) {
    int32_t rv = !on || atl_discovery_is_first(disc) ? ATLAS_OK
                 : disc->n_nodes == 0                ? ATLAS_ERR_NO_BOOTSTRAP
                                                     : check(disc);

    if (rv != ATLAS_OK) {
        return rv;
    }
    disc->advertising = on != 0;
    if (!on && !disc->asked) {
        stop_checking(disc);
    }
    atl_publish_set(&disc->publish, on);
    post(disc);
    return ATLAS_OK;
}

size_t atl_discovery_serving(const atl_discovery *disc) {
    atl_relay_entry *list[8];

    return disc->autorelay == NULL ? 0
                                   : atl_autorelay_serving(disc->autorelay, list, ATL_COUNT(list));
}

/* ---- what others tell ---- */

static int32_t on_peer_record(void *user, const atl_peer_id *peer, const uint8_t *data,
                              size_t len) {
    atl_discovery *disc = user;
    atl_record_head head;
    int32_t rv = atl_record_check(data, len, &head);

    if (rv == ATLAS_OK && !atl_peer_id_equal(&head.peer, peer)) {
        rv = ATLAS_ERR_RECORD_SIGNER;
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    /* one that is old or over does no harm */
    if (atl_record_in_time(&head, atl_env_wall_ms(disc->env), disc->limits->max_clock_drift) ==
        ATLAS_OK) {
        (void)atl_record_cache_put_checked(disc->cache, &head, data, len);
    }
    return ATLAS_OK;
}

static void on_relay_news(void *user, atl_relay_entry *entry) {
    atl_discovery *disc = user;

    if (disc->autorelay != NULL) {
        atl_autorelay_on_relay(disc->autorelay, entry);
    }
    post(disc);
}

static void on_candidates(void *user) {
    atl_discovery *disc = user;

    if (disc->reach != NULL && disc->primed) {
        atl_reach_again(disc->reach, 0);
    }
}

static void on_network(void *user, uint32_t moved) {
    atl_discovery *disc = user;
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        if (disc->nodes[i].link != NULL) {
            atl_link_network_changed(disc->nodes[i].link);
        }
    }
    if (disc->reach != NULL && disc->primed) {
        atl_reach_again(disc->reach, moved);
    }
    if (disc->autorelay != NULL && moved != 0) {
        atl_autorelay_network_changed(disc->autorelay);
    }
    atl_publish_retry(&disc->publish);
}

static void on_idle(void *user, int on) {
    atl_discovery *disc = user;

    if (disc->reach != NULL && disc->primed) {
        atl_reach_run(disc->reach, !on && disc->checking);
    }
    if (on) {
        atl_seek_no_relays(disc);
    }
    if (disc->autorelay != NULL) {
        atl_autorelay_set_idle(disc->autorelay, on);
    }
    atl_reach_keep_update(&disc->servers.keep[0]);
    atl_reach_keep_update(&disc->servers.keep[1]);
    atl_publish_pause(&disc->publish, on);
}

/* ---- life ---- */

int32_t atl_discovery_new(atl_peers *peers, const atlas_key *key,
                          const atl_discovery_limits *limits, const atl_discovery_ops *ops,
                          void *user, atl_discovery **out) {
    atl_discovery *disc = atl_calloc(peers->loop->env, 1, sizeof(*disc));
    int32_t rv;

    if (disc == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    disc->loop = peers->loop;
    disc->env = peers->loop->env;
    disc->io = peers->io;
    disc->peers = peers;
    disc->key = key;
    disc->limits = limits;
    disc->ops = ops;
    disc->user = user;
    rv = atl_record_cache_new(disc->env, ATL_RECORD_CACHE_MAX, &disc->cache);
    if (rv != ATLAS_OK) {
        atl_free(disc->env, disc);
        return rv;
    }
    atl_list_init(&disc->finds);
    atl_servers_init(&disc->servers, disc);
    atl_publish_init(&disc->publish, disc);
    atl_timer_init(&disc->prime, on_prime, disc);
    atl_task_init(&disc->update, on_update, disc);
    atl_lookup_init(disc);
    disc->watch.user = disc;
    disc->watch.on_record = on_peer_record;
    disc->watch.on_relay = on_relay_news;
    disc->watch.on_candidates = on_candidates;
    disc->watch.on_network = on_network;
    disc->watch.on_idle = on_idle;
    peers->watch = &disc->watch;
    *out = disc;
    return ATLAS_OK;
}

/* Checks, chosen relays, and searches of this room's own. */
static void stop_own(atl_discovery *disc) {
    atl_seek_stop(disc);
    atl_timer_clear(disc->loop, &disc->prime);
    atl_servers_stop(&disc->servers);
    atl_reach_free(disc->reach);
    disc->reach = NULL;
    disc->checking = 0;
}

void atl_discovery_shutdown(atl_discovery *disc) {
    if (disc->stopped) {
        return;
    }
    disc->stopped = 1;
    stop_own(disc);
    if (disc->autorelay != NULL) {
        atl_autorelay_want(disc->autorelay, 0);
    }
    disc->advertising = 0;
    atl_publish_set(&disc->publish, 0);
}

int atl_discovery_is_idle(const atl_discovery *disc) {
    return !atl_publish_busy(&disc->publish);
}

void atl_discovery_free(atl_discovery *disc) {
    size_t i;

    if (disc == NULL) {
        return;
    }
    disc->peers->watch = NULL;
    stop_own(disc);
    atl_lookup_free(disc);
    atl_task_cancel(&disc->update);
    atl_autorelay_free(disc->autorelay);
    atl_publish_free(&disc->publish);
    for (i = 0; i < disc->n_nodes; i++) {
        atl_publish_node_free(&disc->publish, &disc->nodes[i]);
        atl_link_free(disc->nodes[i].link);
    }
    atl_servers_free(&disc->servers);
    atl_record_cache_free(disc->cache);
    atl_free(disc->env, disc);
}

atl_record_cache *atl_discovery_cache(atl_discovery *disc) {
    return disc->cache;
}

const atl_discovery_limits *atl_discovery_limits_of(const atl_discovery *disc) {
    return disc->limits;
}
