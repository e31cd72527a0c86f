/* What happened in the simulated network: a bounded ring that explains a failure, and a hash that
 * tells whether two runs were the same. */
#include "net_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define TAIL 80 /* lines printed when a test has failed; SIM_TAIL sets another number */

/* Networks that have not been freed. */
static sim_net *live_nets;

static void print_tails(void) {
    const char *tail = getenv("SIM_TAIL");
    const sim_net *net;

    for (net = live_nets; net != NULL; net = net->next_live) {
        printf("simulator: seed %llu was left at %.6f s; what happened last:\n",
               (unsigned long long)net->seed, (double)net->now / 1e9);
        sim_print_log(net, tail != NULL ? strtoul(tail, NULL, 10) : TAIL);
    }
}

void sim_log_start(sim_net *net) {
    static int registered;
    const char *live = getenv("SIM_LOG");

    if (!registered) {
        registered = 1;
        (void)atexit(print_tails);
    }
    net->ring = sim_must(calloc(LOG_RING, sizeof(sim_event)));
    net->log_hash = FNV_START;
    net->live_log = live == NULL ? 0 : atoi(live) > 1 ? 2 : 1;
    net->next_live = live_nets;
    live_nets = net;
}

void sim_log_end(sim_net *net) {
    sim_net **at = &live_nets;
    size_t i;

    while (*at != net) {
        at = &(*at)->next_live;
    }
    *at = net->next_live;
    for (i = 0; i < LOG_RING; i++) {
        if (net->ring[i].what >= SIM_FAULT) {
            free((char *)(uintptr_t)net->ring[i].text);
        }
    }
    free(net->ring);
}

static void print_event(const sim_event *e) {
    static const char *const WHAT[] = {"", "sent", "delivered", "lost", "filtered", "***", ""};
    char from[ATLAS_ADDR_MAX];
    char to[ATLAS_ADDR_MAX];

    printf("%12.6f ", (double)e->at / 1e9);
    if (e->host != NULL) {
        atl_addr_ip_text(&e->host->nics[0].ip, from);
        printf("host %zu (%s) ", e->host->index, e->host->n_nics > 0 ? from : "no address");
    }
    atl_addr_text(&e->from, from);
    atl_addr_text(&e->to, to);
    printf("%s ", WHAT[e->what]);
    if (e->what < SIM_FAULT) {
        printf("%s > %s, %zu bytes", from, to, e->len);
    } else {
        printf("%s%s%s%s", e->text, from[0] == '\0' ? "" : ": ", from, to[0] == '\0' ? "" : " > ");
        printf("%s\n", to);
        return;
    }
    printf("%s%s\n", e->text == NULL ? "" : ": ", e->text == NULL ? "" : e->text);
}

void sim_print_log(const sim_net *net, size_t n) {
    size_t have = net->n_events < LOG_RING ? net->n_events : LOG_RING;
    size_t i;

    for (i = n < have ? n : have; i > 0; i--) {
        print_event(&net->ring[(net->n_events - i) % LOG_RING]);
    }
    fflush(stdout);
}

static uint64_t fnv(uint64_t hash, const void *data, size_t len) {
    const uint8_t *bytes = data;
    size_t i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Eight bytes at a time: everything is hashed. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ (hash >> 32);
}

static uint64_t mix_addr(uint64_t hash, const atl_addr *addr) {
    uint64_t words[sizeof(*addr) / 8];
    size_t i;

    memcpy(words, addr, sizeof(words));
    for (i = 0; i < ATL_COUNT(words); i++) {
        hash = mix(hash, words[i]);
    }
    return hash;
}

static void hash_event(sim_net *net, const sim_event *e) {
    uint64_t hash = mix(mix(net->log_hash, e->at), (uint64_t)e->what << 32 | (uint32_t)e->len);

    hash = mix(hash, e->host == NULL ? NEVER : e->host->index);
    hash = mix_addr(mix_addr(hash, &e->from), &e->to);
    net->log_hash = e->text == NULL ? hash : fnv(hash, e->text, strlen(e->text));
}

void sim_log(sim_net *net, uint32_t what, const sim_host *host, const atl_addr *from,
             const atl_addr *to, size_t len, const char *text) {
    sim_event *e = &net->ring[net->n_events++ % LOG_RING];

    if (e->what >= SIM_FAULT) {
        free((char *)(uintptr_t)e->text);
    }
    memset(e, 0, sizeof(*e));
    e->at = net->now;
    e->what = what;
    e->host = host;
    e->len = len;
    e->text = what >= SIM_FAULT ? sim_must(strdup(text)) : text;
    if (from != NULL) {
        e->from = *from;
    }
    if (to != NULL) {
        e->to = *to;
    }
    if (what != SIM_LOG_LINE) {
        hash_event(net, e);
    }
    if (net->live_log == 2 || (net->live_log == 1 && what != SIM_SENT && what != SIM_DELIVERED)) {
        print_event(e);
    }
    if (net->observe != NULL) {
        net->observe(net->observe_user, e);
    }
}

void sim_note(sim_net *net, const char *format, ...) {
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim_log(net, SIM_FAULT, NULL, NULL, NULL, 0, text);
}

void sim_log_line(sim_net *net, const sim_host *host, int level, const char *text) {
    char line[512];

    snprintf(line, sizeof(line), "[%d] %s", level, text);
    sim_log(net, SIM_LOG_LINE, host, NULL, NULL, 0, line);
}

uint64_t sim_log_hash(const sim_net *net) {
    return net->log_hash;
}

void sim_set_observer(sim_net *net, void (*observe)(void *user, const sim_event *event),
                      void *user) {
    net->observe = observe;
    net->observe_user = user;
}
