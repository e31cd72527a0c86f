/* How fast two forwarders work off a backlog, in turns. While one stands still (SIGSTOP) its socket
 * is filled; then it is let loose, and the time until the last datagram has come out, and the
 * processor time that it took, are measured. So the forwarder is saturated in every regime, though
 * the generator has but the other processor of two; generator and receiver cost the same for all
 * forwarders; and what else happens on the machine meets both alike.
 *
 *     bench_forward single|train8|full SECONDS FORWARDER [FORWARDER]      of bare, relay, coturn
 *
 * prints one JSON object: for each its wall_ns and cpu_ns a packet (medians of the bursts),
 * packets, lost, the allocations during all of them and how many bursts had none; and the ratio of
 * the first one's speed to the second one's (median of the pairs of bursts). */
#include "forward.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_BURSTS 10000
#define STALL 50000000u /* ns without a packet: the rest is lost */
#define SETTLE_US 150   /* until the forwarder has found its socket empty */

typedef struct regime {
    const char *name;
    size_t segments; /* of a train */
    size_t trains;   /* of a burst; fits the socket's buffer */
    size_t batch;    /* of the bare forwarder: found to be its best */
} regime;

typedef struct subject {
    const char *name;
    forwarding f;
    size_t trains;
    uint8_t train[BENCH_TRAIN_MAX];
    double wall[MAX_BURSTS];
    double cpu[MAX_BURSTS];
    size_t packets;
    size_t got;
    uint64_t allocations;
    size_t clean_bursts; /* without an allocation */
} subject;

/* coturn's own socket buffers are smaller: 512 datagrams fit */
static const regime REGIMES[] = {
    {"single", 1, 2048, 0}, {"train8", 8, 384, 16}, {"full", 54, 80, 4}};
#define TURN_BURST 512

static uint8_t sunk[65536];
static subject subjects[2];

static void stand_still(pid_t pid) {
    int status;

    if (kill(pid, SIGSTOP) != 0 || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
        bench_die("the forwarder has ended");
    }
}

/* How many came out; *at is when the last one did. */
static size_t receive(const forwarding *f, size_t expected, uint64_t *at) {
    size_t got = 0;

    while (got < expected) {
        size_t segment = 0;
        size_t len = bench_recv(f->rx, sunk, sizeof(sunk), &segment);
        uint64_t now = bench_now();

        if (len > 0 && segment == f->out_size) {
            got += len / segment;
            *at = now;
        } else if (len == 0 && now - *at > STALL) {
            break;
        }
    }
    return got;
}

static void burst(subject *s, const regime *r, size_t i) {
    const forwarding *f = &s->f;
    size_t packets = s->trains * r->segments;
    uint64_t start, spent, calls, at;
    size_t got;

    stand_still(f->pid);
    for (size_t t = 0; t < s->trains; t++) {
        bench_send(f->tx, &f->to, s->train, r->segments * FORWARD_SIZE, FORWARD_SIZE);
    }
    calls = f->allocations == NULL ? 0 : f->allocations->calls;
    spent = bench_cpu_of(f->pid);
    start = at = bench_now();
    if (kill(f->pid, SIGCONT) != 0) {
        bench_die("SIGCONT");
    }
    got = receive(f, packets, &at);
    (void)usleep(SETTLE_US);
    spent = bench_cpu_of(f->pid) - spent;
    calls = (f->allocations == NULL ? 0 : f->allocations->calls) - calls;
    s->allocations += calls;
    s->clean_bursts += calls == 0;
    s->packets += packets;
    s->got += got;
    if (got == 0) {
        errno = 0;
        bench_die("nothing was forwarded");
    }
    s->wall[i] = (double)(at - start) / (double)got;
    s->cpu[i] = (double)spent / (double)got;
    if (s->f.idle != NULL) {
        s->f.idle(&s->f);
    }
}

static size_t measure(const regime *r, size_t n, double seconds) {
    uint64_t until;
    size_t bursts = 0;

    for (size_t i = 0; i < 5 * n; i++) { /* buffers and caches find their size */
        burst(&subjects[i % n], r, 0);
    }
    for (size_t i = 0; i < n; i++) {
        subjects[i].packets = subjects[i].got = 0;
        subjects[i].allocations = 0;
        subjects[i].clean_bursts = 0;
    }
    until = bench_now() + (uint64_t)(seconds * 1e9);
    do {
        for (size_t i = 0; i < n; i++) {
            burst(&subjects[i], r, bursts);
        }
        bursts++;
    } while (bursts < MAX_BURSTS && bench_now() < until);
    return bursts;
}

static void start(subject *s, const char *name, const regime *r) {
    s->name = name;
    s->trains = r->trains;
    if (strcmp(name, "bare") == 0) {
        forward_start_bare(&s->f, 0, r->batch);
    } else if (strcmp(name, "relay") == 0) {
        forward_start_relay(&s->f, 0);
    } else if (strcmp(name, "coturn") == 0) {
        forward_start_turn(&s->f, 0);
        s->trains = TURN_BURST / r->segments;
    } else {
        errno = 0;
        bench_die("bare, relay or coturn?");
    }
    for (size_t at = 0; at + FORWARD_SIZE <= sizeof(s->train); at += FORWARD_SIZE) {
        memcpy(s->train + at, s->f.datagram, FORWARD_SIZE);
    }
}

static void report(size_t n, size_t bursts) {
    double ratio[2][MAX_BURSTS];

    for (size_t i = 0; i < bursts; i++) {
        ratio[0][i] = subjects[1].wall[i] / subjects[0].wall[i];
        ratio[1][i] = subjects[1].cpu[i] / subjects[0].cpu[i];
    }
    printf("{");
    for (size_t i = 0; i < n; i++) {
        subject *s = &subjects[i];

        printf(
            "\"%s\": {\"wall_ns\": %.2f, \"cpu_ns\": %.2f, \"packets\": %zu, \"lost\": %zu, "
            "\"allocations\": %llu, \"clean_bursts\": %zu}, ",
            s->name, bench_median(s->wall, bursts), bench_median(s->cpu, bursts), s->got,
            s->packets - s->got, (unsigned long long)s->allocations, s->clean_bursts);
    }
    printf("\"bursts\": %zu, \"ratio\": %.4f, \"cpu_ratio\": %.4f}\n", bursts,
           n < 2 ? 0 : bench_median(ratio[0], bursts), n < 2 ? 0 : bench_median(ratio[1], bursts));
}

int main(int argc, char **argv) {
    const regime *r = NULL;
    size_t n = argc > 4 ? 2 : 1;
    size_t bursts;

    for (size_t i = 0; argc > 3 && i < sizeof(REGIMES) / sizeof(REGIMES[0]); i++) {
        if (strcmp(argv[1], REGIMES[i].name) == 0) {
            r = &REGIMES[i];
        }
    }
    if (r == NULL) {
        fprintf(stderr,
                "usage: bench_forward single|train8|full SECONDS bare|relay|coturn "
                "[bare|relay|coturn]\n");
        return 2;
    }
    bench_pin(1);
    for (size_t i = 0; i < n; i++) {
        start(&subjects[i], argv[3 + i], r);
    }
    bursts = measure(r, n, atof(argv[2]));
    report(n, bursts);
    for (size_t i = 0; i < n; i++) {
        bench_stop(subjects[i].f.pid);
    }
    return 0;
}
