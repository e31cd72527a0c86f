/* Memory that runs out: the nth allocation of one node fails, for every n, in a whole use of it:
 * dial, message, ping, datagram, stream, close, direct and through a relay. Nothing crashes,
 * nothing leaks, nobody else is disturbed. */
#include "nodes.h"

typedef struct scarce {
    long left; /* allocations until the one that fails */
    long live; /* not freed */
    int failed;
} scarce;

static void *scarce_malloc(void *user, size_t size) {
    scarce *s = user;
    void *ptr;

    if (s->left >= 0 && s->left-- == 0) {
        s->failed = 1;
        return NULL;
    }
    ptr = malloc(size);
    s->live += ptr != NULL;
    return ptr;
}

static void *scarce_realloc(void *user, void *old, size_t size) {
    scarce *s = user;

    if (s->left >= 0 && s->left-- == 0) {
        s->failed = 1;
        return NULL;
    }
    s->live += old == NULL;
    return realloc(old, size);
}

static void scarce_free(void *user, void *ptr) {
    ((scarce *)user)->live -= ptr != NULL;
    free(ptr);
}

static void ignore_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    (void)stream;
    (void)code;
    (void)app_code;
    (*(int *)user)++;
}

static const atlas_stream_callbacks ignore = {.size = sizeof(ignore), .on_closed = ignore_closed};

static int streams_closed;

static void take(node *nd, atlas_conn *conn, atlas_stream *stream) {
    (void)nd;
    (void)conn;
    (void)atlas_stream_set_callbacks(stream, &ignore, &streams_closed);
}

/* The whole use of a node: returns 0 when it went through without a failure. */
static int use(node *nd, world *w, node *listener, node *relay, int through_relay, tie *l) {
    atlas_stream *stream = NULL;
    uint64_t until;
    size_t taken;
    int sent;

    if (atlas_set_u64(nd->ctx, ATLAS_OPT_HANDSHAKE_TIMEOUT_MS, 150) != ATLAS_OK ||
        (through_relay && atlas_relay_add(nd->ctx, relay->addr) != ATLAS_OK) ||
        atlas_dial(nd->ctx, through_relay ? atlas_self_id(listener->ctx) : listener->addr, 200,
                   &link_callbacks, l, &l->conn) != ATLAS_OK) {
        return 1;
    }
    until = real_now() + UINT64_C(1000000000);
    while (!l->connected && !l->closed && real_now() < until) {
        world_turn(w, 5);
    }
    if (!l->connected || l->closed) {
        return 1;
    }
    sent = atlas_conn_send_message(l->conn, "x", 1, NULL) == ATLAS_OK;
    (void)atlas_conn_ping(l->conn, NULL);
    (void)atlas_conn_send_datagram(l->conn, "x", 1);
    if (atlas_stream_open(l->conn, 1, &ignore, &streams_closed, &stream) == ATLAS_OK) {
        (void)atlas_stream_write(stream, "x", 1, 1, &taken);
    }
    until = real_now() + UINT64_C(100000000);
    while (!l->closed && real_now() < until && !(l->sent == sent && l->pongs)) {
        world_turn(w, 5);
    }
    if (l->conn != NULL) {
        (void)atlas_conn_close(l->conn, 1, NULL);
    }
    until = real_now() + UINT64_C(1000000000);
    while (!l->closed && real_now() < until) {
        world_turn(w, 5);
    }
    assert_int_equal(l->closed, 1);
    return 0;
}

static node *add_scarce(world *w, scarce *s, long left) {
    atlas_hooks hooks = {.size = sizeof(hooks),
                         .user = s,
                         .malloc = scarce_malloc,
                         .realloc = scarce_realloc,
                         .free = scarce_free};

    memset(s, 0, sizeof(*s));
    s->left = left;
    return world_add_with(w, &hooks);
}

static void start_relay(world *w, node *relay) {
    (void)w;
    node_open(relay);
    assert_int_equal(atlas_relay_start(relay->ctx), ATLAS_OK);
}

static void announce(world *w, node *b, node *relay) {
    node_open(b);
    assert_int_equal(atlas_listen(b->ctx), ATLAS_OK);
    assert_int_equal(atlas_relay_add(b->ctx, relay->addr), ATLAS_OK);
    assert_int_equal(atlas_relay_presence(b->ctx, 1), ATLAS_OK);
    b->on_stream = take;
    WORLD_UNTIL(w, 5000, b->relay_state == ATLAS_RELAY_ANNOUNCED);
}

static void remove_last(world *w) {
    node *nd = &w->nodes[w->n - 1];

    if (nd->ctx != NULL) {
        assert_int_equal(atlas_free(nd->ctx), ATLAS_OK);
        nd->ctx = NULL;
    }
    w->n--;
}

/* The dialling node: everything from atlas_new() on may fail. */
static void dialler_fails(int through_relay) {
    world w = {0};
    node *relay = world_add(&w);
    node *b = world_add(&w);
    scarce s;
    long n;

    start_relay(&w, relay);
    announce(&w, b, relay);
    for (n = 0; n < 2000; n++) {
        node *a = add_scarce(&w, &s, n);

        if (a != NULL) {
            (void)use(a, &w, b, relay, through_relay, &a->out[0]);
            remove_last(&w);
        }
        assert_int_equal(s.live, 0);
        if (!s.failed) {
            break;
        }
    }
    assert_in_range(n, 50, 1999);
    /* the others have come to no harm */
    assert_int_equal(b->relay_state, ATLAS_RELAY_ANNOUNCED);
    (void)world_connect(&w, world_add(&w), b);
    world_free(&w);
}

/* The listening node, or the relay: what others make them allocate may fail. */
static void server_fails(int relay_is_scarce) {
    scarce s;
    long n;

    for (n = 0; n < 2000; n++) {
        world w = {0};
        node *relay = relay_is_scarce ? add_scarce(&w, &s, -1) : world_add(&w);
        node *b;
        node *a;

        start_relay(&w, relay);
        b = relay_is_scarce ? world_add(&w) : add_scarce(&w, &s, -1);
        announce(&w, b, relay);
        a = world_add(&w);
        s.left = n;
        (void)use(a, &w, b, relay, 1, &a->out[0]);
        s.left = -1;
        world_free(&w);
        assert_int_equal(s.live, 0);
        if (!s.failed) {
            break;
        }
    }
    assert_in_range(n, 20, 1999);
}

static void test_dialler_without_memory_direct(void **state) {
    (void)state;
    dialler_fails(0);
}

static void test_dialler_without_memory_relayed(void **state) {
    (void)state;
    dialler_fails(1);
}

static void test_listener_without_memory(void **state) {
    (void)state;
    server_fails(0);
}

static void test_relay_without_memory(void **state) {
    (void)state;
    server_fails(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialler_without_memory_direct),
        cmocka_unit_test(test_dialler_without_memory_relayed),
        cmocka_unit_test(test_listener_without_memory),
        cmocka_unit_test(test_relay_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
