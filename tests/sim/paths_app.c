#include "paths_app.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PERIOD 65521u /* of what is sent: prime, so that no block size hides a shift */
#define BLOCK 16384u

uint64_t paths_app_now(const paths_app *app) {
    return sim_now(sim_host_net(app->node.host));
}

/* ---- what is sent: a function of the place in the stream ---- */

static const uint8_t *pattern(void) {
    static uint8_t bytes[PERIOD + BLOCK];
    static int made;
    uint32_t x = 12345;
    size_t i;

    if (!made) {
        for (i = 0; i < PERIOD; i++) {
            x = x * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(x >> 24);
        }
        memcpy(bytes + PERIOD, bytes, BLOCK);
        made = 1;
    }
    return bytes;
}

static void pump(paths_app *app) {
    uint64_t due = UINT64_MAX;
    size_t taken = 0;

    if (app->out == NULL || app->fin_sent) {
        return;
    }
    if (app->rate > 0) {
        due = (paths_app_now(app) - app->send_from) / 1000 * app->rate / 1000000;
    }
    while (!app->stop && app->sent < due) {
        uint64_t want = due - app->sent < BLOCK ? due - app->sent : BLOCK;

        if (atlas_stream_write(app->out, pattern() + app->sent % PERIOD, (size_t)want, 0, &taken) !=
                ATLAS_OK ||
            taken == 0) {
            return;
        }
        app->sent += taken;
    }
    if (app->stop && atlas_stream_write(app->out, NULL, 0, 1, &taken) == ATLAS_OK) {
        app->fin_sent = 1;
    }
}

static void on_beat(void *user) {
    paths_app *app = user;

    if (app->out != NULL && app->rate > 0 && !app->stop) {
        pump(app);
        sim_host_touch(app->node.host);
        sim_at(sim_host_net(app->node.host), paths_app_now(app) + 10 * ATL_MS, on_beat, app);
    }
}

/* ---- streams ---- */

static void note_progress(paths_app *app) {
    uint64_t now = paths_app_now(app);

    if (app->watched_from != 0 && now > app->progress_at && now - app->progress_at > app->longest) {
        app->longest = now - app->progress_at;
        app->longest_until = now;
    }
    app->progress_at = now;
}

static void check(paths_app *app, const uint8_t *data, size_t len) {
    const uint8_t *want = pattern() + app->got % PERIOD;
    size_t i;

    app->got += len;
    if (memcmp(data, want, len) == 0) {
        return;
    }
    for (i = 0; i < len; i++) {
        app->wrong += data[i] != want[i];
    }
}

static void on_readable(void *user, atlas_stream *stream) {
    paths_app *app = user;
    uint8_t buf[BLOCK];
    uint32_t fin = 0;
    size_t len;

    while (!fin && atlas_stream_read(stream, buf, sizeof(buf), &len, &fin) == ATLAS_OK) {
        if (len > 0) {
            check(app, buf, len);
            note_progress(app);
        }
    }
    app->got_fin |= (int)fin;
}

static void on_writable(void *user, atlas_stream *stream) {
    (void)stream;
    pump(user);
}

static void on_acked(void *user, atlas_stream *stream) {
    paths_app *app = user;

    app->acked |= stream == app->out;
}

static void on_stream_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    paths_app *app = user;

    (void)code;
    (void)app_code;
    app->out = app->out == stream ? NULL : app->out;
    app->in = app->in == stream ? NULL : app->in;
}

static const atlas_stream_callbacks STREAM = {sizeof(STREAM), on_readable, on_writable, on_acked,
                                              on_stream_closed};

/* ---- connections ---- */

static void on_connected(void *user, atlas_conn *conn) {
    paths_app *app = user;

    app->conn = conn;
    app->connected_at = paths_app_now(app);
}

static void note_path(paths_app *app, const atlas_path_info *path, const char *reason) {
    paths_change *change = &app->changes[app->n_changes++ % PATHS_CHANGES];

    change->at = paths_app_now(app);
    change->kind = path->kind;
    snprintf(change->reason, sizeof(change->reason), "%s", reason);
    snprintf(change->remote, sizeof(change->remote), "%s", path->remote);
    app->path = path->kind;
    if (path->kind == ATLAS_PATH_DIRECT && app->direct_at == 0) {
        app->direct_at = change->at;
    }
}

static void on_path(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason) {
    (void)conn;
    note_path(user, path, reason);
}

static void on_stream(void *user, atlas_conn *conn, atlas_stream *stream) {
    paths_app *app = user;

    (void)conn;
    app->in = stream;
    assert_int_equal(atlas_stream_set_callbacks(stream, &STREAM, app), ATLAS_OK);
}

static void on_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    (void)conn;
    (void)data;
    (void)len;
    ((paths_app *)user)->messages++;
}

static void on_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text) {
    paths_app *app = user;

    (void)app_code;
    app->closed++;
    app->close_code = code;
    snprintf(app->close_text, sizeof(app->close_text), "%s", text);
    app->conn = app->conn == conn ? NULL : app->conn;
}

static void on_upgrade(void *user, atlas_conn *conn, const atlas_upgrade_info *info) {
    paths_app *app = user;

    (void)conn;
    app->upgrades++;
    app->upgrade_code = info->code;
    app->upgrade_pairs = info->pairs;
    snprintf(app->upgrade_text, sizeof(app->upgrade_text), "%s", info->text);
}

static const atlas_conn_callbacks CONN = {.size = sizeof(CONN),
                                          .on_connected = on_connected,
                                          .on_path = on_path,
                                          .on_stream = on_stream,
                                          .on_message = on_message,
                                          .on_closed = on_closed,
                                          .on_upgrade = on_upgrade};

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    paths_app *app = user;
    atlas_path_info path = {.size = sizeof(path)};

    (void)ctx;
    app->conn = conn;
    app->conns++;
    app->connected_at = paths_app_now(app);
    assert_int_equal(atlas_conn_set_callbacks(conn, &CONN, app), ATLAS_OK);
    if (atlas_conn_get_path(conn, &path) == ATLAS_OK) {
        note_path(app, &path, "accepted");
    }
}

static void on_idle(void *user, atlas_ctx *ctx, uint64_t next) {
    (void)ctx;
    (void)next;
    ((paths_app *)user)->idle_told++;
}

/* ---- the application ---- */

void paths_app_attach(paths_app *app) {
    const atlas_callbacks callbacks = {
        .size = sizeof(callbacks), .user = app, .on_connection = on_connection, .on_idle = on_idle};

    assert_int_equal(atlas_set_callbacks(app->node.ctx, &callbacks), ATLAS_OK);
}

int32_t paths_app_dial(paths_app *app, const char *target) {
    int32_t rv = atlas_dial(app->node.ctx, target, 0, &CONN, app, &app->conn);

    sim_host_touch(app->node.host);
    return rv;
}

void paths_app_send(paths_app *app, uint64_t rate) {
    assert_int_equal(atlas_stream_open(app->conn, 0, &STREAM, app, &app->out), ATLAS_OK);
    app->sent = 0;
    app->stop = 0;
    app->fin_sent = 0;
    app->acked = 0;
    app->rate = rate;
    app->send_from = paths_app_now(app);
    if (rate > 0) {
        sim_at(sim_host_net(app->node.host), app->send_from + 10 * ATL_MS, on_beat, app);
    }
    pump(app);
    sim_host_touch(app->node.host);
}

void paths_app_stop(paths_app *app) {
    app->stop = 1;
    pump(app);
    sim_host_touch(app->node.host);
}

void paths_app_watch(paths_app *app) {
    app->watched_from = paths_app_now(app);
    app->longest = 0;
}

void paths_app_watch_end(paths_app *app) {
    if (!app->got_fin) {
        note_progress(app);
    }
    app->watched_from = 0;
}

size_t paths_app_announced(const paths_app *app) {
    atlas_relay_event relay = {.size = sizeof(relay)};
    uint32_t i;
    size_t n = 0;

    for (i = 0; atlas_relay_info(app->node.ctx, i, &relay) == ATLAS_OK; i++) {
        n += relay.state == ATLAS_RELAY_ANNOUNCED;
    }
    return n;
}

void paths_app_print(const paths_app *app, const char *name) {
    static const char *const KINDS[] = {"none", "direct", "relay"};
    size_t i;

    printf("%s: sent %llu, got %llu, wrong %llu, without progress %.0f ms until %.3f s\n", name,
           (unsigned long long)app->sent, (unsigned long long)app->got,
           (unsigned long long)app->wrong, (double)app->longest / 1e6,
           (double)app->longest_until / 1e9);
    for (i = 0; i < app->n_changes && i < PATHS_CHANGES; i++) {
        const paths_change *change = &app->changes[i];

        printf("  %10.3f s  %s %s: %s\n", (double)change->at / 1e9,
               KINDS[change->kind < 3 ? change->kind : 0], change->remote, change->reason);
    }
    if (app->upgrades > 0) {
        printf("  %d attempts, the last: %s\n", app->upgrades, app->upgrade_text);
    }
    if (app->closed) {
        printf("  closed: %s\n", app->close_text);
    }
}
