#include "discovery_tools.h"

#include "discovery/record_cache.h"
#include "discovery/records_page.h"
#include "discovery/registry_http.h"
#include "relay/service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define ASK_TIMEOUT (10 * SECOND)
#define SLOW (4 * SECOND)

/* ---- look-ups ---- */

static void on_query(void *user, atlas_query *query, const atlas_query_event *event) {
    told *t = user;
    told_failure *at;

    (void)query;
    assert_int_equal(t->ended, 0);
    if (event->what == ATLAS_QUERY_RECORD) {
        t->record_at = t->records++ == 0 ? sim_now(t->net) : t->record_at;
        t->seq = event->record->seq;
        t->source = event->record->source;
    } else if (event->what == ATLAS_QUERY_FAILED) {
        at = &t->failures[t->failed % TOLD_FAILURES];
        t->failed++;
        at->code = event->code;
        at->at = sim_now(t->net);
        snprintf(at->from, sizeof(at->from), "%s", event->from);
        snprintf(at->text, sizeof(at->text), "%s", event->text);
    } else {
        t->ended++;
        t->code = event->code;
        t->ended_at = sim_now(t->net);
    }
}

static void told_begin(told *t, const sim_node *node) {
    memset(t, 0, sizeof(*t));
    t->net = sim_host_net(node->host);
    t->asked_at = sim_now(t->net);
}

int32_t told_lookup(told *t, sim_node *node, const char *peer, const atlas_query_options *options) {
    int32_t rv;

    told_begin(t, node);
    rv = atlas_lookup(node->ctx, peer, options, on_query, t, NULL);
    sim_host_touch(node->host);
    return rv;
}

int32_t told_discover(told *t, sim_node *node, uint32_t offer, const atlas_query_options *options) {
    int32_t rv;

    told_begin(t, node);
    rv = atlas_discover(node->ctx, offer, options, on_query, t, NULL);
    sim_host_touch(node->host);
    return rv;
}

static int told_over(void *user) {
    return ((told *)user)->ended;
}

void told_wait(told *t, double seconds) {
    assert_true(sim_run(t->net, sim_now(t->net) + (uint64_t)(seconds * 1e9), told_over, t));
}

const told_failure *told_of(const told *t, const sim_node *server) {
    size_t i;

    for (i = 0; i < TOLD_FAILURES && i < (size_t)t->failed; i++) {
        if (strstr(t->failures[i].from, world_id(server)) != NULL) {
            return &t->failures[i];
        }
    }
    return NULL;
}

/* ---- requests by hand ---- */

void asker_init(asker *a, sim_node *node, const sim_node *server) {
    atl_link_config config = {.ep = node->ctx->ep,
                              .handshake_timeout = &node->ctx->peers.limits.handshake_timeout};

    memset(a, 0, sizeof(*a));
    a->node = node;
    assert_int_equal(atl_maddr_parse(server->addr, &config.addr), ATLAS_OK);
    assert_int_equal(atl_link_new(&config, &a->link), ATLAS_OK);
}

void asker_done(asker *a) {
    assert_int_equal(atl_ctx_enter(a->node->ctx), ATLAS_OK);
    atl_link_free(a->link);
    atl_ctx_leave(a->node->ctx);
    sim_host_touch(a->node->host);
    a->link = NULL;
}

static void on_reply(void *user, const atl_link_reply *reply) {
    asker *a = user;

    a->answers++;
    a->code = reply->code;
    a->status = reply->status;
    a->len = reply->len < sizeof(a->body) - 1 ? reply->len : sizeof(a->body) - 1;
    if (a->len > 0) {
        memcpy(a->body, reply->body, a->len);
    }
    a->body[a->len] = '\0';
    a->by_class[reply->code == ATLAS_OK && reply->status < 600 ? reply->status / 100 : 0]++;
}

int asker_send(asker *a, const char *method, const char *path, const void *body, size_t len) {
    atl_link_request *request;
    int32_t rv;

    assert_int_equal(atl_ctx_enter(a->node->ctx), ATLAS_OK);
    rv = atl_link_ask(a->link, method, path, body, len, ASK_TIMEOUT, on_reply, a, &request);
    atl_ctx_leave(a->node->ctx);
    sim_host_touch(a->node->host);
    a->sent += rv == ATLAS_OK;
    return rv == ATLAS_OK;
}

static int answered(void *user) {
    const asker *a = user;

    return a->answers == a->sent;
}

int32_t asker_ask(asker *a, const char *method, const char *path, const void *body, size_t len) {
    sim_net *net = sim_host_net(a->node->host);

    assert_true(asker_send(a, method, path, body, len));
    assert_true(sim_run(net, sim_now(net) + 2 * ASK_TIMEOUT, answered, a));
    return a->code == ATLAS_OK ? a->status : a->code;
}

const char *records_path(const char *peer) {
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", ATL_RECORDS_PATH, peer);
    return path;
}

/* ---- records of any content ---- */

void forge(forged *f, uint32_t n) {
    uint8_t seed[32] = {0xf0, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16)};

    memset(f, 0, sizeof(*f));
    assert_int_equal(atlas_key_from_seed(seed, &f->key), ATLAS_OK);
    atl_key_id(f->key, &f->record.head.peer);
    atl_peer_id_text(&f->record.head.peer, f->peer);
    f->record.head.seq = 1;
    f->record.head.lifetime = ATL_RECORD_LIFETIME;
}

void forge_done(forged *f) {
    atlas_key_free(f->key);
    f->key = NULL;
}

void forge_addr(forged *f, const char *format, ...) {
    char text[ATLAS_MULTIADDR_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_true(f->record.n_addrs < ATL_RECORD_ADDRS);
    if (atl_maddr_parse(text, &f->record.addrs[f->record.n_addrs++]) != ATLAS_OK) {
        fail_msg("%s cannot be parsed", text);
    }
}

void forge_sign(forged *f, sim_node *clock, int64_t ago) {
    int64_t wall = atl_env_wall_ms(&clock->ctx->env);

    f->record.head.issued = (uint64_t)(wall / 1000 - ago);
    f->record.head.n_addrs = (uint32_t)f->record.n_addrs;
    assert_int_equal(atl_record_make(f->key, &f->record, f->data, sizeof(f->data), &f->len),
                     ATLAS_OK);
}

int32_t forge_keep(const forged *f, sim_node *boot, const char *ip) {
    atl_record_put put = {.head = &f->record.head, .data = f->data, .len = f->len};
    atl_addr source;
    int32_t rv;

    assert_int_equal(atl_addr_parse_ip(ip, strlen(ip), 1, &source), ATLAS_OK);
    assert_int_equal(atl_ctx_enter(boot->ctx), ATLAS_OK);
    put.source = &source;
    put.expires = boot->ctx->loop.now + 3600 * SECOND;
    rv = atl_record_store_put(atl_registry_http_store(boot->ctx->registry), &put,
                              boot->ctx->loop.now);
    atl_ctx_leave(boot->ctx);
    sim_host_touch(boot->host);
    return rv;
}

/* ---- bootstrap nodes that lie ---- */

static void say(atl_h3_stream *stream, int32_t status, const void *body, size_t len) {
    (void)atl_h3_respond(stream, status, "application/octet-stream", body, len);
}

static void say_noise(liar *l, atl_h3_stream *stream, size_t len) {
    static uint8_t noise[ATL_LINK_BODY_MAX + 1000];
    size_t i;

    for (i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t random = sim_random(sim_host_net(l->node->host));

        memcpy(noise + i, &random, len - i < sizeof(random) ? len - i : sizeof(random));
    }
    say(stream, 200, noise, len);
}

/* A cursor that goes on for ever; each page says the same. */
static void say_page(liar *l, atl_h3_stream *stream) {
    uint8_t buf[ATL_RECORD_MAX + 64];
    atl_records_page page;
    const uint8_t *data;
    size_t len;

    atl_records_page_begin(&page, buf, sizeof(buf));
    assert_int_equal(atl_records_page_add(&page, l->record, l->len), ATLAS_OK);
    data = atl_records_page_finish(&page, l->lists, &len);
    say(stream, 200, data, len);
}

static void say_later(liar *l, atl_h3_stream *stream) {
    size_t i;

    for (i = 0; i < LIAR_WAITING; i++) {
        if (l->waiting[i].stream == NULL) {
            l->waiting[i].stream = stream;
            l->waiting[i].due = sim_now(sim_host_net(l->node->host)) + SLOW;
            return;
        }
    }
    say(stream, 503, "", 0);
}

static int on_request(void *user, atl_h3_stream *stream, const atl_h3_request *request,
                      const atl_requester *from, void **request_user) {
    liar *l = user;
    int is_list = strchr(request->path, '?') != NULL;

    (void)from;
    if (strncmp(request->path, ATL_RECORDS_PATH, strlen(ATL_RECORDS_PATH)) != 0) {
        return 0;
    }
    *request_user = l;
    l->asked++;
    l->lists += (uint64_t)is_list;
    switch (l->kind) {
    case LIAR_ENDLESS:
        if (is_list) {
            say_page(l, stream);
        } else {
            say(stream, 404, "", 0);
        }
        break;
    case LIAR_FORGED:
    case LIAR_ANOTHER:
        say(stream, 200, l->record, l->len);
        break;
    case LIAR_SLOW:
        say_later(l, stream);
        break;
    case LIAR_ERROR:
        say(stream, 500, "no", 2);
        break;
    case LIAR_HUGE:
        say_noise(l, stream, ATL_LINK_BODY_MAX + 1000);
        break;
    default:
        say_noise(l, stream, 700);
    }
    return 1;
}

static void on_closed(void *user, void *request_user, atl_h3_stream *stream) {
    liar *l = user;
    size_t i;

    (void)request_user;
    for (i = 0; i < LIAR_WAITING; i++) {
        if (l->waiting[i].stream == stream) {
            l->waiting[i].stream = NULL;
        }
    }
}

static const atl_requests_ops LIES = {.on_request = on_request, .on_closed = on_closed};

void liar_begin(liar *l, sim_node *node, int kind) {
    atl_relay_server *server = node->ctx->relay_server;
    size_t i;

    memset(l, 0, sizeof(*l));
    l->node = node;
    l->kind = kind;
    for (i = 0; i < server->n_parts; i++) {
        if (server->parts[i].user == node->ctx->registry) {
            server->parts[i].ops = &LIES;
            server->parts[i].user = l;
            return;
        }
    }
    fail_msg("no registry to lie for");
}

void liar_give(liar *l, const void *record, size_t len) {
    memcpy(l->record, record, len);
    l->len = len;
}

void liar_step(liar *l) {
    size_t i;

    assert_int_equal(atl_ctx_enter(l->node->ctx), ATLAS_OK);
    for (i = 0; i < LIAR_WAITING; i++) {
        atl_h3_stream *stream = l->waiting[i].stream;

        if (stream != NULL && sim_now(sim_host_net(l->node->host)) >= l->waiting[i].due) {
            l->waiting[i].stream = NULL;
            say(stream, 200, l->record, l->len);
        }
    }
    atl_ctx_leave(l->node->ctx);
    sim_host_touch(l->node->host);
}

void tools_boot(world *w, sim_node *node, size_t n) {
    char ip[64];

    snprintf(ip, sizeof(ip), "203.1.%zu.1", n);
    sim_node_on_host(node, sim_host_new(w->net, ip), (uint32_t)(40 + n), 4001);
    assert_int_equal(atlas_bootstrap_start(node->ctx, NULL), ATLAS_OK);
}

/* ---- what a registry has ---- */

static void id_of(const sim_node *node, atl_peer_id *out) {
    const char *text = world_id(node);

    assert_int_equal(atl_peer_id_parse(text, strlen(text), out), ATLAS_OK);
}

uint64_t boot_has(sim_node *boot, const sim_node *of) {
    atl_record_view view;
    atl_peer_id peer;

    id_of(of, &peer);
    return atl_record_store_get(atl_registry_http_store(boot->ctx->registry), &peer,
                                boot->ctx->loop.now, &view)
               ? view.seq
               : 0;
}

void boot_stats(const sim_node *boot, atlas_registry_stats *out) {
    out->size = sizeof(*out);
    assert_int_equal(atlas_registry_get_stats(boot->ctx, out), ATLAS_OK);
}

uint64_t cache_has(sim_node *node, const sim_node *of) {
    atl_record_cached cached;
    atl_peer_id peer;

    id_of(of, &peer);
    return node->ctx->discovery != NULL &&
                   atl_record_cache_get(atl_discovery_cache(node->ctx->discovery), &peer, &cached)
               ? cached.head.seq
               : 0;
}
