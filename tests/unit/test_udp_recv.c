/* What arrives on a UDP socket: datagrams of odd sizes, and the ICMP errors of those sent before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "udptest.h"

/* Empty and oversized datagrams are dropped without holding up what follows. */
static void odd_sizes(void **state) {
    static uint8_t data[ATL_DATAGRAM_MAX + 500];
    uint32_t flags;

    (void)state;
    for (flags = 0; flags < 2; flags++) {
        struct sockaddr_in sin;
        iotest f;
        sock b;
        int fd;

        iotest_begin(&f);
        open_at(&f, &b, "127.0.0.1:0", flags != 0 ? ATL_UDP_PLAIN : 0);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        sin.sin_port = htons(b.addr.port);
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
        assert_int_equal(send(fd, data, 0, 0), 0);
        assert_int_equal(send(fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
        assert_int_equal(send(fd, data, ATL_DATAGRAM_MAX + 1, 0), ATL_DATAGRAM_MAX + 1);
        assert_int_equal(send(fd, data, ATL_DATAGRAM_MAX, 0), ATL_DATAGRAM_MAX);
        (void)expect_train(&f, &b, data, ATL_DATAGRAM_MAX, ATL_DATAGRAM_MAX);
        assert_int_equal(close(fd), 0);
        iotest_end(&f);
    }
}

/* Reads until `want` errors have come, all of them REFUSED from `remote`. */
static void expect_refused(iotest *f, sock *s, const atl_addr *remote, size_t want) {
    size_t errors = 0;

    while (errors < want) {
        atl_rx rx[RX_CAP];
        size_t n = receive(f, s, rx, RX_CAP);
        size_t i;

        assert_int_not_equal(n, 0);
        for (i = 0; i < n; i++) {
            if (rx[i].error != ATLAS_OK) {
                assert_int_equal(rx[i].error, ATLAS_ERR_REFUSED);
                assert_int_equal(rx[i].len, 0);
                assert_null(rx[i].data);
                assert_true(atl_addr_equal(&rx[i].remote, remote));
                assert_int_equal(rx[i].local.family, remote->family);
                errors++;
            }
        }
    }
    assert_int_equal(errors, want);
}

static void refused(void **state) {
    static const char *const BIND[] = {"0.0.0.0:0", "127.0.0.1:0", "[::]:0"};
    iotest f;
    size_t i;

    (void)state;
    iotest_begin(&f);
    for (i = 0; i < ATL_COUNT(BIND); i++) {
        atl_addr gone;
        atl_addr live;
        sock a;
        sock b;
        int k;

        if (try_open(&f, &a, BIND[i], 0) == ATLAS_ERR_FAMILY) {
            continue;
        }
        open_at(&f, &b, BIND[i], 0);
        gone = to(a.addr.family == 4 ? "127.0.0.1" : "::1", b.addr.port);
        f.io.udp_close(f.io.impl, b.udp);
        open_at(&f, &b, BIND[i], 0);
        live = to(a.addr.family == 4 ? "127.0.0.1" : "::1", b.addr.port);
        /* the error of the first send lies on the socket when the next ones are made */
        for (k = 0; k < 5; k++) {
            assert_int_equal(send_to(&f, &a, &gone, "lost", 4, 4), ATLAS_OK);
            assert_int_equal(send_to(&f, &a, &live, "good", 4, 4), ATLAS_OK);
        }
        (void)expect_train(&f, &b, (const uint8_t *)"goodgoodgoodgoodgood", 20, 4);
        expect_refused(&f, &a, &gone, 5);
        f.io.udp_close(f.io.impl, a.udp);
        f.io.udp_close(f.io.impl, b.udp);
    }
    iotest_end(&f);
}

/* Errors come first in a batch, data right after them in the same one. */
static void errors_and_data_together(void **state) {
    atl_addr gone;
    atl_rx rx[RX_CAP];
    iotest f;
    size_t n;
    sock a;
    sock b;

    (void)state;
    iotest_begin(&f);
    open_at(&f, &a, "127.0.0.1:0", 0);
    open_at(&f, &b, "127.0.0.1:0", 0);
    gone = b.addr;
    f.io.udp_close(f.io.impl, b.udp);
    open_at(&f, &b, "127.0.0.1:0", 0);
    assert_int_equal(send_to(&f, &a, &gone, "lost", 4, 4), ATLAS_OK);
    assert_int_equal(send_to(&f, &b, &a.addr, "back", 4, 4), ATLAS_OK);
    iotest_turn(&f, 100);
    assert_true((a.ready & ATLAS_FD_READ) != 0);
    assert_int_equal(f.io.udp_recv(f.io.impl, a.udp, rx, RX_CAP, &n), ATLAS_OK);
    assert_int_equal(n, 2);
    assert_int_equal(rx[0].error, ATLAS_ERR_REFUSED);
    assert_true(atl_addr_equal(&rx[0].remote, &gone));
    assert_int_equal(rx[1].error, ATLAS_OK);
    assert_memory_equal(rx[1].data, "back", 4);
    assert_int_equal(f.io.udp_recv(f.io.impl, a.udp, rx, RX_CAP, &n), ATLAS_OK);
    assert_int_equal(n, 0);
    /* a loop that reports no error conditions: the error is found when the socket is readable for
     * no other reason */
    assert_int_equal(send_to(&f, &a, &gone, "lost", 4, 4), ATLAS_OK);
    {
        atlas_fd_event event = {atl_udp_fd(a.udp), ATLAS_FD_READ};

        assert_int_equal(atl_os_process(f.os, &event, 1, 8), 0);
    }
    assert_int_equal(f.io.udp_recv(f.io.impl, a.udp, rx, RX_CAP, &n), ATLAS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(rx[0].error, ATLAS_ERR_REFUSED);
    iotest_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_sizes),
        cmocka_unit_test(refused),
        cmocka_unit_test(errors_and_data_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
