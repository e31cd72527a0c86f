/* HTTP/3 (nghttp3) on a QUIC connection: requests with short answers, and extended CONNECT streams
 * (RFC 9220) whose DATA carries capsules (RFC 9297). Takes over the connection's ops. */
#ifndef ATL_HTTP3_SESSION_H
#define ATL_HTTP3_SESSION_H

#include "quic/conn.h"

typedef struct atl_h3 atl_h3;
typedef struct atl_h3_stream atl_h3_stream; /* one request */

/* The head of a request; all NUL-terminated, "" when absent. */
typedef struct atl_h3_request {
    const char *method;
    const char *scheme;
    const char *authority;
    const char *path;
    const char *protocol; /* :protocol of an extended CONNECT */
    int capsules;         /* capsule-protocol: ?1 */
} atl_h3_request;

/* A further field of a response. */
typedef struct atl_h3_field {
    const char *name; /* lower case */
    const char *value;
} atl_h3_field;
#define ATL_H3_FIELDS_MAX 6

typedef struct atl_h3_ops {
    /* Usable: the QUIC connection is confirmed and, on the client, the peer's SETTINGS allow
     * extended CONNECT. */
    void (*on_ready)(void *user, atl_h3 *h3);
    /* Server: a request's head is complete. Answer with atl_h3_respond() or atl_h3_accept(), now or
     * later. */
    void (*on_request)(void *user, atl_h3 *h3, atl_h3_stream *stream,
                       const atl_h3_request *request);
    /* Client: the final response head. */
    void (*on_response)(void *user, atl_h3_stream *stream, int32_t status);
    /* Body bytes; flow-control credit is given when this returns. */
    void (*on_data)(void *user, atl_h3_stream *stream, const uint8_t *data, size_t len);
    /* The other side ended its direction. */
    void (*on_end)(void *user, atl_h3_stream *stream);
    /* Final for a stream. */
    void (*on_stream_closed)(void *user, atl_h3_stream *stream);
    /* Client: the server allows more requests, after atl_h3_open() has said ATLAS_ERR_LIMIT. */
    void (*on_allowed)(void *user, atl_h3 *h3);
    /* GOAWAY came. */
    void (*on_goaway)(void *user, atl_h3 *h3);
    /* The active path of the QUIC connection changed. */
    void (*on_path)(void *user, atl_h3 *h3);
    /* Nothing was heard for too long, and heard again; see atl_qconn_ops. */
    void (*on_silent)(void *user, atl_h3 *h3, uint64_t silent);
    void (*on_heard)(void *user, atl_h3 *h3);
    /* Final: the connection ended; h3 is freed when this returns. */
    void (*on_closed)(void *user, atl_h3 *h3, const atl_qclose *why);
} atl_h3_ops;

/* Wraps a connection: the client's right after atl_qconn_connect(ATL_PROTO_H3), the server's from
 * on_accept. */
int32_t atl_h3_new(atl_qconn *conn, const atl_h3_ops *ops, void *user, atl_h3 **out);
atl_qconn *atl_h3_conn(atl_h3 *h3);
void *atl_h3_user(atl_h3 *h3);
/* Closes the connection with an HTTP/3 error code (0x100 H3_NO_ERROR) and a reason; on_closed
 * follows. */
void atl_h3_close(atl_h3 *h3, uint64_t code, const char *reason);
/* Drops the session and its connection at once and silently: no upcall, no packet. Not from an
 * upcall of the same session. What an owner that goes away itself uses; atl_qconn_abort() alone
 * would leave the session behind. */
void atl_h3_abort(atl_h3 *h3);
/* The same in order: the other side is told, with an HTTP/3 error code. For an owner that goes away
 * and cannot wait for on_closed. */
void atl_h3_part(atl_h3 *h3, uint64_t code);
/* Server: GOAWAY; further requests are refused. */
void atl_h3_goaway(atl_h3 *h3);

/* Client: opens a request; an extended CONNECT stays open for writing when protocol is set. */
int32_t atl_h3_open(atl_h3 *h3, const atl_h3_request *request, void *stream_user,
                    atl_h3_stream **out);
/* The same for a request that is no CONNECT, with a whole body of at most 1 MiB, copied, and its
 * type (may be NULL). ATLAS_ERR_TOO_LARGE. */
int32_t atl_h3_open_with(atl_h3 *h3, const atl_h3_request *request, const char *content_type,
                         const void *body, size_t len, void *stream_user, atl_h3_stream **out);
/* Server: a whole response, copied. */
int32_t atl_h3_respond(atl_h3_stream *stream, int32_t status, const char *content_type,
                       const void *body, size_t len);
/* The same with further fields, at most ATL_H3_FIELDS_MAX. */
int32_t atl_h3_respond_with(atl_h3_stream *stream, int32_t status, const char *content_type,
                            const atl_h3_field *fields, size_t n_fields, const void *body,
                            size_t len);
/* Server: 1 when a response was given, or none can be given any more. */
int atl_h3_stream_answered(const atl_h3_stream *stream);
/* Server: how many requests a second the client may send in the long run, and at once. At first 32
 * and 256. 0: no limit. Setting what is set already changes nothing. */
void atl_h3_set_request_rate(atl_h3 *h3, uint64_t rate, uint64_t burst);
/* Server: 200 for an extended CONNECT; the stream stays open both ways. */
int32_t atl_h3_accept(atl_h3_stream *stream);
/* Queues bytes on an open CONNECT stream, copied. ATLAS_ERR_AGAIN when more than 64 KiB wait
 * (nothing is taken then). */
int32_t atl_h3_write(atl_h3_stream *stream, const void *data, size_t len);
/* Ends our direction after what is queued. */
void atl_h3_end(atl_h3_stream *stream);
void atl_h3_reset(atl_h3_stream *stream, uint64_t code);
void atl_h3_stream_set_user(atl_h3_stream *stream, void *stream_user);
void *atl_h3_stream_user(atl_h3_stream *stream);
atl_h3 *atl_h3_stream_session(atl_h3_stream *stream);
int64_t atl_h3_stream_id(const atl_h3_stream *stream);

#endif
