/* Counts every allocation of the process, those of its libraries too, by standing in front of
 * malloc. glibc only. */
#ifndef BENCH_ALLOC_H
#define BENCH_ALLOC_H

#include <stddef.h>
#include <stdint.h>

typedef struct bench_alloc_counts {
    uint64_t calls; /* malloc, calloc, realloc, aligned ones */
    int64_t live;   /* bytes in use, as the allocator rounds them */
} bench_alloc_counts;

/* Where to count; the memory may be shared with another process. */
void bench_alloc_into(bench_alloc_counts *counts);
bench_alloc_counts bench_alloc_get(void);

#endif
