/* atlas/discovery.h: look-ups of the application. */
#include "api/query.h"

#include "api/context.h"
#include "discovery/find.h"

#include <string.h>

#define TIMEOUT_DEFAULT 5000
#define TIMEOUT_MAX 120000
#define LIMIT_DEFAULT 20
#define LIMIT_MAX 1000

/* What was told of a peer. */
typedef struct told {
    atl_hash_node hash;
    atl_peer_id peer;
    uint64_t seq;
} told;

/* Something to be delivered. */
typedef struct event {
    atl_list node;
    uint32_t what;
    int32_t code;
    uint32_t source;
    uint64_t rtt;
    const char *from; /* of the bootstrap node, which outlives the query; "" */
    size_t len;       /* of the envelope */
    char text[160];
    uint8_t data[];
} event;

struct atlas_query {
    atl_list node; /* ctx->queries */
    atlas_ctx *ctx;
    atl_find *find; /* NULL: it has ended, or there is nobody to ask */
    atlas_query_cb cb;
    void *user;
    atl_hashmap told;
    size_t records;
    size_t limit;
    atl_list events;
    atl_task deliver;
    uint8_t ended; /* the final event is queued */
    uint8_t cancelled;
};

/* ---- events ---- */

static event *queue(atlas_query *query, uint32_t what, int32_t code, const char *text,
                    const uint8_t *data, size_t len) {
    event *e = atl_calloc(&query->ctx->env, 1, sizeof(*e) + len);
    size_t n = strlen(text);

    if (e == NULL) {
        return NULL;
    }
    e->what = what;
    e->code = code;
    e->from = "";
    e->len = len;
    memcpy(e->text, text, n < sizeof(e->text) ? n : sizeof(e->text) - 1);
    if (len > 0) {
        memcpy(e->data, data, len);
    }
    atl_list_append(&query->events, &e->node);
    atl_post_event(&query->ctx->loop, &query->deliver);
    return e;
}

static void drop_events(atlas_query *query) {
    atl_list *node;

    while ((node = atl_list_pop(&query->events)) != NULL) {
        atl_free(&query->ctx->env, ATL_CONTAINER(node, event, node));
    }
}

void atl_query_free(atlas_query *query) {
    atl_env *env = &query->ctx->env;
    atl_hash_node *node;

    if (query->find != NULL) {
        atl_find_cancel(query->find);
    }
    drop_events(query);
    while ((node = atl_hashmap_any(&query->told)) != NULL) {
        atl_hashmap_remove(&query->told, node);
        atl_free(env, ATL_CONTAINER(node, told, hash));
    }
    atl_hashmap_free(&query->told);
    atl_task_cancel(&query->deliver);
    atl_list_remove(&query->node);
    query->ctx->query_count--;
    atl_free(env, query);
}

atlas_query *atl_query_of(atl_list *node) {
    return ATL_CONTAINER(node, atlas_query, node);
}

/* The end cannot fail for want of memory: its code is kept in the query itself. */
static void end(atlas_query *query, int32_t code) {
    static const char NONE[] = "";

    if (query->ended) {
        return;
    }
    query->ended = 1;
    if (queue(query, ATLAS_QUERY_END, code, code == ATLAS_OK ? NONE : atlas_error_text(code), NULL,
              0) == NULL) {
        drop_events(query);
        atl_post_event(&query->ctx->loop, &query->deliver);
    }
}

/* ---- records as the application sees them ---- */

typedef struct shown {
    char peer[ATLAS_PEER_ID_MAX];
    char addrs[ATL_RECORD_ADDRS][ATLAS_MULTIADDR_MAX];
    const char *list[ATL_RECORD_ADDRS];
    atl_record record;
    atlas_record out;
} shown;

static int show(const event *e, shown *s) {
    size_t n = 0;
    size_t i;

    if (atl_record_open(e->data, e->len, &s->record) != ATLAS_OK) {
        return 0;
    }
    atl_peer_id_text(&s->record.head.peer, s->peer);
    for (i = 0; i < s->record.n_addrs; i++) {
        s->record.addrs[i].has_peer = 1;
        s->record.addrs[i].peer = s->record.head.peer;
        if (atl_maddr_text(&s->record.addrs[i], s->addrs[n], sizeof(s->addrs[n])) == ATLAS_OK) {
            s->list[n] = s->addrs[n];
            n++;
        }
    }
    memset(&s->out, 0, sizeof(s->out));
    s->out.size = sizeof(s->out);
    s->out.peer = s->peer;
    s->out.seq = s->record.head.seq;
    s->out.issued_ms = s->record.head.issued * 1000;
    s->out.expires_ms =
        s->record.head.issued == 0 ? 0 : (s->record.head.issued + s->record.head.lifetime) * 1000;
    s->out.addrs = s->list;
    s->out.addr_count = n;
    s->out.offers = s->record.head.offers;
    s->out.source = e->source;
    s->out.from = e->from;
    s->out.rtt_ns = e->rtt;
    s->out.envelope = e->data;
    s->out.envelope_len = e->len;
    return 1;
}

static void deliver(atl_task *task) {
    atlas_query *query = task->user;
    atl_list *node = atl_list_pop(&query->events);
    atlas_query_event out = {.size = sizeof(out), .from = "", .text = ""};
    event *e = node == NULL ? NULL : ATL_CONTAINER(node, event, node);
    shown *s;

    if (e == NULL) {
        out.what = ATLAS_QUERY_END;
        out.code = ATLAS_ERR_NOMEM;
        out.text = atlas_error_text(ATLAS_ERR_NOMEM);
    } else {
        out.what = e->what;
        out.code = e->code;
        out.from = e->what == ATLAS_QUERY_FAILED ? e->from : "";
        out.text = e->text;
    }
    if (!atl_list_empty(&query->events)) {
        atl_post_event(&query->ctx->loop, task);
    }
    if (out.what == ATLAS_QUERY_RECORD) {
        s = atl_malloc(&query->ctx->env, sizeof(*s));
        if (s != NULL && show(e, s)) {
            out.record = &s->out;
            query->cb(query->user, query, &out);
        }
        atl_free(&query->ctx->env, s);
    } else {
        query->cb(query->user, query, &out);
    }
    atl_free(&query->ctx->env, e);
    if (out.what == ATLAS_QUERY_END) {
        atl_query_free(query);
    }
}

/* ---- what the search finds ---- */

/* 1 when it is news of that peer. */
static int is_news(atlas_query *query, const atl_record_head *head) {
    atl_hash_node *node = atl_hashmap_get(&query->told, &head->peer, sizeof(head->peer));
    told *t = node == NULL ? NULL : ATL_CONTAINER(node, told, hash);

    if (t != NULL && t->seq >= head->seq) {
        return 0;
    }
    if (t == NULL) {
        if (query->records >= query->limit) {
            return 0;
        }
        t = atl_calloc(&query->ctx->env, 1, sizeof(*t));
        if (t == NULL) {
            return 0;
        }
        t->peer = head->peer;
        if (atl_hashmap_add(&query->told, &t->hash, &t->peer, sizeof(t->peer)) != ATLAS_OK) {
            atl_free(&query->ctx->env, t);
            return 0;
        }
        query->records++;
    }
    t->seq = head->seq;
    return 1;
}

static void tell(atlas_query *query, const atl_record_cached *record, uint32_t source,
                 const char *from, uint64_t rtt) {
    event *e;

    if (!is_news(query, &record->head)) {
        return;
    }
    e = queue(query, ATLAS_QUERY_RECORD, ATLAS_OK, "", record->data, record->len);
    if (e != NULL) {
        e->source = source;
        e->from = from;
        e->rtt = rtt;
    }
}

static void on_record(void *user, const atl_record_cached *record, const atl_boot_node *from,
                      uint64_t rtt) {
    if (from == NULL) {
        tell(user, record, ATLAS_RECORD_CACHE, "", 0);
    } else {
        tell(user, record, ATLAS_RECORD_BOOTSTRAP, atl_boot_node_text(from), rtt);
    }
}

static void on_failed(void *user, const atl_boot_node *from, int32_t code, const char *text) {
    event *e = queue(user, ATLAS_QUERY_FAILED, code, text, NULL, 0);

    if (e != NULL) {
        e->from = atl_boot_node_text(from);
    }
}

static void on_end(void *user, int32_t code) {
    atlas_query *query = user;

    query->find = NULL;
    end(query, query->records > 0 ? ATLAS_OK : code);
}

static const atl_find_ops find_ops = {on_record, on_failed, on_end};

/* ---- the calls ---- */

static int32_t take_options(const atlas_query_options *options, atlas_query_options *out) {
    memset(out, 0, sizeof(*out));
    if (options != NULL) {
        if (options->size != sizeof(*options) || options->reserved != 0 || options->random > 1 ||
            options->fresh > 1) {
            return ATLAS_ERR_INVALID;
        }
        *out = *options;
    }
    out->timeout_ms = out->timeout_ms == 0 ? TIMEOUT_DEFAULT : out->timeout_ms;
    out->limit = out->limit == 0 ? LIMIT_DEFAULT : out->limit;
    return out->timeout_ms > TIMEOUT_MAX || out->limit > LIMIT_MAX ? ATLAS_ERR_INVALID : ATLAS_OK;
}

static int32_t query_new(atlas_ctx *ctx, size_t limit, atlas_query_cb cb, void *user,
                         atlas_query **out) {
    atlas_query *query;
    int32_t rv;

    if (ctx->query_count >= ATL_QUERIES_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    query = atl_calloc(&ctx->env, 1, sizeof(*query));
    if (query == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rv = atl_hashmap_init(&query->told, &ctx->env);
    if (rv != ATLAS_OK) {
        atl_free(&ctx->env, query);
        return rv;
    }
    query->ctx = ctx;
    query->cb = cb;
    query->user = user;
    query->limit = limit;
    atl_list_init(&query->events);
    atl_task_init(&query->deliver, deliver, query);
    atl_list_append(&ctx->queries, &query->node);
    ctx->query_count++;
    *out = query;
    return ATLAS_OK;
}

/* What the two have in common; `peer` NULL: by offer. */
static int32_t start(atlas_ctx *ctx, const atl_peer_id *peer, uint32_t offers,
                     const atlas_query_options *given, atlas_query_cb cb, void *user,
                     atlas_query **out) {
    atlas_query_options options;
    atl_record_cached known;
    atl_discovery *disc;
    atlas_query *query;
    int32_t rv = cb == NULL ? ATLAS_ERR_INVALID : take_options(given, &options);

    if (rv == ATLAS_OK) {
        rv = atl_ctx_open(ctx);
    }
    if (rv == ATLAS_OK) {
        rv = atl_ctx_discovery(ctx, &disc);
    }
    if (rv == ATLAS_OK) {
        rv = query_new(ctx, peer != NULL ? 1 : options.limit, cb, user, &query);
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    if (peer != NULL && !options.fresh &&
        atl_record_cache_get(atl_discovery_cache(disc), peer, &known)) {
        tell(query, &known, ATLAS_RECORD_CACHE, "", 0);
    }
    rv =
        peer != NULL
            ? atl_find_peer(disc, peer, options.timeout_ms * ATL_MS, &find_ops, query, &query->find)
            : atl_find_offers(disc, offers, options.limit, options.random != 0,
                              options.timeout_ms * ATL_MS, &find_ops, query, &query->find);
    if (rv == ATLAS_ERR_NO_BOOTSTRAP && query->records > 0) {
        end(query, ATLAS_OK);
        rv = ATLAS_OK;
    }
    if (rv != ATLAS_OK) {
        query->find = NULL;
        atl_query_free(query);
    } else if (out != NULL) {
        *out = query;
    }
    return rv;
}

int32_t atlas_lookup(atlas_ctx *ctx, const char *peer, const atlas_query_options *options,
                     atlas_query_cb cb, void *user, atlas_query **out) {
    atl_peer_id id;
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = peer == NULL ? ATLAS_ERR_INVALID : atl_peer_id_parse(peer, strlen(peer), &id);
    if (rv == ATLAS_OK) {
        rv = start(ctx, &id, 0, options, cb, user, out);
    }
    atl_ctx_leave(ctx);
    return rv;
}

int32_t atlas_discover(atlas_ctx *ctx, uint32_t offers, const atlas_query_options *options,
                       atlas_query_cb cb, void *user, atlas_query **out) {
    int32_t rv = atl_ctx_enter(ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = offers == ATLAS_OFFER_RELAY || offers == ATLAS_OFFER_BOOTSTRAP ||
                 offers == ATLAS_OFFER_DIALBACK
             ? start(ctx, NULL, offers, options, cb, user, out)
             : ATLAS_ERR_INVALID;
    atl_ctx_leave(ctx);
    return rv;
}

static void cancel(atlas_query *query, int32_t code) {
    if (query->cancelled || query->ended) {
        return;
    }
    query->cancelled = 1;
    if (query->find != NULL) {
        atl_find_cancel(query->find);
        query->find = NULL;
    }
    drop_events(query);
    end(query, code);
}

int32_t atlas_query_cancel(atlas_query *query) {
    int32_t rv = query == NULL ? ATLAS_ERR_INVALID : atl_ctx_enter(query->ctx);

    if (rv == ATLAS_OK) {
        cancel(query, ATLAS_ERR_CANCELLED);
        atl_ctx_leave(query->ctx);
    }
    return rv;
}

void atl_query_cancel_all(atlas_ctx *ctx) {
    atl_list *node;

    for (node = ctx->queries.next; node != &ctx->queries; node = node->next) {
        cancel(ATL_CONTAINER(node, atlas_query, node), ATLAS_ERR_SHUTDOWN);
    }
}
