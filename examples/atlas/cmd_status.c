/* atlas status. */
#include "discovery_print.h"
#include "probe.h"

#include <stdio.h>
#include <string.h>

#define WAIT_MS 5000

typedef struct status {
    uint8_t printed[MAX_REPEATED];
    uint32_t relays;
    uint32_t left;   /* relays of which nothing has been heard */
    uint32_t failed; /* relays that do not answer */
    int probing;
    int asking; /* the bootstrap nodes */
    uint64_t asked_at;
} status;

static void check_end(app *a) {
    status *s = a->user;

    if (s->left == 0 && !s->probing && !s->asking) {
        app_finish(a, s->failed > 0 ? EXIT_FAILED : EXIT_DONE);
    }
}

static void print_relay(app *a, const atlas_relay_event *event, int answers) {
    out *o = &a->out;

    out_open(o, answers ? "connected" : "error");
    out_str(o, "relay", event->relay);
    out_str(o, "addr", event->addr);
    if (answers) {
        out_ms(o, "rtt_ms", event->rtt_ns);
        out_close(o, "relay %s answers, RTT %.1f ms", event->addr, (double)event->rtt_ns / 1e6);
        return;
    }
    out_code(o, event->code == ATLAS_OK ? ATLAS_ERR_TIMEOUT : event->code);
    out_str(o, "text", event->text);
    out_close(o, "relay %s does not answer: %s", event->addr, event->text);
}

/* Prints the relays that have news; with `last` all the others too. */
static void look(app *a, int last) {
    status *s = a->user;
    uint32_t i;

    for (i = 0; i < s->relays; i++) {
        atlas_relay_event event = {.size = sizeof(event)};
        int answers;

        if (s->printed[i] || atlas_relay_info(a->ctx, i, &event) != ATLAS_OK) {
            continue;
        }
        answers = event.state == ATLAS_RELAY_CONNECTED || event.state == ATLAS_RELAY_ANNOUNCED;
        if (!answers && event.state != ATLAS_RELAY_LOST && event.state != ATLAS_RELAY_DRAINS &&
            !last) {
            continue;
        }
        s->printed[i] = 1;
        s->left--;
        s->failed += !answers;
        print_relay(a, &event, answers);
    }
}

static void on_relay(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event) {
    app *a = user;

    (void)ctx;
    (void)event;
    if (!a->stopping) {
        look(a, 0);
        check_end(a);
    }
}

static void on_probe(void *user, atlas_stun *probe, const atlas_stun_result *result, int32_t code) {
    app *a = user;
    status *s = a->user;

    (void)probe;
    (void)code;
    if (result != NULL) {
        probe_print(a, result);
        return;
    }
    s->probing = 0;
    if (!a->stopping) {
        check_end(a);
    }
}

/* ---- bootstrap nodes ---- */

static void print_node(app *a, const atlas_query_event *event) {
    status *s = a->user;
    out *o = &a->out;
    uint64_t took = atlas_now(a->ctx) - s->asked_at;

    out_open(o, "bootstrap");
    out_str(o, "addr", event->from);
    if (event->code == ATLAS_ERR_RECORD_NOT_FOUND) {
        out_ms(o, "duration_ms", took);
        out_close(o, "bootstrap node %s answers, after %.1f ms", event->from, (double)took / 1e6);
        return;
    }
    s->failed++;
    out_code(o, event->code);
    out_str(o, "text", event->text);
    out_close(o, "bootstrap node %s does not answer: %s", event->from, event->text);
}

static void on_query(void *user, atlas_query *query, const atlas_query_event *event) {
    app *a = user;
    status *s = a->user;

    (void)query;
    if (event->what == ATLAS_QUERY_FAILED && !a->stopping) {
        print_node(a, event);
    } else if (event->what == ATLAS_QUERY_END) {
        s->asking = 0;
        if (!a->stopping) {
            check_end(a);
        }
    }
}

/* Every node is asked for a peer that there is not: each says that it does not know it, or that is
 * its fault. */
static int32_t ask_nodes(app *a) {
    status *s = a->user;
    atlas_query_options how = {.size = sizeof(how), .timeout_ms = WAIT_MS};
    char id[ATLAS_PEER_ID_MAX];
    atlas_key *key = NULL;
    int32_t rv = atlas_key_generate(&key);

    if (rv == ATLAS_OK) {
        rv = atlas_key_peer_id(key, id, sizeof(id));
    }
    if (rv == ATLAS_OK) {
        if (a->opt.timeout_ms != 0 && a->opt.timeout_ms < how.timeout_ms) {
            how.timeout_ms = a->opt.timeout_ms;
        }
        s->asked_at = atlas_now(a->ctx);
        rv = atlas_lookup(a->ctx, id, &how, on_query, a, NULL);
        s->asking = rv == ATLAS_OK;
    }
    atlas_key_free(key);
    return rv == ATLAS_ERR_NO_BOOTSTRAP ? ATLAS_OK : rv;
}

/* The look-up ends by itself at about the same time, with a word for each node. */
static void on_timeout(app *a) {
    status *s = a->user;

    look(a, 1);
    s->probing = 0;
    check_end(a);
}

static void print_config(app *a) {
    static const struct {
        uint32_t option;
        const char *name;
    } shown[] = {
        {ATLAS_OPT_OFFER_RELAY, "offer_relay"},
        {ATLAS_OPT_RELAY_BANDWIDTH, "relay_bandwidth_limit"},
        {ATLAS_OPT_UPGRADE, "upgrade"},
        {ATLAS_OPT_AUTORELAY, "autorelay"},
        {ATLAS_OPT_AUTORELAY_COUNT, "autorelay_count"},
        {ATLAS_OPT_RECORD_LIFETIME_S, "record_lifetime_secs"},
        {ATLAS_OPT_IDLE_TIMEOUT_MS, "idle_timeout_ms"},
        {ATLAS_OPT_KEEPALIVE_MAX_MS, "keepalive_max_ms"},
        {ATLAS_OPT_IDLE_MODE_MAX_S, "idle_mode_max_secs"},
        {ATLAS_OPT_PRESENCE_INTERVAL_MS, "presence_interval_ms"},
        {ATLAS_OPT_HANDSHAKE_TIMEOUT_MS, "handshake_timeout_ms"},
        {ATLAS_OPT_MAX_CONNECTIONS, "max_connections"},
        {ATLAS_OPT_MAX_STREAMS, "max_streams_per_conn"},
        {ATLAS_OPT_HANDSHAKE_LIMIT, "handshake_limit"},
        {ATLAS_OPT_MAX_CLOCK_DRIFT_S, "max_clock_drift_secs"},
    };
    const status *s = a->user;
    out *o = &a->out;
    uint64_t port = 0;
    uint64_t relays_on = 0;
    uint64_t value;
    size_t i;

    (void)atlas_get_u64(a->ctx, ATLAS_OPT_PORT, &port);
    (void)atlas_get_u64(a->ctx, ATLAS_OPT_ENABLE_RELAY, &relays_on);
    out_open(o, "ready");
    out_str(o, "peer", a->key == NULL ? NULL : atlas_self_id(a->ctx));
    out_u64(o, "port", port);
    out_bool(o, "enable_relay", relays_on != 0);
    out_u64(o, "relays", s->relays);
    for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        if (atlas_get_u64(a->ctx, shown[i].option, &value) == ATLAS_OK) {
            out_u64(o, shown[i].name, value);
        }
    }
    out_close(o, "node %s, port %llu, relays %s, %u configured",
              a->key == NULL ? "without a key (atlas init)" : atlas_self_id(a->ctx),
              (unsigned long long)port, relays_on ? "enabled" : "disabled", (unsigned)s->relays);
    for (i = 0; i < sizeof(shown) / sizeof(shown[0]) && !o->json; i++) {
        if (atlas_get_u64(a->ctx, shown[i].option, &value) == ATLAS_OK) {
            out_open(o, "ready");
            out_close(o, "  %s = %llu", shown[i].name, (unsigned long long)value);
        }
    }
}

static int start(app *a) {
    status *s = a->user;
    atlas_relay_event event = {.size = sizeof(event)};
    int none = 0;
    int32_t rv;

    while (s->relays < MAX_REPEATED && atlas_relay_info(a->ctx, s->relays, &event) == ATLAS_OK) {
        s->relays++;
    }
    print_config(a);
    /* the node that runs with this configuration has the port */
    rv = a->opt.port_given ? ATLAS_OK : atlas_set_u64(a->ctx, ATLAS_OPT_PORT, 0);
    if (rv == ATLAS_OK && s->relays > 0) {
        rv = atlas_relay_presence(a->ctx, 0);
        s->left = rv == ATLAS_OK ? s->relays : 0;
    }
    if (rv == ATLAS_OK || rv == ATLAS_ERR_RELAY_DISABLED) {
        s->probing = 1;
        rv = probe_start(a, on_probe, &none);
        s->probing = rv == ATLAS_OK && !none;
    }
    if (rv == ATLAS_OK) {
        rv = ask_nodes(a);
    }
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "status");
}

int run_status(app *a) {
    static status s;
    int code = app_open(a, APP_RECORDS);

    a->user = &s;
    if (code == 0) {
        code = app_callbacks(a, NULL, on_relay);
    }
    if (code == 0) {
        code = start(a);
    }
    if (code != 0) {
        return code;
    }
    if (s.left == 0 && !s.probing && !s.asking) {
        out_open(&a->out, "stun");
        out_str(&a->out, "text", "no relay, bootstrap node or STUN server is configured");
        out_close(&a->out, "no relay, bootstrap node or STUN server is configured");
        return EXIT_DONE;
    }
    a->on_tick = on_timeout;
    a->tick_at =
        atlas_now(a->ctx) + (a->opt.timeout_ms == 0 ? WAIT_MS : a->opt.timeout_ms) * NS_PER_MS;
    return app_run(a);
}
