/* Mutual handshakes a second, both ends on one processor and in memory: a dial of the public
 * interface from atlas_dial() until both sides have their connection and have closed it, against
 * the bare pair, in turns. The bare pair takes any certificate that its owner can sign with; a
 * second measurement lets it check certificates as the library must (two more signatures an end),
 * for comparison.
 *
 *     bench_handshake [SECONDS]
 *
 * prints one JSON object: ours (two nodes that have met), first (two that have not), bare and
 * checking (per second), ratio and first_ratio (to bare) and checking_ratio (of first to checking).
 */
#include "bare_handshake.h"
#include "memory_io.h"

#include "quic/tls_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 25
#define MAX_BLOCKS 4000
#define STUCK 5000000000u

static atlas_ctx *nodes[2];
static int ended;

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    (void)conn;
    (void)app_code;
    if (user == NULL && code != ATLAS_OK) {
        fprintf(stderr, "bench_handshake: the dial ended (%d) %s\n", (int)code,
                text == NULL ? "" : text);
        exit(1);
    }
    ended++;
}

static void on_connected(void *user, atlas_conn *conn) {
    (void)user;
    bench_check(atlas_conn_close(conn, 0, NULL), "atlas_conn_close");
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                   .on_closed = on_closed};

    (void)user;
    bench_check(atlas_conn_set_callbacks(conn, &CALLBACKS, ctx), "atlas_conn_set_callbacks");
}

static void our_handshake(const char *target) {
    static const atlas_conn_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connected = on_connected, .on_closed = on_closed};
    uint64_t until = bench_now() + STUCK;
    atlas_conn *conn;

    ended = 0;
    bench_check(atlas_dial(nodes[0], target, 0, &CALLBACKS, NULL, &conn), "atlas_dial");
    /* a connection that is closed at once may end on the other side before the application there
     * has seen it */
    while (ended == 0 || nodes[0]->peers.count > 0 || nodes[1]->peers.count > 0) {
        bench_check(atlas_process(nodes[0], NULL, 0), "atlas_process");
        bench_check(atlas_process(nodes[1], NULL, 0), "atlas_process");
        if (bench_now() > until) {
            bench_die("our handshake stands still");
        }
    }
}

/* Two nodes that have never met: neither has checked the other's certificate before. */
static void our_first_handshake(const char *target) {
    for (int i = 0; i < 2; i++) {
        atl_tls *tls = atl_endpoint_tls(nodes[i]->ep);

        memset(tls->known, 0, sizeof(tls->known));
    }
    our_handshake(target);
}

static double per_second(void (*run)(const char *), const char *target) {
    uint64_t start = bench_cpu();

    for (int i = 0; i < BLOCK; i++) {
        run(target);
    }
    return BLOCK * 1e9 / (double)(bench_cpu() - start);
}

static void checking(const char *target) {
    (void)target;
    bare_handshake(1);
}

static void bare(const char *target) {
    (void)target;
    bare_handshake(0);
}

int main(int argc, char **argv) {
    static const atlas_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                              .on_connection = on_connection};
    static double rates[4][MAX_BLOCKS];
    static double ratios[3][MAX_BLOCKS];
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
    (void)per_second(checking, target);
    until = bench_now() + (uint64_t)((argc > 1 ? atof(argv[1]) : 2) * 1e9);
    do {
        rates[0][n] = per_second(our_handshake, target);
        rates[1][n] = per_second(checking, target);
        rates[2][n] = per_second(bare, target);
        rates[3][n] = per_second(our_first_handshake, target);
        ratios[0][n] = rates[3][n] / rates[1][n];
        ratios[1][n] = rates[0][n] / rates[2][n];
        ratios[2][n] = rates[3][n] / rates[2][n];
        n++;
    } while (n < MAX_BLOCKS && bench_now() < until);
    printf("{\"ours\": %.1f, \"first\": %.1f, \"checking\": %.1f, \"bare\": %.1f, ",
           bench_median(rates[0], n), bench_median(rates[3], n), bench_median(rates[1], n),
           bench_median(rates[2], n));
    printf("\"ratio\": %.4f, \"first_ratio\": %.4f, \"checking_ratio\": %.4f}\n",
           bench_median(ratios[1], n), bench_median(ratios[2], n), bench_median(ratios[0], n));
    bench_check(atlas_free(nodes[0]), "atlas_free");
    bench_check(atlas_free(nodes[1]), "atlas_free");
    return 0;
}
