#include "io/netif.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define KEPT_MAX 128        /* addresses looked at, the best of a host with more */
#define LINES_BYTES 16384   /* of the kernel's list of IPv6 addresses */
#define RANK_DEPRECATED 0x1 /* below its equals */
#define RANK_UNUSABLE UINT32_MAX

typedef struct ranked {
    atl_addr addr;
    uint32_t rank;
} ranked;

typedef struct netif_list {
    size_t n;
    ranked entries[KEPT_MAX];
    size_t lines_len;
    char lines[LINES_BYTES];
} netif_list;

/* ---- ranks ---- */

/* Container bridges, virtual machines' networks and tunnels: addresses there reach this host, its
 * guests, or a private network, seldom the peer. */
static int is_virtual(const char *name) {
    static const char *const PREFIXES[] = {
        "docker", "br-",       "veth", "virbr",   "vnet",   "vmnet",  "vboxnet", "lxcbr",
        "lxdbr",  "podman",    "cni",  "flannel", "cali",   "tun",    "tap",     "wg",
        "utun",   "tailscale", "zt",   "ipsec",   "nebula", "cilium", "kube",
    };
    size_t i;

    for (i = 0; i < ATL_COUNT(PREFIXES); i++) {
        if (strncmp(name, PREFIXES[i], strlen(PREFIXES[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

uint32_t atl_netif_rank(const atl_addr *addr, const char *name, uint32_t flags) {
    if (atl_addr_is_loopback(addr) || (flags & IFF_LOOPBACK) != 0) {
        return 4;
    }
    if (atl_addr_is_link_local(addr)) {
        return 3;
    }
    if (is_virtual(name)) {
        return 2;
    }
    if (!atl_addr_is_private(addr)) {
        return 0; /* also of a modem or a PPPoE line */
    }
    return (flags & IFF_POINTOPOINT) != 0 ? 2 : 1;
}

/* ---- flags of IPv6 addresses ---- */

static int hex_digit(uint8_t c, uint32_t *out) {
    if (c >= '0' && c <= '9') {
        *out = c - (uint32_t)'0';
    } else if (c >= 'a' && c <= 'f') {
        *out = c - (uint32_t)'a' + 10;
    } else {
        return 0;
    }
    return 1;
}

/* A field of lower-case hexadecimal digits and the spaces behind it. */
static int32_t read_hex(atl_reader *reader, uint32_t *out) {
    uint32_t value = 0;
    uint32_t digit;
    size_t n = 0;

    while (reader->left > 0 && hex_digit(reader->data[0], &digit)) {
        value = value << 4 | digit;
        n++;
        (void)atl_read_skip(reader, 1);
    }
    while (reader->left > 0 && reader->data[0] == ' ') {
        (void)atl_read_skip(reader, 1);
    }
    *out = value;
    return n > 0 && n <= 8 ? ATLAS_OK : ATLAS_ERR_TRUNCATED;
}

/* "fe80000000000000021122fffe334455 02 40 20 80     eth0": address, interface, prefix, scope,
 * flags, name. */
int32_t atl_netif_line6(atl_reader *reader, uint8_t ip[16], uint32_t *flags) {
    atl_reader copy = *reader;
    uint8_t made[16];
    uint32_t fields[4];
    uint8_t byte = 0;
    size_t i;

    for (i = 0; i < 16; i++) {
        uint8_t text[2];
        uint32_t high;
        uint32_t low;

        if (atl_read_bytes(&copy, text, 2) != ATLAS_OK || !hex_digit(text[0], &high) ||
            !hex_digit(text[1], &low)) {
            return ATLAS_ERR_TRUNCATED;
        }
        made[i] = (uint8_t)(high << 4 | low);
    }
    if (atl_read_u8(&copy, &byte) != ATLAS_OK || byte != ' ') {
        return ATLAS_ERR_TRUNCATED;
    }
    for (i = 0; i < ATL_COUNT(fields); i++) {
        if (read_hex(&copy, &fields[i]) != ATLAS_OK) {
            return ATLAS_ERR_TRUNCATED;
        }
    }
    while (byte != '\n' && atl_read_u8(&copy, &byte) == ATLAS_OK) {
    }
    memcpy(ip, made, sizeof(made));
    *flags = fields[3];
    *reader = copy;
    return ATLAS_OK;
}

/* Nothing read only means that nothing is known of flags. */
static void load_lines(netif_list *list) {
    int fd = open("/proc/net/if_inet6", O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0) {
        return;
    }
    while (n > 0 && list->lines_len < sizeof(list->lines)) {
        n = read(fd, list->lines + list->lines_len, sizeof(list->lines) - list->lines_len);
        if (n > 0) {
            list->lines_len += (size_t)n;
        }
    }
    (void)close(fd);
}

static uint32_t flags6(const netif_list *list, const atl_addr *addr) {
    atl_reader reader;
    uint8_t ip[16];
    uint32_t flags;

    atl_reader_init(&reader, list->lines, list->lines_len);
    while (addr->family == 6 && atl_netif_line6(&reader, ip, &flags) == ATLAS_OK) {
        if (memcmp(ip, addr->ip, sizeof(ip)) == 0) {
            return flags;
        }
    }
    return 0;
}

/* ---- the list ---- */

static uint32_t fine_rank(const netif_list *list, const atl_addr *addr, const struct ifaddrs *ifa) {
    uint32_t flags = flags6(list, addr);

    if ((flags & IFA_F_DADFAILED) != 0 ||
        ((flags & IFA_F_TENTATIVE) != 0 && (flags & IFA_F_OPTIMISTIC) == 0)) {
        return RANK_UNUSABLE;
    }
    return atl_netif_rank(addr, ifa->ifa_name, ifa->ifa_flags) << 1 |
           ((flags & IFA_F_DEPRECATED) != 0 ? RANK_DEPRECATED : 0);
}

static int known(const netif_list *list, const atl_addr *addr) {
    for (size_t i = 0; i < list->n; i++) {
        if (atl_addr_equal(&list->entries[i].addr, addr)) {
            return 1;
        }
    }
    return 0;
}

/* Behind its equals; the worst makes room. */
static void insert(netif_list *list, const atl_addr *addr, uint32_t rank) {
    size_t at = list->n;

    if (at == KEPT_MAX && list->entries[--at].rank <= rank) {
        return;
    }
    list->n = at + 1;
    while (at > 0 && list->entries[at - 1].rank > rank) {
        list->entries[at] = list->entries[at - 1];
        at--;
    }
    list->entries[at].addr = *addr;
    list->entries[at].rank = rank;
}

size_t atl_netif_addrs(void *impl, atl_addr *out, size_t cap) {
    struct ifaddrs *system = NULL;
    netif_list list;
    size_t i;

    (void)impl;
    if (getifaddrs(&system) != 0) {
        return 0;
    }
    list.n = 0;
    list.lines_len = 0;
    load_lines(&list);
    for (const struct ifaddrs *ifa = system; ifa != NULL; ifa = ifa->ifa_next) {
        atl_addr addr;
        uint32_t rank;

        if (ifa->ifa_addr == NULL || (ifa->ifa_flags & IFF_UP) == 0) {
            continue;
        }
        atl_from_sockaddr(ifa->ifa_addr, &addr);
        rank = addr.family == 0 ? RANK_UNUSABLE : fine_rank(&list, &addr, ifa);
        if (rank != RANK_UNUSABLE && !known(&list, &addr)) {
            insert(&list, &addr, rank);
        }
    }
    freeifaddrs(system);
    for (i = 0; i < list.n && i < cap; i++) {
        out[i] = list.entries[i].addr;
    }
    return i;
}

int32_t atl_netif_source(void *impl, const atl_addr *remote, atl_addr *out) {
    atl_sockaddr sa;
    atl_addr found;
    socklen_t len = atl_to_sockaddr(remote, &sa);
    int32_t rc = ATLAS_ERR_UNREACHABLE;
    int fd;

    (void)impl;
    if (remote->family != 4 && remote->family != 6) {
        return ATLAS_ERR_INVALID;
    }
    fd = socket(sa.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return ATLAS_ERR_UNREACHABLE;
    }
    if (connect(fd, &sa.any, len) != 0) {
        goto done;
    }
    len = (socklen_t)sizeof(sa);
    if (getsockname(fd, &sa.any, &len) != 0) {
        goto done;
    }
    atl_from_sockaddr(&sa.any, &found);
    if (found.family == 0 || atl_addr_is_unspecified(&found)) {
        goto done;
    }
    found.port = 0;
    *out = found;
    rc = ATLAS_OK;
done:
    (void)close(fd);
    return rc;
}
