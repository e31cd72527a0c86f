/* The self-test on the simulated network: through relays that serve, and through those that do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/client_state.h"
#include "relay/selftest.h"
#include "relay/session.h"

#include "relay_nodes.h"

#define TIMEOUT (3 * ATL_SECOND)
#define CIRCUIT_PACKET (1200 + ATL_CIRCUIT_HEADER)

typedef struct outcome {
    int done;
    atl_relay_selftest_result result;
    char text[256];
} outcome;

static void on_done(void *user, const atl_relay_selftest_result *result) {
    outcome *out = user;

    out->done++;
    out->result = *result;
    (void)snprintf(out->text, sizeof(out->text), "%s", result->text);
}

static int is_done(void *user) {
    return ((outcome *)user)->done;
}

static atl_relay_selftest *start(client_node *n, outcome *out) {
    atl_relay_selftest *test = NULL;

    memset(out, 0, sizeof(*out));
    assert_int_equal(atl_relay_selftest_start(at(n), TIMEOUT, on_done, out, &test), ATLAS_OK);
    assert_int_equal(out->done, 0); /* never from inside */
    return test;
}

/* To its end; nothing of it is left anywhere. */
static void test_relay(client_node *n, outcome *out) {
    (void)start(n, out);
    world_until(&world, is_done, out, TIMEOUT + ATL_MS);
    run(100 * ATL_MS);
    assert_int_equal(out->done, 1);
    assert_true(out->text[0] != '\0');
    assert_int_equal(n->client->n_circuits, 0);
    assert_null(n->client->selftest);
    assert_int_equal(world_stats(&world)->circuits, 0);
    /* it is nobody's connection, and nobody was asked for one */
    assert_int_equal(n->n_incoming, 0);
    assert_int_equal(n->accepted, 0);
}

/* ---- what the tap does with circuit packets from the relay to the node ---- */

#define DROP_OUT 1u  /* from the end that asked */
#define DROP_BACK 2u /* towards it */
#define DROP_MOST 4u /* all but the third and the fourth */
#define ALTER 8u
#define DOUBLE 16u

typedef struct tap {
    unsigned mode;
    atl_addr relay;
    int busy; /* what is put on the network by the tap itself */
    size_t n_ids;
    uint8_t ids[2][ATL_CID_LEN]; /* in the order of their first packets: out, back */
    atl_addr node;
    size_t seen;
    size_t carried;
} tap;

static unsigned way_of(tap *t, const uint8_t *data) {
    for (size_t i = 0; i < t->n_ids; i++) {
        if (memcmp(t->ids[i], data + 1, ATL_CID_LEN) == 0) {
            return 1u << i;
        }
    }
    assert_true(t->n_ids < 2);
    memcpy(t->ids[t->n_ids], data + 1, ATL_CID_LEN);
    return 1u << t->n_ids++;
}

static void put(tap *t, const atl_addr *from, const atl_addr *to, const uint8_t *data, size_t len) {
    t->busy = 1;
    sim_inject(world.net, from, to, data, len);
    t->busy = 0;
}

static int on_packet(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                     size_t len) {
    tap *t = user;
    uint8_t copy[CIRCUIT_PACKET];
    unsigned way;

    if (t->busy || len != CIRCUIT_PACKET || !atl_addr_equal(from, &t->relay) ||
        (data[0] & 0xc0) != 0x40 || (data[ATL_CIRCUIT_HEADER] & 0xc0) != 0) {
        return 0;
    }
    t->node = *to;
    t->seen++;
    way = way_of(t, data);
    if ((t->mode & way) != 0 || ((t->mode & DROP_MOST) != 0 && t->seen != 3 && t->seen != 4)) {
        return 1;
    }
    memcpy(copy, data, len);
    if ((t->mode & ALTER) != 0) {
        copy[len - 1 - t->seen] ^= 1;
    }
    if ((t->mode & (ALTER | DOUBLE)) != 0) {
        put(t, from, to, copy, len);
    }
    t->carried++;
    return (t->mode & ALTER) != 0;
}

static void set_tap(tap *t, unsigned mode) {
    memset(t, 0, sizeof(*t));
    t->mode = mode;
    t->relay = pair_path(&world.relay).remote;
    sim_set_tap(world.net, on_packet, t);
}

/* ---- relays that serve ---- */

static void a_relay_that_serves(void **state) {
    client_node *n;
    outcome out;
    uint64_t start_at;
    tap t;

    (void)state;
    begin();
    n = add_announced();
    set_tap(&t, 0);
    for (int i = 1; i <= 3; i++) {
        start_at = sim_now(world.net);
        (void)start(n, &out);
        world_until(&world, is_done, &out, ATL_SECOND);
        /* two round trips to pair, four nonces 25 ms apart, one round trip */
        assert_in_range(sim_now(world.net) - start_at, 105 * ATL_MS, 120 * ATL_MS);
        assert_int_equal(out.result.code, ATLAS_OK);
        assert_in_range(out.result.rtt, 10 * ATL_MS, 11 * ATL_MS);
        assert_int_equal(out.result.sent, 8);
        assert_int_equal(out.result.came, 8);
        run(100 * ATL_MS);
        assert_int_equal(world_stats(&world)->circuits, 0);
        assert_int_equal(world_stats(&world)->pairs, i);
        assert_int_equal(t.seen, 8 * i);
        t.n_ids = 0;
    }
    assert_int_equal(n->client->n_circuits, 0);
    assert_int_equal(n->n_incoming, 0);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(n->n_states, 3);
    finish();
}

static void relays_with_little_bandwidth_serve(void **state) {
    static const uint64_t LIMITS[][2] = {{1000000, 0}, {20000, 0}, {1500, 0}, {0, 20000}};
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add_announced();
    for (size_t i = 0; i < ATL_COUNT(LIMITS); i++) {
        atl_relay_server_limits(world.server)->bandwidth = LIMITS[i][0];
        atl_relay_server_limits(world.server)->total_bandwidth = LIMITS[i][1];
        test_relay(n, &out);
        assert_int_equal(out.result.code, ATLAS_OK);
        assert_true(out.result.came >= 2);
        run(3 * ATL_SECOND);
    }
    finish();
}

/* ---- relays that do not ---- */

static void relays_that_lie(void **state) {
    static const struct {
        unsigned mode;
        int32_t code;
        uint32_t came;
        const char *text;
    } rows[] = {
        {0, ATLAS_OK, 8, "both ways"},
        {DOUBLE, ATLAS_OK, 8, "both ways"},
        {DROP_MOST, ATLAS_OK, 2, "both ways"},
        {DROP_OUT, ATLAS_ERR_SELFTEST, 4, "one way"},
        {DROP_BACK, ATLAS_ERR_SELFTEST, 4, "one way"},
        {DROP_OUT | DROP_BACK, ATLAS_ERR_SELFTEST, 0, "no packets"},
        {ALTER, ATLAS_ERR_SELFTEST, 0, "alters"},
    };
    client_node *n;
    outcome out;
    tap t;

    (void)state;
    begin();
    n = add_announced();
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        set_tap(&t, rows[i].mode);
        test_relay(n, &out);
        assert_int_equal(out.result.code, rows[i].code);
        assert_int_equal(out.result.sent, 8);
        assert_int_equal(out.result.came, rows[i].came);
        assert_int_equal(out.result.rtt != 0, rows[i].code == ATLAS_OK);
        assert_non_null(strstr(out.text, rows[i].text));
        assert_int_equal(t.seen, 8);
    }
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    finish();
}

static atl_relay_session *session_of(const client_node *n) {
    atl_list *node;

    for (node = world.server->sessions.next; node != &world.server->sessions; node = node->next) {
        atl_relay_session *session = ATL_CONTAINER(node, atl_relay_session, node);

        if (atl_peer_id_equal(&session->peer, &n->node.id)) {
            return session;
        }
    }
    fail();
    return NULL;
}

static void relays_that_forget_or_refuse(void **state) {
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add_announced();
    atl_registry_remove(&world.server->registry, &session_of(n)->registration);
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_ERR_SELFTEST);
    assert_non_null(strstr(out.text, "forgotten"));
    assert_int_equal(out.result.sent, 0);
    run(3 * ATL_SECOND); /* announced again */
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_OK);
    /* both ends count */
    atl_relay_server_limits(world.server)->max_circuits_per_node = 1;
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_ERR_RELAY_CAPACITY);
    atl_relay_server_limits(world.server)->max_circuits_per_node = 2;
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_OK);
    finish();
}

/* The relay dies at any moment of a test. */
static void relays_that_die(void **state) {
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add_announced();
    for (uint64_t wait = 0; wait < 104 * ATL_MS; wait += 6 * ATL_MS) {
        uint64_t start_at = sim_now(world.net);

        (void)start(n, &out);
        run(wait);
        assert_int_equal(out.done, 0);
        sim_host_set_down(world.relay.host, 1);
        world_until(&world, is_done, &out, TIMEOUT + ATL_MS);
        assert_true(sim_now(world.net) - start_at <= TIMEOUT + ATL_MS);
        if (out.result.code != ATLAS_OK) {
            assert_true(out.result.code == ATLAS_ERR_TIMEOUT ||
                        out.result.code == ATLAS_ERR_RELAY_LOST ||
                        out.result.code == ATLAS_ERR_SELFTEST);
            assert_int_equal(out.result.rtt, 0);
        }
        sim_host_set_down(world.relay.host, 0);
        run(20 * ATL_SECOND);
        assert_int_equal(out.done, 1);
        assert_int_equal(n->client->n_circuits, 0);
        assert_int_equal(is_announced(n), 1);
    }
    /* the connection is lost, or given up, in the middle */
    for (uint64_t wait = 0; wait < 100 * ATL_MS; wait += 9 * ATL_MS) {
        (void)start(n, &out);
        run(wait);
        if (wait % 2 == 0) {
            atl_relay_link_fail(at(n), ATLAS_ERR_RELAY_LOST, "");
        } else {
            atl_relay_client_want(at(n), 0, 0);
            assert_int_equal(out.done, 0);
        }
        run(50 * ATL_MS);
        assert_int_equal(out.done, 1);
        assert_int_equal(out.result.code,
                         wait % 2 == 0 ? ATLAS_ERR_RELAY_LOST : ATLAS_ERR_CANCELLED);
        atl_relay_client_want(at(n), 1, 1);
        world_until(&world, is_announced, n, 70 * ATL_SECOND);
        assert_int_equal(n->client->n_circuits, 0);
        n->n_states = n->n_healths = 0;
    }
    finish();
}

/* ---- what strangers may do ---- */

/* Somebody who can write in the relay's name says all sorts of things on the circuits. */
static void hostile_packets_are_ignored(void **state) {
    static const struct {
        uint8_t first;
        size_t len;
    } rows[] = {{0, 1200}, {1, 1199},  {4, 1},       {8, 1200},    {0x3f, 1200},
                {3, 1201}, {0x40, 40}, {0xc0, 1200}, {0xff, 1200}, {0x80, 1200}};
    uint8_t packet[1400];
    client_node *n;
    outcome out;
    tap t;

    (void)state;
    begin();
    n = add_announced();
    set_tap(&t, 0);
    (void)start(n, &out);
    run(45 * ATL_MS); /* one round has come, the second is under way */
    assert_int_equal(out.done, 0);
    assert_int_equal(t.n_ids, 2);
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        for (size_t id = 0; id < 2; id++) {
            memset(packet, 0x11, sizeof(packet));
            packet[0] = 0x40;
            memcpy(packet + 1, t.ids[id], ATL_CID_LEN);
            packet[ATL_CIRCUIT_HEADER] = rows[i].first;
            put(&t, &t.relay, &t.node, packet, rows[i].len + ATL_CIRCUIT_HEADER);
            /* of no length at all, and from elsewhere */
            put(&t, &t.relay, &t.node, packet, ATL_CIRCUIT_HEADER);
            put(&t, &t.node, &t.node, packet, rows[i].len + ATL_CIRCUIT_HEADER);
        }
    }
    world_until(&world, is_done, &out, ATL_SECOND);
    assert_int_equal(out.result.code, ATLAS_OK);
    assert_int_equal(out.result.came, 8);
    assert_int_equal(n->accepted, 0);
    /* a circuit of nobody's any more */
    put(&t, &t.relay, &t.node, packet, 1209);
    run(ATL_SECOND);
    assert_int_equal(out.done, 1);
    assert_int_equal(atl_relay_client_state(n->client), ATLAS_RELAY_ANNOUNCED);
    finish();
}

/* Only a test that is running takes a circuit from this node's own id, and one only. */
static void circuits_from_oneself_are_refused(void **state) {
    atl_relay_incoming incoming;
    client_node *n;
    raw_node *twin;
    outcome out;
    uint64_t connects;

    (void)state;
    begin();
    n = add_announced();
    twin = raw_new_as(&world, 100); /* with the key of the first node */
    assert_true(atl_peer_id_equal(&twin->node.id, &n->node.id));
    raw_request(&world, twin, "CONNECT", "/.well-known/atlas/relay/", "atlas-relay", 1);
    raw_connect_as(twin, 1, &twin->node.id, &n->node.id);
    (void)raw_expect_error(&world, twin, ATLAS_ERR_RELAY_REFUSED);
    /* while a test runs that has its circuit already */
    (void)start(n, &out);
    run(40 * ATL_MS);
    raw_connect_as(twin, 2, &twin->node.id, &n->node.id);
    (void)raw_expect_error(&world, twin, ATLAS_ERR_RELAY_REFUSED);
    world_until(&world, is_done, &out, ATL_SECOND);
    assert_int_equal(out.result.code, ATLAS_OK);
    assert_int_equal(n->n_incoming, 0);
    /* a relay that invents a circuit during a test: the relay's own does not come */
    connects = world_stats(&world)->connects;
    (void)start(n, &out);
    memset(&incoming, 0, sizeof(incoming));
    incoming.circuit = 1u << 20;
    incoming.source = n->node.id;
    assert_int_equal(atl_relay_circuits_incoming(n->client, &incoming), ATLAS_OK);
    world_until(&world, is_done, &out, TIMEOUT + ATL_MS);
    assert_int_not_equal(out.result.code, ATLAS_OK);
    run(100 * ATL_MS);
    assert_int_equal(n->client->n_circuits, 0);
    assert_int_equal(world_stats(&world)->connects, connects + 1);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

/* The relay says "paired" without having asked. */
static void a_circuit_without_another_end(void **state) {
    atl_relay_ready ready;
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add_announced();
    (void)start(n, &out);
    memset(&ready, 0, sizeof(ready));
    ready.status = ATL_RELAY_STATUS_READY;
    ready.request = n->client->next_request;
    ready.circuit = 1u << 20;
    atl_relay_circuits_ready(n->client, &ready);
    assert_int_equal(out.done, 0);
    run(ATL_MS);
    assert_int_equal(out.done, 1);
    assert_int_equal(out.result.code, ATLAS_ERR_SELFTEST);
    assert_int_equal(n->client->n_circuits, 0);
    run(ATL_SECOND); /* the true messages come to nothing */
    assert_int_equal(world_stats(&world)->circuits, 0);
    assert_int_equal(n->client->n_circuits, 0);
    finish();
}

/* ---- one's own doing ---- */

static void starting_has_its_errors(void **state) {
    atl_relay_selftest *test = NULL;
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add();
    memset(&out, 0, sizeof(out));
    assert_int_equal(atl_relay_selftest_start(at(n), TIMEOUT, on_done, &out, &test),
                     ATLAS_ERR_STATE);
    atl_relay_client_want(at(n), 1, 0); /* connected, and not announced */
    run(ATL_SECOND);
    assert_int_equal(atl_relay_selftest_start(at(n), TIMEOUT, on_done, &out, &test),
                     ATLAS_ERR_STATE);
    atl_relay_client_want(at(n), 1, 1);
    world_until(&world, is_announced, n, ATL_SECOND);
    (void)start(n, &out);
    assert_int_equal(atl_relay_selftest_start(at(n), TIMEOUT, on_done, &out, &test),
                     ATLAS_ERR_AGAIN);
    assert_null(test);
    world_until(&world, is_done, &out, ATL_SECOND);
    test_relay(n, &out); /* and then one can again */
    assert_int_equal(out.result.code, ATLAS_OK);
    /* a relay that drains takes nothing new */
    atl_relay_server_drain(world.server, 5 * ATL_SECOND, NULL, NULL);
    run(100 * ATL_MS);
    assert_int_equal(atl_relay_selftest_start(at(n), TIMEOUT, on_done, &out, &test),
                     ATLAS_ERR_STATE);
    finish();
}

static void cancelled_tests_say_nothing(void **state) {
    atl_relay_selftest *test;
    client_node *n;
    outcome out;

    (void)state;
    begin();
    n = add_announced();
    for (uint64_t wait = 0; wait < 106 * ATL_MS; wait += 3 * ATL_MS) {
        test = start(n, &out);
        run(wait);
        assert_int_equal(out.done, 0);
        atl_relay_selftest_cancel(test);
        run(ATL_SECOND);
        assert_int_equal(out.done, 0);
        assert_int_equal(n->client->n_circuits, 0);
        assert_int_equal(world_stats(&world)->circuits, 0);
    }
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_OK);
    /* the client goes, and the test with it */
    for (uint64_t wait = 0; wait < 106 * ATL_MS; wait += 7 * ATL_MS) {
        (void)start(n, &out);
        run(wait);
        atl_relay_client_free(n->client);
        n->n_states = n->n_healths = 0;
        make_client(n, relay_addr("/ip4/10.0.0.1"));
        atl_relay_client_want(n->client, 1, 1);
        world_until(&world, is_announced, n, 5 * ATL_SECOND);
        assert_int_equal(out.done, 0);
    }
    run(ATL_SECOND);
    assert_int_equal(world_stats(&world)->circuits, 0);
    finish();
}

static size_t allocations;
static size_t fail_from; /* the allocation (from 1) that fails, and all after it; 0: none */

static void *failing_malloc(void *user, size_t size) {
    (void)user;
    return fail_from != 0 && ++allocations >= fail_from ? NULL : malloc(size);
}

static void *failing_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return fail_from != 0 && ++allocations >= fail_from ? NULL : realloc(ptr, size);
}

static void memory_may_run_out(void **state) {
    client_node *n;
    outcome out;
    size_t failed = 0;

    (void)state;
    begin();
    n = add_announced();
    n->node.env.hooks.malloc = failing_malloc;
    n->node.env.hooks.realloc = failing_realloc;
    for (size_t i = 1; i < 20; i++) {
        atl_relay_selftest *test = NULL;
        int32_t rc;

        memset(&out, 0, sizeof(out));
        allocations = 0;
        fail_from = i;
        rc = atl_relay_selftest_start(at(n), TIMEOUT, on_done, &out, &test);
        if (rc != ATLAS_OK) {
            assert_int_equal(rc, ATLAS_ERR_NOMEM);
            assert_null(test);
        } else {
            run(50 * ATL_MS);
            fail_from = 0;
            world_until(&world, is_done, &out, TIMEOUT + ATL_MS);
        }
        fail_from = 0;
        failed += rc != ATLAS_OK || out.result.code != ATLAS_OK;
        run(60 * ATL_SECOND);
        assert_int_equal(is_announced(n), 1);
        assert_int_equal(n->client->n_circuits, 0);
        n->n_states = n->n_healths = 0;
    }
    assert_true(failed >= 3);
    test_relay(n, &out);
    assert_int_equal(out.result.code, ATLAS_OK);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_relay_that_serves),
        cmocka_unit_test(relays_with_little_bandwidth_serve),
        cmocka_unit_test(relays_that_lie),
        cmocka_unit_test(relays_that_forget_or_refuse),
        cmocka_unit_test(relays_that_die),
        cmocka_unit_test(hostile_packets_are_ignored),
        cmocka_unit_test(circuits_from_oneself_are_refused),
        cmocka_unit_test(a_circuit_without_another_end),
        cmocka_unit_test(starting_has_its_errors),
        cmocka_unit_test(cancelled_tests_say_nothing),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
