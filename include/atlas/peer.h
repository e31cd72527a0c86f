/* libatlas: connections to peers, their streams, messages and datagrams.
 *
 * A connection is dialled with atlas_dial() or arrives through on_connection of atlas_callbacks. It
 * is QUIC v1 (RFC 9000), mutually authenticated, end-to-end encrypted on every path. Callbacks are
 * delivered from the drive call only; every function here may be called from them. */
#ifndef ATLAS_PEER_H
#define ATLAS_PEER_H

#include <atlas/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The active path of a connection. */
typedef struct atlas_path_info {
    uint64_t size;   /* bytes: sizeof(atlas_path_info), set by the caller: what an older version did
                        not have is not filled */
    uint32_t kind;   /* ATLAS_PATH_DIRECT, ATLAS_PATH_RELAY; ATLAS_PATH_NONE when none carries */
    uint32_t mtu;    /* bytes of UDP payload that a QUIC packet may have on this path */
    uint64_t rtt_ns; /* smoothed round-trip time, nanoseconds; 0 when unknown */
    char local[ATLAS_ADDR_MAX];    /* local address "host:port" */
    char remote[ATLAS_ADDR_MAX];   /* the peer's address, or the relay's for ATLAS_PATH_RELAY,
                                      "host:port" */
    char relay[ATLAS_PEER_ID_MAX]; /* the relay's peer id for ATLAS_PATH_RELAY, else "" */
    uint32_t candidate; /* ATLAS_CANDIDATE_*: how `remote` became known; _RELAY for a relay */
    uint32_t reserved;  /* zero */
} atlas_path_info;

/* One attempt to make a relayed connection direct (hole punching), or to find a better direct path.
 * Strings are valid during the callback. */
typedef struct atlas_upgrade_info {
    uint64_t size;  /* bytes: sizeof(atlas_upgrade_info) */
    int32_t code;   /* ATLAS_OK: at least one pair carried data both ways (on_path follows when the
                       connection moves there); ATLAS_ERR_TIMEOUT: no check was answered;
                       ATLAS_ERR_NO_ADDRESS: there was nothing to check; ATLAS_ERR_LIMIT: the bytes
                       that may be spent were; ATLAS_ERR_CANCELLED: ended by a change of network or of
                       candidates, and begun anew */
    uint32_t pairs; /* pairs of candidates tried */
    uint32_t requests;           /* checks sent */
    uint32_t heard;              /* authentic checks of the peer that arrived */
    uint32_t answers;            /* authentic answers to ours */
    uint32_t reserved;           /* zero */
    uint64_t bytes;              /* UDP payload bytes of checks and answers sent */
    uint64_t duration_ns;        /* nanoseconds */
    uint64_t retry_ns;           /* nanoseconds until the next attempt; 0: none is planned */
    char local[ATLAS_ADDR_MAX];  /* of the best pair, when code is ATLAS_OK, else "" */
    char remote[ATLAS_ADDR_MAX]; /* likewise */
    const char *text;            /* a sentence: why it ended as it did */
} atlas_upgrade_info;

/* Callbacks of a connection. Set `size` to sizeof(atlas_conn_callbacks) (tables of older versions
 * are shorter); each may be NULL. The table is copied. After atlas_conn_close() only final events
 * follow: of messages, of streams, and on_closed. */
typedef struct atlas_conn_callbacks {
    uint64_t size; /* bytes: sizeof(atlas_conn_callbacks) */

    /* A dialled connection is authenticated and confirmed by the peer; streams may be opened. */
    void (*on_connected)(void *user, atlas_conn *conn);

    /* The active path changed (the first one comes with on_connected, before it): to another path,
     * or to ATLAS_PATH_NONE when nothing is heard on any, until one is found or the connection
     * ends. Nothing is lost by a change. `reason` is a phrase; both arguments are valid during the
     * call.
     */
    void (*on_path)(void *user, atlas_conn *conn, const atlas_path_info *path, const char *reason);

    /* An attempt of a dial failed. `addr` is the candidate, `text` the reason. One call for each
     * that failed before the dial ended, the last one too; attempts that were merely slower than
     * the winner have not failed. */
    void (*on_attempt)(void *user, atlas_conn *conn, const char *addr, int32_t code,
                       const char *text);

    /* The peer opened a stream. The application gives it callbacks with
     * atlas_stream_set_callbacks() here or resets it; a stream without callbacks when this returns
     * is reset. NULL: streams are refused. */
    void (*on_stream)(void *user, atlas_conn *conn, atlas_stream *stream);

    /* A whole message came. `data` is valid during the call. */
    void (*on_message)(void *user, atlas_conn *conn, const uint8_t *data, size_t len);

    /* The message that atlas_conn_send_message() numbered `id` was acknowledged by the peer's
     * transport to the last byte (ATLAS_OK), or can no longer be: ATLAS_ERR_MESSAGE_TOO_LARGE when
     * the peer takes none that long (a message that was acknowledged before the peer could refuse
     * it counts as sent), ATLAS_ERR_STREAM_RESET when it refused for another reason, or why the
     * connection ended. One call for each message. */
    void (*on_message_sent)(void *user, atlas_conn *conn, uint64_t id, int32_t code);

    /* A datagram came. `data` is valid during the call. */
    void (*on_datagram)(void *user, atlas_conn *conn, const uint8_t *data, size_t len);

    /* The answer to atlas_conn_ping(): round-trip time in nanoseconds, and the path's kind it took.
     */
    void (*on_pong)(void *user, atlas_conn *conn, uint64_t id, uint64_t rtt_ns, uint32_t path_kind);

    /* Final event: the connection has ended, or the dial failed. `code` says why: ATLAS_OK after
     * atlas_conn_close() (with the `app_code` given there) and when the peer did what
     * atlas_conn_disconnect() asked for; ATLAS_ERR_PEER_CLOSED with `app_code` when the peer
     * closed; ATLAS_ERR_DISCONNECTED when the peer asked to end all sessions; ATLAS_ERR_DIAL with
     * all reasons in `text`; ATLAS_ERR_SHUTDOWN after atlas_shutdown(); ATLAS_ERR_IDLE_TIMEOUT,
     * ATLAS_ERR_RELAY_*, ATLAS_ERR_TRANSPORT and others. All its streams and messages have had
     * their own final events before. The handle is invalid when this returns. */
    void (*on_closed)(void *user, atlas_conn *conn, int32_t code, uint64_t app_code,
                      const char *text);

    /* An attempt to find a direct, or a better direct path has ended. */
    void (*on_upgrade)(void *user, atlas_conn *conn, const atlas_upgrade_info *info);
} atlas_conn_callbacks;

/* Dials a peer. `target` is a peer id (dialled through the configured relays, and directly at
 * addresses given by atlas_peer_add_addr()), or a multiaddr ending in /p2p/ID, direct or
 * /p2p-circuit/. Direct candidates are raced, staggered by 250 ms (RFC 8305); relays follow after
 * ATLAS_OPT_RELAY_DELAY_MS, or at once where nothing direct is known: those that are connected and
 * well first, then in the configured order, and none waits for one that is not well. The
 * first authenticated and confirmed handshake wins. With enable_relay 0 relays are never used.
 * `timeout_ms` bounds the whole dial (0 = 15000). Returns ATLAS_OK and stores the handle in *out
 * (owned by the library until on_closed); ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID, ATLAS_ERR_SELF,
 * ATLAS_ERR_NO_ADDRESS, ATLAS_ERR_RELAY_DISABLED for a circuit address with enable_relay 0,
 * ATLAS_ERR_LIMIT, ATLAS_ERR_NOMEM, ATLAS_ERR_SHUTDOWN, or an error of atlas_open(). */
ATLAS_API int32_t atlas_dial(atlas_ctx *ctx, const char *target, uint64_t timeout_ms,
                             const atlas_conn_callbacks *callbacks, void *user, atlas_conn **out);

/* Tells the context a direct address of a peer (multiaddr, with or without /p2p/ID of that peer),
 * used by dials to its bare id. At most 16 per peer and 1024 peers; the oldest goes first. Returns
 * ATLAS_OK, ATLAS_ERR_ADDRESS, ATLAS_ERR_PEER_ID, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_peer_add_addr(atlas_ctx *ctx, const char *peer, const char *addr);

/* Accepts peers on the context's sockets and through its relays (atlas_relay_presence()). Before
 * this call inbound connections are refused. Events: on_connection. Returns ATLAS_OK or an error of
 * atlas_open(). */
ATLAS_API int32_t atlas_listen(atlas_ctx *ctx);

/* Gives a connection its callbacks. Returns ATLAS_OK or ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_conn_set_callbacks(atlas_conn *conn, const atlas_conn_callbacks *callbacks,
                                           void *user);

/* The context of a connection. */
ATLAS_API atlas_ctx *atlas_conn_ctx(atlas_conn *conn);

/* The peer's id in text; valid as long as the handle. */
ATLAS_API const char *atlas_conn_peer_id(const atlas_conn *conn);

/* 1 when this side dialled, 0 when it accepted. */
ATLAS_API uint32_t atlas_conn_is_dialer(const atlas_conn *conn);

/* Fills *out with the active path. Returns ATLAS_OK, ATLAS_ERR_INVALID, ATLAS_ERR_STATE before
 * connected. */
ATLAS_API int32_t atlas_conn_get_path(const atlas_conn *conn, atlas_path_info *out);

/* Counters of a connection. */
typedef struct atlas_conn_stats {
    uint64_t size;         /* bytes: sizeof(atlas_conn_stats), set by the caller */
    uint64_t tx_bytes;     /* UDP payload bytes sent */
    uint64_t rx_bytes;     /* UDP payload bytes received */
    uint64_t tx_packets;   /* QUIC packets sent */
    uint64_t rx_packets;   /* QUIC packets received */
    uint64_t lost_packets; /* packets declared lost */
    uint64_t cwnd;         /* congestion window, bytes */
    uint64_t rtt_ns;       /* smoothed round-trip time, nanoseconds */
} atlas_conn_stats;
ATLAS_API int32_t atlas_conn_get_stats(const atlas_conn *conn, atlas_conn_stats *out);

/* Closes a connection with an application code (0..2^62-1) and a reason (at most 256 bytes, may be
 * NULL) that the peer is told. Data not yet acknowledged may be lost. on_closed follows. Codes
 * 0x2a7a5200..0x2a7a52ff are the library's own. Ends a dial in progress as well. Returns ATLAS_OK,
 * ATLAS_ERR_INVALID or ATLAS_ERR_CLOSED. */
ATLAS_API int32_t atlas_conn_close(atlas_conn *conn, uint64_t app_code, const char *reason);

/* Asks the peer to close all its sessions with this node, for `reason` (at most 256 bytes, may be
 * NULL). The peer's connections to this node, this one among them, end with ATLAS_ERR_DISCONNECTED
 * there. Returns ATLAS_OK, ATLAS_ERR_STATE before connected, ATLAS_ERR_CLOSED. */
ATLAS_API int32_t atlas_conn_disconnect(atlas_conn *conn, const char *reason);

/* Sends a ping over the control stream; on_pong answers. *id receives its number.
 * Returns ATLAS_OK, ATLAS_ERR_STATE, ATLAS_ERR_LIMIT (16 outstanding), ATLAS_ERR_CLOSED. */
ATLAS_API int32_t atlas_conn_ping(atlas_conn *conn, uint64_t *id);

/* Sends a message of `len` bytes (0..max_message_size), copied, on a stream of its own, so that
 * messages never block one another and may arrive in any order. *id receives its number for
 * on_message_sent (id may be NULL). Returns ATLAS_OK; ATLAS_ERR_MESSAGE_TOO_LARGE; ATLAS_ERR_AGAIN
 * when 1024 messages or 16 MiB wait; ATLAS_ERR_STATE, ATLAS_ERR_CLOSED, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_conn_send_message(atlas_conn *conn, const void *data, size_t len,
                                          uint64_t *id);

/* Sends an unreliable datagram (RFC 9221), copied. Returns ATLAS_OK; ATLAS_ERR_DATAGRAM_TOO_LARGE
 * when it does not fit one packet of the active path (see atlas_conn_max_datagram());
 * ATLAS_ERR_AGAIN when 256 wait; ATLAS_ERR_STATE, ATLAS_ERR_CLOSED, ATLAS_ERR_UNSUPPORTED when the
 * peer takes none. */
ATLAS_API int32_t atlas_conn_send_datagram(atlas_conn *conn, const void *data, size_t len);

/* The longest datagram in bytes that the active path takes now; 0 before connected or when the peer
 * takes none. */
ATLAS_API size_t atlas_conn_max_datagram(const atlas_conn *conn);

/* ---- streams ------------------------------------------------------------------------------------
 */

/* Callbacks of a stream. Set `size`; each may be NULL. The table is copied. */
typedef struct atlas_stream_callbacks {
    uint64_t size; /* bytes: sizeof(atlas_stream_callbacks) */

    /* Bytes, or the end of the stream, can be read. Called again after each drive call while unread
     * data is there and more came; read until ATLAS_ERR_AGAIN. */
    void (*on_readable)(void *user, atlas_stream *stream);

    /* atlas_stream_write() that took less than offered may be called again. */
    void (*on_writable)(void *user, atlas_stream *stream);

    /* Everything written, the end included, was acknowledged by the peer's transport. */
    void (*on_acked)(void *user, atlas_stream *stream);

    /* Final event. ATLAS_OK when both directions ended in order and everything was read;
     * ATLAS_ERR_STREAM_RESET with the peer's `app_code`; ATLAS_ERR_CANCELLED with the `app_code` of
     * atlas_stream_reset(); else why the connection ended (ATLAS_ERR_CLOSED when this side closed
     * it). A stream that the peer has ended lives until its data was read. The handle is invalid
     * when this returns. */
    void (*on_closed)(void *user, atlas_stream *stream, int32_t code, uint64_t app_code);
} atlas_stream_callbacks;

/* Opens a stream: bidirectional, or unidirectional with `uni` 1. The peer hears of it with its
 * first byte. Returns ATLAS_OK and stores the handle in *out; ATLAS_ERR_LIMIT when the peer allows
 * no more now; ATLAS_ERR_STATE, ATLAS_ERR_CLOSED, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_stream_open(atlas_conn *conn, uint32_t uni,
                                    const atlas_stream_callbacks *callbacks, void *user,
                                    atlas_stream **out);

/* Gives a stream its callbacks. Returns ATLAS_OK or ATLAS_ERR_INVALID. */
ATLAS_API int32_t atlas_stream_set_callbacks(atlas_stream *stream,
                                             const atlas_stream_callbacks *callbacks, void *user);

/* The connection of a stream, and its QUIC stream id. */
ATLAS_API atlas_conn *atlas_stream_conn(const atlas_stream *stream);
ATLAS_API int64_t atlas_stream_id(const atlas_stream *stream);

/* Writes up to `len` bytes (copied) and with `fin` 1 the end of the stream, which takes effect only
 * when all bytes were taken. *taken receives how many were: less than `len` when the send buffer
 * (ATLAS_OPT_STREAM_BUFFER) is full because the peer does not read; on_writable follows. Returns
 * ATLAS_OK (also when *taken < len), ATLAS_ERR_STATE after fin or on a receive-only stream,
 * ATLAS_ERR_STREAM_RESET, ATLAS_ERR_CLOSED, ATLAS_ERR_NOMEM. */
ATLAS_API int32_t atlas_stream_write(atlas_stream *stream, const void *data, size_t len,
                                     uint32_t fin, size_t *taken);

/* Reads up to `cap` bytes into `buf`; *len receives how many, *fin 1 when the end was reached.
 * Reading gives the peer credit to send more: a reader that does not read stops the sender. Returns
 * ATLAS_OK (len > 0 or fin), ATLAS_ERR_AGAIN when nothing is there, ATLAS_ERR_STREAM_RESET,
 * ATLAS_ERR_STATE on a send-only stream. */
ATLAS_API int32_t atlas_stream_read(atlas_stream *stream, void *buf, size_t cap, size_t *len,
                                    uint32_t *fin);

/* The same without a copy: *data points to *len contiguous unread bytes, valid until the next call
 * on this stream or the next drive call; atlas_stream_consume() then gives back `n` <= *len of
 * them. */
ATLAS_API int32_t atlas_stream_peek(atlas_stream *stream, const uint8_t **data, size_t *len,
                                    uint32_t *fin);
ATLAS_API int32_t atlas_stream_consume(atlas_stream *stream, size_t n);

/* Ends a stream abruptly in both directions with an application code. on_closed follows. */
ATLAS_API int32_t atlas_stream_reset(atlas_stream *stream, uint64_t app_code);

#ifdef __cplusplus
}
#endif
#endif
