/* atlas lookup, atlas discover. */
#include "discovery_print.h"
#include "explain.h"

#include <string.h>

#define TIMEOUT_MAX_MS 120000 /* the library's bound */

typedef struct search {
    const char *peer; /* NULL: discover */
    uint64_t found;
    int from_cache; /* nobody could be asked: what is known already is told */
} search;

static int begin(app *a);

static void finish(app *a, int32_t code, const char *text) {
    search *s = a->user;

    if (s->found > 0 || a->stopping) {
        app_finish(a, s->found > 0 ? EXIT_DONE : EXIT_FAILED);
        return;
    }
    if (s->peer == NULL && code == ATLAS_ERR_RECORD_NOT_FOUND) {
        out_error(&a->out, code, "no bootstrap node knows anybody who offers %s",
                  a->opt.offer == ATLAS_OFFER_RELAY       ? "relay"
                  : a->opt.offer == ATLAS_OFFER_BOOTSTRAP ? "bootstrap"
                                                          : "dialback");
    } else if (s->peer == NULL) {
        out_error(&a->out, code, "nobody was found: %s", text);
    } else if (code == ATLAS_ERR_RECORD_NOT_FOUND) {
        out_error(&a->out, code, "no bootstrap node knows where %s is", s->peer);
    } else {
        out_error(&a->out, code, "%s was not found: %s", s->peer, text);
    }
    app_finish(a, EXIT_FAILED);
}

static void on_end(app *a, int32_t code, const char *text) {
    search *s = a->user;

    if (s->peer != NULL && s->found == 0 && !s->from_cache && !a->stopping &&
        code != ATLAS_ERR_RECORD_NOT_FOUND && code != ATLAS_ERR_CANCELLED) {
        s->from_cache = 1;
        if (begin(a) == 0) {
            return;
        }
    }
    finish(a, code, text);
}

static void on_query(void *user, atlas_query *query, const atlas_query_event *event) {
    app *a = user;
    search *s = a->user;

    if (event->what == ATLAS_QUERY_END) {
        on_end(a, event->code, event->text);
    } else if (event->what == ATLAS_QUERY_RECORD) {
        s->found++;
        discovery_print_record(a, event->record, s->peer == NULL);
        if (s->from_cache) {
            (void)atlas_query_cancel(query);
        }
    } else if (!s->from_cache) {
        discovery_print_failed(a, event);
    }
}

/* The bootstrap nodes are asked first: whoever looks something up wants to know what they say. What
 * is known already is for the case that none of them answers. */
static int begin(app *a) {
    search *s = a->user;
    atlas_query_options how = {.size = sizeof(how), .timeout_ms = a->opt.timeout_ms};
    int32_t rv;

    how.timeout_ms = how.timeout_ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : how.timeout_ms;
    if (s->peer == NULL) {
        how.limit = (uint32_t)a->opt.limit;
        how.random = (uint32_t)a->opt.random;
        rv = atlas_discover(a->ctx, a->opt.offer, &how, on_query, a, NULL);
    } else {
        how.fresh = !s->from_cache;
        how.timeout_ms = s->from_cache ? 1 : how.timeout_ms;
        rv = atlas_lookup(a->ctx, s->peer, &how, on_query, a, NULL);
    }
    if (rv == ATLAS_ERR_NO_BOOTSTRAP && s->peer != NULL && !s->from_cache) {
        s->from_cache = 1;
        return begin(a);
    }
    if (rv == ATLAS_OK) {
        return 0;
    }
    if (rv == ATLAS_ERR_NO_BOOTSTRAP) {
        return discovery_no_bootstrap(a);
    }
    return rv == ATLAS_ERR_PEER_ID ? explain_addr(a, "ID", s->peer, rv)
                                   : app_error(a, rv, "look-up");
}

static void on_stop(app *a) {
    const search *s = a->user;

    if (s->found == 0) {
        a->exit_code = EXIT_FAILED;
    }
}

static int run(app *a, const char *peer) {
    static search s;
    int code = app_open(a, APP_ANY_PORT | APP_RECORDS);

    s.peer = peer;
    a->user = &s;
    a->on_stop = on_stop;
    if (code == 0) {
        code = app_callbacks(a, NULL, NULL);
    }
    if (code == 0) {
        code = begin(a);
    }
    return code == 0 ? app_run(a) : code;
}

int run_lookup(app *a) {
    return run(a, a->opt.args[0]);
}

int run_discover(app *a) {
    return run(a, NULL);
}
