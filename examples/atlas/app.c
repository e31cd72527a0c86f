#include "app.h"

#include "explain.h"
#include "metrics.h"
#include "records.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *path_name(uint32_t kind) {
    return kind == ATLAS_PATH_DIRECT ? "direct" : kind == ATLAS_PATH_RELAY ? "relay" : "none";
}

int app_error(app *a, int32_t code, const char *what) {
    out_error(&a->out, code, "%s: %s", what, atlas_error_text(code));
    switch (code) {
    case ATLAS_ERR_INVALID:
    case ATLAS_ERR_ADDRESS:
    case ATLAS_ERR_PEER_ID:
    case ATLAS_ERR_UNSUPPORTED:
    case ATLAS_ERR_CONFIG:
    case ATLAS_ERR_SELF:
    case ATLAS_ERR_RELAY_DISABLED:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}

/* ---- start ---- */

int app_paths(app *a) {
    static char home_dir[PATH_CAP];
    int len;

    if (a->opt.dir == NULL) {
        const char *home = getenv("HOME");
        const struct passwd *entry = home == NULL || *home == '\0' ? getpwuid(getuid()) : NULL;

        if (entry != NULL) {
            home = entry->pw_dir;
        }
        if (home == NULL || *home == '\0') {
            out_error(&a->out, ATLAS_ERR_NOT_FOUND, "no home directory: say --dir DIR");
            return EXIT_USAGE;
        }
        len = snprintf(home_dir, sizeof(home_dir), "%s/.atlas", home);
        if (len < 0 || (size_t)len >= sizeof(home_dir)) {
            out_error(&a->out, ATLAS_ERR_TOO_LARGE, "the home directory's name is too long");
            return EXIT_USAGE;
        }
        a->opt.dir = home_dir;
    }
    len = snprintf(a->key_path, sizeof(a->key_path), "%s/state/node.key", a->opt.dir);
    if (len < 0 || (size_t)len >= sizeof(a->key_path)) {
        out_error(&a->out, ATLAS_ERR_TOO_LARGE, "the name of the directory is too long");
        return EXIT_USAGE;
    }
    return 0;
}

static int load_key(app *a, int needed) {
    int32_t rv = atlas_key_load(a->key_path, &a->key);

    if (rv == ATLAS_OK || (rv == ATLAS_ERR_NOT_FOUND && !needed)) {
        return 0;
    }
    return explain_key(a, rv);
}

static void on_complaint(void *user, int32_t code, const char *file, uint32_t line,
                         const char *text) {
    app *a = user;

    (void)file;
    (void)line;
    if (code != ATLAS_OK) {
        out_error(&a->out, code, "%s", text);
    } else {
        out_note(&a->out, "atlas: warning: %s", text);
    }
}

static int load_config(app *a) {
    char path[PATH_CAP + 32];
    const char *file = a->opt.config;
    int32_t rv;

    if (file == NULL) {
        (void)snprintf(path, sizeof(path), "%s/state/config.toml", a->opt.dir);
        file = path;
    }
    rv = atlas_config_load(a->ctx, file, on_complaint, a);
    if (rv == ATLAS_OK || (rv == ATLAS_ERR_NOT_FOUND && a->opt.config == NULL)) {
        return 0;
    }
    return explain_config(a, file, rv);
}

static int add_lists(app *a) {
    size_t i;
    int32_t rv;

    for (i = 0; i < a->opt.relays.count; i++) {
        rv = atlas_relay_add(a->ctx, a->opt.relays.items[i]);
        if (rv != ATLAS_OK && rv != ATLAS_ERR_EXISTS) {
            return explain_addr(a, "--relay", a->opt.relays.items[i], rv);
        }
    }
    for (i = 0; i < a->opt.stuns.count; i++) {
        rv = atlas_stun_add_server(a->ctx, a->opt.stuns.items[i]);
        if (rv != ATLAS_OK) {
            return explain_addr(a, "--stun", a->opt.stuns.items[i], rv);
        }
    }
    for (i = 0; i < a->opt.nodes.count; i++) {
        rv = atlas_bootstrap_add(a->ctx, a->opt.nodes.items[i]);
        if (rv != ATLAS_OK && rv != ATLAS_ERR_EXISTS) {
            return explain_addr(a, a->opt.node_option, a->opt.nodes.items[i], rv);
        }
    }
    return 0;
}

/* Options of the command line that are numbers of the library's; UINT64_MAX: not given. */
static int32_t apply_numbers(app *a) {
    const struct {
        uint32_t option;
        uint64_t value;
    } given[] = {
        {ATLAS_OPT_AUTORELAY, a->opt.autorelay},
        {ATLAS_OPT_AUTORELAY_COUNT, a->opt.autorelay_count},
        {ATLAS_OPT_RECORD_LIFETIME_S, a->opt.record_lifetime},
        {ATLAS_OPT_REGISTRY_MAX_RECORDS, a->opt.max_records},
        {ATLAS_OPT_ENABLE_RELAY, a->opt.no_relay ? 0 : UINT64_MAX},
        {ATLAS_OPT_OFFER_RELAY, a->opt.offer_relay ? 1 : UINT64_MAX},
        {ATLAS_OPT_UPGRADE, a->opt.no_upgrade ? 0 : UINT64_MAX},
        {ATLAS_OPT_IPV6, a->opt.family == 4 ? 0 : UINT64_MAX},
        {ATLAS_OPT_IPV4, a->opt.family == 6 ? 0 : UINT64_MAX},
    };
    int32_t rv = ATLAS_OK;
    size_t i;

    for (i = 0; i < sizeof(given) / sizeof(given[0]) && rv == ATLAS_OK; i++) {
        if (given[i].value != UINT64_MAX) {
            rv = atlas_set_u64(a->ctx, given[i].option, given[i].value);
        }
    }
    return rv;
}

/* The command line comes after the file and wins. */
static int apply_options(app *a, int flags) {
    const options *opt = &a->opt;
    int32_t rv = ATLAS_OK;

    if (opt->port_given || (flags & APP_ANY_PORT) != 0) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_PORT, opt->port);
    }
    if (rv == ATLAS_OK) {
        rv = apply_numbers(a);
    }
    if (rv == ATLAS_OK && opt->bind != NULL) {
        int is_v6 = strchr(opt->bind, ':') != NULL;
        int code = explain_bind(a);

        if (code != 0) {
            return code;
        }
        rv = atlas_set_u64(a->ctx, is_v6 ? ATLAS_OPT_IPV4 : ATLAS_OPT_IPV6, 0);
    }
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "options");
}

static void on_log(void *user, int32_t level, const char *text) {
    static const char *const names[] = {"?", "error", "warn", "info", "debug", "trace"};
    app *a = user;

    if (level <= a->opt.verbose + 2) {
        out_note(&a->out, "%s: %s", level >= 1 && level <= 5 ? names[level] : names[0], text);
    }
}

int app_open(app *a, int flags) {
    atlas_hooks hooks;
    int32_t rv;
    int code = app_paths(a);

    if (code == 0) {
        code = load_key(a, (flags & APP_KEY_NEEDED) != 0);
    }
    if (code != 0) {
        return code;
    }
    memset(&hooks, 0, sizeof(hooks));
    hooks.size = sizeof(hooks);
    hooks.user = a;
    hooks.log = a->opt.verbose > 0 ? on_log : NULL;
    rv = atlas_new(&hooks, a->key, &a->ctx);
    if (rv != ATLAS_OK) {
        return app_error(a, rv, "start");
    }
    code = add_lists(a);
    if (code == 0) {
        code = load_config(a);
    }
    if (code == 0) {
        code = apply_options(a, flags);
    }
    if (code == 0 && (flags & APP_RECORDS) != 0) {
        records_load(a);
    }
    return code;
}

static void on_shutdown(void *user, atlas_ctx *ctx) {
    app *a = user;

    (void)ctx;
    a->done = 1;
}

int app_callbacks(app *a, void (*on_connection)(void *, atlas_ctx *, atlas_conn *),
                  void (*on_relay)(void *, atlas_ctx *, const struct atlas_relay_event *)) {
    atlas_callbacks callbacks;
    int32_t rv;

    memset(&callbacks, 0, sizeof(callbacks));
    callbacks.size = sizeof(callbacks);
    callbacks.user = a;
    callbacks.on_connection = on_connection;
    callbacks.on_relay = on_relay;
    callbacks.on_shutdown = on_shutdown;
    callbacks.on_reach = a->on_reach;
    callbacks.on_advertise = a->on_advertise;
    callbacks.on_autorelay = a->on_autorelay;
    rv = atlas_set_callbacks(a->ctx, &callbacks);
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "start");
}

void app_close(app *a) {
    metrics_stop(a->http);
    records_free(a->records);
    (void)atlas_free(a->ctx);
    atlas_key_free(a->key);
    out_free(&a->out);
}
