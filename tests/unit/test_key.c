/* Keys. Vectors: libp2p specs, peer-ids/peer-ids.md (Ed25519, secp256k1, ECDSA and RSA public
 * keys); RFC 8032 section 7.1 (signatures). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "identity/key.h"

#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testenv.h"

static const char PRIVATE_HEX[] =
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
static const char PUBLIC_HEX[] =
    "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
static const char ID_TEXT[] = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq";

static size_t unhex(const char *hex, uint8_t *out, size_t cap) {
    size_t len = 0;

    assert_int_equal(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL), 0);
    return len;
}

static void libp2p_vector(void **state) {
    uint8_t private_key[ATL_PRIVATE_KEY_PROTO];
    uint8_t public_key[ATL_PUBLIC_KEY_PROTO];
    uint8_t encoded[ATL_PRIVATE_KEY_PROTO];
    uint8_t raw[32];
    char text[ATLAS_PEER_ID_MAX];
    atlas_key *key;
    atlas_key *same;
    atl_peer_id id;

    (void)state;
    assert_int_equal(unhex(PRIVATE_HEX, private_key, sizeof(private_key)), sizeof(private_key));
    assert_int_equal(unhex(PUBLIC_HEX, public_key, sizeof(public_key)), sizeof(public_key));
    assert_int_equal(atl_key_decode(private_key, sizeof(private_key), &key), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(key, text, sizeof(text)), ATLAS_OK);
    assert_string_equal(text, ID_TEXT);
    atlas_key_public(key, raw);
    assert_memory_equal(raw, public_key + 4, 32);
    atl_key_id(key, &id);
    atl_public_key_encode(&id, encoded);
    assert_memory_equal(encoded, public_key, sizeof(public_key));
    atl_key_encode(key, encoded);
    assert_memory_equal(encoded, private_key, sizeof(private_key));

    assert_int_equal(atlas_key_from_seed(private_key + 4, &same), ATLAS_OK);
    atlas_key_public(same, raw);
    assert_memory_equal(raw, public_key + 4, 32);
    atlas_key_free(same);
    atlas_key_free(key);
}

/* RFC 8032 section 7.1, TEST 1, 2 and 3. */
static void signatures(void **state) {
    static const struct {
        const char *seed;
        const char *public_key;
        const char *message;
        const char *signature;
    } ROWS[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
         "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
         "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
         "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        uint8_t seed[32];
        uint8_t public_key[32];
        uint8_t message[8];
        uint8_t expected[64];
        uint8_t signature[64];
        size_t len;
        atlas_key *key;
        atl_peer_id id;

        unhex(ROWS[i].seed, seed, sizeof(seed));
        unhex(ROWS[i].public_key, public_key, sizeof(public_key));
        unhex(ROWS[i].signature, expected, sizeof(expected));
        len = unhex(ROWS[i].message, message, sizeof(message));
        assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
        atl_key_id(key, &id);
        assert_memory_equal(id.key, public_key, 32);
        atl_key_sign(key, message, len, signature);
        assert_memory_equal(signature, expected, 64);
        assert_int_equal(atl_peer_verify(&id, message, len, signature), ATLAS_OK);
        message[0] ^= 1;
        assert_int_equal(atl_peer_verify(&id, message, 1, signature), ATLAS_ERR_SIGNATURE);
        message[0] ^= 1;
        signature[63] ^= 0x20; /* S not reduced */
        assert_int_equal(atl_peer_verify(&id, message, len, signature), ATLAS_ERR_SIGNATURE);
        atlas_key_free(key);
    }
}

/* Whoever takes a point of small order for a key can "sign" anything: the signature of zeros would
 * hold. */
static void small_order_keys_verify_nothing(void **state) {
    static const uint8_t ORDERS[][32] = {
        {1}, /* the neutral element */
        {0}, /* order 4 */
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, /* order 2 */
    };
    uint8_t signature[64] = {1};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(ORDERS); i++) {
        atl_peer_id id;

        memcpy(id.key, ORDERS[i], 32);
        assert_int_equal(atl_peer_verify(&id, (const uint8_t *)"x", 1, signature),
                         ATLAS_ERR_SIGNATURE);
    }
}

static void generated_keys_differ(void **state) {
    char a_text[ATLAS_PEER_ID_MAX];
    char b_text[ATLAS_PEER_ID_MAX];
    atlas_key *a;
    atlas_key *b;
    atlas_key *copy;

    (void)state;
    assert_int_equal(atlas_key_generate(&a), ATLAS_OK);
    assert_int_equal(atlas_key_generate(&b), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(a, a_text, sizeof(a_text)), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(b, b_text, sizeof(b_text)), ATLAS_OK);
    assert_string_not_equal(a_text, b_text);
    assert_int_equal(atl_key_copy(a, &copy), ATLAS_OK);
    atlas_key_free(a); /* the copy has memory of its own */
    assert_int_equal(atlas_key_peer_id(copy, b_text, sizeof(b_text)), ATLAS_OK);
    assert_string_equal(a_text, b_text);
    atlas_key_free(copy);
    atlas_key_free(b);
    atlas_key_free(NULL);
}

static void wrong_arguments(void **state) {
    static const uint8_t SEED[32] = {1};
    char text[ATLAS_PEER_ID_MAX] = "untouched";
    atlas_key *key;

    (void)state;
    assert_int_equal(atlas_key_generate(NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_from_seed(NULL, &key), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_from_seed(SEED, NULL), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_from_seed(SEED, &key), ATLAS_OK);
    assert_int_equal(atlas_key_peer_id(NULL, text, sizeof(text)), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_peer_id(key, NULL, 1), ATLAS_ERR_INVALID);
    assert_int_equal(atlas_key_peer_id(key, text, 52), ATLAS_ERR_BUFFER);
    assert_string_equal(text, "untouched");
    assert_int_equal(atlas_key_peer_id(key, text, 53), ATLAS_OK);
    atlas_key_free(key);
}

/* A stray write to a key does not change it; it ends the program. */
static void a_key_cannot_be_written_to(void **state) {
    atlas_key *key;
    pid_t child;
    int status;

    (void)state;
    assert_int_equal(atlas_key_generate(&key), ATLAS_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would print */
        *(volatile uint8_t *)key ^= 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    atlas_key_free(key);
}

static void malformed_private_keys(void **state) {
    uint8_t good[ATL_PRIVATE_KEY_PROTO + 1] = {0};
    uint8_t bytes[sizeof(good)];
    atlas_key *key = NULL;
    size_t i;

    (void)state;
    unhex(PRIVATE_HEX, good, ATL_PRIVATE_KEY_PROTO);
    for (i = 0; i < ATL_PRIVATE_KEY_PROTO; i++) {
        assert_int_equal(atl_key_decode(good, i, &key), ATLAS_ERR_TRUNCATED);
    }
    assert_int_equal(atl_key_decode(NULL, 0, &key), ATLAS_ERR_TRUNCATED);
    assert_int_equal(atl_key_decode(good, sizeof(good), &key), ATLAS_ERR_KEY);
    for (i = 0; i < ATL_PRIVATE_KEY_PROTO; i++) { /* prefix, seed, public key */
        memcpy(bytes, good, sizeof(good));
        bytes[i] ^= 0x10;
        assert_int_equal(atl_key_decode(bytes, ATL_PRIVATE_KEY_PROTO, &key), ATLAS_ERR_KEY);
    }
    assert_int_equal(atl_key_decode((const uint8_t *)"-----BEGIN", 10, &key), ATLAS_ERR_KEY);
    assert_null(key);
}

static void public_keys(void **state) {
    static const struct {
        const char *hex;
        int32_t rc;
    } ROWS[] = {
        /* libp2p's vectors of other types: secp256k1; ECDSA's and RSA's are shortened, which these
           types allow */
        {"08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99",
         ATLAS_ERR_UNSUPPORTED},
        {"0803120430590301", ATLAS_ERR_UNSUPPORTED},
        {"0800120430590301", ATLAS_ERR_UNSUPPORTED},
        {"", ATLAS_ERR_KEY},
        {"08", ATLAS_ERR_KEY},
        {"0801", ATLAS_ERR_KEY},
        {"08011220", ATLAS_ERR_KEY},
        {"08011200", ATLAS_ERR_KEY},
        /* one byte short, one long */
        {"0801121f1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce2", ATLAS_ERR_KEY},
        {"080112211ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e00",
         ATLAS_ERR_KEY},
        /* something follows; fields in the other order; a field twice; a type in two bytes; a type
           of bytes */
        {"080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e00",
         ATLAS_ERR_KEY},
        {"12201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e0801", ATLAS_ERR_KEY},
        {"0801080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
         ATLAS_ERR_KEY},
        {"08810012201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
         ATLAS_ERR_KEY},
        {"0a0112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e", ATLAS_ERR_KEY},
        {"080412201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e", ATLAS_ERR_KEY},
    };
    uint8_t bytes[64];
    atl_peer_id id;
    size_t i;

    (void)state;
    memset(&id, 0x33, sizeof(id));
    for (i = 0; i < ATL_COUNT(ROWS); i++) {
        size_t len = unhex(ROWS[i].hex, bytes, sizeof(bytes));

        assert_int_equal(atl_public_key_decode(bytes, len, &id), ROWS[i].rc);
        assert_int_equal(id.key[0], 0x33);
    }
    assert_int_equal(atl_public_key_decode(bytes, unhex(PUBLIC_HEX, bytes, sizeof(bytes)), &id),
                     ATLAS_OK);
    assert_memory_equal(id.key, bytes + 4, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libp2p_vector),
        cmocka_unit_test(signatures),
        cmocka_unit_test(small_order_keys_verify_nothing),
        cmocka_unit_test(generated_keys_differ),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(a_key_cannot_be_written_to),
        cmocka_unit_test(malformed_private_keys),
        cmocka_unit_test(public_keys),
    };

    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
