/* Connections through circuits, with a relay that only forwards: on and off them, the circuit that
 * ends, and the circuit that nobody has asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "quic_world.h"

static const sim_link LINK = {.delay = 20 * ATL_MS, .mtu = 1472};

/* One direction of a circuit at the relay. */
typedef struct forward {
    pair_node *relay;
    atl_addr to;
    uint8_t id[ATL_CID_LEN];  /* the relay's */
    uint8_t out[ATL_CID_LEN]; /* the receiver's */
} forward;

typedef struct way {
    atl_circuit at_a;
    atl_circuit at_b;
    forward up;
    forward down;
    int idle; /* on_idle calls */
} way;

typedef struct circuits {
    world w;
    pair_node r;
    side ra, rb; /* the control connections, at a and at b */
    way one;
    way two;
    two_way f;
} circuits;

static size_t forward_train(void *user, void *ptr, const atl_rx *rx) {
    forward *f = ptr;
    size_t len = rx->len < rx->segment ? rx->len : rx->segment;

    (void)user;
    memcpy(rx->data + 1, f->out, ATL_CID_LEN);
    (void)atl_endpoint_send_raw(f->relay->ep, NULL, &f->to, rx->data, len);
    return len;
}

static void on_idle(void *user, atl_circuit *circuit) {
    (void)circuit;
    ((way *)user)->idle++;
}

static void make_forward(circuits *c, forward *f, const pair_node *to, const atl_circuit *end) {
    atl_qpath path = pair_path(to);

    f->relay = &c->r;
    f->to = path.remote;
    memcpy(f->out, end->rx_id, ATL_CID_LEN);
    assert_int_equal(atl_endpoint_id_new(c->r.ep, ATL_ID_FORWARD, f, f->id), ATLAS_OK);
}

static void make_way(circuits *c, way *v) {
    world *w = &c->w;

    assert_int_equal(atl_circuit_init(&v->at_a, w->a.ep, c->ra.conn, &c->r.id, &w->b.id), ATLAS_OK);
    assert_int_equal(atl_circuit_init(&v->at_b, w->b.ep, c->rb.conn, &c->r.id, &w->a.id), ATLAS_OK);
    make_forward(c, &v->up, &w->b, &v->at_b);
    make_forward(c, &v->down, &w->a, &v->at_a);
    atl_circuit_set_ready(&v->at_a, v->up.id);
    atl_circuit_set_ready(&v->at_b, v->down.id);
    v->at_a.user = v;
    v->at_b.user = v;
    v->at_a.on_idle = on_idle;
    v->at_b.on_idle = on_idle;
}

static int32_t accept_quietly(pair_node *node, atl_qconn *conn) {
    static const atl_qconn_ops NONE;

    (void)node;
    atl_qconn_set_ops(conn, &NONE, NULL);
    return ATLAS_OK;
}

static void connect_relay(circuits *c, pair_node *from, side *s) {
    static const atl_qconn_ops CONTROL = {.on_confirmed = c_confirmed, .on_closed = c_closed};
    atl_qpath path = pair_path(&c->r);

    assert_int_equal(
        atl_qconn_connect(from->ep, &path, ATL_PROTO_ATLAS, &c->r.id, 0, &CONTROL, s, &s->conn),
        ATLAS_OK);
    run(&c->w, 2, NULL);
    assert_int_equal(s->confirmed, 1);
    atl_qconn_keepalive(s->conn, 10 * ATL_SECOND);
}

static atl_qpath through(way *v) {
    atl_qpath path;

    memset(&path, 0, sizeof(path));
    path.circuit = &v->at_a;
    return path;
}

static void begin_with(circuits *c, uint64_t seed, const atl_qconn_ops *ops) {
    world *w = &c->w;
    atl_qpath path;

    memset(c, 0, sizeof(*c));
    world_init(w, seed);
    sim_set_link(w->net, &LINK);
    pair_init(&c->r, w->net, "10.0.0.3", 3, 4001);
    c->r.accept = accept_quietly;
    c->r.ep_hooks.on_forward = forward_train;
    atl_endpoint_free(c->r.ep);
    pair_open(&c->r, 4001);
    connect_relay(c, &w->a, &c->ra);
    connect_relay(c, &w->b, &c->rb);
    make_way(c, &c->one);
    make_way(c, &c->two);
    path = through(&c->one);
    assert_int_equal(
        atl_qconn_connect(w->a.ep, &path, ATL_PROTO_ATLAS, &w->b.id, 0, ops, &w->ca, &w->ca.conn),
        ATLAS_OK);
    assert_true(run(w, 5, both_confirmed));
    flow_open(&c->f, w);
    flow_run(&c->f, 0.5);
}

static void begin(circuits *c, uint64_t seed) {
    begin_with(c, seed, &CONN_OPS);
}

static void done(circuits *c) {
    /* a circuit must not outlive what carries it */
    atl_circuit_end(&c->one.at_a, ATLAS_ERR_SHUTDOWN);
    atl_circuit_end(&c->one.at_b, ATLAS_ERR_SHUTDOWN);
    atl_circuit_end(&c->two.at_a, ATLAS_ERR_SHUTDOWN);
    atl_circuit_end(&c->two.at_b, ATLAS_ERR_SHUTDOWN);
    pair_done(&c->r);
    c->r.ep = NULL;
    world_done(&c->w);
}

static uint64_t keep(atl_qconn *conn, const atl_qpath *path) {
    uint64_t id = 0;

    assert_int_equal(atl_qconn_path_keep(conn, path, &id), ATLAS_OK);
    return id;
}

static uint64_t keep_direct(circuits *c) {
    atl_qpath direct = pair_path(&c->w.b);

    return keep(c->w.ca.conn, &direct);
}

static int is_direct(const atl_qconn *conn) {
    atl_qpath path;

    atl_qconn_path(conn, &path);
    return path.circuit == NULL;
}

static void test_to_direct_and_back(void **state) {
    uint64_t relayed;
    uint64_t direct;
    atl_qpath path;
    circuits c;

    (void)state;
    begin(&c, 81);
    path = through(&c.one);
    relayed = keep(c.w.ca.conn, &path);
    path.circuit = &c.one.at_b;
    (void)keep(c.w.sb.conn, &path);
    direct = keep_direct(&c);
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, direct, 0), ATLAS_OK);
    flow_run(&c.f, 8); /* longer than anything lingers */
    assert_true(is_direct(c.w.ca.conn) && is_direct(c.w.sb.conn));
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, relayed, 0), ATLAS_OK);
    assert_int_equal(active_id(c.w.ca.conn), relayed); /* known: at once */
    flow_run(&c.f, 0.06);
    assert_false(is_direct(c.w.sb.conn)); /* and so for the server */
    flow_run(&c.f, 1);
    assert_false(is_direct(c.w.ca.conn));
    assert_int_equal(c.one.idle, 0);
    flow_settle(&c.f, 5);
    done(&c);
}

/* Nobody keeps the circuit: when the connection has left it, it is idle on both sides. */
static void test_left_circuit_is_idle(void **state) {
    circuits c;

    (void)state;
    begin(&c, 82);
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, keep_direct(&c), 0), ATLAS_OK);
    flow_run(&c.f, 20);
    assert_int_equal(c.one.idle, 2);
    assert_int_equal(c.two.idle, 0);
    flow_settle(&c.f, 5);
    done(&c);
}

static void test_active_circuit_ends(void **state) {
    uint64_t second;
    uint64_t sent;
    atl_qpath path;
    circuits c;

    (void)state;
    begin(&c, 83);
    path = through(&c.two);
    second = keep(c.w.ca.conn, &path);
    atl_circuit_end(&c.one.at_a, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    atl_circuit_end(&c.one.at_b, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    assert_int_equal(c.w.ca.lost, 0); /* later */
    flow_write(&c.f, 2000, 2000);
    run(&c.w, 0.2, NULL); /* what is on its way is refused */
    sent = sim_get_stats(c.w.net)->sent;
    run(&c.w, 1, NULL);
    assert_int_equal(c.w.ca.lost, 1);
    assert_int_equal(c.w.sb.lost, 1);
    assert_int_equal(c.w.ca.lost_code, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    assert_int_equal(sim_get_stats(c.w.net)->sent, sent);
    assert_int_equal(active_id(c.w.ca.conn), 0);
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, c.w.ca.lost_id, 1), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, second, 0), ATLAS_OK);
    flow_run(&c.f, 1);
    assert_int_equal(active_id(c.w.ca.conn), second);
    assert_int_equal(c.w.ca.paths, 1);
    assert_int_equal(c.w.sb.paths, 1);
    flow_settle(&c.f, 5);
    done(&c);
}

static void test_kept_circuit_ends(void **state) {
    atl_qpath_state states[ATL_CONN_PATHS];
    uint64_t second;
    atl_qpath path;
    circuits c;

    (void)state;
    begin(&c, 84);
    path = through(&c.two);
    second = keep(c.w.ca.conn, &path);
    atl_circuit_end(&c.two.at_a, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(atl_qconn_path_keep(c.w.ca.conn, &path, &second),
                     ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    flow_run(&c.f, 0.5);
    assert_int_equal(c.w.ca.lost, 1);
    assert_int_equal(c.w.ca.lost_id, second);
    assert_int_equal(c.w.ca.lost_code, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(atl_qconn_paths(c.w.ca.conn, states, ATL_CONN_PATHS), 1);
    assert_ptr_equal(states[0].real.circuit, &c.one.at_a);
    assert_int_equal(states[0].real.remote.port, 4001);
    flow_settle(&c.f, 5);
    done(&c);
}

static void test_end_without_upcall(void **state) {
    static const atl_qconn_ops PLAIN = {
        .on_confirmed = c_confirmed, .on_stream = c_stream, .on_closed = c_closed};
    circuits c;

    (void)state;
    begin_with(&c, 85, &PLAIN);
    atl_circuit_end(&c.one.at_a, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    assert_int_equal(c.w.ca.closed, 0);
    run(&c.w, 0.1, NULL);
    assert_int_equal(c.w.ca.closed, 1);
    assert_int_equal(c.w.ca.code, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
    done(&c);
}

/* The server answers through a circuit that the client has not heard of: kept by itself when its
 * other end is the peer, and dropped when it is not. */
static void echo_on_unknown(circuits *c, int other) {
    atl_qpath path;
    uint64_t id;

    memset(&path, 0, sizeof(path));
    path.circuit = &c->two.at_b;
    if (other) {
        c->two.at_a.peer = c->r.id;
    }
    id = keep(c->w.sb.conn, &path);
    c->one.down.out[0] ^= 1; /* what goes down the first circuit is lost */
    flow_write(&c->f, 0, 2000);
    assert_int_equal(atl_qconn_echo(c->w.sb.conn, id, 3), ATLAS_OK);
    run(&c->w, 0.3, NULL);
}

static void test_echo_on_unknown_circuit(void **state) {
    atl_qpath_state states[ATL_CONN_PATHS];
    circuits c;

    (void)state;
    begin(&c, 86);
    echo_on_unknown(&c, 0);
    assert_true(c.w.ca.strays >= 1);
    assert_ptr_equal(c.w.ca.stray.circuit, &c.two.at_a);
    assert_int_equal(atl_qconn_paths(c.w.ca.conn, states, ATL_CONN_PATHS), 2);
    assert_int_equal(states[1].id, c.w.ca.stray_id);
    assert_true(states[1].kept && !states[1].active);
    assert_int_equal(atl_qconn_migrate(c.w.ca.conn, c.w.ca.stray_id, 1), ATLAS_OK);
    flow_run(&c.f, 1);
    flow_settle(&c.f, 5);
    done(&c);
}

static void test_circuit_of_somebody_else(void **state) {
    circuits c;

    (void)state;
    begin(&c, 87);
    echo_on_unknown(&c, 1);
    assert_int_equal(c.w.ca.strays, 0);
    c.one.down.out[0] ^= 1;
    flow_settle(&c.f, 10);
    done(&c);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_to_direct_and_back),
        cmocka_unit_test(test_left_circuit_is_idle),
        cmocka_unit_test(test_active_circuit_ends),
        cmocka_unit_test(test_kept_circuit_ends),
        cmocka_unit_test(test_end_without_upcall),
        cmocka_unit_test(test_echo_on_unknown_circuit),
        cmocka_unit_test(test_circuit_of_somebody_else),
    };

    return cmocka_run_group_tests_name("circuit", TESTS, NULL, NULL);
}
