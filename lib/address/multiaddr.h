/* Multiaddrs (libp2p), text and binary, of the protocols libatlas knows: ip4, ip6, dns, dns4, dns6, dnsaddr, tcp,
 * udp, quic-v1, tls, ws, http, p2p, p2p-circuit. */
#ifndef ATL_ADDRESS_MULTIADDR_H
#define ATL_ADDRESS_MULTIADDR_H

#include "address/addr.h"
#include "base/reader.h"
#include "base/writer.h"
#include "identity/peerid.h"

#define ATL_HOST_MAX 256      /* a DNS name and its NUL */
#define ATL_MULTIADDR_BYTES 512 /* longest binary form accepted */

/* Host kinds. */
#define ATL_HOST_NONE 0
#define ATL_HOST_IP 1   /* addr.ip */
#define ATL_HOST_DNS 2  /* either family */
#define ATL_HOST_DNS4 3
#define ATL_HOST_DNS6 4

/* What libatlas can dial: a UDP/QUIC transport, perhaps through a circuit. */
typedef struct atl_maddr {
    uint8_t host_kind;    /* ATL_HOST_* */
    uint8_t quic;         /* 1: /udp/PORT/quic-v1; 0: no transport, or bare /udp/PORT */
    uint8_t has_relay;    /* 1: .../p2p/RELAY/p2p-circuit */
    uint8_t has_peer;     /* 1: ends in /p2p/PEER */
    uint16_t port;        /* UDP port */
    atl_addr addr;        /* for ATL_HOST_IP, port included */
    char host[ATL_HOST_MAX]; /* for the DNS kinds */
    atl_peer_id relay;
    atl_peer_id peer;
} atl_maddr;

/* Text to what can be dialled. A bare peer id is accepted (host_kind NONE, has_peer). ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID;
 * ATLAS_ERR_UNSUPPORTED for a well-formed multiaddr that cannot be dialled (tcp, ws, dnsaddr, ...). */
int32_t atl_maddr_parse(const char *text, atl_maddr *out);
/* ATLAS_ERR_BUFFER. */
int32_t atl_maddr_text(const atl_maddr *maddr, char *buf, size_t cap);

/* Any multiaddr of the known protocols, text to canonical binary and back. */
int32_t atl_multiaddr_encode(const char *text, uint8_t *buf, size_t cap, size_t *len);
int32_t atl_multiaddr_decode(const uint8_t *data, size_t len, char *buf, size_t cap);
int32_t atl_maddr_from_bytes(const uint8_t *data, size_t len, atl_maddr *out);

#endif
