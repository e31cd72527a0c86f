#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- failing ---- */

void bench_die(const char *what) {
    fprintf(stderr, "bench: %s%s%s\n", what, errno != 0 ? ": " : "",
            errno != 0 ? strerror(errno) : "");
    exit(1);
}

void bench_check(int32_t code, const char *what) {
    if (code != ATLAS_OK) {
        fprintf(stderr, "bench: %s: %s (%d)\n", what, atlas_error_text(code), (int)code);
        exit(1);
    }
}

/* ---- time and processes ---- */

static uint64_t read_clock(clockid_t id) {
    struct timespec ts;

    if (clock_gettime(id, &ts) != 0) {
        bench_die("clock_gettime");
    }
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t bench_now(void) {
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t bench_cpu(void) {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t bench_cpu_of(pid_t pid) {
    clockid_t id;

    errno = clock_getcpuclockid(pid, &id);
    if (errno != 0) {
        bench_die("processor clock of a child");
    }
    return read_clock(id);
}

void bench_pin(int cpu) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(count > 1 ? cpu % (int)count : 0, &set);
    /* a container may forbid it: then the scheduler decides */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

pid_t bench_fork(void) {
    pid_t parent = getpid();
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
    }
    return pid;
}

void bench_stop(pid_t pid) {
    kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

void *bench_shared(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        bench_die("mmap");
    }
    return at;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bench_median(double *values, size_t n) {
    if (n == 0) {
        return 0;
    }
    qsort(values, n, sizeof(*values), compare);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* ---- sockets ---- */

int bench_socket(struct sockaddr_in *local, int gro) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*local);
    int size = 4 << 20;
    int one = 1;

    memset(local, 0, sizeof(*local));
    local->sin_family = AF_INET;
    local->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)local, len) != 0 ||
        getsockname(fd, (struct sockaddr *)local, &len) != 0) {
        bench_die("socket");
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (gro && setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one)) != 0) {
        bench_die("UDP_GRO");
    }
    return fd;
}

typedef union control {
    char buf[256]; /* sockets of the library ask for more than the train size */
    struct cmsghdr align;
} control;

void bench_send(int fd, const struct sockaddr_in *to, const void *data, size_t len,
                size_t segment) {
    control c;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct msghdr msg = {.msg_name = (void *)(uintptr_t)to,
                         .msg_namelen = sizeof(*to),
                         .msg_iov = &iov,
                         .msg_iovlen = 1};
    uint16_t size = (uint16_t)segment;

    if (segment < len) {
        struct cmsghdr *cmsg;

        memset(&c, 0, sizeof(c));
        msg.msg_control = c.buf;
        msg.msg_controllen = CMSG_SPACE(sizeof(size));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_UDP;
        cmsg->cmsg_type = UDP_SEGMENT;
        cmsg->cmsg_len = CMSG_LEN(sizeof(size));
        memcpy(CMSG_DATA(cmsg), &size, sizeof(size));
    }
    while (sendmsg(fd, &msg, 0) < 0) {
        struct pollfd p = {fd, POLLOUT, 0};

        if (errno != EAGAIN && errno != ECONNREFUSED && errno != EINTR) {
            bench_die("sendmsg");
        }
        (void)poll(&p, 1, 100);
    }
}

size_t bench_recv(int fd, void *buf, size_t cap, size_t *segment) {
    control c;
    struct iovec iov = {buf, cap};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
    ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT);

    if (len <= 0) {
        return 0;
    }
    *segment = (size_t)len;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg != NULL; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
            int size;

            memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
            *segment = (size_t)size;
        }
    }
    return (size_t)len;
}

/* ---- contexts ---- */

atlas_ctx *bench_context(const atlas_hooks *hooks) {
    atlas_ctx *ctx;

    bench_check(atlas_new(hooks, NULL, &ctx), "atlas_new");
    bench_check(atlas_set_u64(ctx, ATLAS_OPT_IPV6, 0), "ipv6");
    bench_check(atlas_set_str(ctx, ATLAS_OPT_BIND4, "127.0.0.1"), "bind4");
    return ctx;
}

void bench_address(atlas_ctx *ctx, char out[ATLAS_MULTIADDR_MAX]) {
    bench_check(atlas_open(ctx), "atlas_open");
    bench_check(atlas_local_addr(ctx, 0, out, ATLAS_MULTIADDR_MAX), "atlas_local_addr");
}

void bench_relay(atlas_ctx *ctx, uint64_t presence_ms) {
    static const struct {
        uint32_t option;
        uint64_t value;
    } OPTIONS[] = {
        {ATLAS_OPT_RELAY_BANDWIDTH, 0},
        {ATLAS_OPT_RELAY_TOTAL_BANDWIDTH, 0},
        {ATLAS_OPT_RELAY_MAX_NODES, 100000},
        {ATLAS_OPT_RELAY_MAX_CIRCUITS, 100000},
        {ATLAS_OPT_RELAY_MAX_CIRCUITS_PER_NODE, 100000},
        {ATLAS_OPT_RELAY_MAX_PER_IPV4, 100000},
        {ATLAS_OPT_RELAY_HANDSHAKES, 1000000},
        {ATLAS_OPT_HANDSHAKE_LIMIT, 1000000},
        {ATLAS_OPT_MAX_CONNECTIONS, 100000},
    };

    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        bench_check(atlas_set_u64(ctx, OPTIONS[i].option, OPTIONS[i].value), "relay option");
    }
    bench_check(atlas_set_u64(ctx, ATLAS_OPT_PRESENCE_INTERVAL_MS, presence_ms),
                "presence interval");
    bench_check(atlas_relay_start(ctx), "atlas_relay_start");
}

static void relay_loop(int cpu, uint64_t presence_ms, char *addr, int ready,
                       atlas_relay_stats *stats) {
    atlas_ctx *ctx;

    bench_pin(cpu);
    ctx = bench_context(NULL);
    bench_relay(ctx, presence_ms);
    bench_address(ctx, addr);
    if (write(ready, "1", 1) != 1) {
        bench_die("relay");
    }
    for (;;) {
        bench_check(atlas_run_once(ctx, 100), "relay");
        if (stats != NULL) {
            stats->size = sizeof(*stats);
            (void)atlas_relay_get_stats(ctx, stats);
        }
    }
}

pid_t bench_relay_process(int cpu, uint64_t presence_ms, char addr[ATLAS_MULTIADDR_MAX],
                          void (*prepare)(void), atlas_relay_stats *stats) {
    char *shared = bench_shared(ATLAS_MULTIADDR_MAX);
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe(ready) != 0) {
        bench_die("pipe");
    }
    pid = bench_fork();
    if (pid == 0) {
        if (prepare != NULL) {
            prepare();
        }
        relay_loop(cpu, presence_ms, shared, ready[1], stats);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) {
        bench_die("the relay did not start");
    }
    close(ready[0]);
    memcpy(addr, shared, ATLAS_MULTIADDR_MAX);
    munmap(shared, ATLAS_MULTIADDR_MAX);
    return pid;
}

void bench_drive(atlas_ctx *a, atlas_ctx *b, const int *flag, double seconds, const char *what) {
    uint64_t until = bench_now() + (uint64_t)(seconds * 1e9);

    while (!*flag) {
        bench_check(atlas_run_once(a, b == NULL ? 10 : 1), what);
        if (b != NULL) {
            bench_check(atlas_run_once(b, 1), what);
        }
        if (bench_now() > until) {
            errno = ETIMEDOUT;
            bench_die(what);
        }
    }
}
