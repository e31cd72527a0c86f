/* Keepalives, as far apart as the NAT allows; idle mode, the peer's sleep, and changes of the
 * host's network. */
#ifndef ATL_PEER_UPKEEP_H
#define ATL_PEER_UPKEEP_H

#include "peer/conn.h"

void atl_upkeep_init(atlas_conn *conn);
void atl_upkeep_begin(atlas_conn *conn);
void atl_paths_network_changed(atlas_conn *conn);
/* Idle mode of this node. */
void atl_paths_set_idle(atlas_conn *conn, int on);
/* The peer sleeps for so many seconds, or is awake (0). */
void atl_paths_on_sleep(atlas_conn *conn, uint64_t seconds);
/* 1 while this node or the peer is in idle mode: nothing is said that can wait. */
int atl_upkeep_sleeps(const atlas_conn *conn);
/* When the next keepalive is due; ATLAS_NO_DEADLINE: none. */
uint64_t atl_upkeep_next(const atlas_conn *conn);

#endif
