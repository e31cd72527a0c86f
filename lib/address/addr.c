#include "address/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define FAMILY_4 4
#define FAMILY_6 6

static const uint8_t MAPPED_PREFIX[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static int is_link_local6(const uint8_t ip[16]) {
    /* fe80::/10, and multicast of link-local scope */
    return (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) || (ip[0] == 0xff && (ip[1] & 0x0f) == 2);
}

void atl_addr_canonical(atl_addr *addr) {
    addr->zero = 0;
    if (addr->family == FAMILY_6 && memcmp(addr->ip, MAPPED_PREFIX, sizeof(MAPPED_PREFIX)) == 0) {
        memmove(addr->ip, addr->ip + sizeof(MAPPED_PREFIX), 4);
        addr->family = FAMILY_4;
    }
    if (addr->family == FAMILY_4) {
        memset(addr->ip + 4, 0, sizeof(addr->ip) - 4);
        addr->scope = 0;
    } else if (addr->family != FAMILY_6) {
        memset(addr, 0, sizeof(*addr));
    } else if (!is_link_local6(addr->ip)) {
        addr->scope = 0;
    }
}

void atl_addr_set4(atl_addr *addr, const uint8_t ip[4], uint16_t port) {
    atl_addr made = {.port = port, .family = FAMILY_4};

    memcpy(made.ip, ip, 4);
    *addr = made;
}

void atl_addr_set6(atl_addr *addr, const uint8_t ip[16], uint32_t scope, uint16_t port) {
    atl_addr made = {.scope = scope, .port = port, .family = FAMILY_6};

    memcpy(made.ip, ip, 16);
    atl_addr_canonical(&made);
    *addr = made;
}

void atl_addr_ip_text(const atl_addr *addr, char out[ATLAS_ADDR_MAX]) {
    size_t len;

    out[0] = '\0';
    if (addr->family == FAMILY_4) {
        (void)inet_ntop(AF_INET, addr->ip, out, ATLAS_ADDR_MAX);
    } else if (addr->family == FAMILY_6) {
        (void)inet_ntop(AF_INET6, addr->ip, out, ATLAS_ADDR_MAX);
        if (addr->scope != 0) {
            len = strlen(out);
            (void)snprintf(out + len, ATLAS_ADDR_MAX - len, "%%%u", (unsigned)addr->scope);
        }
    }
}

void atl_addr_text(const atl_addr *addr, char out[ATLAS_ADDR_MAX]) {
    char ip[ATLAS_ADDR_MAX];
    const char *format = addr->family == FAMILY_6 ? "[%.60s]:%u" : "%.60s:%u";

    out[0] = '\0';
    if (addr->family == FAMILY_4 || addr->family == FAMILY_6) {
        atl_addr_ip_text(addr, ip);
        (void)snprintf(out, ATLAS_ADDR_MAX, format, ip, (unsigned)addr->port);
    }
}

/* Decimal without sign, spaces or leading zeros, at most `max`. */
static int32_t parse_number(const char *text, size_t len, uint64_t max, uint64_t *out) {
    uint64_t value = 0;
    size_t i;

    if (len == 0 || len > 10 || (len > 1 && text[0] == '0')) {
        return ATLAS_ERR_ADDRESS;
    }
    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return ATLAS_ERR_ADDRESS;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > max) {
        return ATLAS_ERR_ADDRESS;
    }
    *out = value;
    return ATLAS_OK;
}

int32_t atl_port_parse(const char *text, size_t len, uint16_t *out) {
    uint64_t value;

    if (parse_number(text, len, UINT16_MAX, &value) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    *out = (uint16_t)value;
    return ATLAS_OK;
}

/* Written out because C libraries differ in what they take for an IPv4 address ("010.1", "1.2.3.4
 * "). */
static int32_t parse_ip4(const char *text, size_t len, uint8_t out[4]) {
    const char *end = text + len;
    uint8_t ip[4];
    size_t i;

    for (i = 0; i < 4; i++) {
        const char *dot = memchr(text, '.', (size_t)(end - text));
        const char *stop = dot == NULL ? end : dot;
        uint64_t value;

        if ((dot == NULL) != (i == 3) ||
            parse_number(text, (size_t)(stop - text), 255, &value) != ATLAS_OK) {
            return ATLAS_ERR_ADDRESS;
        }
        ip[i] = (uint8_t)value;
        text = stop + (dot == NULL ? 0 : 1);
    }
    memcpy(out, ip, 4);
    return ATLAS_OK;
}

static int32_t parse_ip6(const char *text, size_t len, uint16_t port, atl_addr *out) {
    char copy[INET6_ADDRSTRLEN];
    const char *percent = memchr(text, '%', len);
    size_t ip_len = percent == NULL ? len : (size_t)(percent - text);
    struct in6_addr ip;
    uint64_t scope = 0;

    if (ip_len >= sizeof(copy)) {
        return ATLAS_ERR_ADDRESS;
    }
    /* interface names would have to be asked for at the operating system: only numbers */
    if (percent != NULL &&
        (parse_number(percent + 1, len - ip_len - 1, UINT32_MAX, &scope) != ATLAS_OK ||
         scope == 0)) {
        return ATLAS_ERR_ADDRESS;
    }
    memcpy(copy, text, ip_len);
    copy[ip_len] = '\0';
    if (strlen(copy) != ip_len || inet_pton(AF_INET6, copy, &ip) != 1 ||
        (percent != NULL && !is_link_local6(ip.s6_addr))) {
        return ATLAS_ERR_ADDRESS;
    }
    atl_addr_set6(out, ip.s6_addr, (uint32_t)scope, port);
    return ATLAS_OK;
}

int32_t atl_addr_parse_ip(const char *text, size_t len, uint16_t port, atl_addr *out) {
    uint8_t ip4[4];

    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        return parse_ip6(text + 1, len - 2, port, out);
    }
    if (len == 0 || len >= ATLAS_ADDR_MAX) {
        return ATLAS_ERR_ADDRESS;
    }
    if (memchr(text, ':', len) != NULL) {
        return parse_ip6(text, len, port, out);
    }
    if (parse_ip4(text, len, ip4) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    atl_addr_set4(out, ip4, port);
    return ATLAS_OK;
}

int32_t atl_addr_parse(const char *text, atl_addr *out) {
    size_t len = strnlen(text, ATLAS_ADDR_MAX);
    const char *colon = len == ATLAS_ADDR_MAX ? NULL : strrchr(text, ':');
    size_t ip_len = colon == NULL ? 0 : (size_t)(colon - text);
    uint16_t port;

    if (ip_len == 0 || atl_port_parse(colon + 1, len - ip_len - 1, &port) != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    /* without brackets nobody knows where an IPv6 address ends */
    if (text[0] != '[' && memchr(text, ':', ip_len) != NULL) {
        return ATLAS_ERR_ADDRESS;
    }
    return atl_addr_parse_ip(text, ip_len, port, out);
}

int atl_dns_name_valid(const char *text, size_t len) {
    size_t label = 0;
    size_t i;

    if (len == 0 || len > 253) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        char c = text[i];
        int alnum =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';

        if (c == '.') {
            if (label == 0 || text[i - 1] == '-') {
                return 0;
            }
            label = 0;
        } else if ((!alnum && (c != '-' || label == 0)) || ++label > 63) {
            return 0;
        }
    }
    return label > 0 && text[len - 1] != '-';
}

/* The host and what follows it: nothing, or a colon and the port. */
static int32_t split_host(const char *text, size_t len, const char **host, size_t *host_len,
                          const char **rest) {
    const char *colon = memchr(text, ':', len);
    const char *bracket;
    atl_addr addr;

    *host = text;
    *host_len = colon == NULL ? len : (size_t)(colon - text);
    *rest = text + *host_len;
    if (text[0] == '[') {
        bracket = memchr(text, ']', len);
        if (bracket == NULL) {
            return ATLAS_ERR_ADDRESS;
        }
        *host = text + 1;
        *host_len = (size_t)(bracket - text) - 1;
        *rest = bracket + 1;
    } else if (colon != NULL && memchr(colon + 1, ':', len - *host_len - 1) != NULL) {
        *host_len = len; /* an IPv6 address without brackets has no port */
        *rest = text + len;
    } else {
        return atl_dns_name_valid(text, *host_len) ? ATLAS_OK : ATLAS_ERR_ADDRESS;
    }
    if (memchr(*host, ':', *host_len) == NULL) {
        return ATLAS_ERR_ADDRESS;
    }
    return atl_addr_parse_ip(*host, *host_len, 0, &addr);
}

int32_t atl_host_port_split(const char *text, char *host, size_t cap, uint16_t *port) {
    size_t len = strnlen(text, 512);
    const char *at;
    const char *rest;
    size_t host_len;
    uint16_t number = 0;

    if (len == 0 || len == 512 || split_host(text, len, &at, &host_len, &rest) != ATLAS_OK ||
        host_len >= cap) {
        return ATLAS_ERR_ADDRESS;
    }
    if (rest[0] != '\0' &&
        (rest[0] != ':' || atl_port_parse(rest + 1, strlen(rest + 1), &number) != ATLAS_OK ||
         number == 0)) {
        return ATLAS_ERR_ADDRESS;
    }
    memcpy(host, at, host_len);
    host[host_len] = '\0';
    *port = number;
    return ATLAS_OK;
}

static int all_zero(const uint8_t *bytes, size_t len) {
    size_t i;

    for (i = 0; i < len && bytes[i] == 0; i++) {
    }
    return i == len;
}

int atl_addr_is_loopback(const atl_addr *addr) {
    if (addr->family == FAMILY_4) {
        return addr->ip[0] == 127;
    }
    return addr->family == FAMILY_6 && all_zero(addr->ip, 15) && addr->ip[15] == 1;
}

int atl_addr_is_link_local(const atl_addr *addr) {
    if (addr->family == FAMILY_4) {
        return addr->ip[0] == 169 && addr->ip[1] == 254;
    }
    return addr->family == FAMILY_6 && addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

int atl_addr_is_unspecified(const atl_addr *addr) {
    return (addr->family == FAMILY_4 || addr->family == FAMILY_6) && all_zero(addr->ip, 16);
}

int atl_addr_is_private(const atl_addr *addr) {
    const uint8_t *ip = addr->ip;

    if (addr->family == FAMILY_4) {
        return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
               (ip[0] == 192 && ip[1] == 168) || (ip[0] == 100 && (ip[1] & 0xc0) == 64);
    }
    return addr->family == FAMILY_6 && (ip[0] & 0xfe) == 0xfc;
}

int atl_addr_is_multicast(const atl_addr *addr) {
    if (addr->family == FAMILY_4) {
        return (addr->ip[0] & 0xf0) == 0xe0;
    }
    return addr->family == FAMILY_6 && addr->ip[0] == 0xff;
}

size_t atl_addr_limit_key(const atl_addr *addr, uint8_t out[8]) {
    size_t len = addr->family == FAMILY_4 ? 4 : addr->family == FAMILY_6 ? 8 : 0;

    memcpy(out, addr->ip, len);
    return len;
}
