#include "discovery/publish.h"

#include "discovery/registry_http.h"
#include "discovery/state.h"
#include "peer/told_record.h"

#include <stdio.h>
#include <string.h>

#define PUT_TIMEOUT (5 * ATL_SECOND)
#define DELETE_TIMEOUT (1500 * ATL_MS)
#define BACKOFF_MIN (1 * ATL_SECOND)
#define BACKOFF_MAX (60 * ATL_SECOND)
#define PATH_CAP 128
#define AHEAD_MAX 2 /* who goes on claiming to know a newer record lies */

static void put(atl_published *at);

static void records_path(const atl_discovery *disc, char path[PATH_CAP]) {
    char id[ATLAS_PEER_ID_MAX];

    atl_peer_id_text(&disc->peers->self, id);
    (void)snprintf(path, PATH_CAP, "%s/%s", ATL_RECORDS_PATH, id);
}

/* A quarter more or less, so that nodes that began together do not stay together. */
static uint64_t jitter(atl_discovery *disc, uint64_t wait) {
    uint64_t random = 0;

    (void)atl_random(disc->env, &random, sizeof(random));
    return wait - wait / 4 + random % (wait / 2 + 1);
}

/* ---- one bootstrap node ---- */

static void later(atl_published *at) {
    atl_discovery *disc = at->node->disc;
    uint64_t wait = BACKOFF_MIN;
    uint32_t i;

    for (i = 0; i < at->failures && wait < BACKOFF_MAX; i++) {
        wait *= 2;
    }
    at->failures++;
    wait = wait > BACKOFF_MAX ? BACKOFF_MAX : wait;
    atl_timer_set(disc->loop, &at->retry, disc->loop->now + jitter(disc, wait));
}

static void on_retry(atl_timer *timer, uint64_t now) {
    atl_published *at = timer->user;

    (void)now;
    at->again = 1;
    put(at);
}

/* It may forget the record before it is renewed here: it holds records for a shorter time, or has
 * begun anew. */
static void plan_again(atl_published *at, uint64_t ttl) {
    atl_discovery *disc = at->node->disc;
    uint64_t wait = ATL_PUBLISH_AGAIN;

    if (ttl > 0 && ttl < ATL_RECORD_LIFETIME_MAX && ttl * ATL_SECOND / 2 < wait) {
        wait = ttl * ATL_SECOND / 2;
    }
    atl_timer_set(disc->loop, &at->retry, disc->loop->now + jitter(disc, wait));
}

/* Where that text ends in an answer; 0: it is not there. */
static size_t find_text(const atl_link_reply *reply, const char *text) {
    size_t len = strlen(text);
    size_t i;

    for (i = 0; i + len <= reply->len; i++) {
        if (memcmp(reply->body + i, text, len) == 0) {
            return i + len;
        }
    }
    return 0;
}

/* A number in the answer, which is JSON: {"error":"old",...,"seq":N}, {"ttl":N}. 0: none to be
 * found. */
static uint64_t told_number(const atl_link_reply *reply, const char *key) {
    size_t i = find_text(reply, key);
    uint64_t seq = 0;

    for (; i > 0 && i < reply->len && reply->body[i] >= '0' && reply->body[i] <= '9'; i++) {
        if (seq > INT64_MAX / 10 - 1) {
            return 0;
        }
        seq = seq * 10 + (uint64_t)(reply->body[i] - '0');
    }
    return seq;
}

/* Why a record is none for it: above all that this host's clock is wrong. */
static int32_t told_error(const atl_link_reply *reply) {
    static const struct {
        const char *text;
        int32_t code;
    } ERRORS[] = {{"\"error\":\"expired\"", ATLAS_ERR_RECORD_EXPIRED},
                  {"\"error\":\"future\"", ATLAS_ERR_RECORD_FUTURE}};
    size_t i;

    for (i = 0; i < ATL_COUNT(ERRORS); i++) {
        if (find_text(reply, ERRORS[i].text) > 0) {
            return ERRORS[i].code;
        }
    }
    return ATLAS_ERR_HTTP;
}

/* A clock that was ahead, or another program with this key, has used higher numbers. They are
 * believed as far as a clock may be wrong: nobody may use up the numbers that there are. */
static int32_t count_on(atl_published *at, const atl_link_reply *reply) {
    atl_discovery *disc = at->node->disc;
    int64_t wall = atl_env_wall_ms(disc->env);
    uint64_t most = (wall < 0 ? 0 : (uint64_t)wall) + ATL_RECORD_LIFETIME_MAX * 1000;
    uint64_t seq = told_number(reply, "\"seq\":");

    if (seq < at->asked || seq > most) {
        return ATLAS_ERR_BOOTSTRAP;
    }
    if (seq >= disc->publish.floor) {
        disc->publish.floor = seq + 1;
    }
    return ATLAS_ERR_RECORD_OLD;
}

static int32_t code_of(atl_published *at, const atl_link_reply *reply) {
    if (reply->code != ATLAS_OK) {
        return reply->code;
    }
    switch (reply->status) {
    case 200:
        return ATLAS_OK;
    case 400:
        return told_error(reply);
    case 409:
        return count_on(at, reply);
    case 429:
        return ATLAS_ERR_RATE_LIMITED;
    case 503:
        return ATLAS_ERR_RECORD_LIMIT;
    default:
        return ATLAS_ERR_HTTP;
    }
}

static void on_put(void *user, const atl_link_reply *reply) {
    atl_published *at = user;
    atl_discovery *disc = at->node->disc;
    int32_t code = code_of(at, reply);

    at->request = NULL;
    at->code = code;
    if (code == ATLAS_OK) {
        at->failures = 0;
        at->ahead = 0;
        at->again = 0;
        at->seq = at->asked;
        plan_again(at, told_number(reply, "\"ttl\":"));
        put(at);
    } else if (code == ATLAS_ERR_RECORD_OLD && at->ahead < AHEAD_MAX) {
        at->ahead++;
        atl_timer_set(disc->loop, &disc->publish.sign, disc->loop->now + ATL_PUBLISH_SOON);
    } else {
        atl_log(disc->env, ATLAS_LOG_INFO, "%s does not take the record: %s (%d)", at->node->text,
                reply->text[0] != '\0' ? reply->text : atlas_error_text(code), (int)reply->status);
        later(at);
    }
    disc->ops->on_advertise(disc->user);
}

/* Whether the record may still be shown: its time is neither to come nor half over. */
static int is_fresh(const atl_publish *publish) {
    const atl_record_head *head = &publish->current.head;
    int64_t wall = atl_env_wall_ms(publish->disc->env);
    uint64_t now = wall < 0 ? 0 : (uint64_t)wall / 1000;

    return now + 1 >= head->issued && now <= head->issued + head->lifetime / 2;
}

static void put(atl_published *at) {
    atl_discovery *disc = at->node->disc;
    atl_publish *publish = &disc->publish;
    char path[PATH_CAP];
    atl_link *link;
    int32_t rv;

    if (!publish->on || publish->paused || publish->len == 0 || at->request != NULL ||
        (at->seq == publish->seq && !at->again)) {
        return;
    }
    atl_timer_clear(disc->loop, &at->retry);
    if (!is_fresh(publish)) {
        /* the clock was set, or the machine has slept */
        publish->renewing = 1;
        atl_timer_set(disc->loop, &publish->sign, disc->loop->now);
        return;
    }
    records_path(disc, path);
    at->asked = publish->seq;
    rv = atl_boot_node_link(at->node, &link);
    if (rv == ATLAS_OK) {
        rv = atl_link_ask(link, "PUT", path, publish->record, publish->len, PUT_TIMEOUT, on_put, at,
                          &at->request);
    }
    if (rv != ATLAS_OK) {
        at->request = NULL;
        at->code = rv;
        later(at);
    }
}

static void put_all(atl_publish *publish) {
    size_t i;

    for (i = 0; i < publish->disc->n_nodes; i++) {
        atl_published *at = &publish->disc->nodes[i].published;

        at->failures = 0;
        put(at);
    }
}

/* ---- the record ---- */

static int same_addr(const atl_maddr *a, const atl_maddr *b) {
    return a->has_relay == b->has_relay && a->host_kind == b->host_kind &&
           atl_addr_equal(&a->addr, &b->addr) &&
           (!a->has_relay || atl_peer_id_equal(&a->relay, &b->relay));
}

static int same(const atl_record *a, const atl_record *b) {
    size_t i;

    if (a->head.offers != b->head.offers || a->n_addrs != b->n_addrs) {
        return 0;
    }
    for (i = 0; i < a->n_addrs; i++) {
        if (!same_addr(&a->addrs[i], &b->addrs[i])) {
            return 0;
        }
    }
    return 1;
}

static void make(atl_publish *publish, const atl_record *record) {
    atl_discovery *disc = publish->disc;
    int64_t wall = atl_env_wall_ms(disc->env);
    uint64_t ms = wall < 0 ? 0 : (uint64_t)wall;
    uint64_t lifetime = disc->limits->lifetime;
    atl_record next = *record;
    size_t len = 0;
    int32_t rv;

    next.head.peer = disc->peers->self;
    next.head.seq = ms > publish->floor ? ms : publish->floor + 1;
    next.head.issued = ms / 1000;
    next.head.lifetime = lifetime;
    next.head.n_addrs = (uint32_t)next.n_addrs;
    rv = atl_record_make(disc->key, &next, publish->record, sizeof(publish->record), &len);
    if (rv != ATLAS_OK) {
        atl_log(disc->env, ATLAS_LOG_ERROR, "the record cannot be made: %s", atlas_error_text(rv));
        return;
    }
    publish->current = next;
    publish->renewing = 0;
    publish->len = len;
    publish->seq = next.head.seq;
    publish->floor = next.head.seq;
    publish->signed_at = disc->loop->now;
    atl_timer_set(disc->loop, &publish->renew,
                  disc->loop->now + jitter(disc, lifetime * ATL_SECOND / 3));
    atl_told_record_set(disc->peers, publish->record, publish->len);
    disc->ops->on_own_record(disc->user, publish->record, publish->len);
    put_all(publish);
    disc->ops->on_advertise(disc->user);
}

static void on_sign(atl_timer *timer, uint64_t now) {
    atl_publish *publish = timer->user;
    atl_record record;

    (void)now;
    if (!publish->on || publish->paused) {
        return;
    }
    memset(&record, 0, sizeof(record));
    atl_discovery_collect(publish->disc, &record);
    /* somebody has a higher number, or there is something else to say */
    if (publish->renewing || publish->seq != publish->floor || publish->seq == 0 ||
        !same(&record, &publish->current)) {
        make(publish, &record);
    }
}

static void on_renew(atl_timer *timer, uint64_t now) {
    atl_publish *publish = timer->user;
    atl_record record;

    (void)now;
    if (publish->on && !publish->paused) {
        memset(&record, 0, sizeof(record));
        atl_discovery_collect(publish->disc, &record);
        make(publish, &record);
    }
}

void atl_publish_update(atl_publish *publish) {
    atl_discovery *disc = publish->disc;
    uint64_t at = disc->loop->now + ATL_PUBLISH_SOON;
    atl_record record;

    if (!publish->on || publish->sign.deadline != ATLAS_NO_DEADLINE) {
        return;
    }
    memset(&record, 0, sizeof(record));
    atl_discovery_collect(disc, &record);
    if (publish->seq == 0 && record.n_addrs == 0 && record.head.offers == 0) {
        return; /* nothing to say yet */
    }
    if (publish->seq != 0 && same(&record, &publish->current)) {
        return;
    }
    if (publish->signed_at != 0 && at < publish->signed_at + ATL_PUBLISH_PAUSE) {
        at = publish->signed_at + ATL_PUBLISH_PAUSE;
    }
    atl_timer_set(disc->loop, &publish->sign, at);
}

/* Nothing wakes the loop while it is paused. */
static void stop_timers(atl_publish *publish) {
    size_t i;

    atl_timer_clear(publish->disc->loop, &publish->sign);
    atl_timer_clear(publish->disc->loop, &publish->renew);
    for (i = 0; i < publish->disc->n_nodes; i++) {
        atl_timer_clear(publish->disc->loop, &publish->disc->nodes[i].published.retry);
    }
}

static void put_all_again(atl_publish *publish) {
    size_t i;

    for (i = 0; i < publish->disc->n_nodes; i++) {
        publish->disc->nodes[i].published.again = 1;
    }
    put_all(publish);
}

void atl_publish_pause(atl_publish *publish, int on) {
    publish->paused = on != 0;
    if (on) {
        stop_timers(publish);
    }
    if (!on && publish->on) {
        atl_publish_update(publish);
        if (publish->len > 0 && publish->renew.deadline == ATLAS_NO_DEADLINE) {
            on_renew(&publish->renew, publish->disc->loop->now);
        }
        put_all_again(publish);
    }
}

void atl_publish_retry(atl_publish *publish) {
    if (publish->on) {
        put_all_again(publish);
    }
}

/* ---- the end of it ---- */

static void on_deleted(void *user, const atl_link_reply *reply) {
    atl_published *at = user;
    atl_publish *publish = &at->node->disc->publish;

    (void)reply;
    at->request = NULL;
    at->deleting = 0;
    at->seq = 0;
    publish->deletes--;
    if (publish->on) {
        put(at);
    }
}

static void delete_from(atl_published *at) {
    atl_discovery *disc = at->node->disc;
    char path[PATH_CAP];
    atl_link *link;

    if (at->deleting) {
        return;
    }
    if (at->request != NULL) {
        /* it may have arrived already */
        atl_link_cancel(at->request);
        at->request = NULL;
    } else if (at->seq == 0) {
        return;
    }
    records_path(disc, path);
    if (atl_boot_node_link(at->node, &link) == ATLAS_OK &&
        atl_link_ask(link, "DELETE", path, NULL, 0, DELETE_TIMEOUT, on_deleted, at, &at->request) ==
            ATLAS_OK) {
        disc->publish.deletes++;
        at->deleting = 1;
    }
    at->seq = 0;
}

void atl_publish_set(atl_publish *publish, int on) {
    atl_discovery *disc = publish->disc;
    size_t i;

    if (publish->on == (on != 0)) {
        return;
    }
    publish->on = on != 0;
    if (on) {
        atl_publish_update(publish);
        return;
    }
    stop_timers(publish);
    for (i = 0; i < disc->n_nodes; i++) {
        delete_from(&disc->nodes[i].published);
    }
    atl_told_record_set(disc->peers, NULL, 0);
    publish->len = 0;
    publish->seq = 0;
    memset(&publish->current, 0, sizeof(publish->current));
    disc->ops->on_own_record(disc->user, NULL, 0);
    disc->ops->on_advertise(disc->user);
}

int atl_publish_busy(const atl_publish *publish) {
    return publish->deletes > 0;
}

/* ---- life ---- */

void atl_publish_init(atl_publish *publish, atl_discovery *disc) {
    publish->disc = disc;
    atl_timer_init(&publish->sign, on_sign, publish);
    atl_timer_init(&publish->renew, on_renew, publish);
}

void atl_publish_add(atl_publish *publish, atl_boot_node *node) {
    node->published.node = node;
    atl_timer_init(&node->published.retry, on_retry, &node->published);
    put(&node->published);
    (void)publish;
}

void atl_publish_node_free(atl_publish *publish, atl_boot_node *node) {
    atl_published *at = &node->published;

    if (at->request != NULL) {
        atl_link_cancel(at->request);
        at->request = NULL;
    }
    atl_timer_clear(publish->disc->loop, &at->retry);
}

void atl_publish_free(atl_publish *publish) {
    atl_timer_clear(publish->disc->loop, &publish->sign);
    atl_timer_clear(publish->disc->loop, &publish->renew);
    if (publish->len > 0) {
        atl_told_record_set(publish->disc->peers, NULL, 0);
    }
}
