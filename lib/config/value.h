/* Values of the configuration file: numbers, booleans, quoted strings and arrays of strings, in
 * TOML's notation. A cursor runs over the text of one value; on an error it stays where the trouble
 * is. */
#ifndef ATL_CONFIG_VALUE_H
#define ATL_CONFIG_VALUE_H

#include <atlas/error.h>

#define ATL_CONFIG_STRING_MAX 1024 /* bytes of a string, its NUL included */

typedef struct atl_config_value {
    const char *text; /* what is left of the value, not NUL-terminated */
    size_t len;
    uint32_t line;   /* the line that `text` is in */
    const char *why; /* after an error: what was wrong, or NULL when that is plain */
} atl_config_value;

/* All return ATLAS_OK or ATLAS_ERR_CONFIG, and leave the output untouched on an error. */
int32_t atl_value_bool(atl_config_value *value, uint64_t *out);
/* A number without sign, digits perhaps grouped by _. With `scale` 1000 it may have up to three
 * decimals and is returned in thousandths. */
int32_t atl_value_number(atl_config_value *value, uint64_t scale, uint64_t *out);
/* "basic" or 'literal'; no control characters. */
int32_t atl_value_string(atl_config_value *value, char out[ATL_CONFIG_STRING_MAX]);
/* Nothing but spaces and a comment may follow. */
int32_t atl_value_end(atl_config_value *value);

/* An array: begin, then next until it stores 0 in *more, which has eaten the closing bracket. */
int32_t atl_value_array_begin(atl_config_value *value);
int32_t atl_value_array_next(atl_config_value *value, uint32_t *more,
                             char out[ATL_CONFIG_STRING_MAX]);

#endif
