/* NAT behaviour (RFC 5780) with coturn: our probe against turnserver on two addresses, and coturn's
 * natdiscovery against our server. Its argument is the path of turnserver. */
#include "interop.h"

#include "stun/nat.h"

typedef struct outcome {
    atlas_nat_event event;
    char seen[512];
    char text[256];
    int results;
    int finals;
    int32_t status;
} outcome;

static void on_event(void *user, atlas_nat *nat, const atlas_nat_event *event, int32_t status) {
    outcome *o = user;
    size_t used = 0;

    (void)nat;
    if (event == NULL) {
        o->finals++;
        o->status = status;
        return;
    }
    if (event->what != ATLAS_NAT_RESULT) {
        return;
    }
    o->results++;
    o->event = *event;
    snprintf(o->text, sizeof(o->text), "%s", event->text);
    for (uint64_t i = 0; i < event->seen_count; i++) {
        used += (size_t)snprintf(o->seen + used, sizeof(o->seen) - used, "%s ",
                                 event->seen[i].server_addr);
        assert_true(used < sizeof(o->seen));
    }
}

static void nat_probe(node *n, const char *server, outcome *o) {
    const atl_nat_config config = {ATL_SECOND, 0};
    uint64_t from = atl_loop_update(&n->loop);

    memset(o, 0, sizeof(*o));
    assert_int_equal(atl_nat_start(n->agent, &server, 1, &config, on_event, o, NULL), ATLAS_OK);
    while (o->finals == 0) {
        turn(n);
        assert_true(n->loop.now - from < 10 * ATL_SECOND);
    }
}

/* turnserver on two addresses and two ports; the first port. */
static pid_t start_server(node *n, uint16_t *port) {
    char port_text[8];
    char alt_text[8];
    char server[32];
    outcome o;
    char *const argv[] = {(char *)(uintptr_t)turnserver_path,
                          (char *)"-n",
                          (char *)"--no-cli",
                          (char *)"--no-tls",
                          (char *)"--no-dtls",
                          (char *)"--no-tcp",
                          (char *)"--stun-only",
                          (char *)"--log-file=/dev/null",
                          (char *)"--pidfile=/dev/null",
                          (char *)"--userdb=/dev/null",
                          (char *)"-L",
                          (char *)"127.0.0.1",
                          (char *)"-L",
                          (char *)"127.0.0.2",
                          (char *)"-p",
                          port_text,
                          (char *)"--alt-listening-port",
                          alt_text,
                          NULL};
    pid_t pid;

    *port = free_port();
    snprintf(port_text, sizeof(port_text), "%u", (unsigned)*port);
    snprintf(alt_text, sizeof(alt_text), "%u", (unsigned)free_port());
    snprintf(server, sizeof(server), "127.0.0.1:%u", (unsigned)*port);
    pid = spawn(argv, -1);
    for (int i = 0; i < 100; i++) {
        struct timespec pause = {0, 50 * 1000 * 1000};

        nat_probe(n, server, &o);
        if (o.status == ATLAS_OK && o.event.filtering != ATLAS_NAT_FILTERING_UNKNOWN) {
            return pid;
        }
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        nanosleep(&pause, NULL);
    }
    stop(pid);
    fail_msg("turnserver does not answer from two addresses");
    return -1;
}

/* Nothing translates and nothing filters on loopback, and their server shows it. */
static void their_server(void **state) {
    node *n = *state;
    uint16_t port = 0;
    pid_t pid = start_server(n, &port);
    char server[32];
    outcome o;

    snprintf(server, sizeof(server), "127.0.0.1:%u", (unsigned)port);
    nat_probe(n, server, &o);
    stop(pid);
    assert_int_equal(o.status, ATLAS_OK);
    assert_int_equal(o.results, 1);
    assert_int_equal(o.event.family, 4);
    assert_int_equal(o.event.mapping, ATLAS_NAT_MAPPING_NONE);
    assert_int_equal(o.event.filtering, ATLAS_NAT_FILTERING_NONE);
    assert_int_equal(o.event.kind, ATLAS_NAT_KIND_NONE);
    assert_int_equal(o.event.port_preservation, ATLAS_NAT_YES);
    assert_true(o.event.seen_count == 3);
    assert_non_null(strstr(o.seen, "127.0.0.2:"));
}

static void on_reply(void *user, const atl_stun_reply *reply) {
    *(atl_stun_reply *)user = *reply;
}

/* RESPONSE-PORT as we write it: their answer goes to the other of our sockets. */
static void their_response_port(void **state) {
    node *n = *state;
    uint16_t port = 0;
    pid_t pid = start_server(n, &port);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    struct timeval timeout = {3, 0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    atl_stun_reply reply = {.code = ATLAS_ERR_INTERNAL};
    uint8_t buf[1500];
    atl_stun_ask ask;
    atl_stun_msg msg;
    atl_stun_txn *txn;
    atl_addr local;
    ssize_t got;

    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
    node_local(n, 4, &local);
    memset(&ask, 0, sizeof(ask));
    assert_int_equal(atl_addr_parse_ip("127.0.0.1", 9, port, &ask.remote), ATLAS_OK);
    ask.deadline = atl_loop_update(&n->loop) + ATL_SECOND;
    ask.response_port = ntohs(sin.sin_port);
    assert_int_equal(
        atl_stun_client_ask(atl_stun_agent_client(n->agent), &ask, on_reply, &reply, &txn),
        ATLAS_OK);
    got = recv(fd, buf, sizeof(buf), 0);
    stop(pid);
    close(fd);
    assert_true(got > 0);
    assert_int_equal(atl_stun_parse(buf, (size_t)got, &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_SUCCESS);
    assert_true(atl_stun_client_knows(atl_stun_agent_client(n->agent), msg.header.id));
    assert_int_equal(msg.xor_mapped.port, local.port);
    assert_int_equal(msg.other.family, 4);
    atl_stun_client_cancel(atl_stun_agent_client(n->agent), txn);
}

/* Runs natdiscovery against our server; what it prints. */
static void discover(node *n, char *const argv[], char *printed, size_t cap) {
    uint64_t from = atl_loop_update(&n->loop);
    size_t len = 0;
    int status = 0;
    int out[2];
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(out, O_NONBLOCK | O_CLOEXEC), 0);
    pid = spawn(argv, out[1]);
    close(out[1]);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        turn(n);
        if (n->loop.now - from > 15 * ATL_SECOND) {
            stop(pid);
            fail_msg("turnutils_natdiscovery does not end");
        }
    }
    while (len < cap - 1 && (got = read(out[0], printed + len, cap - 1 - len)) > 0) {
        len += (size_t)got;
    }
    close(out[0]);
    printed[len] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        fail_msg("turnutils_natdiscovery cannot be run: it comes with coturn");
    }
}

static void expect_printed(const char *printed, const char *words) {
    if (strstr(printed, words) == NULL) {
        fail_msg("turnutils_natdiscovery does not say \"%s\" but: %s", words, printed);
    }
}

static void their_client(void **state) {
    node *n = *state;
    char printed[16384];
    char port[8];
    char mapping[64];
    atl_addr local;
    atl_addr alternate;
    char *const behaviour[] = {(char *)"turnutils_natdiscovery",
                               (char *)"-m",
                               (char *)"-f",
                               (char *)"-p",
                               port,
                               (char *)"127.0.0.1",
                               NULL};
    char *const lifetime[] = {(char *)"turnutils_natdiscovery",
                              (char *)"-t",
                              (char *)"-T",
                              (char *)"1",
                              (char *)"-p",
                              port,
                              (char *)"127.0.0.1",
                              NULL};

    atl_stun_agent_set_server(n->agent, 1);
    assert_int_equal(atl_addr_parse_ip("127.0.0.2", 9, free_port(), &alternate), ATLAS_OK);
    assert_int_equal(atl_stun_agent_set_alternate(n->agent, &alternate), ATLAS_OK);
    node_local(n, 4, &local);
    snprintf(port, sizeof(port), "%u", (unsigned)local.port);
    discover(n, behaviour, printed, sizeof(printed));
    expect_printed(printed, "NAT with Endpoint Independent Mapping!");
    expect_printed(printed, "NAT with Endpoint Independent Filtering!");
    snprintf(mapping, sizeof(mapping), "Other addr: : 127.0.0.2:%u", (unsigned)alternate.port);
    expect_printed(printed, mapping);
    discover(n, lifetime, printed, sizeof(printed));
    expect_printed(printed, "Response origin: : 127.0.0.1:");
    assert_true(atl_stun_server_get_stats(atl_stun_agent_server(n->agent))->changed >= 2);
}

int main(int argc, char **argv) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(their_server),
        TEST(their_response_port),
        TEST(their_client),
    };

    if (argc < 2 || access(argv[1], X_OK) != 0) {
        fprintf(stderr, "turnserver is not there (%s): install coturn\n",
                argc < 2 ? "no path given" : argv[1]);
        return 1;
    }
    turnserver_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
