/* The registry on disk (SQLite), for bootstrap nodes that are to know everything again after a
 * restart. What was committed survives a kill at any moment and a loss of power: a write-ahead log
 * that is on the disk (synchronous=FULL) when a commit returns.
 *
 * SQLite's memory (a few MB of cache and index of the log, whatever the file's size) does not pass
 * through the context's allocator. Calls block while the disk works.
 *
 * The file is one table, `records` (peer, seq, expires in milliseconds since 1970 UTC, verified,
 * source: 4 bytes of an IPv4 address or 8 of an IPv6 one, data: the envelope, empty for a
 * tombstone). application_id is "ATLR", user_version 1. */
#ifndef ATL_DISCOVERY_STORE_FILE_H
#define ATL_DISCOVERY_STORE_FILE_H

#include "discovery/record_store.h"

typedef struct atl_store_file atl_store_file;

/* Opens or makes the file (mode 0600, whatever the umask; one that is there keeps its mode). One
 * process at a time has it, and no other program can read it meanwhile. ATLAS_ERR_UNSUPPORTED when
 * built without SQLite, ATLAS_ERR_NOT_FOUND, ATLAS_ERR_PERMISSION, ATLAS_ERR_AGAIN when another
 * process (or this one) has it, ATLAS_ERR_MALFORMED when it is something else, of another version,
 * or damaged (nothing of it is changed then), ATLAS_ERR_INVALID, ATLAS_ERR_IO, ATLAS_ERR_NOMEM. A
 * message of SQLite goes to the log. */
int32_t atl_store_file_open(atl_env *env, const char *path, atl_store_file **out);
/* Commits what is pending, and closes; the store that it was loaded into is still there. NULL is
 * allowed. */
void atl_store_file_close(atl_store_file *file);
/* Puts everything that has not expired into the store (records are checked again: the file may have
 * been changed by others; tombstones too). `wall` in milliseconds, `now` of the loop, `drift` in
 * seconds. Bad rows, and rows for which the store has no room, are removed and counted in *refused
 * (may be NULL); records from the future are counted, and stay: it may be the clock that is wrong.
 * The store's counters begin at 0 afterwards.
 * ATLAS_ERR_MALFORMED when the file is damaged (what was read before stays in the store),
 * ATLAS_ERR_IO, ATLAS_ERR_NOMEM.
 *
 * From then on, and until the file is closed, what makes way in the store is removed from the file
 * with the next commit (the file is the one who hears of it: atl_record_store_on_evict()), so that
 * the file has no more rows than the store has records, but for expired ones. */
int32_t atl_store_file_load(atl_store_file *file, atl_record_store *store, int64_t wall,
                            uint64_t now, uint64_t drift, size_t *loaded, size_t *refused);

/* The following queue a change; nothing is on disk before atl_store_file_commit() returned
 * ATLAS_OK. An error (ATLAS_ERR_IO, ATLAS_ERR_NOMEM, ATLAS_ERR_MALFORMED, ATLAS_ERR_INVALID)
 * concerns everything that is queued: the commit will return it, too. */

/* What the store has of a peer now, record, tombstone, or nothing. `wall` in milliseconds, `now` of
 * the loop. The way to write down what atl_record_store_put() and _delete() have done: only the
 * store knows to whom a record is charged then, and whether it counts as verified. */
int32_t atl_store_file_sync(atl_store_file *file, const atl_record_store *store,
                            const atl_peer_id *peer, int64_t wall, uint64_t now);
/* A record. `expires` in wall-clock milliseconds. One with len 0 is a tombstone. */
int32_t atl_store_file_put(atl_store_file *file, const atl_record_put *put, int64_t expires);
/* A tombstone, charged to the address to which the record was. */
int32_t atl_store_file_tombstone(atl_store_file *file, const atl_peer_id *peer, uint64_t seq,
                                 int64_t expires);
/* No longer there at all. */
int32_t atl_store_file_remove(atl_store_file *file, const atl_peer_id *peer);
/* Everything queued, in one transaction, with the removal of some rows that have expired. After an
 * error nothing of it is there, and the queue is empty. ATLAS_ERR_IO (disk full among it), and what
 * the calls above return. */
int32_t atl_store_file_commit(atl_store_file *file);
/* Changes queued. */
size_t atl_store_file_pending(const atl_store_file *file);
/* Removes rows that have expired by `wall`, 1,024 at most: for times without commits. */
int32_t atl_store_file_expire(atl_store_file *file, int64_t wall);

#endif
