/* TLS 1.3 for QUIC: wolfSSL contexts and sessions, mutual authentication by libp2p's certificate
 * extension, packet protection, key derivation and tokens. Knows ngtcp2 only through its crypto
 * callbacks.
 *
 * Rules (facts of wolfSSL 5.9): ALPN is checked on both sides here; HKDF runs on wc_HKDF_*; AEAD on
 * one-shot wc_AesGcm* and wc_ChaCha20Poly1305*; certificate keys and key exchange are Ed25519 and
 * X25519 for what is ours. */
#ifndef ATL_QUIC_TLS_H
#define ATL_QUIC_TLS_H

#include "base/env.h"
#include "identity/key.h"

#include <ngtcp2/ngtcp2.h>

typedef struct atl_tls atl_tls;                 /* one per endpoint: certificate, contexts */
typedef struct atl_tls_session atl_tls_session; /* one per connection */

#define ATL_ALPN_H3 "h3"
#define ATL_ALPN_ATLAS "atlas/1"

/* Bits of protocols. */
#define ATL_PROTO_H3 1u
#define ATL_PROTO_ATLAS 2u

/* Makes a fresh certificate key and the certificate with the libp2p extension signed by the node
 * key (copied). */
int32_t atl_tls_new(atl_env *env, const atlas_key *key, atl_tls **out);
void atl_tls_free(atl_tls *tls);
/* Which protocols servers of this endpoint accept, ATL_PROTO_*; may change at any time. With none,
 * every handshake fails. */
void atl_tls_set_server_protocols(atl_tls *tls, uint32_t protocols);

/* A client session offers exactly one protocol and expects `peer` (never NULL). */
int32_t atl_tls_client_new(atl_tls *tls, uint32_t protocol, const atl_peer_id *peer,
                           atl_tls_session **out);
/* A server session: a client certificate is requested; required for ATL_PROTO_ATLAS, optional for
 * ATL_PROTO_H3. */
int32_t atl_tls_server_new(atl_tls *tls, atl_tls_session **out);
void atl_tls_session_free(atl_tls_session *session);
/* Must be called before the first packet; the session keeps the pointer. */
void atl_tls_session_set_conn(atl_tls_session *session, ngtcp2_conn *conn);
/* ngtcp2_conn's tls_native_handle for whoever needs it. */
void *atl_tls_session_native(atl_tls_session *session);

/* Fills the crypto callbacks of ngtcp2: client_initial, recv_client_initial, recv_crypto_data,
 * encrypt, decrypt, hp_mask, recv_retry, update_key, delete_crypto_aead_ctx,
 * delete_crypto_cipher_ctx, version_negotiation. Their user_data (that of ngtcp2_conn) must be, or
 * begin with, atl_tls_conn_ref. */
typedef struct atl_tls_conn_ref {
    atl_tls_session *session;
} atl_tls_conn_ref;
void atl_tls_fill_callbacks(ngtcp2_callbacks *callbacks);

/* After the handshake. 0 while not known. */
uint32_t atl_tls_protocol(const atl_tls_session *session);
/* The authenticated peer, or NULL when it sent no certificate. */
const atl_peer_id *atl_tls_peer(const atl_tls_session *session);
/* Why the handshake failed: ATLAS_ERR_CERTIFICATE, _PEER_MISMATCH, _ALPN, _HANDSHAKE; ATLAS_OK when
 * it has not. `text` gets a phrase. */
int32_t atl_tls_error(const atl_tls_session *session, const char **text);
/* Called by the connection when ngtcp2 reports handshake completion: checks ALPN and the peer once
 * more; a negative code must fail the connection. */
int32_t atl_tls_check_complete(atl_tls_session *session);
/* What a TLS alert that the peer sent (a CRYPTO_ERROR's low byte) means: ATLAS_ERR_ALPN,
 * _CERTIFICATE or _HANDSHAKE. */
int32_t atl_tls_alert_error(uint8_t alert);
/* RFC 8446 section 7.5, for keys of checks outside QUIC. Of ATL_PROTO_ATLAS sessions only: others
 * give their TLS state back when the handshake is complete (ATLAS_ERR_STATE). */
int32_t atl_tls_export(atl_tls_session *session, const char *label, const uint8_t *context,
                       size_t context_len, uint8_t *out, size_t len);

/* Stateless tokens and resets, keyed by secrets of the endpoint (32 bytes). */
#define ATL_RETRY_TOKEN_MAX 128
/* Retry token (RFC 9000 section 8.1): bound to the remote address bytes, the Retry source id and
 * the time (nanoseconds). */
int32_t atl_retry_token_make(atl_env *env, const uint8_t secret[32], const void *addr,
                             size_t addr_len, const ngtcp2_cid *retry_scid, const ngtcp2_cid *odcid,
                             uint64_t now, uint8_t *out, size_t cap, size_t *len);
/* ATLAS_OK and the original destination id; ATLAS_ERR_SIGNATURE when forged or for another address;
 * ATLAS_ERR_TIMEOUT when older than `lifetime` nanoseconds. */
int32_t atl_retry_token_check(const uint8_t secret[32], const uint8_t *token, size_t len,
                              const void *addr, size_t addr_len, const ngtcp2_cid *dcid,
                              uint64_t lifetime, uint64_t now, ngtcp2_cid *odcid);
/* A whole Retry packet (RFC 9001 section 5.8). Returns its length or a negative code. */
int64_t atl_retry_packet(uint8_t *out, size_t cap, uint32_t version, const ngtcp2_cid *dcid,
                         const ngtcp2_cid *scid, const ngtcp2_cid *odcid, const uint8_t *token,
                         size_t token_len);
/* The stateless reset token of a connection id. */
void atl_reset_token(const uint8_t secret[32], const ngtcp2_cid *cid, uint8_t out[16]);

#endif
