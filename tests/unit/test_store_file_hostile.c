/* Files that are none, are damaged, or were changed by somebody: a clear error or what is left of
 * them, and never a record that was not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "testenv.h"

#include "storetest.h"

#include "filetest.h"

/* ---- something else ---- */

static void something_else(void **state) {
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"a text\n", 7},
        {"SQLite format 3\0", 16},
        {"SQLite format 3\0\x10\0\1\1\0@  ", 24},
        {"\0\0", 2}, /* one byte is none to SQLite */
    };
    files f;

    (void)state;
    files_init(&f, 10, 10);
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        uint8_t *after;
        size_t len;

        files_write(f.path, rows[i].bytes, rows[i].len);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_MALFORMED);
        after = files_read(f.path, &len);
        assert_int_equal(len, rows[i].len);
        assert_memory_equal(after, rows[i].bytes, len);
        free(after);
    }
    files_remove(f.path);
    assert_int_equal(mkdir(f.path, 0700), 0);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_MALFORMED);
    assert_int_equal(rmdir(f.path), 0);
    assert_int_equal(mkfifo(f.path, 0600), 0);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_MALFORMED);
    files_remove(f.path);
    assert_int_equal(symlink("/nowhere/at/all", f.path), 0);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_NOT_FOUND);
    files_remove(f.path);
    assert_int_equal(atl_store_file_open(&f.w.t.env, "/nowhere/at/all", &f.file),
                     ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atl_store_file_open(&f.w.t.env, "", &f.file), ATLAS_ERR_INVALID);
    /* one that is empty is as good as none */
    files_write(f.path, "", 0);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    files_done(&f);
}

/* Databases, but not ours. */
static void another_database(void **state) {
    static const char *const rows[] = {
        "PRAGMA application_id=5",
        "PRAGMA user_version=1",
        "CREATE TABLE t(a)",
        "CREATE TABLE records(peer,seq,expires,verified,source,data)",
    };
    files f;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        uint8_t *before;
        uint8_t *after;
        size_t len[2];

        files_init(&f, 10, 10);
        (void)files_sql(&f, rows[i]);
        before = files_read(f.path, &len[0]);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_MALFORMED);
        after = files_read(f.path, &len[1]); /* not a byte of it is changed */
        assert_int_equal(len[0], len[1]);
        assert_memory_equal(before, after, len[0]);
        free(before);
        free(after);
        files_done(&f);
    }
}

/* Ours, with more in it than we have made: it may do something when we write. */
static void a_changed_schema(void **state) {
    static const char *const rows[] = {
        "PRAGMA user_version=2",
        "PRAGMA application_id=0",
        "CREATE TABLE more(a)",
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON records(length(data))",
        "DROP INDEX records_by_expiry",
        "ALTER TABLE records ADD COLUMN more",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE records(peer)' "
        "WHERE name='records'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='nonsense' WHERE name='records'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=1 WHERE name='records'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=99 WHERE name='records'",
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql=zeroblob(200000) "
        "WHERE name='records'",
    };
    files f;

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        files_init(&f, 10, 10);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
        assert_int_equal(files_put(&f, 1, 1, NULL, 1), ATLAS_OK);
        files_close(&f);
        (void)files_sql(&f, rows[i]);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_MALFORMED);
        files_done(&f);
    }
}

/* ---- rows ---- */

/* Five records (1 to 5) and a tombstone (6), as ids in hexadecimal for SQL. */
static void make_six(files *f) {
    assert_int_equal(files_open(f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 1; i <= 6; i++) {
        assert_int_equal(files_put(f, i, 10, NULL, 1), ATLAS_OK);
    }
    files_delete(f, 6);
    files_close(f);
}

static void bad_rows_are_left_out(void **state) {
    static const struct {
        const char *sql;
        size_t loaded, refused;
        size_t again; /* refused by the next restart */
    } rows[] = {
        {"", 6, 0, 0},
        {"UPDATE records SET peer=x'00' WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET peer=zeroblob(32) WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET peer=zeroblob(60000) WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET peer='text of thirty-two characters...' WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET seq=11 WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET seq=-1 WHERE rowid=6", 5, 1, 0},
        {"UPDATE records SET seq='x' WHERE rowid=1", 5, 1, 0},
        {"UPDATE records SET seq=10.5 WHERE rowid=6", 5, 1, 0},
        {"UPDATE records SET expires=x'' WHERE rowid<3", 4, 2, 0},
        {"UPDATE records SET verified='maybe' WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET verified=7 WHERE rowid=2", 6, 0, 0},
        {"UPDATE records SET source=x'010203' WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET source=zeroblob(1000) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET source=0 WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=zeroblob(100) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=zeroblob(60000) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=CAST(data AS TEXT) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=data||x'00' WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=substr(data,1,length(data)-1) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=substr(data,1,length(data)-1)||x'55' WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=(SELECT data FROM records WHERE rowid=1) WHERE rowid=2", 5, 1, 0},
        {"UPDATE records SET data=x'' WHERE rowid=2", 6, 0, 0}, /* a tombstone */
        {"UPDATE records SET expires=0 WHERE rowid=2", 5, 0, 0},
        {"UPDATE records SET expires=-9223372036854775807 WHERE rowid=2", 5, 0, 0},
        {"UPDATE records SET expires=9223372036854775807", 6, 0, 0},
        {"UPDATE records SET data=randomblob(400)", 0, 6, 0},
        {"DELETE FROM records", 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        files f;

        files_init(&f, 100, 100);
        make_six(&f);
        (void)files_sql(&f, rows[i].sql);
        files_restart(&f, rows[i].loaded, rows[i].refused);
        assert_int_equal(f.w.stats->records + f.w.stats->tombstones, rows[i].loaded);
        /* nothing is kept for longer than a record can be valid, whatever the file says */
        for (uint32_t peer = 1; peer <= 6; peer++) {
            atl_peer_id id = peer_id(peer);

            assert_true(atl_record_store_expires(f.w.store, &id) <= f.w.now + 2 * 86400 * SEC);
        }
        files_restart(&f, rows[i].loaded, rows[i].again);
        files_done(&f);
    }
}

/* A clock that was wrong for a while does not empty the file. */
static void records_of_the_future_stay(void **state) {
    files f;

    (void)state;
    files_init(&f, 100, 100);
    make_six(&f);
    f.w.t.wall -= INT64_C(1000) * 3600;
    files_restart(&f, 1, 5);
    f.w.t.wall = 0;
    files_restart(&f, 1, 5);
    f.w.t.wall = -5;
    files_restart(&f, 1, 5);
    f.w.t.wall = INT64_C(1767225600000) + 1000;
    files_restart(&f, 6, 0);
    files_done(&f);
}

/* ---- damage ---- */

enum { PEERS = 120 };

static void make_many(files *f) {
    assert_int_equal(files_open(f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < PEERS; i++) {
        assert_int_equal(files_put(f, i, 1 + i, NULL, 1), ATLAS_OK);
    }
    files_delete(f, 0);
    assert_int_equal(atl_store_file_commit(f->file), ATLAS_OK);
}

/* Everything that is in the store is what was put. */
static void assert_genuine(files *f) {
    size_t found = 0;

    for (uint32_t i = 0; i < PEERS; i++) {
        atl_record_view view;
        signed_record record;

        if (files_view(f, i, &view)) {
            found++;
            sign(i, 1 + i, (uint64_t)f->w.t.wall / 1000, 3600, &record);
            assert_int_equal(view.len, record.len);
            assert_memory_equal(view.data, record.data, record.len);
        }
    }
    assert_int_equal(found, f->w.stats->records);
}

static void damage(testenv *t, uint8_t *data, size_t *len, size_t how) {
    size_t at = (size_t)(testenv_rand(t) % *len);

    switch (how) {
    case 0: /* ends early */
        *len = at;
        break;
    case 1: /* some bits */
        for (size_t i = 0; i < 1 + testenv_rand(t) % 30; i++) {
            data[testenv_rand(t) % *len] ^= (uint8_t)(1u << testenv_rand(t) % 8);
        }
        break;
    case 2: /* a page of something else */
        at -= at % 4096;
        for (size_t i = at; i < *len && i < at + 4096; i++) {
            data[i] = (uint8_t)testenv_rand(t);
        }
        break;
    case 3: /* the header, and that of the schema's page */
        data[testenv_rand(t) % 112] = (uint8_t)testenv_rand(t);
        break;
    case 4: /* the beginning of a page: pointers to cells */
        at -= at % 4096;
        data[at + testenv_rand(t) % 64] = (uint8_t)testenv_rand(t);
        break;
    default: /* all of it */
        for (size_t i = 16; i < *len; i++) {
            data[i] = (uint8_t)testenv_rand(t);
        }
        break;
    }
}

/* Opens what is left of a file and goes on with it. 1 when it could be loaded. */
static int use(files *f) {
    size_t n;
    int32_t rc;

    files_forget(f);
    rc = files_open(f, &n, NULL);
    assert_genuine(f);
    if (rc != ATLAS_OK) {
        assert_true(rc == ATLAS_ERR_MALFORMED || rc == ATLAS_ERR_IO);
        return 0;
    }
    assert_int_equal(n, f->w.stats->records + f->w.stats->tombstones);
    for (uint32_t i = 0; i < 20; i++) {
        (void)files_put(f, 1000 + i, 1, NULL, 1);
    }
    rc = atl_store_file_commit(f->file);
    assert_true(rc == ATLAS_OK || rc == ATLAS_ERR_MALFORMED || rc == ATLAS_ERR_IO);
    return 1;
}

static void damaged_files(void **state) {
    enum { ROUNDS = 300, WAYS = 6 };
    size_t usable[WAYS] = {0};
    files f;
    uint8_t *whole;
    uint8_t *data;
    size_t whole_len;

    (void)state;
    files_init(&f, 1000, 1000);
    make_many(&f);
    files_close(&f);
    whole = files_read(f.path, &whole_len);
    data = malloc(whole_len);
    assert_non_null(data);
    print_message("seed 7\n");
    f.w.t.seed = 7;
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t len = whole_len;

        memcpy(data, whole, len);
        damage(&f.w.t, data, &len, round % WAYS);
        files_forget(&f);
        files_remove(f.path);
        files_write(f.path, data, len);
        usable[round % WAYS] += (size_t)use(&f);
    }
    print_message("usable: %zu %zu %zu %zu %zu %zu of %d\n", usable[0], usable[1], usable[2],
                  usable[3], usable[4], usable[5], ROUNDS / WAYS);
    assert_true(usable[1] > 0);             /* a bit in a record: only that one */
    assert_true(usable[2] < ROUNDS / WAYS); /* a page: said */
    assert_int_equal(usable[5], 0);
    free(whole);
    free(data);
    files_done(&f);
}

/* A log that was not written to its end, or was changed: the commits before that count. */
static void damaged_logs(void **state) {
    enum { ROUNDS = 120, WAYS = 6 };
    char wal[96];
    files f;
    uint8_t *db;
    uint8_t *log;
    uint8_t *data;
    size_t db_len;
    size_t log_len;
    size_t usable = 0;

    (void)state;
    files_init(&f, 1000, 1000);
    (void)snprintf(wal, sizeof(wal), "%s-wal", f.path);
    make_many(&f);
    db = files_read(f.path, &db_len);
    log = files_read(wal, &log_len);
    data = malloc(log_len);
    assert_non_null(data);
    print_message("seed 8\n");
    f.w.t.seed = 8;
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t len = log_len;

        memcpy(data, log, len);
        damage(&f.w.t, data, &len, round % WAYS);
        files_forget(&f);
        files_remove(f.path);
        files_write(f.path, db, db_len);
        files_write(wal, data, len);
        usable += (size_t)use(&f);
    }
    print_message("usable: %zu of %d\n", usable, ROUNDS);
    assert_true(usable > ROUNDS / 2);
    free(db);
    free(log);
    free(data);
    files_done(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(something_else),
        cmocka_unit_test(another_database),
        cmocka_unit_test(a_changed_schema),
        cmocka_unit_test(bad_rows_are_left_out),
        cmocka_unit_test(records_of_the_future_stay),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(damaged_logs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
