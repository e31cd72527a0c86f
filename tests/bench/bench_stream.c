/* Goodput of one stream between two nodes of the public interface, in two processes over loopback,
 * directly or through a relay in a third, and the processor time of both ends.
 *
 *     bench_stream direct|relay [SECONDS]     prints one JSON object: gbps, tx_ns and rx_ns a byte
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP 0.5

static uint8_t block[262144];
static uint64_t received;
static int announced;
static int connected;

/* ---- the sender ---- */

static void fill(void *user, atlas_stream *stream) {
    size_t taken;

    (void)user;
    do {
        if (atlas_stream_write(stream, block, sizeof(block), 0, &taken) != ATLAS_OK) {
            return;
        }
    } while (taken == sizeof(block));
}

static void on_connected(void *user, atlas_conn *conn) {
    static const atlas_stream_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                     .on_writable = fill};
    atlas_stream *stream;

    (void)user;
    bench_check(atlas_stream_open(conn, 1, &CALLBACKS, NULL, &stream), "atlas_stream_open");
    fill(NULL, stream);
    connected = 1;
}

static void on_dial_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                           const char *text) {
    (void)user;
    (void)conn;
    (void)app_code;
    fprintf(stderr, "bench_stream: closed (%d) %s\n", (int)code, text == NULL ? "" : text);
    exit(1);
}

static void run_sender(const char *target) {
    static const atlas_conn_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connected = on_connected, .on_closed = on_dial_closed};
    atlas_ctx *ctx;
    atlas_conn *conn;

    bench_pin(0);
    ctx = bench_context(NULL);
    bench_check(atlas_dial(ctx, target, 0, &CALLBACKS, NULL, &conn), "atlas_dial");
    for (;;) {
        bench_check(atlas_run_once(ctx, 100), "sender");
    }
}

/* ---- the receiver ---- */

static void on_readable(void *user, atlas_stream *stream) {
    const uint8_t *data;
    uint32_t fin;
    size_t len;

    (void)user;
    while (atlas_stream_peek(stream, &data, &len, &fin) == ATLAS_OK && len > 0) {
        received += len;
        bench_check(atlas_stream_consume(stream, len), "atlas_stream_consume");
    }
}

static void on_stream(void *user, atlas_conn *conn, atlas_stream *stream) {
    static const atlas_stream_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                     .on_readable = on_readable};

    (void)user;
    (void)conn;
    bench_check(atlas_stream_set_callbacks(stream, &CALLBACKS, NULL), "atlas_stream_set_callbacks");
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                   .on_stream = on_stream};

    (void)ctx;
    bench_check(atlas_conn_set_callbacks(conn, &CALLBACKS, user), "atlas_conn_set_callbacks");
}

static void on_relay(void *user, atlas_ctx *ctx, const atlas_relay_event *event) {
    (void)user;
    (void)ctx;
    announced |= event->state == ATLAS_RELAY_ANNOUNCED;
}

/* The address to dial: the receiver's own, or that of its place at the relay. */
static void listen_at(atlas_ctx *ctx, const char *relay, char target[2 * ATLAS_MULTIADDR_MAX]) {
    static const atlas_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connection = on_connection, .on_relay = on_relay};
    char own[ATLAS_MULTIADDR_MAX];

    bench_check(atlas_set_callbacks(ctx, &CALLBACKS), "atlas_set_callbacks");
    bench_check(atlas_listen(ctx), "atlas_listen");
    bench_address(ctx, own);
    if (relay == NULL) {
        snprintf(target, 2 * ATLAS_MULTIADDR_MAX, "%s", own);
        return;
    }
    bench_check(atlas_relay_add(ctx, relay), "atlas_relay_add");
    bench_check(atlas_relay_presence(ctx, 1), "atlas_relay_presence");
    bench_drive(ctx, NULL, &announced, 10, "announce");
    snprintf(target, 2 * ATLAS_MULTIADDR_MAX, "%s/p2p-circuit/p2p/%s", relay, atlas_self_id(ctx));
}

static void drive_for(atlas_ctx *ctx, double seconds) {
    uint64_t until = bench_now() + (uint64_t)(seconds * 1e9);

    while (bench_now() < until) {
        bench_check(atlas_run_once(ctx, 10), "receiver");
    }
}

int main(int argc, char **argv) {
    int relayed = argc > 1 && strcmp(argv[1], "relay") == 0;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    char relay[ATLAS_MULTIADDR_MAX];
    char target[2 * ATLAS_MULTIADDR_MAX];
    atlas_ctx *ctx;
    uint64_t at, bytes, rx_cpu, tx_cpu;
    pid_t relay_pid = 0;
    pid_t sender;

    if (relayed) {
        relay_pid = bench_relay_process(1, 2000, relay, NULL, NULL);
    }
    ctx = bench_context(NULL);
    listen_at(ctx, relayed ? relay : NULL, target);
    sender = bench_fork();
    if (sender == 0) {
        run_sender(target);
    }
    bench_pin(1);
    drive_for(ctx, WARM_UP);
    at = bench_now();
    bytes = received;
    rx_cpu = bench_cpu();
    tx_cpu = bench_cpu_of(sender);
    drive_for(ctx, seconds);
    at = bench_now() - at;
    bytes = received - bytes;
    rx_cpu = bench_cpu() - rx_cpu;
    tx_cpu = bench_cpu_of(sender) - tx_cpu;
    bench_stop(sender);
    if (relay_pid != 0) {
        bench_stop(relay_pid);
    }
    if (bytes == 0) {
        bench_die("nothing was received");
    }
    printf("{\"gbps\": %.4f, \"tx_ns\": %.5f, \"rx_ns\": %.5f}\n", (double)bytes * 8 / (double)at,
           (double)tx_cpu / (double)bytes, (double)rx_cpu / (double)bytes);
    return atlas_free(ctx) == ATLAS_OK ? 0 : 1;
}
