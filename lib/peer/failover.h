/* Circuits for a connection that has lost its path, or will: requests to the relays of this node
 * and to those that the peer named, all that look well at once. */
#ifndef ATL_PEER_FAILOVER_H
#define ATL_PEER_FAILOVER_H

#include "peer/conn.h"

void atl_failover_init(atlas_conn *conn);
void atl_failover_free(atlas_conn *conn);
/* Asks relays for circuits; those that carry a path of this connection already, or are being asked,
 * are left out. Harmless when repeated: a relay is asked at most once a second. */
void atl_failover_search(atlas_conn *conn);
/* No longer needed. */
void atl_failover_stop(atlas_conn *conn);
/* How well the relay of this circuit is: ATL_RELAY_HEALTH_*. Probes it when `probe` is 1. */
uint32_t atl_failover_health(atl_circuit *circuit, int probe);

#endif
