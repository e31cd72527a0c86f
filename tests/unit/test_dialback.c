/* The dial-back service: what it sends, to whom, when, and whom it refuses. */
#include "dialback_world.h"

/* ---- what is sent ---- */

/* Three times within a second, from two sources, each to each candidate. */
static void sends(void **state) {
    static const char *const candidates[] = {"203.0.113.7:4001", "203.0.113.7:5001", NULL};
    static const uint64_t at[] = {0, 200, 600};
    static world w;
    atl_h3_stream stream;
    atl_dialback_reply reply;
    atl_addr observed = addr("203.0.113.7:4001");
    atl_addr local = addr("192.0.2.1:443");
    uint64_t start;
    size_t i;

    (void)state;
    world_init(&w);
    start = w.loop.now;
    ask(&w, &stream, "203.0.113.7:4001", 1, candidates);
    reply = reply_of(&stream);
    assert_true(atl_addr_equal(&reply.observed, &observed));
    assert_int_equal(reply.n_results, 2);
    assert_int_equal(reply.results[0], ATL_DIALBACK_ADDRESS);
    assert_int_equal(reply.results[1], ATL_DIALBACK_ADDRESS);
    pass(&w, 5 * ATL_SECOND);
    assert_int_equal(w.n_sent, 12);
    for (i = 0; i < w.n_sent; i++) {
        const sent *s = &w.sent[i];
        atl_addr to = addr(candidates[i / 2 % 2]);

        assert_int_equal(s->at - start, at[i / 4] * ATL_MS);
        assert_true(atl_addr_equal(&s->remote, &to));
        assert_int_equal(s->index, i / 2 % 2);
        assert_int_equal(s->other, i % 2);
        assert_int_equal(s->from, i % 2 ? ATL_DIALBACK_FROM_ADDRESS : ATL_DIALBACK_FROM_PORT);
        if (!s->other) {
            /* another port, of the address that was asked */
            assert_int_not_equal(s->bound.port, 443);
            assert_true(atl_addr_equal(&s->local, &local));
        }
    }
    assert_int_equal(w.opened, 1);
    assert_int_equal(atl_dialback_get_stats(w.dialback)->datagrams, 12);
    assert_int_equal(atl_dialback_get_stats(w.dialback)->requests, 1);
    world_done(&w);
}

/* Only the asker's own IP address, and no port 0; the rest is said, not sent. */
static void only_own_address(void **state) {
    static const struct {
        const char *remote;
        const char *candidates[9];
        uint8_t results[8];
    } rows[] = {
        {"203.0.113.7:9",
         {"203.0.113.8:4001", "203.0.113.7:4001", "[2001:db8::7]:1", "127.0.0.1:4001",
          "203.0.113.7:0", "255.255.255.255:1", "0.0.0.0:1", NULL},
         {0, 2, 0, 0, 3, 0, 0}},
        {"[2001:db8::7]:9",
         {"[2001:db8::8]:1", "203.0.113.7:1", "[2001:db8::7]:2", "[ff02::1]:5", "[::1]:5", NULL},
         {0, 0, 2, 0, 0}},
        {"203.0.113.7:9", {"198.51.100.1:53", NULL}, {0}},
        {"203.0.113.7:9", {NULL}, {0}},
    };
    static world w;
    uint64_t refused = 0;
    size_t i;

    (void)state;
    world_init(&w);
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_addr own = addr(rows[i].remote);
        atl_h3_stream stream;
        atl_dialback_reply reply;
        size_t n = 0;
        size_t yes = 0;
        size_t k;

        w.n_sent = 0;
        ask(&w, &stream, rows[i].remote, (int)i + 1, rows[i].candidates);
        reply = reply_of(&stream);
        assert_true(atl_addr_equal(&reply.observed, &own));
        for (; rows[i].candidates[n] != NULL; n++) {
            yes += rows[i].results[n] == ATL_DIALBACK_ADDRESS;
            refused += rows[i].results[n] == ATL_DIALBACK_NOT_YOURS;
        }
        assert_int_equal(reply.n_results, n);
        assert_memory_equal(reply.results, rows[i].results, n);
        pass(&w, ATL_SECOND);
        assert_int_equal(w.n_sent, yes * 6);
        for (k = 0; k < w.n_sent; k++) {
            assert_memory_equal(w.sent[k].remote.ip, own.ip, sizeof(own.ip));
            assert_int_equal(w.sent[k].remote.family, own.family);
            assert_int_not_equal(w.sent[k].remote.port, 0);
        }
    }
    assert_int_equal(atl_dialback_get_stats(w.dialback)->refused_candidates, refused);
    world_done(&w);
}

/* An IPv4 asker on an IPv6 socket is an IPv4 asker. */
static void mapped_asker(void **state) {
    static const char *const candidates[] = {"203.0.113.7:4001", NULL};
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 203, 0, 113, 7};
    static world w;
    atl_h3_request request = {"POST", "https", "x", ATL_DIALBACK_PATH, "", 0};
    atl_peer_id id = {{1}};
    atl_requester from;
    atl_h3_stream stream;
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    size_t len = encode(candidates, body);

    (void)state;
    world_init(&w);
    memset(&from, 0, sizeof(from));
    memset(&stream, 0, sizeof(stream));
    from.peer = &id;
    memcpy(from.remote.ip, mapped, sizeof(mapped));
    from.remote.family = 6;
    from.remote.port = 4001;
    assert_int_equal(
        atl_dialback_ops.on_request(w.dialback, &stream, &request, &from, &stream.request), 1);
    feed(&w, &stream, body, len);
    atl_dialback_ops.on_end(w.dialback, stream.request, &stream);
    closed(&w, &stream);
    assert_int_equal(reply_of(&stream).observed.family, 4);
    assert_int_equal(reply_of(&stream).results[0], ATL_DIALBACK_ADDRESS);
    assert_int_equal(w.sent[0].remote.family, 4);
    world_done(&w);
}

/* What the sources are: the answer says what was possible. */
static void sources(void **state) {
    static const char *const candidates[] = {"203.0.113.7:4001", NULL};
    static const struct {
        int32_t open;
        int32_t send;
        int32_t other;
        int no_socket;
        uint8_t result;
        size_t sent;
    } rows[] = {
        {ATLAS_OK, ATLAS_OK, ATLAS_OK, 0, ATL_DIALBACK_ADDRESS, 6},
        {ATLAS_OK, ATLAS_OK, ATLAS_ERR_NOT_FOUND, 0, ATL_DIALBACK_PORT, 3},
        {ATLAS_ERR_IO, ATLAS_OK, ATLAS_ERR_NOT_FOUND, 0, ATL_DIALBACK_FAILED, 0},
        {ATLAS_OK, ATLAS_ERR_AGAIN, ATLAS_ERR_NOT_FOUND, 0, ATL_DIALBACK_FAILED, 0},
        {ATLAS_OK, ATLAS_OK, ATLAS_ERR_NOT_FOUND, 1, ATL_DIALBACK_FAILED, 0},
        {ATLAS_ERR_IO, ATLAS_OK, ATLAS_OK, 0, ATL_DIALBACK_ADDRESS, 3},
    };
    static world w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_h3_stream stream;

        world_init(&w);
        w.open_result = rows[i].open;
        w.send_result = rows[i].send;
        w.other_result = rows[i].other;
        w.bound[0].family = (uint8_t)(rows[i].no_socket ? 0 : 4);
        ask(&w, &stream, "203.0.113.7:4001", 1, candidates);
        assert_int_equal(reply_of(&stream).results[0], rows[i].result);
        pass(&w, ATL_SECOND);
        assert_int_equal(w.n_sent, rows[i].sent);
        world_done(&w);
    }
}

/* The socket moves with the node, and what arrives there is read and gone. */
static void the_socket(void **state) {
    static const char *const candidates[] = {"203.0.113.7:4001", NULL};
    static world w;
    atl_h3_stream stream;

    (void)state;
    world_init(&w);
    ask(&w, &stream, "203.0.113.7:4001", 1, candidates);
    ask(&w, &stream, "203.0.113.7:4001", 1, candidates);
    assert_int_equal(w.opened, 1);
    w.udps[0].waiting = 40;
    w.udps[0].ready(w.udps[0].user, &w.udps[0], ATLAS_FD_READ);
    assert_int_equal(w.udps[0].waiting, 0);
    w.udps[0].waiting = 1000; /* a flood: not all in one turn */
    w.udps[0].reads = 0;
    w.udps[0].ready(w.udps[0].user, &w.udps[0], ATLAS_FD_READ);
    assert_in_range(w.udps[0].reads, 1, 8);
    assert_int_not_equal(w.udps[0].waiting, 0);
    w.bound[0] = addr("192.0.2.77:443");
    w.n_sent = 0;
    pass(&w, ATL_SECOND);
    assert_int_equal(w.opened, 2);
    assert_memory_equal(w.udps[0].bound.ip, w.bound[0].ip, 16);
    world_done(&w);
}

/* Never more bytes than the request has, headers of both kinds counted. */
static void pays(void **state) {
    static const struct {
        size_t candidates;
        size_t len; /* of the body; it is cut from the padding */
        int32_t status;
        size_t sent;
    } rows[] = {
        {1, 600, 200, 6},   {1, 599, 200, 4},  {1, 400, 200, 4},   {1, 399, 200, 2},
        {1, 200, 200, 2},   {1, 199, 400, 0},  {8, 4800, 200, 48}, {8, 4799, 200, 32},
        {8, 1600, 200, 16}, {8, 1599, 400, 0}, {3, 5120, 200, 18},
    };
    static world w;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_h3_stream stream;
        uint8_t body[ATL_DIALBACK_BODY_MAX];
        size_t list = 7 * rows[i].candidates;
        size_t at = 0;
        size_t rest;
        size_t k;

        world_init(&w);
        memset(body, 0, sizeof(body));
        body[at++] = 1;
        body[at++] = 16;
        memcpy(body + at, NONCE, 16);
        at += 16;
        body[at++] = 2;
        body[at++] = (uint8_t)list;
        for (k = 0; k < rows[i].candidates; k++) {
            static const uint8_t one[] = {4, 203, 0, 113, 7, 0x10, 0};

            memcpy(body + at, one, sizeof(one));
            body[at + 6] = (uint8_t)(k + 1);
            at += sizeof(one);
        }
        rest = rows[i].len - at - 3;
        body[at] = 5;
        body[at + 1] = (uint8_t)(0x40 | rest >> 8);
        body[at + 2] = (uint8_t)rest;
        ask_bytes(&w, &stream, "203.0.113.7:4001", 1, body, rows[i].len);
        pass(&w, ATL_SECOND);
        assert_int_equal(stream.status, rows[i].status);
        assert_int_equal(w.n_sent, rows[i].sent);
        assert_true(w.n_sent * COST <= rows[i].len);
        world_done(&w);
    }
}

/* ---- refusals ---- */

static void refusals(void **state) {
    static const char *const candidates[] = {"203.0.113.7:4001", NULL};
    static world w;
    const atl_dialback_stats *stats;
    atl_h3_stream stream;
    uint8_t body[2 * ATL_DIALBACK_BODY_MAX];
    size_t len;

    (void)state;
    world_init(&w);
    stats = atl_dialback_get_stats(w.dialback);
    assert_int_equal(head(&w, &stream, "POST", "/.well-known/atlas/dialbac", "203.0.113.7:1", 1),
                     0);
    assert_int_equal(head(&w, &stream, "POST", "/.well-known/atlas/dialbacks", "203.0.113.7:1", 1),
                     0);
    assert_int_equal(head(&w, &stream, "GET", "/", "203.0.113.7:1", 1), 0);
    assert_int_equal(stats->requests, 0);

    assert_int_equal(head(&w, &stream, "GET", ATL_DIALBACK_PATH, "203.0.113.7:1", 1), 1);
    expect_error(&stream, 405, "method");
    closed(&w, &stream);
    assert_int_equal(head(&w, &stream, "POST", ATL_DIALBACK_PATH "?x=1", "203.0.113.7:1", -1), 1);
    expect_error(&stream, 401, "identity");
    feed(&w, &stream, NONCE, sizeof(NONCE)); /* still underway */
    closed(&w, &stream);
    assert_int_equal(stats->refused_identity, 1);

    ask_bytes(&w, &stream, "203.0.113.7:1", 1, NONCE, sizeof(NONCE));
    expect_error(&stream, 400, "malformed");
    ask_bytes(&w, &stream, "203.0.113.7:1", 1, NONCE, 0);
    expect_error(&stream, 400, "malformed");
    assert_int_equal(stats->refused_malformed, 3);
    len = encode(candidates, body);
    memset(body + len, 0, sizeof(body) - len);
    ask_bytes(&w, &stream, "203.0.113.7:1", 1, body, ATL_DIALBACK_BODY_MAX + 1);
    expect_error(&stream, 413, "too large");
    /* the client goes away in the middle */
    assert_int_equal(head(&w, &stream, "POST", ATL_DIALBACK_PATH, "203.0.113.7:1", 1), 1);
    feed(&w, &stream, body, 100);
    closed(&w, &stream);
    /* the answer cannot be sent */
    assert_int_equal(head(&w, &stream, "POST", ATL_DIALBACK_PATH, "203.0.113.7:1", 2), 1);
    stream.respond_result = ATLAS_ERR_NOMEM;
    feed(&w, &stream, body, 3);
    atl_dialback_ops.on_end(w.dialback, stream.request, &stream);
    assert_int_equal(stream.reset, 0x102);
    closed(&w, &stream);
    assert_int_equal(w.n_sent, 0);
    assert_int_equal(w.opened, 0);
    world_done(&w);
}

/* How many of `n` requests pass at once, of `nodes` nodes in turn at `hosts` addresses in turn. */
static size_t passes(world *w, size_t n, size_t nodes, size_t hosts, const char *pattern) {
    static const char *const none[] = {NULL};
    uint8_t body[64];
    size_t len = encode(none, body);
    size_t passed = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        atl_h3_stream stream;
        char remote[64];

        (void)snprintf(remote, sizeof(remote), pattern, (unsigned)(i % hosts / 250),
                       (unsigned)(i % hosts % 250));
        ask_bytes(w, &stream, remote, (int)(i % nodes), body, len);
        if (stream.status != 200) {
            expect_error(&stream, 429, "rate");
        }
        passed += stream.status == 200;
    }
    return passed;
}

static void rates(void **state) {
    static world w;

    (void)state;
    world_init(&w);
    /* one node, wherever it is */
    assert_int_equal(passes(&w, 100, 1, 100, "10.1.%u.%u:9"), 10);
    pass(&w, 5 * ATL_SECOND);
    assert_int_equal(passes(&w, 100, 1, 100, "10.1.%u.%u:9"), 5);
    world_done(&w);

    world_init(&w); /* one address, whoever is there */
    assert_int_equal(passes(&w, 200, 200, 1, "10.1.%u.%u:9"), 40);
    pass(&w, 3 * ATL_SECOND);
    assert_int_equal(passes(&w, 200, 200, 1, "10.1.%u.%u:9"), 12);
    world_done(&w);

    world_init(&w); /* one network of IPv6 */
    assert_int_equal(passes(&w, 200, 200, 200, "[2001:db8:0:1:%x::%x]:9"), 40);
    assert_int_equal(passes(&w, 200, 2000, 200, "[2001:db9:%x:%x::1]:9"), 200);
    world_done(&w);

    world_init(&w); /* all together; the tables have room for as many sources */
    assert_int_equal(passes(&w, 1500, 1500, 1500, "10.1.%u.%u:9"), 1000);
    assert_int_equal(atl_dialback_get_stats(w.dialback)->refused_rate, 500);
    assert_int_equal(atl_dialback_get_stats(w.dialback)->requests, 1500);
    world_done(&w);
}

/* Bodies that never come hold nothing for long, and no more than so much. */
static void silent_clients(void **state) {
    static world w;
    static atl_h3_stream streams[300];
    size_t before;
    size_t i;

    (void)state;
    world_init(&w);
    before = w.t.live;
    for (i = 0; i < ATL_COUNT(streams); i++) {
        char remote[64];

        (void)snprintf(remote, sizeof(remote), "10.1.%u.%u:9", (unsigned)(i / 250),
                       (unsigned)(i % 250));
        assert_int_equal(head(&w, &streams[i], "POST", ATL_DIALBACK_PATH, remote, (int)i), 1);
        pass(&w, ATL_MS);
        feed(&w, &streams[i], NONCE, 4);
    }
    for (i = 0; i < ATL_COUNT(streams); i++) {
        assert_int_equal(streams[i].status, i < 300 - 256 ? 400 : 0);
    }
    assert_true(w.t.live - before <= 300 + 256);
    pass(&w, 5 * ATL_SECOND);
    for (i = 0; i < ATL_COUNT(streams); i++) {
        expect_error(&streams[i], 400, "malformed");
        feed(&w, &streams[i], NONCE, 4); /* too late */
        atl_dialback_ops.on_end(w.dialback, streams[i].request, &streams[i]);
        closed(&w, &streams[i]);
    }
    assert_int_equal(w.t.live, before);
    world_done(&w);
}

/* Datagrams that are still to be sent are bounded, too. */
static void pending_jobs(void **state) {
    static const char *const candidates[] = {"10.1.0.0:4001", NULL};
    static world w;
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    size_t len = encode(candidates, body);
    size_t passed = 0;
    size_t i;

    (void)state;
    world_init(&w);
    for (i = 0; i < 1500; i++) {
        atl_h3_stream stream;
        char remote[64];

        body[23] = (uint8_t)(i / 250);
        body[24] = (uint8_t)(i % 250);
        (void)snprintf(remote, sizeof(remote), "10.1.%u.%u:9", (unsigned)(i / 250),
                       (unsigned)(i % 250));
        ask_bytes(&w, &stream, remote, (int)i, body, len);
        passed += stream.status == 200;
        if (i == 999) {
            pass(&w, 100 * ATL_MS); /* a hundred more by the rate */
        }
    }
    assert_int_equal(passed, 1024);
    pass(&w, ATL_SECOND);
    assert_int_equal(w.n_sent, 1024 * 6);
    world_done(&w);
}

static void no_memory(testenv *t, void *user) {
    static const char *const candidates[] = {"203.0.113.7:4001", NULL};
    static world w;
    atl_h3_stream stream;
    size_t i;

    (void)user;
    memset(&w, 0, sizeof(w));
    w.t = *t;
    w.t.env.hooks.user = &w.t;
    if (world_init_in(&w) == ATLAS_OK) {
        ask(&w, &stream, "203.0.113.7:4001", 1, candidates);
        assert_true(stream.status == 200 || stream.status == 429 || stream.reset != 0);
        pass(&w, 100 * ATL_MS);
        atl_dialback_free(w.dialback); /* in the middle */
    }
    for (i = 0; i < UDPS; i++) {
        assert_false(w.udps[i].open);
    }
    assert_true(w.loop.timers == NULL);
    t->live = w.t.live;
    t->allocations = w.t.allocations;
}

static void memory(void **state) {
    (void)state;
    assert_in_range(testenv_each_failure(no_memory, NULL), 4, 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends),          cmocka_unit_test(only_own_address),
        cmocka_unit_test(mapped_asker),   cmocka_unit_test(sources),
        cmocka_unit_test(the_socket),     cmocka_unit_test(pays),
        cmocka_unit_test(refusals),       cmocka_unit_test(rates),
        cmocka_unit_test(silent_clients), cmocka_unit_test(pending_jobs),
        cmocka_unit_test(memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
