/* The connection that applications hold (atlas_conn): first a dial, or an accepted QUIC connection
 * that has not said Hello; then one QUIC connection; in the end one final event.
 *
 * What happens is queued and delivered by one event task a connection, so that events keep their
 * order: failed attempts, connected, path, then items (streams, messages, datagrams, pongs) as they
 * came, and closed last. */
#ifndef ATL_PEER_CONN_H
#define ATL_PEER_CONN_H

#include "peer/control_stream.h"
#include "peer/message.h"
#include "peer/paths.h"
#include "peer/relays.h"
#include "quic/circuit.h"

#include <atlas/peer.h>

struct atl_peers;
struct atl_dial;

typedef struct atl_item atl_item;

/* Something to be delivered to the application, embedded in what it concerns. */
struct atl_item {
    atl_list node;
    /* Calls the application, and frees or keeps the embedding object. */
    void (*deliver)(atlas_conn *conn, atl_item *item);
    /* The connection is freed without events: frees the embedding object. NULL when something else
     * owns it. */
    void (*drop)(atlas_conn *conn, atl_item *item);
};

#define ATL_CONN_STATE_DIALING 0
#define ATL_CONN_STATE_PENDING 1 /* accepted, waiting for Hello */
#define ATL_CONN_STATE_OPEN 2
#define ATL_CONN_STATE_CLOSING 3 /* this side has closed it */
#define ATL_CONN_STATE_ENDED 4

struct atlas_conn {
    atl_list node; /* in peers->conns */
    struct atl_peers *peers;
    atl_qconn *q;           /* NULL before there is a winner, and after the end */
    struct atl_dial *dial;  /* NULL when not dialling */
    atl_relay_entry *relay; /* the relay that a dialled connection holds on to */
    atl_peer_id peer;
    char peer_text[ATLAS_PEER_ID_MAX];
    atlas_conn_callbacks callbacks;
    void *user;
    atl_task event;
    atl_timer hello_timer;
    atl_list early;   /* items of the dial */
    atl_list items;   /* items once connected */
    atl_list streams; /* atlas_stream.node */
    atl_messages messages;
    atl_control control;
    atl_paths paths;
    size_t datagrams; /* waiting for delivery */
    int32_t code;     /* why it ended, or will have ended */
    uint64_t app_code;
    char *text;              /* allocated; NULL: the code's own */
    const char *path_reason; /* static; NULL: no change to tell */
    uint8_t state;
    uint8_t dialer;
    uint8_t ready;     /* confirmed, and Hello came from a client */
    uint8_t announced; /* on_connected or on_connection was delivered */
    uint8_t has_callbacks;
    uint8_t local_close; /* closed by this side: nothing but final events is delivered any more */
};

int32_t atl_conn_new(struct atl_peers *peers, const atl_peer_id *peer, int dialer,
                     atlas_conn **out);
/* Without events. The QUIC connection, if any, is closed quietly. */
void atl_conn_free(atlas_conn *conn);
int32_t atl_conn_set_callbacks(atlas_conn *conn, const atlas_conn_callbacks *callbacks, void *user);

/* Takes over a confirmed QUIC connection. */
void atl_conn_adopt(atlas_conn *conn, atl_qconn *q);
/* The control stream brought Hello: an accepted connection is shown to the application. */
void atl_conn_hello(atlas_conn *conn);
/* Closes from this side: the application gets `code`, `app_code` and `text` in the end, the peer
 * `wire` and `text`. */
void atl_conn_close(atlas_conn *conn, int32_t code, uint64_t app_code, uint64_t wire,
                    const char *text);
/* It has ended: the final event follows when everything before it has been delivered. */
void atl_conn_ended(atlas_conn *conn, int32_t code, uint64_t app_code, const char *text);

/* Queues an item at the end, unless it is queued already. */
void atl_conn_queue(atlas_conn *conn, atl_item *item);
void atl_conn_queue_early(atlas_conn *conn, atl_item *item);
/* Has the event task run. */
void atl_conn_post(atlas_conn *conn);

/* ATLAS_OK when open for sending, else ATLAS_ERR_STATE or ATLAS_ERR_CLOSED. */
int32_t atl_conn_check_open(const atlas_conn *conn);
atl_env *atl_conn_env(const atlas_conn *conn);
uint64_t atl_conn_now(const atlas_conn *conn);
uint32_t atl_conn_path_kind(const atlas_conn *conn);
int32_t atl_conn_path(const atlas_conn *conn, atlas_path_info *out);
int32_t atl_conn_stats(const atlas_conn *conn, atlas_conn_stats *out);

/* Lets a QUIC connection, or stream, end without anybody listening. */
void atl_qconn_quiet(atl_qconn *q);
void atl_qstream_quiet(atl_qstream *q);

#endif
