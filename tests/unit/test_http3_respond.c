/* Whole bodies both ways over connections in memory: requests with a body, answers with further
 * fields, answers that come before the request has ended, the rate of requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake_quic.h"
#include "http3/session.h"

#define NO_ERROR 0x100
#define EXCESSIVE_LOAD 0x107
#define REQUEST_CANCELLED 0x10c
#define BODY_MAX ((size_t)1 << 20)
#define STREAMS 16

#define EARLY 1 /* answered with its head */
#define LATE 2  /* answered with its end: an echo */
#define LEAVE 3 /* not answered */

/* One request, at the server or the client. */
typedef struct exchange {
    atl_h3_stream *stream;
    size_t len;
    int ends, closed;
    int32_t status;
    uint8_t data[BODY_MAX];
} exchange;

typedef struct side {
    atl_h3 *h3;
    atl_qconn conn;
    exchange *exchanges;
    size_t n;
    int how;
    int may_fail; /* memory may run out */
    int closed;
    atl_qclose why;
} side;

typedef struct pair {
    fake_world world;
    side client, server;
} pair;

static const atl_h3_request PUT = {"PUT", "https", "node.test", "/thing", "", 0};
static const atl_h3_request GET = {"GET", "https", "node.test", "/thing", "", 0};
static uint8_t body[BODY_MAX + 1];

static void on_request(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request) {
    side *s = user;
    exchange *e = &s->exchanges[s->n++];

    (void)h3;
    (void)request;
    assert_true(s->n <= STREAMS);
    assert_int_equal(atl_h3_stream_answered(stream), 0);
    e->stream = stream;
    atl_h3_stream_set_user(stream, e);
    if (s->how == EARLY) {
        assert_int_equal(atl_h3_respond(stream, 413, "text/plain", "too much", 8), ATLAS_OK);
        assert_int_equal(atl_h3_stream_answered(stream), 1);
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    (void)user;
    ((exchange *)atl_h3_stream_user(stream))->status = status;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    exchange *e = atl_h3_stream_user(stream);

    (void)user;
    assert_int_equal(e->ends, 0);
    assert_true(e->len + len <= sizeof(e->data));
    memcpy(e->data + e->len, data, len);
    e->len += len;
}

static void on_end(void *user, atl_h3_stream *stream) {
    exchange *e = atl_h3_stream_user(stream);
    side *s = user;

    e->ends++;
    if (s->how == LATE) {
        int32_t status = atl_h3_respond(stream, 200, NULL, e->data, e->len);

        assert_true(status == ATLAS_OK || (status == ATLAS_ERR_NOMEM && s->may_fail));
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    exchange *e = atl_h3_stream_user(stream);

    (void)user;
    assert_int_equal(e->closed, 0);
    e->closed++;
    e->stream = NULL;
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    side *s = user;

    assert_ptr_equal(h3, s->h3);
    s->h3 = NULL;
    s->closed++;
    s->why = *why;
}

static const atl_h3_ops OPS = {
    .on_request = on_request,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_closed = on_closed,
};

static void pump(pair *p) {
    fake_pump(&p->client.conn, &p->server.conn);
}

static pair *start(int how) {
    pair *p = calloc(1, sizeof(*p));

    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 13 + i / 253);
    }
    fake_world_init(&p->world);
    fake_pair(&p->world, &p->client.conn, &p->server.conn);
    p->client.exchanges = calloc(STREAMS, sizeof(exchange));
    p->server.exchanges = calloc(STREAMS, sizeof(exchange));
    p->server.how = how;
    assert_int_equal(atl_h3_new(&p->client.conn, &OPS, &p->client, &p->client.h3), ATLAS_OK);
    assert_int_equal(atl_h3_new(&p->server.conn, &OPS, &p->server, &p->server.h3), ATLAS_OK);
    fake_confirm(&p->server.conn);
    fake_confirm(&p->client.conn);
    pump(p);
    return p;
}

static void end(pair *p) {
    if (p->client.h3 != NULL) {
        atl_h3_close(p->client.h3, NO_ERROR, "");
    }
    pump(p);
    assert_int_equal(p->client.closed, 1);
    assert_int_equal(p->server.closed, 1);
    assert_int_equal(p->world.live, 0);
    free(p->client.exchanges);
    free(p->server.exchanges);
    free(p);
}

static int32_t open_with(pair *p, const atl_h3_request *request, const char *type, size_t len) {
    exchange *e = &p->client.exchanges[p->client.n];
    int32_t status =
        atl_h3_open_with(p->client.h3, request, type, len == 0 ? NULL : body, len, e, &e->stream);

    p->client.n += status == ATLAS_OK;
    return status;
}

/* ---- tests ---- */

static void test_bodies(void **state) {
    static const struct {
        size_t len, piece;
        const char *type;
    } table[] = {
        {0, 1000, NULL},        {0, 1000, "text/plain"}, {1, 1000, NULL},
        {1, 1, "text/plain"},   {2048, 1, NULL},         {2048, 1000, "application/octet-stream"},
        {BODY_MAX, 1200, NULL}, {BODY_MAX, 70000, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        pair *p = start(LATE);
        const exchange *asked = &p->client.exchanges[0];
        const exchange *got = &p->server.exchanges[0];

        p->world.piece = table[i].piece;
        assert_int_equal(open_with(p, &PUT, table[i].type, table[i].len), ATLAS_OK);
        assert_int_equal(atl_h3_write(asked->stream, "x", 1), ATLAS_ERR_STATE);
        pump(p);
        assert_int_equal(p->server.n, 1);
        assert_int_equal(got->len, table[i].len);
        assert_memory_equal(got->data, body, table[i].len);
        assert_int_equal(got->ends, 1);
        assert_int_equal(asked->status, 200);
        assert_int_equal(asked->len, table[i].len);
        assert_memory_equal(asked->data, body, table[i].len);
        assert_int_equal(asked->ends, 1);
        assert_int_equal(asked->closed, 1);
        assert_int_equal(got->closed, 1);
        end(p);
    }
}

static void test_what_is_refused(void **state) {
    static const atl_h3_request CONNECT = {"CONNECT", "https", "node.test", "/", "", 0};
    static const atl_h3_request EXTENDED = {"CONNECT", "https", "node.test", "/", "p", 1};
    static const atl_h3_request NO_PATH = {"PUT", "https", "node.test", "", "", 0};
    pair *p = start(LATE);
    atl_h3_stream *stream;

    (void)state;
    assert_int_equal(open_with(p, &PUT, NULL, BODY_MAX + 1), ATLAS_ERR_TOO_LARGE);
    assert_int_equal(open_with(p, &CONNECT, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(open_with(p, &EXTENDED, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(open_with(p, &NO_PATH, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atl_h3_open_with(p->server.h3, &PUT, NULL, body, 1, NULL, &stream),
                     ATLAS_ERR_STATE);
    pump(p);
    assert_int_equal(p->server.n, 0);
    assert_int_equal(p->client.closed, 0);
    atl_h3_close(p->client.h3, NO_ERROR, "");
    assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_ERR_CLOSED);
    end(p);
}

static void test_several_at_once(void **state) {
    static const size_t LENGTHS[] = {300000, 0, 1, 70000, 2048, BODY_MAX, 65536, 5};
    pair *p = start(LATE);

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(open_with(p, &PUT, NULL, LENGTHS[i]), ATLAS_OK);
    }
    pump(p);
    assert_int_equal(p->server.n, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(p->client.exchanges[i].status, 200);
        assert_int_equal(p->client.exchanges[i].len, LENGTHS[i]);
        assert_memory_equal(p->client.exchanges[i].data, body, LENGTHS[i]);
        assert_int_equal(p->client.exchanges[i].closed, 1);
    }
    end(p);
}

/* The answer comes while most of the body is still to be sent: the rest is not sent, the answer
 * arrives, and the connection goes on. */
static void test_answer_before_the_end(void **state) {
    pair *p = start(EARLY);

    (void)state;
    for (size_t i = 0; i < STREAMS; i++) {
        const exchange *asked = &p->client.exchanges[i];

        assert_int_equal(open_with(p, &PUT, NULL, BODY_MAX), ATLAS_OK);
        pump(p);
        assert_int_equal(asked->status, 413);
        assert_int_equal(asked->len, 8);
        assert_memory_equal(asked->data, "too much", 8);
        assert_int_equal(asked->ends, 1);
        assert_int_equal(asked->closed, 1);
        assert_int_equal(p->server.exchanges[i].closed, 1);
        assert_int_equal(p->server.exchanges[i].ends, 0);
        assert_true(p->server.exchanges[i].len < BODY_MAX);
    }
    assert_int_equal(p->client.closed, 0);
    end(p);
}

/* A server that stops reading in the middle, and answers then. */
static void test_stopped_before_the_answer(void **state) {
    pair *p = start(LEAVE);
    const exchange *asked = &p->client.exchanges[0];
    const exchange *got = &p->server.exchanges[0];
    atl_qstream *qs;

    (void)state;
    assert_int_equal(open_with(p, &PUT, NULL, BODY_MAX), ATLAS_OK);
    for (int i = 0; i < 5; i++) {
        (void)fake_step(&p->client.conn);
    }
    assert_in_range(got->len, 1, 10000);
    qs = ATL_CONTAINER(p->server.conn.streams.prev, atl_qstream, node);
    qs->in_done = 2;
    qs->code = NO_ERROR;
    pump(p);
    assert_in_range(got->len, 1, 10000);
    assert_int_equal(asked->closed, 0);
    assert_int_equal(atl_h3_respond(got->stream, 200, NULL, "enough", 6), ATLAS_OK);
    pump(p);
    assert_int_equal(asked->status, 200);
    assert_int_equal(asked->len, 6);
    assert_int_equal(asked->ends, 1);
    assert_int_equal(asked->closed, 1);
    assert_int_equal(p->client.closed, 0);
    end(p);
}

static void test_reset_while_the_body_is_sent(void **state) {
    pair *p = start(LEAVE);

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(open_with(p, &PUT, NULL, BODY_MAX), ATLAS_OK);
    }
    pump(p);
    atl_h3_reset(p->client.exchanges[0].stream, REQUEST_CANCELLED);
    atl_h3_reset(p->server.exchanges[1].stream, REQUEST_CANCELLED);
    pump(p);
    assert_int_equal(p->client.exchanges[0].closed, 1);
    assert_int_equal(p->server.exchanges[0].closed, 1);
    assert_int_equal(p->client.exchanges[1].closed, 1);
    assert_int_equal(p->client.exchanges[1].status, 0);
    assert_int_equal(p->client.closed, 0);
    end(p); /* with two under way */
}

/* ---- answers ---- */

/* What the server's QUIC stream got to send: without the dynamic table and Huffman coding a value
 * that was never seen is there as it is. */
static int sent_contains(pair *p, const char *text) {
    const atl_qstream *qs = ATL_CONTAINER(p->server.conn.streams.prev, atl_qstream, node);
    size_t len = strlen(text);

    for (size_t i = 0; i + len <= qs->len; i++) {
        if (memcmp(qs->buf + i, text, len) == 0) {
            return 1;
        }
    }
    return 0;
}

static void test_further_fields(void **state) {
    static const atl_h3_field FIELDS[ATL_H3_FIELDS_MAX + 1] = {
        {"cache-control", "\"~~~1\""}, {"retry-after", "\"~~~2\""}, {"etag", "\"~~~3\""},
        {"x-four", "\"~~~4\""},        {"x-five", "\"~~~5\""},      {"x-six", "\"~~~6\""},
        {"x-seven", "\"~~~7\""},
    };
    static const atl_h3_field WRONG[] = {
        {"", "x"},      {":status", "200"},    {"Cache-Control", "x"},  {"content-length", "3"},
        {"a b", "x"},   {"etag", "a\r\nb: c"}, {"content-type", "x/y"}, {"etag", "\x7f"},
        {"a\xc3", "x"},
    };
    pair *p = start(LEAVE);
    atl_h3_stream *stream;

    (void)state;
    assert_int_equal(open_with(p, &GET, NULL, 0), ATLAS_OK);
    pump(p);
    stream = p->server.exchanges[0].stream;
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        assert_int_equal(atl_h3_respond_with(stream, 200, NULL, &WRONG[i], 1, "x", 1),
                         ATLAS_ERR_INVALID);
    }
    assert_int_equal(atl_h3_respond_with(stream, 200, NULL, FIELDS, 7, "x", 1), ATLAS_ERR_INVALID);
    assert_int_equal(atl_h3_respond_with(stream, 204, NULL, FIELDS, 6, "x", 1), ATLAS_ERR_INVALID);
    assert_int_equal(atl_h3_respond_with(stream, 200, NULL, FIELDS, 6, body, BODY_MAX + 1),
                     ATLAS_ERR_TOO_LARGE);
    assert_int_equal(atl_h3_stream_answered(stream), 0);
    assert_int_equal(atl_h3_respond_with(stream, 200, "text/plain", FIELDS, 6, "hello", 5),
                     ATLAS_OK);
    for (size_t i = 0; i < 6; i++) {
        assert_true(sent_contains(p, FIELDS[i].value));
    }
    pump(p);
    assert_int_equal(p->client.exchanges[0].status, 200);
    assert_int_equal(p->client.exchanges[0].len, 5);
    assert_int_equal(p->client.exchanges[0].closed, 1);
    end(p);
}

/* ---- rate ---- */

static void test_request_rate(void **state) {
    pair *p = start(LATE);

    (void)state;
    atl_h3_set_request_rate(p->server.h3, 2, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_OK);
    }
    pump(p);
    assert_int_equal(p->server.n, 3);
    atl_h3_set_request_rate(p->server.h3, 2, 3); /* gives nothing anew */
    p->world.loop.now += 500 * ATL_MS;
    assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_OK);
    pump(p);
    assert_int_equal(p->server.n, 4);
    atl_h3_set_request_rate(p->server.h3, 0, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_OK);
    }
    pump(p);
    assert_int_equal(p->server.n, 9);
    atl_h3_set_request_rate(p->server.h3, 1, 1);
    assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_OK);
    assert_int_equal(open_with(p, &PUT, NULL, 1), ATLAS_OK);
    pump(p);
    assert_int_equal(p->server.n, 10);
    assert_int_equal(p->client.closed, 1);
    assert_int_equal(p->client.why.error_code, EXCESSIVE_LOAD);
    end(p);
}

/* ---- memory ---- */

static void test_no_memory(void **state) {
    size_t total = 0;

    (void)state;
    for (size_t fail_at = 0; fail_at <= total; fail_at++) {
        pair *p = start(LATE);
        size_t before = p->world.count;

        p->server.may_fail = 1;
        p->world.fail_at = fail_at == 0 ? 0 : before + fail_at;
        (void)open_with(p, &PUT, "text/plain", 3000);
        pump(p);
        total = fail_at == 0 ? p->world.count - before : total;
        p->world.fail_at = 0;
        end(p);
    }
    assert_in_range(total, 5, 1000);
}

static void test_part(void **state) {
    pair *p = start(LEAVE);

    (void)state;
    assert_int_equal(open_with(p, &PUT, NULL, BODY_MAX), ATLAS_OK);
    pump(p);
    atl_h3_part(p->client.h3, NO_ERROR);
    p->client.h3 = NULL;
    pump(p);
    assert_int_equal(p->client.closed, 0);
    assert_int_equal(p->client.exchanges[0].closed, 0);
    assert_int_equal(p->server.exchanges[0].closed, 1);
    assert_int_equal(p->server.closed, 1);
    assert_int_equal(p->server.why.error_code, NO_ERROR);
    p->client.closed = 1;
    end(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_several_at_once),
        cmocka_unit_test(test_answer_before_the_end),
        cmocka_unit_test(test_stopped_before_the_answer),
        cmocka_unit_test(test_reset_while_the_body_is_sent),
        cmocka_unit_test(test_further_fields),
        cmocka_unit_test(test_request_rate),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
