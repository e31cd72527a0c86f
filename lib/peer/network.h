/* What the connections of a context share about the network: the node's candidates, the checks'
 * table, the watch over the host's addresses, and the idle mode. */
#ifndef ATL_PEER_NETWORK_H
#define ATL_PEER_NETWORK_H

#include "peer/manager.h"
#include "stun/client.h"

void atl_network_init(atl_peers *peers);
int32_t atl_network_open(atl_peers *peers, atl_stun_client *stun);
/* The endpoint must still be there, and no connection left. */
void atl_network_close(atl_peers *peers);
/* Candidates are wanted: gathers what is missing or old. */
void atl_network_gather(atl_peers *peers);
/* From the endpoint: 1 when the datagram was a check. */
int atl_network_on_stun(atl_peers *peers, const atl_rx *rx);
/* A STUN server by its text, for candidates; kept when there is no socket yet. */
int32_t atl_network_add_server(atl_peers *peers, const char *server);

#endif
