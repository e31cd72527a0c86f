/* A whole libatlas context on a simulated host. */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "net.h"

#include <atlas/atlas.h>

/* Makes allocations of the contexts that share it fail. */
typedef struct sim_faults {
    uint64_t count;   /* allocations so far */
    uint64_t fail_at; /* the one (from 1) that fails; 0: none */
    int fail_on;      /* 1: all after it too */
} sim_faults;

#define SIM_PATHS 32

/* One change of a connection's path. */
typedef struct sim_path_change {
    uint64_t at;
    uint32_t kind;
    uint32_t candidate;
    char remote[ATLAS_ADDR_MAX];
    char reason[96];
} sim_path_change;

/* What discovery has told. */
typedef struct sim_found {
    uint32_t verdict[2];   /* IPv4, IPv6: ATLAS_REACH_* */
    uint64_t verdict_at;   /* the first that is known; 0: none */
    int verdicts;          /* events */
    uint32_t advertise;    /* ATLAS_ADVERTISE_* */
    int32_t code;          /* of ATLAS_ADVERTISE_FAILED */
    uint64_t published_at; /* the first record that a bootstrap node has taken; 0: none */
    uint64_t full_at;      /* the first with as many circuits as `wanted` */
    uint32_t wanted;
    uint64_t seq;     /* of the record */
    uint64_t said_at; /* when the record changed last */
    uint32_t nodes;   /* that have it */
    uint32_t offers;
    uint32_t circuits; /* in it */
    uint32_t directs;
    char addrs[16][ATLAS_MULTIADDR_MAX];
    uint32_t serving;             /* chosen relays */
    uint64_t served_at;           /* the first time that `wanted` of them served */
    int chosen, failed, replaced; /* events */
    char failure[200];            /* the last */
} sim_found;

typedef struct sim_node sim_node;

struct sim_node {
    sim_host *host;
    atl_addr host_ip;
    atlas_hooks base;    /* the host's own hooks */
    sim_faults *faults;  /* NULL: memory never fails */
    int deaf;            /* 1: streams are accepted and never read */
    int64_t wall_offset; /* milliseconds by which this node's wall clock is wrong */
    size_t live_blocks;  /* memory that the context holds; none when it has been freed */
    size_t live_bytes;
    size_t peak_bytes;
    atlas_ctx *ctx;
    uint32_t seed;
    char addr[ATLAS_MULTIADDR_MAX]; /* where it listens, with its peer id */
    /* what happened */
    atlas_conn *conn; /* the connection dialled or accepted last */
    uint32_t path;    /* its path kind */
    int connected;
    int closed;
    int32_t close_code;
    uint64_t close_app; /* the application's code */
    char close_text[2048];
    int attempts_failed;
    int32_t attempt_code;       /* of the last that failed */
    int32_t first_attempt_code; /* of the first */
    int relay_state;            /* of the last on_relay */
    int relay_announced;        /* times */
    int32_t relay_code;
    char observed[ATLAS_ADDR_MAX];
    uint64_t got_bytes; /* stream bytes */
    uint64_t got_hash;  /* FNV-1a over them */
    int got_fin;
    int messages;
    char last_message[256];
    int sent; /* messages acknowledged */
    int32_t sent_code;
    int streams_closed;
    int finals;    /* final events of connections */
    int conns;     /* connection handles that were given: dials and accepted ones */
    int streams;   /* stream handles that were given */
    int sent_next; /* messages taken for sending by sim_node_message() */
    /* the transfer being sent */
    atlas_stream *out;
    uint64_t to_send;
    uint64_t sent_bytes;
    uint64_t sent_hash;
    int out_acked;
    /* the last SIM_PATHS changes of path, of all its connections, by n_paths % SIM_PATHS */
    sim_path_change paths[SIM_PATHS];
    size_t n_paths;
    /* while a transfer comes in: the longest time without a byte of it */
    uint64_t got_at;
    uint64_t longest_stall;
    uint64_t longest_stall_at; /* when it ended */
    /* the last attempt at a direct path */
    int upgrades;
    atlas_upgrade_info upgrade; /* without text, which follows */
    char upgrade_text[160];
    sim_found found;
    /* hears of chosen relays besides */
    void (*on_choice)(void *user, sim_node *node, const atlas_autorelay_event *event);
    void *choice_user;
    /* takes inbound connections instead of the node itself */
    void (*accept)(void *user, sim_node *node, atlas_conn *conn);
    void *accept_user;
};

/* A context on a fresh host. `port` 0 = any. */
void sim_node_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed, uint16_t port);
/* A context on a host that there is already, behind a router perhaps. */
void sim_node_on_host(sim_node *node, sim_host *host, uint32_t seed, uint16_t port);
/* The same without assertions: the code of the first call that failed; then there is no context. */
int32_t sim_node_try_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed,
                          uint16_t port, sim_faults *faults);
/* The hooks of the node's context; what another one allocates with them is counted here too. */
void sim_node_hooks(sim_node *node, atlas_hooks *hooks);
/* The same identity again after sim_node_stop(), as a restarted program. */
void sim_node_start(sim_node *node, uint16_t port);
/* For node.c: discovery's callbacks fill in node->found. */
void sim_node_discovery(atlas_callbacks *callbacks);
/* 1 when the record says that it is reached through that relay (a node). */
int sim_node_says_relay(const sim_node *node, const sim_node *relay);
/* The program is killed: nothing more is sent. */
void sim_node_kill(sim_node *node);
void sim_node_done(sim_node *node);
/* Dials with callbacks that fill in the node. */
int32_t sim_node_dial(sim_node *node, const char *target, uint64_t timeout_ms);
/* Sends a text, counted. */
int32_t sim_node_message(sim_node *node, const char *text);
/* Opens a stream for sim_node_send() without asserting that this works. */
int32_t sim_node_try_send(sim_node *node, uint64_t bytes);
/* Sends `bytes` of a pattern on a new stream of the node's connection, as the peer takes them. */
void sim_node_send(sim_node *node, uint64_t bytes);
/* From now on. */
void sim_node_reset_stall(sim_node *node);

/* ---- relays ---- */

/* A node that is a relay, without limit of bandwidth, on port 4001. Crash: sim_node_kill(). Stall:
 * sim_host_freeze(). */
void sim_relay_init(sim_node *node, sim_net *net, const char *ip, uint32_t seed);
/* After sim_node_kill() or a drain: the same key, and nothing of what it knew. */
void sim_relay_return(sim_node *node);
void sim_relay_drain(sim_node *node, uint64_t drain_ms);

#endif
