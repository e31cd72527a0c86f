/* Two hosts with a punch each, NATs in front of them, and a network between: one clock, everything
 * that is sent is written down. */
#ifndef ATL_TESTS_UNIT_PUNCH_WORLD_H
#define ATL_TESTS_UNIT_PUNCH_WORLD_H

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/punch_message.h"
#include "peer/punch_pairs.h"
#include "testenv.h"

#define NAT_NONE 0
#define NAT_FULL 1    /* endpoint-independent mapping and filtering */
#define NAT_ADDRESS 2 /* filters by address */
#define NAT_PORT 3    /* filters by address and port */
#define NAT_SYMMETRIC 4
#define NAT_BLOCKED 5

#define BUDGET 20000

#define PW_FLYING 1024
#define PW_LOG 4096
#define PW_MAPPINGS 128

typedef struct pw_packet {
    uint64_t at;
    int from; /* host that sent it */
    atl_addr local;
    atl_addr src; /* after translation */
    atl_addr dst;
    size_t len;
    uint8_t data[160];
} pw_packet;

typedef struct pw_mapping {
    atl_addr inside;
    atl_addr remote;
    atl_addr outside;
} pw_mapping;

typedef struct pw pw;

typedef struct pw_host {
    pw *w;
    int index;
    int nat;
    int lan; /* hosts of the same lan reach one another without NAT; 0: no lan */
    size_t n_addrs;
    atl_addr addrs[3]; /* the first is what the system chooses */
    atl_addr outside;  /* of the NAT; port: of the first mapping */
    uint16_t next_port;
    size_t n_mappings;
    pw_mapping mappings[PW_MAPPINGS];
    atl_punch_table *table;
    atl_punch *punch;
    size_t pairs; /* on_pair calls */
    uint64_t first_pair;
    atl_punch_pair last_pair;
    size_t ended;
    atl_punch_report report;
    int32_t send_result;
    int on_pair_does; /* 1: stop, 2: free */
} pw_host;

struct pw {
    testenv t;
    atl_loop loop;
    uint64_t start;
    uint64_t delay; /* one way */
    uint64_t jitter;
    uint32_t loss; /* percent */
    uint32_t twice;
    pw_host host[2];
    size_t n_flying;
    pw_packet flying[PW_FLYING];
    size_t n_log;
    pw_packet log[PW_LOG];
};

static inline atl_addr pw_addr(const char *text) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse(text, &addr), ATLAS_OK);
    return addr;
}

static inline int pw_same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, 16) == 0;
}

/* ---- NATs ---- */

static inline pw_mapping *pw_map(pw_host *host, const atl_addr *inside, const atl_addr *remote) {
    pw_mapping *made;
    const pw_mapping *like = NULL;
    size_t i;

    for (i = 0; i < host->n_mappings; i++) {
        pw_mapping *m = &host->mappings[i];

        if (atl_addr_equal(&m->inside, inside)) {
            if (atl_addr_equal(&m->remote, remote)) {
                return m;
            }
            like = m;
        }
    }
    assert_true(host->n_mappings < PW_MAPPINGS);
    made = &host->mappings[host->n_mappings++];
    made->inside = *inside;
    made->remote = *remote;
    made->outside = host->outside;
    made->outside.port =
        like != NULL && host->nat != NAT_SYMMETRIC ? like->outside.port : host->next_port++;
    return made;
}

/* Which inside address a packet reaches; 0 when the NAT drops it. */
static inline int pw_enter(const pw_host *host, const pw_packet *packet, atl_addr *inside) {
    size_t i;

    for (i = 0; i < host->n_mappings; i++) {
        const pw_mapping *m = &host->mappings[i];

        if (atl_addr_equal(&m->outside, &packet->dst) &&
            (host->nat == NAT_FULL ||
             (host->nat == NAT_ADDRESS ? pw_same_ip(&m->remote, &packet->src)
                                       : atl_addr_equal(&m->remote, &packet->src)))) {
            *inside = m->inside;
            return 1;
        }
    }
    return 0;
}

/* ---- the network ---- */

static inline void pw_fly(pw *w, const pw_packet *packet) {
    uint64_t extra = w->jitter == 0 ? 0 : testenv_rand(&w->t) % w->jitter;

    assert_true(w->n_flying < PW_FLYING);
    w->flying[w->n_flying] = *packet;
    w->flying[w->n_flying++].at = w->loop.now + w->delay + extra;
}

static inline int32_t pw_send(void *user, const atl_addr *local, const atl_addr *remote,
                              const uint8_t *data, size_t len) {
    pw_host *host = user;
    pw *w = host->w;
    pw_host *other = &w->host[!host->index];
    pw_packet packet = {.at = w->loop.now, .from = host->index, .local = *local, .dst = *remote};
    size_t i;

    if (host->send_result != ATLAS_OK) {
        return host->send_result;
    }
    for (i = 0; i < host->n_addrs && packet.src.family == 0; i++) {
        if (host->addrs[i].family == remote->family &&
            (local->family == 0 || pw_same_ip(local, &host->addrs[i]))) {
            packet.src = host->addrs[i];
        }
    }
    assert_true(len <= sizeof(packet.data));
    packet.len = len;
    memcpy(packet.data, data, len);
    assert_true(w->n_log < PW_LOG);
    w->log[w->n_log++] = packet;
    if (packet.src.family == 0 || host->nat == NAT_BLOCKED) {
        return ATLAS_OK;
    }
    for (i = 0; host->lan != 0 && host->lan == other->lan && i < other->n_addrs; i++) {
        if (pw_same_ip(&other->addrs[i], remote)) {
            pw_fly(w, &packet);
            return ATLAS_OK;
        }
    }
    if (host->nat != NAT_NONE) {
        packet.src = pw_map(host, &packet.src, remote)->outside;
    }
    if (testenv_rand(&w->t) % 100 >= w->loss) {
        pw_fly(w, &packet);
    }
    if (testenv_rand(&w->t) % 100 < w->twice) {
        pw_fly(w, &packet);
    }
    return ATLAS_OK;
}

static inline int pw_give(pw_host *host, const atl_addr *from, const atl_addr *local,
                          const uint8_t *data, size_t len) {
    uint8_t copy[1500];
    atl_rx rx;

    assert_true(len <= sizeof(copy));
    memcpy(copy, data, len);
    memset(&rx, 0, sizeof(rx));
    rx.data = copy;
    rx.len = len;
    rx.segment = len;
    rx.remote = *from;
    rx.local = *local;
    return atl_punch_on_stun(host->table, &rx);
}

static inline void pw_arrive(pw *w, const pw_packet *packet) {
    pw_host *host = &w->host[!packet->from];
    int lan = host->lan != 0 && host->lan == w->host[packet->from].lan;
    size_t i;

    if (host->nat == NAT_BLOCKED || host->table == NULL) {
        return;
    }
    for (i = 0; i < host->n_addrs && (lan || host->nat == NAT_NONE); i++) {
        if (atl_addr_equal(&host->addrs[i], &packet->dst)) {
            (void)pw_give(host, &packet->src, &packet->dst, packet->data, packet->len);
            return;
        }
    }
    if (host->nat != NAT_NONE) {
        atl_addr inside;

        if (pw_enter(host, packet, &inside)) {
            (void)pw_give(host, &packet->src, &inside, packet->data, packet->len);
        }
    }
}

/* Until `end` after the start, from event to event. */
static inline void pw_run(pw *w, uint64_t end) {
    for (;;) {
        uint64_t next = atl_loop_deadline(&w->loop);
        pw_packet packet;
        size_t first = w->n_flying;
        size_t i;

        for (i = 0; i < w->n_flying; i++) {
            if (w->flying[i].at <= next &&
                (first == w->n_flying || w->flying[i].at < w->flying[first].at)) {
                first = i;
            }
        }
        next = first < w->n_flying ? w->flying[first].at : next;
        if (next > w->start + end) {
            break;
        }
        w->t.now = next > w->t.now ? next : w->t.now;
        (void)atl_loop_update(&w->loop);
        if (first < w->n_flying) {
            packet = w->flying[first];
            w->flying[first] = w->flying[--w->n_flying];
            pw_arrive(w, &packet);
        }
        (void)atl_loop_run_timers(&w->loop, 100);
        (void)atl_loop_run_work(&w->loop, 100);
    }
    w->t.now = w->start + end > w->t.now ? w->start + end : w->t.now;
    (void)atl_loop_update(&w->loop);
}

/* ---- the hosts ---- */

static inline void pw_on_pair(void *user, const atl_punch_pair *pair) {
    pw_host *host = user;

    if (host->pairs++ == 0) {
        host->first_pair = host->w->loop.now - host->w->start;
    }
    host->last_pair = *pair;
    if (host->on_pair_does == 1) {
        atl_punch_stop(host->punch);
    } else if (host->on_pair_does == 2) {
        atl_punch_free(host->punch);
        host->punch = NULL;
    }
}

static inline void pw_on_ended(void *user, const atl_punch_report *report) {
    pw_host *host = user;

    host->ended++;
    host->report = *report;
    assert_true(strlen(report->text) > 0 && strlen(report->text) < sizeof(report->text) - 1);
    assert_false(atl_punch_running(host->punch));
}

static const atl_punch_ops PW_OPS = {pw_on_pair, pw_on_ended};

static inline void pw_secret(uint8_t secret[ATL_PUNCH_SECRET]) {
    size_t i;

    for (i = 0; i < ATL_PUNCH_SECRET; i++) {
        secret[i] = (uint8_t)(i * 7 + 3);
    }
}

static inline pw *pw_new(void) {
    pw *w = calloc(1, sizeof(*w));
    uint8_t secret[ATL_PUNCH_SECRET];
    int i;

    assert_non_null(w);
    assert_true(sodium_init() >= 0);
    testenv_init(&w->t);
    atl_loop_init(&w->loop, &w->t.env);
    (void)atl_loop_update(&w->loop);
    w->start = w->loop.now;
    w->delay = 10 * ATL_MS;
    pw_secret(secret);
    for (i = 0; i < 2; i++) {
        pw_host *host = &w->host[i];
        atl_punch_config config = {&w->loop, pw_send, host};

        host->w = w;
        host->index = i;
        host->next_port = (uint16_t)(30000 + 1000 * i);
        assert_int_equal(atl_punch_table_new(&config, &host->table), ATLAS_OK);
        assert_int_equal(atl_punch_new(host->table, secret, i == 0, &PW_OPS, host, &host->punch),
                         ATLAS_OK);
    }
    return w;
}

static inline void pw_free(pw *w) {
    int i;

    for (i = 0; i < 2; i++) {
        atl_punch_free(w->host[i].punch);
        atl_punch_table_free(w->host[i].table);
    }
    assert_true(w->loop.timers == NULL);
    testenv_done(&w->t);
    free(w);
}

/* A host with one address, and the usual addresses of its NAT. */
static inline void pw_place(pw *w, int index, int nat, const char *addr, const char *outside) {
    pw_host *host = &w->host[index];

    host->nat = nat;
    host->addrs[host->n_addrs++] = pw_addr(addr);
    host->outside = pw_addr(outside);
}

static inline void place_nats(pw *w, int nat_a, int nat_b) {
    pw_place(w, 0, nat_a, nat_a == NAT_NONE ? "192.0.2.10:4000" : "10.0.0.1:4000", "192.0.2.1:1");
    pw_place(w, 1, nat_b, nat_b == NAT_NONE ? "198.51.100.10:5000" : "10.9.0.1:5000",
             "198.51.100.1:1");
}

/* As a STUN server at 203.0.113.1 would see it. */
static inline size_t pw_candidates(pw_host *host, atl_candidate out[4]) {
    static const uint8_t server_ip[4] = {203, 0, 113, 1};
    atl_addr server;
    size_t n;

    atl_addr_set4(&server, server_ip, 3478);
    memset(out, 0, 4 * sizeof(*out));
    for (n = 0; n < host->n_addrs; n++) {
        out[n].kind = ATLAS_CANDIDATE_HOST;
        out[n].priority = (uint32_t)(2000 - n);
        out[n].addr = host->addrs[n];
        out[n].base = host->addrs[n];
    }
    if (host->nat != NAT_NONE && host->nat != NAT_BLOCKED) {
        out[n].kind = ATLAS_CANDIDATE_SERVER_REFLEXIVE;
        out[n].priority = 100;
        out[n].addr = pw_map(host, &host->addrs[0], &server)->outside;
        out[n++].base = host->addrs[0];
    }
    return n;
}

/* Host `index` starts with what both sides would have told. */
static inline void pw_start(pw *w, int index, uint64_t budget) {
    atl_candidate own[4];
    atl_candidate peer[4];
    size_t n_own = pw_candidates(&w->host[index], own);
    size_t n_peer = pw_candidates(&w->host[!index], peer);

    assert_int_equal(
        atl_punch_start(w->host[index].punch, own, n_own, peer, n_peer, budget, 2 * w->delay),
        ATLAS_OK);
}

static inline int pw_is_request(const pw_packet *packet) {
    return packet->len > 1 && packet->data[0] == 0 && packet->data[1] == 1;
}

#endif
