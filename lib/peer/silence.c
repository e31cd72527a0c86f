#include "peer/silence.h"

#include "peer/failover.h"
#include "peer/manager.h"
#include "peer/path_event.h"
#include "peer/upgrade.h"

#include <string.h>

#define SETTLE (1 * ATL_SECOND) /* packets of the former path may still come for so long */
#define NOTHING_HEARD (2500 * ATL_MS)
#define ECHO_PACKETS 16
/* After a move through a relay whose NAT binding may have changed, too: once it has learned that.
 */
#define KICKS 3
#define KICK_MIN (15 * ATL_MS)
#define TRIAL_MIN (200 * ATL_MS) /* what was moved to gets this long to show that it carries */
#define MOVES 3                  /* of one silence, one after the other */
#define MOVE_PAUSE (20 * ATL_SECOND)
#define ANEW_PAUSE (1 * ATL_SECOND)
#define STRAY_WAIT (60 * ATL_MS)
#define STRAY_MOVES 4 /* in a window */
#define STRAY_WINDOW (10 * ATL_SECOND)

static int is_client(const atlas_conn *conn) {
    return conn->q != NULL && !atl_qconn_is_server(conn->q);
}

static int was_tried(const atl_paths *paths, uint64_t id) {
    size_t i;

    for (i = 0; i < paths->n_tried; i++) {
        if (paths->tried[i] == id) {
            return 1;
        }
    }
    return 0;
}

static void add_tried(atl_paths *paths, uint64_t id) {
    if (!was_tried(paths, id)) {
        paths->tried[paths->n_tried % ATL_PATHS_TRIED] = id;
        paths->n_tried =
            (uint8_t)(paths->n_tried < ATL_PATHS_TRIED ? paths->n_tried + 1 : ATL_PATHS_TRIED);
    }
}

static void tell_none(atlas_conn *conn) {
    if (!conn->paths.none) {
        conn->paths.none = 1;
        atl_path_event(conn, "nothing is heard on any path", 1);
    }
}

/* The best path to go to when the active one is silent: circuits of relays that are well, then
 * other circuits, then a direct path. 0: none that was not tried. */
static uint64_t refuge(atlas_conn *conn, int probe) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    uint64_t best = 0;
    uint32_t rank = UINT32_MAX;
    size_t i;

    for (i = 0; i < n; i++) {
        uint32_t its = ATL_RELAY_HEALTH_DRAINS + 1;

        if (states[i].real.circuit != NULL) {
            its = atl_failover_health(states[i].real.circuit, probe);
        }
        if (!states[i].active && states[i].kept && !was_tried(&conn->paths, states[i].id) &&
            its < rank) {
            rank = its;
            best = states[i].id;
        }
    }
    return best;
}

/* ---- after a move ---- */

static uint64_t relay_rtt(const atl_circuit *circuit) {
    return circuit == NULL ? 0 : atl_relay_client_rtt(atl_relay_client_of((atl_circuit *)circuit));
}

/* What was sent at once is lost when the relay did not know this node's new address yet. */
static void on_kick(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_paths *paths = &conn->paths;

    if (conn->state != ATL_CONN_STATE_OPEN || conn->q == NULL || paths->kicks == 0) {
        return;
    }
    atl_qconn_ping(conn->q);
    paths->kicks--;
    paths->kick_wait *= 2;
    if (paths->kicks > 0) {
        atl_timer_set(conn->peers->loop, timer, now + paths->kick_wait);
    }
}

static void kick_later(atlas_conn *conn, const atl_qpath *path) {
    atl_paths *paths = &conn->paths;
    uint64_t rtt = relay_rtt(path->circuit);

    if (path->circuit == NULL) {
        return;
    }
    paths->kicks = KICKS;
    paths->kick_wait = rtt + rtt / 4 > KICK_MIN ? rtt + rtt / 4 : KICK_MIN;
    atl_timer_set(conn->peers->loop, &paths->kick, atl_conn_now(conn) + paths->kick_wait);
}

/* Whether the path that was moved to in this silence has had its chance. */
static int on_trial(const atlas_conn *conn) {
    const atl_paths *paths = &conn->paths;

    return paths->fled != 0 && atl_conn_now(conn) < paths->fled + paths->trial;
}

/* The peer's connection ids are few, and more come only when it is heard: a few moves at once, then
 * a rare one, unless there is news. */
static int may_move(const atlas_conn *conn) {
    const atl_paths *paths = &conn->paths;

    return paths->moves < MOVES || atl_conn_now(conn) >= paths->fled + MOVE_PAUSE;
}

void atl_paths_fled(atlas_conn *conn, uint64_t id) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    size_t i;

    add_tried(paths, id);
    paths->moves++;
    paths->fled = atl_conn_now(conn);
    paths->trial = TRIAL_MIN;
    for (i = 0; i < n; i++) {
        if (states[i].id == id) {
            uint64_t trial = 4 * relay_rtt(states[i].real.circuit) + 3 * states[i].srtt;

            paths->trial = trial > TRIAL_MIN ? trial : TRIAL_MIN;
            kick_later(conn, &states[i].real);
        }
    }
    atl_timer_set(conn->peers->loop, &paths->trial_end, paths->fled + paths->trial);
    /* what is in flight may leave no room for anything else */
    atl_qconn_ping(conn->q);
}

static void silent_client(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;
    uint64_t id;
    int direct = atl_paths_active(conn, &active) == ATLAS_OK && active.real.circuit == NULL;

    if (atl_paths_active(conn, &active) == ATLAS_OK) {
        add_tried(paths, active.id);
    }
    id = refuge(conn, 1);
    if (id == 0 && paths->n_tried > 1) {
        /* all were tried: once more from the beginning, but for the one that is active */
        paths->n_tried = 0;
        if (active.active) {
            add_tried(paths, active.id);
        }
        id = refuge(conn, 0);
    }
    if (id != 0 && !on_trial(conn) && may_move(conn)) {
        (void)atl_paths_move_to(conn, id, 1,
                                direct ? "the direct path is silent" : "the relay is silent");
    }
    /* whatever becomes of that, the path that is active now is asked: probes of QUIC's own come
     * ever more rarely */
    atl_qconn_ping(conn->q);
    atl_failover_search(conn);
    atl_upgrade_check(conn);
}

static void on_trial_end(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;

    (void)now;
    if (conn->paths.silent && conn->state == ATL_CONN_STATE_OPEN && is_client(conn)) {
        silent_client(conn);
    }
}

static void echo(atlas_conn *conn, uint64_t id) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    size_t i;

    add_tried(&conn->paths, id);
    (void)atl_qconn_echo(conn->q, id, ECHO_PACKETS);
    atl_qconn_ping(conn->q);
    for (i = 0; i < n; i++) {
        if (states[i].id == id) {
            kick_later(conn, &states[i].real);
        }
    }
}

static void silent_server(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;
    uint64_t id;

    if (atl_paths_active(conn, &active) == ATLAS_OK) {
        add_tried(paths, active.id);
    }
    id = refuge(conn, 1);
    if (id == 0) {
        paths->n_tried = 0;
        if (active.active) {
            add_tried(paths, active.id);
        }
        id = refuge(conn, 0);
    }
    if (id != 0) {
        echo(conn, id);
    } else {
        atl_qconn_ping(conn->q);
    }
    atl_failover_search(conn);
    atl_upgrade_check(conn);
}

void atl_paths_on_silent(atlas_conn *conn, uint64_t silent) {
    if (conn->state != ATL_CONN_STATE_OPEN || conn->q == NULL) {
        return;
    }
    conn->paths.silent = 1;
    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: nothing heard for %llu ms", conn->peer_text,
            (unsigned long long)(silent / ATL_MS));
    if (silent >= NOTHING_HEARD) {
        tell_none(conn);
    }
    if (is_client(conn)) {
        silent_client(conn);
    } else {
        silent_server(conn);
    }
}

/* There is news that the active path works, and nothing is heard on it. */
void atl_paths_revive(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;
    uint64_t now = atl_conn_now(conn);

    if (!paths->silent || conn->state != ATL_CONN_STATE_OPEN || on_trial(conn) ||
        now < paths->revived + ANEW_PAUSE) {
        return;
    }
    paths->revived = now;
    atl_qconn_ping(conn->q);
    if (is_client(conn) && atl_paths_active(conn, &active) == ATLAS_OK) {
        (void)atl_paths_move_to(conn, active.id, 1, "begun anew");
    }
}

void atl_paths_on_relay(atlas_conn *conn, const atl_peer_id *relay) {
    atl_qpath_state active;

    if (!conn->paths.silent || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    if (atl_paths_active(conn, &active) == ATLAS_OK && active.real.circuit != NULL &&
        atl_peer_id_equal(&active.real.circuit->relay, relay)) {
        atl_paths_revive(conn);
    } else {
        atl_failover_search(conn);
    }
}

/* A receiver has nothing that could be acknowledged, and would never know. One small packet asks;
 * the relays are asked as well, since they cannot reach a node whose address has changed before it
 * has spoken. */
void atl_paths_on_lull(atlas_conn *conn) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n;
    size_t i;

    if (conn->state != ATL_CONN_STATE_OPEN || conn->peers->idle) {
        return;
    }
    n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: a pause: is it still there?",
            conn->peer_text);
    atl_qconn_ping(conn->q);
    for (i = 0; i < n; i++) {
        if (states[i].real.circuit != NULL) {
            (void)atl_failover_health(states[i].real.circuit, 1);
        }
    }
}

void atl_paths_on_heard(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    paths->silent = 0;
    paths->n_tried = 0;
    paths->fled = 0;
    paths->moves = 0;
    paths->kicks = 0;
    atl_timer_clear(conn->peers->loop, &paths->kick);
    atl_timer_clear(conn->peers->loop, &paths->trial_end);
    atl_failover_stop(conn);
    if (paths->none && paths->moving == 0) {
        paths->none = 0;
        atl_path_event(conn, "the peer is heard again", 0);
    }
}

void atl_paths_on_lost(atlas_conn *conn, uint64_t id, int32_t code) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;

    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: the circuit of path %llu has ended: %s",
            conn->peer_text, (unsigned long long)id, atlas_error_name(code));
    if (paths->moving == id) {
        paths->moving = 0;
    }
    if (atl_paths_active(conn, &active) == ATLAS_OK && active.id != id) {
        return;
    }
    atl_paths_on_silent(conn, 0);
}

void atl_paths_circuit(atlas_conn *conn, uint64_t id) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    int lost = n == 0 || !states[0].active;

    if (!is_client(conn)) {
        if (paths->silent || lost) {
            echo(conn, id);
        }
        return;
    }
    if (paths->silent || lost) {
        if (!on_trial(conn)) {
            (void)atl_paths_move_to(conn, id, 1, "another relay was found");
        }
    } else if (states[0].real.circuit != NULL && paths->moving == 0 &&
               atl_failover_health(states[0].real.circuit, 0) == ATL_RELAY_HEALTH_DRAINS) {
        (void)atl_paths_move_to(conn, id, 0, "the relay is going away");
    }
}

void atl_paths_on_drain(atlas_conn *conn, const atl_peer_id *relay) {
    atl_qpath_state active;

    if (conn->state == ATL_CONN_STATE_OPEN && is_client(conn) &&
        atl_paths_active(conn, &active) == ATLAS_OK && active.real.circuit != NULL &&
        atl_peer_id_equal(&active.real.circuit->relay, relay)) {
        uint64_t id = refuge(conn, 0);

        if (id == 0 || atl_paths_move_to(conn, id, 0, "the relay is going away") != ATLAS_OK) {
            atl_failover_search(conn);
        }
    }
}

/* ---- strays ---- */

/* Whether packets of a path that was left may still be on their way. */
static int settling(const atlas_conn *conn) {
    atl_qconn_info info;
    uint64_t settle;

    atl_qconn_get_info(conn->q, &info);
    settle = 4 * info.srtt > SETTLE ? 4 * info.srtt : SETTLE;
    return conn->paths.moving != 0 || atl_conn_now(conn) < conn->paths.moved + settle;
}

static void on_stray_timer(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;

    if (conn->state != ATL_CONN_STATE_OPEN || !is_client(conn) || paths->moving != 0 ||
        atl_paths_active(conn, &active) != ATLAS_OK || active.heard > paths->stray_at) {
        return;
    }
    if (now >= paths->stray_window + STRAY_WINDOW) {
        paths->stray_window = now;
        paths->stray_moves = 0;
    }
    /* whoever copies the peer's packets could have us probe any address: not often */
    if (paths->stray_moves++ < STRAY_MOVES) {
        (void)atl_paths_move(conn, &paths->stray_path, 0, "the address of the peer changed");
    }
}

void atl_paths_on_stray(atlas_conn *conn, uint64_t id, const atl_qpath *real) {
    atl_paths *paths = &conn->paths;

    if (!is_client(conn) || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    if (id == 0) {
        if (paths->stray.deadline == ATLAS_NO_DEADLINE) {
            paths->stray_path = *real;
            paths->stray_at = atl_conn_now(conn);
            atl_timer_set(conn->peers->loop, &paths->stray, paths->stray_at + STRAY_WAIT);
        }
        return;
    }
    /* the peer is not heard where it should hear us: it says so on every way that it has */
    /* but it follows a move only after a round trip, and what comes before is no news */
    if (!on_trial(conn) && (!settling(conn) || (paths->silent && paths->moving == 0))) {
        (void)atl_paths_move_to(conn, id, 1, "the peer is heard on this path only");
    }
}

void atl_silence_free(atlas_conn *conn) {
    atl_timer_clear(conn->peers->loop, &conn->paths.stray);
    atl_timer_clear(conn->peers->loop, &conn->paths.kick);
    atl_timer_clear(conn->peers->loop, &conn->paths.trial_end);
}

void atl_silence_init(atlas_conn *conn) {
    atl_timer_init(&conn->paths.stray, on_stray_timer, conn);
    atl_timer_init(&conn->paths.kick, on_kick, conn);
    atl_timer_init(&conn->paths.trial_end, on_trial_end, conn);
}
