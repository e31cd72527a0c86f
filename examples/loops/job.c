#include "job.h"

#include <stdio.h>
#include <string.h>

#define TEXT "hello from the other context"
#define DIAL_TIMEOUT_MS 10000

static void check(job *j, const char *what, int32_t code) {
    if (code != ATLAS_OK) {
        printf("%s: %s\n", what, atlas_error_text(code));
        j->failed = 1;
    }
}

static void on_shutdown(void *user, atlas_ctx *ctx) {
    job *j = user;

    printf("%s: shut down\n", ctx == j->listener ? "listener" : "dialer");
    j->ended++;
}

/* ---- the side that listens ---- */

static void on_message(void *user, atlas_conn *conn, const uint8_t *data, size_t len) {
    job *j = user;

    (void)conn;
    printf("listener: message \"%.*s\"\n", (int)len, (const char *)data);
    j->received = len == strlen(TEXT) && memcmp(data, TEXT, len) == 0;
}

static void on_inbound_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                              const char *text) {
    job *j = user;

    (void)conn;
    (void)text;
    printf("listener: connection closed, %s, code %llu\n", atlas_error_name(code),
           (unsigned long long)app_code);
    check(j, "shutdown", atlas_shutdown(j->listener, 0));
}

static void on_connection(void *user, atlas_ctx *ctx, atlas_conn *conn) {
    const atlas_conn_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_message = on_message,
        .on_closed = on_inbound_closed,
    };

    (void)ctx;
    printf("listener: %s has connected\n", atlas_conn_peer_id(conn));
    check(user, "callbacks", atlas_conn_set_callbacks(conn, &callbacks, user));
}

/* ---- the side that dials ---- */

static void on_connected(void *user, atlas_conn *conn) {
    printf("dialer: connected to %s\n", atlas_conn_peer_id(conn));
    check(user, "send", atlas_conn_send_message(conn, TEXT, strlen(TEXT), NULL));
}

static void on_message_sent(void *user, atlas_conn *conn, uint64_t id, int32_t code) {
    job *j = user;

    check(j, "message", code);
    printf("dialer: message %llu acknowledged\n", (unsigned long long)id);
    j->acknowledged = code == ATLAS_OK;
    check(j, "close", atlas_conn_close(conn, 0, "done"));
}

static void on_outbound_closed(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                               const char *text) {
    job *j = user;

    (void)conn;
    (void)app_code;
    printf("dialer: connection closed, %s%s%s\n", atlas_error_name(code), text != NULL ? ": " : "",
           text != NULL ? text : "");
    check(j, "connection", code);
    check(j, "shutdown", atlas_shutdown(j->dialer, 0));
}

/* ---- both ---- */

static int32_t make_context(job *j, const atlas_hooks *hooks, atlas_ctx **out) {
    const atlas_callbacks callbacks = {
        .size = sizeof(callbacks),
        .user = j,
        .on_connection = on_connection,
        .on_shutdown = on_shutdown,
    };
    int32_t rc = atlas_new(hooks, NULL, out);

    if (rc == ATLAS_OK) {
        rc = atlas_set_str(*out, ATLAS_OPT_BIND4, "127.0.0.1");
    }
    if (rc == ATLAS_OK) {
        rc = atlas_set_u64(*out, ATLAS_OPT_IPV6, 0);
    }
    return rc == ATLAS_OK ? atlas_set_callbacks(*out, &callbacks) : rc;
}

int32_t job_start(job *j, const atlas_hooks *listener_hooks, const atlas_hooks *dialer_hooks) {
    const atlas_conn_callbacks callbacks = {
        .size = sizeof(callbacks),
        .on_connected = on_connected,
        .on_message_sent = on_message_sent,
        .on_closed = on_outbound_closed,
    };
    char addr[ATLAS_MULTIADDR_MAX];
    atlas_conn *conn;
    int32_t rc = make_context(j, listener_hooks, &j->listener);

    if (rc == ATLAS_OK) {
        rc = make_context(j, dialer_hooks, &j->dialer);
    }
    if (rc == ATLAS_OK) {
        rc = atlas_listen(j->listener);
    }
    if (rc == ATLAS_OK) {
        rc = atlas_local_addr(j->listener, 0, addr, sizeof(addr));
    }
    if (rc == ATLAS_OK) {
        printf("dialer: dialling %s\n", addr);
        rc = atlas_dial(j->dialer, addr, DIAL_TIMEOUT_MS, &callbacks, j, &conn);
    }
    check(j, "start", rc);
    return rc;
}

int job_done(const job *j) {
    return j->failed || j->ended == 2;
}

int job_finish(job *j) {
    (void)atlas_free(j->dialer);
    (void)atlas_free(j->listener);
    j->dialer = NULL;
    j->listener = NULL;
    return !j->failed && j->received && j->acknowledged ? 0 : 1;
}
