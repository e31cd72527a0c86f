/* minimal BOOTSTRAP PEER TEXT: finds a peer by its id and sends it one message. */
#include <atlas/atlas.h>
#include <stdio.h>
#include <string.h>

static int exit_code = -1;

static void on_connected(void *text, atlas_conn *conn) {
    atlas_conn_send_message(conn, text, strlen(text), NULL);
}

static void on_message_sent(void *text, atlas_conn *conn, uint64_t id, int32_t code) {
    atlas_conn_close(conn, 0, "done");
}

static void on_closed(void *text, atlas_conn *conn, int32_t code, uint64_t app, const char *why) {
    printf("%s: %s\n", atlas_error_name(code), why);
    exit_code = code == ATLAS_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    atlas_conn_callbacks cb = {sizeof(cb), .on_connected = on_connected, .on_closed = on_closed,
                               .on_message_sent = on_message_sent};
    atlas_ctx *ctx;
    atlas_conn *conn;

    if (argc != 4 || atlas_new(NULL, NULL, &ctx) != ATLAS_OK ||
        atlas_bootstrap_add(ctx, argv[1]) != ATLAS_OK ||
        atlas_dial(ctx, argv[2], 0, &cb, argv[3], &conn) != ATLAS_OK) {
        return 2;
    }
    while (exit_code < 0) {
        atlas_run_once(ctx, -1); /* or your own loop: see below */
    }
    atlas_free(ctx);
    return exit_code;
}
