/* Dials through a relay over loopback: three contexts, one of them the relay. */
#include "nodes.h"

#define STRANGER "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"

typedef struct trio {
    world w;
    node *relay;
    node *b; /* announced on the relay */
    node *a;
} trio;

static void trio_make(trio *t) {
    memset(t, 0, sizeof(*t));
    t->relay = world_add(&t->w);
    node_open(t->relay);
    assert_int_equal(atlas_relay_start(t->relay->ctx), ATLAS_OK);
    t->b = world_add_listener(&t->w);
    assert_int_equal(atlas_relay_add(t->b->ctx, t->relay->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(t->b->ctx, 1), ATLAS_OK);
    t->a = world_add(&t->w);
    WORLD_UNTIL(&t->w, 5000, t->b->relay_state == ATLAS_RELAY_ANNOUNCED);
}

static void check_relayed(trio *t, tie *l) {
    WORLD_UNTIL(&t->w, 8000, (l->connected && t->b->accepted == 1) || l->closed);
    assert_string_equal(l->text, "");
    assert_int_equal(l->path_kind, ATLAS_PATH_RELAY);
    assert_string_equal(l->path_relay, atlas_self_id(t->relay->ctx));
    assert_int_equal(t->b->in[0].path_kind, ATLAS_PATH_RELAY);
    assert_string_equal(atlas_conn_peer_id(t->b->in[0].conn), atlas_self_id(t->a->ctx));
    assert_int_equal(atlas_conn_send_message(l->conn, "through the relay", 17, NULL), ATLAS_OK);
    assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_OK);
    WORLD_UNTIL(&t->w, 5000, t->b->in[0].messages == 1 && l->sent == 1 && l->pongs == 1);
    assert_int_equal(l->pong_kind, ATLAS_PATH_RELAY);
    assert_memory_equal(t->b->in[0].last, "through the relay", 17);
}

static void test_peer_id_through_configured_relay(void **state) {
    atlas_relay_stats stats = {.size = sizeof(stats)};
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    l = node_dial(t.a, atlas_self_id(t.b->ctx), 8000);
    check_relayed(&t, l);
    assert_int_equal(atlas_relay_get_stats(t.relay->ctx, &stats), ATLAS_OK);
    assert_int_equal(stats.nodes, 1);
    assert_int_equal(stats.pairs, 1);
    assert_true(stats.forwarded_packets > 4);
    assert_int_equal(atlas_conn_close(l->conn, 4, "done"), ATLAS_OK);
    WORLD_UNTIL(&t.w, 5000, l->closed && t.b->in[0].closed);
    assert_int_equal(t.b->in[0].code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(t.b->in[0].app_code, 4);
    world_free(&t.w);
}

static void test_circuit_address(void **state) {
    char target[2 * ATLAS_MULTIADDR_MAX];
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    snprintf(target, sizeof(target), "%s/p2p-circuit/p2p/%s", t.relay->addr,
             atlas_self_id(t.b->ctx));
    l = node_dial(t.a, target, 8000);
    check_relayed(&t, l);
    world_free(&t.w);
}

/* A relay is no way to itself: with nothing else there is nothing to dial, and that is said. */
static void test_the_relay_itself(void **state) {
    atlas_conn *conn = NULL;
    trio t;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    assert_int_equal(
        atlas_dial(t.a->ctx, atlas_self_id(t.relay->ctx), 0, &link_callbacks, &t.a->out[15], &conn),
        ATLAS_ERR_NO_ADDRESS);
    assert_null(conn);
    world_free(&t.w);
}

/* Direct fails, the relay carries it; the reason of the failure is told. */
static void test_fallback(void **state) {
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    assert_int_equal(
        atlas_peer_add_addr(t.a->ctx, atlas_self_id(t.b->ctx), "/ip4/127.0.0.1/udp/9/quic-v1"),
        ATLAS_OK);
    l = node_dial(t.a, atlas_self_id(t.b->ctx), 8000);
    check_relayed(&t, l);
    world_free(&t.w);
}

static void test_direct_is_preferred(void **state) {
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    l = node_dial(t.a, t.b->addr, 8000);
    WORLD_UNTIL(&t.w, 5000, l->connected && t.b->accepted == 1);
    world_run(&t.w, 300);
    assert_int_equal(l->path_kind, ATLAS_PATH_DIRECT);
    assert_int_equal(t.b->accepted, 1);
    world_free(&t.w);
}

static void test_relay_disabled(void **state) {
    char target[2 * ATLAS_MULTIADDR_MAX];
    atlas_conn *conn;
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    assert_int_equal(atlas_set_u64(t.a->ctx, ATLAS_OPT_ENABLE_RELAY, 0), ATLAS_OK);
    snprintf(target, sizeof(target), "%s/p2p-circuit/p2p/%s", t.relay->addr,
             atlas_self_id(t.b->ctx));
    assert_int_equal(atlas_dial(t.a->ctx, target, 0, &link_callbacks, NULL, &conn),
                     ATLAS_ERR_RELAY_DISABLED);
    assert_int_equal(atlas_dial(t.a->ctx, atlas_self_id(t.b->ctx), 0, &link_callbacks, NULL, &conn),
                     ATLAS_ERR_NO_ADDRESS);
    assert_int_equal(atlas_relay_presence(t.a->ctx, 1), ATLAS_ERR_RELAY_DISABLED);
    assert_int_equal(atlas_relay_start(t.a->ctx), ATLAS_ERR_RELAY_DISABLED);
    /* a direct address that fails stays a failure */
    assert_int_equal(
        atlas_peer_add_addr(t.a->ctx, atlas_self_id(t.b->ctx), "/ip4/127.0.0.1/udp/9/quic-v1"),
        ATLAS_OK);
    l = node_dial(t.a, atlas_self_id(t.b->ctx), 700);
    WORLD_UNTIL(&t.w, 3000, l->closed);
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_int_equal(t.b->accepted, 0);
    world_free(&t.w);
}

static void test_target_not_registered(void **state) {
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    l = node_dial(t.a, STRANGER, 8000);
    WORLD_UNTIL(&t.w, 8000, l->closed);
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_int_equal(l->attempts, 1);
    assert_int_equal(l->attempt_code, ATLAS_ERR_RELAY_NOT_REGISTERED);
    assert_non_null(strstr(l->text, "p2p-circuit"));
    world_free(&t.w);
}

/* The first relay is dead: the second one carries the connection. */
static void test_second_relay(void **state) {
    trio t;
    node *dead;
    tie *l;

    (void)state;
    trio_make(&t);
    dead = world_add(&t.w);
    node_open(dead);
    assert_int_equal(atlas_relay_add(t.a->ctx, dead->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    l = node_dial(t.a, atlas_self_id(t.b->ctx), 8000);
    check_relayed(&t, l);
    world_free(&t.w);
}

static void test_arguments_and_info(void **state) {
    atlas_relay_event info = {.size = sizeof(info)};
    atlas_relay_stats stats = {.size = sizeof(stats)};
    char self[ATLAS_MULTIADDR_MAX];
    world w = {0};
    node *a = world_add(&w);

    (void)state;
    assert_int_equal(atlas_relay_add(NULL, "x"), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_relay_add(a->ctx, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_relay_add(a->ctx, "x"), ATLAS_ERR_ADDRESS);
    assert_int_equal(atlas_relay_add(a->ctx, STRANGER), ATLAS_ERR_ADDRESS);
    assert_int_equal(atlas_relay_presence(a->ctx, 1), ATLAS_ERR_NOT_FOUND);
    snprintf(self, sizeof(self), "/ip4/127.0.0.1/udp/9/quic-v1/p2p/%s", atlas_self_id(a->ctx));
    assert_int_equal(atlas_relay_add(a->ctx, self), ATLAS_ERR_SELF);
    assert_int_equal(atlas_relay_add(a->ctx, "/ip4/127.0.0.1/udp/9/quic-v1/p2p/" STRANGER),
                     ATLAS_OK);
    assert_int_equal(atlas_relay_add(a->ctx, "/ip4/127.0.0.1/udp/9/quic-v1/p2p/" STRANGER),
                     ATLAS_ERR_EXISTS);
    assert_int_equal(atlas_relay_info(a->ctx, 0, &info), ATLAS_OK);
    assert_int_equal(info.state, ATLAS_RELAY_IDLE);
    assert_string_equal(info.relay, STRANGER);
    assert_int_equal(atlas_relay_info(a->ctx, 1, &info), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_relay_info(a->ctx, 0, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_relay_presence(a->ctx, 2), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_relay_get_stats(a->ctx, &stats), ATLAS_ERR_STATE);
    assert_int_equal(atlas_relay_allow(a->ctx, "x"), ATLAS_ERR_PEER_ID);
    assert_int_equal(atlas_relay_allow(a->ctx, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_relay_deny(a->ctx, STRANGER), ATLAS_OK);
    assert_int_equal(atlas_relay_start(a->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_start(a->ctx), ATLAS_ERR_STATE);
    assert_int_equal(atlas_relay_get_stats(a->ctx, &stats), ATLAS_OK);
    assert_int_equal(atlas_relay_get_stats(a->ctx, NULL), ATLAS_ERR_INVALID);
    world_free(&w);
}

/* Lists that were given before the server started hold. */
static void test_deny_list(void **state) {
    world w = {0};
    node *relay = world_add(&w);
    node *b = world_add_listener(&w);

    (void)state;
    assert_int_equal(atlas_relay_deny(relay->ctx, atlas_self_id(b->ctx)), ATLAS_OK);
    node_open(relay);
    assert_int_equal(atlas_relay_start(relay->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_add(b->ctx, relay->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(b->ctx, 1), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->relay_state == ATLAS_RELAY_LOST);
    assert_int_equal(b->relay_code, ATLAS_ERR_RELAY_NOT_AUTHORISED);
    world_free(&w);
}

/* Announced, but takes no connections. */
static void test_target_refuses(void **state) {
    world w = {0};
    node *relay = world_add(&w);
    node *b = world_add(&w);
    node *a = world_add(&w);
    tie *l;

    (void)state;
    node_open(relay);
    assert_int_equal(atlas_relay_start(relay->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_add(b->ctx, relay->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(b->ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_relay_add(a->ctx, relay->addr), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->relay_state == ATLAS_RELAY_ANNOUNCED);
    l = node_dial(a, atlas_self_id(b->ctx), 8000);
    WORLD_UNTIL(&w, 8000, l->closed);
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_int_equal(l->attempt_code, ATLAS_ERR_RELAY_REFUSED);
    world_free(&w);
}

/* A relay on a given port with a given identity, so that it can come back as the same one. */
static node *relay_at(world *w, int index, const atlas_key *key, unsigned port) {
    node *nd = &w->nodes[index];

    memset(nd, 0, sizeof(*nd));
    assert_int_equal(atlas_new(NULL, key, &nd->ctx), ATLAS_OK);
    assert_int_equal(atlas_set_u64(nd->ctx, ATLAS_OPT_IPV6, 0), ATLAS_OK);
    assert_int_equal(atlas_set_u64(nd->ctx, ATLAS_OPT_PORT, port), ATLAS_OK);
    assert_int_equal(atlas_set_str(nd->ctx, ATLAS_OPT_BIND4, "127.0.0.1"), ATLAS_OK);
    node_open(nd);
    assert_int_equal(atlas_relay_start(nd->ctx), ATLAS_OK);
    return nd;
}

/* The relay dies under a connection and comes back: the node is announced again and can be reached
 * again, and the connection has lost nothing. */
static void test_relay_restarts(void **state) {
    world w = {0};
    atlas_key *key = NULL;
    unsigned port = 0;
    uint64_t back;
    node *relay;
    node *b;
    node *a;
    tie *l;

    (void)state;
    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    w.n = 1;
    relay = relay_at(&w, 0, key, 0);
    assert_int_equal(sscanf(relay->addr, "/ip4/127.0.0.1/udp/%u/", &port), 1);
    b = world_add_listener(&w);
    a = world_add(&w);
    assert_int_equal(atlas_relay_add(b->ctx, relay->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(b->ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_relay_add(a->ctx, relay->addr), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->relay_state == ATLAS_RELAY_ANNOUNCED);
    l = node_dial(a, atlas_self_id(b->ctx), 8000);
    WORLD_UNTIL(&w, 8000, l->connected && b->accepted == 1);
    assert_int_equal(atlas_free(relay->ctx), ATLAS_OK);
    relay->ctx = NULL;
    WORLD_UNTIL(&w, 5000, b->relay_state != ATLAS_RELAY_ANNOUNCED);
    assert_int_equal(atlas_conn_send_message(l->conn, "meanwhile", 9, NULL), ATLAS_OK);
    relay_at(&w, 0, key, port);
    back = real_now();
    WORLD_UNTIL(&w, 5000, b->relay_state == ATLAS_RELAY_ANNOUNCED);
    l = node_dial(a, atlas_self_id(b->ctx), 5000);
    WORLD_UNTIL(&w, 5000, l->connected && b->accepted == 2);
    assert_true(real_now() - back < UINT64_C(5000000000));
    WORLD_UNTIL(&w, 5000, b->in[0].messages == 1);
    assert_memory_equal(b->in[0].last, "meanwhile", 9);
    assert_int_equal(a->out[0].closed + b->in[0].closed, 0);
    atlas_key_free(key);
    world_free(&w);
}

static void test_shutdown_with_relay(void **state) {
    trio t;
    tie *l;

    (void)state;
    trio_make(&t);
    assert_int_equal(atlas_relay_add(t.a->ctx, t.relay->addr), ATLAS_OK);
    l = node_dial(t.a, atlas_self_id(t.b->ctx), 8000);
    check_relayed(&t, l);
    assert_int_equal(atlas_shutdown(t.a->ctx, 500), ATLAS_OK);
    assert_int_equal(atlas_shutdown(t.b->ctx, 500), ATLAS_OK);
    WORLD_UNTIL(&t.w, 5000, t.a->shutdowns == 1 && t.b->shutdowns == 1);
    assert_int_equal(l->closed, 1);
    assert_int_equal(atlas_shutdown(t.relay->ctx, 500), ATLAS_OK);
    WORLD_UNTIL(&t.w, 5000, t.relay->shutdowns == 1);
    world_free(&t.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_id_through_configured_relay),
        cmocka_unit_test(test_the_relay_itself),
        cmocka_unit_test(test_circuit_address),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_direct_is_preferred),
        cmocka_unit_test(test_relay_disabled),
        cmocka_unit_test(test_target_not_registered),
        cmocka_unit_test(test_second_relay),
        cmocka_unit_test(test_arguments_and_info),
        cmocka_unit_test(test_deny_list),
        cmocka_unit_test(test_target_refuses),
        cmocka_unit_test(test_relay_restarts),
        cmocka_unit_test(test_shutdown_with_relay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
