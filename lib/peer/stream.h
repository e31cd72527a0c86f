/* The stream that applications hold (atlas_stream). What comes is kept in chunks until it is read;
 * the peer gets credit for what was read, so that flow control bounds the chunks. The QUIC stream
 * may end earlier than the handle, which lives until its final event. */
#ifndef ATL_PEER_STREAM_H
#define ATL_PEER_STREAM_H

#include "peer/conn.h"

typedef struct atl_stream_chunk {
    struct atl_stream_chunk *next;
    size_t start; /* read so far */
    size_t len;
    size_t cap;
    uint8_t data[];
} atl_stream_chunk;

struct atlas_stream {
    atl_list node; /* in conn->streams */
    atl_item item;
    atlas_conn *conn;
    atl_qstream *q; /* NULL once it has ended */
    atlas_stream_callbacks callbacks;
    void *user;
    int64_t id;
    atl_stream_chunk *head;
    atl_stream_chunk *tail;
    uint64_t unread;
    uint64_t reset_code; /* of the peer's reset or stop, or of ours */
    int32_t error;       /* receiving failed for want of memory */
    uint8_t uni, local;
    uint8_t fresh; /* on_stream is due */
    uint8_t has_callbacks;
    uint8_t pending;  /* STREAM_* events due */
    uint8_t fin_in;   /* the peer's end came */
    uint8_t fin_read; /* and was read */
    uint8_t fin_out;  /* our end was written */
    uint8_t acked;
    uint8_t reset_in;  /* the peer reset its side */
    uint8_t stopped;   /* the peer stopped reading ours */
    uint8_t cancelled; /* reset by the application */
    uint8_t final_due; /* nothing but the final event will follow */
};

int32_t atl_stream_open(atlas_conn *conn, uint32_t uni, const atlas_stream_callbacks *callbacks,
                        void *user, atlas_stream **out);
/* A stream of the peer: queued for on_stream; the QUIC stream is refused when memory is short. */
void atl_stream_accept(atlas_conn *conn, atl_qstream *q, atlas_stream **out);
/* Bytes that came before the stream was one. */
void atl_stream_feed(atlas_stream *stream, const uint8_t *data, size_t len, int fin);
int32_t atl_stream_set_callbacks(atlas_stream *stream, const atlas_stream_callbacks *callbacks,
                                 void *user);
int32_t atl_stream_write(atlas_stream *stream, const void *data, size_t len, uint32_t fin,
                         size_t *taken);
int32_t atl_stream_read(atlas_stream *stream, void *buf, size_t cap, size_t *len, uint32_t *fin);
int32_t atl_stream_peek(atlas_stream *stream, const uint8_t **data, size_t *len, uint32_t *fin);
int32_t atl_stream_consume(atlas_stream *stream, size_t n);
int32_t atl_stream_reset(atlas_stream *stream, uint64_t app_code);

/* The connection has ended: every stream comes to its final event. */
void atl_streams_ended(atlas_conn *conn);
/* Without events. */
void atl_streams_free(atlas_conn *conn);

#endif
