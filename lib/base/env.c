#include "base/env.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void atl_env_init(atl_env *env, const atlas_hooks *hooks) {
    env->hooks = *hooks;
    env->last_now = 0;
}

void *atl_malloc(atl_env *env, size_t size) {
    return env->hooks.malloc(env->hooks.user, size == 0 ? 1 : size);
}

void *atl_calloc(atl_env *env, size_t n, size_t size) {
    void *ptr;

    if (size != 0 && n > SIZE_MAX / size) {
        return NULL;
    }
    ptr = atl_malloc(env, n * size);
    if (ptr != NULL) {
        memset(ptr, 0, n * size);
    }
    return ptr;
}

void *atl_realloc(atl_env *env, void *ptr, size_t size) {
    return env->hooks.realloc(env->hooks.user, ptr, size == 0 ? 1 : size);
}

void atl_free(atl_env *env, void *ptr) {
    if (ptr != NULL) {
        env->hooks.free(env->hooks.user, ptr);
    }
}

char *atl_strdup(atl_env *env, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = atl_malloc(env, size);

    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

int32_t atl_random(atl_env *env, void *buf, size_t len) {
    return env->hooks.random(env->hooks.user, buf, len) == 0 ? ATLAS_OK : ATLAS_ERR_RANDOM;
}

uint64_t atl_env_now(atl_env *env) {
    uint64_t now = env->hooks.now(env->hooks.user);

    if (now > env->last_now) {
        env->last_now = now;
    }
    return env->last_now;
}

int64_t atl_env_wall_ms(atl_env *env) {
    return env->hooks.wall(env->hooks.user);
}

void atl_log(atl_env *env, int32_t level, const char *format, ...) {
    char line[512];
    va_list args;

    if (env->hooks.log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    env->hooks.log(env->hooks.user, level, line);
}
