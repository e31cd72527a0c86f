/* Reading the registry's file into its memory. */
#include "discovery/store_file_internal.h"

#include <string.h>

#define LEFT_MAX \
    (2 * (int64_t)ATL_RECORD_LIFETIME_MAX * 1000) /* milliseconds: none is kept longer */

/* What becomes of a row. */
enum { ROW_TAKEN, ROW_EXPIRED, ROW_FUTURE, ROW_BAD };

typedef struct loading {
    atl_record_store *store;
    int64_t wall; /* milliseconds */
    uint64_t now;
    uint64_t drift; /* seconds */
} loading;

typedef struct row {
    atl_peer_id peer;
    uint64_t seq;
    int64_t expires;
    uint8_t verified;
    atl_addr source;
    const uint8_t *data;
    size_t len;
} row;

static int is_blob(sqlite3_stmt *select, int column, int min, int max) {
    int len = sqlite3_column_bytes(select, column);

    return sqlite3_column_type(select, column) == SQLITE_BLOB && len >= min && len <= max;
}

/* 0 when it is not of the form that we write. */
static int read_row(sqlite3_stmt *select, row *out) {
    int source_len = sqlite3_column_bytes(select, 5);
    int i;

    memset(out, 0, sizeof(*out));
    for (i = 2; i <= 4; i++) {
        if (sqlite3_column_type(select, i) != SQLITE_INTEGER) {
            return 0;
        }
    }
    if (!is_blob(select, 1, sizeof(out->peer.key), sizeof(out->peer.key)) ||
        sqlite3_column_int64(select, 2) < 0 || !is_blob(select, 5, 0, 8) ||
        (source_len != 0 && source_len != 4 && source_len != 8) ||
        !is_blob(select, 6, 0, ATL_RECORD_MAX)) {
        return 0;
    }
    memcpy(out->peer.key, sqlite3_column_blob(select, 1), sizeof(out->peer.key));
    out->seq = (uint64_t)sqlite3_column_int64(select, 2);
    out->expires = sqlite3_column_int64(select, 3);
    out->verified = sqlite3_column_int64(select, 4) != 0;
    if (source_len > 0) {
        memcpy(out->source.ip, sqlite3_column_blob(select, 5), (size_t)source_len);
        out->source.family = source_len == 4 ? 4 : 6;
    }
    out->data = sqlite3_column_blob(select, 6);
    out->len = (size_t)sqlite3_column_bytes(select, 6);
    return 1;
}

static int32_t verdict_of(int32_t rc, int *out) {
    *out = rc == ATLAS_OK || rc == ATLAS_ERR_EXISTS ? ROW_TAKEN
           : rc == ATLAS_ERR_RECORD_EXPIRED         ? ROW_EXPIRED
           : rc == ATLAS_ERR_RECORD_FUTURE          ? ROW_FUTURE
                                                    : ROW_BAD;
    return rc == ATLAS_ERR_NOMEM ? rc : ATLAS_OK;
}

/* Checks a row as if a stranger had put it. ATLAS_ERR_NOMEM. */
static int32_t load_row(const loading *l, sqlite3_stmt *select, int *verdict) {
    atl_record_head head;
    atl_record_put put;
    uint64_t left;
    int32_t rc;
    row r;

    if (!read_row(select, &r)) {
        return verdict_of(ATLAS_ERR_MALFORMED, verdict);
    }
    if (r.expires <= l->wall) {
        return verdict_of(ATLAS_ERR_RECORD_EXPIRED, verdict);
    }
    left = (uint64_t)(r.expires > l->wall + LEFT_MAX ? LEFT_MAX : r.expires - l->wall) * ATL_MS;
    if (r.len == 0) {
        rc = atl_record_store_bury(l->store, &r.peer, r.seq, &r.source, l->now + left, l->now);
        return verdict_of(rc, verdict);
    }
    rc = atl_record_check(r.data, r.len, &head);
    if (rc == ATLAS_OK && (!atl_peer_id_equal(&head.peer, &r.peer) || head.seq != r.seq)) {
        rc = ATLAS_ERR_MALFORMED;
    }
    if (rc == ATLAS_OK) {
        rc = atl_record_in_time(&head, l->wall, l->drift);
    }
    if (rc == ATLAS_OK) {
        memset(&put, 0, sizeof(put));
        put.head = &head;
        put.data = r.data;
        put.len = r.len;
        put.source = &r.source;
        put.verified = r.verified;
        put.expires =
            l->now + atl_record_time_left(&head, l->wall - (int64_t)l->drift * 1000, left);
        rc = atl_record_store_put(l->store, &put, l->now);
    }
    return verdict_of(rc, verdict);
}

static void on_evict(void *user, const atl_peer_id *peer) {
    (void)atl_store_file_remove(user, peer);
}

/* One row after the other: what is read takes no memory but the store's. */
static int32_t load_rows(atl_store_file *file, const loading *l, size_t *taken, size_t *refused) {
    sqlite3_stmt *select = file->statements[ATL_SQL_SELECT];
    int32_t rc = ATLAS_OK;
    int verdict = 0;
    int sqlite;

    while ((sqlite = sqlite3_step(select)) == SQLITE_ROW) {
        rc = load_row(l, select, &verdict);
        if (rc != ATLAS_OK) {
            break;
        }
        *taken += verdict == ROW_TAKEN;
        *refused += verdict == ROW_BAD || verdict == ROW_FUTURE;
        if (verdict == ROW_BAD) {
            (void)sqlite3_bind_int64(file->statements[ATL_SQL_REMOVE_ROW], 1,
                                     sqlite3_column_int64(select, 0));
            rc = atl_store_file_begin(file) == ATLAS_OK
                     ? atl_store_file_change(file, ATL_SQL_REMOVE_ROW)
                     : file->failed;
        }
        if (rc != ATLAS_OK || (rc = file->failed) != ATLAS_OK) {
            break;
        }
    }
    if (rc == ATLAS_OK && sqlite != SQLITE_DONE) {
        rc = atl_store_file_report(file, sqlite, "load");
    }
    (void)sqlite3_reset(select);
    return rc;
}

int32_t atl_store_file_load(atl_store_file *file, atl_record_store *store, int64_t wall,
                            uint64_t now, uint64_t drift, size_t *loaded, size_t *refused) {
    loading l = {store, wall > 0 ? wall : 0, now, drift};
    size_t taken = 0;
    size_t bad = 0;
    size_t evicted;
    int32_t rc;
    int32_t committed;

    l.drift = drift < ATL_RECORD_LIFETIME_MAX ? drift : ATL_RECORD_LIFETIME_MAX;
    file->store = store;
    atl_record_store_on_evict(store, on_evict, file);
    atl_record_store_reset_counters(store);
    rc = atl_store_file_begin(file);
    if (rc == ATLAS_OK) {
        rc = load_rows(file, &l, &taken, &bad);
    }
    /* nothing is removed from a file that cannot be read to its end */
    if (rc != ATLAS_OK) {
        file->failed = rc;
    }
    committed = atl_store_file_commit(file);
    rc = rc == ATLAS_OK ? committed : rc;
    evicted = (size_t)atl_record_store_get_stats(store)->evicted;
    atl_record_store_reset_counters(store);
    if (rc == ATLAS_OK && loaded != NULL) {
        *loaded = taken - evicted;
    }
    if (rc == ATLAS_OK && refused != NULL) {
        *refused = bad + evicted;
    }
    return rc;
}
