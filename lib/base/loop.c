#include "base/loop.h"

#include <string.h>

void atl_loop_init(atl_loop *loop, atl_env *env) {
    memset(loop, 0, sizeof(*loop));
    loop->env = env;
    loop->now = atl_env_now(env);
    atl_list_init(&loop->work);
    atl_list_init(&loop->events);
}

uint64_t atl_loop_update(atl_loop *loop) {
    loop->now = atl_env_now(loop->env);
    return loop->now;
}

/* ---- deadline heap: a pairing heap, so that no operation allocates ---- */

static atl_timer *heap_merge(atl_timer *a, atl_timer *b) {
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (b->deadline < a->deadline) {
        atl_timer *swap = a;

        a = b;
        b = swap;
    }
    b->next = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    b->prev = a;
    a->child = b;
    a->next = NULL;
    a->prev = NULL;
    return a;
}

/* Merges a list of siblings in two passes, without recursion: their number is not bounded. */
static atl_timer *heap_merge_siblings(atl_timer *first) {
    atl_timer *pairs = NULL;
    atl_timer *root = NULL;

    while (first != NULL) {
        atl_timer *a = first;
        atl_timer *b = a->next;
        atl_timer *merged;

        first = b == NULL ? NULL : b->next;
        a->next = NULL;
        a->prev = NULL;
        if (b != NULL) {
            b->next = NULL;
            b->prev = NULL;
        }
        merged = heap_merge(a, b);
        merged->next = pairs;
        pairs = merged;
    }
    while (pairs != NULL) {
        atl_timer *rest = pairs->next;

        pairs->next = NULL;
        root = heap_merge(root, pairs);
        pairs = rest;
    }
    return root;
}

static void heap_remove(atl_loop *loop, atl_timer *timer) {
    atl_timer *children = heap_merge_siblings(timer->child);

    if (loop->timers == timer) {
        loop->timers = children;
    } else {
        if (timer->prev->child == timer) {
            timer->prev->child = timer->next;
        } else {
            timer->prev->next = timer->next;
        }
        if (timer->next != NULL) {
            timer->next->prev = timer->prev;
        }
        loop->timers = heap_merge(loop->timers, children);
    }
    timer->child = NULL;
    timer->next = NULL;
    timer->prev = NULL;
}

void atl_timer_init(atl_timer *timer, atl_timer_fn fn, void *user) {
    memset(timer, 0, sizeof(*timer));
    timer->deadline = ATLAS_NO_DEADLINE;
    timer->fn = fn;
    timer->user = user;
}

void atl_timer_set(atl_loop *loop, atl_timer *timer, uint64_t deadline) {
    if (timer->deadline == deadline) {
        return;
    }
    if (timer->deadline != ATLAS_NO_DEADLINE) {
        heap_remove(loop, timer);
    }
    timer->deadline = deadline;
    if (deadline != ATLAS_NO_DEADLINE) {
        loop->timers = heap_merge(loop->timers, timer);
    }
}

void atl_timer_clear(atl_loop *loop, atl_timer *timer) {
    atl_timer_set(loop, timer, ATLAS_NO_DEADLINE);
}

/* Moves what is due, at most `budget` of it and in order, out of the heap into children of `due`,
 * where a callback may still clear or move it like any other timer. */
static void take_due(atl_loop *loop, size_t budget, atl_timer *due) {
    atl_timer *last = NULL;

    while (budget > 0 && loop->timers != NULL && loop->timers->deadline <= loop->now) {
        atl_timer *timer = loop->timers;

        heap_remove(loop, timer);
        timer->prev = last == NULL ? due : last;
        if (last == NULL) {
            due->child = timer;
        } else {
            last->next = timer;
        }
        last = timer;
        budget--;
    }
}

/* A timer that sets itself to the past again waits for the next turn: it must not use up the budget
 * of all. */
size_t atl_loop_run_timers(atl_loop *loop, size_t budget) {
    atl_timer due;
    size_t n = 0;

    atl_timer_init(&due, NULL, NULL);
    take_due(loop, budget, &due);
    while (due.child != NULL) {
        atl_timer *timer = due.child;

        atl_timer_clear(loop, timer);
        timer->fn(timer, loop->now);
        n++;
    }
    return n;
}

/* ---- tasks ---- */

void atl_task_init(atl_task *task, atl_task_fn fn, void *user) {
    atl_list_init(&task->node);
    task->fn = fn;
    task->user = user;
}

void atl_post_work(atl_loop *loop, atl_task *task) {
    if (atl_list_empty(&task->node)) {
        atl_list_append(&loop->work, &task->node);
    }
}

void atl_post_event(atl_loop *loop, atl_task *task) {
    if (atl_list_empty(&task->node)) {
        atl_list_append(&loop->events, &task->node);
    }
}

void atl_task_cancel(atl_task *task) {
    atl_list_remove(&task->node);
}

/* Runs only what was posted before, so that a task that posts itself again cannot hold the turn. A
 * marker in the list keeps that true while tasks cancel one another. */
static size_t run_tasks(atl_list *list, size_t budget) {
    atl_list marker;
    size_t n = 0;

    atl_list_append(list, &marker);
    while (n < budget && list->next != &marker) {
        atl_task *task = ATL_CONTAINER(atl_list_pop(list), atl_task, node);

        task->fn(task);
        n++;
    }
    atl_list_remove(&marker);
    return n;
}

size_t atl_loop_run_work(atl_loop *loop, size_t budget) {
    return run_tasks(&loop->work, budget);
}

size_t atl_loop_run_events(atl_loop *loop, size_t budget) {
    return run_tasks(&loop->events, budget);
}

uint64_t atl_loop_deadline(const atl_loop *loop) {
    if (!atl_list_empty(&loop->work) || !atl_list_empty(&loop->events)) {
        return loop->now;
    }
    return loop->timers == NULL ? ATLAS_NO_DEADLINE : loop->timers->deadline;
}
