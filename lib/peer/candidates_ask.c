#include "peer/candidates_impl.h"

#include <string.h>

#define ASK_TIMEOUT (3 * ATL_SECOND)
#define PAUSE_FIRST (5 * ATL_SECOND)
#define PAUSE_LONGEST (300 * ATL_SECOND)
/* A single lost refresh says nothing about the address. */
#define REFRESHES_MAX 3

static uint64_t now_of(const atl_candidate_query *q) {
    return q->from->owner->config.loop->now;
}

/* ---- answers ---- */

/* The owner rebuilds the list and arms the timer. */
static void note_failure(atl_candidate_query *q) {
    uint64_t pause = PAUSE_FIRST;
    uint32_t i;

    q->failures++;
    q->pending = 0;
    q->tried_at = now_of(q);
    if (q->stale || q->failures >= REFRESHES_MAX) {
        q->answered = 0;
    }
    for (i = 1; i < q->failures && pause < PAUSE_LONGEST; i++) {
        pause *= 2;
    }
    q->retry_at = now_of(q) + (pause < PAUSE_LONGEST ? pause : PAUSE_LONGEST);
    if (++q->next >= q->n_addrs) {
        q->next = 0;
        q->from->resolved = q->from->target.addr.family != 0; /* the name may lead elsewhere now */
    }
}

/* The source address towards the server when the socket did not tell. */
static void find_base(atl_candidate_query *q, const atl_addr *local) {
    const atl_candidates_config *config = &q->from->owner->config;
    atl_addr bound;
    atl_addr from;

    memset(&q->base, 0, sizeof(q->base));
    if (local != NULL && local->family != 0 && !atl_addr_is_unspecified(local)) {
        q->base = *local;
    } else if (config->io->local_for(config->io->impl, &q->server, &from) == ATLAS_OK) {
        q->base = from;
    } else {
        return;
    }
    if (config->local(config->user, q->base.family, &bound) == ATLAS_OK) {
        q->base.port = bound.port;
    }
}

int atl_candidate_plausible(const atl_addr *reflexive) {
    return reflexive != NULL && reflexive->family != 0 && reflexive->port != 0 &&
           !atl_addr_is_unspecified(reflexive) && !atl_addr_is_multicast(reflexive);
}

void atl_candidate_query_answer(atl_candidate_query *q, const atl_addr *server,
                                const atl_addr *reflexive, const atl_addr *local) {
    q->pending = 0;
    q->answered = 1;
    q->stale = 0;
    q->failures = 0;
    q->tried_at = now_of(q);
    q->answered_at = q->tried_at;
    q->retry_at = ATLAS_NO_DEADLINE;
    q->server = *server;
    q->reflexive = *reflexive;
    find_base(q, local);
}

static void on_done(void *user, int32_t code, const atl_addr *reflexive, const atl_addr *local,
                    uint64_t rtt) {
    atl_candidate_query *q = user;

    (void)rtt;
    q->handle = NULL;
    if (code == ATLAS_OK && atl_candidate_plausible(reflexive)) {
        atl_candidate_query_answer(q, &q->asked, reflexive, local);
    } else {
        note_failure(q);
    }
    atl_candidates_rebuild(q->from->owner);
    atl_candidates_arm(q->from->owner);
}

/* ---- asking ---- */

static void ask(atl_candidate_query *q) {
    const atl_candidates_config *config = &q->from->owner->config;
    atl_addr from;
    atl_addr bound;

    q->due = 0;
    if (q->n_addrs == 0 || config->local(config->user, q->addrs[0].family, &bound) != ATLAS_OK) {
        q->pending = 0; /* nothing to ask, or nothing to ask with */
        return;
    }
    q->asked = q->addrs[q->next];
    if (config->io->local_for(config->io->impl, &q->asked, &from) != ATLAS_OK ||
        config->stun_ask(config->user, &q->asked, config->loop->now + ASK_TIMEOUT, on_done, q,
                         &q->handle) != ATLAS_OK) {
        q->handle = NULL;
        note_failure(q);
    }
}

static void cancel(atl_candidate_query *q) {
    const atl_candidates_config *config = &q->from->owner->config;

    if (q->handle != NULL) {
        config->stun_cancel(config->user, q->handle);
        q->handle = NULL;
    }
}

/* ---- names ---- */

static void ask_due(atl_candidate_source *s) {
    size_t i;

    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        if (s->queries[i].due && s->queries[i].handle == NULL) {
            ask(&s->queries[i]);
        }
    }
}

void atl_candidate_source_addrs(atl_candidate_source *s, const atl_addr *addrs, size_t n) {
    size_t i;

    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        s->queries[i].n_addrs = 0;
        s->queries[i].next = 0;
    }
    for (i = 0; i < n; i++) {
        atl_candidate_query *q = &s->queries[addrs[i].family == 6 ? 1 : 0];

        if (addrs[i].port != 0 && q->n_addrs < ATL_CANDIDATES_TRIED &&
            (s->target.family == 0 || s->target.family == addrs[i].family)) {
            q->addrs[q->n_addrs++] = addrs[i];
        }
    }
    s->resolved = 1;
}

static void fail_due(atl_candidate_source *s) {
    size_t i;

    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        if (s->queries[i].due) {
            s->queries[i].due = 0;
            note_failure(&s->queries[i]);
        }
    }
}

static int32_t look_up(atl_candidate_source *s);

static void on_resolved(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    atl_candidate_source *s = user;

    s->resolve = NULL;
    if (status == ATLAS_OK && n > 0) {
        atl_candidate_source_addrs(s, addrs, n);
        ask_due(s);
    } else if (!s->looking_up_srv || (s->looking_up_srv = 0, look_up(s) != ATLAS_OK)) {
        fail_due(s);
    }
    atl_candidates_rebuild(s->owner);
    atl_candidates_arm(s->owner);
}

static int32_t look_up(atl_candidate_source *s) {
    const atl_io *io = s->owner->config.io;
    int32_t rc;

    if (s->looking_up_srv) {
        rc = io->resolve_srv(io->impl, "_stun._udp", s->target.host, on_resolved, s, &s->resolve);
        if (rc == ATLAS_OK) {
            return rc;
        }
        s->looking_up_srv = 0;
    }
    rc = io->resolve(io->impl, s->target.host, s->target.port, s->target.family, on_resolved, s,
                     &s->resolve);
    if (rc != ATLAS_OK) {
        s->resolve = NULL;
    }
    return rc;
}

static void stop_lookup(atl_candidate_source *s) {
    const atl_io *io = s->owner->config.io;

    if (s->resolve != NULL) {
        io->resolve_cancel(io->impl, s->resolve);
        s->resolve = NULL;
    }
}

void atl_candidate_source_kick(atl_candidate_source *s) {
    if (!s->queries[0].due && !s->queries[1].due) {
        return;
    }
    if (s->resolved) {
        ask_due(s);
    } else if (s->resolve == NULL) {
        s->looking_up_srv = s->target.srv;
        if (look_up(s) != ATLAS_OK) {
            fail_due(s);
        }
    }
}

void atl_candidate_query_want(atl_candidate_query *q) {
    q->pending = 1;
    q->due = q->handle == NULL;
    q->retry_at = ATLAS_NO_DEADLINE;
}

void atl_candidate_source_stop(atl_candidate_source *s) {
    size_t i;

    stop_lookup(s);
    for (i = 0; i < ATL_COUNT(s->queries); i++) {
        cancel(&s->queries[i]);
    }
}
