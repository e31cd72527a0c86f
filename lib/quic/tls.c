#include "quic/tls.h"

#include "quic/crypto.h"
#include "quic/tls_session.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define AES_FIRST "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256"
#define CHACHA_FIRST "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256"
/* The extension number of RFC 9001's transport parameters; wolfSSL would send the draft's beside
 * it. */
#define TRANSPORT_PARAMETERS 0x39

static int configure(WOLFSSL_CTX *ctx, const uint8_t *cert, size_t cert_len, const uint8_t *pkcs8,
                     size_t pkcs8_len) {
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};

    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER, atl_tls_verify);
    return wolfSSL_CTX_set_quic_method(ctx, atl_tls_quic_method()) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_cipher_list(ctx, atl_cipher_aes_fast() ? AES_FIRST : CHACHA_FIRST) ==
               WOLFSSL_SUCCESS &&
           wolfSSL_CTX_set_groups(ctx, groups, ATL_COUNT(groups)) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_use_certificate_buffer(ctx, cert, (long)cert_len, WOLFSSL_FILETYPE_ASN1) ==
               WOLFSSL_SUCCESS &&
           wolfSSL_CTX_use_PrivateKey_buffer(ctx, pkcs8, (long)pkcs8_len, WOLFSSL_FILETYPE_ASN1) ==
               WOLFSSL_SUCCESS;
}

/* The certificate, from fresh randomness, and the two contexts that use it. */
static int32_t make_contexts(atl_tls *tls, const atlas_key *key) {
    uint8_t seed[32], serial[16], pkcs8[ATL_CERTIFICATE_PKCS8];
    uint8_t cert[ATL_CERTIFICATE_MAX];
    size_t len = 0;
    int32_t rv = atl_random(tls->env, seed, sizeof(seed));

    if (rv == ATLAS_OK) {
        rv = atl_random(tls->env, serial, sizeof(serial));
    }
    if (rv == ATLAS_OK) {
        rv = atl_certificate_make(key, seed, serial, atl_env_wall_ms(tls->env) / 1000, cert, &len);
    }
    if (rv != ATLAS_OK) {
        goto done;
    }
    atl_certificate_pkcs8(seed, pkcs8);
    tls->client = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    tls->server = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
    if (!tls->client || !tls->server) {
        rv = ATLAS_ERR_NOMEM;
        goto done;
    }
    if (!configure(tls->client, cert, len, pkcs8, sizeof(pkcs8)) ||
        !configure(tls->server, cert, len, pkcs8, sizeof(pkcs8)) ||
        wolfSSL_CTX_no_ticket_TLSv13(tls->server) != 0) {
        rv = ATLAS_ERR_INTERNAL;
    }

done:
    sodium_memzero(seed, sizeof(seed));
    sodium_memzero(pkcs8, sizeof(pkcs8));
    return rv;
}

int32_t atl_tls_new(atl_env *env, const atlas_key *key, atl_tls **out) {
    atl_tls *tls;
    int32_t rv;

    if (wolfSSL_Init() != WOLFSSL_SUCCESS) {
        return ATLAS_ERR_INTERNAL;
    }
    tls = atl_calloc(env, 1, sizeof(*tls));
    if (!tls) {
        wolfSSL_Cleanup();
        return ATLAS_ERR_NOMEM;
    }
    tls->env = env;
    rv = make_contexts(tls, key);
    if (rv != ATLAS_OK) {
        atl_tls_free(tls);
        return rv;
    }
    *out = tls;
    return ATLAS_OK;
}

void atl_tls_free(atl_tls *tls) {
    if (!tls) {
        return;
    }
    wolfSSL_CTX_free(tls->client);
    wolfSSL_CTX_free(tls->server);
    wolfSSL_Cleanup();
    atl_free(tls->env, tls);
}

void atl_tls_set_server_protocols(atl_tls *tls, uint32_t protocols) {
    tls->server_protocols = protocols & (ATL_PROTO_H3 | ATL_PROTO_ATLAS);
}

static int set_alpn(WOLFSSL *ssl, uint32_t protocols) {
    uint8_t list[1 + sizeof(ATL_ALPN_ATLAS) + sizeof(ATL_ALPN_H3)];
    atl_writer w;

    if (protocols == 0) {
        return 1; /* nothing can be selected, and that is refused as soon as the ClientHello is read
                   */
    }
    atl_writer_init(&w, list, sizeof(list));
    if (protocols & ATL_PROTO_ATLAS) {
        atl_write_u8(&w, sizeof(ATL_ALPN_ATLAS) - 1);
        atl_write_bytes(&w, ATL_ALPN_ATLAS, sizeof(ATL_ALPN_ATLAS) - 1);
    }
    if (protocols & ATL_PROTO_H3) {
        atl_write_u8(&w, sizeof(ATL_ALPN_H3) - 1);
        atl_write_bytes(&w, ATL_ALPN_H3, sizeof(ATL_ALPN_H3) - 1);
    }
    return wolfSSL_set_alpn_protos(ssl, list, (unsigned int)w.len) == WOLFSSL_SUCCESS;
}

int32_t atl_tls_session_make(atl_tls *tls, int server, uint32_t offered, const atl_peer_id *peer,
                             atl_tls_session **out) {
    atl_tls_session *session = atl_calloc(tls->env, 1, sizeof(*session));
    WOLFSSL *ssl;

    if (!session) {
        return ATLAS_ERR_NOMEM;
    }
    session->tls = tls;
    session->env = tls->env;
    session->server = server != 0;
    session->offered = offered;
    if (peer) {
        session->expected = *peer;
        session->expects = 1;
    }
    ssl = wolfSSL_new(server ? tls->server : tls->client);
    session->ssl = ssl;
    if (!ssl || wolfSSL_set_app_data(ssl, session) != WOLFSSL_SUCCESS || !set_alpn(ssl, offered) ||
        (!server && wolfSSL_UseKeyShare(ssl, WOLFSSL_ECC_X25519) != WOLFSSL_SUCCESS)) {
        atl_tls_session_free(session);
        return ATLAS_ERR_NOMEM;
    }
    wolfSSL_SetCertCbCtx(ssl, session);
    wolfSSL_set_quic_transport_version(ssl, TRANSPORT_PARAMETERS);
    if (offered & ATL_PROTO_ATLAS) {
        wolfSSL_KeepArrays(ssl); /* the exporter's secret is among them */
    }
    *out = session;
    return ATLAS_OK;
}

int32_t atl_tls_client_new(atl_tls *tls, uint32_t protocol, const atl_peer_id *peer,
                           atl_tls_session **out) {
    if ((protocol != ATL_PROTO_H3 && protocol != ATL_PROTO_ATLAS) || !peer) {
        return ATLAS_ERR_INVALID;
    }
    return atl_tls_session_make(tls, 0, protocol, peer, out);
}

int32_t atl_tls_server_new(atl_tls *tls, atl_tls_session **out) {
    return atl_tls_session_make(tls, 1, tls->server_protocols, NULL, out);
}

void atl_tls_session_free(atl_tls_session *session) {
    if (!session) {
        return;
    }
    wolfSSL_free(session->ssl);
    atl_free(session->env, session);
}

void atl_tls_session_set_conn(atl_tls_session *session, ngtcp2_conn *conn) {
    session->conn = conn;
}

void *atl_tls_session_native(atl_tls_session *session) {
    return session->ssl;
}

uint32_t atl_tls_protocol(const atl_tls_session *session) {
    return session->protocol;
}

const atl_peer_id *atl_tls_peer(const atl_tls_session *session) {
    return session->complete && session->has_peer ? &session->peer : NULL;
}

int32_t atl_tls_fail(atl_tls_session *session, int32_t code, const char *format, ...) {
    va_list args;

    if (session->error == ATLAS_OK) {
        session->error = code;
        va_start(args, format);
        vsnprintf(session->text, sizeof(session->text), format, args);
        va_end(args);
    }
    return code;
}

int32_t atl_tls_error(const atl_tls_session *session, const char **text) {
    *text = session->text;
    return session->error;
}

int32_t atl_tls_alert_error(uint8_t alert) {
    switch (alert) {
    case 120: /* no_application_protocol */
        return ATLAS_ERR_ALPN;
    case 42: /* bad_certificate and its kin */
    case 43:
    case 44:
    case 45:
    case 46:
    case 48:
    case 51:  /* decrypt_error: a signature */
    case 116: /* certificate_required */
        return ATLAS_ERR_CERTIFICATE;
    default:
        return ATLAS_ERR_HANDSHAKE;
    }
}

uint32_t atl_tls_selected(const atl_tls_session *session) {
    char *name = NULL;
    uint16_t len = 0;

    if (wolfSSL_ALPN_GetProtocol(session->ssl, &name, &len) != WOLFSSL_SUCCESS) {
        return 0;
    }
    if (len == sizeof(ATL_ALPN_H3) - 1 && memcmp(name, ATL_ALPN_H3, len) == 0) {
        return session->offered & ATL_PROTO_H3;
    }
    if (len == sizeof(ATL_ALPN_ATLAS) - 1 && memcmp(name, ATL_ALPN_ATLAS, len) == 0) {
        return session->offered & ATL_PROTO_ATLAS;
    }
    return 0;
}

int32_t atl_tls_check_complete(atl_tls_session *session) {
    if (session->error != ATLAS_OK) {
        return session->error;
    }
    if (session->protocol != ATL_PROTO_H3 && session->protocol != ATL_PROTO_ATLAS) {
        return atl_tls_fail(session, ATLAS_ERR_ALPN, "no application protocol was agreed on");
    }
    if (!session->has_peer && (!session->server || session->protocol == ATL_PROTO_ATLAS)) {
        return atl_tls_fail(session, ATLAS_ERR_CERTIFICATE, "the peer sent no certificate");
    }
    if (session->expects && !atl_peer_id_equal(&session->expected, &session->peer)) {
        return atl_tls_fail(session, ATLAS_ERR_PEER_MISMATCH, "authenticated as another peer");
    }
    return ATLAS_OK;
}

int32_t atl_tls_export(atl_tls_session *session, const char *label, const uint8_t *context,
                       size_t context_len, uint8_t *out, size_t len) {
    if (!session->complete || !session->ssl) {
        return ATLAS_ERR_STATE;
    }
    if (wolfSSL_export_keying_material(session->ssl, out, len, label, strlen(label), context,
                                       context_len, 1) != WOLFSSL_SUCCESS) {
        return ATLAS_ERR_INTERNAL;
    }
    return ATLAS_OK;
}
