#include "discovery/reach_keep.h"

#include "discovery/state.h"

#include <string.h>

#define ASK_TIMEOUT (3 * ATL_SECOND)
#define LOCAL_ADDRS 64
#define SERVERS 64
#define TRIES 3 /* servers asked at once, one after the other, when they do not answer */

static void on_timer(atl_timer *timer, uint64_t now);

void atl_reach_keep_init(atl_reach_keep *keep, struct atl_discovery *disc, uint8_t family) {
    memset(keep, 0, sizeof(*keep));
    keep->disc = disc;
    keep->family = family;
    atl_timer_init(&keep->timer, on_timer, keep);
}

/* ---- whether ---- */

static int is_of_host(const atl_addr *addr, const atl_addr *host, size_t n) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (host[i].family == addr->family && memcmp(host[i].ip, addr->ip, sizeof(addr->ip)) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The verdict of this candidate of the family; 0 when it is none. */
static int is_public(const atl_reach_keep *keep, const atl_addr *addr) {
    atl_reach_candidate list[ATL_REACH_CANDIDATES];
    size_t n = atl_reach_candidates(keep->disc->reach, keep->family, list, ATL_REACH_CANDIDATES);
    size_t i;

    for (i = 0; i < n; i++) {
        if (list[i].verdict == ATLAS_REACH_PUBLIC && atl_addr_equal(&list[i].addr, addr)) {
            return 1;
        }
    }
    return 0;
}

/* 1: this family's public candidates depend on a NAT. */
static int behind_nat(const atl_reach_keep *keep) {
    const atl_io *io = keep->disc->io;
    atl_reach_candidate list[ATL_REACH_CANDIDATES];
    atl_addr host[LOCAL_ADDRS];
    size_t n_host = io->local_addrs(io->impl, host, LOCAL_ADDRS);
    size_t n = atl_reach_candidates(keep->disc->reach, keep->family, list, ATL_REACH_CANDIDATES);
    size_t i;

    n_host = n_host < LOCAL_ADDRS ? n_host : LOCAL_ADDRS;
    for (i = 0; i < n; i++) {
        if (list[i].verdict == ATLAS_REACH_PUBLIC && !is_of_host(&list[i].addr, host, n_host)) {
            return 1;
        }
    }
    return 0;
}

/* What is known of this NAT by the connections to peers, as far as silences have survived. */
static uint64_t interval(const atl_reach_keep *keep) {
    const atl_keepalive *learned = &keep->disc->peers->keepalive[keep->family == 6];
    uint64_t usual = atl_keepalive_interval(learned);
    uint64_t wait = ATL_REACH_KEEP;

    if (learned->good > wait) {
        wait = usual < learned->good ? usual : learned->good;
    } else if (learned->bad != 0 && usual < wait) {
        wait = usual;
    }
    return keep->wait != 0 && keep->wait < wait ? keep->wait : wait;
}

/* ---- asking ---- */

static void wait_for(atl_reach_keep *keep, uint64_t time) {
    atl_timer_set(keep->disc->loop, &keep->timer, keep->disc->loop->now + time);
}

/* One that answers is asked again: what different servers see may differ. */
static int choose(atl_reach_keep *keep) {
    atl_reach_server list[SERVERS];
    atl_addr last = keep->server;
    size_t n;
    size_t i;

    if (keep->failures == 0 && keep->server.family != 0) {
        return 1;
    }
    n = atl_servers_list(keep->disc, list, SERVERS);
    for (i = 0; i < n; i++) {
        if (list[i].addr.family == keep->family && !atl_addr_equal(&list[i].addr, &last)) {
            keep->server = list[i].addr;
            keep->known = 0;
            break;
        }
    }
    return keep->server.family != 0; /* the same again, where there is no other */
}

/* Once may be a NAT that was restarted, or was given another address; twice in a row is one that
 * forgets sooner. */
static void on_moved(atl_reach_keep *keep, const atl_stun_reply *reply, uint64_t silence) {
    atl_candidates *candidates = keep->disc->peers->candidates;

    if (keep->moved) {
        keep->wait = silence / 2 > ATL_REACH_KEEP_LEAST ? silence / 2 : ATL_REACH_KEEP_LEAST;
    }
    keep->moved = 1;
    if (candidates != NULL) {
        atl_candidates_observed(candidates, &keep->server, &reply->reflexive, &reply->local);
        atl_candidates_gather(candidates, 0); /* what others have seen is old */
    }
    atl_reach_again(keep->disc->reach, 0);
}

static void on_answer(void *user, const atl_stun_reply *reply) {
    atl_reach_keep *keep = user;
    uint64_t silence = interval(keep);
    int first = !keep->known;
    int same;

    keep->txn = NULL;
    if (reply->code != ATLAS_OK || reply->reflexive.family != keep->family) {
        keep->failures++;
        wait_for(keep, keep->failures % TRIES != 0 ? 1 : silence);
        return;
    }
    same =
        first ? is_public(keep, &reply->reflexive) : atl_addr_equal(&reply->reflexive, &keep->seen);
    keep->failures = 0;
    keep->known = 1;
    keep->seen = reply->reflexive;
    if (same) {
        keep->moved = 0;
    } else {
        on_moved(keep, reply, silence);
    }
    wait_for(keep, interval(keep));
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_reach_keep *keep = timer->user;
    atl_stun_client *stun = keep->disc->peers->stun;

    if (!choose(keep) || atl_stun_client_start(stun, NULL, &keep->server, now + ASK_TIMEOUT, NULL,
                                               on_answer, keep, &keep->txn) != ATLAS_OK) {
        keep->txn = NULL;
        keep->failures = 1;
        wait_for(keep, interval(keep));
    }
}

/* ---- when ---- */

void atl_reach_keep_stop(atl_reach_keep *keep) {
    if (keep->txn != NULL) {
        atl_stun_client_cancel(keep->disc->peers->stun, keep->txn);
        keep->txn = NULL;
    }
    atl_timer_clear(keep->disc->loop, &keep->timer);
    keep->on = 0;
    keep->known = 0;
    keep->moved = 0;
    keep->failures = 0;
    memset(&keep->server, 0, sizeof(keep->server));
}

void atl_reach_keep_update(atl_reach_keep *keep) {
    const atl_discovery *disc = keep->disc;
    int known =
        disc->reach != NULL && atl_reach_verdict(disc->reach, keep->family) == ATLAS_REACH_PUBLIC;
    int on = known && disc->checking && !disc->peers->idle && behind_nat(keep);

    if (!known) {
        keep->wait = 0; /* another network, perhaps */
    }
    if (on && !keep->on) {
        keep->on = 1;
        wait_for(keep, interval(keep));
    } else if (!on && keep->on) {
        atl_reach_keep_stop(keep);
    }
}
