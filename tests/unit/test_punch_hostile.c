/* Hole punching and what others may throw in: forged, caught, diverted, too many, of the wrong
 * address. */
#include "punch_world.h"

static const uint8_t SERVER_PREFIX[ATL_PUNCH_PREFIX] = {0xaa};

/* A request as the peer of host 0 would make it. */
static size_t forge(uint32_t number, int right_key, uint8_t out[ATL_PUNCH_REQUEST_LEN]) {
    uint8_t secret[ATL_PUNCH_SECRET];
    char token[ATL_PUNCH_TOKEN + 1];

    pw_secret(secret);
    (void)sodium_bin2hex(token, sizeof(token), secret, 16);
    secret[32] ^= (uint8_t)!right_key;
    return atl_punch_put_request(SERVER_PREFIX, number, token, 1, secret + 32, out);
}

/* Without the key nothing comes back; another's token is not ours to judge. */
static void forged_requests_are_not_answered(void **state) {
    pw *w = pw_new();
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    atl_addr from = pw_addr("203.0.113.66:66");
    atl_addr zero = pw_addr("203.0.113.66:0");
    atl_addr group = pw_addr("224.0.0.1:66");
    size_t len = forge(1, 0, data);

    (void)state;
    place_nats(w, NAT_NONE, NAT_NONE);
    assert_int_equal(pw_give(&w->host[0], &from, &w->host[0].addrs[0], data, len), 1);
    assert_int_equal(pw_give(&w->host[1], &from, &w->host[1].addrs[0], data, len), 0);
    len = forge(1, 1, data);
    assert_int_equal(pw_give(&w->host[0], &zero, &w->host[0].addrs[0], data, len), 1);
    assert_int_equal(pw_give(&w->host[0], &group, &w->host[0].addrs[0], data, len), 1);
    assert_int_equal(w->n_log, 0);
    assert_int_equal(pw_give(&w->host[0], &from, &w->host[0].addrs[0], data, len), 1);
    assert_int_equal(w->n_log, 1);
    assert_true(w->log[0].len <= len);
    assert_true(atl_addr_equal(&w->log[0].dst, &from));
    assert_true(atl_addr_equal(&w->log[0].local, &w->host[0].addrs[0]));
    pw_free(w);
}

/* A caught request sent again from anywhere causes nothing, while and after an attempt runs. */
static void replays_cause_nothing(void **state) {
    pw *w = pw_new();
    atl_candidate own = {.kind = ATLAS_CANDIDATE_HOST};
    atl_candidate dead = {.kind = ATLAS_CANDIDATE_HOST, .addr = pw_addr("203.0.113.9:9")};
    atl_addr victim = pw_addr("203.0.113.66:66");
    size_t n_log;
    size_t i;

    (void)state;
    place_nats(w, NAT_NONE, NAT_NONE);
    pw_start(w, 0, BUDGET);
    pw_start(w, 1, BUDGET);
    own.addr = w->host[0].addrs[0];
    /* something that keeps the attempt of one side going */
    assert_int_equal(atl_punch_start(w->host[0].punch, &own, 1, &dead, 1, BUDGET, 0), ATLAS_OK);
    pw_run(w, 300 * ATL_MS);
    assert_true(atl_punch_running(w->host[0].punch));
    assert_false(atl_punch_running(w->host[1].punch));
    n_log = w->n_log;
    for (i = 0; i < n_log; i++) {
        pw_host *to = &w->host[!w->log[i].from];

        if (!atl_addr_equal(&w->log[i].dst, &dead.addr)) {
            assert_int_equal(pw_give(to, &victim, &to->addrs[0], w->log[i].data, w->log[i].len), 1);
        }
    }
    pw_start(w, 1, BUDGET);
    pw_run(w, 4 * ATL_SECOND);
    for (i = 0; i < w->n_log; i++) {
        assert_false(atl_addr_equal(&w->log[i].dst, &victim));
    }
    pw_free(w);
}

/* Requests that somebody holds back and sends on from elsewhere: for each of them at most one
 * answer, and requests within the limits of one address. */
static void diverted_requests_are_bounded(void **state) {
    pw *w = pw_new();
    atl_addr victim = pw_addr("203.0.113.66:66");
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    size_t answers = 0;
    size_t requests = 0;
    uint32_t i;

    (void)state;
    place_nats(w, NAT_NONE, NAT_PORT);
    pw_start(w, 0, BUDGET);
    for (i = 0; i < 30; i++) {
        size_t len = forge(i, 1, data);

        (void)pw_give(&w->host[0], &victim, &w->host[0].addrs[0], data, len);
        pw_run(w, (uint64_t)i * 10 * ATL_MS);
    }
    pw_run(w, 4 * ATL_SECOND);
    for (i = 0; i < w->n_log; i++) {
        if (atl_addr_equal(&w->log[i].dst, &victim)) {
            answers += !pw_is_request(&w->log[i]);
            requests += (size_t)pw_is_request(&w->log[i]);
        }
    }
    assert_int_equal(answers, 30);
    assert_true(requests > 0 && requests <= ATL_PUNCH_PER_ADDRESS);
    pw_free(w);
}

static void answers_are_limited(void **state) {
    pw *w = pw_new();
    atl_addr from = pw_addr("203.0.113.66:66");
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    uint32_t i;

    (void)state;
    place_nats(w, NAT_NONE, NAT_NONE);
    for (i = 0; i < 1000; i++) {
        size_t len = forge(i, 1, data);

        (void)pw_give(&w->host[0], &from, &w->host[0].addrs[0], data, len);
        pw_run(w, i * ATL_MS);
    }
    assert_true(w->n_log > ATL_PUNCH_ANSWERS / 2 && w->n_log <= ATL_PUNCH_ANSWERS);
    pw_free(w);
}

/* An answer counts from where it was asked, with the right key, once. */
static void only_right_answers_count(void **state) {
    static const struct {
        const char *from;
        int right_key;
        int right_id;
        int result;
        size_t pairs;
    } rows[] = {
        {"198.51.100.10:5000", 0, 1, 1, 0}, {"198.51.100.10:5001", 1, 1, 1, 0},
        {"198.51.100.11:5000", 1, 1, 1, 0}, {"198.51.100.10:5000", 1, 0, 1, 0},
        {"198.51.100.10:5000", 1, 1, 1, 1}, {"198.51.100.10:5000", 1, 1, 1, 1},
    };
    pw *w = pw_new();
    uint8_t id[ATL_STUN_ID_LEN];
    size_t i;

    (void)state;
    place_nats(w, NAT_NONE, NAT_NONE);
    w->host[1].nat = NAT_BLOCKED;
    pw_start(w, 0, BUDGET);
    pw_run(w, ATL_MS);
    assert_int_equal(w->n_log, 1);
    for (i = 0; i < ATL_COUNT(rows); i++) {
        uint8_t secret[ATL_PUNCH_SECRET];
        uint8_t data[ATL_PUNCH_ANSWER_MAX];
        atl_addr from = pw_addr(rows[i].from);
        size_t len;

        pw_secret(secret);
        secret[40] ^= (uint8_t)!rows[i].right_key;
        memcpy(id, w->log[0].data + 8, sizeof(id));
        id[11] ^= (uint8_t)!rows[i].right_id;
        len = atl_punch_put_answer(id, &w->host[0].addrs[0], secret + 32, data);
        assert_int_equal(pw_give(&w->host[0], &from, &w->host[0].addrs[0], data, len),
                         rows[i].result);
        assert_int_equal(w->host[0].pairs, rows[i].pairs);
    }
    id[0] ^= 1; /* nobody's */
    assert_int_equal(pw_give(&w->host[0], &w->host[1].addrs[0], &w->host[0].addrs[0], id, 0), 0);
    pw_free(w);
}

/* An ICMP error ends no pair: the other NAT may not be open yet. */
static void icmp_is_ignored(void **state) {
    pw *w = pw_new();
    atl_rx rx;

    (void)state;
    place_nats(w, NAT_PORT, NAT_PORT);
    pw_start(w, 0, BUDGET);
    pw_run(w, 10 * ATL_MS);
    memset(&rx, 0, sizeof(rx));
    rx.error = ATLAS_ERR_REFUSED;
    rx.remote = w->log[0].dst;
    rx.local = w->host[0].addrs[0];
    assert_int_equal(atl_punch_on_stun(w->host[0].table, &rx), 0);
    pw_start(w, 1, BUDGET);
    pw_run(w, 4 * ATL_SECOND);
    assert_int_equal(w->host[0].report.code, ATLAS_OK);
    pw_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forged_requests_are_not_answered), cmocka_unit_test(replays_cause_nothing),
        cmocka_unit_test(diverted_requests_are_bounded),    cmocka_unit_test(answers_are_limited),
        cmocka_unit_test(only_right_answers_count),         cmocka_unit_test(icmp_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
