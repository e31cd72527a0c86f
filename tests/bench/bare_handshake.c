/* The baseline of handshakes: two ngtcp2 connections on ngtcp2's own wolfSSL helper, mutual Ed25519
 * certificates and X25519, both ends in one thread and in memory. wolfSSL_quic_hkdf_*, which seeds
 * a random generator at each call, is replaced by wc_HKDF_* (--wrap): the remedy that every serious
 * user of the pair applies. */
#include "bare_handshake.h"

#include "quic/certificate.h"

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/quic.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/hmac.h>

#define MTU 1443

typedef struct end {
    ngtcp2_crypto_conn_ref ref;
    ngtcp2_conn *conn;
    WOLFSSL *ssl;
    struct sockaddr_in local;
    struct sockaddr_in remote;
    int confirmed;
} end;

static WOLFSSL_CTX *client_ctx;
static WOLFSSL_CTX *server_ctx;
static int authenticating;
static int looks; /* at certificates, in this handshake */

/* ---- the remedy ---- */

int __wrap_wolfSSL_quic_hkdf_extract(uint8_t *dest, const WOLFSSL_EVP_MD *md, const uint8_t *secret,
                                     size_t secretlen, const uint8_t *salt, size_t saltlen);
int __wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t destlen, const WOLFSSL_EVP_MD *md,
                                    const uint8_t *secret, size_t secretlen, const uint8_t *info,
                                    size_t infolen);
int __wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t destlen, const WOLFSSL_EVP_MD *md,
                             const uint8_t *secret, size_t secretlen, const uint8_t *salt,
                             size_t saltlen, const uint8_t *info, size_t infolen);

/* SHA-256 throughout: the cipher list has nothing else. */
int __wrap_wolfSSL_quic_hkdf_extract(uint8_t *dest, const WOLFSSL_EVP_MD *md, const uint8_t *secret,
                                     size_t secretlen, const uint8_t *salt, size_t saltlen) {
    (void)md;
    return wc_HKDF_Extract(WC_SHA256, salt, (word32)saltlen, secret, (word32)secretlen, dest) == 0
               ? WOLFSSL_SUCCESS
               : WOLFSSL_FAILURE;
}

int __wrap_wolfSSL_quic_hkdf_expand(uint8_t *dest, size_t destlen, const WOLFSSL_EVP_MD *md,
                                    const uint8_t *secret, size_t secretlen, const uint8_t *info,
                                    size_t infolen) {
    (void)md;
    return wc_HKDF_Expand(WC_SHA256, secret, (word32)secretlen, info, (word32)infolen, dest,
                          (word32)destlen) == 0
               ? WOLFSSL_SUCCESS
               : WOLFSSL_FAILURE;
}

int __wrap_wolfSSL_quic_hkdf(uint8_t *dest, size_t destlen, const WOLFSSL_EVP_MD *md,
                             const uint8_t *secret, size_t secretlen, const uint8_t *salt,
                             size_t saltlen, const uint8_t *info, size_t infolen) {
    (void)md;
    return wc_HKDF(WC_SHA256, secret, (word32)secretlen, salt, (word32)saltlen, info,
                   (word32)infolen, dest, (word32)destlen) == 0
               ? WOLFSSL_SUCCESS
               : WOLFSSL_FAILURE;
}

/* ---- callbacks ---- */

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref) {
    return ((end *)ref->user_data)->conn;
}

static void cb_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
    (void)ctx;
    randombytes_buf(dest, len);
}

static int cb_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                  size_t len, void *user) {
    (void)conn;
    (void)user;
    randombytes_buf(cid->data, len);
    cid->datalen = len;
    randombytes_buf(token->data, sizeof(token->data));
    return 0;
}

static int cb_confirmed(ngtcp2_conn *conn, void *user) {
    (void)conn;
    ((end *)user)->confirmed = 1;
    return 0;
}

static void fill_callbacks(ngtcp2_callbacks *cb) {
    memset(cb, 0, sizeof(*cb));
    cb->client_initial = ngtcp2_crypto_client_initial_cb;
    cb->recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
    cb->recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb;
    cb->encrypt = ngtcp2_crypto_encrypt_cb;
    cb->decrypt = ngtcp2_crypto_decrypt_cb;
    cb->hp_mask = ngtcp2_crypto_hp_mask_cb;
    cb->recv_retry = ngtcp2_crypto_recv_retry_cb;
    cb->update_key = ngtcp2_crypto_update_key_cb;
    cb->delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
    cb->delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
    cb->get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb;
    cb->version_negotiation = ngtcp2_crypto_version_negotiation_cb;
    cb->rand = cb_rand;
    cb->get_new_connection_id2 = cb_cid;
    cb->handshake_confirmed = cb_confirmed;
}

/* ---- the two ends ---- */

/* wolfSSL asks twice, about its error and without: the first time will do. */
static int look(int preverified, WOLFSSL_X509_STORE_CTX *store) {
    const char *why;
    atl_peer_id peer;

    (void)preverified;
    if (!authenticating || store->error == 0) {
        return 1;
    }
    if (store->totalCerts != 1 ||
        atl_certificate_verify(store->certs[0].buffer, store->certs[0].length, (int64_t)time(NULL),
                               &peer, &why) != ATLAS_OK) {
        return 0;
    }
    looks++;
    return 1;
}

static void configure(WOLFSSL_CTX *ctx) {
    static const uint8_t SERIAL[16] = {1};
    int groups[] = {WOLFSSL_ECC_X25519};
    uint8_t seed[32], pkcs8[ATL_CERTIFICATE_PKCS8], cert[ATL_CERTIFICATE_MAX];
    atlas_key *key;
    size_t len;

    randombytes_buf(seed, sizeof(seed));
    bench_check(atlas_key_generate(&key), "key");
    bench_check(atl_certificate_make(key, seed, SERIAL, (int64_t)time(NULL), cert, &len),
                "certificate");
    atlas_key_free(key);
    atl_certificate_pkcs8(seed, pkcs8);
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, look);
    if (wolfSSL_CTX_set_cipher_list(ctx, "TLS13-AES128-GCM-SHA256") != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_groups(ctx, groups, 1) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_certificate_buffer(ctx, cert, (long)len, WOLFSSL_FILETYPE_ASN1) !=
            WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_buffer(ctx, pkcs8, sizeof(pkcs8), WOLFSSL_FILETYPE_ASN1) !=
            WOLFSSL_SUCCESS) {
        bench_die("wolfSSL context");
    }
}

void bare_handshake_init(void) {
    if (sodium_init() < 0 || wolfSSL_Init() != WOLFSSL_SUCCESS) {
        bench_die("init");
    }
    client_ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    server_ctx = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
    if (client_ctx == NULL || server_ctx == NULL ||
        ngtcp2_crypto_wolfssl_configure_client_context(client_ctx) != 0 ||
        ngtcp2_crypto_wolfssl_configure_server_context(server_ctx) != 0) {
        bench_die("wolfSSL");
    }
    configure(client_ctx);
    configure(server_ctx);
    (void)wolfSSL_CTX_no_ticket_TLSv13(server_ctx);
}

static void make_ssl(end *e, WOLFSSL_CTX *ctx) {
    static const uint8_t ALPN[] = {7, 'a', 't', 'l', 'a', 's', '/', '1'};

    e->ref.get_conn = get_conn;
    e->ref.user_data = e;
    e->ssl = wolfSSL_new(ctx);
    if (e->ssl == NULL || wolfSSL_set_app_data(e->ssl, &e->ref) != WOLFSSL_SUCCESS ||
        wolfSSL_set_alpn_protos(e->ssl, ALPN, sizeof(ALPN)) != WOLFSSL_SUCCESS ||
        (ctx == client_ctx && wolfSSL_UseKeyShare(e->ssl, WOLFSSL_ECC_X25519) != WOLFSSL_SUCCESS)) {
        bench_die("wolfSSL session");
    }
    wolfSSL_set_quic_transport_version(e->ssl, 0x39);
    if (ctx == client_ctx) {
        wolfSSL_set_connect_state(e->ssl);
    } else {
        wolfSSL_set_accept_state(e->ssl);
    }
    ngtcp2_conn_set_tls_native_handle(e->conn, e->ssl);
}

static void settings_for(ngtcp2_settings *settings, ngtcp2_transport_params *params) {
    ngtcp2_settings_default(settings);
    settings->initial_ts = bench_now();
    settings->max_tx_udp_payload_size = MTU;
    settings->no_pmtud = 1;
    ngtcp2_transport_params_default(params);
    params->initial_max_stream_data_bidi_local = params->initial_max_stream_data_bidi_remote =
        params->initial_max_stream_data_uni = 262144;
    params->initial_max_data = 524288;
    params->initial_max_streams_bidi = params->initial_max_streams_uni = 16;
    params->max_idle_timeout = 30 * NGTCP2_SECONDS;
}

static ngtcp2_path path_of(end *e) {
    ngtcp2_path path = {{(ngtcp2_sockaddr *)&e->local, sizeof(e->local)},
                        {(ngtcp2_sockaddr *)&e->remote, sizeof(e->remote)},
                        NULL};

    return path;
}

static void make_client(end *e) {
    ngtcp2_callbacks cb;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_path path = path_of(e);
    ngtcp2_cid scid = {8, {0}};
    ngtcp2_cid dcid = {16, {0}};

    randombytes_buf(scid.data, scid.datalen);
    randombytes_buf(dcid.data, dcid.datalen);
    settings_for(&settings, &params);
    fill_callbacks(&cb);
    if (ngtcp2_conn_client_new(&e->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb, &settings,
                               &params, NULL, e) != 0) {
        bench_die("ngtcp2_conn_client_new");
    }
    make_ssl(e, client_ctx);
}

static void make_server(end *e, const uint8_t *data, size_t len) {
    ngtcp2_callbacks cb;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_path path = path_of(e);
    ngtcp2_cid scid = {8, {0}};
    ngtcp2_pkt_hd hd;

    if (ngtcp2_accept(&hd, data, len) != 0) {
        bench_die("ngtcp2_accept");
    }
    randombytes_buf(scid.data, scid.datalen);
    settings_for(&settings, &params);
    params.original_dcid = hd.dcid;
    params.original_dcid_present = 1;
    fill_callbacks(&cb);
    if (ngtcp2_conn_server_new(&e->conn, &hd.scid, &scid, &path, hd.version, &cb, &settings,
                               &params, NULL, e) != 0) {
        bench_die("ngtcp2_conn_server_new");
    }
    make_ssl(e, server_ctx);
}

/* Everything that one end has to say, read by the other at once. Returns how many packets. */
static size_t pass(end *from, end *to) {
    uint8_t packet[MTU];
    ngtcp2_path_storage ps;
    ngtcp2_pkt_info info = {0};
    size_t n = 0;

    for (;;) {
        ngtcp2_path path = path_of(to);
        ngtcp2_ssize len;

        ngtcp2_path_storage_zero(&ps);
        len =
            ngtcp2_conn_write_pkt(from->conn, &ps.path, &info, packet, sizeof(packet), bench_now());
        if (len < 0) {
            bench_die(ngtcp2_strerror((int)len));
        }
        if (len == 0) {
            return n;
        }
        if (to->conn == NULL) {
            make_server(to, packet, (size_t)len);
        }
        if (ngtcp2_conn_read_pkt(to->conn, &path, &info, packet, (size_t)len, bench_now()) != 0) {
            bench_die("bare handshake");
        }
        n++;
    }
}

void bare_handshake(int authenticate) {
    end client;
    end server;

    authenticating = authenticate;
    looks = 0;
    memset(&client, 0, sizeof(client));
    memset(&server, 0, sizeof(server));
    client.local.sin_family = client.remote.sin_family = AF_INET;
    client.local.sin_addr.s_addr = htonl(0x0a000001);
    client.remote.sin_addr.s_addr = htonl(0x0a000002);
    client.local.sin_port = client.remote.sin_port = htons(4000);
    server.local = client.remote;
    server.remote = client.local;
    make_client(&client);
    while (!client.confirmed) {
        if (pass(&client, &server) + pass(&server, &client) == 0) {
            bench_die("the bare handshake stands still");
        }
    }
    if (looks != (authenticate ? 2 : 0)) {
        bench_die("the bare pair did not look at both certificates once");
    }
    ngtcp2_conn_del(client.conn);
    ngtcp2_conn_del(server.conn);
    wolfSSL_free(client.ssl);
    wolfSSL_free(server.ssl);
}
