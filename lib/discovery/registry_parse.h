/* What a request to the registry asks for: its path and query parameters (docs/discovery.md,
 * section 3). Pure: no state, no memory. */
#ifndef ATL_DISCOVERY_REGISTRY_PARSE_H
#define ATL_DISCOVERY_REGISTRY_PARSE_H

#include "identity/peerid.h"

#include <atlas/discovery.h>

#define ATL_RECORDS_PATH "/.well-known/atlas/records"

#define ATL_REGISTRY_PAGE 1   /* "/" */
#define ATL_REGISTRY_RECORD 2 /* one record */
#define ATL_REGISTRY_LIST 3   /* records with an offer */

#define ATL_REGISTRY_LIMIT 50      /* records of a list, when the request does not say */
#define ATL_REGISTRY_LIMIT_MAX 100 /* and at most */
#define ATL_REGISTRY_CURSOR_MAX ((UINT64_C(1) << 62) - 1) /* what a page's varint holds */

typedef struct atl_registry_target {
    uint32_t what;      /* ATL_REGISTRY_* */
    atl_peer_id peer;   /* RECORD */
    uint32_t offer;     /* LIST: one bit of ATLAS_OFFER_*; 0: the parameter is missing */
    uint32_t limit;     /* LIST: 1..ATL_REGISTRY_LIMIT_MAX */
    uint64_t after;     /* LIST: 0: from the first */
    uint8_t has_after;  /* LIST */
    uint8_t has_limit;  /* LIST */
    uint8_t has_format; /* LIST */
    uint8_t has_random; /* LIST */
    uint8_t random;     /* LIST: 1: a random sample */
    uint8_t json;       /* LIST: 1: JSON instead of a page */
} atl_registry_target;

/* ATLAS_OK; ATLAS_ERR_NOT_FOUND for a path that is not the registry's (*out untouched);
 * ATLAS_ERR_PEER_ID for an id that is none, and ATLAS_ERR_MALFORMED for wrong query parameters
 * (out->what is set, and *why says what is wrong). */
int32_t atl_registry_parse(const char *path, atl_registry_target *out, const char **why);

#endif
