/* The configuration file as a struct: parsed and checked whole, applied by the api room. */
#ifndef ATL_CONFIG_CONFIG_H
#define ATL_CONFIG_CONFIG_H

#include "base/env.h"
#include "config/keys.h"

#include <atlas/config.h>

#define ATL_CONFIG_MAX_ENTRIES 64    /* of an array */
#define ATL_CONFIG_MAX_COMPLAINTS 64 /* that are passed on; more are only counted */

typedef struct atl_config_list {
    char **items; /* as written, without the quotes; no two alike */
    size_t count;
    uint32_t line; /* of the key */
} atl_config_list;

typedef struct atl_config {
    uint32_t line[ATL_CONFIG_KEYS];  /* where a key was given; 0: it was not */
    uint64_t value[ATL_CONFIG_KEYS]; /* of keys that are no lists, in the unit of their option */
    atl_config_list lists[ATL_LIST_COUNT];
} atl_config;

/* Where complaints go. */
typedef struct atl_config_sink {
    atlas_config_cb cb; /* may be NULL */
    void *user;
    const char *file;
    uint32_t count;
    uint32_t errors;
} atl_config_sink;

/* Passes on one complaint, as "FILE:LINE: " and the text. `code` as in atlas_config_cb. */
void atl_config_complain(atl_config_sink *sink, int32_t code, uint32_t line, const char *format,
                         ...) __attribute__((format(printf, 4, 5)));

/* Parses `text`. `sink` is filled by the caller but for its counters. On success *out is to be
 * freed with atl_config_free(). ATLAS_ERR_CONFIG, ATLAS_ERR_TOO_LARGE, ATLAS_ERR_NOMEM. */
int32_t atl_config_parse(atl_env *env, const char *text, size_t len, atl_config_sink *sink,
                         atl_config **out);
/* NULL is allowed. */
void atl_config_free(atl_env *env, atl_config *config);

#endif
