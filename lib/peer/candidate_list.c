#include "peer/candidate_list.h"

#include <string.h>

#define RANK_GLOBAL 0
#define RANK_PRIVATE 1
#define RANK_VIRTUAL 2
#define RANK_LINK_LOCAL 3
#define RANK_LOOPBACK 4

/* ---- ranks ---- */

typedef struct prefix4 {
    uint8_t ip[4];
    uint8_t bytes; /* of the prefix */
} prefix4;

/* What container and virtual machine software gives its own bridges unless told otherwise. */
static const prefix4 VIRTUAL[] = {
    {{172, 17}, 2},       /* docker0 */
    {{192, 168, 122}, 3}, /* virbr0 */
};

static int is_virtual(const atl_addr *addr) {
    size_t i;

    for (i = 0; i < ATL_COUNT(VIRTUAL) && addr->family == 4; i++) {
        if (memcmp(VIRTUAL[i].ip, addr->ip, VIRTUAL[i].bytes) == 0) {
            return 1;
        }
    }
    return 0;
}

uint32_t atl_candidate_rank(const atl_addr *addr) {
    if (atl_addr_is_loopback(addr)) {
        return RANK_LOOPBACK;
    }
    if (atl_addr_is_link_local(addr)) {
        return RANK_LINK_LOCAL;
    }
    if (is_virtual(addr)) {
        return RANK_VIRTUAL;
    }
    return atl_addr_is_private(addr) ? RANK_PRIVATE : RANK_GLOBAL;
}

static uint32_t type_preference(uint8_t kind) {
    switch (kind) {
    case ATLAS_CANDIDATE_HOST:
        return 126;
    case ATLAS_CANDIDATE_PEER_REFLEXIVE:
        return 110;
    case ATLAS_CANDIDATE_SERVER_REFLEXIVE:
        return 100;
    default:
        return 0;
    }
}

uint32_t atl_candidate_priority(uint8_t kind, uint32_t rank, uint8_t family, uint32_t index) {
    uint32_t local = 65535 - rank * 4096 - (family == 4 ? 256u : 0u) - (index < 255 ? index : 255);

    return type_preference(kind) << 24 | local << 8 | 255;
}

/* ---- the list ---- */

static int has(const atl_candidate_list *list, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < list->n; i++) {
        if (atl_addr_equal(&list->entries[i].addr, addr)) {
            return 1;
        }
    }
    return 0;
}

static void add(atl_candidate_list *list, uint8_t kind, uint32_t rank, const atl_addr *addr,
                const atl_addr *base) {
    atl_candidate *entry = &list->entries[list->n];

    entry->kind = kind;
    entry->priority = atl_candidate_priority(kind, rank, addr->family, (uint32_t)list->n);
    entry->addr = *addr;
    if (base != NULL) {
        entry->base = *base;
    }
    list->n++;
}

/* Whether its family and its IPv6 prefix have room left. */
static int has_room(const atl_candidate_list *list, const atl_addr *addr) {
    size_t family = 0;
    size_t prefix = 0;
    size_t i;

    for (i = 0; i < list->n; i++) {
        const atl_addr *other = &list->entries[i].addr;

        if (other->family == addr->family) {
            family++;
            prefix += addr->family == 6 && memcmp(other->ip, addr->ip, 8) == 0;
        }
    }
    return list->n < ATL_CANDIDATE_HOSTS_MAX && family < ATL_CANDIDATE_FAMILY_MAX &&
           prefix < ATL_CANDIDATE_PREFIX_MAX;
}

void atl_candidate_list_hosts(atl_candidate_list *list, const atl_addr *addrs, size_t n) {
    uint32_t rank;
    size_t i;

    memset(list, 0, sizeof(*list));
    for (rank = RANK_GLOBAL; rank <= RANK_LOOPBACK; rank++) {
        if (rank >= RANK_LINK_LOCAL && list->n > 0) {
            break;
        }
        for (i = 0; i < n; i++) {
            const atl_addr *addr = &addrs[i];

            /* an IPv6 link-local address means nothing without a zone, which the peer cannot know
             */
            if (atl_candidate_rank(addr) != rank ||
                (rank == RANK_LINK_LOCAL && addr->family == 6)) {
                continue;
            }
            if (!has(list, addr) && has_room(list, addr)) {
                add(list, ATLAS_CANDIDATE_HOST, rank, addr, addr);
            }
        }
    }
}

void atl_candidate_list_reflexive(atl_candidate_list *list, const atl_addr *addr,
                                  const atl_addr *base) {
    size_t *count = &list->n_reflexive[addr->family == 6 ? 1 : 0];

    if (addr->family == 0 || atl_addr_is_loopback(addr) || atl_addr_is_link_local(addr) ||
        *count == ATL_CANDIDATE_REFLEXIVE_MAX || list->n == ATL_CANDIDATES_MAX || has(list, addr)) {
        return;
    }
    add(list, ATLAS_CANDIDATE_SERVER_REFLEXIVE, 0, addr, base);
    ++*count;
}

void atl_candidate_list_sort(atl_candidate_list *list) {
    size_t i;

    for (i = 1; i < list->n; i++) {
        atl_candidate moved = list->entries[i];
        size_t at = i;

        while (at > 0 && list->entries[at - 1].priority < moved.priority) {
            list->entries[at] = list->entries[at - 1];
            at--;
        }
        list->entries[at] = moved;
    }
}

int atl_candidate_list_equal(const atl_candidate_list *a, const atl_candidate_list *b) {
    size_t i;

    for (i = 0; i < a->n && i < b->n; i++) {
        const atl_candidate *left = &a->entries[i];
        const atl_candidate *right = &b->entries[i];

        if (left->kind != right->kind || left->priority != right->priority ||
            !atl_addr_equal(&left->addr, &right->addr)) {
            return 0;
        }
    }
    return a->n == b->n;
}
