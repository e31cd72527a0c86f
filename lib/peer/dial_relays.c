/* The relays of a dial: the ones that answer first, in their order, each with a head start; those
 * that nothing is known of all at once; those that are silent or have failed last. So a dial never
 * waits for a relay that is known to be dead, and not for long for one that has just died. */
#include "peer/dial_state.h"

#define ABREAST 4u /* relays without a warm connection that are tried at once */

static void on_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    atl_attempt *at = user;
    int32_t rv;

    (void)request;
    at->request = NULL;
    rv = atl_attempt_handshake(at, circuit);
    if (rv != ATLAS_OK) {
        atl_relay_circuit_close(circuit, rv);
        atl_attempt_fail(at, rv, NULL);
    }
}

static void on_failed(void *user, atl_relay_request *request, int32_t code, const char *text) {
    atl_attempt *at = user;

    (void)request;
    at->request = NULL;
    atl_attempt_fail(at, code, text);
}

static const atl_relay_request_ops request_ops = {.on_ready = on_ready, .on_failed = on_failed};

/* The relay whose turn it is, and its index among the configured ones; NULL: all had theirs. A
 * relay is no way to itself; each has one entry. */
static atl_relay_entry *next_relay(const struct atl_dial *dial, size_t *index) {
    atl_relay_entry *best = NULL;
    atl_relay_entry *entry;
    size_t i;

    if (dial->only != NULL) {
        return dial->only_asked ? NULL : dial->only;
    }
    for (i = 0; (entry = atl_relays_at(&dial->peers->relays, i)) != NULL; i++) {
        if ((dial->asked & (UINT64_C(1) << i)) != 0 ||
            atl_peer_id_equal(&entry->addr.peer, &dial->conn->peer)) {
            continue;
        }
        if (best == NULL || atl_relay_entry_health(entry) < atl_relay_entry_health(best)) {
            best = entry;
            *index = i;
        }
    }
    return best;
}

int atl_dial_relays_remain(const struct atl_dial *dial) {
    size_t index;

    return dial->use_relays && next_relay(dial, &index) != NULL;
}

static atl_relay_entry *take_relay(struct atl_dial *dial) {
    size_t index = 0;
    atl_relay_entry *entry = dial->use_relays ? next_relay(dial, &index) : NULL;

    if (dial->only != NULL) {
        dial->only_asked = 1;
    } else if (entry != NULL) {
        dial->asked |= UINT64_C(1) << index;
    }
    return entry;
}

static int32_t ask_relay(atl_attempt *at) {
    const atl_peers *peers = at->dial->peers;
    uint64_t left = at->dial->ends > peers->loop->now ? at->dial->ends - peers->loop->now : 1;

    if (at->entry->client == NULL) {
        return ATLAS_ERR_STATE;
    }
    return atl_relay_client_request(at->entry->client, &at->dial->conn->peer, left, &request_ops,
                                    at, &at->request);
}

void atl_dial_start_relay(struct atl_dial *dial) {
    uint64_t next = ATLAS_NO_DEADLINE;
    atl_relay_entry *entry;
    int32_t rv = ATLAS_ERR_RELAY_LOST;
    int warm = 0;

    dial->relay_failed = 0;
    while (rv != ATLAS_OK && (entry = take_relay(dial)) != NULL) {
        atl_attempt *at = atl_attempt_new(dial, ATL_ATTEMPT_RUNNING);

        if (at == NULL) {
            atl_dial_add_text(dial, entry->text, atlas_error_text(ATLAS_ERR_NOMEM));
            continue;
        }
        warm = atl_relay_entry_health(entry) == ATL_RELAY_HEALTH_WARM;
        at->entry = entry;
        atl_relay_entry_use(entry);
        dial->relays_left++;
        rv = ask_relay(at);
        if (rv != ATLAS_OK) {
            atl_attempt_fail(at, rv, NULL);
        }
    }
    if (atl_dial_relays_remain(dial)) {
        next = dial->peers->loop->now +
               (warm || dial->relays_left >= ABREAST ? ATL_DIAL_RELAY_STAGGER : 0);
    }
    atl_timer_set(dial->peers->loop, &dial->relay_timer, next);
}
