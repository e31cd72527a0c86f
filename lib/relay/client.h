/* The client's side of one relay: control connection, presence, circuits. Redials for ever with
 * jittered backoff. */
#ifndef ATL_RELAY_CLIENT_H
#define ATL_RELAY_CLIENT_H

#include "address/multiaddr.h"
#include "quic/circuit.h"

#include <atlas/relay.h>

typedef struct atl_relay_client atl_relay_client;
typedef struct atl_relay_request atl_relay_request; /* a circuit being set up by this side */

typedef struct atl_relay_client_config {
    atl_endpoint *ep;
    atl_peer_id self;
    atl_maddr addr;                    /* transport and the relay's peer id (has_peer) */
    const uint64_t *presence_interval; /* nanoseconds; read at each use */
    const uint64_t *handshake_timeout; /* nanoseconds */
    const uint64_t *max_clock_drift;   /* seconds */
} atl_relay_client_config;

typedef struct atl_relay_client_ops {
    /* The state changed (see atlas_relay_event); ask with atl_relay_client_event(). */
    void (*on_state)(void *user, atl_relay_client *client);
    /* `source` wants a circuit to us: ATLAS_OK to accept, else it is refused with that code. When
     * accepted, QUIC packets may arrive on the circuit that the client makes; it ends by itself
     * when its last connection has gone. */
    int32_t (*on_incoming)(void *user, atl_relay_client *client, const atl_peer_id *source);
} atl_relay_client_ops;

int32_t atl_relay_client_new(const atl_relay_client_config *config, const atl_relay_client_ops *ops,
                             void *user, atl_relay_client **out);
/* Ends circuits (their connections are closed), closes the control connection; no upcalls
 * afterwards. */
void atl_relay_client_free(atl_relay_client *client);
/* Wanted: connect and stay connected; announce: keep a registration. Both 0: disconnect in order.
 */
void atl_relay_client_want(atl_relay_client *client, int connect, int announce);
const atl_maddr *atl_relay_client_addr(const atl_relay_client *client);
/* Fills the event with the current state; strings live in the client until the next change. */
void atl_relay_client_event(const atl_relay_client *client, atlas_relay_event *out);
uint32_t atl_relay_client_state(const atl_relay_client *client);

typedef struct atl_relay_request_ops {
    /* The circuit is paired: dial through it now (from this upcall). It ends when it has had no
     * connection for a while after that. */
    void (*on_ready)(void *user, atl_relay_request *request, atl_circuit *circuit);
    /* No circuit: `text` says why (valid during the call). */
    void (*on_failed)(void *user, atl_relay_request *request, int32_t code, const char *text);
} atl_relay_request_ops;

/* Asks for a circuit to `target`; connects first when the relay is not connected (and then waits at
 * most `timeout` nanoseconds in all). Exactly one upcall ends the request, never from inside this
 * call, unless it is cancelled. */
int32_t atl_relay_client_request(atl_relay_client *client, const atl_peer_id *target,
                                 uint64_t timeout, const atl_relay_request_ops *ops, void *user,
                                 atl_relay_request **out);
/* No upcall afterwards. Not after on_ready or on_failed. */
void atl_relay_request_cancel(atl_relay_request *request);
/* Ends a circuit in order: RelayClose to the relay; its connections end with `code`. */
void atl_relay_circuit_close(atl_circuit *circuit, int32_t code);

#endif
