/* libatlas: the types and macros that every public header needs. */
#ifndef ATLAS_TYPES_H
#define ATLAS_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define ATLAS_API __attribute__((visibility("default")))
#else
#define ATLAS_API
#endif

/* A context: everything of one node. Contexts share nothing. */
typedef struct atlas_ctx atlas_ctx;
/* An Ed25519 private key in locked memory. */
typedef struct atlas_key atlas_key;
/* A connection to a peer, dialled or accepted. */
typedef struct atlas_conn atlas_conn;
/* A bidirectional or unidirectional stream of a connection. */
typedef struct atlas_stream atlas_stream;
/* A running STUN probe. */
typedef struct atlas_stun atlas_stun;

/* Longest text of a peer id, the terminating NUL included, in bytes. */
#define ATLAS_PEER_ID_MAX 64
/* Longest text of an address "host:port", the terminating NUL included, in bytes. */
#define ATLAS_ADDR_MAX 80
/* Longest text of a multiaddr that the library makes or accepts, the NUL included, in bytes. */
#define ATLAS_MULTIADDR_MAX 640

/* Path kinds. */
#define ATLAS_PATH_NONE 0 /* no path carries data now */
#define ATLAS_PATH_DIRECT 1
#define ATLAS_PATH_RELAY 2

/* Kinds of candidates: addresses at which a node may be reached. The best first. */
#define ATLAS_CANDIDATE_UNKNOWN 0          /* given by the application, or by nobody */
#define ATLAS_CANDIDATE_HOST 1             /* of one of its own interfaces */
#define ATLAS_CANDIDATE_PEER_REFLEXIVE 2   /* as the peer saw it in a check or in QUIC packets */
#define ATLAS_CANDIDATE_SERVER_REFLEXIVE 3 /* as a STUN server or relay saw it */
#define ATLAS_CANDIDATE_RELAY 4            /* of a relay */

#endif
