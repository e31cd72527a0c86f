/* The agent: what arrives is the client's or the server's, and which local address leads where. */
#include "stun/agent.h"

#include "stun/internal.h"
#include "test_stun_world.h"

typedef struct fixture {
    world *w;
    atl_io io;
    atl_stun_agent *agent;
    const char *bound4; /* NULL: no socket */
    const char *bound6;
    size_t addr_count;
    int done;
} fixture;

static size_t fake_local_addrs(void *impl, atl_addr *out, size_t cap) {
    static const char *const addrs[] = {"[2001:db8::2]:1", "10.0.0.2:1", "127.0.0.1:1"};
    fixture *f = impl;
    size_t i;

    for (i = 0; i < f->addr_count && i < cap; i++) {
        out[i] = world_addr(addrs[i]);
        out[i].port = 0;
    }
    return f->addr_count;
}

static int32_t fake_local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    (void)impl;
    if (remote->family == 6) {
        return ATLAS_ERR_UNREACHABLE;
    }
    *out = world_addr("10.0.0.2:1");
    out->port = 0;
    return ATLAS_OK;
}

static int32_t fake_local(void *user, uint8_t family, atl_addr *out) {
    fixture *f = user;
    const char *text = family == 4 ? f->bound4 : f->bound6;
    static const uint8_t any[16];

    if (text == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    memset(out, 0, sizeof(*out));
    if (strcmp(text, "any") != 0) {
        *out = world_addr(text);
    } else if (family == 4) {
        atl_addr_set4(out, any, 7004);
    } else {
        atl_addr_set6(out, any, 0, 7006);
    }
    return ATLAS_OK;
}

static int32_t fake_send(void *user, const atl_addr *local, const atl_addr *remote,
                         const uint8_t *data, size_t len) {
    return world_send(((fixture *)user)->w, local, remote, data, len);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));
    atl_stun_agent_config config;

    f->w = world_new();
    f->bound4 = f->bound6 = "any";
    f->addr_count = 3;
    f->io.impl = f;
    f->io.local_addrs = fake_local_addrs;
    f->io.local_for = fake_local_for;
    memset(&config, 0, sizeof(config));
    config.loop = &f->w->loop;
    config.io = &f->io;
    config.user = f;
    config.send = fake_send;
    config.local = fake_local;
    assert_int_equal(atl_stun_agent_new(&config, &f->agent), ATLAS_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;

    atl_stun_agent_free(f->agent);
    world_free(f->w);
    free(f);
    return 0;
}

/* The agent's server: off at first, and answers when on. */
static void serves(void **state) {
    fixture *f = *state;
    uint8_t id[12] = {1};
    uint8_t buf[64];
    atl_writer writer;
    atl_rx rx;

    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, id);
    rx = world_rx("203.0.113.5:4", "10.0.0.2:7004", buf, writer.len);
    atl_stun_agent_on_datagram(f->agent, &rx);
    assert_int_equal(f->w->sent_count, 0);
    atl_stun_agent_set_server(f->agent, 1);
    atl_stun_agent_on_datagram(f->agent, &rx);
    assert_int_equal(f->w->sent_count, 1);
    assert_true(atl_stun_server_get_stats(atl_stun_agent_server(f->agent))->successes == 1);
    atl_stun_agent_set_server(f->agent, 0);
    atl_stun_agent_on_datagram(f->agent, &rx);
    assert_int_equal(f->w->sent_count, 1);
}

static void on_done(void *user, const atl_stun_reply *reply) {
    fixture *f = user;

    f->done++;
    assert_int_equal(reply->code, ATLAS_ERR_REFUSED);
}

/* Transactions of other rooms run beside the probes; ICMP errors reach them. */
static void other_transactions(void **state) {
    fixture *f = *state;
    atl_addr remote = world_addr("192.0.2.9:9");
    atl_stun_txn *txn;
    atl_rx rx = world_icmp("192.0.2.9:9", ATLAS_ERR_REFUSED);

    assert_int_equal(atl_stun_client_start(atl_stun_agent_client(f->agent), NULL, &remote,
                                           UINT64_MAX, NULL, on_done, f, &txn),
                     ATLAS_OK);
    atl_stun_agent_set_server(f->agent, 1);
    atl_stun_agent_on_datagram(f->agent, &rx);
    assert_int_equal(f->done, 1);
    assert_int_equal(atl_stun_client_count(atl_stun_agent_client(f->agent)), 0);
}

static void expect_local(fixture *f, const char *remote, int32_t code, const char *text) {
    atl_addr to;
    atl_addr local;
    char got[ATLAS_ADDR_MAX];

    if (remote != NULL) {
        to = world_addr(remote);
    }
    assert_int_equal(atl_stun_local_for(f->agent, remote != NULL ? &to : NULL, &local), code);
    if (code == ATLAS_OK) {
        atl_addr_text(&local, got);
        assert_string_equal(got, text);
    }
}

static void local_addresses(void **state) {
    fixture *f = *state;

    expect_local(f, "192.0.2.1:1", ATLAS_OK, "10.0.0.2:7004");
    expect_local(f, "[2001:db8::9]:1", ATLAS_ERR_UNREACHABLE, NULL);
    expect_local(f, NULL, ATLAS_OK, "[2001:db8::2]:7006");
    f->bound6 = NULL; /* no such socket */
    expect_local(f, "[2001:db8::9]:1", ATLAS_ERR_FAMILY, NULL);
    expect_local(f, NULL, ATLAS_OK, "10.0.0.2:7004");
    f->bound4 = "127.0.0.1:5"; /* bound to one address: no other is ours */
    expect_local(f, "192.0.2.1:1", ATLAS_OK, "127.0.0.1:5");
    expect_local(f, NULL, ATLAS_OK, "127.0.0.1:5");
    f->addr_count = 0;
    expect_local(f, NULL, ATLAS_ERR_UNREACHABLE, NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(serves),
        TEST(other_transactions),
        TEST(local_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
