/* The registry: life, expiry, what is answered at once. Puts and deletes are in registry_put.c. */
#include "discovery/registry_http.h"

#include "discovery/registry_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SOURCES 4096u /* addresses whose rates are remembered */
#define PUT_RATE 20u
#define PUT_BURST 200u
#define GET_RATE 200u
#define GET_BURST 1000u
#define EXPIRE_BUDGET 1000u             /* records in a turn */
#define EXPIRE_INTERVAL ATL_SECOND      /* at least */
#define FILE_INTERVAL (60 * ATL_SECOND) /* between two sweeps of the file */
#define ERROR_BODY 512
#define H3_REQUEST_CANCELLED 0x10cu

/* ---- answers ---- */

void atl_registry_respond(atl_h3_stream *stream, int32_t status, const atl_h3_field *field,
                          const atl_registry_body *body) {
    if (atl_h3_respond_with(stream, status, body->type, field, field != NULL, body->data,
                            body->len) != ATLAS_OK) {
        atl_h3_reset(stream, H3_REQUEST_CANCELLED);
    }
}

static uint64_t *counter_of(atl_registry_http_stats *stats, int32_t code) {
    switch (code) {
    case ATLAS_ERR_SIGNATURE:
    case ATLAS_ERR_UNSUPPORTED:
    case ATLAS_ERR_RECORD_SIGNER:
        return &stats->refused_signature;
    case ATLAS_ERR_RECORD_EXPIRED:
    case ATLAS_ERR_RECORD_FUTURE:
        return &stats->refused_expired;
    case ATLAS_ERR_PERMISSION:
    case ATLAS_ERR_RELAY_IDENTITY:
        return &stats->refused_identity;
    case ATLAS_ERR_RECORD_NOT_FOUND:
        return NULL;
    case ATLAS_ERR_RECORD_OLD:
        return &stats->refused_old;
    case ATLAS_ERR_TOO_LARGE:
        return &stats->refused_size;
    case ATLAS_ERR_RATE_LIMITED:
        return &stats->refused_rate;
    case ATLAS_ERR_LIMIT:
    case ATLAS_ERR_RECORD_LIMIT:
    case ATLAS_ERR_NOMEM:
        return &stats->refused_limit;
    case ATLAS_ERR_IO:
        return &stats->disk_errors;
    default:
        return &stats->refused_malformed;
    }
}

void atl_registry_refuse(atl_registry_http *registry, atl_h3_stream *stream, int32_t code,
                         const char *text, uint64_t seq) {
    static const atl_h3_field ALLOW = {"allow", "GET, HEAD, PUT, DELETE"};
    uint64_t *counter = counter_of(&registry->stats, code);
    char json[ERROR_BODY];
    atl_registry_body body = {json, 0, ATL_REGISTRY_JSON};
    atl_registry_error error;

    if (counter != NULL) {
        ++*counter;
    }
    atl_registry_error_of(code, &error);
    error.text = text != NULL ? text : error.text;
    error.seq = seq;
    body.len = atl_registry_error_json(&error, json, sizeof(json));
    atl_registry_respond(stream, error.status, error.status == 405 ? &ALLOW : NULL, &body);
}

int atl_registry_may(atl_registry_http *registry, atl_source_limit *limit, const atl_addr *from) {
    uint8_t key[8];
    size_t len = atl_addr_limit_key(from, key);

    return atl_source_limit_take(limit, key, len, registry->loop->now);
}

static void answer_record(atl_registry_http *registry, atl_h3_stream *stream,
                          const atl_peer_id *id) {
    uint64_t now = registry->loop->now;
    atl_h3_field field = {"cache-control", NULL};
    atl_registry_body body = {NULL, 0, "application/libp2p-peer-record"};
    atl_record_view view;
    char age[40];

    registry->stats.gets++;
    if (!atl_record_store_get(registry->store, id, now, &view)) {
        registry->stats.not_found++;
        atl_registry_refuse(registry, stream, ATLAS_ERR_RECORD_NOT_FOUND, NULL, 0);
        return;
    }
    registry->stats.found++;
    (void)snprintf(age, sizeof(age), "max-age=%" PRIu64,
                   view.expires > now ? (view.expires - now) / ATL_SECOND : 0);
    field.value = age;
    body.data = view.data;
    body.len = view.len;
    atl_registry_respond(stream, 200, &field, &body);
}

static size_t own_page(const atl_registry_http *registry, char *buf, size_t cap) {
    const atl_record_store_stats *store = atl_record_store_get_stats(registry->store);
    const atl_registry_http_stats *stats = &registry->stats;
    atl_registry_page page;

    memset(&page, 0, sizeof(page));
    page.version = registry->config.version;
    page.uptime = (registry->loop->now - registry->started) / ATL_SECOND;
    page.records = store->records;
    page.relays = atl_record_store_count(registry->store, ATLAS_OFFER_RELAY);
    page.bootstraps = atl_record_store_count(registry->store, ATLAS_OFFER_BOOTSTRAP);
    page.dialbacks = atl_record_store_count(registry->store, ATLAS_OFFER_DIALBACK);
    page.gets = stats->gets;
    page.found = stats->found;
    page.lists = stats->lists;
    page.puts = stats->puts;
    page.taken = store->puts;
    page.deletes = stats->deletes;
    page.refused = stats->refused_malformed + stats->refused_signature + stats->refused_expired +
                   stats->refused_old + stats->refused_limit + stats->refused_rate +
                   stats->refused_size + stats->refused_identity;
    page.memory = store->bytes;
    page.file = registry->file != NULL;
    return atl_registry_page_html(&page, buf, cap);
}

static void answer_page(atl_registry_http *registry, atl_h3_stream *stream) {
    static const atl_h3_field POLICY = {"content-security-policy",
                                        "default-src 'none'; style-src 'unsafe-inline'"};
    const atl_registry_http_config *config = &registry->config;
    char *buf = (char *)registry->body;
    atl_registry_body body = {buf, 0, ATL_REGISTRY_HTML};

    if (config->page != NULL) {
        body.len = config->page(config->user, buf, sizeof(registry->body));
    }
    if (body.len == 0 || body.len > sizeof(registry->body)) {
        body.len = own_page(registry, buf, sizeof(registry->body));
    }
    atl_registry_respond(stream, 200, &POLICY, &body);
}

/* GET and HEAD. */
static void answer(atl_registry_http *registry, atl_h3_stream *stream,
                   const atl_registry_target *target, const atl_addr *from) {
    atl_registry_body body;

    if (!atl_registry_may(registry, registry->get_limit, from)) {
        atl_registry_refuse(registry, stream, ATLAS_ERR_RATE_LIMITED, NULL, 0);
        return;
    }
    switch (target->what) {
    case ATL_REGISTRY_PAGE:
        answer_page(registry, stream);
        break;
    case ATL_REGISTRY_RECORD:
        answer_record(registry, stream, &target->peer);
        break;
    default:
        registry->stats.lists++;
        atl_registry_list(registry->store, target, registry->loop->now, registry->body, &body);
        atl_registry_respond(stream, 200, NULL, &body);
    }
}

/* ---- the hooks of the HTTP server ---- */

static int on_request(void *user, atl_h3_stream *stream, const atl_h3_request *request,
                      const atl_requester *from, void **request_user) {
    atl_registry_http *registry = user;
    const char *method = request->method;
    atl_registry_target target;
    const char *why = NULL;
    int32_t rc = atl_registry_parse(request->path, &target, &why);

    if (rc == ATLAS_ERR_NOT_FOUND) {
        return 0;
    }
    *request_user = NULL;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        if (rc == ATLAS_OK) {
            answer(registry, stream, &target, &from->remote);
            return 1;
        }
    } else if (target.what != ATL_REGISTRY_RECORD ||
               (strcmp(method, "PUT") != 0 && strcmp(method, "DELETE") != 0)) {
        rc = ATLAS_ERR_STATE;
        why = "this is not done with it";
    }
    if (rc != ATLAS_OK) {
        atl_registry_refuse(registry, stream, rc, why, 0);
        return 1;
    }
    *request_user =
        atl_registry_put_begin(registry, stream, &target.peer, from, strcmp(method, "DELETE") == 0);
    return 1;
}

static void on_data(void *user, void *request_user, atl_h3_stream *stream, const uint8_t *data,
                    size_t len) {
    (void)user;
    (void)stream;
    if (request_user != NULL) {
        atl_registry_put_data(request_user, data, len);
    }
}

static void on_end(void *user, void *request_user, atl_h3_stream *stream) {
    (void)user;
    (void)stream;
    if (request_user != NULL) {
        atl_registry_put_end(request_user);
    }
}

static void on_closed(void *user, void *request_user, atl_h3_stream *stream) {
    (void)user;
    (void)stream;
    if (request_user != NULL) {
        atl_registry_put_closed(request_user);
    }
}

const atl_requests_ops atl_registry_http_ops = {
    .on_request = on_request,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
};

/* ---- expiry ---- */

void atl_registry_arm(atl_registry_http *registry) {
    uint64_t deadline = atl_record_store_deadline(registry->store);
    uint64_t soonest = registry->loop->now + EXPIRE_INTERVAL;

    /* what has expired is not told anyway: dropping it may wait */
    if (deadline < soonest) {
        deadline = soonest;
    }
    registry->file_stale |=
        (uint8_t)(registry->file != NULL && atl_store_file_pending(registry->file) > 0);
    if (registry->file_stale && registry->file_expiry < deadline) {
        deadline = registry->file_expiry;
    }
    if (deadline < registry->expiry.deadline) {
        atl_timer_set(registry->loop, &registry->expiry, deadline);
    }
}

/* What was left for the next commit, and rows that have expired. */
static void sweep_file(atl_registry_http *registry) {
    int32_t rc = atl_store_file_pending(registry->file) > 0
                     ? atl_store_file_commit(registry->file)
                     : atl_store_file_expire(registry->file, atl_env_wall_ms(registry->env));

    if (rc != ATLAS_OK) {
        registry->stats.disk_errors++;
    }
}

static void on_expiry(atl_timer *timer, uint64_t now) {
    atl_registry_http *registry = timer->user;
    size_t n = atl_record_store_expire(registry->store, now, EXPIRE_BUDGET);

    registry->file_stale |= (uint8_t)(n > 0 && registry->file != NULL);
    if (registry->file_stale && now >= registry->file_expiry) {
        registry->file_stale = 0;
        registry->file_expiry = now + FILE_INTERVAL;
        sweep_file(registry);
    }
    if (n == EXPIRE_BUDGET) {
        atl_timer_set(registry->loop, timer, now);
    } else {
        atl_registry_arm(registry);
    }
}

/* ---- life ---- */

static int32_t open_file(atl_registry_http *registry) {
    const atl_registry_http_config *config = &registry->config;
    int64_t wall = atl_env_wall_ms(registry->env);
    size_t loaded = 0;
    size_t refused = 0;
    int32_t rc;

    if (config->path == NULL) {
        return ATLAS_OK;
    }
    rc = atl_store_file_open(registry->env, config->path, &registry->file);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = atl_store_file_load(registry->file, registry->store, wall, registry->loop->now,
                             *config->max_clock_drift, &loaded, &refused);
    if (rc == ATLAS_OK) {
        atl_log(registry->env, ATLAS_LOG_INFO, "registry: %zu records read, %zu refused", loaded,
                refused);
    }
    return rc;
}

int32_t atl_registry_http_new(const atl_registry_http_config *config, atl_registry_http **out) {
    atl_env *env = config->loop->env;
    atl_registry_http *registry = atl_calloc(env, 1, sizeof(*registry));
    int32_t rc;

    if (registry == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    registry->env = env;
    registry->loop = config->loop;
    registry->config = *config;
    registry->started = config->loop->now;
    registry->file_expiry = config->loop->now + FILE_INTERVAL;
    registry->config.limits.drift = *config->max_clock_drift;
    atl_timer_init(&registry->expiry, on_expiry, registry);
    atl_registry_put_init(registry);
    rc = atl_source_limit_new(env, SOURCES, PUT_RATE, PUT_BURST, &registry->put_limit);
    if (rc == ATLAS_OK) {
        rc = atl_source_limit_new(env, SOURCES, GET_RATE, GET_BURST, &registry->get_limit);
    }
    if (rc == ATLAS_OK) {
        rc = atl_record_store_new(env, &registry->config.limits, &registry->store);
    }
    if (rc == ATLAS_OK) {
        rc = open_file(registry);
    }
    if (rc != ATLAS_OK) {
        atl_registry_http_free(registry);
        return rc;
    }
    atl_registry_arm(registry);
    *out = registry;
    return ATLAS_OK;
}

void atl_registry_http_free(atl_registry_http *registry) {
    if (registry == NULL) {
        return;
    }
    atl_registry_put_done(registry);
    atl_timer_clear(registry->loop, &registry->expiry);
    atl_store_file_close(registry->file);
    atl_record_store_free(registry->store);
    atl_source_limit_free(registry->get_limit);
    atl_source_limit_free(registry->put_limit);
    atl_free(registry->env, registry);
}

atl_record_store *atl_registry_http_store(atl_registry_http *registry) {
    return registry->store;
}

const atl_registry_http_stats *atl_registry_http_get_stats(const atl_registry_http *registry) {
    return &registry->stats;
}

void atl_registry_http_set_put_rate(atl_registry_http *registry, uint64_t rate, uint64_t burst) {
    atl_source_limit_set_rate(registry->put_limit, rate, burst);
}

void atl_registry_http_set_get_rate(atl_registry_http *registry, uint64_t rate, uint64_t burst) {
    atl_source_limit_set_rate(registry->get_limit, rate, burst);
}
