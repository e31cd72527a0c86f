/* Mutual handshakes a second, both ends on one processor and in memory: a dial of the public interface from atlas_dial() until both sides
 * have their connection and have closed it, against the bare pair, in turns.
 *
 *     bench_handshake [SECONDS]     prints one JSON object: ours and bare (per second), ratio */
#include "bare_handshake.h"
#include "memory_io.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK 25
#define MAX_BLOCKS 4000
#define STUCK 5000000000u

static atlas_ctx *nodes[2];
static int ended;

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code, const char *text) {
    (void)conn;
    (void)app_code;
    if (user == NULL && code != ATLAS_OK) {
        fprintf(stderr, "bench_handshake: the dial ended (%d) %s\n", (int)code, text == NULL ? "" : text);
        exit(1);
    }
    ended++;
}

static void on_connected(void *user, atlas_conn *conn) {
    (void)user;
    bench_check(atlas_conn_close(conn, 0, NULL), "atlas_conn_close");
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS), .on_closed = on_closed};

    (void)user;
    bench_check(atlas_conn_set_callbacks(conn, &CALLBACKS, ctx), "atlas_conn_set_callbacks");
}

static void our_handshake(const char *target) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS), .on_connected = on_connected, .on_closed = on_closed};
    uint64_t until = bench_now() + STUCK;
    atlas_conn *conn;

    ended = 0;
    bench_check(atlas_dial(nodes[0], target, 0, &CALLBACKS, NULL, &conn), "atlas_dial");
    while (ended < 2) {
        bench_check(atlas_process(nodes[0], NULL, 0), "atlas_process");
        bench_check(atlas_process(nodes[1], NULL, 0), "atlas_process");
        if (bench_now() > until) {
            bench_die("our handshake stands still");
        }
    }
}

static double per_second(void (*run)(const char *), const char *target) {
    uint64_t start = bench_cpu();

    for (int i = 0; i < BLOCK; i++) {
        run(target);
    }
    return BLOCK * 1e9 / (double)(bench_cpu() - start);
}

static void bare(const char *target) {
    (void)target;
    bare_handshake();
}

int main(int argc, char **argv) {
    static const atlas_callbacks CALLBACKS = {.size = sizeof(CALLBACKS), .on_connection = on_connection};
    static double rates[2][MAX_BLOCKS];
    static double ratios[MAX_BLOCKS];
    uint64_t until;
    char target[ATLAS_MULTIADDR_MAX];
    size_t n = 0;

    bench_pin(0);
    bare_handshake_init();
    memory_pair(nodes);
    bench_check(atlas_set_callbacks(nodes[1], &CALLBACKS), "atlas_set_callbacks");
    bench_check(atlas_listen(nodes[1]), "atlas_listen");
    bench_address(nodes[1], target);
    (void)per_second(our_handshake, target);
    (void)per_second(bare, target);
    until = bench_now() + (uint64_t)((argc > 1 ? atof(argv[1]) : 2) * 1e9);
    do {
        rates[0][n] = per_second(our_handshake, target);
        rates[1][n] = per_second(bare, target);
        ratios[n] = rates[0][n] / rates[1][n];
        n++;
    } while (n < MAX_BLOCKS && bench_now() < until);
    printf("{\"ours\": %.1f, \"bare\": %.1f, \"ratio\": %.4f}\n", bench_median(rates[0], n), bench_median(rates[1], n), bench_median(ratios, n));
    bench_check(atlas_free(nodes[0]), "atlas_free");
    bench_check(atlas_free(nodes[1]), "atlas_free");
    return 0;
}
