#include "io/resolver.h"

/* Newer releases offer replacements for the SRV calls that Debian 12's 1.18 does not have. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <netdb.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/time.h>

#include "io/os_impl.h"
#include "io/sockaddr.h"

#define QUERY_TIMEOUT_MS 1500 /* doubles with every try */
#define QUERY_TRIES 3
#define NAME_MAX_LEN 253
#define SRV_CLASS_IN 1
#define SRV_TYPE 33
#define SRV_RECORDS 32 /* of one answer that are looked at */
#define SRV_TARGETS 8  /* of those that are resolved */

struct atl_resolver {
    atl_os *os;
    ares_channel channel;
    atl_timer timer;
    atl_list requests; /* atl_resolve */
};

/* One name of a look-up: SRV has several, all others one. */
typedef struct part {
    atl_resolve *owner;
    uint16_t port;
    int32_t status;
    size_t n;
    atl_addr addrs[ATL_RESOLVE_MAX];
} part;

struct atl_resolve {
    atl_list node;
    atl_resolver *resolver;
    atl_resolve_cb cb; /* NULL once cancelled: c-ares still owes its callbacks */
    void *user;
    atl_task task;
    int32_t status;
    size_t owed; /* callbacks of c-ares to come */
    size_t n_parts;
    part parts[SRV_TARGETS];
};

/* ---- c-ares in the loop ---- */

static void arm(atl_resolver *resolver) {
    struct timeval tv;
    uint64_t wait;

    if (ares_timeout(resolver->channel, NULL, &tv) == NULL) {
        atl_timer_clear(resolver->os->loop, &resolver->timer);
        return;
    }
    /* a millisecond more: c-ares counts in those, and would find nothing due */
    wait = (uint64_t)tv.tv_sec * ATL_SECOND + (uint64_t)tv.tv_usec * 1000 + ATL_MS;
    atl_timer_set(resolver->os->loop, &resolver->timer, resolver->os->loop->now + wait);
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_resolver *resolver = timer->user;

    (void)now;
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(resolver);
}

static void on_fd(void *user, int32_t fd, uint32_t events) {
    atl_resolver *resolver = user;
    ares_socket_t in = (events & (ATLAS_FD_READ | ATLAS_FD_ERROR)) != 0 ? fd : ARES_SOCKET_BAD;
    ares_socket_t out = (events & (ATLAS_FD_WRITE | ATLAS_FD_ERROR)) != 0 ? fd : ARES_SOCKET_BAD;

    ares_process_fd(resolver->channel, in, out);
    arm(resolver);
}

/* c-ares reports 0, 0 before it closes a socket. A socket that cannot be watched ends in c-ares'
 * timeout. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable) {
    atl_resolver *resolver = data;
    atl_watch *watch = atl_watch_find(resolver->os, fd);
    uint32_t events = (readable ? ATLAS_FD_READ : 0) | (writable ? ATLAS_FD_WRITE : 0);

    if (events == 0) {
        if (watch != NULL) {
            atl_watch_remove(watch);
        }
    } else if (watch != NULL) {
        atl_watch_set(watch, events);
    } else {
        (void)atl_watch_add(resolver->os, fd, events, on_fd, resolver, &watch);
    }
}

/* No ares_library_init(): it is for Windows, and global state elsewhere. */
static int32_t resolver_get(atl_os *os, atl_resolver **out) {
    struct ares_options options;
    atl_resolver *resolver = os->resolver;
    int status;

    if (resolver != NULL) {
        *out = resolver;
        return ATLAS_OK;
    }
    resolver = atl_calloc(os->env, 1, sizeof(*resolver));
    if (resolver == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    resolver->os = os;
    atl_list_init(&resolver->requests);
    atl_timer_init(&resolver->timer, on_timer, resolver);
    memset(&options, 0, sizeof(options));
    options.timeout = QUERY_TIMEOUT_MS;
    options.tries = QUERY_TRIES;
    options.sock_state_cb = on_socket_state;
    options.sock_state_cb_data = resolver;
    status = ares_init_options(&resolver->channel, &options,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        atl_free(os->env, resolver);
        return status == ARES_ENOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_IO;
    }
    os->resolver = resolver;
    *out = resolver;
    return ATLAS_OK;
}

int32_t atl_os_set_dns(atl_os *os, const char *csv) {
    atl_resolver *resolver;
    int32_t rc = resolver_get(os, &resolver);

    if (rc != ATLAS_OK) {
        return rc;
    }
    switch (ares_set_servers_ports_csv(resolver->channel, csv)) {
    case ARES_SUCCESS:
        return ATLAS_OK;
    case ARES_ENOTIMP:
        return ATLAS_ERR_STATE;
    case ARES_ENOMEM:
        return ATLAS_ERR_NOMEM;
    default:
        return ATLAS_ERR_ADDRESS;
    }
}

/* ---- one look-up ---- */

static void request_free(atl_resolve *request) {
    atl_task_cancel(&request->task);
    atl_list_remove(&request->node);
    atl_free(request->resolver->os->env, request);
}

/* All names of the look-up have ended: their addresses in the order of the names. */
static void deliver(atl_task *task) {
    atl_resolve *request = task->user;
    atl_resolve_cb cb = request->cb;
    void *user = request->user;
    atl_addr addrs[ATL_RESOLVE_MAX];
    int32_t status = request->status;
    size_t n = 0;

    for (size_t i = 0; i < request->n_parts; i++) {
        const part *from = &request->parts[i];

        for (size_t k = 0; k < from->n && n < ATL_RESOLVE_MAX; k++) {
            addrs[n++] = from->addrs[k];
        }
        if (from->status != ATLAS_OK && status == ATLAS_OK) {
            status = from->status;
        }
    }
    if (n > 0) {
        status = ATLAS_OK;
    } else if (status == ATLAS_OK) {
        status = ATLAS_ERR_RESOLVE;
    }
    request_free(request);
    cb(user, status, n > 0 ? addrs : NULL, n);
}

/* Nothing more is owed: tell the caller from the drive call, or forget a cancelled look-up. */
static void settle(atl_resolve *request) {
    if (request->owed > 0) {
        return;
    }
    if (request->cb == NULL) {
        request_free(request);
    } else {
        atl_post_work(request->resolver->os->loop, &request->task);
    }
}

static int32_t status_of(int status) {
    if (status == ARES_SUCCESS) {
        return ATLAS_OK;
    }
    return status == ARES_ENOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_RESOLVE;
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
    part *one = arg;
    atl_resolve *request = one->owner;

    (void)timeouts;
    one->status = status_of(status);
    if (info != NULL) {
        for (const struct ares_addrinfo_node *node = info->nodes;
             node != NULL && one->n < ATL_RESOLVE_MAX; node = node->ai_next) {
            atl_addr addr;

            atl_from_sockaddr(node->ai_addr, &addr);
            if (addr.family != 0) {
                addr.port = one->port;
                one->addrs[one->n++] = addr;
            }
        }
        ares_freeaddrinfo(info);
    }
    request->owed--;
    settle(request);
}

static int is_localhost(const char *host) {
    return strcasecmp(host, "localhost") == 0 || strcasecmp(host, "localhost.") == 0;
}

/* What needs no DNS. 1 when it was answered. */
static int answer_literal(part *one, const char *host, uint8_t family) {
    static const char *const loopback[] = {"127.0.0.1", "::1"};
    atl_addr addr;
    int local = is_localhost(host);

    for (size_t i = 0; i < (local ? ATL_COUNT(loopback) : 1); i++) {
        const char *text = local ? loopback[i] : host;

        if (atl_addr_parse_ip(text, strlen(text), one->port, &addr) != ATLAS_OK) {
            return 0;
        }
        if (family == 0 || addr.family == family) {
            one->addrs[one->n++] = addr;
        }
    }
    return 1;
}

/* The caller has counted the callback in `owed`. */
static void query_addresses(part *one, const char *host, uint8_t family) {
    struct ares_addrinfo_hints hints;

    if (answer_literal(one, host, family)) {
        one->owner->owed--;
        settle(one->owner);
        return;
    }
    memset(&hints, 0, sizeof(hints));
    hints.ai_flags = ARES_AI_NUMERICSERV;
    hints.ai_family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
    hints.ai_socktype = SOCK_DGRAM;
    ares_getaddrinfo(one->owner->resolver->channel, host, NULL, &hints, on_addresses, one);
}

static int32_t request_new(atl_os *os, atl_resolve_cb cb, void *user, atl_resolve **out) {
    atl_resolver *resolver;
    atl_resolve *request;
    int32_t rc = resolver_get(os, &resolver);

    if (rc != ATLAS_OK) {
        return rc;
    }
    request = atl_calloc(os->env, 1, sizeof(*request));
    if (request == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    request->resolver = resolver;
    request->cb = cb;
    request->user = user;
    atl_task_init(&request->task, deliver, request);
    atl_list_append(&resolver->requests, &request->node);
    for (size_t i = 0; i < SRV_TARGETS; i++) {
        request->parts[i].owner = request;
    }
    *out = request;
    return ATLAS_OK;
}

int32_t atl_resolver_resolve(void *impl, const char *host, uint16_t port, uint8_t family,
                             atl_resolve_cb cb, void *user, atl_resolve **out) {
    atl_resolve *request;
    int32_t rc;

    if (host == NULL || host[0] == '\0' || cb == NULL ||
        (family != 0 && family != 4 && family != 6)) {
        return ATLAS_ERR_INVALID;
    }
    if (strlen(host) > NAME_MAX_LEN + 1) {
        return ATLAS_ERR_ADDRESS;
    }
    rc = request_new(impl, cb, user, &request);
    if (rc != ATLAS_OK) {
        return rc;
    }
    *out = request; /* the callback cannot run before the drive call */
    request->n_parts = 1;
    request->parts[0].port = port;
    request->owed = 1;
    query_addresses(&request->parts[0], host, family);
    arm(((atl_os *)impl)->resolver);
    return ATLAS_OK;
}

/* ---- SRV (RFC 2782) ---- */

typedef struct srv_record {
    const char *host;
    uint32_t weight;
    uint16_t priority;
    uint16_t port;
} srv_record;

/* Lowest priority first; weight 0 before others, as the selection below wants it. */
static int srv_compare(const void *a, const void *b) {
    const srv_record *x = a;
    const srv_record *y = b;

    if (x->priority != y->priority) {
        return x->priority < y->priority ? -1 : 1;
    }
    return (x->weight != 0) - (y->weight != 0);
}

/* Draws the order within one priority: each record with a chance in proportion to its weight. */
static void srv_draw(atl_env *env, srv_record *records, size_t n) {
    for (size_t i = 0; i + 1 < n; i++) {
        uint32_t sum = 0;
        uint32_t pick = 0;
        size_t k = i;
        srv_record chosen;

        for (size_t j = i; j < n; j++) {
            sum += records[j].weight;
        }
        (void)atl_random(env, &pick, sizeof(pick)); /* without it, the order of the answer */
        pick %= sum + 1;
        for (sum = records[k].weight; sum < pick; sum += records[k].weight) {
            k++;
        }
        chosen = records[k];
        memmove(&records[i + 1], &records[i], (k - i) * sizeof(*records));
        records[i] = chosen;
    }
}

static size_t srv_order(atl_env *env, const struct ares_srv_reply *list, srv_record *out) {
    size_t n = 0;

    for (; list != NULL && n < SRV_RECORDS; list = list->next) {
        /* a target "." says that there is no such service */
        if (list->host != NULL && list->host[0] != '\0' && strcmp(list->host, ".") != 0) {
            out[n].host = list->host;
            out[n].weight = list->weight;
            out[n].priority = list->priority;
            out[n].port = list->port;
            n++;
        }
    }
    qsort(out, n, sizeof(*out), srv_compare);
    for (size_t from = 0; from < n;) {
        size_t to = from + 1;

        while (to < n && out[to].priority == out[from].priority) {
            to++;
        }
        srv_draw(env, out + from, to - from);
        from = to;
    }
    return n < SRV_TARGETS ? n : SRV_TARGETS;
}

static void on_srv(void *arg, int status, int timeouts, unsigned char *answer, int len) {
    atl_resolve *request = arg;
    struct ares_srv_reply *list = NULL;
    srv_record records[SRV_RECORDS];

    (void)timeouts;
    if (status == ARES_SUCCESS) {
        status = ares_parse_srv_reply(answer, len, &list);
    }
    request->status = status_of(status);
    if (status == ARES_SUCCESS && request->cb != NULL) {
        size_t n = srv_order(request->resolver->os->env, list, records);

        request->n_parts = n;
        request->owed += n;
        for (size_t i = 0; i < n; i++) {
            request->parts[i].port = records[i].port;
            query_addresses(&request->parts[i], records[i].host, 0);
        }
    }
    if (list != NULL) {
        ares_free_data(list);
    }
    request->owed--;
    settle(request);
}

int32_t atl_resolver_resolve_srv(void *impl, const char *service, const char *domain,
                                 atl_resolve_cb cb, void *user, atl_resolve **out) {
    char name[NAME_MAX_LEN + 2];
    size_t service_len;
    size_t domain_len;
    atl_resolve *request;
    int32_t rc;

    if (service == NULL || domain == NULL || domain[0] == '\0' || cb == NULL) {
        return ATLAS_ERR_INVALID;
    }
    service_len = strlen(service);
    domain_len = strlen(domain);
    if (service_len + 1 + domain_len > NAME_MAX_LEN) {
        return ATLAS_ERR_ADDRESS;
    }
    memcpy(name, service, service_len);
    name[service_len] = '.';
    memcpy(name + service_len + 1, domain, domain_len + 1);
    rc = request_new(impl, cb, user, &request);
    if (rc != ATLAS_OK) {
        return rc;
    }
    *out = request;
    request->owed = 1;
    ares_query(request->resolver->channel, name, SRV_CLASS_IN, SRV_TYPE, on_srv, request);
    arm(((atl_os *)impl)->resolver);
    return ATLAS_OK;
}

/* ---- ending ---- */

static int any_wanted(const atl_resolver *resolver) {
    for (atl_list *node = resolver->requests.next; node != &resolver->requests; node = node->next) {
        const atl_resolve *request = ATL_CONTAINER(node, atl_resolve, node);

        if (request->cb != NULL) {
            return 1;
        }
    }
    return 0;
}

void atl_resolver_cancel(void *impl, atl_resolve *resolve) {
    atl_resolver *resolver = ((atl_os *)impl)->resolver;

    resolve->cb = NULL;
    settle(resolve);
    /* c-ares cannot end a single query, but all of them */
    if (!any_wanted(resolver) && !atl_list_empty(&resolver->requests)) {
        ares_cancel(resolver->channel);
        arm(resolver);
    }
}

void atl_resolver_free(atl_os *os) {
    atl_resolver *resolver = os->resolver;
    atl_list *next;

    if (resolver == NULL) {
        return;
    }
    for (atl_list *node = resolver->requests.next; node != &resolver->requests; node = next) {
        atl_resolve *request = ATL_CONTAINER(node, atl_resolve, node);

        next = node->next;
        request->cb = NULL;
        settle(request);
    }
    ares_destroy(resolver->channel); /* gives every callback that is owed */
    atl_timer_clear(os->loop, &resolver->timer);
    os->resolver = NULL;
    atl_free(os->env, resolver);
}
