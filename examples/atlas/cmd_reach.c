/* atlas reach. */
#include "discovery_print.h"

#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 10000
#define OTHER_MS 3000 /* for the other family, which may have no servers */
#define ROUND_MS 1000 /* for the rest of a round that has come to a verdict */

typedef struct reach {
    uint64_t ends;
    int told[2];    /* IPv4, IPv6: a round has ended, or has come to a verdict */
    int decided[2]; /* the verdict is another than unknown */
    int answered;   /* by any server */
    FILE *held[2];  /* what is printed at the end: the newest of each */
    char *text[2];
    size_t len[2];
} reach;

static void print_all(app *a) {
    reach *r = a->user;
    int i;

    for (i = 0; i < 2; i++) {
        if (r->held[i] != NULL) {
            (void)fclose(r->held[i]);
            if (fwrite(r->text[i], 1, r->len[i], stdout) != r->len[i] || fflush(stdout) != 0) {
                a->out.failed = 1;
            }
            free(r->text[i]);
            r->held[i] = NULL;
        }
    }
}

static void finish(app *a) {
    reach *r = a->user;

    print_all(a);
    if (!r->answered && !a->stopping) {
        out_error(&a->out, ATLAS_ERR_TIMEOUT,
                  "no server has answered: UDP is blocked here, or the bootstrap nodes are down");
    }
    app_finish(a, r->decided[0] || r->decided[1] ? EXIT_DONE : EXIT_FAILED);
}

/* Keeps what is to be printed in the place of what it was before. */
static void hold(app *a, int family, const atlas_reach_event *event) {
    reach *r = a->user;

    if (r->held[family] != NULL) {
        (void)fclose(r->held[family]);
        free(r->text[family]);
    }
    r->held[family] = open_memstream(&r->text[family], &r->len[family]);
    a->out.held = r->held[family];
    discovery_print_reach(a, event, 1);
    a->out.held = NULL;
}

static void on_reach(void *user, atlas_ctx *ctx, const struct atlas_reach_event *event) {
    app *a = user;
    reach *r = a->user;
    int family = event->family == 6;
    uint64_t until;

    (void)ctx;
    if (a->stopping) {
        return;
    }
    hold(a, family, event);
    r->told[family] = 1;
    r->decided[family] = event->verdict != ATLAS_REACH_UNKNOWN;
    r->answered |= event->servers > 0;
    /* with one family there is nothing to wait for but the end of its round */
    if ((r->told[0] && r->told[1]) ||
        (a->opt.family != 0 && r->decided[family] && event->verdict == event->before)) {
        finish(a);
        return;
    }
    until = atlas_now(a->ctx) +
            (a->opt.family != 0 && r->decided[family] ? ROUND_MS : OTHER_MS) * NS_PER_MS;
    a->tick_at = until < r->ends ? until : r->ends;
}

static void on_stop(app *a) {
    const reach *r = a->user;

    print_all(a);
    if (!r->decided[0] && !r->decided[1]) {
        a->exit_code = EXIT_FAILED;
    }
}

/* The port counts: what is forwarded to this host is forwarded to one port. */
static int open_port(app *a) {
    int32_t rv = atlas_open(a->ctx);

    if (rv == ATLAS_ERR_ADDR_IN_USE && !a->opt.port_given &&
        atlas_set_u64(a->ctx, ATLAS_OPT_PORT, 0) == ATLAS_OK) {
        out_note(&a->out, "atlas: the configured port is in use: another port is tested");
        rv = atlas_open(a->ctx);
    }
    return rv == ATLAS_OK ? 0 : app_error(a, rv, "start");
}

int run_reach(app *a) {
    static reach r;
    int code = app_open(a, APP_RECORDS);
    int32_t rv;

    a->user = &r;
    a->on_reach = on_reach;
    a->on_stop = on_stop;
    a->on_tick = finish;
    if (code == 0) {
        code = app_callbacks(a, NULL, NULL);
    }
    if (code == 0) {
        code = open_port(a);
    }
    if (code != 0) {
        return code;
    }
    rv = atlas_reach_start(a->ctx);
    if (rv != ATLAS_OK) {
        return rv == ATLAS_ERR_NO_BOOTSTRAP ? discovery_no_bootstrap(a) : app_error(a, rv, "reach");
    }
    r.ends = atlas_now(a->ctx) + (a->opt.timeout_ms == 0 ? WAIT_MS : a->opt.timeout_ms) * NS_PER_MS;
    a->tick_at = r.ends;
    return app_run(a);
}
