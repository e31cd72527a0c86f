/* Peer ids: a node is an Ed25519 key, so a peer id is its 32 bytes. Text and binary forms are
 * libp2p's. */
#ifndef ATL_IDENTITY_PEERID_H
#define ATL_IDENTITY_PEERID_H

#include "base/reader.h"
#include "base/writer.h"

#include <atlas/types.h>

#define ATL_PEER_ID_BINARY 38 /* identity multihash: 00 24 08 01 12 20 key */

typedef struct atl_peer_id {
    uint8_t key[32]; /* Ed25519 public key */
} atl_peer_id;

static inline int atl_peer_id_equal(const atl_peer_id *a, const atl_peer_id *b) {
    return __builtin_memcmp(a->key, b->key, sizeof(a->key)) == 0;
}

/* Text: base58btc ("12D3KooW...") or CIDv1 in base32 ("bafz..."). ATLAS_ERR_PEER_ID for anything
 * else, keys of other types among it. */
int32_t atl_peer_id_parse(const char *text, size_t len, atl_peer_id *out);
/* Canonical base58btc, NUL-terminated. Cannot fail. */
void atl_peer_id_text(const atl_peer_id *id, char out[ATLAS_PEER_ID_MAX]);
/* Binary: the identity multihash. ATLAS_ERR_PEER_ID. */
int32_t atl_peer_id_decode(const uint8_t *data, size_t len, atl_peer_id *out);
void atl_peer_id_encode(const atl_peer_id *id, uint8_t out[ATL_PEER_ID_BINARY]);

#endif
