/* Puts and deletes. A body is collected within bounds of size, number and time, and checked.
 * Without a file that is all: the store decides. With one, the complete requests of a turn are
 * written in one transaction, and only then does the store learn of them, and their askers too: who
 * was told that a record is kept, or saw it, can rely on it. */
#include "discovery/registry_internal.h"

#include <string.h>

#define ANSWER_BODY 64

/* ---- the end of a request ---- */

/* No longer one of those that wait: only its stream is awaited. Returns that. */
static atl_h3_stream *release(atl_registry_request *request) {
    atl_h3_stream *stream = request->stream;

    if (stream != NULL) {
        atl_list_remove(&request->node);
        request->registry->n_puts--;
        atl_free(request->registry->env, request->body);
        request->body = NULL;
        request->stream = NULL;
    }
    return stream;
}

static void refuse(atl_registry_request *request, int32_t code, const char *why) {
    atl_registry_http *registry = request->registry;
    uint64_t seq =
        code == ATLAS_ERR_RECORD_OLD ? atl_record_store_seq(registry->store, &request->id) : 0;

    atl_registry_refuse(registry, release(request), code, why, seq);
}

/* The request may be gone when this returns. */
static void finish(atl_registry_request *request) {
    char json[ANSWER_BODY];
    atl_registry_body body = {json, 0, ATL_REGISTRY_JSON};
    int32_t code = request->code;

    if (code != ATLAS_OK && code != ATLAS_ERR_EXISTS) {
        refuse(request, code, NULL);
    } else if (request->is_delete) {
        body.type = NULL;
        atl_registry_respond(release(request), 204, NULL, &body);
    } else {
        body.len = atl_registry_ttl_json(request->left / ATL_SECOND, json, sizeof(json));
        atl_registry_respond(release(request), 200, NULL, &body);
    }
}

/* ---- the store ---- */

/* What the store answers, with records of one address told apart from a full store. */
static int32_t keep(atl_registry_http *registry, const atl_record_put *put) {
    const atl_record_store_stats *stats = atl_record_store_get_stats(registry->store);
    uint64_t full = stats->refused_full;
    int32_t rc = atl_record_store_put(registry->store, put, registry->loop->now);

    return rc == ATLAS_ERR_RECORD_LIMIT && stats->refused_full == full ? ATLAS_ERR_LIMIT : rc;
}

static atl_record_put put_of(const atl_registry_request *request) {
    atl_record_put put;

    memset(&put, 0, sizeof(put));
    put.head = &request->head;
    put.data = request->body;
    put.len = request->len;
    put.source = &request->from;
    put.verified = request->verified;
    put.expires = request->registry->loop->now + request->left;
    return put;
}

/* The store learns of a request. */
static int32_t apply(atl_registry_request *request) {
    atl_registry_http *registry = request->registry;
    atl_record_put put;

    if (request->is_delete) {
        return atl_record_store_delete(registry->store, &request->id, registry->loop->now)
                   ? ATLAS_OK
                   : ATLAS_ERR_RECORD_NOT_FOUND;
    }
    put = put_of(request);
    return keep(registry, &put);
}

/* ---- the file ---- */

static int64_t wall_at(const atl_registry_http *registry, uint64_t at) {
    uint64_t now = registry->loop->now;

    return atl_env_wall_ms(registry->env) + (at > now ? (int64_t)((at - now) / ATL_MS) : 0);
}

/* What the store would say, as far as it can be told before. */
static int32_t foresee(const atl_registry_http *registry, const atl_record_put *put) {
    uint64_t known = atl_record_store_seq(registry->store, &put->head->peer);
    atl_record_view view;

    if (put->head->seq > known || known == 0) {
        return ATLAS_OK;
    }
    return put->head->seq == known &&
                   atl_record_store_get(registry->store, &put->head->peer, registry->loop->now,
                                        &view) &&
                   view.len == put->len && memcmp(view.data, put->data, put->len) == 0
               ? ATLAS_OK
               : ATLAS_ERR_RECORD_OLD;
}

/* Queues a request's change. */
static int32_t write_one(const atl_registry_request *request) {
    atl_registry_http *registry = request->registry;
    atl_record_view view;
    atl_record_put put;
    int32_t rc;

    if (request->is_delete) {
        if (!atl_record_store_get(registry->store, &request->id, registry->loop->now, &view)) {
            return ATLAS_ERR_RECORD_NOT_FOUND;
        }
        return atl_store_file_tombstone(registry->file, &request->id, view.seq,
                                        wall_at(registry, view.expires));
    }
    put = put_of(request);
    rc = foresee(registry, &put);
    return rc == ATLAS_OK ? atl_store_file_put(registry->file, &put, wall_at(registry, put.expires))
                          : rc;
}

/* Whether what was written for a request is what the store has made of it. */
static int is_as_written(const atl_registry_request *request) {
    const atl_record_put written = put_of(request);
    atl_record_head head;
    atl_record_put put;
    atl_addr source;

    return request->code == ATLAS_OK && !request->is_delete &&
           atl_record_store_state(request->registry->store, &request->id, &head, &source, &put) &&
           head.seq == request->head.seq && put.expires == written.expires &&
           (put.verified != 0) == (written.verified != 0);
}

static int32_t commit(atl_registry_http *registry) {
    return atl_store_file_pending(registry->file) == 0 ? ATLAS_OK
                                                       : atl_store_file_commit(registry->file);
}

static int has_peer(const atl_list *list, const atl_peer_id *id) {
    for (const atl_list *node = list->next; node != list; node = node->next) {
        const atl_registry_request *request = ATL_CONTAINER(node, atl_registry_request, node);

        if (atl_peer_id_equal(&request->id, id)) {
            return 1;
        }
    }
    return 0;
}

/* The file gets what the store has. It may wait for the next commit: until then the file has a
 * record that was refused or made way, or lets one live for longer, which a restart sets right; but
 * not for a deleted one, whose number must not be forgotten too early. */
static void sync_file(atl_registry_http *registry, const atl_peer_id *id) {
    (void)atl_store_file_sync(registry->file, registry->store, id, atl_env_wall_ms(registry->env),
                              registry->loop->now);
}

/* Writes the first requests that wait, each of another node than the others, so that what is said
 * before about each holds. They are in `batch` then, with their codes. */
static void write_batch(atl_registry_http *registry, atl_list *batch) {
    int deleted = 0;
    int32_t rc;

    while (!atl_list_empty(&registry->waiting)) {
        atl_registry_request *request =
            ATL_CONTAINER(registry->waiting.next, atl_registry_request, node);

        if (has_peer(batch, &request->id)) {
            break;
        }
        atl_list_remove(&request->node);
        atl_list_append(batch, &request->node);
        request->code = write_one(request);
    }
    rc = commit(registry);
    for (atl_list *node = batch->next; node != batch; node = node->next) {
        atl_registry_request *request = ATL_CONTAINER(node, atl_registry_request, node);

        if (request->code == ATLAS_OK) {
            request->code = rc == ATLAS_OK ? apply(request) : ATLAS_ERR_IO;
            deleted |= rc == ATLAS_OK && request->is_delete;
            if (rc == ATLAS_OK && !is_as_written(request)) {
                sync_file(registry, &request->id);
            }
        }
    }
    if (deleted) {
        (void)commit(registry);
    }
}

static void on_commit(atl_task *task) {
    atl_registry_http *registry = task->user;

    while (!atl_list_empty(&registry->waiting)) {
        atl_list batch;

        atl_list_init(&batch);
        write_batch(registry, &batch);
        while (!atl_list_empty(&batch)) { /* an answer may end other requests */
            finish(ATL_CONTAINER(batch.next, atl_registry_request, node));
        }
    }
    atl_registry_arm(registry);
}

/* ---- what may be put ---- */

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* Whether a record that its own node puts is vouched for by where it comes from. */
static int vouches(const atl_record *record, const atl_addr *from) {
    if (record->head.n_addrs == 0) {
        return 1;
    }
    for (size_t i = 0; i < record->n_addrs; i++) {
        const atl_maddr *addr = &record->addrs[i];

        if (addr->has_relay || (addr->host_kind == ATL_HOST_IP && same_ip(&addr->addr, from))) {
            return 1;
        }
    }
    return 0;
}

/* How long a record may be kept; the clocks of others are believed as far as theirs may differ. */
static uint64_t time_left(const atl_registry_http *registry, const atl_record_head *head,
                          int64_t wall) {
    const atl_registry_http_config *config = &registry->config;
    uint64_t ttl = *config->ttl < ATL_RECORD_LIFETIME_MAX ? *config->ttl : ATL_RECORD_LIFETIME_MAX;
    uint64_t drift = *config->max_clock_drift;

    drift = drift < ATL_RECORD_LIFETIME_MAX ? drift : ATL_RECORD_LIFETIME_MAX;
    return atl_record_time_left(head, wall - (int64_t)drift * 1000, ttl * ATL_SECOND);
}

static int32_t check(atl_registry_request *request, const char **why) {
    atl_registry_http *registry = request->registry;
    int64_t wall = atl_env_wall_ms(registry->env);
    atl_record record;
    int32_t rc = atl_record_open(request->body, request->len, &record);

    if (rc != ATLAS_OK) {
        return rc;
    }
    if (!atl_peer_id_equal(&record.head.peer, &request->id)) {
        *why = "the record is of another node than the path says";
        return ATLAS_ERR_MALFORMED;
    }
    rc = atl_record_in_time(&record.head, wall, *registry->config.max_clock_drift);
    if (rc != ATLAS_OK) {
        return rc;
    }
    atl_record_store_limits_of(registry->store)->drift = *registry->config.max_clock_drift;
    request->head = record.head;
    request->left = time_left(registry, &record.head, wall);
    request->verified =
        (uint8_t)(request->has_peer && atl_peer_id_equal(&request->peer, &record.head.peer) &&
                  vouches(&record, &request->from));
    return request->left > 0 ? ATLAS_OK : ATLAS_ERR_RECORD_EXPIRED;
}

/* A complete and valid request: at once, or with the others of this turn. */
static void submit(atl_registry_request *request) {
    atl_registry_http *registry = request->registry;

    if (registry->file != NULL) {
        atl_list_remove(&request->node);
        atl_list_append(&registry->waiting, &request->node);
        atl_post_work(registry->loop, &registry->commit);
        return;
    }
    request->code = apply(request);
    atl_registry_arm(registry);
    finish(request);
}

/* ---- requests ---- */

/* A body that does not come makes room for others. */
static void on_coming(atl_timer *timer, uint64_t now) {
    atl_registry_http *registry = timer->user;

    while (!atl_list_empty(&registry->coming)) {
        atl_registry_request *request =
            ATL_CONTAINER(registry->coming.next, atl_registry_request, node);

        if (request->deadline > now) {
            atl_timer_set(registry->loop, timer, request->deadline);
            return;
        }
        refuse(request, ATLAS_ERR_TIMEOUT, NULL);
    }
}

static size_t count_from(const atl_list *list, const uint8_t key[8], size_t key_len) {
    size_t n = 0;

    for (const atl_list *node = list->next; node != list; node = node->next) {
        const atl_registry_request *request = ATL_CONTAINER(node, atl_registry_request, node);
        uint8_t other[8];

        n += atl_addr_limit_key(&request->from, other) == key_len &&
             memcmp(key, other, key_len) == 0;
    }
    return n;
}

/* Whether a further request of this address may wait. */
static int has_room(const atl_registry_http *registry, const atl_addr *from) {
    uint8_t key[8];
    size_t len = atl_addr_limit_key(from, key);

    return registry->n_puts < ATL_REGISTRY_PUTS &&
           count_from(&registry->coming, key, len) + count_from(&registry->waiting, key, len) <
               ATL_REGISTRY_PUTS_SOURCE;
}

static int32_t may_begin(atl_registry_http *registry, const atl_peer_id *id,
                         const atl_requester *from, int is_delete) {
    atl_record_view view;

    if (!atl_registry_may(registry, registry->put_limit, &from->remote) ||
        !has_room(registry, &from->remote)) {
        return ATLAS_ERR_RATE_LIMITED;
    }
    if (!is_delete) {
        return ATLAS_OK;
    }
    if (from->peer == NULL || !atl_peer_id_equal(from->peer, id)) {
        return from->peer == NULL ? ATLAS_ERR_PERMISSION : ATLAS_ERR_RELAY_IDENTITY;
    }
    return atl_record_store_get(registry->store, id, registry->loop->now, &view)
               ? ATLAS_OK
               : ATLAS_ERR_RECORD_NOT_FOUND;
}

static atl_registry_request *new_request(atl_registry_http *registry, int is_delete) {
    atl_registry_request *request = atl_calloc(registry->env, 1, sizeof(*request));

    if (request != NULL && !is_delete) {
        request->body = atl_malloc(registry->env, ATL_RECORD_MAX);
        if (request->body == NULL) {
            atl_free(registry->env, request);
            request = NULL;
        }
    }
    return request;
}

atl_registry_request *atl_registry_put_begin(atl_registry_http *registry, atl_h3_stream *stream,
                                             const atl_peer_id *id, const atl_requester *from,
                                             int is_delete) {
    int32_t rc = may_begin(registry, id, from, is_delete);
    atl_registry_request *request = NULL;

    registry->stats.puts += is_delete == 0;
    registry->stats.deletes += is_delete != 0;
    if (rc == ATLAS_OK) {
        request = new_request(registry, is_delete);
        rc = request == NULL ? ATLAS_ERR_NOMEM : ATLAS_OK;
    }
    if (rc != ATLAS_OK) {
        const char *why = rc == ATLAS_ERR_PERMISSION || rc == ATLAS_ERR_RELAY_IDENTITY
                              ? "only its own node deletes a record"
                              : NULL;

        atl_registry_refuse(registry, stream, rc, why, 0);
        return NULL;
    }
    request->registry = registry;
    request->stream = stream;
    request->id = *id;
    request->from = from->remote;
    request->is_delete = (uint8_t)is_delete;
    request->deadline = registry->loop->now + ATL_REGISTRY_PUT_TIMEOUT;
    if (from->peer != NULL) {
        request->peer = *from->peer;
        request->has_peer = 1;
    }
    registry->n_puts++;
    atl_list_append(&registry->coming, &request->node);
    if (is_delete) {
        submit(request);
    } else if (registry->coming_timer.deadline == ATLAS_NO_DEADLINE) {
        atl_timer_set(registry->loop, &registry->coming_timer, request->deadline);
    }
    return request;
}

void atl_registry_put_data(atl_registry_request *request, const uint8_t *data, size_t len) {
    if (request->body == NULL) {
        return;
    }
    if (len > ATL_RECORD_MAX - request->len) {
        refuse(request, ATLAS_ERR_TOO_LARGE, NULL);
        return;
    }
    memcpy(request->body + request->len, data, len);
    request->len += len;
}

void atl_registry_put_end(atl_registry_request *request) {
    const char *why = NULL;
    int32_t rc;

    if (request->body == NULL) {
        return;
    }
    rc = check(request, &why);
    if (rc == ATLAS_OK) {
        submit(request);
    } else {
        refuse(request, rc, why);
    }
}

void atl_registry_put_closed(atl_registry_request *request) {
    atl_env *env = request->registry->env;

    (void)release(request);
    atl_free(env, request);
}

/* ---- the node's own record ---- */

int32_t atl_registry_http_put_own(atl_registry_http *registry, const uint8_t *data, size_t len) {
    int64_t wall = atl_env_wall_ms(registry->env);
    atl_record_head head;
    atl_record_put put;
    atl_addr nobody;
    int32_t rc = atl_record_check(data, len, &head);

    if (rc == ATLAS_OK) {
        rc = atl_record_in_time(&head, wall, *registry->config.max_clock_drift);
    }
    if (rc != ATLAS_OK) {
        return rc;
    }
    memset(&nobody, 0, sizeof(nobody));
    memset(&put, 0, sizeof(put));
    put.head = &head;
    put.data = data;
    put.len = len;
    put.source = &nobody;
    put.verified = 1;
    put.expires = registry->loop->now + time_left(registry, &head, wall);
    if (registry->file != NULL) {
        rc = foresee(registry, &put);
        if (rc == ATLAS_OK) {
            rc = atl_store_file_put(registry->file, &put, wall_at(registry, put.expires));
        }
        if (rc == ATLAS_OK && commit(registry) != ATLAS_OK) {
            registry->stats.disk_errors++;
            rc = ATLAS_ERR_IO;
        }
        if (rc != ATLAS_OK) {
            return rc;
        }
    }
    rc = keep(registry, &put);
    if (registry->file != NULL) {
        sync_file(registry, &head.peer);
    }
    atl_registry_arm(registry);
    return rc == ATLAS_ERR_EXISTS ? ATLAS_OK : rc;
}

int32_t atl_registry_http_delete_own(atl_registry_http *registry, const atl_peer_id *self) {
    int32_t rc = ATLAS_OK;

    if (!atl_record_store_delete(registry->store, self, registry->loop->now)) {
        return ATLAS_ERR_RECORD_NOT_FOUND;
    }
    if (registry->file != NULL) {
        sync_file(registry, self);
        rc = commit(registry);
    }
    atl_registry_arm(registry);
    return rc;
}

/* ---- life ---- */

void atl_registry_put_init(atl_registry_http *registry) {
    atl_list_init(&registry->coming);
    atl_list_init(&registry->waiting);
    atl_timer_init(&registry->coming_timer, on_coming, registry);
    atl_task_init(&registry->commit, on_commit, registry);
}

void atl_registry_put_done(atl_registry_http *registry) {
    atl_task_cancel(&registry->commit);
    atl_timer_clear(registry->loop, &registry->coming_timer);
}
