/* What the modules of the endpoint and of its connections share. Nothing outside quic/ includes it.
 */
#ifndef ATL_QUIC_INTERNAL_H
#define ATL_QUIC_INTERNAL_H

#include "base/bucket.h"
#include "base/idmap.h"
#include "quic/circuit.h"
#include "quic/conn.h"

#include <netinet/in.h>
#include <string.h>

#define ATL_UDP_MTU \
    1443 /* largest QUIC packet: 1452 of IPv6 over Ethernet, less a circuit header */
#define ATL_TX_ARENA ((size_t)131072) /* bytes of packets held for one send */
#define ATL_TX_BATCH 64               /* trains held for one send */
#define ATL_DATAGRAM_QUEUE 256
#define ATL_REASON_MAX 256
#define ATL_LOCALS 64
#define ATL_OLD_IDS 8

/* ---- endpoint ---- */

typedef struct atl_socket {
    atl_endpoint *ep;
    atl_udp *udp; /* NULL: no such family */
    atl_addr local;
    uint8_t blocked; /* the last send was refused: wait for ATLAS_FD_WRITE */
    /* the batch being built */
    uint8_t *arena; /* allocated with the first packet */
    size_t used;
    atl_tx tx[ATL_TX_BATCH];
    size_t n;
} atl_socket;

struct atl_endpoint {
    atl_loop *loop;
    atl_env *env;
    const atl_io *io;
    atl_endpoint_hooks hooks;
    atl_quic_params params;
    atl_tls *tls;
    ngtcp2_mem mem;
    atl_socket sockets[2]; /* IPv4, IPv6 */
    atl_idmap ids;         /* every id we issued: connections, circuits, forwarding */
    atl_idmap initials;    /* keyed hash of client-chosen ids, while a handshake lasts */
    atl_idmap resets;      /* stateless reset tokens of peers, by their first 8 bytes */
    uint8_t initial_key[16];
    uint8_t retry_secret[32];
    uint8_t reset_secret[32];
    atl_bucket handshakes;
    atl_source_limit *reset_limit; /* stateless resets and version negotiation per source */
    atl_list conns;
    atl_list dirty;     /* connections with something to write, or to end */
    atl_list dialing;   /* outbound connections that nobody has answered yet */
    atl_list graveyard; /* freed at the end of the flush */
    atl_task flush;
    uint64_t handshaking;        /* inbound connections that are not confirmed */
    atl_addr locals[ATL_LOCALS]; /* the host's addresses, as atl_endpoint_rebase() was told */
    size_t n_locals;             /* 0: it never was */
    uint8_t freeing;
    atl_endpoint_stats stats;
};

atl_socket *atl_endpoint_socket(atl_endpoint *ep, uint8_t family);
void atl_endpoint_wake(atl_endpoint *ep);
uint64_t atl_id_key(const uint8_t id[ATL_CID_LEN]);
uint64_t atl_initial_key(const atl_endpoint *ep, const uint8_t *id, size_t len);

/* endpoint_send.c: room for one more packet of at most `need` bytes at the end of the arena, after
 * flushing when it is full; NULL when the socket is blocked or memory is short. */
uint8_t *atl_send_room(atl_socket *sock, size_t need);
/* Takes the `len` bytes just written into the batch, extending the last train where that is
 * possible. */
void atl_send_commit(atl_socket *sock, const atl_addr *local, const atl_addr *remote, uint8_t ecn,
                     size_t len);
void atl_send_flush(atl_socket *sock);
void atl_send_ready(atl_endpoint *ep);

/* endpoint_receive.c */
void atl_receive_ready(void *user, atl_udp *udp, uint32_t events);
/* One QUIC packet (or coalesced ones) from a path. */
void atl_receive_quic(atl_endpoint *ep, const atl_qpath *path, uint8_t *data, size_t len,
                      uint8_t ecn);

/* accept.c: a long header whose id is unknown. */
void atl_accept_packet(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data, size_t len,
                       uint8_t ecn);
/* Sends a datagram to where a path leads, the circuit header included. */
void atl_send_on_path(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data, size_t len);

/* ---- connections ---- */

#define ATL_LOST_UNTOLD 1 /* its circuit has ended: the owner will be told in the next flush */
#define ATL_LOST_TOLD 2

typedef struct atl_path_slot {
    uint64_t id; /* 0: free */
    atl_qconn *conn;
    atl_qpath real;
    atl_list circuit_node;     /* in circuit->conns, when it leads through one */
    struct sockaddr_in6 local; /* the synthetic pair */
    struct sockaddr_in6 remote;
    uint64_t heard;    /* the last authentic packet; 0: never */
    uint64_t srtt;     /* from when it was active last */
    uint64_t used;     /* when it was needed last */
    uint64_t left;     /* when ngtcp2 left it and remembered that it was validated; 0: never */
    uint64_t left_seq; /* conn->history then */
    int32_t lost_code;
    uint8_t kept;
    uint8_t moved;      /* our address there is gone: what comes to another one is another path */
    uint8_t lost;       /* ATL_LOST_*, or 0 */
    uint8_t validating; /* ngtcp2 holds it */
    uint8_t failed;     /* the last validation did */
    uint8_t ok;         /* validated, since it became the active path */
    uint8_t answered;   /* ngtcp2 sent something there while it was not active */
    uint8_t unfollowed; /* authentic packets came from there, and ngtcp2 did not follow them */
} atl_path_slot;

typedef struct atl_chunk {
    struct atl_chunk *next;
    size_t len;
    size_t cap;
    uint8_t data[];
} atl_chunk;

struct atl_qstream {
    atl_list node;      /* in conn->streams, or conn->dead */
    atl_list send_node; /* in conn->sendable, while there is something to send */
    atl_qconn *conn;
    int64_t id;
    const atl_qstream_ops *ops;
    void *user;
    /* send buffer: chunks from the first unacknowledged byte on */
    atl_chunk *head;
    atl_chunk *tail;
    atl_chunk *next_chunk; /* holds the next byte to send, NULL when all were sent */
    size_t next_offset;    /* of that byte in next_chunk */
    size_t head_acked;     /* acknowledged bytes of head */
    atl_chunk *spare;      /* acknowledged ones kept for what comes next, while data is under way */
    size_t spares;
    uint64_t written, sent, acked;
    uint64_t limit;
    uint64_t uncredited; /* bytes delivered and not yet credited */
    uint8_t fin, fin_sent, write_shut, short_write, wire_closed, ended, acked_all, stopped,
        received_fin;
};

typedef struct atl_out_datagram {
    struct atl_out_datagram *next;
    size_t len;
    uint8_t data[];
} atl_out_datagram;

#define ATL_CONN_HANDSHAKE 0
#define ATL_CONN_OPEN 1
#define ATL_CONN_CLOSING 2 /* will be told to the peer and to the owner in the next flush */
#define ATL_CONN_DEAD 3    /* told; memory goes at the end of the flush */

/* What has been heard, and what is waited for. */
typedef struct atl_watch {
    atl_timer timer;
    uint64_t at;        /* the timer's deadline; 0: not set */
    uint64_t packets;   /* authentic ones that have been accounted for */
    uint64_t heard;     /* the last authentic packet on any path */
    uint64_t since;     /* nothing heard since: the idle period counts from here */
    uint64_t silent;    /* bytes are in flight and the active path is silent since; 0: it is not */
    uint64_t threshold; /* of silence, for the next upcall; 0: to be computed */
    uint64_t patience;  /* 0: idle_timeout */
    uint64_t confirm;   /* a dial must be confirmed by then; 0: any time */
    uint64_t sweep;     /* when slots may be forgotten; 0: none are waiting for it */
    uint64_t srtt;      /* of the path on which it was measured last; 0: never */
    uint64_t latest;    /* sample that was looked at last */
    uint64_t reset_at;  /* ngtcp2's clock, when what it knows of the path was reset */
    uint8_t measured;   /* on this path */
    uint8_t poisoned;   /* by a sample from before that */
    uint8_t fresh;      /* the first packet that is sent now starts the idle period anew */
    uint8_t told;       /* on_silent without on_heard */
    uint64_t lull_packets; /* of `packets`, when the last pause was seen */
    uint64_t lull_at;      /* when that was told last */
} atl_watch;

struct atl_qconn {
    atl_tls_conn_ref tls; /* first: what the crypto callbacks expect */
    atl_list node;        /* in ep->conns, or ep->graveyard */
    atl_list dirty_node;
    uint32_t validations;      /* begun */
    uint32_t validations_seen; /* when the active path was looked at last */
    atl_list dial_node;        /* in ep->dialing */
    atl_endpoint *ep;
    ngtcp2_conn *quic;
    const atl_qconn_ops *ops;
    void *user;
    atl_timer timer;
    uint64_t due; /* when it should fire; 0: never */
    uint64_t lag; /* of ngtcp2's clock behind the loop's */
    uint8_t state;
    uint8_t is_server;
    uint8_t handshaking;      /* counted in ep->handshaking */
    uint8_t close_sent_by_us; /* a CONNECTION_CLOSE is due */
    uint64_t initial_hash;    /* in ep->initials; 0: none */
    uint64_t keepalive;
    atl_path_slot paths[ATL_CONN_PATHS];
    uint64_t last_path_id;
    uint64_t history;   /* how often ngtcp2 has remembered a path that it left */
    uint8_t active;     /* index: where packets go */
    uint8_t validated;  /* index: what the owner is told */
    uint8_t inside;     /* in a call of ngtcp2, which may be calling back */
    uint8_t tell_path;  /* on_path is due */
    uint8_t tell_lost;  /* on_path_lost is due for some slot */
    uint8_t ping;       /* due */
    uint8_t unfollowed; /* there are such slots */
    uint8_t starved;    /* ngtcp2 has none of the peer's ids to spare */
    uint8_t wish_now;
    uint64_t wish;      /* a migration asked for from inside */
    uint64_t migrating; /* the id of the path that the owner asked for last, until it is told */
    uint64_t failed_id; /* on_path_failed is due */
    uint64_t echo_id;
    uint32_t echo_left; /* packets */
    uint64_t stray_at;  /* when on_stray was told last */
    atl_watch watch;
    atl_list streams;
    atl_list sendable;
    atl_list dead; /* streams that ended, freed in the flush */
    atl_out_datagram *datagrams, *datagrams_tail;
    size_t datagram_count;
    uint8_t streams_first; /* in the packet written last */
    uint64_t tx_bytes, rx_bytes;
    uint8_t old_ids[ATL_OLD_IDS][ATL_CID_LEN]; /* of ours, retired, and still in ep->ids */
    size_t n_old_ids;                          /* how many there ever were */
    uint8_t last_id[ATL_CID_LEN];              /* of ours, on the last packet of the active path */
    uint64_t anew_id; /* server: the pair with which the active path may begin anew */
    uint8_t anew_tries;
    uint64_t shared_until;  /* two paths of ngtcp2's share one id of the peer's until then, and
                               until it may send; 0: none do */
    uint64_t stray_pto;     /* before the last packet from elsewhere */
    uint64_t share_pto;     /* the longest while ids have been shared */
    uint64_t reset_keys[8]; /* entries in ep->resets */
    atl_qclose why;
    ngtcp2_ccerr ccerr;
    char text[ATL_REASON_MAX + 1];
};

/* conn.c */
int32_t atl_qconn_alloc(atl_endpoint *ep, int is_server, const atl_qpath *path, atl_qconn **out);
void atl_qconn_discard(atl_qconn *conn); /* never announced to anyone: free without upcalls */
void atl_qconn_mark_dirty(atl_qconn *conn);
void atl_qconn_settings(atl_qconn *conn, ngtcp2_settings *settings, ngtcp2_transport_params *params,
                        uint64_t handshake_timeout);
/* Ends it: `code` for the owner, the peer told when ccerr is filled and tell is 1. The first call
 * counts. */
void atl_qconn_fail(atl_qconn *conn, int32_t code, int tell, const char *text);
/* Ends a CLOSING connection: packet, upcalls, ids. */
void atl_qconn_finish(atl_qconn *conn);
void atl_qconn_free(atl_qconn *conn);
void atl_qconn_count_out(atl_qconn *conn); /* no longer a handshake in progress */
/* An ICMP error came back from `remote`: ends the dials there that have not heard anything yet. */
void atl_qconn_refused(atl_endpoint *ep, const atl_addr *remote, int32_t code);

/* conn_anew.c */
/* 1: nothing was heard for long, though bytes wait: what comes now begins the active path anew. */
int atl_qconn_is_stale(const atl_qconn *conn);
/* Server: as what path the next packet of the active one is to be read; NULL: as that one. */
atl_path_slot *atl_qconn_anew_begin(atl_qconn *conn);
/* It has been. */
void atl_qconn_anew_end(atl_qconn *conn, atl_path_slot *slot, int authentic);
/* Client: a packet has been read; `before` is how things were. */
void atl_qconn_anew_client(atl_qconn *conn, const ngtcp2_conn_info *before);
/* Client: it must be done again, since an old packet was acknowledged after it. */
void atl_qconn_anew_again(atl_qconn *conn);

/* conn_clock.c */
/* What ngtcp2 is told of the time. */
uint64_t atl_qconn_clock(atl_qconn *conn);
/* Sets the timer to when ngtcp2 wants to be called. */
void atl_qconn_arm(atl_qconn *conn);

/* conn_error.c */
void atl_qconn_fail_liberr(atl_qconn *conn, int rv);

/* conn_write.c: writes what it may; 0 when done, 1 when it has more (budget), -1 when the socket is
 * blocked. */
int atl_qconn_write(atl_qconn *conn);
void atl_qconn_write_close(atl_qconn *conn);

/* conn_read.c */
void atl_qconn_read(atl_qconn *conn, const atl_qpath *path, const uint8_t *data, size_t len,
                    uint8_t ecn);
/* After every call of ngtcp2 that may have moved the connection: finds out where it is, makes the
 * upcalls about paths, and begins the migration that was asked for meanwhile. */
void atl_qconn_settle(atl_qconn *conn);

/* After something was written in answer. */
void atl_qconn_check_starved(atl_qconn *conn);
/* Two paths share an id of the peer's for as long as so many validations may take. */
void atl_qconn_share(atl_qconn *conn, unsigned validations);

/* conn_path.c */
void atl_path_begin(atl_qconn *conn, atl_path_slot *slot, const atl_qpath *real);
/* Another synthetic pair: to ngtcp2 it is a path that it has not seen. */
void atl_path_renew(atl_path_slot *slot);
void atl_path_release(atl_path_slot *slot);
/* 1: to ngtcp2 both paths have the same half of ours, and so the same id of the peer's. */
int atl_path_shares(const atl_path_slot *a, const atl_path_slot *b);
/* Releases it unless it is still needed. */
void atl_path_release_unused(atl_path_slot *slot);
ngtcp2_path atl_path_synthetic(atl_path_slot *slot);
/* The slot of a real path, or NULL. */
atl_path_slot *atl_path_find(atl_qconn *conn, const atl_qpath *real);
/* A slot for a path that has none; NULL: all are taken. */
atl_path_slot *atl_path_fresh(atl_qconn *conn, const atl_qpath *real);
atl_path_slot *atl_path_by_id(atl_qconn *conn, uint64_t id);
atl_path_slot *atl_path_by_ngtcp2(atl_qconn *conn, const ngtcp2_path *path);
void atl_path_refresh_active(atl_qconn *conn);
/* Forgets what has lain idle. */
void atl_path_sweep(atl_qconn *conn);
/* Where the packets of circuits go: the active path of their control connection. */
void atl_path_carrier(const atl_qconn *control, atl_qpath *out);

/* conn_migrate.c */
/* The upcalls about circuits that have ended. */
void atl_qconn_tell_lost(atl_qconn *conn);
/* 1: ngtcp2 would move there without validating it. */
int atl_path_is_known(const atl_path_slot *slot);
/* The present path leads to that slot from now on, unknown to ngtcp2: for when it has no connection
 * id for a migration, or must not use one. */
int32_t atl_qconn_slide(atl_qconn *conn, atl_path_slot *slot);
/* Gives ngtcp2 the keepalive, or what makes it send a PING now. */
void atl_qconn_set_keepalive(atl_qconn *conn);
int32_t atl_qconn_move(atl_qconn *conn, atl_path_slot *slot, int now);

/* conn_watch.c */
void atl_watch_init(atl_qconn *conn);
/* Accounts for what was read. */
void atl_watch_read(atl_qconn *conn);
/* Counts what has been read since as not heard; 1 when there was something authentic. */
int atl_watch_skip(atl_qconn *conn);
void atl_watch_heard(atl_qconn *conn, atl_path_slot *slot);
/* Something was written, perhaps. */
void atl_watch_written(atl_qconn *conn);
/* Nothing is known of the path that is active now, nor does ngtcp2 know anything. */
void atl_watch_moved(atl_qconn *conn);
/* ngtcp2's own limit ends with the server's last message, and the client's may be lost. */
void atl_watch_confirm(atl_qconn *conn, uint64_t timeout);
/* Slots may be forgotten some time from now. */
void atl_watch_sweep(atl_qconn *conn);

/* conn_callbacks.c */
void atl_qconn_fill_callbacks(ngtcp2_callbacks *callbacks);

/* stream.c */
int32_t atl_qstream_new(atl_qconn *conn, int64_t id, atl_qstream **out);
void atl_qstream_on_acked(atl_qstream *stream, uint64_t len);
void atl_qstream_on_wire_closed(atl_qstream *stream);
void atl_qstream_end(atl_qstream *stream); /* on_closed, once; freed later */
void atl_qstream_free(atl_qstream *stream);
int atl_qstream_has_output(const atl_qstream *stream);
size_t atl_qstream_vectors(const atl_qstream *stream, ngtcp2_vec *vec, size_t cap, int *fin);
void atl_qstream_on_sent(atl_qstream *stream, size_t len, int fin);

#endif
