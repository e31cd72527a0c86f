#include "discovery/dialback.h"

#include <stdio.h>
#include <string.h>

#include "base/bucket.h"

#define REQUESTS_MAX 256 /* whose bodies have not come yet */
#define JOBS_MAX 1024    /* of which datagrams are still to be sent */
#define BODY_TIMEOUT (5 * ATL_SECOND)
#define NODE_RATE 1 /* requests a second, and at once */
#define NODE_BURST 10
#define SOURCE_RATE 4
#define SOURCE_BURST 40
#define ALL_RATE 1000
#define LIMIT_SLOTS 4096
#define RX_BATCH 16
#define RX_ROUNDS 4
#define H3_INTERNAL_ERROR 0x102u
#define REFUSAL_MAX 128

/* When a datagram is sent again. */
static const uint64_t REPEATS[ATL_DIALBACK_REPEATS] = {0, 200 * ATL_MS, 600 * ATL_MS};

/* The asker's body, while it comes. */
typedef struct request {
    atl_list node; /* of dialback.requests, until it is answered */
    atl_addr remote;
    atl_addr local;
    uint64_t since;
    uint8_t *body; /* NULL: answered */
    size_t len;
    atl_h3_stream *stream;
} request;

typedef struct target {
    uint16_t port;
    uint8_t index; /* in the request */
    uint8_t port_ok;
    uint8_t other_ok;
} target;

/* Datagrams for one request. */
typedef struct job {
    atl_list node;
    atl_dialback *owner;
    atl_timer timer;
    uint64_t begun;
    atl_addr remote; /* the asker; the port is each target's */
    atl_addr local;
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t repeats; /* in all */
    uint8_t done;
    size_t n;
    target targets[ATL_DIALBACK_CANDIDATES];
} job;

/* The port that is used for nothing else. */
typedef struct spare_socket {
    atl_dialback *owner;
    atl_udp *udp; /* NULL: not open */
    atl_addr ip;  /* what the node was bound to then */
} spare_socket;

struct atl_dialback {
    atl_dialback_config config;
    atl_env *env;
    atl_source_limit *nodes;
    atl_source_limit *sources;
    atl_bucket all;
    atl_list requests; /* the oldest first */
    size_t n_requests;
    atl_list jobs;
    size_t n_jobs;
    atl_timer timer; /* of the oldest request */
    spare_socket sockets[2];
    atl_dialback_stats stats;
};

/* ---- the socket ---- */

/* Nobody has a reason to send anything here: it is read so that it does not pile up. */
static void on_ready(void *user, atl_udp *udp, uint32_t events) {
    const spare_socket *s = user;
    const atl_io *io = s->owner->config.io;
    atl_rx batch[RX_BATCH];
    size_t round;
    size_t n;

    for (round = 0; round < RX_ROUNDS && (events & ATLAS_FD_READ) != 0; round++) {
        if (io->udp_recv(io->impl, udp, batch, RX_BATCH, &n) != ATLAS_OK || n == 0) {
            return;
        }
    }
}

static void close_socket(spare_socket *s) {
    const atl_io *io = s->owner->config.io;

    if (s->udp != NULL) {
        io->udp_close(io->impl, s->udp);
        s->udp = NULL;
    }
}

/* Opened when it is first needed, and anew when the node has moved to another address. */
static atl_udp *socket_of(atl_dialback *d, uint8_t family) {
    const atl_io *io = d->config.io;
    spare_socket *s = &d->sockets[family == 6];
    atl_addr bound;

    if (d->config.local(d->config.user, family, &bound) != ATLAS_OK) {
        return NULL;
    }
    bound.port = 0;
    if (s->udp != NULL && !atl_addr_equal(&s->ip, &bound)) {
        close_socket(s);
    }
    if (s->udp == NULL &&
        io->udp_open(io->impl, &bound, ATL_UDP_PLAIN, on_ready, s, &s->udp) != ATLAS_OK) {
        s->udp = NULL;
        return NULL;
    }
    s->ip = bound;
    return s->udp;
}

/* ---- sending ---- */

static int send_port(const job *j, const atl_addr *remote, const uint8_t *data, size_t len) {
    const atl_io *io = j->owner->config.io;
    atl_udp *udp = socket_of(j->owner, remote->family);
    size_t sent = 0;
    atl_tx tx;

    if (udp == NULL) {
        return 0;
    }
    memset(&tx, 0, sizeof(tx));
    tx.data = data;
    tx.len = len;
    tx.segment = len;
    tx.remote = *remote;
    tx.local = j->local;
    return io->udp_send(io->impl, udp, &tx, 1, &sent) == ATLAS_OK && sent == 1;
}

static int send_other(const job *j, const atl_addr *remote, const uint8_t *data, size_t len) {
    const atl_dialback_config *config = &j->owner->config;

    return config->send_other != NULL &&
           config->send_other(config->user, remote, data, len) == ATLAS_OK;
}

static int send_one(job *j, const target *t, uint8_t from) {
    uint8_t data[ATL_DIALBACK_DATAGRAM];
    atl_addr remote = j->remote;
    size_t len;
    int ok;

    remote.port = t->port;
    if (atl_dialback_datagram_encode(j->nonce, t->index, from, data, sizeof(data), &len) !=
        ATLAS_OK) {
        return 0;
    }
    ok = from == ATL_DIALBACK_FROM_PORT ? send_port(j, &remote, data, len)
                                        : send_other(j, &remote, data, len);
    j->owner->stats.datagrams += ok != 0;
    return ok;
}

/* The first time shows which sources there are: the others are not tried again. */
static void send_round(job *j) {
    size_t i;

    for (i = 0; i < j->n; i++) {
        target *t = &j->targets[i];

        if (j->done == 0 || t->port_ok) {
            t->port_ok |= (uint8_t)send_one(j, t, ATL_DIALBACK_FROM_PORT);
        }
        if (j->done == 0 || t->other_ok) {
            t->other_ok |= (uint8_t)send_one(j, t, ATL_DIALBACK_FROM_ADDRESS);
        }
    }
    j->done++;
}

static void job_free(job *j) {
    atl_dialback *d = j->owner;

    atl_timer_clear(d->config.loop, &j->timer);
    atl_list_remove(&j->node);
    d->n_jobs--;
    atl_free(d->env, j);
}

static void job_arm(job *j) {
    if (j->n == 0 || j->done >= j->repeats) {
        job_free(j);
        return;
    }
    atl_timer_set(j->owner->config.loop, &j->timer, j->begun + REPEATS[j->done]);
}

static void on_repeat(atl_timer *timer, uint64_t now) {
    job *j = timer->user;

    (void)now;
    send_round(j);
    job_arm(j);
}

/* ---- requests ---- */

static void answer(atl_dialback *d, request *r, int32_t status, const char *type, const void *body,
                   size_t len) {
    atl_h3_stream *stream = r->stream;

    atl_list_remove(&r->node);
    d->n_requests--;
    atl_free(d->env, r->body);
    r->body = NULL;
    if (atl_h3_respond(stream, status, type, body, len) != ATLAS_OK) {
        atl_h3_reset(stream, H3_INTERNAL_ERROR);
    }
}

static size_t refusal(char out[REFUSAL_MAX], const char *name, const char *text) {
    int n = snprintf(out, REFUSAL_MAX, "{\"error\":\"%s\",\"text\":\"%s\"}", name, text);

    return n > 0 && n < REFUSAL_MAX ? (size_t)n : 0;
}

static void refuse(atl_dialback *d, request *r, int32_t status, const char *name,
                   const char *text) {
    char body[REFUSAL_MAX];
    size_t len = refusal(body, name, text);

    answer(d, r, status, "application/json", body, len);
}

static void refuse_malformed(atl_dialback *d, request *r, const char *text) {
    d->stats.refused_malformed++;
    refuse(d, r, 400, "malformed", text);
}

/* Before there is a request to remember. */
static int refuse_head(atl_h3_stream *stream, int32_t status, const char *name, const char *text) {
    char body[REFUSAL_MAX];
    size_t len = refusal(body, name, text);

    if (atl_h3_respond(stream, status, "application/json", body, len) != ATLAS_OK) {
        atl_h3_reset(stream, H3_INTERNAL_ERROR);
    }
    return 1;
}

/* Those of the asker's own IP address; of the others the result stays ATL_DIALBACK_NOT_YOURS. */
static void choose_targets(atl_dialback *d, job *j, const atl_dialback_request *msg,
                           atl_dialback_reply *reply) {
    size_t i;

    for (i = 0; i < msg->n_candidates; i++) {
        const atl_addr *c = &msg->candidates[i];

        if (c->family != j->remote.family || memcmp(c->ip, j->remote.ip, sizeof(c->ip)) != 0) {
            d->stats.refused_candidates++;
        } else if (c->port == 0) {
            reply->results[i] = ATL_DIALBACK_FAILED;
        } else {
            j->targets[j->n].port = c->port;
            j->targets[j->n++].index = (uint8_t)i;
        }
    }
    reply->n_results = msg->n_candidates;
}

static void fill_results(const job *j, atl_dialback_reply *reply) {
    size_t i;

    for (i = 0; i < j->n; i++) {
        const target *t = &j->targets[i];

        reply->results[t->index] = t->other_ok  ? ATL_DIALBACK_ADDRESS
                                   : t->port_ok ? ATL_DIALBACK_PORT
                                                : ATL_DIALBACK_FAILED;
    }
}

static job *job_new(atl_dialback *d, const request *r, const atl_dialback_request *msg) {
    job *j = d->n_jobs < JOBS_MAX ? atl_calloc(d->env, 1, sizeof(*j)) : NULL;

    if (j == NULL) {
        return NULL;
    }
    j->owner = d;
    atl_timer_init(&j->timer, on_repeat, j);
    j->begun = d->config.loop->now;
    j->remote = r->remote;
    if (r->local.family == r->remote.family && !atl_addr_is_unspecified(&r->local)) {
        j->local = r->local;
    }
    memcpy(j->nonce, msg->nonce, sizeof(j->nonce));
    atl_list_append(&d->jobs, &j->node);
    d->n_jobs++;
    return j;
}

static void serve(atl_dialback *d, request *r) {
    atl_dialback_request msg;
    atl_dialback_reply reply;
    uint8_t body[64];
    size_t len = 0;
    job *j;

    if (atl_dialback_request_decode(r->body, r->len, &msg) != ATLAS_OK) {
        refuse_malformed(d, r, "the body is not a dial-back request");
        return;
    }
    if (r->len < msg.n_candidates * 2 * ATL_DIALBACK_COST) {
        refuse_malformed(d, r, "the body is too short for so many candidates");
        return;
    }
    j = job_new(d, r, &msg);
    if (j == NULL) {
        d->stats.refused_rate++;
        refuse(d, r, 429, "rate", "too many dial-backs are under way");
        return;
    }
    memset(&reply, 0, sizeof(reply));
    reply.observed = r->remote;
    choose_targets(d, j, &msg, &reply);
    if (j->n > 0) {
        /* at least once, by the check above */
        size_t paid = r->len / (j->n * 2 * ATL_DIALBACK_COST);

        j->repeats = (uint8_t)(paid < ATL_DIALBACK_REPEATS ? paid : ATL_DIALBACK_REPEATS);
        send_round(j);
        fill_results(j, &reply);
    }
    job_arm(j);
    (void)atl_dialback_reply_encode(&reply, body, sizeof(body), &len);
    answer(d, r, 200, "application/octet-stream", body, len);
}

/* Whoever asks and then says nothing makes way. */
static void drop_oldest(atl_dialback *d) {
    refuse_malformed(d, ATL_CONTAINER(d->requests.next, request, node),
                     "the body did not come in time");
}

static void arm(atl_dialback *d) {
    uint64_t at = ATLAS_NO_DEADLINE;

    if (!atl_list_empty(&d->requests)) {
        at = ATL_CONTAINER(d->requests.next, request, node)->since + BODY_TIMEOUT;
    }
    atl_timer_set(d->config.loop, &d->timer, at);
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_dialback *d = timer->user;

    while (!atl_list_empty(&d->requests) &&
           now >= ATL_CONTAINER(d->requests.next, request, node)->since + BODY_TIMEOUT) {
        drop_oldest(d);
    }
    arm(d);
}

/* ---- hooks of the HTTP/3 server ---- */

/* Path without its query. */
static int is_path(const char *path) {
    size_t len = strlen(ATL_DIALBACK_PATH);

    return strncmp(path, ATL_DIALBACK_PATH, len) == 0 && (path[len] == '\0' || path[len] == '?');
}

static int within_rate(atl_dialback *d, const atl_requester *from) {
    uint64_t now = d->config.loop->now;
    atl_addr remote = from->remote;
    uint8_t key[8];
    size_t len;

    atl_addr_canonical(&remote);
    len = atl_addr_limit_key(&remote, key);
    return atl_source_limit_take(d->nodes, from->peer->key, 16, now) &&
           atl_source_limit_take(d->sources, key, len, now) && atl_bucket_take(&d->all, now, 1);
}

static request *request_new(atl_dialback *d, atl_h3_stream *stream, const atl_requester *from) {
    request *r = atl_calloc(d->env, 1, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    r->body = atl_malloc(d->env, ATL_DIALBACK_BODY_MAX);
    if (r->body == NULL) {
        atl_free(d->env, r);
        return NULL;
    }
    r->remote = from->remote;
    r->local = from->local;
    atl_addr_canonical(&r->remote);
    atl_addr_canonical(&r->local);
    r->since = d->config.loop->now;
    r->stream = stream;
    if (d->n_requests == REQUESTS_MAX) {
        drop_oldest(d);
    }
    atl_list_append(&d->requests, &r->node);
    d->n_requests++;
    arm(d);
    return r;
}

static int on_request(void *user, atl_h3_stream *stream, const atl_h3_request *head,
                      const atl_requester *from, void **request_user) {
    atl_dialback *d = user;
    request *r;

    if (!is_path(head->path)) {
        return 0;
    }
    *request_user = NULL;
    d->stats.requests++;
    if (strcmp(head->method, "POST") != 0) {
        d->stats.refused_malformed++;
        return refuse_head(stream, 405, "method", "dial-backs are asked for with POST");
    }
    if (from->peer == NULL) {
        d->stats.refused_identity++;
        return refuse_head(stream, 401, "identity", "a certificate is needed");
    }
    if (!within_rate(d, from)) {
        d->stats.refused_rate++;
        return refuse_head(stream, 429, "rate", "too many dial-backs");
    }
    r = request_new(d, stream, from);
    if (r == NULL) {
        atl_h3_reset(stream, H3_INTERNAL_ERROR);
        return 1;
    }
    *request_user = r;
    return 1;
}

static void on_data(void *user, void *request_user, atl_h3_stream *stream, const uint8_t *data,
                    size_t len) {
    atl_dialback *d = user;
    request *r = request_user;

    (void)stream;
    if (r == NULL || r->body == NULL) {
        return;
    }
    if (len > ATL_DIALBACK_BODY_MAX - r->len) {
        d->stats.refused_malformed++;
        refuse(d, r, 413, "too large", "the body is too long");
        return;
    }
    memcpy(r->body + r->len, data, len);
    r->len += len;
}

static void on_end(void *user, void *request_user, atl_h3_stream *stream) {
    request *r = request_user;

    (void)stream;
    if (r != NULL && r->body != NULL) {
        serve(user, r);
    }
}

static void request_free(atl_dialback *d, request *r) {
    if (r->body != NULL) {
        atl_list_remove(&r->node);
        d->n_requests--;
        atl_free(d->env, r->body);
    }
    atl_free(d->env, r);
}

static void on_closed(void *user, void *request_user, atl_h3_stream *stream) {
    (void)stream;
    if (request_user != NULL) {
        request_free(user, request_user);
    }
}

const atl_requests_ops atl_dialback_ops = {on_request, on_data, on_end, on_closed};

/* ---- life ---- */

int32_t atl_dialback_new(const atl_dialback_config *config, atl_dialback **out) {
    atl_env *env = config->loop->env;
    atl_dialback *d = atl_calloc(env, 1, sizeof(*d));
    size_t i;
    int32_t rc;

    if (d == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    d->config = *config;
    d->env = env;
    atl_list_init(&d->requests);
    atl_list_init(&d->jobs);
    atl_timer_init(&d->timer, on_timer, d);
    for (i = 0; i < ATL_COUNT(d->sockets); i++) {
        d->sockets[i].owner = d;
    }
    atl_bucket_init(&d->all, ALL_RATE, ALL_RATE, config->loop->now);
    rc = atl_source_limit_new(env, LIMIT_SLOTS, NODE_RATE, NODE_BURST, &d->nodes);
    if (rc == ATLAS_OK) {
        rc = atl_source_limit_new(env, LIMIT_SLOTS, SOURCE_RATE, SOURCE_BURST, &d->sources);
    }
    if (rc != ATLAS_OK) {
        atl_dialback_free(d);
        return rc;
    }
    *out = d;
    return ATLAS_OK;
}

void atl_dialback_free(atl_dialback *d) {
    size_t i;

    if (d == NULL) {
        return;
    }
    while (!atl_list_empty(&d->requests)) {
        request_free(d, ATL_CONTAINER(d->requests.next, request, node));
    }
    while (!atl_list_empty(&d->jobs)) {
        job_free(ATL_CONTAINER(d->jobs.next, job, node));
    }
    for (i = 0; i < ATL_COUNT(d->sockets); i++) {
        close_socket(&d->sockets[i]);
    }
    atl_timer_clear(d->config.loop, &d->timer);
    atl_source_limit_free(d->nodes);
    atl_source_limit_free(d->sources);
    atl_free(d->env, d);
}

const atl_dialback_stats *atl_dialback_get_stats(const atl_dialback *d) {
    return &d->stats;
}
