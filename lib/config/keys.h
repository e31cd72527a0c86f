/* The keys of the configuration file: their sections, kinds and ranges. */
#ifndef ATL_CONFIG_KEYS_H
#define ATL_CONFIG_KEYS_H

#include <atlas/context.h>

/* Kinds. */
#define ATL_KEY_BOOL 1
#define ATL_KEY_NUMBER 2
#define ATL_KEY_SECONDS 3 /* decimals allowed; min, max and value in milliseconds */
#define ATL_KEY_LIST 4

/* Lists. */
#define ATL_LIST_RELAYS 0
#define ATL_LIST_BOOTSTRAP 1
#define ATL_LIST_STUN 2
#define ATL_LIST_ALLOW 3
#define ATL_LIST_DENY 4
#define ATL_LIST_COUNT 5

typedef struct atl_config_key {
    const char *section;
    const char *name;
    uint32_t kind;   /* ATL_KEY_* */
    uint32_t target; /* ATLAS_OPT_*, or ATL_LIST_* for lists */
    uint64_t min;
    uint64_t max;
} atl_config_key;

#define ATL_CONFIG_KEYS 41

extern const atl_config_key atl_config_keys[ATL_CONFIG_KEYS];

/* The index of a key, or -1. */
int32_t atl_config_key_find(const char *section, const char *name);
/* The section that has a key of this name, or NULL. */
const char *atl_config_key_section(const char *name, size_t len);
/* 1 when a section of this name is ours. */
int atl_config_section_known(const char *name, size_t len);
/* The name that was probably meant, or NULL: a section, or a key of `section`. *other receives the
 * section when the very key belongs to another one. */
const char *atl_config_section_near(const char *name, size_t len);
const char *atl_config_key_near(const char *section, const char *name, const char **other);

#endif
