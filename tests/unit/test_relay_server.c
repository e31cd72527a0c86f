/* The relay server on the simulated network, against nodes that speak its protocol by hand:
 * announcements, limits, reports, draining. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_world.h"

#define RELAY_PATH "/.well-known/atlas/relay/"

/* ---- announcing ---- */

static void announces_and_expires(void **state) {
    relay_world w;
    raw_node *a;
    atl_relay_ready ready;
    atl_addr own;

    (void)state;
    world_start(&w);
    w.limits = *atl_relay_server_limits(w.server);
    atl_relay_server_limits(w.server)->bandwidth = 12345;
    a = raw_new(&w);
    assert_int_equal(world_stats(&w)->sessions, 1);
    assert_int_equal(world_stats(&w)->nodes, 0);
    raw_announce_as(a, &a->node.id, 0, 0);
    ready = raw_expect_ready(&w, a, ATL_RELAY_STATUS_WAITING);
    assert_int_equal(ready.bandwidth, 12345);
    assert_int_equal(ready.expiry, 6000);
    assert_int_equal(ready.interval, 2000);
    own = raw_addr(a);
    assert_true(atl_addr_equal(&ready.observed, &own));
    assert_int_equal(world_stats(&w)->nodes, 1);
    for (int i = 0; i < 5; i++) {
        world_run(&w, 5 * ATL_SECOND);
        raw_announce(&w, a);
    }
    assert_int_equal(world_stats(&w)->nodes, 1);
    world_run(&w, 6 * ATL_SECOND - 200 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 1);
    world_run(&w, 400 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 0);
    assert_int_equal(world_stats(&w)->expired, 1);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_EXPIRED);
    raw_announce(&w, a);
    assert_int_equal(world_stats(&w)->nodes, 1);
    /* the end of the connection ends the registration at once */
    atl_h3_close(a->h3, 0x100, "");
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(world_stats(&w)->nodes, 0);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

static void ids_must_be_the_authenticated_ones(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    atl_relay_error error;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    raw_announce_as(a, &b->node.id, 0, 0);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(error.has_request, 0);
    raw_connect_as(a, 9, &b->node.id, &b->node.id);
    error = raw_expect_error(&w, a, ATLAS_ERR_RELAY_IDENTITY);
    assert_int_equal(error.has_request, 1);
    assert_int_equal(error.request, 9);
    assert_int_equal(world_stats(&w)->refused_identity, 2);
    assert_int_equal(world_stats(&w)->nodes, 1);
    assert_int_equal(world_stats(&w)->replaced, 0);
    assert_int_equal(b->n, 0); /* undisturbed */
    world_done(&w);
}

static void a_clock_an_hour_off(void **state) {
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    raw_announce_as(a, &a->node.id, 3600 * 1000, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    raw_announce_as(a, &a->node.id, -3600 * 1000, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CLOCK_DRIFT);
    assert_int_equal(world_stats(&w)->refused_drift, 2);
    raw_announce_as(a, &a->node.id, -299 * 1000, 0);
    (void)raw_expect_ready(&w, a, ATL_RELAY_STATUS_WAITING);
    world_done(&w);
}

static void the_newer_connection_replaces(void **state) {
    relay_world w;
    raw_node *old;
    raw_node *newer;
    raw_node *third;

    (void)state;
    world_start(&w);
    old = raw_new_as(&w, 77);
    raw_request(&w, old, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce(&w, old);
    newer = raw_new_as(&w, 77);
    raw_request(&w, newer, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce(&w, newer);
    (void)raw_expect_error(&w, old, ATLAS_ERR_RELAY_REPLACED);
    world_until(&w, raw_is_closed, old, 3 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->replaced, 1);
    assert_int_equal(world_stats(&w)->nodes, 1);
    /* who yields does not */
    third = raw_new_as(&w, 77);
    raw_request(&w, third, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    raw_announce_as(third, &third->node.id, 0, 1);
    (void)raw_expect_error(&w, third, ATLAS_ERR_RELAY_REPLACED);
    raw_announce(&w, newer);
    assert_int_equal(world_stats(&w)->replaced, 1);
    world_done(&w);
}

/* ---- limits ---- */

static void nodes_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    atl_relay_server_limits(w.server)->max_nodes = 1;
    a = raw_new(&w);
    raw_announce(&w, a);
    b = raw_new(&w);
    raw_announce_as(b, &b->node.id, 0, 0);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_nodes, 1);
    atl_relay_server_limits(w.server)->max_nodes = 10;
    atl_relay_server_limits(w.server)->max_per_ipv4 = 0;
    raw_announce_as(b, &b->node.id, 0, 0);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_ipv4, 1);
    raw_announce(&w, a); /* who is in stays in */
    world_done(&w);
}

static void circuits_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    atl_relay_server_limits(w.server)->max_circuits_per_node = 1;
    (void)raw_pair(&w, a, b, 1);
    raw_connect_as(a, 2, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_circuits_node, 1);
    atl_relay_server_limits(w.server)->max_circuits_per_node = 2;
    atl_relay_server_limits(w.server)->max_circuits = 1;
    raw_connect_as(a, 3, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_CAPACITY);
    assert_int_equal(world_stats(&w)->refused_circuits, 1);
    atl_relay_server_limits(w.server)->max_circuits = 2;
    (void)raw_pair(&w, a, b, 4);
    assert_int_equal(world_stats(&w)->circuits, 2);
    world_done(&w);
}

static void requests_are_limited(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    size_t limited = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    for (uint64_t i = 0; i < 40; i++) {
        raw_connect_as(a, i, &a->node.id, &b->node.id);
    }
    world_run(&w, 300 * ATL_MS);
    assert_int_equal(a->n, 40);
    for (size_t i = 0; i < 40; i++) {
        atl_relay_error msg;

        assert_int_equal(atl_relay_error_decode(a->got[i].value, a->got[i].len, &msg), ATLAS_OK);
        assert_int_equal(msg.request, i);
        limited += msg.code == ATLAS_ERR_RELAY_RATE_LIMITED;
        assert_true(msg.code == ATLAS_ERR_RELAY_RATE_LIMITED ||
                    msg.code == ATLAS_ERR_RELAY_NOT_REGISTERED);
    }
    assert_int_equal(limited, 8);
    assert_int_equal(world_stats(&w)->refused_rate, 8);
    assert_int_equal(world_stats(&w)->connects, 40);
    world_done(&w);
}

static int32_t refuse_all(void *user, uint32_t what, const char *peer, const char *target,
                          const char *addr) {
    (void)user;
    (void)peer;
    (void)target;
    assert_int_equal(strncmp(addr, "10.0.1.", 7), 0);
    return what == ATLAS_RELAY_ASK_CONNECT ? ATLAS_ERR_RELAY_REFUSED
                                           : ATLAS_ERR_RELAY_NOT_AUTHORISED;
}

static void lists_and_policy_decide(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    atl_relay_server_set_policy(w.server, refuse_all, NULL);
    raw_announce_as(a, &a->node.id, 0, 0);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_NOT_AUTHORISED);
    raw_connect_as(a, 1, &a->node.id, &b->node.id);
    (void)raw_expect_error(&w, a, ATLAS_ERR_RELAY_REFUSED);
    assert_int_equal(world_stats(&w)->refused_policy, 2);
    /* a node that is denied while it is there is put out */
    assert_int_equal(atl_relay_server_deny(w.server, &b->node.id), ATLAS_OK);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_NOT_AUTHORISED);
    world_until(&w, raw_is_closed, b, 3 * ATL_SECOND);
    raw_dial(&w, b);
    raw_request(&w, b, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    assert_int_equal(b->status, 403);
    world_done(&w);
}

/* ---- HTTP ---- */

static void http_answers(void **state) {
    static const struct {
        const char *method, *path, *protocol;
        int capsules;
        int32_t status;
        const char *body;
    } table[] = {
        {"GET", RELAY_PATH "health", "", 0, 200,
         "{\"status\":\"ok\",\"nodes\":0,\"circuits\":0}\n"},
        {"GET", RELAY_PATH "limits", "", 0, 200, "\"max_per_ipv6_64\":10,"},
        {"GET", RELAY_PATH "metrics", "", 0, 200,
         "atlas_relay_refused_total{reason=\"drift\"} 0\n"},
        {"GET", RELAY_PATH "metrics", "", 0, 200,
         "# TYPE atlas_relay_sessions gauge\natlas_relay_sessions 1\n"},
        {"GET", RELAY_PATH, "", 0, 405, ""},
        {"POST", RELAY_PATH "health", "", 0, 405, ""},
        {"GET", "/", "", 0, 404, ""},
        {"GET", RELAY_PATH "healthy", "", 0, 404, ""},
        {"CONNECT", "/", "atlas-relay", 1, 404, ""},
        {"CONNECT", RELAY_PATH, "websocket", 1, 400, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 0, 400, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 1, 200, ""},
        {"CONNECT", RELAY_PATH, "atlas-relay", 1, 409, ""},
    };
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new_as(&w, 50);
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        raw_request(&w, a, table[i].method, table[i].path, table[i].protocol, table[i].capsules);
        world_run(&w, 50 * ATL_MS);
        assert_int_equal(a->status, table[i].status);
        if (table[i].body[0] != '\0') {
            assert_non_null(strstr(a->body, table[i].body));
        }
    }
    assert_false(a->closed);
    world_done(&w);
}

static void idle_sessions_are_closed(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    uint64_t start;

    (void)state;
    world_start(&w);
    a = raw_new_as(&w, 50);
    start = sim_now(w.net);
    atl_qconn_keepalive(atl_h3_conn(a->h3), 5 * ATL_SECOND);
    world_until(&w, raw_is_closed, a, 12 * ATL_SECOND);
    assert_true(sim_now(w.net) - start > 9 * ATL_SECOND);
    b = raw_new(&w);
    start = sim_now(w.net);
    atl_qconn_keepalive(atl_h3_conn(b->h3), 5 * ATL_SECOND);
    world_until(&w, raw_is_closed, b, 62 * ATL_SECOND);
    assert_true(sim_now(w.net) - start > 58 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

/* ---- draining ---- */

static void count_done(void *user) {
    ++*(int *)user;
}

static void drains(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    raw_circuit circuit;
    const raw_capsule *capsule;
    atl_relay_drain drain;
    int done = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, a);
    raw_announce(&w, b);
    circuit = raw_pair(&w, a, b, 1);
    atl_relay_server_drain(w.server, 30 * ATL_SECOND, count_done, &done);
    capsule = raw_expect(&w, a, ATL_RELAY_DRAIN);
    assert_int_equal(atl_relay_drain_decode(capsule->value, capsule->len, &drain), ATLAS_OK);
    assert_int_equal(drain.within, 30000);
    world_run(&w, ATL_SECOND);
    assert_true(a->goaway);
    (void)raw_expect(&w, b, ATL_RELAY_DRAIN);
    raw_connect_as(b, 7, &b->node.id, &a->node.id);
    (void)raw_expect_error(&w, b, ATLAS_ERR_RELAY_DRAINING);
    assert_int_equal(done, 0);
    assert_false(a->closed);
    raw_close_circuit(a, circuit.number);
    world_run(&w, ATL_SECOND);
    assert_int_equal(done, 1);
    assert_true(a->closed);
    assert_true(b->closed);
    assert_int_equal(world_stats(&w)->sessions, 0);
    raw_dial(&w, a); /* ends in a close: nobody is let in any more */
    world_until(&w, raw_is_closed, a, 12 * ATL_SECOND);
    assert_int_equal(done, 1);
    world_done(&w);
}

static void a_drain_has_an_end(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;
    int done = 0;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    (void)raw_pair(&w, a, b, 1);
    atl_relay_server_drain(w.server, 3 * ATL_SECOND, count_done, &done);
    world_run(&w, 2900 * ATL_MS);
    assert_int_equal(done, 0);
    world_run(&w, 1500 * ATL_MS);
    assert_int_equal(done, 1);
    assert_true(a->closed);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(announces_and_expires),
        cmocka_unit_test(ids_must_be_the_authenticated_ones),
        cmocka_unit_test(a_clock_an_hour_off),
        cmocka_unit_test(the_newer_connection_replaces),
        cmocka_unit_test(nodes_are_limited),
        cmocka_unit_test(circuits_are_limited),
        cmocka_unit_test(requests_are_limited),
        cmocka_unit_test(lists_and_policy_decide),
        cmocka_unit_test(http_answers),
        cmocka_unit_test(idle_sessions_are_closed),
        cmocka_unit_test(drains),
        cmocka_unit_test(a_drain_has_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
