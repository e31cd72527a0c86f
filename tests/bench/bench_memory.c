/* Heap, all libraries included, of what a node or a relay holds many of: the growth of the bytes in
 * use, divided by the number; the median of several steps, so that what grows once (receive
 * buffers, after the first burst) does not count.
 *
 *     bench_memory peer|node|circuit [COUNT]
 *
 * prints one JSON object. peer: "dialler" and "listener", bytes of an idle connection on either
 * side; node: "relay", bytes of an announced node on a relay; circuit: "relay", bytes of a circuit
 * there. */
#include "bench.h"
#include "bench_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_COUNT 1000
#define WARM 8     /* made before the count begins: tables and buffers have their size */
#define WINDOW 16  /* set up at once */
#define SETTLE 0.6 /* seconds: acknowledgements, what handshakes leave behind */
#define STEPS 5

static bench_alloc_counts *child_counts;
static atlas_ctx *contexts[MAX_COUNT];
static size_t n_contexts;
static size_t done;
static int announced;

static void count_child(void) {
    bench_alloc_into(child_counts);
}

static void drive_all(int32_t wait) {
    for (size_t i = 0; i < n_contexts; i++) {
        bench_check(atlas_run_once(contexts[i], i + 1 == n_contexts ? wait : 0), "drive");
    }
}

static void settle(double seconds) {
    uint64_t until = bench_now() + (uint64_t)(seconds * 1e9);

    while (bench_now() < until) {
        drive_all(1);
    }
}

static void wait_for(size_t count) {
    uint64_t until = bench_now() + 20000000000u;

    while (done < count) {
        drive_all(1);
        if (bench_now() > until) {
            errno = ETIMEDOUT;
            bench_die("set-up");
        }
    }
}

/* ---- connections ---- */

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    (void)user;
    (void)conn;
    (void)app_code;
    fprintf(stderr, "bench_memory: a connection ended (%d) %s\n", (int)code,
            text == NULL ? "" : text);
    exit(1);
}

static void on_connected(void *user, atlas_conn *conn) {
    (void)user;
    (void)conn;
    done++;
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                   .on_connected = on_connected};

    (void)ctx;
    bench_check(atlas_conn_set_callbacks(conn, &CALLBACKS, user), "atlas_conn_set_callbacks");
}

static void on_relay(void *user, atlas_ctx *ctx, const atlas_relay_event *event) {
    (void)user;
    (void)ctx;
    if (event->state == ATLAS_RELAY_ANNOUNCED && !announced) {
        announced = 1;
        done++;
    }
}

static void dial(atlas_ctx *ctx, const char *target, size_t from, size_t to) {
    static const atlas_conn_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connected = on_connected, .on_closed = on_closed};

    done = from;
    for (size_t i = from; i < to; i += WINDOW) {
        size_t end = i + WINDOW < to ? i + WINDOW : to;
        atlas_conn *conn;

        for (size_t k = i; k < end; k++) {
            bench_check(atlas_dial(ctx, target, 0, &CALLBACKS, NULL, &conn), "atlas_dial");
        }
        wait_for(end);
    }
    settle(SETTLE);
}

static atlas_ctx *node(void) {
    atlas_ctx *ctx = bench_context(NULL);

    bench_check(atlas_set_u64(ctx, ATLAS_OPT_MAX_CONNECTIONS, 100000), "connections");
    bench_check(atlas_set_u64(ctx, ATLAS_OPT_HANDSHAKE_LIMIT, 1000000), "handshakes");
    bench_check(atlas_set_u64(ctx, ATLAS_OPT_IDLE_TIMEOUT_MS, 600000), "idle timeout");
    return ctx;
}

static atlas_ctx *listener(void) {
    static const atlas_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connection = on_connection, .on_relay = on_relay};
    atlas_ctx *ctx = node();

    bench_check(atlas_set_callbacks(ctx, &CALLBACKS), "atlas_set_callbacks");
    bench_check(atlas_listen(ctx), "atlas_listen");
    return ctx;
}

static void run_listener(char *addr, volatile int *ready) {
    atlas_ctx *ctx;

    count_child();
    ctx = listener();
    bench_address(ctx, addr);
    *ready = 1;
    for (;;) {
        bench_check(atlas_run_once(ctx, 100), "listener");
    }
}

static void measure_peer(size_t step) {
    volatile int *ready = bench_shared(sizeof(*ready));
    char *target = bench_shared(ATLAS_MULTIADDR_MAX);
    pid_t child = bench_fork();
    double mine[STEPS];
    double theirs[STEPS];

    if (child == 0) {
        run_listener(target, ready);
    }
    while (!*ready) {
        (void)usleep(1000);
    }
    contexts[n_contexts++] = node();
    dial(contexts[0], target, 0, WARM);
    for (size_t i = 0; i < STEPS; i++) {
        int64_t before = bench_alloc_get().live;
        int64_t before_there = child_counts->live;

        dial(contexts[0], target, WARM + i * step, WARM + (i + 1) * step);
        mine[i] = (double)(bench_alloc_get().live - before) / (double)step;
        theirs[i] = (double)(child_counts->live - before_there) / (double)step;
    }
    printf("{\"dialler\": %.0f, \"listener\": %.0f}\n", bench_median(mine, STEPS),
           bench_median(theirs, STEPS));
    bench_stop(child);
}

/* ---- on a relay ---- */

static void announce(const char *relay) {
    atlas_ctx *ctx = listener();

    announced = 0;
    contexts[n_contexts++] = ctx;
    bench_check(atlas_relay_add(ctx, relay), "atlas_relay_add");
    bench_check(atlas_relay_presence(ctx, 1), "atlas_relay_presence");
    wait_for(done + 1);
}

static void measure_node(size_t step) {
    char relay[ATLAS_MULTIADDR_MAX];
    pid_t child = bench_relay_process(1, 2000, relay, count_child, NULL);
    double each[STEPS];

    for (size_t i = 0; i < WARM; i++) {
        announce(relay);
    }
    settle(SETTLE);
    for (size_t k = 0; k < STEPS; k++) {
        int64_t before = child_counts->live;

        for (size_t i = 0; i < step; i++) {
            announce(relay);
        }
        settle(SETTLE);
        each[k] = (double)(child_counts->live - before) / (double)step;
    }
    printf("{\"relay\": %.0f}\n", bench_median(each, STEPS));
    bench_stop(child);
}

static void measure_circuit(size_t step) {
    char relay[ATLAS_MULTIADDR_MAX];
    char target[2 * ATLAS_MULTIADDR_MAX];
    pid_t child = bench_relay_process(1, 2000, relay, count_child, NULL);
    double each[STEPS];

    announce(relay);
    snprintf(target, sizeof(target), "%s/p2p-circuit/p2p/%s", relay, atlas_self_id(contexts[0]));
    contexts[n_contexts++] = node();
    dial(contexts[1], target, 0, WARM);
    for (size_t i = 0; i < STEPS; i++) {
        int64_t before = child_counts->live;

        dial(contexts[1], target, WARM + i * step, WARM + (i + 1) * step);
        each[i] = (double)(child_counts->live - before) / (double)step;
    }
    printf("{\"relay\": %.0f}\n", bench_median(each, STEPS));
    bench_stop(child);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    size_t count = argc > 2 ? (size_t)atoi(argv[2]) : 200;

    if (count < STEPS || count > MAX_COUNT - WARM) {
        return 2;
    }
    child_counts = bench_shared(sizeof(*child_counts));
    if (strcmp(what, "peer") == 0) {
        measure_peer(count / STEPS);
    } else if (strcmp(what, "node") == 0) {
        measure_node(count / STEPS);
    } else if (strcmp(what, "circuit") == 0) {
        measure_circuit(count / STEPS);
    } else {
        fprintf(stderr, "usage: bench_memory peer|node|circuit [COUNT]\n");
        return 2;
    }
    return 0;
}
