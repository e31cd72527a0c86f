/* atlas listen. */
#include "discovery_print.h"
#include "explain.h"
#include "node.h"
#include "receive.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int is_allowed(const app *a, const char *peer) {
    size_t i;

    for (i = 0; i < a->opt.allow.count; i++) {
        char id[ATLAS_PEER_ID_MAX];

        if (atlas_peer_id_normalize(a->opt.allow.items[i], id, sizeof(id)) == ATLAS_OK &&
            strcmp(id, peer) == 0) {
            return 1;
        }
    }
    return a->opt.allow.count == 0;
}

static void on_path(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason) {
    receiver *r = user;

    node_path(r->app, conn, path, reason);
}

static void on_upgrade(void *user, atlas_conn *conn, const atlas_upgrade_info *info) {
    receiver *r = user;

    node_upgrade(r->app, conn, info);
}

static void on_stream(void *user, atlas_conn *conn, atlas_stream *stream) {
    (void)conn;
    receive_stream(user, stream);
}

static void on_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    receiver *r = user;

    node_message(r->app, conn, data, len);
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    receiver *r = user;

    (void)app_code;
    node_closed(r->app, conn, code, text, NULL);
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    static const atlas_conn_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_path = on_path,
        .on_stream = on_stream,
        .on_message = on_message,
        .on_closed = on_closed,
        .on_upgrade = on_upgrade,
    };
    app *a = user;

    (void)ctx;
    if (!is_allowed(a, atlas_conn_peer_id(conn))) {
        out_note(&a->out, "atlas: refused %s: not on the list of --allow",
                 atlas_conn_peer_id(conn));
        (void)atlas_conn_close(conn, 1, "this peer is not allowed here");
        return;
    }
    if (atlas_conn_set_callbacks(conn, &callbacks, a->user) == ATLAS_OK) {
        node_connected(a, "connected", conn);
    }
}

/* Options that contradict one another; NULL: none do. */
static const char *contradiction(const options *opt) {
    if (opt->no_advertise && (opt->autorelay != UINT64_MAX || opt->autorelay_count != UINT64_MAX)) {
        return "--autorelay and --relays are for a node that is found: without --no-advertise";
    }
    if (opt->no_relay &&
        (opt->offer_relay || (opt->autorelay != UINT64_MAX && opt->autorelay != 0))) {
        return "--no-relay: relays are neither used nor offered";
    }
    return NULL;
}

static int check_options(app *a) {
    char id[ATLAS_PEER_ID_MAX];
    const char *why = contradiction(&a->opt);
    size_t i;

    if (why != NULL) {
        out_error(&a->out, ATLAS_ERR_INVALID, "%s", why);
        return EXIT_USAGE;
    }
    for (i = 0; i < a->opt.allow.count; i++) {
        int32_t rv = atlas_peer_id_normalize(a->opt.allow.items[i], id, sizeof(id));

        if (rv != ATLAS_OK) {
            return explain_addr(a, "--allow", a->opt.allow.items[i], rv);
        }
    }
    return 0;
}

/* Has the node found, where a bootstrap node is known; *on says whether. */
static int advertise(app *a, int *on) {
    int32_t rv = a->opt.no_advertise ? ATLAS_ERR_NO_BOOTSTRAP : atlas_advertise(a->ctx, 1);

    *on = rv == ATLAS_OK;
    if (rv == ATLAS_OK || (rv == ATLAS_ERR_NO_BOOTSTRAP && a->opt.autorelay == UINT64_MAX &&
                           a->opt.autorelay_count == UINT64_MAX)) {
        return 0;
    }
    return rv == ATLAS_ERR_NO_BOOTSTRAP ? discovery_no_bootstrap(a) : app_error(a, rv, "advertise");
}

/* A relay for others: where the node is found by bootstrap nodes, as long as it is public; else
 * from now on. */
static int offer(app *a, int enabled, int found) {
    uint64_t offers = 0;
    int32_t rv = ATLAS_OK;

    (void)atlas_get_u64(a->ctx, ATLAS_OPT_OFFER_RELAY, &offers);
    if (enabled && offers) {
        a->drain_ms = a->opt.drain_ms;
        rv = found ? ATLAS_OK : atlas_relay_start(a->ctx);
    }
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "relay");
}

static int start(app *a) {
    uint64_t enabled = 0;
    int found = 0;
    int code;
    int32_t rv = atlas_listen(a->ctx);

    if (rv != ATLAS_OK) {
        return app_error(a, rv, "listen");
    }
    (void)atlas_get_u64(a->ctx, ATLAS_OPT_ENABLE_RELAY, &enabled);
    code = advertise(a, &found);
    if (code == 0) {
        code = offer(a, enabled != 0, found);
    }
    if (code != 0) {
        return code;
    }
    node_ready(a, "node");
    rv = enabled ? atlas_relay_presence(a->ctx, 1) : ATLAS_OK;
    return rv == ATLAS_OK || rv == ATLAS_ERR_NOT_FOUND ? 0 : app_error(a, rv, "relays");
}

int run_listen(app *a) {
    static receiver r;
    unsigned removed;
    int code = check_options(a);

    if (code == 0) {
        code = app_open(a, APP_KEY_NEEDED | APP_RECORDS);
    }
    if (code != 0) {
        return code;
    }
    r.app = a;
    r.max_size = a->opt.max_size;
    r.dir = store_dir_open(a->opt.out_dir);
    if (r.dir < 0) {
        out_error(&a->out, ATLAS_ERR_IO, "--out %s: %s", a->opt.out_dir, strerror(errno));
        return EXIT_USAGE;
    }
    removed = store_clean(r.dir);
    if (removed > 0) {
        out_note(&a->out, "atlas: removed %u unfinished file%s of transfers that were broken off",
                 removed, removed == 1 ? "" : "s");
    }
    a->user = &r;
    discovery_watch(a);
    code = app_callbacks(a, on_connection, node_on_relay);
    if (code == 0) {
        code = start(a);
    }
    return code == 0 ? app_run(a) : code;
}
