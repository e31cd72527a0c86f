/* The relay client on the simulated network: requests, circuits, connections through them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_nodes.h"

/* ---- circuits ---- */

static void carries_a_connection(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add(); /* neither connected nor announced */
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(200 * ATL_MS);
    assert_int_equal(a->ready, 1);
    assert_int_equal(b->n_incoming, 1);
    assert_true(atl_peer_id_equal(&b->from, &a->node.id));
    assert_int_equal(b->accepted, 1);
    assert_true(atl_peer_id_equal(atl_qconn_peer(b->conn), &a->node.id));
    assert_int_equal(b->datagrams, 10);
    assert_int_equal(a->datagrams, 10);
    assert_int_equal(world_stats(&world)->nodes, 1);
    assert_int_equal(world_stats(&world)->pairs, 1);
    assert_true(world_stats(&world)->forwarded_packets > 20);
    assert_int_equal(world_stats(&world)->dropped_source, 0);
    run(100 * ATL_SECOND); /* QUIC ends the connection as idle, and then the circuit goes */
    run(60 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(b->conn_closed, 1);
    assert_int_equal(world_stats(&world)->circuits, 0);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_IDLE);
    assert_int_equal(world_stats(&world)->sessions, 1);
    finish();
}

static void unused_circuits_are_closed(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 2 * ATL_SECOND);
    assert_int_equal(a->ready, 1);
    run(14 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 1);
    run(2 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 0);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_ANNOUNCED);
    finish();
}

static void closing_a_circuit_ends_its_connections(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    run(100 * ATL_MS);
    atl_relay_circuit_close(a->circuit, ATLAS_ERR_CANCELLED);
    assert_int_equal(a->conn_closed, 0); /* not from inside the call */
    run(100 * ATL_MS);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(a->conn_code, ATLAS_ERR_CANCELLED);
    assert_int_equal(b->conn_closed, 1);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

static void requests_fail_with_a_reason(void **state) {
    client_node *a;
    client_node *b;
    atl_peer_id nobody;

    (void)state;
    begin();
    a = add_announced();
    b = add_announced();
    memset(&nobody, 7, sizeof(nobody));
    (void)ask(a, &nobody);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_NOT_REGISTERED);
    assert_true(a->why[0] != '\0');
    b->incoming = ATLAS_ERR_RELAY_REFUSED;
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_REFUSED);
    /* a target whose host has gone */
    sim_host_set_down(b->node.host, 1);
    atl_relay_server_limits(world.server)->handshake_timeout = ATL_SECOND;
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 3 * ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_RELAY_HANDSHAKE_TIMEOUT);
    /* the relay itself */
    (void)ask(a, &b->node.id);
    atl_relay_client_want(a->client, 0, 0);
    world_until(&world, is_answered, a, ATL_SECOND);
    assert_int_equal(a->code, ATLAS_ERR_CANCELLED);
    run(ATL_SECOND);
    sim_host_set_down(world.relay.host, 1);
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 13 * ATL_SECOND);
    assert_int_equal(a->failed, 1);
    assert_int_equal(a->ready, 0);
    assert_int_not_equal(a->code, ATLAS_OK);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

static void a_lost_relay_ends_what_it_carried(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    relay_stop(&world);
    run(9 * ATL_SECOND);
    assert_int_equal(a->conn_closed, 1);
    assert_int_equal(b->conn_closed, 1);
    relay_start(&world);
    world_until(&world, is_announced, a, 20 * ATL_SECOND);
    world_until(&world, is_announced, b, 20 * ATL_SECOND);
    a->confirmed = 0;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    finish();
}

/* The relay has restarted, and the request is what finds that out: it goes through all the same. */
static void requests_survive_a_restart(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add();
    a->presence_interval = b->presence_interval = 60 * ATL_SECOND;
    atl_relay_client_want(a->client, 1, 0);
    run(5 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 1); /* swallows the last words */
    relay_stop(&world);
    relay_start(&world);
    sim_host_set_down(world.relay.host, 0);
    atl_relay_client_probe(at(b));
    run(2 * ATL_SECOND);
    assert_int_equal(is_announced(b), 1);
    assert_int_equal(atl_relay_client_state(a->client), ATLAS_RELAY_CONNECTED);
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 500 * ATL_MS);
    assert_int_equal(a->failed, 0);
    /* once only */
    run(5 * ATL_SECOND);
    sim_host_set_down(world.relay.host, 1);
    (void)ask(a, &b->node.id);
    world_until(&world, is_answered, a, 9 * ATL_SECOND);
    assert_int_equal(a->failed, 1);
    finish();
}

static void cancelled_requests_say_nothing(void **state) {
    client_node *a;
    client_node *b;
    atl_relay_request *request;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    for (uint64_t wait = 0; wait < 30 * ATL_MS; wait += 4 * ATL_MS) {
        request = ask(a, &b->node.id);
        run(wait);
        if (!is_answered(a)) {
            atl_relay_request_cancel(request);
            run(ATL_SECOND);
            assert_int_equal(a->ready + a->failed, 0);
            assert_int_equal(world_stats(&world)->circuits, 0);
        }
    }
    assert_true(world_stats(&world)->pairs > 0);
    finish();
}

static void may_be_freed_from_its_upcall(void **state) {
    client_node *n;

    (void)state;
    begin();
    for (int i = 1; i <= 3; i++) {
        n = add();
        atl_relay_client_want(n->client, 1, 1);
        run((uint64_t)i * 12 * ATL_MS);
        n->free_on_state = 1;
        atl_relay_client_want(n->client, 0, 0);
        run(100 * ATL_MS);
        assert_null(n->client);
    }
    run(10 * ATL_SECOND);
    finish();
}

static void freed_with_everything_going_on(void **state) {
    client_node *a;
    client_node *b;

    (void)state;
    begin();
    b = add_announced();
    a = add_announced();
    a->dial = 1;
    (void)ask(a, &b->node.id);
    world_until(&world, is_confirmed, a, 2 * ATL_SECOND);
    (void)ask(a, &b->node.id);
    (void)ask(a, &b->node.id);
    run(12 * ATL_MS);
    (void)ask(a, &b->node.id);
    atl_relay_client_free(a->client);
    a->client = NULL;
    run(100 * ATL_MS);
    assert_int_equal(a->failed, 0);
    assert_int_equal(a->conn_closed, 1);
    run(100 * ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

/* ---- no memory ---- */

static size_t allocations;
static size_t fail_from;

static void *failing_malloc(void *user, size_t size) {
    (void)user;
    return ++allocations >= fail_from ? NULL : malloc(size);
}

static void *failing_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return ++allocations >= fail_from ? NULL : realloc(ptr, size);
}

/* A node whose memory runs out, for good, at any moment of its presence, of a request or of an
 * answer: every request has its one upcall, and nothing is left behind. */
static void survives_a_lack_of_memory(void **state) {
    size_t n = 0;
    int reached = 1;

    (void)state;
    while (reached) {
        atl_relay_request *request;
        client_node *a;
        client_node *b;
        int32_t rc;

        begin();
        b = add_announced();
        a = add();
        allocations = 0;
        fail_from = ++n;
        a->node.env.hooks.malloc = failing_malloc;
        a->node.env.hooks.realloc = failing_realloc;
        atl_relay_client_want(a->client, 1, 1);
        run(30 * ATL_MS);
        rc = atl_relay_client_request(a->client, &b->node.id, 5 * ATL_SECOND, &request_ops, a,
                                      &request);
        run(6 * ATL_SECOND);
        assert_int_equal(a->ready + a->failed, rc == ATLAS_OK);
        reached = allocations >= n;
        assert_int_equal(reached || a->ready, 1);
        finish();
    }
    assert_in_range(n, 10, 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_a_connection),
        cmocka_unit_test(unused_circuits_are_closed),
        cmocka_unit_test(closing_a_circuit_ends_its_connections),
        cmocka_unit_test(requests_fail_with_a_reason),
        cmocka_unit_test(a_lost_relay_ends_what_it_carried),
        cmocka_unit_test(requests_survive_a_restart),
        cmocka_unit_test(cancelled_requests_say_nothing),
        cmocka_unit_test(may_be_freed_from_its_upcall),
        cmocka_unit_test(freed_with_everything_going_on),
        cmocka_unit_test(survives_a_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
