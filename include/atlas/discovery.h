/* libatlas: discovery and reachability.
 *
 * A node is found by its peer id through bootstrap nodes, which hold signed peer records: what a
 * node says of its addresses and of what it offers. The signature proves a record, whoever hands it
 * out. With a bootstrap node known, a dial to a bare peer id looks its record up by itself, and a
 * node that is to be found calls atlas_advertise(): it learns whether it can be reached from
 * outside (reachability, AutoNAT), chooses relays where it cannot (AutoRelay), and keeps its record
 * true.
 *
 * Callbacks are delivered from the drive call only; every function here may be called from them. */
#ifndef ATLAS_DISCOVERY_H
#define ATLAS_DISCOVERY_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a node offers: bits. */
#define ATLAS_OFFER_RELAY 1u     /* a relay */
#define ATLAS_OFFER_BOOTSTRAP 2u /* a bootstrap node */
#define ATLAS_OFFER_DIALBACK 4u  /* dial-backs for others' reachability */

/* ---- bootstrap nodes ----------------------------------------------------------------------------
 */

/* Adds a bootstrap node: a multiaddr with a transport that ends in /p2p/ID (copied). At most
 * 16. Returns ATLAS_OK, ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID, ATLAS_ERR_UNSUPPORTED,
 * ATLAS_ERR_EXISTS, ATLAS_ERR_LIMIT, ATLAS_ERR_SELF, ATLAS_ERR_NOMEM. Callable from callbacks. */
ATLAS_API int32_t atlas_bootstrap_add(atlas_ctx *ctx, const char *addr);

/* ---- looking up ---------------------------------------------------------------------------------
 */

/* A running look-up. */
typedef struct atlas_query atlas_query;

/* Where a record came from. */
#define ATLAS_RECORD_CACHE 1     /* this context knew it */
#define ATLAS_RECORD_BOOTSTRAP 2 /* a bootstrap node */
#define ATLAS_RECORD_PEER 3      /* the peer itself, over a connection with it */

/* A peer record whose signature was verified. Strings and arrays are valid during the callback. */
typedef struct atlas_record {
    uint64_t size;            /* bytes: sizeof(atlas_record) */
    const char *peer;         /* the peer's id */
    uint64_t seq;             /* sequence number: the record with the higher one is the newer */
    uint64_t issued_ms;       /* when it was signed, milliseconds since 1970 UTC; 0: not said */
    uint64_t expires_ms;      /* until when it may be believed, likewise; 0: not said */
    const char *const *addrs; /* multiaddrs that can be dialled, each ending in /p2p/PEER */
    uint64_t addr_count;
    uint32_t offers;  /* bits ATLAS_OFFER_* */
    uint32_t source;  /* ATLAS_RECORD_* */
    const char *from; /* the bootstrap node (its multiaddr) for ATLAS_RECORD_BOOTSTRAP, else "" */
    uint64_t rtt_ns;  /* nanoseconds from the question to the answer; 0 for other sources */
    const uint8_t *envelope; /* the signed envelope (libp2p RFC 0002) */
    uint64_t envelope_len;   /* bytes */
} atlas_record;

/* What an event of a look-up is about. */
#define ATLAS_QUERY_RECORD                                                 \
    1 /* a record: newer than all of that peer that this query told before \
       */
#define ATLAS_QUERY_FAILED                                                                    \
    2                     /* one bootstrap node has failed, or knows nothing (`code`, `from`) \
                           */
#define ATLAS_QUERY_END 3 /* the final event, after which the handle is invalid */

typedef struct atlas_query_event {
    uint64_t size; /* bytes: sizeof(atlas_query_event) */
    uint32_t what; /* ATLAS_QUERY_* */
    int32_t code;  /* RECORD: ATLAS_OK. FAILED: why; ATLAS_ERR_RECORD_NOT_FOUND when that
                      node has no such record. END: ATLAS_OK when any record was told, else
                      ATLAS_ERR_RECORD_NOT_FOUND when a node has answered so, else the last
                      failure; ATLAS_ERR_CANCELLED */
    const atlas_record *record; /* of RECORD, else NULL */
    const char *from;           /* FAILED: the bootstrap node's multiaddr, else "" */
    const char *text;           /* a sentence */
} atlas_query_event;

typedef void (*atlas_query_cb)(void *user, atlas_query *query, const atlas_query_event *event);

typedef struct atlas_query_options {
    uint64_t size;       /* bytes: sizeof(atlas_query_options) */
    uint64_t timeout_ms; /* for all of it, milliseconds, 1..120000; 0 = 5000 */
    uint32_t limit;      /* atlas_discover(): records wanted, 1..1000; 0 = 20 */
    uint32_t random;   /* atlas_discover(): 1: a random sample; 0: all, page by page, up to limit */
    uint32_t fresh;    /* atlas_lookup(): 1: what is known already is not told */
    uint32_t reserved; /* zero */
} atlas_query_options;

/* Looks up the record of a peer: tells the one that is known at once, asks every bootstrap node,
 * and tells each newer one as it comes. `options` may be NULL. Returns ATLAS_OK and stores a handle
 * in *out (out may be NULL); ATLAS_ERR_PEER_ID, ATLAS_ERR_NO_BOOTSTRAP when no bootstrap node is
 * known and neither is a record, ATLAS_ERR_LIMIT (256 at once), ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM,
 * or an error of atlas_open(). `cb` is called from a later drive call. */
ATLAS_API int32_t atlas_lookup(atlas_ctx *ctx, const char *peer, const atlas_query_options *options,
                               atlas_query_cb cb, void *user, atlas_query **out);

/* Lists records of nodes that offer something: `offers` is one bit of ATLAS_OFFER_*. Each peer is
 * told once, again only when another bootstrap node has a newer record. Otherwise as
 * atlas_lookup(). */
ATLAS_API int32_t atlas_discover(atlas_ctx *ctx, uint32_t offers,
                                 const atlas_query_options *options, atlas_query_cb cb, void *user,
                                 atlas_query **out);

/* Ends a look-up early; its final event follows, and nothing before it. Returns ATLAS_OK or
 * ATLAS_ERR_INVALID; ATLAS_ERR_REENTRANT from a hook. */
ATLAS_API int32_t atlas_query_cancel(atlas_query *query);

/* ---- the cache of records -----------------------------------------------------------------------
 */

/* The context keeps the newest record of each peer it has learned of, 4096 at most, until it
 * expires. Dials use it. A program keeps it over restarts with these two. */

/* Writes all records to buf[cap]. *len receives the bytes needed, also with ATLAS_ERR_BUFFER
 * (nothing is written then). Returns ATLAS_OK, ATLAS_ERR_BUFFER, ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_records_export(atlas_ctx *ctx, void *buf, size_t cap, size_t *len);

/* Reads what atlas_records_export() wrote. Every signature and time is checked; what does not pass
 * is left out and counted in *refused, the rest in *taken (either may be NULL). Returns ATLAS_OK,
 * ATLAS_ERR_MALFORMED when it is no such export, ATLAS_ERR_TRUNCATED when it ends in the middle
 * (what stands before is taken), ATLAS_ERR_NOMEM, ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_records_import(atlas_ctx *ctx, const void *data, size_t len,
                                       uint64_t *taken, uint64_t *refused);

/* Gives the context one record (a signed envelope) that the program got by its own ways. Returns
 * ATLAS_OK, ATLAS_ERR_EXISTS, ATLAS_ERR_RECORD_OLD, ATLAS_ERR_RECORD_EXPIRED,
 * ATLAS_ERR_RECORD_FUTURE, ATLAS_ERR_RECORD_SIGNER, ATLAS_ERR_SIGNATURE or another code of the
 * format category. */
ATLAS_API int32_t atlas_record_add(atlas_ctx *ctx, const void *envelope, size_t len);

/* This node's own record as it was published last: copied to buf[cap], *len bytes. Returns
 * ATLAS_OK, ATLAS_ERR_BUFFER (*len says what is needed), ATLAS_ERR_NOT_FOUND when there is none
 * yet. */
ATLAS_API int32_t atlas_record_own(atlas_ctx *ctx, void *buf, size_t cap, size_t *len);

/* ---- reachability (AutoNAT) ---------------------------------------------------------------------
 */

/* Verdicts. */
#define ATLAS_REACH_UNKNOWN 0 /* not known yet, or the servers disagree */
#define ATLAS_REACH_PUBLIC 1  /* strangers reach this node at (one of) its addresses */
#define ATLAS_REACH_PRIVATE 2 /* they do not */

/* One address at which this node may be reached. */
typedef struct atlas_reach_addr {
    const char *addr;  /* "host:port" */
    uint32_t verdict;  /* ATLAS_REACH_* */
    uint32_t yes;      /* servers whose dial-back arrived, in the last round */
    uint32_t no;       /* servers whose dial-back did not */
    uint32_t reserved; /* zero */
} atlas_reach_addr;

/* What one server has found. */
typedef struct atlas_reach_evidence {
    const char *server;      /* peer id */
    const char *server_addr; /* "host:port" */
    const char *candidate;   /* the address that was tried, "host:port" */
    const char *source;      /* where the dial-back came from, "host:port"; "" when none came */
    int32_t code;            /* ATLAS_OK, or why the server was of no use */
    uint32_t result;         /* ATLAS_REACH_*: by this server alone */
    uint32_t other_address;  /* 1: the server has dialled from another address, too */
    uint32_t reserved;       /* zero */
} atlas_reach_evidence;

/* The verdict of an address family. Strings and arrays are valid during the callback. */
typedef struct atlas_reach_event {
    uint64_t size;                 /* bytes: sizeof(atlas_reach_event) */
    uint32_t family;               /* 4 or 6 */
    uint32_t verdict;              /* ATLAS_REACH_* */
    uint32_t before;               /* the verdict before; the same: a further round has ended */
    uint32_t servers;              /* that have answered in the last round */
    const atlas_reach_addr *addrs; /* the addresses that were tried */
    uint64_t addr_count;
    const atlas_reach_evidence *evidence; /* what each server said of each */
    uint64_t evidence_count;
    const char *text; /* a sentence: why */
} atlas_reach_event;

/* Has reachability checked now, and again in growing intervals and when the network changes,
 * without advertising anything. Servers are the bootstrap nodes and relays that are known; relays
 * that were added alone will do. Events: on_reach. Returns ATLAS_OK, ATLAS_ERR_NO_BOOTSTRAP when
 * there is nobody to ask, or an error of atlas_open(). */
ATLAS_API int32_t atlas_reach_start(atlas_ctx *ctx);

/* The verdict of a family (4 or 6) now. */
ATLAS_API uint32_t atlas_reach_get(const atlas_ctx *ctx, uint32_t family);

/* ---- being found --------------------------------------------------------------------------------
 */

/* States of this node's record. */
#define ATLAS_ADVERTISE_OFF 0
#define ATLAS_ADVERTISE_PENDING 1 /* nothing to say yet, or on its way */
#define ATLAS_ADVERTISE_PUBLISHED \
    2                            /* at least one bootstrap node has the record that is true now */
#define ATLAS_ADVERTISE_FAILED 3 /* no bootstrap node took it; tried again */

/* A change of what this node says of itself, or of who has it. Strings and arrays are valid during
 * the callback. */
typedef struct atlas_advertise_event {
    uint64_t size;            /* bytes: sizeof(atlas_advertise_event) */
    uint32_t state;           /* ATLAS_ADVERTISE_* */
    uint32_t offers;          /* bits ATLAS_OFFER_* */
    uint64_t seq;             /* of the record; 0: none yet */
    const char *const *addrs; /* what the record says */
    uint64_t addr_count;
    uint32_t nodes;       /* bootstrap nodes that have this record */
    uint32_t nodes_total; /* bootstrap nodes */
    int32_t code;         /* FAILED: the last reason */
    uint32_t reserved;    /* zero */
    const char *text;     /* a sentence */
} atlas_advertise_event;

/* What happened to a relay that was chosen by measurement (AutoRelay). */
#define ATLAS_AUTORELAY_CHOSEN 1  /* it is tried: presence, then a test through it */
#define ATLAS_AUTORELAY_SERVING 2 /* it has passed: this node can be reached through it */
#define ATLAS_AUTORELAY_FAILED \
    3 /* it does not serve (`code`, `text`), and is left alone for a while */
#define ATLAS_AUTORELAY_REPLACED \
    4 /* given up for a better one, or because it is no longer needed */

typedef struct atlas_autorelay_event {
    uint64_t size;     /* bytes: sizeof(atlas_autorelay_event) */
    uint32_t what;     /* ATLAS_AUTORELAY_* */
    uint32_t loss;     /* of 100 packets, as measured */
    uint64_t rtt_ns;   /* nanoseconds, as measured; 0: unknown */
    const char *relay; /* peer id */
    const char *addr;  /* multiaddr */
    int32_t code;      /* FAILED: why; else ATLAS_OK */
    uint32_t serving;  /* relays that serve now */
    const char *text;  /* a sentence */
} atlas_autorelay_event;

/* Has this node found (`on` 1), or no more (0: its record is deleted from the bootstrap nodes, and
 * relays that were chosen are given up): checks reachability; where a family's verdict is private,
 * or ATLAS_OPT_AUTORELAY says always, chooses ATLAS_OPT_AUTORELAY_COUNT relays; publishes a record
 * that is put to all bootstrap nodes and pushed to connected peers within a second of any change,
 * and renewed before it expires. The configured relays are used besides (atlas_relay_presence()).
 * With ATLAS_OPT_OFFER_RELAY 1 a node that is public becomes a relay that others find, as long as
 * it is public. Call atlas_listen() as well. Events: on_reach, on_advertise, on_autorelay,
 * on_relay. Returns ATLAS_OK, ATLAS_ERR_NO_BOOTSTRAP, ATLAS_ERR_INVALID, ATLAS_ERR_NOMEM, or an
 * error of atlas_open(). */
ATLAS_API int32_t atlas_advertise(atlas_ctx *ctx, uint32_t on);

/* ---- the bootstrap server -----------------------------------------------------------------------
 */

/* Starts a bootstrap server (and the dial-back service) on the context's sockets: HTTP/3 under
 * /.well-known/atlas/, with the ATLAS_OPT_REGISTRY_* limits. `db_path` NULL: records are in memory
 * and gone with the context; else an SQLite file, made where there is none, that survives a kill at
 * any moment: a put is acknowledged when it is on the disk. Next to a relay server
 * (atlas_relay_start()) or alone. Returns ATLAS_OK, ATLAS_ERR_STATE when it runs,
 * ATLAS_ERR_UNSUPPORTED for a file in a build without SQLite, ATLAS_ERR_AGAIN when another process
 * has the file, ATLAS_ERR_PERMISSION, ATLAS_ERR_NOT_FOUND, ATLAS_ERR_MALFORMED when it is no such
 * file, ATLAS_ERR_IO, ATLAS_ERR_NOMEM, or an error of atlas_open(). */
ATLAS_API int32_t atlas_bootstrap_start(atlas_ctx *ctx, const char *db_path);

/* Counters of the bootstrap server since its start; gauges where it says "now". */
typedef struct atlas_registry_stats {
    uint64_t size;               /* bytes: sizeof(atlas_registry_stats), set by the caller */
    uint64_t records;            /* now */
    uint64_t relays;             /* of them those that offer a relay, now */
    uint64_t memory;             /* bytes of memory that they take now */
    uint64_t puts;               /* requests to put */
    uint64_t gets;               /* requests to get */
    uint64_t found;              /* of these, answered with a record */
    uint64_t lists;              /* requests to list */
    uint64_t deletes;            /* requests to delete */
    uint64_t taken;              /* records taken: new or newer */
    uint64_t refreshed;          /* records put again as they were */
    uint64_t expired;            /* records that were not renewed */
    uint64_t evicted;            /* unverified records that made way */
    uint64_t refused_malformed;  /* not a record, or another id than the path's */
    uint64_t refused_signature;  /* signed by nobody, or by another key */
    uint64_t refused_expired;    /* expired, or from the future */
    uint64_t refused_old;        /* older than what is known */
    uint64_t refused_limit;      /* full, or too many from one address */
    uint64_t refused_rate;       /* too many requests */
    uint64_t refused_size;       /* too large */
    uint64_t refused_identity;   /* only the owner may delete */
    uint64_t disk_errors;        /* puts that could not be written */
    uint64_t dialbacks;          /* requests for dial-backs */
    uint64_t dialback_datagrams; /* sent for them */
    uint64_t dialback_refused;   /* refused: rate, identity, malformed, other people's addresses */
} atlas_registry_stats;

/* Fills *out. Returns ATLAS_OK, ATLAS_ERR_INVALID, ATLAS_ERR_STATE when neither a bootstrap server
 * nor a relay runs. */
ATLAS_API int32_t atlas_registry_get_stats(const atlas_ctx *ctx, atlas_registry_stats *out);

/* Everything that this node counts as a server (relay, STUN, registry, dial-back) and its own
 * state, in the Prometheus text format 0.0.4, NUL-terminated, in buf[cap]. The program serves it
 * where it likes (`atlas relay` does on TCP). *len receives the bytes needed without the NUL, also
 * with ATLAS_ERR_BUFFER; 65536 always suffice. Returns ATLAS_OK, ATLAS_ERR_BUFFER,
 * ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_metrics(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len);

/* A page for people that says the same, in HTML; otherwise as atlas_metrics(). Served over HTTP/3
 * under
 * "/" as well. */
ATLAS_API int32_t atlas_status_page(const atlas_ctx *ctx, char *buf, size_t cap, size_t *len);

#ifdef __cplusplus
}
#endif
#endif
