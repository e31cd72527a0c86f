/* Which pairs there are, in which order they ask, and how much may go where. */
#include "punch_world.h"

#define HOST ATLAS_CANDIDATE_HOST
#define SRFLX ATLAS_CANDIDATE_SERVER_REFLEXIVE
#define PRFLX ATLAS_CANDIDATE_PEER_REFLEXIVE

static atl_candidate candidate(const char *text, uint8_t kind, uint32_t priority) {
    atl_candidate made;

    memset(&made, 0, sizeof(made));
    made.addr = pw_addr(text);
    made.kind = kind;
    made.priority = priority;
    if (kind == HOST) {
        made.base = made.addr;
    }
    return made;
}

/* "a b c" as host candidates, the best first; '~' before one: server-reflexive without base. */
static size_t parse_list(const char *text, atl_candidate *out) {
    char copy[512];
    char *save = NULL;
    char *word;
    size_t n = 0;

    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        int reflexive = word[0] == '~';

        out[n] = candidate(word + reflexive, reflexive ? SRFLX : HOST, (uint32_t)(1000 - n));
        n++;
    }
    return n;
}

static atl_checks *new_checks(void) {
    atl_checks *checks = calloc(1, sizeof(*checks));

    assert_non_null(checks);
    atl_checks_init(checks, 0, 1);
    return checks;
}

/* Asks with every pair once, in order; what was asked as text "local>remote ...". */
static void ask_all(atl_checks *checks, char *out, size_t cap) {
    atl_check *next;

    out[0] = '\0';
    while ((next = atl_checks_next(checks, 1)) != NULL) {
        char local[ATLAS_ADDR_MAX] = "*";
        char remote[ATLAS_ADDR_MAX];
        size_t len = strlen(out);

        if (next->pair.local.family != 0) {
            atl_addr_ip_text(&next->pair.local, local);
        }
        atl_addr_text(&next->pair.remote, remote);
        (void)snprintf(out + len, cap - len, "%s%s>%s", len > 0 ? " " : "", local, remote);
        atl_checks_asked(checks, next, 1);
    }
}

static const struct {
    const char *name;
    const char *local;
    const char *remote;
    const char *asked;
} FORMED[] = {
    {"one and one", "10.0.0.1:1", "192.0.2.1:2", "*>192.0.2.1:2"},
    {"other family", "10.0.0.1:1", "[2001:db8::1]:2", ""},
    {"families apart", "10.0.0.1:1 [2001:db8::2]:1", "192.0.2.1:2 [2001:db8::1]:2",
     "*>192.0.2.1:2 *>[2001:db8::1]:2"},
    {"each once", "10.0.0.1:1", "192.0.2.1:2 192.0.2.1:2", "*>192.0.2.1:2"},
    {"each kind in turn", "10.0.0.1:1", "192.168.0.1:2 192.168.1.1:2 ~192.0.2.1:2 ~192.0.2.2:2",
     "*>192.168.0.1:2 *>192.0.2.1:2 *>192.168.1.1:2 *>192.0.2.2:2"},
    {"Wi-Fi and cellular", "10.0.0.1:1 100.64.0.9:1", "192.0.2.1:2 192.0.2.2:2",
     "10.0.0.1>192.0.2.1:2 10.0.0.1>192.0.2.2:2 100.64.0.9>192.0.2.1:2 100.64.0.9>192.0.2.2:2"},
    {"at most three of ours", "10.0.0.1:1 10.0.1.1:1 10.0.2.1:1 10.0.3.1:1", "192.0.2.1:2",
     "10.0.0.1>192.0.2.1:2 10.0.1.1>192.0.2.1:2 10.0.2.1>192.0.2.1:2"},
    {"one IPv6 network", "[2001:db8::1]:1 [2001:db8::2]:1", "[2001:db8:1::1]:2",
     "*>[2001:db8:1::1]:2"},
    {"two IPv6 networks", "[2001:db8::1]:1 [2001:db8:9::2]:1", "[2001:db8:1::1]:2",
     "2001:db8::1>[2001:db8:1::1]:2 2001:db8:9::2>[2001:db8:1::1]:2"},
    {"reflexive alone", "~198.51.100.1:7", "192.0.2.1:2", "*>192.0.2.1:2"},
    {"loopback not from outside", "10.0.0.1:1", "127.0.0.1:2 [::1]:2", ""},
    {"loopback with loopback", "10.0.0.1:1 127.0.0.1:1", "127.0.0.1:2", "*>127.0.0.1:2"},
    {"no way out of loopback", "127.0.0.1:1", "192.0.2.1:2", ""},
    {"link-local gets our scope", "[2001:db8::1]:1 [fe80::1%3]:1 [fe80::1%4]:1", "[fe80::9]:2",
     "fe80::1%3>[fe80::9%3]:2 fe80::1%4>[fe80::9%4]:2"},
    {"link-local only with such", "[2001:db8::1]:1", "[fe80::9]:2", ""},
    {"no global from link-local", "[fe80::1%3]:1", "[2001:db8::1]:2", ""},
    {"IPv4 link-local", "169.254.1.1:1", "169.254.2.2:2 192.0.2.1:2", "169.254.1.1>169.254.2.2:2"},
    {"never there", "10.0.0.1:1 [2001:db8::1]:1",
     "0.0.0.0:2 224.0.0.1:2 255.255.255.255:2 240.0.0.1:2 0.1.2.3:2 192.0.2.1:0 [::]:2 "
     "[ff02::1]:2 [ff0e::1]:2",
     ""},
    {"not ourselves", "10.0.0.1:1 ~198.51.100.1:7", "10.0.0.1:1 198.51.100.1:7 10.0.0.1:2",
     "*>10.0.0.1:2"},
};

static void pairs_are_formed(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(FORMED); i++) {
        atl_candidate local[16];
        atl_candidate remote[16];
        atl_checks *checks = new_checks();
        char asked[1024];
        size_t n_local = parse_list(FORMED[i].local, local);
        size_t n_remote = parse_list(FORMED[i].remote, remote);

        atl_checks_add(checks, local, n_local, remote, n_remote, 1);
        /* again changes nothing */
        atl_checks_add(checks, local, n_local, remote, n_remote, 1);
        ask_all(checks, asked, sizeof(asked));
        if (strcmp(asked, FORMED[i].asked) != 0) {
            fail_msg("%s: asked \"%s\", not \"%s\"", FORMED[i].name, asked, FORMED[i].asked);
        }
        free(checks);
    }
}

/* Asks as long as anything may be asked; how many requests went out. */
static size_t exhaust(atl_checks *checks, uint64_t *end) {
    uint64_t now = 1;
    size_t n = 0;

    for (;;) {
        atl_check *next = atl_checks_next(checks, now);
        uint64_t due = UINT64_MAX;

        if (next != NULL) {
            atl_checks_asked(checks, next, now);
            n++;
            continue;
        }
        if (atl_checks_settle(checks, now, 0, &due) == 0) {
            *end = now;
            return n;
        }
        assert_true(due > now);
        now = due;
    }
}

static void budgets_of_addresses_hold(void **state) {
    static const struct {
        const char *local;
        const char *remote;
        size_t requests;
    } rows[] = {
        {"10.0.0.1:1", "192.0.2.1:2", 8},
        {"10.0.0.1:1 10.1.0.1:1", "192.0.2.1:2", 8},
        {"10.0.0.1:1 10.1.0.1:1 10.2.0.1:1", "192.0.2.1:2", 8},
        {"10.0.0.1:1", "192.0.2.1:2 192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 192.0.2.2:2", 32},
        {"10.0.0.1:1 10.1.0.1:1", "192.0.2.1:2 192.0.2.1:3 192.0.2.1:4 192.0.2.1:5", 24},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_candidate local[16];
        atl_candidate remote[16];
        atl_checks *checks = new_checks();
        size_t n_local = parse_list(rows[i].local, local);
        size_t n_remote = parse_list(rows[i].remote, remote);
        uint64_t end = 0;
        atl_addr from = pw_addr("10.0.0.1:1");

        atl_checks_add(checks, local, n_local, remote, n_remote, 1);
        assert_int_equal(exhaust(checks, &end), rows[i].requests);
        assert_true(end < 3 * ATL_SECOND);
        /* neither naming them again nor hearing from them gives more */
        atl_checks_add(checks, local, n_local, remote, n_remote, end);
        atl_checks_heard(checks, &from, &remote[0].addr, 1, end);
        assert_null(atl_checks_next(checks, end));
        assert_int_equal(checks->number, 1 + rows[i].requests);
        free(checks);
    }
}

/* 50 ms or 1.2 round trips, growing by half. */
static void intervals_follow_the_round_trip(void **state) {
    static const struct {
        uint64_t rtt;
        uint64_t first;
    } rows[] = {
        {0, 50 * ATL_MS},
        {20 * ATL_MS, 50 * ATL_MS},
        {100 * ATL_MS, 120 * ATL_MS},
        {400 * ATL_MS, 480 * ATL_MS},
        {5 * ATL_SECOND, ATL_SECOND},
        {UINT64_MAX, ATL_SECOND},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_candidate local = candidate("10.0.0.1:1", HOST, 1);
        atl_candidate remote = candidate("192.0.2.1:2", SRFLX, 1);
        atl_checks *checks = calloc(1, sizeof(*checks));
        uint64_t now = 7;
        uint64_t interval = rows[i].first;
        int k;

        assert_non_null(checks);
        atl_checks_init(checks, rows[i].rtt, 1);
        atl_checks_add(checks, &local, 1, &remote, 1, now);
        for (k = 0; k < ATL_PUNCH_PER_ADDRESS - 1; k++) {
            atl_check *next = atl_checks_next(checks, now);

            assert_non_null(next);
            atl_checks_asked(checks, next, now);
            assert_int_equal(next->due - now, interval);
            assert_null(atl_checks_next(checks, next->due - 1));
            now = next->due;
            interval += interval / 2;
        }
        free(checks);
    }
}

/* A full list: learned addresses take the places of the worst that are not proven, at most
 * ATL_PUNCH_REFLEXIVE of them. */
static void learned_pairs_replace_the_worst(void **state) {
    atl_checks *checks = new_checks();
    atl_candidate local = candidate("10.0.0.1:1", HOST, 1);
    atl_addr from = pw_addr("10.0.0.1:1");
    size_t learned = 0;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_PUNCH_PAIRS + 5; i++) {
        atl_candidate remote = candidate("192.0.2.1:2", HOST, (uint32_t)(1000 - i));

        remote.addr.ip[3] = (uint8_t)(i + 1);
        atl_checks_add(checks, &local, 1, &remote, 1, 1);
    }
    assert_int_equal(checks->n, ATL_PUNCH_PAIRS);
    checks->list[ATL_PUNCH_PAIRS - 1].state = ATL_CHECK_PROVEN;
    for (i = 0; i < 2 * ATL_PUNCH_REFLEXIVE; i++) {
        atl_addr remote = pw_addr("198.51.100.1:9");
        atl_check *next;

        remote.port = (uint16_t)(1000 + i);
        atl_checks_heard(checks, &from, &remote, 5, 1);
        next = atl_checks_next(checks, 1);
        assert_non_null(next);
        if (atl_addr_equal(&next->pair.remote, &remote)) {
            assert_int_equal(next->pair.kind, PRFLX);
            learned++;
        }
        atl_checks_asked(checks, next, 1);
    }
    assert_int_equal(learned, ATL_PUNCH_REFLEXIVE);
    assert_int_equal(checks->n, ATL_PUNCH_PAIRS);
    assert_int_equal(atl_checks_proven(checks), 1);
    assert_int_equal(checks->list[0].pair.remote.ip[3], 1);
    assert_int_equal(checks->list[ATL_PUNCH_PAIRS - 1].pair.remote.ip[3], ATL_PUNCH_PAIRS);
    free(checks);
}

/* An address that nobody named is asked once for each time that the peer is heard from there, and
 * not by itself. Being heard brings a pair with a name forward at most ATL_PUNCH_TRIGGERS times,
 * also one that had failed; a heard address that is named later becomes what it is named. */
static void hearing_brings_forward(void **state) {
    atl_checks *checks = new_checks();
    atl_candidate local = candidate("10.0.0.1:1", HOST, 1);
    atl_candidate remote = candidate("198.51.100.1:9", SRFLX, 70);
    atl_check *next;
    size_t n = 0;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        atl_checks_heard(checks, &local.addr, &remote.addr, 5, 10);
        next = atl_checks_next(checks, 10);
        assert_non_null(next);
        assert_true(next->urgent);
        atl_checks_asked(checks, next, 10);
        assert_null(atl_checks_next(checks, 10 + ATL_PUNCH_TIME));
    }
    atl_checks_add(checks, &local, 1, &remote, 1, 10);
    checks->list[0].requests = 0;
    checks->list[0].triggers = 0;
    checks->n_asked = 0;
    for (i = 0; i < 6; i++) {
        atl_checks_heard(checks, &local.addr, &remote.addr, 5, 10);
        next = atl_checks_next(checks, 10);
        if (next != NULL) {
            assert_true(next->urgent);
            n++;
            atl_checks_asked(checks, next, 10);
        }
    }
    assert_int_equal(n, ATL_PUNCH_TRIGGERS);
    assert_int_equal(checks->n, 1);
    assert_int_equal(checks->list[0].pair.kind, SRFLX);
    assert_int_equal(checks->list[0].priority, 70);
    checks->list[0].triggers = 0;
    checks->list[0].state = ATL_CHECK_FAILED;
    atl_checks_heard(checks, &local.addr, &remote.addr, 5, 11);
    assert_ptr_equal(atl_checks_next(checks, 11), &checks->list[0]);
    /* what was proven asks no more */
    checks->list[0].state = ATL_CHECK_PROVEN;
    atl_checks_heard(checks, &local.addr, &remote.addr, 5, 12);
    assert_null(atl_checks_next(checks, 12));
    free(checks);
}

/* A check cannot come from loopback to an address that is not, or the other way round. */
static void scopes_of_learned_pairs_agree(void **state) {
    static const struct {
        const char *local;
        const char *remote;
        size_t pairs;
    } rows[] = {
        {"10.0.0.1:1", "127.0.0.1:9", 0},   {"127.0.0.1:1", "127.0.0.1:9", 1},
        {"10.0.0.1:1", "169.254.1.1:9", 0}, {"[fe80::1%2]:1", "[fe80::2%2]:9", 1},
        {"10.0.0.1:1", "192.0.2.1:9", 1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_checks *checks = new_checks();
        atl_addr local = pw_addr(rows[i].local);
        atl_addr remote = pw_addr(rows[i].remote);

        atl_checks_heard(checks, &local, &remote, 1, 1);
        assert_int_equal(checks->n, rows[i].pairs);
        free(checks);
    }
}

static void pairs_compare_by_kind_then_time(void **state) {
    static const struct {
        uint8_t kind_a;
        uint64_t rtt_a;
        uint8_t kind_b;
        uint64_t rtt_b;
        int result;
    } rows[] = {
        {HOST, 9, SRFLX, 1, -1},  {HOST, 9, PRFLX, 1, -1},
        {PRFLX, 9, SRFLX, 1, -1}, {SRFLX, 1, SRFLX, 2, -1},
        {SRFLX, 2, SRFLX, 2, 0},  {ATLAS_CANDIDATE_UNKNOWN, 1, SRFLX, 9, 1},
        {HOST, 3, HOST, 2, 1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_punch_pair a = {.kind = rows[i].kind_a, .rtt = rows[i].rtt_a};
        atl_punch_pair b = {.kind = rows[i].kind_b, .rtt = rows[i].rtt_b};

        assert_int_equal(atl_punch_compare(&a, &b), rows[i].result);
        assert_int_equal(atl_punch_compare(&b, &a), -rows[i].result);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_formed),
        cmocka_unit_test(budgets_of_addresses_hold),
        cmocka_unit_test(intervals_follow_the_round_trip),
        cmocka_unit_test(learned_pairs_replace_the_worst),
        cmocka_unit_test(hearing_brings_forward),
        cmocka_unit_test(scopes_of_learned_pairs_agree),
        cmocka_unit_test(pairs_compare_by_kind_then_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
