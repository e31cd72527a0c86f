/* Multiaddrs (libp2p), text and binary, of the protocols libatlas knows: ip4, ip6, dns, dns4, dns6,
 * dnsaddr, tcp, udp, quic-v1, tls, ws, http, p2p, p2p-circuit. */
#ifndef ATL_ADDRESS_MULTIADDR_H
#define ATL_ADDRESS_MULTIADDR_H

#include "address/addr.h"
#include "base/reader.h"
#include "base/writer.h"
#include "identity/peerid.h"

#define ATL_HOST_MAX 256        /* a DNS name and its NUL */
#define ATL_MULTIADDR_BYTES 512 /* longest binary form accepted */

/* Host kinds. */
#define ATL_HOST_NONE 0
#define ATL_HOST_IP 1  /* addr.ip */
#define ATL_HOST_DNS 2 /* either family */
#define ATL_HOST_DNS4 3
#define ATL_HOST_DNS6 4

/* What libatlas can dial: a UDP/QUIC transport, perhaps through a circuit. */
typedef struct atl_maddr {
    uint8_t host_kind;       /* ATL_HOST_* */
    uint8_t quic;            /* 1: /udp/PORT/quic-v1; 0: no transport, or bare /udp/PORT */
    uint8_t has_relay;       /* 1: .../p2p/RELAY/p2p-circuit */
    uint8_t has_peer;        /* 1: ends in /p2p/PEER */
    uint16_t port;           /* UDP port, not 0 where there is a host */
    atl_addr addr;           /* for ATL_HOST_IP, port included */
    char host[ATL_HOST_MAX]; /* for the DNS kinds */
    atl_peer_id relay;
    atl_peer_id peer;
} atl_maddr;

/* Text to what can be dialled: a bare peer id (host_kind NONE, has_peer), or any of
 *   /ip4|ip6|dns|dns4|dns6/HOST/udp/PORT/quic-v1 [/p2p/PEER]
 *   [that transport] /p2p/RELAY/p2p-circuit [/p2p/PEER]
 *   /p2p/PEER
 *   HOST/udp/PORT alone (quic 0).
 * ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID; ATLAS_ERR_UNSUPPORTED for a well-formed multiaddr that
 * cannot be dialled (tcp, ws, dnsaddr, nested circuits, port 0, unspecified and multicast
 * addresses, ...). */
int32_t atl_maddr_parse(const char *text, atl_maddr *out);
/* The same from the binary form. */
int32_t atl_maddr_from_bytes(const uint8_t *data, size_t len, atl_maddr *out);
/* The canonical text, "/p2p/PEER" for a bare peer id. ATLAS_MULTIADDR_MAX bytes always suffice.
 * ATLAS_ERR_BUFFER. */
int32_t atl_maddr_text(const atl_maddr *maddr, char *buf, size_t cap);
/* Only the transport, without relay and peer; "" when there is none. ATLAS_ERR_BUFFER. */
int32_t atl_maddr_transport_text(const atl_maddr *maddr, char *buf, size_t cap);

/* Any multiaddr of the known protocols, text to canonical binary and back. ATLAS_ERR_ADDRESS,
 * ATLAS_ERR_PEER_ID, ATLAS_ERR_BUFFER (ATL_MULTIADDR_BYTES and ATLAS_MULTIADDR_MAX bytes always
 * suffice). */
int32_t atl_multiaddr_encode(const char *text, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_multiaddr_decode(const uint8_t *data, size_t len, char *buf, size_t cap);

/* One component, for what has to look inside. */
typedef struct atl_component {
    uint32_t code;    /* ATL_MA_* */
    atl_reader value; /* binary, without its length */
} atl_component;

#define ATL_MA_IP4 4u
#define ATL_MA_TCP 6u
#define ATL_MA_IP6 41u
#define ATL_MA_DNS 53u
#define ATL_MA_DNS4 54u
#define ATL_MA_DNS6 55u
#define ATL_MA_DNSADDR 56u
#define ATL_MA_UDP 273u
#define ATL_MA_P2P_CIRCUIT 290u
#define ATL_MA_P2P 421u
#define ATL_MA_TLS 448u
#define ATL_MA_QUIC_V1 461u
#define ATL_MA_WS 477u
#define ATL_MA_HTTP 480u

/* Reads and checks the next component of a binary multiaddr. ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID.
 */
int32_t atl_multiaddr_next(atl_reader *reader, atl_component *out);

/* The same by its length alone, the value unchecked: for addresses that others wrote, in which a
 * peer id may be of an RSA key. ATLAS_ERR_ADDRESS when it ends too early; ATLAS_ERR_UNSUPPORTED for
 * a protocol that is not known, behind which nothing can be read. */
int32_t atl_multiaddr_skip(atl_reader *reader, atl_component *out);

#endif
