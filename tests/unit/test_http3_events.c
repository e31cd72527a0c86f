/* An HTTP/3 server against clients, and a client against servers, that misbehave: bytes are written
 * by hand on connections in memory. Frames and codes: RFC 9114; field sections without the dynamic
 * table: RFC 9204 section 4.5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <nghttp3/nghttp3.h>

#include "base/reader.h"
#include "base/writer.h"
#include "fake_quic.h"
#include "http3/session.h"

#define NO_ERROR 0x100
#define STREAM_CREATION_ERROR 0x103
#define CLOSED_CRITICAL_STREAM 0x104
#define FRAME_UNEXPECTED 0x105
#define EXCESSIVE_LOAD 0x107
#define SETTINGS_ERROR 0x109
#define MISSING_SETTINGS 0x10a
#define REQUEST_REJECTED 0x10b
#define MESSAGE_ERROR 0x10e

typedef struct raw_stream {
    atl_qstream *qs;
    uint8_t in[4096];
    size_t in_len;
    int fin, resets, closed;
    uint64_t code;
} raw_stream;

typedef struct rig {
    fake_world world;
    atl_qconn raw, ours;
    atl_h3 *h3; /* ours */
    int requests, stream_closed, ready;
    size_t held; /* requests that wait for an answer */
    int32_t answer;
    /* how it ended */
    int closed;
    atl_qclose why;
    int raw_closed;
    uint64_t raw_code;
} rig;

/* ---- ours ---- */

static void on_ready(void *user, atl_h3 *h3) {
    (void)h3;
    ((rig *)user)->ready++;
}

static void on_request(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request) {
    rig *r = user;

    (void)h3;
    (void)request;
    r->requests++;
    if (r->answer != 0) {
        assert_int_equal(atl_h3_respond(stream, r->answer, NULL, NULL, 0), ATLAS_OK);
    } else {
        r->held++;
    }
}

static void on_stream_closed(void *user, atl_h3_stream *stream) {
    (void)stream;
    ((rig *)user)->stream_closed++;
}

static void on_closed(void *user, atl_h3 *h3, const atl_qclose *why) {
    rig *r = user;

    (void)h3;
    r->closed++;
    r->why = *why;
    r->h3 = NULL;
}

static const atl_h3_ops OPS = {
    .on_ready = on_ready,
    .on_request = on_request,
    .on_stream_closed = on_stream_closed,
    .on_closed = on_closed,
};

/* ---- theirs ---- */

static void raw_data(void *user, atl_qstream *qs, const uint8_t *data, size_t len, int fin) {
    raw_stream *s = user;

    if (s != NULL && s->in_len + len <= sizeof(s->in)) {
        memcpy(s->in + s->in_len, data, len);
        s->in_len += len;
        s->fin |= fin;
    }
    atl_qstream_credit(qs, len);
}

static void raw_reset(void *user, atl_qstream *qs, uint64_t code) {
    raw_stream *s = user;

    (void)qs;
    if (s != NULL) {
        s->resets++;
        s->code = code;
    }
}

static void raw_stream_closed(void *user, atl_qstream *qs) {
    raw_stream *s = user;

    (void)qs;
    if (s != NULL) {
        s->closed = 1;
        s->qs = NULL;
    }
}

static void raw_nothing(void *user, atl_qstream *qs) {
    (void)user;
    (void)qs;
}

static const atl_qstream_ops RAW_STREAM_OPS = {
    .on_data = raw_data,
    .on_writable = raw_nothing,
    .on_reset = raw_reset,
    .on_stop = raw_reset,
    .on_closed = raw_stream_closed,
};

static void raw_accept(void *user, atl_qconn *conn, atl_qstream *qs) {
    (void)user;
    (void)conn;
    atl_qstream_set_ops(qs, &RAW_STREAM_OPS, NULL);
}

static void raw_closed(void *user, atl_qconn *conn, const atl_qclose *why) {
    rig *r = user;

    (void)conn;
    r->raw_closed++;
    r->raw_code = why->error_code;
}

static const atl_qconn_ops RAW_OPS = {
    .on_stream = raw_accept,
    .on_closed = raw_closed,
};

static rig *new_rig(int we_serve) {
    rig *r = calloc(1, sizeof(*r));

    fake_world_init(&r->world);
    fake_pair(&r->world, we_serve ? &r->raw : &r->ours, we_serve ? &r->ours : &r->raw);
    atl_qconn_set_ops(&r->raw, &RAW_OPS, r);
    assert_int_equal(atl_h3_new(&r->ours, &OPS, r, &r->h3), ATLAS_OK);
    fake_confirm(&r->ours);
    fake_confirm(&r->raw);
    return r;
}

static void pump(rig *r) {
    fake_pump(&r->raw, &r->ours);
}

static void end(rig *r) {
    atl_qconn_close(&r->raw, NO_ERROR, "");
    pump(r);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->world.live, 0);
    free(r);
}

static void raw_write(atl_qstream *qs, const void *data, size_t len, int fin) {
    size_t taken;

    assert_int_equal(atl_qstream_write(qs, data, len, fin, &taken), ATLAS_OK);
    assert_int_equal(taken, len);
}

static raw_stream *raw_open(rig *r, int uni, const void *data, size_t len, int fin) {
    raw_stream *s = calloc(1, sizeof(*s));

    assert_int_equal(atl_qconn_open_stream(&r->raw, uni, &RAW_STREAM_OPS, s, &s->qs), ATLAS_OK);
    raw_write(s->qs, data, len, fin);
    return s;
}

/* ---- frames ---- */

static void put_text(atl_writer *w, int prefix_bits, uint8_t first, const char *text, size_t len) {
    size_t max = ((size_t)1 << prefix_bits) - 1;

    if (len < max) {
        atl_write_u8(w, (uint8_t)(first | len));
    } else {
        atl_write_u8(w, (uint8_t)(first | max));
        atl_write_uvarint(w, len - max);
    }
    atl_write_bytes(w, text, len);
}

static void put_field(atl_writer *w, const char *name, const char *value, size_t value_len) {
    put_text(w, 3, 0x20, name, strlen(name));
    put_text(w, 7, 0x00, value, value_len);
}

/* A HEADERS frame of name, value, name, value, ..., NULL. */
static size_t headers(uint8_t *buf, size_t cap, const char *const *fields) {
    static uint8_t section[200000];
    atl_writer w;
    atl_writer frame;

    atl_writer_init(&w, section, sizeof(section));
    atl_write_u16(&w, 0); /* required insert count, base */
    for (size_t i = 0; fields[i] != NULL; i += 2) {
        put_field(&w, fields[i], fields[i + 1], strlen(fields[i + 1]));
    }
    atl_writer_init(&frame, buf, cap);
    atl_write_varint(&frame, 1);
    atl_write_varint(&frame, w.len);
    atl_write_bytes(&frame, section, w.len);
    assert_int_equal(frame.error, ATLAS_OK);
    return frame.len;
}

static raw_stream *request(rig *r, const char *const *fields, int fin) {
    static uint8_t buf[200000];

    return raw_open(r, 0, buf, headers(buf, sizeof(buf), fields), fin);
}

/* The :status of the answer, -1 when there is none. */
static int status_of(const raw_stream *s) {
    nghttp3_qpack_stream_context *context = NULL;
    nghttp3_qpack_decoder *decoder = NULL;
    atl_reader reader;
    atl_reader section;
    uint64_t type;
    uint8_t flags = 0;
    int status = -1;

    atl_reader_init(&reader, s->in, s->in_len);
    if (atl_read_varint(&reader, &type) != ATLAS_OK || type != 1 ||
        atl_read_varint_sub(&reader, &section) != ATLAS_OK) {
        return -1;
    }
    assert_int_equal(nghttp3_qpack_decoder_new(&decoder, 0, 0, nghttp3_mem_default()), 0);
    assert_int_equal(nghttp3_qpack_stream_context_new(&context, 0, nghttp3_mem_default()), 0);
    while ((flags & NGHTTP3_QPACK_DECODE_FLAG_FINAL) == 0) {
        nghttp3_qpack_nv nv;
        nghttp3_ssize n = nghttp3_qpack_decoder_read_request(decoder, context, &nv, &flags,
                                                             section.data, section.left, 1);

        assert_true(n >= 0);
        section.data += n;
        section.left -= (size_t)n;
        if ((flags & NGHTTP3_QPACK_DECODE_FLAG_EMIT) != 0) {
            status = nv.token == NGHTTP3_QPACK_TOKEN__STATUS
                         ? atoi((const char *)nghttp3_rcbuf_get_buf(nv.value).base)
                         : status;
            nghttp3_rcbuf_decref(nv.name);
            nghttp3_rcbuf_decref(nv.value);
        }
    }
    nghttp3_qpack_stream_context_del(context);
    nghttp3_qpack_decoder_del(decoder);
    return status;
}

static const char *const GET[] = {":method", "GET",   ":scheme", "https", ":authority",
                                  "r",       ":path", "/",       NULL};
static const char *const PLAIN_CONNECT[] = {":method", "CONNECT", ":authority", "r:443", NULL};
static const char *const NO_PATH[] = {":method",    "GET", ":scheme", "https",
                                      ":authority", "r",   NULL};
static const char *const UPPER[] = {":method", "GET", ":scheme", "https", ":authority", "r",
                                    ":path",   "/",   "Upper",   "x",     NULL};
static const char *const PROTOCOL_ON_GET[] = {
    ":method", "GET", ":scheme", "https", ":authority", "r", ":path", "/", ":protocol", "x", NULL};
static const char *const CONNECT[] = {":method",    "CONNECT",     ":scheme", "https",
                                      ":authority", "r",           ":path",   "/",
                                      ":protocol",  "atlas-relay", NULL};

/* ---- requests ---- */

static void expect_status(const char *const *fields, int wanted, int seen) {
    rig *r = new_rig(1);
    raw_stream *s;

    r->answer = 204;
    s = request(r, fields, 1);
    pump(r);
    assert_int_equal(status_of(s), wanted);
    assert_int_equal(r->requests, seen);
    assert_int_equal(r->stream_closed, seen);
    assert_int_equal(r->closed, 0);
    assert_int_equal(s->closed, 1);
    end(r);
    free(s);
}

static void expect_close(const char *const *fields, uint64_t code) {
    rig *r = new_rig(1);
    raw_stream *s = request(r, fields, 1);

    pump(r);
    assert_int_equal(r->raw_code, code);
    assert_int_equal(r->requests, 0);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->why.code, ATLAS_ERR_HTTP);
    end(r);
    free(s);
}

static void test_heads(void **state) {
    static char long_value[40000];
    const char *large[] = {":method", "GET", ":scheme", "https",    ":authority", "r",
                           ":path",   "/",   "x",       long_value, NULL};
    const char *larger[] = {":method", "GET", ":scheme",  "https", ":authority", "r", ":path",
                            "/",       "x",   long_value, "y",     long_value,   NULL};

    (void)state;
    expect_status(GET, 204, 1);
    expect_status(CONNECT, 204, 1);
    expect_status(PLAIN_CONNECT, 501, 0);
    expect_close(NO_PATH, MESSAGE_ERROR);
    expect_close(UPPER, MESSAGE_ERROR);
    expect_close(PROTOCOL_ON_GET, MESSAGE_ERROR);
    memset(long_value, 'v', 7900);
    expect_status(large, 204, 1);
    memset(long_value, 'v', 8192);
    expect_status(large, 431, 0);
    memset(long_value, 'v', sizeof(long_value) - 1);
    expect_close(larger, EXCESSIVE_LOAD);
}

/* A request that is cut short, one that never continues, one that is reset. */
static void test_incomplete(void **state) {
    uint8_t buf[256];
    size_t len = headers(buf, sizeof(buf), GET);
    rig *r = new_rig(1);
    raw_stream *s = raw_open(r, 0, buf, len - 3, 0);
    raw_stream *other;

    (void)state;
    r->answer = 204;
    pump(r);
    assert_int_equal(r->requests, 0);
    other = request(r, GET, 1); /* others are served meanwhile */
    pump(r);
    assert_int_equal(status_of(other), 204);
    atl_qstream_shutdown(s->qs, 0x10c);
    pump(r);
    assert_int_equal(s->closed, 1);
    assert_int_equal(r->closed, 0);
    free(s);
    free(other);
    s = raw_open(r, 0, buf, len - 3, 1);
    pump(r);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->requests, 1);
    end(r);
    free(s);
}

/* More at once than 64 are refused one by one; the rest goes on. */
static void test_too_many_at_once(void **state) {
    raw_stream *streams[100];
    rig *r = new_rig(1);

    (void)state;
    for (int i = 0; i < 100; i++) {
        streams[i] = request(r, GET, 0);
    }
    pump(r);
    assert_int_equal(r->held, 64);
    assert_int_equal(r->closed, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(streams[i]->closed, i >= 64);
        assert_int_equal(streams[i]->resets > 0, i >= 64);
        assert_true(i < 64 || streams[i]->code == REQUEST_REJECTED);
    }
    end(r);
    for (int i = 0; i < 100; i++) {
        free(streams[i]);
    }
}

/* Ten thousand requests in a row: what a client may sustain is answered, then the connection ends
 * with EXCESSIVE_LOAD. */
static void test_flood(void **state) {
    rig *r = new_rig(1);
    size_t most;
    int sent = 0;

    (void)state;
    r->answer = 204;
    while (sent < 10000 && r->closed == 0) {
        raw_stream *s = request(r, GET, 1);

        pump(r);
        sent++;
        free(s);
    }
    most = r->world.bytes_max;
    assert_int_equal(r->requests, 256);
    assert_int_equal(r->raw_code, EXCESSIVE_LOAD);
    assert_int_equal(r->why.code, ATLAS_ERR_HTTP);
    assert_in_range(most, 1, 100);
    end(r);
    r = new_rig(1); /* the same number at the allowed pace */
    r->answer = 204;
    for (sent = 0; sent < 10000; sent++) {
        raw_stream *s = request(r, GET, 1);

        r->world.now += ATL_SECOND / 32;
        atl_loop_update(&r->world.loop);
        pump(r);
        free(s);
    }
    assert_int_equal(r->requests, 10000);
    assert_int_equal(r->closed, 0);
    assert_in_range(r->world.bytes_max, 1, 100);
    end(r);
}

/* Ten thousand heads on one stream: the second is taken for trailers, the third is an error. */
static void test_heads_on_one_stream(void **state) {
    static uint8_t all[100 * 64];
    uint8_t one[64];
    size_t len = headers(one, sizeof(one), GET);
    rig *r = new_rig(1);
    raw_stream *s;

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        memcpy(all + i * len, one, len);
    }
    s = raw_open(r, 0, all, 100 * len, 0);
    pump(r);
    assert_int_equal(r->requests, 1);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->why.code, ATLAS_ERR_HTTP);
    end(r);
    free(s);
}

/* ---- unidirectional streams ---- */

static void expect_uni(const char *bytes, size_t len, int fin, uint64_t code) {
    rig *r = new_rig(1);
    raw_stream *s = raw_open(r, 1, bytes, len, fin);

    pump(r);
    assert_int_equal(r->closed, code != 0);
    assert_true(code == 0 || r->raw_code == code);
    end(r);
    free(s);
}

static void test_control_stream(void **state) {
    rig *r;
    raw_stream *s;

    (void)state;
    expect_uni("\x00\x04\x00", 3, 0, 0);                        /* empty SETTINGS */
    expect_uni("\x00\x04\x00", 3, 1, CLOSED_CRITICAL_STREAM);   /* which must not end */
    expect_uni("\x00\x07\x01\x00", 4, 0, MISSING_SETTINGS);     /* GOAWAY first */
    expect_uni("\x00\x04\x00\x04\x00", 5, 0, FRAME_UNEXPECTED); /* SETTINGS twice */
    expect_uni("\x00\x04\x02\x33\x02", 5, 0, SETTINGS_ERROR);   /* H3_DATAGRAM = 2 */
    expect_uni("\x00\x04\x00\x00\x00", 5, 0, FRAME_UNEXPECTED); /* DATA on it */
    expect_uni("\x01", 1, 0, STREAM_CREATION_ERROR);            /* push from a client */
    expect_uni("\x21zzz", 4, 0, 0);                             /* unknown type: refused */
    expect_uni("\x02", 1, 1, CLOSED_CRITICAL_STREAM);           /* a QPACK stream ends */
    expect_uni("\x02\x3f\xe1\x1f", 4, 0, 0x201); /* it sets a capacity that we do not offer */
    r = new_rig(1);
    s = raw_open(r, 1, "\x00\x04\x00", 3, 0);
    pump(r);
    assert_int_equal(r->closed, 0);
    atl_qstream_shutdown(s->qs, 0);
    pump(r);
    assert_int_equal(r->raw_code, CLOSED_CRITICAL_STREAM);
    end(r);
    free(s);
}

/* Stopping one of our control streams is the loss of a critical stream as well. */
static void test_our_control_stream_stopped(void **state) {
    rig *r = new_rig(1);
    atl_qstream *theirs;

    (void)state;
    pump(r);
    theirs = ATL_CONTAINER(r->raw.streams.next, atl_qstream, node);
    atl_qstream_shutdown(theirs, 0);
    pump(r);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->raw_code, CLOSED_CRITICAL_STREAM);
    end(r);
}

/* PRIORITY_UPDATE for streams that do not exist yet makes no more state than streams may exist. */
static void test_priority_updates(void **state) {
    rig *r = new_rig(1);
    raw_stream *s = raw_open(r, 1, "\x00\x04\x00", 3, 0);
    uint8_t frame[16];

    (void)state;
    pump(r);
    for (uint64_t i = 0; i < 5000 && r->closed == 0; i++) {
        atl_writer w;

        atl_writer_init(&w, frame, sizeof(frame));
        atl_write_varint(&w, 0xf0700);
        atl_write_varint(&w, atl_varint_len(4 * i));
        atl_write_varint(&w, 4 * i);
        raw_write(s->qs, frame, w.len, 0);
        pump(r);
    }
    assert_int_equal(r->closed, 1);
    assert_in_range(r->world.bytes_max, 1, 200);
    end(r);
    free(s);
}

/* ---- a client and its servers ---- */

static void test_server_without_connect(void **state) {
    rig *r = new_rig(0);
    raw_stream *s = raw_open(r, 1, "\x00\x04\x00", 3, 0);

    (void)state;
    pump(r);
    assert_int_equal(r->ready, 0);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->why.code, ATLAS_ERR_HTTP);
    assert_int_equal(r->raw_code, SETTINGS_ERROR);
    end(r);
    free(s);
}

static void test_server_with_connect(void **state) {
    rig *r = new_rig(0);
    raw_stream *s = raw_open(r, 1, "\x00\x04\x02\x08\x01", 5, 0);

    (void)state;
    pump(r);
    assert_int_equal(r->ready, 1);
    assert_int_equal(r->closed, 0);
    end(r);
    free(s);
}

static void test_server_opens_request(void **state) {
    rig *r = new_rig(0);
    raw_stream *s = request(r, GET, 1);

    (void)state;
    pump(r);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->raw_code, STREAM_CREATION_ERROR);
    end(r);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_too_many_at_once),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_heads_on_one_stream),
        cmocka_unit_test(test_control_stream),
        cmocka_unit_test(test_our_control_stream_stopped),
        cmocka_unit_test(test_priority_updates),
        cmocka_unit_test(test_server_without_connect),
        cmocka_unit_test(test_server_with_connect),
        cmocka_unit_test(test_server_opens_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
