/* One relay that was chosen: tried, tested, serving, and the end of it. */
#include "discovery/autorelay_impl.h"

#include "peer/dial.h"
#include "peer/manager.h"

#include <string.h>

#define ANNOUNCE_WAIT (1500 * ATL_MS)
#define TEST_TIMEOUT (1500 * ATL_MS)
#define TEST_FAILURES 2u
#define TEST_AGAIN ATL_SECOND         /* after a failure of one that serves */
#define TEST_AWAKE (3 * ATL_SECOND)   /* after idle mode: when the relays have been heard */
#define TEST_EVERY (300 * ATL_SECOND) /* and up to a quarter more or less */
#define LEAVE_WAIT (60 * ATL_SECOND)  /* a relay that drains is not kept for longer */

static void start_test(atl_chosen *slot);

static void tell(const atl_chosen *slot, uint32_t what, int32_t code, const char *text) {
    const atl_autorelay_config *config = &slot->ar->config;
    atl_autorelay_event event = {what, &slot->entry->addr, slot->rtt, slot->loss, code, text};

    if (config->on_event != NULL) {
        config->on_event(config->user, &event);
    }
}

int atl_chosen_is_silent(const atl_chosen *slot) {
    return atl_relay_entry_health(slot->entry) == ATL_RELAY_HEALTH_SILENT;
}

int atl_chosen_serves(const atl_chosen *slot) {
    return slot->entry != NULL && slot->state == ATL_CHOSEN_SERVES;
}

/* ---- the end ---- */

/* 1: it was reached and would not serve: on another network it would not, either. */
static int is_its_own_fault(int32_t code) {
    switch (code) {
    case ATLAS_ERR_SELFTEST:
    case ATLAS_ERR_RELAY_NOT_AUTHORISED:
    case ATLAS_ERR_RELAY_CAPACITY:
    case ATLAS_ERR_RELAY_RATE_LIMITED:
    case ATLAS_ERR_RELAY_REFUSED:
    case ATLAS_ERR_RELAY_REPLACED:
    case ATLAS_ERR_RELAY_CLOCK_DRIFT:
    case ATLAS_ERR_HTTP:
        return 1;
    default:
        return 0;
    }
}

static void remember(const atl_chosen *slot, int32_t code) {
    atl_relay_pool_failed(&slot->ar->pool, &slot->entry->addr.peer, is_its_own_fault(code),
                          slot->ar->loop->now);
}

static void stop_test(atl_chosen *slot) {
    /* a client that is gone has taken its test along */
    if (slot->test != NULL && slot->entry->client != NULL) {
        atl_relay_selftest_cancel(slot->test);
    }
    slot->test = NULL;
}

void atl_chosen_drop(atl_chosen *slot) {
    atl_autorelay *ar = slot->ar;
    atl_relay_entry *entry = slot->entry;

    if (slot->state == ATL_CHOSEN_SERVES) {
        atl_autorelay_changed(ar);
    }
    stop_test(slot);
    atl_timer_clear(ar->loop, &slot->timer);
    atl_chosen_init(slot, ar);
    atl_relays_release(entry);
    atl_autorelay_wake(ar);
}

void atl_chosen_give_up(atl_chosen *slot, const char *text) {
    if (slot->state == ATL_CHOSEN_TESTED && slot->failures > 0) {
        /* nobody waits for it to fail once more */
        remember(slot, ATLAS_ERR_SELFTEST);
    }
    tell(slot, ATLAS_AUTORELAY_REPLACED, ATLAS_OK, text);
    atl_chosen_drop(slot);
}

static void fail(atl_chosen *slot, int32_t code, const char *text) {
    remember(slot, code);
    if (slot->state != ATL_CHOSEN_LEAVES) {
        tell(slot, ATLAS_AUTORELAY_FAILED, code, text);
    }
    atl_chosen_drop(slot);
}

/* Its circuits go on; nobody can be reached through it any more. */
static void leave(atl_chosen *slot) {
    atl_autorelay *ar = slot->ar;

    if (slot->state == ATL_CHOSEN_LEAVES) {
        return;
    }
    if (slot->state != ATL_CHOSEN_SERVES) {
        fail(slot, ATLAS_ERR_RELAY_DRAINING, atlas_error_text(ATLAS_ERR_RELAY_DRAINING));
        return;
    }
    remember(slot, ATLAS_ERR_RELAY_DRAINING);
    tell(slot, ATLAS_AUTORELAY_FAILED, ATLAS_ERR_RELAY_DRAINING,
         atlas_error_text(ATLAS_ERR_RELAY_DRAINING));
    if (ar->config.peers->idle) {
        atl_chosen_drop(slot); /* no other takes its place meanwhile */
        return;
    }
    slot->state = ATL_CHOSEN_LEAVES;
    atl_timer_set(ar->loop, &slot->timer, ar->loop->now + LEAVE_WAIT);
    atl_autorelay_changed(ar);
    atl_autorelay_wake(ar);
}

/* ---- the test ---- */

static void passed(atl_chosen *slot, uint64_t rtt) {
    atl_autorelay *ar = slot->ar;
    uint64_t spread = atl_autorelay_random(ar) % (TEST_EVERY / 2);

    if (slot->state == ATL_CHOSEN_TESTED && atl_autorelay_is_enough(ar)) {
        atl_chosen_give_up(slot, "no longer needed: others were faster");
        return;
    }
    slot->failures = 0;
    slot->rtt = slot->rtt == 0 ? rtt : slot->rtt;
    atl_timer_set(ar->loop, &slot->timer, ar->loop->now + TEST_EVERY * 3 / 4 + spread);
    if (slot->state != ATL_CHOSEN_SERVES) {
        slot->state = ATL_CHOSEN_SERVES;
        ar->backoff = 0;
        tell(slot, ATLAS_AUTORELAY_SERVING, ATLAS_OK, "announced, and packets pass both ways");
        atl_autorelay_changed(ar);
        atl_autorelay_wake(ar);
    }
}

static void on_tested(void *user, const atl_relay_selftest_result *result) {
    atl_chosen *slot = user;

    slot->test = NULL;
    if (result->code == ATLAS_OK) {
        passed(slot, result->rtt);
        return;
    }
    /* what has become of the connection is told by its state */
    slot->failures += result->code != ATLAS_ERR_RELAY_LOST && result->code != ATLAS_ERR_CANCELLED;
    if (slot->failures >= TEST_FAILURES) {
        fail(slot, result->code, result->text);
    } else if (slot->state == ATL_CHOSEN_TESTED) {
        start_test(slot);
    } else {
        atl_timer_set(slot->ar->loop, &slot->timer, slot->ar->loop->now + TEST_AGAIN);
    }
}

static void start_test(atl_chosen *slot) {
    int32_t rc =
        atl_relay_selftest_start(slot->entry->client, TEST_TIMEOUT, on_tested, slot, &slot->test);

    if (rc == ATLAS_OK) {
        atl_timer_clear(slot->ar->loop, &slot->timer);
    } else if (slot->state == ATL_CHOSEN_TESTED && ++slot->failures >= TEST_FAILURES) {
        fail(slot, rc, atlas_error_text(rc));
    } else {
        atl_timer_set(slot->ar->loop, &slot->timer, slot->ar->loop->now + TEST_AGAIN);
    }
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_chosen *slot = timer->user;

    (void)now;
    switch (slot->state) {
    case ATL_CHOSEN_TRIED:
        fail(slot, ATLAS_ERR_TIMEOUT, "the relay has not taken an announcement in time");
        break;
    case ATL_CHOSEN_LEAVES:
        atl_chosen_drop(slot);
        break;
    default:
        start_test(slot);
    }
}

/* ---- idle mode ---- */

void atl_chosen_set_idle(atl_chosen *slot, int on) {
    atl_autorelay *ar = slot->ar;

    if (on && slot->state != ATL_CHOSEN_SERVES) {
        if (slot->state == ATL_CHOSEN_LEAVES) {
            atl_chosen_drop(slot);
        } else {
            atl_chosen_give_up(slot, "this node is in idle mode");
        }
    } else if (on) {
        stop_test(slot);
        atl_timer_clear(ar->loop, &slot->timer);
    } else if (slot->state == ATL_CHOSEN_SERVES) {
        atl_timer_set(ar->loop, &slot->timer, ar->loop->now + TEST_AWAKE);
    }
}

/* ---- what the relay's client says ---- */

static void look_at_announced(atl_chosen *slot) {
    if (slot->state == ATL_CHOSEN_TRIED) {
        slot->state = ATL_CHOSEN_TESTED;
        start_test(slot);
    } else if (atl_chosen_is_silent(slot) && !slot->ar->config.peers->idle) {
        /* dead, or not: within a second or so it is known */
        atl_relay_client_probe(slot->entry->client);
        atl_autorelay_wake(slot->ar);
    } else {
        atl_autorelay_wake(slot->ar);
    }
}

void atl_chosen_look(atl_chosen *slot) {
    atlas_relay_event event;

    if (slot->entry->client == NULL) {
        return;
    }
    atl_relay_client_event(slot->entry->client, &event);
    if (event.state == ATLAS_RELAY_ANNOUNCED) {
        look_at_announced(slot);
    } else if (event.state == ATLAS_RELAY_DRAINS) {
        leave(slot);
    } else if (event.state == ATLAS_RELAY_LOST || event.state == ATLAS_RELAY_REPLACED) {
        fail(slot, event.code, event.text);
    } else if (event.state == ATLAS_RELAY_CONNECTING && slot->state != ATL_CHOSEN_TRIED) {
        fail(slot, ATLAS_ERR_RELAY_LOST, atlas_error_text(ATLAS_ERR_RELAY_LOST));
    }
}

/* ---- the beginning ---- */

void atl_chosen_init(atl_chosen *slot, atl_autorelay *ar) {
    memset(slot, 0, sizeof(*slot));
    slot->ar = ar;
    atl_timer_init(&slot->timer, on_timer, slot);
}

static atl_chosen *free_slot(atl_autorelay *ar) {
    size_t i;

    for (i = 0; i < ATL_AUTORELAY_SLOTS; i++) {
        if (ar->slots[i].entry == NULL) {
            return &ar->slots[i];
        }
    }
    return NULL;
}

int32_t atl_chosen_begin(atl_autorelay *ar, atl_relay_pool_entry *relay) {
    atl_chosen *slot = free_slot(ar);
    const atl_relay_pool_entry *other;
    atl_maddr addr;
    int32_t rc;

    if (slot == NULL) {
        return ATLAS_ERR_LIMIT;
    }
    if (!atl_dial_may_send(ar->config.peers, &relay->addr)) {
        return ATLAS_ERR_RATE_LIMITED;
    }
    relay->sent_at = ar->loop->now;
    memset(&addr, 0, sizeof(addr));
    addr.host_kind = ATL_HOST_IP;
    addr.quic = 1;
    addr.has_peer = 1;
    addr.addr = relay->addr;
    addr.port = relay->addr.port;
    addr.peer = relay->peer;
    rc = atl_relays_hold(&ar->config.peers->relays, &addr, &slot->entry);
    if (rc != ATLAS_OK) {
        return rc;
    }
    slot->state = ATL_CHOSEN_TRIED;
    slot->addr = relay->addr;
    other = atl_relay_pool_find(&ar->pool, &relay->peer, relay->addr.family == 4 ? 6 : 4);
    if (other != NULL) {
        slot->other = other->addr;
    }
    slot->rtt = relay->rtt;
    slot->loss = relay->loss;
    atl_timer_set(ar->loop, &slot->timer, ar->loop->now + ANNOUNCE_WAIT);
    tell(slot, ATLAS_AUTORELAY_CHOSEN, ATLAS_OK, "tried: presence, then a test");
    /* it may be connected already, for somebody else */
    if (slot->entry != NULL && slot->entry->client != NULL &&
        atl_relay_client_state(slot->entry->client) == ATLAS_RELAY_ANNOUNCED) {
        atl_chosen_look(slot);
    }
    return ATLAS_OK;
}
