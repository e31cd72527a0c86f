/* The connection of a link on the simulated network: names, its end when nobody uses it, dials that
 * fail, connections that are lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "link_world.h"

/* ---- names ---- */

static atl_task resolving;
static atl_resolve_cb resolve_cb;
static void *resolve_user;
static int cancelled;

static void resolved(atl_task *task) {
    atl_addr addrs[3];

    (void)task;
    assert_int_equal(atl_addr_parse_ip(GONE, strlen(GONE), RELAY_PORT, &addrs[0]), ATLAS_OK);
    assert_int_equal(atl_addr_parse_ip("2001:db8::1", 11, RELAY_PORT, &addrs[1]), ATLAS_OK);
    assert_int_equal(atl_addr_parse_ip("10.0.0.1", 8, RELAY_PORT, &addrs[2]), ATLAS_OK);
    resolve_cb(resolve_user, ATLAS_OK, addrs, 3);
}

static int32_t resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                       atl_resolve_cb cb, void *user, atl_resolve **out) {
    (void)impl;
    assert_string_equal(host, NAME);
    assert_int_equal(port, RELAY_PORT);
    assert_int_equal(family, 0);
    resolve_cb = cb;
    resolve_user = user;
    *out = (atl_resolve *)(void *)&resolving;
    atl_task_init(&resolving, resolved, NULL);
    atl_post_work(&client.loop, &resolving);
    return ATLAS_OK;
}

static void resolve_cancel(void *impl, atl_resolve *what) {
    (void)impl;
    assert_ptr_equal(what, &resolving);
    atl_task_cancel(&resolving);
    cancelled++;
}

/* Nobody at the first, no socket for the second. */
static void test_several_addresses(void **state) {
    atl_addr remote;
    asking *a;
    uint64_t start;

    (void)state;
    begin_with("/dns/" NAME);
    client.io.resolve = resolve;
    client.io.resolve_cancel = resolve_cancel;
    start = sim_now(w.net);
    a = ask_now("GET", "/t/ok", 0, 10 * ATL_SECOND);
    until_done(10 * ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_in_range(a->at - start, 3 * ATL_SECOND, 3 * ATL_SECOND + 300 * ATL_MS);
    assert_int_equal(atl_link_remote(links[0], &remote), ATLAS_OK);
    assert_int_equal(remote.ip[3], 1);
    /* freed while the name is looked up */
    atl_link_free(links[0]);
    link_to("/dns/" NAME, &w.relay.id);
    cancelled = 0;
    (void)ask_now("GET", "/t/ok", 0, 10 * ATL_SECOND);
    atl_link_free(links[0]);
    links[0] = NULL;
    assert_int_equal(cancelled, 1);
    finish();
}

static void test_name(void **state) {
    asking *a;
    asking *b;

    (void)state;
    begin_with("/dns4/" NAME);
    sim_add_name(w.net, NAME, "10.0.0.1");
    a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
    b = ask("GET", "/t/ok", 0, 5 * ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_int_equal(b->reply.status, 200);
    finish();
}

/* The linger ends the connection in order; the next request makes another. */
static void test_linger(void **state) {
    asking *a;

    (void)state;
    begin();
    for (int i = 0; i < 3; i++) {
        uint64_t start;

        a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
        until_done(ATL_SECOND);
        assert_int_equal(a->reply.status, 200);
        start = sim_now(w.net);
        world_until(&w, not_up, NULL, 31 * ATL_SECOND);
        assert_in_range(sim_now(w.net) - start, 29 * ATL_SECOND, 31 * ATL_SECOND);
        world_until(&w, no_session, NULL, 100 * ATL_MS); /* it was told */
    }
    /* use keeps it */
    a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    for (int i = 0; i < 5; i++) {
        world_run(&w, 20 * ATL_SECOND);
        assert_int_equal(atl_link_is_up(links[0]), 1);
        a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    }
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    finish();
}

/* A request in the moment in which the connection is being closed. */
static void test_ask_while_closing(void **state) {
    asking *a;

    (void)state;
    begin();
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    for (int i = -3; i <= 3; i++) {
        world_run(&w, ATL_LINK_LINGER + (uint64_t)(i * 10) * ATL_MS - 25 * ATL_MS);
        a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
        until_done(ATL_SECOND);
        assert_int_equal(a->reply.status, 200);
    }
    finish();
}

/* ---- dials that fail ---- */

static void test_unresolvable(void **state) {
    asking *a;

    (void)state;
    begin_with("/dns/nowhere.test");
    for (int i = 0; i < 2; i++) {
        a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
        until_done(ATL_SECOND);
        assert_int_equal(a->reply.code, ATLAS_ERR_RESOLVE);
        assert_int_equal(a->reply.status, 0);
    }
    finish();
}

static void test_wrong_peer(void **state) {
    asking *a;
    asking *b;

    (void)state;
    begin_with(NULL);
    link_to("/ip4/10.0.0.1", &client.id);
    a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
    b = ask("GET", "/t/ok", 0, 5 * ATL_SECOND);
    until_done(2 * ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_PEER_MISMATCH);
    assert_int_equal(b->reply.code, ATLAS_ERR_PEER_MISMATCH);
    assert_int_equal(served.requests, 0);
    finish();
}

static void test_nobody_there(void **state) {
    asking *a;
    asking *b;

    (void)state;
    begin_with("/ip4/" GONE);
    handshake_timeout = 4 * ATL_SECOND;
    a = ask_now("GET", "/t/ok", 0, 2 * ATL_SECOND);
    b = ask("GET", "/t/ok", 0, 20 * ATL_SECOND);
    until_done(6 * ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_TIMEOUT);
    assert_int_equal(b->reply.code, ATLAS_ERR_HANDSHAKE_TIMEOUT);
    finish();
}

/* ---- connections that are lost ---- */

static void restart(void *user) {
    (void)user;
    relay_start(&w);
    serve();
}

/* The server was restarted while the connection was not used: the request finds out, and is made on
 * another. */
static void test_restarted_server(void **state) {
    asking *a;
    asking *b;

    (void)state;
    begin();
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    sim_host_set_down(w.relay.host, 1); /* nobody is told */
    relay_stop(&w);
    sim_host_set_down(w.relay.host, 0);
    restart(NULL);
    sim_host_touch(w.relay.host);
    a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
    b = ask("PUT", "/t/put", 100, 5 * ATL_SECOND);
    until_done(2 * ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_int_equal(b->reply.status, 201);
    assert_int_equal(served.requests, 3);
    finish();
}

/* It dies in the middle of an answer, and comes back a second later, or does not. */
static void dies(int comes_back) {
    asking *a;

    begin();
    handshake_timeout = 3 * ATL_SECOND;
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    a = ask_now("GET", "/t/big/262144", 0, 20 * ATL_SECOND);
    world_run(&w, 60 * ATL_MS);
    assert_int_equal(served.requests, 2);
    sim_host_set_down(w.relay.host, 1);
    relay_stop(&w);
    world_run(&w, ATL_SECOND);
    assert_int_equal(a->done, 0);
    if (comes_back) {
        sim_host_set_down(w.relay.host, 0);
        restart(NULL);
        sim_host_touch(w.relay.host);
    }
    until_done(12 * ATL_SECOND);
    if (comes_back) {
        assert_int_equal(a->reply.status, 200);
        assert_int_equal(a->reply.len, ATL_LINK_BODY_MAX);
        assert_int_equal(served.requests, 3);
    } else {
        assert_int_equal(a->reply.code, ATLAS_ERR_HANDSHAKE_TIMEOUT);
        assert_int_equal(atl_link_is_up(links[0]), 0);
        sim_host_set_down(w.relay.host, 0);
    }
    finish();
}

static void test_server_dies(void **state) {
    (void)state;
    dies(1);
    dies(0);
}

/* A request is dialled for again once, not for ever: this server ends every connection. */
static int32_t accept_and_close(pair_node *node, atl_qconn *conn) {
    int32_t rc = relay_accept(node, conn);

    node->accepted = conn;
    return rc;
}

static void close_last(void *user) {
    (void)user;
    if (w.relay.accepted != NULL) {
        atl_qconn_close(w.relay.accepted, 0x100, "no more");
        sim_host_touch(w.relay.host);
    }
}

static void test_lost_twice(void **state) {
    asking *a;
    uint64_t start;

    (void)state;
    begin();
    w.relay.accept = accept_and_close;
    a = ask_now("GET", "/t/slow", 0, 20 * ATL_SECOND);
    start = sim_now(w.net);
    sim_at(w.net, start + ATL_SECOND, close_last, NULL);
    sim_at(w.net, start + 2 * ATL_SECOND, close_last, NULL);
    world_run(&w, 1900 * ATL_MS);
    assert_int_equal(served.requests, 2);
    assert_int_equal(a->done, 0);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_PEER_CLOSED);
    assert_non_null(strstr(a->text, "no more"));
    assert_int_equal(served.requests, 2);
    world_run(&w, 5 * ATL_SECOND);
    assert_int_equal(atl_link_is_up(links[0]), 0); /* nobody asks any more */
    finish();
}

/* GOAWAY: what is under way is answered, what crosses it or comes later goes to a new connection
 * when that is done. */
static void test_goaway(void **state) {
    asking *slow;
    asking *crossing;
    asking *later;

    (void)state;
    begin();
    slow = ask_now("GET", "/t/slow", 0, 20 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    atl_h3_goaway(atl_h3_stream_session(served.slow));
    sim_host_touch(w.relay.host);
    crossing = ask_now("GET", "/t/ok", 0, 10 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    later = ask_now("PUT", "/t/put", 10, 10 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    assert_int_equal(n_done, 0);
    assert_int_equal(served.requests, 1);
    assert_int_equal(atl_h3_respond(served.slow, 200, NULL, "at last", 7), ATLAS_OK);
    sim_host_touch(w.relay.host);
    until_done(ATL_SECOND);
    assert_string_equal(slow->body, "at last");
    assert_int_equal(crossing->reply.status, 200);
    assert_int_equal(later->reply.status, 201);
    assert_int_equal(served.requests, 3);
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(world_stats(&w)->sessions, 1);
    finish();
}

/* A server that goes away for good. */
static void test_drained_server(void **state) {
    asking *a;

    (void)state;
    begin();
    a = ask_now("GET", "/t/slow", 0, 8 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    atl_relay_server_drain(w.server, 0, NULL, NULL);
    sim_host_touch(w.relay.host);
    until_done(10 * ATL_SECOND);
    assert_true(a->reply.code != ATLAS_OK);
    assert_int_equal(atl_link_is_up(links[0]), 0);
    finish();
}

/* ---- the network ---- */

static void test_network_changed(void **state) {
    asking *a;
    uint64_t start;

    (void)state;
    begin();
    /* the first dial goes nowhere; the change begins it again */
    sim_unplug(client.host, 1);
    a = ask_now("GET", "/t/ok", 0, 20 * ATL_SECOND);
    world_run(&w, 3 * ATL_SECOND + 600 * ATL_MS);
    sim_unplug(client.host, 0);
    start = sim_now(w.net);
    (void)atl_loop_update(&client.loop);
    atl_link_network_changed(links[0]);
    atl_link_network_changed(links[0]); /* at once again: nothing */
    sim_host_touch(client.host);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_in_range(sim_now(w.net) - start, 150 * ATL_MS, 250 * ATL_MS);
    /* an established connection goes on from another address */
    sim_host_move(client.host, NULL, "10.0.2.77");
    (void)atl_loop_update(&client.loop);
    atl_link_network_changed(links[0]);
    sim_host_touch(client.host);
    world_run(&w, ATL_SECOND);
    a = ask_now("GET", "/t/ok", 0, 10 * ATL_SECOND);
    until_done(10 * ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_addresses),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_linger),
        cmocka_unit_test(test_ask_while_closing),
        cmocka_unit_test(test_unresolvable),
        cmocka_unit_test(test_wrong_peer),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_restarted_server),
        cmocka_unit_test(test_server_dies),
        cmocka_unit_test(test_lost_twice),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_drained_server),
        cmocka_unit_test(test_network_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
