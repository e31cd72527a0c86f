/* Who can be asked for dial-backs: the bootstrap nodes, the relays that the application has named,
 * and nodes whose records offer them. Anybody can publish such a record: so one server of an IP
 * address is taken and two of a network, each for as long as its record lasts, and one that was of
 * no use in two rounds is left alone for an hour. */
#ifndef ATL_DISCOVERY_SERVERS_H
#define ATL_DISCOVERY_SERVERS_H

#include "address/multiaddr.h"
#include "base/list.h"
#include "discovery/reach.h"
#include "discovery/reach_keep.h"

#define ATL_SERVERS_MAX 32        /* that records have named */
#define ATL_SERVERS_PER_NETWORK 2 /* of these, in one IPv4 /24 or IPv6 /48 */
#define ATL_SERVERS_FAILED 32     /* remembered; the oldest is forgotten */

struct atl_discovery;
struct atl_find;

/* One that did not answer. */
typedef struct atl_server_failed {
    atl_peer_id peer;
    uint8_t family;
    uint8_t rounds;
    uint64_t at; /* the last time */
} atl_server_failed;

typedef struct atl_servers {
    struct atl_discovery *disc;
    atl_list list; /* those that are no bootstrap nodes; the newest last */
    size_t count;  /* of these, named by records */
    size_t n_failed;
    atl_server_failed failed[ATL_SERVERS_FAILED];
    uint64_t sought_at;    /* when others were looked for last; 0: not yet */
    struct atl_find *find; /* under way */
    atl_reach_keep keep[2];
} atl_servers;

void atl_servers_init(atl_servers *servers, struct atl_discovery *disc);
void atl_servers_free(atl_servers *servers);
/* Reachability is of interest no longer: ends what runs by itself. */
void atl_servers_stop(atl_servers *servers);
/* A node's record offers dial-backs at this address (an IP address). When there are too many, the
 * oldest that nobody waits for makes way. */
void atl_servers_add(atl_servers *servers, const atl_maddr *addr);

/* For atl_reach_config; `user` is the atl_discovery. */
size_t atl_servers_list(void *user, atl_reach_server *out, size_t cap);
int32_t atl_servers_ask(void *user, const atl_reach_server *server, const uint8_t *body, size_t len,
                        uint64_t timeout,
                        void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len,
                                     const char *text),
                        void *done_user, void **request);
void atl_servers_cancel(void *user, void *request);
int atl_servers_has_met(void *user, const atl_addr *ip);
void atl_servers_told(void *user, const atl_reach_server *server, int answered);

#endif
