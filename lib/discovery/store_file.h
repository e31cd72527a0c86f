/* The registry on disk (SQLite), for bootstrap nodes that are to know everything again after a
 * restart. What was committed survives a kill at any moment and a loss of power. */
#ifndef ATL_DISCOVERY_STORE_FILE_H
#define ATL_DISCOVERY_STORE_FILE_H

#include "discovery/record_store.h"

typedef struct atl_store_file atl_store_file;

/* Opens or makes the file (mode 0600). ATLAS_ERR_UNSUPPORTED when built without SQLite,
 * ATLAS_ERR_NOT_FOUND, ATLAS_ERR_PERMISSION, ATLAS_ERR_AGAIN when another process has it,
 * ATLAS_ERR_MALFORMED when it is something else or damaged, ATLAS_ERR_IO, ATLAS_ERR_NOMEM. A
 * message of SQLite goes to the log. */
int32_t atl_store_file_open(atl_env *env, const char *path, atl_store_file **out);
/* Commits what is pending, and closes. NULL is allowed. */
void atl_store_file_close(atl_store_file *file);
/* Puts everything that has not expired into the store (records are checked again: the file may have
 * been changed by others; tombstones too). `wall` in milliseconds, `now` of the loop, `drift` in
 * seconds. Bad rows are dropped and counted in *refused (may be NULL). */
int32_t atl_store_file_load(atl_store_file *file, atl_record_store *store, int64_t wall,
                            uint64_t now, uint64_t drift, size_t *loaded, size_t *refused);

/* Queues a change; nothing is on disk before atl_store_file_commit() returned ATLAS_OK. `expires`
 * in wall-clock milliseconds. A record with len 0 is a tombstone. */
int32_t atl_store_file_put(atl_store_file *file, const atl_record_put *put, int64_t expires);
int32_t atl_store_file_tombstone(atl_store_file *file, const atl_peer_id *peer, uint64_t seq,
                                 int64_t expires);
/* Everything queued, in one transaction. After an error nothing of it is there, and the queue is
 * empty. ATLAS_ERR_IO (disk full among it). */
int32_t atl_store_file_commit(atl_store_file *file);
/* Changes queued. */
size_t atl_store_file_pending(const atl_store_file *file);
/* Removes rows that have expired by `wall`. */
int32_t atl_store_file_expire(atl_store_file *file, int64_t wall);

#endif
