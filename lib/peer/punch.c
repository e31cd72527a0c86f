#include "peer/punch.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/bucket.h"
#include "peer/punch_message.h"
#include "peer/punch_pairs.h"

#define HEARD_MAX 4
#define REQUESTS_MAX (ATL_PUNCH_PAIRS * ATL_PUNCH_PER_ADDRESS)
/* PRIORITY: RFC 8445 section 5.1.2's type preference of peer-reflexive candidates. */
#define PRIORITY (UINT32_C(110) << 24 | UINT32_C(65535) << 8 | 255)

/* What all connections together may send to one IPv4 address or IPv6 /64: a second, and at once. */
#define LIMIT_SLOTS 256
#define LIMIT_RATE 50
#define LIMIT_BURST 400

struct atl_punch_table {
    atl_punch_config config;
    atl_env *env;
    atl_hashmap tokens;      /* of ours, by which the peers' requests name their connection */
    atl_hashmap prefixes;    /* of our transaction ids */
    atl_source_limit *limit; /* requests of all connections to one IP address */
};

/* An authentic request of the peer: it may come before our own side of the attempt has begun. */
typedef struct early {
    atl_addr local;
    atl_addr remote;
    uint32_t priority;
    uint64_t at;
} early;

typedef struct request {
    uint64_t at;
    uint32_t pair;
} request;

typedef struct attempt {
    uint64_t started;
    uint64_t budget; /* bytes of requests that are left */
    uint64_t pace;   /* no request before */
    uint32_t first;  /* number of the first request */
    size_t n_requests;
    uint8_t used_up; /* a request was not sent for want of budget */
    atl_punch_report report;
    atl_checks checks;
    request requests[REQUESTS_MAX];
} attempt;

struct atl_punch {
    atl_punch_table *table;
    const atl_punch_ops *ops;
    void *user;
    atl_hash_node by_token;
    atl_hash_node by_prefix;
    char token[ATL_PUNCH_TOKEN];      /* ours: in the peer's requests */
    char peer_token[ATL_PUNCH_TOKEN]; /* in ours */
    uint8_t key[ATL_PUNCH_KEY];
    uint8_t prefix[ATL_PUNCH_PREFIX];
    uint32_t number; /* of the next request of an attempt to come */
    atl_punch_window window;
    atl_bucket answers;
    atl_timer timer;
    attempt *attempt; /* NULL: none under way */
    early heard[HEARD_MAX];
    size_t n_heard; /* so far; the last HEARD_MAX are kept */
    size_t n_proven;
    atl_punch_pair proven[ATL_PUNCH_PROVEN];
};

/* ---- the table ---- */

int32_t atl_punch_table_new(const atl_punch_config *config, atl_punch_table **out) {
    atl_env *env = config->loop->env;
    atl_punch_table *table = atl_calloc(env, 1, sizeof(*table));
    int32_t rc;

    if (table == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    table->config = *config;
    table->env = env;
    rc = atl_source_limit_new(env, LIMIT_SLOTS, LIMIT_RATE, LIMIT_BURST, &table->limit);
    if (rc == ATLAS_OK) {
        rc = atl_hashmap_init(&table->tokens, env);
    }
    if (rc == ATLAS_OK) {
        rc = atl_hashmap_init(&table->prefixes, env);
    }
    if (rc != ATLAS_OK) {
        atl_source_limit_free(table->limit);
        atl_free(env, table);
        return rc;
    }
    *out = table;
    return ATLAS_OK;
}

void atl_punch_table_free(atl_punch_table *table) {
    if (table != NULL) {
        atl_hashmap_free(&table->tokens);
        atl_hashmap_free(&table->prefixes);
        atl_source_limit_free(table->limit);
        atl_free(table->env, table);
    }
}

static int32_t send_message(atl_punch *punch, const atl_addr *local, const atl_addr *remote,
                            const uint8_t *data, size_t len) {
    const atl_punch_config *config = &punch->table->config;
    int32_t rc = config->send(config->user, local, remote, data, len);

    if (rc == ATLAS_OK && punch->attempt != NULL) {
        punch->attempt->report.bytes += len;
    }
    return rc;
}

/* ---- the end of an attempt ---- */

static void say_proven(const attempt *at, atl_punch_report *report) {
    char addr[ATLAS_ADDR_MAX];
    uint64_t ms = (report->best.rtt + ATL_MS / 2) / ATL_MS;

    (void)at;
    atl_addr_text(&report->best.remote, addr);
    (void)snprintf(report->text, sizeof(report->text),
                   "%u of %u pairs answered, best %s in %s%u ms", (unsigned)report->proven,
                   (unsigned)report->pairs, addr, ms == 0 ? "under " : "",
                   ms == 0 ? 1 : (unsigned)ms);
}

static void say_nothing_to_check(const attempt *at, atl_punch_report *report) {
    const char *why = "no address of the peer may be checked from this host's addresses";

    if (at->checks.n > 0) {
        why = "no request could be sent: there is no socket for any address of the peer";
    } else if (at->checks.named_none) {
        why = "the peer names no address";
    } else if (!at->checks.named_family) {
        why = "the peer names no address of a family that this host has";
    }
    (void)snprintf(report->text, sizeof(report->text), "%s", why);
}

static void say_no_answer(atl_punch_report *report) {
    if (report->code == ATLAS_ERR_LIMIT) {
        (void)snprintf(report->text, sizeof(report->text),
                       "no answer to %u requests, and then the budget of bytes was used up%s",
                       (unsigned)report->requests,
                       report->heard > 0 ? "; checks of the peer were heard" : "");
    } else if (report->heard > 0) {
        (void)snprintf(report->text, sizeof(report->text),
                       "checks of the peer were heard but none of ours was answered");
    } else {
        (void)snprintf(report->text, sizeof(report->text),
                       "no answer on any of %u pairs, and no check of the peer was heard: both "
                       "NATs, or the network between, block the way",
                       (unsigned)report->pairs);
    }
}

static void find_best(const attempt *at, atl_punch_report *report) {
    size_t i;

    for (i = 0; i < at->checks.n; i++) {
        const atl_check *check = &at->checks.list[i];

        if (check->state == ATL_CHECK_PROVEN &&
            (report->proven++ == 0 || atl_punch_compare(&check->pair, &report->best) < 0)) {
            report->best = check->pair;
        }
    }
}

/* The last thing that its caller does: the punch may be gone afterwards. */
static void end_attempt(atl_punch *punch, uint64_t now) {
    attempt *at = punch->attempt;
    atl_punch_report report = at->report;

    report.duration = now - at->started;
    find_best(at, &report);
    if (report.proven > 0) {
        report.code = ATLAS_OK;
        say_proven(at, &report);
    } else if (report.requests == 0 && !at->used_up) {
        report.code = ATLAS_ERR_NO_ADDRESS;
        say_nothing_to_check(at, &report);
    } else {
        report.code = at->used_up ? ATLAS_ERR_LIMIT : ATLAS_ERR_TIMEOUT;
        say_no_answer(&report);
    }
    atl_punch_stop(punch);
    punch->ops->on_ended(punch->user, &report);
}

void atl_punch_stop(atl_punch *punch) {
    if (punch->attempt != NULL) {
        punch->number = punch->attempt->checks.number;
        atl_free(punch->table->env, punch->attempt);
        punch->attempt = NULL;
        atl_timer_clear(punch->table->config.loop, &punch->timer);
    }
}

int atl_punch_running(const atl_punch *punch) {
    return punch->attempt != NULL;
}

/* ---- asking ---- */

static void ask(atl_punch *punch, atl_check *check, uint64_t now) {
    attempt *at = punch->attempt;
    uint8_t data[ATL_PUNCH_REQUEST_LEN];
    size_t len = atl_punch_put_request(punch->prefix, at->checks.number, punch->peer_token,
                                       PRIORITY - check->variant, punch->key, data);
    uint8_t source[8];
    int32_t rc = len == 0 ? ATLAS_ERR_INTERNAL : ATLAS_ERR_AGAIN;

    /* many connections of one attacker may name one victim */
    if (len > 0 && atl_source_limit_take(punch->table->limit, source,
                                         atl_addr_limit_key(&check->pair.remote, source), now)) {
        rc = send_message(punch, &check->pair.local, &check->pair.remote, data, len);
    }

    if (rc == ATLAS_ERR_FAMILY || rc == ATLAS_ERR_INTERNAL) {
        check->state = ATL_CHECK_FAILED;
        return;
    }
    /* any other failure counts as lost on the way */
    at->requests[at->n_requests].at = now;
    at->requests[at->n_requests++].pair = (uint32_t)(check - at->checks.list);
    at->report.pairs += check->requests == 0;
    at->report.requests++;
    at->budget -= len;
    at->pace = now + ATL_PUNCH_PACE;
    atl_checks_asked(&at->checks, check, now);
}

/* No request more: what has been asked may still be answered. */
static void give_up(attempt *at, uint64_t now) {
    size_t i;

    at->used_up = 1;
    for (i = 0; i < at->checks.n; i++) {
        atl_check *check = &at->checks.list[i];

        if (check->state == ATL_CHECK_ACTIVE) {
            check->state = check->requests == 0 ? ATL_CHECK_FAILED : ATL_CHECK_WAITING;
            check->due = now + 2 * at->checks.rto;
        }
    }
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_punch *punch = timer->user;
    attempt *at = punch->attempt;
    uint64_t end = at->started + ATL_PUNCH_TIME;
    uint64_t grace = at->started + ATL_PUNCH_GRACE;
    uint64_t due = end;
    atl_check *next;
    size_t open;

    while (now >= at->pace && (next = atl_checks_next(&at->checks, now)) != NULL) {
        if (at->budget < ATL_PUNCH_REQUEST_LEN || at->n_requests >= REQUESTS_MAX) {
            give_up(at, now);
        } else {
            ask(punch, next, now);
        }
    }
    open = atl_checks_settle(&at->checks, now, at->pace, &due);
    if (now >= end || (open == 0 && (at->checks.n > 0 || now >= grace))) {
        end_attempt(punch, now);
        return;
    }
    atl_timer_set(punch->table->config.loop, timer, open == 0 ? grace : due);
}

/* Everything that happens in an attempt happens in its timer, but answers. */
static void wake(atl_punch *punch) {
    atl_loop *loop = punch->table->config.loop;

    if (punch->attempt != NULL) {
        atl_timer_set(loop, &punch->timer, loop->now);
    }
}

/* ---- what arrives ---- */

static void remember_heard(atl_punch *punch, const atl_rx *rx, uint32_t priority, uint64_t now) {
    early *place = &punch->heard[punch->n_heard++ % HEARD_MAX];

    place->local = rx->local;
    place->remote = rx->remote;
    place->priority = priority;
    place->at = now;
}

static void answer(atl_punch *punch, const atl_stun_msg *msg, const atl_rx *rx) {
    uint8_t data[ATL_PUNCH_ANSWER_MAX];
    size_t len = atl_punch_put_answer(msg->header.id, &rx->remote, punch->key, data);

    if (len > 0 && len <= rx->len) {
        (void)send_message(punch, &rx->local, &rx->remote, data, len);
    }
}

static int on_request(atl_punch_table *table, const atl_stun_msg *msg, const atl_rx *rx) {
    uint64_t now = table->config.loop->now;
    atl_hash_node *node = NULL;
    atl_punch *punch;

    if (msg->username.len == ATL_PUNCH_TOKEN) {
        node = atl_hashmap_get(&table->tokens, msg->username.data, ATL_PUNCH_TOKEN);
    }
    if (node == NULL) {
        return 0;
    }
    punch = ATL_CONTAINER(node, atl_punch, by_token);
    if (!atl_punch_reachable(&rx->local, &rx->remote) || !atl_punch_authentic(msg, punch->key) ||
        !atl_punch_window_take(&punch->window, atl_punch_number(msg->header.id)) ||
        !atl_bucket_take(&punch->answers, now, 1)) {
        return 1;
    }
    answer(punch, msg, rx);
    if (punch->attempt != NULL) {
        punch->attempt->report.heard++;
        atl_checks_heard(&punch->attempt->checks, &rx->local, &rx->remote, msg->priority, now);
        wake(punch);
    } else {
        remember_heard(punch, rx, msg->priority, now);
    }
    return 1;
}

/* Into the list of what is proven, in the place of the same pair or of the worst. */
static void keep_proven(atl_punch *punch, const atl_punch_pair *pair) {
    size_t worst = 0;
    size_t i;

    for (i = 0; i < punch->n_proven; i++) {
        if (atl_addr_equal(&punch->proven[i].remote, &pair->remote) &&
            atl_addr_equal(&punch->proven[i].local, &pair->local)) {
            punch->proven[i] = *pair;
            return;
        }
        if (atl_punch_compare(&punch->proven[i], &punch->proven[worst]) > 0) {
            worst = i;
        }
    }
    if (punch->n_proven < ATL_PUNCH_PROVEN) {
        punch->proven[punch->n_proven++] = *pair;
    } else if (pair->proven - punch->proven[worst].proven > ATL_PUNCH_TIME ||
               atl_punch_compare(pair, &punch->proven[worst]) < 0) {
        punch->proven[worst] = *pair;
    }
}

/* The pair that an answer belongs to, and when it was asked. NULL when it was not. */
static atl_check *find_asked(attempt *at, const atl_stun_msg *msg, const atl_rx *rx,
                             uint64_t *asked) {
    uint32_t index = atl_punch_number(msg->header.id) - at->first;
    atl_check *check;

    if (index >= at->n_requests) {
        return NULL;
    }
    check = &at->checks.list[at->requests[index].pair];
    if (index < check->born - at->first || !atl_addr_equal(&check->pair.remote, &rx->remote) ||
        (check->pair.local.family != 0 && !atl_punch_same_ip(&check->pair.local, &rx->local))) {
        return NULL;
    }
    *asked = at->requests[index].at;
    return check;
}

static int on_answer(atl_punch_table *table, const atl_stun_msg *msg, const atl_rx *rx) {
    atl_hash_node *node = atl_hashmap_get(&table->prefixes, msg->header.id, ATL_PUNCH_PREFIX);
    uint64_t now = table->config.loop->now;
    uint64_t asked = 0;
    atl_check *check = NULL;
    atl_punch_pair pair;
    atl_punch *punch;

    if (node == NULL) {
        return 0;
    }
    punch = ATL_CONTAINER(node, atl_punch, by_prefix);
    if (punch->attempt != NULL) {
        check = find_asked(punch->attempt, msg, rx, &asked);
    }
    if (check == NULL || msg->header.cls != ATL_STUN_SUCCESS || msg->xor_mapped.family == 0 ||
        !atl_punch_authentic(msg, punch->key)) {
        return 1;
    }
    punch->attempt->report.answers++;
    if (check->state == ATL_CHECK_PROVEN) {
        return 1;
    }
    check->state = ATL_CHECK_PROVEN;
    check->pair.mapped = msg->xor_mapped;
    check->pair.rtt = now - asked;
    check->pair.proven = now;
    pair = check->pair;
    keep_proven(punch, &pair);
    wake(punch);
    punch->ops->on_pair(punch->user, &pair);
    return 1;
}

int atl_punch_on_stun(atl_punch_table *table, const atl_rx *rx) {
    atl_stun_msg msg;

    if (rx->error != ATLAS_OK || atl_stun_parse(rx->data, rx->len, &msg) != ATLAS_OK ||
        msg.header.method != ATL_STUN_BINDING) {
        return 0;
    }
    switch (msg.header.cls) {
    case ATL_STUN_REQUEST:
        return on_request(table, &msg, rx);
    case ATL_STUN_SUCCESS:
    case ATL_STUN_ERROR:
        return on_answer(table, &msg, rx);
    default:
        return 0;
    }
}

/* ---- one connection's ---- */

static void token_text(const uint8_t token[16], char out[ATL_PUNCH_TOKEN]) {
    char text[ATL_PUNCH_TOKEN + 1];

    (void)sodium_bin2hex(text, sizeof(text), token, 16);
    memcpy(out, text, ATL_PUNCH_TOKEN);
}

int32_t atl_punch_new(atl_punch_table *table, const uint8_t secret[ATL_PUNCH_SECRET], int is_client,
                      const atl_punch_ops *ops, void *user, atl_punch **out) {
    atl_punch *punch = atl_calloc(table->env, 1, sizeof(*punch));
    uint64_t rate = ATL_PUNCH_ANSWERS / 2;
    int32_t rc;

    if (punch == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    punch->table = table;
    punch->ops = ops;
    punch->user = user;
    token_text(secret, is_client ? punch->token : punch->peer_token);
    token_text(secret + 16, is_client ? punch->peer_token : punch->token);
    memcpy(punch->key, secret + 32, sizeof(punch->key));
    /* half of it saved up and half of it earned: never more than the whole in any second */
    atl_bucket_init(&punch->answers, rate, rate, table->config.loop->now);
    atl_timer_init(&punch->timer, on_timer, punch);
    rc = atl_random(table->env, punch->prefix, sizeof(punch->prefix));
    if (rc == ATLAS_OK) {
        rc = atl_hashmap_add(&table->tokens, &punch->by_token, punch->token, ATL_PUNCH_TOKEN);
    }
    if (rc == ATLAS_OK) {
        rc = atl_hashmap_add(&table->prefixes, &punch->by_prefix, punch->prefix, ATL_PUNCH_PREFIX);
        if (rc != ATLAS_OK) {
            atl_hashmap_remove(&table->tokens, &punch->by_token);
        }
    }
    if (rc != ATLAS_OK) {
        sodium_memzero(punch, sizeof(*punch));
        atl_free(table->env, punch);
        return rc;
    }
    *out = punch;
    return ATLAS_OK;
}

void atl_punch_free(atl_punch *punch) {
    atl_punch_table *table;

    if (punch == NULL) {
        return;
    }
    table = punch->table;
    atl_punch_stop(punch);
    atl_hashmap_remove(&table->tokens, &punch->by_token);
    atl_hashmap_remove(&table->prefixes, &punch->by_prefix);
    sodium_memzero(punch, sizeof(*punch));
    atl_free(table->env, punch);
}

static void hear_again(atl_punch *punch, uint64_t now) {
    attempt *at = punch->attempt;
    size_t n = punch->n_heard < HEARD_MAX ? punch->n_heard : HEARD_MAX;
    size_t i;

    for (i = 0; i < n; i++) {
        const early *check = &punch->heard[i];

        if (now - check->at <= ATL_PUNCH_TIME) {
            at->report.heard++;
            atl_checks_heard(&at->checks, &check->local, &check->remote, check->priority, now);
        }
    }
    punch->n_heard = 0;
}

int32_t atl_punch_start(atl_punch *punch, const atl_candidate *local, size_t n_local,
                        const atl_candidate *remote, size_t n_remote, uint64_t budget,
                        uint64_t rtt) {
    uint64_t now = punch->table->config.loop->now;
    attempt *at = punch->attempt;

    if (at == NULL) {
        at = atl_calloc(punch->table->env, 1, sizeof(*at));
        if (at == NULL) {
            return ATLAS_ERR_NOMEM;
        }
        at->started = now;
        at->budget = budget;
        at->first = punch->number;
        atl_checks_init(&at->checks, rtt, punch->number);
        punch->attempt = at;
    }
    atl_checks_add(&at->checks, local, n_local, remote, n_remote, now);
    hear_again(punch, now);
    wake(punch);
    return ATLAS_OK;
}

size_t atl_punch_proven(const atl_punch *punch, uint64_t max_age, atl_punch_pair *out, size_t cap) {
    uint64_t now = punch->table->config.loop->now;
    size_t n = 0;
    size_t i;

    for (i = 0; i < punch->n_proven; i++) {
        const atl_punch_pair *pair = &punch->proven[i];
        size_t at = n;

        if (now - pair->proven > max_age) {
            continue;
        }
        while (at > 0 && atl_punch_compare(pair, &out[at - 1]) < 0) {
            at--;
        }
        if (at >= cap) {
            continue;
        }
        n += n < cap;
        memmove(&out[at + 1], &out[at], (n - at - 1) * sizeof(*out));
        out[at] = *pair;
    }
    return n;
}
