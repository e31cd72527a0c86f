/* Looking up where a dialled peer is: what is known at once, then what the bootstrap nodes answer.
 */
#include "discovery/find.h"
#include "discovery/state.h"

/* A dial that is told more. */
typedef struct lookup {
    atl_list node; /* disc->lookups */
    atl_discovery *disc;
    struct atl_dial *dial;
    atl_find *find;
    uint64_t seq; /* of the newest record that the dial was told */
} lookup;

static void forget(lookup *at) {
    atl_list_remove(&at->node);
    atl_free(at->disc->env, at);
}

static void tell(struct atl_dial *dial, const uint8_t *data, size_t len) {
    atl_record record;

    if (atl_record_open(data, len, &record) == ATLAS_OK) {
        atl_dial_found(dial, record.addrs, record.n_addrs);
    }
}

static void on_record(void *user, const atl_record_cached *record, const atl_boot_node *from,
                      uint64_t rtt) {
    lookup *at = user;

    (void)from;
    (void)rtt;
    if (record->head.seq > at->seq || at->seq == 0) {
        at->seq = record->head.seq;
        tell(at->dial, record->data, record->len);
    }
}

static void on_failed(void *user, const atl_boot_node *from, int32_t code, const char *text) {
    const lookup *at = user;

    (void)code;
    atl_dial_found_failed(at->dial, atl_boot_node_text(from), text);
}

static void on_end(void *user, int32_t code) {
    lookup *at = user;
    struct atl_dial *dial = at->dial;

    (void)code;
    forget(at);
    atl_dial_found_end(dial);
}

static const atl_find_ops find_ops = {on_record, on_failed, on_end};

static int begin(void *user, struct atl_dial *dial, const atl_peer_id *peer) {
    atl_discovery *disc = user;
    atl_record_cached known;
    lookup *at;

    if (atl_record_cache_get(disc->cache, peer, &known)) {
        tell(dial, known.data, known.len);
    }
    if (disc->n_nodes == 0) {
        return 0;
    }
    at = atl_calloc(disc->env, 1, sizeof(*at));
    if (at == NULL) {
        return 0;
    }
    at->disc = disc;
    at->dial = dial;
    atl_list_append(&disc->lookups, &at->node);
    if (atl_find_peer(disc, peer, ATL_FIND_TIMEOUT, &find_ops, at, &at->find) != ATLAS_OK) {
        forget(at);
        return 0;
    }
    return 1;
}

static void end(void *user, struct atl_dial *dial) {
    atl_discovery *disc = user;
    atl_list *node;

    for (node = disc->lookups.next; node != &disc->lookups; node = node->next) {
        lookup *at = ATL_CONTAINER(node, lookup, node);

        if (at->dial == dial) {
            atl_find_cancel(at->find);
            forget(at);
            return;
        }
    }
}

void atl_lookup_init(atl_discovery *disc) {
    atl_list_init(&disc->lookups);
    disc->finder.user = disc;
    disc->finder.begin = begin;
    disc->finder.end = end;
    disc->peers->finder = &disc->finder;
}

/* Dials that go on are told that nothing more will come. */
void atl_lookup_free(atl_discovery *disc) {
    disc->peers->finder = NULL;
    while (!atl_list_empty(&disc->lookups)) {
        lookup *at = ATL_CONTAINER(disc->lookups.next, lookup, node);
        struct atl_dial *dial = at->dial;

        atl_find_cancel(at->find);
        forget(at);
        atl_dial_found_end(dial);
    }
}
