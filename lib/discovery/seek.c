/* Looking for others who serve this node: servers of dial-backs, and candidates for relays. */
#include "discovery/find.h"
#include "discovery/relay_pool.h"
#include "discovery/state.h"

#define SEEK_TIMEOUT (2 * ATL_SECOND)
#define SEEK_AGAIN (20 * ATL_SECOND)
#define SERVERS_WANTED 8
#define RELAYS_WANTED 16 /* candidates of each bootstrap node */
#define LOCAL_ADDRS 64

/* ---- what records name ---- */

/* Whoever signs a record chooses where others send packets. A record proves who says so, not that
 * it is true: what is nobody's to name is left out here, and so is what names an IP address in a
 * search that another one has named already. */

static int has_private(const atl_io *io) {
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

static int is_allowed(const atl_discovery *disc, const atl_addr *addr) {
    return atl_dial_is_allowed(disc->peers, addr) &&
           (!atl_addr_is_private(addr) || has_private(disc->io));
}

/* The addresses at which a node offers something, one of each family: those over which this node
 * can send nothing are left to whoever may use them later. */
static void each_direct(const atl_record_cached *cached,
                        void (*fn)(atl_discovery *disc, const atl_maddr *addr),
                        atl_discovery *disc) {
    atl_record record;
    uint8_t seen[2] = {0, 0};
    size_t i;

    if (atl_record_open(cached->data, cached->len, &record) != ATLAS_OK) {
        return;
    }
    for (i = 0; i < record.n_addrs; i++) {
        atl_maddr *addr = &record.addrs[i];
        uint8_t *once = &seen[addr->addr.family == 6];

        if (addr->host_kind == ATL_HOST_IP && addr->quic && !addr->has_relay && !*once &&
            is_allowed(disc, &addr->addr)) {
            *once = 1;
            addr->has_peer = 1;
            addr->peer = record.head.peer;
            fn(disc, addr);
        }
    }
}

static void add_server(atl_discovery *disc, const atl_maddr *addr) {
    atl_sought *sought = &disc->servers_sought;
    size_t i;

    for (i = 0; i < sought->n; i++) {
        if (atl_relay_pool_same_ip(&sought->addrs[i].addr, &addr->addr) &&
            !atl_addr_is_loopback(&addr->addr)) {
            if (atl_peer_id_equal(&sought->addrs[i].peer, &addr->peer)) {
                break; /* another bootstrap node says the same */
            }
            return;
        }
    }
    if (i == sought->n) {
        if (i == ATL_SOUGHT_MAX || !atl_dial_may_send(disc->peers, &addr->addr)) {
            return;
        }
        sought->addrs[i].addr = addr->addr;
        sought->addrs[i].peer = addr->peer;
        sought->n++;
    }
    atl_servers_add(&disc->servers, addr);
}

static void offer_relay(atl_discovery *disc, const atl_maddr *addr) {
    atl_autorelay_offer(disc->autorelay, addr);
}

/* ---- further bootstrap nodes ---- */

static void on_find_failed(void *user, const atl_boot_node *from, int32_t code, const char *text) {
    const atl_discovery *disc = user;

    if (code != ATLAS_ERR_RECORD_NOT_FOUND) {
        atl_log(disc->env, ATLAS_LOG_INFO, "bootstrap node %s: %s", from->text, text);
    }
}

static int is_known_node(const atl_discovery *disc, const atl_maddr *addr) {
    size_t i;

    for (i = 0; i < disc->n_nodes; i++) {
        const atl_boot_node *node = &disc->nodes[i];

        if (atl_peer_id_equal(&node->addr.peer, &addr->peer) ||
            (node->learned && atl_relay_pool_same_ip(&node->addr.addr, &addr->addr) &&
             !atl_addr_is_loopback(&addr->addr))) {
            return 1;
        }
    }
    return 0;
}

/* A bootstrap node is asked at one address: the first in its record that this node has a way to. */
static void learn_node(atl_discovery *disc, const atl_maddr *addr) {
    if (disc->n_learned < ATL_BOOT_LEARNED && atl_dial_has_way(disc->peers, &addr->addr) &&
        !is_known_node(disc, addr) && atl_dial_may_send(disc->peers, &addr->addr)) {
        atl_discovery_learn_node(disc, addr);
    }
}

/* Whoever names bootstrap nodes has this node ask them, and no more than a few. */
static void on_boot(void *user, const atl_record_cached *record, const atl_boot_node *from,
                    uint64_t rtt) {
    (void)from;
    (void)rtt;
    each_direct(record, learn_node, user);
}

static void on_boots_end(void *user, int32_t code) {
    atl_discovery *disc = user;

    (void)code;
    disc->boots_find = NULL;
    atl_find_check_all(disc);
}

static void seek_nodes(atl_discovery *disc) {
    static const atl_find_ops ops = {on_boot, on_find_failed, on_boots_end};

    disc->sought = 1;
    disc->sought_at = disc->loop->now;
    if (atl_find_offers(disc, ATLAS_OFFER_BOOTSTRAP, ATL_BOOT_LEARNED, 1, SEEK_TIMEOUT, &ops, disc,
                        &disc->boots_find) != ATLAS_OK) {
        disc->boots_find = NULL;
    }
}

void atl_seek_nodes(atl_discovery *disc) {
    if (!disc->sought) {
        seek_nodes(disc);
    }
}

void atl_seek_nodes_again(atl_discovery *disc) {
    if (disc->sought && disc->boots_find == NULL &&
        disc->loop->now >= disc->sought_at + SEEK_AGAIN) {
        seek_nodes(disc);
    }
}

/* ---- servers of dial-backs ---- */

static void on_server(void *user, const atl_record_cached *record, const atl_boot_node *from,
                      uint64_t rtt) {
    (void)from;
    (void)rtt;
    each_direct(record, add_server, user);
}

static void on_servers_end(void *user, int32_t code) {
    atl_discovery *disc = user;

    (void)code;
    disc->servers_find = NULL;
    if (!disc->primed) {
        atl_discovery_primed(disc);
    } else if (disc->reach != NULL && disc->servers_sought.n > 0) {
        atl_reach_again(disc->reach, 0);
    }
}

void atl_seek_servers(atl_discovery *disc) {
    static const atl_find_ops ops = {on_server, on_find_failed, on_servers_end};

    if (disc->servers_find != NULL) {
        return;
    }
    disc->servers_sought.n = 0;
    disc->servers_sought_at = disc->loop->now;
    if (atl_find_offers(disc, ATLAS_OFFER_DIALBACK, SERVERS_WANTED, 1, SEEK_TIMEOUT, &ops, disc,
                        &disc->servers_find) != ATLAS_OK) {
        disc->servers_find = NULL;
    }
}

/* A bootstrap node that was away, or had nobody to name yet, may have later. */
void atl_seek_servers_again(atl_discovery *disc) {
    if (disc->servers_sought.n == 0 && disc->loop->now >= disc->servers_sought_at + SEEK_AGAIN) {
        atl_seek_servers(disc);
    }
}

/* ---- candidates for relays ---- */

static void on_relay_record(void *user, const atl_record_cached *record, const atl_boot_node *from,
                            uint64_t rtt) {
    atl_discovery *disc = user;

    (void)from;
    (void)rtt;
    each_direct(record, offer_relay, disc);
    if ((record->head.offers & ATLAS_OFFER_DIALBACK) != 0) {
        each_direct(record, add_server, disc);
    }
}

static void on_relays_end(void *user, int32_t code) {
    atl_discovery *disc = user;

    (void)code;
    disc->relays_find = NULL;
    atl_autorelay_offered(disc->autorelay);
}

static void on_want(void *user, size_t n) {
    static const atl_find_ops ops = {on_relay_record, on_find_failed, on_relays_end};
    atl_discovery *disc = user;
    size_t limit = n > RELAYS_WANTED ? n : RELAYS_WANTED;

    if (disc->relays_find != NULL) {
        return;
    }
    if (disc->servers_find == NULL) {
        disc->servers_sought.n = 0;
    }
    if (atl_find_offers(disc, ATLAS_OFFER_RELAY, limit < 100 ? limit : 100, 1, SEEK_TIMEOUT, &ops,
                        disc, &disc->relays_find) != ATLAS_OK) {
        disc->relays_find = NULL;
        disc->wanting = 1;
        atl_discovery_changed(disc);
    }
}

static void on_autorelay_change(void *user) {
    atl_discovery_changed(user);
}

static void on_autorelay_event(void *user, const atl_autorelay_event *event) {
    atl_discovery *disc = user;

    disc->ops->on_autorelay(disc->user, event);
}

int32_t atl_seek_autorelay(atl_discovery *disc) {
    const atl_autorelay_config config = {
        .loop = disc->loop,
        .io = disc->io,
        .self = disc->peers->self,
        .peers = disc->peers,
        .user = disc,
        .want = on_want,
        .on_change = on_autorelay_change,
        .on_event = on_autorelay_event,
    };

    return disc->autorelay != NULL ? ATLAS_OK : atl_autorelay_new(&config, &disc->autorelay);
}

void atl_seek_no_relays(atl_discovery *disc) {
    if (disc->relays_find != NULL) {
        atl_find_cancel(disc->relays_find);
        disc->relays_find = NULL;
    }
}

void atl_seek_stop(atl_discovery *disc) {
    if (disc->boots_find != NULL) {
        atl_find_cancel(disc->boots_find);
        disc->boots_find = NULL;
    }
    if (disc->servers_find != NULL) {
        atl_find_cancel(disc->servers_find);
        disc->servers_find = NULL;
    }
    atl_seek_no_relays(disc);
}
