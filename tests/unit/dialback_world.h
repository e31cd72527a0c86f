/* The dial-back service with everything around it faked: an HTTP/3 server that keeps the answers, a
 * network that keeps the datagrams. To be included by one source file of a program, which then
 * links none of the real atl_h3_respond() and atl_h3_reset(). */
#ifndef ATL_TESTS_UNIT_DIALBACK_WORLD_H
#define ATL_TESTS_UNIT_DIALBACK_WORLD_H

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/dialback.h"
#include "testenv.h"

#define SENT_MAX 8192
#define UDPS 8
#define COST ((size_t)ATL_DIALBACK_COST)

static const uint8_t NONCE[ATL_DIALBACK_NONCE] = "0123456789abcde";

typedef struct sent {
    uint64_t at;
    int other; /* from the second address */
    atl_addr bound;
    atl_addr local;
    atl_addr remote;
    uint8_t index;
    uint8_t from;
} sent;

struct atl_udp {
    int open;
    atl_addr bound;
    atl_udp_ready ready;
    void *user;
    size_t reads;   /* calls of udp_recv */
    size_t waiting; /* trains to be read */
};

typedef struct world {
    testenv t;
    atl_loop loop;
    atl_io io;
    struct atl_udp udps[UDPS];
    size_t opened;
    int32_t open_result;
    int32_t send_result;
    int32_t other_result;
    atl_addr bound[2]; /* family 0: no socket */
    size_t n_sent;
    sent sent[SENT_MAX];
    atl_dialback *dialback;
} world;

struct atl_h3_stream {
    int32_t status; /* 0: no answer yet */
    char type[64];
    size_t len;
    uint8_t body[256];
    uint64_t reset;
    int32_t respond_result;
    void *request;
};

/* ---- the HTTP/3 server ---- */

int32_t atl_h3_respond(atl_h3_stream *stream, int32_t status, const char *content_type,
                       const void *body, size_t len) {
    assert_int_equal(stream->status, 0);
    if (stream->respond_result != ATLAS_OK) {
        return stream->respond_result;
    }
    assert_true(len <= sizeof(stream->body));
    stream->status = status;
    (void)snprintf(stream->type, sizeof(stream->type), "%s", content_type);
    memcpy(stream->body, body, len);
    stream->len = len;
    return ATLAS_OK;
}

void atl_h3_reset(atl_h3_stream *stream, uint64_t code) {
    stream->reset = code;
}

/* ---- the network ---- */

static inline void record(world *w, int other, const atl_addr *bound, const atl_addr *local,
                          const atl_addr *remote, const uint8_t *data, size_t len) {
    sent *s = &w->sent[w->n_sent++];
    uint8_t nonce[ATL_DIALBACK_NONCE];

    assert_true(w->n_sent <= SENT_MAX);
    memset(s, 0, sizeof(*s));
    s->at = w->loop.now;
    s->other = other;
    s->bound = *bound;
    s->local = *local;
    s->remote = *remote;
    assert_int_equal(len, ATL_DIALBACK_DATAGRAM);
    assert_int_equal(atl_dialback_datagram_decode(data, len, nonce, &s->index, &s->from), ATLAS_OK);
    assert_memory_equal(nonce, NONCE, sizeof(nonce));
}

static inline int32_t io_open(void *impl, const atl_addr *bound, uint32_t flags,
                              atl_udp_ready ready, void *user, atl_udp **out) {
    world *w = impl;
    struct atl_udp *udp = w->udps;

    assert_int_equal(flags, ATL_UDP_PLAIN);
    assert_int_equal(bound->port, 0);
    if (w->open_result != ATLAS_OK) {
        return w->open_result;
    }
    while (udp->open) {
        udp++;
    }
    assert_true(udp < w->udps + UDPS);
    memset(udp, 0, sizeof(*udp));
    udp->open = 1;
    udp->bound = *bound;
    udp->bound.port = (uint16_t)(50000 + ++w->opened);
    udp->ready = ready;
    udp->user = user;
    *out = udp;
    return ATLAS_OK;
}

static inline void io_close(void *impl, atl_udp *udp) {
    (void)impl;
    assert_true(udp->open);
    udp->open = 0;
}

static inline int32_t io_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    (void)impl;
    udp->reads++;
    *n = udp->waiting < cap ? udp->waiting : cap;
    udp->waiting -= *n;
    memset(out, 0, *n * sizeof(*out));
    return ATLAS_OK;
}

static inline int32_t io_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *taken) {
    world *w = impl;

    assert_int_equal(n, 1);
    assert_true(udp->open);
    *taken = w->send_result == ATLAS_OK;
    if (w->send_result == ATLAS_OK) {
        record(w, 0, &udp->bound, &tx->local, &tx->remote, tx->data, tx->len);
    }
    return w->send_result;
}

static inline int32_t on_send_other(void *user, const atl_addr *remote, const uint8_t *data,
                                    size_t len) {
    world *w = user;
    atl_addr none;

    memset(&none, 0, sizeof(none));
    if (w->other_result == ATLAS_OK) {
        record(w, 1, &none, &none, remote, data, len);
    }
    return w->other_result;
}

static inline int32_t on_local(void *user, uint8_t family, atl_addr *out) {
    world *w = user;

    if (w->bound[family == 6].family == 0) {
        return ATLAS_ERR_FAMILY;
    }
    *out = w->bound[family == 6];
    return ATLAS_OK;
}

/* ---- the world ---- */

static inline atl_addr addr(const char *text) {
    atl_addr out;

    assert_int_equal(atl_addr_parse(text, &out), ATLAS_OK);
    return out;
}

static inline int32_t world_init_in(world *w) {
    atl_dialback_config config;

    assert_true(sodium_init() >= 0);
    atl_loop_init(&w->loop, &w->t.env);
    (void)atl_loop_update(&w->loop);
    w->io.impl = w;
    w->io.udp_open = io_open;
    w->io.udp_close = io_close;
    w->io.udp_recv = io_recv;
    w->io.udp_send = io_send;
    w->bound[0] = addr("0.0.0.0:443");
    w->bound[1] = addr("[2001:db8:5::1]:443");
    memset(&config, 0, sizeof(config));
    config.loop = &w->loop;
    config.io = &w->io;
    config.user = w;
    config.send_other = on_send_other;
    config.local = on_local;
    return atl_dialback_new(&config, &w->dialback);
}

static inline void world_init(world *w) {
    memset(w, 0, sizeof(*w));
    testenv_init(&w->t);
    assert_int_equal(world_init_in(w), ATLAS_OK);
}

static inline void world_done(world *w) {
    size_t i;

    atl_dialback_free(w->dialback);
    for (i = 0; i < UDPS; i++) {
        assert_false(w->udps[i].open);
    }
    assert_true(w->loop.timers == NULL);
    testenv_done(&w->t);
}

static inline void pass(world *w, uint64_t ns) {
    uint64_t end = w->t.now + ns;

    while (atl_loop_deadline(&w->loop) <= end) {
        w->t.now = atl_loop_deadline(&w->loop);
        (void)atl_loop_update(&w->loop);
        (void)atl_loop_run_timers(&w->loop, 10000);
    }
    w->t.now = end;
    (void)atl_loop_update(&w->loop);
}

static inline int head(world *w, atl_h3_stream *stream, const char *method, const char *path,
                       const char *remote, int peer) {
    atl_h3_request request = {method, "https", "x", path, "", 0};
    atl_peer_id id;
    atl_requester from;

    memset(&id, peer, sizeof(id));
    id.key[0] = (uint8_t)(peer >> 8);
    memset(&from, 0, sizeof(from));
    from.peer = peer < 0 ? NULL : &id;
    from.remote = addr(remote);
    from.local = addr(from.remote.family == 4 ? "192.0.2.1:443" : "[2001:db8:5::1]:443");
    memset(stream, 0, sizeof(*stream));
    return atl_dialback_ops.on_request(w->dialback, stream, &request, &from, &stream->request);
}

static inline void closed(world *w, atl_h3_stream *stream) {
    atl_dialback_ops.on_closed(w->dialback, stream->request, stream);
}

static inline void feed(world *w, atl_h3_stream *stream, const uint8_t *data, size_t len) {
    atl_dialback_ops.on_data(w->dialback, stream->request, stream, data, len);
}

/* A whole request, its body in pieces. */
static inline void ask_bytes(world *w, atl_h3_stream *stream, const char *remote, int peer,
                             const uint8_t *body, size_t len) {
    size_t at;

    assert_int_equal(head(w, stream, "POST", ATL_DIALBACK_PATH, remote, peer), 1);
    for (at = 0; at < len && stream->status == 0; at += 100) {
        feed(w, stream, body + at, len - at < 100 ? len - at : 100);
    }
    if (stream->status == 0) {
        atl_dialback_ops.on_end(w->dialback, stream->request, stream);
    }
    closed(w, stream);
}

static inline size_t encode(const char *const *candidates, uint8_t *out) {
    atl_dialback_request msg;
    size_t len = 0;

    memset(&msg, 0, sizeof(msg));
    memcpy(msg.nonce, NONCE, sizeof(NONCE));
    for (; *candidates != NULL; candidates++) {
        msg.candidates[msg.n_candidates++] = addr(*candidates);
    }
    assert_int_equal(atl_dialback_request_encode(&msg, out, ATL_DIALBACK_BODY_MAX, &len), ATLAS_OK);
    return len;
}

static inline void ask(world *w, atl_h3_stream *stream, const char *remote, int peer,
                       const char *const *candidates) {
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    size_t len = encode(candidates, body);

    ask_bytes(w, stream, remote, peer, body, len);
}

static inline atl_dialback_reply reply_of(const atl_h3_stream *stream) {
    atl_dialback_reply reply;

    assert_int_equal(stream->status, 200);
    assert_string_equal(stream->type, "application/octet-stream");
    assert_int_equal(atl_dialback_reply_decode(stream->body, stream->len, &reply), ATLAS_OK);
    return reply;
}

static inline void expect_error(const atl_h3_stream *stream, int32_t status, const char *name) {
    char want[64];

    assert_int_equal(stream->status, status);
    assert_string_equal(stream->type, "application/json");
    (void)snprintf(want, sizeof(want), "{\"error\":\"%s\",\"text\":\"", name);
    assert_memory_equal(stream->body, want, strlen(want));
    assert_int_equal(stream->body[stream->len - 1], '}');
}

#endif
