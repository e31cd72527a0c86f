/* HTTP/3 sessions over real QUIC connections on the simulated network, with loss and with peers
 * that vanish. What needs hand-made bytes is in test_http3_events.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http3/session.h"
#include "quic_pair.h"

#define NO_ERROR 0x100
#define EXCESSIVE_LOAD 0x107
#define BODY 200000

typedef struct side {
    atl_h3 *h3;
    atl_h3_stream *stream;
    int ready, requests, responses, ends, stream_closed, goaways, closed;
    int32_t status, code;
    uint64_t error_code;
    size_t got;
    uint64_t sum;
    int answer; /* 0: leave; 1: accept and echo; else the status, with a body */
    int small;  /* answers without a body */
} side;

typedef struct world {
    sim_net *net;
    pair_node a; /* client */
    pair_node b; /* relay */
    side ca;
    side sb;
} world;

static uint8_t body[BODY];

static uint64_t sum(uint64_t start, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        start = (start ^ data[i]) * UINT64_C(0x100000001b3);
    }
    return start;
}

static void on_ready(void *user, atl_h3 *h3) {
    (void)h3;
    ((side *)user)->ready++;
}

static void on_request(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request) {
    side *s = user;

    (void)h3;
    s->requests++;
    s->stream = stream;
    if (request->protocol[0] != '\0') {
        assert_string_equal(request->protocol, "atlas-relay");
        assert_int_equal(request->capsules, 1);
    }
    if (s->answer == 1) {
        assert_int_equal(atl_h3_accept(stream), ATLAS_OK);
    } else if (s->answer != 0) {
        assert_int_equal(
            atl_h3_respond(stream, s->answer, "text/plain", body, s->small ? 0 : sizeof(body)),
            ATLAS_OK);
    }
}

static void on_response(void *user, atl_h3_stream *stream, int32_t status) {
    (void)stream;
    ((side *)user)->responses++;
    ((side *)user)->status = status;
}

static void on_data(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    side *s = user;

    s->sum = sum(s->sum, data, len);
    s->got += len;
    if (s->answer == 1) {
        assert_int_equal(atl_h3_write(stream, data, len), ATLAS_OK);
    }
}

static void on_end(void *user, atl_h3_stream *stream) {
    side *s = user;

    s->ends++;
    if (s->answer == 1) {
        atl_h3_end(stream);
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    side *s = user;

    s->stream_closed++;
    s->stream = s->stream == stream ? NULL : s->stream;
}

static void on_goaway(void *user, atl_h3 *h3) {
    (void)h3;
    ((side *)user)->goaways++;
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    side *s = user;

    assert_ptr_equal(s->h3, h3);
    s->closed++;
    s->code = why->code;
    s->error_code = why->error_code;
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

static const atl_h3_request CONNECT = {
    "CONNECT", "https", "relay.test", "/.well-known/atlas/relay/", "atlas-relay", 1};
static const atl_h3_request GET = {"GET", "https", "relay.test", "/.well-known/atlas/relay/health",
                                   "",    0};

static int32_t accept_h3(pair_node *node, atl_qconn *conn) {
    side *s = node->user;

    assert_int_equal(atl_qconn_protocol(conn), ATL_PROTO_H3);
    return atl_h3_new(conn, &OPS, s, &s->h3);
}

static int run(world *w, double seconds, int (*done)(void *)) {
    return sim_run(w->net, sim_now(w->net) + (uint64_t)(seconds * 1e9), done, w);
}

static int both_ready(void *user) {
    world *w = user;

    return w->ca.ready && w->sb.ready;
}

static void start(world *w, const sim_link *link) {
    atl_qpath path;
    atl_qconn *conn;

    memset(w, 0, sizeof(*w));
    w->net = sim_new(7);
    if (link != NULL) {
        sim_set_link(w->net, link);
    }
    pair_init(&w->a, w->net, "10.0.0.1", 1, 0);
    pair_init(&w->b, w->net, "10.0.0.2", 2, 4001);
    w->b.user = &w->sb;
    w->b.accept = accept_h3;
    w->sb.answer = 1;
    path = pair_path(&w->b);
    assert_int_equal(
        atl_qconn_connect(w->a.ep, &path, ATL_PROTO_H3, &w->b.id, 0, NULL, NULL, &conn), ATLAS_OK);
    assert_int_equal(atl_h3_new(conn, &OPS, &w->ca, &w->ca.h3), ATLAS_OK);
    assert_true(run(w, 10, both_ready));
}

static void end(world *w) {
    if (w->ca.h3 != NULL) {
        atl_h3_abort(w->ca.h3);
    }
    if (w->sb.h3 != NULL) {
        atl_h3_abort(w->sb.h3);
    }
    pair_done(&w->a);
    pair_done(&w->b);
    sim_free(w->net);
}

static int streams_closed(void *user) {
    world *w = user;

    return w->ca.stream_closed == 1 && w->sb.stream_closed == 1;
}

static int both_closed(void *user) {
    world *w = user;

    return w->ca.closed && w->sb.closed;
}

/* ---- tests ---- */

static void talk(const sim_link *link) {
    static const uint8_t TEXT[] = "a capsule or two";
    world w;

    start(&w, link);
    assert_int_equal(atl_h3_open(w.ca.h3, &CONNECT, NULL, &w.ca.stream), ATLAS_OK);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(atl_h3_write(w.ca.stream, TEXT, sizeof(TEXT)), ATLAS_OK);
    }
    (void)run(&w, 5, NULL);
    assert_int_equal(w.ca.status, 200);
    assert_int_equal(w.sb.got, 1000 * sizeof(TEXT));
    assert_int_equal(w.ca.got, 1000 * sizeof(TEXT));
    assert_true(w.ca.sum == w.sb.sum);
    atl_h3_end(w.ca.stream);
    assert_true(run(&w, 5, streams_closed));
    assert_int_equal(w.ca.ends, 1);
    assert_int_equal(w.sb.ends, 1);
    atl_h3_close(w.ca.h3, NO_ERROR, "done");
    assert_true(run(&w, 5, both_closed));
    assert_int_equal(w.ca.code, ATLAS_OK);
    assert_int_equal(w.sb.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(w.sb.error_code, NO_ERROR);
    end(&w);
}

static void test_connect(void **state) {
    (void)state;
    talk(NULL);
}

static void test_connect_with_loss(void **state) {
    static const sim_link LOSSY = {.delay = 20 * ATL_MS,
                                   .jitter = 5 * ATL_MS,
                                   .loss = 300,
                                   .reorder = 200,
                                   .duplicate = 100,
                                   .mtu = 1500};

    (void)state;
    talk(&LOSSY);
}

static void test_get(void **state) {
    world w;

    (void)state;
    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 31 + i / 255);
    }
    start(&w, NULL);
    w.sb.answer = 200;
    assert_int_equal(atl_h3_open(w.ca.h3, &GET, NULL, &w.ca.stream), ATLAS_OK);
    assert_true(run(&w, 10, streams_closed));
    assert_int_equal(w.ca.status, 200);
    assert_int_equal(w.ca.got, sizeof(body));
    assert_true(w.ca.sum == sum(0, body, sizeof(body)));
    assert_int_equal(w.ca.ends, 1);
    end(&w);
}

static const atl_h3_request PUT = {"PUT", "https", "node.test", "/thing", "", 0};
#define PUTS 40
#define PUT_BODY ((size_t)1 << 20)

static int puts_closed(void *user) {
    world *w = user;

    return w->ca.stream_closed == PUTS && w->sb.stream_closed == PUTS;
}

/* 40 MiB in forty requests, eight at a time, of which the server reads all or next to nothing. */
static void puts_with(const sim_link *link, int early) {
    uint8_t *big = malloc(PUT_BODY);
    world w;

    memset(big, 0x3c, PUT_BODY);
    start(&w, link);
    w.sb.answer = early ? 413 : 0;
    w.sb.small = 1;
    for (int i = 0; i < PUTS; i++) {
        atl_h3_stream *stream;

        assert_int_equal(atl_h3_open_with(w.ca.h3, &PUT, NULL, big, PUT_BODY, NULL, &stream),
                         ATLAS_OK);
        if (i % 8 == 7 && early) {
            (void)run(&w, 10, NULL);
            assert_int_equal(w.ca.ends, i + 1);
            assert_int_equal(w.ca.stream_closed, i + 1);
        }
    }
    if (early) {
        assert_true(run(&w, 10, puts_closed));
        assert_int_equal(w.ca.status, 413);
        assert_true(w.sb.got < PUTS * PUT_BODY / 4); /* most of it was never sent */
    } else {
        (void)run(&w, 20, NULL);
        assert_int_equal(w.sb.requests, PUTS);
        assert_int_equal(w.sb.ends, PUTS);
        assert_int_equal(w.sb.got, PUTS * PUT_BODY);
    }
    assert_int_equal(w.ca.closed, 0);
    end(&w);
    free(big);
}

static void test_puts(void **state) {
    (void)state;
    puts_with(NULL, 0);
}

static void test_early_answers(void **state) {
    static const sim_link LOSSY = {.delay = 10 * ATL_MS, .loss = 200, .reorder = 100, .mtu = 1500};

    (void)state;
    puts_with(NULL, 1);
    puts_with(&LOSSY, 1);
}

/* The client is gone at once; the server hears of it. */
static void test_part(void **state) {
    world w;

    (void)state;
    start(&w, NULL);
    assert_int_equal(atl_h3_open(w.ca.h3, &CONNECT, NULL, &w.ca.stream), ATLAS_OK);
    (void)run(&w, 1, NULL);
    atl_h3_part(w.ca.h3, NO_ERROR);
    w.ca.h3 = NULL;
    (void)run(&w, 1, NULL);
    assert_int_equal(w.ca.closed, 0);
    assert_int_equal(w.sb.closed, 1);
    assert_int_equal(w.sb.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(w.sb.error_code, NO_ERROR);
    end(&w);
}

static void test_refused_connect(void **state) {
    world w;

    (void)state;
    start(&w, NULL);
    w.sb.answer = 403;
    assert_int_equal(atl_h3_open(w.ca.h3, &CONNECT, NULL, &w.ca.stream), ATLAS_OK);
    assert_true(run(&w, 5, streams_closed)); /* though the client's direction was left open */
    assert_int_equal(w.ca.status, 403);
    assert_int_equal(w.ca.closed, 0);
    end(&w);
}

static void test_goaway(void **state) {
    world w;
    atl_h3_stream *second;

    (void)state;
    start(&w, NULL);
    assert_int_equal(atl_h3_open(w.ca.h3, &CONNECT, NULL, &w.ca.stream), ATLAS_OK);
    (void)run(&w, 1, NULL);
    atl_h3_goaway(w.sb.h3);
    assert_int_equal(atl_h3_open(w.ca.h3, &GET, NULL, &second), ATLAS_OK);
    (void)run(&w, 1, NULL);
    assert_int_equal(w.ca.goaways, 1);
    assert_int_equal(w.sb.requests, 1);
    assert_int_equal(w.ca.stream_closed, 1);
    assert_int_equal(atl_h3_open(w.ca.h3, &GET, NULL, &second), ATLAS_ERR_CLOSED);
    assert_int_equal(atl_h3_write(w.ca.stream, "on", 2), ATLAS_OK);
    (void)run(&w, 1, NULL);
    assert_int_equal(w.ca.got, 2);
    end(&w);
}

/* 10,000 requests as fast as the session lets them out: they end with EXCESSIVE_LOAD, told by a
 * code of its own. */
static void test_flood(void **state) {
    world w;
    int sent = 0;

    (void)state;
    start(&w, NULL);
    w.sb.answer = 404;
    while (sent < 10000 && w.ca.h3 != NULL) {
        atl_h3_stream *stream;

        if (atl_h3_open(w.ca.h3, &GET, NULL, &stream) == ATLAS_OK) {
            sent++;
        } else {
            (void)run(&w, 0.05, NULL);
        }
    }
    assert_in_range(sent, 250, 600);
    assert_true(run(&w, 5, both_closed));
    assert_int_equal(w.sb.code, ATLAS_ERR_HTTP);
    assert_int_equal(w.ca.code, ATLAS_ERR_PEER_CLOSED);
    assert_int_equal(w.ca.error_code, EXCESSIVE_LOAD);
    assert_int_equal(w.ca.stream_closed, sent);
    end(&w);
}

/* The client goes silently; the relay's session ends by its idle timeout, with every final upcall.
 */
static void test_vanished_client(void **state) {
    world w;

    (void)state;
    start(&w, NULL);
    assert_int_equal(atl_h3_open(w.ca.h3, &CONNECT, NULL, &w.ca.stream), ATLAS_OK);
    (void)run(&w, 1, NULL);
    sim_host_set_down(w.a.host, 1);
    (void)run(&w, 100, NULL);
    assert_int_equal(w.sb.closed, 1);
    assert_int_equal(w.sb.code, ATLAS_ERR_IDLE_TIMEOUT);
    assert_int_equal(w.sb.stream_closed, 1);
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_connect_with_loss),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_puts),
        cmocka_unit_test(test_early_answers),
        cmocka_unit_test(test_part),
        cmocka_unit_test(test_refused_connect),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_vanished_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
