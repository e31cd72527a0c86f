/* The relay, in a process of its own, with a circuit that two nodes set up through the real
 * protocol. Datagrams are then sent from the very socket of the dialler's control connection, with
 * the circuit's id and a payload that the other node drops at first sight. */
#include "api/context.h"
#include "forward.h"
#include "io/udp.h"
#include "peer/conn.h"
#include "quic/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing but the bursts is to happen at the relay. */
#define PRESENCE_MS 60000

static int announced;
static int connected;
static bench_alloc_counts *relay_allocations;

static void count_relay(void) {
    bench_alloc_into(relay_allocations);
}

static void on_relay(void *user, atlas_ctx *ctx, const atlas_relay_event *event) {
    (void)user;
    (void)ctx;
    announced |= event->state == ATLAS_RELAY_ANNOUNCED;
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    (void)user;
    (void)conn;
    (void)app_code;
    fprintf(stderr, "bench_forward: the connection on the circuit ended (%d) %s\n", (int)code,
            text == NULL ? "" : text);
    exit(1);
}

static void on_connected(void *user, atlas_conn *conn) {
    (void)user;
    (void)conn;
    connected = 1;
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks CALLBACKS = {.size = sizeof(CALLBACKS),
                                                   .on_closed = on_closed};

    (void)ctx;
    bench_check(atlas_conn_set_callbacks(conn, &CALLBACKS, user), "atlas_conn_set_callbacks");
}

static void idle(forwarding *f) {
    bench_check(atlas_run_once(f->user, 0), "dialler");
    bench_check(atlas_run_once(f->user2, 0), "listener");
}

static int descriptor(atlas_ctx *ctx) {
    return atl_udp_fd(ctx->ep->sockets[0].udp);
}

static void use_circuit(forwarding *f, const atl_circuit *circuit, const atl_addr *relay) {
    memset(&f->to, 0, sizeof(f->to));
    f->to.sin_family = AF_INET;
    f->to.sin_port = htons(relay->port);
    memcpy(&f->to.sin_addr, relay->ip, 4);
    /* first bits 10: neither STUN nor QUIC, so that the receiving node spends no time on it */
    memset(f->datagram, 0x80, sizeof(f->datagram));
    f->datagram[0] = 0x40;
    memcpy(f->datagram + 1, circuit->tx_id, ATL_CID_LEN);
}

void forward_start_relay(forwarding *f, int cpu) {
    static const atlas_callbacks CALLBACKS = {
        .size = sizeof(CALLBACKS), .on_connection = on_connection, .on_relay = on_relay};
    static const atlas_conn_callbacks DIALLED = {
        .size = sizeof(DIALLED), .on_connected = on_connected, .on_closed = on_closed};
    char relay[ATLAS_MULTIADDR_MAX];
    char target[2 * ATLAS_MULTIADDR_MAX];
    atlas_ctx *dialler;
    atlas_ctx *listener;
    atlas_conn *conn;
    atl_qpath path;

    f->allocations = relay_allocations = bench_shared(sizeof(*relay_allocations));
    f->pid = bench_relay_process(cpu, PRESENCE_MS, relay, count_relay, NULL);
    f->user = dialler = bench_context(NULL);
    f->user2 = listener = bench_context(NULL);
    /* the circuit is what is measured: the two nodes stay on it */
    bench_check(atlas_set_u64(dialler, ATLAS_OPT_UPGRADE, 0), "upgrade");
    bench_check(atlas_set_u64(listener, ATLAS_OPT_UPGRADE, 0), "upgrade");
    bench_check(atlas_set_u64(dialler, ATLAS_OPT_IDLE_TIMEOUT_MS, 600000), "idle timeout");
    bench_check(atlas_set_u64(listener, ATLAS_OPT_IDLE_TIMEOUT_MS, 600000), "idle timeout");
    bench_check(atlas_set_callbacks(listener, &CALLBACKS), "atlas_set_callbacks");
    bench_check(atlas_listen(listener), "atlas_listen");
    bench_check(atlas_relay_add(listener, relay), "atlas_relay_add");
    bench_check(atlas_relay_presence(listener, 1), "atlas_relay_presence");
    bench_drive(listener, NULL, &announced, 10, "announce");
    snprintf(target, sizeof(target), "%s/p2p-circuit/p2p/%s", relay, atlas_self_id(listener));
    bench_check(atlas_dial(dialler, target, 0, &DIALLED, NULL, &conn), "atlas_dial");
    bench_drive(dialler, listener, &connected, 10, "dial through the relay");
    atl_qconn_path(conn->q, &path);
    if (path.circuit == NULL) {
        bench_die("the connection is not on a circuit");
    }
    use_circuit(f, path.circuit, &path.remote);
    f->tx = descriptor(dialler);
    f->rx = descriptor(listener);
    f->out_size = FORWARD_SIZE;
    /* while bursts are measured nobody drives the two nodes: they must not take that for the
     * relay's death */
    bench_check(atlas_set_idle(dialler, 1), "idle mode");
    bench_check(atlas_set_idle(listener, 1), "idle mode");
    f->idle = idle;
}
