#include "paths_measure.h"

#include <stdio.h>
#include <string.h>

#define DIAL_EXTRA (10 * ATL_MS)
#define UPGRADE_EXTRA (150 * ATL_MS)
#define UPGRADE_LIMIT (20 * ATL_SECOND)
#define COST_BOUND 8192u

/* ---- dials ---- */

/* What passes between the two, as it is seen from outside. */
typedef struct watch {
    const paths_world *w;
    uint64_t first;    /* the dialler's first packet */
    uint64_t answered; /* the peer's first packet at the dialler */
    uint64_t verified; /* the dialler's first packet afterwards */
} watch;

static void observe(void *user, const sim_event *event) {
    watch *at = user;

    if (event->what == SIM_SENT && event->host == at->w->a.node.host) {
        at->first = at->first == 0 ? event->at : at->first;
        at->verified = at->verified == 0 && at->answered != 0 ? event->at : at->verified;
    } else if (event->what == SIM_DELIVERED && event->host == at->w->a.node.host &&
               at->answered == 0) {
        at->answered = event->at;
    }
}

static double in(uint64_t time, uint64_t unit) {
    return (double)time / (double)unit;
}

void paths_dial_direct(const paths_plan *plan, uint64_t seed, paths_result *out) {
    paths_world w;
    watch at;

    memset(&at, 0, sizeof(at));
    at.w = &w;
    if (!paths_world_init(&w, plan, seed)) {
        paths_failed(out, "not announced", "");
    } else {
        sim_set_observer(w.net, observe, &at);
        if (!paths_connect(&w)) {
            paths_failed(out, "not connected", w.a.close_text);
        } else {
            out->ok = 1;
            out->value = w.a.connected_at - at.answered;
            out->bound = w.rtt + DIAL_EXTRA;
            out->extra[0] = in(at.verified - at.first, w.rtt);
            out->extra[1] = in(w.b.connected_at - at.first, w.rtt);
            out->extra[2] = in(w.a.connected_at - at.first, w.rtt);
        }
        sim_set_observer(w.net, NULL, NULL);
    }
    paths_world_done(&w);
}

void paths_dial_relayed(const paths_plan *plan, uint64_t seed, paths_result *out) {
    paths_world w;

    if (!paths_world_init(&w, plan, seed)) {
        paths_failed(out, "not announced", "");
    } else {
        uint64_t start = sim_now(w.net);

        if (!paths_connect(&w)) {
            paths_failed(out, "not connected", w.a.close_text);
        } else {
            out->ok = 1;
            out->value = w.a.connected_at - start;
            out->bound = 3 * w.relay_rtt[0];
            out->extra[0] = in(out->value, w.relay_rtt[0]);
        }
    }
    paths_world_done(&w);
}

/* ---- from relayed to direct ---- */

void paths_upgrade(const paths_plan *plan, uint64_t seed, paths_result *out) {
    paths_world w;

    if (!paths_world_init(&w, plan, seed) || !paths_connect(&w)) {
        paths_failed(out, "not connected", w.a.close_text);
    } else if (!paths_run(&w, UPGRADE_LIMIT, paths_a_direct)) {
        paths_failed(out, "not direct", w.a.upgrade_text);
    } else {
        out->ok = 1;
        out->value = w.a.direct_at - w.a.connected_at;
        out->bound = w.relay_rtt[0] + 2 * w.rtt + UPGRADE_EXTRA;
        out->extra[0] = in(out->value, out->bound);
    }
    paths_world_done(&w);
}

static uint64_t forwarded(const paths_world *w) {
    atlas_relay_stats stats = {.size = sizeof(stats)};

    return atlas_relay_get_stats(w->relay[0].ctx, &stats) == ATLAS_OK ? stats.forwarded_bytes : 0;
}

/* Bytes through the relay from connected until direct, or for `time` where that is given; then
 * *time says how long that was. */
static int spent(const paths_plan *plan, uint64_t seed, uint64_t *time, uint64_t *bytes) {
    paths_world w;
    int ok = paths_world_init(&w, plan, seed) && paths_connect(&w);

    if (ok) {
        uint64_t from = forwarded(&w);
        uint64_t start = sim_now(w.net);

        ok = *time > 0 ? !paths_run(&w, *time, paths_ended)
                       : paths_run(&w, UPGRADE_LIMIT, paths_direct);
        if (*time == 0) {
            /* what is still on its way */
            (void)paths_run(&w, 500 * ATL_MS, NULL);
            *time = sim_now(w.net) - start;
        }
        *bytes = forwarded(&w) - from;
    }
    paths_world_done(&w);
    return ok;
}

void paths_upgrade_cost(const paths_plan *plan, uint64_t seed, paths_result *out) {
    paths_plan without = *plan;
    uint64_t time = 0;
    uint64_t bytes = 0;
    uint64_t base = 0;

    without.no_upgrade = 1;
    if (!spent(plan, seed, &time, &bytes) || !spent(&without, seed, &time, &base)) {
        paths_failed(out, "not direct", "");
        return;
    }
    out->ok = 1;
    out->value = bytes > base ? bytes - base : 0;
    out->bound = COST_BOUND;
    out->extra[0] = (double)bytes;
    out->extra[1] = (double)base;
}

/* ---- pairs ---- */

int paths_punchable(int nat_a, int nat_b) {
    int other = nat_a == SIM_NAT_SYMMETRIC ? nat_b : nat_a;

    return (nat_a != SIM_NAT_SYMMETRIC && nat_b != SIM_NAT_SYMMETRIC) || other == SIM_NAT_NONE ||
           other == SIM_NAT_FULL_CONE || other == SIM_NAT_ADDRESS_RESTRICTED;
}

static int pair_is_decided(void *world) {
    const paths_world *w = world;

    return w->a.upgrades > 0 || paths_direct(world);
}

void paths_pair(const paths_plan *plan, uint64_t seed, paths_result *out) {
    int direct = paths_punchable(plan->nat_a, plan->nat_b);
    paths_world w;

    out->bound = UPGRADE_LIMIT;
    if (!paths_world_init(&w, plan, seed) || !paths_connect(&w)) {
        paths_failed(out, "not connected", w.a.close_text);
    } else if (direct) {
        (void)paths_run(&w, UPGRADE_LIMIT, paths_direct);
        out->value = sim_now(w.net) - w.a.connected_at;
        if (!(out->ok = (uint8_t)paths_direct(&w))) {
            paths_failed(out, "stayed relayed", w.a.upgrade_text);
        }
    } else {
        (void)paths_run(&w, UPGRADE_LIMIT, pair_is_decided);
        out->value = sim_now(w.net) - w.a.connected_at;
        out->ok = w.a.upgrades > 0 && w.a.upgrade_text[0] != '\0' && !paths_direct(&w);
        (void)snprintf(out->why, sizeof(out->why), "%.250s",
                       out->ok ? w.a.upgrade_text : "no reason was told");
    }
    paths_world_done(&w);
}
