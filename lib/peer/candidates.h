/* The addresses at which this node may be reached directly: host addresses, and server-reflexive
 * ones from every configured STUN server and relay, asked from the socket that carries QUIC. One
 * list a context; gathered again when the network changes. */
#ifndef ATL_PEER_CANDIDATES_H
#define ATL_PEER_CANDIDATES_H

#include "address/addr.h"
#include "base/loop.h"
#include "io/io.h"

#include <atlas/types.h>

#define ATL_CANDIDATES_MAX 16 /* of one node; ranked, so that worse ones never crowd out better */

typedef struct atl_candidate {
    uint8_t kind;      /* ATLAS_CANDIDATE_* */
    uint32_t priority; /* higher is better; RFC 8445 section 5.1.2, local preference by rank */
    atl_addr addr;     /* where the peer is to send to */
    atl_addr base;     /* the host address behind it, family 0: unknown; never sent to the peer */
} atl_candidate;

typedef struct atl_candidates atl_candidates;

typedef struct atl_candidates_config {
    atl_loop *loop;
    const atl_io *io;
    void *user;
    /* The bound address of a family (atl_endpoint_local). */
    int32_t (*local)(void *user, uint8_t family, atl_addr *out);
    /* Asks a STUN server from the node's socket: `done` once, in the drive call. The handle is for
     * stun_cancel. */
    int32_t (*stun_ask)(void *user, const atl_addr *server, uint64_t deadline,
                        void (*done)(void *user, int32_t code, const atl_addr *reflexive,
                                     const atl_addr *local, uint64_t rtt),
                        void *done_user, void **out);
    void (*stun_cancel)(void *user, void *handle);
    /* The list has changed (a new generation): work task, never from inside a call. */
    void (*on_change)(void *user);
} atl_candidates_config;

int32_t atl_candidates_new(const atl_candidates_config *config, atl_candidates **out);
void atl_candidates_free(atl_candidates *candidates); /* NULL is allowed */

/* STUN servers by text (the forms of atlas_stun_add_server(); resolved here) and by address (a
 * relay's, as it becomes known). Adding one again does nothing. At most 64 and 64. */
int32_t atl_candidates_add_server(atl_candidates *candidates, const char *server);
int32_t atl_candidates_add_relay(atl_candidates *candidates, const atl_addr *addr);
/* Starts gathering; later calls gather again only what is not younger than `max_age` nanoseconds.
 * A server that does not answer is asked again by itself, after 5 s, then with pauses doubled up to
 * 5 min; one that has answered is not. An address stays through two refreshes without answer. */
void atl_candidates_gather(atl_candidates *candidates, uint64_t max_age);
/* Host addresses are read again and servers asked again, at once; without effect before the first
 * gathering. Reflexive addresses of host addresses (or ports) that are gone are dropped, the others
 * when their refresh fails or differs. */
void atl_candidates_changed(atl_candidates *candidates);
/* Idle mode: nobody is asked until it ends, and then everybody, by atl_candidates_changed(). */
void atl_candidates_set_idle(atl_candidates *candidates, int idle);
/* A relay has told how it sees the control connection from `local`. */
void atl_candidates_observed(atl_candidates *candidates, const atl_addr *server,
                             const atl_addr *reflexive, const atl_addr *local);
/* The list, best first, at most ATL_CANDIDATES_MAX; *generation grows with every change. */
size_t atl_candidates_get(const atl_candidates *candidates, const atl_candidate **out,
                          uint64_t *generation);
/* 1 while servers have not answered or failed yet. */
int atl_candidates_gathering(const atl_candidates *candidates);
/* What is known of this side's mapping, by comparing servers of different IP addresses:
 * ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT (no translation counts as that),
 * ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT (or worse), or ATLAS_NAT_MAPPING_UNKNOWN with fewer than two
 * answers in a family, or when those that differ are more than 5 min apart. */
uint32_t atl_candidates_mapping(const atl_candidates *candidates, uint8_t family);

/* The rank of a host address: 0 global, 1 private, 2 of a bridge or tunnel as far as its address
 * tells, 3 link-local, 4 loopback. */
uint32_t atl_candidate_rank(const atl_addr *addr);

#endif
