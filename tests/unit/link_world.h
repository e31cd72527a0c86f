/* A node with a link, and a relay server with a part that answers it, on the simulated network, for
 * the tests of discovery/link. */
#ifndef ATL_TESTS_UNIT_LINK_WORLD_H
#define ATL_TESTS_UNIT_LINK_WORLD_H

#include "discovery/link.h"

#include "relay_world.h"

#define ASKS 400
#define NAME "node.test"
#define GONE "10.0.0.99" /* nobody is there */

/* ---- the server's part ---- */

typedef struct part {
    size_t requests, closed;
    size_t body; /* bytes of the last one */
    atl_h3_stream *slow;
    atl_peer_id peer;
} part;

static relay_world w;
static part served;
static uint8_t big[ATL_LINK_BODY_MAX + 1];

PAIR_UNUSED static int part_request(void *user, atl_h3_stream *stream,
                                    const atl_h3_request *request, const atl_requester *from,
                                    void **request_user) {
    size_t len = 0;

    if (strncmp(request->path, "/t/", 3) != 0) {
        return 0;
    }
    *request_user = user;
    served.requests++;
    served.body = 0;
    assert_non_null(from->peer); /* the client shows its certificate */
    served.peer = *from->peer;
    assert_string_equal(request->scheme, "https");
    if (strcmp(request->path, "/t/ok") == 0) {
        (void)atl_h3_respond(stream, 200, "text/plain", "hello", 5);
    } else if (strcmp(request->path, "/t/reset") == 0) {
        atl_h3_reset(stream, 0x10c);
    } else if (sscanf(request->path, "/t/big/%zu", &len) == 1) {
        assert_int_equal(atl_h3_respond(stream, 200, "text/plain", big, len), ATLAS_OK);
    } else if (strcmp(request->path, "/t/slow") == 0) {
        served.slow = stream;
    }
    return 1;
}

PAIR_UNUSED static void part_data(void *user, void *request_user, atl_h3_stream *stream,
                                  const uint8_t *data, size_t len) {
    (void)user;
    (void)request_user;
    (void)stream;
    assert_memory_equal(data, big + served.body, len);
    served.body += len;
}

PAIR_UNUSED static void part_end(void *user, void *request_user, atl_h3_stream *stream) {
    (void)user;
    (void)request_user;
    if (stream != served.slow) {
        assert_int_equal(atl_h3_respond(stream, 201, "text/plain", "put", 3), ATLAS_OK);
    }
}

PAIR_UNUSED static void part_closed(void *user, void *request_user, atl_h3_stream *stream) {
    (void)user;
    (void)request_user;
    served.closed++;
    served.slow = served.slow == stream ? NULL : served.slow;
}

static const atl_requests_ops part_ops = {part_request, part_data, part_end, part_closed};

PAIR_UNUSED static void serve(void) {
    assert_int_equal(atl_relay_server_add_requests(w.server, &part_ops, &served), ATLAS_OK);
}

/* ---- the client ---- */

#define DO_NOTHING 0
#define DO_CANCEL_ALL 1
#define DO_FREE 2
#define DO_ASK 3

typedef struct asking {
    atl_link_request *request;
    int done;
    atl_link_reply reply; /* without its pointers */
    char body[16];
    char text[160];
    uint64_t at;
} asking;

static pair_node client;
static atl_link *links[1];
static asking asks[ASKS];
static size_t n_asks, n_done;
static uint64_t handshake_timeout;
static int act; /* in the next upcall */

PAIR_UNUSED static asking *ask(const char *method, const char *path, size_t len, uint64_t timeout);

PAIR_UNUSED static void on_done(void *user, const atl_link_reply *reply) {
    asking *a = user;
    size_t i;

    assert_int_equal(a->done, 0);
    a->done = 1;
    a->request = NULL;
    a->at = sim_now(w.net);
    a->reply = *reply;
    for (i = 0; i < reply->len; i++) {
        if (i < sizeof(a->body) - 1) {
            a->body[i] = (char)reply->body[i];
        } else {
            assert_int_equal(reply->body[i], big[i]);
        }
    }
    (void)snprintf(a->text, sizeof(a->text), "%s", reply->text);
    assert_true(reply->code == ATLAS_OK ? reply->status >= 200 : reply->status == 0);
    n_done++;
    if (act == DO_CANCEL_ALL) {
        for (i = 0; i < n_asks; i++) {
            if (asks[i].request != NULL) {
                atl_link_cancel(asks[i].request);
                asks[i].request = NULL;
            }
        }
    } else if (act == DO_FREE) {
        atl_link_free(links[0]);
        links[0] = NULL;
        for (i = 0; i < n_asks; i++) {
            asks[i].request = NULL;
        }
    } else if (act == DO_ASK && n_asks < ASKS) {
        (void)ask("GET", "/t/ok", 0, ATL_SECOND);
    }
}

PAIR_UNUSED static asking *ask(const char *method, const char *path, size_t len, uint64_t timeout) {
    asking *a = &asks[n_asks++];
    size_t before = n_done;

    assert_true(n_asks <= ASKS);
    memset(a, 0, sizeof(*a));
    assert_int_equal(atl_link_ask(links[0], method, path, len == 0 ? NULL : big, len, timeout,
                                  on_done, a, &a->request),
                     ATLAS_OK);
    assert_int_equal(n_done, before);
    return a;
}

/* From outside the client's turn: its clock is read first. */
PAIR_UNUSED static asking *ask_now(const char *method, const char *path, size_t len,
                                   uint64_t timeout) {
    (void)atl_loop_update(&client.loop);
    return ask(method, path, len, timeout);
}

PAIR_UNUSED static void link_to(const char *host, const atl_peer_id *peer) {
    atl_link_config config;
    char text[256];
    char id[ATLAS_PEER_ID_MAX];

    memset(&config, 0, sizeof(config));
    atl_peer_id_text(peer, id);
    (void)snprintf(text, sizeof(text), "%s/udp/%d/quic-v1/p2p/%s", host, RELAY_PORT, id);
    config.ep = client.ep;
    config.handshake_timeout = &handshake_timeout;
    assert_int_equal(atl_maddr_parse(text, &config.addr), ATLAS_OK);
    assert_int_equal(atl_link_new(&config, &links[0]), ATLAS_OK);
    assert_true(atl_peer_id_equal(&atl_link_addr(links[0])->peer, peer));
}

PAIR_UNUSED static void begin_with(const char *host) {
    sim_link way = {.delay = 25 * ATL_MS, .mtu = 1500};

    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = i < sizeof(asks[0].body) - 1 ? (uint8_t)('a' + i) : (uint8_t)(i * 11 + i / 256);
    }
    memset(&served, 0, sizeof(served));
    n_asks = n_done = 0;
    act = DO_NOTHING;
    handshake_timeout = 10 * ATL_SECOND;
    world_start(&w);
    sim_set_link(w.net, &way);
    serve();
    pair_init(&client, w.net, "10.0.2.1", 90, 0);
    atl_endpoint_params(client.ep)->idle_timeout = RELAY_IDLE;
    links[0] = NULL;
    if (host != NULL) {
        link_to(host, &w.relay.id);
    }
}

PAIR_UNUSED static void begin(void) {
    begin_with("/ip4/10.0.0.1");
}

PAIR_UNUSED static void finish(void) {
    atl_link_free(links[0]);
    pair_done(&client);
    world_done(&w);
}

PAIR_UNUSED static int all_done(void *user) {
    (void)user;
    return n_done == n_asks;
}

PAIR_UNUSED static int not_up(void *user) {
    (void)user;
    return !atl_link_is_up(links[0]);
}

PAIR_UNUSED static int no_session(void *user) {
    (void)user;
    return world_stats(&w)->sessions == 0;
}

PAIR_UNUSED static void until_done(uint64_t ns) {
    world_until(&w, all_done, NULL, ns);
}

#endif
