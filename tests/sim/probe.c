#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int32_t rv) {
    if (rv != ATLAS_OK) {
        fprintf(stderr, "probe: %d\n", (int)rv);
        abort();
    }
}

static void ready(void *user, atl_udp *udp, uint32_t events) {
    probe *p = user;
    atl_rx rx[16];
    size_t n;
    size_t i;

    (void)events;
    must(p->io.udp_recv(p->io.impl, udp, rx, ATL_COUNT(rx), &n));
    for (i = 0; i < n; i++) {
        size_t at = p->got++ % PROBE_SEEN;

        p->from[at] = rx[i].remote;
        p->to[at] = rx[i].local;
        p->at[at] = sim_host_now(p->host);
        p->first[at] = rx[i].data[0];
        if (p->echo) {
            atl_tx tx = {rx[i].data, rx[i].len, rx[i].len, rx[i].remote, rx[i].local, 0};
            size_t sent;

            must(p->io.udp_send(p->io.impl, udp, &tx, 1, &sent));
        }
    }
}

static void changed(void *user) {
    ((probe *)user)->changes++;
}

static void drive(void *user) {
    sim_host_process(((probe *)user)->host);
}

static uint64_t deadline(void *user) {
    (void)user;
    return ATLAS_NO_DEADLINE;
}

void probe_init(probe *p, sim_host *host, uint8_t family, uint16_t port) {
    atl_addr bind;
    int i;

    memset(p, 0, sizeof(*p));
    memset(&bind, 0, sizeof(bind));
    p->host = host;
    sim_host_io(host, &p->io);
    bind.family = family;
    for (i = 0; i < PROBE_SOCKETS; i++) {
        bind.port = (uint16_t)(port + i);
        must(p->io.udp_open(p->io.impl, &bind, 0, ready, p, &p->udp[i]));
    }
    must(p->io.watch(p->io.impl, changed, p));
    sim_host_program(host, drive, deadline, p);
}

void probe_done(probe *p) {
    int i;

    for (i = 0; i < PROBE_SOCKETS; i++) {
        p->io.udp_close(p->io.impl, p->udp[i]);
    }
    sim_host_program(p->host, NULL, NULL, NULL);
}

void probe_send_to(probe *p, int socket, const atl_addr *to, uint8_t byte, size_t len) {
    uint8_t data[2000];
    atl_tx tx;
    size_t sent;

    memset(data, byte, sizeof(data));
    memset(&tx, 0, sizeof(tx));
    tx.data = data;
    tx.len = len;
    tx.segment = len;
    tx.remote = *to;
    must(p->io.udp_send(p->io.impl, p->udp[socket], &tx, 1, &sent));
}

void probe_send(probe *p, int socket, const char *ip, uint16_t port, uint8_t byte, size_t len) {
    atl_addr to;

    must(atl_addr_parse_ip(ip, strlen(ip), port, &to));
    probe_send_to(p, socket, &to, byte, len);
}

const atl_addr *probe_from(const probe *p) {
    return &p->from[(p->got + PROBE_SEEN - 1) % PROBE_SEEN];
}
