/* The one interface through which everything above reaches the network. Two implementations: the
 * operating system (io/os.h) and the simulator (tests/sim). */
#ifndef ATL_IO_IO_H
#define ATL_IO_IO_H

#include "address/addr.h"
#include "base/loop.h"

typedef struct atl_udp atl_udp;         /* a UDP socket of the implementation */
typedef struct atl_resolve atl_resolve; /* a name look-up in progress */

/* Most segments of one train and most bytes: what the kernel's UDP_SEGMENT takes. */
#define ATL_TRAIN_SEGMENTS 64
#define ATL_TRAIN_BYTES 65000
/* Longest UDP payload that is read or sent on its own. */
#define ATL_DATAGRAM_MAX 1500

/* What arrived: a train of datagrams of one sender, all `segment` bytes long but the last, which
 * may be shorter. `data` may be written to (the relay rewrites ids in place) and stays valid until
 * the next udp_recv on that socket. */
typedef struct atl_rx {
    uint8_t *data;
    size_t len;
    size_t segment; /* == len for a single datagram */
    atl_addr remote;
    atl_addr local; /* the address it was sent to, port included; family never 0 */
    uint8_t ecn;    /* the two ECN bits */
    int32_t error;  /* 0, or the ICMP error (ATLAS_ERR_REFUSED, ATLAS_ERR_UNREACHABLE,
                       ATLAS_ERR_TOO_LARGE) that a datagram sent to  `remote` has met; then there is
                       no data */
} atl_rx;

/* What is to be sent: one datagram or a train. `data` must stay valid during the call only. */
typedef struct atl_tx {
    const uint8_t *data;
    size_t len;
    size_t segment; /* == len for a single datagram; at most ATL_TRAIN_SEGMENTS segments */
    atl_addr remote;
    atl_addr local; /* source address, or family 0 to let the system choose (port ignored) */
    uint8_t ecn;
} atl_tx;

/* The socket has something to read (ATLAS_FD_READ), or can be written again after ATLAS_ERR_AGAIN
 * (ATLAS_FD_WRITE). Called in the drive call. */
typedef void (*atl_udp_ready)(void *user, atl_udp *udp, uint32_t events);

#define ATL_RESOLVE_MAX 16
/* Look-up result: `n` addresses in order of preference, or a negative `status`. Called once, in the
 * drive call, never from inside resolve(). For SRV the ports are those of the records. */
typedef void (*atl_resolve_cb)(void *user, int32_t status, const atl_addr *addrs, size_t n);

typedef struct atl_io {
    void *impl;

    /* Binds a UDP socket. Flag ATL_UDP_PLAIN: no GSO, no GRO. ATLAS_ERR_ADDR_IN_USE,
     * ATLAS_ERR_PERMISSION, ATLAS_ERR_FAMILY (the system has no such family), ATLAS_ERR_IO,
     * ATLAS_ERR_NOMEM. */
    int32_t (*udp_open)(void *impl, const atl_addr *bind, uint32_t flags, atl_udp_ready ready,
                        void *user, atl_udp **out);
    void (*udp_close)(void *impl, atl_udp *udp);
    /* The bound address and port. */
    void (*udp_local)(void *impl, const atl_udp *udp, atl_addr *out);
    /* Reads up to `cap` trains; *n = 0 when nothing is there. ATLAS_OK or ATLAS_ERR_IO. */
    int32_t (*udp_recv)(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n);
    /* Sends in order; *sent says how many were taken (or dropped for an error that concerns one
     * datagram only, such as no route, which counts as lost on the way). ATLAS_ERR_AGAIN when the
     * socket is full: ready(ATLAS_FD_WRITE) follows. */
    int32_t (*udp_send)(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent);
    /* Most segments a train may have now: 1 without GSO. */
    size_t (*udp_segments)(void *impl, const atl_udp *udp);

    /* Name look-ups without blocking. family 0, 4 or 6. resolve_srv looks up `service`
     * ("_stun._udp") of a domain. */
    int32_t (*resolve)(void *impl, const char *host, uint16_t port, uint8_t family,
                       atl_resolve_cb cb, void *user, atl_resolve **out);
    int32_t (*resolve_srv)(void *impl, const char *service, const char *domain, atl_resolve_cb cb,
                           void *user, atl_resolve **out);
    void (*resolve_cancel)(void *impl, atl_resolve *resolve);

    /* The host's own addresses (port 0), loopback last. Returns how many were stored. */
    size_t (*local_addrs)(void *impl, atl_addr *out, size_t cap);
    /* The source address the system would use towards `remote`. ATLAS_ERR_UNREACHABLE. */
    int32_t (*local_for)(void *impl, const atl_addr *remote, atl_addr *out);
    /* Has `changed` called, in the drive call, whenever the host's addresses or routes may have
     * changed; one watcher, NULL ends it. ATLAS_ERR_UNSUPPORTED where the system does not tell. The
     * function itself may be NULL: the same. */
    int32_t (*watch)(void *impl, void (*changed)(void *user), void *user);
} atl_io;

#define ATL_UDP_PLAIN 1u

#endif
