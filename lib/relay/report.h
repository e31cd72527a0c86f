/* What the relay server tells any HTTP/3 client: its health, its limits, its metrics. */
#ifndef ATL_RELAY_REPORT_H
#define ATL_RELAY_REPORT_H

#include "relay/service.h"

#define ATL_RELAY_REPORT_MAX 8192

/* Answers any request that is no CONNECT. */
void atl_relay_report_answer(const atl_relay_server *server, atl_h3_stream *stream,
                             const atl_h3_request *request);

/* The bodies; each returns its length, without the NUL, or 0 when it does not fit. */
size_t atl_relay_report_health(const atl_relay_server *server, char *buf, size_t cap);
size_t atl_relay_report_limits(const atl_relay_limits *limits, char *buf, size_t cap);
size_t atl_relay_report_metrics(const atlas_relay_stats *stats, char *buf, size_t cap);

#endif
