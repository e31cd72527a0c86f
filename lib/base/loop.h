/* The turn of a context: one clock reading, the deadline heap, deferred work, and the queue of
 * events for the application. The drive call runs them in this order: packets, timers, work (which
 * sends), events, work.
 *
 * Timers and tasks are intrusive and setting them cannot fail. */
#ifndef ATL_BASE_LOOP_H
#define ATL_BASE_LOOP_H

#include "base/env.h"
#include "base/list.h"

typedef struct atl_timer atl_timer;
typedef void (*atl_timer_fn)(atl_timer *timer, uint64_t now);

/* One deadline. Zero-initialised, then atl_timer_init. */
struct atl_timer {
    uint64_t deadline; /* nanoseconds; ATLAS_NO_DEADLINE when not set */
    atl_timer_fn fn;
    void *user;
    /* pairing heap */
    atl_timer *child;
    atl_timer *next;
    atl_timer *prev; /* the left sibling, or the parent of a first child */
};

typedef struct atl_task atl_task;
typedef void (*atl_task_fn)(atl_task *task);

/* Something to do later in the turn. Posting it twice runs it once. */
struct atl_task {
    atl_list node;
    atl_task_fn fn;
    void *user;
};

typedef struct atl_loop {
    atl_env *env;
    uint64_t now;      /* nanoseconds, read once a turn */
    atl_timer *timers; /* root of the pairing heap */
    atl_list work;     /* internal: flush, reap */
    atl_list events;   /* application callbacks */
} atl_loop;

void atl_loop_init(atl_loop *loop, atl_env *env);

/* Reads the clock. */
uint64_t atl_loop_update(atl_loop *loop);

void atl_timer_init(atl_timer *timer, atl_timer_fn fn, void *user);
/* Sets or moves the deadline; ATLAS_NO_DEADLINE clears it. */
void atl_timer_set(atl_loop *loop, atl_timer *timer, uint64_t deadline);
void atl_timer_clear(atl_loop *loop, atl_timer *timer);

void atl_task_init(atl_task *task, atl_task_fn fn, void *user);
void atl_post_work(atl_loop *loop,
                   atl_task *task); /* runs at the end of this turn, or in the next */
void atl_post_event(atl_loop *loop,
                    atl_task *task);  /* runs where application callbacks may be called */
void atl_task_cancel(atl_task *task); /* legal when it is not posted */

/* The earliest deadline; now when work or events are waiting. */
uint64_t atl_loop_deadline(const atl_loop *loop);

/* Each runs at most `budget` entries that were due when it began and returns how many ran. */
size_t atl_loop_run_timers(atl_loop *loop, size_t budget);
size_t atl_loop_run_work(atl_loop *loop, size_t budget);
size_t atl_loop_run_events(atl_loop *loop, size_t budget);

#endif
