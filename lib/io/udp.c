#include "io/udp.h"

#include <errno.h>
#include <netinet/ip.h>
#include <unistd.h>

#include "io/udp_impl.h"

#define SOCKET_BUFFER (4 * 1024 * 1024)

static int32_t error_of(int err) {
    switch (err) {
    case EADDRINUSE:
        return ATLAS_ERR_ADDR_IN_USE;
    case EACCES:
    case EPERM:
        return ATLAS_ERR_PERMISSION;
    case EAFNOSUPPORT:
    case EPFNOSUPPORT:
    case EPROTONOSUPPORT:
        return ATLAS_ERR_FAMILY;
    case ENOMEM:
    case ENOBUFS:
        return ATLAS_ERR_NOMEM;
    default:
        return ATLAS_ERR_IO;
    }
}

static int set_int(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, (socklen_t)sizeof(value));
}

/* What a socket must have; a kernel without one of these is older than anything we run on. */
static int set_required(int fd, uint8_t family) {
    if (family == 4) {
        return set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) == 0 &&
               set_int(fd, IPPROTO_IP, IP_RECVERR, 1) == 0;
    }
    return set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0 &&
           set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0 &&
           set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1) == 0;
}

/* What helps but is not needed. */
static void set_optional(atl_udp *udp, int fd, uint32_t flags) {
    (void)set_int(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
    (void)set_int(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
    if (udp->local.family == 4) {
        (void)set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
        (void)set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    } else {
        (void)set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
        (void)set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    }
    if ((flags & ATL_UDP_PLAIN) == 0) {
        /* a size of 0 changes nothing and tells whether the kernel knows the option */
        udp->gso = set_int(fd, SOL_UDP, UDP_SEGMENT, 0) == 0;
        udp->gro = set_int(fd, SOL_UDP, UDP_GRO, 1) == 0;
    }
}

static void on_ready(void *user, int32_t fd, uint32_t events) {
    atl_udp *udp = user;
    uint32_t tell = events & (ATLAS_FD_READ | ATLAS_FD_WRITE);

    (void)fd;
    if ((events & ATLAS_FD_ERROR) != 0) {
        udp->errors = 1;
        tell |= ATLAS_FD_READ;
    }
    if ((tell & ATLAS_FD_READ) != 0) {
        udp->untouched = 1;
    }
    if ((tell & ATLAS_FD_WRITE) != 0) {
        atl_watch_set(udp->watch, ATLAS_FD_READ);
    }
    udp->ready(udp->user, udp, tell); /* may close `udp` */
}

static int32_t open_socket(atl_udp *udp, const atl_addr *bind_addr, uint32_t flags) {
    atl_sockaddr sa;
    socklen_t len = atl_to_sockaddr(bind_addr, &sa);

    udp->fd = socket(sa.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (udp->fd < 0) {
        return error_of(errno);
    }
    if (!set_required(udp->fd, bind_addr->family)) {
        return ATLAS_ERR_IO;
    }
    udp->local.family = bind_addr->family;
    set_optional(udp, udp->fd, flags);
    if (bind(udp->fd, &sa.any, len) != 0) {
        return error_of(errno);
    }
    len = (socklen_t)sizeof(sa);
    if (getsockname(udp->fd, &sa.any, &len) != 0) {
        return ATLAS_ERR_IO;
    }
    atl_from_sockaddr(&sa.any, &udp->local);
    udp->wildcard = (uint8_t)(atl_addr_is_unspecified(&udp->local) != 0);
    return ATLAS_OK;
}

int32_t atl_udp_open(void *impl, const atl_addr *bind_addr, uint32_t flags, atl_udp_ready ready,
                     void *user, atl_udp **out) {
    atl_os *os = impl;
    atl_udp *udp;
    int32_t rc;

    if (ready == NULL || (bind_addr->family != 4 && bind_addr->family != 6)) {
        return ATLAS_ERR_INVALID;
    }
    udp = atl_calloc(os->env, 1, sizeof(*udp));
    if (udp == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    udp->os = os;
    udp->fd = -1;
    udp->ready = ready;
    udp->user = user;
    atl_list_append(&os->sockets, &udp->node);
    rc = open_socket(udp, bind_addr, flags);
    if (rc == ATLAS_OK) {
        rc = atl_watch_add(os, udp->fd, ATLAS_FD_READ, on_ready, udp, &udp->watch);
    }
    if (rc != ATLAS_OK) {
        atl_udp_close(os, udp);
        return rc;
    }
    *out = udp;
    return ATLAS_OK;
}

void atl_udp_close(void *impl, atl_udp *udp) {
    atl_os *os = impl;

    if (udp == NULL) {
        return;
    }
    if (udp->watch != NULL) {
        atl_watch_remove(udp->watch);
    }
    if (udp->fd >= 0) {
        (void)close(udp->fd);
    }
    atl_list_remove(&udp->node);
    atl_udp_arena_free(udp);
    atl_free(os->env, udp);
}

void atl_udp_local(void *impl, const atl_udp *udp, atl_addr *out) {
    (void)impl;
    *out = udp->local;
}

size_t atl_udp_segments(void *impl, const atl_udp *udp) {
    (void)impl;
    return udp->gso ? ATL_TRAIN_SEGMENTS : 1;
}

atl_udp *atl_udp_of_node(atl_list *node) {
    return ATL_CONTAINER(node, atl_udp, node);
}

int32_t atl_udp_fd(const atl_udp *udp) {
    return udp->fd;
}
