/* The simulated network itself: what routers let through, in every combination of RFC 4787, who can
 * punch a hole to whom, and how it all changes at run time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "probe.h"

#include <stdio.h>
#include <string.h>

#define S1 "203.0.113.1"
#define S2 "203.0.113.2"
#define OUT "198.51.100.7"
#define EI SIM_ENDPOINT_INDEPENDENT
#define AD SIM_ADDRESS_DEPENDENT
#define APD SIM_ADDRESS_PORT_DEPENDENT

/* Two servers with two ports each (4001 and 4002), two hosts (5000) behind one router. */
typedef struct home {
    sim_net *net;
    sim_router *router;
    probe s1;
    probe s2;
    probe i;
    probe j;
} home;

static void home_init(home *h, const sim_nat *nat) {
    memset(h, 0, sizeof(*h));
    h->net = sim_new_quiet(1);
    h->router = sim_router_new(h->net, NULL, OUT, nat);
    probe_init(&h->s1, sim_host_new(h->net, S1), 4, 4001);
    probe_init(&h->s2, sim_host_new(h->net, S2), 4, 4001);
    probe_init(&h->i, sim_host_behind(h->router, "192.168.1.2"), 4, 5000);
    probe_init(&h->j, sim_host_behind(h->router, "192.168.1.3"), 4, 5000);
}

static void home_done(home *h) {
    probe_done(&h->s1);
    probe_done(&h->s2);
    probe_done(&h->i);
    probe_done(&h->j);
    sim_free(h->net);
}

static void settle(sim_net *net) {
    sim_run(net, sim_now(net) + ATL_SECOND, NULL, NULL);
}

/* The outside port that the host inside has towards that server. */
static uint16_t mapped(home *h, probe *inside, probe *server, const char *ip, uint16_t port) {
    size_t got = server->got;
    atl_addr out;

    sim_router_outside(h->router, &out);
    probe_send(inside, 0, ip, port, 1, 100);
    settle(h->net);
    assert_int_equal(server->got, got + 1);
    assert_memory_equal(probe_from(server)->ip, out.ip, sizeof(out.ip));
    return probe_from(server)->port;
}

static void check_mapping(const sim_nat *nat) {
    uint16_t first;
    uint16_t other_port;
    uint16_t other_ip;
    home h;

    home_init(&h, nat);
    first = mapped(&h, &h.i, &h.s1, S1, 4001);
    other_port = mapped(&h, &h.i, &h.s1, S1, 4002);
    other_ip = mapped(&h, &h.i, &h.s2, S2, 4001);
    assert_int_equal(mapped(&h, &h.i, &h.s1, S1, 4001), first);
    assert_int_equal(first == other_port, nat->mapping != APD);
    assert_int_equal(first == other_ip, nat->mapping == EI);
    assert_int_equal(first == 5000, nat->preserve);
    /* another host with the same port inside */
    assert_int_not_equal(mapped(&h, &h.j, &h.s1, S1, 4001), first);
    assert_int_equal(sim_router_mappings(h.router), nat->mapping == EI   ? 2
                                                    : nat->mapping == AD ? 3
                                                                         : 4);
    home_done(&h);
}

static void check_filtering(const sim_nat *nat) {
    atl_addr out;
    home h;

    home_init(&h, nat);
    sim_router_outside(h.router, &out);
    out.port = mapped(&h, &h.i, &h.s1, S1, 4001);
    probe_send_to(&h.s1, 0, &out, 2, 100);
    settle(h.net);
    assert_int_equal(h.i.got, 1);
    probe_send_to(&h.s1, 1, &out, 3, 100);
    settle(h.net);
    assert_int_equal(h.i.got, 1 + (nat->filtering != APD));
    h.i.got = 0;
    probe_send_to(&h.s2, 0, &out, 4, 100);
    settle(h.net);
    assert_int_equal(h.i.got, nat->filtering == EI);
    /* a port that nobody inside has */
    out.port = (uint16_t)(out.port ^ 0x100);
    probe_send_to(&h.s1, 0, &out, 5, 100);
    settle(h.net);
    assert_int_equal(h.i.got + h.j.got, nat->filtering == EI);
    home_done(&h);
}

/* Two hosts inside write to one another's outside address, the first before the second. */
static void check_hairpin(const sim_nat *nat) {
    atl_addr i;
    atl_addr j;
    home h;

    home_init(&h, nat);
    sim_router_outside(h.router, &i);
    j = i;
    i.port = mapped(&h, &h.i, &h.s1, S1, 4001);
    j.port = mapped(&h, &h.j, &h.s1, S1, 4001);
    probe_send_to(&h.i, 0, &j, 1, 100);
    settle(h.net);
    assert_int_equal(h.j.got, nat->hairpin && nat->filtering == EI);
    probe_send_to(&h.j, 0, &i, 1, 100);
    settle(h.net);
    /* the hole is there where both wrote from the ports that they were written to */
    assert_int_equal(h.i.got, nat->hairpin && (nat->filtering == EI || nat->mapping == EI));
    if (h.i.got > 0) {
        assert_memory_equal(probe_from(&h.i)->ip, i.ip, sizeof(i.ip));
        assert_int_equal(probe_from(&h.i)->port == j.port, nat->mapping == EI);
    }
    home_done(&h);
}

static void test_every_behaviour(void **state) {
    int n;

    (void)state;
    for (n = 0; n < 3 * 3 * 2 * 2; n++) {
        sim_nat nat;

        memset(&nat, 0, sizeof(nat));
        nat.mapping = (uint8_t)(n % 3);
        nat.filtering = (uint8_t)(n / 3 % 3);
        nat.hairpin = (uint8_t)(n / 9 % 2);
        nat.preserve = (uint8_t)(n / 18);
        check_mapping(&nat);
        check_filtering(&nat);
        check_hairpin(&nat);
    }
}

/* Writes at 0, and hears (or says) something every 40 s: is it still there at 150 s? */
static int kept(int refresh_inbound, int inbound, int outbound) {
    sim_nat nat = sim_nat_of(SIM_NAT_PORT_RESTRICTED);
    atl_addr out;
    int yes;
    int i;
    home h;

    nat.refresh_inbound = (uint8_t)refresh_inbound;
    nat.timeout = 60 * ATL_SECOND;
    home_init(&h, &nat);
    sim_router_outside(h.router, &out);
    out.port = mapped(&h, &h.i, &h.s1, S1, 4001);
    for (i = 0; i < 4; i++) {
        sim_run(h.net, sim_now(h.net) + 36 * ATL_SECOND, NULL, NULL);
        if (inbound) {
            probe_send_to(&h.s1, 0, &out, 1, 100);
        }
        if (outbound) {
            probe_send(&h.i, 0, S1, 4001, 1, 100);
        }
    }
    settle(h.net);
    h.i.got = 0;
    probe_send_to(&h.s1, 0, &out, 1, 100);
    settle(h.net);
    yes = h.i.got == 1;
    assert_int_equal(sim_router_mappings(h.router), yes);
    home_done(&h);
    return yes;
}

static void test_mappings_expire(void **state) {
    (void)state;
    assert_false(kept(0, 0, 0));
    assert_false(kept(1, 0, 0));
    assert_false(kept(0, 1, 0));
    assert_true(kept(1, 1, 0));
    assert_true(kept(0, 0, 1));
    assert_true(kept(1, 0, 1));
}

static void test_routers_change(void **state) {
    sim_nat nat = sim_nat_of(SIM_NAT_PORT_RESTRICTED);
    atl_addr out;
    home h;

    (void)state;
    home_init(&h, &nat);
    sim_router_outside(h.router, &out);
    out.port = mapped(&h, &h.i, &h.s1, S1, 4001);
    sim_router_forget(h.router, 0);
    probe_send_to(&h.s1, 0, &out, 1, 100);
    settle(h.net);
    assert_int_equal(h.i.got, 0);
    assert_int_equal(mapped(&h, &h.i, &h.s1, S1, 4001), out.port);
    sim_router_forget(h.router, 1);
    assert_int_not_equal(mapped(&h, &h.i, &h.s1, S1, 4001), out.port);
    sim_router_set_outside(h.router, "198.51.100.8"); /* mapped() checks where it comes from */
    mapped(&h, &h.i, &h.s1, S1, 4001);
    probe_send_to(&h.s1, 0, &out, 1, 100);
    settle(h.net);
    assert_int_equal(h.i.got, 0);
    sim_router_nat(h.router)->block_udp = 1;
    h.s1.got = 0;
    probe_send(&h.i, 0, S1, 4001, 1, 100);
    settle(h.net);
    assert_int_equal(h.s1.got, 0);
    home_done(&h);
}

/* ---- who can punch a hole to whom ---- */

static int open_to_all(int kind) {
    return kind == SIM_NAT_NONE || kind == SIM_NAT_FULL_CONE;
}

static int strict(int kind) {
    return kind == SIM_NAT_PORT_RESTRICTED || kind == SIM_NAT_SYMMETRIC || kind == SIM_NAT_CGNAT;
}

static int expected(int a, int b) {
    if (a == SIM_NAT_BLOCKED || b == SIM_NAT_BLOCKED) {
        return 0;
    }
    if (a == SIM_NAT_SYMMETRIC || b == SIM_NAT_SYMMETRIC) {
        return open_to_all(a) || open_to_all(b) || !strict(a) || !strict(b);
    }
    return 1;
}

/* Both learn their outside address from a server and write to one another's, and to whoever writes.
 */
static int punched(int a_kind, int b_kind) {
    sim_net *net = sim_new_quiet(3);
    probe server;
    probe a;
    probe b;
    atl_addr a_out;
    atl_addr b_out;
    int yes;
    int i;

    probe_init(&server, sim_host_new(net, S1), 4, 4001);
    probe_init(&a, sim_host_natted(net, a_kind, "198.51.100.1", 1, NULL), 4, 5000);
    probe_init(&b, sim_host_natted(net, b_kind, "198.51.100.2", 2, NULL), 4, 5000);
    probe_send(&a, 0, S1, 4001, 1, 100);
    settle(net);
    a_out = *probe_from(&server);
    probe_send(&b, 0, S1, 4001, 1, 100);
    settle(net);
    b_out = *probe_from(&server);
    for (i = 0; i < 3; i++) {
        probe_send_to(&a, 0, a.got > 0 ? probe_from(&a) : &b_out, 1, 100);
        probe_send_to(&b, 0, b.got > 0 ? probe_from(&b) : &a_out, 1, 100);
        settle(net);
    }
    yes = server.got == 2 && a.got > 0 && b.got > 0;
    probe_done(&server);
    probe_done(&a);
    probe_done(&b);
    sim_free(net);
    return yes;
}

static void test_who_can_punch(void **state) {
    int a;
    int b;

    (void)state;
    for (a = 0; a < SIM_NAT_KINDS; a++) {
        for (b = 0; b < SIM_NAT_KINDS; b++) {
            if (punched(a, b) != expected(a, b)) {
                fail_msg("%s with %s", sim_nat_name(a), sim_nat_name(b));
            }
        }
    }
}

/* Two customers of one carrier meet inside it, or at its outside address when it hairpins. */
static void test_behind_one_carrier(void **state) {
    sim_nat nat = sim_nat_of(SIM_NAT_FULL_CONE);
    sim_net *net = sim_new_quiet(4);
    sim_router *carrier = sim_router_new(net, NULL, OUT, &nat);
    sim_router *a_home = sim_router_new(net, carrier, "100.64.1.2", &nat);
    sim_router *b_home = sim_router_new(net, carrier, "100.64.2.2", &nat);
    probe server;
    probe a;
    probe b;
    atl_addr out;

    (void)state;
    probe_init(&server, sim_host_new(net, S1), 4, 4001);
    probe_init(&a, sim_host_behind(a_home, "192.168.1.2"), 4, 5000);
    probe_init(&b, sim_host_behind(b_home, "192.168.1.2"), 4, 5000);
    assert_ptr_equal(sim_router_parent(a_home), carrier);
    probe_send(&a, 0, S1, 4001, 1, 100);
    settle(net);
    out = *probe_from(&server);
    probe_send_to(&b, 0, &out, 1, 100);
    settle(net);
    assert_int_equal(a.got, 0);
    sim_router_nat(carrier)->hairpin = 1;
    probe_send_to(&b, 0, &out, 1, 100);
    settle(net);
    assert_int_equal(a.got, 1);
    probe_send(&b, 0, "100.64.1.2", 5000, 1, 100);
    settle(net);
    assert_int_equal(a.got, 2);
    /* an address of their own network means somebody else there, here themselves */
    probe_send(&b, 0, "192.168.1.2", 5000, 1, 100);
    settle(net);
    assert_int_equal(a.got, 2);
    probe_done(&server);
    probe_done(&a);
    probe_done(&b);
    sim_free(net);
}

static void test_ipv6_firewall(void **state) {
    sim_nat nat = sim_nat_of(SIM_NAT_PORT_RESTRICTED);
    sim_net *net = sim_new_quiet(5);
    sim_router *router = sim_router_new(net, NULL, OUT, &nat);
    probe server;
    probe a;
    probe b;

    (void)state;
    probe_init(&server, sim_host_new(net, "2001:db8::1"), 6, 4001);
    probe_init(&a, sim_host_behind(router, "2001:db8:7::2"), 6, 5000);
    probe_init(&b, sim_host_behind(router, "2001:db8:7::3"), 6, 5000);
    probe_send(&server, 0, "2001:db8:7::2", 5000, 1, 100);
    settle(net);
    assert_int_equal(a.got, 0);
    probe_send(&a, 0, "2001:db8::1", 4001, 1, 100);
    settle(net);
    assert_int_equal(server.got, 1);
    assert_int_equal(probe_from(&server)->port, 5000);
    probe_send(&server, 0, "2001:db8:7::2", 5000, 1, 100);
    probe_send(&server, 1, "2001:db8:7::2", 5000, 1, 100);
    settle(net);
    assert_int_equal(a.got, 1);
    /* neighbours */
    probe_send(&b, 0, "2001:db8:7::2", 5000, 1, 100);
    settle(net);
    assert_int_equal(a.got, 2);
    sim_router_nat(router)->firewall6 = 0;
    probe_send(&server, 0, "2001:db8:7::3", 5000, 1, 100);
    settle(net);
    assert_int_equal(b.got, 1);
    probe_done(&server);
    probe_done(&a);
    probe_done(&b);
    sim_free(net);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_every_behaviour),    cmocka_unit_test(test_mappings_expire),
        cmocka_unit_test(test_routers_change),     cmocka_unit_test(test_who_can_punch),
        cmocka_unit_test(test_behind_one_carrier), cmocka_unit_test(test_ipv6_firewall),
    };

    return cmocka_run_group_tests_name("network: routers", TESTS, NULL, NULL);
}
