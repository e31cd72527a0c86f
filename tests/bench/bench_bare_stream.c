/* The baseline of stream goodput: ngtcp2 and wolfSSL in a bare loop, two processes over UDP
 * loopback with GSO and GRO. The crypto callbacks are the library's own fast ones, so that the
 * ratio shows what endpoint, streams and events cost, not the cipher.
 *
 *     bench_bare_stream [SECONDS]     prints one JSON object: gbps, tx_ns and rx_ns a byte */
#include "bench.h"
#include "quic/tls.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP 500000000u
#define MTU 1443
#define TRAIN ((size_t)(MTU * 45))
#define WINDOW (1 << 20)

typedef struct end {
    atl_tls_conn_ref ref; /* first */
    ngtcp2_conn *conn;
    int fd;
    struct sockaddr_in local;
    struct sockaddr_in remote;
    int64_t stream;
    int ready;
    uint64_t rx;
    uint8_t tx[TRAIN + MTU];
} end;

static uint8_t block[65536];
static atl_env env;

static uint64_t now_ns(void *user) {
    struct timespec ts;

    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int64_t wall_ms(void *user) {
    (void)user;
    return (int64_t)time(NULL) * 1000;
}

static void *b_malloc(void *user, size_t n) {
    (void)user;
    return malloc(n);
}

static void *b_realloc(void *user, void *p, size_t n) {
    (void)user;
    return realloc(p, n);
}

static void b_free(void *user, void *p) {
    (void)user;
    free(p);
}

static int32_t b_random(void *user, uint8_t *buf, size_t len) {
    (void)user;
    randombytes_buf(buf, len);
    return 0;
}

/* ---- callbacks ---- */

static void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
    (void)ctx;
    randombytes_buf(dest, len);
}

static int cb_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                  size_t len, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(cid->data, len);
    cid->datalen = len;
    randombytes_buf(token->data, sizeof(token->data));
    return 0;
}

static int cb_challenge(ngtcp2_conn *conn, ngtcp2_path_challenge_data *data, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(data->data, sizeof(data->data));
    return 0;
}

static int cb_completed(ngtcp2_conn *conn, void *user) {
    end *e = user;

    if (!ngtcp2_conn_is_server2(conn)) {
        e->ready = 1;
    }
    return 0;
}

static int cb_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
                   const uint8_t *data, size_t len, void *user, void *stream_user) {
    end *e = user;

    (void)flags;
    (void)offset;
    (void)data;
    (void)stream_user;
    e->rx += len;
    ngtcp2_conn_extend_max_offset(conn, len);
    ngtcp2_conn_extend_max_stream_offset(conn, id, len);
    return 0;
}

static void fill_callbacks(ngtcp2_callbacks *cb) {
    memset(cb, 0, sizeof(*cb));
    atl_tls_fill_callbacks(cb);
    cb->rand = cb_rand;
    cb->get_new_connection_id2 = cb_cid;
    cb->get_path_challenge_data2 = cb_challenge;
    cb->handshake_completed = cb_completed;
    cb->recv_stream_data = cb_data;
}

/* ---- packets ---- */

static void make_path(end *e, ngtcp2_path *path) {
    path->local.addr = (ngtcp2_sockaddr *)&e->local;
    path->local.addrlen = sizeof(e->local);
    path->remote.addr = (ngtcp2_sockaddr *)&e->remote;
    path->remote.addrlen = sizeof(e->remote);
    path->user_data = NULL;
}

static void send_train(end *e, size_t len, size_t segment) {
    bench_send(e->fd, &e->remote, e->tx, len, segment);
}

static ngtcp2_ssize write_one(end *e, uint8_t *out, uint64_t now) {
    ngtcp2_vec vec = {block, sizeof(block)};
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info;
    ngtcp2_ssize taken;
    int sending = e->stream >= 0 && ngtcp2_conn_get_max_data_left2(e->conn) > 0;
    ngtcp2_ssize n;

    ngtcp2_path_storage_zero(&ps);
    n = ngtcp2_conn_writev_stream(e->conn, &ps.path, &info, out, MTU, &taken, 0,
                                  sending ? e->stream : -1, &vec, sending ? 1 : 0, now);
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
        n = ngtcp2_conn_writev_stream(e->conn, &ps.path, &info, out, MTU, &taken, 0, -1, NULL, 0,
                                      now);
    }
    return n;
}

static void write_all(end *e) {
    uint64_t now = now_ns(NULL);
    size_t used = 0;
    size_t segment = 0;

    for (;;) {
        ngtcp2_ssize n = write_one(e, e->tx + used, now);

        if (n < 0) {
            fprintf(stderr, "write: %s\n", ngtcp2_strerror((int)n));
            exit(1);
        }
        if (n == 0) {
            break;
        }
        if (segment != 0 && (size_t)n > segment) {
            /* longer than the train's segments: a path MTU probe */
            uint8_t probe[MTU];

            memcpy(probe, e->tx + used, (size_t)n);
            send_train(e, used, segment);
            memcpy(e->tx, probe, (size_t)n);
            used = 0;
            segment = 0;
        }
        segment = segment == 0 ? (size_t)n : segment;
        used += (size_t)n;
        if ((size_t)n < segment || used + segment > TRAIN) {
            send_train(e, used, segment);
            used = 0;
            segment = 0;
        }
    }
    if (used > 0) {
        send_train(e, used, segment);
    }
    ngtcp2_conn_update_pkt_tx_time(e->conn, now);
}

/* One read of the socket; 0 when there was nothing. */
static int read_train(end *e, uint8_t *buf, size_t cap, void (*packet)(end *, uint8_t *, size_t)) {
    size_t segment;
    size_t len = bench_recv(e->fd, buf, cap, &segment);
    size_t at;

    for (at = 0; at < len; at += segment) {
        packet(e, buf + at, len - at < segment ? len - at : segment);
    }
    return len > 0;
}

static void feed(end *e, uint8_t *data, size_t len) {
    ngtcp2_path path;
    ngtcp2_pkt_info info = {0};
    int rv;

    make_path(e, &path);
    rv = ngtcp2_conn_read_pkt(e->conn, &path, &info, data, len, now_ns(NULL));
    if (rv != 0) {
        fprintf(stderr, "read: %s\n", ngtcp2_strerror(rv));
        exit(1);
    }
}

static void settings_for(ngtcp2_settings *settings, ngtcp2_transport_params *params) {
    static const uint16_t PROBES[] = {MTU};

    ngtcp2_settings_default(settings);
    settings->initial_ts = now_ns(NULL);
    settings->max_tx_udp_payload_size = MTU;
    settings->pmtud_probes = PROBES;
    settings->pmtud_probeslen = 1;
    settings->ack_thresh = 16;
    settings->max_stream_window = WINDOW;
    settings->max_window = 8 * WINDOW;
    ngtcp2_transport_params_default(params);
    params->initial_max_stream_data_uni = WINDOW / 4;
    params->initial_max_data = WINDOW / 2;
    params->initial_max_streams_uni = 4;
    params->max_idle_timeout = 30 * NGTCP2_SECONDS;
}

static void first_packet(end *e, uint8_t *data, size_t len) {
    ngtcp2_callbacks cb;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_path path;
    ngtcp2_pkt_hd hd;
    ngtcp2_cid scid;

    if (e->conn == NULL) {
        if (ngtcp2_accept(&hd, data, len) != 0) {
            return;
        }
        settings_for(&settings, &params);
        params.original_dcid = hd.dcid;
        params.original_dcid_present = 1;
        scid.datalen = 8;
        randombytes_buf(scid.data, 8);
        make_path(e, &path);
        fill_callbacks(&cb);
        if (ngtcp2_conn_server_new(&e->conn, &hd.scid, &scid, &path, hd.version, &cb, &settings,
                                   &params, NULL, e) != 0) {
            exit(1);
        }
        atl_tls_session_set_conn(e->ref.session, e->conn);
    }
    feed(e, data, len);
}

static void loop(end *e, void (*packet)(end *, uint8_t *, size_t), uint64_t until) {
    static uint8_t rx[65536];
    int rounds;

    while (now_ns(NULL) < until) {
        struct pollfd p = {e->fd, POLLIN, 0};
        uint64_t expiry = e->conn == NULL ? UINT64_MAX : ngtcp2_conn_get_expiry2(e->conn);
        uint64_t now = now_ns(NULL);

        poll(&p, 1, expiry <= now ? 0 : expiry - now > 10000000 ? 10 : 1);
        for (rounds = 0; rounds < 16 && read_train(e, rx, sizeof(rx), packet); rounds++) {
        }
        if (e->conn == NULL) {
            continue;
        }
        now = now_ns(NULL);
        if (ngtcp2_conn_get_expiry2(e->conn) <= now &&
            ngtcp2_conn_handle_expiry(e->conn, now) != 0) {
            return;
        }
        if (e->ready && e->stream < 0 &&
            ngtcp2_conn_open_uni_stream(e->conn, &e->stream, NULL) != 0) {
            e->stream = -1;
        }
        write_all(e);
    }
}

static void run_client(end *e, atl_tls *tls, const atl_peer_id *peer) {
    ngtcp2_callbacks cb;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_path path;
    ngtcp2_cid scid = {8, {0}};
    ngtcp2_cid dcid = {16, {0}};

    bench_pin(0);
    randombytes_buf(scid.data, 8);
    randombytes_buf(dcid.data, 16);
    settings_for(&settings, &params);
    fill_callbacks(&cb);
    make_path(e, &path);
    if (atl_tls_client_new(tls, ATL_PROTO_ATLAS, peer, &e->ref.session) != 0 ||
        ngtcp2_conn_client_new(&e->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb, &settings,
                               &params, NULL, e) != 0) {
        exit(1);
    }
    atl_tls_session_set_conn(e->ref.session, e->conn);
    write_all(e);
    loop(e, feed, UINT64_MAX);
}

static void measure(end *server, pid_t client, double seconds) {
    uint64_t at, bytes, rx_cpu, tx_cpu;

    bench_pin(1);
    loop(server, first_packet, bench_now() + WARM_UP);
    at = bench_now();
    bytes = server->rx;
    rx_cpu = bench_cpu();
    tx_cpu = bench_cpu_of(client);
    loop(server, first_packet, at + (uint64_t)(seconds * 1e9));
    at = bench_now() - at;
    bytes = server->rx - bytes;
    rx_cpu = bench_cpu() - rx_cpu;
    tx_cpu = bench_cpu_of(client) - tx_cpu;
    bench_stop(client);
    if (bytes == 0) {
        bench_die("nothing was received");
    }
    printf("{\"gbps\": %.4f, \"tx_ns\": %.5f, \"rx_ns\": %.5f}\n", (double)bytes * 8 / (double)at,
           (double)tx_cpu / (double)bytes, (double)rx_cpu / (double)bytes);
}

int main(int argc, char **argv) {
    static end server;
    static end client;
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    atlas_hooks hooks = {sizeof(hooks), NULL,      NULL,   NULL,     now_ns, wall_ms,
                         b_malloc,      b_realloc, b_free, b_random, NULL};
    atlas_key *key;
    atl_peer_id id;
    atl_tls *tls;
    pid_t child;

    if (sodium_init() < 0 || atlas_key_generate(&key) != 0) {
        return 1;
    }
    atl_env_init(&env, &hooks);
    atl_key_id(key, &id);
    if (atl_tls_new(&env, key, &tls) != 0) {
        return 1;
    }
    atl_tls_set_server_protocols(tls, ATL_PROTO_ATLAS);
    server.fd = bench_socket(&server.local, 1);
    client.fd = bench_socket(&client.local, 1);
    server.stream = client.stream = -1;
    client.remote = server.local;
    server.remote = client.local;
    child = bench_fork();
    if (child == 0) {
        run_client(&client, tls, &id);
        return 0;
    }
    if (atl_tls_server_new(tls, &server.ref.session) != 0) {
        return 1;
    }
    measure(&server, child, seconds);
    return 0;
}
