/* The QUIC endpoint: one UDP socket per address family, the demultiplexer, the one table of 8-byte
 * ids, batched sending.
 *
 * First two bits of a datagram: 00 STUN, 11 QUIC long header, 01 short header or circuit packet
 * (the table tells). All ids this library issues come from one allocator here. */
#ifndef ATL_QUIC_ENDPOINT_H
#define ATL_QUIC_ENDPOINT_H

#include "io/io.h"
#include "quic/tls.h"

typedef struct atl_endpoint atl_endpoint;
typedef struct atl_qconn atl_qconn;
typedef struct atl_circuit atl_circuit;

#define ATL_CID_LEN 8
#define ATL_CIRCUIT_HEADER 9 /* 01xxxxxx and 8 bytes of circuit id */

/* Kinds in the id table. */
#define ATL_ID_CONN 1    /* atl_qconn */
#define ATL_ID_CIRCUIT 2 /* atl_circuit: this node's end of a circuit */
#define ATL_ID_FORWARD 3 /* the relay server's: passed to on_forward */

typedef struct atl_endpoint_hooks {
    void *user;
    /* A datagram with first bits 00 (and no error), or a reported ICMP error (rx->error != 0). One
     * datagram, never a train. */
    void (*on_stun)(void *user, const atl_rx *rx);
    /* A train whose first datagram carries an id of kind ATL_ID_FORWARD; `ptr` is what was
     * registered for it. Returns how many bytes of the train were consumed (a multiple of
     * rx->segment, or the rest): at least the first datagram. May rewrite rx->data in place. */
    size_t (*on_forward)(void *user, void *ptr, const atl_rx *rx);
    /* A new inbound connection is about to be made for `remote` (spoofable until its handshake
     * proceeds): 0 to go on, else it is dropped. */
    int32_t (*on_initial)(void *user, const atl_addr *remote, const atl_circuit *circuit);
    /* An inbound connection finished its handshake; give it ops with atl_qconn_set_ops(), or return
     * a negative code to close it. */
    int32_t (*on_accept)(void *user, atl_qconn *conn);
    /* The last receive batch has been handed out completely: flush what was held back to build
     * trains. */
    void (*on_batch_end)(void *user);
} atl_endpoint_hooks;

typedef struct atl_endpoint_config {
    atl_loop *loop;
    const atl_io *io;
    const atlas_key *key;
    uint16_t port;
    uint8_t ipv4;
    uint8_t ipv6;
    uint8_t plain; /* no GSO/GRO */
    atl_addr bind4;
    atl_addr bind6;
} atl_endpoint_config;

/* Limits and QUIC parameters; may change while running. */
typedef struct atl_quic_params {
    uint64_t idle_timeout;      /* nanoseconds */
    uint64_t handshake_timeout; /* nanoseconds */
    uint64_t max_conns;         /* connections of all kinds */
    uint64_t max_streams;       /* per connection and direction, opened by the peer */
    uint64_t stream_window;     /* bytes buffered per stream and direction */
    uint64_t handshake_limit;   /* inbound handshakes per second before Retry */
} atl_quic_params;

int32_t atl_endpoint_new(const atl_endpoint_config *config, const atl_endpoint_hooks *hooks,
                         atl_endpoint **out);
/* Ends every connection without events (one CONNECTION_CLOSE each) and closes the sockets. */
void atl_endpoint_free(atl_endpoint *ep);
atl_quic_params *atl_endpoint_params(atl_endpoint *ep);
atl_tls *atl_endpoint_tls(atl_endpoint *ep);
atl_loop *atl_endpoint_loop(atl_endpoint *ep);
const atl_io *atl_endpoint_io(atl_endpoint *ep);
/* The bound address of a family (4 or 6); ATLAS_ERR_FAMILY when there is no such socket. */
int32_t atl_endpoint_local(const atl_endpoint *ep, uint8_t family, atl_addr *out);

/* Takes a fresh random id into the table. */
int32_t atl_endpoint_id_new(atl_endpoint *ep, uint32_t kind, void *ptr, uint8_t out[ATL_CID_LEN]);
void atl_endpoint_id_remove(atl_endpoint *ep, const uint8_t id[ATL_CID_LEN]);

/* Sends at once what is not QUIC of ours (STUN) from the socket of remote's family. Lost silently
 * when the socket is full. */
int32_t atl_endpoint_send_raw(atl_endpoint *ep, const atl_addr *local, const atl_addr *remote,
                              const uint8_t *data, size_t len);
/* The relay's: sends trains as they are, without copy. Returns how many were taken. */
size_t atl_endpoint_send_trains(atl_endpoint *ep, uint8_t family, const atl_tx *tx, size_t n);
size_t atl_endpoint_max_segments(const atl_endpoint *ep, uint8_t family);

/* The host's addresses are now these `n` (ports ignored). Paths from an address that is gone go on
 * from whichever the system chooses: a client's connections migrate at once, a server's say so to
 * their clients with a PING. Every other connection that has something in flight is probed. */
void atl_endpoint_rebase(atl_endpoint *ep, const atl_addr *addrs, size_t n);

/* Counted drops and events, for metrics and tests. */
typedef struct atl_endpoint_stats {
    uint64_t rx_datagrams, rx_bytes, tx_datagrams, tx_bytes;
    uint64_t dropped_unknown;   /* short header with an unknown id and no reset sent */
    uint64_t dropped_malformed; /* long headers that do not parse, bits 10, too short */
    uint64_t dropped_limit;     /* connection or handshake limits */
    uint64_t retries, version_negotiations, resets, bad_tokens;
    uint64_t conns, handshakes;
} atl_endpoint_stats;
const atl_endpoint_stats *atl_endpoint_get_stats(const atl_endpoint *ep);

#endif
