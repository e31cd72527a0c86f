#include "memory_io.h"

#include "bench.h"

#include <string.h>

#define SLOTS 256
#define PORT 4000

typedef struct slot {
    size_t len;
    uint8_t data[ATL_DATAGRAM_MAX];
} slot;

typedef struct side {
    struct side *other;
    atl_addr addr;
    atl_udp_ready ready;
    void *user;
    size_t read; /* slots handed out; given back by the next read */
    size_t head;
    size_t tail;
    slot slots[SLOTS];
} side;

static side sides[2];

static int32_t udp_open(void *impl, const atl_addr *bind, uint32_t flags, atl_udp_ready ready,
                        void *user, atl_udp **out) {
    side *s = impl;

    (void)flags;
    if (bind->family != 4) {
        return ATLAS_ERR_FAMILY;
    }
    s->ready = ready;
    s->user = user;
    *out = (atl_udp *)(void *)s;
    return ATLAS_OK;
}

static void udp_close(void *impl, atl_udp *udp) {
    (void)udp;
    ((side *)impl)->ready = NULL;
}

static void udp_local(void *impl, const atl_udp *udp, atl_addr *out) {
    (void)udp;
    *out = ((side *)impl)->addr;
}

static int32_t udp_recv(void *impl, atl_udp *udp, atl_rx *out, size_t cap, size_t *n) {
    side *s = impl;
    size_t count = 0;

    (void)udp;
    s->head += s->read;
    while (count < cap && s->head + count < s->tail) {
        slot *from = &s->slots[(s->head + count) % SLOTS];
        atl_rx *rx = &out[count++];

        memset(rx, 0, sizeof(*rx));
        rx->data = from->data;
        rx->len = from->len;
        rx->segment = from->len;
        rx->remote = s->other->addr;
        rx->local = s->addr;
    }
    s->read = count;
    *n = count;
    return ATLAS_OK;
}

static int32_t udp_send(void *impl, atl_udp *udp, const atl_tx *tx, size_t n, size_t *sent) {
    side *to = ((side *)impl)->other;

    (void)udp;
    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; at < tx[i].len; at += tx[i].segment) {
            slot *into = &to->slots[to->tail % SLOTS];

            if (to->tail - to->head == SLOTS) {
                break; /* lost, as by any full buffer */
            }
            into->len = tx[i].len - at < tx[i].segment ? tx[i].len - at : tx[i].segment;
            memcpy(into->data, tx[i].data + at, into->len);
            to->tail++;
        }
    }
    *sent = n;
    return ATLAS_OK;
}

static size_t udp_segments(void *impl, const atl_udp *udp) {
    (void)impl;
    (void)udp;
    return ATL_TRAIN_SEGMENTS;
}

static int32_t resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                       atl_resolve_cb cb, void *user, atl_resolve **out) {
    (void)impl;
    (void)host;
    (void)port;
    (void)family;
    (void)cb;
    (void)user;
    (void)out;
    return ATLAS_ERR_RESOLVE;
}

static int32_t resolve_srv(void *impl, const char *service, const char *domain, atl_resolve_cb cb,
                           void *user, atl_resolve **out) {
    return resolve(impl, service, 0, domain == NULL, cb, user, out);
}

static void resolve_cancel(void *impl, atl_resolve *look_up) {
    (void)impl;
    (void)look_up;
}

static size_t local_addrs(void *impl, atl_addr *out, size_t cap) {
    if (cap > 0) {
        out[0] = ((side *)impl)->addr;
        out[0].port = 0;
    }
    return cap > 0;
}

static int32_t local_for(void *impl, const atl_addr *remote, atl_addr *out) {
    (void)remote;
    return local_addrs(impl, out, 1) == 1 ? ATLAS_OK : ATLAS_ERR_UNREACHABLE;
}

static int32_t io_open(void *user, atl_loop *loop, atl_io *io) {
    static const atl_io IO = {.udp_open = udp_open,
                              .udp_close = udp_close,
                              .udp_local = udp_local,
                              .udp_recv = udp_recv,
                              .udp_send = udp_send,
                              .udp_segments = udp_segments,
                              .resolve = resolve,
                              .resolve_srv = resolve_srv,
                              .resolve_cancel = resolve_cancel,
                              .local_addrs = local_addrs,
                              .local_for = local_for};

    (void)loop;
    *io = IO;
    io->impl = user;
    return ATLAS_OK;
}

static void io_close(void *user, atl_io *io) {
    (void)user;
    (void)io;
}

static int32_t io_process(void *user, atl_io *io, size_t budget) {
    side *s = user;

    (void)io;
    (void)budget;
    if (s->ready != NULL && s->head + s->read < s->tail) {
        s->ready(s->user, (atl_udp *)(void *)s, ATLAS_FD_READ);
    }
    return s->head + s->read < s->tail;
}

void memory_pair(atlas_ctx *out[2]) {
    for (size_t i = 0; i < 2; i++) {
        const uint8_t ip[4] = {10, 0, 0, (uint8_t)(i + 1)};
        atl_io_factory factory = {&sides[i], io_open, io_close, io_process};

        sides[i].other = &sides[1 - i];
        atl_addr_set4(&sides[i].addr, ip, PORT);
        bench_check(atl_ctx_new_with_io(NULL, NULL, &factory, &out[i]), "context in memory");
        bench_check(atlas_set_u64(out[i], ATLAS_OPT_IPV6, 0), "ipv6");
        bench_check(atlas_set_u64(out[i], ATLAS_OPT_HANDSHAKE_LIMIT, 1000000), "handshake limit");
    }
}
