/* The random mode: from a seed a network, a workload and faults are composed and run, and what must
 * hold in every run is checked. Parts of a scenario can be left out by number, which is how a
 * failure is made small. */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include "net_router.h"
#include "node.h"

#define RANDOM_NODES 6
#define RANDOM_RELAYS 3
#define RANDOM_FAULTS 96
#define RANDOM_JOBS 96
#define RANDOM_CONNS 1024

/* Numbers of parts: faults from 0, jobs from 100, nodes (with their jobs and faults) from 200, the
 * roughness of links 300. */
#define RANDOM_ITEM_JOB 100
#define RANDOM_ITEM_NODE 200
#define RANDOM_ITEM_ROUGH 300

#define FAULT_RELAY_CRASH 0 /* and it returns with the same key and nothing else */
#define FAULT_RELAY_STALL 1
#define FAULT_RELAY_DRAIN 2
#define FAULT_NAT_FORGETS 3
#define FAULT_PUBLIC_ADDRESS 4
#define FAULT_MOVE 5
#define FAULT_FREEZE 6
#define FAULT_SLEEP 7
#define FAULT_BURSTS 8
#define FAULT_PARTITION 9
#define FAULT_CUT_DIRECT 10
#define FAULT_CUT_RELAY 11
#define FAULT_UNPLUG 12
#define FAULT_FALSE_ALARM 13 /* atlas_network_changed() without reason */
#define FAULT_KINDS 14

typedef struct random_fault {
    int kind;
    int who;   /* node or relay */
    int other; /* a second one, or how */
    uint64_t at;
    uint64_t lasts; /* 0: for good, or at once over */
    int dropped;
} random_fault;

typedef struct random_job {
    int from;
    int to;
    uint64_t at;
    uint64_t bytes; /* of a stream; 0: messages */
    uint64_t reply; /* on the same stream, or how many messages */
    uint64_t rate;  /* bytes per second that the application writes; 0: as fast as it goes */
    int dropped;
} random_job;

typedef struct random_scenario {
    uint64_t seed;
    uint64_t length; /* of the time in which things happen */
    int n_nodes;
    int n_relays;
    int nat[RANDOM_NODES];
    int dropped[RANDOM_NODES];
    uint64_t rate[RANDOM_NODES]; /* of the node's own line, 0: none */
    int more[RANDOM_NODES];      /* bits: 1 a loopback address, 2 an IPv6 address */
    sim_link link;
    int n_faults;
    random_fault faults[RANDOM_FAULTS];
    int n_jobs;
    random_job jobs[RANDOM_JOBS];
} random_scenario;

void random_compose(random_scenario *s, uint64_t seed, uint64_t minutes);
void random_print(const random_scenario *s);
/* Leaves a part out. 0 when there is none of that number, or it is out already. */
int random_drop(random_scenario *s, int item);

/* ---- a run ---- */

/* What was violated. */
#define BROKEN_BYTES 1   /* of a stream or message: lost, doubled, changed */
#define BROKEN_STALL 2   /* bytes wait, and do not move although they could */
#define BROKEN_PATH 3    /* no path although there is one */
#define BROKEN_ADDRESS 4 /* a packet to an address that nobody named */
#define BROKEN_MEMORY 5  /* more than there should be */
#define BROKEN_FINAL 6   /* not one final event */
#define BROKEN_DEATH 7   /* a connection or dial that ended although it could live */
#define BROKEN_UNFINISHED 8
#define BROKEN_CALL 9    /* a call of the library that failed */
#define BROKEN_REPEAT 10 /* the same seed, another run */
#define BROKEN_KINDS 11

typedef struct random_world random_world;

/* One handle of a connection. */
typedef struct random_conn {
    random_world *w;
    atlas_conn *conn;
    int self;
    int peer;
    int dialled;
    int connected;
    int closed;
    uint32_t path;
    uint64_t path_at;
    uint64_t since;
    uint64_t connected_at;
    int last_words; /* messages sent at the end and not acknowledged */
} random_conn;

/* One side of a stream. */
typedef struct random_end {
    random_world *w;
    random_conn *conn;
    atlas_stream *stream;
    int job; /* -1: not known yet */
    int side;
    uint8_t header[4];
    uint64_t total; /* to be sent */
    uint64_t sent;
    uint64_t got;
    uint64_t got_at;
    int got_fin;
    int closed;
    struct random_end *next;
} random_end;

typedef struct random_work {
    int state; /* JOB_* */
    uint64_t started;
    random_end *ends[2];
    int messages_sent;
    int messages_acked;
    int messages_failed;
    uint8_t messages_got[64];
} random_work;

#define JOB_WAITING 0
#define JOB_RUNNING 1
#define JOB_DONE 2
#define JOB_GIVEN_UP 3 /* its connection ended, and might */

/* What is possible between two nodes. */
typedef struct random_pair {
    uint64_t due_from;     /* from when on things must work */
    uint64_t cut_since;    /* 0: they can reach one another */
    uint64_t longest_cut;  /* of all times, and */
    uint64_t longest_from; /* when it began */
    uint64_t redial_at;
} random_pair;

/* A fault's begin or end as something to do. */
typedef struct random_due {
    random_world *w;
    const random_fault *f;
    int end;
} random_due;

struct random_world {
    const random_scenario *s;
    sim_net *net;
    uint64_t start;
    sim_node relays[RANDOM_RELAYS];
    sim_node nodes[RANDOM_NODES];
    char ids[RANDOM_NODES][ATLAS_PEER_ID_MAX];
    sim_router *routers[RANDOM_NODES]; /* the outermost, or NULL */
    int away[RANDOM_NODES];            /* frozen, asleep, unplugged or cut off */
    int relay_away[RANDOM_RELAYS];
    uint8_t relay_cut[RANDOM_NODES][RANDOM_RELAYS];
    int rough;
    int fresh; /* addresses given out */
    random_pair pairs[RANDOM_NODES][RANDOM_NODES];
    random_conn conns[RANDOM_CONNS];
    int n_conns;
    random_work work[RANDOM_JOBS];
    random_end *ends; /* all */
    random_due due[2 * RANDOM_FAULTS];
    uint64_t *named; /* a set of addresses */
    size_t named_mask;
    size_t n_named;
    int ending;
    int broken; /* BROKEN_* */
    char why[400];
};

/* 0, or what was broken, which is printed with `verbose` 1, with 2 the tail of the log as well.
 * *hash receives that of the log. */
int random_run(const random_scenario *s, int verbose, uint64_t *hash);
const char *random_broken_name(int kind);

/* random_check.c */
void random_break(random_world *w, int kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Something happened to a node (or, with -1, to all): things must work again from `grace` on. */
void random_disturb(random_world *w, int node, uint64_t grace);
int random_possible(const random_world *w, int a, int b);
void random_check_tick(random_world *w);
void random_check_end(random_world *w);
/* Whether a connection may have ended now. */
int random_may_die(const random_world *w, const random_conn *conn);
void random_name(random_world *w, const atl_addr *addr);
/* All addresses that the host has, with the ports of its sockets. */
void random_name_host(random_world *w, const sim_host *host);
void random_observe(void *user, const sim_event *event);

/* random_faults.c */
void random_faults_start(random_world *w);

/* random_work.c */
void random_work_init(random_world *w, int node);
void random_work_tick(random_world *w);
void random_work_done(random_world *w);
/* A message on every open connection. */
void random_last_words(random_world *w);

#endif
