#include "peer/network.h"

#include "peer/conn.h"
#include "peer/silence.h"
#include "peer/upgrade.h"
#include "peer/upkeep.h"

#include <string.h>

#define LOCAL_ADDRS 64
/* A mapping may have gone in any silence: what is told in an attempt is asked for shortly before.
 */
#define GATHER_AGE (2 * ATL_SECOND)
#define SETTLE (150 * ATL_MS) /* changes of the host come in bursts */
#define CHANGE_PAUSE (1 * ATL_SECOND)

/* A question to a STUN server on behalf of the candidates. */
typedef struct question {
    atl_peers *peers;
    atl_stun_txn *txn;
    void (*done)(void *user, int32_t code, const atl_addr *reflexive, const atl_addr *local,
                 uint64_t rtt);
    void *user;
} question;

static int32_t local_of(void *user, uint8_t family, atl_addr *out) {
    return atl_endpoint_local(((atl_peers *)user)->ep, family, out);
}

static int32_t send_raw(void *user, const atl_addr *local, const atl_addr *remote,
                        const uint8_t *data, size_t len) {
    return atl_endpoint_send_raw(((atl_peers *)user)->ep, local, remote, data, len);
}

/* ---- questions ---- */

static void on_answer(void *user, const atl_stun_reply *reply) {
    question *at = user;
    question copy = *at;

    atl_free(at->peers->loop->env, at);
    copy.done(copy.user, reply->code, &reply->reflexive, &reply->local, reply->rtt);
}

static int32_t stun_ask(void *user, const atl_addr *server, uint64_t deadline,
                        void (*done)(void *user, int32_t code, const atl_addr *reflexive,
                                     const atl_addr *local, uint64_t rtt),
                        void *done_user, void **out) {
    atl_peers *peers = user;
    question *at = atl_calloc(peers->loop->env, 1, sizeof(*at));
    int32_t rv;

    if (at == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    at->peers = peers;
    at->done = done;
    at->user = done_user;
    rv = atl_stun_client_start(peers->stun, NULL, server, deadline, NULL, on_answer, at, &at->txn);
    if (rv != ATLAS_OK) {
        atl_free(peers->loop->env, at);
        return rv;
    }
    *out = at;
    return ATLAS_OK;
}

static void stun_cancel(void *user, void *handle) {
    atl_peers *peers = user;
    question *at = handle;

    atl_stun_client_cancel(peers->stun, at->txn);
    atl_free(peers->loop->env, at);
}

/* ---- what changes ---- */

static void on_candidates(void *user) {
    atl_peers *peers = user;
    atl_list *node;

    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atl_upgrade_changed(ATL_CONTAINER(node, atlas_conn, node));
    }
    if (peers->watch != NULL) {
        peers->watch->on_candidates(peers->watch->user);
    }
}

/* News of a relay: its address is a STUN server, what it saw is a candidate, and a connection that
 * it carries may have to go elsewhere. */
static void on_relay(atl_peers *peers, atl_relay_entry *entry) {
    atl_addr remote;
    atl_addr observed;
    atl_addr local;
    atl_list *node;

    if (entry->client == NULL || peers->candidates == NULL || !peers->limits.enable_relay) {
        return;
    }
    /* whom only a peer has named is not asked how this node is seen */
    if (!entry->named && atl_relay_client_remote(entry->client, &remote) == ATLAS_OK) {
        (void)atl_candidates_add_relay(peers->candidates, &remote);
        if (atl_relay_client_observed(entry->client, &observed) == ATLAS_OK &&
            peers->io->local_for(peers->io->impl, &remote, &local) == ATLAS_OK) {
            atl_candidates_observed(peers->candidates, &remote, &observed, &local);
        }
    }
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atlas_conn *conn = ATL_CONTAINER(node, atlas_conn, node);

        if (atl_relay_client_health(entry->client) == ATL_RELAY_HEALTH_DRAINS) {
            atl_paths_on_drain(conn, &entry->addr.peer);
        } else if (atl_relay_client_health(entry->client) == ATL_RELAY_HEALTH_WARM) {
            atl_paths_on_relay(conn, &entry->addr.peer);
        }
        /* where this node can be reached may have changed */
        atl_upgrade_told_relays(conn);
    }
    if (peers->watch != NULL) {
        peers->watch->on_relay(peers->watch->user, entry);
    }
}

static void mix_addr(uint64_t *hash, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < sizeof(addr->ip); i++) {
        *hash = (*hash ^ addr->ip[i]) * UINT64_C(0x100000001b3);
    }
    *hash = (*hash ^ addr->family) * UINT64_C(0x100000001b3);
}

/* Looks at the host's addresses, and at those that the system would use towards the Internet. 1:
 * some are others than the last time; *moved receives the families of which the latter are. */
static int look(atl_peers *peers, uint32_t *moved) {
    static const char *const OUTSIDE[] = {"192.0.2.1", "2001:db8::1"};
    atl_addr addrs[LOCAL_ADDRS];
    size_t n = peers->io->local_addrs(peers->io->impl, addrs, LOCAL_ADDRS);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    uint64_t before = peers->host_hash;
    size_t i;

    for (i = 0; i < n && i < LOCAL_ADDRS; i++) {
        mix_addr(&hash, &addrs[i]);
    }
    *moved = 0;
    for (i = 0; i < ATL_COUNT(OUTSIDE); i++) {
        atl_addr remote;
        atl_addr local;

        memset(&local, 0, sizeof(local));
        if (atl_addr_parse_ip(OUTSIDE[i], strlen(OUTSIDE[i]), 9, &remote) != ATLAS_OK ||
            peers->io->local_for(peers->io->impl, &remote, &local) != ATLAS_OK) {
            memset(&local, 0, sizeof(local));
        }
        local.port = 0;
        mix_addr(&hash, &local);
        *moved |= (uint32_t)!atl_addr_equal(&local, &peers->outside[i]) << i;
        peers->outside[i] = local;
    }
    peers->host_hash = hash;
    return hash != before;
}

static void on_watch(void *user) {
    atl_peers *peers = user;

    if (peers->settle.deadline == ATLAS_NO_DEADLINE) {
        peers->only_watched = 1;
        atl_timer_set(peers->loop, &peers->settle, peers->loop->now + SETTLE);
    }
}

static void changed(atl_peers *peers, uint32_t moved) {
    atl_addr addrs[LOCAL_ADDRS];
    size_t n = peers->io->local_addrs(peers->io->impl, addrs, LOCAL_ADDRS);
    atl_list *node;

    peers->changed_at = peers->loop->now;
    atl_log(peers->loop->env, ATLAS_LOG_INFO, "the network of this host may have changed");
    atl_keepalive_reset(&peers->keepalive[0]);
    atl_keepalive_reset(&peers->keepalive[1]);
    atl_endpoint_rebase(peers->ep, addrs, n);
    atl_relays_network_changed(&peers->relays);
    atl_candidates_changed(peers->candidates);
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atl_paths_network_changed(ATL_CONTAINER(node, atlas_conn, node));
    }
    if (peers->watch != NULL) {
        peers->watch->on_network(peers->watch->user, moved);
    }
}

/* The families in which the host's address does not tell one network from another. */
static uint32_t behind_nat(const atl_peers *peers) {
    uint32_t families = 0;
    size_t i;

    for (i = 0; i < ATL_COUNT(peers->outside); i++) {
        families |= (uint32_t)atl_addr_is_private(&peers->outside[i]) << i;
    }
    return families;
}

/* The system tells of much that changes nothing here: routes that flap, links of containers. What
 * the application tells is believed: another network may have given the same private address, as a
 * public one it is the same network. */
static void on_settle(atl_timer *timer, uint64_t now) {
    atl_peers *peers = timer->user;
    uint32_t moved;
    int other = look(peers, &moved);

    (void)now;
    if (!peers->only_watched) {
        changed(peers, moved | behind_nat(peers));
    } else if (other) {
        changed(peers, moved);
    }
}

void atl_peers_network_changed(atl_peers *peers) {
    uint64_t at = peers->loop->now;

    /* a node that sleeps looks when it wakes */
    if (peers->ep == NULL || peers->candidates == NULL || peers->shutdown || peers->idle) {
        return;
    }
    if (peers->changed_at != 0 && at < peers->changed_at + CHANGE_PAUSE) {
        at = peers->changed_at + CHANGE_PAUSE;
    }
    peers->only_watched = 0;
    if (peers->settle.deadline > at) {
        atl_timer_set(peers->loop, &peers->settle, at);
    }
}

void atl_peers_set_idle(atl_peers *peers, int on) {
    atl_list *node;

    if (peers->idle == (on != 0)) {
        return;
    }
    peers->idle = on != 0;
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        atl_paths_set_idle(ATL_CONTAINER(node, atlas_conn, node), on);
    }
    atl_relays_set_idle(&peers->relays, on);
    if (peers->candidates != NULL) {
        atl_candidates_set_idle(peers->candidates, on);
    }
    if (peers->watch != NULL) {
        peers->watch->on_idle(peers->watch->user, on);
    }
    if (!on) {
        atl_peers_network_changed(peers);
    }
}

/* ---- life ---- */

void atl_network_init(atl_peers *peers) {
    atl_timer_init(&peers->settle, on_settle, peers);
    atl_keepalive_init(&peers->keepalive[0], 60 * ATL_SECOND);
    atl_keepalive_init(&peers->keepalive[1], 60 * ATL_SECOND);
}

int32_t atl_network_open(atl_peers *peers, atl_stun_client *stun) {
    const atl_punch_config checks = {.loop = peers->loop, .send = send_raw, .user = peers};
    const atl_candidates_config config = {
        .loop = peers->loop,
        .io = peers->io,
        .user = peers,
        .local = local_of,
        .stun_ask = stun_ask,
        .stun_cancel = stun_cancel,
        .on_change = on_candidates,
    };
    uint32_t moved;
    int32_t rv;

    peers->stun = stun;
    rv = atl_punch_table_new(&checks, &peers->punches);
    if (rv == ATLAS_OK) {
        rv = atl_candidates_new(&config, &peers->candidates);
    }
    if (rv != ATLAS_OK) {
        atl_network_close(peers);
        return rv;
    }
    peers->relays.on_observed = on_relay;
    (void)look(peers, &moved);
    if (peers->io->watch != NULL) {
        /* where the system does not tell, the application may: atlas_network_changed() */
        (void)peers->io->watch(peers->io->impl, on_watch, peers);
    }
    return ATLAS_OK;
}

void atl_network_close(atl_peers *peers) {
    if (peers->punches == NULL) {
        return;
    }
    if (peers->io->watch != NULL) {
        (void)peers->io->watch(peers->io->impl, NULL, NULL);
    }
    peers->relays.on_observed = NULL;
    atl_timer_clear(peers->loop, &peers->settle);
    atl_candidates_free(peers->candidates);
    peers->candidates = NULL;
    atl_punch_table_free(peers->punches);
    peers->punches = NULL;
}

void atl_network_gather(atl_peers *peers) {
    const atl_relay_entry *entry = NULL;

    if (peers->candidates == NULL || !peers->limits.upgrade) {
        return;
    }
    while (peers->limits.enable_relay &&
           (entry = atl_relays_next_own(&peers->relays, entry)) != NULL) {
        if (entry->addr.host_kind == ATL_HOST_IP) {
            (void)atl_candidates_add_relay(peers->candidates, &entry->addr.addr);
        }
    }
    atl_candidates_gather(peers->candidates, GATHER_AGE);
}

int atl_network_on_stun(atl_peers *peers, const atl_rx *rx) {
    return peers->punches != NULL && atl_punch_on_stun(peers->punches, rx);
}

int32_t atl_network_add_server(atl_peers *peers, const char *server) {
    return peers->candidates == NULL ? ATLAS_OK
                                     : atl_candidates_add_server(peers->candidates, server);
}
