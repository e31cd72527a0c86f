/* What a UDP socket does when the kernel takes less than it is given; where they may be made, in
 * network namespaces with a small MTU and with a link that takes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "udptest.h"

/* A socket that sends without checksums answers a train with EINVAL, as devices without offload do
 * with EIO. */
static void gso_fails(void **state) {
    static uint8_t data[10 * 1200];
    iotest f;
    sock a;
    sock b;
    int one = 1;

    (void)state;
    iotest_begin(&f);
    open_at(&f, &a, "127.0.0.1:0", 0);
    open_at(&f, &b, "127.0.0.1:0", 0);
    if (f.io.udp_segments(f.io.impl, a.udp) > 1) {
        assert_int_equal(f.io.udp_segments(f.io.impl, a.udp), ATL_TRAIN_SEGMENTS);
        assert_int_equal(setsockopt(atl_udp_fd(a.udp), SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one)),
                         0);
        fill_train(data, sizeof(data), 1200);
        assert_int_equal(send_to(&f, &a, &b.addr, data, sizeof(data), 1200), ATLAS_OK);
        (void)expect_train(&f, &b, data, sizeof(data), 1200);
        assert_int_equal(f.io.udp_segments(f.io.impl, a.udp), 1);
        /* a train that was made before that is still sent */
        assert_int_equal(send_to(&f, &a, &b.addr, data, sizeof(data), 1200), ATLAS_OK);
        (void)expect_train(&f, &b, data, sizeof(data), 1200);
    }
    iotest_end(&f);
}

/* A train to an address that cannot be: lost, and no reason to give GSO up. */
static void bad_destination(void **state) {
    static uint8_t data[2400];
    atl_addr target;
    size_t before;
    iotest f;
    sock a;
    sock b;

    (void)state;
    iotest_begin(&f);
    open_at(&f, &a, "127.0.0.1:0", 0);
    before = f.io.udp_segments(f.io.impl, a.udp);
    target = to("127.0.0.1", 0);
    assert_int_equal(send_to(&f, &a, &target, data, sizeof(data), 1200), ATLAS_OK);
    target = to("::1", 9);
    assert_int_equal(send_to(&f, &a, &target, data, sizeof(data), 1200), ATLAS_OK);
    target = to("255.255.255.255", 9);
    assert_int_equal(send_to(&f, &a, &target, data, 1200, 1200), ATLAS_OK);
    assert_int_equal(f.io.udp_segments(f.io.impl, a.udp), before);
    open_at(&f, &b, "127.0.0.1:0", 0);
    assert_int_equal(send_to(&f, &a, &b.addr, "x", 1, 1), ATLAS_OK);
    (void)expect_train(&f, &b, (const uint8_t *)"x", 1, 1);
    iotest_end(&f);
}

/* ---- in a network namespace ---- */

/* Runs `body` in a child with a network namespace of its own; skips the test where that is not
 * allowed. */
static void in_namespace(void (*body)(void)) {
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct ifreq ifr;
        int fd;

        if (unshare(CLONE_NEWNET) != 0) {
            _exit(77);
        }
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        memset(&ifr, 0, sizeof(ifr));
        (void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "lo");
        ifr.ifr_mtu = 1280;
        if (ioctl(fd, SIOCSIFMTU, &ifr) != 0) {
            _exit(77);
        }
        ifr.ifr_flags = IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &ifr) != 0) {
            _exit(77);
        }
        (void)close(fd);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* In the child cmocka cannot report: its exit status does. */
#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                             \
        }                                                                         \
    } while (0)

static void small_mtu_body(void) {
    static uint8_t data[ATL_TRAIN_BYTES];
    atl_rx rx[RX_CAP];
    size_t before;
    size_t n;
    iotest f;
    sock a;
    sock b;

    iotest_begin(&f);
    CHECK(try_open(&f, &a, "127.0.0.1:0", 0) == ATLAS_OK);
    CHECK(try_open(&f, &b, "127.0.0.1:0", 0) == ATLAS_OK);
    before = f.io.udp_segments(f.io.impl, a.udp);
    /* one that does not fit, and a train of such: lost, and told */
    CHECK(send_to(&f, &a, &b.addr, data, 1400, 1400) == ATLAS_OK);
    CHECK(send_to(&f, &a, &b.addr, data, 4 * 1400, 1400) == ATLAS_OK);
    CHECK(f.io.udp_segments(f.io.impl, a.udp) == before);
    n = receive(&f, &a, rx, RX_CAP);
    CHECK(n > 0 && rx[0].error == ATLAS_ERR_TOO_LARGE);
    CHECK(atl_addr_equal(&rx[0].remote, &b.addr));
    /* what fits goes on as before */
    CHECK(send_to(&f, &a, &b.addr, data, 4 * 1200, 1200) == ATLAS_OK);
    n = receive(&f, &b, rx, RX_CAP);
    CHECK(n > 0 && rx[0].error == ATLAS_OK && rx[0].segment == 1200);
    iotest_end(&f);
}

static void small_mtu(void **state) {
    (void)state;
    in_namespace(small_mtu_body);
}

/* A link on which nobody answers ARP: what is sent waits there, and fills the socket. */
static int silent_link(void) {
    struct ifreq ifr;
    struct sockaddr_in sin;
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memset(&ifr, 0, sizeof(ifr));
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
    (void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "atl0");
    if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) != 0) {
        _exit(77);
    }
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
    memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
    CHECK(ioctl(fd, SIOCSIFADDR, &ifr) == 0);
    sin.sin_addr.s_addr = htonl(0xffffff00);
    memcpy(&ifr.ifr_netmask, &sin, sizeof(sin));
    CHECK(ioctl(fd, SIOCSIFNETMASK, &ifr) == 0);
    ifr.ifr_flags = IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
    (void)close(fd);
    return tap;
}

static void full_socket_body(void) {
    static uint8_t data[1200];
    atl_addr nobody = to("192.0.2.9", 9);
    int tap = silent_link();
    int small = 4096;
    int32_t rc = ATLAS_OK;
    atl_rx rx[RX_CAP];
    size_t n;
    iotest f;
    sock a;
    int i;

    iotest_begin(&f);
    CHECK(try_open(&f, &a, "192.0.2.1:0", 0) == ATLAS_OK);
    CHECK(setsockopt(atl_udp_fd(a.udp), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    for (i = 0; i < 100 && rc == ATLAS_OK; i++) {
        rc = send_to(&f, &a, &nobody, data, sizeof(data), sizeof(data));
    }
    CHECK(rc == ATLAS_ERR_AGAIN);
    CHECK((a.ready & ATLAS_FD_WRITE) == 0);
    for (i = 0; i < 100 && (a.ready & ATLAS_FD_WRITE) == 0; i++) {
        iotest_turn(&f, 100);
        if ((a.ready & ATLAS_FD_READ) != 0) {
            CHECK(f.io.udp_recv(f.io.impl, a.udp, rx, RX_CAP, &n) == ATLAS_OK);
            CHECK(n == 0 || rx[0].error == ATLAS_ERR_UNREACHABLE);
        }
    }
    CHECK((a.ready & ATLAS_FD_WRITE) != 0);
    CHECK(send_to(&f, &a, &nobody, data, 10, 10) == ATLAS_OK);
    /* told once only */
    a.ready = 0;
    iotest_turn(&f, 0);
    CHECK((a.ready & ATLAS_FD_WRITE) == 0);
    iotest_end(&f);
    (void)close(tap);
}

static void full_socket(void **state) {
    (void)state;
    in_namespace(full_socket_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gso_fails),
        cmocka_unit_test(bad_destination),
        cmocka_unit_test(small_mtu),
        cmocka_unit_test(full_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
