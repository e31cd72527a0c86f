/* The relay server's side of one control connection: requests, the control stream and its messages.
 */
#ifndef ATL_RELAY_SESSION_H
#define ATL_RELAY_SESSION_H

#include "relay/service.h"

/* Takes a connection that has finished its handshake. */
int32_t atl_relay_session_new(atl_relay_server *server, atl_qconn *conn);
/* At once and without upcalls, for the server's own end. */
void atl_relay_session_free(atl_relay_session *session);

/* Ends what the node has here (registration, circuits), tells it why, and closes the connection
 * shortly after. */
void atl_relay_session_end(atl_relay_session *session, int32_t code, const char *reason);
/* The same for the registration and the circuits only. */
void atl_relay_session_unregister(atl_relay_session *session, int32_t code);
/* Announcements were missed: the node cannot be reached any more, while what it has here lives on.
 * It may only sleep, and announces itself again on the same connection when it wakes. */
void atl_relay_session_lapse(atl_relay_session *session);
/* The connection is closed as soon as it has said so. */
void atl_relay_session_close(atl_relay_session *session, const char *reason);

/* Queues a whole capsule. A node that does not read loses its connection. */
void atl_relay_session_send(atl_relay_session *session, const uint8_t *capsule, size_t len);
void atl_relay_session_send_error(atl_relay_session *session, const uint64_t *request, int32_t code,
                                  const char *reason);
void atl_relay_session_send_drain(atl_relay_session *session, uint64_t within);
/* For the idle limit: something of this node has begun or ended. */
void atl_relay_session_touch(atl_relay_session *session);

#endif
