/* Sending: batches, trains by GSO, and the errors that do not concern the datagram at hand. */
#include <errno.h>

#include "io/udp_impl.h"

#define BATCH 64
/* A pending ICMP error is reported by the next send, whatever that sends; it is then taken off the
 * socket, so that trying again tells it from an error of this datagram. More may arrive in between.
 */
#define RETRIES 3
/* EMSGSIZE is more often an error of this datagram, and each try leaves one more in the error
 * queue. */
#define RETRIES_SIZE 1

typedef struct tx_slot {
    atl_sockaddr name;
    struct iovec iov;
    uint8_t control[128] __attribute__((aligned(sizeof(size_t))));
} tx_slot;

static void add_cmsg(struct msghdr *msg, tx_slot *slot, int level, int type, const void *data,
                     size_t len) {
    struct cmsghdr cmsg;
    uint8_t *at = slot->control + msg->msg_controllen;

    memset(at, 0, CMSG_SPACE(len));
    memset(&cmsg, 0, sizeof(cmsg));
    cmsg.cmsg_len = CMSG_LEN(len);
    cmsg.cmsg_level = level;
    cmsg.cmsg_type = type;
    memcpy(at, &cmsg, sizeof(cmsg));
    memcpy(at + CMSG_LEN(0), data, len);
    msg->msg_control = slot->control;
    msg->msg_controllen += CMSG_SPACE(len);
}

static void add_source(struct msghdr *msg, tx_slot *slot, const atl_addr *local) {
    if (local->family == 4) {
        struct in_pktinfo info;

        memset(&info, 0, sizeof(info));
        memcpy(&info.ipi_spec_dst, local->ip, 4);
        add_cmsg(msg, slot, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else {
        struct in6_pktinfo info;

        memset(&info, 0, sizeof(info));
        memcpy(&info.ipi6_addr, local->ip, 16);
        info.ipi6_ifindex = local->scope;
        add_cmsg(msg, slot, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

static void fill(const atl_udp *udp, const atl_tx *tx, struct mmsghdr *out, tx_slot *slot) {
    struct msghdr *msg = &out->msg_hdr;

    memset(out, 0, sizeof(*out));
    msg->msg_namelen = atl_to_sockaddr(&tx->remote, &slot->name);
    msg->msg_name = &slot->name;
    slot->iov.iov_base = (void *)(uintptr_t)tx->data;
    slot->iov.iov_len = tx->len;
    msg->msg_iov = &slot->iov;
    msg->msg_iovlen = 1;
    if (udp->wildcard && tx->local.family == udp->local.family) {
        add_source(msg, slot, &tx->local);
    }
    if ((tx->ecn & 3) != 0) {
        int ecn = tx->ecn & 3;

        if (udp->local.family == 4) {
            add_cmsg(msg, slot, IPPROTO_IP, IP_TOS, &ecn, sizeof(ecn));
        } else {
            add_cmsg(msg, slot, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof(ecn));
        }
    }
    if (tx->segment < tx->len) {
        uint16_t segment = (uint16_t)tx->segment;

        add_cmsg(msg, slot, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
    }
}

static int32_t wait_writable(atl_udp *udp) {
    atl_watch_set(udp->watch, ATLAS_FD_READ | ATLAS_FD_WRITE);
    return ATLAS_ERR_AGAIN;
}

static int may_be_pending(int err) {
    switch (err) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPROTO:
    case EACCES:
    case EMSGSIZE:
        return 1;
    default:
        return 0;
    }
}

/* Sends the first of msgs[0..n) and perhaps more. Returns how many; 0 with *err set when the first
 * one met an error of its own. */
static size_t send_some(const atl_udp *udp, struct mmsghdr *msgs, size_t n, int *err) {
    for (int attempt = 0;; attempt++) {
        int sent = sendmmsg(udp->fd, msgs, (unsigned int)n, MSG_DONTWAIT);

        if (sent > 0) {
            return (size_t)sent;
        }
        *err = sent == 0 ? EAGAIN : errno;
        if (*err != EINTR &&
            (attempt >= (*err == EMSGSIZE ? RETRIES_SIZE : RETRIES) || !may_be_pending(*err))) {
            return 0;
        }
    }
}

/* A whole train as single datagrams. *err is that of the first datagram, 0 when it went out. Once
 * it has, the train counts as taken: what the socket has no room for is lost, as it could be on the
 * way. */
static void send_plain(const atl_udp *udp, const atl_tx *train, int *err) {
    struct mmsghdr msgs[ATL_TRAIN_SEGMENTS];
    tx_slot slots[ATL_TRAIN_SEGMENTS];
    atl_tx tx = *train;
    size_t n = 0;
    size_t at = 0;

    for (size_t off = 0; off < train->len && n < ATL_TRAIN_SEGMENTS; off += train->segment) {
        size_t left = train->len - off;

        tx.data = train->data + off;
        tx.len = left < train->segment ? left : train->segment;
        tx.segment = tx.len;
        fill(udp, &tx, &msgs[n], &slots[n]);
        n++;
    }
    *err = 0;
    while (at < n) {
        int failed = 0;
        size_t sent = send_some(udp, msgs + at, n - at, &failed);

        if (sent == 0 && at == 0) {
            *err = failed;
        }
        if (sent == 0 && (failed == EAGAIN || failed == EWOULDBLOCK)) {
            return;
        }
        at += sent == 0 ? 1 : sent;
    }
}

/* EIO and EINVAL from a train mean that GSO does not work on this route, or that a segment exceeds
 * its MTU, or that the address is bad. Only when a plain datagram fares better is GSO to blame, and
 * then it stays off. */
static int train_failed(atl_udp *udp, const atl_tx *train) {
    int err = 0;

    send_plain(udp, train, &err);
    if (udp->gso && (err == 0 || err == EAGAIN || err == EWOULDBLOCK)) {
        udp->gso = 0;
        atl_log(udp->os->env, ATLAS_LOG_INFO, "GSO does not work here: sending single datagrams");
    }
    return err;
}

static void note_oversized(atl_udp *udp, const atl_addr *remote) {
    for (size_t i = 0; i < udp->n_oversized; i++) {
        if (atl_addr_equal(&udp->oversized[i], remote)) {
            return;
        }
    }
    if (udp->n_oversized < ATL_UDP_OVERSIZED) {
        udp->oversized[udp->n_oversized++] = *remote;
        udp->errors = 1;
    }
}

static int is_train(const atl_tx *tx) {
    return tx->segment < tx->len;
}

static int valid(const atl_udp *udp, const atl_tx *tx) {
    return tx->len > 0 && tx->segment > 0 && tx->remote.family == udp->local.family &&
           tx->len <= ATL_TRAIN_BYTES && tx->segment <= UINT16_MAX &&
           (tx->len + tx->segment - 1) / tx->segment <= ATL_TRAIN_SEGMENTS;
}

/* Up to BATCH messages by one system call. *taken counts those that are done with, sent or lost. */
static int32_t send_batch(atl_udp *udp, const atl_tx *tx, size_t n, size_t *taken) {
    struct mmsghdr msgs[BATCH];
    tx_slot slots[BATCH];
    size_t k = 0;
    int err = 0;

    while (k < n && k < BATCH && valid(udp, &tx[k]) && (udp->gso || !is_train(&tx[k]))) {
        fill(udp, &tx[k], &msgs[k], &slots[k]);
        k++;
    }
    if (k > 0) {
        *taken = send_some(udp, msgs, k, &err);
        if (*taken > 0) {
            return ATLAS_OK;
        }
    }
    *taken = 1;
    if (k == 0 && valid(udp, &tx[0])) {
        send_plain(udp, &tx[0], &err);
    } else if ((err == EIO || err == EINVAL) && is_train(&tx[0])) {
        err = train_failed(udp, &tx[0]);
    }
    if (err == EAGAIN || err == EWOULDBLOCK) {
        *taken = 0;
        return wait_writable(udp);
    }
    if (err == EMSGSIZE) {
        note_oversized(udp, &tx[0].remote);
    }
    return err == EBADF || err == ENOTSOCK ? ATLAS_ERR_IO : ATLAS_OK;
}

int32_t atl_udp_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent) {
    size_t done = 0;
    int32_t rc = ATLAS_OK;

    (void)impl;
    while (done < n && rc == ATLAS_OK) {
        size_t taken = 0;

        rc = send_batch(udp, tx + done, n - done, &taken);
        if (rc == ATLAS_OK || rc == ATLAS_ERR_AGAIN) {
            done += taken;
        }
    }
    *sent = done;
    return rc;
}
