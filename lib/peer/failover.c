#include "peer/failover.h"

#include "peer/manager.h"
#include "peer/silence.h"

#include <string.h>

#define SEARCH_TIMEOUT (5 * ATL_SECOND)
#define SEARCH_PAUSE (1 * ATL_SECOND) /* between two requests to the same relay */
#define SEARCH_PAUSE_MAX (15 * ATL_SECOND)
#define SEARCHES 4 /* at once */
#define CIRCUITS 3 /* kept by one connection */
#define REMEMBERED 16
/* Relays that the peer has named and that are new to this node: so many in so long. */
#define NAMED_MAX 8
#define NAMED_WINDOW (30 * ATL_SECOND)

/* A request for a circuit. */
typedef struct search {
    atl_list node; /* paths.searches */
    atlas_conn *conn;
    atl_relay_entry *entry;
    atl_relay_request *request; /* NULL: it has ended; the entry rests until `until` */
    uint64_t until;
} search;

/* ---- relays that a connection holds on to ---- */

static void hold(atlas_conn *conn, atl_relay_entry *entry) {
    atl_paths *paths = &conn->paths;
    size_t i;

    for (i = 0; i < ATL_PATHS_USED; i++) {
        if (paths->used[i] == entry) {
            return;
        }
    }
    for (i = 0; i < ATL_PATHS_USED; i++) {
        if (paths->used[i] == NULL) {
            paths->used[i] = entry;
            atl_relay_entry_use(entry);
            return;
        }
    }
}

static void let_go(atlas_conn *conn) {
    size_t i;

    for (i = 0; i < ATL_PATHS_USED; i++) {
        if (conn->paths.used[i] != NULL) {
            atl_relay_entry_unuse(conn->paths.used[i]);
            conn->paths.used[i] = NULL;
        }
    }
}

/* ---- searches ---- */

static void search_free(search *at) {
    if (at->request != NULL) {
        atl_relay_request_cancel(at->request);
    }
    atl_relay_entry_unuse(at->entry);
    atl_list_remove(&at->node);
    atl_free(atl_conn_env(at->conn), at);
}

static search *find(const atlas_conn *conn, const atl_relay_entry *entry) {
    const atl_list *node;

    for (node = conn->paths.searches.next; node != &conn->paths.searches; node = node->next) {
        search *at = ATL_CONTAINER(node, search, node);

        if (at->entry == entry) {
            return at;
        }
    }
    return NULL;
}

static size_t running(const atlas_conn *conn) {
    const atl_list *node;
    size_t n = 0;

    for (node = conn->paths.searches.next; node != &conn->paths.searches; node = node->next) {
        n += ATL_CONTAINER(node, search, node)->request != NULL;
    }
    return n;
}

static void on_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    search *at = user;
    atlas_conn *conn = at->conn;
    atl_qpath path;
    uint64_t id = 0;
    int32_t rv = ATLAS_ERR_CLOSED;

    (void)request;
    at->request = NULL;
    at->until = atl_conn_now(conn) + SEARCH_PAUSE;
    memset(&path, 0, sizeof(path));
    path.circuit = circuit;
    if (conn->q != NULL) {
        rv = atl_qconn_path_keep(conn->q, &path, &id);
    }
    if (rv != ATLAS_OK) {
        atl_relay_circuit_close(circuit, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
        return;
    }
    hold(conn, at->entry);
    atl_paths_circuit(conn, id);
}

/* Without a path nothing is in flight, and no silence speaks up: this does. The relay may not have
 * heard of the peer yet. */
static void search_later(atlas_conn *conn) {
    atl_paths *paths = &conn->paths;

    if (paths->search.deadline != ATLAS_NO_DEADLINE) {
        return;
    }
    paths->search_pause = paths->search_pause == 0 ? SEARCH_PAUSE : paths->search_pause * 2;
    if (paths->search_pause > SEARCH_PAUSE_MAX) {
        paths->search_pause = SEARCH_PAUSE_MAX;
    }
    atl_timer_set(conn->peers->loop, &paths->search, atl_conn_now(conn) + paths->search_pause);
}

static void on_search(atl_timer *timer, uint64_t now) {
    atlas_conn *conn = timer->user;
    atl_qpath_state active;

    (void)now;
    if (conn->peers->idle) {
        return; /* begun again on waking */
    }
    if (conn->paths.silent || atl_paths_active(conn, &active) != ATLAS_OK) {
        atl_failover_search(conn);
        search_later(conn);
    }
}

static void on_failed(void *user, atl_relay_request *request, int32_t code, const char *text) {
    search *at = user;

    (void)request;
    at->request = NULL;
    at->until = atl_conn_now(at->conn) + SEARCH_PAUSE;
    atl_log(atl_conn_env(at->conn), ATLAS_LOG_DEBUG, "%s: no circuit through %s: %s (%s)",
            at->conn->peer_text, at->entry->text, text, atlas_error_name(code));
    search_later(at->conn);
}

static const atl_relay_request_ops request_ops = {.on_ready = on_ready, .on_failed = on_failed};

static void ask(atlas_conn *conn, atl_relay_entry *entry) {
    search *at = find(conn, entry);
    int32_t rv;

    if (at != NULL && (at->request != NULL || at->until > atl_conn_now(conn))) {
        return;
    }
    if (at == NULL) {
        at = atl_calloc(atl_conn_env(conn), 1, sizeof(*at));
        if (at == NULL) {
            return;
        }
        at->conn = conn;
        at->entry = entry;
        atl_relay_entry_use(entry);
        atl_list_append(&conn->paths.searches, &at->node);
    }
    at->until = atl_conn_now(conn) + SEARCH_PAUSE;
    rv = entry->client == NULL
             ? ATLAS_ERR_STATE
             : atl_relay_client_request(entry->client, &conn->peer, SEARCH_TIMEOUT, &request_ops,
                                        at, &at->request);
    if (rv != ATLAS_OK) {
        at->request = NULL;
        atl_log(atl_conn_env(conn), ATLAS_LOG_DEBUG, "%s: %s cannot be asked: %s", conn->peer_text,
                entry->text, atlas_error_name(rv));
    }
}

/* Whether one of the connection's paths leads through that relay, and how many lead through any. */
static int has_circuit(const atlas_conn *conn, const atl_relay_entry *entry, size_t *circuits) {
    atl_qpath_state states[ATL_CONN_PATHS];
    size_t n = atl_qconn_paths(conn->q, states, ATL_CONN_PATHS);
    int found = 0;
    size_t i;

    *circuits = 0;
    for (i = 0; i < n; i++) {
        if (states[i].real.circuit != NULL) {
            (*circuits)++;
            found |= atl_peer_id_equal(&states[i].real.circuit->relay, &entry->addr.peer);
        }
    }
    return found;
}

static void consider(atlas_conn *conn, atl_relay_entry *entry) {
    size_t circuits;

    if (running(conn) < SEARCHES && !atl_peer_id_equal(&entry->addr.peer, &conn->peer) &&
        !has_circuit(conn, entry, &circuits) && circuits < CIRCUITS) {
        ask(conn, entry);
    }
}

/* Whoever names a relay has this node send a few large packets to where he likes. */
static int32_t find_named(atlas_conn *conn, const atl_maddr *addr, atl_relay_entry **out) {
    atl_paths *paths = &conn->paths;
    uint64_t now = atl_conn_now(conn);
    atl_relays *relays = &conn->peers->relays;
    int32_t rv = atl_relays_named(relays, addr, 0, out);

    if (rv == ATLAS_OK) {
        return rv;
    }
    if (paths->named == 0 || now >= paths->named_at + NAMED_WINDOW) {
        paths->named_at = now;
        paths->named = 0;
    }
    if (paths->named >= NAMED_MAX) {
        return ATLAS_ERR_LIMIT;
    }
    paths->named++;
    return atl_relays_named(relays, addr, 1, out);
}

/* What a peer names is not this machine's business, nor that of its own link. */
static int is_own_machine(const atl_maddr *addr) {
    return addr->host_kind == ATL_HOST_IP &&
           (atl_addr_is_loopback(&addr->addr) || atl_addr_is_link_local(&addr->addr) ||
            atl_addr_is_unspecified(&addr->addr));
}

void atl_failover_search(atlas_conn *conn) {
    atl_relay_entry *ranked[REMEMBERED];
    const atl_ctrl_addresses *theirs = conn->paths.theirs;
    size_t n;
    size_t i;

    if (conn->q == NULL || conn->state != ATL_CONN_STATE_OPEN ||
        !conn->peers->limits.enable_relay) {
        return;
    }
    n = atl_relays_ranked(&conn->peers->relays, ranked, REMEMBERED);
    for (i = 0; i < n; i++) {
        consider(conn, ranked[i]);
    }
    for (i = 0; theirs != NULL && i < theirs->n_relays; i++) {
        atl_relay_entry *entry;

        if (!atl_peer_id_equal(&theirs->relays[i].peer, &conn->peers->self) &&
            !is_own_machine(&theirs->relays[i]) &&
            find_named(conn, &theirs->relays[i], &entry) == ATLAS_OK) {
            /* one that nobody uses goes by itself */
            atl_relay_entry_use(entry);
            consider(conn, entry);
            atl_relay_entry_unuse(entry);
        }
    }
}

uint32_t atl_failover_health(atl_circuit *circuit, int probe) {
    atl_relay_client *client = atl_relay_client_of(circuit);

    if (probe) {
        atl_relay_client_probe(client);
    }
    return atl_relay_client_health(client);
}

void atl_failover_stop(atlas_conn *conn) {
    conn->paths.search_pause = 0;
    atl_timer_clear(conn->peers->loop, &conn->paths.search);
    while (!atl_list_empty(&conn->paths.searches)) {
        search_free(ATL_CONTAINER(conn->paths.searches.next, search, node));
    }
}

void atl_failover_init(atlas_conn *conn) {
    atl_list_init(&conn->paths.searches);
    atl_timer_init(&conn->paths.search, on_search, conn);
}

void atl_failover_free(atlas_conn *conn) {
    atl_failover_stop(conn);
    let_go(conn);
}
