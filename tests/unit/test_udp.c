/* UDP sockets of the system over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "udptest.h"

static void one_datagram(void **state) {
    static const struct {
        const char *bind;
        const char *ip;
    } CASES[] = {
        {"127.0.0.1:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.3"},
        {"[::1]:0", "::1"},           {"[::]:0", "::1"},
    };
    iotest f;
    size_t i;

    (void)state;
    iotest_begin(&f);
    for (i = 0; i < ATL_COUNT(CASES); i++) {
        atl_rx rx[RX_CAP];
        atl_addr target;
        sock a;
        sock b;

        if (try_open(&f, &a, CASES[i].bind, 0) == ATLAS_ERR_FAMILY) {
            continue;
        }
        open_at(&f, &b, CASES[i].bind, 0);
        target = to(CASES[i].ip, b.addr.port);
        assert_int_equal(send_to(&f, &a, &target, "hello", 5, 5), ATLAS_OK);
        assert_int_equal(receive(&f, &b, rx, RX_CAP), 1);
        assert_int_equal(rx[0].error, ATLAS_OK);
        assert_int_equal(rx[0].len, 5);
        assert_int_equal(rx[0].segment, 5);
        assert_memory_equal(rx[0].data, "hello", 5);
        assert_true(atl_addr_equal(&rx[0].local, &target));
        assert_int_equal(rx[0].remote.port, a.addr.port);
        assert_int_equal(rx[0].ecn, 0);
        f.io.udp_close(f.io.impl, a.udp);
        f.io.udp_close(f.io.impl, b.udp);
    }
    iotest_end(&f);
}

static void source_and_ecn(void **state) {
    static const struct {
        const char *bind;
        const char *source;
        const char *target;
        uint8_t ecn;
    } CASES[] = {
        {"0.0.0.0:0", "127.0.0.5", "127.0.0.1", 2},
        {"0.0.0.0:0", "127.0.0.6", "127.0.0.1", 3},
        {"127.0.0.1:0", "127.0.0.1", "127.0.0.1", 1},
        {"[::]:0", "::1", "::1", 2},
    };
    iotest f;
    size_t i;

    (void)state;
    iotest_begin(&f);
    for (i = 0; i < ATL_COUNT(CASES); i++) {
        atl_rx rx[RX_CAP];
        atl_tx tx;
        size_t sent = 0;
        sock a;
        sock b;

        if (try_open(&f, &a, CASES[i].bind, 0) == ATLAS_ERR_FAMILY) {
            continue;
        }
        open_at(&f, &b, CASES[i].bind, 0);
        memset(&tx, 0, sizeof(tx));
        tx.data = (const uint8_t *)"x";
        tx.len = 1;
        tx.segment = 1;
        tx.ecn = CASES[i].ecn;
        tx.remote = to(CASES[i].target, b.addr.port);
        tx.local = to(CASES[i].source, 9); /* the port is ignored */
        assert_int_equal(f.io.udp_send(f.io.impl, a.udp, &tx, 1, &sent), ATLAS_OK);
        assert_int_equal(receive(&f, &b, rx, RX_CAP), 1);
        tx.local.port = a.addr.port;
        assert_true(atl_addr_equal(&rx[0].remote, &tx.local));
        assert_int_equal(rx[0].ecn, CASES[i].ecn);
        f.io.udp_close(f.io.impl, a.udp);
        f.io.udp_close(f.io.impl, b.udp);
    }
    iotest_end(&f);
}

static void trains(void **state) {
    static const struct {
        size_t len;
        size_t segment;
    } CASES[] = {{1200, 1200},          {2400, 1200},  {12300, 1200}, {64 * 1000, 1000},
                 {63 * 1000 + 1, 1000}, {65000, 1200}, {64, 1}};
    static uint8_t data[ATL_TRAIN_BYTES];
    uint32_t flags;

    (void)state;
    for (flags = 0; flags < 4; flags++) {
        iotest f;
        size_t i;
        sock a;
        sock b;

        iotest_begin(&f);
        open_at(&f, &a, "127.0.0.1:0", (flags & 1) != 0 ? ATL_UDP_PLAIN : 0);
        open_at(&f, &b, "127.0.0.1:0", (flags & 2) != 0 ? ATL_UDP_PLAIN : 0);
        if ((flags & 1) != 0) {
            assert_int_equal(f.io.udp_segments(f.io.impl, a.udp), 1);
        }
        for (i = 0; i < ATL_COUNT(CASES); i++) {
            size_t n;

            fill_train(data, CASES[i].len, CASES[i].segment);
            assert_int_equal(send_to(&f, &a, &b.addr, data, CASES[i].len, CASES[i].segment),
                             ATLAS_OK);
            n = expect_train(&f, &b, data, CASES[i].len, CASES[i].segment);
            if ((flags & 2) != 0) {
                assert_int_equal(n, (CASES[i].len + CASES[i].segment - 1) / CASES[i].segment);
            } else if ((flags & 1) == 0 && f.io.udp_segments(f.io.impl, a.udp) > 1) {
                assert_int_equal(n, 1); /* loopback carries a train whole */
            }
        }
        iotest_end(&f);
    }
}

/* A batch of many messages: order kept, the arena grows, nothing is allocated once it has. */
static void batches(void **state) {
    atl_tx tx[200];
    uint8_t data[200][2];
    iotest f;
    sock a;
    sock b;
    int round;

    (void)state;
    iotest_begin(&f);
    open_at(&f, &a, "127.0.0.1:0", 0);
    open_at(&f, &b, "127.0.0.1:0", ATL_UDP_PLAIN);
    memset(tx, 0, sizeof(tx));
    for (round = 0; round < 3; round++) {
        size_t before = f.t.allocations;
        size_t got = 0;
        size_t sent = 0;
        size_t i;

        for (i = 0; i < ATL_COUNT(tx); i++) {
            data[i][0] = (uint8_t)i;
            data[i][1] = (uint8_t)round;
            tx[i].data = data[i];
            tx[i].len = 2;
            tx[i].segment = 2;
            tx[i].remote = b.addr;
        }
        assert_int_equal(f.io.udp_send(f.io.impl, a.udp, tx, ATL_COUNT(tx), &sent), ATLAS_OK);
        assert_int_equal(sent, ATL_COUNT(tx));
        while (got < ATL_COUNT(tx)) {
            atl_rx rx[RX_CAP];
            size_t n = receive(&f, &b, rx, RX_CAP);

            assert_int_not_equal(n, 0);
            for (i = 0; i < n; i++) {
                assert_int_equal(rx[i].data[0], (uint8_t)got);
                assert_int_equal(rx[i].data[1], round);
                got++;
            }
        }
        if (round == 2) {
            assert_int_equal(f.t.allocations, before);
        }
    }
    iotest_end(&f);
}

static void open_errors(void **state) {
    char text[ATLAS_ADDR_MAX];
    iotest f;
    size_t live;
    sock a;
    sock b;

    (void)state;
    iotest_begin(&f);
    open_at(&f, &a, "127.0.0.1:0", 0);
    live = f.t.live;
    atl_addr_text(&a.addr, text);
    assert_int_equal(try_open(&f, &b, text, 0), ATLAS_ERR_ADDR_IN_USE);
    assert_int_equal(try_open(&f, &b, "192.0.2.77:0", 0), ATLAS_ERR_IO);
    assert_int_equal(f.t.live, live);
    /* both families on one port: the IPv6 socket keeps off IPv4 */
    (void)snprintf(text, sizeof(text), "[::]:%u", (unsigned)a.addr.port);
    assert_in_range(-try_open(&f, &b, text, 0), 0, -ATLAS_ERR_FAMILY);
    iotest_end(&f);
}

static void scenario(testenv *t, void *user) {
    static uint8_t data[20];
    atl_addr bind_addr = to("127.0.0.1", 0);
    atl_rx rx[RX_CAP];
    atl_loop loop;
    atl_os *os = NULL;
    atl_io io;
    sock s;
    size_t n = 0;
    int i;

    (void)user;
    memset(&s, 0, sizeof(s));
    atl_loop_init(&loop, &t->env);
    if (atl_os_new(&loop, &os, &io) != ATLAS_OK) {
        return;
    }
    if (io.udp_open(io.impl, &bind_addr, 0, on_ready, &s, &s.udp) == ATLAS_OK) {
        iotest f;

        f.io = io;
        io.udp_local(io.impl, s.udp, &s.addr);
        for (i = 0; i < 20; i++) {
            assert_int_equal(send_to(&f, &s, &s.addr, data, sizeof(data), sizeof(data)), ATLAS_OK);
        }
        for (i = 0; i < 5; i++) {
            assert_int_equal(io.udp_recv(io.impl, s.udp, rx, RX_CAP, &n), ATLAS_OK);
        }
    }
    atl_os_free(os); /* closes the socket */
}

static void allocation_failures(void **state) {
    (void)state;
    assert_true(testenv_each_failure(scenario, NULL) >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_datagram), cmocka_unit_test(source_and_ecn),
        cmocka_unit_test(trains),       cmocka_unit_test(batches),
        cmocka_unit_test(open_errors),  cmocka_unit_test(allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
