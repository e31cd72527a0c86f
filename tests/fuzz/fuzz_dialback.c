/* Dial-backs. The first byte chooses: the request's body, the answer's, the datagram (what decodes
 * must encode, and decode to the same again), or a node that asks three servers while a stranger
 * sends it datagrams and the servers answer what they like. That node is not public unless a
 * datagram came with a right nonce from where nobody was asked, and each request ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "discovery/reach.h"

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

#define SERVERS 3
#define ASKS 64
#define STEPS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- messages ---- */

static void fuzz_request(const uint8_t *data, size_t size) {
    static uint8_t buf[ATL_DIALBACK_BODY_MAX];
    atl_dialback_request first;
    atl_dialback_request again;
    size_t len;

    memset(&again, 0x5a, sizeof(again));
    if (atl_dialback_request_decode(data, size, &first) == ATLAS_OK) {
        CHECK(first.n_candidates <= ATL_DIALBACK_CANDIDATES);
        CHECK(atl_dialback_request_encode(&first, buf, sizeof(buf), &len) == ATLAS_OK);
        CHECK(len >= first.n_candidates * ATL_DIALBACK_PRICE);
        CHECK(atl_dialback_request_decode(buf, len, &again) == ATLAS_OK);
        CHECK(memcmp(&first, &again, sizeof(first)) == 0);
    }
}

static void fuzz_reply(const uint8_t *data, size_t size) {
    uint8_t buf[64];
    atl_dialback_reply first;
    atl_dialback_reply again;
    size_t len;

    memset(&again, 0x5a, sizeof(again));
    if (atl_dialback_reply_decode(data, size, &first) == ATLAS_OK) {
        CHECK(first.n_results <= ATL_DIALBACK_CANDIDATES);
        CHECK(atl_dialback_reply_encode(&first, buf, sizeof(buf), &len) == ATLAS_OK);
        CHECK(atl_dialback_reply_decode(buf, len, &again) == ATLAS_OK);
        CHECK(memcmp(&first, &again, sizeof(first)) == 0);
    }
}

static void fuzz_datagram(const uint8_t *data, size_t size) {
    uint8_t nonce[2][ATL_DIALBACK_NONCE];
    uint8_t buf[ATL_DIALBACK_DATAGRAM];
    uint8_t index[2];
    uint8_t from[2];
    size_t len;

    if (atl_dialback_datagram_decode(data, size, nonce[0], &index[0], &from[0]) == ATLAS_OK) {
        CHECK(index[0] < ATL_DIALBACK_CANDIDATES);
        CHECK(atl_dialback_datagram_encode(nonce[0], index[0], from[0], buf, sizeof(buf), &len) ==
              ATLAS_OK);
        CHECK(atl_dialback_datagram_decode(buf, len, nonce[1], &index[1], &from[1]) == ATLAS_OK);
        CHECK(memcmp(nonce[0], nonce[1], sizeof(nonce[0])) == 0 && index[0] == index[1] &&
              from[0] == from[1]);
    }
}

/* ---- the node ---- */

typedef struct ask {
    int open;
    int known; /* the nonce of this one was used; kept when it is answered */
    uint8_t nonce[ATL_DIALBACK_NONCE];
    size_t n_candidates;
    void (*done)(void *, int32_t, const uint8_t *, size_t, const char *);
    void *done_user;
} ask;

typedef struct world {
    uint64_t now;
    uint64_t seed;
    atl_env env;
    atl_loop loop;
    int proven; /* a right nonce came from where nobody was asked */
    size_t n_asks;
    ask asks[ASKS];
    size_t n_candidates;
    atl_reach *reach;
} world;

static void *hook_malloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

static void *hook_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return realloc(ptr, size);
}

static void hook_free(void *user, void *ptr) {
    (void)user;
    free(ptr);
}

static uint64_t hook_now(void *user) {
    return ((world *)user)->now;
}

static int64_t hook_wall(void *user) {
    (void)user;
    return 0;
}

static int32_t hook_random(void *user, uint8_t *buf, size_t len) {
    world *w = user;
    size_t i;

    for (i = 0; i < len; i++) {
        w->seed = w->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        buf[i] = (uint8_t)(w->seed >> 56);
    }
    return 0;
}

static atl_addr address(const char *text) {
    atl_addr out;

    CHECK(atl_addr_parse(text, &out) == ATLAS_OK);
    return out;
}

static atl_addr server_address(size_t i) {
    atl_addr out = address("198.18.0.1:443");

    out.ip[2] = (uint8_t)i;
    return out;
}

static size_t on_servers(void *user, atl_reach_server *out, size_t cap) {
    size_t i;

    (void)user;
    for (i = 0; i < SERVERS && i < cap; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        out[i].peer.key[0] = (uint8_t)(i + 1);
        out[i].addr = server_address(i);
    }
    return i;
}

static size_t on_candidates(void *user, uint8_t family, atl_addr *out, size_t cap) {
    world *w = user;
    size_t i;

    for (i = 0; family == 4 && i < w->n_candidates && i < cap; i++) {
        out[i] = address("203.0.113.7:4001");
        out[i].port = (uint16_t)(out[i].port + i);
    }
    return family == 4 ? i : 0;
}

static int32_t on_ask(void *user, const atl_reach_server *server, const uint8_t *body, size_t len,
                      uint64_t timeout,
                      void (*done)(void *, int32_t, const uint8_t *, size_t, const char *),
                      void *done_user, void **request) {
    world *w = user;
    atl_dialback_request msg;
    ask *a;
    size_t i;

    (void)server;
    CHECK(timeout > 0);
    CHECK(atl_dialback_request_decode(body, len, &msg) == ATLAS_OK);
    for (i = 0; i < ASKS && w->asks[(w->n_asks + i) % ASKS].open; i++) {
    }
    CHECK(i < ASKS); /* never so many at once */
    a = &w->asks[(w->n_asks + i) % ASKS];
    w->n_asks += i + 1;
    a->open = 1;
    a->known = 1;
    a->n_candidates = msg.n_candidates;
    memcpy(a->nonce, msg.nonce, sizeof(a->nonce));
    a->done = done;
    a->done_user = done_user;
    *request = a;
    return ATLAS_OK;
}

static void on_cancel(void *user, void *request) {
    ask *a = request;

    (void)user;
    CHECK(a->open);
    a->open = 0;
}

static void on_server(void *user, const atl_reach_server *server, int answered) {
    (void)user;
    (void)server;
    (void)answered;
}

static int on_has_met(void *user, const atl_addr *ip) {
    (void)user;
    return ip->ip[0] == 10;
}

static void on_verdict(void *user, uint8_t family, int changed) {
    (void)user;
    (void)family;
    (void)changed;
}

static void pass_time(world *w, uint64_t ns) {
    w->now += ns;
    (void)atl_loop_update(&w->loop);
    (void)atl_loop_run_timers(&w->loop, 100);
    (void)atl_loop_run_work(&w->loop, 100);
}

/* ---- steps ---- */

/* Where a datagram may come from; the first are where servers are asked. */
static atl_addr source(uint8_t which) {
    static const char *const others[] = {"198.18.0.1:9",    "198.18.1.2:9", "192.0.2.9:9",
                                         "10.0.0.1:9",      "192.0.2.9:0",  "[2001:db8::1]:9",
                                         "198.18.2.1:50000"};
    size_t i = which % (SERVERS + sizeof(others) / sizeof(others[0]));

    return i < SERVERS ? server_address(i) : address(others[i - SERVERS]);
}

static void receive(world *w, const atl_addr *from, const uint8_t *data, size_t len) {
    uint8_t *copy = malloc(len + 1);
    atl_rx rx;

    CHECK(copy != NULL);
    memcpy(copy, data, len);
    memset(&rx, 0, sizeof(rx));
    rx.data = copy;
    rx.len = len;
    rx.segment = len;
    rx.remote = *from;
    rx.local = address("203.0.113.7:4001");
    (void)atl_reach_on_stun(w->reach, &rx);
    free(copy);
}

/* One of ours, with a bit changed or not. */
static void forge(world *w, uint8_t which, uint8_t from, uint8_t change) {
    const ask *a = &w->asks[which % ASKS];
    uint8_t data[ATL_DIALBACK_DATAGRAM];
    atl_addr remote = source(from);
    size_t len;

    CHECK(atl_dialback_datagram_encode(a->nonce, change % 8, (uint8_t)(1 + change / 8 % 2), data,
                                       sizeof(data), &len) == ATLAS_OK);
    if (change >= 128) {
        data[change % sizeof(data)] ^= (uint8_t)(1u << change % 8);
    } else if (a->known && from % 10 >= SERVERS && from % 10 < SERVERS + 7) {
        w->proven = 1;
    }
    receive(w, &remote, data, len);
}

static void answer(world *w, uint8_t which, uint8_t kind, atl_reader *reader) {
    ask *a = &w->asks[which % ASKS];
    atl_dialback_reply reply;
    uint8_t body[64];
    size_t len = reader->left < 40 ? reader->left : 40;
    size_t i;

    if (!a->open) {
        return;
    }
    a->open = 0;
    memset(&reply, 0, sizeof(reply));
    reply.observed = address(kind % 2 == 0 ? "203.0.113.7:4001" : "203.0.113.8:1");
    reply.n_results = a->n_candidates;
    for (i = 0; i < a->n_candidates; i++) {
        reply.results[i] = (uint8_t)((kind / 2 + i) % 4);
    }
    if (kind < 192) {
        CHECK(atl_dialback_reply_encode(&reply, body, sizeof(body), &len) == ATLAS_OK);
        a->done(a->done_user, ATLAS_OK, body, len, "");
    } else if (kind < 240) {
        memcpy(body, reader->data, len);
        (void)atl_read_skip(reader, len);
        a->done(a->done_user, ATLAS_OK, body, len, "");
    } else {
        a->done(a->done_user, ATLAS_ERR_HTTP, NULL, 0, "");
    }
}

static void step(world *w, uint8_t op, uint8_t a, uint8_t b, atl_reader *reader) {
    atl_addr from = source(b);
    size_t len = a < reader->left ? a : reader->left;

    switch (op % 6) {
    case 0:
        pass_time(w, (uint64_t)(1 + a) * (b % 16 == 0 ? 1000 : 5) * ATL_MS);
        break;
    case 1:
        forge(w, a, b, op / 6 < 30 ? (uint8_t)(op / 6) : 128 | a);
        break;
    case 2:
        answer(w, a, b, reader);
        break;
    case 3:
        receive(w, &from, reader->data, len);
        (void)atl_read_skip(reader, len);
        break;
    case 4:
        w->n_candidates = a % 9;
        atl_reach_again(w->reach, b % 8 == 0);
        break;
    default:
        atl_reach_run(w->reach, b % 8 != 0);
        break;
    }
}

static void world_init(world *w) {
    atl_reach_config config;
    atlas_hooks hooks;

    memset(w, 0, sizeof(*w));
    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    hooks.user = w;
    hooks.now = hook_now;
    hooks.wall = hook_wall;
    hooks.malloc = hook_malloc;
    hooks.realloc = hook_realloc;
    hooks.free = hook_free;
    hooks.random = hook_random;
    w->now = ATL_SECOND;
    w->n_candidates = 1;
    atl_env_init(&w->env, &hooks);
    atl_loop_init(&w->loop, &w->env);
    (void)atl_loop_update(&w->loop);
    memset(&config, 0, sizeof(config));
    config.loop = &w->loop;
    config.user = w;
    config.servers = on_servers;
    config.candidates = on_candidates;
    config.ask = on_ask;
    config.cancel = on_cancel;
    config.has_met = on_has_met;
    config.on_server = on_server;
    config.on_verdict = on_verdict;
    CHECK(atl_reach_new(&config, &w->reach) == ATLAS_OK);
    atl_reach_run(w->reach, 1);
    pass_time(w, ATL_MS);
}

static void fuzz_node(const uint8_t *data, size_t size) {
    static world w;
    atl_reach_evidence evidence[8];
    atl_reach_candidate candidates[ATL_REACH_CANDIDATES];
    atl_reader reader;
    uint8_t op;
    uint8_t a;
    uint8_t b;
    size_t i;
    int steps = 0;

    world_init(&w);
    atl_reader_init(&reader, data, size);
    while (steps++ < STEPS && atl_read_u8(&reader, &op) == ATLAS_OK &&
           atl_read_u8(&reader, &a) == ATLAS_OK && atl_read_u8(&reader, &b) == ATLAS_OK) {
        step(&w, op, a, b, &reader);
        CHECK(w.proven || atl_reach_verdict(w.reach, 4) != ATLAS_REACH_PUBLIC);
        CHECK(atl_reach_verdict(w.reach, 6) == ATLAS_REACH_UNKNOWN);
        CHECK(atl_reach_evidence_of(w.reach, 4, evidence, 8) <= 8);
        CHECK(atl_reach_candidates(w.reach, 4, candidates, ATL_REACH_CANDIDATES) <=
              ATL_REACH_CANDIDATES);
    }
    /* left alone, every round ends */
    atl_reach_run(w.reach, 1);
    for (steps = 0; steps < 100 && (steps == 0 || atl_reach_busy(w.reach)); steps++) {
        pass_time(&w, 100 * ATL_MS);
    }
    CHECK(!atl_reach_busy(w.reach));
    for (i = 0; i < ASKS; i++) {
        CHECK(!w.asks[i].open);
    }
    atl_reach_free(w.reach);
    CHECK(w.loop.timers == NULL && atl_list_empty(&w.loop.work));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        fuzz_request(data + 1, size - 1);
        break;
    case 1:
        fuzz_reply(data + 1, size - 1);
        break;
    case 2:
        fuzz_datagram(data + 1, size - 1);
        break;
    default:
        fuzz_node(data + 1, size - 1);
        break;
    }
    return 0;
}
