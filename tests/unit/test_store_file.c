/* The registry's file: what is committed is there after a restart, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "testenv.h"

#include "storetest.h"

#include "filetest.h"

/* SQLite's calls come here, past the C library's. */
static size_t syncs;

int fsync(int fd) {
    syncs++;
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

static void everything_is_there_after_a_restart(void **state) {
    atl_addr v4 = storetest_v4(9);
    atl_addr v6 = storetest_v6(3, 1);
    atl_peer_id deleted = peer_id(3);
    static const uint32_t PEERS[] = {1, 2, 4};
    uint8_t data[3][ATL_RECORD_MAX];
    atl_record_view before[3];
    uint64_t tombstone;
    files f;

    (void)state;
    files_init(&f, 100, 2);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    assert_int_equal(files_put(&f, 1, 10, &v4, 1), ATLAS_OK);
    assert_int_equal(files_put(&f, 2, 20, &v6, 0), ATLAS_OK);
    assert_int_equal(files_put(&f, 3, 30, &v4, 1), ATLAS_OK);
    assert_int_equal(files_put(&f, 4, 1, NULL, 1), ATLAS_OK); /* charged to nobody */
    assert_int_equal(files_put(&f, 2, 21, &v6, 0), ATLAS_OK);
    files_delete(&f, 3);
    assert_int_equal(atl_store_file_pending(f.file), 6);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    assert_int_equal(atl_store_file_pending(f.file), 0);
    tombstone = atl_record_store_expires(f.w.store, &deleted);
    for (size_t i = 0; i < 3; i++) {
        assert_true(files_view(&f, PEERS[i], &before[i]));
        memcpy(data[i], before[i].data, before[i].len);
    }
    /* the loop's clock need not have the same beginning */
    f.w.t.now += 5000 * SEC;
    f.w.now = f.w.t.now;
    files_restart(&f, 4, 0);
    for (size_t i = 0; i < 3; i++) {
        atl_record_view after;

        assert_true(files_view(&f, PEERS[i], &after));
        assert_int_equal(after.seq, before[i].seq);
        assert_int_equal(after.len, before[i].len);
        assert_memory_equal(after.data, data[i], after.len);
        assert_int_equal(after.offers, before[i].offers);
        assert_int_equal(after.verified, before[i].verified);
        assert_in_range((before[i].expires + 5000 * SEC - after.expires) / SEC, 0, 1);
    }
    assert_int_equal(f.w.stats->records, 3);
    assert_int_equal(f.w.stats->tombstones, 1);
    assert_int_equal(f.w.stats->puts, 0); /* counters begin anew */
    assert_int_equal(atl_record_store_seq(f.w.store, &deleted), 30);
    assert_in_range((tombstone + 5000 * SEC - atl_record_store_expires(f.w.store, &deleted)) / SEC,
                    0, 1);
    /* addresses are charged as before: two from this one, one from that */
    assert_int_equal(files_put(&f, 5, 1, &v4, 1), ATLAS_ERR_RECORD_LIMIT);
    assert_int_equal(files_put(&f, 6, 1, &v6, 1), ATLAS_OK);
    assert_int_equal(files_put(&f, 7, 1, &v6, 1), ATLAS_OK); /* 2 makes way */
    assert_false(files_has(&f, 2));
    assert_int_equal(files_put(&f, 3, 30, &v4, 1), ATLAS_ERR_RECORD_OLD);
    /* closing commits */
    files_restart(&f, 5, 0);
    assert_false(files_has(&f, 2));
    files_done(&f);
}

/* What the store decided is what is written: not what a put said. */
static void the_store_decides_what_is_written(void **state) {
    atl_addr own = storetest_v4(1);
    atl_addr stranger = storetest_v4(2);
    atl_record_view view;
    files f;

    (void)state;
    files_init(&f, 100, 1);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    assert_int_equal(files_put(&f, 1, 1, &own, 1), ATLAS_OK);
    assert_int_equal(files_put(&f, 1, 2, &stranger, 0), ATLAS_OK);
    files_restart(&f, 1, 0);
    assert_true(files_view(&f, 1, &view));
    assert_true(view.verified);
    assert_int_equal(view.seq, 2);
    assert_int_equal(files_put(&f, 2, 1, &stranger, 1), ATLAS_OK);
    assert_int_equal(files_put(&f, 3, 1, &own, 1), ATLAS_ERR_RECORD_LIMIT);
    files_done(&f);
}

static void copy_of(const files *f, files *copy) {
    static const char *const SUFFIXES[] = {"", "-wal"};

    files_init(copy, 1000, 1000);
    for (size_t i = 0; i < 2; i++) {
        char from[96];
        char to[96];
        size_t len;
        uint8_t *data;

        (void)snprintf(from, sizeof(from), "%s%s", f->path, SUFFIXES[i]);
        (void)snprintf(to, sizeof(to), "%s%s", copy->path, SUFFIXES[i]);
        data = files_read(from, &len);
        files_write(to, data, len);
        free(data);
    }
}

static void a_commit_is_what_puts_it_on_the_disk(void **state) {
    files f;
    files copy;
    size_t loaded = 0;

    (void)state;
    files_init(&f, 1000, 1000);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < 50; i++) {
        size_t before;

        assert_int_equal(files_put(&f, i, 1, NULL, 1), ATLAS_OK);
        if (i % 10 == 5) {
            copy_of(&f, &copy);
            assert_int_equal(files_open(&copy, &loaded, NULL), ATLAS_OK);
            assert_int_equal(loaded, i);
            files_done(&copy);
        }
        before = syncs;
        assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
        assert_true(syncs > before);
        if (i % 10 == 5) {
            copy_of(&f, &copy);
            assert_int_equal(files_open(&copy, &loaded, NULL), ATLAS_OK);
            assert_int_equal(loaded, i + 1);
            files_done(&copy);
        }
    }
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK); /* of nothing */
    files_done(&f);
}

static void the_file_is_private(void **state) {
    static const mode_t MASKS[] = {0, 0777, 022};

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(MASKS); i++) {
        mode_t old;
        char wal[96];
        char shm[96];
        struct stat st;
        files f;

        files_init(&f, 10, 10);
        old = umask(MASKS[i]);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
        assert_int_equal(files_put(&f, 1, 1, NULL, 1), ATLAS_OK);
        assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
        (void)umask(old);
        (void)snprintf(wal, sizeof(wal), "%s-wal", f.path);
        (void)snprintf(shm, sizeof(shm), "%s-shm", f.path);
        assert_int_equal(stat(f.path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(wal, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_not_equal(stat(shm, &st), 0); /* nobody else is to look in */
        files_close(&f);
        assert_int_not_equal(stat(wal, &st), 0);
        files_done(&f);
    }
}

/* What opening gives in another process, as its exit status. */
static int32_t opens_elsewhere(const char *path, int as_nobody) {
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        atl_store_file *file = NULL;
        testenv t;
        int32_t rc;

        testenv_init(&t);
        if (as_nobody && geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(99);
        }
        rc = atl_store_file_open(&t.env, path, &file);
        _exit(-rc);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void one_at_a_time(void **state) {
    atl_store_file *second = NULL;
    sqlite3 *db = NULL;
    files f;

    (void)state;
    files_init(&f, 10, 10);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    assert_int_equal(atl_store_file_open(&f.w.t.env, f.path, &second), ATLAS_ERR_AGAIN);
    assert_null(second);
    assert_int_equal(opens_elsewhere(f.path, 0), ATLAS_ERR_AGAIN);
    assert_int_equal(files_put(&f, 1, 1, NULL, 1), ATLAS_OK);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    assert_int_equal(opens_elsewhere(f.path, 0), ATLAS_ERR_AGAIN);
    files_restart(&f, 1, 0);
    assert_int_equal(opens_elsewhere(f.path, 0), ATLAS_ERR_AGAIN);
    files_close(&f);
    assert_int_equal(opens_elsewhere(f.path, 0), ATLAS_OK);
    /* another program that reads it */
    assert_int_equal(sqlite3_open(f.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT * FROM records", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_AGAIN);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    files_done(&f);
}

static void permissions(void **state) {
    files f;

    (void)state;
    files_init(&f, 10, 10);
    assert_int_equal(chmod(f.dir, 0555), 0);
    assert_int_equal(opens_elsewhere(f.path, 1), ATLAS_ERR_PERMISSION); /* cannot make it */
    assert_int_equal(chmod(f.dir, 0755), 0);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    files_close(&f);
    assert_int_equal(chmod(f.path, 0), 0);
    assert_int_equal(opens_elsewhere(f.path, 1), ATLAS_ERR_PERMISSION); /* cannot open it */
    assert_int_equal(chmod(f.path, 0666), 0);
    assert_int_equal(chmod(f.dir, 0555), 0);
    assert_int_equal(opens_elsewhere(f.path, 1), ATLAS_ERR_PERMISSION); /* no log beside it */
    assert_int_equal(chmod(f.dir, 0755), 0);
    files_done(&f);
}

static void names_are_names(void **state) {
    static const char *const NAMES[] = {":memory:", "file:x?mode=memory", "-x", "a b%20"};
    char back[256];
    files f;

    (void)state;
    files_init(&f, 10, 10);
    assert_non_null(getcwd(back, sizeof(back)));
    assert_int_equal(chdir(f.dir), 0);
    for (size_t i = 0; i < ATL_COUNT(NAMES); i++) {
        atl_store_file *file = NULL;

        assert_int_equal(atl_store_file_open(&f.w.t.env, NAMES[i], &file), ATLAS_OK);
        atl_store_file_close(file);
        assert_int_equal(access(NAMES[i], F_OK), 0);
        files_remove(NAMES[i]);
    }
    assert_int_equal(chdir(back), 0);
    files_done(&f);
}

static void expired_rows_go(void **state) {
    files f;

    (void)state;
    files_init(&f, 5000, 5000);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < 1500; i++) {
        assert_int_equal(files_put(&f, i, 1, NULL, 1), ATLAS_OK);
    }
    files_delete(&f, 1);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    pass(&f.w, 3610);
    /* each commit takes some with it */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(files_put(&f, 2000 + i, 1, NULL, 1), ATLAS_OK);
        assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    }
    files_close(&f);
    assert_int_equal(files_sql(&f, "SELECT count(*) FROM records"), 1500 + 3 - 3 * 66);
    /* loading does not take them, and takes some away as well */
    files_restart(&f, 3, 0);
    assert_int_equal(atl_store_file_expire(f.file, f.w.t.wall), ATLAS_OK);
    files_close(&f);
    assert_int_equal(files_sql(&f, "SELECT count(*) FROM records"), 1500 + 3 - 4 * 66 - 1024);
    files_restart(&f, 3, 0);
    assert_int_equal(atl_store_file_expire(f.file, f.w.t.wall), ATLAS_OK);
    files_close(&f);
    assert_int_equal(files_sql(&f, "SELECT count(*) FROM records"), 3);
    files_done(&f);
}

/* Whoever floods the registry does not make its file grow. */
static void what_makes_way_goes_from_the_file(void **state) {
    files f;
    atl_addr addr;

    (void)state;
    files_init(&f, 20, 5);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < 500; i++) {
        addr = storetest_v4(i / 20);
        assert_int_equal(files_put(&f, i, 1, &addr, 0), ATLAS_OK);
        if (i % 7 == 0) {
            assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
        }
    }
    files_close(&f);
    assert_int_equal(files_sql(&f, "SELECT count(*) FROM records"), 20);
    /* a smaller store takes what it has room for */
    atl_record_store_limits_of(f.w.store)->max_records = 8;
    files_restart(&f, 8, 12);
    files_restart(&f, 8, 0);
    files_done(&f);
}

/* A disk that is full: the batch fails as a whole, what was there stays, and it goes on later. */
static void a_full_disk(void **state) {
    struct rlimit old;
    struct rlimit tight;
    files f;
    int32_t rc = ATLAS_OK;
    uint32_t n = 100;
    size_t tried = 0;

    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    files_init(&f, 100000, 100000);
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(files_put(&f, i, 1, NULL, 1), ATLAS_OK);
    }
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 400000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    while (rc == ATLAS_OK && tried++ < 1000) {
        for (uint32_t i = 0; i < 20; i++) {
            (void)files_put(&f, n + i, 1, NULL, 1);
        }
        rc = atl_store_file_commit(f.file);
        n += rc == ATLAS_OK ? 20 : 0;
    }
    assert_int_equal(rc, ATLAS_ERR_IO);
    assert_int_equal(atl_store_file_pending(f.file), 0);
    assert_true(f.w.t.log_lines > 0);
    /* what is refused by SQLite before the commit is said by the commit again */
    for (uint32_t i = 0; rc != ATLAS_OK && i < 5; i++) {
        assert_int_equal(files_put(&f, 50000 + i, 1, NULL, 1), ATLAS_OK);
        assert_int_equal(atl_store_file_commit(f.file), ATLAS_ERR_IO);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(files_put(&f, 60000, 1, NULL, 1), ATLAS_OK);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    files_restart(&f, n + 1, 0);
    assert_true(files_has(&f, 60000) && files_has(&f, n - 1) && !files_has(&f, n));
    files_done(&f);
}

static void without_memory(void **state) {
    files f;
    atl_record_store *store;
    atl_record_store_limits limits;
    size_t n = 5;

    (void)state;
    files_init(&f, 1000, 1000);
    for (size_t i = 1; i <= 2; i++) {
        testenv_fail_next(&f.w.t, i);
        assert_int_equal(files_open(&f, NULL, NULL), ATLAS_ERR_NOMEM);
        testenv_fail_next(&f.w.t, 0);
    }
    assert_int_equal(files_open(&f, NULL, NULL), ATLAS_OK);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(files_put(&f, i, 1, NULL, 1), ATLAS_OK);
    }
    /* SQLite's own: an error as any other, and it goes on when there is some again */
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    (void)sqlite3_hard_heap_limit64(sqlite3_memory_used() + 1000);
    for (uint32_t i = 100; i < 200; i++) {
        (void)files_put(&f, i, 1, NULL, 1);
    }
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_ERR_NOMEM);
    (void)sqlite3_hard_heap_limit64(0);
    assert_int_equal(files_put(&f, 200, 1, NULL, 1), ATLAS_OK);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    files_forget(&f);
    /* the store's: nothing of the file is lost, and it goes on; not even what is wrong is removed
     */
    (void)files_sql(&f, "UPDATE records SET seq=99 WHERE rowid=1");
    memset(&limits, 0, sizeof(limits));
    limits.max_records = 1000;
    assert_int_equal(atl_store_file_open(&f.w.t.env, f.path, &f.file), ATLAS_OK);
    assert_int_equal(atl_record_store_new(&f.w.t.env, &limits, &store), ATLAS_OK);
    testenv_fail_next(&f.w.t, 50);
    assert_int_equal(atl_store_file_load(f.file, store, f.w.t.wall, f.w.now, 60, &n, &n),
                     ATLAS_ERR_NOMEM);
    assert_int_equal(n, 5);
    testenv_fail_next(&f.w.t, 0);
    assert_int_equal(files_put(&f, 201, 1, NULL, 1), ATLAS_OK);
    assert_int_equal(atl_store_file_commit(f.file), ATLAS_OK);
    files_close(&f);
    atl_record_store_free(store);
    files_restart(&f, 101, 1);
    files_done(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_there_after_a_restart),
        cmocka_unit_test(the_store_decides_what_is_written),
        cmocka_unit_test(a_commit_is_what_puts_it_on_the_disk),
        cmocka_unit_test(the_file_is_private),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(permissions),
        cmocka_unit_test(names_are_names),
        cmocka_unit_test(expired_rows_go),
        cmocka_unit_test(what_makes_way_goes_from_the_file),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
