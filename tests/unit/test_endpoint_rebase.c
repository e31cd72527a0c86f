/* The host's addresses change under a connection, at its client and at its server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "quic_world.h"

static const sim_link LINK = {.delay = 20 * ATL_MS, .mtu = 1472};

static void begin(world *w, two_way *f, uint64_t seed) {
    world_init(w, seed);
    sim_set_link(w->net, &LINK);
    connect_both(w);
    flow_open(f, w);
    flow_run(f, 0.5);
}

static void rebase(pair_node *node) {
    atl_addr addrs[8];
    size_t n = node->io.local_addrs(node->io.impl, addrs, 8);

    assert_true(n > 0);
    atl_endpoint_rebase(node->ep, addrs, n);
    sim_host_touch(node->host);
}

static void assert_remote(const atl_qconn *conn, const char *ip) {
    atl_qpath path;
    atl_addr want;

    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 0, &want), ATLAS_OK);
    atl_qconn_path(conn, &path);
    assert_memory_equal(path.remote.ip, want.ip, sizeof(want.ip));
}

static void test_client_moves(void **state) {
    atl_qpath_state states[ATL_CONN_PATHS];
    atl_qpath path;
    uint64_t id;
    int i;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 71);
    path = pair_path(&w.b);
    assert_int_equal(atl_qconn_path_keep(w.ca.conn, &path, &id), ATLAS_OK);
    for (i = 0; i < 5; i++) {
        char ip[32];

        (void)snprintf(ip, sizeof(ip), "10.3.0.%d", i + 1);
        sim_host_move(w.a.host, NULL, ip);
        rebase(&w.a);
        flow_run(&f, 0.5);
        assert_int_equal(w.ca.paths, i + 1);
        assert_remote(w.sb.conn, ip);
        assert_int_equal(atl_qconn_paths(w.ca.conn, states, ATL_CONN_PATHS), 1);
        assert_true(states[0].kept && states[0].active);
        assert_int_not_equal(states[0].id, id);
    }
    flow_settle(&f, 3);
    world_done(&w);
}

/* The server cannot migrate: its PING comes from where it is now, and the client hears a stray. */
static void test_server_moves(void **state) {
    uint64_t id;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 72);
    sim_host_move(w.b.host, NULL, "10.3.0.9");
    rebase(&w.b);
    run(&w, 0.5, NULL);
    assert_true(w.ca.strays >= 1);
    assert_int_equal(w.ca.stray_id, 0);
    assert_int_equal(w.ca.stray.remote.port, 4001);
    assert_int_equal(atl_qconn_path_keep(w.ca.conn, &w.ca.stray, &id), ATLAS_OK);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, id, 1), ATLAS_OK);
    flow_run(&f, 0.5);
    assert_remote(w.ca.conn, "10.3.0.9");
    flow_settle(&f, 3);
    world_done(&w);
}

/* An address more changes nothing, and costs a PING only where something is in flight. */
static void test_nothing_gone(void **state) {
    uint64_t sent;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 73);
    flow_settle(&f, 2);
    run(&w, 2, NULL);
    sent = sim_get_stats(w.net)->sent;
    sim_host_add_addr(w.a.host, NULL, "10.3.0.1");
    rebase(&w.a);
    run(&w, 1, NULL);
    assert_int_equal(sim_get_stats(w.net)->sent, sent);
    flow_write(&f, 1000, 0);
    run(&w, 0.005, NULL);
    sent = sim_get_stats(w.net)->sent;
    rebase(&w.a);
    run(&w, 0.005, NULL);
    assert_int_equal(sim_get_stats(w.net)->sent, sent + 1);
    flow_settle(&f, 2);
    assert_int_equal(w.ca.paths, 0);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_client_moves),
        cmocka_unit_test(test_server_moves),
        cmocka_unit_test(test_nothing_gone),
    };

    return cmocka_run_group_tests_name("endpoint_rebase", TESTS, NULL, NULL);
}
