/* Dial-backs: nobody is written to because somebody else has asked for it, and a server that lies
 * does not change the verdict alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include "discovery/dialback.h"
#include "relay/service.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* ---- other people's addresses ---- */

typedef struct tally {
    atl_addr asker;
    uint64_t others;  /* datagrams of dial-backs to anybody else */
    uint64_t packets; /* to the asker */
    uint64_t bytes;   /* headers of the largest kind counted */
} tally;

/* Dial-backs only: they are STUN indications of 52 bytes. */
static int tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
               size_t len) {
    tally *t = user;

    (void)from;
    if (len == ATL_DIALBACK_DATAGRAM && data[0] == 0 && data[1] == 0x11) {
        if (memcmp(to->ip, t->asker.ip, sizeof(to->ip)) == 0) {
            t->packets++;
            t->bytes += ATL_DIALBACK_COST;
        } else {
            t->others++;
        }
    }
    return 0;
}

/* A request for these addresses; an answer of so many results is expected. */
static int32_t request(asker *a, const char *const *addrs, size_t n, uint8_t fill,
                       atl_dialback_reply *out) {
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    atl_dialback_request msg;
    size_t len;
    size_t i;
    int32_t status;

    memset(&msg, 0, sizeof(msg));
    memset(msg.nonce, fill, sizeof(msg.nonce));
    msg.n_candidates = n;
    for (i = 0; i < n; i++) {
        assert_int_equal(atl_addr_parse(addrs[i], &msg.candidates[i]), ATLAS_OK);
    }
    assert_int_equal(atl_dialback_request_encode(&msg, body, sizeof(body), &len), ATLAS_OK);
    status = asker_ask(a, "POST", ATL_DIALBACK_PATH, body, len);
    if (status == 200) {
        assert_int_equal(atl_dialback_reply_decode((const uint8_t *)a->body, a->len, out),
                         ATLAS_OK);
    }
    return status;
}

static const char *const MIXED[] = {"192.0.10.9:7", "192.0.10.8:40000", "192.0.10.9:40000"};

/* As often as it likes: 10 at once and one a second are heard. */
static void ask_often(world *w, asker *a, tally *t) {
    atlas_registry_stats before;
    atlas_registry_stats after;
    atl_dialback_reply reply;
    uint64_t paid = 0;
    uint64_t refused = 0;
    size_t i;

    boot_stats(&w->boots[0], &before);
    t->bytes = 0;
    for (i = 0; i < 100; i++) {
        int32_t status = request(a, MIXED, ATL_COUNT(MIXED), 3, &reply);

        assert_true(status == 200 || status == 429);
        paid += status == 200 ? ATL_COUNT(MIXED) * (uint64_t)ATL_DIALBACK_PRICE : 0;
        refused += status == 429;
    }
    (void)world_run(w, 3, NULL);
    boot_stats(&w->boots[0], &after);
    printf("%llu of 100 refused, %llu bytes for %llu\n", (unsigned long long)refused,
           (unsigned long long)t->bytes, (unsigned long long)paid);
    assert_in_range(refused, 75, 95);
    assert_in_range(after.dialback_refused - before.dialback_refused, refused, refused + 25);
    assert_int_equal(t->others, 0);
    assert_in_range(t->bytes, 1, paid);
}

static void test_other_addresses(void **state) {
    static const world_plan PLAN = {.boots = 1, .relays = 1, .nodes = 2};
    static const char *const OTHERS[] = {
        "192.0.11.9:40000", /* the other node's */
        "192.0.200.1:53",   "203.0.100.1:4001",  "203.0.100.2:4002", "127.0.0.1:4001",
        "192.168.1.1:80",   "[2001:db8::1]:443", "192.0.10.8:40000",
    };
    atlas_registry_stats before;
    atlas_registry_stats after;
    atl_dialback_reply reply;
    tally t = {.others = 0};
    asker a;
    size_t i;
    world w;

    (void)state;
    world_init(&w, &PLAN, 81);
    assert_true(world_run(&w, 10, world_published));
    /* nobody else asks any more */
    (void)world_run(&w, 5, NULL);
    sim_host_addr(w.nodes[0].host, &t.asker);
    sim_set_tap(w.net, tap, &t);
    asker_init(&a, &w.nodes[0], &w.boots[0]);
    boot_stats(&w.boots[0], &before);
    assert_int_equal(request(&a, OTHERS, ATL_COUNT(OTHERS), 1, &reply), 200);
    assert_int_equal(reply.n_results, ATL_COUNT(OTHERS));
    for (i = 0; i < reply.n_results; i++) {
        assert_int_equal(reply.results[i], ATL_DIALBACK_NOT_YOURS);
    }
    (void)world_run(&w, 3, NULL);
    assert_int_equal(t.packets + t.others, 0);
    boot_stats(&w.boots[0], &after);
    assert_int_equal(after.dialback_refused, before.dialback_refused + ATL_COUNT(OTHERS));
    assert_int_equal(after.dialback_datagrams, before.dialback_datagrams);
    /* its own among them are tried, at any port: what that costs others is what it has paid */
    assert_int_equal(request(&a, MIXED, ATL_COUNT(MIXED), 2, &reply), 200);
    assert_int_equal(reply.results[0], ATL_DIALBACK_ADDRESS);
    assert_int_equal(reply.results[1], ATL_DIALBACK_NOT_YOURS);
    assert_int_equal(reply.results[2], ATL_DIALBACK_ADDRESS);
    (void)world_run(&w, 3, NULL);
    assert_int_equal(t.others, 0);
    assert_int_equal(t.packets, 2 * 2 * ATL_DIALBACK_REPEATS);
    assert_in_range(t.bytes, 1, ATL_COUNT(MIXED) * ATL_DIALBACK_PRICE);
    ask_often(&w, &a, &t);
    asker_done(&a);
    world_done(&w);
}

/* ---- servers that lie ---- */

#define SAYS_SENT 0   /* "sent from another address", and sends nothing */
#define SAYS_NOT 1    /* "not yours", whatever it is asked */
#define SAYS_NOISE 2  /* something else altogether */
#define SAYS_NONE 3   /* never answers */
#define SENDS_HERE 4  /* sends the nonce, from where it was asked */
#define SENDS_WRONG 5 /* sends another nonce, from another address */
#define N_LIES 6

typedef struct false_server {
    sim_node *node;
    int lie;
    int asked;
    atl_addr remote; /* the asker's */
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    size_t len;
} false_server;

static int on_request(void *user, atl_h3_stream *stream, const atl_h3_request *head,
                      const atl_requester *from, void **request_user) {
    false_server *s = user;

    (void)stream;
    if (strcmp(head->path, ATL_DIALBACK_PATH) != 0) {
        return 0;
    }
    s->asked++;
    s->remote = from->remote;
    s->len = 0;
    *request_user = s;
    return 1;
}

static void on_data(void *user, void *request_user, atl_h3_stream *stream, const uint8_t *data,
                    size_t len) {
    false_server *s = user;

    (void)request_user;
    (void)stream;
    if (len <= sizeof(s->body) - s->len) {
        memcpy(s->body + s->len, data, len);
        s->len += len;
    }
}

static void send_datagrams(false_server *s, const atl_dialback_request *msg) {
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t datagram[ATL_DIALBACK_DATAGRAM];
    size_t len;
    size_t i;

    memcpy(nonce, msg->nonce, sizeof(nonce));
    nonce[15] ^= s->lie == SENDS_WRONG;
    for (i = 0; i < msg->n_candidates; i++) {
        assert_int_equal(atl_dialback_datagram_encode(nonce, (uint8_t)i, ATL_DIALBACK_FROM_ADDRESS,
                                                      datagram, sizeof(datagram), &len),
                         ATLAS_OK);
        if (s->lie == SENDS_HERE) {
            (void)atl_endpoint_send_raw(s->node->ctx->ep, NULL, &msg->candidates[i], datagram, len);
        } else {
            (void)atl_stun_agent_send_alternate(s->node->ctx->stun, &msg->candidates[i], datagram,
                                                len);
        }
    }
}

static void on_end(void *user, void *request_user, atl_h3_stream *stream) {
    false_server *s = user;
    atl_dialback_request msg;
    atl_dialback_reply reply;
    uint8_t out[256];
    size_t len = 0;

    (void)request_user;
    if (s->lie == SAYS_NONE || atl_dialback_request_decode(s->body, s->len, &msg) != ATLAS_OK) {
        return;
    }
    if (s->lie == SAYS_NOISE) {
        memset(out, 0xee, sizeof(out));
        (void)atl_h3_respond(stream, 200, "application/octet-stream", out, sizeof(out));
        return;
    }
    if (s->lie == SENDS_HERE || s->lie == SENDS_WRONG) {
        send_datagrams(s, &msg);
    }
    memset(&reply, 0, sizeof(reply));
    reply.observed = s->remote;
    reply.n_results = msg.n_candidates;
    memset(reply.results, s->lie == SAYS_NOT ? ATL_DIALBACK_NOT_YOURS : ATL_DIALBACK_ADDRESS,
           reply.n_results);
    assert_int_equal(atl_dialback_reply_encode(&reply, out, sizeof(out), &len), ATLAS_OK);
    (void)atl_h3_respond(stream, 200, "application/octet-stream", out, len);
}

static void on_closed(void *user, void *request_user, atl_h3_stream *stream) {
    (void)user;
    (void)request_user;
    (void)stream;
}

static const atl_requests_ops LIES = {
    .on_request = on_request, .on_data = on_data, .on_end = on_end, .on_closed = on_closed};

static void lie(false_server *s, sim_node *node, int how) {
    atl_relay_server *server = node->ctx->relay_server;
    size_t i;

    memset(s, 0, sizeof(*s));
    s->node = node;
    s->lie = how;
    for (i = 0; i < server->n_parts; i++) {
        if (server->parts[i].user == node->ctx->dialback) {
            server->parts[i].ops = &LIES;
            server->parts[i].user = s;
            return;
        }
    }
    fail_msg("no service to lie for");
}

static int verdicts(void *user) {
    const world *w = user;
    size_t i;

    for (i = 0; i < w->plan.nodes; i++) {
        if (w->nodes[i].found.verdict[0] == ATLAS_REACH_UNKNOWN) {
            return 0;
        }
    }
    return 1;
}

static const uint32_t RIGHT[] = {ATLAS_REACH_PUBLIC, ATLAS_REACH_PUBLIC, ATLAS_REACH_PRIVATE,
                                 ATLAS_REACH_PRIVATE};

static void check_verdicts(const world *w) {
    size_t i;

    for (i = 0; i < ATL_COUNT(RIGHT); i++) {
        assert_int_equal(w->nodes[i].found.verdict[0], RIGHT[i]);
    }
}

/* Three servers, one of which lies: nobody is judged wrongly, at first or later. */
static void test_one_of_three(void **state) {
    static const world_plan PLAN = {
        .boots = 1,
        .relays = 2,
        .nodes = 4,
        .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE, SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC},
        .quiet = 1};
    static false_server s;
    static world w;
    int how;
    size_t i;

    (void)state;
    for (how = 0; how < N_LIES; how++) {
        uint64_t longest = 0;

        world_init(&w, &PLAN, 82 + (uint64_t)how);
        /* the bootstrap node itself in half of the cases, whom everybody asks */
        lie(&s, how % 2 == 0 ? &w.relays[0] : &w.boots[0], how);
        for (i = 0; i < PLAN.nodes; i++) {
            world_start_node(&w, i);
        }
        assert_true(world_run(&w, 3, verdicts));
        for (i = 0; i < PLAN.nodes; i++) {
            uint64_t took = w.nodes[i].found.verdict_at - w.started[i];

            longest = took > longest ? took : longest;
        }
        check_verdicts(&w);
        (void)world_run(&w, 300, NULL);
        check_verdicts(&w);
        for (i = 0; i < PLAN.nodes; i++) {
            assert_true(w.nodes[i].found.verdicts > 1);
        }
        assert_true(s.asked >= 4);
        printf("lie %d: after %.2f s at the latest, asked %d times\n", how, (double)longest / 1e9,
               s.asked);
        world_done(&w);
    }
}

/* It begins to lie when the verdict stands. */
static void test_one_turns(void **state) {
    static const world_plan PLAN = {
        .boots = 1,
        .relays = 2,
        .nodes = 4,
        .nat = {SIM_NAT_NONE, SIM_NAT_FULL_CONE, SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC}};
    static false_server s;
    static world w;
    int how;
    size_t i;

    (void)state;
    for (how = 0; how < N_LIES; how++) {
        world_init(&w, &PLAN, 92 + (uint64_t)how);
        assert_true(world_run(&w, 3, verdicts));
        lie(&s, &w.relays[1], how);
        for (i = 0; i < 20; i++) {
            (void)world_run(&w, 10, NULL);
            check_verdicts(&w);
        }
        assert_true(s.asked >= 4);
        world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_addresses),
        cmocka_unit_test(test_one_of_three),
        cmocka_unit_test(test_one_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
