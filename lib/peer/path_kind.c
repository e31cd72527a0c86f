#include "peer/path_kind.h"

#define PROVEN_MAX 16

/* What the peer has said of this address itself; the best kind, where it named it twice. */
static uint32_t named(const atl_ctrl_addresses *theirs, const atl_addr *remote) {
    uint32_t kind = ATLAS_CANDIDATE_UNKNOWN;
    size_t i;

    for (i = 0; theirs != NULL && i < theirs->n_candidates; i++) {
        const atl_candidate *candidate = &theirs->candidates[i];

        if (atl_addr_equal(&candidate->addr, remote) &&
            (kind == ATLAS_CANDIDATE_UNKNOWN || candidate->kind < kind)) {
            kind = candidate->kind;
        }
    }
    return kind;
}

static uint32_t proven(const atl_punch *punch, const atl_addr *remote) {
    atl_punch_pair pairs[PROVEN_MAX];
    size_t n = punch == NULL ? 0 : atl_punch_proven(punch, UINT64_MAX, pairs, PROVEN_MAX);
    size_t i;

    for (i = 0; i < n && i < PROVEN_MAX; i++) {
        if (atl_addr_equal(&pairs[i].remote, remote)) {
            return pairs[i].kind;
        }
    }
    return ATLAS_CANDIDATE_UNKNOWN;
}

uint32_t atl_path_candidate(const atlas_conn *conn, const atl_qpath *path) {
    uint32_t kind;

    if (path->circuit != NULL) {
        return ATLAS_CANDIDATE_RELAY;
    }
    kind = named(conn->paths.theirs, &path->remote);
    if (kind == ATLAS_CANDIDATE_UNKNOWN) {
        kind = proven(conn->paths.punch, &path->remote);
    }
    /* nobody named it: the peer's packets came from there, or the application gave it */
    if (kind == ATLAS_CANDIDATE_UNKNOWN && !conn->dialer) {
        kind = ATLAS_CANDIDATE_PEER_REFLEXIVE;
    }
    return kind;
}
