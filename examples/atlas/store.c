#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MAX_TRIES 1000
#define TEMPORARY_LEN 28 /* ".atlas-", 16 hexadecimal digits, ".part" */
#define STALE_S (24 * 3600)

int store_dir_open(const char *path) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A name that store_begin() makes. */
static int is_temporary(const char *name) {
    return strlen(name) == TEMPORARY_LEN && memcmp(name, ".atlas-", 7) == 0 &&
           strspn(name + 7, "0123456789abcdef") == 16 && strcmp(name + 23, ".part") == 0;
}

unsigned store_clean(int dir) {
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    time_t now = time(NULL);
    const struct dirent *entry;
    unsigned removed = 0;

    if (list == NULL) {
        if (copy >= 0) {
            (void)close(copy);
        }
        return 0;
    }
    while ((entry = readdir(list)) != NULL) {
        struct stat info;

        if (is_temporary(entry->d_name) &&
            fstatat(dir, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
            info.st_uid == geteuid() && now - info.st_mtime > STALE_S) {
            removed += unlinkat(dir, entry->d_name, 0) == 0;
        }
    }
    (void)closedir(list);
    return removed;
}

static int has_space(int dir, uint64_t size) {
    struct statvfs info;

    if (fstatvfs(dir, &info) != 0) {
        return 1; /* writing will tell */
    }
    return size / (info.f_frsize == 0 ? 1 : info.f_frsize) < info.f_bavail;
}

int store_begin(store *s, int dir, uint64_t size) {
    s->dir = dir;
    s->fd = -1;
    s->written = 0;
    if (size > (uint64_t)INT64_MAX) {
        return EFBIG;
    }
    if (!has_space(dir, size)) {
        return ENOSPC;
    }
    (void)snprintf(s->temporary, sizeof(s->temporary), ".atlas-%08x%08x.part", randombytes_random(),
                   randombytes_random());
    s->fd = openat(dir, s->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->fd < 0) {
        return errno;
    }
    (void)crypto_generichash_init(&s->hash, NULL, 0, FILE_HASH);
    return 0;
}

int store_write(store *s, const uint8_t *data, size_t len) {
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(s->fd, data + done, len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        done += (size_t)n;
    }
    (void)crypto_generichash_update(&s->hash, data, len);
    s->written += len;
    return 0;
}

void store_hash(store *s, uint8_t out[FILE_HASH]) {
    (void)crypto_generichash_final(&s->hash, out, FILE_HASH);
}

/* The `n`th name to try: "report.pdf", "report (1).pdf", "report (2).pdf". */
static void numbered(const char *name, int n, char *out, size_t cap) {
    const char *dot = strrchr(name, '.');
    int stem = dot == NULL || dot == name ? (int)strlen(name) : (int)(dot - name);

    if (n == 0) {
        (void)snprintf(out, cap, "%s", name);
    } else {
        (void)snprintf(out, cap, "%.*s (%d)%s", stem, name, n, name + stem);
    }
}

/* 0, or an errno value: EEXIST when there is something of this name. */
static int move_to(store *s, const char *name) {
    if (renameat2(s->dir, s->temporary, s->dir, name, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    /* a file system without RENAME_NOREPLACE: a link does not replace either */
    if (linkat(s->dir, s->temporary, s->dir, name, 0) != 0) {
        return errno;
    }
    (void)unlinkat(s->dir, s->temporary, 0);
    return 0;
}

static mode_t allowed_mode(void) {
    mode_t mask = umask(077);

    (void)umask(mask);
    return 0666 & ~mask;
}

int store_commit(store *s, const char *safe_name, char *name, size_t cap) {
    int error = EEXIST;
    int n;

    if (fchmod(s->fd, allowed_mode()) != 0 || fsync(s->fd) != 0) {
        return errno;
    }
    for (n = 0; n < MAX_TRIES && error == EEXIST; n++) {
        numbered(safe_name, n, name, cap);
        error = move_to(s, name);
    }
    if (error != 0) {
        return error;
    }
    (void)close(s->fd);
    s->fd = -1;
    /* the name survives a crash, too; a file system that cannot is no reason to lose the file */
    (void)fsync(s->dir);
    return 0;
}

void store_abort(store *s) {
    if (s->fd >= 0) {
        (void)close(s->fd);
        (void)unlinkat(s->dir, s->temporary, 0);
        s->fd = -1;
    }
}
