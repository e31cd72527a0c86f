/* Tools of the scenarios that lie: look-ups that are written down, requests made by hand, records
 * of any content, and bootstrap nodes that answer what they like. */
#ifndef SIM_DISCOVERY_TOOLS_H
#define SIM_DISCOVERY_TOOLS_H

#include "api/context.h"
#include "discovery/link.h"
#include "discovery/record.h"
#include "discovery_world.h"

/* ---- look-ups ---- */

#define TOLD_FAILURES 24

typedef struct told_failure {
    int32_t code;
    uint64_t at;
    char from[ATLAS_MULTIADDR_MAX];
    char text[96];
} told_failure;

typedef struct told {
    sim_net *net;
    int records;
    int failed;
    int ended;
    int32_t code; /* of the end */
    uint64_t asked_at;
    uint64_t record_at; /* the first */
    uint64_t ended_at;
    uint64_t seq; /* of the last record */
    uint32_t source;
    told_failure failures[TOLD_FAILURES];
} told;

int32_t told_lookup(told *t, sim_node *node, const char *peer, const atlas_query_options *options);
int32_t told_discover(told *t, sim_node *node, uint32_t offer, const atlas_query_options *options);
/* Runs until it has ended. */
void told_wait(told *t, double seconds);
/* What was told of that server's failure; NULL: it has not failed. */
const told_failure *told_of(const told *t, const sim_node *server);

/* ---- requests by hand ---- */

/* A node's own connection to a server; a request at a time, or many without waiting. */
typedef struct asker {
    sim_node *node;
    atl_link *link;
    uint64_t sent;
    uint64_t answers;
    uint64_t by_class[6]; /* of statuses: 2 for 200.., 0 for no answer */
    int32_t code;         /* of the last */
    int32_t status;
    size_t len;
    char body[1024];
} asker;

void asker_init(asker *a, sim_node *node, const sim_node *server);
/* Before the node is freed. */
void asker_done(asker *a);
/* 1: it was taken for sending. */
int asker_send(asker *a, const char *method, const char *path, const void *body, size_t len);
/* Sends, and waits for the answer: its status, or a negative code. */
int32_t asker_ask(asker *a, const char *method, const char *path, const void *body, size_t len);
/* The path of a peer's record. */
const char *records_path(const char *peer);

/* ---- records of any content ---- */

typedef struct forged {
    atlas_key *key;
    char peer[ATLAS_PEER_ID_MAX];
    atl_record record; /* what it says: filled in by the test */
    uint8_t data[ATL_RECORD_MAX];
    size_t len;
} forged;

/* The n-th stranger; its record has no address, and the number 1. */
void forge(forged *f, uint32_t n);
void forge_done(forged *f);
/* Adds an address: a multiaddr without its own peer id. */
void forge_addr(forged *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Signed; issued `ago` seconds before this node's time. */
void forge_sign(forged *f, sim_node *clock, int64_t ago);
/* Straight into a bootstrap node's registry, as put from that address. */
int32_t forge_keep(const forged *f, sim_node *boot, const char *ip);

/* ---- bootstrap nodes that lie ---- */

#define LIAR_RANDOM 1  /* 200 and random bytes */
#define LIAR_FORGED 2  /* the right record with a wrong signature */
#define LIAR_ANOTHER 3 /* the record of another peer */
#define LIAR_ENDLESS 4 /* lists that never end */
#define LIAR_SLOW 5    /* the right record, after four seconds */
#define LIAR_ERROR 6   /* 500 to everything */
#define LIAR_HUGE 7    /* an answer longer than any may be */

#define LIAR_WAITING 64

typedef struct liar {
    sim_node *node; /* a bootstrap node that runs */
    int kind;
    uint64_t asked;
    uint64_t lists;
    uint8_t record[ATL_RECORD_MAX]; /* what it hands out */
    size_t len;
    struct {
        atl_h3_stream *stream;
        uint64_t due;
    } waiting[LIAR_WAITING];
} liar;

/* From now on the node answers so to all requests for records. */
void liar_begin(liar *l, sim_node *node, int kind);
void liar_give(liar *l, const void *record, size_t len);
/* Of LIAR_SLOW: what is due is answered. */
void liar_step(liar *l);

/* A bootstrap node beside the world's; `n` is its number, with an address of its own. */
void tools_boot(world *w, sim_node *node, size_t n);

/* ---- what a registry has ---- */

/* The number of that node's record, 0: it has none. */
uint64_t boot_has(sim_node *boot, const sim_node *of);
void boot_stats(const sim_node *boot, atlas_registry_stats *out);
/* The same of a peer's cache. */
uint64_t cache_has(sim_node *node, const sim_node *of);

#endif
