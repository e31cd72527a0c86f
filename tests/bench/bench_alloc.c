#include "bench_alloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

static bench_alloc_counts own;
static bench_alloc_counts *counts = &own;

void bench_alloc_into(bench_alloc_counts *into) {
    *into = *counts;
    counts = into;
}

bench_alloc_counts bench_alloc_get(void) {
    return *counts;
}

static void *count(void *ptr) {
    if (ptr != NULL) {
        counts->calls++;
        counts->live += (int64_t)malloc_usable_size(ptr);
    }
    return ptr;
}

static void uncount(void *ptr) {
    if (ptr != NULL) {
        counts->live -= (int64_t)malloc_usable_size(ptr);
    }
}

void *malloc(size_t size) {
    return count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size) {
    return count(__libc_calloc(n, size));
}

void *realloc(void *ptr, size_t size) {
    size_t before = ptr == NULL ? 0 : malloc_usable_size(ptr);
    void *moved = __libc_realloc(ptr, size);

    if (moved != NULL || size == 0) {
        counts->live -= (int64_t)before;
    }
    return count(moved);
}

void *memalign(size_t alignment, size_t size) {
    return count(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *ptr = memalign(alignment, size);

    if (ptr == NULL) {
        return ENOMEM;
    }
    *out = ptr;
    return 0;
}

void free(void *ptr) {
    uncount(ptr);
    __libc_free(ptr);
}
