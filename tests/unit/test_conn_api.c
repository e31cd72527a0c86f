/* Connections between contexts over loopback: connecting, messages, datagrams, pings, closing,
 * disconnecting. */
#include "nodes.h"

static void test_connect_and_message(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);
    uint64_t id = 0;

    (void)state;
    assert_string_equal(atlas_conn_peer_id(l->conn), atlas_self_id(b->ctx));
    assert_string_equal(atlas_conn_peer_id(b->in[0].conn), atlas_self_id(a->ctx));
    assert_int_equal(atlas_conn_is_dialer(l->conn), 1);
    assert_ptr_equal(atlas_conn_ctx(l->conn), a->ctx);
    assert_int_equal(l->paths, 1);
    assert_int_equal(l->path_kind, ATLAS_PATH_DIRECT);
    assert_int_equal(b->in[0].path_kind, ATLAS_PATH_DIRECT);
    assert_int_equal(atlas_conn_send_message(l->conn, "hello", 5, &id), ATLAS_OK);
    assert_int_equal(id, 1);
    WORLD_UNTIL(&w, 5000, b->in[0].messages == 1 && l->sent == 1);
    assert_int_equal(l->sent_code, ATLAS_OK);
    assert_int_equal(l->sent_id, id);
    assert_int_equal(b->in[0].last_len, 5);
    assert_memory_equal(b->in[0].last, "hello", 5);
    assert_int_equal(l->early_event, 0);
    assert_int_equal(b->in[0].early_event, 0);
    world_free(&w);
}

static void test_arguments(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);
    atlas_path_info path = {.size = sizeof(path)};
    atlas_conn_stats stats = {.size = sizeof(stats)};
    atlas_conn_callbacks wrong = {.size = 8};
    char reason[300];

    (void)state;
    memset(reason, 'x', sizeof(reason));
    reason[299] = '\0';
    assert_int_equal(atlas_conn_get_path(NULL, &path), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_get_path(l->conn, NULL), ATLAS_ERR_INVALID);
    path.size = 1;
    assert_int_equal(atlas_conn_get_path(l->conn, &path), ATLAS_ERR_INVALID);
    path.size = sizeof(path);
    assert_int_equal(atlas_conn_get_path(l->conn, &path), ATLAS_OK);
    assert_int_equal(path.kind, ATLAS_PATH_DIRECT);
    assert_true(path.mtu >= 1200);
    assert_true(path.rtt_ns > 0);
    assert_string_equal(path.relay, "");
    assert_int_equal(strncmp(path.remote, "127.0.0.1:", 10), 0);
    assert_int_equal(atlas_conn_get_stats(NULL, &stats), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_get_stats(l->conn, &stats), ATLAS_OK);
    assert_true(stats.tx_packets > 0 && stats.rx_packets > 0 && stats.tx_bytes > stats.tx_packets);
    assert_int_equal(atlas_conn_set_callbacks(l->conn, &wrong, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_set_callbacks(NULL, &link_callbacks, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_close(NULL, 0, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_close(l->conn, UINT64_C(1) << 62, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_close(l->conn, 0, reason), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_disconnect(l->conn, reason), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_disconnect(NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_ping(NULL, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_send_message(NULL, "", 0, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_send_message(l->conn, NULL, 1, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_send_datagram(l->conn, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_send_datagram(NULL, "", 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_conn_max_datagram(NULL), 0);
    assert_null(atlas_conn_peer_id(NULL));
    assert_null(atlas_conn_ctx(NULL));
    assert_int_equal(atlas_conn_is_dialer(NULL), 0);
    world_free(&w);
}

static void test_close_codes(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);

    (void)state;
    assert_int_equal(atlas_conn_close(l->conn, 77, "enough"), ATLAS_OK);
    assert_int_equal(l->closed, 0); /* never from inside the call */
    assert_int_equal(atlas_conn_close(l->conn, 78, "again"), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_conn_send_message(l->conn, "x", 1, NULL), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_conn_send_datagram(l->conn, "x", 1), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_conn_disconnect(l->conn, NULL), ATLAS_ERR_CLOSED);
    WORLD_UNTIL(&w, 5000, l->closed && b->in[0].closed);
    assert_int_equal(l->code, ATLAS_OK);
    assert_int_equal(l->app_code, 77);
    assert_int_equal(b->in[0].code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(b->in[0].app_code, 77);
    assert_string_equal(b->in[0].text, "enough");
    world_run(&w, 50);
    assert_int_equal(l->closed, 1);
    assert_int_equal(b->in[0].closed, 1);
    assert_int_equal(l->early_event, 0);
    world_free(&w);
}

static void test_refused_without_callbacks(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l;

    (void)state;
    b->refuse = 1;
    l = node_dial(a, b->addr, 5000);
    WORLD_UNTIL(&w, 5000, l->closed);
    assert_int_equal(b->accepted, 1);
    assert_int_equal(l->code, ATLAS_ERR_PEER_CLOSED);
    assert_string_equal(l->text, "refused");
    world_free(&w);
}

static void test_ping(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);
    uint64_t id = 0;
    int i;

    (void)state;
    assert_int_equal(atlas_conn_ping(l->conn, &id), ATLAS_OK);
    assert_int_equal(atlas_conn_ping(b->in[0].conn, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, l->pongs == 1 && b->in[0].pongs == 1);
    assert_int_equal(id, 1);
    assert_true(l->pong_rtt > 0 && l->pong_rtt < UINT64_C(2000000000));
    assert_int_equal(l->pong_kind, ATLAS_PATH_DIRECT);
    for (i = 0; i < 16; i++) {
        assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_OK);
    }
    assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_ERR_LIMIT);
    WORLD_UNTIL(&w, 5000, l->pongs == 17);
    assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_OK);
    world_free(&w);
}

static void test_disconnect_all_sessions(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    node *c = world_add(&w);
    tie *first = world_connect(&w, a, b);
    tie *second = world_connect(&w, a, b);
    tie *other = world_connect(&w, c, b);

    (void)state;
    assert_int_equal(b->accepted, 3);
    assert_int_equal(atlas_conn_disconnect(first->conn, "moving on"), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->in[0].closed && b->in[1].closed && first->closed && second->closed);
    assert_int_equal(b->in[0].code, ATLAS_ERR_DISCONNECTED);
    assert_int_equal(b->in[1].code, ATLAS_ERR_DISCONNECTED);
    assert_string_equal(b->in[0].text, "moving on");
    assert_int_equal(first->code, ATLAS_OK);
    assert_int_equal(second->code, ATLAS_ERR_DISCONNECTED);
    assert_int_equal(b->in[2].closed, 0);
    assert_int_equal(other->closed, 0);
    world_free(&w);
}

/* A connection on which nothing is sent outlives its idle timeout; one whose peer is gone does not.
 */
static void test_keepalive_and_idle_timeout(void **state) {
    world w = {0};
    node *b = world_add(&w);
    node *a = world_add(&w);
    atlas_ctx *silent;
    tie *l;

    (void)state;
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_IDLE_TIMEOUT_MS, 1000), ATLAS_OK);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_IDLE_TIMEOUT_MS, 1000), ATLAS_OK);
    node_open(b);
    assert_int_equal(atlas_listen(b->ctx), ATLAS_OK);
    l = world_connect(&w, a, b);
    world_run(&w, 2200);
    assert_int_equal(l->closed, 0);
    assert_int_equal(b->in[0].closed, 0);
    /* b stops turning: a hears nothing */
    silent = b->ctx;
    b->ctx = NULL;
    WORLD_UNTIL(&w, 6000, l->closed);
    assert_int_equal(l->code, ATLAS_ERR_IDLE_TIMEOUT);
    b->ctx = silent;
    world_free(&w);
}

static int close_from_callback;

static void close_on_message(tie *l, const uint8_t *data, size_t len) {
    (void)data;
    (void)len;
    close_from_callback++;
    assert_int_equal(atlas_conn_close(l->conn, 5, "from the callback"), ATLAS_OK);
    assert_int_equal(atlas_free(l->node->ctx), ATLAS_ERR_REENTRANT);
    assert_int_equal(atlas_process(l->node->ctx, NULL, 0), ATLAS_ERR_REENTRANT);
    assert_int_equal(atlas_run_once(l->node->ctx, 0), ATLAS_ERR_REENTRANT);
}

static void test_close_in_callback(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);
    int i;

    (void)state;
    close_from_callback = 0;
    b->on_message = close_on_message;
    for (i = 0; i < 5; i++) {
        assert_int_equal(atlas_conn_send_message(l->conn, "x", 1, NULL), ATLAS_OK);
    }
    WORLD_UNTIL(&w, 5000, l->closed && b->in[0].closed);
    assert_int_equal(close_from_callback, 1); /* nothing but final events after closing */
    assert_int_equal(l->code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(l->app_code, 5);
    assert_int_equal(b->in[0].code, ATLAS_OK);
    world_free(&w);
}

static void test_limit_of_connections(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    atlas_conn *conn;
    tie *l;

    (void)state;
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_MAX_CONNECTIONS, 1), ATLAS_OK);
    l = world_connect(&w, a, b);
    assert_int_equal(atlas_dial(a->ctx, b->addr, 0, &link_callbacks, l, &conn), ATLAS_ERR_LIMIT);
    assert_int_equal(atlas_conn_close(l->conn, 0, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, l->closed);
    l = world_connect(&w, a, b);
    assert_int_equal(l->closed, 0);
    world_free(&w);
}

static void test_shutdown_ends_everything(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    tie *l = world_connect(&w, a, b);
    atlas_conn *conn;

    (void)state;
    assert_int_equal(atlas_shutdown(b->ctx, 1000), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->shutdowns == 1 && l->closed);
    assert_int_equal(b->in[0].closed, 1);
    assert_int_equal(b->in[0].code, ATLAS_ERR_SHUTDOWN);
    assert_int_equal(l->code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(atlas_dial(b->ctx, atlas_self_id(a->ctx), 0, &link_callbacks, l, &conn),
                     ATLAS_ERR_SHUTDOWN);
    world_run(&w, 20);
    assert_int_equal(b->shutdowns, 1);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_and_message),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_close_codes),
        cmocka_unit_test(test_refused_without_callbacks),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_disconnect_all_sessions),
        cmocka_unit_test(test_keepalive_and_idle_timeout),
        cmocka_unit_test(test_close_in_callback),
        cmocka_unit_test(test_limit_of_connections),
        cmocka_unit_test(test_shutdown_ends_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
