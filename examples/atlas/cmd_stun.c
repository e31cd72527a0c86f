/* atlas stun, and the probe that atlas status makes as well. */
#include "explain.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The library's bounds; by the longest, every retransmission has been waited for. */
#define PROBE_SHORTEST_MS 100
#define PROBE_LONGEST_MS 39500

void probe_print(app *a, const atlas_stun_result *r) {
    out *o = &a->out;
    char rtt[32] = "";

    out_open(o, "stun");
    out_str(o, "server", r->server);
    out_str(o, "server_addr", r->server_addr);
    out_str(o, "addr", r->code == ATLAS_OK ? r->reflexive : NULL);
    out_str(o, "local", r->local);
    out_ms(o, "rtt_ms", r->rtt_ns);
    out_code(o, r->code);
    out_str(o, "text", r->text);
    if (r->rtt_ns != 0) {
        (void)snprintf(rtt, sizeof(rtt), ", RTT %.1f ms", (double)r->rtt_ns / 1e6);
    }
    if (r->code == ATLAS_OK) {
        out_close(o, "%s: %s%s (local %s)", r->server, r->reflexive, rtt, r->local);
    } else {
        out_close(o, "%s: %s", r->server, r->text);
    }
}

/* "/ip4/192.0.2.1/udp/4001..." as "192.0.2.1:4001". */
static void plain(const char *multiaddr, char *buf, size_t cap) {
    char host[64];
    unsigned port;

    if (sscanf(multiaddr, "/ip4/%63[^/]/udp/%u", host, &port) == 2) {
        (void)snprintf(buf, cap, "%s:%u", host, port);
    } else if (sscanf(multiaddr, "/ip6/%63[^/]/udp/%u", host, &port) == 2) {
        (void)snprintf(buf, cap, "[%s]:%u", host, port);
    } else {
        (void)snprintf(buf, cap, "%s", multiaddr);
    }
}

/* `code`: why there is nothing better; ATLAS_OK when nothing was asked for. */
static void print_local(app *a, int32_t code, const char *why) {
    char multiaddr[ATLAS_MULTIADDR_MAX];
    char text[ATLAS_MULTIADDR_MAX];

    if (atlas_local_addr(a->ctx, 0, multiaddr, sizeof(multiaddr)) != ATLAS_OK) {
        out_error(&a->out, ATLAS_ERR_NO_ADDRESS, "%s, and this host has no address", why);
        return;
    }
    plain(multiaddr, text, sizeof(text));
    out_open(&a->out, "stun");
    out_str(&a->out, "local", text);
    out_code(&a->out, code);
    out_str(&a->out, "text", why);
    out_close(&a->out, "local address %s (%s)", text, why);
}

static void on_result(void *user, atlas_stun *probe, const atlas_stun_result *result,
                      int32_t status) {
    app *a = user;

    (void)probe;
    if (result != NULL) {
        probe_print(a, result);
        return;
    }
    if (status != ATLAS_OK && !a->stopping) {
        print_local(a, status, "no STUN server answered");
    }
    app_finish(a, status == ATLAS_OK ? EXIT_DONE : EXIT_FAILED);
}

size_t probe_relays(app *a, const char **servers) {
    atlas_relay_event relay = {.size = sizeof(relay)};
    size_t count = 0;
    size_t i;

    while (count < MAX_REPEATED && atlas_relay_info(a->ctx, (uint32_t)count, &relay) == ATLAS_OK) {
        servers[count++] = relay.addr;
    }
    for (i = 0; i < a->opt.nodes.count && count < MAX_REPEATED; i++) {
        servers[count++] = a->opt.nodes.items[i];
    }
    return count;
}

/* Those named, else those configured, else the relays and the bootstrap nodes of the command line:
 * they answer STUN on their port. */
int32_t probe_start(app *a, atlas_stun_cb cb, int *none) {
    const char *servers[MAX_REPEATED];
    atlas_stun_options how = {.size = sizeof(how), .timeout_ms = a->opt.timeout_ms};
    size_t count = (size_t)a->opt.arg_count;
    int32_t rv;

    if (how.timeout_ms > PROBE_LONGEST_MS) {
        how.timeout_ms = PROBE_LONGEST_MS;
    } else if (how.timeout_ms != 0 && how.timeout_ms < PROBE_SHORTEST_MS) {
        how.timeout_ms = PROBE_SHORTEST_MS;
    }
    if (count > 0) {
        return atlas_stun_probe(a->ctx, (const char *const *)a->opt.args, count, &how, cb, a, NULL);
    }
    rv = atlas_stun_probe(a->ctx, NULL, 0, &how, cb, a, NULL);
    if (rv != ATLAS_ERR_NOT_FOUND) {
        return rv;
    }
    count = probe_relays(a, servers);
    *none = count == 0;
    return count == 0 ? ATLAS_OK : atlas_stun_probe(a->ctx, servers, count, &how, cb, a, NULL);
}

/* Names the server that is none. */
int probe_error(app *a, int32_t code) {
    int i;

    for (i = 0; i < a->opt.arg_count && code == ATLAS_ERR_ADDRESS; i++) {
        if (atlas_stun_add_server(a->ctx, a->opt.args[i]) == ATLAS_ERR_ADDRESS) {
            return explain_addr(a, "server", a->opt.args[i], code);
        }
    }
    return app_error(a, code, "stun");
}

int run_stun(app *a) {
    int none = 0;
    int code = app_open(a, APP_ANY_PORT);
    int32_t rv;

    if (code == 0) {
        code = app_callbacks(a, NULL, NULL);
    }
    if (code != 0) {
        return code;
    }
    rv = atlas_open(a->ctx);
    if (rv == ATLAS_OK && a->opt.nat) {
        return nat_run(a);
    }
    if (rv == ATLAS_OK) {
        rv = probe_start(a, on_result, &none);
    }
    if (rv != ATLAS_OK) {
        return probe_error(a, rv);
    }
    if (none) {
        print_local(a, ATLAS_OK, "no STUN server is configured");
        return EXIT_DONE;
    }
    return app_run(a);
}
