/* The sockets of the STUN server's second address: which are opened, what they answer, and when
 * they cannot be had. */
#include "stun/alternate.h"

#include "nat_world.h"

typedef struct fixture {
    nat_world *n;
    nat_host *server;
    nat_host *client;
    int done;
    atl_stun_reply reply;
} fixture;

static void build(fixture *f, int wild, const char *second_ip) {
    memset(f, 0, sizeof(*f));
    f->n = nat_world_new();
    f->n->rules.mapping = 4;
    f->server = nat_add(f->n, "203.0.113.2", second_ip, 4001, 0, wild);
    f->client = nat_add(f->n, "198.51.100.1", NULL, 7000, 0, 1);
    atl_stun_agent_set_server(f->server->agent, 1);
}

static size_t open_sockets(const nat_host *h) {
    size_t count = 0;
    size_t i;

    for (i = 0; i < NAT_SOCKETS; i++) {
        count += h->sockets[i].open != 0;
    }
    return count;
}

static void on_done(void *user, const atl_stun_reply *reply) {
    fixture *f = user;

    f->done = 1;
    f->reply = *reply;
}

/* Asks there, with those changes, and expects the answer from that address. */
static int32_t ask(fixture *f, const char *at, uint32_t change, const char *expect) {
    atl_stun_ask what;
    atl_stun_txn *txn;

    memset(&what, 0, sizeof(what));
    what.remote = world_addr(at);
    what.expect = world_addr(expect);
    what.change = change;
    what.deadline = f->n->w->now + 2 * ATL_SECOND;
    f->done = 0;
    assert_int_equal(
        atl_stun_client_ask(atl_stun_agent_client(f->client->agent), &what, on_done, f, &txn),
        ATLAS_OK);
    world_run_until(f->n->w, f->n->w->now - WORLD_START + 3 * ATL_SECOND);
    assert_true(f->done);
    return f->reply.code;
}

static int32_t set(fixture *f, const char *text) {
    atl_addr addr;

    if (atl_addr_parse_ip(text, strlen(text), 0, &addr) != ATLAS_OK) {
        addr = world_addr(text);
    }
    return atl_stun_agent_set_alternate(f->server->agent, &addr);
}

/* From every corner to every corner. */
static void corners(void **state) {
    static const char *const at[2][2] = {{"203.0.113.2:4001", "203.0.113.2:4555"},
                                         {"203.0.113.3:4001", "203.0.113.3:4555"}};
    static fixture f;
    int wild;
    uint32_t i;

    (void)state;
    for (wild = 0; wild < 2; wild++) {
        build(&f, wild, "203.0.113.3");
        assert_int_equal(set(&f, "203.0.113.3:4555"), ATLAS_OK);
        assert_int_equal(open_sockets(f.server), wild ? 2 : 4);
        for (i = 0; i < 16; i++) {
            uint32_t change = (i & 4 ? ATL_STUN_CHANGE_IP : 0) | (i & 8 ? ATL_STUN_CHANGE_PORT : 0);
            atl_addr other = world_addr(at[(i & 1) ^ 1][(i >> 1 & 1) ^ 1]);

            assert_int_equal(ask(&f, at[i & 1][i >> 1 & 1], change,
                                 at[(i & 1) ^ (i >> 2 & 1)][(i >> 1 & 1) ^ (i >> 3 & 1)]),
                             ATLAS_OK);
            assert_true(atl_addr_equal(&f.reply.other, &other));
        }
        /* an answer from anywhere else is none */
        assert_int_equal(ask(&f, at[0][0], 0, at[0][1]), ATLAS_ERR_STUN_TIMEOUT);
        nat_world_free(f.n);
    }
}

static void defaults_and_changes(void **state) {
    static fixture f;

    (void)state;
    build(&f, 1, "203.0.113.3");
    assert_int_equal(set(&f, "203.0.113.3"), ATLAS_OK); /* the port behind the node's own */
    assert_int_equal(ask(&f, "203.0.113.3:4002", 0, "203.0.113.3:4002"), ATLAS_OK);
    /* another one replaces it, the same again is no conflict */
    assert_int_equal(set(&f, "203.0.113.3:4003"), ATLAS_OK);
    assert_int_equal(set(&f, "203.0.113.3:4003"), ATLAS_OK);
    assert_int_equal(open_sockets(f.server), 2);
    assert_int_equal(ask(&f, "203.0.113.3:4002", 0, "203.0.113.3:4002"), ATLAS_ERR_STUN_TIMEOUT);
    assert_int_equal(ask(&f, "203.0.113.3:4003", 0, "203.0.113.3:4003"), ATLAS_OK);
    /* a server that is off says nothing there either */
    atl_stun_agent_set_server(f.server->agent, 0);
    assert_int_equal(ask(&f, "203.0.113.3:4003", 0, "203.0.113.3:4003"), ATLAS_ERR_STUN_TIMEOUT);
    nat_world_free(f.n);
}

static void refusals(void **state) {
    static fixture f;

    (void)state;
    build(&f, 1, NULL);
    /* the only address of the host, a family without socket, the node's own port */
    assert_int_equal(set(&f, "203.0.113.2"), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(set(&f, "2001:db8::1"), ATLAS_ERR_FAMILY);
    assert_int_equal(set(&f, "203.0.113.3:4001"), ATLAS_ERR_INVALID);
    assert_int_equal(open_sockets(f.server), 1);
    nat_world_free(f.n);

    build(&f, 0, "203.0.113.3");
    assert_int_equal(set(&f, "203.0.113.2:4002"), ATLAS_ERR_INVALID);
    f.server->refuses_sockets = 1;
    assert_int_equal(set(&f, "203.0.113.3:4002"), ATLAS_ERR_NOT_FOUND);
    f.server->refuses_sockets = 0;
    assert_int_equal(open_sockets(f.server), 1);
    /* and is as it was before: with one address */
    assert_int_equal(ask(&f, "203.0.113.2:4001", 0, "203.0.113.2:4001"), ATLAS_OK);
    assert_int_equal(f.reply.other.family, 0);
    f.n->w->fail_at = f.n->w->allocations + 1;
    assert_int_equal(set(&f, "203.0.113.3:4002"), ATLAS_ERR_NOMEM);
    nat_world_free(f.n);
}

static const char INDICATION[] = "any bytes";

static int32_t send_second(const fixture *f, const char *to) {
    atl_addr remote = world_addr(to);

    return atl_stun_agent_send_alternate(f->server->agent, &remote, (const uint8_t *)INDICATION,
                                         sizeof(INDICATION));
}

/* What is on its way from there to there. */
static size_t underway(const fixture *f, const char *from, const char *to) {
    atl_addr source = world_addr(from);
    atl_addr target = world_addr(to);
    size_t count = 0;
    size_t i;

    for (i = 0; i < NAT_PACKETS; i++) {
        const nat_packet *p = &f->n->packets[i];

        count += p->used == 1 && p->len == sizeof(INDICATION) &&
                 memcmp(p->data, INDICATION, p->len) == 0 && atl_addr_equal(&p->from, &source) &&
                 atl_addr_equal(&p->to, &target);
    }
    return count;
}

/* From the second address and the second port, whatever else the server has; also while it answers
 * nobody. */
static void sends_from_second(void **state) {
    static fixture f;
    int wild;

    (void)state;
    for (wild = 0; wild < 2; wild++) {
        build(&f, wild, "203.0.113.3");
        assert_int_equal(send_second(&f, "198.51.100.1:7000"), ATLAS_ERR_NOT_FOUND);
        assert_int_equal(f.n->sent, 0);
        assert_int_equal(set(&f, "203.0.113.3:4555"), ATLAS_OK);
        assert_int_equal(send_second(&f, "198.51.100.1:7000"), ATLAS_OK);
        assert_int_equal(underway(&f, "203.0.113.3:4555", "198.51.100.1:7000"), 1);
        assert_int_equal(send_second(&f, "[2001:db8::1]:7000"), ATLAS_ERR_NOT_FOUND);
        atl_stun_agent_set_server(f.server->agent, 0);
        /* another port replaces it */
        assert_int_equal(set(&f, "203.0.113.3:4556"), ATLAS_OK);
        assert_int_equal(send_second(&f, "198.51.100.1:7001"), ATLAS_OK);
        assert_int_equal(underway(&f, "203.0.113.3:4556", "198.51.100.1:7001"), 1);
        /* there is none after a change that failed */
        f.server->refuses_sockets = 1;
        assert_int_not_equal(set(&f, "203.0.113.3:4557"), ATLAS_OK);
        assert_int_equal(send_second(&f, "198.51.100.1:7000"), ATLAS_ERR_NOT_FOUND);
        assert_int_equal(f.n->sent, 2);
        nat_world_free(f.n);
    }
}

/* The first address is the host's best of the same kind. */
static void primaries(void **state) {
    static const struct {
        const char *ips[2];
        const char *alternate;
        const char *primary;
    } rows[] = {
        {{"203.0.113.2", "203.0.113.3"}, "203.0.113.3", "203.0.113.2:0"},
        {{"203.0.113.2", "203.0.113.3"}, "203.0.113.2", "203.0.113.3:0"},
        {{"10.0.0.1", "203.0.113.3"}, "203.0.113.4", "203.0.113.3:0"},
        {{"203.0.113.3", "127.0.0.1"}, "127.0.0.2", "127.0.0.1:0"},
        {{"10.0.0.1", NULL}, "203.0.113.4", "10.0.0.1:0"},
    };
    static fixture f;
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        char text[ATLAS_ADDR_MAX];
        atl_addr alternate = nat_ip(rows[i].alternate);
        atl_addr primary;

        build(&f, 1, NULL);
        f.server->ips[0] = nat_ip(rows[i].ips[0]);
        f.server->ips[1] = nat_ip(rows[i].ips[1]);
        assert_int_equal(atl_stun_alternate_primary(&f.server->io, &alternate, &primary), ATLAS_OK);
        atl_addr_text(&primary, text);
        assert_string_equal(text, rows[i].primary);
        nat_world_free(f.n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corners),   cmocka_unit_test(defaults_and_changes),
        cmocka_unit_test(refusals),  cmocka_unit_test(sends_from_second),
        cmocka_unit_test(primaries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
