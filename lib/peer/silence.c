#include "peer/silence.h"

#include "peer/failover.h"
#include "peer/manager.h"
#include "peer/path_event.h"
#include "peer/upgrade.h"

#include <string.h>

#define SETTLE (1 * ATL_SECOND) /* packets of the former path may still come for so long */
#define NOTHING_HEARD (3 * ATL_SECOND)
#define ECHO_PACKETS 16
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
    if (id != 0 && atl_paths_move_to(
                       conn, id, 1, direct ? "the direct path is silent" : "the relay is silent") ==
                       ATLAS_OK) {
        add_tried(paths, id);
    }
    atl_failover_search(conn);
    atl_upgrade_check(conn);
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
        add_tried(paths, id);
        (void)atl_qconn_echo(conn->q, id, ECHO_PACKETS);
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
    if (silent >= NOTHING_HEARD) {
        tell_none(conn);
    }
    if (is_client(conn)) {
        silent_client(conn);
    } else {
        silent_server(conn);
    }
}

void atl_paths_on_heard(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    paths->silent = 0;
    paths->n_tried = 0;
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
            add_tried(paths, id);
            (void)atl_qconn_echo(conn->q, id, ECHO_PACKETS);
            atl_qconn_ping(conn->q);
        }
        return;
    }
    if (paths->silent || lost) {
        if (atl_paths_move_to(conn, id, 1, "another relay was found") == ATLAS_OK) {
            add_tried(paths, id);
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
    if (!settling(conn) || (paths->silent && paths->moving == 0)) {
        if (atl_paths_move_to(conn, id, 1, "the peer is heard on this path only") == ATLAS_OK) {
            add_tried(paths, id);
        }
    }
}

void atl_silence_init(atlas_conn *conn) {
    atl_timer_init(&conn->paths.stray, on_stray_timer, conn);
}
