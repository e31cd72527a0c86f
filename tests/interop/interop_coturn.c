/* Our STUN client against coturn's turnserver, and coturn's stunclient against our server: real
 * sockets on loopback, IPv4 and IPv6. The test starts the programs itself; its argument is the path
 * of turnserver. */
#include "interop.h"

static void on_result(void *user, atlas_stun *probe, const atlas_stun_result *r, int32_t status) {
    node *n = user;
    result *to;

    (void)probe;
    if (r == NULL) {
        n->finals++;
        n->status = status;
        return;
    }
    assert_true(n->results < 16);
    to = &n->got[n->results++];
    to->code = r->code;
    to->stun_code = r->stun_code;
    snprintf(to->server_addr, sizeof(to->server_addr), "%s", r->server_addr);
    snprintf(to->reflexive, sizeof(to->reflexive), "%s", r->reflexive);
    snprintf(to->local, sizeof(to->local), "%s", r->local);
    snprintf(to->text, sizeof(to->text), "%s", r->text);
}

/* Probes to the end. Returns the milliseconds it took. */
static uint64_t probe(node *n, const char *const *servers, size_t count, uint64_t timeout_ms,
                      const atl_stun_creds *creds) {
    uint64_t from = atl_loop_update(&n->loop);

    n->results = 0;
    n->finals = 0;
    assert_int_equal(atl_stun_probe_start(n->agent, servers, count, timeout_ms * ATL_MS, creds,
                                          on_result, n, NULL),
                     ATLAS_OK);
    while (n->finals == 0) {
        turn(n);
        assert_true(n->loop.now - from < (timeout_ms + 5000) * ATL_MS);
    }
    return (n->loop.now - from) / ATL_MS;
}

/* The local address of a family on loopback, as a server there sees us. */
static void expected(node *n, int which, char out[ATLAS_ADDR_MAX]) {
    atl_addr local;

    n->io.udp_local(n->io.impl, n->udp[which], &local);
    snprintf(out, ATLAS_ADDR_MAX, which == 0 ? "127.0.0.1:%u" : "[::1]:%u", (unsigned)local.port);
}

static void server_text(char out[2][ATLAS_ADDR_MAX], uint16_t port) {
    snprintf(out[0], ATLAS_ADDR_MAX, "127.0.0.1:%u", (unsigned)port);
    snprintf(out[1], ATLAS_ADDR_MAX, "[::1]:%u", (unsigned)port);
}

/* Starts turnserver with `extra` and waits until it answers on both addresses. */
static pid_t start_turnserver(node *n, uint16_t port, const char *extra1, const char *extra2) {
    char port_text[8];
    char text[2][ATLAS_ADDR_MAX];
    const char *const servers[] = {text[0], text[1]};
    char *const argv[] = {(char *)(uintptr_t)turnserver_path,
                          (char *)"-n",
                          (char *)"--no-cli",
                          (char *)"--no-tls",
                          (char *)"--no-dtls",
                          (char *)"--no-tcp",
                          (char *)"--log-file=/dev/null",
                          (char *)"--pidfile=/dev/null",
                          (char *)"--userdb=/dev/null",
                          (char *)"-L",
                          (char *)"127.0.0.1",
                          (char *)"-L",
                          (char *)"::1",
                          (char *)"-p",
                          port_text,
                          (char *)"--realm=example.org",
                          (char *)(uintptr_t)extra1,
                          (char *)(uintptr_t)extra2,
                          NULL};
    pid_t pid;

    snprintf(port_text, sizeof(port_text), "%u", (unsigned)port);
    server_text(text, port);
    pid = spawn(argv, -1);
    for (int i = 0; i < 100; i++) {
        struct timespec pause = {0, 50 * 1000 * 1000};

        probe(n, servers, 2, 200, NULL);
        if (n->results == 2 && (n->got[0].code == ATLAS_OK || n->got[0].stun_code != 0) &&
            (n->got[1].code == ATLAS_OK || n->got[1].stun_code != 0)) {
            return pid;
        }
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it ended instead of serving */
        nanosleep(&pause, NULL);
    }
    stop(pid);
    fail_msg("turnserver does not answer: %s; %s", n->got[0].text, n->got[1].text);
    return -1;
}

/* ---- our client, their server ---- */

static void both_families(void **state) {
    node *n = *state;
    uint16_t port = free_port();
    char text[2][ATLAS_ADDR_MAX];
    char name[32];
    char multiaddr[64];
    const char *const servers[] = {text[0], text[1], multiaddr};
    const char *const by_name[] = {name};
    pid_t pid = start_turnserver(n, port, "--stun-only", NULL);
    char want[2][ATLAS_ADDR_MAX];
    uint64_t took;

    server_text(text, port);
    snprintf(name, sizeof(name), "localhost:%u", (unsigned)port);
    snprintf(multiaddr, sizeof(multiaddr), "/ip6/::1/udp/%u", (unsigned)port);
    expected(n, 0, want[0]);
    expected(n, 1, want[1]);
    took = probe(n, servers, 3, 3000, NULL);
    assert_true(took < 1000);
    assert_int_equal(n->results, 3);
    assert_int_equal(n->status, ATLAS_OK);
    for (size_t i = 0; i < 3; i++) {
        int six = n->got[i].server_addr[0] == '[';

        assert_int_equal(n->got[i].code, ATLAS_OK);
        assert_string_equal(n->got[i].server_addr, text[six]);
        assert_string_equal(n->got[i].reflexive, want[six]);
        assert_string_equal(n->got[i].local, want[six]);
    }
    /* by name: what the host's resolver gives, one family at least */
    probe(n, by_name, 1, 3000, NULL);
    assert_int_equal(n->status, ATLAS_OK);
    assert_true(n->results >= 1 && n->results <= 2);
    for (size_t i = 0; i < n->results; i++) {
        assert_int_equal(n->got[i].code, ATLAS_OK);
        assert_string_equal(n->got[i].reflexive, want[n->got[i].server_addr[0] == '[']);
    }
    stop(pid);
}

/* A server that wants credentials: its error is reported; with short-term credentials, which it has
 * none of, its answers do not count. */
static void error_answer(void **state) {
    node *n = *state;
    uint16_t port = free_port();
    char text[2][ATLAS_ADDR_MAX];
    const char *const servers[] = {text[0], text[1]};
    const atl_stun_creds creds = {"user", "secret", ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256};
    pid_t pid = start_turnserver(n, port, "--lt-cred-mech", "--secure-stun");
    uint64_t took;

    server_text(text, port);
    probe(n, servers, 2, 3000, NULL);
    assert_int_equal(n->results, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(n->got[i].code, ATLAS_ERR_STUN_RESPONSE);
        assert_int_equal(n->got[i].stun_code, 401);
        assert_non_null(strstr(n->got[i].text, "401"));
    }
    assert_int_equal(n->status, ATLAS_ERR_STUN_RESPONSE);
    took = probe(n, servers, 2, 700, &creds);
    assert_true(took >= 700);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(n->got[i].code, ATLAS_ERR_STUN_INTEGRITY);
    }
    stop(pid);
}

/* coturn's own 420, and a request with every attribute that we write, understood by coturn. */
static void their_codec(void **state) {
    node *n = *state;
    uint16_t port = free_port();
    pid_t pid = start_turnserver(n, port, "--stun-only", NULL);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {3, 0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    uint8_t id[12] = {1, 2, 3};
    uint8_t buf[1500];
    atl_writer writer;
    atl_stun_msg msg;
    ssize_t got;

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, id);
    atl_stun_put(&writer, 0x7ffe, "??", 2);
    atl_stun_put_fingerprint(&writer);
    assert_int_equal(send(fd, buf, writer.len, 0), (ssize_t)writer.len);
    got = recv(fd, buf, sizeof(buf), 0);
    assert_true(got > 0);
    assert_int_equal(atl_stun_parse(buf, (size_t)got, &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_ERROR);
    assert_int_equal(msg.error_code, 420);
    assert_int_equal(msg.unknown_list.len, 2);
    assert_memory_equal(msg.unknown_list.data, "\x7f\xfe", 2);

    id[0]++;
    atl_writer_init(&writer, buf, sizeof(buf));
    atl_stun_begin(&writer, ATL_STUN_REQUEST, ATL_STUN_BINDING, id);
    atl_stun_put(&writer, ATL_STUN_A_SOFTWARE, "libatlas", 8);
    atl_stun_put_fingerprint(&writer);
    assert_int_equal(send(fd, buf, writer.len, 0), (ssize_t)writer.len);
    got = recv(fd, buf, sizeof(buf), 0);
    assert_true(got > 0);
    assert_int_equal(atl_stun_parse(buf, (size_t)got, &msg), ATLAS_OK);
    assert_int_equal(msg.header.cls, ATL_STUN_SUCCESS);
    assert_int_equal(msg.xor_mapped.family, 4);
    close(fd);
    stop(pid);
}

/* Nothing listens: told by ICMP at once, with the local address. */
static void refused(void **state) {
    node *n = *state;
    char text[2][ATLAS_ADDR_MAX];
    const char *const servers[] = {text[0], text[1]};
    char want[2][ATLAS_ADDR_MAX];
    uint64_t took;

    server_text(text, free_port());
    expected(n, 0, want[0]);
    expected(n, 1, want[1]);
    took = probe(n, servers, 2, 3000, NULL);
    assert_true(took < 2000);
    assert_int_equal(n->results, 2);
    assert_int_equal(n->status, ATLAS_ERR_REFUSED);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(n->got[i].code, ATLAS_ERR_REFUSED);
        assert_string_equal(n->got[i].local, want[n->got[i].server_addr[0] == '[']);
    }
}

/* ---- their client, our server ---- */

static void their_client(void **state) {
    node *n = *state;
    int out[2];
    char port[8];
    char printed[4096] = "";
    size_t len = 0;
    atl_addr local;
    int status = 0;
    uint64_t from = atl_loop_update(&n->loop);
    char *const argv[] = {(char *)"turnutils_stunclient", (char *)"-p", port, (char *)"127.0.0.1",
                          NULL};
    pid_t pid;
    unsigned mapped = 0;
    const char *line;

    atl_stun_agent_set_server(n->agent, 1);
    node_local(n, 4, &local);
    snprintf(port, sizeof(port), "%u", (unsigned)local.port);
    assert_int_equal(pipe2(out, O_NONBLOCK | O_CLOEXEC), 0);
    pid = spawn(argv, out[1]);
    close(out[1]);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        turn(n);
        if (n->loop.now - from > 10 * ATL_SECOND) {
            stop(pid);
            fail_msg("turnutils_stunclient got no answer from our server");
        }
    }
    len = (size_t)read(out[0], printed, sizeof(printed) - 1);
    close(out[0]);
    assert_true(len < sizeof(printed));
    printed[len] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        fail_msg("turnutils_stunclient cannot be run: it comes with coturn");
    }
    line = strstr(printed, "UDP reflexive addr: 127.0.0.1:");
    if (line == NULL || sscanf(line, "UDP reflexive addr: 127.0.0.1:%u", &mapped) != 1 ||
        mapped == 0) {
        fail_msg("turnutils_stunclient printed: %s", printed);
    }
    assert_true(atl_stun_server_get_stats(atl_stun_agent_server(n->agent))->successes >= 1);
}

/* Our client and our server over real sockets, from one socket to itself, both families. */
static void ourselves(void **state) {
    node *n = *state;
    char want[2][ATLAS_ADDR_MAX];
    const char *const servers[] = {want[0], want[1]};

    atl_stun_agent_set_server(n->agent, 1);
    expected(n, 0, want[0]);
    expected(n, 1, want[1]);
    probe(n, servers, 2, 3000, NULL);
    assert_int_equal(n->results, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(n->got[i].code, ATLAS_OK);
        assert_string_equal(n->got[i].reflexive, want[n->got[i].server_addr[0] == '[']);
    }
}

int main(int argc, char **argv) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(both_families), TEST(error_answer), TEST(their_codec),
        TEST(refused),       TEST(their_client), TEST(ourselves),
    };

    if (argc < 2 || access(argv[1], X_OK) != 0) {
        fprintf(stderr, "turnserver is not there (%s): install coturn\n",
                argc < 2 ? "no path given" : argv[1]);
        return 1;
    }
    turnserver_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
