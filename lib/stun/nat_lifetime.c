/* How long mappings live (RFC 5780 section 4.6): a mapping is made and left alone; then another
 * socket has the server answer to it, which arrives only if it is still there. Asking from the
 * mapping's own socket would renew it.
 *
 * A search by halves waits for one silence after the other. Here eight mappings are silent at the
 * same time, each of them once: in the first round for silences that double, in the second for
 * eight between the longest that was survived and the shortest that was not. That takes at most
 * twice the longest silence, and gives the lifetime to one part in nine. */
#include <string.h>

#include "stun/nat_internal.h"

#define LOOKER ATL_NAT_WAITS /* index of the socket that has the server answer elsewhere */
#define LOOK_TIME (2 * ATL_SECOND)
#define SHORTEST (250 * ATL_MS)

static uint64_t now(const atl_nat_family *f) {
    return f->nat->agent->config.loop->now;
}

static void ask_server(atl_nat_wait *w, size_t index, uint16_t response_port) {
    atl_nat_family *f = w->family;
    atl_stun_ask ask;

    memset(&ask, 0, sizeof(ask));
    ask.remote = f->server;
    ask.deadline = now(f) + LOOK_TIME;
    ask.response_port = response_port;
    atl_nat_test_ask(&w->test, index, &ask);
}

static void on_silent(atl_timer *timer, uint64_t at) {
    atl_nat_wait *w = timer->user;

    (void)at;
    w->state = ATL_NAT_WAIT_LOOKS;
    ask_server(w, LOOKER, w->mapped.port);
}

void atl_nat_lifetime_init(atl_nat_family *f) {
    size_t i;

    for (i = 0; i < ATL_NAT_WAITS; i++) {
        atl_nat_wait *w = &f->lifetime.waits[i];

        w->family = f;
        w->test.family = f;
        atl_timer_init(&w->timer, on_silent, w);
    }
}

/* ---- rounds ---- */

static void begin_wait(atl_nat_family *f, size_t i, uint64_t silence) {
    atl_nat_wait *w = &f->lifetime.waits[i];

    w->silence = silence;
    if (silence < SHORTEST) {
        w->state = ATL_NAT_WAIT_NONE;
    } else if (atl_nat_sockets_open(&f->sockets, i, f->facts.family) != ATLAS_OK) {
        w->state = ATL_NAT_WAIT_UNKNOWN;
    } else {
        w->state = ATL_NAT_WAIT_ASKS;
        ask_server(w, i, 0);
    }
}

static void end_round(atl_nat_family *f) {
    size_t i;

    for (i = 0; i < ATL_NAT_WAITS; i++) {
        atl_nat_wait *w = &f->lifetime.waits[i];

        atl_timer_clear(f->nat->agent->config.loop, &w->timer);
        atl_nat_test_stop(&w->test);
        w->state = ATL_NAT_WAIT_NONE;
    }
    atl_nat_sockets_close(&f->sockets);
}

static void begin_round(atl_nat_family *f) {
    uint64_t longest = (f->nat->config.lifetime - 2 * LOOK_TIME) / 2;
    uint64_t from = f->facts.lifetime;
    uint64_t to = f->facts.lifetime_end;
    size_t i;

    /* rounds follow one another on fresh sockets: a mapping that was used twice may live longer */
    end_round(f);
    f->lifetime.round++;
    if (atl_nat_sockets_open(&f->sockets, LOOKER, f->facts.family) != ATLAS_OK) {
        f->lifetime.round = 3;
        return;
    }
    for (i = 0; i < ATL_NAT_WAITS; i++) {
        begin_wait(f, i,
                   f->lifetime.round == 1 ? longest >> (ATL_NAT_WAITS - 1 - i)
                                          : from + (to - from) * (i + 1) / (ATL_NAT_WAITS + 1));
    }
}

int atl_nat_lifetime_begin(atl_nat_family *f) {
    int filtered = f->facts.mapping != ATLAS_NAT_MAPPING_NONE ||
                   (f->facts.filtering != ATLAS_NAT_FILTERING_NONE &&
                    f->facts.filtering != ATLAS_NAT_FILTERING_UNKNOWN);

    if (f->nat->config.lifetime == 0 || f->server.family == 0 || !filtered) {
        return 0;
    }
    begin_round(f);
    return f->lifetime.round != 3;
}

/* ---- single mappings ---- */

static void mapped(atl_nat_wait *w) {
    atl_nat_family *f = w->family;

    if (w->test.reply.code != ATLAS_OK) {
        w->state = ATL_NAT_WAIT_UNKNOWN;
        return;
    }
    w->state = ATL_NAT_WAIT_SILENT;
    w->mapped = w->test.reply.reflexive;
    atl_timer_set(f->nat->agent->config.loop, &w->timer, now(f) + w->silence);
}

static void looked(atl_nat_wait *w) {
    atl_nat_family *f = w->family;
    size_t i = (size_t)(w - f->lifetime.waits);
    const atl_stun_reply *reply = &w->test.reply;

    if (reply->code == ATLAS_OK && reply->local.port == f->sockets.slots[i].port) {
        w->state = ATL_NAT_WAIT_ALIVE;
    } else if (reply->code == ATLAS_ERR_STUN_TIMEOUT) {
        w->state = ATL_NAT_WAIT_DEAD;
    } else {
        /* it answers where it was asked from, or says that it cannot */
        w->state = ATL_NAT_WAIT_UNKNOWN;
        f->lifetime.unsupported |=
            reply->code == ATLAS_OK || reply->code == ATLAS_ERR_STUN_RESPONSE;
    }
}

/* A mapping that was there after a longer silence was there after this one, whatever was lost. */
static void judge(atl_nat_family *f) {
    uint64_t alive = f->facts.lifetime;
    uint64_t dead = UINT64_MAX;
    size_t i;

    for (i = 0; i < ATL_NAT_WAITS; i++) {
        const atl_nat_wait *w = &f->lifetime.waits[i];

        if (w->state == ATL_NAT_WAIT_ALIVE && w->silence > alive) {
            alive = w->silence;
        }
    }
    for (i = 0; i < ATL_NAT_WAITS; i++) {
        const atl_nat_wait *w = &f->lifetime.waits[i];

        if (w->state == ATL_NAT_WAIT_DEAD && w->silence > alive && w->silence < dead) {
            dead = w->silence;
        }
    }
    if (dead == UINT64_MAX) {
        dead = f->facts.lifetime_end > alive ? f->facts.lifetime_end : 0;
    }
    if (alive != f->facts.lifetime || dead != f->facts.lifetime_end) {
        f->facts.lifetime = alive;
        f->facts.lifetime_end = dead;
        atl_nat_tell(f, ATL_NAT_NEWS_LIFETIME);
    }
}

/* 1 when nothing more can come of this round: all have ended, or all that are shorter than one that
 * is gone. */
static int round_over(const atl_nat_family *f) {
    uint64_t dead = f->facts.lifetime_end;
    size_t i;

    for (i = 0; i < ATL_NAT_WAITS; i++) {
        const atl_nat_wait *w = &f->lifetime.waits[i];

        if (w->state >= ATL_NAT_WAIT_ASKS && w->state <= ATL_NAT_WAIT_LOOKS &&
            (dead == 0 || w->silence < dead)) {
            return 0;
        }
    }
    return 1;
}

int atl_nat_lifetime_step(atl_nat_family *f) {
    size_t i;

    for (i = 0; i < ATL_NAT_WAITS; i++) {
        atl_nat_wait *w = &f->lifetime.waits[i];

        if (!w->test.done) {
            continue;
        }
        if (w->state == ATL_NAT_WAIT_ASKS) {
            w->test.done = 0;
            mapped(w);
        } else if (w->state == ATL_NAT_WAIT_LOOKS) {
            looked(w);
        }
    }
    judge(f);
    if (!f->lifetime.unsupported && !round_over(f)) {
        return 0;
    }
    if (f->lifetime.unsupported || f->lifetime.round != 1 || f->facts.lifetime_end == 0) {
        end_round(f);
        return 1;
    }
    begin_round(f);
    return f->lifetime.round == 3;
}

void atl_nat_lifetime_stop(atl_nat_family *f) {
    end_round(f);
}
