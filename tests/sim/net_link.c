/* Links of the simulated network: what they do to one packet, and which pair has which. */
#include "net_internal.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_DEFAULT 65536
#define ALWAYS 10000

static const char *lost(sim_net *net, const char *why) {
    net->stats.lost++;
    return why;
}

/* Losses in bursts, and others. */
static const char *maybe_lost(sim_net *net, const sim_line *line, sim_wire *wire) {
    const sim_shape *shape = &line->shape;

    if (wire != NULL && shape->burst_enter > 0) {
        wire->bad ^= (uint8_t)sim_chance(net, wire->bad ? shape->burst_leave : shape->burst_enter);
        if (wire->bad && sim_chance(net, shape->burst_loss == 0 ? ALWAYS : shape->burst_loss)) {
            return lost(net, "burst of loss");
        }
    }
    return sim_chance(net, line->link.loss) ? lost(net, "loss") : NULL;
}

/* Waits for those before it; the queue is bounded. */
static const char *wait_turn(sim_net *net, const sim_shape *shape, sim_wire *wire, size_t len,
                             uint64_t *at) {
    uint64_t queue = shape->queue == 0 ? QUEUE_DEFAULT : shape->queue;
    uint64_t start = wire->busy_until > *at ? wire->busy_until : *at;

    if (len > queue || start - *at > (queue - len) * ATL_SECOND / shape->rate) {
        net->stats.dropped++;
        return "queue full";
    }
    wire->busy_until = start + len * ATL_SECOND / shape->rate;
    *at = wire->busy_until;
    return NULL;
}

const char *sim_line_pass(sim_net *net, const sim_line *line, sim_wire *wire, size_t len,
                          uint64_t *at, uint64_t *twice) {
    const sim_link *link = &line->link;
    const char *why;

    if (*at >= line->shape.dark_from && *at < line->shape.dark_until) {
        return lost(net, "blackout");
    }
    if (link->mtu != 0 && len > link->mtu) {
        net->stats.oversized++;
        return "longer than the MTU";
    }
    if ((why = maybe_lost(net, line, wire)) != NULL) {
        return why;
    }
    if (wire != NULL && line->shape.rate > 0 &&
        (why = wait_turn(net, &line->shape, wire, len, at)) != NULL) {
        return why;
    }
    *at += link->delay + (link->jitter > 0 ? sim_random(net) % link->jitter : 0);
    if (sim_chance(net, link->reorder)) {
        *at += link->delay > 0 ? sim_random(net) % (3 * link->delay) : 0;
    } else if (wire != NULL) {
        *at = *at < wire->last_at ? wire->last_at : *at;
        wire->last_at = *at;
    }
    if (sim_chance(net, link->duplicate)) {
        *twice = *at + link->delay / 2;
    }
    return NULL;
}

/* ---- which pair has which ---- */

static sim_key flow_key(const sim_host *a, const sim_host *b) {
    sim_key key;

    memset(&key, 0, sizeof(key));
    key.space = SPACE_FLOW;
    key.owner = (uint32_t)a->index;
    key.other = (uint32_t)b->index;
    return key;
}

sim_flow *sim_flow_of(sim_net *net, const sim_host *a, const sim_host *b) {
    sim_key key = flow_key(a, b);
    sim_flow *flow = sim_map_get(&net->map, &key);

    if (flow == NULL) {
        flow = sim_must(calloc(1, sizeof(*flow)));
        sim_map_set(&net->map, &key, flow);
    }
    return flow;
}

void sim_flow_free(sim_flow *flow) {
    free(flow->own);
    free(flow);
}

void sim_flow_get(sim_net *net, const sim_host *a, const sim_host *b, sim_flow_stats *out) {
    *out = sim_flow_of(net, a, b)->stats;
}

void sim_set_link(sim_net *net, const sim_link *link) {
    net->line.link = *link;
}

void sim_set_shape(sim_net *net, const sim_shape *shape) {
    net->line.shape = *shape;
}

void sim_set_local_link(sim_net *net, const sim_link *link) {
    net->local.link = *link;
}

static sim_line *own_line(sim_net *net, const sim_host *a, const sim_host *b) {
    sim_flow *flow = sim_flow_of(net, a, b);

    if (flow->own == NULL) {
        flow->own = sim_must(malloc(sizeof(*flow->own)));
        *flow->own = net->line;
    }
    return flow->own;
}

void sim_set_pair(sim_net *net, sim_host *a, sim_host *b, const sim_link *link) {
    own_line(net, a, b)->link = *link;
    own_line(net, b, a)->link = *link;
}

void sim_set_pair_shape(sim_net *net, sim_host *a, sim_host *b, const sim_shape *shape) {
    own_line(net, a, b)->shape = *shape;
    own_line(net, b, a)->shape = *shape;
}

void sim_set_access(sim_host *host, const sim_link *link, const sim_shape *up,
                    const sim_shape *down) {
    static const sim_shape PLAIN;

    free(host->access);
    host->access = NULL;
    if (link != NULL) {
        host->access = sim_must(calloc(1, sizeof(*host->access)));
        host->access->up.link = *link;
        host->access->down.link = *link;
        host->access->up.shape = up == NULL ? PLAIN : *up;
        host->access->down.shape = down == NULL ? PLAIN : *down;
    }
}

void sim_cut(sim_net *net, sim_host *a, sim_host *b, int cut) {
    sim_flow_of(net, a, b)->cut = (uint8_t)cut;
    sim_flow_of(net, b, a)->cut = (uint8_t)cut;
    sim_log(net, SIM_FAULT, a, &a->nics[0].ip, &b->nics[0].ip, 0, cut ? "cut" : "mended");
}

void sim_set_ring(sim_net *net, uint64_t most) {
    net->circle = most;
}

void sim_host_set_place(sim_host *host, double place) {
    host->at_place = place;
}
