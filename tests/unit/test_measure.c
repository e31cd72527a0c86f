/* Measuring against servers made by hand: what they answer, after how long, and what they lose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/measure.h"

#include "testenv.h"

#define SERVERS ATL_MEASURE_MAX
#define QUEUE 256

typedef struct server {
    uint64_t rtt[ATL_MEASURE_QUESTIONS]; /* by question; 0: no answer */
    int32_t send;                        /* what sending to it says */
    unsigned asked;
    uint64_t asked_at[ATL_MEASURE_QUESTIONS];
} server;

typedef struct pending {
    uint64_t at;
    atl_addr from;
    size_t len;
    uint8_t data[ATL_STUN_MESSAGE_MAX];
} pending;

typedef struct world {
    testenv t;
    atl_loop loop;
    atl_stun_client *stun;
    server servers[SERVERS];
    pending queue[QUEUE];
    size_t n_queue;
    int done;
    uint64_t done_at;
    size_t n;
    atl_measure_result results[ATL_MEASURE_MAX];
} world;

static atl_addr addr_of(size_t i) {
    const uint8_t ip[4] = {203, 0, 113, (uint8_t)i};
    atl_addr addr;

    atl_addr_set4(&addr, ip, 4001);
    return addr;
}

static int32_t on_send(void *user, const atl_addr *local, const atl_addr *remote,
                       const uint8_t *data, size_t len) {
    world *w = user;
    server *s = &w->servers[remote->ip[3]];
    pending *out = &w->queue[w->n_queue];
    atl_stun_header header;
    atl_writer writer;

    (void)local;
    if (s->send != ATLAS_OK) {
        return s->send;
    }
    assert_true(s->asked < ATL_MEASURE_QUESTIONS); /* no retransmissions */
    assert_int_equal(atl_stun_parse_header(data, len, &header), ATLAS_OK);
    s->asked_at[s->asked] = w->loop.now;
    if (s->rtt[s->asked] != 0) {
        assert_true(w->n_queue < QUEUE);
        w->n_queue++;
        out->at = w->loop.now + s->rtt[s->asked];
        out->from = *remote;
        atl_writer_init(&writer, out->data, sizeof(out->data));
        atl_stun_begin(&writer, ATL_STUN_SUCCESS, ATL_STUN_BINDING, header.id);
        atl_stun_put_xor_addr(&writer, ATL_STUN_A_XOR_MAPPED_ADDRESS, remote);
        atl_stun_put_fingerprint(&writer);
        assert_int_equal(writer.error, ATLAS_OK);
        out->len = writer.len;
    }
    s->asked++;
    return ATLAS_OK;
}

static void on_done(void *user, const atl_measure_result *results, size_t n) {
    world *w = user;

    w->done++;
    w->done_at = w->loop.now;
    w->n = n;
    memcpy(w->results, results, n * sizeof(results[0]));
}

static void begin(world *w) {
    memset(w, 0, sizeof(*w));
    testenv_init(&w->t);
    w->t.now = 1000 * ATL_SECOND;
    atl_loop_init(&w->loop, &w->t.env);
    (void)atl_loop_update(&w->loop);
    assert_int_equal(atl_stun_client_new(&w->loop, on_send, w, &w->stun), ATLAS_OK);
}

static void finish(world *w) {
    assert_int_equal(atl_stun_client_count(w->stun), 0);
    assert_null(w->loop.timers);
    atl_stun_client_free(w->stun);
    testenv_done(&w->t);
}

static void deliver(world *w) {
    size_t i = 0;

    while (i < w->n_queue) {
        pending one = w->queue[i];
        atl_rx rx;

        if (one.at > w->loop.now) {
            i++;
            continue;
        }
        w->queue[i] = w->queue[--w->n_queue];
        memset(&rx, 0, sizeof(rx));
        rx.data = one.data;
        rx.len = rx.segment = one.len;
        rx.remote = one.from;
        (void)atl_stun_client_on_datagram(w->stun, &rx);
    }
}

/* A millisecond at a time. */
static void run(world *w, uint64_t ns) {
    uint64_t until = w->t.now + ns;

    while (w->t.now < until) {
        w->t.now += ATL_MS;
        (void)atl_loop_update(&w->loop);
        deliver(w);
        (void)atl_loop_run_timers(&w->loop, 1000);
        (void)atl_loop_run_work(&w->loop, 1000);
    }
}

static atl_measure *start(world *w, size_t n, size_t enough) {
    atl_addr addrs[SERVERS];
    atl_measure *measure = NULL;

    for (size_t i = 0; i < n; i++) {
        addrs[i] = addr_of(i);
    }
    assert_int_equal(atl_measure_start(&w->loop, w->stun, addrs, n, enough, on_done, w, &measure),
                     ATLAS_OK);
    assert_int_equal(w->done, 0);
    return measure;
}

static void answers(world *w, size_t i, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t rtts[] = {a, b, c, d};

    for (size_t k = 0; k < ATL_MEASURE_QUESTIONS; k++) {
        w->servers[i].rtt[k] = rtts[k] * ATL_MS;
    }
}

static void times_and_losses(void **state) {
    static const struct {
        uint64_t rtts[4]; /* milliseconds */
        uint64_t rtt;
        uint32_t loss;
    } rows[] = {
        {{50, 50, 50, 50}, 50, 0},    {{70, 40, 90, 60}, 40, 0},
        {{50, 0, 50, 50}, 50, 25},    {{0, 0, 0, 80}, 80, 75},
        {{0, 0, 0, 0}, 0, 100},       {{399, 399, 399, 399}, 399, 0},
        {{500, 500, 20, 20}, 20, 50}, {{900, 900, 900, 900}, 0, 100},
        {{1, 1, 1, 1}, 1, 0},
    };
    static world w;
    uint64_t start_at;

    (void)state;
    begin(&w);
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        answers(&w, i, rows[i].rtts[0], rows[i].rtts[1], rows[i].rtts[2], rows[i].rtts[3]);
    }
    start_at = w.loop.now;
    (void)start(&w, ATL_COUNT(rows), 0);
    run(&w, 2 * ATL_SECOND);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.n, ATL_COUNT(rows));
    assert_in_range(w.done_at - start_at, 579 * ATL_MS, 583 * ATL_MS);
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        atl_addr addr = addr_of(i);

        assert_true(atl_addr_equal(&w.results[i].addr, &addr));
        assert_int_equal(w.results[i].loss, rows[i].loss);
        assert_in_range(w.results[i].rtt, rows[i].rtt * ATL_MS, rows[i].rtt * ATL_MS + ATL_MS);
        assert_int_equal(w.servers[i].asked, ATL_MEASURE_QUESTIONS);
        for (size_t k = 1; k < ATL_MEASURE_QUESTIONS; k++) {
            assert_in_range(w.servers[i].asked_at[k] - w.servers[i].asked_at[k - 1], 60 * ATL_MS,
                            61 * ATL_MS);
        }
    }
    finish(&w);
}

/* All that can come has come. */
static void it_ends_as_soon_as_it_can(void **state) {
    static world w;
    uint64_t start_at;

    (void)state;
    begin(&w);
    for (size_t i = 0; i < 3; i++) {
        answers(&w, i, 50, 50, 50, 50);
    }
    start_at = w.loop.now;
    (void)start(&w, 3, 0);
    run(&w, ATL_SECOND);
    assert_in_range(w.done_at - start_at, 230 * ATL_MS, 235 * ATL_MS);
    finish(&w);
}

/* Three that answer are enough: the fourth has as long again, the fifth is dead. */
static void nobody_waits_for_the_last(void **state) {
    static world w;
    uint64_t start_at;

    (void)state;
    begin(&w);
    for (size_t i = 0; i < 3; i++) {
        answers(&w, i, 50, 50, 50, 50);
    }
    answers(&w, 3, 90, 90, 90, 90);
    start_at = w.loop.now;
    (void)start(&w, 5, 3);
    run(&w, ATL_SECOND);
    assert_int_equal(w.done, 1);
    assert_in_range(w.done_at - start_at, 279 * ATL_MS, 285 * ATL_MS);
    assert_int_equal(w.results[3].loss, 0);
    assert_int_equal(w.results[4].loss, 100);
    /* not enough: all the time there is */
    w.done = 0;
    memset(w.servers, 0, sizeof(w.servers));
    answers(&w, 0, 50, 50, 50, 50);
    start_at = w.loop.now;
    (void)start(&w, 5, 3);
    run(&w, ATL_SECOND);
    assert_in_range(w.done_at - start_at, 579 * ATL_MS, 583 * ATL_MS);
    finish(&w);
}

static void what_cannot_be_asked_is_lost(void **state) {
    static world w;
    atl_measure *measure = NULL;
    atl_addr addrs[ATL_MEASURE_MAX + 1];

    (void)state;
    begin(&w);
    for (size_t i = 0; i <= ATL_MEASURE_MAX; i++) {
        addrs[i] = addr_of(0);
    }
    assert_int_equal(atl_measure_start(&w.loop, w.stun, addrs, 0, 0, on_done, &w, &measure),
                     ATLAS_ERR_INVALID);
    assert_int_equal(
        atl_measure_start(&w.loop, w.stun, addrs, ATL_MEASURE_MAX + 1, 0, on_done, &w, &measure),
        ATLAS_ERR_INVALID);
    w.servers[0].send = ATLAS_ERR_UNREACHABLE;
    answers(&w, 1, 20, 20, 20, 20);
    (void)start(&w, 2, 0);
    run(&w, ATL_SECOND);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.results[0].loss, 100);
    assert_int_equal(w.results[0].rtt, 0);
    assert_int_equal(w.results[1].loss, 0);
    /* nobody can be asked */
    w.done = 0;
    (void)start(&w, 1, 0);
    run(&w, ATL_SECOND);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.results[0].loss, 100);
    finish(&w);
}

static void cancelled_ones_say_nothing(void **state) {
    static world w;

    (void)state;
    for (uint64_t wait = 0; wait < 600; wait += 37) {
        atl_measure *measure;

        begin(&w);
        answers(&w, 0, 50, 50, 50, 50);
        answers(&w, 1, 50, 0, 300, 50);
        measure = start(&w, 3, 0);
        run(&w, wait * ATL_MS);
        if (!w.done) {
            atl_measure_cancel(measure);
            run(&w, ATL_SECOND);
            assert_int_equal(w.done, 0);
        }
        finish(&w);
    }
}

static void memory_may_run_out(void **state) {
    static world w;

    (void)state;
    for (size_t at = 1; at < 12; at++) {
        atl_measure *measure = NULL;
        atl_addr addr = addr_of(0);
        int32_t rc;

        begin(&w);
        answers(&w, 0, 50, 50, 50, 50);
        w.t.fail_at = w.t.allocations + at;
        rc = atl_measure_start(&w.loop, w.stun, &addr, 1, 0, on_done, &w, &measure);
        assert_int_equal(rc, at == 1 ? ATLAS_ERR_NOMEM : ATLAS_OK);
        run(&w, ATL_SECOND);
        assert_int_equal(w.done, rc == ATLAS_OK);
        assert_true(rc != ATLAS_OK || w.results[0].loss <= 25);
        finish(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_and_losses),
        cmocka_unit_test(it_ends_as_soon_as_it_can),
        cmocka_unit_test(nobody_waits_for_the_last),
        cmocka_unit_test(what_cannot_be_asked_is_lost),
        cmocka_unit_test(cancelled_ones_say_nothing),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
