/* A whole libatlas context on a simulated host. */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "net.h"

#include <atlas/atlas.h>

typedef struct sim_node {
    sim_host *host;
    atlas_ctx *ctx;
    uint8_t seed;
    char addr[ATLAS_MULTIADDR_MAX]; /* where it listens, with its peer id */
    /* what happened */
    atlas_conn *conn; /* the connection dialled or accepted last */
    uint32_t path;    /* its path kind */
    int connected;
    int closed;
    int32_t close_code;
    char close_text[2048];
    int attempts_failed;
    int relay_state;     /* of the last on_relay */
    int relay_announced; /* times */
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
    int finals; /* final events of connections */
    /* the transfer being sent */
    atlas_stream *out;
    uint64_t to_send;
    uint64_t sent_bytes;
    uint64_t sent_hash;
    int out_acked;
} sim_node;

/* A context on a fresh host. `port` 0 = any. */
void sim_node_init(sim_node *node, sim_net *net, const char *ip, uint8_t seed, uint16_t port);
/* The same identity again after sim_node_stop(), as a restarted program. */
void sim_node_start(sim_node *node, uint16_t port);
/* The program is killed: nothing more is sent. */
void sim_node_kill(sim_node *node);
void sim_node_done(sim_node *node);
/* Dials with callbacks that fill in the node. */
int32_t sim_node_dial(sim_node *node, const char *target, uint64_t timeout_ms);
/* Sends `bytes` of a pattern on a new stream of the node's connection, as the peer takes them. */
void sim_node_send(sim_node *node, uint64_t bytes);

#endif
