#include "config/file.h"

#include "config/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t from_errno(int error) {
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return ATLAS_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ATLAS_ERR_PERMISSION;
    default:
        return ATLAS_ERR_IO;
    }
}

static int32_t check(int fd) {
    struct stat info;

    if (fstat(fd, &info) != 0) {
        return from_errno(errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return ATLAS_ERR_INVALID;
    }
    return info.st_size > (off_t)ATL_CONFIG_MAX_FILE ? ATLAS_ERR_TOO_LARGE : ATLAS_OK;
}

/* The file may grow while it is read: one byte more than allowed shows that it is too long. */
static int32_t read_all(int fd, char *text, size_t *len) {
    size_t total = 0;

    for (;;) {
        ssize_t n = read(fd, text + total, ATL_CONFIG_MAX_FILE + 1 - total);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return from_errno(errno);
        }
        if (n == 0) {
            *len = total;
            return ATLAS_OK;
        }
        total += (size_t)n;
        if (total > ATL_CONFIG_MAX_FILE) {
            return ATLAS_ERR_TOO_LARGE;
        }
    }
}

int32_t atl_config_read_file(atl_env *env, const char *path, char **text, size_t *len) {
    char *buf = NULL;
    int32_t rv;
    /* not blocked by a FIFO */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return from_errno(errno);
    }
    rv = check(fd);
    if (rv != ATLAS_OK) {
        goto done;
    }
    buf = atl_malloc(env, ATL_CONFIG_MAX_FILE + 1);
    if (buf == NULL) {
        rv = ATLAS_ERR_NOMEM;
        goto done;
    }
    rv = read_all(fd, buf, len);
    if (rv == ATLAS_OK) {
        *text = buf;
        buf = NULL;
    }
done:
    atl_free(env, buf);
    (void)close(fd);
    return rv;
}
