/* STUN transactions on a clock that the test moves. */
#include "stun/client.h"

#include "test_stun_world.h"

#define SERVER "198.51.100.1:3478"
#define LOCAL "192.0.2.1:1000"
#define MAPPED "203.0.113.9:4242"

typedef struct outcome {
    int calls;
    uint64_t at;
    world *w;
    atl_stun_reply reply;
} outcome;

typedef struct fixture {
    world *w;
    atl_stun_client *client;
    outcome done;
    atl_stun_txn *txn;
} fixture;

static void on_done(void *user, const atl_stun_reply *reply) {
    outcome *o = user;

    o->calls++;
    o->at = o->w->now - WORLD_START;
    o->reply = *reply;
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));

    f->w = world_new();
    f->done.w = f->w;
    assert_int_equal(atl_stun_client_new(&f->w->loop, world_send, f->w, &f->client), ATLAS_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;

    atl_stun_client_free(f->client);
    world_free(f->w);
    free(f);
    return 0;
}

static void start(fixture *f, uint64_t timeout, const atl_stun_creds *creds) {
    atl_addr remote = world_addr(SERVER);

    assert_int_equal(atl_stun_client_start(f->client, NULL, &remote, f->w->loop.now + timeout,
                                           creds, on_done, &f->done, &f->txn),
                     ATLAS_OK);
}

/* An answer to the last request sent. */
static void begin_answer(fixture *f, atl_writer *writer, uint8_t *buf, size_t cap, uint8_t cls) {
    const sent *last = &f->w->sent[f->w->sent_count - 1];

    assert_true(f->w->sent_count > 0);
    atl_writer_init(writer, buf, cap);
    atl_stun_begin(writer, cls, ATL_STUN_BINDING, last->data + 8);
}

static int deliver_from(fixture *f, const char *from, atl_writer *writer) {
    atl_rx rx = world_rx(from, LOCAL, writer->data, writer->len);

    assert_int_equal(writer->error, ATLAS_OK);
    return atl_stun_client_on_datagram(f->client, &rx);
}

static int answer_mapped(fixture *f, const char *from) {
    uint8_t buf[256];
    atl_writer writer;
    atl_addr mapped = world_addr(MAPPED);

    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
    return deliver_from(f, from, &writer);
}

static int answer_error(fixture *f, const char *from, uint16_t code, const char *reason,
                        const char *alternate) {
    uint8_t buf[256];
    atl_writer writer;

    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_ERROR);
    atl_stun_put_error(&writer, code, reason);
    if (alternate != NULL) {
        atl_addr addr = world_addr(alternate);

        atl_stun_put_addr(&writer, ATL_STUN_A_ALTERNATE_SERVER, &addr);
    }
    return deliver_from(f, from, &writer);
}

/* RFC 8489 section 6.2.1: RTO 500 ms, Rc 7, Rm 16. */
static void schedule(void **state) {
    static const uint64_t times_ms[] = {0, 500, 1500, 3500, 7500, 15500, 31500};
    fixture *f = *state;
    size_t i;

    start(f, 100 * ATL_SECOND, NULL);
    world_run_until(f->w, 200 * ATL_SECOND);
    assert_int_equal(f->w->sent_count, ATL_COUNT(times_ms));
    for (i = 0; i < ATL_COUNT(times_ms); i++) {
        assert_true(f->w->sent[i].at == times_ms[i] * ATL_MS);
        assert_int_equal(f->w->sent[i].len, f->w->sent[0].len);
        assert_memory_equal(f->w->sent[i].data, f->w->sent[0].data, f->w->sent[0].len);
    }
    assert_int_equal(f->done.calls, 1);
    assert_true(f->done.at == 39500 * ATL_MS);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_TIMEOUT);
    assert_int_equal(f->done.reply.transmissions, 7);
}

/* The caller's deadline cuts the schedule short, to the nanosecond. */
static void deadlines(void **state) {
    static const struct {
        uint64_t timeout_ms;
        size_t sent;
    } rows[] = {{100, 1},  {500, 1},  {501, 2},   {3000, 3},
                {3500, 3}, {3501, 4}, {39499, 7}, {39500, 7}};
    fixture *f = *state;
    size_t i;

    for (i = 0; i < ATL_COUNT(rows); i++) {
        uint64_t from = f->w->now - WORLD_START;

        f->w->sent_count = 0;
        f->done.calls = 0;
        start(f, rows[i].timeout_ms * ATL_MS, NULL);
        world_run_until(f->w, from + rows[i].timeout_ms * ATL_MS - 1);
        assert_int_equal(f->done.calls, 0);
        world_run_until(f->w, from + 60 * ATL_SECOND);
        assert_int_equal(f->done.calls, 1);
        assert_true(f->done.at == from + rows[i].timeout_ms * ATL_MS);
        assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_TIMEOUT);
        assert_int_equal(f->w->sent_count, rows[i].sent);
    }
}

static void success(void **state) {
    fixture *f = *state;
    atl_stun_msg msg;
    atl_addr mapped = world_addr(MAPPED);
    atl_addr local = world_addr(LOCAL);

    start(f, 3 * ATL_SECOND, NULL);
    assert_int_equal(f->w->sent_count, 1);
    assert_int_equal(atl_stun_parse(f->w->sent[0].data, f->w->sent[0].len, &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_REQUEST);
    assert_true(msg.has_fingerprint);
    assert_int_equal(f->w->sent[0].local.family, 0);
    world_run_until(f->w, 700 * ATL_MS);
    assert_int_equal(answer_mapped(f, SERVER), 1);
    assert_int_equal(f->done.calls, 1);
    assert_int_equal(f->done.reply.code, ATLAS_OK);
    assert_true(atl_addr_equal(&f->done.reply.reflexive, &mapped));
    assert_true(atl_addr_equal(&f->done.reply.local, &local));
    assert_int_equal(f->done.reply.transmissions, 2);
    assert_true(f->done.reply.rtt == 200 * ATL_MS);
    assert_int_equal(atl_stun_client_count(f->client), 0);
    /* a second answer finds nothing */
    assert_int_equal(answer_mapped(f, SERVER), 0);
    assert_int_equal(f->done.calls, 1);
}

/* MAPPED-ADDRESS of an old server is taken; XOR-MAPPED-ADDRESS is preferred. */
static void mapped_address(void **state) {
    fixture *f = *state;
    atl_addr plain = world_addr("203.0.113.10:1");
    atl_addr xored = world_addr("203.0.113.11:2");
    uint8_t buf[256];
    atl_writer writer;

    start(f, 3 * ATL_SECOND, NULL);
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_addr(&writer, ATL_STUN_A_MAPPED_ADDRESS, &plain);
    assert_int_equal(deliver_from(f, SERVER, &writer), 1);
    assert_true(atl_addr_equal(&f->done.reply.reflexive, &plain));

    start(f, 3 * ATL_SECOND, NULL);
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_addr(&writer, ATL_STUN_A_MAPPED_ADDRESS, &plain);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &xored);
    assert_int_equal(deliver_from(f, SERVER, &writer), 1);
    assert_true(atl_addr_equal(&f->done.reply.reflexive, &xored));

    start(f, 3 * ATL_SECOND, NULL);
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    assert_int_equal(deliver_from(f, SERVER, &writer), 1);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_NO_ADDRESS);
    assert_int_equal(f->done.calls, 3);
}

/* What is not the answer of the server asked to the request sent changes nothing. */
static void strangers(void **state) {
    fixture *f = *state;
    uint8_t buf[256];
    atl_writer writer;
    atl_addr mapped = world_addr("6.6.6.6:666");
    int cls;

    start(f, 3 * ATL_SECOND, NULL);
    assert_int_equal(answer_mapped(f, "198.51.100.2:3478"), 0); /* another address */
    assert_int_equal(answer_mapped(f, "198.51.100.1:3479"), 0); /* another port */
    for (cls = 0; cls < 4; cls++) {                             /* another id, and other classes */
        begin_answer(f, &writer, buf, sizeof(buf), (uint8_t)cls);
        atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
        buf[19] ^= cls >= 2;
        assert_int_equal(deliver_from(f, SERVER, &writer), 0);
    }
    /* a broken answer: as if it had not come */
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
    buf[23] = 7;
    assert_int_equal(deliver_from(f, SERVER, &writer), 0);
    /* an error answer without ERROR-CODE */
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_ERROR);
    assert_int_equal(deliver_from(f, SERVER, &writer), 0);
    assert_int_equal(f->done.calls, 0);
    assert_int_equal(answer_mapped(f, SERVER), 1);
    assert_int_equal(f->done.reply.code, ATLAS_OK);
}

static void error_answers(void **state) {
    fixture *f = *state;
    uint8_t buf[256];
    atl_writer writer;
    atl_addr mapped = world_addr(MAPPED);

    start(f, 3 * ATL_SECOND, NULL);
    assert_int_equal(answer_error(f, SERVER, 500, "Server\x1b[31m Error", NULL), 1);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_RESPONSE);
    assert_int_equal(f->done.reply.stun_code, 500);
    assert_string_equal(f->done.reply.reason, "Server?[31m Error"); /* no escapes into terminals */

    start(f, 3 * ATL_SECOND, NULL);
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
    atl_stun_put(&writer, 0x7abc, "new", 3);
    assert_int_equal(deliver_from(f, SERVER, &writer), 1);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_UNKNOWN);
    assert_int_equal(f->done.reply.reflexive.family, 0);

    /* an unknown attribute that need not be understood */
    start(f, 3 * ATL_SECOND, NULL);
    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
    atl_stun_put(&writer, 0xfabc, "new", 3);
    assert_int_equal(deliver_from(f, SERVER, &writer), 1);
    assert_int_equal(f->done.reply.code, ATLAS_OK);
    assert_int_equal(f->done.calls, 3);
}

static void alternate_server(void **state) {
    static const char other[] = "198.51.100.77:5000";
    /* never followed: another family, ourselves, nowhere, many, port 0, the same again */
    static const char *const refused[] = {"[2001:db8::1]:3478",
                                          "127.0.0.1:3478",
                                          "0.0.0.0:3478",
                                          "224.0.0.1:3478",
                                          "169.254.1.1:3478",
                                          SERVER,
                                          NULL};
    fixture *f = *state;
    uint8_t first_id[12];
    atl_addr addr = world_addr(other);
    size_t i;

    start(f, 3 * ATL_SECOND, NULL);
    memcpy(first_id, f->w->sent[0].data + 8, 12);
    world_run_until(f->w, 100 * ATL_MS);
    assert_int_equal(answer_error(f, SERVER, 300, "Try Alternate", other), 1);
    assert_int_equal(f->done.calls, 0);
    assert_int_equal(f->w->sent_count, 2);
    assert_true(atl_addr_equal(&f->w->sent[1].remote, &addr));
    assert_memory_not_equal(f->w->sent[1].data + 8, first_id, 12);
    assert_int_equal(answer_mapped(f, SERVER), 0); /* no longer the one asked */
    world_run_until(f->w, 130 * ATL_MS);
    assert_int_equal(answer_mapped(f, other), 1);
    assert_int_equal(f->done.reply.code, ATLAS_OK);
    assert_true(atl_addr_equal(&f->done.reply.remote, &addr));
    assert_true(f->done.reply.rtt == 30 * ATL_MS);

    /* once at most */
    start(f, 3 * ATL_SECOND, NULL);
    assert_int_equal(answer_error(f, SERVER, 300, "", other), 1);
    assert_int_equal(answer_error(f, other, 300, "", "198.51.100.78:5000"), 1);
    assert_int_equal(f->done.calls, 2);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_RESPONSE);
    assert_int_equal(f->done.reply.stun_code, 300);

    for (i = 0; i < ATL_COUNT(refused); i++) {
        start(f, 3 * ATL_SECOND, NULL);
        f->done.calls = 0;
        assert_int_equal(answer_error(f, SERVER, 300, "", refused[i]), 1);
        assert_int_equal(f->done.calls, 1);
        assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_RESPONSE);
    }
    /* the deadline counts from the first request */
    start(f, 3 * ATL_SECOND, NULL);
    f->done.calls = 0;
    world_run_until(f->w, 1130 * ATL_MS);
    assert_int_equal(answer_error(f, SERVER, 300, "", other), 1);
    world_run_until(f->w, 3130 * ATL_MS);
    assert_int_equal(f->done.calls, 1);
    assert_true(f->done.at == 3130 * ATL_MS);
}

static void icmp(void **state) {
    fixture *f = *state;
    atl_rx rx;

    start(f, 3 * ATL_SECOND, NULL);
    rx = world_icmp("198.51.100.1:3479", ATLAS_ERR_REFUSED);
    assert_int_equal(atl_stun_client_on_datagram(f->client, &rx), 0);
    rx = world_icmp(SERVER, ATLAS_ERR_TOO_LARGE);
    assert_int_equal(atl_stun_client_on_datagram(f->client, &rx), 0);
    assert_int_equal(f->done.calls, 0);
    start(f, 3 * ATL_SECOND, NULL);
    rx = world_icmp(SERVER, ATLAS_ERR_REFUSED);
    assert_int_equal(atl_stun_client_on_datagram(f->client, &rx), 1);
    assert_int_equal(f->done.calls, 2); /* both with this server */
    assert_int_equal(f->done.reply.code, ATLAS_ERR_REFUSED);
    start(f, 3 * ATL_SECOND, NULL);
    rx = world_icmp(SERVER, ATLAS_ERR_UNREACHABLE);
    assert_int_equal(atl_stun_client_on_datagram(f->client, &rx), 1);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_UNREACHABLE);
}

/* An answer with the integrities of `bits` under `key`. */
static int answer_signed(fixture *f, uint32_t bits, const char *key) {
    uint8_t buf[256];
    atl_writer writer;
    atl_addr mapped = world_addr(MAPPED);

    begin_answer(f, &writer, buf, sizeof(buf), ATL_STUN_SUCCESS);
    atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, &mapped);
    if ((bits & ATLAS_STUN_SHA1) != 0) {
        atl_stun_put_sha1(&writer, key, strlen(key));
    }
    if ((bits & ATLAS_STUN_SHA256) != 0) {
        atl_stun_put_sha256(&writer, key, strlen(key));
    }
    return deliver_from(f, SERVER, &writer);
}

static void integrity(void **state) {
    static const struct {
        uint32_t asked;
        uint32_t answered;
        const char *key;
        int accepted;
    } rows[] = {
        {ATLAS_STUN_SHA1, ATLAS_STUN_SHA1, "secret", 1},
        {ATLAS_STUN_SHA256, ATLAS_STUN_SHA256, "secret", 1},
        {ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256, ATLAS_STUN_SHA1, "secret", 1},
        {ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256, ATLAS_STUN_SHA256, "secret", 1},
        {ATLAS_STUN_SHA256, ATLAS_STUN_SHA1, "secret", 0}, /* not the algorithm asked with */
        {ATLAS_STUN_SHA1, ATLAS_STUN_SHA256, "secret", 0},
        {ATLAS_STUN_SHA1, ATLAS_STUN_SHA1, "Secret", 0},
        {ATLAS_STUN_SHA256, ATLAS_STUN_SHA256, "secret2", 0},
        {ATLAS_STUN_SHA1, 0, "", 0},
        {ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256, 0, "", 0},
    };
    fixture *f = *state;
    size_t i;

    for (i = 0; i < ATL_COUNT(rows); i++) {
        const atl_stun_creds creds = {"user", "secret", rows[i].asked};
        const sent *request;
        atl_stun_msg msg;

        f->done.calls = 0;
        start(f, 3 * ATL_SECOND, &creds);
        request = &f->w->sent[f->w->sent_count - 1];
        assert_int_equal(atl_stun_parse(request->data, request->len, &msg), ATLAS_OK);
        assert_int_equal(msg.username.len, 4);
        assert_int_equal(atl_stun_check_sha1(&msg, "secret", 6) == ATLAS_OK,
                         (rows[i].asked & ATLAS_STUN_SHA1) != 0);
        assert_int_equal(atl_stun_check_sha256(&msg, "secret", 6) == ATLAS_OK,
                         (rows[i].asked & ATLAS_STUN_SHA256) != 0);
        assert_int_equal(answer_signed(f, rows[i].answered, rows[i].key), 1);
        assert_int_equal(f->done.calls, rows[i].accepted);
        if (!rows[i].accepted) {
            /* as if it had not come: a right one is taken later, and the requests go on */
            size_t before = f->w->sent_count;

            world_run_until(f->w, f->w->now - WORLD_START + 500 * ATL_MS);
            assert_int_equal(f->w->sent_count, before + 1);
            assert_int_equal(answer_signed(f, rows[i].asked, "secret"), 1);
            assert_int_equal(f->done.calls, 1);
        }
        assert_int_equal(f->done.reply.code, ATLAS_OK);
        f->w->sent_count = 0;
    }
}

/* Discarded answers are told of at the deadline only, with what the last one said. */
static void integrity_at_deadline(void **state) {
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA256};
    fixture *f = *state;

    start(f, 3 * ATL_SECOND, &creds);
    assert_int_equal(answer_error(f, SERVER, 401, "Unauthenticated", NULL), 1);
    world_run_until(f->w, 3 * ATL_SECOND - 1);
    assert_int_equal(f->done.calls, 0);
    world_run_until(f->w, 3 * ATL_SECOND);
    assert_int_equal(f->done.calls, 1);
    assert_int_equal(f->done.reply.code, ATLAS_ERR_STUN_INTEGRITY);
    assert_int_equal(f->done.reply.stun_code, 401);
    assert_string_equal(f->done.reply.reason, "Unauthenticated");
    assert_int_equal(f->w->sent_count, 3);
}

static void arguments(void **state) {
    fixture *f = *state;
    char *long_name = malloc(ATL_STUN_USERNAME_MAX + 2);
    atl_stun_creds creds = {long_name, "p", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256};
    atl_addr remote = world_addr(SERVER);
    atl_addr no_port = remote;
    atl_addr none;
    size_t i;

    memset(&none, 0, sizeof(none));
    memset(long_name, 'u', ATL_STUN_USERNAME_MAX + 1);
    long_name[ATL_STUN_USERNAME_MAX + 1] = '\0';
    no_port.port = 0;
#define START(remote_, creds_) \
    atl_stun_client_start(f->client, NULL, remote_, UINT64_MAX, creds_, on_done, &f->done, &f->txn)
    assert_int_equal(START(&none, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(&no_port, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(START(&remote, &creds), ATLAS_ERR_INVALID);
    long_name[ATL_STUN_USERNAME_MAX] = '\0';
    assert_int_equal(START(&remote, &creds), ATLAS_OK);
    atl_stun_client_cancel(f->client, f->txn);
    creds.integrity = 4;
    assert_int_equal(START(&remote, &creds), ATLAS_ERR_INVALID);
    creds.integrity = ATLAS_STUN_SHA1;
    creds.password = NULL;
    assert_int_equal(START(&remote, &creds), ATLAS_ERR_INVALID);
    f->w->send_result = ATLAS_ERR_FAMILY; /* no socket of this family: told at once */
    assert_int_equal(START(&remote, NULL), ATLAS_ERR_FAMILY);
    f->w->send_result = ATLAS_ERR_AGAIN; /* a full socket is a lost datagram */
    assert_int_equal(START(&remote, NULL), ATLAS_OK);
    atl_stun_client_cancel(f->client, f->txn);
    f->w->send_result = ATLAS_OK;
    assert_int_equal(atl_stun_client_count(f->client), 0);
    for (i = 0; i < ATL_STUN_TXNS_MAX; i++) {
        f->w->sent_count = 0;
        assert_int_equal(START(&remote, NULL), ATLAS_OK);
    }
    assert_int_equal(START(&remote, NULL), ATLAS_ERR_LIMIT);
#undef START
    assert_int_equal(f->done.calls, 0);
    free(long_name);
}

/* An allocation that fails is an error, and nothing is left behind. */
static void no_memory(void **state) {
    fixture *f = *state;
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA1};
    atl_addr remote = world_addr(SERVER);
    size_t live = f->w->live;
    size_t n;
    int32_t rc = ATLAS_ERR_NOMEM;

    for (n = 1; rc != ATLAS_OK; n++) {
        assert_true(n < 10);
        f->w->allocations = 0;
        f->w->fail_at = n;
        rc = atl_stun_client_start(f->client, NULL, &remote, UINT64_MAX, &creds, on_done, &f->done,
                                   &f->txn);
        assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_NOMEM);
        assert_true(rc == ATLAS_OK || f->w->live == live);
    }
    assert_int_equal(n, 6); /* transaction, user name, password, table; then none failed */
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(schedule),  TEST(deadlines), TEST(success),          TEST(mapped_address),
        TEST(strangers), TEST(integrity), TEST(alternate_server), TEST(icmp),
        TEST(arguments), TEST(no_memory), TEST(error_answers),    TEST(integrity_at_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
