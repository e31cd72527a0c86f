#include "peer/upkeep.h"

#include "peer/manager.h"
#include "peer/network.h"
#include "peer/silence.h"
#include "peer/upgrade.h"

#define LATE (3 * ATL_SECOND) /* a timer that comes so late has slept */

static int is_client(const atlas_conn *conn) {
    return conn->q != NULL && !atl_qconn_is_server(conn->q);
}

/* What is learned of the family that this path uses. */
static atl_keepalive *learner(const atlas_conn *conn, const atl_qpath_state *path) {
    atl_keepalive *k = &conn->peers->keepalive[path->real.remote.family == 6];

    atl_keepalive_set_max(k, conn->peers->limits.keepalive_max);
    return k;
}

/* Under a relayed connection the control connection keeps the mapping: only the other side's end
 * has to be noticed. */
static uint64_t keepalive_interval(const atlas_conn *conn) {
    uint64_t own = conn->peers->limits.idle_timeout;
    uint64_t theirs = conn->paths.patience;
    uint64_t most = (theirs != 0 && theirs < own ? theirs : own) / 3;
    atl_qpath_state active;
    uint64_t learned;

    if (atl_paths_active(conn, &active) != ATLAS_OK || active.real.circuit != NULL) {
        return most;
    }
    learned = atl_keepalive_interval(learner(conn, &active));
    return learned < 2 * most ? learned : 2 * most;
}

static void plan(atlas_conn *conn, uint64_t at) {
    conn->paths.keepalive_at = at;
    atl_timer_set(conn->peers->loop, &conn->paths.keepalive, at);
}

int atl_upkeep_sleeps(const atlas_conn *conn) {
    return conn->peers->idle || atl_conn_now(conn) < conn->paths.asleep;
}

static void on_keepalive(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;
    uint64_t interval = keepalive_interval(conn);

    if (paths->keepalive_at != 0 && now > paths->keepalive_at + LATE) {
        atl_peers_network_changed(conn->peers); /* the process, or the host, has slept */
    }
    if (conn->state != ATL_CONN_STATE_OPEN || atl_upkeep_sleeps(conn) ||
        atl_paths_active(conn, &active) != ATLAS_OK) {
        plan(conn, now + interval);
        return;
    }
    if (paths->pinged != 0 && active.heard >= paths->pinged) {
        if (active.real.circuit == NULL && paths->gap > 0) {
            atl_keepalive_survived(learner(conn, &active), paths->gap);
        }
        paths->pinged = 0;
    }
    if (now < active.heard + interval) {
        plan(conn, active.heard + interval);
        return;
    }
    paths->gap = active.heard == 0 ? 0 : now - active.heard;
    paths->pinged = now;
    atl_qconn_ping(conn->q);
    plan(conn, now + interval);
}

void atl_paths_set_idle(atlas_conn *conn, int on) {
    const atl_peer_limits *limits = &conn->peers->limits;
    atl_ctrl_sleep msg = {on ? limits->idle_mode_max / ATL_SECOND : 0};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    atl_qpath_state active;
    size_t len = 0;

    if (conn->state != ATL_CONN_STATE_OPEN || conn->q == NULL || !conn->paths.begun) {
        return;
    }
    if (atl_ctrl_sleep_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_control_put(conn, buf, len);
    }
    atl_qconn_patience(conn->q, on && limits->idle_mode_max > limits->idle_timeout
                                    ? limits->idle_mode_max
                                    : limits->idle_timeout);
    if (on) {
        atl_timer_clear(conn->peers->loop, &conn->paths.keepalive);
        atl_upgrade_rest(conn);
        return;
    }
    if (is_client(conn)) {
        plan(conn, atl_conn_now(conn));
    }
    if (atl_paths_active(conn, &active) != ATLAS_OK) {
        atl_paths_on_silent(conn, 0); /* what was not looked for meanwhile */
    }
}

void atl_paths_on_sleep(atlas_conn *conn, uint64_t seconds) {
    const atl_peer_limits *limits = &conn->peers->limits;
    uint64_t most = limits->idle_mode_max / ATL_SECOND;
    uint64_t wait = (seconds < most ? seconds : most) * ATL_SECOND;

    conn->paths.asleep = wait == 0 ? 0 : atl_conn_now(conn) + wait;
    conn->paths.pinged = 0;
    if (wait == 0 && atl_paths_relayed(conn)) {
        atl_upgrade_plan(conn, 500 * ATL_MS);
    }
    atl_qconn_patience(conn->q, seconds == 0 ? limits->idle_timeout : limits->idle_timeout + wait);
}

void atl_paths_network_changed(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    if (conn->state != ATL_CONN_STATE_OPEN || conn->q == NULL) {
        return;
    }
    paths->bad_until = 0;
    atl_upgrade_renew(conn);
    paths->gap = 0;
    atl_qconn_ping(conn->q);
    if (atl_paths_relayed(conn)) {
        atl_upgrade_plan(conn, 500 * ATL_MS);
    }
}

void atl_upkeep_init(atlas_conn *conn) {
    atl_timer_init(&conn->paths.keepalive, on_keepalive, conn);
}

void atl_upkeep_begin(atlas_conn *conn) {
    if (is_client(conn)) {
        plan(conn, atl_conn_now(conn) + keepalive_interval(conn));
    }
}

uint64_t atl_upkeep_next(const atlas_conn *conn) {
    return conn->paths.keepalive.deadline;
}
