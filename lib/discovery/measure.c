#include "discovery/measure.h"

#include <string.h>

#define SPACING (60 * ATL_MS)
#define DEADLINE (400 * ATL_MS) /* before STUN's own retransmission, so that loss shows */
#define GRACE_MIN (20 * ATL_MS)

typedef struct question {
    atl_measure *measure;
    atl_stun_txn *txn; /* NULL: not asked, or ended */
    size_t index;      /* of the address */
} question;

typedef struct target {
    question questions[ATL_MEASURE_QUESTIONS];
    uint32_t asked;
    uint32_t came;
    uint32_t lost;
} target;

struct atl_measure {
    atl_loop *loop;
    atl_stun_client *stun;
    atl_measure_done done;
    void *user;
    size_t n;
    size_t enough;
    uint32_t rounds;
    uint64_t slowest; /* of the addresses that have answered everything */
    uint8_t hurried;  /* the timer is the end of the others' time */
    atl_timer timer;
    atl_task deliver;
    atl_measure_result results[ATL_MEASURE_MAX];
    target targets[ATL_MEASURE_MAX];
};

static void release(atl_measure *measure) {
    size_t i;
    size_t k;

    for (i = 0; i < measure->n; i++) {
        for (k = 0; k < ATL_MEASURE_QUESTIONS; k++) {
            if (measure->targets[i].questions[k].txn != NULL) {
                atl_stun_client_cancel(measure->stun, measure->targets[i].questions[k].txn);
            }
        }
    }
    atl_timer_clear(measure->loop, &measure->timer);
    atl_task_cancel(&measure->deliver);
    atl_free(measure->loop->env, measure);
}

static void on_deliver(atl_task *task) {
    atl_measure *measure = task->user;
    atl_measure_result results[ATL_MEASURE_MAX];
    atl_measure_done done = measure->done;
    void *user = measure->user;
    size_t n = measure->n;
    size_t i;

    for (i = 0; i < n; i++) {
        uint32_t lost = ATL_MEASURE_QUESTIONS - measure->targets[i].came;

        measure->results[i].loss = lost * 100 / ATL_MEASURE_QUESTIONS;
    }
    memcpy(results, measure->results, sizeof(results));
    release(measure);
    done(user, results, n);
}

/* Ends it when nothing is open, or soon when there is enough. */
static void look(atl_measure *measure) {
    size_t complete = 0;
    size_t open = 0;
    size_t i;

    for (i = 0; i < measure->n; i++) {
        const target *at = &measure->targets[i];

        complete += at->came == ATL_MEASURE_QUESTIONS;
        open += at->came + at->lost < ATL_MEASURE_QUESTIONS;
    }
    if (open == 0) {
        atl_timer_clear(measure->loop, &measure->timer);
        atl_post_work(measure->loop, &measure->deliver);
    } else if (measure->enough != 0 && complete >= measure->enough && !measure->hurried) {
        uint64_t grace = measure->slowest < GRACE_MIN ? GRACE_MIN : measure->slowest;

        /* everything was asked: an address has answered all of it */
        measure->hurried = 1;
        atl_timer_set(measure->loop, &measure->timer, measure->loop->now + grace);
    }
}

static void on_answer(void *user, const atl_stun_reply *reply) {
    question *q = user;
    atl_measure *measure = q->measure;
    target *at = &measure->targets[q->index];
    atl_measure_result *result = &measure->results[q->index];
    uint64_t rtt = reply->rtt > 0 ? reply->rtt : 1;

    q->txn = NULL;
    if (reply->code != ATLAS_OK) {
        at->lost++;
    } else {
        at->came++;
        if (result->rtt == 0 || rtt < result->rtt) {
            result->rtt = rtt;
        }
        if (at->came == ATL_MEASURE_QUESTIONS && rtt > measure->slowest) {
            measure->slowest = rtt;
        }
    }
    look(measure);
}

static void ask(atl_measure *measure) {
    uint64_t deadline = measure->loop->now + DEADLINE;
    size_t i;

    for (i = 0; i < measure->n; i++) {
        target *at = &measure->targets[i];
        question *q = &at->questions[at->asked++];

        q->measure = measure;
        q->index = i;
        if (atl_stun_client_start(measure->stun, NULL, &measure->results[i].addr, deadline, NULL,
                                  on_answer, q, &q->txn) != ATLAS_OK) {
            q->txn = NULL;
            at->lost++;
        }
    }
    measure->rounds++;
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_measure *measure = timer->user;

    if (measure->hurried) {
        atl_post_work(measure->loop, &measure->deliver);
        return;
    }
    ask(measure);
    if (measure->rounds < ATL_MEASURE_QUESTIONS) {
        atl_timer_set(measure->loop, timer, now + SPACING);
    }
    look(measure);
}

int32_t atl_measure_start(atl_loop *loop, atl_stun_client *stun, const atl_addr *addrs, size_t n,
                          size_t enough, atl_measure_done done, void *user, atl_measure **out) {
    atl_measure *measure;
    size_t i;

    if (n == 0 || n > ATL_MEASURE_MAX) {
        return ATLAS_ERR_INVALID;
    }
    measure = atl_calloc(loop->env, 1, sizeof(*measure));
    if (measure == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    measure->loop = loop;
    measure->stun = stun;
    measure->done = done;
    measure->user = user;
    measure->n = n;
    measure->enough = enough;
    for (i = 0; i < n; i++) {
        measure->results[i].addr = addrs[i];
    }
    atl_timer_init(&measure->timer, on_timer, measure);
    atl_task_init(&measure->deliver, on_deliver, measure);
    atl_timer_set(loop, &measure->timer, loop->now);
    *out = measure;
    return ATLAS_OK;
}

void atl_measure_cancel(atl_measure *measure) {
    release(measure);
}
