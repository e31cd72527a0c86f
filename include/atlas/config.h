/* libatlas: the configuration file.
 *
 * INI syntax with TOML-style values: "quoted" or 'quoted' strings, numbers, true and false, arrays
 * of strings on one line or several, comments from # or ; to the end of the line. Sections of
 * others are ignored; an unknown key in one of ours, or before any section, is a warning; a wrong
 * value or a key given twice is an error with file, line and what was expected.
 *
 * [network]   port, ipv4, ipv6, relays (array of multiaddrs ending in /p2p/ID), bootstrap (array of
 *             multiaddrs ending in /p2p/ID)
 * [stun]      servers (array of "HOST:PORT"), timeout (seconds), serve (boolean), rate
 * [transport] enable_relay, offer_relay (needs enable_relay), relay_bandwidth_limit (bytes per
 *             second), relay_delay (seconds), idle_timeout (seconds), handshake_timeout (seconds),
 *             presence_interval (seconds), max_connections, max_streams_per_conn,
 *             max_message_size (bytes), stream_buffer (bytes), gso, upgrade (boolean),
 *             keepalive_max (seconds), idle_mode_max_secs, autorelay (0 never, 1 where this
 *             node cannot be reached otherwise, 2 always), autorelay_count
 * [security]  handshake_limit, max_clock_drift_secs
 * [relay]     total_bandwidth (bytes per second), max_nodes, max_circuits, max_circuits_per_node,
 *             max_per_ipv4, max_per_ipv6_64, handshakes, allow, deny (arrays of peer ids)
 * [registry]  record_lifetime (seconds), max_records, max_per_ipv4, max_per_ipv6_64
 *
 * Each sets the option ATLAS_OPT_* of that meaning (atlas/context.h has ranges and defaults), or
 * adds to the lists of atlas/relay.h, atlas/discovery.h and atlas/stun.h. Seconds may have up to
 * three decimals. */
#ifndef ATLAS_CONFIG_H
#define ATLAS_CONFIG_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One complaint about a configuration file: `code` is ATLAS_ERR_CONFIG for an error, ATLAS_OK for a
 * warning. `text` begins with file and line. At most 64 are passed on. The strings are valid
 * during the call, which must not call the library. */
typedef void (*atlas_config_cb)(void *user, int32_t code, const char *file, uint32_t line,
                                const char *text);

/* Reads `path` and applies it to the context, all of it or (on an error) nothing. Call it before
 * the sockets are opened. Options that the file does not set stay as they are; relays, servers and
 * peer ids are added to those that are there. Every complaint is passed to `cb` (may be NULL).
 * Returns ATLAS_OK, ATLAS_ERR_NOT_FOUND, ATLAS_ERR_PERMISSION, ATLAS_ERR_CONFIG,
 * ATLAS_ERR_TOO_LARGE (1 MiB), ATLAS_ERR_INVALID when it is not a regular file, ATLAS_ERR_IO,
 * ATLAS_ERR_STATE, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_config_load(atlas_ctx *ctx, const char *path, atlas_config_cb cb,
                                    void *user);

/* The same from memory; `name` stands for the file in complaints (NULL: "configuration"). */
ATLAS_API int32_t atlas_config_parse(atlas_ctx *ctx, const char *text, size_t len, const char *name,
                                     atlas_config_cb cb, void *user);

#ifdef __cplusplus
}
#endif
#endif
