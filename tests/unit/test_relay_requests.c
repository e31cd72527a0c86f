/* Requests that other parts of a node answer on the relay server's connections, and connections
 * that only make requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_parts.h"

/* ---- who answers ---- */

static part b_part;

static void parts_are_asked_in_order(void **state) {
    raw_node *raw;
    atl_addr from;
    part *a;
    part *b;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_HEAD);
    b = add_part(&b_part, "/", AT_HEAD);
    raw = add();
    from = raw_addr(raw);
    get(raw, "/a/1");
    assert_int_equal(raw->status, 200);
    assert_string_equal(raw->body, "/a");
    assert_int_equal(a->n, 1);
    assert_int_equal(b->offered, 0);
    assert_string_equal(a->taken[0].method, "GET");
    assert_string_equal(a->taken[0].path, "/a/1");
    assert_true(atl_peer_id_equal(&a->taken[0].peer, &raw->node.id));
    assert_true(atl_addr_equal(&a->taken[0].from.remote, &from));
    assert_int_equal(a->taken[0].from.local.family, 4);
    assert_int_equal(a->taken[0].ends, 0); /* it was answered before */
    assert_int_equal(a->taken[0].closed, 1);
    get(raw, "/b");
    assert_string_equal(raw->body, "/");
    assert_int_equal(a->offered, 2);
    assert_int_equal(b->n, 1);
    /* what is the relay's own is not offered */
    get(raw, RELAY_PATH "health");
    assert_int_equal(raw->status, 200);
    get(raw, RELAY_PATH "nothing");
    assert_int_equal(raw->status, 404);
    raw_request(&w, raw, "CONNECT", "/a/2", "atlas-relay", 1);
    assert_int_equal(raw->status, 404);
    assert_int_equal(a->offered, 2);
    b->prefix = "/b";
    get(raw, "/c");
    assert_int_equal(raw->status, 404);
    assert_int_equal(b->offered, 2);
    assert_int_equal(a->n + b->n, 2);
    assert_false(raw->closed);
    world_done(&w);
}

static void there_is_room_for_four(void **state) {
    (void)state;
    world_start(&w);
    for (int i = 0; i < ATL_REQUESTS_MAX; i++) {
        (void)add_part(&a_part, "/", AT_HEAD);
    }
    assert_int_equal(atl_relay_server_add_requests(w.server, &part_ops, &a_part), ATLAS_ERR_LIMIT);
    world_done(&w);
}

static void bodies_reach_their_part(void **state) {
    static const size_t LENGTHS[] = {0, 1, 2048, BODY};
    raw_node *raw;
    raw_node *other;
    part *a;
    part *b;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_END);
    b = add_part(&b_part, "/b", AT_END);
    raw = add();
    other = raw_new(&w); /* has a control stream */
    for (size_t i = 0; i < ATL_COUNT(LENGTHS); i++) {
        char text[32];

        begin(raw, i % 2 == 0 ? "PUT" : "POST", "/a", LENGTHS[i]);
        (void)snprintf(text, sizeof(text), "%zu", LENGTHS[i]);
        assert_int_equal(raw->status, 200);
        assert_string_equal(raw->body, text);
        assert_int_equal(a->taken[i].ends, 1);
        assert_int_equal(a->taken[i].closed, 1);
    }
    assert_int_equal(b->n, 0);
    begin(other, "DELETE", "/b", 0);
    assert_int_equal(other->status, 200);
    assert_int_equal(b->taken[0].ends, 1);
    assert_int_equal(b->taken[0].closed, 1);
    assert_false(other->closed);
    world_done(&w);
}

/* An answer to the head: the rest of the body is not of interest, and the connection goes on. */
static void an_answer_ends_the_body(void **state) {
    raw_node *raw;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_HEAD);
    raw = add();
    for (size_t i = 0; i < 10; i++) {
        begin(raw, "PUT", "/a", BODY);
        assert_int_equal(raw->status, 200);
        assert_int_equal(raw->ended, 1);
        assert_int_equal(a->taken[i].len, 0);
        assert_int_equal(a->taken[i].ends, 0);
        assert_int_equal(a->taken[i].closed, 1);
    }
    assert_false(raw->closed);
    world_done(&w);
}

static void a_part_may_want_nothing(void **state) {
    raw_node *raw;

    (void)state;
    world_start(&w);
    memset(&a_part, 0, sizeof(a_part));
    a_part.prefix = "/a";
    a_part.how = NEVER;
    assert_int_equal(atl_relay_server_add_requests(w.server, &bare_ops, &a_part), ATLAS_OK);
    raw = add();
    begin(raw, "PUT", "/a", 5000);
    assert_int_equal(a_part.n, 1);
    assert_int_equal(atl_h3_respond(a_part.taken[0].stream, 204, NULL, NULL, 0), ATLAS_OK);
    world_run(&w, 100 * ATL_MS);
    assert_int_equal(raw->status, 204);
    world_done(&w);
}

/* ---- the end of a request ---- */

#define BY_RESET 0       /* the client's */
#define BY_PART 1        /* the part's */
#define BY_CLIENT 2      /* the client closes the connection */
#define BY_DENY 3        /* the operator puts the node out */
#define BY_VANISHING 4   /* the client is gone */
#define BY_DRAIN 5       /* the server goes away in order */
#define BY_SERVER_FREE 6 /* and at once */

static void end_by(int how, raw_node *raw, part *a) {
    switch (how) {
    case BY_RESET:
        atl_h3_reset(raw->stream, 0x10c);
        break;
    case BY_PART:
        atl_h3_reset(a->taken[0].stream, 0x10c);
        atl_h3_reset(a->taken[1].stream, 0x10c);
        break;
    case BY_CLIENT:
        atl_h3_close(raw->h3, 0x100, "");
        break;
    case BY_DENY:
        assert_int_equal(atl_relay_server_deny(w.server, &raw->node.id), ATLAS_OK);
        break;
    case BY_VANISHING:
        sim_host_set_down(raw->node.host, 1);
        world_run(&w, 100 * ATL_SECOND);
        break;
    case BY_DRAIN:
        atl_relay_server_drain(w.server, 0, NULL, NULL);
        break;
    default:
        atl_relay_server_free(w.server);
        w.server = NULL;
    }
}

static void every_request_ends_once(void **state) {
    (void)state;
    for (int how = BY_RESET; how <= BY_SERVER_FREE; how++) {
        raw_node *raw;
        part *a;

        world_start(&w);
        a = add_part(&a_part, "/a", NEVER);
        raw = raw_new(&w);
        raw_announce(&w, raw);
        begin(raw, "PUT", "/a/1", 10);
        begin(raw, "PUT", "/a/2", 10);
        assert_int_equal(a->n, 2);
        assert_int_equal(a->taken[0].ends + a->taken[1].ends, 2);
        assert_int_equal(a->taken[0].closed + a->taken[1].closed, 0);
        end_by(how, raw, a);
        world_run(&w, 1500 * ATL_MS);
        assert_int_equal(a->taken[0].closed, how != BY_RESET);
        assert_int_equal(a->taken[1].closed, 1);
        world_done(&w);
        assert_int_equal(a->taken[0].closed, 1);
        assert_int_equal(a->taken[1].closed, 1);
    }
}

static void a_part_may_reset(void **state) {
    raw_node *raw;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", RESET);
    raw = add();
    begin(raw, "PUT", "/a", 1000);
    assert_int_equal(a->taken[0].closed, 1);
    assert_int_equal(a->taken[0].ends, 0);
    assert_null(raw->stream);
    assert_int_equal(raw->status, 0);
    assert_false(raw->closed);
    world_done(&w);
}

/* Memory runs out somewhere between the head and the answer: what was taken ends all the same. */
static void no_memory(void **state) {
    size_t total = 1;

    (void)state;
    for (size_t at = 0; at <= total; at++) {
        raw_node *raw;
        part *a;
        size_t before;

        world_start(&w);
        a = add_part(&a_part, "/a", AT_END);
        raw = add();
        before = w.allocations;
        w.fail_at = at == 0 ? 0 : before + at;
        begin(raw, "PUT", "/a", 100);
        total = at == 0 ? w.allocations - before : total;
        assert_true(at != 0 || raw->status == 200);
        w.fail_at = 0;
        world_run(&w, ATL_SECOND);
        for (size_t i = 0; i < a->n; i++) {
            assert_int_equal(a->taken[i].closed, 1);
        }
        world_done(&w);
    }
    assert_in_range(total, 3, 200);
}

/* ---- connections that only ask ---- */

static void it_lives_as_long_as_it_asks(void **state) {
    raw_node *raw;
    uint64_t start;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_HEAD);
    raw = add();
    for (int i = 0; i < 5; i++) {
        world_run(&w, i == 0 ? 9 * ATL_SECOND : 55 * ATL_SECOND);
        assert_false(raw->closed);
        get(raw, i % 2 == 0 ? "/a" : RELAY_PATH "health");
        assert_int_equal(raw->status, 200);
    }
    start = sim_now(w.net);
    world_until(&w, raw_is_closed, raw, 61 * ATL_SECOND);
    assert_true(sim_now(w.net) - start > 58 * ATL_SECOND);
    assert_int_equal(raw->why.error_code, 0x100);
    /* a request under way keeps it, however long */
    a->how = NEVER;
    raw_dial(&w, raw);
    atl_qconn_keepalive(atl_h3_conn(raw->h3), 5 * ATL_SECOND);
    begin(raw, "GET", "/a/long", 0);
    world_run(&w, 600 * ATL_SECOND);
    assert_false(raw->closed);
    assert_int_equal(atl_h3_respond(a->taken[a->n - 1].stream, 200, NULL, "", 0), ATLAS_OK);
    world_run(&w, 58 * ATL_SECOND);
    assert_false(raw->closed);
    assert_int_equal(raw->status, 200);
    world_until(&w, raw_is_closed, raw, 4 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 0);
    world_done(&w);
}

/* Lets a few large packets of the client through, and then none. */
static int drop_large(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                      size_t len) {
    int *left = user;

    (void)from;
    (void)data;
    return to->port == RELAY_PORT && len > 600 && (*left)-- <= 0;
}

/* A request whose body came in part; the client then stands still. */
static raw_node *leave_unfinished(part *a) {
    raw_node *raw = add();
    int left = 3;

    sim_set_tap(w.net, drop_large, &left);
    begin(raw, "PUT", "/a", BODY);
    sim_set_tap(w.net, NULL, NULL);
    assert_int_equal(a->n, 1);
    assert_in_range(a->taken[0].len, 1, 10000);
    sim_host_freeze(raw->node.host, SIM_FROZEN);
    return raw;
}

/* Requests that their clients leave unfinished hold nothing for ever. */
static void an_unfinished_body_is_not_waited_for(void **state) {
    raw_node *raw;
    raw_node *other;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_END);
    raw = leave_unfinished(a);
    world_run(&w, 30 * ATL_SECOND);
    other = add(); /* others are not concerned */
    a->how = NEVER;
    begin(other, "PUT", "/a", 10);
    world_run(&w, 28 * ATL_SECOND);
    assert_int_equal(w.server->overdue, 0);
    world_run(&w, 2 * ATL_SECOND);
    assert_int_equal(w.server->overdue, 1);
    sim_host_freeze(raw->node.host, SIM_AWAKE);
    world_run(&w, 2 * ATL_SECOND);
    assert_int_equal(a->taken[0].closed, 1);
    assert_int_equal(a->taken[0].ends, 0);
    assert_false(raw->closed);
    a->how = AT_HEAD;
    begin(raw, "GET", "/a", 0);
    assert_int_equal(raw->status, 200);
    /* who waits for the part is not to blame */
    world_run(&w, 100 * ATL_SECOND);
    assert_int_equal(a->taken[1].closed, 0);
    assert_int_equal(w.server->overdue, 1);
    world_done(&w);
}

/* A client that does not even take the reset loses its connection. */
static void nor_is_a_client_that_stands_still(void **state) {
    raw_node *raw;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_END);
    atl_endpoint_params(w.relay.ep)->idle_timeout = 300 * ATL_SECOND;
    raw = leave_unfinished(a);
    world_run(&w, 88 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 1);
    assert_int_equal(a->taken[0].closed, 0);
    world_run(&w, 4 * ATL_SECOND);
    assert_int_equal(world_stats(&w)->sessions, 0);
    assert_int_equal(a->taken[0].closed, 1);
    sim_host_freeze(raw->node.host, SIM_AWAKE);
    world_done(&w);
}

static void the_idlest_makes_way(void **state) {
    raw_node *first;
    raw_node *second;
    raw_node *third;
    raw_node *fourth;
    part *a;

    (void)state;
    world_start(&w);
    a = add_part(&a_part, "/a", AT_HEAD);
    atl_relay_server_limits(w.server)->max_nodes = 1; /* two sessions */
    first = add();
    second = add();
    get(first, "/a"); /* now the second has done nothing for longest */
    third = add();
    world_run(&w, ATL_SECOND);
    assert_true(second->closed);
    assert_false(first->closed);
    assert_false(third->closed);
    assert_int_equal(world_stats(&w)->sessions, 2);
    assert_int_equal(w.server->made_way, 1);
    /* who waits for an answer stays, and so does who has a control stream */
    a->how = NEVER;
    begin(first, "GET", "/a", 0);
    raw_request(&w, third, "CONNECT", RELAY_PATH, "atlas-relay", 1);
    assert_int_equal(third->status, 200);
    fourth = raw_new_as(&w, 40);
    world_run(&w, ATL_SECOND);
    assert_true(fourth->closed);
    assert_false(first->closed);
    assert_false(third->closed);
    assert_int_equal(world_stats(&w)->refused_nodes, 1);
    /* until it has its answer */
    assert_int_equal(atl_h3_respond(a->taken[a->n - 1].stream, 200, NULL, "", 0), ATLAS_OK);
    world_run(&w, ATL_SECOND);
    assert_int_equal(first->status, 200);
    raw_dial(&w, fourth);
    world_run(&w, ATL_SECOND);
    assert_false(fourth->closed);
    assert_true(first->closed);
    assert_int_equal(world_stats(&w)->sessions, 2);
    /* announced ones do not count */
    raw_announce(&w, third);
    raw_dial(&w, second);
    world_run(&w, ATL_SECOND);
    assert_false(second->closed);
    assert_false(fourth->closed);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_asked_in_order),
        cmocka_unit_test(there_is_room_for_four),
        cmocka_unit_test(bodies_reach_their_part),
        cmocka_unit_test(an_answer_ends_the_body),
        cmocka_unit_test(a_part_may_want_nothing),
        cmocka_unit_test(every_request_ends_once),
        cmocka_unit_test(a_part_may_reset),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(it_lives_as_long_as_it_asks),
        cmocka_unit_test(an_unfinished_body_is_not_waited_for),
        cmocka_unit_test(nor_is_a_client_that_stands_still),
        cmocka_unit_test(the_idlest_makes_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
