/* Peer ids in text and binary, and protobuf public keys. What is accepted must come back the same.
 */
#include "identity/key.h"

#include <stdlib.h>
#include <string.h>

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

static void check_forms(const atl_peer_id *id) {
    uint8_t binary[ATL_PEER_ID_BINARY];
    char text[ATLAS_PEER_ID_MAX];
    atl_peer_id same;

    atl_peer_id_text(id, text);
    check(atl_peer_id_parse(text, strlen(text), &same) == ATLAS_OK);
    check(atl_peer_id_equal(id, &same));
    atl_peer_id_encode(id, binary);
    check(atl_peer_id_decode(binary, sizeof(binary), &same) == ATLAS_OK);
    check(atl_peer_id_equal(id, &same));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t binary[ATL_PEER_ID_BINARY];
    uint8_t public_key[ATL_PUBLIC_KEY_PROTO];
    char text[ATLAS_PEER_ID_MAX];
    atl_peer_id id;

    if (atl_peer_id_parse((const char *)data, size, &id) == ATLAS_OK) {
        check_forms(&id);
        atl_peer_id_text(&id, text);
        check(data[0] == 'b' || (size == strlen(text) && memcmp(data, text, size) == 0));
    }
    if (atl_peer_id_decode(data, size, &id) == ATLAS_OK) {
        check_forms(&id);
        atl_peer_id_encode(&id, binary);
        check(size == sizeof(binary) && memcmp(data, binary, size) == 0);
    }
    if (atl_public_key_decode(data, size, &id) == ATLAS_OK) {
        check_forms(&id);
        atl_public_key_encode(&id, public_key);
        check(size == sizeof(public_key) && memcmp(data, public_key, size) == 0);
    }
    return 0;
}
