/* What the tests against programs of others share: starting those, and a node of our own on real
 * sockets on loopback: two of them, a STUN agent, and the loop. */
#ifndef ATL_TESTS_INTEROP_H
#define ATL_TESTS_INTEROP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "io/os.h"
#include "stun/probe.h"

#define INTEROP_UNUSED __attribute__((unused))

static const char *turnserver_path;

/* ---- the programs ---- */

INTEROP_UNUSED static pid_t spawn(char *const argv[], int out) {
    pid_t parent = getpid();
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        /* a test that is killed leaves nothing behind */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
        dup2(null, 0);
        dup2(out >= 0 ? out : null, 1);
        dup2(out >= 0 ? out : null, 2);
        if (chdir("/") != 0) {
            _exit(1);
        }
        execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

INTEROP_UNUSED static void stop(pid_t pid) {
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A UDP port that is free on both loopback addresses. */
INTEROP_UNUSED static uint16_t free_port(void) {
    for (int i = 0; i < 100; i++) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        socklen_t len = sizeof(sin);
        int a = socket(AF_INET, SOCK_DGRAM, 0);
        int b = socket(AF_INET6, SOCK_DGRAM, 0);
        int ok;

        assert_int_equal(bind(a, (struct sockaddr *)&sin, sizeof(sin)), 0);
        assert_int_equal(getsockname(a, (struct sockaddr *)&sin, &len), 0);
        sin6.sin6_port = sin.sin_port;
        ok = bind(b, (struct sockaddr *)&sin6, sizeof(sin6)) == 0;
        close(a);
        close(b);
        if (ok) {
            return ntohs(sin.sin_port);
        }
    }
    fail_msg("no UDP port is free on both loopback addresses");
    return 0;
}

/* ---- our side: two sockets, an agent, and the loop ---- */

typedef struct result {
    int32_t code;
    int32_t stun_code;
    char server_addr[ATLAS_ADDR_MAX];
    char reflexive[ATLAS_ADDR_MAX];
    char local[ATLAS_ADDR_MAX];
    char text[256];
} result;

typedef struct node {
    atl_env env;
    atl_loop loop;
    atl_os *os;
    atl_io io;
    atl_udp *udp[2]; /* IPv4, IPv6 */
    atl_stun_agent *agent;
    size_t results;
    result got[16];
    int finals;
    int32_t status;
} node;

INTEROP_UNUSED static void on_ready(void *user, atl_udp *udp, uint32_t events) {
    node *n = user;
    atl_rx rx[16];
    size_t count = 0;

    if ((events & ATLAS_FD_READ) == 0) {
        return;
    }
    assert_int_equal(n->io.udp_recv(n->io.impl, udp, rx, 16, &count), ATLAS_OK);
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        do {
            atl_rx one = rx[i];

            one.data = rx[i].data + at;
            one.len = rx[i].len - at < rx[i].segment ? rx[i].len - at : rx[i].segment;
            one.segment = one.len;
            atl_stun_agent_on_datagram(n->agent, &one);
            at += one.len;
        } while (at < rx[i].len);
    }
}

INTEROP_UNUSED static int32_t node_send(void *user, const atl_addr *local, const atl_addr *remote,
                                        const uint8_t *data, size_t len) {
    node *n = user;
    atl_tx tx = {.data = data, .len = len, .segment = len, .remote = *remote, .local = *local};
    size_t sent = 0;

    return n->io.udp_send(n->io.impl, n->udp[remote->family == 6], &tx, 1, &sent);
}

INTEROP_UNUSED static int32_t node_local(void *user, uint8_t family, atl_addr *out) {
    node *n = user;

    n->io.udp_local(n->io.impl, n->udp[family == 6], out);
    return ATLAS_OK;
}

INTEROP_UNUSED static void open_socket(node *n, int which, const char *text) {
    atl_addr bind_to;

    assert_int_equal(atl_addr_parse_ip(text, strlen(text), 0, &bind_to), ATLAS_OK);
    assert_int_equal(n->io.udp_open(n->io.impl, &bind_to, 0, on_ready, n, &n->udp[which]),
                     ATLAS_OK);
}

INTEROP_UNUSED static int set_up(void **state) {
    node *n = calloc(1, sizeof(*n));
    atlas_hooks hooks = {.size = sizeof(hooks)};
    atl_stun_agent_config config;

    assert_true(sodium_init() >= 0);
    assert_int_equal(atl_os_default_hooks(&hooks), ATLAS_OK);
    atl_env_init(&n->env, &hooks);
    atl_loop_init(&n->loop, &n->env);
    assert_int_equal(atl_os_new(&n->loop, &n->os, &n->io), ATLAS_OK);
    open_socket(n, 0, "0.0.0.0");
    open_socket(n, 1, "::");
    memset(&config, 0, sizeof(config));
    config.loop = &n->loop;
    config.io = &n->io;
    config.user = n;
    config.send = node_send;
    config.local = node_local;
    assert_int_equal(atl_stun_agent_new(&config, &n->agent), ATLAS_OK);
    *state = n;
    return 0;
}

INTEROP_UNUSED static int tear_down(void **state) {
    node *n = *state;

    atl_stun_agent_free(n->agent);
    n->io.udp_close(n->io.impl, n->udp[0]);
    n->io.udp_close(n->io.impl, n->udp[1]);
    atl_os_free(n->os);
    free(n);
    return 0;
}

/* One turn of the loop, of at most 50 ms. */
INTEROP_UNUSED static void turn(node *n) {
    atlas_fd_event events[16];
    size_t count = 0;
    uint64_t now = atl_loop_update(&n->loop);
    uint64_t deadline = atl_loop_deadline(&n->loop);
    uint64_t wait = deadline > now ? (deadline - now) / ATL_MS + 1 : 0;

    assert_int_equal(atl_os_poll(n->os, (wait < 50 ? wait : 50) * ATL_MS, events, 16, &count),
                     ATLAS_OK);
    atl_loop_update(&n->loop);
    if (count > 0) {
        atl_os_process(n->os, events, count, 64);
    }
    atl_loop_run_timers(&n->loop, 64);
    atl_loop_run_work(&n->loop, 64);
    atl_loop_run_events(&n->loop, 64);
}

#endif
