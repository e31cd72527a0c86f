/* atlas stun --nat. */
#include "probe.h"

#include <stdio.h>
#include <string.h>

#define PROBE_SHORTEST_MS 100
#define PROBE_LONGEST_MS 39500

static const char *name_of(const char *const *texts, size_t count, uint32_t value) {
    return value < count ? texts[value] : "unknown";
}

#define NAME(texts, value) name_of(texts, sizeof(texts) / sizeof((texts)[0]), value)

static const char *const mappings[] = {"unknown", "endpoint-independent", "address-dependent",
                                       "address-and-port-dependent", "none"};
static const char *const filterings[] = {"unknown", "endpoint-independent", "address-dependent",
                                         "address-and-port-dependent", "none"};
static const char *const answers[] = {"unknown", "yes", "no"};
static const char *const methods[] = {"none", "rfc5780", "servers"};
static const char *const kinds[] = {"unknown",         "none",  "full-cone", "address-restricted",
                                    "port-restricted", "cgnat", "symmetric", "blocked"};

static void json_kinds(out *o, const char *key, uint32_t bits) {
    const char *names[sizeof(kinds) / sizeof(kinds[0])];
    size_t count = 0;
    uint32_t kind;

    for (kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        if ((bits >> kind & 1) != 0) {
            names[count++] = kinds[kind];
        }
    }
    out_strings(o, key, names, count);
}

static void json_seen(out *o, const atlas_nat_event *e) {
    char lines[MAX_REPEATED + 2][3 * ATLAS_ADDR_MAX];
    const char *names[MAX_REPEATED + 2];
    size_t i;

    for (i = 0; i < e->seen_count && i < MAX_REPEATED + 2; i++) {
        (void)snprintf(lines[i], sizeof(lines[i]), "%s saw %s at %s", e->seen[i].server_addr,
                       e->seen[i].local, e->seen[i].reflexive);
        names[i] = lines[i];
    }
    out_strings(o, "seen", names, i);
}

static void print_json(app *a, const atlas_nat_event *e) {
    out *o = &a->out;

    out_open(o, "nat");
    out_u64(o, "family", e->family);
    out_str(o, "kind", NAME(kinds, e->kind));
    out_str(o, "mapping", NAME(mappings, e->mapping));
    out_str(o, "filtering", NAME(filterings, e->filtering));
    out_str(o, "hairpinning", NAME(answers, e->hairpinning));
    out_str(o, "port_preservation", NAME(answers, e->port_preservation));
    out_str(o, "method", NAME(methods, e->method));
    if (e->lifetime_ns != 0 || e->lifetime_end_ns != 0) {
        out_seconds(o, "lifetime", e->lifetime_ns);
    }
    if (e->lifetime_end_ns != 0) {
        out_seconds(o, "lifetime_end", e->lifetime_end_ns);
    }
    json_kinds(o, "reaches", e->reaches);
    json_kinds(o, "perhaps", e->perhaps);
    if (e->seen_count > 0) {
        out_str(o, "local", e->seen[0].local);
        out_str(o, "addr", e->seen[0].reflexive);
    }
    json_seen(o, e);
    out_code(o, e->code);
    out_str(o, "verdict", e->verdict);
    out_str(o, "text", e->text);
    out_close(o, NULL);
}

static void row(app *a, const char *name, const char *value) {
    out_open(&a->out, "nat");
    out_close(&a->out, "  %-18s %s", name, value);
}

static void print_lifetime(app *a, const atlas_nat_event *e) {
    char text[96];

    if (e->lifetime_end_ns != 0) {
        (void)snprintf(text, sizeof(text), "%.1f to %.1f s of silence",
                       (double)e->lifetime_ns / 1e9, (double)e->lifetime_end_ns / 1e9);
    } else if (e->lifetime_ns != 0) {
        (void)snprintf(text, sizeof(text), "more than %.1f s of silence",
                       (double)e->lifetime_ns / 1e9);
    } else {
        (void)snprintf(text, sizeof(text), "unknown");
    }
    row(a, "mappings live", text);
}

static void print_table(app *a, const atlas_nat_event *e) {
    size_t i;

    out_open(&a->out, "nat");
    out_close(&a->out, "%s", e->verdict);
    if (e->code == ATLAS_OK) {
        row(a, "mapping", NAME(mappings, e->mapping));
        row(a, "filtering", NAME(filterings, e->filtering));
        row(a, "hairpinning", NAME(answers, e->hairpinning));
        row(a, "keeps the port", NAME(answers, e->port_preservation));
        if (a->opt.lifetime_ms != 0) {
            print_lifetime(a, e);
        }
    }
    for (i = 0; i < e->seen_count; i++) {
        char text[3 * ATLAS_ADDR_MAX];

        (void)snprintf(text, sizeof(text), "%s (local %s) by %s", e->seen[i].reflexive,
                       e->seen[i].local, e->seen[i].server_addr);
        row(a, i == 0 ? "seen" : "", text);
    }
    row(a, "how", e->text);
}

static void print_progress(app *a, const atlas_nat_event *e) {
    out *o = &a->out;

    if (o->json) {
        out_open(o, "progress");
        out_u64(o, "family", e->family);
        out_str(o, "text", e->text);
        out_close(o, NULL);
    } else if (a->opt.lifetime_ms != 0 || a->opt.verbose > 0) {
        out_note(o, "IPv%u: %s", (unsigned)e->family, e->text);
    }
}

static void on_event(void *user, atlas_nat *nat, const atlas_nat_event *event, int32_t status) {
    app *a = user;

    (void)nat;
    if (event == NULL) {
        app_finish(a, status == ATLAS_OK ? EXIT_DONE : EXIT_FAILED);
    } else if (event->what != ATLAS_NAT_RESULT) {
        print_progress(a, event);
    } else if (a->out.json) {
        print_json(a, event);
    } else {
        print_table(a, event);
    }
}

static int32_t start(app *a) {
    const char *relays[MAX_REPEATED];
    atlas_nat_options how = {.size = sizeof(how), .timeout_ms = a->opt.timeout_ms};
    size_t count = (size_t)a->opt.arg_count;
    int32_t rv;

    if (how.timeout_ms > PROBE_LONGEST_MS) {
        how.timeout_ms = PROBE_LONGEST_MS;
    } else if (how.timeout_ms != 0 && how.timeout_ms < PROBE_SHORTEST_MS) {
        how.timeout_ms = PROBE_SHORTEST_MS;
    }
    how.lifetime_ms = a->opt.lifetime_ms;
    rv = atlas_nat_probe(a->ctx, (const char *const *)a->opt.args, count, &how, on_event, a, NULL);
    if (rv != ATLAS_ERR_NOT_FOUND) {
        return rv;
    }
    count = probe_relays(a, relays);
    return count == 0 ? rv : atlas_nat_probe(a->ctx, relays, count, &how, on_event, a, NULL);
}

int nat_run(app *a) {
    int32_t rv = start(a);

    if (rv == ATLAS_ERR_NOT_FOUND) {
        out_error(&a->out, rv, "no STUN server is named, and none is configured");
        return EXIT_USAGE;
    }
    return rv == ATLAS_OK ? app_run(a) : probe_error(a, rv);
}
