/* The faults of a random scenario: how each begins and ends. */
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define GRACE_MOST (60 * ATL_SECOND)

static void fresh_address(random_world *w, char out[32]) {
    snprintf(out, 32, "198.51.%d.%d", 101 + w->fresh / 250, 1 + w->fresh % 250);
    w->fresh++;
}

static void move(random_world *w, const random_fault *f) {
    int kind = f->other % (SIM_NAT_CGNAT + 1);
    sim_nat nat = sim_nat_of(kind);
    sim_router *router = NULL;
    char ip[32];

    fresh_address(w, ip);
    if (kind != SIM_NAT_NONE) {
        router = sim_router_new(w->net, NULL, ip, &nat);
        snprintf(ip, sizeof(ip), "172.16.%d.2", w->fresh % 250);
    }
    w->routers[f->who] = router;
    sim_host_move(w->nodes[f->who].host, router, ip);
    random_name_host(w, w->nodes[f->who].host);
}

static void begin_relay(random_world *w, const random_fault *f) {
    sim_node *relay = &w->relays[f->who];

    w->relay_away[f->who] = 1;
    if (f->kind == FAULT_RELAY_CRASH) {
        sim_node_kill(relay);
    } else if (f->kind == FAULT_RELAY_STALL) {
        sim_host_freeze(relay->host, SIM_FROZEN);
    } else {
        sim_relay_drain(relay, f->lasts / ATL_MS);
    }
    random_disturb(w, -1, 0);
}

static void end_relay(random_world *w, const random_fault *f) {
    sim_node *relay = &w->relays[f->who];

    w->relay_away[f->who] = 0;
    if (f->kind == FAULT_RELAY_STALL) {
        sim_host_freeze(relay->host, SIM_AWAKE);
    } else {
        sim_relay_return(relay);
    }
}

static void begin_address(random_world *w, const random_fault *f) {
    sim_router *router = w->routers[f->who];
    sim_host *host = w->nodes[f->who].host;
    char ip[32];

    if (f->kind == FAULT_NAT_FORGETS && router != NULL) {
        sim_router_forget(router, f->other % 2);
    } else if (f->kind == FAULT_NAT_FORGETS) {
        sim_host_rebind(host, NULL);
    } else {
        fresh_address(w, ip);
        if (router != NULL) {
            sim_router_set_outside(router, ip);
        } else {
            sim_host_rebind(host, ip);
        }
    }
}

static void stand_still(random_world *w, const random_fault *f, int end) {
    sim_host *host = w->nodes[f->who].host;

    w->away[f->who] = !end;
    if (f->kind == FAULT_FREEZE || f->kind == FAULT_SLEEP) {
        sim_host_freeze(host, end ? SIM_AWAKE : f->kind == FAULT_FREEZE ? SIM_FROZEN : SIM_ASLEEP);
    } else if (f->kind == FAULT_PARTITION) {
        sim_set_side(host, end ? 0 : 1 + f->who);
        sim_note(w->net, "node %d is %s", f->who, end ? "back" : "cut off");
    } else {
        sim_unplug(host, !end);
    }
}

static void cut(random_world *w, const random_fault *f, int end) {
    sim_host *host = w->nodes[f->who].host;
    int other;

    if (f->kind == FAULT_CUT_RELAY) {
        other = f->other % w->s->n_relays;
        sim_cut(w->net, host, w->relays[other].host, !end);
        w->relay_cut[f->who][other] = (uint8_t)!end;
    } else {
        other = (f->who + 1 + f->other % (w->s->n_nodes - 1)) % w->s->n_nodes;
        if (!w->s->dropped[other]) {
            sim_cut(w->net, host, w->nodes[other].host, !end);
            random_disturb(w, other, 0);
        }
    }
}

static void bursts(random_world *w, int end) {
    const sim_shape rough = {.burst_enter = 200, .burst_leave = 1500};
    const sim_shape plain = {0};

    w->rough = !end;
    sim_note(w->net, "bursts of loss %s", end ? "end" : "begin");
    sim_set_shape(w->net, end ? &plain : &rough);
}

static void happen(random_world *w, const random_fault *f, int end) {
    switch (f->kind) {
    case FAULT_RELAY_CRASH:
    case FAULT_RELAY_STALL:
    case FAULT_RELAY_DRAIN:
        (end ? end_relay : begin_relay)(w, f);
        break;
    case FAULT_NAT_FORGETS:
    case FAULT_PUBLIC_ADDRESS:
        begin_address(w, f);
        break;
    case FAULT_MOVE:
        move(w, f);
        break;
    case FAULT_BURSTS:
        bursts(w, end);
        break;
    case FAULT_CUT_DIRECT:
    case FAULT_CUT_RELAY:
        cut(w, f, end);
        break;
    case FAULT_FALSE_ALARM:
        assert_int_equal(atlas_network_changed(w->nodes[f->who].ctx), ATLAS_OK);
        break;
    default:
        stand_still(w, f, end);
        break;
    }
}

static void on_due(void *user) {
    const random_due *due = user;
    const random_fault *f = due->f;
    random_world *w = due->w;
    int all = f->kind <= FAULT_RELAY_DRAIN || f->kind == FAULT_BURSTS;

    if (!w->ending) {
        sim_note(w->net, "fault %d %s", (int)(f - w->s->faults), due->end ? "ends" : "begins");
        happen(w, f, due->end);
        random_disturb(w, all ? -1 : f->who,
                       !due->end               ? 0
                       : f->lasts < GRACE_MOST ? f->lasts
                                               : GRACE_MOST);
    }
}

static void plan(random_world *w, const random_fault *f, int end, uint64_t at) {
    random_due *due = &w->due[2 * (f - w->s->faults) + end];

    due->w = w;
    due->f = f;
    due->end = end;
    sim_at(w->net, w->start + at, on_due, due);
}

void random_faults_start(random_world *w) {
    int i;

    for (i = 0; i < w->s->n_faults; i++) {
        const random_fault *f = &w->s->faults[i];

        if (!f->dropped) {
            plan(w, f, 0, f->at);
            if (f->lasts > 0) {
                plan(w, f, 1, f->at + f->lasts);
            }
        }
    }
}
