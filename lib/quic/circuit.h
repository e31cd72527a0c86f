/* A node's end of a relay circuit: packets of end-to-end connections travel with a 9-byte header on
 * the 4-tuple of the control connection to the relay. For QUIC it is just another kind of path. */
#ifndef ATL_QUIC_CIRCUIT_H
#define ATL_QUIC_CIRCUIT_H

#include "quic/conn.h"

struct atl_circuit {
    atl_endpoint *ep;
    atl_qconn *control; /* the relay's control connection, whose active path carries the packets */
    uint8_t rx_id[ATL_CID_LEN]; /* issued by us: on packets that we receive */
    uint8_t
        tx_id[ATL_CID_LEN]; /* issued by the relay: on packets that we send; valid when `ready` */
    uint8_t ready;
    uint8_t ended;
    atl_peer_id relay;
    atl_peer_id peer;                /* who is at the other end, as the relay says; TLS proves it */
    atl_list conns;                  /* paths of connections that lead here */
    uint64_t rx_packets, tx_packets; /* datagrams */
    /* Set: no QUIC runs here, but datagrams whose first two bits are 00 (atl_circuit_send_raw()).
     * The circuit may be ended and freed in the upcall. */
    void (*on_raw)(void *user, atl_circuit *circuit, const uint8_t *data, size_t len);
    /* The last connection has gone, or none came: the owner may close the circuit. */
    void (*on_idle)(void *user, atl_circuit *circuit);
    void *user;
};

/* Takes rx_id into the endpoint's table. */
int32_t atl_circuit_init(atl_circuit *circuit, atl_endpoint *ep, atl_qconn *control,
                         const atl_peer_id *relay, const atl_peer_id *peer);
void atl_circuit_set_ready(atl_circuit *circuit, const uint8_t tx_id[ATL_CID_LEN]);
/* Sends a datagram that is not QUIC's, at most 1443 bytes whose first two bits are 00, at once or
 * never. */
void atl_circuit_send_raw(atl_circuit *circuit, const uint8_t *data, size_t len);
/* Removes the id. Connections with a path here lose it (on_path_lost), or are closed with `code`
 * where their owner does not take that; either is told later, not from inside this call. */
void atl_circuit_end(atl_circuit *circuit, int32_t code);

#endif
