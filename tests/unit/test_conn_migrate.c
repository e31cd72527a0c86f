/* A connection moves between its paths while bytes are on their way in both directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "quic_world.h"

static const sim_link LINK = {.delay = 20 * ATL_MS, .jitter = 2 * ATL_MS, .mtu = 1472};

static void begin(world *w, two_way *f, uint64_t seed) {
    world_init(w, seed);
    sim_set_link(w->net, &LINK);
    sim_host_add_addr(w->b.host, NULL, "10.0.1.2");
    connect_both(w);
    flow_open(f, w);
    flow_run(f, 0.5);
}

static uint64_t keep(world *w, const char *ip) {
    atl_qpath path = path_to(&w->b, ip);
    uint64_t id = 0;
    uint64_t again = 0;

    assert_int_equal(atl_qconn_path_keep(w->ca.conn, &path, &id), ATLAS_OK);
    assert_int_equal(atl_qconn_path_keep(w->ca.conn, &path, &again), ATLAS_OK);
    assert_int_equal(id, again);
    return id;
}

static void assert_at(const atl_qconn *conn, const char *ip) {
    atl_qpath path;
    atl_addr want;

    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 0, &want), ATLAS_OK);
    atl_qconn_path(conn, &path);
    assert_memory_equal(path.remote.ip, want.ip, sizeof(want.ip));
}

static void test_there_and_back(void **state) {
    atl_qpath_state states[ATL_CONN_PATHS];
    uint64_t first;
    uint64_t second;
    size_t n;
    int i;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 61);
    first = keep(&w, "10.0.0.2");
    second = keep(&w, "10.0.1.2");
    assert_int_equal(active_id(w.ca.conn), first);
    assert_int_not_equal(first, second);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, second, 0), ATLAS_OK);
    assert_int_equal(active_id(w.ca.conn), first); /* validated first */
    assert_int_equal(w.ca.paths, 0);
    flow_run(&f, 0.5);
    assert_int_equal(w.ca.paths, 1);
    assert_int_equal(w.sb.paths, 1);
    assert_int_equal(active_id(w.ca.conn), second);
    assert_at(w.ca.conn, "10.0.1.2");
    for (i = 0; i < 6; i++) { /* both are known now: at once */
        uint64_t to = i % 2 == 0 ? first : second;

        assert_int_equal(atl_qconn_migrate(w.ca.conn, to, 0), ATLAS_OK);
        assert_int_equal(active_id(w.ca.conn), to);
        assert_int_equal(w.ca.paths, 1 + i); /* not from inside */
        flow_run(&f, 0.3);
        assert_int_equal(w.ca.paths, 2 + i);
    }
    n = atl_qconn_paths(w.ca.conn, states, ATL_CONN_PATHS);
    assert_int_equal(n, 2);
    assert_int_equal(states[0].id, second);
    for (i = 0; i < 2; i++) {
        assert_true(states[i].kept && states[i].validated);
        assert_true(states[i].srtt > 35 * ATL_MS && states[i].srtt < 80 * ATL_MS);
        assert_true(states[i].heard + ATL_SECOND > sim_now(w.net));
    }
    flow_settle(&f, 5);
    world_done(&w);
}

static void test_no_answer(void **state) {
    uint64_t dead;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 62);
    dead = keep(&w, "10.0.7.7");
    assert_int_equal(atl_qconn_migrate(w.ca.conn, dead, 0), ATLAS_OK);
    flow_run(&f, 3);
    assert_int_equal(w.ca.failed, 1);
    assert_int_equal(w.ca.failed_id, dead);
    assert_int_equal(w.ca.paths, 0);
    assert_at(w.ca.conn, "10.0.0.2");
    flow_settle(&f, 5);
    world_done(&w);
}

static void test_at_once(void **state) {
    uint64_t first;
    uint64_t second;
    uint64_t dead;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 63);
    first = keep(&w, "10.0.0.2");
    second = keep(&w, "10.0.1.2");
    dead = keep(&w, "10.0.7.7");
    assert_int_equal(atl_qconn_migrate(w.ca.conn, second, 1), ATLAS_OK);
    assert_int_equal(active_id(w.ca.conn), second);
    flow_run(&f, 0.3);
    assert_int_equal(w.ca.paths, 1);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, dead, 1), ATLAS_OK);
    run(&w, 3, NULL);
    assert_int_equal(w.ca.failed, 1);
    assert_int_equal(w.ca.failed_id, dead);
    assert_int_equal(active_id(w.ca.conn), dead); /* still there */
    assert_int_equal(atl_qconn_migrate(w.ca.conn, first, 1), ATLAS_OK);
    flow_run(&f, 1);
    assert_at(w.ca.conn, "10.0.0.2");
    flow_settle(&f, 5);
    world_done(&w);
}

static void test_refused(void **state) {
    atl_qpath nowhere;
    uint64_t ids[ATL_CONN_PATHS + 1];
    uint64_t id;
    int32_t rv = ATLAS_OK;
    char ip[32];
    int i;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 64);
    id = keep(&w, "10.0.0.2");
    assert_int_equal(atl_qconn_migrate(w.ca.conn, id, 0), ATLAS_ERR_STATE);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, 999, 0), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_qconn_migrate(w.sb.conn, 1, 0), ATLAS_ERR_STATE);
    assert_int_equal(atl_qconn_echo(w.ca.conn, id, 1), ATLAS_ERR_STATE);
    assert_int_equal(atl_qconn_echo(w.sb.conn, 999, 1), ATLAS_ERR_NOT_FOUND);
    memset(&nowhere, 0, sizeof(nowhere));
    nowhere.remote.family = 6;
    assert_int_equal(atl_qconn_path_keep(w.ca.conn, &nowhere, &id), ATLAS_ERR_FAMILY);
    for (i = 0; i < ATL_CONN_PATHS + 1 && rv == ATLAS_OK; i++) {
        atl_qpath path;

        (void)snprintf(ip, sizeof(ip), "10.0.7.%d", i + 1);
        path = path_to(&w.b, ip);
        rv = atl_qconn_path_keep(w.ca.conn, &path, &ids[i]);
    }
    assert_int_equal(rv, ATLAS_ERR_LIMIT);
    assert_true(i > 4);
    atl_qconn_path_drop(w.ca.conn, ids[0]);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, ids[0], 0), ATLAS_ERR_NOT_FOUND);
    /* without an answer the ids run out */
    for (i = 0; i < 20 && (rv = atl_qconn_migrate(w.ca.conn, ids[1 + i % 2], 0)) == ATLAS_OK; i++) {
    }
    assert_int_equal(rv, ATLAS_ERR_AGAIN);
    assert_true(i >= 4);
    world_done(&w);
}

/* Asked for in the middle of a packet. */
typedef struct mover {
    side *s;
    uint64_t to;
    int32_t rv;
} mover;

static void move_on_data(void *user, atl_qstream *stream, const uint8_t *data, size_t len,
                         int fin) {
    mover *m = user;

    s_data(m->s, stream, data, len, fin);
    if (m->to != 0) {
        m->rv = atl_qconn_migrate(m->s->conn, m->to, 1);
        m->to = 0;
    }
}

static const atl_qstream_ops MOVING = {.on_data = move_on_data};

static void test_from_an_upcall(void **state) {
    two_way f;
    mover m;
    world w;

    (void)state;
    begin(&w, &f, 65);
    m.s = &w.ca;
    m.to = keep(&w, "10.0.1.2");
    m.rv = -1;
    atl_qstream_set_ops(w.ca.stream, &MOVING, &m);
    flow_run(&f, 0.5);
    assert_int_equal(m.rv, ATLAS_OK);
    assert_int_equal(w.ca.paths, 1);
    assert_at(w.ca.conn, "10.0.1.2");
    flow_settle(&f, 5);
    world_done(&w);
}

/* ---- everything at once ---- */

static void one_step(world *w, two_way *f, const uint64_t *ids, int step) {
    char ip[32];
    uint64_t dice = sim_random(w->net) % 10;

    if (dice < 3) {
        sim_host_rebind(w->a.host, NULL);
    } else if (dice < 5) {
        (void)snprintf(ip, sizeof(ip), "10.0.9.%d", step % 250 + 1);
        sim_host_rebind(w->a.host, ip);
    } else if (dice < 9) {
        uint64_t to = ids[sim_random(w->net) % 2];

        if (to != active_id(w->ca.conn)) {
            int32_t rv = atl_qconn_migrate(w->ca.conn, to, (int)(sim_random(w->net) % 2));

            assert_true(rv == ATLAS_OK || rv == ATLAS_ERR_AGAIN);
        }
    }
    flow_write(f, sim_random(w->net) % 3000, sim_random(w->net) % 3000);
    run(w, 0.001 * (double)(sim_random(w->net) % (step % 20 == 19 ? 3000 : 150)), NULL);
    assert_int_equal(w->ca.closed, 0);
    assert_int_equal(w->sb.closed, 0);
}

/* What the owner of a connection does that is silent: to the other path at once. Without anybody
 * who does, ngtcp2 can wait for ever, its window full of answers that it does not repeat. */
static void arrive(world *w, two_way *f, const uint64_t *ids) {
    int told = w->ca.silent;
    int i;

    for (i = 0; i < 25 && !flow_arrived(f); i++) {
        run(w, 1, NULL);
        if (w->ca.conn != NULL && w->ca.silent != told) {
            told = w->ca.silent;
            (void)atl_qconn_migrate(w->ca.conn, ids[active_id(w->ca.conn) == ids[0]], 1);
        }
    }
    flow_settle(f, 1);
}

static void mix(uint64_t seed, uint32_t loss) {
    sim_link link = LINK;
    uint64_t ids[2];
    int step;
    two_way f;
    world w;

    begin(&w, &f, seed);
    atl_qconn_keepalive(w.ca.conn, ATL_SECOND);
    link.loss = loss;
    sim_set_link(w.net, &link);
    ids[0] = keep(&w, "10.0.0.2");
    ids[1] = keep(&w, "10.0.1.2");
    for (step = 0; step < 1000; step++) {
        one_step(&w, &f, ids, step);
    }
    link.loss = 0;
    sim_set_link(w.net, &link);
    arrive(&w, &f, ids);
    world_done(&w);
}

static void test_a_thousand_steps(void **state) {
    uint64_t seed;

    (void)state;
    for (seed = 100; seed < 104; seed++) {
        mix(seed, seed % 2 == 0 ? 200 : 1000);
    }
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_at_once),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_from_an_upcall), cmocka_unit_test(test_a_thousand_steps),
    };

    return cmocka_run_group_tests_name("conn_migrate", TESTS, NULL, NULL);
}
