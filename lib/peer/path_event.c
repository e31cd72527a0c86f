#include "peer/path_event.h"

#include <stdio.h>
#include <string.h>

typedef struct path_item {
    atl_item item;
    atlas_path_info info;
    const char *reason;
} path_item;

typedef struct upgrade_item {
    atl_item item;
    atlas_upgrade_info info;
    char text[sizeof(((atl_punch_report *)0)->text)];
} upgrade_item;

static void drop_path(atlas_conn *conn, atl_item *item) {
    atl_free(atl_conn_env(conn), ATL_CONTAINER(item, path_item, item));
}

static void deliver_path(atlas_conn *conn, atl_item *item) {
    path_item *event = ATL_CONTAINER(item, path_item, item);

    if (conn->callbacks.on_path != NULL && !conn->local_close) {
        conn->callbacks.on_path(conn->user, conn, &event->info, event->reason);
    }
    drop_path(conn, item);
}

void atl_path_event(atlas_conn *conn, const char *reason, int none) {
    path_item *event;

    if (!conn->ready || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    event = atl_calloc(atl_conn_env(conn), 1, sizeof(*event));
    if (event == NULL) {
        /* told a little later, together with what follows */
        conn->path_reason = reason;
        atl_conn_post(conn);
        return;
    }
    event->info.size = sizeof(event->info);
    if (!none && atl_conn_path(conn, &event->info) != ATLAS_OK) {
        atl_free(atl_conn_env(conn), event);
        return;
    }
    event->reason = reason;
    event->item.deliver = deliver_path;
    event->item.drop = drop_path;
    atl_list_init(&event->item.node);
    atl_log(atl_conn_env(conn), ATLAS_LOG_INFO, "%s: path %s, %s%s%s", conn->peer_text,
            event->info.kind == ATLAS_PATH_DIRECT  ? "direct"
            : event->info.kind == ATLAS_PATH_RELAY ? "relay"
                                                   : "none",
            event->info.remote, event->info.remote[0] == '\0' ? "" : ", ", reason);
    atl_conn_queue(conn, &event->item);
}

/* ---- attempts ---- */

static void drop_upgrade(atlas_conn *conn, atl_item *item) {
    atl_free(atl_conn_env(conn), ATL_CONTAINER(item, upgrade_item, item));
}

static void deliver_upgrade(atlas_conn *conn, atl_item *item) {
    upgrade_item *event = ATL_CONTAINER(item, upgrade_item, item);

    if (conn->callbacks.on_upgrade != NULL && !conn->local_close) {
        conn->callbacks.on_upgrade(conn->user, conn, &event->info);
    }
    drop_upgrade(conn, item);
}

void atl_upgrade_event(atlas_conn *conn, const atl_punch_report *report, uint64_t retry) {
    upgrade_item *event;

    if (!conn->ready || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    event = atl_calloc(atl_conn_env(conn), 1, sizeof(*event));
    if (event == NULL) {
        return; /* news of an attempt, and nothing that the connection depends on */
    }
    event->info.size = sizeof(event->info);
    event->info.code = report->code;
    event->info.pairs = report->pairs;
    event->info.requests = report->requests;
    event->info.heard = report->heard;
    event->info.answers = report->answers;
    event->info.bytes = report->bytes;
    event->info.duration_ns = report->duration;
    event->info.retry_ns = retry;
    if (report->code == ATLAS_OK) {
        if (report->best.local.family != 0) {
            atl_addr_text(&report->best.local, event->info.local);
        }
        atl_addr_text(&report->best.remote, event->info.remote);
    }
    (void)snprintf(event->text, sizeof(event->text), "%s", report->text);
    event->info.text = event->text;
    event->item.deliver = deliver_upgrade;
    event->item.drop = drop_upgrade;
    atl_list_init(&event->item.node);
    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: looking for a direct path: %s",
            conn->peer_text, event->text);
    atl_conn_queue(conn, &event->item);
}
