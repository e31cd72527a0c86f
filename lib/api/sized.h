/* Structures of the public interface that begin with their size and have grown at their end: the
 * size says which version the caller was built with. */
#ifndef ATL_API_SIZED_H
#define ATL_API_SIZED_H

#include <atlas/peer.h>

#define ATL_SIZED_VERSIONS 4

/* The sizes of one structure over the library's versions: the oldest first, the present one last,
 * then zeros. */
typedef struct atl_sized {
    uint64_t sizes[ATL_SIZED_VERSIONS];
} atl_sized;

extern const atl_sized atl_sized_callbacks;      /* atlas_callbacks */
extern const atl_sized atl_sized_conn_callbacks; /* atlas_conn_callbacks */
extern const atl_sized atl_sized_path_info;      /* atlas_path_info */

/* ATLAS_OK when `table` (which may be NULL) begins with a size that one version has, else
 * ATLAS_ERR_INVALID. */
int32_t atl_sized_check(const atl_sized *versions, const void *table);
/* A caller's table as one of the present version: what the caller does not have is zero. `out` is
 * untouched on failure. */
int32_t atl_sized_take(const atl_sized *versions, const void *table, void *out);
/* The other way: as much of `full` as the caller's structure holds, whose size stays. */
int32_t atl_sized_give(const atl_sized *versions, const void *full, void *out);

#endif
