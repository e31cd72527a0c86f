/* The relay's data plane against a way out that records what is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/forwarder.h"

#include <string.h>

#include "testenv.h"

#define SENT_MAX 512

typedef struct sent {
    uint8_t family;
    size_t len, segment;
    atl_addr remote;
    uint8_t ecn;
    uint8_t data[70000];
} sent;

/* A forwarder with one circuit between node 0 (IPv4) and node 1 (IPv6 or IPv4). */
typedef struct fixture {
    testenv t;
    atl_loop loop;
    atlas_relay_stats stats;
    uint64_t bandwidth, total;
    size_t segments;
    size_t accept; /* trains that the socket takes a call */
    atl_forwarder *forwarder;
    atl_forward_port port[2];
    atl_forward_half half[2];
    size_t calls;
    size_t n;
    sent *sent;
} fixture;

static size_t record(void *user, uint8_t family, const atl_tx *tx, size_t n) {
    fixture *f = user;
    size_t take = n < f->accept ? n : f->accept;

    f->calls++;
    for (size_t i = 0; i < take; i++) {
        sent *out = &f->sent[f->n++];

        assert_true(f->n <= SENT_MAX);
        assert_true(tx[i].len <= ATL_TRAIN_BYTES);
        assert_true((tx[i].len + tx[i].segment - 1) / tx[i].segment <= f->segments);
        out->family = family;
        out->len = tx[i].len;
        out->segment = tx[i].segment;
        out->remote = tx[i].remote;
        out->ecn = tx[i].ecn;
        memcpy(out->data, tx[i].data, tx[i].len);
    }
    return take;
}

static size_t segments(void *user, uint8_t family) {
    (void)family;
    return ((fixture *)user)->segments;
}

static const atl_forwarder_ops record_ops = {record, segments};

static void start(fixture *f) {
    atl_forwarder_config config = {&f->loop, &f->bandwidth, &f->total, &f->stats};
    const uint8_t ip4[4] = {192, 0, 2, 1};
    const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 2};

    memset(f, 0, sizeof(*f));
    testenv_init(&f->t);
    atl_loop_init(&f->loop, &f->t.env);
    f->segments = ATL_TRAIN_SEGMENTS;
    f->accept = SENT_MAX;
    f->sent = calloc(SENT_MAX, sizeof(*f->sent));
    assert_non_null(f->sent);
    assert_int_equal(atl_forwarder_new(&config, &record_ops, f, &f->forwarder), ATLAS_OK);
    memset(f->port, 0, sizeof(f->port));
    f->port[0].remote.family = 4;
    memcpy(f->port[0].remote.ip, ip4, 4);
    f->port[0].remote.port = 1000;
    f->port[1].remote.family = 6;
    memcpy(f->port[1].remote.ip, ip6, 16);
    f->port[1].remote.port = 2000;
    for (size_t i = 0; i < 2; i++) {
        f->half[i].port = &f->port[i];
        memset(f->half[i].rx_id, (int)(0xa0 + i), ATL_CID_LEN);
        memset(f->half[i].tx_id, (int)(0xb0 + i), ATL_CID_LEN);
    }
    atl_forward_pair(f->forwarder, &f->half[0], &f->half[1]);
    atl_forward_open(&f->half[0]);
}

static void stop(fixture *f) {
    atl_forward_close(f->forwarder, &f->half[0]);
    atl_forward_close(f->forwarder, &f->half[1]);
    assert_int_equal(atl_forwarder_queued(f->forwarder), 0);
    atl_forwarder_free(f->forwarder);
    free(f->sent);
    assert_ptr_equal(f->loop.timers, NULL);
    testenv_done(&f->t);
}

/* A train of datagrams from node `from`, numbered in their tenth byte. */
static atl_rx train(fixture *f, size_t from, uint8_t *buf, size_t len, size_t segment) {
    atl_rx rx;

    memset(&rx, 0, sizeof(rx));
    for (size_t at = 0, i = 0; at < len; at += segment, i++) {
        memset(buf + at, 0x11, len - at < segment ? len - at : segment);
        buf[at] = 0x4d;
        memcpy(buf + at + 1, f->half[from].rx_id, ATL_CID_LEN);
        if (len - at > ATL_CIRCUIT_HEADER) {
            buf[at + ATL_CIRCUIT_HEADER] = (uint8_t)i;
        }
    }
    rx.data = buf;
    rx.len = len;
    rx.segment = segment;
    rx.remote = f->port[from].remote;
    rx.local.family = rx.remote.family;
    return rx;
}

static size_t push(fixture *f, size_t from, const atl_rx *rx) {
    return atl_forwarder_push(f->forwarder, &f->half[from], rx);
}

static void turn(fixture *f, uint64_t ns) {
    testenv_advance(&f->t, ns);
    atl_loop_update(&f->loop);
    (void)atl_loop_run_timers(&f->loop, 100);
}

static void a_train_leaves_as_one(void **state) {
    static uint8_t buf[10 * 1200];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    rx = train(&f, 0, buf, 9 * 1200 + 700, 1200);
    rx.ecn = 2;
    assert_int_equal(push(&f, 0, &rx), rx.len);
    assert_int_equal(f.calls, 0);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.sent[0].family, 6);
    assert_int_equal(f.sent[0].len, rx.len);
    assert_int_equal(f.sent[0].segment, 1200);
    assert_int_equal(f.sent[0].ecn, 2);
    assert_true(atl_addr_equal(&f.sent[0].remote, &f.port[1].remote));
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(f.sent[0].data[i * 1200], 0x4d);
        assert_memory_equal(f.sent[0].data + i * 1200 + 1, f.half[1].tx_id, ATL_CID_LEN);
        assert_int_equal(f.sent[0].data[i * 1200 + 9], i);
    }
    assert_int_equal(f.stats.forwarded_packets, 10);
    assert_int_equal(f.stats.forwarded_bytes, rx.len);
    stop(&f);
}

static void single_datagrams_are_gathered(void **state) {
    static uint8_t buf[70][1500];
    fixture f;
    size_t before;

    (void)state;
    start(&f);
    before = f.t.allocations;
    for (size_t i = 0; i < 70; i++) {
        atl_rx rx = train(&f, 0, buf[i], 1000, 1000);

        buf[i][9] = (uint8_t)i;
        assert_int_equal(push(&f, 0, &rx), 1000);
        if (i % 2 == 0) {
            /* the other direction in between does not disturb */
            rx = train(&f, 1, buf[i] + 1000, 100, 100);
            assert_int_equal(push(&f, 1, &rx), 100);
        }
    }
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.n, 3);
    assert_int_equal(f.sent[0].family, 4);
    assert_int_equal(f.sent[0].len, 35 * 100);
    assert_int_equal(f.sent[1].len, 64 * 1000);
    assert_int_equal(f.sent[2].len, 6 * 1000);
    for (size_t i = 0; i < 70; i++) {
        const uint8_t *data = i < 64 ? f.sent[1].data + i * 1000 : f.sent[2].data + (i - 64) * 1000;

        assert_int_equal(data[9], i);
        assert_memory_equal(data + 1, f.half[1].tx_id, ATL_CID_LEN);
    }
    assert_int_equal(f.t.allocations, before);
    assert_int_equal(f.stats.forwarded_packets, 105);
    stop(&f);
}

static void a_shorter_datagram_ends_a_train(void **state) {
    static uint8_t buf[4][1500];
    static const size_t lens[4] = {1000, 400, 1000, 1200};
    static const size_t expect[3] = {1400, 1000, 1200};
    fixture f;

    (void)state;
    start(&f);
    for (size_t i = 0; i < 4; i++) {
        atl_rx rx = train(&f, 0, buf[i], lens[i], lens[i]);

        assert_int_equal(push(&f, 0, &rx), lens[i]);
    }
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f.sent[i].len, expect[i]);
    }
    stop(&f);
}

static void without_gso_each_goes_alone(void **state) {
    static uint8_t buf[80 * 1200];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.segments = 1;
    rx = train(&f, 0, buf, 54 * 1200, 1200);
    assert_int_equal(push(&f, 0, &rx), rx.len);
    rx = train(&f, 0, buf, 20 * 1200, 1200);
    assert_int_equal(push(&f, 0, &rx), rx.len);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.n, 74);
    assert_int_equal(f.stats.forwarded_packets, 74);
    stop(&f);
}

static void another_circuits_packets_are_left(void **state) {
    static uint8_t buf[4 * 500];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    rx = train(&f, 0, buf, 4 * 500, 500);
    buf[2 * 500 + 3] ^= 1;
    assert_int_equal(push(&f, 0, &rx), 1000);
    rx = train(&f, 0, buf, 4 * 500, 500);
    buf[500] = 0xc0; /* a long header */
    assert_int_equal(push(&f, 0, &rx), 500);
    rx = train(&f, 0, buf, 2 * 500 + 9, 500);
    assert_int_equal(push(&f, 0, &rx), 1000); /* a header without a packet is nobody's */
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 5);
    stop(&f);
}

/* Gathered trains grow from batch to batch; what lies in a receive buffer leaves before it is
 * reused. */
static void trains_grow_over_batches(void **state) {
    static uint8_t buf[8][1500];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < 8; i++) {
            rx = train(&f, 0, buf[i], 1000, 1000);
            buf[i][9] = (uint8_t)(8 * round + i);
            assert_int_equal(push(&f, 0, &rx), 1000);
        }
        atl_forwarder_batch_end(f.forwarder);
        assert_int_equal(f.calls, 0);
    }
    assert_true(atl_loop_deadline(&f.loop) <= f.loop.now);
    assert_int_equal(atl_loop_run_work(&f.loop, 10), 1);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.sent[0].len, 32000);
    for (size_t i = 0; i < 32; i++) {
        assert_int_equal(f.sent[0].data[i * 1000 + 9], i);
    }
    for (size_t i = 0; i < 2; i++) {
        rx = train(&f, 0, buf[i], 1000, 1000);
        (void)push(&f, 0, &rx);
    }
    rx = train(&f, 1, buf[2], 500, 500);
    (void)push(&f, 1, &rx);
    atl_forwarder_batch_end(f.forwarder);
    assert_int_equal(f.n, 3);
    assert_int_equal(atl_loop_run_work(&f.loop, 10), 0);
    stop(&f);
}

/* What has a valid id and still does not pass. */
static void dropped(void **state) {
    static uint8_t buf[3 * 500];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    rx = train(&f, 0, buf, 1500, 500);
    rx.remote.port++;
    assert_int_equal(push(&f, 0, &rx), 1500);
    assert_int_equal(f.stats.dropped_source, 3);
    rx = train(&f, 0, buf, 500, 500);
    rx.remote = f.port[1].remote;
    assert_int_equal(push(&f, 0, &rx), 500);
    assert_int_equal(f.stats.dropped_source, 4);
    rx = train(&f, 0, buf, 9, 9);
    assert_int_equal(push(&f, 0, &rx), 9);
    assert_int_equal(f.stats.dropped_source, 5);
    rx = train(&f, 0, buf, 500, 500);
    f.port[0].local = rx.local;
    f.port[0].local.ip[0] = 10;
    assert_int_equal(push(&f, 0, &rx), 500); /* to another address of the relay */
    assert_int_equal(f.stats.dropped_source, 6);
    memset(&f.port[0].local, 0, sizeof(f.port[0].local));
    f.port[1].remote.family = 0;
    assert_int_equal(push(&f, 0, &rx), 500); /* nothing validated on the other side */
    assert_int_equal(f.stats.dropped_source, 7);
    f.port[1].remote.family = 6;
    f.half[0].open = 0;
    assert_int_equal(push(&f, 0, &rx), 500);
    assert_int_equal(f.stats.dropped_source, 8);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.n, 0);
    stop(&f);
}

static void follows_a_migration(void **state) {
    static uint8_t buf[500];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.port[1].remote.port = 2001;
    rx = train(&f, 0, buf, 500, 500);
    assert_int_equal(push(&f, 0, &rx), 500);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.sent[0].remote.port, 2001);
    rx = train(&f, 1, buf, 500, 500);
    rx.remote.port = 2000;
    assert_int_equal(push(&f, 1, &rx), 500);
    assert_int_equal(f.stats.dropped_source, 1);
    stop(&f);
}

static void a_full_socket_is_a_counted_drop(void **state) {
    static uint8_t buf[2][3 * 600];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.accept = 1;
    rx = train(&f, 0, buf[0], 1200, 600);
    (void)push(&f, 0, &rx);
    rx = train(&f, 0, buf[1], 1800, 600);
    (void)push(&f, 0, &rx);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 2);
    assert_int_equal(f.stats.dropped_send, 3);
    stop(&f);
}

/* 1 MB/s: 20,000 bytes at once, then 100,000 wait, the rest is dropped; what waits leaves at the
 * rate and in order. */
static void excess_waits_then_is_dropped(void **state) {
    static uint8_t buf[50 * 1000];
    fixture f;
    size_t bytes = 0;
    size_t at_50ms = 0;
    uint8_t next = 0;

    (void)state;
    start(&f);
    f.bandwidth = 1000000;
    for (size_t i = 0; i < 4; i++) {
        atl_rx rx = train(&f, 0, buf, 50 * 1000, 1000);

        for (size_t k = 0; k < 50; k++) {
            buf[k * 1000 + 9] = (uint8_t)(i * 50 + k);
        }
        assert_int_equal(push(&f, 0, &rx), rx.len);
        atl_forwarder_flush(f.forwarder); /* the buffer is used again */
    }
    assert_int_equal(f.stats.forwarded_packets, 20);
    assert_int_equal(f.stats.delayed_packets, 100);
    assert_int_equal(f.stats.dropped_bandwidth, 80);
    assert_true(atl_forwarder_queued(f.forwarder) > 100000);
    assert_true(atl_forwarder_queued(f.forwarder) < 110000);
    for (size_t ms = 1; ms <= 110; ms++) {
        turn(&f, ATL_MS);
        if (ms == 50) {
            at_50ms = (size_t)f.stats.forwarded_bytes;
        }
    }
    assert_in_range(at_50ms, 20000 + 48000, 20000 + 50000);
    assert_int_equal(f.stats.forwarded_packets, 120);
    for (size_t i = 0; i < f.n; i++) {
        for (size_t at = 0; at < f.sent[i].len; at += 1000, bytes += 1000) {
            assert_int_equal(f.sent[i].data[at + 9], next);
            assert_memory_equal(f.sent[i].data + at + 1, f.half[1].tx_id, ATL_CID_LEN);
            next++;
        }
    }
    assert_int_equal(bytes, 120000);
    turn(&f, 2 * ATL_SECOND);
    assert_int_equal(atl_forwarder_queued(f.forwarder), 0);
    assert_null(f.half[0].queue);
    stop(&f);
}

/* Saturated for three seconds in small steps: the ring wraps many times, the rate holds, nothing is
 * reordered. */
static void a_saturated_circuit_keeps_its_rate(void **state) {
    static uint8_t buf[1500];
    fixture f;
    uint32_t seed = 1;

    (void)state;
    start(&f);
    f.bandwidth = 300000;
    for (size_t ms = 0; ms < 3000; ms++) {
        atl_rx rx;
        size_t len;

        seed = seed * 1103515245u + 12345u;
        len = 200 + (seed >> 16) % 1000;
        rx = train(&f, 0, buf, len, len);
        assert_int_equal(push(&f, 0, &rx), len);
        atl_forwarder_flush(f.forwarder);
        f.n = 0;
        turn(&f, ATL_MS);
    }
    assert_in_range(f.stats.forwarded_bytes, 880000, 920000);
    assert_true(f.stats.dropped_bandwidth > 100);
    assert_int_equal(f.stats.forwarded_packets + f.stats.dropped_bandwidth <= 3000, 1);
    assert_true(f.t.allocations < 10); /* the ring is made once, not for every packet */
    stop(&f);
}

static void the_total_is_a_limit_too(void **state) {
    static uint8_t buf[20 * 1000];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.total = 500000; /* 10,000 at once */
    rx = train(&f, 0, buf, 8000, 1000);
    (void)push(&f, 0, &rx);
    rx = train(&f, 1, buf + 8000, 8000, 1000);
    (void)push(&f, 1, &rx);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 10);
    assert_int_equal(f.stats.dropped_total, 6);
    turn(&f, 10 * ATL_MS);
    rx = train(&f, 0, buf, 8000, 1000);
    (void)push(&f, 0, &rx);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 15);
    stop(&f);
}

static void limits_change_while_running(void **state) {
    static uint8_t buf[64 * 1000];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.bandwidth = 1000000;
    rx = train(&f, 0, buf, 60000, 1000);
    (void)push(&f, 0, &rx);
    assert_int_equal(f.stats.delayed_packets, 40);
    f.bandwidth = 0;
    turn(&f, ATL_MS);
    turn(&f, ATL_MS);
    assert_int_equal(f.stats.forwarded_packets, 60);
    rx = train(&f, 0, buf, 60000, 1000);
    (void)push(&f, 0, &rx);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 120);
    stop(&f);
}

static void without_memory_excess_is_dropped(void **state) {
    static uint8_t buf[60 * 1000];
    fixture f;
    atl_rx rx;

    (void)state;
    start(&f);
    f.bandwidth = 1000000;
    testenv_fail_next(&f.t, 1);
    rx = train(&f, 0, buf, 60000, 1000);
    (void)push(&f, 0, &rx);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 20);
    assert_int_equal(f.stats.dropped_bandwidth, 40);
    stop(&f);
}

static void many_trains_flush_themselves(void **state) {
    static uint8_t buf[200][2 * 100 + 1];
    fixture f;

    (void)state;
    start(&f);
    for (size_t i = 0; i < 200; i++) {
        /* trains of two in separate buffers are not copied, so each is one of its own */
        atl_rx rx = train(&f, 0, buf[i], 200, 100);

        (void)push(&f, 0, &rx);
    }
    assert_int_equal(f.calls, 3);
    atl_forwarder_flush(f.forwarder);
    assert_int_equal(f.stats.forwarded_packets, 400);
    stop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_train_leaves_as_one),
        cmocka_unit_test(single_datagrams_are_gathered),
        cmocka_unit_test(a_shorter_datagram_ends_a_train),
        cmocka_unit_test(without_gso_each_goes_alone),
        cmocka_unit_test(another_circuits_packets_are_left),
        cmocka_unit_test(trains_grow_over_batches),
        cmocka_unit_test(dropped),
        cmocka_unit_test(follows_a_migration),
        cmocka_unit_test(a_full_socket_is_a_counted_drop),
        cmocka_unit_test(excess_waits_then_is_dropped),
        cmocka_unit_test(a_saturated_circuit_keeps_its_rate),
        cmocka_unit_test(the_total_is_a_limit_too),
        cmocka_unit_test(limits_change_while_running),
        cmocka_unit_test(without_memory_excess_is_dropped),
        cmocka_unit_test(many_trains_flush_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
