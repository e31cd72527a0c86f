/* What commands that run a node print alike: its addresses, its relays, what became of a
 * connection. */
#ifndef ATLAS_PROGRAM_NODE_H
#define ATLAS_PROGRAM_NODE_H

#include "app.h"

/* The event "ready" with this node's id and addresses. */
void node_ready(app *a, const char *what);
/* An on_relay callback: "announced" once for every time that the node becomes reachable, an error
 * when it no longer is. */
void node_on_relay(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event);
/* The events "connected", "path", "upgrade" and "closed" of a connection. */
void node_connected(app *a, const char *event, atlas_conn *conn);
void node_path(app *a, atlas_conn *conn, const atlas_path_info *path, const char *reason);
void node_upgrade(app *a, atlas_conn *conn, const atlas_upgrade_info *info);
/* `fields` adds more of them to "closed"; NULL: none. */
void node_closed(app *a, atlas_conn *conn, int32_t code, const char *text, void (*fields)(app *a));
void node_message(app *a, atlas_conn *conn, const uint8_t *data, size_t len);
/* "direct (192.0.2.1:4001)" or "relay (12D3..., 192.0.2.1:4001)"; in JSON the fields path, addr,
 * relay and rtt_ms. */
void node_path_fields(app *a, const atlas_path_info *path);
/* The field "path" alone; none for ATLAS_PATH_NONE, which a connection has that is gone already. */
void node_path_kind(app *a, uint32_t kind);
const char *node_path_text(const atlas_path_info *path, char *buf, size_t cap);

#endif
