/* The STUN server: what it answers, what it does not, and how much. */
#include "stun/server.h"

#include "test_stun_world.h"

#define CLIENT "203.0.113.5:40000"
#define CLIENT6 "[2001:db8::5]:40000"
#define LOCAL "192.0.2.1:3478"

static const uint8_t ID[12] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254};

typedef struct fixture {
    world *w;
    atl_stun_server *server;
    const atl_stun_server_stats *stats;
    uint8_t buf[1024];
    atl_writer request;
    atl_stun_msg answer;
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));

    f->w = world_new();
    assert_int_equal(atl_stun_server_new(&f->w->loop, world_send, f->w, &f->server), ATLAS_OK);
    atl_stun_server_set_rate(f->server, 1000000);
    f->stats = atl_stun_server_get_stats(f->server);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;

    atl_stun_server_free(f->server);
    world_free(f->w);
    free(f);
    return 0;
}

static void begin(fixture *f, uint8_t cls, uint16_t method) {
    atl_writer_init(&f->request, f->buf, sizeof(f->buf));
    atl_stun_begin(&f->request, cls, method, ID);
}

/* Hands the request over. 1 with the answer parsed, 0 when there is none; whatever it is, it is
 * never longer than twice the request. */
static int ask(fixture *f, const char *from) {
    atl_rx rx = world_rx(from, LOCAL, f->buf, f->request.len);
    const sent *out = &f->w->sent[0];

    assert_int_equal(f->request.error, ATLAS_OK);
    f->w->sent_count = 0;
    atl_stun_server_on_datagram(f->server, &rx);
    if (f->w->sent_count == 0) {
        return 0;
    }
    assert_int_equal(f->w->sent_count, 1);
    assert_true(out->len <= 2 * rx.len);
    assert_true(atl_addr_equal(&out->remote, &rx.remote));
    assert_true(atl_addr_equal(&out->local, &rx.local)); /* from where it was asked */
    assert_int_equal(atl_stun_parse(out->data, out->len, &f->answer), ATLAS_OK);
    assert_memory_equal(f->answer.header.id, ID, 12);
    return 1;
}

static void expect_error(fixture *f, uint16_t code) {
    assert_int_equal(ask(f, CLIENT), 1);
    assert_int_equal(f->answer.header.cls, ATL_STUN_ERROR);
    assert_int_equal(f->answer.error_code, code);
    assert_int_equal(f->answer.xor_mapped.family, 0);
}

static void binding(void **state) {
    static const char *const clients[] = {CLIENT, CLIENT6};
    fixture *f = *state;
    size_t i;

    for (i = 0; i < 2; i++) {
        atl_addr addr = world_addr(clients[i]);
        size_t before;

        begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
        atl_stun_put_fingerprint(&f->request);
        before = f->w->allocations;
        assert_int_equal(ask(f, clients[i]), 1);
        assert_int_equal(f->w->allocations, before); /* answering does not allocate */
        assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
        assert_true(atl_addr_equal(&f->answer.xor_mapped, &addr));
        assert_true(f->answer.has_fingerprint);
    }
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    assert_int_equal(ask(f, CLIENT), 1);
    assert_false(f->answer.has_fingerprint); /* as the request */
    assert_true(f->stats->successes == 3);
    assert_true(f->stats->requests == 3);
}

/* Twice the request is the most. Over IPv6 the header alone is too short to be answered. */
static void amplification(void **state) {
    static const uint8_t zeros[64];
    fixture *f = *state;
    uint16_t pad;

    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    assert_int_equal(ask(f, CLIENT6), 0);
    assert_true(f->stats->dropped_amplification == 1);
    assert_int_equal(ask(f, CLIENT), 1); /* 32 bytes for 20 */
    for (pad = 0; pad < sizeof(zeros); pad++) {
        begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
        atl_stun_put(&f->request, ATL_STUN_A_SOFTWARE, zeros, pad);
        assert_int_equal(ask(f, CLIENT6), 1); /* ask() looks at the length */
    }
}

static void unknown_attributes(void **state) {
    fixture *f = *state;
    uint16_t n;

    for (n = 1; n <= 40; n++) {
        uint16_t i;
        size_t expected = n < ATL_STUN_UNKNOWN_MAX ? n : ATL_STUN_UNKNOWN_MAX;

        begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
        for (i = 0; i < n; i++) {
            atl_stun_put(&f->request, (uint16_t)(0x6000 + i), NULL, 0);
        }
        if (n % 2 == 0) {
            atl_stun_put_fingerprint(&f->request);
        }
        expect_error(f, 420);
        assert_int_equal(f->answer.unknown_list.len, 2 * expected);
        for (i = 0; i < expected; i++) {
            assert_int_equal(f->answer.unknown_list.data[2 * i], 0x60);
            assert_int_equal(f->answer.unknown_list.data[2 * i + 1], i);
        }
        assert_int_equal(f->answer.has_fingerprint, n % 2 == 0);
    }
    assert_true(f->stats->unknown == 40);
    /* unknown ones that need not be understood change nothing */
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put(&f->request, 0xe000, "x", 1);
    assert_int_equal(ask(f, CLIENT), 1);
    assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
}

static void bad_requests(void **state) {
    fixture *f = *state;

    /* an attribute whose length lies */
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put(&f->request, ATL_STUN_A_SOFTWARE, "abcd", 4);
    f->buf[22] = 0x7f;
    expect_error(f, 400);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put(&f->request, ATL_STUN_A_INTEGRITY, "abcd", 4);
    expect_error(f, 400);
    assert_true(f->stats->bad_requests == 2);
}

/* What gets no answer at all, each counted. */
static void silence(void **state) {
    fixture *f = *state;
    atl_rx rx;

    begin(f, ATL_STUN_INDICATION, ATL_STUN_BINDING);
    assert_int_equal(ask(f, CLIENT), 0);
    begin(f, ATL_STUN_SUCCESS,
          ATL_STUN_BINDING); /* two servers must not talk to each other for ever */
    assert_int_equal(ask(f, CLIENT), 0);
    begin(f, ATL_STUN_ERROR, ATL_STUN_BINDING);
    assert_int_equal(ask(f, CLIENT), 0);
    begin(f, ATL_STUN_REQUEST, 3); /* Allocate */
    assert_int_equal(ask(f, CLIENT), 0);
    assert_true(f->stats->ignored == 4);

    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_fingerprint(&f->request);
    f->buf[27] ^= 1;
    assert_int_equal(ask(f, CLIENT), 0);
    assert_true(f->stats->dropped_fingerprint == 1);

    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    f->buf[3] = 4; /* the header's length lies */
    assert_int_equal(ask(f, CLIENT), 0);
    f->buf[3] = 0;
    f->buf[4] = 0; /* no cookie */
    assert_int_equal(ask(f, CLIENT), 0);
    assert_true(f->stats->dropped_malformed == 2);

    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    rx = world_rx(CLIENT, LOCAL, f->buf, f->request.len);
    rx.remote.port = 0;
    atl_stun_server_on_datagram(f->server, &rx);
    rx = world_rx("224.0.0.1:9", LOCAL, f->buf, f->request.len);
    atl_stun_server_on_datagram(f->server, &rx);
    rx = world_rx("0.0.0.0:9", LOCAL, f->buf, f->request.len);
    atl_stun_server_on_datagram(f->server, &rx);
    assert_true(f->stats->dropped_source == 3);
    rx = world_icmp(CLIENT, ATLAS_ERR_REFUSED);
    atl_stun_server_on_datagram(f->server, &rx);
    assert_int_equal(f->w->sent_count, 0);

    f->w->send_result = ATLAS_ERR_AGAIN;
    assert_int_equal(ask(f, CLIENT), 0);
    assert_true(f->stats->dropped_send == 1);
    assert_true(f->stats->successes == 0);
}

static void rate_limit(void **state) {
    fixture *f = *state;
    char from[ATLAS_ADDR_MAX];
    int answered = 0;
    int i;

    atl_stun_server_set_rate(f->server, 10);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_fingerprint(&f->request);
    for (i = 0; i < 100; i++) { /* the port does not matter */
        snprintf(from, sizeof(from), "203.0.113.5:%d", 1000 + i);
        answered += ask(f, from);
    }
    assert_int_equal(answered, 10);
    assert_true(f->stats->dropped_rate == 90);
    assert_int_equal(ask(f, "203.0.113.6:1000"), 1); /* nobody else is disturbed */
    /* IPv6: the /64 is one source */
    for (answered = 0, i = 0; i < 100; i++) {
        snprintf(from, sizeof(from), "[2001:db8:0:1::%x]:1000", i + 1);
        answered += ask(f, from);
    }
    assert_int_equal(answered, 10);
    assert_int_equal(ask(f, "[2001:db8:0:2::1]:1000"), 1);
    /* a second later ten more */
    world_run_until(f->w, ATL_SECOND);
    for (answered = 0, i = 0; i < 100; i++) {
        answered += ask(f, CLIENT);
    }
    assert_int_equal(answered, 10);
}

static void put_signed(fixture *f, const char *username, uint32_t bits, const char *key) {
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    if (username != NULL) {
        atl_stun_put(&f->request, ATL_STUN_A_USERNAME, username, strlen(username));
    }
    if ((bits & ATLAS_STUN_SHA1) != 0) {
        atl_stun_put_sha1(&f->request, key, strlen(key));
    }
    if ((bits & ATLAS_STUN_SHA256) != 0) {
        atl_stun_put_sha256(&f->request, key, strlen(key));
    }
    atl_stun_put_fingerprint(&f->request);
}

/* RFC 8489 section 9.1.3 */
static void credentials(void **state) {
    static const struct {
        const char *username;
        uint32_t bits;
        const char *key;
        uint16_t code;
    } rows[] = {
        {NULL, 0, "", 400},
        {"user", 0, "", 400},
        {NULL, ATLAS_STUN_SHA1, "secret", 400},
        {"other", ATLAS_STUN_SHA1, "secret", 401},
        {"user2", ATLAS_STUN_SHA1, "secret", 401},
        {"user", ATLAS_STUN_SHA1, "wrong", 401},
        {"user", ATLAS_STUN_SHA256, "wrong", 401},
        {"user", ATLAS_STUN_SHA1, "secret", 0},
        {"user", ATLAS_STUN_SHA256, "secret", 0},
        {"user", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256, "secret", 0},
    };
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256};
    fixture *f = *state;
    size_t i;

    assert_int_equal(atl_stun_server_set_creds(f->server, &creds), ATLAS_OK);
    for (i = 0; i < ATL_COUNT(rows); i++) {
        put_signed(f, rows[i].username, rows[i].bits, rows[i].key);
        if (rows[i].code != 0) {
            expect_error(f, rows[i].code);
            assert_int_equal(f->answer.integrity_at, 0);
            continue;
        }
        assert_int_equal(ask(f, CLIENT), 1);
        assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
        /* signed by the strongest of what was asked with, and by nothing else */
        if ((rows[i].bits & ATLAS_STUN_SHA256) != 0) {
            assert_int_equal(atl_stun_check_sha256(&f->answer, "secret", 6), ATLAS_OK);
            assert_int_equal(f->answer.integrity_at, 0);
        } else {
            assert_int_equal(atl_stun_check_sha1(&f->answer, "secret", 6), ATLAS_OK);
            assert_int_equal(f->answer.integrity256_at, 0);
        }
    }
    assert_true(f->stats->unauthorised == 4);
    /* only one algorithm allowed */
    assert_int_equal(atl_stun_server_set_creds(
                         f->server, &(atl_stun_creds){"user", "secret", ATLAS_STUN_SHA256}),
                     ATLAS_OK);
    put_signed(f, "user", ATLAS_STUN_SHA1, "secret");
    expect_error(f, 401);
    assert_int_equal(atl_stun_server_set_creds(f->server, NULL), ATLAS_OK);
    put_signed(f, "user", ATLAS_STUN_SHA1, "whatever");
    assert_int_equal(ask(f, CLIENT), 1);
    assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
    assert_int_equal(
        atl_stun_server_set_creds(f->server, &(atl_stun_creds){"user", NULL, ATLAS_STUN_SHA256}),
        ATLAS_ERR_INVALID);
}

/* ---- two addresses (RFC 5780) ---- */

#define CHANGE_IP ATL_STUN_CHANGE_IP
#define CHANGE_PORT ATL_STUN_CHANGE_PORT

typedef struct corners {
    uint8_t family;
    const char *at[2][2]; /* by IP address and port: primary, alternate */
    const char *client;
} corners;

static const corners CORNERS[2] = {
    {4, {{"192.0.2.1:3478", "192.0.2.1:3479"}, {"192.0.2.2:3478", "192.0.2.2:3479"}}, CLIENT},
    {6,
     {{"[2001:db8::1]:3478", "[2001:db8::1]:3479"}, {"[2001:db8::2]:3478", "[2001:db8::2]:3479"}},
     CLIENT6},
};

static void give_pair(fixture *f, const corners *c) {
    const atl_stun_pair pair = {world_addr(c->at[0][0]), world_addr(c->at[1][1])};

    assert_int_equal(atl_stun_server_set_pair(f->server, c->family, &pair), ATLAS_OK);
}

/* Asks one corner; what leaves is never more than twice what came, IP and UDP headers included, and
 * goes to the source's IP address. */
static const sent *ask_at(fixture *f, const corners *c, const char *at) {
    atl_rx rx = world_rx(c->client, at, f->buf, f->request.len);
    size_t headers = c->family == 4 ? 28 : 48;
    const sent *out = &f->w->sent[0];

    f->w->sent_count = 0;
    atl_stun_server_on_datagram(f->server, &rx);
    if (f->w->sent_count == 0) {
        return NULL;
    }
    assert_int_equal(f->w->sent_count, 1);
    assert_true(out->len + headers <= 2 * (rx.len + headers));
    assert_memory_equal(out->remote.ip, rx.remote.ip, sizeof(rx.remote.ip));
    assert_int_equal(atl_stun_parse(out->data, out->len, &f->answer), ATLAS_OK);
    return out;
}

static void expect_addr(const atl_addr *addr, const char *text) {
    char got[ATLAS_ADDR_MAX];

    atl_addr_text(addr, got);
    assert_string_equal(got, text);
}

/* Every corner, asked for every change: from where the answer leaves, and what it says. */
static void second_address(void **state) {
    fixture *f = *state;
    size_t family;
    uint32_t i;

    for (family = 0; family < 2; family++) {
        const corners *c = &CORNERS[family];

        give_pair(f, c);
        for (i = 0; i < 16; i++) {
            size_t ip = i & 1;
            size_t port = i >> 1 & 1;
            uint32_t change = (i & 4 ? CHANGE_IP : 0) | (i & 8 ? CHANGE_PORT : 0);
            const char *from =
                c->at[ip ^ ((change & CHANGE_IP) != 0)][port ^ ((change & CHANGE_PORT) != 0)];
            const sent *out;

            begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
            if (change != 0) {
                atl_stun_put_u32(&f->request, ATL_STUN_A_CHANGE_REQUEST, change);
            }
            atl_stun_put_fingerprint(&f->request);
            out = ask_at(f, c, c->at[ip][port]);
            assert_non_null(out);
            expect_addr(&out->local, from);
            expect_addr(&out->remote, c->client);
            assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
            expect_addr(&f->answer.xor_mapped, c->client);
            expect_addr(&f->answer.origin, from);
            expect_addr(&f->answer.other, c->at[ip ^ 1][port ^ 1]);
        }
    }
    assert_true(f->stats->changed == 24);
    assert_true(f->stats->successes == 32);
}

/* A header alone, as many clients send: OTHER-ADDRESS is in the answer, over IPv4 the origin too.
 */
static void second_address_short(void **state) {
    fixture *f = *state;
    size_t i;

    for (i = 0; i < 2; i++) {
        give_pair(f, &CORNERS[i]);
        begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
        assert_non_null(ask_at(f, &CORNERS[i], CORNERS[i].at[0][0]));
        assert_int_equal(f->answer.other.family, CORNERS[i].family);
        assert_int_equal(f->answer.origin.family, i == 0 ? 4 : 0);
    }
}

static void response_port(void **state) {
    fixture *f = *state;
    const corners *c = &CORNERS[0];
    const sent *out;

    give_pair(f, c);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_response_port(&f->request, 555);
    out = ask_at(f, c, c->at[0][0]);
    expect_addr(&out->remote, "203.0.113.5:555");
    expect_addr(&out->local, c->at[0][0]);
    expect_addr(&f->answer.xor_mapped, CLIENT);
    assert_true(f->stats->changed == 1);
    /* port 0, and PADDING with it, are refused, to where the request came from */
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_response_port(&f->request, 0);
    out = ask_at(f, c, c->at[0][0]);
    assert_int_equal(f->answer.error_code, 400);
    expect_addr(&out->remote, CLIENT);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_response_port(&f->request, 555);
    atl_stun_put(&f->request, ATL_STUN_A_PADDING, "x", 1);
    out = ask_at(f, c, c->at[0][0]);
    assert_int_equal(f->answer.error_code, 400);
    expect_addr(&out->remote, CLIENT);
    /* so is what is not known, or not allowed */
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_response_port(&f->request, 555);
    atl_stun_put(&f->request, 0x7ffe, NULL, 0);
    out = ask_at(f, c, c->at[0][0]);
    assert_int_equal(f->answer.error_code, 420);
    expect_addr(&out->remote, CLIENT);
}

/* Without a second address its attributes are unknown ones; with one, PADDING is borne. */
static void behaviour_refused(void **state) {
    fixture *f = *state;
    const corners *c = &CORNERS[0];

    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_u32(&f->request, ATL_STUN_A_CHANGE_REQUEST, CHANGE_IP);
    atl_stun_put_response_port(&f->request, 555);
    atl_stun_put(&f->request, ATL_STUN_A_PADDING, "x", 1);
    expect_error(f, 420);
    assert_int_equal(f->answer.unknown_list.len, 6);
    assert_memory_equal(f->answer.unknown_list.data, "\x00\x03\x00\x27\x00\x26", 6);
    give_pair(f, c);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put(&f->request, ATL_STUN_A_PADDING, "x", 1);
    assert_non_null(ask_at(f, c, c->at[0][0]));
    assert_int_equal(f->answer.header.cls, ATL_STUN_SUCCESS);
    assert_int_equal(atl_stun_server_set_pair(f->server, 4, NULL), ATLAS_OK);
    expect_error(f, 420);
}

/* The rate of the source holds for changed answers as well. */
static void changed_rate(void **state) {
    fixture *f = *state;
    const corners *c = &CORNERS[0];
    int answers = 0;
    int i;

    give_pair(f, c);
    atl_stun_server_set_rate(f->server, 10);
    begin(f, ATL_STUN_REQUEST, ATL_STUN_BINDING);
    atl_stun_put_u32(&f->request, ATL_STUN_A_CHANGE_REQUEST, CHANGE_IP | CHANGE_PORT);
    for (i = 0; i < 100; i++) {
        answers += ask_at(f, c, c->at[i & 1][i >> 1 & 1]) != NULL;
    }
    assert_int_equal(answers, 10);
}

static void wrong_pairs(void **state) {
    static const char *const rows[][2] = {
        {"192.0.2.1:3478", "192.0.2.1:3479"}, {"192.0.2.1:3478", "192.0.2.2:3478"},
        {"192.0.2.1:3478", "[::1]:3479"},     {"192.0.2.1:3478", "192.0.2.2:0"},
        {"192.0.2.1:0", "192.0.2.2:3479"},    {"[::1]:3478", "[::2]:3479"},
    };
    fixture *f = *state;
    size_t i;

    for (i = 0; i < ATL_COUNT(rows); i++) {
        const atl_stun_pair pair = {world_addr(rows[i][0]), world_addr(rows[i][1])};

        assert_int_equal(atl_stun_server_set_pair(f->server, 4, &pair), ATLAS_ERR_INVALID);
    }
}

/* Random bytes and random changes of a request: never a crash, never more than twice, never to
 * anyone else. */
static void noise(void **state) {
    fixture *f = *state;
    uint32_t i;

    for (i = 0; i < 20000; i++) {
        uint8_t seed[randombytes_SEEDBYTES] = {0};
        uint8_t where[8];
        uint32_t k;

        memcpy(seed, &i, sizeof(i));
        randombytes_buf_deterministic(where, sizeof(where), seed);
        put_signed(f, "user", ATLAS_STUN_SHA1, "secret");
        for (k = 0; k < (uint32_t)where[0] % 4; k++) {
            f->buf[where[1 + k] % f->request.len] = where[4 + k];
        }
        if (where[7] < 64) {
            randombytes_buf_deterministic(f->buf, f->request.len, seed);
        }
        f->w->sent_count = 0;
        {
            atl_rx rx = world_rx(CLIENT, LOCAL, f->buf, where[7] % (f->request.len + 1));

            atl_stun_server_on_datagram(f->server, &rx);
            rx.len = f->request.len;
            atl_stun_server_on_datagram(f->server, &rx);
            assert_true(f->w->sent_count <= 2);
            for (k = 0; k < f->w->sent_count; k++) {
                assert_true(f->w->sent[k].len <= 2 * f->request.len);
                assert_true(atl_addr_equal(&f->w->sent[k].remote, &rx.remote));
            }
        }
    }
    assert_true(f->stats->successes > 0);
    assert_true(f->stats->dropped_malformed > 0);
    assert_true(f->stats->dropped_fingerprint > 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(binding),
        TEST(amplification),
        TEST(unknown_attributes),
        TEST(bad_requests),
        TEST(silence),
        TEST(rate_limit),
        TEST(credentials),
        TEST(noise),
        TEST(second_address),
        TEST(second_address_short),
        TEST(response_port),
        TEST(behaviour_refused),
        TEST(changed_rate),
        TEST(wrong_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
