/* Puts and deletes over HTTP/3 on the simulated network: what is taken, from whom, and everything
 * that is refused. With a file: test_registry_file.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry_world.h"

static registry_world w;

/* ---- who puts what ---- */

static void the_owner_puts_and_all_get(void **state) {
    client *owner;
    client *other;
    atl_record_view view;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    owner = client_new(&w, 20);
    other = client_make(&w, 21, 0);
    record_of(&w, owner, 5, &record);
    assert_int_equal(ask(&w, other, "GET", record.path, NULL, 0), 404);
    assert_true(answer_has(other, "{\"error\":\"not found\",\"text\":\""));
    assert_int_equal(ask(&w, owner, "PUT", record.path, record.data, record.len), 200);
    assert_string_equal(owner->last.body, "{\"ttl\":3600}\n");
    assert_int_equal(ask(&w, other, "GET", record.path, NULL, 0), 200);
    assert_int_equal(other->last.len, record.len);
    assert_memory_equal(other->last.body, record.data, record.len);
    assert_int_equal(ask(&w, other, "HEAD", record.path, NULL, 0), 200);
    assert_int_equal(other->last.len, 0);
    assert_int_equal(other->last.ended, 1);
    /* the same again */
    registry_world_run(&w, 50 * ATL_SECOND);
    assert_int_equal(ask(&w, owner, "PUT", record.path, record.data, record.len), 200);
    assert_string_equal(owner->last.body, "{\"ttl\":3600}\n"); /* 3550 left, and 300 of drift */
    assert_int_equal(store_stats(&w)->puts, 1);
    assert_int_equal(store_stats(&w)->refreshed, 1);
    /* a newer one */
    record_of(&w, owner, 6, &record);
    assert_int_equal(ask(&w, owner, "PUT", record.path, record.data, record.len), 200);
    assert_true(stored(&w, &record.peer, &view));
    assert_true(view.seq == 6);
    assert_int_equal(registry_stats(&w)->puts, 3);
    assert_int_equal(registry_stats(&w)->gets, 3);
    assert_int_equal(registry_stats(&w)->found, 2);
    assert_int_equal(registry_stats(&w)->not_found, 1);
    registry_world_done(&w);
}

/* A record counts as verified when its own node puts it and an address vouches for it. */
static void who_is_verified(void **state) {
    static const struct {
        const char *addrs; /* the putter is 10.0.2.1 */
        int verified;
    } table[] = {
        {"/ip4/10.0.2.1/udp/4001/quic-v1", 1},
        {"/ip4/10.0.2.1/udp/7/quic-v1", 1}, /* ports do not count */
        {"/ip4/10.0.2.2/udp/4001/quic-v1", 0},
        {"/ip6/2001:db8::1/udp/4001/quic-v1", 0},
        {"/ip4/192.0.2.1/udp/1/quic-v1 /ip4/10.0.2.1/udp/4001/quic-v1", 1},
        {"/ip4/192.0.2.1/udp/1/quic-v1/p2p/"
         "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq/p2p-circuit",
         1},
        {"/dns/example.org/udp/4001/quic-v1", 0},
        {"", 1},
    };

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        atl_record_view view;
        client *owner;
        made record;

        registry_world_start(&w, NULL);
        owner = client_new(&w, 20);
        record_make(owner->node.key, 1, world_seconds(&w), 3600, 0, table[i].addrs, &record);
        assert_int_equal(ask(&w, owner, "PUT", record.path, record.data, record.len), 200);
        assert_true(stored(&w, &record.peer, &view));
        if (view.verified != table[i].verified) {
            fail_msg("%s: verified %d", table[i].addrs, view.verified);
        }
        registry_world_done(&w);
    }
}

static void strangers_put_unverified(void **state) {
    client *stranger;
    client *nobody;
    atl_record_view view;
    atlas_key *key = key_of(1);
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    stranger = client_new(&w, 20);
    nobody = client_make(&w, 21, 0);
    /* even with the putter's own address, or none, in it */
    record_make(key, 1, world_seconds(&w), 3600, 0, "/ip4/10.0.2.1/udp/4001/quic-v1", &record);
    assert_int_equal(ask(&w, stranger, "PUT", record.path, record.data, record.len), 200);
    assert_true(stored(&w, &record.peer, &view));
    assert_int_equal(view.verified, 0);
    record_make(key, 2, world_seconds(&w), 3600, 0, "", &record);
    assert_int_equal(ask(&w, nobody, "PUT", record.path, record.data, record.len), 200);
    assert_true(stored(&w, &record.peer, &view));
    assert_int_equal(view.verified, 0);
    assert_true(view.seq == 2);
    atlas_key_free(key);
    registry_world_done(&w);
}

/* ---- what is refused ---- */

static void sign_with(const atlas_key *key, const made *of, const char *domain,
                      const uint8_t type[2], made *out) {
    atl_envelope envelope;

    *out = *of;
    assert_int_equal(atl_envelope_open(of->data, of->len, "libp2p-peer-record", &envelope),
                     ATLAS_OK);
    assert_int_equal(atl_envelope_make(key, domain, type, 2, envelope.payload, envelope.payload_len,
                                       out->data, sizeof(out->data), &out->len),
                     ATLAS_OK);
}

/* Each spoils a record of `key` that is good otherwise. */
typedef struct spoiling {
    registry_world *w;
    const client *putter;
    const atlas_key *key;
    const made *good;
} spoiling;

static const uint8_t TYPE[2] = {3, 1};
static const uint8_t OTHER_TYPE[2] = {3, 2};

static void flip_signature(const spoiling *s, made *out) {
    (void)s;
    out->data[out->len - 1] ^= 1;
}

static void change_port(const spoiling *s, made *out) {
    (void)s;
    for (size_t k = 0; k + 1 < out->len; k++) { /* udp 4001 */
        if (out->data[k] == 0x0f && out->data[k + 1] == 0xa1) {
            out->data[k + 1] = 0xa2;
            return;
        }
    }
    fail();
}

static void other_domain(const spoiling *s, made *out) {
    sign_with(s->key, s->good, "libp2p-other", TYPE, out);
}

static void other_type(const spoiling *s, made *out) {
    sign_with(s->key, s->good, "libp2p-peer-record", OTHER_TYPE, out);
}

static void other_signer(const spoiling *s, made *out) {
    sign_with(s->putter->node.key, s->good, "libp2p-peer-record", TYPE, out);
}

static void cut_short(const spoiling *s, made *out) {
    (void)s;
    out->len -= 5;
}

static void one_byte(const spoiling *s, made *out) {
    (void)s;
    out->len = 1;
}

static void key_twice(const spoiling *s, made *out) {
    (void)s;
    memcpy(out->data + out->len, "\x0a\x01\x00", 3);
    out->len += 3;
}

static void only_text(const spoiling *s, made *out) {
    (void)s;
    memset(out->data, 'a', out->len);
}

static void is_over(const spoiling *s, made *out) {
    record_make(s->key, 9, world_seconds(s->w) - 3600 - 301, 3600, 1, "", out);
}

static void short_life_is_over(const spoiling *s, made *out) {
    record_make(s->key, 9, world_seconds(s->w) - 400, 60, 1, "", out);
}

static void from_the_future(const spoiling *s, made *out) {
    record_make(s->key, 9, world_seconds(s->w) + 303, 3600, 1, "", out);
}

static void path_of_another(const spoiling *s, made *out) {
    path_of(&s->putter->node.id, out->path);
}

static void path_of_nobody(const spoiling *s, made *out) {
    (void)s;
    (void)snprintf(out->path, sizeof(out->path), "%s/12D3KooW", ATL_RECORDS_PATH);
}

static void bad_records_are_refused(void **state) {
    static const struct {
        const char *what;
        void (*spoil)(const spoiling *s, made *out);
        const char *name;
        size_t counter;
    } table[] = {
#define ROW(fn, name, counter) \
    {#fn, fn, "{\"error\":\"" name "\",\"text\":\"", offsetof(atl_registry_http_stats, counter)}
        ROW(flip_signature, "signature", refused_signature),
        ROW(change_port, "signature", refused_signature),
        ROW(other_domain, "signature", refused_signature),
        ROW(other_type, "malformed", refused_malformed),
        ROW(other_signer, "signer", refused_signature),
        ROW(cut_short, "malformed", refused_malformed),
        ROW(one_byte, "malformed", refused_malformed),
        ROW(key_twice, "malformed", refused_malformed),
        ROW(only_text, "malformed", refused_malformed),
        ROW(is_over, "expired", refused_expired),
        ROW(short_life_is_over, "expired", refused_expired),
        ROW(from_the_future, "future", refused_expired),
        ROW(path_of_another, "malformed", refused_malformed),
        ROW(path_of_nobody, "malformed", refused_malformed),
    };
    spoiling s;
    client *c;
    atlas_key *key = key_of(1);
    made good;
    made bad;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_make(key, 9, world_seconds(&w), 3600, 1, "/ip4/10.0.2.1/udp/4001/quic-v1", &good);
    s.w = &w;
    s.putter = c;
    s.key = key;
    s.good = &good;
    for (size_t i = 0; i < ATL_COUNT(table); i++) {
        const uint64_t *counter =
            (const void *)((const char *)&w.registry->stats + table[i].counter);
        uint64_t before = *counter;

        bad = good;
        table[i].spoil(&s, &bad);
        if (ask(&w, c, "PUT", bad.path, bad.data, bad.len) != 400 ||
            strncmp(c->last.body, table[i].name, strlen(table[i].name)) != 0 ||
            *counter != before + 1) {
            fail_msg("%s: %d %s", table[i].what, c->last.status, c->last.body);
        }
        assert_int_equal(store_stats(&w)->records, 0);
    }
    assert_int_equal(w.registry->n_puts, 0);
    assert_int_equal(ask(&w, c, "PUT", good.path, NULL, 0), 400); /* no body at all */
    assert_int_equal(ask(&w, c, "PUT", good.path, good.data, good.len), 200);
    atlas_key_free(key);
    registry_world_done(&w);
}

static void clocks_may_differ(void **state) {
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_make(c->node.key, 10, world_seconds(&w) - 3600 - 280, 3600, 1, "", &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    assert_non_null(strstr("{\"ttl\":19}\n{\"ttl\":20}\n", c->last.body)); /* no longer than that */
    record_make(c->node.key, 11, world_seconds(&w) + 299, 3600, 1, "", &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    assert_string_equal(c->last.body, "{\"ttl\":3600}\n");
    registry_world_done(&w);
}

static void old_ones_are_told_what_is_known(void **state) {
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_of(&w, c, 1234567890123, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    record_of(&w, c, 1234567890122, &record); /* a replay, or a node that has lost count */
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 409);
    assert_true(answer_has(c, "{\"error\":\"old\",\"text\":\""));
    assert_true(answer_has(c, ",\"seq\":1234567890123}\n"));
    registry_world_run(&w, 2 * ATL_SECOND);
    record_of(&w, c, 1234567890123, &record); /* the same number, other bytes */
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 409);
    assert_int_equal(registry_stats(&w)->refused_old, 2);
    record_of(&w, c, 1234567890124, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

static void large_bodies_are_not_read(void **state) {
    static uint8_t body[600000];
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_of(&w, c, 1, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, body, ATL_RECORD_MAX + 1), 413);
    assert_true(answer_has(c, "{\"error\":\"too large\""));
    assert_int_equal(ask(&w, c, "PUT", record.path, body, sizeof(body)), 413);
    assert_int_equal(registry_stats(&w)->refused_size, 2);
    assert_int_equal(ask(&w, c, "PUT", record.path, body, ATL_RECORD_MAX), 400);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

static void records_of_an_address_are_limited(void **state) {
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    w.registry->config.limits.max_per_ipv4 = 3;
    atl_record_store_limits_of(w.registry->store)->max_per_ipv4 = 3;
    c = client_new(&w, 20);
    for (uint32_t i = 0; i < 3; i++) {
        atlas_key *key = key_of(i);

        record_make(key, 1, world_seconds(&w), 3600, 0, "", &record);
        assert_int_equal(store_direct(&w, &record, 0, 1, "10.0.2.1", 1), ATLAS_OK);
        atlas_key_free(key);
    }
    record_of(&w, c, 1, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 429);
    assert_true(answer_has(c, "{\"error\":\"rate\""));
    assert_int_equal(registry_stats(&w)->refused_limit, 1);
    assert_int_equal(registry_stats(&w)->refused_rate, 0);
    assert_int_equal(ask(&w, c, "GET", record.path, NULL, 0), 404);
    /* from elsewhere it is taken */
    assert_int_equal(ask(&w, client_new(&w, 21), "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

static void a_full_store_says_so(void **state) {
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    atl_record_store_limits_of(w.registry->store)->max_records = 3;
    c = client_new(&w, 20);
    for (uint32_t i = 0; i < 3; i++) {
        atlas_key *key = key_of(i);

        record_make(key, 1, world_seconds(&w), 3600, 0, "", &record);
        assert_int_equal(store_direct(&w, &record, 0, 1, "10.9.9.9", 1), ATLAS_OK);
        atlas_key_free(key);
    }
    record_of(&w, c, 1, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 503);
    assert_true(answer_has(c, "{\"error\":\"full\""));
    assert_int_equal(registry_stats(&w)->refused_limit, 1);
    assert_int_equal(store_stats(&w)->records, 3);
    registry_world_done(&w);
}

static void puts_are_limited_per_address(void **state) {
    client *a;
    client *b;
    made record;
    int taken = 0;

    (void)state;
    registry_world_start(&w, NULL);
    atl_registry_http_set_put_rate(w.registry, 2, 5);
    a = client_new(&w, 20);
    b = client_new(&w, 21);
    record_of(&w, a, 1, &record);
    for (int i = 0; i < 8; i++) {
        int32_t status = ask(&w, a, "PUT", record.path, record.data, record.len);

        taken += status == 200;
        assert_true(status == 200 || status == 429);
    }
    assert_int_equal(taken, 5);
    assert_true(answer_has(a, "{\"error\":\"rate\""));
    assert_int_equal(ask(&w, a, "DELETE", record.path, NULL, 0), 429);
    assert_int_equal(registry_stats(&w)->refused_rate, 4);
    assert_int_equal(ask(&w, a, "GET", record.path, NULL, 0), 200); /* not a put */
    assert_int_equal(ask(&w, b, "PUT", record.path, record.data, record.len), 200);
    registry_world_run(&w, ATL_SECOND);
    assert_int_equal(ask(&w, a, "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

/* ---- deleting ---- */

static void only_the_owner_deletes(void **state) {
    client *owner;
    client *stranger;
    client *nobody;
    made record;
    made newer;

    (void)state;
    registry_world_start(&w, NULL);
    owner = client_new(&w, 20);
    stranger = client_new(&w, 21);
    nobody = client_make(&w, 22, 0);
    record_of(&w, owner, 7, &record);
    record_of(&w, owner, 8, &newer);
    assert_int_equal(ask(&w, owner, "DELETE", record.path, NULL, 0), 404);
    assert_int_equal(ask(&w, owner, "PUT", record.path, record.data, record.len), 200);
    assert_int_equal(ask(&w, nobody, "DELETE", record.path, NULL, 0), 401);
    assert_true(answer_has(nobody, "{\"error\":\"identity\""));
    assert_int_equal(ask(&w, stranger, "DELETE", record.path, NULL, 0), 403);
    assert_true(answer_has(stranger, "{\"error\":\"identity\""));
    assert_int_equal(registry_stats(&w)->refused_identity, 2);
    assert_int_equal(ask(&w, stranger, "GET", record.path, NULL, 0), 200);
    assert_int_equal(ask(&w, owner, "DELETE", record.path, NULL, 0), 204);
    assert_int_equal(owner->last.len, 0);
    assert_int_equal(ask(&w, stranger, "GET", record.path, NULL, 0), 404);
    assert_int_equal(ask(&w, owner, "DELETE", record.path, NULL, 0), 404);
    assert_int_equal(registry_stats(&w)->deletes, 5);
    /* what was deleted does not come back by others' hands */
    assert_int_equal(ask(&w, stranger, "PUT", record.path, record.data, record.len), 409);
    assert_true(answer_has(stranger, ",\"seq\":7}"));
    assert_int_equal(ask(&w, owner, "PUT", record.path, newer.data, newer.len), 200);
    /* a delete may have a body, which nobody reads */
    assert_int_equal(ask(&w, owner, "DELETE", record.path, "because", 7), 204);
    registry_world_done(&w);
}

/* ---- clients that are slow, or go ---- */

static void a_body_comes_byte_by_byte(void **state) {
    static asking a;
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_of(&w, c, 1, &record);
    ask_slowly(c, &a, record.path);
    for (size_t i = 0; i < record.len; i++) {
        assert_int_equal(atl_h3_write(a.stream, record.data + i, 1), ATLAS_OK);
        registry_world_run(&w, 12 * ATL_MS);
    }
    assert_int_equal(w.registry->n_puts, 1);
    assert_int_equal(a.status, 0);
    atl_h3_end(a.stream);
    world_until(&w.r, asking_over, &a, 5 * ATL_SECOND);
    assert_int_equal(a.status, 200);
    assert_int_equal(w.registry->n_puts, 0);
    registry_world_done(&w);
}

static void a_body_that_does_not_come_is_given_up(void **state) {
    static asking a;
    client *c;
    made record;
    uint64_t start;

    (void)state;
    registry_world_start(&w, NULL);
    c = client_new(&w, 20);
    record_of(&w, c, 1, &record);
    start = sim_now(w.r.net);
    ask_slowly(c, &a, record.path);
    assert_int_equal(atl_h3_write(a.stream, record.data, record.len), ATLAS_OK);
    world_until(&w.r, asking_over, &a, 60 * ATL_SECOND);
    assert_int_equal(a.status, 408);
    assert_in_range(sim_now(w.r.net) - start, ATL_REGISTRY_PUT_TIMEOUT,
                    ATL_REGISTRY_PUT_TIMEOUT + 2 * ATL_SECOND);
    assert_int_equal(w.registry->n_puts, 0);
    assert_int_equal(store_stats(&w)->records, 0);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

static void incomplete_puts_are_few_and_small(void **state) {
    static asking many[ATL_REGISTRY_PUTS_SOURCE];
    client *a;
    client *b;
    made record;
    size_t bytes;

    (void)state;
    registry_world_start(&w, NULL);
    a = client_new(&w, 20);
    b = client_new(&w, 21);
    record_of(&w, a, 1, &record);
    registry_world_run(&w, ATL_SECOND);
    bytes = w.r.bytes;
    for (size_t i = 0; i < ATL_COUNT(many); i++) {
        ask_slowly(a, &many[i], record.path);
        assert_int_equal(atl_h3_write(many[i].stream, record.data, 10), ATLAS_OK);
    }
    registry_world_run(&w, ATL_SECOND);
    assert_int_equal(w.registry->n_puts, ATL_COUNT(many));
    assert_true(w.r.bytes < bytes + ATL_COUNT(many) * 8192);
    assert_int_equal(ask(&w, a, "PUT", record.path, record.data, record.len), 429);
    assert_int_equal(ask(&w, b, "PUT", record.path, record.data, record.len), 200);
    registry_world_run(&w, ATL_REGISTRY_PUT_TIMEOUT);
    assert_int_equal(w.registry->n_puts, 0);
    for (size_t i = 0; i < ATL_COUNT(many); i++) {
        assert_int_equal(many[i].status, 408);
    }
    assert_int_equal(ask(&w, a, "PUT", record.path, record.data, record.len), 200);
    registry_world_done(&w);
}

/* How a client may go in the middle of a body. */
static void a_client_that_goes_leaves_nothing(void **state) {
    (void)state;
    for (int how = 0; how < 4; how++) {
        static asking a;
        client *c;
        made record;

        registry_world_start(&w, NULL);
        c = client_new(&w, 20);
        record_of(&w, c, 1, &record);
        ask_slowly(c, &a, record.path);
        assert_int_equal(atl_h3_write(a.stream, record.data, 100), ATLAS_OK);
        registry_world_run(&w, ATL_SECOND);
        assert_int_equal(w.registry->n_puts, 1);
        switch (how) {
        case 0:
            atl_h3_reset(a.stream, 0x10c);
            break;
        case 1:
            atl_h3_close(c->h3, 0x100, "bye");
            break;
        case 2:
            sim_host_set_down(c->node.host, 1);
            break;
        default: /* the server goes */
            registry_stop(&w);
            break;
        }
        registry_world_run(&w, how == 2 ? 2 * RELAY_IDLE : 2 * ATL_SECOND);
        if (how < 3) {
            assert_int_equal(w.registry->n_puts, 0);
            assert_int_equal(store_stats(&w)->records, 0);
        }
        registry_world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_puts_and_all_get),
        cmocka_unit_test(who_is_verified),
        cmocka_unit_test(strangers_put_unverified),
        cmocka_unit_test(bad_records_are_refused),
        cmocka_unit_test(clocks_may_differ),
        cmocka_unit_test(old_ones_are_told_what_is_known),
        cmocka_unit_test(large_bodies_are_not_read),
        cmocka_unit_test(records_of_an_address_are_limited),
        cmocka_unit_test(a_full_store_says_so),
        cmocka_unit_test(puts_are_limited_per_address),
        cmocka_unit_test(only_the_owner_deletes),
        cmocka_unit_test(a_body_comes_byte_by_byte),
        cmocka_unit_test(a_body_that_does_not_come_is_given_up),
        cmocka_unit_test(incomplete_puts_are_few_and_small),
        cmocka_unit_test(a_client_that_goes_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
