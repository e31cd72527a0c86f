/* What must hold in every random scenario. */
#include "net_internal.h"
#include "random.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUND (5 * ATL_SECOND)        /* without path or progress although there could be */
#define DEADLY (40 * ATL_SECOND)      /* so long apart may end a connection */
#define DEADLY_YOUNG (9 * ATL_SECOND) /* one that is not older than that: */
#define YOUNG (3 * ATL_SECOND)
#define MEMORY_MOST (64u << 20) /* of one context, ever */
#define MEMORY_END (12u << 20)  /* when nothing is under way */

const char *random_broken_name(int kind) {
    static const char *const NAMES[BROKEN_KINDS] = {"nothing",    "bytes",  "stall", "path",
                                                    "address",    "memory", "final", "death",
                                                    "unfinished", "call"};

    return kind >= 0 && kind < BROKEN_KINDS ? NAMES[kind] : "crash";
}

void random_break(random_world *w, int kind, const char *format, ...) {
    va_list args;

    if (w->broken == 0) {
        w->broken = kind;
        va_start(args, format);
        vsnprintf(w->why, sizeof(w->why), format, args);
        va_end(args);
        sim_note(w->net, "VIOLATED (%s): %s", random_broken_name(kind), w->why);
    }
}

/* ---- what is possible ---- */

void random_disturb(random_world *w, int node, uint64_t grace) {
    uint64_t from = sim_now(w->net) + grace;
    int a;
    int b;

    for (a = 0; a < w->s->n_nodes; a++) {
        for (b = 0; b < w->s->n_nodes; b++) {
            if ((node < 0 || a == node || b == node) && w->pairs[a][b].due_from < from) {
                w->pairs[a][b].due_from = from;
            }
        }
    }
}

/* Through a relay: that is what a connection can count on. */
int random_possible(const random_world *w, int a, int b) {
    int i;

    if (w->away[a] || w->away[b] || w->rough) {
        return 0;
    }
    for (i = 0; i < w->s->n_relays; i++) {
        if (!w->relay_away[i] && !w->relay_cut[a][i] && !w->relay_cut[b][i]) {
            return 1;
        }
    }
    return 0;
}

/* One that the other side did not know as confirmed when they were cut apart is given up there
 * sooner. */
int random_may_die(const random_world *w, const random_conn *conn) {
    const random_pair *pair = &w->pairs[conn->self][conn->peer];
    uint64_t longest = pair->longest_cut;
    uint64_t from = pair->longest_from;

    if (pair->cut_since != 0 && sim_now(w->net) - pair->cut_since > longest) {
        longest = sim_now(w->net) - pair->cut_since;
        from = pair->cut_since;
    }
    return longest >= (from < conn->connected_at + YOUNG ? DEADLY_YOUNG : DEADLY);
}

static void tick_pair(random_world *w, int a, int b) {
    random_pair *pair = &w->pairs[a][b];
    uint64_t now = sim_now(w->net);

    if (random_possible(w, a, b)) {
        if (pair->cut_since != 0 && now - pair->cut_since > pair->longest_cut) {
            pair->longest_cut = now - pair->cut_since;
            pair->longest_from = pair->cut_since;
        }
        pair->cut_since = 0;
        return;
    }
    pair->cut_since = pair->cut_since == 0 ? now : pair->cut_since;
    pair->due_from = pair->due_from < now ? now : pair->due_from;
}

static int overdue(const random_world *w, int a, int b, uint64_t since) {
    uint64_t from = w->pairs[a][b].due_from;

    from = since > from ? since : from;
    return sim_now(w->net) > from + BOUND;
}

/* ---- at every tick ---- */

static void check_path(random_world *w, const random_conn *conn) {
    if (!conn->closed && conn->connected && conn->path == ATLAS_PATH_NONE &&
        overdue(w, conn->self, conn->peer, conn->path_at)) {
        random_break(w, BROKEN_PATH, "%d has no path to %d for %.3f s", conn->self, conn->peer,
                     (double)(sim_now(w->net) - conn->path_at) / 1e9);
    }
}

/* Bytes from one side to the other. */
static void check_flow(random_world *w, int job, int side) {
    random_end *from = w->work[job].ends[side];
    random_end *to = w->work[job].ends[!side];
    uint64_t sent = from == NULL ? 0 : from->sent < from->total ? from->sent : from->total;
    uint64_t got = to == NULL ? 0 : to->got;
    random_conn *conn;
    uint64_t since;

    if (from == NULL) {
        return;
    }
    conn = from->conn;
    if (sent == got) {
        if (to != NULL) {
            to->got_at = sim_now(w->net);
        }
        return;
    }
    since = to == NULL ? w->work[job].started : to->got_at;
    if (overdue(w, conn->self, conn->peer, since)) {
        random_break(w, BROKEN_STALL,
                     "job %d, %d to %d: %llu bytes wait, nothing has come for %.3f s, path %u", job,
                     conn->self, conn->peer, (unsigned long long)(sent - got),
                     (double)(sim_now(w->net) - since) / 1e9, (unsigned)conn->path);
    }
}

static void check_memory(random_world *w, int node) {
    const sim_node *n = &w->nodes[node];

    if (n->live_bytes > MEMORY_MOST) {
        random_break(w, BROKEN_MEMORY, "node %d has %zu bytes", node, n->live_bytes);
    }
}

void random_check_tick(random_world *w) {
    int i;
    int j;

    for (i = 0; i < w->s->n_nodes; i++) {
        for (j = 0; j < w->s->n_nodes; j++) {
            tick_pair(w, i, j);
        }
        check_memory(w, i);
    }
    for (i = 0; i < w->n_conns; i++) {
        check_path(w, &w->conns[i]);
    }
    for (i = 0; i < w->s->n_jobs; i++) {
        if (w->work[i].state == JOB_RUNNING && w->s->jobs[i].bytes > 0) {
            check_flow(w, i, 0);
            check_flow(w, i, 1);
        }
    }
}

/* ---- when it is over ---- */

void random_check_end(random_world *w) {
    const random_end *end;
    int i;

    for (i = 0; i < w->s->n_jobs; i++) {
        const random_work *work = &w->work[i];

        if (work->messages_acked + work->messages_failed != work->messages_sent) {
            random_break(w, BROKEN_FINAL, "job %d: %d messages, %d final events", i,
                         work->messages_sent, work->messages_acked + work->messages_failed);
        }
    }
    for (i = 0; i < w->n_conns; i++) {
        if (!w->conns[i].closed || w->conns[i].last_words != 0) {
            random_break(w, BROKEN_FINAL, "a connection of %d with %d has no final event%s",
                         w->conns[i].self, w->conns[i].peer,
                         w->conns[i].closed ? " of its message" : "");
        }
    }
    for (end = w->ends; end != NULL; end = end->next) {
        if (!end->closed) {
            random_break(w, BROKEN_FINAL, "job %d: a stream has no final event", end->job);
        }
    }
    for (i = 0; i < w->s->n_nodes; i++) {
        if (w->nodes[i].live_bytes > MEMORY_END) {
            random_break(w, BROKEN_MEMORY, "node %d still has %zu bytes", i,
                         w->nodes[i].live_bytes);
        }
    }
}

/* ---- addresses that somebody has named: those that hosts have, and how others see them ---- */

static uint64_t word_of(const atl_addr *addr) {
    uint64_t words[sizeof(*addr) / 8];
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
    size_t i;

    memcpy(words, addr, sizeof(words));
    for (i = 0; i < ATL_COUNT(words); i++) {
        hash = (hash ^ words[i]) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

static uint64_t *slot_of(const random_world *w, uint64_t word) {
    size_t i = (size_t)(word * UINT64_C(0x9e3779b97f4a7c15) >> 20) & w->named_mask;

    while (w->named[i] != 0 && w->named[i] != word) {
        i = (i + 1) & w->named_mask;
    }
    return &w->named[i];
}

void random_name(random_world *w, const atl_addr *addr) {
    uint64_t *slot = slot_of(w, word_of(addr));

    if (*slot == 0) {
        *slot = word_of(addr);
        if (++w->n_named > w->named_mask / 2) {
            abort();
        }
    }
}

void random_name_host(random_world *w, const sim_host *host) {
    size_t i;
    size_t j;

    for (i = 0; i < host->n_nics; i++) {
        for (j = 0; j < MAX_SOCKETS; j++) {
            atl_addr addr = host->nics[i].ip;

            addr.port = host->sockets[j].local.port;
            if (host->sockets[j].open && host->sockets[j].local.family == addr.family) {
                random_name(w, &addr);
            }
        }
    }
}

void random_observe(void *user, const sim_event *event) {
    random_world *w = user;

    if (event->what != SIM_SENT) {
        return;
    }
    random_name(w, &event->from);
    if (*slot_of(w, word_of(&event->to)) == 0) {
        char to[ATLAS_ADDR_MAX];

        atl_addr_text(&event->to, to);
        random_break(w, BROKEN_ADDRESS, "%s is nobody's", to);
    }
}
