/* Probes: several STUN servers asked at once, by name or address, over both families, under one
 * deadline.
 *
 * A probe is the public atlas_stun handle. Its callback is called only from event tasks of the
 * loop. */
#ifndef ATL_STUN_PROBE_H
#define ATL_STUN_PROBE_H

#include "stun/agent.h"
#include "stun/target.h"

#define ATL_STUN_SERVERS_MAX 64
#define ATL_STUN_TIMEOUT_MIN (100 * ATL_MS)

/* Starts a probe of 1..64 servers; `timeout` in nanoseconds; `creds` may be NULL. Nothing of the
 * arguments needs to outlive the call. `cb` and the result are those of atlas_stun_probe().
 * ATLAS_ERR_INVALID, ATLAS_ERR_ADDRESS, ATLAS_ERR_NOMEM. */
int32_t atl_stun_probe_start(atl_stun_agent *agent, const char *const *servers, size_t n,
                             uint64_t timeout, const atl_stun_creds *creds, atlas_stun_cb cb,
                             void *user, atlas_stun **out);
/* The final event, with ATLAS_ERR_CANCELLED, follows; nothing before it. Without effect in or after
 * the final event. */
void atl_stun_probe_cancel(atlas_stun *probe);
/* Ends it without event. */
void atl_stun_probe_free(atlas_stun *probe);
/* The probe that is linked by this node of the agent's list. */
atlas_stun *atl_stun_probe_of(atl_list *node);
/* During a result callback: the whole answer behind it. */
const atl_stun_reply *atl_stun_probe_reply(const atlas_stun *probe);
/* The `user` of the agent's configuration. */
void *atl_stun_probe_owner(const atlas_stun *probe);

#endif
