#include "stun/probe.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "stun/internal.h"

#define TEXT_MAX 256

struct server;

/* One server over one family: a transaction with each of its addresses in turn until one is alive.
 */
typedef struct query {
    struct server *server;
    atl_stun_txn *txn; /* NULL when none runs */
    atl_task event;    /* delivers the result */
    size_t addr_count;
    size_t addr_next;
    atl_addr addrs[ATL_RESOLVE_MAX];
    atl_stun_reply reply;
} query;

typedef struct server {
    atlas_stun *probe;
    uint32_t index;
    char *text;
    atl_stun_target target;
    atl_resolve *resolve; /* NULL when no look-up runs */
    uint8_t looking_up_srv;
    query queries[2]; /* IPv4, IPv6 */
} server;

struct atlas_stun {
    atl_list node; /* agent->probes */
    atl_stun_agent *agent;
    atlas_stun_cb cb;
    void *user;
    atl_stun_creds creds; /* its strings are owned */
    uint64_t deadline;
    atl_timer timer; /* ends look-ups; transactions have the same deadline themselves */
    atl_task final;
    const atl_stun_reply *reply; /* whose result is being delivered */
    size_t outstanding;          /* look-ups, transactions, results not delivered */
    int32_t last_error;
    uint8_t answered; /* at least one server gave an address */
    uint8_t cancelled;
    uint8_t ended; /* the final event is being delivered */
    size_t n;
    server servers[];
};

static void start_lookup(server *s);

/* ---- results ---- */

static void write_text(const atl_stun_reply *reply, char out[TEXT_MAX]) {
    switch (reply->code) {
    case ATLAS_OK:
        snprintf(out, TEXT_MAX, "the server answered in %.1f ms", (double)reply->rtt / 1e6);
        break;
    case ATLAS_ERR_STUN_RESPONSE:
        snprintf(out, TEXT_MAX, "the server answered with error %d %s", (int)reply->stun_code,
                 reply->reason);
        break;
    case ATLAS_ERR_STUN_INTEGRITY:
        if (reply->stun_code != 0) {
            snprintf(out, TEXT_MAX,
                     "every answer lacked a valid integrity and was discarded; the last said %d %s",
                     (int)reply->stun_code, reply->reason);
        } else {
            snprintf(out, TEXT_MAX, "every answer lacked a valid integrity and was discarded");
        }
        break;
    case ATLAS_ERR_STUN_TIMEOUT:
        snprintf(out, TEXT_MAX, "no answer to %u requests", (unsigned)reply->transmissions);
        break;
    default:
        snprintf(out, TEXT_MAX, "%s", atlas_error_text(reply->code));
        break;
    }
}

static void addr_text_or_empty(const atl_addr *addr, char out[ATLAS_ADDR_MAX]) {
    out[0] = '\0';
    if (addr->family != 0) {
        atl_addr_text(addr, out);
    }
}

static void local_text(const atlas_stun *probe, const atl_stun_reply *reply,
                       char out[ATLAS_ADDR_MAX]) {
    atl_addr local = reply->local;

    if ((local.family == 0 || atl_addr_is_unspecified(&local)) &&
        (reply->remote.family == 0 ||
         atl_stun_local_for(probe->agent, &reply->remote, &local) != ATLAS_OK) &&
        atl_stun_local_for(probe->agent, NULL, &local) != ATLAS_OK) {
        memset(&local, 0, sizeof(local));
    }
    addr_text_or_empty(&local, out);
}

static void settle(atlas_stun *probe) {
    if (probe->outstanding == 0 && !probe->cancelled) {
        atl_timer_clear(probe->agent->config.loop, &probe->timer);
        atl_post_event(probe->agent->config.loop, &probe->final);
    }
}

static void deliver(atl_task *task) {
    query *q = task->user;
    atlas_stun *probe = q->server->probe;
    const atl_stun_reply *reply = &q->reply;
    char server_addr[ATLAS_ADDR_MAX];
    char reflexive[ATLAS_ADDR_MAX];
    char local[ATLAS_ADDR_MAX];
    char text[TEXT_MAX];
    atlas_stun_result result;

    addr_text_or_empty(&reply->remote, server_addr);
    addr_text_or_empty(&reply->reflexive, reflexive);
    local_text(probe, reply, local);
    write_text(reply, text);
    memset(&result, 0, sizeof(result));
    result.size = sizeof(result);
    result.code = reply->code;
    result.stun_code = reply->code == ATLAS_ERR_STUN_RESPONSE ? reply->stun_code : 0;
    result.rtt_ns = reply->rtt;
    result.transmissions = reply->transmissions;
    result.index = q->server->index;
    result.server = q->server->text;
    result.server_addr = server_addr;
    result.reflexive = reflexive;
    result.local = local;
    result.text = text;
    probe->outstanding--;
    probe->reply = reply;
    probe->cb(probe->user, probe, &result, ATLAS_OK);
    probe->reply = NULL;
    settle(probe);
}

static void deliver_final(atl_task *task) {
    atlas_stun *probe = task->user;
    int32_t status = probe->cancelled  ? ATLAS_ERR_CANCELLED
                     : probe->answered ? ATLAS_OK
                                       : probe->last_error;

    probe->ended = 1;
    probe->cb(probe->user, probe, NULL, status);
    atl_stun_probe_free(probe);
}

/* The query's share of `outstanding` now stands for its result. */
static void post_result(query *q) {
    atlas_stun *probe = q->server->probe;

    if (q->reply.code == ATLAS_OK) {
        probe->answered = 1;
    } else {
        probe->last_error = q->reply.code;
    }
    atl_post_event(probe->agent->config.loop, &q->event);
}

static void post_failure(query *q, int32_t code, const atl_addr *remote) {
    memset(&q->reply, 0, sizeof(q->reply));
    q->reply.code = code;
    if (remote != NULL) {
        q->reply.remote = *remote;
    }
    post_result(q);
}

/* ---- queries ---- */

static void on_reply(void *user, const atl_stun_reply *reply);

/* Asks the next address; what cannot even be sent moves on to the one after. */
static void ask_next(query *q) {
    atlas_stun *probe = q->server->probe;
    int32_t rc = ATLAS_ERR_UNREACHABLE;

    while (q->addr_next < q->addr_count) {
        const atl_addr *remote = &q->addrs[q->addr_next++];

        rc = atl_stun_client_start(probe->agent->client, NULL, remote, probe->deadline,
                                   &probe->creds, on_reply, q, &q->txn);
        if (rc == ATLAS_OK) {
            return;
        }
        q->txn = NULL;
    }
    post_failure(q, rc, q->addr_count > 0 ? &q->addrs[q->addr_count - 1] : NULL);
}

static void on_reply(void *user, const atl_stun_reply *reply) {
    query *q = user;

    q->txn = NULL;
    if ((reply->code == ATLAS_ERR_REFUSED || reply->code == ATLAS_ERR_UNREACHABLE) &&
        q->addr_next < q->addr_count) {
        ask_next(q);
        return;
    }
    q->reply = *reply;
    post_result(q);
}

/* Asks over every family that has a socket and a route. A family without one is only reported when
 * the other is no better. The server's share of `outstanding` passes to its queries. */
static void ask_families(server *s) {
    atlas_stun *probe = s->probe;
    query *failed = NULL;
    int32_t failure = ATLAS_ERR_RESOLVE;
    size_t started = 0;
    size_t i;

    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        query *q = &s->queries[i];
        atl_addr local;
        int32_t rc;

        if (q->addr_count == 0) {
            continue;
        }
        rc = atl_stun_local_for(probe->agent, &q->addrs[0], &local);
        if (rc != ATLAS_OK) {
            if (failed == NULL || rc != ATLAS_ERR_FAMILY) {
                failed = q;
                failure = rc;
            }
            continue;
        }
        if (started++ > 0) {
            probe->outstanding++;
        }
        ask_next(q);
    }
    if (started == 0) {
        post_failure(failed != NULL ? failed : &s->queries[0], failure,
                     failed != NULL ? &failed->addrs[0] : NULL);
    }
}

static void add_address(server *s, const atl_addr *addr) {
    query *q = &s->queries[addr->family == 6 ? 1 : 0];

    if ((addr->family == 4 || addr->family == 6) &&
        (s->target.family == 0 || s->target.family == addr->family) && addr->port != 0 &&
        q->addr_count < ATL_COUNT(q->addrs)) {
        q->addrs[q->addr_count++] = *addr;
    }
}

/* ---- names ---- */

static void on_resolved(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    server *s = user;
    size_t i;

    s->resolve = NULL;
    if (s->looking_up_srv && (status != ATLAS_OK || n == 0)) {
        s->looking_up_srv = 0;
        start_lookup(s);
        return;
    }
    for (i = 0; status == ATLAS_OK && i < n; i++) {
        add_address(s, &addrs[i]);
    }
    ask_families(s);
}

static void start_lookup(server *s) {
    const atl_io *io = s->probe->agent->config.io;
    int32_t rc;

    if (s->looking_up_srv) {
        rc = io->resolve_srv(io->impl, "_stun._udp", s->target.host, on_resolved, s, &s->resolve);
        if (rc == ATLAS_OK) {
            return;
        }
        s->looking_up_srv = 0;
    }
    rc = io->resolve(io->impl, s->target.host, s->target.port, s->target.family, on_resolved, s,
                     &s->resolve);
    if (rc != ATLAS_OK) {
        s->resolve = NULL;
        post_failure(&s->queries[0], rc, NULL);
    }
}

static void stop_lookup(server *s) {
    const atl_io *io = s->probe->agent->config.io;

    if (s->resolve != NULL) {
        io->resolve_cancel(io->impl, s->resolve);
        s->resolve = NULL;
    }
}

static void on_deadline(atl_timer *timer, uint64_t now) {
    atlas_stun *probe = timer->user;
    size_t i;

    (void)now;
    for (i = 0; i < probe->n; i++) {
        server *s = &probe->servers[i];

        if (s->resolve != NULL) {
            stop_lookup(s);
            post_failure(&s->queries[0], ATLAS_ERR_RESOLVE, NULL);
        }
    }
}

/* ---- the probe ---- */

/* Ends everything that runs or waits to be delivered. */
static void stop_all(atlas_stun *probe) {
    atl_stun_agent *agent = probe->agent;
    size_t i;
    size_t j;

    atl_timer_clear(agent->config.loop, &probe->timer);
    atl_task_cancel(&probe->final);
    for (i = 0; i < probe->n; i++) {
        server *s = &probe->servers[i];

        stop_lookup(s);
        for (j = 0; j < ATL_COUNT(s->queries); j++) {
            query *q = &s->queries[j];

            atl_task_cancel(&q->event);
            if (q->txn != NULL) {
                atl_stun_client_cancel(agent->client, q->txn);
                q->txn = NULL;
            }
        }
    }
    probe->outstanding = 0;
}

void atl_stun_probe_free(atlas_stun *probe) {
    atl_env *env = probe->agent->config.loop->env;
    char *password = (char *)probe->creds.password;
    size_t i;

    stop_all(probe);
    atl_list_remove(&probe->node);
    for (i = 0; i < probe->n; i++) {
        atl_free(env, probe->servers[i].text);
    }
    if (password != NULL) {
        sodium_memzero(password, strlen(password));
    }
    atl_free(env, password);
    atl_free(env, (char *)probe->creds.username);
    atl_free(env, probe);
}

void atl_stun_probe_cancel(atlas_stun *probe) {
    if (probe->ended || probe->cancelled) {
        return;
    }
    stop_all(probe);
    probe->cancelled = 1;
    atl_post_event(probe->agent->config.loop, &probe->final);
}

atlas_stun *atl_stun_probe_of(atl_list *node) {
    return ATL_CONTAINER(node, atlas_stun, node);
}

const atl_stun_reply *atl_stun_probe_reply(const atlas_stun *probe) {
    return probe->reply;
}

void *atl_stun_probe_owner(const atlas_stun *probe) {
    return probe->agent->config.user;
}

static int32_t init_servers(atlas_stun *probe, const char *const *texts, size_t n) {
    size_t i;
    size_t j;

    for (i = 0; i < n; i++) {
        server *s = &probe->servers[i];
        int32_t rc =
            texts[i] == NULL ? ATLAS_ERR_INVALID : atl_stun_target_parse(texts[i], &s->target);

        if (rc != ATLAS_OK) {
            return rc;
        }
        s->probe = probe;
        s->index = (uint32_t)i;
        s->looking_up_srv = s->target.srv;
        for (j = 0; j < ATL_COUNT(s->queries); j++) {
            s->queries[j].server = s;
            atl_task_init(&s->queries[j].event, deliver, &s->queries[j]);
        }
        probe->n++;
        s->text = atl_strdup(probe->agent->config.loop->env, texts[i]);
        if (s->text == NULL) {
            return ATLAS_ERR_NOMEM;
        }
    }
    return ATLAS_OK;
}

static int32_t init_creds(atlas_stun *probe, const atl_stun_creds *creds) {
    atl_env *env = probe->agent->config.loop->env;

    if (creds == NULL || creds->integrity == 0) {
        return ATLAS_OK;
    }
    if (creds->username == NULL || creds->password == NULL ||
        strlen(creds->username) > ATL_STUN_USERNAME_MAX ||
        (creds->integrity & ~(uint32_t)(ATLAS_STUN_SHA1 | ATLAS_STUN_SHA256)) != 0) {
        return ATLAS_ERR_INVALID;
    }
    probe->creds.integrity = creds->integrity;
    probe->creds.username = atl_strdup(env, creds->username);
    probe->creds.password = atl_strdup(env, creds->password);
    return probe->creds.username == NULL || probe->creds.password == NULL ? ATLAS_ERR_NOMEM
                                                                          : ATLAS_OK;
}

static void start_servers(atlas_stun *probe) {
    size_t i;

    probe->outstanding = probe->n;
    for (i = 0; i < probe->n; i++) {
        server *s = &probe->servers[i];

        if (s->target.addr.family != 0) {
            add_address(s, &s->target.addr);
            ask_families(s);
        } else {
            start_lookup(s);
        }
    }
}

int32_t atl_stun_probe_start(atl_stun_agent *agent, const char *const *servers, size_t n,
                             uint64_t timeout, const atl_stun_creds *creds, atlas_stun_cb cb,
                             void *user, atlas_stun **out) {
    atl_loop *loop = agent->config.loop;
    atlas_stun *probe;
    int32_t rc;

    if (n == 0 || n > ATL_STUN_SERVERS_MAX || cb == NULL || timeout < ATL_STUN_TIMEOUT_MIN ||
        timeout > ATL_STUN_LONGEST) {
        return ATLAS_ERR_INVALID;
    }
    probe = atl_calloc(loop->env, 1, sizeof(*probe) + n * sizeof(probe->servers[0]));
    if (probe == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    probe->agent = agent;
    probe->cb = cb;
    probe->user = user;
    probe->deadline = loop->now + timeout;
    probe->last_error = ATLAS_ERR_STUN_TIMEOUT;
    atl_list_init(&probe->node);
    atl_timer_init(&probe->timer, on_deadline, probe);
    atl_task_init(&probe->final, deliver_final, probe);
    rc = init_servers(probe, servers, n);
    if (rc == ATLAS_OK) {
        rc = init_creds(probe, creds);
    }
    if (rc != ATLAS_OK) {
        atl_stun_probe_free(probe);
        return rc;
    }
    atl_list_append(&agent->probes, &probe->node);
    atl_timer_set(loop, &probe->timer, probe->deadline);
    start_servers(probe);
    if (out != NULL) {
        *out = probe;
    }
    return ATLAS_OK;
}
