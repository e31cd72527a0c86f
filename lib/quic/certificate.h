/* Certificates of the libp2p TLS specification (libp2p specs, tls/tls.md): self-signed by a fresh
 * key, with an extension in which the node key signs that key. Checked here in full, without
 * wolfSSL's own judgement of certificates. */
#ifndef ATL_QUIC_CERTIFICATE_H
#define ATL_QUIC_CERTIFICATE_H

#include "identity/key.h"

#define ATL_CERTIFICATE_MAX 512       /* bytes of one that we make */
#define ATL_CERTIFICATE_READ_MAX 8192 /* bytes of one that we look at */
#define ATL_CERTIFICATE_SPKI 44       /* an Ed25519 SubjectPublicKeyInfo */
#define ATL_CERTIFICATE_PKCS8 48      /* an Ed25519 private key for TLS */

/* What a certificate says beside the extensions. */
typedef struct atl_certificate_spec {
    uint8_t seed[32];   /* Ed25519 private key of the certificate */
    uint8_t serial[16]; /* its highest bit is cleared and the next set */
    int64_t not_before; /* seconds since 1970 */
    int64_t not_after;
} atl_certificate_spec;

/* The parts, for whoever wants one that is not like ours. */
void atl_certificate_spki(const uint8_t seed[32], uint8_t out[ATL_CERTIFICATE_SPKI]);
/* The Extension with the node key and its signature of `spki`. */
void atl_certificate_extension(atl_writer *out, const atlas_key *key, int critical,
                               const uint8_t *spki, size_t spki_len);
/* A certificate with these Extensions, signed. ATLAS_ERR_BUFFER. */
int32_t atl_certificate_build(const atl_certificate_spec *spec, const uint8_t *extensions,
                              size_t extensions_len, uint8_t *out, size_t cap, size_t *len);

/* Ours: valid from a day before `now` (seconds since 1970) until the year 4096. */
int32_t atl_certificate_make(const atlas_key *key, const uint8_t seed[32], const uint8_t serial[16],
                             int64_t now, uint8_t out[ATL_CERTIFICATE_MAX], size_t *len);
void atl_certificate_pkcs8(const uint8_t seed[32], uint8_t out[ATL_CERTIFICATE_PKCS8]);

/* Checks one DER certificate at the wall-clock time `now` (seconds since 1970) and gives the peer
 * whose key signed it. ATLAS_ERR_CERTIFICATE for every broken rule; ATLAS_ERR_UNSUPPORTED for a
 * signature algorithm or a kind of node key that this library does not take. `why` gets a static
 * phrase in either case. */
int32_t atl_certificate_verify(const uint8_t *der, size_t len, int64_t now, atl_peer_id *peer,
                               const char **why);
/* The same for a certificate whose very bytes have passed atl_certificate_verify() before:
 * everything but the two signatures, which cannot have changed, is checked again. */
int32_t atl_certificate_verify_known(const uint8_t *der, size_t len, int64_t now, atl_peer_id *peer,
                                     const char **why);

#endif
