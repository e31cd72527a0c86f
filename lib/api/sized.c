#include "api/sized.h"

#include <string.h>

const atl_sized atl_sized_callbacks = {{offsetof(atlas_callbacks, on_idle),
                                        offsetof(atlas_callbacks, on_reach),
                                        sizeof(atlas_callbacks)}};
const atl_sized atl_sized_conn_callbacks = {
    {offsetof(atlas_conn_callbacks, on_upgrade), sizeof(atlas_conn_callbacks)}};
const atl_sized atl_sized_path_info = {
    {offsetof(atlas_path_info, candidate), sizeof(atlas_path_info)}};

/* Callers in other languages may align their structures as they like. */
static uint64_t size_of(const void *table) {
    uint64_t size;

    memcpy(&size, table, sizeof(size));
    return size;
}

static uint64_t present(const atl_sized *versions) {
    size_t i = 0;

    while (i + 1 < ATL_SIZED_VERSIONS && versions->sizes[i + 1] != 0) {
        i++;
    }
    return versions->sizes[i];
}

int32_t atl_sized_check(const atl_sized *versions, const void *table) {
    size_t i;

    for (i = 0; table != NULL && i < ATL_SIZED_VERSIONS && versions->sizes[i] != 0; i++) {
        if (size_of(table) == versions->sizes[i]) {
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_INVALID;
}

int32_t atl_sized_take(const atl_sized *versions, const void *table, void *out) {
    uint64_t full = present(versions);

    if (atl_sized_check(versions, table) != ATLAS_OK) {
        return ATLAS_ERR_INVALID;
    }
    memset(out, 0, full);
    memcpy(out, table, size_of(table));
    memcpy(out, &full, sizeof(full));
    return ATLAS_OK;
}

int32_t atl_sized_give(const atl_sized *versions, const void *full, void *out) {
    const size_t head = sizeof(uint64_t);

    if (atl_sized_check(versions, out) != ATLAS_OK) {
        return ATLAS_ERR_INVALID;
    }
    memcpy((uint8_t *)out + head, (const uint8_t *)full + head, size_of(out) - head);
    return ATLAS_OK;
}
