#include "dial.h"

#include "explain.h"

#include <string.h>

static void on_connected(void *user, atlas_conn *conn) {
    dial *d = user;

    d->connected = 1;
    d->connected_at = atlas_now(d->app->ctx);
    node_connected(d->app, "connected", conn);
    if (d->lasting) {
        /* without relays, or when they may not be used, there is nothing to keep */
        (void)atlas_relay_presence(d->app->ctx, 0);
    }
    if (d->on_connected != NULL) {
        d->on_connected(d);
    }
}

static void on_path(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason) {
    dial *d = user;

    node_path(d->app, conn, path, reason);
    if (d->on_path != NULL) {
        d->on_path(d, path);
    }
}

static void on_upgrade(void *user, atlas_conn *conn, const atlas_upgrade_info *info) {
    dial *d = user;

    node_upgrade(d->app, conn, info);
}

static void on_attempt(void *user, atlas_conn *conn, const char *addr, int32_t code,
                       const char *text) {
    dial *d = user;
    out *o = &d->app->out;

    d->attempts++;
    if (!o->json) {
        out_note(o, "atlas: %s: %s", addr, text);
        return;
    }
    out_open(o, "error");
    out_str(o, "peer", atlas_conn_peer_id(conn));
    out_str(o, "addr", addr);
    out_code(o, code);
    out_str(o, "text", text);
    out_close(o, NULL);
}

static void on_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    dial *d = user;

    (void)conn;
    if (d->on_message != NULL) {
        d->on_message(d, data, len);
    }
}

static void on_message_sent(void *user, atlas_conn *conn, uint64_t id, int32_t code) {
    dial *d = user;

    (void)conn;
    if (d->on_message_sent != NULL) {
        d->on_message_sent(d, id, code);
    }
}

static void on_pong(void *user, atlas_conn *conn, uint64_t id, uint64_t rtt_ns,
                    uint32_t path_kind) {
    dial *d = user;

    (void)conn;
    if (d->on_pong != NULL) {
        d->on_pong(d, id, rtt_ns, path_kind);
    }
}

/* Nothing could be tried: says whether the peer is unknown, or where to look is. */
static void print_failed(dial *d, const atlas_conn *conn, int32_t code, const char *text) {
    out *o = &d->app->out;
    const char *why = text != NULL && *text ? text : atlas_error_text(code);

    if (d->attempts == 0 && strstr(why, atlas_error_text(ATLAS_ERR_RECORD_NOT_FOUND)) != NULL) {
        out_error(o, ATLAS_ERR_RECORD_NOT_FOUND,
                  "cannot reach %s: no bootstrap node knows where it is (%s)",
                  atlas_conn_peer_id(conn), why);
        return;
    }
    out_error(o, code, "cannot reach %s: %s", atlas_conn_peer_id(conn), why);
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    dial *d = user;
    app *a = d->app;
    int exit_code = d->closing ? EXIT_DONE : EXIT_FAILED;

    if (!d->connected && !a->stopping) {
        print_failed(d, conn, code, text);
    } else if (d->connected) {
        node_closed(a, conn, code, text, d->closed_fields);
    }
    d->conn = NULL;
    if (d->on_end != NULL) {
        exit_code = d->on_end(d, code, app_code);
    }
    if (a->exit_code == EXIT_DONE) {
        a->exit_code = exit_code;
    }
    app_finish(a, exit_code);
}

void dial_finish(dial *d, int exit_code, const char *reason) {
    app *a = d->app;

    if (a->exit_code == EXIT_DONE) {
        a->exit_code = exit_code;
    }
    d->closing = 1;
    if (d->conn == NULL) {
        app_finish(a, exit_code);
    } else {
        (void)atlas_conn_close(d->conn, exit_code == EXIT_DONE ? 0 : 1, reason);
    }
}

const char *dial_path(dial *d, atlas_path_info *path) {
    memset(path, 0, sizeof(*path));
    path->size = sizeof(*path);
    if (d->conn != NULL) {
        (void)atlas_conn_get_path(d->conn, path);
    }
    return path_name(path->kind);
}

/* Interrupted: the command has not done what it was to do, unless it knows better. */
static void on_stop(app *a) {
    dial *d = a->user;

    d->closing = 1;
    if (d->conn != NULL && !d->connected) {
        a->exit_code = EXIT_FAILED;
    }
}

static int add_addrs(app *a) {
    atlas_target_info info = {.size = sizeof(info)};
    size_t i;
    int32_t rv = atlas_target_parse(a->opt.args[0], &info);

    if (rv != ATLAS_OK) {
        return explain_addr(a, "TARGET", a->opt.args[0], rv);
    }
    for (i = 0; i < a->opt.addrs.count; i++) {
        rv = atlas_peer_add_addr(a->ctx, info.peer, a->opt.addrs.items[i]);
        if (rv != ATLAS_OK) {
            return explain_addr(a, "--addr", a->opt.addrs.items[i], rv);
        }
    }
    return 0;
}

int dial_run(app *a, dial *d) {
    static const atlas_conn_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_connected = on_connected,
        .on_path = on_path,
        .on_attempt = on_attempt,
        .on_message = on_message,
        .on_message_sent = on_message_sent,
        .on_pong = on_pong,
        .on_closed = on_closed,
        .on_upgrade = on_upgrade,
    };
    int code = app_open(a, APP_KEY_NEEDED | APP_ANY_PORT | APP_RECORDS);
    int32_t rv;

    if (code == 0) {
        code = app_callbacks(a, NULL, NULL);
    }
    if (code == 0) {
        code = add_addrs(a);
    }
    if (code != 0) {
        return code;
    }
    d->app = a;
    a->user = d;
    if (a->on_stop == NULL) {
        a->on_stop = on_stop;
    }
    rv = atlas_dial(a->ctx, a->opt.args[0], a->opt.timeout_ms, &callbacks, d, &d->conn);
    if (rv == ATLAS_ERR_SELF || rv == ATLAS_ERR_RELAY_DISABLED) {
        return explain_addr(a, "TARGET", a->opt.args[0], rv);
    }
    if (rv == ATLAS_ERR_NO_ADDRESS) {
        out_error(&a->out, rv,
                  "%s: no address of it is known, no relay, and no bootstrap node to ask: say "
                  "--bootstrap, --relay or --addr",
                  a->opt.args[0]);
        return EXIT_FAILED;
    }
    return rv == ATLAS_OK ? app_run(a) : app_error(a, rv, a->opt.args[0]);
}
