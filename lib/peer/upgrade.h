/* Looking for direct paths: the exchange of candidates over the control stream, attempts at hole
 * punching, when they are made, and what is said about them. */
#ifndef ATL_PEER_UPGRADE_H
#define ATL_PEER_UPGRADE_H

#include "peer/conn.h"

void atl_upgrade_init(atlas_conn *conn);
void atl_upgrade_free(atlas_conn *conn);
void atl_upgrade_begin(atlas_conn *conn);
/* An attempt in `wait` nanoseconds (client), unless one comes sooner. */
void atl_upgrade_plan(atlas_conn *conn, uint64_t wait);
/* The next attempt after one that failed. Returns the wait, 0 when none was planned. */
uint64_t atl_upgrade_again(atlas_conn *conn);
/* The connection has become direct: nothing to look for. */
void atl_upgrade_rest(atlas_conn *conn);
/* Checks without asking the peer first: the control stream is silent. */
void atl_upgrade_check(atlas_conn *conn);
/* Our candidates have changed. */
void atl_upgrade_changed(atlas_conn *conn);
/* This node is in another network: what has failed, and what it has cost, counts no more. */
void atl_upgrade_renew(atlas_conn *conn);
/* The relays where we can be reached may have changed. */
void atl_upgrade_told_relays(atlas_conn *conn);

int32_t atl_upgrade_on_addresses(atlas_conn *conn, const uint8_t *value, size_t len);
int32_t atl_upgrade_on_punch(atlas_conn *conn, const uint8_t *value, size_t len);

#endif
