/* What one server's findings are worth, and when a majority is one. */
#include "discovery/reach_impl.h"
#include "reach_world.h"

#define PUBLIC ATLAS_REACH_PUBLIC
#define PRIVATE ATLAS_REACH_PRIVATE
#define UNKNOWN ATLAS_REACH_UNKNOWN

#define PORT ATL_REACH_GOT_PORT
#define MET ATL_REACH_GOT_MET
#define ADDRESS ATL_REACH_GOT_ADDRESS

/* One server, one candidate: its state, what it said, what came. */
static void votes(void **state) {
    static const struct {
        uint8_t state;
        uint8_t said;
        uint8_t got;
        uint32_t early; /* the vote before its time is over; UNKNOWN and open: 9 */
        uint32_t late;
    } rows[] = {
        {ATL_REACH_REPLIED, ATL_DIALBACK_PORT, 0, 9, PRIVATE},
        {ATL_REACH_REPLIED, ATL_DIALBACK_PORT, PORT, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_PORT, MET, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_PORT, ADDRESS, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_ADDRESS, 0, 9, PRIVATE},
        {ATL_REACH_REPLIED, ATL_DIALBACK_ADDRESS, PORT, 9, PRIVATE}, /* filters addresses */
        {ATL_REACH_REPLIED, ATL_DIALBACK_ADDRESS, MET, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_ADDRESS, PORT | MET, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_ADDRESS, ADDRESS, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_NOT_YOURS, 0, UNKNOWN, UNKNOWN},
        {ATL_REACH_REPLIED, ATL_DIALBACK_NOT_YOURS, ADDRESS, PUBLIC, PUBLIC},
        {ATL_REACH_REPLIED, ATL_DIALBACK_FAILED, 0, UNKNOWN, UNKNOWN},
        {ATL_REACH_REPLIED, ATL_DIALBACK_FAILED, PORT, PUBLIC, PUBLIC},
        {ATL_REACH_ASKED, 0, 0, 9, 9},
        {ATL_REACH_ASKED, 0, PORT, 9, 9},
        {ATL_REACH_ASKED, 0, ADDRESS, PUBLIC, PUBLIC},
        {ATL_REACH_USELESS, 0, 0, UNKNOWN, UNKNOWN},
        {ATL_REACH_USELESS, 0, PORT | MET, UNKNOWN, UNKNOWN},
        {ATL_REACH_USELESS, 0, ADDRESS, PUBLIC, PUBLIC},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        static atl_reach_ask ask;
        int open = 7;

        memset(&ask, 0, sizeof(ask));
        ask.state = rows[i].state;
        ask.decided_at = 1000;
        ask.got[2] = rows[i].got;
        ask.reply.results[2] = rows[i].said;
        ask.reply.n_results = 3;
        assert_int_equal(atl_reach_vote(&ask, 2, 999, &open), rows[i].early % 9);
        assert_int_equal(open, rows[i].early == 9);
        assert_int_equal(atl_reach_vote(&ask, 2, 1000, &open), rows[i].late % 9);
        assert_int_equal(open, rows[i].late == 9);
    }
}

/* Two that prove it from addresses never met need not wait for the others; had they been met, two
 * would be as good as the three that say no. */
static void met_before(void **state) {
    static reach_world w;
    size_t met;
    size_t i;

    (void)state;
    for (met = 0; met < 2; met++) {
        reach_world_init(&w, 4, NAT_NONE, "HHnnn");
        for (i = 0; i < 2; i++) {
            w.servers[i].second = reach_addr(i == 0 ? "192.0.2.50:444" : "192.0.2.50:445");
        }
        w.has_met = met ? "192.0.2.50" : NULL;
        atl_reach_run(w.reach, 1);
        reach_until(&w, 200 * ATL_MS);
        assert_int_equal(reach_verdict(&w), met ? UNKNOWN : PUBLIC);
        reach_until(&w, 5 * ATL_SECOND);
        assert_int_equal(reach_verdict(&w), PRIVATE); /* the majority, in the end */
        reach_world_done(&w);
    }
}

/* The family's verdict is that of the best candidate. */
static void candidates(void **state) {
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];

    (void)state;
    /* one of a mapping that is open, one of none */
    reach_world_init(&w, 4, NAT_CONE, "HHH");
    w.n_candidates = 2;
    w.candidates[0].port = 9999;
    w.candidates[1] = w.own;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 2);
    assert_int_equal(found[0].verdict, PRIVATE);
    assert_int_equal(found[0].no, 3);
    assert_int_equal(found[1].verdict, PUBLIC);
    assert_int_equal(found[1].yes, 3);
    /* the owner names it no more, but two servers have seen it */
    w.n_candidates = 1;
    atl_reach_again(w.reach, 0);
    reach_until(&w, 10 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 2);
    assert_true(atl_addr_equal(&found[0].addr, &w.own));
    /* the mapping is another one: the good one is gone */
    w.own.port = 4002;
    w.nat = NAT_PORT;
    w.n_met = 0;
    atl_reach_again(w.reach, 0);
    reach_until(&w, 20 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    reach_world_done(&w);

    /* one address that no server sees does not keep the other from being judged */
    reach_world_init(&w, 4, NAT_PORT, "HHH");
    w.n_candidates = 2;
    w.candidates[1] = reach_addr("198.51.100.77:4001");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    reach_world_done(&w);

    /* one that servers disagree on may be public in truth: the other's no is not all */
    reach_world_init(&w, 4, NAT_CONE, "Hn");
    w.n_candidates = 2;
    w.candidates[1] = w.own;
    w.candidates[1].port = 9999;
    atl_reach_run(w.reach, 1);
    reach_until(&w, 5 * ATL_SECOND);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 2);
    assert_int_equal(found[1].verdict, PRIVATE);
    assert_int_equal(found[0].verdict, UNKNOWN);
    assert_int_equal(reach_verdict(&w), UNKNOWN);
    reach_world_done(&w);
}

/* A candidate's own verdict outlives a round that says nothing of it. */
static void kept(void **state) {
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];

    (void)state;
    reach_world_init(&w, 6, NAT_NONE, "HHH");
    atl_reach_run(w.reach, 1);
    reach_until(&w, 3 * ATL_SECOND);
    reach_set_servers(&w, "sss");
    atl_reach_again(w.reach, 0);
    reach_until(&w, 10 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 6, found, 8), 1);
    assert_int_equal(found[0].verdict, PUBLIC);
    assert_int_equal(found[0].yes, 0);
    atl_reach_again(w.reach, 1); /* the other family's network */
    assert_int_equal(atl_reach_candidates(w.reach, 6, found, 8), 1);
    atl_reach_again(w.reach, 2);
    assert_int_equal(atl_reach_candidates(w.reach, 6, found, 8), 0);
    reach_until(&w, 20 * ATL_SECOND);
    assert_int_equal(atl_reach_candidates(w.reach, 6, found, 8), 1);
    assert_int_equal(found[0].verdict, UNKNOWN);
    reach_world_done(&w);
}

/* One that the application has named is believed alone, where nothing is known and no other has
 * found anything, within three seconds less what comes before a round; and in no other case. */
static void named_alone(void **state) {
    static const struct {
        const char *servers;
        const char *named;
        int nat;
        uint32_t verdict;
        int no_candidates;
    } rows[] = {
        {"hs", "10", NAT_NONE, PUBLIC, 0},
        {"hs", "10", NAT_PORT, PRIVATE, 0},
        {"Hs", "10", NAT_ADDRESS, PRIVATE, 1},
        {"hs", "10", NAT_CONE, PUBLIC, 1},
        {"sh", "01", NAT_PORT, PRIVATE, 1},
        {"hsssssssssssssssssssssssssssssss", "10000000000000000000000000000000", NAT_PORT, PRIVATE,
         0},
        {"hsssssssssssssssssssssssssssssss", "10000000000000000000000000000000", NAT_PORT, PRIVATE,
         1},
        {"hsssssssssssssssssssssssssssssss", "10000000000000000000000000000000", NAT_NONE, PUBLIC,
         1},
        {"hxfgce", "100000", NAT_PORT, PRIVATE, 0}, /* they answer, and find nothing */
        {"hs", "11", NAT_PORT, PRIVATE, 0},
        /* not the word of a stranger, nor when another contradicts or two named ones do */
        {"hs", "00", NAT_NONE, UNKNOWN, 0},
        {"hs", "01", NAT_NONE, UNKNOWN, 0},
        {"hn", "10", NAT_NONE, UNKNOWN, 0},
        {"hnn", "100", NAT_NONE, PRIVATE, 0},
        {"hn", "11", NAT_NONE, UNKNOWN, 0},
    };
    static reach_world w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        reach_world_init(&w, 4, rows[i].nat, rows[i].servers);
        w.named = rows[i].named;
        w.n_candidates = rows[i].no_candidates ? 0 : 1;
        atl_reach_run(w.reach, 1);
        reach_until(&w, 2300 * ATL_MS);
        if (reach_verdict(&w) != rows[i].verdict) {
            print_error("%s, %s: %u\n", rows[i].servers, rows[i].named,
                        (unsigned)reach_verdict(&w));
            fail();
        }
        reach_until(&w, 20 * ATL_SECOND);
        assert_int_equal(reach_verdict(&w), rows[i].verdict); /* and so it stays */
        reach_world_done(&w);
    }
}

/* Servers with one address see nothing of a NAT that filters by address: one that has two and that
 * the application has named, or two others, are believed before any number of them. */
static void filters(void **state) {
    static const struct {
        const char *servers;
        const char *named;
        int nat;
        uint32_t verdict;
    } rows[] = {
        {"Hhhhh", "10000", NAT_ADDRESS, PRIVATE}, {"hhhhH", "00001", NAT_ADDRESS, PRIVATE},
        {"HHhhh", "00000", NAT_ADDRESS, PRIVATE}, {"HHhhh", "11111", NAT_ADDRESS, PRIVATE},
        {"HHhhh", "00100", NAT_ADDRESS, PRIVATE}, {"Hhhhh", "10000", NAT_CONE, PUBLIC},
        {"Hhhhh", "10000", NAT_NONE, PUBLIC},     {"Hhhhh", "10000", NAT_PORT, PRIVATE},
        {"hhhhh", "11111", NAT_ADDRESS, PUBLIC}, /* nobody can tell */
        {"Hhhhh", "01000", NAT_ADDRESS, PUBLIC}, /* one stranger is not believed */
    };
    static reach_world w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        size_t k;

        reach_world_init(&w, 4, rows[i].nat, rows[i].servers);
        w.named = rows[i].named;
        atl_reach_run(w.reach, 1);
        reach_until(&w, 2300 * ATL_MS);
        if (reach_verdict(&w) != rows[i].verdict) {
            print_error("%s, %s: %u\n", rows[i].servers, rows[i].named,
                        (unsigned)reach_verdict(&w));
            fail();
        }
        for (k = 0; k < w.n_events; k++) { /* and nothing else was said before */
            assert_true(w.events[k].verdict == rows[i].verdict);
        }
        reach_world_done(&w);
    }
}

/* What came from addresses never met is proof, whatever a server with two addresses missed. */
static void filters_but_proven(void **state) {
    static reach_world w;
    static atl_reach_round r;
    size_t strong;

    (void)state;
    reach_world_init(&w, 4, NAT_NONE, "h");
    for (strong = 0; strong < 2; strong++) {
        atl_reach_votes v;
        size_t i;

        memset(&r, 0, sizeof(r));
        r.reach = w.reach;
        r.n_known = r.n_asks = 3;
        for (i = 0; i < 3; i++) {
            r.asks[i].known = (uint8_t)i;
            r.asks[i].state = ATL_REACH_REPLIED;
            r.asks[i].reply.results[0] = i == 0 ? ATL_DIALBACK_ADDRESS : ATL_DIALBACK_PORT;
            r.asks[i].got[0] = PORT;
        }
        r.known[0].server.named = 1;
        r.asks[1].got[0] |= strong ? ADDRESS : 0;
        atl_reach_count(&r, 0, 1, &v);
        assert_int_equal(v.no, 1);
        assert_int_equal(v.yes, strong ? 2 : 0);
        assert_int_equal(v.strong, strong);
        assert_int_equal(v.named, 1);
    }
    reach_world_done(&w);
}

/* It changes nothing that is known; of another candidate it may say the same. */
static void named_alone_later(void **state) {
    static reach_world w;
    atl_reach_candidate found[ATL_REACH_CANDIDATES];

    (void)state;
    reach_world_init(&w, 4, NAT_CONE, "hh");
    w.named = "10";
    atl_reach_run(w.reach, 1);
    reach_until(&w, 3 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    w.nat = NAT_PORT;
    w.n_met = 0;
    reach_set_servers(&w, "hs");
    atl_reach_again(w.reach, 0);
    reach_until(&w, 10 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8), 1);
    assert_int_equal(found[0].verdict, PUBLIC);
    /* the mapping is another one */
    w.nat = NAT_CONE;
    w.own.port = 4777;
    w.candidates[0] = w.own;
    atl_reach_again(w.reach, 0);
    reach_until(&w, 20 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PUBLIC);
    assert_int_equal(atl_reach_candidates(w.reach, 4, found, 8) > 0, 1);
    assert_true(atl_addr_equal(&found[0].addr, &w.own));
    assert_int_equal(found[0].verdict, PUBLIC);
    /* the network is another one: nothing is known */
    w.nat = NAT_PORT;
    w.n_met = 0;
    atl_reach_again(w.reach, 1);
    reach_until(&w, 30 * ATL_SECOND);
    assert_int_equal(reach_verdict(&w), PRIVATE);
    reach_world_done(&w);
}

/* The owner is told who has answered in a round and who has not; nothing where nobody has. */
static void reports(void **state) {
    static const struct {
        const char *servers;
        const char *answered; /* 1, 0, or - for not told */
    } rows[] = {
        {"hhh", "111"},   {"hsh", "101"},     {"hSh", "101"}, /* too late */
        {"hgcx", "1001"}, {"hefr", "1-1-"}, /* limited, its host is: not its fault */
        {"sss", "---"},   {"sshhh", "00111"},
    };
    static reach_world w;
    size_t candidates;
    size_t i;
    size_t k;

    (void)state;
    for (i = 0; i < 2 * ATL_COUNT(rows); i++) {
        candidates = i % 2;
        reach_world_init(&w, 6, NAT_PORT, rows[i / 2].servers);
        w.n_candidates = candidates;
        atl_reach_run(w.reach, 1);
        reach_until(&w, 8 * ATL_SECOND);
        for (k = 0; k < w.n_servers; k++) {
            char want = rows[i / 2].answered[k];

            /* a second round may have followed */
            assert_int_equal(w.reports[k][0] > 0, want == '0');
            assert_int_equal(w.reports[k][1] > 0, want == '1');
        }
        reach_world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes),
        cmocka_unit_test(met_before),
        cmocka_unit_test(candidates),
        cmocka_unit_test(kept),
        cmocka_unit_test(named_alone),
        cmocka_unit_test(filters),
        cmocka_unit_test(filters_but_proven),
        cmocka_unit_test(named_alone_later),
        cmocka_unit_test(reports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
