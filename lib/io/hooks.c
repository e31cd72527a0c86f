/* The defaults of the hooks: the only clock, heap and random source that a context has when it
 * brings none. */
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "io/os.h"

static uint64_t default_now(void *user) {
    struct timespec ts = {0, 0};

    (void)user;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * ATL_SECOND + (uint64_t)ts.tv_nsec;
}

static int64_t default_wall(void *user) {
    struct timespec ts = {0, 0};

    (void)user;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + (int64_t)(ts.tv_nsec / 1000000);
}

static void *default_malloc(void *user, size_t size) {
    (void)user;
    return malloc(size);
}

static void *default_realloc(void *user, void *ptr, size_t size) {
    (void)user;
    return realloc(ptr, size);
}

static void default_free(void *user, void *ptr) {
    (void)user;
    free(ptr);
}

static int32_t default_random(void *user, uint8_t *buf, size_t len) {
    (void)user;
    randombytes_buf(buf, len);
    return ATLAS_OK;
}

int32_t atl_os_default_hooks(atlas_hooks *hooks) {
    int given = (hooks->malloc != NULL) + (hooks->realloc != NULL) + (hooks->free != NULL);

    if (given != 0 && given != 3) {
        return ATLAS_ERR_INVALID;
    }
    if (hooks->random == NULL) {
        /* fails here, not later in randombytes_buf, when the system has no random source */
        if (sodium_init() < 0) {
            return ATLAS_ERR_RANDOM;
        }
        hooks->random = default_random;
    }
    if (given == 0) {
        hooks->malloc = default_malloc;
        hooks->realloc = default_realloc;
        hooks->free = default_free;
    }
    if (hooks->now == NULL) {
        hooks->now = default_now;
    }
    if (hooks->wall == NULL) {
        hooks->wall = default_wall;
    }
    return ATLAS_OK;
}
