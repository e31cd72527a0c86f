/* Which candidates a node has, from what is known: chooses among host addresses, adds
 * server-reflexive ones, ranks all. Pure functions of their arguments. */
#ifndef ATL_PEER_CANDIDATE_LIST_H
#define ATL_PEER_CANDIDATE_LIST_H

#include "peer/candidates.h"

#define ATL_CANDIDATE_HOSTS_MAX 8     /* of both families */
#define ATL_CANDIDATE_FAMILY_MAX 6    /* host addresses of one */
#define ATL_CANDIDATE_PREFIX_MAX 2    /* of one IPv6 /64: a stable and a temporary address */
#define ATL_CANDIDATE_REFLEXIVE_MAX 4 /* of a family */

typedef struct atl_candidate_list {
    size_t n;
    size_t n_reflexive[2]; /* IPv4, IPv6 */
    atl_candidate entries[ATL_CANDIDATES_MAX];
} atl_candidate_list;

/* RFC 8445 section 5.1.2.1, component 1. The local preference falls with rank, family and index (at
 * most 255), in this order. */
uint32_t atl_candidate_priority(uint8_t kind, uint32_t rank, uint8_t family, uint32_t index);

/* Starts a list with the host addresses among `addrs` (ports set), which come in order of
 * preference. Loopback and IPv4 link-local addresses count only when there is nothing better. */
void atl_candidate_list_hosts(atl_candidate_list *list, const atl_addr *addrs, size_t n);
/* Adds a server-reflexive one, unless it is there already, a host address, none that a peer could
 * use, or one too many. */
void atl_candidate_list_reflexive(atl_candidate_list *list, const atl_addr *addr,
                                  const atl_addr *base);
/* Best first. */
void atl_candidate_list_sort(atl_candidate_list *list);
/* 1 when both say the same to a peer. */
int atl_candidate_list_equal(const atl_candidate_list *a, const atl_candidate_list *b);

#endif
