/* Peer records for tests, assembled byte by byte from libp2p's RFC 0002 and RFC 0003 and signed
 * with libsodium: nothing of the encoder under test is in them. Include cmocka before this. */
#ifndef ATL_TESTS_UNIT_RECORD_HAND_H
#define ATL_TESTS_UNIT_RECORD_HAND_H

#include "discovery/record.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define HAND_UNUSED __attribute__((unused))

static HAND_UNUSED const uint8_t SEED[32] = {7};
static HAND_UNUSED const uint8_t OTHER_SEED[32] = {8};

typedef struct bytes {
    uint8_t data[16384];
    size_t len;
} bytes;

static HAND_UNUSED void put(bytes *to, const void *data, size_t len) {
    assert_true(to->len + len <= sizeof(to->data));
    memcpy(to->data + to->len, data, len);
    to->len += len;
}

static HAND_UNUSED void put_varint(bytes *to, uint64_t value) {
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

        put(to, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static HAND_UNUSED void put_field(bytes *to, uint32_t number, const void *data, size_t len) {
    put_varint(to, number << 3 | 2);
    put_varint(to, len);
    put(to, data, len);
}

static HAND_UNUSED void put_number(bytes *to, uint32_t number, uint64_t value) {
    put_varint(to, number << 3);
    put_varint(to, value);
}

/* Who signs, and what for. */
typedef struct hand {
    uint8_t public_key[32];
    uint8_t secret[64];
    const char *domain;
    const char *type;
} hand;

static HAND_UNUSED void hand_init(hand *h, const uint8_t seed[32]) {
    h->domain = "libp2p-peer-record";
    h->type = "\x03\x01";
    assert_int_equal(crypto_sign_seed_keypair(h->public_key, h->secret, seed), 0);
}

/* Identity multihash of the protobuf public key. */
static HAND_UNUSED void peer_bytes(const uint8_t key[32], uint8_t out[38]) {
    memcpy(out, "\x00\x24\x08\x01\x12\x20", 6);
    memcpy(out + 6, key, 32);
}

static HAND_UNUSED void seal(const hand *h, const bytes *payload, bytes *out) {
    static bytes to_sign;
    uint8_t signature[64];
    uint8_t key[36];

    to_sign.len = 0;
    put_varint(&to_sign, strlen(h->domain));
    put(&to_sign, h->domain, strlen(h->domain));
    put_varint(&to_sign, strlen(h->type));
    put(&to_sign, h->type, strlen(h->type));
    put_varint(&to_sign, payload->len);
    put(&to_sign, payload->data, payload->len);
    assert_int_equal(crypto_sign_detached(signature, NULL, to_sign.data, to_sign.len, h->secret),
                     0);
    memcpy(key, "\x08\x01\x12\x20", 4);
    memcpy(key + 4, h->public_key, 32);
    out->len = 0;
    put_field(out, 1, key, sizeof(key));
    put_field(out, 2, h->type, strlen(h->type));
    put_field(out, 3, payload->data, payload->len);
    put_field(out, 5, signature, sizeof(signature));
}

static HAND_UNUSED void put_peer(bytes *payload, const hand *h) {
    uint8_t id[38];

    peer_bytes(h->public_key, id);
    put_field(payload, 1, id, sizeof(id));
}

static HAND_UNUSED void put_addr(bytes *payload, const void *multiaddr, size_t len) {
    static bytes info;

    info.len = 0;
    put_field(&info, 1, multiaddr, len);
    put_field(payload, 3, info.data, info.len);
}

/* Opens an exact heap copy, so that a sanitizer sees any byte read past the end; atl_record_check()
 * must agree. */
static HAND_UNUSED int32_t open_copy(const uint8_t *data, size_t len, atl_record *out) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    atl_record_head head;
    int32_t rc;

    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = atl_record_open(copy, len, out);
    assert_int_equal(atl_record_check(copy, len, &head), rc);
    if (rc == ATLAS_OK) {
        assert_memory_equal(&head.peer, &out->head.peer, sizeof(head.peer));
        assert_int_equal(head.seq, out->head.seq);
        assert_int_equal(head.issued, out->head.issued);
        assert_int_equal(head.lifetime, out->head.lifetime);
        assert_int_equal(head.offers, out->head.offers);
        assert_int_equal(head.n_addrs, out->head.n_addrs);
    }
    free(copy);
    return rc;
}

static HAND_UNUSED int32_t open_payload(const hand *h, const bytes *payload, atl_record *out) {
    static bytes envelope;

    seal(h, payload, &envelope);
    return open_copy(envelope.data, envelope.len, out);
}

#endif
