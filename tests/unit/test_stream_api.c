/* Streams between contexts over loopback: data both ways, the slow reader, ends, resets, closing in
 * callbacks. */
#include "nodes.h"

typedef struct tape {
    atlas_stream *stream;
    uint8_t *data;
    size_t len;
    size_t cap;
    int paused; /* does not read */
    int echo;   /* writes back what it reads */
    int fin;
    int readable;
    int writable;
    int acked;
    int closed;
    int32_t code;
    uint64_t app_code;
} tape;

static tape incoming[8];
static int incoming_count;
static int incoming_paused;
static int incoming_echo;
static int incoming_refused;

static void drain(tape *t) {
    uint8_t buf[5000];
    size_t len;
    uint32_t fin;

    while (!t->fin && atlas_stream_read(t->stream, buf, sizeof(buf), &len, &fin) == ATLAS_OK) {
        if (t->len + len > t->cap) {
            t->cap = (t->len + len) * 2;
            t->data = realloc(t->data, t->cap);
            assert_non_null(t->data);
        }
        memcpy(t->data + t->len, buf, len);
        t->len += len;
        t->fin = (int)fin;
        if (t->echo) {
            size_t taken = 0;

            assert_int_equal(atlas_stream_write(t->stream, buf, len, fin, &taken), ATLAS_OK);
            assert_int_equal(taken, len);
        }
    }
}

static void on_readable(void *user, atlas_stream *stream) {
    tape *t = user;

    assert_ptr_equal(stream, t->stream);
    assert_int_equal(t->closed, 0);
    t->readable++;
    if (!t->paused) {
        drain(t);
    }
}

static void on_writable(void *user, atlas_stream *stream) {
    (void)stream;
    ((tape *)user)->writable++;
}

static void on_acked(void *user, atlas_stream *stream) {
    (void)stream;
    ((tape *)user)->acked++;
}

static void on_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    tape *t = user;

    assert_ptr_equal(stream, t->stream);
    t->closed++;
    t->code = code;
    t->app_code = app_code;
    t->stream = NULL;
}

static const atlas_stream_callbacks tape_callbacks = {
    .size = sizeof(tape_callbacks),
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_acked = on_acked,
    .on_closed = on_closed,
};

static void take_stream(node *nd, atlas_conn *conn, atlas_stream *stream) {
    tape *t = &incoming[incoming_count % 8];

    assert_ptr_equal(atlas_stream_conn(stream), conn);
    (void)nd;
    incoming_count++;
    if (incoming_refused) {
        return;
    }
    memset(t, 0, sizeof(*t));
    t->stream = stream;
    t->paused = incoming_paused;
    t->echo = incoming_echo;
    assert_int_equal(atlas_stream_set_callbacks(stream, &tape_callbacks, t), ATLAS_OK);
}

typedef struct pair {
    world w;
    node *a;
    node *b;
    tie *l;
} pair;

static void pair_make(pair *p, uint64_t buffer) {
    memset(p, 0, sizeof(*p));
    incoming_count = 0;
    incoming_paused = 0;
    incoming_echo = 0;
    incoming_refused = 0;
    p->b = world_add(&p->w);
    p->a = world_add(&p->w);
    if (buffer != 0) {
        assert_int_equal(atlas_set_u64(p->a->ctx, ATLAS_OPT_STREAM_BUFFER, buffer), ATLAS_OK);
        assert_int_equal(atlas_set_u64(p->b->ctx, ATLAS_OPT_STREAM_BUFFER, buffer), ATLAS_OK);
    }
    node_open(p->b);
    assert_int_equal(atlas_listen(p->b->ctx), ATLAS_OK);
    p->b->on_stream = take_stream;
    p->l = world_connect(&p->w, p->a, p->b);
}

static void pair_free(pair *p) {
    int i;

    world_free(&p->w);
    for (i = 0; i < 8; i++) {
        free(incoming[i].data);
        memset(&incoming[i], 0, sizeof(incoming[i]));
    }
}

static void open_stream(pair *p, uint32_t uni, tape *t) {
    memset(t, 0, sizeof(*t));
    assert_int_equal(atlas_stream_open(p->l->conn, uni, &tape_callbacks, t, &t->stream), ATLAS_OK);
}

static void write_all(tape *t, const char *text, uint32_t fin) {
    size_t taken = 0;

    assert_int_equal(atlas_stream_write(t->stream, text, strlen(text), fin, &taken), ATLAS_OK);
    assert_int_equal(taken, strlen(text));
}

static void test_echo(void **state) {
    pair p;
    tape t;

    (void)state;
    pair_make(&p, 0);
    incoming_echo = 1;
    open_stream(&p, 0, &t);
    write_all(&t, "ping ", 0);
    write_all(&t, "pong", 1);
    WORLD_UNTIL(&p.w, 5000, t.closed && incoming[0].closed);
    assert_int_equal(t.len, 9);
    assert_memory_equal(t.data, "ping pong", 9);
    assert_int_equal(t.code, ATLAS_OK);
    assert_int_equal(t.acked, 1);
    assert_int_equal(incoming[0].code, ATLAS_OK);
    free(t.data);
    pair_free(&p);
}

static void test_unidirectional(void **state) {
    pair p;
    tape t;
    size_t n;
    uint32_t fin;
    char buf[8];

    (void)state;
    pair_make(&p, 0);
    open_stream(&p, 1, &t);
    assert_int_equal(atlas_stream_read(t.stream, buf, sizeof(buf), &n, &fin), ATLAS_ERR_STATE);
    write_all(&t, "one way", 1);
    assert_int_equal(atlas_stream_write(t.stream, "x", 1, 0, &n), ATLAS_ERR_STATE);
    incoming_paused = 1;
    WORLD_UNTIL(&p.w, 5000, incoming_count == 1 && incoming[0].readable);
    assert_int_equal(atlas_stream_write(incoming[0].stream, "x", 1, 0, &n), ATLAS_ERR_STATE);
    /* the sender is done; the reader's handle lives until it has read */
    WORLD_UNTIL(&p.w, 5000, t.acked == 1);
    world_run(&p.w, 50);
    assert_int_equal(incoming[0].closed, 0);
    drain(&incoming[0]);
    WORLD_UNTIL(&p.w, 5000, t.closed && incoming[0].closed);
    assert_memory_equal(incoming[0].data, "one way", 7);
    assert_int_equal(incoming[0].len, 7);
    assert_int_equal(t.code, ATLAS_OK);
    assert_int_equal(incoming[0].code, ATLAS_OK);
    assert_int_equal(p.b->in[0].messages, 0);
    pair_free(&p);
}

static void test_peek_and_consume(void **state) {
    pair p;
    tape t;
    const uint8_t *data = NULL;
    size_t len = 0;
    uint32_t fin = 0;

    (void)state;
    pair_make(&p, 0);
    incoming_paused = 1;
    open_stream(&p, 0, &t);
    write_all(&t, "abcdef", 1);
    WORLD_UNTIL(&p.w, 5000, incoming[0].readable);
    assert_int_equal(atlas_stream_peek(incoming[0].stream, &data, &len, &fin), ATLAS_OK);
    assert_int_equal(len, 6);
    assert_int_equal(fin, 1);
    assert_memory_equal(data, "abcdef", 6);
    assert_int_equal(atlas_stream_consume(incoming[0].stream, 7), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_consume(incoming[0].stream, 2), ATLAS_OK);
    assert_int_equal(atlas_stream_peek(incoming[0].stream, &data, &len, &fin), ATLAS_OK);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "cdef", 4);
    assert_int_equal(atlas_stream_consume(incoming[0].stream, 4), ATLAS_OK);
    assert_int_equal(atlas_stream_peek(incoming[0].stream, &data, &len, &fin), ATLAS_OK);
    assert_int_equal(len, 0);
    assert_int_equal(fin, 1);
    pair_free(&p);
}

/* A reader that does not read stops the sender; all arrives once it does. */
static void test_slow_reader(void **state) {
    static uint8_t block[16384];
    const size_t total = 4u << 20;
    pair p;
    tape t;
    size_t sent = 0;
    size_t stalled;
    size_t taken;
    size_t i;

    (void)state;
    pair_make(&p, 65536);
    incoming_paused = 1;
    open_stream(&p, 1, &t);
    for (i = 0; i < sizeof(block); i++) {
        block[i] = (uint8_t)(i * 31);
    }
    for (i = 0; i < 50; i++) {
        size_t want;

        do {
            want = sizeof(block) - sent % sizeof(block);
            assert_int_equal(
                atlas_stream_write(t.stream, block + sent % sizeof(block), want, 0, &taken),
                ATLAS_OK);
            sent += taken;
        } while (taken == want);
        world_run(&p.w, 5);
    }
    stalled = sent;
    assert_true(stalled >= 65536);
    assert_true(stalled <= 3 * 65536); /* the sender's buffer and the receiver's */
    world_run(&p.w, 100);
    assert_int_equal(atlas_stream_write(t.stream, block, sizeof(block), 0, &taken), ATLAS_OK);
    assert_int_equal(taken, 0);
    incoming[0].paused = 0;
    drain(&incoming[0]);
    WORLD_UNTIL(&p.w, 5000, t.writable > 0);
    while (sent < total) {
        size_t at = sent % sizeof(block);
        size_t want = sizeof(block) - at < total - sent ? sizeof(block) - at : total - sent;

        assert_int_equal(
            atlas_stream_write(t.stream, block + at, want, sent + want == total, &taken), ATLAS_OK);
        sent += taken;
        if (taken < want) {
            world_turn(&p.w, 20);
        }
    }
    WORLD_UNTIL(&p.w, 8000, incoming[0].closed && t.closed);
    assert_int_equal(incoming[0].len, total);
    assert_int_equal(incoming[0].code, ATLAS_OK);
    for (i = 0; i < total; i += sizeof(block)) {
        assert_memory_equal(incoming[0].data + i, block, sizeof(block));
    }
    pair_free(&p);
}

static void test_reset(void **state) {
    pair p;
    tape t;
    size_t n;
    uint32_t fin;
    char buf[8];

    (void)state;
    pair_make(&p, 0);
    open_stream(&p, 0, &t);
    write_all(&t, "x", 0);
    WORLD_UNTIL(&p.w, 5000, incoming[0].len == 1);
    assert_int_equal(atlas_stream_reset(t.stream, 99), ATLAS_OK);
    assert_int_equal(t.closed, 0);
    assert_int_equal(atlas_stream_reset(t.stream, 99), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_stream_write(t.stream, "x", 1, 0, &n), ATLAS_ERR_CLOSED);
    assert_int_equal(atlas_stream_read(t.stream, buf, sizeof(buf), &n, &fin), ATLAS_ERR_CLOSED);
    WORLD_UNTIL(&p.w, 5000, t.closed && incoming[0].closed);
    assert_int_equal(t.code, ATLAS_ERR_CANCELLED);
    assert_int_equal(t.app_code, 99);
    assert_int_equal(incoming[0].code, ATLAS_ERR_STREAM_RESET);
    assert_int_equal(incoming[0].app_code, 99);
    assert_int_equal(p.l->closed, 0);
    pair_free(&p);
}

static void test_refused(void **state) {
    pair p;
    tape t;

    (void)state;
    pair_make(&p, 0);
    incoming_refused = 1;
    open_stream(&p, 0, &t);
    write_all(&t, "anyone?", 0);
    WORLD_UNTIL(&p.w, 5000, t.closed);
    assert_int_equal(incoming_count, 1);
    assert_int_equal(t.code, ATLAS_ERR_STREAM_RESET);
    pair_free(&p);
}

/* The connection's end ends its streams first, each once; what had arrived can still be read. */
static void test_connection_end(void **state) {
    pair p;
    tape t[3];
    int i;

    (void)state;
    pair_make(&p, 0);
    for (i = 0; i < 3; i++) {
        open_stream(&p, 0, &t[i]);
        write_all(&t[i], "unfinished", 0);
    }
    WORLD_UNTIL(&p.w, 5000, incoming_count == 3 && incoming[2].len == 10);
    assert_int_equal(atlas_conn_close(p.l->conn, 3, "bye"), ATLAS_OK);
    WORLD_UNTIL(&p.w, 5000, p.l->closed && p.b->in[0].closed);
    for (i = 0; i < 3; i++) {
        assert_int_equal(t[i].closed, 1);
        assert_int_equal(t[i].code, ATLAS_ERR_CLOSED);
        assert_int_equal(incoming[i].closed, 1);
        assert_int_equal(incoming[i].code, ATLAS_ERR_PEER_CLOSED);
    }
    pair_free(&p);
}

static void reset_on_readable(void *user, atlas_stream *stream) {
    ((tape *)user)->readable++;
    assert_int_equal(atlas_stream_reset(stream, 1), ATLAS_OK);
    assert_int_equal(atlas_conn_close(atlas_stream_conn(stream), 2, NULL), ATLAS_OK);
}

static const atlas_stream_callbacks reset_callbacks = {
    .size = sizeof(reset_callbacks),
    .on_readable = reset_on_readable,
    .on_closed = on_closed,
};

static void take_and_reset(node *nd, atlas_conn *conn, atlas_stream *stream) {
    tape *t = &incoming[0];

    (void)nd;
    (void)conn;
    memset(t, 0, sizeof(*t));
    t->stream = stream;
    incoming_count++;
    assert_int_equal(atlas_stream_set_callbacks(stream, &reset_callbacks, t), ATLAS_OK);
}

static void test_everything_closed_in_callback(void **state) {
    pair p;
    tape t;

    (void)state;
    pair_make(&p, 0);
    p.b->on_stream = take_and_reset;
    open_stream(&p, 0, &t);
    write_all(&t, "x", 0);
    WORLD_UNTIL(&p.w, 5000, p.l->closed && p.b->in[0].closed && t.closed);
    assert_int_equal(incoming[0].readable, 1);
    assert_int_equal(incoming[0].closed, 1);
    assert_int_equal(incoming[0].code, ATLAS_ERR_CANCELLED);
    assert_int_equal(p.l->app_code, 2);
    pair_free(&p);
}

static void test_limits_and_arguments(void **state) {
    pair p;
    tape t;
    tape many[160];
    atlas_stream *stream = NULL;
    const uint8_t *data;
    size_t n = 0;
    uint32_t fin = 0;
    int opened = 0;

    (void)state;
    pair_make(&p, 0);
    open_stream(&p, 0, &t);
    assert_int_equal(atlas_stream_open(NULL, 0, &tape_callbacks, &t, &stream), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_open(p.l->conn, 2, &tape_callbacks, &t, &stream),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_open(p.l->conn, 0, NULL, &t, &stream), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_open(p.l->conn, 0, &tape_callbacks, &t, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_write(NULL, "", 0, 0, &n), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_write(t.stream, NULL, 1, 0, &n), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_write(t.stream, "", 0, 0, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_write(t.stream, "", 0, 2, &n), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_read(NULL, &n, 1, &n, &fin), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_read(t.stream, &n, sizeof(n), &n, &fin), ATLAS_ERR_AGAIN);
    assert_int_equal(atlas_stream_peek(NULL, &data, &n, &fin), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_peek(t.stream, &data, &n, &fin), ATLAS_ERR_AGAIN);
    assert_int_equal(atlas_stream_consume(NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_consume(t.stream, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_reset(NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_reset(t.stream, UINT64_C(1) << 62), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_stream_set_callbacks(t.stream, NULL, NULL), ATLAS_ERR_INVALID);
    assert_null(atlas_stream_conn(NULL));
    assert_int_equal(atlas_stream_id(NULL), -1);
    assert_int_equal(atlas_stream_id(t.stream) & 3, 0);
    /* the peer allows 128 at once */
    while (opened < 160 &&
           atlas_stream_open(p.l->conn, 0, &tape_callbacks, &many[opened], &stream) == ATLAS_OK) {
        many[opened].closed = 0;
        many[opened].stream = stream;
        opened++;
    }
    assert_int_equal(opened, 126); /* and has the control stream and one more of ours */
    assert_int_equal(atlas_stream_open(p.l->conn, 0, &tape_callbacks, &t, &stream),
                     ATLAS_ERR_LIMIT);
    pair_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_unidirectional),
        cmocka_unit_test(test_peek_and_consume),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connection_end),
        cmocka_unit_test(test_everything_closed_in_callback),
        cmocka_unit_test(test_limits_and_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
