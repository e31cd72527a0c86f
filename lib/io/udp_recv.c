/* Receiving: batches of trains, and the ICMP errors that datagrams sent before have met. */
#include <errno.h>
#include <time.h>

#include <linux/errqueue.h> /* uses struct timespec without defining it */

#include "io/udp_impl.h"

#define BATCH_MIN 8
#define BATCH_MAX 64
#define BUFFER_GRO 65536
/* Buffers a power of two apart would compete for the same few sets of the cache. */
#define STRIDE_GRO (BUFFER_GRO + 33 * 64)
#define BUFFER_PLAIN 2048
#define CONTROL_SIZE 128
/* Reads that gave nothing to hand on (dropped datagrams, pending errors) before the turn goes to
 * others. */
#define ATTEMPTS 4

typedef struct rx_slot {
    atl_sockaddr name;
    struct iovec iov;
    uint8_t control[CONTROL_SIZE] __attribute__((aligned(sizeof(size_t))));
} rx_slot;

struct atl_rx_arena {
    size_t n;
    struct mmsghdr *msgs; /* n */
    rx_slot *slots;       /* n */
    uint8_t *data;        /* n buffers */
};

static atl_rx_arena *arena_new(atl_udp *udp, size_t n) {
    size_t stride = udp->gro ? STRIDE_GRO : BUFFER_PLAIN;
    size_t fixed = sizeof(atl_rx_arena) + n * (sizeof(struct mmsghdr) + sizeof(rx_slot));
    uint8_t *block = atl_malloc(udp->os->env, fixed + n * stride);
    atl_rx_arena *arena = (void *)block;

    if (block == NULL) {
        return NULL;
    }
    memset(block, 0, fixed); /* not the buffers: untouched memory costs nothing */
    arena->n = n;
    arena->msgs = (void *)(block + sizeof(*arena));
    arena->slots = (void *)(block + sizeof(*arena) + n * sizeof(struct mmsghdr));
    arena->data = block + fixed;
    for (size_t i = 0; i < n; i++) {
        struct msghdr *msg = &arena->msgs[i].msg_hdr;
        rx_slot *slot = &arena->slots[i];

        slot->iov.iov_base = arena->data + i * stride;
        slot->iov.iov_len = udp->gro ? BUFFER_GRO : BUFFER_PLAIN;
        msg->msg_name = &slot->name;
        msg->msg_iov = &slot->iov;
        msg->msg_iovlen = 1;
        msg->msg_control = slot->control;
    }
    return arena;
}

void atl_udp_arena_free(atl_udp *udp) {
    atl_free(udp->os->env, udp->arena);
    udp->arena = NULL;
}

/* 1 when there is an arena to read into. */
static int arena_ready(atl_udp *udp) {
    if (udp->arena == NULL) {
        udp->arena = arena_new(udp, BATCH_MIN);
    } else if (udp->grow && udp->arena->n < BATCH_MAX) {
        atl_rx_arena *bigger = arena_new(udp, BATCH_MAX);

        if (bigger != NULL) {
            atl_udp_arena_free(udp);
            udp->arena = bigger;
        }
    }
    udp->grow = 0;
    return udp->arena != NULL;
}

static void local_from_pktinfo4(const struct cmsghdr *cmsg, atl_addr *local) {
    struct in_pktinfo info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    memset(local->ip, 0, sizeof(local->ip));
    memcpy(local->ip, &info.ipi_addr, 4);
}

static void local_from_pktinfo6(const struct cmsghdr *cmsg, atl_addr *local) {
    struct in6_pktinfo info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    memcpy(local->ip, &info.ipi6_addr, 16);
    local->scope = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? (uint32_t)info.ipi6_ifindex : 0;
}

static int cmsg_int(const struct cmsghdr *cmsg) {
    int value;

    if (cmsg->cmsg_len < CMSG_LEN(sizeof(value))) {
        return *(const uint8_t *)CMSG_DATA(cmsg);
    }
    memcpy(&value, CMSG_DATA(cmsg), sizeof(value));
    return value;
}

static int32_t icmp_error(const struct cmsghdr *cmsg) {
    struct sock_extended_err err;

    memcpy(&err, CMSG_DATA(cmsg), sizeof(err));
    switch (err.ee_errno) {
    case ECONNREFUSED:
        return ATLAS_ERR_REFUSED;
    case EMSGSIZE:
        return ATLAS_ERR_TOO_LARGE;
    default:
        return ATLAS_ERR_UNREACHABLE;
    }
}

static void read_cmsg(const struct cmsghdr *cmsg, atl_rx *rx) {
    if (cmsg->cmsg_level == IPPROTO_IP) {
        if (cmsg->cmsg_type == IP_PKTINFO) {
            local_from_pktinfo4(cmsg, &rx->local);
        } else if (cmsg->cmsg_type == IP_TOS) {
            rx->ecn = (uint8_t)(cmsg_int(cmsg) & 3);
        } else if (cmsg->cmsg_type == IP_RECVERR) {
            rx->error = icmp_error(cmsg);
        }
    } else if (cmsg->cmsg_level == IPPROTO_IPV6) {
        if (cmsg->cmsg_type == IPV6_PKTINFO) {
            local_from_pktinfo6(cmsg, &rx->local);
        } else if (cmsg->cmsg_type == IPV6_TCLASS) {
            rx->ecn = (uint8_t)(cmsg_int(cmsg) & 3);
        } else if (cmsg->cmsg_type == IPV6_RECVERR) {
            rx->error = icmp_error(cmsg);
        }
    } else if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
        int segment = cmsg_int(cmsg);

        if (segment > 0 && (size_t)segment < rx->len) {
            rx->segment = (size_t)segment;
        }
    }
}

/* The parts that a datagram and an error have in common. 0 when the sender makes no sense. */
static int read_header(const atl_udp *udp, struct msghdr *msg, size_t len, atl_rx *rx) {
    memset(rx, 0, sizeof(*rx));
    rx->len = len;
    rx->segment = len;
    rx->local = udp->local;
    if (msg->msg_namelen == 0) {
        return 0;
    }
    atl_from_sockaddr(msg->msg_name, &rx->remote);
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        read_cmsg(cmsg, rx);
    }
    return rx->remote.family == udp->local.family;
}

static size_t read_oversized(atl_udp *udp, atl_rx *out, size_t cap) {
    size_t n = 0;

    while (n < cap && udp->n_oversized > 0) {
        udp->n_oversized--;
        memset(&out[n], 0, sizeof(out[n]));
        out[n].error = ATLAS_ERR_TOO_LARGE;
        out[n].remote = udp->oversized[udp->n_oversized];
        out[n].local = udp->local;
        n++;
    }
    return n;
}

/* Reads the error queue into out[0..cap) and returns how many entries it gave. */
static size_t read_errors(atl_udp *udp, atl_rx *out, size_t cap) {
    size_t n = read_oversized(udp, out, cap);

    while (n < cap) {
        rx_slot slot;
        struct msghdr msg;
        uint8_t byte;

        memset(&msg, 0, sizeof(msg));
        slot.iov.iov_base = &byte;
        slot.iov.iov_len = sizeof(byte);
        msg.msg_name = &slot.name;
        msg.msg_namelen = (socklen_t)sizeof(slot.name);
        msg.msg_iov = &slot.iov;
        msg.msg_iovlen = 1;
        msg.msg_control = slot.control;
        msg.msg_controllen = sizeof(slot.control);
        if (recvmsg(udp->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
            udp->errors = 0;
            break;
        }
        /* without a port: an error of our own side, which send() has reported */
        if (read_header(udp, &msg, 0, &out[n]) && out[n].error != ATLAS_OK &&
            out[n].remote.port != 0) {
            out[n].ecn = 0;
            n++;
        }
    }
    return n;
}

static int batch_read(atl_udp *udp, size_t cap) {
    atl_rx_arena *arena = udp->arena;
    size_t want = cap < arena->n ? cap : arena->n;
    int got;

    for (size_t i = 0; i < want; i++) {
        arena->msgs[i].msg_hdr.msg_namelen = (socklen_t)sizeof(arena->slots[i].name);
        arena->msgs[i].msg_hdr.msg_controllen = CONTROL_SIZE;
    }
    got = recvmmsg(udp->fd, arena->msgs, (unsigned int)want, MSG_DONTWAIT, NULL);
    udp->grow = (uint8_t)(got > 0 && (size_t)got == arena->n && cap > arena->n);
    return got;
}

/* Empty and oversized datagrams are nothing that any of our protocols sends. */
static size_t batch_take(const atl_udp *udp, size_t got, atl_rx *out) {
    atl_rx_arena *arena = udp->arena;
    size_t n = 0;

    for (size_t i = 0; i < got; i++) {
        struct msghdr *msg = &arena->msgs[i].msg_hdr;
        size_t len = arena->msgs[i].msg_len;

        if ((msg->msg_flags & MSG_TRUNC) != 0 || len == 0 || !read_header(udp, msg, len, &out[n]) ||
            out[n].segment > ATL_DATAGRAM_MAX) {
            continue;
        }
        out[n].data = arena->slots[i].iov.iov_base;
        n++;
    }
    return n;
}

int32_t atl_udp_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    size_t found = 0;

    (void)impl;
    *n = 0;
    if (!arena_ready(udp)) {
        return ATLAS_OK; /* short of memory: the socket stays readable, a later turn tries again */
    }
    for (int attempt = 0; attempt < ATTEMPTS && found == 0 && cap > 0; attempt++) {
        int got;

        if (udp->errors) {
            found = read_errors(udp, out, cap);
        }
        got = found < cap ? batch_read(udp, cap - found) : 0;
        if (got > 0) {
            udp->untouched = 0;
            found += batch_take(udp, (size_t)got, out + found);
        } else if (got < 0 && (errno == EBADF || errno == ENOTSOCK)) {
            return ATLAS_ERR_IO;
        } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            /* woken for nothing: a loop that does not report error conditions */
            if (!udp->untouched || found > 0) {
                break;
            }
            udp->untouched = 0;
            udp->errors = 1;
        } else if (got < 0 && errno != EINTR) {
            /* an ICMP error for some datagram sent before: its details are in the queue */
            udp->errors = 1;
        }
    }
    *n = found;
    return ATLAS_OK;
}
