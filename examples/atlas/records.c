#include "records.h"

#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME "records"
#define FILE_MAX (16 << 20) /* a full cache is half of it */
#define SAVE_EVERY (300 * NS_PER_S)
#define LOCK_TRIES 50
#define LOCK_PAUSE_MS 20
#define HASH 32

/* What tells one version of a file from the next. */
typedef struct version {
    ino_t inode;
    off_t size;
    struct timespec changed;
} version;

struct records {
    int dir;
    int damaged; /* the file is to be replaced, whatever it has */
    uint64_t due;
    version read;       /* the file that was read or written last */
    uint8_t kept[HASH]; /* of what it has, as the context exports it */
};

/* ---- reading ---- */

static int same_version(const version *v, const struct stat *info) {
    return v->inode == info->st_ino && v->size == info->st_size &&
           v->changed.tv_sec == info->st_mtim.tv_sec && v->changed.tv_nsec == info->st_mtim.tv_nsec;
}

static void set_version(version *v, const struct stat *info) {
    v->inode = info->st_ino;
    v->size = info->st_size;
    v->changed = info->st_mtim;
}

static int read_all(int fd, uint8_t *buf, size_t len) {
    size_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, buf + done, len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return 0;
        }
        done += (size_t)n;
    }
    return 1;
}

/* Takes what an open file has; NULL, or what is wrong with it. */
static const char *take_file(app *a, int fd, size_t len) {
    uint8_t *data = malloc(len + 1);
    uint64_t refused = 0;
    const char *why = NULL;
    int32_t rv;

    if (data == NULL || !read_all(fd, data, len)) {
        free(data);
        return "cannot be read";
    }
    rv = atlas_records_import(a->ctx, data, len, NULL, &refused);
    if (rv != ATLAS_OK) {
        why = rv == ATLAS_ERR_TRUNCATED ? "ends in the middle" : "is not a file of records";
    } else if (refused > 0) {
        a->records->damaged = 1; /* most likely they are over */
    }
    free(data);
    return why;
}

/* Reads the file, unless it is the one that is known. NULL, or what is wrong with it. */
static const char *read_file(app *a) {
    records *r = a->records;
    struct stat info;
    const char *why = NULL;
    int fd = openat(r->dir, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return errno == ENOENT ? NULL : errno == ELOOP ? "is a symbolic link" : strerror(errno);
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        why = "is not a regular file";
    } else if (info.st_size > FILE_MAX) {
        why = "is too large";
    } else if (!same_version(&r->read, &info)) {
        set_version(&r->read, &info);
        why = take_file(a, fd, (size_t)info.st_size);
    }
    (void)close(fd);
    r->damaged |= why != NULL;
    return why;
}

/* ---- writing ---- */

/* The records of the context, to be freed by the caller. */
static uint8_t *export_all(app *a, size_t *len, uint8_t hash[HASH]) {
    uint8_t *data = NULL;
    size_t need = 0;

    *len = 0;
    (void)atlas_records_export(a->ctx, NULL, 0, &need);
    data = malloc(need + 1);
    if (data == NULL || atlas_records_export(a->ctx, data, need, len) != ATLAS_OK) {
        free(data);
        return NULL;
    }
    (void)crypto_generichash(hash, HASH, data, *len, NULL, 0);
    return data;
}

/* Only one process at a time reads, adds and writes. 1, also where a file system has no locks; 0
 * when another process does not come to an end. While the program runs nothing is waited for. */
static int lock(const records *r, int tries) {
    static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * (long)NS_PER_MS};
    int i;

    for (i = 0; i < tries; i++) {
        if (flock(r->dir, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR)) {
            return 1;
        }
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, data + done, len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        done += (size_t)n;
    }
    return 0;
}

/* 0, or an errno value. */
static int replace(records *r, const uint8_t *data, size_t len) {
    static const char temporary[] = NAME ".new";
    struct stat info;
    int error;
    int fd;

    (void)unlinkat(r->dir, temporary, 0); /* of a process that has crashed */
    fd = openat(r->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    error = write_all(fd, data, len);
    if (error == 0 && (fsync(fd) != 0 || fstat(fd, &info) != 0 ||
                       renameat(r->dir, temporary, r->dir, NAME) != 0)) {
        error = errno;
    }
    if (error == 0) {
        set_version(&r->read, &info);
        (void)fsync(r->dir);
    } else {
        (void)unlinkat(r->dir, temporary, 0);
    }
    (void)close(fd);
    return error;
}

static int write_records(app *a) {
    records *r = a->records;
    uint8_t hash[HASH];
    uint8_t *data;
    size_t len;
    int error = ENOMEM;

    if (!lock(r, a->done ? LOCK_TRIES : 1)) {
        return EBUSY;
    }
    (void)read_file(a); /* what others have found since */
    data = export_all(a, &len, hash);
    if (data != NULL) {
        error = replace(r, data, len);
    }
    if (error == 0) {
        memcpy(r->kept, hash, sizeof(hash));
        r->damaged = 0;
    }
    free(data);
    (void)flock(r->dir, LOCK_UN);
    return error;
}

void records_save(app *a) {
    records *r = a->records;
    uint8_t hash[HASH];
    uint8_t *data;
    size_t len;
    int error;

    if (r == NULL) {
        return;
    }
    r->due = atlas_now(a->ctx) + SAVE_EVERY;
    data = export_all(a, &len, hash);
    free(data);
    if (data == NULL || (!r->damaged && memcmp(hash, r->kept, sizeof(hash)) == 0)) {
        return;
    }
    error = write_records(a);
    if (error != 0) {
        out_note(&a->out, "atlas: warning: %s/state/" NAME " cannot be written: %s", a->opt.dir,
                 strerror(error));
    }
}

/* ---- life ---- */

void records_load(app *a) {
    char path[PATH_CAP + 16];
    const char *why;
    records *r;
    uint8_t *data;
    size_t len;
    int dir;

    (void)snprintf(path, sizeof(path), "%s/state", a->opt.dir);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = dir < 0 ? NULL : calloc(1, sizeof(*r));
    if (r == NULL) {
        if (dir >= 0) {
            (void)close(dir);
        }
        return;
    }
    r->dir = dir;
    r->due = atlas_now(a->ctx) + SAVE_EVERY;
    a->records = r;
    why = read_file(a);
    if (why != NULL) {
        out_note(&a->out, "atlas: warning: %s/" NAME " %s; it is made anew", path, why);
    }
    data = export_all(a, &len, r->kept);
    free(data);
}

uint64_t records_due(const app *a) {
    return a->records == NULL ? UINT64_MAX : a->records->due;
}

void records_free(records *r) {
    if (r != NULL) {
        (void)close(r->dir);
        free(r);
    }
}
