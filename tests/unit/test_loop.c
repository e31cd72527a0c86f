/* The deadline heap against a model, and the task queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/loop.h"

#include <string.h>

#include "testenv.h"

#define TIMERS 64
#define LOG_MAX 256

/* What ran, in order. */
typedef struct record {
    int ids[LOG_MAX];
    size_t n;
} record;

typedef struct item {
    atl_timer timer;
    atl_task task;
    int id;
    record *log;
    atl_loop *loop;
    atl_timer *clear_other;
    atl_task *cancel_other;
    uint64_t again; /* deadline to set from the callback, or ATLAS_NO_DEADLINE */
    int repost;
} item;

static void on_timer(atl_timer *timer, uint64_t now) {
    item *it = timer->user;

    assert_true(now == it->loop->now);
    assert_true(timer->deadline == ATLAS_NO_DEADLINE);
    if (it->log->n < LOG_MAX) {
        it->log->ids[it->log->n++] = it->id;
    }
    if (it->clear_other != NULL) {
        atl_timer_clear(it->loop, it->clear_other);
    }
    if (it->again != ATLAS_NO_DEADLINE) {
        atl_timer_set(it->loop, timer, it->again);
    }
}

static void on_task(atl_task *task) {
    item *it = task->user;

    if (it->log->n < LOG_MAX) {
        it->log->ids[it->log->n++] = it->id;
    }
    if (it->cancel_other != NULL) {
        atl_task_cancel(it->cancel_other);
    }
    if (it->repost) {
        atl_post_work(it->loop, task);
    }
}

static void init_items(item *items, size_t n, atl_loop *loop, record *log) {
    size_t i;

    memset(items, 0, n * sizeof(*items));
    memset(log, 0, sizeof(*log));
    for (i = 0; i < n; i++) {
        items[i].id = (int)i;
        items[i].log = log;
        items[i].loop = loop;
        items[i].again = ATLAS_NO_DEADLINE;
        atl_timer_init(&items[i].timer, on_timer, &items[i]);
        atl_task_init(&items[i].task, on_task, &items[i]);
    }
}

/* ---- the heap ---- */

typedef struct model {
    uint64_t deadlines[TIMERS];
} model;

static uint64_t model_min(const model *m) {
    uint64_t min = ATLAS_NO_DEADLINE;
    size_t i;

    for (i = 0; i < TIMERS; i++) {
        if (m->deadlines[i] < min) {
            min = m->deadlines[i];
        }
    }
    return min;
}

static size_t model_count_due(const model *m, uint64_t now) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < TIMERS; i++) {
        n += m->deadlines[i] <= now;
    }
    return n;
}

/* What ran was due, ran in order of deadlines, and each once; the model is updated. */
static void model_ran(model *m, const record *log, uint64_t now) {
    uint64_t last = 0;
    size_t i;

    for (i = 0; i < log->n; i++) {
        uint64_t deadline = m->deadlines[log->ids[i]];

        assert_true(deadline <= now);
        assert_true(deadline >= last);
        last = deadline;
        m->deadlines[log->ids[i]] = ATLAS_NO_DEADLINE;
    }
}

static void heap_against_model(void **state) {
    static item items[TIMERS];
    static record log;
    testenv t;
    atl_loop loop;
    model m;
    size_t i;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, TIMERS, &loop, &log);
    memset(&m, 0xff, sizeof(m));
    for (i = 0; i < 200000; i++) {
        size_t k = testenv_rand(&t) % TIMERS;
        uint64_t op = testenv_rand(&t) % 10;

        if (op < 6) { /* few distinct deadlines, so that ties happen */
            m.deadlines[k] = loop.now + testenv_rand(&t) % 100;
            atl_timer_set(&loop, &items[k].timer, m.deadlines[k]);
        } else if (op < 8) {
            m.deadlines[k] = ATLAS_NO_DEADLINE;
            atl_timer_clear(&loop, &items[k].timer);
        } else {
            size_t budget = testenv_rand(&t) % 20;
            size_t due;

            testenv_advance(&t, testenv_rand(&t) % 40);
            (void)atl_loop_update(&loop);
            due = model_count_due(&m, loop.now);
            log.n = 0;
            assert_int_equal(atl_loop_run_timers(&loop, budget), due < budget ? due : budget);
            assert_int_equal(log.n, due < budget ? due : budget);
            model_ran(&m, &log, loop.now);
        }
        assert_true(atl_loop_deadline(&loop) == model_min(&m));
        assert_true(items[k].timer.deadline == m.deadlines[k]);
    }
}

static void many_timers_come_out_sorted(void **state) {
    enum { N = 20000 };
    item *items = calloc(N, sizeof(*items));
    record log;
    uint64_t last = 0;
    testenv t;
    atl_loop loop;
    size_t i;

    (void)state;
    assert_non_null(items);
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, N, &loop, &log);
    for (i = 0; i < N; i++) {
        atl_timer_set(&loop, &items[i].timer, loop.now + 1 + testenv_rand(&t) % 1000000);
    }
    for (i = 0; i < N; i++) {
        uint64_t next = atl_loop_deadline(&loop);

        assert_true(next >= last && next != ATLAS_NO_DEADLINE);
        last = next;
        loop.now = next;
        assert_int_equal(atl_loop_run_timers(&loop, 1), 1);
    }
    assert_true(atl_loop_deadline(&loop) == ATLAS_NO_DEADLINE);
    free(items);
}

static void a_timer_set_to_the_past_waits_a_turn(void **state) {
    item items[2];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 2, &loop, &log);
    items[0].again = loop.now; /* for ever due */
    atl_timer_set(&loop, &items[0].timer, loop.now);
    atl_timer_set(&loop, &items[1].timer, loop.now);
    assert_int_equal(atl_loop_run_timers(&loop, 100), 2);
    assert_int_equal(log.n, 2);
    assert_true(atl_loop_deadline(&loop) == loop.now);
    assert_int_equal(atl_loop_run_timers(&loop, 100), 1);
}

static void callbacks_may_clear_and_move_due_timers(void **state) {
    item items[4];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 4, &loop, &log);
    items[0].clear_other = &items[2].timer;
    items[1].clear_other = &items[1].timer; /* itself: it is no longer set */
    items[3].again = loop.now + 50;
    atl_timer_set(&loop, &items[0].timer, loop.now - 4);
    atl_timer_set(&loop, &items[1].timer, loop.now - 3);
    atl_timer_set(&loop, &items[2].timer, loop.now - 2);
    atl_timer_set(&loop, &items[3].timer, loop.now - 1);
    assert_int_equal(atl_loop_run_timers(&loop, 100), 3);
    assert_int_equal(log.n, 3);
    assert_int_equal(log.ids[0], 0);
    assert_int_equal(log.ids[1], 1);
    assert_int_equal(log.ids[2], 3);
    assert_true(items[2].timer.deadline == ATLAS_NO_DEADLINE);
    assert_true(atl_loop_deadline(&loop) == loop.now + 50);
    atl_timer_clear(&loop, &items[3].timer);
    assert_true(atl_loop_deadline(&loop) == ATLAS_NO_DEADLINE);
}

static void on_timer_move_other(atl_timer *timer, uint64_t now) {
    item *it = timer->user;

    it->log->ids[it->log->n++] = it->id;
    atl_timer_set(it->loop, it->clear_other, now + 7);
}

static void a_due_timer_moved_away_does_not_run(void **state) {
    item items[2];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 2, &loop, &log);
    items[0].timer.fn = on_timer_move_other;
    items[0].clear_other = &items[1].timer;
    atl_timer_set(&loop, &items[0].timer, loop.now - 2);
    atl_timer_set(&loop, &items[1].timer, loop.now - 1);
    assert_int_equal(atl_loop_run_timers(&loop, 100), 1);
    assert_true(atl_loop_deadline(&loop) == loop.now + 7);
    loop.now += 7;
    assert_int_equal(atl_loop_run_timers(&loop, 100), 1);
    assert_int_equal(log.ids[1], 1);
}

static void time_never_steps_back(void **state) {
    testenv t;
    atl_loop loop;
    uint64_t before;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    before = loop.now;
    t.now -= ATL_MS;
    assert_true(atl_loop_update(&loop) == before);
    t.now = before + 5;
    assert_true(atl_loop_update(&loop) == before + 5);
    assert_true(loop.now == before + 5);
}

/* ---- tasks ---- */

static void tasks_run_once_and_in_order(void **state) {
    item items[3];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 3, &loop, &log);
    assert_true(atl_loop_deadline(&loop) == ATLAS_NO_DEADLINE);
    atl_post_work(&loop, &items[2].task);
    atl_post_work(&loop, &items[0].task);
    atl_post_work(&loop, &items[2].task); /* is there already */
    atl_post_work(&loop, &items[1].task);
    assert_true(atl_loop_deadline(&loop) == loop.now);
    assert_int_equal(atl_loop_run_events(&loop, 10), 0);
    assert_int_equal(atl_loop_run_work(&loop, 10), 3);
    assert_int_equal(log.ids[0], 2);
    assert_int_equal(log.ids[1], 0);
    assert_int_equal(log.ids[2], 1);
    assert_int_equal(atl_loop_run_work(&loop, 10), 0);
    assert_true(atl_loop_deadline(&loop) == ATLAS_NO_DEADLINE);
    atl_post_event(&loop, &items[0].task);
    assert_true(atl_loop_deadline(&loop) == loop.now);
    assert_int_equal(atl_loop_run_events(&loop, 10), 1);
}

static void a_budget_leaves_the_rest(void **state) {
    item items[5];
    record log;
    testenv t;
    atl_loop loop;
    size_t i;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 5, &loop, &log);
    for (i = 0; i < 5; i++) {
        atl_post_event(&loop, &items[i].task);
    }
    assert_int_equal(atl_loop_run_events(&loop, 0), 0);
    assert_int_equal(atl_loop_run_events(&loop, 2), 2);
    assert_true(atl_loop_deadline(&loop) == loop.now);
    assert_int_equal(atl_loop_run_events(&loop, 2), 2);
    assert_int_equal(atl_loop_run_events(&loop, 2), 1);
    for (i = 0; i < 5; i++) {
        assert_int_equal(log.ids[i], (int)i);
    }
}

static void a_task_that_posts_itself_waits_a_turn(void **state) {
    item items[2];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 2, &loop, &log);
    items[0].repost = 1;
    atl_post_work(&loop, &items[0].task);
    atl_post_work(&loop, &items[1].task);
    assert_int_equal(atl_loop_run_work(&loop, 100), 2);
    assert_int_equal(atl_loop_run_work(&loop, 100), 1);
    atl_task_cancel(&items[0].task);
    assert_int_equal(atl_loop_run_work(&loop, 100), 0);
}

static void tasks_may_cancel_one_another(void **state) {
    item items[4];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 4, &loop, &log);
    items[0].cancel_other = &items[1].task;
    items[2].cancel_other = &items[3].task; /* the last before the marker */
    atl_post_work(&loop, &items[0].task);
    atl_post_work(&loop, &items[1].task);
    atl_post_work(&loop, &items[2].task);
    atl_post_work(&loop, &items[3].task);
    assert_int_equal(atl_loop_run_work(&loop, 100), 2);
    assert_int_equal(log.ids[0], 0);
    assert_int_equal(log.ids[1], 2);
    atl_task_cancel(&items[1].task); /* legal when it is not posted */
    assert_int_equal(atl_loop_run_work(&loop, 100), 0);
}

static void on_task_move_other(atl_task *task) {
    item *it = task->user;

    it->log->ids[it->log->n++] = it->id;
    atl_task_cancel(it->cancel_other);
    atl_post_work(it->loop, it->cancel_other);
}

static void cancelled_and_posted_again_is_new(void **state) {
    item items[3];
    record log;
    testenv t;
    atl_loop loop;

    (void)state;
    testenv_init(&t);
    atl_loop_init(&loop, &t.env);
    init_items(items, 3, &loop, &log);
    items[0].task.fn = on_task_move_other;
    items[0].cancel_other = &items[1].task;
    atl_post_work(&loop, &items[0].task);
    atl_post_work(&loop, &items[1].task);
    atl_post_work(&loop, &items[2].task);
    assert_int_equal(atl_loop_run_work(&loop, 100), 2);
    assert_int_equal(log.ids[1], 2);
    assert_int_equal(atl_loop_run_work(&loop, 100), 1);
    assert_int_equal(log.ids[2], 1);
}

/* ---- lists ---- */

static void lists(void **state) {
    atl_list a;
    atl_list b;
    atl_list nodes[4];
    size_t i;

    (void)state;
    atl_list_init(&a);
    atl_list_init(&b);
    assert_null(atl_list_pop(&a));
    for (i = 0; i < 4; i++) {
        atl_list_init(&nodes[i]);
        atl_list_remove(&nodes[i]);
    }
    atl_list_append(&a, &nodes[1]);
    atl_list_prepend(&a, &nodes[0]);
    atl_list_append(&b, &nodes[2]);
    atl_list_append(&b, &nodes[3]);
    atl_list_splice(&a, &b);
    assert_true(atl_list_empty(&b));
    atl_list_splice(&a, &b);
    for (i = 0; i < 4; i++) {
        assert_ptr_equal(atl_list_pop(&a), &nodes[i]);
        assert_true(atl_list_empty(&nodes[i]));
    }
    assert_true(atl_list_empty(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_against_model),
        cmocka_unit_test(many_timers_come_out_sorted),
        cmocka_unit_test(a_timer_set_to_the_past_waits_a_turn),
        cmocka_unit_test(callbacks_may_clear_and_move_due_timers),
        cmocka_unit_test(a_due_timer_moved_away_does_not_run),
        cmocka_unit_test(time_never_steps_back),
        cmocka_unit_test(tasks_run_once_and_in_order),
        cmocka_unit_test(a_budget_leaves_the_rest),
        cmocka_unit_test(a_task_that_posts_itself_waits_a_turn),
        cmocka_unit_test(tasks_may_cancel_one_another),
        cmocka_unit_test(cancelled_and_posted_again_is_new),
        cmocka_unit_test(lists),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
