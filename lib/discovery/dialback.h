/* The dial-back service: sends a datagram with the asker's nonce to its candidates, from a port
 * and, where this host has one (the STUN server's second address), an address that the asker has
 * not written to. Only to the IP address from which the asker's own connection comes; limited per
 * node, per address, and in all; never more bytes than the request took. */
#ifndef ATL_DISCOVERY_DIALBACK_H
#define ATL_DISCOVERY_DIALBACK_H

#include "discovery/dialback_message.h"
#include "relay/server.h"

typedef struct atl_dialback atl_dialback;

typedef struct atl_dialback_config {
    atl_loop *loop;
    const atl_io *io;
    void *user; /* for the two calls below */
    /* Sends from the STUN server's second address and port; ATLAS_ERR_NOT_FOUND when there is none
     * of that family. */
    int32_t (*send_other)(void *user, const atl_addr *remote, const uint8_t *data, size_t len);
    /* The bound address of a family (atl_endpoint_local), from whose IP another port is used. */
    int32_t (*local)(void *user, uint8_t family, atl_addr *out);
} atl_dialback_config;

typedef struct atl_dialback_stats {
    uint64_t requests;
    uint64_t datagrams;                           /* sent */
    uint64_t refused_malformed, refused_identity; /* no certificate */
    uint64_t refused_rate;                        /* per node, per address, or in all */
    uint64_t refused_candidates; /* candidates of other addresses than the asker's */
} atl_dialback_stats;

int32_t atl_dialback_new(const atl_dialback_config *config, atl_dialback **out);
void atl_dialback_free(atl_dialback *dialback); /* NULL is allowed */
const atl_dialback_stats *atl_dialback_get_stats(const atl_dialback *dialback);
/* The hooks for relay/server.h's table of requests; `user` is the service. Takes
 * ATL_DIALBACK_PATH. */
extern const atl_requests_ops atl_dialback_ops;

#endif
