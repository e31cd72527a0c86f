/* What the own record says: what was verified, and what serves. */
#include "discovery/state.h"

#include <string.h>

#define LOCAL_ADDRS 64
#define RECORD_DIRECT 8   /* direct addresses, and */
#define RECORD_CIRCUITS 8 /* circuits of a record */

/* Relays are named by the address that is in use: names are looked up for nobody. */
static void collect_circuit(const atl_relay_entry *entry, atl_record *out) {
    atl_maddr *addr = &out->addrs[out->n_addrs];
    atl_addr remote;

    if (atl_relay_client_remote(entry->client, &remote) != ATLAS_OK) {
        return;
    }
    memset(addr, 0, sizeof(*addr));
    addr->host_kind = ATL_HOST_IP;
    addr->quic = 1;
    addr->has_relay = 1;
    addr->port = remote.port;
    addr->addr = remote;
    addr->relay = entry->addr.peer;
    out->n_addrs++;
}

static void collect_circuits(const atl_discovery *disc, atl_record *out) {
    const atl_relay_entry *entry = NULL;
    size_t n = 0;

    while (n < RECORD_CIRCUITS &&
           (entry = atl_relays_next_own(&disc->peers->relays, entry)) != NULL) {
        if (entry->client != NULL &&
            atl_relay_client_state(entry->client) == ATLAS_RELAY_ANNOUNCED &&
            (entry->configured ||
             (disc->autorelay != NULL && atl_autorelay_is_serving(disc->autorelay, entry)))) {
            collect_circuit(entry, out);
            n++;
        }
    }
}

static void collect_direct(const atl_discovery *disc, uint8_t family, atl_record *out) {
    atl_reach_candidate list[ATL_REACH_CANDIDATES];
    size_t total;
    size_t n = 0;
    size_t i;

    if (disc->reach == NULL) {
        return;
    }
    total = atl_reach_candidates(disc->reach, family, list, ATL_REACH_CANDIDATES);
    for (i = 0; i < total && n < RECORD_DIRECT / 2; i++) {
        atl_maddr *addr = &out->addrs[out->n_addrs];

        if (list[i].verdict != ATLAS_REACH_PUBLIC) {
            continue;
        }
        memset(addr, 0, sizeof(*addr));
        addr->host_kind = ATL_HOST_IP;
        addr->quic = 1;
        addr->port = list[i].addr.port;
        addr->addr = list[i].addr;
        out->n_addrs++;
        n++;
    }
}

static void add_host(const atl_discovery *disc, const atl_addr *host, atl_record *out) {
    atl_maddr *addr = &out->addrs[out->n_addrs];
    atl_addr bound;

    if (atl_addr_is_link_local(host) ||
        atl_endpoint_local(disc->peers->ep, host->family, &bound) != ATLAS_OK ||
        (!atl_addr_is_unspecified(&bound) && memcmp(bound.ip, host->ip, sizeof(bound.ip)) != 0)) {
        return;
    }
    memset(addr, 0, sizeof(*addr));
    addr->host_kind = ATL_HOST_IP;
    addr->quic = 1;
    addr->port = bound.port;
    addr->addr = *host;
    addr->addr.port = bound.port;
    out->n_addrs++;
}

/* The best that this host has: 0 global, 1 private, 2 loopback. */
static int scope(const atl_addr *addr) {
    return atl_addr_is_loopback(addr) ? 2 : atl_addr_is_private(addr) ? 1 : 0;
}

static void collect_hosts(const atl_discovery *disc, atl_record *out) {
    atl_addr addrs[LOCAL_ADDRS];
    size_t n = disc->io->local_addrs(disc->io->impl, addrs, LOCAL_ADDRS);
    int want;
    size_t i;

    for (want = 0; want < 3 && out->n_addrs == 0; want++) {
        for (i = 0; i < n && i < LOCAL_ADDRS && out->n_addrs < RECORD_DIRECT; i++) {
            if (scope(&addrs[i]) == want) {
                add_host(disc, &addrs[i], out);
            }
        }
    }
}

void atl_discovery_collect(atl_discovery *disc, atl_record *out) {
    const atl_discovery_limits *limits = disc->limits;

    if (atl_discovery_is_first(disc)) {
        collect_hosts(disc, out);
    } else {
        collect_direct(disc, 4, out);
        collect_direct(disc, 6, out);
    }
    if (atl_discovery_is_public(disc)) {
        out->head.offers = (limits->serves_relay ? ATLAS_OFFER_RELAY : 0) |
                           (limits->serves_bootstrap ? ATLAS_OFFER_BOOTSTRAP : 0) |
                           (limits->serves_dialback ? ATLAS_OFFER_DIALBACK : 0);
    }
    collect_circuits(disc, out);
}
