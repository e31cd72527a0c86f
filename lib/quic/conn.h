/* A QUIC connection (ngtcp2): paths, streams, datagrams, close. Used by http3 (relay control) and
 * peer.
 *
 * Upcalls come while packets and timers are processed. Every function here may be called from them;
 * packets are written at the end of the turn. A connection ends in on_closed; the pointer is
 * invalid when that returns. Likewise streams. */
#ifndef ATL_QUIC_CONN_H
#define ATL_QUIC_CONN_H

#include "quic/endpoint.h"

typedef struct atl_qstream atl_qstream;

/* Why a connection ended. */
typedef struct atl_qclose {
    int32_t code; /* ATLAS_ERR_*; ATLAS_OK when this side closed it by atl_qconn_close */
    uint8_t by_peer;
    uint8_t is_app;      /* error_code is an application error code */
    uint64_t error_code; /* QUIC error code sent or received */
    const char *text;    /* reason phrase, printable, valid during the call */
} atl_qclose;

/* How a connection reaches the other side. */
typedef struct atl_qpath {
    atl_addr remote;      /* direct: the peer; circuit: ignored */
    atl_addr local;       /* family 0: any */
    atl_circuit *circuit; /* not NULL: through this circuit, which must outlive the connection or be
                             ended first */
} atl_qpath;

typedef struct atl_qconn_ops {
    /* Authenticated on both sides and usable (the client waits for handshake_confirmed). */
    void (*on_confirmed)(void *user, atl_qconn *conn);
    /* The peer opened a stream: give it ops with atl_qstream_set_ops() or it is refused. */
    void (*on_stream)(void *user, atl_qconn *conn, atl_qstream *stream);
    /* The peer allows more streams of ours. */
    void (*on_streams_allowed)(void *user, atl_qconn *conn, int uni);
    void (*on_datagram)(void *user, atl_qconn *conn, const uint8_t *data, size_t len);
    /* The active path changed (atl_qconn_migrate, the peer's migration, NAT rebinding), after
     * validation. */
    void (*on_path)(void *user, atl_qconn *conn);
    /* atl_qconn_migrate(): the path `id` did not answer in time. Packets go where they went before,
     * or, after an immediate migration, still there. */
    void (*on_path_failed)(void *user, atl_qconn *conn, uint64_t id);
    /* The circuit of the path `id` has ended, and the path with it. When it was the active one
     * nothing can be sent before the next migration. NULL: the connection ends with `code`, as it
     * does during the handshake. */
    void (*on_path_lost)(void *user, atl_qconn *conn, uint64_t id, int32_t code);
    /* Bytes wait for their acknowledgement, and nothing was heard for `silent` nanoseconds. First
     * after the time that a probe and its answer take (a PTO and 5/4 of the round-trip time; at
     * least 250 ms, at most 2.5 PTO), then again each time that the silence has grown by half, or
     * by two seconds, until something is heard. */
    void (*on_silent)(void *user, atl_qconn *conn, uint64_t silent);
    /* After on_silent: heard again. */
    void (*on_heard)(void *user, atl_qconn *conn);
    /* Packets came one after the other, and then none for max(PTO, 250 ms): the peer has paused, or
     * is no longer heard. At most once a second. */
    void (*on_lull)(void *user, atl_qconn *conn);
    /* An authentic packet came, and not on the active path: on the kept path `id`, or (id 0, client
     * only: a server follows by itself) from where no path leads yet. At most once in 50 ms. */
    void (*on_stray)(void *user, atl_qconn *conn, uint64_t id, const atl_qpath *real);
    void (*on_closed)(void *user, atl_qconn *conn, const atl_qclose *why);
} atl_qconn_ops;

typedef struct atl_qstream_ops {
    /* Bytes in order, and the end. Give credit for `len` bytes, now or later, with
     * atl_qstream_credit(). */
    void (*on_data)(void *user, atl_qstream *stream, const uint8_t *data, size_t len, int fin);
    /* The send buffer has room again after a short write. */
    void (*on_writable)(void *user, atl_qstream *stream);
    /* Everything written, fin included, was acknowledged. */
    void (*on_acked)(void *user, atl_qstream *stream);
    /* The peer reset its sending side. */
    void (*on_reset)(void *user, atl_qstream *stream, uint64_t app_code);
    /* The peer no longer reads (STOP_SENDING); our side has been reset. */
    void (*on_stop)(void *user, atl_qstream *stream, uint64_t app_code);
    /* Final: both directions ended, or the connection did (before its own on_closed). */
    void (*on_closed)(void *user, atl_qstream *stream);
} atl_qstream_ops;

/* Dials. `protocol` is one ATL_PROTO_*; `timeout` nanoseconds until it must be confirmed, 0 =
 * handshake_timeout. */
int32_t atl_qconn_connect(atl_endpoint *ep, const atl_qpath *path, uint32_t protocol,
                          const atl_peer_id *peer, uint64_t timeout, const atl_qconn_ops *ops,
                          void *user, atl_qconn **out);
void atl_qconn_set_ops(atl_qconn *conn, const atl_qconn_ops *ops, void *user);
void *atl_qconn_user(const atl_qconn *conn);
atl_endpoint *atl_qconn_endpoint(atl_qconn *conn);

/* Closes with an application error code; on_closed follows later in the turn or in the next.
 * Harmless when closing. */
void atl_qconn_close(atl_qconn *conn, uint64_t app_code, const char *reason);
/* Drops it at once and silently: no upcall, no packet. Not from an upcall of the same connection.
 * Streams vanish without upcalls. */
void atl_qconn_abort(atl_qconn *conn);
/* The same, but the peer is told, with an application error code. */
void atl_qconn_part(atl_qconn *conn, uint64_t app_code);

uint32_t atl_qconn_protocol(const atl_qconn *conn);
int atl_qconn_is_server(const atl_qconn *conn);
int atl_qconn_is_confirmed(const atl_qconn *conn);
/* The authenticated peer, or NULL (an HTTP/3 client without certificate). */
const atl_peer_id *atl_qconn_peer(const atl_qconn *conn);
/* The validated active path. For a circuit: the 4-tuple of its control connection, and the circuit.
 */
void atl_qconn_path(const atl_qconn *conn, atl_qpath *out);
/* ---- paths ----
 *
 * A connection has one active path and keeps others for when they are needed. Paths are numbered
 * for one connection, never twice. */

#define ATL_CONN_PATHS 10 /* of a connection at once, kept ones and those being validated */

typedef struct atl_qpath_state {
    uint64_t id;
    atl_qpath real;    /* for a circuit also the 4-tuple of its control connection */
    uint8_t active;    /* packets go here */
    uint8_t validated; /* has been the active path, and was validated, within ten minutes */
    uint8_t kept;
    uint64_t heard; /* when the last authentic packet came this way; 0: never */
    uint64_t srtt;  /* nanoseconds, from when it was active last; 0: never was */
} atl_qpath_state;

/* Keeps a path until it is dropped, or its circuit ends. The same real path has the same id.
 * ATLAS_ERR_STATE before the connection is confirmed, ATLAS_ERR_LIMIT,
 * ATLAS_ERR_RELAY_CIRCUIT_CLOSED, ATLAS_ERR_FAMILY. */
int32_t atl_qconn_path_keep(atl_qconn *conn, const atl_qpath *path, uint64_t *id);
/* No longer kept: forgotten as soon as it is neither active nor needed by a validation. */
void atl_qconn_path_drop(atl_qconn *conn, uint64_t id);
/* All paths, the active one first. */
size_t atl_qconn_paths(const atl_qconn *conn, atl_qpath_state *out, size_t cap);
/* Client: moves to a kept path. The active path itself, with `now` 1, begins anew: congestion and
 * probes are as those of a new path. `now` 0: when it has been validated (at once where that is
 * known); 1: at once, and validated while it carries. on_path or on_path_failed follows, never from
 * inside. A migration that is under way ends without either. When the peer's connection ids are
 * used up, an immediate migration goes on with the present one, and with the congestion and MTU
 * state of the path that it leaves. ATLAS_ERR_STATE (a server, not confirmed, or with `now` 0 the
 * active path), ATLAS_ERR_NOT_FOUND, ATLAS_ERR_AGAIN (the peer's connection ids are used up: more
 * come with its next packets). */
int32_t atl_qconn_migrate(atl_qconn *conn, uint64_t id, int now);
/* Server: what is sent goes out on the kept path too, for at most `packets` packets or until the
 * active path is heard again, so that a client that is heard no more learns where it is heard.
 * ATLAS_ERR_STATE, ATLAS_ERR_NOT_FOUND. */
int32_t atl_qconn_echo(atl_qconn *conn, uint64_t id, uint32_t packets);
/* A PING with the next packet, whatever the keepalive. */
void atl_qconn_ping(atl_qconn *conn);
/* How long nothing may be heard before the connection ends; nanoseconds. Until it is set:
 * idle_timeout of the endpoint's parameters. */
void atl_qconn_patience(atl_qconn *conn, uint64_t timeout);

/* The MTU of the active path: QUIC packet bytes. */
uint32_t atl_qconn_mtu(const atl_qconn *conn);

typedef struct atl_qconn_info {
    uint64_t srtt, latest_rtt, min_rtt; /* nanoseconds */
    uint64_t pto;                       /* nanoseconds */
    uint64_t cwnd;                      /* bytes */
    uint64_t tx_bytes, rx_bytes, tx_packets, rx_packets, lost_packets;
} atl_qconn_info;
void atl_qconn_get_info(const atl_qconn *conn, atl_qconn_info *out);
/* Keeps the connection alive: a PING when nothing was sent for this long, nanoseconds; 0 = never.
 */
void atl_qconn_keepalive(atl_qconn *conn, uint64_t interval);
int32_t atl_qconn_export(atl_qconn *conn, const char *label, const uint8_t *context,
                         size_t context_len, uint8_t *out, size_t len);
/* Starts a key update; ATLAS_ERR_STATE when one is not allowed yet. */
int32_t atl_qconn_update_key(atl_qconn *conn);

/* ATLAS_ERR_LIMIT when the peer allows no more now; on_streams_allowed follows. */
int32_t atl_qconn_open_stream(atl_qconn *conn, int uni, const atl_qstream_ops *ops, void *user,
                              atl_qstream **out);
/* Copied. ATLAS_ERR_DATAGRAM_TOO_LARGE, ATLAS_ERR_AGAIN (256 waiting), ATLAS_ERR_UNSUPPORTED,
 * ATLAS_ERR_CLOSED. */
int32_t atl_qconn_send_datagram(atl_qconn *conn, const uint8_t *data, size_t len);
size_t atl_qconn_max_datagram(const atl_qconn *conn);

void atl_qstream_set_ops(atl_qstream *stream, const atl_qstream_ops *ops, void *user);
void *atl_qstream_user(const atl_qstream *stream);
int64_t atl_qstream_id(const atl_qstream *stream);
int atl_qstream_is_uni(const atl_qstream *stream);
int atl_qstream_is_local(const atl_qstream *stream);
atl_qconn *atl_qstream_conn(const atl_qstream *stream);
/* Copies up to stream_window - buffered bytes; *taken says how many; on_writable follows when fewer
 * than len. fin counts only when all were taken. ATLAS_ERR_STATE after fin or on a receive-only
 * stream; ATLAS_ERR_STREAM_RESET. */
int32_t atl_qstream_write(atl_qstream *stream, const void *data, size_t len, int fin,
                          size_t *taken);
/* Lets this stream buffer up to `limit` bytes (messages of a known size; control streams). */
void atl_qstream_set_send_limit(atl_qstream *stream, uint64_t limit);
size_t atl_qstream_buffered(const atl_qstream *stream);
/* Gives the peer credit for n bytes that on_data delivered. on_closed of a stream comes only when
 * all of them were credited, and may then come from inside this call: streams that are closed and
 * not read count against the peer's limit. */
void atl_qstream_credit(atl_qstream *stream, uint64_t n);
/* RESET_STREAM for our side and STOP_SENDING for the peer's, where each applies. */
void atl_qstream_shutdown(atl_qstream *stream, uint64_t app_code);

#endif
