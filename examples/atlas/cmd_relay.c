/* atlas relay. */
#include "node.h"

static void print_stats(app *a) {
    atlas_relay_stats s = {.size = sizeof(s)};
    out *o = &a->out;

    if (atlas_relay_get_stats(a->ctx, &s) != ATLAS_OK) {
        return;
    }
    out_open(o, "stats");
    out_u64(o, "sessions", s.sessions);
    out_u64(o, "nodes", s.nodes);
    out_u64(o, "circuits", s.circuits);
    out_u64(o, "pairs", s.pairs);
    out_u64(o, "packets", s.forwarded_packets);
    out_u64(o, "bytes", s.forwarded_bytes);
    out_u64(o, "dropped",
            s.dropped_bandwidth + s.dropped_total + s.dropped_source + s.dropped_send);
    out_u64(o, "refused",
            s.refused_nodes + s.refused_ipv4 + s.refused_ipv6 + s.refused_circuits +
                s.refused_circuits_node + s.refused_rate + s.refused_policy + s.refused_drift +
                s.refused_identity);
    out_u64(o, "malformed", s.malformed);
    out_close(
        o,
        "%llu nodes, %llu circuits, %llu paired; %llu packets, %llu bytes forwarded, %llu dropped",
        (unsigned long long)s.nodes, (unsigned long long)s.circuits, (unsigned long long)s.pairs,
        (unsigned long long)s.forwarded_packets, (unsigned long long)s.forwarded_bytes,
        (unsigned long long)(s.dropped_bandwidth + s.dropped_total + s.dropped_source +
                             s.dropped_send));
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

static int alternate_error(app *a, const char *text, int32_t code) {
    const char *why = atlas_error_text(code);

    if (code == ATLAS_ERR_NOT_FOUND) {
        why = "this host does not have that address, or has no other of its family";
    } else if (code == ATLAS_ERR_INVALID) {
        why = "the relay is on that address or port already: STUN needs two of both";
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

int run_relay(app *a) {
    int code = app_open(a, APP_KEY_NEEDED);
    int32_t rv;

    if (code == 0) {
        code = app_callbacks(a, NULL, node_on_relay);
    }
    if (code != 0) {
        return code;
    }
    rv = atlas_relay_start(a->ctx);
    if (rv != ATLAS_OK) {
        return app_error(a, rv, "relay");
    }
    code = add_alternates(a);
    if (code != 0) {
        return code;
    }
    a->drain_ms = a->opt.drain_ms;
    a->on_stop = on_stop;
    a->on_tick = tick;
    /* with -v, and nothing else said, every ten seconds */
    if (a->opt.stats_ms == 0 && a->opt.verbose > 0) {
        a->opt.stats_ms = 10000;
    }
    if (a->opt.stats_ms > 0) {
        a->tick_at = atlas_now(a->ctx) + a->opt.stats_ms * NS_PER_MS;
    }
    node_ready(a, "relay");
    return app_run(a);
}
