/* atlas relay, atlas bootstrap. */
#include "discovery_print.h"
#include "node.h"
#include "server.h"

static int open_server(app *a, int holds) {
    int code = server_check(a, holds);

    if (code == 0) {
        code = app_open(a, APP_KEY_NEEDED | APP_RECORDS);
    }
    discovery_watch(a);
    return code == 0 ? app_callbacks(a, NULL, node_on_relay) : code;
}

int run_relay(app *a) {
    int code = open_server(a, a->opt.serve);
    int32_t rv;

    if (code != 0) {
        return code;
    }
    rv = atlas_relay_start(a->ctx);
    if (rv != ATLAS_OK) {
        return app_error(a, rv, "relay");
    }
    a->relays = 1;
    a->drain_ms = a->opt.drain_ms;
    code = server_start(a, a->opt.serve);
    return code == 0 ? server_run(a, a->opt.serve ? "relay and bootstrap node" : "relay") : code;
}

int run_bootstrap(app *a) {
    int code = open_server(a, 1);

    if (code == 0) {
        code = server_start(a, 1);
    }
    return code == 0 ? server_run(a, "bootstrap node") : code;
}
