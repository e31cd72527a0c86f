/* What the kernel says about the network: messages made by hand, and a real socket in a network
 * namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iotest.h"

#include "io/netwatch.h"

/* ---- messages ---- */

typedef struct batch {
    uint8_t data[512];
    size_t len;
} batch;

static void put(batch *b, const void *data, size_t len) {
    assert_true(b->len + len <= sizeof(b->data));
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

/* A message of this type; `extra` is an attribute's type, 0 for none. */
static void put_message(batch *b, uint16_t type, const void *body, size_t len, uint16_t extra) {
    struct rtattr attr = {8, extra};
    struct nlmsghdr header;

    memset(&header, 0, sizeof(header));
    header.nlmsg_type = type;
    header.nlmsg_len = (uint32_t)(sizeof(header) + len + (extra != 0 ? 8 : 0));
    put(b, &header, sizeof(header));
    put(b, body, len);
    if (extra != 0) {
        put(b, &attr, sizeof(attr));
        put(b, "attr", 4);
    }
}

static void put_route(batch *b, uint16_t type, uint32_t flags, uint8_t kind) {
    struct rtmsg route;

    memset(&route, 0, sizeof(route));
    route.rtm_flags = flags;
    route.rtm_type = kind;
    put_message(b, type, &route, sizeof(route), RTA_OIF);
}

static void put_address(batch *b, uint16_t type, uint8_t flags) {
    struct ifaddrmsg address;

    memset(&address, 0, sizeof(address));
    address.ifa_flags = flags;
    put_message(b, type, &address, sizeof(address), IFA_LOCAL);
}

static void put_link(batch *b, uint16_t type, uint16_t extra) {
    struct ifinfomsg link;

    memset(&link, 0, sizeof(link));
    put_message(b, type, &link, sizeof(link), extra);
}

static int tells(const batch *b) {
    uint8_t *copy = malloc(b->len + 1); /* so that a read behind the end is seen */
    int result;

    assert_non_null(copy);
    memcpy(copy, b->data, b->len);
    result = atl_netwatch_tells(copy, b->len);
    free(copy);
    return result;
}

static void what_matters(void **state) {
    static const struct {
        const char *name;
        char what; /* r: route, a: address, l: link, n: nothing but the head */
        uint16_t type;
        uint32_t flags; /* or the attribute */
        uint8_t kind;
        int want;
    } ROWS[] = {
        {"a new route", 'r', RTM_NEWROUTE, 0, RTN_UNICAST, 1},
        {"a route gone", 'r', RTM_DELROUTE, 0, RTN_UNICAST, 1},
        {"unreachable", 'r', RTM_NEWROUTE, 0, RTN_UNREACHABLE, 1},
        {"a cached route", 'r', RTM_NEWROUTE, RTM_F_CLONED, RTN_UNICAST, 0},
        {"multicast", 'r', RTM_NEWROUTE, 0, RTN_MULTICAST, 0},
        {"broadcast", 'r', RTM_DELROUTE, 0, RTN_BROADCAST, 0},
        {"a new address", 'a', RTM_NEWADDR, IFA_F_PERMANENT, 0, 1},
        {"an address gone", 'a', RTM_DELADDR, IFA_F_TENTATIVE, 0, 1},
        {"an address not taken yet", 'a', RTM_NEWADDR, IFA_F_TENTATIVE, 0, 0},
        {"an address used early", 'a', RTM_NEWADDR, IFA_F_TENTATIVE | IFA_F_OPTIMISTIC, 0, 1},
        {"an address that another has", 'a', RTM_NEWADDR, IFA_F_TENTATIVE | IFA_F_DADFAILED, 0, 1},
        {"a link", 'l', RTM_NEWLINK, IFLA_MTU, 0, 1},
        {"a link gone", 'l', RTM_DELLINK, IFLA_WIRELESS, 0, 1},
        {"a scan", 'l', RTM_NEWLINK, IFLA_WIRELESS, 0, 0},
        {"overrun", 'n', NLMSG_OVERRUN, 0, 0, 1},
        {"done", 'n', NLMSG_DONE, 0, 0, 0},
        {"a neighbour", 'n', RTM_NEWNEIGH, 0, 0, 0},
        {"an address cut", 'n', RTM_NEWADDR, 0, 0, 1},
        {"a route cut", 'n', RTM_NEWROUTE, 0, 0, 1},
        {"a link cut", 'n', RTM_NEWLINK, 0, 0, 1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        batch b = {{0}, 0};

        put_message(&b, NLMSG_NOOP, "odd", 3, 0); /* padded before the next */
        put(&b, "\0", 1);
        switch (ROWS[i].what) {
        case 'r':
            put_route(&b, ROWS[i].type, ROWS[i].flags, ROWS[i].kind);
            break;
        case 'a':
            put_address(&b, ROWS[i].type, (uint8_t)ROWS[i].flags);
            break;
        case 'l':
            put_link(&b, ROWS[i].type, (uint16_t)ROWS[i].flags);
            break;
        default:
            put_message(&b, ROWS[i].type, "", 0, 0);
            break;
        }
        if (tells(&b) != ROWS[i].want) {
            fail_msg("%s: not %d", ROWS[i].name, ROWS[i].want);
        }
    }
}

/* A batch cut anywhere but between messages counts as a change. */
static void cut_everywhere(void **state) {
    batch b = {{0}, 0};
    size_t len;

    (void)state;
    put_route(&b, RTM_NEWROUTE, RTM_F_CLONED, RTN_UNICAST);
    put_route(&b, RTM_NEWROUTE, RTM_F_CLONED, RTN_UNICAST);
    assert_int_equal(tells(&b), 0);
    len = b.len;
    for (b.len = 0; b.len < len; b.len++) {
        assert_int_equal(tells(&b), b.len != 0 && b.len != len / 2);
    }
}

/* Lengths that lie. */
static void hostile_lengths(void **state) {
    static const uint32_t LENGTHS[] = {0, 1, 15, 0x7fffffff, UINT32_MAX};
    struct nlmsghdr header;
    batch b = {{0}, 0};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(LENGTHS); i++) {
        memset(&header, 0, sizeof(header));
        header.nlmsg_type = NLMSG_DONE;
        header.nlmsg_len = LENGTHS[i];
        b.len = 0;
        put(&b, &header, sizeof(header));
        assert_int_equal(tells(&b), 1);
    }
    b.len = 0;
    put_link(&b, RTM_NEWLINK, IFLA_MTU);
    memset(b.data + b.len - 8, 0, 2); /* an attribute without its own head */
    assert_int_equal(tells(&b), 1);
}

/* ---- the socket ---- */

typedef struct watcher {
    iotest f;
    size_t changes;
    int end; /* ends the watch when it is told */
} watcher;

static void on_changed(void *user) {
    watcher *w = user;

    w->changes++;
    if (w->end) {
        assert_int_equal(w->f.io.watch(w->f.io.impl, NULL, NULL), ATLAS_OK);
    }
}

static void opened_and_closed(void **state) {
    watcher w;
    size_t fds;

    (void)state;
    memset(&w, 0, sizeof(w));
    iotest_begin(&w.f);
    fds = iotest_open_fds();
    assert_int_equal(w.f.io.watch(w.f.io.impl, NULL, NULL), ATLAS_OK);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_OK);
    assert_int_equal(iotest_open_fds(), fds + 1);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, NULL), ATLAS_OK); /* the same socket */
    assert_int_equal(iotest_open_fds(), fds + 1);
    assert_int_equal(w.f.io.watch(w.f.io.impl, NULL, NULL), ATLAS_OK);
    assert_int_equal(iotest_open_fds(), fds);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_OK);
    iotest_end(&w.f); /* closes it */
}

static void out_of_memory(void **state) {
    watcher w;

    (void)state;
    memset(&w, 0, sizeof(w));
    iotest_begin(&w.f);
    testenv_fail_next(&w.f.t, 1);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_ERR_NOMEM);
    testenv_fail_next(&w.f.t, 2);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_ERR_NOMEM);
    testenv_fail_next(&w.f.t, 0);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_OK);
    iotest_end(&w.f);
}

static int set_flags(int fd, const char *name, int up) {
    struct ifreq request;

    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) {
        return -1;
    }
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int set_address(int fd, const char *name, const char *text) {
    struct sockaddr_in addr;
    struct ifreq request;

    memset(&request, 0, sizeof(request));
    memset(&addr, 0, sizeof(addr));
    memcpy(request.ifr_name, name, strlen(name));
    addr.sin_family = AF_INET;
    if (inet_pton(AF_INET, text, &addr.sin_addr) != 1) {
        return -1;
    }
    memcpy(&request.ifr_addr, &addr, sizeof(addr));
    return ioctl(fd, SIOCSIFADDR, &request);
}

#define CANNOT 77

/* In the child, where an assertion would not be seen: the number of what went wrong, 0 for nothing.
 */
static int in_namespace(void) {
    static watcher w;
    atl_addr addrs[8];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t n;

    memset(&w, 0, sizeof(w));
    iotest_begin(&w.f);
    if (w.f.io.watch(w.f.io.impl, on_changed, &w) != ATLAS_OK) {
        return 1;
    }
    iotest_turn(&w.f, 0);
    if (w.changes != 0 || set_flags(fd, "lo", 1) != 0) {
        return 2;
    }
    iotest_turn(&w.f, 1000);
    if (w.changes != 1) { /* a link, addresses and routes: told once */
        return 3;
    }
    iotest_turn(&w.f, 50);
    if (w.changes > 2 || set_address(fd, "lo:1", "10.9.8.7") != 0) {
        return 4;
    }
    w.changes = 0;
    iotest_turn(&w.f, 1000);
    n = w.f.io.local_addrs(w.f.io.impl, addrs, 8);
    if (w.changes == 0 || n < 2) {
        return 5;
    }
    w.end = 1;
    w.changes = 0;
    if (set_flags(fd, "lo", 0) != 0) {
        return 6;
    }
    iotest_turn(&w.f, 1000);
    if (w.changes != 1 || set_flags(fd, "lo", 1) != 0) {
        return 7;
    }
    iotest_turn(&w.f, 50);
    if (w.changes != 1) { /* ended */
        return 8;
    }
    iotest_end(&w.f);
    (void)close(fd);
    return 0;
}

static void real_changes(void **state) {
    pid_t child = fork();
    int status = 0;

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
            _exit(CANNOT);
        }
        _exit(in_namespace());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Another process writes to the socket: not the kernel, so not believed. */
static void forged(void **state) {
    struct sockaddr_nl to;
    batch b = {{0}, 0};
    watcher w;
    int fd;

    (void)state;
    memset(&w, 0, sizeof(w));
    memset(&to, 0, sizeof(to));
    iotest_begin(&w.f);
    assert_int_equal(w.f.io.watch(w.f.io.impl, on_changed, &w), ATLAS_OK);
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    assert_true(fd >= 0);
    to.nl_family = AF_NETLINK;
    to.nl_pid = (uint32_t)getpid(); /* the first netlink socket of a process has its number */
    put_address(&b, RTM_NEWADDR, 0);
    if (sendto(fd, b.data, b.len, 0, (const struct sockaddr *)(const void *)&to, sizeof(to)) ==
        (ssize_t)b.len) {
        iotest_turn(&w.f, 100);
        assert_int_equal(w.changes, 0);
    }
    assert_int_equal(close(fd), 0);
    iotest_end(&w.f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_matters),    cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(hostile_lengths), cmocka_unit_test(opened_and_closed),
        cmocka_unit_test(out_of_memory),   cmocka_unit_test(real_changes),
        cmocka_unit_test(forged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
