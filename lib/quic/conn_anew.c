/* The active path begins anew when the peer is heard after a long silence.
 *
 * What was in flight is lost, most likely, and fills the window. ngtcp2 then writes nothing but
 * probes, not even the answer to a PATH_CHALLENGE, and the next probe is as far away as the silence
 * was long. What is acknowledged late would be taken for the round-trip time. A path that ngtcp2
 * has not seen has neither. It costs one of the peer's connection ids; more come now. */
#include "quic/internal.h"

#define LONG_SILENCE (1 * ATL_SECOND)
#define TRIES 3  /* packets that may look like probes of a new path */
#define POISON 4 /* a round trip that took so many times the former */

int atl_qconn_is_stale(const atl_qconn *conn) {
    uint64_t silent = conn->watch.silent;
    uint64_t now = conn->ep->loop->now;

    if (conn->state != ATL_CONN_OPEN || conn->shared_until != 0 || conn->starved) {
        return 0;
    }
    return conn->watch.poisoned ||
           (silent != 0 && now >= silent + LONG_SILENCE && now >= silent + 3 * conn->watch.srtt);
}

/* ---- server ---- */

/* Another pair for the same way: it is the path that the client has moved to. */
static void take_over(atl_path_slot *slot, atl_path_slot *before) {
    slot->kept = before->kept;
    slot->moved = before->moved;
    slot->srtt = before->srtt;
    before->kept = 0;
}

atl_path_slot *atl_qconn_anew_begin(atl_qconn *conn) {
    atl_path_slot *slot = atl_path_by_id(conn, conn->anew_id);

    if (slot != NULL && ++conn->anew_tries >= TRIES) {
        return NULL;
    }
    if (slot == NULL) {
        slot = atl_path_fresh(conn, &conn->paths[conn->active].real);
        if (slot == NULL) {
            return NULL;
        }
        atl_path_renew(slot);
        conn->anew_id = slot->id;
        conn->anew_tries = 0;
    }
    return slot;
}

void atl_qconn_anew_end(atl_qconn *conn, atl_path_slot *slot, int authentic) {
    atl_path_slot *before = &conn->paths[conn->active];

    if (conn->state != ATL_CONN_OPEN) {
        return;
    }
    if (!authentic) {
        if (conn->anew_tries == 0 && !slot->validating && !slot->answered) {
            atl_path_release(slot);
            conn->anew_id = 0;
        }
        return;
    }
    atl_path_refresh_active(conn);
    if (&conn->paths[conn->active] != slot) {
        return; /* a probe: what follows it counts */
    }
    take_over(slot, before);
    conn->anew_id = 0;
    atl_watch_heard(conn, slot);
}

/* ---- client ---- */

static int may_begin(const atl_qconn *conn) {
    const atl_path_slot *active = &conn->paths[conn->active];

    return conn->state == ATL_CONN_OPEN && active->kept && !active->lost &&
           (conn->migrating == 0 || conn->migrating == active->id);
}

void atl_qconn_anew_client(atl_qconn *conn, const ngtcp2_conn_info *before) {
    ngtcp2_conn_info info;

    if (!may_begin(conn)) {
        return;
    }
    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    if (info.pkt_recv == before->pkt_recv) {
        return;
    }
    if (info.bytes_in_flight < before->bytes_in_flight &&
        (info.latest_rtt < LONG_SILENCE || info.latest_rtt < POISON * before->smoothed_rtt)) {
        return; /* acknowledged: the window is open */
    }
    (void)atl_qconn_migrate(conn, conn->paths[conn->active].id, 1);
}

void atl_qconn_anew_again(atl_qconn *conn) {
    /* when there is no connection id for it: as soon as there is */
    if (may_begin(conn) &&
        atl_qconn_migrate(conn, conn->paths[conn->active].id, 1) != ATLAS_ERR_AGAIN) {
        conn->watch.poisoned = 0;
    }
}
