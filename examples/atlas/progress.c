#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WIDTH 30
#define EVERY_NS UINT64_C(100000000)

void progress_begin(progress *p, out *o, uint64_t total, uint64_t now) {
    p->o = o;
    p->on = isatty(STDERR_FILENO) && !o->json;
    p->total = total;
    p->began = now;
    p->done = 0;
    p->drawn = 0;
}

static const char *amount(double bytes, char *buf, size_t cap) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i;

    for (i = 0; bytes >= 1024 && i + 1 < sizeof(units) / sizeof(units[0]); i++) {
        bytes /= 1024;
    }
    (void)snprintf(buf, cap, i == 0 ? "%.0f %s" : "%.1f %s", bytes, units[i]);
    return buf;
}

static const char *duration(double seconds, char *buf, size_t cap) {
    unsigned long long s = seconds < 0        ? 0
                           : seconds > 359999 ? 359999
                                              : (unsigned long long)(seconds + 0.5);

    if (s >= 3600) {
        (void)snprintf(buf, cap, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(buf, cap, "%llu:%02llu", s / 60, s % 60);
    }
    return buf;
}

static void draw(progress *p, uint64_t now) {
    char bar[WIDTH + 1];
    char have[32];
    char rate[32];
    char left[32] = "-:--";
    double seconds = (double)(now - p->began) / 1e9;
    double speed = seconds > 0 ? (double)p->done / seconds : 0;
    double share = p->total == 0 ? 1 : (double)p->done / (double)p->total;
    size_t filled = (size_t)(share * WIDTH);

    p->drawn = now;
    memset(bar, ' ', WIDTH);
    memset(bar, '#', filled > WIDTH ? WIDTH : filled);
    bar[WIDTH] = '\0';
    if (speed > 0) {
        (void)duration((double)(p->total - p->done) / speed, left, sizeof(left));
    }
    fprintf(stderr, "\r\033[K[%s] %3.0f %%  %s  %s/s  %s left%s%s", bar, share * 100,
            amount((double)p->done, have, sizeof(have)), amount(speed, rate, sizeof(rate)), left,
            p->path == NULL ? "" : "  ", p->path == NULL ? "" : p->path);
    (void)fflush(stderr);
    p->o->bar = 1;
}

void progress_at(progress *p, uint64_t done, uint64_t now) {
    p->done = done;
    if (p->on && (p->drawn == 0 || now - p->drawn >= EVERY_NS || done == p->total)) {
        draw(p, now);
    }
}

void progress_path(progress *p, const char *path, uint64_t now) {
    p->path = path;
    if (p->on) {
        draw(p, now);
    }
}

void progress_end(progress *p) {
    if (p->on && p->o->bar) {
        (void)fputs("\n", stderr);
        p->o->bar = 0;
    }
    p->on = 0;
}
