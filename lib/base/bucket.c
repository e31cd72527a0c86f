#include "base/bucket.h"

#include <sodium.h>
#include <string.h>

#define SCALE UINT64_C(1000000000)

/* Times SCALE this still fits into 64 bits. */
#define LIMIT_MAX (UINT64_C(1) << 33)

static uint64_t at_most(uint64_t value, uint64_t max) {
    return value < max ? value : max;
}

void atl_bucket_init(atl_bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now) {
    bucket->rate = at_most(rate, LIMIT_MAX);
    bucket->burst = at_most(burst, LIMIT_MAX);
    bucket->tokens = bucket->burst * SCALE;
    bucket->last = now;
}

static void refill(atl_bucket *bucket, uint64_t now) {
    uint64_t full = bucket->burst * SCALE;
    uint64_t elapsed;

    if (now <= bucket->last) { /* time that steps back must not be counted again when it comes */
        return;
    }
    elapsed = now - bucket->last;
    bucket->last = now;
    /* rate * elapsed may overflow only when the bucket is full anyway */
    if (bucket->tokens >= full || elapsed > (full - bucket->tokens) / bucket->rate) {
        bucket->tokens = full;
    } else {
        bucket->tokens += elapsed * bucket->rate;
    }
}

int atl_bucket_take(atl_bucket *bucket, uint64_t now, uint64_t n) {
    if (bucket->rate == 0) {
        return 1;
    }
    refill(bucket, now);
    if (n > bucket->burst || bucket->tokens < n * SCALE) {
        return 0;
    }
    bucket->tokens -= n * SCALE;
    return 1;
}

uint64_t atl_bucket_wait(atl_bucket *bucket, uint64_t now, uint64_t n) {
    uint64_t need;

    if (bucket->rate == 0) {
        return 0;
    }
    refill(bucket, now);
    need = at_most(n, bucket->burst) * SCALE;
    if (bucket->tokens >= need) {
        return 0;
    }
    return (need - bucket->tokens + bucket->rate - 1) / bucket->rate;
}

#define WAYS 4

typedef struct slot {
    uint64_t tag; /* 0: free */
    atl_bucket bucket;
} slot;

struct atl_source_limit {
    atl_env *env;
    uint8_t secret[crypto_shorthash_KEYBYTES];
    uint64_t rate;
    uint64_t burst;
    size_t mask; /* slots - 1 */
    slot slots[];
};

int32_t atl_source_limit_new(atl_env *env, size_t slots, uint64_t rate, uint64_t burst,
                             atl_source_limit **out) {
    atl_source_limit *limit;
    size_t n = WAYS;

    while (n < slots && n < ((size_t)1 << 24)) {
        n *= 2;
    }
    limit = atl_calloc(env, 1, sizeof(*limit) + n * sizeof(slot));
    if (limit == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    if (atl_random(env, limit->secret, sizeof(limit->secret)) != ATLAS_OK) {
        atl_free(env, limit);
        return ATLAS_ERR_RANDOM;
    }
    limit->env = env;
    limit->rate = rate;
    limit->burst = burst;
    limit->mask = n - 1;
    *out = limit;
    return ATLAS_OK;
}

void atl_source_limit_free(atl_source_limit *limit) {
    if (limit != NULL) {
        atl_free(limit->env, limit);
    }
}

int atl_source_limit_take(atl_source_limit *limit, const void *key, size_t len, uint64_t now) {
    uint64_t tag;
    slot *set;
    slot *victim;
    size_t i;

    (void)crypto_shorthash((unsigned char *)&tag, key, len, limit->secret);
    tag |= 1;
    set = &limit->slots[(size_t)(tag >> 1) & limit->mask & ~(size_t)(WAYS - 1)];
    victim = &set[0];
    for (i = 0; i < WAYS; i++) {
        if (set[i].tag == tag) {
            return atl_bucket_take(&set[i].bucket, now, 1);
        }
        if (set[i].tag == 0 || (victim->tag != 0 && set[i].bucket.last < victim->bucket.last)) {
            victim = &set[i];
        }
    }
    victim->tag = tag;
    atl_bucket_init(&victim->bucket, limit->rate, limit->burst, now);
    return atl_bucket_take(&victim->bucket, now, 1);
}

void atl_source_limit_set_rate(atl_source_limit *limit, uint64_t rate, uint64_t burst) {
    size_t i;

    limit->rate = rate;
    limit->burst = burst;
    for (i = 0; i <= limit->mask; i++) {
        limit->slots[i].tag = 0;
    }
}
