/* Messages and datagrams over loopback: sizes, order of none, bounds on both sides; and memory that
 * runs out. */
#include "nodes.h"

typedef struct pair {
    world w;
    node *a;
    node *b;
    tie *l;
} pair;

static void pair_make(pair *p, uint64_t max_a, uint64_t max_b) {
    memset(p, 0, sizeof(*p));
    p->b = world_add(&p->w);
    p->a = world_add(&p->w);
    assert_int_equal(atlas_set_u64(p->a->ctx, ATLAS_OPT_MAX_MESSAGE_SIZE, max_a), ATLAS_OK);
    assert_int_equal(atlas_set_u64(p->b->ctx, ATLAS_OPT_MAX_MESSAGE_SIZE, max_b), ATLAS_OK);
    node_open(p->b);
    assert_int_equal(atlas_listen(p->b->ctx), ATLAS_OK);
    p->l = world_connect(&p->w, p->a, p->b);
}

static uint8_t *pattern(size_t len) {
    uint8_t *data = malloc(len + 1);
    size_t i;

    assert_non_null(data);
    for (i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    return data;
}

static const uint8_t *expected;
static size_t matches;

static void compare(tie *l, const uint8_t *data, size_t len) {
    (void)l;
    assert_memory_equal(data, expected, len);
    matches++;
}

static void test_sizes(void **state) {
    static const size_t sizes[] = {0,    1,     2,     511,    512,     513,    1199,
                                   1200, 65535, 65536, 262144, 1000000, 1048576};
    uint8_t *data = pattern(1048576);
    pair p;
    size_t total = 0;
    size_t i;

    (void)state;
    pair_make(&p, 1048576, 1048576);
    expected = data;
    matches = 0;
    p.b->on_message = compare;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(atlas_conn_send_message(p.l->conn, data, sizes[i], NULL), ATLAS_OK);
        total += sizes[i];
    }
    WORLD_UNTIL(&p.w, 8000, p.b->in[0].messages == (int)i && p.l->sent == (int)i);
    assert_int_equal(p.b->in[0].message_bytes, total);
    assert_int_equal(matches, i);
    assert_int_equal(p.l->sent_code, ATLAS_OK);
    assert_int_equal(atlas_conn_send_message(p.l->conn, data, 1048577, NULL),
                     ATLAS_ERR_MESSAGE_TOO_LARGE);
    world_free(&p.w);
    free(data);
}

/* More than the peer allows streams: they wait for their turn; and no more than 1024 wait. */
static void test_many(void **state) {
    pair p;
    int taken = 0;
    int more = 0;

    (void)state;
    pair_make(&p, 1000, 1000);
    while (taken < 2000 &&
           atlas_conn_send_message(p.l->conn, &taken, sizeof(taken), NULL) == ATLAS_OK) {
        taken++;
    }
    assert_int_equal(taken, 1024);
    assert_int_equal(atlas_conn_send_message(p.l->conn, "x", 1, NULL), ATLAS_ERR_AGAIN);
    WORLD_UNTIL(&p.w, 8000, p.l->sent == 1024 && p.b->in[0].messages == 1024);
    while (more < 10 && atlas_conn_send_message(p.l->conn, "x", 1, NULL) == ATLAS_OK) {
        more++;
    }
    assert_int_equal(more, 10);
    WORLD_UNTIL(&p.w, 5000, p.l->sent == 1034);
    assert_int_equal(p.l->sent_code, ATLAS_OK);
    world_free(&p.w);
}

static void test_bytes_that_wait(void **state) {
    uint8_t *data = pattern(4u << 20);
    pair p;
    int taken = 0;

    (void)state;
    pair_make(&p, 32u << 20, 32u << 20);
    while (taken < 10 && atlas_conn_send_message(p.l->conn, data, 4u << 20, NULL) == ATLAS_OK) {
        taken++;
    }
    assert_int_equal(taken, 4); /* 16 MiB */
    assert_int_equal(atlas_conn_send_message(p.l->conn, data, 1, NULL), ATLAS_ERR_AGAIN);
    WORLD_UNTIL(&p.w, 10000, p.l->sent == 4 && p.b->in[0].messages == 4);
    assert_int_equal(p.b->in[0].message_bytes, 16u << 20);
    world_free(&p.w);
    free(data);
}

/* The receiver's limit is its own: a longer message is stopped, and the sender is told; others are
 * not disturbed. */
static void test_receivers_limit(void **state) {
    uint8_t *data = pattern(100000);
    pair p;

    (void)state;
    pair_make(&p, 1048576, 5000);
    assert_int_equal(atlas_conn_send_message(p.l->conn, data, 5001, NULL), ATLAS_OK);
    /* one that is in flight as a whole may be acknowledged before the refusal comes */
    WORLD_UNTIL(&p.w, 5000, p.l->sent == 1);
    assert_int_equal(atlas_conn_send_message(p.l->conn, data, 100000, NULL), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.l->sent == 2);
    assert_int_equal(p.l->sent_code, ATLAS_ERR_MESSAGE_TOO_LARGE);
    assert_int_equal(atlas_conn_send_message(p.l->conn, data, 5000, NULL), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.l->sent == 3 && p.b->in[0].messages == 1);
    assert_int_equal(p.l->sent_code, ATLAS_OK);
    assert_int_equal(p.b->in[0].message_bytes, 5000);
    assert_int_equal(p.l->closed, 0);
    world_free(&p.w);
    free(data);
}

/* What was not acknowledged when the connection ends is reported, once each, before the end. */
static void test_unsent_at_the_end(void **state) {
    uint8_t *data = pattern(1048576);
    pair p;
    int i;

    (void)state;
    pair_make(&p, 1048576, 1048576);
    for (i = 0; i < 8; i++) {
        assert_int_equal(atlas_conn_send_message(p.l->conn, data, 1048576, NULL), ATLAS_OK);
    }
    assert_int_equal(atlas_conn_close(p.l->conn, 0, NULL), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.l->closed && p.b->in[0].closed);
    assert_int_equal(p.l->sent, 8);
    assert_int_equal(p.l->sent_code, ATLAS_ERR_CLOSED);
    assert_int_equal(p.l->early_event, 0);
    assert_int_equal(p.b->in[0].early_event, 0);
    world_free(&p.w);
    free(data);
}

static void test_datagrams(void **state) {
    uint8_t *data = pattern(70000);
    pair p;
    size_t most;
    int sent = 0;

    (void)state;
    pair_make(&p, 1000, 1000);
    most = atlas_conn_max_datagram(p.l->conn);
    assert_true(most >= 1000 && most < 1500);
    assert_int_equal(atlas_conn_send_datagram(p.l->conn, "unreliable", 10), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.b->in[0].datagrams == 1);
    assert_string_equal(p.b->in[0].datagram, "unreliable");
    assert_int_equal(atlas_conn_send_datagram(p.b->in[0].conn, data, 0), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.l->datagrams == 1);
    assert_int_equal(atlas_conn_send_datagram(p.l->conn, data, most), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.b->in[0].datagrams == 2);
    assert_int_equal(atlas_conn_send_datagram(p.l->conn, data, 70000),
                     ATLAS_ERR_DATAGRAM_TOO_LARGE);
    most = atlas_conn_max_datagram(p.l->conn); /* the path may have grown */
    assert_int_equal(atlas_conn_send_datagram(p.l->conn, data, most + 1),
                     ATLAS_ERR_DATAGRAM_TOO_LARGE);
    while (sent < 1000 && atlas_conn_send_datagram(p.l->conn, "x", 1) == ATLAS_OK) {
        sent++;
    }
    assert_int_equal(sent, 256);
    assert_int_equal(atlas_conn_send_datagram(p.l->conn, "x", 1), ATLAS_ERR_AGAIN);
    world_run(&p.w, 100);
    assert_true(p.b->in[0].datagrams > 2);
    assert_int_equal(p.l->closed, 0);
    world_free(&p.w);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_bytes_that_wait),
        cmocka_unit_test(test_receivers_limit),
        cmocka_unit_test(test_unsent_at_the_end),
        cmocka_unit_test(test_datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
