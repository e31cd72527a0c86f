/* discovery_rows [--seeds N] [--json] [--nodes N] [--relays N] [--boots N] [--seconds N] [--seed N]
 * [--no-crowd] [--verbose]: measures what is promised about discovery, in the simulator and on its
 * clock: how soon a node knows how it is reached, has its relays, and can be found; how soon a dead
 * relay is replaced; what a look-up takes; and a whole network with nodes that come and go and
 * relays that lie. Exit code 1 when a row misses its bound. */
#include "crowd.h"
#include "discovery_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define NEVER_CAME 1e9

typedef struct options {
    uint64_t seeds;
    crowd_plan crowd;
    int json;
    int no_crowd;
} options;

typedef struct row {
    const char *name;
    double *values; /* seconds, or what `unit` says */
    size_t n;
    double most;
    const char *unit;
} row;

static int missed;
static int as_json;

/* ---- the table ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_value(const char *name, double p50, double p99, double most, const char *unit,
                        int good) {
    if (as_json) {
        printf(
            "{\"row\":\"%s\",\"p50\":%.4f,\"p99\":%.4f,\"bound\":%.4f,\"unit\":\"%s\",\"ok\":%s}\n",
            name, p50, p99, most, unit, good ? "true" : "false");
    } else {
        printf("%-62s %9.3f %9.3f %9.3f %-6s %s\n", name, p50, p99, most, unit,
               good ? "OK" : "above");
    }
    missed += !good;
    (void)fflush(stdout);
}

static void print_row(row *r) {
    size_t at99 = r->n * 99 / 100;

    if (r->n == 0) {
        print_value(r->name, NEVER_CAME, NEVER_CAME, r->most, r->unit, 0);
        return;
    }
    qsort(r->values, r->n, sizeof(*r->values), by_size);
    at99 = at99 >= r->n ? r->n - 1 : at99;
    print_value(r->name, r->values[r->n / 2], r->values[at99], r->most, r->unit,
                r->values[at99] <= r->most);
}

static void add(row *r, double value) {
    r->values[r->n++] = value;
}

static double seconds(uint64_t from, uint64_t to) {
    return to == 0 ? NEVER_CAME : (double)(to - from) / 1e9;
}

/* ---- a node starts ---- */

static void measure_start(uint64_t seed, row *verdict, row *relays, row *published) {
    static const world_plan PLAN = {
        .boots = 2,
        .relays = 6,
        .nodes = 4,
        .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC, SIM_NAT_CGNAT, SIM_NAT_NONE},
    };
    size_t i;
    world w;

    world_init(&w, &PLAN, seed);
    (void)world_run(&w, 15, NULL);
    for (i = 0; i < PLAN.nodes; i++) {
        const sim_found *found = &w.nodes[i].found;

        add(verdict, seconds(w.started[i], found->verdict_at));
        add(published, seconds(w.started[i], found->published_at));
        if (PLAN.nat[i] != SIM_NAT_NONE) {
            add(relays, seconds(w.started[i], found->full_at));
        }
    }
    world_done(&w);
}

/* ---- a chosen relay dies ---- */

static size_t dead;

static int three_serve(void *user) {
    return ((const world *)user)->nodes[0].found.full_at != 0;
}

static int corrected(void *user) {
    const world *w = user;

    return !sim_node_says_relay(&w->nodes[0], &w->relays[dead]) &&
           w->nodes[0].found.advertise == ATLAS_ADVERTISE_PUBLISHED;
}

static void measure_death(uint64_t seed, row *served, row *right) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 6, .nodes = 2, .nat = {SIM_NAT_SYMMETRIC, SIM_NAT_NONE}};
    uint64_t begun;
    uint64_t took;
    world w;

    world_init(&w, &PLAN, seed);
    if (!world_run(&w, 20, three_serve)) {
        add(served, NEVER_CAME);
        add(right, NEVER_CAME);
        world_done(&w);
        return;
    }
    (void)world_run(&w, 1 + (double)(seed % 200) / 100, NULL);
    for (dead = 0; !sim_node_says_relay(&w.nodes[0], &w.relays[dead]); dead++) {
    }
    begun = sim_now(w.net);
    sim_node_kill(&w.relays[dead]);
    add(served, world_dial(&w, 1, 0, &took) ? (double)took / 1e9 : NEVER_CAME);
    add(right, world_run(&w, 20, corrected) ? seconds(begun, sim_now(w.net)) : NEVER_CAME);
    sim_node_done(&w.nodes[0]);
    sim_node_done(&w.nodes[1]);
    sim_relay_return(&w.relays[dead]);
    world_done(&w);
}

/* ---- a look-up ---- */

typedef struct lookup {
    uint64_t rtt;
    int over;
} lookup;

static void on_query(void *user, atlas_query *query, const atlas_query_event *event) {
    lookup *l = user;

    (void)query;
    if (event->what == ATLAS_QUERY_RECORD) {
        l->rtt = event->record->rtt_ns;
    }
    l->over |= event->what == ATLAS_QUERY_END;
}

static lookup current;

static int looked_up(void *user) {
    (void)user;
    return current.over;
}

static void look(world *w) {
    atlas_query_options fresh = {.size = sizeof(fresh), .fresh = 1};

    memset(&current, 0, sizeof(current));
    (void)atlas_lookup(w->nodes[1].ctx, world_id(&w->nodes[0]), &fresh, on_query, &current, NULL);
    sim_host_touch(w->nodes[1].host);
    (void)world_run(w, 10, looked_up);
}

/* The second one, on a connection that is there. */
static void measure_lookup(uint64_t seed, row *rtt) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 3, .nodes = 2, .nat = {SIM_NAT_SYMMETRIC, SIM_NAT_PORT_RESTRICTED}};
    uint64_t begun;
    world w;

    world_init(&w, &PLAN, seed);
    (void)world_run(&w, 20, world_published);
    look(&w);
    begun = sim_now(w.net);
    look(&w);
    add(rtt, current.rtt == 0 ? NEVER_CAME : (double)(sim_now(w.net) - begun) / (50 * 1e6));
    world_done(&w);
}

/* ---- the crowd ---- */

static void measure_crowd(const options *o) {
    crowd_result r;
    char name[96];

    crowd_run(&o->crowd, &r);
    snprintf(name, sizeof(name), "crowd of %zu: dials between live nodes until connected",
             o->crowd.nodes);
    print_value(name, r.p50, r.p99, 5, "s", r.connected > 0 && r.p99 <= 5);
    snprintf(name, sizeof(name), "crowd of %zu: dials that failed, of %zu (%zu relayed)",
             o->crowd.nodes, r.dials, r.relayed);
    print_value(name, (double)(r.dials - r.connected), (double)(r.dials - r.connected), 0, "dials",
                r.dials > 0 && r.dials == r.connected);
    print_value("crowd: the relay with most nodes, of an even share", r.load_most, r.load_most, 3,
                "times", r.load_most > 0 && r.load_most <= 3);
    print_value("crowd: an even share, of the relay with fewest nodes",
                r.load_least > 0 ? 1 / r.load_least : NEVER_CAME,
                r.load_least > 0 ? 1 / r.load_least : NEVER_CAME, 3, "times",
                r.load_least > 0 && 1 / r.load_least <= 3);
    if (!as_json) {
        printf(
            "crowd: %zu nodes, %zu relays (%u %% lie), %zu bootstrap nodes, %u %% restarted a "
            "minute, seed %llu\n"
            "crowd: %zu of %zu live nodes are published, %.2f relays serve a private one, %.1f %% "
            "of registrations on liars, %.0f KB a node\n",
            o->crowd.nodes, o->crowd.relays, (unsigned)o->crowd.lying, o->crowd.boots,
            (unsigned)o->crowd.churn, (unsigned long long)o->crowd.seed, r.published, r.live,
            r.serving, r.liars, r.live == 0 ? 0 : (double)r.memory / (double)r.live / 1024);
        if (r.failure[0] != '\0') {
            printf("crowd: the last dial that failed: %s\n", r.failure);
        }
    }
}

/* ---- the whole ---- */

static int take_number(const char *name, const char *value, options *o) {
    uint64_t n = value == NULL ? 0 : strtoull(value, NULL, 10);

    if (value == NULL) {
        return 0;
    }
    if (strcmp(name, "--seeds") == 0) {
        o->seeds = n;
    } else if (strcmp(name, "--nodes") == 0) {
        o->crowd.nodes = n;
    } else if (strcmp(name, "--relays") == 0) {
        o->crowd.relays = n;
    } else if (strcmp(name, "--boots") == 0) {
        o->crowd.boots = n;
    } else if (strcmp(name, "--seconds") == 0) {
        o->crowd.seconds = n;
    } else if (strcmp(name, "--seed") == 0) {
        o->crowd.seed = n;
    } else {
        return 0;
    }
    return 1;
}

static int parse(int argc, char **argv, options *o) {
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = 1;
        } else if (strcmp(argv[i], "--no-crowd") == 0) {
            o->no_crowd = 1;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            o->crowd.verbose = 1;
        } else if (take_number(argv[i], i + 1 < argc ? argv[i + 1] : NULL, o)) {
            i++;
        } else {
            return 0;
        }
    }
    return o->seeds > 0 && o->seeds <= 100000 && o->crowd.nodes <= 60000 &&
           o->crowd.relays <= 10000 && o->crowd.boots > 0 && o->crowd.boots <= 16;
}

static row new_row(const char *name, size_t cap, double most, const char *unit) {
    row r = {name, calloc(cap, sizeof(double)), 0, most, unit};

    if (r.values == NULL) {
        abort();
    }
    return r;
}

static void measure_rows(const options *o) {
    row rows[6];
    uint64_t seed;
    size_t i;

    rows[0] = new_row("start to the first verdict on reachability", 4 * o->seeds, 3, "s");
    rows[1] = new_row("start to presence on 3 relays, in the record", 4 * o->seeds, 4, "s");
    rows[2] = new_row("start to the first record published", 4 * o->seeds, 5, "s");
    rows[3] = new_row("a chosen relay is dead: dialled through another", o->seeds, 3, "s");
    rows[4] = new_row("a chosen relay is dead: the record is corrected", o->seeds, 5, "s");
    rows[5] = new_row("look-up by id, bootstrap node connected", o->seeds, 1.02, "RTT");
    for (seed = 1; seed <= o->seeds; seed++) {
        measure_start(seed, &rows[0], &rows[1], &rows[2]);
        measure_death(seed, &rows[3], &rows[4]);
        measure_lookup(seed, &rows[5]);
    }
    for (i = 0; i < 6; i++) {
        print_row(&rows[i]);
        free(rows[i].values);
    }
}

int main(int argc, char **argv) {
    options o = {.seeds = 50,
                 .crowd = {.nodes = 1000,
                           .relays = 40,
                           .boots = 3,
                           .churn = 30,
                           .lying = 10,
                           .warm_up = 30,
                           .seconds = 60,
                           .dials = 10,
                           .seed = 1}};

    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: discovery_rows [--seeds N] [--json] [--nodes N] [--relays N] "
                "[--boots N] [--seconds N] [--seed N] [--no-crowd] [--verbose]\n");
        return 2;
    }
    as_json = o.json;
    if (!as_json) {
        printf("%llu seeds a row, virtual time, 50 ms round trips\n%-62s %9s %9s %9s\n",
               (unsigned long long)o.seeds, "row", "p50", "p99", "at most");
    }
    measure_rows(&o);
    if (!o.no_crowd) {
        o.crowd.dials = o.crowd.nodes / 100 > 0 ? o.crowd.nodes / 100 : 1;
        measure_crowd(&o);
    }
    if (!as_json) {
        printf("%d rows above their bound\n", missed);
    }
    return missed > 0;
}
