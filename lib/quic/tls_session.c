#include "quic/tls_session.h"

#include "quic/keys.h"

#include <sodium.h>
#include <string.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

/* Alerts of RFC 8446 section 6. */
#define ID_SLACK 2 /* see set_local_params() */
#define ALERT_UNEXPECTED_MESSAGE 10
#define ALERT_HANDSHAKE_FAILURE 40
#define ALERT_BAD_CERTIFICATE 42
#define ALERT_UNSUPPORTED_CERTIFICATE 43
#define ALERT_INTERNAL_ERROR 80
#define ALERT_CERTIFICATE_REQUIRED 116
#define ALERT_NO_APPLICATION_PROTOCOL 120

#define MESSAGE_NEW_SESSION_TICKET 4
#define TRANSPORT_PARAMS_MAX 512

static atl_tls_session *session_of(void *user_data) {
    return ((atl_tls_conn_ref *)user_data)->session;
}

/* ---- the peer's certificate ---- */

/* What wolfSSL may hold against a certificate that is checked here in full: that nobody it trusts
 * signed it, and the clock, which is not the environment's. */
static int may_overrule(int error) {
    switch (error) {
    case 0:
    case ASN_NO_SIGNER_E:
    case ASN_SELF_SIGNED_E:
    case ASN_BEFORE_DATE_E:
    case ASN_AFTER_DATE_E:
    case WOLFSSL_X509_V_ERR_CERT_NOT_YET_VALID:
    case WOLFSSL_X509_V_ERR_CERT_HAS_EXPIRED:
    case WOLFSSL_X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case WOLFSSL_X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        return 1;
    default:
        return 0;
    }
}

/* The signatures of a certificate are checked once: whoever holds the same bytes again has still to
 * prove that the key is its own, in this handshake. */
static int32_t verify_certificate(atl_tls_session *session, WOLFSSL_X509_STORE_CTX *store,
                                  const uint8_t digest[32], atl_peer_id *peer, const char **why) {
    uint8_t *slot = session->tls->known[digest[0] % ATL_KNOWN_CERTIFICATES];
    int64_t now = atl_env_wall_ms(session->env) / 1000;
    const uint8_t *der = store->certs[0].buffer;
    size_t len = store->certs[0].length;
    int32_t rv;

    if (memcmp(slot, digest, 32) == 0) {
        return atl_certificate_verify_known(der, len, now, peer, why);
    }
    rv = atl_certificate_verify(der, len, now, peer, why);
    if (rv == ATLAS_OK) {
        memcpy(slot, digest, 32);
    }
    return rv;
}

int atl_tls_verify(int preverified, WOLFSSL_X509_STORE_CTX *store) {
    atl_tls_session *session = store->userCtx;
    uint8_t digest[sizeof(session->peer_digest)];
    const char *why = "";
    atl_peer_id peer;
    int32_t rv;

    (void)preverified;
    if (store->totalCerts == 0 && session->server) {
        return 1; /* whether that will do depends on the protocol: atl_tls_check_complete() */
    }
    if (store->totalCerts != 1) {
        atl_tls_fail(session, ATLAS_ERR_CERTIFICATE, "%d certificates instead of one",
                     store->totalCerts);
        return 0;
    }
    /* wolfSSL asks once about its error and again without: two signatures need no second look. */
    crypto_generichash(digest, sizeof(digest), store->certs[0].buffer, store->certs[0].length, NULL,
                       0);
    if (session->has_peer && memcmp(digest, session->peer_digest, sizeof(digest)) == 0) {
        return may_overrule(store->error);
    }
    if (session->has_peer) {
        atl_tls_fail(session, ATLAS_ERR_CERTIFICATE, "a second certificate");
        return 0;
    }
    rv = verify_certificate(session, store, digest, &peer, &why);
    if (rv != ATLAS_OK) {
        atl_tls_fail(session, rv, "%s", why);
        return 0;
    }
    if (!may_overrule(store->error)) {
        atl_tls_fail(session, ATLAS_ERR_CERTIFICATE, "wolfSSL does not take the certificate (%d)",
                     store->error);
        return 0;
    }
    if (session->expects && !atl_peer_id_equal(&session->expected, &peer)) {
        char text[ATLAS_PEER_ID_MAX];

        atl_peer_id_text(&peer, text);
        atl_tls_fail(session, ATLAS_ERR_PEER_MISMATCH, "authenticated as %s", text);
        return 0;
    }
    memcpy(session->peer_digest, digest, sizeof(digest));
    session->peer = peer;
    session->has_peer = 1;
    return 1;
}

/* ---- wolfSSL's QUIC interface ---- */

static int set_remote_params(atl_tls_session *session) {
    const uint8_t *params = NULL;
    size_t len = 0;
    int rv;

    wolfSSL_get_peer_quic_transport_params(session->ssl, &params, &len);
    rv = ngtcp2_conn_decode_and_set_remote_transport_params(session->conn, params, len);
    if (rv != 0) {
        ngtcp2_conn_set_tls_error(session->conn, rv);
        atl_tls_fail(session, ATLAS_ERR_HANDSHAKE, "transport parameters: %s", ngtcp2_strerror(rv));
        return -1;
    }
    return 0;
}

/* Fewer connection ids are asked for than would be taken: after some migrations ngtcp2 counts ids
 * as held that it has retired already, and would end the connection for what the peer rightly
 * issues in their place. */
static int set_local_params(atl_tls_session *session) {
    ngtcp2_transport_params local = *ngtcp2_conn_get_local_transport_params2(session->conn);
    uint8_t params[TRANSPORT_PARAMS_MAX];
    ngtcp2_ssize len;

    if (local.active_connection_id_limit >= 2 + ID_SLACK) {
        local.active_connection_id_limit -= ID_SLACK;
    }
    len = ngtcp2_transport_params_encode(params, sizeof(params), &local);

    if (len < 0 ||
        wolfSSL_set_quic_transport_params(session->ssl, params, (size_t)len) != WOLFSSL_SUCCESS) {
        atl_tls_fail(session, ATLAS_ERR_INTERNAL, "own transport parameters cannot be set");
        return -1;
    }
    return 0;
}

static int choose_protocol(atl_tls_session *session) {
    session->protocol = atl_tls_selected(session);
    if (session->protocol == 0) {
        atl_tls_fail(session, ATLAS_ERR_ALPN, "no common application protocol");
        return -1;
    }
    return 0;
}

static int choose_cipher(atl_tls_session *session) {
    const WOLFSSL_EVP_CIPHER *aead = wolfSSL_quic_get_aead(session->ssl);

    if (aead && wolfSSL_quic_aead_is_gcm(aead)) {
        session->cipher = ATL_CIPHER_AES_128_GCM;
    } else if (aead && wolfSSL_quic_aead_is_chacha20(aead)) {
        session->cipher = ATL_CIPHER_CHACHA20_POLY1305;
    } else {
        atl_tls_fail(session, ATLAS_ERR_HANDSHAKE, "the cipher suite is not one of ours");
        return -1;
    }
    return 0;
}

/* What has to happen when the first secrets of a level appear. */
static int before_secrets(atl_tls_session *session, ngtcp2_encryption_level level, int rx) {
    if (session->cipher == 0 && choose_cipher(session) != 0) {
        return -1;
    }
    if (session->server && level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE && session->protocol == 0) {
        /* The ClientHello has been read: refuse now what would be refused after two signatures. */
        return choose_protocol(session) != 0 ? -1 : set_remote_params(session);
    }
    if (!session->server && level == NGTCP2_ENCRYPTION_LEVEL_1RTT && rx) {
        return set_remote_params(session);
    }
    return 0;
}

static int install(atl_tls_session *session, ngtcp2_encryption_level level, int rx,
                   const uint8_t *secret) {
    int32_t rv;

    if (before_secrets(session, level, rx) != 0) {
        return -1;
    }
    rv = atl_install_secret(session->env, session->conn, level, rx, session->cipher, secret);
    if (rv != ATLAS_OK) {
        atl_tls_fail(session, rv, "keys cannot be installed");
        return -1;
    }
    if (session->server && level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE && !rx) {
        return set_local_params(session);
    }
    return 0;
}

static int on_secrets(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL wolfssl_level, const uint8_t *rx,
                      const uint8_t *tx, size_t len) {
    atl_tls_session *session = wolfSSL_get_app_data(ssl);
    ngtcp2_encryption_level level;

    if (wolfssl_level == wolfssl_encryption_handshake) {
        level = NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE;
    } else if (wolfssl_level == wolfssl_encryption_application) {
        level = NGTCP2_ENCRYPTION_LEVEL_1RTT;
    } else {
        return 0; /* 0-RTT is off */
    }
    if (len != ATL_SECRET_LEN || session->error != ATLAS_OK) {
        return 0;
    }
    if (rx && install(session, level, 1, rx) != 0) {
        return 0;
    }
    if (tx && install(session, level, 0, tx) != 0) {
        return 0;
    }
    return 1;
}

static int on_handshake_data(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL wolfssl_level,
                             const uint8_t *data, size_t len) {
    atl_tls_session *session = wolfSSL_get_app_data(ssl);
    ngtcp2_encryption_level level = NGTCP2_ENCRYPTION_LEVEL_INITIAL;
    int rv;

    if (wolfssl_level == wolfssl_encryption_handshake) {
        level = NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE;
    } else if (wolfssl_level == wolfssl_encryption_application) {
        level = NGTCP2_ENCRYPTION_LEVEL_1RTT;
    }
    rv = ngtcp2_conn_submit_crypto_data(session->conn, level, data, len);
    if (rv != 0) {
        ngtcp2_conn_set_tls_error(session->conn, rv);
        atl_tls_fail(session, rv == NGTCP2_ERR_NOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_INTERNAL,
                     "handshake data: %s", ngtcp2_strerror(rv));
        return 0;
    }
    return 1;
}

static int on_flush(WOLFSSL *ssl) {
    (void)ssl;
    return 1;
}

static int on_alert(WOLFSSL *ssl, WOLFSSL_ENCRYPTION_LEVEL level, uint8_t alert) {
    atl_tls_session *session = wolfSSL_get_app_data(ssl);

    (void)level;
    session->alert = alert;
    return 1;
}

const WOLFSSL_QUIC_METHOD *atl_tls_quic_method(void) {
    static const WOLFSSL_QUIC_METHOD method = {on_secrets, on_handshake_data, on_flush, on_alert};

    return &method;
}

/* ---- the handshake ---- */

static uint8_t alert_of(const atl_tls_session *session) {
    switch (session->error) {
    case ATLAS_ERR_ALPN:
        return ALERT_NO_APPLICATION_PROTOCOL;
    case ATLAS_ERR_CERTIFICATE:
        return session->has_peer || !session->complete ? ALERT_BAD_CERTIFICATE
                                                       : ALERT_CERTIFICATE_REQUIRED;
    case ATLAS_ERR_PEER_MISMATCH:
        return ALERT_BAD_CERTIFICATE;
    case ATLAS_ERR_UNSUPPORTED:
        return ALERT_UNSUPPORTED_CERTIFICATE;
    case ATLAS_ERR_HANDSHAKE:
        return session->alert != 0 ? session->alert : ALERT_HANDSHAKE_FAILURE;
    default:
        return ALERT_INTERNAL_ERROR;
    }
}

/* Tells ngtcp2 the alert; the return value is for it as well. */
static int give_up(atl_tls_session *session) {
    ngtcp2_conn_set_tls_alert(session->conn, alert_of(session));
    atl_log(session->env, ATLAS_LOG_DEBUG, "tls: %s: %s", atlas_error_name(session->error),
            session->text);
    return NGTCP2_ERR_CRYPTO;
}

static int handshake_error(atl_tls_session *session, int error) {
    int32_t code = ATLAS_ERR_HANDSHAKE;
    int rv;

    if (error == UNKNOWN_ALPN_PROTOCOL_NAME_E) {
        code = ATLAS_ERR_ALPN;
    } else if (error == NO_PEER_CERT || error == NO_PEER_VERIFY ||
               (error <= ASN_PARSE_E && error >= ASN_ALT_NAME_E)) {
        code = ATLAS_ERR_CERTIFICATE;
    } else if (error == MEMORY_E) {
        code = ATLAS_ERR_NOMEM;
    }
    atl_tls_fail(session, code, "%s (wolfSSL %d)",
                 wolfSSL_ERR_reason_error_string((unsigned long)error), error);
    rv = ngtcp2_conn_get_tls_error2(session->conn);
    if (rv != 0) {
        return rv; /* ngtcp2's own, with its own transport error code */
    }
    return give_up(session);
}

/* The WOLFSSL object weighs 20 KB; only the exporter needs it from here on. */
static void release(atl_tls_session *session) {
    if (session->protocol != ATL_PROTO_ATLAS) {
        wolfSSL_free(session->ssl);
        session->ssl = NULL;
    }
}

static int finish(atl_tls_session *session) {
    if (session->protocol == 0 && choose_protocol(session) != 0) {
        return give_up(session);
    }
    session->complete = 1;
    if (atl_tls_check_complete(session) != ATLAS_OK) {
        return give_up(session);
    }
    ngtcp2_conn_tls_handshake_completed(session->conn);
    release(session);
    return 0;
}

static int advance(atl_tls_session *session, ngtcp2_encryption_level level, const uint8_t *data,
                   size_t len) {
    WOLFSSL_ENCRYPTION_LEVEL wolfssl_level = level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE
                                                 ? wolfssl_encryption_handshake
                                                 : wolfssl_encryption_initial;
    int rv;

    if (session->error != ATLAS_OK) {
        return give_up(session);
    }
    if (len > 0 &&
        wolfSSL_provide_quic_data(session->ssl, wolfssl_level, data, len) != WOLFSSL_SUCCESS) {
        return handshake_error(session, wolfSSL_get_error(session->ssl, WOLFSSL_FATAL_ERROR));
    }
    rv = wolfSSL_quic_do_handshake(session->ssl);
    atl_crypto_settle();
    if (session->error != ATLAS_OK) {
        return handshake_error(session, 0);
    }
    if (rv <= 0) {
        rv = wolfSSL_get_error(session->ssl, rv);
        return rv == WOLFSSL_ERROR_WANT_READ || rv == WOLFSSL_ERROR_WANT_WRITE
                   ? 0
                   : handshake_error(session, rv);
    }
    return finish(session);
}

/* Behind the handshake a server may send tickets, which are not used here, and nothing else may
 * come (RFC 9001 section 6: a KeyUpdate message is an error). The messages are stepped over without
 * keeping them. */
static int after_handshake(atl_tls_session *session, ngtcp2_encryption_level level,
                           const uint8_t *data, size_t len) {
    size_t n;

    while (len > 0) {
        if (session->post_skip > 0) {
            n = len < session->post_skip ? len : session->post_skip;
            session->post_skip -= (uint32_t)n;
            data += n;
            len -= n;
            continue;
        }
        session->post_head[session->post_have++] = *data++;
        len--;
        if (session->server || level != NGTCP2_ENCRYPTION_LEVEL_1RTT ||
            session->post_head[0] != MESSAGE_NEW_SESSION_TICKET) {
            session->alert = ALERT_UNEXPECTED_MESSAGE;
            atl_tls_fail(session, ATLAS_ERR_HANDSHAKE, "a TLS message after the handshake");
            return give_up(session);
        }
        if (session->post_have == sizeof(session->post_head)) {
            session->post_have = 0;
            session->post_skip = (uint32_t)session->post_head[1] << 16 |
                                 (uint32_t)session->post_head[2] << 8 | session->post_head[3];
        }
    }
    return 0;
}

/* ---- ngtcp2's callbacks ---- */

static int on_client_initial(ngtcp2_conn *conn, void *user_data) {
    atl_tls_session *session = session_of(user_data);

    if (atl_install_initial(session->env, conn, ngtcp2_conn_get_dcid2(conn)) != ATLAS_OK ||
        set_local_params(session) != 0 ||
        advance(session, NGTCP2_ENCRYPTION_LEVEL_INITIAL, NULL, 0) != 0) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static int on_recv_client_initial(ngtcp2_conn *conn, const ngtcp2_cid *dcid, void *user_data) {
    return atl_install_initial(session_of(user_data)->env, conn, dcid) == ATLAS_OK
               ? 0
               : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int on_recv_retry(ngtcp2_conn *conn, const ngtcp2_pkt_hd *hd, void *user_data) {
    return on_recv_client_initial(conn, &hd->scid, user_data);
}

static int on_recv_crypto_data(ngtcp2_conn *conn, ngtcp2_encryption_level level, uint64_t offset,
                               const uint8_t *data, size_t len, void *user_data) {
    atl_tls_session *session = session_of(user_data);

    (void)conn;
    (void)offset;
    return session->complete ? after_handshake(session, level, data, len)
                             : advance(session, level, data, len);
}

static int on_update_key(ngtcp2_conn *conn, uint8_t *rx_secret, uint8_t *tx_secret,
                         ngtcp2_crypto_aead_ctx *rx_aead, uint8_t *rx_iv,
                         ngtcp2_crypto_aead_ctx *tx_aead, uint8_t *tx_iv, const uint8_t *current_rx,
                         const uint8_t *current_tx, size_t secret_len, void *user_data) {
    atl_tls_session *session = session_of(user_data);

    (void)conn;
    if (secret_len != ATL_SECRET_LEN || atl_update_secret(session->env, session->cipher, current_rx,
                                                          rx_secret, rx_aead, rx_iv) != ATLAS_OK) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    if (atl_update_secret(session->env, session->cipher, current_tx, tx_secret, tx_aead, tx_iv) !=
        ATLAS_OK) {
        atl_aead_free(rx_aead);
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

static void on_delete_aead(ngtcp2_conn *conn, ngtcp2_crypto_aead_ctx *ctx, void *user_data) {
    (void)conn;
    (void)user_data;
    atl_aead_free(ctx);
}

static void on_delete_cipher(ngtcp2_conn *conn, ngtcp2_crypto_cipher_ctx *ctx, void *user_data) {
    (void)conn;
    (void)user_data;
    atl_hp_free(ctx);
}

/* Only version 1 is offered, so there is no other to change to. */
static int on_version_negotiation(ngtcp2_conn *conn, uint32_t version, const ngtcp2_cid *dcid,
                                  void *user_data) {
    (void)conn;
    (void)version;
    (void)dcid;
    (void)user_data;
    return NGTCP2_ERR_CALLBACK_FAILURE;
}

void atl_tls_fill_callbacks(ngtcp2_callbacks *callbacks) {
    callbacks->client_initial = on_client_initial;
    callbacks->recv_client_initial = on_recv_client_initial;
    callbacks->recv_crypto_data = on_recv_crypto_data;
    callbacks->encrypt = atl_aead_encrypt;
    callbacks->decrypt = atl_aead_decrypt;
    callbacks->hp_mask = atl_hp_mask;
    callbacks->recv_retry = on_recv_retry;
    callbacks->update_key = on_update_key;
    callbacks->delete_crypto_aead_ctx = on_delete_aead;
    callbacks->delete_crypto_cipher_ctx = on_delete_cipher;
    callbacks->version_negotiation = on_version_negotiation;
}
