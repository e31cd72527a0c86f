/* Transport addresses: an IP address and a UDP port, free of sockaddr, comparable byte by byte.
 * IPv4-mapped IPv6 is always stored as IPv4. */
#ifndef ATL_ADDRESS_ADDR_H
#define ATL_ADDRESS_ADDR_H

#include "base/env.h"

typedef struct atl_addr {
    uint8_t ip[16]; /* network order; IPv4 in the first four, the rest zero */
    uint32_t scope; /* IPv6 link-local interface index, else 0 */
    uint16_t port;  /* host order */
    uint8_t family; /* 0 none, 4 or 6 */
    uint8_t zero;   /* always 0, so that memcmp compares addresses */
} atl_addr;

static inline int atl_addr_equal(const atl_addr *a, const atl_addr *b) {
    return __builtin_memcmp(a, b, sizeof(*a)) == 0;
}

/* Makes an address canonical after its fields were set: v4-in-v6 becomes v4, unused bytes become
 * zero, and so does the scope of what is not link-local. */
void atl_addr_canonical(atl_addr *addr);
void atl_addr_set4(atl_addr *addr, const uint8_t ip[4], uint16_t port);
void atl_addr_set6(atl_addr *addr, const uint8_t ip[16], uint32_t scope, uint16_t port);

/* "192.0.2.1:443" or "[2001:db8::1]:443" or "[fe80::1%3]:443"; "" for family 0. Cannot fail. */
void atl_addr_text(const atl_addr *addr, char out[ATLAS_ADDR_MAX]);
/* The IP address alone, without brackets. */
void atl_addr_ip_text(const atl_addr *addr, char out[ATLAS_ADDR_MAX]);
/* Parses an IP literal, IPv6 with or without brackets, port separately. Scopes are numbers.
 * ATLAS_ERR_ADDRESS. */
int32_t atl_addr_parse_ip(const char *text, size_t len, uint16_t port, atl_addr *out);
/* Parses "ip:port" / "[ip6]:port"; port 0 is allowed, a missing one is not. ATLAS_ERR_ADDRESS. */
int32_t atl_addr_parse(const char *text, atl_addr *out);

/* A port in decimal, 0 to 65535, without sign or leading zeros. ATLAS_ERR_ADDRESS. */
int32_t atl_port_parse(const char *text, size_t len, uint16_t *out);

/* Splits "HOST:PORT", "[IP6]:PORT", "[IP6]", "IP6", "HOST" without resolving; host is
 * NUL-terminated in host[cap] (256 suffice), without brackets. Port is 0 when none is given; a port
 * given is 1 to 65535. ATLAS_ERR_ADDRESS. */
int32_t atl_host_port_split(const char *text, char *host, size_t cap, uint16_t *port);

/* 1 for a DNS name that can be asked for: labels of letters, digits, '-' and '_', 253 bytes in all.
 * IPv4 addresses are of that form too. */
int atl_dns_name_valid(const char *text, size_t len);

int atl_addr_is_loopback(const atl_addr *addr);
int atl_addr_is_link_local(const atl_addr *addr);
int atl_addr_is_unspecified(const atl_addr *addr);
int atl_addr_is_private(const atl_addr *addr); /* RFC 1918, RFC 6598 (100.64/10), fc00::/7 */
int atl_addr_is_multicast(const atl_addr *addr);

/* The key under which limits are counted: the IPv4 address (4 bytes) or the IPv6 /64 (8 bytes).
 * Returns its length. */
size_t atl_addr_limit_key(const atl_addr *addr, uint8_t out[8]);

#endif
