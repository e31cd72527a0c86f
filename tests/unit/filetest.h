/* A registry's store with its file in a directory of its own, and signed records. Include cmocka,
 * testenv.h and storetest.h before this. */
#ifndef ATL_TESTS_UNIT_FILETEST_H
#define ATL_TESTS_UNIT_FILETEST_H

#include "discovery/store_file.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILETEST_UNUSED __attribute__((unused))

typedef struct signed_record {
    atl_record_head head;
    uint8_t data[ATL_RECORD_MAX];
    size_t len;
} signed_record;

/* Record `seq` of the peer with number n, issued at `issued` (seconds; 0: not said). */
static FILETEST_UNUSED void sign(uint32_t n, uint64_t seq, uint64_t issued, uint64_t lifetime,
                                 signed_record *out) {
    uint8_t seed[32] = {0};
    atl_record record;
    atlas_key *key;

    memcpy(seed, &n, sizeof(n));
    memset(&record, 0, sizeof(record));
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    atl_key_id(key, &record.head.peer);
    record.head.seq = seq;
    record.head.issued = issued;
    record.head.lifetime = lifetime;
    record.head.offers = n % 8;
    record.n_addrs = 1;
    assert_int_equal(atl_maddr_parse("/ip4/192.0.2.1/udp/4001/quic-v1", &record.addrs[0]),
                     ATLAS_OK);
    assert_int_equal(atl_record_make(key, &record, out->data, sizeof(out->data), &out->len),
                     ATLAS_OK);
    out->head = record.head;
    atlas_key_free(key);
}

static FILETEST_UNUSED atl_peer_id peer_id(uint32_t n) {
    uint8_t seed[32] = {0};
    atl_peer_id id;
    atlas_key *key;

    memcpy(seed, &n, sizeof(n));
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    atl_key_id(key, &id);
    atlas_key_free(key);
    return id;
}

typedef struct files {
    world w;
    atl_store_file *file;
    char dir[64];
    char path[80];
} files;

static FILETEST_UNUSED void files_init(files *f, uint64_t max, uint64_t per_address) {
    world_init(&f->w, max, per_address);
    f->file = NULL;
    (void)snprintf(f->dir, sizeof(f->dir), "%s", "/tmp/atlas-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/records.db", f->dir);
}

/* The file opened, and loaded into the store. */
static FILETEST_UNUSED int32_t files_open(files *f, size_t *loaded, size_t *refused) {
    int32_t rc = atl_store_file_open(&f->w.t.env, f->path, &f->file);

    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_store_file_load(f->file, f->w.store, f->w.t.wall, f->w.now, 60, loaded, refused);
    if (rc != ATLAS_OK) {
        atl_store_file_close(f->file);
        f->file = NULL;
    }
    return rc;
}

static FILETEST_UNUSED void files_close(files *f) {
    atl_store_file_close(f->file);
    f->file = NULL;
}

/* A new store in the place of the old one, as after a restart. */
static FILETEST_UNUSED void files_forget(files *f) {
    atl_record_store_limits limits = *atl_record_store_limits_of(f->w.store);

    files_close(f);
    atl_record_store_free(f->w.store);
    assert_int_equal(atl_record_store_new(&f->w.t.env, &limits, &f->w.store), ATLAS_OK);
    f->w.stats = atl_record_store_get_stats(f->w.store);
}

/* A restart; asserts what is loaded. */
static FILETEST_UNUSED void files_restart(files *f, size_t loaded, size_t refused) {
    size_t have = 99999;
    size_t bad = 99999;

    files_forget(f);
    assert_int_equal(files_open(f, &have, &bad), ATLAS_OK);
    assert_int_equal(have, loaded);
    assert_int_equal(bad, refused);
}

static FILETEST_UNUSED void files_remove(const char *path) {
    static const char *const SUFFIXES[] = {"", "-wal", "-shm", "-journal"};
    char name[128];

    for (size_t i = 0; i < ATL_COUNT(SUFFIXES); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, SUFFIXES[i]);
        (void)unlink(name);
    }
}

static FILETEST_UNUSED void files_done(files *f) {
    files_close(f);
    world_done(&f->w);
    files_remove(f->path);
    assert_int_equal(rmdir(f->dir), 0);
}

/* Puts record `seq` of peer n into the store, and what came of it into the file. */
static FILETEST_UNUSED int32_t files_put(files *f, uint32_t n, uint64_t seq, const atl_addr *source,
                                         int verified) {
    signed_record record;
    atl_record_put put;
    int32_t rc;

    sign(n, seq, (uint64_t)f->w.t.wall / 1000, 3600, &record);
    memset(&put, 0, sizeof(put));
    put.head = &record.head;
    put.data = record.data;
    put.len = record.len;
    put.source = source;
    put.verified = (uint8_t)verified;
    put.expires = f->w.now + 3600 * SEC;
    rc = atl_record_store_put(f->w.store, &put, f->w.now);
    if (f->file != NULL && (rc == ATLAS_OK || rc == ATLAS_ERR_EXISTS)) {
        int32_t written =
            atl_store_file_sync(f->file, f->w.store, &record.head.peer, f->w.t.wall, f->w.now);

        return written == ATLAS_OK ? rc : written;
    }
    return rc;
}

static FILETEST_UNUSED int files_view(files *f, uint32_t n, atl_record_view *out) {
    atl_peer_id id = peer_id(n);

    return atl_record_store_get(f->w.store, &id, f->w.now, out);
}

static FILETEST_UNUSED int files_has(files *f, uint32_t n) {
    atl_record_view view;

    return files_view(f, n, &view);
}

static FILETEST_UNUSED void files_delete(files *f, uint32_t n) {
    atl_peer_id id = peer_id(n);

    assert_true(atl_record_store_delete(f->w.store, &id, f->w.now));
    assert_int_equal(atl_store_file_sync(f->file, f->w.store, &id, f->w.t.wall, f->w.now),
                     ATLAS_OK);
}

/* Runs SQL on the file, which nobody else has open; the first column of the first row, or -1. */
static FILETEST_UNUSED int64_t files_sql(const files *f, const char *sql) {
    sqlite3_stmt *statement = NULL;
    const char *tail = sql;
    sqlite3 *db = NULL;
    int64_t value = -1;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    while (*tail != '\0') {
        int rc;

        assert_int_equal(sqlite3_prepare_v2(db, tail, -1, &statement, &tail), SQLITE_OK);
        while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
            value = sqlite3_column_int64(statement, 0);
        }
        if (rc != SQLITE_DONE) {
            fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        }
        (void)sqlite3_finalize(statement);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return value;
}

/* The bytes of a file, to be freed. */
static FILETEST_UNUSED uint8_t *files_read(const char *path, size_t *len) {
    FILE *in = fopen(path, "rb");
    struct stat st;
    uint8_t *data;

    assert_non_null(in);
    assert_int_equal(fstat(fileno(in), &st), 0);
    data = malloc((size_t)st.st_size + 1);
    assert_non_null(data);
    *len = fread(data, 1, (size_t)st.st_size, in);
    assert_int_equal(*len, st.st_size);
    (void)fclose(in);
    return data;
}

static FILETEST_UNUSED void files_write(const char *path, const void *data, size_t len) {
    FILE *out = fopen(path, "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

#endif
