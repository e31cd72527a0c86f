/* What the parts of a NAT probe share: nat.c (the handle and its events), nat_run.c (the tests of
 * one address family), nat_lifetime.c (how long mappings live), nat_sockets.c (sockets of its own),
 * nat_verdict.c (what it all means). */
#ifndef ATL_STUN_NAT_INTERNAL_H
#define ATL_STUN_NAT_INTERNAL_H

#include "stun/internal.h"
#include "stun/nat.h"
#include "stun/probe.h"

/* ---- sockets ---- */

#define ATL_NAT_SOCKETS 9

struct atl_nat_sockets;

typedef struct atl_nat_socket {
    struct atl_nat_sockets *owner;
    atl_udp *udp; /* NULL: not open */
    uint16_t port;
} atl_nat_socket;

/* Sockets that nobody has heard of yet: only what they ask for opens a filter. */
typedef struct atl_nat_sockets {
    atl_stun_agent *agent;
    atl_stun_client *client; /* over all of them; a transaction's local port says which */
    void *user;
    /* A request that one of the client's transactions has sent came in at this socket: through the
     * NAT and back. */
    void (*looped)(void *user, size_t index);
    atl_nat_socket slots[ATL_NAT_SOCKETS];
} atl_nat_sockets;

void atl_nat_sockets_init(atl_nat_sockets *sockets, atl_stun_agent *agent,
                          void (*looped)(void *user, size_t index), void *user);
/* Opens the socket at that place; its address is like the node's own, its port any. */
int32_t atl_nat_sockets_open(atl_nat_sockets *sockets, size_t index, uint8_t family);
/* Closes all and ends the transactions without callbacks. Not from a callback of theirs. */
void atl_nat_sockets_close(atl_nat_sockets *sockets);
/* Asks from that socket; ask->local is set here. */
int32_t atl_nat_sockets_ask(atl_nat_sockets *sockets, size_t index, atl_stun_ask *ask,
                            atl_stun_done done, void *user, atl_stun_txn **out);

/* ---- what is known ---- */

typedef struct atl_nat_facts {
    uint8_t family;
    int32_t code;
    uint32_t mapping;
    uint32_t filtering;
    uint32_t hairpinning;
    uint32_t preserved;
    uint32_t method;
    uint64_t lifetime;
    uint64_t lifetime_end;
} atl_nat_facts;

#define ATL_NAT_TEXT 512

uint32_t atl_nat_kind(const atl_nat_facts *facts);
/* Bits of kinds of peers that can be reached for sure, and perhaps. */
void atl_nat_reaches(const atl_nat_facts *facts, uint32_t *reaches, uint32_t *perhaps);
void atl_nat_verdict_text(const atl_nat_facts *facts, char out[ATL_NAT_TEXT]);

/* ---- one address family ---- */

struct atl_nat_family;

/* One request with an answer to wait for. */
typedef struct atl_nat_test {
    struct atl_nat_family *family;
    atl_stun_client *client; /* where the transaction is */
    atl_stun_txn *txn;       /* NULL when none runs */
    uint8_t asked;
    uint8_t done;
    atl_stun_reply reply; /* when done */
} atl_nat_test;

/* From the node's own socket: to the other address, to the other address and port. */
#define ATL_NAT_MAP_IP 0
#define ATL_NAT_MAP_BOTH 1
/* From two fresh sockets: to the server itself; to be answered from elsewhere; to each other. */
#define ATL_NAT_FRESH 2
#define ATL_NAT_FRESH_TOO 3
#define ATL_NAT_FILTER_BOTH 4
#define ATL_NAT_FILTER_PORT 5
#define ATL_NAT_HAIRPIN 6
#define ATL_NAT_HAIRPIN_TOO 7
#define ATL_NAT_TESTS 8

typedef struct atl_nat_observation {
    size_t server; /* index of the server; SIZE_MAX: another address of one */
    atl_addr asked;
    atl_addr local;
    atl_addr reflexive;
} atl_nat_observation;

#define ATL_NAT_WAITS 8

/* One mapping that is left alone for a while. */
typedef struct atl_nat_wait {
    struct atl_nat_family *family;
    uint8_t state; /* ATL_NAT_WAIT_* */
    uint64_t silence;
    atl_addr mapped;
    atl_timer timer;
    atl_nat_test test;
} atl_nat_wait;

#define ATL_NAT_WAIT_NONE 0   /* not in this round */
#define ATL_NAT_WAIT_ASKS 1   /* for a mapping */
#define ATL_NAT_WAIT_SILENT 2 /* leaves it alone */
#define ATL_NAT_WAIT_LOOKS 3  /* whether it is still there */
#define ATL_NAT_WAIT_ALIVE 4
#define ATL_NAT_WAIT_DEAD 5
#define ATL_NAT_WAIT_UNKNOWN 6

typedef struct atl_nat_lifetime {
    uint8_t round; /* 0: not begun, 1, 2; 3: over */
    uint8_t unsupported;
    atl_nat_wait waits[ATL_NAT_WAITS];
} atl_nat_lifetime;

typedef struct atl_nat_family {
    atlas_nat *nat;
    uint8_t stage; /* ATL_NAT_STAGE_* */
    uint8_t tried;
    uint8_t known; /* ATL_NAT_NEWS_*: what has been found out */
    uint8_t news;  /* of that, what the application has not heard yet */
    atl_nat_facts facts;
    atl_addr server; /* that has another address */
    atl_addr other;
    atl_addr local; /* from where the node's own socket asked first, and what was seen */
    atl_addr reflexive;
    atl_nat_test tests[ATL_NAT_TESTS];
    atl_nat_sockets sockets;
    atl_nat_lifetime lifetime;
    atl_task step;  /* something has ended */
    atl_task event; /* there is news */
    atl_nat_observation *seen;
    size_t seen_count;
    size_t seen_cap;
} atl_nat_family;

#define ATL_NAT_STAGE_ASKING 0   /* the servers are being asked */
#define ATL_NAT_STAGE_TESTING 1  /* the other address is known and asked */
#define ATL_NAT_STAGE_TESTED 2   /* nothing runs; the other family or other servers may */
#define ATL_NAT_STAGE_LIFETIME 3 /* mappings are being left alone */
#define ATL_NAT_STAGE_OVER 4     /* the result is due or was given */

#define ATL_NAT_NEWS_MAPPING 0x1u
#define ATL_NAT_NEWS_FILTERING 0x2u
#define ATL_NAT_NEWS_HAIRPINNING 0x4u
#define ATL_NAT_NEWS_LIFETIME 0x8u
#define ATL_NAT_NEWS_RESULT 0x80u

struct atlas_nat {
    atl_list node; /* agent->nats */
    atl_stun_agent *agent;
    atlas_nat_cb cb;
    void *user;
    atl_nat_config config;
    atlas_stun *probe; /* asks all servers; NULL once it has ended */
    int32_t last_error;
    uint8_t answered;
    uint8_t cancelled;
    uint8_t ended; /* the final event is being delivered */
    atl_task final;
    atl_nat_family families[2];
    size_t server_count;
    char **servers;
};

void atl_nat_family_init(atl_nat_family *f, atlas_nat *nat, uint8_t family);
/* A server's answer, or none, to the question that each is asked. */
void atl_nat_family_answer(atl_nat_family *f, size_t server, const atl_stun_reply *reply);
/* Goes on from where things stand; from work only. */
void atl_nat_family_step(atl_nat_family *f);
/* Ends everything that runs, without news. */
void atl_nat_family_stop(atl_nat_family *f);
/* Remembers what a server saw. */
void atl_nat_family_saw(atl_nat_family *f, size_t server, const atl_addr *asked,
                        const atl_addr *local, const atl_addr *reflexive);
/* Asks from the node's own socket (index SIZE_MAX) or one of the family's. When it cannot be sent,
 * the test is done with that error. */
void atl_nat_test_ask(atl_nat_test *test, size_t index, atl_stun_ask *ask);
void atl_nat_test_stop(atl_nat_test *test);
void atl_nat_tell(atl_nat_family *f, uint8_t news);

void atl_nat_lifetime_init(atl_nat_family *f);
/* Begins the search; 0 when there is nothing to search. */
int atl_nat_lifetime_begin(atl_nat_family *f);
/* 1 when it has ended. */
int atl_nat_lifetime_step(atl_nat_family *f);
void atl_nat_lifetime_stop(atl_nat_family *f);

#endif
