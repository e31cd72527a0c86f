#include "discovery/reach.h"

#include <string.h>

#include "discovery/reach_impl.h"

#define INTERVAL_MIN (30 * ATL_SECOND)
#define INTERVAL_MAX (30 * 60 * ATL_SECOND)
#define RETRY_MIN (4 * ATL_SECOND)
#define ROUND_GAP (2 * ATL_SECOND) /* from the beginning of one to that of the next */
/* After a round that has left the verdict unknown because servers did not agree on where this node
 * is; doubled each time. */
#define DOUBT_MIN (2 * ATL_SECOND)

/* ---- events ---- */

static void on_told(atl_task *task) {
    atl_reach_round *r = task->user;
    const atl_reach_config *config = &r->reach->config;
    int changed = r->changed;

    r->changed = 0;
    config->on_verdict(config->user, r->family, changed); /* may free it all */
}

void atl_reach_tell(atl_reach_round *r, int changed) {
    r->changed |= changed != 0;
    atl_post_work(r->reach->config.loop, &r->told);
}

/* ---- when ---- */

/* An eighth more or less, so that nodes that were started together do not stay together. */
static uint64_t vary(atl_reach_round *r, uint64_t interval) {
    uint64_t random = 0;

    if (atl_random(r->reach->config.loop->env, &random, sizeof(random)) != ATLAS_OK) {
        return interval;
    }
    return interval - interval / 8 + random % (interval / 4);
}

static void wait_for(atl_reach_round *r, uint64_t at) {
    uint64_t earliest = r->started == 0 ? 0 : r->started + ROUND_GAP;

    atl_timer_set(r->reach->config.loop, &r->timer, at > earliest ? at : earliest);
}

/* Servers see this node at different addresses: connections that are older than a change of the
 * network, most likely, of which the server has not noticed yet. */
static int is_seen_apart(const atl_reach_round *r) {
    size_t no = 0;
    size_t yes = 0;
    size_t i;
    size_t c;

    for (i = 0; i < r->n_asks; i++) {
        const atl_reach_ask *ask = &r->asks[i];
        int mine = 0;

        for (c = 0; c < r->n_candidates && ask->state == ATL_REACH_REPLIED; c++) {
            mine |= ask->reply.results[c] != ATL_DIALBACK_NOT_YOURS;
        }
        yes += mine != 0;
        no += !mine && ask->state == ATL_REACH_REPLIED;
    }
    return yes > 0 && no > 0;
}

static void wait_interval(atl_reach_round *r) {
    if (r->verdict != ATLAS_REACH_UNKNOWN || !is_seen_apart(r)) {
        r->doubt = 0;
    } else if (r->doubt < INTERVAL_MIN) {
        r->doubt = r->doubt == 0 ? DOUBT_MIN : 2 * r->doubt;
        wait_for(r, r->reach->config.loop->now + vary(r, r->doubt));
        return;
    }
    wait_for(r, r->reach->config.loop->now + vary(r, r->interval));
    r->interval = r->interval > INTERVAL_MAX / 2 ? INTERVAL_MAX : 2 * r->interval;
}

static int has_answer(const atl_reach_round *r) {
    size_t i;

    for (i = 0; i < r->n_asks && r->asks[i].state != ATL_REACH_REPLIED; i++) {
    }
    return i < r->n_asks;
}

/* Nothing is known, and nobody has answered: the network may not be up yet, or the servers. */
static void wait_retry(atl_reach_round *r) {
    r->retry = r->retry == 0 ? RETRY_MIN : 2 * r->retry;
    r->retry = r->retry > INTERVAL_MIN ? INTERVAL_MIN : r->retry;
    wait_for(r, r->reach->config.loop->now + vary(r, r->retry));
}

void atl_reach_over(atl_reach_round *r, int changed) {
    int silent = r->verdict == ATLAS_REACH_UNKNOWN && !has_answer(r);

    if (changed) {
        r->interval = INTERVAL_MIN;
    }
    if (!silent) {
        r->retry = 0;
    }
    if (r->again) {
        r->again = 0;
        wait_for(r, r->reach->config.loop->now);
    } else if (silent) {
        wait_retry(r);
    } else {
        wait_interval(r);
    }
    atl_reach_tell(r, changed);
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_reach_round *r = timer->user;

    (void)now;
    if (r->on) {
        atl_reach_step(r);
        return;
    }
    r->again = 0;
    if (!atl_reach_begin(r)) {
        wait_interval(r); /* nobody to ask */
        return;
    }
    atl_reach_step(r);
}

static void forget(atl_reach_round *r) {
    int known = r->verdict != ATLAS_REACH_UNKNOWN;

    atl_reach_abort(r);
    r->n_asks = 0;
    r->n_candidates = 0;
    r->n_kept = 0;
    r->n_learned = 0;
    r->doubt = 0;
    r->verdict = ATLAS_REACH_UNKNOWN;
    if (known) {
        atl_reach_tell(r, 1);
    }
}

/* ---- the owner's ---- */

void atl_reach_run(atl_reach *reach, int on) {
    size_t i;

    if (reach->running == (on != 0)) {
        return;
    }
    reach->running = on != 0;
    for (i = 0; i < ATL_COUNT(reach->rounds); i++) {
        atl_reach_round *r = &reach->rounds[i];

        r->interval = INTERVAL_MIN;
        r->retry = 0;
        r->again = 0;
        if (on) {
            wait_for(r, reach->config.loop->now);
        } else {
            atl_reach_abort(r);
            atl_timer_clear(reach->config.loop, &r->timer);
            atl_task_cancel(&r->told);
            r->changed = 0;
        }
    }
}

void atl_reach_again(atl_reach *reach, uint32_t moved) {
    size_t i;

    for (i = 0; i < ATL_COUNT(reach->rounds); i++) {
        atl_reach_round *r = &reach->rounds[i];

        if ((moved >> i & 1) != 0) {
            forget(r);
        }
        if (!reach->running) {
            continue;
        }
        r->interval = INTERVAL_MIN;
        r->retry = 0;
        if (r->on) {
            r->again = 1;
        } else {
            wait_for(r, reach->config.loop->now);
        }
    }
}

int atl_reach_on_stun(atl_reach *reach, const atl_rx *rx) {
    uint8_t nonce[ATL_DIALBACK_NONCE];
    uint8_t index;
    uint8_t from;
    size_t i;

    if (rx->error != 0 || rx->len < ATL_DIALBACK_DATAGRAM ||
        (!reach->rounds[0].on && !reach->rounds[1].on) ||
        atl_dialback_datagram_decode(rx->data, rx->len, nonce, &index, &from) != ATLAS_OK) {
        return 0;
    }
    for (i = 0; i < ATL_COUNT(reach->rounds); i++) {
        if (atl_reach_datagram(&reach->rounds[i], rx, nonce, index)) {
            return 1;
        }
    }
    return 0;
}

static const atl_reach_round *round_of(const atl_reach *reach, uint8_t family) {
    return &reach->rounds[family == 6];
}

uint32_t atl_reach_verdict(const atl_reach *reach, uint8_t family) {
    return round_of(reach, family)->verdict;
}

size_t atl_reach_candidates(const atl_reach *reach, uint8_t family, atl_reach_candidate *out,
                            size_t cap) {
    const atl_reach_round *r = round_of(reach, family);
    size_t n = r->n_kept < cap ? r->n_kept : cap;

    memcpy(out, r->kept, n * sizeof(*out));
    return n;
}

static void fill_evidence(const atl_reach_round *r, const atl_reach_ask *ask, size_t c,
                          atl_reach_evidence *out) {
    int open;

    memset(out, 0, sizeof(*out));
    out->server = r->known[ask->known].server;
    out->candidate = r->candidates[c];
    out->source = ask->sources[c];
    out->code = ask->state == ATL_REACH_ASKED ? ATLAS_ERR_AGAIN : ask->code;
    out->result = atl_reach_vote(ask, c, r->reach->config.loop->now, &open);
    out->asked_from = ask->state == ATL_REACH_REPLIED ? ask->reply.results[c] : 0;
}

size_t atl_reach_evidence_of(const atl_reach *reach, uint8_t family, atl_reach_evidence *out,
                             size_t cap) {
    const atl_reach_round *r = round_of(reach, family);
    size_t n = 0;
    size_t i;
    size_t c;

    for (c = 0; c < r->n_candidates; c++) {
        for (i = 0; i < r->n_asks && n < cap; i++) {
            fill_evidence(r, &r->asks[i], c, &out[n++]);
        }
    }
    return n;
}

int atl_reach_busy(const atl_reach *reach) {
    return reach->rounds[0].on || reach->rounds[1].on;
}

/* ---- life ---- */

int32_t atl_reach_new(const atl_reach_config *config, atl_reach **out) {
    atl_reach *reach = atl_calloc(config->loop->env, 1, sizeof(*reach));
    size_t i;

    if (reach == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    reach->config = *config;
    for (i = 0; i < ATL_COUNT(reach->rounds); i++) {
        atl_reach_round *r = &reach->rounds[i];

        r->reach = reach;
        r->family = i == 0 ? 4 : 6;
        r->interval = INTERVAL_MIN;
        atl_timer_init(&r->timer, on_timer, r);
        atl_task_init(&r->told, on_told, r);
    }
    *out = reach;
    return ATLAS_OK;
}

void atl_reach_free(atl_reach *reach) {
    size_t i;

    if (reach == NULL) {
        return;
    }
    for (i = 0; i < ATL_COUNT(reach->rounds); i++) {
        atl_reach_abort(&reach->rounds[i]);
        atl_timer_clear(reach->config.loop, &reach->rounds[i].timer);
        atl_task_cancel(&reach->rounds[i].told);
    }
    atl_free(reach->config.loop->env, reach);
}
