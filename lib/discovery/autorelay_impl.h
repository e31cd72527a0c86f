/* What the modules of AutoRelay share: autorelay.c (how many, and when), autorelay_choice.c
 * (which), autorelay_chosen.c (each of them). */
#ifndef ATL_DISCOVERY_AUTORELAY_IMPL_H
#define ATL_DISCOVERY_AUTORELAY_IMPL_H

#include "discovery/autorelay.h"
#include "discovery/measure.h"
#include "discovery/relay_pool.h"

#include <atlas/discovery.h>

#define ATL_AUTORELAY_MAX 8
#define ATL_AUTORELAY_SLOTS 16 /* those that serve, those that are tried, those that leave */

/* How far a chosen relay is. */
#define ATL_CHOSEN_TRIED 1  /* held: until it is announced */
#define ATL_CHOSEN_TESTED 2 /* announced: until the test is passed */
#define ATL_CHOSEN_SERVES 3 /* passed */
#define ATL_CHOSEN_LEAVES 4 /* drains: kept until enough others serve */

typedef struct atl_chosen {
    atl_autorelay *ar;
    atl_relay_entry *entry; /* NULL: the slot is free */
    atl_addr addr;
    atl_addr other; /* the same relay's in the other family; family 0: none is known */
    uint8_t state;
    uint8_t doomed;   /* much worse than another: given up as soon as that one serves */
    uint8_t worse;    /* so many measurements in a row */
    uint8_t failures; /* of the test, in a row */
    uint64_t rtt;     /* as measured; 0: unknown */
    uint32_t loss;
    atl_relay_selftest *test;
    atl_timer timer;
} atl_chosen;

struct atl_autorelay {
    atl_autorelay_config config;
    atl_loop *loop;
    atl_relay_pool pool;
    size_t count; /* 0: stopped */
    atl_chosen slots[ATL_AUTORELAY_SLOTS];
    atl_task step;
    atl_task change;
    /* more candidates */
    uint8_t asked;       /* atl_autorelay_offered() has not come yet */
    uint64_t asked_at;   /* 0: never */
    uint64_t offered_at; /* the first since asked; 0: none */
    uint64_t backoff;
    atl_timer look;   /* nothing is left to try: when to look again */
    atl_timer gather; /* for the first candidates to be many */
    /* measuring */
    atl_measure *measure;
    atl_peer_id measured[ATL_MEASURE_MAX]; /* whose, in order */
    uint8_t comparing;                     /* those that serve are among them */
    atl_timer compare;
};

/* ---- autorelay.c ---- */

uint64_t atl_autorelay_random(const atl_autorelay *ar);
/* Something has changed: what follows is decided at the end of the turn. */
void atl_autorelay_wake(atl_autorelay *ar);
void atl_autorelay_changed(atl_autorelay *ar);

/* 1: as many as are wanted serve, and go on. */
int atl_autorelay_is_enough(const atl_autorelay *ar);

/* ---- autorelay_choice.c ---- */

#define ATL_CHOICE_DISTINCT 1u /* in no network that has a chosen one */

/* The next one to try, or NULL. `extra`: enough are tried already, and this one is to save time
 * should one of them be dead: only from a network of its own. Sets *measure where others are to be
 * measured first. */
atl_relay_pool_entry *atl_choice_next(const atl_autorelay *ar, int extra, int *measure);
/* 1: somebody who might be better than those that were measured was not; `want` 0 or
 * ATL_CHOICE_DISTINCT. */
int atl_choice_is_unmeasured(const atl_autorelay *ar, unsigned want);
/* The one whose time is over soonest, of those that have failed, or NULL. */
atl_relay_pool_entry *atl_choice_least_bad(const atl_autorelay *ar);
/* Adds one to those that are measured, of which there are `n`; returns how many there are. */
size_t atl_choice_add(atl_autorelay *ar, atl_addr *addrs, size_t n, const atl_peer_id *peer,
                      const atl_addr *addr);
/* Adds a random sample; `again` 1: also of what was measured before. */
size_t atl_choice_sample(atl_autorelay *ar, atl_addr *addrs, size_t n, int again);
/* Those that serve were measured together with others: dooms one that is much worse. */
void atl_choice_compare(atl_autorelay *ar);

/* ---- autorelay_chosen.c ---- */

void atl_chosen_init(atl_chosen *slot, atl_autorelay *ar);
/* Tries this relay. ATLAS_ERR_LIMIT: no slot; ATLAS_ERR_RATE_LIMITED: its address was sent to too
 * often lately; or why it cannot be held. */
int32_t atl_chosen_begin(atl_autorelay *ar, atl_relay_pool_entry *relay);
/* Gives it up in order (ATLAS_AUTORELAY_REPLACED). */
void atl_chosen_give_up(atl_chosen *slot, const char *text);
/* Lets go of it without an event. */
void atl_chosen_drop(atl_chosen *slot);
/* Idle mode has begun, or ended: atl_autorelay_set_idle(). */
void atl_chosen_set_idle(atl_chosen *slot, int on);
/* News of its relay. */
void atl_chosen_look(atl_chosen *slot);
int atl_chosen_serves(const atl_chosen *slot);
/* 1: its relay waits for an answer for too long. */
int atl_chosen_is_silent(const atl_chosen *slot);

#endif
