/* Which relays: candidates, their measurement, the choice among them, and when to choose anew. */
#include "discovery/autorelay.h"

#include "discovery/autorelay_impl.h"
#include "peer/manager.h"

#include <string.h>

#define MORE (2 * ATL_AUTORELAY_SAMPLE) /* candidates asked for at once */
#define ASK_PATIENCE (10 * ATL_SECOND)  /* an answer that has not come by then is not waited for */
#define GATHER (100 * ATL_MS)           /* after the first candidate */
#define BACKOFF_MIN ATL_SECOND
#define BACKOFF_MAX (60 * ATL_SECOND)
#define COMPARE_EVERY (300 * ATL_SECOND) /* and up to a tenth more */
#define COMPARE_SOON (2 * ATL_SECOND)    /* on another network */
static void measure_some(atl_autorelay *ar);

uint64_t atl_autorelay_random(const atl_autorelay *ar) {
    uint64_t random = 0;

    (void)atl_random(ar->loop->env, &random, sizeof(random));
    return random;
}

void atl_autorelay_wake(atl_autorelay *ar) {
    atl_post_work(ar->loop, &ar->step);
}

void atl_autorelay_changed(atl_autorelay *ar) {
    atl_post_work(ar->loop, &ar->change);
}

static void on_change(atl_task *task) {
    const atl_autorelay *ar = task->user;

    if (ar->config.on_change != NULL) {
        ar->config.on_change(ar->config.user);
    }
}

/* ---- how many there are ---- */

typedef struct tally {
    size_t good;   /* serve, and are to go on */
    size_t tried;  /* may serve soon */
    size_t serves; /* whatever is to become of them */
} tally;

static int is_tried(const atl_chosen *slot) {
    return slot->entry != NULL &&
           (slot->state == ATL_CHOSEN_TRIED || slot->state == ATL_CHOSEN_TESTED);
}

/* One that is silent is probably dead, and another is wanted at once; all of them silent is
 * probably this node's own network. */
static tally count_slots(const atl_autorelay *ar) {
    tally out = {0, 0, 0};
    size_t silent = 0;
    size_t heard = 0;
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        const atl_chosen *slot = &ar->slots[i];

        out.tried += is_tried(slot);
        if (atl_chosen_serves(slot)) {
            out.serves++;
            silent += !slot->doomed && atl_chosen_is_silent(slot);
            heard += !atl_chosen_is_silent(slot);
            out.good += !slot->doomed;
        }
    }
    if (heard > 0) {
        out.good -= silent;
    }
    return out;
}

int atl_autorelay_is_enough(const atl_autorelay *ar) {
    return count_slots(ar).good >= ar->count;
}

/* Those that are not needed any more: 1 when one was given up. */
static int give_up_one(atl_autorelay *ar, const tally *now) {
    atl_chosen *worst = NULL;
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        atl_chosen *slot = &ar->slots[i];

        if (slot->entry == NULL || now->good < ar->count) {
            continue;
        }
        if (slot->state == ATL_CHOSEN_LEAVES) {
            atl_chosen_drop(slot);
            return 1;
        }
        if (is_tried(slot) || slot->doomed) {
            atl_chosen_give_up(slot, is_tried(slot) ? "no longer needed: others were faster"
                                                    : "another relay is much better");
            return 1;
        }
        if (now->good > ar->count && !atl_chosen_is_silent(slot) &&
            (worst == NULL || slot->loss > worst->loss ||
             (slot->loss == worst->loss && slot->rtt > worst->rtt))) {
            worst = slot;
        }
    }
    if (worst == NULL) {
        return 0;
    }
    atl_chosen_give_up(worst, "no longer needed");
    return 1;
}

/* What the application has configured meanwhile is its own. */
static void drop_configured(atl_autorelay *ar) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry != NULL && ar->slots[i].entry->configured) {
            atl_chosen_drop(&ar->slots[i]);
        }
    }
}

/* ---- more candidates ---- */

static int waits_for_candidates(const atl_autorelay *ar) {
    return ar->asked && ar->loop->now < ar->asked_at + ASK_PATIENCE;
}

static void ask_for_more(atl_autorelay *ar) {
    if (waits_for_candidates(ar) || ar->config.peers->idle) {
        return;
    }
    ar->asked = 1;
    ar->asked_at = ar->loop->now;
    ar->offered_at = 0;
    ar->config.want(ar->config.user, MORE);
}

/* 1: candidates that have come are to be measured now, and not a moment later with others. */
static int is_gathered(atl_autorelay *ar) {
    if (!waits_for_candidates(ar) || ar->pool.n >= ATL_AUTORELAY_SAMPLE || ar->offered_at == 0 ||
        ar->loop->now >= ar->offered_at + GATHER) {
        return 1;
    }
    atl_timer_set(ar->loop, &ar->gather, ar->offered_at + GATHER);
    return 0;
}

static void look_later(atl_autorelay *ar) {
    uint64_t wait = ar->backoff < BACKOFF_MIN ? BACKOFF_MIN : ar->backoff;

    if (ar->look.deadline == ATLAS_NO_DEADLINE) {
        ar->backoff = wait * 2 < BACKOFF_MAX ? wait * 2 : BACKOFF_MAX;
        atl_timer_set(ar->loop, &ar->look, ar->loop->now + wait);
    }
}

/* ---- the steps ---- */

/* Tries as many as are missing, and one more; 1 when that many are tried now. */
static int try_some(atl_autorelay *ar, size_t missing, size_t tried, int *measure) {
    while (tried <= missing) {
        atl_relay_pool_entry *relay = atl_choice_next(ar, tried == missing, measure);

        if (relay == NULL || atl_chosen_begin(ar, relay) != ATLAS_OK) {
            break;
        }
        tried++;
    }
    return tried >= missing;
}

/* A node that sleeps looks for nothing; waking is a change of network. */
static int rests(const atl_autorelay *ar) {
    const atl_peers *peers = ar->config.peers;

    return ar->count == 0 || peers->ep == NULL || peers->shutdown || peers->idle;
}

static void step(atl_autorelay *ar) {
    int measure = 0;
    tally now;

    if (rests(ar)) {
        return;
    }
    drop_configured(ar);
    do {
        now = count_slots(ar);
    } while (give_up_one(ar, &now));
    if (now.good >= ar->count) {
        atl_timer_clear(ar->loop, &ar->look);
        return;
    }
    if (try_some(ar, ar->count - now.good, now.tried, &measure) || ar->measure != NULL) {
        return;
    }
    if (measure && is_gathered(ar)) {
        measure_some(ar);
    } else if (!measure) {
        look_later(ar);
    }
}

static void on_step(atl_task *task) {
    step(task->user);
}

static void on_gather(atl_timer *timer, uint64_t now) {
    (void)now;
    atl_autorelay_wake(timer->user);
}

/* Nothing was left to try: others are asked for, and those that have failed tried again. */
static void on_look(atl_timer *timer, uint64_t now) {
    atl_autorelay *ar = timer->user;
    atl_relay_pool_entry *relay;
    tally have = count_slots(ar);

    (void)now;
    if (rests(ar)) {
        return;
    }
    ask_for_more(ar);
    while (!atl_choice_is_unmeasured(ar, 0) && have.good + have.tried++ < ar->count &&
           (relay = atl_choice_least_bad(ar)) != NULL && atl_chosen_begin(ar, relay) == ATLAS_OK) {
    }
    atl_autorelay_wake(ar);
}

/* ---- measuring ---- */

static atl_chosen *slot_of(atl_autorelay *ar, const atl_peer_id *peer) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry != NULL && atl_peer_id_equal(&ar->slots[i].entry->addr.peer, peer)) {
            return &ar->slots[i];
        }
    }
    return NULL;
}

static void on_measured(void *user, const atl_measure_result *results, size_t n) {
    atl_autorelay *ar = user;
    size_t i;

    ar->measure = NULL;
    for (i = 0; i < n; i++) {
        atl_relay_pool_entry *relay =
            atl_relay_pool_find(&ar->pool, &ar->measured[i], results[i].addr.family);
        atl_chosen *slot = slot_of(ar, &ar->measured[i]);

        if (relay != NULL && atl_addr_equal(&relay->addr, &results[i].addr)) {
            relay->measured_at = ar->loop->now;
            relay->rtt = results[i].rtt;
            relay->loss = results[i].loss;
        }
        if (slot != NULL && ar->comparing && atl_addr_equal(&slot->addr, &results[i].addr)) {
            slot->rtt = results[i].rtt != 0 ? results[i].rtt : slot->rtt;
            slot->loss = results[i].loss;
        }
    }
    if (ar->comparing) {
        atl_choice_compare(ar);
    }
    atl_autorelay_wake(ar);
}

static void measure_addrs(atl_autorelay *ar, const atl_addr *addrs, size_t n, size_t enough) {
    if (n == 0 || atl_measure_start(ar->loop, ar->config.peers->stun, addrs, n, enough, on_measured,
                                    ar, &ar->measure) != ATLAS_OK) {
        ar->measure = NULL;
        look_later(ar);
    }
}

/* For a choice now. */
static void measure_some(atl_autorelay *ar) {
    atl_addr addrs[ATL_MEASURE_MAX];

    ar->comparing = 0;
    measure_addrs(ar, addrs, atl_choice_sample(ar, addrs, 0, 0), ar->count + 1);
}

/* A node that sleeps compares after it has woken. */
static void compare_in(atl_autorelay *ar, uint64_t wait) {
    if (!ar->config.peers->idle) {
        atl_timer_set(ar->loop, &ar->compare, ar->loop->now + wait);
    }
}

static void compare_later(atl_autorelay *ar) {
    compare_in(ar, COMPARE_EVERY + atl_autorelay_random(ar) % (COMPARE_EVERY / 10));
}

/* Those that serve, and others. */
static void on_compare(atl_timer *timer, uint64_t now) {
    atl_autorelay *ar = timer->user;
    atl_addr addrs[ATL_MEASURE_MAX];
    size_t n = 0;
    size_t i;

    (void)now;
    compare_later(ar);
    if (ar->measure != NULL || ar->config.peers->ep == NULL) {
        return;
    }
    ask_for_more(ar);
    for (i = 0; i < ATL_AUTORELAY_SLOTS && n < ATL_AUTORELAY_MAX; i++) {
        const atl_chosen *slot = &ar->slots[i];

        if (atl_chosen_serves(slot)) {
            n = atl_choice_add(ar, addrs, n, &slot->entry->addr.peer, &slot->addr);
        }
    }
    ar->comparing = 1;
    n = atl_choice_sample(ar, addrs, n, 1);
    if (n > 0) {
        measure_addrs(ar, addrs, n, 0);
    }
}

/* ---- the interface ---- */

int32_t atl_autorelay_new(const atl_autorelay_config *config, atl_autorelay **out) {
    atl_autorelay *ar = atl_calloc(config->loop->env, 1, sizeof(*ar));
    size_t i;

    if (ar == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    ar->config = *config;
    ar->loop = config->loop;
    atl_relay_pool_init(&ar->pool, ar->loop->env);
    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        atl_chosen_init(&ar->slots[i], ar);
    }
    atl_task_init(&ar->step, on_step, ar);
    atl_task_init(&ar->change, on_change, ar);
    atl_timer_init(&ar->look, on_look, ar);
    atl_timer_init(&ar->gather, on_gather, ar);
    atl_timer_init(&ar->compare, on_compare, ar);
    *out = ar;
    return ATLAS_OK;
}

static void stop_measuring(atl_autorelay *ar) {
    if (ar->measure != NULL) {
        atl_measure_cancel(ar->measure);
        ar->measure = NULL;
    }
}

static void stop(atl_autorelay *ar) {
    stop_measuring(ar);
    atl_timer_clear(ar->loop, &ar->look);
    atl_timer_clear(ar->loop, &ar->gather);
    atl_timer_clear(ar->loop, &ar->compare);
    atl_task_cancel(&ar->step);
    ar->backoff = 0;
}

void atl_autorelay_free(atl_autorelay *ar) {
    size_t i;

    if (ar == NULL) {
        return;
    }
    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry != NULL) {
            atl_chosen_drop(&ar->slots[i]);
        }
    }
    stop(ar);
    atl_task_cancel(&ar->change);
    atl_relay_pool_free(&ar->pool);
    atl_free(ar->loop->env, ar);
}

void atl_autorelay_want(atl_autorelay *ar, size_t count) {
    size_t before = ar->count;
    size_t i;

    ar->count = count < ATL_AUTORELAY_MAX ? count : ATL_AUTORELAY_MAX;
    if (ar->count == before) {
        return;
    }
    if (ar->count == 0) {
        for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
            if (ar->slots[i].entry != NULL) {
                atl_chosen_give_up(&ar->slots[i], "no relay is needed any more");
            }
        }
        stop(ar);
        return;
    }
    if (before == 0) {
        compare_later(ar);
        ask_for_more(ar);
    }
    atl_autorelay_wake(ar);
}

void atl_autorelay_offer(atl_autorelay *ar, const atl_maddr *addr) {
    if (addr->host_kind != ATL_HOST_IP || !addr->quic || !addr->has_peer || addr->has_relay ||
        addr->addr.port == 0 || atl_addr_is_unspecified(&addr->addr) ||
        atl_addr_is_multicast(&addr->addr) || atl_addr_is_link_local(&addr->addr) ||
        atl_peer_id_equal(&addr->peer, &ar->config.self) ||
        atl_relay_pool_is_taken(&ar->pool, &addr->peer, &addr->addr, ar->asked_at)) {
        return;
    }
    atl_relay_pool_offer(&ar->pool, &addr->peer, &addr->addr, ar->loop->now);
    ar->offered_at = ar->offered_at == 0 ? ar->loop->now : ar->offered_at;
    atl_autorelay_wake(ar);
}

void atl_autorelay_offered(atl_autorelay *ar) {
    ar->asked = 0;
    atl_autorelay_wake(ar);
}

size_t atl_autorelay_serving(const atl_autorelay *ar, atl_relay_entry **out, size_t cap) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS && n < cap; i++) {
        if (atl_chosen_serves(&ar->slots[i])) {
            out[n++] = ar->slots[i].entry;
        }
    }
    return n;
}

int atl_autorelay_is_serving(const atl_autorelay *ar, const atl_relay_entry *entry) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry == entry && atl_chosen_serves(&ar->slots[i])) {
            return 1;
        }
    }
    return 0;
}

void atl_autorelay_on_relay(atl_autorelay *ar, atl_relay_entry *entry) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (entry != NULL && ar->slots[i].entry == entry) {
            atl_chosen_look(&ar->slots[i]);
            return;
        }
    }
}

void atl_autorelay_set_idle(atl_autorelay *ar, int on) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry != NULL) {
            atl_chosen_set_idle(&ar->slots[i], on);
        }
    }
    if (on) {
        stop(ar);
        ar->asked = 0;
    } else if (ar->count != 0) {
        compare_later(ar);
        if (!atl_autorelay_is_enough(ar)) {
            ask_for_more(ar);
        }
        atl_autorelay_wake(ar);
    }
}

int atl_autorelay_is_busy(const atl_autorelay *ar) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (is_tried(&ar->slots[i]) || ar->slots[i].test != NULL) {
            return 1;
        }
    }
    return ar->measure != NULL || ar->gather.deadline != ATLAS_NO_DEADLINE;
}

void atl_autorelay_network_changed(atl_autorelay *ar) {
    atl_relay_pool_network_changed(&ar->pool);
    ar->backoff = 0;
    stop_measuring(ar);
    if (ar->count != 0) {
        atl_timer_clear(ar->loop, &ar->look);
        compare_in(ar, COMPARE_SOON);
        atl_autorelay_wake(ar);
    }
}
