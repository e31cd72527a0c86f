/* The pairs of one attempt at hole punching: which there are, which is next, and how much may go
 * where. Knows neither keys nor sockets. */
#ifndef ATL_PEER_PUNCH_PAIRS_H
#define ATL_PEER_PUNCH_PAIRS_H

#include "peer/punch.h"

#define ATL_PUNCH_ADDRESSES 64 /* remote addresses that one attempt may ask in all */
#define ATL_PUNCH_REFLEXIVE 8  /* peer-reflexive addresses that one attempt learns */
#define ATL_PUNCH_LOCALS 3     /* addresses of this host tried with one remote address */
#define ATL_PUNCH_TRIGGERS 3   /* requests of the peer that bring one of ours forward, a pair */
#define ATL_PUNCH_RTO_MIN (50 * ATL_MS)
#define ATL_PUNCH_RTO_MAX ATL_SECOND

/* States of a pair. */
#define ATL_CHECK_ACTIVE 0  /* asks at `due` */
#define ATL_CHECK_WAITING 1 /* has asked all it may: failed at `due` */
#define ATL_CHECK_FAILED 2
#define ATL_CHECK_PROVEN 3

typedef struct atl_check {
    atl_punch_pair pair;
    uint32_t priority;
    uint32_t order;  /* lower is asked first */
    uint32_t born;   /* requests from this number on are its own */
    uint8_t variant; /* the how manieth address of this host for this remote address */
    uint8_t limit;   /* requests it may make unless the peer is heard on it */
    uint8_t state;   /* ATL_CHECK_* */
    uint8_t requests;
    uint8_t triggers; /* requests brought forward */
    uint8_t urgent;   /* the peer was heard on it: before all others */
    uint64_t due;
    uint64_t interval; /* after the next request */
} atl_check;

typedef struct atl_checks {
    uint64_t rto;         /* first interval of a pair */
    size_t n;             /* pairs */
    size_t n_asked;       /* addresses */
    uint32_t reflexive;   /* addresses learned */
    uint32_t number;      /* of the next request */
    uint8_t several[2];   /* IPv4, IPv6: this host has several addresses, pairs name theirs */
    uint8_t named_none;   /* the peer has named no address ... */
    uint8_t named_family; /* ... 0: or none of a family that this host has */
    atl_check list[ATL_PUNCH_PAIRS];
    struct {
        atl_addr addr;
        uint32_t requests;
    } asked[ATL_PUNCH_ADDRESSES];
} atl_checks;

/* `checks` is zeroed; `number`: of the first request. */
void atl_checks_init(atl_checks *checks, uint64_t rtt, uint32_t number);
/* Adds the pairs of these candidates that are not there yet. */
void atl_checks_add(atl_checks *checks, const atl_candidate *local, size_t n_local,
                    const atl_candidate *remote, size_t n_remote, uint64_t now);
/* The peer was heard from `remote` at `local`: the pair asks at once, if it may; a new one is made
 * where there is none. */
void atl_checks_heard(atl_checks *checks, const atl_addr *local, const atl_addr *remote,
                      uint32_t priority, uint64_t now);
/* The pair that is to ask now, or NULL. Those that may ask no more begin to wait. */
atl_check *atl_checks_next(atl_checks *checks, uint64_t now);
/* A request was made: counts it, and sets when the next is due. */
void atl_checks_asked(atl_checks *checks, atl_check *check, uint64_t now);
/* Ends those that have waited long enough. Returns how many are still open; *due: when the next of
 * them has something to do, those that ask not before `pace`. */
size_t atl_checks_settle(atl_checks *checks, uint64_t now, uint64_t pace, uint64_t *due);
size_t atl_checks_proven(const atl_checks *checks);

/* Whether anything may ever be sent there: a unicast address with a port. */
int atl_punch_sendable(const atl_addr *remote);
/* The same, and of the kind of `local`: nothing goes from an outer address to loopback or to
 * link-local ones, nor back. */
int atl_punch_reachable(const atl_addr *local, const atl_addr *remote);
int atl_punch_same_ip(const atl_addr *a, const atl_addr *b);
/* Best first: by kind, then by round-trip time. Negative when a is better. */
int atl_punch_compare(const atl_punch_pair *a, const atl_punch_pair *b);

#endif
