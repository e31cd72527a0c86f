#include <string.h>

#include "stun/nat_internal.h"

#define FRESH 0 /* indexes of sockets */
#define FRESH_TOO 1
#define OWN SIZE_MAX

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static int answered(const atl_nat_test *test) {
    return test->done && test->reply.code == ATLAS_OK;
}

static int unanswered(const atl_nat_test *test) {
    return test->done && test->reply.code == ATLAS_ERR_STUN_TIMEOUT;
}

/* ---- single tests ---- */

static void on_reply(void *user, const atl_stun_reply *reply) {
    atl_nat_test *test = user;

    test->txn = NULL;
    test->done = 1;
    test->reply = *reply;
    atl_post_work(test->family->nat->agent->config.loop, &test->family->step);
}

void atl_nat_test_ask(atl_nat_test *test, size_t index, atl_stun_ask *ask) {
    atl_nat_family *f = test->family;
    atl_stun_agent *agent = f->nat->agent;
    int32_t rc;

    test->asked = 1;
    test->done = 0;
    memset(&test->reply, 0, sizeof(test->reply));
    if (index == OWN) {
        test->client = agent->client;
        rc = atl_stun_client_ask(agent->client, ask, on_reply, test, &test->txn);
    } else {
        test->client = f->sockets.client;
        rc = atl_nat_sockets_ask(&f->sockets, index, ask, on_reply, test, &test->txn);
    }
    if (rc != ATLAS_OK) {
        test->txn = NULL;
        test->done = 1;
        test->reply.code = rc;
        atl_post_work(agent->config.loop, &f->step);
    }
}

void atl_nat_test_stop(atl_nat_test *test) {
    if (test->txn != NULL) {
        atl_stun_client_cancel(test->client, test->txn);
        test->txn = NULL;
    }
}

static void ask(atl_nat_family *f, size_t which, size_t index, const atl_addr *remote,
                uint32_t change, const atl_addr *expect) {
    atl_stun_ask what;

    memset(&what, 0, sizeof(what));
    what.remote = *remote;
    what.deadline = f->nat->agent->config.loop->now + f->nat->config.timeout;
    what.change = change;
    if (expect != NULL) {
        what.expect = *expect;
    }
    atl_nat_test_ask(&f->tests[which], index, &what);
}

/* ---- what the servers say ---- */

void atl_nat_family_saw(atl_nat_family *f, size_t server, const atl_addr *asked,
                        const atl_addr *local, const atl_addr *reflexive) {
    atl_nat_observation *o;

    if (f->seen_count >= f->seen_cap) {
        return;
    }
    o = &f->seen[f->seen_count++];
    o->server = server;
    o->asked = *asked;
    o->local = *local;
    o->reflexive = *reflexive;
}

/* Where the answer came in; a system that does not say that is asked for the way to the server. */
static atl_addr local_of(const atl_nat_family *f, const atl_stun_reply *reply) {
    atl_addr local = reply->local;

    if (atl_addr_is_unspecified(&local)) {
        (void)atl_stun_local_for(f->nat->agent, &reply->remote, &local);
    }
    return local;
}

/* A server on the network has no business to send us to our own host or into the local network. */
static int acceptable(const atl_addr *addr, const atl_addr *server) {
    return addr->family == server->family && addr->port != 0 && !atl_addr_is_unspecified(addr) &&
           !atl_addr_is_multicast(addr) && !atl_addr_is_link_local(addr) &&
           (!atl_addr_is_loopback(addr) || atl_addr_is_loopback(server)) &&
           (!atl_addr_is_private(addr) || atl_addr_is_private(server));
}

static int usable(const atl_addr *other, const atl_addr *server) {
    return acceptable(other, server) && other->port != server->port && !same_ip(other, server);
}

static void begin_tests(atl_nat_family *f, const atl_stun_reply *reply) {
    atl_addr ip;

    f->stage = ATL_NAT_STAGE_TESTING;
    f->server = reply->remote;
    f->other = reply->other;
    f->local = local_of(f, reply);
    f->reflexive = reply->reflexive;
    ip = f->other;
    ip.port = f->server.port;
    ask(f, ATL_NAT_MAP_IP, OWN, &ip, 0, NULL);
    ask(f, ATL_NAT_MAP_BOTH, OWN, &f->other, 0, NULL);
    if (atl_nat_sockets_open(&f->sockets, FRESH, f->facts.family) == ATLAS_OK) {
        ask(f, ATL_NAT_FRESH, FRESH, &f->server, 0, NULL);
    }
    if (atl_nat_sockets_open(&f->sockets, FRESH_TOO, f->facts.family) == ATLAS_OK) {
        ask(f, ATL_NAT_FRESH_TOO, FRESH_TOO, &f->server, 0, NULL);
    }
}

void atl_nat_family_answer(atl_nat_family *f, size_t server, const atl_stun_reply *reply) {
    atl_addr local;

    f->tried = 1;
    if (reply->code != ATLAS_OK) {
        if (f->facts.code != ATLAS_OK) {
            f->facts.code = reply->code;
        }
        return;
    }
    local = local_of(f, reply);
    f->facts.code = ATLAS_OK;
    if (f->reflexive.family == 0) {
        f->local = local;
        f->reflexive = reply->reflexive;
    }
    atl_nat_family_saw(f, server, &reply->remote, &local, &reply->reflexive);
    if (f->stage == ATL_NAT_STAGE_ASKING && reply->other.family != 0 &&
        usable(&reply->other, &reply->remote)) {
        begin_tests(f, reply);
    }
}

/* ---- mapping ---- */

static void note_preservation(atl_nat_family *f) {
    if (f->reflexive.family != 0) {
        f->facts.preserved = f->reflexive.port == f->local.port ? ATLAS_NAT_YES : ATLAS_NAT_NO;
    }
}

/* RFC 5780 section 4.3. 0 when the other address did not answer. */
static int mapping_by_tests(atl_nat_family *f) {
    const atl_nat_test *ip = &f->tests[ATL_NAT_MAP_IP];
    const atl_nat_test *both = &f->tests[ATL_NAT_MAP_BOTH];
    const atl_nat_test *any = answered(ip) ? ip : both;
    uint32_t mapping;

    if (!answered(any)) {
        return 0;
    }
    if (atl_addr_equal(&any->reply.reflexive, &f->reflexive) &&
        (!answered(both) || atl_addr_equal(&both->reply.reflexive, &f->reflexive))) {
        mapping = ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT;
    } else if (answered(ip) && answered(both) &&
               !atl_addr_equal(&ip->reply.reflexive, &both->reply.reflexive)) {
        mapping = ATLAS_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
    } else {
        mapping = ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT;
    }
    f->facts.mapping = mapping;
    f->facts.method = ATLAS_NAT_METHOD_RFC5780;
    return 1;
}

/* What two servers of different addresses see, both asked from the same local address. */
static void mapping_by_servers(atl_nat_family *f) {
    uint32_t mapping = ATLAS_NAT_MAPPING_UNKNOWN;
    size_t i;
    size_t j;

    for (i = 0; i < f->seen_count; i++) {
        for (j = 0; j < i; j++) {
            const atl_nat_observation *a = &f->seen[i];
            const atl_nat_observation *b = &f->seen[j];
            int same = atl_addr_equal(&a->reflexive, &b->reflexive);
            uint32_t says = ATLAS_NAT_MAPPING_UNKNOWN;

            if (!atl_addr_equal(&a->local, &b->local) || atl_addr_equal(&a->asked, &b->asked)) {
                continue;
            }
            if (!same) {
                says = same_ip(&a->asked, &b->asked) ? ATLAS_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT
                                                     : ATLAS_NAT_MAPPING_ADDRESS_DEPENDENT;
            } else if (!same_ip(&a->asked, &b->asked)) {
                says = ATLAS_NAT_MAPPING_ENDPOINT_INDEPENDENT;
            }
            mapping = says > mapping ? says : mapping;
        }
    }
    if (mapping != ATLAS_NAT_MAPPING_UNKNOWN) {
        f->facts.mapping = mapping;
        f->facts.method = ATLAS_NAT_METHOD_SERVERS;
    }
}

static void judge_mapping(atl_nat_family *f) {
    if (f->facts.code != ATLAS_OK || (f->known & ATL_NAT_NEWS_MAPPING) != 0) {
        return;
    }
    note_preservation(f);
    if (atl_addr_equal(&f->reflexive, &f->local)) {
        f->facts.mapping = ATLAS_NAT_MAPPING_NONE;
    } else if (!mapping_by_tests(f)) {
        mapping_by_servers(f);
    }
    atl_nat_tell(f, ATL_NAT_NEWS_MAPPING);
}

/* ---- filtering and hairpinning ---- */

static void ask_filtering(atl_nat_family *f) {
    atl_addr port = f->server;

    if (!answered(&f->tests[ATL_NAT_FRESH]) || f->tests[ATL_NAT_FILTER_BOTH].asked) {
        return;
    }
    port.port = f->other.port;
    ask(f, ATL_NAT_FILTER_BOTH, FRESH, &f->server, ATL_STUN_CHANGE_IP | ATL_STUN_CHANGE_PORT,
        &f->other);
    ask(f, ATL_NAT_FILTER_PORT, FRESH, &f->server, ATL_STUN_CHANGE_PORT, &port);
}

/* Both write to the outside of the other, so that no filter is in the way. */
static void ask_hairpinning(atl_nat_family *f) {
    const atl_nat_test *a = &f->tests[ATL_NAT_FRESH];
    const atl_nat_test *b = &f->tests[ATL_NAT_FRESH_TOO];

    if (!answered(a) || !answered(b) || f->tests[ATL_NAT_HAIRPIN].asked ||
        atl_addr_equal(&a->reply.reflexive, &a->reply.local) ||
        !acceptable(&a->reply.reflexive, &f->server) ||
        !acceptable(&b->reply.reflexive, &f->server)) {
        return;
    }
    ask(f, ATL_NAT_HAIRPIN, FRESH, &b->reply.reflexive, 0, NULL);
    ask(f, ATL_NAT_HAIRPIN_TOO, FRESH_TOO, &a->reply.reflexive, 0, NULL);
}

static void on_looped(void *user, size_t index) {
    atl_nat_family *f = user;
    size_t i;

    (void)index;
    f->facts.hairpinning = ATLAS_NAT_YES;
    for (i = ATL_NAT_HAIRPIN; i <= ATL_NAT_HAIRPIN_TOO; i++) {
        atl_nat_test_stop(&f->tests[i]);
        f->tests[i].done = 1;
    }
    atl_post_work(f->nat->agent->config.loop, &f->step);
}

/* RFC 5780 section 4.4. Silence says something only when the other address is known to be alive. */
static void judge_filtering(atl_nat_family *f) {
    const atl_nat_test *both = &f->tests[ATL_NAT_FILTER_BOTH];
    const atl_nat_test *port = &f->tests[ATL_NAT_FILTER_PORT];
    int alive = answered(&f->tests[ATL_NAT_MAP_IP]) || answered(&f->tests[ATL_NAT_MAP_BOTH]);
    uint32_t filtering = ATLAS_NAT_FILTERING_UNKNOWN;

    if ((f->known & ATL_NAT_NEWS_FILTERING) != 0 || !both->asked) {
        return;
    }
    if (answered(both)) {
        filtering = atl_addr_equal(&f->reflexive, &f->local)
                        ? ATLAS_NAT_FILTERING_NONE
                        : ATLAS_NAT_FILTERING_ENDPOINT_INDEPENDENT;
    } else if (answered(port) && unanswered(both) && alive) {
        filtering = ATLAS_NAT_FILTERING_ADDRESS_DEPENDENT;
    } else if (unanswered(port) && unanswered(both) && alive) {
        filtering = ATLAS_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    }
    f->facts.filtering = filtering;
    atl_nat_tell(f, ATL_NAT_NEWS_FILTERING);
}

static void judge_hairpinning(atl_nat_family *f) {
    const atl_nat_test *a = &f->tests[ATL_NAT_HAIRPIN];

    if ((f->known & ATL_NAT_NEWS_HAIRPINNING) != 0 || !a->asked) {
        return;
    }
    if (f->facts.hairpinning == ATLAS_NAT_UNKNOWN) {
        f->facts.hairpinning = ATLAS_NAT_NO;
    }
    atl_nat_tell(f, ATL_NAT_NEWS_HAIRPINNING);
}

/* ---- the order of things ---- */

/* 1 when none of the tests from..to, which were asked, is without end. */
static int ended(const atl_nat_family *f, size_t from, size_t to) {
    size_t i;

    for (i = from; i <= to; i++) {
        if (f->tests[i].asked && !f->tests[i].done) {
            return 0;
        }
    }
    return 1;
}

static void note_others(atl_nat_family *f) {
    size_t i;

    for (i = ATL_NAT_MAP_IP; i <= ATL_NAT_MAP_BOTH; i++) {
        const atl_stun_reply *reply = &f->tests[i].reply;

        if (answered(&f->tests[i])) {
            atl_addr local = local_of(f, reply);

            atl_nat_family_saw(f, SIZE_MAX, &reply->remote, &local, &reply->reflexive);
        }
    }
}

static void step_tests(atl_nat_family *f) {
    int all;

    ask_filtering(f);
    ask_hairpinning(f);
    all = ended(f, 0, ATL_NAT_TESTS - 1);
    if (ended(f, ATL_NAT_MAP_IP, ATL_NAT_MAP_BOTH) &&
        (answered(&f->tests[ATL_NAT_MAP_IP]) || answered(&f->tests[ATL_NAT_MAP_BOTH]))) {
        judge_mapping(f);
    }
    if (ended(f, ATL_NAT_HAIRPIN, ATL_NAT_HAIRPIN_TOO)) {
        judge_hairpinning(f);
    }
    if (all) {
        note_others(f);
        judge_filtering(f);
        atl_nat_sockets_close(&f->sockets);
        f->stage = ATL_NAT_STAGE_TESTED;
    }
}

static void finish(atl_nat_family *f) {
    f->stage = ATL_NAT_STAGE_OVER;
    if (f->tried) {
        atl_nat_tell(f, ATL_NAT_NEWS_RESULT);
    } else {
        /* nobody was asked over it: nothing is told, but the end may be due */
        atl_post_event(f->nat->agent->config.loop, &f->event);
    }
}

void atl_nat_family_step(atl_nat_family *f) {
    int all_asked = f->nat->probe == NULL;

    if (f->stage == ATL_NAT_STAGE_TESTING) {
        step_tests(f);
    }
    if (f->stage == ATL_NAT_STAGE_ASKING && all_asked) {
        f->stage = ATL_NAT_STAGE_TESTED;
    }
    if (f->stage == ATL_NAT_STAGE_TESTED && all_asked) {
        judge_mapping(f);
        f->stage = ATL_NAT_STAGE_LIFETIME;
        if (!atl_nat_lifetime_begin(f)) {
            finish(f);
        }
    } else if (f->stage == ATL_NAT_STAGE_LIFETIME && atl_nat_lifetime_step(f)) {
        atl_nat_sockets_close(&f->sockets);
        finish(f);
    }
}

static void on_step(atl_task *task) {
    atl_nat_family_step(task->user);
}

void atl_nat_family_init(atl_nat_family *f, atlas_nat *nat, uint8_t family) {
    size_t i;

    f->nat = nat;
    f->facts.family = family;
    f->facts.code = ATLAS_ERR_STUN_TIMEOUT;
    atl_task_init(&f->step, on_step, f);
    atl_nat_sockets_init(&f->sockets, nat->agent, on_looped, f);
    for (i = 0; i < ATL_NAT_TESTS; i++) {
        f->tests[i].family = f;
    }
    atl_nat_lifetime_init(f);
}

void atl_nat_family_stop(atl_nat_family *f) {
    size_t i;

    atl_task_cancel(&f->step);
    atl_task_cancel(&f->event);
    for (i = 0; i < ATL_NAT_TESTS; i++) {
        atl_nat_test_stop(&f->tests[i]);
    }
    atl_nat_lifetime_stop(f);
    atl_nat_sockets_close(&f->sockets);
}
