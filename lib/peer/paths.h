/* Which path a connection uses, and what is done when that should change. docs/paths.md has the
 * state machine.
 *
 * Only the QUIC client moves a connection. Both sides notice silence, look for circuits, check
 * pairs; a server that is not heard echoes its packets on what else it has, and the client follows
 * what it hears. peer/upgrade.c looks for direct paths, peer/failover.c for circuits; what they
 * find is decided on here. */
#ifndef ATL_PEER_PATHS_H
#define ATL_PEER_PATHS_H

#include "peer/control.h"
#include "peer/punch.h"
#include "quic/conn.h"

#include <atlas/peer.h>

#define ATL_PATHS_TRIED 8 /* paths remembered of one silence */
#define ATL_PATHS_USED 8  /* relays that a connection holds on to */

struct atl_relay_entry;

typedef struct atl_paths {
    /* movement */
    uint64_t moving;           /* the path that the connection is migrating to; 0: none */
    const char *moving_reason; /* static */
    uint64_t moved;            /* when the active path changed last; nanoseconds */
    uint64_t direct_since;     /* when the active path became direct; 0: it is not */
    uint64_t fallen;           /* when the connection fell back to a relay last */
    uint32_t falls;            /* times that a direct path died young, in a row */
    atl_timer again;           /* a migration that had to wait is tried again */
    atl_qpath again_path;
    uint8_t again_now;
    /* silence */
    uint8_t silent; /* bytes wait, and nothing is heard */
    uint8_t none;   /* the application was told that no path carries */
    uint8_t n_tried;
    uint64_t tried[ATL_PATHS_TRIED];
    uint32_t moves;   /* at once, in this silence */
    uint64_t revived; /* when the active path was begun anew last */
    uint64_t fled;    /* when the connection moved away from silence; 0: it has not */
    uint64_t trial;   /* how long what it moved to may be silent */
    atl_timer trial_end;
    atl_timer kick; /* a PING for what may have been lost at once */
    uint64_t kick_wait;
    uint8_t kicks;
    /* where packets come from that should come from elsewhere */
    atl_timer stray;
    atl_qpath stray_path;
    uint64_t stray_at;
    uint32_t stray_moves;  /* in this window */
    uint64_t stray_window; /* its beginning */
    /* an address that a migration has failed to; not tried again for a while */
    atl_addr bad;
    uint64_t bad_until;
    /* the last path that the application was told */
    uint32_t told_kind;
    atl_addr told_remote;
    atl_addr told_local;
    /* peer/upgrade.c */
    atl_punch *punch;
    atl_ctrl_addresses *theirs; /* what the peer said; NULL: nothing */
    uint64_t said;              /* generation of ours that the peer has; 0: none */
    uint64_t said_generation;   /* of the last Addresses */
    uint64_t said_at;
    uint64_t said_relays; /* a hash of the relays told */
    uint64_t attempt;     /* number of the last one begun */
    uint64_t asked;       /* when START was said; 0: no reply is due */
    uint64_t pause;       /* before the next attempt */
    uint64_t next;        /* when that will be; 0: not planned */
    atl_timer upgrade;
    atl_timer tell;
    uint8_t begun;
    uint64_t credit;    /* bytes that checks may still cost */
    uint64_t credit_at; /* when it was reckoned last */
    uint64_t credit_rx; /* bytes received by then */
    uint64_t reserved;  /* for the attempt under way */
    /* peer/failover.c */
    uint32_t named; /* relays new to this node that the peer has named, in this window */
    uint64_t named_at;
    atl_list searches;
    atl_timer search;
    uint64_t search_pause;
    struct atl_relay_entry *used[ATL_PATHS_USED];
    /* keepalive: client */
    atl_timer keepalive;
    uint64_t keepalive_at;
    uint64_t patience; /* of the peer, nanoseconds; 0: it has not said */
    uint64_t pinged;   /* when; 0: no answer is due */
    uint64_t gap;      /* the silence before it */
    uint64_t asleep;   /* until when the peer wants to be left alone; 0: it is awake */
} atl_paths;

void atl_paths_init(atlas_conn *conn);
/* Everything of it ends; no events. */
void atl_paths_free(atlas_conn *conn);
/* The connection can speak: the dialler is connected, or the client's Hello came. */
void atl_paths_begin(atlas_conn *conn);

/* From quic's upcalls. */
void atl_paths_on_path(atlas_conn *conn);
void atl_paths_on_failed(atlas_conn *conn, uint64_t id);

/* A pair was proven: moves there when it is better (client). */
void atl_paths_consider(atlas_conn *conn);
/* The peer asks for a path (client). */
void atl_paths_on_request(atlas_conn *conn, const atl_ctrl_path_request *msg);
/* Client: migrates, and remembers why. */
int32_t atl_paths_move_to(atlas_conn *conn, uint64_t id, int now, const char *reason);
int32_t atl_paths_move(atlas_conn *conn, const atl_qpath *path, int now, const char *reason);

/* The active path; ATLAS_ERR_STATE without one. */
int32_t atl_paths_active(const atlas_conn *conn, atl_qpath_state *out);
/* 1 when the connection is relayed, or without path: looking for a direct one is worth it. */
int atl_paths_relayed(const atlas_conn *conn);

#endif
