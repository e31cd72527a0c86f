#include "relay/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define H3_REQUEST_CANCELLED 0x10cu

/* Text that grows in a fixed buffer. */
typedef struct text {
    char *buf;
    size_t cap;
    size_t len; /* cap when it has overflowed */
} text;

__attribute__((format(printf, 2, 3))) static void add(text *out, const char *format, ...) {
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(out->buf + out->len, out->cap - out->len, format, args);
    va_end(args);
    out->len = n < 0 || (size_t)n >= out->cap - out->len ? out->cap : out->len + (size_t)n;
}

static size_t finish(const text *out) {
    return out->len < out->cap ? out->len : 0;
}

size_t atl_relay_report_health(const atl_relay_server *server, char *buf, size_t cap) {
    text out = {buf, cap, 0};

    add(&out, "{\"status\":\"%s\",\"nodes\":%" PRIu64 ",\"circuits\":%" PRIu64 "}\n",
        server->draining   ? "draining"
        : server->relaying ? "ok"
                           : "off",
        server->stats.nodes, server->stats.circuits);
    return finish(&out);
}

size_t atl_relay_report_limits(const atl_relay_limits *limits, char *buf, size_t cap) {
    text out = {buf, cap, 0};

    add(&out, "{\"bandwidth\":%" PRIu64 ",\"total_bandwidth\":%" PRIu64 ",", limits->bandwidth,
        limits->total_bandwidth);
    add(&out,
        "\"max_nodes\":%" PRIu64 ",\"max_circuits\":%" PRIu64 ",\"max_circuits_per_node\":%" PRIu64
        ",",
        limits->max_nodes, limits->max_circuits, limits->max_circuits_per_node);
    add(&out,
        "\"max_per_ipv4\":%" PRIu64 ",\"max_per_ipv6_64\":%" PRIu64
        ",\"handshakes_per_second\":%" PRIu64 ",",
        limits->max_per_ipv4, limits->max_per_ipv6_64, limits->handshakes);
    add(&out,
        "\"presence_interval_ms\":%" PRIu64 ",\"handshake_timeout_ms\":%" PRIu64
        ",\"max_clock_drift_secs\":%" PRIu64 "}\n",
        limits->presence_interval / ATL_MS, limits->handshake_timeout / ATL_MS,
        limits->max_clock_drift);
    return finish(&out);
}

static void gauge(text *out, const char *name, uint64_t value) {
    add(out, "# TYPE atlas_relay_%s gauge\natlas_relay_%s %" PRIu64 "\n", name, name, value);
}

static void counter(text *out, const char *name, uint64_t value) {
    add(out, "# TYPE atlas_relay_%s_total counter\natlas_relay_%s_total %" PRIu64 "\n", name, name,
        value);
}

/* One metric with a label; the first of them carries the type. */
static void labelled(text *out, const char *name, const char *reason, uint64_t value) {
    add(out, "atlas_relay_%s_total{reason=\"%s\"} %" PRIu64 "\n", name, reason, value);
}

static void add_refusals(text *out, const atlas_relay_stats *stats) {
    add(out, "# TYPE atlas_relay_refused_total counter\n");
    labelled(out, "refused", "nodes", stats->refused_nodes);
    labelled(out, "refused", "ipv4", stats->refused_ipv4);
    labelled(out, "refused", "ipv6", stats->refused_ipv6);
    labelled(out, "refused", "circuits", stats->refused_circuits);
    labelled(out, "refused", "circuits_node", stats->refused_circuits_node);
    labelled(out, "refused", "rate", stats->refused_rate);
    labelled(out, "refused", "policy", stats->refused_policy);
    labelled(out, "refused", "drift", stats->refused_drift);
    labelled(out, "refused", "identity", stats->refused_identity);
    labelled(out, "refused", "malformed", stats->malformed);
}

size_t atl_relay_report_metrics(const atlas_relay_stats *stats, char *buf, size_t cap) {
    text out = {buf, cap, 0};

    gauge(&out, "sessions", stats->sessions);
    gauge(&out, "nodes", stats->nodes);
    gauge(&out, "circuits", stats->circuits);
    counter(&out, "announces", stats->announces);
    counter(&out, "connects", stats->connects);
    counter(&out, "pairs", stats->pairs);
    counter(&out, "forwarded_packets", stats->forwarded_packets);
    counter(&out, "forwarded_bytes", stats->forwarded_bytes);
    counter(&out, "delayed_packets", stats->delayed_packets);
    add(&out, "# TYPE atlas_relay_dropped_packets_total counter\n");
    labelled(&out, "dropped_packets", "bandwidth", stats->dropped_bandwidth);
    labelled(&out, "dropped_packets", "total", stats->dropped_total);
    labelled(&out, "dropped_packets", "source", stats->dropped_source);
    labelled(&out, "dropped_packets", "send", stats->dropped_send);
    add_refusals(&out, stats);
    counter(&out, "handshake_timeouts", stats->handshake_timeouts);
    counter(&out, "expired", stats->expired);
    counter(&out, "replaced", stats->replaced);
    return finish(&out);
}

void atl_relay_report_answer(const atl_relay_server *server, atl_h3_stream *stream,
                             const atl_h3_request *request) {
    const char *type = "application/json";
    const char *path = request->path;
    size_t base = strlen(ATL_RELAY_PATH);
    char body[ATL_RELAY_REPORT_MAX];
    int32_t status = 200;
    size_t len = 0;

    path += strncmp(path, ATL_RELAY_PATH, base) == 0 ? base : strlen(path);
    if (strcmp(path, "health") == 0) {
        len = atl_relay_report_health(server, body, sizeof(body));
    } else if (strcmp(path, "limits") == 0) {
        len = atl_relay_report_limits(&server->limits, body, sizeof(body));
    } else if (strcmp(path, "metrics") == 0) {
        type = "text/plain; version=0.0.4";
        len = atl_relay_report_metrics(&server->stats, body, sizeof(body));
    } else {
        /* the control path is there, but not for this method */
        status = strcmp(request->path, ATL_RELAY_PATH) == 0 ? 405 : 404;
    }
    if (strcmp(request->method, "GET") != 0 && status == 200) {
        status = 405;
    }
    if (status != 200) {
        type = "text/plain";
        len = 0;
    }
    if (atl_h3_respond(stream, status, type, body, len) != ATLAS_OK) {
        atl_h3_reset(stream, H3_REQUEST_CANCELLED);
    }
}
