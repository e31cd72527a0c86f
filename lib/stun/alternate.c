#include "stun/alternate.h"

#include <string.h>

#define LOCAL_ADDRS_MAX 64
#define RX_BATCH 16
#define RX_ROUNDS 4

typedef struct extra {
    atl_stun_alternate *owner;
    atl_udp *udp; /* NULL: not open */
    atl_addr bound;
} extra;

struct atl_stun_alternate {
    atl_stun_alternate_config config;
    extra extras[ATL_STUN_ALTERNATE_SOCKETS];
};

/* Each datagram of a train is one message. */
static void receive_train(atl_stun_alternate *a, const atl_rx *train) {
    size_t at;
    size_t step = train->segment > 0 ? train->segment : train->len;

    for (at = 0; at < train->len; at += step) {
        atl_rx one = *train;

        one.data = train->data + at;
        one.len = train->len - at < step ? train->len - at : step;
        one.segment = one.len;
        a->config.receive(a->config.user, &one);
    }
}

static void on_ready(void *user, atl_udp *udp, uint32_t events) {
    extra *e = user;
    const atl_io *io = e->owner->config.io;
    atl_rx batch[RX_BATCH];
    size_t round;
    size_t n;
    size_t i;

    for (round = 0; round < RX_ROUNDS && (events & ATLAS_FD_READ) != 0; round++) {
        if (io->udp_recv(io->impl, udp, batch, RX_BATCH, &n) != ATLAS_OK || n == 0) {
            return;
        }
        for (i = 0; i < n; i++) {
            if (batch[i].error == 0) {
                receive_train(e->owner, &batch[i]);
            }
        }
    }
}

static int32_t open_extra(atl_stun_alternate *a, size_t i, const atl_addr *ip, uint16_t port) {
    const atl_io *io = a->config.io;
    extra *e = &a->extras[i];

    e->owner = a;
    e->bound = *ip;
    e->bound.port = port;
    return io->udp_open(io->impl, &e->bound, ATL_UDP_PLAIN, on_ready, e, &e->udp);
}

/* A socket bound to all addresses is bound to one that the host does not have as well, and every
 * answer from there would fail. */
static int32_t check_own(const atl_stun_alternate *a, const atl_addr *ip) {
    const atl_io *io = a->config.io;
    atl_addr trial = *ip;
    atl_udp *udp = NULL;
    int32_t rc;

    trial.port = 0;
    rc = io->udp_open(io->impl, &trial, ATL_UDP_PLAIN, on_ready, NULL, &udp);
    if (rc == ATLAS_OK) {
        io->udp_close(io->impl, udp);
    }
    return rc == ATLAS_ERR_IO ? ATLAS_ERR_NOT_FOUND : rc;
}

int32_t atl_stun_alternate_new(const atl_stun_alternate_config *config, const atl_addr *bound,
                               const atl_stun_pair *pair, atl_stun_alternate **out) {
    atl_stun_alternate *a = atl_calloc(config->loop->env, 1, sizeof(*a));
    int32_t rc;

    if (a == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    a->config = *config;
    rc = check_own(a, &pair->alternate);
    if (rc == ATLAS_OK) {
        rc = open_extra(a, 0, bound, pair->alternate.port);
    }
    if (rc == ATLAS_OK && !atl_addr_is_unspecified(bound)) {
        rc = open_extra(a, 1, &pair->alternate, pair->primary.port);
    }
    if (rc == ATLAS_OK && !atl_addr_is_unspecified(bound)) {
        rc = open_extra(a, 2, &pair->alternate, pair->alternate.port);
    }
    if (rc != ATLAS_OK) {
        atl_stun_alternate_free(a);
        return rc;
    }
    *out = a;
    return ATLAS_OK;
}

void atl_stun_alternate_free(atl_stun_alternate *a) {
    size_t i;

    if (a == NULL) {
        return;
    }
    for (i = 0; i < ATL_COUNT(a->extras); i++) {
        if (a->extras[i].udp != NULL) {
            a->config.io->udp_close(a->config.io->impl, a->extras[i].udp);
        }
    }
    atl_free(a->config.loop->env, a);
}

int atl_stun_alternate_send(atl_stun_alternate *a, const atl_addr *from, const atl_addr *remote,
                            const uint8_t *data, size_t len, int32_t *rv) {
    const atl_io *io = a->config.io;
    size_t i;

    for (i = 0; i < ATL_COUNT(a->extras); i++) {
        const extra *e = &a->extras[i];
        atl_tx tx;
        size_t sent = 0;

        if (e->udp == NULL || e->bound.family != from->family || e->bound.port != from->port ||
            (!atl_addr_is_unspecified(&e->bound) && !atl_addr_equal(&e->bound, from))) {
            continue;
        }
        memset(&tx, 0, sizeof(tx));
        tx.data = data;
        tx.len = len;
        tx.segment = len;
        tx.remote = *remote;
        tx.local = *from;
        *rv = io->udp_send(io->impl, e->udp, &tx, 1, &sent);
        return 1;
    }
    return 0;
}

/* Whether two addresses can be two of one server: a peer that reaches one reaches the other. */
static int alike(const atl_addr *a, const atl_addr *b) {
    return atl_addr_is_loopback(a) == atl_addr_is_loopback(b) &&
           atl_addr_is_private(a) == atl_addr_is_private(b);
}

int32_t atl_stun_alternate_primary(const atl_io *io, const atl_addr *alternate, atl_addr *out) {
    atl_addr addrs[LOCAL_ADDRS_MAX];
    const atl_addr *best = NULL;
    size_t n = io->local_addrs(io->impl, addrs, LOCAL_ADDRS_MAX);
    size_t i;

    for (i = 0; i < n && i < LOCAL_ADDRS_MAX; i++) {
        const atl_addr *addr = &addrs[i];

        if (addr->family == alternate->family && !atl_addr_is_link_local(addr) &&
            memcmp(addr->ip, alternate->ip, sizeof(addr->ip)) != 0 &&
            (best == NULL || (alike(addr, alternate) && !alike(best, alternate)))) {
            best = addr;
        }
    }
    if (best == NULL) {
        return ATLAS_ERR_NOT_FOUND;
    }
    *out = *best;
    return ATLAS_OK;
}
