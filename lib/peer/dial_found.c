/* What is found out about a peer while it is dialled: addresses of its signed record, from whoever
 * has it. A record proves who says so, not that it is true: whoever names a victim's address has
 * this node send a few packets there, and no more than these limits allow. */
#include "peer/dial.h"

#include "peer/dial_state.h"

#include <string.h>

#define PORTS_MAX 4  /* of one IP address in a dial */
#define RELAYS_MAX 4 /* named by the peer, in a dial */
/* Dials of found addresses to one IPv4 address or IPv6 /64, for all dials of the context. */
#define TARGETS 1024
#define TARGET_RATE 4 /* a second */
#define TARGET_BURST 32

void atl_dial_find(struct atl_dial *dial) {
    const struct atl_finder *finder = dial->peers->finder;

    if (finder == NULL) {
        return;
    }
    dial->finding = 1;
    if (!finder->begin(finder->user, dial, &dial->conn->peer)) {
        dial->finding = 0;
    }
}

void atl_dial_stop_finding(struct atl_dial *dial) {
    if (dial->finding) {
        dial->finding = 0;
        dial->peers->finder->end(dial->peers->finder->user, dial);
    }
}

/* This machine is not for others to name, unless it is where they were asked as well. */
int atl_dial_is_allowed(const struct atl_peers *peers, const atl_addr *addr) {
    if (atl_addr_is_loopback(addr)) {
        return peers->local_found && addr->port != 0;
    }
    return !atl_addr_is_link_local(addr) && !atl_addr_is_unspecified(addr) &&
           !atl_addr_is_multicast(addr) && addr->port != 0;
}

int atl_dial_may_send(struct atl_peers *peers, const atl_addr *addr) {
    uint8_t key[8];

    if (peers->found == NULL && atl_source_limit_new(peers->loop->env, TARGETS, TARGET_RATE,
                                                     TARGET_BURST, &peers->found) != ATLAS_OK) {
        return 0;
    }
    return atl_source_limit_take(peers->found, key, atl_addr_limit_key(addr, key),
                                 peers->loop->now);
}

int atl_dial_has_way(const struct atl_peers *peers, const atl_addr *addr) {
    atl_addr local;

    return peers->ep != NULL && atl_endpoint_local(peers->ep, addr->family, &local) == ATLAS_OK &&
           (peers->outside[addr->family == 6].family != 0 ||
            peers->io->local_for(peers->io->impl, addr, &local) == ATLAS_OK);
}

static size_t same_host(const struct atl_dial *dial, const atl_addr *addr) {
    const atl_list *node;
    size_t n = 0;

    for (node = dial->attempts.next; node != &dial->attempts; node = node->next) {
        const atl_maddr *other = &ATL_CONTAINER(node, atl_attempt, node)->addr;

        n += other->host_kind == ATL_HOST_IP && other->addr.family == addr->family &&
             memcmp(other->addr.ip, addr->ip, sizeof(addr->ip)) == 0;
    }
    return n;
}

static void found_direct(struct atl_dial *dial, const atl_maddr *addr) {
    /* names are looked up only for those whom the application has named */
    if (addr->host_kind != ATL_HOST_IP || !addr->quic ||
        !atl_dial_is_allowed(dial->peers, &addr->addr) ||
        same_host(dial, &addr->addr) >= PORTS_MAX || atl_dial_knows(dial, addr)) {
        return;
    }
    if (!atl_dial_may_send(dial->peers, &addr->addr)) {
        atl_dial_found_failed(dial, "an address of its record", "dialled too often lately");
        return;
    }
    (void)atl_dial_add_direct(dial, addr);
}

static size_t named_ways(const struct atl_dial *dial) {
    const atl_list *node;
    size_t n = 0;

    for (node = dial->ways.next; node != &dial->ways; node = node->next) {
        n += ATL_CONTAINER(node, atl_dial_way, node)->named;
    }
    return n;
}

static void found_circuit(struct atl_dial *dial, const atl_maddr *addr) {
    atl_relays *relays = &dial->peers->relays;
    atl_maddr relay = *addr;
    atl_relay_entry *entry;

    if (!dial->peers->limits.enable_relay || addr->host_kind != ATL_HOST_IP || !addr->quic ||
        !atl_dial_is_allowed(dial->peers, &addr->addr) ||
        atl_peer_id_equal(&addr->relay, &dial->peers->self) || named_ways(dial) >= RELAYS_MAX) {
        return;
    }
    relay.has_relay = 0;
    relay.has_peer = 1;
    relay.peer = addr->relay;
    memset(&relay.relay, 0, sizeof(relay.relay));
    /* one that is there already costs nobody anything new */
    if (atl_relays_named(relays, &relay, 0, &entry) != ATLAS_OK &&
        (!atl_dial_may_send(dial->peers, &addr->addr) ||
         atl_relays_named(relays, &relay, 1, &entry) != ATLAS_OK)) {
        return;
    }
    /* one that nobody uses goes by itself */
    atl_relay_entry_use(entry);
    (void)atl_dial_add_way(dial, entry, 1);
    atl_relay_entry_unuse(entry);
}

void atl_dial_found(struct atl_dial *dial, const atl_maddr *addrs, size_t n) {
    uint64_t now = dial->peers->loop->now;
    size_t direct = dial->direct_left;
    size_t i;

    for (i = 0; i < n; i++) {
        if (addrs[i].has_relay) {
            found_circuit(dial, &addrs[i]);
        } else {
            found_direct(dial, &addrs[i]);
        }
    }
    if (!dial->started) {
        return;
    }
    /* nothing else would start it while all that were known before are under way */
    if (dial->direct_left > direct && dial->direct_timer.deadline == ATLAS_NO_DEADLINE) {
        atl_timer_set(dial->peers->loop, &dial->direct_timer, now);
    }
    if (atl_dial_relays_remain(dial)) {
        uint64_t at = dial->direct_left > 0 ? now + dial->peers->limits.relay_delay : now;

        if (dial->relay_timer.deadline > at) {
            atl_timer_set(dial->peers->loop, &dial->relay_timer, at);
        }
    }
}

void atl_dial_found_failed(struct atl_dial *dial, const char *whom, const char *text) {
    atl_dial_add_text(dial, whom, text);
}

void atl_dial_found_end(struct atl_dial *dial) {
    dial->finding = 0;
    if (dial->started) {
        atl_dial_step(dial);
    }
}
