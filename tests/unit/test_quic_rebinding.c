/* A NAT that forgets: the client's packets come from another address while bytes are on their way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net_internal.h"
#include "quic_world.h"

#define LEN ((size_t)3000000)

static uint8_t bytes[LEN];

static void fill_bytes(void) {
    size_t i;

    for (i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 131 + i / 251);
    }
}

/* Where the server's packets go, and how many bytes went to the address that is being watched. */
typedef struct watch {
    atl_addr server;
    atl_addr at;      /* family 0: none */
    uint64_t in, out; /* bytes from and to it */
    uint64_t worst;   /* largest out beyond three times in */
} watch;

static int look(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    watch *seen = user;

    (void)data;
    if (seen->at.family != 0 && atl_addr_equal(from, &seen->at)) {
        seen->in += len;
    }
    if (seen->at.family != 0 && atl_addr_equal(to, &seen->at)) {
        seen->out += len;
        if (seen->out > 3 * seen->in && seen->out - 3 * seen->in > seen->worst) {
            seen->worst = seen->out - 3 * seen->in;
        }
    }
    return 0;
}

/* Writes what the streams take and rebinds the client every `every` seconds, until all is there. */
static void transfer(world *w, side *from, side *to, double every, int moves) {
    size_t at = 0;
    size_t taken;
    char ip[32];
    int steps = 0;
    int moved = 0;

    assert_int_equal(atl_qconn_open_stream(from->conn, 1, &STREAM_OPS, from, &from->stream),
                     ATLAS_OK);
    while (!to->got_fin && steps < 6000) {
        if (at < LEN) {
            assert_int_equal(atl_qstream_write(from->stream, bytes + at, LEN - at, 1, &taken),
                             ATLAS_OK);
            at += taken;
        }
        run(w, 0.01, NULL);
        if (++steps % (int)(every * 100) == 0 && moved < moves) {
            moved++;
            (void)snprintf(ip, sizeof(ip), "10.0.9.%d", moved);
            sim_host_rebind(w->a.host, moved % 2 ? ip : NULL);
        }
    }
    assert_int_equal(moved, moves);
    assert_true(to->got_fin);
    assert_int_equal(to->got_len, LEN);
    assert_memory_equal(to->got, bytes, LEN);
    assert_int_equal(w->ca.closed, 0);
    assert_int_equal(w->sb.closed, 0);
}

static void assert_follows(world *w) {
    atl_qpath path;
    atl_addr where = w->a.host->outside;

    where.port = (uint16_t)(w->a.host->sockets[0].local.port + w->a.host->port_shift);
    atl_qconn_path(w->sb.conn, &path);
    assert_true(atl_addr_equal(&path.remote, &where));
}

static void test_upload_goes_on(void **state) {
    sim_link link = {.delay = 30 * ATL_MS, .jitter = 5 * ATL_MS, .loss = 50, .mtu = 1472};
    world w;

    (void)state;
    world_init(&w, 41);
    connect_both(&w);
    sim_set_link(w.net, &link);
    transfer(&w, &w.ca, &w.sb, 0.3, 4);
    run(&w, 2, NULL);
    assert_follows(&w);
    assert_true(w.sb.paths >= 3);
    world_done(&w);
}

/* The client only acknowledges: its acknowledgements are what shows where it is. */
static void test_download_goes_on(void **state) {
    sim_link link = {.delay = 30 * ATL_MS, .jitter = 5 * ATL_MS, .loss = 50, .mtu = 1472};
    world w;

    (void)state;
    world_init(&w, 42);
    connect_both(&w);
    sim_set_link(w.net, &link);
    atl_qconn_keepalive(w.ca.conn, ATL_SECOND); /* an idle client shows itself by that */
    transfer(&w, &w.sb, &w.ca, 0.7, 3);
    run(&w, 3, NULL);
    assert_follows(&w);
    world_done(&w);
}

/* Again and again and faster than a validation takes: no slot of the path table stays taken, and
 * the peer's connection ids last. */
static void move_often(const char *ip_format) {
    char ip[32];
    size_t taken;
    int i;
    world w;

    world_init(&w, 43);
    connect_both(&w);
    run(&w, 1, NULL);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    for (i = 0; i < 200; i++) {
        (void)snprintf(ip, sizeof(ip), ip_format == NULL ? "" : ip_format, i % 250 + 1);
        sim_host_rebind(w.a.host, ip_format == NULL ? NULL : ip);
        assert_int_equal(atl_qstream_write(w.ca.stream, "0123456789", 10, i == 199, &taken),
                         ATLAS_OK);
        run(&w, i % 10 == 9 ? 2.0 : 0.004 * (i % 7), NULL);
    }
    assert_true(run(&w, 20, server_got_fin));
    assert_int_equal(w.sb.got_len, 2000);
    run(&w, 2, NULL);
    assert_follows(&w);
    world_done(&w);
}

static void test_many_ports(void **state) {
    (void)state;
    move_often(NULL);
}

static void test_many_addresses(void **state) {
    (void)state;
    move_often("10.0.9.%d");
}

/* Someone on the way sends copies of the client's packets from addresses of others, in time to be
 * taken for the client's own: the server probes those addresses and sends them no more than three
 * times what came from there; the connection stays with the client. */
typedef struct copier {
    world *w;
    watch watch;
    int on;
    int busy;
    uint8_t turn;
} copier;

static int copy_from_elsewhere(void *user, const atl_addr *from, const atl_addr *to,
                               const uint8_t *data, size_t len) {
    copier *c = user;
    atl_addr other = *from;

    (void)look(&c->watch, from, to, data, len);
    if (!c->on || c->busy || from->ip[3] != 1 || (data[0] & 0x80) != 0) {
        return 0;
    }
    other.ip[2] = 77;
    other.ip[3] = (uint8_t)(1 + c->turn++ % 9);
    c->busy = 1;
    sim_inject(c->w->net, &other, to, data, len);
    c->busy = 0;
    return 0;
}

static void test_copies_from_elsewhere(void **state) {
    atl_qstream *up;
    atl_qstream *down;
    size_t taken;
    int i;
    copier c;
    world w;

    (void)state;
    world_init(&w, 44);
    memset(&c, 0, sizeof(c));
    c.w = &w;
    connect_both(&w);
    run(&w, 1, NULL);
    assert_int_equal(atl_addr_parse_ip("10.0.77.1", 9, 0, &c.watch.at), ATLAS_OK);
    c.watch.at.port = w.a.host->sockets[0].local.port;
    sim_set_tap(w.net, copy_from_elsewhere, &c);
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &up), ATLAS_OK);
    assert_int_equal(atl_qconn_open_stream(w.sb.conn, 1, &STREAM_OPS, &w.sb, &down), ATLAS_OK);
    c.on = 1;
    for (i = 0; i < 100; i++) {
        assert_int_equal(atl_qstream_write(up, bytes, 100, 0, &taken), ATLAS_OK);
        (void)atl_qstream_write(down, bytes, 20000, 0, &taken);
        run(&w, 0.05, NULL);
    }
    assert_true(c.watch.in > 0);
    assert_int_equal(c.watch.worst, 0);
    assert_int_equal(w.sb.paths, 0); /* the owner is told of none of them */
    c.on = 0;
    assert_int_equal(atl_qstream_write(up, "x", 1, 1, &taken), ATLAS_OK);
    assert_true(run(&w, 20, server_got_fin));
    assert_int_equal(w.sb.got_len, 100 * 100 + 1);
    sim_host_rebind(w.a.host, NULL); /* and no slot is left taken */
    assert_int_equal(atl_qconn_send_datagram(w.ca.conn, bytes, 10), ATLAS_OK);
    run(&w, 5, NULL);
    assert_follows(&w);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_upload_goes_on),
        cmocka_unit_test(test_download_goes_on),
        cmocka_unit_test(test_many_ports),
        cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_copies_from_elsewhere),
    };

    fill_bytes();
    return cmocka_run_group_tests_name("quic_rebinding", TESTS, NULL, NULL);
}
