/* What nodes say wrongly to a relay on their control streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay_world.h"

#define RELAY_PATH "/.well-known/atlas/relay/"

/* ---- bad input on the control stream ---- */

static size_t put_capsule(uint8_t *out, uint64_t type, const void *value, size_t len) {
    atl_writer writer;

    atl_writer_init(&writer, out, 8192);
    atl_write_varint(&writer, type);
    atl_write_varint(&writer, len);
    atl_write_bytes(&writer, value, len);
    assert_int_equal(writer.error, ATLAS_OK);
    return writer.len;
}

/* What the n-th bad node says; 0 when there is no n-th. */
static size_t bad_words(size_t n, const raw_node *raw, uint8_t *out) {
    static uint8_t zeros[4096];
    atl_relay_announce msg = {raw->node.id, 1, 0};
    uint8_t good[ATL_RELAY_MESSAGE_MAX];
    uint8_t twice[2 * ATL_RELAY_MESSAGE_MAX];
    atl_writer writer;
    size_t len;

    assert_int_equal(atl_relay_announce_encode(&msg, good, sizeof(good), &len), ATLAS_OK);
    switch (n) {
    case 0: /* nothing at all in it */
        return put_capsule(out, ATL_RELAY_ANNOUNCE, "", 0);
    case 1: /* every parameter twice: the value follows a type of 4 bytes and a length of 2 */
        memcpy(twice, good + 6, len - 6);
        memcpy(twice + len - 6, good + 6, len - 6);
        return put_capsule(out, ATL_RELAY_ANNOUNCE, twice, 2 * (len - 6));
    case 2: /* cut short */
        return put_capsule(out, ATL_RELAY_ANNOUNCE, good + 6, len - 7);
    case 3: /* longer than any message */
        return put_capsule(out, ATL_RELAY_CONNECT, zeros, sizeof(zeros));
    case 4: /* a never-ending one, announced as such */
        atl_writer_init(&writer, out, 64);
        atl_write_varint(&writer, ATL_RELAY_ANNOUNCE);
        atl_write_varint(&writer, (UINT64_C(1) << 62) - 1);
        return writer.len;
    case 5: /* what only a relay says */
        return put_capsule(out, ATL_RELAY_DRAIN, "", 0);
    case 6: /* a parameter that claims more than there is */
        return put_capsule(out, ATL_RELAY_CLOSE, "\x09\x40\xff\x01", 4);
    case 7: /* 100 unknown parameters */
        for (size_t i = 0; i < 100; i++) {
            memcpy(twice + 3 * i, "\x40\x00\x00", 3);
            twice[3 * i + 1] = (uint8_t)(0x40 + i);
        }
        return put_capsule(out, ATL_RELAY_ACCEPT, twice, 300);
    default:
        return 0;
    }
}

static void malformed_messages_end_the_connection(void **state) {
    static uint8_t words[8192];
    relay_world w;
    raw_node *good;
    raw_node *bad;

    (void)state;
    world_start(&w);
    good = raw_new(&w);
    raw_announce(&w, good);
    bad = raw_new(&w);
    for (size_t n = 0;; n++) {
        size_t len = bad_words(n, bad, words);

        if (len == 0) {
            assert_true(n > 6);
            break;
        }
        if (n > 0) {
            raw_dial(&w, bad);
            raw_request(&w, bad, "CONNECT", RELAY_PATH, "atlas-relay", 1);
            raw_announce(&w, good);
        }
        raw_announce(&w, bad);
        raw_send(bad, words, len);
        (void)raw_expect_error(&w, bad, ATLAS_ERR_RELAY_MALFORMED);
        assert_int_equal(world_stats(&w)->malformed, n + 1);
        assert_int_equal(world_stats(&w)->nodes, 1);
        world_until(&w, raw_is_closed, bad, 5 * ATL_SECOND);
        assert_int_equal(good->n, 0);
    }
    raw_announce(&w, good);
    world_done(&w);
}

static void unknown_capsules_are_skipped(void **state) {
    static uint8_t words[8192];
    static uint8_t zeros[6000];
    relay_world w;
    raw_node *a;
    size_t len;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    len = put_capsule(words, 0x1234567, zeros, sizeof(zeros));
    raw_send(a, words, len);
    raw_announce(&w, a);
    assert_int_equal(world_stats(&w)->malformed, 0);
    world_done(&w);
}

static void ten_thousand_requests_on_one_stream(void **state) {
    relay_world w;
    raw_node *a;
    raw_node *b;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    b = raw_new(&w);
    raw_announce(&w, b);
    for (uint64_t i = 0; i < 10000 && !a->closed; i++) {
        raw_connect_as(a, i, &a->node.id, &b->node.id);
        if (i % 100 == 99) {
            world_run(&w, 20 * ATL_MS);
        }
    }
    world_run(&w, 500 * ATL_MS);
    assert_false(a->closed);
    assert_int_equal(world_stats(&w)->connects, 10000);
    assert_in_range(world_stats(&w)->circuits, 1, 10); /* max_circuits_per_node */
    assert_true(world_stats(&w)->refused_rate > 9000);
    assert_false(b->closed);
    b->n = 0;
    raw_announce(&w, b);
    world_done(&w);
}

static void too_many_announcements(void **state) {
    relay_world w;
    raw_node *a;

    (void)state;
    world_start(&w);
    a = raw_new(&w);
    for (int i = 0; i < 100; i++) {
        raw_announce_as(a, &a->node.id, 0, 0);
    }
    world_run(&w, 200 * ATL_MS);
    assert_int_equal(a->n, 100);
    assert_in_range(world_stats(&w)->announces, 32, 36);
    assert_int_equal(world_stats(&w)->announces + world_stats(&w)->refused_rate, 100);
    world_done(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_messages_end_the_connection),
        cmocka_unit_test(unknown_capsules_are_skipped),
        cmocka_unit_test(ten_thousand_requests_on_one_stream),
        cmocka_unit_test(too_many_announcements),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
