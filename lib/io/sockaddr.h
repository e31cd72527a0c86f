/* Between atl_addr and the system's sockaddr. */
#ifndef ATL_IO_SOCKADDR_H
#define ATL_IO_SOCKADDR_H

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "address/addr.h"

typedef union atl_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} atl_sockaddr;

static inline socklen_t atl_to_sockaddr(const atl_addr *addr, atl_sockaddr *out) {
    if (addr->family == 4) {
        memset(&out->v4, 0, sizeof(out->v4));
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(addr->port);
        memcpy(&out->v4.sin_addr, addr->ip, 4);
        return (socklen_t)sizeof(out->v4);
    }
    memset(&out->v6, 0, sizeof(out->v6));
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(addr->port);
    memcpy(&out->v6.sin6_addr, addr->ip, 16);
    out->v6.sin6_scope_id = addr->scope;
    return (socklen_t)sizeof(out->v6);
}

/* family 0 for anything but IPv4 and IPv6. */
static inline void atl_from_sockaddr(const struct sockaddr *from, atl_addr *out) {
    memset(out, 0, sizeof(*out));
    if (from->sa_family == AF_INET) {
        struct sockaddr_in v4;

        memcpy(&v4, from, sizeof(v4));
        out->family = 4;
        out->port = ntohs(v4.sin_port);
        memcpy(out->ip, &v4.sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, from, sizeof(v6));
        out->family = 6;
        out->port = ntohs(v6.sin6_port);
        out->scope = IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) ? v6.sin6_scope_id : 0;
        memcpy(out->ip, &v6.sin6_addr, 16);
        atl_addr_canonical(out);
    }
}

#endif
