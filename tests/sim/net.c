#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HOSTS 64
#define MAX_SOCKETS 8
#define MAX_NAMES 16
#define RX_QUEUE 4096 /* datagrams waiting in a socket, as SO_RCVBUF bounds them */

typedef struct packet {
    struct packet *next;
    uint64_t at;
    uint64_t order;
    atl_addr from;
    atl_addr to;
    size_t len;
    uint8_t ecn;
    uint8_t data[];
} packet;

struct atl_udp {
    sim_host *host;
    atl_addr local;
    atl_udp_ready ready;
    void *user;
    packet *first;
    packet *last;
    packet *lent; /* handed out by the last udp_recv */
    size_t queued;
    int open;
};

struct atl_resolve {
    sim_host *host;
    atl_resolve *next;
    atl_resolve_cb cb;
    void *user;
    atl_addr addr;
    int32_t status;
};

struct sim_host {
    sim_net *net;
    size_t index;
    atl_addr ip;
    atl_udp sockets[MAX_SOCKETS];
    uint16_t next_port;
    atl_resolve *resolves;
    void (*drive)(void *);
    uint64_t (*deadline)(void *);
    void *user;
    int down;
    int due; /* something arrived */
};

struct sim_net {
    uint64_t now;
    uint64_t rng;
    uint64_t order;
    sim_stats stats;
    sim_host *hosts[MAX_HOSTS];
    size_t n_hosts;
    sim_link link;
    sim_link *pairs[MAX_HOSTS][MAX_HOSTS];
    uint64_t last_at[MAX_HOSTS][MAX_HOSTS];
    uint8_t cut[MAX_HOSTS][MAX_HOSTS];
    packet **heap;
    size_t n_heap;
    size_t cap_heap;
    char names[MAX_NAMES][64];
    atl_addr name_ips[MAX_NAMES];
    size_t n_names;
    int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t);
    void *tap_user;
};

static void *must(void *ptr) {
    if (ptr == NULL) {
        fprintf(stderr, "simulator: out of memory\n");
        abort();
    }
    return ptr;
}

sim_net *sim_new(uint64_t seed) {
    sim_net *net = must(calloc(1, sizeof(*net)));

    printf("simulator: seed %llu\n", (unsigned long long)seed);
    net->rng = seed * UINT64_C(2862933555777941757) + 3037000493;
    net->now = 1000 * ATL_SECOND;
    net->link.delay = 10 * ATL_MS;
    net->link.mtu = 1472;
    return net;
}

/* splitmix64 */
uint64_t sim_random(sim_net *net) {
    uint64_t z = (net->rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_now(const sim_net *net) {
    return net->now;
}

const sim_stats *sim_get_stats(const sim_net *net) {
    return &net->stats;
}

/* ---- packets in flight: a binary heap by time, then by order of sending ---- */

static int earlier(const packet *a, const packet *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(sim_net *net, packet *p) {
    size_t i;

    if (net->n_heap == net->cap_heap) {
        net->cap_heap = net->cap_heap == 0 ? 256 : net->cap_heap * 2;
        net->heap = must(realloc(net->heap, net->cap_heap * sizeof(packet *)));
    }
    for (i = net->n_heap++; i > 0 && earlier(p, net->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        net->heap[i] = net->heap[(i - 1) / 2];
    }
    net->heap[i] = p;
}

static packet *heap_pop(sim_net *net) {
    packet *top = net->heap[0];
    packet *last = net->heap[--net->n_heap];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= net->n_heap) {
            break;
        }
        if (child + 1 < net->n_heap && earlier(net->heap[child + 1], net->heap[child])) {
            child++;
        }
        if (!earlier(net->heap[child], last)) {
            break;
        }
        net->heap[i] = net->heap[child];
        i = child;
    }
    net->heap[i] = last;
    return top;
}

/* ---- links ---- */

void sim_set_link(sim_net *net, const sim_link *link) {
    net->link = *link;
}

void sim_set_pair(sim_net *net, sim_host *a, sim_host *b, const sim_link *link) {
    size_t i;

    for (i = 0; i < 2; i++) {
        sim_link **slot = i == 0 ? &net->pairs[a->index][b->index] : &net->pairs[b->index][a->index];

        free(*slot);
        *slot = must(malloc(sizeof(**slot)));
        **slot = *link;
    }
}

void sim_cut(sim_net *net, sim_host *a, sim_host *b, int cut) {
    net->cut[a->index][b->index] = (uint8_t)cut;
    net->cut[b->index][a->index] = (uint8_t)cut;
}

void sim_set_tap(sim_net *net, int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t), void *user) {
    net->tap = tap;
    net->tap_user = user;
}

static sim_host *host_by_ip(sim_net *net, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < net->n_hosts; i++) {
        if (memcmp(net->hosts[i]->ip.ip, addr->ip, sizeof(addr->ip)) == 0) {
            return net->hosts[i];
        }
    }
    return NULL;
}

static int chance(sim_net *net, uint32_t per_10000) {
    return per_10000 > 0 && sim_random(net) % 10000 < per_10000;
}

static void launch(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data, size_t len, uint8_t ecn, uint64_t at) {
    packet *p = must(malloc(sizeof(*p) + len));

    p->next = NULL;
    p->at = at;
    p->order = net->order++;
    p->from = *from;
    p->to = *to;
    p->ecn = ecn;
    p->len = len;
    memcpy(p->data, data, len);
    heap_push(net, p);
}

/* One datagram onto the link between two addresses. */
static void transmit(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data, size_t len, uint8_t ecn) {
    sim_host *a = host_by_ip(net, from);
    sim_host *b = host_by_ip(net, to);
    const sim_link *link;
    uint64_t at;

    net->stats.sent++;
    net->stats.bytes += len;
    if (net->tap != NULL && net->tap(net->tap_user, from, to, data, len)) {
        net->stats.lost++;
        return;
    }
    if (b == NULL || (a != NULL && net->cut[a->index][b->index])) {
        net->stats.unroutable++;
        return;
    }
    link = a != NULL && net->pairs[a->index][b->index] != NULL ? net->pairs[a->index][b->index] : &net->link;
    if (len > link->mtu) {
        net->stats.oversized++;
        return;
    }
    if (chance(net, link->loss)) {
        net->stats.lost++;
        return;
    }
    at = net->now + link->delay + (link->jitter > 0 ? sim_random(net) % link->jitter : 0);
    if (chance(net, link->reorder)) {
        at += link->delay > 0 ? sim_random(net) % (3 * link->delay) : 0;
    } else if (a != NULL) {
        if (at < net->last_at[a->index][b->index]) {
            at = net->last_at[a->index][b->index];
        }
        net->last_at[a->index][b->index] = at;
    }
    launch(net, from, to, data, len, ecn, at);
    if (chance(net, link->duplicate)) {
        net->stats.duplicated++;
        launch(net, from, to, data, len, ecn, at + link->delay / 2);
    }
}

void sim_inject(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data, size_t len) {
    transmit(net, from, to, data, len, 0);
}

static void deliver(sim_net *net, packet *p) {
    sim_host *host = host_by_ip(net, &p->to);
    size_t i;

    for (i = 0; host != NULL && !host->down && i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (udp->open && udp->local.port == p->to.port && udp->queued < RX_QUEUE) {
            if (udp->last == NULL) {
                udp->first = p;
            } else {
                udp->last->next = p;
            }
            udp->last = p;
            udp->queued++;
            host->due = 1;
            net->stats.delivered++;
            return;
        }
    }
    net->stats.unroutable++;
    free(p);
}

/* ---- hosts ---- */

sim_host *sim_host_new(sim_net *net, const char *ip) {
    sim_host *host = must(calloc(1, sizeof(*host)));

    if (net->n_hosts == MAX_HOSTS || atl_addr_parse_ip(ip, strlen(ip), 0, &host->ip) != ATLAS_OK) {
        fprintf(stderr, "simulator: bad host %s\n", ip);
        abort();
    }
    host->net = net;
    host->index = net->n_hosts;
    host->next_port = 40000;
    net->hosts[net->n_hosts++] = host;
    return host;
}

void sim_host_program(sim_host *host, void (*drive)(void *), uint64_t (*deadline)(void *), void *user) {
    host->drive = drive;
    host->deadline = deadline;
    host->user = user;
}

void sim_host_addr(const sim_host *host, atl_addr *out) {
    *out = host->ip;
}

uint64_t sim_host_now(const sim_host *host) {
    return host->net->now;
}

void sim_host_set_down(sim_host *host, int down) {
    host->down = down;
}

int sim_host_process(sim_host *host) {
    atl_resolve *resolve;
    int left = 0;
    size_t i;

    host->due = 0;
    while ((resolve = host->resolves) != NULL) {
        host->resolves = resolve->next;
        resolve->cb(resolve->user, resolve->status, resolve->status == ATLAS_OK ? &resolve->addr : NULL, resolve->status == ATLAS_OK ? 1 : 0);
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
    return ((sim_host *)user)->net->now;
}

static int64_t hook_wall(void *user) {
    return INT64_C(1790000000000) + (int64_t)(((sim_host *)user)->net->now / ATL_MS);
}

static int32_t hook_random(void *user, uint8_t *buf, size_t len) {
    sim_net *net = ((sim_host *)user)->net;
    size_t i;

    for (i = 0; i < len; i++) {
        buf[i] = (uint8_t)sim_random(net);
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

/* ---- atl_io ---- */

static int32_t io_open(void *impl, const atl_addr *bind, uint32_t flags, atl_udp_ready ready, void *user, atl_udp **out) {
    sim_host *host = impl;
    uint16_t port = bind->port;
    size_t i;

    (void)flags;
    if (bind->family != 4) {
        return ATLAS_ERR_FAMILY;
    }
    for (i = 0; i < MAX_SOCKETS; i++) {
        if (host->sockets[i].open && host->sockets[i].local.port == port && port != 0) {
            return ATLAS_ERR_ADDR_IN_USE;
        }
    }
    for (i = 0; i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (!udp->open) {
            memset(udp, 0, sizeof(*udp));
            udp->host = host;
            udp->open = 1;
            udp->local = *bind;
            udp->local.port = port != 0 ? port : host->next_port++;
            udp->ready = ready;
            udp->user = user;
            *out = udp;
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_LIMIT;
}

static void free_packets(packet **list) {
    while (*list != NULL) {
        packet *next = (*list)->next;

        free(*list);
        *list = next;
    }
}

static void io_close(void *impl, atl_udp *udp) {
    (void)impl;
    free_packets(&udp->first);
    free_packets(&udp->lent);
    udp->last = NULL;
    udp->open = 0;
}

static void io_local(void *impl, const atl_udp *udp, atl_addr *out) {
    (void)impl;
    *out = udp->local;
}

static int32_t io_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    sim_host *host = impl;

    free_packets(&udp->lent);
    *n = 0;
    while (*n < cap && udp->first != NULL) {
        packet *p = udp->first;
        atl_rx *rx = &out[(*n)++];

        udp->first = p->next;
        if (udp->first == NULL) {
            udp->last = NULL;
        }
        udp->queued--;
        p->next = udp->lent;
        udp->lent = p;
        memset(rx, 0, sizeof(*rx));
        rx->data = p->data;
        rx->len = p->len;
        rx->segment = p->len;
        rx->remote = p->from;
        rx->local = host->ip;
        rx->local.port = udp->local.port;
        rx->ecn = p->ecn;
    }
    return ATLAS_OK;
}

static int32_t io_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent) {
    sim_host *host = impl;
    atl_addr from = host->ip;
    size_t i;

    from.port = udp->local.port;
    for (i = 0; i < n && !host->down; i++) {
        size_t at;

        for (at = 0; at < tx[i].len; at += tx[i].segment) {
            size_t len = tx[i].len - at < tx[i].segment ? tx[i].len - at : tx[i].segment;

            transmit(host->net, &from, &tx[i].remote, tx[i].data + at, len, tx[i].ecn);
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

static int32_t io_resolve(void *impl, const char *name, uint16_t port, uint8_t family, atl_resolve_cb cb, void *user, atl_resolve **out) {
    sim_host *host = impl;
    sim_net *net = host->net;
    atl_resolve *resolve = must(calloc(1, sizeof(*resolve)));
    size_t i;

    resolve->host = host;
    resolve->cb = cb;
    resolve->user = user;
    resolve->status = ATLAS_ERR_RESOLVE;
    if (atl_addr_parse_ip(name, strlen(name), port, &resolve->addr) == ATLAS_OK) {
        resolve->status = family == 0 || family == resolve->addr.family ? ATLAS_OK : ATLAS_ERR_RESOLVE;
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

static int32_t io_resolve_srv(void *impl, const char *service, const char *domain, atl_resolve_cb cb, void *user, atl_resolve **out) {
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
    if (cap == 0) {
        return 0;
    }
    out[0] = ((sim_host *)impl)->ip;
    return 1;
}

static int32_t io_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    if (remote->family != 4) {
        return ATLAS_ERR_UNREACHABLE;
    }
    *out = ((sim_host *)impl)->ip;
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
}

void sim_add_name(sim_net *net, const char *name, const char *ip) {
    size_t i = net->n_names++;

    if (i >= MAX_NAMES || atl_addr_parse_ip(ip, strlen(ip), 0, &net->name_ips[i]) != ATLAS_OK) {
        abort();
    }
    snprintf(net->names[i], sizeof(net->names[i]), "%s", name);
}

/* ---- the run ---- */

/* Drives every program that has something to do at this instant, until none has. */
static int drive_due(sim_net *net, int (*done)(void *), void *user) {
    size_t i;
    int again = 1;

    while (again) {
        again = 0;
        for (i = 0; i < net->n_hosts; i++) {
            sim_host *host = net->hosts[i];

            if (host->drive == NULL || host->down || (!host->due && host->deadline(host->user) > net->now)) {
                continue;
            }
            host->drive(host->user);
            again = 1;
            if (done != NULL && done(user)) {
                return 1;
            }
        }
        /* a program that asks for now for ever must not stop the clock */
        if (again) {
            net->now += 1000;
        }
    }
    return 0;
}

int sim_run(sim_net *net, uint64_t until, int (*done)(void *user), void *user) {
    if (done != NULL && done(user)) {
        return 1;
    }
    for (;;) {
        uint64_t next = until;
        size_t i;

        if (drive_due(net, done, user)) {
            return 1;
        }
        for (i = 0; i < net->n_hosts; i++) {
            sim_host *host = net->hosts[i];

            if (host->drive != NULL && !host->down && host->deadline(host->user) < next) {
                next = host->deadline(host->user);
            }
        }
        if (net->n_heap > 0 && net->heap[0]->at < next) {
            next = net->heap[0]->at;
        }
        if (next >= until) {
            net->now = net->now < until ? until : net->now;
            return 0;
        }
        net->now = next > net->now ? next : net->now;
        while (net->n_heap > 0 && net->heap[0]->at <= net->now) {
            deliver(net, heap_pop(net));
        }
    }
}

void sim_free(sim_net *net) {
    size_t i;
    size_t j;

    while (net->n_heap > 0) {
        free(heap_pop(net));
    }
    for (i = 0; i < net->n_hosts; i++) {
        for (j = 0; j < MAX_SOCKETS; j++) {
            free_packets(&net->hosts[i]->sockets[j].first);
            free_packets(&net->hosts[i]->sockets[j].lent);
        }
        for (j = 0; j < MAX_HOSTS; j++) {
            free(net->pairs[i][j]);
        }
        free(net->hosts[i]);
    }
    free(net->heap);
    free(net);
}
