#include "discovery/reach_impl.h"

#include <string.h>

uint32_t atl_reach_vote(const atl_reach_ask *ask, size_t c, uint64_t now, int *open) {
    uint8_t got = ask->got[c];
    uint8_t said = ask->state == ATL_REACH_REPLIED ? ask->reply.results[c] : ATL_DIALBACK_NOT_YOURS;

    *open = 0;
    if ((got & ATL_REACH_GOT_ADDRESS) != 0) {
        return ATLAS_REACH_PUBLIC; /* whatever it says, and whether it says anything */
    }
    if (ask->state == ATL_REACH_ASKED) {
        *open = 1;
        return ATLAS_REACH_UNKNOWN;
    }
    if (ask->state == ATL_REACH_USELESS) {
        return ATLAS_REACH_UNKNOWN;
    }
    if ((got & ATL_REACH_GOT_MET) != 0 ||
        ((got & ATL_REACH_GOT_PORT) != 0 && said != ATL_DIALBACK_ADDRESS)) {
        return ATLAS_REACH_PUBLIC;
    }
    if (said != ATL_DIALBACK_PORT && said != ATL_DIALBACK_ADDRESS) {
        return ATLAS_REACH_UNKNOWN;
    }
    if (now < ask->decided_at) {
        *open = 1;
        return ATLAS_REACH_UNKNOWN;
    }
    return ATLAS_REACH_PRIVATE;
}

/* The server has dialled from two addresses, and only what came from the known one has passed. */
static int is_filtered(const atl_reach_ask *ask, size_t c) {
    return ask->state == ATL_REACH_REPLIED && ask->reply.results[c] == ATL_DIALBACK_ADDRESS &&
           ask->got[c] == ATL_REACH_GOT_PORT;
}

/* What a NAT that filters by address lets pass proves nothing beside a server that the application
 * has named, or two others, that found it to be such a NAT. What comes from an address that was
 * never met proves the contrary. */
static void discount(atl_reach_votes *votes) {
    if (votes->strong == 0 && (votes->filtered_named > 0 || votes->filtered >= 2)) {
        votes->named -= votes->yes_named;
        votes->yes = 0;
        votes->yes_named = 0;
    }
}

void atl_reach_count(const atl_reach_round *r, size_t c, uint64_t now, atl_reach_votes *out) {
    atl_reach_votes votes;
    size_t i;

    memset(&votes, 0, sizeof(votes));
    for (i = 0; i < r->n_asks; i++) {
        const atl_reach_ask *ask = &r->asks[i];
        uint32_t vote;
        int named;
        int open;

        if (ask->spare) {
            continue;
        }
        vote = atl_reach_vote(ask, c, now, &open);
        votes.yes += vote == ATLAS_REACH_PUBLIC;
        votes.strong += vote == ATLAS_REACH_PUBLIC && (ask->got[c] & ATL_REACH_GOT_ADDRESS) != 0;
        votes.no += vote == ATLAS_REACH_PRIVATE;
        named = r->known[ask->known].server.named != 0;
        votes.named += vote != ATLAS_REACH_UNKNOWN && named;
        votes.yes_named += vote == ATLAS_REACH_PUBLIC && named;
        votes.filtered += vote == ATLAS_REACH_PRIVATE && is_filtered(ask, c);
        votes.filtered_named += vote == ATLAS_REACH_PRIVATE && is_filtered(ask, c) && named;
        votes.open += open != 0;
        votes.replied += open != 0 && ask->state == ATL_REACH_REPLIED;
        votes.waiting +=
            open != 0 && (ask->state != ATL_REACH_ASKED || now < ask->at + ATL_REACH_PATIENCE);
    }
    discount(&votes);
    *out = votes;
}

/* How many must agree: the only server there is has to be believed. */
static uint32_t quorum(const atl_reach_round *r) {
    return r->n_known == 1 ? 1 : 2;
}

/* By majority; UNKNOWN: none. */
static uint32_t majority(const atl_reach_round *r, const atl_reach_votes *v) {
    if (v->yes >= quorum(r) && v->yes > v->no) {
        return ATLAS_REACH_PUBLIC;
    }
    if (v->no >= quorum(r) && v->no > v->yes) {
        return ATLAS_REACH_PRIVATE;
    }
    return ATLAS_REACH_UNKNOWN;
}

/* The same before the end. What came from addresses that were never met is proof enough; anything
 * else waits for those that may still turn it: where nothing did, one that dials from two addresses
 * may. */
static uint32_t majority_early(const atl_reach_round *r, const atl_reach_votes *v) {
    uint32_t verdict = majority(r, v);

    if (verdict == ATLAS_REACH_PUBLIC && v->strong < quorum(r) &&
        (v->yes <= v->no + v->waiting || (v->strong == 0 && v->waiting > 0))) {
        return ATLAS_REACH_UNKNOWN;
    }
    if (verdict == ATLAS_REACH_PRIVATE && v->no <= v->yes + v->open) {
        return ATLAS_REACH_UNKNOWN;
    }
    return verdict;
}

static uint32_t former(const atl_reach_round *r, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < r->n_kept; i++) {
        if (atl_addr_equal(&r->kept[i].addr, addr)) {
            return r->kept[i].verdict;
        }
    }
    return ATLAS_REACH_UNKNOWN;
}

/* Nothing was known when the round began, and it takes its time: those that are silent are waited
 * for no longer. */
static int is_late(const atl_reach_round *r) {
    return r->was == ATLAS_REACH_UNKNOWN &&
           r->reach->config.loop->now >= r->started + ATL_REACH_ALONE;
}

/* The word of a server that the application has named, when no other has found anything: records
 * that anybody can publish, of servers that do not answer, must not keep a node from knowing. It
 * changes nothing that is known. */
static uint32_t alone(const atl_reach_round *r, size_t c, const atl_reach_votes *v, int final) {
    uint32_t word = v->yes > 0 ? ATLAS_REACH_PUBLIC : ATLAS_REACH_PRIVATE;
    uint32_t before = former(r, &r->candidates[c]);

    if (v->named != 1 || v->yes + v->no != 1 || (r->was != ATLAS_REACH_UNKNOWN && r->was != word) ||
        (before != ATLAS_REACH_UNKNOWN && before != word) ||
        (!final && (v->replied > 0 || !is_late(r)))) {
        return ATLAS_REACH_UNKNOWN;
    }
    return word;
}

/* Whether a candidate without majority may be a public one in truth. */
static int doubtful(const atl_reach_round *r, const atl_reach_votes *v, int final) {
    uint32_t most = v->yes + (is_late(r) ? v->replied : v->open);

    return v->yes > 0 || (!final && most >= quorum(r) && most > v->no);
}

/* Judges every candidate. *fresh 1: a majority of this round bears the family's verdict. */
static uint32_t judge(const atl_reach_round *r, int final, atl_reach_candidate *found, int *fresh) {
    size_t all[3] = {0, 0, 0};
    size_t now_found[3] = {0, 0, 0};
    size_t doubts = 0;
    size_t i;

    for (i = 0; i < r->n_candidates; i++) {
        atl_reach_votes votes;
        uint32_t verdict;

        atl_reach_count(r, i, r->reach->config.loop->now, &votes);
        verdict = final ? majority(r, &votes) : majority_early(r, &votes);
        if (verdict == ATLAS_REACH_UNKNOWN) {
            verdict = alone(r, i, &votes, final);
        }
        now_found[verdict]++;
        doubts += verdict == ATLAS_REACH_UNKNOWN && doubtful(r, &votes, final);
        found[i].addr = r->candidates[i];
        found[i].yes = votes.yes;
        found[i].no = votes.no;
        found[i].verdict = verdict != ATLAS_REACH_UNKNOWN ? verdict : former(r, &r->candidates[i]);
        all[found[i].verdict]++;
    }
    *fresh = now_found[ATLAS_REACH_PUBLIC] > 0 || (now_found[ATLAS_REACH_PRIVATE] > 0 && !doubts);
    if (!*fresh) {
        return r->verdict;
    }
    return all[ATLAS_REACH_PUBLIC] > 0 ? ATLAS_REACH_PUBLIC : ATLAS_REACH_PRIVATE;
}

int atl_reach_judge(atl_reach_round *r, int final) {
    atl_reach_candidate found[ATL_REACH_CANDIDATES];
    uint32_t verdict;
    int changed;
    int fresh;

    memset(found, 0, sizeof(found));
    verdict = judge(r, final, found, &fresh);
    r->settled = (uint8_t)fresh;
    if (!final && !fresh) {
        return 0;
    }
    changed = verdict != r->verdict;
    r->verdict = verdict;
    r->n_kept = r->n_candidates;
    memcpy(r->kept, found, sizeof(found));
    return changed;
}
