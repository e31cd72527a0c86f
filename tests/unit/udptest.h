/* Pairs of UDP sockets on loopback, for the tests of io/udp*.c. Include cmocka and testenv.h before
 * this. */
#ifndef ATL_TESTS_UNIT_UDPTEST_H
#define ATL_TESTS_UNIT_UDPTEST_H

#include "io/udp.h"
#include "iotest.h"

#define RX_CAP 64

typedef struct sock {
    atl_udp *udp;
    atl_addr addr; /* bound */
    uint32_t ready;
    size_t calls;
} sock;

static void on_ready(void *user, atl_udp *udp, uint32_t events) {
    sock *s = user;

    assert_ptr_equal(udp, s->udp);
    s->ready |= events;
    s->calls++;
}

static TESTENV_UNUSED int32_t try_open(iotest *f, sock *s, const char *at, uint32_t flags) {
    atl_addr bind_addr;
    int32_t rc;

    memset(s, 0, sizeof(*s));
    assert_int_equal(atl_addr_parse(at, &bind_addr), ATLAS_OK);
    rc = f->io.udp_open(f->io.impl, &bind_addr, flags, on_ready, s, &s->udp);
    if (rc == ATLAS_OK) {
        f->io.udp_local(f->io.impl, s->udp, &s->addr);
    }
    return rc;
}

static TESTENV_UNUSED void open_at(iotest *f, sock *s, const char *at, uint32_t flags) {
    assert_int_equal(try_open(f, s, at, flags), ATLAS_OK);
    assert_int_not_equal(s->addr.port, 0);
}

static TESTENV_UNUSED atl_addr to(const char *ip, uint16_t port) {
    atl_addr addr;

    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), port, &addr), ATLAS_OK);
    return addr;
}

static TESTENV_UNUSED int32_t send_to(iotest *f, sock *s, const atl_addr *remote, const void *data,
                                      size_t len, size_t segment) {
    atl_tx tx;
    size_t sent = 77;
    int32_t rc;

    memset(&tx, 0, sizeof(tx));
    tx.data = data;
    tx.len = len;
    tx.segment = segment;
    tx.remote = *remote;
    rc = f->io.udp_send(f->io.impl, s->udp, &tx, 1, &sent);
    assert_int_equal(sent, rc == ATLAS_OK ? 1 : 0);
    return rc;
}

/* Waits until something can be read and reads it once. */
static TESTENV_UNUSED size_t receive(iotest *f, sock *s, atl_rx *rx, size_t cap) {
    size_t n = 0;
    int i;

    for (i = 0; i < 100 && n == 0; i++) {
        assert_int_equal(f->io.udp_recv(f->io.impl, s->udp, rx, cap, &n), ATLAS_OK);
        if (n == 0) {
            iotest_turn(f, 20);
        }
    }
    return n;
}

static TESTENV_UNUSED void fill_train(uint8_t *data, size_t len, size_t segment) {
    size_t i;

    for (i = 0; i < len; i++) {
        data[i] = (uint8_t)(i / segment * 31 + i % segment);
    }
}

/* Receives `len` bytes in segments of `segment` and compares them with `data`. Returns how many
 * trains it took. */
static TESTENV_UNUSED size_t expect_train(iotest *f, sock *s, const uint8_t *data, size_t len,
                                          size_t segment) {
    size_t got = 0;
    size_t trains = 0;

    while (got < len) {
        atl_rx rx[RX_CAP];
        size_t n = receive(f, s, rx, RX_CAP);
        size_t i;

        assert_int_not_equal(n, 0);
        for (i = 0; i < n; i++) {
            assert_int_equal(rx[i].error, ATLAS_OK);
            assert_true(got + rx[i].len <= len);
            assert_memory_equal(rx[i].data, data + got, rx[i].len);
            got += rx[i].len;
            /* only the last datagram of all may be short */
            assert_true(rx[i].segment == segment || got == len);
            trains++;
        }
    }
    return trains;
}

#endif
