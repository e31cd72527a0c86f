/* Hosts of the simulated network: their addresses, and how they stand still. */
#include "net_internal.h"

#include <stdlib.h>
#include <string.h>

static void told(sim_host *host) {
    host->has_changed = 1;
    host->due = 1;
    sim_wake(host);
}

/* IPv6 addresses are global but for link-local ones; IPv4 addresses belong to the network. */
static const sim_router *realm_of(const sim_nic *nic) {
    return nic->ip.family == 6 && !atl_addr_is_link_local(&nic->ip) ? NULL : nic->router;
}

static void attach(sim_host *host, sim_router *router, const char *ip) {
    sim_nic *nic;

    if (host->n_nics == MAX_ADDRS) {
        abort();
    }
    nic = &host->nics[host->n_nics++];
    nic->ip = sim_parse_ip(ip);
    nic->router = router;
    host->ipv6 |= nic->ip.family == 6;
    if (host->n_nics == 1) {
        host->outside = nic->ip;
    }
    if (!atl_addr_is_loopback(&nic->ip)) {
        sim_place_set(host->net, realm_of(nic), &nic->ip, &host->place);
    }
}

static void detach(sim_host *host, size_t i) {
    const sim_nic *nic = &host->nics[i];
    size_t j;

    sim_place_remove(host->net, realm_of(nic), &nic->ip, &host->place);
    if (i == 0) {
        sim_place_remove(host->net, NULL, &host->outside, &host->place);
        memset(&host->outside, 0, sizeof(host->outside));
        host->port_shift = 0;
    }
    host->n_nics--;
    for (j = i; j < host->n_nics; j++) {
        host->nics[j] = host->nics[j + 1];
    }
    if (i == 0 && host->n_nics > 0) {
        host->outside = host->nics[0].ip;
    }
}

static sim_host *host_new(sim_net *net, sim_router *router, const char *ip) {
    sim_host *host = sim_must(calloc(1, sizeof(*host)));

    net->hosts = sim_must(realloc(net->hosts, (net->n_hosts + 1) * sizeof(sim_host *)));
    net->wakes = sim_must(realloc(net->wakes, (net->n_hosts + 1) * sizeof(sim_host *)));
    net->round = sim_must(realloc(net->round, (net->n_hosts + 1) * sizeof(sim_host *)));
    host->net = net;
    host->place.host = host;
    host->index = net->n_hosts;
    host->heap_slot = net->n_hosts;
    host->wake = NEVER;
    host->next_port = 40000;
    net->hosts[net->n_hosts] = host;
    net->wakes[net->n_hosts++] = host;
    attach(host, router, ip);
    return host;
}

sim_host *sim_host_new(sim_net *net, const char *ip) {
    return host_new(net, NULL, ip);
}

sim_host *sim_host_behind(sim_router *router, const char *ip) {
    return host_new(router->net, router, ip);
}

void sim_host_free(sim_host *host) {
    size_t i;

    for (i = 0; i < MAX_SOCKETS; i++) {
        sim_free_packets(&host->sockets[i].first);
        sim_free_packets(&host->sockets[i].lent);
    }
    while (host->resolves != NULL) {
        atl_resolve *resolve = host->resolves;

        host->resolves = resolve->next;
        free(resolve);
    }
    free(host->access);
    free(host);
}

size_t sim_host_index(const sim_host *host) {
    return host->index;
}

void sim_host_program(sim_host *host, void (*drive)(void *), uint64_t (*deadline)(void *),
                      void *user) {
    host->drive = drive;
    host->deadline = deadline;
    host->user = user;
    sim_wake(host);
}

void sim_host_touch(sim_host *host) {
    sim_wake(host);
}

void sim_host_addr(const sim_host *host, atl_addr *out) {
    *out = host->nics[0].ip;
}

sim_net *sim_host_net(const sim_host *host) {
    return host->net;
}

uint64_t sim_host_now(const sim_host *host) {
    return (host->frozen == SIM_ASLEEP ? host->asleep_since : host->net->now) - host->slept;
}

void sim_host_set_down(sim_host *host, int down) {
    if (host->down != down) {
        sim_log(host->net, SIM_FAULT, host, NULL, NULL, 0, down ? "down" : "up");
    }
    host->down = down;
    sim_wake(host);
}

int sim_host_is_down(const sim_host *host) {
    return host->down;
}

void sim_host_freeze(sim_host *host, int how) {
    static const char *const NAMES[] = {"awake", "frozen", "asleep"};

    sim_log(host->net, SIM_FAULT, host, NULL, NULL, 0, NAMES[how]);
    if (host->frozen == SIM_ASLEEP) {
        host->slept += host->net->now - host->asleep_since;
    }
    host->frozen = how;
    host->asleep_since = host->net->now;
    host->due = 1;
    sim_wake(host);
}

/* ---- addresses ---- */

const sim_nic *sim_host_nic(const sim_host *host, const atl_addr *ip) {
    size_t i;

    for (i = 0; i < host->n_nics; i++) {
        if (memcmp(host->nics[i].ip.ip, ip->ip, sizeof(ip->ip)) == 0 &&
            host->nics[i].ip.family == ip->family) {
            return &host->nics[i];
        }
    }
    return NULL;
}

/* The network that the remote address belongs to, else the first of the family: loopback and
 * link-local ones lead nowhere else. */
const sim_nic *sim_host_route(const sim_host *host, const atl_addr *remote) {
    const sim_nic *found = NULL;
    size_t i;

    for (i = 0; i < host->n_nics; i++) {
        const sim_nic *nic = &host->nics[i];

        if (nic->ip.family != remote->family ||
            atl_addr_is_loopback(&nic->ip) != atl_addr_is_loopback(remote) ||
            atl_addr_is_link_local(&nic->ip) != atl_addr_is_link_local(remote)) {
            continue;
        }
        if (nic->router != NULL && nic->ip.family == 4 &&
            sim_place_of(host->net, nic->router, remote) != NULL) {
            return nic;
        }
        found = found == NULL ? nic : found;
    }
    return found;
}

void sim_host_add_addr(sim_host *host, sim_router *router, const char *ip) {
    atl_addr addr = sim_parse_ip(ip);

    attach(host, router, ip);
    sim_log(host->net, SIM_FAULT, host, &addr, NULL, 0, "a further address");
    told(host);
}

void sim_host_remove_addr(sim_host *host, const char *ip) {
    atl_addr addr = sim_parse_ip(ip);
    const sim_nic *nic = sim_host_nic(host, &addr);

    if (nic != NULL) {
        detach(host, (size_t)(nic - host->nics));
        sim_log(host->net, SIM_FAULT, host, &addr, NULL, 0, "address gone");
        told(host);
    }
}

void sim_host_move(sim_host *host, sim_router *router, const char *ip) {
    atl_addr addr = sim_parse_ip(ip);

    while (host->n_nics > 0) {
        detach(host, host->n_nics - 1);
    }
    attach(host, router, ip);
    sim_log(host->net, SIM_FAULT, host, &addr, NULL, 0, "moved to another network");
    told(host);
}

void sim_host_allow_ipv6(sim_host *host) {
    host->ipv6 = 1;
}

void sim_host_hide_changes(sim_host *host) {
    host->hidden = 1;
}

void sim_host_rebind(sim_host *host, const char *ip) {
    host->port_shift = (uint16_t)(host->port_shift + 1000);
    if (ip != NULL) {
        sim_place_remove(host->net, NULL, &host->outside, &host->place);
        host->outside = sim_parse_ip(ip);
        sim_place_set(host->net, NULL, &host->outside, &host->place);
    }
    sim_log(host->net, SIM_FAULT, host, &host->outside, NULL, 0, "rebound");
}

void sim_unplug(sim_host *host, int unplugged) {
    sim_log(host->net, SIM_FAULT, host, NULL, NULL, 0, unplugged ? "unplugged" : "plugged in");
    host->unplugged = unplugged;
}

void sim_set_side(sim_host *host, int side) {
    host->side = side;
}

/* ---- the program's turn ---- */

int sim_host_process(sim_host *host) {
    atl_resolve *resolve;
    int left = 0;
    size_t i;

    host->due = 0;
    if (host->has_changed) {
        host->has_changed = 0;
        if (host->changed != NULL) {
            host->changed(host->changed_user);
        }
    }
    while ((resolve = host->resolves) != NULL) {
        host->resolves = resolve->next;
        resolve->cb(resolve->user, resolve->status,
                    resolve->status == ATLAS_OK ? &resolve->addr : NULL,
                    resolve->status == ATLAS_OK ? 1 : 0);
        free(resolve);
    }
    for (i = 0; i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (udp->open && udp->first != NULL) {
            udp->ready(udp->user, udp, ATLAS_FD_READ);
            left |= udp->open && udp->first != NULL;
        }
    }
    host->due |= left;
    return left;
}

static uint64_t hook_now(void *user) {
    return sim_host_now(user);
}

static int64_t hook_wall(void *user) {
    return INT64_C(1790000000000) + (int64_t)(((sim_host *)user)->net->now / ATL_MS);
}

static int32_t hook_random(void *user, uint8_t *buf, size_t len) {
    sim_net *net = ((sim_host *)user)->net;

    while (len > 0) {
        uint64_t word = sim_random(net);
        size_t n = len < sizeof(word) ? len : sizeof(word);

        memcpy(buf, &word, n);
        buf += n;
        len -= n;
    }
    return 0;
}

void sim_host_hooks(sim_host *host, atlas_hooks *hooks) {
    memset(hooks, 0, sizeof(*hooks));
    hooks->size = sizeof(*hooks);
    hooks->user = host;
    hooks->now = hook_now;
    hooks->wall = hook_wall;
    hooks->random = hook_random;
}
