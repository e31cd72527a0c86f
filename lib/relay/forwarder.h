/* The data plane of the relay: packets `01xxxxxx | circuit id | QUIC packet` come in as trains, are
 * checked and charged, get the other side's circuit id, and go out as trains. It knows nothing of
 * control messages: whoever pairs nodes fills two halves.
 *
 * A train that arrived as one goes out as one, from the receive buffer. Single datagrams of one
 * circuit that are adjacent in a receive batch are gathered into trains in a preallocated arena:
 * copying 1,200 bytes costs a small part of a send call. What exceeds the bandwidth limit waits in
 * a ring of at most 100 ms worth, which exists only while it is needed. */
#ifndef ATL_RELAY_FORWARDER_H
#define ATL_RELAY_FORWARDER_H

#include "base/bucket.h"
#include "quic/endpoint.h"

#include <atlas/relay.h>

typedef struct atl_forwarder atl_forwarder;
typedef struct atl_forward_queue atl_forward_queue;

/* Where a node is: the 4-tuple that its control connection has validated. Both directions of the
 * node's circuits look here, so a migration moves all of them at once. family 0: nothing passes. */
typedef struct atl_forward_port {
    atl_addr remote;
    atl_addr local; /* family 0: any */
} atl_forward_port;

/* One side of a circuit: what that node sends to us, on its way to the other side. */
typedef struct atl_forward_half {
    struct atl_forward_half *other;
    const atl_forward_port *port;
    uint8_t rx_id[ATL_CID_LEN]; /* issued by the relay: on packets that this node sends */
    uint8_t tx_id[ATL_CID_LEN]; /* issued by the node: on packets that we send to it */
    atl_bucket bucket;          /* what this node may send */
    atl_forward_queue *queue;   /* excess, or NULL */
    uint64_t last;              /* loop time of the last packet taken */
    uint16_t train;             /* the outgoing train that grew last, when it is still ours */
    uint8_t open;               /* paired: packets may pass */
} atl_forward_half;

/* The way out; a test puts its own here. */
typedef struct atl_forwarder_ops {
    size_t (*send)(void *user, uint8_t family, const atl_tx *tx, size_t n);
    size_t (*segments)(void *user, uint8_t family);
} atl_forwarder_ops;

typedef struct atl_forwarder_config {
    atl_loop *loop;
    const uint64_t *bandwidth; /* bytes per second per half, 0 = unlimited; read at each use */
    const uint64_t *total_bandwidth; /* bytes per second in all, likewise */
    atlas_relay_stats *stats;        /* forwarded_*, delayed_packets, dropped_* are counted here */
} atl_forwarder_config;

int32_t atl_forwarder_new(const atl_forwarder_config *config, const atl_forwarder_ops *ops,
                          void *user, atl_forwarder **out);
/* All halves must be closed. */
void atl_forwarder_free(atl_forwarder *forwarder);

/* Joins two halves, whose ids and ports are set; nothing passes before atl_forward_open(). */
void atl_forward_pair(atl_forwarder *forwarder, atl_forward_half *a, atl_forward_half *b);
void atl_forward_open(atl_forward_half *half); /* and its other side */
/* Drops what waits. The half may be freed afterwards. */
void atl_forward_close(atl_forwarder *forwarder, atl_forward_half *half);

/* A train whose first datagram carries half->rx_id. Returns how many bytes of it were consumed: the
 * leading datagrams with that id. May rewrite them, and keeps pointers to them until the flush. */
size_t atl_forwarder_push(atl_forwarder *forwarder, atl_forward_half *half, const atl_rx *rx);
/* The receive buffers will be reused: sends what points to them. Trains that were gathered may grow
 * in the next batch; they leave at the end of the turn. */
void atl_forwarder_batch_end(atl_forwarder *forwarder);
/* Sends all that is held back. */
void atl_forwarder_flush(atl_forwarder *forwarder);
/* Bytes that wait in all queues. */
size_t atl_forwarder_queued(const atl_forwarder *forwarder);

#endif
