/* Dialling: direct candidates raced with a head start of 250 ms each (RFC 8305), relays a moment
 * later or at once where nothing direct is known, raced as well, the best and then the first in
 * their order before the others. The first authenticated and
 * confirmed handshake wins; every failure keeps its reason. */
#ifndef ATL_PEER_DIAL_H
#define ATL_PEER_DIAL_H

#include "peer/conn.h"

#define ATL_DIAL_TIMEOUT (15 * ATL_SECOND)
#define ATL_DIAL_STAGGER (250 * ATL_MS)
#define ATL_DIAL_RELAY_STAGGER (300 * ATL_MS) /* a warm relay's head start */
#define ATL_DIAL_CANDIDATES 48                /* direct addresses of one dial */
#define ATL_DIAL_TEXT 2048                    /* bytes of reasons kept */

struct atl_peers;

/* Starts a dial of a parsed target; `timeout` in nanoseconds. Nothing is called back from inside.
 * ATLAS_ERR_SELF, ATLAS_ERR_NO_ADDRESS, ATLAS_ERR_RELAY_DISABLED, ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM,
 * ATLAS_ERR_SHUTDOWN. */
int32_t atl_dial_start(struct atl_peers *peers, const atl_maddr *target, uint64_t timeout,
                       const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out);
/* ---- what is found out while a dial goes on: peer/dial_found.c ---- */

/* Who looks up where peers are (discovery/). */
struct atl_finder {
    void *user;
    /* A dial to an id alone begins. What is known is told with atl_dial_found(), from inside this
     * call or later; atl_dial_found_end() says that nothing more will come. 1: more may come. */
    int (*begin)(void *user, struct atl_dial *dial, const atl_peer_id *peer);
    /* The dial has ended before that: it must not be told of any more. */
    void (*end)(void *user, struct atl_dial *dial);
};

/* Addresses that the peer says it has: direct ones, and circuits of relays (their transport with
 * them). What nobody may make this node write to is left out. */
void atl_dial_found(struct atl_dial *dial, const atl_maddr *addrs, size_t n);
/* One who was asked has failed: kept among the reasons. */
void atl_dial_found_failed(struct atl_dial *dial, const char *whom, const char *text);
void atl_dial_found_end(struct atl_dial *dial);

/* For whoever else sends to addresses that records name. 1: others may name it at all. */
int atl_dial_is_allowed(const struct atl_peers *peers, const atl_addr *addr);
/* 1: not too often lately, in all that is sent because of records; counts as once. */
int atl_dial_may_send(struct atl_peers *peers, const atl_addr *addr);
/* 1: this node has a socket of that family, and the system a route there. */
int atl_dial_has_way(const struct atl_peers *peers, const atl_addr *addr);

/* For dial.c: asks the finder, if there is one; and tells it that the dial has ended. */
void atl_dial_find(struct atl_dial *dial);
void atl_dial_stop_finding(struct atl_dial *dial);

/* Ends the dial of a connection without events: attempts are dropped quietly. */
void atl_dial_free(atlas_conn *conn);

#endif
