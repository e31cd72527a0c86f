/* on_idle: once after each activity, never while something is under way; idle mode. */
#include "nodes.h"

#define FASTER 8 /* the clocks of these nodes, so that nobody waits for seconds */

static uint64_t fast_now(void *user) {
    (void)user;
    return real_now() * FASTER;
}

static node *add(world *w) {
    atlas_hooks hooks = {.size = sizeof(hooks), .now = fast_now};
    node *nd = world_add_with(w, &hooks);

    assert_non_null(nd);
    return nd;
}

static node *add_listener(world *w) {
    node *nd = add(w);

    node_open(nd);
    assert_int_equal(atlas_listen(nd->ctx), ATLAS_OK);
    return nd;
}

static void listen_for_idle(node *nd) {
    atlas_callbacks callbacks = {
        .size = sizeof(callbacks),
        .user = nd,
        .on_connection = cb_connection,
        .on_relay = cb_relay,
        .on_shutdown = cb_shutdown,
        .on_wakeup = cb_wakeup,
        .on_idle = cb_idle,
    };

    assert_int_equal(atlas_set_callbacks(nd->ctx, &callbacks), ATLAS_OK);
}

static void test_once_after_activity(void **state) {
    world w = {0};
    node *b = add_listener(&w);
    node *a = add(&w);
    uint64_t began = real_now();
    tie *l;

    (void)state;
    listen_for_idle(a);
    l = world_connect(&w, a, b);
    assert_int_equal(a->idles, 0);
    WORLD_UNTIL(&w, 5000, a->idles == 1);
    assert_true(real_now() - began >= 1000000000u / FASTER);
    assert_true(a->quiet_ns > 0);
    world_run(&w, 3000 / FASTER);
    assert_int_equal(a->idles, 1);
    assert_int_equal(atlas_conn_send_message(l->conn, "x", 1, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, l->sent == 1);
    assert_int_equal(a->idles, 1);
    WORLD_UNTIL(&w, 5000, a->idles == 2);
    /* what comes is activity too */
    assert_int_equal(atlas_conn_send_message(b->in[0].conn, "y", 1, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, a->idles == 3);
    assert_int_equal(l->messages, 1);
    assert_int_equal(b->idles, 0); /* has no such callback */
    world_free(&w);
}

static void take_stream(node *nd, atlas_conn *conn, atlas_stream *stream) {
    static const atlas_stream_callbacks callbacks = {.size = sizeof(callbacks)};

    (void)nd;
    (void)conn;
    assert_int_equal(atlas_stream_set_callbacks(stream, &callbacks, NULL), ATLAS_OK);
}

/* A dial to nowhere, and a stream that the peer does not read: neither is quiet. */
static void test_under_way(void **state) {
    static uint8_t bytes[262144];
    static const atlas_stream_callbacks callbacks = {.size = sizeof(callbacks)};
    world w = {0};
    node *b = add_listener(&w);
    node *a = add(&w);
    atlas_stream *stream = NULL;
    size_t taken = 0;
    tie *l = world_connect(&w, a, b);
    tie *nowhere;
    char target[ATLAS_MULTIADDR_MAX];

    (void)state;
    listen_for_idle(a);
    /* a port of which nobody reads */
    (void)snprintf(target, sizeof(target), "/ip4/192.0.2.1/udp/9/quic-v1/p2p/%s",
                   atlas_self_id(b->ctx));
    nowhere = node_dial(a, target, 2500);
    while (!nowhere->closed) {
        assert_int_equal(a->idles, 0);
        world_turn(&w, 20);
    }
    WORLD_UNTIL(&w, 5000, a->idles == 1);
    b->on_stream = take_stream;
    assert_int_equal(atlas_stream_open(l->conn, 0, &callbacks, NULL, &stream), ATLAS_OK);
    do {
        assert_int_equal(atlas_stream_write(stream, bytes, sizeof(bytes), 0, &taken), ATLAS_OK);
        world_run(&w, 20);
    } while (taken > 0);
    world_run(&w, 4000 / FASTER);
    assert_int_equal(a->idles, 1);
    assert_int_equal(atlas_stream_reset(stream, 0), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, a->idles == 2);
    world_free(&w);
}

static void on_idle_asks(void *user, atlas_ctx *ctx, uint64_t quiet_ns) {
    cb_idle(user, ctx, quiet_ns);
    assert_int_equal(atlas_process(ctx, NULL, 0), ATLAS_ERR_REENTRANT);
    assert_int_equal(atlas_set_idle(ctx, 1), ATLAS_OK);
}

static void test_idle_mode(void **state) {
    world w = {0};
    node *b = add_listener(&w);
    node *a = add(&w);
    atlas_callbacks callbacks = {.size = sizeof(callbacks), .user = a, .on_idle = on_idle_asks};
    tie *l;

    (void)state;
    assert_int_equal(atlas_set_idle(NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_set_idle(a->ctx, 2), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_network_changed(NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_network_changed(a->ctx), ATLAS_OK); /* before anything is open */
    assert_int_equal(atlas_set_idle(a->ctx, 1), ATLAS_OK);
    assert_int_equal(atlas_set_idle(a->ctx, 0), ATLAS_OK);
    l = world_connect(&w, a, b);
    assert_int_equal(atlas_set_callbacks(a->ctx, &callbacks), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, a->idles == 1);
    assert_true(a->quiet_ns != ATLAS_NO_DEADLINE);
    /* asleep now: and told that it may sleep for ever */
    WORLD_UNTIL(&w, 5000, a->idles == 2);
    assert_true(a->quiet_ns == ATLAS_NO_DEADLINE);
    /* what comes is processed, what is sent goes out */
    assert_int_equal(atlas_conn_send_message(b->in[0].conn, "knock", 5, NULL), ATLAS_OK);
    assert_int_equal(atlas_conn_send_message(l->conn, "who", 3, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, l->messages == 1 && b->in[0].messages == 1);
    assert_int_equal(atlas_set_idle(a->ctx, 0), ATLAS_OK);
    assert_int_equal(atlas_network_changed(a->ctx), ATLAS_OK);
    assert_int_equal(atlas_network_changed(a->ctx), ATLAS_OK);
    assert_int_equal(atlas_conn_send_message(l->conn, "back", 4, NULL), ATLAS_OK);
    WORLD_UNTIL(&w, 5000, b->in[0].messages == 2);
    assert_int_equal(l->closed, 0);
    world_free(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_after_activity),
        cmocka_unit_test(test_under_way),
        cmocka_unit_test(test_idle_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
