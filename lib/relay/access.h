/* Who may use the relay: allow list, deny list, and the application's policy. */
#ifndef ATL_RELAY_ACCESS_H
#define ATL_RELAY_ACCESS_H

#include "address/addr.h"
#include "base/hashmap.h"
#include "identity/peerid.h"

#include <atlas/relay.h>

typedef struct atl_access {
    atl_env *env;
    atl_hashmap allowed;
    atl_hashmap denied;
    atlas_relay_policy policy;
    void *policy_user;
} atl_access;

int32_t atl_access_init(atl_access *access, atl_env *env);
void atl_access_free(atl_access *access);
/* Adding twice is harmless. ATLAS_OK or ATLAS_ERR_NOMEM. */
int32_t atl_access_allow(atl_access *access, const atl_peer_id *id);
int32_t atl_access_deny(atl_access *access, const atl_peer_id *id);
/* By the lists alone. */
int atl_access_listed(const atl_access *access, const atl_peer_id *id);
/* ATLAS_OK, or ATLAS_ERR_RELAY_NOT_AUTHORISED by the lists, or what the policy says. `target` may
 * be NULL. */
int32_t atl_access_check(const atl_access *access, uint32_t what, const atl_peer_id *peer,
                         const atl_peer_id *target, const atl_addr *from);

#endif
