/* The simulated network as atl_io: sockets and look-ups of a host. */
#include "net_internal.h"

#include <stdlib.h>
#include <string.h>

static int taken(const sim_host *host, const atl_addr *bind) {
    size_t i;

    for (i = 0; i < MAX_SOCKETS; i++) {
        const atl_udp *udp = &host->sockets[i];

        if (udp->open && udp->local.port == bind->port && udp->local.family == bind->family &&
            (atl_addr_is_unspecified(bind) || atl_addr_is_unspecified(&udp->local) ||
             memcmp(udp->local.ip, bind->ip, sizeof(bind->ip)) == 0)) {
            return 1;
        }
    }
    return 0;
}

static int32_t io_open(void *impl, const atl_addr *bind, uint32_t flags, atl_udp_ready ready,
                       void *user, atl_udp **out) {
    sim_host *host = impl;
    atl_addr local = *bind;
    size_t i;

    (void)flags;
    if (bind->family != 4 && !(bind->family == 6 && host->ipv6)) {
        return ATLAS_ERR_FAMILY;
    }
    while (bind->port == 0 && (local.port == 0 || taken(host, &local))) {
        local.port = host->next_port++;
    }
    if (taken(host, &local)) {
        return ATLAS_ERR_ADDR_IN_USE;
    }
    for (i = 0; i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (!udp->open) {
            memset(udp, 0, sizeof(*udp));
            udp->host = host;
            udp->open = 1;
            udp->local = local;
            udp->ready = ready;
            udp->user = user;
            *out = udp;
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_LIMIT;
}

static void io_close(void *impl, atl_udp *udp) {
    (void)impl;
    sim_free_packets(&udp->first);
    sim_free_packets(&udp->lent);
    udp->last = NULL;
    udp->queued = 0;
    udp->queued_bytes = 0;
    udp->open = 0;
}

static void io_local(void *impl, const atl_udp *udp, atl_addr *out) {
    (void)impl;
    *out = udp->local;
}

static int32_t io_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    (void)impl;
    sim_free_packets(&udp->lent);
    *n = 0;
    while (*n < cap && udp->first != NULL) {
        sim_packet *p = udp->first;
        atl_rx *rx = &out[(*n)++];

        udp->first = p->next;
        if (udp->first == NULL) {
            udp->last = NULL;
        }
        udp->queued--;
        udp->queued_bytes -= p->len;
        p->next = udp->lent;
        udp->lent = p;
        memset(rx, 0, sizeof(*rx));
        rx->data = p->data;
        rx->len = p->len;
        rx->segment = p->len;
        rx->remote = p->from;
        rx->local = p->to;
        rx->ecn = p->ecn;
    }
    return ATLAS_OK;
}

/* Where a datagram comes from, in the network that *router is the inside of; 0: there is no way. */
static int source_of(const sim_host *host, const atl_udp *udp, const atl_tx *tx, atl_addr *from,
                     sim_router **router) {
    const sim_nic *nic;

    if (!atl_addr_is_unspecified(&udp->local)) {
        nic = sim_host_nic(host, &udp->local);
    } else if (tx->local.family != 0) {
        nic = sim_host_nic(host, &tx->local);
    } else {
        nic = sim_host_route(host, &tx->remote);
    }
    if (nic == NULL || nic->ip.family != tx->remote.family) {
        return 0;
    }
    *from = nic->ip;
    from->port = udp->local.port;
    *router = nic->router;
    if (nic == &host->nics[0]) {
        *from = host->outside;
        from->port = (uint16_t)(udp->local.port + host->port_shift);
    }
    return 1;
}

static int32_t io_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent) {
    sim_host *host = impl;
    sim_router *router = NULL;
    atl_addr from;
    size_t i;

    for (i = 0; i < n && !host->down; i++) {
        size_t at;

        if (!source_of(host, udp, &tx[i], &from, &router)) {
            host->net->stats.unroutable++;
            sim_log(host->net, SIM_LOST, host, &tx[i].local, &tx[i].remote, tx[i].len,
                    "the host has no such address, or no way there");
            continue;
        }
        for (at = 0; at < tx[i].len; at += tx[i].segment) {
            size_t len = tx[i].len - at < tx[i].segment ? tx[i].len - at : tx[i].segment;

            sim_transmit(host->net, host, router, &from, &tx[i].remote, tx[i].data + at, len,
                         tx[i].ecn);
        }
    }
    *sent = n;
    return ATLAS_OK;
}

static size_t io_segments(void *impl, const atl_udp *udp) {
    (void)impl;
    (void)udp;
    return 64;
}

static int32_t io_resolve(void *impl, const char *name, uint16_t port, uint8_t family,
                          atl_resolve_cb cb, void *user, atl_resolve **out) {
    sim_host *host = impl;
    sim_net *net = host->net;
    atl_resolve *resolve = sim_must(calloc(1, sizeof(*resolve)));
    size_t i;

    resolve->host = host;
    resolve->cb = cb;
    resolve->user = user;
    resolve->status = ATLAS_ERR_RESOLVE;
    if (atl_addr_parse_ip(name, strlen(name), port, &resolve->addr) == ATLAS_OK) {
        resolve->status =
            family == 0 || family == resolve->addr.family ? ATLAS_OK : ATLAS_ERR_RESOLVE;
    }
    for (i = 0; i < net->n_names; i++) {
        if (strcmp(net->names[i], name) == 0 && family != 6) {
            resolve->addr = net->name_ips[i];
            resolve->addr.port = port;
            resolve->status = ATLAS_OK;
        }
    }
    resolve->next = host->resolves;
    host->resolves = resolve;
    host->due = 1;
    *out = resolve;
    return ATLAS_OK;
}

static int32_t io_resolve_srv(void *impl, const char *service, const char *domain,
                              atl_resolve_cb cb, void *user, atl_resolve **out) {
    (void)service;
    (void)domain;
    return io_resolve(impl, "no SRV records here", 0, 0, cb, user, out);
}

static void io_resolve_cancel(void *impl, atl_resolve *resolve) {
    sim_host *host = impl;
    atl_resolve **at;

    for (at = &host->resolves; *at != NULL; at = &(*at)->next) {
        if (*at == resolve) {
            *at = resolve->next;
            free(resolve);
            return;
        }
    }
}

static size_t io_local_addrs(void *impl, atl_addr *out, size_t cap) {
    const sim_host *host = impl;
    size_t n = 0;
    int loopback;
    size_t i;

    for (loopback = 0; loopback < 2; loopback++) {
        for (i = 0; i < host->n_nics && n < cap; i++) {
            if (atl_addr_is_loopback(&host->nics[i].ip) == loopback) {
                out[n++] = host->nics[i].ip;
            }
        }
    }
    return n;
}

static int32_t io_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    const sim_nic *nic = sim_host_route(impl, remote);

    if (nic == NULL) {
        return ATLAS_ERR_UNREACHABLE;
    }
    *out = nic->ip;
    return ATLAS_OK;
}

static int32_t io_watch(void *impl, void (*changed)(void *user), void *user) {
    sim_host *host = impl;

    if (host->hidden) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    host->changed = changed;
    host->changed_user = user;
    return ATLAS_OK;
}

void sim_host_io(sim_host *host, atl_io *io) {
    io->impl = host;
    io->udp_open = io_open;
    io->udp_close = io_close;
    io->udp_local = io_local;
    io->udp_recv = io_recv;
    io->udp_send = io_send;
    io->udp_segments = io_segments;
    io->resolve = io_resolve;
    io->resolve_srv = io_resolve_srv;
    io->resolve_cancel = io_resolve_cancel;
    io->local_addrs = io_local_addrs;
    io->local_for = io_local_for;
    io->watch = io_watch;
}

void sim_free_packets(sim_packet **list) {
    while (*list != NULL) {
        sim_packet *next = (*list)->next;

        free(*list);
        *list = next;
    }
}
