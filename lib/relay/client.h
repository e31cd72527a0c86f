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
    /* The state, the health, the observed address or the relay's own has changed: ask. Work task,
     * never from inside a call. */
    void (*on_news)(void *user, atl_relay_client *client);
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

/* What is to be expected of a relay, the best first. */
#define ATL_RELAY_HEALTH_WARM 0   /* the control connection is up and was heard lately */
#define ATL_RELAY_HEALTH_COLD 1   /* not connected, and nothing known against it */
#define ATL_RELAY_HEALTH_SILENT 2 /* the control connection waits for an answer for too long */
#define ATL_RELAY_HEALTH_FAILED 3 /* lost, or the last connection failed, not tried since */
#define ATL_RELAY_HEALTH_DRAINS 4
uint32_t atl_relay_client_health(const atl_relay_client *client);
/* The relay is doubted: a PING on the control connection now, and a connection without answer for
 * three PTOs, at least one second, is lost. While it is down: the next attempt comes now. At most
 * four times a second. */
void atl_relay_client_probe(atl_relay_client *client);
/* The host's addresses have changed, or it slept: what waits is tried now, what was missed is
 * forgiven once. */
void atl_relay_client_network_changed(atl_relay_client *client);
/* Idle mode: announcements and keepalives stop, the control connection is kept as it is; leaving it
 * is a change of network. */
void atl_relay_client_set_idle(atl_relay_client *client, int idle);
/* Smoothed round-trip time to the relay, nanoseconds; 0 when unknown. */
uint64_t atl_relay_client_rtt(const atl_relay_client *client);
/* The address as the relay saw it last (RelayReady); ATLAS_ERR_NOT_FOUND. */
int32_t atl_relay_client_observed(const atl_relay_client *client, atl_addr *out);
/* An address of the relay that is or was in use, for STUN; ATLAS_ERR_NOT_FOUND before the name was
 * resolved. */
int32_t atl_relay_client_remote(const atl_relay_client *client, atl_addr *out);
/* The client whose circuit this is. */
atl_relay_client *atl_relay_client_of(atl_circuit *circuit);

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
