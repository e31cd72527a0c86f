/* Routers of the simulated network (RFC 4787). */
#include "net_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT (120 * ATL_SECOND)
#define SWEEP_MIN 64

/* Whom a host inside has written to through a mapping. */
typedef struct permission {
    atl_addr remote;
    uint64_t last;
} permission;

struct sim_mapping {
    sim_mapping *next;
    sim_mapping **link;
    sim_key out;
    sim_key in;
    atl_addr inside;
    uint16_t port; /* outside */
    uint64_t last;
    permission *permissions;
    size_t n;
    size_t cap;
};

/* IPv6: that a host inside has written to somebody. */
typedef struct opening {
    uint64_t last;
} opening;

static uint64_t timeout_of(const sim_router *router) {
    return router->nat.timeout == 0 ? TIMEOUT_DEFAULT : router->nat.timeout;
}

static int is_old(const sim_router *router, uint64_t last) {
    return router->net->now > last + timeout_of(router);
}

static sim_key key_of(const sim_router *router, uint32_t space, const atl_addr *inside,
                      const atl_addr *remote, uint8_t dependent) {
    sim_key key;

    memset(&key, 0, sizeof(key));
    key.space = space;
    key.owner = router->index;
    memcpy(key.a, inside->ip, sizeof(key.a));
    key.a_port = inside->port;
    if (dependent != SIM_ENDPOINT_INDEPENDENT) {
        memcpy(key.b, remote->ip, sizeof(key.b));
        key.b_port = dependent == SIM_ADDRESS_PORT_DEPENDENT ? remote->port : 0;
    }
    return key;
}

static sim_key in_key(const sim_router *router, uint16_t port) {
    sim_key key;

    memset(&key, 0, sizeof(key));
    key.space = SPACE_NAT_IN;
    key.owner = router->index;
    key.a_port = port;
    return key;
}

/* ---- mappings ---- */

static void mapping_free(sim_router *router, sim_mapping *m) {
    sim_map_remove(&router->net->map, &m->out);
    sim_map_remove(&router->net->map, &m->in);
    *m->link = m->next;
    if (m->next != NULL) {
        m->next->link = m->link;
    }
    router->n_mappings--;
    free(m->permissions);
    free(m);
}

/* Those that have expired, now and then, so that their number is that of the live ones. */
static void sweep(sim_router *router) {
    sim_mapping *m = router->mappings;

    while (m != NULL) {
        sim_mapping *next = m->next;

        if (is_old(router, m->last)) {
            mapping_free(router, m);
        }
        m = next;
    }
    router->sweep_at = 2 * router->n_mappings + SWEEP_MIN;
}

static sim_mapping *live(sim_router *router, const sim_key *key) {
    sim_mapping *m = sim_map_get(&router->net->map, key);

    if (m != NULL && is_old(router, m->last)) {
        mapping_free(router, m);
        m = NULL;
    }
    return m;
}

static uint16_t free_port(sim_router *router, uint16_t inside) {
    uint16_t port = (uint16_t)(inside + router->port_shift);
    int tries;

    if (!router->nat.preserve) {
        port = (uint16_t)(1024 + sim_random(router->net) % 64000);
    }
    for (tries = 0; tries < 65536; tries++, port++) {
        sim_key key = in_key(router, port);

        if (port >= 1024 && live(router, &key) == NULL) {
            return port;
        }
    }
    return 0;
}

static sim_mapping *mapping_new(sim_router *router, const sim_key *out, const atl_addr *inside) {
    uint16_t port;
    sim_mapping *m;

    if (router->n_mappings >= router->sweep_at) {
        sweep(router);
    }
    port = free_port(router, inside->port);
    if (port == 0) {
        return NULL;
    }
    m = sim_must(calloc(1, sizeof(*m)));
    m->out = *out;
    m->in = in_key(router, port);
    m->inside = *inside;
    m->port = port;
    m->next = router->mappings;
    m->link = &router->mappings;
    if (m->next != NULL) {
        m->next->link = &m->next;
    }
    router->mappings = m;
    router->n_mappings++;
    sim_map_set(&router->net->map, &m->out, m);
    sim_map_set(&router->net->map, &m->in, m);
    return m;
}

/* ---- filtering ---- */

static int same_remote(const atl_addr *a, const atl_addr *b, uint8_t dependent) {
    return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0 &&
           (dependent != SIM_ADDRESS_PORT_DEPENDENT || a->port == b->port);
}

static permission *permitted(const sim_router *router, const sim_mapping *m, const atl_addr *remote,
                             uint8_t dependent) {
    size_t i;

    for (i = 0; i < m->n; i++) {
        if (same_remote(&m->permissions[i].remote, remote, dependent) &&
            !is_old(router, m->permissions[i].last)) {
            return &m->permissions[i];
        }
    }
    return NULL;
}

static void permit(const sim_router *router, sim_mapping *m, const atl_addr *remote) {
    permission *p = NULL;
    size_t i;

    for (i = 0; i < m->n && p == NULL; i++) {
        permission *at = &m->permissions[i];

        /* its own, or the place of one that has expired */
        if (atl_addr_equal(&at->remote, remote) || is_old(router, at->last)) {
            p = at;
        }
    }
    if (p == NULL) {
        if (m->n == m->cap) {
            m->cap = m->cap == 0 ? 4 : 2 * m->cap;
            m->permissions = sim_must(realloc(m->permissions, m->cap * sizeof(permission)));
        }
        p = &m->permissions[m->n++];
    }
    p->remote = *remote;
    p->last = router->net->now;
}

/* ---- packets ---- */

const char *sim_nat_out(sim_router *router, atl_addr *from, const atl_addr *to) {
    sim_key key = key_of(router, SPACE_NAT_OUT, from, to, router->nat.mapping);
    sim_mapping *m;

    if (router->nat.block_udp) {
        return "the router blocks UDP";
    }
    m = live(router, &key);
    if (m == NULL && (m = mapping_new(router, &key, from)) == NULL) {
        return "the router has no port left";
    }
    m->last = router->net->now;
    permit(router, m, to);
    *from = router->outside;
    from->port = m->port;
    return NULL;
}

const char *sim_nat_in(sim_router *router, const atl_addr *from, atl_addr *to) {
    sim_key key = in_key(router, to->port);
    sim_mapping *m;
    permission *p;

    if (router->nat.block_udp) {
        return "the router blocks UDP";
    }
    if (!router->nat.hairpin && same_remote(from, &router->outside, SIM_ADDRESS_DEPENDENT)) {
        return "the router does not hairpin";
    }
    m = live(router, &key);
    if (m == NULL) {
        return "no mapping";
    }
    p = permitted(router, m, from, router->nat.filtering);
    if (p == NULL && router->nat.filtering != SIM_ENDPOINT_INDEPENDENT) {
        return router->nat.filtering == SIM_ADDRESS_DEPENDENT
                   ? "nothing was sent to that address"
                   : "nothing was sent to that address and port";
    }
    if (router->nat.refresh_inbound) {
        m->last = router->net->now;
        if (p != NULL) {
            p->last = router->net->now;
        }
    }
    *to = m->inside;
    return NULL;
}

int sim_nat_peek(const sim_router *router, atl_addr *to) {
    sim_key key = in_key(router, to->port);
    const sim_mapping *m = sim_map_get(&router->net->map, &key);

    if (m == NULL || is_old(router, m->last)) {
        return 0;
    }
    *to = m->inside;
    return 1;
}

/* ---- the IPv6 firewall ---- */

static sim_key opening_key(const sim_router *router, const atl_addr *inside,
                           const atl_addr *remote) {
    sim_key key = key_of(router, SPACE_FIREWALL, inside, remote, router->nat.filtering);

    key.other = router->generation;
    return key;
}

const char *sim_firewall_out(sim_router *router, const atl_addr *from, const atl_addr *to) {
    sim_key key = opening_key(router, from, to);
    opening *o = sim_map_get(&router->net->map, &key);

    if (router->nat.block_udp) {
        return "the router blocks UDP";
    }
    if (router->nat.firewall6) {
        if (o == NULL) {
            o = sim_must(calloc(1, sizeof(*o)));
            sim_map_set(&router->net->map, &key, o);
        }
        o->last = router->net->now;
    }
    return NULL;
}

const char *sim_firewall_in(sim_router *router, const atl_addr *from, const atl_addr *to) {
    sim_key key = opening_key(router, to, from);
    opening *o = sim_map_get(&router->net->map, &key);

    if (router->nat.block_udp) {
        return "the router blocks UDP";
    }
    if (!router->nat.firewall6) {
        return NULL;
    }
    if (o == NULL || is_old(router, o->last)) {
        return "the firewall lets nothing in unasked";
    }
    if (router->nat.refresh_inbound) {
        o->last = router->net->now;
    }
    return NULL;
}

/* ---- routers ---- */

sim_router *sim_router_new(sim_net *net, sim_router *parent, const char *outside,
                           const sim_nat *nat) {
    sim_router *router = sim_must(calloc(1, sizeof(*router)));

    net->routers = sim_must(realloc(net->routers, (net->n_routers + 1) * sizeof(sim_router *)));
    router->net = net;
    router->index = (uint32_t)net->n_routers;
    router->parent = parent;
    router->place.router = router;
    router->outside = sim_parse_ip(outside);
    router->nat = *nat;
    router->sweep_at = SWEEP_MIN;
    net->routers[net->n_routers++] = router;
    sim_place_set(net, parent, &router->outside, &router->place);
    return router;
}

void sim_router_free(sim_router *router) {
    while (router->mappings != NULL) {
        mapping_free(router, router->mappings);
    }
    free(router);
}

sim_nat *sim_router_nat(sim_router *router) {
    return &router->nat;
}

sim_router *sim_router_parent(const sim_router *router) {
    return router->parent;
}

static void forget(sim_router *router) {
    while (router->mappings != NULL) {
        mapping_free(router, router->mappings);
    }
    router->generation++;
}

void sim_router_forget(sim_router *router, int other_ports) {
    forget(router);
    router->port_shift = (uint16_t)(router->port_shift + (other_ports ? 1000 : 0));
    sim_log(router->net, SIM_FAULT, NULL, &router->outside, NULL, 0,
            other_ports ? "router forgets its mappings and ports" : "router forgets its mappings");
}

void sim_router_set_outside(sim_router *router, const char *ip) {
    atl_addr before = router->outside;

    sim_place_remove(router->net, router->parent, &router->outside, &router->place);
    router->outside = sim_parse_ip(ip);
    sim_place_set(router->net, router->parent, &router->outside, &router->place);
    forget(router);
    sim_log(router->net, SIM_FAULT, NULL, &before, &router->outside, 0,
            "router has another outside address");
}

void sim_router_outside(const sim_router *router, atl_addr *out) {
    *out = router->outside;
}

size_t sim_router_mappings(const sim_router *router) {
    const sim_mapping *m;
    size_t n = 0;

    for (m = router->mappings; m != NULL; m = m->next) {
        n += !is_old(router, m->last);
    }
    return n;
}

/* ---- kinds ---- */

const char *sim_nat_name(int kind) {
    static const char *const NAMES[SIM_NAT_KINDS] = {
        "none",  "full-cone", "address-restricted", "port-restricted", "symmetric",
        "cgnat", "blocked"};

    return NAMES[kind];
}

sim_nat sim_nat_of(int kind) {
    sim_nat nat;

    memset(&nat, 0, sizeof(nat));
    nat.preserve = kind != SIM_NAT_SYMMETRIC;
    nat.mapping = kind == SIM_NAT_SYMMETRIC ? SIM_ADDRESS_PORT_DEPENDENT : SIM_ENDPOINT_INDEPENDENT;
    nat.filtering = kind == SIM_NAT_FULL_CONE            ? SIM_ENDPOINT_INDEPENDENT
                    : kind == SIM_NAT_ADDRESS_RESTRICTED ? SIM_ADDRESS_DEPENDENT
                                                         : SIM_ADDRESS_PORT_DEPENDENT;
    nat.refresh_inbound = 1; /* as Linux does */
    nat.firewall6 = 1;
    nat.block_udp = kind == SIM_NAT_BLOCKED;
    return nat;
}

sim_host *sim_host_natted(sim_net *net, int kind, const char *outside, int number,
                          sim_router **router) {
    sim_router *outer = NULL;
    sim_router *inner;
    sim_nat nat = sim_nat_of(kind);
    char ip[32];

    if (kind == SIM_NAT_NONE) {
        if (router != NULL) {
            *router = NULL;
        }
        return sim_host_new(net, outside);
    }
    outer = inner = sim_router_new(net, NULL, outside, &nat);
    if (kind == SIM_NAT_CGNAT) {
        snprintf(ip, sizeof(ip), "100.64.%d.2", number);
        inner = sim_router_new(net, outer, ip, &nat);
    }
    if (router != NULL) {
        *router = outer;
    }
    snprintf(ip, sizeof(ip), "192.168.%d.2", number);
    return sim_host_behind(inner, ip);
}
