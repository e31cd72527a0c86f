/* Who can be asked for dial-backs: the bootstrap nodes, and nodes whose records offer them. */
#ifndef ATL_DISCOVERY_SERVERS_H
#define ATL_DISCOVERY_SERVERS_H

#include "address/multiaddr.h"
#include "base/list.h"
#include "discovery/reach.h"

#define ATL_SERVERS_MAX 32 /* besides the bootstrap nodes */

struct atl_discovery;

typedef struct atl_servers {
    struct atl_discovery *disc;
    atl_list list; /* those that are no bootstrap nodes; the newest last */
    size_t count;
} atl_servers;

void atl_servers_init(atl_servers *servers, struct atl_discovery *disc);
void atl_servers_free(atl_servers *servers);
/* A node's record offers dial-backs at this address (an IP address). When there are too many, the
 * oldest that nobody waits for makes way. */
void atl_servers_add(atl_servers *servers, const atl_maddr *addr);
size_t atl_servers_count(const atl_servers *servers);

/* For atl_reach_config; `user` is the atl_discovery. */
size_t atl_servers_list(void *user, atl_reach_server *out, size_t cap);
int32_t atl_servers_ask(void *user, const atl_reach_server *server, const uint8_t *body, size_t len,
                        uint64_t timeout,
                        void (*done)(void *done_user, int32_t code, const uint8_t *body, size_t len,
                                     const char *text),
                        void *done_user, void **request);
void atl_servers_cancel(void *user, void *request);
int atl_servers_has_met(void *user, const atl_addr *ip);

#endif
