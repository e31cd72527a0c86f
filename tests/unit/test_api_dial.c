/* Dials between contexts over loopback: targets, failures and their reasons, the address book,
 * timeouts. */
#include "nodes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRANGER "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"

/* Addresses where nothing answers: the discard port, most likely closed, and a blackhole of our
 * own. */
#define CLOSED_PORT "/ip4/127.0.0.1/udp/9/quic-v1"

static int32_t try_dial(node *nd, const char *target) {
    atlas_conn *conn = NULL;
    int32_t rv = atlas_dial(nd->ctx, target, 1000, &link_callbacks, &nd->out[15], &conn);

    assert_true(rv != ATLAS_OK || conn != NULL);
    return rv;
}

static void test_refused_targets(void **state) {
    static const struct {
        const char *target;
        int32_t code;
    } cases[] = {
        {"", ATLAS_ERR_ADDRESS},
        {"12D3KooW", ATLAS_ERR_PEER_ID},
        {STRANGER, ATLAS_ERR_NO_ADDRESS},
        {"/ip4/127.0.0.1/udp/4001/quic-v1", ATLAS_ERR_ADDRESS},
        {"/ip4/127.0.0.1/udp/4001/p2p/" STRANGER, ATLAS_ERR_UNSUPPORTED},
        {"/ip4/127.0.0.1/tcp/4001/p2p/" STRANGER, ATLAS_ERR_UNSUPPORTED},
        {CLOSED_PORT "/p2p/" STRANGER "/p2p-circuit/p2p/" STRANGER, ATLAS_ERR_SELF},
    };
    char self[256];
    world w = {0};
    node *a = world_add(&w);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int32_t rv = try_dial(a, cases[i].target);

        if (rv != cases[i].code && !(i == 0 && rv == ATLAS_ERR_PEER_ID)) {
            fail_msg("%s: %s", cases[i].target, atlas_error_name(rv));
        }
    }
    snprintf(self, sizeof(self), CLOSED_PORT "/p2p/%s", atlas_self_id(a->ctx));
    assert_int_equal(try_dial(a, self), ATLAS_ERR_SELF);
    assert_int_equal(try_dial(a, atlas_self_id(a->ctx)), ATLAS_ERR_SELF);
    assert_int_equal(atlas_dial(NULL, STRANGER, 0, &link_callbacks, NULL, &a->out[0].conn),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_dial(a->ctx, NULL, 0, &link_callbacks, NULL, &a->out[0].conn),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_dial(a->ctx, STRANGER, 0, NULL, NULL, &a->out[0].conn),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atlas_dial(a->ctx, STRANGER, 0, &link_callbacks, NULL, NULL),
                     ATLAS_ERR_INVALID);
    world_run(&w, 20);
    world_free(&w);
}

static void test_wrong_peer(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    char target[ATLAS_MULTIADDR_MAX];
    tie *l;

    (void)state;
    snprintf(target, sizeof(target), "%.*s/p2p/" STRANGER,
             (int)(strstr(b->addr, "/p2p/") - b->addr), b->addr);
    l = node_dial(a, target, 5000);
    WORLD_UNTIL(&w, 6000, l->closed);
    assert_int_equal(l->connected, 0);
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_int_equal(l->attempts, 1);
    assert_int_equal(l->attempt_code, ATLAS_ERR_PEER_MISMATCH);
    assert_non_null(strstr(l->text, target));
    assert_int_equal(b->accepted, 0);
    world_free(&w);
}

/* A socket that takes everything and never answers; its address for a dial to `id`. */
static int silent_socket(const char *id, char out[ATLAS_MULTIADDR_MAX]) {
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    snprintf(out, ATLAS_MULTIADDR_MAX, "/ip4/127.0.0.1/udp/%u/quic-v1/p2p/%s",
             (unsigned)ntohs(sin.sin_port), id);
    return fd;
}

/* A node that does not listen, or has no room, says so at once. */
static void test_not_listening(void **state) {
    world w = {0};
    node *b = world_add(&w);
    node *a = world_add(&w);
    node *c = world_add(&w);
    tie *l;

    (void)state;
    node_open(b);
    l = node_dial(a, b->addr, 5000);
    WORLD_UNTIL(&w, 2000, l->closed);
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_int_equal(l->attempt_code, ATLAS_ERR_REFUSED);
    assert_int_equal(b->accepted, 0);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_MAX_CONNECTIONS, 1), ATLAS_OK);
    assert_int_equal(atlas_listen(b->ctx), ATLAS_OK);
    l = world_connect(&w, a, b);
    l = node_dial(c, b->addr, 5000);
    WORLD_UNTIL(&w, 2000, l->closed);
    assert_int_equal(l->attempt_code, ATLAS_ERR_LIMIT);
    world_free(&w);
}

/* The address book's addresses are raced; each that fails keeps its reason. */
static void test_address_book(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    const char *id = atlas_self_id(b->ctx);
    uint64_t started;
    tie *l;

    (void)state;
    assert_int_equal(atlas_peer_add_addr(a->ctx, id, b->addr), ATLAS_OK);
    assert_int_equal(atlas_peer_add_addr(a->ctx, id, CLOSED_PORT),
                     ATLAS_OK); /* newer: tried first */
    assert_int_equal(atlas_peer_add_addr(a->ctx, "x", b->addr), ATLAS_ERR_PEER_ID);
    assert_int_equal(atlas_peer_add_addr(a->ctx, STRANGER, b->addr), ATLAS_ERR_PEER_ID);
    assert_int_equal(atlas_peer_add_addr(a->ctx, id, "/ip4/1.2.3.4"), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atlas_peer_add_addr(a->ctx, id, "nonsense"), ATLAS_ERR_ADDRESS);
    assert_int_equal(atlas_peer_add_addr(a->ctx, NULL, b->addr), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_peer_add_addr(NULL, id, b->addr), ATLAS_ERR_INVALID);
    started = real_now();
    l = node_dial(a, id, 5000);
    WORLD_UNTIL(&w, 5000, l->connected && b->accepted == 1);
    assert_true(real_now() - started < UINT64_C(2000000000));
    world_run(&w, 400);
    assert_int_equal(b->accepted, 1);
    assert_int_equal(l->closed, 0);
    world_free(&w);
}

/* Two ways to the same node: one connection is shown on either side. */
static void test_losers_are_quiet(void **state) {
    world w = {0};
    node *b = world_add(&w);
    node *a = world_add(&w);
    char second[ATLAS_MULTIADDR_MAX];
    char addr[ATLAS_MULTIADDR_MAX];
    const char *port;
    tie *l;
    int i;

    (void)state;
    assert_int_equal(atlas_set_str(b->ctx, ATLAS_OPT_BIND4, "0.0.0.0"), ATLAS_OK);
    node_open(b);
    for (i = 0; atlas_local_addr(b->ctx, (uint32_t)i, addr, sizeof(addr)) == ATLAS_OK; i++) {
        memcpy(b->addr, addr, sizeof(addr)); /* loopback is last */
    }
    assert_int_equal(atlas_listen(b->ctx), ATLAS_OK);
    port = strstr(b->addr, "/udp/");
    assert_non_null(port);
    snprintf(second, sizeof(second), "/ip4/127.0.0.2%s", port);
    for (i = 0; i < 10; i++) {
        int before = b->accepted;

        assert_int_equal(atlas_peer_add_addr(a->ctx, atlas_self_id(b->ctx), second), ATLAS_OK);
        l = node_dial(a, b->addr, 5000);
        WORLD_UNTIL(&w, 5000, l->connected && b->accepted > before);
        world_run(&w, 30);
        assert_int_equal(b->accepted, before + 1);
        assert_int_equal(atlas_conn_close(l->conn, 0, NULL), ATLAS_OK);
        WORLD_UNTIL(&w, 5000, l->closed && b->in[before % 16].closed);
    }
    world_free(&w);
}

static void test_timeout_and_reasons(void **state) {
    world w = {0};
    node *silent = world_add(&w);
    node *a = world_add(&w);
    char target[ATLAS_MULTIADDR_MAX];
    uint64_t started;
    tie *l;
    int fd;

    (void)state;
    fd = silent_socket(atlas_self_id(silent->ctx), target);
    assert_int_equal(
        atlas_peer_add_addr(a->ctx, atlas_self_id(silent->ctx), "/dns4/name.invalid/udp/1/quic-v1"),
        ATLAS_OK);
    started = real_now();
    l = node_dial(a, target, 600);
    WORLD_UNTIL(&w, 3000, l->closed);
    assert_true(real_now() - started >= UINT64_C(500000000));
    assert_int_equal(l->code, ATLAS_ERR_DIAL);
    assert_non_null(strstr(l->text, target));
    assert_non_null(strstr(l->text, "name.invalid"));
    assert_int_equal(l->attempts, 2);
    assert_int_equal(close(fd), 0);
    world_free(&w);
}

static void test_names_and_families(void **state) {
    world w = {0};
    node *b = world_add_listener(&w);
    node *a = world_add(&w);
    node *six = world_add(&w);
    char target[ATLAS_MULTIADDR_MAX];
    unsigned port = 0;
    tie *l;

    (void)state;
    assert_int_equal(sscanf(b->addr, "/ip4/127.0.0.1/udp/%u/", &port), 1);
    snprintf(target, sizeof(target), "/dns4/localhost/udp/%u/quic-v1/p2p/%s", port,
             atlas_self_id(b->ctx));
    l = node_dial(a, target, 5000);
    WORLD_UNTIL(&w, 5000, l->connected);
    /* a name with both families, and no IPv6 socket: the other address carries it */
    snprintf(target, sizeof(target), "/dns/localhost/udp/%u/quic-v1/p2p/%s", port,
             atlas_self_id(b->ctx));
    l = node_dial(a, target, 5000);
    WORLD_UNTIL(&w, 5000, l->connected);
    assert_int_equal(atlas_set_u64(six->ctx, ATLAS_OPT_IPV6, 1), ATLAS_OK);
    assert_int_equal(atlas_set_u64(six->ctx, ATLAS_OPT_IPV4, 0), ATLAS_OK);
    assert_int_equal(atlas_set_str(six->ctx, ATLAS_OPT_BIND6, "::1"), ATLAS_OK);
    if (atlas_open(six->ctx) != ATLAS_OK) {
        world_free(&w); /* a host without IPv6 */
        return;
    }
    l = node_dial(six, b->addr, 5000);
    WORLD_UNTIL(&w, 5000, l->closed);
    assert_int_equal(l->attempt_code, ATLAS_ERR_FAMILY);
    node_open(six);
    assert_int_equal(strncmp(six->addr, "/ip6/::1/udp/", 13), 0);
    assert_int_equal(atlas_listen(six->ctx), ATLAS_OK);
    world_free(&w);
    /* IPv6 end to end */
    memset(&w, 0, sizeof(w));
    b = world_add(&w);
    a = world_add(&w);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_IPV6, 1), ATLAS_OK);
    assert_int_equal(atlas_set_u64(b->ctx, ATLAS_OPT_IPV4, 0), ATLAS_OK);
    assert_int_equal(atlas_set_str(b->ctx, ATLAS_OPT_BIND6, "::1"), ATLAS_OK);
    assert_int_equal(atlas_set_u64(a->ctx, ATLAS_OPT_IPV6, 1), ATLAS_OK);
    node_open(b);
    assert_int_equal(atlas_listen(b->ctx), ATLAS_OK);
    l = world_connect(&w, a, b);
    assert_int_equal(strncmp(l->path_remote, "[::1]:", 6), 0);
    world_free(&w);
}

static void test_closed_while_dialling(void **state) {
    world w = {0};
    node *silent = world_add(&w);
    node *a = world_add(&w);
    char target[ATLAS_MULTIADDR_MAX];
    tie *l;
    int fd;

    (void)state;
    fd = silent_socket(atlas_self_id(silent->ctx), target);
    l = node_dial(a, target, 5000);
    world_run(&w, 20);
    assert_int_equal(atlas_conn_send_message(l->conn, "x", 1, NULL), ATLAS_ERR_STATE);
    assert_int_equal(atlas_conn_ping(l->conn, NULL), ATLAS_ERR_STATE);
    assert_int_equal(atlas_conn_disconnect(l->conn, NULL), ATLAS_ERR_STATE);
    assert_int_equal(atlas_conn_max_datagram(l->conn), 0);
    assert_int_equal(atlas_conn_close(l->conn, 9, "changed my mind"), ATLAS_OK);
    assert_int_equal(atlas_conn_close(l->conn, 9, NULL), ATLAS_ERR_CLOSED);
    WORLD_UNTIL(&w, 2000, l->closed);
    assert_int_equal(l->code, ATLAS_OK);
    assert_int_equal(l->app_code, 9);
    assert_int_equal(l->connected, 0);
    /* and freed in the middle of one, with a name being looked up */
    l = node_dial(a, "/dns/name.invalid/udp/1/quic-v1/p2p/" STRANGER, 5000);
    world_turn(&w, 0);
    world_free(&w);
    assert_int_equal(l->closed, 0);
    assert_int_equal(close(fd), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_targets),    cmocka_unit_test(test_wrong_peer),
        cmocka_unit_test(test_not_listening),      cmocka_unit_test(test_address_book),
        cmocka_unit_test(test_losers_are_quiet),   cmocka_unit_test(test_timeout_and_reasons),
        cmocka_unit_test(test_names_and_families), cmocka_unit_test(test_closed_while_dialling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
