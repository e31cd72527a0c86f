/* libatlas: the configuration file.
 *
 * INI syntax with TOML-style values: quoted strings, numbers, booleans, arrays of strings on one line or
 * several, # comments. The sections [network], [stun], [transport], [security] and [relay] are read; sections of
 * others are ignored; an unknown key in ours is a warning; a wrong value is an error with file, line and what
 * was expected. See README.md for the keys. */
#ifndef ATLAS_CONFIG_H
#define ATLAS_CONFIG_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One complaint about a configuration file: `code` is ATLAS_ERR_CONFIG for an error, ATLAS_OK for a warning.
 * `text` is a whole sentence with file and line. Valid during the call. */
typedef void (*atlas_config_cb)(void *user, int32_t code, const char *file, uint32_t line, const char *text);

/* Reads `path` and applies it to the context, all of it or (on an error) nothing. Call it before the
 * sockets are opened. Every complaint is passed to `cb` (may be NULL).
 * Returns ATLAS_OK, ATLAS_ERR_NOT_FOUND, ATLAS_ERR_PERMISSION, ATLAS_ERR_CONFIG, ATLAS_ERR_TOO_LARGE (1 MiB),
 * ATLAS_ERR_STATE, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_config_load(atlas_ctx *ctx, const char *path, atlas_config_cb cb, void *user);

/* The same from memory; `name` stands for the file in complaints. */
ATLAS_API int32_t atlas_config_parse(atlas_ctx *ctx, const char *text, size_t len, const char *name,
                                     atlas_config_cb cb, void *user);

#ifdef __cplusplus
}
#endif
#endif
