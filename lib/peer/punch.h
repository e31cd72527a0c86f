/* Hole punching: connectivity checks between the candidates of two nodes that have a connection
 * already (RFC 8445 in spirit, not on the wire).
 *
 * A check is a STUN Binding request with USERNAME and MESSAGE-INTEGRITY-SHA256 keyed from the
 * connection's TLS exporter, so that nobody else can make or answer one. Both sides check at the
 * same time, which opens their NATs. A pair is proven when a request of ours was answered with the
 * right key from the address it went to: it has carried data both ways. */
#ifndef ATL_PEER_PUNCH_H
#define ATL_PEER_PUNCH_H

#include "base/hashmap.h"
#include "peer/candidates.h"

#define ATL_PUNCH_PAIRS 48              /* checked in one attempt, best first */
#define ATL_PUNCH_PER_ADDRESS 8         /* requests to one address and port in one attempt */
#define ATL_PUNCH_PER_IP 24             /* requests to one IP address in one attempt */
#define ATL_PUNCH_PACE (5 * ATL_MS)     /* between two requests of one connection */
#define ATL_PUNCH_TIME (3 * ATL_SECOND) /* an attempt ends by then */
#define ATL_PUNCH_GRACE (500 * ATL_MS)  /* one without pairs waits so long for the peer's checks */
#define ATL_PUNCH_PROVEN 8              /* pairs remembered beyond their attempt */
#define ATL_PUNCH_LABEL "EXPERIMENTAL-atlas-punch"
#define ATL_PUNCH_SECRET 64 /* exporter bytes: two tokens of 16, a key of 32 */

typedef struct atl_punch_table atl_punch_table; /* all connections of a context */
typedef struct atl_punch atl_punch;             /* one connection's */

typedef struct atl_punch_pair {
    uint8_t kind;    /* ATLAS_CANDIDATE_* of the remote address */
    atl_addr local;  /* the address of this host, family 0: any */
    atl_addr remote; /* where the checks went and the answer came from */
    atl_addr mapped; /* how the peer saw us: a peer-reflexive candidate of ours */
    uint64_t rtt;    /* nanoseconds */
    uint64_t proven; /* when */
} atl_punch_pair;

typedef struct atl_punch_report {
    int32_t code;        /* ATLAS_OK: a pair is proven; ATLAS_ERR_TIMEOUT: no answer to any request;
                            ATLAS_ERR_NO_ADDRESS: nothing to check; ATLAS_ERR_LIMIT: the budget was
                            used up without an answer */
    uint32_t pairs;      /* tried */
    uint32_t proven;     /* of those */
    uint32_t requests;   /* sent */
    uint32_t heard;      /* authentic requests of the peer */
    uint32_t answers;    /* authentic answers to ours */
    uint64_t bytes;      /* of requests and answers sent */
    uint64_t duration;   /* nanoseconds */
    atl_punch_pair best; /* when code is ATLAS_OK */
    char text[160];      /* a sentence: why it ended so */
} atl_punch_report;

typedef struct atl_punch_ops {
    /* A pair is proven, for the first time in this attempt. Both may call everything here, also
     * free the punch. */
    void (*on_pair)(void *user, const atl_punch_pair *pair);
    /* The attempt has ended: every pair is proven or has failed. Not after atl_punch_stop(). */
    void (*on_ended)(void *user, const atl_punch_report *report);
} atl_punch_ops;

typedef struct atl_punch_config {
    atl_loop *loop;
    /* Sends one datagram from the socket of remote's family (atl_endpoint_send_raw). */
    int32_t (*send)(void *user, const atl_addr *local, const atl_addr *remote, const uint8_t *data,
                    size_t len);
    void *user;
} atl_punch_config;

int32_t atl_punch_table_new(const atl_punch_config *config, atl_punch_table **out);
void atl_punch_table_free(atl_punch_table *table); /* NULL is allowed; no punch may be left */
/* A STUN datagram or an ICMP error (which is ignored: the other NAT may not be open yet). 1 when it
 * was a check of ours or an answer to one; an invalid one is dropped without answer. */
int atl_punch_on_stun(atl_punch_table *table, const atl_rx *rx);

/* `secret`: ATL_PUNCH_SECRET bytes of the exporter: the client's token, the server's, the key. From
 * now on the peer's checks are answered: never with more bytes than they have, each once, at most
 * ATL_PUNCH_ANSWERS a second. One for the whole life of a connection: its requests are numbered,
 * and the peer answers no number twice. ATLAS_ERR_EXISTS: there is one of this secret. */
#define ATL_PUNCH_ANSWERS 200
int32_t atl_punch_new(atl_punch_table *table, const uint8_t secret[ATL_PUNCH_SECRET], int is_client,
                      const atl_punch_ops *ops, void *user, atl_punch **out);
void atl_punch_free(atl_punch *punch); /* NULL is allowed */

/* Begins an attempt over the pairs of these candidates (same family; loopback only with loopback;
 * link-local only with link-local): the best of each kind first, then the second of each. Where
 * this host has several addresses of a family (in different networks), each of them, at most
 * three, is tried with each remote address; else the system chooses. An attempt under way goes on
 * with the new candidates added, its budgets and its end kept. `budget`: bytes of requests that may
 * be sent in all; `rtt`: of the present path, nanoseconds, sets the pace of retransmissions.
 * Addresses that the peer's checks come from become peer-reflexive candidates and are checked at
 * once. ATLAS_ERR_NOMEM; everything else is told by on_ended, later. */
int32_t atl_punch_start(atl_punch *punch, const atl_candidate *local, size_t n_local,
                        const atl_candidate *remote, size_t n_remote, uint64_t budget,
                        uint64_t rtt);
void atl_punch_stop(atl_punch *punch);
int atl_punch_running(const atl_punch *punch);
/* What is proven, best first (kind, then RTT), not older than `max_age` nanoseconds. */
size_t atl_punch_proven(const atl_punch *punch, uint64_t max_age, atl_punch_pair *out, size_t cap);

#endif
