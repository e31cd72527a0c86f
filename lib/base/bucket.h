/* Token buckets: one, and a fixed-size table of them for sources that strangers choose. */
#ifndef ATL_BASE_BUCKET_H
#define ATL_BASE_BUCKET_H

#include "base/env.h"

typedef struct atl_bucket {
    uint64_t rate;   /* tokens per second; 0 = unlimited */
    uint64_t burst;  /* most tokens it holds */
    uint64_t tokens; /* held tokens times 10^9, so that refills are exact */
    uint64_t last;   /* nanoseconds of the last refill */
} atl_bucket;

/* Starts full. rate and burst above 2^33 are taken for 2^33. */
void atl_bucket_init(atl_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now);
/* Takes `n` tokens and returns 1, or returns 0 and takes none. */
int atl_bucket_take(atl_bucket *bucket, uint64_t now, uint64_t n);
/* Nanoseconds from now until `n` tokens (n <= burst) are there; 0 when they are. */
uint64_t atl_bucket_wait(atl_bucket *bucket, uint64_t now, uint64_t n);

/* Per-source limit in fixed memory: sources share a slot only when their keyed hashes collide. A
 * set of 4 slots is searched; the least recently used one gives way. */
typedef struct atl_source_limit atl_source_limit;

/* `slots` is rounded up to a power of two, at least 4. */
int32_t atl_source_limit_new(atl_env *env, size_t slots, uint64_t rate, uint64_t burst,
                             atl_source_limit **out);
void atl_source_limit_free(atl_source_limit *limit); /* NULL is allowed */
/* 1 when this source may do one more thing now. `key` is at most 16 bytes. */
int atl_source_limit_take(atl_source_limit *limit, const void *key, size_t len, uint64_t now);
void atl_source_limit_set_rate(atl_source_limit *limit, uint64_t rate, uint64_t burst);

#endif
