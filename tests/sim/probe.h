/* A host of the simulated network with sockets worked by hand, for tests of the network itself. */
#ifndef SIM_PROBE_H
#define SIM_PROBE_H

#include "net_router.h"

#define PROBE_SOCKETS 2
#define PROBE_SEEN 64

typedef struct probe {
    sim_host *host;
    atl_io io;
    atl_udp *udp[PROBE_SOCKETS];
    int echo;    /* answers what it gets */
    int changes; /* of its addresses, as it was told */
    size_t got;
    atl_addr from[PROBE_SEEN]; /* of the last ones, by got % PROBE_SEEN */
    atl_addr to[PROBE_SEEN];
    uint64_t at[PROBE_SEEN];
    uint8_t first[PROBE_SEEN]; /* byte */
} probe;

/* Sockets on port `port` and the next ones, of that family. */
void probe_init(probe *p, sim_host *host, uint8_t family, uint16_t port);
void probe_done(probe *p);
void probe_send(probe *p, int socket, const char *ip, uint16_t port, uint8_t byte, size_t len);
void probe_send_to(probe *p, int socket, const atl_addr *to, uint8_t byte, size_t len);
/* Of what came last. */
const atl_addr *probe_from(const probe *p);

#endif
