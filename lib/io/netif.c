#include "io/netif.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include "io/sockaddr.h"

/* Global addresses come first, link-local ones next, loopback last. */
static int rank(const atl_addr *addr) {
    if (atl_addr_is_loopback(addr)) {
        return 2;
    }
    return atl_addr_is_link_local(addr) ? 1 : 0;
}

static int known(const atl_addr *addrs, size_t n, const atl_addr *addr) {
    for (size_t i = 0; i < n; i++) {
        if (atl_addr_equal(&addrs[i], addr)) {
            return 1;
        }
    }
    return 0;
}

size_t atl_netif_addrs(void *impl, atl_addr *out, size_t cap) {
    struct ifaddrs *list = NULL;
    size_t n = 0;

    (void)impl;
    if (getifaddrs(&list) != 0) {
        return 0;
    }
    for (int want = 0; want < 3; want++) {
        for (const struct ifaddrs *ifa = list; ifa != NULL && n < cap; ifa = ifa->ifa_next) {
            atl_addr addr;

            if (ifa->ifa_addr == NULL || (ifa->ifa_flags & IFF_UP) == 0) {
                continue;
            }
            atl_from_sockaddr(ifa->ifa_addr, &addr);
            if (addr.family != 0 && rank(&addr) == want && !known(out, n, &addr)) {
                out[n++] = addr;
            }
        }
    }
    freeifaddrs(list);
    return n;
}

int32_t atl_netif_source(void *impl, const atl_addr *remote, atl_addr *out) {
    atl_sockaddr sa;
    atl_addr found;
    socklen_t len = atl_to_sockaddr(remote, &sa);
    int32_t rc = ATLAS_ERR_UNREACHABLE;
    int fd;

    (void)impl;
    if (remote->family != 4 && remote->family != 6) {
        return ATLAS_ERR_INVALID;
    }
    fd = socket(sa.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ATLAS_ERR_UNREACHABLE;
    }
    if (connect(fd, &sa.any, len) != 0) {
        goto done;
    }
    len = (socklen_t)sizeof(sa);
    if (getsockname(fd, &sa.any, &len) != 0) {
        goto done;
    }
    atl_from_sockaddr(&sa.any, &found);
    if (found.family == 0 || atl_addr_is_unspecified(&found)) {
        goto done;
    }
    found.port = 0;
    *out = found;
    rc = ATLAS_OK;
done:
    (void)close(fd);
    return rc;
}
