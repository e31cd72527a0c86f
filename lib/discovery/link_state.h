/* What the two modules of a link share: its requests (link.c) and its connection (link_dial.c).
 * Nothing else includes it. */
#ifndef ATL_DISCOVERY_LINK_STATE_H
#define ATL_DISCOVERY_LINK_STATE_H

#include "base/bucket.h"
#include "discovery/link.h"
#include "quic/endpoint.h"

#define ATL_LINK_TEXT_MAX 128
#define ATL_LINK_WAITING_MAX 256u

#define ATL_LINK_NONE 0 /* no connection */
#define ATL_LINK_NAME 1 /* the name is looked up */
#define ATL_LINK_DIAL 2 /* a connection is being made */
#define ATL_LINK_READY 3
#define ATL_LINK_CLOSES 4 /* nothing new goes out on it; its end is to come */

struct atl_link_request {
    atl_list node; /* in one of the link's lists */
    atl_link *link;
    atl_link_done done;
    void *user;
    atl_timer timer;
    atl_h3_stream *stream; /* NULL unless active */
    uint64_t sent;         /* when; nanoseconds */
    uint8_t active;        /* in `active` */
    uint8_t ended;         /* in `done` or `telling` */
    uint8_t again;         /* its connection was lost once */
    uint8_t lost;          /* its stream ended without an answer */
    int32_t status;
    uint8_t *answer;
    size_t answer_len;
    size_t answer_cap;
    int32_t code; /* how it ended */
    uint64_t rtt;
    char text[ATL_LINK_TEXT_MAX];
    const char *method; /* all in `bytes` */
    const char *path;
    const uint8_t *body;
    size_t len;
    uint8_t bytes[];
};

struct atl_link {
    atl_link_config config;
    atl_env *env;
    atl_loop *loop;
    uint8_t state; /* ATL_LINK_* */
    uint8_t goaway;
    uint8_t pumping;
    uint8_t has_remote;
    atl_h3 *h3;
    atl_resolve *resolve;
    atl_addr addrs[ATL_RESOLVE_MAX];
    uint8_t n_addrs;
    uint8_t next_addr;
    uint64_t dialled; /* when; nanoseconds */
    atl_addr remote;
    atl_list waiting; /* requests, in order */
    atl_list active;  /* on a stream */
    atl_list done;    /* to be told */
    atl_list telling; /* being told */
    size_t n_waiting;
    size_t n_active;
    size_t n_streams; /* on the connection, those of requests that have ended included */
    atl_bucket pace;  /* what a server allows one connection */
    atl_timer pacing;
    atl_timer linger;
    atl_task deliver;
    int *gone; /* set while upcalls run: told when the link is freed */
};

/* ---- link.c ---- */

/* Sends what waits, as far as it may. */
void atl_link_pump(atl_link *link);
/* Everything that waits ends with this. */
void atl_link_fail_waiting(atl_link *link, int32_t code, const char *text);
/* The connection with these requests is gone: each waits again, once, or ends. */
void atl_link_lose_active(atl_link *link, int32_t code, const char *text);
/* 1 when no request that is active was lost before. */
int atl_link_may_lose(const atl_link *link);
/* Upcalls of their streams. */
void atl_link_on_response(atl_h3_stream *stream, int32_t status);
void atl_link_on_data(atl_h3_stream *stream, const uint8_t *data, size_t len);
void atl_link_on_end(atl_h3_stream *stream);
void atl_link_on_stream_closed(atl_link *link, atl_h3_stream *stream);
/* Sets or clears the timer that ends an unused connection. */
void atl_link_watch_use(atl_link *link);

/* ---- link_dial.c ---- */

/* Connects; only without connection. May fail at once: atl_link_fail_waiting() then. */
void atl_link_dial(atl_link *link);
/* Ends the connection in order; its end comes later. */
void atl_link_close(atl_link *link);
/* The same at once. */
void atl_link_drop(atl_link *link);
/* ":authority" of requests. */
#define ATL_LINK_AUTHORITY_MAX (ATL_HOST_MAX + 8)
void atl_link_authority(const atl_link *link, char out[ATL_LINK_AUTHORITY_MAX]);

#endif
