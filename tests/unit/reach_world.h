/* A node that asks servers for dial-backs, behind a NAT, on virtual time: everything around
 * discovery/reach.h. Servers are given as text, one letter each:
 *
 *   h  honest, with one address         n  says it has sent, and sends nothing
 *   H  honest, with two                 y  says it has sent, and sends from where it was asked
 *   s  never answers                    S  answers after 2 s
 *   g  answers nonsense                 c  answers with the wrong number of results
 *   r  cannot be asked                  e  fails at once
 *   x  says the address is not ours     f  says it could not send
 */
#ifndef ATL_TESTS_UNIT_REACH_WORLD_H
#define ATL_TESTS_UNIT_REACH_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "discovery/reach.h"
#include "testenv.h"

#define SERVERS_MAX 40
#define PACKETS_MAX 1024
#define EVENTS_MAX 128
#define MET_MAX 128

#define NAT_NONE 0
#define NAT_CONE 1      /* translates, filters nothing */
#define NAT_ADDRESS 2   /* lets in addresses that were written to */
#define NAT_PORT 3      /* addresses and ports */
#define NAT_SYMMETRIC 4 /* and another mapping towards each */

typedef struct reach_server {
    char kind;
    atl_addr addr;
    atl_addr second;
    uint64_t rtt;
    size_t asked;
} reach_server;

/* An answer, or a datagram, on its way. */
typedef struct reach_packet {
    int used;
    struct reach_world *world;
    atl_timer timer;
    int is_reply;
    void (*done)(void *, int32_t, const uint8_t *, size_t, const char *);
    void *done_user;
    int32_t code;
    size_t len;
    uint8_t data[256];
    atl_addr from;
    atl_addr to;
    size_t server;
} reach_packet;

typedef struct reach_event {
    uint64_t at; /* nanoseconds since the start */
    uint8_t family;
    uint32_t verdict;
    int changed;
} reach_event;

typedef struct reach_world {
    testenv t;
    atl_loop loop;
    uint64_t start;
    int nat;
    uint8_t family;
    atl_addr own; /* as the outside sees it */
    size_t n_candidates;
    atl_addr candidates[16];
    size_t n_servers;
    reach_server servers[SERVERS_MAX];
    size_t n_met;
    atl_addr met[MET_MAX]; /* written to, as the NAT knows it */
    const char *named; /* a digit for each server: 1, the application has named it; NULL: none */
    int reports[SERVERS_MAX][2]; /* of rounds: it has not answered, it has */
    const char *has_met;         /* an IP address that the owner says it has met */
    int loses;                   /* the first that many datagrams are lost */
    size_t asks, cancels;
    size_t last_candidates; /* of the last request */
    size_t last_len;
    uint8_t last_nonce[ATL_DIALBACK_NONCE];
    reach_packet packets[PACKETS_MAX];
    size_t n_events;
    reach_event events[EVENTS_MAX];
    int free_on_event;
    int again_on_event;
    atl_reach *reach;
} reach_world;

static inline atl_addr reach_addr(const char *text) {
    atl_addr out;

    assert_int_equal(atl_addr_parse(text, &out), ATLAS_OK);
    return out;
}

static inline int reach_same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* ---- the NAT ---- */

/* What a server sees of the node. */
static inline atl_addr reach_observed(const reach_world *w, size_t server) {
    atl_addr out = w->own;

    out.port = (uint16_t)(w->nat == NAT_SYMMETRIC ? 41000 + server : w->own.port);
    return out;
}

static inline int reach_admits(const reach_world *w, const reach_packet *p) {
    size_t i;

    if (!reach_same_ip(&p->to, &w->own)) {
        return 0;
    }
    if (w->nat == NAT_NONE || w->nat == NAT_CONE) {
        return w->nat == NAT_NONE || p->to.port == w->own.port;
    }
    for (i = 0; i < w->n_met; i++) {
        if (reach_same_ip(&w->met[i], &p->from) &&
            (w->nat == NAT_ADDRESS || w->met[i].port == p->from.port)) {
            return 1;
        }
    }
    return 0;
}

static inline void reach_meet(reach_world *w, const atl_addr *addr) {
    assert_true(w->n_met < MET_MAX);
    w->met[w->n_met++] = *addr;
}

/* ---- on the way ---- */

static inline int reach_deliver_raw(reach_world *w, const atl_addr *from, const void *data,
                                    size_t len) {
    uint8_t copy[512];
    atl_rx rx;

    memset(&rx, 0, sizeof(rx));
    memcpy(copy, data, len);
    rx.data = copy;
    rx.len = len;
    rx.segment = len;
    rx.remote = *from;
    rx.local = w->own;
    return atl_reach_on_stun(w->reach, &rx);
}

static inline void reach_arrive(atl_timer *timer, uint64_t now) {
    reach_packet *p = timer->user;
    reach_world *w = p->world;

    (void)now;
    p->used = 0;
    if (w->reach == NULL) {
        return;
    }
    if (p->is_reply) {
        p->done(p->done_user, p->code, p->data, p->len, "");
    } else if (w->loses > 0) {
        w->loses--;
    } else if (reach_admits(w, p)) {
        (void)reach_deliver_raw(w, &p->from, p->data, p->len);
    }
}

static inline reach_packet *reach_packet_new(reach_world *w, uint64_t delay) {
    size_t i;

    for (i = 0; i < PACKETS_MAX && w->packets[i].used; i++) {
    }
    assert_true(i < PACKETS_MAX);
    memset(&w->packets[i], 0, sizeof(w->packets[i]));
    w->packets[i].used = 1;
    w->packets[i].world = w;
    atl_timer_init(&w->packets[i].timer, reach_arrive, &w->packets[i]);
    atl_timer_set(&w->loop, &w->packets[i].timer, w->loop.now + delay);
    return &w->packets[i];
}

/* ---- servers ---- */

static inline void reach_dial(reach_world *w, const atl_dialback_request *msg, size_t c,
                              const atl_addr *from, uint8_t says, uint64_t delay) {
    static const uint64_t repeats[] = {0, 200 * ATL_MS, 600 * ATL_MS};
    size_t i;

    for (i = 0; i < 3; i++) {
        reach_packet *p = reach_packet_new(w, delay + repeats[i]);

        p->from = *from;
        p->to = msg->candidates[c];
        assert_int_equal(atl_dialback_datagram_encode(msg->nonce, (uint8_t)c, says, p->data,
                                                      sizeof(p->data), &p->len),
                         ATLAS_OK);
    }
}

/* What it does for one candidate; its result. */
static inline uint8_t reach_serve_one(reach_world *w, const reach_server *s,
                                      const atl_dialback_request *msg, size_t c, uint64_t delay) {
    atl_addr other_port = s->addr;

    other_port.port = 50123;
    if (s->kind == 'n') {
        return s->second.family != 0 ? ATL_DIALBACK_ADDRESS : ATL_DIALBACK_PORT;
    }
    if (s->kind == 'x' || !reach_same_ip(&msg->candidates[c], &w->own)) {
        return ATL_DIALBACK_NOT_YOURS;
    }
    if (s->kind == 'y') {
        reach_dial(w, msg, c, &s->addr, ATL_DIALBACK_FROM_ADDRESS, delay);
        return ATL_DIALBACK_ADDRESS;
    }
    if (s->kind == 'f') {
        return ATL_DIALBACK_FAILED;
    }
    reach_dial(w, msg, c, &other_port, ATL_DIALBACK_FROM_PORT, delay);
    if (s->second.family != 0) {
        reach_dial(w, msg, c, &s->second, ATL_DIALBACK_FROM_ADDRESS, delay);
        return ATL_DIALBACK_ADDRESS;
    }
    return ATL_DIALBACK_PORT;
}

static inline void reach_reply(reach_world *w, const reach_server *s,
                               const atl_dialback_request *msg, reach_packet *p) {
    atl_dialback_reply reply;
    size_t i;

    memset(&reply, 0, sizeof(reply));
    reply.observed = reach_observed(w, p->server);
    reply.n_results = msg->n_candidates;
    for (i = 0; i < msg->n_candidates; i++) {
        reply.results[i] = reach_serve_one(w, s, msg, i, 3 * s->rtt);
    }
    if (s->kind == 'c') {
        reply.n_results = msg->n_candidates > 0 ? msg->n_candidates - 1 : 1;
    }
    assert_int_equal(atl_dialback_reply_encode(&reply, p->data, sizeof(p->data), &p->len),
                     ATLAS_OK);
    if (s->kind == 'g') {
        memset(p->data, 0xee, p->len);
    }
}

/* Two round trips for a connection, one for the answer. */
static inline int32_t reach_ask(void *user, const atl_reach_server *server, const uint8_t *body,
                                size_t len, uint64_t timeout,
                                void (*done)(void *, int32_t, const uint8_t *, size_t,
                                             const char *),
                                void *done_user, void **request) {
    reach_world *w = user;
    reach_server *s = server->handle;
    atl_dialback_request msg;
    reach_packet *p;

    w->asks++;
    s->asked++;
    assert_true(timeout <= 1500 * ATL_MS);
    assert_int_equal(server->addr.family, s->addr.family);
    assert_int_equal(atl_dialback_request_decode(body, len, &msg), ATLAS_OK);
    assert_true(len >= msg.n_candidates * ATL_DIALBACK_PRICE);
    w->last_candidates = msg.n_candidates;
    w->last_len = len;
    memcpy(w->last_nonce, msg.nonce, sizeof(msg.nonce));
    if (s->kind == 'r') {
        return ATLAS_ERR_LIMIT;
    }
    reach_meet(w, &s->addr);
    p = reach_packet_new(w, s->kind == 's'   ? 3600 * ATL_SECOND
                            : s->kind == 'S' ? 2 * ATL_SECOND
                                             : 3 * s->rtt);
    p->is_reply = 1;
    p->done = done;
    p->done_user = done_user;
    p->server = (size_t)(s - w->servers);
    *request = p;
    if (s->kind == 'e') {
        p->code = ATLAS_ERR_RATE_LIMITED;
    } else if (s->kind != 's') {
        reach_reply(w, s, &msg, p);
    }
    return ATLAS_OK;
}

static inline void reach_cancel(void *user, void *request) {
    reach_world *w = user;
    reach_packet *p = request;

    assert_true(p->used && p->is_reply);
    w->cancels++;
    atl_timer_clear(&w->loop, &p->timer);
    p->used = 0;
}

/* ---- the owner ---- */

static inline size_t reach_servers(void *user, atl_reach_server *out, size_t cap) {
    reach_world *w = user;
    size_t i;

    for (i = 0; i < w->n_servers && i < cap; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        memset(out[i].peer.key, (int)i + 1, sizeof(out[i].peer.key));
        out[i].addr = w->servers[i].addr;
        out[i].handle = &w->servers[i];
        out[i].named = w->named != NULL && w->named[i] == '1';
    }
    return i;
}

static inline size_t reach_candidates(void *user, uint8_t family, atl_addr *out, size_t cap) {
    reach_world *w = user;
    size_t n = 0;
    size_t i;

    for (i = 0; i < w->n_candidates && n < cap; i++) {
        if (w->candidates[i].family == family) {
            out[n++] = w->candidates[i];
        }
    }
    return n;
}

static inline int reach_has_met(void *user, const atl_addr *ip) {
    const reach_world *w = user;
    char text[ATLAS_ADDR_MAX];

    atl_addr_ip_text(ip, text);
    return w->has_met != NULL && strcmp(text, w->has_met) == 0;
}

static inline void reach_on_server(void *user, const atl_reach_server *server, int answered) {
    reach_world *w = user;

    w->reports[(reach_server *)server->handle - w->servers][answered]++;
}

static inline void reach_on_verdict(void *user, uint8_t family, int changed) {
    reach_world *w = user;
    reach_event *e = &w->events[w->n_events++];

    assert_true(w->n_events <= EVENTS_MAX);
    e->at = w->loop.now - w->start;
    e->family = family;
    e->verdict = atl_reach_verdict(w->reach, family);
    e->changed = changed;
    if (w->again_on_event) {
        w->again_on_event = 0;
        atl_reach_again(w->reach, 0);
    }
    if (w->free_on_event) {
        atl_reach_free(w->reach);
        w->reach = NULL;
    }
}

/* ---- the world ---- */

/* Servers in networks of their own unless changed afterwards. */
static inline void reach_set_servers(reach_world *w, const char *kinds) {
    size_t i;

    w->n_servers = strlen(kinds);
    assert_true(w->n_servers <= SERVERS_MAX);
    memset(w->servers, 0, sizeof(w->servers));
    for (i = 0; i < w->n_servers; i++) {
        reach_server *s = &w->servers[i];

        s->kind = kinds[i];
        s->rtt = 50 * ATL_MS;
        s->addr = reach_addr(w->family == 4 ? "198.18.0.1:443" : "[2001:db8:100::1]:443");
        s->addr.ip[w->family == 4 ? 2 : 5] = (uint8_t)(i + 1);
        if (s->kind == 'H') {
            s->second = s->addr;
            s->second.ip[w->family == 4 ? 3 : 15] = 2;
            s->second.port = 444;
        }
    }
}

static inline void reach_world_config(reach_world *w, atl_reach_config *config) {
    memset(config, 0, sizeof(*config));
    config->loop = &w->loop;
    config->user = w;
    config->servers = reach_servers;
    config->candidates = reach_candidates;
    config->ask = reach_ask;
    config->cancel = reach_cancel;
    config->has_met = reach_has_met;
    config->on_server = reach_on_server;
    config->on_verdict = reach_on_verdict;
}

static inline void reach_world_init(reach_world *w, uint8_t family, int nat, const char *kinds) {
    atl_reach_config config;

    memset(w, 0, sizeof(*w));
    testenv_init(&w->t);
    atl_loop_init(&w->loop, &w->t.env);
    w->start = atl_loop_update(&w->loop);
    w->nat = nat;
    w->family = family;
    w->own = reach_addr(family == 4 ? "203.0.113.7:4001" : "[2001:db8:7::7]:4001");
    w->n_candidates = 1;
    w->candidates[0] = w->own;
    reach_set_servers(w, kinds);
    reach_world_config(w, &config);
    assert_int_equal(atl_reach_new(&config, &w->reach), ATLAS_OK);
}

static inline void reach_world_done(reach_world *w) {
    size_t i;

    atl_reach_free(w->reach);
    w->reach = NULL;
    for (i = 0; i < PACKETS_MAX; i++) {
        assert_false(w->packets[i].used && w->packets[i].is_reply); /* each was cancelled */
        if (w->packets[i].used) {
            atl_timer_clear(&w->loop, &w->packets[i].timer);
        }
    }
    assert_true(w->loop.timers == NULL);
    assert_true(atl_list_empty(&w->loop.work));
    testenv_done(&w->t);
}

static inline void reach_turn(reach_world *w) {
    (void)atl_loop_update(&w->loop);
    (void)atl_loop_run_timers(&w->loop, 1000);
    (void)atl_loop_run_work(&w->loop, 1000);
}

/* On to that time since the start. */
static inline void reach_until(reach_world *w, uint64_t at) {
    uint64_t end = w->start + at;

    while (atl_loop_deadline(&w->loop) <= end) {
        uint64_t next = atl_loop_deadline(&w->loop);

        w->t.now = next > w->t.now ? next : w->t.now;
        reach_turn(w);
    }
    w->t.now = end > w->t.now ? end : w->t.now;
    reach_turn(w);
}

static inline uint32_t reach_verdict(const reach_world *w) {
    return atl_reach_verdict(w->reach, w->family);
}

#endif
