#include <stdio.h>
#include <string.h>

#include "stun/nat_internal.h"

#define BIT(kind) (1u << ATLAS_NAT_KIND_##kind)
#define OPEN_PEERS (BIT(NONE) | BIT(FULL_CONE) | BIT(ADDRESS_RESTRICTED))
#define CONE_PEERS (OPEN_PEERS | BIT(PORT_RESTRICTED) | BIT(CGNAT))
#define ALL_PEERS (CONE_PEERS | BIT(SYMMETRIC))

uint32_t atl_nat_kind(const atl_nat_facts *facts) {
    if (facts->code != ATLAS_OK) {
        return ATLAS_NAT_KIND_BLOCKED;
    }
    switch (facts->mapping) {
    case ATLAS_NAT_MAPPING_UNKNOWN:
        return ATLAS_NAT_KIND_UNKNOWN;
    case ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT:
    case ATLAS_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT:
        return ATLAS_NAT_KIND_SYMMETRIC;
    default:
        break;
    }
    switch (facts->filtering) {
    case ATLAS_NAT_FILTERING_ENDPOINT_INDEPENDENT:
    case ATLAS_NAT_FILTERING_NONE:
        return facts->mapping == ATLAS_NAT_MAPPING_NONE ? ATLAS_NAT_KIND_NONE
                                                        : ATLAS_NAT_KIND_FULL_CONE;
    case ATLAS_NAT_FILTERING_ADDRESS_DEPENDENT:
        return ATLAS_NAT_KIND_ADDRESS_RESTRICTED;
    case ATLAS_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT:
        return ATLAS_NAT_KIND_PORT_RESTRICTED;
    default:
        return ATLAS_NAT_KIND_UNKNOWN;
    }
}

/* Two hosts that write to each other's mapping at the same time meet, unless one mapping cannot be
 * foretold and the other side admits exactly what it has written to. */
void atl_nat_reaches(const atl_nat_facts *facts, uint32_t *reaches, uint32_t *perhaps) {
    *perhaps = 0;
    switch (atl_nat_kind(facts)) {
    case ATLAS_NAT_KIND_NONE:
    case ATLAS_NAT_KIND_FULL_CONE:
    case ATLAS_NAT_KIND_ADDRESS_RESTRICTED:
        *reaches = ALL_PEERS;
        break;
    case ATLAS_NAT_KIND_PORT_RESTRICTED:
        *reaches = CONE_PEERS;
        break;
    case ATLAS_NAT_KIND_SYMMETRIC:
        *reaches = OPEN_PEERS;
        break;
    case ATLAS_NAT_KIND_BLOCKED:
        *reaches = 0;
        break;
    default:
        *reaches = facts->mapping == ATLAS_NAT_MAPPING_UNKNOWN ? OPEN_PEERS : CONE_PEERS;
        *perhaps = ALL_PEERS & ~*reaches;
        break;
    }
}

/* ---- words ---- */

typedef struct text {
    char *at;
    size_t left;
} text;

static void add(text *t, const char *words) {
    size_t len = strlen(words);

    if (len >= t->left) {
        len = t->left - 1;
    }
    memcpy(t->at, words, len);
    t->at += len;
    t->left -= len;
    *t->at = '\0';
}

/* "a, b and c" of the kinds in `bits`. */
static void add_kinds(text *t, uint32_t bits) {
    static const char *const names[] = {
        NULL,       "no NAT", "full-cone", "address-restricted", "port-restricted", "carrier-grade",
        "symmetric"};
    uint32_t kind;
    int first = 1;

    for (kind = ATLAS_NAT_KIND_NONE; kind <= ATLAS_NAT_KIND_SYMMETRIC; kind++) {
        uint32_t later = bits >> kind >> 1;

        if ((bits >> kind & 1) == 0) {
            continue;
        }
        if (!first) {
            add(t, later == 0 ? " and " : ", ");
        }
        add(t, names[kind]);
        first = 0;
    }
}

static const char *behind(const atl_nat_facts *facts) {
    switch (atl_nat_kind(facts)) {
    case ATLAS_NAT_KIND_NONE:
        return "no NAT";
    case ATLAS_NAT_KIND_FULL_CONE:
        return "a full-cone NAT";
    case ATLAS_NAT_KIND_ADDRESS_RESTRICTED:
        return facts->mapping == ATLAS_NAT_MAPPING_NONE
                   ? "no NAT, but a firewall that admits addresses written to"
                   : "an address-restricted NAT";
    case ATLAS_NAT_KIND_PORT_RESTRICTED:
        return facts->mapping == ATLAS_NAT_MAPPING_NONE
                   ? "no NAT, but a firewall that admits only who was written to"
                   : "a port-restricted NAT";
    case ATLAS_NAT_KIND_SYMMETRIC:
        return "a symmetric NAT";
    default:
        break;
    }
    switch (facts->mapping) {
    case ATLAS_NAT_MAPPING_NONE:
        return "no NAT, perhaps a firewall";
    case ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT:
        return "a NAT with one mapping for everybody, of unknown filtering";
    default:
        return "a NAT of unknown kind";
    }
}

void atl_nat_verdict_text(const atl_nat_facts *facts, char out[ATL_NAT_TEXT]) {
    text t = {out, ATL_NAT_TEXT};
    uint32_t reaches;
    uint32_t perhaps;
    uint32_t never;

    add(&t, facts->family == 4 ? "IPv4: " : "IPv6: ");
    if (facts->code != ATLAS_OK) {
        add(&t,
            "no server answered; if that is because UDP is blocked, no peer is reached "
            "directly");
        return;
    }
    atl_nat_reaches(facts, &reaches, &perhaps);
    never = ALL_PEERS & ~(reaches | perhaps);
    add(&t, "behind ");
    add(&t, behind(facts));
    if (reaches == ALL_PEERS) {
        add(&t, "; every peer that has UDP is reached directly");
        return;
    }
    add(&t, "; peers behind ");
    add_kinds(&t, reaches);
    add(&t, " NATs are reached directly");
    if (perhaps != 0) {
        add(&t, ", perhaps those behind ");
        add_kinds(&t, perhaps);
        add(&t, " ones");
    }
    if (never != 0) {
        add(&t, ", those behind ");
        add_kinds(&t, never);
        add(&t, " ones only through a relay");
    }
}
