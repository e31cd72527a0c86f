/* Paths of a connection. ngtcp2 sees a synthetic IPv6 address pair for each, both halves unique;
 * what they stand for, a 4-tuple or a circuit, is known here only. So a packet from a new real
 * address is a new path to ngtcp2, which validates it, and later a migration between any two paths
 * is legal for it.
 *
 * Our half of the pair stays what it was where only the peer has moved. Otherwise ngtcp2 would take
 * one of the peer's spare connection ids for each address; a peer that moves again and again, or
 * cannot be heard for a while, would use them up, new ones come only in answer to what reaches it,
 * and it could never be reached again. */
#include "quic/internal.h"

/* A unique local prefix; the addresses never leave the process. */
static const uint8_t PREFIX[7] = {0xfd, 0x61, 0x74, 0x6c, 0x61, 0x73, 0};

static void set_addr(struct sockaddr_in6 *addr, uint64_t id, uint8_t side) {
    memset(addr, 0, sizeof(*addr));
    addr->sin6_family = AF_INET6;
    addr->sin6_port = 1;
    memcpy(addr->sin6_addr.s6_addr, PREFIX, sizeof(PREFIX));
    addr->sin6_addr.s6_addr[7] = side;
    memcpy(addr->sin6_addr.s6_addr + 8, &id, sizeof(id));
}

void atl_path_begin(atl_endpoint *ep, atl_path_slot *slot, const atl_qpath *real) {
    memset(slot, 0, sizeof(*slot));
    slot->id = ep->next_path_id++;
    slot->real = *real;
    set_addr(&slot->local, slot->id, 0);
    set_addr(&slot->remote, slot->id, 1);
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

static uint64_t path_id(const ngtcp2_path *path) {
    struct sockaddr_in6 remote;
    uint64_t id;

    if (path->remote.addrlen != sizeof(remote)) {
        return 0;
    }
    memcpy(&remote, path->remote.addr, sizeof(remote));
    memcpy(&id, remote.sin6_addr.s6_addr + 8, sizeof(id));
    return id;
}

static int keeps_local(const atl_qconn *conn, const atl_path_slot *before, const atl_qpath *real) {
    return conn->is_server && real->circuit == NULL && before->real.circuit == NULL &&
           atl_addr_equal(&before->real.local, &real->local);
}

static int same_path(const atl_path_slot *slot, const atl_qpath *real) {
    if (slot->id == 0 || slot->real.circuit != real->circuit) {
        return 0;
    }
    if (real->circuit != NULL) {
        return 1;
    }
    return atl_addr_equal(&slot->real.remote, &real->remote) &&
           (slot->real.local.family == 0 || real->local.family == 0 ||
            atl_addr_equal(&slot->real.local, &real->local));
}

atl_path_slot *atl_path_find(atl_qconn *conn, const atl_qpath *real, int *fresh) {
    const atl_path_slot *active = &conn->paths[conn->active];
    atl_path_slot *slot = &conn->paths[conn->active];
    size_t i;

    *fresh = 0;
    if (same_path(slot, real)) {
        if (slot->real.local.family == 0) {
            slot->real.local =
                real->local; /* the first answer shows which address the system chose */
        }
        return slot;
    }
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        if (same_path(&conn->paths[i], real)) {
            return &conn->paths[i];
        }
    }
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        slot = &conn->paths[i];
        if (slot->id == 0) {
            atl_path_begin(conn->ep, slot, real);
            if (keeps_local(conn, active, real)) {
                slot->local = active->local;
            }
            *fresh = 1;
            return slot;
        }
    }
    return NULL;
}

atl_path_slot *atl_path_by_ngtcp2(atl_qconn *conn, const ngtcp2_path *path) {
    uint64_t id = path_id(path);
    size_t i;

    if (id == 0) {
        return NULL;
    }
    if (conn->paths[conn->active].id == id) {
        return &conn->paths[conn->active];
    }
    for (i = 0; i < ATL_CONN_PATHS; i++) {
        if (conn->paths[i].id == id) {
            return &conn->paths[i];
        }
    }
    return NULL;
}

void atl_path_release_unused(atl_qconn *conn, atl_path_slot *slot) {
    size_t index = (size_t)(slot - conn->paths);

    if (index != conn->active && index != conn->validated && !slot->validating) {
        slot->id = 0;
    }
}

void atl_path_refresh_active(atl_qconn *conn) {
    atl_path_slot *slot = atl_path_by_ngtcp2(conn, ngtcp2_conn_get_path2(conn->quic));
    atl_path_slot *before = &conn->paths[conn->active];

    if (slot == NULL || slot == before) {
        return;
    }
    conn->active = (uint8_t)(slot - conn->paths);
    atl_path_release_unused(conn, before);
}

void atl_path_set_validated(atl_qconn *conn, atl_path_slot *slot) {
    atl_path_slot *before = &conn->paths[conn->validated];

    if (slot == before) {
        return;
    }
    conn->validated = (uint8_t)(slot - conn->paths);
    atl_path_release_unused(conn, before);
    if (conn->state == ATL_CONN_OPEN && conn->ops != NULL && conn->ops->on_path != NULL) {
        conn->ops->on_path(conn->user, conn);
    }
}
