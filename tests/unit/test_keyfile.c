/* Key files: what is written, what is refused. Vector: libp2p specs, peer-ids/peer-ids.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity/key.h"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testenv.h"

static const char PRIVATE_HEX[] =
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
static const char ID_TEXT[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

typedef struct fixture {
    char dir[64];
    char path[128];
    uint8_t bytes[ATL_PRIVATE_KEY_PROTO];
} fixture;

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/atlas-keyfile-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/node.key", f->dir);
    assert_int_equal(sodium_hex2bin(f->bytes, sizeof(f->bytes), PRIVATE_HEX, strlen(PRIVATE_HEX),
                                    NULL, NULL, NULL),
                     0);
    *state = f;
    return 0;
}

/* Removes what is in the directory and returns how many entries there were. */
static size_t empty_dir(const char *path) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    size_t n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            n++;
            if (unlinkat(dirfd(dir), entry->d_name, 0) != 0) {
                assert_int_equal(unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR), 0);
            }
        }
    }
    closedir(dir);
    return n;
}

static int tear_down(void **state) {
    fixture *f = *state;

    (void)empty_dir(f->dir);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void put_file(const char *path, const void *data, size_t len, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void save_and_load(void **state) {
    fixture *f = *state;
    uint8_t bytes[ATL_PRIVATE_KEY_PROTO + 1];
    char text[ATLAS_PEER_ID_MAX];
    atlas_key *key;
    atlas_key *again;
    struct stat st;
    mode_t mask = umask(0); /* a careless umask must not matter */
    FILE *file;

    assert_int_equal(atl_key_decode(f->bytes, sizeof(f->bytes), &key), ATLAS_OK);
    assert_int_equal(atlas_key_save(key, f->path), ATLAS_OK);
    (void)umask(mask);
    assert_int_equal(lstat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, ATL_PRIVATE_KEY_PROTO);
    assert_int_equal(st.st_nlink, 1);
    file = fopen(f->path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof(bytes), file), ATL_PRIVATE_KEY_PROTO);
    (void)fclose(file);
    assert_memory_equal(bytes, f->bytes, sizeof(f->bytes));

    assert_int_equal(atlas_key_load(f->path, &again), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(again, text, sizeof(text)), ATLAS_OK);
    assert_string_equal(text, ID_TEXT);
    atlas_key_free(again);
    atlas_key_free(key);
    assert_int_equal(empty_dir(f->dir), 1); /* no temporary file is left */
}

static void a_mask_that_takes_everything_does_not_matter(void **state) {
    fixture *f = *state;
    atlas_key *key;
    atlas_key *again;
    mode_t mask = umask(0777);
    int32_t rc;

    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    rc = atlas_key_save(key, f->path);
    (void)umask(mask);
    assert_int_equal(rc, ATLAS_OK);
    assert_int_equal(atlas_key_load(f->path, &again), ATLAS_OK);
    atlas_key_free(again);
    atlas_key_free(key);
}

static void nothing_is_overwritten(void **state) {
    fixture *f = *state;
    char target[160];
    char buf[8] = {0};
    atlas_key *key;
    int fd;

    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    put_file(f->path, "mine", 4, 0600);
    assert_int_equal(atlas_key_save(key, f->path), ATLAS_ERR_EXISTS);
    fd = open(f->path, O_RDONLY);
    assert_int_equal(read(fd, buf, sizeof(buf)), 4);
    assert_string_equal(buf, "mine");
    close(fd);
    assert_int_equal(unlink(f->path), 0);

    /* a dangling symbolic link is there as well, and is not followed */
    (void)snprintf(target, sizeof(target), "%s/elsewhere", f->dir);
    assert_int_equal(symlink(target, f->path), 0);
    assert_int_equal(atlas_key_save(key, f->path), ATLAS_ERR_EXISTS);
    assert_int_equal(access(target, F_OK), -1);
    assert_int_equal(unlink(f->path), 0);

    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(atlas_key_save(key, f->path), ATLAS_ERR_EXISTS);
    assert_int_equal(empty_dir(f->dir), 1);
    atlas_key_free(key);
}

/* Several processes at once: one wins, and its key is whole. */
static void one_of_many_writers_wins(void **state) {
    enum { WRITERS = 8 };
    fixture *f = *state;
    pid_t children[WRITERS];
    atlas_key *key;
    int won = 0;
    int i;

    for (i = 0; i < WRITERS; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            atlas_key *mine;
            int32_t rc = atlas_key_generate(&mine);

            rc = rc == ATLAS_OK ? atlas_key_save(mine, f->path) : rc;
            _exit(rc == ATLAS_OK ? 0 : rc == ATLAS_ERR_EXISTS ? 1 : 2);
        }
    }
    for (i = 0; i < WRITERS; i++) {
        int status;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        won += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(won, 1);
    assert_int_equal(atlas_key_load(f->path, &key), ATLAS_OK);
    atlas_key_free(key);
    assert_int_equal(empty_dir(f->dir), 1);
}

static void wrong_paths(void **state) {
    fixture *f = *state;
    char path[5000];
    atlas_key *key;
    atlas_key *out = NULL;

    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    (void)snprintf(path, sizeof(path), "%s/none/node.key", f->dir);
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_key_load(path, &out), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_key_load(f->path, &out), ATLAS_ERR_NOT_FOUND);
    assert_int_equal(atlas_key_load("", &out), ATLAS_ERR_NOT_FOUND);
    put_file(f->path, "x", 1, 0600);
    (void)snprintf(path, sizeof(path), "%s/x", f->path); /* below a file */
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_NOT_FOUND);
    (void)snprintf(path, sizeof(path), "%s/", f->dir);
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_INVALID);
    (void)snprintf(path, sizeof(path), "%s/..", f->dir);
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_save(key, ""), ATLAS_ERR_INVALID);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_load(path, &out), ATLAS_ERR_INVALID);
    path[4500] = '/';
    assert_int_equal(atlas_key_save(key, path), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_save(NULL, f->path), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_save(key, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_load(NULL, &out), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_load(f->path, NULL), ATLAS_ERR_INVALID);
    assert_null(out);
    atlas_key_free(key);
}

static void a_relative_path(void **state) {
    fixture *f = *state;
    char was[1024];
    atlas_key *key;
    atlas_key *again;

    assert_non_null(getcwd(was, sizeof(was)));
    assert_int_equal(chdir(f->dir), 0);
    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    assert_int_equal(atlas_key_save(key, "node.key"), ATLAS_OK);
    assert_int_equal(atlas_key_load("node.key", &again), ATLAS_OK);
    assert_int_equal(chdir(was), 0);
    atlas_key_free(again);
    atlas_key_free(key);
}

static void files_that_others_may_touch_are_refused(void **state) {
    static const mode_t MODES[] = {0640, 0620, 0610, 0604, 0602, 0601, 0644, 0666, 0777, 0660};
    fixture *f = *state;
    atlas_key *key = NULL;
    size_t i;

    for (i = 0; i < ATL_COUNT(MODES); i++) {
        put_file(f->path, f->bytes, sizeof(f->bytes), MODES[i]);
        assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_PERMISSION);
    }
    assert_null(key);
    put_file(f->path, f->bytes, sizeof(f->bytes), 0400);
    assert_int_equal(atlas_key_load(f->path, &key), ATLAS_OK);
    atlas_key_free(key);
}

static void files_of_another_user_are_refused(void **state) {
    fixture *f = *state;
    atlas_key *key = NULL;

    if (geteuid() != 0) {
        skip(); /* nobody else can give a file away */
    }
    put_file(f->path, f->bytes, sizeof(f->bytes), 0600);
    assert_int_equal(chown(f->path, 12345, (gid_t)-1), 0);
    assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_PERMISSION);
    assert_null(key);
}

static void only_regular_files(void **state) {
    fixture *f = *state;
    char link_path[160];
    atlas_key *key = NULL;

    assert_int_equal(atlas_key_load(f->dir, &key), ATLAS_ERR_PERMISSION);
    assert_int_equal(atlas_key_load("/dev/null", &key), ATLAS_ERR_PERMISSION);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_PERMISSION); /* and does not wait */
    assert_int_equal(unlink(f->path), 0);
    put_file(f->path, f->bytes, sizeof(f->bytes), 0600);
    (void)snprintf(link_path, sizeof(link_path), "%s/link", f->dir);
    assert_int_equal(symlink(f->path, link_path), 0);
    assert_int_equal(atlas_key_load(link_path, &key), ATLAS_ERR_PERMISSION);
    assert_null(key);
}

static void damaged_files_are_refused(void **state) {
    fixture *f = *state;
    uint8_t bytes[ATL_PRIVATE_KEY_PROTO + 100];
    atlas_key *key = NULL;
    size_t i;

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, f->bytes, sizeof(f->bytes));
    for (i = 0; i < ATL_PRIVATE_KEY_PROTO; i++) { /* empty, and cut short anywhere */
        put_file(f->path, bytes, i, 0600);
        assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_TRUNCATED);
    }
    for (i = 1; i <= 100; i += 33) { /* something follows */
        put_file(f->path, bytes, ATL_PRIVATE_KEY_PROTO + i, 0600);
        assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_KEY);
    }
    for (i = 0; i < ATL_PRIVATE_KEY_PROTO; i++) { /* a bit is wrong */
        bytes[i] ^= 1;
        put_file(f->path, bytes, ATL_PRIVATE_KEY_PROTO, 0600);
        assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_KEY);
        bytes[i] ^= 1;
    }
    put_file(f->path, "-----BEGIN PRIVATE KEY-----\n", 28, 0600);
    assert_int_equal(atlas_key_load(f->path, &key), ATLAS_ERR_KEY);
    assert_null(key);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(save_and_load),
        TEST(a_mask_that_takes_everything_does_not_matter),
        TEST(nothing_is_overwritten),
        TEST(one_of_many_writers_wins),
        TEST(wrong_paths),
        TEST(a_relative_path),
        TEST(files_that_others_may_touch_are_refused),
        TEST(files_of_another_user_are_refused),
        TEST(only_regular_files),
        TEST(damaged_files_are_refused),
    };

    return cmocka_run_group_tests_name("keyfile", tests, NULL, NULL);
}
