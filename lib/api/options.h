/* The options of a context: numbers with ranges and defaults, two addresses. */
#ifndef ATL_API_OPTIONS_H
#define ATL_API_OPTIONS_H

#include "address/addr.h"
#include "discovery/record_store.h"
#include "quic/endpoint.h"
#include "relay/server.h"

#include <atlas/context.h>

#define ATL_OPT_COUNT 37 /* numeric options are 1..36 */

typedef struct atl_options {
    uint64_t u64[ATL_OPT_COUNT]; /* by ATLAS_OPT_*, in the units of the public header */
    atl_addr bind4;              /* port 0 */
    atl_addr bind6;
    /* derived, in the units of the rooms below; these are pointed to */
    uint64_t presence_ns;
    uint64_t handshake_ns;
    uint64_t drift_s;
} atl_options;

void atl_options_init(atl_options *options);
/* ATLAS_ERR_INVALID; ATLAS_ERR_STATE when `started` and the option is one of those that must be set
 * before. */
int32_t atl_options_set_u64(atl_options *options, uint32_t option, uint64_t value, int started);
int32_t atl_options_set_str(atl_options *options, uint32_t option, const char *value, int started);
int32_t atl_options_get_u64(const atl_options *options, uint32_t option, uint64_t *out);

/* A relay server (`relay` not 0) serves its nodes besides the connections that max_connections
 * allows. */
void atl_options_quic(const atl_options *options, int relay, atl_quic_params *out);
void atl_options_relay(const atl_options *options, atl_relay_limits *out);
void atl_options_registry(const atl_options *options, atl_record_store_limits *out);

#endif
