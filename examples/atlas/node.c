#include "node.h"

#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ADDRS 32
#define MAX_RELAYS 64

void node_ready(app *a, const char *what) {
    static char texts[MAX_ADDRS][ATLAS_MULTIADDR_MAX];
    const char *addrs[MAX_ADDRS];
    size_t count = 0;
    size_t i;

    while (count < MAX_ADDRS && atlas_local_addr(a->ctx, (uint32_t)count, texts[count],
                                                 sizeof(texts[count])) == ATLAS_OK) {
        addrs[count] = texts[count];
        count++;
    }
    out_open(&a->out, "ready");
    out_str(&a->out, "peer", atlas_self_id(a->ctx));
    out_str(&a->out, "addr", count > 0 ? addrs[0] : NULL);
    out_strings(&a->out, "addrs", addrs, count);
    out_str(&a->out, "metrics", metrics_url(a->http));
    out_str(&a->out, "db", a->holds ? a->opt.db : NULL);
    out_close(&a->out, "%s %s", what, atlas_self_id(a->ctx));
    for (i = 0; i < count && !a->out.json; i++) {
        out_open(&a->out, "ready");
        out_close(&a->out, "  %s", addrs[i]);
    }
    if (a->http != NULL && !a->out.json) {
        out_open(&a->out, "ready");
        out_close(&a->out, "metrics %s", metrics_url(a->http));
    }
}

/* ---- relays ---- */

/* The state that was printed last for a relay; announcements are repeated every few seconds. */
static uint32_t *printed_state(const char *relay) {
    static struct {
        char relay[ATLAS_PEER_ID_MAX];
        uint32_t state;
    } known[MAX_RELAYS];
    size_t i;

    for (i = 0; i < MAX_RELAYS - 1 && known[i].relay[0] != '\0'; i++) {
        if (strcmp(known[i].relay, relay) == 0) {
            return &known[i].state;
        }
    }
    (void)snprintf(known[i].relay, sizeof(known[i].relay), "%s", relay);
    known[i].state = UINT32_MAX;
    return &known[i].state;
}

static void print_announced(app *a, const struct atlas_relay_event *event) {
    out_open(&a->out, "announced");
    out_str(&a->out, "relay", event->relay);
    out_str(&a->out, "addr", event->observed);
    out_ms(&a->out, "rtt_ms", event->rtt_ns);
    out_str(&a->out, "text", event->addr);
    out_close(&a->out, "announced on relay %s, which sees this node at %s (RTT %.1f ms)",
              event->addr, *event->observed ? event->observed : "an unknown address",
              (double)event->rtt_ns / 1e6);
}

static void print_trouble(app *a, const struct atlas_relay_event *event) {
    if (!a->out.json) {
        out_note(&a->out, "atlas: relay %s: %s%s", event->addr,
                 *event->text ? event->text : atlas_error_text(event->code),
                 event->state == ATLAS_RELAY_LOST ? "; trying again" : "");
        return;
    }
    out_open(&a->out, "error");
    out_str(&a->out, "relay", event->relay);
    out_str(&a->out, "addr", event->addr);
    out_code(&a->out, event->code);
    out_str(&a->out, "text", event->text);
    out_close(&a->out, NULL);
}

void node_on_relay(void *user, atlas_ctx *ctx, const struct atlas_relay_event *event) {
    app *a = user;
    uint32_t *last = printed_state(event->relay);

    (void)ctx;
    /* connecting again after a loss is no news */
    if (*last == event->state || a->stopping || event->state == ATLAS_RELAY_CONNECTING ||
        event->state == ATLAS_RELAY_CONNECTED || event->state == ATLAS_RELAY_IDLE) {
        return;
    }
    *last = event->state;
    if (event->state == ATLAS_RELAY_ANNOUNCED) {
        print_announced(a, event);
    } else {
        print_trouble(a, event);
    }
}

/* ---- connections ---- */

const char *node_path_text(const atlas_path_info *path, char *buf, size_t cap) {
    if (path->kind == ATLAS_PATH_RELAY) {
        (void)snprintf(buf, cap, "relay (%s, %s)", path->relay, path->remote);
    } else {
        (void)snprintf(buf, cap, "%s (%s)", path_name(path->kind), path->remote);
    }
    return buf;
}

void node_path_kind(app *a, uint32_t kind) {
    out_str(&a->out, "path", kind == ATLAS_PATH_NONE ? NULL : path_name(kind));
}

void node_path_fields(app *a, const atlas_path_info *path) {
    node_path_kind(a, path->kind);
    out_str(&a->out, "addr", path->remote);
    out_str(&a->out, "relay", path->relay);
    out_ms(&a->out, "rtt_ms", path->rtt_ns);
}

void node_connected(app *a, const char *event, atlas_conn *conn) {
    atlas_path_info path = {.size = sizeof(path)};
    const char *way = atlas_conn_is_dialer(conn) ? "to" : "from";
    char text[ATLAS_ADDR_MAX + ATLAS_PEER_ID_MAX + 16];

    (void)atlas_conn_get_path(conn, &path);
    out_open(&a->out, event);
    out_str(&a->out, "peer", atlas_conn_peer_id(conn));
    node_path_fields(a, &path);
    out_str(&a->out, "direction", atlas_conn_is_dialer(conn) ? "out" : "in");
    if (path.kind == ATLAS_PATH_NONE) { /* gone already */
        out_close(&a->out, "connected %s %s", way, atlas_conn_peer_id(conn));
        return;
    }
    out_close(&a->out, "connected %s %s, path %s", way, atlas_conn_peer_id(conn),
              node_path_text(&path, text, sizeof(text)));
}

static const char *candidate_name(uint32_t kind) {
    static const char *const names[] = {"unknown", "host", "peer-reflexive", "server-reflexive",
                                        "relay"};

    return names[kind < sizeof(names) / sizeof(names[0]) ? kind : 0];
}

void node_path(app *a, atlas_conn *conn, const atlas_path_info *path, const char *reason) {
    out *o = &a->out;
    char text[ATLAS_ADDR_MAX + ATLAS_PEER_ID_MAX + 16];

    out_open(o, "path");
    out_str(o, "peer", atlas_conn_peer_id(conn));
    out_str(o, "kind", path_name(path->kind));
    out_str(o, "candidate", candidate_name(path->candidate));
    out_str(o, "local", path->local);
    out_str(o, "remote", path->remote);
    out_str(o, "relay", path->relay);
    out_ms(o, "rtt_ms", path->rtt_ns);
    out_u64(o, "mtu", path->mtu);
    out_str(o, "reason", reason);
    if (path->kind == ATLAS_PATH_NONE) {
        out_aside(o, "no path to %s: %s", atlas_conn_peer_id(conn), reason);
    } else if (path->kind == ATLAS_PATH_DIRECT && path->candidate != ATLAS_CANDIDATE_UNKNOWN) {
        out_aside(o, "path direct (%s, %s): %s", path->remote, candidate_name(path->candidate),
                  reason);
    } else {
        out_aside(o, "path %s: %s", node_path_text(path, text, sizeof(text)), reason);
    }
}

static void upgrade_line(out *o, const atlas_upgrade_info *info) {
    char again[48] = "";

    if (info->retry_ns != 0) {
        (void)snprintf(again, sizeof(again), "; again in %.1f s", (double)info->retry_ns / 1e9);
    }
    out_aside(
        o, "upgrade %s%s: %s (%u pairs, %u checks, %u heard, %u answered, %llu bytes, %.0f ms)%s",
        info->code == ATLAS_OK ? "to " : "failed", info->remote, info->text, (unsigned)info->pairs,
        (unsigned)info->requests, (unsigned)info->heard, (unsigned)info->answers,
        (unsigned long long)info->bytes, (double)info->duration_ns / 1e6, again);
}

void node_upgrade(app *a, atlas_conn *conn, const atlas_upgrade_info *info) {
    out *o = &a->out;

    out_open(o, "upgrade");
    out_str(o, "peer", atlas_conn_peer_id(conn));
    out_str(o, "code", atlas_error_name(info->code));
    out_u64(o, "pairs", info->pairs);
    out_u64(o, "requests", info->requests);
    out_u64(o, "heard", info->heard);
    out_u64(o, "answers", info->answers);
    out_u64(o, "bytes", info->bytes);
    out_ms(o, "duration_ms", info->duration_ns);
    out_ms(o, "retry_ms", info->retry_ns);
    out_str(o, "local", info->local);
    out_str(o, "remote", info->remote);
    out_str(o, "text", info->text);
    upgrade_line(o, info);
}

void node_closed(app *a, atlas_conn *conn, int32_t code, const char *text, void (*fields)(app *a)) {
    const char *why = text != NULL && *text != '\0' ? text : atlas_error_text(code);

    out_open(&a->out, "closed");
    out_str(&a->out, "peer", atlas_conn_peer_id(conn));
    out_code(&a->out, code);
    out_str(&a->out, "text", why);
    if (fields != NULL) {
        fields(a);
    }
    out_close(&a->out, "closed %s: %s", atlas_conn_peer_id(conn), why);
}

void node_message(app *a, atlas_conn *conn, const uint8_t *data, size_t len) {
    atlas_path_info path = {.size = sizeof(path)};
    char *clean = a->out.json ? NULL : out_clean(data, len);

    (void)atlas_conn_get_path(conn, &path);
    out_open(&a->out, "message");
    out_str(&a->out, "peer", atlas_conn_peer_id(conn));
    node_path_kind(a, path.kind);
    out_u64(&a->out, "bytes", len);
    out_bytes(&a->out, "text", data, len);
    out_close(&a->out, "message from %s: %s", atlas_conn_peer_id(conn), clean == NULL ? "" : clean);
    free(clean);
}
