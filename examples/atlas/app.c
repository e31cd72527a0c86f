#include "app.h"

#include "explain.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- signals ---- */

static volatile sig_atomic_t interrupts;
static atlas_ctx *woken; /* the context whose wait a signal ends */

static void on_signal(int number) {
    int before = errno;

    (void)number;
    interrupts++;
    if (woken != NULL) {
        (void)atlas_wakeup(woken);
    }
    errno = before;
}

static void catch_signals(void) {
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    /* a limit on the size of files is an error of write(), no reason to die */
    (void)sigaction(SIGXFSZ, &action, NULL);
    action.sa_handler = on_signal;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int app_interrupted(void) {
    return interrupts > 0;
}

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
    return 0;
}

/* The command line comes after the file and wins. */
static int apply_options(app *a, int flags) {
    const options *opt = &a->opt;
    int32_t rv = ATLAS_OK;

    if (opt->port_given || (flags & APP_ANY_PORT) != 0) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_PORT, opt->port);
    }
    if (rv == ATLAS_OK && opt->no_relay) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_ENABLE_RELAY, 0);
    }
    if (rv == ATLAS_OK && opt->no_upgrade) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_UPGRADE, 0);
    }
    if (rv == ATLAS_OK && opt->family == 4) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_IPV6, 0);
    }
    if (rv == ATLAS_OK && opt->family == 6) {
        rv = atlas_set_u64(a->ctx, ATLAS_OPT_IPV4, 0);
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
    return code == 0 ? apply_options(a, flags) : code;
}

/* ---- the loop ---- */

void app_finish(app *a, int exit_code) {
    if (a->exit_code == EXIT_DONE) {
        a->exit_code = exit_code;
    }
    if (!a->stopping) {
        a->stopping = 1;
        a->tick_at = 0;
        a->give_up_at = atlas_now(a->ctx) + 3 * NS_PER_S + a->drain_ms * NS_PER_MS;
        if (atlas_shutdown(a->ctx, a->drain_ms) != ATLAS_OK) {
            a->done = 1;
        }
    }
}

/* Milliseconds until the next of our own deadlines, rounded up; -1: none. */
static int32_t wait_ms(const app *a, uint64_t now) {
    uint64_t next = UINT64_MAX;

    if (a->stopping) {
        next = a->give_up_at;
    } else if (a->tick_at != 0) {
        next = a->tick_at;
    }
    if (next == UINT64_MAX) {
        return -1;
    }
    if (next <= now) {
        return 0;
    }
    next = (next - now + NS_PER_MS - 1) / NS_PER_MS;
    return next > 3600000 ? 3600000 : (int32_t)next;
}

static void check_stop(app *a) {
    if (!a->stopping && (interrupts > 0 || a->out.failed)) {
        if (a->on_stop != NULL) {
            a->on_stop(a);
        }
        app_finish(a, a->out.failed ? EXIT_FAILED : EXIT_DONE);
    }
}

static void turn(app *a) {
    uint64_t now = atlas_now(a->ctx);
    int32_t rv = atlas_run_once(a->ctx, wait_ms(a, now));

    if (rv != ATLAS_OK) {
        a->exit_code = app_error(a, rv, "loop");
        a->done = 1;
        return;
    }
    now = atlas_now(a->ctx);
    if (!a->stopping && a->tick_at != 0 && now >= a->tick_at) {
        a->tick_at = 0;
        a->on_tick(a);
    }
    check_stop(a);
    /* asked a second time, or somebody does not answer: without goodbye */
    if (a->stopping && (interrupts > 1 || now >= a->give_up_at)) {
        a->done = 1;
    }
}

int app_run(app *a) {
    woken = a->ctx;
    check_stop(a); /* a signal that came before */
    while (!a->done) {
        turn(a);
    }
    woken = NULL;
    return a->exit_code;
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
    rv = atlas_set_callbacks(a->ctx, &callbacks);
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "start");
}

/* ---- main ---- */

static void cleanup(app *a) {
    woken = NULL;
    (void)atlas_free(a->ctx);
    atlas_key_free(a->key);
    out_free(&a->out);
}

const command commands[] = {
    {"init", "", "make the node's key and print its peer id", 0, 0, 0, run_init},
    {"id", "", "print the node's peer id", 0, 0, 0, run_id},
    {"stun", "[HOST:PORT...]", "ask STUN servers how this host looks from outside",
     GROUP_NET | GROUP_TIMEOUT | GROUP_STUN, 0, MAX_REPEATED, run_stun},
    {"relay", "", "run a relay, which also answers STUN on its port", GROUP_NET | GROUP_RELAY, 0, 0,
     run_relay},
    {"listen", "", "run a node: accept peers, print messages, store files",
     GROUP_NET | GROUP_PEERS | GROUP_LISTEN, 0, 0, run_listen},
    {"connect", "TARGET", "hold a connection and print its events",
     GROUP_NET | GROUP_TIMEOUT | GROUP_PEERS | GROUP_DIAL, 1, 1, run_connect},
    {"ping", "TARGET", "measure round trips",
     GROUP_NET | GROUP_TIMEOUT | GROUP_PEERS | GROUP_DIAL | GROUP_PING, 1, 1, run_ping},
    {"send", "TARGET [TEXT]", "send a message, or a file with --file",
     GROUP_NET | GROUP_TIMEOUT | GROUP_PEERS | GROUP_DIAL | GROUP_SEND, 1, 2, run_send},
    {"disconnect", "TARGET", "tell a peer to close its sessions with this node",
     GROUP_NET | GROUP_TIMEOUT | GROUP_PEERS | GROUP_DIAL | GROUP_DISCONNECT, 1, 1, run_disconnect},
    {"status", "", "print the configuration, and which relays and STUN servers answer",
     GROUP_NET | GROUP_TIMEOUT, 0, 0, run_status},
    {NULL, NULL, NULL, 0, 0, 0, NULL},
};

static int run(const command *cmd, int argc, char **argv) {
    static app a;
    int code = options_parse(cmd, argc, argv, &a.opt);

    if (code >= 0) {
        return code;
    }
    a.out.json = a.opt.json;
    catch_signals();
    code = cmd->run(&a);
    cleanup(&a);
    if (code == EXIT_DONE && (a.out.failed || fflush(stdout) != 0)) {
        code = EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    const command *cmd = argc > 1 ? command_find(argv[1]) : NULL;

    if (cmd != NULL) {
        return run(cmd, argc - 1, argv + 1);
    }
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                     strcmp(argv[1], "help") == 0)) {
        print_help();
        return EXIT_DONE;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("atlas %s\n", atlas_version());
        return EXIT_DONE;
    }
    fprintf(stderr,
            argc > 1 ? "atlas: unknown command %s\nTry: atlas --help\n" : "Try: atlas --help\n",
            argc > 1 ? argv[1] : "");
    return EXIT_USAGE;
}
