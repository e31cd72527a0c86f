/* Connections between two endpoints on the simulated network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic_world.h"

/* ---- tests ---- */

static void test_handshake_and_close(void **state) {
    world w;

    (void)state;
    world_init(&w, 1);
    connect_both(&w);
    assert_int_equal(atl_qconn_protocol(w.ca.conn), ATL_PROTO_ATLAS);
    assert_int_equal(atl_qconn_protocol(w.sb.conn), ATL_PROTO_ATLAS);
    atl_qconn_close(w.ca.conn, 77, "that is all\x1b[31m");
    assert_false(run(&w, 1, NULL));
    assert_int_equal(w.ca.closed, 1);
    assert_int_equal(w.ca.code, ATLAS_OK);
    assert_int_equal(w.sb.closed, 1);
    assert_int_equal(w.sb.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(w.sb.app_code, 77);
    assert_string_equal(w.sb.text, "that is all?[31m");
    assert_int_equal(atl_endpoint_get_stats(w.a.ep)->conns, 0);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 0);
    world_done(&w);
}

static void fill(uint8_t *data, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 131 + i / 251);
    }
}

static void transfer(uint64_t seed, const sim_link *link, size_t len) {
    uint8_t *data = malloc(len);
    size_t at = 0;
    size_t taken;
    world w;

    fill(data, len);
    world_init(&w, seed);
    sim_set_link(w.net, link);
    connect_both(&w);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 0, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    while (at < len) {
        assert_int_equal(atl_qstream_write(w.ca.stream, data + at, len - at, 1, &taken), ATLAS_OK);
        at += taken;
        if (at < len) {
            w.ca.writable = 0;
            run(&w, 0.05, NULL);
        }
    }
    assert_true(run(&w, 120, server_got_fin));
    assert_true(run(&w, 20, client_acked));
    assert_int_equal(w.sb.got_len, len);
    assert_memory_equal(w.sb.got, data, len);
    assert_int_equal(w.ca.acked, 1);
    world_done(&w);
    free(data);
}

static void test_transfer(void **state) {
    static const sim_link LINKS[] = {
        {10 * ATL_MS, 0, 0, 0, 0, 1472},
        {10 * ATL_MS, 5 * ATL_MS, 200, 500, 100, 1472},
        {50 * ATL_MS, 0, 500, 0, 0, 1300},
        {1 * ATL_MS, 1 * ATL_MS, 100, 1000, 1000, 1472},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(LINKS); i++) {
        transfer(100 + i, &LINKS[i], 3000000);
    }
}

static void test_slow_reader(void **state) {
    static uint8_t block[65536];
    size_t taken;
    size_t total = 0;
    int i;
    world w;

    (void)state;
    world_init(&w, 5);
    atl_endpoint_params(w.b.ep)->stream_window = 300000;
    atl_endpoint_params(w.a.ep)->stream_window = 300000;
    connect_both(&w);
    w.sb.hold = 1;
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    for (i = 0; i < 100; i++) {
        assert_int_equal(atl_qstream_write(w.ca.stream, block, sizeof(block), 0, &taken), ATLAS_OK);
        total += taken;
        run(&w, 0.1, NULL);
    }
    /* what both sides together may hold */
    assert_true(w.sb.got_len <= 300000);
    assert_true(total <= 600000);
    assert_true(total >= 300000);
    w.sb.hold = 0;
    atl_qstream_credit(w.sb.stream, w.sb.got_len);
    run(&w, 1, NULL);
    assert_true(w.ca.writable > 0);
    assert_int_equal(w.sb.got_len, total);
    world_done(&w);
}

static void test_datagrams(void **state) {
    static uint8_t data[2000];
    size_t max;
    size_t i;
    world w;

    (void)state;
    world_init(&w, 6);
    connect_both(&w);
    run(&w, 2, NULL); /* path MTU discovery */
    max = atl_qconn_max_datagram(w.ca.conn);
    assert_true(max > 1300);
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, data, max + 1),
                     ATLAS_ERR_DATAGRAM_TOO_LARGE);
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, data, max), ATLAS_OK);
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, data, 0), ATLAS_OK);
    run(&w, 1, NULL);
    assert_int_equal(w.sb.datagrams, 2);
    for (i = 0; i < 256; i++) {
        assert_int_equal(atl_qconn_send_datagram(w.ca.conn, data, 10), ATLAS_OK);
    }
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, data, 10), ATLAS_ERR_AGAIN);
    world_done(&w);
}

static void test_wrong_peer(void **state) {
    world w;

    (void)state;
    world_init(&w, 7);
    dial(&w, &w.a.id);
    assert_true(run(&w, 15, client_closed));
    assert_int_equal(w.ca.code, ATLAS_ERR_PEER_MISMATCH);
    assert_int_equal(w.ca.confirmed, 0);
    run(&w, 15, NULL);
    assert_int_equal(w.sb.confirmed, 0);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 0);
    world_done(&w);
}

static void test_no_answer(void **state) {
    world w;
    uint64_t start;

    (void)state;
    world_init(&w, 8);
    sim_host_set_down(w.b.host, 1);
    dial(&w, &w.b.id);
    start = sim_now(w.net);
    assert_true(run(&w, 60, client_closed));
    assert_int_equal(w.ca.code, ATLAS_ERR_HANDSHAKE_TIMEOUT);
    assert_in_range((sim_now(w.net) - start) / ATL_MS, 9900, 10500);
    world_done(&w);
}

static void test_idle_timeout(void **state) {
    world w;

    (void)state;
    world_init(&w, 9);
    atl_endpoint_params(w.a.ep)->idle_timeout = 5 * ATL_SECOND;
    atl_endpoint_params(w.b.ep)->idle_timeout = 6 * ATL_SECOND; /* each has its own patience */
    connect_both(&w);
    run(&w, 8, NULL);
    assert_int_equal(w.ca.closed, 1);
    assert_int_equal(w.ca.code, ATLAS_ERR_IDLE_TIMEOUT);
    assert_int_equal(w.sb.code, ATLAS_ERR_IDLE_TIMEOUT);
    world_done(&w);
}

static void test_keepalive(void **state) {
    world w;

    (void)state;
    world_init(&w, 10);
    atl_endpoint_params(w.a.ep)->idle_timeout = 3 * ATL_SECOND;
    connect_both(&w);
    atl_qconn_keepalive(w.ca.conn, ATL_SECOND);
    run(&w, 60, NULL);
    assert_int_equal(w.ca.closed, 0);
    assert_int_equal(w.sb.closed, 0);
    world_done(&w);
}

/* A peer that restarts with the same key resets what it no longer knows, as soon as it hears of it.
 */
static void test_stateless_reset(void **state) {
    size_t taken;
    world w;

    (void)state;
    world_init(&w, 11);
    connect_both(&w);
    run(&w, 1, NULL);
    sim_host_set_down(w.b.host, 1); /* SIGKILL: no CONNECTION_CLOSE gets out */
    atl_endpoint_free(w.b.ep);
    sim_host_set_down(w.b.host, 0);
    pair_open(&w.b, 4001);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(
        atl_qstream_write(w.ca.stream, "anyone there? anyone there? anyone there?", 40, 1, &taken),
        ATLAS_OK);
    assert_true(run(&w, 3, client_closed));
    assert_int_equal(w.ca.code, ATLAS_ERR_STATELESS_RESET);
    assert_true(atl_endpoint_get_stats(w.b.ep)->resets >= 1);
    world_done(&w);
}

static void test_retry(void **state) {
    world w;

    (void)state;
    world_init(&w, 12);
    atl_endpoint_params(w.b.ep)->handshake_limit = 1;
    connect_both(&w);
    memset(&w.ca, 0, sizeof(w.ca));
    memset(&w.sb, 0, sizeof(w.sb));
    connect_both(&w); /* the second within the second proves its address first */
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->retries, 1);
    world_done(&w);
}

static void test_connection_limit(void **state) {
    world w;

    (void)state;
    world_init(&w, 13);
    atl_endpoint_params(w.b.ep)->max_conns = 0;
    dial(&w, &w.b.id);
    assert_true(run(&w, 15, client_closed));
    assert_true(atl_endpoint_get_stats(w.b.ep)->dropped_limit > 0);
    world_done(&w);
}

static void test_key_update(void **state) {
    size_t taken;
    int i;
    world w;

    (void)state;
    world_init(&w, 14);
    connect_both(&w);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    for (i = 0; i < 5; i++) {
        /* the next keys are prepared while packets pass, some time after the last update */
        run(&w, 2, NULL);
        assert_int_equal(atl_qstream_write(w.ca.stream, "01234", 5, 0, &taken), ATLAS_OK);
        run(&w, 2, NULL);
        assert_int_equal(atl_qconn_update_key(w.ca.conn), ATLAS_OK);
        assert_int_equal(atl_qconn_update_key(w.ca.conn), ATLAS_ERR_STATE);
        assert_int_equal(atl_qstream_write(w.ca.stream, "56789", 5, 0, &taken), ATLAS_OK);
    }
    run(&w, 2, NULL);
    assert_int_equal(w.sb.got_len, 50);
    assert_int_equal(w.ca.closed, 0);
    world_done(&w);
}

static void test_unread_streams_are_bounded(void **state) {
    static uint8_t block[200000];
    atl_qstream *stream;
    size_t taken;
    size_t opened = 0;
    int i;
    world w;

    (void)state;
    world_init(&w, 18);
    atl_endpoint_params(w.b.ep)->max_streams = 4;
    connect_both(&w);
    w.sb.hold = 1; /* the server's owner never reads: streams that end unread still count */
    for (i = 0; i < 50; i++) {
        if (atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &stream) == ATLAS_OK) {
            opened++;
            assert_int_equal(atl_qstream_write(stream, block, 1000, 1, &taken), ATLAS_OK);
        }
        run(&w, 0.2, NULL);
    }
    assert_int_equal(opened, 4);
    world_done(&w);
}

static void test_abort_is_silent(void **state) {
    world w;

    (void)state;
    world_init(&w, 19);
    connect_both(&w);
    atl_qconn_abort(w.ca.conn);
    run(&w, 1, NULL);
    assert_int_equal(w.ca.closed, 0);
    assert_int_equal(atl_endpoint_get_stats(w.a.ep)->conns, 0);
    world_done(&w);
}

static void test_stop_sending(void **state) {
    size_t taken;
    world w;

    (void)state;
    world_init(&w, 20);
    connect_both(&w);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 0, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    assert_int_equal(atl_qstream_write(w.ca.stream, "hello", 5, 0, &taken), ATLAS_OK);
    run(&w, 1, NULL);
    atl_qstream_shutdown(w.sb.stream, 9);
    run(&w, 1, NULL);
    assert_int_equal(w.ca.stopped, 1);
    assert_int_equal(w.ca.stream_closed, 1);
    assert_int_equal(w.sb.stream_closed, 1);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_handshake_and_close),
        cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_wrong_peer),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_idle_timeout),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_stateless_reset),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_unread_streams_are_bounded),
        cmocka_unit_test(test_abort_is_silent),
        cmocka_unit_test(test_stop_sending),
    };

    return cmocka_run_group_tests_name("quic", TESTS, NULL, NULL);
}
