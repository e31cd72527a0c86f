/* Shared by candidates.c and candidates_ask.c only: the servers and what is asked of each. */
#ifndef ATL_PEER_CANDIDATES_IMPL_H
#define ATL_PEER_CANDIDATES_IMPL_H

#include "peer/candidate_list.h"
#include "stun/target.h"

#define ATL_CANDIDATES_SOURCES 64 /* of each kind */
#define ATL_CANDIDATES_LOCALS 64
#define ATL_CANDIDATES_TRIED 4 /* addresses of one name and family */

typedef struct atl_candidate_source atl_candidate_source;

/* One server over one family. */
typedef struct atl_candidate_query {
    atl_candidate_source *from;
    void *handle; /* of stun_ask; NULL: not asking */
    size_t n_addrs;
    size_t next;                          /* the address to ask */
    atl_addr addrs[ATL_CANDIDATES_TRIED]; /* of the server */
    atl_addr asked;
    uint8_t due;       /* to be asked as soon as there is an address */
    uint8_t pending;   /* has neither answered nor failed since it was wanted */
    uint8_t answered;  /* the members below are known */
    uint8_t stale;     /* the network has changed since */
    uint32_t failures; /* since the last answer */
    uint64_t tried_at; /* of the last answer or failure; 0: none */
    uint64_t answered_at;
    uint64_t retry_at; /* ATLAS_NO_DEADLINE: not waiting */
    atl_addr server;   /* who has answered */
    atl_addr reflexive;
    atl_addr base;
} atl_candidate_query;

struct atl_candidate_source {
    atl_list node;
    atl_candidates *owner;
    char *text; /* NULL: a relay */
    atl_stun_target target;
    atl_resolve *resolve;
    uint8_t resolved; /* addresses are known */
    uint8_t looking_up_srv;
    atl_candidate_query queries[2]; /* IPv4, IPv6 */
};

struct atl_candidates {
    atl_candidates_config config;
    atl_list sources;
    size_t n_servers;
    size_t n_relays;
    atl_timer timer; /* the next retry */
    atl_task told;
    uint8_t started;
    uint8_t idle;
    uint64_t generation;
    uint64_t hosts_at;
    size_t n_locals;
    atl_addr locals[ATL_CANDIDATES_LOCALS]; /* every address of ours, port included */
    atl_candidate_list list;
};

/* candidates.c: after answers and failures. */
void atl_candidates_rebuild(atl_candidates *candidates);
void atl_candidates_arm(atl_candidates *candidates);

/* candidates_ask.c. */
/* The addresses of a server are known. */
void atl_candidate_source_addrs(atl_candidate_source *source, const atl_addr *addrs, size_t n);
/* Does for the queries that are due what can be done without waiting. */
void atl_candidate_source_kick(atl_candidate_source *source);
/* Ends what runs. */
void atl_candidate_source_stop(atl_candidate_source *source);
void atl_candidate_query_want(atl_candidate_query *query);
/* 1 for an address that a server may have seen us at. */
int atl_candidate_plausible(const atl_addr *reflexive);
void atl_candidate_query_answer(atl_candidate_query *query, const atl_addr *server,
                                const atl_addr *reflexive, const atl_addr *local);

#endif
