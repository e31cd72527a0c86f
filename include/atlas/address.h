/* libatlas: addresses.
 *
 * Addresses are libp2p multiaddrs in text: /ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooW..., circuit
 * addresses <relay transport>/p2p/<relay>/p2p-circuit/p2p/<peer>. */
#ifndef ATLAS_ADDRESS_H
#define ATLAS_ADDRESS_H

#include <atlas/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a target names. */
typedef struct atlas_target_info {
    uint64_t size;                       /* bytes: sizeof(atlas_target_info), set by the caller */
    uint32_t path;                       /* ATLAS_PATH_NONE (bare peer id), _DIRECT or _RELAY */
    uint32_t reserved;                   /* zero */
    char peer[ATLAS_PEER_ID_MAX];        /* the peer dialled, text */
    char relay[ATLAS_PEER_ID_MAX];       /* the relay of a circuit address, or "" */
    char transport[ATLAS_MULTIADDR_MAX]; /* the transport part (/ip4/.../quic-v1), or "" */
} atlas_target_info;

/* Checks a dial target: a peer id, or a multiaddr that ends in /p2p/ID, direct (over a host,
 * /udp/PORT and /quic-v1) or through a circuit (/p2p/RELAY/p2p-circuit, with or without the relay's
 * transport). Returns ATLAS_OK and fills *out; ATLAS_ERR_ADDRESS when it does not parse or names no
 * peer; ATLAS_ERR_PEER_ID; ATLAS_ERR_UNSUPPORTED for a multiaddr that is valid but that libatlas
 * cannot dial (TCP, dnsaddr, circuits through several relays, port 0, unspecified and multicast
 * addresses); ATLAS_ERR_INVALID, also when out->size is not sizeof(atlas_target_info). Callable
 * from anywhere. */
ATLAS_API int32_t atlas_target_parse(const char *text, atlas_target_info *out);

/* Checks a multiaddr of the protocols ip4, ip6, dns, dns4, dns6, dnsaddr, tcp, udp, quic-v1, tls,
 * ws, http, p2p and p2p-circuit, in any order, and writes its canonical text to buf[cap]
 * (ATLAS_MULTIADDR_MAX bytes always suffice). At most 16 components.
 * Returns ATLAS_OK, ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID when an id in it is wrong,
 * ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID. Callable from anywhere. */
ATLAS_API int32_t atlas_multiaddr_normalize(const char *text, char *buf, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
