/* HTTP/3 sessions over connections in memory: requests, extended CONNECT, limits, errors, and ends
 * in every upcall. Codes are those of RFC 9114 section 8.1, field encodings of RFC 9204. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "fake_quic.h"
#include "http3/session.h"

#define NO_ERROR 0x100
#define CLOSED_CRITICAL_STREAM 0x104
#define EXCESSIVE_LOAD 0x107
#define SETTINGS_ERROR 0x109
#define REQUEST_REJECTED 0x10b
#define MESSAGE_ERROR 0x10e

/* ---- a side, which records what it hears and does what it is told ---- */

#define ACT_NONE 0
#define ACT_CLOSE 1
#define ACT_RESET 2

#define AT_READY 1
#define AT_REQUEST 2
#define AT_RESPONSE 3
#define AT_DATA 4
#define AT_END 5
#define AT_STREAM_CLOSED 6
#define AT_GOAWAY 7

typedef struct side {
    atl_h3 *h3;
    atl_qconn conn;
    int ready, requests, responses, ends, stream_closed, goaways, closed;
    int32_t status;
    size_t data_len;
    uint8_t data[400000];
    char method[32], path[64], protocol[32], authority[64];
    int capsules;
    atl_h3_stream *stream; /* the last one */
    int at, act;           /* what to do in which upcall */
    int echo;              /* write back what comes */
    int32_t answer;        /* 0: leave it; 1: accept; else respond with it */
    const uint8_t *body;
    size_t body_len;
    atl_qclose why;
    char why_text[128];
} side;

typedef struct pair {
    fake_world world;
    side client, server;
} pair;

static void act(side *s, int at, atl_h3_stream *stream) {
    if (s->at != at || s->act == ACT_NONE) {
        return;
    }
    if (s->act == ACT_CLOSE) {
        atl_h3_close(s->h3, NO_ERROR, "enough");
    } else if (stream != NULL) {
        atl_h3_reset(stream, 0x10c);
    }
}

static void on_ready(void *user, atl_h3 *h3) {
    side *s = user;

    s->h3 = h3;
    s->ready++;
    act(s, AT_READY, NULL);
}

static void on_request(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request) {
    side *s = user;

    assert_ptr_equal(s->h3, h3);
    assert_ptr_equal(atl_h3_stream_session(stream), h3);
    s->requests++;
    s->stream = stream;
    s->capsules = request->capsules;
    snprintf(s->method, sizeof(s->method), "%s", request->method);
    snprintf(s->path, sizeof(s->path), "%s", request->path);
    snprintf(s->protocol, sizeof(s->protocol), "%s", request->protocol);
    snprintf(s->authority, sizeof(s->authority), "%s", request->authority);
    act(s, AT_REQUEST, stream);
    if (s->answer == 1) {
        (void)atl_h3_accept(stream);
    } else if (s->answer != 0) {
        (void)atl_h3_respond(stream, s->answer, "text/plain", s->body, s->body_len);
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    side *s = user;

    s->responses++;
    s->status = status;
    act(s, AT_RESPONSE, stream);
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    side *s = user;

    assert_true(s->data_len + len <= sizeof(s->data));
    memcpy(s->data + s->data_len, data, len);
    s->data_len += len;
    if (s->echo) {
        (void)atl_h3_write(stream, data, len);
    }
    act(s, AT_DATA, stream);
}

static void on_end(void *user, atl_h3_stream *stream) {
    side *s = user;

    s->ends++;
    act(s, AT_END, stream);
    if (s->echo) {
        atl_h3_end(stream);
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    side *s = user;

    s->stream_closed++;
    assert_int_equal(atl_h3_write(stream, "x", 1), ATLAS_ERR_CLOSED);
    atl_h3_end(stream);
    s->stream = s->stream == stream ? NULL : s->stream;
    act(s, AT_STREAM_CLOSED, stream);
}

static void on_goaway(void *user, atl_h3 *h3) {
    side *s = user;

    (void)h3;
    s->goaways++;
    act(s, AT_GOAWAY, NULL);
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    side *s = user;

    assert_ptr_equal(h3, s->h3);
    s->closed++;
    s->why = *why;
    snprintf(s->why_text, sizeof(s->why_text), "%s", why->text);
    s->h3 = NULL;
    s->stream = NULL;
}

static const atl_h3_ops OPS = {
    .on_ready = on_ready,
    .on_request = on_request,
    .on_response = on_response,
    .on_data = on_data,
    .on_end = on_end,
    .on_stream_closed = on_stream_closed,
    .on_goaway = on_goaway,
    .on_closed = on_closed,
};

static pair *new_pair(void) {
    pair *p = calloc(1, sizeof(*p));

    fake_world_init(&p->world);
    fake_pair(&p->world, &p->client.conn, &p->server.conn);
    p->server.answer = 1;
    return p;
}

static void pump(pair *p) {
    fake_pump(&p->client.conn, &p->server.conn);
}

/* The client's end may be a session or, for misbehaviour, the bare connection. */
static void start_server(pair *p) {
    assert_int_equal(atl_h3_new(&p->server.conn, &OPS, &p->server, &p->server.h3), ATLAS_OK);
    fake_confirm(&p->server.conn);
}

static void start(pair *p) {
    assert_int_equal(atl_h3_new(&p->client.conn, &OPS, &p->client, &p->client.h3), ATLAS_OK);
    start_server(p);
    fake_confirm(&p->client.conn);
    pump(p);
}

static void end(pair *p) {
    if (p->client.h3 != NULL) {
        atl_h3_close(p->client.h3, NO_ERROR, "");
    }
    if (p->server.h3 != NULL) {
        atl_h3_close(p->server.h3, NO_ERROR, "");
    }
    atl_qconn_close(&p->client.conn, NO_ERROR, "");
    pump(p);
    assert_int_equal(p->world.live, 0);
    free(p);
}

static const atl_h3_request CONNECT = {
    "CONNECT", "https", "relay.test", "/.well-known/atlas/relay/", "atlas-relay", 1};
static const atl_h3_request GET = {"GET", "https", "relay.test", "/health", "", 0};
static const atl_h3_request HEAD = {"HEAD", "https", "relay.test", "/health", "", 0};

/* ---- what works ---- */

static void connect_and_talk(size_t piece) {
    static const char TEXT[] = "capsules go here, and there";
    pair *p = new_pair();
    atl_h3_stream *stream;

    p->world.piece = piece;
    p->server.echo = 1;
    start(p);
    assert_int_equal(p->client.ready, 1);
    assert_int_equal(p->server.ready, 1);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, p, &stream), ATLAS_OK);
    assert_ptr_equal(atl_h3_stream_user(stream), p);
    assert_int_equal(atl_h3_write(stream, TEXT, sizeof(TEXT)), ATLAS_OK);
    pump(p);
    assert_int_equal(p->server.requests, 1);
    assert_string_equal(p->server.method, "CONNECT");
    assert_string_equal(p->server.path, CONNECT.path);
    assert_string_equal(p->server.protocol, "atlas-relay");
    assert_string_equal(p->server.authority, "relay.test");
    assert_int_equal(p->server.capsules, 1);
    assert_int_equal(p->client.responses, 1);
    assert_int_equal(p->client.status, 200);
    assert_int_equal(p->client.data_len, sizeof(TEXT));
    assert_memory_equal(p->client.data, TEXT, sizeof(TEXT));
    assert_int_equal(p->client.ends, 0);
    atl_h3_end(stream);
    assert_int_equal(atl_h3_write(stream, TEXT, 1), ATLAS_ERR_STATE);
    pump(p);
    assert_int_equal(p->server.ends, 1);
    assert_int_equal(p->client.ends, 1);
    assert_int_equal(p->server.stream_closed, 1);
    assert_int_equal(p->client.stream_closed, 1);
    atl_h3_close(p->client.h3, NO_ERROR, "bye");
    pump(p);
    assert_int_equal(p->client.closed, 1);
    assert_int_equal(p->client.why.code, ATLAS_OK);
    assert_int_equal(p->server.why.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(p->server.why.error_code, NO_ERROR);
    assert_string_equal(p->server.why_text, "bye");
    end(p);
}

static void test_connect(void **state) {
    (void)state;
    connect_and_talk(1000);
}

static void test_connect_byte_by_byte(void **state) {
    (void)state;
    for (size_t piece = 1; piece < 8; piece++) {
        connect_and_talk(piece);
    }
}

static void test_get(void **state) {
    static uint8_t body[300000];
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 7 + i / 251);
    }
    start(p);
    p->server.answer = 200;
    p->server.body = body;
    p->server.body_len = sizeof(body);
    assert_int_equal(atl_h3_open(p->client.h3, &GET, NULL, &stream), ATLAS_OK);
    assert_int_equal(atl_h3_write(stream, "x", 1), ATLAS_ERR_STATE);
    pump(p);
    assert_int_equal(p->client.status, 200);
    assert_int_equal(p->client.data_len, sizeof(body));
    assert_memory_equal(p->client.data, body, sizeof(body));
    assert_int_equal(p->client.ends, 1);
    assert_int_equal(p->client.stream_closed, 1);
    assert_int_equal(p->server.stream_closed, 1);
    assert_int_equal(atl_h3_open(p->client.h3, &HEAD, NULL, &stream), ATLAS_OK);
    pump(p);
    assert_int_equal(p->client.responses, 2);
    assert_int_equal(p->client.data_len, sizeof(body));
    assert_int_equal(p->client.stream_closed, 2);
    end(p);
}

static void test_answers_are_checked(void **state) {
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    p->server.answer = 0;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &GET, NULL, &stream), ATLAS_OK);
    pump(p);
    assert_int_equal(atl_h3_accept(p->server.stream), ATLAS_ERR_STATE);
    assert_int_equal(atl_h3_respond(p->server.stream, 100, NULL, NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atl_h3_respond(p->server.stream, 600, NULL, NULL, 0), ATLAS_ERR_INVALID);
    assert_int_equal(atl_h3_respond(p->server.stream, 200, NULL, "", (size_t)2 << 20),
                     ATLAS_ERR_TOO_LARGE);
    assert_int_equal(atl_h3_respond(p->server.stream, 204, NULL, NULL, 0), ATLAS_OK);
    assert_int_equal(atl_h3_respond(p->server.stream, 200, NULL, NULL, 0), ATLAS_ERR_STATE);
    assert_int_equal(atl_h3_write(p->server.stream, "x", 1), ATLAS_ERR_STATE);
    assert_int_equal(atl_h3_respond(stream, 200, NULL, NULL, 0), ATLAS_ERR_STATE);
    assert_int_equal(atl_h3_open(p->server.h3, &GET, NULL, &stream), ATLAS_ERR_STATE);
    pump(p);
    assert_int_equal(p->client.status, 204);
    end(p);
}

/* A refused CONNECT whose client keeps its side open does not keep a stream for ever. */
static void test_refused_connect_ends(void **state) {
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    p->server.answer = 404;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_OK);
    pump(p);
    assert_int_equal(p->client.status, 404);
    assert_int_equal(p->server.stream_closed, 1);
    assert_int_equal(p->client.stream_closed, 1);
    assert_int_equal(p->client.closed, 0);
    end(p);
}

/* A peer that does not read stops the writer after 64 KiB. */
static void test_slow_reader(void **state) {
    static uint8_t block[4000];
    pair *p = new_pair();
    atl_h3_stream *stream;
    int32_t status = ATLAS_OK;
    size_t written = 0;

    (void)state;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_OK);
    assert_int_equal(atl_h3_write(stream, block, 65537), ATLAS_ERR_TOO_LARGE);
    while (status == ATLAS_OK) {
        status = atl_h3_write(stream, block, sizeof(block));
        written += status == ATLAS_OK ? sizeof(block) : 0;
    }
    assert_int_equal(status, ATLAS_ERR_AGAIN);
    assert_in_range(written, 60000, 65536);
    pump(p);
    assert_int_equal(p->server.data_len, written);
    assert_int_equal(atl_h3_write(stream, block, sizeof(block)), ATLAS_OK);
    end(p);
}

/* QUIC's buffer takes less than nghttp3 offers: what is left follows. */
static void test_small_send_buffer(void **state) {
    static uint8_t body[100000];
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    memset(body, 0x5a, sizeof(body));
    p->server.answer = 0;
    p->world.piece = 700;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &GET, NULL, &stream), ATLAS_OK);
    pump(p);
    ATL_CONTAINER(p->server.conn.streams.prev, atl_qstream, node)->limit = 900;
    assert_int_equal(atl_h3_respond(p->server.stream, 200, NULL, body, sizeof(body)), ATLAS_OK);
    pump(p);
    assert_int_equal(p->client.data_len, sizeof(body));
    assert_memory_equal(p->client.data, body, sizeof(body));
    assert_int_equal(p->client.ends, 1);
    end(p);
}

static void test_goaway(void **state) {
    pair *p = new_pair();
    atl_h3_stream *stream;
    atl_h3_stream *second;

    (void)state;
    p->server.echo = 1;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_OK);
    pump(p);
    assert_int_equal(atl_h3_open(p->client.h3, &GET, NULL, &second),
                     ATLAS_OK); /* crosses the GOAWAY */
    atl_h3_goaway(p->server.h3);
    atl_h3_goaway(p->server.h3);
    pump(p);
    assert_int_equal(p->client.goaways, 1);
    assert_int_equal(p->server.requests, 1);
    assert_int_equal(p->client.stream_closed, 1);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &second), ATLAS_ERR_CLOSED);
    assert_int_equal(atl_h3_write(stream, "still", 5), ATLAS_OK); /* what was open goes on */
    pump(p);
    assert_int_equal(p->client.data_len, 5);
    end(p);
}

static void test_client_limit(void **state) {
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    start(p);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_OK);
    }
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_ERR_LIMIT);
    pump(p);
    assert_int_equal(p->server.requests, 64);
    end(p);
}

static void test_abort(void **state) {
    pair *p = new_pair();
    atl_h3_stream *stream;

    (void)state;
    start(p);
    assert_int_equal(atl_h3_open(p->client.h3, &CONNECT, NULL, &stream), ATLAS_OK);
    pump(p);
    atl_h3_abort(p->server.h3);
    p->server.h3 = NULL;
    pump(p);
    assert_int_equal(p->server.closed, 0);
    assert_int_equal(p->server.stream_closed, 0);
    assert_int_equal(p->client.closed, 1);
    end(p);
}

/* ---- ends in every upcall ---- */

static void one_end(int on_server, int at, int what) {
    pair *p = new_pair();
    side *s = on_server ? &p->server : &p->client;
    atl_h3_stream *stream;

    s->at = at;
    s->act = what;
    p->server.echo = 1;
    start(p);
    if (p->client.h3 != NULL && atl_h3_open(p->client.h3, &CONNECT, NULL, &stream) == ATLAS_OK) {
        (void)atl_h3_write(stream, "hello", 5);
        p->client.stream = stream;
        pump(p);
        if (p->server.h3 != NULL) {
            atl_h3_goaway(p->server.h3);
        }
        if (p->client.h3 != NULL && p->client.stream != NULL) {
            atl_h3_end(p->client.stream);
        }
        pump(p);
        assert_int_equal(p->client.stream_closed, 1);
        assert_int_equal(p->server.stream_closed, p->server.requests);
    }
    if (what == ACT_CLOSE && (on_server || at != AT_REQUEST) &&
        !(on_server && (at == AT_RESPONSE || at == AT_GOAWAY))) {
        assert_int_equal(p->client.closed, 1);
        assert_int_equal(p->server.closed, 1);
        assert_string_equal((on_server ? &p->client : &p->server)->why_text, "enough");
    }
    end(p);
}

static void test_end_in_every_upcall(void **state) {
    (void)state;
    for (int at = AT_READY; at <= AT_GOAWAY; at++) {
        for (int what = ACT_CLOSE; what <= ACT_RESET; what++) {
            one_end(0, at, what);
            one_end(1, at, what);
        }
    }
}

/* Every allocation of a session fails once: errors and closed connections are fine, crashes and
 * leaks are not. */
static void test_no_memory(void **state) {
    size_t total = 0;

    (void)state;
    for (size_t fail_at = 0; fail_at <= total; fail_at++) {
        pair *p = new_pair();
        atl_h3_stream *stream;

        p->world.fail_at = fail_at;
        p->server.echo = 1;
        if (atl_h3_new(&p->client.conn, &OPS, &p->client, &p->client.h3) == ATLAS_OK &&
            atl_h3_new(&p->server.conn, &OPS, &p->server, &p->server.h3) == ATLAS_OK) {
            fake_confirm(&p->server.conn);
            fake_confirm(&p->client.conn);
            pump(p);
            if (p->client.h3 != NULL &&
                atl_h3_open(p->client.h3, &CONNECT, NULL, &stream) == ATLAS_OK) {
                p->client.stream = stream;
                (void)atl_h3_write(stream, "hello", 5);
                pump(p);
                if (p->client.stream != NULL) {
                    atl_h3_end(stream);
                }
                pump(p);
            }
        }
        total = fail_at == 0 ? p->world.count : total;
        p->world.fail_at = 0;
        end(p);
    }
    assert_in_range(total, 20, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_connect_byte_by_byte),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_answers_are_checked),
        cmocka_unit_test(test_refused_connect_ends),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_small_send_buffer),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_client_limit),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_end_in_every_upcall),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
