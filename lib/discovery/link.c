/* A link's requests: they wait, are sent, and end once. */
#include "discovery/link_state.h"

#include <stdio.h>
#include <string.h>

#define H3_REQUEST_CANCELLED 0x10cu
#define ANSWER_FIRST 1024u /* first memory for an answer */
#define METHOD_MAX 16u
#define PATH_LIMIT 2048u
#define BODY_LIMIT ((size_t)1 << 20) /* what http3/ takes */

/* ---- the end of a request ---- */

static void free_request(atl_link_request *request) {
    atl_env *env = request->link->env;

    atl_timer_clear(request->link->loop, &request->timer);
    atl_list_remove(&request->node);
    atl_free(env, request->answer);
    atl_free(env, request);
}

/* Takes it off its list, and off its stream. */
static atl_h3_stream *take_off(atl_link_request *request) {
    atl_link *link = request->link;
    atl_h3_stream *stream = request->stream;

    atl_list_remove(&request->node);
    if (request->active) {
        link->n_active--;
    } else if (!request->ended) {
        link->n_waiting--;
    }
    request->active = 0;
    request->lost = 0;
    request->stream = NULL;
    if (stream != NULL) {
        atl_h3_stream_set_user(stream, NULL);
    }
    return stream;
}

/* The same; the server need not go on with it. */
static void take_back(atl_link_request *request) {
    atl_h3_stream *stream = take_off(request);

    if (stream != NULL) {
        atl_h3_reset(stream, H3_REQUEST_CANCELLED);
    }
}

/* What was taken off. */
static void end(atl_link_request *request, int32_t code, const char *text) {
    atl_link *link = request->link;

    atl_timer_clear(link->loop, &request->timer);
    request->ended = 1;
    request->code = code;
    (void)snprintf(request->text, sizeof(request->text), "%s", text);
    atl_list_append(&link->done, &request->node);
    atl_post_work(link->loop, &link->deliver);
    atl_link_watch_use(link);
}

static void finish(atl_link_request *request, int32_t code, const char *text) {
    take_back(request);
    end(request, code, text);
}

static void on_timeout(atl_timer *timer, uint64_t now) {
    (void)now;
    finish(timer->user, ATLAS_ERR_TIMEOUT, atlas_error_text(ATLAS_ERR_TIMEOUT));
}

void atl_link_fail_waiting(atl_link *link, int32_t code, const char *text) {
    while (!atl_list_empty(&link->waiting)) {
        finish(ATL_CONTAINER(link->waiting.next, atl_link_request, node), code, text);
    }
}

/* It waits again, before the others; a second time it ends. */
static void lose(atl_link_request *request, int32_t code, const char *text) {
    atl_link *link = request->link;

    if (request->again) {
        finish(request, code, text);
        return;
    }
    take_back(request);
    request->again = 1;
    request->status = 0;
    request->answer_len = 0;
    atl_list_prepend(&link->waiting, &request->node);
    link->n_waiting++;
}

void atl_link_lose_active(atl_link *link, int32_t code, const char *text) {
    /* from behind, so that their order stays */
    while (!atl_list_empty(&link->active)) {
        lose(ATL_CONTAINER(link->active.prev, atl_link_request, node), code, text);
    }
}

int atl_link_may_lose(const atl_link *link) {
    for (atl_list *node = link->active.next; node != &link->active; node = node->next) {
        if (ATL_CONTAINER(node, atl_link_request, node)->again) {
            return 0;
        }
    }
    return !atl_list_empty(&link->active);
}

/* ---- telling ---- */

/* Streams that ended without an answer while the connection lives on. */
static void settle_lost(atl_link *link) {
    atl_list *node = link->active.next;

    while (node != &link->active) {
        atl_link_request *request = ATL_CONTAINER(node, atl_link_request, node);

        node = node->next;
        if (!request->lost) {
            continue;
        }
        if (link->goaway) { /* refused, not processed */
            lose(request, ATLAS_ERR_HTTP, "the server is going away");
        } else {
            finish(request, ATLAS_ERR_HTTP, "the server reset the request");
        }
    }
}

static void tell(atl_link_request *request, atl_env *env) {
    atl_link_done done = request->done;
    void *user = request->user;
    atl_link_reply reply;

    memset(&reply, 0, sizeof(reply));
    reply.code = request->code;
    reply.text = request->text;
    if (request->code == ATLAS_OK) {
        reply.status = request->status;
        reply.body = request->answer;
        reply.len = request->answer_len;
        reply.rtt = request->rtt;
    }
    done(user, &reply);
    atl_free(env, request->answer);
    atl_free(env, request);
}

/* Tells of those that have ended by now; what ends meanwhile has its turn later, so that one who
 * asks again at once does not stop everything else. */
static void on_deliver(atl_task *task) {
    atl_link *link = task->user;
    atl_env *env = link->env;
    atl_list *node;
    int gone = 0;

    settle_lost(link);
    atl_list_splice(&link->telling, &link->done);
    link->gone = &gone;
    while (!gone && (node = atl_list_pop(&link->telling)) != NULL) {
        tell(ATL_CONTAINER(node, atl_link_request, node), env);
    }
    if (!gone) {
        link->gone = NULL;
        atl_link_pump(link);
    }
}

/* ---- sending ---- */

/* 0 when nothing more can be sent now. */
static int send_request(atl_link *link, atl_link_request *request) {
    char authority[ATL_LINK_AUTHORITY_MAX];
    atl_h3_request head = {request->method, "https", authority, request->path, "", 0};
    int32_t rc;

    atl_link_authority(link, authority);
    /* first, since upcalls may come from inside */
    (void)take_off(request);
    atl_list_append(&link->active, &request->node);
    request->active = 1;
    link->n_active++;
    link->n_streams++;
    request->sent = link->loop->now;
    rc = atl_h3_open_with(link->h3, &head, request->len == 0 ? NULL : "application/octet-stream",
                          request->body, request->len, request, &request->stream);
    if (rc == ATLAS_OK) {
        (void)atl_bucket_take(&link->pace, link->loop->now, 1);
        return 1;
    }
    link->n_streams--;
    (void)take_off(request);
    atl_list_prepend(&link->waiting, &request->node);
    link->n_waiting++;
    if (rc == ATLAS_ERR_LIMIT || rc == ATLAS_ERR_CLOSED) {
        return 0; /* until the server allows more, or a new connection is there */
    }
    finish(request, rc, atlas_error_text(rc));
    return 1;
}

static void send_waiting(atl_link *link) {
    int more = 1;

    while (more && !atl_list_empty(&link->waiting) && link->n_streams < ATL_LINK_REQUESTS_MAX) {
        uint64_t wait = atl_bucket_wait(&link->pace, link->loop->now, 1);

        if (wait > 0) {
            atl_timer_set(link->loop, &link->pacing, link->loop->now + wait);
            return;
        }
        more = send_request(link, ATL_CONTAINER(link->waiting.next, atl_link_request, node));
    }
}

void atl_link_pump(atl_link *link) {
    if (link->state != ATL_LINK_READY || link->pumping) {
        return;
    }
    if (link->goaway) {
        if (link->n_active == 0) {
            atl_link_close(link);
        }
        return;
    }
    link->pumping = 1;
    send_waiting(link);
    link->pumping = 0;
}

static void on_pacing(atl_timer *timer, uint64_t now) {
    (void)now;
    atl_link_pump(timer->user);
}

/* ---- answers ---- */

void atl_link_on_response(atl_h3_stream *stream, int32_t status) {
    atl_link_request *request = atl_h3_stream_user(stream);

    if (request != NULL) {
        request->status = status;
    }
}

/* Room for an answer of `want` bytes. */
static int32_t make_room(atl_link_request *request, size_t want) {
    size_t cap = request->answer_cap == 0 ? ANSWER_FIRST : request->answer_cap;
    uint8_t *moved;

    if (want <= request->answer_cap) {
        return ATLAS_OK;
    }
    while (cap < want) {
        cap *= 2;
    }
    moved = atl_realloc(request->link->env, request->answer, cap);
    if (moved == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    request->answer = moved;
    request->answer_cap = cap;
    return ATLAS_OK;
}

void atl_link_on_data(atl_h3_stream *stream, const uint8_t *data, size_t len) {
    atl_link_request *request = atl_h3_stream_user(stream);

    if (request == NULL) {
        return;
    }
    if (len > ATL_LINK_BODY_MAX - request->answer_len) {
        finish(request, ATLAS_ERR_TOO_LARGE, "the answer is too long");
    } else if (make_room(request, request->answer_len + len) != ATLAS_OK) {
        finish(request, ATLAS_ERR_NOMEM, atlas_error_text(ATLAS_ERR_NOMEM));
    } else {
        memcpy(request->answer + request->answer_len, data, len);
        request->answer_len += len;
    }
}

void atl_link_on_end(atl_h3_stream *stream) {
    atl_link_request *request = atl_h3_stream_user(stream);

    if (request != NULL) {
        request->rtt = request->link->loop->now - request->sent;
        (void)take_off(request);
        end(request, ATLAS_OK, "");
    }
}

/* Whether it was reset or its connection is lost shows only when the upcalls are over. */
void atl_link_on_stream_closed(atl_link *link, atl_h3_stream *stream) {
    atl_link_request *request = atl_h3_stream_user(stream);

    link->n_streams--;
    if (request != NULL) {
        request->stream = NULL;
        request->lost = 1;
        atl_post_work(link->loop, &link->deliver);
    }
    atl_link_pump(link);
}

/* ---- life ---- */

void atl_link_watch_use(atl_link *link) {
    if (link->state != ATL_LINK_READY || link->n_active + link->n_waiting > 0) {
        atl_timer_clear(link->loop, &link->linger);
    } else if (link->linger.deadline == ATLAS_NO_DEADLINE) {
        atl_timer_set(link->loop, &link->linger, link->loop->now + ATL_LINK_LINGER);
    }
}

static void on_linger(atl_timer *timer, uint64_t now) {
    atl_link *link = timer->user;

    (void)now;
    if (link->state == ATL_LINK_READY) {
        atl_link_close(link);
    }
}

int32_t atl_link_new(const atl_link_config *config, atl_link **out) {
    atl_loop *loop = atl_endpoint_loop(config->ep);
    atl_link *link;

    if (!config->addr.has_peer || config->addr.has_relay ||
        config->addr.host_kind == ATL_HOST_NONE) {
        return ATLAS_ERR_ADDRESS;
    }
    link = atl_calloc(loop->env, 1, sizeof(*link));
    if (link == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    link->config = *config;
    link->env = loop->env;
    link->loop = loop;
    atl_list_init(&link->waiting);
    atl_list_init(&link->active);
    atl_list_init(&link->done);
    atl_list_init(&link->telling);
    atl_timer_init(&link->pacing, on_pacing, link);
    atl_timer_init(&link->linger, on_linger, link);
    atl_task_init(&link->deliver, on_deliver, link);
    *out = link;
    return ATLAS_OK;
}

static void free_list(atl_list *list) {
    while (!atl_list_empty(list)) {
        free_request(ATL_CONTAINER(list->next, atl_link_request, node));
    }
}

void atl_link_free(atl_link *link) {
    if (link == NULL) {
        return;
    }
    if (link->gone != NULL) {
        *link->gone = 1;
    }
    atl_link_drop(link);
    free_list(&link->waiting);
    free_list(&link->active);
    free_list(&link->done);
    free_list(&link->telling);
    atl_timer_clear(link->loop, &link->pacing);
    atl_timer_clear(link->loop, &link->linger);
    atl_task_cancel(&link->deliver);
    atl_free(link->env, link);
}

const atl_maddr *atl_link_addr(const atl_link *link) {
    return &link->config.addr;
}

/* ---- asking ---- */

/* The request with its strings and its body behind it. */
static atl_link_request *make_request(atl_link *link, const char *method, const char *path,
                                      const void *body, size_t len) {
    size_t n_method = strlen(method) + 1;
    size_t n_path = strlen(path) + 1;
    atl_link_request *request =
        atl_calloc(link->env, 1, sizeof(*request) + n_method + n_path + len);

    if (request == NULL) {
        return NULL;
    }
    memcpy(request->bytes, method, n_method);
    memcpy(request->bytes + n_method, path, n_path);
    if (len > 0) {
        memcpy(request->bytes + n_method + n_path, body, len);
    }
    request->method = (const char *)request->bytes;
    request->path = (const char *)request->bytes + n_method;
    request->body = request->bytes + n_method + n_path;
    request->len = len;
    request->link = link;
    return request;
}

int32_t atl_link_ask(atl_link *link, const char *method, const char *path, const void *body,
                     size_t len, uint64_t timeout, atl_link_done done, void *user,
                     atl_link_request **out) {
    uint64_t now = link->loop->now;
    atl_link_request *request;

    if (method[0] == '\0' || path[0] != '/' || strlen(method) >= METHOD_MAX ||
        strlen(path) >= PATH_LIMIT) {
        return ATLAS_ERR_INVALID;
    }
    if (len > BODY_LIMIT) {
        return ATLAS_ERR_TOO_LARGE;
    }
    if (link->n_active + link->n_waiting >= ATL_LINK_REQUESTS_MAX + ATL_LINK_WAITING_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    request = make_request(link, method, path, body, len);
    if (request == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    request->done = done;
    request->user = user;
    atl_timer_init(&request->timer, on_timeout, request);
    atl_timer_set(link->loop, &request->timer,
                  timeout > ATLAS_NO_DEADLINE - 1 - now ? ATLAS_NO_DEADLINE - 1 : now + timeout);
    atl_list_append(&link->waiting, &request->node);
    link->n_waiting++;
    *out = request;
    atl_link_watch_use(link);
    if (link->state == ATL_LINK_NONE) {
        atl_link_dial(link);
    } else {
        atl_link_pump(link);
    }
    return ATLAS_OK;
}

void atl_link_cancel(atl_link_request *request) {
    atl_link *link = request->link;

    take_back(request);
    free_request(request);
    atl_link_watch_use(link);
    atl_link_pump(link);
}
