/* Parts of a node that answer requests on a relay server, and clients that make them, for the tests
 * of relay/. */
#ifndef ATL_TESTS_UNIT_RELAY_PARTS_H
#define ATL_TESTS_UNIT_RELAY_PARTS_H

#include "relay/service.h"
#include "relay_world.h"

#define RELAY_PATH "/.well-known/atlas/relay/"
#define TAKEN_MAX 64
#define BODY 100000

#define AT_HEAD 1 /* answered in on_request */
#define AT_END 2  /* with the length of the body that came */
#define NEVER 3
#define RESET 4

/* A request that a part has taken. */
typedef struct taking {
    atl_h3_stream *stream;
    char method[16], path[64];
    atl_requester from;
    atl_peer_id peer;
    size_t len;
    int ends, closed;
} taking;

/* A part of the node. */
typedef struct part {
    const char *prefix;
    int how;
    int offered;
    size_t n;
    taking taken[TAKEN_MAX];
} part;

static relay_world w;

PAIR_UNUSED static int part_request(void *user, atl_h3_stream *stream,
                                    const atl_h3_request *request, const atl_requester *from,
                                    void **request_user) {
    part *p = user;
    taking *t = &p->taken[p->n];

    p->offered++;
    if (strncmp(request->path, p->prefix, strlen(p->prefix)) != 0) {
        return 0;
    }
    assert_true(p->n < TAKEN_MAX);
    p->n++;
    t->stream = stream;
    (void)snprintf(t->method, sizeof(t->method), "%s", request->method);
    (void)snprintf(t->path, sizeof(t->path), "%s", request->path);
    t->from = *from;
    if (from->peer != NULL) {
        t->peer = *from->peer;
    }
    *request_user = t;
    if (p->how == AT_HEAD) {
        (void)atl_h3_respond(stream, 200, "text/plain", p->prefix, strlen(p->prefix));
    } else if (p->how == RESET) {
        atl_h3_reset(stream, 0x10c);
    }
    return 1;
}

PAIR_UNUSED static void part_data(void *user, void *request_user, atl_h3_stream *stream,
                                  const uint8_t *data, size_t len) {
    taking *t = request_user;

    (void)user;
    assert_ptr_equal(stream, t->stream);
    assert_int_equal(t->ends + t->closed, 0);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(data[i], (uint8_t)((t->len + i) * 7));
    }
    t->len += len;
}

PAIR_UNUSED static void part_end(void *user, void *request_user, atl_h3_stream *stream) {
    part *p = user;
    taking *t = request_user;
    char text[32];

    assert_ptr_equal(stream, t->stream);
    assert_int_equal(t->closed, 0);
    t->ends++;
    if (p->how == AT_END) {
        (void)snprintf(text, sizeof(text), "%zu", t->len);
        if (atl_h3_respond(stream, 200, "text/plain", text, strlen(text)) != ATLAS_OK) {
            atl_h3_reset(stream, 0x10c);
        }
    }
}

PAIR_UNUSED static void part_closed(void *user, void *request_user, atl_h3_stream *stream) {
    taking *t = request_user;

    (void)user;
    assert_ptr_equal(stream, t->stream);
    assert_int_equal(t->closed, 0);
    t->closed++;
    t->stream = NULL;
}

PAIR_UNUSED static const atl_requests_ops part_ops = {part_request, part_data, part_end,
                                                      part_closed};
PAIR_UNUSED static const atl_requests_ops bare_ops = {.on_request = part_request};

static part a_part;

PAIR_UNUSED static part *add_part(part *p, const char *prefix, int how) {
    memset(p, 0, sizeof(*p));
    p->prefix = prefix;
    p->how = how;
    assert_int_equal(atl_relay_server_add_requests(w.server, &part_ops, p), ATLAS_OK);
    return p;
}

PAIR_UNUSED static raw_node *add(void) {
    raw_node *raw = raw_new_as(&w, (uint8_t)(10 + w.n_raw));

    atl_qconn_keepalive(atl_h3_conn(raw->h3), 5 * ATL_SECOND);
    return raw;
}

PAIR_UNUSED static void get(raw_node *raw, const char *path) {
    raw_request(&w, raw, "GET", path, "", 0);
    world_run(&w, 50 * ATL_MS);
}

/* Sends the request and does not wait. */
PAIR_UNUSED static void begin(raw_node *raw, const char *method, const char *path, size_t len) {
    static uint8_t body[BODY];
    atl_h3_request request = {method, "https", "10.0.0.1:4433", path, "", 0};

    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 7);
    }
    raw->status = 0;
    raw->body_len = 0;
    raw->ended = 0;
    assert_int_equal(atl_h3_open_with(raw->h3, &request, NULL, body, len, NULL, &raw->stream),
                     ATLAS_OK);
    world_run(&w, 500 * ATL_MS);
}

#endif
