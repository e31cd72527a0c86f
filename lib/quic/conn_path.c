/* Paths of a connection. ngtcp2 sees a synthetic IPv6 address pair for each, both halves unique;
 * what they stand for, a 4-tuple or a circuit, is known here only. So a packet from a new real
 * address is a new path to ngtcp2, which validates it, and later a migration between any two paths
 * is legal for it.
 *
 * Where only the peer's port has changed, our half stays what it was and the peer's half changes
 * its port only. Otherwise ngtcp2 would take one of the peer's spare connection ids for each
 * address and begin congestion control and MTU anew; a peer that moves again and again, or cannot
 * be heard for a while, would use the ids up, new ones come only in answer to what reaches it, and
 * it could never be reached again. */
#include "quic/internal.h"

/* Kept paths leave room for the active one, two that ngtcp2 holds, and a fresh one. */
#define KEPT_MAX 6
/* ngtcp2 remembers this many validated paths, for so long. */
#define HISTORY 4
#define HISTORY_TIME (600 * ATL_SECOND)
/* A path that nobody keeps is forgotten so long after it was needed last. */
#define LINGER (5 * ATL_SECOND)

/* A unique local prefix; the addresses never leave the process. */
static const uint8_t PREFIX[7] = {0xfd, 0x61, 0x74, 0x6c, 0x61, 0x73, 0};

static void set_addr(struct sockaddr_in6 *addr, uint64_t id, uint8_t side) {
    memset(addr, 0, sizeof(*addr));
    addr->sin6_family = AF_INET6;
    addr->sin6_port = (uint16_t)(1 + id % 65535);
    memcpy(addr->sin6_addr.s6_addr, PREFIX, sizeof(PREFIX));
    addr->sin6_addr.s6_addr[7] = side;
    memcpy(addr->sin6_addr.s6_addr + 8, &id, sizeof(id));
}

void atl_path_begin(atl_qconn *conn, atl_path_slot *slot, const atl_qpath *real) {
    memset(slot, 0, sizeof(*slot));
    slot->id = ++conn->last_path_id;
    slot->conn = conn;
    slot->real = *real;
    slot->used = conn->ep->loop->now;
    atl_list_init(&slot->circuit_node);
    if (real->circuit != NULL) {
        atl_list_append(&real->circuit->conns, &slot->circuit_node);
    }
    set_addr(&slot->local, slot->id, 0);
    set_addr(&slot->remote, slot->id, 1);
}

void atl_path_renew(atl_path_slot *slot) {
    uint64_t number = ++slot->conn->last_path_id;

    set_addr(&slot->local, number, 0);
    set_addr(&slot->remote, number, 1);
    slot->left = 0;
    slot->ok = 0;
}

void atl_path_release(atl_path_slot *slot) {
    atl_circuit *circuit = slot->real.circuit;

    if (slot->id == 0) {
        return;
    }
    slot->id = 0;
    slot->kept = 0;
    slot->real.circuit = NULL;
    if (circuit == NULL) {
        return;
    }
    atl_list_remove(&slot->circuit_node);
    if (atl_list_empty(&circuit->conns) && circuit->on_idle != NULL) {
        circuit->on_idle(circuit->user, circuit);
    }
}

static int is_needed(const atl_path_slot *slot) {
    const atl_qconn *conn = slot->conn;
    const size_t index = (size_t)(slot - conn->paths);

    return slot->kept || slot->validating || slot->lost == ATL_LOST_UNTOLD ||
           index == conn->active || index == conn->validated;
}

void atl_path_release_unused(atl_path_slot *slot) {
    if (slot->id != 0 && !is_needed(slot)) {
        atl_path_release(slot);
    }
}

ngtcp2_path atl_path_synthetic(atl_path_slot *slot) {
    ngtcp2_path path;

    path.local.addr = (ngtcp2_sockaddr *)&slot->local;
    path.local.addrlen = sizeof(slot->local);
    path.remote.addr = (ngtcp2_sockaddr *)&slot->remote;
    path.remote.addrlen = sizeof(slot->remote);
    path.user_data = NULL;
    return path;
}

static int same_ip(const atl_addr *a, const atl_addr *b) {
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* Port changes are what NATs do. A change of the address may be a change of the network: its MTU
 * and its congestion are not known. */
static void resemble(atl_path_slot *slot, const atl_path_slot *active) {
    const atl_qpath *real = &slot->real;

    if (real->circuit != NULL || active->real.circuit != NULL ||
        !atl_addr_equal(&active->real.local, &real->local) ||
        !same_ip(&active->real.remote, &real->remote)) {
        return;
    }
    slot->local = active->local;
    slot->remote.sin6_addr = active->remote.sin6_addr;
}

static int same_path(const atl_path_slot *slot, const atl_qpath *real) {
    if (slot->id == 0 || slot->lost || slot->real.circuit != real->circuit) {
        return 0;
    }
    if (real->circuit != NULL) {
        return 1;
    }
    if (slot->moved && real->local.family != 0) {
        return 0;
    }
    return atl_addr_equal(&slot->real.remote, &real->remote) &&
           (slot->real.local.family == 0 || real->local.family == 0 ||
            atl_addr_equal(&slot->real.local, &real->local));
}

/* The first answer shows which address the system chose. A late packet to an address that the host
 * has lost does not. */
static void learn_local(atl_path_slot *slot, const atl_qpath *real) {
    const atl_endpoint *ep = slot->conn->ep;
    size_t i;

    if (slot->real.local.family != 0 || real->local.family == 0) {
        return;
    }
    for (i = 0; i < ep->n_locals; i++) {
        if (same_ip(&ep->locals[i], &real->local)) {
            break;
        }
    }
    if (ep->n_locals == 0 || i < ep->n_locals) {
        slot->real.local = real->local;
    }
}

atl_path_slot *atl_path_find(atl_qconn *conn, const atl_qpath *real) {
    atl_path_slot *found = NULL;
    size_t i;

    if (same_path(&conn->paths[conn->active], real)) {
        found = &conn->paths[conn->active];
    }
    for (i = 0; found == NULL && i < ATL_CONN_PATHS; i++) {
        if (same_path(&conn->paths[i], real)) {
            found = &conn->paths[i];
        }
    }
    if (found != NULL) {
        learn_local(found, real);
    }
    return found;
}

static atl_path_slot *take_slot(atl_qconn *conn) {
    atl_path_slot *oldest = NULL;
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        atl_path_slot *slot = &conn->paths[i];

        if (slot->id == 0) {
            return slot;
        }
        if (!is_needed(slot) && (oldest == NULL || slot->used < oldest->used)) {
            oldest = slot;
        }
    }
    if (oldest != NULL) {
        atl_path_release(oldest);
    }
    return oldest;
}

atl_path_slot *atl_path_fresh(atl_qconn *conn, const atl_qpath *real) {
    atl_path_slot *slot = take_slot(conn);

    if (slot == NULL) {
        return NULL;
    }
    atl_path_begin(conn, slot, real);
    if (conn->is_server) {
        resemble(slot, &conn->paths[conn->active]);
    }
    return slot;
}

int atl_path_shares(const atl_path_slot *a, const atl_path_slot *b) {
    return memcmp(&a->local, &b->local, sizeof(a->local)) == 0;
}

atl_path_slot *atl_path_by_id(atl_qconn *conn, uint64_t id) {
    size_t i;

    for (i = 0; id != 0 && i < ATL_CONN_PATHS; i++) {
        if (conn->paths[i].id == id) {
            return &conn->paths[i];
        }
    }
    return NULL;
}

static int is_slot(const atl_path_slot *slot, const ngtcp2_path *path) {
    return slot->id != 0 && path->remote.addrlen == sizeof(slot->remote) &&
           memcmp(path->remote.addr, &slot->remote, sizeof(slot->remote)) == 0;
}

atl_path_slot *atl_path_by_ngtcp2(atl_qconn *conn, const ngtcp2_path *path) {
    size_t i;

    if (is_slot(&conn->paths[conn->active], path)) {
        return &conn->paths[conn->active];
    }
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        if (is_slot(&conn->paths[i], path)) {
            return &conn->paths[i];
        }
    }
    return NULL;
}

int atl_path_is_known(const atl_path_slot *slot) {
    const atl_qconn *conn = slot->conn;

    if (slot == &conn->paths[conn->validated]) {
        return 1;
    }
    return slot->left != 0 && conn->ep->loop->now - slot->left < HISTORY_TIME &&
           conn->history - slot->left_seq < HISTORY;
}

static void leave(atl_path_slot *slot) {
    atl_qconn *conn = slot->conn;

    slot->used = conn->ep->loop->now;
    if (slot->ok && !slot->lost) {
        slot->left = slot->used;
        slot->left_seq = ++conn->history;
    }
    slot->ok = 0;
    atl_watch_sweep(conn);
}

/* Where ngtcp2 is, and whether it believes in it: it does when there is nothing to be validated,
 * because it remembers the path or has just validated it. */
void atl_path_refresh_active(atl_qconn *conn) {
    atl_path_slot *slot = atl_path_by_ngtcp2(conn, ngtcp2_conn_get_path2(conn->quic));
    atl_path_slot *before = &conn->paths[conn->active];
    atl_path_slot *told = &conn->paths[conn->validated];

    if (slot == NULL) {
        return;
    }
    if (slot != before) {
        leave(before);
        conn->active = (uint8_t)(slot - conn->paths);
        slot->used = conn->ep->loop->now;
        slot->unfollowed = 0;
        slot->answered = 0;
        if (conn->is_server && slot->validating && atl_path_shares(slot, before)) {
            atl_qconn_share(conn, 3);
        }
        atl_watch_moved(conn);
        if (conn->validations == conn->validations_seen) {
            /* ngtcp2 remembers the path, and has only checked it once more when it left */
            slot->validating = 0;
        }
    }
    conn->validations_seen = conn->validations;
    if (slot->validating || slot->failed) {
        return;
    }
    slot->ok = 1;
    if (slot != told || conn->migrating == slot->id) {
        conn->validated = (uint8_t)(slot - conn->paths);
        conn->migrating = conn->migrating == slot->id ? 0 : conn->migrating;
        conn->tell_path = 1;
        told->used = conn->ep->loop->now;
    }
}

/* A server's ngtcp2 holds the path that it has left for a while, and does not say when it lets go.
 */
void atl_path_sweep(atl_qconn *conn) {
    uint64_t now = conn->ep->loop->now;
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        atl_path_slot *slot = &conn->paths[i];

        if (slot->id == 0 || i == conn->active || i == conn->validated) {
            continue;
        }
        if (now - slot->used < LINGER) {
            atl_watch_sweep(conn);
            continue;
        }
        if (conn->is_server) {
            slot->validating = 0;
        }
        atl_path_release_unused(slot);
    }
}

void atl_path_carrier(const atl_qconn *control, atl_qpath *out) {
    *out = control->paths[control->active].real;
}

/* ---- what the owner keeps ---- */

static size_t count_kept(const atl_qconn *conn) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS; i++) {
        n += conn->paths[i].id != 0 && conn->paths[i].kept;
    }
    return n;
}

int32_t atl_qconn_path_keep(atl_qconn *conn, const atl_qpath *path, uint64_t *id) {
    atl_path_slot *slot;

    if (conn->state != ATL_CONN_OPEN) {
        return ATLAS_ERR_STATE;
    }
    if (path->circuit != NULL && (!path->circuit->ready || path->circuit->ended)) {
        return ATLAS_ERR_RELAY_CIRCUIT_CLOSED;
    }
    if (path->circuit == NULL && atl_endpoint_socket(conn->ep, path->remote.family) == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    slot = atl_path_find(conn, path);
    if (slot == NULL || !slot->kept) {
        if (count_kept(conn) >= KEPT_MAX) {
            return ATLAS_ERR_LIMIT;
        }
        slot = slot == NULL ? take_slot(conn) : slot;
        if (slot == NULL) {
            return ATLAS_ERR_LIMIT;
        }
        if (slot->id == 0) {
            atl_path_begin(conn, slot, path);
        }
        slot->kept = 1;
    }
    *id = slot->id;
    return ATLAS_OK;
}

void atl_qconn_path_drop(atl_qconn *conn, uint64_t id) {
    atl_path_slot *slot = atl_path_by_id(conn, id);

    if (slot == NULL) {
        return;
    }
    slot->kept = 0;
    slot->used = conn->ep->loop->now;
    if (slot->validating) {
        atl_watch_sweep(conn);
    }
    atl_path_release_unused(slot);
}

static void describe(const atl_qconn *conn, const atl_path_slot *slot, atl_qpath_state *out) {
    memset(out, 0, sizeof(*out));
    out->id = slot->id;
    out->real = slot->real;
    if (slot->real.circuit != NULL) {
        atl_path_carrier(slot->real.circuit->control, &out->real);
        out->real.circuit = slot->real.circuit;
    }
    out->active = slot == &conn->paths[conn->active];
    out->validated = (uint8_t)atl_path_is_known(slot);
    out->kept = slot->kept;
    out->heard = slot->heard;
    out->srtt = slot->srtt;
}

size_t atl_qconn_paths(const atl_qconn *conn, atl_qpath_state *out, size_t cap) {
    size_t n = 0;
    size_t i;

    for (i = 0; i < ATL_CONN_PATHS && n < cap; i++) {
        /* the active one first */
        size_t index = (i + conn->active) % ATL_CONN_PATHS;
        const atl_path_slot *slot = &conn->paths[index];

        if (slot->id != 0 && !slot->lost && is_needed(slot)) {
            describe(conn, slot, &out[n++]);
        }
    }
    return n;
}
