/* Lists and samples by offer; and the whole store against a simple model of its rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <atlas/discovery.h>

#include <string.h>

#include "testenv.h"

#include "storetest.h"

static void put_offer(world *w, uint32_t peer, uint64_t seq, uint32_t offers, uint64_t seconds) {
    storetest_put p;

    storetest_fill(&p, peer, seq, 0, LEN);
    p.head.offers = offers;
    p.put.verified = 1;
    p.put.expires = w->now + seconds * SEC;
    assert_int_equal(atl_record_store_put(w->store, &p.put, w->now), ATLAS_OK);
}

static uint32_t peer_of(const atl_record_view *view) {
    uint32_t n;

    memcpy(&n, view->peer.key, sizeof(n));
    return n;
}

/* All pages of an offer; the peers in order. */
static size_t pages(world *w, uint32_t offer, size_t page, uint32_t *out, size_t cap) {
    atl_record_view views[16];
    uint64_t after = 0;
    size_t total = 0;
    size_t n;

    assert_true(page <= ATL_COUNT(views));
    do {
        n = atl_record_store_list(w->store, offer, after, w->now, views, page);
        assert_true(n <= page);
        for (size_t i = 0; i < n; i++) {
            assert_true(views[i].number > after);
            assert_true((views[i].offers & offer) != 0);
            after = views[i].number;
            assert_true(total < cap);
            out[total++] = peer_of(&views[i]);
        }
    } while (n == page);
    return total;
}

static void lists_by_offer(void **state) {
    static const struct {
        uint32_t offer, expect;
        uint32_t peers[6];
    } rows[] = {
        {ATLAS_OFFER_RELAY, 4, {1, 3, 5, 7}},
        {ATLAS_OFFER_BOOTSTRAP, 4, {2, 3, 6, 7}},
        {ATLAS_OFFER_DIALBACK, 4, {4, 5, 6, 7}},
        {0, 0, {0}},
        {3, 0, {0}}, /* one bit */
        {8, 0, {0}}, /* a bit that nobody lists */
    };
    world w;
    uint32_t got[16];

    (void)state;
    world_init(&w, 100, 100);
    for (uint32_t i = 0; i < 9; i++) {
        put_offer(&w, i, 1, i, 3600);
    }
    assert_int_equal(view_of(&w, 0).number, 0);
    assert_int_equal(view_of(&w, 8).offers, 8); /* kept all the same */
    assert_int_equal(view_of(&w, 8).number, 0);
    for (size_t i = 0; i < ATL_COUNT(rows); i++) {
        for (size_t page = 1; page <= 5; page++) {
            assert_int_equal(pages(&w, rows[i].offer, page, got, ATL_COUNT(got)), rows[i].expect);
            assert_memory_equal(got, rows[i].peers, rows[i].expect * sizeof(got[0]));
        }
        assert_int_equal(atl_record_store_count(w.store, rows[i].offer), rows[i].expect);
    }
    world_done(&w);
}

static void a_place_is_kept_with_the_offers(void **state) {
    world w;
    uint64_t number;
    uint32_t got[4];

    (void)state;
    world_init(&w, 100, 100);
    put_offer(&w, 1, 1, ATLAS_OFFER_RELAY, 3600);
    put_offer(&w, 2, 1, ATLAS_OFFER_RELAY, 3600);
    put_offer(&w, 3, 1, ATLAS_OFFER_RELAY, 3600);
    number = view_of(&w, 1).number;
    put_offer(&w, 1, 2, ATLAS_OFFER_RELAY | 64, 3600); /* a bit that nobody lists changes nothing */
    assert_int_equal(view_of(&w, 1).number, number);
    assert_int_equal(put_from(&w, 1, 2, 0, 1), ATLAS_ERR_EXISTS);
    assert_int_equal(view_of(&w, 1).number, number);
    put_offer(&w, 1, 3, ATLAS_OFFER_RELAY | ATLAS_OFFER_DIALBACK, 3600);
    assert_true(view_of(&w, 1).number > view_of(&w, 3).number);
    assert_int_equal(pages(&w, ATLAS_OFFER_RELAY, 2, got, 4), 3);
    assert_int_equal(got[2], 1);
    put_offer(&w, 1, 4, 0, 3600);
    assert_int_equal(view_of(&w, 1).number, 0);
    assert_int_equal(atl_record_store_count(w.store, ATLAS_OFFER_RELAY), 2);
    assert_int_equal(atl_record_store_count(w.store, ATLAS_OFFER_DIALBACK), 0);
    assert_true(delete (&w, 2));
    assert_int_equal(pages(&w, ATLAS_OFFER_RELAY, 2, got, 4), 1);
    assert_int_equal(got[0], 3);
    world_done(&w);
}

/* Whoever stays is seen once by somebody who turns pages while others come and go. */
static void pages_while_others_come_and_go(void **state) {
    enum { STAY = 500, GO = 1500 };
    world w;
    uint8_t seen[STAY];
    atl_record_view views[7];
    uint64_t after = 0;
    uint32_t next = STAY + GO;
    size_t n;

    (void)state;
    memset(seen, 0, sizeof(seen));
    world_init(&w, 100000, 100000);
    for (uint32_t i = 0; i < STAY + GO; i++) {
        /* in a mixed order; every fourth stays */
        put_offer(&w, i % 4 == 0 ? i / 4 : STAY + i, 1, ATLAS_OFFER_RELAY, 3600);
    }
    do {
        n = atl_record_store_list(w.store, ATLAS_OFFER_RELAY, after, w.now, views, 7);
        for (size_t i = 0; i < n; i++) {
            uint32_t peer = peer_of(&views[i]);

            after = views[i].number;
            if (peer < STAY) {
                assert_int_equal(seen[peer]++, 0);
            }
        }
        for (size_t i = 0; i < 9; i++) {
            uint32_t peer = STAY + (uint32_t)(testenv_rand(&w.t) % (next - STAY));
            uint32_t stays = (uint32_t)(testenv_rand(&w.t) % STAY);

            (void)delete (&w, peer);
            put_offer(&w, stays, seq_of(&w, stays) + 1, ATLAS_OFFER_RELAY, 3600);
            if (next < 3 * STAY + GO) {
                put_offer(&w, next++ + STAY, 1, ATLAS_OFFER_RELAY, 3600);
            }
        }
    } while (n == 7);
    for (size_t i = 0; i < STAY; i++) {
        assert_int_equal(seen[i], 1);
    }
    world_done(&w);
}

static void the_expired_are_in_no_list(void **state) {
    world w;
    uint32_t got[300];
    atl_record_view views[300];

    (void)state;
    world_init(&w, 1000, 1000);
    for (uint32_t i = 0; i < 300; i++) {
        put_offer(&w, i, 1, ATLAS_OFFER_RELAY, i % 3 == 0 ? 100 : 50);
    }
    pass(&w, 50);
    assert_int_equal(pages(&w, ATLAS_OFFER_RELAY, 16, got, 300), 100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(got[i], i * 3);
    }
    assert_int_equal(
        atl_record_store_sample(w.store, ATLAS_OFFER_RELAY, w.now, views, ATL_COUNT(views)), 100);
    pass(&w, 50);
    assert_int_equal(
        atl_record_store_sample(w.store, ATLAS_OFFER_RELAY, w.now, views, ATL_COUNT(views)), 0);
    world_done(&w);
}

/* Within five standard deviations. */
static int near(double n, double mean) {
    return (n - mean) * (n - mean) <= 25 * mean;
}

/* Every one is drawn about as often as any other, at every place, whatever the share. */
static void samples_are_fair(void **state) {
    enum { ROUNDS = 3000, MOST = 64 };
    static const struct {
        uint32_t there, gone;
        size_t cap, expect;
    } rows[] = {
        {1, 0, 1, 1},    {5, 0, 12, 5},    {12, 3, 12, 12}, {13, 20, 12, 12},
        {50, 3, 12, 12}, {64, 10, 12, 12}, {64, 0, 1, 1},   {0, 5, 12, 0},
    };

    (void)state;
    for (size_t row = 0; row < ATL_COUNT(rows); row++) {
        uint32_t drawn[MOST + 40] = {0};
        uint32_t first[MOST + 40] = {0};
        atl_record_view views[12];
        world w;

        world_init(&w, 1000, 1000);
        w.t.seed = 7 + row;
        for (uint32_t i = 0; i < rows[row].there + rows[row].gone; i++) {
            put_offer(&w, i, 1, ATLAS_OFFER_DIALBACK, 3600);
        }
        for (uint32_t i = 0; i < rows[row].gone; i++) {
            assert_true(delete (&w, rows[row].there + i));
        }
        for (size_t round = 0; round < ROUNDS; round++) {
            size_t n =
                atl_record_store_sample(w.store, ATLAS_OFFER_DIALBACK, w.now, views, rows[row].cap);

            assert_int_equal(n, rows[row].expect);
            for (size_t i = 0; i < n; i++) {
                drawn[peer_of(&views[i])]++;
                for (size_t j = 0; j < i; j++) {
                    assert_int_not_equal(peer_of(&views[i]), peer_of(&views[j]));
                }
            }
            if (n > 0) {
                first[peer_of(&views[0])]++;
            }
        }
        for (uint32_t i = 0; i < rows[row].there; i++) {
            double mean = (double)ROUNDS * (double)rows[row].expect / rows[row].there;
            double mean_first = (double)ROUNDS / rows[row].there;

            assert_true(near(drawn[i], mean));
            assert_true(near(first[i], mean_first));
        }
        assert_int_equal(atl_record_store_sample(w.store, 8, w.now, views, 12), 0);
        assert_int_equal(atl_record_store_sample(w.store, ATLAS_OFFER_DIALBACK, w.now, views, 0),
                         0);
        world_done(&w);
    }
}

static size_t sampled(world *w, uint32_t first, uint32_t end) {
    atl_record_view views[24];
    size_t n = atl_record_store_sample(w->store, ATLAS_OFFER_RELAY, w->now, views, 24);
    size_t found = 0;

    assert_int_equal(n, 24);
    for (size_t i = 0; i < n; i++) {
        found += peer_of(&views[i]) >= first && peer_of(&views[i]) < end;
    }
    return found;
}

static void put_relay(world *w, uint32_t peer, uint32_t source, int verified) {
    storetest_put p;

    storetest_fill(&p, peer, 1, 0, LEN);
    p.source = storetest_v4(source);
    p.head.offers = ATLAS_OFFER_RELAY;
    p.put.verified = (uint8_t)(verified != 0);
    p.put.expires = w->now + 3600 * SEC;
    assert_int_equal(atl_record_store_put(w->store, &p.put, w->now), ATLAS_OK);
}

/* Four honest relays, each with an address of its own, among 250 records from each of one, two or
 * eight addresses, or from one alone among 4,000 honest ones. */
static void samples_no_flood(void **state) {
    static const uint32_t ADDRESSES[] = {1, 2, 8};
    enum { HONEST = 4, EACH = 250, ROUNDS = 200, MANY = 4000 };
    world w;

    (void)state;
    for (size_t row = 0; row < 2 * ATL_COUNT(ADDRESSES); row++) {
        uint32_t liars = ADDRESSES[row / 2];
        int verified = (int)(row % 2);
        size_t found = 0;

        world_init(&w, 10000, 10000);
        for (uint32_t i = 0; i < HONEST; i++) {
            put_relay(&w, i, 100 + i, 1);
        }
        for (uint32_t i = 0; i < liars * EACH; i++) {
            put_relay(&w, HONEST + i, 1 + i % liars, verified);
        }
        for (size_t round = 0; round < ROUNDS; round++) {
            found += sampled(&w, 0, HONEST);
        }
        /* all four where nobody vouches for the others, and nearly so where somebody does */
        assert_in_range(found, verified ? ROUNDS * HONEST * 9 / 10 : ROUNDS * HONEST,
                        ROUNDS * HONEST);
        world_done(&w);
    }
    /* of strangers who have an address for each */
    world_init(&w, 10000, 10000);
    for (uint32_t i = 0; i < HONEST + 2 * EACH; i++) {
        put_relay(&w, i, 100 + i, i < HONEST);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        assert_int_equal(sampled(&w, 0, HONEST), HONEST);
    }
    world_done(&w);
    world_init(&w, 10000, 10000);
    for (uint32_t i = 0; i < MANY; i++) {
        put_relay(&w, i, 100 + i, 1);
    }
    for (uint32_t i = 0; i < EACH; i++) {
        put_relay(&w, MANY + i, 1, 1);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        assert_in_range(sampled(&w, MANY, MANY + EACH), 0, 3);
    }
    world_done(&w);
}

/* Many that have gone, among those that stay: a sample is as large as ever, and so is the index. */
static void gaps_do_not_count(void **state) {
    enum { ALL = 4000, EACH = 40 };
    atl_record_view views[12];
    uint64_t full;
    world w;

    (void)state;
    world_init(&w, ALL, ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        put_offer(&w, i, 1, ATLAS_OFFER_RELAY, 3600);
    }
    full = w.stats->bytes;
    for (uint32_t i = 0; i < ALL; i++) {
        assert_true(i % EACH == 0 || delete (&w, i));
    }
    for (size_t round = 0; round < 100; round++) {
        assert_int_equal(atl_record_store_sample(w.store, ATLAS_OFFER_RELAY, w.now, views, 12), 12);
    }
    assert_true(w.stats->bytes + ALL * 12 + (ALL - ALL / EACH) * LEN < full);
    world_done(&w);
}

/* ---- the rules, once more, as simply as can be ---- */

enum { PEERS = 24, SOURCES = 5, MAX = 12, PER_ADDRESS = 4 };

typedef struct model_entry {
    int there, tombstone, verified;
    uint64_t seq, expires, over, since, number;
    uint32_t source, offers;
    uint8_t text;
} model_entry;

typedef struct model {
    model_entry e[PEERS];
    uint64_t clock, last;
} model;

/* The one that came first of those that `what` says: -1 none. source SOURCES: of any. */
static int model_oldest(const model *m, int tombstones, uint32_t source) {
    int found = -1;

    for (int i = 0; i < PEERS; i++) {
        const model_entry *e = &m->e[i];

        if (e->there && e->tombstone == tombstones && !e->verified &&
            (source == SOURCES || e->source == source) &&
            (found < 0 || e->since < m->e[found].since)) {
            found = i;
        }
    }
    return found;
}

static int model_count(const model *m, uint32_t source) {
    int n = 0;

    for (int i = 0; i < PEERS; i++) {
        n += m->e[i].there && (source == SOURCES || m->e[i].source == source);
    }
    return n;
}

static int32_t model_room(model *m, const model_entry *e, uint32_t source, int verified) {
    int victim;

    if ((!e->there || e->source != source) && model_count(m, source) >= PER_ADDRESS) {
        victim = model_oldest(m, 0, source);
        if (victim < 0) {
            return ATLAS_ERR_RECORD_LIMIT;
        }
        m->e[victim].there = 0;
    }
    if (!e->there && model_count(m, SOURCES) >= MAX) {
        victim = model_oldest(m, 0, SOURCES);
        if (victim < 0 && verified) {
            victim = model_oldest(m, 1, SOURCES);
        }
        if (victim < 0) {
            return ATLAS_ERR_RECORD_LIMIT;
        }
        m->e[victim].there = 0;
    }
    return ATLAS_OK;
}

static int32_t model_put(model *m, uint32_t peer, const model_entry *new) {
    model_entry *e = &m->e[peer];
    int stranger = e->there && e->verified && !new->verified && e->source != new->source;
    model_entry old = *e;

    if (e->there && new->seq <= e->seq) {
        if (new->seq < e->seq || e->tombstone || new->text != e->text) {
            return ATLAS_ERR_RECORD_OLD;
        }
        if (!new->verified && e->source != new->source) {
            return ATLAS_ERR_EXISTS;
        }
        if (model_room(m, e, new->source, new->verified) != ATLAS_OK) {
            return ATLAS_ERR_RECORD_LIMIT;
        }
        e->source = new->source;
        e->verified |= new->verified;
        e->expires = e->expires > new->expires ? e->expires : new->expires;
        e->over = new->over;
        e->since = ++m->clock;
        return ATLAS_ERR_EXISTS;
    }
    if (!stranger && model_room(m, e, new->source, new->verified) != ATLAS_OK) {
        return ATLAS_ERR_RECORD_LIMIT;
    }
    *e = *new;
    e->there = 1;
    e->since = ++m->clock;
    if (old.there && !old.tombstone) {
        e->verified |= old.verified;
        e->number = old.number;
    }
    if (stranger) {
        e->source = old.source;
        e->expires = old.expires < new->expires ? old.expires : new->expires;
    }
    if ((e->offers & 7) == 0) {
        e->number = 0;
    } else if (e->number == 0 || ((old.offers ^ e->offers) & 7) != 0) {
        e->number = ++m->last;
    }
    return ATLAS_OK;
}

static void model_compare(world *w, const model *m) {
    uint64_t counts[2] = {0, 0};
    size_t relays = 0;

    for (uint32_t i = 0; i < PEERS; i++) {
        const model_entry *e = &m->e[i];
        atl_peer_id id = storetest_peer(i);
        atl_record_view view;

        assert_int_equal(seq_of(w, i), e->there ? e->seq : 0);
        assert_int_equal(expires_of(w, i), e->there ? e->expires : 0);
        assert_int_equal(atl_record_store_get(w->store, &id, w->now, &view),
                         e->there && !e->tombstone);
        if (e->there) {
            counts[e->tombstone]++;
        }
        if (e->there && !e->tombstone) {
            assert_int_equal(view.verified, e->verified);
            assert_int_equal(view.data[LEN - 1], e->text);
            assert_int_equal(view.number, e->number);
            assert_int_equal(view.offers, e->offers);
            relays += e->offers & 1;
        }
    }
    assert_int_equal(w->stats->records, counts[0]);
    assert_int_equal(w->stats->tombstones, counts[1]);
    assert_int_equal(atl_record_store_count(w->store, 1), relays);
}

static void model_list(world *w, const model *m) {
    atl_record_view views[PEERS];
    size_t n = atl_record_store_list(w->store, 1, 0, w->now, views, PEERS);

    assert_int_equal(n, atl_record_store_count(w->store, 1));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(views[i].number, m->e[peer_of(&views[i])].number);
        assert_true(i == 0 || views[i].number > views[i - 1].number);
    }
}

static void model_step(world *w, model *m) {
    uint32_t peer = (uint32_t)(testenv_rand(&w->t) % PEERS);
    model_entry *e = &m->e[peer];
    model_entry new;
    storetest_put p;
    uint64_t what = testenv_rand(&w->t) % 20;

    if (what == 0) {
        pass(w, testenv_rand(&w->t) % 40);
        (void)atl_record_store_expire(w->store, w->now, SIZE_MAX);
        for (int i = 0; i < PEERS; i++) {
            m->e[i].there &= m->e[i].expires > w->now;
        }
        return;
    }
    if (what <= 2) {
        assert_int_equal(delete (w, peer), e->there && !e->tombstone);
        if (e->there && !e->tombstone) {
            e->expires = e->over > e->expires ? e->over : e->expires;
            e->tombstone = 1;
            e->verified = 0;
            e->since = ++m->clock;
        }
        return;
    }
    memset(&new, 0, sizeof(new));
    new.seq = (e->there ? e->seq : 3) + testenv_rand(&w->t) % 4 - 1;
    new.text = testenv_rand(&w->t) % 8 == 0;
    new.verified = testenv_rand(&w->t) % 3 == 0;
    new.source = (uint32_t)(testenv_rand(&w->t) % SOURCES);
    new.offers = (uint32_t)(testenv_rand(&w->t) % 16);
    new.expires = w->now + (1 + testenv_rand(&w->t) % 100) * SEC;
    storetest_fill(&p, peer, new.seq, new.text, LEN);
    p.source = new.source < 3 ? storetest_v4(new.source)
                              : storetest_v6((uint8_t) new.source, (uint8_t)(what & 1));
    p.head.offers = new.offers;
    p.head.issued = (uint64_t)w->t.wall / 1000;
    p.head.lifetime = 1 + testenv_rand(&w->t) % 100;
    new.over = w->now + (p.head.lifetime + 2) * SEC;
    p.put.verified = (uint8_t) new.verified;
    p.put.expires = new.expires;
    assert_int_equal(atl_record_store_put(w->store, &p.put, w->now), model_put(m, peer, &new));
}

static void follows_the_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        world w;
        model m;

        memset(&m, 0, sizeof(m));
        world_init(&w, MAX, PER_ADDRESS);
        w.t.seed = seed;
        print_message("seed %u\n", (unsigned)seed);
        for (int i = 0; i < 3000; i++) {
            model_step(&w, &m);
            model_compare(&w, &m);
            if (i % 10 == 0) {
                model_list(&w, &m);
            }
        }
        assert_true(w.stats->evicted > 0 && w.stats->refused_full > 0 &&
                    w.stats->refused_ipv4 > 0 && w.stats->refused_ipv6 > 0);
        world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_by_offer),
        cmocka_unit_test(a_place_is_kept_with_the_offers),
        cmocka_unit_test(pages_while_others_come_and_go),
        cmocka_unit_test(the_expired_are_in_no_list),
        cmocka_unit_test(samples_are_fair),
        cmocka_unit_test(samples_no_flood),
        cmocka_unit_test(gaps_do_not_count),
        cmocka_unit_test(follows_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
