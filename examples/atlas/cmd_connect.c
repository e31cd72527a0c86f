/* atlas connect, atlas disconnect. */
#include "dial.h"

#define DISCONNECT_WAIT_S 5

static void on_message(dial *d, const uint8_t *data, size_t len) {
    node_message(d->app, d->conn, data, len);
}

int run_connect(app *a) {
    static dial d;

    d.lasting = 1;
    d.on_message = on_message;
    return dial_run(a, &d);
}

/* ---- disconnect ---- */

static void no_answer(app *a) {
    out_error(&a->out, ATLAS_ERR_TIMEOUT, "the peer has not answered");
    dial_finish(a->user, EXIT_FAILED, "no answer");
}

static void ask(dial *d) {
    app *a = d->app;
    const char *reason = a->opt.reason == NULL ? "disconnected by its user" : a->opt.reason;
    int32_t rv = atlas_conn_disconnect(d->conn, reason);

    if (rv != ATLAS_OK) {
        (void)app_error(a, rv, "disconnect");
        dial_finish(d, EXIT_FAILED, "disconnect failed");
        return;
    }
    a->on_tick = no_answer;
    a->tick_at = atlas_now(a->ctx) + DISCONNECT_WAIT_S * NS_PER_S;
}

/* The peer closes this connection too: that is its answer. */
static int answered(dial *d, int32_t code, uint64_t app_code) {
    (void)app_code;
    return d->connected && !d->closing && code == ATLAS_OK ? EXIT_DONE : EXIT_FAILED;
}

int run_disconnect(app *a) {
    static dial d;

    d.on_connected = ask;
    d.on_end = answered;
    return dial_run(a, &d);
}
