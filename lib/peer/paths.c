#include "peer/paths.h"

#include "peer/failover.h"
#include "peer/manager.h"
#include "peer/path_event.h"
#include "peer/silence.h"
#include "peer/upgrade.h"
#include "peer/upkeep.h"

#include <stdio.h>
#include <string.h>

#define PROVEN_AGE (30 * ATL_SECOND) /* a pair that carried data within this may be moved to */
#define BAD_TIME (30 * ATL_SECOND)   /* an address that a migration has failed to is left alone */
#define AGAIN (200 * ATL_MS)
#define ASK_WAIT (500 * ATL_MS) /* the client has seen the same checks, and moves by itself */
/* Between paths that differ by less than this nothing is gained by moving. */
#define BETTER_BY (5 * ATL_MS)
#define YOUNG (30 * ATL_SECOND) /* a direct path that dies before is a bad one */
#define FALLS_MAX 6

/* ---- what is there ---- */

static int is_client(const atlas_conn *conn) {
    return conn->q != NULL && !atl_qconn_is_server(conn->q);
}

static uint64_t now_of(const atlas_conn *conn) {
    return atl_conn_now(conn);
}

int32_t atl_paths_active(const atlas_conn *conn, atl_qpath_state *out) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = conn->q == NULL ? 0 : atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);

    if (n == 0 || !states[0].active) {
        return ATLAS_ERR_STATE;
    }
    *out = states[0];
    return ATLAS_OK;
}

int atl_paths_relayed(const atlas_conn *conn) {
    atl_qpath_state active;

    return atl_paths_active(conn, &active) != ATLAS_OK || active.real.circuit != NULL;
}

/* ---- telling ---- */

static void remember_told(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    atl_qpath path;

    atl_qconn_path(conn->q, &path);
    paths->told_kind = path.circuit != NULL ? ATLAS_PATH_RELAY : ATLAS_PATH_DIRECT;
    paths->told_remote = path.remote;
    paths->told_local = path.local;
}

/* A path that has begun anew is no other path. */
static int told_already(const atlas_conn *conn) {
    const atl_paths *paths = &conn->paths;
    atl_qpath path;

    atl_qconn_path(conn->q, &path);
    return paths->told_kind == (path.circuit != NULL ? ATLAS_PATH_RELAY : ATLAS_PATH_DIRECT) &&
           atl_addr_equal(&path.remote, &paths->told_remote) &&
           atl_addr_equal(&path.local, &paths->told_local);
}

/* Why the path is another one, where this side has not wanted it so. */
static const char *reason_of(const atlas_conn *conn) {
    const atl_paths *paths = &conn->paths;
    atl_qpath path;

    atl_qconn_path(conn->q, &path);
    if (path.circuit != NULL) {
        return paths->told_kind == ATLAS_PATH_RELAY ? "the peer uses another relay"
                                                    : "the peer fell back to the relay";
    }
    if (paths->told_kind != ATLAS_PATH_DIRECT) {
        return "the peer moved to a direct path";
    }
    return atl_addr_equal(&path.remote, &paths->told_remote) ? "an address of this node changed"
                                                             : "the address of the peer changed";
}

/* ---- moving ---- */

static void move_again(atlas_conn *conn, const atl_qpath *path, int now, const char *reason) {
    conn->paths.again_path = *path;
    conn->paths.again_now = now != 0;
    conn->paths.moving_reason = reason;
    atl_timer_set(conn->peers->loop, &conn->paths.again, now_of(conn) + AGAIN);
}

int32_t atl_paths_move_to(atlas_conn *conn, uint64_t id, int now, const char *reason) {
    int32_t rv = atl_qconn_migrate(conn->q, id, now);

    if (rv == ATLAS_OK) {
        conn->paths.moving = id;
        conn->paths.moving_reason = reason;
        atl_timer_clear(conn->peers->loop, &conn->paths.again);
        if (now) {
            atl_paths_fled(conn, id);
        }
    }
    atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: moving to path %llu%s: %s: %s",
            conn->peer_text, (unsigned long long)id, now ? " at once" : "", reason,
            atlas_error_name(rv));
    return rv;
}

int32_t atl_paths_move(atlas_conn *conn, const atl_qpath *path, int now, const char *reason) {
    uint64_t id;
    int32_t rv = atl_qconn_path_keep(conn->q, path, &id);

    if (rv == ATLAS_OK) {
        rv = atl_paths_move_to(conn, id, now, reason);
    }
    if (rv == ATLAS_ERR_AGAIN) {
        move_again(conn, path, now, reason);
    }
    return rv;
}

/* Pairs that may be moved to. What was proven before the direct path died has most likely died with
 * it: the NAT that has forgotten one mapping has forgotten them all. */
static size_t proven(const atlas_conn *conn, atl_punch_pair *out, size_t cap) {
    uint64_t age = now_of(conn) - conn->paths.fallen;

    if (conn->paths.punch == NULL) {
        return 0;
    }
    return atl_punch_proven(conn->paths.punch, age < PROVEN_AGE ? age : PROVEN_AGE, out, cap);
}

/* Server: a pair is proven, and the client has not moved by itself. */
static void ask_client(atlas_conn *conn) {
    atl_ctrl_path_request msg;
    atl_punch_pair pair;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len = 0;

    if (!atl_paths_relayed(conn) || proven(conn, &pair, 1) == 0) {
        return;
    }
    memset(&msg, 0, sizeof(msg));
    msg.kind = ATLAS_PATH_DIRECT;
    msg.remote = pair.mapped;
    (void)snprintf(msg.reason, sizeof(msg.reason), "%s", "a check was answered here");
    if (atl_ctrl_path_request_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_control_put(conn, buf, len);
    }
}

static void on_again(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_paths *paths = &conn->paths;

    (void)now;
    if (conn->state == ATL_CONN_STATE_OPEN && conn->q != NULL && !is_client(conn)) {
        ask_client(conn);
        return;
    }
    if (conn->state == ATL_CONN_STATE_OPEN && is_client(conn) && paths->moving == 0 &&
        (paths->again_path.circuit == NULL || paths->silent)) {
        (void)atl_paths_move(conn, &paths->again_path, paths->again_now, paths->moving_reason);
    }
}

/* Circuits are kept for the day when the direct path dies; of direct paths the one that was left
 * last. */
static void keep_and_drop(atlas_conn *conn) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    uint64_t newest = 0;
    uint64_t heard = 0;
    uint64_t id;
    size_t i;

    for (i = 1; i < n; i++) {
        if (states[i].real.circuit == NULL && states[i].kept && states[i].heard > heard) {
            heard = states[i].heard;
            newest = states[i].id;
        }
    }
    for (i = 1; i < n; i++) {
        if (states[i].real.circuit == NULL && states[i].kept && states[i].id != newest &&
            states[i].id != conn->paths.moving) {
            atl_qconn_path_drop(conn->q, states[i].id);
        }
    }
    if (n > 0 && states[0].active) {
        (void)atl_qconn_path_keep(conn->q, &states[0].real, &id);
    }
}

static void became(atlas_conn *conn, int direct) {
    atl_paths *paths = &conn->paths;
    uint64_t now = now_of(conn);

    if (direct) {
        if (paths->direct_since == 0) {
            paths->direct_since = now;
        }
        atl_upgrade_rest(conn);
        return;
    }
    if (paths->direct_since != 0) {
        int young = now < paths->direct_since + YOUNG;

        paths->falls = !young ? 0 : paths->falls < FALLS_MAX ? paths->falls + 1 : FALLS_MAX;
    }
    paths->direct_since = 0;
    paths->fallen = now;
    /* the sooner the path died again and again, the longer the rest before the next attempt */
    atl_upgrade_plan(conn, paths->falls <= 1 ? 0 : ATL_SECOND << paths->falls);
}

void atl_paths_on_path(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state active;
    const char *reason;
    int none;

    if (atl_paths_active(conn, &active) != ATLAS_OK) {
        return;
    }
    reason =
        paths->moving != 0 && active.id == paths->moving ? paths->moving_reason : reason_of(conn);
    if (paths->pinged != 0 && paths->direct_since != 0 && active.real.circuit != NULL &&
        paths->gap > 0) {
        /* it died while nothing was said on it, and the relay works: the mapping was forgotten */
        atl_keepalive_lost(&conn->peers->keepalive[paths->told_remote.family == 6], paths->gap);
        paths->pinged = 0;
    }
    paths->moving = 0;
    paths->moved = now_of(conn);
    none = paths->none;
    paths->none = 0;
    keep_and_drop(conn);
    if (!conn->ready) {
        return;
    }
    if (none || !told_already(conn)) {
        atl_path_event(conn, reason, 0);
    }
    remember_told(conn);
    became(conn, active.real.circuit == NULL);
}

void atl_paths_on_failed(atlas_conn *conn, uint64_t id) {
    atl_paths *paths = &conn->paths;
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    size_t i;

    for (i = 0; i < n; i++) {
        if (states[i].id == id && states[i].real.circuit == NULL) {
            paths->bad = states[i].real.remote;
            paths->bad_until = now_of(conn) + BAD_TIME;
            if (!states[i].active) {
                atl_qconn_path_drop(conn->q, id);
            }
        }
    }
    if (paths->moving == id) {
        paths->moving = 0;
    }
    if (!paths->silent && paths->none && paths->moving == 0) {
        /* heard while the way was in question */
        paths->none = 0;
        atl_path_event(conn, "the peer is heard again", 0);
    }
    if (paths->silent) {
        atl_paths_on_silent(conn, 0);
    } else if (atl_paths_relayed(conn)) {
        (void)atl_upgrade_again(conn);
    }
}

/* ---- what is better ---- */

static int is_bad(const atlas_conn *conn, const atl_addr *remote) {
    return now_of(conn) < conn->paths.bad_until && atl_addr_equal(remote, &conn->paths.bad);
}

static int same_pair(const atl_qpath *path, const atl_punch_pair *pair) {
    return atl_addr_equal(&path->remote, &pair->remote) &&
           (pair->local.family == 0 || path->local.family == 0 ||
            memcmp(pair->local.ip, path->local.ip, sizeof(pair->local.ip)) == 0);
}

/* What a round trip on the active path takes, measured as the pairs were where that is known. */
static uint64_t active_rtt(const atlas_conn *conn, const atl_qpath *path,
                           const atl_punch_pair *pairs, size_t n) {
    atl_qconn_info info;
    size_t i;

    for (i = 0; i < n; i++) {
        if (same_pair(path, &pairs[i])) {
            return pairs[i].rtt;
        }
    }
    atl_qconn_get_info(conn->q, &info);
    return info.min_rtt > 0 ? info.min_rtt : info.srtt;
}

static int worth_it(uint64_t rtt, uint64_t present) {
    return rtt + BETTER_BY < present && rtt + rtt / 10 < present;
}

void atl_paths_consider(atlas_conn *conn) {
    atl_punch_pair pairs[8];
    atl_qpath_state active;
    atl_qpath path;
    size_t n;
    size_t i;
    int have;

    if (conn->q == NULL || conn->state != ATL_CONN_STATE_OPEN || conn->paths.punch == NULL) {
        return;
    }
    if (!is_client(conn)) {
        if (conn->paths.again.deadline == ATLAS_NO_DEADLINE && atl_paths_relayed(conn)) {
            atl_timer_set(conn->peers->loop, &conn->paths.again, now_of(conn) + ASK_WAIT);
        }
        return;
    }
    if (conn->paths.moving != 0 && !conn->paths.silent) {
        return; /* one after the other */
    }
    have = atl_paths_active(conn, &active) == ATLAS_OK;
    n = proven(conn, pairs, ATL_COUNT(pairs));
    for (i = 0; i < n; i++) {
        int direct = have && active.real.circuit == NULL;

        if (direct && same_pair(&active.real, &pairs[i])) {
            if (pairs[i].proven > conn->paths.fled && pairs[i].proven > active.heard) {
                atl_paths_revive(conn);
            }
            continue;
        }
        if (is_bad(conn, &pairs[i].remote) ||
            (conn->paths.silent && pairs[i].proven <= conn->paths.fled)) {
            continue;
        }
        if (direct && !conn->paths.silent &&
            !worth_it(pairs[i].rtt, active_rtt(conn, &active.real, pairs, n))) {
            continue;
        }
        memset(&path, 0, sizeof(path));
        path.remote = pairs[i].remote;
        path.local = pairs[i].local;
        if (atl_paths_move(conn, &path, conn->paths.silent,
                           direct ? "a better direct path" : "a direct path was found") ==
            ATLAS_OK) {
            break;
        }
    }
}

void atl_paths_on_request(atlas_conn *conn, const atl_ctrl_path_request *msg) {
    atl_punch_pair pairs[8];
    atl_qpath_state states[ATL_CONN_PATHS];
    atl_qpath path;
    size_t n;
    size_t i;

    if (!is_client(conn) || conn->paths.moving != 0) {
        return;
    }
    if (msg->kind == ATLAS_PATH_RELAY) {
        n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
        for (i = 1; i < n; i++) {
            if (states[i].real.circuit != NULL && states[i].kept &&
                atl_peer_id_equal(&states[i].real.circuit->relay, &msg->relay)) {
                (void)atl_paths_move_to(conn, states[i].id, 0, "the peer asked for this relay");
                return;
            }
        }
        return;
    }
    n = proven(conn, pairs, ATL_COUNT(pairs));
    for (i = 0; i < n; i++) {
        if (atl_addr_equal(&pairs[i].remote, &msg->remote) && !is_bad(conn, &msg->remote)) {
            memset(&path, 0, sizeof(path));
            path.remote = pairs[i].remote;
            path.local = pairs[i].local;
            (void)atl_paths_move(conn, &path, 0, "the peer asked for this path");
            return;
        }
    }
}

/* ---- life ---- */

void atl_paths_init(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    atl_timer_init(&paths->again, on_again, conn);
    atl_silence_init(conn);
    atl_upkeep_init(conn);
    atl_upgrade_init(conn);
    atl_failover_init(conn);
}

void atl_paths_begin(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    if (paths->begun) {
        return;
    }
    paths->begun = 1;
    paths->moved = now_of(conn);
    remember_told(conn);
    keep_and_drop(conn);
    if (!atl_paths_relayed(conn)) {
        paths->direct_since = now_of(conn);
    }
    atl_upgrade_begin(conn);
    atl_upkeep_begin(conn);
}

void atl_paths_free(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    atl_timer_clear(conn->peers->loop, &paths->again);
    atl_silence_free(conn);
    atl_timer_clear(conn->peers->loop, &paths->keepalive);
    atl_upgrade_free(conn);
    atl_failover_free(conn);
}
