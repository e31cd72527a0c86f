/* What strangers may send to an endpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic_world.h"

/* How much left the server, and how much it was sent by spoofed sources. */
typedef struct tap_count {
    atl_addr server;
    uint64_t to_spoofed;
    uint64_t from_spoofed;
} tap_count;

static int count_tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                     size_t len) {
    tap_count *t = user;

    (void)data;
    if (memcmp(from->ip, t->server.ip, sizeof(from->ip)) == 0) {
        t->to_spoofed += len;
    }
    if (memcmp(to->ip, t->server.ip, sizeof(to->ip)) == 0) {
        t->from_spoofed += len;
    }
    return 0;
}

typedef struct capture {
    uint8_t data[1500];
    size_t len;
} capture;

static int capture_tap(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                       size_t len) {
    capture *c = user;

    (void)from;
    (void)to;
    if (c->len == 0 && len >= 1200 && len <= sizeof(c->data)) {
        memcpy(c->data, data, len);
        c->len = len;
    }
    return 0;
}

/* Initials from spoofed sources: never more than three times the bytes come out, state goes after
 * the handshake timeout. */
static void test_spoofed_initials(void **state) {
    atl_addr spoofed;
    tap_count tap;
    capture c;
    size_t i;
    world w;

    (void)state;
    memset(&c, 0, sizeof(c));
    memset(&tap, 0, sizeof(tap));
    world_init(&w, 15);
    sim_set_tap(w.net, capture_tap, &c);
    dial(&w, &w.b.id);
    run(&w, 0.001, NULL);
    assert_true(c.len >= 1200);
    tap.server = pair_path(&w.b).remote;
    sim_set_tap(w.net, count_tap, &tap);
    atl_qconn_abort(w.ca.conn);
    for (i = 0; i < 50; i++) {
        atl_addr_parse("192.0.2.1:1000", &spoofed);
        spoofed.port = (uint16_t)(1000 + i);
        c.data[6] =
            (uint8_t)i; /* another destination id: another connection, which does not decrypt */
        sim_inject(w.net, &spoofed, &tap.server, c.data, c.len);
    }
    run(&w, 30, NULL);
    assert_true(tap.to_spoofed <= 3 * tap.from_spoofed);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 0);
    world_done(&w);
}

static void test_version_negotiation(void **state) {
    uint8_t packet[1200];
    atl_addr from;
    tap_count tap;
    world w;

    (void)state;
    world_init(&w, 16);
    memset(packet, 0, sizeof(packet));
    memset(&tap, 0, sizeof(tap));
    packet[0] = 0xc3;
    packet[1] = 0x1a; /* version 0x1a2a3a4a, reserved */
    packet[2] = 0x2a;
    packet[3] = 0x3a;
    packet[4] = 0x4a;
    packet[5] = 8;
    packet[14] = 8;
    tap.server = pair_path(&w.b).remote;
    sim_set_tap(w.net, count_tap, &tap);
    atl_addr_parse("192.0.2.1:1000", &from);
    sim_inject(w.net, &from, &tap.server, packet, sizeof(packet));
    sim_inject(w.net, &from, &tap.server, packet, 600); /* too short to be answered */
    run(&w, 1, NULL);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->version_negotiations, 1);
    assert_true(tap.to_spoofed > 0 && tap.to_spoofed < 100);
    packet[0] =
        0xd3; /* an Initial of version 2, which ngtcp2 knows and this library does not speak */
    memcpy(packet + 1, "\x6b\x33\x43\xcf", 4);
    sim_inject(w.net, &from, &tap.server, packet, sizeof(packet));
    run(&w, 1, NULL);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->version_negotiations, 2);
    assert_int_equal(atl_endpoint_get_stats(w.b.ep)->conns, 0);
    world_done(&w);
}

/* Random, truncated and bit-flipped datagrams, and replays: nobody is disturbed. */
static void test_garbage(void **state) {
    uint8_t noise[1500];
    size_t taken;
    atl_addr from;
    atl_addr to;
    capture c;
    size_t i;
    size_t j;
    world w;

    (void)state;
    memset(&c, 0, sizeof(c));
    world_init(&w, 17);
    sim_set_tap(w.net, capture_tap, &c);
    connect_both(&w);
    to = pair_path(&w.b).remote;
    from = pair_path(&w.a).remote;
    assert_int_equal(atl_qconn_open_stream(w.ca.conn, 1, &STREAM_OPS, &w.ca, &w.ca.stream),
                     ATLAS_OK);
    for (i = 0; i < 2000; i++) {
        size_t len = sim_random(w.net) % sizeof(noise);

        if (i % 2 == 0) {
            for (j = 0; j < len; j++) {
                noise[j] = (uint8_t)sim_random(w.net);
            }
        } else {
            len = 1 + sim_random(w.net) % c.len;
            memcpy(noise, c.data, len);
            noise[sim_random(w.net) % len] ^= (uint8_t)(1u << sim_random(w.net) % 8);
        }
        sim_inject(w.net, &from, &to, noise, len);
    }
    assert_int_equal(atl_qstream_write(w.ca.stream, "still here", 10, 1, &taken), ATLAS_OK);
    run(&w, 5, server_got_fin);
    assert_int_equal(w.sb.got_len, 10);
    assert_int_equal(w.ca.closed + w.sb.closed, 0);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_spoofed_initials),
        cmocka_unit_test(test_version_negotiation),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests_name("quic hostile", TESTS, NULL, NULL);
}
