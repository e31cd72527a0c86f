/* The handshake itself: hostile certificates and messages, both ciphers, key updates, Retry, short
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_pair.h"

/* A wolfSSL with strict ASN.1 parsing refuses unknown critical extensions before it asks the verify
 * callback. */
#ifdef WOLFSSL_NO_ASN_STRICT
#define CRITICAL_CODE ATLAS_OK
#else
#define CRITICAL_CODE ATLAS_ERR_CERTIFICATE
#endif

/* Certificates that the handshake must not let through, presented by the client; and one with the
 * extension critical, which it must. */
typedef struct offer {
    const char *name;
    int64_t not_before, not_after; /* from the wall clock of the tests, seconds */
    int critical;
    int forged; /* the signature is for another key */
    int chain;  /* the certificate twice */
    int32_t code;
} offer;

/* A client session that presents what `o` says instead of the certificate of its endpoint. */
static atl_tls_session *client_with(pair *p, const offer *o) {
    uint8_t spki[ATL_CERTIFICATE_SPKI], extension[256], der[2 * ATL_CERTIFICATE_MAX],
        pkcs8[ATL_CERTIFICATE_PKCS8];
    atl_tls_session *session = NULL;
    atl_certificate_spec spec;
    atl_writer w;
    size_t len;
    int rv;

    memset(&spec, 0x33, sizeof(spec));
    spec.not_before = p->t.wall / 1000 + o->not_before;
    spec.not_after = p->t.wall / 1000 + o->not_after;
    atl_certificate_spki(spec.seed, spki);
    spki[20] ^= (uint8_t)o->forged;
    atl_writer_init(&w, extension, sizeof(extension));
    atl_certificate_extension(&w, p->client_key, o->critical, spki, sizeof(spki));
    assert_int_equal(atl_certificate_build(&spec, extension, w.len, der, sizeof(der), &len),
                     ATLAS_OK);
    atl_certificate_pkcs8(spec.seed, pkcs8);
    assert_int_equal(atl_tls_client_new(p->client_tls, ATL_PROTO_ATLAS, &p->server_id, &session),
                     ATLAS_OK);
    if (o->chain) {
        memcpy(der + len, der, len);
        rv = wolfSSL_use_certificate_chain_buffer_format(session->ssl, der, (long)(2 * len),
                                                         WOLFSSL_FILETYPE_ASN1);
    } else {
        rv = wolfSSL_use_certificate_buffer(session->ssl, der, (long)len, WOLFSSL_FILETYPE_ASN1);
    }
    assert_int_equal(rv, WOLFSSL_SUCCESS);
    assert_int_equal(
        wolfSSL_use_PrivateKey_buffer(session->ssl, pkcs8, sizeof(pkcs8), WOLFSSL_FILETYPE_ASN1),
        WOLFSSL_SUCCESS);
    return session;
}

static void certificates(void **state) {
    static const offer table[] = {
        {"critical extension", -100, 100, 1, 0, 0, CRITICAL_CODE},
        {"good by the environment's clock", -100, 100, 0, 0, 0, ATLAS_OK},
        {"expired", -200, -100, 0, 0, 0, ATLAS_ERR_CERTIFICATE},
        {"not yet valid", 100, 200, 0, 0, 0, ATLAS_ERR_CERTIFICATE},
        {"forged", -100, 100, 0, 1, 0, ATLAS_ERR_CERTIFICATE},
        {"two certificates", -100, 100, 0, 0, 1, ATLAS_ERR_CERTIFICATE},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        pair p;

        pair_open(&p);
        p.t.wall += INT64_C(3155760000000); /* a century that wolfSSL's clock does not know of */
        open_client(&p, client_with(&p, &table[i]));
        run(&p);
        print_message("    %s\n", table[i].name);
        if (table[i].code == ATLAS_OK) {
            assert_connected(&p, ATL_PROTO_ATLAS);
            assert_true(atl_peer_id_equal(atl_tls_peer(p.server.ref.session), &p.client_id));
        } else {
            assert_refused(&p.server, &p.client, table[i].code, 42);
            assert_false(p.client.confirmed);
        }
        pair_close(&p);
    }
}

static void chacha(void **state) {
    atl_tls_session *session;
    pair p;

    (void)state;
    pair_open(&p);
    assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                     ATLAS_OK);
    assert_int_equal(wolfSSL_set_cipher_list(session->ssl, "TLS13-CHACHA20-POLY1305-SHA256"),
                     WOLFSSL_SUCCESS);
    open_client(&p, session);
    run(&p);
    assert_connected(&p, ATL_PROTO_ATLAS);
    assert_int_equal(p.client.ref.session->cipher, ATL_CIPHER_CHACHA20_POLY1305);
    assert_int_equal(p.server.ref.session->cipher, ATL_CIPHER_CHACHA20_POLY1305);
    pair_close(&p);
}

static void send_some(pair *p, size_t len) {
    uint8_t data[3000];
    int64_t stream;
    size_t before = p->server.bytes;

    assert_true(len <= sizeof(data));
    memset(data, 7, sizeof(data));
    assert_int_equal(ngtcp2_conn_open_uni_stream(p->client.conn, &stream, NULL), 0);
    (void)carry(p, &p->client, &p->server, stream, data, len);
    run(p);
    assert_int_equal(p->client.failed, 0);
    assert_int_equal(p->server.failed, 0);
    assert_int_equal(p->server.bytes - before, len);
}

static void key_update(void **state) {
    static const char *const suites[] = {"TLS13-AES128-GCM-SHA256",
                                         "TLS13-CHACHA20-POLY1305-SHA256"};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(suites); i++) {
        atl_tls_session *session;
        pair p;

        pair_open(&p);
        assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                         ATLAS_OK);
        assert_int_equal(wolfSSL_set_cipher_list(session->ssl, suites[i]), WOLFSSL_SUCCESS);
        open_client(&p, session);
        run(&p);
        send_some(&p, 2000);
        testenv_advance(&p.t, 5 * ATL_SECOND);
        assert_int_equal(ngtcp2_conn_initiate_key_update(p.client.conn, p.t.now), 0);
        send_some(&p, 2500);
        testenv_advance(&p.t, 5 * ATL_SECOND);
        send_some(&p, 100); /* ngtcp2 prepares the next keys with a packet */
        assert_int_equal(ngtcp2_conn_initiate_key_update(p.client.conn, p.t.now), 0);
        send_some(&p, 3000);
        testenv_advance(&p.t, 5 * ATL_SECOND);
        send_some(&p, 100);
        assert_int_equal(ngtcp2_conn_initiate_key_update(p.server.conn, p.t.now), 0);
        send_some(&p, 3000);
        assert_connected(&p, ATL_PROTO_ATLAS);
        pair_close(&p);
    }
}

/* A server that is busy: Retry, the client's second Initial with the token, and a handshake. */
static void retry(void **state) {
    static const uint8_t secret[32] = {1};
    uint8_t packet[PACKET], answer[256], token[ATL_RETRY_TOKEN_MAX];
    ngtcp2_cid retry_scid, odcid;
    atl_tls_session *session;
    ngtcp2_pkt_hd hd;
    ngtcp2_ssize n;
    int64_t len;
    size_t token_len;
    pair p;

    (void)state;
    pair_open(&p);
    assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                     ATLAS_OK);
    open_client(&p, session);
    n = ngtcp2_conn_write_pkt(p.client.conn, NULL, NULL, packet, sizeof(packet), p.t.now);
    assert_true(n > 0);
    assert_int_equal(ngtcp2_accept(&hd, packet, (size_t)n), 0);
    random_id(&retry_scid);
    assert_int_equal(atl_retry_token_make(&p.t.env, secret, "addr", 4, &retry_scid, &hd.dcid,
                                          p.t.now, token, sizeof(token), &token_len),
                     ATLAS_OK);
    len = atl_retry_packet(answer, sizeof(answer), NGTCP2_PROTO_VER_V1, &hd.scid, &retry_scid,
                           &hd.dcid, token, token_len);
    assert_true(len > 0);
    answer[len - 1] ^= 1; /* a forged one is dropped */
    assert_int_equal(
        ngtcp2_conn_read_pkt(p.client.conn, &p.client.path, NULL, answer, (size_t)len, p.t.now), 0);
    assert_int_equal(
        ngtcp2_conn_write_pkt(p.client.conn, NULL, NULL, packet, sizeof(packet), p.t.now), 0);
    answer[len - 1] ^= 1;
    assert_int_equal(
        ngtcp2_conn_read_pkt(p.client.conn, &p.client.path, NULL, answer, (size_t)len, p.t.now), 0);
    n = ngtcp2_conn_write_pkt(p.client.conn, NULL, NULL, packet, sizeof(packet), p.t.now);
    assert_true(n > 0);
    assert_int_equal(ngtcp2_accept(&hd, packet, (size_t)n), 0);
    assert_true(ngtcp2_cid_eq(&hd.dcid, &retry_scid));
    assert_int_equal(atl_retry_token_check(secret, hd.token, hd.tokenlen, "addr", 4, &hd.dcid,
                                           ATL_SECOND, p.t.now, &odcid),
                     ATLAS_OK);
    open_server_after(&p, &hd, &odcid);
    assert_int_equal(
        ngtcp2_conn_read_pkt(p.server.conn, &p.server.path, NULL, packet, (size_t)n, p.t.now), 0);
    run(&p);
    assert_connected(&p, ATL_PROTO_ATLAS);
    pair_close(&p);
}

/* Behind the handshake: a server's tickets are stepped over in whatever pieces they come; all else
 * is an error. */
static void after_handshake(void **state) {
    static const uint8_t ticket[] = {4, 0, 0, 3, 9, 9, 9, 4, 0, 0, 0, 4, 0, 0, 1, 9};
    static const uint8_t key_update_message[] = {24, 0, 0, 1, 0};
    ngtcp2_callbacks callbacks;
    size_t i;
    pair p;

    (void)state;
    pair_open(&p);
    dial(&p, ATL_PROTO_H3, &p.server_id);
    memset(&callbacks, 0, sizeof(callbacks));
    atl_tls_fill_callbacks(&callbacks);
    for (i = 1; i < sizeof(ticket); i++) {
        assert_int_equal(callbacks.recv_crypto_data(p.client.conn, NGTCP2_ENCRYPTION_LEVEL_1RTT, 0,
                                                    ticket, i, &p.client),
                         0);
        assert_int_equal(callbacks.recv_crypto_data(p.client.conn, NGTCP2_ENCRYPTION_LEVEL_1RTT, i,
                                                    ticket + i, sizeof(ticket) - i, &p.client),
                         0);
    }
    assert_int_equal(
        callbacks.recv_crypto_data(p.client.conn, NGTCP2_ENCRYPTION_LEVEL_1RTT, 0,
                                   key_update_message, sizeof(key_update_message), &p.client),
        NGTCP2_ERR_CRYPTO);
    assert_int_equal(ngtcp2_conn_get_tls_alert2(p.client.conn), 10);
    assert_int_equal(callbacks.recv_crypto_data(p.server.conn, NGTCP2_ENCRYPTION_LEVEL_1RTT, 0,
                                                ticket, sizeof(ticket), &p.server),
                     NGTCP2_ERR_CRYPTO);
    pair_close(&p);
}

/* Bytes of the handshake changed on the way: some error, no crash, nobody authenticated. */
static void garbled_hello(void **state) {
    static const uint8_t hellos[][8] = {
        {1, 0, 0, 4, 3, 3, 0, 0}, {255, 255, 255, 255, 0, 0, 0, 0}, {2, 0, 0, 4, 3, 3, 0, 0}};
    ngtcp2_callbacks callbacks;
    const char *text;
    size_t i;

    (void)state;
    memset(&callbacks, 0, sizeof(callbacks));
    atl_tls_fill_callbacks(&callbacks);
    for (i = 0; i < ATL_COUNT(hellos); i++) {
        atl_tls_session *session;
        uint8_t packet[PACKET];
        ngtcp2_pkt_info pi;
        ngtcp2_ssize n;
        pair p;
        int rv;

        pair_open(&p);
        assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_H3, &p.server_id, &session),
                         ATLAS_OK);
        open_client(&p, session);
        n = ngtcp2_conn_write_pkt(p.client.conn, NULL, &pi, packet, sizeof(packet), p.t.now);
        assert_true(n > 0);
        open_server(&p, packet, (size_t)n);
        rv = callbacks.recv_crypto_data(p.server.conn, NGTCP2_ENCRYPTION_LEVEL_INITIAL, 0,
                                        hellos[i], sizeof(hellos[i]), &p.server);
        assert_true(rv == NGTCP2_ERR_CRYPTO);
        assert_int_equal(atl_tls_error(p.server.ref.session, &text), ATLAS_ERR_HANDSHAKE);
        assert_true(ngtcp2_conn_get_tls_alert2(p.server.conn) != 0);
        assert_null(atl_tls_peer(p.server.ref.session));
        pair_close(&p);
    }
}

/* Every allocation of a handshake that can fail, fails once: an error or a connection, and nothing
 * is lost. */
static void handshake_short_of_memory(void **state) {
    size_t n, failures = 0;

    (void)state;
    for (n = 1; n < 40; n++) {
        atl_tls_session *session = NULL;
        const char *text;
        pair p;

        pair_open(&p);
        assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                         ATLAS_OK);
        open_client(&p, session);
        testenv_fail_next(&p.t, n);
        run(&p);
        if (p.t.allocations < p.t.fail_at) {
            n = 40;
            assert_connected(&p, ATL_PROTO_ATLAS);
        } else if (p.client.failed != 0 || p.server.failed != 0) {
            side *by = p.client.failed != 0 ? &p.client : &p.server;

            failures++;
            assert_true(by->failed == NGTCP2_ERR_CRYPTO ||
                        by->failed == NGTCP2_ERR_CALLBACK_FAILURE);
            if (by->failed == NGTCP2_ERR_CRYPTO) {
                assert_int_equal(atl_tls_error(by->ref.session, &text), ATLAS_ERR_NOMEM);
            }
        }
        pair_close(&p);
    }
    assert_true(failures > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates),
        cmocka_unit_test(chacha),
        cmocka_unit_test(key_update),
        cmocka_unit_test(retry),
        cmocka_unit_test(after_handshake),
        cmocka_unit_test(garbled_hello),
        cmocka_unit_test(handshake_short_of_memory),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("tls_session", tests, NULL, NULL);
}
