/* The node's HTTP/3 server, for the context that owns it. */
#ifndef ATL_API_SERVER_H
#define ATL_API_SERVER_H

#include "discovery/dialback.h"
#include "discovery/registry_http.h"
#include "relay/server.h"

#include <atlas/discovery.h>

/* Makes the server, with dial-backs and without a relay, where there is none. For use after
 * atl_ctx_enter(). */
int32_t atl_ctx_server(atlas_ctx *ctx);
void atl_ctx_server_free(atlas_ctx *ctx);
/* This node is public, and is to offer a relay; or no longer. */
void atl_ctx_offer(atlas_ctx *ctx, int on);
/* As atlas_status_page(), from inside a turn. */
int32_t atl_status_page(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len);

#endif
