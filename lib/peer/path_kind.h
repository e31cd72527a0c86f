/* How the other end of a path became known: the `candidate` of atlas_path_info. */
#ifndef ATL_PEER_PATH_KIND_H
#define ATL_PEER_PATH_KIND_H

#include "peer/conn.h"

/* ATLAS_CANDIDATE_*. */
uint32_t atl_path_candidate(const atlas_conn *conn, const atl_qpath *path);

#endif
