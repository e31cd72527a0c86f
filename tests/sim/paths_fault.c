#include "paths_fault.h"

#include <stdio.h>
#include <string.h>

#define BEFORE_LEAST (500 * ATL_MS) /* of the transfer, before the fault */
#define BEFORE_MOST (1500 * ATL_MS)
#define AFTER (3 * ATL_SECOND)
#define CALM (10 * ATL_SECOND)
#define LIMIT (60 * ATL_SECOND)
#define SETTLED (4 * ATL_SECOND) /* attempts to become direct have ended by then */
/* Every other application has no more to send than this, the rest as much as is taken. */
#define MODEST 400000u

/* ---- what happens ---- */

static int cut_direct(paths_world *w, paths_app *side) {
    (void)side;
    sim_cut(w->net, w->a.node.host, w->b.node.host, 1);
    return 1;
}

static int kill_relay(paths_world *w, paths_app *side) {
    int i = paths_active_relay(w, side);

    if (i >= 0) {
        sim_node_kill(&w->relay[i]);
        w->relay_gone[i] = 1;
    }
    return i >= 0;
}

static int freeze_relay(paths_world *w, paths_app *side) {
    int i = paths_active_relay(w, side);

    if (i >= 0) {
        sim_host_freeze(w->relay[i].host, SIM_FROZEN);
    }
    return i >= 0;
}

static int rebind(paths_world *w, paths_app *side) {
    sim_router *router = side == &w->a ? w->nat_a : w->nat_b;

    if (router != NULL) {
        sim_router_forget(router, 1);
    } else {
        sim_host_rebind(side->node.host, NULL);
    }
    return 1;
}

static int new_outside(paths_world *w, paths_app *side) {
    sim_router *router = side == &w->a ? w->nat_a : w->nat_b;

    if (router != NULL) {
        sim_router_set_outside(router, side == &w->a ? "192.0.2.31" : "192.0.2.32");
    } else {
        sim_host_rebind(side->node.host, side == &w->a ? "192.0.2.31" : "192.0.2.32");
    }
    return 1;
}

static int roam(paths_world *w, paths_app *side) {
    paths_world_move(w, side, side == &w->a ? w->plan->nat_a : w->plan->nat_b);
    return 1;
}

static int nothing(paths_world *w, paths_app *side) {
    (void)side;
    return paths_run(w, CALM, paths_ended) == 0;
}

/* ---- the table ---- */

#define OPEN SIM_NAT_NONE
#define PORT SIM_NAT_PORT_RESTRICTED
#define SYMM SIM_NAT_SYMMETRIC
#define DIRECT ATLAS_PATH_DIRECT
#define RELAY ATLAS_PATH_RELAY

/* one row for each side that sends */
#define ROW(family, what, nats, n, path, sender, side, apply)                                \
    {                                                                                        \
        family, what, {.nat_a = (nats), .nat_b = (nats), .relays = (n)}, path, sender, side, \
            apply, 0                                                                         \
    }
#define BOTH(family, what, nats, n, path, side, apply)                       \
    ROW(family, what ", client sends", nats, n, path, PATHS_A, side, apply), \
        ROW(family, what ", server sends", nats, n, path, PATHS_B, side, apply)
/* nothing happens, and nothing may be done about it */
#define CALM_PLAN(lost) \
    { .nat_a = PORT, .nat_b = PORT, .relays = 1, .loss = (lost) }
#define CALM_ROW(what, lost, sender) \
    { "calm", what, CALM_PLAN(lost), DIRECT, sender, PATHS_A, nothing, 1 }

static const paths_fault FAULTS[] = {
    CALM_ROW("no loss, client sends", 0, PATHS_A),
    CALM_ROW("no loss, server sends", 0, PATHS_B),
    CALM_ROW("3 % loss, client sends", 300, PATHS_A),
    CALM_ROW("3 % loss, server sends", 300, PATHS_B),
    BOTH("direct dies", "cut, port-restricted both", PORT, 1, DIRECT, PATHS_A, cut_direct),
    BOTH("relay dies", "killed", SYMM, 2, RELAY, PATHS_A, kill_relay),
    BOTH("relay dies", "frozen", SYMM, 2, RELAY, PATHS_A, freeze_relay),
    BOTH("rebinding", "client's NAT forgets", PORT, 1, DIRECT, PATHS_A, rebind),
    BOTH("rebinding", "server's NAT forgets", PORT, 1, DIRECT, PATHS_B, rebind),
    BOTH("rebinding", "client's NAT has another address", PORT, 1, DIRECT, PATHS_A, new_outside),
    BOTH("rebinding", "server's NAT has another address", PORT, 1, DIRECT, PATHS_B, new_outside),
    BOTH("rebinding", "public, client has another port", OPEN, 1, DIRECT, PATHS_A, rebind),
    BOTH("rebinding", "public, server has another port", OPEN, 1, DIRECT, PATHS_B, rebind),
    BOTH("rebinding", "public, client has another address", OPEN, 1, DIRECT, PATHS_A, new_outside),
    BOTH("rebinding", "public, server has another address", OPEN, 1, DIRECT, PATHS_B, new_outside),
    BOTH("rebinding", "relayed, client's NAT forgets", SYMM, 1, RELAY, PATHS_A, rebind),
    BOTH("rebinding", "relayed, server's NAT forgets", SYMM, 1, RELAY, PATHS_B, rebind),
    BOTH("roaming", "direct, client moves", PORT, 1, DIRECT, PATHS_A, roam),
    BOTH("roaming", "direct, server moves", PORT, 1, DIRECT, PATHS_B, roam),
    BOTH("roaming", "relayed, client moves", SYMM, 1, RELAY, PATHS_A, roam),
    BOTH("roaming", "relayed, server moves", SYMM, 1, RELAY, PATHS_B, roam),
};

const paths_fault *paths_faults(size_t *n) {
    *n = ATL_COUNT(FAULTS);
    return FAULTS;
}

/* ---- a run ---- */

void paths_failed(paths_result *out, const char *why, const char *more) {
    out->ok = 0;
    out->value = UINT64_MAX;
    (void)snprintf(out->why, sizeof(out->why), "%.60s%s%.200s", why, more[0] == '\0' ? "" : ": ",
                   more);
}

/* Connected, on the path that is wanted. */
static int prepare(paths_world *w, const paths_fault *fault, paths_result *out) {
    if (!paths_connect(w)) {
        paths_failed(out, "not connected", w->a.close_text);
        return 0;
    }
    if (fault->path == ATLAS_PATH_DIRECT) {
        (void)paths_run(w, 10 * ATL_SECOND, paths_direct);
        /* whatever else was found in the same moment is looked at */
        (void)paths_run(w, fault->steady ? SETTLED : paths_world_draw(w, 0, SETTLED), NULL);
    } else {
        (void)paths_run(w, SETTLED, NULL);
    }
    if (w->a.path != fault->path || w->b.path != fault->path) {
        paths_failed(out, "not on the path that was expected", w->a.upgrade_text);
        return 0;
    }
    return 1;
}

static void transfer(paths_world *w, const paths_fault *fault, uint64_t seed, paths_result *out) {
    paths_app *sender = fault->sender == PATHS_A ? &w->a : &w->b;
    paths_app *receiver = fault->sender == PATHS_A ? &w->b : &w->a;
    size_t changes;

    paths_app_send(sender, seed % 2 == 0 ? 0 : MODEST);
    (void)paths_run(w, paths_world_draw(w, BEFORE_LEAST, BEFORE_MOST), NULL);
    changes = w->a.n_changes + w->b.n_changes;
    paths_app_watch(receiver);
    w->fault_at = sim_now(w->net);
    if (!fault->apply(w, fault->side == PATHS_A ? &w->a : &w->b)) {
        paths_failed(out, "there is nothing to do that to", "");
        return;
    }
    (void)paths_run(w, AFTER, paths_ended);
    paths_app_stop(sender);
    out->ok = (uint8_t)(paths_run(w, LIMIT, paths_received) && receiver->got_fin);
    paths_app_watch_end(receiver);
    out->value = receiver->longest;
    out->wrong = receiver->wrong + (receiver->got > sender->sent ? receiver->got - sender->sent
                                                                 : sender->sent - receiver->got);
    if (fault->steady && w->a.n_changes + w->b.n_changes != changes) {
        /* as long as it goes on, that is a waste and no harm */
        paths_failed(out, "the path changed", w->a.changes[w->a.n_changes - 1].reason);
        out->value = receiver->longest;
    } else if (!out->ok) {
        paths_failed(out, "the transfer did not end",
                     sender->closed ? sender->close_text : receiver->close_text);
        out->wrong = receiver->wrong; /* what has not come may be on its way */
    }
}

void paths_fault_run(const paths_fault *fault, uint32_t loss, uint64_t seed, int verbose,
                     paths_result *out) {
    paths_plan plan = fault->plan;
    paths_world w;

    plan.loss = loss > plan.loss ? loss : plan.loss;
    if (!paths_world_init(&w, &plan, seed)) {
        paths_failed(out, "not announced", "");
    } else if (prepare(&w, fault, out)) {
        transfer(&w, fault, seed, out);
        if (verbose) {
            printf(
                "seed %llu: fault at %.3f s; round trip %.0f ms, through relays %.0f and %.0f ms\n",
                (unsigned long long)seed, (double)w.fault_at / 1e9, (double)w.rtt / 1e6,
                (double)w.relay_rtt[0] / 1e6, (double)w.relay_rtt[1] / 1e6);
        }
    }
    if (verbose) {
        paths_app_print(&w.a, "client");
        paths_app_print(&w.b, "server");
    }
    paths_world_done(&w);
}
