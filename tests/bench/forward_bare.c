/* The bare forwarder: read, look an id up, write nine bytes over it, send. One loop for single
 * datagrams, which it gathers into trains, and one for datagrams that come as trains. */
#include "forward.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID_LEN 8
#define HEADER 9
#define SLOTS 1024
#define BATCH 64
#define SINGLE 2048
#define TRAIN_SEGMENTS 54
#define STRIDE (65536 + 33 * 64)

typedef struct entry {
    uint64_t id;
    uint8_t out[HEADER];
    struct sockaddr_in to;
    int used;
} entry;

static entry table[SLOTS];
static struct mmsghdr in[BATCH];
static struct iovec in_vec[BATCH];
static uint8_t in_control[BATCH][64] __attribute__((aligned(8)));
static struct mmsghdr out[BATCH];
static uint8_t out_control[BATCH][CMSG_SPACE(sizeof(uint16_t))] __attribute__((aligned(8)));
static struct iovec out_vec[BATCH];

static entry *look_up(const uint8_t *data) {
    uint64_t id;
    size_t i;

    memcpy(&id, data + 1, sizeof(id));
    for (i = id & (SLOTS - 1); table[i].used; i = (i + 1) & (SLOTS - 1)) {
        if (table[i].id == id) {
            return &table[i];
        }
    }
    return NULL;
}

static void add(uint64_t id, const uint8_t out_id[HEADER], const struct sockaddr_in *to) {
    size_t i = id & (SLOTS - 1);

    while (table[i].used) {
        i = (i + 1) & (SLOTS - 1);
    }
    table[i].id = id;
    memcpy(table[i].out, out_id, HEADER);
    table[i].to = *to;
    table[i].used = 1;
}

static void wait_readable(int fd) {
    struct pollfd p = {fd, POLLIN, 0};

    (void)poll(&p, 1, 1000);
}

static void make_buffers(size_t size, size_t stride, size_t n) {
    uint8_t *data = malloc(stride * n);

    if (data == NULL) {
        bench_die("malloc");
    }
    for (size_t i = 0; i < n; i++) {
        in_vec[i].iov_base = data + i * stride;
        in_vec[i].iov_len = size;
        in[i].msg_hdr.msg_iov = &in_vec[i];
        in[i].msg_hdr.msg_iovlen = 1;
    }
}

static void set_segment(struct msghdr *msg, uint8_t *control, size_t segment) {
    struct cmsghdr *cmsg;
    uint16_t size = (uint16_t)segment;

    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(sizeof(size));
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_UDP;
    cmsg->cmsg_type = UDP_SEGMENT;
    cmsg->cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(cmsg), &size, sizeof(size));
}

static void send_out(int fd, size_t n) {
    size_t sent = 0;

    while (sent < n) {
        int rv = sendmmsg(fd, out + sent, (unsigned int)(n - sent), 0);

        if (rv <= 0) {
            break;
        }
        sent += (size_t)rv;
    }
}

/* Neighbours for the same destination become one train of several pieces, without a copy. */
static void forward_singles(int fd) {
    make_buffers(SINGLE, SINGLE, BATCH);
    for (;;) {
        int got = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
        size_t n = 0;
        entry *last = NULL;
        size_t last_len = 0;

        for (int i = 0; i < got; i++) {
            size_t len = in[i].msg_len;
            entry *e = len < HEADER ? NULL : look_up(in_vec[i].iov_base);

            if (e == NULL) {
                continue;
            }
            memcpy(in_vec[i].iov_base, e->out, HEADER);
            out_vec[i] = in_vec[i];
            out_vec[i].iov_len = len;
            if (e == last && len == last_len && out[n - 1].msg_hdr.msg_iovlen < TRAIN_SEGMENTS) {
                if (++out[n - 1].msg_hdr.msg_iovlen == 2) {
                    set_segment(&out[n - 1].msg_hdr, out_control[n - 1], len);
                }
                continue;
            }
            memset(&out[n].msg_hdr, 0, sizeof(out[n].msg_hdr));
            out[n].msg_hdr.msg_name = &e->to;
            out[n].msg_hdr.msg_namelen = sizeof(e->to);
            out[n].msg_hdr.msg_iov = &out_vec[i];
            out[n].msg_hdr.msg_iovlen = 1;
            n++;
            last = e;
            last_len = len;
        }
        send_out(fd, n);
        if (got <= 0) {
            wait_readable(fd);
        }
    }
}

static size_t segment_of(struct msghdr *msg, size_t len) {
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
            int size;

            memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
            return (size_t)size;
        }
    }
    return len;
}

static void forward_trains(int fd, size_t batch) {
    make_buffers(65536, STRIDE, batch);
    for (;;) {
        size_t n = 0;
        int got;

        for (size_t i = 0; i < batch; i++) {
            in[i].msg_hdr.msg_control = in_control[i];
            in[i].msg_hdr.msg_controllen = sizeof(in_control[i]);
        }
        got = recvmmsg(fd, in, (unsigned int)batch, MSG_DONTWAIT, NULL);
        for (int i = 0; i < got; i++) {
            uint8_t *data = in_vec[i].iov_base;
            size_t len = in[i].msg_len;
            size_t segment = segment_of(&in[i].msg_hdr, len);
            entry *e = NULL;

            for (size_t at = 0; at + HEADER <= len; at += segment) {
                e = look_up(data + at);
                if (e == NULL) {
                    break;
                }
                memcpy(data + at, e->out, HEADER);
            }
            if (e == NULL) {
                continue;
            }
            out_vec[n].iov_base = data;
            out_vec[n].iov_len = len;
            memset(&out[n].msg_hdr, 0, sizeof(out[n].msg_hdr));
            out[n].msg_hdr.msg_name = &e->to;
            out[n].msg_hdr.msg_namelen = sizeof(e->to);
            out[n].msg_hdr.msg_iov = &out_vec[n];
            out[n].msg_hdr.msg_iovlen = 1;
            if (segment < len) {
                set_segment(&out[n].msg_hdr, out_control[n], segment);
            }
            n++;
        }
        send_out(fd, n);
        if (got <= 0) {
            wait_readable(fd);
        }
    }
}

void forward_start_bare(forwarding *f, int cpu, size_t batch) {
    struct sockaddr_in from;
    struct sockaddr_in sink;
    uint8_t out_id[HEADER];
    uint64_t id = UINT64_C(0x9e3779b97f4a7c15);
    int fd = bench_socket(&f->to, batch > 0);

    f->tx = bench_socket(&from, 1);
    f->rx = bench_socket(&sink, 1);
    f->out_size = FORWARD_SIZE;
    memset(f->datagram, 0x80, sizeof(f->datagram));
    f->datagram[0] = 0x40;
    memcpy(f->datagram + 1, &id, ID_LEN);
    memset(out_id, 0x55, sizeof(out_id));
    add(id, out_id, &sink);
    f->pid = bench_fork();
    if (f->pid == 0) {
        bench_pin(cpu);
        if (batch > 0) {
            forward_trains(fd, batch);
        }
        forward_singles(fd);
    }
    close(fd);
}
