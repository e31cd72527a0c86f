#include "server.h"

#include "discovery_print.h"
#include "metrics.h"
#include "node.h"

#include <stdio.h>
#include <string.h>

#define METRICS_DEFAULT "127.0.0.1:9464"

/* ---- counters ---- */

static uint64_t relay_drops(const atlas_relay_stats *s) {
    return s->dropped_bandwidth + s->dropped_total + s->dropped_source + s->dropped_send;
}

static void json_relay(out *o, const atlas_relay_stats *s) {
    out_u64(o, "sessions", s->sessions);
    out_u64(o, "nodes", s->nodes);
    out_u64(o, "circuits", s->circuits);
    out_u64(o, "pairs", s->pairs);
    out_u64(o, "packets", s->forwarded_packets);
    out_u64(o, "bytes", s->forwarded_bytes);
    out_u64(o, "dropped", relay_drops(s));
    out_u64(o, "refused",
            s->refused_nodes + s->refused_ipv4 + s->refused_ipv6 + s->refused_circuits +
                s->refused_circuits_node + s->refused_rate + s->refused_policy + s->refused_drift +
                s->refused_identity);
    out_u64(o, "malformed", s->malformed);
}

static uint64_t registry_refusals(const atlas_registry_stats *s) {
    return s->refused_malformed + s->refused_signature + s->refused_expired + s->refused_old +
           s->refused_limit + s->refused_rate + s->refused_size + s->refused_identity;
}

static void json_registry(out *o, const atlas_registry_stats *s) {
    out_u64(o, "records", s->records);
    out_u64(o, "record_relays", s->relays);
    out_u64(o, "record_memory", s->memory);
    out_u64(o, "puts", s->puts);
    out_u64(o, "gets", s->gets);
    out_u64(o, "found", s->found);
    out_u64(o, "lists", s->lists);
    out_u64(o, "deletes", s->deletes);
    out_u64(o, "expired", s->expired);
    out_u64(o, "record_refused", registry_refusals(s));
    out_u64(o, "disk_errors", s->disk_errors);
    out_u64(o, "dialbacks", s->dialbacks);
}

static void print_relay(app *a, const atlas_registry_stats *held) {
    atlas_relay_stats s = {.size = sizeof(s)};
    out *o = &a->out;

    if (atlas_relay_get_stats(a->ctx, &s) != ATLAS_OK) {
        return;
    }
    out_open(o, "stats");
    json_relay(o, &s);
    if (held != NULL) {
        json_registry(o, held);
    }
    out_close(o,
              "%llu nodes, %llu circuits, %llu paired; %llu packets, %llu bytes forwarded, %llu "
              "dropped",
              (unsigned long long)s.nodes, (unsigned long long)s.circuits,
              (unsigned long long)s.pairs, (unsigned long long)s.forwarded_packets,
              (unsigned long long)s.forwarded_bytes, (unsigned long long)relay_drops(&s));
}

static void print_registry(app *a, const atlas_registry_stats *s) {
    out *o = &a->out;

    out_open(o, "stats");
    json_registry(o, s);
    out_close(o,
              "%llu records, %llu of relays; %llu put, %llu looked up, %llu found, %llu lists, "
              "%llu refused, %llu dial-backs",
              (unsigned long long)s->records, (unsigned long long)s->relays,
              (unsigned long long)s->puts, (unsigned long long)s->gets,
              (unsigned long long)s->found, (unsigned long long)s->lists,
              (unsigned long long)registry_refusals(s), (unsigned long long)s->dialbacks);
}

/* One event in JSON, a line for each part for people. */
static void print_stats(app *a) {
    atlas_registry_stats held = {.size = sizeof(held)};
    int holds = a->holds && atlas_registry_get_stats(a->ctx, &held) == ATLAS_OK;

    if (a->relays) {
        print_relay(a, holds ? &held : NULL);
    }
    if (holds && (!a->relays || !a->out.json)) {
        print_registry(a, &held);
    }
}

static void tick(app *a) {
    print_stats(a);
    a->tick_at = atlas_now(a->ctx) + a->opt.stats_ms * NS_PER_MS;
}

static void on_stop(app *a) {
    print_stats(a);
    if (a->drain_ms > 0) {
        out_note(&a->out, "atlas: draining for at most %.1f s", (double)a->drain_ms / 1e3);
    }
}

/* ---- start ---- */

int server_check(app *a, int holds) {
    const char *option = a->opt.db != NULL                  ? "--db"
                         : a->opt.max_records != UINT64_MAX ? "--max-records"
                                                            : NULL;

    if (!holds && option != NULL) {
        out_error(&a->out, ATLAS_ERR_INVALID,
                  "%s is for a bootstrap node: say --bootstrap as well, or run atlas bootstrap",
                  option);
        return EXIT_USAGE;
    }
    return 0;
}

static int alternate_error(app *a, const char *text, int32_t code) {
    const char *why = atlas_error_text(code);

    if (code == ATLAS_ERR_NOT_FOUND) {
        why = "this host does not have that address, or has no other of its family";
    } else if (code == ATLAS_ERR_INVALID) {
        why = "the server is on that address or port already: STUN needs two of both";
    } else if (code == ATLAS_ERR_ADDRESS) {
        why = "an IP address of this host is expected, which :PORT may follow";
    }
    out_error(&a->out, code, "--stun-alternate %s: %s", text, why);
    return code == ATLAS_ERR_INVALID || code == ATLAS_ERR_ADDRESS ? EXIT_USAGE : EXIT_FAILED;
}

static int add_alternates(app *a) {
    size_t i;

    for (i = 0; i < a->opt.alternates.count; i++) {
        int32_t rv = atlas_stun_server_alternate(a->ctx, a->opt.alternates.items[i]);

        if (rv != ATLAS_OK) {
            return alternate_error(a, a->opt.alternates.items[i], rv);
        }
    }
    return 0;
}

static int db_error(app *a, int32_t code) {
    const char *why = atlas_error_text(code);

    switch (code) {
    case ATLAS_ERR_AGAIN:
        why = "another process has it";
        break;
    case ATLAS_ERR_PERMISSION:
        why = "this user may not write it";
        break;
    case ATLAS_ERR_NOT_FOUND:
        why = "its directory does not exist";
        break;
    case ATLAS_ERR_MALFORMED:
        why = "is there, and no file of records of a bootstrap node";
        break;
    case ATLAS_ERR_UNSUPPORTED:
        why = "this build of libatlas has no SQLite";
        break;
    default:
        break;
    }
    out_error(&a->out, code, "--db %s: %s", a->opt.db, why);
    return code == ATLAS_ERR_PERMISSION || code == ATLAS_ERR_NOT_FOUND ||
                   code == ATLAS_ERR_MALFORMED || code == ATLAS_ERR_UNSUPPORTED
               ? EXIT_USAGE
               : EXIT_FAILED;
}

/* Opens first: an error of a socket is no error of the file. */
static int start_bootstrap(app *a) {
    int32_t rv = atlas_open(a->ctx);

    if (rv != ATLAS_OK) {
        return app_error(a, rv, "bootstrap");
    }
    rv = atlas_bootstrap_start(a->ctx, a->opt.db);
    if (rv == ATLAS_OK) {
        return 0;
    }
    return a->opt.db != NULL && rv != ATLAS_ERR_NOMEM ? db_error(a, rv)
                                                      : app_error(a, rv, "bootstrap");
}

int server_start(app *a, int holds) {
    const char *at = a->opt.metrics;
    int code = holds ? start_bootstrap(a) : 0;
    int32_t rv;

    a->holds = holds;
    if (code == 0) {
        code = add_alternates(a);
    }
    if (code == 0 && at == NULL && holds) {
        at = METRICS_DEFAULT;
    }
    if (code == 0 && at != NULL && strcmp(at, "off") != 0) {
        code = metrics_start(a, at);
    }
    if (code != 0) {
        return code;
    }
    /* a plain relay that knows no bootstrap node has nobody to tell */
    rv = atlas_advertise(a->ctx, 1);
    return rv == ATLAS_OK || rv == ATLAS_ERR_NO_BOOTSTRAP ? 0 : app_error(a, rv, "advertise");
}

int server_run(app *a, const char *what) {
    a->on_stop = on_stop;
    a->on_tick = tick;
    /* with -v, and nothing else said, every ten seconds */
    if (a->opt.stats_ms == 0 && a->opt.verbose > 0) {
        a->opt.stats_ms = 10000;
    }
    if (a->opt.stats_ms > 0) {
        a->tick_at = atlas_now(a->ctx) + a->opt.stats_ms * NS_PER_MS;
    }
    node_ready(a, what);
    return app_run(a);
}
