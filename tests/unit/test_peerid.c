/* Peer ids. Vectors: libp2p specs, peer-ids/peer-ids.md, section Test vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity/key.h"
#include "identity/peerid.h"

#include <string.h>

#include "testenv.h"

#define ID_TEXT "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define ID_CID "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"

static const uint8_t PUBLIC_KEY[36] = {
    0x08, 0x01, 0x12, 0x20, 0x1e, 0xd1, 0xe8, 0xfa, 0xe2, 0xc4, 0xa1, 0x44,
    0xb8, 0xbe, 0x8f, 0xd4, 0xb4, 0x7b, 0xf3, 0xd3, 0xb3, 0x4b, 0x87, 0x1c,
    0x3c, 0xac, 0xf6, 0x01, 0x0f, 0x0e, 0x42, 0xd4, 0x74, 0xfc, 0xe2, 0x7e,
};

static void vector_in_every_form(void **state) {
    uint8_t binary[ATL_PEER_ID_BINARY];
    char text[ATLAS_PEER_ID_MAX];
    atl_peer_id id;
    atl_peer_id again;

    (void)state;
    assert_int_equal(atl_public_key_decode(PUBLIC_KEY, sizeof(PUBLIC_KEY), &id), ATLAS_OK);
    assert_memory_equal(id.key, PUBLIC_KEY + 4, 32);
    atl_peer_id_text(&id, text);
    assert_string_equal(text, ID_TEXT);

    assert_int_equal(atl_peer_id_parse(ID_TEXT, strlen(ID_TEXT), &again), ATLAS_OK);
    assert_true(atl_peer_id_equal(&id, &again));
    memset(&again, 0, sizeof(again));
    assert_int_equal(atl_peer_id_parse(ID_CID, strlen(ID_CID), &again), ATLAS_OK);
    assert_true(atl_peer_id_equal(&id, &again));

    atl_peer_id_encode(&id, binary);
    assert_int_equal(binary[0], 0x00);
    assert_int_equal(binary[1], 0x24);
    assert_memory_equal(binary + 2, PUBLIC_KEY, sizeof(PUBLIC_KEY));
    memset(&again, 0, sizeof(again));
    assert_int_equal(atl_peer_id_decode(binary, sizeof(binary), &again), ATLAS_OK);
    assert_true(atl_peer_id_equal(&id, &again));
}

static void check_round_trip(const atl_peer_id *id) {
    char text[ATLAS_PEER_ID_MAX];
    atl_peer_id again;

    atl_peer_id_text(id, text);
    assert_int_equal(strlen(text), 52);
    assert_memory_equal(text, "12D3KooW", 8);
    assert_int_equal(atl_peer_id_parse(text, 52, &again), ATLAS_OK);
    assert_true(atl_peer_id_equal(id, &again));
}

static void every_key_round_trips(void **state) {
    atl_peer_id id;
    testenv t;
    int i;

    (void)state;
    testenv_init(&t);
    memset(&id, 0, sizeof(id));
    check_round_trip(&id);
    memset(&id, 0xff, sizeof(id));
    check_round_trip(&id);
    for (i = 0; i < 2000; i++) {
        assert_int_equal(atl_random(&t.env, id.key, sizeof(id.key)), ATLAS_OK);
        check_round_trip(&id);
    }
}

/* Each row is refused, and refused with ATLAS_ERR_PEER_ID. */
static const char *const MALFORMED[] = {
    "",
    "1",
    "12D3KooW",
    " 12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq ",
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p",   /* cut short */
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pqq", /* one more */
    "112D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq", /* a leading zero too many */
    "2D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",   /* and one too few */
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R30q",  /* 0, O, I, l are not base58 */
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3Oq",
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3Iq",
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3lq",
    "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p\xc3\xa9",
    "12D3KooWBtg3aaRMjxwedh83aGiU/wSxDwUZkzuJcfaqUmo7R3pq",
    "11111111111111111111111111111111111111",
    "1111111111111111111111111111111111111111111111111111",
    "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
    "13D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",  /* another prefix */
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",        /* RSA: a SHA-256 multihash */
    "16Uiu2HAmSutP5h36L8iZuLnz5tLMzEHxFzw2eoyDkLW5zCUvAwEQ", /* secp256k1 */
    "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt",   /* cut short */
    "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6a", /* one more */
    "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt1",  /* not base32 */
    "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyT6",  /* upper case */
    "BAFZAAJAIAEJCAHWR5D5OFRFBIS4L5D6UWR57HU5TJODRYPFM6YAQ6DSC2R2PZYT6",  /* another multibase */
    "caFzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6",
    "bafybaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt", /* codec dag-pb */
    "babzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6", /* CID version 0 */
    "bafzaajaiaijcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6", /* key type 2 */
    "b",
    "bafzaa",
};

static void malformed_ids_are_refused(void **state) {
    char long_text[4096];
    atl_peer_id id;
    atl_peer_id before;
    size_t i;

    (void)state;
    memset(&id, 0x5a, sizeof(id));
    before = id;
    for (i = 0; i < ATL_COUNT(MALFORMED); i++) {
        if (atl_peer_id_parse(MALFORMED[i], strlen(MALFORMED[i]), &id) != ATLAS_ERR_PEER_ID) {
            fail_msg("accepted: %s", MALFORMED[i]);
        }
        assert_true(atl_peer_id_equal(&id, &before));
    }
    memset(long_text, '2', sizeof(long_text));
    assert_int_equal(atl_peer_id_parse(long_text, sizeof(long_text), &id), ATLAS_ERR_PEER_ID);
    long_text[0] = 'b';
    assert_int_equal(atl_peer_id_parse(long_text, sizeof(long_text), &id), ATLAS_ERR_PEER_ID);
    /* a NUL inside is a character like any other that is not in the alphabet */
    assert_int_equal(atl_peer_id_parse("12D3\0ooW", 8, &id), ATLAS_ERR_PEER_ID);
}

static void one_text_one_id(void **state) {
    char text[] = ID_TEXT;
    atl_peer_id id;
    atl_peer_id other;
    size_t i;

    (void)state;
    assert_int_equal(atl_peer_id_parse(ID_TEXT, 52, &id), ATLAS_OK);
    for (i = 0; i < 52; i++) {
        char was = text[i];

        text[i] = was == 'x' ? 'y' : 'x';
        if (atl_peer_id_parse(text, 52, &other) == ATLAS_OK) {
            assert_false(atl_peer_id_equal(&id, &other));
        } else {
            assert_true(i < 9 || text[i] == 'x');
        }
        text[i] = was;
    }
}

static void malformed_multihashes_are_refused(void **state) {
    uint8_t binary[ATL_PEER_ID_BINARY + 1] = {0};
    atl_peer_id id;
    size_t i;

    (void)state;
    binary[1] = 0x24;
    memcpy(binary + 2, PUBLIC_KEY, sizeof(PUBLIC_KEY));
    assert_int_equal(atl_peer_id_decode(binary, ATL_PEER_ID_BINARY, &id), ATLAS_OK);
    for (i = 0; i <= sizeof(binary); i++) {
        if (i != ATL_PEER_ID_BINARY) {
            assert_int_equal(atl_peer_id_decode(binary, i, &id), ATLAS_ERR_PEER_ID);
        }
    }
    for (i = 0; i < 6; i++) {
        int bit;

        for (bit = 0; bit < 8; bit++) {
            binary[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(atl_peer_id_decode(binary, ATL_PEER_ID_BINARY, &id),
                             ATLAS_ERR_PEER_ID);
            binary[i] ^= (uint8_t)(1 << bit);
        }
    }
}

static void normalize(void **state) {
    char buf[ATLAS_PEER_ID_MAX];

    (void)state;
    assert_int_equal(atlas_peer_id_normalize(ID_CID, buf, sizeof(buf)), ATLAS_OK);
    assert_string_equal(buf, ID_TEXT);
    assert_int_equal(atlas_peer_id_normalize(ID_TEXT, buf, sizeof(ID_TEXT)), ATLAS_OK);
    assert_string_equal(buf, ID_TEXT);
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(atlas_peer_id_normalize(ID_TEXT, buf, sizeof(ID_TEXT) - 1), ATLAS_ERR_BUFFER);
    assert_int_equal(atlas_peer_id_normalize(ID_TEXT, NULL, 0), ATLAS_ERR_BUFFER);
    assert_int_equal(atlas_peer_id_normalize("12D3", buf, sizeof(buf)), ATLAS_ERR_PEER_ID);
    assert_int_equal(atlas_peer_id_normalize(NULL, buf, sizeof(buf)), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_peer_id_normalize(ID_TEXT, NULL, 5), ATLAS_ERR_INVALID);
    assert_int_equal(buf[0], 'x');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_in_every_form),
        cmocka_unit_test(every_key_round_trips),
        cmocka_unit_test(malformed_ids_are_refused),
        cmocka_unit_test(one_text_one_id),
        cmocka_unit_test(malformed_multihashes_are_refused),
        cmocka_unit_test(normalize),
    };

    return cmocka_run_group_tests_name("peerid", tests, NULL, NULL);
}
