/* The registry's file in a build without SQLite: nobody has one. */
#include "discovery/store_file.h"

int32_t atl_store_file_open(atl_env *env, const char *path, atl_store_file **out) {
    (void)path;
    (void)out;
    atl_log(env, ATLAS_LOG_WARN, "registry file: built without SQLite");
    return ATLAS_ERR_UNSUPPORTED;
}

void atl_store_file_close(atl_store_file *file) {
    (void)file;
}

int32_t atl_store_file_load(atl_store_file *file, atl_record_store *store, int64_t wall,
                            uint64_t now, uint64_t drift, size_t *loaded, size_t *refused) {
    (void)file;
    (void)store;
    (void)wall;
    (void)now;
    (void)drift;
    (void)loaded;
    (void)refused;
    return ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_store_file_sync(atl_store_file *file, const atl_record_store *store,
                            const atl_peer_id *peer, int64_t wall, uint64_t now) {
    (void)file;
    (void)store;
    (void)peer;
    (void)wall;
    (void)now;
    return ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_store_file_put(atl_store_file *file, const atl_record_put *put, int64_t expires) {
    (void)file;
    (void)put;
    (void)expires;
    return ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_store_file_tombstone(atl_store_file *file, const atl_peer_id *peer, uint64_t seq,
                                 int64_t expires) {
    (void)file;
    (void)peer;
    (void)seq;
    (void)expires;
    return ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_store_file_remove(atl_store_file *file, const atl_peer_id *peer) {
    (void)file;
    (void)peer;
    return ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_store_file_commit(atl_store_file *file) {
    (void)file;
    return ATLAS_ERR_UNSUPPORTED;
}

size_t atl_store_file_pending(const atl_store_file *file) {
    (void)file;
    return 0;
}

int32_t atl_store_file_expire(atl_store_file *file, int64_t wall) {
    (void)file;
    (void)wall;
    return ATLAS_ERR_UNSUPPORTED;
}
