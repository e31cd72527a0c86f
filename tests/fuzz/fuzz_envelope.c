/* Signed envelopes: the bytes as an envelope, then as the payload of one that is made, opened, and
 * opened damaged. */
#include "identity/envelope.h"
#include "identity/proto.h"

#include <stdlib.h>
#include <string.h>

#define DOMAIN "libp2p-peer-record"

static const uint8_t SEED[32] = {1};

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

static int inside(const uint8_t *part, size_t len, const uint8_t *data, size_t size) {
    return len == 0 || (part >= data && len <= size && part <= data + (size - len));
}

static void fuzz_open(const uint8_t *data, size_t size) {
    atl_envelope envelope;
    atl_proto_field field;
    atl_reader reader;

    if (atl_envelope_open(data, size, DOMAIN, &envelope) == ATLAS_OK) {
        check(envelope.type_len > 0);
        check(inside(envelope.type, envelope.type_len, data, size));
        check(inside(envelope.payload, envelope.payload_len, data, size));
    }
    atl_reader_init(&reader, data, size);
    while (atl_proto_next(&reader, &field) == ATLAS_OK) {
        check(field.number != 0);
        check(inside(field.bytes.data, field.bytes.left, data, size));
    }
}

static void fuzz_round_trip(const atlas_key *key, const uint8_t *data, size_t size) {
    static uint8_t buf[ATL_ENVELOPE_MAX];
    size_t type_len = size > 0 ? 1 + data[0] % size : 1;
    const uint8_t *type = size > 0 ? data : SEED;
    atl_envelope envelope;
    size_t len;

    if (atl_envelope_make(key, DOMAIN, type, type_len, data, size, buf, sizeof(buf), &len) !=
        ATLAS_OK) {
        check(size > ATL_ENVELOPE_MAX / 2 - 200);
        return;
    }
    check(atl_envelope_open(buf, len, DOMAIN, &envelope) == ATLAS_OK);
    check(envelope.type_len == type_len && memcmp(envelope.type, type, type_len) == 0);
    check(envelope.payload_len == size);
    check(size == 0 || memcmp(envelope.payload, data, size) == 0);
    buf[size % len] ^= (uint8_t)(1u << (len % 8));
    check(atl_envelope_open(buf, len, DOMAIN, &envelope) != ATLAS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    atlas_key *key;

    fuzz_open(data, size);
    if (atlas_key_from_seed(SEED, &key) == ATLAS_OK) {
        fuzz_round_trip(key, data, size);
        atlas_key_free(key);
    }
    return 0;
}
