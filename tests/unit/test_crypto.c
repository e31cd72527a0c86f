/* Packet protection and the key schedule, with the vectors of RFC 9001 appendix A. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "quic/keys.h"

#include <sodium.h>

static size_t from_hex(const char *hex, uint8_t *out, size_t cap) {
    size_t len = 0;

    assert_int_equal(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL), 0);
    return len;
}

static void assert_hex(const uint8_t *data, size_t len, const char *hex) {
    uint8_t expected[512];

    assert_int_equal(from_hex(hex, expected, sizeof(expected)), len);
    assert_memory_equal(data, expected, len);
}

/* RFC 9001 section 5.3: the nonce is the IV with the packet number over its end. */
static void nonce_of(const atl_packet_keys *keys, uint64_t number, uint8_t nonce[ATL_AEAD_NONCE]) {
    size_t i;

    memcpy(nonce, keys->iv, ATL_AEAD_NONCE);
    for (i = 0; i < 8; i++) {
        nonce[ATL_AEAD_NONCE - 1 - i] ^= (uint8_t)(number >> (8 * i));
    }
}

/* Applies header protection: the packet number is `pn_len` bytes at `pn_at`. */
static void mask_header(const atl_packet_keys *keys, uint8_t *packet, size_t pn_at, size_t pn_len) {
    uint8_t mask[NGTCP2_HP_SAMPLELEN];
    size_t i;

    assert_int_equal(atl_hp_mask(mask, NULL, &keys->hp, packet + pn_at + 4), 0);
    packet[0] ^= (uint8_t)(mask[0] & ((packet[0] & 0x80) ? 0x0f : 0x1f));
    for (i = 0; i < pn_len; i++) {
        packet[pn_at + i] ^= mask[1 + i];
    }
}

/* Protects header and payload, in place as ngtcp2 does it. Returns the packet's length. */
static size_t protect(const atl_packet_keys *keys, const char *header, size_t pn_len,
                      uint64_t number, const uint8_t *payload, size_t len, uint8_t *packet) {
    uint8_t nonce[ATL_AEAD_NONCE];
    size_t head = from_hex(header, packet, 64);

    nonce_of(keys, number, nonce);
    memcpy(packet + head, payload, len);
    assert_int_equal(atl_aead_encrypt(packet + head, NULL, &keys->aead, packet + head, len, nonce,
                                      sizeof(nonce), packet, head),
                     0);
    mask_header(keys, packet, head - pn_len, pn_len);
    return head + len + ATL_AEAD_TAG;
}

/* The payload must come back, and not after any change. */
static void assert_opens(const atl_packet_keys *keys, const char *header, uint64_t number,
                         const uint8_t *sealed, size_t len, const uint8_t *payload) {
    uint8_t head[64], nonce[ATL_AEAD_NONCE], plain[2048], copy[2048];
    size_t head_len = from_hex(header, head, sizeof(head));

    nonce_of(keys, number, nonce);
    assert_int_equal(atl_aead_decrypt(plain, NULL, &keys->aead, sealed, len, nonce, sizeof(nonce),
                                      head, head_len),
                     0);
    assert_memory_equal(plain, payload, len - ATL_AEAD_TAG);
    memcpy(copy, sealed, len);
    copy[0] ^= 1;
    assert_int_equal(
        atl_aead_decrypt(plain, NULL, &keys->aead, copy, len, nonce, sizeof(nonce), head, head_len),
        NGTCP2_ERR_DECRYPT);
    copy[0] ^= 1;
    copy[len - 1] ^= 1;
    assert_int_equal(
        atl_aead_decrypt(plain, NULL, &keys->aead, copy, len, nonce, sizeof(nonce), head, head_len),
        NGTCP2_ERR_DECRYPT);
    copy[len - 1] ^= 1;
    head[0] ^= 1;
    assert_int_equal(
        atl_aead_decrypt(plain, NULL, &keys->aead, copy, len, nonce, sizeof(nonce), head, head_len),
        NGTCP2_ERR_DECRYPT);
    assert_int_equal(atl_aead_decrypt(plain, NULL, &keys->aead, copy, ATL_AEAD_TAG - 1, nonce,
                                      sizeof(nonce), head, head_len),
                     NGTCP2_ERR_DECRYPT);
}

static void initial_secrets(uint8_t client[ATL_SECRET_LEN], uint8_t server[ATL_SECRET_LEN]) {
    ngtcp2_cid dcid;

    dcid.datalen = from_hex("8394c8f03e515708", dcid.data, sizeof(dcid.data));
    assert_int_equal(atl_initial_secrets(&dcid, client, server), ATLAS_OK);
}

/* Appendix A.1. */
static void initial_keys(void **state) {
    static const struct {
        int server;
        size_t len;
        const char *label, *expected;
    } table[] = {
        {0, 16, "quic key", "1f369613dd76d5467730efcbe3b1a22d"},
        {0, 12, "quic iv", "fa044b2f42a3fd3b46fb255c"},
        {0, 16, "quic hp", "9f50449e04a0e810283a1e9933adedd2"},
        {1, 16, "quic key", "cf3a5331653c364c88f0f379b6067e37"},
        {1, 12, "quic iv", "0ac1493ca1905853b0bba03e"},
        {1, 16, "quic hp", "c206b8d9b9f0f37644430b490eeaa314"},
    };
    uint8_t secrets[2][ATL_SECRET_LEN], out[32];
    size_t i;

    (void)state;
    initial_secrets(secrets[0], secrets[1]);
    assert_hex(secrets[0], 32, "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea");
    assert_hex(secrets[1], 32, "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b");
    for (i = 0; i < ATL_COUNT(table); i++) {
        assert_int_equal(
            atl_expand_label(secrets[table[i].server], table[i].label, out, table[i].len),
            ATLAS_OK);
        assert_hex(out, table[i].len, table[i].expected);
    }
    assert_int_equal(
        atl_expand_label(secrets[0], "a label that is longer than any in QUIC", out, 16),
        ATLAS_ERR_INTERNAL);
}

/* Appendix A.2: of the 1,200 bytes the first 64 and the tag, which depends on all. */
static void client_initial(void **state) {
    static const char header[] = "c300000001088394c8f03e5157080000449e00000002";
    uint8_t client[ATL_SECRET_LEN], server[ATL_SECRET_LEN];
    uint8_t payload[1162], packet[1200];
    atl_packet_keys keys;
    testenv t;

    (void)state;
    testenv_init(&t);
    initial_secrets(client, server);
    assert_int_equal(atl_packet_keys_derive(&t.env, ATL_CIPHER_AES_128_GCM, client, 1, &keys),
                     ATLAS_OK);
    memset(payload, 0, sizeof(payload));
    assert_int_equal(from_hex("060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
                              "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
                              "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
                              "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
                              "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
                              "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
                              "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
                              "75300901100f088394c8f03e51570806048000ffff",
                              payload, sizeof(payload)),
                     245);
    assert_int_equal(protect(&keys, header, 4, 2, payload, sizeof(payload), packet),
                     sizeof(packet));
    assert_hex(packet, 64,
               "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"
               "d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399");
    assert_hex(packet + 1200 - 16, 16, "e221af44860018ab0856972e194cd934");
    assert_opens(&keys, header, 2, packet + 22, sizeof(packet) - 22, payload);
    atl_packet_keys_free(&keys);
    testenv_done(&t);
}

/* Appendix A.3. */
static void server_initial(void **state) {
    static const char header[] = "c1000000010008f067a5502a4262b50040750001";
    uint8_t client[ATL_SECRET_LEN], server[ATL_SECRET_LEN];
    uint8_t payload[128], packet[160];
    atl_packet_keys keys;
    size_t len;
    testenv t;

    (void)state;
    testenv_init(&t);
    initial_secrets(client, server);
    assert_int_equal(atl_packet_keys_derive(&t.env, ATL_CIPHER_AES_128_GCM, server, 1, &keys),
                     ATLAS_OK);
    len = from_hex(
        "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
        "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
        "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
        "020304",
        payload, sizeof(payload));
    assert_int_equal(protect(&keys, header, 2, 1, payload, len, packet), 135);
    assert_hex(packet, 135,
               "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a"
               "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3"
               "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
               "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4"
               "2158407dd074ee");
    assert_opens(&keys, header, 1, packet + 20, 115, payload);
    atl_packet_keys_free(&keys);
    testenv_done(&t);
}

/* Appendix A.5, with its next secret. */
static void chacha_short_header(void **state) {
    static const uint8_t payload[] = {1};
    uint8_t secret[ATL_SECRET_LEN], next[ATL_SECRET_LEN], iv[ATL_AEAD_NONCE], packet[64], out[32];
    ngtcp2_crypto_aead_ctx aead = {0};
    atl_packet_keys keys;
    testenv t;

    (void)state;
    testenv_init(&t);
    from_hex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b", secret,
             sizeof(secret));
    assert_int_equal(atl_expand_label(secret, "quic key", out, 32), ATLAS_OK);
    assert_hex(out, 32, "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8");
    assert_int_equal(atl_expand_label(secret, "quic hp", out, 32), ATLAS_OK);
    assert_hex(out, 32, "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4");
    assert_int_equal(atl_packet_keys_derive(&t.env, ATL_CIPHER_CHACHA20_POLY1305, secret, 1, &keys),
                     ATLAS_OK);
    assert_hex(keys.iv, sizeof(keys.iv), "e0459b3474bdd0e44a41c144");
    assert_int_equal(protect(&keys, "4200bff4", 3, 654360564, payload, sizeof(payload), packet),
                     21);
    assert_hex(packet, 21, "4cfe4189655e5cd55c41f69080575d7999c25a5bfb");
    assert_opens(&keys, "4200bff4", 654360564, packet + 4, 17, payload);
    atl_packet_keys_free(&keys);

    assert_int_equal(
        atl_update_secret(&t.env, ATL_CIPHER_CHACHA20_POLY1305, secret, next, &aead, iv), ATLAS_OK);
    assert_hex(next, sizeof(next),
               "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9");
    assert_non_null(aead.native_handle);
    atl_aead_free(&aead);
    assert_null(aead.native_handle);
    testenv_done(&t);
}

/* Appendix A.4: the tag of the Retry packet, over the pseudo-packet that begins with the original
 * id. */
static void retry_tag(void **state) {
    uint8_t pseudo[64], tag[ATL_AEAD_TAG];
    size_t len;

    (void)state;
    len = from_hex("088394c8f03e515708ff000000010008f067a5502a4262b5746f6b656e", pseudo,
                   sizeof(pseudo));
    assert_int_equal(atl_retry_tag(pseudo, len, tag), ATLAS_OK);
    assert_hex(tag, sizeof(tag), "04a265ba2eff4d829058fb3f0f2496ba");
}

static void descriptions(void **state) {
    ngtcp2_crypto_ctx ctx;

    (void)state;
    memset(&ctx, 0, sizeof(ctx));
    assert_int_equal(atl_cipher_of(&ctx), 0);
    atl_cipher_describe(ATL_CIPHER_AES_128_GCM, &ctx);
    assert_int_equal(atl_cipher_of(&ctx), ATL_CIPHER_AES_128_GCM);
    assert_int_equal(ctx.aead.max_overhead, 16);
    assert_true(ctx.max_encryption == UINT64_C(1) << 23);
    assert_true(ctx.max_decryption_failure == UINT64_C(1) << 52);
    assert_int_equal(atl_cipher_key_len(ATL_CIPHER_AES_128_GCM), 16);
    atl_cipher_describe(ATL_CIPHER_CHACHA20_POLY1305, &ctx);
    assert_int_equal(atl_cipher_of(&ctx), ATL_CIPHER_CHACHA20_POLY1305);
    assert_true(ctx.max_decryption_failure == UINT64_C(1) << 36);
    assert_int_equal(atl_cipher_key_len(ATL_CIPHER_CHACHA20_POLY1305), 32);
    atl_crypto_settle();
    assert_true(atl_cipher_aes_fast() == 0 || atl_cipher_aes_fast() == 1);
}

static void derive_once(testenv *t, void *user) {
    static const uint32_t ciphers[] = {ATL_CIPHER_AES_128_GCM, ATL_CIPHER_CHACHA20_POLY1305};
    uint8_t secret[ATL_SECRET_LEN] = {7};
    atl_packet_keys keys;
    size_t i;

    (void)user;
    for (i = 0; i < ATL_COUNT(ciphers); i++) {
        int32_t rv = atl_packet_keys_derive(&t->env, ciphers[i], secret, 1, &keys);

        if (rv == ATLAS_OK) {
            atl_packet_keys_free(&keys);
        } else {
            assert_int_equal(rv, ATLAS_ERR_NOMEM);
        }
    }
}

static void short_of_memory(void **state) {
    (void)state;
    assert_int_equal(testenv_each_failure(derive_once, NULL), 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initial_keys),    cmocka_unit_test(client_initial),
        cmocka_unit_test(server_initial),  cmocka_unit_test(chacha_short_header),
        cmocka_unit_test(retry_tag),       cmocka_unit_test(descriptions),
        cmocka_unit_test(short_of_memory),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
