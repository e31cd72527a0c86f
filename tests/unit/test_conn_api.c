/* Connections between contexts over loopback: connecting, messages, datagrams, pings, closing,
 * disconnecting. */
#include "nodes.h"

static void test_connect_and_message(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    link *l = world_connect(&w, a, b);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_and_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
