/* Streams and datagrams where something else happens at the same time: losses during the handshake,
 * a path that has become narrow, a socket that takes nothing, many kinds of output at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "net_internal.h"
#include "quic_world.h"

#define LEN 200000

static uint8_t bytes[LEN];

static void fill_bytes(void) {
    size_t i;

    for (i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 131 + i / 251);
    }
}

/* ---- the handshake ---- */

typedef struct dropper {
    world *w;
    int left; /* datagrams of the server to lose, once it has accepted */
} dropper;

static int drop_after_accept(void *user, const atl_addr *from, const atl_addr *to,
                             const uint8_t *data, size_t len) {
    dropper *d = user;

    (void)to;
    (void)data;
    (void)len;
    if (d->w->sb.confirmed && d->left > 0 && from->ip[3] == 2) {
        d->left--;
        return 1;
    }
    return 0;
}

static void speak_at_once(void *user, atl_qconn *conn) {
    side *s = user;
    size_t taken;

    s->confirmed++;
    assert_int_equal(atl_qconn_open_stream(conn, 1, &STREAM_OPS, s, &s->stream), ATLAS_OK);
    assert_int_equal(atl_qstream_write(s->stream, bytes, 5000, 1, &taken), ATLAS_OK);
    assert_int_equal(taken, 5000);
}

static const atl_qconn_ops SPEAKER = {.on_confirmed = speak_at_once,
                                      .on_stream = c_stream,
                                      .on_datagram = c_datagram,
                                      .on_path = c_path,
                                      .on_closed = c_closed};

static int32_t accept_speaker(pair_node *node, atl_qconn *conn) {
    side *s = node->user;

    s->conn = conn;
    atl_qconn_set_ops(conn, &SPEAKER, s);
    return ATLAS_OK;
}

/* What a dial looks like: nobody takes streams before it is confirmed. */
static void take_over(void *user, atl_qconn *conn) {
    side *s = user;

    s->confirmed++;
    atl_qconn_set_ops(conn, &CONN_OPS, s);
}

static const atl_qconn_ops DIALER = {.on_confirmed = take_over, .on_closed = c_closed};

static int client_got_fin(void *user) {
    return ((world *)user)->ca.got_fin;
}

/* The packet with HANDSHAKE_DONE is lost, what the server says behind it arrives: the client must
 * not refuse a stream only because it has not heard of the confirmation. */
static void overtake(int lost) {
    world w;
    dropper d = {&w, lost};
    atl_qpath path;

    world_init(&w, 31);
    w.b.accept = accept_speaker;
    sim_set_tap(w.net, drop_after_accept, &d);
    path = pair_path(&w.b);
    assert_int_equal(
        atl_qconn_connect(w.a.ep, &path, ATL_PROTO_ATLAS, &w.b.id, 0, &DIALER, &w.ca, &w.ca.conn),
        ATLAS_OK);
    assert_true(run(&w, 10, client_got_fin));
    assert_int_equal(d.left, 0);
    assert_int_equal(w.ca.confirmed, 1);
    assert_int_equal(w.ca.got_len, 5000);
    assert_memory_equal(w.ca.got, bytes, 5000);
    assert_int_equal(w.sb.stopped, 0);
    world_done(&w);
}

static void test_stream_overtakes_confirmation(void **state) {
    int lost;

    (void)state;
    for (lost = 0; lost < 5; lost++) {
        overtake(lost);
    }
}

/* ---- the end of a stream ---- */

static int drop_from_client(void *user, const atl_addr *from, const atl_addr *to,
                            const uint8_t *data, size_t len) {
    (void)to;
    (void)data;
    (void)len;
    return *(int *)user && from->ip[3] == 1;
}

/* "Acknowledged" includes the end: a sender that closes then must not cut the message off. */
static void test_fin_alone_must_be_acknowledged_too(void **state) {
    int dropping = 0;
    size_t taken;
    world w;

    (void)state;
    world_init(&w, 32);
    connect_both(&w);
    run(&w, 1, NULL);
    sim_set_tap(w.net, drop_from_client, &dropping);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(atl_qstream_write(w.ca.stream, bytes, 1000, 0, &taken), ATLAS_OK);
    run(&w, 0.005, NULL); /* sent, not yet acknowledged */
    dropping = 1;
    assert_int_equal(atl_qstream_write(w.ca.stream, NULL, 0, 1, &taken), ATLAS_OK);
    run(&w, 0.5, NULL);
    assert_int_equal(w.sb.got_len, 1000);
    assert_int_equal(w.sb.got_fin, 0);
    assert_int_equal(w.ca.acked, 0);
    dropping = 0;
    assert_true(run(&w, 10, server_got_fin));
    assert_true(run(&w, 10, client_acked));
    world_done(&w);
}

/* ---- datagrams ---- */

/* The client moves to a path whose MTU is below what waits in the queue: that is lost, and nothing
 * behind it waits. */
static void test_datagram_too_long_for_the_new_path(void **state) {
    sim_link narrow = {.delay = 10 * ATL_MS, .mtu = 1250};
    atl_path_slot *slot;
    size_t taken;
    size_t max;
    int i;
    world w;

    (void)state;
    world_init(&w, 33);
    connect_both(&w);
    run(&w, 2, NULL); /* path MTU discovery */
    max = atl_qconn_max_datagram(w.ca.conn);
    assert_true(max > 1250);
    for (i = 0; i < 256; i++) {
        assert_int_equal(atl_qconn_send_datagram(w.ca.conn, bytes, max), ATLAS_OK);
    }
    sim_set_link(w.net, &narrow);
    /* the same address, but another path: what an interface change looks like */
    assert_non_null(slot = atl_path_fresh(w.ca.conn, &w.ca.conn->paths[0].real));
    assert_int_equal(atl_qconn_move(w.ca.conn, slot, 1), ATLAS_OK);
    assert_ptr_equal(slot, &w.ca.conn->paths[w.ca.conn->active]);
    assert_true(atl_qconn_max_datagram(w.ca.conn) < max);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(atl_qstream_write(w.ca.stream, bytes, 3000, 1, &taken), ATLAS_OK);
    assert_true(run(&w, 20, server_got_fin));
    assert_int_equal(w.sb.got_len, 3000);
    world_done(&w);
}

/* A sender of datagrams that never pauses leaves room for streams. */
static void test_datagrams_do_not_starve_streams(void **state) {
    sim_link lossy = {.delay = 10 * ATL_MS, .loss = 300, .mtu = 1472}; /* keeps the window small */
    size_t taken;
    size_t before;
    int i;
    world w;

    (void)state;
    world_init(&w, 34);
    sim_set_link(w.net, &lossy);
    connect_both(&w);
    run(&w, 1, NULL);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(atl_qstream_write(w.ca.stream, bytes, LEN, 1, &taken), ATLAS_OK);
    assert_int_equal(taken, LEN);
    before = w.sb.datagrams;
    for (i = 0; i < 3000 && !w.sb.got_fin; i++) {
        while (atl_qconn_send_datagram(w.ca.conn, bytes, 1100) == ATLAS_OK) {
        }
        run(&w, 0.001, NULL);
    }
    assert_true(w.sb.got_fin);
    assert_int_equal(w.sb.got_len, LEN);
    assert_true(w.sb.datagrams > before + 50);
    world_done(&w);
}

/* ---- a socket that takes nothing ---- */

typedef struct plug {
    int32_t (*send)(void *, atl_udp *, const atl_tx *, size_t, size_t *);
    int shut;
    size_t refused;
} plug;

static plug the_plug;

static int32_t plugged_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent) {
    size_t half = n / 2;

    if (!the_plug.shut) {
        return the_plug.send(impl, udp, tx, n, sent);
    }
    the_plug.refused++;
    if (the_plug.shut == 1 && half > 0) {
        the_plug.shut = 2; /* in the middle of a batch */
        assert_int_equal(the_plug.send(impl, udp, tx, half, sent), ATLAS_OK);
    } else {
        *sent = 0;
    }
    return ATLAS_ERR_AGAIN;
}

static size_t drives;

static void counting_drive(void *user) {
    drives++;
    pair_drive(user);
}

static void unplug(world *w) {
    atl_udp *udp = &w->a.host->sockets[0];

    the_plug.shut = 0;
    udp->ready(udp->user, udp, ATLAS_FD_WRITE);
    w->a.host->due = 1;
}

static void test_blocked_socket(void **state) {
    size_t taken;
    size_t at = 0;
    int i;
    world w;

    (void)state;
    world_init(&w, 35);
    the_plug.send = w.a.io.udp_send;
    the_plug.shut = 0;
    the_plug.refused = 0;
    w.a.io.udp_send = plugged_send;
    sim_host_program(w.a.host, counting_drive, pair_deadline, &w.a);
    connect_both(&w);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    for (i = 0; at < LEN; i++) {
        assert_int_equal(atl_qstream_write(w.ca.stream, bytes + at, LEN - at, 1, &taken), ATLAS_OK);
        at += taken;
        run(&w, 0.012, NULL);
        the_plug.shut = 1;
        drives = 0;
        run(&w, 1, NULL);
        assert_true(drives < 200); /* it waits, and does not turn */
        unplug(&w);
        run(&w, 0.012, NULL);
    }
    assert_true(the_plug.refused > 0);
    assert_true(run(&w, 30, server_got_fin));
    assert_int_equal(w.sb.got_len, LEN);
    assert_memory_equal(w.sb.got, bytes, LEN);
    world_done(&w);
}

/* ---- quiet ---- */

static void test_quiet_connections_cost_nothing(void **state) {
    size_t taken;
    world w;

    (void)state;
    world_init(&w, 36);
    sim_host_program(w.a.host, counting_drive, pair_deadline, &w.a);
    sim_host_program(w.b.host, counting_drive, pair_deadline, &w.b);
    connect_both(&w);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(atl_qstream_write(w.ca.stream, bytes, 100000, 1, &taken), ATLAS_OK);
    run(&w, 8, NULL); /* path MTU discovery and all */
    drives = 0;
    run(&w, 15, NULL);
    assert_true(drives <= 4);
    sim_host_set_down(w.b.host, 1); /* the other side vanishes while something is on its way */
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, bytes, 100), ATLAS_OK);
    drives = 0;
    run(&w, 40, NULL);
    assert_true(drives < 60);
    assert_int_equal(w.ca.closed, 1);
    assert_int_equal(atl_loop_deadline(&w.a.loop), ATLAS_NO_DEADLINE);
    world_done(&w);
}

/* A client that vanishes in the middle of its handshake: the server may send nothing more, and
 * waits without turning. */
static void test_half_open_connections_wait(void **state) {
    world w;

    (void)state;
    world_init(&w, 37);
    sim_host_program(w.b.host, counting_drive, pair_deadline, &w.b);
    dial(&w, &w.b.id);
    run(&w, 0.015, NULL);
    sim_host_set_down(w.a.host, 1);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 1);
    drives = 0;
    run(&w, 12, NULL);
    assert_true(drives < 60);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 0);
    assert_int_equal(atl_loop_deadline(&w.b.loop), ATLAS_NO_DEADLINE);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_stream_overtakes_confirmation),
        cmocka_unit_test(test_fin_alone_must_be_acknowledged_too),
        cmocka_unit_test(test_datagram_too_long_for_the_new_path),
        cmocka_unit_test(test_datagrams_do_not_starve_streams),
        cmocka_unit_test(test_blocked_socket),
        cmocka_unit_test(test_quiet_connections_cost_nothing),
        cmocka_unit_test(test_half_open_connections_wait),
    };

    fill_bytes();
    return cmocka_run_group_tests_name("quic_edges", TESTS, NULL, NULL);
}
