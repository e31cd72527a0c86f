#include "crowd.h"

#include "api/context.h"
#include "quic/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define SETTLED (12 * SECOND) /* a node that is dialled has been there for so long */
#define DIAL_TIMEOUT_MS 10000
#define STAY (2 * SECOND) /* of a connection that was dialled */

/* A node of the crowd. */
typedef struct member {
    sim_node node;
    struct crowd *crowd;
    uint64_t up_at; /* when it was started last */
    uint64_t dialled_at;
    uint64_t busy_until; /* it is part of a dial that is measured: left alone */
    uint8_t dialling;
    int nat;
} member;

typedef struct relay {
    sim_node node;
    uint8_t lies; /* 0, or how */
} relay;

typedef struct crowd {
    const crowd_plan *plan;
    crowd_result *out;
    sim_net *net;
    sim_node *boots;
    relay *relays;
    member *members;
    double *times;
    size_t n_times;
    uint64_t draws;
    uint64_t measure_from;
    double churn_due;
} crowd;

static uint64_t draw(crowd *c, uint64_t n) {
    uint64_t z = (c->draws += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

/* ---- servers ---- */

static void access_line(crowd *c, sim_host *host) {
    sim_link line = {.delay = ATL_MS + draw(c, 20) * ATL_MS, .mtu = 1472};

    sim_set_access(host, &line, NULL, NULL);
}

static void start_boots(crowd *c) {
    size_t i;

    for (i = 0; i < c->plan->boots; i++) {
        char other[32];
        char ip[32];
        sim_host *host;

        snprintf(ip, sizeof(ip), "60.%zu.0.1", i + 1);
        snprintf(other, sizeof(other), "60.%zu.0.2", i + 1);
        host = sim_host_new(c->net, ip);
        sim_host_add_addr(host, NULL, other);
        sim_node_on_host(&c->boots[i], host, (uint32_t)(1 + i), 4001);
        (void)atlas_set_u64(c->boots[i].ctx, ATLAS_OPT_HANDSHAKE_LIMIT, 100000);
        (void)atlas_bootstrap_start(c->boots[i].ctx, NULL);
        (void)atlas_advertise(c->boots[i].ctx, 1);
        (void)atlas_stun_server_alternate(c->boots[i].ctx, other);
    }
}

/* Takes every packet, and forwards none. */
static size_t swallow(void *user, void *ptr, const atl_rx *rx) {
    (void)user;
    (void)ptr;
    return rx->len;
}

static int32_t refuse_connect(void *user, uint32_t what, const char *peer, const char *target,
                              const char *addr) {
    (void)user;
    (void)peer;
    (void)target;
    (void)addr;
    return what == ATLAS_RELAY_ASK_CONNECT ? ATLAS_ERR_RELAY_NOT_REGISTERED : ATLAS_OK;
}

static void start_relay(crowd *c, size_t i) {
    relay *r = &c->relays[i];
    char ip[32];
    size_t b;

    snprintf(ip, sizeof(ip), "45.%zu.%zu.1", i / 250 + 1, i % 250);
    sim_node_on_host(&r->node, sim_host_new(c->net, ip), (uint32_t)(1000 + i), 4001);
    access_line(c, r->node.host);
    (void)atlas_relay_start(r->node.ctx);
    (void)atlas_set_u64(r->node.ctx, ATLAS_OPT_RELAY_BANDWIDTH, 0);
    (void)atlas_set_u64(r->node.ctx, ATLAS_OPT_HANDSHAKE_LIMIT, 100000);
    for (b = 0; b < c->plan->boots; b++) {
        (void)atlas_bootstrap_add(r->node.ctx, c->boots[b].addr);
    }
    (void)atlas_advertise(r->node.ctx, 1);
    r->lies = i * 100 < c->plan->relays * c->plan->lying ? (uint8_t)(1 + i % 2) : 0;
    if (r->lies == 1) {
        r->node.ctx->ep->hooks.on_forward = swallow;
    } else if (r->lies == 2) {
        (void)atlas_relay_set_policy(r->node.ctx, refuse_connect, NULL);
    }
}

/* ---- members ---- */

static int draw_nat(crowd *c) {
    static const struct {
        uint32_t share;
        int nat;
    } SHARES[] = {{15, SIM_NAT_NONE},
                  {10, SIM_NAT_FULL_CONE},
                  {5, SIM_NAT_ADDRESS_RESTRICTED},
                  {45, SIM_NAT_PORT_RESTRICTED},
                  {15, SIM_NAT_SYMMETRIC},
                  {10, SIM_NAT_CGNAT}};
    uint64_t at = draw(c, 100);
    size_t i;

    for (i = 0; at >= SHARES[i].share; i++) {
        at -= SHARES[i].share;
    }
    return SHARES[i].nat;
}

static void join(member *m) {
    crowd *c = m->crowd;

    (void)atlas_bootstrap_add(m->node.ctx, c->boots[draw(c, c->plan->boots)].addr);
    (void)atlas_bootstrap_add(m->node.ctx, c->boots[draw(c, c->plan->boots)].addr);
    m->node.found.wanted = 3;
    (void)atlas_listen(m->node.ctx);
    (void)atlas_advertise(m->node.ctx, 1);
    m->up_at = sim_now(c->net);
    m->dialling = 0;
}

static void first_start(void *user) {
    member *m = user;
    crowd *c = m->crowd;
    size_t i = (size_t)(m - c->members);
    char ip[32];

    snprintf(ip, sizeof(ip), "20.%zu.%zu.9", i / 250 + 1, i % 250);
    m->nat = draw_nat(c);
    sim_node_on_host(&m->node, sim_host_natted(c->net, m->nat, ip, (int)(i % 250 + 1), NULL),
                     (uint32_t)(100000 + i), 0);
    access_line(c, m->node.host);
    join(m);
}

static void restart(void *user) {
    member *m = user;

    memset(&m->node.found, 0, sizeof(m->node.found));
    sim_node_start(&m->node, 0);
    join(m);
}

/* ---- what happens every second ---- */

static int is_up(const member *m) {
    return m->up_at != 0 && m->node.ctx != NULL && !sim_host_is_down(m->node.host);
}

static void churn(crowd *c) {
    uint64_t now = sim_now(c->net);

    c->churn_due += (double)c->plan->nodes * c->plan->churn / 100 / 60;
    for (; c->churn_due >= 1; c->churn_due -= 1) {
        member *m = &c->members[draw(c, c->plan->nodes)];

        if (!is_up(m) || m->dialling || now < m->busy_until) {
            continue;
        }
        if (draw(c, 2) == 0) {
            /* without a word */
            sim_node_kill(&m->node);
        } else {
            sim_node_done(&m->node);
            sim_host_set_down(m->node.host, 1);
        }
        m->up_at = 0;
        sim_at(c->net, now + SECOND + draw(c, 10000) * ATL_MS, restart, m);
    }
}

static void finish_dial(crowd *c, member *m) {
    double took = (double)(sim_now(c->net) - m->dialled_at) / 1e9;

    m->dialling = 0;
    if (m->node.connected > 0) {
        c->out->connected++;
        c->out->direct += m->node.path == ATLAS_PATH_DIRECT;
        c->out->relayed += m->node.path == ATLAS_PATH_RELAY;
        c->times[c->n_times++] = took;
    } else {
        snprintf(c->out->failure, sizeof(c->out->failure), "%s after %.2f s: %.1900s",
                 sim_nat_name(m->nat), took, m->node.close_text);
    }
}

static member *settled(crowd *c) {
    uint64_t now = sim_now(c->net);
    size_t tries;

    for (tries = 0; tries < 200; tries++) {
        member *m = &c->members[draw(c, c->plan->nodes)];

        if (is_up(m) && now > m->up_at + SETTLED && !m->dialling && now >= m->busy_until) {
            return m;
        }
    }
    return NULL;
}

static void begin_dials(crowd *c) {
    uint64_t now = sim_now(c->net);
    size_t i;

    for (i = 0; i < c->plan->dials; i++) {
        member *from = settled(c);
        member *to = settled(c);

        if (from == NULL || to == NULL || from == to) {
            continue;
        }
        from->node.connected = 0;
        from->node.closed = 0;
        from->node.close_text[0] = '\0';
        if (sim_node_dial(&from->node, strrchr(to->node.addr, '/') + 1, DIAL_TIMEOUT_MS) !=
            ATLAS_OK) {
            continue;
        }
        sim_host_touch(from->node.host);
        c->out->dials++;
        from->dialling = 1;
        from->dialled_at = now;
        from->busy_until = now + DIAL_TIMEOUT_MS * ATL_MS + SECOND;
        to->busy_until = from->busy_until;
    }
}

static void look(void *user) {
    crowd *c = user;
    uint64_t now = sim_now(c->net);
    size_t i;

    for (i = 0; i < c->plan->nodes; i++) {
        member *m = &c->members[i];

        if (m->dialling && (m->node.connected > 0 || m->node.closed > 0)) {
            finish_dial(c, m);
        }
        if (is_up(m) && !m->dialling && m->node.conn != NULL && m->dialled_at != 0 &&
            now > m->dialled_at + STAY) {
            (void)atlas_conn_close(m->node.conn, 0, NULL);
            sim_host_touch(m->node.host);
            m->dialled_at = 0;
        }
    }
    sim_at(c->net, now + 10 * ATL_MS, look, c);
}

static void every_second(void *user) {
    crowd *c = user;
    uint64_t now = sim_now(c->net);

    churn(c);
    if (now >= c->measure_from &&
        now + DIAL_TIMEOUT_MS * ATL_MS < c->measure_from + c->plan->seconds * SECOND) {
        begin_dials(c);
    }
    sim_at(c->net, now + SECOND, every_second, c);
}

/* ---- what came of it ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure_load(crowd *c) {
    uint64_t most = 0;
    uint64_t least = UINT64_MAX;
    uint64_t honest = 0;
    uint64_t lying = 0;
    size_t n = 0;
    size_t i;

    for (i = 0; i < c->plan->relays; i++) {
        atlas_relay_stats s = {.size = sizeof(s)};

        (void)atlas_relay_get_stats(c->relays[i].node.ctx, &s);
        if (c->relays[i].lies) {
            lying += s.nodes;
            continue;
        }
        honest += s.nodes;
        most = s.nodes > most ? s.nodes : most;
        least = s.nodes < least ? s.nodes : least;
        n++;
    }
    c->out->load_most = honest == 0 ? 0 : (double)most * (double)n / (double)honest;
    c->out->load_least = honest == 0 ? 0 : (double)least * (double)n / (double)honest;
    c->out->liars = honest + lying == 0 ? 0 : 100.0 * (double)lying / (double)(honest + lying);
}

static void measure_members(crowd *c) {
    size_t serving = 0;
    size_t private = 0;
    size_t i;

    for (i = 0; i < c->plan->nodes; i++) {
        const member *m = &c->members[i];

        if (!is_up(m)) {
            continue;
        }
        c->out->live++;
        c->out->published += m->node.found.advertise == ATLAS_ADVERTISE_PUBLISHED;
        c->out->memory += m->node.live_bytes;
        if (m->node.found.verdict[0] == ATLAS_REACH_PRIVATE &&
            sim_now(c->net) > m->up_at + SETTLED) {
            private++;
            serving += m->node.found.serving;
        }
    }
    c->out->serving = private == 0 ? 0 : (double)serving / (double)private;
}

static void measure(crowd *c) {
    qsort(c->times, c->n_times, sizeof(*c->times), by_size);
    if (c->n_times > 0) {
        c->out->p50 = c->times[c->n_times / 2];
        c->out->p99 = c->times[c->n_times * 99 / 100];
        c->out->most = c->times[c->n_times - 1];
    }
    measure_load(c);
    measure_members(c);
}

static void *allocate(size_t n, size_t size) {
    void *ptr = calloc(n, size);

    if (ptr == NULL) {
        fprintf(stderr, "crowd: out of memory\n");
        abort();
    }
    return ptr;
}

static void end(crowd *c) {
    size_t i;

    for (i = 0; i < c->plan->nodes; i++) {
        if (c->members[i].node.host != NULL) {
            sim_node_done(&c->members[i].node);
        }
    }
    for (i = 0; i < c->plan->relays; i++) {
        sim_node_done(&c->relays[i].node);
    }
    for (i = 0; i < c->plan->boots; i++) {
        sim_node_done(&c->boots[i]);
    }
    sim_free(c->net);
    free(c->times);
    free(c->members);
    free(c->relays);
    free(c->boots);
}

void crowd_run(const crowd_plan *plan, crowd_result *out) {
    sim_link link = {.delay = 5 * ATL_MS, .mtu = 1472};
    crowd c = {.plan = plan, .out = out, .draws = plan->seed};
    uint64_t s;
    size_t i;

    memset(out, 0, sizeof(*out));
    c.net = sim_new(plan->seed);
    sim_set_link(c.net, &link);
    c.boots = allocate(plan->boots, sizeof(*c.boots));
    c.relays = allocate(plan->relays, sizeof(*c.relays));
    c.members = allocate(plan->nodes, sizeof(*c.members));
    c.times = allocate(plan->dials * plan->seconds + 1, sizeof(*c.times));
    start_boots(&c);
    for (i = 0; i < plan->relays; i++) {
        start_relay(&c, i);
    }
    (void)sim_run(c.net, sim_now(c.net) + 10 * SECOND, NULL, NULL);
    for (i = 0; i < plan->nodes; i++) {
        c.members[i].crowd = &c;
        sim_at(c.net, sim_now(c.net) + i * plan->warm_up * SECOND / plan->nodes, first_start,
               &c.members[i]);
    }
    c.measure_from = sim_now(c.net) + (plan->warm_up + 15) * SECOND;
    sim_at(c.net, sim_now(c.net) + SECOND, look, &c);
    sim_at(c.net, sim_now(c.net) + plan->warm_up * SECOND, every_second, &c);
    for (s = 0; s < plan->warm_up + 15 + plan->seconds; s++) {
        (void)sim_run(c.net, sim_now(c.net) + SECOND, NULL, NULL);
        if (plan->verbose && s % 10 == 0) {
            fprintf(stderr, "%llu s, %zu dials, %zu connected\n", (unsigned long long)s, out->dials,
                    out->connected);
        }
    }
    measure(&c);
    end(&c);
}
