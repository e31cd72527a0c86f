#include "peer/candidates.h"

#include <string.h>

#include <atlas/nat.h>

#include "peer/candidates_impl.h"

/* Answers further apart may differ because the NAT has forgotten, not because it maps by target. */
#define COMPARABLE (300 * ATL_SECOND)

static atl_candidate_source *source_of(atl_list *node) {
    return ATL_CONTAINER(node, atl_candidate_source, node);
}

/* ---- the list ---- */

static void on_told(atl_task *task) {
    atl_candidates *self = task->user;

    self->config.on_change(self->config.user);
}

void atl_candidates_rebuild(atl_candidates *self) {
    atl_candidate_list list;
    atl_list *node;
    int same;
    size_t i;

    if (!self->started) {
        return;
    }
    atl_candidate_list_hosts(&list, self->locals, self->n_locals);
    for (node = self->sources.next; node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        for (i = 0; i < ATL_COUNT(s->queries); i++) {
            if (s->queries[i].answered) {
                atl_candidate_list_reflexive(&list, &s->queries[i].reflexive, &s->queries[i].base);
            }
        }
    }
    atl_candidate_list_sort(&list);
    same = atl_candidate_list_equal(&list, &self->list);
    self->list = list;
    if (!same) {
        self->generation++;
        if (self->config.on_change != NULL) {
            atl_post_work(self->config.loop, &self->told);
        }
    }
}

/* Whether an address of the host leads to a socket of ours; its port is set then. */
static int reaches(const atl_candidates *self, atl_addr *addr) {
    atl_addr bound;

    if (self->config.local(self->config.user, addr->family, &bound) != ATLAS_OK ||
        (!atl_addr_is_unspecified(&bound) && memcmp(bound.ip, addr->ip, sizeof(bound.ip)) != 0)) {
        return 0;
    }
    addr->port = bound.port;
    return 1;
}

static void read_hosts(atl_candidates *self) {
    const atl_io *io = self->config.io;
    atl_addr addrs[ATL_CANDIDATES_LOCALS];
    size_t n = io->local_addrs(io->impl, addrs, ATL_CANDIDATES_LOCALS);
    size_t i;

    self->n_locals = 0;
    self->hosts_at = self->config.loop->now;
    for (i = 0; i < n && i < ATL_CANDIDATES_LOCALS; i++) {
        if (reaches(self, &addrs[i])) {
            self->locals[self->n_locals++] = addrs[i];
        }
    }
}

static int is_local(const atl_candidates *self, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < self->n_locals; i++) {
        if (memcmp(self->locals[i].ip, addr->ip, sizeof(addr->ip)) == 0 &&
            self->locals[i].family == addr->family && self->locals[i].port == addr->port) {
            return 1;
        }
    }
    return 0;
}

/* ---- retries ---- */

void atl_candidates_arm(atl_candidates *self) {
    uint64_t next = ATLAS_NO_DEADLINE;
    atl_list *node;
    size_t i;

    for (node = self->sources.next; node != &self->sources; node = node->next) {
        for (i = 0; i < 2; i++) {
            uint64_t at = source_of(node)->queries[i].retry_at;

            next = at < next ? at : next;
        }
    }
    atl_timer_set(self->config.loop, &self->timer, self->idle ? ATLAS_NO_DEADLINE : next);
}

static void on_retry(atl_timer *timer, uint64_t now) {
    atl_candidates *self = timer->user;
    atl_list *node;
    size_t i;

    for (node = self->sources.next; node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        for (i = 0; i < ATL_COUNT(s->queries); i++) {
            if (s->queries[i].retry_at <= now) {
                s->queries[i].retry_at = ATLAS_NO_DEADLINE;
                s->queries[i].due = 1;
            }
        }
        atl_candidate_source_kick(s);
    }
    atl_candidates_rebuild(self);
    atl_candidates_arm(self);
}

/* ---- sources ---- */

static void want_source(atl_candidate_source *s) {
    size_t i;

    if (s->owner->idle) {
        return;
    }
    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        atl_candidate_query_want(&s->queries[i]);
    }
    atl_candidate_source_kick(s);
}

static void free_source(atl_candidate_source *s) {
    atl_env *env = s->owner->config.loop->env;

    atl_candidate_source_stop(s);
    atl_list_remove(&s->node);
    atl_free(env, s->text);
    atl_free(env, s);
}

static atl_candidate_source *find_server(atl_candidates *self, const char *text) {
    atl_list *node;

    for (node = self->sources.next; node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        if (s->text != NULL && strcmp(s->text, text) == 0) {
            return s;
        }
    }
    return NULL;
}

static atl_candidate_source *find_relay(atl_candidates *self, const atl_addr *addr) {
    atl_list *node;

    for (node = self->sources.next; node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        if (s->text == NULL && atl_addr_equal(&s->target.addr, addr)) {
            return s;
        }
    }
    return NULL;
}

static int32_t add_source(atl_candidates *self, const char *text, const atl_stun_target *target,
                          atl_candidate_source **out) {
    atl_env *env = self->config.loop->env;
    atl_candidate_source *s = atl_calloc(env, 1, sizeof(*s));
    size_t i;

    if (s == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    s->text = text == NULL ? NULL : atl_strdup(env, text);
    if (text != NULL && s->text == NULL) {
        atl_free(env, s);
        return ATLAS_ERR_NOMEM;
    }
    s->owner = self;
    s->target = *target;
    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        s->queries[i].from = s;
        s->queries[i].retry_at = ATLAS_NO_DEADLINE;
    }
    if (target->addr.family != 0) {
        atl_candidate_source_addrs(s, &target->addr, 1);
    }
    atl_list_append(&self->sources, &s->node);
    *out = s;
    return ATLAS_OK;
}

int32_t atl_candidates_add_server(atl_candidates *self, const char *server) {
    atl_stun_target target;
    atl_candidate_source *s;
    int32_t rc = atl_stun_target_parse(server, &target);

    if (rc != ATLAS_OK || find_server(self, server) != NULL) {
        return rc;
    }
    if (self->n_servers == ATL_CANDIDATES_SOURCES) {
        return ATLAS_ERR_LIMIT;
    }
    rc = add_source(self, server, &target, &s);
    if (rc == ATLAS_OK) {
        self->n_servers++;
        if (self->started) {
            want_source(s);
            atl_candidates_arm(self);
        }
    }
    return rc;
}

static int32_t relay_source(atl_candidates *self, const atl_addr *addr,
                            atl_candidate_source **out) {
    atl_stun_target target;
    int32_t rc;

    memset(&target, 0, sizeof(target));
    target.addr = *addr;
    target.family = addr->family;
    target.port = addr->port;
    if (addr->family == 0 || addr->port == 0 || atl_addr_is_unspecified(addr) ||
        atl_addr_is_multicast(addr)) {
        return ATLAS_ERR_ADDRESS;
    }
    if (self->n_relays == ATL_CANDIDATES_SOURCES) {
        return ATLAS_ERR_LIMIT;
    }
    rc = add_source(self, NULL, &target, out);
    self->n_relays += rc == ATLAS_OK;
    return rc;
}

int32_t atl_candidates_add_relay(atl_candidates *self, const atl_addr *addr) {
    atl_candidate_source *s;
    int32_t rc;

    if (find_relay(self, addr) != NULL) {
        return ATLAS_OK;
    }
    rc = relay_source(self, addr, &s);
    if (rc == ATLAS_OK && self->started) {
        want_source(s);
        atl_candidates_arm(self);
    }
    return rc;
}

void atl_candidates_observed(atl_candidates *self, const atl_addr *server,
                             const atl_addr *reflexive, const atl_addr *local) {
    atl_candidate_source *s = find_relay(self, server);

    if (!atl_candidate_plausible(reflexive) ||
        (s == NULL && relay_source(self, server, &s) != ATLAS_OK)) {
        return;
    }
    atl_candidate_query_answer(&s->queries[server->family == 6 ? 1 : 0], server, reflexive, local);
    atl_candidates_rebuild(self);
    atl_candidates_arm(self);
}

/* ---- gathering ---- */

void atl_candidates_set_idle(atl_candidates *self, int idle) {
    atl_list *node;
    size_t i;

    self->idle = idle != 0;
    for (node = self->sources.next; self->idle && node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        atl_candidate_source_stop(s);
        for (i = 0; i < ATL_COUNT(s->queries); i++) {
            s->queries[i].pending = 0;
            s->queries[i].due = 0;
            s->queries[i].retry_at = ATLAS_NO_DEADLINE;
        }
    }
    atl_candidates_arm(self);
}

void atl_candidates_gather(atl_candidates *self, uint64_t max_age) {
    uint64_t now = self->config.loop->now;
    int first = !self->started;
    atl_list *node;
    size_t i;

    self->started = 1;
    if (first || now - self->hosts_at >= max_age) {
        read_hosts(self);
    }
    for (node = self->sources.next; !self->idle && node != &self->sources; node = node->next) {
        atl_candidate_source *s = source_of(node);

        for (i = 0; i < ATL_COUNT(s->queries); i++) {
            atl_candidate_query *q = &s->queries[i];

            if (q->tried_at == 0 || now - q->tried_at >= max_age) {
                atl_candidate_query_want(q);
            }
        }
        atl_candidate_source_kick(s);
    }
    atl_candidates_rebuild(self);
    atl_candidates_arm(self);
}

static void network_changed(atl_candidate_source *s) {
    size_t i;

    atl_candidate_source_stop(s);
    s->resolved = s->target.addr.family != 0;
    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        atl_candidate_query *q = &s->queries[i];

        q->failures = 0;
        q->stale = 1;
        if (q->base.family != 0 && !is_local(s->owner, &q->base)) {
            q->answered = 0;
        }
    }
    want_source(s);
}

void atl_candidates_changed(atl_candidates *self) {
    atl_list *node;

    if (!self->started) {
        return;
    }
    read_hosts(self);
    for (node = self->sources.next; node != &self->sources; node = node->next) {
        network_changed(source_of(node));
    }
    atl_candidates_rebuild(self);
    atl_candidates_arm(self);
}

/* ---- what is known ---- */

size_t atl_candidates_get(const atl_candidates *self, const atl_candidate **out,
                          uint64_t *generation) {
    *out = self->list.entries;
    if (generation != NULL) {
        *generation = self->generation;
    }
    return self->list.n;
}

int atl_candidates_gathering(const atl_candidates *self) {
    const atl_list *node;

    for (node = self->sources.next; node != &self->sources; node = node->next) {
        const atl_candidate_source *s =
            (const atl_candidate_source *)(const void *)((const char *)node -
                                                         offsetof(atl_candidate_source, node));

        if (s->queries[0].pending || s->queries[1].pending) {
            return 1;
        }
    }
    return 0;
}

/* Compares two answers: 0 when they prove nothing. */
static uint32_t compare(const atl_candidate_query *a, const atl_candidate_query *b) {
    uint64_t apart = a->answered_at > b->answered_at ? a->answered_at - b->answered_at
                                                     : b->answered_at - a->answered_at;

    if (memcmp(a->server.ip, b->server.ip, sizeof(a->server.ip)) == 0 ||
        !atl_addr_equal(&a->base, &b->base)) {
        return ATLAS_NAT_MAPPING_UNKNOWN;
    }
    if (atl_addr_equal(&a->reflexive, &b->reflexive)) {
        return ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT;
    }
    return apart > COMPARABLE || a->stale || b->stale ? ATLAS_NAT_MAPPING_UNKNOWN
                                                      : ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT;
}

static const atl_candidate_query *answered_of(const atl_list *node, size_t family) {
    const atl_candidate_source *s =
        (const atl_candidate_source *)(const void *)((const char *)node -
                                                     offsetof(atl_candidate_source, node));

    return s->queries[family].answered ? &s->queries[family] : NULL;
}

uint32_t atl_candidates_mapping(const atl_candidates *self, uint8_t family) {
    uint32_t verdict = ATLAS_NAT_MAPPING_UNKNOWN;
    size_t at = family == 6 ? 1 : 0;
    const atl_list *a;
    const atl_list *b;

    for (a = self->sources.next; a != &self->sources; a = a->next) {
        const atl_candidate_query *first = answered_of(a, at);

        for (b = a->next; first != NULL && b != &self->sources; b = b->next) {
            const atl_candidate_query *second = answered_of(b, at);
            uint32_t found = second == NULL ? ATLAS_NAT_MAPPING_UNKNOWN : compare(first, second);

            verdict = found > verdict ? found : verdict;
        }
    }
    return verdict;
}

/* ---- life ---- */

int32_t atl_candidates_new(const atl_candidates_config *config, atl_candidates **out) {
    atl_candidates *self = atl_calloc(config->loop->env, 1, sizeof(*self));

    if (self == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    self->config = *config;
    atl_list_init(&self->sources);
    atl_timer_init(&self->timer, on_retry, self);
    atl_task_init(&self->told, on_told, self);
    *out = self;
    return ATLAS_OK;
}

void atl_candidates_free(atl_candidates *self) {
    if (self == NULL) {
        return;
    }
    while (!atl_list_empty(&self->sources)) {
        free_source(source_of(self->sources.next));
    }
    atl_timer_clear(self->config.loop, &self->timer);
    atl_task_cancel(&self->told);
    atl_free(self->config.loop->env, self);
}
