/* Shared by reach.c, reach_round.c and reach_judge.c only: the rounds, one of each address family,
 * and what they have found. */
#ifndef ATL_DISCOVERY_REACH_IMPL_H
#define ATL_DISCOVERY_REACH_IMPL_H

#include "discovery/reach.h"

#define ATL_REACH_KNOWN 32 /* servers of a family that a round chooses from */
#define ATL_REACH_ASKS 15  /* requests of a round */
#define ATL_REACH_NEEDED 3 /* answers below which others are asked in place of the silent */

/* How long a server that does not answer is waited for: before a yes counts without it and another
 * is asked in its place; and in all. */
#define ATL_REACH_PATIENCE (600 * ATL_MS)
#define ATL_REACH_TIMEOUT (1500 * ATL_MS)
/* This long after the begin of a round one that the application has named is believed alone, if
 * nothing is known yet: those that are silent must not delay the first verdict. */
#define ATL_REACH_ALONE (1500 * ATL_MS)

/* A server that this round may ask. */
typedef struct atl_reach_known {
    atl_reach_server server;
    uint8_t group;    /* the first server with the same IPv4 /24 or IPv6 /48 */
    uint8_t asked;    /* in this part of the round */
    uint8_t mute;     /* it has not answered in the part before: the others come first */
    uint8_t answered; /* in this round, whatever it was */
    uint8_t failed;   /* in this round: it was silent, or could not be asked */
} atl_reach_known;

#define ATL_REACH_ASKED 1   /* no answer yet */
#define ATL_REACH_REPLIED 2 /* the answer is in `reply` */
#define ATL_REACH_USELESS 3 /* `code` says why */

/* What came for one candidate, from where. */
#define ATL_REACH_GOT_PORT 1u    /* the address that was asked, another port */
#define ATL_REACH_GOT_MET 2u     /* another address that this node has written to before */
#define ATL_REACH_GOT_ADDRESS 4u /* another address, never met */

typedef struct atl_reach_round atl_reach_round;

/* One server that was asked. */
typedef struct atl_reach_ask {
    atl_reach_round *round;
    void *request; /* the owner's; NULL: none under way */
    uint8_t known; /* index */
    uint8_t state; /* ATL_REACH_ASKED ... */
    uint8_t spare; /* another of its group was asked in its place: counts no more */
    int32_t code;
    uint64_t at;
    uint64_t decided_at; /* what has not come by then does not come; of REPLIED */
    uint8_t nonce[ATL_DIALBACK_NONCE];
    atl_dialback_reply reply;
    uint8_t got[ATL_REACH_CANDIDATES];      /* bits ATL_REACH_GOT_* */
    atl_addr sources[ATL_REACH_CANDIDATES]; /* of the best that came */
} atl_reach_ask;

struct atl_reach_round {
    atl_reach *reach;
    uint8_t family;

    /* the round under way, or the last one */
    uint8_t on;
    uint8_t part;        /* 1; 2: with addresses that servers have observed in the first part */
    uint8_t settled;     /* a verdict was reached: nobody else is asked */
    uint8_t by_group;    /* one server of a group counts */
    uint32_t was;        /* the verdict when it began */
    uint64_t begun;      /* of the part */
    uint64_t replied_at; /* the first answer of the part; 0: none */
    size_t n_known;
    atl_reach_known known[ATL_REACH_KNOWN];
    size_t n_own; /* candidates that the owner has named */
    size_t n_candidates;
    atl_addr candidates[ATL_REACH_CANDIDATES];
    size_t n_asks;
    atl_reach_ask asks[ATL_REACH_ASKS];

    /* what lasts */
    uint32_t verdict;
    size_t n_kept;
    atl_reach_candidate kept[ATL_REACH_CANDIDATES];
    size_t n_learned; /* addresses observed in the last round, to be tried in the next */
    atl_addr learned[ATL_REACH_CANDIDATES];

    /* when */
    uint8_t again;    /* another round was wanted while this one was under way */
    uint64_t started; /* the last round; 0: none */
    uint64_t interval;
    uint64_t retry; /* the last wait after a round in which nobody answered; 0: none */
    uint64_t doubt; /* the wait after a round in which servers disagreed; 0: they did not */
    atl_timer timer;

    /* events */
    atl_task told;
    uint8_t changed;
};

struct atl_reach {
    atl_reach_config config;
    uint8_t running;
    atl_reach_round rounds[2]; /* IPv4, IPv6 */
};

/* ---- reach.c ---- */

/* Posts on_verdict. */
void atl_reach_tell(atl_reach_round *r, int changed);
/* The round is over: when the next one is. */
void atl_reach_over(atl_reach_round *r, int changed);

/* ---- reach_round.c ---- */

/* Begins a round, if there is anybody to ask: 1. */
int atl_reach_begin(atl_reach_round *r);
/* Goes on with it: time has passed, something has come. */
void atl_reach_step(atl_reach_round *r);
/* Ends it without a result. */
void atl_reach_abort(atl_reach_round *r);
/* 1: a datagram of this round. */
int atl_reach_datagram(atl_reach_round *r, const atl_rx *rx,
                       const uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t index);

/* ---- reach_judge.c ---- */

typedef struct atl_reach_votes {
    uint32_t yes;
    uint32_t strong; /* of these, from an address never met */
    uint32_t no;
    uint32_t named;          /* of yes and no: servers that the application has named */
    uint32_t yes_named;      /* of yes */
    uint32_t filtered;       /* of no: what came from the server's other address has not passed */
    uint32_t filtered_named; /* both */
    uint32_t open;           /* servers that may still say either */
    uint32_t replied; /* of these, those that have answered: their datagrams may still come */
    uint32_t waiting; /* of `open`, those that may be waited for before a yes counts */
} atl_reach_votes;

void atl_reach_count(const atl_reach_round *r, size_t candidate, uint64_t now,
                     atl_reach_votes *out);
/* What one server has found: ATLAS_REACH_*; *open 1 when that may change. */
uint32_t atl_reach_vote(const atl_reach_ask *ask, size_t candidate, uint64_t now, int *open);
/* Judges by what is there; `final`: nothing more comes. Before the end only what cannot turn any
 * more, or is as good as certain, is taken. 1 when the family's verdict has changed. */
int atl_reach_judge(atl_reach_round *r, int final);

#endif
