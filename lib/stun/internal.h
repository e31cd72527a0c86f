/* What agent.c, probe.c and nat.c share. */
#ifndef ATL_STUN_INTERNAL_H
#define ATL_STUN_INTERNAL_H

#include "stun/agent.h"
#include "stun/alternate.h"

struct atl_stun_agent {
    atl_stun_agent_config config;
    atl_stun_client *client;
    atl_stun_server *server;
    int serving;
    atl_stun_alternate *alternate[2]; /* IPv4, IPv6 */
    atl_addr second[2];               /* the alternate's address and port */
    atl_list probes;                  /* atlas_stun.node */
    atl_list nats;                    /* atlas_nat.node */
};

/* The local address towards `remote`, port included; with remote NULL, the first address of
 * the host that has a socket. ATLAS_ERR_FAMILY, ATLAS_ERR_UNREACHABLE when there is none. */
int32_t atl_stun_local_for(const atl_stun_agent *agent, const atl_addr *remote, atl_addr *out);

#endif
