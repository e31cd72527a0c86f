/* NAT probes: the public atlas_nat handle.
 *
 * All servers are asked from the node's own socket first (by a probe, stun/probe.h). The first that
 * tells another address of its own is asked for the rest, family by family (stun/nat_run.c); where
 * none does, what the servers saw is compared. The callback is called from event tasks only. */
#ifndef ATL_STUN_NAT_H
#define ATL_STUN_NAT_H

#include <atlas/nat.h>

#include "stun/agent.h"

typedef struct atl_nat_config {
    uint64_t timeout;  /* nanoseconds, of each step */
    uint64_t lifetime; /* nanoseconds for the search of the lifetime; 0: none */
} atl_nat_config;

/* As atlas_nat_probe(); nothing of the arguments needs to outlive the call. */
int32_t atl_nat_start(atl_stun_agent *agent, const char *const *servers, size_t n,
                      const atl_nat_config *config, atlas_nat_cb cb, void *user, atlas_nat **out);
/* The final event, with ATLAS_ERR_CANCELLED, follows; nothing before it. Without effect in or after
 * the final event. */
void atl_nat_cancel(atlas_nat *nat);
/* Ends it without event. */
void atl_nat_free(atlas_nat *nat);
/* The NAT probe that is linked by this node of the agent's list. */
atlas_nat *atl_nat_of(atl_list *node);
/* The `user` of the agent's configuration. */
void *atl_nat_owner(const atlas_nat *nat);

#endif
