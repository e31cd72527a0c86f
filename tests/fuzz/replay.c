/* Runs a fuzzer without libFuzzer: every seed file of the directories given, every truncation of
 * it, and a fixed number of seeded mutations. Exits non-zero when there was no seed to run, so
 * that an empty corpus does not look like a passed test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEED (1u << 20)
#define MAX_TRUNCATIONS 512u
#define MUTATIONS 300u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint32_t rng(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 16);
}

/* An exact heap copy, so that a sanitizer sees any read past the end. */
static void run(const uint8_t *data, size_t len) {
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void mutate(uint8_t *data, size_t len) {
    uint32_t count = 1 + rng() % 4;

    for (uint32_t i = 0; i < count; i++) {
        size_t at = rng() % len;
        switch (rng() % 3) {
        case 0:
            data[at] ^= (uint8_t)(1u << (rng() % 8));
            break;
        case 1:
            data[at] = (uint8_t)rng();
            break;
        default:
            data[at] = (rng() & 1) != 0 ? 0xff : 0;
            break;
        }
    }
}

static void run_seed(const uint8_t *seed, size_t len) {
    size_t step = len / MAX_TRUNCATIONS + 1;
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL) {
        abort();
    }
    run(seed, len);
    for (size_t cut = 0; cut < len; cut += step) {
        run(seed, cut);
    }
    for (uint32_t i = 0; i < MUTATIONS && len > 0; i++) {
        memcpy(copy, seed, len);
        mutate(copy, len);
        run(copy, len);
    }
    free(copy);
}

static int run_file(const char *dir, const char *name) {
    char path[4096];
    uint8_t *data = malloc(MAX_SEED);
    FILE *f;
    size_t len;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (f == NULL || data == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        if (f != NULL) {
            fclose(f);
        }
        free(data);
        return -1;
    }
    len = fread(data, 1, MAX_SEED, f);
    fclose(f);
    run_seed(data, len);
    free(data);
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static long run_dir(const char *dir) {
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, NULL, by_name);
    long done = 0;

    for (int i = 0; i < n; i++) {
        if (done >= 0 && entries[i]->d_name[0] != '.') {
            done = run_file(dir, entries[i]->d_name) == 0 ? done + 1 : -1;
        }
        free(entries[i]);
    }
    free(entries);
    return n < 0 ? -1 : done;
}

int main(int argc, char **argv) {
    long total = 0;

    for (int i = 1; i < argc; i++) {
        long n = run_dir(argv[i]);
        if (n < 0) {
            fprintf(stderr, "cannot run the seeds in %s\n", argv[i]);
            return 1;
        }
        total += n;
    }
    printf("%ld seeds\n", total);
    return total > 0 ? 0 : 1;
}
