/* Shared by the files of io/ only: the insides of atl_os and of a watch. */
#ifndef ATL_IO_OS_IMPL_H
#define ATL_IO_OS_IMPL_H

#include <poll.h>

#include "base/idmap.h"
#include "io/os.h"

typedef struct atl_netwatch atl_netwatch;
typedef struct atl_resolver atl_resolver;

struct atl_watch {
    atl_list node;       /* in atl_os.watches */
    atl_list ready_node; /* in atl_os.ready while `pending` waits for its turn */
    atl_os *os;
    atl_watch_fn fn;
    void *user;
    void *slot; /* the application's, see the interest hook */
    int32_t fd;
    uint32_t wanted;
    uint32_t pending;
};

struct atl_os {
    atl_loop *loop;
    atl_env *env;
    atl_idmap by_fd;
    atl_list watches;
    atl_list ready;
    size_t count;
    struct pollfd *polls;
    size_t polls_cap;
    size_t poll_start;      /* where the next report begins, so that a small `cap` starves nobody */
    atl_list sockets;       /* atl_udp */
    atl_resolver *resolver; /* NULL until the first look-up */
    atl_netwatch *netwatch; /* NULL: nobody watches */
    atl_watch *wake;
    int32_t wake_fd;
    int32_t woken;
};

/* The watch of a descriptor, or NULL. */
atl_watch *atl_watch_find(const atl_os *os, int32_t fd);

#endif
