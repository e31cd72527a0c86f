/* Requests on the relay server's connections: the control stream, the server's own reports, and
 * what other parts of the node answer. */
#ifndef ATL_RELAY_REQUESTS_H
#define ATL_RELAY_REQUESTS_H

#include "relay/service.h"

void atl_requests_init(atl_relay_session *session);
/* Final upcalls of what is under way; for the end of the session. */
void atl_requests_free(atl_relay_session *session);

void atl_requests_on_request(atl_relay_session *session, atl_h3_stream *stream,
                             const atl_h3_request *request);
/* Of any stream but the control stream. */
void atl_requests_on_data(atl_relay_session *session, atl_h3_stream *stream, const uint8_t *data,
                          size_t len);
void atl_requests_on_end(atl_relay_session *session, atl_h3_stream *stream);
void atl_requests_on_closed(atl_relay_session *session, atl_h3_stream *stream);

/* 1 while a request that was taken is under way. */
int atl_requests_busy(const atl_relay_session *session);
/* Keeps the order in which connections that do nothing make way: to be called when one begins or
 * ends to do something. */
void atl_requests_rank(atl_relay_session *session);
/* Closes the connection that has done nothing for longest, of those that have no control stream;
 * 0 when there is none. */
int atl_requests_make_way(atl_relay_server *server);

#endif
