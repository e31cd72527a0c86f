/* The TLS room end to end: two ngtcp2 connections in one process whose packets are carried by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include "quic/keys.h"
#include "quic/tls_session.h"

#include <netinet/in.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#define PACKET 1452
#define TURNS 40

/* ---- a connection's end ---- */

typedef struct side {
    atl_tls_conn_ref ref; /* first: what the callbacks expect */
    testenv *t;
    ngtcp2_conn *conn;
    struct sockaddr_in6 local, remote;
    ngtcp2_path path;
    int confirmed;
    int failed;   /* ngtcp2's error of reading or writing */
    size_t bytes; /* of stream data received */
} side;

typedef struct pair {
    testenv t;
    atlas_key *client_key, *server_key;
    atl_peer_id client_id, server_id;
    atl_tls *client_tls, *server_tls;
    side client, server;
} pair;

static void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
    (void)ctx;
    randombytes_buf(dest, len);
}

static int cb_new_id(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                     size_t len, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(cid->data, len);
    cid->datalen = len;
    randombytes_buf(token->data, sizeof(token->data));
    return 0;
}

static int cb_challenge(ngtcp2_conn *conn, ngtcp2_path_challenge_data *data, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(data->data, sizeof(data->data));
    return 0;
}

static int cb_completed(ngtcp2_conn *conn, void *user) {
    side *s = user;

    if (atl_tls_check_complete(s->ref.session) != ATLAS_OK) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (ngtcp2_conn_is_server2(conn)) {
        s->confirmed = 1;
    }
    return 0;
}

static int cb_confirmed(ngtcp2_conn *conn, void *user) {
    (void)conn;
    ((side *)user)->confirmed = 1;
    return 0;
}

static int cb_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
                   const uint8_t *data, size_t len, void *user, void *stream_user) {
    side *s = user;

    (void)flags;
    (void)offset;
    (void)data;
    (void)stream_user;
    s->bytes += len;
    ngtcp2_conn_extend_max_stream_offset(conn, id, len);
    ngtcp2_conn_extend_max_offset(conn, len);
    return 0;
}

static void fill(side *s, ngtcp2_callbacks *callbacks, ngtcp2_settings *settings,
                 ngtcp2_transport_params *params) {
    memset(callbacks, 0, sizeof(*callbacks));
    atl_tls_fill_callbacks(callbacks);
    callbacks->rand = cb_rand;
    callbacks->get_new_connection_id2 = cb_new_id;
    callbacks->get_path_challenge_data2 = cb_challenge;
    callbacks->handshake_completed = cb_completed;
    callbacks->handshake_confirmed = cb_confirmed;
    callbacks->recv_stream_data = cb_data;
    ngtcp2_settings_default(settings);
    settings->initial_ts = s->t->now;
    ngtcp2_transport_params_default(params);
    params->initial_max_streams_bidi = 4;
    params->initial_max_stream_data_bidi_remote = 65536;
    params->initial_max_data = 65536;
    params->initial_max_streams_uni = 16;
    params->initial_max_stream_data_uni = 65536;
}

static void set_path(side *s, testenv *t, uint16_t port) {
    s->t = t;
    s->local.sin6_family = s->remote.sin6_family = AF_INET6;
    s->local.sin6_port = htons(port);
    s->remote.sin6_port = htons((uint16_t)(3 - port));
    s->path.local.addr = (ngtcp2_sockaddr *)&s->local;
    s->path.local.addrlen = sizeof(s->local);
    s->path.remote.addr = (ngtcp2_sockaddr *)&s->remote;
    s->path.remote.addrlen = sizeof(s->remote);
}

static void random_id(ngtcp2_cid *cid) {
    cid->datalen = 8;
    randombytes_buf(cid->data, 8);
}

/* Takes over a client session made by the test. */
static void open_client(pair *p, atl_tls_session *session) {
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid dcid, scid;
    side *s = &p->client;

    set_path(s, &p->t, 1);
    s->ref.session = session;
    random_id(&dcid);
    random_id(&scid);
    fill(s, &callbacks, &settings, &params);
    assert_int_equal(ngtcp2_conn_client_new(&s->conn, &dcid, &scid, &s->path, NGTCP2_PROTO_VER_V1,
                                            &callbacks, &settings, &params, NULL, s),
                     0);
    atl_tls_session_set_conn(session, s->conn);
}

static void open_server(pair *p, const uint8_t *packet, size_t len) {
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_pkt_hd hd;
    ngtcp2_cid scid;
    size_t fail_at;
    side *s = &p->server;

    assert_int_equal(ngtcp2_accept(&hd, packet, len), 0);
    set_path(s, &p->t, 2);
    fail_at = p->t.fail_at; /* this one must not fail: there would be no server */
    p->t.fail_at = 0;
    assert_int_equal(atl_tls_server_new(p->server_tls, &s->ref.session), ATLAS_OK);
    p->t.fail_at = fail_at;
    random_id(&scid);
    fill(s, &callbacks, &settings, &params);
    params.original_dcid = hd.dcid;
    params.original_dcid_present = 1;
    assert_int_equal(ngtcp2_conn_server_new(&s->conn, &hd.scid, &scid, &s->path, hd.version,
                                            &callbacks, &settings, &params, NULL, s),
                     0);
    atl_tls_session_set_conn(s->ref.session, s->conn);
}

/* Writes what `from` has to say, `data` first where it is given, and hands it to the other side. */
static int carry(pair *p, side *from, side *to, int64_t stream, const uint8_t *data, size_t len) {
    uint8_t packet[PACKET];
    ngtcp2_pkt_info pi;
    ngtcp2_ssize taken = 0;
    int moved = 0;

    while (from->conn && from->failed == 0) {
        ngtcp2_ssize n = ngtcp2_conn_write_stream(from->conn, NULL, &pi, packet, sizeof(packet),
                                                  &taken, NGTCP2_WRITE_STREAM_FLAG_NONE,
                                                  len > 0 ? stream : -1, data, len, p->t.now);

        if (n < 0) {
            from->failed = (int)n;
            break;
        }
        if (n == 0) {
            break;
        }
        if (taken > 0) {
            data += taken;
            len -= (size_t)taken;
        }
        moved++;
        if (!to->conn) {
            open_server(p, packet, (size_t)n);
        }
        if (to->failed == 0) {
            to->failed =
                ngtcp2_conn_read_pkt(to->conn, &to->path, &pi, packet, (size_t)n, p->t.now);
        }
    }
    return moved;
}

/* The failing side's CONNECTION_CLOSE, as the other one would see it; its CRYPTO alert. */
static uint8_t alert_sent(side *from, side *to) {
    uint8_t packet[PACKET];
    ngtcp2_ccerr error;
    const ngtcp2_ccerr *seen;
    ngtcp2_ssize n;

    if (from->failed == NGTCP2_ERR_CRYPTO) {
        ngtcp2_ccerr_set_tls_alert(&error, ngtcp2_conn_get_tls_alert2(from->conn), NULL, 0);
    } else {
        ngtcp2_ccerr_set_liberr(&error, from->failed, NULL, 0);
    }
    n = ngtcp2_conn_write_connection_close(from->conn, NULL, NULL, packet, sizeof(packet), &error,
                                           from->t->now);
    assert_true(n > 0);
    assert_int_equal(ngtcp2_conn_read_pkt(to->conn, &to->path, NULL, packet, (size_t)n, to->t->now),
                     NGTCP2_ERR_DRAINING);
    seen = ngtcp2_conn_get_ccerr2(to->conn);
    assert_int_equal(seen->error_code, error.error_code);
    return seen->error_code >= 0x100 && seen->error_code < 0x200 ? (uint8_t)seen->error_code : 0;
}

static void run(pair *p) {
    int i;

    for (i = 0; i < TURNS && p->client.failed == 0 && p->server.failed == 0; i++) {
        int moved = carry(p, &p->client, &p->server, -1, NULL, 0);

        moved += carry(p, &p->server, &p->client, -1, NULL, 0);
        if (moved == 0) {
            break;
        }
        testenv_advance(&p->t, ATL_MS);
    }
}

static void pair_open(pair *p) {
    uint8_t seed[32];

    memset(p, 0, sizeof(*p));
    testenv_init(&p->t);
    memset(seed, 0x11, sizeof(seed));
    assert_int_equal(atlas_key_from_seed(seed, &p->client_key), ATLAS_OK);
    memset(seed, 0x22, sizeof(seed));
    assert_int_equal(atlas_key_from_seed(seed, &p->server_key), ATLAS_OK);
    atl_key_id(p->client_key, &p->client_id);
    atl_key_id(p->server_key, &p->server_id);
    assert_int_equal(atl_tls_new(&p->t.env, p->client_key, &p->client_tls), ATLAS_OK);
    assert_int_equal(atl_tls_new(&p->t.env, p->server_key, &p->server_tls), ATLAS_OK);
    atl_tls_set_server_protocols(p->server_tls, ATL_PROTO_H3 | ATL_PROTO_ATLAS);
}

static void pair_reset(pair *p) {
    ngtcp2_conn_del(p->client.conn);
    ngtcp2_conn_del(p->server.conn);
    atl_tls_session_free(p->client.ref.session);
    atl_tls_session_free(p->server.ref.session);
    memset(&p->client, 0, sizeof(p->client));
    memset(&p->server, 0, sizeof(p->server));
}

static void pair_close(pair *p) {
    pair_reset(p);
    atl_tls_free(p->client_tls);
    atl_tls_free(p->server_tls);
    atlas_key_free(p->client_key);
    atlas_key_free(p->server_key);
    testenv_done(&p->t);
}

static void dial(pair *p, uint32_t protocol, const atl_peer_id *expected) {
    atl_tls_session *session;

    assert_int_equal(atl_tls_client_new(p->client_tls, protocol, expected, &session), ATLAS_OK);
    open_client(p, session);
    run(p);
}

static void assert_connected(pair *p, uint32_t protocol) {
    const char *text;

    if (p->client.failed != 0 || p->server.failed != 0) {
        atl_tls_error(p->client.ref.session, &text);
        print_error("client %d: %s\n", p->client.failed, text);
        if (p->server.ref.session) {
            atl_tls_error(p->server.ref.session, &text);
            print_error("server %d: %s\n", p->server.failed, text);
        }
    }
    assert_int_equal(p->client.failed, 0);
    assert_int_equal(p->server.failed, 0);
    assert_true(p->client.confirmed);
    assert_true(p->server.confirmed);
    assert_int_equal(atl_tls_protocol(p->client.ref.session), protocol);
    assert_int_equal(atl_tls_protocol(p->server.ref.session), protocol);
    assert_int_equal(atl_tls_error(p->client.ref.session, &text), ATLAS_OK);
    assert_int_equal(atl_tls_error(p->server.ref.session, &text), ATLAS_OK);
}

/* The side that must have failed, with what and which alert. */
static void assert_refused(side *by, side *other, int32_t code, uint8_t alert) {
    const char *text;

    assert_int_equal(by->failed, NGTCP2_ERR_CRYPTO);
    assert_int_equal(atl_tls_error(by->ref.session, &text), code);
    assert_true(text[0] != '\0');
    assert_null(atl_tls_peer(by->ref.session));
    assert_int_equal(alert_sent(by, other), alert);
}

/* ---- tests ---- */

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

/* A wolfSSL with strict ASN.1 parsing refuses unknown critical extensions before it asks the verify
 * callback. */
#ifdef WOLFSSL_NO_ASN_STRICT
#define CRITICAL_CODE ATLAS_OK
#else
#define CRITICAL_CODE ATLAS_ERR_CERTIFICATE
#endif

/* Certificates that the handshake must not let through, presented by the client; and one with the
 * extension critical, which it must. */
static void certificates(void **state) {
    static const struct {
        const char *name;
        int64_t not_before, not_after; /* from the wall clock of the tests, seconds */
        int critical;
        int forged; /* the signature is for another key */
        int chain;  /* the certificate twice */
        int32_t code;
        uint8_t alert;
    } table[] = {
        {"critical extension", -100, 100, 1, 0, 0, CRITICAL_CODE, 42},
        {"good by the environment's clock", -100, 100, 0, 0, 0, ATLAS_OK, 0},
        {"expired", -200, -100, 0, 0, 0, ATLAS_ERR_CERTIFICATE, 42},
        {"not yet valid", 100, 200, 0, 0, 0, ATLAS_ERR_CERTIFICATE, 42},
        {"forged", -100, 100, 0, 1, 0, ATLAS_ERR_CERTIFICATE, 42},
        {"two certificates", -100, 100, 0, 0, 1, ATLAS_ERR_CERTIFICATE, 42},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(table); i++) {
        uint8_t spki[ATL_CERTIFICATE_SPKI], extension[256], der[2 * ATL_CERTIFICATE_MAX],
            pkcs8[ATL_CERTIFICATE_PKCS8];
        atl_certificate_spec spec;
        atl_tls_session *session;
        atl_writer w;
        size_t len;
        pair p;

        pair_open(&p);
        p.t.wall += INT64_C(3155760000000); /* a century that wolfSSL's clock does not know of */
        memset(&spec, 0x33, sizeof(spec));
        spec.not_before = p.t.wall / 1000 + table[i].not_before;
        spec.not_after = p.t.wall / 1000 + table[i].not_after;
        atl_certificate_spki(spec.seed, spki);
        spki[20] ^= (uint8_t)table[i].forged;
        atl_writer_init(&w, extension, sizeof(extension));
        atl_certificate_extension(&w, p.client_key, table[i].critical, spki, sizeof(spki));
        assert_int_equal(atl_certificate_build(&spec, extension, w.len, der, sizeof(der), &len),
                         ATLAS_OK);
        atl_certificate_pkcs8(spec.seed, pkcs8);
        assert_int_equal(atl_tls_client_new(p.client_tls, ATL_PROTO_ATLAS, &p.server_id, &session),
                         ATLAS_OK);
        if (table[i].chain) {
            memcpy(der + len, der, len);
            assert_int_equal(wolfSSL_use_certificate_chain_buffer_format(
                                 session->ssl, der, (long)(2 * len), WOLFSSL_FILETYPE_ASN1),
                             WOLFSSL_SUCCESS);
        } else {
            assert_int_equal(
                wolfSSL_use_certificate_buffer(session->ssl, der, (long)len, WOLFSSL_FILETYPE_ASN1),
                WOLFSSL_SUCCESS);
        }
        assert_int_equal(wolfSSL_use_PrivateKey_buffer(session->ssl, pkcs8, sizeof(pkcs8),
                                                       WOLFSSL_FILETYPE_ASN1),
                         WOLFSSL_SUCCESS);
        open_client(&p, session);
        run(&p);
        print_message("    %s\n", table[i].name);
        if (table[i].code == ATLAS_OK) {
            assert_connected(&p, ATL_PROTO_ATLAS);
            assert_true(atl_peer_id_equal(atl_tls_peer(p.server.ref.session), &p.client_id));
        } else {
            assert_refused(&p.server, &p.client, table[i].code, table[i].alert);
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
        cmocka_unit_test(certificates),
        cmocka_unit_test(chacha),
        cmocka_unit_test(key_update),
        cmocka_unit_test(exporter),
        cmocka_unit_test(after_handshake),
        cmocka_unit_test(garbled_hello),
        cmocka_unit_test(arguments),
        cmocka_unit_test(short_of_memory),
        cmocka_unit_test(handshake_short_of_memory),
        cmocka_unit_test(handshake_rate),
    };

    if (sodium_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
