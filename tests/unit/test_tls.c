/* Who may connect to whom, by which protocol, and what both know afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tls_pair.h"

#include <time.h>

static void handshake(void **state) {
    static const uint32_t protocols[] = {ATL_PROTO_ATLAS, ATL_PROTO_H3};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(protocols); i++) {
        pair p;

        pair_open(&p);
        dial(&p, protocols[i], &p.server_id);
        assert_connected(&p, protocols[i]);
        assert_non_null(atl_tls_peer(p.client.ref.session));
        assert_non_null(atl_tls_peer(p.server.ref.session));
        assert_true(atl_peer_id_equal(atl_tls_peer(p.client.ref.session), &p.server_id));
        assert_true(atl_peer_id_equal(atl_tls_peer(p.server.ref.session), &p.client_id));
        pair_close(&p);
    }
}

static void wrong_peer(void **state) {
    pair p;

    (void)state;
    pair_open(&p);
    dial(&p, ATL_PROTO_ATLAS, &p.client_id); /* the server is not that */
    assert_refused(&p.client, &p.server, ATLAS_ERR_PEER_MISMATCH, 42);
    assert_false(p.server.confirmed);
    pair_close(&p);
}

static void no_common_protocol(void **state) {
    static const uint32_t served[] = {ATL_PROTO_H3, 0};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(served); i++) {
        pair p;

        pair_open(&p);
        atl_tls_set_server_protocols(p.server_tls, served[i]);
        dial(&p, ATL_PROTO_ATLAS, &p.server_id);
        assert_refused(&p.server, &p.client, ATLAS_ERR_ALPN, 120);
        assert_int_equal(atl_tls_alert_error(120), ATLAS_ERR_ALPN);
        assert_false(p.client.confirmed);
        pair_close(&p);
    }
}

static void client_without_alpn(void **state) {
    atl_tls_session *session;
    pair p;

    (void)state;
    pair_open(&p);
    assert_int_equal(atl_tls_session_make(p.client_tls, 0, 0, &p.server_id, &session), ATLAS_OK);
    open_client(&p, session);
    run(&p);
    assert_refused(&p.server, &p.client, ATLAS_ERR_ALPN, 120);
    pair_close(&p);
}

/* A server that answers without ALPN: the client refuses it. */
static void server_without_alpn(void **state) {
    atl_tls_session *session;
    pair p;

    (void)state;
    pair_open(&p);
    assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                     ATLAS_OK);
    open_client(&p, session);
    session->offered = ATL_PROTO_H3; /* now what is selected is not what was offered */
    run(&p);
    assert_refused(&p.client, &p.server, ATLAS_ERR_ALPN, 120);
    pair_close(&p);
}

static void drop_certificate(atl_tls *tls) {
    wolfSSL_CTX_free(tls->client);
    tls->client = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    assert_non_null(tls->client);
    wolfSSL_CTX_set_verify(tls->client, WOLFSSL_VERIFY_PEER, atl_tls_verify);
    assert_int_equal(wolfSSL_CTX_set_quic_method(tls->client, atl_tls_quic_method()),
                     WOLFSSL_SUCCESS);
}

/* A client that answers the server's request with an empty list. */
static void client_without_certificate(void **state) {
    static const uint32_t protocols[] = {ATL_PROTO_H3, ATL_PROTO_ATLAS};
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(protocols); i++) {
        atl_tls_session *session;
        pair p;

        pair_open(&p);
        drop_certificate(p.client_tls);
        assert_int_equal(atl_tls_client_new(p.client_tls, protocols[i], &p.server_id, &session),
                         ATLAS_OK);
        open_client(&p, session);
        run(&p);
        if (protocols[i] == ATL_PROTO_H3) {
            assert_connected(&p, ATL_PROTO_H3);
            assert_null(atl_tls_peer(p.server.ref.session));
            assert_non_null(atl_tls_peer(p.client.ref.session));
        } else {
            assert_refused(&p.server, &p.client, ATLAS_ERR_CERTIFICATE, 116);
            assert_false(p.client.confirmed);
        }
        pair_close(&p);
    }
}

static void exporter(void **state) {
    static const uint8_t context[] = {1, 2, 3};
    uint8_t a[48], b[48], c[48];
    pair p;

    (void)state;
    pair_open(&p);
    dial(&p, ATL_PROTO_ATLAS, &p.server_id);
    assert_connected(&p, ATL_PROTO_ATLAS);
    memset(a, 0, sizeof(a));
    memset(b, 1, sizeof(b));
    assert_int_equal(
        atl_tls_export(p.client.ref.session, "EXPORTER-test", context, 3, a, sizeof(a)), ATLAS_OK);
    assert_int_equal(
        atl_tls_export(p.server.ref.session, "EXPORTER-test", context, 3, b, sizeof(b)), ATLAS_OK);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(
        atl_tls_export(p.server.ref.session, "EXPORTER-test", context, 2, c, sizeof(c)), ATLAS_OK);
    assert_memory_not_equal(a, c, sizeof(a));
    assert_int_equal(
        atl_tls_export(p.server.ref.session, "EXPORTER-other", context, 3, c, sizeof(c)), ATLAS_OK);
    assert_memory_not_equal(a, c, sizeof(a));
    assert_int_equal(atl_tls_export(p.server.ref.session, "EXPORTER-test", NULL, 0, c, sizeof(c)),
                     ATLAS_OK);
    pair_reset(&p);

    dial(&p, ATL_PROTO_H3, &p.server_id); /* its TLS state is gone, that of others is 20 KB */
    assert_connected(&p, ATL_PROTO_H3);
    assert_int_equal(
        atl_tls_export(p.client.ref.session, "EXPORTER-test", context, 3, a, sizeof(a)),
        ATLAS_ERR_STATE);
    pair_close(&p);
}

static void arguments(void **state) {
    atl_tls_session *session = NULL;
    uint8_t out[16];
    pair p;

    (void)state;
    pair_open(&p);
    assert_int_equal(atl_tls_client_new(p.client_tls, 0, &p.server_id, &session),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_tls_client_new(p.client_tls, 3, &p.server_id, &session),
                     ATLAS_ERR_INVALID);
    assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_H3, NULL, &session),
                     ATLAS_ERR_INVALID);
    assert_null(session);
    assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                     ATLAS_OK);
    assert_non_null(atl_tls_session_native(session));
    assert_int_equal(atl_tls_protocol(session), 0);
    assert_null(atl_tls_peer(session));
    assert_int_equal(atl_tls_export(session, "x", NULL, 0, out, sizeof(out)), ATLAS_ERR_STATE);
    assert_int_equal(atl_tls_check_complete(session), ATLAS_ERR_ALPN);
    atl_tls_session_free(session);
    assert_int_equal(atl_tls_alert_error(40), ATLAS_ERR_HANDSHAKE);
    assert_int_equal(atl_tls_alert_error(116), ATLAS_ERR_CERTIFICATE);
    pair_close(&p);
}

static void short_of_memory(void **state) {
    atlas_key *key;
    uint8_t seed[32] = {1};
    size_t n;

    (void)state;
    assert_int_equal(atlas_key_from_seed(seed, &key), ATLAS_OK);
    for (n = 1; n < 3; n++) {
        testenv t;
        atl_tls *tls = NULL;
        atl_tls_session *session = NULL;

        testenv_init(&t);
        t.fail_random = n == 1;
        testenv_fail_next(&t, n == 2);
        assert_int_equal(atl_tls_new(&t.env, key, &tls),
                         n == 1 ? ATLAS_ERR_RANDOM : ATLAS_ERR_NOMEM);
        assert_null(tls);
        t.fail_random = 0;
        testenv_fail_next(&t, 0);
        assert_int_equal(atl_tls_new(&t.env, key, &tls), ATLAS_OK);
        testenv_fail_next(&t, 1);
        assert_int_equal(atl_tls_server_new(tls, &session), ATLAS_ERR_NOMEM);
        assert_null(session);
        atl_tls_free(tls);
        testenv_done(&t);
    }
    atlas_key_free(key);
}

/* Informational: both ends on one core. */
static void handshake_rate(void **state) {
    struct timespec begin, end;
    double seconds;
    int i, n = 200;
    pair p;

    (void)state;
    pair_open(&p);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (i = 0; i < n; i++) {
        dial(&p, ATL_PROTO_ATLAS, &p.server_id);
        assert_true(p.client.confirmed && p.server.confirmed);
        pair_reset(&p);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    print_message("    %.0f mutual handshakes a second, both ends on one core\n", n / seconds);
    pair_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake),
        cmocka_unit_test(wrong_peer),
        cmocka_unit_test(no_common_protocol),
        cmocka_unit_test(client_without_alpn),
        cmocka_unit_test(server_without_alpn),
        cmocka_unit_test(client_without_certificate),
        cmocka_unit_test(exporter),
        cmocka_unit_test(arguments),
        cmocka_unit_test(short_of_memory),
        cmocka_unit_test(handshake_rate),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
