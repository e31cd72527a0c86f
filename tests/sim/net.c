#include "net_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *sim_must(void *ptr) {
    if (ptr == NULL) {
        fprintf(stderr, "simulator: out of memory\n");
        abort();
    }
    return ptr;
}

sim_net *sim_new_quiet(uint64_t seed) {
    sim_net *net = sim_must(calloc(1, sizeof(*net)));

    net->rng = seed * UINT64_C(2862933555777941757) + 3037000493;
    net->now = 1000 * ATL_SECOND;
    net->link.delay = 10 * ATL_MS;
    net->link.mtu = 1472;
    return net;
}

sim_net *sim_new(uint64_t seed) {
    printf("simulator: seed %llu\n", (unsigned long long)seed);
    return sim_new_quiet(seed);
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

static int earlier(const sim_packet *a, const sim_packet *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(sim_net *net, sim_packet *p) {
    size_t i;

    if (net->n_heap == net->cap_heap) {
        net->cap_heap = net->cap_heap == 0 ? 256 : net->cap_heap * 2;
        net->heap = sim_must(realloc(net->heap, net->cap_heap * sizeof(sim_packet *)));
    }
    for (i = net->n_heap++; i > 0 && earlier(p, net->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        net->heap[i] = net->heap[(i - 1) / 2];
    }
    net->heap[i] = p;
}

static sim_packet *heap_pop(sim_net *net) {
    sim_packet *top = net->heap[0];
    sim_packet *last = net->heap[--net->n_heap];
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
        sim_link **slot =
            i == 0 ? &net->pairs[a->index][b->index] : &net->pairs[b->index][a->index];

        free(*slot);
        *slot = sim_must(malloc(sizeof(**slot)));
        **slot = *link;
    }
}

void sim_cut(sim_net *net, sim_host *a, sim_host *b, int cut) {
    net->cut[a->index][b->index] = (uint8_t)cut;
    net->cut[b->index][a->index] = (uint8_t)cut;
}

void sim_set_tap(sim_net *net,
                 int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t),
                 void *user) {
    net->tap = tap;
    net->tap_user = user;
}

static sim_host *host_by_ip(sim_net *net, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < net->n_hosts; i++) {
        if (memcmp(net->hosts[i]->outside.ip, addr->ip, sizeof(addr->ip)) == 0) {
            return net->hosts[i];
        }
    }
    return NULL;
}

static int chance(sim_net *net, uint32_t per_10000) {
    return per_10000 > 0 && sim_random(net) % 10000 < per_10000;
}

static void launch(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                   size_t len, uint8_t ecn, uint64_t at) {
    sim_packet *p = sim_must(malloc(sizeof(*p) + len));

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
void sim_transmit(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                  size_t len, uint8_t ecn) {
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
    link = a != NULL && net->pairs[a->index][b->index] != NULL ? net->pairs[a->index][b->index]
                                                               : &net->link;
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

void sim_inject(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    sim_transmit(net, from, to, data, len, 0);
}

static void deliver(sim_net *net, sim_packet *p) {
    sim_host *host = host_by_ip(net, &p->to);
    size_t i;

    for (i = 0; host != NULL && !host->down && i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (udp->open && (uint16_t)(udp->local.port + host->port_shift) == p->to.port &&
            udp->queued < RX_QUEUE) {
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

void sim_free_packets(sim_packet **list) {
    while (*list != NULL) {
        sim_packet *next = (*list)->next;

        free(*list);
        *list = next;
    }
}

/* ---- hosts ---- */

sim_host *sim_host_new(sim_net *net, const char *ip) {
    sim_host *host = sim_must(calloc(1, sizeof(*host)));

    if (net->n_hosts == MAX_HOSTS || atl_addr_parse_ip(ip, strlen(ip), 0, &host->ip) != ATLAS_OK) {
        fprintf(stderr, "simulator: bad host %s\n", ip);
        abort();
    }
    host->outside = host->ip;
    host->net = net;
    host->index = net->n_hosts;
    host->next_port = 40000;
    net->hosts[net->n_hosts++] = host;
    return host;
}

void sim_host_program(sim_host *host, void (*drive)(void *), uint64_t (*deadline)(void *),
                      void *user) {
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

void sim_host_rebind(sim_host *host, const char *ip) {
    host->port_shift = (uint16_t)(host->port_shift + 1000);
    if (ip != NULL && atl_addr_parse_ip(ip, strlen(ip), 0, &host->outside) != ATLAS_OK) {
        fprintf(stderr, "simulator: bad address %s\n", ip);
        abort();
    }
}

int sim_host_process(sim_host *host) {
    atl_resolve *resolve;
    int left = 0;
    size_t i;

    host->due = 0;
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

            if (host->drive == NULL || host->down ||
                (!host->due && host->deadline(host->user) > net->now)) {
                continue;
            }
            host->drive(host->user);
            again = 1;
            if (done != NULL && done(user)) {
                return 1;
            }
        }
        /* a program whose deadline is always due must not stop the clock */
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
            sim_free_packets(&net->hosts[i]->sockets[j].first);
            sim_free_packets(&net->hosts[i]->sockets[j].lent);
        }
        for (j = 0; j < MAX_HOSTS; j++) {
            free(net->pairs[i][j]);
        }
        free(net->hosts[i]);
    }
    free(net->heap);
    free(net);
}
