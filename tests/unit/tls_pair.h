/* Two ngtcp2 connections in one process, with the TLS of the quic room, whose packets are carried
 * by hand. Include cmocka before this. */
#ifndef ATL_TESTS_UNIT_TLS_PAIR_H
#define ATL_TESTS_UNIT_TLS_PAIR_H

#include "testenv.h"

#include "quic/keys.h"
#include "quic/tls_session.h"

#include <netinet/in.h>
#include <sodium.h>

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

static TESTENV_UNUSED void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
    (void)ctx;
    randombytes_buf(dest, len);
}

static TESTENV_UNUSED int cb_new_id(ngtcp2_conn *conn, ngtcp2_cid *cid,
                                    ngtcp2_stateless_reset_token *token, size_t len, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(cid->data, len);
    cid->datalen = len;
    randombytes_buf(token->data, sizeof(token->data));
    return 0;
}

static TESTENV_UNUSED int cb_challenge(ngtcp2_conn *conn, ngtcp2_path_challenge_data *data,
                                       void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(data->data, sizeof(data->data));
    return 0;
}

static TESTENV_UNUSED int cb_completed(ngtcp2_conn *conn, void *user) {
    side *s = user;

    if (atl_tls_check_complete(s->ref.session) != ATLAS_OK) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (ngtcp2_conn_is_server2(conn)) {
        s->confirmed = 1;
    }
    return 0;
}

static TESTENV_UNUSED int cb_confirmed(ngtcp2_conn *conn, void *user) {
    (void)conn;
    ((side *)user)->confirmed = 1;
    return 0;
}

static TESTENV_UNUSED int cb_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
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

static TESTENV_UNUSED void fill(side *s, ngtcp2_callbacks *callbacks, ngtcp2_settings *settings,
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

static TESTENV_UNUSED void set_path(side *s, testenv *t, uint16_t port) {
    s->t = t;
    s->local.sin6_family = s->remote.sin6_family = AF_INET6;
    s->local.sin6_port = htons(port);
    s->remote.sin6_port = htons((uint16_t)(3 - port));
    s->path.local.addr = (ngtcp2_sockaddr *)&s->local;
    s->path.local.addrlen = sizeof(s->local);
    s->path.remote.addr = (ngtcp2_sockaddr *)&s->remote;
    s->path.remote.addrlen = sizeof(s->remote);
}

static TESTENV_UNUSED void random_id(ngtcp2_cid *cid) {
    cid->datalen = 8;
    randombytes_buf(cid->data, 8);
}

/* Takes over a client session made by the test. */
static TESTENV_UNUSED void open_client(pair *p, atl_tls_session *session) {
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

/* `odcid` not NULL: the client comes from a Retry. */
static TESTENV_UNUSED void open_server_after(pair *p, const ngtcp2_pkt_hd *hd,
                                             const ngtcp2_cid *odcid) {
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid scid;
    side *s = &p->server;
    size_t fail_at = p->t.fail_at;

    set_path(s, &p->t, 2);
    p->t.fail_at = 0; /* this one must not fail: there would be no server */
    assert_int_equal(atl_tls_server_new(p->server_tls, &s->ref.session), ATLAS_OK);
    p->t.fail_at = fail_at;
    random_id(&scid);
    fill(s, &callbacks, &settings, &params);
    params.original_dcid = odcid ? *odcid : hd->dcid;
    params.original_dcid_present = 1;
    if (odcid) {
        params.retry_scid = hd->dcid;
        params.retry_scid_present = 1;
        settings.token = hd->token;
        settings.tokenlen = hd->tokenlen;
        settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
    }
    assert_int_equal(ngtcp2_conn_server_new(&s->conn, &hd->scid, &scid, &s->path, hd->version,
                                            &callbacks, &settings, &params, NULL, s),
                     0);
    atl_tls_session_set_conn(s->ref.session, s->conn);
}

static TESTENV_UNUSED void open_server(pair *p, const uint8_t *packet, size_t len) {
    ngtcp2_pkt_hd hd;

    assert_int_equal(ngtcp2_accept(&hd, packet, len), 0);
    open_server_after(p, &hd, NULL);
}

/* Writes what `from` has to say, `data` first where it is given, and hands it to the other side. */
static TESTENV_UNUSED int carry(pair *p, side *from, side *to, int64_t stream, const uint8_t *data,
                                size_t len) {
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
static TESTENV_UNUSED uint8_t alert_sent(side *from, side *to) {
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

static TESTENV_UNUSED void run(pair *p) {
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

static TESTENV_UNUSED void pair_open(pair *p) {
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

static TESTENV_UNUSED void pair_reset(pair *p) {
    ngtcp2_conn_del(p->client.conn);
    ngtcp2_conn_del(p->server.conn);
    atl_tls_session_free(p->client.ref.session);
    atl_tls_session_free(p->server.ref.session);
    memset(&p->client, 0, sizeof(p->client));
    memset(&p->server, 0, sizeof(p->server));
}

static TESTENV_UNUSED void pair_close(pair *p) {
    pair_reset(p);
    atl_tls_free(p->client_tls);
    atl_tls_free(p->server_tls);
    atlas_key_free(p->client_key);
    atlas_key_free(p->server_key);
    testenv_done(&p->t);
}

static TESTENV_UNUSED void dial(pair *p, uint32_t protocol, const atl_peer_id *expected) {
    atl_tls_session *session;

    assert_int_equal(atl_tls_client_new(p->client_tls, protocol, expected, &session), ATLAS_OK);
    open_client(p, session);
    run(p);
}

static TESTENV_UNUSED void assert_connected(pair *p, uint32_t protocol) {
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
static TESTENV_UNUSED void assert_refused(side *by, side *other, int32_t code, uint8_t alert) {
    const char *text;

    assert_int_equal(by->failed, NGTCP2_ERR_CRYPTO);
    assert_int_equal(atl_tls_error(by->ref.session, &text), code);
    assert_true(text[0] != '\0');
    assert_null(atl_tls_peer(by->ref.session));
    assert_int_equal(alert_sent(by, other), alert);
}

#endif
