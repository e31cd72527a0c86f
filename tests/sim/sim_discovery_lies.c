/* Relays that take announcements and do not serve, and peers that say what is not theirs to say:
 * nodes end where they are served, remember who failed, and lose nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery_tools.h"

#include "peer/codes.h"
#include "peer/control.h"
#include "peer/control_stream.h"
#include "quic/internal.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* ---- relays that lie ---- */

#define CHOICES 512

typedef struct choice {
    uint64_t at;
    uint32_t what;
    int32_t code;
    size_t node;
    size_t relay;
} choice;

typedef struct lies {
    world w;
    choice choices[CHOICES];
    size_t n;
    int dies[WORLD_RELAYS]; /* 1: as soon as it is chosen */
    int bad[WORLD_RELAYS];  /* never to be in a record */
} lies;

/* Takes every packet, and forwards none. */
static size_t swallow(void *user, void *ptr, const atl_rx *rx) {
    (void)user;
    (void)ptr;
    return rx->len;
}

static int32_t refuse_connect(void *user, uint32_t what, const char *peer, const char *target,
                              const char *addr) {
    (void)user;
    (void)peer;
    (void)target;
    (void)addr;
    return what == ATLAS_RELAY_ASK_CONNECT ? ATLAS_ERR_RELAY_NOT_REGISTERED : ATLAS_OK;
}

static void on_choice(void *user, sim_node *node, const atlas_autorelay_event *event) {
    lies *l = user;
    choice *c = &l->choices[l->n];
    size_t i;

    assert_true(l->n < CHOICES);
    c->at = sim_now(l->w.net);
    c->what = event->what;
    c->code = event->code;
    c->node = (size_t)(node - l->w.nodes);
    c->relay = WORLD_RELAYS;
    for (i = 0; i < l->w.plan.relays; i++) {
        if (strcmp(world_id(&l->w.relays[i]), event->relay) == 0) {
            c->relay = i;
        }
    }
    l->n++;
    if (event->what == ATLAS_AUTORELAY_FAILED) {
        assert_true(event->text[0] != '\0');
    }
    if (event->what == ATLAS_AUTORELAY_CHOSEN && c->relay < WORLD_RELAYS && l->dies[c->relay]) {
        sim_host_set_down(l->w.relays[c->relay].host, 1);
    }
}

/* No record names one that does not serve. */
static int watch_records(void *user) {
    lies *l = user;
    size_t i;
    size_t k;

    for (i = 0; i < l->w.plan.nodes; i++) {
        for (k = 0; k < l->w.plan.relays; k++) {
            assert_false(l->bad[k] && sim_node_says_relay(&l->w.nodes[i], &l->w.relays[k]));
        }
    }
    return 0;
}

static int all_served(void *user) {
    const lies *l = user;
    size_t i;

    (void)watch_records(user);
    for (i = 0; i < l->w.plan.nodes; i++) {
        if (l->w.nodes[i].found.circuits < 3 ||
            l->w.nodes[i].found.advertise != ATLAS_ADVERTISE_PUBLISHED) {
            return 0;
        }
    }
    return 1;
}

static int relay_4_replaced(void *user) {
    const lies *l = user;
    size_t i;

    for (i = 0; i < l->w.plan.nodes; i++) {
        if (sim_node_says_relay(&l->w.nodes[i], &l->w.relays[4])) {
            return 0;
        }
    }
    return all_served(user);
}

static int lies_run(lies *l, double seconds, int (*done)(void *user)) {
    return sim_run(l->w.net, sim_now(l->w.net) + (uint64_t)(seconds * 1e9), done, l);
}

static void lies_init(lies *l, const world_plan *plan, uint64_t seed) {
    size_t i;

    memset(l, 0, sizeof(*l));
    world_init(&l->w, plan, seed);
    for (i = 0; i < plan->nodes; i++) {
        l->w.nodes[i].on_choice = on_choice;
        l->w.nodes[i].choice_user = l;
    }
}

static void lie(lies *l, size_t relay, int how) {
    l->bad[relay] = 1;
    if (how == 0) {
        l->w.relays[relay].ctx->ep->hooks.on_forward = swallow;
    } else if (how == 1) {
        assert_int_equal(atlas_relay_set_policy(l->w.relays[relay].ctx, refuse_connect, NULL),
                         ATLAS_OK);
    } else {
        l->dies[relay] = 1;
    }
}

/* Whoever has failed a node is left alone by it: a minute, and longer each time. Returns how many
 * times somebody failed. */
static size_t check_rests(const lies *l, int *times_most) {
    size_t failures = 0;
    size_t i;
    size_t k;

    for (i = 0; i < l->n; i++) {
        const choice *c = &l->choices[i];
        uint64_t rest = 60 * SECOND;
        int times = 1;

        if (c->what != ATLAS_AUTORELAY_FAILED) {
            continue;
        }
        failures++;
        for (k = 0; k < i; k++) {
            const choice *before = &l->choices[k];

            if (before->what == c->what && before->node == c->node && before->relay == c->relay) {
                rest *= 2;
                times++;
            }
        }
        *times_most = times > *times_most ? times : *times_most;
        for (k = i + 1; k < l->n; k++) {
            const choice *later = &l->choices[k];

            if (later->what == ATLAS_AUTORELAY_CHOSEN && later->node == c->node &&
                later->relay == c->relay) {
                assert_true(later->at >= c->at + rest);
            }
        }
    }
    return failures;
}

/* Half of the relays lie, each in its way. */
static void test_half_lie(void **state) {
    static const world_plan PLAN = {
        .boots = 2,
        .relays = 8,
        .nodes = 4,
        .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC, SIM_NAT_CGNAT,
                SIM_NAT_ADDRESS_RESTRICTED},
        .quiet = 1,
    };
    static lies l;
    uint64_t begun;
    int times = 0;
    size_t i;

    (void)state;
    lies_init(&l, &PLAN, 61);
    for (i = 0; i < 4; i++) {
        lie(&l, i, (int)i % 3);
    }
    begun = sim_now(l.w.net);
    for (i = 0; i < PLAN.nodes; i++) {
        world_start_node(&l.w, i);
    }
    assert_true(lies_run(&l, 20, all_served));
    printf("all are served after %.2f s\n", (double)(sim_now(l.w.net) - begun) / 1e9);
    assert_in_range(sim_now(l.w.net) - begun, 1, 8 * SECOND);
    /* one that serves is gone before the minute is over in which the others are left alone */
    (void)lies_run(&l, 40, watch_records);
    sim_host_set_down(l.w.relays[4].host, 1);
    assert_true(lies_run(&l, 5, relay_4_replaced));
    (void)check_rests(&l, &times);
    sim_host_set_down(l.w.relays[4].host, 0);
    (void)lies_run(&l, 900, watch_records);
    assert_true(all_served(&l));
    i = check_rests(&l, &times);
    printf("%zu failures in 15 minutes, %zu events\n", i, l.n);
    assert_true(i >= PLAN.nodes);
    /* those that are bad are not tried again when there are others */
    assert_in_range(i, 1, 8 * PLAN.nodes);
    for (i = 0; i < PLAN.nodes; i++) {
        assert_true(world_dial(&l.w, i, (i + 1) % PLAN.nodes, NULL));
    }
    for (i = 0; i < PLAN.relays; i++) {
        sim_host_set_down(l.w.relays[i].host, 0);
    }
    world_done(&l.w);
}

/* Nobody serves: nothing is said, nobody is bothered much, and all is well as soon as they do. */
static void test_all_lie(void **state) {
    static const world_plan PLAN = {.boots = 1,
                                    .relays = 6,
                                    .nodes = 2,
                                    .nat = {SIM_NAT_PORT_RESTRICTED, SIM_NAT_SYMMETRIC},
                                    .quiet = 1};
    static lies l;
    size_t (*honest)(void *user, void *ptr, const atl_rx *rx);
    size_t failures;
    size_t before;
    size_t i;

    (void)state;
    lies_init(&l, &PLAN, 62);
    honest = l.w.relays[0].ctx->ep->hooks.on_forward;
    for (i = 0; i < PLAN.relays; i++) {
        lie(&l, i, (int)i % 2);
    }
    world_start_node(&l.w, 0);
    world_start_node(&l.w, 1);
    (void)lies_run(&l, 60, watch_records);
    before = l.n;
    (void)lies_run(&l, 600, watch_records);
    for (failures = 0, i = 0; i < l.n; i++) {
        failures += l.choices[i].what == ATLAS_AUTORELAY_FAILED;
        assert_int_not_equal(l.choices[i].what, ATLAS_AUTORELAY_SERVING);
        assert_true(l.choices[i].what != ATLAS_AUTORELAY_FAILED ||
                    l.choices[i].code == ATLAS_ERR_SELFTEST ||
                    l.choices[i].code == ATLAS_ERR_RELAY_NOT_REGISTERED);
    }
    printf("%zu failures, %zu events in the first minute, %zu in ten more\n", failures, before,
           l.n - before);
    assert_true(failures >= 2 * PLAN.relays);
    assert_in_range(l.n - before, 1, 2 * 10 * 8);
    for (i = 0; i < 2; i++) {
        assert_int_not_equal(l.w.nodes[i].found.advertise, ATLAS_ADVERTISE_PUBLISHED);
        assert_int_equal(l.w.nodes[i].found.circuits, 0);
        assert_int_equal(boot_has(&l.w.boots[0], &l.w.nodes[i]), 0);
    }
    assert_false(world_dial(&l.w, 0, 1, NULL));
    /* they come to their senses: within the longest that somebody is left alone */
    for (i = 0; i < PLAN.relays; i++) {
        l.bad[i] = 0;
        l.w.relays[i].ctx->ep->hooks.on_forward = honest;
        assert_int_equal(atlas_relay_set_policy(l.w.relays[i].ctx, NULL, NULL), ATLAS_OK);
    }
    assert_true(lies_run(&l, 120, all_served));
    assert_true(world_dial(&l.w, 0, 1, NULL));
    world_done(&l.w);
}

/* Relays that serve for a while, and then do not. */
static void test_turns_bad(void **state) {
    static const world_plan PLAN = {
        .boots = 1, .relays = 6, .nodes = 1, .nat = {SIM_NAT_SYMMETRIC}, .quiet = 1};
    static lies l;
    uint64_t turned;
    size_t turn[2];
    int times = 0;
    size_t n = 0;
    size_t i;

    (void)state;
    lies_init(&l, &PLAN, 63);
    world_start_node(&l.w, 0);
    assert_true(lies_run(&l, 10, all_served));
    for (i = 0; i < PLAN.relays && n < 2; i++) {
        if (sim_node_says_relay(&l.w.nodes[0], &l.w.relays[i])) {
            turn[n++] = i;
        }
    }
    for (i = 0; i < 2; i++) {
        lie(&l, turn[i], (int)i);
        l.bad[turn[i]] = 0;
    }
    turned = sim_now(l.w.net);
    /* the next test through each is due within 300 s or so; it needs two that fail */
    (void)lies_run(&l, 400, NULL);
    for (i = 0; i < 2; i++) {
        assert_false(sim_node_says_relay(&l.w.nodes[0], &l.w.relays[turn[i]]));
    }
    assert_true(all_served(&l));
    for (i = 0; i < l.n; i++) {
        if (l.choices[i].what == ATLAS_AUTORELAY_FAILED) {
            assert_true(l.choices[i].at > turned);
        }
    }
    /* each once, and perhaps once more when the other's place was empty */
    assert_in_range(check_rests(&l, &times), 2, 4);
    world_done(&l.w);
}

/* ---- what a peer says of itself ---- */

typedef struct told_world {
    world w;
    const atl_peers_watch *before;
    atl_peers_watch watch;
} told_world;

static int looked_at; /* records that cost a verification */
static int32_t (*look)(void *user, const atl_peer_id *peer, const uint8_t *data, size_t len);

static int32_t count_record(void *user, const atl_peer_id *peer, const uint8_t *data, size_t len) {
    looked_at++;
    return look(user, peer, data, len);
}

static void told_init(told_world *t, uint64_t seed) {
    static const world_plan PLAN = {.boots = 1, .relays = 1, .nodes = 2};

    memset(t, 0, sizeof(*t));
    world_init(&t->w, &PLAN, seed);
    assert_true(world_run(&t->w, 10, world_published));
    t->before = t->w.nodes[0].ctx->peers.watch;
    t->watch = *t->before;
    look = t->before->on_record;
    looked_at = 0;
    t->watch.on_record = count_record;
    assert_true(world_dial(&t->w, 0, 1, NULL));
    (void)world_run(&t->w, 1, NULL);
}

/* Node 1 says this on its control stream. */
static void say(told_world *t, const void *data, size_t len) {
    const atl_ctrl_record msg = {data, len};
    uint8_t buf[ATL_CTRL_RECORD_MESSAGE];
    size_t n;

    assert_int_equal(atl_ctrl_record_encode(&msg, buf, sizeof(buf), &n), ATLAS_OK);
    assert_int_equal(atl_ctx_enter(t->w.nodes[1].ctx), ATLAS_OK);
    assert_int_equal(atl_control_put(t->w.nodes[1].conn, buf, n), ATLAS_OK);
    atl_ctx_leave(t->w.nodes[1].ctx);
    sim_host_touch(t->w.nodes[1].host);
}

/* A record of node 1, made with its own key. */
static void own(told_world *t, forged *f, uint64_t seq, int64_t ago) {
    memset(f, 0, sizeof(*f));
    f->key = t->w.nodes[1].ctx->key;
    f->record.head.peer = t->w.nodes[1].ctx->self;
    f->record.head.seq = seq;
    f->record.head.lifetime = ATL_RECORD_LIFETIME;
    forge_addr(f, "/ip4/192.0.11.9/udp/40000/quic-v1");
    forge_sign(f, &t->w.nodes[1], ago);
}

static void check_talks(told_world *t) {
    t->w.nodes[0].messages = 0;
    assert_int_equal(sim_node_message(&t->w.nodes[1], "still here"), ATLAS_OK);
    sim_host_touch(t->w.nodes[1].host);
    (void)world_run(&t->w, 1, NULL);
    assert_int_equal(t->w.nodes[0].messages, 1);
}

static void test_no_record_of_his(void **state) {
    static const struct {
        const char *name;
        int32_t code;
    } ROWS[] = {
        {"another's", ATLAS_ERR_RECORD_SIGNER},
        {"the listener's own", ATLAS_ERR_RECORD_SIGNER},
        {"noise", ATLAS_ERR_MALFORMED},
        {"forged", ATLAS_ERR_SIGNATURE},
    };
    static told_world t;
    forged f;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint64_t before;

        told_init(&t, 64 + i);
        own(&t, &f, t.w.nodes[1].found.seq + 1, 0);
        before = cache_has(&t.w.nodes[0], &t.w.nodes[1]);
        if (i == 0) {
            forge(&f, 1);
            forge_sign(&f, &t.w.nodes[1], 0);
            forge_done(&f);
        } else if (i == 1) {
            assert_int_equal(atlas_record_own(t.w.nodes[0].ctx, f.data, sizeof(f.data), &f.len),
                             ATLAS_OK);
        } else if (i == 2) {
            memset(f.data, 0xff, f.len);
        } else {
            f.data[f.len - 1] ^= 1;
        }
        say(&t, f.data, f.len);
        (void)world_run(&t.w, 2, NULL);
        printf("%s: %d (%s), there %d 0x%llx\n", ROWS[i].name, (int)t.w.nodes[0].close_code,
               t.w.nodes[0].close_text, (int)t.w.nodes[1].close_code,
               (unsigned long long)t.w.nodes[1].close_app);
        assert_int_equal(t.w.nodes[0].closed, 1);
        assert_int_equal(t.w.nodes[0].close_code, ROWS[i].code);
        assert_int_equal(t.w.nodes[1].close_code, ATLAS_ERR_PEER_CLOSED);
        assert_int_equal(t.w.nodes[1].close_app, ATL_CLOSE_PROTOCOL);
        assert_int_equal(cache_has(&t.w.nodes[0], &t.w.nodes[1]), before);
        world_done(&t.w);
    }
}

/* What is old or over does no harm; a thousand true ones cost a few verifications. */
static void test_many_records(void **state) {
    static told_world t;
    uint64_t known;
    forged f;
    uint64_t i;

    (void)state;
    told_init(&t, 71);
    known = cache_has(&t.w.nodes[0], &t.w.nodes[1]);
    assert_int_equal(known, t.w.nodes[1].found.seq);
    own(&t, &f, known - 1, 0);
    say(&t, f.data, f.len);
    own(&t, &f, known + 1, ATL_RECORD_LIFETIME + 400);
    say(&t, f.data, f.len);
    own(&t, &f, known + 2, -400);
    say(&t, f.data, f.len);
    (void)world_run(&t.w, 10, NULL);
    assert_int_equal(cache_has(&t.w.nodes[0], &t.w.nodes[1]), known);
    check_talks(&t);
    t.w.nodes[0].ctx->peers.watch = &t.watch;
    for (i = 0; i < 1000; i++) {
        own(&t, &f, known + 10 + i, 0);
        say(&t, f.data, f.len);
        if (i % 50 == 49) {
            (void)world_run(&t.w, 0.05, NULL);
        }
    }
    (void)world_run(&t.w, 2, NULL);
    printf("%d of 1,000 were looked at\n", looked_at);
    assert_in_range(looked_at, 1, 16 + 4 * 3); /* 16 at once and 4 a second, for 3 s */
    check_talks(&t);
    t.w.nodes[0].ctx->peers.watch = t.before;
    assert_int_equal(t.w.nodes[0].closed, 0);
    world_done(&t.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_lie),     cmocka_unit_test(test_all_lie),
        cmocka_unit_test(test_turns_bad),    cmocka_unit_test(test_no_record_of_his),
        cmocka_unit_test(test_many_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
