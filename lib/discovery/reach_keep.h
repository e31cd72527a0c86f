/* Keeps a NAT's mapping alive: where this node is public at an address that is none of its host's,
 * strangers reach it only as long as its NAT remembers the mapping, and no round would notice its
 * end: a round's own requests open another one. So some server is asked for this node's address (a
 * STUN request from its own socket) every 25 s, and a mapping that has changed is noticed at once.
 * docs/discovery.md, section 6. */
#ifndef ATL_DISCOVERY_REACH_KEEP_H
#define ATL_DISCOVERY_REACH_KEEP_H

#include "address/addr.h"
#include "base/loop.h"
#include "stun/client.h"

#define ATL_REACH_KEEP (25 * ATL_SECOND)      /* RFC 4787 REQ-5: most NATs remember for longer */
#define ATL_REACH_KEEP_LEAST (5 * ATL_SECOND) /* for those that do not */

struct atl_discovery;

/* Of one address family. */
typedef struct atl_reach_keep {
    struct atl_discovery *disc;
    uint8_t family;
    uint8_t on;
    uint8_t known;    /* `seen` is what `server` has said last */
    uint8_t moved;    /* and it was another address than before */
    uint8_t failures; /* in a row */
    uint64_t wait;    /* shorter than usual, since mappings did not last; 0: as usual */
    atl_addr server;  /* who is asked, as long as it answers; family 0: nobody yet */
    atl_addr seen;
    atl_timer timer;
    atl_stun_txn *txn; /* NULL: none under way */
} atl_reach_keep;

void atl_reach_keep_init(atl_reach_keep *keep, struct atl_discovery *disc, uint8_t family);
/* The verdict, or whether anything is to be sent at all (idle mode), may have changed. */
void atl_reach_keep_update(atl_reach_keep *keep);
void atl_reach_keep_stop(atl_reach_keep *keep);

#endif
