/* Many announced nodes on one relay: every node a context with a key and a socket of its own, in a
 * few processes; the relay in another, on a processor of its own. All must stay announced while
 * they repeat their announcements every two seconds.
 *
 *     bench_nodes [NODES [SECONDS]]
 *
 * prints one JSON object: nodes, announced (at the end), setup_seconds, handshakes a second,
 * announces a second, cpu (share of one processor that the relay takes in the steady state),
 * expired, rss_kb of the relay. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PROCESSES 4
#define WINDOW 16 /* nodes of a process that connect at once */
#define PRESENCE_MS 2000
#define SETUP_LIMIT 150 /* seconds */
#define EVENTS 64

typedef struct member {
    atlas_ctx *ctx;
    uint64_t deadline;
    uint32_t index;
    int announced;
} member;

static member *members;
static int epoll_fd;
static volatile uint64_t *announced; /* shared, one a process */
static int process;

/* ---- a process of nodes ---- */

static void on_interest(void *user, int32_t fd, uint32_t events, void **slot) {
    struct epoll_event want = {.events = (events & ATLAS_FD_READ ? (uint32_t)EPOLLIN : 0) |
                                         (events & ATLAS_FD_WRITE ? (uint32_t)EPOLLOUT : 0)};
    int op = events == 0 ? EPOLL_CTL_DEL : *slot == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    want.data.u64 = (uint64_t)((member *)user)->index << 32 | (uint32_t)fd;
    if (epoll_ctl(epoll_fd, op, fd, &want) != 0) {
        bench_die("epoll_ctl");
    }
    *slot = user;
}

static void on_timer(void *user, uint64_t deadline) {
    ((member *)user)->deadline = deadline;
}

static void on_relay(void *user, atlas_ctx *ctx, const atlas_relay_event *event) {
    member *m = user;
    int now = event->state == ATLAS_RELAY_ANNOUNCED;

    (void)ctx;
    if (now != m->announced) {
        m->announced = now;
        announced[process] += now ? 1 : (uint64_t)-1;
    }
}

static void start_node(size_t i, const char *relay) {
    member *m = &members[i];
    atlas_hooks hooks = {
        .size = sizeof(hooks), .user = m, .interest = on_interest, .timer = on_timer};
    atlas_callbacks callbacks = {.size = sizeof(callbacks), .user = m, .on_relay = on_relay};

    m->index = (uint32_t)i;
    m->deadline = ATLAS_NO_DEADLINE;
    m->ctx = bench_context(&hooks);
    bench_check(atlas_set_callbacks(m->ctx, &callbacks), "atlas_set_callbacks");
    bench_check(atlas_relay_add(m->ctx, relay), "atlas_relay_add");
    bench_check(atlas_relay_presence(m->ctx, 1), "atlas_relay_presence");
}

static void run_ready(const struct epoll_event *events, int n) {
    for (int i = 0; i < n; i++) {
        atlas_fd_event ready = {(int32_t)(uint32_t)events[i].data.u64, 0};

        ready.events = (events[i].events & EPOLLIN ? ATLAS_FD_READ : 0) |
                       (events[i].events & EPOLLOUT ? ATLAS_FD_WRITE : 0) |
                       (events[i].events & (EPOLLERR | EPOLLHUP) ? ATLAS_FD_ERROR : 0);
        bench_check(atlas_process(members[events[i].data.u64 >> 32].ctx, &ready, 1),
                    "atlas_process");
    }
}

static void run_due(size_t started) {
    static const atlas_fd_event NOTHING = {-1, 0};
    uint64_t now = bench_now();

    for (size_t i = 0; i < started; i++) {
        if (members[i].deadline <= now) {
            bench_check(atlas_process(members[i].ctx, &NOTHING, 0), "atlas_process");
        }
    }
}

static void run_nodes(size_t count, const char *relay) {
    struct epoll_event events[EVENTS];
    size_t started = 0;

    bench_pin(1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    members = calloc(count, sizeof(*members));
    if (epoll_fd < 0 || members == NULL) {
        bench_die("nodes");
    }
    for (;;) {
        int n;

        if (started < count && started - announced[process] < WINDOW) {
            start_node(started++, relay);
        }
        n = epoll_wait(epoll_fd, events, EVENTS,
                       started < count && started - announced[process] < WINDOW ? 0 : 1);
        run_ready(events, n < 0 ? 0 : n);
        run_due(started);
    }
}

/* ---- the measurement ---- */

static uint64_t total(void) {
    uint64_t sum = 0;

    for (int i = 0; i < PROCESSES; i++) {
        sum += announced[i];
    }
    return sum;
}

static long rss_kb(pid_t pid) {
    char path[64];
    long pages = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
        bench_die("statm");
    }
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static double wait_for_all(size_t nodes) {
    uint64_t start = bench_now();

    while (total() < nodes) {
        (void)usleep(2000);
        if (bench_now() - start > SETUP_LIMIT * 1000000000ull) {
            fprintf(stderr, "bench_nodes: %llu of %zu announced\n", (unsigned long long)total(),
                    nodes);
            exit(1);
        }
    }
    return (double)(bench_now() - start) / 1e9;
}

int main(int argc, char **argv) {
    size_t nodes = argc > 1 ? (size_t)atoi(argv[1]) : 10000;
    double seconds = argc > 2 ? atof(argv[2]) : 8;
    atlas_relay_stats *stats = bench_shared(sizeof(*stats));
    char relay[ATLAS_MULTIADDR_MAX];
    pid_t relay_pid = bench_relay_process(0, PRESENCE_MS, relay, NULL, stats);
    pid_t pids[PROCESSES];
    uint64_t at, cpu, announces;
    double setup;

    announced = bench_shared(PROCESSES * sizeof(*announced));
    for (process = 0; process < PROCESSES; process++) {
        pids[process] = bench_fork();
        if (pids[process] == 0) {
            run_nodes(nodes / PROCESSES + ((size_t)process < nodes % PROCESSES), relay);
        }
    }
    setup = wait_for_all(nodes);
    (void)sleep(2); /* every node has announced itself again */
    at = bench_now();
    cpu = bench_cpu_of(relay_pid);
    announces = stats->announces;
    (void)usleep((useconds_t)(seconds * 1e6));
    seconds = (double)(bench_now() - at) / 1e9;
    cpu = bench_cpu_of(relay_pid) - cpu;
    announces = stats->announces - announces;
    printf(
        "{\"nodes\": %zu, \"announced\": %llu, \"registered\": %llu, \"setup_seconds\": %.2f, "
        "\"handshakes\": %.0f, \"announces\": %.0f, "
        "\"expected_announces\": %.0f, \"cpu\": %.4f, \"expired\": %llu, \"rss_kb\": %ld}\n",
        nodes, (unsigned long long)total(), (unsigned long long)stats->nodes, setup,
        (double)nodes / setup, (double)announces / seconds, (double)nodes * 1000 / PRESENCE_MS,
        (double)cpu / 1e9 / seconds, (unsigned long long)stats->expired, rss_kb(relay_pid));
    for (process = 0; process < PROCESSES; process++) {
        bench_stop(pids[process]);
    }
    bench_stop(relay_pid);
    return 0;
}
