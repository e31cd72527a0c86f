#include "peer/upgrade.h"

#include "peer/manager.h"
#include "peer/network.h"
#include "peer/path_event.h"
#include "peer/punch_message.h"
#include "peer/upkeep.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PAUSE_MIN (2 * ATL_SECOND)
#define PAUSE_MAX (300 * ATL_SECOND)
#define REPLY_WAIT (5 * ATL_SECOND)
#define TELL_PAUSE (100 * ATL_MS) /* between two Addresses: changes come in bursts */
#define TELL_AGAIN (1 * ATL_SECOND)
/* An attempt may cost as much as the peer has sent us, and never more than this. All of them
 * together may cost what a connection begins with, what the peer sends, and a little for each
 * second that it lasts: whoever starts attempt after attempt has us send no more to whom he names
 * than he could himself. */
#define BUDGET_MAX 16384u
#define CREDIT_FIRST BUDGET_MAX
#define CREDIT_MAX (2 * BUDGET_MAX)
#define CREDIT_RATE 256u   /* bytes a second */
#define CREDIT_LEAST 1024u /* with less an attempt is not begun */
#define CREDIT_SILENT \
    5120u /* nor one of a silence: some is left for when the peer is heard again */
/* A direct connection is looked at once for a better path: what is known by then is all there is.
 */
#define DIRECT_WAIT (2 * ATL_SECOND)

static int is_client(const atlas_conn *conn) {
    return conn->q != NULL && !atl_qconn_is_server(conn->q);
}

static int enabled(const atlas_conn *conn) {
    return conn->paths.punch != NULL && conn->peers->limits.upgrade && conn->q != NULL &&
           conn->state == ATL_CONN_STATE_OPEN;
}

/* ---- what the peer is told ---- */

/* Relays where this node is announced, configured ones first, and a hash of them. */
static size_t own_relays(const atl_peers *peers, atl_maddr out[ATL_CTRL_RELAYS_MAX],
                         uint64_t *hash) {
    const atl_relay_entry *entry = NULL;
    size_t n = 0;
    size_t i;

    *hash = 1;
    while (n < ATL_CTRL_RELAYS_MAX &&
           (entry = atl_relays_next_own(&peers->relays, entry)) != NULL) {
        if (entry->client != NULL &&
            atl_relay_client_state(entry->client) == ATLAS_RELAY_ANNOUNCED) {
            out[n++] = entry->addr;
            for (i = 0; i < sizeof(entry->addr.peer.key); i++) {
                *hash = *hash * 31 + entry->addr.peer.key[i] + 1;
            }
        }
    }
    return n;
}

static void say(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    const atl_candidate *list = NULL;
    atl_ctrl_addresses msg;
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    uint64_t generation = 0;
    uint64_t hash;
    size_t len = 0;

    memset(&msg, 0, sizeof(msg));
    msg.n_relays = own_relays(conn->peers, msg.relays, &hash);
    if (conn->peers->candidates != NULL && conn->peers->limits.upgrade) {
        msg.n_candidates = atl_candidates_get(conn->peers->candidates, &list, &generation);
    }
    if (generation == paths->said && hash == paths->said_relays) {
        return;
    }
    if (msg.n_candidates > 0) {
        memcpy(msg.candidates, list, msg.n_candidates * sizeof(*list));
    }
    /* ever growing, whichever of the two has changed */
    msg.generation = paths->said_generation + 1;
    paths->said_at = atl_conn_now(conn);
    if (atl_ctrl_addresses_encode(&msg, buf, sizeof(buf), &len) != ATLAS_OK) {
        return;
    }
    if (atl_control_put(conn, buf, len) == ATLAS_OK) {
        paths->said_generation = msg.generation;
        paths->said = generation;
        paths->said_relays = hash;
    } else if (conn->state == ATL_CONN_STATE_OPEN) {
        /* it does not read just now: what it would have been told is told later */
        atl_timer_set(conn->peers->loop, &paths->tell, paths->said_at + TELL_AGAIN);
    }
}

static void on_tell(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;

    (void)now;
    if (conn->state == ATL_CONN_STATE_OPEN && conn->paths.begun) {
        say(conn);
    }
}

static void say_punch(atlas_conn *conn, uint64_t attempt, uint64_t phase) {
    const atl_ctrl_punch msg = {attempt, phase};
    uint8_t buf[ATL_CTRL_MESSAGE_MAX];
    size_t len = 0;

    if (atl_ctrl_punch_encode(&msg, buf, sizeof(buf), &len) == ATLAS_OK) {
        (void)atl_control_put(conn, buf, len);
    }
}

/* ---- attempts ---- */

static void ended(atlas_conn *conn, const atl_punch_report *report) {
    uint64_t retry = 0;

    if (is_client(conn) && atl_paths_relayed(conn) &&
        (report->code != ATLAS_OK || conn->paths.moving == 0)) {
        retry = atl_upgrade_again(conn);
    }
    atl_upgrade_event(conn, report, retry);
}

static void end_without_checks(atlas_conn *conn, int32_t code, const char *text) {
    atl_punch_report report;

    memset(&report, 0, sizeof(report));
    report.code = code;
    (void)snprintf(report.text, sizeof(report.text), "%s", text);
    ended(conn, &report);
}

/* What an attempt may cost now. */
static uint64_t reckon(atlas_conn *conn, const atl_qconn_info *info) {
    atl_paths *paths = &conn->paths;
    uint64_t now = atl_conn_now(conn);
    uint64_t most = info->rx_bytes < BUDGET_MAX ? info->rx_bytes : BUDGET_MAX;

    paths->credit += info->rx_bytes - paths->credit_rx;
    paths->credit += (now - paths->credit_at) / ATL_MS * CREDIT_RATE / 1000;
    paths->credit = paths->credit < CREDIT_MAX ? paths->credit : CREDIT_MAX;
    paths->credit_rx = info->rx_bytes;
    paths->credit_at = now;
    return paths->credit < most ? paths->credit : most;
}

static void spend(atl_paths *paths, const atl_punch_report *report) {
    uint64_t spent = (uint64_t)report->requests * ATL_PUNCH_REQUEST_LEN;

    paths->credit += paths->reserved > spent ? paths->reserved - spent : 0;
    paths->reserved = 0;
}

static void check(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    const atl_candidate *ours = NULL;
    atl_qconn_info info;
    uint64_t generation;
    uint64_t budget = 0;
    size_t n;
    int32_t rv;

    atl_qconn_get_info(conn->q, &info);
    if (!atl_punch_running(paths->punch)) {
        budget = reckon(conn, &info);
        if (budget < CREDIT_LEAST) {
            if (is_client(conn)) {
                end_without_checks(conn, ATLAS_ERR_LIMIT,
                                   "so many checks were made that there is a pause");
            }
            return;
        }
        paths->credit -= budget;
        paths->reserved = budget;
    }
    n = conn->peers->candidates == NULL
            ? 0
            : atl_candidates_get(conn->peers->candidates, &ours, &generation);
    /* a peer that has named nothing may be heard all the same */
    rv = atl_punch_start(
        paths->punch, ours, n, paths->theirs == NULL ? NULL : paths->theirs->candidates,
        paths->theirs == NULL ? 0 : paths->theirs->n_candidates, budget, info.srtt);
    if (rv != ATLAS_OK) {
        paths->credit += paths->reserved;
        paths->reserved = 0;
        end_without_checks(conn, rv, atlas_error_text(rv));
    }
}

void atl_upgrade_check(atlas_conn *conn) {
    atl_qconn_info info;

    /* a peer that sleeps is not to be woken, and looks for paths itself when it wakes */
    if (enabled(conn) && !atl_punch_running(conn->paths.punch) && conn->paths.theirs != NULL &&
        atl_conn_now(conn) >= conn->paths.asleep) {
        atl_qconn_get_info(conn->q, &info);
        (void)reckon(conn, &info);
        if (conn->paths.credit >= CREDIT_SILENT) {
            check(conn);
        }
    }
}

static void start(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    paths->next = 0;
    if (!enabled(conn) || !is_client(conn) || atl_upkeep_sleeps(conn)) {
        return;
    }
    atl_network_gather(conn->peers);
    say(conn);
    paths->attempt++;
    paths->asked = atl_conn_now(conn);
    say_punch(conn, paths->attempt, ATL_CTRL_PUNCH_START);
    atl_timer_set(conn->peers->loop, &paths->upgrade, paths->asked + REPLY_WAIT);
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_paths *paths = &conn->paths;

    (void)now;
    if (conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    if (paths->asked != 0) {
        paths->asked = 0;
        end_without_checks(conn, ATLAS_ERR_TIMEOUT,
                           "the peer has not answered: it does not look for direct paths, or is "
                           "not heard");
        return;
    }
    start(conn);
}

void atl_upgrade_plan(atlas_conn *conn, uint64_t wait) {
    atl_paths *paths = &conn->paths;
    uint64_t at = atl_conn_now(conn) + wait;

    if (!enabled(conn) || !is_client(conn) || atl_upkeep_sleeps(conn) || paths->asked != 0 ||
        (paths->next != 0 && paths->next <= at)) {
        return;
    }
    paths->next = at == 0 ? 1 : at;
    atl_timer_set(conn->peers->loop, &paths->upgrade, at);
}

uint64_t atl_upgrade_again(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    uint64_t random = 0;
    uint64_t wait;

    if (!enabled(conn) || !is_client(conn)) {
        return 0;
    }
    paths->pause = paths->pause == 0 ? PAUSE_MIN : paths->pause * 2;
    paths->pause = paths->pause > PAUSE_MAX ? PAUSE_MAX : paths->pause;
    (void)atl_random(atl_conn_env(conn), &random, sizeof(random));
    /* a quarter more or less: many connections lose the same path at the same time */
    wait = paths->pause - paths->pause / 4 + random % (paths->pause / 2 + 1);
    atl_upgrade_plan(conn, wait);
    return paths->next > atl_conn_now(conn) ? paths->next - atl_conn_now(conn) : 0;
}

void atl_upgrade_rest(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    paths->pause = 0;
    paths->asked = 0;
    paths->next = 0;
    atl_timer_clear(conn->peers->loop, &paths->upgrade);
}

void atl_upgrade_told_relays(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    uint64_t now = atl_conn_now(conn);

    if (!paths->begun || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    if (paths->said_at == 0 || now >= paths->said_at + TELL_PAUSE) {
        say(conn);
    } else {
        atl_timer_set(conn->peers->loop, &paths->tell, paths->said_at + TELL_PAUSE);
    }
}

void atl_upgrade_changed(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    if (!paths->begun || conn->state != ATL_CONN_STATE_OPEN) {
        return;
    }
    atl_upgrade_told_relays(conn);
    if (enabled(conn) && atl_paths_relayed(conn)) {
        paths->pause = 0;
        atl_upgrade_plan(conn, TELL_PAUSE);
    }
}

void atl_upgrade_renew(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    paths->pause = 0;
    paths->credit = paths->credit > CREDIT_FIRST ? paths->credit : CREDIT_FIRST;
}

/* ---- what the peer says ---- */

int32_t atl_upgrade_on_addresses(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_paths *paths = &conn->paths;
    atl_ctrl_addresses *msg = atl_malloc(atl_conn_env(conn), sizeof(*msg));
    int32_t rv;

    if (msg == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    rv = atl_ctrl_addresses_decode(value, len, msg);
    if (rv != ATLAS_OK || (paths->theirs != NULL && msg->generation <= paths->theirs->generation)) {
        atl_free(atl_conn_env(conn), msg);
        return rv;
    }
    atl_free(atl_conn_env(conn), paths->theirs);
    paths->theirs = msg;
    if (!enabled(conn) || !paths->begun) {
        return ATLAS_OK;
    }
    if (atl_punch_running(paths->punch)) {
        check(conn); /* goes on with what is new */
    } else if (atl_paths_relayed(conn) && paths->attempt > 0) {
        paths->pause = 0;
        atl_upgrade_plan(conn, 0);
    }
    return ATLAS_OK;
}

static void on_reply(atlas_conn *conn, const atl_ctrl_punch *msg) {
    atl_paths *paths = &conn->paths;

    if (paths->asked == 0 || msg->attempt != paths->attempt) {
        return;
    }
    paths->asked = 0;
    atl_timer_clear(conn->peers->loop, &paths->upgrade);
    check(conn);
}

int32_t atl_upgrade_on_punch(atlas_conn *conn, const uint8_t *value, size_t len) {
    atl_ctrl_punch msg;
    int32_t rv = atl_ctrl_punch_decode(value, len, &msg);

    if (rv != ATLAS_OK || !enabled(conn)) {
        return rv;
    }
    if (msg.phase == ATL_CTRL_PUNCH_REPLY) {
        on_reply(conn, &msg);
    } else if (msg.phase == ATL_CTRL_PUNCH_START && !is_client(conn)) {
        atl_network_gather(conn->peers);
        say(conn);
        say_punch(conn, msg.attempt, ATL_CTRL_PUNCH_REPLY);
        check(conn);
    }
    return ATLAS_OK;
}

/* ---- life ---- */

static void on_pair(void *user, const atl_punch_pair *pair) {
    (void)pair;
    atl_paths_consider(user);
}

static void on_ended(void *user, const atl_punch_report *report) {
    atlas_conn *conn = user;

    spend(&conn->paths, report);
    if (conn->state == ATL_CONN_STATE_OPEN) {
        ended(conn, report);
    }
}

static const atl_punch_ops punch_ops = {.on_pair = on_pair, .on_ended = on_ended};

void atl_upgrade_init(atlas_conn *conn) {
    atl_timer_init(&conn->paths.upgrade, on_timer, conn);
    atl_timer_init(&conn->paths.tell, on_tell, conn);
}

void atl_upgrade_begin(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;
    uint8_t secret[ATL_PUNCH_SECRET];

    if (conn->peers->punches != NULL && conn->peers->limits.upgrade &&
        atl_qconn_export(conn->q, ATL_PUNCH_LABEL, NULL, 0, secret, sizeof(secret)) == ATLAS_OK) {
        /* without it the connection works, on the path that it has */
        (void)atl_punch_new(conn->peers->punches, secret, is_client(conn), &punch_ops, conn,
                            &paths->punch);
        sodium_memzero(secret, sizeof(secret));
    }
    paths->credit = CREDIT_FIRST;
    paths->credit_at = atl_conn_now(conn);
    atl_network_gather(conn->peers);
    say(conn);
    if (!is_client(conn)) {
        return;
    }
    if (atl_paths_relayed(conn)) {
        start(conn);
    } else {
        atl_upgrade_plan(conn, DIRECT_WAIT);
    }
}

void atl_upgrade_free(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    atl_timer_clear(conn->peers->loop, &paths->upgrade);
    atl_timer_clear(conn->peers->loop, &paths->tell);
    atl_punch_free(paths->punch);
    paths->punch = NULL;
    atl_free(atl_conn_env(conn), paths->theirs);
    paths->theirs = NULL;
}
