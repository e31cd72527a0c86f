/* One run of a random scenario, from the first context to the last byte of memory. */
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TICK (50 * ATL_MS)
#define SETTLE (5 * ATL_SECOND) /* for presence, before anything happens */
#define AFTER (20 * ATL_SECOND) /* for everything to end, after the last fault and its grace */
#define LAST_WORDS_TIME (6 * ATL_SECOND)
#define NAMED (1u << 17)
#define LOG_TAIL 120

static int is_broken(void *user) {
    return ((random_world *)user)->broken != 0;
}

static void run_until(random_world *w, uint64_t until) {
    while (w->broken == 0 && sim_now(w->net) < until) {
        uint64_t next = sim_now(w->net) + TICK;

        sim_run(w->net, next < until ? next : until, is_broken, w);
        if (!w->ending) {
            random_work_tick(w);
            random_check_tick(w);
        }
    }
}

static void start_relays(random_world *w) {
    int i;

    for (i = 0; i < w->s->n_relays; i++) {
        char ip[32];

        snprintf(ip, sizeof(ip), "203.0.113.%d", 10 + i);
        sim_relay_init(&w->relays[i], w->net, ip, (uint8_t)(101 + i));
        random_name_host(w, w->relays[i].host);
    }
}

static void start_node(random_world *w, int i) {
    const sim_link line = {ATL_MS, 0, 0, 0, 0, 1472};
    sim_node *node = &w->nodes[i];
    sim_host *host;
    char ip[32];
    int r;

    snprintf(ip, sizeof(ip), "198.51.100.%d", 1 + i);
    host = sim_host_natted(w->net, w->s->nat[i], ip, 1 + i, &w->routers[i]);
    if (w->s->rate[i] != 0) {
        const sim_shape shape = {.rate = w->s->rate[i], .queue = w->s->rate[i] / 10};

        sim_set_access(host, &line, &shape, &shape);
    }
    if (w->s->more[i] & 1) {
        sim_host_add_addr(host, NULL, "127.0.0.1");
    }
    if (w->s->more[i] & 2) {
        snprintf(ip, sizeof(ip), "2001:db8:%d::2", 1 + i);
        sim_host_add_addr(host, w->routers[i], ip);
    }
    sim_node_on_host(node, host, (uint8_t)(1 + i), 0);
    random_name_host(w, host);
    random_work_init(w, i);
    for (r = 0; r < w->s->n_relays; r++) {
        assert_int_equal(atlas_relay_add(node->ctx, w->relays[r].addr), ATLAS_OK);
    }
    assert_int_equal(atlas_listen(node->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(node->ctx, 1), ATLAS_OK);
}

static void world_init(random_world *w, const random_scenario *s) {
    int i;

    memset(w, 0, sizeof(*w));
    w->s = s;
    w->named = calloc(NAMED, sizeof(*w->named));
    w->named_mask = NAMED - 1;
    assert_non_null(w->named);
    w->net = sim_new_quiet(s->seed);
    sim_set_link(w->net, &s->link);
    sim_set_observer(w->net, random_observe, w);
    start_relays(w);
    for (i = 0; i < s->n_nodes; i++) {
        if (!s->dropped[i]) {
            start_node(w, i);
        }
    }
    sim_run(w->net, sim_now(w->net) + SETTLE, is_broken, w);
    w->start = sim_now(w->net);
    random_disturb(w, -1, 0);
    random_faults_start(w);
}

/* When the last fault ends. */
static uint64_t last_fault(const random_world *w) {
    uint64_t last = w->s->length;
    int i;

    for (i = 0; i < w->s->n_faults; i++) {
        const random_fault *f = &w->s->faults[i];

        last = !f->dropped && f->at + f->lasts > last ? f->at + f->lasts : last;
    }
    return w->start + last + ATL_MS;
}

/* When that and what it may cost are over. */
static uint64_t last_due(const random_world *w) {
    uint64_t last = sim_now(w->net);
    int i;
    int j;

    for (i = 0; i < w->s->n_nodes; i++) {
        for (j = 0; j < w->s->n_nodes; j++) {
            uint64_t due = w->pairs[i][j].due_from;

            last = due > last ? due : last;
        }
    }
    return last;
}

static void check_finished(random_world *w) {
    int i;

    for (i = 0; i < w->s->n_jobs; i++) {
        const random_job *job = &w->s->jobs[i];

        if (!job->dropped && w->work[i].state < JOB_DONE &&
            random_possible(w, job->from, job->to)) {
            random_break(w, BROKEN_UNFINISHED, "job %d has not %s", i,
                         w->work[i].state == JOB_WAITING ? "begun" : "ended");
        }
    }
}

static void check_last_words(random_world *w) {
    int i;

    for (i = 0; i < w->n_conns; i++) {
        const random_conn *conn = &w->conns[i];

        if (!conn->closed && conn->last_words > 0 && random_possible(w, conn->self, conn->peer)) {
            random_break(w, BROKEN_STALL, "%d does not reach %d at the end, path %u", conn->self,
                         conn->peer, (unsigned)conn->path);
        }
    }
}

static void world_end(random_world *w) {
    int i;

    w->ending = 1;
    random_last_words(w);
    run_until(w, sim_now(w->net) + LAST_WORDS_TIME);
    check_last_words(w);
    for (i = 0; i < w->s->n_nodes && w->broken == 0; i++) {
        if (w->nodes[i].ctx != NULL) {
            assert_int_equal(atlas_shutdown(w->nodes[i].ctx, 0), ATLAS_OK);
        }
    }
    run_until(w, sim_now(w->net) + 5 * ATL_SECOND);
    if (w->broken == 0) {
        random_check_end(w);
    }
}

static void world_done(random_world *w) {
    int i;

    for (i = 0; i < w->s->n_nodes; i++) {
        sim_node_done(&w->nodes[i]); /* asserts that no memory is left */
    }
    for (i = 0; i < w->s->n_relays; i++) {
        sim_node_done(&w->relays[i]);
    }
    random_work_done(w);
    sim_free(w->net);
    free(w->named);
}

int random_run(const random_scenario *s, int verbose, uint64_t *hash) {
    random_world *w = malloc(sizeof(*w));
    int broken;

    assert_non_null(w);
    world_init(w, s);
    run_until(w, last_fault(w));
    run_until(w, last_due(w) + AFTER);
    if (w->broken == 0) {
        check_finished(w);
    }
    if (w->broken == 0) {
        world_end(w);
    }
    broken = w->broken;
    *hash = sim_log_hash(w->net);
    if (broken != 0 && verbose > 1) {
        sim_print_log(w->net, LOG_TAIL);
    }
    if (broken != 0 && verbose > 0) {
        printf("violated (%s): %s\n", random_broken_name(broken), w->why);
    }
    if (broken == 0) {
        world_done(w);
        free(w);
    }
    return broken;
}
