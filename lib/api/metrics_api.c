/* atlas/discovery.h: everything that a node counts, for Prometheus and for people. */
#include "api/context.h"
#include "base/text.h"
#include "relay/report.h"
#include "stun/server.h"

#include <inttypes.h>

static void metric(atl_text *out, const char *type, const char *name, const char *help,
                   uint64_t value) {
    atl_text_add(out, "# HELP atlas_%s %s\n# TYPE atlas_%s %s\natlas_%s %" PRIu64 "\n", name, help,
                 name, type, name, value);
}

static void family(atl_text *out, const char *name, const char *help) {
    atl_text_add(out, "# HELP atlas_%s %s\n# TYPE atlas_%s counter\n", name, help, name);
}

static void labelled(atl_text *out, const char *name, const char *label, const char *value,
                     uint64_t count) {
    atl_text_add(out, "atlas_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, count);
}

/* ---- the parts ---- */

static void add_node(const atlas_ctx *ctx, atl_text *out) {
    const atl_endpoint_stats *s = ctx->ep == NULL ? NULL : atl_endpoint_get_stats(ctx->ep);

    atl_text_add(out,
                 "# HELP atlas_info The node and the version of libatlas\n"
                 "# TYPE atlas_info gauge\natlas_info{peer=\"%s\",version=\"%s\"} 1\n",
                 ctx->self_text, atlas_version());
    metric(out, "gauge", "peer_connections", "Connections to peers now", ctx->peers.count);
    if (s == NULL) {
        return;
    }
    metric(out, "gauge", "quic_connections", "QUIC connections of all kinds now", s->conns);
    metric(out, "counter", "quic_handshakes_total", "QUIC handshakes that were begun",
           s->handshakes);
    metric(out, "counter", "received_datagrams_total", "UDP datagrams received", s->rx_datagrams);
    metric(out, "counter", "received_bytes_total", "UDP payload received", s->rx_bytes);
    metric(out, "counter", "sent_datagrams_total", "UDP datagrams sent", s->tx_datagrams);
    metric(out, "counter", "sent_bytes_total", "UDP payload sent", s->tx_bytes);
}

static void add_reach(const atlas_ctx *ctx, atl_text *out) {
    atl_text_add(out,
                 "# HELP atlas_reachability 0 not known, 1 public, 2 private\n"
                 "# TYPE atlas_reachability gauge\n");
    atl_text_add(out, "atlas_reachability{family=\"4\"} %u\natlas_reachability{family=\"6\"} %u\n",
                 (unsigned)atlas_reach_get(ctx, 4), (unsigned)atlas_reach_get(ctx, 6));
    metric(out, "gauge", "autorelay_serving", "Chosen relays that serve this node now",
           atl_discovery_serving(ctx->discovery));
}

static void add_stun(const atlas_ctx *ctx, atl_text *out) {
    const atl_stun_server_stats *s = atl_stun_server_get_stats(atl_stun_agent_server(ctx->stun));

    metric(out, "counter", "stun_requests_total", "STUN Binding requests", s->requests);
    family(out, "stun_answers_total", "STUN answers");
    labelled(out, "stun_answers_total", "kind", "success", s->successes);
    labelled(out, "stun_answers_total", "kind", "unknown_attribute", s->unknown);
    labelled(out, "stun_answers_total", "kind", "bad_request", s->bad_requests);
    labelled(out, "stun_answers_total", "kind", "unauthorised", s->unauthorised);
    metric(out, "counter", "stun_changed_total",
           "STUN answers from another address or to another port", s->changed);
    family(out, "stun_dropped_total", "STUN datagrams without answer");
    labelled(out, "stun_dropped_total", "reason", "rate", s->dropped_rate);
    labelled(out, "stun_dropped_total", "reason", "amplification", s->dropped_amplification);
    labelled(out, "stun_dropped_total", "reason", "fingerprint", s->dropped_fingerprint);
    labelled(out, "stun_dropped_total", "reason", "send", s->dropped_send);
    labelled(out, "stun_dropped_total", "reason", "source", s->dropped_source);
    labelled(out, "stun_dropped_total", "reason", "malformed", s->dropped_malformed);
    labelled(out, "stun_dropped_total", "reason", "ignored", s->ignored);
}

static void add_registry(const atlas_registry_stats *s, atl_text *out) {
    metric(out, "gauge", "registry_records", "Peer records now", s->records);
    metric(out, "gauge", "registry_relays", "Peer records that offer a relay now", s->relays);
    metric(out, "gauge", "registry_memory_bytes", "Memory of the records now", s->memory);
    family(out, "registry_requests_total", "Requests");
    labelled(out, "registry_requests_total", "method", "put", s->puts);
    labelled(out, "registry_requests_total", "method", "get", s->gets);
    labelled(out, "registry_requests_total", "method", "list", s->lists);
    labelled(out, "registry_requests_total", "method", "delete", s->deletes);
    metric(out, "counter", "registry_found_total", "Gets answered with a record", s->found);
    metric(out, "counter", "registry_taken_total", "Records taken, new or newer", s->taken);
    metric(out, "counter", "registry_refreshed_total", "Records put again", s->refreshed);
    metric(out, "counter", "registry_expired_total", "Records that were not renewed", s->expired);
    metric(out, "counter", "registry_evicted_total", "Unverified records that made way",
           s->evicted);
    family(out, "registry_refused_total", "Requests refused");
    labelled(out, "registry_refused_total", "reason", "malformed", s->refused_malformed);
    labelled(out, "registry_refused_total", "reason", "signature", s->refused_signature);
    labelled(out, "registry_refused_total", "reason", "expired", s->refused_expired);
    labelled(out, "registry_refused_total", "reason", "old", s->refused_old);
    labelled(out, "registry_refused_total", "reason", "limit", s->refused_limit);
    labelled(out, "registry_refused_total", "reason", "rate", s->refused_rate);
    labelled(out, "registry_refused_total", "reason", "size", s->refused_size);
    labelled(out, "registry_refused_total", "reason", "identity", s->refused_identity);
    metric(out, "counter", "registry_disk_errors_total", "Puts that could not be written",
           s->disk_errors);
}

static void add_dialbacks(const atlas_registry_stats *s, atl_text *out) {
    metric(out, "counter", "dialback_requests_total", "Requests for dial-backs", s->dialbacks);
    metric(out, "counter", "dialback_datagrams_total", "Datagrams sent for them",
           s->dialback_datagrams);
    metric(out, "counter", "dialback_refused_total", "Requests and candidates refused",
           s->dialback_refused);
}

static void add_relay(const atlas_ctx *ctx, atl_text *out) {
    atlas_relay_stats stats = {.size = sizeof(stats)};
    char text[ATL_RELAY_REPORT_MAX];

    atl_relay_server_stats(ctx->relay_server, &stats);
    if (atl_relay_report_metrics(&stats, text, sizeof(text)) > 0) {
        atl_text_add(out, "%s", text);
    }
}

/* ---- the calls ---- */

static int32_t finish(const atl_text *out, size_t *len) {
    *len = out->len;
    return atl_text_fits(out) ? ATLAS_OK : ATLAS_ERR_BUFFER;
}

static int32_t check(const atlas_ctx *ctx, const char *buf, size_t cap, const size_t *len) {
    if (ctx == NULL || len == NULL || (buf == NULL && cap > 0)) {
        return ATLAS_ERR_INVALID;
    }
    return ctx->in_hook ? ATLAS_ERR_REENTRANT : ATLAS_OK;
}

int32_t atlas_metrics(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len) {
    atlas_registry_stats stats = {.size = sizeof(stats)};
    atl_text out;
    int32_t rv = check(ctx, buf, cap, len);

    if (rv != ATLAS_OK) {
        return rv;
    }
    atl_text_init(&out, buf, cap);
    add_node(ctx, &out);
    if (ctx->discovery != NULL) {
        add_reach(ctx, &out);
    }
    if (ctx->stun != NULL && ctx->options.u64[ATLAS_OPT_STUN_SERVER]) {
        add_stun(ctx, &out);
    }
    if (atlas_registry_get_stats(ctx, &stats) == ATLAS_OK) {
        add_relay(ctx, &out);
        add_dialbacks(&stats, &out);
        if (ctx->registry != NULL) {
            add_registry(&stats, &out);
        }
    }
    return finish(&out, len);
}

static void row(atl_text *out, const char *name, uint64_t value) {
    atl_text_add(out, "<tr><th>%s</th><td>%" PRIu64 "</td></tr>\n", name, value);
}

static void page_relay(const atlas_ctx *ctx, atl_text *out) {
    atlas_relay_stats s = {.size = sizeof(s)};

    atl_relay_server_stats(ctx->relay_server, &s);
    atl_text_add(out, "<h2>Relay</h2>\n<table>\n");
    row(out, "nodes", s.nodes);
    row(out, "circuits", s.circuits);
    row(out, "packets forwarded", s.forwarded_packets);
    row(out, "bytes forwarded", s.forwarded_bytes);
    atl_text_add(out, "</table>\n");
}

static void page_registry(const atlas_registry_stats *s, atl_text *out) {
    atl_text_add(out, "<h2>Registry</h2>\n<table>\n");
    row(out, "records", s->records);
    row(out, "of them relays", s->relays);
    row(out, "puts", s->puts);
    row(out, "gets", s->gets);
    row(out, "lists", s->lists);
    row(out, "bytes of memory", s->memory);
    atl_text_add(out,
                 "</table>\n<p>A record: <code>%s/ID</code>. Relays: "
                 "<code>%s?offer=relay&amp;format=json</code>.</p>\n",
                 ATL_RECORDS_PATH, ATL_RECORDS_PATH);
}

int32_t atl_status_page(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len) {
    atlas_registry_stats stats = {.size = sizeof(stats)};
    atl_text out;

    atl_text_init(&out, buf, cap);
    atl_text_add(&out,
                 "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
                 "<meta name=\"viewport\" content=\"width=device-width\">"
                 "<title>atlas node</title>\n<style>body{font:16px/1.5 sans-serif;"
                 "margin:2em auto;max-width:40em;padding:0 1em}th{text-align:left;"
                 "font-weight:normal;padding-right:2em}td{text-align:right}</style></head>\n"
                 "<body>\n<h1>atlas node</h1>\n<p><code>");
    atl_text_add_html(&out, ctx->self_text);
    atl_text_add(&out, "</code><br>libatlas ");
    atl_text_add_html(&out, atlas_version());
    atl_text_add(&out,
                 ". It helps nodes to find and to reach one another, and can read nothing of "
                 "what they say.</p>\n");
    if (atlas_registry_get_stats(ctx, &stats) == ATLAS_OK) {
        if (ctx->registry != NULL) {
            page_registry(&stats, &out);
        }
        if (atl_relay_server_is_relaying(ctx->relay_server)) {
            page_relay(ctx, &out);
        }
        atl_text_add(&out, "<h2>Dial-backs</h2>\n<table>\n");
        row(&out, "requests", stats.dialbacks);
        row(&out, "refused", stats.dialback_refused);
        atl_text_add(&out, "</table>\n");
    }
    atl_text_add(&out, "</body>\n</html>\n");
    return finish(&out, len);
}

int32_t atlas_status_page(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len) {
    int32_t rv = check(ctx, buf, cap, len);

    return rv != ATLAS_OK ? rv : atl_status_page(ctx, buf, cap, len);
}
