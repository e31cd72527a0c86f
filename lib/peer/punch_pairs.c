#include "peer/punch_pairs.h"

#include <string.h>

#define SCOPE_GLOBAL 0 /* private addresses too */
#define SCOPE_LINK 1
#define SCOPE_LOOPBACK 2

/* ---- addresses ---- */

int atl_punch_sendable(const atl_addr *remote) {
    if (remote->port == 0 || (remote->family != 4 && remote->family != 6) ||
        atl_addr_is_unspecified(remote) || atl_addr_is_multicast(remote)) {
        return 0;
    }
    /* "this network", reserved, broadcast */
    return remote->family == 6 || (remote->ip[0] != 0 && remote->ip[0] < 240);
}

int atl_punch_same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && a->scope == b->scope &&
           memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static int scope_of(const atl_addr *addr) {
    if (atl_addr_is_loopback(addr)) {
        return SCOPE_LOOPBACK;
    }
    return atl_addr_is_link_local(addr) ? SCOPE_LINK : SCOPE_GLOBAL;
}

int atl_punch_reachable(const atl_addr *local, const atl_addr *remote) {
    return atl_punch_sendable(remote) && local->family == remote->family &&
           scope_of(local) == scope_of(remote);
}

static uint32_t kind_rank(uint8_t kind) {
    return kind == ATLAS_CANDIDATE_UNKNOWN ? ATLAS_CANDIDATE_RELAY : kind;
}

int atl_punch_compare(const atl_punch_pair *a, const atl_punch_pair *b) {
    if (kind_rank(a->kind) != kind_rank(b->kind)) {
        return kind_rank(a->kind) < kind_rank(b->kind) ? -1 : 1;
    }
    return a->rtt == b->rtt ? 0 : a->rtt < b->rtt ? -1 : 1;
}

/* ---- this host's side ---- */

typedef struct locals {
    atl_addr addr[ATL_PUNCH_LOCALS]; /* best first */
    size_t n;
    int usable; /* the host has an address that can talk to such a remote address */
} locals;

/* Addresses of one IPv6 network are taken for those of one interface, among which the system
 * chooses better than we do. */
static int same_interface(const atl_addr *a, const atl_addr *b) {
    uint8_t key_a[8] = {0};
    uint8_t key_b[8] = {0};

    return a->family == b->family && a->scope == b->scope &&
           atl_addr_limit_key(a, key_a) == atl_addr_limit_key(b, key_b) &&
           memcmp(key_a, key_b, sizeof(key_a)) == 0;
}

static void add_local(locals *found, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < found->n; i++) {
        if (same_interface(&found->addr[i], addr)) {
            return;
        }
    }
    if (found->n < ATL_PUNCH_LOCALS) {
        found->addr[found->n++] = *addr;
    }
}

/* The host addresses, in the order of the list (which is ranked), that can talk to `remote`. */
static void find_locals(const atl_candidate *local, size_t n, const atl_addr *remote,
                        locals *found) {
    size_t i;

    memset(found, 0, sizeof(*found));
    for (i = 0; i < n; i++) {
        const atl_addr *host =
            local[i].kind == ATLAS_CANDIDATE_HOST ? &local[i].addr : &local[i].base;

        if (local[i].kind == ATLAS_CANDIDATE_RELAY || local[i].addr.family != remote->family ||
            scope_of(&local[i].addr) != scope_of(remote)) {
            continue;
        }
        found->usable = 1;
        if (host->family == remote->family && !atl_addr_is_unspecified(host) &&
            scope_of(host) == scope_of(remote)) {
            add_local(found, host);
        }
    }
}

/* An address of this very node: a packet would come back, or turn in our NAT. */
static int is_own(const atl_candidate *local, size_t n, const atl_addr *remote) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (local[i].addr.port == remote->port && atl_punch_same_ip(&local[i].addr, remote)) {
            return 1;
        }
    }
    return 0;
}

/* ---- pairs ---- */

void atl_checks_init(atl_checks *checks, uint64_t rtt, uint32_t number) {
    uint64_t rto = rtt > ATL_SECOND ? ATL_PUNCH_RTO_MAX : rtt + rtt / 5;

    checks->rto = rto < ATL_PUNCH_RTO_MIN   ? ATL_PUNCH_RTO_MIN
                  : rto > ATL_PUNCH_RTO_MAX ? ATL_PUNCH_RTO_MAX
                                            : rto;
    checks->number = number;
    checks->named_none = 1;
}

static int comes_before(const atl_check *a, const atl_check *b) {
    if (a->priority != b->priority) {
        return a->priority > b->priority;
    }
    return a < b;
}

/* The best of each kind, then the second of each kind, and so on, so that a long list of host
 * addresses does not keep the one waiting that is seen from outside; last come further addresses of
 * this host for the same remote one. */
static void set_order(atl_checks *checks) {
    size_t i;
    size_t k;

    for (i = 0; i < checks->n; i++) {
        atl_check *check = &checks->list[i];
        uint32_t better = 0;

        for (k = 0; k < checks->n; k++) {
            const atl_check *other = &checks->list[k];

            better += k != i && other->variant == check->variant &&
                      other->pair.kind == check->pair.kind && comes_before(other, check);
        }
        check->order = ((uint32_t)check->variant << 8 | better) << 3 | kind_rank(check->pair.kind);
    }
}

/* A place for a new pair: a free one, or that of the worst that is not proven, when the new one may
 * take its place. */
static atl_check *take_place(atl_checks *checks, int learned) {
    atl_check *worst = NULL;
    size_t i;

    if (checks->n < ATL_PUNCH_PAIRS) {
        return &checks->list[checks->n++];
    }
    for (i = 0; i < checks->n && learned; i++) {
        atl_check *check = &checks->list[i];

        if (check->state != ATL_CHECK_PROVEN && check->triggers == 0 &&
            (worst == NULL || check->order > worst->order)) {
            worst = check;
        }
    }
    return worst;
}

static atl_check *add_pair(atl_checks *checks, const atl_addr *local, const atl_addr *remote,
                           uint8_t kind, int learned, uint64_t now) {
    atl_check *check = take_place(checks, learned);

    if (check != NULL) {
        memset(check, 0, sizeof(*check));
        check->pair.kind = kind;
        check->pair.local = *local;
        check->pair.remote = *remote;
        check->born = checks->number;
        check->limit = ATL_PUNCH_PER_ADDRESS;
        check->due = now;
        check->interval = checks->rto;
    }
    return check;
}

/* `strict`: a pair that leaves the local address to the system is not one that names it. */
static atl_check *find_pair(atl_checks *checks, const atl_addr *local, const atl_addr *remote,
                            int strict) {
    size_t i;

    for (i = 0; i < checks->n; i++) {
        atl_check *check = &checks->list[i];
        int any = check->pair.local.family == 0 || local->family == 0;

        if (atl_addr_equal(&check->pair.remote, remote) &&
            ((any && !strict) || atl_punch_same_ip(&check->pair.local, local))) {
            return check;
        }
    }
    return NULL;
}

/* One named address from one address of this host. A pair that was learned before its address was
 * named becomes what the name says. */
static void name_pair(atl_checks *checks, const atl_addr *local, const atl_candidate *remote,
                      const atl_addr *to, size_t variant, size_t variants, uint64_t now) {
    atl_check *check = find_pair(checks, local, to, variants > 1);
    size_t limit = ATL_PUNCH_PER_ADDRESS / variants;

    if (check == NULL) {
        check = add_pair(checks, local, to, remote->kind, 0, now);
    }
    if (check != NULL) {
        check->pair.kind = remote->kind;
        check->priority = remote->priority;
        check->variant = (uint8_t)variant;
        check->limit = (uint8_t)(variant > 0 ? limit : limit + ATL_PUNCH_PER_ADDRESS % variants);
    }
}

static void add_remote(atl_checks *checks, const atl_candidate *local, size_t n_local,
                       const atl_candidate *remote, uint64_t now) {
    static const atl_addr any = {{0}, 0, 0, 0, 0};
    int scope = scope_of(&remote->addr);
    atl_addr to = remote->addr;
    locals found;
    size_t i;

    find_locals(local, n_local, &remote->addr, &found);
    if (!found.usable || is_own(local, n_local, &remote->addr)) {
        return;
    }
    if (scope == SCOPE_GLOBAL && found.n > 1) {
        checks->several[to.family == 6] = 1;
    }
    if (scope == SCOPE_LOOPBACK || (scope == SCOPE_GLOBAL && found.n <= 1)) {
        name_pair(checks, &any, remote, &to, 0, 1, now);
        return;
    }
    for (i = 0; i < found.n; i++) {
        if (scope == SCOPE_LINK) {
            to.scope = found.addr[i].scope; /* the peer cannot know our interfaces */
        }
        name_pair(checks, &found.addr[i], remote, &to, i, found.n, now);
    }
}

static int has_family(const atl_candidate *list, size_t n, uint8_t family) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (list[i].kind != ATLAS_CANDIDATE_RELAY && list[i].addr.family == family) {
            return 1;
        }
    }
    return 0;
}

void atl_checks_add(atl_checks *checks, const atl_candidate *local, size_t n_local,
                    const atl_candidate *remote, size_t n_remote, uint64_t now) {
    size_t i;

    for (i = 0; i < n_remote; i++) {
        if (remote[i].kind != ATLAS_CANDIDATE_RELAY && atl_punch_sendable(&remote[i].addr)) {
            checks->named_none = 0;
            checks->named_family |= has_family(local, n_local, remote[i].addr.family) != 0;
            add_remote(checks, local, n_local, &remote[i], now);
        }
    }
    set_order(checks);
}

/* ---- budgets ---- */

/* Whether one more request may go to this address and this IP address. */
static int may_ask(const atl_checks *checks, const atl_addr *remote) {
    uint32_t of_ip = 0;
    int known = 0;
    size_t i;

    for (i = 0; i < checks->n_asked; i++) {
        if (!atl_punch_same_ip(&checks->asked[i].addr, remote)) {
            continue;
        }
        of_ip += checks->asked[i].requests;
        if (checks->asked[i].addr.port == remote->port) {
            known = 1;
            if (checks->asked[i].requests >= ATL_PUNCH_PER_ADDRESS) {
                return 0;
            }
        }
    }
    return of_ip < ATL_PUNCH_PER_IP && (known || checks->n_asked < ATL_PUNCH_ADDRESSES);
}

static void count_request(atl_checks *checks, const atl_addr *remote) {
    size_t i;

    for (i = 0; i < checks->n_asked; i++) {
        if (atl_addr_equal(&checks->asked[i].addr, remote)) {
            checks->asked[i].requests++;
            return;
        }
    }
    if (checks->n_asked < ATL_PUNCH_ADDRESSES) {
        checks->asked[checks->n_asked].addr = *remote;
        checks->asked[checks->n_asked++].requests = 1;
    }
}

/* ---- what is next ---- */

/* The kind of a remote address: as named, or learned. */
static uint8_t kind_of(const atl_checks *checks, const atl_addr *remote, uint32_t *priority) {
    size_t i;

    for (i = 0; i < checks->n; i++) {
        if (atl_addr_equal(&checks->list[i].pair.remote, remote)) {
            *priority = checks->list[i].priority;
            return checks->list[i].pair.kind;
        }
    }
    return ATLAS_CANDIDATE_PEER_REFLEXIVE;
}

static atl_check *learn_pair(atl_checks *checks, const atl_addr *local, const atl_addr *remote,
                             uint32_t priority, uint64_t now) {
    uint8_t kind = kind_of(checks, remote, &priority);
    atl_addr from = {{0}, 0, 0, 0, 0};
    atl_check *check;

    if (!atl_punch_reachable(local, remote) || checks->reflexive >= ATL_PUNCH_REFLEXIVE) {
        return NULL;
    }
    if (scope_of(remote) == SCOPE_LINK || checks->several[remote->family == 6] != 0) {
        from = *local;
    }
    check = add_pair(checks, &from, remote, kind, 1, now);
    if (check != NULL) {
        checks->reflexive++;
        check->priority = priority;
        if (kind == ATLAS_CANDIDATE_PEER_REFLEXIVE) {
            /* Nobody has named it, and whoever diverts a check could name it so: one request for
             * each of the peer's that comes from there, less than twice the bytes. */
            check->limit = 1;
        }
        set_order(checks);
    }
    return check;
}

void atl_checks_heard(atl_checks *checks, const atl_addr *local, const atl_addr *remote,
                      uint32_t priority, uint64_t now) {
    atl_check *check = find_pair(checks, local, remote, 0);

    if (check == NULL) {
        check = learn_pair(checks, local, remote, priority, now);
    }
    if (check == NULL || check->state == ATL_CHECK_PROVEN ||
        check->triggers >= (check->limit == 1 ? ATL_PUNCH_PER_ADDRESS : ATL_PUNCH_TRIGGERS) ||
        !may_ask(checks, remote)) {
        return;
    }
    check->triggers++;
    check->urgent = 1;
    check->state = ATL_CHECK_ACTIVE;
    check->due = now;
}

/* Whether a asks before b: first those that the peer was heard on, then those that have not asked
 * yet, best first, then who waits longest. */
static int asks_before(const atl_check *a, const atl_check *b) {
    if (a->urgent != b->urgent) {
        return a->urgent;
    }
    if ((a->requests == 0) != (b->requests == 0)) {
        return a->requests == 0;
    }
    if (a->requests > 0 && a->due != b->due) {
        return a->due < b->due;
    }
    return a->order < b->order;
}

/* No more requests; the last one may still be answered. */
static void begin_to_wait(const atl_checks *checks, atl_check *check, uint64_t now) {
    check->state = check->requests == 0 ? ATL_CHECK_FAILED : ATL_CHECK_WAITING;
    check->urgent = 0;
    check->due = now + 2 * checks->rto;
}

atl_check *atl_checks_next(atl_checks *checks, uint64_t now) {
    atl_check *next = NULL;
    size_t i;

    for (i = 0; i < checks->n; i++) {
        atl_check *check = &checks->list[i];

        if (check->state != ATL_CHECK_ACTIVE || check->due > now) {
            continue;
        }
        if ((check->requests >= check->limit && !check->urgent) ||
            !may_ask(checks, &check->pair.remote)) {
            begin_to_wait(checks, check, now);
        } else if (next == NULL || asks_before(check, next)) {
            next = check;
        }
    }
    return next;
}

void atl_checks_asked(atl_checks *checks, atl_check *check, uint64_t now) {
    count_request(checks, &check->pair.remote);
    checks->number++;
    check->requests++;
    check->urgent = 0;
    check->due = now + check->interval;
    check->interval += check->interval / 2;
    if (check->requests >= check->limit) {
        begin_to_wait(checks, check, now);
    }
}

size_t atl_checks_settle(atl_checks *checks, uint64_t now, uint64_t pace, uint64_t *due) {
    size_t open = 0;
    size_t i;

    for (i = 0; i < checks->n; i++) {
        atl_check *check = &checks->list[i];
        uint64_t at = check->due;

        if (check->state == ATL_CHECK_WAITING && at <= now) {
            check->state = ATL_CHECK_FAILED;
        }
        if (check->state != ATL_CHECK_ACTIVE && check->state != ATL_CHECK_WAITING) {
            continue;
        }
        if (check->state == ATL_CHECK_ACTIVE && at < pace) {
            at = pace;
        }
        open++;
        *due = at < *due ? at : *due;
    }
    return open;
}

size_t atl_checks_proven(const atl_checks *checks) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < checks->n; i++) {
        n += checks->list[i].state == ATL_CHECK_PROVEN;
    }
    return n;
}
