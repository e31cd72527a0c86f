/* A round: what is asked, what servers tell in passing, and what strangers send. */
#include "reach_world.h"

#define PUBLIC ATLAS_REACH_PUBLIC
#define PRIVATE ATLAS_REACH_PRIVATE
#define UNKNOWN ATLAS_REACH_UNKNOWN

static size_t evidence(reach_world *w, atl_reach_evidence out[ATL_REACH_CANDIDATES * 15]) {
    return atl_reach_evidence_of(w->reach, w->family, out, (size_t)ATL_REACH_CANDIDATES * 15);
}

static void begin(reach_world *w) {
    atl_reach_run(w->reach, 1);
    reach_until(w, 10 * ATL_MS);
    assert_true(atl_reach_busy(w->reach));
}

/* ---- datagrams ---- */

static int deliver(reach_world *w, const char *from, const uint8_t *nonce, uint8_t index) {
    uint8_t data[ATL_DIALBACK_DATAGRAM];
    atl_addr source = reach_addr(from);
    size_t len;

    assert_int_equal(atl_dialback_datagram_encode(nonce, index, ATL_DIALBACK_FROM_ADDRESS, data,
                                                  sizeof(data), &len),
                     ATLAS_OK);
    return reach_deliver_raw(w, &source, data, len);
}

/* What a datagram to the last of three servers is worth; they are at 198.18.1.1, .2.1 and .3.1. */
static void sources(void **state) {
    static const struct {
        const char *from;
        const char *met;
        int ours;
        uint32_t result;
    } rows[] = {
        {"192.0.2.50:9", NULL, 1, PUBLIC},          {"198.18.3.2:9", NULL, 1, PUBLIC},
        {"198.18.3.1:443", NULL, 1, UNKNOWN}, /* it was asked there */
        {"198.18.1.1:443", NULL, 1, UNKNOWN}, /* another was asked there */
        {"198.18.3.1:9", NULL, 1, UNKNOWN},   /* a port: until it has said what else it does */
        {"192.0.2.50:9", "192.0.2.50", 1, UNKNOWN}, /* met before: no more than a port */
        {"198.18.2.1:9", NULL, 1, UNKNOWN},         /* as good as met */
        {"192.0.2.50:0", NULL, 1, UNKNOWN},         {"[2001:db8::9]:9", NULL, 1, UNKNOWN},
    };
    static reach_world w;
    atl_reach_evidence all[ATL_REACH_CANDIDATES * 15];
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        reach_world_init(&w, 4, NAT_NONE, "sss");
        begin(&w);
        w.has_met = rows[i].met;
        assert_int_equal(deliver(&w, rows[i].from, w.last_nonce, 0), rows[i].ours);
        assert_int_equal(evidence(&w, all), 3);
        assert_int_equal(all[2].result, rows[i].result);
        assert_int_equal(all[0].result, UNKNOWN);
        assert_int_equal(all[1].result, UNKNOWN);
        /* one server is no majority, however often it says so */
        (void)deliver(&w, rows[i].from, w.last_nonce, 0);
        (void)deliver(&w, "192.0.2.51:9", w.last_nonce, 0);
        reach_until(&w, 10 * ATL_SECOND);
        assert_int_equal(reach_verdict(&w), UNKNOWN);
        /* and the round is over */
        assert_int_equal(deliver(&w, "192.0.2.50:9", w.last_nonce, 0), 0);
        reach_world_done(&w);
    }
}

static void not_ours(void **state) {
    static reach_world w;
    atl_reach_evidence all[ATL_REACH_CANDIDATES * 15];
    uint8_t data[ATL_DIALBACK_DATAGRAM];
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t old[ATL_DIALBACK_NONCE];
    atl_addr from = reach_addr("192.0.2.50:9");
    atl_rx rx;
    size_t len;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "s");
    memset(nonce, 0, sizeof(nonce));
    assert_int_equal(deliver(&w, "192.0.2.50:9", nonce, 0), 0); /* before it runs */
    begin(&w);
    assert_int_equal(deliver(&w, "192.0.2.50:9", nonce, 0), 0);
    for (i = 0; i < sizeof(nonce) * 8; i++) {
        memcpy(nonce, w.last_nonce, sizeof(nonce));
        nonce[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(deliver(&w, "192.0.2.50:9", nonce, 0), 0);
    }
    /* ours by its nonce, of a candidate that there is not */
    assert_int_equal(deliver(&w, "192.0.2.50:9", w.last_nonce, 1), 1);
    assert_int_equal(deliver(&w, "192.0.2.50:9", w.last_nonce, 7), 1);
    /* cut, changed, and the error of one */
    assert_int_equal(atl_dialback_datagram_encode(w.last_nonce, 0, 1, data, sizeof(data), &len),
                     ATLAS_OK);
    for (i = 0; i < len; i++) {
        assert_int_equal(reach_deliver_raw(&w, &from, data, i), 0);
        data[i] ^= 1;
        assert_int_equal(reach_deliver_raw(&w, &from, data, len), 0);
        data[i] ^= 1;
    }
    memset(&rx, 0, sizeof(rx));
    rx.remote = from;
    rx.error = ATLAS_ERR_REFUSED;
    assert_int_equal(atl_reach_on_stun(w.reach, &rx), 0);
    assert_int_equal(evidence(&w, all), 1);
    assert_int_equal(all[0].result, UNKNOWN);
    assert_int_equal(all[0].code, ATLAS_ERR_AGAIN);
    assert_int_equal(all[0].source.family, 0);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), UNKNOWN);
    /* the nonce of the round before */
    memcpy(old, w.last_nonce, sizeof(old));
    atl_reach_again(w.reach, 0);
    reach_until(&w, 5 * ATL_SECOND + 10 * ATL_MS);
    assert_true(atl_reach_busy(w.reach));
    assert_int_equal(deliver(&w, "192.0.2.50:9", old, 0), 0);
    assert_int_equal(deliver(&w, "192.0.2.50:9", w.last_nonce, 0), 1);
    assert_int_equal(reach_verdict(&w), PUBLIC); /* the only server there is */
    reach_world_done(&w);
}

/* Half a round trip after the request, before any answer. */
static void before_the_answers(void **state) {
    static reach_world w;
    uint8_t first[ATL_DIALBACK_NONCE];

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "sss");
    begin(&w);
    memcpy(first, w.last_nonce, sizeof(first));
    assert_int_equal(deliver(&w, "198.18.3.2:444", first, 0), 1);
    assert_int_equal(reach_verdict(&w), UNKNOWN);
    reach_world_done(&w);

    reach_world_init(&w, 4, NAT_NONE, "HH");
    w.servers[0].rtt = 40 * ATL_MS;
    w.servers[1].rtt = 60 * ATL_MS;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 179 * ATL_MS);
    assert_int_equal(reach_verdict(&w), UNKNOWN);
    reach_until(&w, 181 * ATL_MS);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* ---- what is asked ---- */

static void candidates(void **state) {
    static const char *const given[] = {"203.0.113.7:4001", "198.51.100.3:4001", "203.0.113.7:4001",
                                        "[2001:db8:7::7]:4001", "203.0.113.7:0"};
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];
    atl_reach_evidence all[ATL_REACH_CANDIDATES * 15];
    atl_addr second = reach_addr("198.18.1.2:444");
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "Hns");
    w.n_candidates = ATL_COUNT(given);
    for (i = 0; i < ATL_COUNT(given); i++) {
        w.candidates[i] = reach_addr(given[i]);
    }
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, ATL_COUNT(found)), 0);
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    /* of this family, each once, with a port */
    assert_int_equal(w.last_candidates, 2);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, ATL_COUNT(found)), 2);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 1), 1);
    assert_int_equal(atl_reach_candidates(w.reach, 6, found, ATL_COUNT(found)), 0);
    assert_true(atl_addr_equal(&found[0].addr, &w.candidates[0]));
    assert_int_equal(found[0].yes, 1);
    assert_int_equal(found[0].no, 1);
    assert_int_equal(found[0].verdict, UNKNOWN);
    assert_true(atl_addr_equal(&found[1].addr, &w.candidates[1]));
    assert_int_equal(found[1].yes, 0);
    assert_int_equal(found[1].no, 1);

    assert_int_equal(evidence(&w, all), 6);
    assert_int_equal(atl_reach_evidence_of(w.reach, 4, all, 4), 4);
    assert_int_equal(evidence(&w, all), 6);
    assert_true(all[0].server.handle == &w.servers[0]);
    assert_true(atl_addr_equal(&all[0].candidate, &w.candidates[0]));
    assert_true(atl_addr_equal(&all[0].source, &second));
    assert_int_equal(all[0].result, PUBLIC);
    assert_int_equal(all[0].code, ATLAS_OK);
    assert_int_equal(all[0].asked_from, ATL_DIALBACK_ADDRESS);
    assert_true(all[1].server.handle == &w.servers[1]);
    assert_int_equal(all[1].result, PRIVATE);
    assert_int_equal(all[1].asked_from, ATL_DIALBACK_PORT);
    assert_int_equal(all[1].source.family, 0);
    assert_int_equal(all[2].code, ATLAS_ERR_TIMEOUT);
    assert_int_equal(all[2].result, UNKNOWN);
    assert_true(atl_addr_equal(&all[3].candidate, &w.candidates[1]));
    assert_int_equal(all[3].asked_from, ATL_DIALBACK_NOT_YOURS);
    assert_int_equal(all[3].result, UNKNOWN);
    reach_world_done(&w);
}

/* Why a server was of no use. */
static void reasons(void **state) {
    static const struct {
        const char *server;
        int32_t code;
    } rows[] = {
        {"s", ATLAS_ERR_TIMEOUT}, {"g", ATLAS_ERR_BOOTSTRAP},    {"c", ATLAS_ERR_BOOTSTRAP},
        {"r", ATLAS_ERR_LIMIT},   {"e", ATLAS_ERR_RATE_LIMITED}, {"f", ATLAS_OK},
        {"S", ATLAS_ERR_TIMEOUT},
    };
    static reach_world w;
    atl_reach_evidence all[ATL_REACH_CANDIDATES * 15];
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        reach_world_init(&w, 6, NAT_PORT, rows[i].server);
        atl_reach_run(w.reach, 1);
        reach_until(&w, 5 * ATL_SECOND);
        assert_int_equal(evidence(&w, all), 1);
        assert_int_equal(all[0].code, rows[i].code);
        assert_int_equal(all[0].result, UNKNOWN);
        assert_int_equal(reach_verdict(&w), UNKNOWN);
        reach_world_done(&w);
    }
    /* no random numbers, no question */
    reach_world_init(&w, 6, NAT_PORT, "hhh");
    w.t.fail_random = 1;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(w.asks, 0);
    assert_int_equal(evidence(&w, all), 3);
    assert_int_equal(all[0].code, ATLAS_ERR_RANDOM);
    reach_world_done(&w);
}

/* More of everything than there is room for; nobody is asked twice for having two names. */
static void bounds(void **state) {
    static reach_world w;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_PORT, "ssssssssssssssssssssssssssssssssssssssss");
    w.n_candidates = 16;
    for (i = 0; i < 16; i++) {
        w.candidates[i] = w.own;
        w.candidates[i].port = (uint16_t)(5000 + i);
    }
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(w.last_candidates, ATL_REACH_CANDIDATES);
    assert_int_equal(w.asks, 15);
    assert_int_equal(w.cancels, 15);
    reach_world_done(&w);

    reach_world_init(&w, 4, NAT_PORT, "hhhhh");
    for (i = 1; i < 5; i++) {
        w.servers[i].addr = w.servers[0].addr;
    }
    atl_reach_run(w.reach, 1);
    reach_until(&w, 10 * ATL_SECOND);
    assert_int_equal(w.asks, 1);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    reach_world_done(&w);
}

/* ---- addresses that servers have observed ---- */

/* Without candidates, servers are asked what they see, and then for that. */
static void observed(void **state) {
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];

    (void)state;
    reach_world_init(&w, 4, NAT_CONE, "hhh");
    w.n_candidates = 0;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 100 * ATL_MS);
    assert_int_equal(w.asks, 3);
    assert_int_equal(w.last_candidates, 0);
    reach_until(&w, 200 * ATL_MS);
    assert_int_equal(w.asks, 6);
    assert_int_equal(w.last_candidates, 1);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 0); /* not tried yet */
    reach_until(&w, 400 * ATL_MS);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 1);
    assert_true(atl_addr_equal(&found[0].addr, &w.own));
    assert_int_equal(found[0].verdict, PUBLIC);
    /* next time at once */
    atl_reach_again(w.reach, 0);
    reach_until(&w, 4 * ATL_SECOND);
    assert_int_equal(w.asks, 9);
    assert_int_equal(w.last_candidates, 1);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    atl_reach_again(w.reach, 0);
    reach_until(&w, 8 * ATL_SECOND);
    assert_int_equal(w.asks, 12);
    reach_world_done(&w);
}

/* What was to be tried is of the past, and no server sees it. */
static void stale_candidates(void **state) {
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhhs");
    w.candidates[0] = reach_addr("203.0.113.99:4001");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 3 * ATL_SECOND);
    assert_int_equal(w.last_candidates, 2);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 2);
    assert_true(atl_addr_equal(&found[0].addr, &w.own));
    assert_int_equal(found[0].verdict, PUBLIC);
    assert_int_equal(found[1].verdict, UNKNOWN);
    reach_world_done(&w);
}

/* A server in the same private network sees an address that no stranger can write to. */
static void observed_in_private(void **state) {
    static const char *const rows[] = {"192.168.1.7:4001", "127.0.0.1:4001", "169.254.1.1:4001",
                                       "100.64.0.9:4001",  "0.0.0.0:4001",   "224.0.0.1:4001"};
    static reach_world w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        reach_world_init(&w, 4, NAT_NONE, "hhh");
        w.n_candidates = 0;
        w.own = reach_addr(rows[i]);
        atl_reach_run(w.reach, 1);
        reach_until(&w, 10 * ATL_SECOND);
        assert_int_equal(w.asks, 3);
        assert_int_equal(w.n_events, 1);
        assert_int_equal(reach_verdict(&w), UNKNOWN);
        reach_world_done(&w);
    }
}

/* An answer that comes twice, or after its time, is the owner's mistake and does no harm. */
static void late_answers(void **state) {
    static reach_world w;
    void (*done)(void *, int32_t, const uint8_t *, size_t, const char *) = NULL;
    void *user = NULL;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_PORT, "hhh");
    begin(&w);
    for (i = 0; i < PACKETS_MAX && !w.packets[i].is_reply; i++) {
    }
    done = w.packets[i].done;
    user = w.packets[i].done_user;
    reach_until(&w, 200 * ATL_MS);
    done(user, ATLAS_ERR_IO, NULL, 0, "");
    done(user, ATLAS_OK, w.last_nonce, 3, "");
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    done(user, ATLAS_OK, w.last_nonce, 3, "");
    assert_int_equal(w.n_events, 1);
    reach_world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources),
        cmocka_unit_test(not_ours),
        cmocka_unit_test(before_the_answers),
        cmocka_unit_test(candidates),
        cmocka_unit_test(reasons),
        cmocka_unit_test(bounds),
        cmocka_unit_test(observed),
        cmocka_unit_test(stale_candidates),
        cmocka_unit_test(observed_in_private),
        cmocka_unit_test(late_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
