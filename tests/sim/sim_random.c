/* The random mode as a program:
 *
 *   sim_random [--seeds N] [--first S] [--minutes M] [--soak SECONDS] [--list 1]
 *   sim_random --seed S [--drop ITEM,ITEM...] [--minutes M]
 *
 * runs N scenarios from seed S on, each in a process of its own, or as many as fit into SECONDS of
 * real time. What fails is made smaller, part by part, while it still fails in the same way, and
 * printed with the command that runs it again; with --list only what was violated is. Without
 * arguments: as many seeds as the environment variable SIM_SEEDS says. */
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DROPS 64
#define CRASHED 100
#define SEEDS_DEFAULT 100
#define FAILURES_MOST 5
#define REPEAT_EVERY 16 /* seeds: one is run twice */

typedef struct options {
    uint64_t first;
    uint64_t seeds;
    uint64_t minutes;
    double soak;
    int single;
    int list; /* one line for each that fails, and all of them */
    int drops[DROPS];
    size_t n_drops;
    uint64_t *hash; /* of the last run, shared with its process */
} options;

static double real_seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void compose(random_scenario *s, const options *o, uint64_t seed) {
    size_t i;

    random_compose(s, seed, o->minutes);
    for (i = 0; i < o->n_drops; i++) {
        random_drop(s, o->drops[i]);
    }
}

/* In a process of its own: an assertion or a crash is a failure like others. */
static int try_one(const options *o, uint64_t seed, int verbose) {
    random_scenario s;
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int broken;

        if (!verbose && (freopen("/dev/null", "w", stdout) == NULL ||
                         freopen("/dev/null", "w", stderr) == NULL)) {
            _exit(CRASHED);
        }
        compose(&s, o, seed);
        broken = random_run(&s, verbose, o->hash);
        fflush(stdout);
        if (broken == 0) {
            exit(0); /* with the sanitizers' last checks */
        }
        _exit(broken);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("sim_random");
        exit(2);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) < BROKEN_KINDS ? WEXITSTATUS(status) : CRASHED;
}

static int run_one(const options *o, uint64_t seed) {
    int broken = try_one(o, seed, o->list);
    uint64_t hash = *o->hash;

    if (broken == 0 && seed % REPEAT_EVERY == 0) {
        broken = try_one(o, seed, o->list);
        broken = broken == 0 && *o->hash != hash ? BROKEN_REPEAT : broken;
    }
    return broken;
}

/* Leaves out one part after the other, as long as it still fails in the same way. */
static void shrink(options *o, uint64_t seed, int broken) {
    static const int FROM[] = {0, RANDOM_ITEM_NODE, RANDOM_ITEM_JOB, RANDOM_ITEM_ROUGH};
    static const int COUNT[] = {RANDOM_FAULTS, RANDOM_NODES, RANDOM_JOBS, 1};
    size_t kind;
    int i;

    for (kind = 0; kind < ATL_COUNT(FROM); kind++) {
        for (i = 0; i < COUNT[kind] && o->n_drops < DROPS; i++) {
            random_scenario s;

            compose(&s, o, seed);
            if (!random_drop(&s, FROM[kind] + i)) {
                continue;
            }
            o->drops[o->n_drops++] = FROM[kind] + i;
            if (try_one(o, seed, 0) != broken) {
                o->n_drops--;
            }
        }
    }
}

static void report(const options *given, uint64_t seed, int broken) {
    options o = *given;
    random_scenario s;
    size_t i;

    printf("seed %llu fails (%s); making it smaller\n", (unsigned long long)seed,
           random_broken_name(broken));
    if (!o.single) {
        shrink(&o, seed, broken);
    }
    compose(&s, &o, seed);
    try_one(&o, seed, 2);
    random_print(&s);
    printf("again: sim_random --seed %llu --minutes %llu", (unsigned long long)seed,
           (unsigned long long)o.minutes);
    for (i = 0; i < o.n_drops; i++) {
        printf("%s%d", i == 0 ? " --drop " : ",", o.drops[i]);
    }
    printf("\n\n");
}

static void parse_drops(options *o, const char *text) {
    char *end = NULL;

    while (*text != '\0' && o->n_drops < DROPS) {
        o->drops[o->n_drops++] = (int)strtol(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
        if (end == text && *end != '\0') {
            break;
        }
    }
}

static int parse(options *o, int argc, char **argv) {
    const char *seeds = getenv("SIM_SEEDS");
    int i;

    memset(o, 0, sizeof(*o));
    o->first = 1;
    o->minutes = 2;
    o->seeds = seeds == NULL ? SEEDS_DEFAULT : strtoull(seeds, NULL, 10);
    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0) {
            o->seeds = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--first") == 0 || strcmp(argv[i], "--seed") == 0) {
            o->first = strtoull(argv[i + 1], NULL, 10);
            o->single |= strcmp(argv[i], "--seed") == 0;
        } else if (strcmp(argv[i], "--minutes") == 0) {
            o->minutes = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--soak") == 0) {
            o->soak = strtod(argv[i + 1], NULL);
        } else if (strcmp(argv[i], "--list") == 0) {
            o->list = argv[i + 1][0] == '1';
        } else if (strcmp(argv[i], "--drop") == 0) {
            parse_drops(o, argv[i + 1]);
        } else {
            return 0;
        }
    }
    return i == argc && o->minutes > 0;
}

int main(int argc, char **argv) {
    double start = real_seconds();
    uint64_t failures = 0;
    uint64_t seed;
    options o;

    if (!parse(&o, argc, argv)) {
        fprintf(stderr,
                "usage: sim_random [--seeds N] [--first S] [--minutes M] [--soak SECONDS] "
                "[--list 1] [--seed S [--drop ITEM,...]]\n");
        return 2;
    }
    o.hash = mmap(NULL, sizeof(*o.hash), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (o.hash == MAP_FAILED) {
        perror("sim_random");
        return 2;
    }
    for (seed = o.first; o.single     ? seed == o.first
                         : o.soak > 0 ? real_seconds() - start < o.soak
                                      : seed < o.first + o.seeds;
         seed++) {
        int broken = run_one(&o, seed);

        if (broken != 0 && o.list) {
            printf("seed %llu: %s\n", (unsigned long long)seed, random_broken_name(broken));
            failures++;
        } else if (broken != 0) {
            report(&o, seed, broken);
            if (++failures == FAILURES_MOST) {
                printf("that is enough\n");
                seed++;
                break;
            }
        }
    }
    printf("%llu scenarios of %llu virtual minutes in %.1f s, %llu violations\n",
           (unsigned long long)(seed - o.first), (unsigned long long)o.minutes,
           real_seconds() - start, (unsigned long long)failures);
    return failures == 0 ? 0 : 1;
}
