/* Look-ups of the application, for the context that owns them. */
#ifndef ATL_API_QUERY_H
#define ATL_API_QUERY_H

#include "base/list.h"

#include <atlas/discovery.h>

#define ATL_QUERIES_MAX 256

atlas_query *atl_query_of(atl_list *node);
/* Without events. */
void atl_query_free(atlas_query *query);
/* The context shuts down: each ends in its final event. */
void atl_query_cancel_all(atlas_ctx *ctx);

#endif
