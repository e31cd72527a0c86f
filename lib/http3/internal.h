/* What the modules of the http3 room share: the session (session.c), nghttp3's callbacks
 * (events.c), requests and what they send (exchange.c), answers (respond.c). Nothing outside http3/
 * includes it.
 *
 * nghttp3 must not be re-entered in a way that frees what it works on, while owners may do anything
 * in their upcalls. So atl_h3_enter() and atl_h3_leave() bracket every call that leads to upcalls;
 * streams that end in between are let go, and data is written, when the outermost bracket closes.
 */
#ifndef ATL_HTTP3_INTERNAL_H
#define ATL_HTTP3_INTERNAL_H

#include "base/bucket.h"
#include "base/list.h"
#include "http3/session.h"

#include <nghttp3/nghttp3.h>

#define ATL_H3_REQUESTS 64 /* at once */
#define ATL_H3_RATE 32     /* new requests per second that a client may sustain */
#define ATL_H3_BURST 256   /* and at once */
#define ATL_H3_FIELDS \
    8192 /* bytes of a field section that are accepted, counted as RFC 9114 section 4.2.2 does */
#define ATL_H3_FIELDS_FATAL 65536      /* who sends more than this loses the connection */
#define ATL_H3_PENDING ((size_t)65536) /* bytes that wait on a CONNECT stream */
#define ATL_H3_BODY ((size_t)1 << 20)  /* longest whole body, of a response or a request */
#define ATL_H3_LOCAL_STREAMS 3         /* control, QPACK encoder, QPACK decoder */

/* Fields of a request's head that are kept. */
#define ATL_H3_METHOD 0
#define ATL_H3_SCHEME 1
#define ATL_H3_AUTHORITY 2
#define ATL_H3_PATH 3
#define ATL_H3_PROTOCOL 4
#define ATL_H3_TEXTS 5

typedef struct atl_h3_head {
    char *texts[ATL_H3_TEXTS]; /* NULL when absent */
    int capsules;
} atl_h3_head;

/* Bytes on their way out. nghttp3 holds pointers into them until they are in the QUIC stream's
 * buffer. */
typedef struct atl_h3_chunk {
    struct atl_h3_chunk *next;
    size_t len;
    uint8_t data[];
} atl_h3_chunk;

struct atl_h3_stream {
    atl_list node; /* in h3->streams */
    atl_h3 *h3;
    atl_qstream *qs; /* NULL once the QUIC stream has ended */
    int64_t id;
    void *user;
    atl_h3_head *head; /* server: while the head is being received */
    size_t fields;     /* bytes of the field section that is being received */
    int32_t status;    /* client: of the response head that is being received */
    atl_h3_chunk *out; /* first chunk not yet taken by QUIC */
    atl_h3_chunk *out_tail;
    atl_h3_chunk *unread; /* first chunk that nghttp3 does not know of */
    size_t out_taken;     /* bytes of `out` that were taken */
    size_t pending;       /* bytes in the chunks, less out_taken */
    uint8_t is_connect;   /* CONNECT with :protocol */
    uint8_t is_head;      /* HEAD: the response has no body */
    uint8_t requested;    /* server: the owner was told of the request */
    uint8_t answered;     /* server: a response was submitted */
    uint8_t open;         /* our direction takes atl_h3_write() */
    uint8_t ended;        /* our direction ends after what is queued */
    uint8_t got_end;      /* the other direction has ended */
    uint8_t reset;        /* reset by either side: nothing more comes or goes */
};

struct atl_h3 {
    atl_qconn *conn;
    atl_env *env;
    atl_loop *loop;
    const atl_h3_ops *ops;
    void *user;
    nghttp3_mem mem;
    nghttp3_conn *http;
    atl_list streams;
    size_t n_streams;
    atl_qstream *local[ATL_H3_LOCAL_STREAMS];
    atl_qstream *reading; /* what nghttp3 is fed from */
    atl_bucket requests;
    uint64_t streams_told; /* what nghttp3 knows as the client's stream limit */
    uint32_t busy;         /* open brackets */
    uint8_t is_server;
    uint8_t flushing;
    uint8_t bound;      /* our unidirectional streams are there */
    uint8_t settings;   /* the peer's SETTINGS came */
    uint8_t connect_ok; /* and allow extended CONNECT */
    uint8_t told_ready;
    uint8_t draining; /* we sent GOAWAY */
    uint8_t goaway;   /* GOAWAY came */
    uint8_t told_goaway;
    uint8_t broken;    /* nghttp3 must not be called any more */
    uint8_t closed;    /* being closed: nothing but final upcalls */
    int32_t fail_code; /* why we closed it, when that was an error */
    char fail_text[96];
};

/* session.c */
void atl_h3_enter(atl_h3 *h3);
void atl_h3_leave(atl_h3 *h3);
/* Closes the connection for an error of the other side, or of ours. */
void atl_h3_fail(atl_h3 *h3, int32_t code, uint64_t http_code, const char *text);
/* The same for an error of nghttp3, which is unusable afterwards. */
void atl_h3_fail_lib(atl_h3 *h3, int error);
static inline int atl_h3_usable(const atl_h3 *h3) {
    return !h3->broken && !h3->closed;
}

/* events.c */
void atl_h3_fill_callbacks(nghttp3_callbacks *callbacks);
void atl_h3_head_free(atl_h3 *h3, atl_h3_head *head);

/* exchange.c */
int32_t atl_h3_stream_new(atl_h3 *h3, atl_qstream *qs, atl_h3_stream **out);
/* Takes it out of the session and frees it, without upcall. */
void atl_h3_stream_free(atl_h3_stream *stream);
extern const atl_qstream_ops atl_h3_request_ops;
/* Copies what nghttp3 has to send into the QUIC streams. */
void atl_h3_flush(atl_h3 *h3);
/* nghttp3 no longer needs the first n bytes of the stream's chunks. */
void atl_h3_stream_taken(atl_h3_stream *stream, uint64_t n);
/* Appends to what the stream sends, copied. */
int32_t atl_h3_queue(atl_h3_stream *stream, const void *data, size_t len);
/* Reads what was queued. */
extern const nghttp3_data_reader atl_h3_body;
/* nghttp3 copies both when the list is submitted. */
void atl_h3_add_field(nghttp3_nv *list, size_t *n, const char *name, const char *value);
/* Gives the peer's bytes to nghttp3. */
void atl_h3_feed(atl_h3 *h3, atl_qstream *qs, const uint8_t *data, size_t len, int fin);

#endif
