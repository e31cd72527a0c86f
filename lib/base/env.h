/* The services that a context supplies to every module: memory, time, random bytes, log. Nothing
 * below the io room touches the operating system; the defaults of the hooks live there. */
#ifndef ATL_BASE_ENV_H
#define ATL_BASE_ENV_H

#include <atlas/context.h>

typedef struct atl_env {
    atlas_hooks hooks; /* complete: no pointer but interest, timer and log is NULL */
    uint64_t last_now; /* the clock never steps back behind this */
} atl_env;

/* `hooks` must be complete (see atl_os_default_hooks). */
void atl_env_init(atl_env *env, const atlas_hooks *hooks);

void *atl_malloc(atl_env *env, size_t size);
void *atl_calloc(atl_env *env, size_t n, size_t size); /* zeroed; NULL on overflow */
void *atl_realloc(atl_env *env, void *ptr, size_t size);
void atl_free(atl_env *env, void *ptr); /* NULL is allowed */
char *atl_strdup(atl_env *env, const char *text);

int32_t atl_random(atl_env *env, void *buf, size_t len);

/* Nanoseconds, never stepping back. */
uint64_t atl_env_now(atl_env *env);
/* Milliseconds since 1970 UTC. */
int64_t atl_env_wall_ms(atl_env *env);

/* One line to the log hook; formatting is skipped when there is none. */
void atl_log(atl_env *env, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define ATL_MS UINT64_C(1000000)
#define ATL_SECOND UINT64_C(1000000000)

/* The object that embeds `member` at `ptr`. */
#define ATL_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ATL_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
