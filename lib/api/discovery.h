/* Discovery of a context, for the modules of the api room. */
#ifndef ATL_API_DISCOVERY_H
#define ATL_API_DISCOVERY_H

#include "discovery/discovery.h"

/* Events of discovery that wait for their delivery. */
typedef struct atl_discovery_events {
    atl_task reach[2]; /* IPv4, IPv6 */
    uint32_t told[2];
    atl_task advertise;
    atl_advertise_state advertised; /* as it was told last */
    atl_task autorelay;
    atl_list changes; /* of chosen relays */
    size_t n_changes;
} atl_discovery_events;

/* The context's discovery, made at first use. */
int32_t atl_ctx_discovery(atlas_ctx *ctx, atl_discovery **out);
/* Options have changed, or what this node serves. */
void atl_ctx_discovery_options(atlas_ctx *ctx);

/* discovery_events.c */
void atl_events_init(atlas_ctx *ctx);
void atl_events_free(atlas_ctx *ctx);
void atl_events_reach(void *user, uint8_t family, int changed);
void atl_events_advertise(void *user);
void atl_events_autorelay(void *user, const atl_autorelay_event *event);

#endif
