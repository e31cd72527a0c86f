/* Shared by servers.c and servers_ask.c only: what is known of a server. */
#ifndef ATL_DISCOVERY_SERVERS_IMPL_H
#define ATL_DISCOVERY_SERVERS_IMPL_H

#include "discovery/link.h"
#include "discovery/servers.h"

/* One that is no bootstrap node. */
typedef struct atl_server {
    atl_list node;
    atl_maddr addr;
    atl_link *link;   /* NULL while nobody is asked */
    uint8_t relay;    /* the application has named it as a relay */
    uint8_t met;      /* this node has written to it */
    size_t asks;      /* under way */
    uint64_t expires; /* with the record that has named it; ATLAS_NO_DEADLINE: never */
} atl_server;

/* The one of a list, as long as it is there: another may be where it was. */
atl_server *atl_servers_find(atl_servers *servers, const void *handle, const atl_peer_id *peer);

#endif
