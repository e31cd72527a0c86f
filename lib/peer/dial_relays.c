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

/* How soon a relay is asked: the healthiest first. Where the peer says that it is, nothing known
 * against that is as good as a connection to another that may not know it. */
static uint32_t rank(const atl_dial_way *way) {
    uint32_t health = atl_relay_entry_health(way->entry);

    return way->named && health == ATL_RELAY_HEALTH_COLD ? ATL_RELAY_HEALTH_WARM : health;
}

/* The relay whose turn it is, or NULL: all had theirs. A relay is no way to itself. */
static atl_dial_way *next_way(const struct atl_dial *dial) {
    atl_dial_way *best = NULL;
    atl_list *node;

    for (node = dial->ways.next; node != &dial->ways; node = node->next) {
        atl_dial_way *way = ATL_CONTAINER(node, atl_dial_way, node);

        if (!way->asked && !atl_peer_id_equal(&way->entry->addr.peer, &dial->conn->peer) &&
            (best == NULL || rank(way) < rank(best))) {
            best = way;
        }
    }
    return best;
}

int atl_dial_relays_remain(const struct atl_dial *dial) {
    return dial->use_relays && next_way(dial) != NULL;
}

static atl_relay_entry *take_relay(const struct atl_dial *dial) {
    atl_dial_way *way = dial->use_relays ? next_way(dial) : NULL;

    if (way == NULL) {
        return NULL;
    }
    way->asked = 1;
    return way->entry;
}

int32_t atl_dial_add_way(struct atl_dial *dial, atl_relay_entry *entry, int named) {
    atl_dial_way *way;
    atl_list *node;

    for (node = dial->ways.next; node != &dial->ways; node = node->next) {
        way = ATL_CONTAINER(node, atl_dial_way, node);
        if (way->entry == entry) {
            way->named |= (uint8_t)(named != 0);
            return ATLAS_OK;
        }
    }
    way = atl_calloc(atl_conn_env(dial->conn), 1, sizeof(*way));
    if (way == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    way->entry = entry;
    way->named = named != 0;
    atl_relay_entry_use(entry);
    if (named) {
        atl_list_prepend(&dial->ways, &way->node);
    } else {
        atl_list_append(&dial->ways, &way->node);
    }
    return ATLAS_OK;
}

void atl_dial_free_ways(struct atl_dial *dial) {
    atl_list *node;

    while ((node = atl_list_pop(&dial->ways)) != NULL) {
        atl_dial_way *way = ATL_CONTAINER(node, atl_dial_way, node);

        atl_relay_entry_unuse(way->entry);
        atl_free(atl_conn_env(dial->conn), way);
    }
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
