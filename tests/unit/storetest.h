/* Records for tests of the registry's store: heads and bytes that nobody has signed, since the
 * store takes what was checked. Include cmocka and testenv.h before this. */
#ifndef ATL_TESTS_UNIT_STORETEST_H
#define ATL_TESTS_UNIT_STORETEST_H

#include "discovery/record_store.h"

#define STORETEST_UNUSED __attribute__((unused))

static STORETEST_UNUSED atl_peer_id storetest_peer(uint32_t n) {
    atl_peer_id id;

    memset(&id, 0x5a, sizeof(id));
    memcpy(id.key, &n, sizeof(n));
    return id;
}

static STORETEST_UNUSED atl_addr storetest_v4(uint32_t n) {
    const uint8_t ip[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    atl_addr addr;

    atl_addr_set4(&addr, ip, 4000);
    return addr;
}

static STORETEST_UNUSED atl_addr storetest_v6(uint8_t net, uint8_t last) {
    const uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, [7] = net, [15] = last};
    atl_addr addr;

    atl_addr_set6(&addr, ip, 0, 4000);
    return addr;
}

/* A put with all that it points to. */
typedef struct storetest_put {
    atl_record_head head;
    atl_addr source;
    uint8_t data[ATL_RECORD_MAX];
    atl_record_put put;
} storetest_put;

/* Record `seq` of a peer; `text` (0 to 255) makes it differ from another with this number. */
static STORETEST_UNUSED void storetest_fill(storetest_put *p, uint32_t peer, uint64_t seq,
                                            uint8_t text, size_t len) {
    memset(p, 0, sizeof(*p));
    p->head.peer = storetest_peer(peer);
    p->head.seq = seq;
    p->head.lifetime = ATL_RECORD_LIFETIME;
    memset(p->data, text, len);
    memcpy(p->data, &seq, len < sizeof(seq) ? len : sizeof(seq));
    p->source = storetest_v4(0);
    p->put.head = &p->head;
    p->put.data = p->data;
    p->put.len = len;
    p->put.source = &p->source;
}

#define SEC ATL_SECOND
#define LEN 100

/* A store with its clock. */
typedef struct world {
    testenv t;
    atl_record_store *store;
    const atl_record_store_stats *stats;
    uint64_t now;
} world;

static STORETEST_UNUSED void world_init(world *w, uint64_t max, uint64_t per_address) {
    atl_record_store_limits limits;

    memset(&limits, 0, sizeof(limits));
    limits.max_records = max;
    limits.max_per_ipv4 = per_address;
    limits.max_per_ipv6_64 = per_address;
    testenv_init(&w->t);
    assert_int_equal(atl_record_store_new(&w->t.env, &limits, &w->store), ATLAS_OK);
    w->stats = atl_record_store_get_stats(w->store);
    w->now = w->t.now;
}

static STORETEST_UNUSED void world_done(world *w) {
    atl_record_store_free(w->store);
    testenv_done(&w->t);
}

static STORETEST_UNUSED void pass(world *w, uint64_t seconds) {
    testenv_advance(&w->t, seconds * SEC);
    w->now = w->t.now;
}

/* Puts record `seq` of a peer, from an address, for an hour. */
static STORETEST_UNUSED int32_t put(world *w, uint32_t peer, uint64_t seq, const atl_addr *source,
                                    int verified) {
    storetest_put p;

    storetest_fill(&p, peer, seq, 0, LEN);
    p.source = *source;
    p.put.verified = (uint8_t)verified;
    p.put.expires = w->now + 3600 * SEC;
    return atl_record_store_put(w->store, &p.put, w->now);
}

static STORETEST_UNUSED int32_t put_from(world *w, uint32_t peer, uint64_t seq, uint32_t source,
                                         int verified) {
    atl_addr addr = storetest_v4(source);

    return put(w, peer, seq, &addr, verified);
}

static STORETEST_UNUSED int has(world *w, uint32_t peer) {
    atl_peer_id id = storetest_peer(peer);
    atl_record_view view;

    return atl_record_store_get(w->store, &id, w->now, &view);
}

static STORETEST_UNUSED atl_record_view view_of(world *w, uint32_t peer) {
    atl_peer_id id = storetest_peer(peer);
    atl_record_view view;

    assert_true(atl_record_store_get(w->store, &id, w->now, &view));
    return view;
}

static STORETEST_UNUSED int delete (world *w, uint32_t peer) {
    atl_peer_id id = storetest_peer(peer);

    return atl_record_store_delete(w->store, &id, w->now);
}

static STORETEST_UNUSED uint64_t seq_of(world *w, uint32_t peer) {
    atl_peer_id id = storetest_peer(peer);

    return atl_record_store_seq(w->store, &id);
}

static STORETEST_UNUSED uint64_t expires_of(world *w, uint32_t peer) {
    atl_peer_id id = storetest_peer(peer);

    return atl_record_store_expires(w->store, &id);
}

#endif
