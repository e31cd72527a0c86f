#include "discovery/find.h"

#include "discovery/registry_http.h"
#include "discovery/state.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_LEN 192

/* What one node is asked. */
typedef struct ask {
    atl_find *find;
    atl_boot_node *node;
    atl_link_request *request;
    uint64_t cursor; /* of the next page */
    size_t got;
} ask;

struct atl_find {
    atl_list node; /* disc->finds */
    atl_discovery *disc;
    const atl_find_ops *ops;
    void *user;
    uint64_t until;
    atl_peer_id peer;
    uint32_t offer; /* 0: one peer's record */
    size_t limit;
    uint8_t random;
    uint8_t busy; /* an upcall may cancel it */
    uint8_t cancelled;
    uint8_t found;
    uint8_t missing; /* a node has said that it has none */
    int32_t code;    /* the last failure */
    size_t left;     /* nodes that have not ended */
    size_t n_asks;
    size_t started; /* of them */
    atl_task start;
    ask asks[ATL_BOOT_MAX];
};

static const char *offer_name(uint32_t offer) {
    return offer == ATLAS_OFFER_RELAY       ? "relay"
           : offer == ATLAS_OFFER_BOOTSTRAP ? "bootstrap"
                                            : "dialback";
}

/* ---- the end ---- */

static void release(atl_find *find) {
    size_t i;

    for (i = 0; i < find->n_asks; i++) {
        if (find->asks[i].request != NULL) {
            atl_link_cancel(find->asks[i].request);
        }
    }
    atl_task_cancel(&find->start);
    atl_list_remove(&find->node);
    atl_free(find->disc->env, find);
}

void atl_find_cancel(atl_find *find) {
    if (find->busy) {
        find->cancelled = 1;
    } else {
        release(find);
    }
}

/* Nobody knows the peer yet, and others who may are being looked for. */
static int waits(const atl_find *find) {
    return find->offer == 0 && !find->found && find->disc->boots_find != NULL &&
           find->disc->loop->now < find->until;
}

/* The end of a stretch of upcalls: what they have led to. */
static void settle(atl_find *find) {
    const atl_find_ops *ops = find->ops;
    void *user = find->user;
    int32_t code = find->found ? ATLAS_OK : find->missing ? ATLAS_ERR_RECORD_NOT_FOUND : find->code;

    find->busy = 0;
    if (find->cancelled) {
        release(find);
    } else if (find->left == 0 && !waits(find)) {
        release(find);
        ops->on_end(user, code);
    }
}

static void failed(ask *at, int32_t code, const char *text) {
    atl_find *find = at->find;

    find->left--;
    find->code = code;
    find->missing |= (uint8_t)(code == ATLAS_ERR_RECORD_NOT_FOUND);
    if (!find->cancelled) {
        find->ops->on_failed(find->user, at->node, code,
                             text != NULL && text[0] != '\0' ? text : atlas_error_text(code));
    }
}

/* ---- answers ---- */

/* ATLAS_OK when it was one that was asked for. */
static int32_t take(ask *at, const uint8_t *data, size_t len, uint64_t rtt) {
    atl_find *find = at->find;
    atl_discovery *disc = find->disc;
    atl_record_cached newest;
    atl_record_head head;
    int32_t rv = atl_record_check(data, len, &head);

    if (rv == ATLAS_OK) {
        rv = atl_record_in_time(&head, atl_env_wall_ms(disc->env), disc->limits->max_clock_drift);
    }
    if (rv == ATLAS_OK && (find->offer == 0 ? !atl_peer_id_equal(&head.peer, &find->peer)
                                            : (head.offers & find->offer) == 0)) {
        rv = ATLAS_ERR_BOOTSTRAP;
    }
    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = atl_record_cache_put_checked(disc->cache, &head, data, len);
    if (rv != ATLAS_OK && rv != ATLAS_ERR_EXISTS && rv != ATLAS_ERR_RECORD_OLD) {
        return rv;
    }
    if (!atl_record_cache_get(disc->cache, &head.peer, &newest)) {
        return ATLAS_ERR_RECORD_EXPIRED;
    }
    find->found = 1;
    at->got++;
    if (!find->cancelled) {
        /* one that hands out an old record has not the new one that is told instead */
        find->ops->on_record(find->user, &newest, rv == ATLAS_ERR_RECORD_OLD ? NULL : at->node,
                             rtt);
    }
    return ATLAS_OK;
}

static void begin(ask *at);

/* A page: a cursor, and records behind their lengths. Bad records are the node's fault, and do not
 * spoil the others. */
static void take_page(ask *at, const atl_link_reply *reply) {
    atl_find *find = at->find;
    atl_reader reader;
    atl_reader record;
    uint64_t cursor;
    size_t n = 0;

    atl_reader_init(&reader, reply->body, reply->len);
    if (atl_read_varint(&reader, &cursor) != ATLAS_OK) {
        failed(at, ATLAS_ERR_BOOTSTRAP, "its list cannot be read");
        return;
    }
    while (reader.left > 0 && n < ATL_FIND_PAGE && !find->cancelled) {
        if (atl_read_varint_sub(&reader, &record) != ATLAS_OK) {
            failed(at, ATLAS_ERR_BOOTSTRAP, "its list cannot be read");
            return;
        }
        (void)take(at, record.data, record.left, reply->rtt);
        n++;
    }
    if (!find->random && cursor > at->cursor && n > 0 && at->got < find->limit) {
        at->cursor = cursor;
        begin(at);
        return;
    }
    if (at->got == 0) {
        failed(at, ATLAS_ERR_RECORD_NOT_FOUND, "it knows nobody who offers that");
        return;
    }
    find->left--;
}

static void take_reply(ask *at, const atl_link_reply *reply) {
    char text[64];
    int32_t rv;

    if (reply->code != ATLAS_OK) {
        atl_boot_node_failed(at->node);
        failed(at, reply->code, reply->text);
    } else if (reply->status == 200 && at->find->offer != 0) {
        take_page(at, reply);
    } else if (reply->status == 200) {
        rv = take(at, reply->body, reply->len, reply->rtt);
        if (rv == ATLAS_OK) {
            at->find->left--;
        } else {
            (void)snprintf(text, sizeof(text), "its record is of no use: %s", atlas_error_name(rv));
            failed(at, rv, text);
        }
    } else if (reply->status == 404) {
        failed(at, ATLAS_ERR_RECORD_NOT_FOUND, NULL);
    } else if (reply->status == 429) {
        failed(at, ATLAS_ERR_RATE_LIMITED, NULL);
    } else {
        (void)snprintf(text, sizeof(text), "it answers with HTTP status %d", (int)reply->status);
        failed(at, ATLAS_ERR_HTTP, text);
    }
}

static void on_reply(void *user, const atl_link_reply *reply) {
    ask *at = user;
    atl_find *find = at->find;

    at->request = NULL;
    find->busy = 1;
    take_reply(at, reply);
    settle(find);
}

/* ---- questions ---- */

static void begin(ask *at) {
    atl_find *find = at->find;
    uint64_t now = find->disc->loop->now;
    char id[ATLAS_PEER_ID_MAX];
    char path[PATH_MAX_LEN];
    atl_link *link;
    size_t want = find->limit - at->got;
    int32_t rv = atl_boot_node_link(at->node, &link);

    if (find->offer == 0) {
        atl_peer_id_text(&find->peer, id);
        (void)snprintf(path, sizeof(path), "%s/%s", ATL_RECORDS_PATH, id);
    } else {
        (void)snprintf(path, sizeof(path), "%s?offer=%s&limit=%zu&%s=%llu", ATL_RECORDS_PATH,
                       offer_name(find->offer), want < ATL_FIND_PAGE ? want : ATL_FIND_PAGE,
                       find->random ? "random" : "after",
                       find->random ? 1ull : (unsigned long long)at->cursor);
    }
    if (rv == ATLAS_OK) {
        rv = atl_link_ask(link, "GET", path, NULL, 0, find->until > now ? find->until - now : 1,
                          on_reply, at, &at->request);
    }
    if (rv != ATLAS_OK) {
        at->request = NULL;
        failed(at, rv, NULL);
    }
}

static void on_start(atl_task *task) {
    atl_find *find = task->user;

    find->busy = 1;
    while (find->started < find->n_asks && !find->cancelled) {
        begin(&find->asks[find->started++]);
    }
    settle(find);
}

static int32_t find_new(atl_discovery *disc, uint64_t timeout, const atl_find_ops *ops, void *user,
                        atl_find **out) {
    atl_find *find;
    size_t i;

    if (disc->stopped) {
        return ATLAS_ERR_SHUTDOWN;
    }
    if (disc->n_nodes == 0) {
        return ATLAS_ERR_NO_BOOTSTRAP;
    }
    find = atl_calloc(disc->env, 1, sizeof(*find));
    if (find == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    find->disc = disc;
    find->ops = ops;
    find->user = user;
    find->until = disc->loop->now + timeout;
    find->code = ATLAS_ERR_BOOTSTRAP;
    find->limit = 1;
    for (i = 0; i < disc->n_nodes; i++) {
        if (atl_boot_node_usable(&disc->nodes[i])) {
            find->asks[find->n_asks].find = find;
            find->asks[find->n_asks++].node = &disc->nodes[i];
        }
    }
    find->left = find->n_asks;
    atl_task_init(&find->start, on_start, find);
    atl_seek_nodes(disc);
    atl_list_append(&disc->finds, &find->node);
    atl_post_work(disc->loop, &find->start);
    *out = find;
    return ATLAS_OK;
}

void atl_find_add_node(atl_discovery *disc, atl_boot_node *node) {
    atl_list *at;

    for (at = disc->finds.next; at != &disc->finds; at = at->next) {
        atl_find *find = ATL_CONTAINER(at, atl_find, node);
        ask *more;

        if (find->offer != 0 || find->cancelled || find->n_asks >= ATL_BOOT_MAX) {
            continue;
        }
        more = &find->asks[find->n_asks++];
        more->find = find;
        more->node = node;
        find->left++;
        if (find->started) {
            /* from the task, so that nothing ends in the middle of this */
            atl_post_work(disc->loop, &find->start);
        }
    }
}

void atl_find_check_all(atl_discovery *disc) {
    atl_list *at;

    for (at = disc->finds.next; at != &disc->finds; at = at->next) {
        atl_post_work(disc->loop, &ATL_CONTAINER(at, atl_find, node)->start);
    }
}

int32_t atl_find_peer(atl_discovery *disc, const atl_peer_id *peer, uint64_t timeout,
                      const atl_find_ops *ops, void *user, atl_find **out) {
    int32_t rv = find_new(disc, timeout, ops, user, out);

    if (rv == ATLAS_OK) {
        (*out)->peer = *peer;
    }
    return rv;
}

int32_t atl_find_offers(atl_discovery *disc, uint32_t offer, size_t limit, int random,
                        uint64_t timeout, const atl_find_ops *ops, void *user, atl_find **out) {
    int32_t rv = find_new(disc, timeout, ops, user, out);

    if (rv == ATLAS_OK) {
        (*out)->offer = offer;
        (*out)->limit = limit;
        (*out)->random = random != 0;
    }
    return rv;
}
