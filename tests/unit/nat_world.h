/* Hosts, some of them behind one NAT of any behaviour of RFC 4787, on a network that loses nothing
 * unless told to; STUN agents on them. For the tests of NAT probes. Included after nothing: it
 * brings test_stun_world.h with its clock and its memory. */
#ifndef ATL_TESTS_UNIT_NAT_WORLD_H
#define ATL_TESTS_UNIT_NAT_WORLD_H

#include "stun/agent.h"
#include "stun/nat.h"
#include "test_stun_world.h"

#define NAT_HOSTS 6
#define NAT_SOCKETS 24
#define NAT_PACKETS 256
#define NAT_MAPPINGS 256
#define NAT_DELAY (10 * ATL_MS)

/* Numbers as in the public header: 1 endpoint-independent, 2 address-, 3
 * address-and-port-dependent; 4: nothing is translated (mapping), or nothing is filtered. */
typedef struct nat_rules {
    uint32_t mapping;
    uint32_t filtering;
    int hairpins;
    int preserves;
    uint64_t timeout; /* of a mapping; 0: none */
    int blocks;       /* no UDP at all */
} nat_rules;

typedef struct nat_packet {
    int used;
    uint64_t at;
    atl_addr from;
    atl_addr to; /* as on the public network, or on the host's when `inside` */
    size_t len;
    uint8_t data[ATL_DATAGRAM_MAX];
} nat_packet;

struct atl_udp {
    struct nat_host *host;
    int open;
    atl_addr bound;
    atl_udp_ready ready;
    void *user;
    size_t queued;
    nat_packet *queue[32];
    nat_packet *lent[32];
    size_t lent_count;
};

typedef struct nat_host {
    struct nat_world *world;
    atl_addr ips[2]; /* the second may be family 0 */
    int behind;
    uint16_t deaf_port;  /* hears nothing on this port */
    int refuses_sockets; /* udp_open fails */
    atl_io io;
    struct atl_udp sockets[NAT_SOCKETS];
    atl_udp *main;
    atl_stun_agent *agent;
    uint16_t next_port;
} nat_host;

typedef struct nat_mapping {
    int used;
    uint64_t touched;
    atl_addr inside;
    atl_addr key; /* towards whom, as far as it matters */
    uint16_t port;
    atl_addr written[32];
    size_t written_count;
} nat_mapping;

typedef struct nat_world {
    world *w;
    uint8_t family;
    nat_rules rules;
    atl_addr outside;
    nat_host hosts[NAT_HOSTS];
    size_t host_count;
    nat_packet packets[NAT_PACKETS];
    nat_mapping mappings[NAT_MAPPINGS];
    uint16_t next_port;
    atl_timer timer;
    size_t sent;       /* packets sent by hosts */
    size_t drop_every; /* each nth packet is lost; 0: none */
} nat_world;

static inline int nat_same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* ---- packets on their way ---- */

static inline void nat_arm(nat_world *n) {
    uint64_t next = ATLAS_NO_DEADLINE;
    size_t i;

    for (i = 0; i < NAT_PACKETS; i++) {
        if (n->packets[i].used == 1 && n->packets[i].at < next) {
            next = n->packets[i].at;
        }
    }
    atl_timer_set(&n->w->loop, &n->timer, next);
}

static inline nat_host *nat_find(nat_world *n, const atl_addr *to, int inside) {
    size_t i;

    for (i = 0; i < n->host_count; i++) {
        nat_host *h = &n->hosts[i];

        if (h->behind == inside && (nat_same_ip(&h->ips[0], to) || nat_same_ip(&h->ips[1], to))) {
            return h;
        }
    }
    return NULL;
}

/* 2: waits in a socket; 0: dropped. */
static inline void nat_hand_over(nat_world *n, nat_packet *p, int inside) {
    nat_host *h = nat_find(n, &p->to, inside);
    size_t i;

    p->used = 0;
    if (h == NULL || h->deaf_port == p->to.port) {
        return;
    }
    for (i = 0; i < NAT_SOCKETS; i++) {
        atl_udp *udp = &h->sockets[i];

        if (udp->open && udp->bound.port == p->to.port &&
            (atl_addr_is_unspecified(&udp->bound) || nat_same_ip(&udp->bound, &p->to))) {
            assert_true(udp->queued < ATL_COUNT(udp->queue));
            p->used = 2;
            udp->queue[udp->queued++] = p;
            udp->ready(udp->user, udp, ATLAS_FD_READ);
            return;
        }
    }
}

static inline int nat_alive(const nat_world *n, const nat_mapping *m) {
    return m->used && (n->rules.timeout == 0 || n->w->now - m->touched < n->rules.timeout);
}

/* How far an address matters to a behaviour. */
static inline atl_addr nat_key(uint32_t behaviour, const atl_addr *addr) {
    atl_addr key = *addr;

    if (behaviour == 1 || behaviour == 4) {
        memset(&key, 0, sizeof(key));
    } else if (behaviour == 2) {
        key.port = 0;
    }
    return key;
}

static inline nat_mapping *nat_map_out(nat_world *n, const atl_addr *inside, const atl_addr *to) {
    atl_addr key = nat_key(n->rules.mapping, to);
    nat_mapping *free_one = NULL;
    size_t i;

    for (i = 0; i < NAT_MAPPINGS; i++) {
        nat_mapping *m = &n->mappings[i];

        if (!nat_alive(n, m)) {
            m->used = 0;
            free_one = free_one == NULL ? m : free_one;
        } else if (atl_addr_equal(&m->inside, inside) && atl_addr_equal(&m->key, &key)) {
            return m;
        }
    }
    assert_non_null(free_one);
    memset(free_one, 0, sizeof(*free_one));
    free_one->used = 1;
    free_one->inside = *inside;
    free_one->key = key;
    free_one->port = n->rules.preserves ? inside->port : n->next_port++;
    return free_one;
}

static inline int nat_admits(const nat_world *n, const nat_mapping *m, const atl_addr *from) {
    atl_addr key = nat_key(n->rules.filtering, from);
    size_t i;

    for (i = 0; i < m->written_count; i++) {
        atl_addr other = nat_key(n->rules.filtering, &m->written[i]);

        if (atl_addr_equal(&key, &other)) {
            return 1;
        }
    }
    return 0;
}

static inline void nat_inward(nat_world *n, nat_packet *p) {
    size_t i;

    p->used = 0;
    for (i = 0; i < NAT_MAPPINGS; i++) {
        nat_mapping *m = &n->mappings[i];

        if (nat_alive(n, m) && m->port == p->to.port && nat_admits(n, m, &p->from)) {
            p->to = m->inside;
            nat_hand_over(n, p, 1);
            return;
        }
    }
}

static inline void nat_deliver(atl_timer *timer, uint64_t now) {
    nat_world *n = timer->user;
    size_t i;

    for (i = 0; i < NAT_PACKETS; i++) {
        nat_packet *p = &n->packets[i];

        if (p->used != 1 || p->at > now) {
            continue;
        }
        if (n->rules.mapping != 4 && nat_same_ip(&p->to, &n->outside)) {
            nat_inward(n, p);
        } else if (n->rules.mapping == 4 && nat_find(n, &p->to, 1) != NULL) {
            nat_inward(n, p); /* a firewall: the mapping is the address itself */
        } else {
            nat_hand_over(n, p, 0);
        }
    }
    nat_arm(n);
}

/* What leaves a host that is behind the NAT. 0: it is dropped. */
static inline int nat_outward(nat_world *n, nat_packet *p) {
    nat_mapping *m = nat_map_out(n, &p->from, &p->to);
    size_t i;

    m->touched = n->w->now;
    for (i = 0; i < m->written_count && !atl_addr_equal(&m->written[i], &p->to); i++) {
    }
    if (i == m->written_count) {
        assert_true(i < ATL_COUNT(m->written));
        m->written[m->written_count++] = p->to;
    }
    if (n->rules.mapping == 4) {
        m->port = p->from.port;
        return !n->rules.blocks;
    }
    p->from = n->outside;
    p->from.port = m->port;
    if (nat_same_ip(&p->to, &n->outside)) {
        return n->rules.hairpins && !n->rules.blocks;
    }
    return !n->rules.blocks;
}

/* ---- io ---- */

static inline int32_t nat_udp_open(void *impl, const atl_addr *bound, uint32_t flags,
                                   atl_udp_ready ready, void *user, atl_udp **out) {
    nat_host *h = impl;
    size_t i;

    (void)flags;
    if (h->refuses_sockets) {
        return ATLAS_ERR_IO;
    }
    for (i = 0; i < NAT_SOCKETS; i++) {
        const atl_udp *udp = &h->sockets[i];

        if (udp->open && bound->port != 0 && udp->bound.port == bound->port &&
            (nat_same_ip(&udp->bound, bound) || atl_addr_is_unspecified(&udp->bound) ||
             atl_addr_is_unspecified(bound))) {
            return ATLAS_ERR_ADDR_IN_USE;
        }
    }
    for (i = 0; i < NAT_SOCKETS; i++) {
        atl_udp *udp = &h->sockets[i];

        if (!udp->open) {
            memset(udp, 0, sizeof(*udp));
            udp->host = h;
            udp->open = 1;
            udp->bound = *bound;
            udp->bound.port = bound->port != 0 ? bound->port : h->next_port++;
            udp->ready = ready;
            udp->user = user;
            *out = udp;
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_LIMIT;
}

static inline void nat_give_back(atl_udp *udp) {
    while (udp->lent_count > 0) {
        udp->lent[--udp->lent_count]->used = 0;
    }
}

static inline void nat_udp_close(void *impl, atl_udp *udp) {
    (void)impl;
    nat_give_back(udp);
    while (udp->queued > 0) {
        udp->queue[--udp->queued]->used = 0;
    }
    udp->open = 0;
}

static inline void nat_udp_local(void *impl, const atl_udp *udp, atl_addr *out) {
    (void)impl;
    *out = udp->bound;
}

static inline int32_t nat_udp_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    size_t i;

    (void)impl;
    nat_give_back(udp);
    *n = udp->queued < cap ? udp->queued : cap;
    for (i = 0; i < *n; i++) {
        nat_packet *p = udp->queue[i];

        memset(&out[i], 0, sizeof(out[i]));
        out[i].data = p->data;
        out[i].len = p->len;
        out[i].segment = p->len;
        out[i].remote = p->from;
        out[i].local = p->to;
        udp->lent[udp->lent_count++] = p;
    }
    udp->queued -= *n;
    memmove(udp->queue, udp->queue + *n, udp->queued * sizeof(udp->queue[0]));
    return ATLAS_OK;
}

static inline int32_t nat_udp_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t count,
                                   size_t *taken) {
    nat_host *h = impl;
    nat_world *n = h->world;
    nat_packet *p = NULL;
    size_t i;

    assert_int_equal(count, 1);
    *taken = 1;
    for (i = 0; i < NAT_PACKETS && p == NULL; i++) {
        p = n->packets[i].used ? NULL : &n->packets[i];
    }
    assert_non_null(p);
    p->from = h->ips[0];
    if (!atl_addr_is_unspecified(&udp->bound)) {
        p->from = udp->bound;
    } else if (tx->local.family != 0 && !atl_addr_is_unspecified(&tx->local)) {
        p->from = tx->local;
    }
    p->from.port = udp->bound.port;
    p->to = tx->remote;
    p->len = tx->len;
    memcpy(p->data, tx->data, tx->len);
    p->at = n->w->now + NAT_DELAY;
    n->sent++;
    if ((n->drop_every == 0 || n->sent % n->drop_every != 0) && (!h->behind || nat_outward(n, p))) {
        p->used = 1;
        nat_arm(n);
    }
    return ATLAS_OK;
}

static inline size_t nat_local_addrs(void *impl, atl_addr *out, size_t cap) {
    nat_host *h = impl;
    size_t n = 0;
    size_t i;

    for (i = 0; i < 2 && n < cap; i++) {
        if (h->ips[i].family != 0) {
            out[n++] = h->ips[i];
        }
    }
    return n;
}

static inline int32_t nat_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    nat_host *h = impl;

    if (remote->family != h->ips[0].family) {
        return ATLAS_ERR_UNREACHABLE;
    }
    *out = h->ips[0];
    return ATLAS_OK;
}

/* ---- hosts ---- */

static inline void nat_main_ready(void *user, atl_udp *udp, uint32_t events) {
    nat_host *h = user;
    atl_rx rx[8];
    size_t count;
    size_t i;

    (void)events;
    assert_int_equal(h->io.udp_recv(h, udp, rx, 8, &count), ATLAS_OK);
    for (i = 0; i < count; i++) {
        atl_stun_agent_on_datagram(h->agent, &rx[i]);
    }
}

static inline int32_t nat_main_send(void *user, const atl_addr *local, const atl_addr *remote,
                                    const uint8_t *data, size_t len) {
    nat_host *h = user;
    atl_tx tx;
    size_t taken;

    memset(&tx, 0, sizeof(tx));
    tx.data = data;
    tx.len = len;
    tx.segment = len;
    tx.remote = *remote;
    tx.local = *local;
    return h->io.udp_send(h, h->main, &tx, 1, &taken);
}

static inline int32_t nat_main_local(void *user, uint8_t family, atl_addr *out) {
    nat_host *h = user;

    if (family != h->ips[0].family) {
        return ATLAS_ERR_FAMILY;
    }
    *out = h->main->bound;
    return ATLAS_OK;
}

static inline atl_addr nat_ip(const char *text) {
    atl_addr addr;

    memset(&addr, 0, sizeof(addr));
    if (text != NULL) {
        assert_int_equal(atl_addr_parse_ip(text, strlen(text), 0, &addr), ATLAS_OK);
    }
    return addr;
}

/* `wild`: its socket is bound to all addresses. */
static inline nat_host *nat_add(nat_world *n, const char *ip, const char *ip2, uint16_t port,
                                int behind, int wild) {
    nat_host *h = &n->hosts[n->host_count++];
    atl_stun_agent_config config;
    atl_addr bound = nat_ip(ip);

    h->world = n;
    h->ips[0] = bound;
    h->ips[1] = nat_ip(ip2);
    h->behind = behind;
    h->next_port = (uint16_t)(20000 + 1000 * n->host_count);
    h->io.impl = h;
    h->io.udp_open = nat_udp_open;
    h->io.udp_close = nat_udp_close;
    h->io.udp_local = nat_udp_local;
    h->io.udp_recv = nat_udp_recv;
    h->io.udp_send = nat_udp_send;
    h->io.local_addrs = nat_local_addrs;
    h->io.local_for = nat_local_for;
    if (wild) {
        memset(bound.ip, 0, sizeof(bound.ip));
    }
    bound.port = port;
    assert_int_equal(h->io.udp_open(h, &bound, 0, nat_main_ready, h, &h->main), ATLAS_OK);
    memset(&config, 0, sizeof(config));
    config.loop = &n->w->loop;
    config.io = &h->io;
    config.user = h;
    config.send = nat_main_send;
    config.local = nat_main_local;
    assert_int_equal(atl_stun_agent_new(&config, &h->agent), ATLAS_OK);
    return h;
}

static inline nat_world *nat_world_new(void) {
    nat_world *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    n->w = world_new();
    n->next_port = 50000;
    atl_timer_init(&n->timer, nat_deliver, n);
    return n;
}

static inline void nat_world_free(nat_world *n) {
    size_t i;

    for (i = 0; i < n->host_count; i++) {
        atl_stun_agent_free(n->hosts[i].agent);
        nat_udp_close(&n->hosts[i], n->hosts[i].main);
    }
    for (i = 0; i < n->host_count * NAT_SOCKETS; i++) {
        assert_false(n->hosts[i / NAT_SOCKETS].sockets[i % NAT_SOCKETS].open);
    }
    atl_timer_clear(&n->w->loop, &n->timer);
    world_free(n->w);
    free(n);
}

#endif
