/* Peer records: the bytes as a signed record, as the payload of one that is signed here (with and
 * without the peer id in front), and as a file of the cache. What opens is made again with the
 * fuzzer's own key and opens equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/record_cache.h"
#include "identity/proto.h"

#include <stdlib.h>
#include <string.h>

#include <atlas/address.h>

#include "testenv.h"

#define DRIFT 60
#define CACHE 4

static const uint8_t SEED[32] = {1};
static const uint8_t TYPE[2] = {0x03, 0x01};

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

/* ---- one record ---- */

static void check_head(const atl_record_head *head) {
    uint64_t left = atl_record_time_left(head, 0, UINT64_MAX);

    check(head->seq >> 63 == 0 && head->issued >> 63 == 0);
    check(head->lifetime > 0 && head->lifetime <= ATL_RECORD_LIFETIME_MAX);
    check(head->n_addrs <= ATL_RECORD_ADDRS);
    check(left == head->lifetime * ATL_SECOND);
    check(atl_record_in_time(head, 0, UINT64_MAX) == ATLAS_OK);
}

static void check_addrs(const atl_record *record) {
    size_t i;
    size_t j;

    check(record->n_addrs <= record->head.n_addrs);
    for (i = 0; i < record->n_addrs; i++) {
        const atl_maddr *addr = &record->addrs[i];
        char text[ATLAS_MULTIADDR_MAX];

        check(addr->quic && addr->host_kind != ATL_HOST_NONE && !addr->has_peer && addr->port != 0);
        check(atl_maddr_text(addr, text, sizeof(text)) == ATLAS_OK);
        for (j = 0; j < i; j++) {
            char other[ATLAS_MULTIADDR_MAX];

            check(atl_maddr_text(&record->addrs[j], other, sizeof(other)) == ATLAS_OK);
            check(strcmp(text, other) != 0);
        }
    }
}

static void check_equal(const atl_record *a, const atl_record *b) {
    size_t i;

    check(a->head.seq == b->head.seq && a->head.issued == b->head.issued);
    check(a->head.lifetime == b->head.lifetime && a->head.offers == b->head.offers);
    check(a->n_addrs == b->n_addrs && b->n_addrs == b->head.n_addrs);
    for (i = 0; i < a->n_addrs; i++) {
        char text[2][ATLAS_MULTIADDR_MAX];

        check(atl_maddr_text(&a->addrs[i], text[0], sizeof(text[0])) == ATLAS_OK);
        check(atl_maddr_text(&b->addrs[i], text[1], sizeof(text[1])) == ATLAS_OK);
        check(strcmp(text[0], text[1]) == 0);
    }
}

static void make_again(const atlas_key *key, const atl_record *opened, size_t opened_len) {
    uint8_t buf[ATL_RECORD_MAX];
    atl_record record = *opened;
    atl_record again;
    int through_self = 0;
    size_t len;
    size_t i;
    int32_t rc;

    atl_key_id(key, &record.head.peer);
    for (i = 0; i < record.n_addrs; i++) {
        through_self |= record.addrs[i].has_relay &&
                        atl_peer_id_equal(&record.addrs[i].relay, &record.head.peer);
    }
    rc = atl_record_make(key, &record, buf, sizeof(buf), &len);
    if (rc != ATLAS_OK) {
        /* a seq that was left out is written */
        check(rc == (through_self ? ATLAS_ERR_INVALID : ATLAS_ERR_TOO_LARGE));
        check(through_self || opened_len > ATL_RECORD_MAX - 2);
        return;
    }
    check(atl_record_open(buf, len, &again) == ATLAS_OK);
    check(atl_peer_id_equal(&again.head.peer, &record.head.peer));
    check_equal(&record, &again);
}

static void fuzz_open(const atlas_key *key, const uint8_t *data, size_t size) {
    atl_record_head head;
    atl_record record;
    int32_t rc = atl_record_check(data, size, &head);

    record.n_addrs = 4711;
    check(atl_record_open(data, size, &record) == rc);
    if (rc != ATLAS_OK) {
        check(record.n_addrs == 4711);
        return;
    }
    check(atl_peer_id_equal(&head.peer, &record.head.peer));
    check(head.seq == record.head.seq && head.n_addrs == record.head.n_addrs);
    check_head(&head);
    check_addrs(&record);
    make_again(key, &record, size);
}

/* Signs what nobody would. */
static void fuzz_payload(const atlas_key *key, int with_peer, const uint8_t *data, size_t size) {
    uint8_t payload[ATL_RECORD_MAX];
    uint8_t buf[ATL_RECORD_MAX + 256];
    uint8_t id_bytes[ATL_PEER_ID_BINARY];
    atl_writer writer;
    atl_peer_id id;
    size_t len;

    atl_writer_init(&writer, payload, sizeof(payload));
    if (with_peer) {
        atl_key_id(key, &id);
        atl_peer_id_encode(&id, id_bytes);
        atl_proto_write_bytes(&writer, 1, id_bytes, sizeof(id_bytes));
    }
    atl_write_bytes(&writer, data, size);
    if (writer.error != ATLAS_OK) {
        return;
    }
    check(atl_envelope_make(key, "libp2p-peer-record", TYPE, sizeof(TYPE), payload, writer.len, buf,
                            sizeof(buf), &len) == ATLAS_OK);
    fuzz_open(key, buf, len);
}

/* ---- the cache ---- */

static int count_one(void *user, const atl_record_cached *record) {
    atl_record_head head;

    check(atl_record_check(record->data, record->len, &head) == ATLAS_OK);
    check(atl_peer_id_equal(&head.peer, &record->head.peer) && head.seq == record->head.seq);
    ++*(size_t *)user;
    return 1;
}

/* What is there is written, read by another, and the same. */
static void check_export(testenv *t, atl_record_cache *cache, size_t size) {
    uint8_t *file[2] = {malloc(size + 16), malloc(size + 16)};
    atl_record_cache *other;
    size_t len[2];
    size_t taken = 0;
    size_t refused = 0;

    check(file[0] != NULL && file[1] != NULL);
    check(atl_record_cache_new(&t->env, CACHE, &other) == ATLAS_OK);
    check(atl_record_cache_export(cache, file[0], size + 16, &len[0]) == ATLAS_OK);
    check(atl_record_cache_import(other, file[0], len[0], DRIFT, &taken, &refused) == ATLAS_OK);
    check(taken == atl_record_cache_count(cache) && refused == 0);
    check(atl_record_cache_export(other, file[1], size + 16, &len[1]) == ATLAS_OK);
    check(len[0] == len[1] && memcmp(file[0], file[1], len[0]) == 0);
    atl_record_cache_free(other);
    free(file[0]);
    free(file[1]);
}

static void fuzz_import(const uint8_t *data, size_t size) {
    atl_record_cache *cache;
    size_t counted = 0;
    size_t taken = 0;
    size_t refused = 0;
    testenv t;
    int32_t rc;

    testenv_init(&t);
    check(atl_record_cache_new(&t.env, CACHE, &cache) == ATLAS_OK);
    rc = atl_record_cache_import(cache, data, size, DRIFT, &taken, &refused);
    check(rc == ATLAS_OK || rc == ATLAS_ERR_TRUNCATED || rc == ATLAS_ERR_MALFORMED);
    check(rc != ATLAS_ERR_MALFORMED || taken + refused == 0);
    check(taken + refused <= size);
    check(atl_record_cache_count(cache) <= taken && atl_record_cache_count(cache) <= CACHE);
    atl_record_cache_each(cache, count_one, &counted);
    check(counted == atl_record_cache_count(cache));
    check_export(&t, cache, size);
    atl_record_cache_free(cache);
    check(t.live == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    atlas_key *key;

    fuzz_import(data, size);
    if (atlas_key_from_seed(SEED, &key) == ATLAS_OK) {
        fuzz_open(key, data, size);
        fuzz_payload(key, 0, data, size);
        fuzz_payload(key, 1, data, size);
        atlas_key_free(key);
    }
    return 0;
}
