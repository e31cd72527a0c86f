#include "discovery_print.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HASH 16
#define OFFERS 3

static const char *const offer_names[OFFERS] = {"relay", "bootstrap", "dialback"};

static size_t offers_of(uint32_t bits, const char *names[OFFERS]) {
    size_t count = 0;
    size_t i;

    for (i = 0; i < OFFERS; i++) {
        if ((bits >> i & 1) != 0) {
            names[count++] = offer_names[i];
        }
    }
    return count;
}

static void json_offers(out *o, uint32_t bits) {
    const char *names[OFFERS];
    size_t count = offers_of(bits, names);

    out_strings(o, "offers", names, count);
}

/* "relay, dialback"; "nothing". */
static const char *offers_text(uint32_t bits, char *buf, size_t cap) {
    const char *names[OFFERS];
    size_t count = offers_of(bits, names);
    size_t at = 0;
    size_t i;

    (void)snprintf(buf, cap, "nothing");
    for (i = 0; i < count && at < cap; i++) {
        at += (size_t)snprintf(buf + at, cap - at, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    return buf;
}

/* ---- records ---- */

static const char *time_text(uint64_t ms, char *buf, size_t cap) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;

    (void)snprintf(buf, cap, "not said");
    if (ms != 0 && ms / 1000 < UINT64_C(253402300800) && gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(buf, cap, "%Y-%m-%d %H:%M:%S UTC", &parts);
    }
    return buf;
}

static const char *source_name(uint32_t source) {
    return source == ATLAS_RECORD_CACHE       ? "cache"
           : source == ATLAS_RECORD_BOOTSTRAP ? "bootstrap"
                                              : "peer";
}

/* A further line for people. */
__attribute__((format(printf, 2, 3))) static void more(out *o, const char *format, ...) {
    char text[ATLAS_MULTIADDR_MAX + 96];
    va_list args;

    if (o->json) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    out_open(o, "record");
    out_close(o, "  %s", text);
}

static void json_record(app *a, const atlas_record *r) {
    out *o = &a->out;

    out_open(o, "record");
    out_str(o, "peer", r->peer);
    out_u64(o, "seq", r->seq);
    if (r->issued_ms != 0) {
        out_u64(o, "issued_ms", r->issued_ms);
    }
    if (r->expires_ms != 0) {
        out_u64(o, "expires_ms", r->expires_ms);
    }
    out_strings(o, "addrs", r->addrs, (size_t)r->addr_count);
    json_offers(o, r->offers);
    out_str(o, "source", source_name(r->source));
    out_str(o, "from", r->from);
    out_ms(o, "rtt_ms", r->rtt_ns);
}

void discovery_print_record(app *a, const atlas_record *r, int brief) {
    out *o = &a->out;
    char text[64];
    char again[64] = "";
    uint64_t i;

    json_record(a, r);
    if (brief) {
        if (r->addr_count > 1) {
            (void)snprintf(again, sizeof(again), " and %llu more",
                           (unsigned long long)r->addr_count - 1);
        }
        out_close(o, "%s  %s  %s%s", r->peer, offers_text(r->offers, text, sizeof(text)),
                  r->addr_count > 0 ? r->addrs[0] : "no address", again);
        return;
    }
    out_close(o, "record of %s", r->peer);
    for (i = 0; i < r->addr_count; i++) {
        more(o, "%s", r->addrs[i]);
    }
    if (r->addr_count == 0) {
        more(o, "no address");
    }
    more(o, "offers %s", offers_text(r->offers, text, sizeof(text)));
    more(o, "number %llu, issued %s", (unsigned long long)r->seq,
         time_text(r->issued_ms, text, sizeof(text)));
    more(o, "expires %s", time_text(r->expires_ms, text, sizeof(text)));
    if (r->rtt_ns != 0) {
        (void)snprintf(again, sizeof(again), ", %.1f ms", (double)r->rtt_ns / 1e6);
    }
    more(o, "from %s%s",
         r->source == ATLAS_RECORD_CACHE  ? "what this node knew already"
         : r->source == ATLAS_RECORD_PEER ? "the peer itself"
                                          : r->from,
         again);
}

void discovery_print_failed(app *a, const atlas_query_event *event) {
    out *o = &a->out;

    if (!o->json) {
        out_note(o, "atlas: %s: %s", event->from, event->text);
        return;
    }
    out_open(o, "error");
    out_str(o, "addr", event->from);
    out_code(o, event->code);
    out_str(o, "text", event->text);
    out_close(o, NULL);
}

int discovery_no_bootstrap(app *a) {
    out_error(&a->out, ATLAS_ERR_NO_BOOTSTRAP,
              "no bootstrap node is known: say --bootstrap ADDR, or name some in the configuration "
              "([network] bootstrap)");
    return EXIT_USAGE;
}

/* ---- reachability ---- */

static const char *verdict_name(uint32_t verdict) {
    return verdict == ATLAS_REACH_PUBLIC    ? "public"
           : verdict == ATLAS_REACH_PRIVATE ? "private"
                                            : "unknown";
}

static void json_reach(out *o, const atlas_reach_event *e) {
    uint64_t i;

    out_open(o, "reach");
    out_u64(o, "family", e->family);
    out_str(o, "verdict", verdict_name(e->verdict));
    out_str(o, "before", verdict_name(e->before));
    out_u64(o, "servers", e->servers);
    out_list(o, "addrs");
    for (i = 0; i < e->addr_count; i++) {
        out_item(o);
        out_str(o, "addr", e->addrs[i].addr);
        out_str(o, "verdict", verdict_name(e->addrs[i].verdict));
        out_u64(o, "yes", e->addrs[i].yes);
        out_u64(o, "no", e->addrs[i].no);
        out_item_end(o);
    }
    out_list_end(o);
    out_list(o, "evidence");
    for (i = 0; i < e->evidence_count; i++) {
        const atlas_reach_evidence *said = &e->evidence[i];

        out_item(o);
        out_str(o, "server", said->server);
        out_str(o, "server_addr", said->server_addr);
        out_str(o, "candidate", said->candidate);
        out_str(o, "source", said->source);
        out_code(o, said->code);
        out_str(o, "result", verdict_name(said->result));
        out_bool(o, "other_address", (int)said->other_address);
        out_item_end(o);
    }
    out_list_end(o);
    out_str(o, "text", e->text);
}

static void evidence_line(out *o, const atlas_reach_evidence *said) {
    if (said->code != ATLAS_OK) {
        more(o, "%s (%s): %s", said->server_addr, said->server, atlas_error_text(said->code));
    } else if (*said->candidate == '\0') {
        more(o, "%s (%s): has nothing to try", said->server_addr, said->server);
    } else if (*said->source != '\0') {
        more(o, "%s (%s): its datagram to %s came from %s%s", said->server_addr, said->server,
             said->candidate, said->source, said->other_address ? ", another address" : "");
    } else {
        more(o, "%s (%s): its datagram to %s %s", said->server_addr, said->server, said->candidate,
             said->result == ATLAS_REACH_PRIVATE ? "did not come" : "has not come yet");
    }
}

void discovery_print_reach(app *a, const atlas_reach_event *e, int whole) {
    out *o = &a->out;
    char text[64];
    uint64_t i;

    json_reach(o, e);
    if (e->addr_count == 0) {
        (void)snprintf(text, sizeof(text), "no address is known that strangers could try");
    } else {
        (void)snprintf(text, sizeof(text), "%u server%s answered", (unsigned)e->servers,
                       e->servers == 1 ? "" : "s");
    }
    out_close(o, "reachability over IPv%u: %s (%s)", (unsigned)e->family, verdict_name(e->verdict),
              text);
    for (i = 0; i < e->addr_count && whole; i++) {
        more(o, "%s: %s, %u yes, %u no", e->addrs[i].addr, verdict_name(e->addrs[i].verdict),
             (unsigned)e->addrs[i].yes, (unsigned)e->addrs[i].no);
    }
    for (i = 0; i < e->evidence_count && whole; i++) {
        evidence_line(o, &e->evidence[i]);
    }
}

/* ---- what happens to this node ---- */

/* What people were told last. */
static struct {
    uint8_t reached[2]; /* a family was judged before */
    uint8_t advertised[HASH];
} told;

static void on_reach(void *user, atlas_ctx *ctx, const struct atlas_reach_event *event) {
    app *a = user;
    uint8_t *before = &told.reached[event->family == 6];

    (void)ctx;
    if (a->out.json || event->verdict != event->before || !*before) {
        discovery_print_reach(a, event, 0);
    }
    *before = 1;
}

static const char *autorelay_name(uint32_t what) {
    static const char *const names[] = {"?", "chosen", "serving", "failed", "replaced"};

    return names[what < sizeof(names) / sizeof(names[0]) ? what : 0];
}

static void on_autorelay(void *user, atlas_ctx *ctx, const struct atlas_autorelay_event *event) {
    app *a = user;
    out *o = &a->out;
    char rtt[48] = "";

    (void)ctx;
    out_open(o, "autorelay");
    out_str(o, "what", autorelay_name(event->what));
    out_str(o, "relay", event->relay);
    out_str(o, "addr", event->addr);
    out_ms(o, "rtt_ms", event->rtt_ns);
    out_u64(o, "loss", event->loss);
    out_u64(o, "serving", event->serving);
    out_code(o, event->code);
    out_str(o, "text", event->text);
    if (event->rtt_ns != 0) {
        (void)snprintf(rtt, sizeof(rtt), ", RTT %.1f ms, loss %u %%", (double)event->rtt_ns / 1e6,
                       (unsigned)event->loss);
    }
    out_close(o, "relay %s: %s%s%s%s (%u serving)", event->addr, autorelay_name(event->what),
              *event->text != '\0' ? ", " : "", event->text, rtt, (unsigned)event->serving);
}

static const char *state_name(uint32_t state) {
    static const char *const names[] = {"off", "pending", "published", "failed"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/* 1 when people have been told all of it: a record that was only renewed is no news. */
static int is_told(const struct atlas_advertise_event *event) {
    crypto_generichash_state state;
    uint8_t hash[HASH];
    uint64_t i;

    (void)crypto_generichash_init(&state, NULL, 0, sizeof(hash));
    (void)crypto_generichash_update(&state, (const uint8_t *)&event->state, sizeof(event->state));
    (void)crypto_generichash_update(&state, (const uint8_t *)&event->offers, sizeof(event->offers));
    (void)crypto_generichash_update(&state, (const uint8_t *)&event->code, sizeof(event->code));
    for (i = 0; i < event->addr_count; i++) {
        (void)crypto_generichash_update(&state, (const uint8_t *)event->addrs[i],
                                        strlen(event->addrs[i]) + 1);
    }
    (void)crypto_generichash_final(&state, hash, sizeof(hash));
    if (memcmp(hash, told.advertised, sizeof(hash)) == 0) {
        return 1;
    }
    memcpy(told.advertised, hash, sizeof(hash));
    return 0;
}

static void advertise_lines(out *o, const struct atlas_advertise_event *event) {
    char text[64];
    uint64_t i;

    out_close(o, "record %s: %s%s%s", state_name(event->state), event->text,
              event->offers != 0 ? "; offers " : "",
              event->offers != 0 ? offers_text(event->offers, text, sizeof(text)) : "");
    for (i = 0; i < event->addr_count; i++) {
        more(o, "%s", event->addrs[i]);
    }
}

static void on_advertise(void *user, atlas_ctx *ctx, const struct atlas_advertise_event *event) {
    app *a = user;
    out *o = &a->out;

    (void)ctx;
    out_open(o, "advertise");
    out_str(o, "state", state_name(event->state));
    json_offers(o, event->offers);
    if (event->seq != 0) {
        out_u64(o, "seq", event->seq);
    }
    out_strings(o, "addrs", event->addrs, (size_t)event->addr_count);
    out_u64(o, "nodes", event->nodes);
    out_u64(o, "nodes_total", event->nodes_total);
    out_code(o, event->code);
    out_str(o, "text", event->text);
    if (o->json) {
        out_close(o, NULL);
    } else if (event->state != ATLAS_ADVERTISE_PENDING && !a->stopping && !is_told(event)) {
        advertise_lines(o, event);
    }
}

void discovery_watch(app *a) {
    a->on_reach = on_reach;
    a->on_advertise = on_advertise;
    a->on_autorelay = on_autorelay;
}
