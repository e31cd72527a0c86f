#include "peer/quiet.h"

#include "peer/conn.h"
#include "peer/stream.h"

#define SOON (5 * ATL_SECOND) /* an attempt to find a better path that is as good as begun */

static int streams_are_quiet(const atlas_conn *conn) {
    const atl_list *node;

    for (node = conn->streams.next; node != &conn->streams; node = node->next) {
        const atlas_stream *stream = ATL_CONTAINER(node, atlas_stream, node);

        if (stream->q != NULL && atl_qstream_buffered(stream->q) > 0) {
            return 0;
        }
    }
    return 1;
}

static int paths_are_quiet(const atl_paths *paths, uint64_t now) {
    return (paths->upgrade.deadline == ATLAS_NO_DEADLINE || paths->upgrade.deadline > now + SOON) &&
           paths->moving == 0 && !paths->silent && !paths->none && paths->asked == 0 &&
           atl_list_empty(&paths->searches) &&
           (paths->punch == NULL || !atl_punch_running(paths->punch));
}

static int conn_is_quiet(const atlas_conn *conn) {
    const atl_control *control = &conn->control;

    return conn->state == ATL_CONN_STATE_OPEN && conn->announced && atl_list_empty(&conn->early) &&
           atl_list_empty(&conn->items) && conn->messages.out_count == 0 &&
           conn->messages.in_count == 0 && control->ping_count == 0 &&
           (control->q == NULL || atl_qstream_buffered(control->q) == 0) &&
           paths_are_quiet(&conn->paths, atl_conn_now(conn)) && streams_are_quiet(conn);
}

static int relays_are_quiet(const atl_relays *relays) {
    const atl_list *node;

    for (node = relays->entries.next; node != &relays->entries; node = node->next) {
        const atl_relay_entry *entry = ATL_CONTAINER(node, atl_relay_entry, node);

        if (entry->client != NULL &&
            atl_relay_client_state(entry->client) == ATLAS_RELAY_CONNECTING) {
            return 0;
        }
    }
    return 1;
}

int atl_peers_quiet(const atl_peers *peers, uint64_t *next) {
    const atl_list *node;

    if (!atl_list_empty(&peers->loop->work) || !relays_are_quiet(&peers->relays) ||
        (peers->candidates != NULL && atl_candidates_gathering(peers->candidates))) {
        return 0;
    }
    for (node = peers->conns.next; node != &peers->conns; node = node->next) {
        if (!conn_is_quiet(ATL_CONTAINER(node, atlas_conn, node))) {
            return 0;
        }
    }
    *next = peers->loop->timers == NULL ? ATLAS_NO_DEADLINE : peers->loop->timers->deadline;
    return 1;
}
