/* What has been heard, and what is waited for: the silence of the active path while bytes wait for
 * their acknowledgement, and the idle period after which a connection ends.
 *
 * Nothing here costs anything for a packet: ngtcp2's counters are looked at once for each batch
 * that is written, and the timer is only moved when it must be earlier; when it fires it looks how
 * things are and is set again. */
#include "quic/internal.h"

#define SILENCE_MIN (250 * ATL_MS)
#define SILENCE_STEP (2 * ATL_SECOND) /* between two upcalls of a long silence */
#define ACK_DELAY (25 * ATL_MS)       /* the most that RFC 9000 lets a peer wait by default */
#define LULL_PACKETS 8                /* that came before */
#define LULL_PAUSE (1 * ATL_SECOND)
#define SWEEP_AFTER (6 * ATL_SECOND)
#define POISON_MIN (1 * ATL_SECOND) /* a round-trip time that is hard to believe: */
#define POISON_FACTOR 4             /* so many times the former */

static uint64_t patience(const atl_qconn *conn) {
    const atl_watch *watch = &conn->watch;
    uint64_t timeout = watch->patience == 0 ? conn->ep->params.idle_timeout : watch->patience;
    uint64_t least = conn->quic == NULL ? 0 : 3 * ngtcp2_conn_get_pto2(conn->quic);

    return timeout < least ? least : timeout;
}

static int wants_silence(const atl_qconn *conn) {
    return conn->state == ATL_CONN_OPEN && conn->watch.silent != 0 && conn->ops != NULL &&
           conn->ops->on_silent != NULL;
}

/* ngtcp2 forgets the round-trip time with each path, and a receiver measures it rarely: what was
 * measured on the former path is nearer to the truth than a constant. */
static uint64_t pto(const atl_qconn *conn) {
    uint64_t its = ngtcp2_conn_get_pto2(conn->quic);
    uint64_t known = conn->watch.srtt * 3 + ACK_DELAY;

    return !conn->watch.measured && conn->watch.srtt != 0 && known < its ? known : its;
}

static uint64_t lull_after(const atl_qconn *conn) {
    uint64_t its = pto(conn);

    return its < SILENCE_MIN ? SILENCE_MIN : its;
}

static uint64_t threshold(atl_qconn *conn) {
    atl_watch *watch = &conn->watch;

    if (watch->threshold == 0) {
        uint64_t its = pto(conn);
        /* a probe that is sent after one PTO, and its answer */
        uint64_t answer = its + watch->srtt * 5 / 4 + ACK_DELAY;

        watch->threshold = its * 5 / 2;
        if (watch->srtt != 0 && watch->threshold > answer) {
            watch->threshold = answer;
        }
        if (watch->threshold < SILENCE_MIN) {
            watch->threshold = SILENCE_MIN;
        }
    }
    return watch->threshold;
}

/* Whether a pause of the peer would mean anything. */
static int wants_lull(const atl_qconn *conn) {
    return conn->state == ATL_CONN_OPEN && conn->ops != NULL && conn->ops->on_lull != NULL &&
           conn->watch.packets >= conn->watch.lull_packets + LULL_PACKETS;
}

static void set_timer(atl_qconn *conn, uint64_t at) {
    if (conn->watch.at != 0 && conn->watch.at <= at) {
        return; /* it looks then, and goes on */
    }
    conn->watch.at = at;
    atl_timer_set(conn->ep->loop, &conn->watch.timer, at);
}

static void arm(atl_qconn *conn) {
    atl_watch *watch = &conn->watch;

    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    if (watch->at == 0) {
        set_timer(conn, watch->since + patience(conn));
    }
    if (watch->sweep != 0) {
        set_timer(conn, watch->sweep);
    }
    if (conn->state == ATL_CONN_HANDSHAKE && watch->confirm != 0) {
        set_timer(conn, watch->confirm);
    }
    if (wants_silence(conn) && (watch->at == 0 || watch->at > watch->silent + SILENCE_MIN)) {
        set_timer(conn, watch->silent + threshold(conn));
    }
    if (wants_lull(conn) && (watch->at == 0 || watch->at > watch->heard + SILENCE_MIN)) {
        set_timer(conn, watch->heard + lull_after(conn));
    }
}

static void check_silence(atl_qconn *conn, uint64_t now) {
    atl_watch *watch = &conn->watch;
    uint64_t silent = now - watch->silent;

    if (!wants_silence(conn) || silent < threshold(conn)) {
        return;
    }
    watch->threshold = silent + (silent / 2 < SILENCE_STEP ? silent / 2 : SILENCE_STEP);
    watch->told = 1;
    conn->ops->on_silent(conn->user, conn, silent);
}

static void check_lull(atl_qconn *conn, uint64_t now) {
    atl_watch *watch = &conn->watch;

    if (!wants_lull(conn) || now < watch->heard + lull_after(conn)) {
        return;
    }
    watch->lull_packets = watch->packets;
    if (watch->lull_at == 0 || now >= watch->lull_at + LULL_PAUSE) {
        watch->lull_at = now;
        conn->ops->on_lull(conn->user, conn);
    }
}

static void on_watch(atl_timer *timer, uint64_t now) {
    atl_qconn *conn = timer->user;
    atl_watch *watch = &conn->watch;

    watch->at = 0;
    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    (void)atl_qconn_clock(conn);
    atl_watch_read(conn);
    if (now >= watch->since + patience(conn)) {
        atl_qconn_fail_liberr(conn, NGTCP2_ERR_IDLE_CLOSE);
        return;
    }
    if (conn->state == ATL_CONN_HANDSHAKE && watch->confirm != 0 && now >= watch->confirm) {
        atl_qconn_fail_liberr(conn, NGTCP2_ERR_HANDSHAKE_TIMEOUT);
        return;
    }
    if (watch->sweep != 0 && now >= watch->sweep) {
        watch->sweep = 0;
        atl_path_sweep(conn);
    }
    check_silence(conn, now);
    check_lull(conn, now);
    arm(conn);
}

void atl_watch_init(atl_qconn *conn) {
    atl_timer_init(&conn->watch.timer, on_watch, conn);
    conn->watch.since = conn->ep->loop->now;
    arm(conn);
}

void atl_watch_heard(atl_qconn *conn, atl_path_slot *slot) {
    atl_watch *watch = &conn->watch;
    uint64_t now = conn->ep->loop->now;

    if (now > watch->heard + LULL_PAUSE) {
        watch->lull_packets = watch->packets; /* a keepalive now and then is no flow */
    }
    watch->heard = now;
    watch->since = now;
    watch->fresh = 1;
    if (slot == NULL) {
        return;
    }
    slot->heard = now;
    slot->used = now;
    if (slot != &conn->paths[conn->active]) {
        return;
    }
    conn->echo_left = 0;
    watch->silent = 0;
    watch->threshold = 0;
    if (watch->told) {
        watch->told = 0;
        if (conn->ops != NULL && conn->ops->on_heard != NULL) {
            conn->ops->on_heard(conn->user, conn);
        }
    }
}

/* ngtcp2 takes every acknowledgement for a sample, also that of a packet from before it forgot what
 * it knew of the former path, and there may have been a long silence in between. As the first
 * sample it would be believed. */
static uint8_t is_poison(atl_qconn *conn, uint64_t rtt) {
    const atl_watch *watch = &conn->watch;

    return watch->srtt != 0 && rtt >= POISON_MIN && rtt >= POISON_FACTOR * watch->srtt &&
           atl_qconn_clock(conn) < watch->reset_at + rtt;
}

static void look(atl_qconn *conn, ngtcp2_conn_info *info) {
    atl_path_slot *active = &conn->paths[conn->active];

    ngtcp2_conn_get_conn_info2(conn->quic, info);
    conn->watch.measured = info->latest_rtt != 0;
    if (info->latest_rtt != conn->watch.latest) {
        conn->watch.latest = info->latest_rtt;
        conn->watch.poisoned |= is_poison(conn, info->latest_rtt);
    }
    if (info->latest_rtt != 0 && !conn->watch.poisoned) {
        active->srtt = info->smoothed_rtt;
        conn->watch.srtt = info->smoothed_rtt;
    }
    if (info->pkt_recv != conn->watch.packets) {
        conn->watch.packets = info->pkt_recv;
        atl_watch_heard(conn, active);
    }
}

void atl_watch_read(atl_qconn *conn) {
    ngtcp2_conn_info info;

    look(conn, &info);
}

int atl_watch_skip(atl_qconn *conn) {
    ngtcp2_conn_info info;
    int some;

    ngtcp2_conn_get_conn_info2(conn->quic, &info);
    some = info.pkt_recv != conn->watch.packets;
    conn->watch.packets = info.pkt_recv;
    return some;
}

void atl_watch_written(atl_qconn *conn) {
    atl_watch *watch = &conn->watch;
    uint64_t now = conn->ep->loop->now;
    ngtcp2_conn_info info;

    look(conn, &info);
    if (conn->state >= ATL_CONN_CLOSING) {
        return;
    }
    if (info.bytes_in_flight == 0) {
        watch->silent = 0;
        watch->threshold = 0;
    } else {
        if (watch->silent == 0) {
            watch->silent = now;
        }
        if (watch->fresh) {
            watch->fresh = 0;
            watch->since = now;
        }
    }
    arm(conn);
}

void atl_watch_moved(atl_qconn *conn) {
    conn->watch.silent = 0;
    conn->watch.threshold = 0;
    conn->watch.poisoned = 0;
    conn->watch.reset_at = atl_qconn_clock(conn);
}

void atl_watch_sweep(atl_qconn *conn) {
    if (conn->watch.sweep == 0) {
        conn->watch.sweep = conn->ep->loop->now + SWEEP_AFTER;
        arm(conn);
    }
}

void atl_qconn_patience(atl_qconn *conn, uint64_t timeout) {
    conn->watch.patience = timeout;
    /* who has slept has heard nothing for longer than he is patient when awake */
    conn->watch.since = conn->ep->loop->now;
    if (conn->state < ATL_CONN_CLOSING) {
        set_timer(conn, conn->watch.since + patience(conn));
    }
}

void atl_watch_confirm(atl_qconn *conn, uint64_t timeout) {
    conn->watch.confirm = conn->ep->loop->now + timeout;
    arm(conn);
}
