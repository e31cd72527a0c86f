/* coturn relaying ChannelData: an allocation and a channel (RFC 8656), made by just enough of a
 * client. */
#include "forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COOKIE 0x2112a442u
#define ALLOCATE 0x0003
#define CHANNEL_BIND 0x0009
#define CHANNEL 0x4000
#define CHANNEL_HEADER 4

static void put16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static size_t begin(uint8_t *msg, unsigned type) {
    memset(msg, 0, 20);
    put16(msg, type);
    put32(msg + 4, COOKIE);
    memset(msg + 8, (int)type, 12);
    return 20;
}

static size_t attribute(uint8_t *msg, size_t at, unsigned type, const uint8_t *value, size_t len) {
    put16(msg + at, type);
    put16(msg + at + 2, (unsigned)len);
    memcpy(msg + at + 4, value, len);
    put16(msg + 2, (unsigned)(at + 4 + len - 20));
    return at + 4 + len;
}

/* Sends until the success response comes; 0 when it does not. */
static int request(const forwarding *f, const uint8_t *msg, size_t len, int tries) {
    uint8_t answer[1500];

    for (int i = 0; i < tries; i++) {
        struct pollfd p = {f->tx, POLLIN, 0};
        size_t segment;

        (void)sendto(f->tx, msg, len, 0, (const struct sockaddr *)&f->to, sizeof(f->to));
        while (poll(&p, 1, 100) > 0) {
            size_t n = bench_recv(f->tx, answer, sizeof(answer), &segment);

            if (n == 0) {
                break; /* nobody listens yet */
            }
            if (n >= 20 && answer[0] == (uint8_t)(msg[0] | 1) && answer[1] == msg[1]) {
                return 1;
            }
        }
        (void)usleep(50000);
    }
    return 0;
}

static void run_turnserver(int cpu, uint16_t port) {
    char text[16];
    int null = open("/dev/null", O_RDWR);

    bench_pin(cpu);
    (void)dup2(null, 0);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    snprintf(text, sizeof(text), "%u", (unsigned)port);
    execlp("turnserver", "turnserver", "-n", "-z", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", text,
           "-m", "1", "--no-tls", "--no-dtls", "--no-tcp", "--no-cli", "--allow-loopback-peers",
           "--pidfile", "/dev/null", "--userdb", "/dev/null", "--log-file", "/dev/null",
           (char *)NULL);
    _exit(127);
}

static void bind_channel(const forwarding *f, const struct sockaddr_in *peer) {
    static const uint8_t UDP[4] = {17, 0, 0, 0};
    uint8_t channel[4] = {CHANNEL >> 8, CHANNEL & 0xff, 0, 0};
    uint8_t addr[8] = {0, 1};
    uint8_t msg[128];
    size_t len;

    len = begin(msg, ALLOCATE);
    len = attribute(msg, len, 0x0019, UDP, sizeof(UDP)); /* REQUESTED-TRANSPORT */
    if (!request(f, msg, len, 60)) {
        errno = 0;
        bench_die("coturn: no allocation (is turnserver installed?)");
    }
    put16(addr + 2, (unsigned)(ntohs(peer->sin_port) ^ (COOKIE >> 16)));
    put32(addr + 4, ntohl(peer->sin_addr.s_addr) ^ COOKIE);
    len = begin(msg, CHANNEL_BIND);
    len = attribute(msg, len, 0x000c, channel, sizeof(channel)); /* CHANNEL-NUMBER */
    len = attribute(msg, len, 0x0012, addr, sizeof(addr));       /* XOR-PEER-ADDRESS */
    if (!request(f, msg, len, 20)) {
        errno = 0;
        bench_die("coturn: no channel");
    }
}

void forward_start_turn(forwarding *f, int cpu) {
    struct sockaddr_in from;
    struct sockaddr_in sink;
    int fd = bench_socket(&f->to, 0);

    close(fd); /* its port is free again, and will hardly be given to another at once */
    f->tx = bench_socket(&from, 1);
    f->rx = bench_socket(&sink, 1);
    f->out_size = FORWARD_SIZE - CHANNEL_HEADER;
    memset(f->datagram, 0x80, sizeof(f->datagram));
    put16(f->datagram, CHANNEL);
    put16(f->datagram + 2, FORWARD_SIZE - CHANNEL_HEADER);
    f->pid = bench_fork();
    if (f->pid == 0) {
        run_turnserver(cpu, ntohs(f->to.sin_port));
    }
    bind_channel(f, &sink);
}
