/* A node whose NAT forgets while a circuit of its relay is in use: the control connection is
 * validated at the new address, the circuits follow it, and the connection inside loses no byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_nodes.h"

#define LEN ((size_t)1000000)

static uint8_t bytes[LEN];
static uint8_t got[LEN];
static size_t got_len;
static int got_fin;

static void fill_bytes(void) {
    for (size_t i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 131 + i / 251);
    }
}

static void on_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin) {
    (void)user;
    assert_true(got_len + len <= LEN);
    if (len > 0) {
        memcpy(got + got_len, data, len);
    }
    got_len += len;
    got_fin |= fin;
    atl_qstream_credit(stream, len);
}

static const atl_qstream_ops stream_ops = {.on_data = on_data};

static void on_stream(void *user, atl_qconn *conn, atl_qstream *stream) {
    (void)conn;
    atl_qstream_set_ops(stream, &stream_ops, user);
}

static const atl_qconn_ops sink_ops = {.on_stream = on_stream, .on_closed = c_closed};

/* What the relay sends to an address that is not (yet) a node's. */
typedef struct watch {
    atl_addr relay;
    size_t circuit_packets; /* to the address under watch */
    atl_addr at;
    int ack_lost; /* nothing of the relay reaches that address */
} watch;

static int look(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    watch *seen = user;

    (void)data;
    if (seen->at.family != 0 && atl_addr_equal(from, &seen->relay) &&
        memcmp(to->ip, seen->at.ip, sizeof(to->ip)) == 0) {
        seen->circuit_packets += len > 600;
        return seen->ack_lost;
    }
    return 0;
}

/* `mover` is rebound `moves` times while `from` sends to `to`. */
static void transfer(client_node *from, client_node *to, client_node *mover, int moves) {
    atl_qstream *stream;
    size_t at = 0;
    size_t taken;
    char ip[32];
    int moved = 0;

    got_len = 0;
    got_fin = 0;
    atl_qconn_set_ops(to->conn, &sink_ops, to);
    assert_int_equal(atl_qconn_open_stream(from->conn, 1, &stream_ops, from, &stream), ATLAS_OK);
    for (int step = 1; step < 3000 && !got_fin; step++) {
        /* slowly, so that it lasts */
        size_t most = LEN - at < 2000 ? LEN - at : 2000;

        if (at < LEN) {
            assert_int_equal(atl_qstream_write(stream, bytes + at, most, at + most == LEN, &taken),
                             ATLAS_OK);
            at += taken;
        }
        run(10 * ATL_MS);
        if (step % 100 == 50 && moved < moves) {
            (void)snprintf(ip, sizeof(ip), "10.0.9.%d", ++moved);
            sim_host_rebind(mover->node.host, moved % 2 ? ip : NULL);
        }
    }
    assert_int_equal(moved, moves);
    assert_true(got_fin);
    assert_int_equal(got_len, LEN);
    assert_memory_equal(got, bytes, LEN);
    assert_int_equal(from->conn_closed + to->conn_closed, 0);
    assert_int_equal(is_announced(mover), 1);
}

static void circuits_follow_a_node(int mover_sends) {
    client_node *a;
    client_node *b;

    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(200 * ATL_MS);
    transfer(mover_sends ? a : b, mover_sends ? b : a, a, 4);
    assert_int_equal(world_stats(&world)->sessions, 2);
    assert_int_equal(world_stats(&world)->nodes, 2);
    assert_int_equal(world_stats(&world)->circuits, 1);
    assert_int_equal(world_stats(&world)->replaced, 0);
    finish();
}

static void circuits_follow_a_sender(void **state) {
    (void)state;
    circuits_follow_a_node(1);
}

static void circuits_follow_a_receiver(void **state) {
    (void)state;
    circuits_follow_a_node(0);
}

/* As long as the new address has not answered, nothing of a circuit goes there. */
static void nothing_goes_to_an_unproven_address(void **state) {
    client_node *a;
    client_node *b;
    atl_qstream *stream;
    size_t taken;
    watch seen;

    (void)state;
    memset(&seen, 0, sizeof(seen));
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(200 * ATL_MS);
    seen.relay = pair_path(&world.relay).remote;
    assert_int_equal(atl_addr_parse_ip("10.0.9.1", 8, 0, &seen.at), ATLAS_OK);
    seen.ack_lost = 1;
    sim_set_tap(world.net, look, &seen);
    atl_qconn_set_ops(a->conn, &sink_ops, a);
    got_len = 0;
    got_fin = 0;
    assert_int_equal(atl_qconn_open_stream(b->conn, 1, &stream_ops, b, &stream), ATLAS_OK);
    sim_host_rebind(a->node.host, "10.0.9.1");
    for (int i = 0; i < 20; i++) { /* shorter than the patience with a silent relay */
        assert_int_equal(atl_qstream_write(stream, bytes, 5000, 0, &taken), ATLAS_OK);
        run(100 * ATL_MS);
    }
    /* validation probes may be that long, packets of the circuit would be many more */
    assert_true(seen.circuit_packets < 10);
    seen.ack_lost = 0;
    run(10 * ATL_SECOND);
    assert_int_equal(got_len, 100000);
    finish();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(circuits_follow_a_sender),
        cmocka_unit_test(circuits_follow_a_receiver),
        cmocka_unit_test(nothing_goes_to_an_unproven_address),
    };

    fill_bytes();
    return cmocka_run_group_tests_name("relay_rebinding", tests, NULL, NULL);
}
