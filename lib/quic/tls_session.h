/* Inside of the TLS modules: what tls.c (contexts, questions after the handshake) and tls_session.c
 * (the handshake) share. */
#ifndef ATL_QUIC_TLS_SESSION_H
#define ATL_QUIC_TLS_SESSION_H

#include "quic/certificate.h"
#include "quic/tls.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* Certificates remembered as verified: nodes and relays meet again and again. */
#define ATL_KNOWN_CERTIFICATES 128

struct atl_tls {
    atl_env *env;
    uint8_t known[ATL_KNOWN_CERTIFICATES][32]; /* digests, each in the place its first byte gives */
    WOLFSSL_CTX *client;
    WOLFSSL_CTX *server;
    uint32_t server_protocols;
};

struct atl_tls_session {
    atl_tls *tls;
    atl_env *env;
    WOLFSSL *ssl; /* NULL once the handshake is complete and nothing else needs it */
    ngtcp2_conn *conn;
    uint32_t offered;  /* ATL_PROTO_* */
    uint32_t protocol; /* the one selected, 0 while not known */
    uint32_t cipher;
    uint8_t server;
    uint8_t expects;  /* a client's `expected` counts */
    uint8_t has_peer; /* `peer` proved its certificate's key to be its own once the handshake is
                         complete */
    uint8_t complete;
    uint8_t alert; /* sent by wolfSSL */
    uint8_t post_head[4];
    uint8_t post_have;
    uint32_t post_skip;
    int32_t error;
    atl_peer_id expected;
    atl_peer_id peer;
    uint8_t peer_digest[32]; /* of the certificate that was checked */
    char text[120];
};

/* The general form of the two public ones: offered 0 sends no ALPN, and without `peer` any is
 * taken. Used so by tests only. */
int32_t atl_tls_session_make(atl_tls *tls, int server, uint32_t offered, const atl_peer_id *peer,
                             atl_tls_session **out);

/* wolfSSL's callbacks. */
int atl_tls_verify(int preverified, WOLFSSL_X509_STORE_CTX *store);
const WOLFSSL_QUIC_METHOD *atl_tls_quic_method(void);

/* Keeps the first error and its text. Returns `code`. */
int32_t atl_tls_fail(atl_tls_session *session, int32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The protocol that ALPN selected, or 0. */
uint32_t atl_tls_selected(const atl_tls_session *session);

#endif
