/* paths_rows [--seeds N] [--jobs N] [--json] [--row TEXT] [--seed N]: measures every row of what is
 * promised about paths, in the simulator and on its clock; 500 seeds a row. --row takes only rows
 * whose name contains the text, --seed runs one seed and tells what happened (with SIM_LOG=1 the
 * library tells, too). Exit code 1 when a row misses its bound. */
#include "paths_measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS_MAX 128
#define JOBS_MAX 16
#define PERCENT99 99

/* How a row's values are to be read. */
#define IN_MS 0
#define IN_BYTES 1

typedef struct row {
    char name[96];
    const char *target;
    uint8_t unit;
    uint8_t required; /* per cent of the seeds that must succeed */
    uint64_t most;    /* for p99, besides each seed's own bound; 0: no other */
    uint8_t free;     /* seeds have no bound of their own: only `most` counts */
    uint32_t loss;
    paths_plan plan;
    void (*measure)(const paths_plan *plan, uint64_t seed, paths_result *out);
    const paths_fault *faults; /* instead: seeds take them in turn */
    size_t n_faults;
} row;

typedef struct options {
    uint64_t seeds;
    uint64_t seed; /* with `one` */
    size_t jobs;
    const char *only;
    int one;
    int json;
} options;

typedef struct table {
    row rows[ROWS_MAX];
    size_t n;
} table;

/* What came of one seed. */
typedef struct record {
    uint64_t seed;
    paths_result result;
} record;

typedef struct summary {
    uint64_t p50, p99;
    double extra50[3], extra99[3];
    uint64_t wrong;
    size_t ok, n, over;
    uint64_t worst; /* seed */
    char why[280];
    int pass;
} summary;

/* ---- the rows ---- */

static row *add(table *t, const char *name, const char *target) {
    row *r = &t->rows[t->n++];

    memset(r, 0, sizeof(*r));
    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    r->target = target;
    r->required = 100;
    return r;
}

static void add_measures(table *t) {
    static const paths_plan PUBLIC = {.relays = 0};
    static const paths_plan RELAYED = {
        .nat_a = SIM_NAT_SYMMETRIC, .nat_b = SIM_NAT_SYMMETRIC, .relays = 1};
    static const paths_plan PORTS = {
        .nat_a = SIM_NAT_PORT_RESTRICTED, .nat_b = SIM_NAT_PORT_RESTRICTED, .relays = 1};
    row *r = add(t, "dial, direct, both public", "1 RTT + 10 ms");

    r->plan = PUBLIC;
    r->measure = paths_dial_direct;
    r = add(t, "dial through a relay, warm presence", "3 relay RTTs");
    r->plan = RELAYED;
    r->measure = paths_dial_relayed;
    r = add(t, "relayed to direct, port-restricted both", "3 RTTs + 150 ms");
    r->plan = PORTS;
    r->measure = paths_upgrade;
    r->most = ATL_SECOND;
    r = add(t, "relayed to direct, 5 % loss", "99 % of them");
    r->plan = PORTS;
    r->loss = 500;
    r->measure = paths_upgrade;
    r->free = 1;
    r->required = 99;
    r = add(t, "relay traffic of an upgrade", "8 KB");
    r->plan = PORTS;
    r->unit = IN_BYTES;
    r->measure = paths_upgrade_cost;
}

static void add_pairs(table *t) {
    char name[96];
    int a;
    int b;

    for (a = 0; a <= SIM_NAT_CGNAT; a++) {
        for (b = 0; b <= SIM_NAT_CGNAT; b++) {
            row *r;

            (void)snprintf(name, sizeof(name), "pair: %s, %s", sim_nat_name(a), sim_nat_name(b));
            r = add(t, name, paths_punchable(a, b) ? "direct" : "relayed, reason");
            r->plan.nat_a = a;
            r->plan.nat_b = b;
            r->plan.relays = 1;
            r->measure = paths_pair;
        }
    }
}

static void bound_of(row *r, const char *family) {
    int two = strcmp(family, "relay dies") == 0 || strcmp(family, "roaming") == 0;

    r->target = two ? "2 s" : "1 s";
    r->most = (two ? 2 : 1) * ATL_SECOND;
    r->free = 1;
}

/* With losses a probe and its answer can be lost in a row: a false alarm costs a way over the relay
 * and back, and is no harm as long as it is rare. */
static void bound_calm(row *r) {
    r->target = "path kept, 95 %";
    r->most = 0;
    r->required = 95;
}

/* Each fault without loss, then its family in turns with one per cent. */
static void add_faults(table *t) {
    char name[96];
    size_t first = 0;
    size_t n;
    size_t i;
    const paths_fault *faults = paths_faults(&n);

    for (i = 0; i < n; i++) {
        row *r;

        (void)snprintf(name, sizeof(name), "%s: %s", faults[i].family, faults[i].name);
        r = add(t, name, "");
        bound_of(r, faults[i].family);
        r->faults = &faults[i];
        r->n_faults = 1;
        if (faults[i].plan.loss > 0) {
            bound_calm(r);
        }
        if (i + 1 == n || strcmp(faults[i].family, faults[i + 1].family) != 0) {
            (void)snprintf(name, sizeof(name), "%s: all in turn, 1 %% loss", faults[i].family);
            r = add(t, name, "");
            bound_of(r, faults[i].family);
            r->loss = 100;
            if (faults[first].steady) {
                bound_calm(r);
            }
            r->faults = &faults[first];
            r->n_faults = i + 1 - first;
            first = i + 1;
        }
    }
}

/* ---- running ---- */

static void run_seed(const row *r, uint64_t seed, int verbose, record *out) {
    memset(out, 0, sizeof(*out));
    out->seed = seed;
    if (r->faults != NULL) {
        paths_fault_run(&r->faults[seed % r->n_faults], r->loss, seed, verbose, &out->result);
    } else {
        paths_plan plan = r->plan;

        plan.loss = r->loss;
        r->measure(&plan, seed, &out->result);
    }
}

/* A process of its own: a run that crashes is one that failed. */
static pid_t start_worker(const row *r, const options *o, size_t job, int *fd) {
    uint64_t seed;
    int ends[2];
    pid_t pid;

    if (pipe(ends) != 0 || (pid = fork()) < 0) {
        perror("paths_rows");
        exit(2);
    }
    if (pid > 0) {
        (void)close(ends[1]);
        *fd = ends[0];
        return pid;
    }
    (void)close(ends[0]);
    for (seed = 1 + job; seed <= o->seeds; seed += o->jobs) {
        record out;

        run_seed(r, seed, 0, &out);
        if (write(ends[1], &out, sizeof(out)) != (ssize_t)sizeof(out)) {
            _exit(2);
        }
    }
    _exit(0);
}

static size_t read_records(int fd, record *out, size_t n) {
    uint8_t *at = (uint8_t *)out;
    size_t len = 0;
    ssize_t got;

    while (len < n * sizeof(*out) && (got = read(fd, at + len, n * sizeof(*out) - len)) != 0) {
        if (got < 0 && errno != EINTR) {
            break;
        }
        len += got > 0 ? (size_t)got : 0;
    }
    return len / sizeof(*out);
}

/* Every seed's record; those that a worker has not delivered have failed. */
static void run_row(const row *r, const options *o, record *records) {
    int fds[JOBS_MAX];
    pid_t pids[JOBS_MAX];
    size_t job;
    size_t n = 0;
    uint64_t seed;

    for (job = 0; job < o->jobs; job++) {
        pids[job] = start_worker(r, o, job, &fds[job]);
    }
    for (job = 0; job < o->jobs; job++) {
        size_t share = o->seeds > job ? (o->seeds - job - 1) / o->jobs + 1 : 0;
        size_t got = read_records(fds[job], records + n, share);

        for (seed = 1 + job + got * o->jobs; got < share; got++, seed += o->jobs) {
            memset(&records[n + got], 0, sizeof(*records));
            records[n + got].seed = seed;
            records[n + got].result.value = UINT64_MAX;
            (void)snprintf(records[n + got].result.why, sizeof(records->result.why),
                           "the program failed in this seed or one before");
        }
        n += share;
        (void)close(fds[job]);
        (void)waitpid(pids[job], NULL, 0);
    }
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b) {
    const record *x = a;
    const record *y = b;

    return x->result.value < y->result.value ? -1 : x->result.value > y->result.value;
}

static int by_double(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static size_t rank(size_t n, size_t percent) {
    size_t at = (n * percent + 99) / 100;

    return at == 0 ? 0 : at - 1;
}

static void sum_extra(const record *records, size_t n, summary *s) {
    double *values = malloc((n + 1) * sizeof(*values));
    size_t k;
    size_t i;

    for (k = 0; values != NULL && k < ATL_COUNT(s->extra50); k++) {
        for (i = 0; i < n; i++) {
            values[i] = records[i].result.extra[k];
        }
        qsort(values, n, sizeof(*values), by_double);
        s->extra50[k] = values[rank(n, 50)];
        s->extra99[k] = values[rank(n, PERCENT99)];
    }
    free(values);
}

static void sum_up(const row *r, record *records, size_t n, summary *s) {
    size_t i;

    memset(s, 0, sizeof(*s));
    s->n = n;
    qsort(records, n, sizeof(*records), by_value);
    for (i = 0; i < n; i++) {
        const paths_result *result = &records[i].result;

        s->ok += result->ok;
        s->wrong += result->wrong;
        s->over += result->ok && !r->free && result->value > result->bound;
        if (!result->ok || s->why[0] == '\0') {
            (void)snprintf(s->why, sizeof(s->why), "%s", result->why);
        }
    }
    s->p50 = records[rank(n, 50)].result.value;
    s->p99 = records[rank(n, PERCENT99)].result.value;
    s->worst = records[n - 1].seed;
    sum_extra(records, n, s);
    s->pass = s->ok * 100 >= n * r->required && s->wrong == 0 && s->over * 100 <= n &&
              (r->most == 0 || s->p99 <= r->most);
}

/* ---- the table ---- */

static void figure(char *out, size_t cap, const row *r, uint64_t value) {
    if (value == UINT64_MAX) {
        (void)snprintf(out, cap, "never");
    } else if (r->unit == IN_BYTES) {
        (void)snprintf(out, cap, "%llu B", (unsigned long long)value);
    } else {
        (void)snprintf(out, cap, "%.0f ms", (double)value / 1e6);
    }
}

static void print_notes(const row *r, const summary *s) {
    static const char *const DIAL[] = {"the peer is authenticated", "the listener is connected",
                                       "the dialler is connected"};
    size_t i;

    if (r->measure == paths_dial_direct) {
        for (i = 0; i < ATL_COUNT(DIAL); i++) {
            printf("    first packet until %-28s %.2f RTTs, p99 %.2f\n", DIAL[i], s->extra50[i],
                   s->extra99[i]);
        }
        printf(
            "    judged: from the peer's first packet until the dialler is connected, which is "
            "until\n    the peer has confirmed (a client of TLS 1.3 is finished before the "
            "server has judged its certificate)\n");
    } else if (r->measure == paths_dial_relayed) {
        printf("    %.2f round trips through the relay, p99 %.2f\n", s->extra50[0], s->extra99[0]);
    } else if (r->measure == paths_upgrade) {
        printf("    %.2f of a round trip through the relay, two direct ones and 150 ms, p99 %.2f\n",
               s->extra50[0], s->extra99[0]);
    } else if (r->measure == paths_upgrade_cost) {
        printf("    %.0f B with, %.0f B without\n", s->extra50[0], s->extra50[1]);
    }
    if (s->why[0] != '\0' && (s->ok < s->n || r->measure == paths_pair)) {
        printf("    %s\n", s->why);
    }
    if (!s->pass) {
        printf("    the worst seed: %llu\n", (unsigned long long)s->worst);
    }
}

static void print_row(const row *r, const summary *s) {
    char p50[32];
    char p99[32];

    figure(p50, sizeof(p50), r, s->p50);
    figure(p99, sizeof(p99), r, s->p99);
    printf("%-62s %9s %9s  %-16s %6.1f %%  %5llu  %s\n", r->name, p50, p99, r->target,
           100.0 * (double)s->ok / (double)s->n, (unsigned long long)s->wrong,
           s->pass ? "OK" : "above");
    print_notes(r, s);
    (void)fflush(stdout);
}

static void print_json(const row *r, const summary *s) {
    const double unit = r->unit == IN_BYTES ? 1 : 1e6;

    printf(
        "{\"row\":\"%s\",\"unit\":\"%s\",\"p50\":%.3f,\"p99\":%.3f,\"target\":\"%s\","
        "\"success\":%.4f,\"wrong_bytes\":%llu,\"seeds\":%zu,\"worst_seed\":%llu,\"ok\":%s}\n",
        r->name, r->unit == IN_BYTES ? "B" : "ms",
        s->p50 == UINT64_MAX ? -1.0 : (double)s->p50 / unit,
        s->p99 == UINT64_MAX ? -1.0 : (double)s->p99 / unit, r->target,
        (double)s->ok / (double)s->n, (unsigned long long)s->wrong, s->n,
        (unsigned long long)s->worst, s->pass ? "true" : "false");
    (void)fflush(stdout);
}

/* ---- the program ---- */

static int parse(int argc, char **argv, options *o) {
    int i;

    for (i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--json") == 0) {
            o->json = 1;
            continue;
        }
        if (value == NULL) {
            return 0;
        }
        if (strcmp(argv[i], "--seeds") == 0) {
            o->seeds = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            o->jobs = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--row") == 0) {
            o->only = value;
        } else if (strcmp(argv[i], "--seed") == 0) {
            o->one = 1;
            o->seed = strtoull(value, NULL, 10);
        } else {
            return 0;
        }
        i++;
    }
    o->jobs = o->jobs > JOBS_MAX ? JOBS_MAX : o->jobs;
    return o->seeds > 0 && o->jobs > 0;
}

static int run_all(const table *t, const options *o) {
    record *records = calloc(o->seeds, sizeof(*records));
    int missed = 0;
    size_t i;

    if (records == NULL) {
        return 2;
    }
    if (!o->json) {
        printf(
            "%llu seeds a row, virtual time; round trips of 10 to 120 ms a link, 20 Mbit/s\n"
            "%-62s %9s %9s  %-16s %8s  %5s\n",
            (unsigned long long)o->seeds, "row", "p50", "p99", "at most", "success", "wrong");
        (void)fflush(stdout);
    }
    for (i = 0; i < t->n; i++) {
        summary s;

        if (o->only != NULL && strstr(t->rows[i].name, o->only) == NULL) {
            continue;
        }
        run_row(&t->rows[i], o, records);
        sum_up(&t->rows[i], records, o->seeds, &s);
        missed += !s.pass;
        (o->json ? print_json : print_row)(&t->rows[i], &s);
    }
    if (!o->json) {
        printf("%d rows above their bound\n", missed);
    }
    free(records);
    return missed > 0;
}

static int run_one(const table *t, const options *o) {
    size_t i;

    for (i = 0; i < t->n; i++) {
        if (o->only == NULL || strstr(t->rows[i].name, o->only) != NULL) {
            record out;

            run_seed(&t->rows[i], o->seed, 1, &out);
            printf("%s: %s, %.3f ms or %llu B, wrong %llu %s\n", t->rows[i].name,
                   out.result.ok ? "ok" : "failed", (double)out.result.value / 1e6,
                   (unsigned long long)out.result.value, (unsigned long long)out.result.wrong,
                   out.result.why);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    static table t;
    options o = {.seeds = 500, .jobs = 2};

    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: paths_rows [--seeds N] [--jobs N] [--json] [--row TEXT] [--seed N]\n");
        return 2;
    }
    add_measures(&t);
    add_pairs(&t);
    add_faults(&t);
    return o.one ? run_one(&t, &o) : run_all(&t, &o);
}
