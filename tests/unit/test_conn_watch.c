/* Silence is told, growing, and its end; a connection ends when nothing is heard for too long; a
 * PING goes out when it is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "quic_world.h"

static const sim_link LINK = {.delay = 20 * ATL_MS, .mtu = 1472};

static void begin(world *w, uint64_t seed) {
    world_init(w, seed);
    sim_set_link(w->net, &LINK);
    connect_both(w);
    run(w, 2, NULL);
}

static void test_silence(void **state) {
    two_way f;
    world w;
    int i;

    (void)state;
    begin(&w, 91);
    flow_open(&f, &w);
    flow_run(&f, 2);
    assert_int_equal(w.ca.silent, 0);
    flow_settle(&f, 1);
    run(&w, 10, NULL); /* idle: nobody waits for anything */
    assert_int_equal(w.ca.silent + w.sb.silent, 0);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    flow_write(&f, 1000, 0);
    run(&w, 0.24, NULL);
    assert_int_equal(w.ca.silent, 0);
    run(&w, 4, NULL);
    assert_true(w.ca.silent >= 4 && w.ca.silent < 12);
    assert_int_equal(w.sb.silent, 0); /* it has nothing to wait for */
    assert_true(w.ca.silences[0] >= 250 * ATL_MS && w.ca.silences[0] < 300 * ATL_MS);
    for (i = 1; i < w.ca.silent; i++) {
        assert_true(w.ca.silences[i] >= w.ca.silences[i - 1] * 3 / 2);
        assert_true(w.ca.silences[i] <= w.ca.silences[i - 1] * 8 / 5);
    }
    assert_int_equal(w.ca.heard, 0);
    sim_cut(w.net, w.a.host, w.b.host, 0);
    run(&w, 5, NULL);
    assert_int_equal(w.ca.heard, 1);
    flow_settle(&f, 5);
    world_done(&w);
}

/* Nothing is told of a handshake. */
static void test_no_silence_in_a_handshake(void **state) {
    world w;

    (void)state;
    world_init(&w, 92);
    sim_set_link(w.net, &LINK);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    dial(&w, &w.b.id);
    run(&w, 5, NULL);
    assert_int_equal(w.ca.silent, 0);
    assert_int_equal(w.ca.closed, 0);
    run(&w, 20, NULL);
    assert_int_equal(w.ca.code, ATLAS_ERR_HANDSHAKE_TIMEOUT);
    world_done(&w);
}

/* Each side has its own patience, and may change it. */
static void test_patience(void **state) {
    world w;

    (void)state;
    begin(&w, 93);
    run(&w, 27, NULL);
    assert_int_equal(w.ca.closed, 0);
    atl_qconn_patience(w.ca.conn, 100 * ATL_SECOND);
    run(&w, 3, NULL); /* the default of 30 s is over */
    assert_int_equal(w.sb.closed, 1);
    assert_int_equal(w.sb.code, ATLAS_ERR_IDLE_TIMEOUT);
    assert_string_equal(w.sb.text, "nothing heard within the idle timeout");
    run(&w, 60, NULL);
    assert_int_equal(w.ca.closed, 0);
    run(&w, 20, NULL);
    assert_int_equal(w.ca.code, ATLAS_ERR_IDLE_TIMEOUT);
    world_done(&w);
}

/* What is sent first after something was heard starts the period again; what is sent after that
 * does not. */
static void test_patience_counts_from_the_first_packet(void **state) {
    size_t taken;
    two_way f;
    world w;

    (void)state;
    begin(&w, 94);
    atl_qconn_patience(w.ca.conn, 10 * ATL_SECOND);
    atl_qconn_patience(w.sb.conn, 100 * ATL_SECOND);
    flow_open(&f, &w);
    sim_cut(w.net, w.a.host, w.b.host, 1);
    run(&w, 5, NULL);
    assert_int_equal(atl_qstream_write(f.up, "x", 1, 0, &taken), ATLAS_OK);
    run(&w, 5, NULL);
    assert_int_equal(atl_qstream_write(f.up, "x", 1, 0, &taken), ATLAS_OK);
    run(&w, 4.8, NULL);
    assert_int_equal(w.ca.closed, 0);
    run(&w, 0.4, NULL);
    assert_int_equal(w.ca.closed, 1);
    assert_int_equal(w.ca.code, ATLAS_ERR_IDLE_TIMEOUT);
    world_done(&w);
}

static void ping(world *w) {
    uint64_t rx = sim_get_stats(w->net)->sent;
    atl_qconn_info before;
    atl_qconn_info after;

    atl_qconn_get_info(w->ca.conn, &before);
    atl_qconn_ping(w->ca.conn);
    run(w, 0.2, NULL);
    atl_qconn_get_info(w->ca.conn, &after);
    assert_true(sim_get_stats(w->net)->sent >= rx + 2); /* ngtcp2 may answer the answer */
    assert_true(sim_get_stats(w->net)->sent <= rx + 3);
    assert_true(after.rx_packets > before.rx_packets); /* it was answered */
    rx = sim_get_stats(w->net)->sent;
    run(w, 2, NULL);
    assert_int_equal(sim_get_stats(w->net)->sent, rx); /* and that was all */
}

static void test_ping(void **state) {
    uint64_t sent;
    world w;

    (void)state;
    begin(&w, 95);
    run(&w, 5, NULL);
    ping(&w);
    ping(&w);
    atl_qconn_keepalive(w.ca.conn, 10 * ATL_SECOND);
    ping(&w);
    sent = sim_get_stats(w.net)->sent;
    run(&w, 21, NULL);
    sent = sim_get_stats(w.net)->sent - sent; /* the keepalive is as it was */
    assert_true(sent >= 4 && sent <= 6);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_no_silence_in_a_handshake),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_patience_counts_from_the_first_packet),
        cmocka_unit_test(test_ping),
    };

    return cmocka_run_group_tests_name("conn_watch", TESTS, NULL, NULL);
}
