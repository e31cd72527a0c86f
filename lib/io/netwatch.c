#include "io/netwatch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/reader.h"
#include "io/os_impl.h"

#define BUFFER 16384
#define READS_MAX 64     /* of one call: a flood of changes must not hold the loop */
#define MESSAGES_MAX 512 /* of one read */

struct atl_netwatch {
    atl_os *os;
    atl_watch *watch;
    int32_t fd;
    void (*changed)(void *user);
    void *user;
};

/* ---- messages ---- */

/* Netlink speaks the host's byte order and aligns to four bytes. */
static int32_t read_header(atl_reader *reader, struct nlmsghdr *out, atl_reader *body) {
    atl_reader copy = *reader;
    size_t len;
    size_t padding;

    if (atl_read_bytes(&copy, out, sizeof(*out)) != ATLAS_OK || out->nlmsg_len < sizeof(*out)) {
        return ATLAS_ERR_TRUNCATED;
    }
    len = out->nlmsg_len - sizeof(*out);
    if (atl_read_sub(&copy, len, body) != ATLAS_OK) {
        return ATLAS_ERR_TRUNCATED;
    }
    padding = (4 - len % 4) % 4;
    (void)atl_read_skip(&copy, padding < copy.left ? padding : copy.left);
    *reader = copy;
    return ATLAS_OK;
}

/* Wireless cards tell of every scan as of a change of their link. */
static int link_matters(const atl_reader *body) {
    atl_reader copy = *body;

    if (atl_read_skip(&copy, sizeof(struct ifinfomsg)) != ATLAS_OK) {
        return 1;
    }
    while (copy.left > 0) {
        struct rtattr attr;
        size_t len;

        if (atl_read_bytes(&copy, &attr, sizeof(attr)) != ATLAS_OK || attr.rta_len < sizeof(attr)) {
            return 1;
        }
        if (attr.rta_type == IFLA_WIRELESS) {
            return 0;
        }
        len = (attr.rta_len - sizeof(attr) + 3) / 4 * 4;
        (void)atl_read_skip(&copy, len < copy.left ? len : copy.left);
    }
    return 1;
}

/* An IPv6 address is told of again when no other host was found to have it. */
static int address_matters(const atl_reader *body) {
    struct ifaddrmsg address;
    atl_reader copy = *body;

    if (atl_read_bytes(&copy, &address, sizeof(address)) != ATLAS_OK) {
        return 1;
    }
    return (address.ifa_flags & IFA_F_TENTATIVE) == 0 ||
           (address.ifa_flags & (IFA_F_OPTIMISTIC | IFA_F_DADFAILED)) != 0;
}

/* The kernel's cache of IPv6 routes comes and goes with traffic; that is no change of the network.
 */
static int route_matters(const atl_reader *body) {
    struct rtmsg route;
    atl_reader copy = *body;

    if (atl_read_bytes(&copy, &route, sizeof(route)) != ATLAS_OK) {
        return 1;
    }
    return (route.rtm_flags & RTM_F_CLONED) == 0 && route.rtm_type != RTN_MULTICAST &&
           route.rtm_type != RTN_BROADCAST;
}

static int matters(uint16_t type, const atl_reader *body) {
    switch (type) {
    case NLMSG_OVERRUN:
    case RTM_DELLINK:
    case RTM_DELADDR:
        return 1;
    case RTM_NEWLINK:
        return link_matters(body);
    case RTM_NEWADDR:
        return address_matters(body);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return route_matters(body);
    default:
        return 0;
    }
}

int atl_netwatch_tells(const uint8_t *data, size_t len) {
    atl_reader reader;
    size_t n;

    atl_reader_init(&reader, data, len);
    for (n = 0; reader.left > 0; n++) {
        struct nlmsghdr header;
        atl_reader body;

        if (n == MESSAGES_MAX || read_header(&reader, &header, &body) != ATLAS_OK ||
            matters(header.nlmsg_type, &body)) {
            return 1;
        }
    }
    return 0;
}

/* ---- the socket ---- */

/* Reads one batch. 1: there may be more; 0: nothing left, or broken. */
static int read_batch(atl_netwatch *self, int *changed) {
    uint8_t buffer[BUFFER];
    struct sockaddr_nl from;
    struct iovec iov = {buffer, sizeof(buffer)};
    struct msghdr msg;
    ssize_t n;

    memset(&msg, 0, sizeof(msg));
    memset(&from, 0, sizeof(from));
    msg.msg_name = &from;
    msg.msg_namelen = (socklen_t)sizeof(from);
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    n = recvmsg(self->fd, &msg, 0);
    if (n < 0) {
        if (errno == ENOBUFS) { /* messages were lost */
            *changed = 1;
            return 1;
        }
        return errno == EINTR;
    }
    /* another process can write to the socket: only the kernel's word counts */
    if (msg.msg_namelen != sizeof(from) || from.nl_family != AF_NETLINK || from.nl_pid != 0) {
        return 1;
    }
    if ((msg.msg_flags & MSG_TRUNC) != 0 || atl_netwatch_tells(buffer, (size_t)n)) {
        *changed = 1;
    }
    return 1;
}

static void on_ready(void *user, int32_t fd, uint32_t events) {
    atl_netwatch *self = user;
    int changed = 0;
    size_t reads;

    (void)fd;
    (void)events;
    for (reads = 0; reads < READS_MAX && read_batch(self, &changed); reads++) {
    }
    if (changed) {
        self->changed(self->user); /* may free `self` */
    }
}

static int32_t open_socket(void) {
    struct sockaddr_nl addr;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0) {
        return -1;
    }
    memset(&addr, 0, sizeof(addr));
    addr.nl_family = AF_NETLINK;
    addr.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                     RTMGRP_IPV6_ROUTE;
    if (bind(fd, (const struct sockaddr *)(const void *)&addr, (socklen_t)sizeof(addr)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int32_t open_watch(atl_os *os, void (*changed)(void *user), void *user) {
    atl_netwatch *self = atl_calloc(os->env, 1, sizeof(*self));
    int32_t rc;

    if (self == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    self->os = os;
    self->changed = changed;
    self->user = user;
    self->fd = open_socket();
    rc = self->fd < 0 ? ATLAS_ERR_UNSUPPORTED
                      : atl_watch_add(os, self->fd, ATLAS_FD_READ, on_ready, self, &self->watch);
    if (rc != ATLAS_OK) {
        if (self->fd >= 0) {
            (void)close(self->fd);
        }
        atl_free(os->env, self);
        return rc;
    }
    os->netwatch = self;
    return ATLAS_OK;
}

void atl_netwatch_free(atl_os *os) {
    atl_netwatch *self = os->netwatch;

    if (self == NULL) {
        return;
    }
    os->netwatch = NULL;
    atl_watch_remove(self->watch);
    (void)close(self->fd);
    atl_free(os->env, self);
}

int32_t atl_netwatch_set(void *impl, void (*changed)(void *user), void *user) {
    atl_os *os = impl;

    if (changed == NULL) {
        atl_netwatch_free(os);
        return ATLAS_OK;
    }
    if (os->netwatch != NULL) {
        os->netwatch->changed = changed;
        os->netwatch->user = user;
        return ATLAS_OK;
    }
    return open_watch(os, changed, user);
}
