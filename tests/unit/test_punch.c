/* Two punches against each other over NATs. */
#include "punch_world.h"

/* What an honest attempt may never exceed, counted from everything that was sent. */
static void check_limits(const pw *w, uint64_t budget) {
    int from;
    size_t i;

    for (from = 0; from < 2; from++) {
        uint64_t bytes = 0;
        uint64_t last = 0;
        uint32_t requests = 0;

        for (i = 0; i < w->n_log; i++) {
            const pw_packet *sent = &w->log[i];
            uint32_t to_address = 0;
            uint32_t to_ip = 0;
            size_t k;

            if (sent->from != from || !pw_is_request(sent)) {
                continue;
            }
            assert_true(requests == 0 || sent->at - last >= ATL_PUNCH_PACE);
            last = sent->at;
            bytes += sent->len;
            requests++;
            assert_true(sent->at - w->start <= ATL_PUNCH_TIME);
            for (k = 0; k < w->n_log; k++) {
                if (w->log[k].from == from && pw_is_request(&w->log[k])) {
                    to_address += atl_addr_equal(&w->log[k].dst, &sent->dst) != 0;
                    to_ip += pw_same_ip(&w->log[k].dst, &sent->dst) != 0;
                }
            }
            assert_true(to_address <= ATL_PUNCH_PER_ADDRESS);
            assert_true(to_ip <= ATL_PUNCH_PER_IP);
        }
        assert_true(bytes <= budget);
        assert_int_equal(w->host[from].report.requests, requests);
    }
}

/* Everything went to an address that the other names, or that it has been seen at. */
static void check_named(const pw *w) {
    size_t i;
    size_t k;

    for (i = 0; i < w->n_log; i++) {
        const pw_host *other = &w->host[!w->log[i].from];
        int named = 0;

        for (k = 0; k < other->n_addrs; k++) {
            named |= atl_addr_equal(&other->addrs[k], &w->log[i].dst);
        }
        for (k = 0; k < other->n_mappings; k++) {
            named |= atl_addr_equal(&other->mappings[k].outside, &w->log[i].dst);
        }
        assert_true(named);
    }
}

/* ---- NATs ---- */

static void every_pair_of_nats(void **state) {
    static const struct {
        int a;
        int b;
        int direct;
    } rows[] = {
        {NAT_NONE, NAT_NONE, 1},           {NAT_NONE, NAT_FULL, 1},
        {NAT_NONE, NAT_ADDRESS, 1},        {NAT_NONE, NAT_PORT, 1},
        {NAT_NONE, NAT_SYMMETRIC, 1},      {NAT_FULL, NAT_FULL, 1},
        {NAT_FULL, NAT_ADDRESS, 1},        {NAT_FULL, NAT_PORT, 1},
        {NAT_FULL, NAT_SYMMETRIC, 1},      {NAT_ADDRESS, NAT_ADDRESS, 1},
        {NAT_ADDRESS, NAT_PORT, 1},        {NAT_ADDRESS, NAT_SYMMETRIC, 1},
        {NAT_PORT, NAT_PORT, 1},           {NAT_PORT, NAT_SYMMETRIC, 0},
        {NAT_SYMMETRIC, NAT_SYMMETRIC, 0}, {NAT_BLOCKED, NAT_NONE, 0},
    };
    size_t i;
    int turned;
    int h;

    (void)state;
    for (i = 0; i < 2 * ATL_COUNT(rows); i++) {
        pw *w = pw_new();

        turned = i % 2 != 0;
        place_nats(w, turned ? rows[i / 2].b : rows[i / 2].a,
                   turned ? rows[i / 2].a : rows[i / 2].b);
        pw_start(w, 0, BUDGET);
        pw_run(w, 8 * ATL_MS); /* the other side hears of it a little later */
        pw_start(w, 1, BUDGET);
        pw_run(w, 4 * ATL_SECOND);
        for (h = 0; h < 2; h++) {
            const pw_host *host = &w->host[h];

            assert_int_equal(host->ended, 1);
            assert_int_equal(host->report.code, rows[i / 2].direct ? ATLAS_OK : ATLAS_ERR_TIMEOUT);
            assert_int_equal(host->pairs > 0, rows[i / 2].direct);
            assert_int_equal(host->report.answers > 0, rows[i / 2].direct);
            assert_true(!rows[i / 2].direct || host->first_pair <= 150 * ATL_MS);
            assert_true(host->report.duration <= ATL_PUNCH_TIME);
        }
        check_limits(w, BUDGET);
        check_named(w);
        pw_free(w);
    }
}

/* Behind a symmetric NAT: the other side learns the address, and we learn how we look. */
static void peer_reflexive_addresses_are_learned(void **state) {
    pw *w = pw_new();
    atl_punch_pair pair;

    (void)state;
    place_nats(w, NAT_SYMMETRIC, NAT_ADDRESS);
    pw_start(w, 0, BUDGET);
    pw_start(w, 1, BUDGET);
    pw_run(w, 4 * ATL_SECOND);
    pair = w->host[1].report.best;
    assert_int_equal(pair.kind, ATLAS_CANDIDATE_PEER_REFLEXIVE);
    assert_true(pw_same_ip(&pair.remote, &w->host[0].outside));
    assert_int_equal(w->host[0].report.best.kind, ATLAS_CANDIDATE_SERVER_REFLEXIVE);
    assert_true(atl_addr_equal(&w->host[0].report.best.mapped, &pair.remote));
    assert_int_equal(pair.rtt, 20 * ATL_MS);
    assert_int_equal(atl_punch_proven(w->host[1].punch, 10 * ATL_SECOND, &pair, 1), 1);
    assert_int_equal(atl_punch_proven(w->host[1].punch, ATL_SECOND, &pair, 1), 0);
    pw_free(w);
}

/* With loss, reordering and duplicates all succeed, nearly all of them well under a second. */
static void a_bad_network_is_survived(void **state) {
    static const uint32_t losses[] = {0, 5, 20};
    size_t row;
    int run;
    int h;

    (void)state;
    for (row = 0; row < ATL_COUNT(losses); row++) {
        uint32_t late = 0;
        uint32_t failed = 0;

        for (run = 0; run < 100; run++) {
            pw *w = pw_new();

            w->t.seed = (uint64_t)run * 77 + 5;
            w->loss = losses[row];
            w->twice = 10;
            w->jitter = 30 * ATL_MS;
            place_nats(w, NAT_PORT, NAT_PORT);
            pw_start(w, 0, BUDGET);
            pw_run(w, 25 * ATL_MS);
            pw_start(w, 1, BUDGET);
            pw_run(w, 4 * ATL_SECOND);
            for (h = 0; h < 2; h++) {
                failed += w->host[h].pairs == 0;
                late += w->host[h].first_pair > 500 * ATL_MS;
                assert_int_equal(w->host[h].ended, 1);
            }
            check_limits(w, BUDGET);
            check_named(w);
            pw_free(w);
        }
        assert_true(failed <= (losses[row] > 5 ? 2 : 0));
        assert_true(late <= (losses[row] > 5 ? 20 : 0));
    }
}

/* The same network: the host addresses win, and the attempt goes on to no end. */
static void the_better_kind_wins(void **state) {
    pw *w = pw_new();

    (void)state;
    place_nats(w, NAT_FULL, NAT_FULL);
    w->host[0].lan = 1;
    w->host[1].lan = 1;
    pw_start(w, 0, BUDGET);
    pw_start(w, 1, BUDGET);
    pw_run(w, 4 * ATL_SECOND);
    assert_int_equal(w->host[0].pairs, 2);
    assert_int_equal(w->host[0].report.proven, 2);
    assert_int_equal(w->host[0].report.best.kind, ATLAS_CANDIDATE_HOST);
    assert_true(atl_addr_equal(&w->host[0].report.best.remote, &w->host[1].addrs[0]));
    /* all were proven: no reason to wait longer */
    assert_true(w->host[0].report.duration < 100 * ATL_MS);
    assert_string_equal(w->host[0].report.text,
                        "2 of 2 pairs answered, best 10.9.0.1:5000 in 20 ms");
    pw_free(w);
}

/* ---- reports ---- */

static void reports_say_why(void **state) {
    static const struct {
        const char *remote;
        const char *local;
        uint64_t budget;
        int32_t send_result;
        int32_t code;
        const char *text;
    } rows[] = {
        {"203.0.113.9:9", "10.0.0.1:4000", BUDGET, ATLAS_OK, ATLAS_ERR_TIMEOUT,
         "no answer on any of 1 pairs, and no check of the peer was heard: both NATs, or the "
         "network between, block the way"},
        {NULL, "10.0.0.1:4000", BUDGET, ATLAS_OK, ATLAS_ERR_NO_ADDRESS,
         "the peer names no address"},
        {"[2001:db8::1]:9", "10.0.0.1:4000", BUDGET, ATLAS_OK, ATLAS_ERR_NO_ADDRESS,
         "the peer names no address of a family that this host has"},
        {"127.0.0.1:9", "10.0.0.1:4000", BUDGET, ATLAS_OK, ATLAS_ERR_NO_ADDRESS,
         "no address of the peer may be checked from this host's addresses"},
        {"203.0.113.9:9", "10.0.0.1:4000", BUDGET, ATLAS_ERR_FAMILY, ATLAS_ERR_NO_ADDRESS,
         "no request could be sent: there is no socket for any address of the peer"},
        {"203.0.113.9:9", "10.0.0.1:4000", 250, ATLAS_OK, ATLAS_ERR_LIMIT,
         "no answer to 2 requests, and then the budget of bytes was used up"},
        {"203.0.113.9:9", "10.0.0.1:4000", 0, ATLAS_OK, ATLAS_ERR_LIMIT,
         "no answer to 0 requests, and then the budget of bytes was used up"},
        {"203.0.113.9:9", "10.0.0.1:4000", BUDGET, ATLAS_ERR_AGAIN, ATLAS_ERR_TIMEOUT, NULL},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        pw *w = pw_new();
        atl_candidate local = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr(rows[i].local)};
        atl_candidate remote = {.kind = ATLAS_CANDIDATE_HOST};

        pw_place(w, 0, NAT_NONE, rows[i].local, "192.0.2.1:1");
        w->host[0].send_result = rows[i].send_result;
        if (rows[i].remote != NULL) {
            remote.addr = pw_addr(rows[i].remote);
        }
        assert_int_equal(atl_punch_start(w->host[0].punch, &local, 1, &remote,
                                         rows[i].remote != NULL, rows[i].budget, 0),
                         ATLAS_OK);
        assert_int_equal(w->host[0].ended, 0); /* never from inside the call */
        pw_run(w, 4 * ATL_SECOND);
        assert_int_equal(w->host[0].ended, 1);
        assert_int_equal(w->host[0].report.code, rows[i].code);
        if (rows[i].text != NULL) {
            assert_string_equal(w->host[0].report.text, rows[i].text);
        }
        pw_free(w);
    }
}

/* The peer's checks come in, our packets do not get out. */
static void heard_but_not_answered(void **state) {
    pw *w = pw_new();

    (void)state;
    place_nats(w, NAT_NONE, NAT_NONE);
    w->host[0].send_result = ATLAS_ERR_AGAIN;
    pw_start(w, 0, BUDGET);
    pw_start(w, 1, BUDGET);
    pw_run(w, 4 * ATL_SECOND);
    assert_int_equal(w->host[0].report.code, ATLAS_ERR_TIMEOUT);
    assert_true(w->host[0].report.heard > 0);
    assert_string_equal(w->host[0].report.text,
                        "checks of the peer were heard but none of ours was answered");
    pw_free(w);
}

/* ---- the life of an attempt ---- */

/* The peer's checks that came before our own start bring a pair forward that nobody named. */
static void early_checks_count(void **state) {
    pw *w = pw_new();
    atl_candidate local = {.kind = ATLAS_CANDIDATE_HOST};

    (void)state;
    place_nats(w, NAT_NONE, NAT_SYMMETRIC);
    pw_start(w, 1, BUDGET);
    pw_run(w, 100 * ATL_MS);
    assert_int_equal(w->host[0].report.heard, 0);
    local.addr = w->host[0].addrs[0];
    assert_int_equal(atl_punch_start(w->host[0].punch, &local, 1, NULL, 0, BUDGET, 0), ATLAS_OK);
    pw_run(w, ATL_SECOND);
    assert_int_equal(w->host[0].ended, 1);
    assert_int_equal(w->host[0].report.code, ATLAS_OK);
    assert_int_equal(w->host[0].report.heard, 1);
    assert_int_equal(w->host[0].report.best.kind, ATLAS_CANDIDATE_PEER_REFLEXIVE);
    pw_free(w);
}

/* More candidates while it runs: budgets and the end stay what they were. */
static void a_second_start_keeps_the_budgets(void **state) {
    pw *w = pw_new();
    int i;

    (void)state;
    place_nats(w, NAT_PORT, NAT_SYMMETRIC);
    for (i = 0; i < 20; i++) {
        pw_start(w, 0, 12 * ATL_PUNCH_REQUEST_LEN);
        pw_run(w, (uint64_t)i * 100 * ATL_MS);
        assert_int_equal(atl_punch_running(w->host[0].punch), w->host[0].ended == 0);
        if (w->host[0].ended > 0) {
            break;
        }
    }
    assert_int_equal(w->host[0].report.code, ATLAS_ERR_LIMIT);
    assert_int_equal(w->host[0].report.requests, 12);
    assert_int_equal(w->host[0].report.bytes, 12 * ATL_PUNCH_REQUEST_LEN);
    pw_free(w);
}

/* With long round trips there is no time for all requests: the end is the end. */
static void an_attempt_ends_in_time(void **state) {
    pw *w = pw_new();
    atl_candidate local = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr("10.0.0.1:4000")};
    atl_candidate remote = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr("203.0.113.9:9")};

    (void)state;
    assert_int_equal(atl_punch_start(w->host[0].punch, &local, 1, &remote, 1, BUDGET, 600 * ATL_MS),
                     ATLAS_OK);
    pw_run(w, ATL_PUNCH_TIME - 1);
    assert_int_equal(w->host[0].ended, 0);
    pw_run(w, ATL_PUNCH_TIME);
    assert_int_equal(w->host[0].ended, 1);
    assert_int_equal(w->host[0].report.code, ATLAS_ERR_TIMEOUT);
    assert_int_equal(w->host[0].report.duration, ATL_PUNCH_TIME);
    assert_int_equal(w->host[0].report.requests, 3); /* at 0, 0.72 and 1.8 s */
    pw_free(w);
}

/* Many pairs: each is asked once before any is asked twice, and all limits hold. */
static void many_pairs_take_turns(void **state) {
    pw *w = pw_new();
    atl_candidate local = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr("10.0.0.1:4000")};
    atl_candidate remote[ATL_PUNCH_PAIRS + 8];
    size_t i;
    size_t k;

    (void)state;
    pw_place(w, 0, NAT_NONE, "10.0.0.1:4000", "192.0.2.1:1");
    memset(remote, 0, sizeof(remote));
    for (i = 0; i < ATL_COUNT(remote); i++) {
        remote[i].kind = ATLAS_CANDIDATE_HOST;
        remote[i].priority = (uint32_t)(1000 - i);
        remote[i].addr = pw_addr("203.0.113.0:9");
        remote[i].addr.ip[3] = (uint8_t)(1 + i / 4);
        remote[i].addr.port = (uint16_t)(9 + i);
    }
    assert_int_equal(
        atl_punch_start(w->host[0].punch, &local, 1, remote, ATL_COUNT(remote), 1000000, 0),
        ATLAS_OK);
    pw_run(w, 4 * ATL_SECOND);
    assert_int_equal(w->host[0].ended, 1);
    assert_int_equal(w->host[0].report.pairs, ATL_PUNCH_PAIRS);
    /* four ports an IP address: its limit comes before theirs */
    assert_int_equal(w->host[0].report.requests, ATL_PUNCH_PAIRS / 4 * ATL_PUNCH_PER_IP);
    for (i = 0; i < ATL_PUNCH_PAIRS; i++) {
        for (k = 0; k < i; k++) {
            assert_false(atl_addr_equal(&w->log[i].dst, &w->log[k].dst));
        }
    }
    check_limits(w, 1000000);
    pw_free(w);
}

/* A stopped attempt says nothing more; the next begins anew, and its requests are new too. */
static void stop_and_start_again(void **state) {
    pw *w = pw_new();

    (void)state;
    place_nats(w, NAT_PORT, NAT_PORT);
    pw_start(w, 0, BUDGET);
    pw_run(w, 200 * ATL_MS);
    atl_punch_stop(w->host[0].punch);
    assert_false(atl_punch_running(w->host[0].punch));
    pw_run(w, ATL_SECOND);
    assert_int_equal(w->host[0].ended, 0);
    pw_start(w, 0, BUDGET);
    pw_start(w, 1, BUDGET);
    pw_run(w, 5 * ATL_SECOND);
    assert_int_equal(w->host[0].ended, 1);
    assert_int_equal(w->host[0].report.code, ATLAS_OK);
    /* a third, with nothing changed, proves the pair again */
    pw_start(w, 0, BUDGET);
    pw_run(w, 9 * ATL_SECOND);
    assert_int_equal(w->host[0].ended, 2);
    assert_int_equal(w->host[0].report.code, ATLAS_OK);
    assert_int_equal(w->host[0].pairs, 2);
    pw_free(w);
}

/* The upcall may stop or free the punch. */
static void upcalls_may_end_it(void **state) {
    int does;

    (void)state;
    for (does = 1; does <= 2; does++) {
        pw *w = pw_new();

        place_nats(w, NAT_NONE, NAT_NONE);
        w->host[0].on_pair_does = does;
        pw_start(w, 0, BUDGET);
        pw_start(w, 1, BUDGET);
        pw_run(w, 4 * ATL_SECOND);
        assert_int_equal(w->host[0].pairs, 1);
        assert_int_equal(w->host[0].ended, 0);
        assert_int_equal(w->host[0].punch == NULL, does == 2);
        pw_free(w);
    }
}

/* ---- resources ---- */

static void fill_and_free(testenv *t, void *user) {
    atl_loop loop;
    pw_host host;
    atl_punch_config config = {&loop, pw_send, &host};
    uint8_t secret[ATL_PUNCH_SECRET];
    atl_punch_table *table = NULL;
    atl_punch *punch = NULL;
    atl_candidate candidate = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr("192.0.2.1:1")};

    (void)user;
    memset(&host, 0, sizeof(host));
    atl_loop_init(&loop, &t->env);
    pw_secret(secret);
    if (atl_punch_table_new(&config, &table) == ATLAS_OK) {
        if (atl_punch_new(table, secret, 1, &PW_OPS, &host, &punch) == ATLAS_OK) {
            atl_punch *second = NULL;

            (void)atl_punch_start(punch, &candidate, 1, &candidate, 1, 1000, 0);
            assert_int_not_equal(atl_punch_new(table, secret, 1, &PW_OPS, &host, &second),
                                 ATLAS_OK);
            assert_null(second);
        }
        atl_punch_free(punch);
        atl_punch_table_free(table);
    }
    assert_true(loop.timers == NULL);
}

static void memory_failures_leave_nothing(void **state) {
    (void)state;
    assert_true(testenv_each_failure(fill_and_free, NULL) >= 5);
    atl_punch_free(NULL);
    atl_punch_table_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_nats),
        cmocka_unit_test(peer_reflexive_addresses_are_learned),
        cmocka_unit_test(a_bad_network_is_survived),
        cmocka_unit_test(the_better_kind_wins),
        cmocka_unit_test(reports_say_why),
        cmocka_unit_test(heard_but_not_answered),
        cmocka_unit_test(early_checks_count),
        cmocka_unit_test(a_second_start_keeps_the_budgets),
        cmocka_unit_test(an_attempt_ends_in_time),
        cmocka_unit_test(many_pairs_take_turns),
        cmocka_unit_test(stop_and_start_again),
        cmocka_unit_test(upcalls_may_end_it),
        cmocka_unit_test(memory_failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
