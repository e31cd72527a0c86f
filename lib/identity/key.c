#include "identity/key.h"

#include "identity/proto.h"

#include <sodium.h>
#include <string.h>

/* The members of libp2p's KeyType. */
#define KEY_TYPE_RSA 0
#define KEY_TYPE_ED25519 1
#define KEY_TYPE_SECP256K1 2
#define KEY_TYPE_ECDSA 3

#define KEY_LEN crypto_sign_PUBLICKEYBYTES

/* In libsodium's order, which is also the key file's: seed, public key. */
struct atlas_key {
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
};

static const uint8_t PUBLIC_PREFIX[4] = {0x08, KEY_TYPE_ED25519, 0x12, KEY_LEN};
static const uint8_t PRIVATE_PREFIX[4] = {0x08, KEY_TYPE_ED25519, 0x12, crypto_sign_SECRETKEYBYTES};

_Static_assert(sizeof(PUBLIC_PREFIX) + KEY_LEN == ATL_PUBLIC_KEY_PROTO, "public key size");
_Static_assert(sizeof(PRIVATE_PREFIX) + crypto_sign_SECRETKEYBYTES == ATL_PRIVATE_KEY_PROTO,
               "private key size");
_Static_assert(crypto_sign_BYTES == ATL_SIGNATURE_LEN, "signature size");

/* sodium_init() is idempotent and safe from several threads; a key needs no context that could have
 * called it. */
static int32_t new_key(atlas_key **out) {
    atlas_key *key;

    if (sodium_init() < 0) {
        return ATLAS_ERR_RANDOM;
    }
    key = sodium_malloc(sizeof(*key));
    if (key == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    *out = key;
    return ATLAS_OK;
}

/* From here on nobody writes to the key, not even by mistake. Where the platform cannot do that the
 * key still works. */
static void finish_key(atlas_key *key, atlas_key **out) {
    (void)sodium_mprotect_readonly(key);
    *out = key;
}

int32_t atlas_key_generate(atlas_key **out) {
    uint8_t public_key[KEY_LEN];
    atlas_key *key;
    int32_t rc;

    if (out == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rc = new_key(&key);
    if (rc != ATLAS_OK) {
        return rc;
    }
    (void)crypto_sign_keypair(public_key, key->secret);
    finish_key(key, out);
    return ATLAS_OK;
}

int32_t atlas_key_from_seed(const uint8_t seed[32], atlas_key **out) {
    uint8_t public_key[KEY_LEN];
    atlas_key *key;
    int32_t rc;

    if (seed == NULL || out == NULL) {
        return ATLAS_ERR_INVALID;
    }
    rc = new_key(&key);
    if (rc != ATLAS_OK) {
        return rc;
    }
    (void)crypto_sign_seed_keypair(public_key, key->secret, seed);
    finish_key(key, out);
    return ATLAS_OK;
}

int32_t atl_key_copy(const atlas_key *key, atlas_key **out) {
    atlas_key *copy;
    int32_t rc = new_key(&copy);

    if (rc != ATLAS_OK) {
        return rc;
    }
    memcpy(copy->secret, key->secret, sizeof(copy->secret));
    finish_key(copy, out);
    return ATLAS_OK;
}

void atlas_key_free(atlas_key *key) {
    sodium_free(key);
}

void atlas_key_public(const atlas_key *key, uint8_t out[32]) {
    memcpy(out, key->secret + crypto_sign_SEEDBYTES, KEY_LEN);
}

int32_t atlas_key_peer_id(const atlas_key *key, char *buf, size_t cap) {
    char text[ATLAS_PEER_ID_MAX];
    atl_peer_id id;
    size_t size;

    if (key == NULL || (buf == NULL && cap > 0)) {
        return ATLAS_ERR_INVALID;
    }
    atl_key_id(key, &id);
    atl_peer_id_text(&id, text);
    size = strlen(text) + 1;
    if (size > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, text, size);
    return ATLAS_OK;
}

void atl_key_id(const atlas_key *key, atl_peer_id *out) {
    atlas_key_public(key, out->key);
}

void atl_key_sign(const atlas_key *key, const uint8_t *data, size_t len,
                  uint8_t out[ATL_SIGNATURE_LEN]) {
    (void)crypto_sign_detached(out, NULL, data, len, key->secret);
}

int32_t atl_peer_verify(const atl_peer_id *id, const uint8_t *data, size_t len,
                        const uint8_t signature[ATL_SIGNATURE_LEN]) {
    if (crypto_sign_verify_detached(signature, data, len, id->key) != 0) {
        return ATLAS_ERR_SIGNATURE;
    }
    return ATLAS_OK;
}

void atl_public_key_encode(const atl_peer_id *id, uint8_t out[ATL_PUBLIC_KEY_PROTO]) {
    memcpy(out, PUBLIC_PREFIX, sizeof(PUBLIC_PREFIX));
    memcpy(out + sizeof(PUBLIC_PREFIX), id->key, sizeof(id->key));
}

/* libp2p demands one encoding of a key, because a peer id is a hash of it: both fields, in order,
 * nothing else. */
int32_t atl_public_key_decode(const uint8_t *data, size_t len, atl_peer_id *out) {
    atl_reader reader;
    atl_proto_field type;
    atl_proto_field key;

    atl_reader_init(&reader, data, len);
    if (atl_proto_next(&reader, &type) != ATLAS_OK || type.number != 1 ||
        type.wire != ATL_PROTO_VARINT || atl_proto_next(&reader, &key) != ATLAS_OK ||
        key.number != 2 || key.wire != ATL_PROTO_BYTES || reader.left != 0) {
        return ATLAS_ERR_KEY;
    }
    switch (type.value) {
    case KEY_TYPE_ED25519:
        /* the length of the whole proves that the type was written in one byte */
        if (len != ATL_PUBLIC_KEY_PROTO || key.bytes.left != sizeof(out->key)) {
            return ATLAS_ERR_KEY;
        }
        return atl_read_bytes(&key.bytes, out->key, sizeof(out->key));
    case KEY_TYPE_RSA:
    case KEY_TYPE_SECP256K1:
    case KEY_TYPE_ECDSA:
        return ATLAS_ERR_UNSUPPORTED;
    default:
        return ATLAS_ERR_KEY;
    }
}

void atl_key_encode(const atlas_key *key, uint8_t out[ATL_PRIVATE_KEY_PROTO]) {
    memcpy(out, PRIVATE_PREFIX, sizeof(PRIVATE_PREFIX));
    memcpy(out + sizeof(PRIVATE_PREFIX), key->secret, sizeof(key->secret));
}

int32_t atl_key_decode(const uint8_t *data, size_t len, atlas_key **out) {
    size_t prefix = len < sizeof(PRIVATE_PREFIX) ? len : sizeof(PRIVATE_PREFIX);
    const uint8_t *seed;
    atlas_key *key;
    int32_t rc;

    if (len > ATL_PRIVATE_KEY_PROTO) {
        return ATLAS_ERR_KEY;
    }
    if (prefix > 0 && memcmp(data, PRIVATE_PREFIX, prefix) != 0) {
        return ATLAS_ERR_KEY;
    }
    if (len < ATL_PRIVATE_KEY_PROTO) {
        return ATLAS_ERR_TRUNCATED;
    }
    seed = data + sizeof(PRIVATE_PREFIX);
    rc = atlas_key_from_seed(seed, &key);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (sodium_memcmp(key->secret, seed, sizeof(key->secret)) != 0) {
        atlas_key_free(key);
        return ATLAS_ERR_KEY;
    }
    *out = key;
    return ATLAS_OK;
}
