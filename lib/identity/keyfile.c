/* Key files: the system calls behind atlas_key_load() and atlas_key_save(). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2 */
#endif

#include "identity/key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_NAME_MAX 48

static int32_t code_of(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ATLAS_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: /* a symbolic link where O_NOFOLLOW stands */
        return ATLAS_ERR_PERMISSION;
    case EEXIST:
        return ATLAS_ERR_EXISTS;
    case ENAMETOOLONG:
        return ATLAS_ERR_INVALID;
    default:
        return ATLAS_ERR_IO;
    }
}

/* Of the opened file, not of its name: nobody can exchange it in between. */
static int32_t check_file(int fd) {
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return code_of(errno);
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0 ||
        (st.st_uid != geteuid() && st.st_uid != 0)) {
        return ATLAS_ERR_PERMISSION;
    }
    return ATLAS_OK;
}

static int32_t read_all(int fd, uint8_t *buf, size_t cap, size_t *len) {
    size_t have = 0;

    while (have < cap) {
        ssize_t n = read(fd, buf + have, cap - have);

        if (n == 0) {
            break;
        }
        if (n > 0) {
            have += (size_t)n;
        } else if (errno != EINTR) {
            return ATLAS_ERR_IO;
        }
    }
    *len = have;
    return ATLAS_OK;
}

int32_t atlas_key_load(const char *path, atlas_key **out) {
    size_t cap = ATL_PRIVATE_KEY_PROTO + 1; /* one more shows that something follows */
    uint8_t *bytes = NULL;
    size_t len = 0;
    int fd = -1;
    int32_t rc;

    if (path == NULL || out == NULL) {
        return ATLAS_ERR_INVALID;
    }
    /* without O_NONBLOCK, opening a FIFO would wait for a writer */
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return code_of(errno);
    }
    rc = check_file(fd);
    if (rc != ATLAS_OK) {
        goto done;
    }
    if (sodium_init() < 0) {
        rc = ATLAS_ERR_RANDOM;
        goto done;
    }
    bytes = sodium_malloc(cap);
    if (bytes == NULL) {
        rc = ATLAS_ERR_NOMEM;
        goto done;
    }
    rc = read_all(fd, bytes, cap, &len);
    if (rc == ATLAS_OK) {
        rc = atl_key_decode(bytes, len, out);
    }
done:
    sodium_free(bytes);
    (void)close(fd);
    return rc;
}

/* Opens the directory of `path` and finds the file's name in it. */
static int32_t open_directory(const char *path, int *dir, const char **name) {
    char buf[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    int fd;

    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0 ||
        len >= sizeof(buf)) {
        return ATLAS_ERR_INVALID;
    }
    if (len > 0) {
        memcpy(buf, path, len);
    } else {
        buf[len++] = slash == NULL ? '.' : '/';
    }
    buf[len] = '\0';
    fd = open(buf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return code_of(errno);
    }
    *dir = fd;
    *name = base;
    return ATLAS_OK;
}

static int32_t write_all(int fd, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno != EINTR) {
            return ATLAS_ERR_IO;
        }
    }
    return ATLAS_OK;
}

/* A complete file of mode 0600 under a name that nobody knows, on the disk. */
static int32_t write_temp(int dir, const char *temp, const uint8_t *data, size_t len) {
    int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int32_t rc;

    if (fd < 0) {
        return code_of(errno);
    }
    rc = fchmod(fd, 0600) == 0 ? write_all(fd, data, len) : code_of(errno);
    if (rc == ATLAS_OK && fsync(fd) != 0) {
        rc = ATLAS_ERR_IO;
    }
    if (close(fd) != 0 && rc == ATLAS_OK) {
        rc = ATLAS_ERR_IO;
    }
    if (rc != ATLAS_OK) {
        (void)unlinkat(dir, temp, 0);
    }
    return rc;
}

/* Gives the temporary file its name unless that is taken. link() never overwrites; where a file
 * system has no hard links, renameat2() can be told not to. */
static int32_t publish(int dir, const char *temp, const char *name) {
    int error = linkat(dir, temp, dir, name, 0) == 0 ? 0 : errno;

#ifdef RENAME_NOREPLACE
    if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK) {
        error = renameat2(dir, temp, dir, name, RENAME_NOREPLACE) == 0 ? 0 : errno;
    }
#endif
    (void)unlinkat(dir, temp, 0);
    if (error != 0) {
        return code_of(error);
    }
    /* some file systems cannot sync a directory and need not */
    return fsync(dir) == 0 || errno == EINVAL ? ATLAS_OK : ATLAS_ERR_IO;
}

int32_t atlas_key_save(const atlas_key *key, const char *path) {
    char temp[TEMP_NAME_MAX];
    struct stat st;
    const char *name;
    uint8_t *bytes = NULL;
    int dir;
    int32_t rc;

    if (key == NULL || path == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rc = open_directory(path, &dir, &name);
    if (rc != ATLAS_OK) {
        return rc;
    }
    /* publish() decides; asking first gives the same answer where the directory cannot be written
     */
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        rc = ATLAS_ERR_EXISTS;
        goto done;
    }
    bytes = sodium_malloc(ATL_PRIVATE_KEY_PROTO);
    if (bytes == NULL) {
        rc = ATLAS_ERR_NOMEM;
        goto done;
    }
    atl_key_encode(key, bytes);
    (void)snprintf(temp, sizeof(temp), ".atlas-key-%08x%08x.tmp", randombytes_random(),
                   randombytes_random());
    rc = write_temp(dir, temp, bytes, ATL_PRIVATE_KEY_PROTO);
    if (rc == ATLAS_OK) {
        rc = publish(dir, temp, name);
    }
done:
    sodium_free(bytes);
    (void)close(dir);
    return rc;
}
