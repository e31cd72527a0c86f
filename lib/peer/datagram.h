/* Datagrams: unreliable, one QUIC packet each. At most 256 wait for delivery; more are dropped, as
 * a network would. */
#ifndef ATL_PEER_DATAGRAM_H
#define ATL_PEER_DATAGRAM_H

#include "peer/conn.h"

#define ATL_DATAGRAMS_IN 256

int32_t atl_datagram_send(atlas_conn *conn, const void *data, size_t len);
size_t atl_datagram_max(const atlas_conn *conn);
void atl_datagram_receive(atlas_conn *conn, const uint8_t *data, size_t len);

#endif
