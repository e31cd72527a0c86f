/* The way of a datagram: up through the sender's routers, over lines, down through the receiver's
 * routers to a socket. */
#include "net_internal.h"

#include <stdlib.h>
#include <string.h>

#define LOOPBACK_DELAY (50 * UINT64_C(1000))

/* ---- who has which address ---- */

static sim_key place_key(const sim_router *realm, const atl_addr *addr) {
    sim_key key;

    memset(&key, 0, sizeof(key));
    key.space = SPACE_PLACE;
    key.owner = realm == NULL ? 0 : realm->index + 1;
    key.other = addr->family;
    memcpy(key.a, addr->ip, sizeof(key.a));
    return key;
}

sim_place *sim_place_of(const sim_net *net, const sim_router *realm, const atl_addr *addr) {
    sim_key key = place_key(realm, addr);

    /* every host on the Internet is a network of its own */
    return realm == NULL && atl_addr_is_link_local(addr) ? NULL : sim_map_get(&net->map, &key);
}

void sim_place_set(sim_net *net, const sim_router *realm, const atl_addr *addr, sim_place *place) {
    sim_key key = place_key(realm, addr);

    sim_map_set(&net->map, &key, place);
}

void sim_place_remove(sim_net *net, const sim_router *realm, const atl_addr *addr,
                      const sim_place *place) {
    sim_key key = place_key(realm, addr);

    if (sim_map_get(&net->map, &key) == place) {
        sim_map_remove(&net->map, &key);
    }
}

static int translated(const atl_addr *to) {
    return to->family == 4;
}

/* IPv6 beyond the link has one realm. */
static const sim_router *realm_for(const sim_router *router, const atl_addr *to) {
    return translated(to) || atl_addr_is_link_local(to) ? router : NULL;
}

/* ---- away from the sender ---- */

/* Routers on the way out, until somebody has the address. */
static const char *go_up(sim_net *net, sim_router **realm, atl_addr *from, const atl_addr *to,
                         sim_place **place) {
    const char *why = NULL;
    sim_router *router = *realm;

    *place = sim_place_of(net, realm_for(router, to), to);
    if (!translated(to)) {
        int inside = *place != NULL && (*place)->host != NULL &&
                     sim_host_nic((*place)->host, to)->router == router;

        for (; why == NULL && !inside && router != NULL; router = router->parent) {
            why = sim_firewall_out(router, from, to);
        }
        return why;
    }
    while (*place == NULL && *realm != NULL && why == NULL) {
        why = sim_nat_out(*realm, from, to);
        *realm = (*realm)->parent;
        *place = sim_place_of(net, *realm, to);
    }
    return why;
}

/* For whom it seems to be. */
static sim_host *target_of(const sim_net *net, const sim_place *place, const atl_addr *to) {
    atl_addr addr = *to;
    int depth;

    for (depth = 0; place != NULL && place->host == NULL && depth < MAX_DEPTH; depth++) {
        place = sim_nat_peek(place->router, &addr) ? sim_place_of(net, place->router, &addr) : NULL;
    }
    return place == NULL ? NULL : place->host;
}

static void launch(sim_net *net, const sim_packet *like, const uint8_t *data, uint64_t at) {
    sim_packet *p = sim_must(malloc(sizeof(*p) + like->len));

    *p = *like;
    p->at = at;
    memcpy(p->data, data, like->len);
    sim_queue_push(&net->queue, p);
}

static int severed(const sim_host *a, const sim_host *b, const sim_flow *flow) {
    return (flow != NULL && flow->cut) || (a != NULL && a->unplugged) ||
           (b != NULL && b->unplugged) || (a != NULL && b != NULL && a->side != b->side);
}

/* The sender's own line, then the one between the hosts. */
/* How far apart two hosts are on the ring, if there is one. */
static uint64_t distance(const sim_net *net, const sim_packet *p) {
    double d;

    if (net->circle == 0 || p->source == NULL || p->target == NULL) {
        return 0;
    }
    d = p->source->at_place - p->target->at_place;
    d = d < 0 ? -d : d;
    d = d > 0.5 ? 1 - d : d;
    return (uint64_t)(2 * d * (double)net->circle);
}

static const char *pass_lines(sim_net *net, const sim_packet *p, sim_flow *flow, uint64_t *at,
                              uint64_t *twice) {
    const sim_line *line = p->realm != NULL && translated(&p->to) ? &net->local : &net->line;
    const char *why = NULL;

    *at += distance(net, p);
    if (flow != NULL && flow->own != NULL) {
        line = flow->own;
    }
    if (p->source != NULL && p->source->access != NULL) {
        why = sim_line_pass(net, &p->source->access->up, &p->source->access->up_wire, p->len, at,
                            twice);
    }
    return why != NULL
               ? why
               : sim_line_pass(net, line, flow == NULL ? NULL : &flow->wire, p->len, at, twice);
}

static const char *send_on(sim_net *net, sim_packet *p, sim_place *place, const uint8_t *data) {
    sim_flow *flow;
    uint64_t at = net->now;
    uint64_t twice = 0;
    const char *why;

    if (net->tap != NULL && net->tap(net->tap_user, &p->from, &p->to, data, p->len)) {
        net->stats.lost++;
        return "taken away by the tap";
    }
    p->target = target_of(net, place, &p->to);
    flow = p->source == NULL || p->target == NULL ? NULL : sim_flow_of(net, p->source, p->target);
    if (flow != NULL) {
        flow->stats.packets++;
        flow->stats.bytes += p->len;
    }
    if (place == NULL || severed(p->source, p->target, flow)) {
        net->stats.unroutable++;
        why = place == NULL ? "nobody has that address" : "cut";
    } else {
        why = pass_lines(net, p, flow, &at, &twice);
    }
    if (why != NULL) {
        if (flow != NULL) {
            flow->stats.lost++;
        }
        return why;
    }
    launch(net, p, data, at);
    if (twice != 0) {
        net->stats.duplicated++;
        launch(net, p, data, twice);
    }
    return NULL;
}

void sim_transmit(sim_net *net, sim_host *host, sim_router *router, const atl_addr *from,
                  const atl_addr *to, const uint8_t *data, size_t len, uint8_t ecn) {
    sim_packet like;
    sim_place *place = NULL;
    const char *why;

    memset(&like, 0, sizeof(like));
    like.source = host;
    like.realm = router;
    like.from = *from;
    like.to = *to;
    like.len = len;
    like.ecn = ecn;
    net->stats.sent++;
    net->stats.bytes += len;
    if (host != NULL && atl_addr_is_loopback(to)) {
        like.target = host;
        launch(net, &like, data, net->now + LOOPBACK_DELAY);
        return;
    }
    why = go_up(net, &like.realm, &like.from, to, &place);
    sim_log(net, SIM_SENT, host, &like.from, to, len, NULL);
    if (why != NULL) {
        net->stats.filtered++;
        sim_log(net, SIM_FILTERED, host, &like.from, to, len, why);
        return;
    }
    if ((why = send_on(net, &like, place, data)) != NULL) {
        sim_log(net, SIM_LOST, host, &like.from, to, len, why);
    }
}

/* ---- towards the receiver ---- */

static int is_above(const sim_router *router, const sim_router *below) {
    while (below != NULL && below != router) {
        below = below->parent;
    }
    return below != NULL;
}

/* Routers on the way in; the host in the end, or NULL and why. */
static sim_host *go_down(sim_net *net, sim_packet *p, const char **why) {
    sim_place *place = sim_place_of(net, realm_for(p->realm, &p->to), &p->to);
    sim_router *router;
    int depth;

    *why = NULL;
    for (depth = 0; place != NULL && place->host == NULL && depth < MAX_DEPTH; depth++) {
        if ((*why = sim_nat_in(place->router, &p->from, &p->to)) != NULL) {
            return NULL;
        }
        p->realm = place->router;
        place = sim_place_of(net, p->realm, &p->to);
    }
    if (place == NULL || place->host == NULL) {
        return NULL;
    }
    router = translated(&p->to) ? NULL : sim_host_nic(place->host, &p->to)->router;
    for (; router != NULL && !is_above(router, p->realm); router = router->parent) {
        if ((*why = sim_firewall_in(router, &p->from, &p->to)) != NULL) {
            return NULL;
        }
    }
    return place->host;
}

static atl_udp *socket_for(sim_host *host, const atl_addr *to) {
    size_t i;

    for (i = 0; i < MAX_SOCKETS; i++) {
        atl_udp *udp = &host->sockets[i];

        if (udp->open && udp->local.port == to->port && udp->local.family == to->family &&
            (atl_addr_is_unspecified(&udp->local) ||
             memcmp(udp->local.ip, to->ip, sizeof(to->ip)) == 0)) {
            return udp;
        }
    }
    return NULL;
}

/* Into a socket; why not. */
static const char *deliver(sim_net *net, sim_host *host, sim_packet *p) {
    atl_udp *udp;

    if (host->down || host->unplugged || host->frozen == SIM_ASLEEP) {
        net->stats.unroutable++;
        return "host is down, asleep or unplugged";
    }
    if (host->n_nics > 0 && memcmp(p->to.ip, host->outside.ip, sizeof(p->to.ip)) == 0) {
        uint16_t port = (uint16_t)(p->to.port - host->port_shift);

        p->to = host->nics[0].ip;
        p->to.port = port;
    }
    udp = socket_for(host, &p->to);
    if (udp == NULL) {
        net->stats.unroutable++;
        return "no such socket";
    }
    if (udp->queued >= RX_QUEUE || udp->queued_bytes + p->len > RX_BYTES) {
        net->stats.dropped++;
        return "socket full";
    }
    if (udp->last == NULL) {
        udp->first = p;
    } else {
        udp->last->next = p;
    }
    udp->last = p;
    udp->queued++;
    udp->queued_bytes += p->len;
    host->due = 1;
    net->stats.delivered++;
    sim_log(net, SIM_DELIVERED, host, &p->from, &p->to, p->len, NULL);
    sim_wake(host);
    return NULL;
}

/* The receiver's own line, behind its routers. 1: under way on it. */
static int line_down(sim_net *net, sim_host *host, sim_packet *p, const char **why) {
    uint64_t twice = 0;

    *why = NULL;
    if (host->access == NULL || p->down || atl_addr_is_loopback(&p->to)) {
        return 0;
    }
    p->at = net->now;
    *why =
        sim_line_pass(net, &host->access->down, &host->access->down_wire, p->len, &p->at, &twice);
    if (*why != NULL) {
        return 0;
    }
    p->down = 1;
    sim_queue_push(&net->queue, p);
    return 1;
}

void sim_arrive(sim_net *net, sim_packet *p) {
    sim_host *source = p->source;
    const char *why = NULL;
    sim_host *host = atl_addr_is_loopback(&p->to) ? p->target : NULL;
    uint32_t what = SIM_LOST;

    p->next = NULL;
    if (host == NULL) {
        /* on its own line a packet is behind the routers already */
        host = p->down ? p->target : go_down(net, p, &why);
        if (host == NULL) {
            what = why == NULL ? SIM_LOST : SIM_FILTERED;
            net->stats.filtered += why != NULL;
            net->stats.unroutable += why == NULL;
            why = why == NULL ? "nobody has that address any more" : why;
        }
    }
    if (host != NULL) {
        p->target = host;
        if (line_down(net, host, p, &why)) {
            return;
        }
        why = why == NULL ? deliver(net, host, p) : why;
    }
    if (why != NULL) {
        sim_log(net, what, source, &p->from, &p->to, p->len, why);
        free(p);
    }
}
