/* Peer records (libp2p RFC 0003): what a node says of where it is and what it offers, in a signed
 * envelope (identity/envelope.h). What libp2p's record has not (offers, time) stands in fields that
 * its readers skip. docs/discovery.md has the wire. */
#ifndef ATL_DISCOVERY_RECORD_H
#define ATL_DISCOVERY_RECORD_H

#include "address/multiaddr.h"
#include "identity/envelope.h"

#define ATL_RECORD_MAX 2048            /* bytes of an envelope */
#define ATL_RECORD_ADDRS 16            /* of one record; a record with more is refused */
#define ATL_RECORD_LIFETIME 3600u      /* seconds, where a record does not say */
#define ATL_RECORD_LIFETIME_MAX 86400u /* seconds: a longer one is taken for this */

/* What a record says besides its addresses. */
typedef struct atl_record_head {
    atl_peer_id peer;
    uint64_t seq;
    uint64_t issued;   /* seconds since 1970 UTC; 0: not said */
    uint64_t lifetime; /* seconds from `issued`, 1..ATL_RECORD_LIFETIME_MAX */
    uint32_t offers;   /* ATLAS_OFFER_*; unknown bits are kept */
    uint32_t n_addrs;  /* addresses in the record, those that libatlas cannot use among them */
} atl_record_head;

typedef struct atl_record {
    atl_record_head head;
    size_t n_addrs; /* of those below: addresses that can be dialled, each once */
    atl_maddr addrs[ATL_RECORD_ADDRS]; /* direct ones (quic), and circuits (has_relay, with a host);
                                          has_peer 0: the record's peer is meant */
} atl_record;

/* Signs head and addresses for `key`; head->peer must be its. seq below 2^63. ATLAS_ERR_INVALID,
 * ATLAS_ERR_TOO_LARGE, ATLAS_ERR_BUFFER. */
int32_t atl_record_make(const atlas_key *key, const atl_record *record, uint8_t *buf, size_t cap,
                        size_t *len);

/* Checks everything: size, envelope, signature, payload type, that the signer is the peer, every
 * multiaddr's form, that none names another peer than the record's. No clock is looked at.
 * ATLAS_ERR_TOO_LARGE, ATLAS_ERR_TRUNCATED, ATLAS_ERR_MALFORMED (also another payload type),
 * ATLAS_ERR_DUPLICATE, ATLAS_ERR_KEY, ATLAS_ERR_UNSUPPORTED, ATLAS_ERR_SIGNATURE,
 * ATLAS_ERR_RECORD_SIGNER, ATLAS_ERR_ADDRESS. */
int32_t atl_record_check(const uint8_t *data, size_t len, atl_record_head *out);
/* The same, and the addresses. What libatlas cannot dial is left out. */
int32_t atl_record_open(const uint8_t *data, size_t len, atl_record *out);
/* The same for bytes that have passed atl_record_check() before: the signature is not looked at
 * again. */
int32_t atl_record_reopen(const uint8_t *data, size_t len, atl_record *out);

/* Whether a record may be believed at this time: `wall` is milliseconds since 1970 UTC, `drift` the
 * seconds by which clocks may differ. ATLAS_OK, ATLAS_ERR_RECORD_EXPIRED, ATLAS_ERR_RECORD_FUTURE.
 * A record without `issued` is always in time. */
int32_t atl_record_in_time(const atl_record_head *head, int64_t wall, uint64_t drift);
/* Nanoseconds that it may still be kept, at most `longest`: what is left of its lifetime. */
uint64_t atl_record_time_left(const atl_record_head *head, int64_t wall, uint64_t longest);

#endif
