/* A link's requests on the simulated network, against a relay server with a part of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "link_world.h"

/* ---- what works ---- */

/* Answers of every size, and the time that they take: on a connection that is there, a GET is one
 * round trip. */
static void test_requests(void **state) {
    atl_addr remote;
    asking *a;

    (void)state;
    begin();
    assert_int_equal(atl_link_remote(links[0], &remote), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_link_rtt(links[0]), 0);
    a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
    assert_int_equal(atl_link_is_up(links[0]), 0);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_OK);
    assert_int_equal(a->reply.status, 200);
    assert_string_equal(a->body, "hello");
    assert_string_equal(a->text, "");
    assert_true(atl_peer_id_equal(&served.peer, &client.id));
    assert_int_equal(atl_link_is_up(links[0]), 1);
    assert_int_equal(atl_link_remote(links[0], &remote), ATLAS_OK);
    assert_int_equal(remote.port, RELAY_PORT);
    assert_in_range(atl_link_rtt(links[0]), 50 * ATL_MS, 60 * ATL_MS);
    for (int i = 0; i < 5; i++) {
        uint64_t start;

        world_run(&w, 5 * ATL_SECOND);
        start = sim_now(w.net);
        a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
        until_done(ATL_SECOND);
        assert_in_range(a->reply.rtt, 50 * ATL_MS, 52 * ATL_MS);
        assert_in_range(a->at - start, 50 * ATL_MS, 52 * ATL_MS);
    }
    a = ask_now("GET", "/nobody", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_OK);
    assert_int_equal(a->reply.status, 404);
    assert_int_equal(a->reply.len, 0);
    a = ask_now("GET", "/t/big/262144", 0, 5 * ATL_SECOND);
    until_done(5 * ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_int_equal(a->reply.len, ATL_LINK_BODY_MAX);
    assert_memory_equal(a->body, big, sizeof(a->body) - 1);
    a = ask_now("PUT", "/t/put", 2048, 5 * ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 201);
    assert_string_equal(a->body, "put");
    assert_int_equal(served.body, 2048);
    assert_in_range(a->reply.rtt, 50 * ATL_MS, 52 * ATL_MS);
    a = ask_now("POST", "/t/put", 200000, 5 * ATL_SECOND);
    until_done(5 * ATL_SECOND);
    assert_int_equal(a->reply.status, 201);
    assert_int_equal(served.body, 200000);
    assert_int_equal(world_stats(&w)->sessions, 1);
    finish();
}

/* ---- many ---- */

static void test_many_at_once(void **state) {
    size_t limited = 0;
    size_t i;

    (void)state;
    begin();
    (void)atl_loop_update(&client.loop);
    for (i = 0; i < 300; i++) {
        atl_link_request *request = NULL;
        int32_t rc = atl_link_ask(links[0], "GET", "/t/ok", NULL, 0, 20 * ATL_SECOND, on_done,
                                  &asks[n_asks], &request);

        assert_true(rc == ATLAS_OK || (rc == ATLAS_ERR_LIMIT && request == NULL));
        limited += rc == ATLAS_ERR_LIMIT;
        if (rc == ATLAS_OK) {
            memset(&asks[n_asks], 0, sizeof(asks[0]));
            asks[n_asks++].request = request;
        }
    }
    assert_int_equal(limited, 300 - 32 - 256);
    until_done(10 * ATL_SECOND); /* at the pace that a server allows */
    for (i = 0; i < n_asks; i++) {
        assert_int_equal(asks[i].reply.status, 200);
    }
    assert_int_equal(served.requests, n_asks);
    assert_int_equal(world_stats(&w)->sessions, 1);
    /* and on: nothing of it is left over */
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    finish();
}

/* 32 are under way at most: the others wait for an answer. */
static void test_slow_ones_hold_others(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < 32; i++) {
        (void)ask_now("GET", "/t/slow", 0, 5 * ATL_SECOND);
    }
    (void)ask("GET", "/t/ok", 0, 20 * ATL_SECOND);
    world_run(&w, 4 * ATL_SECOND);
    assert_int_equal(n_done, 0);
    assert_int_equal(served.requests, 32);
    world_run(&w, 2 * ATL_SECOND);
    assert_int_equal(n_done, 33);
    assert_int_equal(asks[0].reply.code, ATLAS_ERR_TIMEOUT);
    assert_int_equal(asks[32].reply.status, 200);
    assert_int_equal(served.closed, 33); /* those that timed out are taken back */
    finish();
}

/* ---- what fails ---- */

static void test_timeout(void **state) {
    asking *a;
    uint64_t start;

    (void)state;
    begin();
    start = sim_now(w.net);
    a = ask_now("GET", "/t/slow", 0, 3 * ATL_SECOND);
    until_done(4 * ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_TIMEOUT);
    assert_in_range(a->at - start, 3 * ATL_SECOND, 3 * ATL_SECOND + 10 * ATL_MS);
    world_run(&w, ATL_SECOND);
    assert_int_equal(served.closed, 1);
    a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    finish();
}

static void test_answer_too_large(void **state) {
    asking *a;

    (void)state;
    begin();
    a = ask_now("GET", "/t/big/262145", 0, 5 * ATL_SECOND);
    until_done(5 * ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_TOO_LARGE);
    assert_int_equal(a->reply.len, 0);
    a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    assert_int_equal(world_stats(&w)->sessions, 1);
    finish();
}

static void test_reset_by_the_server(void **state) {
    asking *a;
    asking *b;

    (void)state;
    begin();
    a = ask_now("GET", "/t/reset", 0, 5 * ATL_SECOND);
    b = ask("GET", "/t/ok", 0, 5 * ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.code, ATLAS_ERR_HTTP);
    assert_string_equal(a->text, "the server reset the request");
    assert_int_equal(b->reply.status, 200);
    assert_int_equal(served.requests, 2);
    finish();
}

static void test_what_is_refused(void **state) {
    atl_link_config config;
    atl_link_request *request = NULL;
    atl_link *other = NULL;

    (void)state;
    begin();
    memset(&config, 0, sizeof(config));
    config.ep = client.ep;
    config.handshake_timeout = &handshake_timeout;
    assert_int_equal(atl_maddr_parse("/ip4/10.0.0.1/udp/1/quic-v1", &config.addr), ATLAS_OK);
    assert_int_equal(atl_link_new(&config, &other), ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_link_ask(links[0], "", "/", NULL, 0, 1, on_done, NULL, &request),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_link_ask(links[0], "GET", "x", NULL, 0, 1, on_done, NULL, &request),
                     ATLAS_ERR_INVALID);
    assert_int_equal(
        atl_link_ask(links[0], "PUT", "/", big, (size_t)2 << 20, 1, on_done, NULL, &request),
        ATLAS_ERR_TOO_LARGE);
    assert_null(request);
    assert_null(other);
    finish();
}

/* ---- upcalls that do things ---- */

static void test_cancel(void **state) {
    asking *slow;
    asking *a;

    (void)state;
    begin();
    /* before there is a connection, and when it is under way */
    a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    atl_link_cancel(a->request);
    a->done = 1;
    n_asks--;
    slow = ask("GET", "/t/slow", 0, 5 * ATL_SECOND);
    world_run(&w, ATL_SECOND);
    assert_int_equal(served.requests, 1);
    (void)atl_loop_update(&client.loop);
    atl_link_cancel(slow->request);
    n_asks--;
    world_run(&w, ATL_SECOND);
    assert_int_equal(served.closed, 1);
    assert_int_equal(n_done, 0);
    /* others from inside an upcall: one that has ended too, one under way, one that waits */
    act = DO_CANCEL_ALL;
    (void)ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
    for (int i = 0; i < 40; i++) {
        (void)ask("GET", i < 3 ? "/t/ok" : "/t/slow", 0, 5 * ATL_SECOND);
    }
    world_run(&w, 10 * ATL_SECOND);
    assert_int_equal(n_done, 1);
    act = DO_NOTHING;
    n_asks = n_done = 0;
    a = ask_now("GET", "/t/ok", 0, ATL_SECOND);
    until_done(ATL_SECOND);
    assert_int_equal(a->reply.status, 200);
    finish();
}

static void test_free_from_inside(void **state) {
    static const char *const PATHS[] = {"/t/ok", "/t/slow", "/nobody", "/t/big/262145"};

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(PATHS); i++) {
        begin();
        act = DO_FREE;
        (void)ask_now("GET", PATHS[i], 0, 2 * ATL_SECOND);
        for (int j = 0; j < 40; j++) {
            (void)ask("GET", j < 3 ? PATHS[i] : "/t/slow", 0, 5 * ATL_SECOND);
        }
        world_run(&w, 8 * ATL_SECOND);
        assert_int_equal(n_done, 1);
        assert_null(links[0]);
        assert_int_equal(world_stats(&w)->sessions, 0); /* the server was told */
        finish();
    }
}

static void test_free_at_any_time(void **state) {
    (void)state;
    for (uint64_t ms = 0; ms < 220; ms += 20) {
        begin_with(ms % 40 == 0 ? "/ip4/10.0.0.1" : "/dns4/" NAME);
        sim_add_name(w.net, NAME, "10.0.0.1");
        (void)ask_now("GET", "/t/big/262144", 0, 2 * ATL_SECOND);
        (void)ask("GET", "/t/slow", 0, 2 * ATL_SECOND);
        world_run(&w, ms * ATL_MS);
        atl_link_free(links[0]);
        links[0] = NULL;
        sim_host_touch(client.host);
        world_run(&w, 5 * ATL_SECOND);
        assert_int_equal(n_done, 0);
        assert_int_equal(world_stats(&w)->sessions, 0);
        finish();
    }
}

static void test_ask_from_inside(void **state) {
    (void)state;
    begin();
    act = DO_ASK;
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    world_run(&w, ATL_SECOND);
    act = DO_NOTHING;
    until_done(ATL_SECOND);
    /* one after the other, a round trip each, after what connecting takes */
    assert_in_range(n_done, 15, 20);
    for (size_t i = 0; i < n_asks; i++) {
        assert_int_equal(asks[i].reply.status, 200);
    }
    finish();
}

/* Asking again at once where every answer is an immediate failure does not hold the turn up. */
static void test_ask_from_inside_a_failure(void **state) {
    (void)state;
    begin_with("/ip6/2001:db8::1"); /* this endpoint has no IPv6 */
    act = DO_ASK;
    (void)ask_now("GET", "/t/ok", 0, ATL_SECOND);
    pair_drive(&client);
    assert_in_range(n_asks, 2, 4);
    world_run(&w, ATL_MS);
    assert_int_equal(n_asks, ASKS);
    act = DO_NOTHING;
    assert_int_equal(asks[0].reply.code, ATLAS_ERR_FAMILY);
    finish();
}

/* ---- memory ---- */

static size_t allocations, fail_at;

static void *failing_malloc(void *user, size_t size) {
    return ++allocations == fail_at ? NULL : pair_malloc(user, size);
}

static void *failing_realloc(void *user, void *ptr, size_t size) {
    return ++allocations == fail_at ? NULL : pair_realloc(user, ptr, size);
}

/* Whatever cannot be had: who has asked is told once, and the link can be used afterwards. */
static void test_no_memory(void **state) {
    size_t total = 0;

    (void)state;
    for (size_t at = 0; at <= total; at++) {
        asking *a;
        int32_t rc;

        begin();
        client.env.hooks.malloc = failing_malloc;
        client.env.hooks.realloc = failing_realloc;
        allocations = 0;
        fail_at = at;
        a = &asks[n_asks++];
        memset(a, 0, sizeof(*a));
        rc = atl_link_ask(links[0], "PUT", "/t/big/3000", big, 100, 5 * ATL_SECOND, on_done, a,
                          &a->request);
        if (rc == ATLAS_OK) {
            until_done(6 * ATL_SECOND);
        } else {
            assert_int_equal(rc, ATLAS_ERR_NOMEM);
            n_asks--;
        }
        total = at == 0 ? allocations : total;
        assert_true(at != 0 || a->reply.status == 200);
        fail_at = 0;
        a = ask_now("GET", "/t/ok", 0, 5 * ATL_SECOND);
        until_done(6 * ATL_SECOND);
        assert_int_equal(a->reply.status, 200);
        finish();
    }
    assert_in_range(total, 20, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_slow_ones_hold_others),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_answer_too_large),
        cmocka_unit_test(test_reset_by_the_server),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_free_from_inside),
        cmocka_unit_test(test_free_at_any_time),
        cmocka_unit_test(test_ask_from_inside),
        cmocka_unit_test(test_ask_from_inside_a_failure),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
