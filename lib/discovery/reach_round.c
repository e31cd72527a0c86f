#include "discovery/reach_impl.h"

#include <string.h>

/* The server repeats its datagrams for 600 ms; whatever has not come some time after the last one
 * does not come. The margin is the time that the answer took, within these. */
#define REPEATED_FOR (600 * ATL_MS)
#define MARGIN_MIN (300 * ATL_MS)
#define MARGIN_MAX ATL_SECOND
/* Other servers are asked in place of the silent ones until this age of a part. */
#define ASK_UNTIL (3 * ATL_SECOND)
/* With nothing to try, the observed addresses that come this long after the first are waited for.
 */
#define OBSERVE_FOR (250 * ATL_MS)
#define OBSERVED_MAX 4 /* of them, before the candidates that are known otherwise */

static uint64_t now_of(const atl_reach_round *r) {
    return r->reach->config.loop->now;
}

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* ---- whom and what to ask ---- */

/* Independent servers are told apart by their networks. */
static int same_group(const atl_addr *a, const atl_addr *b) {
    return memcmp(a->ip, b->ip, a->family == 4 ? 3 : 6) == 0;
}

static void add_known(atl_reach_round *r, const atl_reach_server *server) {
    atl_reach_known *k = &r->known[r->n_known];
    size_t i;

    for (i = 0; i < r->n_known; i++) {
        if (atl_peer_id_equal(&r->known[i].server.peer, &server->peer) ||
            atl_addr_equal(&r->known[i].server.addr, &server->addr)) {
            return; /* nobody counts twice */
        }
    }
    memset(k, 0, sizeof(*k));
    k->server = *server;
    for (i = 0; i < r->n_known && !same_group(&r->known[i].server.addr, &server->addr); i++) {
    }
    k->group = (uint8_t)i;
    r->n_known++;
}

static void learn_servers(atl_reach_round *r) {
    const atl_reach_config *config = &r->reach->config;
    atl_reach_server servers[2 * ATL_REACH_KNOWN];
    size_t n = config->servers(config->user, servers, ATL_COUNT(servers));
    size_t groups = 0;
    size_t i;

    r->n_known = 0;
    for (i = 0; i < n && i < ATL_COUNT(servers) && r->n_known < ATL_REACH_KNOWN; i++) {
        if (servers[i].addr.family == r->family && servers[i].addr.port != 0) {
            add_known(r, &servers[i]);
        }
    }
    for (i = 0; i < r->n_known; i++) {
        groups += r->known[i].group == i;
    }
    r->by_group = groups >= 3;
}

static void add_candidate(atl_reach_round *r, const atl_addr *addr) {
    size_t i;

    if (addr->family != r->family || addr->port == 0 || r->n_candidates == ATL_REACH_CANDIDATES) {
        return;
    }
    for (i = 0; i < r->n_candidates; i++) {
        if (atl_addr_equal(&r->candidates[i], addr)) {
            return;
        }
    }
    r->candidates[r->n_candidates++] = *addr;
}

static void learn_candidates(atl_reach_round *r) {
    const atl_reach_config *config = &r->reach->config;
    atl_addr addrs[ATL_REACH_CANDIDATES];
    size_t n = config->candidates(config->user, r->family, addrs, ATL_COUNT(addrs));
    size_t i;

    r->n_own = n;
    r->n_candidates = 0;
    for (i = 0; i < r->n_learned && i < OBSERVED_MAX; i++) {
        add_candidate(r, &r->learned[i]);
    }
    for (i = 0; i < n && i < ATL_COUNT(addrs); i++) {
        add_candidate(r, &addrs[i]);
    }
}

/* ---- asking ---- */

static void on_done(void *user, int32_t code, const uint8_t *body, size_t len, const char *text);

static int32_t send_ask(atl_reach_round *r, atl_reach_ask *ask) {
    const atl_reach_config *config = &r->reach->config;
    uint8_t body[ATL_DIALBACK_BODY_MAX];
    atl_dialback_request msg;
    size_t len;
    int32_t rc;

    memset(&msg, 0, sizeof(msg));
    msg.n_candidates = r->n_candidates;
    memcpy(msg.candidates, r->candidates, sizeof(r->candidates));
    rc = atl_random(config->loop->env, ask->nonce, sizeof(ask->nonce));
    if (rc != ATLAS_OK) {
        return rc;
    }
    memcpy(msg.nonce, ask->nonce, sizeof(msg.nonce));
    rc = atl_dialback_request_encode(&msg, body, sizeof(body), &len);
    if (rc != ATLAS_OK) {
        return rc;
    }
    return config->ask(config->user, &r->known[ask->known].server, body, len, ATL_REACH_TIMEOUT,
                       on_done, ask, &ask->request);
}

static void useless(atl_reach_ask *ask, int32_t code) {
    ask->state = ATL_REACH_USELESS;
    ask->code = code;
}

static void begin_ask(atl_reach_round *r, size_t known) {
    atl_reach_ask *ask = &r->asks[r->n_asks];
    size_t i;
    int32_t rc;

    /* with one voice for a group, the one that was silent has lost it */
    for (i = 0; i < r->n_asks && r->by_group; i++) {
        if (r->known[r->asks[i].known].group == r->known[known].group) {
            r->asks[i].spare = 1;
        }
    }
    memset(ask, 0, sizeof(*ask));
    ask->round = r;
    ask->known = (uint8_t)known;
    ask->state = ATL_REACH_ASKED;
    ask->at = now_of(r);
    r->known[known].asked = 1;
    r->n_asks++;
    rc = send_ask(r, ask);
    if (rc != ATLAS_OK) {
        ask->request = NULL;
        useless(ask, rc);
    }
}

/* How many servers of a group were asked; -1: one of them is good, or may become so, and no other
 * counts. */
static int group_load(const atl_reach_round *r, uint8_t group) {
    int load = 0;
    size_t i;

    for (i = 0; i < r->n_asks; i++) {
        if (r->known[r->asks[i].known].group != group) {
            continue;
        }
        if (r->by_group && r->asks[i].state != ATL_REACH_USELESS) {
            return -1;
        }
        load++;
    }
    return load;
}

/* The next to ask: of networks that were asked least, those that have not been silent first, in the
 * owner's order. n_known: none. */
static size_t choose(const atl_reach_round *r) {
    size_t best = r->n_known;
    int best_rank = 0;
    size_t i;

    for (i = 0; i < r->n_known; i++) {
        int load = group_load(r, r->known[i].group);
        int rank = load + (r->known[i].mute ? 2 * ATL_REACH_KNOWN : 0);

        if (!r->known[i].asked && load >= 0 && (best == r->n_known || rank < best_rank)) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

/* Asks as many servers at once as a round does, and others in place of those that fail or let one
 * wait. */
static void ask_more(atl_reach_round *r) {
    uint64_t now = now_of(r);
    size_t good = 0;
    size_t i;

    for (i = 0; i < r->n_asks; i++) {
        const atl_reach_ask *ask = &r->asks[i];

        good += ask->state == ATL_REACH_REPLIED ||
                (ask->state == ATL_REACH_ASKED && now < ask->at + ATL_REACH_PATIENCE);
    }
    if (r->settled || now >= r->begun + ASK_UNTIL || (r->n_asks > 0 && good >= ATL_REACH_NEEDED)) {
        return;
    }
    while (good < ATL_REACH_SERVERS && r->n_asks < ATL_REACH_ASKS) {
        size_t next = choose(r);

        if (next == r->n_known) {
            return;
        }
        begin_ask(r, next);
        good += r->asks[r->n_asks - 1].state == ATL_REACH_ASKED;
    }
}

/* ---- answers ---- */

static void take_reply(atl_reach_ask *ask, const atl_dialback_reply *reply) {
    atl_reach_round *r = ask->round;
    uint64_t now = now_of(r);
    uint64_t margin = now - ask->at;

    margin = margin < MARGIN_MIN ? MARGIN_MIN : margin > MARGIN_MAX ? MARGIN_MAX : margin;
    ask->state = ATL_REACH_REPLIED;
    ask->code = ATLAS_OK;
    ask->reply = *reply;
    ask->decided_at = now + REPEATED_FOR + margin;
    r->known[ask->known].answered = 1;
    if (r->replied_at == 0) {
        r->replied_at = now;
    }
}

static void on_done(void *user, int32_t code, const uint8_t *body, size_t len, const char *text) {
    atl_reach_ask *ask = user;
    atl_reach_round *r = ask->round;
    atl_dialback_reply reply;

    (void)text;
    ask->request = NULL;
    if (!r->on || ask->state != ATL_REACH_ASKED) {
        return;
    }
    if (code != ATLAS_OK) {
        useless(ask, code);
        r->known[ask->known].failed = code != ATLAS_ERR_RATE_LIMITED;
    } else if (atl_dialback_reply_decode(body, len, &reply) != ATLAS_OK ||
               reply.n_results != r->n_candidates) {
        useless(ask, ATLAS_ERR_BOOTSTRAP);
        r->known[ask->known].failed = 1;
    } else {
        take_reply(ask, &reply);
    }
    atl_reach_step(r);
}

static void drop_request(atl_reach_ask *ask) {
    const atl_reach_config *config = &ask->round->reach->config;
    void *request = ask->request;

    ask->request = NULL;
    if (request != NULL) {
        config->cancel(config->user, request);
    }
}

static void expire(atl_reach_round *r) {
    size_t i;

    for (i = 0; i < r->n_asks; i++) {
        atl_reach_ask *ask = &r->asks[i];

        if (ask->state == ATL_REACH_ASKED && now_of(r) >= ask->at + ATL_REACH_TIMEOUT) {
            drop_request(ask);
            useless(ask, ATLAS_ERR_TIMEOUT);
            r->known[ask->known].failed = 1;
        }
    }
}

/* ---- datagrams ---- */

static uint8_t kind_of(const atl_reach_round *r, const atl_reach_ask *ask, const atl_addr *from) {
    const atl_reach_config *config = &r->reach->config;
    size_t i;

    for (i = 0; i < r->n_known; i++) {
        if (atl_addr_equal(&r->known[i].server.addr, from)) {
            return 0; /* asked there, or about to be: it proves nothing */
        }
    }
    if (same_ip(&r->known[ask->known].server.addr, from)) {
        return ATL_REACH_GOT_PORT;
    }
    for (i = 0; i < r->n_known; i++) {
        if (same_ip(&r->known[i].server.addr, from)) {
            return ATL_REACH_GOT_MET;
        }
    }
    return config->has_met(config->user, from) ? ATL_REACH_GOT_MET : ATL_REACH_GOT_ADDRESS;
}

int atl_reach_datagram(atl_reach_round *r, const atl_rx *rx,
                       const uint8_t nonce[ATL_DIALBACK_NONCE], uint8_t index) {
    size_t i;

    for (i = 0; i < r->n_asks && r->on; i++) {
        atl_reach_ask *ask = &r->asks[i];
        uint8_t kind;

        if (memcmp(ask->nonce, nonce, sizeof(ask->nonce)) != 0) {
            continue;
        }
        if (index >= r->n_candidates || rx->remote.family != r->family || rx->remote.port == 0) {
            return 1;
        }
        kind = kind_of(r, ask, &rx->remote);
        if (kind > ask->got[index]) {
            ask->sources[index] = rx->remote;
        }
        if ((ask->got[index] & kind) != kind) {
            ask->got[index] |= kind;
            atl_reach_step(r);
        }
        return 1;
    }
    return 0;
}

/* ---- addresses that servers have observed ---- */

/* 2: this machine, 1: a private network, 0: the rest. */
static int scope(const atl_addr *addr) {
    return atl_addr_is_loopback(addr) ? 2 : atl_addr_is_private(addr) ? 1 : 0;
}

/* An address that strangers could write to: those of the server's own network, where that is a
 * private one. */
static int usable(const atl_reach_round *r, const atl_reach_ask *ask) {
    const atl_addr *addr = &ask->reply.observed;

    return addr->family == r->family && addr->port != 0 &&
           scope(addr) <= scope(&r->known[ask->known].server.addr) &&
           !atl_addr_is_link_local(addr) && !atl_addr_is_unspecified(addr) &&
           !atl_addr_is_multicast(addr);
}

static int was_tried(const atl_reach_round *r, const atl_addr *addr) {
    size_t i;

    for (i = 0; i < r->n_candidates; i++) {
        if (atl_addr_equal(&r->candidates[i], addr)) {
            return 1;
        }
    }
    return 0;
}

static size_t said_by(const atl_reach_round *r, const atl_addr *addr) {
    size_t count = 0;
    size_t i;

    for (i = 0; i < r->n_asks; i++) {
        count += r->asks[i].state == ATL_REACH_REPLIED &&
                 atl_addr_equal(&r->asks[i].reply.observed, addr);
    }
    return count;
}

/* Those that at least `least` servers have said, the most often said first. */
static void learn_observed(atl_reach_round *r, size_t least) {
    size_t times;
    size_t i;
    size_t j;

    r->n_learned = 0;
    for (times = r->n_asks; times >= least && times > 0; times--) {
        for (i = 0; i < r->n_asks; i++) {
            const atl_addr *addr = &r->asks[i].reply.observed;

            if (r->asks[i].state != ATL_REACH_REPLIED || !usable(r, &r->asks[i]) ||
                said_by(r, addr) != times || r->n_learned == ATL_REACH_CANDIDATES) {
                continue;
            }
            for (j = 0; j < r->n_learned && !atl_addr_equal(&r->learned[j], addr); j++) {
            }
            if (j == r->n_learned) {
                r->learned[r->n_learned++] = *addr;
            }
        }
    }
}

/* Nothing that was asked was of the address that the servers see: what they see is to be tried. */
static int in_vain(const atl_reach_round *r) {
    int untried = 0;
    size_t i;
    size_t c;

    for (i = 0; i < r->n_asks; i++) {
        const atl_reach_ask *ask = &r->asks[i];

        for (c = 0; c < r->n_candidates; c++) {
            if (ask->got[c] != 0 || (ask->state == ATL_REACH_REPLIED &&
                                     ask->reply.results[c] != ATL_DIALBACK_NOT_YOURS)) {
                return 0;
            }
        }
        untried |= ask->state == ATL_REACH_REPLIED && usable(r, ask) &&
                   !was_tried(r, &ask->reply.observed);
    }
    return untried;
}

/* ---- the course of a round ---- */

static void begin_part(atl_reach_round *r, uint8_t part) {
    r->part = part;
    r->settled = 0;
    r->begun = now_of(r);
    r->replied_at = 0;
    r->n_asks = 0;
    learn_candidates(r);
    ask_more(r);
}

int atl_reach_begin(atl_reach_round *r) {
    learn_servers(r);
    r->n_asks = 0;
    if (r->n_known == 0) {
        return 0;
    }
    r->on = 1;
    r->was = r->verdict;
    r->started = now_of(r);
    begin_part(r, 1);
    return 1;
}

static void drop_requests(atl_reach_round *r) {
    size_t i;

    for (i = 0; i < r->n_asks; i++) {
        drop_request(&r->asks[i]);
    }
}

void atl_reach_abort(atl_reach_round *r) {
    r->on = 0;
    drop_requests(r);
}

static void begin_second_part(atl_reach_round *r) {
    size_t i;

    learn_observed(r, 1);
    for (i = 0; i < r->n_asks; i++) {
        r->known[r->asks[i].known].mute = r->asks[i].state != ATL_REACH_REPLIED;
    }
    for (i = 0; i < r->n_known; i++) {
        r->known[i].asked = 0;
    }
    drop_requests(r);
    begin_part(r, 2);
}

static uint64_t sooner(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* When something is to be done next; ATLAS_NO_DEADLINE: nothing is open any more. */
static uint64_t next_time(const atl_reach_round *r) {
    uint64_t now = now_of(r);
    uint64_t next = ATLAS_NO_DEADLINE;
    size_t i;
    size_t c;

    for (i = 0; i < r->n_asks; i++) {
        const atl_reach_ask *ask = &r->asks[i];
        uint64_t patience = ask->at + ATL_REACH_PATIENCE;
        int open = 0;

        if (ask->state == ATL_REACH_ASKED) {
            next = sooner(next, now < patience ? patience : ask->at + ATL_REACH_TIMEOUT);
        }
        for (c = 0; c < r->n_candidates && ask->state == ATL_REACH_REPLIED && !open; c++) {
            (void)atl_reach_vote(ask, c, now, &open);
        }
        next = open ? sooner(next, ask->decided_at) : next;
    }
    return next == ATLAS_NO_DEADLINE || now >= r->started + ATL_REACH_ALONE
               ? next
               : sooner(next, r->started + ATL_REACH_ALONE);
}

/* Where nobody has answered it was this node's network. */
static void tell_servers(const atl_reach_round *r) {
    const atl_reach_config *config = &r->reach->config;
    size_t answers = 0;
    size_t i;

    for (i = 0; i < r->n_known; i++) {
        answers += r->known[i].answered;
    }
    for (i = 0; i < r->n_known && config->on_server != NULL && answers > 0; i++) {
        const atl_reach_known *k = &r->known[i];

        if (k->answered || k->failed) {
            config->on_server(config->user, &k->server, k->answered);
        }
    }
}

static void finish(atl_reach_round *r) {
    int changed = atl_reach_judge(r, 1);

    r->on = 0;
    drop_requests(r);
    /* addresses of a NAT that gives each server another one are only tried for want of better */
    learn_observed(r, r->part == 2 || r->n_own == 0 ? 1 : 2);
    tell_servers(r);
    atl_reach_over(r, changed);
}

void atl_reach_step(atl_reach_round *r) {
    uint64_t next;

    if (!r->on) {
        return;
    }
    expire(r);
    ask_more(r);
    next = next_time(r);
    if (r->part == 1 && in_vain(r)) {
        if (next == ATLAS_NO_DEADLINE || now_of(r) >= r->replied_at + OBSERVE_FOR) {
            begin_second_part(r);
            next = next_time(r);
        } else {
            next = sooner(next, r->replied_at + OBSERVE_FOR);
        }
    }
    if (next == ATLAS_NO_DEADLINE) {
        finish(r);
        return;
    }
    if (atl_reach_judge(r, 0)) {
        atl_reach_tell(r, 1);
    }
    atl_timer_set(r->reach->config.loop, &r->timer, next);
}
