/* Reads a configuration file into memory. */
#ifndef ATL_CONFIG_FILE_H
#define ATL_CONFIG_FILE_H

#include "base/env.h"

/* The whole of the regular file `path`, to be freed with atl_free(). ATLAS_ERR_NOT_FOUND,
 * ATLAS_ERR_PERMISSION, ATLAS_ERR_INVALID when it is no regular file, ATLAS_ERR_TOO_LARGE,
 * ATLAS_ERR_IO, ATLAS_ERR_NOMEM. */
int32_t atl_config_read_file(atl_env *env, const char *path, char **text, size_t *len);

#endif
