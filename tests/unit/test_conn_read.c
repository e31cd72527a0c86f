/* Packets from elsewhere: a server that is heard from another address, an echo, and somebody who
 * knows an id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/internal.h"

#include "quic_world.h"

static const sim_link LINK = {.delay = 20 * ATL_MS, .mtu = 1472};

static void begin(world *w, two_way *f, uint64_t seed) {
    world_init(w, seed);
    sim_set_link(w->net, &LINK);
    connect_both(w);
    flow_open(f, w);
    flow_run(f, 0.5);
}

/* The server's NAT forgets: it is heard from its new address, and what it says counts. */
static void test_server_rebinding(void **state) {
    size_t before;
    uint64_t id;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 51);
    sim_host_rebind(w.b.host, "10.0.4.4");
    before = w.ca.got_len;
    flow_write(&f, 0, 2000);
    run(&w, 0.2, NULL);
    assert_true(w.ca.strays >= 1 && w.ca.strays <= 4);
    assert_int_equal(w.ca.stray_id, 0);
    assert_null(w.ca.stray.circuit);
    assert_true(w.ca.got_len > before);
    assert_int_equal(w.ca.paths, 0);
    assert_int_equal(atl_qconn_path_keep(w.ca.conn, &w.ca.stray, &id), ATLAS_OK);
    assert_int_equal(atl_qconn_migrate(w.ca.conn, id, 1), ATLAS_OK);
    flow_run(&f, 0.5);
    assert_int_equal(active_id(w.ca.conn), id);
    flow_settle(&f, 5);
    world_done(&w);
}

/* A stateless reset ends the connection wherever it comes from. */
static void test_reset_from_elsewhere(void **state) {
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 52);
    sim_host_rebind(w.b.host, "10.0.4.4");
    run(&w, 1, NULL);
    atl_endpoint_free(w.b.ep);
    w.sb.conn = NULL;
    pair_open(&w.b, 4001);
    sim_host_rebind(w.b.host, NULL);
    f.up_written += flow_write_one(f.up, f.up_written, 2000, 0, 0);
    run(&w, 5, NULL);
    assert_int_equal(w.ca.closed, 1);
    world_done(&w);
}

/* ---- the echo ---- */

typedef struct deaf {
    atl_addr from; /* what comes from there is lost */
    int on;
    size_t other; /* datagrams from the server by any other way */
} deaf;

static int lose(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    deaf *d = user;

    (void)data;
    (void)len;
    if (to->ip[3] == 1 && d->on) {
        if (memcmp(from->ip, d->from.ip, sizeof(from->ip)) == 0) {
            return 1;
        }
        d->other++;
    }
    return d->on && from->ip[3] == 1; /* and the server hears nothing */
}

static void test_echo(void **state) {
    atl_qpath back;
    size_t before;
    uint64_t id;
    two_way f;
    deaf d;
    world w;

    (void)state;
    begin(&w, &f, 53);
    flow_settle(&f, 2);
    sim_host_add_addr(w.b.host, NULL, "10.0.1.2");
    memset(&d, 0, sizeof(d));
    assert_int_equal(atl_addr_parse_ip("10.0.0.2", 8, 4001, &d.from), ATLAS_OK);
    sim_set_tap(w.net, lose, &d);
    atl_qconn_path(w.sb.conn, &back);
    assert_int_equal(atl_addr_parse_ip("10.0.1.2", 8, 4001, &back.local), ATLAS_OK);
    assert_int_equal(atl_qconn_path_keep(w.sb.conn, &back, &id), ATLAS_OK);
    d.on = 1;
    run(&w, 0.1, NULL);
    assert_int_equal(atl_qconn_echo(w.sb.conn, id, 5), ATLAS_OK);
    before = w.ca.got_len;
    flow_write(&f, 0, 2000);
    run(&w, 0.1, NULL);
    assert_int_equal(w.ca.got_len, before + 2000);
    assert_int_equal(w.ca.strays, 1);
    run(&w, 10, NULL);
    assert_int_equal(d.other, 5); /* counted down */
    d.on = 0;
    run(&w, 10, NULL);
    flow_settle(&f, 1);
    /* heard again: no echo */
    assert_int_equal(atl_qconn_echo(w.sb.conn, id, 1000), ATLAS_OK);
    flow_write(&f, 2000, 0);
    run(&w, 1, NULL);
    assert_int_equal(w.sb.conn->echo_left, 0);
    flow_settle(&f, 5);
    world_done(&w);
}

/* ---- somebody who knows an id ---- */

typedef struct thief {
    uint8_t packet[64];
    int have;
} thief;

static int look(void *user, const atl_addr *from, const atl_addr *to, const uint8_t *data,
                size_t len) {
    thief *t = user;

    (void)from;
    if (to->ip[3] == 2 && len >= sizeof(t->packet) && (data[0] & 0xc0) == 0x40) {
        memcpy(t->packet, data, sizeof(t->packet));
        t->have = 1;
    }
    return 0;
}

static size_t count_slots(const atl_qconn *conn) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        n += conn->paths[i].id != 0;
    }
    return n;
}

static void test_forged_packets_take_no_slot(void **state) {
    atl_qpath kept;
    atl_addr from;
    atl_addr to;
    uint64_t id;
    int i;
    two_way f;
    thief t;
    world w;

    (void)state;
    begin(&w, &f, 54);
    memset(&t, 0, sizeof(t));
    sim_set_tap(w.net, look, &t);
    flow_run(&f, 0.2);
    assert_true(t.have);
    kept = path_to(&w.b, "10.0.5.5");
    assert_int_equal(atl_qconn_path_keep(w.sb.conn, &kept, &id), ATLAS_OK);
    to = pair_path(&w.b).remote;
    for (i = 0; i < 500; i++) {
        char ip[32];

        (void)snprintf(ip, sizeof(ip), "10.6.%d.%d", i / 250, i % 250 + 1);
        assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 999, &from), ATLAS_OK);
        t.packet[20] = (uint8_t)i;
        t.packet[21] = (uint8_t)(i >> 8);
        sim_inject(w.net, &from, &to, t.packet, sizeof(t.packet));
    }
    flow_run(&f, 0.2);
    assert_int_equal(count_slots(w.sb.conn), 2);
    assert_int_equal(w.sb.paths, 0);
    assert_non_null(atl_path_by_id(w.sb.conn, id));
    flow_settle(&f, 5);
    world_done(&w);
}

/* ---- what a new address means ---- */

static void test_port_keeps_what_is_known(void **state) {
    uint32_t mtu;
    two_way f;
    world w;

    (void)state;
    begin(&w, &f, 55);
    run(&w, 2, NULL);
    mtu = atl_qconn_mtu(w.sb.conn);
    assert_true(mtu > 1400);
    sim_host_rebind(w.a.host, NULL);
    flow_write(&f, 1000, 1000);
    run(&w, 0.03, NULL);
    assert_int_equal(active_id(w.sb.conn), 2);
    assert_int_equal(atl_qconn_mtu(w.sb.conn), mtu);
    flow_run(&f, 4);
    sim_host_rebind(w.a.host, "10.0.9.9");
    flow_write(&f, 1000, 1000);
    run(&w, 0.03, NULL);
    assert_int_equal(active_id(w.sb.conn), 3);
    assert_int_equal(atl_qconn_mtu(w.sb.conn), 1200); /* another network, perhaps */
    flow_run(&f, 2);
    assert_int_equal(atl_qconn_mtu(w.sb.conn), mtu);
    flow_settle(&f, 5);
    world_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_server_rebinding),
        cmocka_unit_test(test_reset_from_elsewhere),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_forged_packets_take_no_slot),
        cmocka_unit_test(test_port_keeps_what_is_known),
    };

    return cmocka_run_group_tests_name("conn_read", TESTS, NULL, NULL);
}
