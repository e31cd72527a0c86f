/* Nodes that sleep, move, and are rebound while circuits of their relay are in use: registrations
 * come back on the same connection, circuits and what they carry live on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_nodes.h"

static int is_warm_again(void *user) {
    client_node *n = user;

    return atl_relay_client_health(at(n)) == ATL_RELAY_HEALTH_WARM && is_announced(n);
}

/* ---- the connection inside ---- */

typedef struct sink {
    uint64_t got;
    uint64_t last_at; /* when something came last */
    uint64_t longest; /* pause between two bytes */
} sink;

static sink sinks[3]; /* by node */

static void on_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin) {
    sink *in = user;
    uint64_t now = sim_now(world.net);

    (void)fin;
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(data[i], (uint8_t)((in->got + i) * 131));
    }
    if (in->last_at != 0 && now - in->last_at > in->longest) {
        in->longest = now - in->last_at;
    }
    in->got += len;
    in->last_at = now;
    atl_qstream_credit(stream, len);
}

static const atl_qstream_ops in_ops = {.on_data = on_data};
static const atl_qstream_ops out_ops;

static void on_stream(void *user, atl_qconn *conn, atl_qstream *stream) {
    const client_node *n = user;

    (void)conn;
    atl_qstream_set_ops(stream, &in_ops, &sinks[n - nodes]);
}

/* What an owner of a connection over a circuit does about silence. */
static void on_silent(void *user, atl_qconn *conn, uint64_t silent) {
    client_node *n = user;

    (void)conn;
    (void)silent;
    atl_relay_client_probe(n->client);
}

static void on_circuit_lost(void *user, atl_qconn *conn, uint64_t id, int32_t code) {
    client_node *n = user;

    (void)conn;
    (void)id;
    n->conn_closed++;
    n->conn_code = code;
}

static const atl_qconn_ops both_ops = {.on_stream = on_stream,
                                       .on_silent = on_silent,
                                       .on_path_lost = on_circuit_lost,
                                       .on_closed = c_closed};

/* An open stream whose bytes say where they are. */
typedef struct source {
    atl_qstream *stream;
    uint64_t sent;
} source;

static void send_some(source *out, size_t len) {
    uint8_t bytes[4096];
    size_t taken;

    assert_true(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)((out->sent + i) * 131);
    }
    assert_int_equal(atl_qstream_write(out->stream, bytes, len, 0, &taken), ATLAS_OK);
    out->sent += taken;
}

static source open_source(client_node *from) {
    source out = {NULL, 0};

    assert_int_equal(atl_qconn_open_stream(from->conn, 1, &out_ops, from, &out.stream), ATLAS_OK);
    return out;
}

typedef struct couple {
    client_node *a; /* asked for the circuit */
    client_node *b; /* was asked */
    source from_a;
    source from_b;
} couple;

static void couple_make(couple *c) {
    begin();
    memset(sinks, 0, sizeof(sinks));
    c->b = add_announced();
    c->a = add_announced();
    c->a->dial = 1;
    (void)ask(c->a, &c->b->node.id);
    world_until(&world, is_confirmed, c->a, 2 * ATL_SECOND);
    run(200 * ATL_MS);
    atl_qconn_set_ops(c->a->conn, &both_ops, c->a);
    atl_qconn_set_ops(c->b->conn, &both_ops, c->b);
    c->from_a = open_source(c->a);
    c->from_b = open_source(c->b);
    run(11 * ATL_SECOND);
}

/* A thousand bytes every 10 ms, to b and, with `both`, to a. */
static void flow(couple *c, uint64_t ns, int both) {
    for (uint64_t t = 0; t < ns; t += 10 * ATL_MS) {
        send_some(&c->from_a, 1000);
        if (both) {
            send_some(&c->from_b, 1000);
        }
        run(10 * ATL_MS);
    }
}

static void check_couple(couple *c) {
    run(2 * ATL_SECOND);
    assert_int_equal(sinks[c->b - nodes].got, c->from_a.sent);
    assert_int_equal(sinks[c->a - nodes].got, c->from_b.sent);
    assert_int_equal(c->a->conn_closed + c->b->conn_closed, 0);
    assert_int_equal(world_stats(&world)->circuits, 1);
    assert_int_equal(world_stats(&world)->replaced, 0);
    assert_int_equal(world_stats(&world)->sessions, 2);
    assert_int_equal(world_stats(&world)->nodes, 2);
}

/* ---- sleep ---- */

/* A minute without a turn: the process was stopped (its clock jumps), or the machine slept (its
 * clock stood still, and the application says so). */
static void sleeps(int how, int source_sleeps) {
    couple c;
    client_node *n;

    couple_make(&c);
    n = source_sleeps ? c.a : c.b;
    flow(&c, 500 * ATL_MS, 1);
    run(ATL_SECOND);
    sim_host_freeze(n->node.host, how);
    run(60 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->nodes, 1);
    assert_int_equal(world_stats(&world)->expired, 1);
    assert_int_equal(world_stats(&world)->sessions, 2);
    assert_int_equal(world_stats(&world)->circuits, 1);
    sim_host_freeze(n->node.host, SIM_AWAKE);
    if (how == SIM_ASLEEP) {
        atl_relay_client_network_changed(at(n));
    }
    world_until(&world, is_warm_again, n, 200 * ATL_MS);
    run(200 * ATL_MS);
    assert_int_equal(world_stats(&world)->nodes, 2);
    for (size_t i = 0; i < n->n_states; i++) {
        assert_int_not_equal(n->states[i], ATLAS_RELAY_LOST);
    }
    flow(&c, 500 * ATL_MS, 1);
    check_couple(&c);
    finish();
}

static void a_stopped_source(void **state) {
    (void)state;
    sleeps(SIM_FROZEN, 1);
}

static void a_stopped_target(void **state) {
    (void)state;
    sleeps(SIM_FROZEN, 0);
}

static void a_sleeping_source(void **state) {
    (void)state;
    sleeps(SIM_ASLEEP, 1);
}

static void a_sleeping_target(void **state) {
    (void)state;
    sleeps(SIM_ASLEEP, 0);
}

/* A stopped relay is lost, and used again when it goes on. */
static void a_stopped_relay(void **state) {
    client_node *n;

    (void)state;
    begin();
    n = add_announced();
    run(11 * ATL_SECOND);
    sim_host_freeze(world.relay.host, SIM_FROZEN);
    world_until(&world, is_lost, n, 6 * ATL_SECOND);
    run(20 * ATL_SECOND);
    sim_host_freeze(world.relay.host, SIM_AWAKE);
    world_until(&world, is_announced, n, 20 * ATL_SECOND);
    run(ATL_SECOND);
    assert_int_equal(world_stats(&world)->nodes, 1);
    finish();
}

/* ---- another network ---- */

/* The node's host moves to another address with traffic both ways: QUIC migrates the control
 * connection, the relay follows. */
static void moves(int source_moves) {
    couple c;
    client_node *n;
    atl_addr addrs[4];
    size_t count;

    couple_make(&c);
    n = source_moves ? c.a : c.b;
    flow(&c, 500 * ATL_MS, 1);
    for (int i = 1; i <= 5; i++) {
        char ip[32];

        (void)snprintf(ip, sizeof(ip), "10.0.8.%d", i);
        sim_host_move(n->node.host, NULL, ip);
        (void)at(n);
        count = n->node.io.local_addrs(n->node.io.impl, addrs, 4);
        assert_int_equal(count, 1);
        atl_endpoint_rebase(n->node.ep, addrs, count);
        atl_relay_client_network_changed(n->client);
        flow(&c, 1500 * ATL_MS, 1);
        assert_memory_equal(n->observed, ip, strlen(ip));
    }
    assert_true(sinks[0].longest < 500 * ATL_MS);
    assert_true(sinks[1].longest < 500 * ATL_MS);
    check_couple(&c);
    finish();
}

static void a_source_moves(void **state) {
    (void)state;
    moves(1);
}

static void a_target_moves(void **state) {
    (void)state;
    moves(0);
}

/* ---- NATs that forget ---- */

/* Neither side is told. Whoever sends notices silence and probes; whoever only receives notices
 * that nothing comes any more. */
static void rebinds(int receiver, int both) {
    couple c;
    client_node *n;

    couple_make(&c);
    n = receiver ? c.b : c.a;
    flow(&c, ATL_SECOND, both);
    sinks[0].longest = sinks[1].longest = 0;
    for (int i = 1; i <= 5; i++) {
        char ip[32];

        (void)snprintf(ip, sizeof(ip), "10.0.9.%d", i);
        sim_host_rebind(n->node.host, ip);
        flow(&c, 2600 * ATL_MS, both);
        assert_memory_equal(n->observed, ip, strlen(ip));
    }
    assert_in_range(sinks[c.b - nodes].longest, 1, 700 * ATL_MS);
    if (both) {
        assert_in_range(sinks[c.a - nodes].longest, 1, 700 * ATL_MS);
    }
    check_couple(&c);
    finish();
}

static void a_sender_is_rebound(void **state) {
    (void)state;
    rebinds(0, 0);
}

static void a_receiver_is_rebound(void **state) {
    (void)state;
    rebinds(1, 0);
}

static void one_of_both_is_rebound(void **state) {
    (void)state;
    rebinds(0, 1);
    rebinds(1, 1);
}

/* ---- nothing to do ---- */

static size_t sent;

static int count_sent(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                      size_t len) {
    (void)user;
    (void)from;
    (void)to;
    (void)data;
    (void)len;
    sent++;
    return 0;
}

/* A circuit that nobody uses costs no more than the connection to its relay alone. */
static void unused_circuits_are_quiet(void **state) {
    couple c;

    (void)state;
    couple_make(&c);
    c.a->presence_interval = c.b->presence_interval = 60 * ATL_SECOND;
    atl_relay_client_want(at(c.a), 1, 0);
    atl_relay_client_want(at(c.b), 1, 0);
    run(35 * ATL_SECOND);
    sim_set_tap(world.net, count_sent, NULL);
    sent = 0;
    run(35 * ATL_SECOND);
    /* a PING and its ACK every 10 s on either connection */
    assert_in_range(sent, 4, 20);
    assert_int_equal(c.a->conn_closed + c.b->conn_closed, 0);
    finish();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_source),
        cmocka_unit_test(a_stopped_target),
        cmocka_unit_test(a_sleeping_source),
        cmocka_unit_test(a_sleeping_target),
        cmocka_unit_test(a_stopped_relay),
        cmocka_unit_test(a_source_moves),
        cmocka_unit_test(a_target_moves),
        cmocka_unit_test(a_sender_is_rebound),
        cmocka_unit_test(a_receiver_is_rebound),
        cmocka_unit_test(one_of_both_is_rebound),
        cmocka_unit_test(unused_circuits_are_quiet),
    };

    return cmocka_run_group_tests_name("relay_sleep", tests, NULL, NULL);
}
