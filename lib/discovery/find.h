/* One search for records on all bootstrap nodes at once: the record of a peer, or records of those
 * that offer something. Whatever comes is checked and goes into the cache first. */
#ifndef ATL_DISCOVERY_FIND_H
#define ATL_DISCOVERY_FIND_H

#include "discovery/discovery.h"

#define ATL_FIND_TIMEOUT (5 * ATL_SECOND)
#define ATL_FIND_PAGE 100 /* records asked for at once */

typedef struct atl_find atl_find;

typedef struct atl_find_ops {
    /* A record of that peer, or of one that offers what was asked for: the newest that is known
     * here (the node may have an older one). Valid during the call. */
    void (*on_record)(void *user, const atl_record_cached *record, const atl_boot_node *from,
                      uint64_t rtt);
    /* A node has failed, or has no such record (ATLAS_ERR_RECORD_NOT_FOUND). */
    void (*on_failed)(void *user, const atl_boot_node *from, int32_t code, const char *text);
    /* Final: all nodes have answered or failed. ATLAS_OK when any record came; else
     * ATLAS_ERR_RECORD_NOT_FOUND when a node has said so, else the last failure. The search is
     * gone. */
    void (*on_end)(void *user, int32_t code);
} atl_find_ops;

/* Upcalls come in the drive call, never from inside start. Any of them may cancel the search.
 * ATLAS_ERR_NO_BOOTSTRAP, ATLAS_ERR_NOMEM, ATLAS_ERR_SHUTDOWN. `timeout` nanoseconds for all of it.
 */
int32_t atl_find_peer(atl_discovery *disc, const atl_peer_id *peer, uint64_t timeout,
                      const atl_find_ops *ops, void *user, atl_find **out);
/* `offer`: one bit. At most `limit` records of each node; a random sample, or page by page. */
int32_t atl_find_offers(atl_discovery *disc, uint32_t offer, size_t limit, int random,
                        uint64_t timeout, const atl_find_ops *ops, void *user, atl_find **out);
/* A bootstrap node has become known: searches for peers that are under way ask it, too. */
void atl_find_add_node(atl_discovery *disc, atl_boot_node *node);
/* No more will become known: searches that waited for that end. */
void atl_find_check_all(atl_discovery *disc);
/* No upcall afterwards. */
void atl_find_cancel(atl_find *find);

#endif
