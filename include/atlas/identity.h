/* libatlas: node keys and peer ids.
 *
 * A node is an Ed25519 key. Its peer id is libp2p's: the identity multihash of the protobuf public
 * key, printed in base58btc (12D3KooW...); CIDv1 in base32 is accepted as input (libp2p specs,
 * peer-ids/peer-ids.md). Private keys live in locked memory and are wiped when freed. */
#ifndef ATLAS_IDENTITY_H
#define ATLAS_IDENTITY_H

#include <atlas/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a new random key. The caller frees it with atlas_key_free().
 * Returns ATLAS_OK, ATLAS_ERR_NOMEM, ATLAS_ERR_RANDOM. Callable from anywhere. */
ATLAS_API int32_t atlas_key_generate(atlas_key **out);

/* Makes a key from a 32-byte Ed25519 seed (RFC 8032 private key). The caller wipes its own copy and
 * frees the key with atlas_key_free().
 * Returns ATLAS_OK, ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM, ATLAS_ERR_RANDOM. Callable from anywhere.
 */
ATLAS_API int32_t atlas_key_from_seed(const uint8_t seed[32], atlas_key **out);

/* Reads a key file: the libp2p protobuf private key (68 bytes: 08 01 12 40, seed, public key).
 * Returns ATLAS_OK and a key that the caller frees with atlas_key_free(); ATLAS_ERR_NOT_FOUND when
 * there is no such file; ATLAS_ERR_PERMISSION when group or others have any right to it (mode &
 * 077), when it is not a regular file (a symbolic link as the last part of the path is not
 * followed), when it belongs to another user than the effective one or root, or when the operating
 * system refuses; ATLAS_ERR_TRUNCATED when it is empty or cut short; ATLAS_ERR_KEY when it is not
 * such a key, when something follows it, or when its halves do not belong together;
 * ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM, ATLAS_ERR_RANDOM, ATLAS_ERR_IO. Blocks on the file system;
 * callable from anywhere. */
ATLAS_API int32_t atlas_key_load(const char *path, atlas_key **out);

/* Writes a key file with mode 0600 whatever the umask, atomically (a complete file appears or none;
 * it is on the disk when this returns) and never over anything that exists, a dangling link
 * included. Returns ATLAS_OK; ATLAS_ERR_EXISTS; ATLAS_ERR_PERMISSION; ATLAS_ERR_NOT_FOUND when the
 * directory is missing; ATLAS_ERR_INVALID when the path names no file or is too long;
 * ATLAS_ERR_NOMEM, ATLAS_ERR_IO. Blocks on the file system; callable from anywhere. */
ATLAS_API int32_t atlas_key_save(const atlas_key *key, const char *path);

/* Wipes and frees a key. NULL is allowed. A context that was made with it has its own copy. */
ATLAS_API void atlas_key_free(atlas_key *key);

/* The 32-byte Ed25519 public key. */
ATLAS_API void atlas_key_public(const atlas_key *key, uint8_t out[32]);

/* The key's peer id as text in buf[cap] (cap >= ATLAS_PEER_ID_MAX always suffices).
 * Returns ATLAS_OK, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_key_peer_id(const atlas_key *key, char *buf, size_t cap);

/* Checks a peer id and writes its canonical text (base58btc) to buf[cap]; accepts base58btc and
 * CIDv1 in base32. Only Ed25519 ids are valid here: those of RSA, ECDSA and secp256k1 keys are
 * refused. Returns ATLAS_OK, ATLAS_ERR_PEER_ID, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID. Callable from
 * anywhere. */
ATLAS_API int32_t atlas_peer_id_normalize(const char *text, char *buf, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
