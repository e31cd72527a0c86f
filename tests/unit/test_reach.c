/* The verdict: servers of every kind, NATs of every kind, and how long it takes. */
#include "reach_world.h"

#define PUBLIC ATLAS_REACH_PUBLIC
#define PRIVATE ATLAS_REACH_PRIVATE
#define UNKNOWN ATLAS_REACH_UNKNOWN

typedef struct row {
    const char *servers;
    int nat;
    uint32_t verdict;
    uint32_t within; /* milliseconds from the start to the first event */
    int no_candidates;
} row;

/* 50 ms of round-trip time, nobody connected yet: an answer takes 150 ms. */
static const row rows[] = {
    /* reachable */
    {"HHHHH", NAT_NONE, PUBLIC, 160, 0},
    {"hhhhh", NAT_NONE, PUBLIC, 160, 0},
    {"HHHHH", NAT_CONE, PUBLIC, 160, 0},
    {"HHHHHHHHHH", NAT_CONE, PUBLIC, 160, 0},
    {"HHH", NAT_NONE, PUBLIC, 160, 0},
    {"hh", NAT_CONE, PUBLIC, 160, 0},
    {"h", NAT_CONE, PUBLIC, 160, 0}, /* the only one there is */
    {"HHHHH", NAT_NONE, PUBLIC, 500, 1},
    {"hh", NAT_CONE, PUBLIC, 500, 1},
    {"h", NAT_CONE, PUBLIC, 500, 1},
    /* not reachable */
    {"HHHHH", NAT_PORT, PRIVATE, 2000, 0},
    {"hhhhh", NAT_PORT, PRIVATE, 2000, 0},
    {"HhHhHhHhHh", NAT_PORT, PRIVATE, 2000, 0},
    {"hhh", NAT_PORT, PRIVATE, 2000, 0},
    {"hh", NAT_PORT, PRIVATE, 2000, 0},
    {"h", NAT_PORT, PRIVATE, 2000, 0},
    {"HHHHH", NAT_PORT, PRIVATE, 2000, 1},
    {"HHHHH", NAT_SYMMETRIC, PRIVATE, 2000, 0},
    {"hhhhh", NAT_SYMMETRIC, PRIVATE, 2000, 0},
    {"HHHHH", NAT_SYMMETRIC, PRIVATE, 2000, 1},
    {"hhh", NAT_SYMMETRIC, PRIVATE, 2000, 1},
    /* an address-restricted NAT, for which a second address is needed */
    {"HHHHH", NAT_ADDRESS, PRIVATE, 2000, 0},
    {"HHhH", NAT_ADDRESS, PRIVATE, 2000, 0},
    {"HHHHH", NAT_ADDRESS, PRIVATE, 2000, 1},
    {"HHHhh", NAT_ADDRESS, PRIVATE, 2000, 0},
    {"hhhhh", NAT_ADDRESS, PUBLIC, 160, 0}, /* the limit: it looks like a full cone */
    /* servers that are of no use */
    {"sHHHH", NAT_NONE, PUBLIC, 160, 0},
    {"ssshh", NAT_NONE, PUBLIC, 700, 0},
    {"sssHH", NAT_NONE, PUBLIC, 160, 0},
    {"sssssHHHHH", NAT_NONE, PUBLIC, 1000, 0},
    {"SSSSSHHHHH", NAT_NONE, PUBLIC, 1000, 0},
    {"ggggghh", NAT_NONE, PUBLIC, 700, 0},
    {"ccccchh", NAT_NONE, PUBLIC, 700, 0},
    {"eeeeehh", NAT_NONE, PUBLIC, 700, 0},
    {"rrrrrhh", NAT_NONE, PUBLIC, 200, 0},
    {"xxxHH", NAT_NONE, PUBLIC, 200, 0},
    {"fffHH", NAT_NONE, PUBLIC, 200, 0},
    {"shhhh", NAT_PORT, PRIVATE, 2000, 0},
    {"sshhh", NAT_PORT, PRIVATE, 2000, 0},
    {"ssshh", NAT_PORT, PRIVATE, 2000, 0},
    {"ssssshhhhh", NAT_PORT, PRIVATE, 2800, 0},
    {"sssssssssshhhhh", NAT_PORT, PRIVATE, 2800, 0},
    {"ssssshhhhh", NAT_PORT, PRIVATE, 2800, 1},
    {"SSSSSHHHHH", NAT_PORT, PRIVATE, 2800, 0},
    {"ggggghhhhh", NAT_PORT, PRIVATE, 2800, 0},
    {"eeeeehhhhh", NAT_PORT, PRIVATE, 2800, 0},
    {"rrrrrhhhhh", NAT_PORT, PRIVATE, 2000, 0},
    {"xffhh", NAT_PORT, PRIVATE, 2000, 0},
    {"xxxhh", NAT_PORT, PRIVATE, 2000, 1},
    /* liars: one alone turns nothing, two agree against one */
    {"HHn", NAT_NONE, PUBLIC, 1200, 0},
    {"nhh", NAT_NONE, PUBLIC, 2000, 0},
    {"nHHHH", NAT_NONE, PUBLIC, 200, 0},
    {"nnhhh", NAT_NONE, PUBLIC, 2000, 0},
    {"yhh", NAT_PORT, PRIVATE, 2000, 0},
    {"yyhhh", NAT_PORT, PRIVATE, 2000, 0},
    {"yyyyy", NAT_PORT, PRIVATE, 2000, 0},
    {"yyHHH", NAT_ADDRESS, PRIVATE, 2000, 0},
    {"nnH", NAT_NONE, PRIVATE, 2000, 0},
    {"n", NAT_NONE, PRIVATE, 2000, 0}, /* there is nobody else to ask */
    /* no majority */
    {"nh", NAT_NONE, UNKNOWN, 2000, 0},
    {"nnhh", NAT_NONE, UNKNOWN, 2000, 0},
    {"sh", NAT_NONE, UNKNOWN, 2000, 0},
    {"sh", NAT_PORT, UNKNOWN, 2000, 0},
    {"ssssh", NAT_PORT, UNKNOWN, 2000, 0},
    {"sssss", NAT_NONE, UNKNOWN, 2000, 0},
    {"s", NAT_NONE, UNKNOWN, 2000, 0},
    {"ggg", NAT_NONE, UNKNOWN, 2000, 0},
    {"rrr", NAT_NONE, UNKNOWN, 2000, 0},
    {"xxxxx", NAT_NONE, UNKNOWN, 2000, 0},
    {"fffff", NAT_NONE, UNKNOWN, 2000, 0},
};

static void run_row(const row *r, uint8_t family, int together) {
    static reach_world w;
    size_t i;

    reach_world_init(&w, family, r->nat, r->servers);
    for (i = 0; together && i < w.n_servers; i++) {
        /* all in one network: they count all the same, since there are no others */
        reach_server *s = &w.servers[i];

        s->addr.ip[family == 4 ? 2 : 5] = 1;
        s->addr.ip[family == 4 ? 3 : 15] = (uint8_t)(i + 1);
        if (s->second.family != 0) {
            s->second = s->addr;
            s->second.ip[family == 4 ? 3 : 15] = (uint8_t)(i + 101);
            s->second.port = 444;
        }
    }
    if (r->no_candidates) {
        w.n_candidates = 0;
    }
    atl_reach_run(w.reach, 1);
    /* where nobody has answered the next round is near */
    reach_until(&w, r->verdict == UNKNOWN ? 3400 * ATL_MS : 20 * ATL_SECOND);
    if (w.n_events == 0 || reach_verdict(&w) != r->verdict || w.events[0].verdict != r->verdict ||
        w.events[0].at > r->within * ATL_MS) {
        print_error("%s behind %d%s, IPv%d: verdict %u, first %u after %u ms\n", r->servers, r->nat,
                    r->no_candidates ? " without candidates" : "", family,
                    (unsigned)reach_verdict(&w), (unsigned)w.events[0].verdict,
                    (unsigned)(w.events[0].at / ATL_MS));
        fail();
    }
    /* the round has ended, and said so once more if it was not then that the verdict came */
    assert_false(atl_reach_busy(w.reach));
    assert_in_range(w.n_events, 1, 2);
    assert_int_equal(w.events[0].changed, r->verdict != UNKNOWN);
    assert_int_equal(w.events[w.n_events - 1].verdict, r->verdict);
    assert_int_equal(w.events[0].family, family);
    /* the other family has nobody to ask: nothing is said of it */
    assert_int_equal(atl_reach_verdict(w.reach, family == 4 ? 6 : 4), UNKNOWN);
    reach_world_done(&w);
}

static void scenarios(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        run_row(&rows[i], 4, 0);
        run_row(&rows[i], 6, 0);
        run_row(&rows[i], 4, 1);
        run_row(&rows[i], 6, 1);
    }
}

/* The repetitions are there for this. */
static void loss(void **state) {
    static reach_world w;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhhhh");
    w.loses = 10; /* the first two times of all */
    atl_reach_run(w.reach, 1);
    reach_until(&w, 700 * ATL_MS);
    assert_int_equal(w.n_events, 0);
    reach_until(&w, 760 * ATL_MS);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* The servers are asked in the owner's order, at most so many; one of each network where there are
 * three networks or more, and it has one voice. */
static void networks(void **state) {
    static const struct {
        const char *servers;
        const char *networks; /* a letter each */
        int nat;
        uint32_t verdict;
        const char *asked; /* how often each */
    } cases[] = {
        {"hhhhhhh", "abcdefg", NAT_NONE, PUBLIC, "1111100"},
        {"nnnnnhh", "aaaaabc", NAT_NONE, PUBLIC, "1000011"},
        {"nnnnnhhh", "aaaaabcd", NAT_NONE, PUBLIC, "10000111"},
        {"yyhyh", "aabac", NAT_PORT, PRIVATE, "10101"},
        {"shhh", "aabc", NAT_PORT, PRIVATE, "1011"}, /* two agree: enough */
        /* in place of silent ones others of their networks */
        {"sshhh", "abcab", NAT_PORT, PRIVATE, "11111"},
        /* two networks only: each counts, those of the other network first */
        {"hhhhhh", "aaaaab", NAT_PORT, PRIVATE, "111101"},
        {"nnhhh", "aabbb", NAT_NONE, PUBLIC, "11111"},
    };
    static reach_world w;
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < ATL_COUNT(cases); i++) {
        reach_world_init(&w, 4, cases[i].nat, cases[i].servers);
        for (k = 0; k < w.n_servers; k++) {
            w.servers[k].addr.ip[2] = (uint8_t)cases[i].networks[k];
            w.servers[k].addr.ip[3] = (uint8_t)(k + 1);
        }
        atl_reach_run(w.reach, 1);
        reach_until(&w, 10 * ATL_SECOND);
        assert_int_equal(reach_verdict(&w), cases[i].verdict);
        for (k = 0; k < w.n_servers; k++) {
            if (w.servers[k].asked != (size_t)(cases[i].asked[k] - '0')) {
                print_error("case %zu: server %zu was asked %zu times\n", i, k, w.servers[k].asked);
                fail();
            }
        }
        reach_world_done(&w);
    }
}

/* ---- when ---- */

/* The times at which rounds of that world end, from now until `until`; at most 16. For worlds in
 * which the verdict comes with the end. */
static size_t ends(reach_world *w, uint64_t until, uint64_t out[16]) {
    size_t before = w->n_events;
    size_t n = 0;

    reach_until(w, until);
    while (before + n < w->n_events && n < 16) {
        out[n] = w->events[before + n].at;
        n++;
    }
    return n;
}

/* 30 s, doubled up to 30 minutes, an eighth more or less. */
static void intervals(void **state) {
    static const uint64_t seconds[] = {30, 60, 120, 240, 480, 960, 1800, 1800, 1800};
    static reach_world w;
    uint64_t at[16];
    uint64_t last;
    size_t differ = 0;
    size_t n;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhhhh");
    atl_reach_run(w.reach, 1);
    n = ends(&w, 8500 * ATL_SECOND, at);
    assert_true(n >= 10);
    last = at[0];
    for (i = 0; i < ATL_COUNT(seconds); i++) {
        uint64_t want = seconds[i] * ATL_SECOND;
        uint64_t got = at[i + 1] - last;

        assert_in_range(got, want - want / 8, want + want / 8 + ATL_SECOND);
        differ += got < want - ATL_SECOND || got > want + ATL_SECOND;
        last = at[i + 1];
    }
    assert_true(differ > 3); /* not all nodes at once */
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* As long as nothing is known and nobody answers: 4 s, doubled up to 30 s, after the 3 s of each
 * round; what is known is not doubted so soon. */
static void silence(void **state) {
    static const uint64_t seconds[] = {4, 8, 16, 30, 30, 30};
    static reach_world w;
    uint64_t at[16];
    size_t n;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "sss");
    atl_reach_run(w.reach, 1);
    n = ends(&w, 180 * ATL_SECOND, at);
    assert_true(n > ATL_COUNT(seconds));
    for (i = 0; i < ATL_COUNT(seconds); i++) {
        uint64_t want = seconds[i] * ATL_SECOND;

        assert_in_range(at[i + 1] - at[i], want - want / 8, want + want / 8 + 4 * ATL_SECOND);
    }
    reach_set_servers(&w, "hhh");
    reach_until(&w, 220 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_set_servers(&w, "sss");
    n = ends(&w, 400 * ATL_SECOND, at);
    assert_in_range(n, 1, 4); /* after 30, 60 and 120 s */
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* Wanted again and again, rounds begin two seconds apart. */
static void again(void **state) {
    static reach_world w;
    uint64_t at[16];
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_PORT, "hhh");
    atl_reach_again(w.reach, 0); /* not before it runs */
    reach_until(&w, ATL_SECOND);
    assert_int_equal(w.asks, 0);
    atl_reach_run(w.reach, 1);
    atl_reach_run(w.reach, 1);
    for (i = 0; i < 100; i++) {
        reach_until(&w, ATL_SECOND + i * 100 * ATL_MS);
        atl_reach_again(w.reach, 0);
    }
    /* begun at 1, 3, 5, 7, 9 s, and at 11 */
    assert_int_equal(w.asks, 15);
    reach_until(&w, 20 * ATL_SECOND);
    assert_int_equal(w.asks, 18);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    /* and intervals have begun anew */
    assert_int_equal(ends(&w, 50 * ATL_SECOND, at), 1);
    assert_in_range(at[0], 12 * ATL_SECOND + 26 * ATL_SECOND, 12 * ATL_SECOND + 35 * ATL_SECOND);
    reach_world_done(&w);
}

/* From the event itself, and the end of it all there. */
static void from_the_event(void **state) {
    static reach_world w;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhh");
    w.again_on_event = 1;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 3 * ATL_SECOND);
    assert_int_equal(w.asks, 6);
    atl_reach_again(w.reach, 1);
    w.free_on_event = 1;
    reach_until(&w, 60 * ATL_SECOND);
    assert_null(w.reach);
    reach_world_done(&w);

    reach_world_init(&w, 4, NAT_NONE, "hhsss");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 300 * ATL_MS);
    assert_true(atl_reach_busy(w.reach));
    reach_world_done(&w); /* in the middle: what was asked is cancelled */
    assert_int_equal(w.cancels, 3);
}

static void stop_and_go(void **state) {
    static reach_world w;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhs");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 100 * ATL_MS);
    atl_reach_run(w.reach, 0);
    assert_false(atl_reach_busy(w.reach));
    assert_int_equal(w.cancels, 3);
    reach_until(&w, 100 * ATL_SECOND);
    assert_int_equal(w.n_events, 0);
    assert_int_equal(w.asks, 3);
    atl_reach_run(w.reach, 1);
    reach_until(&w, 102 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    atl_reach_run(w.reach, 0);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* Servers that come later: the owner says so, or they are found at the next interval. */
static void servers_come(void **state) {
    static reach_world w;

    (void)state;
    reach_world_init(&w, 6, NAT_NONE, "");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 500 * ATL_MS);
    assert_int_equal(w.n_events, 0);
    reach_set_servers(&w, "HHH");
    atl_reach_again(w.reach, 0);
    reach_until(&w, 700 * ATL_MS); /* nothing was begun, nothing to wait for */
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);

    reach_world_init(&w, 6, NAT_NONE, "");
    atl_reach_run(w.reach, 1);
    reach_until(&w, ATL_SECOND);
    reach_set_servers(&w, "HHH");
    reach_until(&w, 36 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    reach_world_done(&w);
}

/* ---- what changes a verdict ---- */

/* Rounds one after the other; 'F' in front: the network is another one. */
static void hysteresis(void **state) {
    static const struct {
        int nat;
        const char *servers;
        uint32_t verdict;
        int forget;
        int changes;
    } rounds[] = {
        {NAT_NONE, "HHHHH", PUBLIC, 0, 1},
        {NAT_NONE, "HHHHH", PUBLIC, 0, 0},
        {NAT_PORT, "hn", PRIVATE, 0, 1},
        {NAT_NONE, "hn", PRIVATE, 0, 0},    /* one against one: it stays */
        {NAT_NONE, "sssss", PRIVATE, 0, 0}, /* silence: it stays */
        {NAT_NONE, "shsss", PRIVATE, 0, 0}, /* one alone: it stays */
        {NAT_NONE, "hhsss", PUBLIC, 0, 1},
        {NAT_PORT, "hssss", PUBLIC, 0, 0},
        {NAT_PORT, "ssssn", PUBLIC, 0, 0},
        {NAT_PORT, "hhsss", PRIVATE, 0, 1},
        {NAT_NONE, "h", PUBLIC, 0, 1}, /* the only one that is known */
        {NAT_NONE, "sssss", UNKNOWN, 1, 1},
        {NAT_NONE, "sssss", UNKNOWN, 1, 0},
        {NAT_NONE, "nh", UNKNOWN, 0, 0},
        {NAT_NONE, "nhh", PUBLIC, 0, 1},
    };
    static reach_world w;
    size_t i;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "");
    atl_reach_run(w.reach, 1);
    reach_until(&w, ATL_SECOND);
    for (i = 0; i < ATL_COUNT(rounds); i++) {
        size_t changes = 0;
        size_t k;

        w.n_events = 0;
        w.n_met = 0;
        w.nat = rounds[i].nat;
        reach_set_servers(&w, rounds[i].servers);
        atl_reach_again(w.reach, rounds[i].forget);
        reach_until(&w, (i + 1) * 10 * ATL_SECOND);
        for (k = 0; k < w.n_events; k++) {
            changes += w.events[k].changed != 0;
        }
        if (reach_verdict(&w) != rounds[i].verdict || (int)changes != rounds[i].changes) {
            print_error("round %zu: verdict %u, %zu changes\n", i, (unsigned)reach_verdict(&w),
                        changes);
            fail();
        }
        assert_false(w.events[w.n_events - 1].changed && w.n_events > 1);
    }
    reach_world_done(&w);
}

/* Another network: nothing of the round under way counts any more. */
static void forget_in_the_middle(void **state) {
    static reach_world w;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "hhhhs");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 700 * ATL_MS);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_true(atl_reach_busy(w.reach));
    w.nat = NAT_PORT;
    atl_reach_again(w.reach, 1);
    assert_int_equal(reach_verdict(&w), UNKNOWN);
    assert_false(atl_reach_busy(w.reach));
    assert_int_equal(w.cancels, 1);
    reach_until(&w, 710 * ATL_MS);
    assert_int_equal(w.events[w.n_events - 1].verdict, UNKNOWN);
    assert_int_equal(w.events[w.n_events - 1].changed, 1);
    reach_until(&w, 4 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    reach_world_done(&w);
}

static void create(testenv *t, void *user) {
    static reach_world w;
    atl_reach_config config;

    (void)user;
    memset(&w, 0, sizeof(w));
    atl_loop_init(&w.loop, &t->env);
    (void)atl_loop_update(&w.loop);
    reach_world_config(&w, &config);
    if (atl_reach_new(&config, &w.reach) == ATLAS_OK) {
        atl_reach_free(w.reach);
    } else {
        assert_null(w.reach);
    }
    atl_reach_free(NULL);
}

static void memory(void **state) {
    (void)state;
    assert_int_equal(testenv_each_failure(create, NULL), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios),
        cmocka_unit_test(loss),
        cmocka_unit_test(networks),
        cmocka_unit_test(intervals),
        cmocka_unit_test(again),
        cmocka_unit_test(from_the_event),
        cmocka_unit_test(stop_and_go),
        cmocka_unit_test(servers_come),
        cmocka_unit_test(silence),
        cmocka_unit_test(hysteresis),
        cmocka_unit_test(forget_in_the_middle),
        cmocka_unit_test(memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
