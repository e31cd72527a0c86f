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

atl_addr sim_parse_ip(const char *ip) {
    atl_addr addr;

    if (atl_addr_parse_ip(ip, strlen(ip), 0, &addr) != ATLAS_OK) {
        fprintf(stderr, "simulator: bad address %s\n", ip);
        abort();
    }
    return addr;
}

sim_net *sim_new_quiet(uint64_t seed) {
    sim_net *net = sim_must(calloc(1, sizeof(*net)));

    net->seed = seed;
    net->rng = seed * UINT64_C(2862933555777941757) + 3037000493;
    net->now = 1000 * ATL_SECOND;
    net->line.link.delay = 10 * ATL_MS;
    net->line.link.mtu = 1472;
    net->local.link.delay = ATL_MS;
    net->local.link.mtu = 1472;
    sim_log_start(net);
    return net;
}

sim_net *sim_new(uint64_t seed) {
    printf("simulator: seed %llu\n", (unsigned long long)seed);
    return sim_new_quiet(seed);
}

static void free_value(const sim_key *key, void *value) {
    if (key->space == SPACE_FLOW) {
        sim_flow_free(value);
    } else if (key->space == SPACE_FIREWALL) {
        free(value);
    }
}

void sim_free(sim_net *net) {
    size_t i;

    sim_log_end(net);
    while (net->queue.n > 0) {
        free(sim_queue_pop(&net->queue));
    }
    for (i = 0; i < net->n_hosts; i++) {
        sim_host_free(net->hosts[i]);
    }
    for (i = 0; i < net->n_routers; i++) {
        sim_router_free(net->routers[i]);
    }
    sim_map_free(&net->map, free_value);
    free(net->queue.heap);
    free(net->hosts);
    free(net->wakes);
    free(net->round);
    free(net->routers);
    free(net);
}

/* splitmix64 */
uint64_t sim_random(sim_net *net) {
    uint64_t z = (net->rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int sim_chance(sim_net *net, uint32_t per_10000) {
    return per_10000 > 0 && sim_random(net) % 10000 < per_10000;
}

uint64_t sim_now(const sim_net *net) {
    return net->now;
}

const sim_stats *sim_get_stats(const sim_net *net) {
    return &net->stats;
}

void sim_set_tap(sim_net *net,
                 int (*tap)(void *, const atl_addr *, const atl_addr *, const uint8_t *, size_t),
                 void *user) {
    net->tap = tap;
    net->tap_user = user;
}

void sim_add_name(sim_net *net, const char *name, const char *ip) {
    size_t i = net->n_names++;

    if (i >= MAX_NAMES) {
        abort();
    }
    net->name_ips[i] = sim_parse_ip(ip);
    snprintf(net->names[i], sizeof(net->names[i]), "%s", name);
}

void sim_inject(sim_net *net, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    sim_place *place = sim_place_of(net, NULL, from);

    sim_transmit(net, place == NULL ? NULL : place->host, NULL, from, to, data, len, 0);
}

void sim_at(sim_net *net, uint64_t when, void (*fn)(void *user), void *user) {
    sim_packet *p = sim_must(calloc(1, sizeof(*p)));

    p->at = when;
    p->fn = fn;
    p->user = user;
    sim_queue_push(&net->queue, p);
}

/* ---- whose turn it is: a heap of all hosts ---- */

static int before(const sim_host *a, const sim_host *b) {
    return a->wake != b->wake ? a->wake < b->wake : a->index < b->index;
}

static void put(sim_net *net, size_t i, sim_host *host) {
    net->wakes[i] = host;
    host->heap_slot = i;
}

static void sift(sim_net *net, sim_host *host) {
    size_t i = host->heap_slot;

    while (i > 0 && before(host, net->wakes[(i - 1) / 2])) {
        put(net, i, net->wakes[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;

        if (child + 1 < net->n_hosts && before(net->wakes[child + 1], net->wakes[child])) {
            child++;
        }
        if (child >= net->n_hosts || !before(net->wakes[child], host)) {
            break;
        }
        put(net, i, net->wakes[child]);
        i = child;
    }
    put(net, i, host);
}

void sim_wake(sim_host *host) {
    uint64_t wake = NEVER;

    if (host->drive != NULL && !host->down && host->frozen == SIM_AWAKE) {
        wake = host->due ? 0 : host->deadline(host->user);
        if (wake != 0 && wake < NEVER - host->slept) {
            wake += host->slept;
        }
    }
    if (wake != host->wake) {
        host->wake = wake;
        sift(host->net, host);
    }
}

static void wake_all(sim_net *net) {
    size_t i;

    for (i = 0; i < net->n_hosts; i++) {
        sim_wake(net->hosts[i]);
    }
}

/* ---- the run ---- */

/* What has come by now. */
static void arrive_due(sim_net *net) {
    while (net->queue.n > 0 && net->queue.heap[0]->at <= net->now) {
        sim_packet *p = sim_queue_pop(&net->queue);

        if (p->fn != NULL) {
            p->fn(p->user);
            free(p);
            wake_all(net);
        } else {
            sim_arrive(net, p);
        }
    }
}

/* Drives, once each, the programs that have something to do at this instant. -1: `done`. */
static int drive_due(sim_net *net, int (*done)(void *), void *user) {
    size_t n = 0;
    size_t i;
    int finished = 0;

    while (n < net->n_hosts && net->wakes[0]->wake <= net->now) {
        sim_host *host = net->wakes[0];

        net->round[n++] = host;
        host->wake = NEVER;
        sift(net, host);
    }
    for (i = 0; i < n; i++) {
        sim_host *host = net->round[i];

        /* whoever was driven before may have taken it down */
        if (!finished && host->drive != NULL && !host->down && host->frozen == SIM_AWAKE) {
            host->drive(host->user);
            finished = done != NULL && done(user);
        }
        sim_wake(host);
    }
    return finished ? -1 : n > 0;
}

int sim_run(sim_net *net, uint64_t until, int (*done)(void *user), void *user) {
    if (done != NULL && done(user)) {
        return 1;
    }
    wake_all(net);
    for (;;) {
        int driven = drive_due(net, done, user);
        uint64_t next = until;

        if (driven < 0) {
            return 1;
        }
        /* a program whose deadline is always due must not stop the clock */
        net->now += driven ? 1000 : 0;
        if (net->n_hosts > 0 && net->wakes[0]->wake < next) {
            next = net->wakes[0]->wake;
        }
        if (net->queue.n > 0 && net->queue.heap[0]->at < next) {
            next = net->queue.heap[0]->at;
        }
        if (next >= until || net->now > until) {
            net->now = net->now < until ? until : net->now;
            return 0;
        }
        net->now = next > net->now ? next : net->now;
        arrive_due(net);
    }
}
