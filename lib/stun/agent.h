/* All STUN of a context: the client's transactions, the probes of the application, and the server,
 * behind one entry for datagrams. */
#ifndef ATL_STUN_AGENT_H
#define ATL_STUN_AGENT_H

#include "stun/client.h"
#include "stun/server.h"

typedef struct atl_stun_agent atl_stun_agent;

typedef struct atl_stun_agent_config {
    atl_loop *loop;
    const atl_io *io; /* for names and source addresses; must outlive the agent */
    void *user;       /* for the two calls below */
    /* Sends from the socket of remote's family (atl_endpoint_send_raw). */
    atl_stun_send send;
    /* The bound address of a family (atl_endpoint_local); ATLAS_ERR_FAMILY when there is no such
     * socket. */
    int32_t (*local)(void *user, uint8_t family, atl_addr *out);
} atl_stun_agent_config;

int32_t atl_stun_agent_new(const atl_stun_agent_config *config, atl_stun_agent **out);
/* Ends all probes and transactions without events. NULL is allowed. */
void atl_stun_agent_free(atl_stun_agent *agent);

/* To be called from the endpoint's on_stun hook: STUN datagrams and ICMP errors. */
void atl_stun_agent_on_datagram(atl_stun_agent *agent, const atl_rx *rx);

/* The server is off at first. */
void atl_stun_agent_set_server(atl_stun_agent *agent, int on);
atl_stun_server *atl_stun_agent_server(atl_stun_agent *agent);
/* Gives the server a second address (RFC 5780) of that address's family; port 0: the one behind the
 * node's own. Opens sockets; a second call replaces the first. ATLAS_ERR_FAMILY,
 * ATLAS_ERR_NOT_FOUND when the host has not this address, or no other, ATLAS_ERR_INVALID when it
 * is the node's own address or port, ATLAS_ERR_ADDR_IN_USE, ATLAS_ERR_IO, ATLAS_ERR_NOMEM. */
int32_t atl_stun_agent_set_alternate(atl_stun_agent *agent, const atl_addr *alternate);
/* Sends a datagram from the server's second IP address and second port. ATLAS_ERR_NOT_FOUND when it
 * has none of remote's family, or what io->udp_send returns. */
int32_t atl_stun_agent_send_alternate(atl_stun_agent *agent, const atl_addr *remote,
                                      const uint8_t *data, size_t len);
/* For transactions that are not probes (connectivity checks). */
atl_stun_client *atl_stun_agent_client(atl_stun_agent *agent);

/* Cancels every probe: their final events follow. */
void atl_stun_agent_cancel_all(atl_stun_agent *agent);
/* Probes whose final event has not been delivered yet. */
size_t atl_stun_agent_probes(const atl_stun_agent *agent);

#endif
